//! RTP and RTCP packets as they arrived, with the time and the IPv6 flow label, from UDP sockets or from an interleaved connection.
//!
//! RFC 3550 sections 5.1 and 6. The flow label comes with Linux's option `IPV6_FLOWINFO`, which RFC 3542 does not have. The time is the
//! kernel's (socket(7), `SO_TIMESTAMPNS`): when a packet came, and not when a thread of ours got round to it.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::namespaces::Host;

/// One datagram or interleaved frame.
#[derive(Clone, Debug)]
pub struct Packet {
    pub at: Instant,
    pub octets: Vec<u8>,
    /// The flow label it bore; `None` over IPv4 and TCP.
    pub label: Option<u32>,
    /// Who sent it; `None` over TCP.
    pub from: Option<SocketAddr>,
}

impl Packet {
    fn word(&self, at: usize) -> u32 {
        self.octets[at..at + 4].iter().fold(0, |word, octet| word << 8 | u32::from(*octet))
    }

    pub fn sequence(&self) -> u16 {
        (self.word(0) & 0xffff) as u16
    }

    pub fn timestamp(&self) -> u32 {
        self.word(4)
    }

    pub fn ssrc(&self) -> u32 {
        self.word(8)
    }

    pub fn payload_type(&self) -> u8 {
        self.octets[1] & 0x7f
    }

    pub fn marker(&self) -> bool {
        self.octets[1] & 0x80 != 0
    }

    /// What follows the fixed header; the server sends neither contributing sources nor extensions nor padding.
    pub fn payload(&self) -> &[u8] {
        assert_eq!(self.octets[0], 0x80, "version 2, no padding, no extension, no CSRC");
        &self.octets[12..]
    }

    /// The packet types of a compound RTCP packet, in order.
    pub fn reports(&self) -> Vec<u8> {
        let mut types = Vec::new();
        let mut rest = &self.octets[..];
        while rest.len() >= 4 {
            assert_eq!(rest[0] >> 6, 2, "RTCP version");
            types.push(rest[1]);
            let length = (usize::from(rest[2]) << 8 | usize::from(rest[3])) * 4 + 4;
            assert!(length <= rest.len(), "an RTCP packet runs over the end of its compound");
            rest = &rest[length..];
        }
        types
    }

    pub fn is_bye(&self) -> bool {
        self.reports().contains(&BYE)
    }

    /// The (NTP seconds as 32.32 fixed point, RTP timestamp) of the Sender Report in it.
    pub fn sender_report(&self) -> Option<(u64, u32)> {
        (self.octets.len() >= 28 && self.octets[1] == SENDER_REPORT)
            .then(|| (u64::from(self.word(8)) << 32 | u64::from(self.word(12)), self.word(16)))
    }
}

/// RTCP packet types.
pub const SENDER_REPORT: u8 = 200;
pub const BYE: u8 = 203;

/// What arrived so far on one track.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    pub rtp: Vec<Packet>,
    pub rtcp: Vec<Packet>,
}

impl Arrived {
    /// When the BYE came, if it did.
    pub fn bye_at(&self) -> Option<Instant> {
        self.rtcp.iter().find(|packet| packet.is_bye()).map(|packet| packet.at)
    }
}

/// A track's packets while they arrive.
#[derive(Debug, Default)]
pub struct Recording {
    arrived: Mutex<Arrived>,
    changed: Condvar,
}

impl Recording {
    pub fn add_rtp(&self, packet: Packet) {
        assert!(packet.octets.len() >= 12, "{} octets are no RTP packet", packet.octets.len());
        self.arrived.lock().expect("nobody panics while holding it").rtp.push(packet);
        self.changed.notify_all();
    }

    pub fn add_rtcp(&self, packet: Packet) {
        self.arrived.lock().expect("nobody panics while holding it").rtcp.push(packet);
        self.changed.notify_all();
    }

    /// A copy of what is there now.
    pub fn so_far(&self) -> Arrived {
        self.arrived.lock().expect("nobody panics while holding it").clone()
    }

    /// How many RTP packets there are now.
    pub fn count(&self) -> usize {
        self.arrived.lock().expect("nobody panics while holding it").rtp.len()
    }

    /// Waits until `probe` finds what it looks for.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, limit: Duration, mut probe: impl FnMut(&Arrived) -> Option<T>) -> T {
        let start = Instant::now();
        let mut arrived = self.arrived.lock().expect("nobody panics while holding it");
        loop {
            if let Some(found) = probe(&arrived) {
                return found;
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                let (rtp, rtcp) = (arrived.rtp.len(), arrived.rtcp.len());
                drop(arrived);
                panic!("waited {limit:?} in vain for {what}; {rtp} RTP and {rtcp} RTCP packets came");
            }
            arrived = self.changed.wait_timeout(arrived, left).expect("nobody panics while holding it").0;
        }
    }

    /// Waits until nothing has come for `quiet`.
    #[track_caller]
    pub fn wait_for_silence(&self, quiet: Duration, limit: Duration) {
        let start = Instant::now();
        let mut arrived = self.arrived.lock().expect("nobody panics while holding it");
        loop {
            let silent_for = arrived.rtp.last().map_or(start, |packet| packet.at).elapsed();
            if silent_for >= quiet {
                return;
            }
            assert!(start.elapsed() < limit, "packets still come after {limit:?}");
            arrived = self.changed.wait_timeout(arrived, quiet - silent_for).expect("nobody panics while holding it").0;
        }
    }
}

/// A pair of UDP ports, RTP even and RTCP odd, that fills a recording.
#[derive(Debug)]
pub struct PortPair {
    pub rtp_port: u16,
    rtp: Arc<UdpSocket>,
    rtcp: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
}

