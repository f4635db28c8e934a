//! Times: the file's are rounded, mostly to milliseconds; here they become what they were.
//!
//! Sound has a known number of samples in each frame: frames follow each other by exactly these, in a clock of the sampling rate, as
//! long as the file's times agree with that; where they do not, there is a gap, and the count begins anew at the file's time. Pictures
//! that come at a constant rate do so exactly; others keep the file's times, in ticks of 90 kHz. Read first: RFC 9559 section 11.

use crate::library::codec::Codec;
use crate::library::container::matroska::scan::{Frame, HEAD};
use crate::quantities::{ClockRate, MediaTime};

/// Picture rates that there are (a second and its part), looked for where a file's duration of a picture is near one of them.
const PICTURE_RATES: [(u32, u32); 22] = [
    (24_000, 1_001),
    (30_000, 1_001),
    (60_000, 1_001),
    (120_000, 1_001),
    (15_000, 1_001),
    (48_000, 1_001),
    (240_000, 1_001),
    (5, 1),
    (10, 1),
    (12, 1),
    (15, 1),
    (20, 1),
    (24, 1),
    (25, 1),
    (30, 1),
    (48, 1),
    (50, 1),
    (60, 1),
    (90, 1),
    (100, 1),
    (120, 1),
    (240, 1),
];
/// How near: the 1,001st parts of neighbouring rates are 1,000 millionths apart.
const NEAR: f64 = 0.000_4;
/// Nanoseconds by which sound may be off without anybody hearing it.
const UNHEARD: i64 = 15_000_000;
/// Ticks that a clock should have at least in a second: seeks are told apart by it.
const FINE: u32 = 1_000;

/// When the frames of a track are shown.
#[derive(Debug)]
pub struct Times {
    /// The clock.
    pub timescale: ClockRate,
    /// In decode order, in ticks of it on the file's timeline.
    pub presentation: Vec<i64>,
    /// How long the last one is shown.
    pub last_duration: u32,
}

/// Nanoseconds of a file's time.
fn nanos(time: i64, scale: u64) -> i64 {
    time.saturating_mul(i64::try_from(scale).unwrap_or(i64::MAX))
}

/// The time of each frame in nanoseconds: those without one of their own lie evenly between those that have one.
fn file_times(frames: &[Frame], scale: u64, frame_duration: Option<u64>) -> Vec<i64> {
    let mut times = Vec::with_capacity(frames.len());
    let mut step = frame_duration.and_then(|duration| i64::try_from(duration).ok()).unwrap_or(0);
    let mut groups = frames.chunk_by(|_, next| !next.is_timed).peekable();
    while let Some(group) = groups.next() {
        let start = group.first().map_or(0, |first| nanos(first.time, scale));
        let count = i64::try_from(group.len()).unwrap_or(i64::MAX);
        if let (None, Some(next)) = (frame_duration, groups.peek().and_then(|next| next.first())) {
            step = nanos(next.time, scale).saturating_sub(start).max(0) / count;
        }
        times.extend((0..count).map(|position| start.saturating_add(step.saturating_mul(position))));
    }
    times
}

/// Times of sound with that clock, the sampling rate.
pub fn of_sound(frames: &[Frame], scale: u64, timescale: ClockRate, frame_duration: Option<u64>, samples: &Samples) -> Times {
    let times = file_times(frames, scale, frame_duration);
    let in_ticks = |nanos: i64| MediaTime::from_nanos(nanos).to_ticks(timescale);
    let lasts = frame_duration.map_or(0, |duration| in_ticks(i64::try_from(duration).unwrap_or(i64::MAX)));
    let counts: Option<Vec<u32>> = frames.iter().map(|frame| samples.of(frame)).collect();
    let Some(counts) = counts else {
        let presentation: Vec<i64> = times.into_iter().map(in_ticks).collect();
        let lasts = if lasts > 0 { lasts } else { mean_step(&presentation) };
        return Times { timescale, presentation, last_duration: u32::try_from(lasts).unwrap_or(0) };
    };
    let mut presentation = Vec::with_capacity(frames.len());
    let mut run = Run::beginning(times.first().copied().unwrap_or(0));
    for ((frame, time), count) in frames.iter().zip(&times).zip(&counts) {
        let counted = MediaTime::from_ticks(run.samples, timescale).as_nanos();
        let off = time.saturating_sub(counted);
        // What rounding can do, and what nobody hears.
        let half = MediaTime::from_ticks(i64::from(*count) / 2, timescale).as_nanos();
        let tolerance = half.min(UNHEARD).max(nanos(2, scale));
        if frame.is_timed && !run.takes(off, tolerance) {
            run.write(&mut presentation, timescale, scale);
            run = Run::beginning(*time);
        }
        run.starts.push(run.samples);
        run.samples = run.samples.saturating_add(i64::from(*count));
    }
    run.write(&mut presentation, timescale, scale);
    Times { timescale, presentation, last_duration: counts.last().copied().unwrap_or(0) }
}

