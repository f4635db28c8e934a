//! Raw streams of H.264 and H.265, NAL units behind start codes (ISO/IEC 14496-10 and 23008-2, annexes B): `.h264`, `.h265` and the like.
//!
//! They have no times: pictures follow each other at the rate that the stream names, else 25 a second, and are shown in the order of their
//! picture order counts.

use std::sync::Arc;

use crate::library::container::problem;
use crate::library::elementary::h264::{self, H264};
use crate::library::elementary::h265::{self, H265};
use crate::library::elementary::pictures::{Pictures, Unit};
use crate::library::elementary::start_code::{self, Place};
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Octets of one read.
const CHUNK: usize = 1 << 20;
/// Octets in which parameter sets are looked for to know such a file.
const HEAD: usize = 64 << 10;
/// Access units at most: 38 hours at 60 a second.
const MAX_SAMPLES: usize = 8 << 20;
/// What is taken where the stream names no rate.
const GUESSED_RATE: (u32, u32) = (25, 1);

/// How a raw stream is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawCoding {
    /// ISO/IEC 14496-10.
    H264,
    /// ISO/IEC 23008-2.
    H265,
}

impl RawCoding {
    fn pictures(self) -> Pictures {
        match self {
            Self::H264 => Pictures::new(Box::new(H264::default()), h264::limit),
            Self::H265 => Pictures::new(Box::new(H265::default()), h265::limit),
        }
    }
}

/// How a file is coded that begins with a start code, a NAL unit that may be the first of a stream, and has parameter sets that can be read
/// near its beginning.
pub fn sniff(source: &dyn ReadAt) -> Option<RawCoding> {
    let size = usize::try_from(source.size()).unwrap_or(usize::MAX);
    let mut head = vec![0; size.min(HEAD)];
    source.read_exact_at(&mut head, 0).ok()?;
    let first = start_code::find(&head).filter(|at| head[..*at].iter().all(|octet| *octet == 0))?;
    let coding = match head.get(first + start_code::LEN..)? {
        // Delimiter, supplemental information, sequence parameter set.
        [0x09 | 0x06 | 0x27 | 0x47 | 0x67, ..] => RawCoding::H264,
        // Video and sequence parameter set, delimiter, supplemental information; of the base layer.
        [0x40 | 0x42 | 0x46 | 0x4e, 1, ..] => RawCoding::H265,
        _ => return None,
    };
    let mut pictures = coding.pictures();
    pictures.feed(&head, Place::default());
    pictures.finish();
    pictures.coding().codec().map(|_| coding)
}

/// An access unit before it has times.
struct Draft {
    offset: u64,
    size: u32,
    is_key: bool,
    begins_sequence: bool,
    order: i64,
}

impl Draft {
    fn new(unit: &Unit) -> Option<Self> {
        let size = u32::try_from(unit.size).ok().filter(|size| *size > 0 && size >> 31 == 0)?;
        let picture = &unit.picture;
        let (is_key, begins_sequence, order) = (picture.is_key, picture.begins_sequence, picture.order);
        Some(Self { offset: unit.start.offset, size, is_key, begins_sequence, order })
    }
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath, coding: RawCoding) -> Result<Title, Problem> {
    let mut pictures = coding.pictures();
    let (mut drafts, mut at): (Vec<Draft>, u64) = (Vec::new(), 0);
    let mut buffer = vec![0; CHUNK];
    loop {
        let left = usize::try_from(source.size().saturating_sub(at)).unwrap_or(usize::MAX);
        let chunk = &mut buffer[..left.min(CHUNK)];
        source.read_exact_at(chunk, at).map_err(|error| problem(format!("the file cannot be read: {error}")))?;
        if chunk.is_empty() {
            pictures.finish();
        } else {
            pictures.feed(chunk, Place { position: at, offset: at });
        }
        at = at.saturating_add(chunk.len() as u64);
        for unit in pictures.take() {
            if unit.picture.is_key || !drafts.is_empty() {
                drafts.extend(Draft::new(&unit));
            }
        }
        if drafts.len() > MAX_SAMPLES {
            return Err(problem("the file has too many pictures"));
        }
        if left == 0 {
            break;
        }
    }
    let codec = pictures.coding().codec().ok_or_else(|| problem("the file has no parameter sets"))?;
    let named = pictures.coding().frame_rate().filter(|(frames, seconds)| (1..=1_000).contains(&(frames / (*seconds).max(1))));
    let remark = named.is_none().then(|| problem("the file names no frame rate; 25 pictures a second are taken"));
    let (samples, last_duration, end) = on_timeline(&drafts, named.unwrap_or(GUESSED_RATE));
    if !samples.iter().any(Sample::is_random_access) {
        return Err(problem("decoding can start nowhere in the file"));
    }
    let duration = MediaTime::from_ticks(end, ClockRate::VIDEO);
    let index = SampleIndex::new(samples, last_duration);
    let tracks = vec![Track { kind: MediaKind::Video, codec, timescale: ClockRate::VIDEO, language: None, index }];
    Ok(Title { path, duration, tracks, remark, source })
}

