//! The sending half of a TCP connection that carries RTSP responses and interleaved packets.
//!
//! Two kinds of writers share it: the connection's own task (responses, never refused) and the data plane (media, may
//! be refused). A write goes straight to the socket where that takes it; the rest waits here, bounded, and the task
//! drains it. Messages are never mixed: what was begun is finished before the next one.
//!
//! Media may be held back until a response is out ([`Connection::hold_media`]): what is offered meanwhile waits behind
//! it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::DashMap;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::now::Mono;

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

/// The sending half of a connection.
pub struct Connection {
    id: u64,
    stream: Arc<TcpStream>,
    limit: usize,
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
}

impl Connection {
    /// Queues a response. Never refused: the number of requests under way is bounded by the reader.
    pub fn respond(&self, message: &[u8], now: Mono) {
        let mut outbound = self.lock();
        if !outbound.closed {
            self.write(&mut outbound, message, now);
        }
    }

    /// Offers framed packets (`$`, channel, length, packet, …), all or nothing.
    pub fn offer(&self, frames: &[u8], now: Mono) -> Offer {
        let mut outbound = self.lock();
        if outbound.closed {
            return Offer::Closed;
        }
        if outbound.waiting.len() + outbound.held.len() + frames.len() > self.limit {
            return Offer::Full;
        }
        if outbound.media_held {
            outbound.held.extend_from_slice(frames);
        } else {
            self.write(&mut outbound, frames, now);
        }
        Offer::Taken
    }

    /// Octets that wait for the socket.
    pub fn backlog(&self) -> usize {
        let outbound = self.lock();
        outbound.waiting.len() + outbound.held.len()
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
                outbound.waiting.is_empty()
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

    /// Refuses everything from now on and forgets what waits; the socket itself closes when its last holder drops it.
    pub fn close(&self) {
        let mut outbound = self.lock();
        outbound.closed = true;
        outbound.waiting = VecDeque::new();
        outbound.held = Vec::new();
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
                match self.stream.try_write(rest) {
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
        }
    }

    fn flush(&self, outbound: &mut Outbound, now: Mono) -> io::Result<()> {
        while !outbound.waiting.is_empty() {
            let (front, _) = outbound.waiting.as_slices();
            match self.stream.try_write(front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.last_taken.store(now.as_nanos(), Ordering::Relaxed);
                    outbound.waiting.drain(..taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
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

    fn lock(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All connections that may carry media, by number.
#[derive(Default)]
pub struct Connections {
    next: AtomicU64,
    live: DashMap<u64, Weak<Connection>>,
}

impl Connections {
    /// Takes a connection in; at most `limit` octets of media wait for its socket.
    pub fn register(&self, stream: Arc<TcpStream>, limit: usize, now: Mono) -> Arc<Connection> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Arc::new(Connection {
            id,
            stream,
            limit,
            outbound: Mutex::default(),
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

    /// Forgets a connection.
    pub fn forget(&self, id: u64) {
        self.live.remove(&id);
    }
}
