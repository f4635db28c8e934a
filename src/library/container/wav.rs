//! WAV files: RIFF, RF64 and BW64 with a `ds64` chunk (EBU Tech 3306, ITU-R BS.2088), plain and extensible formats (Microsoft's Multiple
//! Channel Audio Data and WAVE Files). Samples become access units of 20 ms.
//!
//! Files whose writer could not go back say a wrong length or none: they reach to their end.

use std::sync::Arc;

use crate::library::codec::{Codec, PcmConfig, PcmSample, SoundFormat};
use crate::library::container::problem;
use crate::library::container::sound::{MAX_CHANNELS, MAX_UNITS, SAMPLE_RATES, Sound};
use crate::library::container::window::Window;
use crate::library::title::{Problem, ReadAt, Sample, Title, TitlePath};

/// Chunks that are looked at.
const MAX_CHUNKS: usize = 1 << 16;
/// Octets of a `fmt ` chunk that mean something here: the extensible one.
const FORMAT: usize = 40;
/// Access units a second.
const UNITS: u32 = 50;
/// What follows the format's number in a GUID of the extensible format.
const SUBFORMAT: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// The length of data of which the writer did not know it.
const UNKNOWN_LENGTH: u32 = u32::MAX;

/// Whether the file begins like one of these.
pub fn sniff(head: &[u8]) -> bool {
    matches!(head, [b'R', b'I', b'F', b'F', ..] | [b'R', b'F', b'6', b'4', ..] | [b'B', b'W', b'6', b'4', ..])
        && head.get(8..12) == Some(b"WAVE")
}

/// Samples as they lie in the file.
struct Layout {
    codec: Codec,
    /// Ticks a second: the rate of the samples.
    rate: u32,
    /// Octets of a block: a sample of each channel.
    block: u32,
    /// Ticks that a block lasts.
    ticks: u32,
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let (layout, start, size, is_short) = chunks(source.as_ref())?;
    // Frames of samples whose rate is no multiple of the units' are a little shorter, not of different lengths.
    let blocks = (layout.rate / UNITS / layout.ticks).max(1);
    let unit = blocks * layout.block;
    let total = size / u64::from(layout.block);
    let count = total.div_ceil(u64::from(blocks));
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_UNITS).ok_or_else(|| problem("the sound is too long"))?;
    let mut samples = Vec::with_capacity(count);
    let (mut offset, mut time, mut left) = (start, 0i64, total);
    let mut last_duration = 0;
    while left > 0 {
        let here = left.min(u64::from(blocks)) as u32;
        let size = if u64::from(here) < u64::from(blocks) { here * layout.block } else { unit };
        last_duration = here * layout.ticks;
        samples.push(Sample::new(offset, size, time, 0, true).ok_or_else(|| problem("an access unit is too large"))?);
        offset += u64::from(size);
        time += i64::from(last_duration);
        left -= u64::from(here);
    }
    let sound = Sound { codec: layout.codec, timescale: layout.rate, samples, last_duration, end: time, packing: None };
    sound.title(path, source, is_short.then_some("the file is cut short"))
}

/// The format, where the data begin, how many octets they have, and whether they should have more.
fn chunks(source: &dyn ReadAt) -> Result<(Layout, u64, u64, bool), Problem> {
    let mut window = Window::new(source);
    let mut offset = 12;
    let mut layout = None;
    let mut long_length = None;
    for _ in 0..MAX_CHUNKS {
        let Some([a, b, c, d, length @ ..]) = window.array::<8>(offset)? else {
            return Err(problem(if layout.is_some() {
                "the file has no sound (no data chunk)"
            } else {
                "the file has no format (no fmt chunk)"
            }));
        };
        let length = u32::from_le_bytes(length);
        let body = offset + 8;
        match &[a, b, c, d] {
            b"ds64" => {
                let octets = window.at(body + 8, 8)?;
                long_length = octets.first_chunk().map(|length| u64::from_le_bytes(*length));
            }
            b"fmt " => {
                let octets = window.at(body, FORMAT)?;
                let known = octets.len().min(FORMAT).min(usize::try_from(length).unwrap_or(usize::MAX));
                layout = Some(format(&octets[..known])?);
            }
            b"data" => {
                let layout = layout.ok_or_else(|| problem("the file has no format (no fmt chunk) before its sound"))?;
                let there = source.size().saturating_sub(body);
                let said = match length {
                    UNKNOWN_LENGTH => long_length.filter(|length| *length != 0),
                    0 => None,
                    length => Some(u64::from(length)),
                };
                let is_short = said.is_some_and(|said| said > there);
                return Ok((layout, body, said.map_or(there, |said| said.min(there)), is_short));
            }
            _ => {}
        }
        // Chunks begin at even places.
        offset = body + u64::from(length) + u64::from(length & 1);
    }
    Err(problem("the file has more than 65,536 chunks"))
}

/// A `fmt ` chunk.
fn format(octets: &[u8]) -> Result<Layout, Problem> {
    let refused = |why: String| problem(format!("the audio track is left out: {why}"));
    let &[tag_low, tag_high, channels_low, channels_high, a, b, c, d, _, _, _, _, block_low, block_high, bits_low, bits_high] =
        octets.first_chunk::<16>().ok_or_else(|| refused("its format is cut short".into()))?;
    let mut tag = u16::from_le_bytes([tag_low, tag_high]);
    if tag == 0xfffe {
        tag = match octets.get(24..40) {
            Some([low, high, rest @ ..]) if *rest == SUBFORMAT => u16::from_le_bytes([*low, *high]),
            _ => return Err(refused("its extensible format is unknown".into())),
        };
    }
    let channels = u16::from_le_bytes([channels_low, channels_high]);
    let rate = u32::from_le_bytes([a, b, c, d]);
    let block = u16::from_le_bytes([block_low, block_high]);
    let bits = u16::from_le_bytes([bits_low, bits_high]);
    if !SAMPLE_RATES.contains(&rate) {
        return Err(refused(format!("a sampling rate of {rate} Hz is not supported")));
    }
    let channels = u8::try_from(channels).ok().filter(|channels| (1..=MAX_CHANNELS).contains(channels));
    let channels = channels.ok_or_else(|| refused("so many channels are not supported".into()))?;
    let sample = match (tag, bits) {
        (1, 8) => PcmSample::Unsigned8,
        (1, 16) => PcmSample::Little16,
        (1, 24) => PcmSample::Little24,
        (1, bits) => return Err(refused(format!("samples of {bits} bits are not supported"))),
        (3, _) => return Err(refused("samples with a floating point are not supported".into())),
        (6, _) => PcmSample::ALaw,
        (7, _) => PcmSample::MuLaw,
        (0x028f, _) if channels == 1 && rate == 16_000 => {
            let codec = Codec::G722(SoundFormat { sample_rate: rate, channels });
            return Ok(Layout { codec, rate, block: 1, ticks: 2 });
        }
        (tag, _) => return Err(refused(format!("WAV format 0x{tag:04x} is not supported"))),
    };
    let expected = sample.octets() * usize::from(channels);
    if usize::from(block) != expected {
        return Err(refused(format!("blocks of {block} octets do not fit its format")));
    }
    let codec = Codec::Pcm(PcmConfig { sample, sample_rate: rate, channels });
    Ok(Layout { codec, rate, block: u32::from(block), ticks: 1 })
}

#[cfg(test)]
mod tests;
