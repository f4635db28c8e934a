//! The way of access units into a live title.
//!
//! Who has a source (a camera that is pulled, somebody who publishes) reserves a title path with
//! [`LiveTitles::add`](super::LiveTitles::add) and writes through the [`Feed`] that it is given:
//!
//! - [`Feed::begin`] once it is known what the tracks are. Where a source is back with the same tracks, those who watch go on; with
//!   others, they are told that the title has ended, and there is a new one under its path.
//! - [`Feed::push`] for each access unit, in the order in which they came.
//! - [`Feed::lost`] where the source is away: those who watch wait for some seconds.
//! - [`Feed::end`], or dropping it: the title has ended, and the path is free again.
//!
//! Times are those of the source, on one timeline for all of its tracks; where they begin does not matter. Behind a
//! `begin` they may begin anew: the feed puts them where they belong by the time that has passed. So it does where they jump: tracks that
//! jump together stay together, one that jumps alone leaves the others where they are.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::library::codec::Codec;
use crate::library::live::titles::{LiveTitle, LiveTitles};
use crate::library::live::window::{LiveIndex, LiveOctets, LiveSettings, Shared, Window};
use crate::library::title::{Problem, SampleIndex, Title, Track};
use crate::now::{Mono, Now};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Where a live title's time begins: what is decoded before the first access unit has room.
const BEGINNING: MediaTime = MediaTime::from_nanos(10_000_000_000);
/// The length of a title that has no end: a century.
const ENDLESS: MediaTime = MediaTime::from_nanos(100 * 365 * 86_400 * 1_000_000_000);
/// Where a source's times are further from what the clock says, they have jumped.
const JUMPED: Duration = Duration::from_secs(5);
/// The largest access unit.
const MAX_UNIT: usize = 16 << 20;
/// Tracks of a title.
const MAX_TRACKS: usize = 16;

/// What a source says of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTrack {
    /// How its access units are coded. Parameter sets are known beforehand, or come with each random access point.
    pub codec: Codec,
    /// The clock of its times.
    pub timescale: ClockRate,
    /// BCP 47 or ISO 639 language, if the source names one.
    pub language: Option<String>,
}

/// An access unit as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveUnit {
    /// The track's number.
    pub track: usize,
    /// Its octets, in the form that the track's codec says.
    pub octets: Vec<u8>,
    /// When it is to be decoded, in ticks; `None` where the source does not say, as in RTP.
    pub decode_time: Option<i64>,
    /// When it is to be shown, in ticks.
    pub presentation_time: i64,
    /// Whether decoding can start here.
    pub random_access: bool,
}

/// Why something cannot be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Somebody feeds a title of that path.
    #[error("there is a live title of that path")]
    Taken,
    /// It has no track that could be sent, or too many.
    #[error("it has no tracks, or too many")]
    Tracks,
    /// Nothing has begun.
    #[error("nothing has begun")]
    NotBegun,
    /// There is no such track, or the access unit is empty, too large, or its times are out of range.
    #[error("the access unit is out of range")]
    OutOfRange,
}

/// What is being written to.
struct Writing {
    tracks: Vec<LiveTrack>,
    window: Shared,
    /// The decode time of the newest access unit of each track, and by how much decode times lie before what is shown.
    times: Vec<Times>,
    /// The newest decode time, and when it came.
    newest: Option<(MediaTime, Mono)>,
    /// Whether somebody can begin, and was told so.
    is_ready: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    last: Option<i64>,
    /// What is added to the source's times; unknown until the first access unit.
    shift: Option<MediaTime>,
    /// Whether a random access point has come since the source is there.
    has_begun: bool,
    /// How far pictures are shown before others that came earlier, in ticks: so far before all of them are decoded.
    reordered: i64,
}

impl Times {
    /// When an access unit is decoded, that is not told: in the order in which they came, none after it is shown.
    fn derive(&mut self, presentation_time: i64) -> i64 {
        let decode_time = presentation_time.saturating_sub(self.reordered);
        match self.last {
            Some(last) if last > decode_time => {
                self.reordered = self.reordered.max(last.saturating_sub(presentation_time));
                last
            }
            _ => decode_time,
        }
    }
}

/// Writes a live title. There is one for each.
pub struct Feed {
    titles: Arc<LiveTitles>,
    title: Arc<LiveTitle>,
    settings: LiveSettings,
    writing: Option<Writing>,
}

impl Feed {
    pub(super) const fn new(titles: Arc<LiveTitles>, title: Arc<LiveTitle>, settings: LiveSettings) -> Self {
        Self { titles, title, settings, writing: None }
    }

    /// What it writes, as those see it who want to watch.
    pub const fn title(&self) -> &Arc<LiveTitle> {
        &self.title
    }

