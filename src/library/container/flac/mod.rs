//! FLAC files (RFC 9639). RTP has no format for FLAC: its frames, which are decoded one without the other, are sent as the samples they
//! hold, of 16 bits where that is enough and of 24 otherwise.
//!
//! A file says neither where its frames lie nor how long they are: it is read through once, for the headers with a sound checksum that
//! go on counting where the frame before ended. A frame is an access unit, at its first sample; in the index, its offset has the octets
//! that it takes in the file in the upper 24 bits.

mod frame;

use std::io;
use std::sync::{Arc, Mutex};

use claxon::frame::FrameReader;

use crate::library::codec::{Codec, PcmConfig, PcmSample};
use crate::library::container::problem;
use crate::library::container::sound::{MAX_CHANNELS, MAX_UNITS, SAMPLE_RATES, Sound};
use crate::library::container::window::Window;
use crate::library::title::{AccessUnit, Problem, ReadAt, Sample, Title, TitlePath, Unpack};

use frame::{FrameHeader, MAX_HEADER, Numbering};

/// Metadata blocks that are passed over.
const MAX_BLOCKS: usize = 1 << 12;
/// Octets of a STREAMINFO block.
const STREAM_INFO: usize = 34;
/// Bits of an offset in the index that say where in the file the frame lies.
const PLACE: u32 = 40;
/// The most octets that a frame takes in the file: 65,535 samples of eight channels with 32 bits, and then some.
const MAX_FRAME: u64 = 4 << 20;
/// Places where frames are missing and counting goes on; a file with more of them ends there.
const MAX_GAPS: usize = 16;
/// Octets of a tag at the end of the file (ID3v1).
const TAG: u64 = 128;

/// Whether the file begins like one of these.
pub fn sniff(head: &[u8]) -> bool {
    head.starts_with(b"fLaC")
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    parse_from(source, path, 0)
}

/// What the STREAMINFO block says (RFC 9639 section 8.2).
struct StreamInfo {
    min_frame: u32,
    sample_rate: u32,
    channels: u8,
    bits: u8,
    /// Zero where it is not known.
    samples: u64,
}

/// As [`parse`], of a stream that begins at `begin`.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse_from(source: Arc<dyn ReadAt>, path: TitlePath, begin: u64) -> Result<Title, Problem> {
    let mut window = Window::new(source.as_ref());
    let (about, start) = metadata(&mut window, begin)?;
    let sample = match about.bits {
        4..=16 => PcmSample::Big16,
        17..=24 => PcmSample::Big24,
        bits => return Err(problem(format!("the audio track is left out: samples of {bits} bits are not supported"))),
    };
    if !SAMPLE_RATES.contains(&about.sample_rate) || about.channels > MAX_CHANNELS {
        return Err(problem(format!("the audio track is left out: a sampling rate of {} Hz is not supported", about.sample_rate)));
    }
    let config = PcmConfig { sample, sample_rate: about.sample_rate, channels: about.channels };
    let block = sample.octets() as u32 * u32::from(about.channels);
    let mut frames = Frames::new(&mut window, &about, start)?;
    let mut samples = Vec::new();
    let (mut time, mut last_duration) = (0i64, 0);
    while let Some((place, octets, header)) = frames.next()? {
        if samples.len() >= MAX_UNITS {
            return Err(problem("the sound is too long"));
        }
        let unit = Sample::new(place | octets << PLACE, header.samples * block, time, 0, true);
        samples.push(unit.ok_or_else(|| problem("a frame is too large"))?);
        last_duration = header.samples;
        time += i64::from(header.samples);
    }
    let is_broken = frames.is_broken || about.samples != 0 && i64::try_from(about.samples) != Ok(time);
    let packing: Arc<dyn Unpack> = Arc::new(Decoder { config, shift: shift(sample, about.bits), scratch: Mutex::default() });
    let timescale = about.sample_rate;
    let sound = Sound { codec: Codec::Pcm(config), timescale, samples, last_duration, end: time, packing: Some(packing) };
    sound.title(path, source, is_broken.then_some("the file is cut short or broken: parts of its sound are missing"))
}

