//! Whose a datagram from outside is: by the address and port it came from, and by what SETUPs told.
//!
//! Shared by the shards, because the kernel chooses which shard's socket a datagram arrives at.
//!
//! A SETUP tells two ports, and a NAT on the way may make others of them. Players open the way by a datagram to each of
//! our ports, mostly before PLAY. Such a datagram, from the proven address but from a port that nobody told, says where
//! the branch really is: once a SETUP and port, soon after it, and not after the first RTCP. It carries nothing that could be checked
//! (4 octets of live555, an empty RTP header or report of FFmpeg, zeros of GStreamer), so a wrong guess would send
//! somebody's film to a neighbour behind the same NAT. Hence:
//!
//! - A datagram from a port that was told, or learned, is its owner's and moves nothing.
//! - A report about a source of ours means the flow of that source.
//! - Any other means the one SETUP of which nothing was heard yet. Where several of one session wait, a bare RTP header or
//!   Receiver Report means the first of them: FFmpeg opens the ways in the order in which it set up. Others mean none
//!   of them then: GStreamer's zeros, and its reports before it has heard anything, come from a thread for each track.
//! - Where SETUPs of several sessions wait at one address, none is meant.
//!
//! Nothing here changes where packets go: the presentation's shard asks ([`Endpoints::ports`]) and makes it a binding
//! update.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dashmap::DashMap;

use crate::dataplane::awaited::AtAddress;
use crate::now::Mono;
use crate::playback::{PresentationId, report};
use crate::quantities::Ssrc;
use crate::steering::{BranchSerial, Holder, HomeAddress};

/// For so long after a SETUP a datagram may correct its ports.
pub const WAITS: Duration = Duration::from_secs(30);
/// The longest datagram of FFmpeg that only opens a way, in octets: an RTP header.
const OPENER: usize = 12;
/// What a SETUP told is forgotten after this where no PLAY followed; so long an unclaimed presentation waits.
pub const UNPLAYED: Duration = Duration::from_secs(150);

/// A branch, as datagrams are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Whose.
    pub presentation: PresentationId,
    /// Its flow.
    pub home: HomeAddress,
    /// The branch.
    pub branch: BranchSerial,
}

/// Which of our two ports a datagram came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// The RTP port.
    Rtp,
    /// The next one.
    Rtcp,
}

/// The RTP and the RTCP port of a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// For RTP.
    pub rtp: u16,
    /// For RTCP.
    pub rtcp: u16,
}

impl Ports {
    pub(super) const fn of(self, port: Port) -> u16 {
        match port {
            Port::Rtp => self.rtp,
            Port::Rtcp => self.rtcp,
        }
    }
}

/// What a SETUP told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Of which presentation.
    pub presentation: PresentationId,
    /// The flow.
    pub home: HomeAddress,
    /// The flow's source.
    pub ssrc: Ssrc,
    /// The session.
    pub holder: Holder,
    /// The ports.
    pub ports: Ports,
}

/// What a datagram comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It is this branch's.
    Branch(Endpoint),
    /// It is that of a SETUP which is not played yet, and comes from where it should.
    SetUp,
    /// A branch of this presentation turns out to be behind another port: its shard has to make that known.
    Learned(PresentationId),
    /// It is nobody's.
    Nobody,
}

/// The UDP endpoints of all branches, and those that are awaited.
#[derive(Debug, Default)]
pub struct Endpoints {
    known: DashMap<(IpAddr, u16, Port), Endpoint>,
    awaited: DashMap<IpAddr, AtAddress>,
}

impl Endpoints {
    /// Notes where a branch's datagrams come from.
    pub fn note(&self, at: (IpAddr, u16, Port), endpoint: Endpoint) {
        self.known.insert(at, endpoint);
    }

    /// Forgets a branch, unless its endpoint is another's by now.
    pub fn forget(&self, at: (IpAddr, u16, Port), branch: BranchSerial) {
        self.known.remove_if(&at, |_, endpoint| endpoint.branch == branch);
    }

    /// Notes what a SETUP told, in place of an earlier one of the same session and flow. A branch that is bound stays
    /// where it was found, if this tells the same ports again.
    pub fn expect(&self, address: IpAddr, told: Told, now: Mono) {
        self.awaited.entry(address).or_default().expect(told, now);
    }

