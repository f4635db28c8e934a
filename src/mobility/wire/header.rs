//! What all Mobility Headers begin with (RFC 6275 section 6.1.1).
//!
//! ```text
//!  0                   1                   2                   3
//! +-------------------------------+-------------------------------+
//! | Payload Proto |  Header Len   |    MH Type    |   Reserved    |
//! +-------------------------------+-------------------------------+
//! |           Checksum            |         Message Data ...
//! +-------------------------------+
//! ```
//!
//! The checksum is written as zero and not looked at: over UDP it is unused (RFC 5844 section 4.1.3), and
//! [`checksum`](super::checksum) is for where it is used.

use std::fmt;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};

/// The protocol number for "nothing follows".
pub const PAYLOAD_PROTO: u8 = 59;
/// Octets of the longest header.
pub const MAX_LEN: usize = 256 * UNIT;

/// Headers are multiples of this many octets.
pub const UNIT: usize = 8;
/// Octets before the message data.
pub const LEN: usize = 6;
/// The checksum.
pub const CHECKSUM: Field = 4..6;

const PROTO: usize = 0;
const HEADER_LEN: usize = 1;
const TYPE: usize = 2;

/// Which message a header holds; types that are unknown here included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u8);

impl MessageType {
    /// Binding Refresh Request.
    pub const REFRESH_REQUEST: Self = Self(0);
    /// Home Test Init.
    pub const HOME_TEST_INIT: Self = Self(1);
    /// Care-of Test Init.
    pub const CARE_OF_TEST_INIT: Self = Self(2);
    /// Home Test.
    pub const HOME_TEST: Self = Self(3);
    /// Care-of Test.
    pub const CARE_OF_TEST: Self = Self(4);
    /// Binding Update.
    pub const BINDING_UPDATE: Self = Self(5);
    /// Binding Acknowledgement.
    pub const BINDING_ACK: Self = Self(6);
    /// Binding Error.
    pub const BINDING_ERROR: Self = Self(7);

    /// Whether the type has a file here.
    pub const fn is_known(self) -> bool {
        self.0 <= Self::BINDING_ERROR.0
    }

    /// The least value of the length field: 8-octet units after the first.
    pub const fn min_header_len(self) -> u8 {
        match self {
            Self::HOME_TEST_INIT | Self::CARE_OF_TEST_INIT | Self::BINDING_UPDATE | Self::BINDING_ACK => 1,
            Self::HOME_TEST | Self::CARE_OF_TEST | Self::BINDING_ERROR => 2,
            _ => 0,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::REFRESH_REQUEST => "Binding Refresh Request",
            Self::HOME_TEST_INIT => "Home Test Init",
            Self::CARE_OF_TEST_INIT => "Care-of Test Init",
            Self::HOME_TEST => "Home Test",
            Self::CARE_OF_TEST => "Care-of Test",
            Self::BINDING_UPDATE => "Binding Update",
            Self::BINDING_ACK => "Binding Acknowledgement",
            Self::BINDING_ERROR => "Binding Error",
            Self(other) => return write!(f, "message type {other}"),
        })
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of what was received, once its length is right.
///
/// # Errors
/// It is no Mobility Header, or too short for its type.
pub fn check(octets: &[u8]) -> Result<MessageType, Malformed> {
    if octets.len() < UNIT {
        return Err(Malformed::Short(octets.len()));
    }
    let proto = field::octet(octets, PROTO);
    if proto != PAYLOAD_PROTO {
        return Err(Malformed::PayloadProto(proto));
    }
    let header_len = field::octet(octets, HEADER_LEN);
    let stated = (usize::from(header_len) + 1) * UNIT;
    if stated != octets.len() {
        return Err(Malformed::Length { stated, received: octets.len() });
    }
    let kind = MessageType(field::octet(octets, TYPE));
    if header_len < kind.min_header_len() {
        return Err(Malformed::HeaderLength { kind, octets: stated });
    }
    Ok(kind)
}

/// Writes the header of a message that fills `octets`: a multiple of 8 octets, zero where nothing is written.
pub fn emit(kind: MessageType, octets: &mut [u8]) {
    let units = u8::try_from((octets.len() / UNIT).saturating_sub(1)).unwrap_or(u8::MAX);
    field::put(octets, PROTO..TYPE + 1, &[PAYLOAD_PROTO, units, kind.0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_long_as_it_says_and_as_its_type_needs() {
        let table: [(&[u8], Result<MessageType, Malformed>); 11] = [
            (&[59, 0, 0, 0, 0, 0, 0, 0], Ok(MessageType::REFRESH_REQUEST)),
            (&[59, 0, 200, 9, 9, 9, 0, 0], Ok(MessageType(200))),
            (&[], Err(Malformed::Short(0))),
            (&[59, 0, 0, 0, 0, 0, 0], Err(Malformed::Short(7))),
            (&[58, 0, 0, 0, 0, 0, 0, 0], Err(Malformed::PayloadProto(58))),
            (&[59, 1, 0, 0, 0, 0, 0, 0], Err(Malformed::Length { stated: 16, received: 8 })),
            (&[59, 0, 0, 0, 0, 0, 0, 0, 0], Err(Malformed::Length { stated: 8, received: 9 })),
            (&[59, 0, 1, 0, 0, 0, 0, 0], Err(Malformed::HeaderLength { kind: MessageType::HOME_TEST_INIT, octets: 8 })),
            (&[59, 0, 5, 0, 0, 0, 0, 0], Err(Malformed::HeaderLength { kind: MessageType::BINDING_UPDATE, octets: 8 })),
            (
                &[59, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                Err(Malformed::HeaderLength { kind: MessageType::BINDING_ERROR, octets: 16 }),
            ),
            (&[59, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Ok(MessageType::BINDING_ACK)),
        ];
        for (octets, expected) in table {
            assert_eq!(check(octets), expected, "{octets:?}");
        }
    }
}
