//! Runs a device on a UDP socket of its own, in the thread that calls it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::device::event::Event;
use crate::device::node::{Node, Random};
use crate::mobility::wire::MAX_LEN;
use crate::net::now;
use crate::net::udp::is_of_a_sent_one;

/// A device that talks with its server.
pub struct Runner {
    node: Node,
    socket: UdpSocket,
    care_of: IpAddr,
    lost: Option<io::Error>,
}

impl Runner {
    /// Binds a socket at the care-of address, or at the one from which the server is reached.
    ///
    /// # Errors
    /// The system's: the address is not of this machine, or the server is not to be reached.
    pub fn open(server: SocketAddr, care_of: Option<IpAddr>, random: Random) -> io::Result<Self> {
        let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let socket = UdpSocket::bind((care_of.unwrap_or(any), 0))?;
        socket.connect(server)?;
        let care_of = socket.local_addr()?.ip().to_canonical();
        Ok(Self { node: Node::new(random), socket, care_of, lost: None })
    }

    /// Where the socket is.
    pub const fn care_of(&self) -> IpAddr {
        self.care_of
    }

    /// The device.
    pub const fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Why something could not be sent or was sent back, if that happened since it was last asked.
    pub fn take_lost(&mut self) -> Option<io::Error> {
        self.lost.take()
    }

    /// Sends what waits, and takes what comes for at most so long; ends early with events.
    ///
    /// # Errors
    /// The system's, where the socket is of no use any more.
    pub fn step(&mut self, limit: Duration) -> io::Result<Vec<Event>> {
        let until = now().mono + limit;
        loop {
            let at = now();
            if self.node.poll_timeout().is_some_and(|due| due <= at.mono) {
                self.node.handle_timeout(at);
            }
            self.send();
            let events: Vec<Event> = std::iter::from_fn(|| self.node.poll_event()).collect();
            let left = until.since(at.mono);
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            let due = self.node.poll_timeout().map_or(left, |due| due.since(at.mono));
            self.receive(left.min(due).max(Duration::from_millis(1)))?;
        }
    }

    /// What cannot be sent is lost, as on the way.
    fn send(&mut self) {
        while let Some(outgoing) = self.node.poll_transmit() {
            if let Err(error) = self.socket.send(&outgoing.octets) {
                self.lost = Some(error);
            }
        }
    }

    fn receive(&mut self, pause: Duration) -> io::Result<()> {
        let mut buffer = [0; 2 * MAX_LEN];
        self.socket.set_read_timeout(Some(pause))?;
        match self.socket.recv(&mut buffer) {
            Ok(len) => {
                if let Some(octets) = buffer.get(..len) {
                    self.node.handle_datagram(octets, now());
                }
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(()),
            // What was sent came back; the server may be there again for the next.
            Err(error) if is_of_a_sent_one(&error) => {
                self.lost = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
