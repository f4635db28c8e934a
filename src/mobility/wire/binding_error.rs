//! Binding Error (RFC 6275 section 6.1.9): a message could not be taken.
//!
//! ```text
//!                                 +---------------+---------------+
//!                                 |    Status     |   Reserved    |
//! +-------------------------------+---------------+---------------+
//! |                    Home Address (128 bits)                    |
//! +---------------------------------------------------------------+
//! |       Mobility Options ...
//! ```

use std::net::Ipv6Addr;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::Options;

/// Where options begin.
pub const OPTIONS: usize = 24;

const STATUS: usize = 6;
const HOME: Field = 8..24;

/// Says why nothing was done. It is not authenticated: a hint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingError {
    /// Why: [`BindingError::UNKNOWN_HOME`], [`BindingError::UNKNOWN_TYPE`], or one that is unknown here.
    pub status: u8,
    /// The home address it is about, or the unspecified one.
    pub home: Ipv6Addr,
    /// None are defined.
    pub options: Options,
}

impl BindingError {
    /// Nobody holds that home address (RFC 6275: unknown binding for the Home Address destination option).
    pub const UNKNOWN_HOME: u8 = 1;
    /// Messages of that type are not understood.
    pub const UNKNOWN_TYPE: u8 = 2;

    /// Nobody holds `home`.
    pub fn unknown_home(home: Ipv6Addr) -> Self {
        Self { status: Self::UNKNOWN_HOME, home, options: Options::default() }
    }

    /// A message was of an unknown type.
    pub fn unknown_type() -> Self {
        Self { status: Self::UNKNOWN_TYPE, home: Ipv6Addr::UNSPECIFIED, options: Options::default() }
    }

    /// Out of a header whose length is checked.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { status: field::octet(octets, STATUS), home: field::ipv6(octets, HOME), options: Options::parse(octets, OPTIONS)? })
    }

    /// Writes the fields before the options.
    pub(super) fn emit(&self, octets: &mut [u8]) {
        field::put_octet(octets, STATUS, self.status);
        field::put(octets, HOME, &self.home.octets());
    }
}