/// Samples at that many pictures in so many seconds, how long the last one lasts, and the end. What is decoded first is decoded before zero
/// where others are shown before it.
fn on_timeline(drafts: &[Draft], (frames, seconds): (u32, u32)) -> (Vec<Sample>, u32, i64) {
    let ticks = |number: i64| number.saturating_mul(i64::from(seconds)).saturating_mul(90_000) / i64::from(frames.max(1));
    let mut places: Vec<i64> = vec![0; drafts.len()];
    let mut first = 0;
    for sequence in drafts.chunk_by(|_, next| !next.begins_sequence) {
        let mut in_order: Vec<usize> = (first..first + sequence.len()).collect();
        in_order.sort_by_key(|position| drafts.get(*position).map(|draft| draft.order));
        for (place, position) in in_order.into_iter().enumerate() {
            if let Some(slot) = places.get_mut(position) {
                *slot = (first + place) as i64;
            }
        }
        first += sequence.len();
    }
    let reordered = (0..).zip(&places).map(|(position, place): (i64, &i64)| position - place).max().unwrap_or(0);
    let samples = (0..).zip(drafts).zip(&places).filter_map(|((position, draft), place): ((i64, _), _)| {
        let (decode, shown) = (ticks(position - reordered), ticks(*place));
        Sample::new(draft.offset, draft.size, decode, i32::try_from(shown - decode).unwrap_or(0), draft.is_key)
    });
    let count = drafts.len() as i64;
    let last_duration = u32::try_from(ticks(count) - ticks(count - 1)).unwrap_or(0);
    (samples.collect(), last_duration, ticks(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_by_their_order_within_each_sequence() {
        let draft = |begins_sequence, order| Draft { offset: 0, size: 1, is_key: begins_sequence, begins_sequence, order };
        let drafts = [draft(true, 0), draft(false, 6), draft(false, 2), draft(false, 4), draft(true, 0), draft(false, 2)];
        let (samples, last, end) = on_timeline(&drafts, (25, 1));
        let times: Vec<_> = samples.iter().map(|sample| (sample.decode_time() / 3_600, sample.presentation_time() / 3_600)).collect();
        assert_eq!(times, [(-1, 0), (0, 3), (1, 1), (2, 2), (3, 4), (4, 5)]);
        assert_eq!((last, end), (3_600, 6 * 3_600));
    }

    #[test]
    fn other_files_are_not_taken_for_raw_streams() {
        let others: [&[u8]; 5] = [&[], &[0, 0, 1, 0xb3, 0, 0], &[0, 0, 1, 0x67], &[0, 0, 0, 1, 0x67, 0x4d, 0x40, 0, 1, 2, 3], b"text"];
        for file in others {
            assert_eq!(sniff(&file.to_vec()), None, "{file:02x?}");
        }
    }
}
