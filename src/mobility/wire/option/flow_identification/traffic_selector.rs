//! Traffic Selector (RFC 6089 section 4.2.1.4, RFC 6088 section 3.2), sub-option 3: how a flow is recognised.
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |   Type = 3    |    Length     |   TS Format   |   Reserved    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+---------------+---------------+
//! |A|B|C|D|E|F|G|H|I|J|K|L|M|N|O|P|           Reserved            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-------------------------------+
//! |       the fields whose flags are set, in order
//! ```
//!
//! Of TS Format 2, the binary selector of IPv6. What follows its last field is not kept.

use std::net::Ipv6Addr;

use crate::mobility::wire::field::{self, Field};
use crate::mobility::wire::option::OptionData;
use crate::mobility::wire::option::flow_identification::{FlowFault, FlowSubOption};
use crate::quantities::FlowLabel;

/// Its type.
pub const KIND: u8 = 3;

const FORMAT: usize = 0;
const FLAGS: Field = 2..4;
const FIELDS: usize = 6;

/// After the format of one that is not understood.
const OTHER: usize = 1;

const IPV6: u8 = 2;

const A: u16 = 0x8000;
const B: u16 = 0x4000;
const C: u16 = 0x2000;
const D: u16 = 0x1000;
const E: u16 = 0x0800;
const F: u16 = 0x0400;
const G: u16 = 0x0200;
const H: u16 = 0x0100;
const I: u16 = 0x0080;
const J: u16 = 0x0040;
const K: u16 = 0x0020;
const L: u16 = 0x0010;
const M: u16 = 0x0008;
const N: u16 = 0x0004;
const O: u16 = 0x0002;
const P: u16 = 0x0001;

/// A traffic selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrafficSelector {
    /// TS Format 2.
    Ipv6(Ipv6Selector),
    /// Another format.
    Other(OtherSelector),
}

/// The binary selector of IPv6: a packet is of the flow if it fits all fields. A field with an end is a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ipv6Selector {
    /// A: source address.
    pub source: Option<Ipv6Addr>,
    /// B: last source address.
    pub source_end: Option<Ipv6Addr>,
    /// C: destination address.
    pub destination: Option<Ipv6Addr>,
    /// D: last destination address.
    pub destination_end: Option<Ipv6Addr>,
    /// E: SPI of IPsec.
    pub spi: Option<u32>,
    /// F: last SPI.
    pub spi_end: Option<u32>,
    /// G: flow label.
    pub label: Option<SelectorLabel>,
    /// H: last flow label.
    pub label_end: Option<SelectorLabel>,
    /// I: source port.
    pub source_port: Option<u16>,
    /// J: last source port.
    pub source_port_end: Option<u16>,
    /// K: destination port.
    pub destination_port: Option<u16>,
    /// L: last destination port.
    pub destination_port_end: Option<u16>,
    /// M: traffic class.
    pub traffic_class: Option<u8>,
    /// N: last traffic class.
    pub traffic_class_end: Option<u8>,
    /// O: next header.
    pub next_header: Option<u8>,
    /// P: last next header.
    pub next_header_end: Option<u8>,
}

/// The flow label field of a traffic selector: 24 bits, of which a label has 20 that are not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SelectorLabel(u32);

impl SelectorLabel {
    const MASK: u32 = 0x00ff_ffff;

    /// The lower 24 bits of `field`; the upper 8 are ignored.
    pub const fn new(field: u32) -> Self {
        Self(field & Self::MASK)
    }

    /// The 24 bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The label; `None` if it is zero or has more than 20 bits.
    pub const fn label(self) -> Option<FlowLabel> {
        FlowLabel::new(self.0)
    }
}

impl From<FlowLabel> for SelectorLabel {
    fn from(label: FlowLabel) -> Self {
        Self(label.bits())
    }
}

/// A selector of another format, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherSelector {
    format: u8,
    data: OptionData,
}

impl OtherSelector {
    /// `None` for the format of [`Ipv6Selector`], or if the data are more than 254 octets.
    pub fn new(format: u8, data: &[u8]) -> Option<Self> {
        (format != IPV6 && data.len() + OTHER <= usize::from(u8::MAX)).then(|| Self { format, data: data.into() })
    }

