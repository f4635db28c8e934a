//! What a Binding Update asks of flows: which bindings a flow goes to from now on, and what becomes of the others
//! (`docs/signalling.md` sections 6.2 and 7).

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::now::{Mono, Now};
use crate::steering::cache::{BindingCache, lock};
use crate::steering::care_of::BindingId;
use crate::steering::counters::count;
use crate::steering::flow::{FlowBinding, FlowId, Handing, MAX_FLOWS, Passage};
use crate::steering::home::{Binding, HomeState};
use crate::steering::registration::{FlowRequest, FlowStatus, FlowStatuses, KeyKind, Registration};
use crate::steering::route::{EndReason, UpdateId};

/// How long flows of one hand-over join from where the first of them did.
const HAND_OVER: Duration = Duration::from_secs(1);
/// Hand-overs remembered at most.
const MAX_HAND_OVERS: usize = 64;

/// What the flows of one hand-over have in common, though each has an update of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Common {
    /// The transfer that their keys were made for.
    Transfer(u32),
    /// Where to: who reserved the home addresses gives them away one by one.
    CareOf(IpAddr),
}

/// A flow of some hand-over has moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    player: u64,
    common: Common,
    update: UpdateId,
    at: Mono,
}

impl BindingCache {
    /// The update that a new branch belongs to: that of the hand-over's other flows, where those have moved just now.
    pub(crate) fn hand_over(&self, state: &HomeState, request: &Registration<'_>, now: Now) -> UpdateId {
        let fresh = || UpdateId(self.next_update.fetch_add(1, Ordering::Relaxed));
        let transfer = state.session_keys.find(request.key.spi).map(|known| known.parameters.transfer_id);
        let common = transfer.map_or(Common::CareOf(request.care_of), Common::Transfer);
        let Some(player) = state.player() else { return fresh() };
        let mut recent = lock(&self.hand_overs);
        recent.retain(|other| now.mono.since(other.at) < HAND_OVER);
        // A flow that has moved by it, or since, and now moves again: that is another hand-over.
        let has_moved = |update: UpdateId| {
            let moved = |binding: &&Binding| state.carries(binding.id) && binding.update >= update && binding.since != now.mono;
            state.bindings.iter().any(|binding| moved(&binding))
        };
        let same = recent.iter().position(|other| other.common == common && other.player == player);
        match same.and_then(|position| recent.get(position)) {
            Some(same) if !has_moved(same.update) => return same.update,
            _ => {}
        }
        if let Some(position) = same {
            recent.remove(position);
        }
        let update = fresh();
        if recent.len() >= MAX_HAND_OVERS {
            recent.pop_front();
        }
        recent.push_back(HandOver { player, common, update, at: now.mono });
        update
    }

    /// What a new binding gets where the update names no flow.
    pub(crate) fn take_default_flow(&self, state: &mut HomeState, request: &Registration<'_>, id: BindingId, now: Now) -> Passage {
        let flow = state.default_flow();
        if state.label.is_none()
            && let Some(known) = state.session_keys.find(request.key.spi)
        {
            let label = known.parameters.label;
            state.set_label(label);
        }
        self.pass_flow_on(state, request, flow, &[id], id, now)
    }

    /// Gives a flow its final set, and counts what became of it.
    fn pass_flow_on(
        &self,
        state: &mut HomeState,
        request: &Registration<'_>,
        flow: usize,
        members: &[BindingId],
        id: BindingId,
        now: Now,
    ) -> Passage {
        let rising: SmallVec<[BindingId; 4]> =
            members.iter().copied().filter(|member| state.binding(*member).is_some() && !state.carries(*member)).collect();
        for member in rising {
            let is_fresh = state.binding(member).is_some_and(|binding| !binding.started && binding.since == now.mono);
            if !is_fresh {
                let (serial, update) = (self.draw_serial(), self.hand_over(state, request, now));
                if let Some(binding) = state.binding_mut(member) {
                    binding.rise(serial, update, request.join, now.mono);
                }
            }
        }
        let goes_first = if members.contains(&id) { Some(id) } else { members.first().copied() };
        let successor = goes_first.and_then(|id| state.binding(id)).map(|binding| binding.serial);
        let device = goes_first.and_then(|id| state.binding(id)).map(|binding| binding.holder);
        let reason = |other: &Binding| if Some(other.holder) == device { EndReason::Roamed } else { EndReason::Moved };
        let settings = self.settings();
        let window = request.window.unwrap_or(settings.default_window);
        let handing = Handing { window, max_window: settings.max_window, successor };
        let passage = state.pass_on(flow, members, handing, reason, now.mono);
        let counters = self.counters();
        count(match passage {
            Passage::Set => &counters.flow_set,
            Passage::Moved => &counters.moved,
            Passage::Moving(_) => &counters.moving,
            Passage::Forked => &counters.forked,
        });
        passage
    }

