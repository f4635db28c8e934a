//! `destination` in SETUP: a flow that is played to a home address, and so to whoever is bound there.
//!
//! It is for who holds the home address, by a key or by being one of its care-ofs. The session has no branch there; it
//! controls the presentation all the same, until the flow has gone to another RTSP session altogether.

use std::net::Ipv6Addr;

use crate::net::now;
use crate::playback::{FlowFacts, Opening};
use crate::rtsp::error::Refusal;
use crate::rtsp::header::transport::TransportError;
use crate::rtsp::message::{Request, Status};
use crate::rtsp::service::{Link, Service};
use crate::rtsp::session::{Session, SessionError, Standing};
use crate::rtsp::url::RtspUrl;
use crate::sdp::payload_type;
use crate::steering::{BranchView, Expectation, HomeAddress, VerifiedGrant};

impl Service {
    /// Whether a request may name this destination; by which grants, where it is by a key.
    pub(super) fn may_aim(&self, home: Ipv6Addr, url: &RtspUrl, request: &Request, link: &Link) -> Result<Vec<VerifiedGrant>, Refusal> {
        if !self.steering.is_home(home) && !self.steering.is_reserved(HomeAddress(home)) {
            return Err(TransportError::Destination(home.to_string()).into());
        }
        let home = HomeAddress(home);
        let is_care_of = self.steering.gate(home).is_some_and(|mut gate| {
            let route = gate.route();
            route.branches.iter().any(|branch| !branch.leaving && branch.care_of.ip() == link.peer.ip())
        });
        match self.granted(url, request, home, link) {
            Ok(grants) => Ok(grants.into_iter().filter(|grant| grant.home == home).collect()),
            Err(_) if is_care_of => Ok(Vec::new()),
            Err(busy) if busy.status == Status(503) => Err(busy),
            Err(_) => Err(Refusal::unauthorised("the home address is held by another")),
        }
    }

    /// The flow of a track that goes to a home address of a key holder.
    pub(super) async fn aim(
        &self,
        session: &mut Session,
        opening: Option<Opening>,
        track: usize,
        home: HomeAddress,
        ports: Option<(u16, u16)>,
    ) -> Result<FlowFacts, Refusal> {
        if session.is_taker() {
            return Err(TransportError::Destination(home.to_string()).into());
        }
        match session.tracks.iter().find(|set_up| set_up.facts.track == track) {
            Some(known) if known.aimed && known.facts.home == home => return Ok(known.facts),
            Some(_) => return Err(SessionError::State.into()),
            None if session.added.iter().any(|flow| flow.track == track) => return Err(SessionError::State.into()),
            None => {}
        }
        let codec = &session.title.tracks.get(track).ok_or(SessionError::NoSuchTrack)?.codec;
        let expectation = Expectation { payload_type: payload_type(codec, track), ..Expectation::default() };
        if let Some(Opening { title, start, looping }) = opening {
            self.stage.open(session.presentation, title, start, looping).await?;
        }
        let label = self.steering.play_to(home, session.presentation.0, expectation, ports, now())?;
        let added = self.stage.add_flow(session.presentation, track, home, label).await;
        if added.is_err() {
            self.steering.leave(home, session.presentation.0, now());
        }
        let facts = added?;
        session.added.push(facts);
        Ok(facts)
    }

    /// Where a session stands by the flows that it plays to home addresses; `None` without any.
    pub(super) fn standing_aimed(&self, session: &Session) -> Option<Standing> {
        let mut aimed = session.tracks.iter().filter(|track| track.aimed).peekable();
        aimed.peek()?;
        let controls = aimed.any(|track| {
            let view = self.steering.home_view(track.facts.home, now()).filter(|view| view.player == Some(session.presentation.0));
            view.is_some_and(|view| {
                let elsewhere = |shown: &&BranchView| !shown.branch.leaving && !shown.branch.is_at_home(view.home);
                let mut current = view.branches.iter().filter(elsewhere).peekable();
                // Bindings without a lifetime live by an RTSP session: a player has taken the flow over.
                current.peek().is_none() || current.any(|shown| shown.lifetime.is_some())
            })
        });
        Some(if controls { Standing::Current } else { Standing::Gone })
    }
}
