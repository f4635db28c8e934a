//! One PID on its way to a track: its octets fall into access units, which get the times of the PES packets they begin in.
//!
//! An access unit has the time of the PES packet in which it is the first to begin (ISO/IEC 13818-1 section 2.7.4); others follow by
//! their number of samples, or by the frame rate and the order of pictures. What comes before the first time is left out. Decoding can start with an IDR or IRAP picture, with an intra
//! picture at a recovery point, and with an intra picture in a packet that says so (random_access_indicator).

use std::collections::VecDeque;

use super::packet::Packet;
use super::pes::{Elementary, Header};
use super::tables::Kind;
use super::timeline::{CLOCK, Position, Timeline, difference};
use super::unpack::MAX_SPAN;
use crate::library::codec::{Codec, SoundFormat};
use crate::library::elementary::frames::{Frame, Frames, Sound};
use crate::library::elementary::h264::{self, H264};
use crate::library::elementary::h265::{self, H265};
use crate::library::elementary::loas::Loas;
use crate::library::elementary::mpeg_video::{self, MpegVideo};
use crate::library::elementary::mpeg4_visual::{self, Mpeg4Visual};
use crate::library::elementary::opus;
use crate::library::elementary::opus_stream::OpusStream;
use crate::library::elementary::pictures::{Pictures, Unit};
use crate::library::elementary::start_code::Place;
use crate::library::title::Sample;
use crate::quantities::{ClockRate, MediaKind};

/// Octets of the file that a frame of sound may lie in: a second at 16 Mbit/s.
const MAX_SOUND_SPAN: u64 = 2 << 20;
/// PES headers that wait for their access unit.
const MAX_MARKS: usize = 1_024;
/// Presentation is not further from decoding than that, whatever a header says: 10 seconds.
const MAX_REORDER: i64 = 10 * CLOCK;
/// How long a picture lasts where nothing tells: 25 a second.
const PICTURE: i64 = CLOCK / 25;
/// Orders of pictures that are believed to lie between two that belong together.
const MAX_ORDER: i64 = 1_024;

/// What a PES header said, and the position of the octet behind it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    position: u64,
    header: Header,
}

#[derive(Debug)]
enum Splitter {
    Pictures(Pictures),
    Sound(Frames),
    Latm(Loas),
    /// Of so many channels.
    Opus(OpusStream, u8),
}

/// One PID of a program.
#[derive(Debug)]
pub struct Stream {
    /// PID.
    pub pid: u16,
    /// ISO 639 code.
    pub language: Option<String>,
    elementary: Elementary,
    position: u64,
    splitter: Splitter,
    marks: VecDeque<Mark>,
    clock: Clock,
    samples: Vec<Sample>,
    is_scrambled: bool,
}

/// Where the next access unit is expected, in ticks of the track.
#[derive(Debug, Default)]
struct Clock {
    position: Position,
    next: Option<i64>,
    /// Of the last picture: when it was shown, its order, and the ticks between.
    shown: Option<(i64, i64)>,
    delay: i64,
    duration: i64,
}

impl Stream {
    /// One of a kind that is sent; `None` of others.
    pub fn new(pid: u16, kind: Kind, language: Option<String>) -> Option<Self> {
        let splitter = match kind {
            Kind::H264 => Splitter::Pictures(Pictures::new(Box::new(H264::default()), h264::limit)),
            Kind::H265 => Splitter::Pictures(Pictures::new(Box::new(H265::default()), h265::limit)),
            Kind::MpegVideo => Splitter::Pictures(Pictures::new(Box::new(MpegVideo::default()), mpeg_video::limit)),
            Kind::Mpeg4Visual => Splitter::Pictures(Pictures::new(Box::new(Mpeg4Visual::default()), mpeg4_visual::limit)),
            Kind::Adts => Splitter::Sound(Frames::new(Sound::Adts)),
            Kind::Opus(channels) => Splitter::Opus(OpusStream::default(), channels),
            Kind::Latm => Splitter::Latm(Loas::default()),
            Kind::MpegAudio => Splitter::Sound(Frames::new(Sound::MpegAudio)),
            Kind::Ac3 => Splitter::Sound(Frames::new(Sound::Ac3)),
            _ => return None,
        };
        Some(Self {
            pid,
            language,
            elementary: Elementary::new(),
            position: 0,
            splitter,
            marks: VecDeque::new(),
            clock: Clock::default(),
            samples: Vec::new(),
            is_scrambled: false,
        })
    }

