//! Publishing (RFC 2326 sections 10.3 and 10.11): ANNOUNCE describes what will come, SETUP says over what, RECORD begins it.
//!
//! A publisher's session is its connection's: it ends with that, whatever the media come over. So a publisher that is gone is
//! seen at once, and one that has proven its password need not do so again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::library::TitlePath;
use crate::net::{PeerSocket, bind_pair, now};
use crate::now::Mono;
use crate::publish::announced::{Announced, AnnouncedTrack};
use crate::publish::publication::Publication;
use crate::rtsp::error::Refusal;
use crate::rtsp::header::session::SessionId;
use crate::rtsp::header::transport::{self, Offered};
use crate::rtsp::intake::{Incoming, Intake, Of, Reports, SILENCE};
use crate::rtsp::message::{Request, Response, Status};
use crate::rtsp::publishers::{Claim, PublishRules};
use crate::rtsp::service::set_up::random;
use crate::rtsp::service::{Link, Service, count_refusal};
use crate::rtsp::session::{SessionError, TIMEOUT_S};
use crate::rtsp::url::{self, Target};

/// How long TEARDOWN waits for the title's end.
const END: Duration = Duration::from_secs(1);

/// So long after ANNOUNCE the tracks may be set up; RECORD has to come within it.
const RECORDED: Duration = Duration::from_secs(30);

/// What a publisher's connection knows.
pub(super) struct Publishing {
    id: SessionId,
    /// The URL that it announced, without query and trailing slash.
    base: String,
    /// All tracks that it announced.
    tracks: Vec<Announcement>,
    /// Why some of them are left out.
    left_out: Vec<String>,
    stage: Stage,
}

/// A track that was announced.
struct Announcement {
    control: Option<String>,
    /// `None` where it is left out.
    track: Option<AnnouncedTrack>,
    carriage: Option<Carriage>,
}

/// Over what a track's packets come.
enum Carriage {
    Interleaved { rtp: u8, rtcp: u8 },
    Udp { pair: [Arc<PeerSocket>; 2], told: u16 },
}

enum Stage {
    /// Tracks are being set up, until then.
    Announced(Claim, Mono),
    /// Packets go to the intake; by channel, the tracks there, with whether it is RTCP.
    Recording {
        packets: mpsc::Sender<Incoming>,
        channels: Vec<(u8, Of)>,
    },
    Over,
}

impl std::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publishing").field("base", &self.base).field("tracks", &self.tracks.len()).finish_non_exhaustive()
    }
}

impl Publishing {
    /// Whether something may still come.
    pub(super) fn lives(&self) -> bool {
        match &self.stage {
            Stage::Announced(..) => true,
            Stage::Recording { packets, .. } => !packets.is_closed(),
            Stage::Over => false,
        }
    }

    /// Whether a request is the publisher's: it names its session, or it names none and is none of a player's.
    pub(super) fn concerns(&self, request: &Request) -> bool {
        match request.header("Session") {
            Some(header) => SessionId::parse(header) == Some(self.id),
            None => matches!(request.method.as_str(), "SETUP" | "RECORD" | "TEARDOWN" | "ANNOUNCE" | "PAUSE"),
        }
    }

    fn with_session(&self, response: Response) -> Response {
        response.with("Session", self.id.header(TIMEOUT_S))
    }

    /// The track that a SETUP's URL names, by the rules of RFC 2326 appendix C.1.1.
    fn named(&self, uri: &str) -> Option<usize> {
        let bare = uri.trim_end_matches('/');
        let is_named = |announcement: &Announcement| match announcement.control.as_deref().map(|control| control.trim_matches('/')) {
            Some(control) if control.contains("://") => control == bare,
            Some("*" | "") | None => self.tracks.len() == 1 && bare == self.base,
            Some(control) => bare.strip_prefix(self.base.as_str()).and_then(|rest| rest.strip_prefix(['/', '?', '&'])) == Some(control),
        };
        self.tracks.iter().position(is_named)
    }

