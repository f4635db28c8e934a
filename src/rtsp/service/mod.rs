//! Answers requests: titles are opened, flows set up and bound, presentations controlled, flows taken over.
//!
//! Whatever a request changes about where packets go is a steering command; whatever it changes about what is played
//! is a command to the stage. Nothing here reads or writes a socket. Read first: RFC 2326 section 10.

mod access;
mod bind;
mod consent;
mod credentials;
mod describe;
mod destination;
mod home_names;
mod play;
mod publish;
mod set_up;
mod upkeep;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::access::Access;
use crate::library::Library;
use crate::net::{Refusals, now};
use crate::playback::Stage;
use crate::rtsp::error::Refusal;
use crate::rtsp::header::session::SessionId;
use crate::rtsp::message::{MessageLimits, Request, Response, Status};
use crate::rtsp::publishers::Publishers;
use crate::rtsp::session::{Session, SessionError, Sessions, SharedSession, Standing, TIMEOUT_S};
use crate::rtsp::url::Query;
use crate::steering::consent::QuestionId;
use crate::steering::{BindingCache, JoinWay};

pub use consent::HOLD;
pub use home_names::HomeNames;
pub(crate) use set_up::is_eager;

/// What the RTSP room goes by.
#[derive(Clone, Debug)]
pub struct RtspSettings {
    /// Bounds of a message.
    pub message: MessageLimits,
    /// How long a request may take to arrive.
    pub request_timeout: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address, or from one /64 of IPv6.
    pub connections_per_address: usize,
    /// Sessions made over one connection.
    pub sessions_per_connection: usize,
    /// Octets of media that wait for a connection at most.
    pub interleaved_queue: usize,
    /// A session, and a connection without one, that says nothing for so long ends.
    pub session_timeout: Duration,
    /// The RTP port; RTCP is the next one.
    pub rtp_port: u16,
    /// RTP packets of at most so many octets.
    pub max_packet: usize,
    /// For how long a packet can be sent again to who asks for that; zero where none is.
    pub rtx: Duration,
    /// The address that packets to home addresses pretend to come from; else the one the player came to.
    pub media_source: Option<Ipv6Addr>,
    /// How a player joins a flow that runs, unless its URL says.
    pub join: JoinWay,
    /// How fast a new branch is caught up, in thousandths of real time; `None` goes by the player.
    pub prime_rate_milli: Option<u16>,
    /// Names of home addresses and the titles that start there.
    pub homes: HomeNames,
    /// Who may play which titles.
    pub access: Arc<Access>,
}

impl Default for RtspSettings {
    fn default() -> Self {
        Self {
            message: MessageLimits::default(),
            request_timeout: Duration::from_secs(10),
            connections: 10_000,
            connections_per_address: 10_000,
            sessions_per_connection: 16,
            interleaved_queue: 1 << 20,
            session_timeout: Duration::from_secs(75),
            rtp_port: 8000,
            max_packet: 1400,
            rtx: Duration::from_secs(2),
            media_source: None,
            join: JoinWay::Primed,
            prime_rate_milli: None,
            homes: HomeNames::default(),
            access: Arc::default(),
        }
    }
}

/// What answering needs.
pub struct Service {
    /// The presentations.
    pub stage: Stage,
    /// The address map.
    pub steering: Arc<BindingCache>,
    /// The titles.
    pub library: Arc<Library>,
    /// The sessions.
    pub sessions: Sessions,
    /// Who may publish, and does.
    pub publishers: Arc<Publishers>,
    /// Who has shown too many keys that are none.
    pub refusals: Arc<Refusals>,
    /// What it goes by.
    pub settings: RtspSettings,
}

/// What is known of the connection that a request came over.
#[derive(Debug)]
pub struct Link {
    /// Its number.
    pub connection: u64,
    /// The player's address, canonical.
    pub peer: SocketAddr,
    /// Ours, canonical.
    pub local: SocketAddr,
    /// Whether nobody between can read along.
    pub is_secured: bool,
    /// Sessions made over it.
    made: Vec<SessionId>,
    /// Sessions that it carried requests of.
    used: Vec<SessionId>,
    /// Sessions by the number under which they were announced (`Pipelined-Requests`, RFC 7826 section 18.33).
    pipelined: Vec<(u32, SessionId)>,
    /// What URLs carried behind the question mark; players do not repeat it.
    queries: Vec<(String, Query)>,
    /// What credentials are computed over; drawn with the first challenge.
    nonce: Option<String>,
    /// What stands for credentials that took long to prove, and were proven.
    proven: Mutex<Option<[u8; 32]>>,
    /// What its publisher does, if it is one's.
    publishing: Option<Box<publish::Publishing>>,
}

