//! The signalling's sockets: a thread of their own, so that neither a flood of updates nor a busy runtime holds up the other.
//!
//! UDP is always there; IPv6 next header 135 where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::mobility::responder::{Carriage, Received, Responder, ResponderSettings, Transmit};
use crate::mobility::wire::MAX_LEN;
use crate::net::wait::{Waker, wait};
use crate::net::{AskedSocket, now};

/// The IPv6 next header of the Mobility Header (RFC 6275 section 6.1.1).
const NEXT_HEADER: u8 = 135;
/// Datagrams that are taken from one socket before the other is looked at.
const TURN: usize = 64;
/// How long it rests when the system does not let it wait.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often counters are shown.
const SHOWN: Duration = Duration::from_millis(250);

/// The sockets, bound.
pub struct Listener {
    udp: AskedSocket,
    raw: Option<AskedSocket>,
    address: SocketAddr,
}

/// Why it cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The UDP port.
    #[error("UDP {address}: {error}")]
    Udp {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The raw socket is not permitted.
    #[error("IPv6 next header 135 needs CAP_NET_RAW: run as root, give the binary the capability, or leave mobility.raw off")]
    NotPermitted,
    /// The raw socket, for another reason.
    #[error("IPv6 next header 135: {0}")]
    Raw(io::Error),
}

impl Listener {
    /// Binds the UDP port (0: a free one), and the raw socket if it is wanted.
    ///
    /// # Errors
    /// Which socket is not to be had, and why.
    pub fn bind(address: SocketAddr, raw: bool) -> Result<Self, ListenError> {
        let udp = AskedSocket::udp(address).and_then(|udp| Ok((udp.local()?, udp)));
        let (address, udp) = udp.map_err(|error| ListenError::Udp { address, error })?;
        let raw = raw.then(|| AskedSocket::raw(NEXT_HEADER)).transpose().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ListenError::NotPermitted,
            _ => ListenError::Raw(error),
        })?;
        Ok(Self { udp, raw, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, on a thread of its own.
    ///
    /// # Errors
    /// The system's, where it gives no thread or descriptor.
    pub fn start(self, responder: Responder) -> io::Result<Service> {
        let waker = Waker::new()?;
        let (commands, taken) = mpsc::channel();
        let woken = waker.clone();
        let thread = std::thread::Builder::new().name("mobility".into()).spawn(move || self.run(responder, &taken, &woken))?;
        Ok(Service { commands, waker, thread: Some(thread) })
    }

    fn run(self, mut responder: Responder, commands: &Receiver<Command>, waker: &Waker) {
        let mut buffer = vec![0; 2 * MAX_LEN];
        let mut shown = Shown::default();
        let mut readable = Vec::new();
        let sockets: Vec<_> = std::iter::once(self.udp.fd()).chain(self.raw.as_ref().map(AskedSocket::fd)).collect();
        responder.handle_timeout(now());
        loop {
            let pause = responder.poll_timeout().map(|at| at.since(now().mono));
            let pause = if shown.is_behind { Some(pause.map_or(SHOWN, |pause| pause.min(SHOWN))) } else { pause };
            if let Err(error) = wait(&sockets, waker, pause, &mut readable) {
                tracing::error!("the mobility signalling cannot wait: {error}");
                std::thread::sleep(AFTER_FAILURE);
                readable.clear();
            }
            waker.clear();
            loop {
                match commands.try_recv() {
                    Ok(Command::Set(settings)) => responder.set(*settings),
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            for (index, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
                let (socket, carriage) = match (index, &self.raw) {
                    (0, _) => (&self.udp, Carriage::Udp),
                    (_, Some(raw)) => (raw, Carriage::Native),
                    (_, None) => continue,
                };
                for _ in 0..TURN {
                    let Some(question) = socket.receive(&mut buffer) else { break };
                    let Some(octets) = buffer.get(..question.len) else { continue };
                    let received = Received { octets, source: question.from, local: question.asked, carriage };
                    if let Some(answer) = responder.handle_datagram(received, now()) {
                        self.send(&answer);
                    }
                    shown.is_behind = true;
                }
            }
            let at = now();
            if responder.poll_timeout().is_some_and(|due| due <= at.mono) {
                responder.handle_timeout(at);
                while let Some(transmit) = responder.poll_transmit() {
                    self.send(&transmit);
                }
            }
            shown.show(&responder);
        }
    }

    fn send(&self, transmit: &Transmit) {
        let socket = match transmit.carriage {
            Carriage::Udp => Some(&self.udp),
            Carriage::Native => self.raw.as_ref(),
        };
        let sent = socket.map_or(Ok(()), |socket| socket.send(&transmit.octets, transmit.to, transmit.from));
        if let Err(error) = sent {
            tracing::debug!(to = %transmit.to, "an answer could not be sent: {error}");
        }
    }
}

enum Command {
    Set(Box<ResponderSettings>),
    Stop,
}

/// The signalling, while it is served. It ends when this is dropped.
pub struct Service {
    commands: Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Goes by other settings from now on.
    pub fn set(&self, settings: ResponderSettings) {
        // A thread that is gone goes by nothing.
        let _ = self.commands.send(Command::Set(Box::new(settings)));
        self.waker.wake();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What of the counters the metrics show already.
#[derive(Default)]
struct Shown {
    events: std::collections::HashMap<String, u64>,
    at: Option<crate::now::Mono>,
    is_behind: bool,
}

impl Shown {
    fn show(&mut self, responder: &Responder) {
        let at = now().mono;
        if !self.is_behind || self.at.is_some_and(|last| at.since(last) < SHOWN) {
            return;
        }
        (self.at, self.is_behind) = (Some(at), false);
        for (name, count) in responder.counters().named() {
            let before = self.events.insert(name.clone(), count).unwrap_or(0);
            if count == before {
                continue;
            }
            match name.strip_prefix("ba_") {
                Some(status) => {
                    let status = if status == "0" { "accepted" } else { status }.to_owned();
                    metrics::counter!("flowsteer_binding_updates_total", "status" => status).increment(count - before);
                }
                None => metrics::counter!("flowsteer_mobility_total", "event" => name).increment(count - before),
            }
        }
    }
}
