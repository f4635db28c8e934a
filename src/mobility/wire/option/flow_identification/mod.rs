//! Flow Identification (RFC 6089 section 4.2): a flow, how it is recognised, and to which bindings it goes.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |   Type = 45   |    Length     |              FID              |
//! +---------------+---------------+---------------+---------------+
//! |            FID-PRI            |   Reserved    |    Status     |
//! +-------------------------------+---------------+---------------+
//! |       Sub-options ...
//! ```
//!
//! One that cannot be understood is refused by a status in its own option, beside others that are taken: it is a
//! [`MalformedFlowIdentification`] and no reason to drop the message.

mod binding_reference;
mod traffic_selector;

use std::fmt;

use smallvec::SmallVec;

use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::{Alignment, Body, MobilityOption, OptionData};

pub use binding_reference::BindingReference;
pub use traffic_selector::{Ipv6Selector, OtherSelector, SelectorLabel, TrafficSelector};

/// Its type.
pub const KIND: u8 = 45;

const FLOW: Field = 0..2;
const PRIORITY: Field = 2..4;
const STATUS: usize = 5;
const SUB_OPTIONS: usize = 6;

const PAD1: u8 = 0;
const PADN: u8 = 1;
/// Octets before a sub-option's data.
const SUB_HEADER: usize = 2;

/// What became of one flow of an update (RFC 6089 section 4.2 and its registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowStatus(pub u8);

impl FlowStatus {
    /// Done.
    pub const DONE: Self = Self(0);
    /// Another label, source or flow than the key or the server allows (administratively prohibited).
    pub const PROHIBITED: Self = Self(128);
    /// Rejected for another reason.
    pub const REJECTED: Self = Self(129);
    /// The option is malformed.
    pub const MALFORMED: Self = Self(130);
    /// A binding reference names an unknown binding.
    pub const UNKNOWN_BINDING: Self = Self(131);
    /// The flow is unknown and no selector tells what it is.
    pub const UNKNOWN_FLOW: Self = Self(132);
    /// The traffic selector's format is not served.
    pub const SELECTOR_FORMAT: Self = Self(133);

    /// Whether the flow was left as it was.
    pub const fn is_refused(self) -> bool {
        self.0 >= 128
    }

    /// The status in words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::DONE => "done",
            Self::PROHIBITED => "prohibited",
            Self::REJECTED => "rejected",
            Self::MALFORMED => "flow identification malformed",
            Self::UNKNOWN_BINDING => "binding unknown",
            Self::UNKNOWN_FLOW => "flow unknown",
            Self::SELECTOR_FORMAT => "traffic selector format not supported",
            Self(..128) => "done, with a remark unknown here",
            Self(_) => "refused, for a reason unknown here",
        }
    }
}

impl fmt::Display for FlowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.meaning())
    }
}

impl fmt::Debug for FlowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a flow identification in itself, whatever flows and bindings there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FlowFault {
    /// It ends before its status.
    #[error("{0} octets are no flow identification")]
    Short(usize),
    /// A sub-option does not end within the option.
    #[error("sub-option {0} runs past the end of the option")]
    Overrun(u8),
    /// A sub-option that may occur once occurs twice.
    #[error("sub-option {0} occurs twice")]
    Twice(u8),
    /// A binding reference is empty or ends within an identifier.
    #[error("a binding reference of {0} octets")]
    ReferenceLength(usize),
    /// A binding reference names binding zero.
    #[error("a binding reference to zero")]
    ReferenceToZero,
    /// A traffic selector ends before its last field.
    #[error("a traffic selector of {0} octets is too short for its fields")]
    SelectorLength(usize),
    /// The flow's identifier is zero.
    #[error("the flow identifier is zero")]
    FlowZero,
    /// The flow's priority is zero.
    #[error("the priority is zero")]
    PriorityZero,
    /// The traffic selector names a label that none is.
    #[error("0x{0:06x} is no flow label")]
    Label(u32),
    /// The traffic selector names a range of labels.
    #[error("a range of flow labels")]
    LabelRange,
    /// The traffic selector's format is not the one that is understood.
    #[error("traffic selector format {0}")]
    SelectorFormat(u8),
}

