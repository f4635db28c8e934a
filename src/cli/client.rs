//! A small HTTP client for the operating commands.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::client_config;

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
            "; --token shows the server one of its http.tokens, or the key of the home address: where users log in to operate, being on its \
             machine is not enough"
        }
        (403, _) => "; --token shows the server an operator's token, or the key of the home address",
        (_, "care-of-unproven") => {
            "; the device itself can open the URL that `flowsteer context` prints, or its network is put into steering.trusted_care_of"
        }
        _ => "",
    }
}

/// Where the server is, and what is shown to it.
pub struct Client {
    /// `http://host:port` or `https://host:port`
    pub server: String,
    /// A file with the certificate that vouches for an `https://` server.
    pub ca: Option<PathBuf>,
    /// A bearer token.
    pub token: Option<String>,
}

impl Client {
    /// Makes a call; the answer's JSON, `Null` where it has none.
    ///
    /// # Errors
    /// The server is not there, or refuses; in words.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.call_async(method, path, body))
    }

    async fn call_async(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (authority, port) = match (self.server.strip_prefix("http://"), self.server.strip_prefix("https://")) {
            (Some(authority), _) => (authority, 80),
            (None, Some(authority)) => (authority, 443),
            (None, None) => bail!("--server {}: not an http:// or https:// URL", self.server),
        };
        let authority = authority.trim_end_matches('/');
        let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|octet| octet.is_ascii_digit())) {
            authority.to_owned()
        } else {
            format!("{authority}:{port}")
        };
        let connected = TcpStream::connect(&with_port).await;
        let stream = connected.with_context(|| format!("no server answers at {}", self.server))?;
        let mut sender = if port == 443 {
            let host = with_port.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
            talk(self.secure(stream, host).await?).await?
        } else {
            talk(stream).await?
        };
        let mut request = Request::builder().method(method).uri(path).header("host", authority).header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let octets = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let response = sender.send_request(request.body(Full::new(octets))?).await?;
        let status = response.status();
        let octets = response.into_body().collect().await?.to_bytes();
        let value: Value = serde_json::from_slice(&octets).unwrap_or(Value::Null);
        if !status.is_success() {
            let kind = value["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
            let detail = value["detail"].as_str().unwrap_or("no reason given").to_owned();
            return Err(Refused { status: status.as_u16(), kind, detail }.into());
        }
        Ok(value)
    }

    /// Makes sure who the server is.
    async fn secure(&self, stream: TcpStream, host: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let ca = self.ca.as_ref().context("an https:// server needs --ca, the file of its certificate or of the one that has signed it")?;
        let config = client_config(ca).context("--ca")?;
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("--server {}: no host", self.server))?;
        let secured = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        secured.with_context(|| format!("no TLS connection to {}", self.server))
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