/// STREAMINFO, and where the first frame lies.
fn metadata(window: &mut Window<'_>, begin: u64) -> Result<(StreamInfo, u64), Problem> {
    let mut offset = begin.saturating_add(4);
    let mut about = None;
    for _ in 0..MAX_BLOCKS {
        let Some([kind, a, b, c]) = window.array::<4>(offset)? else { break };
        let length = u32::from_be_bytes([0, a, b, c]);
        if about.is_none() {
            // It is the first block.
            let info = window.array::<STREAM_INFO>(offset + 4)?.filter(|_| kind & 0x7f == 0);
            about = Some(stream_info(&info.ok_or_else(|| problem("the file has no description of its sound (STREAMINFO)"))?));
        }
        offset = offset.saturating_add(4 + u64::from(length));
        if kind & 0x80 != 0 {
            return about.map(|about| (about, offset)).ok_or_else(|| problem("the file has no description of its sound (STREAMINFO)"));
        }
    }
    Err(problem("the file is cut short: it ends before its sound"))
}

fn stream_info(octets: &[u8; STREAM_INFO]) -> StreamInfo {
    let [_, _, _, _, a, b, c, _, _, _, rate, ..] = *octets;
    let [_, _, _, _, _, _, _, _, _, _, _, middle, kind, high, d, e, f, g, ..] = *octets;
    StreamInfo {
        min_frame: u32::from_be_bytes([0, a, b, c]),
        sample_rate: u32::from_be_bytes([0, rate, middle, kind]) >> 4,
        channels: (kind >> 1 & 7) + 1,
        bits: ((kind & 1) << 4 | high >> 4) + 1,
        samples: u64::from(high & 15) << 32 | u64::from(u32::from_be_bytes([d, e, f, g])),
    }
}

/// Goes through the frames of a file.
struct Frames<'w, 's> {
    window: &'w mut Window<'s>,
    about: &'w StreamInfo,
    end: u64,
    /// The frame found last, which is given once it is known where it ends.
    pending: Option<(u64, FrameHeader)>,
    is_broken: bool,
    gaps: usize,
}

impl<'w, 's> Frames<'w, 's> {
    fn new(window: &'w mut Window<'s>, about: &'w StreamInfo, start: u64) -> Result<Self, Problem> {
        let mut end = window.size();
        if let Some(tag) = end.checked_sub(TAG).filter(|tag| *tag >= start)
            && window.array(tag)? == Some(*b"TAG")
        {
            end = tag;
        }
        let mut frames = Self { window, about, end, pending: None, is_broken: false, gaps: 0 };
        frames.pending = frames.find(start, None)?;
        frames.is_broken = frames.pending.as_ref().is_none_or(|(place, _)| *place != start);
        Ok(frames)
    }

    /// Where a frame lies, how many octets it takes, and its header.
    fn next(&mut self) -> Result<Option<(u64, u64, FrameHeader)>, Problem> {
        let Some((place, header)) = self.pending.take() else { return Ok(None) };
        let least = u64::from(self.about.min_frame).max(1);
        self.pending = self.find(place.saturating_add(least), Some(&header))?;
        let behind = self.pending.as_ref().map_or(self.end, |(next, _)| *next);
        let octets = behind.saturating_sub(place).min(MAX_FRAME);
        self.is_broken |= octets == MAX_FRAME;
        Ok((place >> PLACE == 0).then_some((place, octets, header)))
    }