impl FlowFault {
    /// The status that refuses the flow.
    pub const fn status(self) -> FlowStatus {
        match self {
            Self::SelectorFormat(_) => FlowStatus::SELECTOR_FORMAT,
            _ => FlowStatus::MALFORMED,
        }
    }
}

/// A sub-option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlowSubOption {
    /// Type 2.
    BindingReference(BindingReference),
    /// Type 3.
    TrafficSelector(TrafficSelector),
    /// Any other type.
    Unknown(UnknownSubOption),
}

/// A flow, or in an acknowledgement what became of it. Sub-options keep their order; their padding is not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowIdentification {
    /// The flow's identifier.
    pub flow: u16,
    /// Its priority among the flows of a home address: less goes first.
    pub priority: u16,
    /// What became of it; zero in an update.
    pub status: FlowStatus,
    sub_options: SmallVec<[FlowSubOption; 2]>,
}

impl FlowIdentification {
    /// A flow without sub-options.
    pub fn new(flow: u16, priority: u16, status: FlowStatus) -> Self {
        Self { flow, priority, status, sub_options: SmallVec::new() }
    }

    /// With a sub-option more; binding references and traffic selectors take the place of the one that was there.
    #[must_use]
    pub fn with(mut self, sub_option: impl Into<FlowSubOption>) -> Self {
        let sub_option = sub_option.into();
        let kind = sub_option.kind();
        match self.sub_options.iter_mut().find(|other| is_known(kind) && other.kind() == kind) {
            Some(place) => *place = sub_option,
            None => self.sub_options.push(sub_option),
        }
        self
    }

    /// Its sub-options, in order.
    pub fn sub_options(&self) -> &[FlowSubOption] {
        &self.sub_options
    }

    /// To which bindings it goes, if that is said.
    pub fn binding_reference(&self) -> Option<&BindingReference> {
        self.sub_options.iter().find_map(|sub| if let FlowSubOption::BindingReference(found) = sub { Some(found) } else { None })
    }

    /// How it is recognised, if that is said.
    pub fn traffic_selector(&self) -> Option<&TrafficSelector> {
        self.sub_options.iter().find_map(|sub| if let FlowSubOption::TrafficSelector(found) = sub { Some(found) } else { None })
    }

    /// What is wrong with it in itself. Malformed goes before a format that is not understood.
    pub fn fault(&self) -> Option<FlowFault> {
        if self.flow == 0 {
            return Some(FlowFault::FlowZero);
        }
        if self.priority == 0 {
            return Some(FlowFault::PriorityZero);
        }
        match self.traffic_selector()? {
            TrafficSelector::Ipv6(selector) => selector.fault(),
            TrafficSelector::Other(other) => Some(FlowFault::SelectorFormat(other.format())),
        }
    }

    fn parse(data: &[u8]) -> Result<Self, FlowFault> {
        let mut rest = data.get(SUB_OPTIONS..).ok_or(FlowFault::Short(data.len()))?;
        let mut option = Self::new(field::u16(data, FLOW), field::u16(data, PRIORITY), FlowStatus(field::octet(data, STATUS)));
        while let Some((&kind, after)) = rest.split_first() {
            if kind == PAD1 {
                rest = after;
                continue;
            }
            let (&length, after) = after.split_first().ok_or(FlowFault::Overrun(kind))?;
            let (data, after) = after.split_at_checked(usize::from(length)).ok_or(FlowFault::Overrun(kind))?;
            rest = after;
            if kind == PADN {
                continue;
            }
            if is_known(kind) && option.sub_options.iter().any(|other| other.kind() == kind) {
                return Err(FlowFault::Twice(kind));
            }
            option.sub_options.push(match kind {
                binding_reference::KIND => FlowSubOption::BindingReference(BindingReference::parse(data)?),
                traffic_selector::KIND => FlowSubOption::TrafficSelector(TrafficSelector::parse(data)?),
                kind => FlowSubOption::Unknown(UnknownSubOption { kind, data: data.into() }),
            });
        }
        Ok(option)
    }
}

/// The option, whether it can be understood or not.
pub fn parse(data: &[u8]) -> MobilityOption {
    match FlowIdentification::parse(data) {
        Ok(option) => option.into(),
        Err(fault) => MobilityOption::MalformedFlowIdentification(MalformedFlowIdentification { data: data.into(), fault }),
    }
}

