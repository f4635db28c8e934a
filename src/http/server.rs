//! The HTTP listeners: one task a connection, bounded in number, header time and body size.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    WWW_AUTHENTICATE, X_FRAME_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};
use tracing::Instrument as _;

use crate::http::api::{Api, Call, Outcome};
use crate::http::connection::Impatient;
use crate::http::event::{EventId, Named, Resumed};
use crate::http::page::{Asset, POLICY, Picture};
use crate::http::problem::Problem;
use crate::http::reach::Reach;
use crate::net::door::count_failed_handshake;
use crate::net::{Door, Places, RequestId, now};

/// Octets of a request's body.
const MAX_BODY: usize = 64 * 1024;
/// A request's headers must arrive in this time, and before them the TLS handshake in as much.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// … and its body in this.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Octets that the system keeps for a connection whose peer is slow.
const SEND_BUFFER: usize = 256 * 1024;
/// A comment keeps an event stream from looking dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// To who finds no place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

type Body = BoxBody<Bytes, Infallible>;

/// Serves the connections of all doors until `stop` says so.
///
/// # Errors
/// The listeners' own.
pub async fn serve(doors: Vec<Door>, api: Arc<Api>, stop: watch::Receiver<bool>) -> io::Result<()> {
    let places = Arc::new(Places::default());
    let mut open: JoinSet<()> = doors.into_iter().map(|door| admit(door, Arc::clone(&places), Arc::clone(&api), stop.clone())).collect();
    while open.join_next().await.is_some() {}
    Ok(())
}

/// Lets in who comes to one door.
async fn admit(door: Door, places: Arc<Places>, api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let limits = api.settings.limits;
    loop {
        let accepted = tokio::select! {
            accepted = door.listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let place = match places.enter(peer.ip(), limits.connections, limits.connections_per_address) {
            Ok(place) => place,
            Err(full) => {
                count_refusal(full.limit());
                // Who does not take even this, or expects TLS, is closed without a word.
                if door.tls.is_none() {
                    let _ = stream.try_write(FULL);
                }
                continue;
            }
        };
        // What a peer leaves lying is bounded here, and by the number of connections.
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let local = stream.local_addr().map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()));
        let Ok(local) = local else { continue };
        let way = Way { peer, local, is_secured: door.tls.is_some() };
        let (api, acceptor) = (Arc::clone(&api), door.tls.clone().map(TlsAcceptor::from));
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let _place = place;
            let served = async {
                match acceptor {
                    None => converse(stream, api, way).await,
                    Some(acceptor) => {
                        let shaken = tokio::time::timeout(HEADER_TIME, acceptor.accept(stream)).await;
                        match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                            Ok(stream) => converse(stream, api, way).await,
                            Err(error) => {
                                count_failed_handshake("https", &error);
                                tracing::debug!(%peer, "no TLS connection: {error}");
                            }
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                _ = stop.changed() => {}
            }
        });
    }
}

/// How a connection came.
#[derive(Clone, Copy)]
struct Way {
    peer: SocketAddr,
    local: SocketAddr,
    is_secured: bool,
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, api: Arc<Api>, way: Way) {
    let patience = api.settings.limits.write_timeout;
    let late = Arc::new(Notify::new());
    let answer = service_fn(|request| answer(Arc::clone(&api), request, way, Arc::clone(&late)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(Impatient::new(stream, patience)), answer);
    let ended = tokio::select! {
        ended = connection => ended,
        () = late.notified() => {
            count_refusal("picture_time");
            return tracing::debug!(peer = %way.peer, "connection ended: a picture was not taken in time");
        }
    };
    if let Err(error) = ended {
        if let Some(limit) = limit_of(&error) {
            count_refusal(limit);
        }
        tracing::debug!(peer = %way.peer, "connection ended: {error}");
    }
}

/// Counts what was refused or cut off because of a limit.
fn count_refusal(limit: &'static str) {
    metrics::counter!("flowsteer_http_refused_total", "limit" => limit).increment(1);
}

/// The limit that a connection has ended for. Headers that take too long are none: hyper ends connections that say nothing as it does those.
fn limit_of(error: &hyper::Error) -> Option<&'static str> {
    if error.is_parse_too_large() {
        return Some("header_bytes");
    }
    let source = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
    (source.kind() == io::ErrorKind::TimedOut).then_some("write_timeout_s")
}

/// Answers a request under a name of its own, which stands in each line that is logged meanwhile, and in the answer. `late` is told of
/// what was not taken in time.
async fn answer(api: Arc<Api>, request: Request<Incoming>, way: Way, late: Arc<Notify>) -> Result<Response<Body>, Infallible> {
    let id = RequestId::next();
    let span = tracing::info_span!("http", request = %id);
    // What stands behind the path may be a secret.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = respond_to(api, request, way, late).instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(peer = %way.peer, %method, path, status = response.status().as_u16(), "request"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    Ok(response)
}

