//! Answers the API's calls. The shapes are those of `docs/contract.md`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::http::authority::{Operators, Requester};
use crate::http::body::{
    BindingBody, ContextBody, JoinName, ModeName, PlayBody, ProofBody, ReserveBody, Reserved, ScopeName, SeekBody, TakeOver,
    WithheldBinding,
};
use crate::http::connection::Limits;
use crate::http::context::{self, Handed, Parts};
use crate::http::description;
use crate::http::devices::{Devices, NamedDevice};
use crate::http::event::Announcer;
use crate::http::gauges;
use crate::http::login::cookie_name;
use crate::http::object::Object;
use crate::http::page::{self, Asset, Picture};
use crate::http::problem::Problem;
use crate::http::reach::Reach;
use crate::http::routes;
use crate::http::shape;
use crate::http::words::Instant;
use crate::library::{Library, Title, TitlePath};
use crate::net::{Refusals, Shares, media_source, now};
use crate::now::Now;
use crate::playback::{
    BranchSnapshot, FlowSnapshot, NptRange, PlayRequest, PlaybackError, PresentationId, PresentationSnapshot, Scale, SeekStyle, Speed,
    Stage,
};
use crate::quantities::{FlowLabel, MediaTime};
use crate::sdp::{self, Extent, Identity, SdpTrack};
use crate::steering::{
    Authority, BindingCache, BindingId, Branch, CareOf, EndReason, Grant, GrantOptions, Holder, HomeAddress, HomeView, Join, JoinWay, Mode,
    Owner, Proof, Reserve, Spi, SteeringError, TokenError, Update, token,
};

/// What answering needs.
pub struct Api {
    /// The presentations.
    pub stage: Stage,
    /// The address map.
    pub steering: Arc<BindingCache>,
    /// The titles.
    pub library: Arc<Library>,
    /// Devices that were seen.
    pub devices: Arc<Devices>,
    /// Tells events.
    pub announcer: Announcer,
    /// Who has shown too many keys that are none.
    pub refusals: Arc<Refusals>,
    /// The pictures of titles that each network may have on their way.
    pub pictures: Arc<Shares>,
    /// Renders the metrics.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// What it goes by.
    pub settings: ApiSettings,
}

/// What the API goes by.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Who operates.
    pub operators: Operators,
    /// Who may play which titles, and who logs in.
    pub access: Arc<Access>,
    /// The port of RTSP.
    pub rtsp_port: u16,
    /// The port of RTP.
    pub rtp_port: u16,
    /// The UDP port of the mobility signalling.
    pub mobility_port: u16,
    /// Whether that is also served as IPv6 next header 135.
    pub mobility_native: bool,
    /// RTP packets of at most so many octets.
    pub max_packet: usize,
    /// The default transition window.
    pub transition: Duration,
    /// How long a take-over token is good.
    pub context: Duration,
    /// How a device joins a flow that runs, unless the update says.
    pub join: Join,
    /// The address that packets to home addresses pretend to come from; else the one that was asked.
    pub media_source: Option<Ipv6Addr>,
    /// Bounds of what connections take.
    pub limits: Limits,
    /// Whether first keys are given out to who can be overheard.
    pub insecure_keys: bool,
    /// Devices of the configuration.
    pub devices: Vec<NamedDevice>,
}

/// A request.
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who asks, canonical.
    pub peer: SocketAddr,
    /// The address asked, canonical.
    pub local: SocketAddr,
    /// Whether nobody between can read along.
    pub is_secured: bool,
}

