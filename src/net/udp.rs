//! UDP sockets: many messages per system call, each a run of equal datagrams where the kernel takes segmentation
//! offload, each with its own IPv6 flow label, source address and traffic class.
//!
//! Read first: udp(7) `UDP_SEGMENT`, ipv6(7) `IPV6_PKTINFO`, RFC 6437. The label travels in `sin6_flowinfo`, which the
//! kernel honours only with `IPV6_FLOWINFO_SEND`; without it, it stamps a label of its own.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::net::bounced::{self, Bounced};
use crate::net::labels::Labels;

/// Messages in one system call at most.
pub const BATCH: usize = 64;
/// Datagrams in one message at most (the kernel's `UDP_MAX_SEGMENTS` was 64 before Linux 6.9).
pub const MAX_SEGMENTS: usize = 64;
/// Octets in one message at most: what an IPv4 packet holds, headers taken off.
pub const MAX_MESSAGE: usize = 65_000;

/// How often a call that fails is made again at once: the failure may be about a datagram that was sent before.
const REPEATS: u32 = 3;
/// Datagrams that came back and wait to be looked at, at most.
const BOUNCED: usize = 64;
/// … of so many messages that are taken over at once.
const BOUNCED_AT_ONCE: usize = 1024;

/// Destinations that are remembered to take no runs at most.
const WITHOUT_OFFLOAD: usize = 32;

const IPV6_FLOWINFO_SEND: libc::c_int = 33;
const IPV6_AUTOFLOWLABEL: libc::c_int = 70;
pub(crate) const CONTROL_WORDS: usize = 14;

/// One address family's socket.
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    /// Cleared when the kernel refuses segmentation.
    offload: bool,
    /// Whether a run was ever taken.
    offload_proven: bool,
    /// Destinations whose way takes no runs, the newest last.
    without_offload: Vec<IpAddr>,
    labels: Labels,
    /// What came back and was not taken yet.
    bounced: Vec<Bounced>,
}

/// Where some octets of a message lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// In which buffer; what that means is up to the [`Octets`].
    pub buffer: u32,
    /// From where in it.
    pub start: u32,
    /// How many.
    pub len: u32,
}

/// What the parts of messages lead into.
pub trait Octets {
    /// The octets of a part; none where there is no such part.
    fn part(&self, part: Part) -> &[u8];
}

/// One buffer.
impl Octets for [u8] {
    fn part(&self, part: Part) -> &[u8] {
        let start = part.start as usize;
        self.get(start..start + part.len as usize).unwrap_or_default()
    }
}

/// A message to send: one datagram, or a run of them.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its parts among those handed to [`UdpSocket::send`].
    pub parts: Range<usize>,
    /// How many parts make a datagram.
    pub parts_each: usize,
    /// Octets in all.
    pub len: usize,
    /// The size of each datagram but the last; equal to the length for a single one.
    pub segment: usize,
    /// Where it goes.
    pub to: SocketAddr,
    /// The flow label; zero for none. Only IPv6 carries it.
    pub label: u32,
    /// The address it leaves from, if it matters.
    pub from: Option<IpAddr>,
    /// The traffic class (DSCP in the upper six bits).
    pub traffic_class: u8,
}

impl Message {
    /// Whether it is more than one datagram.
    fn is_run(&self) -> bool {
        self.segment < self.len
    }

    /// How many datagrams it is.
    pub fn datagrams(&self) -> u64 {
        self.len.div_ceil(self.segment.max(1)) as u64
    }

    /// Its datagrams, one by one.
    fn singles(&self, parts: &[Part]) -> impl Iterator<Item = Self> {
        let each = self.parts_each.max(1);
        let starts = self.parts.clone().step_by(each);
        starts.map(move |start| {
            let range = start..(start + each).min(self.parts.end);
            let len = parts.get(range.clone()).unwrap_or_default().iter().map(|part| part.len as usize).sum();
            Self { parts: range, len, segment: len, ..self.clone() }
        })
    }
}

