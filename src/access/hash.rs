//! What a password is kept as: H(user:realm:password), the part of Digest that stays the same (RFC 7616 section 3.4.2, where it
//! is H(A1)), or an Argon2id hash (RFC 9106). Who has the first can answer challenges of this server as the user; it is not the
//! password, which may be good elsewhere. The second answers no challenge: it needs the password itself, and time and memory.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
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
    #[error("begins with md5:, sha-256: or $argon2id$, as flowsteer passwd prints it")]
    Hashing,
    /// It is no Argon2 hash that can be checked.
    #[error("is $argon2id$v=19$m=…,t=…,p=…$salt$hash, with 16 octets of hash at least")]
    Argon2,
    /// To check a password against it takes too much.
    #[error("takes more than m={}, t={}, p={} to check", MOST_KIB, MOST_PASSES, MOST_LANES)]
    Costly,
    /// Something else than so many hex digits follows.
    #[error("has {digits} hex digits")]
    Digits {
        /// How many there should be.
        digits: usize,
    },
}

/// Memory, in KiB, that checking a password may take at most.
const MOST_KIB: u32 = 256 * 1024;
/// Passes over it at most.
const MOST_PASSES: u32 = 16;
/// Lanes of it at most.
const MOST_LANES: u32 = 16;
/// Octets of a hash at least.
const LEAST: usize = 16;
/// How it begins where it is one of Argon2.
const ARGON2: &str = "$argon2";

/// A password, hashed. It is shown nowhere but where it is made.
#[derive(Clone)]
pub struct PasswordHash(Kept);

#[derive(Clone)]
enum Kept {
    /// With the user's name and the realm: H(A1).
    Digest { hashing: Hashing, hex: Zeroizing<String> },
    /// With a salt of its own, as a PHC string.
    Argon2(Zeroizing<String>),
}

impl PasswordHash {
    /// That of a user's password.
    pub fn of(hashing: Hashing, user: &str, password: &str) -> Self {
        let text = Zeroizing::new(format!("{user}:{REALM}:{password}"));
        Self(Kept::Digest { hashing, hex: hashing.hex(&text) })
    }