/// Frames that follow each other without a gap.
#[derive(Default)]
struct Run {
    /// The file's time of the first, in nanoseconds.
    first: i64,
    /// Samples before each frame since the run began.
    starts: Vec<i64>,
    /// Samples in all of them.
    samples: i64,
    /// The least difference between the file's time and the counted one, in nanoseconds.
    least: i64,
    /// The greatest.
    greatest: i64,
}

impl Run {
    /// One whose first frame the file has at that time.
    fn beginning(first: i64) -> Self {
        Self { first, least: first, greatest: first, ..Self::default() }
    }

    /// Whether a frame whose time is that far from the counted one belongs to it.
    fn takes(&mut self, off: i64, tolerance: i64) -> bool {
        let (least, greatest) = (off.min(self.least), off.max(self.greatest));
        let fits = greatest.saturating_sub(least) <= tolerance;
        if fits {
            (self.least, self.greatest) = (least, greatest);
        }
        fits
    }

    /// Where it begins is where the file has its first frame, as far as rounding explains the times of the others.
    fn write(&self, presentation: &mut Vec<i64>, timescale: ClockRate, scale: u64) {
        let start = MediaTime::from_nanos(unrounded(self.first, self.least, self.greatest, scale)).to_ticks(timescale);
        presentation.extend(self.starts.iter().map(|samples| start.saturating_add(*samples)));
    }
}

/// What the first time was before the file rounded it, where the times of others say that it and they were off by between `least` and
/// `greatest`: nothing else where rounding to the nearest tick explains both, else what explains them best.
fn unrounded(first: i64, least: i64, greatest: i64, scale: u64) -> i64 {
    let half = nanos(1, scale) / 2;
    let (earliest, latest) = (greatest.saturating_sub(half), least.saturating_add(half));
    if earliest <= latest { first.clamp(earliest, latest) } else { least.saturating_add(greatest.saturating_sub(least) / 2) }
}

