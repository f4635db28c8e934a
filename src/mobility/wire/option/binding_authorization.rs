//! Binding Authorization Data (RFC 6275 section 6.2.7): proves that who sent a message was reached at two addresses. It ends the
//! header, which aligns it to 8n+2.
//!
//! ```text
//!                                 +---------------+---------------+
//!                                 |   Type = 5    |  Length = 12  |
//! +-------------------------------+---------------+---------------+
//! |                   Authenticator (96 bits)                     |
//! +---------------------------------------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};

/// Its type.
pub const KIND: u8 = 5;

const LEN: usize = 12;
const AUTHENTICATOR: Field = 0..12;

/// 96 bits of authenticator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindingAuthorization {
    /// The authenticator.
    pub authenticator: [u8; 12],
}

impl BindingAuthorization {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        Ok(Self { authenticator: field::array(data, AUTHENTICATOR) })
    }
}

impl Body for BindingAuthorization {
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
        field::put(data, AUTHENTICATOR, &self.authenticator);
    }
}

impl From<BindingAuthorization> for MobilityOption {
    fn from(option: BindingAuthorization) -> Self {
        Self::BindingAuthorization(option)
    }
}
