//! What a container parser yields: a title, its tracks and their access units.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::library::codec::Codec;
use crate::library::live::LiveIndex;
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Leading pictures that a random access point has at most: as many as a decoder can hold back.
const MAX_LEADING: usize = 16;

/// Random access to a file's octets. Reads are positioned (`pread`), so that one open file serves every session, and a
/// file that was truncated meanwhile gives an error instead of a signal.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends earlier, or the system's error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The same, without waiting for a disk.
    ///
    /// # Errors
    /// Those, and `WouldBlock` where not all is at hand; what is in `buffer` then means nothing.
    fn read_now_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    /// The size in octets when it was opened.
    fn size(&self) -> u64;

    /// What its owner calls it, where that is written beside it and not in it.
    fn called(&self) -> Option<&str> {
        None
    }

    /// The same octets for somebody who reads for a while: what is behind the name may be replaced meanwhile, this stays.
    ///
    /// # Errors
    /// The system's, or that the file has changed since its index was read.
    fn open(&self) -> io::Result<Arc<dyn ReadAt>>;
}

/// How a container's access units are put together, where their octets are not one piece of the file.
///
/// The offsets in the index mean what the container says; sizes are those of what is put together.
pub trait Unpack: Send + Sync + fmt::Debug {
    /// Fills `octets`, which are as many as the access unit has.
    ///
    /// # Errors
    /// The file's; `InvalidData` where what lies there is no such access unit.
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()>;

    /// What makes this anew when a kept index is read: the container's name and its parameters, as
    /// [`restore`](crate::library::container::restore) takes them. `None` where the index is to be read from the file again each time.
    fn kept(&self) -> Option<(&'static str, Vec<u8>)> {
        None
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(self.clone()))
    }
}

/// A title's name: its file's path below the library's folder, `/` between the parts, not percent-encoded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TitlePath(Arc<str>);