    /// Forgets those of a presentation's SETUPs at an address for which `keep` does not hold: it is told the session, the
    /// flow and, where it is bound, the branch. One that was not played for too long is forgotten in any case.
    pub fn retain(
        &self,
        address: IpAddr,
        presentation: PresentationId,
        keep: impl Fn(Holder, HomeAddress, Option<BranchSerial>) -> bool,
        now: Mono,
    ) {
        let Some(mut at_address) = self.awaited.get_mut(&address) else { return };
        at_address.retain(presentation, keep, now);
        let empty = at_address.is_empty();
        drop(at_address);
        if empty {
            self.awaited.remove_if(&address, |_, awaited| awaited.is_empty());
        }
    }

    /// Whether anything is noted of a presentation's SETUPs at an address.
    pub fn expects(&self, address: IpAddr, presentation: PresentationId) -> bool {
        self.awaited.get(&address).is_some_and(|awaited| awaited.expects(presentation))
    }

    /// How many SETUPs of an address there are, unless what they are found by does not agree with them.
    #[cfg(test)]
    pub(super) fn count(&self, address: IpAddr) -> Option<usize> {
        self.awaited.get(&address).map_or(Some(0), |awaited| awaited.count())
    }

    /// The branch whose packets go there.
    pub fn branch_at(&self, to: SocketAddr, port: Port) -> Option<Endpoint> {
        self.known.get(&(to.ip(), to.port(), port)).map(|endpoint| *endpoint)
    }

    /// Where a bound branch, which packets go to at `bound`, really is. The caller makes it so.
    pub fn ports(&self, address: IpAddr, endpoint: Endpoint, bound: Ports) -> Ports {
        self.awaited.get_mut(&address).map_or(bound, |mut awaited| awaited.ports(endpoint, bound))
    }

