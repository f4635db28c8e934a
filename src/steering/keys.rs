//! Keys of home addresses (`docs/signalling.md` section 5): the home key K1 of who reserved an address, and session keys
//! K2 derived from it for who is to take a flow over.
//!
//! Derivation is HKDF-SHA-256 (RFC 5869). Keys are erased when dropped, compared in constant time, and never shown.

use std::fmt;
use std::net::Ipv6Addr;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::quantities::FlowLabel;
use crate::steering::care_of::HomeAddress;

const SALT: &[u8] = b"flow-mobility/1";

/// Names one key (RFC 4285 section 5). The top bit marks a derived one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(pub u32);

impl Spi {
    /// The least index of a key that is not derived; those below are reserved (RFC 4285).
    pub const FIRST: u32 = 0x100;
    /// The greatest one.
    pub const LAST: u32 = 0x7fff_ffff;
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 32 secret octets.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of these octets.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets, for those who are to have them.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The octets in hex, for those who are to have them.
    pub fn expose_hex(&self) -> String {
        self.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// First(128, HMAC-SHA-256(key, data)).
    pub fn authenticate(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part);
        }
        let mut first = [0; 16];
        first.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        first
    }

    /// Whether `tag` is what [`Key::authenticate`] gives, in constant time.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; 16]) -> bool {
        self.authenticate(parts).ct_eq(tag).into()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn expand<const N: usize>(parent: &Key, info: &[&[u8]]) -> [u8; N] {
    let mut output = [0; N];
    Hkdf::<Sha256>::new(Some(SALT), &parent.0).expand_multi_info(info, &mut output).expect("so few octets are within HKDF's limit");
    output
}

/// K1 of a home address that was reserved with a provisioned key.
pub fn home_key(provisioned: &Key, home: HomeAddress, spi: Spi, nai: &str) -> Key {
    let length = u16::try_from(nai.len()).unwrap_or(u16::MAX).to_be_bytes();
    Key(expand(provisioned, &[b"home key\0", &home.0.octets(), &spi.0.to_be_bytes(), &length, nai.as_bytes()]))
}

/// What a session key is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyParameters {
    /// The home address whose flow may be moved.
    pub home: HomeAddress,
    /// That flow's label.
    pub label: FlowLabel,
    /// When it ends, in seconds since 1970.
    pub validity_end: u64,
    /// Where the flow comes from.
    pub media_source: Ipv6Addr,
    /// Random: two transfers never share a key.
    pub transfer_id: u32,
    /// Whom it is bound to, if to somebody (NAI).
    pub identity: Option<String>,
}

/// K2 and its index, derived from the key of who hands a flow over.
pub fn session_key(parent: &Key, parameters: &KeyParameters) -> (Spi, Key) {
    let identity = parameters.identity.as_deref().unwrap_or_default().as_bytes();
    let length = u16::try_from(identity.len()).unwrap_or(u16::MAX).to_be_bytes();
    let info: [&[u8]; 8] = [
        b"session key\0",
        &parameters.home.0.octets(),
        &parameters.label.bits().to_be_bytes(),
        &parameters.validity_end.to_be_bytes(),
        &parameters.media_source.octets(),
        &parameters.transfer_id.to_be_bytes(),
        &length,
        identity,
    ];
    let mut output: [u8; 36] = expand(parent, &info);
    let mut key = Key([0; 32]);
    key.0.copy_from_slice(&output[..32]);
    let spi = u32::from_be_bytes([output[32], output[33], output[34], output[35]]) | 0x8000_0000;
    output.zeroize();
    (Spi(spi), key)
}

/// The sequence number last accepted under a key (RFC 6275 section 9.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplayWindow {
    last: Option<u16>,
}

impl ReplayWindow {
    /// A window that has accepted `last`.
    pub const fn starting_at(last: u16) -> Self {
        Self { last: Some(last) }
    }

    /// Accepts a number that is later than the last one, modulo 2^16; the first one is any.
    ///
    /// # Errors
    /// The last accepted number; the window stays as it is.
    pub const fn accept(&mut self, number: u16) -> Result<(), u16> {
        if let Some(last) = self.last {
            let ahead = number.wrapping_sub(last);
            if ahead == 0 || ahead >= 0x8000 {
                return Err(last);
            }
        }
        self.last = Some(number);
        Ok(())
    }

    /// The number last accepted.
    pub const fn last(&self) -> Option<u16> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> [u8; 32] {
        let mut octets = [0; 32];
        for (octet, digits) in octets.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("hex");
        }
        octets
    }

    #[test]
    fn the_golden_keys_are_derived() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/mobility/keys.json")).expect("the vectors are JSON");
        let text = |key: &str, field: &str| golden[key][field].as_str().unwrap_or_else(|| panic!("{key}.{field}")).to_owned();
        let key = |name: &str| Key::new(octets(&text(name, "key")));
        let spi = |name: &str| Spi(u32::from_str_radix(text(name, "spi").trim_start_matches("0x"), 16).expect("hex"));
        let home = HomeAddress(text("session", "home_address").parse().expect("an address"));

        assert_eq!(home_key(&key("provisioned"), home, spi("home"), &text("provisioned", "nai")), key("home"));

        let mut parameters = KeyParameters {
            home,
            label: text("session", "flow_label").parse().expect("a label"),
            validity_end: golden["session"]["validity_end"].as_u64().expect("seconds"),
            media_source: text("session", "media_source").parse().expect("an address"),
            transfer_id: 0x0bad_cafe,
            identity: None,
        };
        assert_eq!(session_key(&key("home"), &parameters), (spi("session"), key("session")));
        parameters.transfer_id = 0x0bad_caff;
        parameters.identity = Some(text("session_bound", "identity"));
        assert_eq!(session_key(&key("home"), &parameters), (spi("session_bound"), key("session_bound")));
    }

    #[test]
    fn keys_do_not_show() {
        assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(…)");
    }

    #[test]
    fn sequence_numbers_compare_modulo_two_to_the_sixteenth() {
        let mut window = ReplayWindow::default();
        for (number, expected) in [
            (65_000, Ok(())),
            (65_000, Err(65_000)),
            (64_999, Err(65_000)),
            (3, Ok(())),
            (32_771, Err(3)),
            (32_770, Ok(())),
            (2, Err(32_770)),
            (1, Ok(())),
        ] {
            assert_eq!(window.accept(number), expected, "{number}");
        }
    }
}
