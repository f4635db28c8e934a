//! How long a binding lasts (RFC 6275 section 6.1.7).

use std::time::Duration;

/// Seconds in a unit.
const UNIT_S: u32 = 4;

/// A lifetime in units of 4 seconds; zero ends a binding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lifetime(pub u16);

impl Lifetime {
    /// What ends a binding, and what every refusal grants.
    pub const ZERO: Self = Self(0);

    /// So many seconds, rounded down to whole units; the longest lifetime for more than that.
    pub const fn from_seconds(seconds: u64) -> Self {
        let units = seconds / UNIT_S as u64;
        Self(if units > u16::MAX as u64 { u16::MAX } else { units as u16 })
    }

    /// Seconds.
    pub const fn seconds(self) -> u32 {
        self.0 as u32 * UNIT_S
    }

    /// As a span of time.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.seconds() as u64)
    }

    /// Whether it ends a binding.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_count_in_units_of_four_seconds() {
        for (seconds, units) in [(0, 0), (3, 0), (4, 1), (300, 75), (303, 75), (262_140, 65_535), (u64::MAX, 65_535)] {
            assert_eq!(Lifetime::from_seconds(seconds), Lifetime(units), "{seconds}");
        }
        assert_eq!(Lifetime(u16::MAX).as_duration(), Duration::from_secs(262_140));
    }
}
