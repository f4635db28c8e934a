//! Titles one behind the other as one: one timeline, one index, tracks matched by kind and language.
//!
//! An item begins where what is shown of the one before it has ended. Of its pictures it has those from a random access point on, of its
//! sound what is heard beside them: what a coder puts before a title's beginning is heard at the first item's only. Access units are
//! read from their own item when they are due, whatever container that is.

mod coding;

use std::io;
use std::sync::Arc;

use crate::library::chain::Chain;
use crate::library::codec::Codec;
use crate::library::title::{AccessUnit, Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track, Unpack};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

use coding::Rewriting;
pub use coding::{Misfit, fits};

/// Access units of all items at most, as of a title.
const MAX_SAMPLES: usize = 8 << 20;
/// Items at most: as many as an offset has room for.
const MAX_ITEMS: usize = 1 << 15;

/// An offset in the index of a joined track: whether there is something to go before it, the item, and the offset there.
const PRELUDE: u64 = 1 << 63;
const ITEM_SHIFT: u32 = 48;
const OWN_MASK: u64 = (1 << ITEM_SHIFT) - 1;

/// Why an item, or its sound, is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Its pictures, or its sound where it has none, cannot follow what is there.
    #[error("{0}")]
    Misfit(Misfit),
    /// Its sound cannot, its pictures can.
    #[error("its sound is left out: {0}")]
    Silent(Misfit),
    /// There is nothing between its start and its end.
    #[error("nothing of it lies between its start and its end")]
    Nothing,
    /// There would be more access units or octets than are served.
    #[error("the playlist is too long")]
    TooLong,
}

/// Items that are being put together.
#[derive(Default)]
pub struct Joining {
    drafts: Vec<Draft>,
    sources: Vec<Arc<dyn ReadAt>>,
    /// Octets of the sources so far.
    octets: u64,
    /// Where the next item begins.
    at: MediaTime,
    samples: usize,
}

/// A track that is being put together.
struct Draft {
    kind: MediaKind,
    language: Option<String>,
    pieces: Vec<Piece>,
}

/// An item's part of a track.
struct Piece {
    codec: Codec,
    timescale: ClockRate,
    /// Times are the item's.
    samples: Vec<Sample>,
    last_duration: u32,
    /// How much later than in the item it is shown, in nanoseconds.
    later: i64,
    packing: Option<Arc<dyn Unpack>>,
    /// Where its octets lie in all.
    begins: u64,
    size: u64,
}

/// An item's tracks, and the number of the draft that each goes into.
type Matched<'a> = Vec<(&'a Track, usize)>;

/// What is taken of an item's track, in its own positions.
struct Cut<'a> {
    track: &'a Track,
    draft: usize,
    from: usize,
    to: usize,
    /// Left out: what leans on pictures before the first one.
    leading: std::ops::Range<usize>,
}

impl Cut<'_> {
    fn samples(&self) -> impl Iterator<Item = (usize, &Sample)> {
        let samples = self.track.index.samples().iter().enumerate().take(self.to).skip(self.from);
        samples.filter(|(position, _)| !self.leading.contains(position))
    }

    fn is_empty(&self) -> bool {
        self.samples().next().is_none()
    }

    fn begins(&self) -> Option<MediaTime> {
        self.samples().map(|(_, sample)| MediaTime::from_ticks(sample.presentation_time(), self.track.timescale)).min()
    }

    fn ends(&self) -> Option<MediaTime> {
        let end = |position| {
            let unit: AccessUnit = self.track.access_unit(position)?;
            Some(MediaTime::from_ticks(unit.presentation_time.saturating_add(i64::from(unit.duration)), self.track.timescale))
        };
        self.samples().filter_map(|(position, _)| end(position)).max()
    }
}

