//! Sockets for questions and answers: each datagram is told with our own address that it was sent to, and answered from there.
//!
//! UDP of both families on one socket, or a raw IPv6 socket of one protocol. Read first: ipv6(7) `IPV6_RECVPKTINFO`, ip(7)
//! `IP_PKTINFO`, RFC 3542 section 3 (raw sockets; for next header 135 the kernel makes and checks the checksum itself).
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::net::udp::{CONTROL_WORDS, ControlWriter, set_option};

/// A datagram that came in. Addresses are canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its octets in the buffer.
    pub len: usize,
    /// Where it came from; port 0 on a raw socket. A link-local address has its zone.
    pub from: SocketAddr,
    /// Our own address that it was sent to.
    pub asked: IpAddr,
}

/// A socket that says who was asked.
pub struct AskedSocket {
    socket: Socket,
    raw: bool,
    v6: bool,
}

impl AskedSocket {
    /// A UDP socket; of both families where `address` is the unspecified one of IPv6.
    ///
    /// # Errors
    /// The system's.
    pub fn udp(address: SocketAddr) -> io::Result<Self> {
        let v6 = address.is_ipv6();
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if v6 {
            socket.set_only_v6(false)?;
        }
        let asked = Self { socket, raw: false, v6 };
        asked.tell_asked()?;
        // A burst of updates is no reason to lose one.
        asked.socket.set_recv_buffer_size(1 << 20)?;
        asked.socket.bind(&address.into())?;
        Ok(asked)
    }

    /// A raw IPv6 socket of that next header.
    ///
    /// # Errors
    /// The system's: without CAP_NET_RAW it permits none.
    pub fn raw(next_header: u8) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(i32::from(next_header))))?;
        let asked = Self { socket, raw: true, v6: true };
        asked.tell_asked()?;
        asked.socket.bind(&SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))))?;
        Ok(asked)
    }

    fn tell_asked(&self) -> io::Result<()> {
        if self.v6 {
            set_option(&self.socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
        } else {
            set_option(&self.socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
        }
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system's.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Its descriptor, for waiting.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Takes one datagram; `None` where there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<Question> {
        loop {
            let mut control = [0_u64; CONTROL_WORDS];
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            // SAFETY: all-zero is a valid `sockaddr_storage` and a valid `msghdr`.
            let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
            header.msg_name = (&raw mut name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>() as _;
            // SAFETY: name, part and control are live, writable and of the lengths that the header says.
            let len = unsafe { libc::recvmsg(self.fd(), &raw mut header, libc::MSG_DONTWAIT) };
            if len < 0 {
                match io::Error::last_os_error().kind() {
                    // An ICMP error about an earlier answer is no reason to stop reading.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable => continue,
                    _ => return None,
                }
            }
            let Ok(len) = usize::try_from(len) else { return None };
            let (Some(from), Some(asked)) = (canonical(&name), asked_address(&header)) else { continue };
            let from = if self.raw { with_port(from, 0) } else { from };
            return Some(Question { len, from, asked });
        }
    }

    /// Sends one datagram from one of our own addresses. What cannot be sent is lost, as on the way.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&self, octets: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
        let to = if self.raw { with_port(to, 0) } else { to };
        let name: SockAddr = match to {
            SocketAddr::V4(v4) if self.v6 => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
            other => other.into(),
        };
        let mut control = [0_u64; CONTROL_WORDS];
        let mut writer = ControlWriter { space: &mut control, used: 0 };
        match from {
            from if from.is_unspecified() || from.is_ipv4() != to.is_ipv4() => {}
            IpAddr::V4(v4) if !self.v6 => {
                let address = libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
                writer.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            from => {
                let address = match from {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let zone = if let SocketAddr::V6(to) = to { to.scope_id() } else { 0 };
                let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: address.octets() }, ipi6_ifindex: zone };
                writer.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        let used = writer.used;
        let mut part = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
        // SAFETY: all-zero is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if used > 0 {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = used as _;
        }
        // SAFETY: name, part and control are live and of the lengths that the header says; the kernel only reads them.
        let sent = unsafe { libc::sendmsg(self.fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

const fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn canonical(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel has written an address of that family, for which the storage is large enough.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::from((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let (address, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Some(match address.to_ipv4_mapped() {
                Some(v4) => SocketAddr::from((v4, port)),
                None => SocketAddrV6::new(address, port, 0, v6.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

fn asked_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the header is that of a finished `recvmsg`, whose control space it still points to; the macros stay inside it,
    // and a value is read only where its level and type say what it is.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = ptr::read_unaligned(libc::CMSG_DATA(at).cast::<libc::in6_pktinfo>());
                    return Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(libc::CMSG_DATA(at).cast::<libc::in_pktinfo>());
                    return Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))));
                }
                _ => at = libc::CMSG_NXTHDR(header, at),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn next(socket: &AskedSocket, buffer: &mut [u8]) -> Question {
        let begun = Instant::now();
        loop {
            match socket.receive(buffer) {
                Some(question) => return question,
                None if begun.elapsed() > Duration::from_secs(5) => panic!("nothing came"),
                None => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn who_was_asked_answers_in_both_families() {
        let server = AskedSocket::udp("[::]:0".parse().expect("an address")).expect("bound");
        let port = server.local().expect("bound").port();
        for (mine, asked) in [("127.0.0.1:0", "127.0.0.3"), ("[::1]:0", "::1")] {
            let client = std::net::UdpSocket::bind(mine).expect("bound");
            let asked: IpAddr = asked.parse().expect("an address");
            client.send_to(b"who?", (asked, port)).expect("sent");
            let mut buffer = [0; 64];
            let question = next(&server, &mut buffer);
            assert_eq!(
                (&buffer[..question.len], question.from, question.asked),
                (&b"who?"[..], client.local_addr().expect("bound"), asked)
            );
            server.send(b"I", question.from, question.asked).expect("sent");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
            let (len, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!((len, from), (1, SocketAddr::new(asked, port)));
        }
    }

    #[test]
    fn a_socket_of_ipv4_alone_says_it_too() {
        let server = AskedSocket::udp("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        client.send_to(b"who?", server.local().expect("bound")).expect("sent");
        let mut buffer = [0; 64];
        let question = next(&server, &mut buffer);
        assert_eq!((question.len, question.asked), (4, "127.0.0.1".parse().expect("an address")));
        server.send(b"I", question.from, question.asked).expect("sent");
        assert_eq!(client.recv(&mut buffer).expect("an answer"), 1);
    }
}
