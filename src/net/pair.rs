//! A pair of UDP ports on which one peer's RTP and RTCP come in: an even one and the next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::UdpSocket;

/// How often a free pair is looked for.
const TRIES: usize = 64;
/// Octets that wait in the kernel: a large picture comes at once.
const BUFFER: usize = 1 << 20;

/// One of the two ports. Takes what comes from one address only, and of that from the port that spoke first.
#[derive(Debug)]
pub struct PeerSocket {
    socket: UdpSocket,
    peer: SocketAddr,
    /// The port there; zero until it is known.
    known: AtomicU16,
}

impl PeerSocket {
    fn new(socket: UdpSocket, peer: SocketAddr) -> io::Result<Self> {
        // Where the system allows less, that has to do.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER);
        Ok(Self { socket, peer, known: AtomicU16::new(0) })
    }

    /// The port here.
    ///
    /// # Errors
    /// The system's.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// The next datagram from the peer; the junk before it is told to `junk`.
    ///
    /// # Errors
    /// The system's.
    pub async fn receive(&self, buffer: &mut [u8], junk: impl Fn()) -> io::Result<usize> {
        loop {
            let (length, from) = match self.socket.recv_from(buffer).await {
                Ok(received) => received,
                // What ICMP said of a report that was sent: the next datagram may come all the same.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let is_peer = from.ip().to_canonical() == self.peer.ip().to_canonical();
            let known = self.known.load(Ordering::Relaxed);
            if is_peer && (known == from.port() || known == 0) {
                self.known.store(from.port(), Ordering::Relaxed);
                return Ok(length);
            }
            junk();
        }
    }

    /// Sends a datagram to where the peer is known to be, else to the port that it told.
    pub fn send(&self, datagram: &[u8], told: u16) {
        let mut to = self.peer;
        to.set_port(match self.known.load(Ordering::Relaxed) {
            0 => told,
            known => known,
        });
        // A report that has no room is made up for by the next one.
        let _ = self.socket.try_send_to(datagram, to);
    }
}

/// Binds a pair at our address `local`, for what `peer` sends.
///
/// # Errors
/// The system's; `AddrInUse` where no pair is free.
pub async fn bind_pair(local: SocketAddr, peer: SocketAddr) -> io::Result<[Arc<PeerSocket>; 2]> {
    let at = |port: u16| {
        let mut at = local;
        at.set_port(port);
        at
    };
    for _ in 0..TRIES {
        let one = UdpSocket::bind(at(0)).await?;
        let port = one.local_addr()?.port();
        let other = UdpSocket::bind(at(port ^ 1)).await;
        let Ok(other) = other else { continue };
        let (rtp, rtcp) = if port.is_multiple_of(2) { (one, other) } else { (other, one) };
        return Ok([Arc::new(PeerSocket::new(rtp, peer)?), Arc::new(PeerSocket::new(rtcp, peer)?)]);
    }
    Err(io::ErrorKind::AddrInUse.into())
}
