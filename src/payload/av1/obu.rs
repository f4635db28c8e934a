//! OBUs as temporal units hold them (AV1 specification sections 5.3 and 4.10.5), and as payloads do: without a size.

use smallvec::SmallVec;

use crate::payload::{PacketBuffer, PayloadError};

/// obu_type (section 6.2.2).
pub const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
pub const FRAME_HEADER: u8 = 3;
pub const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

const FORBIDDEN: u8 = 0x80;
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

/// What is wrong with a temporal unit.
const BROKEN: PayloadError = PayloadError::Broken("AV1 temporal unit");

/// An OBU, its header without the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    header: [u8; 2],
    header_len: usize,
    /// Behind header and size.
    pub body: &'a [u8],
}

impl Obu<'_> {
    /// obu_type.
    pub const fn kind(&self) -> u8 {
        self.header[0] >> 3 & 15
    }

    /// Octets of header and body.
    pub const fn len(&self) -> usize {
        self.header_len + self.body.len()
    }

    /// Appends what lies between two places in header and body.
    pub fn write(&self, from: usize, to: usize, out: &mut PacketBuffer) {
        let header = self.header.get(from..to.min(self.header_len)).unwrap_or_default();
        let body = from.saturating_sub(self.header_len)..to.saturating_sub(self.header_len);
        out.extend(header);
        out.extend(self.body.get(body).unwrap_or_default());
    }
}

/// The OBUs of a temporal unit that can stand in a payload, in order.
pub struct Obus<'a> {
    rest: &'a [u8],
}

impl<'a> Obus<'a> {
    /// Those of `unit`.
    pub const fn new(unit: &'a [u8]) -> Self {
        Self { rest: unit }
    }

    fn one(&mut self) -> Option<Obu<'a>> {
        let (&first, mut rest) = std::mem::take(&mut self.rest).split_first()?;
        let mut header = [first & !HAS_SIZE, 0];
        let mut header_len = 1;
        if first & FORBIDDEN != 0 {
            return None;
        }
        if first & HAS_EXTENSION != 0 {
            (header[1], header_len) = (*rest.first()?, 2);
            rest = rest.get(1..)?;
        }
        let size = if first & HAS_SIZE != 0 { read_leb128(&mut rest)? } else { rest.len() };
        let (body, behind) = rest.split_at_checked(size)?;
        self.rest = behind;
        Some(Obu { header, header_len, body })
    }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Result<Obu<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let Some(obu) = self.one() else { return Some(Err(BROKEN)) };
            if !matches!(obu.kind(), TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
                return Some(Ok(obu));
            }
        }
        None
    }
}

fn read_leb128(rest: &mut &[u8]) -> Option<usize> {
    let mut value: u64 = 0;
    for position in 0..8 {
        let (&octet, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(octet & 0x7f) << (7 * position);
        if octet & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// Octets of a number in LEB128.
pub const fn leb128_len(value: usize) -> usize {
    if value == 0 { 1 } else { (value.ilog2() as usize) / 7 + 1 }
}

/// A number in LEB128.
pub fn leb128(mut value: usize) -> SmallVec<[u8; 10]> {
    let mut octets = SmallVec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            octets.push(low);
            return octets;
        }
        octets.push(low | 0x80);
    }
}
