//! Bits of a header, the highest of each octet first.

/// Reads bits one behind the other; nothing behind the end.
pub struct Bits<'a> {
    octets: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    /// Those of these octets.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets, position: 0 }
    }

    /// The next `count` bits, 32 at most.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let octet = self.octets.get(self.position / 8)?;
            value = value << 1 | u32::from(octet >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value)
    }

    /// The next bit.
    pub fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    /// Passes over `count` bits; those behind the end are missed when they are read.
    pub const fn skip(&mut self, count: u32) {
        self.position = self.position.saturating_add(count as usize);
    }
}
