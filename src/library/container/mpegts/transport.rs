//! A transport stream as a whole, as one track: its packets as they are, each when the program's own clock says.
//!
//! Between two references to the clock (PCR) packets are spread evenly; where the clock jumps, it goes on at the rate before. Decoding can
//! start with the program's tables shortly before a key picture; where none lie there, at the key picture itself, with copies of the last
//! ones before it: whoever had those takes them for packets that came twice. Read first: ISO/IEC 13818-1 sections 2.4.2.1 and 2.4.3.3.

use std::io;
use std::sync::Arc;

use super::packet::{LEN, Layout, Packet, Packets};
use super::tables::{self, Sections};
use super::timeline::{CLOCK, difference};
use super::{Program, unpack, unreadable};
use crate::library::codec::Codec;
use crate::library::container::problem;
use crate::library::title::{AccessUnit, Problem, ReadAt, Sample, SampleIndex, Title, Track, Unpack};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Packets that are kept together where the clock allows: what fits an RTP packet of the usual size, and how many at most.
const GROUP: u64 = 7;
const MAX_GROUP: u64 = 20 * GROUP;
/// Packets are kept together for that long at least: 8 ms …
const SPAN: i64 = CLOCK / 125;
/// … and as long as it takes to have no more pieces than this out of a whole title.
const PIECES: i64 = 1 << 20;
/// Pieces at most, with those that tables and damage make.
const MAX_PIECES: usize = 4 << 20;
/// Pieces that wait for the clock.
const MAX_PENDING: usize = 1 << 16;
/// The clock is believed to go on over so many ticks.
const MAX_STEP: i64 = 5 * CLOCK;
/// Octets of both tables.
const TABLES: usize = 2 * LEN;
/// Packets that are read at once where they do not lie one behind the other.
const AT_ONCE: usize = 21;

/// A title as one track of transport packets.
///
/// # Errors
/// It is no transport stream, or one whose clock cannot be told; the file's.
pub fn transport(title: &Title) -> Result<Title, Problem> {
    let is_transport = |track: &Track| track.index.packing().and_then(Unpack::kept).is_some_and(|(name, _)| name == unpack::NAME);
    if !title.tracks.iter().any(is_transport) {
        return Err(problem("it is no transport stream, and is not made one"));
    }
    let source = title.source.open().map_err(|error| unreadable(&error))?;
    let layout = Layout::of(source.as_ref()).map_err(|error| unreadable(&error))?;
    let layout = layout.ok_or_else(|| problem("the file has no transport packets"))?;
    let mut walk = Walk::new(Program::find(source.as_ref(), layout)?, title, layout);
    let mut packets = Packets::new(source.as_ref(), layout);
    while let Some((offset, octets)) = packets.next().map_err(|error| unreadable(&error))? {
        walk.packet(offset, octets);
        if walk.samples.len() > MAX_PIECES || walk.pending.len() > MAX_PENDING {
            return Err(problem("the file cannot be sent as a transport stream: its clock stands still for too long"));
        }
    }
    let track = walk.finish().ok_or_else(|| problem("the file cannot be sent as a transport stream: it has no clock"))?;
    let end = track.access_unit(track.len().saturating_sub(1)).map_or(0, |last| last.decode_time.saturating_add(last.duration.into()));
    let duration = MediaTime::from_ticks(end, ClockRate::VIDEO);
    Ok(Title { path: title.path.clone(), duration, tracks: vec![track], remark: None, source: Arc::clone(&title.source) })
}

/// The clock reference in a packet, in ticks of [`CLOCK`], if it has one (section 2.4.3.5).
fn reference(octets: &[u8]) -> Option<u64> {
    let &[_, _, _, control, len, flags, a, b, c, d, e] = octets.first_chunk::<11>()?;
    let has_one = control & 0x20 != 0 && len >= 7 && flags & 0x10 != 0;
    has_one.then(|| u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7))
}

/// Packets one behind the other, up to where somebody may begin.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: u64,
    first: u64,
    count: u64,
    /// With copies of the tables, of these counters, before it.
    tables: Option<(u8, u8)>,
    /// When its first packet is due, where that is known already.
    due: Option<i64>,
}

