//! Mobility Message Replay Protection (RFC 4285 section 6): when a message was made.
//!
//! ```text
//!                 +---------------+---------------+
//!                 |   Type = 10   |  Length = 8   |
//! +---------------+---------------+---------------+---------------+
//! |                     Timestamp (64 bits)                       |
//! +---------------------------------------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};

/// Its type.
pub const KIND: u8 = 10;

const LEN: usize = 8;
const TIMESTAMP: Field = 0..8;

/// The time of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageId {
    /// As a 64-bit NTP timestamp: seconds since 1900 in the upper half, the fraction in the lower
    /// ([`Utc::ntp64`](crate::now::Utc::ntp64)).
    pub ntp: u64,
}

impl MessageId {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        Ok(Self { ntp: field::u64(data, TIMESTAMP) })
    }
}

impl Body for MessageId {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(8, 2)
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, TIMESTAMP, &self.ntp.to_be_bytes());
    }
}

impl From<MessageId> for MobilityOption {
    fn from(option: MessageId) -> Self {
        Self::MessageId(option)
    }
}