    /// The source is there, and has these tracks.
    ///
    /// # Errors
    /// `Tracks`.
    pub fn begin(&mut self, tracks: Vec<LiveTrack>, remark: Option<Problem>) -> Result<(), FeedError> {
        if tracks.is_empty() || tracks.len() > MAX_TRACKS {
            return Err(FeedError::Tracks);
        }
        if let Some(writing) = self.writing.as_mut().filter(|writing| writing.tracks == tracks) {
            writing.resume();
            self.title.found(remark);
            return Ok(());
        }
        self.stop();
        let kinds = tracks.iter().map(|track| (track.codec.kind(), track.timescale));
        let window = Shared::new(Window::new(self.settings, kinds));
        let track = |(number, track): (usize, &LiveTrack)| Track {
            kind: track.codec.kind(),
            codec: track.codec.clone(),
            timescale: track.timescale,
            language: track.language.clone(),
            index: SampleIndex::live(LiveIndex::new(window.clone(), number)),
        };
        let title = Title {
            path: self.title.path.clone(),
            duration: ENDLESS,
            tracks: tracks.iter().enumerate().map(track).collect(),
            remark: remark.clone(),
            source: Arc::new(LiveOctets(window.clone())),
        };
        self.title.opened(Arc::new(title), remark);
        let times = vec![Times::default(); tracks.len()];
        self.writing = Some(Writing { tracks, window, times, newest: None, is_ready: false });
        Ok(())
    }

    /// Adds an access unit.
    ///
    /// # Errors
    /// `NotBegun`, `OutOfRange`; it is left out.
    pub fn push(&mut self, unit: LiveUnit, now: Now) -> Result<(), FeedError> {
        let writing = self.writing.as_mut().ok_or(FeedError::NotBegun)?;
        writing.push(unit, now.mono)?;
        if writing.can_begin() && !std::mem::replace(&mut writing.is_ready, true) {
            self.title.is_ready();
        }
        Ok(())
    }

    /// The source is away, for this reason. Those who watch wait for it for some seconds.
    pub fn lost(&mut self, reason: Problem) {
        self.title.lost(reason);
    }

    /// The title has ended: so those who watch are told once they have had all of it.
    pub fn end(self) {}

    /// Nobody needs the source for now: what there was of it has ended, the path is kept.
    pub fn stop(&mut self) {
        if let Some(writing) = self.writing.take() {
            writing.window.write().end();
        }
        self.title.closed();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
        self.titles.remove(&self.title);
    }
}

impl Writing {
    /// The source is back, and its times begin anew.
    fn resume(&mut self) {
        self.is_ready = false;
        self.times.iter_mut().for_each(|times| (times.shift, times.has_begun) = (None, false));
    }

    /// Whether the track that says where one can begin has a random access point: pictures, else the first.
    fn can_begin(&self) -> bool {
        let leading = self.tracks.iter().position(|track| track.codec.kind() == MediaKind::Video).unwrap_or(0);
        self.times.get(leading).is_some_and(|times| times.has_begun)
    }

    fn push(&mut self, unit: LiveUnit, now: Mono) -> Result<(), FeedError> {
        let LiveUnit { track, octets, decode_time, presentation_time, random_access } = unit;
        let shifts: SmallVec<[Option<MediaTime>; MAX_TRACKS]> = self.times.iter().map(|times| times.shift).collect();
        let (Some(LiveTrack { timescale, codec, .. }), Some(times)) = (self.tracks.get(track), self.times.get_mut(track)) else {
            return Err(FeedError::OutOfRange);
        };
        if octets.is_empty() || octets.len() > MAX_UNIT {
            return Err(FeedError::OutOfRange);
        }
        let random_access = random_access || codec.kind() != MediaKind::Video;
        if !random_access && !times.has_begun {
            metrics::counter!("flowsteer_live_dropped_units_total", "reason" => "before_random_access").increment(1);
            return Ok(());
        }
        let at = MediaTime::from_ticks(decode_time.unwrap_or(presentation_time), *timescale);
        let expected = match self.newest {
            Some((newest, came)) => newest.plus(now.since(came)),
            None => BEGINNING,
        };
        let moved = |shift: MediaTime| MediaTime::from_nanos(at.as_nanos().saturating_add(shift.as_nanos()));
        let is_near = |at: MediaTime| at.since(expected).max(expected.since(at)) <= JUMPED;
        // Its own, else that of a track that has begun or jumped before it.
        let known = std::iter::once(times.shift).chain(shifts).flatten();
        let shift = known.clone().find(|shift| is_near(moved(*shift))).unwrap_or_else(|| {
            if known.count() > 0 {
                metrics::counter!("flowsteer_live_jumps_total").increment(1);
            }
            MediaTime::from_nanos(expected.as_nanos().saturating_sub(at.as_nanos()))
        });
        times.shift = Some(shift);
        let shift_ticks = shift.to_ticks(*timescale);
        let presentation_time = presentation_time.saturating_add(shift_ticks);
        let decode_time = match decode_time {
            Some(decode_time) => decode_time.saturating_add(shift_ticks).max(times.last.unwrap_or(i64::MIN)),
            None => times.derive(presentation_time),
        };
        if !self.window.write().push(track, octets, decode_time, presentation_time, random_access) {
            return Err(FeedError::OutOfRange);
        }
        (times.last, times.has_begun) = (Some(decode_time), true);
        let decoded = MediaTime::from_ticks(decode_time, *timescale);
        if self.newest.is_none_or(|(newest, _)| decoded >= newest) {
            self.newest = Some((decoded, now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
