//! Start codes (ISO/IEC 13818-2 section 5.2.3, ISO/IEC 14496-2 section 6.2.1): 00 00 01 and an octet that says what begins.

/// Octets of a start code.
pub const START_CODE_LEN: usize = 4;

/// Finds them in order.
pub struct StartCodes<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> StartCodes<'a> {
    /// Those in `octets`.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0 }
    }
}

impl Iterator for StartCodes<'_> {
    /// Where the first zero lies, and the last octet.
    type Item = (usize, u8);

    fn next(&mut self) -> Option<Self::Item> {
        while let [first, second, third, kind, ..] = *self.octets.get(self.at..)? {
            let at = self.at;
            match (first, second, third) {
                (0, 0, 1) => {
                    self.at += START_CODE_LEN;
                    return Some((at, kind));
                }
                (_, _, 2..) => self.at += 3,
                _ => self.at += 1,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_are_found_where_they_are() {
        let octets = [0, 0, 1, 0xb3, 9, 0, 0, 0, 1, 5, 0, 0, 2, 0, 1, 0, 0, 1];
        assert_eq!(StartCodes::new(&octets).collect::<Vec<_>>(), [(0, 0xb3), (6, 5)]);
        assert_eq!(StartCodes::new(&[]).count(), 0);
    }
}
