//! What SETUPs told of their ports at one address, found by what a datagram says of itself: a flood from an address that has made
//! thousands of SETUPs costs no more than one from any other.
//!
//! The rules of whose a datagram is are those of [`Endpoints`](crate::dataplane::endpoints::Endpoints). A SETUP has a turn, which grows; of several, the one
//! with the lowest is the first.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use smallvec::SmallVec;

use crate::dataplane::endpoints::{Endpoint, Port, Ports, Told, UNPLAYED, WAITS};
use crate::now::Mono;
use crate::playback::PresentationId;
use crate::quantities::Ssrc;
use crate::steering::{BranchSerial, Holder, HomeAddress};

/// The how manieth SETUP of an address it is.
type Turn = u64;
/// SETUPs that something is said of: mostly one.
type Turns = SmallVec<[Turn; 4]>;

const PORTS: [Port; 2] = [Port::Rtp, Port::Rtcp];

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
    const fn heard(&mut self, port: Port) -> &mut Heard {
        match port {
            Port::Rtp => &mut self.rtp,
            Port::Rtcp => &mut self.rtcp,
        }
    }

    fn now_at(&self) -> Ports {
        let at = |heard, known| if let Heard::Elsewhere(port) = heard { port } else { known };
        Ports { rtp: at(self.rtp, self.known.rtp), rtcp: at(self.rtcp, self.known.rtcp) }
    }
}

/// All turns under a key.
fn under<K: Copy>(key: K) -> RangeInclusive<(K, Turn)> {
    (key, 0)..=(key, Turn::MAX)
}

/// The SETUPs of one address.
#[derive(Debug, Default)]
pub(super) struct AtAddress {
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

impl AtAddress {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
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
        let (known, branch) = match earlier.filter(|earlier| earlier.told.ports == told.ports) {
            Some(earlier) => (earlier.now_at(), earlier.branch),
            None => (told.ports, None),
        };
        let turn = self.next;
        self.next += 1;
        self.by_home.insert((told.home, turn));
        self.by_presentation.insert((told.presentation, turn));
        self.by_branch.extend(branch.map(|branch| (branch, turn)));
        for port in PORTS {
            self.by_port.insert(((port, known.of(port)), turn));
            self.silent.insert((port, turn));
            self.silent_by_port.insert(((port, known.of(port)), turn));
            self.silent_by_source.insert(((port, told.ssrc.0), turn));
        }
        self.known.insert(turn, Awaited { told, known, rtp: Heard::Nothing, rtcp: Heard::Nothing, branch, since: now });
    }