    /// Its format.
    pub const fn format(&self) -> u8 {
        self.format
    }

    /// What follows the format.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl TrafficSelector {
    pub(super) fn parse(data: &[u8]) -> Result<Self, FlowFault> {
        match data.split_first() {
            None => Err(FlowFault::SelectorLength(0)),
            Some((&IPV6, _)) => Ipv6Selector::parse(data).map(Self::Ipv6),
            Some((&format, data)) => Ok(Self::Other(OtherSelector { format, data: data.into() })),
        }
    }

    pub(super) fn data_len(&self) -> usize {
        match self {
            Self::Ipv6(selector) => selector.data_len(),
            Self::Other(selector) => OTHER + selector.data.len(),
        }
    }

    pub(super) fn emit(&self, data: &mut [u8]) {
        match self {
            Self::Ipv6(selector) => selector.emit(data),
            Self::Other(selector) => {
                field::put_octet(data, FORMAT, selector.format);
                field::put(data, OTHER..OTHER + selector.data.len(), &selector.data);
            }
        }
    }
}

impl Ipv6Selector {
    /// What is wrong with its label, if it has one.
    pub fn fault(&self) -> Option<FlowFault> {
        let label = self.label.filter(|label| label.label().is_none()).map(|label| FlowFault::Label(label.bits()));
        label.or_else(|| self.label_end.is_some_and(|end| self.label != Some(end)).then_some(FlowFault::LabelRange))
    }

    fn parse(data: &[u8]) -> Result<Self, FlowFault> {
        let short = FlowFault::SelectorLength(data.len());
        let mut fields = Fields { flags: field::u16(data, FLAGS), rest: data.get(FIELDS..).ok_or(short)? };
        let mut read = || {
            Some(Self {
                source: fields.take(A)?.map(Ipv6Addr::from),
                source_end: fields.take(B)?.map(Ipv6Addr::from),
                destination: fields.take(C)?.map(Ipv6Addr::from),
                destination_end: fields.take(D)?.map(Ipv6Addr::from),
                spi: fields.take(E)?.map(u32::from_be_bytes),
                spi_end: fields.take(F)?.map(u32::from_be_bytes),
                label: fields.take(G)?.map(u32::from_be_bytes).map(SelectorLabel::new),
                label_end: fields.take(H)?.map(u32::from_be_bytes).map(SelectorLabel::new),
                source_port: fields.take(I)?.map(u16::from_be_bytes),
                source_port_end: fields.take(J)?.map(u16::from_be_bytes),
                destination_port: fields.take(K)?.map(u16::from_be_bytes),
                destination_port_end: fields.take(L)?.map(u16::from_be_bytes),
                traffic_class: fields.take(M)?.map(u8::from_be_bytes),
                traffic_class_end: fields.take(N)?.map(u8::from_be_bytes),
                next_header: fields.take(O)?.map(u8::from_be_bytes),
                next_header_end: fields.take(P)?.map(u8::from_be_bytes),
            })
        };
        read().ok_or(short)
    }

    fn data_len(&self) -> usize {
        let mut len = FIELDS;
        self.each(|_, octets| len += octets.len());
        len
    }

    fn emit(&self, data: &mut [u8]) {
        let (mut flags, mut at) = (0, FIELDS);
        self.each(|flag, octets| {
            flags |= flag;
            field::put(data, at..at + octets.len(), octets);
            at += octets.len();
        });
        field::put_octet(data, FORMAT, IPV6);
        field::put(data, FLAGS, &flags.to_be_bytes());
    }

