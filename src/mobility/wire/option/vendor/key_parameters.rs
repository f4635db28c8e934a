//! Key Parameters, vendor sub-type 3: of what a session key was derived (`docs/signalling.md` section 5).
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                       Vendor ID = 32473                       |
//! +---------------+---------------+-------------------------------+
//! | Sub-Type = 3  |             |I|           Reserved            |
//! +---------------+-------------+-+-------------------------------+
//! |                          Parent SPI                           |
//! +---------------------------------------------------------------+
//! |                          Transfer ID                          |
//! +---------------------------------------------------------------+
//! |                          Flow Label                           |
//! +---------------------------------------------------------------+
//! |                    Validity End (64 bits)                     |
//! +---------------------------------------------------------------+
//! |                    Media Source (128 bits)                    |
//! +-------------------------------+-------------------------------+
//! |              Zero             |
//! +-------------------------------+
//! ```

use std::net::Ipv6Addr;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::vendor::{VendorBody, VendorOption, exactly};
use crate::steering::Spi;

/// Its sub-type.
pub const SUBTYPE: u8 = 3;

const LEN: usize = 46;
const FLAGS: usize = 5;
const PARENT: Field = 8..12;
const TRANSFER_ID: Field = 12..16;
const LABEL: Field = 16..20;
const VALIDITY_END: Field = 20..28;
const MEDIA_SOURCE: Field = 28..44;

const IDENTITY_BOUND: u8 = 1;

/// What a session key is bound to, beside its home address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyParameters {
    /// Whether it is bound to the identity of the Mobile Node Identifier option.
    pub identity_bound: bool,
    /// The key it was derived from.
    pub parent: Spi,
    /// Random: two transfers never share a key.
    pub transfer_id: u32,
    /// The flow's label, all 32 bits as received: they go into the key.
    pub label: u32,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
    /// Where the flow comes from.
    pub media_source: Ipv6Addr,
}

impl KeyParameters {
    /// Out of an option's data, vendor and sub-type included.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(SUBTYPE, data, LEN)?;
        Ok(Self {
            identity_bound: field::octet(data, FLAGS) & IDENTITY_BOUND != 0,
            parent: Spi(field::u32(data, PARENT)),
            transfer_id: field::u32(data, TRANSFER_ID),
            label: field::u32(data, LABEL),
            validity_end: field::u64(data, VALIDITY_END),
            media_source: field::ipv6(data, MEDIA_SOURCE),
        })
    }
}

impl VendorBody for KeyParameters {
    fn subtype(&self) -> u8 {
        SUBTYPE
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put_octet(data, FLAGS, if self.identity_bound { IDENTITY_BOUND } else { 0 });
        field::put(data, PARENT, &self.parent.0.to_be_bytes());
        field::put(data, TRANSFER_ID, &self.transfer_id.to_be_bytes());
        field::put(data, LABEL, &self.label.to_be_bytes());
        field::put(data, VALIDITY_END, &self.validity_end.to_be_bytes());
        field::put(data, MEDIA_SOURCE, &self.media_source.octets());
    }
}

impl From<KeyParameters> for VendorOption {
    fn from(option: KeyParameters) -> Self {
        Self::KeyParameters(option)
    }
}