/// The last tables.
#[derive(Clone, Copy, Debug)]
struct Tables {
    offset: u64,
    number: u64,
    has_map: bool,
}

/// Two packets and when they are due.
#[derive(Clone, Copy, Debug)]
struct Line {
    number: u64,
    time: i64,
    packets: i64,
    ticks: i64,
}

impl Line {
    fn due(&self, number: u64) -> i64 {
        let ahead = i128::from(number) - i128::from(self.number);
        let ticks = (ahead * i128::from(self.ticks)).div_euclid(i128::from(self.packets.max(1)));
        self.time.saturating_add(i64::try_from(ticks).unwrap_or(0))
    }
}

/// The pass over the file.
struct Walk {
    map_pid: u16,
    clock_pid: u16,
    program: u16,
    map: Sections,
    stride: u64,
    span: i64,
    /// Where key pictures begin, the last one first.
    keys: Vec<u64>,
    has_pictures: bool,
    /// Packets between tables and what they are for, at most.
    reach: u64,
    number: u64,
    pending: Vec<Piece>,
    line: Option<Line>,
    /// The last reference, of which packet, and its place on the timeline.
    last: Option<(u64, u64, i64)>,
    samples: Vec<Sample>,
    tables: Option<Tables>,
    last_point: Option<u64>,
    points: Vec<u64>,
    copies: [Vec<u8>; 2],
}

impl Walk {
    fn new(program: Program, title: &Title, layout: Layout) -> Self {
        let pictures = title.tracks.iter().filter(|track| track.kind == MediaKind::Video);
        let units = pictures.flat_map(|track| track.index.samples().iter().filter(|sample| sample.is_random_access()));
        let mut keys: Vec<u64> = units.map(Sample::offset).collect();
        keys.sort_unstable_by(|one, other| other.cmp(one));
        let ticks = title.duration.to_ticks(ClockRate::VIDEO).max(1);
        let packets = title.source.size() / layout.stride as u64;
        let half_a_second = i128::from(packets) * i128::from(CLOCK / 2) / i128::from(ticks);
        Self {
            map_pid: program.map_pid,
            clock_pid: program.clock_pid,
            program: program.number,
            map: Sections::default(),
            stride: layout.stride as u64,
            span: SPAN.max(ticks / PIECES),
            has_pictures: !keys.is_empty(),
            keys,
            reach: u64::try_from(half_a_second).unwrap_or(u64::MAX).max(3 * GROUP),
            number: 0,
            pending: Vec::new(),
            line: None,
            last: None,
            samples: Vec::new(),
            tables: None,
            last_point: None,
            points: Vec::new(),
            copies: [Vec::new(), Vec::new()],
        }
    }

    /// Takes the next packet, which lies at `offset`.
    fn packet(&mut self, offset: u64, octets: &[u8]) {
        let parsed = Packet::parse(octets);
        let clock = parsed.filter(|packet| packet.pid == self.clock_pid).and_then(|_| reference(octets));
        if let Some(clock) = clock {
            self.clock(clock);
        }
        let tables = parsed.and_then(|packet| self.begins(&packet, offset, octets));
        let begins = tables.is_some() || self.tables.is_some_and(|tables| tables.number == self.number);
        match self.pending.last_mut() {
            Some(piece) if !begins && piece.offset + piece.count * self.stride == offset => piece.count += 1,
            _ => self.pending.push(Piece { offset, first: self.number, count: 1, tables, due: None }),
        }
        self.number += 1;
    }

    /// Looks at what begins in a packet; the counters of the tables that are to be copied before it, if it is a point that has none.
    fn begins(&mut self, packet: &Packet<'_>, offset: u64, octets: &[u8]) -> Option<(u8, u8)> {
        if packet.pid == 0 && packet.starts {
            self.tables = Some(Tables { offset, number: self.number, has_map: false });
            octets.clone_into(&mut self.copies[0]);
        } else if packet.pid == self.map_pid {
            let (wanted, mut clock_pid) = (self.program, None);
            self.map.feed(packet.payload, packet.starts, &mut |kind, program, body| {
                clock_pid = tables::clock_pid(kind, body).filter(|_| program == wanted).or(clock_pid);
            });
            self.clock_pid = clock_pid.unwrap_or(self.clock_pid);
            if packet.starts {
                octets.clone_into(&mut self.copies[1]);
                if let Some(tables) = &mut self.tables {
                    tables.has_map = true;
                    if !self.has_pictures {
                        self.point(None);
                    }
                }
            }
        }
        let mut is_key = false;
        while let Some(key) = self.keys.pop_if(|key| *key < offset.saturating_add(LEN as u64)) {
            is_key |= key >= offset;
        }
        if is_key && packet.starts { self.point(Some(self.number)) } else { None }
    }

