//! SETUP (RFC 2326 section 10.4): a transport for one track. A title's first SETUP opens its presentation and reserves
//! a home address for each track that is set up; a take-over's changes nothing yet.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::library::Track;
use crate::net::{media_source, now};
use crate::playback::{Awaited, FlowFacts, NewFlow, Opening, PresentationId};
use crate::quantities::MediaTime;
use crate::rtsp::error::Refusal;
use crate::rtsp::header::session::SessionId;
use crate::rtsp::header::transport::{self, Offered};
use crate::rtsp::message::{Request, Response, Status};
use crate::rtsp::service::access::{Found, kept_name};
use crate::rtsp::service::{Link, RtspSettings, Service, pipeline};
use crate::rtsp::session::{Role, Session, SessionError, SharedSession, State, TIMEOUT_S};
use crate::rtsp::url::RtspUrl;
use crate::sdp::payload_type;
use crate::steering::{CareOf, ConnectionId, Expectation, Holder, HomeAddress, Join, JoinWay, Mode, Owner, Reserve};

/// Pipelines that a connection remembers.
const PIPELINES: usize = 16;

impl Service {
    pub(super) async fn set_up(
        &self,
        request: &Request,
        link: &mut Link,
        hold_media: &mut (dyn FnMut() + Send),
    ) -> Result<Response, Refusal> {
        let url = self.url(request, link)?;
        let offers = request.headers("Transport").collect::<Vec<_>>().join(",");
        let offered = transport::choose(&offers, self.serves_rtx(&url))?;
        let held = match offered {
            Offered::Home { home, .. } => self.may_aim(home, &url, request, link)?,
            Offered::Udp { .. } | Offered::Interleaved { .. } => Vec::new(),
        };
        let named = self.named_session(request, link).await?;
        let made = named.is_none();
        let (shared, opening) = match named {
            Some(session) => (session, None),
            None => self.open_session(&url, request, link).await?,
        };
        let others = match offered {
            Offered::Interleaved { .. } => self.channels_beside(&shared, link).await,
            Offered::Udp { .. } | Offered::Home { .. } => Vec::new(),
        };
        let mut session = shared.lock().await;
        let outcome = self.set_up_track(&mut session, opening, &url, request, &offered, &others, link, hold_media).await;
        if outcome.is_err() && made {
            // A session without a track is none.
            self.forget(&session).await;
        }
        if outcome.is_ok() {
            self.steering.claim(&held, link.peer.ip(), now());
        }
        outcome
    }

    /// The channels of a connection that sessions other than this one use. What comes over a connection is answered in order,
    /// so that none of them takes another one meanwhile; no two sessions are locked at once.
    async fn channels_beside(&self, session: &SharedSession, link: &Link) -> Vec<u8> {
        let mut used = Vec::new();
        for id in link.made.iter().chain(&link.used) {
            match self.sessions.find(*id) {
                Ok(other) if !Arc::ptr_eq(&other, session) => used.extend(other.lock().await.channels(link.connection, None)),
                Ok(_) | Err(_) => {}
            }
        }
        used
    }