/// An answer.
pub enum Outcome {
    /// A status and a value.
    Json(u16, Value),
    /// Done, nothing to say.
    Empty,
    /// A value or nothing to say, and a cookie to set.
    Cookie(Option<Value>, Zeroizing<String>),
    /// A text of that kind.
    Text(&'static str, String),
    /// A picture.
    Picture(Picture),
    /// The event stream, as far as the asker may hear it.
    Events(Reach),
    /// A file of the page; without its text where the asker has it.
    Page(&'static Asset, bool),
}

impl Outcome {
    /// A status and a value of one of the shapes that are described.
    pub(super) fn shown(status: u16, value: &impl Serialize) -> Result<Self, Problem> {
        let value = serde_json::to_value(value).map_err(|error| Problem::new(500, "unspeakable", error))?;
        Ok(Self::Json(status, value))
    }
}

fn scale_of(factor: f64) -> Result<Scale, Problem> {
    Scale::nearest(factor).ok_or_else(|| Problem::invalid("scale is a number other than zero"))
}

fn speed_of(factor: f64) -> Result<Speed, Problem> {
    Speed::nearest(factor).ok_or_else(|| Problem::invalid("speed is a number above zero"))
}

/// Why nobody is given a key. What no key can be made for is no matter of the asker's rights.
fn no_grant(error: TokenError, options: &GrantOptions) -> Problem {
    match error {
        TokenError::Malformed => Problem::new(422, "invalid-identity", "identity is a network access identifier, of 1 to 253 octets"),
        TokenError::Expired if options.lifetime == Some(Duration::ZERO) => {
            Problem::new(422, "invalid-lifetime", "lifetimeSeconds is 1 at least")
        }
        error => error.into(),
    }
}

/// Where a password is shown.
const LOGIN: &[&str] = &["api", "v1", "login"];
/// A data plane that is ready says so within this.
const READY: Duration = Duration::from_secs(2);
/// Bindings that HTTP makes live so long unless they say.
const LIFETIME: Duration = Duration::from_secs(600);

impl Api {
    /// Answers a call.
    ///
    /// # Errors
    /// The refusal.
    pub async fn answer(&self, call: &Call) -> Result<Outcome, Problem> {
        let decoded: Vec<String> = call
            .uri
            .path()
            .split('/')
            .skip(1)
            .map(|part| percent_decode_str(part).decode_utf8().map(|part| part.into_owned()).map_err(|_| Problem::not_found("resource")))
            .collect::<Result<_, _>>()?;
        let path: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let path = match path.as_slice() {
            [before @ .., ""] if !before.is_empty() => before,
            path => path,
        };
        match (&call.method, path) {
            (&Method::GET, ["healthz"]) => return Ok(Outcome::Text("text/plain; charset=utf-8", "ok\n".into())),
            (&Method::GET, ["readyz"]) => {
                if self.stage.is_draining() {
                    return Err(PlaybackError::Draining.into());
                }
                let answers = tokio::time::timeout(READY, self.stage.ping()).await;
                if !matches!(answers, Ok(Ok(()))) {
                    return Err(Problem::new(503, "not-ready", "the data plane does not answer"));
                }
                return Ok(Outcome::Text("text/plain; charset=utf-8", "ready\n".into()));
            }
            (&Method::GET, ["api", "v1", "titles"]) => {
                let authority = self.rtsp_authority(call, None);
                let is_shown = self.shown_to(call);
                let live = self.library.live().all();
                let files = self.library.entries();
                let files = files.iter().filter(|file| is_shown(&file.path) && !live.iter().any(|live| live.path == file.path));
                let shown = live.iter().filter(|title| is_shown(&title.path)).map(|title| shape::live_title(title, &authority));
                let shown: Vec<_> = shown.chain(files.map(|entry| shape::title(entry, &authority))).collect();
                return Outcome::shown(200, &shown);
            }
            (&Method::GET, ["api", "openapi.json"]) => {
                let without_tokens = self.settings.operators.tokens.is_empty() && !self.settings.access.list().has_operators();
                let text = description::text(without_tokens, cookie_name(call.is_secured));
                return Ok(Outcome::Text("application/json", text.into()));
            }
            _ => {}
        }
        if let Some(outcome) = self.page(call, path).await? {
            return Ok(outcome);
        }
        let now = now();
        if path == LOGIN {
            // What else is shown does not matter there.
            routes::check(&call.method, path)?;
            return self.login(call, now).await;
        }
        let who = self.requester(call, now)?;
        if path != page::QR {
            routes::check(&call.method, path)?;
        }
        if !call.body.is_empty() && !is_json(&call.headers) {
            return Err(Problem::new(415, "not-json", "bodies are application/json"));
        }
        match path {
            page::QR => page::qr_code(call, &who),
            ["metrics"] => {
                who.operator()?;
                Ok(Outcome::Text("text/plain; version=0.0.4; charset=utf-8", self.render_metrics().await))
            }
            ["api", "v1", "logout"] => self.logout(call, now),
            ["api", "v1", "consents", rest @ ..] => self.consents(call, rest, &who, now),
            ["api", "v1", "devices"] => {
                who.operator()?;
                let accepts = |place: SocketAddr| self.steering.is_trusted(place);
                Outcome::shown(200, &self.devices.shown(&self.settings.devices, accepts, now.mono))
            }
            // A device needs no key to hear what it is asked.
            ["api", "v1", "events"]
                if matches!(who, Requester::Anybody) && call.uri.query() == Some("asked=taker") && self.asks_for_itself(call) =>
            {
                Ok(Outcome::Events(Reach::Asked(call.peer.ip())))
            }
            ["api", "v1", "events"] => Ok(Outcome::Events(self.reach(call, &who, now)?)),
            ["api", "v1", "sessions"] if call.method == Method::POST => self.start(call, &who, now).await,
            ["api", "v1", "sessions", rest @ ..] => {
                who.operator()?;
                self.sessions(call, rest, now).await
            }
            ["api", "v1", "home-addresses"] => {
                who.operator()?;
                if call.method == Method::POST { self.reserve(call, now) } else { self.homes(now).await }
            }
            ["api", "v1", "home-addresses", home, rest @ ..] => {
                let home = self.find_home(home)?;
                self.home(call, home, rest, &who, now).await
            }
            _ => Err(Problem::not_found("resource")),
        }
    }

    /// Which titles are shown: those that do not play for anyone to operators only.
    pub(super) fn shown_to(&self, call: &Call) -> impl Fn(&TitlePath) -> bool + use<> {
        let access = self.settings.access.list();
        let all = access.is_open_throughout() || matches!(self.requester(call, now()), Ok(Requester::Operator));
        move |path| all || access.is_open(path.as_str())
    }

    async fn render_metrics(&self) -> String {
        if let Ok(snapshots) = self.stage.snapshots().await {
            gauges::of_sessions(&snapshots);
        }
        gauges::of_library(self.library.len(), self.library.indexed());
        gauges::of_steering(&self.steering);
        gauges::of_process();
        (self.metrics)()
    }

    async fn sessions(&self, call: &Call, rest: &[&str], now: Now) -> Result<Outcome, Problem> {
        let id = |text: &str| text.parse::<PresentationId>().map_err(|_| Problem::not_found("session"));
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let snapshots = self.stage.snapshots().await?;
                Outcome::shown(200, &snapshots.iter().map(|snapshot| self.session(snapshot, now)).collect::<Vec<_>>())
            }
            (&Method::GET, [session]) => {
                let snapshot = self.stage.snapshot(id(session)?).await?;
                Outcome::shown(200, &self.session(&snapshot, now))
            }
            (&Method::POST, [session, action]) => {
                let session = id(session)?;
                match *action {
                    "play" => {
                        let body: PlayBody = if call.body.is_empty() { PlayBody::default() } else { read(&call.body)? };
                        let scale = body.scale.map(scale_of).transpose()?;
                        let speed = body.speed.map(speed_of).transpose()?;
                        self.stage.play(session, PlayRequest { scale, speed, ..PlayRequest::default() }).await?;
                    }
                    "pause" => self.stage.pause(session).await.map(|_| ())?,
                    "seek" => {
                        let body: SeekBody = read(&call.body)?;
                        if !body.position_seconds.is_finite() || body.position_seconds < 0.0 {
                            return Err(Problem::invalid("positionSeconds is a number, not negative"));
                        }
                        let range = Some(NptRange { start: Some(MediaTime::from_seconds(body.position_seconds)), end: None });
                        let scale = body.scale.map(scale_of).transpose()?;
                        let speed = body.speed.map(speed_of).transpose()?;
                        let style = if body.exact { SeekStyle::FirstPrior } else { SeekStyle::default() };
                        // A seek leaves what stands standing.
                        self.stage.play(session, PlayRequest { range, still: true, scale, speed, style, ..PlayRequest::default() }).await?;
                    }
                    "end" => {
                        self.stage.end(session).await?;
                        return Ok(Outcome::Empty);
                    }
                    _ => return Err(Problem::not_found("action")),
                }
                let snapshot = self.stage.snapshot(session).await?;
                Outcome::shown(200, &self.session(&snapshot, now))
            }
            _ => Err(Problem::not_found("resource")),
        }
    }

