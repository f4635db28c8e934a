//! Nonce Indices (RFC 6275 section 6.2.6): of which nonces the tokens were made that go into the authenticator.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |   Type = 4    |  Length = 4   |       Home Nonce Index        |
//! +---------------+---------------+-------------------------------+
//! |      Care-of Nonce Index      |
//! +-------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, exactly};

/// Its type.
pub const KIND: u8 = 4;

const LEN: usize = 4;
const HOME: Field = 0..2;
const CARE_OF: Field = 2..4;

/// The indices of two nonces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NonceIndices {
    /// The home nonce index; zero where no home test is made.
    pub home: u16,
    /// The care-of nonce index.
    pub care_of: u16,
}

impl NonceIndices {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(KIND, data, LEN)?;
        Ok(Self { home: field::u16(data, HOME), care_of: field::u16(data, CARE_OF) })
    }
}

impl Body for NonceIndices {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(2, 0)
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, HOME, &self.home.to_be_bytes());
        field::put(data, CARE_OF, &self.care_of.to_be_bytes());
    }
}

impl From<NonceIndices> for MobilityOption {
    fn from(option: NonceIndices) -> Self {
        Self::NonceIndices(option)
    }
}
