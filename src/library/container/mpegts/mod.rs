//! MPEG transport streams (ISO/IEC 13818-1): `.ts`, and `.m2ts` and `.mts` as recorders write them.
//!
//! The first program with media is played. The file is read once from its beginning to its end, in large reads; nothing of it is kept but
//! the index. What is damaged is passed over. Streams that a later version of the program map adds are played only where there was none of
//! their kind. Read first: sections 2.4.3 (packets, PES), 2.4.4 (tables) and 2.7 (times).

mod packet;
mod pes;
mod stream;
mod tables;
mod timeline;
mod transport;
pub(super) mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::library::container::problem;
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track};
use crate::quantities::{ClockRate, MediaTime};

use packet::{Layout, Packet, Packets};
use stream::Stream;
use tables::{Kind, Sections};
use timeline::Timeline;
use unpack::Unpacker;

pub use transport::transport;

/// Octets in which the tables are looked for.
const MAX_SEARCH: u64 = 64 << 20;
/// Access units all tracks together may have: 70 hours of picture and sound, 200 MB of index.
const MAX_SAMPLES: usize = 8 << 20;
/// Programs whose maps are looked for.
const MAX_PROGRAMS: usize = 256;
/// Frames that are coded otherwise than the others of a track, and left out without a word: as many as damage makes.
const MAX_REFUSED: u64 = 3;
/// PIDs that there are.
const PIDS: usize = 1 << 13;

/// Whether the file has transport packets.
pub fn sniff(source: &dyn ReadAt) -> bool {
    matches!(Layout::of(source), Ok(Some(_)))
}

fn unreadable(error: &std::io::Error) -> Problem {
    problem(format!("the file cannot be read: {error}"))
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let layout = Layout::of(source.as_ref()).map_err(|error| unreadable(&error))?;
    let layout = layout.ok_or_else(|| problem("the file has no transport packets"))?;
    let program = Program::find(source.as_ref(), layout)?;
    let mut reading = Reading::new(program);
    let mut packets = Packets::new(source.as_ref(), layout);
    while let Some((offset, octets)) = packets.next().map_err(|error| unreadable(&error))? {
        reading.packet(offset, octets);
        if reading.is_full {
            return Err(problem("the file has too many access units"));
        }
    }
    reading.streams.iter_mut().for_each(|stream| stream.finish(&mut reading.timeline, source.size()));
    let breaks = packets.breaks();
    let runs: Arc<[_]> = packets.into_runs().into();
    let mut remarks = std::mem::take(&mut reading.remarks);
    if breaks > 0 {
        remarks.push(format!("the file is damaged in {breaks} places"));
    }
    let (tracks, duration) = tracks(reading.streams, &mut remarks, |pid, is_bitwise| {
        let unpacker = Unpacker::new(pid, layout.stride as u64, Arc::clone(&runs));
        if is_bitwise { unpacker.bitwise() } else { unpacker }
    });
    if tracks.is_empty() {
        let why = if remarks.is_empty() { "the file has no track that can be played".into() } else { remarks.join("; ") };
        return Err(problem(why));
    }
    let remark = (!remarks.is_empty()).then(|| problem(remarks.join("; ")));
    Ok(Title { path, duration, tracks, remark, source })
}

/// The tracks of what was read, on a timeline that begins with the first that is shown or heard, and its end.
fn tracks(streams: Vec<Stream>, remarks: &mut Vec<String>, unpacker: impl Fn(u16, bool) -> Unpacker) -> (Vec<Track>, MediaTime) {
    let mut drafts = Vec::new();
    for stream in streams {
        let (pid, timescale, codec, language) = (stream.pid, stream.timescale(), stream.codec(), stream.language.clone());
        let (is_scrambled, refused, is_bitwise) = (stream.is_scrambled(), stream.refused(), stream.is_bitwise());
        let (samples, last_duration) = stream.into_samples();
        let (Some(codec), false) = (codec, samples.is_empty()) else {
            let why = if is_scrambled { "it is scrambled" } else { "nothing in it can be decoded" };
            remarks.push(format!("the stream with PID {pid} is left out: {why}"));
            continue;
        };
        if refused > MAX_REFUSED {
            remarks.push(format!("{refused} frames of the sound with PID {pid} are left out: they are coded otherwise than those before"));
        }
        drafts.push(((pid, is_bitwise), timescale, codec, language, samples, last_duration));
    }
    let start_of = |timescale: ClockRate, samples: &[Sample]| {
        samples.iter().map(Sample::presentation_time).min().map(|start| timescale.rescale(start, ClockRate::VIDEO))
    };
    let start = drafts.iter().filter_map(|(_, timescale, _, _, samples, _)| start_of(*timescale, samples)).min().unwrap_or(0);
    let (mut tracks, mut duration) = (Vec::new(), MediaTime::ZERO);
    for ((pid, is_bitwise), timescale, codec, language, samples, last_duration) in drafts {
        let shift = ClockRate::VIDEO.rescale(start, timescale).saturating_neg();
        let samples: Vec<Sample> = samples.iter().map(|sample| sample.shifted(shift, i64::MIN)).collect();
        let end = samples.iter().map(Sample::presentation_time).max().unwrap_or(0).saturating_add(i64::from(last_duration));
        duration = duration.max(MediaTime::from_ticks(end, timescale));
        let index = SampleIndex::new(samples, last_duration).packed(Arc::new(unpacker(pid, is_bitwise)));
        tracks.push(Track { kind: codec.kind(), codec, timescale, language, index });
    }
    (tracks, duration)
}

