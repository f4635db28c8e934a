//! The HTTP listener: one task a connection, bounded in number, header time and body size.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use crate::http::api::{Api, Call, Outcome};
use crate::http::problem::Problem;

/// Octets of a request's body.
const MAX_BODY: usize = 64 * 1024;
/// Connections in all.
const MAX_CONNECTIONS: usize = 2048;
/// A request's headers must arrive in this time.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// … and its body in this.
const BODY_TIME: Duration = Duration::from_secs(10);
/// A comment keeps an event stream from looking dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Body = BoxBody<Bytes, Infallible>;

/// Serves connections until `stop` says so.
///
/// # Errors
/// The listener's own.
pub async fn serve(listener: TcpListener, api: Arc<Api>, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // Too many: it is closed, which is what a client sees of a full server.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let local = stream.local_addr().map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()));
        let Ok(local) = local else { continue };
        let api = Arc::clone(&api);
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(|request| answer(Arc::clone(&api), request, peer, local));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(64 * 1024)
                .serve_connection(TokioIo::new(stream), answer);
            let outcome = tokio::select! {
                outcome = connection => outcome,
                _ = stop.changed() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::debug!(%peer, "connection ended: {error}");
            }
        });
    }
}

async fn answer(api: Arc<Api>, request: Request<Incoming>, peer: SocketAddr, local: SocketAddr) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(refuse(&Problem::new(413, "too-large", "the body is too large or broken"))),
        Err(_) => return Ok(refuse(&Problem::new(408, "timeout", "the body took too long"))),
    };
    let call = Call { method: head.method, uri: head.uri, headers: head.headers, body, peer, local };
    Ok(match api.answer(&call).await {
        Ok(Outcome::Json(status, value)) => json_response(status, "application/json", value.to_string()),
        Ok(Outcome::Empty) => respond(StatusCode::NO_CONTENT, None, full(Bytes::new())),
        Ok(Outcome::Text(kind, text)) => respond(StatusCode::OK, Some(kind), full(Bytes::from(text))),
        Ok(Outcome::Events) => events(&api),
        Err(problem) => refuse(&problem),
    })
}

fn full(octets: Bytes) -> Body {
    Full::new(octets).boxed()
}

fn respond(status: StatusCode, kind: Option<&'static str>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

fn json_response(status: u16, kind: &'static str, text: String) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(status, Some(kind), full(Bytes::from(text)))
}

fn refuse(problem: &Problem) -> Response<Body> {
    let mut response = json_response(problem.status, "application/problem+json", problem.body().to_string());
    if problem.status == 401 {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flowsteer\""));
    }
    if let Some(allow) = problem.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Server-sent events (WHATWG HTML section 9.2).
fn events(api: &Api) -> Response<Body> {
    let told = BroadcastStream::new(api.announcer.listen()).map(|event| match event {
        Ok(event) => format!("event: {}\ndata: {}\n\n", event.name, event.data),
        Err(tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged(missed)) => {
            format!("event: missed\ndata: {}\n\n", json!({ "events": missed }))
        }
    });
    let comments = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(KEEP_ALIVE)).map(|_| ": still here\n\n".to_owned());
    let frames = told.merge(comments).map(|text| Ok(Frame::data(Bytes::from(text))));
    let body = StreamBody::new(frames);
    respond(StatusCode::OK, Some("text/event-stream"), BodyExt::boxed(body))
}