impl TitlePath {
    /// Checks a relative path: no empty, `.` or `..` part, no leading slash, no NUL, no part that starts with a dot
    /// (hidden files are no titles).
    pub fn new(path: &str) -> Option<Self> {
        let fine = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\']);
        path.split('/').all(fine).then(|| Self(path.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TitlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TitlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a file cannot be played; the text goes to the API, the log and the RTSP reason phrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Problem {
    /// One line, no file names, no line breaks.
    pub reason: String,
}

/// A work that can be played: an open file and the index of its tracks. Shared by all sessions that play it.
pub struct Title {
    /// Its name.
    pub path: TitlePath,
    /// The length of its timeline.
    pub duration: MediaTime,
    /// The tracks that can be sent, in the file's order.
    pub tracks: Vec<Track>,
    /// Something about the file that its viewer should know although it plays (a track that is left out).
    pub remark: Option<Problem>,
    /// The file, or what is kept of a live source.
    pub source: Arc<dyn ReadAt>,
}

impl Title {
    /// What a viewer may call it: as its owner does, or its file's name.
    pub fn name(&self) -> &str {
        self.source.called().unwrap_or_else(|| self.path.as_str().rsplit('/').next().unwrap_or_default())
    }
}

impl fmt::Debug for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Title")
            .field("path", &self.path)
            .field("duration", &self.duration)
            .field("tracks", &self.tracks)
            .finish_non_exhaustive()
    }
}

impl Title {
    /// Whether its access units arrive while it is played: it has no length and no beginning.
    pub fn is_live(&self) -> bool {
        self.tracks.iter().any(Track::is_live)
    }
}

/// One elementary stream of a title.
#[derive(Debug)]
pub struct Track {
    /// Video, audio or text.
    pub kind: MediaKind,
    /// How its access units are coded.
    pub codec: Codec,
    /// The clock of the times in its index.
    pub timescale: ClockRate,
    /// BCP 47 or ISO 639 language, if the file names one.
    pub language: Option<String>,
    /// Its access units, in sending (decode) order.
    pub index: SampleIndex,
}

impl Track {
    /// Whether its access units arrive while it is played.
    pub const fn is_live(&self) -> bool {
        self.index.live.is_some()
    }

    /// Whether access units are still to come.
    pub fn is_open(&self) -> bool {
        self.index.live.as_ref().is_some_and(|live| !live.has_ended())
    }

    /// The position of the first access unit that is there: what lay before it in a live track is gone.
    pub fn first(&self) -> usize {
        self.index.live.as_ref().map_or(0, |live| live.kept().start)
    }

    /// The number of access units, with those that are gone.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it has no access unit.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it can be shown at another scale: it has pictures, and each by itself.
    pub fn has_scales(&self) -> bool {
        self.kind == MediaKind::Video && self.codec != Codec::Mp2t
    }

    /// The access unit at `position` in sending order.
    pub fn access_unit(&self, position: usize) -> Option<AccessUnit> {
        self.index.get(position)
    }

    /// When that access unit is shown.
    pub fn presentation_time(&self, unit: &AccessUnit) -> MediaTime {
        MediaTime::from_ticks(unit.presentation_time, self.timescale)
    }

    /// When that access unit is due for decoding, and for sending.
    pub fn decode_time(&self, unit: &AccessUnit) -> MediaTime {
        MediaTime::from_ticks(unit.decode_time, self.timescale)
    }

    /// Reads access units of this track, one behind the other, into `octets`, which are as many as they have together.
    ///
    /// # Errors
    /// The file's.
    pub fn read(&self, source: &dyn ReadAt, units: &[AccessUnit], octets: &mut [u8]) -> io::Result<()> {
        let mut rest = octets;
        let mut next = |size: usize| {
            let (octets, behind) = std::mem::take(&mut rest).split_at_mut_checked(size).ok_or(io::ErrorKind::InvalidInput)?;
            rest = behind;
            io::Result::Ok(octets)
        };
        if let Some(packing) = &self.index.packing {
            return units.iter().try_for_each(|unit| packing.unpack(source, unit, next(unit.size as usize)?));
        }
        for run in units.chunk_by(|one, next| one.offset.checked_add(u64::from(one.size)) == Some(next.offset)) {
            let octets = next(run.iter().map(|unit| unit.size as usize).sum())?;
            if let Some(first) = run.first() {
                source.read_exact_at(octets, first.offset)?;
            }
        }
        Ok(())
    }

    /// The mean bit rate in bits per second over the track's own duration; 0 for an empty track.
    pub fn bitrate(&self) -> u64 {
        self.index.bitrate(self.timescale)
    }

    /// The position of the last random access point that is shown at or before `at`; else the first one of the track;
    /// `None` where it has none.
    pub fn random_access_at_or_before(&self, at: MediaTime) -> Option<usize> {
        let limit = at.to_ticks(self.timescale);
        self.index.random_access_at_or_before(limit)
    }

    /// How many random access points there are.
    pub fn random_access_points(&self) -> usize {
        if self.index.every_is_access { self.len() } else { self.index.access_points.len() }
    }

    /// The position of a random access point by its number.
    pub fn random_access_point(&self, number: usize) -> Option<usize> {
        if self.index.every_is_access {
            return Some(number).filter(|number| *number < self.len());
        }
        self.index.access_points.get(number).map(|&position| position as usize)
    }

    /// The leading pictures of a random access point, which follow it in sending order and are shown before it: what they
    /// refer to may lie before it. Their positions; empty where it has none, and after a picture that is no such point.
    pub fn leading_pictures(&self, position: usize) -> Range<usize> {
        let first = position.saturating_add(1);
        let Some(point) = self.access_unit(position).filter(|unit| unit.random_access) else { return first..first };
        let leads = |unit: &usize| self.access_unit(*unit).is_some_and(|unit| unit.presentation_time < point.presentation_time);
        first..first + (first..first.saturating_add(MAX_LEADING)).take_while(leads).count()
    }

    /// Whether more leading pictures of a random access point may come: of a live track that has such, where nothing else has come behind it.
    pub fn awaits_leading_pictures(&self, position: usize) -> bool {
        let Some(live) = self.index.live.as_ref().filter(|live| live.has_leading_pictures() && !live.has_ended()) else { return false };
        let leading = self.leading_pictures(position);
        live.kept().contains(&position) && leading.len() < MAX_LEADING && self.access_unit(leading.end).is_none()
    }

    /// The position of the first access unit in sending order that is still shown at `at`, that is, whose presentation
    /// time plus duration lies after it. For tracks in which every access unit is a random access point (audio).
    /// `len()` where all end before.
    pub fn first_shown_at(&self, at: MediaTime) -> usize {
        self.index.first_ending_after(at.to_ticks(self.timescale))
    }
}

/// One coded picture or audio frame: where it lies and when it is due. Times are ticks of the track's timescale on the
/// title's timeline (edit list applied), and may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Octets from the start of the file; what it means where access units are put together is the container's matter.
    pub offset: u64,
    /// Octets.
    pub size: u32,
    /// When it is to be decoded; never decreases along the index.
    pub decode_time: i64,
    /// When it is to be shown.
    pub presentation_time: i64,
    /// How long it lasts.
    pub duration: u32,
    /// Whether decoding can start here.
    pub random_access: bool,
}

/// One entry of the index as stored: 24 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    offset: u64,
    decode_time: i64,
    composition_offset: i32,
    /// The size in the lower 31 bits; the top bit marks a random access point.
    size_and_access: u32,
}

