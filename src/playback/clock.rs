//! The flow clock: how long a presentation has played.
//!
//! It runs while the presentation plays and stands in a pause; RTP timestamps and the NTP side of Sender Reports both
//! go by it, so that their relation is one constant for the presentation's whole life. At another speed than real time it runs at that,
//! and both with it.

use std::time::Duration;

use crate::now::{Mono, Now, Utc};
use crate::playback::speed::Speed;

/// Nanoseconds of played time since the presentation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowTime(pub i64);

impl FlowTime {
    /// The point `span` later.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The point `span` earlier.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How far `earlier` lies back; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The clock itself.
#[derive(Clone, Debug)]
pub struct FlowClock {
    /// What had been played when it last started or stopped.
    played: FlowTime,
    /// Since when it runs; may lie ahead (a start that was delayed). `None` while it stands.
    running_since: Option<Mono>,
    /// How fast it runs.
    speed: Speed,
    /// The wall-clock time that corresponds to zero.
    origin: Option<Utc>,
}

impl FlowClock {
    /// A clock that stands at zero.
    pub fn new() -> Self {
        Self::at(Speed::default())
    }

    /// The same; once it runs it does so at a speed.
    pub const fn at(speed: Speed) -> Self {
        Self { played: FlowTime(0), running_since: None, speed, origin: None }
    }

    /// How fast it runs.
    pub const fn speed(&self) -> Speed {
        self.speed
    }

    /// Lets it run at another speed from now on.
    pub fn set_speed(&mut self, speed: Speed, now: Mono) {
        self.played = self.read(now);
        self.running_since = self.running_since.map(|since| since.max(now));
        self.speed = speed;
    }

    /// Whether it runs (or will, at a start that was set).
    pub const fn is_running(&self) -> bool {
        self.running_since.is_some()
    }

    /// Whether it runs and a start that was delayed has come.
    pub fn has_begun(&self, now: Mono) -> bool {
        self.running_since.is_some_and(|since| since <= now)
    }

    /// Its reading.
    pub fn read(&self, now: Mono) -> FlowTime {
        match self.running_since {
            Some(since) => self.played.plus(self.speed.played_in(now.since(since))),
            None => self.played,
        }
    }

    /// Starts it `delay` from now; if it runs already, nothing happens.
    pub fn start(&mut self, delay: Duration, now: Now) {
        if self.running_since.is_none() {
            let played = Duration::from_nanos(self.played.0.max(0).unsigned_abs());
            self.origin.get_or_insert((now.utc + delay).minus(played));
            self.running_since = Some(now.mono + delay);
        }
    }

    /// Stops it.
    pub fn stop(&mut self, now: Mono) {
        self.played = self.read(now);
        self.running_since = None;
    }

    /// Sets it `span` ahead.
    pub fn skip(&mut self, span: Duration, now: Mono) {
        self.played = self.read(now).plus(span);
        self.running_since = self.running_since.map(|since| since.max(now));
    }

    /// Sets it `span` back. What it reads from then on has the NTP timestamps that `span` more would have had.
    pub fn set_back(&mut self, span: Duration) {
        self.played = self.played.minus(span);
        self.origin = self.origin.map(|origin| origin + span);
    }

    /// When it will read `time`; `None` while it stands.
    pub fn when(&self, time: FlowTime) -> Option<Mono> {
        self.running_since.map(|since| since + self.speed.time_for(time.since(self.played)))
    }

    /// The NTP timestamp that belongs to `time` on the presentation's constant line; zero before the first start.
    pub fn ntp(&self, time: FlowTime) -> u64 {
        self.origin.map_or(0, |origin| {
            let before = Duration::from_nanos(time.0.min(0).unsigned_abs());
            (origin + time.since(FlowTime(0))).minus(before).ntp64()
        })
    }
}

impl Default for FlowClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Now {
        Now { mono: Mono::from_nanos(milliseconds * 1_000_000), utc: Utc::from_unix_nanos(milliseconds * 1_000_000) }
    }

    #[test]
    fn what_lies_before_the_beginning_has_its_place_on_the_line() {
        let mut clock = FlowClock::new();
        clock.start(Duration::ZERO, at(10_000));
        let seconds = |time: i64| clock.ntp(FlowTime(time * 1_000_000_000)) >> 32;
        assert_eq!([seconds(-2), seconds(-1), seconds(0), seconds(1)].map(|at| at - seconds(-2)), [0, 1, 2, 3]);
    }

