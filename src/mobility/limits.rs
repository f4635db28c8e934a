//! Flood limits (`docs/signalling.md` section 9): how often something is done for one source, in a table of fixed size.
//!
//! A source is an IPv4 address or an IPv6 /64. Two sources that fall on the same place share it for a second; that a flood
//! from many addresses can cost others an answer is the price of a table that does not grow.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::now::Mono;

const PLACES: usize = 4096;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// When the current second began.
    since: Mono,
    used: u32,
}

/// So many a second for each key.
#[derive(Debug)]
pub struct RateTable {
    places: Box<[Place]>,
    hasher: RandomState,
    most: u32,
}

impl RateTable {
    /// At most `most` a second for each key.
    pub fn new(most: u32) -> Self {
        Self { places: vec![Place::default(); PLACES].into_boxed_slice(), hasher: RandomState::new(), most }
    }

    /// Whether one more is within the limit, which it then counts towards.
    pub fn admits(&mut self, key: u64, now: Mono) -> bool {
        let hash = self.hasher.hash_one(key);
        let Some(place) = usize::try_from(hash % PLACES as u64).ok().and_then(|at| self.places.get_mut(at)) else { return false };
        if now.since(place.since) >= SECOND || place.used == 0 {
            *place = Place { since: now, used: 0 };
        }
        if place.used >= self.most {
            return false;
        }
        place.used += 1;
        true
    }
}

/// The key of a source: its IPv4 address, or its IPv6 /64.
pub fn source_key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX),
    }
}

/// The limits of the signalling.
#[derive(Debug)]
pub struct Limits {
    /// Care-of and home tests, by source.
    pub tests: RateTable,
    /// Refusals that a stranger can provoke (135, 137, 146), by SPI.
    pub refusals: RateTable,
    /// Binding Errors, by source.
    pub errors: RateTable,
    /// Binding Errors in all.
    pub all_errors: RateTable,
    /// Derivations of keys, by source.
    pub derivations: RateTable,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tests: RateTable::new(10),
            refusals: RateTable::new(3),
            errors: RateTable::new(1),
            all_errors: RateTable::new(10),
            derivations: RateTable::new(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_each_second_whatever_others_do() {
        let mut table = RateTable::new(3);
        let at = |millis| Mono::default() + Duration::from_millis(millis);
        let mine = source_key("2001:db8:1::1".parse().expect("an address"));
        assert_eq!(mine, source_key("2001:db8:1:0:ffff::2".parse().expect("an address")), "a /64 is one source");
        for millis in [0, 10, 999] {
            assert!(table.admits(mine, at(millis)));
        }
        assert!(!table.admits(mine, at(999)));
        assert!(table.admits(mine, at(1_000)));
        let admitted = (0..1_000).filter(|key| table.admits(*key, at(1_500))).count();
        assert!(admitted > 990, "{admitted} of a thousand others");
    }
}