    /// Free channels of the connection, the ones asked for if they are.
    fn channels(&self, asked: Option<(u8, u8)>, others: &[u8]) -> Option<(u8, u8)> {
        let own = self.tracks.iter().filter_map(|track| match &track.carriage {
            Some(Carriage::Interleaved { rtp, rtcp }) => Some([*rtp, *rtcp]),
            Some(Carriage::Udp { .. }) | None => None,
        });
        let used: Vec<u8> = own.flatten().chain(others.iter().copied()).collect();
        let free = |(rtp, rtcp): &(u8, u8)| !used.contains(rtp) && !used.contains(rtcp);
        asked.filter(free).or_else(|| (0..=254).step_by(2).map(|channel| (channel, channel + 1)).find(free))
    }
}

impl Link {
    /// By when RECORD has to come, where something was announced.
    pub(in crate::rtsp) fn record_until(&self) -> Option<Mono> {
        match &self.publishing.as_ref()?.stage {
            Stage::Announced(_, until) => Some(*until),
            Stage::Recording { .. } | Stage::Over => None,
        }
    }

    /// Ends an announcement that RECORD has not followed in time.
    pub(in crate::rtsp) fn end_unrecorded(&mut self, now: Mono) {
        if self.record_until().is_some_and(|until| now >= until) {
            count_refusal("record_timeout", self.peer);
            self.publishing = None;
        }
    }
}

impl Service {
    /// ANNOUNCE.
    pub(super) async fn announce(&self, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        if self.publishers.is_closed() {
            return Err(Refusal::because(405, "nobody may publish here"));
        }
        if link.publishing.as_ref().is_some_and(|publishing| publishing.lives()) {
            return Err(SessionError::State.into());
        }
        let url = url::parse(&request.uri, |name| self.is_home_name(name))?;
        let Target::Title(path) = url.target else { return Err(Refusal::because(403, "only a title can be published")) };
        let rules = self.publishers.rules();
        let user = self.may_publish(&path, &rules, request, link).await?;
        let is_description = request.header("Content-Type").is_none_or(|kind| kind.to_ascii_lowercase().starts_with("application/sdp"));
        if !is_description {
            return Err(Status(415).into());
        }
        let announced = Announced::parse(&request.body)?;
        if self.library.entry(&path).is_some() {
            return Err(Refusal::because(403, "the library has a file of that path"));
        }
        let claim = self.publishers.claim(&path, user, rules)?;
        let tracks = announced.tracks.into_iter().map(|track| (track.position, track.control.clone(), Some(track)));
        let others = announced.left_out.iter().map(|left| (left.position, left.control.clone(), None));
        let mut tracks: Vec<_> = tracks.chain(others).collect();
        tracks.sort_by_key(|(position, ..)| *position);
        let tracks = tracks.into_iter().map(|(_, control, track)| Announcement { control, track, carriage: None }).collect();
        let left_out = announced.left_out.into_iter().map(|left| left.reason).collect();
        let id = SessionId::from_random(u128::from_be_bytes(random()?));
        let base = request.uri.split('?').next().unwrap_or_default().trim_end_matches('/').to_owned();
        let publishing = Publishing { id, base, tracks, left_out, stage: Stage::Announced(claim, now().mono + RECORDED) };
        let response = publishing.with_session(Response::new(Status::OK));
        link.publishing = Some(Box::new(publishing));
        Ok(response)
    }

    /// Whether a path may be published at by whoever asks: the user's name, `None` where everybody may.
    async fn may_publish(&self, path: &TitlePath, rules: &PublishRules, request: &Request, link: &Link) -> Result<Option<String>, Refusal> {
        let rules = rules.of(path);
        if rules.is_empty() {
            return Err(Refusal::because(403, "that path cannot be published at"));
        }
        if rules.iter().any(|rule| rule.credentials.is_none()) {
            return Ok(None);
        }
        let known = rules.iter().filter_map(|rule| rule.credentials.as_ref()).map(|(name, hash)| (name.as_str(), hash));
        let proven = self.prove(request, link, &known.collect::<Vec<_>>(), |uri| is_about(uri, path)).await;
        if proven.as_ref().is_err_and(|refusal| refusal.challenge) && request.header("Authorization").is_some() {
            count_refusal("publish_password", link.peer);
        }
        proven.map(|name| Some(name.to_owned()))
    }

