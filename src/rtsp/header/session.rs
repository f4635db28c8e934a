//! `Session` (RFC 2326 section 12.37): a secret of 128 random bits that only its player knows.

use std::fmt;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Letters that hold 128 bits.
const LENGTH: usize = 22;

/// Names an RTSP session. A secret: it is never shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; LENGTH]);

impl SessionId {
    /// A name of 128 random bits.
    pub fn from_random(mut bits: u128) -> Self {
        let mut letters = [0; LENGTH];
        for letter in &mut letters {
            *letter = ALPHABET[(bits % 62) as usize];
            bits /= 62;
        }
        Self(letters)
    }

    /// Reads the header as players send it back, with or without parameters.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.split(';').next().unwrap_or_default().trim();
        let letters: [u8; LENGTH] = name.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphanumeric).then_some(Self(letters))
    }

    /// The letters.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The header, with the time after which a silent session may end; no blank in it.
    pub fn header(&self, timeout_seconds: u64) -> String {
        format!("{};timeout={timeout_seconds}", self.expose())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let id = SessionId::from_random(bits);
            assert_eq!(SessionId::parse(&id.header(60)), Some(id));
            assert_eq!(SessionId::parse(id.expose()), Some(id));
            assert_eq!(format!("{id:?}"), "SessionId(…)");
        }
        assert_ne!(SessionId::from_random(u128::MAX), SessionId::from_random(u128::MAX - 1));
        for wrong in ["", "AAAA", ";timeout=60", "AAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA-"] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
