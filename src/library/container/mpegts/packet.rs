//! Transport packets, and where they lie in a file (ISO/IEC 13818-1 section 2.4.3.2).
//!
//! Packets of 188 octets lie one behind the other, or 192 octets apart (a time before each, as recorders write) or 204 (a check behind
//! each). Where a file is damaged they are found again.

use std::io;
use std::ops::Range;

use crate::library::title::ReadAt;

/// Octets of a transport packet.
pub const LEN: usize = 188;
/// First octet of each.
const SYNC: u8 = 0x47;
/// Octets from one packet to the next.
const STRIDES: [usize; 3] = [188, 192, 204];
/// How far packets are looked for at the beginning.
const MAX_PREFIX: usize = 16 << 10;
/// Packets in a row that are believed, at the file's very beginning and elsewhere.
const IN_A_ROW_AT_START: usize = 3;
const IN_A_ROW: usize = 5;
/// Octets of one read.
const CHUNK: usize = 1 << 20;
/// Pieces of a damaged file that are kept apart.
const MAX_RUNS: usize = 1 << 16;

/// A transport packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// PID.
    pub pid: u16,
    /// payload_unit_start_indicator.
    pub starts: bool,
    /// Whether its payload is scrambled.
    pub is_scrambled: bool,
    /// continuity_counter.
    pub counter: u8,
    /// discontinuity_indicator.
    pub is_discontinuous: bool,
    /// random_access_indicator.
    pub random_access: bool,
    /// Octets before its payload.
    pub header_len: usize,
    /// What it carries; empty where that is nothing.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a packet apart; `None` where it is none, or known to be damaged.
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let &[SYNC, second, third, fourth, ..] = octets.first_chunk::<LEN>()? else { return None };
        if second & 0x80 != 0 {
            return None;
        }
        let (mut header_len, mut flags) = (4, 0);
        if fourth & 0x20 != 0 {
            let len = usize::from(*octets.get(4)?);
            flags = if len > 0 { *octets.get(5)? } else { 0 };
            header_len += 1 + len;
        }
        let payload = if fourth & 0x10 == 0 { &[][..] } else { octets.get(header_len..LEN)? };
        Some(Self {
            pid: u16::from_be_bytes([second & 0x1f, third]),
            starts: second & 0x40 != 0,
            is_scrambled: fourth & 0xc0 != 0,
            counter: fourth & 0xf,
            is_discontinuous: flags & 0x80 != 0,
            random_access: flags & 0x40 != 0,
            header_len,
            payload,
        })
    }
}

/// Where packets lie: the offset of the first, and from each to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the first packet's first octet.
    pub start: u64,
    /// Octets from one packet to the next.
    pub stride: usize,
}

impl Layout {
    /// That of a file which begins with `head`; `whole` where that is all of it.
    pub fn find(head: &[u8], whole: bool) -> Option<Self> {
        let fits = |start: usize, stride: usize, in_a_row: usize| {
            let packets = (0..in_a_row).map(|number| head.get(start + number * stride));
            packets.take_while(|octet| !(whole && octet.is_none())).all(|octet| octet == Some(&SYNC))
                && (!whole || start + 2 * stride < head.len())
        };
        let at_start = STRIDES.into_iter().map(|stride| (if stride == 192 { 4 } else { 0 }, stride));
        let found = at_start.into_iter().find(|(start, stride)| fits(*start, *stride, IN_A_ROW_AT_START));
        let (start, stride) = found.or_else(|| {
            let candidates = (0..head.len().min(MAX_PREFIX)).filter(|start| head[*start] == SYNC);
            candidates
                .flat_map(|start| STRIDES.map(|stride| (start, stride)))
                .find(|(start, stride)| head.len() > start + stride * IN_A_ROW && fits(*start, *stride, IN_A_ROW))
        })?;
        Some(Self { start: start as u64, stride })
    }

    /// Of the file itself.
    pub fn of(source: &dyn ReadAt) -> io::Result<Option<Self>> {
        let size = usize::try_from(source.size()).unwrap_or(usize::MAX);
        let mut head = vec![0; size.min(MAX_PREFIX + 2 * IN_A_ROW * STRIDES[2])];
        source.read_exact_at(&mut head, 0)?;
        Ok(Self::find(&head, head.len() == size))
    }
}

/// Reads all packets of a file, in large reads.
pub struct Packets<'a> {
    source: &'a dyn ReadAt,
    stride: usize,
    at: u64,
    buffer: Vec<u8>,
    /// Where the buffer lies.
    start: u64,
    runs: Vec<Range<u64>>,
}

impl<'a> Packets<'a> {
    /// Those of a file that lie so.
    pub fn new(source: &'a dyn ReadAt, layout: Layout) -> Self {
        Self { source, stride: layout.stride, at: layout.start, buffer: Vec::new(), start: layout.start, runs: Vec::new() }
    }

