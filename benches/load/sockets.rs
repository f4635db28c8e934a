//! The generator's sockets: pairs of ports, datagrams in batches with the kernel's stamps, and what waits for them.
//!
//! `nix` says in safe words what std has none for: `recvmmsg` with control messages, epoll.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, SystemTime};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::meter::Stamp;

/// Datagrams taken with one call.
const BATCH: usize = 64;
/// What is read of each: the RTP header and a little more. The kernel tells the whole length.
const HEAD: usize = 64;
/// Calls to one socket before others have their turn.
const ROUNDS: usize = 16;

pub fn wall_clock() -> Stamp {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as Stamp)
}

/// As many descriptors as this process may have.
pub fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Free pairs of an even and an odd port, one after the other.
pub struct Ports {
    first: u16,
    next: u16,
}

impl Ports {
    const LAST: u16 = 64_000;

    pub const fn starting_at(first: u16) -> Self {
        Self { first, next: first }
    }

    /// A pair of sockets at an address; of the first, arrivals are stamped.
    pub fn pair(&mut self, address: IpAddr, receive_buffer: usize) -> std::io::Result<(UdpSocket, UdpSocket)> {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for _ in 0..20_000 {
            let port = self.next;
            self.next = if port + 2 >= Self::LAST { self.first } else { port + 2 };
            let both = UdpSocket::bind((address, port)).and_then(|rtp| Ok((rtp, UdpSocket::bind((address, port + 1))?)));
            match both {
                Ok((rtp, rtcp)) => {
                    rtp.set_nonblocking(true)?;
                    rtcp.set_nonblocking(true)?;
                    if setsockopt(&rtp, sockopt::RcvBufForce, &receive_buffer).is_err() {
                        setsockopt(&rtp, sockopt::RcvBuf, &receive_buffer)?;
                    }
                    setsockopt(&rtp, sockopt::ReceiveTimestampns, &true)?;
                    return Ok((rtp, rtcp));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// Memory for datagrams that come in, reused.
pub struct Inbox {
    // No address is asked for: who sent it does not matter, and costs.
    headers: MultiHeaders<()>,
    heads: Vec<u8>,
}

impl Inbox {
    pub fn new() -> Self {
        let headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec)));
        Self { headers, heads: vec![0; BATCH * HEAD] }
    }

    /// Takes what waits in a socket whose arrivals are stamped: the beginning of each datagram, its length, when it came.
    pub fn drain(&mut self, socket: &UdpSocket, mut take: impl FnMut(&[u8], usize, Stamp)) {
        for _ in 0..ROUNDS {
            let mut heads = self.heads.chunks_exact_mut(HEAD);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| [IoSliceMut::new(heads.next().unwrap_or_default())]);
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let Ok(received) = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) else { return };
            let mut count = 0;
            for message in received {
                count += 1;
                let stamp = message.cmsgs().ok().and_then(|mut control| {
                    control.find_map(|control| match control {
                        ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() * 1_000_000_000 + at.tv_nsec()),
                        _ => None,
                    })
                });
                let head = message.iovs().next().unwrap_or_default();
                take(head, message.bytes, stamp.unwrap_or_else(wall_clock));
            }
            if count < BATCH {
                return;
            }
        }
    }
}

/// Sockets that are waited for, each with a number.
pub struct Waiting {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Waiting {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, events: vec![EpollEvent::empty(); 1024] })
    }

    pub fn add(&self, socket: impl AsFd, number: u64) -> std::io::Result<()> {
        Ok(self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, number))?)
    }

    pub fn remove(&self, socket: impl AsFd) {
        let _ = self.epoll.delete(socket);
    }

    /// Waits until one is ready, for a time at most.
    pub fn wait(&self, span: Duration) {
        let mut polled = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut polled, Some(TimeSpec::from_duration(span)), None);
    }

    /// Those that are ready now, and whether there may be more.
    pub fn ready(&mut self, numbers: &mut Vec<u64>) -> bool {
        numbers.clear();
        let count = self.epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0);
        numbers.extend(self.events[..count].iter().map(EpollEvent::data));
        count == self.events.len()
    }
}

/// The local address to receive at, for a connection.
pub fn local_address(connection: &std::net::TcpStream) -> std::io::Result<IpAddr> {
    connection.local_addr().map(|local: SocketAddr| local.ip())
}
