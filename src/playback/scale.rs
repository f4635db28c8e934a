//! Trick play (RFC 2326 section 12.34): which access units of a track are sent at a scale, and when.
//!
//! What plays is a *view* of each track, on a timeline of its own: the time that a viewer has watched. At scale 2 what lies at 10 s of
//! the title lies at 5 s of the view; backwards the view begins at the title's end. So all that follows (due times, RTP timestamps,
//! random access points, hand-overs) is the same at any scale, and only positions that are told to somebody are those of the title.
//!
//! Up to twice as fast, forward, every picture is sent, beyond it and backwards key pictures alone. Sound is silent but at scale 1: its
//! frames cannot be stretched, and players drop what does not fit.

use std::ops::Range;
use std::time::Duration;

use crate::library::{AccessUnit, Title, Track};
use crate::payload::grouping::Grouping;
use crate::quantities::{MediaKind, MediaTime};

/// Thousandths of normal speed.
const NORMAL: i32 = 1_000;
/// Forward: from a quarter …
const SLOWEST: i32 = 250;
/// … to four times.
const FASTEST: i32 = 4_000;
/// Backward: as fast as normal …
const SLOWEST_BACK: i32 = -1_000;
/// … to 32 times.
const FASTEST_BACK: i32 = -32_000;
/// Backwards the first picture of what is played is the last one; so long it is shown.
const AT_THE_BEGINNING: Duration = Duration::from_millis(40);
/// The fastest scale at which all pictures are sent.
const ALL_UNITS: i32 = 2_000;

/// How fast a title is played, and which way: 1 is normal, 2 twice as fast, -1 backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale(i32);

impl Default for Scale {
    fn default() -> Self {
        Self(NORMAL)
    }
}

impl Scale {
    /// The nearest scale to `factor` that can be played: 0.25 to 4, -1 to -32. `None` where it is no number, or zero.
    pub fn nearest(factor: f64) -> Option<Self> {
        if !factor.is_finite() || factor == 0.0 {
            return None;
        }
        // Rounded, and cut off to the range of the type.
        let milli = (factor * f64::from(NORMAL)).round() as i32;
        Some(Self(if factor > 0.0 { milli.clamp(SLOWEST, FASTEST) } else { milli.clamp(FASTEST_BACK, SLOWEST_BACK) }))
    }

    /// Reads what stands in a `Scale` header or a URL: a decimal number.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'.' | b'-' | b'+'));
        text.parse().ok().filter(|_| plain).and_then(Self::nearest)
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / f64::from(NORMAL)
    }

    /// Whether it is normal play.
    pub const fn is_normal(self) -> bool {
        self.0 == NORMAL
    }

    /// Whether it goes backwards.
    pub const fn is_backward(self) -> bool {
        self.0 < 0
    }

    const fn selection(self) -> Selection {
        if self.0 < 0 {
            Selection::KeysBackward
        } else if self.0 > ALL_UNITS {
            Selection::Keys
        } else {
            Selection::All
        }
    }
}

impl std::fmt::Display for Scale {
    /// As in the `Scale` header: with one decimal at least.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, milli) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let decimals = format!("{:03}", milli % 1_000);
        let decimals = decimals.trim_end_matches('0');
        write!(f, "{sign}{}.{}", milli / 1_000, if decimals.is_empty() { "0" } else { decimals })
    }
}

/// Which access units of a picture track are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection {
    All,
    Keys,
    KeysBackward,
}

/// How a title is played: at a scale, and up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    scale: Scale,
    /// The end of what is played: the title's, or one that was asked for. Backwards the view begins there.
    end: MediaTime,
    /// Where it ends backwards: the title's beginning, or what was asked for.
    floor: MediaTime,
}

impl Pace {
    /// Playing up to `end` at a scale.
    pub const fn new(scale: Scale, end: MediaTime) -> Self {
        Self { scale, end, floor: MediaTime::ZERO }
    }

    /// The same, which ends at `floor` backwards.
    #[must_use]
    pub const fn down_to(self, floor: MediaTime) -> Self {
        Self { floor, ..self }
    }

    /// Where it ends backwards.
    pub const fn floor(self) -> MediaTime {
        self.floor
    }