/// Sessions that a connection is known to carry requests of at most; those made over it count separately.
const USED: usize = 64;

impl Link {
    /// A connection that has said nothing yet.
    pub fn new(connection: u64, peer: SocketAddr, local: SocketAddr) -> Self {
        let (made, used, pipelined, queries) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (nonce, proven, publishing) = (None, Mutex::default(), None);
        Self { connection, peer, local, is_secured: false, made, used, pipelined, queries, nonce, proven, publishing }
    }

    fn proven(&self) -> Option<[u8; 32]> {
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_proven(&self, mark: [u8; 32]) {
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
    }

    fn note_use(&mut self, id: SessionId) {
        if !self.used.contains(&id) {
            if self.used.len() >= USED {
                self.used.remove(0);
            }
            self.used.push(id);
        }
    }
}

/// An answer, and what is to happen around it.
#[derive(Debug)]
pub struct Answer {
    /// The response.
    pub response: Response,
    /// Whether media on this connection has to wait for the response.
    pub media_follows: bool,
    /// The open question whose answer may change the response.
    pub held: Option<QuestionId>,
}

impl Service {
    /// Answers a request. `hold_media` is called before media may start to flow over the request's own connection.
    pub async fn answer(&self, request: &Request, link: &mut Link, hold_media: impl Fn() + Send + Sync) -> Answer {
        let mut media_follows = false;
        let hold = &mut || {
            media_follows = true;
            hold_media();
        };
        let (response, held) = match self.dispatch(request, link, hold).await {
            Ok(response) => (response, None),
            Err(refusal) => (self.refuse(&refusal, link), refusal.held),
        };
        Answer { response, media_follows, held }
    }

    fn refuse(&self, refusal: &Refusal, link: &mut Link) -> Response {
        let response = refusal.response();
        if refusal.status == Status(405) {
            // RFC 2326 section 12.4: what goes with this URL. Who may publish elsewhere may not here.
            return response.with("Allow", PUBLIC);
        }
        if !refusal.challenge {
            return response;
        }
        match credentials::challenge(link, self) {
            Ok(challenge) => response.with("WWW-Authenticate", challenge),
            Err(_) => Response::new(Status(500)),
        }
    }

    async fn dispatch(&self, request: &Request, link: &mut Link, hold_media: &mut (dyn FnMut() + Send)) -> Result<Response, Refusal> {
        if request.sequence().is_none() {
            return Err(Refusal::because(400, "CSeq is missing"));
        }
        if request.version != "RTSP/1.0" {
            return Err(Status(505).into());
        }
        let required: Vec<&str> = request.headers("Require").chain(request.headers("Proxy-Require")).collect();
        if !required.is_empty() {
            return Ok(Response::new(Status(551)).with("Unsupported", required.join(", ")));
        }
        if link.publishing.as_ref().is_some_and(|publishing| publishing.concerns(request)) && request.method != "ANNOUNCE" {
            return self.publishing(request, link).await;
        }
        match request.method.as_str() {
            "OPTIONS" => {
                Ok(self.keep_alive(request, link).await?.with("Public", if self.publishers.is_closed() { PUBLIC } else { PUBLIC_RECORD }))
            }
            "GET_PARAMETER" | "SET_PARAMETER" => self.keep_alive(request, link).await,
            "DESCRIBE" => self.describe(request, link).await,
            "SETUP" => self.set_up(request, link, hold_media).await,
            "PLAY" => self.play(request, link, hold_media).await,
            "PAUSE" => self.pause(request, link).await,
            "TEARDOWN" => self.tear_down(request, link).await,
            "ANNOUNCE" => self.announce(request, link).await,
            "RECORD" => Err(Status(if self.publishers.is_closed() { 405 } else { 455 }).into()),
            _ => Err(Status(501).into()),
        }
    }

