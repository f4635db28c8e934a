//! IPv4 Care-of Address (RFC 5555 section 3.1.2): the IPv4 care-of address of an update without a binding identifier.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |   Type = 32   |  Length = 6   |           Reserved            |
//! +---------------+---------------+-------------------------------+
//! |                     IPv4 Care-of Address                      |
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv4Addr;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};

/// Its type.
pub const KIND: u8 = 32;

const LEN: usize = 6;
const ADDRESS: Field = 2..6;

/// An IPv4 care-of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4CareOf {
    /// The address.
    pub address: Ipv4Addr,
}

impl Ipv4CareOf {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        Ok(Self { address: field::ipv4(data, ADDRESS) })
    }
}

impl Body for Ipv4CareOf {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(4, 0)
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, ADDRESS, &self.address.octets());
    }
}

impl From<Ipv4CareOf> for MobilityOption {
    fn from(option: Ipv4CareOf) -> Self {
        Self::Ipv4CareOf(option)
    }
}