    /// Forgets those of a presentation for which `keep` does not hold, and those that were not played for too long.
    pub(super) fn retain(
        &mut self,
        presentation: PresentationId,
        keep: impl Fn(Holder, HomeAddress, Option<BranchSerial>) -> bool,
        now: Mono,
    ) {
        let is_over = |turn: &Turn| {
            self.known.get(turn).is_some_and(|awaited| {
                let lapsed = awaited.branch.is_none() && now.since(awaited.since) >= UNPLAYED;
                lapsed || !keep(awaited.told.holder, awaited.told.home, awaited.branch)
            })
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
            if awaited.branch.is_none_or(|branch| branch == endpoint.branch) && awaited.known == bound {
                awaited.branch = Some(endpoint.branch);
                awaited.known = awaited.now_at();
                self.by_branch.insert((endpoint.branch, *turn));
                return awaited.known;
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
        let Some(heard) = self.known.get_mut(&turn).map(|awaited| awaited.heard(port)) else { return };
        if *heard == Heard::Nothing {
            *heard = Heard::There;
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

    /// Whether nothing is left over in what they are found by.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let (all, bound) = (self.known.len(), self.known.values().filter(|awaited| awaited.branch.is_some()).count());
        let by_name = [self.by_home.len(), self.by_presentation.len()];
        let silent = [self.silent_by_port.len(), self.silent_by_source.len()];
        by_name == [all; 2]
            && (self.by_branch.len(), self.by_port.len()) == (bound, 2 * all)
            && silent == [self.silent.len(); 2]
            && self.silent.iter().all(|(_, turn)| self.known.contains_key(turn))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::endpoints::{Endpoints, Origin};
    use crate::playback::report;

    /// The rules as they are told: one SETUP behind the other, looked through from the first.
    #[derive(Default)]
    struct Naive(Vec<Awaited>);

    impl Awaited {
        fn waits(&self, port: Port, now: Mono) -> bool {
            let heard = if port == Port::Rtp { self.rtp } else { self.rtcp };
            heard == Heard::Nothing && now.since(self.since) < WAITS
        }

        fn settle(&mut self, port: Port) {
            let heard = self.heard(port);
            if *heard == Heard::Nothing {
                *heard = Heard::There;
            }
        }
    }

    impl Naive {
        fn expect(&mut self, told: Told, now: Mono) {
            let same = |other: &Awaited| other.told.holder == told.holder && other.told.home == told.home;
            let earlier = self.0.iter().position(same).map(|position| self.0.remove(position));
            let (known, branch) = match earlier.filter(|earlier| earlier.told.ports == told.ports) {
                Some(earlier) => (earlier.now_at(), earlier.branch),
                None => (told.ports, None),
            };
            self.0.push(Awaited { told, known, rtp: Heard::Nothing, rtcp: Heard::Nothing, branch, since: now });
        }

        fn retain(&mut self, presentation: PresentationId, keep: impl Fn(Holder) -> bool, now: Mono) {
            self.0.retain(|awaited| {
                let lapsed = awaited.branch.is_none() && now.since(awaited.since) >= UNPLAYED;
                awaited.told.presentation != presentation || (!lapsed && keep(awaited.told.holder))
            });
        }

        fn ports(&mut self, endpoint: Endpoint, bound: Ports) -> Ports {
            let is_it = |awaited: &&mut Awaited| {
                let same_branch = awaited.branch.is_none_or(|branch| branch == endpoint.branch);
                awaited.told.home == endpoint.home && same_branch && awaited.known == bound
            };
            let Some(awaited) = self.0.iter_mut().find(is_it) else { return bound };
            awaited.branch = Some(endpoint.branch);
            awaited.known = awaited.now_at();
            awaited.known
        }

        fn hear(&mut self, known: Option<Endpoint>, number: u16, port: Port, datagram: &[u8], now: Mono) -> Origin {
            let report = port == Port::Rtcp && report::is_compound(datagram);
            if let Some(endpoint) = known {
                for awaited in self.0.iter_mut().filter(|awaited| awaited.branch == Some(endpoint.branch)) {
                    awaited.settle(port);
                    if report {
                        awaited.settle(Port::Rtp);
                    }
                }
                return Origin::Branch(endpoint);
            }
            let mut there = false;
            for awaited in self.0.iter_mut().filter(|awaited| awaited.now_at().of(port) == number) {
                awaited.settle(port);
                there = true;
            }
            if there {
                return Origin::SetUp;
            }
            let about = if report { report::reported_sources(datagram) } else { SmallVec::new() };
            let is_meant = |awaited: &Awaited| awaited.waits(port, now) && (about.is_empty() || about.contains(&awaited.told.ssrc));
            let mut meant = self.0.iter_mut().filter(|awaited| is_meant(awaited));
            let Some(first) = meant.next() else { return Origin::Nobody };
            let in_order = datagram.len() <= 12 && datagram.first().is_some_and(|first| first >> 6 == 2);
            if meant.any(|other| !in_order || other.told.holder != first.told.holder) {
                return Origin::Nobody;
            }
            *first.heard(port) = Heard::Elsewhere(number);
            Origin::Learned(first.told.presentation)
        }
    }

    fn address() -> IpAddr {
        Ipv6Addr::LOCALHOST.into()
    }

    fn home(flow: u16) -> HomeAddress {
        HomeAddress(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, flow))
    }

    fn told(presentation: u64, session: u64, flow: u16, number: u16) -> Told {
        let ports = Ports { rtp: number, rtcp: number + 1 };
        Told { presentation: PresentationId(presentation), home: home(flow), ssrc: Ssrc(flow.into()), holder: Holder(session), ports }
    }

    fn report_about(flows: &[u16]) -> Vec<u8> {
        let blocks = flows.iter().flat_map(|flow| [&u32::from(*flow).to_be_bytes()[..], &[0; 20]].concat());
        let length = 1 + 6 * flows.len() as u8;
        [0x80 | flows.len() as u8, 201, 0, length, 0, 0, 0, 1].into_iter().chain(blocks).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Expect { session: u64, flow: u16, number: u16 },
        Retain { presentation: u64, without: u64 },
        Ports { flow: u16, branch: u64, number: (u16, u16) },
        Hear { number: u16, port: Port, kind: u8, flows: Vec<u16>, branch: Option<u64> },
        Wait { seconds: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let number = || 0..6_u16;
        let port = || prop_oneof![Just(Port::Rtp), Just(Port::Rtcp)];
        let step = prop_oneof![
            4 => (0..3_u64, 0..4_u16, number()).prop_map(|(session, flow, number)| Step::Expect { session, flow, number }),
            1 => (0..2_u64, 0..4_u64).prop_map(|(presentation, without)| Step::Retain { presentation, without }),
            3 => (0..4_u16, 0..5_u64, (number(), number())).prop_map(|(flow, branch, number)| Step::Ports { flow, branch, number }),
            8 => (number(), port(), 0..4_u8, prop::collection::vec(0..5_u16, 0..3), prop::option::weighted(0.2, 0..5_u64))
                .prop_map(|(number, port, kind, flows, branch)| Step::Hear { number, port, kind, flows, branch }),
            1 => (1..80_u64).prop_map(|seconds| Step::Wait { seconds }),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn whose_a_datagram_is_is_what_looking_through_all_of_them_says(steps in steps()) {
            let (mut naive, endpoints) = (Naive::default(), Endpoints::default());
            let mut now = Mono::default();
            for step in steps {
                match step {
                    Step::Expect { session, flow, number } => {
                        // A flow is of one presentation, whoever takes it.
                        let told = told(u64::from(flow % 2), session, flow, number);
                        naive.expect(told, now);
                        endpoints.expect(address(), told, now);
                    }
                    Step::Retain { presentation, without } => {
                        naive.retain(PresentationId(presentation), |holder| holder.0 != without, now);
                        endpoints.retain(address(), PresentationId(presentation), |holder, _, _| holder.0 != without, now);
                    }
                    Step::Ports { flow, branch, number: (rtp, rtcp) } => {
                        let endpoint = Endpoint { presentation: PresentationId(0), home: home(flow), branch: BranchSerial(branch) };
                        let bound = Ports { rtp, rtcp };
                        prop_assert_eq!(endpoints.ports(address(), endpoint, bound), naive.ports(endpoint, bound));
                    }
                    Step::Hear { number, port, kind, flows, branch } => {
                        let datagram = match kind {
                            0 => vec![0; 4],
                            1 => vec![0x80; 12],
                            2 => report_about(&flows),
                            _ => [0x80, 201, 0, 1, 0, 0, 0, 0].to_vec(),
                        };
                        let known = branch.map(|branch| Endpoint { presentation: PresentationId(0), home: home(0), branch: BranchSerial(branch) });
                        let at = (address(), number, port);
                        known.iter().for_each(|endpoint| endpoints.note(at, *endpoint));
                        let heard = endpoints.hear(SocketAddr::new(address(), number), port, &datagram, now);
                        known.iter().for_each(|endpoint| endpoints.forget(at, endpoint.branch));
                        // Of an address that awaits nothing a branch is a branch all the same.
                        prop_assert_eq!(heard, naive.hear(known, number, port, &datagram, now));
                    }
                    Step::Wait { seconds } => now += Duration::from_secs(seconds),
                }
                for presentation in [0, 1].map(PresentationId) {
                    let expected = naive.0.iter().any(|awaited| awaited.told.presentation == presentation);
                    prop_assert_eq!(endpoints.expects(address(), presentation), expected);
                }
                prop_assert!(endpoints.is_consistent(address()));
            }
        }
    }

    #[test]
    fn a_flood_from_an_address_with_thousands_of_setups_costs_what_any_other_does() {
        let flood = |setups: u16| {
            let endpoints = Endpoints::default();
            for setup in 0..setups {
                endpoints.expect(address(), told(setup.into(), setup.into(), setup, 1024 + 2 * setup), Mono::default());
            }
            let datagrams = [vec![0; 4], vec![0x80; 12], report_about(&[60_000, 60_001])];
            let took = || {
                let begin = Instant::now();
                for number in 0..500_u16 {
                    for datagram in &datagrams {
                        // Ports that nobody has told, and one that somebody has.
                        for number in [number, 1025] {
                            endpoints.hear(SocketAddr::new(address(), number), Port::Rtcp, datagram, Mono::default());
                        }
                    }
                }
                begin.elapsed()
            };
            (0..5).map(|_| took()).min().expect("five")
        };
        let (few, many) = (flood(4), flood(20_000));
        assert!(many < few * 50, "{few:?} with 4, {many:?} with 20,000");
    }
}
