//! Mobility options (RFC 6275 section 6.2): the list that every message ends in.
//!
//! ```text
//! +---------------+---------------+
//! |     Type      |    Length     |   Data ...
//! +---------------+---------------+
//! ```
//!
//! Padding (types 0 and 1) is no option here: it is skipped, and written where the next option's alignment asks for it.

mod alternate_care_of;
mod binding_authorization;
mod binding_identifier;
mod flow_identification;
mod home_network_prefix;
mod ipv4_care_of;
mod message_authentication;
mod message_id;
mod mobile_node_id;
mod nonce_indices;
mod unknown;
mod vendor;

use smallvec::SmallVec;

use crate::mobility::wire::error::{EmitError, Malformed};
use crate::mobility::wire::field;
use crate::mobility::wire::header::UNIT;

pub use alternate_care_of::AlternateCareOf;
pub use binding_authorization::BindingAuthorization;
pub use binding_identifier::{BindingIdentifier, BindingPriority, MalformedBindingIdentifier};
pub use flow_identification::{
    BindingReference, FlowFault, FlowIdentification, FlowStatus, FlowSubOption, Ipv6Selector, MalformedFlowIdentification, OtherSelector,
    SelectorLabel, TrafficSelector, UnknownSubOption,
};
pub use home_network_prefix::HomeNetworkPrefix;
pub use ipv4_care_of::Ipv4CareOf;
pub use message_authentication::MessageAuthentication;
pub use message_id::MessageId;
pub use mobile_node_id::MobileNodeId;
pub use nonce_indices::NonceIndices;
pub use unknown::UnknownOption;
pub use vendor::{
    AskedParty, ConsentQuestion, KeyGrant, KeyParameters, MediaClass, MediaExpectation, MediaPorts, TransitionWindow, UnknownVendorOption,
    VENDOR, VendorOption,
};

/// Octets of an option that are kept as they came; 255 at most.
pub type OptionData = SmallVec<[u8; 24]>;

const PAD1: u8 = 0;
const PADN: u8 = 1;
/// Octets before an option's data.
const HEADER: usize = 2;

/// One option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MobilityOption {
    /// Type 22.
    HomeNetworkPrefix(HomeNetworkPrefix),
    /// Type 35.
    BindingIdentifier(BindingIdentifier),
    /// Type 35 with a length that it does not have.
    MalformedBindingIdentifier(MalformedBindingIdentifier),
    /// Type 3.
    AlternateCareOf(AlternateCareOf),
    /// Type 32.
    Ipv4CareOf(Ipv4CareOf),
    /// Type 45.
    FlowIdentification(Box<FlowIdentification>),
    /// Type 45 that cannot be understood.
    MalformedFlowIdentification(MalformedFlowIdentification),
    /// Type 4.
    NonceIndices(NonceIndices),
    /// Type 8.
    MobileNodeId(MobileNodeId),
    /// Type 10.
    MessageId(MessageId),
    /// Type 19.
    Vendor(VendorOption),
    /// Type 9.
    MessageAuthentication(MessageAuthentication),
    /// Type 5.
    BindingAuthorization(BindingAuthorization),
    /// Any other type.
    Unknown(UnknownOption),
}

/// Where an option begins: at a multiple of so many octets plus an offset (`xn+y` in RFC 6275).
#[derive(Clone, Copy)]
pub struct Alignment {
    multiple: usize,
    offset: usize,
}

impl Alignment {
    /// Anywhere.
    pub const NONE: Self = Self::new(1, 0);

    pub const fn new(multiple: usize, offset: usize) -> Self {
        Self { multiple, offset }
    }

    /// Octets of padding that are missing at `at`.
    const fn padding(self, at: usize) -> usize {
        (self.multiple + self.offset - at % self.multiple) % self.multiple
    }
}

/// What all options can do.
pub trait Body {
    /// Its type.
    fn kind(&self) -> u8;
    /// Where it begins.
    fn alignment(&self) -> Alignment;
    /// Octets of its data.
    fn data_len(&self) -> usize;
    /// Writes its data into zeroed octets of that length.
    fn emit(&self, data: &mut [u8]);
}

/// Whether an option has the length that it must have.
fn exactly(kind: u8, data: &[u8], len: usize) -> Result<(), Malformed> {
    if data.len() == len { Ok(()) } else { Err(wrong_length(kind, data)) }
}

fn wrong_length(kind: u8, data: &[u8]) -> Malformed {
    Malformed::OptionLength { kind, length: u8::try_from(data.len()).unwrap_or(u8::MAX) }
}

