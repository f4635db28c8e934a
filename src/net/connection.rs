//! The sending half of a TCP connection that carries RTSP responses and interleaved packets.
//!
//! Two kinds of writers share it: the connection's own task (responses, never refused) and the data plane (media, may
//! be refused). A write goes straight to the socket where that takes it; the rest waits here, bounded, and the task
//! drains it. Messages are never mixed: what was begun is finished before the next one.
//!
//! Media may be held back until a response is out ([`Connection::hold_media`]): what is offered meanwhile waits behind
//! it.
//!
//! A connection may be secured by TLS. Then what waits does so as it was offered, and is sealed when the socket takes it.

use std::collections::VecDeque;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::DashMap;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::net::room::Room;
use crate::net::secured::Secured;
use crate::now::Mono;

/// Octets that are read at once, from the stack: requests are smaller.
const READ: usize = 4 * 1024;

/// What became of media that was offered to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Taken: written, or waiting its turn.
    Taken,
    /// Not taken: too much is waiting already.
    Full,
    /// The connection is gone.
    Closed,
}

/// The sending half of a connection; where it is secured, both halves, since they share their keys.
pub struct Connection {
    id: u64,
    is_secured: bool,
    stream: Arc<TcpStream>,
    limit: usize,
    room: Arc<Room>,
    outbound: Mutex<Outbound>,
    drain: Notify,
    /// When the socket last took something, in nanoseconds of the monotonic clock.
    last_taken: AtomicU64,
}

#[derive(Default)]
struct Outbound {
    waiting: VecDeque<u8>,
    held: Vec<u8>,
    media_held: bool,
    closed: bool,
    /// Octets of answers among what waits, at most.
    answers: usize,
    /// What the room was told.
    noted: usize,
    /// Where the connection is secured.
    tls: Option<Box<Secured>>,
}

impl Outbound {
    /// Octets that wait for the socket.
    fn backlog(&self) -> usize {
        self.waiting.len() + self.held.len() + self.tls.as_ref().map_or(0, |tls| tls.backlog())
    }
}

/// The outbound half while somebody has it; how much waits, and of it answers, is noted behind that.
struct Looked<'c> {
    outbound: MutexGuard<'c, Outbound>,
    room: &'c Room,
}

impl Deref for Looked<'_> {
    type Target = Outbound;

    fn deref(&self) -> &Outbound {
        &self.outbound
    }
}

impl DerefMut for Looked<'_> {
    fn deref_mut(&mut self) -> &mut Outbound {
        &mut self.outbound
    }
}

impl Drop for Looked<'_> {
    fn drop(&mut self) {
        let backlog = self.outbound.backlog();
        self.room.note(backlog, self.outbound.noted);
        self.outbound.noted = backlog;
        // What leaves sealed is not counted: there are no more answers than there is to be sent.
        self.outbound.answers = self.outbound.answers.min(backlog - self.outbound.held.len());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let outbound = self.outbound.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.room.note(0, outbound.noted);
    }
}

impl Connection {
    /// Queues a response. Never refused: who asks is not read on while it [is behind](Self::is_behind).
    pub fn respond(&self, message: &[u8], now: Mono) {
        let mut outbound = self.lock();
        if !outbound.closed {
            let before = outbound.backlog();
            self.write(&mut outbound, message, now);
            outbound.answers += outbound.backlog().saturating_sub(before);
        }
    }

    /// Whether more than so many octets of answers wait, or less where many connections are behind.
    pub fn is_behind(&self, answers: usize) -> bool {
        self.lock().answers > self.room.share(answers)
    }

    /// Offers framed packets (`$`, channel, length, packet, …), all or nothing. Where nothing waits they are taken,
    /// however many: an access unit larger than the limit would never go otherwise.
    pub fn offer(&self, frames: &[u8], now: Mono) -> Offer {
        let mut outbound = self.lock();
        let waiting = outbound.backlog();
        if !outbound.closed && waiting > 0 && waiting + frames.len() > self.room.share(self.limit) {
            return Offer::Full;
        }
        self.enqueue(&mut outbound, frames, now)
    }

    /// Queues a small frame that nothing repeats (a BYE) behind whatever waits.
    pub fn insist(&self, frame: &[u8], now: Mono) -> Offer {
        self.enqueue(&mut self.lock(), frame, now)
    }

    fn enqueue(&self, outbound: &mut Outbound, frames: &[u8], now: Mono) -> Offer {
        if outbound.closed {
            return Offer::Closed;
        }
        if outbound.media_held {
            outbound.held.extend_from_slice(frames);
        } else {
            self.write(outbound, frames, now);
        }
        Offer::Taken
    }

