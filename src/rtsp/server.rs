//! The RTSP listeners: one task a connection, and one that sweeps.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{Instrument as _, Span};

use crate::net::door::count_failed_handshake;
use crate::net::{Connection, Connections, Door, Places, RequestId, now};
use crate::rtsp::decoder::{Decoder, FramingError, Item};
use crate::rtsp::message::{Request, Response, Status};
use crate::rtsp::service::{Answer, HOLD, Link, Service, begin_counts, count_answer, count_refusal, is_eager};
use crate::rtsp::turns::{Turn, Turns};

/// Players that open their demultiplexer only after they have read the response lose what comes at once.
const AFTER_RESPONSE: Duration = Duration::from_millis(20);
/// How often sessions are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// Octets of answers that wait for a connection, beside its media, before nothing more is read from it.
const ANSWERS: usize = 256 * 1024;
/// How often it is looked whether a question has been answered.
const LOOK: Duration = Duration::from_millis(20);
/// For how long requests of one connection are answered before those of others have their turn.
const BUSY: Duration = Duration::from_millis(1);
/// Octets that are read behind a request which waits for consent, and not answered yet.
const READ_AHEAD: usize = 64 * 1024;
/// Requests behind it that wait to be answered.
const BEHIND: usize = 16;

/// What all connections share.
#[derive(Clone)]
struct House {
    service: Arc<Service>,
    connections: Arc<Connections>,
    places: Arc<Places>,
    turns: Arc<Turns>,
}

/// Serves the connections of all doors until `stop` says so.
///
/// # Errors
/// None that a single connection causes; the listeners' own.
pub async fn serve(doors: Vec<Door>, service: Arc<Service>, connections: Arc<Connections>, stop: watch::Receiver<bool>) -> io::Result<()> {
    begin_counts();
    let sweeper = tokio::spawn(sweep(Arc::clone(&service), Arc::clone(&connections)));
    let house = House { service, connections, places: Arc::default(), turns: Arc::default() };
    let mut open: JoinSet<()> = doors.into_iter().map(|door| admit(door, house.clone(), stop.clone())).collect();
    while open.join_next().await.is_some() {}
    sweeper.abort();
    Ok(())
}