async fn respond_to(api: Arc<Api>, request: Request<Incoming>, way: Way, late: Arc<Notify>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            // One that breaks off before is its peer's affair.
            if error.is::<LengthLimitError>() {
                count_refusal("body_bytes");
            }
            return refuse(&Problem::new(413, "too-large", "the body is too large or broken"));
        }
        Err(_) => {
            count_refusal("body_time");
            return refuse(&Problem::new(408, "timeout", "the body took too long"));
        }
    };
    let Way { peer, local, is_secured } = way;
    // The same answer; its body is left out by hyper (RFC 9110 section 9.3.2).
    let method = if head.method == Method::HEAD { Method::GET } else { head.method };
    let call = Call { method, uri: head.uri, headers: head.headers, body, peer, local, is_secured };
    match api.answer(&call).await {
        Ok(Outcome::Json(status, value)) => json_response(status, "application/json", value.to_string()),
        Ok(Outcome::Cookie(value, cookie)) => {
            let mut response = match value {
                Some(value) => json_response(200, "application/json", value.to_string()),
                None => respond(StatusCode::NO_CONTENT, None, full(Bytes::new())),
            };
            if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
                cookie.set_sensitive(true);
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
        Ok(Outcome::Empty) => respond(StatusCode::NO_CONTENT, None, full(Bytes::new())),
        Ok(Outcome::Text(kind, text)) => respond(StatusCode::OK, Some(kind), full(Bytes::from(text))),
        Ok(Outcome::Page(asset, known)) => page(asset, known),
        Ok(Outcome::Picture(picture)) => show(picture, api.settings.limits.picture_time, late),
        Ok(Outcome::Events(reach)) => events(&api, reach, call.headers.get("last-event-id").map(HeaderValue::as_bytes)),
        Err(problem) => refuse(&problem),
    }
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

/// A file of the page, or that it is the one that the asker has. It is asked for each time, so that a newer server's page is not an
/// older one's.
fn page(asset: &'static Asset, known: bool) -> Response<Body> {
    let (status, text) = if known { (StatusCode::NOT_MODIFIED, "") } else { (StatusCode::OK, asset.text) };
    let mut response = respond(status, (!known).then_some(asset.kind), full(Bytes::from_static(text.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(tag) = HeaderValue::from_str(&asset.tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// A picture that is being written, until the last of it has gone.
struct OnItsWay {
    picture: Picture,
    _gone: oneshot::Sender<Infallible>,
}

impl AsRef<[u8]> for OnItsWay {
    fn as_ref(&self) -> &[u8] {
        self.picture.as_ref()
    }
}

/// A picture out of a file of somebody: it is shown as what it is, and nothing in it is followed. It takes a place that others wait for:
/// who takes it octet by octet does not have it for long.
fn show(picture: Picture, patience: Duration, late: Arc<Notify>) -> Response<Body> {
    let kind = picture.kind();
    let (gone, when_gone) = oneshot::channel();
    tokio::spawn(async move {
        if tokio::time::timeout(patience, when_gone).await.is_err() {
            late.notify_one();
        }
    });
    let mut response = respond(StatusCode::OK, Some(kind), full(Bytes::from_owner(OnItsWay { picture, _gone: gone })));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

fn refuse(problem: &Problem) -> Response<Body> {
    let mut response = json_response(problem.status, "application/problem+json", problem.body().to_string());
    if problem.status == 401 {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flowsteer\""));
    }
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = problem.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// What an event stream waits for.
enum Told {
    /// Where it begins, and whether events before that are lost.
    Begin(EventId, Option<Option<u64>>),
    Event(Named),
    Missed(u64),
    Tick,
}

/// Server-sent events (WHATWG HTML section 9.2), behind the last one that the listener has heard, until its right has ended.
fn events(api: &Arc<Api>, mut reach: Reach, last: Option<&[u8]>) -> Response<Body> {
    // A browser sends none where it has heard none.
    let last = last.filter(|last| !last.is_empty()).map(|last| std::str::from_utf8(last).unwrap_or("?"));
    let Resumed { behind, missed, again, coming } = api.announcer.listen(last);
    let coming = BroadcastStream::new(coming).map(|event| match event {
        Ok(event) => Told::Event(event),
        Err(BroadcastStreamRecvError::Lagged(missed)) => Told::Missed(missed),
    });
    let before = std::iter::once(Told::Begin(behind, missed)).chain(again.into_iter().map(Told::Event));
    let ticks = IntervalStream::new(tokio::time::interval(KEEP_ALIVE)).map(|_| Told::Tick);
    let steering = Arc::clone(&api.steering);
    let told = tokio_stream::iter(before).chain(coming);
    let texts = told.merge(ticks).map_while(move |told| match told {
        Told::Event(named) if reach.admits(&named.1, &steering, now()) => {
            let (id, event) = &*named;
            Some(format!("id: {id}\nevent: {}\ndata: {}\n\n", event.name, event.data))
        }
        _ if reach.is_over(&steering, now()) => None,
        Told::Event(_) => Some(String::new()),
        // It is heard by no page: it only says where to go on.
        Told::Begin(behind, None) => Some(format!("id: {behind}\n\n")),
        Told::Begin(behind, Some(missed)) => Some(format!("id: {behind}\nevent: missed\ndata: {}\n\n", json!({ "events": missed }))),
        Told::Missed(missed) => Some(format!("event: missed\ndata: {}\n\n", json!({ "events": missed }))),
        Told::Tick => Some(": still here\n\n".to_owned()),
    });
    let frames = texts.filter(|text| !text.is_empty()).map(|text| Ok(Frame::data(Bytes::from(text))));
    respond(StatusCode::OK, Some("text/event-stream"), BodyExt::boxed(StreamBody::new(frames)))
}
