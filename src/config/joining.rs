//! `steering.join` and `steering.prime_rate`: how a device joins a flow that runs.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// `steering.join`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinDefault {
    /// From the last random access point, made up faster than real time.
    #[default]
    Primed,
    /// From the next random access point.
    Aligned,
    /// From the next packet.
    AtOnce,
}

impl Serialize for JoinDefault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Primed => "primed",
            Self::Aligned => "aligned",
            Self::AtOnce => "at-once",
        })
    }
}

impl<'de> Deserialize<'de> for JoinDefault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "primed" => Ok(Self::Primed),
            "at-once" => Ok(Self::AtOnce),
            "aligned" => Ok(Self::Aligned),
            _ => Err(D::Error::custom("is \"primed\", \"aligned\" or \"at-once\"")),
        }
    }
}

/// `steering.prime_rate`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrimeRate {
    /// By the kind of player.
    #[default]
    Auto,
    /// This many thousandths of real time, 1000 to 32000.
    Fixed {
        /// Thousandths.
        milli: u16,
    },
}

impl PrimeRate {
    const HELP: &str = "is \"auto\", or a number from 1 to 32";

    fn fixed(rate: f64) -> Option<Self> {
        (1.0..=32.0).contains(&rate).then_some(Self::Fixed { milli: (rate * 1000.0).round() as u16 })
    }
}

impl Serialize for PrimeRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed { milli } => serializer.serialize_f64(f64::from(*milli) / 1000.0),
        }
    }
}

impl<'de> Deserialize<'de> for PrimeRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rate;
        impl Visitor<'_> for Rate {
            type Value = PrimeRate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", or a number from 1 to 32")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PrimeRate, E> {
                if text == "auto" { Ok(PrimeRate::Auto) } else { Err(E::custom(PrimeRate::HELP)) }
            }

            fn visit_i64<E: Error>(self, rate: i64) -> Result<PrimeRate, E> {
                self.visit_f64(rate as f64)
            }

            fn visit_u64<E: Error>(self, rate: u64) -> Result<PrimeRate, E> {
                self.visit_f64(rate as f64)
            }

            fn visit_f64<E: Error>(self, rate: f64) -> Result<PrimeRate, E> {
                PrimeRate::fixed(rate).ok_or_else(|| E::custom(PrimeRate::HELP))
            }
        }
        deserializer.deserialize_any(Rate)
    }
}