    /// Whose a datagram is.
    pub fn hear(&self, from: SocketAddr, port: Port, datagram: &[u8], now: Mono) -> Origin {
        let report = port == Port::Rtcp && report::is_compound(datagram);
        let known = self.known.get(&(from.ip(), from.port(), port)).map(|endpoint| *endpoint);
        let Some(mut at_address) = self.awaited.get_mut(&from.ip()) else { return known.map_or(Origin::Nobody, Origin::Branch) };
        if let Some(endpoint) = known {
            at_address.settle_branch(endpoint.branch, port, report);
            return Origin::Branch(endpoint);
        }
        if at_address.settle_at(port, from.port()) {
            return Origin::SetUp;
        }
        let about = if report { report::reported_sources(datagram) } else { smallvec::SmallVec::new() };
        let in_order = datagram.len() <= OPENER && datagram.first().is_some_and(|first| first >> 6 == 2);
        at_address.learn(port, from.port(), &about, in_order, now).map_or(Origin::Nobody, Origin::Learned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    const PRESENTATION: PresentationId = PresentationId(9);
    /// What live555, FFmpeg and GStreamer send.
    const DUMMIES: [&[u8]; 4] =
        [&[0xce, 0xfa, 0xed, 0xfe], &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x80, 201, 0, 1, 0, 0, 0, 0], &[0; 200]];

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::LOCALHOST, port))
    }

    fn address() -> IpAddr {
        at(0).ip()
    }

    fn told(session: u64, flow: u16, port: u16) -> Told {
        let ports = Ports { rtp: port, rtcp: port + 1 };
        Told { presentation: PRESENTATION, home: home(flow), ssrc: Ssrc(u32::from(flow)), holder: Holder(session), ports }
    }

    fn home(flow: u16) -> HomeAddress {
        HomeAddress(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, flow))
    }

    fn branch(flow: u16) -> Endpoint {
        Endpoint { presentation: PRESENTATION, home: home(flow), branch: BranchSerial(u64::from(flow)) }
    }

    fn endpoints(told: &[Told]) -> Endpoints {
        let endpoints = Endpoints::default();
        for told in told {
            endpoints.expect(address(), *told, Mono::default());
        }
        endpoints
    }

    fn hear(endpoints: &Endpoints, from: SocketAddr, port: Port, datagram: &[u8]) -> Origin {
        endpoints.hear(from, port, datagram, Mono::default())
    }

    fn report_about(flow: u16) -> Vec<u8> {
        [&[0x81, 201, 0, 7, 0, 0, 0, 1][..], &u32::from(flow).to_be_bytes(), &[0; 20]].concat()
    }

    fn ports(endpoints: &Endpoints, flow: u16, rtp: u16, rtcp: u16) -> (u16, u16) {
        let found = endpoints.ports(address(), branch(flow), Ports { rtp, rtcp });
        (found.rtp, found.rtcp)
    }

    #[test]
    fn a_datagram_before_play_corrects_the_port_once() {
        for dummy in DUMMIES {
            let endpoints = endpoints(&[told(1, 1, 5000)]);
            assert_eq!(hear(&endpoints, at(700), Port::Rtp, dummy), Origin::Learned(PRESENTATION));
            assert_eq!(hear(&endpoints, at(700), Port::Rtp, dummy), Origin::SetUp);
            assert_eq!(hear(&endpoints, at(701), Port::Rtp, dummy), Origin::Nobody, "the second one is too late");
            assert_eq!(hear(&endpoints, at(702), Port::Rtcp, dummy), Origin::Learned(PRESENTATION));
            assert_eq!(hear(&endpoints, at(703), Port::Rtcp, dummy), Origin::Nobody);
            assert_eq!(ports(&endpoints, 1, 5000, 5001), (700, 702));
            assert_eq!(ports(&endpoints, 1, 700, 702), (700, 702), "and it is there from then on");
        }
    }

    #[test]
    fn one_that_is_where_it_said_is_not_moved() {
        let endpoints = endpoints(&[told(1, 1, 5000)]);
        for (from, port) in [(5000, Port::Rtp), (5001, Port::Rtcp)] {
            assert_eq!(hear(&endpoints, at(from), port, DUMMIES[0]), Origin::SetUp);
            assert_eq!(hear(&endpoints, at(700), port, DUMMIES[0]), Origin::Nobody);
        }
        assert_eq!(hear(&endpoints, SocketAddr::from(([10, 0, 0, 1], 700)), Port::Rtp, DUMMIES[0]), Origin::Nobody, "a stranger");
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (5000, 5001));
    }

    #[test]
    fn the_first_report_of_a_branch_ends_the_waiting() {
        let endpoints = endpoints(&[told(1, 1, 5000)]);
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (5000, 5001));
        endpoints.note((address(), 5001, Port::Rtcp), branch(1));
        // No report: live555's.
        assert_eq!(hear(&endpoints, at(5001), Port::Rtcp, DUMMIES[0]), Origin::Branch(branch(1)));
        assert_eq!(hear(&endpoints, at(5001), Port::Rtcp, &report_about(1)), Origin::Branch(branch(1)));
        assert_eq!(hear(&endpoints, at(700), Port::Rtp, DUMMIES[1]), Origin::Nobody);
        assert_eq!(hear(&endpoints, at(701), Port::Rtcp, DUMMIES[2]), Origin::Nobody);
    }

    #[test]
    fn the_tracks_of_one_session_are_opened_in_their_order() {
        let endpoints = endpoints(&[told(1, 1, 5000), told(1, 2, 5002)]);
        for (from, port) in [(700, Port::Rtp), (701, Port::Rtcp), (702, Port::Rtp), (703, Port::Rtcp)] {
            assert_eq!(hear(&endpoints, at(from), port, DUMMIES[1]), Origin::Learned(PRESENTATION));
        }
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (700, 701));
        assert_eq!(ports(&endpoints, 2, 5002, 5003), (702, 703));
    }

    #[test]
    fn octets_of_no_protocol_open_the_way_of_the_only_track_that_waits() {
        let endpoints = endpoints(&[told(1, 1, 5000), told(1, 2, 5002)]);
        for dummy in [DUMMIES[0], DUMMIES[3]] {
            assert_eq!(hear(&endpoints, at(700), Port::Rtp, dummy), Origin::Nobody);
        }
        // Who it is, and nothing about any source.
        let named = [DUMMIES[2], &[0x81, 202, 0, 3, 0, 0, 0, 9, 1, 2, b'm', b'e', 0, 0, 0, 0]].concat();
        assert_eq!(hear(&endpoints, at(701), Port::Rtcp, &named), Origin::Nobody);
        assert_eq!(hear(&endpoints, at(5000), Port::Rtp, DUMMIES[3]), Origin::SetUp);
        assert_eq!(hear(&endpoints, at(700), Port::Rtp, DUMMIES[3]), Origin::Learned(PRESENTATION));
        assert_eq!(ports(&endpoints, 2, 5002, 5003), (700, 5003));
    }

    #[test]
    fn of_several_sessions_at_one_address_none_is_guessed() {
        let endpoints = endpoints(&[told(1, 1, 5000), told(2, 2, 6000)]);
        assert_eq!(hear(&endpoints, at(700), Port::Rtp, DUMMIES[1]), Origin::Nobody);
        assert_eq!(hear(&endpoints, at(701), Port::Rtcp, DUMMIES[2]), Origin::Nobody, "an empty report names nobody");
        assert_eq!(hear(&endpoints, at(701), Port::Rtcp, &report_about(2)), Origin::Learned(PRESENTATION), "this one does");
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (5000, 5001));
        assert_eq!(ports(&endpoints, 2, 6000, 6001), (6000, 701));
        assert_eq!(hear(&endpoints, at(702), Port::Rtcp, &report_about(3)), Origin::Nobody, "a report about somebody else's");
        // One of them is heard from where it said: what comes from elsewhere is the other's.
        assert_eq!(hear(&endpoints, at(5000), Port::Rtp, DUMMIES[1]), Origin::SetUp);
        assert_eq!(hear(&endpoints, at(700), Port::Rtp, DUMMIES[1]), Origin::Learned(PRESENTATION));
        assert_eq!(ports(&endpoints, 2, 6000, 701), (700, 701));
    }

    #[test]
    fn two_that_told_the_same_port_are_both_left_there() {
        let endpoints = endpoints(&[told(1, 1, 5000), told(2, 2, 5000)]);
        assert_eq!(hear(&endpoints, at(5000), Port::Rtp, DUMMIES[1]), Origin::SetUp);
        assert_eq!(hear(&endpoints, at(700), Port::Rtp, DUMMIES[1]), Origin::Nobody);
    }

    #[test]
    fn a_new_setup_may_be_corrected_anew() {
        let endpoints = endpoints(&[told(1, 1, 5000)]);
        hear(&endpoints, at(700), Port::Rtp, DUMMIES[1]);
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (700, 5001));
        endpoints.note((address(), 700, Port::Rtp), branch(1));
        endpoints.expect(address(), told(1, 1, 5000), Mono::default());
        assert_eq!(hear(&endpoints, at(800), Port::Rtp, DUMMIES[1]), Origin::Learned(PRESENTATION));
        assert_eq!(ports(&endpoints, 1, 700, 5001), (800, 5001));
        endpoints.expect(address(), told(1, 1, 5004), Mono::default());
        assert_eq!(ports(&endpoints, 1, 5004, 5005), (5004, 5005));
    }

    #[test]
    fn a_branch_that_was_bound_elsewhere_meanwhile_stays_there() {
        let endpoints = endpoints(&[told(1, 1, 5000)]);
        hear(&endpoints, at(700), Port::Rtp, DUMMIES[1]);
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (700, 5001));
        assert_eq!(ports(&endpoints, 1, 9000, 9001), (9000, 9001));
    }

    #[test]
    fn a_datagram_long_after_its_setup_corrects_nothing() {
        let endpoints = endpoints(&[told(1, 1, 5000)]);
        assert_eq!(endpoints.hear(at(700), Port::Rtp, DUMMIES[1], Mono::default() + WAITS), Origin::Nobody);
        assert_eq!(endpoints.hear(at(5000), Port::Rtp, DUMMIES[1], Mono::default() + WAITS), Origin::SetUp);
    }

    #[test]
    fn nothing_is_kept_of_what_is_over() {
        let endpoints = endpoints(&[told(1, 1, 5000), told(1, 2, 5002)]);
        assert_eq!(ports(&endpoints, 1, 5000, 5001), (5000, 5001));
        let late = Mono::default() + UNPLAYED;
        endpoints.retain(address(), PRESENTATION, |_, _, _| true, late);
        assert_eq!(endpoints.count(address()), Some(1), "the one that is not bound has lapsed");
        endpoints.retain(address(), PRESENTATION, |_, _, branch| branch.is_none(), late);
        assert!(!endpoints.expects(address(), PRESENTATION) && endpoints.awaited.is_empty());
    }
}