    /// The next packet and where it lies; `None` at the end.
    ///
    /// # Errors
    /// The file's.
    pub fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            let ends = self.start.saturating_add(self.buffer.len() as u64) >= self.source.size();
            let needed = if ends { LEN } else { self.stride + 1 };
            if self.rest().len() < needed && !self.fill()? {
                return Ok(None);
            }
            let rest = self.rest();
            if rest.first() == Some(&SYNC) {
                if rest.get(self.stride).is_none_or(|octet| *octet == SYNC) {
                    break;
                }
                // Where none follows, something is wrong with this one already.
                self.at = self.at.saturating_add(1);
            }
            if !self.find_again()? {
                return Ok(None);
            }
        }
        let at = self.at;
        let end = at.saturating_add(LEN as u64);
        let between = (self.stride - LEN) as u64;
        let is_full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut().filter(|run| at.saturating_sub(run.end) == between) {
            Some(run) => run.end = end,
            None if is_full => return Ok(None),
            None => self.runs.push(at..end),
        }
        self.at = at.saturating_add(self.stride as u64);
        let from = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).and_then(|rest| rest.get(..LEN)).map(|packet| (at, packet)))
    }

    /// Pieces of the file in which the packets so far lie one behind the other.
    pub fn into_runs(self) -> Vec<Range<u64>> {
        self.runs
    }

    /// How often packets had to be found again.
    pub fn breaks(&self) -> usize {
        self.runs.len().saturating_sub(1)
    }

    fn rest(&self) -> &[u8] {
        let from = usize::try_from(self.at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.buffer.get(from..).unwrap_or_default()
    }

    /// Reads on from where we are; whether there is a packet's length.
    fn fill(&mut self) -> io::Result<bool> {
        let left = usize::try_from(self.source.size().saturating_sub(self.at)).unwrap_or(usize::MAX);
        self.buffer.resize(if left < LEN { 0 } else { left.min(CHUNK) }, 0);
        self.start = self.at;
        if self.buffer.is_empty() {
            return Ok(false);
        }
        self.source.read_exact_at(&mut self.buffer, self.at)?;
        Ok(true)
    }

    /// Goes to where packets follow each other again; whether there is such a place.
    fn find_again(&mut self) -> io::Result<bool> {
        let needed = self.stride * (IN_A_ROW - 1);
        loop {
            let rest = self.rest();
            let ends = self.start.saturating_add(self.buffer.len() as u64) >= self.source.size();
            let fits = |at: usize| (0..IN_A_ROW).all(|number| rest.get(at + number * self.stride).is_none_or(|octet| *octet == SYNC));
            let last = if ends { rest.len().saturating_sub(LEN) } else { rest.len().saturating_sub(needed) };
            if let Some(found) = (0..last).find(|at| rest[*at] == SYNC && fits(*at)) {
                self.at = self.at.saturating_add(found as u64);
                return Ok(true);
            }
            if ends {
                return Ok(false);
            }
            self.at = self.at.saturating_add(last as u64);
            if !self.fill()? {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(stride: usize) -> Vec<u8> {
        let mut packet = vec![0xff; stride];
        packet[if stride == 192 { 4 } else { 0 }] = SYNC;
        packet
    }

    #[test]
    fn packets_are_found_at_all_distances_and_behind_a_prefix() {
        for (stride, start) in [(188, 0), (192, 4), (204, 0)] {
            let file = packet(stride).repeat(12);
            assert_eq!(Layout::find(&file, true), Some(Layout { start, stride }));
            let prefixed = [vec![0x47; 100], file].concat();
            assert_eq!(Layout::find(&prefixed, true).map(|layout| layout.stride), Some(stride));
        }
        assert_eq!(Layout::find(&[0; 5_000], true), None);
        assert_eq!(Layout::find(&packet(188).repeat(2), true), None);
    }

    #[test]
    fn packets_are_found_again_behind_damage() {
        let file = [packet(188).repeat(10), vec![0; 71], packet(188).repeat(10), vec![0; 30], vec![1; 188]].concat();
        let mut packets = Packets::new(&file, Layout { start: 0, stride: 188 });
        let mut places = Vec::new();
        while let Some((at, octets)) = packets.next().expect("reads") {
            assert_eq!((octets[0], octets.len()), (SYNC, LEN));
            places.push(at);
        }
        // The last one before the damage may be damaged too.
        let expected: Vec<u64> = (0..9).map(|number| number * 188).chain((0..9).map(|number| 1_951 + number * 188)).collect();
        assert_eq!(places, expected);
        assert_eq!(packets.into_runs(), [0..1_692, 1_951..3_643]);
    }

    #[test]
    fn adaptation_fields_lie_before_the_payload() {
        let mut octets = [0; LEN];
        octets[..8].copy_from_slice(&[SYNC, 0x41, 0x00, 0x35, 7, 0xc0, 0, 0]);
        let packet = Packet::parse(&octets).expect("a packet");
        assert_eq!((packet.pid, packet.starts, packet.counter), (0x100, true, 5));
        assert!(packet.random_access && packet.is_discontinuous && !packet.is_scrambled);
        assert_eq!(packet.payload.len(), LEN - 12);
        octets[4] = 184;
        assert!(Packet::parse(&octets).is_none(), "longer than the packet");
        octets[1] = 0xc1;
        assert!(Packet::parse(&octets).is_none(), "damaged");
    }
}
