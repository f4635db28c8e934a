//! What is kept of a live title: the newest access units of its tracks, from a random access point on.
//!
//! Positions and offsets count from the title's beginning and never shift; what has gone is missing at the front. Whoever plays
//! from it holds a [`LiveIndex`] in place of a file's index, and the [`LiveOctets`] in place of the file.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::library::title::{AccessUnit, ReadAt, Sample};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// What keeping an access unit takes beside its octets: small ones are bounded by that.
pub const OVERHEAD: usize = 128;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSettings {
    /// Octets of access units at most, each of them counted with 128 more for what stands around it.
    pub octets: usize,
    /// At least so much of it is there, if the octets allow it, and what lies before up to a random access point.
    pub span: Duration,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self { octets: 64 << 20, span: Duration::from_secs(30) }
    }
}

/// One track's part.
#[derive(Debug)]
struct Row {
    kind: MediaKind,
    timescale: ClockRate,
    samples: VecDeque<Sample>,
    /// The position of the first sample.
    first: usize,
    /// Positions of random access points; empty where every access unit is one (sound).
    points: VecDeque<usize>,
    /// Whether a random access point has had leading pictures: shown before it, and sent behind it.
    has_leading_pictures: bool,
    /// How long the newest one lasts: as long as the one before, until the next comes.
    last_duration: u32,
    /// Octets of the samples that are there.
    octets: u64,
}

impl Row {
    fn len(&self) -> usize {
        self.first + self.samples.len()
    }

    fn sample(&self, position: usize) -> Option<&Sample> {
        self.samples.get(position.checked_sub(self.first)?)
    }

    fn unit(&self, position: usize) -> Option<AccessUnit> {
        let sample = self.sample(position)?;
        let duration = match self.sample(position + 1) {
            Some(next) => u32::try_from(next.decode_time().saturating_sub(sample.decode_time())).unwrap_or(0),
            None => self.last_duration,
        };
        Some(AccessUnit {
            offset: sample.offset(),
            size: sample.size(),
            decode_time: sample.decode_time(),
            presentation_time: sample.presentation_time(),
            duration,
            random_access: sample.is_random_access(),
        })
    }

    fn decode_time(&self, sample: &Sample) -> MediaTime {
        MediaTime::from_ticks(sample.decode_time(), self.timescale)
    }

    fn push(&mut self, sample: Sample) {
        if let Some(last) = self.samples.back() {
            // Several may be due at once; how long those last says nothing.
            let lasts = u32::try_from(sample.decode_time().saturating_sub(last.decode_time())).unwrap_or(0);
            self.last_duration = if lasts > 0 { lasts } else { self.last_duration };
        }
        if self.kind == MediaKind::Video {
            let point = self.points.back().and_then(|point| self.sample(*point));
            self.has_leading_pictures |= point.is_some_and(|point| sample.presentation_time() < point.presentation_time());
            if sample.is_random_access() {
                self.points.push_back(self.len());
            }
        }
        self.octets += u64::from(sample.size());
        self.samples.push_back(sample);
    }

    fn drop_first(&mut self) -> bool {
        let Some(gone) = self.samples.pop_front() else { return false };
        self.octets = self.octets.saturating_sub(u64::from(gone.size()));
        self.first += 1;
        while self.points.front().is_some_and(|point| *point < self.first) {
            self.points.pop_front();
        }
        true
    }

    /// The last random access point shown at `limit` or before, else the first that there is.
    fn random_access_at_or_before(&self, limit: i64) -> Option<usize> {
        let shown = |position: usize| self.sample(position).map_or(i64::MAX, Sample::presentation_time);
        if self.kind == MediaKind::Video {
            let after = self.points.partition_point(|position| shown(*position) <= limit);
            return self.points.get(after.saturating_sub(1)).copied();
        }
        let after = self.samples.partition_point(|sample| sample.presentation_time() <= limit);
        (!self.samples.is_empty()).then(|| self.first + after.saturating_sub(1))
    }
}