/// What became of the datagrams of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Those the kernel took.
    pub datagrams: u64,
    /// Octets in them.
    pub octets: u64,
    /// Those it did not take.
    pub refused: u64,
    /// Those that were not sent because the system's buffers stayed full.
    pub no_room: u64,
    /// Those sent without the label they should have had.
    pub label_unavailable: u64,
}

impl Sent {
    fn took(&mut self, message: &Message) {
        self.datagrams += message.datagrams();
        self.octets += message.len as u64;
    }
}

/// Why messages were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// None was.
    Nothing,
    /// The socket's own buffer is full.
    Socket,
    /// The queue of the way to the first one's destination is: others may have room.
    Way,
}

/// What became of a message that was cut apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Apart {
    /// All its datagrams were taken.
    Fine,
    /// Not all were.
    Refused,
    /// There is no room.
    Full(Left),
}

/// What became of one datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    NoRoom(Left),
    Refused,
}

/// Memory for building batches, reused.
pub struct Scratch {
    headers: Vec<libc::mmsghdr>,
    parts: Vec<libc::iovec>,
    /// Which parts are a message's.
    spans: Vec<Range<usize>>,
    names: Vec<SockAddr>,
    control: Vec<[u64; CONTROL_WORDS]>,
}

// SAFETY: the raw pointers in `headers` and `parts` are rebuilt from borrowed memory before each use and never read
// between calls.
unsafe impl Send for Scratch {}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            headers: Vec::with_capacity(BATCH),
            parts: Vec::with_capacity(BATCH),
            spans: Vec::with_capacity(BATCH),
            names: Vec::with_capacity(BATCH),
            control: vec![[0; CONTROL_WORDS]; BATCH],
        }
    }
}

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its octets in the buffer.
    pub len: usize,
    /// Where it came from, canonical.
    pub from: SocketAddr,
}