    pub(super) fn session(&self, snapshot: &PresentationSnapshot, now: Now) -> shape::Session {
        shape::session(snapshot, |flow, branch| self.lifetime(flow, branch, now))
    }

    fn lifetime(&self, flow: &FlowSnapshot, branch: &BranchSnapshot, now: Now) -> Option<Duration> {
        let view = self.steering.home_view(flow.facts.home, now)?;
        view.branches.iter().find(|known| known.branch.serial == branch.branch.serial)?.lifetime
    }

    async fn homes(&self, now: Now) -> Result<Outcome, Problem> {
        let snapshots = self.stage.snapshots().await?;
        let shown: Vec<_> = self.steering.home_views(now).iter().map(|view| self.home_shape(view, &snapshots, now)).collect();
        Outcome::shown(200, &shown)
    }

    fn home_shape(&self, view: &HomeView, snapshots: &[PresentationSnapshot], now: Now) -> shape::Home {
        let playing = snapshots.iter().find(|snapshot| Some(snapshot.id.0) == view.player);
        let flow = playing.and_then(|snapshot| snapshot.flows.iter().find(|flow| flow.facts.home == view.home));
        let flow = flow.map(|flow| shape::flow(flow, &|flow: &FlowSnapshot, branch: &BranchSnapshot| self.lifetime(flow, branch, now)));
        shape::home(view, flow)
    }