/// The window of a live title.
#[derive(Debug)]
pub(super) struct Window {
    settings: LiveSettings,
    rows: Vec<Row>,
    /// The access units' octets as they came, and where each lies.
    blocks: VecDeque<(u64, Vec<u8>)>,
    /// Where the next one lies.
    end: u64,
    /// Octets that are there, and what keeping them takes.
    octets: usize,
    /// Whether nothing more will come.
    has_ended: bool,
}

impl Window {
    pub(super) fn new(settings: LiveSettings, tracks: impl Iterator<Item = (MediaKind, ClockRate)>) -> Self {
        let row = |(kind, timescale)| Row {
            kind,
            timescale,
            samples: VecDeque::new(),
            first: 0,
            points: VecDeque::new(),
            has_leading_pictures: false,
            last_duration: 0,
            octets: 0,
        };
        Self { settings, rows: tracks.map(row).collect(), blocks: VecDeque::new(), end: 0, octets: 0, has_ended: false }
    }

    /// Adds an access unit; `false` where there is no such track, or its numbers are out of range. Times are ticks of the track's clock,
    /// and the decode time is not before that of the one before.
    pub(super) fn push(&mut self, track: usize, octets: Vec<u8>, decode_time: i64, presentation_time: i64, random_access: bool) -> bool {
        let Some(row) = self.rows.get_mut(track) else { return false };
        let composition = i32::try_from(presentation_time.saturating_sub(decode_time)).ok();
        let sample = u32::try_from(octets.len())
            .ok()
            .zip(composition)
            .and_then(|(size, composition)| Sample::new(self.end, size, decode_time, composition, random_access));
        let Some(sample) = sample else { return false };
        row.push(sample);
        self.octets += octets.len() + OVERHEAD;
        self.blocks.push_back((self.end, octets));
        self.end += u64::from(sample.size());
        self.prune();
        true
    }

    pub(super) const fn end(&mut self) {
        self.has_ended = true;
    }

    /// The track that says where one can begin: pictures, else the first.
    fn leading(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == MediaKind::Video).or(self.rows.first())
    }

    /// Where the second random access point of the leading track is due, if it is old enough or room is needed.
    fn next_begin(&self) -> Option<MediaTime> {
        let row = self.leading()?;
        let position = if row.kind == MediaKind::Video { *row.points.get(1)? } else { row.first + 1 };
        let begin = row.decode_time(row.sample(position)?);
        let newest = self.rows.iter().filter_map(|row| Some(row.decode_time(row.samples.back()?))).max()?;
        (self.octets > self.settings.octets || newest.since(begin) >= self.settings.span).then_some(begin)
    }

    fn prune(&mut self) {
        let before = self.octets;
        while let Some(begin) = self.next_begin() {
            for row in &mut self.rows {
                while row.samples.front().is_some_and(|sample| MediaTime::from_ticks(sample.decode_time(), row.timescale) < begin) {
                    row.drop_first();
                }
            }
            // Where times stand still nothing would go.
            if !self.drop_blocks() && !self.drop_oldest() {
                break;
            }
        }
        // One group of pictures alone may be too long: what it begins with goes, and nobody can begin until the next.
        while self.octets > self.settings.octets && self.drop_oldest() {}
        debug_assert!(self.octets <= before, "pruning adds nothing");
    }

    /// Drops the access unit that came first, but never the newest; whether there was one.
    fn drop_oldest(&mut self) -> bool {
        if self.blocks.len() < 2 {
            return false;
        }
        let Some((offset, _)) = self.blocks.front() else { return false };
        let offset = *offset;
        if let Some(row) = self.rows.iter_mut().find(|row| row.samples.front().is_some_and(|sample| sample.offset() == offset)) {
            row.drop_first();
        }
        self.drop_blocks()
    }

    /// Drops the octets that no sample names any more; whether there were any.
    fn drop_blocks(&mut self) -> bool {
        let first = self.rows.iter().filter_map(|row| row.samples.front().map(Sample::offset)).min().unwrap_or(self.end);
        let mut any = false;
        while self.blocks.front().is_some_and(|(offset, _)| *offset < first) {
            let gone = self.blocks.pop_front().map_or(0, |(_, octets)| octets.len() + OVERHEAD);
            self.octets = self.octets.saturating_sub(gone);
            any = true;
        }
        any
    }
}