    /// The scale.
    pub const fn scale(self) -> Scale {
        self.scale
    }

    /// The length of the view.
    pub fn length(self) -> MediaTime {
        if !self.scale.is_backward() {
            return self.view_time(self.end);
        }
        self.view_time(self.floor).plus(AT_THE_BEGINNING)
    }

    /// Where a time of the title lies in the view.
    pub fn view_time(self, at: MediaTime) -> MediaTime {
        MediaTime::from_nanos(self.watched(at.as_nanos(), self.end.as_nanos()))
    }

    /// The time of the title that a time of the view shows.
    pub fn title_time(self, at: MediaTime) -> MediaTime {
        if self.scale.is_normal() {
            return at;
        }
        let shown = times(at.as_nanos(), self.scale.0, NORMAL);
        let from = if self.scale.is_backward() { self.end.as_nanos() } else { 0 };
        MediaTime::from_nanos(from.saturating_add(shown))
    }

    /// A track as it is played.
    pub fn view(self, title: &Title, track: usize) -> Option<View<'_>> {
        title.tracks.get(track).map(|track| View { track, pace: self, below: self.below(track) })
    }

    /// How many random access points of a track are left out, as it ends before them backwards. Where none lies in what is played, the
    /// last one before is left in: it shows that.
    fn below(self, track: &Track) -> usize {
        if self.scale.selection() != Selection::KeysBackward || self.floor <= MediaTime::ZERO {
            return 0;
        }
        let (floor, end) = (self.floor.to_ticks(track.timescale), self.end.to_ticks(track.timescale));
        let shown = |point: usize| track.random_access_point(point).and_then(|at| track.access_unit(at)).map(|unit| unit.presentation_time);
        let below = partition_point(track.random_access_points(), |point| shown(point).is_some_and(|at| at < floor));
        if shown(below).is_some_and(|at| at <= end) { below } else { below.saturating_sub(1) }
    }

    /// How much has been watched at `at`, both in the same unit, `end` being that of what is played.
    fn watched(self, at: i64, end: i64) -> i64 {
        match self.scale.0 {
            NORMAL => at,
            scale if scale < 0 => times(end.saturating_sub(at), NORMAL, -scale),
            scale => times(at, NORMAL, scale),
        }
    }
}

/// `value * numerator / denominator`, rounded down.
fn times(value: i64, numerator: i32, denominator: i32) -> i64 {
    let product = i128::from(value) * i128::from(numerator);
    i64::try_from(product.div_euclid(i128::from(denominator))).unwrap_or(if product < 0 { i64::MIN } else { i64::MAX })
}

/// A track as it is played at a scale: its access units on the view's timeline, in the order in which they are sent. At normal scale it
/// is the track itself.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    track: &'a Track,
    pace: Pace,
    /// How many of its random access points lie below where it ends backwards.
    below: usize,
}

