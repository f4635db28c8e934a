//! Access units put together out of transport packets.

use std::io;
use std::ops::Range;

use super::packet::{LEN, Packet};
use super::pes::Elementary;
use crate::library::title::{AccessUnit, ReadAt, Unpack};

/// Octets that are read at once at most.
const CHUNK: usize = 32 << 10;
/// Octets of the file that an access unit may lie in: two minutes at 1 Mbit/s, a second at 128 Mbit/s.
pub const MAX_SPAN: u64 = 16 << 20;

/// Gathers the octets of one PID. The offset of an access unit is that of its first octet, or of its first bit.
#[derive(Debug)]
pub struct Unpacker {
    pid: u16,
    stride: u64,
    /// Where packets lie one behind the other, in ascending order.
    runs: std::sync::Arc<[Range<u64>]>,
    /// Whether offsets count bits.
    is_bitwise: bool,
}

/// Under which name an index keeps what puts access units together.
pub const NAME: &str = "mpegts";

/// [`Unpacker`] out of what [`Unpack::kept`] gave.
pub fn restore(parameters: &[u8]) -> Option<Unpacker> {
    let (pid, stride, runs, is_bitwise): (u16, u64, Vec<(u64, u64)>, bool) = postcard::from_bytes(parameters).ok()?;
    let is_sound = stride >= LEN as u64 && runs.iter().all(|(start, end)| start < end) && runs.is_sorted_by(|one, next| one.1 <= next.0);
    is_sound.then(|| Unpacker { is_bitwise, ..Unpacker::new(pid, stride, runs.into_iter().map(|(start, end)| start..end).collect()) })
}

impl Unpacker {
    /// For one PID of a file whose packets lie so.
    pub const fn new(pid: u16, stride: u64, runs: std::sync::Arc<[Range<u64>]>) -> Self {
        Self { pid, stride, runs, is_bitwise: false }
    }

    /// The same for access units that begin at any bit.
    #[must_use]
    pub fn bitwise(self) -> Self {
        Self { is_bitwise: true, ..self }
    }

    /// Where the packet begins that an octet belongs to, and the run of that.
    fn packet_of(&self, offset: u64) -> Option<(usize, u64)> {
        let number = self.runs.partition_point(|run| run.end <= offset);
        let run = self.runs.get(number).filter(|run| run.contains(&offset))?;
        let into = offset - run.start;
        Some((number, offset - into.checked_rem(self.stride)?))
    }
}

impl Unpack for Unpacker {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        let (offset, shift) = if self.is_bitwise { (unit.offset / 8, (unit.offset % 8) as u32) } else { (unit.offset, 0) };
        let (mut number, mut at) = self.packet_of(offset).ok_or(io::ErrorKind::InvalidData)?;
        let stride = usize::try_from(self.stride).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut gathering = Gathering { pid: self.pid, skip: offset - at, elementary: None, octets, filled: 0, shift, before: None };
        let last = at.saturating_add(MAX_SPAN);
        let mut buffer = [0; CHUNK];
        // Octets that are read at least: more where the PID is rare.
        let mut least = LEN;
        while at < last {
            let run = self.runs.get(number).ok_or(io::ErrorKind::InvalidData)?;
            let left = usize::try_from(run.end.saturating_sub(at)).unwrap_or(usize::MAX);
            if left < LEN {
                number += 1;
                at = self.runs.get(number).ok_or(io::ErrorKind::InvalidData)?.start;
                continue;
            }
            // What is missing, with some room for headers and for other streams.
            let wanted = (gathering.missing() / 160 + 2).saturating_mul(stride).clamp(least, CHUNK);
            let len = wanted.min(left);
            let chunk = &mut buffer[..len];
            source.read_exact_at(chunk, at)?;
            let mut has_found = false;
            for packet in chunk.chunks(stride) {
                if packet.len() < LEN {
                    break;
                }
                has_found |= gathering.add(&packet[..LEN]);
                if gathering.missing() == 0 {
                    return Ok(());
                }
                at = at.saturating_add(self.stride);
            }
            least = if has_found { LEN } else { wanted.saturating_mul(2).min(CHUNK) };
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn kept(&self) -> Option<(&'static str, Vec<u8>)> {
        let runs: Vec<(u64, u64)> = self.runs.iter().map(|run| (run.start, run.end)).collect();
        postcard::to_stdvec(&(self.pid, self.stride, runs, self.is_bitwise)).ok().map(|parameters| (NAME, parameters))
    }
}

struct Gathering<'a> {
    pid: u16,
    /// Octets of the first packet before the first octet of the access unit.
    skip: u64,
    elementary: Option<Elementary>,
    octets: &'a mut [u8],
    filled: usize,
    /// Bits of the first octet that are not of it.
    shift: u32,
    /// The octet of which the lower bits are still to be taken.
    before: Option<u8>,
}

impl Gathering<'_> {
    const fn missing(&self) -> usize {
        self.octets.len() - self.filled
    }

    /// Takes what a packet has of it; whether it is of the PID.
    fn add(&mut self, packet: &[u8]) -> bool {
        let Some(parsed) = Packet::parse(packet).filter(|packet| packet.pid == self.pid) else { return false };
        let octets = match &mut self.elementary {
            None => {
                self.elementary = Some(Elementary::within(parsed.counter));
                let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
                packet.get(skip..).unwrap_or_default()
            }
            Some(elementary) => elementary.take(&parsed).map_or(&[][..], |taken| taken.octets),
        };
        if self.shift > 0 {
            self.add_shifted(octets);
            return true;
        }
        let taken = octets.len().min(self.missing());
        if let (Some(room), Some(octets)) = (self.octets.get_mut(self.filled..self.filled + taken), octets.get(..taken)) {
            room.copy_from_slice(octets);
            self.filled += taken;
        }
        true
    }

    /// Adds octets out of bits that lie in two each.
    fn add_shifted(&mut self, octets: &[u8]) {
        for octet in octets {
            let Some(before) = self.before.replace(*octet) else { continue };
            let Some(room) = self.octets.get_mut(self.filled) else { return };
            *room = before << self.shift | octet >> (8 - self.shift);
            self.filled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A file that counts how often it is read.
    struct Counted {
        octets: Vec<u8>,
        reads: AtomicUsize,
    }

    impl ReadAt for Counted {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.octets.read_exact_at(buffer, offset)
        }

        fn size(&self) -> u64 {
            self.octets.size()
        }

        fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn what_lies_far_apart_takes_few_reads() {
        let packet = |pid: u16, counter: u8| {
            let [high, low] = pid.to_be_bytes();
            [&[0x47, high, low, 0x10 | counter][..], &[counter; 184]].concat()
        };
        let octets = [packet(0x100, 1), packet(0x1fff, 0).repeat(20_000), packet(0x100, 2)].concat();
        let file = Counted { octets, reads: AtomicUsize::new(0) };
        let unpacker = Unpacker::new(0x100, 188, std::iter::once(0..file.size()).collect());
        let unit = AccessUnit { offset: 4, size: 368, decode_time: 0, presentation_time: 0, duration: 1, random_access: true };
        let mut unpacked = [0; 368];
        unpacker.unpack(&file, &unit, &mut unpacked).expect("is there");
        assert_eq!(unpacked[..], [[1; 184], [2; 184]].concat());
        let reads = file.reads.load(Ordering::Relaxed);
        assert!(reads < 200, "{reads}");
    }
}
