//! The state of one home address: its bindings, which of them are leaving, and what its route is.
//!
//! One lock protects it. Expiry is exact whoever looks first: the data plane at a packet, a command, or the timer; what
//! has ended is told by the cache later, once.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use crate::now::{Mono, Now};
use crate::quantities::FlowLabel;
use crate::steering::care_of::{BindingId, CareOf, HomeAddress};
use crate::steering::command::{Expectation, Holder, Owner};
use crate::steering::consent::Policy;
use crate::steering::counters::{Counters, count};
use crate::steering::flow::{DEFAULT_PRIORITY, FlowBinding, FlowId, FlowPorts, Handing, Leaving, Passage};
use crate::steering::gate::Shared;
use crate::steering::keys::{Key, ReplayWindow, Spi};
use crate::steering::route::{Branch, BranchSerial, EndReason, Ended, Join, JoinWay, PacketFacts, Payload, Route, UpdateId};
use crate::steering::session_keys::SessionKeys;
use crate::steering::token::Transfers;

/// Windows with a meaning of their own.
pub struct Window;

impl Window {
    /// As long as the old binding lives: a fork (the greatest value of the wire's field).
    pub const FOREVER: Duration = Duration::from_millis(u32::MAX as u64);
}

/// One home address.
#[derive(Debug)]
pub(crate) struct Home {
    address: HomeAddress,
    media_source: Ipv6Addr,
    shared: Shared,
    counters: Arc<Counters>,
    state: Mutex<HomeState>,
}

impl Home {
    pub(crate) fn new(address: HomeAddress, state: HomeState, counters: Arc<Counters>) -> Self {
        let shared = Shared::new(address);
        shared.set_deadline(state.next_deadline());
        Self { address, media_source: state.media_source, shared, counters, state: Mutex::new(state) }
    }

    pub(crate) const fn address(&self) -> HomeAddress {
        self.address
    }

    pub(crate) const fn media_source(&self) -> Ipv6Addr {
        self.media_source
    }

    pub(crate) const fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, HomeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the data plane the state as it is now.
    pub(crate) fn publish(&self, state: &mut HomeState) {
        self.shared.set_deadline(state.next_deadline());
        self.shared.publish(state.next_route(self.address));
    }

    /// Ends what has come to its end, if anything has.
    pub(crate) fn settle(&self, now: Mono) {
        let mut state = self.state();
        if state.expire(now) {
            self.publish(&mut state);
        } else {
            self.shared.set_deadline(state.next_deadline());
        }
    }

    /// Learns the label of a packet that is as expected; whether that label is the authorised one now.
    pub(crate) fn learn(&self, facts: &PacketFacts) -> bool {
        let Some(label) = FlowLabel::new(facts.label) else { return false };
        let mut state = self.state();
        if state.label.is_none() && !state.released && state.expects(facts) {
            state.set_label(label);
            count(&self.counters.learned);
            self.publish(&mut state);
        }
        state.label == Some(label)
    }

    pub(crate) fn heard(&self, branch: BranchSerial, now: Mono) {
        if self.shared.is_due(now) {
            // What was silent for too long does not come back.
            self.settle(now);
        }
        if let Some(binding) = self.state().bindings.iter_mut().find(|binding| binding.serial == branch) {
            binding.heard = binding.heard.max(now);
        }
    }
}

/// Whether a binding has a branch of the route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// Not yet.
    New,
    /// It has.
    Yes,
    /// It had; now another binding to the same place has.
    Hidden,
}

/// One care-of of a home address.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) id: BindingId,
    pub(crate) serial: BranchSerial,
    pub(crate) care_of: CareOf,
    pub(crate) update: UpdateId,
    /// Home addresses of the same owner in that update.
    pub(crate) together: usize,
    pub(crate) join: Join,
    pub(crate) holder: Holder,
    pub(crate) since: Mono,
    pub(crate) heard: Mono,
    /// `None` lives by the session that made it.
    pub(crate) expires: Option<Mono>,
    /// Whether it has been sent a packet.
    pub(crate) started: bool,
    pub(crate) shown: Shown,
    /// The key under which it was made; only that one and K1 may change it.
    pub(crate) maker: Option<Spi>,
    /// The session key under which RTSP or HTTP has made it, or has given it the flow.
    pub(crate) taken_under: Option<Spi>,
    /// What a Binding Update has said of its place; of others the care-of says all.
    pub(crate) stated: Option<Stated>,
}