impl View<'_> {
    /// Video, audio or text.
    pub const fn kind(&self) -> MediaKind {
        self.track.kind
    }

    /// Whether it goes backwards.
    pub const fn is_backward(&self) -> bool {
        self.pace.scale.is_backward()
    }

    /// The track itself.
    pub const fn track(&self) -> &Track {
        self.track
    }

    fn selection(&self) -> Selection {
        self.pace.scale.selection()
    }

    fn is_silent(&self) -> bool {
        !self.pace.scale.is_normal() && self.track.kind != MediaKind::Video
    }

    /// How many access units there are.
    pub fn len(&self) -> usize {
        match self.selection() {
            _ if self.is_silent() => 0,
            Selection::All => self.track.len(),
            Selection::Keys => self.track.random_access_points(),
            Selection::KeysBackward => self.track.random_access_points().saturating_sub(self.below),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where in the track the access unit at `position` is.
    fn place(&self, position: usize) -> Option<usize> {
        match self.selection() {
            _ if position >= self.len() => None,
            Selection::All => Some(position),
            Selection::Keys => self.track.random_access_point(position),
            Selection::KeysBackward => self.track.random_access_point(self.track.random_access_points() - 1 - position),
        }
    }

    /// The access unit at `position` in sending order.
    pub fn access_unit(&self, position: usize) -> Option<AccessUnit> {
        if self.pace.scale.is_normal() {
            return self.track.access_unit(position);
        }
        let place = self.place(position)?;
        let unit = self.track.access_unit(place)?;
        let end = self.pace.end.to_ticks(self.track.timescale);
        // What lies before the end of what is played backwards is shown there.
        let floor =
            if self.is_backward() && self.pace.floor > MediaTime::ZERO { self.pace.floor.to_ticks(self.track.timescale) } else { i64::MIN };
        let watched = |at: i64| self.pace.watched(at.max(floor), end);
        let shown = watched(unit.presentation_time);
        let decode_time = if self.selection() == Selection::All { watched(unit.decode_time) } else { shown };
        let next = match self.selection() {
            Selection::All => watched(unit.decode_time.saturating_add(i64::from(unit.duration))),
            _ => match self.place(position + 1).and_then(|place| self.track.access_unit(place)) {
                Some(next) => watched(next.presentation_time),
                None => self.pace.length().to_ticks(self.track.timescale),
            },
        };
        let duration = u32::try_from(next.saturating_sub(decode_time).max(0)).unwrap_or(u32::MAX);
        Some(AccessUnit { decode_time, presentation_time: shown, duration, ..unit })
    }

    /// When an access unit of the view is shown.
    pub fn presentation_time(&self, unit: &AccessUnit) -> MediaTime {
        self.track.presentation_time(unit)
    }

    /// When an access unit of the view is due.
    pub fn decode_time(&self, unit: &AccessUnit) -> MediaTime {
        self.track.decode_time(unit)
    }

    /// The random access point that a start at `at` begins with: the last one shown at or before; backwards the first one at or after,
    /// which shows what lies before in the title. The first or last of the track where there is none; `None` where it has none.
    pub fn random_access_for(&self, at: MediaTime) -> Option<usize> {
        if self.pace.scale.is_normal() {
            return self.track.random_access_at_or_before(at);
        }
        let points = match self.selection() {
            _ if self.is_silent() => 0,
            Selection::KeysBackward => self.len(),
            _ => self.track.random_access_points(),
        };
        let limit = at.to_ticks(self.track.timescale);
        let position = |point: usize| match self.selection() {
            Selection::All => self.track.random_access_point(point),
            _ => Some(point),
        };
        let shown = |point: usize| position(point).and_then(|unit| self.access_unit(unit)).map_or(i64::MAX, |unit| unit.presentation_time);
        let is_backward = self.pace.scale.is_backward();
        let after = partition_point(points, |point| if is_backward { shown(point) < limit } else { shown(point) <= limit });
        let chosen = if is_backward { after.min(points.checked_sub(1)?) } else { after.saturating_sub(1) };
        if points == 0 { None } else { position(chosen) }
    }

    /// The pictures that are shown before the random access point at `position` and sent behind it; see [`Track::leading_pictures`].
    pub fn leading_pictures(&self, position: usize) -> Range<usize> {
        match self.selection() {
            Selection::All if !self.is_silent() => self.track.leading_pictures(position),
            _ => position.saturating_add(1)..position.saturating_add(1),
        }
    }

    /// See [`Track::first_shown_at`].
    pub fn first_shown_at(&self, at: MediaTime) -> usize {
        if self.pace.scale.is_normal() { self.track.first_shown_at(at) } else { self.len() }
    }

    /// What shares the packet that begins with the access unit at `position`; see [`Grouping::second`].
    pub fn second(&self, grouping: &Grouping, position: usize) -> Option<AccessUnit> {
        if self.pace.scale.is_normal() { grouping.second(self.track, position) } else { None }
    }

    /// See [`Grouping::count`].
    pub fn count(&self, grouping: &Grouping, position: usize) -> usize {
        if self.pace.scale.is_normal() { grouping.count(self.track, position) } else { 1 }
    }

    /// See [`Grouping::packet_of`].
    pub fn packet_of(&self, grouping: &Grouping, position: usize) -> usize {
        if self.pace.scale.is_normal() { grouping.packet_of(self.track, position) } else { position }
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

#[cfg(test)]
mod tests;