impl UdpSocket {
    /// Binds a socket of `address`'s family alone; several may share an address.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            choose_labels(&socket)?;
        }
        // Packets may have to leave from an address that is routed to this host and no interface has; where the system
        // does not know the option, only such packets are refused.
        let _ = match address {
            SocketAddr::V6(_) => set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1),
            SocketAddr::V4(_) => set_option(&socket, libc::IPPROTO_IP, libc::IP_FREEBIND, 1),
        };
        bounced::keep(&socket, address)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // A burst of many sessions must fit; the forced form needs a capability, the plain one is cut to the limit.
        if set_option(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 8 << 20).is_err() {
            socket.set_send_buffer_size(8 << 20)?;
        }
        if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 2 << 20).is_err() {
            socket.set_recv_buffer_size(2 << 20)?;
        }
        socket.bind(&SockAddr::from(address))?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let without_offload = Vec::with_capacity(WITHOUT_OFFLOAD);
        let bounced = Vec::new();
        Ok(Self { socket, local, offload: true, offload_proven: false, without_offload, labels: Labels::Free, bounced })
    }

    /// Its address.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether runs still go out by segmentation offload.
    pub const fn offloads(&self) -> bool {
        self.offload
    }

    /// Sends messages in order, as many per system call as possible. Says what became of them, and how many of them are
    /// done with: less than all where there is no room, and why so. One that was cut apart may have lost its first datagrams
    /// then, which have left.
    pub fn send<O: Octets + ?Sized>(
        &mut self,
        octets: &O,
        parts: &[Part],
        messages: &mut [Message],
        scratch: &mut Scratch,
    ) -> (Sent, usize, Left) {
        let mut sent = Sent::default();
        let mut repeats = 0;
        let mut next = 0;
        while next < messages.len() {
            let end = messages.len().min(next + BATCH);
            let batch = &messages[next..end];
            let count = batch.iter().position(|message| self.goes_apart(message)).unwrap_or(batch.len());
            if count == 0 {
                match self.send_apart(octets, parts, &mut messages[next], scratch, &mut sent) {
                    Apart::Full(left) => return (sent, next, left),
                    Apart::Fine | Apart::Refused => next += 1,
                }
                continue;
            }
            self.want_labels(&batch[..count]);
            match self.send_batch(octets, parts, &batch[..count], scratch) {
                Ok(taken) => {
                    batch[..taken].iter().for_each(|message| sent.took(message));
                    self.offload_proven |= batch[..taken].iter().any(Message::is_run);
                    sent.label_unavailable += self.without_label(&batch[..taken]);
                    next += taken;
                    repeats = 0;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(code @ (libc::EAGAIN | libc::ENOBUFS)) => return (sent, next, no_room(code)),
                    Some(code) if may_be_another_s(code) && repeats < REPEATS => {
                        self.collect();
                        repeats += 1;
                    }
                    // What is at fault, the segmentation, the label or the message itself, shows datagram by datagram.
                    Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::EMSGSIZE) => {
                        let message = &mut messages[next];
                        let (is_run, to) = (message.is_run(), message.to.ip());
                        match self.send_apart(octets, parts, message, scratch, &mut sent) {
                            Apart::Full(left) => return (sent, next, left),
                            Apart::Fine if is_run => self.note_refused_run(to),
                            Apart::Fine | Apart::Refused => {}
                        }
                        next += 1;
                        repeats = 0;
                    }
                    _ => {
                        sent.refused += batch[0].datagrams();
                        next += 1;
                        repeats = 0;
                    }
                },
            }
        }
        (sent, next, Left::Nothing)
    }

    /// Whether a message has to be cut apart here.
    fn goes_apart(&self, message: &Message) -> bool {
        message.is_run() && (!self.offload || self.without_offload.contains(&message.to.ip()))
    }

    /// A run was refused whose datagrams were taken one by one: that is the way there (its MTU, a tunnel). Only where no
    /// run was ever taken, and many destinations refuse, it is the kernel.
    fn note_refused_run(&mut self, to: IpAddr) {
        if self.without_offload.len() >= WITHOUT_OFFLOAD {
            if !self.offload_proven {
                self.offload = false;
                self.without_offload.clear();
                return;
            }
            self.without_offload.remove(0);
        }
        self.without_offload.push(to);
    }

    /// Sends the datagrams of a message one by one. Where the system's buffers are full, the message is what is left of it.
    fn send_apart<O: Octets + ?Sized>(
        &mut self,
        octets: &O,
        parts: &[Part],
        message: &mut Message,
        scratch: &mut Scratch,
        sent: &mut Sent,
    ) -> Apart {
        let mut outcome = Apart::Fine;
        let whole = message.clone();
        for single in whole.singles(parts) {
            match self.send_single(octets, parts, &single, scratch) {
                Fate::Taken => {
                    sent.took(&single);
                    sent.label_unavailable += self.without_label(std::slice::from_ref(&single));
                }
                Fate::NoRoom(left) => {
                    let gone = (single.parts.start - message.parts.start) / message.parts_each.max(1) * message.segment;
                    message.parts.start = single.parts.start;
                    message.len -= gone.min(message.len);
                    return Apart::Full(left);
                }
                // Where the first is not taken the others are not tried.
                Fate::Refused if single.parts.start == whole.parts.start => {
                    sent.refused += whole.datagrams();
                    return Apart::Refused;
                }
                Fate::Refused => {
                    sent.refused += 1;
                    outcome = Apart::Refused;
                }
            }
        }
        outcome
    }

    /// Sends one datagram. One that is refused with its label and taken without it, all else being equal, shows that labels
    /// have to be leased from now on.
    fn send_single<O: Octets + ?Sized>(&mut self, octets: &O, parts: &[Part], single: &Message, scratch: &mut Scratch) -> Fate {
        let mut repeats = 0;
        loop {
            let Err(error) = self.send_batch(octets, parts, std::slice::from_ref(single), scratch) else { return Fate::Taken };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(code @ (libc::EAGAIN | libc::ENOBUFS)) => return Fate::NoRoom(no_room(code)),
                Some(code) if may_be_another_s(code) && repeats < REPEATS => {
                    self.collect();
                    repeats += 1;
                }
                Some(libc::EINVAL) if self.labels.are_free() && single.label != 0 && single.to.is_ipv6() => {
                    self.labels = Labels::leased();
                    self.want_labels(std::slice::from_ref(single));
                    if self.send_batch(octets, parts, std::slice::from_ref(single), scratch).is_ok() {
                        return Fate::Taken;
                    }
                    // It was not the label.
                    self.labels = Labels::Free;
                    return Fate::Refused;
                }
                _ => return Fate::Refused,
            }
        }
    }

    fn send_batch<O: Octets + ?Sized>(&self, octets: &O, parts: &[Part], messages: &[Message], scratch: &mut Scratch) -> io::Result<usize> {
        scratch.headers.clear();
        scratch.parts.clear();
        scratch.names.clear();
        scratch.spans.clear();
        for message in messages {
            let first = scratch.parts.len();
            for part in parts.get(message.parts.clone()).ok_or(io::ErrorKind::InvalidInput)? {
                let part = octets.part(*part);
                scratch.parts.push(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
            }
            scratch.spans.push(first..scratch.parts.len());
            scratch.names.push(SockAddr::from(self.destination(message)));
        }
        for (index, message) in messages.iter().enumerate() {
            let control = &mut scratch.control[index];
            let control_len = fill_control(control, message);
            let span = scratch.spans[index].clone();
            // SAFETY: an all-zero mmsghdr is a valid value of this plain C structure.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = scratch.names[index].as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = scratch.names[index].len();
            header.msg_hdr.msg_iovlen = span.len() as _;
            header.msg_hdr.msg_iov = scratch.parts[span].as_mut_ptr();
            if control_len > 0 {
                header.msg_hdr.msg_control = control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = control_len as _;
            }
            scratch.headers.push(header);
        }
        // SAFETY: every pointer in the headers leads into what `octets` gave or into `scratch`, which are borrowed for longer
        // than the call and are not touched during it; the count is that of the headers built above.
        let taken = unsafe { libc::sendmmsg(self.fd(), scratch.headers.as_mut_ptr(), scratch.headers.len() as libc::c_uint, 0) };
        if taken < 0 { Err(io::Error::last_os_error()) } else { Ok(taken as usize) }
    }

    fn want_labels(&mut self, messages: &[Message]) {
        if self.labels.are_free() {
            return;
        }
        for message in messages.iter().filter(|message| message.to.is_ipv6()) {
            self.labels.want(self.socket.as_raw_fd(), message.label);
        }
    }

    /// How many datagrams of these messages go without the label they should have.
    fn without_label(&self, messages: &[Message]) -> u64 {
        if self.labels.are_free() {
            return 0;
        }
        let without = |message: &&Message| message.to.is_ipv6() && self.labels.granted(message.label) != message.label;
        messages.iter().filter(without).map(Message::datagrams).sum()
    }

    fn destination(&self, message: &Message) -> SocketAddr {
        match message.to {
            SocketAddr::V6(to) => {
                let label = self.labels.granted(message.label);
                SocketAddrV6::new(*to.ip(), to.port(), label.to_be(), to.scope_id()).into()
            }
            v4 => v4,
        }
    }

    /// Takes over what came back of datagrams that were sent in vain; the system's queue is empty then.
    pub fn collect(&mut self) {
        // Bounded: what comes while this looks is for the next time.
        for _ in 0..BOUNCED_AT_ONCE {
            match bounced::take(self.fd()) {
                Some(Some(bounced)) if self.bounced.len() < BOUNCED => self.bounced.push(bounced),
                // It says no more than those that are there.
                Some(_) => {}
                None => return,
            }
        }
    }

    /// What was collected.
    pub fn take_bounced(&mut self) -> Vec<Bounced> {
        std::mem::take(&mut self.bounced)
    }

    /// Takes one datagram out of the socket; `None` where there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<Received> {
        let mut repeats = 0;
        // SAFETY: `recv_from` writes initialised octets only, and a `u8` slice may be seen as one of `MaybeUninit<u8>`
        // that is not read before it is written again.
        let space = unsafe { &mut *(ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
        loop {
            match self.socket.recv_from(space) {
                Ok((len, from)) => {
                    let from = from.as_socket()?;
                    return Some(Received { len, from: SocketAddr::new(from.ip().to_canonical(), from.port()) });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What has become of a datagram that was sent; those that came in are behind it.
                Err(error) if is_of_a_sent_one(&error) && repeats < REPEATS => repeats += 1,
                Err(_) => return None,
            }
        }
    }

    /// Its descriptor, for waiting.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// What has no room: with errors told as they are, an interface's queue says ENOBUFS.
const fn no_room(code: i32) -> Left {
    if code == libc::ENOBUFS { Left::Way } else { Left::Socket }
}

/// Whether a failure is about a datagram that was sent before, of which ICMP has told meanwhile.
pub fn is_of_a_sent_one(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(may_be_another_s)
}

/// Whether a call's failure may be about an earlier datagram to somebody else, of which ICMP has told meanwhile.
const fn may_be_another_s(code: i32) -> bool {
    matches!(
        code,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EACCES
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EMSGSIZE
    )
}

/// Lets a socket choose the flow labels of its datagrams: what is sent with none gets none of the kernel's either.
pub(crate) fn choose_labels(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)?;
    set_option(socket, libc::IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0)
}

pub(crate) fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option takes an int, and the pointer and length are those of one.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes the control messages for `message`; their length in octets.
fn fill_control(space: &mut [u64; CONTROL_WORDS], message: &Message) -> usize {
    let mut writer = ControlWriter { space, used: 0 };
    if message.is_run() {
        writer.put(libc::SOL_UDP, libc::UDP_SEGMENT, &(message.segment as u16));
    }
    match (message.from, message.to) {
        (Some(IpAddr::V6(from)), SocketAddr::V6(to)) if !from.is_unspecified() => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: to.scope_id() };
            writer.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        (Some(IpAddr::V4(from)), SocketAddr::V4(_)) if !from.is_unspecified() => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            writer.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        _ => {}
    }
    if message.traffic_class != 0 {
        let class = libc::c_int::from(message.traffic_class);
        match message.to {
            SocketAddr::V6(_) => writer.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class),
            SocketAddr::V4(_) => writer.put(libc::IPPROTO_IP, libc::IP_TOS, &class),
        }
    }
    writer.used
}

