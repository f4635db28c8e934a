//! From the 33-bit times of PES headers to a timeline that goes on: they wrap round after 26 hours, and jump where a file was put together
//! out of others (ISO/IEC 13818-1 sections 2.4.3.7 and 2.7.7).
//!
//! All tracks of a program share their time bases: the first track to come to a new one sets it so that its own times go on, and the others
//! follow. Where a track alone pauses, it goes on where the others are by then.

/// Ticks a second of PES times.
pub const CLOCK: i64 = 90_000;
/// PES times have so many values.
const RANGE: i64 = 1 << 33;
/// What lies further behind, or before, the time that is expected is of another time base.
const MAX_BEHIND: i64 = CLOCK / 2;
const MAX_AHEAD: i64 = 5 * CLOCK;

/// A time base: what is added to its times, and the last of them.
#[derive(Clone, Copy, Debug)]
struct Base {
    number: u32,
    offset: i64,
    last: i64,
}

impl Base {
    /// A PES time as the nearest one to the last, on the timeline.
    fn place(&mut self, time: u64) -> i64 {
        self.last = self.last.saturating_add(difference(time, self.last.rem_euclid(RANGE) as u64));
        self.last.saturating_add(self.offset)
    }
}

/// `time - other`, as if neither had wrapped round.
pub fn difference(time: u64, other: u64) -> i64 {
    let ahead = (i64::try_from(time).unwrap_or(0) - i64::try_from(other).unwrap_or(0)).rem_euclid(RANGE);
    if ahead >= RANGE / 2 { ahead - RANGE } else { ahead }
}

/// Whether a time may be of the same time base as one that is expected.
fn is_near(placed: i64, expected: i64) -> bool {
    (-MAX_BEHIND..=MAX_AHEAD).contains(&placed.saturating_sub(expected))
}

/// The timeline of a program.
#[derive(Debug, Default)]
pub struct Timeline {
    newest: Option<Base>,
}

/// Where a track is on it.
#[derive(Debug, Default)]
pub struct Position {
    base: Option<Base>,
}

impl Timeline {
    /// A time of a track that was expected at `expected`, in ticks of [`CLOCK`].
    pub fn place(&mut self, position: &mut Position, time: u64, expected: Option<i64>) -> i64 {
        let newest = *self.newest.get_or_insert(Base { number: 0, offset: 0, last: i64::try_from(time).unwrap_or(0) });
        for mut base in position.base.into_iter().chain([newest]) {
            let placed = base.place(time);
            if is_near(placed, expected.unwrap_or(placed)) {
                return self.keep(position, base, placed);
            }
        }
        // A track that paused comes back where the others are by now.
        let (mut base, others) = (newest, newest.last.saturating_add(newest.offset));
        let placed = base.place(time);
        if expected.is_some_and(|expected| placed > expected) && is_near(placed, others) {
            return self.keep(position, base, placed);
        }
        let last = i64::try_from(time).unwrap_or(0);
        let placed = expected.unwrap_or(last);
        let base = Base { number: newest.number.saturating_add(1), offset: placed.saturating_sub(last), last };
        self.newest = Some(base);
        self.keep(position, base, placed)
    }

    fn keep(&mut self, position: &mut Position, base: Base, placed: i64) -> i64 {
        position.base = Some(base);
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.number == base.number) {
            *newest = base;
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_on_where_they_wrap_round() {
        let (mut timeline, mut track) = (Timeline::default(), Position::default());
        let first = (RANGE - 100) as u64;
        assert_eq!(timeline.place(&mut track, first, None), RANGE - 100);
        assert_eq!(timeline.place(&mut track, 50, Some(RANGE)), RANGE + 50);
        assert_eq!(difference(3, (RANGE - 4) as u64), 7);
        assert_eq!(difference((RANGE - 4) as u64, 3), -7);
    }

    #[test]
    fn a_new_time_base_goes_on_for_all_tracks_alike() {
        let mut timeline = Timeline::default();
        let (mut video, mut audio) = (Position::default(), Position::default());
        assert_eq!(timeline.place(&mut video, 900_000, None), 900_000);
        assert_eq!(timeline.place(&mut audio, 901_000, None), 901_000);
        assert_eq!(timeline.place(&mut video, 100_000, Some(903_600)), 903_600, "the picture goes on");
        assert_eq!(timeline.place(&mut audio, 903_000, Some(902_920)), 903_000, "sound is still in the old base");
        assert_eq!(timeline.place(&mut audio, 100_500, Some(904_840)), 904_100, "and follows");
        assert_eq!(timeline.place(&mut video, 103_600, Some(907_200)), 907_200);
    }

    #[test]
    fn a_track_that_pauses_goes_on_where_the_others_are() {
        let mut timeline = Timeline::default();
        let (mut video, mut audio) = (Position::default(), Position::default());
        timeline.place(&mut audio, 900_000, None);
        for picture in 0..300 {
            let time = 900_000 + picture * 3_600;
            assert_eq!(timeline.place(&mut video, time as u64, (picture > 0).then_some(time)), time);
        }
        assert_eq!(timeline.place(&mut audio, 1_980_000, Some(901_920)), 1_980_000);
        assert_eq!(timeline.place(&mut video, 1_980_000, Some(1_980_000)), 1_980_000);
        assert_eq!(timeline.place(&mut audio, 1_000_000, Some(1_981_920)), 1_981_920, "that is further back");
    }

    #[test]
    fn a_gap_of_some_seconds_stays() {
        let (mut timeline, mut track) = (Timeline::default(), Position::default());
        timeline.place(&mut track, 0, None);
        assert_eq!(timeline.place(&mut track, 270_000, Some(3_600)), 270_000);
        assert_eq!(timeline.place(&mut track, 10_000_000, Some(273_600)), 273_600, "a minute is none");
    }
}
