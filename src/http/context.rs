//! The stream context that one device hands to the next (`docs/signalling.md` section 11).

use serde_json::{Value, json};

use crate::http::shape;
use crate::playback::{FlowSnapshot, PresentationSnapshot};
use crate::steering::Grant;

/// What a context is made of.
pub struct Parts<'a> {
    /// The presentation.
    pub snapshot: &'a PresentationSnapshot,
    /// The flows that are handed over, each with its grant and the binding identifier the next device is to use.
    pub flows: Vec<(&'a FlowSnapshot, Grant, u16)>,
    /// The title's RTSP URL.
    pub title_url: &'a str,
    /// The transition window in milliseconds.
    pub window_ms: u64,
    /// Our RTP port; RTCP is the next one.
    pub rtp_port: u16,
    /// The description of the flows.
    pub sdp: String,
    /// Now, in seconds since 1970.
    pub unix_seconds: u64,
}

/// The context.
pub fn context(parts: &Parts<'_>) -> Value {
    let transfer_id = parts.flows.first().map_or(0, |(_, grant, _)| grant.parameters.transfer_id);
    let media_source = parts.flows.first().map(|(_, grant, _)| grant.parameters.media_source.to_canonical().to_string());
    let rtp = |(flow, _, _): &(&FlowSnapshot, Grant, u16)| {
        json!({
            "media": flow.kind.as_str(),
            "ssrc": flow.facts.ssrc.to_string(),
            "payload_type": flow.facts.payload_type.bits(),
            "clock_rate": flow.facts.clock_rate.hertz(),
            "last_sequence": flow.last_sequence,
            "last_timestamp": flow.last_timestamp,
        })
    };
    let flow = |(flow, grant, yours): &(&FlowSnapshot, Grant, u16)| {
        let mut bid = json!({ "yours": yours });
        if let Some(previous) = flow.branches.iter().rev().find(|state| !state.branch.leaving).map(|state| state.branch.binding.0)
            && previous != 0
        {
            bid["previous"] = json!(previous);
        }
        json!({
            "media": flow.kind.as_str(),
            "home_address": flow.facts.home.to_string(),
            "flow_label": flow.facts.label.to_string(),
            "fid": 1,
            "bid": bid,
            "window_ms": parts.window_ms,
            "ports": { "source": { "rtp": parts.rtp_port, "rtcp": parts.rtp_port + 1 } },
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
        "media_source": { "address": media_source, "rtsp_uri": parts.title_url },
        "protocol": { "rtp": parts.flows.iter().map(rtp).collect::<Vec<_>>() },
        "flows": parts.flows.iter().map(flow).collect::<Vec<_>>(),
        "sdp": parts.sdp,
        "position": {
            "npt_s": parts.snapshot.position.as_seconds().max(0.0),
            "wallclock": shape::instant(parts.unix_seconds),
            "rate": parts.snapshot.scale,
        },
    })
}