    #[allow(clippy::too_many_arguments)]
    async fn set_up_track(
        &self,
        session: &mut Session,
        opening: Option<Opening>,
        url: &RtspUrl,
        request: &Request,
        offered: &Offered,
        others: &[u8],
        link: &mut Link,
        hold_media: &mut (dyn FnMut() + Send),
    ) -> Result<Response, Refusal> {
        session.may_set_up()?;
        session.named_by(&url.target)?;
        let flows = self.flows(session).await?;
        let track = match url.track {
            Some(track) => track,
            None => only_track(session, &flows)?,
        };
        if let Offered::Home { protocol, home, ports } = *offered {
            let facts = self.aim(session, opening, track, HomeAddress(home), ports).await?;
            let (rtp, rtcp) = ports.unwrap_or_default();
            let to = |port| SocketAddr::from((home, port));
            session.aim(facts, &request.uri, CareOf::Udp { rtp: to(rtp), rtcp: to(rtcp), source: Some(link.local.ip()) }, now().mono);
            self.note_peer(session, link);
            if let Some(ports) = ports {
                self.steering.serve_at_home(facts.home, session.presentation.0, ports, Some(link.local.ip()), now());
            }
            let there = ports.map(|(rtp, rtcp)| format!(";client_port={rtp}-{rtcp}")).unwrap_or_default();
            let transport = format!("{protocol};unicast;destination={home}{there}{}", self.sender(&facts, link));
            return Ok(set_up_response(session, &facts, transport, request));
        }
        if session.tracks.iter().any(|set_up| set_up.aimed && set_up.facts.track == track) {
            return Err(SessionError::State.into());
        }
        let care_of = care_of(session, track, offered, others, link)?;
        let set_up = session.tracks.iter().find(|set_up| set_up.facts.track == track).map(|set_up| set_up.facts);
        let flowing = flows.into_iter().find(|flow| flow.track == track && session.may_take(flow.home));
        // Before the answer: players open the way through a NAT as soon as they have it.
        let awaited = Awaited { holder: session.holder, care_of };
        let facts = match set_up.or(flowing) {
            Some(facts) => {
                self.stage.await_datagrams(session.presentation, facts.home, awaited.holder, awaited.care_of).await?;
                facts
            }
            None => self.reserve_flow(session, opening, track, awaited, link).await?,
        };
        session.set_up(facts, &request.uri, care_of, now().mono);
        session.retransmit(track, matches!(offered, Offered::Udp { feedback: true, .. }));
        self.note_peer(session, link);
        if matches!(session.state, State::Playing) && session.tracks.iter().any(|track| track.stale) {
            // What plays already goes to the new transport at once, though not before the answer names its channels.
            if matches!(care_of, CareOf::Interleaved { .. }) {
                hold_media();
            }
            self.bind(session, link)?;
        }
        let transport = match (care_of, offered) {
            (CareOf::Udp { rtp, rtcp, .. }, Offered::Udp { protocol, .. }) => {
                format!("{protocol};unicast;client_port={}-{}{}", rtp.port(), rtcp.port(), self.sender(&facts, link))
            }
            (CareOf::Interleaved { rtp_channel, rtcp_channel, .. }, Offered::Interleaved { protocol, .. }) => {
                format!("{protocol};unicast;interleaved={rtp_channel}-{rtcp_channel};ssrc={:08X}", facts.ssrc.0)
            }
            (CareOf::Udp { .. } | CareOf::Interleaved { .. }, _) => return Err(Status(500).into()),
        };
        Ok(set_up_response(session, &facts, transport, request))
    }

    /// Where a flow's datagrams come from, as `Transport` says it.
    fn sender(&self, facts: &FlowFacts, link: &Link) -> String {
        let (rtp, rtcp) = (self.settings.rtp_port, self.settings.rtp_port.saturating_add(1));
        format!(";server_port={rtp}-{rtcp};source={};ssrc={:08X}", link.local.ip(), facts.ssrc.0)
    }

    /// The flows that a session's presentation has. A session that opened its title has added all of them.
    async fn flows(&self, session: &Session) -> Result<Vec<FlowFacts>, Refusal> {
        match session.role {
            Role::Opener { .. } => Ok(session.added.clone()),
            Role::Taker { .. } => {
                let snapshot = self.stage.snapshot(session.presentation).await?;
                Ok(snapshot.flows.iter().map(|flow| flow.facts).collect())
            }
        }
    }

    /// A new home address with a flow of its own. All that the shard has to do for it is asked at once: each wait for it
    /// is two changes of threads.
    async fn reserve_flow(
        &self,
        session: &mut Session,
        opening: Option<Opening>,
        track: usize,
        awaited: Awaited,
        link: &Link,
    ) -> Result<FlowFacts, Refusal> {
        let Role::Opener { name } = &session.role else { return Err(SessionError::NoSuchTrack.into()) };
        let presentation = session.presentation;
        let found = session.title.tracks.get(track).ok_or(SessionError::NoSuchTrack)?;
        let media_source = media_source(self.settings.media_source, link.local.ip());
        let reserve = |address| Reserve { owner: Owner::Presentation(presentation.0), address, lifetime: None, media_source };
        let kept = name.as_deref().and_then(|name| self.steering.named(&kept_name(name, found.kind)));
        let kept = kept.and_then(|home| self.steering.reserve(&reserve(Some(home)), now()).ok());
        let reserved = match kept {
            Some(reservation) => reservation,
            // Without a name, or with somebody there already, this flow gets an address of its own.
            None => self.steering.reserve(&reserve(None), now())?,
        };
        let label = self.steering.draw_label();
        let expectation = Expectation { payload_type: payload_type(&found.codec, track), ..Expectation::default() };
        let outcome = match self.steering.authorise(reserved.home, label, expectation) {
            Ok(()) => {
                let flow = NewFlow { track, home: reserved.home, label };
                self.stage.set_up(presentation, opening, flow, awaited).await.map_err(Refusal::from)
            }
            Err(error) => Err(error.into()),
        };
        match &outcome {
            Ok(facts) => session.added.push(*facts),
            // Released by the presentation's end meanwhile is released as well.
            Err(_) => drop(self.steering.release(reserved.home, now())),
        }
        outcome
    }

