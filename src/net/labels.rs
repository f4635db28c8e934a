//! Which flow labels a socket may put on its datagrams.
//!
//! Usually any. Where some process of the network namespace holds a label for itself alone, the kernel lets a socket send only
//! labels that it has leased (ipv6(7) `IPV6_FLOWLABEL_MGR`); such a lease is taken here so that others may share it, and must
//! be of the lower half of the label space. A process without CAP_NET_ADMIN gets 32 leases for each socket.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The greatest label that can be leased.
pub const MAX_LEASED: u32 = 0x7_ffff;
/// Refused labels that are remembered, each for a system call saved.
const REFUSED: usize = 64;
/// How long a lease goes on after the socket has let it go, in seconds: the least the kernel takes.
const LINGER_S: u16 = 6;

const IPV6_FLOWLABEL_MGR: libc::c_int = 32;
const IPV6_FL_A_GET: u8 = 0;
const IPV6_FL_A_PUT: u8 = 1;
const IPV6_FL_F_CREATE: u16 = 1;
const IPV6_FL_S_ANY: u8 = 255;

/// The kernel's `in6_flowlabel_req`.
#[repr(C)]
struct LabelRequest {
    destination: [u8; 16],
    label: u32,
    action: u8,
    share: u8,
    flags: u16,
    expires: u16,
    linger: u16,
    padding: u32,
}

/// The labels of one socket.
#[derive(Debug)]
pub(crate) enum Labels {
    /// Any.
    Free,
    /// Those that it has leased.
    Leased(Leases),
}

/// What a socket has leased, and what it was refused.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Ascending.
    held: Vec<u32>,
    /// In the order of the refusals.
    refused: Vec<u32>,
}

impl Labels {
    /// Where they have to be leased.
    pub(crate) fn leased() -> Self {
        Self::Leased(Leases::default())
    }

    pub(crate) const fn are_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// The label that a datagram may have that is to have `label`: that one, or none.
    pub(crate) fn granted(&self, label: u32) -> u32 {
        match self {
            Self::Free => label,
            Self::Leased(leases) if leases.held.binary_search(&label).is_ok() => label,
            Self::Leased(_) => 0,
        }
    }

    /// Sees to it that `label` may be sent, if it can be.
    pub(crate) fn want(&mut self, socket: RawFd, label: u32) {
        if let Self::Leased(leases) = self {
            leases.want(label, |action, label| request(socket, action, label));
        }
    }
}

impl Leases {
    fn want(&mut self, label: u32, mut request: impl FnMut(u8, u32) -> io::Result<()>) {
        let Err(position) = self.held.binary_search(&label) else { return };
        if label == 0 || self.refused.contains(&label) {
            return;
        }
        let outcome = match request(IPV6_FL_A_GET, label) {
            // No more fit: those that are still in use are leased again when they are sent next.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && !self.held.is_empty() => {
                for held in self.held.drain(..) {
                    // One that cannot be given back is gone when the socket is.
                    let _ = request(IPV6_FL_A_PUT, held);
                }
                request(IPV6_FL_A_GET, label).map(|()| self.held.push(label))
            }
            outcome => outcome.map(|()| self.held.insert(position, label)),
        };
        if outcome.is_err() {
            if self.refused.len() >= REFUSED {
                self.refused.remove(0);
            }
            self.refused.push(label);
        }
    }
}

fn request(socket: RawFd, action: u8, label: u32) -> io::Result<()> {
    let request = LabelRequest {
        // Leases are shared between sockets only where they name the same destination; datagrams may go anywhere.
        destination: Ipv6Addr::LOCALHOST.octets(),
        label: label.to_be(),
        action,
        share: IPV6_FL_S_ANY,
        flags: IPV6_FL_F_CREATE,
        expires: LINGER_S,
        linger: LINGER_S,
        padding: 0,
    };
    let length = size_of::<LabelRequest>() as libc::socklen_t;
    // SAFETY: the option takes an in6_flowlabel_req; pointer and length are those of one.
    let done = unsafe { libc::setsockopt(socket, libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, (&raw const request).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether labels have to be leased in this network namespace, as things are: whether the kernel refuses a datagram for
/// nothing but its label. Sends one or two to itself over loopback.
///
/// # Errors
/// The system's, where nothing can be sent over IPv6 at all.
pub fn need_leases() -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    super::udp::choose_labels(&socket)?;
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))))?;
    let local = socket.local_addr()?.as_socket_ipv6().ok_or(io::ErrorKind::Unsupported)?;
    let send = |label: u32| {
        let mut to = local;
        to.set_flowinfo(label.to_be());
        socket.send_to(b"flow label", &SockAddr::from(to)).map(|_| ())
    };
    // Of the upper half, which nobody can have leased.
    match send(MAX_LEASED + 1) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => send(0).map(|()| true),
        outcome => outcome.map(|()| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_leased_once_and_those_in_the_way_are_given_back() {
        let mut leases = Leases::default();
        let mut asked = Vec::new();
        let kernel = |room: usize| {
            let mut held: Vec<u32> = Vec::new();
            move |leases: &mut Leases, label: u32, asked: &mut Vec<(u8, u32)>| {
                leases.want(label, |action, label| {
                    asked.push((action, label));
                    match action {
                        IPV6_FL_A_PUT => held.retain(|other| *other != label),
                        _ if label > MAX_LEASED => return Err(io::Error::from_raw_os_error(libc::ERANGE)),
                        _ if held.len() >= room => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                        _ => held.push(label),
                    }
                    Ok(())
                });
            }
        };
        let mut want = kernel(2);
        for label in [7, 7, 5, 0, MAX_LEASED + 1, MAX_LEASED + 1] {
            want(&mut leases, label, &mut asked);
        }
        assert_eq!(asked, [(0, 7), (0, 5), (0, MAX_LEASED + 1)]);
        assert_eq!((&leases.held[..], &leases.refused[..]), (&[5, 7][..], &[MAX_LEASED + 1][..]));
        asked.clear();
        want(&mut leases, 6, &mut asked);
        assert_eq!(asked, [(0, 6), (1, 5), (1, 7), (0, 6)]);
        let labels = Labels::Leased(leases);
        assert_eq!([5, 6, 7].map(|label| labels.granted(label)), [0, 6, 0]);
        assert_eq!(Labels::Free.granted(5), 5);
    }
}
