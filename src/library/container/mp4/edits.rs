//! Edit lists (ISO/IEC 14496-12 section 8.6.6): from the media's timeline to the title's.
//!
//! Zero of the title's timeline is where its presentation begins. What a decoder needs although it is cut away (the
//! pictures from the random access point before a cut, the priming frames of an audio coder) stays in the index, with
//! times before the cut; everything else outside the edits is left out. Playing rates are passed over: a dwell (rate
//! 0) plays on. Without a list the media's own times stand: a track whose first picture is shown later than zero begins
//! later.

use std::ops::Range;

use mp4_atom::Elst;

use crate::library::container::mp4::boxes::decode;
use crate::library::title::Sample;
use crate::quantities::{ClockRate, MediaKind};

/// Edits that are looked at.
const MAX_EDITS: usize = 4096;
/// Audio frames kept before a cut: encoder priming of AAC and HE-AAC is at most that long.
const PRIMING_FRAMES: usize = 3;
/// Random access points that are looked at for one that is shown early enough; in order of presentation they stand in
/// all but absurd files, and the first or second does.
const ACCESS_POINTS_TRIED: usize = 16;

/// One entry, in ticks of the track's timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// How long it lasts; zero in the last entry means until the end.
    pub duration: i64,
    /// Where in the media it begins; `None` shows nothing.
    pub media_time: Option<i64>,
}

/// Decodes a list; a broken one counts as none.
pub fn read(body: &[u8], movie_scale: ClockRate, timescale: ClockRate) -> Vec<Edit> {
    let Some(list) = decode::<Elst>(body) else { return Vec::new() };
    let edit = |entry: mp4_atom::ElstEntry| Edit {
        duration: movie_scale.rescale(i64::try_from(entry.segment_duration).unwrap_or(i64::MAX), timescale),
        media_time: entry.media_time.map(|time| i64::try_from(time).unwrap_or(i64::MAX)),
    };
    list.entries.into_iter().take(MAX_EDITS).map(edit).collect()
}

/// The samples on the title's timeline, the duration of the last one, and where the track ends on it.
pub fn apply(edits: &[Edit], samples: Vec<Sample>, last_duration: u32, kind: MediaKind) -> (Vec<Sample>, u32, i64) {
    if !edits.iter().any(|edit| edit.media_time.is_some()) {
        let end = end_of(&samples, last_duration);
        return (samples, last_duration, end);
    }
    let media = Media::new(&samples, last_duration, kind);
    // An honest list shows nothing twice; one that does may double the index and no more.
    let limit = samples.len().saturating_mul(2).saturating_add(1024);
    let mut kept: Vec<Sample> = Vec::new();
    let (mut kept_last_duration, mut title_time): (u32, i64) = (last_duration, 0);
    let last = edits.len() - 1;
    for (position, edit) in edits.iter().enumerate() {
        let Some(media_time) = edit.media_time else {
            title_time = title_time.saturating_add(edit.duration);
            continue;
        };
        let until = if edit.duration == 0 && position == last { i64::MAX } else { media_time.saturating_add(edit.duration) };
        let range = media.needed(media_time, until);
        let shift = title_time.saturating_sub(media_time);
        for position in range {
            if kept.len() >= limit {
                break;
            }
            let earliest = kept.last().map_or(i64::MIN, Sample::decode_time);
            kept.push(samples[position].shifted(shift, earliest));
            kept_last_duration = duration(&samples, position, last_duration);
        }
        title_time = title_time.saturating_add(edit.duration);
    }
    let end = end_of(&kept, kept_last_duration);
    let end = if edits[last].duration == 0 { end } else { end.min(title_time) };
    (kept, kept_last_duration, end)
}

/// A track's samples with what makes finding an edit's part of them a binary search: lists may have many entries.
struct Media<'a> {
    samples: &'a [Sample],
    kind: MediaKind,
    /// The latest end of presentation among the samples up to each.
    latest_end: Vec<i64>,
    /// The earliest presentation time among the samples from each on.
    earliest_start: Vec<i64>,
    /// Positions of the random access points, ascending.
    access_points: Vec<usize>,
}

impl<'a> Media<'a> {
    fn new(samples: &'a [Sample], last_duration: u32, kind: MediaKind) -> Self {
        let ends = (0..samples.len()).map(|position| shown_end(samples, position, last_duration));
        let latest_end = ends
            .scan(i64::MIN, |latest, end| {
                *latest = end.max(*latest);
                Some(*latest)
            })
            .collect();
        let mut earliest_start: Vec<i64> = samples.iter().map(Sample::presentation_time).collect();
        let mut earliest = i64::MAX;
        for start in earliest_start.iter_mut().rev() {
            earliest = earliest.min(*start);
            *start = earliest;
        }
        let access_points = (0..samples.len()).filter(|&position| samples[position].is_random_access()).collect();
        Self { samples, kind, latest_end, earliest_start, access_points }
    }

    /// The positions of the samples that are shown between `from` and `until`, and of those that these need.
    fn needed(&self, from: i64, until: i64) -> Range<usize> {
        let first_shown = self.latest_end.partition_point(|&end| end <= from);
        let end = self.earliest_start.partition_point(|&start| start < until);
        if first_shown >= end {
            return 0..0;
        }
        let first = match self.kind {
            MediaKind::Audio | MediaKind::Text => first_shown.saturating_sub(PRIMING_FRAMES),
            MediaKind::Video => self.decodable_from(first_shown, from),
        };
        first..end
    }

    /// The last random access point up to `first_shown` that is shown at `from` or before: pictures that follow a later
    /// one but are shown before it may lean on what is before. Where there is none, the last one up to `first_shown`.
    fn decodable_from(&self, first_shown: usize, from: i64) -> usize {
        let before = &self.access_points[..self.access_points.partition_point(|&position| position <= first_shown)];
        let fitting = before.iter().rev().take(ACCESS_POINTS_TRIED).find(|&&position| self.samples[position].presentation_time() <= from);
        fitting.or(before.last()).copied().unwrap_or(0)
    }
}

/// When a sample's presentation ends.
fn shown_end(samples: &[Sample], position: usize, last_duration: u32) -> i64 {
    samples[position].presentation_time().saturating_add(i64::from(duration(samples, position, last_duration)))
}

fn duration(samples: &[Sample], position: usize, last_duration: u32) -> u32 {
    Sample::unit(samples, position, last_duration).map_or(0, |unit| unit.duration)
}

fn end_of(samples: &[Sample], last_duration: u32) -> i64 {
    // Reordering reaches a few pictures back at most.
    let tail = samples.len().saturating_sub(32)..samples.len();
    tail.map(|position| shown_end(samples, position, last_duration)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
