//! What is kept of a library, as octets: the facts of all titles in one record, the index of a title in one of its own.
//!
//! A record is a seal (a word, and a checksum over the rest) and values as postcard writes them: numbers in as few octets as they
//! need, texts and lists with their length before them. An access unit is four numbers that are small mostly: how far behind the
//! end of the one before it lies, its size, how much later it is decoded, how much later than that it is shown. What is read is
//! believed no more than a media file: it is checked, and what does not hold is no record.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::library::codec::Codec;
use crate::library::facts::Facts;
use crate::library::file::Stamp;
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track, Unpack};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// What every record begins with; another number where the format changes.
const WORD: &[u8; 8] = b"flowidx\x03";
/// Octets of the checksum.
const CHECKSUM: usize = 8;
/// Octets of a record at most.
pub const MAX_RECORD: usize = 64 << 20;
/// Access units of a title at most, as in a container.
const MAX_SAMPLES: u64 = 8 << 20;
/// Octets of a text at most.
const MAX_TEXT: usize = 4096;

/// Why octets are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It begins otherwise, or does not end.
    #[error("it is no such record")]
    Foreign,
    /// The checksum is another.
    #[error("it is damaged")]
    Damaged,
    /// Another build of the server has written it.
    #[error("another build has written it")]
    OtherBuild,
    /// It is of another file, or of that file before it changed.
    #[error("it is of another file")]
    OtherFile,
    /// What it says does not hold.
    #[error("it says what cannot be")]
    Wrong,
    /// It would be larger than [`MAX_RECORD`], or cannot be made anew from a record.
    #[error("it cannot be kept")]
    Unkept,
}

/// What is kept of one file for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsRecord {
    /// Its name.
    pub path: Box<str>,
    /// Which file, and of when.
    pub stamp: Stamp,
    /// What is known of it.
    pub outcome: Result<Facts, Problem>,
}

/// A record of facts: `made_by` names the build that writes it.
///
/// # Errors
/// There is too much of it.
pub fn write_facts(made_by: &str, facts: &[FactsRecord]) -> Result<Vec<u8>, RecordError> {
    seal(postcard::to_stdvec(&(made_by, facts)).map_err(|_| RecordError::Unkept)?)
}

/// Reads a record of facts that the same build wrote. What is wrong in itself is left out.
///
/// # Errors
/// It is no such record.
pub fn read_facts(made_by: &str, octets: &[u8]) -> Result<Vec<FactsRecord>, RecordError> {
    let (builder, rest) = postcard::take_from_bytes::<&str>(unseal(octets)?).map_err(|_| RecordError::Wrong)?;
    if builder != made_by {
        return Err(RecordError::OtherBuild);
    }
    let facts: Vec<FactsRecord> = postcard::from_bytes(rest).map_err(|_| RecordError::Wrong)?;
    Ok(facts.into_iter().filter(FactsRecord::is_sound).collect())
}

impl FactsRecord {
    fn is_sound(&self) -> bool {
        let is_sound = |facts: &Facts| {
            let texts = |track: &crate::library::facts::TrackFacts| is_text(&track.codec) && track.language.as_deref().is_none_or(is_text);
            !facts.tracks.is_empty() && facts.tracks.iter().all(texts) && facts.remark.iter().all(|remark| is_text(&remark.reason))
        };
        let outcome = match &self.outcome {
            Ok(facts) => is_sound(facts),
            Err(problem) => is_text(&problem.reason),
        };
        outcome && TitlePath::new(&self.path).is_some()
    }
}

/// Text that can stand in a log, a header or a list.
fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.contains(char::is_control)
}

#[derive(Serialize, Deserialize)]
struct TitleRecord {
    duration: MediaTime,
    remark: Option<Problem>,
    tracks: Vec<TrackRecord>,
}

#[derive(Serialize, Deserialize)]
struct TrackRecord {
    kind: MediaKind,
    codec: Codec,
    timescale: u32,
    language: Option<String>,
    packing: Option<(String, Vec<u8>)>,
    last_duration: u32,
    samples: Samples,
}

/// The index of a title, with whose it is.
///
/// # Errors
/// It is too large, or its access units cannot be put together again from a record.
pub fn write_index(made_by: &str, stamp: &Stamp, title: &Title) -> Result<Vec<u8>, RecordError> {
    let track = |track: &Track| {
        let packing = match track.index.packing() {
            Some(packing) => packing.kept().map(|(name, parameters)| Some((name.to_owned(), parameters))).ok_or(RecordError::Unkept)?,
            None => None,
        };
        Ok(TrackRecord {
            kind: track.kind,
            codec: track.codec.clone(),
            timescale: track.timescale.hertz(),
            language: track.language.clone(),
            packing,
            last_duration: track.index.last_duration(),
            samples: Samples(track.index.samples().to_vec()),
        })
    };
    let tracks = title.tracks.iter().map(track).collect::<Result<_, _>>()?;
    let record = TitleRecord { duration: title.duration, remark: title.remark.clone(), tracks };
    let octets = postcard::to_stdvec(&(made_by, title.path.as_str(), stamp, record)).map_err(|_| RecordError::Unkept)?;
    seal(octets)
}

/// How a container puts access units together, by its name and what it has kept.
pub type Restore = dyn Fn(&str, &[u8]) -> Option<Arc<dyn Unpack>>;