    /// Answers a request of a connection's publisher.
    pub(super) async fn publishing(&self, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        let Some(mut publishing) = link.publishing.take() else { return Err(SessionError::Unknown.into()) };
        if !publishing.lives() {
            return Err(SessionError::Unknown.into());
        }
        let outcome = match request.method.as_str() {
            "SETUP" => self.set_up_recording(&mut publishing, request, link).await,
            "RECORD" => self.record(&mut publishing, link),
            "TEARDOWN" => {
                let response = publishing.with_session(Response::new(Status::OK));
                end(std::mem::replace(&mut publishing.stage, Stage::Over)).await;
                return Ok(response);
            }
            "OPTIONS" => Ok(publishing.with_session(Response::new(Status::OK)).with("Public", super::PUBLIC_RECORD)),
            "GET_PARAMETER" | "SET_PARAMETER" => Ok(publishing.with_session(Response::new(Status::OK))),
            _ => Err(SessionError::State.into()),
        };
        link.publishing = Some(publishing);
        outcome
    }

    async fn set_up_recording(&self, publishing: &mut Publishing, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        if !matches!(publishing.stage, Stage::Announced(..)) {
            return Err(SessionError::State.into());
        }
        let position = publishing.named(&request.uri).ok_or(SessionError::NoSuchTrack)?;
        let offers = request.headers("Transport").collect::<Vec<_>>().join(",");
        let (carriage, transport) = match transport::choose_recording(&offers)? {
            Offered::Interleaved { protocol, channels } => {
                let others = self.channels_of_players(link).await;
                let (rtp, rtcp) = publishing.channels(channels, &others).ok_or(Refusal::because(461, "all channels are in use"))?;
                (Carriage::Interleaved { rtp, rtcp }, format!("{protocol};unicast;interleaved={rtp}-{rtcp};mode=record"))
            }
            Offered::Udp { protocol, rtp, rtcp, .. } => {
                let pair = bind_pair(link.local, link.peer).await.map_err(|error| Refusal::because(503, error))?;
                let port = |socket: &PeerSocket| socket.port().map_err(|error| Refusal::because(503, error));
                let (ours, next) = (port(&pair[0])?, port(&pair[1])?);
                let source = link.local.ip();
                let transport =
                    format!("{protocol};unicast;client_port={rtp}-{rtcp};server_port={ours}-{next};source={source};mode=record");
                (Carriage::Udp { pair, told: rtcp }, transport)
            }
            Offered::Home { .. } => return Err(Status(461).into()),
        };
        if let Some(track) = publishing.tracks.get_mut(position) {
            track.carriage = Some(carriage);
        }
        Ok(publishing.with_session(Response::new(Status::OK)).with("Transport", transport))
    }