/// A place as a Binding Update states it: ports may come from elsewhere, and may differ between flows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stated {
    pub(crate) address: IpAddr,
    /// Our own address that the update was sent to.
    pub(crate) source: Option<IpAddr>,
    pub(crate) priority: u8,
    pub(crate) ports: SmallVec<[FlowPorts; 1]>,
}

impl Stated {
    /// Where a flow's packets go: the ports stated for it, else for all, else those that were agreed on.
    pub(crate) fn care_of(&self, flow: Option<FlowId>, agreed: (u16, u16)) -> CareOf {
        let of = |wanted: Option<FlowId>| self.ports.iter().rev().find(|ports| ports.flow == wanted);
        let stated = flow.and_then(|flow| of(Some(flow))).or_else(|| of(None));
        let (rtp, rtcp) = stated.map_or(agreed, |ports| (ports.rtp, if ports.multiplexed { ports.rtp } else { ports.rtcp }));
        let at = |port| SocketAddr::new(self.address, port);
        CareOf::Udp { rtp: at(rtp), rtcp: at(rtcp), source: self.source }
    }
}

impl Binding {
    fn branch(&self, leaving: bool) -> Branch {
        Branch {
            serial: self.serial,
            binding: self.id,
            care_of: self.care_of,
            update: self.update,
            together: self.together,
            join: self.join,
            leaving,
            until: None,
            since: self.since,
        }
    }

    /// It has lost its flow, or has never had one. With the next one it is another branch.
    fn rest(&mut self) {
        self.shown = Shown::New;
        self.started = false;
    }

    /// It gets a flow again, as another branch.
    pub(crate) fn rise(&mut self, serial: BranchSerial, update: UpdateId, join: Join, now: Mono) {
        self.rest();
        self.serial = serial;
        self.update = update;
        self.together = 1;
        self.join = join;
        self.since = now;
    }
}

/// What the home address itself is sent while nobody is bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtHome {
    /// The ports of RTP and RTCP there.
    pub(crate) ports: (u16, u16),
    pub(crate) source: Option<IpAddr>,
    pub(crate) since: Mono,
    /// The next of a block of numbers that nobody else has.
    pub(crate) serial: u64,
    /// The next of such a block.
    pub(crate) update: u64,
    /// Until when, if it has an end.
    pub(crate) until: Option<Mono>,
    /// Its branch, while it has one.
    pub(crate) shown: Option<Branch>,
}

impl AtHome {
    /// How many numbers a block has.
    pub(crate) const BLOCK: u64 = 1 << 24;

    fn branch(&mut self, home: HomeAddress) -> Branch {
        self.serial += 1;
        self.update += 1;
        let to = |port| SocketAddr::from((home.0, port));
        Branch {
            serial: BranchSerial(self.serial),
            binding: BindingId(0),
            care_of: CareOf::Udp { rtp: to(self.ports.0), rtcp: to(self.ports.1), source: self.source },
            update: UpdateId(self.update),
            together: 1,
            join: Join::default(),
            leaving: false,
            until: None,
            since: self.since,
        }
    }
}

/// A binding that has ended by itself, and has not been told yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Untold {
    pub(crate) binding: BindingId,
    pub(crate) reason: EndReason,
}

/// Everything known of one home address.
#[derive(Debug)]
pub(crate) struct HomeState {
    pub(crate) owner: Owner,
    /// The presentation that plays to it without owning it.
    pub(crate) guest: Option<u64>,
    pub(crate) at_home: Option<AtHome>,
    pub(crate) spi: Spi,
    pub(crate) key: Key,
    pub(crate) media_source: Ipv6Addr,
    /// Of K1, in seconds since 1970.
    pub(crate) validity_end: u64,
    /// Of the reservation; `None` with its owner.
    pub(crate) expires: Option<Mono>,
    pub(crate) label: Option<FlowLabel>,
    pub(crate) expectation: Expectation,
    pub(crate) bindings: Vec<Binding>,
    /// In the order of their identifiers.
    pub(crate) flows: Vec<FlowBinding>,
    /// Ports that were agreed on when the session was set up: for bindings that name none.
    pub(crate) agreed: Option<(u16, u16)>,
    /// Who reserved it by Binding Update (NAI).
    pub(crate) identity: Option<String>,
    /// Whether another server gave it out.
    pub(crate) foreign: Option<Foreign>,
    /// Sequence numbers under K1.
    pub(crate) replay: ReplayWindow,
    pub(crate) session_keys: SessionKeys,
    /// Addresses at the other end of RTSP connections whose sessions play here.
    pub(crate) peers: Vec<(Holder, IpAddr)>,
    pub(crate) transfers: Transfers,
    /// Who must say yes before its flow goes elsewhere, if it was reserved with a policy of its own.
    pub(crate) consent: Option<Policy>,
    pub(crate) released: bool,
    pub(crate) untold: Vec<Untold>,
    /// Where it stands in the cache's deadlines.
    pub(crate) scheduled: Option<Mono>,
    /// How long a binding with a lifetime may be silent.
    liveness: Duration,
    next_drawn: u16,
    ended: VecDeque<Ended>,
    epoch: u64,
}

