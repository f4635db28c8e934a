//! Vendor Specific (RFC 5094): what this server's signalling adds to the standard options. Every sub-type ends in two zero
//! octets, since some dissectors do not show an option's last two.
//!
//! ```text
//!                                 +---------------+---------------+
//!                                 |   Type = 19   |    Length     |
//! +-------------------------------+---------------+---------------+
//! |                           Vendor ID                           |
//! +---------------+-----------------------------------------------+
//! |   Sub-Type    |         Data ...
//! +---------------+
//! ```
//!
//! Ranges of sub-types count from the first octet of the vendor.

mod consent_question;
mod key_grant;
mod key_parameters;
mod media_expectation;
mod media_ports;
mod transition_window;

use crate::mobility::wire::error::Malformed;
use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, OptionData};

pub use consent_question::{AskedParty, ConsentQuestion};
pub use key_grant::KeyGrant;
pub use key_parameters::KeyParameters;
pub use media_expectation::{MediaClass, MediaExpectation};
pub use media_ports::MediaPorts;
pub use transition_window::TransitionWindow;

/// Its type.
pub const KIND: u8 = 19;
/// Whose sub-types these are: the number for documentation (RFC 5612), to be replaced by one that is assigned.
pub const VENDOR: u32 = 32473;

const VENDOR_ID: Field = 0..4;
const SUBTYPE: usize = 4;
const DATA: usize = 5;

/// A vendor specific option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VendorOption {
    /// Sub-type 1.
    TransitionWindow(TransitionWindow),
    /// Sub-type 2.
    MediaPorts(MediaPorts),
    /// Sub-type 3.
    KeyParameters(KeyParameters),
    /// Sub-type 4.
    MediaExpectation(MediaExpectation),
    /// Sub-type 5.
    KeyGrant(KeyGrant),
    /// Sub-type 6.
    ConsentQuestion(ConsentQuestion),
    /// Another sub-type, or another vendor's.
    Unknown(UnknownVendorOption),
}

/// What all sub-types can do.
pub trait VendorBody {
    /// Its number.
    fn subtype(&self) -> u8;
    /// Octets from the vendor on.
    fn data_len(&self) -> usize;
    /// Writes what follows the sub-type into zeroed octets that begin at the vendor.
    fn emit(&self, data: &mut [u8]);
}

/// Whether a sub-type has the length it must have.
pub fn exactly(subtype: u8, data: &[u8], len: usize) -> Result<(), Malformed> {
    if data.len() == len { Ok(()) } else { Err(Malformed::VendorLength { subtype, length: u8::try_from(data.len()).unwrap_or(u8::MAX) }) }
}

impl VendorOption {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Malformed> {
        if data.len() < DATA {
            return Err(Malformed::OptionLength { kind: KIND, length: u8::try_from(data.len()).unwrap_or(u8::MAX) });
        }
        let (vendor, subtype) = (field::u32(data, VENDOR_ID), field::octet(data, SUBTYPE));
        Ok(match (vendor, subtype) {
            (VENDOR, transition_window::SUBTYPE) => Self::TransitionWindow(TransitionWindow::parse(data)?),
            (VENDOR, media_ports::SUBTYPE) => Self::MediaPorts(MediaPorts::parse(data)?),
            (VENDOR, key_parameters::SUBTYPE) => Self::KeyParameters(KeyParameters::parse(data)?),
            (VENDOR, media_expectation::SUBTYPE) => Self::MediaExpectation(MediaExpectation::parse(data)?),
            (VENDOR, key_grant::SUBTYPE) => Self::KeyGrant(KeyGrant::parse(data)?),
            (VENDOR, consent_question::SUBTYPE) => Self::ConsentQuestion(ConsentQuestion::parse(data)?),
            _ => Self::Unknown(UnknownVendorOption { vendor, subtype, data: data.get(DATA..).unwrap_or_default().into() }),
        })
    }

    /// Whose sub-type it is.
    pub const fn vendor(&self) -> u32 {
        match self {
            Self::Unknown(option) => option.vendor,
            _ => VENDOR,
        }
    }

    /// Its sub-type.
    pub fn subtype(&self) -> u8 {
        self.body().subtype()
    }

    fn body(&self) -> &dyn VendorBody {
        match self {
            Self::TransitionWindow(option) => option,
            Self::MediaPorts(option) => option,
            Self::KeyParameters(option) => option,
            Self::MediaExpectation(option) => option,
            Self::KeyGrant(option) => option,
            Self::ConsentQuestion(option) => option,
            Self::Unknown(option) => option,
        }
    }
}

impl Body for VendorOption {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(4, 2)
    }

    fn data_len(&self) -> usize {
        self.body().data_len()
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, VENDOR_ID, &self.vendor().to_be_bytes());
        field::put_octet(data, SUBTYPE, self.subtype());
        self.body().emit(data);
    }
}

impl<T: Into<VendorOption>> From<T> for MobilityOption {
    fn from(option: T) -> Self {
        Self::Vendor(option.into())
    }
}

/// A vendor option that is unknown here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownVendorOption {
    vendor: u32,
    subtype: u8,
    data: OptionData,
}

impl UnknownVendorOption {
    /// `None` if it is a sub-type that is known, or too long for an option.
    pub fn new(vendor: u32, subtype: u8, data: &[u8]) -> Option<Self> {
        let known = vendor == VENDOR && (transition_window::SUBTYPE..=consent_question::SUBTYPE).contains(&subtype);
        (!known && data.len() + DATA <= usize::from(u8::MAX)).then(|| Self { vendor, subtype, data: data.into() })
    }

    /// Whose it is.
    pub const fn vendor(&self) -> u32 {
        self.vendor
    }

    /// Its sub-type.
    pub const fn subtype(&self) -> u8 {
        self.subtype
    }

    /// What follows the sub-type.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl VendorBody for UnknownVendorOption {
    fn subtype(&self) -> u8 {
        self.subtype
    }

    fn data_len(&self) -> usize {
        DATA + self.data.len()
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, DATA..self.data_len(), &self.data);
    }
}

impl From<UnknownVendorOption> for VendorOption {
    fn from(option: UnknownVendorOption) -> Self {
        Self::Unknown(option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_sub_types_have_a_right_length() {
        let ours = |subtype: u8, len: usize| {
            let mut data = vec![0; len];
            field::put(&mut data, VENDOR_ID, &VENDOR.to_be_bytes());
            field::put_octet(&mut data, SUBTYPE, subtype);
            VendorOption::parse(&data)
        };
        for (subtype, len) in [(1, 14), (2, 16), (3, 46), (4, 12), (5, 22), (6, 14)] {
            assert!(ours(subtype, len).is_ok(), "{subtype}");
            for wrong in [len - 1, len + 1] {
                assert_eq!(ours(subtype, wrong), Err(Malformed::VendorLength { subtype, length: wrong as u8 }), "{subtype}");
            }
        }
        assert!(matches!(ours(7, 5), Ok(VendorOption::Unknown(_))));
        assert!(matches!(VendorOption::parse(&[0, 0, 0, 1, 1]), Ok(VendorOption::Unknown(_))));
        assert_eq!(VendorOption::parse(&[0, 0, 0, 1]), Err(Malformed::OptionLength { kind: 19, length: 4 }));
    }

    #[test]
    fn a_known_sub_type_is_no_unknown_one() {
        assert!(UnknownVendorOption::new(VENDOR, 1, &[]).is_none());
        assert!(UnknownVendorOption::new(VENDOR, 7, &[0; 250]).is_some());
        assert!(UnknownVendorOption::new(1, 1, &[0; 251]).is_none());
    }
}