    /// Notes where somebody may begin: at the last tables, or, where these are too far before a key picture, with copies of them at it.
    fn point(&mut self, key: Option<u64>) -> Option<(u8, u8)> {
        let tables = self.tables.filter(|tables| tables.has_map)?;
        let is_new = self.last_point.is_none_or(|last| last < tables.number);
        match key {
            Some(number) if !is_new || number - tables.number > self.reach => {
                self.last_point = Some(number);
                let [association, map] = &self.copies;
                let is_whole = |octets: &[u8]| Packet::parse(octets).is_some_and(|packet| tables::is_whole(packet.payload));
                let counter = |octets: &[u8]| octets.get(3).map_or(0, |octet| octet & 0xf);
                (is_whole(association) && is_whole(map)).then(|| (counter(association), counter(map)))
            }
            // Sound can be begun anywhere: twice a second is often enough.
            None if self.last_point.is_some_and(|last| tables.number - last < self.reach) => None,
            _ => {
                self.last_point = Some(tables.number);
                self.points.push(tables.offset);
                None
            }
        }
    }

    /// The packet that comes next has the clock: what lies before it is due by then.
    fn clock(&mut self, clock: u64) {
        let Some((number, before, time)) = self.last else {
            self.last = Some((self.number, clock, 0));
            return;
        };
        let packets = i64::try_from(self.number - number).unwrap_or(i64::MAX);
        let step = difference(clock, before);
        let known = self.line;
        let line = match known {
            _ if (1..=MAX_STEP).contains(&step) => Line { number, time, packets, ticks: step },
            Some(known) => Line { number, time, ..known },
            None => {
                self.last = Some((self.number, clock, 0));
                return;
            }
        };
        self.last = Some((self.number, clock, line.due(self.number)));
        self.line = Some(line);
        self.settle(&line, false);
    }

    /// Gives all packets so far their times; a few of the last are kept back for those that follow, but at an end.
    fn settle(&mut self, line: &Line, is_end: bool) {
        let pieces = std::mem::take(&mut self.pending);
        let last = pieces.len().saturating_sub(1);
        for (position, piece) in pieces.into_iter().enumerate() {
            let mut done = 0;
            while done < piece.count {
                let number = piece.first.saturating_add(done);
                let due = piece.due.filter(|_| done == 0).unwrap_or_else(|| line.due(number));
                let fitting = self.span.saturating_mul(line.packets) / line.ticks.max(1);
                let fitting = u64::try_from(fitting).unwrap_or(0).clamp(GROUP, MAX_GROUP);
                let (count, left) = (fitting - fitting % GROUP, piece.count - done);
                let tables = piece.tables.filter(|_| done == 0);
                if left < GROUP && position == last && !is_end {
                    let offset = piece.offset.saturating_add(done.saturating_mul(self.stride));
                    self.pending.push(Piece { offset, first: number, count: left, tables, due: Some(due) });
                    break;
                }
                // Whole groups, as long as there are any.
                let count = if left < GROUP { left } else { count.min(left - left % GROUP) };
                self.add(piece.offset.saturating_add(done.saturating_mul(self.stride)), count, due, tables);
                done += count;
            }
        }
    }

    fn add(&mut self, offset: u64, count: u64, due: i64, tables: Option<(u8, u8)>) {
        let before = if tables.is_some() { TABLES as u64 } else { 0 };
        let earliest = self.samples.last().map_or(i64::MIN, Sample::decode_time);
        let size = u32::try_from(count * LEN as u64 + before).ok();
        let time = due.max(earliest);
        self.samples.extend(size.and_then(|size| Sample::new(coded(offset, tables), size, time, 0, tables.is_some())));
    }