    /// A new session, and what is to be opened for it.
    async fn open_session(&self, url: &RtspUrl, request: &Request, link: &mut Link) -> Result<(SharedSession, Option<Opening>), Refusal> {
        link.made.retain(|id| self.sessions.holds(*id));
        if link.made.len() >= self.settings.sessions_per_connection {
            return Err(Refusal::because(503, "too many sessions on this connection"));
        }
        let (presentation, title, role, opening) = match self.find(url, request, link).await? {
            Found::Flows { snapshot, grants } => {
                self.consent(&grants, &url.query, link)?;
                let mode = if url.query.fork { Mode::Fork } else { Mode::Move };
                (snapshot.id, snapshot.title, Role::Taker { grants, mode }, None)
            }
            Found::Title { title, name } => {
                let start = url.query.start.unwrap_or(MediaTime::ZERO);
                if start > title.duration {
                    return Err(Refusal::because(457, "the title is shorter"));
                }
                let presentation = PresentationId(u64::from_be_bytes(random()?));
                let (end, scale, speed) = (url.query.end, url.query.scale.unwrap_or_default(), url.query.speed.unwrap_or_default());
                // Only backwards may the end lie before the start.
                let may_end_before = scale.is_backward() && title.tracks.iter().any(Track::has_scales);
                if end.is_some_and(|end| if may_end_before { end == start } else { end <= start }) {
                    return Err(Refusal::because(457, "it ends where it begins"));
                }
                let (looping, opener) = (url.query.looping, Some(link.peer.ip()));
                let opening = Opening { title: Arc::clone(&title), start, end, scale, speed, looping, opener };
                (presentation, title, Role::Opener { name }, Some(opening))
            }
        };
        let id = SessionId::from_random(u128::from_be_bytes(random()?));
        let session = Session {
            id,
            peer: link.peer.ip(),
            target: url.target.clone(),
            presentation,
            title,
            added: Vec::new(),
            role,
            holder: Holder(u64::from_be_bytes(random()?)),
            join: join_of(request.header("User-Agent").unwrap_or_default(), url.query.join.as_deref(), &self.settings),
            tracks: Vec::new(),
            knows_scales: false,
            knows_speeds: false,
            seek: url.query.seek,
            state: State::Init,
            heard: now().mono,
            connection: link.connection,
        };
        if let Some(number) = pipeline(request) {
            link.pipelined.retain(|(known, _)| *known != number);
            if link.pipelined.len() >= PIPELINES {
                link.pipelined.remove(0);
            }
            link.pipelined.push((number, id));
        }
        link.made.push(id);
        Ok((self.sessions.insert(session), opening))
    }
}

