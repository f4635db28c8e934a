//! Keeps the responder to its links, which it does not itself: RFC 6762 sections 5.5, 6.7 and 11.
//!
//! Who asks from a port other than 5353 is answered by unicast, to whatever address the question says that it is from, and once more for each
//! question of a datagram. So the responder's sockets take what was sent to the group of multicast DNS, which no router passes on, and of what
//! comes from other ports only datagrams of few questions. That is a filter of the kernel's (socket(7), `SO_ATTACH_FILTER`), for which no right
//! is needed.

use std::io;

use socket2::SockFilter;

use crate::net::bound::udp_sockets_at;

/// So many questions has a datagram at most that is answered by unicast: for addresses of both families.
const QUESTIONS: u32 = 2;
/// The port of multicast DNS.
const PORT: u16 = 5353;

/// Keeps all sockets of multicast DNS that this process has to their links, from now on.
///
/// # Errors
/// The system's.
pub fn keep_to_links() -> io::Result<()> {
    udp_sockets_at(PORT)?.iter().try_for_each(|socket| socket.attach_filter(&FILTER))
}

// Codes of the filter's machine (linux/filter.h): they load a word, half a word or an octet, compare it, and end.
const WORD: u16 = 0x20;
const HALF: u16 = 0x28;
const OCTET: u16 = 0x30;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const ABOVE: u16 = 0x25;
const RETURN: u16 = 0x06;

/// `SKF_NET_OFF`: from here offsets are those in the IP header; others begin at the UDP header.
const IP: u32 = 0xfff0_0000;

/// What is not there to be loaded ends it: the datagram is dropped.
const FILTER: [SockFilter; 19] = [
    load(OCTET, IP),
    SockFilter::new(AND, 0, 0, 0xf0),
    jump(EQUAL, 0x40, 0, 2),
    // 224.0.0.251
    load(WORD, IP + 16),
    jump(EQUAL, 0xe000_00fb, 8, 13),
    // ff02::fb
    load(WORD, IP + 24),
    jump(EQUAL, 0xff02_0000, 0, 11),
    load(WORD, IP + 28),
    jump(EQUAL, 0, 0, 9),
    load(WORD, IP + 32),
    jump(EQUAL, 0, 0, 7),
    load(WORD, IP + 36),
    jump(EQUAL, 0xfb, 0, 5),
    // The source's port, and behind the 8 octets of UDP the number of questions.
    load(HALF, 0),
    jump(EQUAL, PORT as u32, 2, 0),
    load(HALF, 12),
    jump(ABOVE, QUESTIONS, 1, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
    SockFilter::new(RETURN, 0, 0, 0),
];

const fn load(size: u16, at: u32) -> SockFilter {
    SockFilter::new(size, 0, 0, at)
}

/// Passes over so many steps where what was loaded compares with `value`, or does not.
const fn jump(how: u16, value: u32, does: u8, does_not: u8) -> SockFilter {
    SockFilter::new(how, does, does_not, value)
}
