//! Alternate Care-of Address (RFC 6275 section 6.2.5): the IPv6 care-of address of an update without a binding identifier.
//!
//! ```text
//!                                 +---------------+---------------+
//!                                 |   Type = 3    |  Length = 16  |
//! +-------------------------------+---------------+---------------+
//! |             Alternate Care-of Address (128 bits)              |
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv6Addr;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};

/// Its type.
pub const KIND: u8 = 3;

const LEN: usize = 16;
const ADDRESS: Field = 0..16;

/// An IPv6 care-of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlternateCareOf {
    /// The address.
    pub address: Ipv6Addr,
}

impl AlternateCareOf {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        Ok(Self { address: field::ipv6(data, ADDRESS) })
    }
}

impl Body for AlternateCareOf {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(8, 6)
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, ADDRESS, &self.address.octets());
    }
}

impl From<AlternateCareOf> for MobilityOption {
    fn from(option: AlternateCareOf) -> Self {
        Self::AlternateCareOf(option)
    }
}