    /// Takes the next packet of the PID, which lies at `offset`.
    pub fn packet(&mut self, packet: &Packet<'_>, offset: u64, timeline: &mut Timeline) {
        self.is_scrambled |= packet.is_scrambled;
        let Some(taken) = self.elementary.take(packet) else { return };
        if taken.is_broken {
            match &mut self.splitter {
                Splitter::Pictures(pictures) => pictures.interrupt(),
                Splitter::Sound(frames) => frames.interrupt(),
                Splitter::Latm(latm) => latm.interrupt(),
                Splitter::Opus(opus, _) => opus.interrupt(),
            }
        }
        if let Some(header) = taken.header {
            if self.marks.len() >= MAX_MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back(Mark { position: self.position, header });
        }
        let place = Place { position: self.position, offset: offset.saturating_add(taken.at as u64) };
        self.position = place.ahead(taken.octets.len()).position;
        match &mut self.splitter {
            Splitter::Pictures(pictures) => pictures.feed(taken.octets, place),
            Splitter::Sound(frames) => frames.feed(taken.octets, place),
            Splitter::Latm(latm) => latm.feed(taken.octets, place),
            Splitter::Opus(opus, _) => opus.feed(taken.octets, place),
        }
        self.gather(timeline, place.offset);
    }

    /// The file has ended.
    pub fn finish(&mut self, timeline: &mut Timeline, offset: u64) {
        match &mut self.splitter {
            Splitter::Pictures(pictures) => pictures.finish(),
            Splitter::Sound(frames) => frames.finish(),
            Splitter::Latm(latm) => latm.finish(),
            Splitter::Opus(opus, _) => opus.interrupt(),
        }
        self.gather(timeline, offset);
    }

    /// Whether it is seen or heard.
    pub const fn kind(&self) -> MediaKind {
        if matches!(self.splitter, Splitter::Pictures(_)) { MediaKind::Video } else { MediaKind::Audio }
    }

    /// Access units by now.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether what it carries cannot be read without a key.
    pub const fn is_scrambled(&self) -> bool {
        self.is_scrambled
    }

    /// Frames of sound that are left out as they are coded otherwise than the others.
    pub const fn refused(&self) -> u64 {
        match &self.splitter {
            Splitter::Pictures(_) | Splitter::Opus(..) => 0,
            Splitter::Sound(frames) => frames.refused(),
            Splitter::Latm(latm) => latm.refused(),
        }
    }

    /// Whether its access units begin at any bit.
    pub const fn is_bitwise(&self) -> bool {
        matches!(self.splitter, Splitter::Latm(_))
    }

    /// How it is coded, once that is known.
    pub fn codec(&self) -> Option<Codec> {
        match &self.splitter {
            Splitter::Pictures(pictures) => pictures.coding().codec(),
            Splitter::Sound(frames) => frames.codec(),
            Splitter::Latm(latm) => latm.config().cloned().map(Codec::Aac),
            Splitter::Opus(_, channels) => Some(Codec::Opus(opus_format(*channels))),
        }
    }

    /// The clock of its samples.
    pub fn timescale(&self) -> ClockRate {
        let format = match &self.splitter {
            Splitter::Pictures(_) => None,
            Splitter::Sound(frames) => frames.sound_format(),
            Splitter::Latm(latm) => latm.sound_format(),
            Splitter::Opus(_, channels) => Some(opus_format(*channels)),
        };
        format.and_then(|format| ClockRate::new(format.sample_rate)).unwrap_or(ClockRate::VIDEO)
    }

    /// Its access units and how long the last one lasts; empty where decoding can start nowhere.
    pub fn into_samples(self) -> (Vec<Sample>, u32) {
        (self.samples, u32::try_from(self.clock.duration).unwrap_or(0))
    }

    /// Puts what is whole by now, up to `offset`, on the timeline.
    fn gather(&mut self, timeline: &mut Timeline, offset: u64) {
        let Self { splitter, marks, clock, samples, .. } = self;
        match splitter {
            Splitter::Pictures(pictures) => {
                let frame_rate = pictures.coding().frame_rate();
                for unit in pictures.take() {
                    let mark = mark_of(marks, unit.code_position, unit.last_position);
                    clock.frame(frame_rate);
                    let is_key = unit.picture.is_key || unit.picture.is_intra && mark.is_some_and(|header| header.random_access);
                    let Some((decode, shown)) = clock.picture(&unit, mark, timeline) else { continue };
                    let fits = offset.saturating_sub(unit.start.offset) < MAX_SPAN;
                    if fits && (is_key || !samples.is_empty()) {
                        add(samples, unit.start.offset, unit.size, decode, shown, is_key);
                    }
                }
            }
            Splitter::Sound(frames) => {
                let format = frames.sound_format();
                clock.frames(frames.take(), format, samples, marks, timeline, |frame| {
                    (offset.saturating_sub(frame.start.offset) < MAX_SOUND_SPAN).then_some(frame.start.offset)
                });
            }
            Splitter::Opus(opus, channels) => {
                clock.frames(opus.take(), Some(opus_format(*channels)), samples, marks, timeline, |frame| {
                    (offset.saturating_sub(frame.start.offset) < MAX_SOUND_SPAN).then_some(frame.start.offset)
                });
            }
            Splitter::Latm(latm) => {
                let format = latm.sound_format();
                clock.frames(latm.take(), format, samples, marks, timeline, |frame| {
                    (offset.saturating_sub(frame.start.offset) < MAX_SOUND_SPAN).then(|| bit_offset(frame))
                });
            }
        }
    }
}

const fn opus_format(channels: u8) -> SoundFormat {
    SoundFormat { sample_rate: opus::SAMPLE_RATE, channels }
}