    /// RECORD.
    fn record(&self, publishing: &mut Publishing, link: &Link) -> Result<Response, Refusal> {
        let is_ready = |track: &Announcement| track.track.is_some() && track.carriage.is_some();
        if !matches!(publishing.stage, Stage::Announced(..)) || !publishing.tracks.iter().any(is_ready) {
            return Err(SessionError::State.into());
        }
        if matches!(&publishing.stage, Stage::Announced(claim, _) if !claim.is_allowed()) {
            publishing.stage = Stage::Over;
            return Err(Refusal::because(403, "that path can no longer be published at"));
        }
        let ssrc = u32::from_be_bytes(random()?);
        let Stage::Announced(claim, _) = std::mem::replace(&mut publishing.stage, Stage::Over) else { return Err(Status(500).into()) };
        let (mut tracks, mut reports, mut sockets, mut channels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for announcement in &mut publishing.tracks {
            let Some(carriage) = announcement.carriage.take() else { continue };
            let number = announcement.track.take().map(|track| {
                tracks.push(track);
                tracks.len() - 1
            });
            let of = |is_rtcp: bool| number.map(|number| (number, is_rtcp));
            let report = match carriage {
                Carriage::Interleaved { rtp, rtcp } => {
                    channels.extend([(rtp, of(false)), (rtcp, of(true))]);
                    Reports::Interleaved(rtcp)
                }
                Carriage::Udp { pair: [rtp, rtcp], told } => {
                    sockets.extend([(rtp, of(false)), (Arc::clone(&rtcp), of(true))]);
                    Reports::Udp(rtcp, told)
                }
            };
            if number.is_some() {
                reports.push(report);
            }
        }
        let names = tracks.iter().map(|track| format!("track {}", track.position)).collect();
        let intake = Intake {
            publication: Publication::new(tracks, ssrc),
            reports,
            sockets,
            claim,
            left_out: std::mem::take(&mut publishing.left_out),
            names,
            connection: link.connection,
            publishers: Arc::clone(&self.publishers),
            silence: SILENCE,
        };
        publishing.stage = Stage::Recording { packets: intake.start(), channels };
        Ok(publishing.with_session(Response::new(Status::OK)))
    }

    /// Takes an interleaved packet of the connection's publisher; whether it is one.
    pub(super) async fn published(link: &Link, channel: u8, packet: &[u8]) -> bool {
        let Some(publishing) = &link.publishing else { return false };
        let Stage::Recording { packets, channels } = &publishing.stage else { return false };
        match channels.iter().find(|(known, _)| *known == channel) {
            Some((_, Some((track, is_rtcp)))) => {
                // Where the intake is behind, the connection is not read.
                let _ = packets.send(Incoming::Packet { track: *track, is_rtcp: *is_rtcp, octets: packet.to_vec() }).await;
                true
            }
            Some((_, None)) => true,
            None => false,
        }
    }

    async fn channels_of_players(&self, link: &Link) -> Vec<u8> {
        let mut used = Vec::new();
        for id in link.made.iter().chain(&link.used) {
            if let Ok(session) = self.sessions.find(*id) {
                used.extend(session.lock().await.channels(link.connection, None));
            }
        }
        used
    }
}

/// Ends a title, and waits for that.
async fn end(stage: Stage) {
    match stage {
        Stage::Recording { packets, .. } => {
            let (done, ended) = oneshot::channel();
            if packets.send(Incoming::End(done)).await.is_ok() {
                let _ = tokio::time::timeout(END, ended).await;
            }
        }
        Stage::Announced(claim, _) => drop(claim),
        Stage::Over => {}
    }
}

/// Whether a digest was computed for a URL of that path, or of a track of it, whole or without its authority.
fn is_about(uri: &str, path: &TitlePath) -> bool {
    let uri = uri.split('?').next().unwrap_or_default();
    let behind = match uri.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => uri.trim_start_matches('/'),
    };
    let decoded = percent_encoding::percent_decode_str(behind).decode_utf8_lossy();
    let rest = decoded.strip_prefix(path.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::library::live::{LiveSettings, LiveTitles};
    use crate::net::Connections;
    use crate::rtsp::publishers::Publishers;

    #[test]
    fn an_announcement_that_record_does_not_follow_ends() {
        let live = Arc::new(LiveTitles::default());
        let publishers =
            Publishers::new(PublishRules::default(), Arc::clone(&live), LiveSettings::default(), Arc::new(Connections::default()));
        let path = TitlePath::new("studio").expect("a path");
        let claim = Arc::new(publishers).claim(&path, None, Arc::default()).expect("it is free");
        let start = Mono::from_nanos(7);
        let stage = Stage::Announced(claim, start + RECORDED);
        let publishing = Publishing { id: SessionId::from_random(1), base: String::new(), tracks: Vec::new(), left_out: Vec::new(), stage };
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut link = Link::new(1, nobody, nobody);
        link.publishing = Some(Box::new(publishing));
        link.end_unrecorded(start + RECORDED - Duration::from_nanos(1));
        assert!(live.get(&path).is_some());
        assert_eq!(link.record_until(), Some(start + RECORDED));
        link.end_unrecorded(start + RECORDED);
        assert!(live.get(&path).is_none() && link.publishing.is_none());
    }
}
