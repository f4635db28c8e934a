//! A small HTTP client for the operating commands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::cli::{BadUsage, secret};
use crate::tls::client_config;

/// The variable that has the password of who signs in.
pub const PASSWORD: &str = "FLOWSTEER_PASSWORD";
const LOGIN: &str = "/api/v1/login";
const LOGOUT: &str = "/api/v1/logout";
/// How long it is waited for that a login has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// The server's refusal (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server refuses ({status}): {detail}{}", advice(*status, kind))]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The last part of its type.
    pub kind: String,
    /// What was wrong.
    pub detail: String,
}

/// What the operator can do about it.
fn advice(status: u16, kind: &str) -> &'static str {
    match (status, kind) {
        // Another token would not help.
        (403, "consent-refused" | "consent-never" | "pin-needed" | "pin-wrong") => "",
        (401, _) => {
            "; --user signs an operator in, --token shows one of the server's http.tokens, or the key of the home address: where one of the \
             first two is configured, being on its machine is not enough"
        }
        (403, _) => "; --user signs an operator in, --token shows an operator's token, or the key of the home address",
        (_, "care-of-unproven") => {
            "; the device itself can open the URL that `flowsteer context` prints, or its network is put into steering.trusted_care_of"
        }
        _ => "",
    }
}

/// What is shown to the server.
enum Shown {
    Nothing,
    /// A bearer token.
    Token(String),
    /// A login's cookie, and what goes beside it.
    Login {
        cookie: HeaderValue,
        csrf: HeaderValue,
    },
}

/// A server's API, and who asks. Who has logged in for it is logged out at its end.
pub struct Client {
    /// `http://host:port` or `https://host:port`
    server: String,
    /// A file with the certificate that vouches for an `https://` server.
    ca: Option<PathBuf>,
    shown: Shown,
}

/// A body, as octets.
enum Sent {
    Nothing,
    Open(Bytes),
    /// Nobody on the way may read it.
    Secret(Bytes),
}

impl Client {
    /// For whoever has that token, if it is one.
    pub fn new(server: String, ca: Option<PathBuf>, token: Option<String>) -> Self {
        Self { server, ca, shown: token.map_or(Shown::Nothing, Shown::Token) }
    }