const _: () = assert!(size_of::<Sample>() <= 24);

impl Sample {
    /// An entry; `None` where `size` needs more than 31 bits.
    pub const fn new(offset: u64, size: u32, decode_time: i64, composition_offset: i32, random_access: bool) -> Option<Self> {
        if size >> 31 != 0 {
            return None;
        }
        Some(Self { offset, decode_time, composition_offset, size_and_access: size | ((random_access as u32) << 31) })
    }

    /// Where it lies; what that means is the container's matter where access units are put together.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// By how much later than decoded it is shown, in ticks.
    pub const fn composition_offset(&self) -> i32 {
        self.composition_offset
    }

    /// When it is to be decoded, in ticks.
    pub const fn decode_time(&self) -> i64 {
        self.decode_time
    }

    /// When it is to be shown, in ticks.
    pub fn presentation_time(&self) -> i64 {
        self.decode_time.saturating_add(i64::from(self.composition_offset))
    }

    /// Whether decoding can start here.
    pub const fn is_random_access(&self) -> bool {
        self.size_and_access >> 31 == 1
    }

    /// The same sample as a random access point.
    #[must_use]
    pub const fn with_random_access(&self) -> Self {
        Self { size_and_access: self.size_and_access | 1 << 31, ..*self }
    }

    /// Octets.
    pub const fn size(&self) -> u32 {
        self.size_and_access & 0x7fff_ffff
    }

    /// Whether all its octets lie in a file of that size.
    pub fn lies_within(&self, file_size: u64) -> bool {
        self.offset.checked_add(u64::from(self.size())).is_some_and(|end| end <= file_size)
    }

    /// The same sample `shift` ticks later, decoded at `earliest` or later, shown at its time all the same.
    #[must_use]
    pub fn shifted(&self, shift: i64, earliest: i64) -> Self {
        let shown = self.presentation_time().saturating_add(shift);
        let decode_time = self.decode_time.saturating_add(shift).max(earliest);
        let offset = shown.saturating_sub(decode_time).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        Self { decode_time, composition_offset: offset as i32, ..*self }
    }

    /// The access unit at `position` of `samples`, the last of which lasts `last_duration`.
    pub fn unit(samples: &[Self], position: usize, last_duration: u32) -> Option<AccessUnit> {
        let sample = samples.get(position)?;
        let duration = match samples.get(position + 1) {
            Some(next) => u32::try_from(next.decode_time.saturating_sub(sample.decode_time)).unwrap_or(0),
            None => last_duration,
        };
        Some(AccessUnit {
            offset: sample.offset,
            size: sample.size(),
            decode_time: sample.decode_time,
            presentation_time: sample.presentation_time(),
            duration,
            random_access: sample.is_random_access(),
        })
    }
}

/// The access units of a track in sending order.
#[derive(Debug, Default)]
pub struct SampleIndex {
    samples: Box<[Sample]>,
    /// Positions of the random access points, ascending; empty where every sample is one.
    access_points: Box<[u32]>,
    every_is_access: bool,
    last_duration: u32,
    /// Of all samples together.
    octets: u64,
    /// Set where an access unit is not one piece of the file.
    packing: Option<Arc<dyn Unpack>>,
    /// Behind which access units, by their positions, nothing follows at once, and how long these last; ascending.
    gaps: Box<[(u32, u32)]>,
    /// Set where access units arrive while it is played; then nothing of the above is.
    live: Option<LiveIndex>,
}

