//! One session with a camera: RTSP by retina, its access units into a feed, until it ends.

use std::sync::Arc;
use std::time::Duration;

use retina::client::{
    Credentials, Demuxed, Described, InitialTimestampPolicy, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, Transport,
};
use retina::codec::{CodecItem, FrameFormat};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::StreamExt;
use url::Url;

use crate::camera::placement::{Placement, Unit};
use crate::camera::tracks::{is_served, track};
use crate::library::Problem;
use crate::library::live::{Feed, FeedError, LiveTrack, LiveUnit};
use crate::net::clock::now;
use crate::quantities::{ClockRate, SenderClocks};

/// How long a camera may take to say what it has and to begin.
const BEGIN: Duration = Duration::from_secs(10);
/// How long it may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// For so long tracks are waited for whose parameters come with the media.
const PARAMETERS: Duration = Duration::from_secs(3);
/// How long saying TEARDOWN may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// RTCP BYE (RFC 3550 section 6.6).
const BYE: u8 = 203;
/// Streams that are taken.
const MAX_STREAMS: usize = 8;

/// Where a camera is, and how it is asked.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its URL, without credentials.
    pub url: Url,
    /// User and password.
    pub credentials: Option<(String, crate::camera::Secret)>,
    /// Whether media come as datagrams of their own.
    pub udp: bool,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// Nobody watches any more.
    #[error("nobody watches")]
    Unwatched,
    /// retina's words.
    #[error("{0}")]
    Protocol(String),
    /// It did not answer.
    #[error("the camera does not answer")]
    NoAnswer,
    /// It answered, and then nothing came.
    #[error("the camera is silent")]
    Silent,
    /// It said so, or closed the connection.
    #[error("the camera has ended the session")]
    Bye,
    /// It has nothing that could be sent.
    #[error("the camera has no track that can be sent{0}")]
    NoTrack(String),
    /// The feed takes nothing.
    #[error("{0}")]
    Feed(#[from] FeedError),
}

impl From<retina::Error> for Ended {
    fn from(error: retina::Error) -> Self {
        // The first line says what, those behind it where in the conversation.
        let text = error.to_string();
        Self::Protocol(text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect())
    }
}

/// The streams of a session that are fed: by the camera's number of each.
struct Playing {
    demuxed: Demuxed,
    streams: Vec<usize>,
    left_out: Vec<String>,
    /// What the feed was told.
    told: Vec<LiveTrack>,
    /// Which of the feed's tracks a stream is, once that is known.
    places: Option<[Option<usize>; MAX_STREAMS]>,
    /// What the camera has said of each stream's clocks.
    reports: [Option<SenderClocks>; MAX_STREAMS],
    placement: Placement,
}

/// Waits until the sessions of a group that are no longer there have been torn down, but not for long.
pub(super) async fn take_leave(group: &SessionGroup) {
    let _ = timeout(FAREWELL, group.await_teardown()).await;
}

impl Source {
    /// Plays into `feed` until the session, one of `group`, ends; `is_wanted` says from time to time whether to go on.
    pub(super) async fn play(&self, feed: &mut Feed, group: &Arc<SessionGroup>, mut is_wanted: impl FnMut(&Feed) -> bool) -> Ended {
        let ended = match timeout(BEGIN, self.begin(Arc::clone(group))).await {
            Err(_) => Ended::NoAnswer,
            Ok(Err(ended)) => ended,
            Ok(Ok(playing)) => match playing.feed(feed, &mut is_wanted).await {
                Ok(()) => Ended::Unwatched,
                Err(ended) => ended,
            },
        };
        take_leave(group).await;
        ended
    }

    async fn begin(&self, group: Arc<SessionGroup>) -> Result<Playing, Ended> {
        let creds = self
            .credentials
            .as_ref()
            .map(|(username, password)| Credentials { username: username.clone(), password: password.expose().to_owned() });
        let options =
            SessionOptions::default().creds(creds).session_group(group).user_agent(concat!("flowsteer/", env!("CARGO_PKG_VERSION")).into());
        let mut session: Session<Described> = Session::describe(self.url.clone(), options).await?;
        let (mut streams, mut left_out) = (Vec::new(), Vec::new());
        for number in 0..session.streams().len().min(MAX_STREAMS) {
            let Some(stream) = session.streams().get(number) else { continue };
            if !is_served(stream.media(), stream.encoding_name()) {
                left_out.push(format!("{} {} is left out: it is not served from cameras", stream.media(), stream.encoding_name()));
                continue;
            }
            let transport = if self.udp { Transport::Udp(Default::default()) } else { Transport::Tcp(Default::default()) };
            session.setup(number, SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4)).await?;
            streams.push(number);
        }
        if streams.is_empty() {
            return Err(Ended::NoTrack(left_out.first().map_or(String::new(), |first| format!(": {first}"))));
        }
        let options = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
        let demuxed = session.play(options).await?.demuxed()?;
        let placement = Placement::new([]);
        Ok(Playing { demuxed, streams, left_out, told: Vec::new(), places: None, reports: [None; MAX_STREAMS], placement })
    }
}

