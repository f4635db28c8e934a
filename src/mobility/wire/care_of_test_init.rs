//! Care-of Test Init (RFC 6275 section 6.1.4): asks for a care-of keygen token.
//!
//! ```text
//!                                 +-------------------------------+
//!                                 |           Reserved            |
//! +-------------------------------+-------------------------------+
//! |                  Care-of Init Cookie (64 bits)                |
//! +---------------------------------------------------------------+
//! |       Mobility Options ...
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::Options;

/// Where options begin.
pub const OPTIONS: usize = 16;

const COOKIE: Field = 8..16;

/// Asks for a care-of keygen token; sent from the address to be proven. The answer goes to where this came from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CareOfTestInit {
    /// Random octets that the answer repeats.
    pub cookie: [u8; 8],
    /// What it is about.
    pub options: Options,
}

impl CareOfTestInit {
    /// Out of a header whose length is checked.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { cookie: field::array(octets, COOKIE), options: Options::parse(octets, OPTIONS)? })
    }

    /// Writes the fields before the options.
    pub(super) fn emit(&self, octets: &mut [u8]) {
        field::put(octets, COOKIE, &self.cookie);
    }
}
