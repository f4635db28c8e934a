//! Time as one value, handed into every core.
//!
//! The cores never read a clock: whoever owns a socket or a timer reads it once and passes [`Now`] down. Windows,
//! lifetimes and deadlines go by [`Now::mono`]; validity ends and message timestamps go by [`Now::utc`]. The two may
//! step apart, and a core must not assume otherwise.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since an arbitrary origin of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Mono {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point on the wall clock, in nanoseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc(u64);

/// Seconds from the NTP era (1900) to the Unix era (1970).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

impl Utc {
    /// The point `nanos` nanoseconds after 1970.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `seconds` seconds after 1970.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// The point `span` earlier, 1970 at the earliest.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds since 1970.
    pub const fn unix_nanos(self) -> u64 {
        self.0
    }

    /// The 64-bit NTP timestamp (RFC 5905 section 6, era wrapped as RFC 3550 section 4 allows): seconds since 1900 in
    /// the upper half, the fraction in the lower.
    pub const fn ntp64(self) -> u64 {
        let seconds = self.unix_seconds().wrapping_add(NTP_UNIX_OFFSET_S);
        let fraction = ((self.0 % 1_000_000_000) << 32) / 1_000_000_000;
        (seconds << 32) | fraction
    }
}

impl Add<Duration> for Utc {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The time at which something is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: windows, lifetimes, deadlines.
    pub mono: Mono,
    /// Wall-clock time: validity ends, message timestamps.
    pub utc: Utc,
}

impl Now {
    /// Both clocks `span` later.
    pub fn after(self, span: Duration) -> Self {
        Self { mono: self.mono + span, utc: self.utc + span }
    }
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many times a second in the long run; at least one.
    pub per_second: u32,
    /// So many times at once; at least one.
    pub burst: u32,
}

/// What is left of a [`Rate`] to one who uses it. A new one has all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allowance {
    /// When all of it will be there again.
    full: Mono,
}

impl Allowance {
    /// Whether anything is left.
    pub fn is_left(self, rate: Rate, now: Mono) -> bool {
        self.full.since(now) <= Self::interval(rate) * (rate.burst.max(1) - 1)
    }

    /// Uses it once; whether anything was left.
    pub fn take(&mut self, rate: Rate, now: Mono) -> bool {
        let left = self.is_left(rate, now);
        if left {
            self.full = self.full.max(now) + Self::interval(rate);
        }
        left
    }

    fn interval(rate: Rate) -> Duration {
        Duration::from_secs(1) / rate.per_second.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_burst_and_then_so_many_a_second() {
        let rate = Rate { per_second: 10, burst: 4 };
        let mut allowance = Allowance::default();
        let start = Mono::from_nanos(7);
        let mut taken = |from: Mono| (0..100).filter(|_| allowance.take(rate, from)).count();
        assert_eq!(taken(start), 4);
        assert_eq!(taken(start + Duration::from_millis(99)), 0);
        assert_eq!(taken(start + Duration::from_millis(100)), 1);
        assert_eq!(taken(start + Duration::from_millis(350)), 2);
        assert_eq!(taken(start + Duration::from_secs(60)), 4);
        let many: usize = (0..2000).map(|ms| taken(start + Duration::from_secs(70) + Duration::from_millis(ms))).sum();
        assert!((20..=24).contains(&many), "{many}");
    }

    #[test]
    fn ntp_timestamps_count_from_1900_in_32_32_fixed_point() {
        assert_eq!(Utc::from_unix_seconds(0).ntp64() >> 32, 2_208_988_800);
        let half = Utc::from_unix_nanos(1_500_000_000);
        assert_eq!(half.ntp64() & 0xffff_ffff, 0x8000_0000);
    }

    #[test]
    fn monotonic_differences_never_go_below_zero() {
        let early = Mono::from_nanos(5);
        let late = early + Duration::from_nanos(7);
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
