//! What the API shows of home addresses.

use std::time::Duration;

use crate::now::Now;
use crate::quantities::FlowLabel;
use crate::steering::cache::BindingCache;
use crate::steering::care_of::HomeAddress;
use crate::steering::command::Owner;
use crate::steering::home::Home;
use crate::steering::keys::{Key, Spi};
use crate::steering::route::{Branch, DropReason};

/// The states of a home address (`docs/signalling.md` section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HomeStatus {
    /// In the pool.
    Free,
    /// Its key exists, no care-of does.
    Reserved,
    /// A care-of exists, no label is authorised.
    Bound,
    /// A label is authorised, one care-of has the flow.
    Flowing,
    /// A transition window runs.
    Moving,
    /// Several care-ofs have the flow.
    Forked,
}

impl HomeStatus {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Reserved => "reserved",
            Self::Bound => "bound",
            Self::Flowing => "flowing",
            Self::Moving => "moving",
            Self::Forked => "forked",
        }
    }
}

/// One care-of of a home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BranchView {
    /// As it stands in the route.
    pub branch: Branch,
    /// What is left of its lifetime; `None` lives by its session.
    pub lifetime: Option<Duration>,
}

/// One home address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeView {
    /// The address.
    pub home: HomeAddress,
    /// The name under which it is kept.
    pub name: Option<String>,
    /// What it is doing.
    pub status: HomeStatus,
    /// Whose it is.
    pub owner: Owner,
    /// The presentation that plays there.
    pub player: Option<u64>,
    /// Its label.
    pub label: Option<FlowLabel>,
    /// When its key ends, in seconds since 1970; `u64::MAX` with its owner.
    pub validity_end: u64,
    /// Names its key.
    pub spi: Spi,
    /// Its care-ofs.
    pub branches: Vec<BranchView>,
    /// Packets that did not leave, by reason.
    pub dropped: Vec<(DropReason, u64)>,
}

impl BindingCache {
    /// One home address; `None` where it is not reserved.
    pub fn home_view(&self, home: HomeAddress, now: Now) -> Option<HomeView> {
        self.find(home).map(|home| self.view(&home, now))
    }

    /// All home addresses that are reserved, in the order of their addresses.
    pub fn home_views(&self, now: Now) -> Vec<HomeView> {
        // Of those of other servers only those that are bound or played to: the others are remembered for their numbers.
        let is_shown = |home: &&std::sync::Arc<Home>| {
            let state = home.state();
            state.foreign.is_none() || !state.bindings.is_empty() || state.guest.is_some()
        };
        self.all().iter().filter(is_shown).map(|home| self.view(home, now)).collect()
    }

    /// Whether `key` is K1 of a home address, in constant time.
    pub fn is_home_key(&self, home: HomeAddress, key: &Key, now: Now) -> bool {
        self.find(home).is_some_and(|home| {
            let state = home.state();
            state.key == *key && !state.key_has_ended(now)
        })
    }

    /// Whether `key` is K1 of any home address, each compared in constant time.
    pub fn has_home_key(&self, key: &Key, now: Now) -> bool {
        self.all().iter().any(|home| {
            let state = home.state();
            state.key == *key && !state.key_has_ended(now)
        })
    }

    /// The home addresses whose K1 is `key`, each compared in constant time.
    pub fn homes_of_key(&self, key: &Key, now: Now) -> Vec<HomeAddress> {
        self.all().iter().map(|home| home.address()).filter(|home| self.is_home_key(*home, key, now)).collect()
    }

    /// Packets that did not leave since the process started, by reason.
    pub fn dropped(&self) -> Vec<(DropReason, u64)> {
        DropReason::ALL.into_iter().map(|reason| (reason, self.counters().dropped(reason))).collect()
    }

    fn view(&self, home: &Home, now: Now) -> HomeView {
        let name = self.name_of(home.address());
        if home.shared().is_due(now.mono) {
            home.settle(now.mono);
        }
        let state = home.state();
        let route = home.shared().route.load_full();
        let staying = route.branches.iter().filter(|branch| !branch.leaving).count();
        let status = match (route.branches.len(), route.label) {
            (0, _) => HomeStatus::Reserved,
            _ if state.bindings.is_empty() => HomeStatus::Reserved,
            (_, None) => HomeStatus::Bound,
            (all, Some(_)) if staying < all => HomeStatus::Moving,
            (1, Some(_)) => HomeStatus::Flowing,
            _ => HomeStatus::Forked,
        };
        let lifetime = |branch: &Branch| {
            let binding = state.bindings.iter().find(|binding| binding.serial == branch.serial)?;
            binding.expires.map(|expires| expires.since(now.mono))
        };
        HomeView {
            home: home.address(),
            name,
            status,
            owner: state.owner,
            player: state.player(),
            label: route.label,
            validity_end: state.validity_end,
            spi: state.spi,
            branches: route.branches.iter().map(|branch| BranchView { branch: *branch, lifetime: lifetime(branch) }).collect(),
            dropped: home.shared().dropped(),
        }
    }
}