/// The window, as all who play from it share it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<RwLock<Window>>);

impl Shared {
    pub(super) fn new(window: Window) -> Self {
        Self(Arc::new(RwLock::new(window)))
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Window> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Window> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A track's index that grows while it is played.
#[derive(Clone)]
pub struct LiveIndex {
    window: Shared,
    track: usize,
}

impl fmt::Debug for LiveIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveIndex").field("track", &self.track).field("kept", &self.kept()).finish_non_exhaustive()
    }
}

impl LiveIndex {
    pub(super) const fn new(window: Shared, track: usize) -> Self {
        Self { window, track }
    }

    fn look<T>(&self, look: impl FnOnce(&Row) -> T) -> Option<T> {
        self.window.read().rows.get(self.track).map(look)
    }

    /// Which positions there are.
    pub(in crate::library) fn kept(&self) -> std::ops::Range<usize> {
        self.look(|row| row.first..row.len()).unwrap_or(0..0)
    }

    /// Whether nothing more will come.
    pub(in crate::library) fn has_ended(&self) -> bool {
        self.window.read().has_ended
    }

    /// Whether random access points have leading pictures.
    pub(in crate::library) fn has_leading_pictures(&self) -> bool {
        self.look(|row| row.has_leading_pictures).unwrap_or(false)
    }

    pub(in crate::library) fn get(&self, position: usize) -> Option<AccessUnit> {
        self.look(|row| row.unit(position)).flatten()
    }

    pub(in crate::library) fn random_access_at_or_before(&self, limit: i64) -> Option<usize> {
        self.look(|row| row.random_access_at_or_before(limit)).flatten()
    }

    /// The first position, of those that are there, whose access unit ends after `limit`; that of the next to come where there is none.
    pub(in crate::library) fn first_ending_after(&self, limit: i64) -> usize {
        let ends = |row: &Row, position| {
            row.unit(position).map_or(i64::MAX, |unit| unit.presentation_time.saturating_add(i64::from(unit.duration)))
        };
        let find = |row: &Row| {
            let (mut low, mut high) = (row.first, row.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if ends(row, middle) <= limit { low = middle + 1 } else { high = middle }
            }
            low
        };
        self.look(find).unwrap_or(0)
    }

    /// Bits per second of what is there; 0 where that is too little to say.
    pub(in crate::library) fn bitrate(&self) -> u64 {
        let rate = |row: &Row| {
            let (Some(first), Some(last)) = (row.samples.front(), row.samples.back()) else { return 0 };
            let ticks = last.decode_time().saturating_sub(first.decode_time()).saturating_add(i64::from(row.last_duration));
            let Some(ticks) = u128::try_from(ticks).ok().filter(|ticks| *ticks > 0) else { return 0 };
            u64::try_from(u128::from(row.octets) * 8 * u128::from(row.timescale.hertz()) / ticks).unwrap_or(u64::MAX)
        };
        self.look(rate).unwrap_or(0)
    }
}

/// The octets of a live title's access units.
pub(super) struct LiveOctets(pub(super) Shared);

impl ReadAt for LiveOctets {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let window = self.0.read();
        let (mut rest, mut offset) = (buffer, offset);
        let mut block = window.blocks.partition_point(|(start, _)| *start <= offset).checked_sub(1).ok_or(io::ErrorKind::NotFound)?;
        while !rest.is_empty() {
            let (start, octets) = window.blocks.get(block).ok_or(io::ErrorKind::UnexpectedEof)?;
            let from = usize::try_from(offset.checked_sub(*start).ok_or(io::ErrorKind::NotFound)?).map_err(io::Error::other)?;
            let octets = octets.get(from..).unwrap_or_default();
            let count = octets.len().min(rest.len());
            let (now, behind) = rest.split_at_mut_checked(count).ok_or(io::ErrorKind::InvalidInput)?;
            now.copy_from_slice(octets.get(..count).unwrap_or_default());
            (rest, offset, block) = (behind, offset + count as u64, block + 1);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.read().end
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

#[cfg(test)]
mod tests;