    /// Forgets what is held back for a channel: it is of a position that is left.
    pub fn discard_held(&self, channel: u8) {
        let mut outbound = self.lock();
        let held = std::mem::take(&mut outbound.held);
        let mut rest = held.as_slice();
        while let &[b'$', of, high, low, ..] = rest {
            let (frame, behind) = rest.split_at((4 + usize::from(u16::from_be_bytes([high, low]))).min(rest.len()));
            if of != channel {
                outbound.held.extend_from_slice(frame);
            }
            rest = behind;
        }
    }

    /// Octets that wait for the socket.
    pub fn backlog(&self) -> usize {
        self.lock().backlog()
    }

    /// Holds media back from now on, until [`Connection::release_media`].
    pub fn hold_media(&self) {
        self.lock().media_held = true;
    }

    /// Lets media go again, first what was held.
    pub fn release_media(&self, now: Mono) {
        let mut outbound = self.lock();
        outbound.media_held = false;
        let held = std::mem::take(&mut outbound.held);
        if !outbound.closed && !held.is_empty() {
            self.write(&mut outbound, &held, now);
        }
    }

    /// Waits for the socket to take what waits. Runs until the connection is closed; never returns otherwise.
    ///
    /// # Errors
    /// The socket's.
    pub async fn drain(&self, clock: impl Fn() -> Mono) -> io::Result<()> {
        loop {
            let idle = {
                let outbound = self.lock();
                if outbound.closed {
                    return Ok(());
                }
                outbound.waiting.is_empty() && outbound.tls.as_ref().is_none_or(|tls| tls.backlog() == 0)
            };
            if idle {
                self.drain.notified().await;
                continue;
            }
            self.stream.writable().await?;
            let mut outbound = self.lock();
            self.flush(&mut outbound, clock())?;
        }
    }

    /// Waits until something can be read.
    ///
    /// # Errors
    /// The socket's.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Hands what has come to `take`; whether more may come.
    ///
    /// # Errors
    /// The socket's; [`io::ErrorKind::InvalidData`] where the peer breaks the rules of TLS.
    pub fn read(&self, mut take: impl FnMut(&[u8]), now: Mono) -> io::Result<bool> {
        let mut received = [0; READ];
        if !self.is_secured {
            return match self.stream.try_read(&mut received) {
                Ok(count) => {
                    take(received.get(..count).unwrap_or_default());
                    Ok(count > 0)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
                Err(error) => Err(error),
            };
        }
        let mut outbound = self.lock();
        let Some(tls) = &mut outbound.tls else { return Ok(false) };
        let more = tls.receive(&self.stream, &mut received, take);
        // Reading may have made something to be sent.
        let flushed = self.flush(&mut outbound, now);
        if outbound.backlog() > 0 {
            self.drain.notify_one();
        }
        more.and_then(|more| flushed.map(|()| more))
    }

    /// Whether it is secured, and the keys have yet to be agreed on. Reading brings that on.
    pub fn is_shaking_hands(&self) -> bool {
        self.is_secured && self.lock().tls.as_ref().is_some_and(|tls| tls.is_shaking_hands())
    }

    /// Whether it is secured.
    pub const fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Refuses everything from now on and forgets what waits; the socket itself closes when its last holder drops it.
    pub fn close(&self) {
        let mut outbound = self.lock();
        let is_whole = !outbound.closed && outbound.waiting.is_empty();
        if let Some(tls) = outbound.tls.as_mut().filter(|_| is_whole) {
            tls.say_goodbye(&self.stream);
        }
        outbound.closed = true;
        outbound.tls = None;
        outbound.waiting = VecDeque::new();
        outbound.held = Vec::new();
        outbound.answers = 0;
        self.drain.notify_one();
    }

    /// Whether it was closed, or the socket failed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Its number.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// When the socket last took something.
    pub fn last_taken(&self) -> Mono {
        Mono::from_nanos(self.last_taken.load(Ordering::Relaxed))
    }

    fn write(&self, outbound: &mut Outbound, octets: &[u8], now: Mono) {
        let mut rest = octets;
        if outbound.waiting.is_empty() {
            while !rest.is_empty() {
                match self.put(&mut outbound.tls, rest) {
                    Ok(taken) if taken > 0 => {
                        self.last_taken.store(now.as_nanos(), Ordering::Relaxed);
                        rest = &rest[taken..];
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => {
                        outbound.closed = true;
                        break;
                    }
                }
            }
        }
        if outbound.closed {
            self.drain.notify_one();
        } else if !rest.is_empty() {
            outbound.waiting.extend(rest);
            self.drain.notify_one();
        } else if outbound.tls.as_ref().is_some_and(|tls| tls.backlog() > 0) {
            self.drain.notify_one();
        }
    }

    /// Gives the socket, or what seals for it, as much as it takes at once.
    fn put(&self, tls: &mut Option<Box<Secured>>, octets: &[u8]) -> io::Result<usize> {
        match tls {
            Some(tls) => tls.put(&self.stream, octets),
            // Nothing goes out unsealed.
            None if self.is_secured => Err(io::ErrorKind::NotConnected.into()),
            None => self.stream.try_write(octets),
        }
    }

    fn flush(&self, outbound: &mut Outbound, now: Mono) -> io::Result<()> {
        while !outbound.waiting.is_empty() {
            let (front, _) = outbound.waiting.as_slices();
            match self.put(&mut outbound.tls, front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.last_taken.store(now.as_nanos(), Ordering::Relaxed);
                    outbound.waiting.drain(..taken);
                    // As if all of it had been answers: media must not keep a request from being read.
                    outbound.answers = outbound.answers.saturating_sub(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    outbound.closed = true;
                    return Err(error);
                }
            }
        }
        if let Some(tls) = &mut outbound.tls {
            match tls.flush(&self.stream) {
                Ok(0) => {}
                Ok(_) => self.last_taken.store(now.as_nanos(), Ordering::Relaxed),
                Err(error) => {
                    outbound.closed = true;
                    return Err(error);
                }
            }
        }
        if outbound.waiting.is_empty() && outbound.waiting.capacity() > 64 * 1024 {
            outbound.waiting = VecDeque::new();
        }
        Ok(())
    }

    fn lock(&self) -> Looked<'_> {
        Looked { outbound: self.outbound.lock().unwrap_or_else(PoisonError::into_inner), room: &self.room }
    }
}

/// All connections that may carry media, by number.
#[derive(Default)]
pub struct Connections {
    next: AtomicU64,
    live: DashMap<u64, Weak<Connection>>,
    room: Arc<Room>,
}

impl Connections {
    /// Takes a connection in; at most `limit` octets of media wait for its socket, and 64 KiB where those of all connections are 512 MiB.
    pub fn register(&self, stream: Arc<TcpStream>, limit: usize, now: Mono) -> Arc<Connection> {
        self.take_in(stream, None, limit, now)
    }

