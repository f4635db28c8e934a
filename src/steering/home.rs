//! The state of one home address: its bindings, which of them are leaving, and what its route is.
//!
//! One lock protects it. Expiry is exact whoever looks first: the data plane at a packet, a command, or the timer; what
//! has ended is told by the cache later, once.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::now::{Mono, Now};
use crate::quantities::FlowLabel;
use crate::steering::care_of::{BindingId, CareOf, HomeAddress};
use crate::steering::command::{Expectation, Holder, Owner};
use crate::steering::counters::{Counters, count};
use crate::steering::gate::Shared;
use crate::steering::keys::{Key, Spi};
use crate::steering::route::{Branch, BranchSerial, EndReason, Ended, Join, JoinWay, PacketFacts, Route, UpdateId};
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
            state.label = Some(label);
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

/// A binding that is served until its transition window ends.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    /// The window's end.
    pub(crate) until: Mono,
    /// It ends then even if its successor has not had a packet.
    pub(crate) at_latest: Mono,
    /// The branch that takes its place.
    pub(crate) successor: BranchSerial,
    pub(crate) reason: EndReason,
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
    pub(crate) leaving: Option<Leaving>,
    pub(crate) shown: Shown,
}

impl Binding {
    fn branch(&self) -> Branch {
        Branch {
            serial: self.serial,
            binding: self.id,
            care_of: self.care_of,
            update: self.update,
            together: self.together,
            join: self.join,
            leaving: self.leaving.is_some(),
            since: self.since,
        }
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
    pub(crate) transfers: Transfers,
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
}

impl HomeState {
    pub(crate) fn new(origin: Origin) -> Self {
        let Origin { owner, spi, key, media_source, validity_end, expires, liveness } = origin;
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
            transfers: Transfers::default(),
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

    /// The route after a change.
    fn next_route(&mut self, home: HomeAddress) -> Route {
        self.epoch += 1;
        let shown = self.choose_shown();
        for (position, binding) in self.bindings.iter_mut().enumerate() {
            match (binding.shown, shown.contains(&position)) {
                (Shown::Yes, false) => {
                    // Its place is still served, so it must not be told BYE.
                    binding.shown = Shown::Hidden;
                    remember(&mut self.ended, Ended { branch: binding.branch(), reason: EndReason::Roamed });
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
        let mut branches: Vec<Branch> = shown.into_iter().filter_map(|position| self.bindings.get(position)).map(Binding::branch).collect();
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
        }
    }

    /// The bindings that have a branch: a place that has the flow twice gets it once, by a binding that stays if there is
    /// one.
    fn choose_shown(&self) -> Vec<usize> {
        let mut shown: Vec<usize> = Vec::with_capacity(self.bindings.len());
        for (position, binding) in self.bindings.iter().enumerate() {
            match shown.iter_mut().find(|other| self.bindings[**other].care_of.is_same_place(&binding.care_of)) {
                Some(other) if self.bindings[*other].leaving.is_some() && binding.leaving.is_none() => *other = position,
                Some(_) => {}
                None => shown.push(position),
            }
        }
        shown
    }

    /// Keeps in mind that a binding, which is taken out already, has ended.
    pub(crate) fn note_end(&mut self, binding: &Binding, reason: EndReason) {
        let served_on = reason != EndReason::Released && self.bindings.iter().any(|other| other.care_of.is_same_place(&binding.care_of));
        let reason = if served_on { EndReason::Roamed } else { reason };
        remember(&mut self.ended, Ended { branch: binding.branch(), reason });
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
        let payload = match (self.expectation.payload_type, facts.payload_type) {
            (Some(expected), Some(payload)) => expected == payload,
            (_, None) | (None, _) => true,
        };
        let port = self.expectation.ports.is_none_or(|(low, high)| (low..=high).contains(&facts.destination_port));
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

    fn has_started(&self, serial: BranchSerial) -> bool {
        self.bindings.iter().find(|binding| binding.serial == serial).is_none_or(|binding| binding.started)
    }

    /// When a binding ends if nothing else happens: when, and why.
    fn end_of(&self, binding: &Binding) -> Option<(Mono, EndReason)> {
        let left = binding.leaving.as_ref().map(|leaving| {
            let until = if self.has_started(leaving.successor) { leaving.until } else { leaving.at_latest };
            (until, leaving.reason)
        });
        let silent = binding.expires.map(|expires| (expires.min(binding.heard + self.liveness), EndReason::Expired));
        [left, silent].into_iter().flatten().min_by_key(|(end, _)| *end)
    }

    /// When something ends next. Later than `now` after [`HomeState::expire`] at `now`, unless the home address is over.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        if self.released {
            return None;
        }
        if self.bindings.is_empty() {
            return self.expires;
        }
        self.bindings.iter().filter_map(|binding| self.end_of(binding)).map(|(end, _)| end).min()
    }

    /// Ends the bindings whose time has come, in the order in which it came: the end of one may be what another waited for.
    /// Whether there were any.
    pub(crate) fn expire(&mut self, now: Mono) -> bool {
        let mut any = false;
        while let Some((position, reason)) = self.first_due(now) {
            let binding = self.bindings.remove(position);
            self.note_end(&binding, reason);
            self.untold.push(Untold { binding: binding.id, reason });
            any = true;
        }
        any
    }

    fn first_due(&self, now: Mono) -> Option<(usize, EndReason)> {
        let ends = self.bindings.iter().enumerate().filter_map(|(position, binding)| {
            let (end, reason) = self.end_of(binding)?;
            (end <= now).then_some((end, position, reason))
        });
        ends.min_by_key(|(end, _, _)| *end).map(|(_, position, reason)| (position, reason))
    }
}

fn remember(ended: &mut VecDeque<Ended>, end: Ended) {
    if ended.len() >= Route::ENDED_KEPT {
        ended.pop_front();
    }
    ended.push_back(end);
}