/// Ticks from one to the next, in the mean.
fn mean_step(presentation: &[i64]) -> i64 {
    let first = presentation.iter().min().copied().unwrap_or(0);
    let last = presentation.iter().max().copied().unwrap_or(0);
    let steps = i64::try_from(presentation.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
    last.saturating_sub(first) / steps
}

/// Times of pictures.
pub fn of_pictures(frames: &[Frame], scale: u64, frame_duration: Option<u64>) -> Times {
    let times = file_times(frames, scale, frame_duration);
    let duration = frame_duration.map_or_else(|| mean_step(&times), |duration| i64::try_from(duration).unwrap_or(i64::MAX));
    if let Some(constant) = constant_rate(&times, scale, duration) {
        return constant;
    }
    let in_ticks = |nanos: i64| MediaTime::from_nanos(nanos).to_ticks(ClockRate::VIDEO);
    let presentation = times.into_iter().map(in_ticks).collect();
    Times { timescale: ClockRate::VIDEO, presentation, last_duration: u32::try_from(in_ticks(duration)).unwrap_or(0) }
}

/// The times of pictures as multiples of one of the rates that there are, if all of them are so but for rounding.
fn constant_rate(times: &[i64], scale: u64, duration: i64) -> Option<Times> {
    let near = |(hertz, part): &&(u32, u32)| {
        let exact = 1e9 * f64::from(*part) / f64::from(*hertz);
        (duration as f64 - exact).abs() <= exact * NEAR
    };
    let (hertz, part) = *PICTURE_RATES.iter().find(near)?;
    // A clock in which a picture lasts a whole number of ticks.
    let (hertz, part) = if hertz < FINE { (hertz.checked_mul(FINE)?, part.checked_mul(FINE)?) } else { (hertz, part) };
    let (timescale, part) = (ClockRate::new(hertz)?, i64::from(part));
    let first = times.first().copied()?;
    let number = |time: i64| {
        let ticks = MediaTime::from_nanos(time.saturating_sub(first)).to_ticks(timescale);
        ticks.saturating_add(part / 2).div_euclid(part)
    };
    let exact = |number: i64| number.saturating_mul(part);
    let (mut least, mut greatest) = (0, 0);
    for time in times {
        let expected = MediaTime::from_ticks(exact(number(*time)), timescale).as_nanos();
        let off = time.saturating_sub(first).saturating_sub(expected);
        (least, greatest) = (off.min(least), off.max(greatest));
    }
    // Rounding to the nearest tick of the file leaves as much between the two as one of these, and what conversions here lose.
    let rounding = nanos(1, scale).saturating_add(1_000);
    if greatest.saturating_sub(least) > rounding {
        return None;
    }
    let start = MediaTime::from_nanos(first.saturating_add(unrounded(0, least, greatest, scale))).to_ticks(timescale);
    let presentation = times.iter().map(|time| start.saturating_add(exact(number(*time)))).collect();
    Some(Times { timescale, presentation, last_duration: u32::try_from(part).ok()? })
}

/// How many samples of a channel a frame has.
#[derive(Debug, PartialEq, Eq)]
pub enum Samples {
    /// All have as many.
    Constant(u32),
    /// As many as whole ones of that size are in it.
    Octets(u32),
    /// An Opus packet says so itself, and may begin with octets that are not stored.
    Opus([u8; HEAD], usize),
    /// Not known.
    Unknown,
}

impl Samples {
    /// Of a track so coded; `prefix` is what its frames begin with beside what is stored.
    pub fn new(codec: &Codec, codec_id: &str, prefix: &[u8]) -> Self {
        match codec {
            // ISO/IEC 14496-3 section 4.5.2.1.1: frameLengthFlag chooses.
            Codec::Aac(config) if has_short_frames(&config.audio_specific_config) => Self::Constant(960),
            Codec::Aac(_) => Self::Constant(1_024),
            Codec::Ac3(_) => Self::Constant(1_536),
            // ISO/IEC 13818-3 halves the rates and the frames of layer III.
            Codec::MpegAudio(format) => match (codec_id, format.sample_rate) {
                ("A_MPEG/L1", _) => Self::Constant(384),
                ("A_MPEG/L3", ..32_000) => Self::Constant(576),
                _ => Self::Constant(1_152),
            },
            Codec::Pcm(config) => Self::Octets(u32::try_from(config.sample.octets()).unwrap_or(1) * u32::from(config.channels)),
            Codec::Opus(_) => {
                let mut head = [0; HEAD];
                head.iter_mut().zip(prefix).for_each(|(head, octet)| *head = *octet);
                Self::Opus(head, prefix.len().min(HEAD))
            }
            _ => Self::Unknown,
        }
    }

    fn of(&self, frame: &Frame) -> Option<u32> {
        match self {
            Self::Constant(count) => Some(*count),
            Self::Octets(size) => frame.size.checked_div(*size),
            Self::Opus(prefix, len) => {
                let mut head = *prefix;
                head.iter_mut().skip(*len).zip(frame.head).for_each(|(head, octet)| *head = octet);
                Some(opus_samples(head))
            }
            Self::Unknown => None,
        }
    }
}

/// Whether an AudioSpecificConfig of one of the plain object types chooses frames of 960 samples.
fn has_short_frames(config: &[u8]) -> bool {
    let Some(octets) = config.first_chunk::<2>() else { return false };
    let bits = u16::from_be_bytes(*octets);
    // Five bits of object type, four of rate (15: it follows in full), four of channels, then the flag.
    matches!(bits >> 11, 1..=4) && bits >> 7 & 15 != 15 && bits >> 2 & 1 == 1
}

/// Samples of 48,000 a second in an Opus packet (RFC 6716 section 3.1).
fn opus_samples([toc, count]: [u8; HEAD]) -> u32 {
    let configuration = u32::from(toc >> 3);
    let frame = match configuration {
        0..=11 => [480, 960, 1_920, 2_880][configuration as usize % 4],
        12..=15 => [480, 960][configuration as usize % 2],
        _ => [120, 240, 480, 960][configuration as usize % 4],
    };
    match toc & 3 {
        0 => frame,
        1 | 2 => 2 * frame,
        _ => u32::from(count & 0x3f) * frame,
    }
}

#[cfg(test)]
mod tests;
