//! Mobile Node Identifier (RFC 4283 section 3): who a message is from.
//!
//! ```text
//!                 +---------------+---------------+---------------+
//!                 |   Type = 8    |    Length     |    Subtype    |
//! +---------------+---------------+---------------+---------------+
//! |       Identifier ...
//! ```

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field;
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, OptionData, wrong_length};

/// Its type.
pub const KIND: u8 = 8;

const SUBTYPE: usize = 0;
const IDENTIFIER: usize = 1;

const NAI: u8 = 1;

/// Who a message is from. Identifiers of other sub-types than 1, the network access identifier, are kept and name nobody here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MobileNodeId {
    subtype: u8,
    identifier: OptionData,
}

impl MobileNodeId {
    /// A network access identifier (RFC 7542), 1 to 254 octets; `None` for another length.
    pub fn new(nai: &str) -> Option<Self> {
        let fits = (1..=usize::from(u8::MAX) - IDENTIFIER).contains(&nai.len());
        fits.then(|| Self { subtype: NAI, identifier: nai.as_bytes().into() })
    }

    /// The network access identifier; `None` if it is no UTF-8, or an identifier of another sub-type.
    pub fn nai(&self) -> Option<&str> {
        if self.subtype == NAI { std::str::from_utf8(&self.identifier).ok() } else { None }
    }

    /// Its sub-type.
    pub const fn subtype(&self) -> u8 {
        self.subtype
    }

    /// The identifier, whatever its sub-type.
    pub fn identifier(&self) -> &[u8] {
        &self.identifier
    }

    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let subtype = field::octet(data, SUBTYPE);
        match data.get(IDENTIFIER..) {
            Some(identifier) if subtype != NAI || !identifier.is_empty() => Ok(Self { subtype, identifier: identifier.into() }),
            _ => Err(wrong_length(KIND, data)),
        }
    }
}

impl Body for MobileNodeId {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::NONE
    }

    fn data_len(&self) -> usize {
        IDENTIFIER + self.identifier.len()
    }

    fn emit(&self, data: &mut [u8]) {
        field::put_octet(data, SUBTYPE, self.subtype);
        field::put(data, IDENTIFIER..self.data_len(), &self.identifier);
    }
}

impl From<MobileNodeId> for MobilityOption {
    fn from(option: MobileNodeId) -> Self {
        Self::MobileNodeId(option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_text_of_sub_type_one() {
        assert_eq!(MobileNodeId::parse(b"\x01a@b").expect("well-formed").nai(), Some("a@b"));
        assert_eq!(MobileNodeId::parse(b"\x01a\xff").expect("well-formed").nai(), None);
        assert_eq!(MobileNodeId::parse(b"\x02a@b").expect("well-formed").nai(), None);
        assert_eq!(MobileNodeId::parse(b"\x02").expect("well-formed").identifier(), b"");
        for (wrong, length) in [(&b""[..], 0), (b"\x01", 1)] {
            assert_eq!(MobileNodeId::parse(wrong), Err(Malformed::OptionLength { kind: KIND, length }));
        }
        assert!(MobileNodeId::new("").is_none() && MobileNodeId::new(&"a".repeat(255)).is_none());
    }
}
