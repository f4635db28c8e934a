//! From set up to bound: the binding update that a PLAY is, and the end of branches.

use std::sync::Arc;

use crate::net::now;
use crate::playback::PresentationId;
use crate::rtsp::error::Refusal;
use crate::rtsp::service::{Link, Service};
use crate::rtsp::session::{Role, Session, SetUpTrack};
use crate::steering::{Authority, EndReason, Join, Mode, Owner, Proof, TokenError, Update, UpdateId};

impl Service {
    /// Binds what was set up and is not bound yet, and what has another transport now, all in one step. `None` where
    /// there is nothing to bind.
    pub(super) fn bind(&self, session: &mut Session, link: &Link) -> Result<Option<UpdateId>, Refusal> {
        let is_waiting = |track: &SetUpTrack| !track.aimed && (track.branch.is_none() || track.stale);
        let waiting = session.tracks.iter().filter(|track| is_waiting(track));
        let updates: Vec<Update> = waiting.map(|track| self.update_of(session, track, link)).collect::<Result<_, Refusal>>()?;
        if updates.is_empty() {
            return Ok(None);
        }
        self.consent_to_bind(session, &updates, link)?;
        let outcome = self.steering.update(&updates, now());
        let status = if outcome.is_ok() { "accepted" } else { "refused" };
        metrics::counter!("flowsteer_binding_updates_total", "status" => status).increment(updates.len() as u64);
        let receipt = outcome?;
        if let Role::Taker { grants, .. } = &session.role {
            // The whole token is this device's now, also where it has set up some of its flows only.
            self.steering.claim(grants, link.peer.ip(), now());
        }
        for (home, binding, serial) in &receipt.bindings {
            if let Some(track) = session.tracks.iter_mut().find(|track| track.facts.home == *home) {
                track.branch = Some((*binding, *serial));
                track.stale = false;
            }
        }
        Ok(Some(receipt.update))
    }

    fn update_of(&self, session: &Session, track: &SetUpTrack, link: &Link) -> Result<Update, Refusal> {
        let home = track.facts.home;
        let route = self.steering.gate(home).map(|mut gate| Arc::clone(gate.route()));
        let branches = route.as_deref().map(|route| route.branches.as_slice()).unwrap_or_default();
        // What is bound still, if only for the rest of its window, keeps its place beside the others, wherever it goes.
        let own = track.branch.filter(|(_, serial)| branches.iter().any(|branch| branch.serial == *serial)).map(|(binding, _)| binding);
        let (authority, mode) = match &session.role {
            Role::Opener { .. } => {
                if own.is_none() && branches.iter().any(|branch| !branch.leaving) {
                    // Having opened the title is no right to take back what has moved.
                    return Err(Refusal::unauthorised("another device plays it, a key is needed"));
                }
                (Authority::Owner(Owner::Presentation(session.presentation.0)), Mode::Move)
            }
            Role::Taker { grants, mode, .. } => {
                let grant = grants.iter().find(|grant| grant.home == home).ok_or(TokenError::Wrong)?;
                (Authority::Grant(grant.clone()), *mode)
            }
        };
        Ok(Update {
            home,
            authority,
            binding: own,
            care_of: track.care_of,
            proof: Proof::RequestPeer(link.peer.ip()),
            lifetime: None,
            mode: if own.is_some() { Mode::Refresh } else { mode },
            window: None,
            join: Join { rtx: track.rtx, ..session.join },
            holder: session.holder,
        })
    }

    /// Ends a session's branches.
    pub(super) fn unbind(&self, session: &Session, reason: EndReason) {
        for track in &session.tracks {
            self.unbind_track(track, reason);
        }
    }

    pub(super) fn unbind_track(&self, track: &SetUpTrack, reason: EndReason) {
        if let Some((_, branch)) = track.branch {
            // What has ended already needs no end.
            let _ = self.steering.remove(track.facts.home, branch, reason, now());
        }
    }

    /// The peer of a session's connection is proven to be where it is, for signalling about the session's flows too.
    pub(super) fn note_peer(&self, session: &Session, link: &Link) {
        for track in &session.tracks {
            self.steering.note_peer(track.facts.home, session.holder, link.peer.ip());
        }
    }

    /// … as long as the connection is there.
    pub(super) fn forget_peer(&self, session: &Session) {
        for track in &session.tracks {
            self.steering.forget_peer(track.facts.home, session.holder);
        }
    }

    /// Whether any branch of a presentation stays at a care-of.
    pub(super) fn anybody_current(&self, presentation: PresentationId) -> bool {
        self.steering.homes_of(Owner::Presentation(presentation.0)).into_iter().any(|home| {
            let route = self.steering.gate(home).map(|mut gate| Arc::clone(gate.route()));
            route.is_some_and(|route| route.branches.iter().any(|branch| !branch.leaving && !branch.is_at_home(home)))
        })
    }

    /// Forgets a session. A presentation that it opened and that nobody ever was bound to ends with it; so does one that
    /// it plays to a home address, unless somebody is bound there.
    pub(super) async fn forget(&self, session: &Session) {
        self.sessions.remove(session.id);
        self.forget_peer(session);
        let unplayed = session.is_fresh() && (session.is_aimed() || !self.anybody_current(session.presentation));
        let alone = session.is_aimed() && !self.anybody_current(session.presentation);
        if !session.is_taker() && (unplayed || alone) {
            // It may have ended meanwhile.
            let _ = self.stage.end(session.presentation).await;
        }
    }
}
