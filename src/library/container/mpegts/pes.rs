//! What the packets of a PID carry: an elementary stream in PES packets (ISO/IEC 13818-1 section 2.4.3.6).
//!
//! The same reader serves the index and the reading of access units: both see the same octets. PES_packet_length is not minded, as many
//! writers have it wrong for pictures.

use super::packet::Packet;

/// Octets of a PES header up to the length of its optional part.
const FIXED: usize = 9;
/// stream_id values whose packets have no optional header, and no media: padding, private_stream_2, ECM, EMM and others (table 2-22).
const BARE: [u8; 8] = [0xbc, 0xbe, 0xbf, 0xf0, 0xf1, 0xf2, 0xf8, 0xff];

/// A PES header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// PTS, 33 bits.
    pub presentation: Option<u64>,
    /// DTS, or PTS where there is none.
    pub decode: Option<u64>,
    /// Of the packet in which it begins.
    pub random_access: bool,
}

/// What a packet adds to the stream.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// Octets of the stream.
    pub octets: &'a [u8],
    /// Where they begin in the packet.
    pub at: usize,
    /// The header before them, if it ended in this packet.
    pub header: Option<Header>,
    /// Whether something is missing before.
    pub is_broken: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing is known until a PES packet begins.
    Waiting,
    Header(Vec<u8>, bool),
    Payload,
}

/// Reads the packets of one PID.
#[derive(Debug)]
pub struct Elementary {
    counter: Option<u8>,
    state: State,
}

impl Elementary {
    /// From the first packet on.
    pub const fn new() -> Self {
        Self { counter: None, state: State::Waiting }
    }

    /// From behind a packet with that counter on, inside of a PES packet's payload.
    pub const fn within(counter: u8) -> Self {
        Self { counter: Some(counter), state: State::Payload }
    }

    /// Takes the next packet; `None` where it adds nothing: it has no payload, or came twice (section 2.4.3.3).
    pub fn take<'a>(&mut self, packet: &Packet<'a>) -> Option<Taken<'a>> {
        if packet.payload.is_empty() || packet.is_scrambled {
            return None;
        }
        let before = self.counter.replace(packet.counter).filter(|_| !packet.is_discontinuous);
        if before == Some(packet.counter) {
            return None;
        }
        let is_broken = before.is_some_and(|before| (before + 1) & 0xf != packet.counter);
        if is_broken && matches!(self.state, State::Header(..)) {
            self.state = State::Waiting;
        }
        let (mut skipped, mut header) = (0, None);
        if packet.starts {
            self.state = State::Header(Vec::with_capacity(FIXED), packet.random_access);
        }
        if let State::Header(octets, random_access) = &mut self.state {
            let random_access = *random_access;
            match fill(octets, packet.payload) {
                Filling::More => skipped = packet.payload.len(),
                Filling::Bad => self.state = State::Waiting,
                Filling::Done(used) => {
                    let (presentation, decode) = times(octets);
                    header = Some(Header { presentation, decode, random_access });
                    skipped = used;
                    self.state = State::Payload;
                }
            }
        }
        if !matches!(self.state, State::Payload) {
            skipped = packet.payload.len();
        }
        let octets = packet.payload.get(skipped..).unwrap_or_default();
        Some(Taken { octets, at: packet.header_len + skipped, header, is_broken })
    }
}

enum Filling {
    More,
    Bad,
    /// So many octets of the payload belong to the header.
    Done(usize),
}

/// Adds to a header that is not yet whole.
fn fill(header: &mut Vec<u8>, payload: &[u8]) -> Filling {
    let mut rest = payload;
    loop {
        let needed = match header.get(FIXED - 1) {
            None => FIXED,
            Some(optional) => FIXED + usize::from(*optional),
        };
        let (more, behind) = rest.split_at(needed.saturating_sub(header.len()).min(rest.len()));
        header.extend_from_slice(more);
        rest = behind;
        if header.len() < needed {
            return Filling::More;
        }
        let is_media = matches!(header[..], [0, 0, 1, stream, _, _, flags, ..] if !BARE.contains(&stream) && flags >> 6 == 2);
        if !is_media {
            return Filling::Bad;
        }
        if needed > FIXED || header.get(FIXED - 1) == Some(&0) {
            return Filling::Done(payload.len() - rest.len());
        }
    }
}

/// PTS, and DTS or PTS again, of a header that is whole.
fn times(header: &[u8]) -> (Option<u64>, Option<u64>) {
    let flags = header.get(7).map_or(0, |flags| flags >> 6);
    let presentation = if flags & 2 != 0 { header.get(FIXED..).and_then(time) } else { None };
    let decode = if flags == 3 { header.get(FIXED + 5..).and_then(time) } else { None };
    (presentation, decode.filter(|_| presentation.is_some()).or(presentation))
}

/// 33 bits in five octets, a marker bit behind each part.
fn time(octets: &[u8]) -> Option<u64> {
    let &[a, b, c, d, e] = octets.first_chunk::<5>()?;
    let part = |high: u8, low: u8| u64::from(u16::from_be_bytes([high, low]) >> 1);
    Some(u64::from(a >> 1 & 7) << 30 | part(b, c) << 15 | part(d, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(counter: u8, starts: bool, payload: &[u8]) -> Packet<'_> {
        Packet { pid: 256, starts, is_scrambled: false, counter, is_discontinuous: false, random_access: starts, header_len: 4, payload }
    }

    const HEADER: [u8; 19] = [0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10, 0x31, 0, 0x09, 0x10, 0xa1, 0x11, 0, 0x07, 0xd8, 0x61];

    #[test]
    fn headers_may_lie_in_two_packets() {
        let expected = Header { presentation: Some(133_200), decode: Some(126_000), random_access: true };
        let whole = [&HEADER[..], &[7; 10]].concat();
        let mut stream = Elementary::new();
        let taken = stream.take(&packet(0, true, &whole)).expect("octets");
        assert_eq!((taken.header, taken.octets, taken.at), (Some(expected), &[7; 10][..], 23));
        for cut in 1..HEADER.len() {
            let mut stream = Elementary::new();
            let taken = stream.take(&packet(0, true, &whole[..cut])).expect("a header");
            assert_eq!((taken.header, taken.octets.len()), (None, 0));
            let taken = stream.take(&packet(1, false, &whole[cut..])).expect("octets");
            assert_eq!((taken.header, taken.octets), (Some(expected), &[7; 10][..]), "{cut}");
        }
    }

    #[test]
    fn packets_that_come_twice_add_nothing_and_missing_ones_are_told() {
        let mut stream = Elementary::within(3);
        assert!(stream.take(&packet(3, false, &[1])).is_none());
        assert!(!stream.take(&packet(4, false, &[1])).expect("next").is_broken);
        assert!(stream.take(&packet(6, false, &[1])).expect("one is missing").is_broken);
        let mut end = Elementary::within(15);
        assert!(!end.take(&packet(0, false, &[1])).expect("next").is_broken);
    }

    #[test]
    fn what_begins_like_no_media_is_passed_over() {
        let mut stream = Elementary::new();
        let taken = stream.take(&packet(0, true, &[0, 0, 1, 0xbe, 0, 4, 0xff, 0xff, 0xff, 0xff])).expect("taken");
        assert_eq!(taken.octets.len(), 0);
        let taken = stream.take(&packet(1, false, &[1, 2])).expect("taken");
        assert_eq!(taken.octets.len(), 0);
    }
}
