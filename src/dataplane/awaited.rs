//! What SETUPs told of their ports at one address. The rules of whose a datagram is are those of [`Endpoints`](crate::dataplane::endpoints::Endpoints).
//!
//! Mostly an address has made a few: these are looked through, one behind the other. Where they are many, they are found by what a datagram says of
//! itself (`indexed.rs`): a flood from an address that has made thousands of SETUPs costs no more than one from any other.

mod indexed;
#[cfg(test)]
mod tests;

use crate::dataplane::awaited::indexed::Indexed;
use crate::dataplane::endpoints::{Endpoint, Port, Ports, Told, UNPLAYED, WAITS};
use crate::now::Mono;
use crate::playback::PresentationId;
use crate::quantities::Ssrc;
use crate::steering::{BranchSerial, Holder, HomeAddress};

/// So many are looked through.
const FEW: usize = 8;

/// What has been heard from a port that was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Nothing,
    /// It is where it was told to be, or it is too late for another.
    There,
    /// It is behind this one.
    Elsewhere(u16),
}

/// A SETUP's branch, bound or not.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    told: Told,
    /// Where it is known to be: as told, until a binding update has said otherwise.
    known: Ports,
    rtp: Heard,
    rtcp: Heard,
    branch: Option<BranchSerial>,
    since: Mono,
}

impl Awaited {
    /// In place of an earlier one of the same session and flow: a branch that is bound stays where it was found, if the same ports are told.
    fn new(told: Told, earlier: Option<Self>, now: Mono) -> Self {
        let (known, branch) = match earlier.filter(|earlier| earlier.told.ports == told.ports) {
            Some(earlier) => (earlier.now_at(), earlier.branch),
            None => (told.ports, None),
        };
        Self { told, known, rtp: Heard::Nothing, rtcp: Heard::Nothing, branch, since: now }
    }

    const fn heard(&mut self, port: Port) -> &mut Heard {
        match port {
            Port::Rtp => &mut self.rtp,
            Port::Rtcp => &mut self.rtcp,
        }
    }

    fn is_silent(&self, port: Port) -> bool {
        let heard = match port {
            Port::Rtp => self.rtp,
            Port::Rtcp => self.rtcp,
        };
        heard == Heard::Nothing
    }

    fn waits(&self, port: Port, now: Mono) -> bool {
        self.is_silent(port) && now.since(self.since) < WAITS
    }

    fn now_at(&self) -> Ports {
        let at = |heard, known| if let Heard::Elsewhere(port) = heard { port } else { known };
        Ports { rtp: at(self.rtp, self.known.rtp), rtcp: at(self.rtcp, self.known.rtcp) }
    }

    fn settle(&mut self, port: Port) {
        if self.is_silent(port) {
            *self.heard(port) = Heard::There;
        }
    }

    /// Whether it was not played for too long.
    fn is_lapsed(&self, now: Mono) -> bool {
        self.branch.is_none() && now.since(self.since) >= UNPLAYED
    }

    /// Whether it may be this branch's, which packets go to at `bound`.
    fn may_be(&self, endpoint: Endpoint, bound: Ports) -> bool {
        self.branch.is_none_or(|branch| branch == endpoint.branch) && self.told.home == endpoint.home && self.known == bound
    }

    /// It is that branch's: where that really is.
    fn bind(&mut self, branch: BranchSerial) -> Ports {
        self.branch = Some(branch);
        self.known = self.now_at();
        self.known
    }
}

/// The SETUPs of one address.
#[derive(Debug)]
pub(super) enum AtAddress {
    /// Not many.
    Few(Few),
    /// Many, or there were many.
    Many(Box<Indexed>),
}

impl Default for AtAddress {
    fn default() -> Self {
        Self::Few(Few::default())
    }
}

impl AtAddress {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.0.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    /// Whether there are some of a presentation.
    pub(super) fn expects(&self, presentation: PresentationId) -> bool {
        match self {
            Self::Few(few) => few.expects(presentation),
            Self::Many(many) => many.expects(presentation),
        }
    }

    /// Notes what a SETUP told, in place of an earlier one of the same session and flow.
    pub(super) fn expect(&mut self, told: Told, now: Mono) {
        if let Self::Few(few) = self
            && few.0.len() >= FEW
        {
            *self = Self::Many(Box::new(few.0.drain(..).collect()));
        }
        match self {
            Self::Few(few) => few.expect(told, now),
            Self::Many(many) => many.expect(told, now),
        }
    }