/// Whether an option of that type has a file here, or is padding.
const fn is_known(kind: u8) -> bool {
    matches!(
        kind,
        PAD1 | PADN
            | home_network_prefix::KIND
            | binding_identifier::KIND
            | alternate_care_of::KIND
            | ipv4_care_of::KIND
            | flow_identification::KIND
            | nonce_indices::KIND
            | mobile_node_id::KIND
            | message_id::KIND
            | vendor::KIND
    ) || is_authenticator(kind)
}

/// Whether an option of that type ends the header.
const fn is_authenticator(kind: u8) -> bool {
    matches!(kind, message_authentication::KIND | binding_authorization::KIND)
}

/// Whether an option of that type occurs at most once in a message.
const fn is_single(kind: u8) -> bool {
    matches!(
        kind,
        home_network_prefix::KIND
            | alternate_care_of::KIND
            | ipv4_care_of::KIND
            | nonce_indices::KIND
            | mobile_node_id::KIND
            | message_id::KIND
    ) || is_authenticator(kind)
}

impl MobilityOption {
    fn parse(kind: u8, data: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            home_network_prefix::KIND => HomeNetworkPrefix::parse(data)?.into(),
            binding_identifier::KIND => binding_identifier::parse(data),
            alternate_care_of::KIND => AlternateCareOf::parse(data)?.into(),
            ipv4_care_of::KIND => Ipv4CareOf::parse(data)?.into(),
            flow_identification::KIND => flow_identification::parse(data),
            nonce_indices::KIND => NonceIndices::parse(data)?.into(),
            mobile_node_id::KIND => MobileNodeId::parse(data)?.into(),
            message_id::KIND => MessageId::parse(data)?.into(),
            vendor::KIND => Self::Vendor(VendorOption::parse(data)?),
            message_authentication::KIND => MessageAuthentication::parse(data)?.into(),
            binding_authorization::KIND => BindingAuthorization::parse(data)?.into(),
            kind => UnknownOption::parse(kind, data).into(),
        })
    }

    /// Its type.
    pub fn kind(&self) -> u8 {
        self.body().kind()
    }

    fn body(&self) -> &dyn Body {
        match self {
            Self::HomeNetworkPrefix(option) => option,
            Self::BindingIdentifier(option) => option,
            Self::MalformedBindingIdentifier(option) => option,
            Self::AlternateCareOf(option) => option,
            Self::Ipv4CareOf(option) => option,
            Self::FlowIdentification(option) => &**option,
            Self::MalformedFlowIdentification(option) => option,
            Self::NonceIndices(option) => option,
            Self::MobileNodeId(option) => option,
            Self::MessageId(option) => option,
            Self::Vendor(option) => option,
            Self::MessageAuthentication(option) => option,
            Self::BindingAuthorization(option) => option,
            Self::Unknown(option) => option,
        }
    }
}

/// The options of a message, in order. At most one of each type that occurs once; an authenticator is the last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options(SmallVec<[MobilityOption; 8]>);

impl Options {
    /// The options that begin at `start` of a header.
    pub(super) fn parse(octets: &[u8], start: usize) -> Result<Self, Malformed> {
        let mut options = Self::default();
        let mut seen = 0_u64;
        let mut at = start;
        while let Some(&kind) = octets.get(at) {
            if kind == PAD1 {
                at += 1;
                continue;
            }
            let overrun = Malformed::OptionOverrun { kind, at };
            let begin = at + HEADER;
            let end = begin + usize::from(*octets.get(at + 1).ok_or(overrun)?);
            let data = octets.get(begin..end).ok_or(overrun)?;
            at = end;
            if kind == PADN {
                continue;
            }
            if is_single(kind) {
                let bit = 1_u64.checked_shl(u32::from(kind)).unwrap_or(0);
                if seen & bit != 0 {
                    return Err(Malformed::OptionTwice(kind));
                }
                seen |= bit;
            }
            let option = MobilityOption::parse(kind, data)?;
            if is_authenticator(kind) && end != octets.len() {
                return Err(Malformed::NotLast(kind));
            }
            options.0.push(option);
        }
        Ok(options)
    }