    /// As [`Connections::register`], for a connection that TLS secures. Beside `limit`, 64 KiB wait sealed.
    pub fn register_secured(&self, stream: Arc<TcpStream>, tls: ServerConnection, limit: usize, now: Mono) -> Arc<Connection> {
        self.take_in(stream, Some(Box::new(Secured::new(tls))), limit, now)
    }

    fn take_in(&self, stream: Arc<TcpStream>, tls: Option<Box<Secured>>, limit: usize, now: Mono) -> Arc<Connection> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Arc::new(Connection {
            id,
            is_secured: tls.is_some(),
            stream,
            limit,
            room: Arc::clone(&self.room),
            outbound: Mutex::new(Outbound { tls, ..Outbound::default() }),
            drain: Notify::new(),
            last_taken: AtomicU64::new(now.as_nanos()),
        });
        self.live.insert(id, Arc::downgrade(&connection));
        connection
    }

    /// The connection of that number, if it lives.
    pub fn get(&self, id: u64) -> Option<Arc<Connection>> {
        self.live.get(&id)?.upgrade()
    }

    /// Whether no connection has anything left to send.
    pub fn are_drained(&self) -> bool {
        self.live.iter().filter_map(|connection| connection.upgrade()).all(|connection| connection.backlog() == 0)
    }