impl Joining {
    /// Puts a title behind what is there: from `start` on, up to `end`. What it cannot have besides is told.
    ///
    /// # Errors
    /// Nothing of it can follow.
    pub fn add(&mut self, title: &Title, start: Option<MediaTime>, end: Option<MediaTime>) -> Result<Option<JoinError>, JoinError> {
        let (matched, remark) = self.matched(title)?;
        let is_first = self.sources.is_empty();
        let cuts = cut(&matched, start, end, is_first);
        if cuts.iter().all(Cut::is_empty) {
            return Err(JoinError::Nothing);
        }
        let samples = cuts.iter().map(|cut| cut.to - cut.from).sum::<usize>();
        let octets = self.octets.checked_add(title.source.size()).ok_or(JoinError::TooLong)?;
        if self.samples.saturating_add(samples) > MAX_SAMPLES || self.sources.len() >= MAX_ITEMS {
            return Err(JoinError::TooLong);
        }
        let begins = match start {
            None if is_first => MediaTime::ZERO,
            _ => cuts.iter().filter_map(Cut::begins).min().unwrap_or_default(),
        };
        let shown = cuts.iter().filter_map(Cut::ends).max().unwrap_or_default();
        let ends = if end.is_none() { shown.max(title.duration) } else { shown };
        let later = self.at.as_nanos().saturating_sub(begins.as_nanos());
        for cut in cuts.iter().filter(|cut| !cut.is_empty()) {
            let piece = self.piece(cut, title, later);
            match self.drafts.get_mut(cut.draft) {
                Some(draft) => draft.pieces.push(piece),
                None => self.drafts.push(Draft { kind: cut.track.kind, language: cut.track.language.clone(), pieces: vec![piece] }),
            }
        }
        self.sources.push(Arc::clone(&title.source));
        self.octets = octets;
        self.samples += samples;
        self.at = self.at.plus(ends.since(begins));
        Ok(remark)
    }

    fn piece(&self, cut: &Cut<'_>, title: &Title, later: i64) -> Piece {
        let last_duration = cut.to.checked_sub(1).and_then(|last| cut.track.access_unit(last)).map_or(0, |unit| unit.duration);
        Piece {
            codec: cut.track.codec.clone(),
            timescale: cut.track.timescale,
            samples: cut.samples().map(|(_, sample)| *sample).collect(),
            last_duration,
            later,
            packing: cut.track.index.shared_packing(),
            begins: self.octets,
            size: title.source.size(),
        }
    }

    /// Which track of a title goes into which draft: the first pictures, each sound into that of its language, and the first that fits
    /// into the first sound.
    fn matched<'a>(&self, title: &'a Title) -> Result<(Matched<'a>, Option<JoinError>), JoinError> {
        let of = |kind| title.tracks.iter().filter(move |track| track.kind == kind && !track.is_empty());
        let drafts = |kind| self.drafts.iter().enumerate().filter(move |(_, draft)| draft.kind == kind);
        let fits_into = |track: &Track, draft: &Draft| draft.pieces.first().map_or(Ok(()), |piece| fits(&piece.codec, &track.codec));
        let mut matched: Matched<'_> = Vec::new();
        let (mut next, mut remark) = (self.drafts.len(), None);
        if let Some(pictures) = of(MediaKind::Video).next() {
            match drafts(MediaKind::Video).next() {
                None => {
                    matched.push((pictures, next));
                    next += 1;
                }
                Some((number, draft)) => {
                    let fitting = of(MediaKind::Video).find(|track| fits_into(track, draft).is_ok());
                    let fitting = fitting.ok_or_else(|| JoinError::Misfit(fits_into(pictures, draft).err().unwrap_or(UNKNOWN)))?;
                    matched.push((fitting, number));
                }
            }
        }
        if drafts(MediaKind::Audio).next().is_none() {
            matched.extend(of(MediaKind::Audio).zip(next..));
        } else {
            let mut sounds: Vec<&Track> = of(MediaKind::Audio).collect();
            let first = sounds.first().copied();
            let before = matched.len();
            // Those whose language is named before the first one takes what is left.
            for by_language in [true, false] {
                for (number, draft) in drafts(MediaKind::Audio) {
                    if matched.iter().any(|(_, taken)| *taken == number) || (!by_language && matched.len() > before) {
                        continue;
                    }
                    let is_alike = |track: &&Track| !by_language || track.language.is_some() && track.language == draft.language;
                    let found = sounds.iter().position(|track| is_alike(track) && fits_into(track, draft).is_ok());
                    if let Some(found) = found {
                        matched.push((sounds.remove(found), number));
                    }
                }
            }
            if matched.len() == before
                && let Some(sound) = first
            {
                let why = drafts(MediaKind::Audio).find_map(|(_, draft)| fits_into(sound, draft).err()).unwrap_or(UNKNOWN);
                if before == 0 {
                    return Err(JoinError::Misfit(why));
                }
                remark = Some(JoinError::Silent(why));
            }
        }
        if matched.is_empty() { Err(JoinError::Nothing) } else { Ok((matched, remark)) }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The title of all that was added.
    ///
    /// # Errors
    /// Nothing was.
    pub fn finish(self, path: TitlePath, remark: Option<Problem>) -> Result<Title, JoinError> {
        let source = Chain::new(self.sources).ok_or(JoinError::TooLong)?;
        let mut tracks = self.drafts.into_iter().map(Draft::finish).collect::<Option<Vec<_>>>().ok_or(JoinError::Nothing)?;
        // Pictures first, as in most files.
        tracks.sort_by_key(|track| track.kind != MediaKind::Video);
        Ok(Title { path, duration: self.at, tracks, remark, source: Arc::new(source) })
    }
}