    /// Gives every field that is there, in order: its flag and its octets.
    fn each(&self, mut see: impl FnMut(u16, &[u8])) {
        let addresses = [(A, self.source), (B, self.source_end), (C, self.destination), (D, self.destination_end)];
        let label = |field: Option<SelectorLabel>| field.map(SelectorLabel::bits);
        let words = [(E, self.spi), (F, self.spi_end), (G, label(self.label)), (H, label(self.label_end))];
        let ports = [(I, self.source_port), (J, self.source_port_end), (K, self.destination_port), (L, self.destination_port_end)];
        let octets = [(M, self.traffic_class), (N, self.traffic_class_end), (O, self.next_header), (P, self.next_header_end)];
        addresses.iter().filter_map(|(flag, field)| Some((flag, (*field)?))).for_each(|(flag, field)| see(*flag, &field.octets()));
        words.iter().filter_map(|(flag, field)| Some((flag, (*field)?))).for_each(|(flag, field)| see(*flag, &field.to_be_bytes()));
        ports.iter().filter_map(|(flag, field)| Some((flag, (*field)?))).for_each(|(flag, field)| see(*flag, &field.to_be_bytes()));
        octets.iter().filter_map(|(flag, field)| Some((flag, (*field)?))).for_each(|(flag, field)| see(*flag, &[field]));
    }
}

/// The fields of a binary selector that are still to be read.
struct Fields<'a> {
    flags: u16,
    rest: &'a [u8],
}

impl Fields<'_> {
    /// The next field, if its flag is set; the outer `None` if the octets end within it.
    fn take<const N: usize>(&mut self, flag: u16) -> Option<Option<[u8; N]>> {
        if self.flags & flag == 0 {
            return Some(None);
        }
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(Some(*field))
    }
}

impl From<Ipv6Selector> for FlowSubOption {
    fn from(selector: Ipv6Selector) -> Self {
        Self::TrafficSelector(TrafficSelector::Ipv6(selector))
    }
}

impl From<OtherSelector> for FlowSubOption {
    fn from(selector: OtherSelector) -> Self {
        Self::TrafficSelector(TrafficSelector::Other(selector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_have_their_widths_and_their_order() {
        let mut data = vec![2, 0xff, 0xff, 0xff, 0xff, 0xff];
        for (field, width) in [16, 16, 16, 16, 4, 4, 4, 4, 2, 2, 2, 2, 1, 1, 1, 1].into_iter().enumerate() {
            data.extend(std::iter::repeat_n(field as u8 + 1, width));
        }
        let address = |octet| Some(Ipv6Addr::from([octet; 16]));
        let selector = Ipv6Selector {
            source: address(1),
            source_end: address(2),
            destination: address(3),
            destination_end: address(4),
            spi: Some(0x0505_0505),
            spi_end: Some(0x0606_0606),
            label: Some(SelectorLabel(0x07_0707)),
            label_end: Some(SelectorLabel(0x08_0808)),
            source_port: Some(0x0909),
            source_port_end: Some(0x0a0a),
            destination_port: Some(0x0b0b),
            destination_port_end: Some(0x0c0c),
            traffic_class: Some(13),
            traffic_class_end: Some(14),
            next_header: Some(15),
            next_header_end: Some(16),
        };
        assert_eq!(Ipv6Selector::parse(&data), Ok(selector));
        assert_eq!(selector.data_len(), data.len());
        let mut again = vec![0; data.len()];
        selector.emit(&mut again);
        assert_eq!(Ipv6Selector::parse(&again), Ok(selector));
        assert_eq!(again[..FIELDS], [2, 0, 0xff, 0xff, 0, 0]);
        for len in 0..data.len() {
            assert_eq!(Ipv6Selector::parse(&data[..len]), Err(FlowFault::SelectorLength(len)), "{len}");
        }
    }

    #[test]
    fn a_label_is_twenty_bits_and_no_range() {
        let of = |label: Option<u32>, end: Option<u32>| {
            Ipv6Selector { label: label.map(SelectorLabel::new), label_end: end.map(SelectorLabel::new), ..Ipv6Selector::default() }.fault()
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(0xff0f_ffff), Some(0xf_ffff)), None);
        assert_eq!(of(Some(0), None), Some(FlowFault::Label(0)));
        assert_eq!(of(Some(0x10_0000), None), Some(FlowFault::Label(0x10_0000)));
        assert_eq!(of(Some(1), Some(2)), Some(FlowFault::LabelRange));
        assert_eq!(of(None, Some(2)), Some(FlowFault::LabelRange));
    }
}