impl SampleIndex {
    /// An index over `samples`, which are in sending order with decode times that never decrease; the last one lasts
    /// `last_duration` ticks.
    pub fn new(samples: Vec<Sample>, last_duration: u32) -> Self {
        let every_is_access = samples.iter().all(Sample::is_random_access);
        let access_points = if every_is_access {
            Box::default()
        } else {
            (0u32..).zip(&samples).filter(|(_, sample)| sample.is_random_access()).map(|(position, _)| position).collect()
        };
        let octets = samples.iter().map(|sample| u64::from(sample.size())).sum();
        Self {
            samples: samples.into_boxed_slice(),
            access_points,
            every_is_access,
            last_duration,
            octets,
            packing: None,
            gaps: Box::default(),
            live: None,
        }
    }

    /// An index that grows while it is played.
    pub fn live(live: LiveIndex) -> Self {
        Self { live: Some(live), ..Self::default() }
    }

    /// The same, of access units that are put together so.
    #[must_use]
    pub fn packed(self, packing: Arc<dyn Unpack>) -> Self {
        Self { packing: Some(packing), ..self }
    }

    /// The same, where some access units, named by their positions in ascending order, last so many ticks and end before the next one begins.
    #[must_use]
    pub fn with_gaps(self, gaps: Vec<(u32, u32)>) -> Self {
        Self { gaps: gaps.into_boxed_slice(), ..self }
    }

    /// Its samples, in sending order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How long the last one lasts, in ticks.
    pub const fn last_duration(&self) -> u32 {
        self.last_duration
    }

    /// How access units are put together; `None` where each is one piece of the file.
    pub fn packing(&self) -> Option<&dyn Unpack> {
        self.packing.as_deref()
    }

    /// The same, to be kept.
    pub fn shared_packing(&self) -> Option<Arc<dyn Unpack>> {
        self.packing.clone()
    }

    fn len(&self) -> usize {
        match &self.live {
            None => self.samples.len(),
            Some(live) => live.kept().end,
        }
    }

    fn get(&self, position: usize) -> Option<AccessUnit> {
        if let Some(live) = &self.live {
            return live.get(position);
        }
        let unit = Sample::unit(&self.samples, position, self.last_duration)?;
        if self.gaps.is_empty() {
            return Some(unit);
        }
        let gap = u32::try_from(position).ok().and_then(|position| self.gaps.binary_search_by_key(&position, |gap| gap.0).ok());
        Some(AccessUnit { duration: gap.and_then(|gap| self.gaps.get(gap)).map_or(unit.duration, |gap| gap.1), ..unit })
    }

    fn presentation_ticks(&self, position: usize) -> i64 {
        self.samples.get(position).map_or(i64::MAX, Sample::presentation_time)
    }

    fn bitrate(&self, timescale: ClockRate) -> u64 {
        if let Some(live) = &self.live {
            return live.bitrate();
        }
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else { return 0 };
        let ticks = last.decode_time.saturating_sub(first.decode_time).saturating_add(i64::from(self.last_duration));
        let ticks = u128::try_from(ticks).unwrap_or(0).max(1);
        u64::try_from(u128::from(self.octets) * 8 * u128::from(timescale.hertz()) / ticks).unwrap_or(u64::MAX)
    }

    /// Presentation times of random access points ascend in any stream that can be sought at all; where a hostile file
    /// breaks this, the search still ends and gives some random access point.
    fn random_access_at_or_before(&self, limit: i64) -> Option<usize> {
        if let Some(live) = &self.live {
            return live.random_access_at_or_before(limit);
        }
        if self.every_is_access {
            let after = partition_point(self.len(), |position| self.presentation_ticks(position) <= limit);
            return if self.len() == 0 { None } else { Some(after.saturating_sub(1)) };
        }
        let after = self.access_points.partition_point(|&position| self.presentation_ticks(position as usize) <= limit);
        self.access_points.get(after.saturating_sub(1)).map(|&position| position as usize)
    }

    fn first_ending_after(&self, limit: i64) -> usize {
        if let Some(live) = &self.live {
            return live.first_ending_after(limit);
        }
        partition_point(self.len(), |position| {
            self.get(position).is_some_and(|unit| unit.presentation_time.saturating_add(i64::from(unit.duration)) <= limit)
        })
    }
}

/// The first position below `len` for which `before` is false, `before` being true up to there.
fn partition_point(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
