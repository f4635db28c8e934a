//! NAL units as ISO/IEC 14496-15 stores them: a length before each.

use crate::payload::PayloadError;

/// The NAL units of an access unit that can stand in a payload.
pub struct NalUnits<'a> {
    unit: &'a [u8],
    at: usize,
    length_size: usize,
    is_sendable: fn(&[u8]) -> bool,
}

impl<'a> NalUnits<'a> {
    /// Those of `unit`, whose lengths have `length_size` octets; the others are passed over.
    pub const fn new(unit: &'a [u8], length_size: usize, is_sendable: fn(&[u8]) -> bool) -> Self {
        Self { unit, at: 0, length_size, is_sendable }
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = Result<&'a [u8], PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let rest = self.unit.get(at..).filter(|rest| !rest.is_empty())?;
            self.at = self.unit.len();
            let Some((length, rest)) = rest.split_at_checked(self.length_size) else {
                return Some(Err(PayloadError::NalLength));
            };
            let length = length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
            let Some(nal) = rest.get(..length) else {
                return Some(Err(PayloadError::NalLength));
            };
            self.at = at + self.length_size + length;
            if (self.is_sendable)(nal) {
                return Some(Ok(nal));
            }
        }
    }
}
