//! What happens to sessions without a request: connections close, RTCP comes in, time passes.

use crate::net::now;
use crate::now::{Mono, Rate};
use crate::playback::{Command, ReportOrigin, report};
use crate::rtsp::service::{Link, Service};
use crate::rtsp::session::{Session, Standing, State};
use crate::steering::{CareOf, EndReason};

/// Reports that the receiver of one branch may hand over. RTCP's own rules make it one in some seconds (RFC 3550 section 6.2).
const REPORTS: Rate = Rate { per_second: 10, burst: 20 };

impl Service {
    /// A connection has gone: what was interleaved in it has no way any more. UDP sessions live on.
    pub async fn connection_closed(&self, link: &Link) {
        for id in link.made.iter().chain(&link.used) {
            let Ok(shared) = self.sessions.find(*id) else { continue };
            let mut session = shared.lock().await;
            if session.connection == link.connection {
                self.forget_peer(&session);
            }
            if !session.interleaves(link.connection) {
                continue;
            }
            let lost = session.take_out_interleaved(link.connection);
            for track in &lost {
                self.unbind_track(track, EndReason::Expired);
            }
            if session.tracks.is_empty() {
                self.forget(&session).await;
            }
        }
    }

    /// Passes RTCP from an interleaved channel on; what comes on other channels is of no use here. More than `REPORTS`,
    /// and what is no RTCP, says that somebody is there and nothing else.
    pub async fn interleaved(&self, link: &Link, channel: u8, packet: &[u8]) {
        if Self::published(link, channel, packet).await {
            return;
        }
        for id in link.made.iter().chain(&link.used) {
            let Ok(shared) = self.sessions.find(*id) else { continue };
            let mut session = shared.lock().await;
            let presentation = session.presentation;
            let track = session.tracks.iter_mut().find(|track| {
                matches!(track.care_of, CareOf::Interleaved { connection, rtcp_channel, .. } if connection.0 == link.connection && rtcp_channel == channel)
            });
            let Some(track) = track else { continue };
            let now = now().mono;
            if let Some((_, branch)) = track.branch
                && report::is_compound(packet)
                && track.reports.take(REPORTS, now)
            {
                let origin = ReportOrigin { home: track.facts.home, branch };
                self.stage.tell(Command::Rtcp { presentation, origin, packet: packet.to_vec() });
            }
            session.heard = now;
            return;
        }
    }

    /// Ends what has been silent for too long, and what was left behind by a move. `taken` tells when a connection last
    /// took media. The connections to close.
    pub async fn sweep(&self, taken: impl Fn(u64) -> Option<Mono>) -> Vec<u64> {
        let now = now().mono;
        let mut left_behind = Vec::new();
        for shared in self.sessions.all() {
            // One that is busy is alive.
            let Ok(mut session) = shared.try_lock() else { continue };
            if now.since(self.last_heard(&session, &taken)) >= self.settings.session_timeout {
                tracing::info!(presentation = %session.presentation, peer = %session.peer, "an RTSP session was silent for too long");
                self.unbind(&session, EndReason::Expired);
                self.forget(&session).await;
                session.tracks.clear();
            } else if session.has_lapsed(now) {
                self.sessions.remove(session.id);
            } else if session.is_left_behind(now) {
                left_behind.push(session.connection);
                self.sessions.remove(session.id);
            } else if self.standing(&session) == Standing::Gone {
                session.detach(now);
            }
        }
        if left_behind.is_empty() {
            return left_behind;
        }
        // A connection that another session uses stays.
        for shared in self.sessions.all() {
            match shared.try_lock() {
                Ok(session) if matches!(session.state, State::Detached { .. }) => {}
                Ok(session) => left_behind.retain(|connection| *connection != session.connection),
                Err(_) => {}
            }
        }
        left_behind
    }

    /// When a session last gave a sign of life: a request, RTCP, or media taken off its connection.
    fn last_heard(&self, session: &Session, taken: impl Fn(u64) -> Option<Mono>) -> Mono {
        let reported = session.branches().filter_map(|(home, branch)| self.steering.last_heard(home, branch));
        let taken = session.tracks.iter().filter_map(|track| match (track.care_of, track.branch) {
            (CareOf::Interleaved { connection, .. }, Some(_)) => taken(connection.0),
            (CareOf::Interleaved { .. }, None) | (CareOf::Udp { .. }, _) => None,
        });
        reported.chain(taken).fold(session.heard, Mono::max)
    }
}
