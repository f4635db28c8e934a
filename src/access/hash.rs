//! What a password is kept as: H(user:realm:password), the part of Digest that stays the same (RFC 7616 section 3.4.2, where it
//! is H(A1)). Who has it can answer challenges of this server as the user; it is not the password, which may be good elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Where credentials are good.
pub const REALM: &str = "flowsteer";

/// How Digest hashes (RFC 7616 section 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hashing {
    /// What every player knows; a challenge does not name it.
    #[default]
    #[serde(rename = "md5")]
    Md5,
    /// What few players know.
    #[serde(rename = "sha-256")]
    Sha256,
}

impl Hashing {
    /// As it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha-256",
        }
    }

    /// Hex digits of a hash.
    const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }

    /// The hash of a text, in hex.
    fn hex(self, text: &str) -> Zeroizing<String> {
        let mut hex = Zeroizing::new(String::with_capacity(self.digits()));
        let mut push = |octets: &[u8]| {
            for octet in octets {
                for digit in [octet >> 4, octet & 15] {
                    hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
        };
        match self {
            Self::Md5 => push(&<md5::Md5 as md5::Digest>::digest(text.as_bytes())),
            Self::Sha256 => push(&<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes())),
        }
        hex
    }
}

/// Why a text is no hash of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It does not say how it was hashed.
    #[error("begins with md5: or sha-256:, as flowsteer passwd prints it")]
    Hashing,
    /// Something else than so many hex digits follows.
    #[error("has {digits} hex digits")]
    Digits {
        /// How many there should be.
        digits: usize,
    },
}

/// A password, hashed with its user's name. It is shown nowhere but where it is made.
#[derive(Clone)]
pub struct PasswordHash {
    hashing: Hashing,
    hex: Zeroizing<String>,
}

impl PasswordHash {
    /// That of a user's password.
    pub fn of(hashing: Hashing, user: &str, password: &str) -> Self {
        let text = Zeroizing::new(format!("{user}:{REALM}:{password}"));
        Self { hashing, hex: hashing.hex(&text) }
    }

    /// Reads `md5:` or `sha-256:` and hex digits.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let (name, hex) = text.trim().split_once(':').ok_or(HashError::Hashing)?;
        let hashing = [Hashing::Md5, Hashing::Sha256].into_iter().find(|hashing| hashing.as_str() == name).ok_or(HashError::Hashing)?;
        if hex.len() != hashing.digits() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(HashError::Digits { digits: hashing.digits() });
        }
        Ok(Self { hashing, hex: Zeroizing::new(hex.to_ascii_lowercase()) })
    }

    /// As [`parse`](Self::parse) reads it, for those who are to have it.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.hashing.as_str(), self.hex.as_str()))
    }

    /// How it was hashed.
    pub const fn hashing(&self) -> Hashing {
        self.hashing
    }

    /// Whether a response of Digest without `qop` proves that its maker knows it (RFC 7616 section 3.4.1; RFC 2069 section 2.1.2).
    pub fn is_proven_by(&self, response: &str, nonce: &str, method: &str, uri: &str) -> bool {
        let asked = self.hashing.hex(&format!("{method}:{uri}"));
        let expected = self.hashing.hex(&format!("{}:{nonce}:{}", self.hex.as_str(), asked.as_str()));
        expected.as_bytes().ct_eq(response.as_bytes()).into()
    }

    /// Whether it is that of a user's password.
    pub fn is_of(&self, user: &str, password: &str) -> bool {
        *self == Self::of(self.hashing, user, password)
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        self.hashing == other.hashing && bool::from(self.hex.as_bytes().ct_eq(other.hex.as_bytes()))
    }
}

impl Eq for PasswordHash {}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hashes_are_those_of_other_tools() {
        // printf anna:flowsteer:s3cret | md5sum, and sha256sum.
        let (md5, sha256) =
            ("md5:3ec8a9f0ea67c8700bd4677405076ba6", "sha-256:91f31f13db536282fe957f1a7a8fda62f14628ce1e1a306a0ead15ae84a3b7c5");
        assert_eq!(PasswordHash::of(Hashing::Md5, "anna", "s3cret").expose().as_str(), md5);
        assert_eq!(PasswordHash::of(Hashing::Sha256, "anna", "s3cret").expose().as_str(), sha256);
        for text in [md5, sha256] {
            let hash = PasswordHash::parse(text).expect("a hash");
            assert!(hash.is_of("anna", "s3cret"));
            assert!(!hash.is_of("anna", "s3cre") && !hash.is_of("bert", "s3cret"));
            assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for (text, error) in [
            ("", HashError::Hashing),
            ("s3cret", HashError::Hashing),
            ("sha1:00", HashError::Hashing),
            ("md5:00", HashError::Digits { digits: 32 }),
            ("md5:zz5f5f0b3a9f8b6c5d4e3f2a1b0c9d8e", HashError::Digits { digits: 32 }),
            ("sha-256:0b5f5f0b3a9f8b6c5d4e3f2a1b0c9d8e", HashError::Digits { digits: 64 }),
        ] {
            assert_eq!(PasswordHash::parse(text).expect_err("no hash"), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(user in "[a-z]{1,8}", password in ".{0,20}", sha in any::<bool>()) {
            let hash = PasswordHash::of(if sha { Hashing::Sha256 } else { Hashing::Md5 }, &user, &password);
            prop_assert_eq!(PasswordHash::parse(&hash.expose()).expect("a hash"), hash);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = PasswordHash::parse(&text);
        }
    }
}
