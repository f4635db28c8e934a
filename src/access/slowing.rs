//! Slows those who guess: after a few wrong credentials their network waits, longer with each further one.
//!
//! A network is an IPv4 address or an IPv6 /64. Others are not concerned. The table has a fixed size: who is to be forgotten
//! early has to be outdone in failures by others in the same part of it, and the parts are not foreseeable from outside.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::now::Mono;

/// So many are taken for mistakes.
const FREE: u32 = 3;
/// What the first one after those costs; each further one costs double …
const FIRST: Duration = Duration::from_millis(250);
/// … up to this.
const LONGEST: Duration = Duration::from_secs(30);
/// One failure is forgiven each so often.
const FORGIVEN: Duration = Duration::from_secs(60);
/// So many count at most: what they cost is the longest by far.
const MOST: u32 = 20;
/// Networks that are known at once …
const NETWORKS: usize = 4096;
/// … of which so many share a part of the table.
const SHARED: usize = 4;

/// What is known of a network.
#[derive(Clone, Copy)]
struct Known {
    network: IpAddr,
    failures: u32,
    /// When the last one was.
    last: Mono,
}

impl Known {
    /// Failures that count now.
    fn counted(&self, now: Mono) -> u32 {
        let forgiven = now.since(self.last).as_secs() / FORGIVEN.as_secs();
        self.failures.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// How long the network waits from its last failure on.
    fn delay(&self) -> Duration {
        match self.failures.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST.saturating_mul(1 << doublings.min(MOST)).min(LONGEST),
        }
    }
}

/// Who has guessed of late.
pub struct Slowing {
    hasher: RandomState,
    known: Box<[Option<Known>]>,
}

impl Default for Slowing {
    fn default() -> Self {
        Self { hasher: RandomState::new(), known: vec![None; NETWORKS].into_boxed_slice() }
    }
}

impl Slowing {
    /// Whether credentials from there are looked at now.
    pub fn may_try(&self, address: IpAddr, now: Mono) -> bool {
        let network = network(address);
        let start = self.start(network);
        let found = self.known[start..start + SHARED].iter().flatten().find(|known| known.network == network);
        found.is_none_or(|known| now >= known.last + known.delay())
    }

    /// Notes that they were wrong.
    pub fn note(&mut self, address: IpAddr, now: Mono) {
        let network = network(address);
        let start = self.start(network);
        let shared = &mut self.known[start..start + SHARED];
        let own = shared.iter().position(|known| known.is_some_and(|known| known.network == network));
        let least = || (0..SHARED).min_by_key(|index| shared[*index].map_or(0, |known| known.counted(now))).unwrap_or_default();
        let position = own.unwrap_or_else(least);
        let before = shared[position].filter(|known| known.network == network).map_or(0, |known| known.counted(now));
        shared[position] = Some(Known { network, failures: (before + 1).min(MOST), last: now });
    }

    fn start(&self, network: IpAddr) -> usize {
        (self.hasher.hash_one(network) % (NETWORKS / SHARED) as u64) as usize * SHARED
    }
}

/// The network that an address, canonical, is counted with.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(millis: u64) -> Mono {
        Mono::default() + Duration::from_millis(millis)
    }

    #[test]
    fn who_guesses_waits_longer_each_time_and_others_do_not_wait() {
        let (mut slowing, guesser) = (Slowing::default(), address("192.0.2.1"));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..14 {
            slowing.note(guesser, now);
            let mut wait = 0;
            while !slowing.may_try(guesser, now + Duration::from_millis(wait)) {
                wait += 125;
            }
            waits.push(wait);
            now += Duration::from_millis(wait);
        }
        assert_eq!(waits, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
        for other in ["192.0.2.2", "2001:db8::1"] {
            assert!(slowing.may_try(address(other), now));
        }
    }

    #[test]
    fn a_64_is_one_network() {
        let mut slowing = Slowing::default();
        (1..=4).for_each(|last| slowing.note(address(&format!("2001:db8::{last}")), at(0)));
        assert!(!slowing.may_try(address("2001:db8::9:9"), at(249)));
        assert!(slowing.may_try(address("2001:db8::9:9"), at(250)));
        assert!(slowing.may_try(address("2001:db8:0:1::1"), at(0)));
    }

    #[test]
    fn mistakes_are_forgiven() {
        let (mut slowing, somebody) = (Slowing::default(), address("192.0.2.1"));
        for day in 0..100 {
            slowing.note(somebody, at(day * 86_400_000));
            assert!(slowing.may_try(somebody, at(day * 86_400_000)));
        }
    }

    #[test]
    fn however_many_guess_the_table_stays_as_it_is_and_the_worst_stays_known() {
        let (mut slowing, worst) = (Slowing::default(), address("203.0.113.1"));
        (0..MOST).for_each(|_| slowing.note(worst, at(0)));
        (0..100_000_u32).for_each(|number| slowing.note(IpAddr::V4(number.into()), at(0)));
        assert_eq!(slowing.known.len(), NETWORKS);
        assert!(!slowing.may_try(worst, at(0)));
    }

    proptest! {
        /// However failures lie apart, nobody waits longer than the longest.
        #[test]
        fn waits_are_bounded(pauses in proptest::collection::vec(0_u64..120_000, 1..60)) {
            let (mut slowing, guesser) = (Slowing::default(), address("192.0.2.1"));
            let mut now = at(0);
            for pause in pauses {
                now += Duration::from_millis(pause);
                slowing.note(guesser, now);
                prop_assert!(slowing.may_try(guesser, now + LONGEST));
            }
        }
    }
}