/// A flow identification that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MalformedFlowIdentification {
    data: OptionData,
    fault: FlowFault,
}

impl MalformedFlowIdentification {
    /// What is wrong with it.
    pub const fn fault(&self) -> FlowFault {
        self.fault
    }

    /// The flow's identifier; zero if the option ends before.
    pub fn flow(&self) -> u16 {
        field::u16(&self.data, FLOW)
    }

    /// The flow's priority; zero if the option ends before.
    pub fn priority(&self) -> u16 {
        field::u16(&self.data, PRIORITY)
    }

    /// Its data, as they came.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

/// A sub-option of an unknown type, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownSubOption {
    kind: u8,
    data: OptionData,
}

impl UnknownSubOption {
    /// `None` if the type is known, or if the data are more than 255 octets.
    pub fn new(kind: u8, data: &[u8]) -> Option<Self> {
        (kind > PADN && !is_known(kind) && data.len() <= usize::from(u8::MAX)).then(|| Self { kind, data: data.into() })
    }

    /// Its type.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Its data.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

const fn is_known(kind: u8) -> bool {
    matches!(kind, binding_reference::KIND | traffic_selector::KIND)
}

impl FlowSubOption {
    const fn kind(&self) -> u8 {
        match self {
            Self::BindingReference(_) => binding_reference::KIND,
            Self::TrafficSelector(_) => traffic_selector::KIND,
            Self::Unknown(sub) => sub.kind,
        }
    }

    /// Binding references begin at an even octet, the others anywhere.
    const fn alignment(&self) -> Alignment {
        match self {
            Self::BindingReference(_) => Alignment::new(2, 0),
            Self::TrafficSelector(_) | Self::Unknown(_) => Alignment::NONE,
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::BindingReference(sub) => sub.data_len(),
            Self::TrafficSelector(sub) => sub.data_len(),
            Self::Unknown(sub) => sub.data.len(),
        }
    }

    fn emit(&self, data: &mut [u8]) {
        match self {
            Self::BindingReference(sub) => sub.emit(data),
            Self::TrafficSelector(sub) => sub.emit(data),
            Self::Unknown(sub) => field::put(data, 0..sub.data.len(), &sub.data),
        }
    }
}

impl Body for FlowIdentification {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(8, 0)
    }

    fn data_len(&self) -> usize {
        self.sub_options.iter().fold(SUB_OPTIONS, |at, sub| at + sub.alignment().padding(at) + SUB_HEADER + sub.data_len())
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, FLOW, &self.flow.to_be_bytes());
        field::put(data, PRIORITY, &self.priority.to_be_bytes());
        field::put_octet(data, STATUS, self.status.0);
        let mut at = SUB_OPTIONS;
        for sub in &self.sub_options {
            let length = u8::try_from(sub.data_len()).unwrap_or(u8::MAX);
            // What is missing to an even octet is one Pad1, a zero.
            at += sub.alignment().padding(at);
            let begin = at + SUB_HEADER;
            field::put(data, at..begin, &[sub.kind(), length]);
            at = begin + usize::from(length);
            if let Some(data) = data.get_mut(begin..at) {
                sub.emit(data);
            }
        }
    }
}

impl Body for MalformedFlowIdentification {
    fn kind(&self) -> u8 {
        KIND
    }

    fn alignment(&self) -> Alignment {
        Alignment::new(8, 0)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }

    fn emit(&self, data: &mut [u8]) {
        field::put(data, 0..self.data.len(), &self.data);
    }
}

impl From<FlowIdentification> for MobilityOption {
    fn from(option: FlowIdentification) -> Self {
        Self::FlowIdentification(Box::new(option))
    }
}

