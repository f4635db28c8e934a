//! The RTSP listener: one task a connection, and one that sweeps.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Instrument as _;

use crate::net::{Connection, Connections, Places, RequestId, now};
use crate::rtsp::decoder::{Decoder, FramingError, Item};
use crate::rtsp::message::{Request, Response, Status};
use crate::rtsp::service::{Link, Service, count_refusal, is_eager};
use crate::rtsp::turns::{Turn, Turns};

/// Players that open their demultiplexer only after they have read the response lose what comes at once.
const AFTER_RESPONSE: Duration = Duration::from_millis(20);
/// How often sessions are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// Octets that are read at once, from the stack: requests are smaller.
const READ: usize = 4 * 1024;
/// Octets of answers that wait for a connection, beside its media, before nothing more is read from it.
const ANSWERS: usize = 256 * 1024;

/// Serves connections until `stop` says so.
///
/// # Errors
/// None that a single connection causes; the listener's own.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let places = Arc::new(Places::default());
    let turns = Arc::new(Turns::default());
    let sweeper = tokio::spawn(sweep(Arc::clone(&service), Arc::clone(&connections)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
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
        let place = places.enter(peer.ip(), service.settings.connections, service.settings.connections_per_address);
        let service = Arc::clone(&service);
        let (connections, turns) = (Arc::clone(&connections), Arc::clone(&turns));
        tokio::spawn(async move {
            let _place = match place {
                Ok(place) => place,
                Err(full) => {
                    count_refusal(full.limit(), peer);
                    return refuse(&stream).await;
                }
            };
            if let Err(error) = connection(stream, peer, &service, &connections, &turns).await {
                tracing::debug!(%peer, "connection ended: {error}");
            }
        });
    }
    sweeper.abort();
    Ok(())
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

async fn connection(stream: TcpStream, peer: SocketAddr, service: &Service, connections: &Connections, turns: &Turns) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = canonical(stream.local_addr()?);
    let stream = Arc::new(stream);
    let sending = connections.register(Arc::clone(&stream), service.settings.interleaved_queue, now().mono);
    let mut link = Link::new(sending.id(), peer, local);
    let outcome = tokio::select! {
        outcome = converse(&stream, service, &mut link, &sending, turns) => outcome,
        outcome = sending.drain(|| now().mono) => outcome,
    };
    sending.close();
    connections.forget(sending.id());
    Box::pin(service.connection_closed(&link)).await;
    outcome
}

/// Reads requests and packets, in order, until the player closes.
async fn converse(stream: &TcpStream, service: &Service, link: &mut Link, sending: &Arc<Connection>, turns: &Turns) -> io::Result<()> {
    let settings = &service.settings;
    let mut decoder = Decoder::new(settings.message);
    let holds = Arc::new(AtomicU64::new(0));
    // By when the request that has begun must be there.
    let mut deadline = None;
    let mut turn = Turn::default();
    loop {
        loop {
            match decoder.next_item() {
                Ok(None) => break,
                Ok(Some(Item::Packet { channel, octets })) => Box::pin(service.interleaved(link, channel, &octets)).await,
                Ok(Some(Item::Request(request))) => {
                    match service.waits_for_source(&request, link) {
                        // Its source may take seconds.
                        true => turn.lapse(),
                        false => turn.before(&request.method, turns).await,
                    }
                    // What answering needs is there only meanwhile.
                    Box::pin(answer(&request, service, link, sending, &holds)).await;
                    turn.after(&request.method);
                    if sending.is_closed() {
                        return Ok(());
                    }
                    if is_behind(sending, settings.interleaved_queue) {
                        turn.lapse();
                        backlog(sending, settings.interleaved_queue, settings.session_timeout).await;
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
        link.end_unrecorded(now().mono);
        let until = match decoder.is_partial() {
            true => *deadline.get_or_insert_with(|| Instant::now() + settings.request_timeout),
            false => Instant::now() + settings.session_timeout,
        };
        if let Some(patience) = turn.patience()
            && (patience.is_zero() || timeout(patience, stream.readable()).await.is_err())
        {
            turn.lapse();
        }
        let record = link.record_until().map(|record| Instant::now() + record.since(now().mono));
        let wake = record.map_or(until, |record| record.min(until));
        match timeout_at(wake, stream.readable()).await {
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
        if !read(stream, &mut decoder)? {
            return Ok(());
        }
    }
}

/// Takes in what is there; whether more may come.
fn read(stream: &TcpStream, decoder: &mut Decoder) -> io::Result<bool> {
    let mut received = [0; READ];
    match stream.try_read(&mut received) {
        Ok(count) => {
            decoder.push(received.get(..count).unwrap_or_default());
            Ok(count > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

async fn answer(request: &Request, service: &Service, link: &mut Link, sending: &Arc<Connection>, holds: &Arc<AtomicU64>) {
    let hold = || {
        holds.fetch_add(1, Ordering::Relaxed);
        sending.hold_media();
    };
    let span = tracing::info_span!("rtsp", request = %RequestId::next());
    let answer = service.answer(request, link, hold).instrument(span.clone()).await;
    // Its URL may hold a key, and its session is a secret.
    span.in_scope(|| tracing::debug!(peer = %link.peer, method = %request.method, status = answer.response.status.0, "request"));
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

/// Whether a player does not read what it asked for.
fn is_behind(sending: &Connection, media: usize) -> bool {
    sending.backlog() > media.saturating_add(ANSWERS)
}

/// A player that asks without reading the answers is waited for, unless its socket takes nothing for `patience`.
async fn backlog(sending: &Connection, media: usize, patience: Duration) {
    while is_behind(sending, media) && !sending.is_closed() {
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
