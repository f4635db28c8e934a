//! Carries Binding Updates out (`docs/signalling.md` sections 5 and 6): finds their keys, checks in order, binds.
//!
//! The carriage has checked the message's form and its authentication; all that depends on the state of a home address is
//! checked and done here, in one step, under that address's lock. What an update asks of flows is done in `passage`.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::now::Now;
use crate::steering::cache::{BindingCache, remove_at};
use crate::steering::care_of::{BindingId, CareOf, HomeAddress, is_host};
use crate::steering::command::{Holder, Owner, Reserve};
use crate::steering::consent::{Side, Way, Wish};
use crate::steering::counters::count;
use crate::steering::event::{Event, EventKind};
use crate::steering::flow::{FlowPorts, MAX_FLOWS, Passage};
use crate::steering::home::{Binding, Home, HomeState, Shown, Stated};
use crate::steering::keys::{Key, KeyParameters, Spi, home_key, session_key};
use crate::steering::registration::{
    GrantError, Granted, KeyClaim, KeyKind, NamedBinding, Registered, Registration, RegistrationError, StatedPorts, UpdateKey,
};
use crate::steering::route::{BranchSerial, EndReason, UpdateId};
use crate::steering::session_keys::SessionKey;

/// The unit of lifetimes on the wire (RFC 6275 section 6.1.7).
const LIFETIME_UNIT: Duration = Duration::from_secs(4);
/// Ports stated for one binding at most: each flow's own, and those for all.
const MAX_PORTS: usize = MAX_FLOWS + 1;
/// How many keys may lie between a session key and K1.
const MAX_DESCENT: usize = 8;

impl BindingCache {
    /// The key that a Binding Update for `home` says it is authenticated with: one that is known, else the one that its claim
    /// derives, if that has the right name. Nothing changes. `may_derive` is asked before anything is computed.
    pub fn update_key(
        &self,
        home: Option<HomeAddress>,
        spi: Spi,
        claim: Option<KeyClaim<'_>>,
        may_derive: impl FnOnce() -> bool,
    ) -> Option<UpdateKey> {
        if spi.0 <= Spi::LAST {
            let owner = self.home_of(spi)?;
            let key = self.find(owner)?.state().key.clone();
            return Some(UpdateKey { spi, key, kind: KeyKind::Home(owner) });
        }
        let (home, found) = home.and_then(|home| Some((home, self.find(home)?)))?;
        let state = found.state();
        if let Some(known) = state.session_keys.find(spi) {
            return Some(UpdateKey { spi, key: known.key.clone(), kind: KeyKind::Known });
        }
        let claim = claim?;
        let (parent, parent_end) = state.live_parent(claim.parent)?;
        if !may_derive() {
            return None;
        }
        let parameters = KeyParameters {
            home,
            label: claim.label,
            validity_end: claim.validity_end,
            media_source: claim.media_source,
            transfer_id: claim.transfer_id,
            identity: claim.identity.map(ToOwned::to_owned),
        };
        let (derived, key) = session_key(&parent, &parameters);
        if derived != spi {
            return None;
        }
        let validity_end = claim.validity_end.min(parent_end);
        let made = SessionKey { spi, key: key.clone(), parent: claim.parent, validity_end, parameters, replay: Default::default() };
        Some(UpdateKey { spi, key, kind: KeyKind::Derived(Box::new(made)) })
    }

    /// The care-of that is stored for a binding.
    pub fn stored_care_of(&self, home: HomeAddress, id: BindingId) -> Option<IpAddr> {
        self.find(home)?.state().binding(id).map(|binding| binding.care_of.ip())
    }

    /// Whether a home address is reserved.
    pub fn is_reserved(&self, home: HomeAddress) -> bool {
        self.find(home).is_some()
    }

