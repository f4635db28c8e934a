//! Home Test (RFC 6275 section 6.1.5): a home keygen token.
//!
//! ```text
//!                                 +-------------------------------+
//!                                 |       Home Nonce Index        |
//! +-------------------------------+-------------------------------+
//! |                  Home Init Cookie (64 bits)                   |
//! +---------------------------------------------------------------+
//! |                  Home Keygen Token (64 bits)                  |
//! +---------------------------------------------------------------+
//! |       Mobility Options ...
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::Options;

/// Where options begin.
pub const OPTIONS: usize = 24;

const NONCE_INDEX: Field = 6..8;
const COOKIE: Field = 8..16;
const TOKEN: Field = 16..24;

/// Answers a Home Test Init.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HomeTest {
    /// Which nonce the token is made of.
    pub nonce_index: u16,
    /// The cookie of the question.
    pub cookie: [u8; 8],
    /// The keygen token.
    pub token: [u8; 8],
    /// None are defined.
    pub options: Options,
}

impl HomeTest {
    /// Out of a header whose length is checked.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            nonce_index: field::u16(octets, NONCE_INDEX),
            cookie: field::array(octets, COOKIE),
            token: field::array(octets, TOKEN),
            options: Options::parse(octets, OPTIONS)?,
        })
    }

    /// Writes the fields before the options.
    pub(super) fn emit(&self, octets: &mut [u8]) {
        field::put(octets, NONCE_INDEX, &self.nonce_index.to_be_bytes());
        field::put(octets, COOKIE, &self.cookie);
        field::put(octets, TOKEN, &self.token);
    }
}
