//! Binding Acknowledgement (RFC 6275 section 6.1.8): what became of a Binding Update.
//!
//! ```text
//!                                 +---------------+-+-+-+-+-------+
//!                                 |    Status     |K|R|P|T| Resvd |
//! +-------------------------------+---------------+-+-+-+-+-------+
//! |          Sequence #           |           Lifetime            |
//! +-------------------------------+-------------------------------+
//! |       Mobility Options ...
//! ```

use std::fmt;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::lifetime::Lifetime;
use crate::mobility::wire::option::Options;
use crate::mobility::wire::status::Status;

/// Where options begin.
pub const OPTIONS: usize = 12;

const STATUS: usize = 6;
const FLAGS: usize = 7;
const SEQUENCE: Field = 8..10;
const LIFETIME: Field = 10..12;

/// The flags of a Binding Acknowledgement (K, R, P, T from the top); all are kept, none is used here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AckFlags(pub u8);

impl fmt::Debug for AckFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)
    }
}

/// The answer to a Binding Update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindingAck {
    /// What became of it.
    pub status: Status,
    /// Its flags, zero here.
    pub flags: AckFlags,
    /// The number of the update; with status 135 the last accepted one.
    pub sequence: u16,
    /// The lifetime granted; zero in a refusal.
    pub lifetime: Lifetime,
    /// What it is about.
    pub options: Options,
}

impl BindingAck {
    /// Out of a header whose length is checked.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            status: Status(field::octet(octets, STATUS)),
            flags: AckFlags(field::octet(octets, FLAGS)),
            sequence: field::u16(octets, SEQUENCE),
            lifetime: Lifetime(field::u16(octets, LIFETIME)),
            options: Options::parse(octets, OPTIONS)?,
        })
    }

    /// Writes the fields before the options.
    pub(super) fn emit(&self, octets: &mut [u8]) {
        field::put_octet(octets, STATUS, self.status.0);
        field::put_octet(octets, FLAGS, self.flags.0);
        field::put(octets, SEQUENCE, &self.sequence.to_be_bytes());
        field::put(octets, LIFETIME, &self.lifetime.0.to_be_bytes());
    }
}