    /// Each flow that the update names, in order. One that is refused stays as it was.
    pub(crate) fn set_flows(
        &self,
        state: &mut HomeState,
        request: &Registration<'_>,
        id: BindingId,
        now: Now,
    ) -> (FlowStatuses, Option<Passage>) {
        let mut statuses = SmallVec::new();
        let mut last = None;
        for flow in &request.flows {
            let status = match self.set_flow(state, request, flow, id, now) {
                Ok(passage) => {
                    last = Some(passage);
                    FlowStatus::Done
                }
                Err(status) => status,
            };
            statuses.push((flow.id, flow.priority, status));
        }
        for (flow, expected) in &request.expectations {
            let known = flow.is_none_or(|flow| state.flows.iter().any(|known| known.id == flow));
            if known {
                state.expectation.media = expected.media;
                state.expectation.payload_type = expected.payload_type;
            }
        }
        (statuses, last)
    }

    fn set_flow(
        &self,
        state: &mut HomeState,
        request: &Registration<'_>,
        flow: &FlowRequest,
        id: BindingId,
        now: Now,
    ) -> Result<Passage, FlowStatus> {
        let body = flow.body.as_ref().map_err(|status| *status)?;
        if flow.id == 0 || flow.priority == 0 {
            return Err(FlowStatus::Malformed);
        }
        let flow_id = FlowId(flow.id);
        let position = state.flows.iter().position(|known| known.id == flow_id);
        if position.is_none() && body.selector.is_none() {
            return Err(FlowStatus::UnknownFlow);
        }
        if body.bindings.iter().flatten().any(|named| state.binding(*named).is_none()) {
            return Err(FlowStatus::UnknownBinding);
        }
        let selector = body.selector.unwrap_or_default();
        let key_label = match request.key.kind {
            KeyKind::Home(_) => None,
            _ => state.session_keys.find(request.key.spi).map(|known| known.parameters.label),
        };
        let label = selector.label.or(key_label.filter(|_| body.selector.is_some()));
        let other_label = key_label.is_some_and(|own| {
            label.is_some_and(|label| label != own) || position.is_some_and(|at| state.flows[at].label.is_some_and(|label| label != own))
        });
        let other_source = selector.source.is_some_and(|source| source != state.media_source);
        let second = position.is_none() && !state.flows.is_empty();
        let second_label = state.label.is_some_and(|authorised| label.is_some_and(|label| label != authorised));
        let full = position.is_none() && state.flows.len() >= MAX_FLOWS;
        if other_label || other_source || full || (self.rules().one_flow_per_home && (second || second_label)) {
            return Err(FlowStatus::Prohibited);
        }
        if state.label.is_none()
            && let Some(label) = label
        {
            state.set_label(label);
        }
        let authorised = state.label;
        let position = position.unwrap_or_else(|| {
            let at = state.flows.partition_point(|known| known.id < flow_id);
            state.flows.insert(at, FlowBinding::new(flow_id, flow.priority, label.or(authorised)));
            at
        });
        let known = &mut state.flows[position];
        known.priority = flow.priority;
        if label.is_some() {
            known.label = label;
        }
        if selector.source.is_some() {
            known.source = selector.source;
        }
        if selector.ports.is_some() {
            state.expectation.ports = selector.ports;
        }
        let known = &state.flows[position];
        let members: SmallVec<[BindingId; 4]> = match &body.bindings {
            Some(named) => named.clone(),
            None if known.members.is_empty() && known.leaving.is_empty() => SmallVec::from_slice(&[id]),
            None => known.members.clone(),
        };
        Ok(self.pass_flow_on(state, request, position, &members, id, now))
    }
}
