//! PLAY, PAUSE and TEARDOWN (RFC 2326 sections 10.5 to 10.7).
//!
//! The first PLAY of a session is the binding update: what was set up is bound in one step, with the peer of the
//! connection as care-of. From then on a session with a current branch controls the presentation; one whose branches
//! are leaving controls only them; one that has none left controls nothing.

use crate::net::now;
use crate::playback::{FlowStart, NptRange, PlayRequest, PlaybackError, Playing, PresentationState, Scale, SeekStyle, Speed};
use crate::quantities::MediaTime;
use crate::rtsp::error::Refusal;
use crate::rtsp::header::range;
use crate::rtsp::message::{Request, Response, Status};
use crate::rtsp::service::{Link, Service};
use crate::rtsp::session::{Session, SessionError, Standing, TIMEOUT_S};
use crate::steering::{CareOf, EndReason};

impl Service {
    pub(super) async fn play(
        &self,
        request: &Request,
        link: &mut Link,
        hold_media: &mut (dyn FnMut() + Send),
    ) -> Result<Response, Refusal> {
        let shared = self.current_session(request, link).await?;
        let mut session = shared.lock().await;
        let url = self.url(request, link)?;
        session.named_by(&url.target)?;
        let range = request.header("Range").map(range::parse).transpose()?.filter(|range| range.start.is_some() || range.end.is_some());
        let scale = match request.header("Scale") {
            Some(text) => Some(Scale::parse(text).ok_or(Status(400))?),
            None => Some(Scale::default()).filter(|_| session.knows_scales),
        };
        let speed = match request.header("Speed") {
            Some(text) => Some(Speed::parse(text).ok_or(Status(400))?),
            None => Some(Speed::default()).filter(|_| session.knows_speeds),
        };
        session.knows_speeds |= request.header("Speed").is_some();
        // One that is not known is answered with what is done.
        let asked_style = request.header("Seek-Style").map(|text| SeekStyle::parse(text).unwrap_or_default());
        let range = if session.title.is_live() { live_range(range)? } else { range };
        session.knows_scales |= request.header("Scale").is_some();
        // VLC switches a track on again by SETUP and a PLAY of that track alone, without a position: the others play on.
        match session.scope(url.track) {
            Err(SessionError::OnlyAggregate) if range.is_none() && !session.is_fresh() => {}
            outcome => outcome?,
        }
        session.may_play()?;
        let playing = match self.standing(&session) {
            Standing::Gone => {
                session.detach(now().mono);
                return Err(SessionError::Detached.into());
            }
            Standing::Leaving => self.go_on(&session, range).await?,
            Standing::Unbound | Standing::Current => {
                // Backwards a title begins at its end.
                let opened_at_a_position = url.query.start.is_some() || url.query.scale.is_some_and(Scale::is_backward);
                let range = range.filter(|range| !is_habit(&session, range, opened_at_a_position));
                let scale_in_force = match (scale, range) {
                    // Only backwards may the end lie before the start.
                    (None, Some(NptRange { start, end: Some(end) })) if end <= start.unwrap_or_default() => {
                        Some(self.stage.snapshot(session.presentation).await?.scale)
                    }
                    _ => scale,
                };
                let range = range.map(|range| playable(&session, range, scale_in_force)).transpose()?;
                if session.tracks.iter().any(|track| matches!(track.care_of, CareOf::Interleaved { .. })) {
                    hold_media();
                }
                let style = asked_style.unwrap_or(session.seek);
                let wanted = PlayRequest { range, scale, speed, style, ..PlayRequest::default() };
                self.bind_and_play(&mut session, wanted, link).await?
            }
        };
        session.playing();
        let mut response = Response::new(Status::OK)
            .with("Session", session.id.header(TIMEOUT_S))
            .with("Range", if session.title.is_live() { range::LIVE.to_owned() } else { range::format(playing.start, Some(playing.end)) })
            .with("RTP-Info", rtp_info(&session, &playing.flows));
        if request.header("Scale").is_some() || !playing.scale.is_normal() {
            response = response.with("Scale", playing.scale.to_string());
        }
        if asked_style.is_some() {
            response = response.with("Seek-Style", playing.style.to_string());
        }
        if request.header("Speed").is_some() || !playing.speed.is_real_time() {
            response = response.with("Speed", playing.speed.to_string());
        }
        Ok(response)
    }

    async fn bind_and_play(&self, session: &mut Session, wanted: PlayRequest, link: &Link) -> Result<Playing, Refusal> {
        let fresh: Vec<usize> = session.tracks.iter().filter(|track| track.branch.is_none()).map(|track| track.facts.track).collect();
        let joining = self.bind(session, link)?;
        match self.stage.play(session.presentation, PlayRequest { joining, ..wanted }).await {
            Ok(mut playing) => {
                if joining.is_some() && session.tracks.len() > fresh.len() {
                    self.add_others(session, &mut playing).await;
                }
                Ok(playing)
            }
            Err(error) => {
                // Bound for nothing: what this request bound is unbound again.
                for track in session.tracks.iter_mut().filter(|track| fresh.contains(&track.facts.track)) {
                    self.unbind_track(track, EndReason::Removed);
                    track.branch = None;
                }
                Err(error.into())
            }
        }
    }

