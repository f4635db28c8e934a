//! The care-of test: a token that only who receives at an address can know (RFC 6275 section 5.2;
//! `docs/signalling.md` section 9). Nothing is kept of who asked; nonces change every 30 s, and the last eight are good.

use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::now::Mono;

/// How long one nonce is the current one.
pub const NONCE_PERIOD: Duration = Duration::from_secs(30);
/// How many nonces are good, the current one among them.
pub const NONCES_KEPT: usize = 8;

/// Which address a token proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tested {
    Home = 0,
    CareOf = 1,
}

/// A token for an address, with the index of the nonce that it was made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeygenToken {
    /// Names the nonce.
    pub index: u16,
    /// First(64, HMAC-SHA-256(Kcn, address | nonce | which)).
    pub token: [u8; 8],
}

/// Makes tokens, and makes them again to check them.
pub struct ReturnRoutability {
    node_key: [u8; 20],
    /// Newest last.
    nonces: Vec<(u16, [u8; 16])>,
    next: Option<Mono>,
}

impl ReturnRoutability {
    /// Starts with one nonce. `random` fills octets unpredictably.
    pub fn new(mut random: impl FnMut(&mut [u8])) -> Self {
        let (mut node_key, mut nonce, mut index) = ([0; 20], [0; 16], [0; 2]);
        random(&mut node_key);
        random(&mut nonce);
        random(&mut index);
        Self { node_key, nonces: vec![(u16::from_be_bytes(index), nonce)], next: None }
    }

    /// With these secrets; the newest nonce is the last. `None` without a nonce.
    pub fn with(node_key: [u8; 20], nonces: Vec<(u16, [u8; 16])>) -> Option<Self> {
        (!nonces.is_empty()).then_some(Self { node_key, nonces, next: None })
    }

    /// When [`ReturnRoutability::rotate`] is due; nothing else moves it.
    pub const fn poll_timeout(&self) -> Option<Mono> {
        self.next
    }

    /// Takes a new nonce if it is time, and forgets the oldest ones.
    pub fn rotate(&mut self, mut random: impl FnMut(&mut [u8]), now: Mono) {
        let due = *self.next.get_or_insert(now + NONCE_PERIOD);
        if now < due {
            return;
        }
        // Who was late takes as many steps as time has, at most until nothing old is left.
        let missed = now.since(due).as_nanos() / NONCE_PERIOD.as_nanos();
        for _ in 0..=missed.min(NONCES_KEPT as u128) {
            let mut nonce = [0; 16];
            random(&mut nonce);
            let index = self.current().wrapping_add(1);
            self.nonces.push((index, nonce));
        }
        let surplus = self.nonces.len().saturating_sub(NONCES_KEPT);
        for (_, mut nonce) in self.nonces.drain(..surplus) {
            nonce.zeroize();
        }
        self.next = Some(now + NONCE_PERIOD);
    }

    fn current(&self) -> u16 {
        self.nonces.last().map_or(0, |(index, _)| *index)
    }

    /// A token for a care-of address, made with the current nonce.
    pub fn care_of_token(&self, address: IpAddr) -> KeygenToken {
        self.token(address, Tested::CareOf, self.current()).unwrap_or(KeygenToken { index: 0, token: [0; 8] })
    }

    /// A token for a home address, made with the current nonce.
    pub fn home_token(&self, address: IpAddr) -> KeygenToken {
        self.token(address, Tested::Home, self.current()).unwrap_or(KeygenToken { index: 0, token: [0; 8] })
    }

    /// The token of a care-of address that was made with an earlier nonce; `None` where that nonce is no more.
    pub fn care_of_token_at(&self, address: IpAddr, index: u16) -> Option<[u8; 8]> {
        self.token(address, Tested::CareOf, index).map(|made| made.token)
    }

    /// The token of a home address that was made with an earlier nonce; `None` where that nonce is no more.
    pub fn home_token_at(&self, address: IpAddr, index: u16) -> Option<[u8; 8]> {
        self.token(address, Tested::Home, index).map(|made| made.token)
    }

    /// Whether a care-of address is proven by that token, in constant time.
    pub fn proves(&self, address: IpAddr, shown: &KeygenToken) -> bool {
        self.care_of_token_at(address, shown.index).is_some_and(|token| token.ct_eq(&shown.token).into())
    }

    fn token(&self, address: IpAddr, tested: Tested, index: u16) -> Option<KeygenToken> {
        let (_, nonce) = self.nonces.iter().rev().find(|(known, _)| *known == index)?;
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.node_key).expect("HMAC takes a key of any length");
        mac.update(&address.octets());
        mac.update(nonce);
        mac.update(&[tested as u8]);
        let mut token = [0; 8];
        token.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        Some(KeygenToken { index, token })
    }
}

impl Drop for ReturnRoutability {
    fn drop(&mut self) {
        self.node_key.zeroize();
        for (_, nonce) in &mut self.nonces {
            nonce.zeroize();
        }
    }
}

impl std::fmt::Debug for ReturnRoutability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReturnRoutability").field("current", &self.current()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_and_for_eight_periods() {
        let mut fill = 0_u8;
        let mut random = |octets: &mut [u8]| {
            fill = fill.wrapping_add(1);
            octets.fill(fill);
        };
        let mut tests = ReturnRoutability::new(&mut random);
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().expect("one"), "192.0.2.2".parse().expect("one"));
        let mut now = Mono::default();
        tests.rotate(&mut random, now);
        let shown = tests.care_of_token(here);
        assert!(tests.proves(here, &shown) && !tests.proves(there, &shown));
        assert_ne!(tests.home_token(here).token, shown.token);
        for _ in 0..7 {
            now += NONCE_PERIOD;
            tests.rotate(&mut random, now);
            assert!(tests.proves(here, &shown));
        }
        assert_eq!(tests.care_of_token(here).index, shown.index.wrapping_add(7));
        now += NONCE_PERIOD;
        tests.rotate(&mut random, now);
        assert!(!tests.proves(here, &shown) && tests.proves(here, &tests.care_of_token(here)));
        let shown = tests.care_of_token(here);
        now += NONCE_PERIOD * 100;
        tests.rotate(&mut random, now);
        assert!(!tests.proves(here, &shown), "also after a long sleep");
        assert_eq!(tests.nonces.len(), NONCES_KEPT);
    }
}