    /// Forgets those of a presentation for which `keep` does not hold, and those that were not played for too long.
    pub(super) fn retain(
        &mut self,
        presentation: PresentationId,
        keep: impl Fn(Holder, HomeAddress, Option<BranchSerial>) -> bool,
        now: Mono,
    ) {
        match self {
            Self::Few(few) => few.retain(presentation, keep, now),
            Self::Many(many) => many.retain(presentation, keep, now),
        }
    }

    /// Where a bound branch, which packets go to at `bound`, really is.
    pub(super) fn ports(&mut self, endpoint: Endpoint, bound: Ports) -> Ports {
        match self {
            Self::Few(few) => few.ports(endpoint, bound),
            Self::Many(many) => many.ports(endpoint, bound),
        }
    }

    /// Something was heard of a branch where it is, a report where `report` says so.
    pub(super) fn settle_branch(&mut self, branch: BranchSerial, port: Port, report: bool) {
        match self {
            Self::Few(few) => few.settle_branch(branch, port, report),
            Self::Many(many) => many.settle_branch(branch, port, report),
        }
    }

    /// Something was heard from a port. Whether that is one where something is awaited: of two that told the same port, one at most
    /// can be there, and neither is looked for elsewhere.
    pub(super) fn settle_at(&mut self, port: Port, number: u16) -> bool {
        match self {
            Self::Few(few) => few.settle_at(port, number),
            Self::Many(many) => many.settle_at(port, number),
        }
    }

    /// Something was heard from a port that nobody told: the one SETUP that it means is there. `about` are the sources that it names;
    /// without any, `in_order` is set where it may mean the first of those of one session.
    pub(super) fn learn(&mut self, port: Port, number: u16, about: &[Ssrc], in_order: bool, now: Mono) -> Option<PresentationId> {
        match self {
            Self::Few(few) => few.learn(port, number, about, in_order, now),
            Self::Many(many) => many.learn(port, number, about, in_order, now),
        }
    }

    /// How many there are, unless what they are found by does not agree with them.
    #[cfg(test)]
    pub(super) fn count(&self) -> Option<usize> {
        match self {
            Self::Few(few) => Some(few.0.len()),
            Self::Many(many) => many.count(),
        }
    }
}

/// SETUPs in their order, which are looked through.
#[derive(Debug, Default)]
pub(super) struct Few(Vec<Awaited>);

impl Few {
    fn expects(&self, presentation: PresentationId) -> bool {
        self.0.iter().any(|awaited| awaited.told.presentation == presentation)
    }

    fn expect(&mut self, told: Told, now: Mono) {
        let same = |other: &Awaited| other.told.holder == told.holder && other.told.home == told.home;
        let earlier = self.0.iter().position(same).map(|position| self.0.remove(position));
        self.0.push(Awaited::new(told, earlier, now));
    }

    fn retain(&mut self, presentation: PresentationId, keep: impl Fn(Holder, HomeAddress, Option<BranchSerial>) -> bool, now: Mono) {
        self.0.retain(|awaited| {
            let Told { home, holder, .. } = awaited.told;
            awaited.told.presentation != presentation || (!awaited.is_lapsed(now) && keep(holder, home, awaited.branch))
        });
    }

    fn ports(&mut self, endpoint: Endpoint, bound: Ports) -> Ports {
        self.0.iter_mut().find(|awaited| awaited.may_be(endpoint, bound)).map_or(bound, |awaited| awaited.bind(endpoint.branch))
    }

    fn settle_branch(&mut self, branch: BranchSerial, port: Port, report: bool) {
        for awaited in self.0.iter_mut().filter(|awaited| awaited.branch == Some(branch)) {
            awaited.settle(port);
            if report {
                awaited.settle(Port::Rtp);
            }
        }
    }

    fn settle_at(&mut self, port: Port, number: u16) -> bool {
        let mut there = false;
        for awaited in self.0.iter_mut().filter(|awaited| awaited.now_at().of(port) == number) {
            awaited.settle(port);
            there = true;
        }
        there
    }

    fn learn(&mut self, port: Port, number: u16, about: &[Ssrc], in_order: bool, now: Mono) -> Option<PresentationId> {
        let is_meant = |awaited: &Awaited| awaited.waits(port, now) && (about.is_empty() || about.contains(&awaited.told.ssrc));
        let mut meant = self.0.iter_mut().filter(|awaited| is_meant(awaited));
        let first = meant.next()?;
        if meant.any(|other| !in_order || other.told.holder != first.told.holder) {
            return None;
        }
        *first.heard(port) = Heard::Elsewhere(number);
        Some(first.told.presentation)
    }
}
