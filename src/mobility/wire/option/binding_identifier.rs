//! Binding Identifier (RFC 5648 section 4.1, RFC 6089 section 4.1): which binding a message is about, and where it leads.
//!
//! ```text
//!                                 +---------------+---------------+
//!                                 |   Type = 35   |    Length     |
//! +-------------------------------+---------------+-+-------------+
//! |       Binding ID (BID)        |    Status     |H|   BID-PRI   |
//! +-------------------------------+---------------+-+-------------+
//! |       no, an IPv4 or an IPv6 care-of address
//! ```

use std::net::IpAddr;

use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, OptionData};
use crate::steering::BindingId;

/// Its type.
pub const KIND: u8 = 35;

const BINDING: Field = 0..2;
const STATUS: usize = 2;
const PRIORITY: usize = 3;
const CARE_OF: usize = 4;
const CARE_OF_IPV4: Field = 4..8;
const CARE_OF_IPV6: Field = 4..20;

/// H and BID-PRI, one octet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BindingPriority(pub u8);

impl BindingPriority {
    /// H: the node is at home and away at once.
    pub const fn is_home(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// BID-PRI, 0 to 127: less goes first; 0 in an acknowledgement.
    pub const fn priority(self) -> u8 {
        self.0 & 0x7f
    }
}

/// A binding identifier. An identifier of zero is well-formed here; it names no binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindingIdentifier {
    /// The identifier.
    pub binding: BindingId,
    /// The status of this binding alone, in an acknowledgement.
    pub status: u8,
    /// Whether the node is at home, and the binding's priority.
    pub priority: BindingPriority,
    /// Where the binding leads, if that is said.
    pub care_of: Option<IpAddr>,
}

/// A binding identifier option whose length is not 4, 8 or 20.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MalformedBindingIdentifier(OptionData);

impl MalformedBindingIdentifier {
    /// Its data, as they came.
    pub fn data(&self) -> &[u8] {
        &self.0
    }
}

pub fn parse(data: &[u8]) -> MobilityOption {
    let care_of = match data.len() {
        CARE_OF => None,
        len if len == CARE_OF_IPV4.end => Some(field::ipv4(data, CARE_OF_IPV4).into()),
        len if len == CARE_OF_IPV6.end => Some(field::ipv6(data, CARE_OF_IPV6).into()),
        _ => return MobilityOption::MalformedBindingIdentifier(MalformedBindingIdentifier(data.into())),
    };
    MobilityOption::BindingIdentifier(BindingIdentifier {
        binding: BindingId(field::u16(data, BINDING)),
        status: field::octet(data, STATUS),
        priority: BindingPriority(field::octet(data, PRIORITY)),
        care_of,
    })
}

impl Body for BindingIdentifier {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        if self.care_of.is_some() { Alignment::new(8, 2) } else { Alignment::new(2, 0) }
    }

    fn data_len(&self) -> usize {
        match self.care_of {
            None => CARE_OF,
            Some(IpAddr::V4(_)) => CARE_OF_IPV4.end,
            Some(IpAddr::V6(_)) => CARE_OF_IPV6.end,
        }
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, BINDING, &self.binding.0.to_be_bytes());
        field::put_octet(data, STATUS, self.status);
        field::put_octet(data, PRIORITY, self.priority.0);
        match self.care_of {
            None => {}
            Some(IpAddr::V4(address)) => field::put(data, CARE_OF_IPV4, &address.octets()),
            Some(IpAddr::V6(address)) => field::put(data, CARE_OF_IPV6, &address.octets()),
        }
    }
}

impl Body for MalformedBindingIdentifier {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(2, 0)
    }

    fn data_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, 0..self.0.len(), &self.0);
    }
}

impl From<BindingIdentifier> for MobilityOption {
    fn from(option: BindingIdentifier) -> Self {
        Self::BindingIdentifier(option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_tells_the_family_of_the_care_of_address() {
        let care_of = |data: &[u8]| match parse(data) {
            MobilityOption::BindingIdentifier(option) => option.care_of,
            other => panic!("{other:?}"),
        };
        assert_eq!(care_of(&[0, 1, 0, 0]), None);
        assert_eq!(care_of(&[0, 1, 0, 0, 192, 0, 2, 1]), Some("192.0.2.1".parse().expect("an address")));
        assert_eq!(care_of(&[0; 20]), Some("::".parse().expect("an address")));
        for wrong in [0, 3, 5, 7, 9, 19, 21, 255] {
            let parsed = parse(&vec![0; wrong]);
            assert!(matches!(&parsed, MobilityOption::MalformedBindingIdentifier(option) if option.data().len() == wrong), "{wrong}");
        }
    }

    #[test]
    fn priority_and_home_share_an_octet() {
        assert!(BindingPriority(0x81).is_home());
        assert_eq!(BindingPriority(0x81).priority(), 1);
    }
}