    async fn shown_home(&self, home: HomeAddress, now: Now) -> Result<shape::Home, Problem> {
        let Some(view) = self.steering.home_view(home, now) else {
            // One that waits for its name is known before anybody reserves it: who routes it to this host asks here.
            let name = self.steering.name_of(home).ok_or_else(|| Problem::not_found("home address"))?;
            return Ok(shape::free_home(home, name));
        };
        let snapshots = match view.player {
            Some(id) => match self.stage.snapshot(PresentationId(id)).await {
                Ok(found) => vec![found],
                Err(PlaybackError::Unknown) => Vec::new(),
                Err(error) => return Err(error.into()),
            },
            None => Vec::new(),
        };
        Ok(self.home_shape(&view, &snapshots, now))
    }

    pub(super) fn find_home(&self, text: &str) -> Result<HomeAddress, Problem> {
        let address = text.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok().map(HomeAddress);
        address.or_else(|| self.steering.named(text)).ok_or_else(|| Problem::not_found("home address"))
    }

    fn reserve(&self, call: &Call, now: Now) -> Result<Outcome, Problem> {
        if self.is_overheard(call) {
            let detail = "the answer would hold a key that others can read on its way: ask over https, or from this machine";
            return Err(Problem::new(403, "insecure-transport", detail));
        }
        let body: ReserveBody = if call.body.is_empty() { ReserveBody::default() } else { read(&call.body)? };
        let policy = match (body.consent, body.pin.as_deref()) {
            (None, None) => None,
            (Some(name), pin) => Some(self.policy(name, pin)?),
            (None, Some(_)) => return Err(Problem::invalid("a pin goes with consent: pin")),
        };
        let address = match &body.name {
            Some(name) => Some(self.steering.named(name).ok_or_else(|| Problem::not_found("name"))?),
            None => None,
        };
        let media_source = self.media_source(call);
        let lifetime = Some(Duration::from_secs(body.lifetime_seconds.map_or(7200, |seconds| seconds.0.into())));
        let reserved = self.steering.reserve(&Reserve { owner: Owner::KeyHolder, address, lifetime, media_source }, now)?;
        if let Some(care_of) = body.care_of {
            let update = self.update_of(
                reserved.home,
                Authority::Operator,
                None,
                care_of,
                body.rtcp.map(|port| port.0),
                body.proof.as_ref().map(|proof| &proof.0),
                call,
            );
            let bound = update.and_then(|update| self.steering.update(&[update], now).map_err(Problem::from));
            if let Err(problem) = bound {
                let _ = self.steering.release(reserved.home, now);
                return Err(problem);
            }
        }
        if let Some(policy) = policy {
            self.steering.set_consent(reserved.home, policy);
        }
        let shown = Reserved {
            home_address: reserved.home.into(),
            key: reserved.key.expose_hex(),
            spi: reserved.spi.into(),
            expires_at: Instant::at(reserved.validity_end),
        };
        Outcome::shown(201, &shown)
    }