    /// An Argon2id hash of a password with that salt, at the costs that OWASP's cheat sheet on password storage names: 19 MiB, two
    /// passes, one lane.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn argon2(password: &str, salt: &[u8; 16]) -> Result<Self, argon2::password_hash::Error> {
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT).hash_password_with_salt(password.as_bytes(), salt)?;
        Ok(Self(Kept::Argon2(Zeroizing::new(hash.to_string()))))
    }

    /// Reads `md5:` or `sha-256:` and hex digits, or a PHC string of Argon2id.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.trim().starts_with(ARGON2) {
            return Self::parse_argon2(text.trim());
        }
        let (name, hex) = text.trim().split_once(':').ok_or(HashError::Hashing)?;
        let hashing = [Hashing::Md5, Hashing::Sha256].into_iter().find(|hashing| hashing.as_str() == name).ok_or(HashError::Hashing)?;
        if hex.len() != hashing.digits() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(HashError::Digits { digits: hashing.digits() });
        }
        Ok(Self(Kept::Digest { hashing, hex: Zeroizing::new(hex.to_ascii_lowercase()) }))
    }

    fn parse_argon2(text: &str) -> Result<Self, HashError> {
        let hash = phc::PasswordHash::new(text).map_err(|_| HashError::Argon2)?;
        let is_whole = hash.salt.is_some() && hash.hash.as_ref().is_some_and(|hash| hash.len() >= LEAST);
        if hash.algorithm != Algorithm::Argon2id.ident() || hash.version != Some(Version::V0x13.into()) || !is_whole {
            return Err(HashError::Argon2);
        }
        let costs = Params::try_from(&hash).map_err(|_| HashError::Argon2)?;
        if costs.m_cost() > MOST_KIB || costs.t_cost() > MOST_PASSES || costs.p_cost() > MOST_LANES {
            return Err(HashError::Costly);
        }
        Ok(Self(Kept::Argon2(Zeroizing::new(text.to_owned()))))
    }

    /// As [`parse`](Self::parse) reads it, for those who are to have it.
    pub fn expose(&self) -> Zeroizing<String> {
        match &self.0 {
            Kept::Digest { hashing, hex } => Zeroizing::new(format!("{}:{}", hashing.as_str(), hex.as_str())),
            Kept::Argon2(text) => text.clone(),
        }
    }

    /// How Digest hashed it; `None` where no Digest can be answered with it.
    pub const fn hashing(&self) -> Option<Hashing> {
        match &self.0 {
            Kept::Digest { hashing, .. } => Some(*hashing),
            Kept::Argon2(_) => None,
        }
    }

    /// Whether to check a password against it takes time and memory.
    pub const fn is_slow(&self) -> bool {
        matches!(self.0, Kept::Argon2(_))
    }

    /// Whether a response of Digest without `qop` proves that its maker knows it (RFC 7616 section 3.4.1; RFC 2069 section 2.1.2).
    pub fn is_proven_by(&self, response: &str, nonce: &str, method: &str, uri: &str) -> bool {
        let Kept::Digest { hashing, hex } = &self.0 else { return false };
        let asked = hashing.hex(&format!("{method}:{uri}"));
        let expected = hashing.hex(&Zeroizing::new(format!("{}:{nonce}:{}", hex.as_str(), asked.as_str())));
        expected.as_bytes().ct_eq(response.as_bytes()).into()
    }

    /// Whether it is that of a user's password.
    pub fn is_of(&self, user: &str, password: &str) -> bool {
        match &self.0 {
            Kept::Digest { hashing, .. } => *self == Self::of(*hashing, user, password),
            // The costs are those of the hash, not these.
            Kept::Argon2(text) => Argon2::default().verify_password(password.as_bytes(), text.as_str()).is_ok(),
        }
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |a: &str, b: &str| bool::from(a.as_bytes().ct_eq(b.as_bytes()));
        match (&self.0, &other.0) {
            (Kept::Digest { hashing, hex }, Kept::Digest { hashing: of_other, hex: other }) => hashing == of_other && is_same(hex, other),
            (Kept::Argon2(text), Kept::Argon2(other)) => is_same(text, other),
            (Kept::Digest { .. }, Kept::Argon2(_)) | (Kept::Argon2(_), Kept::Digest { .. }) => false,
        }
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

    /// As argon2 of Debian makes it: echo -n s3cret | argon2 saltsaltsalt -id -t 2 -k 64 -p 1 -l 32 -e
    const OF_ANOTHER_TOOL: &str = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$M2ixdWbEJpyjhdeAgEaqhSW/F2crE0mWnIedK/8v2b0";

    #[test]
    fn an_argon2_hash_is_of_one_password_and_answers_no_digest() {
        let hash = PasswordHash::argon2("s3cret", b"sixteen octets..").expect("memory");
        let text = hash.expose();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", text.as_str());
        for hash in [PasswordHash::parse(&text).expect("a hash"), PasswordHash::parse(OF_ANOTHER_TOOL).expect("a hash")] {
            assert!(hash.is_of("anna", "s3cret") && !hash.is_of("anna", "s3cre") && hash.is_slow() && hash.hashing().is_none());
            assert!(!hash.is_proven_by("", "n", "DESCRIBE", "/"));
            assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
        }
        assert_eq!(PasswordHash::parse(&text), Ok(hash.clone()));
        assert_ne!(PasswordHash::argon2("s3cret", b"other 16 octets.").expect("memory"), hash);
    }

    #[test]
    fn argon2_hashes_that_cannot_be_checked_are_refused() {
        let whole = |begin: &str| format!("{begin}$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        for (text, error) in [
            (whole("$argon2id$v=19$m=262145,t=2,p=1"), HashError::Costly),
            (whole("$argon2id$v=19$m=4294967295,t=2,p=1"), HashError::Costly),
            (whole("$argon2id$v=19$m=64,t=17,p=1"), HashError::Costly),
            (whole("$argon2id$v=19$m=1024,t=2,p=17"), HashError::Costly),
            (whole("$argon2i$v=19$m=64,t=2,p=1"), HashError::Argon2),
            (whole("$argon2d$v=19$m=64,t=2,p=1"), HashError::Argon2),
            (whole("$argon2id$v=16$m=64,t=2,p=1"), HashError::Argon2),
            (whole("$argon2id$m=64,t=2,p=1"), HashError::Argon2),
            (whole("$argon2id$v=19$m=1,t=2,p=1"), HashError::Argon2),
            (whole("$argon2id$v=19$m=64,t=2,p=1,x=1"), HashError::Argon2),
            ("$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0".to_owned(), HashError::Argon2),
            ("$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAA".to_owned(), HashError::Argon2),
            ("$argon2".to_owned(), HashError::Argon2),
        ] {
            assert_eq!(PasswordHash::parse(&text).expect_err("no hash"), error, "{text}");
        }
        assert!(PasswordHash::parse(&whole("$argon2id$v=19$m=64,t=2,p=1")).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(user in "[a-z]{1,8}", password in ".{0,20}", sha in any::<bool>()) {
            let hash = PasswordHash::of(if sha { Hashing::Sha256 } else { Hashing::Md5 }, &user, &password);
            prop_assert_eq!(PasswordHash::parse(&hash.expose()).expect("a hash"), hash);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(\\$argon2id\\$v=19\\$m=)?.{0,80}") {
            let _ = PasswordHash::parse(&text);
        }
    }
}