/// What a home address starts with.
pub(crate) struct Origin {
    pub(crate) owner: Owner,
    pub(crate) spi: Spi,
    pub(crate) key: Key,
    pub(crate) media_source: Ipv6Addr,
    pub(crate) validity_end: u64,
    pub(crate) expires: Option<Mono>,
    pub(crate) liveness: Duration,
    pub(crate) identity: Option<String>,
    pub(crate) foreign: Option<Foreign>,
}

/// What is known of a home address that another server gave out (`docs/signalling.md` section 12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Foreign {
    /// Until when packets may go to the home address itself: a home test was passed not long before.
    pub(crate) tested_until: Mono,
}

/// The ports of RTP and RTCP that are meant where nobody has named any (RFC 3551 section 8).
pub(crate) const USUAL_PORTS: (u16, u16) = (5004, 5005);

impl HomeState {
    pub(crate) fn new(origin: Origin) -> Self {
        let Origin { owner, spi, key, media_source, validity_end, expires, liveness, identity, foreign } = origin;
        Self {
            owner,
            guest: None,
            at_home: None,
            spi,
            key,
            media_source,
            validity_end,
            expires,
            label: None,
            expectation: Expectation::default(),
            bindings: Vec::new(),
            flows: Vec::new(),
            agreed: None,
            identity,
            foreign,
            replay: ReplayWindow::default(),
            session_keys: SessionKeys::default(),
            peers: Vec::new(),
            transfers: Transfers::default(),
            consent: None,
            released: false,
            untold: Vec::new(),
            scheduled: None,
            liveness,
            next_drawn: BindingId::FIRST_DRAWN,
            ended: VecDeque::new(),
            epoch: 0,
        }
    }

    /// The presentation that plays there: the one that owns it, or else its guest.
    pub(crate) const fn player(&self) -> Option<u64> {
        match self.owner {
            Owner::Presentation(id) => Some(id),
            Owner::KeyHolder => self.guest,
        }
    }

    /// Authorises a label; flows that waited to learn theirs have it.
    pub(crate) fn set_label(&mut self, label: FlowLabel) {
        self.label = Some(label);
        for flow in &mut self.flows {
            flow.label.get_or_insert(label);
        }
    }

    pub(crate) fn binding(&self, id: BindingId) -> Option<&Binding> {
        self.bindings.iter().find(|binding| binding.id == id)
    }

    pub(crate) fn binding_mut(&mut self, id: BindingId) -> Option<&mut Binding> {
        self.bindings.iter_mut().find(|binding| binding.id == id)
    }

    /// Whether a binding stays in the final set of the flow. The plain binding has every flow.
    pub(crate) fn stays(&self, id: BindingId) -> bool {
        if id == BindingId::PLAIN {
            return !self.flows.iter().flat_map(|flow| &flow.leaving).any(|leaving| leaving.binding == id);
        }
        self.flows.iter().any(|flow| flow.is_in_force(self.label) && flow.members.contains(&id))
    }

    /// Whether a binding is served until a window ends.
    pub(crate) fn leaves(&self, id: BindingId) -> bool {
        let leaving = |flow: &FlowBinding| flow.is_in_force(self.label) && flow.leaving.iter().any(|leaving| leaving.binding == id);
        !self.stays(id) && self.flows.iter().any(leaving)
    }

    /// When the window ends until which a binding is served.
    fn leaves_at(&self, id: BindingId) -> Option<Mono> {
        let leaving = |flow: &FlowBinding| flow.leaving.iter().filter(|leaving| leaving.binding == id).map(|leaving| leaving.until).max();
        let ends = self.flows.iter().filter(|flow| flow.is_in_force(self.label)).filter_map(leaving).max();
        ends.filter(|_| !self.stays(id))
    }

