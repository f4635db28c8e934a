//! Bits, the highest first, and Exp-Golomb codes (ISO/IEC 14496-10 section 9.1).

/// Reads bits of octets.
#[derive(Clone, Debug)]
pub struct Bits<'a> {
    octets: &'a [u8],
    at: usize,
    /// Of the octet at `at`, how many are read.
    read: u32,
    zeros: u32,
    is_payload: bool,
}

impl<'a> Bits<'a> {
    /// All bits of `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0, read: 0, zeros: 0, is_payload: false }
    }

    /// Those behind the first `position` bits.
    pub const fn at(octets: &'a [u8], position: usize) -> Self {
        Self { octets, at: position / 8, read: (position % 8) as u32, zeros: 0, is_payload: false }
    }

    /// Those of a NAL unit without its emulation prevention octets, 03 behind two zeros (ISO/IEC 14496-10 section 7.4.1.1).
    pub const fn of_nal(octets: &'a [u8]) -> Self {
        Self { octets, at: 0, read: 0, zeros: 0, is_payload: true }
    }

    /// The next bit.
    pub fn bit(&mut self) -> Option<bool> {
        if self.read == 0 && self.is_payload && self.zeros >= 2 && self.octets.get(self.at) == Some(&3) {
            self.at += 1;
            self.zeros = 0;
        }
        let octet = *self.octets.get(self.at)?;
        let bit = octet << self.read & 0x80 != 0;
        self.read += 1;
        if self.read == 8 {
            self.read = 0;
            self.at += 1;
            self.zeros = if octet == 0 { self.zeros + 1 } else { 0 };
        }
        Some(bit)
    }

    /// The next `count` bits, 32 at most.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |bits, _| Some(bits << 1 | u32::from(self.bit()?)))
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(drop))
    }

    /// ue(v).
    pub fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.take(zeros)?;
        Some((1u32 << zeros) - 1 + rest)
    }

    /// se(v).
    pub fn signed(&mut self) -> Option<i32> {
        let code = self.unsigned()?;
        let magnitude = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }

    /// Bits that were read, those of emulation prevention among them.
    pub fn position(&self) -> usize {
        self.at * 8 + self.read as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_table() {
        // 1, 010, 011, 00100, 00101, 1
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1100_0000]);
        let read: Vec<_> = (0..6).map_while(|_| bits.unsigned()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4, 0]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1100_0000]);
        let read: Vec<_> = (0..5).map_while(|_| bits.signed()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
        assert_eq!(Bits::new(&[0; 9]).unsigned(), None, "no end");
        assert_eq!(Bits::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).unsigned(), None, "more than 32 bits");
    }

    #[test]
    fn emulation_prevention_is_no_part_of_a_nal_unit() {
        let octets = [0, 0, 3, 1, 0, 3, 0, 0, 3];
        let mut bits = Bits::of_nal(&octets);
        let read: Vec<_> = (0..9).map_while(|_| bits.take(8)).collect();
        assert_eq!(read, [0, 0, 1, 0, 3, 0, 0]);
        let mut bits = Bits::new(&octets);
        assert_eq!((0..9).map_while(|_| bits.take(8)).count(), 9);
    }
}
