//! What networks and hosts say of datagrams that were sent in vain (ip(7) `IP_RECVERR`, ipv6(7) `IPV6_RECVERR`, `MSG_ERRQUEUE`).
//!
//! The system keeps the ICMP message with where the datagram went and what is quoted of it. That the socket's next call
//! fails too, whatever that is about, is for who calls: the call is to be made again.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::ptr;

use smallvec::SmallVec;
use socket2::Socket;

use crate::net::udp::set_option;

/// Octets of a datagram that are looked at.
const QUOTED: usize = 16;

/// A datagram whose destination could not be reached: nobody has the port, or the host is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounced {
    /// Where it went, canonical.
    pub to: SocketAddr,
    /// Its first octets, as far as they are quoted: whoever sends such a message without having seen the datagram does not
    /// know them.
    pub quoted: SmallVec<[u8; QUOTED]>,
}

/// Makes the system keep such messages for a socket.
pub(super) fn keep(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Takes one message out of a socket's queue; `None` where there is none, and within it `None` for one of another kind.
pub(super) fn take(fd: RawFd) -> Option<Option<Bounced>> {
    let (mut octets, mut control) = ([0u8; QUOTED], [0u64; 64]);
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    // SAFETY: all zeros is a value of both plain C structures.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of_val(&name) as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let len = loop {
        // SAFETY: every pointer in the header leads to a local of the stated length, which outlives the call.
        let len = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        match usize::try_from(len) {
            Ok(len) => break len.min(QUOTED),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    };
    Some(
        is_unreachable(&header)
            .then(|| destination(&name))
            .flatten()
            .map(|to| Bounced { to, quoted: SmallVec::from_slice(&octets[..len]) }),
    )
}

/// Whether a message says that a port or a host cannot be reached (RFC 792, RFC 4443 section 3.1).
fn is_unreachable(header: &libc::msghdr) -> bool {
    // SAFETY: the kernel has filled the control buffer that `header` leads to, and the macros stay inside it; of a message of
    // these kinds the data begins with a sock_extended_err.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while !next.is_null() {
            let kind = ((*next).cmsg_level, (*next).cmsg_type);
            let holds_error = (*next).cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as libc::c_uint) as usize;
            if holds_error && matches!(kind, (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)) {
                let error = ptr::read_unaligned(libc::CMSG_DATA(next).cast::<libc::sock_extended_err>());
                return matches!(
                    (error.ee_origin, error.ee_type, error.ee_code),
                    (libc::SO_EE_ORIGIN_ICMP, 3, 1 | 3) | (libc::SO_EE_ORIGIN_ICMP6, 1, 3 | 4)
                );
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    false
}

fn destination(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: the family says which structure the kernel wrote; sockaddr_storage is large and aligned enough for either.
    let to = unsafe {
        match libc::c_int::from(name.ss_family) {
            libc::AF_INET6 => {
                let name = &*ptr::from_ref(name).cast::<libc::sockaddr_in6>();
                SocketAddr::new(Ipv6Addr::from(name.sin6_addr.s6_addr).into(), u16::from_be(name.sin6_port))
            }
            libc::AF_INET => {
                let name = &*ptr::from_ref(name).cast::<libc::sockaddr_in>();
                SocketAddr::new(IpAddr::from(name.sin_addr.s_addr.to_ne_bytes()), u16::from_be(name.sin_port))
            }
            _ => return None,
        }
    };
    Some(SocketAddr::new(to.ip().to_canonical(), to.port()))
}
