//! Home Network Prefix (RFC 5213 section 8.3): which home address a message is about.
//!
//! ```text
//!                                 +---------------+---------------+
//!                                 |   Type = 22   |  Length = 18  |
//! +---------------+---------------+---------------+---------------+
//! |   Reserved    | Prefix Length |                               |
//! +---------------+---------------+                               |
//! |                Home Network Prefix (128 bits)                 |
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv6Addr;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};

/// Its type.
pub const KIND: u8 = 22;

const LEN: usize = 18;
const PREFIX_LENGTH: usize = 1;
const ADDRESS: Field = 2..18;

/// A prefix of home addresses; here a single one, or none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HomeNetworkPrefix {
    /// Its length in bits, as received: more than 128 is possible.
    pub prefix_length: u8,
    /// The address.
    pub address: Ipv6Addr,
}

impl HomeNetworkPrefix {
    /// Asks for any home address.
    pub const ANY: Self = Self { prefix_length: 0, address: Ipv6Addr::UNSPECIFIED };

    /// A single address.
    pub const fn of(address: Ipv6Addr) -> Self {
        Self { prefix_length: 128, address }
    }

    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        Ok(Self { prefix_length: field::octet(data, PREFIX_LENGTH), address: field::ipv6(data, ADDRESS) })
    }
}

impl Body for HomeNetworkPrefix {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(8, 4)
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put_octet(data, PREFIX_LENGTH, self.prefix_length);
        field::put(data, ADDRESS, &self.address.octets());
    }
}

impl From<HomeNetworkPrefix> for MobilityOption {
    fn from(option: HomeNetworkPrefix) -> Self {
        Self::HomeNetworkPrefix(option)
    }
}
