//! A small HTTP client for the operating commands.

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

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
        (401 | 403, _) => "; --token shows the server an operator's token, or the key of the home address",
        (_, "care-of-unproven") => {
            "; the device itself can open the URL that `flowsteer context` prints, or its network is put into steering.trusted_care_of"
        }
        _ => "",
    }
}

/// Where the server is, and what is shown to it.
pub struct Client {
    /// `http://host:port`
    pub server: String,
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
        let authority = self.server.strip_prefix("http://").with_context(|| format!("--server {}: not an http:// URL", self.server))?;
        let authority = authority.trim_end_matches('/');
        let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|octet| octet.is_ascii_digit())) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let stream = TcpStream::connect(&with_port).await.with_context(|| format!("no server answers at {}", self.server))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
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
}