    /// The first header from `offset` on that goes on behind the frame before.
    ///
    /// Where frames are missing, counting goes on with the first that is numbered higher.
    fn find(&mut self, offset: u64, before: Option<&FrameHeader>) -> Result<Option<(u64, FrameHeader)>, Problem> {
        let mut at = offset;
        let mut resumed = None;
        while at < self.end {
            let octets = self.window.at(at, MAX_HEADER)?;
            let Some(skip) = octets.iter().position(|octet| *octet == 0xff) else {
                at = at.saturating_add(octets.len().max(1) as u64);
                continue;
            };
            at = at.saturating_add(skip as u64);
            let octets = self.window.at(at, MAX_HEADER)?;
            if at < self.end
                && let Some(header) = FrameHeader::parse(octets).filter(|header| self.fits(header))
            {
                match before {
                    Some(before) if header.follows(before) => return Ok(Some((at, header))),
                    None if header.number == Numbering::Frame(0) || header.number == Numbering::Sample(0) => return Ok(Some((at, header))),
                    Some(before) if header.is_after(before) => resumed = resumed.or(Some((at, header))),
                    None => resumed = resumed.or(Some((at, header))),
                    Some(_) => {}
                }
            }
            // A frame that does not end is not followed for ever.
            if at - offset > MAX_FRAME && (resumed.is_some() || before.is_none()) {
                break;
            }
            at += 1;
        }
        self.is_broken |= resumed.is_some();
        self.gaps += usize::from(resumed.is_some());
        Ok(resumed.filter(|_| self.gaps <= MAX_GAPS))
    }

    fn fits(&self, header: &FrameHeader) -> bool {
        let about = self.about;
        header.channels == about.channels && header.sample_rate.is_none_or(|rate| rate == about.sample_rate) && header.bits == about.bits
    }
}

/// How far samples of that many bits are moved up, so that they fill what they are sent as.
const fn shift(sample: PcmSample, bits: u8) -> u32 {
    (sample.octets() * 8) as u32 - bits as u32
}

/// Under which name an index keeps how frames are decoded.
pub const NAME: &str = "flac";

/// [`Decoder`] out of what [`Unpack::kept`] gave.
pub fn restore(parameters: &[u8]) -> Option<Decoder> {
    let (config, shift): (PcmConfig, u32) = postcard::from_bytes(parameters).ok()?;
    (shift < 32).then(|| Decoder { config, shift, scratch: Mutex::default() })
}

/// Decodes frames.
pub struct Decoder {
    config: PcmConfig,
    shift: u32,
    /// Memory for a frame's octets and samples, for one at a time; who finds it taken takes his own.
    scratch: Mutex<(Vec<u8>, Vec<i32>)>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Unpack for Decoder {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        let (place, size) = (unit.offset & ((1 << PLACE) - 1), unit.offset >> PLACE);
        let size = usize::try_from(size.min(MAX_FRAME)).map_err(|_| io::ErrorKind::InvalidData)?;
        let (mut coded, buffer) = self.scratch.try_lock().map(|mut scratch| std::mem::take(&mut *scratch)).unwrap_or_default();
        coded.resize(size, 0);
        source.read_exact_at(&mut coded, place)?;
        let block = FrameReader::new(io::Cursor::new(&coded)).read_next_or_eof(buffer);
        let block = block.ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
        let channels = usize::from(self.config.channels);
        let width = self.config.sample.octets();
        if block.channels() as usize != channels || block.duration() as usize * channels * width != octets.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        for (channel, number) in (0..block.channels()).zip(0..) {
            let places = octets.chunks_exact_mut(width).skip(number).step_by(channels);
            for (place, sample) in places.zip(block.channel(channel)) {
                let [_, high, middle, low] = (sample << self.shift).to_be_bytes();
                match place {
                    [a, b, c] => (*a, *b, *c) = (high, middle, low),
                    [a, b] => (*a, *b) = (middle, low),
                    _ => {}
                }
            }
        }
        if let Ok(mut scratch) = self.scratch.try_lock() {
            *scratch = (coded, block.into_buffer());
        }
        Ok(())
    }

    fn kept(&self) -> Option<(&'static str, Vec<u8>)> {
        postcard::to_stdvec(&(self.config, self.shift)).ok().map(|parameters| (NAME, parameters))
    }
}

#[cfg(test)]
mod tests;
