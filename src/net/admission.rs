//! How much of a listener one network may take: places for connections, and tries with credentials that are refused.
//!
//! A network is an IPv4 address or an IPv6 /64: who has one address of a /64 has all of them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::now::{Allowance, Mono, Rate};

/// The network that an address, canonical, is counted with.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPlace {
    /// All are taken.
    All,
    /// Those of this network are.
    OfNetwork,
}

impl NoPlace {
    /// The limit that stands against it, as the last part of its key.
    pub const fn limit(self) -> &'static str {
        match self {
            Self::All => "connections",
            Self::OfNetwork => "connections_per_address",
        }
    }
}

/// How many connections there are, or presentations.
#[derive(Debug, Default)]
pub struct Places {
    taken: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// One connection's place among them.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    network: Option<IpAddr>,
}

impl Places {
    /// A place for one more.
    ///
    /// # Errors
    /// Where `most` are taken, or `most_of_network` of the address's network.
    pub fn enter(self: &Arc<Self>, address: IpAddr, most: usize, most_of_network: usize) -> Result<Place, NoPlace> {
        self.enter_for(Some(address), most, most_of_network)
    }

    /// A place for one more, of nobody's network where no address is given.
    ///
    /// # Errors
    /// As those of [`Places::enter`].
    pub fn enter_for(self: &Arc<Self>, address: Option<IpAddr>, most: usize, most_of_network: usize) -> Result<Place, NoPlace> {
        let network = address.map(network);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_network) = &mut *taken;
        if *all >= most {
            return Err(NoPlace::All);
        }
        if let Some(network) = network {
            if by_network.get(&network).is_some_and(|count| *count >= most_of_network) {
                return Err(NoPlace::OfNetwork);
            }
            *by_network.entry(network).or_default() += 1;
        }
        *all += 1;
        Ok(Place { places: Arc::clone(self), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_network) = &mut *taken;
        *all = all.saturating_sub(1);
        if let Some(network) = self.network
            && let Some(count) = by_network.get_mut(&network)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_network.remove(&network);
            }
        }
    }
}

/// Refusals that one network may get.
const REFUSALS: Rate = Rate { per_second: 20, burst: 20 };
/// Networks that are known at once.
const NETWORKS: usize = 4096;
/// … of which so many share a part of the table; another one there takes the place of who was refused least of late.
const SHARED: usize = 4;

/// Networks and what is left to them.
type Known = Box<[(Option<IpAddr>, Allowance)]>;

/// How often networks were refused what they showed, in a table of fixed size: checking costs more than making it up.
pub struct Refusals {
    hasher: RandomState,
    known: Mutex<Known>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { hasher: RandomState::new(), known: Mutex::new(vec![(None, Allowance::default()); NETWORKS].into_boxed_slice()) }
    }
}

impl Refusals {
    /// Whether what somebody shows is worth checking: not where too much from there was refused just now.
    pub fn may_try(&self, address: IpAddr, now: Mono) -> bool {
        let network = network(address);
        let start = self.start(network);
        let known = self.lock();
        let found = known[start..start + SHARED].iter().find(|(known, _)| *known == Some(network));
        found.is_none_or(|(_, allowance)| allowance.is_left(REFUSALS, now))
    }

    /// Notes that it was refused.
    pub fn note(&self, address: IpAddr, now: Mono) {
        let network = network(address);
        let start = self.start(network);
        let mut known = self.lock();
        let shared = &mut known[start..start + SHARED];
        let position = shared.iter().position(|(known, _)| *known == Some(network)).unwrap_or_else(|| {
            let least = (0..SHARED).min_by_key(|index| shared[*index].1).unwrap_or_default();
            shared[least] = (Some(network), Allowance::default());
            least
        });
        // Tries that were under way at once may be more than are left.
        shared[position].1.take(REFUSALS, now);
    }

    fn start(&self, network: IpAddr) -> usize {
        (self.hasher.hash_one(network) % (NETWORKS / SHARED) as u64) as usize * SHARED
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_counted_by_address_and_by_network() {
        let places = Arc::new(Places::default());
        let enter = |text: &str| places.enter(address(text), 4, 2);
        let (first, second) = (enter("192.0.2.1"), enter("192.0.2.1"));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(enter("192.0.2.1").expect_err("two are there"), NoPlace::OfNetwork);
        let (third, fourth) = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(third.is_ok() && fourth.is_ok());
        drop(first);
        assert_eq!(enter("2001:db8::ffff:1").expect_err("the same /64"), NoPlace::OfNetwork);
        let fifth = enter("2001:db8:0:1::1");
        assert!(fifth.is_ok());
        assert_eq!(enter("192.0.2.1").expect_err("full"), NoPlace::All);
        assert_eq!(places.enter_for(None, 4, 0).expect_err("full for nobody's, too"), NoPlace::All);
        drop(fourth);
        let nobodys = places.enter_for(None, 4, 0);
        assert!(nobodys.is_ok(), "no network is counted");
        drop((second, third, fifth, nobodys));
        assert_eq!(places.taken.lock().expect("no panic").1.len(), 0, "nothing is remembered of who has gone");
    }

    #[test]
    fn a_network_is_refused_so_often_a_second_and_others_are_not_concerned() {
        let refusals = Refusals::default();
        let now = Mono::from_nanos(1_000_000_000);
        let tries = |from: &str, now: Mono| {
            let allowed = (0..100).filter(|_| refusals.may_try(address(from), now)).map(|_| refusals.note(address(from), now));
            allowed.count()
        };
        assert_eq!(tries("192.0.2.1", now), 20);
        assert_eq!(tries("192.0.2.2", now), 20);
        assert_eq!(tries("2001:db8::1", now), 20);
        assert_eq!(tries("2001:db8::2:1", now), 0, "the same /64");
        assert_eq!(tries("2001:db8:0:1::1", now), 20);
        assert_eq!(tries("192.0.2.1", now + Duration::from_millis(500)), 10);
        assert!(refusals.may_try(address("2001:db8::1"), now + Duration::from_secs(1)));
    }

    #[test]
    fn however_many_are_refused_the_table_stays_as_it_is_and_who_is_refused_most_stays_known() {
        let refusals = Refusals::default();
        let now = Mono::from_nanos(1_000_000_000);
        let worst = address("203.0.113.1");
        (0..20).for_each(|_| refusals.note(worst, now));
        (0..100_000_u32).for_each(|number| refusals.note(IpAddr::V4(number.into()), now));
        assert_eq!(refusals.lock().len(), NETWORKS);
        assert!(!refusals.may_try(worst, now));
    }
}