const UNKNOWN: Misfit = Misfit::Parameters("the track");

/// What is taken of each track from `start` on, up to `end`.
fn cut<'a>(matched: &[(&'a Track, usize)], start: Option<MediaTime>, end: Option<MediaTime>, is_first: bool) -> Vec<Cut<'a>> {
    let is_whole = is_first && start.is_none();
    let mut cuts: Vec<Cut<'a>> = Vec::with_capacity(matched.len());
    // Where sound is heard from and up to.
    let (mut from, mut to) = (start.unwrap_or_default(), end);
    for &(track, draft) in matched.iter().filter(|(track, _)| track.kind == MediaKind::Video) {
        let first = match start {
            None if is_first => 0,
            None => track.random_access_point(0).unwrap_or(0),
            Some(start) => track.random_access_at_or_before(start).unwrap_or(0),
        };
        let leading = if is_whole { 0..0 } else { track.leading_pictures(first) };
        let cut = Cut { track, draft, from: first, to: before(track, end).max(first), leading };
        if let Some(begins) = cut.begins() {
            from = if start.is_none() { begins.min(MediaTime::ZERO) } else { begins };
        }
        to = to.map(|end| cut.ends().unwrap_or(end));
        cuts.push(cut);
    }
    for &(track, draft) in matched.iter().filter(|(track, _)| track.kind != MediaKind::Video) {
        let first = if is_whole { 0 } else { track.first_shown_at(from) };
        cuts.push(Cut { track, draft, from: first, to: before(track, to).max(first), leading: 0..0 });
    }
    cuts
}

/// How many access units there are up to the last one that is shown before `end`.
fn before(track: &Track, end: Option<MediaTime>) -> usize {
    let samples = track.index.samples();
    let Some(end) = end else { return samples.len() };
    let is_before = |sample: &Sample| MediaTime::from_ticks(sample.presentation_time(), track.timescale) < end;
    samples.iter().rposition(is_before).map_or(0, |last| last + 1)
}

