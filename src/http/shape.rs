//! What is known, as JSON: the shapes of `docs/contract.md`.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::library::live::LiveTitle;
use crate::library::{Entry, Facts, TitlePath, TrackFacts};
use crate::playback::{BranchSnapshot, FlowSnapshot, PresentationId, PresentationSnapshot};
use crate::quantities::MediaTime;
use crate::steering::{CareOf, EndReason, HomeView};

/// What need not be encoded in a URL's path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A title's RTSP URL.
pub fn title_url(authority: &str, path: &TitlePath) -> String {
    format!("rtsp://{authority}/{}", utf8_percent_encode(path.as_str(), PATH))
}

/// RFC 3339, to the second; `None` for a time that is never reached.
pub fn instant(unix_seconds: u64) -> Option<String> {
    let seconds = i64::try_from(unix_seconds).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e6
}

fn position(at: MediaTime) -> f64 {
    (at.as_seconds() * 1e6).round() / 1e6
}

/// A file of the library.
pub fn title(entry: &Entry, authority: &str) -> Value {
    let mut shown = json!({ "path": entry.path.as_str(), "url": title_url(authority, &entry.path), "sizeBytes": entry.size_bytes });
    let known = entry.known();
    let facts = known.and_then(Result::ok);
    shown["durationSeconds"] = json!(facts.map_or(0.0, |facts| position(facts.duration)));
    shown["tracks"] = facts.map_or_else(|| json!([]), tracks);
    match known {
        Some(Ok(Facts { remark: Some(problem), .. }) | Err(problem)) => shown["problem"] = json!(problem.to_string()),
        Some(Ok(_)) => {}
        None => shown["indexing"] = json!(true),
    }
    shown
}

/// A live title: without length and size, with tracks once they are known.
pub fn live_title(title: &LiveTitle, authority: &str) -> Value {
    let mut shown = json!({
        "path": title.path.as_str(),
        "url": title_url(authority, &title.path),
        "live": true,
        "online": title.is_online(),
        "durationSeconds": Value::Null,
        "sizeBytes": 0,
        "tracks": title.ready().map_or_else(|| json!([]), |title| tracks(&Facts::from(&*title))),
    });
    if let Some(problem) = title.problem() {
        shown["problem"] = json!(problem.to_string());
    }
    shown
}

fn tracks(facts: &Facts) -> Value {
    let shape = |track: &TrackFacts| {
        let mut shown = json!({ "kind": track.kind, "codec": track.codec, "bitrate": track.bitrate });
        if let Some(size) = track.picture_size {
            shown["width"] = json!(size.width);
            shown["height"] = json!(size.height);
        }
        if let Some(sound) = track.sound_format {
            shown["sampleRate"] = json!(sound.sample_rate);
            shown["channels"] = json!(sound.channels);
        }
        if let Some(language) = &track.language {
            shown["language"] = json!(language);
        }
        shown
    };
    facts.tracks.iter().map(shape).collect()
}

/// A presentation.
pub fn session(snapshot: &PresentationSnapshot, lifetimes: impl Fn(&FlowSnapshot, &BranchSnapshot) -> Option<Duration>) -> Value {
    json!({
        "id": snapshot.id.to_string(),
        "title": snapshot.title.path.as_str(),
        "state": snapshot.state.as_str(),
        "positionSeconds": position(snapshot.position),
        "durationSeconds": if snapshot.title.is_live() { Value::Null } else { json!(position(snapshot.title.duration)) },
        "scale": snapshot.scale.factor(),
        "speed": snapshot.speed.factor(),
        "flows": snapshot.flows.iter().map(|flow| self::flow(flow, &lifetimes)).collect::<Vec<_>>(),
    })
}

/// A flow.
pub fn flow(flow: &FlowSnapshot, lifetimes: &impl Fn(&FlowSnapshot, &BranchSnapshot) -> Option<Duration>) -> Value {
    let dropped: Map<String, Value> = flow.dropped.iter().map(|(reason, count)| (reason.as_str().to_owned(), json!(count))).collect();
    json!({
        "homeAddress": flow.facts.home.to_string(),
        "flowLabel": flow.facts.label.to_string(),
        "track": { "kind": flow.kind, "codec": flow.codec },
        "ssrc": flow.facts.ssrc.to_string(),
        "payloadType": flow.facts.payload_type.bits(),
        "filter": { "authorised": flow.facts.label.to_string(), "dropped": dropped },
        "branches": flow.branches.iter().map(|state| branch(state, lifetimes(flow, state))).collect::<Vec<_>>(),
    })
}

fn branch(state: &BranchSnapshot, lifetime: Option<Duration>) -> Value {
    let transport = match state.branch.care_of {
        CareOf::Udp { .. } => "udp",
        CareOf::Interleaved { .. } => "interleaved",
    };
    let phase = match (state.branch.leaving, state.priming) {
        (true, _) => "leaving",
        (false, true) => "priming",
        (false, false) => "current",
    };
    let mut shown = json!({
        "bindingId": state.branch.binding.0,
        "careOf": state.branch.care_of.endpoint().to_string(),
        "transport": transport,
        "state": phase,
        "sinceSeconds": seconds(state.served),
        "lifetimeSeconds": lifetime.map(|lifetime| lifetime.as_secs()),
        "lagMs": state.lag.as_millis() as u64,
        "packets": state.packets,
        "octets": state.octets,
    });
    if let Some(loss) = state.loss_fraction {
        shown["lossFraction"] = json!(loss);
    }
    if let Some(jitter) = state.jitter {
        shown["jitterMs"] = json!(seconds(jitter) * 1000.0);
    }
    if let Some(round_trip) = state.round_trip {
        shown["roundTripMs"] = json!(seconds(round_trip) * 1000.0);
    }
    shown
}

/// A home address, with the flow that plays there.
pub fn home(view: &HomeView, flow: Option<Value>) -> Value {
    let session = view.player.map(|id| PresentationId(id).to_string());
    let mut shown = json!({
        "homeAddress": view.home.to_string(),
        "state": view.status.as_str(),
        "expiresAt": instant(view.validity_end),
    });
    let optional = [
        ("name", view.name.clone().map(Value::from)),
        ("flowLabel", view.label.map(|label| Value::from(label.to_string()))),
        ("session", session.map(Value::from)),
        ("flow", flow),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            shown[key] = value;
        }
    }
    shown
}

/// Why a branch is no more.
pub const fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Moved => "moved",
        EndReason::Roamed => "roamed",
        EndReason::Removed => "removed",
        EndReason::Expired => "expired",
        EndReason::Released => "released",
    }
}
