//! Members of a stream context that are more than a text or a number: each value that exists is valid.
//!
//! Numbers are those of JSON Schema: `1.0` is whole.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::quantities::FlowLabel;
use crate::steering::{Key, Spi};

/// Takes a member that is there; `null` is one as well, and of the wrong type.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number in 16 bits, for those that have no more.
    pub const fn small(self) -> u16 {
        if self.0 > u16::MAX as u64 { u16::MAX } else { self.0 as u16 }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let whole = number.as_u64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(float))?;
            Some(float as u64)
        });
        let within = whole.filter(|whole| (MIN..=MAX).contains(whole));
        within.map(Self).ok_or_else(|| D::Error::custom(format_args!("{number} is no whole number from {MIN} to {MAX}")))
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Bounded<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A whole number that is at least `MIN`, however large; the least one stands for no bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole<const MIN: i64>(Number);

impl<const MIN: i64> Whole<MIN> {
    /// The number, or the nearest one of 64 bits.
    pub fn get(&self) -> u64 {
        self.0.as_u64().unwrap_or_else(|| self.0.as_f64().unwrap_or(0.0) as u64)
    }
}

impl<'de, const MIN: i64> Deserialize<'de> for Whole<MIN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let is_whole = match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => whole >= MIN,
            (None, Some(_), _) => true,
            (None, None, Some(float)) => float.fract() == 0.0 && (MIN == i64::MIN || float >= MIN as f64),
            (None, None, None) => false,
        };
        if is_whole { Ok(Self(number)) } else { Err(D::Error::custom(format_args!("{number} is no whole number from {MIN} on"))) }
    }
}

impl<const MIN: i64> Serialize for Whole<MIN> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A number from `MIN` to `MAX`; their extremes stand for no bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fraction<const MIN: i64, const MAX: i64>(Number);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Fraction<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let float = number.as_f64().unwrap_or(f64::NAN);
        let within = (MIN == i64::MIN || float >= MIN as f64) && (MAX == i64::MAX || float <= MAX as f64);
        if within { Ok(Self(number)) } else { Err(D::Error::custom(format_args!("{number} is not from {MIN} to {MAX}"))) }
    }
}

impl<const MIN: i64, const MAX: i64> Serialize for Fraction<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Exactly so many lower-case hex digits.
fn hex_digits(text: &str, count: usize) -> Option<&str> {
    let digits = text.strip_prefix("0x")?;
    let lower = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == count && lower).then_some(digits)
}

/// 32 bits as `0x` and eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digits(pub u32);

impl Digits {
    /// As the index of a key.
    pub const fn spi(self) -> Spi {
        Spi(self.0)
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = hex_digits(&text, 8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        digits.map(Self).ok_or_else(|| D::Error::custom(format_args!("{text:?} is not 0x and eight hex digits")))
    }
}

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A flow label as `0x` and five hex digits, not zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(pub FlowLabel);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let label = hex_digits(&text, 5).and_then(|_| text.parse().ok());
        label.map(Self).ok_or_else(|| D::Error::custom(format_args!("{text:?} is no flow label: 0x and five hex digits, not zero")))
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A key as 64 hex digits. It does not show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyText(pub Key);

impl KeyText {
    /// 64 hex digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut octets = Zeroizing::new([0_u8; 32]);
        if digits.len() != 2 * octets.len() || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(Key::new(*octets)))
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = KeyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key: 64 hex digits")
            }

            // What was there instead is not repeated: it may be a key all the same.
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeyText, E> {
                KeyText::parse(text).ok_or_else(|| E::custom("a key is 64 hex digits in lower case"))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(self.0.expose_hex()))
    }
}

/// A text that is not empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Named(String);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Err(D::Error::custom("an empty text")) } else { Ok(Self(text)) }
    }
}

/// A point in time, as RFC 3339 writes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Instant(String);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match OffsetDateTime::parse(&text, &Rfc3339) {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(D::Error::custom(format_args!("{text:?} is no time of RFC 3339"))),
        }
    }
}

/// The kinds of media of RFC 8866.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaName {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Subtitles.
    Text,
    /// Something else.
    Application,
    /// Messages.
    Message,
}

impl MediaName {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Text => "text",
            Self::Application => "application",
            Self::Message => "message",
        }
    }
}

/// Versions of RTSP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RtspVersion {
    /// RFC 2326.
    #[serde(rename = "1.0")]
    One,
    /// RFC 7826.
    #[serde(rename = "2.0")]
    Two,
}

/// States of an RTSP session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RtspState {
    /// Nothing is set up.
    Init,
    /// Set up.
    Ready,
    /// Playing.
    Playing,
}