    /// Whether that device has the flow at that address, and is to keep it. Devices behind one address are told apart.
    pub(crate) fn is_at(&self, device: Holder, address: IpAddr) -> bool {
        let is_it = |binding: &&Binding| binding.holder == device && binding.care_of.ip() == address;
        self.bindings.iter().filter(is_it).any(|binding| self.stays(binding.id))
    }

    /// Whether a binding has the flow.
    pub(crate) fn carries(&self, id: BindingId) -> bool {
        self.stays(id) || self.leaves(id)
    }

    /// The position of the flow that is meant where none is named: the one with the lowest identifier, else one that is made.
    pub(crate) fn default_flow(&mut self) -> usize {
        if self.flows.is_empty() {
            self.flows.push(FlowBinding::new(FlowId::DEFAULT, DEFAULT_PRIORITY, self.label));
        }
        0
    }

    /// Gives a flow another final set. Those that had it and are not in it keep it for the window, and lose it then, each for
    /// the reason that is given for it.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn pass_on(
        &mut self,
        flow: usize,
        members: &[BindingId],
        handing: Handing,
        reason: impl Fn(&Binding) -> EndReason,
        now: Mono,
    ) -> Passage {
        let Handing { window, max_window, successor } = handing;
        // The binding of the whole home address goes only where another one is to have the flow.
        let somebody = members.iter().any(|member| *member != BindingId::PLAIN && self.binding(*member).is_some());
        let plain = self.binding(BindingId::PLAIN).filter(|_| somebody).map(|plain| plain.id);
        let flow = &mut self.flows[flow];
        let had = flow.members.iter().copied().chain(flow.leaving.iter().map(|leaving| leaving.binding)).chain(plain);
        let mut gone: Vec<(BindingId, EndReason)> = Vec::new();
        for id in had {
            if members.contains(&id) || gone.iter().any(|(other, _)| *other == id) {
                continue;
            }
            if let Some(binding) = self.bindings.iter().find(|binding| binding.id == id) {
                gone.push((id, reason(binding)));
            }
        }
        flow.leaving.clear();
        flow.members = SmallVec::from_slice(members);
        if gone.is_empty() {
            return Passage::Set;
        }
        if window == Window::FOREVER {
            flow.members.extend(gone.into_iter().map(|(id, _)| id));
            return Passage::Forked;
        }
        let (until, at_latest) = (now + window, now + window.max(max_window));
        flow.leaving.extend(gone.into_iter().map(|(binding, reason)| Leaving { binding, until, at_latest, successor, reason }));
        if window.is_zero() { Passage::Moved } else { Passage::Moving(window) }
    }

    /// Takes a binding out, and out of the windows it was in. The final set goes on naming one that a Binding Update has made: made
    /// again it has its flow again, and nobody else's refresh gets that meanwhile.
    pub(crate) fn take_out(&mut self, position: usize) -> Binding {
        let binding = self.bindings.remove(position);
        for flow in &mut self.flows {
            flow.leaving.retain(|leaving| leaving.binding != binding.id);
            if binding.maker.is_none() {
                flow.members.retain(|member| *member != binding.id);
            }
        }
        binding
    }

    /// The ports at the home address: those that were agreed on, else those that the device expects, else the usual ones.
    pub(crate) fn home_ports(&self) -> (u16, u16) {
        let expected = self.expectation.ports.map(|(low, high)| (low, if low < high { low + 1 } else { low }));
        self.agreed.or(expected).unwrap_or(USUAL_PORTS)
    }

    /// Where bindings are that a Binding Update has made: their ports may have been agreed on meanwhile.
    fn resolve_places(&mut self) {
        let agreed = self.home_ports();
        let (flows, label) = (&self.flows, self.label);
        for binding in &mut self.bindings {
            let Some(stated) = &binding.stated else { continue };
            let has = |flow: &&FlowBinding| {
                flow.is_in_force(label)
                    && (flow.members.contains(&binding.id) || flow.leaving.iter().any(|leaving| leaving.binding == binding.id))
            };
            binding.care_of = stated.care_of(flows.iter().find(has).map(|flow| flow.id), agreed);
        }
    }

    /// The route after a change.
    fn next_route(&mut self, home: HomeAddress) -> Route {
        self.epoch += 1;
        self.resolve_places();
        let shown = self.choose_shown();
        for position in 0..self.bindings.len() {
            let carries = self.carries(self.bindings[position].id);
            let leaving = self.leaves(self.bindings[position].id);
            let binding = &mut self.bindings[position];
            match (binding.shown, shown.contains(&position)) {
                _ if !carries => binding.rest(),
                (Shown::Yes, false) => {
                    // Its place is still served, so it must not be told BYE.
                    binding.shown = Shown::Hidden;
                    let branch = binding.branch(leaving);
                    remember(&mut self.ended, Ended { branch, reason: EndReason::Roamed });
                }
                (Shown::Hidden, true) => {
                    // Its place was served all the time: nothing is to be made up.
                    binding.shown = Shown::Yes;
                    binding.join.way = JoinWay::AtOnce;
                }
                (Shown::New, true) => binding.shown = Shown::Yes,
                (Shown::Yes, true) | (Shown::New | Shown::Hidden, false) => {}
            }
        }
        let branch = |binding: &Binding| Branch { until: self.leaves_at(binding.id), ..binding.branch(self.leaves(binding.id)) };
        let mut branches: Vec<Branch> = shown.into_iter().filter_map(|position| self.bindings.get(position)).map(branch).collect();
        if let Some(at_home) = self.at_home.as_mut().filter(|_| !self.released) {
            match at_home.shown.take() {
                shown if branches.is_empty() => {
                    let branch = shown.unwrap_or_else(|| at_home.branch(home));
                    at_home.shown = Some(branch);
                    branches.push(branch);
                }
                // The device is elsewhere now: it has not lost the flow.
                Some(branch) => remember(&mut self.ended, Ended { branch, reason: EndReason::Roamed }),
                None => {}
            }
        }
        Route {
            epoch: self.epoch,
            home,
            label: self.label,
            branches,
            ended: self.ended.iter().copied().collect(),
            reserved: !self.released,
            ports: self.home_ports(),
        }
    }

    /// The bindings that have a branch: a place that has the flow twice gets it once, by a binding that stays if there is
    /// one.
    fn choose_shown(&self) -> Vec<usize> {
        let mut shown: Vec<usize> = Vec::with_capacity(self.bindings.len());
        for (position, binding) in self.bindings.iter().enumerate().filter(|(_, binding)| self.carries(binding.id)) {
            match shown.iter_mut().find(|other| self.bindings[**other].care_of.is_same_place(&binding.care_of)) {
                Some(other) if self.leaves(self.bindings[*other].id) && self.stays(binding.id) => *other = position,
                Some(_) => {}
                None => shown.push(position),
            }
        }
        shown
    }

    /// Keeps in mind that a binding, which has lost the flow already, has ended.
    pub(crate) fn note_end(&mut self, binding: &Binding, reason: EndReason) {
        let served_on = reason != EndReason::Released
            && self
                .bindings
                .iter()
                .any(|other| other.serial != binding.serial && self.carries(other.id) && other.care_of.is_same_place(&binding.care_of));
        let reason = if served_on { EndReason::Roamed } else { reason };
        remember(&mut self.ended, Ended { branch: binding.branch(true), reason });
    }

    /// An identifier that no binding has, from the range of those drawn here; not at once one that another just had.
    pub(crate) fn draw_id(&mut self) -> BindingId {
        loop {
            let id = BindingId(self.next_drawn);
            self.next_drawn = self.next_drawn.checked_add(1).unwrap_or(BindingId::FIRST_DRAWN);
            // Ends: there are far fewer bindings than identifiers.
            if !self.bindings.iter().any(|binding| binding.id == id) {
                return id;
            }
        }
    }

    /// Whether a packet is what the home address waits for.
    fn expects(&self, facts: &PacketFacts) -> bool {
        let expected = &self.expectation;
        let payload = match facts.payload {
            Payload::Rtp(payload) => {
                expected.payload_type.is_none_or(|expected| expected == payload)
                    && expected.media.is_none_or(|expected| expected.admits(facts.media))
            }
            Payload::Rtcp => true,
            Payload::Other => false,
        };
        let port = expected.ports.is_none_or(|(low, high)| (low..=high).contains(&facts.destination_port));
        facts.source == self.media_source && payload && port
    }

    /// When K1 has ended, and with it everything derived from it.
    pub(crate) const fn key_has_ended(&self, now: Now) -> bool {
        self.validity_end <= now.utc.unix_seconds()
    }

    /// Whether the reservation's time is over and nobody is bound any more: the home address is to be freed.
    pub(crate) fn is_over(&self, now: Mono) -> bool {
        self.bindings.is_empty() && self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether a branch has been sent a packet, or is no more.
    fn has_started(&self, serial: BranchSerial) -> bool {
        let branch = self.bindings.iter().find(|binding| binding.serial == serial && self.carries(binding.id));
        branch.is_none_or(|binding| binding.started)
    }

    /// When a binding that leaves has left. Where nothing plays there is no first packet to wait for.
    fn window_end(&self, leaving: &Leaving) -> Mono {
        let waits = self.player().is_some() && leaving.successor.is_some_and(|successor| !self.has_started(successor));
        if waits { leaving.at_latest } else { leaving.until }
    }

    /// When a binding ends by its lifetime or by silence.
    fn lifetime_end(&self, binding: &Binding) -> Option<Mono> {
        binding.expires.map(|expires| expires.min(binding.heard + self.liveness))
    }

    /// Everything that ends by itself: windows first.
    fn ends(&self) -> impl Iterator<Item = (Mono, End)> + '_ {
        let of_flow = |(flow, bound): (usize, &FlowBinding)| {
            let each = bound.leaving.iter().enumerate();
            each.map(|(leaving, entry)| (self.window_end(entry), End::Window { flow, leaving })).collect::<SmallVec<[_; 4]>>()
        };
        let windows = self.flows.iter().enumerate().flat_map(of_flow);
        let of_binding = |(position, binding)| Some((self.lifetime_end(binding)?, End::Binding { position }));
        let at_home = self.at_home.and_then(|at_home| Some((at_home.until?, End::AtHome)));
        windows.chain(self.bindings.iter().enumerate().filter_map(of_binding)).chain(at_home)
    }

    /// When something ends next. Later than `now` after [`HomeState::expire`] at `now`, unless the home address is over.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        if self.released {
            return None;
        }
        if self.bindings.is_empty() {
            let at_home = self.at_home.and_then(|at_home| at_home.until);
            return self.expires.into_iter().chain(at_home).min();
        }
        self.ends().map(|(end, _)| end).min()
    }

    /// Ends the windows and bindings whose time has come, in the order in which it came: the end of one may be what another
    /// waited for. Whether there were any.
    pub(crate) fn expire(&mut self, now: Mono) -> bool {
        let mut any = false;
        loop {
            let due = self.ends().filter(|(end, _)| *end <= now).min_by_key(|(end, _)| *end);
            match due {
                None => return any,
                Some((_, End::Window { flow, leaving })) => self.end_window(flow, leaving),
                Some((_, End::AtHome)) => self.at_home = None,
                Some((_, End::Binding { position })) => {
                    let carried = self.carries(self.bindings[position].id);
                    let binding = self.take_out(position);
                    if carried {
                        self.note_end(&binding, EndReason::Expired);
                    }
                    self.untold.push(Untold { binding: binding.id, reason: EndReason::Expired });
                }
            }
            any = true;
        }
    }

    /// A binding has left a flow. One that lives by its session is no more; one with a lifetime stays registered, without the flow.
    fn end_window(&mut self, flow: usize, leaving: usize) {
        let Leaving { binding: id, reason, .. } = self.flows[flow].leaving.remove(leaving);
        let plain = id == BindingId::PLAIN;
        let gone = |position: &usize| plain || !self.carries(self.bindings[*position].id);
        let Some(position) = self.bindings.iter().position(|binding| binding.id == id).filter(gone) else { return };
        if plain || self.bindings[position].expires.is_none() {
            let binding = self.take_out(position);
            self.note_end(&binding, reason);
        } else {
            let binding = self.bindings[position].clone();
            self.note_end(&binding, reason);
            self.bindings[position].rest();
        }
        self.untold.push(Untold { binding: id, reason });
    }
}

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
enum End {
    Window { flow: usize, leaving: usize },
    Binding { position: usize },
    AtHome,
}

fn remember(ended: &mut VecDeque<Ended>, end: Ended) {
    if ended.len() >= Route::ENDED_KEPT {
        ended.pop_front();
    }
    ended.push_back(end);
}
