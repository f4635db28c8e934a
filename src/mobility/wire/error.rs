//! Why octets are no message, and why a message cannot become octets.

use crate::mobility::wire::header::MessageType;

/// Why received octets are no Mobility Header. Nothing of them is used, and nothing is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Fewer octets than any header has.
    #[error("{0} octets are no Mobility Header")]
    Short(usize),
    /// Something is said to follow the header (RFC 6275 section 6.1.1).
    #[error("payload protocol {0} is not 59")]
    PayloadProto(u8),
    /// The header is shorter or longer than what was received.
    #[error("a header of {stated} octets in {received}")]
    Length {
        /// Octets by the length field.
        stated: usize,
        /// Octets received.
        received: usize,
    },
    /// The header is shorter than its type's fields.
    #[error("{kind} in a header of {octets} octets")]
    HeaderLength {
        /// The type.
        kind: MessageType,
        /// Octets of the header.
        octets: usize,
    },
    /// An option does not end within the header.
    #[error("option {kind} at octet {at} runs past the end of the header")]
    OptionOverrun {
        /// Its type.
        kind: u8,
        /// Where it begins, from the first octet of the header.
        at: usize,
    },
    /// An option has a length that its type does not have.
    #[error("option {kind} has length {length}")]
    OptionLength {
        /// Its type.
        kind: u8,
        /// Its length field.
        length: u8,
    },
    /// One of our vendor options has a length that its sub-type does not have.
    #[error("vendor sub-type {subtype} has length {length}")]
    VendorLength {
        /// Its sub-type.
        subtype: u8,
        /// The option's length field.
        length: u8,
    },
    /// An option that may occur once occurs twice.
    #[error("option {0} occurs twice")]
    OptionTwice(u8),
    /// An authenticator is not the end of the header (RFC 4285 section 5, RFC 6275 section 6.2.7).
    #[error("option {0} does not end the header")]
    NotLast(u8),
    /// The authentication option is of another sub-type than mobile node and home agent (RFC 4285 section 5.1).
    #[error("authentication of sub-type {0}")]
    AuthenticationSubtype(u8),
}

/// Why a message cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EmitError {
    /// It is longer than a header can be.
    #[error("{0} octets are more than a Mobility Header holds")]
    TooLong(usize),
    /// An option is longer than an option can be.
    #[error("option {kind} has {octets} octets of data")]
    OptionTooLong {
        /// Its type.
        kind: u8,
        /// Octets of its data.
        octets: usize,
    },
    /// The octets to write to are too few.
    #[error("{needed} octets do not fit into {given}")]
    Buffer {
        /// Octets of the message.
        needed: usize,
        /// Octets given.
        given: usize,
    },
    /// The message has no room for an authenticator: it is of an unknown type.
    #[error("a message of an unknown type takes no options")]
    NoOptions,
}