/// A program and the streams that its map lists first.
struct Program {
    map_pid: u16,
    number: u16,
    /// Of the packets that have its clock.
    clock_pid: u16,
    streams: Vec<tables::Stream>,
}

impl Program {
    /// The first program, in the order of the program association table, that has something to send.
    fn find(source: &dyn ReadAt, layout: Layout) -> Result<Self, Problem> {
        let mut packets = Packets::new(source, layout);
        let mut association = Sections::default();
        let mut listed: Vec<(u16, u16)> = Vec::new();
        let mut maps: BTreeMap<u16, Sections> = BTreeMap::new();
        let mut found: BTreeMap<u16, (u16, u16, Vec<tables::Stream>)> = BTreeMap::new();
        while let Some((offset, octets)) = packets.next().map_err(|error| unreadable(&error))? {
            let Some(packet) = Packet::parse(octets) else { continue };
            let mut has_table = false;
            if packet.pid == 0 {
                association.feed(packet.payload, packet.starts, &mut |kind, _, body| {
                    has_table = true;
                    for entry in tables::programs(kind, body) {
                        if !listed.contains(&entry) && listed.len() < MAX_PROGRAMS {
                            listed.push(entry);
                            maps.entry(entry.1).or_default();
                        }
                    }
                });
            } else if let Some(sections) = maps.get_mut(&packet.pid) {
                sections.feed(packet.payload, packet.starts, &mut |kind, number, body| {
                    has_table = true;
                    if let (Some(streams), Some(clock_pid)) = (tables::streams(kind, body), tables::clock_pid(kind, body)) {
                        found.entry(number).or_insert((packet.pid, clock_pid, streams));
                    }
                });
            }
            let is_complete = has_table && !listed.is_empty() && listed.iter().all(|(number, _)| found.contains_key(number));
            if is_complete || offset > MAX_SEARCH {
                break;
            }
        }
        if listed.is_empty() {
            return Err(problem("the file has no program association table"));
        }
        let mut programs: Vec<Self> = Vec::new();
        for (number, _) in listed {
            if let Some((map_pid, clock_pid, streams)) = found.remove(&number) {
                programs.push(Self { map_pid, number, clock_pid, streams });
            }
        }
        let is_media = |program: &Self| program.streams.iter().any(|stream| Stream::new(stream.pid, stream.kind, None).is_some());
        let first = programs.iter().position(is_media).unwrap_or(0);
        programs.into_iter().nth(first).ok_or_else(|| problem("the file has no program map table"))
    }
}

/// The pass over the file.
struct Reading {
    program: Program,
    map: Sections,
    streams: Vec<Stream>,
    /// By PID: one more than the place among the streams; zero of others.
    by_pid: Vec<u8>,
    timeline: Timeline,
    remarks: Vec<String>,
    is_full: bool,
    counted: usize,
}

impl Reading {
    fn new(program: Program) -> Self {
        let mut reading = Self {
            map: Sections::default(),
            streams: Vec::new(),
            by_pid: vec![0; PIDS],
            timeline: Timeline::default(),
            remarks: Vec::new(),
            is_full: false,
            counted: 0,
            program,
        };
        for stream in std::mem::take(&mut reading.program.streams) {
            reading.add(&stream);
        }
        reading
    }

    fn add(&mut self, stream: &tables::Stream) {
        let remark = match stream.kind {
            Kind::Other(name) => format!("a stream of {name} is left out"),
            Kind::Unknown(stream_type) => format!("a stream of the unknown type {stream_type:#04x} is left out"),
            kind => {
                let place = self.by_pid.get_mut(usize::from(stream.pid)).filter(|place| **place == 0);
                if let (Some(place), Some(stream)) = (place, Stream::new(stream.pid, kind, stream.language.clone())) {
                    self.streams.push(stream);
                    *place = u8::try_from(self.streams.len()).unwrap_or(0);
                }
                return;
            }
        };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    fn packet(&mut self, offset: u64, octets: &[u8]) {
        let Some(packet) = Packet::parse(octets) else { return };
        if packet.pid == self.program.map_pid {
            let (mut later, number) = (Vec::new(), self.program.number);
            self.map.feed(packet.payload, packet.starts, &mut |kind, program, body| {
                later.extend(tables::streams(kind, body).filter(|_| program == number));
            });
            later.iter().for_each(|streams| self.later(streams));
            return;
        }
        let place = usize::from(self.by_pid.get(usize::from(packet.pid)).copied().unwrap_or(0));
        if let Some(stream) = place.checked_sub(1).and_then(|place| self.streams.get_mut(place)) {
            let before = stream.len();
            stream.packet(&packet, offset, &mut self.timeline);
            self.counted += stream.len() - before;
            self.is_full = self.counted > MAX_SAMPLES;
        }
    }

    /// A later map: what is of a kind that there was none of yet is added.
    fn later(&mut self, streams: &[tables::Stream]) {
        for stream in streams {
            let is_known = self.by_pid.get(usize::from(stream.pid)).is_some_and(|place| *place > 0);
            let Some(kind) = Stream::new(stream.pid, stream.kind, None).map(|stream| stream.kind()).filter(|_| !is_known) else { continue };
            if self.streams.iter().any(|known| known.kind() == kind) {
                let remark = format!("the stream with PID {}, which begins later, is left out", stream.pid);
                if !self.remarks.contains(&remark) && self.remarks.len() < 64 {
                    self.remarks.push(remark);
                }
            } else {
                self.add(stream);
            }
        }
    }
}

#[cfg(test)]
mod tests;
