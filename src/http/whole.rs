//! Whole numbers in bodies. JSON has one kind of number: `5.0` is a whole one (JSON Schema 2020-12, core, section 4.2.3), and some clients write it so.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A whole number that is not negative and fits the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<T>(pub(super) T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Reader<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", largest::<T>())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Whole<T>, E> {
        T::try_from(value).map(Whole).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Whole<T>, E> {
        // Above this not every whole number is one.
        const EXACT: f64 = (1_u64 << 53) as f64;
        let whole = value.fract() == 0.0 && (0.0..=EXACT).contains(&value);
        let found = if whole { T::try_from(value as u64).ok() } else { None };
        found.map(Whole).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }
}

/// The largest value of a type of so many octets.
fn largest<T>() -> u64 {
    u64::MAX >> (64 - 8 * size_of::<T>())
}

impl<T> JsonSchema for Whole<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "format": format!("uint{}", 8 * size_of::<T>()), "minimum": 0, "maximum": largest::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_read_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Whole<u16>>(text).ok().map(|whole| whole.0);
        for (text, expected) in [("0", 0), ("5", 5), ("5.0", 5), ("6.5535e4", 65535), ("65535", 65535), ("-0.0", 0)] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in ["-1", "65536", "65536.0", "5.5", "1e300", "-1.0", "\"5\"", "null", "true", "[5]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
