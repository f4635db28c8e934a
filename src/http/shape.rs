//! What is known, as the API shows it: the shapes of `docs/contract.md`. The description of the API is made from these types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Not;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::words::{Address, Endpoint, Instant, Kind, Label, SessionId};
use crate::library::live::LiveTitle;
use crate::library::{Entry, Facts, TitlePath, TrackFacts};
use crate::playback::{BranchSnapshot, FlowSnapshot, PresentationId, PresentationSnapshot, PresentationState};
use crate::quantities::MediaTime;
use crate::steering::{CareOf, EndReason, HomeAddress, HomeStatus, HomeView};

/// What need not be encoded in a URL's path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A title's RTSP URL.
pub fn title_url(authority: &str, path: &TitlePath) -> String {
    format!("rtsp://{authority}/{}", utf8_percent_encode(path.as_str(), PATH))
}

fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e6
}

fn position(at: MediaTime) -> f64 {
    (at.as_seconds() * 1e6).round() / 1e6
}

/// A work that can be played.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Title {
    path: String,
    #[schemars(extend("format" = "uri"))]
    url: String,
    /// Null where it is live.
    #[schemars(range(min = 0))]
    duration_seconds: Option<f64>,
    size_bytes: u64,
    /// It comes from a source while it is played: a camera, or somebody who publishes.
    #[serde(skip_serializing_if = "Not::not")]
    #[schemars(extend("const" = true))]
    live: bool,
    /// Of a live title: whether its source is there. One that is pulled on demand is not as long as nobody watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    online: Option<bool>,
    tracks: Vec<Track>,
    /// Why it, or a part of it, cannot be played.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    problem: Option<String>,
    /// Its file is there, but what is in it is not known yet: no length and no tracks are told. It can be opened all the same.
    #[serde(skip_serializing_if = "Not::not")]
    #[schemars(extend("const" = true))]
    indexing: bool,
}

/// A track of a title.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Track {
    kind: Kind,
    codec: String,
    /// Bits per second on the average.
    bitrate: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    sample_rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    channels: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    language: Option<String>,
}

/// A presentation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Session {
    id: SessionId,
    title: String,
    state: SessionState,
    position_seconds: f64,
    /// Null where the title is live.
    #[schemars(range(min = 0))]
    duration_seconds: Option<f64>,
    scale: f64,
    #[schemars(range(min = 0.25, max = 4))]
    speed: f64,
    flows: Vec<Flow>,
}

/// What a presentation does: it waits for a device, and then ends, where it is `lingering`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SessionState {
    /// Its clock runs.
    Playing,
    /// Its clock stands.
    Paused,
    /// No device is bound.
    Lingering,
}

impl From<PresentationState> for SessionState {
    fn from(state: PresentationState) -> Self {
        match state {
            PresentationState::Playing => Self::Playing,
            PresentationState::Paused => Self::Paused,
            PresentationState::Lingering => Self::Lingering,
        }
    }
}

/// What one track sends.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Flow {
    home_address: Address,
    flow_label: Label,
    track: FlowTrack,
    #[schemars(extend("pattern" = "^0x[0-9a-f]{8}$"))]
    ssrc: String,
    #[schemars(range(max = 127))]
    payload_type: u8,
    filter: Filter,
    branches: Vec<Branch>,
}

/// What a flow is of.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FlowTrack {
    kind: Kind,
    codec: &'static str,
}

/// What a home address lets through.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Filter {
    authorised: Label,
    /// Packets by the reason for which they were dropped.
    dropped: BTreeMap<&'static str, u64>,
}

/// A device that has a flow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Branch {
    binding_id: u16,
    care_of: Endpoint,
    transport: Transport,
    state: BranchState,
    #[schemars(range(min = 0))]
    since_seconds: f64,
    /// Null where it lives by its session.
    lifetime_seconds: Option<u64>,
    lag_ms: u64,
    packets: u64,
    octets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = 0, max = 1))]
    loss_fraction: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = 0))]
    jitter_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = 0))]
    round_trip_ms: Option<f64>,
}

/// How its packets go.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Transport {
    /// As datagrams.
    Udp,
    /// In its RTSP connection.
    Interleaved,
}

/// Where it is between coming and going.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum BranchState {
    /// It catches up.
    Priming,
    /// It has the flow.
    Current,
    /// Its window ends.
    Leaving,
}

/// A home address, with the flow that plays there.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, rename = "HomeAddress")]
pub struct Home {
    home_address: Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    name: Option<String>,
    state: HomeState,
    /// Null where it ends with its owner, or nobody has it.
    expires_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Label")]
    flow_label: Option<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SessionId")]
    session: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Flow")]
    flow: Option<Flow>,
}

/// What a home address is doing (docs/signalling.md section 7).
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum HomeState {
    /// In the pool.
    Free,
    /// Its key exists, no care-of does.
    Reserved,
    /// A care-of exists, no label is authorised.
    Bound,
    /// One care-of has the flow.
    Flowing,
    /// A transition window runs.
    Moving,
    /// Several care-ofs have the flow.
    Forked,
}