impl Playing {
    async fn feed(mut self, feed: &mut Feed, is_wanted: &mut impl FnMut(&Feed) -> bool) -> Result<(), Ended> {
        let began = Instant::now();
        let mut heard = Instant::now();
        let mut tick = Instant::now();
        loop {
            if Instant::now() >= tick {
                tick = Instant::now() + Duration::from_secs(1);
                if !is_wanted(feed) {
                    return Ok(());
                }
            }
            self.drain(feed);
            let held = self.placement.poll_timeout().map(|until| Instant::now() + until.since(now().mono));
            let item = match timeout_at(held.map_or(tick, |held| held.min(tick)), self.demuxed.next()).await {
                Err(_) if heard.elapsed() >= SILENCE => return Err(Ended::Silent),
                Err(_) => continue,
                Ok(None) => return Err(Ended::Bye),
                Ok(Some(item)) => item?,
            };
            let (stream, timestamp, random_access, loss) = match &item {
                CodecItem::VideoFrame(frame) => {
                    if frame.has_new_parameters() {
                        // What came before is not of another title.
                        self.placement.finish(now().mono);
                        self.drain(feed);
                        self.places = None;
                    }
                    (frame.stream_id(), frame.timestamp(), frame.is_random_access_point(), frame.loss())
                }
                CodecItem::AudioFrame(frame) => (frame.stream_id(), frame.timestamp(), true, frame.loss()),
                CodecItem::Rtcp(compound) => {
                    if compound.pkts().any(|packet| packet.payload_type() == BYE) {
                        return Err(Ended::Bye);
                    }
                    let clocks = compound.pkts().find_map(|packet| {
                        let report = packet.as_sender_report().ok().flatten()?;
                        SenderClocks::new(report.ntp_timestamp().0, report.rtp_timestamp())
                    });
                    if let (Some(clocks), Some(known)) = (clocks, self.reports.get_mut(compound.stream_id())) {
                        *known = Some(clocks);
                        self.placement.handle_report(compound.stream_id(), clocks);
                    }
                    continue;
                }
                _ => continue,
            };
            heard = Instant::now();
            if loss > 0 {
                metrics::counter!("flowsteer_camera_lost_packets_total").increment(u64::from(loss));
            }
            if self.places.is_none() {
                self.begin(feed, began.elapsed() >= PARAMETERS)?;
            }
            if self.place(stream).is_none() {
                continue;
            }
            let octets = match item {
                CodecItem::VideoFrame(frame) => frame.into_data(),
                CodecItem::AudioFrame(frame) => frame.data().to_vec(),
                _ => continue,
            };
            let (timestamp, elapsed) = (timestamp.timestamp(), timestamp.elapsed());
            self.placement.handle_unit(Unit { stream, timestamp, elapsed, octets, random_access }, now().mono);
        }
    }

    /// Which of the feed's tracks a stream is.
    fn place(&self, stream: usize) -> Option<usize> {
        self.places.as_ref()?.get(stream).copied().flatten()
    }

    /// Feeds what has its place on the timeline.
    fn drain(&mut self, feed: &mut Feed) {
        while let Some((Unit { stream, octets, random_access, .. }, presentation_time)) = self.placement.poll(now().mono) {
            let Some(track) = self.place(stream) else { continue };
            let unit = LiveUnit { track, octets, decode_time: None, presentation_time, random_access };
            if let Err(error) = feed.push(unit, now()) {
                metrics::counter!("flowsteer_live_dropped_units_total", "reason" => "out_of_range").increment(1);
                tracing::debug!(title = %feed.title().path, "an access unit is left out: {error}");
            }
        }
    }

    /// Tells the feed what the tracks are, once that is known of all; of those that are known where it takes too long.
    fn begin(&mut self, feed: &mut Feed, is_late: bool) -> Result<(), Ended> {
        let (mut tracks, mut places, mut left_out) = (Vec::new(), [None; MAX_STREAMS], self.left_out.clone());
        let mut clocks: Vec<(usize, ClockRate)> = Vec::new();
        for number in &self.streams {
            let (Some(stream), Some(place)) = (self.demuxed.streams().get(*number), places.get_mut(*number)) else { continue };
            match track(stream.encoding_name(), stream.clock_rate_hz(), stream.parameters()) {
                Ok(Some(track)) => {
                    *place = Some(tracks.len());
                    clocks.push((*number, track.timescale));
                    tracks.push(track);
                }
                Ok(None) if !is_late => return Ok(()),
                Ok(None) => left_out.push(format!("{} {} is left out: it does not begin", stream.media(), stream.encoding_name())),
                Err(reason) => left_out.push(format!("{} {} is left out: {reason}", stream.media(), stream.encoding_name())),
            }
        }
        if tracks.is_empty() {
            return Err(Ended::NoTrack(left_out.first().map_or(String::new(), |first| format!(": {first}"))));
        }
        self.places = Some(places);
        // Told twice, its times would begin anew.
        if tracks == self.told {
            return Ok(());
        }
        self.placement = Placement::new(clocks);
        for (number, report) in self.reports.iter().enumerate() {
            report.iter().for_each(|report| self.placement.handle_report(number, *report));
        }
        let remark = (!left_out.is_empty()).then(|| Problem { reason: left_out.join("; ") });
        self.told.clone_from(&tracks);
        feed.begin(tracks, remark)?;
        Ok(())
    }
}