/// Bits of the file before an access unit: what its offset is where any bit may be its first.
fn bit_offset(frame: &Frame) -> u64 {
    frame.start.offset.saturating_mul(8).saturating_add(u64::from(frame.shift))
}

/// What the PES header says of the access unit that begins at `position`; those up to `last` are of no other.
fn mark_of(marks: &mut VecDeque<Mark>, position: u64, last: u64) -> Option<Header> {
    let mut found = None;
    while let Some(mark) = marks.front().filter(|mark| mark.position <= last) {
        if mark.position <= position {
            found = Some(mark.header);
        }
        marks.pop_front();
    }
    found
}

/// Adds a sample, decoded no earlier than the one before it.
fn add(samples: &mut Vec<Sample>, offset: u64, size: u64, decode: i64, shown: i64, is_key: bool) {
    let earliest = samples.last().map_or(i64::MIN, Sample::decode_time);
    let later = i32::try_from(shown.saturating_sub(decode)).unwrap_or(0);
    let sample = u32::try_from(size).ok().filter(|size| *size > 0).and_then(|size| Sample::new(offset, size, decode, later, is_key));
    samples.extend(sample.map(|sample| sample.shifted(0, earliest)));
}

impl Clock {
    /// The stream says how many pictures there are in so many seconds.
    fn frame(&mut self, rate: Option<(u32, u32)>) {
        if self.duration == 0 {
            let ticks = rate.map(|(frames, seconds)| i64::from(seconds) * CLOCK / i64::from(frames.max(1)));
            self.duration = ticks.filter(|ticks| (1..=10 * CLOCK).contains(ticks)).unwrap_or(PICTURE);
        }
    }

    /// When a picture is decoded and shown; `None` before the first time of the track.
    fn picture(&mut self, unit: &Unit, mark: Option<Header>, timeline: &mut Timeline) -> Option<(i64, i64)> {
        let order = unit.picture.order;
        let (decode, shown) = match mark.and_then(|header| header.decode.zip(header.presentation)) {
            Some((decode, presentation)) => {
                let placed = timeline.place(&mut self.position, decode, self.next);
                let delay = difference(presentation, decode);
                self.delay = if (-MAX_REORDER..=MAX_REORDER).contains(&delay) { delay } else { 0 };
                (placed, placed.saturating_add(self.delay))
            }
            None => {
                let decode = self.next?;
                let anchor = self.shown.filter(|_| !unit.picture.begins_sequence);
                let steps = anchor.map(|(shown, before)| (shown, order.saturating_sub(before)));
                // Orders count fields, two a frame.
                let by_order = steps.filter(|(_, steps)| steps.abs() <= MAX_ORDER).map(|(shown, steps)| shown + steps * self.duration / 2);
                (decode, by_order.unwrap_or(decode.saturating_add(self.delay)))
            }
        };
        if let Some(before) = self.next.map(|next| next.saturating_sub(self.duration))
            && mark.is_some()
            && (1..=10 * CLOCK).contains(&decode.saturating_sub(before))
        {
            self.duration = decode - before;
        }
        self.shown = Some((shown, order));
        self.next = Some(decode.saturating_add(self.duration));
        Some((decode, shown))
    }

    /// Adds frames of sound that lie where `offset_of` says, which leaves those out that do not count.
    fn frames(
        &mut self,
        frames: std::vec::Drain<'_, Frame>,
        format: Option<SoundFormat>,
        samples: &mut Vec<Sample>,
        marks: &mut VecDeque<Mark>,
        timeline: &mut Timeline,
        offset_of: impl Fn(&Frame) -> Option<u64>,
    ) {
        let Some(rate) = format.and_then(|format| ClockRate::new(format.sample_rate)) else { return };
        for frame in frames {
            let mark = mark_of(marks, frame.code_position, frame.code_position);
            let Some(time) = self.sound(&frame, rate, mark, timeline) else { continue };
            if let Some(offset) = offset_of(&frame) {
                add(samples, offset, u64::from(frame.size), time, time, true);
            }
        }
    }

    /// When a frame is heard, in samples; `None` before the first time of the track. Times in PES headers are coarser: while they agree,
    /// samples count.
    fn sound(&mut self, frame: &Frame, rate: ClockRate, mark: Option<Header>, timeline: &mut Timeline) -> Option<i64> {
        let marked = mark.and_then(|header| header.presentation).map(|time| {
            let expected = self.next.map(|next| rate.rescale(next, ClockRate::VIDEO));
            ClockRate::VIDEO.rescale(timeline.place(&mut self.position, time, expected), rate)
        });
        let tolerance = i64::from(frame.samples / 4);
        let time = match (marked, self.next) {
            (Some(marked), Some(next)) if marked.saturating_sub(next).abs() > tolerance => marked,
            (Some(marked), None) => marked,
            (_, Some(next)) => next,
            (None, None) => return None,
        };
        self.duration = i64::from(frame.samples);
        self.next = Some(time.saturating_add(self.duration));
        Some(time)
    }
}
