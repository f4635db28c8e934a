//! What became of a Binding Update (RFC 6275 section 6.1.8 and the IANA registry of status codes).

use std::fmt;

/// The status of a Binding Acknowledgement; below 128 the update was accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u8);

/// What a node is to do about a status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Remedy {
    /// Nothing: it has what it asked for.
    Nothing,
    /// Test the care-of address, then send the update again.
    CareOfTest,
    /// Test the home address, then send the update again.
    HomeTest,
    /// Test both addresses, then send the update again.
    BothTests,
    /// Send the update again with the number after the returned one.
    NextNumber,
    /// Send the update again with the returned time.
    ReturnedTime,
    /// Ask who handed the flow over for a new key.
    NewKey,
    /// Ask for something else: the same update will be refused again.
    OtherRequest,
    /// Try again later.
    Later,
    /// Give up.
    Stop,
}

impl Status {
    /// Accepted.
    pub const ACCEPTED: Self = Self(0);
    /// Something failed here (RFC 6275: reason unspecified).
    pub const INTERNAL_ERROR: Self = Self(128);
    /// Not permitted to this key (RFC 6275: administratively prohibited).
    pub const NOT_PERMITTED: Self = Self(129);
    /// No address, binding or key slot is left (RFC 6275: insufficient resources).
    pub const RESOURCES: Self = Self(130);
    /// The home address is not of the pool (RFC 6275: not home subnet).
    pub const NOT_OF_POOL: Self = Self(132);
    /// The home address is another key's, or the binding to remove is unknown (RFC 6275: not home agent for this node).
    pub const NOT_THIS_HOME: Self = Self(133);
    /// Somebody else holds the address (RFC 6275: duplicate address detection failed).
    pub const ADDRESS_HELD: Self = Self(134);
    /// The sequence number is out of window; the acknowledgement returns the last accepted one (RFC 6275).
    pub const SEQUENCE: Self = Self(135);
    /// The home nonce index has expired (RFC 6275).
    pub const HOME_NONCE: Self = Self(136);
    /// A care-of test is needed, or its nonce has expired (RFC 6275: expired care-of nonce index).
    pub const CARE_OF_NONCE: Self = Self(137);
    /// Both nonce indices have expired (RFC 6275).
    pub const NONCES: Self = Self(138);
    /// The home registration flag is not what it must be (RFC 6275: registration type change disallowed).
    pub const REGISTRATION_TYPE: Self = Self(139);
    /// The prefix is not a single address (RFC 3963: invalid prefix).
    pub const PREFIX_LENGTH: Self = Self(141);
    /// The timestamp is too far from the clock or not later than the last one (RFC 4285).
    pub const TIMESTAMP_MISMATCH: Self = Self(144);
    /// A timestamp is required (RFC 4285).
    pub const TIMESTAMP_REQUIRED: Self = Self(145);
    /// Authentication failed (RFC 4285).
    pub const AUTHENTICATION_FAILED: Self = Self(146);
    /// The key is authentic, but expired or not for this flow or media source (RFC 5149).
    pub const KEY_NOT_USABLE: Self = Self(151);
    /// The Home Network Prefix option is missing (RFC 5213).
    pub const PREFIX_MISSING: Self = Self(158);
    /// The Mobile Node Identifier option is missing (RFC 5213).
    pub const IDENTITY_MISSING: Self = Self(160);
    /// The Binding Identifier option is malformed (RFC 5648).
    pub const BINDING_ID_MALFORMED: Self = Self(164);
    /// A binding without identifier excludes those with one (RFC 5648).
    pub const PLAIN_BINDING_EXISTS: Self = Self(165);
    /// The binding identifier is unknown and no care-of address was given (RFC 5648).
    pub const BINDING_ID_UNKNOWN: Self = Self(167);
    /// More than one binding identifier in one update (RFC 5648).
    pub const BINDING_IDS: Self = Self(168);
    /// The care-of address is not acceptable (RFC 6275: invalid care-of address).
    pub const CARE_OF_NOT_ACCEPTABLE: Self = Self(174);

    /// Whether the update was accepted.
    pub const fn is_accepted(self) -> bool {
        self.0 < 128
    }