    #[test]
    fn it_stands_in_a_pause_and_goes_on_where_it_stood() {
        let mut clock = FlowClock::new();
        clock.start(Duration::ZERO, at(1_000));
        assert_eq!(clock.read(at(1_250).mono), FlowTime(250_000_000));
        clock.stop(at(1_500).mono);
        assert_eq!(clock.read(at(9_000).mono), FlowTime(500_000_000));
        assert_eq!(clock.when(FlowTime(600_000_000)), None);
        clock.start(Duration::ZERO, at(9_000));
        assert_eq!(clock.when(FlowTime(600_000_000)), Some(at(9_100).mono));
    }

    #[test]
    fn a_delayed_start_reads_zero_until_then() {
        let mut clock = FlowClock::new();
        clock.start(Duration::from_millis(20), at(1_000));
        assert_eq!(clock.read(at(1_010).mono), FlowTime(0));
        assert!(!clock.has_begun(at(1_019).mono) && clock.has_begun(at(1_020).mono));
        assert_eq!(clock.read(at(1_030).mono), FlowTime(10_000_000));
    }

    #[test]
    fn a_skip_sets_it_ahead_whether_it_runs_stands_or_waits() {
        let mut clock = FlowClock::new();
        clock.skip(Duration::from_millis(5), at(900).mono);
        clock.start(Duration::from_millis(20), at(1_000));
        clock.skip(Duration::from_millis(5), at(1_010).mono);
        assert_eq!(clock.read(at(1_020).mono), FlowTime(10_000_000));
        clock.skip(Duration::from_millis(100), at(1_030).mono);
        assert_eq!(clock.read(at(1_030).mono), FlowTime(120_000_000));
        assert_eq!(clock.when(FlowTime(121_000_000)), Some(at(1_031).mono));
    }

    #[test]
    fn set_back_it_reads_less_and_its_ntp_timestamps_go_on() {
        let mut clock = FlowClock::new();
        clock.start(Duration::ZERO, at(1_000));
        let before = clock.ntp(clock.read(at(9_000).mono));
        clock.set_back(Duration::from_secs(6));
        assert_eq!(clock.read(at(9_000).mono), FlowTime(2_000_000_000));
        assert_eq!(clock.ntp(clock.read(at(9_000).mono)), before);
        assert_eq!(clock.when(FlowTime(3_000_000_000)), Some(at(10_000).mono));
    }

    #[test]
    fn it_runs_at_a_speed_from_when_that_is_set_on() {
        let speed = |factor| Speed::nearest(factor).expect("a speed");
        let mut clock = FlowClock::new();
        clock.set_speed(speed(0.5), at(900).mono);
        clock.start(Duration::from_millis(20), at(1_000));
        clock.set_speed(speed(2.0), at(1_010).mono);
        assert_eq!(clock.read(at(1_020).mono), FlowTime(0));
        assert_eq!(clock.read(at(1_030).mono), FlowTime(20_000_000));
        let ntp = clock.ntp(FlowTime(1_000_000_000));
        clock.set_speed(speed(0.25), at(1_030).mono);
        assert_eq!(clock.read(at(1_430).mono), FlowTime(120_000_000));
        assert_eq!(clock.when(FlowTime(145_000_000)), Some(at(1_530).mono));
        clock.stop(at(1_430).mono);
        clock.set_speed(speed(4.0), at(8_000).mono);
        assert_eq!((clock.read(at(9_000).mono), clock.speed()), (FlowTime(120_000_000), speed(4.0)));
        assert_eq!(clock.ntp(FlowTime(1_000_000_000)), ntp, "the line is what it was");
    }

    #[test]
    fn the_ntp_line_does_not_move_with_a_pause() {
        let mut clock = FlowClock::new();
        clock.start(Duration::ZERO, at(0));
        let before = clock.ntp(FlowTime(1_000_000_000));
        clock.stop(at(500).mono);
        clock.start(Duration::ZERO, at(60_000));
        assert_eq!(clock.ntp(FlowTime(1_000_000_000)), before);
    }
}
