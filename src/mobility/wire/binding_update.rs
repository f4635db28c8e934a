//! Binding Update (RFC 6275 section 6.1.7): a node asks for something to be bound, moved or removed.
//!
//! ```text
//!                                 +-------------------------------+
//!                                 |          Sequence #           |
//! +-+-+-+-+-+---------------------+-------------------------------+
//! |A|H|L|K|      Reserved         |           Lifetime            |
//! +-+-+-+-+-+---------------------+-------------------------------+
//! |       Mobility Options ...
//! ```

use std::fmt;
use std::ops::BitOr;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::lifetime::Lifetime;
use crate::mobility::wire::option::Options;

/// Where options begin.
pub const OPTIONS: usize = 12;

const SEQUENCE: Field = 6..8;
const FLAGS: Field = 8..10;
const LIFETIME: Field = 10..12;

/// The flags of a Binding Update; those without a name here are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UpdateFlags(pub u16);

impl UpdateFlags {
    /// A: an acknowledgement is asked for, of success too.
    pub const ACKNOWLEDGE: Self = Self(0x8000);
    /// H: the receiver is the node's home agent, here: the home address is of its pool.
    pub const HOME_REGISTRATION: Self = Self(0x4000);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for UpdateFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for UpdateFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// What a node asks for; what it is follows from lifetime and options.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BindingUpdate {
    /// The number that its acknowledgement repeats.
    pub sequence: u16,
    /// Its flags.
    pub flags: UpdateFlags,
    /// How long it is to last; zero removes.
    pub lifetime: Lifetime,
    /// What it is about.
    pub options: Options,
}

impl BindingUpdate {
    /// Out of a header whose length is checked.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            sequence: field::u16(octets, SEQUENCE),
            flags: UpdateFlags(field::u16(octets, FLAGS)),
            lifetime: Lifetime(field::u16(octets, LIFETIME)),
            options: Options::parse(octets, OPTIONS)?,
        })
    }

    /// Writes the fields before the options.
    pub(super) fn emit(&self, octets: &mut [u8]) {
        field::put(octets, SEQUENCE, &self.sequence.to_be_bytes());
        field::put(octets, FLAGS, &self.flags.0.to_be_bytes());
        field::put(octets, LIFETIME, &self.lifetime.0.to_be_bytes());
    }
}
