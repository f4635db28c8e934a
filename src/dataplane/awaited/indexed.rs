//! The SETUPs of an address that has made many, found by what a datagram says of itself: the port it is from, the sources that it names, or nothing.
//!
//! A SETUP has a turn, which grows; of several, the one with the lowest is the first.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use smallvec::SmallVec;

use crate::dataplane::awaited::{Awaited, Heard};
use crate::dataplane::endpoints::{Endpoint, Port, Ports, Told, WAITS};
use crate::now::Mono;
use crate::playback::PresentationId;
use crate::quantities::Ssrc;
use crate::steering::{BranchSerial, Holder, HomeAddress};

/// The how manieth SETUP of an address it is.
type Turn = u64;
/// SETUPs that something is said of: mostly one.
type Turns = SmallVec<[Turn; 4]>;

const PORTS: [Port; 2] = [Port::Rtp, Port::Rtcp];

/// All turns under a key.
fn under<K: Copy>(key: K) -> RangeInclusive<(K, Turn)> {
    (key, 0)..=(key, Turn::MAX)
}

/// The SETUPs of one address. What the methods do is said where they are chosen among, in [`AtAddress`](super::AtAddress).
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Indexed {
    next: Turn,
    known: HashMap<Turn, Awaited>,
    by_home: BTreeSet<(HomeAddress, Turn)>,
    by_presentation: BTreeSet<(PresentationId, Turn)>,
    by_branch: BTreeSet<(BranchSerial, Turn)>,
    /// Where each is now.
    by_port: BTreeSet<((Port, u16), Turn)>,
    /// Those of which nothing was heard from a port: in order, by the port, and by the flow's source. What is too old to be corrected is left
    /// out once it is in the way.
    silent: BTreeSet<(Port, Turn)>,
    silent_by_port: BTreeSet<((Port, u16), Turn)>,
    silent_by_source: BTreeSet<((Port, u32), Turn)>,
}

impl Indexed {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether there are some of a presentation.
    pub(super) fn expects(&self, presentation: PresentationId) -> bool {
        self.by_presentation.range(under(presentation)).next().is_some()
    }

    /// Notes what a SETUP told, in place of an earlier one of the same session and flow.
    pub(super) fn expect(&mut self, told: Told, now: Mono) {
        let holder = |turn: &Turn| self.known.get(turn).map(|awaited| awaited.told.holder);
        let earlier = self.by_home.range(under(told.home)).map(|(_, turn)| *turn).find(|turn| holder(turn) == Some(told.holder));
        let earlier = earlier.and_then(|turn| self.remove(turn));
        self.add(Awaited::new(told, earlier, now));
    }

    fn add(&mut self, awaited: Awaited) {
        let turn = self.next;
        self.next += 1;
        let Told { presentation, home, ssrc, .. } = awaited.told;
        self.by_home.insert((home, turn));
        self.by_presentation.insert((presentation, turn));
        self.by_branch.extend(awaited.branch.map(|branch| (branch, turn)));
        for port in PORTS {
            self.by_port.insert(((port, awaited.now_at().of(port)), turn));
            if awaited.is_silent(port) {
                self.silent.insert((port, turn));
                self.silent_by_port.insert(((port, awaited.known.of(port)), turn));
                self.silent_by_source.insert(((port, ssrc.0), turn));
            }
        }
        self.known.insert(turn, awaited);
    }

    /// Forgets those of a presentation for which `keep` does not hold, and those that were not played for too long.
    pub(super) fn retain(
        &mut self,
        presentation: PresentationId,
        keep: impl Fn(Holder, HomeAddress, Option<BranchSerial>) -> bool,
        now: Mono,
    ) {
        let is_over = |turn: &Turn| {
            self.known
                .get(turn)
                .is_some_and(|awaited| awaited.is_lapsed(now) || !keep(awaited.told.holder, awaited.told.home, awaited.branch))
        };
        let over: Turns = self.by_presentation.range(under(presentation)).map(|(_, turn)| *turn).filter(is_over).collect();
        for turn in over {
            self.remove(turn);
        }
    }

    /// Where a bound branch, which packets go to at `bound`, really is.
    pub(super) fn ports(&mut self, endpoint: Endpoint, bound: Ports) -> Ports {
        for (_, turn) in self.by_home.range(under(endpoint.home)) {
            let Some(awaited) = self.known.get_mut(turn) else { continue };
            if awaited.may_be(endpoint, bound) {
                self.by_branch.insert((endpoint.branch, *turn));
                return awaited.bind(endpoint.branch);
            }
        }
        bound
    }