    async fn keep_alive(&self, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        let response = Response::new(Status::OK);
        match self.named_session(request, link).await? {
            Some(session) => {
                let session = session.lock().await;
                Ok(response.with("Session", session.id.header(TIMEOUT_S)))
            }
            None => Ok(response),
        }
    }

    /// The session that a request names, by its header or by the number of a pipeline. The request is a sign of life
    /// of it.
    async fn named_session(&self, request: &Request, link: &mut Link) -> Result<Option<SharedSession>, SessionError> {
        let id = match request.header("Session") {
            Some(header) => Some(SessionId::parse(header).ok_or(SessionError::Unknown)?),
            None => {
                let number = pipeline(request);
                let announced = link.pipelined.iter().find(|(known, id)| Some(*known) == number && self.sessions.holds(*id));
                announced.map(|(_, id)| *id)
            }
        };
        match id {
            Some(id) => self.used_session(id, link).await.map(Some),
            None => Ok(None),
        }
    }

    /// … or, where neither is there, the only session of the connection.
    async fn current_session(&self, request: &Request, link: &mut Link) -> Result<SharedSession, SessionError> {
        if let Some(session) = self.named_session(request, link).await? {
            return Ok(session);
        }
        if pipeline(request).is_some() {
            return Err(SessionError::Unknown);
        }
        link.made.retain(|id| self.sessions.holds(*id));
        match link.made.as_slice() {
            [only] => self.used_session(*only, link).await,
            _ => Err(SessionError::Unknown),
        }
    }

    async fn used_session(&self, id: SessionId, link: &mut Link) -> Result<SharedSession, SessionError> {
        let shared = self.sessions.find(id)?;
        {
            let mut session = shared.lock().await;
            if session.peer != link.peer.ip() {
                return Err(SessionError::Unknown);
            }
            let now = now();
            session.heard = now.mono;
            for aimed in session.tracks.iter().filter(|track| track.aimed) {
                self.steering.heard_from(aimed.facts.home, link.peer.ip(), now);
            }
            if session.connection != link.connection {
                session.connection = link.connection;
                self.note_peer(&session, link);
            }
        }
        link.note_use(id);
        Ok(shared)
    }

    /// Whether some session made or controlled over a connection lives.
    pub fn has_sessions(&self, link: &Link) -> bool {
        let publishes = link.publishing.as_ref().is_some_and(|publishing| publishing.lives());
        publishes || link.made.iter().chain(&link.used).any(|id| self.sessions.holds(*id))
    }

    fn standing(&self, session: &Session) -> Standing {
        let own = || session.standing(|home| self.steering.gate(home).map(|mut gate| Arc::clone(gate.route())));
        match self.standing_aimed(session) {
            None | Some(Standing::Gone) if session.branches().next().is_some() => own(),
            Some(aimed) => aimed,
            None => own(),
        }
    }
}

/// Lets the counts of answers begin with 0: to Prometheus, what is first seen as 1 has not grown.
pub(super) fn begin_counts() {
    for method in KNOWN_METHODS {
        let _registered = metrics::counter!("flowsteer_rtsp_requests_total", "method" => method, "status" => "200");
    }
}

/// Counts an answer that is sent.
pub(super) fn count_answer(request: &Request, response: &Response) {
    let method = KNOWN_METHODS.iter().copied().find(|known| *known == request.method).unwrap_or("other");
    let status = response.status.0.to_string();
    metrics::counter!("flowsteer_rtsp_requests_total", "method" => method, "status" => status).increment(1);
}

/// Counts what a limit refuses; a limit is named by its key, if it has one.
pub(super) fn count_refusal(limit: &'static str, peer: SocketAddr) {
    tracing::debug!(%peer, limit, "refused");
    metrics::counter!("flowsteer_rtsp_refused_total", "limit" => limit).increment(1);
}

const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";
const PUBLIC_RECORD: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN, ANNOUNCE, RECORD";
const KNOWN_METHODS: [&str; 10] =
    ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "GET_PARAMETER", "SET_PARAMETER", "TEARDOWN", "ANNOUNCE", "RECORD"];

fn pipeline(request: &Request) -> Option<u32> {
    request.header("Pipelined-Requests")?.trim().parse().ok()
}
