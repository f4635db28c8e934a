//! Media Expectation, vendor sub-type 4: what a node expects on a flow whose label it does not know yet.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                       Vendor ID = 32473                       |
//! +---------------+---------------+-------------------------------+
//! | Sub-Type = 4  |     Flags     |            Flow ID            |
//! +---------------+---------------+-------------------------------+
//! |     Media     | Payload Type  |             Zero              |
//! +---------------+---------------+-------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::vendor::{VendorBody, VendorOption, exactly};

/// Its sub-type.
pub const SUBTYPE: u8 = 4;

const LEN: usize = 12;
const FLOW: Field = 6..8;
const MEDIA: usize = 8;
const PAYLOAD_TYPE: usize = 9;

/// A class of media; those without a name here are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MediaClass(pub u8);

impl MediaClass {
    /// Whatever media.
    pub const ANY: Self = Self(0);
    /// `audio`.
    pub const AUDIO: Self = Self(1);
    /// `video`.
    pub const VIDEO: Self = Self(2);
    /// `text`.
    pub const TEXT: Self = Self(3);
    /// `application`.
    pub const APPLICATION: Self = Self(4);
    /// `message`.
    pub const MESSAGE: Self = Self(5);
}

/// What is expected on a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaExpectation {
    /// Which flow.
    pub flow: u16,
    /// Which media.
    pub media: MediaClass,
    /// The RTP payload type; [`MediaExpectation::ANY_PAYLOAD_TYPE`] for any.
    pub payload_type: u8,
}

impl MediaExpectation {
    /// Whatever payload type.
    pub const ANY_PAYLOAD_TYPE: u8 = 255;

    /// Out of an option's data, vendor and sub-type included.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(SUBTYPE, data, LEN)?;
        Ok(Self {
            flow: field::u16(data, FLOW),
            media: MediaClass(field::octet(data, MEDIA)),
            payload_type: field::octet(data, PAYLOAD_TYPE),
        })
    }
}

impl VendorBody for MediaExpectation {
    fn subtype(&self) -> u8 {
        SUBTYPE
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, FLOW, &self.flow.to_be_bytes());
        field::put_octet(data, MEDIA, self.media.0);
        field::put_octet(data, PAYLOAD_TYPE, self.payload_type);
    }
}

impl From<MediaExpectation> for VendorOption {
    fn from(option: MediaExpectation) -> Self {
        Self::MediaExpectation(option)
    }
}