impl Draft {
    fn finish(self) -> Option<Track> {
        let codecs: Vec<&Codec> = self.pieces.iter().map(|piece| &piece.codec).collect();
        let codec = coding::together(&codecs)?;
        let are_same = codecs.iter().all(|other| **other == codec);
        let timescale = common_timescale(&self.pieces, &codec)?;
        let mut samples: Vec<Sample> = Vec::with_capacity(self.pieces.iter().map(|piece| piece.samples.len()).sum());
        let (mut parts, mut gaps, mut last_duration) = (Vec::with_capacity(self.pieces.len()), Vec::new(), 0u32);
        for (number, piece) in (0u64..).zip(self.pieces) {
            let rewriting = Rewriting::new(&piece.codec, &codec, are_same);
            let mut part = Part { begins: piece.begins, size: piece.size, packing: piece.packing, rewriting, offsets: Vec::new() };
            // Offsets that are not such, for what puts access units together has its own use for them.
            let has_own = piece.samples.iter().any(|sample| sample.offset() > OWN_MASK);
            let later = MediaTime::from_nanos(piece.later).to_ticks(timescale);
            let ticks = |at: i64| piece.timescale.rescale(at, timescale).saturating_add(later);
            let before = samples.last().map(|last| (samples.len() - 1, last.decode_time().saturating_add(i64::from(last_duration))));
            for (position, sample) in piece.samples.iter().enumerate() {
                let has_prelude = sample.is_random_access() && !part.rewriting.prelude.is_empty();
                let own = if has_own { position as u64 } else { sample.offset() };
                if has_own {
                    part.offsets.push(sample.offset());
                }
                let offset = own | number << ITEM_SHIFT | if has_prelude { PRELUDE } else { 0 };
                let prelude = if has_prelude { u32::try_from(part.rewriting.prelude.len()).ok()? } else { 0 };
                let shown = ticks(sample.presentation_time());
                let decoded = ticks(sample.decode_time()).max(samples.last().map_or(i64::MIN, Sample::decode_time));
                let shown_later = shown.saturating_sub(decoded).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
                let size = sample.size().saturating_add(prelude);
                samples.push(Sample::new(offset, size, decoded, shown_later, sample.is_random_access())?);
            }
            let first = before.and_then(|(last, _)| samples.get(last + 1));
            if let (Some((last, ends)), Some(first)) = (before, first)
                && first.decode_time() > ends
            {
                gaps.push((u32::try_from(last).ok()?, last_duration));
            }
            last_duration = u32::try_from(piece.timescale.rescale(i64::from(piece.last_duration), timescale)).unwrap_or(u32::MAX);
            parts.push(part);
        }
        let index = SampleIndex::new(samples, last_duration).with_gaps(gaps).packed(Arc::new(Parts(parts.into())));
        Some(Track { kind: self.kind, codec, timescale, language: self.language, index })
    }
}

/// The clock of all pieces, or where they have several, that of RTP: there times are rounded to it anyway.
fn common_timescale(pieces: &[Piece], codec: &Codec) -> Option<ClockRate> {
    let first = pieces.first()?.timescale;
    if pieces.iter().all(|piece| piece.timescale == first) {
        return Some(first);
    }
    codec.sound_format().map_or(Some(ClockRate::VIDEO), |format| ClockRate::new(format.sample_rate))
}

/// The items of a joined track.
#[derive(Debug)]
struct Parts(Box<[Part]>);

#[derive(Debug)]
struct Part {
    begins: u64,
    size: u64,
    packing: Option<Arc<dyn Unpack>>,
    rewriting: Rewriting,
    /// Of each access unit in the item, where they need more room than there is in the index.
    offsets: Vec<u64>,
}

/// The octets of one item.
struct Slice<'a> {
    source: &'a dyn ReadAt,
    begins: u64,
    size: u64,
}

impl ReadAt for Slice<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_exact_at(buffer, self.begins + offset)
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Unpack for Parts {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        let number = usize::try_from((unit.offset & !PRELUDE) >> ITEM_SHIFT).unwrap_or(usize::MAX);
        let part = self.0.get(number).ok_or(io::ErrorKind::InvalidData)?;
        let (own, has_prelude) = (unit.offset & OWN_MASK, unit.offset & PRELUDE != 0);
        let offset = match &part.offsets[..] {
            [] => own,
            offsets => *usize::try_from(own).ok().and_then(|own| offsets.get(own)).ok_or(io::ErrorKind::InvalidData)?,
        };
        let room = if has_prelude { part.rewriting.prelude.len() } else { 0 };
        let slice = Slice { source, begins: part.begins, size: part.size };
        let stored = octets.get_mut(room..).ok_or(io::ErrorKind::InvalidData)?;
        let size = u32::try_from(stored.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let read = match &part.packing {
            None => slice.read_exact_at(stored, offset),
            Some(packing) => packing.unpack(&slice, &AccessUnit { offset, size, ..*unit }, stored),
        };
        read.map_err(|error| match error.kind() {
            // The item is gone, or another file: what follows it is not.
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => io::ErrorKind::InvalidData.into(),
            _ => error,
        })?;
        if part.rewriting.is_none() { Ok(()) } else { part.rewriting.apply(octets, has_prelude) }
    }
}

#[cfg(test)]
mod tests;
