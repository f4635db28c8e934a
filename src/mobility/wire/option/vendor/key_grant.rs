//! Key Grant, vendor sub-type 5: names the home key of an address that was just reserved.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                       Vendor ID = 32473                       |
//! +---------------+---------------+-------------------------------+
//! | Sub-Type = 5  |     Flags     |           Reserved            |
//! +---------------+---------------+-------------------------------+
//! |                              SPI                              |
//! +---------------------------------------------------------------+
//! |                    Validity End (64 bits)                     |
//! +-------------------------------+-------------------------------+
//! |              Zero             |
//! +-------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::vendor::{VendorBody, VendorOption, exactly};
use crate::steering::Spi;

/// Its sub-type.
pub const SUBTYPE: u8 = 5;

const LEN: usize = 22;
const SPI: Field = 8..12;
const VALIDITY_END: Field = 12..20;

/// Which key a reservation made. The key itself is derived on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyGrant {
    /// Its index.
    pub spi: Spi,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
}

impl KeyGrant {
    /// Out of an option's data, vendor and sub-type included.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(SUBTYPE, data, LEN)?;
        Ok(Self { spi: Spi(field::u32(data, SPI)), validity_end: field::u64(data, VALIDITY_END) })
    }
}

impl VendorBody for KeyGrant {
    fn subtype(&self) -> u8 {
        SUBTYPE
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, SPI, &self.spi.0.to_be_bytes());
        field::put(data, VALIDITY_END, &self.validity_end.to_be_bytes());
    }
}

impl From<KeyGrant> for VendorOption {
    fn from(option: KeyGrant) -> Self {
        Self::KeyGrant(option)
    }
}
