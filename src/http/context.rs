//! The stream context that one device hands to the next (`docs/signalling.md` section 11).

use serde_json::{Value, json};

use crate::http::words::Instant;
use crate::playback::{FlowSnapshot, PresentationSnapshot};
use crate::steering::{BindingId, CareOf, FlowId, FlowRecord, Grant, HomeRecord};

/// A flow that is handed over.
pub struct Handed<'a> {
    /// The flow.
    pub flow: &'a FlowSnapshot,
    /// The right to take it.
    pub grant: Grant,
    /// Its home address.
    pub record: Option<HomeRecord>,
}

impl Handed<'_> {
    /// The flow as bindings know it: that of its label, else the first.
    fn known(&self) -> Option<&FlowRecord> {
        let flows = &self.record.as_ref()?.flows;
        flows.iter().find(|known| known.label == Some(self.flow.facts.label)).or_else(|| flows.first())
    }

    /// The binding that has it for good, the latest where several do.
    fn previous(&self) -> Option<BindingId> {
        let staying = self.flow.branches.iter().rev().filter(|state| !state.branch.leaving).map(|state| state.branch.binding);
        let of_record = self.known().and_then(|known| known.members.last().copied());
        staying.chain(of_record).find(|id| *id != BindingId::PLAIN)
    }

    /// Where that binding takes it.
    fn previous_ports(&self) -> Option<(u16, u16)> {
        let previous = self.previous()?;
        let branch = self.flow.branches.iter().rev().find(|state| state.branch.binding == previous)?;
        match branch.branch.care_of {
            CareOf::Udp { rtp, rtcp, .. } if rtp.port() != 0 && rtcp.port() != 0 => Some((rtp.port(), rtcp.port())),
            _ => None,
        }
    }

    /// A binding identifier that the next device can use: of no branch, and of no binding that has no flow now.
    fn yours(&self) -> u16 {
        let shown = |id: u16| self.flow.branches.iter().any(|state| state.branch.binding.0 == id);
        let bound = |id: u16| self.record.iter().flat_map(|record| &record.bindings).any(|binding| binding.id.0 == id);
        (1..=u16::MAX).find(|id| !shown(*id) && !bound(*id)).unwrap_or(1)
    }
}

/// What a context is made of.
pub struct Parts<'a> {
    /// The presentation.
    pub snapshot: &'a PresentationSnapshot,
    /// The flows that are handed over.
    pub flows: Vec<Handed<'a>>,
    /// The title's RTSP URL.
    pub title_url: &'a str,
    /// The transition window in milliseconds.
    pub window_ms: u64,
    /// Our RTP port; RTCP is the next one.
    pub rtp_port: u16,
    /// The UDP port of the mobility signalling.
    pub mobility_port: u16,
    /// Whether that is also served as IPv6 next header 135.
    pub mobility_native: bool,
    /// The description of the flows.
    pub sdp: String,
    /// Now, in seconds since 1970.
    pub unix_seconds: u64,
}

/// The context.
pub fn context(parts: &Parts<'_>) -> Value {
    let transfer_id = parts.flows.first().map_or(0, |handed| handed.grant.parameters.transfer_id);
    let media_source = parts.flows.first().map(|handed| handed.grant.parameters.media_source.to_canonical().to_string());
    let rtp = |Handed { flow, .. }: &Handed<'_>| {
        json!({
            "media": flow.kind.as_str(),
            "ssrc": flow.facts.ssrc.to_string(),
            "payload_type": flow.facts.payload_type.bits(),
            "clock_rate": flow.facts.clock_rate.hertz(),
            "last_sequence": flow.last_sequence,
            "last_timestamp": flow.last_timestamp,
        })
    };
    let flow = |handed: &Handed<'_>| {
        let Handed { flow, grant, .. } = handed;
        let mut bid = json!({ "yours": handed.yours() });
        if let Some(previous) = handed.previous() {
            bid["previous"] = json!(previous.0);
        }
        let mut ports = json!({ "source": { "rtp": parts.rtp_port, "rtcp": parts.rtp_port + 1 } });
        if let Some((rtp, rtcp)) = handed.previous_ports() {
            ports["previous"] = json!({ "rtp": rtp, "rtcp": rtcp, "mux": rtp == rtcp });
        }
        json!({
            "media": flow.kind.as_str(),
            "home_address": flow.facts.home.to_string(),
            "flow_label": flow.facts.label.to_string(),
            "fid": handed.known().map_or(FlowId::DEFAULT.0, |known| known.id.0),
            "bid": bid,
            "window_ms": parts.window_ms,
            "ports": ports,
            "authorization": {
                "session_key": grant.key.expose_hex(),
                "spi": grant.spi.to_string(),
                "parent_spi": grant.parent.to_string(),
                "validity_end": grant.parameters.validity_end,
                "media_source": grant.parameters.media_source.to_canonical().to_string(),
                "identity": grant.parameters.identity,
            },
        })
    };
    json!({
        "version": 1,
        "transfer_id": format!("0x{transfer_id:08x}"),
        "application": { "name": "flowsteer", "version": env!("CARGO_PKG_VERSION"), "presentation_url": parts.title_url },
        "media_source": {
            "address": media_source,
            "rtsp_uri": parts.title_url,
            "signalling": { "udp_port": parts.mobility_port, "native": parts.mobility_native },
        },
        "protocol": { "rtp": parts.flows.iter().map(rtp).collect::<Vec<_>>() },
        "flows": parts.flows.iter().map(flow).collect::<Vec<_>>(),
        "sdp": parts.sdp,
        "position": {
            "npt_s": parts.snapshot.position.as_seconds().max(0.0),
            "wallclock": Instant::at(parts.unix_seconds),
            "rate": parts.snapshot.scale.factor() * parts.snapshot.speed.factor(),
        },
    })
}