    /// Reserves a home address for an identity, or renews it.
    ///
    /// # Errors
    /// Why not.
    pub fn reserve_for(
        &self,
        nai: &str,
        provisioned: &Key,
        address: Option<HomeAddress>,
        media_source: Ipv6Addr,
        now: Now,
    ) -> Result<Granted, GrantError> {
        if let Some(held) = address.and_then(|address| self.find(address)) {
            self.expire_if_due(&held, now);
            if let Some(renewed) = self.renew(&held, nai, provisioned, now) {
                return Ok(renewed);
            }
        }
        let has = self.all().iter().filter(|home| home.state().identity.as_deref() == Some(nai)).count();
        if has >= self.rules().max_homes_per_identity {
            return Err(GrantError::Resources);
        }
        if address.is_some_and(|address| self.is_reserved(address)) {
            return Err(GrantError::HeldByAnother);
        }
        let request = Reserve { owner: Owner::KeyHolder, address, lifetime: None, media_source };
        match self.reserve_as(&request, Some((nai, provisioned)), now) {
            Ok(made) => Ok(Granted { home: made.home, spi: made.spi, validity_end: made.validity_end }),
            Err(_) if address.is_some() => Err(GrantError::NotOfPool),
            Err(_) => Err(GrantError::Resources),
        }
    }

    fn renew(&self, home: &Arc<Home>, nai: &str, provisioned: &Key, now: Now) -> Option<Granted> {
        let mut state = home.state();
        if state.released || state.identity.as_deref() != Some(nai) {
            return None;
        }
        let lifetime = self.settings().max_reservation;
        state.validity_end = (now.utc + lifetime).unix_seconds();
        state.expires = Some(now.mono + lifetime);
        state.key = home_key(provisioned, home.address(), state.spi, nai);
        self.schedule(home, &mut state);
        count(&self.counters().renewed);
        Some(Granted { home: home.address(), spi: state.spi, validity_end: state.validity_end })
    }

    /// Carries out a Binding Update under a home key or a session key: the steps of `docs/signalling.md` section 6 from the
    /// sequence number on. A number that passes is recorded whatever comes after it.
    ///
    /// # Errors
    /// Why nothing else was changed.
    pub fn register(&self, request: &Registration<'_>, now: Now) -> Result<Registered, RegistrationError> {
        let outcome = self.carry_out(request, now);
        if let (Err(RegistrationError::Withheld(_)), Some(home)) = (&outcome, request.home) {
            // There may be a question now.
            (self.changed)(home, None);
        }
        outcome
    }

    fn carry_out(&self, request: &Registration<'_>, now: Now) -> Result<Registered, RegistrationError> {
        self.record_number(request, now)?;
        if !request.whole_prefix {
            return Err(RegistrationError::Prefix);
        }
        if let KeyKind::Home(owner) = request.key.kind
            && Some(owner) != request.home
        {
            let ended = self.find(owner).is_none_or(|owner| owner.state().key_has_ended(now));
            return Err(if ended { RegistrationError::KeyRefused } else { RegistrationError::NotThisHome });
        }
        let home = request.home.ok_or(RegistrationError::NotThisHome)?;
        let found = self.find(home).ok_or(RegistrationError::UnknownHome)?;
        let (outcome, told) = {
            let mut state = found.state();
            if state.released {
                return Err(RegistrationError::UnknownHome);
            }
            self.check_registration(&state, request, now)?;
            let whole = matches!(request.binding, NamedBinding::Whole);
            if request.lifetime.is_zero() {
                let named = match request.binding {
                    NamedBinding::One { id, .. } => state.bindings.iter().position(|binding| binding.id == id),
                    _ => None,
                };
                let told = named.map(|position| remove_at(&found, &mut state, position, EndReason::Removed));
                drop(state);
                match told {
                    Some(told) => {
                        self.tell(told);
                        self.expire(&found, now);
                    }
                    // Nobody's leave is asked: what has been released meanwhile is released.
                    None => drop(self.release(home, now)),
                }
                return Ok(Registered { lifetime: Duration::ZERO, flows: SmallVec::new() });
            }
            self.check_care_of(&state, request)?;
            if let Err(error) = self.check_consent(&state, request, home, now) {
                drop(state);
                // There may be a question to tell of.
                (self.changed)(home, None);
                return Err(error);
            }
            let (outcome, id, kind) =
                if whole { self.bind_whole(&mut state, request, now) } else { self.bind_one(&mut state, request, now) };
            found.publish(&mut state);
            self.schedule(&found, &mut state);
            (outcome, Event { home, player: state.player(), binding: id, kind })
        };
        self.tell(told);
        self.expire_if_due(&found, now);
        Ok(outcome)
    }

