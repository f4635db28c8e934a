//! Binding updates: what is checked, and what becomes of the care-ofs (`docs/signalling.md` sections 6, 7 and 9).
//!
//! An update of several home addresses is one step: all are locked in the order of their addresses, all are checked, then
//! all are changed.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crate::now::{Mono, Now};
use crate::steering::cache::BindingCache;
use crate::steering::care_of::{BindingId, CareOf, HomeAddress};
use crate::steering::command::{Authority, Holder, Mode, Owner, Proof, Receipt, SteeringError, Update};
use crate::steering::counters::count;
use crate::steering::event::{Event, EventKind};
use crate::steering::flow::{Handing, Leaving, Passage};
use crate::steering::home::{Binding, Home, HomeState, Shown};
use crate::steering::route::{BranchSerial, EndReason, HandedOver, UpdateId};

/// The unit of lifetimes on the wire, and so the least one.
const LEAST_LIFETIME: Duration = Duration::from_secs(4);

/// The least port that an operator may name without proof.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

impl BindingCache {
    /// Carries out a binding update of one or several home addresses: all of it or nothing.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn update(&self, updates: &[Update], now: Now) -> Result<Receipt, SteeringError> {
        let mut order: Vec<usize> = (0..updates.len()).collect();
        order.sort_by_key(|&index| updates[index].home);
        if order.windows(2).any(|pair| updates[pair[0]].home == updates[pair[1]].home) {
            return Err(SteeringError::NotPermitted);
        }
        let homes: Vec<Arc<Home>> =
            order.iter().map(|&index| self.find(updates[index].home).ok_or(SteeringError::UnknownHome)).collect::<Result<_, _>>()?;
        for home in &homes {
            self.expire_if_due(home, now);
        }
        let mut states: Vec<MutexGuard<'_, HomeState>> = homes.iter().map(|home| home.state()).collect();
        for (state, &index) in states.iter().zip(&order) {
            self.check_and_count(state, &updates[index], now)?;
        }
        let update = UpdateId(self.next_update.fetch_add(1, Ordering::Relaxed));
        let mut bindings = vec![None; updates.len()];
        let mut told = Vec::with_capacity(updates.len());
        for ((home, state), &index) in homes.iter().zip(&mut states).zip(&order) {
            let (binding, serial, kind) = self.apply(state, &updates[index], update, now);
            bindings[index] = Some((home.address(), binding, serial));
            told.push(Event { home: home.address(), player: state.player(), binding, kind });
        }
        note_together(&mut states, update);
        // One after the other without anything between; `together` tells who sees only some of them to wait for the rest.
        for (home, state) in homes.iter().zip(&mut states) {
            home.publish(state);
        }
        for (home, state) in homes.iter().zip(&mut states) {
            self.schedule(home, state);
        }
        drop(states);
        for event in told {
            self.tell(event);
        }
        for home in &homes {
            // A window of no length, to a branch that has started already, is over at once.
            self.expire_if_due(home, now);
        }
        Ok(Receipt { update, bindings: bindings.into_iter().flatten().collect() })
    }

    /// Whether a binding update would be carried out; nothing is changed. Consent is another matter.
    ///
    /// # Errors
    /// Why it would not.
    pub fn may_update(&self, update: &Update, now: Now) -> Result<(), SteeringError> {
        let home = self.find(update.home).ok_or(SteeringError::UnknownHome)?;
        self.expire_if_due(&home, now);
        self.check_and_count(&home.state(), update, now)
    }

    /// Ends a binding by the right that is shown: the holder of a token ends its own only.
    ///
    /// # Errors
    /// `UnknownHome`, `UnknownBinding`, `NotPermitted`.
    pub fn remove_as(
        &self,
        home: HomeAddress,
        id: BindingId,
        authority: &Authority,
        holder: Holder,
        now: Now,
    ) -> Result<(), SteeringError> {
        {
            let found = self.find(home).ok_or(SteeringError::UnknownHome)?;
            let state = found.state();
            permit(&state, home, authority, now)?;
            let binding = state.bindings.iter().find(|binding| binding.id == id).ok_or(SteeringError::UnknownBinding)?;
            if matches!(authority, Authority::Grant(_)) && binding.holder != holder {
                return Err(SteeringError::NotPermitted);
            }
        }
        self.remove_binding(home, id, EndReason::Removed, now)
    }

    fn check_and_count(&self, state: &HomeState, update: &Update, now: Now) -> Result<(), SteeringError> {
        let checked = self.check(state, update, now);
        if checked == Err(SteeringError::CareOfUnproven) {
            count(&self.counters().care_of_unproven);
        }
        checked
    }

    fn check(&self, state: &HomeState, update: &Update, now: Now) -> Result<(), SteeringError> {
        if state.released {
            return Err(SteeringError::UnknownHome);
        }
        permit(state, update.home, &update.authority, now)?;
        let existing = update.binding.and_then(|id| state.bindings.iter().find(|binding| binding.id == id));
        if let Authority::Grant(grant) = &update.authority {
            let another_device = match update.proof {
                Proof::RequestPeer(peer) => state.transfers.is_of_another(grant, peer),
                Proof::Trusted | Proof::Tested | Proof::Served(_) | Proof::Missing => false,
            };
            if another_device || existing.is_some_and(|binding| binding.holder != update.holder) {
                return Err(SteeringError::NotPermitted);
            }
        }
        if update.binding == Some(BindingId(0)) {
            return Err(SteeringError::BindingIdZero);
        }
        if update.mode == Mode::Refresh && existing.is_none() {
            return Err(SteeringError::UnknownBinding);
        }
        if !self.is_acceptable(&update.care_of) {
            return Err(SteeringError::CareOfUnacceptable);
        }
        if !self.is_proven(state, update) {
            return Err(SteeringError::CareOfUnproven);
        }
        // One that has no flow makes room.
        let full = state.bindings.len() >= self.settings().max_bindings && state.bindings.iter().all(|binding| state.carries(binding.id));
        if existing.is_none() && full {
            return Err(SteeringError::TooManyBindings);
        }
        Ok(())
    }

    /// Whether packets can go there: one host, not a home address (that would be a loop), not port 0.
    fn is_acceptable(&self, care_of: &CareOf) -> bool {
        let address = match care_of.ip() {
            IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
            IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some() || self.is_home(v6)),
        };
        let ports = match care_of {
            CareOf::Udp { rtp, rtcp, .. } => rtp.port() != 0 && rtcp.port() != 0 && rtp.ip() == rtcp.ip(),
            CareOf::Interleaved { .. } => true,
        };
        address && ports && !self.is_denied(care_of.ip())
    }

    /// Whether settings keep packets from going there.
    pub(crate) fn is_denied(&self, address: IpAddr) -> bool {
        self.rules().denied_care_of.iter().any(|net| net.contains(&address))
    }

    /// Whether an operator may name that care-of without proof.
    pub fn is_trusted(&self, care_of: SocketAddr) -> bool {
        care_of.port() >= FIRST_UNPRIVILEGED_PORT && self.settings().trusted_care_of.iter().any(|net| net.contains(&care_of.ip()))
    }

    /// Whether the node is known to be there. To know a key proves nothing of it.
    fn is_proven(&self, state: &HomeState, update: &Update) -> bool {
        let address = update.care_of.ip();
        match update.proof {
            Proof::RequestPeer(peer) => peer == address,
            Proof::Trusted => {
                let ports = match update.care_of {
                    CareOf::Udp { rtp, rtcp, .. } => rtp.port().min(rtcp.port()),
                    CareOf::Interleaved { peer, .. } => peer.port(),
                };
                matches!(update.authority, Authority::Operator) && self.is_trusted(SocketAddr::new(address, ports))
            }
            Proof::Tested => true,
            Proof::Served(serial) => state.bindings.iter().any(|binding| {
                let is_it = binding.serial == serial && Some(binding.id) == update.binding && binding.care_of == update.care_of;
                is_it && state.carries(binding.id)
            }),
            Proof::Missing => state.bindings.iter().any(|binding| binding.care_of.ip() == address),
        }
    }

    /// Until when a binding lives: what was asked, but no longer than the longest lifetime and the key behind it.
    fn granted_end(&self, state: &HomeState, update: &Update, now: Now) -> Option<Mono> {
        let asked = update.lifetime?;
        let key_end = match &update.authority {
            Authority::Grant(grant) => grant.validity_end.min(state.validity_end),
            Authority::Owner(_) | Authority::Operator | Authority::HomeKey => state.validity_end,
        };
        let key_left = Duration::from_secs(key_end.saturating_sub(now.utc.unix_seconds()));
        Some(now.mono + asked.min(self.settings().max_lifetime).min(key_left).max(LEAST_LIFETIME))
    }

    /// Changes one home address; what [`BindingCache::check`] checks holds.
    fn apply(&self, state: &mut HomeState, request: &Update, update: UpdateId, now: Now) -> (BindingId, BranchSerial, EventKind) {
        if let (Authority::Grant(grant), Proof::RequestPeer(peer)) = (&request.authority, request.proof) {
            state.transfers.claim(grant, peer, now);
        }
        count(&self.counters().bound);
        let expires = self.granted_end(state, request, now);
        let taken_under = match &request.authority {
            Authority::Grant(grant) => Some(grant.spi),
            Authority::Owner(_) | Authority::Operator | Authority::HomeKey => None,
        };
        let known = request.binding.filter(|id| state.binding(*id).is_some());
        let (stays, leaves) = known.map_or((false, false), |id| (state.stays(id), state.leaves(id)));
        let (id, serial) = match known.and_then(|id| state.binding_mut(id)) {
            Some(binding) => {
                if taken_under.is_some() || binding.care_of.ip() != request.care_of.ip() {
                    binding.taken_under = taken_under;
                }
                binding.care_of = request.care_of;
                binding.stated = None;
                binding.expires = expires;
                binding.heard = now.mono;
                if request.mode == Mode::Refresh || (stays && request.mode == Mode::Fork) {
                    return (binding.id, binding.serial, EventKind::Refreshed);
                }
                if leaves {
                    // Taken back before it has left: it goes on as the branch that it is.
                    binding.update = update;
                    binding.together = 1;
                } else if !stays {
                    binding.rise(self.draw_serial(), update, request.join, now.mono);
                    binding.holder = request.holder;
                }
                (binding.id, binding.serial)
            }
            None => {
                self.make_room(state);
                let id = request.binding.unwrap_or_else(|| state.draw_id());
                let serial = self.draw_serial();
                state.bindings.push(Binding {
                    id,
                    serial,
                    care_of: request.care_of,
                    update,
                    together: 1,
                    join: request.join,
                    holder: request.holder,
                    since: now.mono,
                    heard: now.mono,
                    expires,
                    started: false,
                    shown: Shown::New,
                    maker: None,
                    taken_under,
                    stated: None,
                });
                (id, serial)
            }
        };
        (id, serial, self.part(state, request, (id, serial), stays, update, now))
    }

    pub(crate) fn draw_serial(&self) -> BranchSerial {
        BranchSerial(self.next_serial.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes out the oldest binding without a flow where there are as many as there may be.
    fn make_room(&self, state: &mut HomeState) {
        if state.bindings.len() >= self.settings().max_bindings
            && let Some(position) = state.bindings.iter().position(|binding| !state.carries(binding.id))
        {
            state.take_out(position);
        }
    }

    /// What becomes of the others, now that `successor` has the flow.
    fn part(
        &self,
        state: &mut HomeState,
        request: &Update,
        (id, serial): (BindingId, BranchSerial),
        stayed: bool,
        update: UpdateId,
        now: Now,
    ) -> EventKind {
        let settings = self.settings();
        let window = request.window.unwrap_or(settings.default_window);
        // An operator is no device: what it moves from one binding to another leaves a device behind.
        let by_operator = matches!(request.authority, Authority::Operator);
        let reason = |other: &Binding| {
            if other.holder == request.holder && !by_operator { EndReason::Roamed } else { EndReason::Moved }
        };
        let flow = state.default_flow();
        let others = state.bindings.iter().any(|other| other.id != id && state.carries(other.id));
        let passage = match request.mode {
            Mode::Move => {
                let handing = Handing { window, max_window: settings.max_window, successor: Some(serial) };
                state.pass_on(flow, &[id], handing, reason, now.mono)
            }
            Mode::Fork | Mode::Refresh => {
                let (until, at_latest) = (now.mono + window, now.mono + window.max(settings.max_window));
                // A device that forks to itself without naming a binding has merely roamed.
                let roamed: Vec<BindingId> = match request.binding {
                    None => state
                        .bindings
                        .iter()
                        .filter(|other| other.id != id && reason(other) == EndReason::Roamed)
                        .map(|other| other.id)
                        .collect(),
                    Some(_) => Vec::new(),
                };
                let flow = &mut state.flows[flow];
                flow.leaving.retain(|leaving| leaving.binding != id);
                for binding in roamed {
                    let had = flow.members.contains(&binding) || flow.leaving.iter().any(|leaving| leaving.binding == binding);
                    if had {
                        flow.members.retain(|member| *member != binding);
                        flow.leaving.retain(|leaving| leaving.binding != binding);
                        flow.leaving.push(Leaving { binding, until, at_latest, successor: Some(serial), reason: EndReason::Roamed });
                    }
                }
                if !flow.members.contains(&id) {
                    flow.members.push(id);
                }
                Passage::Forked
            }
        };
        let staying = state.bindings.iter().any(|other| other.id != id && state.stays(other.id));
        let counters = self.counters();
        match (passage, request.mode) {
            (Passage::Moving(_), _) => count(&counters.moving),
            (Passage::Moved, _) => count(&counters.moved),
            (Passage::Forked, Mode::Move) => count(&counters.forked),
            (Passage::Forked, _) if staying => count(&counters.forked),
            (Passage::Forked | Passage::Set, _) => count(&counters.flow_set),
        }
        match passage {
            Passage::Set if stayed => EventKind::Refreshed,
            Passage::Moving(window) => EventKind::Moving { update, window },
            Passage::Moved => EventKind::Moving { update, window: Duration::ZERO },
            _ if staying => EventKind::Forked { update },
            _ if others => EventKind::Moving { update, window },
            _ => EventKind::Bound,
        }
    }

    /// A branch has been sent its first packet: those that it replaces may end.
    pub fn branch_started(&self, home: HomeAddress, branch: BranchSerial, now: Now) {
        let Some(found) = self.find(home) else { return };
        self.expire_if_due(&found, now);
        let waited_for = {
            let mut state = found.state();
            let Some(position) = state.bindings.iter().position(|binding| binding.serial == branch && state.carries(binding.id)) else {
                return;
            };
            state.bindings[position].started = true;
            state.flows.iter().flat_map(|flow| &flow.leaving).any(|leaving| leaving.successor == Some(branch))
        };
        if waited_for {
            self.expire(&found, now);
            // A window's end may be nearer now.
            (self.changed)(home, None);
        }
    }

    /// Tells what the hand-over to a branch came to.
    pub fn handed_over(&self, home: HomeAddress, branch: BranchSerial, outcome: HandedOver) {
        let Some(found) = self.find(home) else { return };
        let (player, binding) = {
            let state = found.state();
            let Some(binding) = state.bindings.iter().find(|binding| binding.serial == branch) else { return };
            (state.player(), binding.id)
        };
        self.tell(Event { home, player, binding, kind: EventKind::HandedOver(outcome) });
    }
}

/// Tells each branch that an update has made how many of its owner's home addresses have one.
fn note_together(states: &mut [MutexGuard<'_, HomeState>], update: UpdateId) {
    let made = |state: &HomeState| state.bindings.iter().any(|binding| binding.update == update);
    let owners: Vec<Owner> = states.iter().filter(|state| made(state)).map(|state| state.owner).collect();
    for state in states {
        let together = owners.iter().filter(|owner| **owner == state.owner).count();
        for binding in state.bindings.iter_mut().filter(|binding| binding.update == update) {
            binding.together = together;
        }
    }
}

/// Whether the right that is shown reaches this home address.
fn permit(state: &HomeState, home: HomeAddress, authority: &Authority, now: Now) -> Result<(), SteeringError> {
    let permitted = match authority {
        Authority::Operator => true,
        Authority::HomeKey => !state.key_has_ended(now),
        Authority::Owner(owner) => *owner == state.owner && *owner != Owner::KeyHolder,
        Authority::Grant(grant) => grant.home == home && state.honours(grant, now),
    };
    if permitted { Ok(()) } else { Err(SteeringError::NotPermitted) }
}
