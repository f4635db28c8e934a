//! The field's quantities as types: each value that exists is valid.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The 20-bit IPv6 flow label of a flow (RFC 6437), never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowLabel(u32);

impl FlowLabel {
    /// The greatest label, `0xfffff`.
    pub const MAX: u32 = 0xf_ffff;

    /// A label out of 20 bits; `None` for zero (which means "no label") and for more than 20 bits.
    pub const fn new(bits: u32) -> Option<Self> {
        if bits == 0 || bits > Self::MAX { None } else { Some(Self(bits)) }
    }

    /// The 20 bits, in host order.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FlowLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:05x}", self.0)
    }
}

impl fmt::Debug for FlowLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for FlowLabel {
    type Err = InvalidFlowLabel;

    /// Takes what [`fmt::Display`] gives: `0x` and one to five hex digits.
    fn from_str(text: &str) -> Result<Self, InvalidFlowLabel> {
        let digits = text.strip_prefix("0x").ok_or(InvalidFlowLabel)?;
        if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidFlowLabel);
        }
        u32::from_str_radix(digits, 16).ok().and_then(Self::new).ok_or(InvalidFlowLabel)
    }
}

/// A text that is no flow label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flow label is 0x and one to five hex digits, not zero")]
pub struct InvalidFlowLabel;

/// The synchronization source identifier of a flow (RFC 3550 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ssrc(pub u32);

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// An RTP payload type, 0 to 127 (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PayloadType(u8);

impl PayloadType {
    /// A payload type out of seven bits; `None` above 127.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits > 127 { None } else { Some(Self(bits)) }
    }

    /// The dynamic payload type `96 + index` (RFC 3551 section 6); `None` past 127.
    pub const fn dynamic(index: usize) -> Option<Self> {
        if index > 31 { None } else { Some(Self(96 + index as u8)) }
    }

    /// The payload type `112 + index` of what is sent again of the flow with the type [`PayloadType::dynamic`]`(index)`; `None`
    /// past 127.
    pub const fn retransmission(index: usize) -> Option<Self> {
        if index > 15 { None } else { Some(Self(112 + index as u8)) }
    }

    /// The seven bits.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// Ticks a second, of a track's own timestamps or of its RTP clock; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockRate(u32);

impl ClockRate {
    /// The RTP clock of all video payloads used here.
    pub const VIDEO: Self = Self(90_000);

    /// A rate in hertz; `None` for zero.
    pub const fn new(hertz: u32) -> Option<Self> {
        if hertz == 0 { None } else { Some(Self(hertz)) }
    }

    /// Hertz.
    pub const fn hertz(self) -> u32 {
        self.0
    }

    /// `ticks` of this clock as ticks of `other`, rounded to the nearest.
    pub fn rescale(self, ticks: i64, other: Self) -> i64 {
        rescale(ticks, i64::from(other.0), i64::from(self.0))
    }
}

/// `value * numerator / denominator`, rounded to the nearest, saturating. `denominator` is positive.
fn rescale(value: i64, numerator: i64, denominator: i64) -> i64 {
    if numerator == denominator {
        return value;
    }
    let (denominator, product) = (i128::from(denominator), i128::from(value) * i128::from(numerator));
    let rounded = (2 * product + denominator).div_euclid(2 * denominator);
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

/// A point on a title's timeline, in nanoseconds from its beginning; negative before it (pictures that an edit list cuts
/// away but a decoder needs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MediaTime(i64);

impl MediaTime {
    /// The beginning of a title.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` nanoseconds after the beginning.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The point that `ticks` of a clock of `rate` name.
    pub fn from_ticks(ticks: i64, rate: ClockRate) -> Self {
        Self(rescale(ticks, 1_000_000_000, i64::from(rate.0)))
    }

    /// The point `seconds` after the beginning; not-a-number becomes zero, the rest saturates.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as i64)
    }

    /// Nanoseconds after the beginning.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds after the beginning.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This point in ticks of a clock of `rate`, rounded to the nearest.
    pub fn to_ticks(self, rate: ClockRate) -> i64 {
        rescale(self.0, i64::from(rate.0), 1_000_000_000)
    }

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

/// A sender's clocks side by side, as its sender report has them (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClocks {
    ntp: u64,
    rtp: u32,
}

impl SenderClocks {
    /// The NTP timestamp and the RTP timestamp of the same moment; `None` where the sender has no clock, and says 0.
    pub const fn new(ntp: u64, rtp: u32) -> Option<Self> {
        if ntp == 0 { None } else { Some(Self { ntp, rtp }) }
    }

    /// The NTP timestamp.
    pub const fn ntp(self) -> u64 {
        self.ntp
    }

    /// When, in nanoseconds of the era, what bears an RTP timestamp was sampled, by the sender's clock; `None` out of range. The timestamp
    /// lies less than 2^31 ticks from the report's.
    pub fn sampled_at(self, timestamp: u32, clock: ClockRate) -> Option<i64> {
        let nanos = (u128::from(self.ntp) * 1_000_000_000) >> 32;
        let behind = i64::from(timestamp.wrapping_sub(self.rtp) as i32);
        // The seconds of an era are 2^32; nanoseconds of that fit.
        i64::try_from(nanos).ok()?.checked_add(MediaTime::from_ticks(behind, clock).as_nanos())
    }
}

/// What a track carries, as in an SDP `m=` line (RFC 4566 section 5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles.
    Text,
}

impl MediaKind {
    /// The SDP media name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_twenty_bits_and_not_zero() {
        assert_eq!(FlowLabel::new(0), None);
        assert_eq!(FlowLabel::new(0x10_0000), None);
        let label = FlowLabel::new(0x5a3c7).expect("20 bits");
        assert_eq!(label.to_string(), "0x5a3c7");
        assert_eq!("0x5a3c7".parse(), Ok(label));
        for wrong in ["5a3c7", "0x", "0x00000", "0x123456", "0x+1234", "0xg"] {
            assert_eq!(wrong.parse::<FlowLabel>(), Err(InvalidFlowLabel), "{wrong}");
        }
    }

    #[test]
    fn ticks_survive_the_way_over_nanoseconds() {
        for rate in [90_000, 44_100, 48_000, 12_800, 1_000].map(|hertz| ClockRate::new(hertz).expect("not zero")) {
            for ticks in [-3_600, -1, 0, 1, 2, 1_024, 90_001, 1 << 33] {
                assert_eq!(MediaTime::from_ticks(ticks, rate).to_ticks(rate), ticks);
            }
        }
    }

    #[test]
    fn rescaling_rounds_to_the_nearest() {
        let (from, to) = (ClockRate::new(3).expect("not zero"), ClockRate::new(2).expect("not zero"));
        assert_eq!([-2, -1, 0, 1, 2].map(|ticks| from.rescale(ticks, to)), [-1, -1, 0, 1, 1]);
    }
}
