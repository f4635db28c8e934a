//! What is known of RTSP sessions between requests, and what may be asked of one (RFC 2326 appendix A).
//!
//! A session is found by its identifier, which is a secret and good from one peer address only. It is not tied to a
//! connection: a UDP session outlives the one that made it. [`Session`] is pure: requests ask it whether they are in
//! place, tell it what came of them, and show it the routes that say what has become of its branches.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use crate::library::Title;
use crate::now::{Allowance, Mono};
use crate::playback::{FlowFacts, PresentationId, SeekStyle};
use crate::rtsp::header::session::SessionId;
use crate::rtsp::url::Target;
use crate::steering::{BindingId, BranchSerial, CareOf, Holder, HomeAddress, Join, Mode, Route, VerifiedGrant};

/// The time-out that is told to players, in seconds.
pub const TIMEOUT_S: u64 = 60;
/// A take-over that was set up and not played vanishes after this.
pub const PREPARED: Duration = Duration::from_secs(30);
/// The connection of a player whose flow has moved is closed so long after its BYE.
pub const LEFT_BEHIND: Duration = Duration::from_secs(3);

/// Why a request is out of place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// No such session, or not from this peer.
    #[error("no such session")]
    Unknown,
    /// Its flow is played elsewhere now.
    #[error("its flow has moved to another device")]
    Detached,
    /// Not now.
    #[error("not in this state")]
    State,
    /// The session has several tracks and is controlled as a whole.
    #[error("only aggregate operation")]
    OnlyAggregate,
    /// The URL names several tracks where one is needed.
    #[error("a track is needed")]
    NoAggregate,
    /// The track is none of the session's.
    #[error("no such track")]
    NoSuchTrack,
    /// The URL is about something else than what the session was opened for.
    #[error("the session is for another URL")]
    OtherUrl,
}

/// What a session may do, and how it came about.
#[derive(Clone, Debug)]
pub enum Role {
    /// It opened the title.
    Opener {
        /// The name of the home address that it opened it at, if any.
        name: Option<String>,
    },
    /// It takes flows over.
    Taker {
        /// What it may take.
        grants: Vec<VerifiedGrant>,
        /// Whether the others stay.
        mode: Mode,
    },
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No track is set up.
    Init,
    /// Tracks are set up and nothing plays.
    Ready {
        /// Since its last SETUP, PAUSE or TEARDOWN of a track.
        since: Mono,
        /// Whether it has played before.
        played: bool,
    },
    /// It plays.
    Playing,
    /// Its flows have moved to another device, or are over: it touches nothing any more.
    Detached {
        /// Since when that has been known.
        since: Mono,
    },
}

/// What has become of a session's branches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It never had one.
    Unbound,
    /// At least one stays.
    Current,
    /// All that are left are served only until their window ends.
    Leaving,
    /// None is left.
    Gone,
}

/// A track that was set up.
#[derive(Clone, Debug)]
pub struct SetUpTrack {
    /// What is fixed about its flow.
    pub facts: FlowFacts,
    /// The URL of its SETUP, as it came.
    pub url: String,
    /// Where its packets are to go.
    pub care_of: CareOf,
    /// Its binding and the branch that it is, once bound.
    pub branch: Option<(BindingId, BranchSerial)>,
    /// Set where the transport was chosen anew since it was bound.
    pub stale: bool,
    /// Set where the player sends feedback and asked for what it has not got to be sent again.
    pub rtx: bool,
    /// Set where the flow is played to a home address that somebody else reserved: the session has no branch there.
    pub aimed: bool,
    /// How many reports of its receiver may yet be handed over.
    pub reports: Allowance,
}

/// One RTSP session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The secret.
    pub id: SessionId,
    /// The only address it may be used from.
    pub peer: IpAddr,
    /// What its URLs are about.
    pub target: Target,
    /// What it controls.
    pub presentation: PresentationId,
    /// What that plays.
    pub title: Arc<Title>,
    /// The flows that it has added to it; they stay when their tracks are torn down.
    pub added: Vec<FlowFacts>,
    /// How it came about.
    pub role: Role,
    /// The device, as steering knows it.
    pub holder: Holder,
    /// How its branches enter.
    pub join: Join,
    /// The tracks that were set up, in order.
    pub tracks: Vec<SetUpTrack>,
    /// Whether it has asked for a scale: from then on a PLAY that asks for none asks for normal speed.
    pub knows_scales: bool,
    /// The same of speeds.
    pub knows_speeds: bool,
    /// With what its seeks begin, where a request does not say it.
    pub seek: SeekStyle,
    /// Where it stands.
    pub state: State,
    /// When it last said something.
    pub heard: Mono,
    /// The connection of its last request.
    pub connection: u64,
}