    /// Step 8: the sequence number, under the key's own association wherever that is.
    fn record_number(&self, request: &Registration<'_>, now: Now) -> Result<(), RegistrationError> {
        let of = match &request.key.kind {
            KeyKind::Home(owner) => Some(*owner),
            KeyKind::Known | KeyKind::Derived(_) => request.home,
        };
        let found = of.and_then(|home| self.find(home)).ok_or(RegistrationError::UnknownHome)?;
        self.expire_if_due(&found, now);
        let mut state = found.state();
        if state.released {
            return Err(RegistrationError::UnknownHome);
        }
        let accepted = match &request.key.kind {
            // Its home address was released meanwhile, and reserved again.
            KeyKind::Home(_) if state.spi != request.key.spi => return Err(RegistrationError::UnknownHome),
            KeyKind::Home(_) => state.replay.accept(request.sequence),
            KeyKind::Known => match state.session_keys.find_mut(request.key.spi) {
                Some(known) => known.replay.accept(request.sequence),
                None => return Err(RegistrationError::UnknownHome),
            },
            KeyKind::Derived(made) => {
                if state.refuses_key(made, now) {
                    return Err(RegistrationError::KeyRefused);
                }
                let mut made = SessionKey::clone(made);
                let accepted = made.replay.accept(request.sequence);
                // K1 is one of them; those that nothing can be done under make room.
                let most = self.rules().max_keys.saturating_sub(1);
                if state.session_keys.len() >= most {
                    let useless: Vec<Spi> =
                        state.session_keys.iter().filter(|known| state.refuses_key(known, now)).map(|known| known.spi).collect();
                    state.session_keys.drop_all(&useless);
                }
                if !state.session_keys.keep(made, most) {
                    return Err(RegistrationError::Full);
                }
                accepted
            }
        };
        accepted.map_err(|last| RegistrationError::Sequence { last })
    }

    /// Steps 11 and 12.
    fn check_registration(&self, state: &HomeState, request: &Registration<'_>, now: Now) -> Result<(), RegistrationError> {
        let removes = request.lifetime.is_zero();
        let session = match request.key.kind {
            KeyKind::Home(_) if state.spi != request.key.spi || state.key_has_ended(now) => return Err(RegistrationError::KeyRefused),
            KeyKind::Home(_) => false,
            KeyKind::Known | KeyKind::Derived(_) => {
                let known = state.session_keys.find(request.key.spi).ok_or(RegistrationError::KeyRefused)?;
                if state.refuses_key(known, now) {
                    return Err(RegistrationError::KeyRefused);
                }
                true
            }
        };
        match request.binding {
            NamedBinding::Several => Err(RegistrationError::SeveralBindings),
            NamedBinding::Malformed | NamedBinding::One { id: BindingId::PLAIN, .. } => Err(RegistrationError::BindingMalformed),
            NamedBinding::Whole if session => Err(RegistrationError::NotPermitted),
            NamedBinding::Whole => Ok(()),
            NamedBinding::One { id, with_care_of, .. } => {
                let known = state.binding(id);
                if removes && known.is_none() {
                    return Err(RegistrationError::NotThisHome);
                }
                if state.binding(BindingId::PLAIN).is_some() {
                    return Err(RegistrationError::WholeIsBound);
                }
                if !with_care_of && known.is_none() {
                    return Err(RegistrationError::NoCareOf);
                }
                if session && known.is_some_and(|known| known.maker != Some(request.key.spi)) {
                    return Err(RegistrationError::NotPermitted);
                }
                Ok(())
            }
        }
    }

