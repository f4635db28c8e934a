//! Mobility Message Authentication (RFC 4285 section 5): proves that who sent a message holds a key. It ends the header.
//!
//! ```text
//!                 +---------------+---------------+---------------+
//!                 |   Type = 9    |  Length = 21  |   Subtype     |
//! +---------------+---------------+---------------+---------------+
//! |                         Mobility SPI                          |
//! +---------------------------------------------------------------+
//! |                Authentication Data (128 bits)                 |
//! +---------------------------------------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};
use crate::steering::Spi;

/// Its type.
pub const KIND: u8 = 9;

const LEN: usize = 21;
const SUBTYPE: usize = 0;
const SPI: Field = 1..5;
const DATA: Field = 5..21;

const MOBILE_NODE_AND_HOME_AGENT: u8 = 1;

/// The sub-type for mobile node and home agent, with 128 bits of authentication data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageAuthentication {
    /// Which key it is made with.
    pub spi: Spi,
    /// The authentication data.
    pub data: [u8; 16],
}

impl MessageAuthentication {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        match field::octet(data, SUBTYPE) {
            MOBILE_NODE_AND_HOME_AGENT => Ok(Self { spi: Spi(field::u32(data, SPI)), data: field::array(data, DATA) }),
            subtype => Err(Malformed::AuthenticationSubtype(subtype)),
        }
    }
}

impl Body for MessageAuthentication {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(8, 1)
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put_octet(data, SUBTYPE, MOBILE_NODE_AND_HOME_AGENT);
        field::put(data, SPI, &self.spi.0.to_be_bytes());
        field::put(data, DATA, &self.data);
    }
}

impl From<MessageAuthentication> for MobilityOption {
    fn from(option: MessageAuthentication) -> Self {
        Self::MessageAuthentication(option)
    }
}