impl Session {
    /// Whether its first PLAY is still to come.
    pub const fn is_fresh(&self) -> bool {
        matches!(self.state, State::Init | State::Ready { played: false, .. })
    }

    /// Whether it takes flows over.
    pub const fn is_taker(&self) -> bool {
        matches!(self.role, Role::Taker { .. })
    }

    /// Whether it plays to a home address that somebody else reserved.
    pub fn is_aimed(&self) -> bool {
        self.tracks.iter().any(|track| track.aimed)
    }

    /// Whether it uses a connection for media.
    pub fn interleaves(&self, connection: u64) -> bool {
        self.tracks.iter().any(|track| uses(track, connection))
    }

    /// The channels of a connection that it uses, those of one track left out.
    pub fn channels(&self, connection: u64, without: Option<usize>) -> impl Iterator<Item = u8> + '_ {
        let used = move |track: &SetUpTrack| match track.care_of {
            CareOf::Interleaved { connection: of, rtp_channel, rtcp_channel, .. }
                if of.0 == connection && Some(track.facts.track) != without =>
            {
                Some([rtp_channel, rtcp_channel])
            }
            CareOf::Interleaved { .. } | CareOf::Udp { .. } => None,
        };
        self.tracks.iter().filter_map(used).flatten()
    }

    /// Its bound branches, those included that have ended meanwhile.
    pub fn branches(&self) -> impl Iterator<Item = (HomeAddress, BranchSerial)> + '_ {
        self.tracks.iter().filter_map(|track| Some((track.facts.home, track.branch?.1)))
    }

    /// Whether the media of a flow may go to it.
    pub fn may_take(&self, home: HomeAddress) -> bool {
        match &self.role {
            Role::Opener { .. } => true,
            Role::Taker { grants, .. } => grants.iter().any(|grant| grant.home == home),
        }
    }

    /// What has become of its branches.
    pub fn standing(&self, route: impl Fn(HomeAddress) -> Option<Arc<Route>>) -> Standing {
        let mut standing = Standing::Unbound;
        for (home, serial) in self.branches() {
            let found = route(home).and_then(|route| route.branches.iter().find(|branch| branch.serial == serial).copied());
            standing = match (found, standing) {
                (Some(branch), _) if !branch.leaving => return Standing::Current,
                (Some(_), _) | (None, Standing::Leaving) => Standing::Leaving,
                (None, _) => Standing::Gone,
            };
        }
        standing
    }

    /// Whether a URL may name it: the one it was opened by, or none in particular.
    ///
    /// # Errors
    /// `OtherUrl`.
    pub fn named_by(&self, target: &Target) -> Result<(), SessionError> {
        if *target == self.target || *target == Target::Server { Ok(()) } else { Err(SessionError::OtherUrl) }
    }

    /// Whether a request on this track, or on all, may control it.
    ///
    /// # Errors
    /// `NoSuchTrack`; `OnlyAggregate` where the session has several.
    pub fn scope(&self, track: Option<usize>) -> Result<(), SessionError> {
        match track {
            Some(track) if !self.tracks.iter().any(|set_up| set_up.facts.track == track) => Err(SessionError::NoSuchTrack),
            Some(_) if self.tracks.len() > 1 => Err(SessionError::OnlyAggregate),
            _ => Ok(()),
        }
    }

    /// Whether SETUP is in place.
    ///
    /// # Errors
    /// `Detached`.
    pub const fn may_set_up(&self) -> Result<(), SessionError> {
        match self.state {
            State::Detached { .. } => Err(SessionError::Detached),
            State::Init | State::Ready { .. } | State::Playing => Ok(()),
        }
    }

    /// Whether PLAY is in place.
    ///
    /// # Errors
    /// `State` before SETUP, `Detached`.
    pub const fn may_play(&self) -> Result<(), SessionError> {
        match self.state {
            State::Init => Err(SessionError::State),
            State::Detached { .. } => Err(SessionError::Detached),
            State::Ready { .. } | State::Playing => Ok(()),
        }
    }

    /// Whether PAUSE is in place; a second one is.
    ///
    /// # Errors
    /// `State` before PLAY, `Detached`.
    pub const fn may_pause(&self) -> Result<(), SessionError> {
        match self.state {
            State::Init | State::Ready { played: false, .. } => Err(SessionError::State),
            State::Detached { .. } => Err(SessionError::Detached),
            State::Ready { played: true, .. } | State::Playing => Ok(()),
        }
    }

    /// Notes a track's transport; a second one for the same track takes the place of the first.
    pub fn set_up(&mut self, facts: FlowFacts, url: &str, care_of: CareOf, now: Mono) {
        match self.tracks.iter_mut().find(|track| track.facts.track == facts.track) {
            Some(track) => {
                track.stale = track.branch.is_some() && (track.stale || track.care_of != care_of);
                track.care_of = care_of;
                track.url = url.to_owned();
            }
            None => self.tracks.push(SetUpTrack {
                facts,
                url: url.to_owned(),
                care_of,
                branch: None,
                stale: false,
                rtx: false,
                aimed: false,
                reports: Allowance::default(),
            }),
        }
        match self.state {
            State::Init => self.state = State::Ready { since: now, played: false },
            State::Ready { played, .. } => self.state = State::Ready { since: now, played },
            State::Playing | State::Detached { .. } => {}
        }
    }

    /// Notes whether a track's player is to be sent again what it has not got.
    pub fn retransmit(&mut self, track: usize, rtx: bool) {
        if let Some(track) = self.tracks.iter_mut().find(|set_up| set_up.facts.track == track) {
            track.rtx = rtx;
        }
    }

    /// Notes a track that is played to a home address; `care_of` is that address with the ports agreed.
    pub fn aim(&mut self, facts: FlowFacts, url: &str, care_of: CareOf, now: Mono) {
        self.set_up(facts, url, care_of, now);
        if let Some(track) = self.tracks.iter_mut().find(|track| track.facts.track == facts.track) {
            track.aimed = true;
        }
    }

    /// Takes a track out.
    ///
    /// # Errors
    /// `NoSuchTrack`.
    pub fn take_out(&mut self, track: usize, now: Mono) -> Result<SetUpTrack, SessionError> {
        let position = self.tracks.iter().position(|set_up| set_up.facts.track == track).ok_or(SessionError::NoSuchTrack)?;
        let taken = self.tracks.remove(position);
        if self.tracks.is_empty() {
            self.state = match self.state {
                State::Detached { since } => State::Detached { since },
                State::Init | State::Ready { .. } | State::Playing => State::Init,
            };
        } else if let State::Ready { played, .. } = self.state {
            self.state = State::Ready { since: now, played };
        }
        Ok(taken)
    }

    /// Takes out what is interleaved in a connection.
    pub fn take_out_interleaved(&mut self, connection: u64) -> Vec<SetUpTrack> {
        self.tracks.extract_if(.., |track| uses(track, connection)).collect()
    }

    /// Notes that it plays.
    pub const fn playing(&mut self) {
        self.state = State::Playing;
    }

    /// Notes that it stands.
    pub const fn paused(&mut self, now: Mono) {
        self.state = State::Ready { since: now, played: true };
    }

    /// Notes that its flows are elsewhere; the first time counts.
    pub const fn detach(&mut self, now: Mono) {
        if !matches!(self.state, State::Detached { .. }) {
            self.state = State::Detached { since: now };
        }
    }

    /// Whether it is a take-over that was set up too long ago to be played.
    pub fn has_lapsed(&self, now: Mono) -> bool {
        match self.state {
            State::Ready { since, played: false } => self.is_taker() && now.since(since) >= PREPARED,
            State::Init | State::Ready { .. } | State::Playing | State::Detached { .. } => false,
        }
    }

    /// Whether it was left behind by a move long enough ago.
    pub fn is_left_behind(&self, now: Mono) -> bool {
        matches!(self.state, State::Detached { since } if now.since(since) >= LEFT_BEHIND)
    }
}