    /// Forgets a connection.
    pub fn forget(&self, id: u64) {
        self.live.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    /// A connection whose queue takes `limit` octets, and its peer.
    async fn pair(limit: usize) -> (Connections, Arc<Connection>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
        let peer = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody connects");
        let connections = Connections::default();
        let connection = connections.register(Arc::new(stream), limit, Mono::default());
        (connections, connection, peer)
    }

    fn frame(channel: u8, octets: &[u8]) -> Vec<u8> {
        [&[b'$', channel, 0, octets.len() as u8], octets].concat()
    }

    #[tokio::test]
    async fn a_unit_larger_than_the_queue_is_taken_where_nothing_waits() {
        let (connections, connection, mut peer) = pair(1000).await;
        let unit = vec![7; 16 << 20];
        assert_eq!(connection.offer(&unit, Mono::default()), Offer::Taken);
        assert!(connection.backlog() > 1000 && !connections.are_drained(), "no socket takes 16 MB at once");
        assert_eq!(connection.offer(&[7; 10], Mono::default()), Offer::Full);
        assert_eq!(connection.insist(&[8; 10], Mono::default()), Offer::Taken);
        let mut received = vec![0; unit.len() + 10];
        tokio::select! {
            outcome = connection.drain(Mono::default) => panic!("the connection ended: {outcome:?}"),
            outcome = peer.read_exact(&mut received) => drop(outcome.expect("all of it comes")),
        }
        assert!(received.starts_with(&unit) && received.ends_with(&[8; 10]));
        assert!(connections.are_drained());
    }

    #[tokio::test]
    async fn answers_put_a_connection_behind_and_media_do_not() {
        const ANSWERS: usize = 100_000;
        let (_connections, connection, mut peer) = pair(1 << 20).await;
        assert_eq!(connection.offer(&vec![7; 16 << 20], Mono::default()), Offer::Taken);
        assert!(connection.backlog() > ANSWERS && !connection.is_behind(ANSWERS));
        let said = (0..10_000).take_while(|_| {
            connection.respond(&[8; 1000], Mono::default());
            !connection.is_behind(ANSWERS)
        });
        assert_eq!(said.count(), ANSWERS / 1000);
        // Whoever reads is not behind for long.
        let mut received = vec![0; 16 << 20];
        tokio::select! {
            outcome = connection.drain(Mono::default) => panic!("the connection ended: {outcome:?}"),
            outcome = peer.read_exact(&mut received) => drop(outcome.expect("all of it comes")),
        }
        assert!(!connection.is_behind(ANSWERS));
    }

    #[tokio::test]
    async fn where_all_together_are_far_behind_each_keeps_little() {
        const ALL: usize = 300_000;
        const LIMIT: usize = 1 << 20;
        let connections = Connections { room: Arc::new(Room::of(ALL)), ..Connections::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
        let mut both = Vec::new();
        for _ in 0..2 {
            let peer = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
            let (stream, _) = listener.accept().await.expect("somebody connects");
            both.push((connections.register(Arc::new(stream), LIMIT, Mono::default()), peer));
        }
        let fill = |connection: &Connection| while connection.offer(&[7; 1000], Mono::default()) == Offer::Taken {};
        let [(first, _), (second, _)] = &both[..] else { panic!("two") };
        fill(first);
        assert!((ALL..ALL + 1000).contains(&first.backlog()), "{} octets", first.backlog());
        fill(second);
        assert!((60_000..=64 << 10).contains(&second.backlog()), "{} octets", second.backlog());
        second.respond(&[8; 70_000], Mono::default());
        assert!(second.is_behind(256 << 10) && !first.is_behind(0));
        assert_eq!(connections.room.taken(), first.backlog() + second.backlog());
        // The first one is gone: there is room.
        first.close();
        assert!(!second.is_behind(256 << 10));
        fill(second);
        assert!(second.backlog() > ALL - 1000, "{} octets", second.backlog());
        let second = second.backlog();
        assert_eq!(connections.room.taken(), second);
        drop(both);
        assert_eq!(connections.room.taken(), 0);
    }

    #[tokio::test]
    async fn what_is_held_of_one_channel_is_forgotten_and_the_rest_comes_behind_the_response() {
        let (_connections, connection, mut peer) = pair(1000).await;
        connection.hold_media();
        for (channel, octets) in [(0, b"old"), (1, b"rtc"), (0, b"old"), (2, b"two")] {
            assert_eq!(connection.offer(&frame(channel, octets), Mono::default()), Offer::Taken);
        }
        connection.discard_held(0);
        assert_eq!(connection.offer(&frame(0, b"new"), Mono::default()), Offer::Taken);
        connection.respond(b"response", Mono::default());
        connection.release_media(Mono::default());
        let expected = [b"response".to_vec(), frame(1, b"rtc"), frame(2, b"two"), frame(0, b"new")].concat();
        let mut received = vec![0; expected.len()];
        peer.read_exact(&mut received).await.expect("all of it comes");
        assert_eq!(received, expected);
    }

    /// Our end of a TLS connection, and the certificate that it shows.
    fn our_end() -> (ServerConnection, CertificateDer<'static>) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
        parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
        let certificate = parameters.self_signed(&key).expect("signed").der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).expect("a pair");
        (ServerConnection::new(Arc::new(server)).expect("it can be used"), certificate)
    }

    /// As [`pair`], over TLS.
    async fn secured_pair(limit: usize) -> (Connections, Arc<Connection>, TlsStream<TcpStream>) {
        let (tls, certificate) = our_end();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let client = client.with_root_certificates(roots).with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
        let peer = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody connects");
        let connections = Connections::default();
        let connection = connections.register_secured(Arc::new(stream), tls, limit, Mono::default());
        let shaking = async {
            while connection.is_shaking_hands() {
                connection.readable().await.expect("the socket lives");
                assert!(connection.read(|_| panic!("nothing was said"), Mono::default()).expect("a good handshake"));
            }
        };
        let name = "localhost".try_into().expect("a name");
        let (peer, ()) = tokio::join!(TlsConnector::from(Arc::new(client)).connect(name, peer), shaking);
        (connections, connection, peer.expect("a good handshake"))
    }

    #[tokio::test]
    async fn over_tls_all_comes_in_order_both_ways_and_a_goodbye_at_the_end() {
        let (connections, connection, mut peer) = secured_pair(1000).await;
        let unit: Vec<u8> = (0..16_u32 << 20).map(|at| (at % 251) as u8).collect();
        assert_eq!(connection.offer(&unit, Mono::default()), Offer::Taken);
        assert!(connection.backlog() > 1000 && !connections.are_drained(), "no socket takes 16 MB at once");
        assert_eq!(connection.offer(&[7; 10], Mono::default()), Offer::Full);
        assert_eq!(connection.insist(&[8; 10], Mono::default()), Offer::Taken);
        let mut received = vec![0; unit.len() + 10];
        tokio::select! {
            outcome = connection.drain(Mono::default) => panic!("the connection ended: {outcome:?}"),
            outcome = peer.read_exact(&mut received) => drop(outcome.expect("all of it comes")),
        }
        assert!(received.starts_with(&unit) && received.ends_with(&[8; 10]));
        assert!(connections.are_drained());
        let request: Vec<u8> = (0..100_000_u32).map(|at| (at % 241) as u8).collect();
        let mut read = Vec::new();
        let reading = async {
            while read.len() < request.len() {
                connection.readable().await.expect("the socket lives");
                assert!(connection.read(|octets| read.extend_from_slice(octets), Mono::default()).expect("good records"));
            }
        };
        let (written, ()) = tokio::join!(async { peer.write_all(&request).await.and(peer.flush().await) }, reading);
        written.expect("it is taken");
        assert_eq!(read, request);
        connection.close();
        assert_eq!(peer.read(&mut [0; 10]).await.expect("a goodbye, and no mere end"), 0);
    }

    #[tokio::test]
    async fn over_tls_a_peer_that_reads_nothing_costs_no_more_than_the_limit() {
        const LIMIT: usize = 200_000;
        let (_connections, connection, _peer) = secured_pair(LIMIT).await;
        let frames = vec![b'$'; 1000];
        let taken = (0..100_000).take_while(|_| connection.offer(&frames, Mono::default()) == Offer::Taken).count();
        assert!(taken < 100_000, "what the sockets hold is bounded");
        let full = connection.backlog();
        assert!(full > LIMIT / 2 && full <= LIMIT, "{full} octets wait");
        // The sockets may take some more still.
        for _ in 0..1000 {
            let _ = connection.offer(&frames, Mono::default());
            assert!(connection.backlog() <= LIMIT);
        }
        let room = connection.lock().waiting.capacity();
        assert!(room <= 2 * LIMIT, "{room} octets of memory");
    }

    #[tokio::test]
    async fn over_tls_answers_that_have_gone_put_a_connection_behind_no_more() {
        let (_connections, connection, mut peer) = secured_pair(1 << 20).await;
        for _ in 0..3 {
            let mut said = 0;
            while connection.backlog() < 40_000 {
                connection.respond(&[8; 1000], Mono::default());
                said += 1000;
            }
            assert!(connection.lock().waiting.is_empty() && connection.is_behind(30_000), "they wait sealed");
            let mut received = vec![0; said];
            tokio::select! {
                outcome = connection.drain(Mono::default) => panic!("the connection ended: {outcome:?}"),
                outcome = peer.read_exact(&mut received) => drop(outcome.expect("all of it comes")),
            }
            assert!(!connection.is_behind(0), "nothing waits");
        }
    }

    #[tokio::test]
    async fn over_tls_who_speaks_in_the_clear_is_refused() {
        let (tls, _) = our_end();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
        let mut peer = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody connects");
        let connection = Connections::default().register_secured(Arc::new(stream), tls, 1000, Mono::default());
        peer.write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n").await.expect("it is taken");
        connection.readable().await.expect("the socket lives");
        let outcome = connection.read(|_| panic!("nothing is understood"), Mono::default());
        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
    }
}