/// Lets in who comes to one door.
async fn admit(door: Door, house: House, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = door.listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a peer that went away at once: others are still served.
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let peer = canonical(peer);
        let settings = &house.service.settings;
        let place = house.places.enter(peer.ip(), settings.connections, settings.connections_per_address);
        let (house, tls) = (house.clone(), door.tls.clone());
        tokio::spawn(async move {
            let _place = match place {
                Ok(place) => place,
                Err(full) => {
                    count_refusal(full.limit(), peer);
                    // Who expects TLS would not understand a word.
                    return if tls.is_none() {
                        refuse(&stream).await
                    };
                }
            };
            if let Err(error) = connection(stream, tls, peer, &house).await {
                tracing::debug!(%peer, "connection ended: {error}");
            }
        });
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => address,
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

async fn refuse(stream: &TcpStream) {
    let mut response = Response::new(Status(503));
    response.phrase = Some("Service Unavailable (too many connections)".into());
    let octets = response.emit(None);
    if stream.writable().await.is_ok() {
        // A peer that does not take even this gets nothing.
        let _ = stream.try_write(&octets);
    }
}

async fn sweep(service: Arc<Service>, connections: Arc<Connections>) {
    loop {
        sleep(SWEEP).await;
        let taken = |id: u64| connections.get(id).map(|connection| connection.last_taken());
        for id in service.sweep(taken).await {
            if let Some(connection) = connections.get(id) {
                connection.close();
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, peer: SocketAddr, house: &House) -> io::Result<()> {
    let House { service, connections, turns, .. } = house;
    stream.set_nodelay(true)?;
    let local = canonical(stream.local_addr()?);
    let (stream, queue, opened) = (Arc::new(stream), service.settings.interleaved_queue, now().mono);
    let is_secured = tls.is_some();
    let sending = match tls {
        None => connections.register(stream, queue, opened),
        Some(tls) => {
            let tls = ServerConnection::new(tls).map_err(io::Error::other)?;
            connections.register_secured(stream, tls, queue, opened)
        }
    };
    let mut link = Link::new(sending.id(), peer, local);
    link.is_secured = is_secured;
    let outcome = tokio::select! {
        outcome = converse(service, &mut link, &sending, turns) => outcome,
        outcome = sending.drain(|| now().mono) => outcome,
    };
    sending.close();
    connections.forget(sending.id());
    Box::pin(service.connection_closed(&link)).await;
    outcome
}

/// Reads requests and packets, in order, until the player closes.
async fn converse(service: &Service, link: &mut Link, sending: &Arc<Connection>, turns: &Turns) -> io::Result<()> {
    let settings = &service.settings;
    let mut decoder = Decoder::new(settings.message);
    if sending.is_shaking_hands() {
        shake_hands(sending, &mut decoder, settings.request_timeout).await?;
    }
    let holds = Arc::new(AtomicU64::new(0));
    // By when the request that has begun must be there.
    let mut deadline = None;
    let mut turn = Turn::default();
    // Read while another one waited for consent.
    let mut behind = VecDeque::new();
    let mut since = Instant::now();
    loop {
        loop {
            match behind.pop_front().map_or_else(|| decoder.next_item(), |request| Ok(Some(Item::Request(request)))) {
                Ok(None) => break,
                Ok(Some(Item::Packet { channel, octets })) => Box::pin(service.interleaved(link, channel, &octets)).await,
                Ok(Some(Item::Request(request))) => {
                    match service.waits_for_source(&request, link) {
                        // Its source may take seconds.
                        true => turn.lapse(),
                        false => turn.before(&request.method, turns).await,
                    }
                    let span = span();
                    // What answering needs is there only meanwhile.
                    if let Some(held) = Box::pin(answer(&request, &span, service, link, sending, &holds, true)).await {
                        turn.lapse();
                        match Box::pin(hold(&held, service, link, sending, &mut decoder, &mut behind, &holds)).await? {
                            Held::Gone => return Ok(()),
                            Held::Answered => drop(Box::pin(answer(&request, &span, service, link, sending, &holds, false)).await),
                            Held::Withheld => span.in_scope(|| send(&request, &held, link, sending, &holds)),
                        }
                    }
                    turn.after(&request.method);
                    if sending.is_closed() {
                        return Ok(());
                    }
                    if sending.is_behind(ANSWERS) {
                        turn.lapse();
                        backlog(sending, settings.session_timeout).await;
                    }
                    if sending.is_closed() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    turn.lapse();
                    return farewell(sending, &error, link.peer).await;
                }
            }
            deadline = None;
        }
        // Who always has something to say would keep others from being heard.
        if since.elapsed() >= BUSY {
            yield_now().await;
            since = Instant::now();
        }
        link.end_unrecorded(now().mono);
        let until = match decoder.is_partial() {
            true => *deadline.get_or_insert_with(|| Instant::now() + settings.request_timeout),
            false => Instant::now() + settings.session_timeout,
        };
        if let Some(patience) = turn.patience()
            && (patience.is_zero() || timeout(patience, sending.readable()).await.is_err())
        {
            turn.lapse();
        }
        let record = link.record_until().map(|record| Instant::now() + record.since(now().mono));
        let wake = record.map_or(until, |record| record.min(until));
        match timeout_at(wake, sending.readable()).await {
            Ok(readable) => readable?,
            Err(_) if wake < until => continue,
            Err(_) if decoder.is_partial() => {
                count_refusal("request_timeout_s", link.peer);
                sending.respond(&closing(Status(408), None).emit(None), now().mono);
                return linger().await;
            }
            // The sweeper ends silent sessions; a connection without one ends here.
            Err(_) if service.has_sessions(link) => continue,
            Err(_) => return Ok(()),
        }
        if !read(sending, &mut decoder)? {
            return Ok(());
        }
    }
}

/// Agrees on keys, within `patience`. The first request may come with the end of it.
async fn shake_hands(sending: &Connection, decoder: &mut Decoder, patience: Duration) -> io::Result<()> {
    let shaking = async {
        while sending.is_shaking_hands() {
            sending.readable().await?;
            if !read(sending, decoder)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    let outcome = timeout(patience, shaking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if let Err(error) = &outcome {
        count_failed_handshake("rtsps", error);
    }
    outcome
}

/// Takes in what is there; whether more may come.
fn read(sending: &Connection, decoder: &mut Decoder) -> io::Result<bool> {
    sending.read(|octets| decoder.push(octets), now().mono)
}

/// What a request has waited for.
enum Held {
    /// The answer is there.
    Answered,
    /// It is not, for the time being.
    Withheld,
    /// The player has gone.
    Gone,
}

/// Waits while a question is open, though not longer than players do. What comes behind the request is read meanwhile: packets are taken
/// in, and requests answered that can be; the others wait in `behind`, in their order, and where that is full nothing more is looked at.
/// A TEARDOWN of what is not yet set up ends the wait, and, as a closed connection does, the question.
async fn hold(
    held: &Answer,
    service: &Service,
    link: &mut Link,
    sending: &Arc<Connection>,
    decoder: &mut Decoder,
    behind: &mut VecDeque<Request>,
    holds: &Arc<AtomicU64>,
) -> io::Result<Held> {
    let until = Instant::now() + HOLD;
    let Some(question) = held.held.and_then(|question| service.question(question)) else {
        // It was answered at once.
        return Ok(Held::Answered);
    };
    let Some(waiting) = service.wait_for(question) else { return Ok(Held::Withheld) };
    let ends = |request: &Request| request.method == "TEARDOWN";
    if behind.iter().any(ends) {
        // It came while another one waited.
        return Ok(Held::Withheld);
    }
    let mut octets: usize = behind.iter().map(Request::octets).sum();
    let mut since = Instant::now();
    while waiting.is_asked() && Instant::now() < until {
        while behind.len() < BEHIND && octets < READ_AHEAD && !sending.is_behind(ANSWERS) {
            match decoder.next_item() {
                // What cannot be understood is said behind the answer.
                Ok(None) | Err(_) => break,
                Ok(Some(Item::Packet { channel, octets })) => Box::pin(service.interleaved(link, channel, &octets)).await,
                Ok(Some(Item::Request(request))) if Service::goes_ahead(&request) => {
                    Box::pin(answer(&request, &span(), service, link, sending, holds, false)).await;
                }
                Ok(Some(Item::Request(request))) => {
                    let is_over = ends(&request);
                    octets += request.octets();
                    behind.push_back(request);
                    if is_over {
                        return Ok(Held::Withheld);
                    }
                }
            }
        }
        if sending.is_closed() {
            return Ok(Held::Gone);
        }
        if since.elapsed() >= BUSY {
            yield_now().await;
            since = Instant::now();
        }
        if decoder.buffered() >= READ_AHEAD || sending.is_behind(ANSWERS) {
            sleep(LOOK).await;
        } else if let Ok(readable) = timeout(LOOK, sending.readable()).await {
            readable?;
            if !read(sending, decoder)? {
                return Ok(Held::Gone);
            }
        }
    }
    if waiting.is_answered() {
        return Ok(Held::Answered);
    }
    waiting.comes_back();
    Ok(Held::Withheld)
}

/// What stands in all lines of the log about one request, also behind a wait.
fn span() -> Span {
    tracing::info_span!("rtsp", request = %RequestId::next())
}

/// Answers a request. Where the answer depends on an open question and `may_hold`, nothing is sent, and the answer is given.
async fn answer(
    request: &Request,
    span: &Span,
    service: &Service,
    link: &mut Link,
    sending: &Arc<Connection>,
    holds: &Arc<AtomicU64>,
    may_hold: bool,
) -> Option<Box<Answer>> {
    let hold = || {
        holds.fetch_add(1, Ordering::Relaxed);
        sending.hold_media();
    };
    let answer = service.answer(request, link, hold).instrument(span.clone()).await;
    if may_hold && answer.held.is_some() {
        return Some(Box::new(answer));
    }
    span.in_scope(|| send(request, &answer, link, sending, holds));
    None
}

/// Sends an answer, and what was held back for it.
fn send(request: &Request, answer: &Answer, link: &Link, sending: &Arc<Connection>, holds: &Arc<AtomicU64>) {
    count_answer(request, &answer.response);
    // Its URL may hold a key, and its session is a secret.
    tracing::debug!(peer = %link.peer, method = %request.method, status = answer.response.status.0, "request");
    sending.respond(&answer.response.emit(request.sequence()), now().mono);
    if answer.media_follows {
        match is_eager(request.header("User-Agent").unwrap_or_default()) {
            true => sending.release_media(now().mono),
            false => release_later(sending, holds),
        }
    }
}

fn closing(status: Status, because: Option<&FramingError>) -> Response {
    let mut response = Response::new(status);
    response.phrase = because.map(|error| format!("{} ({error})", status.phrase()));
    response.with("Connection", "close")
}

/// Says why what came cannot be understood, and ends the connection.
async fn farewell(sending: &Connection, error: &FramingError, peer: SocketAddr) -> io::Result<()> {
    let (status, sequence, limit) = match error {
        FramingError::StartLine | FramingError::Header | FramingError::ContentLength => (Status(400), None, "syntax"),
        FramingError::HeaderTooLarge(_) => (Status(413), None, "header_bytes"),
        FramingError::BodyTooLarge { sequence, .. } => (Status(413), sequence.as_deref(), "body_bytes"),
    };
    count_refusal(limit, peer);
    sending.respond(&closing(status, Some(error)).emit(sequence), now().mono);
    linger().await
}

/// So that the answer is read before the reset that unread octets bring.
async fn linger() -> io::Result<()> {
    sleep(Duration::from_millis(50)).await;
    Ok(())
}

/// A player that asks without reading the answers is waited for, unless its socket takes nothing for `patience`.
async fn backlog(sending: &Connection, patience: Duration) {
    while sending.is_behind(ANSWERS) && !sending.is_closed() {
        if now().mono.since(sending.last_taken()) >= patience {
            sending.close();
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Lets media go unless it was held again meanwhile.
fn release_later(sending: &Arc<Connection>, holds: &Arc<AtomicU64>) {
    let (sending, holds) = (Arc::clone(sending), Arc::clone(holds));
    let hold = holds.load(Ordering::Relaxed);
    tokio::spawn(async move {
        sleep(AFTER_RESPONSE).await;
        if holds.load(Ordering::Relaxed) == hold {
            sending.release_media(now().mono);
        }
    });
}