    /// The status in words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ACCEPTED => "accepted",
            Self::INTERNAL_ERROR => "internal error",
            Self::NOT_PERMITTED => "not permitted",
            Self::RESOURCES => "insufficient resources",
            Self::NOT_OF_POOL => "home address not of the pool",
            Self::NOT_THIS_HOME => "not this key's home address, or unknown binding to remove",
            Self::ADDRESS_HELD => "home address held by another",
            Self::SEQUENCE => "sequence number out of window",
            Self::HOME_NONCE => "home nonce index expired",
            Self::CARE_OF_NONCE => "care-of test needed or care-of nonce index expired",
            Self::NONCES => "home and care-of nonce indices expired",
            Self::REGISTRATION_TYPE => "wrong registration type",
            Self::PREFIX_LENGTH => "invalid home network prefix length",
            Self::TIMESTAMP_MISMATCH => "timestamp mismatch",
            Self::TIMESTAMP_REQUIRED => "timestamp required",
            Self::AUTHENTICATION_FAILED => "authentication failed",
            Self::KEY_NOT_USABLE => "key expired or not for this flow or media source",
            Self::PREFIX_MISSING => "home network prefix option missing",
            Self::IDENTITY_MISSING => "mobile node identifier option missing",
            Self::BINDING_ID_MALFORMED => "binding identifier option malformed",
            Self::PLAIN_BINDING_EXISTS => "a binding without binding identifier exists",
            Self::BINDING_ID_UNKNOWN => "binding identifier unknown and no care-of address given",
            Self::BINDING_IDS => "more than one binding identifier",
            Self::CARE_OF_NOT_ACCEPTABLE => "care-of address not acceptable",
            Self(..128) => "accepted, for a reason unknown here",
            Self(_) => "refused, for a reason unknown here",
        }
    }

    /// What a node is to do about it.
    pub const fn remedy(self) -> Remedy {
        match self {
            Self(..128) => Remedy::Nothing,
            Self::CARE_OF_NONCE => Remedy::CareOfTest,
            Self::HOME_NONCE => Remedy::HomeTest,
            Self::NONCES => Remedy::BothTests,
            Self::SEQUENCE => Remedy::NextNumber,
            Self::TIMESTAMP_MISMATCH => Remedy::ReturnedTime,
            Self::KEY_NOT_USABLE => Remedy::NewKey,
            Self::INTERNAL_ERROR | Self::RESOURCES => Remedy::Later,
            Self::NOT_OF_POOL
            | Self::ADDRESS_HELD
            | Self::REGISTRATION_TYPE
            | Self::PREFIX_LENGTH
            | Self::TIMESTAMP_REQUIRED
            | Self::PREFIX_MISSING
            | Self::IDENTITY_MISSING
            | Self::BINDING_ID_MALFORMED
            | Self::PLAIN_BINDING_EXISTS
            | Self::BINDING_ID_UNKNOWN
            | Self::BINDING_IDS
            | Self::CARE_OF_NOT_ACCEPTABLE => Remedy::OtherRequest,
            Self(_) => Remedy::Stop,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.meaning())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::CareOfTest => "test the care-of address and send again",
            Self::HomeTest => "test the home address and send again",
            Self::BothTests => "test both addresses and send again",
            Self::NextNumber => "send again with the number after the returned one",
            Self::ReturnedTime => "send again with the returned time",
            Self::NewKey => "ask for a new key",
            Self::OtherRequest => "ask for something else",
            Self::Later => "try again later",
            Self::Stop => "stop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_does_follows_from_the_status() {
        for (status, remedy) in [
            (0, Remedy::Nothing),
            (1, Remedy::Nothing),
            (129, Remedy::Stop),
            (130, Remedy::Later),
            (133, Remedy::Stop),
            (135, Remedy::NextNumber),
            (136, Remedy::HomeTest),
            (137, Remedy::CareOfTest),
            (138, Remedy::BothTests),
            (144, Remedy::ReturnedTime),
            (146, Remedy::Stop),
            (151, Remedy::NewKey),
            (164, Remedy::OtherRequest),
            (255, Remedy::Stop),
        ] {
            assert_eq!(Status(status).remedy(), remedy, "{status}");
        }
    }

    #[test]
    fn a_status_shows_its_number_and_its_meaning() {
        assert_eq!(Status::SEQUENCE.to_string(), "135 (sequence number out of window)");
        assert_eq!(Status(7).to_string(), "7 (accepted, for a reason unknown here)");
        assert_eq!(Status(250).to_string(), "250 (refused, for a reason unknown here)");
    }
}