    /// Steps 14 to 16.
    fn check_care_of(&self, state: &HomeState, request: &Registration<'_>) -> Result<(), RegistrationError> {
        let address = request.care_of;
        if !is_host(address, request.sender) {
            let in_binding = matches!(request.binding, NamedBinding::One { with_care_of: true, .. });
            return Err(if in_binding { RegistrationError::BindingMalformed } else { RegistrationError::CareOfUnacceptable });
        }
        if matches!(address, IpAddr::V6(v6) if self.is_home(v6)) || self.is_denied(address) {
            return Err(RegistrationError::CareOfUnacceptable);
        }
        let bound = state.bindings.iter().any(|binding| binding.care_of.ip() == address);
        let peer = self.rules().rtsp_peers_are_proven && state.peers.iter().any(|(_, peer)| *peer == address);
        if !(request.tested || bound || peer) {
            count(&self.counters().care_of_unproven);
            return Err(RegistrationError::CareOfUnproven);
        }
        match request.binding {
            NamedBinding::One { id, .. } if state.binding(id).is_none() && state.bindings.len() >= self.settings().max_bindings => {
                Err(RegistrationError::Full)
            }
            _ => Ok(()),
        }
    }

    /// Whether the flow may go there, as far as that is not the key's alone to say. Of a refusal nothing is changed, and
    /// the same update, with another number, is accepted behind a yes.
    fn check_consent(&self, state: &HomeState, request: &Registration<'_>, home: HomeAddress, now: Now) -> Result<(), RegistrationError> {
        let side = match request.key.kind {
            KeyKind::Home(_) => Side::Holder,
            KeyKind::Known | KeyKind::Derived(_) => Side::Taker,
        };
        let wish = Wish {
            flows: &[(home, request.key.spi)],
            taker: request.care_of,
            side,
            by_itself: request.care_of == request.sender,
            way: Way::BindingUpdate,
            pin: None,
        };
        let id = match request.binding {
            NamedBinding::One { id, .. } => id,
            _ => BindingId::PLAIN,
        };
        self.consent_at(state, &wish, holder_of(request, id), now).map_err(RegistrationError::Withheld)
    }

    fn lifetime_of(&self, state: &HomeState, request: &Registration<'_>, now: Now) -> Duration {
        let key_end = match &request.key.kind {
            KeyKind::Home(_) => state.validity_end,
            KeyKind::Known | KeyKind::Derived(_) => {
                state.session_keys.find(request.key.spi).map_or(0, |known| known.validity_end).min(state.validity_end)
            }
        };
        granted(request.lifetime.min(self.settings().max_lifetime), key_end, now)
    }

    /// The whole home address, without an identifier: it takes the place of every binding at once (RFC 6275).
    fn bind_whole(&self, state: &mut HomeState, request: &Registration<'_>, now: Now) -> (Registered, BindingId, EventKind) {
        let lifetime = self.lifetime_of(state, request, now);
        let id = BindingId::PLAIN;
        let holder = holder_of(request, id);
        let stated = stated_place(request, id, 0);
        let known = state.binding(id).map(|known| (known.serial, known.started, known.shown, known.update, known.since));
        let had = !state.bindings.is_empty();
        while let Some(position) = state.bindings.iter().position(|other| other.id != id) {
            let carried = state.carries(state.bindings[position].id);
            let other = state.take_out(position);
            if carried {
                let reason = if other.holder == holder { EndReason::Roamed } else { EndReason::Moved };
                state.note_end(&other, reason);
            }
        }
        // Flows stay as they are; it has all of them, and leaves none.
        state.flows.iter_mut().for_each(|flow| flow.leaving.clear());
        let care_of = stated.care_of(None, state.home_ports());
        if known.is_some() {
            if let Some(binding) = state.binding_mut(id) {
                binding.care_of = care_of;
                binding.stated = Some(stated);
                binding.expires = Some(now.mono + lifetime);
                binding.heard = now.mono;
            }
        } else {
            self.add(state, request, id, care_of, stated, lifetime, UpdateId(self.next_update.fetch_add(1, Ordering::Relaxed)), now);
        }
        count(&self.counters().bound);
        let flows = self.set_flows(state, request, id, now);
        let kind = match (known, had) {
            (Some(_), _) => EventKind::Refreshed,
            (None, true) => EventKind::Moving { update: UpdateId(0), window: Duration::ZERO },
            (None, false) => EventKind::Bound,
        };
        (Registered { lifetime, flows: flows.0 }, id, kind)
    }