impl From<UnknownSubOption> for FlowSubOption {
    fn from(sub: UnknownSubOption) -> Self {
        Self::Unknown(sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(data: &[u8]) -> Option<FlowFault> {
        match parse(data) {
            MobilityOption::FlowIdentification(option) => option.fault(),
            MobilityOption::MalformedFlowIdentification(option) => Some(option.fault()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_understood_has_a_reason() {
        let table: [(&[u8], Option<FlowFault>); 19] = [
            (&[0, 1, 0, 10, 0, 0], None),
            (&[], Some(FlowFault::Short(0))),
            (&[0, 1, 0, 10, 0], Some(FlowFault::Short(5))),
            (&[0, 0, 0, 10, 0, 0], Some(FlowFault::FlowZero)),
            (&[0, 1, 0, 0, 0, 0], Some(FlowFault::PriorityZero)),
            (&[0, 1, 0, 10, 0, 0, 0, 0, 1, 0, 1, 2, 9, 9], None),
            (&[0, 1, 0, 10, 0, 0, 77, 1, 1, 77, 0], None),
            (&[0, 1, 0, 10, 0, 0, 2], Some(FlowFault::Overrun(2))),
            (&[0, 1, 0, 10, 0, 0, 77, 3, 0, 0], Some(FlowFault::Overrun(77))),
            (&[0, 1, 0, 10, 0, 0, 2, 2, 0, 1], None),
            (&[0, 1, 0, 10, 0, 0, 2, 2, 0, 1, 2, 2, 0, 2], Some(FlowFault::Twice(2))),
            (&[0, 1, 0, 10, 0, 0, 2, 0], Some(FlowFault::ReferenceLength(0))),
            (&[0, 1, 0, 10, 0, 0, 2, 3, 0, 1, 0], Some(FlowFault::ReferenceLength(3))),
            (&[0, 1, 0, 10, 0, 0, 2, 4, 0, 1, 0, 0], Some(FlowFault::ReferenceToZero)),
            (&[0, 1, 0, 10, 0, 0, 3, 5, 2, 0, 0, 0, 0], Some(FlowFault::SelectorLength(5))),
            (&[0, 1, 0, 10, 0, 0, 3, 8, 2, 0, 2, 0, 0, 0, 0, 0], Some(FlowFault::SelectorLength(8))),
            (&[0, 1, 0, 10, 0, 0, 3, 10, 2, 0, 2, 0, 0, 0, 0xff, 0x10, 0, 0], Some(FlowFault::Label(0x10_0000))),
            (&[0, 1, 0, 10, 0, 0, 3, 10, 2, 0, 1, 0, 0, 0, 0, 0, 0, 1], Some(FlowFault::LabelRange)),
            (&[0, 1, 0, 10, 0, 0, 3, 1, 1], Some(FlowFault::SelectorFormat(1))),
        ];
        for (data, expected) in table {
            assert_eq!(fault(data), expected, "{data:?}");
        }
        assert_eq!(FlowFault::SelectorFormat(1).status(), FlowStatus(133));
        assert_eq!(FlowFault::Short(1).status(), FlowStatus(130));
    }

    #[test]
    fn a_binding_reference_begins_at_an_even_octet() {
        let unknown = UnknownSubOption::new(9, &[7]).expect("unknown");
        let reference = BindingReference::new([crate::steering::BindingId(2)]).expect("not zero");
        let option = FlowIdentification::new(1, 10, FlowStatus::DONE).with(unknown).with(reference);
        let mut data = vec![0; option.data_len()];
        option.emit(&mut data);
        assert_eq!(data, [0, 1, 0, 10, 0, 0, 9, 1, 7, 0, 2, 2, 0, 2]);
        assert_eq!(parse(&data), option.into());
    }

    #[test]
    fn a_malformed_one_tells_as_much_of_the_flow_as_there_is() {
        for (data, flow, priority) in [(&[0, 7, 0, 10, 0][..], 7, 10), (&[0, 7, 0], 7, 0), (&[7], 0, 0)] {
            let MobilityOption::MalformedFlowIdentification(option) = parse(data) else { panic!("{data:?}") };
            assert_eq!((option.flow(), option.priority(), option.data()), (flow, priority, data));
        }
    }

    #[test]
    fn a_sub_option_that_occurs_once_is_replaced() {
        let reference = |bid| BindingReference::new([crate::steering::BindingId(bid)]).expect("not zero");
        let unknown = UnknownSubOption::new(9, &[1]).expect("unknown");
        let option =
            FlowIdentification::new(1, 10, FlowStatus::DONE).with(reference(1)).with(unknown.clone()).with(unknown).with(reference(2));
        assert_eq!(option.binding_reference(), Some(&reference(2)));
        assert_eq!(option.sub_options().len(), 3);
        for known in [0, 1, 2, 3] {
            assert!(UnknownSubOption::new(known, &[]).is_none(), "{known}");
        }
    }
}