impl PortPair {
    /// Binds a free pair on that address of the host.
    pub fn open(host: &Host, address: IpAddr, recording: &Arc<Recording>) -> Self {
        let (rtp, rtcp) = host.run(|| free_pair(address));
        let rtp_port = rtp.local_addr().expect("a bound socket has an address").port();
        let pair = Self { rtp_port, rtp: Arc::new(rtp), rtcp: Arc::new(rtcp), stop: Arc::default() };
        let (rtp, rtcp, recording, stop) = (Arc::clone(&pair.rtp), Arc::clone(&pair.rtcp), Arc::clone(recording), Arc::clone(&pair.stop));
        thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while !stop.load(Ordering::Relaxed) {
                wait_until_readable(&rtp, &rtcp);
                // Once a BYE is seen, so is all that came before it.
                let control = receive(&rtcp, &mut buffer);
                while let Ok(packet) = receive(&rtp, &mut buffer) {
                    recording.add_rtp(packet);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                if let Ok(packet) = control {
                    recording.add_rtcp(packet);
                }
            }
        });
        pair
    }

    /// Sends a datagram from the RTP port.
    pub fn send_from_rtp(&self, octets: &[u8], to: SocketAddr) {
        self.rtp.send_to(octets, to).expect("a datagram leaves");
    }

    /// Sends a datagram from the RTCP port.
    pub fn send_from_rtcp(&self, octets: &[u8], to: SocketAddr) {
        self.rtcp.send_to(octets, to).expect("a datagram leaves");
    }
}

impl Drop for PortPair {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn free_pair(address: IpAddr) -> (UdpSocket, UdpSocket) {
    for _ in 0..1000 {
        let rtp = UdpSocket::bind((address, 0)).expect("a free port");
        let port = rtp.local_addr().expect("a bound socket has an address").port();
        if port % 2 == 1 {
            continue;
        }
        if let Ok(rtcp) = UdpSocket::bind((address, port + 1)) {
            for socket in [&rtp, &rtcp] {
                socket.set_nonblocking(true).expect("possible");
                let socket = socket.as_raw_fd();
                set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20);
                stamp(socket);
                if address.is_ipv6() {
                    set_option(socket, libc::IPPROTO_IPV6, IPV6_FLOWINFO, 1);
                }
            }
            return (rtp, rtcp);
        }
    }
    panic!("no free pair of ports on {address}");
}

/// Linux's socket option and control message for the flow label of what is received (linux/in6.h).
const IPV6_FLOWINFO: libc::c_int = 11;

fn set_option(socket: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) {
    let length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer is to an int that lives during the call, and the length is that int's.
    let result = unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), length) };
    assert_eq!(result, 0, "setsockopt {level} {name}: {}", io::Error::last_os_error());
}

/// Has the kernel write down when something comes to that socket.
pub fn stamp(socket: RawFd) {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
}

/// Waits until one of them has something to be read, for a moment at most.
fn wait_until_readable(one: &UdpSocket, other: &UdpSocket) {
    let mut polled = [one, other].map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: the pointer is to an array that lives during the call, and the count is that array's.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 100) };
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Packet> {
    let Taken { length, at, label, from } = take(socket.as_raw_fd(), buffer)?;
    Ok(Packet { at, octets: buffer[..length].to_vec(), label, from })
}

/// What was read from a socket: how much, when it came, and of a datagram its label and who sent it.
pub struct Taken {
    pub length: usize,
    pub at: Instant,
    pub label: Option<u32>,
    pub from: Option<SocketAddr>,
}

/// Reads from a socket that [stamps](stamp) what comes.
pub fn take(socket: RawFd, buffer: &mut [u8]) -> io::Result<Taken> {
    let mut control = [0u64; 16];
    // SAFETY: both are plain C structures for which all zeros is a value.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = mem::size_of_val(&name) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    // SAFETY: every pointer in `message` is to a local or to the buffer, which outlive the call, with its true length.
    let length = unsafe { libc::recvmsg(socket, &raw mut message, 0) };
    let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
    let from = socket_address(&name);
    // Without a control message the label was zero: the kernel leaves it out then. A connection's end has no time.
    let (mut label, mut at) = (from.filter(SocketAddr::is_ipv6).map(|_| 0), Instant::now());
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR stay inside the control buffer that the kernel filled; the data of IPV6_FLOWINFO is four octets,
    // that of SO_TIMESTAMPNS a timespec.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IPV6, IPV6_FLOWINFO) => label = Some(u32::from_be(data.cast::<u32>().read_unaligned()) & 0x000f_ffff),
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => at = instant(data.cast::<libc::timespec>().read_unaligned()),
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Taken { length, at, label, from })
}

/// The instant of that time.
fn instant(stamp: libc::timespec) -> Instant {
    let since_1970 = Duration::new(stamp.tv_sec.cast_unsigned(), u32::try_from(stamp.tv_nsec).expect("less than a second"));
    loop {
        let (before, time, now) = (Instant::now(), SystemTime::now(), Instant::now());
        // Both clocks at once: we may have been kept from running between one and the other.
        if now - before < Duration::from_micros(100) {
            return now - time.duration_since(UNIX_EPOCH + since_1970).unwrap_or_default();
        }
    }
}

/// `None` of a connection, which needs no telling.
fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: the family says which structure the kernel wrote, and sockaddr_storage is large and aligned enough for either.
    unsafe {
        match i32::from(name.ss_family) {
            libc::AF_INET6 => {
                let name = &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>();
                Some(SocketAddr::new(IpAddr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port)))
            }
            libc::AF_INET => {
                let name = &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>();
                Some(SocketAddr::new(IpAddr::from(name.sin_addr.s_addr.to_ne_bytes()), u16::from_be(name.sin_port)))
            }
            _ => None,
        }
    }
}
