//! `[mobility]`: what the mobility signalling goes by, and the keys that were provisioned for it.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// `[mobility]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MobilityConfig {
    /// Where Binding Updates are taken over UDP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Also take them as IPv6 next header 135, which needs CAP_NET_RAW.
    pub raw: bool,
    /// Take part for home addresses of other servers.
    pub remote_homes: bool,
    /// When a care-of has to be proven by a test of its own.
    pub care_of_test: CareOfTest,
    /// Care-ofs that are never taken.
    pub deny: Vec<IpNet>,
    /// The longest lifetime of a binding, in seconds.
    pub max_lifetime_s: u64,
    /// Home addresses that one identity may have.
    pub max_homes_per_identity: usize,
    /// Bindings that one home address may have.
    pub max_bids: usize,
    /// Security associations of one home address.
    pub max_sas: usize,
    /// Seconds by which a message's clock may differ.
    pub close_enough_s: u64,
    /// Seconds that a home address reserved by a Binding Update, and its key, live.
    pub reserve_s: u64,
    /// A home address has one flow at a time.
    pub one_flow_per_home: bool,
    /// The keys that devices sign with. They are written to nowhere.
    #[serde(skip)]
    pub keys: Vec<ProvisionedKey>,
}

impl Default for MobilityConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5436)),
            raw: false,
            remote_homes: false,
            care_of_test: CareOfTest::Auto,
            deny: Vec::new(),
            max_lifetime_s: 600,
            max_homes_per_identity: 16,
            max_bids: 8,
            max_sas: 8,
            close_enough_s: 7,
            reserve_s: 7200,
            one_flow_per_home: true,
            keys: Vec::new(),
        }
    }
}

/// When a care-of address is tested before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CareOfTest {
    /// Where the message itself does not prove it.
    Auto,
    /// Each time.
    Always,
}

/// `[[mobility.keys]]`: a security association that was agreed on beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionedKey {
    /// The security parameter index, 0x100 to 0x7fffffff.
    pub spi: u32,
    /// Whose it is (network access identifier, RFC 4282).
    pub nai: String,
    /// The secret.
    pub key: SecretKey,
}

impl ProvisionedKey {
    /// The least index that is not reserved (RFC 4285 section 5).
    pub const FIRST_SPI: u32 = 0x100;
    /// The greatest one: the top bit marks derived keys.
    pub const LAST_SPI: u32 = 0x7fff_ffff;
}

/// 32 secret octets: erased when dropped, never shown.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Octets of a key.
    pub const LEN: usize = 32;

    /// A key of these octets.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// Reads hex digits, with white space around them.
    ///
    /// # Errors
    /// They are not 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().as_bytes();
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(KeyError::NotHex);
        }
        if digits.len() != 2 * Self::LEN {
            return Err(KeyError::Length { digits: digits.len() });
        }
        let mut octets = Zeroizing::new([0; Self::LEN]);
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
            *octet = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Self(octets))
    }

    /// The octets, for those who are to have them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The octets in hex, for those who are to have them.
    pub fn expose_hex(&self) -> Zeroizing<String> {
        let mut hex = Zeroizing::new(String::with_capacity(2 * Self::LEN));
        for octet in self.0.iter() {
            for digit in [octet >> 4, octet & 15] {
                hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        hex
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Something else than hex digits is in it.
    #[error("has something else than hex digits in it")]
    NotHex,
    /// It is too short or too long.
    #[error("has {digits} hex digits, a key has 64 (32 octets)")]
    Length {
        /// How many there are.
        digits: usize,
    },
}