    #[allow(clippy::too_many_arguments)]
    fn add(
        &self,
        state: &mut HomeState,
        request: &Registration<'_>,
        id: BindingId,
        care_of: CareOf,
        stated: Stated,
        lifetime: Duration,
        update: UpdateId,
        now: Now,
    ) -> BranchSerial {
        let serial = self.draw_serial();
        state.bindings.push(Binding {
            id,
            serial,
            care_of,
            update,
            together: 1,
            join: request.join,
            holder: holder_of(request, id),
            since: now.mono,
            heard: now.mono,
            expires: Some(now.mono + lifetime),
            started: false,
            shown: Shown::New,
            maker: Some(request.key.spi),
            taken_under: None,
            stated: Some(stated),
        });
        serial
    }

    /// Adds or updates one binding, and what the update asks of flows.
    fn bind_one(&self, state: &mut HomeState, request: &Registration<'_>, now: Now) -> (Registered, BindingId, EventKind) {
        let NamedBinding::One { id, priority, .. } = request.binding else {
            return (Registered { lifetime: Duration::ZERO, flows: SmallVec::new() }, BindingId::PLAIN, EventKind::Refreshed);
        };
        let lifetime = self.lifetime_of(state, request, now);
        let stated = stated_place(request, id, priority);
        let care_of = stated.care_of(None, state.home_ports());
        let is_new = state.binding(id).is_none();
        if let Some(binding) = state.binding_mut(id) {
            if binding.maker.is_none() {
                // One that RTSP or HTTP has made, now refreshed by the home key.
                binding.maker = Some(request.key.spi);
            }
            binding.care_of = care_of;
            binding.stated = Some(stated);
            binding.expires = Some(now.mono + lifetime);
            binding.heard = now.mono;
        } else {
            let update = self.hand_over(state, request, now);
            self.add(state, request, id, care_of, stated, lifetime, update, now);
        }
        // Ports of other bindings, as far as the key may change those.
        for ports in &request.ports {
            let Some(other) = ports.binding.filter(|other| *other != id) else { continue };
            let by_home_key = matches!(request.key.kind, KeyKind::Home(_));
            if let Some(binding) = state.binding_mut(other)
                && (by_home_key || binding.maker == Some(request.key.spi))
                && let Some(stated) = &mut binding.stated
            {
                note_ports(&mut stated.ports, ports.ports);
            }
        }
        count(&self.counters().bound);
        let (mut flows, mut passage) = self.set_flows(state, request, id, now);
        if is_new && request.flows.is_empty() {
            passage = Some(self.take_default_flow(state, request, id, now));
            flows.clear();
        }
        let update = state.binding(id).map_or(UpdateId(0), |binding| binding.update);
        let kind = match passage {
            None | Some(Passage::Set) if !is_new => EventKind::Refreshed,
            Some(Passage::Moving(window)) => EventKind::Moving { update, window },
            Some(Passage::Moved) => EventKind::Moving { update, window: Duration::ZERO },
            Some(Passage::Forked) => EventKind::Forked { update },
            Some(Passage::Set) if state.bindings.iter().any(|other| other.id != id && state.stays(other.id)) => {
                EventKind::Forked { update }
            }
            _ => EventKind::Bound,
        };
        (Registered { lifetime, flows }, id, kind)
    }

    /// Notes that an RTSP session which plays to a home address is connected from there: signalling from there needs no test.
    pub fn note_peer(&self, home: HomeAddress, session: Holder, peer: IpAddr) {
        /// Sessions noted for one home address at most.
        const MAX_PEERS: usize = 16;
        let Some(found) = self.find(home) else { return };
        let mut state = found.state();
        state.peers.retain(|(other, _)| *other != session);
        if state.peers.len() < MAX_PEERS {
            state.peers.push((session, peer));
        }
    }