impl From<HomeStatus> for HomeState {
    fn from(status: HomeStatus) -> Self {
        match status {
            HomeStatus::Free => Self::Free,
            HomeStatus::Reserved => Self::Reserved,
            HomeStatus::Bound => Self::Bound,
            HomeStatus::Flowing => Self::Flowing,
            HomeStatus::Moving => Self::Moving,
            HomeStatus::Forked => Self::Forked,
        }
    }
}

/// A file of the library.
pub fn title(entry: &Entry, authority: &str) -> Title {
    let known = entry.known();
    let facts = known.and_then(Result::ok);
    let problem = match known {
        Some(Ok(Facts { remark: Some(problem), .. }) | Err(problem)) => Some(problem.to_string()),
        Some(Ok(_)) | None => None,
    };
    Title {
        path: entry.path.as_str().to_owned(),
        url: title_url(authority, &entry.path),
        duration_seconds: Some(facts.map_or(0.0, |facts| position(facts.duration))),
        size_bytes: entry.size_bytes,
        live: false,
        online: None,
        tracks: facts.map(tracks).unwrap_or_default(),
        problem,
        indexing: known.is_none(),
    }
}

/// A live title: without length and size, with tracks once they are known.
pub fn live_title(title: &LiveTitle, authority: &str) -> Title {
    Title {
        path: title.path.as_str().to_owned(),
        url: title_url(authority, &title.path),
        duration_seconds: None,
        size_bytes: 0,
        live: true,
        online: Some(title.is_online()),
        tracks: title.ready().map(|title| tracks(&Facts::from(&*title))).unwrap_or_default(),
        problem: title.problem().map(|problem| problem.to_string()),
        indexing: false,
    }
}

fn tracks(facts: &Facts) -> Vec<Track> {
    let shape = |track: &TrackFacts| Track {
        kind: track.kind.into(),
        codec: track.codec.to_string(),
        bitrate: track.bitrate,
        width: track.picture_size.map(|size| size.width.into()),
        height: track.picture_size.map(|size| size.height.into()),
        sample_rate: track.sound_format.map(|sound| sound.sample_rate),
        channels: track.sound_format.map(|sound| sound.channels.into()),
        language: track.language.as_ref().map(ToString::to_string),
    };
    facts.tracks.iter().map(shape).collect()
}

/// A presentation.
pub fn session(snapshot: &PresentationSnapshot, lifetimes: impl Fn(&FlowSnapshot, &BranchSnapshot) -> Option<Duration>) -> Session {
    Session {
        id: snapshot.id.into(),
        title: snapshot.title.path.as_str().to_owned(),
        state: snapshot.state.into(),
        position_seconds: position(snapshot.position),
        duration_seconds: (!snapshot.title.is_live()).then(|| position(snapshot.title.duration)),
        scale: snapshot.scale.factor(),
        speed: snapshot.speed.factor(),
        flows: snapshot.flows.iter().map(|flow| self::flow(flow, &lifetimes)).collect(),
    }
}

/// A flow.
pub fn flow(flow: &FlowSnapshot, lifetimes: &impl Fn(&FlowSnapshot, &BranchSnapshot) -> Option<Duration>) -> Flow {
    Flow {
        home_address: flow.facts.home.into(),
        flow_label: flow.facts.label.into(),
        track: FlowTrack { kind: flow.kind.into(), codec: flow.codec },
        ssrc: flow.facts.ssrc.to_string(),
        payload_type: flow.facts.payload_type.bits(),
        filter: Filter {
            authorised: flow.facts.label.into(),
            dropped: flow.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect(),
        },
        branches: flow.branches.iter().map(|state| branch(state, lifetimes(flow, state))).collect(),
    }
}

fn branch(state: &BranchSnapshot, lifetime: Option<Duration>) -> Branch {
    let care_of: SocketAddr = state.branch.care_of.endpoint();
    Branch {
        binding_id: state.branch.binding.0,
        care_of: care_of.into(),
        transport: match state.branch.care_of {
            CareOf::Udp { .. } => Transport::Udp,
            CareOf::Interleaved { .. } => Transport::Interleaved,
        },
        state: match (state.branch.leaving, state.priming) {
            (true, _) => BranchState::Leaving,
            (false, true) => BranchState::Priming,
            (false, false) => BranchState::Current,
        },
        since_seconds: seconds(state.served),
        lifetime_seconds: lifetime.map(|lifetime| lifetime.as_secs()),
        lag_ms: state.lag.as_millis() as u64,
        packets: state.packets,
        octets: state.octets,
        loss_fraction: state.loss_fraction,
        jitter_ms: state.jitter.map(|jitter| seconds(jitter) * 1000.0),
        round_trip_ms: state.round_trip.map(|round_trip| seconds(round_trip) * 1000.0),
    }
}

/// A home address, with the flow that plays there.
pub fn home(view: &HomeView, flow: Option<Flow>) -> Home {
    Home {
        home_address: view.home.into(),
        name: view.name.clone(),
        state: view.status.into(),
        expires_at: Instant::at(view.validity_end),
        flow_label: view.label.map(Label::from),
        session: view.player.map(|id| PresentationId(id).into()),
        flow,
    }
}

/// A home address that is kept under a name, while nobody has it.
pub fn free_home(home: HomeAddress, name: String) -> Home {
    Home {
        home_address: home.into(),
        name: Some(name),
        state: HomeState::Free,
        expires_at: None,
        flow_label: None,
        session: None,
        flow: None,
    }
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