    /// The address that packets to a home address reserved by this call pretend to come from.
    pub(super) fn media_source(&self, call: &Call) -> Ipv6Addr {
        media_source(self.settings.media_source, call.local.ip())
    }

    async fn home(&self, call: &Call, home: HomeAddress, rest: &[&str], who: &Requester, now: Now) -> Result<Outcome, Problem> {
        match (&call.method, rest) {
            (&Method::GET, []) => {
                who.reader(home, &self.steering, now)?;
                Outcome::shown(200, &self.shown_home(home, now).await?)
            }
            (&Method::DELETE, []) => {
                who.holder(home, &self.steering, now)?;
                match self.steering.owner(home) {
                    Some(Owner::Presentation(id)) => self.stage.end(PresentationId(id)).await?,
                    _ => self.steering.release(home, now)?,
                }
                Ok(Outcome::Empty)
            }
            (&Method::PUT, ["bindings", id]) => {
                who.reader(home, &self.steering, now)?;
                let id: u16 = id.parse().map_err(|_| Problem::invalid("a binding identifier is a number from 1 to 65535"))?;
                self.bind(call, home, BindingId(id), who, now).await
            }
            (&Method::DELETE, ["bindings", id]) => {
                who.holder(home, &self.steering, now)?;
                let id: u16 = id.parse().map_err(|_| Problem::not_found("binding"))?;
                self.steering.remove_binding(home, BindingId(id), EndReason::Removed, now)?;
                Ok(Outcome::Empty)
            }
            (&Method::POST, ["context"]) => {
                who.holder(home, &self.steering, now)?;
                self.context(call, home, who, now).await
            }
            (&Method::DELETE, ["keys"]) => {
                who.holder(home, &self.steering, now)?;
                self.steering.revoke(home, None)?;
                Ok(Outcome::Empty)
            }
            (&Method::DELETE, ["keys", spi]) => {
                who.holder(home, &self.steering, now)?;
                let digits = spi.strip_prefix("0x").filter(|digits| digits.len() == 8 && !digits.starts_with('+'));
                let spi = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.steering.revoke(home, Some(Spi(spi.ok_or_else(|| Problem::invalid("an SPI is 0x and 8 hex digits"))?)))?;
                Ok(Outcome::Empty)
            }
            (&Method::GET, ["sdp"]) => {
                who.reader(home, &self.steering, now)?;
                self.receiver_sdp(call, home).await
            }
            _ => Err(Problem::not_found("resource")),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn update_of(
        &self,
        home: HomeAddress,
        authority: Authority,
        binding: Option<BindingId>,
        care_of: SocketAddr,
        rtcp: Option<u16>,
        shown: Option<&ProofBody>,
        call: &Call,
    ) -> Result<Update, Problem> {
        let care_of = SocketAddr::new(care_of.ip().to_canonical(), care_of.port());
        let rtcp_port = match rtcp {
            Some(port) => port,
            None => care_of.port().checked_add(1).ok_or_else(|| Problem::new(422, "care-of-unacceptable", "no port is left for RTCP"))?,
        };
        let operator = matches!(authority, Authority::Operator);
        // Two keys are two devices, whatever numbers they give their bindings.
        let holder = match &authority {
            Authority::Grant(grant) => Holder(u64::from(grant.spi.0) | 1 << 62),
            _ => Holder(u64::from(binding.map_or(0, |binding| binding.0)) | 1 << 63),
        };
        let shown = shown.map(ProofBody::read);
        let proof = match care_of.ip() == call.peer.ip() {
            _ if shown.is_some_and(|shown| self.steering.is_proven_by(care_of.ip(), &shown)) => Proof::Tested,
            _ if shown.is_some() => Proof::Missing,
            true if !operator || !call.peer.ip().is_loopback() => Proof::RequestPeer(call.peer.ip()),
            _ if operator => Proof::Trusted,
            _ => Proof::Missing,
        };
        let source = (care_of.is_ipv6() == call.local.is_ipv6() && !call.local.ip().is_loopback()).then(|| call.local.ip());
        Ok(Update {
            home,
            authority,
            binding,
            care_of: CareOf::Udp { rtp: care_of, rtcp: SocketAddr::new(care_of.ip(), rtcp_port), source },
            proof,
            lifetime: Some(LIFETIME),
            mode: Mode::Move,
            window: None,
            join: self.settings.join,
            holder,
        })
    }

    /// A branch that is being left is taken back as it stands: with its own RTCP port, source and end. Its care-of has been proven
    /// when it was bound; where it has ended meanwhile, or is elsewhere, nothing is taken back.
    fn take_back(&self, update: &mut Update, id: BindingId, now: Now) {
        let Some(view) = self.steering.home_view(update.home, now) else { return };
        let is_it = |branch: &Branch| branch.leaving && branch.binding == id && branch.care_of.endpoint() == update.care_of.endpoint();
        if let Some(known) = view.branches.iter().find(|known| is_it(&known.branch)) {
            update.care_of = known.branch.care_of;
            update.lifetime = known.lifetime;
            update.proof = Proof::Served(known.branch.serial);
        }
    }

    async fn bind(&self, call: &Call, home: HomeAddress, id: BindingId, who: &Requester, now: Now) -> Result<Outcome, Problem> {
        let body: BindingBody = read(&call.body)?;
        let authority = match who {
            Requester::Operator => Authority::Operator,
            Requester::KeyHolder(_) => Authority::HomeKey,
            Requester::TokenHolder(grants) => {
                let grant = grants.iter().find(|grant| grant.home == home).ok_or_else(|| Problem::not_found("home address"))?;
                Authority::Grant(grant.clone())
            }
            Requester::Anybody => return Err(Problem::new(401, "unauthorized", "a key is needed")),
        };
        let label: Option<FlowLabel> = body.flow_label.as_deref().map(str::parse).transpose().map_err(Problem::invalid)?;
        let authorised = self.steering.home_view(home, now).and_then(|view| view.label);
        if authorised.is_some_and(|authorised| label.is_some_and(|label| label != authorised)) {
            return Err(SteeringError::OtherLabel.into());
        }
        let mut update = self.update_of(
            home,
            authority,
            Some(id),
            body.care_of,
            body.rtcp.map(|port| port.0),
            body.proof.as_ref().map(|proof| &proof.0),
            call,
        )?;
        update.lifetime = Some(body.lifetime_seconds.map_or(LIFETIME, |seconds| Duration::from_secs(seconds.0.into())));
        if matches!(who, Requester::Operator) && body.rtcp.is_none() && body.proof.is_none() && body.lifetime_seconds.is_none() {
            self.take_back(&mut update, id, now);
        }
        update.window = body.transition_ms.map(|millis| Duration::from_millis(millis.0.into()));
        // Without a word about it a binding that exists is refreshed: one that is leaving goes on leaving.
        let exists = || self.steering.stored_care_of(home, id).is_some();
        update.mode = match body.mode {
            Some(ModeName::Fork) => Mode::Fork,
            Some(ModeName::Move) => Mode::Move,
            None if exists() => Mode::Refresh,
            None => Mode::Move,
        };
        match body.join {
            None => {}
            Some(JoinName::Primed) => update.join.way = JoinWay::Primed,
            Some(JoinName::AtOnce) => update.join.way = JoinWay::AtOnce,
            Some(JoinName::Aligned) => update.join.way = JoinWay::Aligned,
        }
        // Nobody is asked about what cannot be.
        if let Err(error) = self.steering.may_update(&update, now) {
            count_update(Some(&error));
            return Err(error.into());
        }
        if let Some(question) = self.consent(&update, who, body.pin.as_deref(), call.peer.ip(), now)? {
            return Outcome::shown(202, &WithheldBinding { consent: question });
        }
        let outcome = self.steering.update(&[update], now);
        count_update(outcome.as_ref().err());
        outcome?;
        if let Some(label) = label {
            self.steering.state_label(home, label)?;
        }
        if let Requester::TokenHolder(grants) = who {
            self.steering.claim(grants, call.peer.ip(), now);
        }
        Outcome::shown(200, &self.shown_home(home, now).await?)
    }

    async fn context(&self, call: &Call, home: HomeAddress, who: &Requester, now: Now) -> Result<Outcome, Problem> {
        let body: ContextBody = if call.body.is_empty() { ContextBody::default() } else { read(&call.body)? };
        let snapshot = self.presentation_at(home).await?;
        let all = body.scope != Some(ScopeName::Flow);
        let covered = |flow: &&FlowSnapshot| flow.facts.home == home || (all && who.holder(flow.facts.home, &self.steering, now).is_ok());
        let mut transfer = [0; 4];
        getrandom::fill(&mut transfer).map_err(|_| Problem::new(500, "no-randomness", "the system gives no random octets"))?;
        let options = GrantOptions {
            lifetime: Some(body.lifetime_seconds.map_or(self.settings.context, |seconds| Duration::from_secs(seconds.0.into()))),
            identity: body.identity,
            reusable: body.reusable,
            transfer_id: Some(u32::from_be_bytes(transfer)),
        };
        let mut flows: Vec<Handed<'_>> = Vec::new();
        for flow in snapshot.flows.iter().filter(covered) {
            let grant = self.steering.issue_grant(flow.facts.home, &options, now).map_err(|error| no_grant(error, &options))?;
            flows.push(Handed { flow, grant, record: self.steering.record(flow.facts.home, now) });
        }
        let several = flows.len() > 1;
        let authority = self.rtsp_authority(call, flows.first().map(|handed| handed.flow));
        let grants: Vec<Grant> = flows.iter().map(|handed| handed.grant.clone()).collect();
        let takeover_url = format!("rtsp://{authority}/home/{home}{}?key={}", if several { "/all" } else { "" }, token(&grants));
        let expires = grants.iter().map(|grant| grant.parameters.validity_end).min().unwrap_or(0);
        let title_url = shape::title_url(&authority, &snapshot.title.path);
        let tracks: Vec<SdpTrack> = flows.iter().filter_map(|handed| self.sdp_track(&snapshot.title, handed.flow)).collect();
        let identity = self.identity(call, flows.first().map(|handed| handed.flow), now);
        let sdp = sdp::describe(snapshot.title.path.as_str(), &tracks, identity, extent(&snapshot.title));
        let parts = Parts {
            snapshot: &snapshot,
            flows,
            title_url: &title_url,
            window_ms: self.settings.transition.as_millis() as u64,
            rtp_port: self.settings.rtp_port,
            mobility_port: self.settings.mobility_port,
            mobility_native: self.settings.mobility_native,
            sdp,
            unix_seconds: now.utc.unix_seconds(),
        };
        let (context, expires_at) = (context::context(&parts), Instant::at(expires));
        Outcome::shown(200, &TakeOver { context, takeover_url, expires_at })
    }

    async fn presentation_at(&self, home: HomeAddress) -> Result<PresentationSnapshot, Problem> {
        let player = self.steering.player(home).ok_or_else(|| Problem::new(409, "no-flow", "nothing plays to this home address"))?;
        Ok(self.stage.snapshot(PresentationId(player)).await?)
    }

    async fn receiver_sdp(&self, call: &Call, home: HomeAddress) -> Result<Outcome, Problem> {
        let query = call.uri.query().unwrap_or_default();
        let port = query.split('&').find_map(|part| part.strip_prefix("rtp=")).unwrap_or("5004");
        let port: u16 = port.parse().ok().filter(|port| (1..u16::MAX).contains(port)).ok_or_else(|| Problem::invalid("rtp is a port"))?;
        let snapshot = self.presentation_at(home).await?;
        let flow = snapshot.flows.iter().find(|flow| flow.facts.home == home).ok_or_else(|| Problem::not_found("flow"))?;
        let track = self.sdp_track(&snapshot.title, flow).ok_or_else(|| Problem::not_found("track"))?;
        let identity = self.identity(call, Some(flow), now());
        let text = sdp::receiver(snapshot.title.path.as_str(), &track, identity, extent(&snapshot.title), port, port + 1);
        Ok(Outcome::Text("application/sdp", text))
    }

    fn sdp_track(&self, title: &Title, flow: &FlowSnapshot) -> Option<SdpTrack> {
        SdpTrack::of(flow.facts.track, title.tracks.get(flow.facts.track)?, self.settings.max_packet)
    }

    /// Host and port under which the asker, or a device beside it, reaches RTSP here. Who asks from this machine is given
    /// the address that the flow leaves from: another device can do something with it.
    pub(super) fn rtsp_authority(&self, call: &Call, flow: Option<&FlowSnapshot>) -> String {
        let port = self.settings.rtsp_port;
        let asked = call.headers.get("host").and_then(|host| host.to_str().ok()).map(|host| match host.strip_prefix('[') {
            Some(rest) => format!("[{}]", rest.split(']').next().unwrap_or_default()),
            None => host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned(),
        });
        let plain =
            |host: &String| host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-:[]_".contains(&octet)) && !host.is_empty();
        match (self.leaves_from(call, flow), asked.filter(plain)) {
            (Some(address), _) => SocketAddr::new(address, port).to_string(),
            (None, Some(host)) => format!("{host}:{port}"),
            (None, None) => SocketAddr::new(call.local.ip(), port).to_string(),
        }
    }

    /// The address that a flow leaves from, for who asks over loopback.
    fn leaves_from(&self, call: &Call, flow: Option<&FlowSnapshot>) -> Option<IpAddr> {
        let flow = flow.filter(|_| call.local.ip().is_loopback())?;
        let mut sources = flow.branches.iter().rev().filter_map(|state| match state.branch.care_of {
            CareOf::Udp { source, .. } => source,
            CareOf::Interleaved { .. } => None,
        });
        let source = sources.next().or_else(|| {
            let source = self.steering.gate(flow.facts.home)?.media_source();
            Some(IpAddr::V6(source).to_canonical())
        });
        source.filter(|source| !source.is_loopback() && !source.is_unspecified())
    }

    /// What a description of a flow, or of several that begin with it, says of this server.
    fn identity(&self, call: &Call, flow: Option<&FlowSnapshot>, now: Now) -> Identity {
        let server = self.leaves_from(call, flow).unwrap_or(call.local.ip());
        Identity { session: now.utc.ntp64(), version: 1, server }
    }
}

fn extent(title: &Title) -> Extent {
    if title.is_live() { Extent::Live } else { Extent::Title(title.duration.since(MediaTime::ZERO)) }
}

/// Counts an update by how it ended.
fn count_update(error: Option<&SteeringError>) {
    let status = error.map_or("accepted".to_owned(), |error| Problem::from(*error).kind.to_owned());
    metrics::counter!("flowsteer_binding_updates_total", "status" => status).increment(1);
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice::<Object<T>>(body).map(|object| object.0).map_err(Problem::invalid)
}