fn uses(track: &SetUpTrack, connection: u64) -> bool {
    matches!(track.care_of, CareOf::Interleaved { connection: used, .. } if used.0 == connection)
}

/// A session that several requests may want at once.
pub type SharedSession = Arc<tokio::sync::Mutex<Session>>;

/// All sessions, by their secret.
#[derive(Default)]
pub struct Sessions {
    live: DashMap<SessionId, SharedSession>,
}

impl Sessions {
    /// Takes a session in.
    pub fn insert(&self, session: Session) -> SharedSession {
        let id = session.id;
        let shared = Arc::new(tokio::sync::Mutex::new(session));
        self.live.insert(id, Arc::clone(&shared));
        shared
    }

    /// The session of that secret.
    ///
    /// # Errors
    /// `Unknown`.
    pub fn find(&self, id: SessionId) -> Result<SharedSession, SessionError> {
        self.live.get(&id).map(|session| Arc::clone(&session)).ok_or(SessionError::Unknown)
    }

    /// Whether there is one of that secret.
    pub fn holds(&self, id: SessionId) -> bool {
        self.live.contains_key(&id)
    }

    /// Forgets a session.
    pub fn remove(&self, id: SessionId) {
        self.live.remove(&id);
    }

    /// All of them.
    pub fn all(&self) -> Vec<SharedSession> {
        self.live.iter().map(|session| Arc::clone(&session)).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr};