    /// An RTSP request came from there: care-ofs there are alive.
    pub fn heard_from(&self, home: HomeAddress, peer: IpAddr, now: Now) {
        let Some(found) = self.find(home) else { return };
        self.expire_if_due(&found, now);
        let mut state = found.state();
        for binding in state.bindings.iter_mut().filter(|binding| binding.care_of.ip() == peer) {
            binding.heard = binding.heard.max(now.mono);
        }
    }

    /// An RTSP session is connected no more.
    pub fn forget_peer(&self, home: HomeAddress, session: Holder) {
        if let Some(found) = self.find(home) {
            found.state().peers.retain(|(other, _)| *other != session);
        }
    }

    /// What is left of a binding that a Binding Update made and that has the flow; `None` where it has not, or is no more.
    pub fn time_left(&self, home: HomeAddress, id: BindingId, now: Now) -> Option<Duration> {
        let found = self.find(home)?;
        let state = found.state();
        let binding = state.binding(id).filter(|binding| binding.stated.is_some() && state.carries(id))?;
        binding.expires.map(|expires| expires.since(now.mono))
    }
}

impl HomeState {
    /// A key that session keys may be derived from, and when it ends.
    fn live_parent(&self, spi: Spi) -> Option<(Key, u64)> {
        if self.foreign.is_none() && spi == self.spi {
            return Some((self.key.clone(), self.validity_end));
        }
        let known = self.session_keys.find(spi)?;
        // Whether anything may be done under what is derived from it is said later, to who proves to have it.
        Some((known.key.clone(), known.validity_end))
    }

    /// Whether a key or one that it descends from was revoked.
    fn is_revoked(&self, key: &SessionKey) -> bool {
        let mut at = key;
        for _ in 0..MAX_DESCENT {
            if at.parent == self.spi {
                return self.transfers.refuses(at.parameters.transfer_id, at.spi);
            }
            if self.transfers.was_revoked(at.spi) {
                return true;
            }
            match self.session_keys.find(at.parent) {
                Some(parent) => at = parent,
                // It has ended or was revoked, and has made room.
                None => return true,
            }
        }
        true
    }

    /// Whether nothing may be done under a session key (any more): it has ended, was revoked, or is for another flow.
    fn refuses_key(&self, key: &SessionKey, now: Now) -> bool {
        let second = now.utc.unix_seconds();
        key.validity_end <= second
            || self.validity_end <= second
            || key.parameters.media_source != self.media_source
            || self.label.is_some_and(|label| label != key.parameters.label)
            || self.is_revoked(key)
    }
}

/// What is granted of a lifetime: no longer than the key lives, in whole units, at least one.
pub(crate) fn granted(asked: Duration, key_end: u64, now: Now) -> Duration {
    let left = Duration::from_secs(key_end.saturating_sub(now.utc.unix_seconds()));
    let units = asked.min(left).as_secs() / LIFETIME_UNIT.as_secs();
    LIFETIME_UNIT * u32::try_from(units.max(1)).unwrap_or(u32::MAX)
}

/// The device: who has the key, unless it speaks for somebody at another address.
fn holder_of(request: &Registration<'_>, id: BindingId) -> Holder {
    let spi = u64::from(request.key.spi.0);
    if request.sender == request.care_of { Holder(spi | 1 << 61) } else { Holder(spi | u64::from(id.0) << 32 | 1 << 60) }
}

/// In place of those stated for the same flow before; with too many the oldest are forgotten.
fn note_ports(ports: &mut SmallVec<[FlowPorts; 1]>, stated: FlowPorts) {
    ports.retain(|known| known.flow != stated.flow);
    if ports.len() >= MAX_PORTS {
        ports.remove(0);
    }
    ports.push(stated);
}

fn stated_place(request: &Registration<'_>, id: BindingId, priority: u8) -> Stated {
    let own = |ports: &&StatedPorts| ports.binding.is_none_or(|binding| binding == id);
    let mut ports: SmallVec<[FlowPorts; 1]> = SmallVec::new();
    for stated in request.ports.iter().filter(own) {
        note_ports(&mut ports, stated.ports);
    }
    let source = request.asked.filter(|asked| asked.is_ipv6() == request.care_of.is_ipv6() && !asked.is_loopback());
    Stated { address: request.care_of, source, priority, ports }
}
