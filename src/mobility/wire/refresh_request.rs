//! Binding Refresh Request (RFC 6275 section 6.1.2): a binding is about to end.
//!
//! ```text
//! +-------------------------------+
//! |           Reserved            |
//! +-------------------------------+
//! |       Mobility Options ...
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::option::Options;

/// Where options begin.
pub const OPTIONS: usize = 8;

/// Asks a node to update its binding. It is not authenticated: a hint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RefreshRequest {
    /// What it is about.
    pub options: Options,
}

impl RefreshRequest {
    /// Out of a header whose length is checked.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { options: Options::parse(octets, OPTIONS)? })
    }
}
