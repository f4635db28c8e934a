//! Asks a service whether a flow may go to a device: one POST, `{"home", "flow", "homes", "taker", "way"}`, answered with 200 and
//! `{"allow": true}`. Anything else, and silence, is no. Redirects are not followed: only the configured host is asked.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::now::Now;
use crate::steering::BindingCache;
use crate::steering::consent::Question;

/// How long the service may take. A player waits for 7 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has so many octets at most.
const MAX_ANSWER: usize = 4096;

/// Why a service has given no answer.
#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("its URL has no host")]
    NoHost,
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    TooLong,
    #[error("it is not there: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("it speaks no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("no request can be made for it: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("its answer is too large or broken")]
    Body,
}

/// Whether the service at `url` allows what a question is about.
pub async fn allows(url: &str, question: &Question, steering: &BindingCache, now: Now) -> bool {
    let first = question.flows.first().map(|(home, _)| *home);
    let label = first.and_then(|home| steering.home_view(home, now)?.label).map(|label| label.to_string());
    let body = json!({
        "home": first.map(|home| home.to_string()),
        "flow": label,
        "homes": question.flows.iter().map(|(home, _)| home.to_string()).collect::<Vec<_>>(),
        "taker": question.taker.to_string(),
        "way": question.way.as_str(),
    });
    let answer = tokio::time::timeout(PATIENCE, ask(url, &body)).await.unwrap_or(Err(WebhookError::TooLong));
    let outcome = match &answer {
        Ok(true) => "allowed",
        Ok(false) => "refused",
        Err(_) => "failed",
    };
    metrics::counter!("flowsteer_consent_webhook_total", "outcome" => outcome).increment(1);
    answer.unwrap_or_else(|error| {
        tracing::warn!("the service that consents gave no answer, which is no: {error}");
        false
    })
}

async fn ask(url: &str, body: &Value) -> Result<bool, WebhookError> {
    let uri: Uri = url.parse().map_err(|_| WebhookError::NoHost)?;
    let host = uri.host().ok_or(WebhookError::NoHost)?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path).header("host", authority).header("content-type", "application/json");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_string())))?).await?;
    if response.status() != StatusCode::OK {
        return Err(WebhookError::Status(response.status()));
    }
    let octets = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|_| WebhookError::Body)?.to_bytes();
    connection.abort();
    let answer: Value = serde_json::from_slice(&octets).map_err(|_| WebhookError::Body)?;
    Ok(answer["allow"] == true)
}