    /// Makes a call; the answer's JSON, `Null` where it has none.
    ///
    /// # Errors
    /// The server is not there, or refuses; in words.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map_or(Sent::Nothing, |body| Sent::Open(Bytes::from(body.to_string())));
        Ok(runtime()?.block_on(self.exchange(method, path, body))?.1)
    }

    /// Logs a user in, with the password of [`PASSWORD`] or one that is asked for.
    ///
    /// # Errors
    /// There is no password, others could read it on its way, or the server refuses it.
    pub fn log_in(&mut self, user: &str) -> anyhow::Result<()> {
        let runtime = runtime()?;
        // Before anybody types it.
        runtime.block_on(async { self.place()?.connect(true).await })?;
        let password = password(user)?;
        let body = Zeroizing::new(serde_json::to_vec(&Credentials { user, password: &password })?);
        let answered = runtime.block_on(self.exchange(Method::POST, LOGIN, Sent::Secret(Bytes::from_owner(body))));
        let (headers, answer) = answered.map_err(|error| match error.downcast::<Refused>() {
            // Another token would not help.
            Ok(Refused { status, detail, .. }) => anyhow!("--user {user}: the server refuses ({status}): {detail}"),
            Err(error) => error,
        })?;
        let cookie = headers.get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()?.split(';').next());
        let (cookie, csrf) = cookie.zip(answer["csrf"].as_str()).context("the server's answer has no login")?;
        let secret = |text: &str| -> anyhow::Result<HeaderValue> {
            let mut value = HeaderValue::from_str(text)?;
            value.set_sensitive(true);
            Ok(value)
        };
        self.shown = Shown::Login { cookie: secret(cookie)?, csrf: secret(csrf)? };
        Ok(())
    }

    async fn exchange(&self, method: Method, path: &str, body: Sent) -> anyhow::Result<(HeaderMap, Value)> {
        let place = self.place()?;
        let is_secret = matches!(body, Sent::Secret(_)) || matches!(self.shown, Shown::Login { .. });
        let stream = place.connect(is_secret).await?;
        let mut sender = if place.is_secured { talk(self.secure(stream, &place.host).await?).await? } else { talk(stream).await? };
        let mut request = Request::builder().method(method).uri(path).header(HOST, &place.authority).header(ACCEPT, "application/json");
        match &self.shown {
            Shown::Nothing => {}
            Shown::Token(token) => request = request.header(AUTHORIZATION, format!("Bearer {token}")),
            Shown::Login { cookie, csrf } => request = request.header(COOKIE, cookie.clone()).header("x-csrf-token", csrf.clone()),
        }
        let octets = match body {
            Sent::Nothing => Bytes::new(),
            Sent::Open(octets) | Sent::Secret(octets) => {
                request = request.header(CONTENT_TYPE, "application/json");
                octets
            }
        };
        let (head, body) = sender.send_request(request.body(Full::new(octets))?).await?.into_parts();
        let octets = body.collect().await?.to_bytes();
        let value: Value = serde_json::from_slice(&octets).unwrap_or(Value::Null);
        if !head.status.is_success() {
            let kind = value["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
            let detail = value["detail"].as_str().unwrap_or("no reason given").to_owned();
            return Err(Refused { status: head.status.as_u16(), kind, detail }.into());
        }
        Ok((head.headers, value))
    }

    /// Where its URL leads.
    fn place(&self) -> anyhow::Result<Place> {
        let (authority, is_secured) = match (self.server.strip_prefix("http://"), self.server.strip_prefix("https://")) {
            (Some(authority), _) => (authority, false),
            (None, Some(authority)) => (authority, true),
            (None, None) => return Err(BadUsage::because(format!("--server {}: not an http:// or https:// URL", self.server))),
        };
        let authority = authority.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err(BadUsage::because(format!("--server {}: a host and its port, and nothing else", self.server)));
        }
        if is_secured && self.ca.is_none() {
            return Err(BadUsage::because("an https:// server needs --ca, the file of its certificate or of the one that has signed it"));
        }
        let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|octet| octet.is_ascii_digit())) {
            authority.to_owned()
        } else {
            format!("{authority}:{}", if is_secured { 443 } else { 80 })
        };
        let host = with_port.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']).to_owned();
        Ok(Place { url: self.server.clone(), authority: authority.to_owned(), with_port, host, is_secured })
    }

    /// Makes sure who the server is.
    async fn secure(&self, stream: TcpStream, host: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let ca = self.ca.as_ref().context("no --ca")?;
        let config = client_config(ca).context("--ca")?;
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("--server {}: no host", self.server))?;
        let secured = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        secured.with_context(|| format!("no TLS connection to {}", self.server))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let (Shown::Login { .. }, Ok(runtime)) = (&self.shown, runtime()) {
            // Who is not heard is logged out by the server after a while.
            let farewell = self.exchange(Method::POST, LOGOUT, Sent::Nothing);
            let _ = runtime.block_on(async { tokio::time::timeout(FAREWELL, farewell).await });
        }
    }
}

/// Where a server is.
struct Place {
    url: String,
    /// As the URL has it.
    authority: String,
    with_port: String,
    host: String,
    /// Whether TLS hides what goes there.
    is_secured: bool,
}

impl Place {
    /// Connects; for a secret only where nobody on the way can read it.
    async fn connect(&self, is_secret: bool) -> anyhow::Result<TcpStream> {
        let connected = TcpStream::connect(&self.with_port).await;
        let stream = connected.with_context(|| format!("no server answers at {}", self.url))?;
        if is_secret && !self.is_secured {
            let (here, there) = (stream.local_addr()?.ip().to_canonical(), stream.peer_addr()?.ip().to_canonical());
            ensure!(
                there.is_loopback() || there == here,
                "a password sent to {} can be read on its way: name the server's https:// URL, or do this on its own machine",
                self.url
            );
        }
        Ok(stream)
    }
}

/// The body of a login.
#[derive(Serialize)]
struct Credentials<'a> {
    user: &'a str,
    password: &'a str,
}

/// A user's password: that of the environment, else one that is typed.
fn password(user: &str) -> anyhow::Result<Zeroizing<String>> {
    if let Ok(password) = std::env::var(PASSWORD)
        && !password.is_empty()
    {
        return Ok(Zeroizing::new(password));
    }
    ensure!(secret::can_ask(), "standard input is no terminal to ask at: {PASSWORD} is the password of {user}");
    secret::ask(vec![format!("Password of {user}: ")])?.pop().context("no password")
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
