//! The flow filter and the map, as each packet passes them.
//!
//! A [`Gate`] is one home address as a shard of the data plane holds it: the verdict is computed from the packet's own
//! facts on every run; the route behind it is compared by epoch and reloaded only when it has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::now::{Mono, Now};
use crate::steering::care_of::HomeAddress;
use crate::steering::home::{Home, USUAL_PORTS};
use crate::steering::route::{BranchSerial, DropReason, PacketFacts, Route};

/// What the data plane and the commands share of one home address.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) epoch: AtomicU64,
    pub(crate) route: ArcSwap<Route>,
    /// When something of the route ends at the earliest; `u64::MAX` for never.
    deadline: AtomicU64,
    pub(crate) dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Shared {
    pub(crate) fn new(home: HomeAddress) -> Self {
        let route = Route { epoch: 0, home, label: None, branches: Vec::new(), ended: Vec::new(), reserved: true, ports: USUAL_PORTS };
        Self {
            epoch: AtomicU64::new(0),
            route: ArcSwap::from_pointee(route),
            deadline: AtomicU64::new(u64::MAX),
            dropped: Default::default(),
        }
    }

    pub(crate) fn publish(&self, route: Route) {
        let epoch = route.epoch;
        self.route.store(Arc::new(route));
        self.epoch.store(epoch, Ordering::Release);
    }

    pub(crate) fn set_deadline(&self, deadline: Option<Mono>) {
        self.deadline.store(deadline.map_or(u64::MAX, Mono::as_nanos), Ordering::Release);
    }

    /// Whether something of the route may have ended.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        now.as_nanos() >= self.deadline.load(Ordering::Acquire)
    }

    pub(crate) fn dropped(&self) -> Vec<(DropReason, u64)> {
        let counts = self.dropped.iter().map(|count| count.load(Ordering::Relaxed));
        DropReason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

/// One home address, as a shard holds it.
#[derive(Debug)]
pub struct Gate {
    home: Arc<Home>,
    epoch: u64,
    route: Arc<Route>,
}

impl Gate {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        let epoch = home.shared().epoch.load(Ordering::Acquire);
        let route = home.shared().route.load_full();
        Self { home, epoch, route }
    }

    /// The home address.
    pub fn home(&self) -> HomeAddress {
        self.home.address()
    }

    /// The address that its packets are to come from.
    pub fn media_source(&self) -> std::net::Ipv6Addr {
        self.home.media_source()
    }

    /// Where its packets go now.
    pub fn route(&mut self) -> &Arc<Route> {
        let epoch = self.home.shared().epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.route = self.home.shared().route.load_full();
            self.epoch = epoch;
        }
        &self.route
    }

    /// The verdict on `packets` packets with these facts (`docs/signalling.md` section 8): where they go, or the one
    /// reason why they do not leave, which is counted. The first packet that is as expected teaches a home address
    /// without a label its label. A binding whose time is over at `now` gets nothing, however late the timer is.
    ///
    /// # Errors
    /// Why they do not leave.
    pub fn pass(&mut self, facts: &PacketFacts, packets: u32, now: Now) -> Result<&Arc<Route>, DropReason> {
        if self.home.shared().is_due(now.mono) {
            self.home.settle(now.mono);
        }
        self.route();
        match self.verdict(facts) {
            Ok(()) => Ok(&self.route),
            Err(reason) => {
                self.note_dropped(reason, packets);
                Err(reason)
            }
        }
    }

    /// The verdict on a farewell (RTCP BYE) with these facts to a branch that is no more, or whose home address is not: no
    /// binding is asked for, but the label is.
    ///
    /// # Errors
    /// Why it does not leave, which is counted.
    pub fn pass_farewell(&mut self, facts: &PacketFacts) -> Result<(), DropReason> {
        let route = self.route();
        let verdict = match route.label {
            _ if facts.home != route.home => Err(DropReason::NoHome),
            _ if facts.label == 0 => Err(DropReason::LabelZero),
            Some(label) if label.bits() == facts.label => Ok(()),
            Some(_) => Err(DropReason::Label),
            None => Err(DropReason::NotExpected),
        };
        if let Err(reason) = verdict {
            self.note_dropped(reason, 1);
        }
        verdict
    }

    fn note_dropped(&self, reason: DropReason, packets: u32) {
        self.home.shared().dropped[reason as usize].fetch_add(u64::from(packets), Ordering::Relaxed);
        self.home.counters().note_dropped(reason, packets);
    }

    fn verdict(&mut self, facts: &PacketFacts) -> Result<(), DropReason> {
        if !self.route.reserved || facts.home != self.route.home {
            return Err(DropReason::NoHome);
        }
        if self.route.branches.is_empty() {
            return Err(DropReason::NoBinding);
        }
        if facts.label == 0 {
            return Err(DropReason::LabelZero);
        }
        match self.route.label {
            Some(label) if label.bits() != facts.label => Err(DropReason::Label),
            Some(_) => Ok(()),
            None if self.home.learn(facts) => {
                self.route();
                Ok(())
            }
            None => Err(DropReason::NotExpected),
        }
    }

    /// Packets that did not leave, by reason.
    pub fn dropped(&self) -> Vec<(DropReason, u64)> {
        self.home.shared().dropped()
    }

    /// Something was heard from that branch: it lives.
    pub fn heard(&self, branch: BranchSerial, now: Mono) {
        self.home.heard(branch, now);
    }
}