    /// Something was heard of a branch where it is, a report where `report` says so.
    pub(super) fn settle_branch(&mut self, branch: BranchSerial, port: Port, report: bool) {
        let turns: Turns = self.by_branch.range(under(branch)).map(|(_, turn)| *turn).collect();
        for turn in turns {
            self.settle(turn, port);
            if report {
                self.settle(turn, Port::Rtp);
            }
        }
    }

    /// Something was heard from a port. Whether that is one where something is awaited: of two that told the same port, one at most
    /// can be there, and neither is looked for elsewhere.
    pub(super) fn settle_at(&mut self, port: Port, number: u16) -> bool {
        let silent: Turns = self.silent_by_port.range(under((port, number))).map(|(_, turn)| *turn).collect();
        for turn in silent {
            self.settle(turn, port);
        }
        self.by_port.range(under((port, number))).next().is_some()
    }

    /// Something was heard from a port that nobody told: the one SETUP that it means is there. `about` are the sources that it names;
    /// without any, `in_order` is set where it may mean the first of those of one session.
    pub(super) fn learn(&mut self, port: Port, number: u16, about: &[Ssrc], in_order: bool, now: Mono) -> Option<PresentationId> {
        while let Some((_, turn)) = self.silent.range(under(port)).next().copied() {
            if self.known.get(&turn).is_some_and(|awaited| now.since(awaited.since) < WAITS) {
                break;
            }
            self.no_longer_silent(turn, port);
        }
        let turn = if about.is_empty() {
            let mut silent = self.silent.range(under(port)).map(|(_, turn)| *turn);
            let holder = |turn: Turn| self.known.get(&turn).map(|awaited| awaited.told.holder);
            let first = silent.next()?;
            if silent.any(|other| !in_order || holder(other) != holder(first)) {
                return None;
            }
            first
        } else {
            let named = |source: &Ssrc| self.silent_by_source.range(under((port, source.0)));
            let mut meant = about.iter().flat_map(named).map(|(_, turn)| *turn);
            let first = meant.next()?;
            // One may be named twice.
            if meant.any(|other| other != first) {
                return None;
            }
            first
        };
        self.no_longer_silent(turn, port);
        let awaited = self.known.get_mut(&turn)?;
        self.by_port.remove(&((port, awaited.known.of(port)), turn));
        self.by_port.insert(((port, number), turn));
        *awaited.heard(port) = Heard::Elsewhere(number);
        Some(awaited.told.presentation)
    }

    fn settle(&mut self, turn: Turn, port: Port) {
        if let Some(awaited) = self.known.get_mut(&turn).filter(|awaited| awaited.is_silent(port)) {
            awaited.settle(port);
            self.no_longer_silent(turn, port);
        }
    }

    fn no_longer_silent(&mut self, turn: Turn, port: Port) {
        self.silent.remove(&(port, turn));
        if let Some(awaited) = self.known.get(&turn) {
            self.silent_by_port.remove(&((port, awaited.known.of(port)), turn));
            self.silent_by_source.remove(&((port, awaited.told.ssrc.0), turn));
        }
    }

    fn remove(&mut self, turn: Turn) -> Option<Awaited> {
        for port in PORTS {
            self.no_longer_silent(turn, port);
        }
        let awaited = self.known.remove(&turn)?;
        self.by_home.remove(&(awaited.told.home, turn));
        self.by_presentation.remove(&(awaited.told.presentation, turn));
        if let Some(branch) = awaited.branch {
            self.by_branch.remove(&(branch, turn));
        }
        for port in PORTS {
            self.by_port.remove(&((port, awaited.now_at().of(port)), turn));
        }
        Some(awaited)
    }

    /// How many there are, unless what they are found by does not agree with them.
    #[cfg(test)]
    pub(super) fn count(&self) -> Option<usize> {
        let (all, bound) = (self.known.len(), self.known.values().filter(|awaited| awaited.branch.is_some()).count());
        let by_name = [self.by_home.len(), self.by_presentation.len()];
        let silent = [self.silent_by_port.len(), self.silent_by_source.len()];
        let agrees = by_name == [all; 2]
            && (self.by_branch.len(), self.by_port.len()) == (bound, 2 * all)
            && silent == [self.silent.len(); 2]
            && self.silent.iter().all(|(_, turn)| self.known.contains_key(turn));
        agrees.then_some(all)
    }
}

impl FromIterator<Awaited> for Indexed {
    /// In their order.
    fn from_iter<I: IntoIterator<Item = Awaited>>(awaited: I) -> Self {
        let mut all = Self::default();
        awaited.into_iter().for_each(|awaited| all.add(awaited));
        all
    }
}
