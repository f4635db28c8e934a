//! The pool of home addresses: random interface identifiers in one prefix, each rested before it is given out again.

use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::now::Mono;
use crate::steering::care_of::HomeAddress;

/// How long an address that was released is not given out again.
pub const QUARANTINE: Duration = Duration::from_secs(30);

/// So many addresses rest before those that have rested are looked for.
const SWEEP: usize = 256;

/// Home addresses that may be given out.
#[derive(Debug)]
pub struct Pool {
    prefix: Ipv6Net,
    /// The only ones that are given out, in this order; `None` any.
    listed: Option<Vec<HomeAddress>>,
    /// Kept for somebody by name.
    set_aside: HashSet<HomeAddress>,
    /// Released, and until when they rest.
    resting: HashMap<HomeAddress, Mono>,
    /// With how many of them those that have rested are forgotten.
    sweep_at: usize,
}

impl Pool {
    /// All addresses of a prefix but the first, which is the routers' anycast address (RFC 4291 section 2.6.1).
    pub fn new(prefix: Ipv6Net) -> Self {
        Self { prefix: prefix.trunc(), listed: None, set_aside: HashSet::new(), resting: HashMap::new(), sweep_at: SWEEP }
    }

    /// Gives out these addresses only, the first that is free first.
    pub fn only(&mut self, addresses: Vec<HomeAddress>) {
        self.listed = Some(addresses);
    }

    /// The prefix.
    pub const fn prefix(&self) -> Ipv6Net {
        self.prefix
    }

    /// Keeps an address from being drawn.
    pub fn set_aside(&mut self, home: HomeAddress) {
        self.set_aside.insert(home);
    }

    /// Whether an address belongs to the pool: it is inside, and not the routers' anycast address.
    pub fn holds(&self, home: HomeAddress) -> bool {
        self.prefix.contains(&home.0) && home.0 != self.prefix.network()
    }

    /// Whether an address may be given out to who asks for just that one. One that is set aside does not rest.
    pub fn may_give(&self, home: HomeAddress, now: Mono) -> bool {
        self.holds(home)
            && self.listed.as_ref().is_none_or(|listed| listed.contains(&home))
            && (self.set_aside.contains(&home) || self.resting.get(&home).is_none_or(|until| *until <= now))
    }

    /// Draws an address that is neither resting, nor set aside, nor `taken`; `None` where none is found.
    pub fn draw(&mut self, mut random: impl FnMut() -> u128, taken: impl Fn(HomeAddress) -> bool, now: Mono) -> Option<HomeAddress> {
        self.resting.retain(|_, until| *until > now);
        let usable = |home: HomeAddress| !taken(home) && !self.resting.contains_key(&home) && !self.set_aside.contains(&home);
        if let Some(listed) = &self.listed {
            return listed.iter().copied().find(|home| usable(*home));
        }
        let host_bits = 128 - u32::from(self.prefix.prefix_len());
        let mask = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
        let base = self.prefix.network().to_bits();
        let free = |host: u128| {
            let home = HomeAddress(Ipv6Addr::from_bits(base | host));
            (host != 0 && usable(home)).then_some(home)
        };
        let drawn = (0..64).find_map(|_| free(random() & mask));
        // A small pool that is nearly full is searched.
        drawn.or_else(|| if host_bits <= 16 { (1..=mask).find_map(free) } else { None })
    }

    /// Lets a released address rest, if it is one of the pool.
    pub fn rest(&mut self, home: HomeAddress, now: Mono) {
        if !self.holds(home) {
            return;
        }
        if self.resting.len() >= self.sweep_at {
            self.resting.retain(|_, until| *until > now);
            self.sweep_at = SWEEP.max(2 * self.resting.len());
        }
        self.resting.insert(home, now + QUARANTINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_set_aside_is_never_drawn_and_does_not_rest() {
        let mut pool = Pool::new("2001:db8::/126".parse().expect("a prefix"));
        let kept = HomeAddress("2001:db8::2".parse().expect("an address"));
        pool.set_aside(kept);
        assert_ne!(pool.draw(|| 2, |_| false, Mono::default()), Some(kept));
        pool.rest(kept, Mono::default());
        assert!(pool.may_give(kept, Mono::default()));
        for outside in ["2001:db8::", "2001:db8::4", "2001:db9::1"] {
            assert!(!pool.may_give(HomeAddress(outside.parse().expect("an address")), Mono::default()), "{outside}");
        }
    }

    #[test]
    fn an_address_rests_after_its_release_and_the_first_is_never_drawn() {
        let mut pool = Pool::new("2001:db8::/126".parse().expect("a prefix"));
        let mut drawn = Vec::new();
        while let Some(home) = pool.draw(|| 0, |home| drawn.contains(&home), Mono::default()) {
            drawn.push(home);
        }
        assert_eq!(drawn.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2001:db8::1", "2001:db8::2", "2001:db8::3"]);
        let released = drawn.remove(1);
        pool.rest(released, Mono::default());
        let at = |seconds| Mono::default() + Duration::from_secs(seconds);
        assert_eq!(pool.draw(|| 2, |home| drawn.contains(&home), at(29)), None);
        assert_eq!(pool.draw(|| 2, |home| drawn.contains(&home), at(30)), Some(released));
    }

    #[test]
    fn only_addresses_of_the_pool_rest_and_none_is_remembered_for_longer() {
        let mut pool = Pool::new("2001:db8::/64".parse().expect("a prefix"));
        let home = |host: u128| HomeAddress(Ipv6Addr::from_bits(u128::from(0x2001_0db8_u32) << 96 | host));
        let at = |seconds| Mono::default() + Duration::from_secs(seconds);
        pool.rest(HomeAddress("2001:db8:1::1".parse().expect("an address")), at(0));
        assert!(pool.resting.is_empty());
        for host in 1..=100_000 {
            pool.rest(home(host), at(host as u64));
        }
        assert!(pool.resting.len() <= SWEEP, "{}", pool.resting.len());
        assert!(!pool.may_give(home(100_000), at(100_029)) && pool.may_give(home(100_000), at(100_030)));
    }
}