/// Writes control messages one behind the other.
pub(crate) struct ControlWriter<'a> {
    pub(crate) space: &'a mut [u64; CONTROL_WORDS],
    pub(crate) used: usize,
}

impl ControlWriter<'_> {
    pub(crate) fn put<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: &T) {
        let size = size_of::<T>() as libc::c_uint;
        // SAFETY: both are pure computations on a small length.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size) as usize) };
        assert!(self.used + space <= size_of::<[u64; CONTROL_WORDS]>(), "the control space holds all messages of one datagram");
        // SAFETY: the space is aligned for cmsghdr (8 octets), and the assertion above keeps header, value and padding
        // inside it; `used` stays a multiple of the alignment because CMSG_SPACE is.
        unsafe {
            let header = self.space.as_mut_ptr().cast::<u8>().add(self.used).cast::<libc::cmsghdr>();
            (*header).cmsg_len = len as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), libc::CMSG_DATA(header), size_of::<T>());
        }
        self.used += space;
    }
}

/// RTP and RTCP sockets of both families on one port pair.
pub struct PortPair {
    /// IPv6, where the machine has it.
    pub rtp6: Option<UdpSocket>,
    /// IPv4.
    pub rtp4: Option<UdpSocket>,
    /// IPv6, the next port.
    pub rtcp6: Option<UdpSocket>,
    /// IPv4, the next port.
    pub rtcp4: Option<UdpSocket>,
    /// The RTP port; RTCP is the next one.
    pub port: u16,
}