    use super::*;
    use crate::library::TitlePath;
    use crate::quantities::{ClockRate, FlowLabel, MediaTime, PayloadType, Ssrc};
    use crate::steering::{Branch, ConnectionId, EndReason, Ended, UpdateId};

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn home(track: usize) -> HomeAddress {
        HomeAddress(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, track as u16 + 1))
    }

    fn facts(track: usize) -> FlowFacts {
        FlowFacts {
            track,
            home: home(track),
            label: FlowLabel::new(7).expect("not zero"),
            ssrc: Ssrc(1),
            payload_type: PayloadType::dynamic(track).expect("small"),
            clock_rate: ClockRate::VIDEO,
        }
    }

    fn udp(port: u16) -> CareOf {
        let to = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        CareOf::Udp { rtp: to(port), rtcp: to(port + 1), source: None }
    }

    fn interleaved(connection: u64) -> CareOf {
        let peer = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
        CareOf::Interleaved { connection: ConnectionId(connection), peer, rtp_channel: 0, rtcp_channel: 1 }
    }

    fn title() -> Arc<Title> {
        let path = TitlePath::new("a.mp4").expect("a path");
        Arc::new(Title { path, duration: MediaTime::ZERO, tracks: Vec::new(), remark: None, source: Arc::new(Vec::new()) })
    }

    fn session(role: Role) -> Session {
        Session {
            id: SessionId::from_random(1),
            peer: IpAddr::V6(Ipv6Addr::LOCALHOST),
            target: Target::Title(TitlePath::new("a.mp4").expect("a path")),
            presentation: PresentationId(1),
            title: title(),
            added: Vec::new(),
            role,
            holder: Holder(1),
            join: Join::default(),
            tracks: Vec::new(),
            knows_scales: false,
            knows_speeds: false,
            seek: SeekStyle::default(),
            state: State::Init,
            heard: at(0),
            connection: 1,
        }
    }

    fn opener() -> Session {
        session(Role::Opener { name: None })
    }

    fn route(track: usize, serial: u64, leaving: bool) -> Arc<Route> {
        let branch = Branch {
            serial: BranchSerial(serial),
            binding: BindingId(1),
            care_of: udp(5000),
            update: UpdateId(1),
            together: 1,
            join: Join::default(),
            leaving,
            until: None,
            since: at(0),
        };
        let ended = vec![Ended { branch, reason: EndReason::Moved }];
        Arc::new(Route { epoch: 1, home: home(track), label: None, branches: vec![branch], ended, reserved: true, ports: (5004, 5005) })
    }

    #[test]
    fn requests_out_of_place_are_errors() {
        let mut session = opener();
        assert_eq!(session.may_play(), Err(SessionError::State));
        assert_eq!(session.may_pause(), Err(SessionError::State));
        session.set_up(facts(0), "u", udp(5000), at(1));
        assert_eq!(session.state, State::Ready { since: at(1), played: false });
        assert_eq!((session.may_play(), session.may_pause()), (Ok(()), Err(SessionError::State)));
        session.playing();
        assert_eq!((session.may_set_up(), session.may_play(), session.may_pause()), (Ok(()), Ok(()), Ok(())));
        session.paused(at(2));
        assert_eq!((session.may_play(), session.may_pause()), (Ok(()), Ok(())));
        session.detach(at(3));
        session.detach(at(4));
        assert_eq!(session.state, State::Detached { since: at(3) });
        for refused in [session.may_set_up(), session.may_play(), session.may_pause()] {
            assert_eq!(refused, Err(SessionError::Detached));
        }
    }

    #[test]
    fn several_tracks_are_controlled_as_a_whole_and_one_by_its_own_url() {
        let mut session = opener();
        session.set_up(facts(0), "u", udp(5000), at(1));
        assert_eq!([session.scope(None), session.scope(Some(0))], [Ok(()), Ok(())]);
        session.set_up(facts(1), "v", udp(5002), at(1));
        assert_eq!([session.scope(None), session.scope(Some(0))], [Ok(()), Err(SessionError::OnlyAggregate)]);
        assert_eq!(session.scope(Some(2)), Err(SessionError::NoSuchTrack));
    }

    #[test]
    fn a_second_setup_of_a_track_changes_its_transport() {
        let mut session = opener();
        session.set_up(facts(0), "u", udp(5000), at(1));
        session.set_up(facts(0), "u2", udp(6000), at(2));
        assert_eq!(session.tracks.len(), 1);
        assert_eq!((session.tracks[0].care_of, session.tracks[0].stale), (udp(6000), false));
        session.tracks[0].branch = Some((BindingId(1), BranchSerial(4)));
        session.set_up(facts(0), "u2", udp(6000), at(2));
        assert!(!session.tracks[0].stale, "nothing has changed");
        session.set_up(facts(0), "u2", udp(7000), at(2));
        assert!(session.tracks[0].stale);
    }

    #[test]
    fn a_track_can_be_taken_out_and_set_up_again() {
        let mut session = opener();
        session.set_up(facts(0), "u", udp(5000), at(1));
        session.set_up(facts(1), "v", udp(5002), at(1));
        session.playing();
        assert_eq!(session.take_out(1, at(2)).map(|track| track.url), Ok("v".into()));
        assert_eq!(session.take_out(1, at(2)).map(|track| track.url), Err(SessionError::NoSuchTrack));
        assert_eq!(session.state, State::Playing);
        session.set_up(facts(1), "v", udp(5004), at(3));
        assert_eq!(session.tracks[1].branch, None);
        let _ = (session.take_out(0, at(4)), session.take_out(1, at(4)));
        assert_eq!(session.state, State::Init);
    }

    #[test]
    fn standing_follows_the_routes() {
        let mut session = opener();
        session.set_up(facts(0), "u", udp(5000), at(1));
        session.set_up(facts(1), "v", udp(5002), at(1));
        assert_eq!(session.standing(|_| panic!("nothing is bound")), Standing::Unbound);
        session.tracks[0].branch = Some((BindingId(1), BranchSerial(1)));
        session.tracks[1].branch = Some((BindingId(1), BranchSerial(2)));
        let with = |first: Option<bool>, second: Option<bool>| {
            session.standing(|home| {
                if home.0.segments()[7] == 1 {
                    Some(route(0, if first.is_some() { 1 } else { 9 }, first == Some(true)))
                } else {
                    second.map(|leaving| route(1, 2, leaving))
                }
            })
        };
        let table = [
            (Some(false), Some(false), Standing::Current),
            (Some(true), Some(false), Standing::Current),
            (None, Some(false), Standing::Current),
            (Some(false), None, Standing::Current),
            (Some(true), Some(true), Standing::Leaving),
            (Some(true), None, Standing::Leaving),
            (None, Some(true), Standing::Leaving),
            (None, None, Standing::Gone),
        ];
        for (first, second, expected) in table {
            assert_eq!(with(first, second), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_take_over_lapses_unless_it_is_played_and_an_opening_does_not() {
        let mut taker = session(Role::Taker { grants: Vec::new(), mode: Mode::Move });
        taker.set_up(facts(0), "u", udp(5000), at(10));
        assert!(!taker.has_lapsed(at(39)));
        assert!(taker.has_lapsed(at(40)));
        taker.set_up(facts(1), "v", udp(5002), at(30));
        assert!(!taker.has_lapsed(at(59)));
        taker.playing();
        taker.paused(at(61));
        assert!(!taker.has_lapsed(at(600)));
        let mut opener = opener();
        opener.set_up(facts(0), "u", udp(5000), at(10));
        assert!(!opener.has_lapsed(at(600)));
    }

    #[test]
    fn only_what_is_interleaved_goes_with_a_connection() {
        let mut session = opener();
        session.set_up(facts(0), "u", interleaved(4), at(1));
        session.set_up(facts(1), "v", udp(5002), at(1));
        assert!(session.interleaves(4) && !session.interleaves(5));
        assert_eq!(session.take_out_interleaved(5).len(), 0);
        assert_eq!(session.take_out_interleaved(4).len(), 1);
        assert_eq!(session.tracks.len(), 1);
    }
}