/// Whose index is wanted, and what puts its access units together again.
pub struct Wanted<'a> {
    /// The build that reads.
    pub made_by: &'a str,
    /// The title's name.
    pub path: &'a TitlePath,
    /// Which file, and of when.
    pub stamp: &'a Stamp,
    /// [`restore`](crate::library::container::restore).
    pub restore: &'a Restore,
}

/// Reads the index of a title of `source`.
///
/// # Errors
/// It is no such record, or one of another file.
pub fn read_index(wanted: &Wanted<'_>, octets: &[u8], source: Arc<dyn ReadAt>) -> Result<Title, RecordError> {
    let head = postcard::take_from_bytes::<(&str, &str, Stamp)>(unseal(octets)?);
    let ((builder, path, stamp), rest) = head.map_err(|_| RecordError::Wrong)?;
    if builder != wanted.made_by {
        return Err(RecordError::OtherBuild);
    }
    if path != wanted.path.as_str() || stamp != *wanted.stamp {
        return Err(RecordError::OtherFile);
    }
    let record: TitleRecord = postcard::from_bytes(rest).map_err(|_| RecordError::Wrong)?;
    let tracks = record.tracks.into_iter().map(|track| read_track(wanted, track, stamp.size)).collect::<Option<Vec<_>>>();
    let tracks = tracks.filter(|tracks| !tracks.is_empty()).ok_or(RecordError::Wrong)?;
    if !record.remark.iter().all(|remark| is_text(&remark.reason)) {
        return Err(RecordError::Wrong);
    }
    Ok(Title { path: wanted.path.clone(), duration: record.duration, tracks, remark: record.remark, source })
}

fn read_track(wanted: &Wanted<'_>, record: TrackRecord, file_size: u64) -> Option<Track> {
    let Samples(samples) = record.samples;
    let packing = match &record.packing {
        Some((container, parameters)) => Some((wanted.restore)(container, parameters)?),
        None => None,
    };
    let within = |sample: &Sample| packing.is_some() || sample.lies_within(file_size);
    let holds = samples.len() as u64 <= MAX_SAMPLES.min(file_size.saturating_mul(2).saturating_add(1024))
        && samples.iter().any(Sample::is_random_access)
        && samples.iter().all(within)
        && record.language.as_deref().is_none_or(is_text);
    if !holds {
        return None;
    }
    let index = SampleIndex::new(samples, record.last_duration);
    Some(Track {
        kind: record.kind,
        codec: record.codec,
        timescale: ClockRate::new(record.timescale)?,
        language: record.language,
        index: match packing {
            Some(packing) => index.packed(packing),
            None => index,
        },
    })
}

/// Access units one behind the other.
struct Samples(Vec<Sample>);

/// One of them: how far behind the end of the one before it lies, its size and whether it is a random access point, how much
/// later it is decoded, how much later than that it is shown.
type Step = (i64, u32, u64, i32);

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut end, mut time) = (0u64, 0i64);
        serializer.collect_seq(self.0.iter().map(|sample| {
            let size = sample.size() << 1 | u32::from(sample.is_random_access());
            let step: Step = (
                sample.offset().wrapping_sub(end) as i64,
                size,
                sample.decode_time().wrapping_sub(time) as u64,
                sample.composition_offset(),
            );
            end = sample.offset().wrapping_add(u64::from(sample.size()));
            time = sample.decode_time();
            step
        }))
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Steps;
        impl<'de> Visitor<'de> for Steps {
            type Value = Samples;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("access units")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut steps: A) -> Result<Samples, A::Error> {
                // What is claimed need not be there: a megabyte to begin with.
                let mut samples = Vec::with_capacity(steps.size_hint().unwrap_or(0).min((1 << 20) / size_of::<Sample>()));
                let (mut end, mut time) = (0u64, None::<i64>);
                while let Some((behind, size, later, shown_later)) = steps.next_element::<Step>()? {
                    let offset = end.wrapping_add(behind as u64);
                    let decode_time = time.unwrap_or(0).wrapping_add(later as i64);
                    // Only the first one may lie before the beginning.
                    let descends = time.is_some_and(|time| decode_time < time);
                    let sample = Sample::new(offset, size >> 1, decode_time, shown_later, size & 1 == 1).filter(|_| !descends);
                    let sample = sample.filter(|_| (samples.len() as u64) < MAX_SAMPLES);
                    samples.push(sample.ok_or_else(|| A::Error::custom("no access unit"))?);
                    (end, time) = (offset.wrapping_add(u64::from(size >> 1)), Some(decode_time));
                }
                Ok(Samples(samples))
            }
        }
        deserializer.deserialize_seq(Steps)
    }
}

/// Octets with a word and a checksum before them.
///
/// # Errors
/// There are too many.
pub fn seal(body: Vec<u8>) -> Result<Vec<u8>, RecordError> {
    if body.len() > MAX_RECORD - WORD.len() - CHECKSUM {
        return Err(RecordError::Unkept);
    }
    Ok([WORD, &checksum(&body)[..], &body].concat())
}

fn unseal(octets: &[u8]) -> Result<&[u8], RecordError> {
    let (found, body) = octets.strip_prefix(WORD).and_then(|rest| rest.split_first_chunk()).ok_or(RecordError::Foreign)?;
    if *found == checksum(body) { Ok(body) } else { Err(RecordError::Damaged) }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests;
