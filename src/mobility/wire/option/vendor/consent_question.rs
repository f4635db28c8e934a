//! Consent Question, vendor sub-type 6: somebody is asked whether the flow may go there, and for how long the question is open. It stands in
//! acknowledgements that refuse an update for that alone.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                       Vendor ID = 32473                       |
//! +---------------+---------------+-------------------------------+
//! | Sub-Type = 6  |     Asked     |           Reserved            |
//! +---------------+---------------+-------------------------------+
//! |                           Left (ms)                           |
//! +-------------------------------+-------------------------------+
//! |              Zero             |
//! +-------------------------------+
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::vendor::{VendorBody, VendorOption, exactly};

/// Its sub-type.
pub const SUBTYPE: u8 = 6;

const LEN: usize = 14;
const ASKED: usize = 5;
const LEFT: Field = 8..12;

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AskedParty(pub u8);

impl AskedParty {
    /// The side that has the flow.
    pub const HOLDER: Self = Self(1);
    /// The device that is to have it.
    pub const TAKER: Self = Self(2);
    /// A service.
    pub const SERVICE: Self = Self(3);
}

/// A question that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsentQuestion {
    /// Who is asked.
    pub asked: AskedParty,
    /// Milliseconds until it lapses.
    pub left_ms: u32,
}

impl ConsentQuestion {
    /// Out of an option's data, vendor and sub-type included.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        exactly(SUBTYPE, data, LEN)?;
        Ok(Self { asked: AskedParty(field::octet(data, ASKED)), left_ms: field::u32(data, LEFT) })
    }
}

impl VendorBody for ConsentQuestion {
    fn subtype(&self) -> u8 {
        SUBTYPE
    }

    fn data_len(&self) -> usize {
        LEN
    }

    fn emit(&self, data: &mut [u8]) {
        field::put_octet(data, ASKED, self.asked.0);
        field::put(data, LEFT, &self.left_ms.to_be_bytes());
    }
}

impl From<ConsentQuestion> for VendorOption {
    fn from(option: ConsentQuestion) -> Self {
        Self::ConsentQuestion(option)
    }
}
