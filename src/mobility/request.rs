//! What a Binding Update says, in steering's words, and what steering says of it, in the signalling's.

use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::mobility::responder::{Asked, has_whole_prefix};
use crate::mobility::wire::{
    self, AskedParty, ConsentQuestion, FlowIdentification, KeyParameters, MediaClass, MediaExpectation, Options, TrafficSelector,
    TransitionWindow,
};
use crate::now::Mono;
use crate::quantities::{FlowLabel, MediaKind, PayloadType};
use crate::steering::consent::{Decider, Question};
use crate::steering::{
    BindingId, ExpectedMedia, FlowBody, FlowId, FlowPorts, FlowRequest, FlowSelector, FlowStatus, Join, KeyClaim, NamedBinding,
    Registration, StatedExpectation, StatedPorts, UpdateKey, Window,
};

/// The care-of of an update: that of its binding identifier option, else the stored one, else that of an option of its own,
/// else the source of the datagram (`docs/signalling.md` section 4).
pub(super) fn care_of(options: &Options, stored: impl FnOnce(BindingId) -> Option<IpAddr>, source: IpAddr) -> IpAddr {
    let named = options.binding_identifiers().next().and_then(Result::ok);
    let of_binding = named.and_then(|named| named.care_of);
    of_binding
        .or_else(|| named.and_then(|named| stored(named.binding)))
        .or_else(|| options.alternate_care_of().map(|option| IpAddr::V6(option.address)))
        .or_else(|| options.ipv4_care_of().map(|option| IpAddr::V4(option.address)))
        .unwrap_or(source)
}

/// What an update says of its session key; `None` where that can be no key.
pub(super) fn claim<'a>(parameters: &KeyParameters, identity: Option<&'a str>) -> Option<KeyClaim<'a>> {
    let identity = match (parameters.identity_bound, identity) {
        (true, None) => return None,
        (true, identity) => identity,
        (false, _) => None,
    };
    Some(KeyClaim {
        parent: parameters.parent,
        label: FlowLabel::new(parameters.label)?,
        validity_end: parameters.validity_end,
        media_source: parameters.media_source,
        transfer_id: parameters.transfer_id,
        identity,
    })
}

/// The update, for steering to check and carry out.
pub(super) fn registration<'a>(asked: &Asked<'_>, key: &'a UpdateKey, tested: bool, join: Join) -> Registration<'a> {
    let options = &asked.update.options;
    let stated = |ports: &wire::MediaPorts| StatedPorts {
        binding: Some(ports.binding).filter(|binding| *binding != BindingId::PLAIN),
        ports: FlowPorts {
            flow: Some(FlowId(ports.flow)).filter(|flow| flow.0 != 0),
            rtp: ports.rtp,
            rtcp: ports.rtcp,
            multiplexed: ports.multiplexed,
        },
    };
    Registration {
        home: asked.home,
        key,
        sequence: asked.update.sequence,
        whole_prefix: has_whole_prefix(options),
        lifetime: asked.update.lifetime.as_duration(),
        binding: named_binding(options),
        care_of: asked.care_of,
        tested,
        sender: asked.received.source.ip(),
        asked: Some(asked.received.local),
        window: options.transition_window().map(window),
        join,
        // A port of zero is nowhere.
        ports: options.media_ports().filter(|ports| ports.rtp != 0 && (ports.multiplexed || ports.rtcp != 0)).map(stated).collect(),
        expectations: options.media_expectations().map(expectation).collect(),
        flows: flows(options),
    }
}

fn named_binding(options: &Options) -> NamedBinding {
    let mut named = options.binding_identifiers();
    match (named.next(), named.next()) {
        (None, _) => NamedBinding::Whole,
        (Some(_), Some(_)) => NamedBinding::Several,
        (Some(Err(_)), None) => NamedBinding::Malformed,
        (Some(Ok(one)), None) => {
            NamedBinding::One { id: one.binding, priority: one.priority.priority(), with_care_of: one.care_of.is_some() }
        }
    }
}

fn window(option: &TransitionWindow) -> Duration {
    match option.window_ms {
        TransitionWindow::FOR_EVER => Window::FOREVER,
        millis => Duration::from_millis(u64::from(millis)),
    }
}

fn expectation(option: &MediaExpectation) -> (Option<FlowId>, StatedExpectation) {
    let media = match option.media {
        MediaClass::ANY => None,
        MediaClass::AUDIO => Some(ExpectedMedia::Kind(MediaKind::Audio)),
        MediaClass::VIDEO => Some(ExpectedMedia::Kind(MediaKind::Video)),
        MediaClass::TEXT => Some(ExpectedMedia::Kind(MediaKind::Text)),
        _ => Some(ExpectedMedia::Other),
    };
    let flow = Some(FlowId(option.flow)).filter(|flow| flow.0 != 0);
    (flow, StatedExpectation { media, payload_type: PayloadType::new(option.payload_type) })
}

fn flows(options: &Options) -> SmallVec<[FlowRequest; 1]> {
    let read = |option: Result<&FlowIdentification, &wire::MalformedFlowIdentification>| match option {
        Ok(option) => FlowRequest { id: option.flow, priority: option.priority, body: body(option) },
        Err(option) => FlowRequest { id: option.flow(), priority: option.priority(), body: Err(refusal(option.fault())) },
    };
    options.flow_identifications().map(read).collect()
}

fn body(option: &FlowIdentification) -> Result<FlowBody, FlowStatus> {
    if let Some(fault) = option.fault() {
        return Err(refusal(fault));
    }
    let selector = match option.traffic_selector() {
        None => None,
        Some(TrafficSelector::Other(_)) => return Err(FlowStatus::UnknownSelector),
        Some(TrafficSelector::Ipv6(selector)) => {
            let low = selector.destination_port;
            Some(FlowSelector {
                source: selector.source,
                label: selector.label.and_then(|label| label.label()),
                ports: low.map(|low| (low, selector.destination_port_end.unwrap_or(low))),
            })
        }
    };
    let bindings = option.binding_reference().map(|reference| SmallVec::from_slice(reference.bindings()));
    Ok(FlowBody { selector, bindings })
}

const fn refusal(fault: wire::FlowFault) -> FlowStatus {
    match fault {
        wire::FlowFault::SelectorFormat(_) => FlowStatus::UnknownSelector,
        _ => FlowStatus::Malformed,
    }
}

/// A question that is open, as the device that waits for its answer is told.
pub(super) fn question(question: &Question, now: Mono) -> ConsentQuestion {
    let asked = match question.decider {
        Decider::Holder => AskedParty::HOLDER,
        Decider::Taker => AskedParty::TAKER,
        Decider::Webhook(_) => AskedParty::SERVICE,
    };
    ConsentQuestion { asked, left_ms: u32::try_from(question.until.since(now).as_millis()).unwrap_or(u32::MAX) }
}

/// What became of a flow, as the answer says it.
pub(super) const fn flow_status(status: FlowStatus) -> wire::FlowStatus {
    match status {
        FlowStatus::Done => wire::FlowStatus::DONE,
        FlowStatus::Prohibited => wire::FlowStatus::PROHIBITED,
        FlowStatus::Malformed => wire::FlowStatus::MALFORMED,
        FlowStatus::UnknownBinding => wire::FlowStatus::UNKNOWN_BINDING,
        FlowStatus::UnknownFlow => wire::FlowStatus::UNKNOWN_FLOW,
        FlowStatus::UnknownSelector => wire::FlowStatus::SELECTOR_FORMAT,
    }
}