    /// The track; `None` where no clock was found.
    fn finish(mut self) -> Option<Track> {
        let line = self.line?;
        let (number, _, time) = self.last?;
        let line = Line { number, time, ..line };
        self.settle(&line, true);
        let start = self.samples.first()?.decode_time();
        let end = line.due(self.number);
        let last_duration = u32::try_from(end.saturating_sub(self.samples.last()?.decode_time())).unwrap_or(0);
        let mut points = self.points.iter().peekable();
        let samples = self.samples.iter().enumerate().map(|(position, sample)| {
            let sample = sample.shifted(start.saturating_neg(), i64::MIN);
            let (offset, _) = decoded(sample.offset());
            while points.next_if(|point| **point < offset).is_some() {}
            if position == 0 || points.peek() == Some(&&offset) { sample.with_random_access() } else { sample }
        });
        let index = SampleIndex::new(samples.collect(), last_duration);
        let [association, map] = self.copies;
        let packing = Whole { stride: self.stride, tables: [association, map].concat() };
        let (kind, codec, timescale) = (MediaKind::Video, Codec::Mp2t, ClockRate::VIDEO);
        Some(Track { kind, codec, timescale, language: None, index: index.packed(Arc::new(packing)) })
    }
}

/// Where packets lie, and the counters of the tables before them, in one number.
const fn coded(offset: u64, tables: Option<(u8, u8)>) -> u64 {
    let before = match tables {
        Some((association, map)) => 0x100 | (association as u64) << 4 | map as u64,
        None => 0,
    };
    offset << 9 | before
}

const fn decoded(code: u64) -> (u64, Option<(u8, u8)>) {
    let counters = ((code >> 4 & 0xf) as u8, (code & 0xf) as u8);
    (code >> 9, if code & 0x100 == 0 { None } else { Some(counters) })
}

/// Reads packets as they are.
#[derive(Debug)]
struct Whole {
    stride: u64,
    /// A packet of the program association table and one of the program map.
    tables: Vec<u8>,
}

impl Unpack for Whole {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        let (mut at, tables) = decoded(unit.offset);
        let mut rest = octets;
        if let Some((association, map)) = tables {
            let (before, behind) = rest.split_at_mut_checked(self.tables.len()).ok_or(io::ErrorKind::InvalidInput)?;
            before.copy_from_slice(&self.tables);
            for (packet, counter) in before.chunks_mut(LEN).zip([association, map]) {
                packet[3] = packet[3] & 0xf0 | counter;
            }
            rest = behind;
        }
        if self.stride == LEN as u64 {
            return source.read_exact_at(rest, at);
        }
        let stride = usize::try_from(self.stride).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut buffer = [0; AT_ONCE * 204];
        for packets in rest.chunks_mut(AT_ONCE * LEN) {
            let count = packets.len() / LEN;
            let len = (count.max(1) - 1) * stride + LEN;
            let read = buffer.get_mut(..len).ok_or(io::ErrorKind::InvalidData)?;
            source.read_exact_at(read, at)?;
            for (packet, octets) in packets.chunks_mut(LEN).zip(read.chunks(stride)) {
                packet.copy_from_slice(octets.get(..packet.len()).ok_or(io::ErrorKind::InvalidData)?);
            }
            at = at.saturating_add(count as u64 * self.stride);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let mut octets = [0; LEN];
        // 33 bits of base, six that are reserved, nine of extension.
        octets[..12].copy_from_slice(&[0x47, 1, 0, 0x30, 7, 0x10, 0xff, 0xff, 0xff, 0xff, 0x80 | 0x7e, 0]);
        assert_eq!(reference(&octets), Some((1 << 33) - 1));
        octets[5] = 0;
        assert_eq!(reference(&octets), None);
    }

    #[test]
    fn places_and_counters_are_kept_in_one_number() {
        for (offset, tables) in [(0, None), (1 << 50, None), (3_000, Some((0, 15))), (188, Some((9, 0)))] {
            assert_eq!(decoded(coded(offset, tables)), (offset, tables));
        }
    }

    #[test]
    fn packets_are_due_on_a_line() {
        let line = Line { number: 100, time: 9_000, packets: 10, ticks: 25 };
        assert_eq!([99, 100, 101, 110, 120].map(|number| line.due(number)), [8_997, 9_000, 9_002, 9_025, 9_050]);
    }
}