    /// Adds an option at the end, but before an authenticator. One that occurs once takes the place of the one of its type that
    /// was there, and an authenticator that of any other.
    pub fn push(&mut self, option: impl Into<MobilityOption>) {
        let option = option.into();
        let kind = option.kind();
        if is_authenticator(kind) {
            self.0.retain(|other| !is_authenticator(other.kind()));
            self.0.push(option);
            return;
        }
        if is_single(kind)
            && let Some(place) = self.0.iter_mut().find(|other| other.kind() == kind)
        {
            *place = option;
            return;
        }
        let authenticators = usize::from(self.0.last().is_some_and(|last| is_authenticator(last.kind())));
        self.0.insert(self.0.len() - authenticators, option);
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, MobilityOption> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The home address a message is about.
    pub fn home_network_prefix(&self) -> Option<&HomeNetworkPrefix> {
        self.0.iter().find_map(|option| if let MobilityOption::HomeNetworkPrefix(found) = option { Some(found) } else { None })
    }

    /// The binding identifiers; `Err` for one whose length is none.
    pub fn binding_identifiers(&self) -> impl Iterator<Item = Result<&BindingIdentifier, &MalformedBindingIdentifier>> {
        self.0.iter().filter_map(|option| match option {
            MobilityOption::BindingIdentifier(found) => Some(Ok(found)),
            MobilityOption::MalformedBindingIdentifier(found) => Some(Err(found)),
            _ => None,
        })
    }

    /// The IPv6 care-of address of an update without binding identifier.
    pub fn alternate_care_of(&self) -> Option<&AlternateCareOf> {
        self.0.iter().find_map(|option| if let MobilityOption::AlternateCareOf(found) = option { Some(found) } else { None })
    }

    /// The IPv4 care-of address of an update without binding identifier.
    pub fn ipv4_care_of(&self) -> Option<&Ipv4CareOf> {
        self.0.iter().find_map(|option| if let MobilityOption::Ipv4CareOf(found) = option { Some(found) } else { None })
    }

    /// The flows; `Err` for one that cannot be understood.
    pub fn flow_identifications(&self) -> impl Iterator<Item = Result<&FlowIdentification, &MalformedFlowIdentification>> {
        self.0.iter().filter_map(|option| match option {
            MobilityOption::FlowIdentification(found) => Some(Ok(&**found)),
            MobilityOption::MalformedFlowIdentification(found) => Some(Err(found)),
            _ => None,
        })
    }

    /// Which nonces the authenticator is made with.
    pub fn nonce_indices(&self) -> Option<&NonceIndices> {
        self.0.iter().find_map(|option| if let MobilityOption::NonceIndices(found) = option { Some(found) } else { None })
    }

    /// Who a message is from.
    pub fn mobile_node_id(&self) -> Option<&MobileNodeId> {
        self.0.iter().find_map(|option| if let MobilityOption::MobileNodeId(found) = option { Some(found) } else { None })
    }

    /// When a message was made.
    pub fn message_id(&self) -> Option<&MessageId> {
        self.0.iter().find_map(|option| if let MobilityOption::MessageId(found) = option { Some(found) } else { None })
    }

    /// The first transition window.
    pub fn transition_window(&self) -> Option<&TransitionWindow> {
        self.vendor().find_map(|option| if let VendorOption::TransitionWindow(found) = option { Some(found) } else { None })
    }

    /// The media ports.
    pub fn media_ports(&self) -> impl Iterator<Item = &MediaPorts> {
        self.vendor().filter_map(|option| if let VendorOption::MediaPorts(found) = option { Some(found) } else { None })
    }

    /// The first key parameters.
    pub fn key_parameters(&self) -> Option<&KeyParameters> {
        self.vendor().find_map(|option| if let VendorOption::KeyParameters(found) = option { Some(found) } else { None })
    }

    /// What is expected on flows.
    pub fn media_expectations(&self) -> impl Iterator<Item = &MediaExpectation> {
        self.vendor().filter_map(|option| if let VendorOption::MediaExpectation(found) = option { Some(found) } else { None })
    }

    /// The first key grant.
    pub fn key_grant(&self) -> Option<&KeyGrant> {
        self.vendor().find_map(|option| if let VendorOption::KeyGrant(found) = option { Some(found) } else { None })
    }

    /// The first question that is open.
    pub fn consent_question(&self) -> Option<&ConsentQuestion> {
        self.vendor().find_map(|option| if let VendorOption::ConsentQuestion(found) = option { Some(found) } else { None })
    }

    /// The authenticator that a key makes.
    pub fn message_authentication(&self) -> Option<&MessageAuthentication> {
        if let Some(MobilityOption::MessageAuthentication(found)) = self.0.last() { Some(found) } else { None }
    }

    /// The authenticator that tokens make.
    pub fn binding_authorization(&self) -> Option<&BindingAuthorization> {
        if let Some(MobilityOption::BindingAuthorization(found)) = self.0.last() { Some(found) } else { None }
    }

    fn vendor(&self) -> impl Iterator<Item = &VendorOption> {
        self.0.iter().filter_map(|option| if let MobilityOption::Vendor(found) = option { Some(found) } else { None })
    }

    /// Where a header ends whose options begin at `start`.
    pub(super) fn end(&self, start: usize) -> usize {
        let end = self.0.iter().map(MobilityOption::body).fold(start, |at, option| {
            let begin = at + option.alignment().padding(at);
            begin + HEADER + option.data_len()
        });
        end.next_multiple_of(UNIT)
    }

    /// Whether each can be written.
    pub(super) fn check(&self) -> Result<(), EmitError> {
        let long = self.0.iter().map(MobilityOption::body).find(|option| option.data_len() > usize::from(u8::MAX));
        long.map_or(Ok(()), |option| Err(EmitError::OptionTooLong { kind: option.kind(), octets: option.data_len() }))
    }

    /// Writes them from `start` on into a zeroed header of the right length, and pads to its end.
    pub(super) fn emit(&self, octets: &mut [u8], start: usize) {
        let mut at = start;
        for option in self.0.iter().map(MobilityOption::body) {
            let begin = at + option.alignment().padding(at);
            pad(octets, at, begin);
            let length = u8::try_from(option.data_len()).unwrap_or(u8::MAX);
            at = begin + HEADER + usize::from(length);
            field::put(octets, begin..begin + HEADER, &[option.kind(), length]);
            if let Some(data) = octets.get_mut(begin + HEADER..at) {
                option.emit(data);
            }
        }
        pad(octets, at, octets.len());
    }
}

impl<'a> IntoIterator for &'a Options {
    type Item = &'a MobilityOption;
    type IntoIter = std::slice::Iter<'a, MobilityOption>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Into<MobilityOption>> FromIterator<T> for Options {
    fn from_iter<I: IntoIterator<Item = T>>(options: I) -> Self {
        let mut list = Self::default();
        options.into_iter().for_each(|option| list.push(option));
        list
    }
}

/// Pads zeroed octets from `at` to `end`: with Pad1, which is a zero, or with one PadN.
fn pad(octets: &mut [u8], at: usize, end: usize) {
    if let Some(rest) = end.checked_sub(at + HEADER) {
        field::put(octets, at..at + HEADER, &[PADN, u8::try_from(rest).unwrap_or(u8::MAX)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::Spi;

    #[test]
    fn padding_reaches_the_alignment() {
        for (multiple, offset, at, padding) in [(8, 4, 12, 0), (8, 2, 32, 2), (8, 1, 34, 7), (4, 2, 40, 2), (2, 0, 39, 1), (1, 0, 13, 0)] {
            assert_eq!(Alignment::new(multiple, offset).padding(at), padding, "{multiple}n+{offset} at {at}");
        }
    }

    #[test]
    fn an_option_that_occurs_once_is_replaced_and_an_authenticator_stays_last() {
        let tag = MessageAuthentication { spi: Spi(0x100), data: [7; 16] };
        let mut options = Options::default();
        options.push(tag);
        options.push(MessageId { ntp: 1 });
        options.push(TransitionWindow { window_ms: 1 });
        options.push(TransitionWindow { window_ms: 2 });
        options.push(MessageId { ntp: 2 });
        assert_eq!(options.iter().map(MobilityOption::kind).collect::<Vec<_>>(), [10, 19, 19, 9]);
        assert_eq!(options.message_id(), Some(&MessageId { ntp: 2 }));
        assert_eq!(options.transition_window(), Some(&TransitionWindow { window_ms: 1 }));
        assert_eq!(options.message_authentication(), Some(&tag));
        options.push(BindingAuthorization { authenticator: [1; 12] });
        assert_eq!(options.iter().map(MobilityOption::kind).collect::<Vec<_>>(), [10, 19, 19, 5]);
    }

    #[test]
    fn options_are_found_wherever_padding_is() {
        let mut octets = vec![0, 0, 10, 8, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0, 1, 3, 9, 9, 9, 200, 1, 5];
        let options = Options::parse(&octets, 0).expect("well-formed");
        assert_eq!(options.message_id(), Some(&MessageId { ntp: 7 }));
        assert_eq!(options.len(), 2);
        octets.push(10);
        assert_eq!(Options::parse(&octets, 0), Err(Malformed::OptionOverrun { kind: 10, at: 22 }));
        octets.push(1);
        assert_eq!(Options::parse(&octets, 0), Err(Malformed::OptionOverrun { kind: 10, at: 22 }));
        octets.push(0);
        assert_eq!(Options::parse(&octets, 0), Err(Malformed::OptionTwice(10)));
    }
}
