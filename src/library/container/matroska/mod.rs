//! Matroska and WebM files (RFC 9559, RFC 8794): tracks, clusters, blocks with and without lacing, stripped headers.
//!
//! The index is read by a walk over all blocks, a header each; the file's own indices are not needed, so files that were cut short or
//! recorded live play like others. Chapters, editions, attachments and tags are passed over, and what is not sound or picture is left
//! out. A file's times begin at zero here: the earliest block does, and of sound the encoder's delay (CodecDelay) lies before its
//! block's time.
//!
//! SeekPreRoll is not looked at: after a seek a decoder of Opus has its sound right 80 ms later, as it has in a stream that it joins.

mod block;
mod coding;
mod ebml;
mod entry;
pub(super) mod packing;
mod scan;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::library::codec::Codec;
use crate::library::container::{left_out_subtitle, order, problem, unsendable};
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

use entry::{Entry, Kind};
use packing::Prefixed;
use scan::Frame;
use times::{Samples, Times};

/// Whether the file begins like one of this family.
pub fn sniff(head: &[u8]) -> bool {
    head.starts_with(&scan::EBML.0.to_be_bytes())
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let mut scanned = scan::scan(source.as_ref())?;
    let mut remarks: Vec<String> = scanned.remark.iter().map(|remark| (*remark).to_owned()).collect();
    if scanned.damage.places > 0 {
        remarks.push(scanned.damage.to_string());
    }
    let mut drafts = Vec::new();
    for entry in entry::entries(&scanned.tracks) {
        match draft(&entry, &mut scanned.frames, scanned.scale) {
            Ok(draft) => drafts.extend(draft),
            Err(remark) => remarks.push(remark),
        }
    }
    let start = drafts.iter().map(Draft::start).min().unwrap_or(MediaTime::ZERO);
    let mut duration = MediaTime::ZERO;
    let mut tracks = Vec::new();
    for draft in drafts {
        let (track, end, remark) = draft.finish(start);
        if let Some(why) = unsendable(&track, source.as_ref()) {
            remarks.push(format!("the {} track is left out: {why}", track.kind));
            continue;
        }
        duration = duration.max(end);
        remarks.extend(remark);
        tracks.push(track);
    }
    let remark = (!remarks.is_empty()).then(|| problem(remarks.join("; ")));
    if tracks.is_empty() {
        return Err(remark.unwrap_or_else(|| problem("the file has no track that can be played")));
    }
    Ok(Title { path, duration, tracks, remark, source })
}

/// A track on the file's timeline.
struct Draft {
    kind: MediaKind,
    codec: Codec,
    language: Option<String>,
    /// Nanoseconds by which it is earlier than its times.
    delay: i64,
    frames: Vec<Frame>,
    times: Times,
    prefix: Vec<u8>,
}

/// A track's draft; `None` where it is neither sound nor picture; an error names a track that is left out.
fn draft(entry: &Entry<'_>, frames: &mut BTreeMap<u64, Vec<Frame>>, scale: u64) -> Result<Option<Draft>, String> {
    let kind = match entry.kind {
        Kind::Video => MediaKind::Video,
        Kind::Audio => MediaKind::Audio,
        Kind::Subtitle => {
            return Err(left_out_subtitle(entry.language.as_deref(), &coding::unsupported(entry)));
        }
        Kind::Other => return Ok(None),
    };
    let left_out = |what: &str| format!("the {kind} track is left out: {what}");
    let prefix = entry.prefix.clone().map_err(left_out)?;
    let mut codec = coding::codec(entry).map_err(|what| left_out(&what))?;
    let mut frames = frames.remove(&entry.number).unwrap_or_default();
    if prefix.is_empty() {
        frames.retain(|frame| frame.size > 0);
    }
    if frames.is_empty() {
        return Err(format!("the {kind} track is empty"));
    }
    if let Codec::Vp9(config) = &mut codec {
        let first = prefix.first().copied().or_else(|| frames.first().map(|frame| frame.head[0]));
        config.profile = first.map_or(0, vp9_profile);
    }
    let times = match codec.sound_format() {
        None => times::of_pictures(&frames, scale, entry.frame_duration),
        Some(format) => {
            let clock = ClockRate::new(format.sample_rate).ok_or_else(|| left_out("its sampling rate is zero"))?;
            let samples = Samples::new(&codec, entry.codec, &prefix);
            times::of_sound(&frames, scale, clock, entry.frame_duration, &samples)
        }
    };
    let delay = i64::try_from(entry.delay).unwrap_or(i64::MAX);
    Ok(Some(Draft { kind, codec, language: entry.language.clone(), delay, frames, times, prefix }))
}

/// The profile in a frame's first octet: frame_marker, then the lower and the higher bit of it (VP9 Bitstream & Decoding Process
/// Specification section 6.2).
const fn vp9_profile(first: u8) -> u8 {
    first >> 5 & 1 | first >> 3 & 2
}

impl Draft {
    /// When the first of its frames is shown, the encoder's delay not taken away.
    fn start(&self) -> MediaTime {
        let first = self.times.presentation.iter().min().copied().unwrap_or(0);
        MediaTime::from_ticks(first, self.times.timescale)
    }

    /// The track on the title's timeline, which begins at `start` of the file's; where the track ends on it, and what is to be said of it.
    fn finish(self, start: MediaTime) -> (Track, MediaTime, Option<String>) {
        let Times { timescale, mut presentation, last_duration } = self.times;
        let shift = MediaTime::from_nanos(start.as_nanos().saturating_add(self.delay)).to_ticks(timescale);
        presentation.iter_mut().for_each(|time| *time = time.saturating_sub(shift));
        let is_video = self.kind == MediaKind::Video;
        let decode = if is_video { order::decode_times(&presentation) } else { running_maximum(&presentation) };
        let more = u32::try_from(self.prefix.len()).unwrap_or(0);
        let mut samples: Vec<Sample> = Vec::with_capacity(self.frames.len());
        for ((frame, shown), decoded) in self.frames.iter().zip(&presentation).zip(&decode) {
            // Sound is never heard before what it follows.
            let offset = if is_video { shown.saturating_sub(*decoded) } else { 0 };
            let offset = offset.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
            let random_access = !is_video || frame.is_key;
            samples.extend(Sample::new(frame.offset, frame.size.saturating_add(more), *decoded, offset, random_access));
        }
        let remark = (!samples.iter().any(Sample::is_random_access)).then(|| {
            samples.iter_mut().take(1).for_each(|first| *first = first.with_random_access());
            format!("the {} track names no random access point; it can be played from its beginning only", self.kind)
        });
        let last = presentation.iter().max().copied().unwrap_or(0).saturating_add(i64::from(last_duration));
        let index = SampleIndex::new(samples, last_duration);
        let index = if self.prefix.is_empty() { index } else { index.packed(Arc::new(Prefixed::new(self.prefix))) };
        let track = Track { kind: self.kind, codec: self.codec, timescale, language: self.language, index };
        (track, MediaTime::from_ticks(last, timescale), remark)
    }
}

/// The same times, none before one that it follows.
fn running_maximum(times: &[i64]) -> Vec<i64> {
    let latest = |latest: &mut i64, time: &i64| {
        *latest = (*latest).max(*time);
        Some(*latest)
    };
    times.iter().scan(i64::MIN, latest).collect()
}

#[cfg(test)]
mod tests;