fn set_up_response(session: &Session, facts: &FlowFacts, transport: String, request: &Request) -> Response {
    let response = Response::new(Status::OK)
        .with("Session", session.id.header(TIMEOUT_S))
        .with("Transport", transport)
        .with("Home-Address", format!("{};flow-label={}", facts.home, facts.label));
    match pipeline(request) {
        Some(number) => response.with("Pipelined-Requests", number.to_string()),
        None => response,
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}

/// The track that the URL of the whole names where there is only one.
fn only_track(session: &Session, flows: &[FlowFacts]) -> Result<usize, SessionError> {
    match &session.role {
        Role::Opener { .. } if session.title.tracks.len() == 1 => Ok(0),
        Role::Opener { .. } => Err(SessionError::NoAggregate),
        Role::Taker { .. } => {
            let mut granted = flows.iter().filter(|flow| session.may_take(flow.home));
            match (granted.next(), granted.next()) {
                (Some(only), None) => Ok(only.track),
                _ => Err(SessionError::NoAggregate),
            }
        }
    }
}

/// Where a track's packets are to go: never anywhere but to the peer of the connection. `others` are the channels of the
/// connection that other sessions use.
fn care_of(session: &Session, track: usize, offered: &Offered, others: &[u8], link: &Link) -> Result<CareOf, Refusal> {
    match offered {
        Offered::Udp { rtp, rtcp, .. } => {
            // With the zone of a link-local address.
            let to = |port: u16| {
                let mut to = link.peer;
                to.set_port(port);
                to
            };
            Ok(CareOf::Udp { rtp: to(*rtp), rtcp: to(*rtcp), source: Some(link.local.ip()) })
        }
        Offered::Home { .. } => Err(Status(500).into()),
        Offered::Interleaved { channels, .. } => {
            let used: Vec<u8> = session.channels(link.connection, Some(track)).chain(others.iter().copied()).collect();
            let free = |(rtp, rtcp): &(u8, u8)| !used.contains(rtp) && !used.contains(rtcp);
            let drawn = || (0..=254).step_by(2).map(|channel| (channel, channel + 1)).find(free);
            // One that is taken is as good as none.
            let chosen = channels.filter(free).or_else(drawn);
            let (rtp_channel, rtcp_channel) = chosen.ok_or(Refusal::because(461, "all channels are in use"))?;
            Ok(CareOf::Interleaved { connection: ConnectionId(link.connection), peer: link.peer, rtp_channel, rtcp_channel })
        }
    }
}

/// How a player's branches enter: as its URL or the settings say, as fast as its kind was seen to take without loss.
fn join_of(user_agent: &str, asked: Option<&str>, settings: &RtspSettings) -> Join {
    let by_player = match user_agent {
        agent if agent.contains("Lavf") || agent.contains("libmpv") => 8000,
        agent if agent.contains("GStreamer") => 1500,
        _ => 2000,
    };
    let way = match asked {
        Some("at-once") => JoinWay::AtOnce,
        Some("aligned") => JoinWay::Aligned,
        Some("primed") => JoinWay::Primed,
        _ => settings.join,
    };
    let asked = settings.prime_rate_milli;
    Join { way, rate_milli: asked.unwrap_or(by_player), fixed: asked.is_some(), eager: is_eager(user_agent), rtx: false }
}

/// Whether a player reads what comes right behind the response to PLAY. Others open their demultiplexer only then, and lose that.
pub(crate) fn is_eager(user_agent: &str) -> bool {
    user_agent.contains("GStreamer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantities::MediaKind;

    #[test]
    fn the_rate_of_joining_follows_the_player() {
        for (agent, rate) in
            [("Lavf61.7.100", 8000), ("libmpv", 8000), ("GStreamer/1.26.2", 1500), ("LibVLC/3.0.21 (LIVE555)", 2000), ("", 2000)]
        {
            let settings = RtspSettings::default();
            let eager = agent.contains("GStreamer");
            assert_eq!(join_of(agent, None, &settings), Join { rate_milli: rate, eager, ..Join::default() }, "{agent}");
            let settings = RtspSettings { prime_rate_milli: Some(3000), ..settings };
            let fixed = join_of(agent, None, &settings);
            assert_eq!((fixed.rate_milli, fixed.fixed), (3000, true), "{agent}");
        }
    }

    #[test]
    fn the_url_says_how_to_join_and_else_the_settings() {
        for default in [JoinWay::Primed, JoinWay::AtOnce] {
            let settings = RtspSettings { join: default, ..RtspSettings::default() };
            for (asked, way) in [
                (None, default),
                (Some("sideways"), default),
                (Some("primed"), JoinWay::Primed),
                (Some("aligned"), JoinWay::Aligned),
                (Some("at-once"), JoinWay::AtOnce),
            ] {
                assert_eq!(join_of("", asked, &settings).way, way, "{asked:?} over {default:?}");
            }
        }
    }

    #[test]
    fn kept_names_tell_kinds_of_media_apart() {
        assert_eq!(kept_name("wall", MediaKind::Video), "wall");
        assert_eq!(kept_name("wall", MediaKind::Audio), "wall.audio");
    }
}