impl PortPair {
    /// Binds a pair: `port` and the next one, or any free even port where it is zero.
    ///
    /// # Errors
    /// The system's, where a port is taken or no family is there.
    pub fn bind(port: u16) -> io::Result<Self> {
        if port != 0 {
            return Self::bind_at(port);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..64 {
            let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let free = probe.local_addr()?.port() & !1;
            drop(probe);
            if free < 1024 || free_pair(free).is_err() {
                continue;
            }
            match Self::bind_at(free) {
                Ok(pair) => return Ok(pair),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind_at(port: u16) -> io::Result<Self> {
        let rtcp = port.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let v4 = |port| UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into());
        let v6 = |port| UdpSocket::bind(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into());
        let (rtp6, rtcp6) = match (v6(port), v6(rtcp)) {
            (Ok(rtp), Ok(rtcp)) => (Some(rtp), Some(rtcp)),
            (Err(error), _) | (_, Err(error)) if no_family(&error) => (None, None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let (rtp4, rtcp4) = match (v4(port), v4(rtcp)) {
            (Ok(rtp), Ok(rtcp)) => (Some(rtp), Some(rtcp)),
            (Err(error), _) | (_, Err(error)) if no_family(&error) && rtp6.is_some() => (None, None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        Ok(Self { rtp6, rtp4, rtcp6, rtcp4, port })
    }

    /// The sockets, to collect what came back: RTP first.
    pub fn sockets_mut(&mut self) -> impl Iterator<Item = (&mut UdpSocket, bool)> {
        let rtp = [&mut self.rtp6, &mut self.rtp4].into_iter().flatten().map(|socket| (socket, false));
        rtp.chain([&mut self.rtcp6, &mut self.rtcp4].into_iter().flatten().map(|socket| (socket, true)))
    }

    /// The sockets, for waiting and receiving: RTP first.
    pub fn sockets(&self) -> impl Iterator<Item = (&UdpSocket, bool)> {
        let rtp = [&self.rtp6, &self.rtp4].into_iter().flatten().map(|socket| (socket, false));
        rtp.chain([&self.rtcp6, &self.rtcp4].into_iter().flatten().map(|socket| (socket, true)))
    }
}

/// Whether nobody holds a pair: without port sharing, another program's sockets would be joined unnoticed.
fn free_pair(port: u16) -> io::Result<()> {
    for port in [port, port + 1] {
        std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        match std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(error) if !no_family(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn no_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2048];
        let mut got = Vec::new();
        let end = Instant::now() + Duration::from_secs(5);
        while got.len() < count && Instant::now() < end {
            match socket.receive(&mut buffer) {
                Some(received) => got.push(buffer[..received.len].to_vec()),
                None => std::thread::yield_now(),
            }
        }
        got
    }

    /// A message of `len` octets from `start` of a buffer, each datagram in two parts, and those.
    fn message(parts: &mut Vec<Part>, octets: Range<usize>, segment: usize, to: SocketAddr) -> Message {
        let first = parts.len();
        for start in octets.clone().step_by(segment) {
            let (head, end) = (start + 1, (start + segment).min(octets.end));
            let part = |range: Range<usize>| Part { buffer: 0, start: range.start as u32, len: range.len() as u32 };
            parts.extend([part(start..head), part(head..end)]);
        }
        let parts = first..parts.len();
        Message { parts, parts_each: 2, len: octets.len(), segment, to, label: 0x5a3c7, from: Some(to.ip()), traffic_class: 0x88 }
    }

    #[test]
    fn a_run_arrives_as_its_datagrams_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(address.parse().expect("an address")).expect("a loopback socket");
            for offload in [true, false] {
                let mut sender = UdpSocket::bind(address.parse().expect("an address")).expect("a loopback socket");
                sender.offload = offload;
                let octets: Vec<u8> = (0..250).collect();
                let mut parts = Vec::new();
                let mut messages = [message(&mut parts, 0..250, 100, receiver.local()), message(&mut parts, 10..20, 10, receiver.local())];
                let sent = sender.send(octets.as_slice(), &parts, &mut messages, &mut Scratch::default());
                assert_eq!(sent, (Sent { datagrams: 4, octets: 260, ..Sent::default() }, 2, Left::Nothing));
                let got = receive(&receiver, 4);
                let expected: [&[u8]; 4] = [&octets[..100], &octets[100..200], &octets[200..], &octets[10..20]];
                assert_eq!(got, expected);
            }
        }
    }

    /// The label of the next datagram that comes in.
    fn label_of_next(socket: &UdpSocket) -> u32 {
        let mut fd = libc::pollfd { fd: socket.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, and its count.
        assert_eq!(unsafe { libc::poll(&raw mut fd, 1, 5000) }, 1, "nothing comes");
        let (mut octets, mut control) = ([0u8; 2048], [0u64; CONTROL_WORDS]);
        let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
        // SAFETY: an all-zero msghdr is a valid value; its pointers lead into live memory of the stated lengths, and the
        // kernel writes whole control messages only.
        unsafe {
            let mut header: libc::msghdr = zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control) as _;
            assert!(libc::recvmsg(socket.fd(), &raw mut header, 0) > 0);
            let found = libc::CMSG_FIRSTHDR(&raw const header);
            assert!(!found.is_null() && (*found).cmsg_type == IPV6_FLOWINFO);
            u32::from_be(ptr::read_unaligned(libc::CMSG_DATA(found).cast::<u32>())) & 0xf_ffff
        }
    }

    const IPV6_FLOWINFO: libc::c_int = 11;

    #[test]
    fn a_source_address_that_is_not_ours_costs_one_message_and_no_label() {
        let receiver = UdpSocket::bind("[::1]:0".parse().expect("an address")).expect("a loopback socket");
        set_option(&receiver.socket, libc::IPPROTO_IPV6, IPV6_FLOWINFO, 1).expect("labels can be read");
        let mut sender = UdpSocket::bind("[::1]:0".parse().expect("an address")).expect("a loopback socket");
        let octets = [1; 250];
        for foreign in ["ff02::77", "fe80::77"].map(|text| text.parse().expect("an address")) {
            for (range, segment) in [(0..100, 100), (0..250, 100)] {
                let mut parts = Vec::new();
                let wrong = Message { from: Some(foreign), ..message(&mut parts, range.clone(), segment, receiver.local()) };
                let right = message(&mut parts, range, segment, receiver.local());
                let (sent, ..) = sender.send(&octets[..], &parts, &mut [wrong, right.clone()], &mut Scratch::default());
                let count = right.datagrams();
                assert_eq!(sent, Sent { datagrams: count, octets: right.len as u64, refused: count, ..Sent::default() });
                for _ in 0..right.datagrams() {
                    assert_eq!(label_of_next(&receiver), 0x5a3c7);
                }
            }
        }
        assert!(sender.labels.are_free() && sender.offloads(), "the others keep label and offload");
    }

    #[test]
    fn segmentation_ends_for_one_destination_and_for_all_only_where_none_ever_took_it() {
        let mut sender = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a loopback socket");
        let at = |last: usize| SocketAddr::from(([192, 0, 2, last as u8], 5000));
        sender.note_refused_run(at(1).ip());
        let message = |octets, segment, to| message(&mut Vec::new(), octets, segment, to);
        assert!(sender.goes_apart(&message(0..250, 100, at(1))) && !sender.goes_apart(&message(0..100, 100, at(1))));
        assert!(!sender.goes_apart(&message(0..250, 100, at(2))), "another destination is not concerned");
        sender.offload_proven = true;
        (2..100).for_each(|last| sender.note_refused_run(at(last).ip()));
        assert!(sender.offloads() && sender.without_offload.len() <= WITHOUT_OFFLOAD);
        sender.offload_proven = false;
        sender.note_refused_run(at(100).ip());
        assert!(!sender.offloads());
    }

    #[test]
    fn a_destination_where_nobody_listens_costs_the_others_nothing_and_is_named() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let bind = || UdpSocket::bind(address.parse().expect("an address")).expect("a loopback socket");
            let (receiver, mut sender) = (bind(), bind());
            // It hears one peer only, who says nothing, and keeps others from having its port.
            let deaf = bind();
            let closed = deaf.local();
            deaf.socket.connect(&SocketAddr::new(closed.ip(), 9).into()).expect("a socket of datagrams");
            let octets: Vec<u8> = (0..250).collect();
            for offload in [true, false] {
                sender.offload = offload;
                let (mut messages, mut parts) = (Vec::new(), Vec::new());
                for at in 0..40 {
                    messages.push(message(&mut parts, 0..250, 100, closed));
                    messages.push(message(&mut parts, at..at + 1, 1, receiver.local()));
                    messages.push(message(&mut parts, 0..20, 20, closed));
                }
                let (sent, ..) = sender.send(octets.as_slice(), &parts, &mut messages, &mut Scratch::default());
                assert_eq!(sent, Sent { datagrams: 40 * 5, octets: 40 * 271, ..Sent::default() }, "{address}");
                let expected: Vec<Vec<u8>> = (0..40).map(|octet| vec![octet]).collect();
                assert_eq!(receive(&receiver, 40), expected, "nothing is missing, nothing comes twice");
                let mut fd = libc::pollfd { fd: sender.fd(), events: libc::POLLIN, revents: 0 };
                let quotes = |quoted: &[u8]| [0, 100, 200].iter().any(|start| quoted == &octets[*start..*start + 16]);
                let (begun, mut came_back) = (Instant::now(), 0);
                loop {
                    sender.collect();
                    let bounced = sender.take_bounced();
                    assert!(bounced.len() <= BOUNCED, "{} came back", bounced.len());
                    assert!(bounced.iter().all(|bounced| bounced.to == closed && quotes(&bounced.quoted)), "{:?}", bounced[0]);
                    came_back += bounced.len();
                    // The system may bring some of it a moment later. SAFETY: one valid pollfd, and its count.
                    if came_back > 0 && unsafe { libc::poll(&raw mut fd, 1, 0) } == 0 {
                        break;
                    }
                    assert!(begun.elapsed() < Duration::from_secs(5), "{came_back} came back, and something is left to wake somebody");
                }
                assert!(sender.offload == offload && sender.without_offload.is_empty(), "runs are not to blame");
            }
            // A datagram that waits is had although something has come back.
            let mut parts = Vec::new();
            let one = message(&mut parts, 0..20, 20, closed);
            let two = message(&mut parts, 7..8, 1, sender.local());
            receiver.socket.send_to(&[9], &sender.local().into()).expect("sent");
            sender.send(octets.as_slice(), &parts, &mut [two, one], &mut Scratch::default());
            assert_eq!(receive(&sender, 2), [[9], [7]]);
        }
    }

    #[test]
    fn more_messages_than_one_call_takes_all_leave() {
        let receiver = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a loopback socket");
        let mut sender = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a loopback socket");
        let mut parts = Vec::new();
        let mut messages = vec![message(&mut parts, 0..8, 8, receiver.local()); BATCH * 2 + 3];
        let (sent, ..) = sender.send(&[1; 8][..], &parts, &mut messages, &mut Scratch::default());
        assert_eq!(sent.datagrams, messages.len() as u64);
        assert_eq!(receive(&receiver, messages.len()).len(), messages.len());
    }

    #[test]
    fn a_message_is_cut_into_its_datagrams() {
        let mut parts = Vec::new();
        let mut whole = message(&mut parts, 0..250, 100, SocketAddr::from(([192, 0, 2, 1], 5000)));
        let singles = |message: &Message| message.singles(&parts).map(|single| (single.parts.clone(), single.len)).collect::<Vec<_>>();
        assert_eq!(singles(&whole), [(0..2, 100), (2..4, 100), (4..6, 50)]);
        assert_eq!((whole.datagrams(), whole.is_run()), (3, true));
        (whole.parts, whole.len) = (2..6, 150);
        assert_eq!((singles(&whole), whole.datagrams()), (vec![(2..4, 100), (4..6, 50)], 2));
    }

    #[test]
    fn a_free_pair_is_even_and_odd() {
        let pair = PortPair::bind(0).expect("a free pair");
        assert_eq!(pair.port % 2, 0);
        assert!(pair.sockets().all(|(socket, rtcp)| socket.local().port() == pair.port + u16::from(rtcp)));
    }
}