    /// Where only some of a session's flows have joined, the answer names the others too.
    async fn add_others(&self, session: &Session, playing: &mut Playing) {
        let named = |playing: &Playing, home| playing.flows.iter().any(|start| start.home == home);
        if session.tracks.iter().all(|track| named(playing, track.facts.home)) {
            return;
        }
        if let Ok(live) = self.stage.play(session.presentation, PlayRequest::default()).await {
            let missing: Vec<FlowStart> = live.flows.into_iter().filter(|start| !named(playing, start.home)).collect();
            playing.flows.extend(missing);
        }
    }

    /// One that is leaving changes nothing for the others: it is told where they are.
    async fn go_on(&self, session: &Session, range: Option<NptRange>) -> Result<Playing, Refusal> {
        let state = self.stage.snapshot(session.presentation).await?.state;
        if range.is_some() || state != PresentationState::Playing {
            return Err(SessionError::State.into());
        }
        Ok(self.stage.play(session.presentation, PlayRequest::default()).await?)
    }

    pub(super) async fn pause(&self, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        let shared = self.current_session(request, link).await?;
        let mut session = shared.lock().await;
        let url = self.url(request, link)?;
        session.named_by(&url.target)?;
        session.scope(url.track)?;
        session.may_pause()?;
        let response = Response::new(Status::OK).with("Session", session.id.header(TIMEOUT_S));
        match self.standing(&session) {
            Standing::Current => {
                let position = self.stage.pause(session.presentation).await?;
                session.paused(now().mono);
                Ok(response.with("Range", if session.title.is_live() { range::LIVE.to_owned() } else { range::format(position, None) }))
            }
            Standing::Leaving => {
                self.unbind(&session, EndReason::Removed);
                session.detach(now().mono);
                Ok(response)
            }
            Standing::Unbound | Standing::Gone => {
                session.detach(now().mono);
                Err(SessionError::Detached.into())
            }
        }
    }

    pub(super) async fn tear_down(&self, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        let shared = self.current_session(request, link).await?;
        let mut session = shared.lock().await;
        let url = self.url(request, link)?;
        session.named_by(&url.target)?;
        if let Some(track) = url.track
            && (session.tracks.len() > 1 || session.scope(Some(track)).is_err())
        {
            if session.is_aimed() {
                return Err(SessionError::OnlyAggregate.into());
            }
            let track = session.take_out(track, now().mono)?;
            self.unbind_track(&track, EndReason::Removed);
            return Ok(Response::new(Status::OK).with("Session", session.id.header(TIMEOUT_S)));
        }
        let was_current = self.standing(&session) == Standing::Current;
        self.unbind(&session, EndReason::Removed);
        if was_current && (session.is_aimed() || !self.anybody_current(session.presentation)) {
            // It may have ended meanwhile.
            let _ = self.stage.end(session.presentation).await;
        }
        self.forget(&session).await;
        session.tracks.clear();
        Ok(Response::new(Status::OK))
    }
}

/// What is live has one position: players that ask for the beginning mean that.
fn live_range(range: Option<NptRange>) -> Result<Option<NptRange>, PlaybackError> {
    let means_now = |range: &NptRange| range.end.is_none() && range.start.is_none_or(|start| start <= MediaTime::ZERO);
    if range.as_ref().is_none_or(means_now) { Ok(None) } else { Err(PlaybackError::InvalidRange) }
}

/// The range that can be played; one that cannot moves nothing. One that begins at or behind the title's end
/// means its last random access point: every player ends with the title. Where 457 refuses it, FFmpeg hangs
/// and GStreamer fails.
fn playable(session: &Session, range: NptRange, scale: Option<Scale>) -> Result<NptRange, PlaybackError> {
    if scale.is_some_and(Scale::is_backward) {
        let start = range.start.map(|start| start.min(session.title.duration));
        // What a player that goes backwards says of the end, if it lies ahead, is that of the title.
        return Ok(NptRange { start, end: range.end.filter(|end| start.is_some_and(|start| *end < start)) });
    }
    if range.end.is_some_and(|end| end <= range.start.unwrap_or_default()) {
        return Err(PlaybackError::InvalidRange);
    }
    let start = range.start.map(|start| start.min(session.title.duration));
    Ok(NptRange { start, end: range.end.filter(|end| Some(*end) > start) })
}

/// Players ask for the beginning by themselves. Who joins something that runs, or opened a title at a position, means
/// "go on".
fn is_habit(session: &Session, range: &NptRange, opened_at_a_position: bool) -> bool {
    let from_beginning = range.start.is_none_or(|start| start <= MediaTime::ZERO);
    from_beginning && session.is_fresh() && (session.is_taker() || opened_at_a_position)
}

/// Every track that was set up, by the URL of its SETUP.
fn rtp_info(session: &Session, flows: &[FlowStart]) -> String {
    let entries = session.tracks.iter().filter_map(|track| {
        let start = flows.iter().find(|start| start.home == track.facts.home)?;
        // A sequence number that is too low would have players wait for packets that never come.
        let sequence = if start.later { String::new() } else { format!("seq={};", start.sequence) };
        Some(format!("url={};{sequence}rtptime={}", track.url, start.rtptime))
    });
    entries.collect::<Vec<_>>().join(",")
}
