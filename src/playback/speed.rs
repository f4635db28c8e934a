//! How fast data are delivered (RFC 2326 section 12.35, RFC 7826 section 18.50).
//!
//! Speed is not scale: at any speed the same packets leave with the same timestamps, earlier or later. The flow clock runs at that speed,
//! and all that goes by it does: due times, priming, delays, the ends of stretches, the line of the Sender Reports. What goes by the
//! wall clock stays as it is: windows, lifetimes, the intervals of reports.

use std::fmt;
use std::time::Duration;

/// Thousandths of real time.
const REAL_TIME: u32 = 1_000;
/// From a quarter …
const SLOWEST: u32 = 250;
/// … to four times.
const FASTEST: u32 = 4_000;
/// Who is caught up goes so much faster than the flow at least, in thousandths.
const CATCHES_UP: u32 = 1_250;

/// How fast a presentation's packets leave: 1 is real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed(u32);

impl Default for Speed {
    fn default() -> Self {
        Self(REAL_TIME)
    }
}

impl Speed {
    /// The nearest speed to `factor` that there is: 0.25 to 4. `None` where it is no number, or not above zero.
    pub fn nearest(factor: f64) -> Option<Self> {
        // Rounded, and cut off to the range of the type.
        let milli = || (factor * f64::from(REAL_TIME)).round() as u32;
        (factor.is_finite() && factor > 0.0).then(|| Self(milli().clamp(SLOWEST, FASTEST)))
    }

    /// Reads what stands in a `Speed` header or a URL: a decimal number without a sign.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'.'));
        text.parse().ok().filter(|_| plain).and_then(Self::nearest)
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / f64::from(REAL_TIME)
    }

    /// Whether it is real time.
    pub const fn is_real_time(self) -> bool {
        self.0 == REAL_TIME
    }

    /// How much of a flow is played in `span` of time. Nanoseconds, rounded down.
    pub fn played_in(self, span: Duration) -> Duration {
        if self.is_real_time() { span } else { times(span, self.0, REAL_TIME, 0) }
    }

    /// How long `span` of a flow takes to be played. Nanoseconds, rounded up: then that much has been played.
    pub fn time_for(self, span: Duration) -> Duration {
        if self.is_real_time() { span } else { times(span, REAL_TIME, self.0, self.0 - 1) }
    }

    /// How much faster than the flow a branch is served that takes `rate_milli` thousandths of real time while it is caught up: in
    /// thousandths, and enough to catch up.
    pub fn catching_up(self, rate_milli: u16) -> u16 {
        if self.is_real_time() {
            return rate_milli;
        }
        u16::try_from((u32::from(rate_milli) * REAL_TIME / self.0).max(CATCHES_UP)).unwrap_or(u16::MAX)
    }
}

/// `span * numerator / denominator`, with `rounding` added before the division.
fn times(span: Duration, numerator: u32, denominator: u32, rounding: u32) -> Duration {
    let product = span.as_nanos().saturating_mul(u128::from(numerator)).saturating_add(u128::from(rounding));
    Duration::from_nanos(u64::try_from(product / u128::from(denominator)).unwrap_or(u64::MAX))
}

impl fmt::Display for Speed {
    /// As in the `Speed` header: with one decimal at least.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:03}", self.0 % REAL_TIME);
        let decimals = decimals.trim_end_matches('0');
        write!(f, "{}.{}", self.0 / REAL_TIME, if decimals.is_empty() { "0" } else { decimals })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_read_and_the_nearest_speed_is_in_force() {
        for (text, shown) in
            [("1", "1.0"), ("2.5", "2.5"), ("0.1", "0.25"), (" 0.333 ", "0.333"), ("900", "4.0"), ("4", "4.0"), (".5", "0.5")]
        {
            assert_eq!(Speed::parse(text).map(|speed| speed.to_string()).as_deref(), Some(shown), "{text}");
        }
        for text in ["0", "0.0", "-1", "+2", "fast", "", "1e3", "nan", "1.0-2.0", "1.0.0", "00000000000000002"] {
            assert_eq!(Speed::parse(text), None, "{text}");
        }
    }

    #[test]
    fn who_is_caught_up_takes_what_it_takes_of_real_time_but_catches_up() {
        let speed = |factor| Speed::nearest(factor).expect("a number");
        assert_eq!([speed(1.0), speed(0.5), speed(2.0), speed(4.0)].map(|speed| speed.catching_up(8000)), [8000, 16_000, 4000, 2000]);
        assert_eq!([speed(1.0), speed(0.25), speed(4.0)].map(|speed| speed.catching_up(1500)), [1500, 6000, 1250]);
        assert_eq!(speed(0.25).catching_up(32_000), u16::MAX);
    }

    proptest! {
        #[test]
        fn what_takes_a_time_has_been_played_then_and_not_much_before(factor in 0.1f64..5.0, nanoseconds in 0u64..1 << 50) {
            let speed = Speed::nearest(factor).expect("a number");
            let span = Duration::from_nanos(nanoseconds);
            let takes = speed.time_for(span);
            prop_assert!(speed.played_in(takes) >= span);
            prop_assert!(takes.is_zero() || speed.played_in(takes - Duration::from_nanos(1)) < span);
        }

        #[test]
        fn reading_never_fails(text in "\\PC*") {
            let _ = Speed::parse(&text);
        }
    }
}
