//! The commands that carriages give to presentations, and what they get back.
//!
//! A presentation lives in one place (a shard of the data plane) and is changed there only. A command carries its own
//! reply; [`Stage`] makes futures of them. A dropped reply is [`PlaybackError::Unknown`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_channel::oneshot;
use smallvec::SmallVec;

use crate::library::{Title, TitlePath};
use crate::playback::scale::Scale;
use crate::playback::seek::SeekStyle;
use crate::playback::speed::Speed;
use crate::quantities::{ClockRate, FlowLabel, MediaKind, MediaTime, PayloadType, Ssrc};
use crate::steering::{Branch, BranchSerial, CareOf, DropReason, Holder, HomeAddress, UpdateId};

/// Names a presentation in the API, logs and events. Random, but no secret: it gives no authority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PresentationId(pub u64);

impl fmt::Display for PresentationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PresentationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PresentationId {
    type Err = PlaybackError;

    fn from_str(text: &str) -> Result<Self, PlaybackError> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(PlaybackError::Unknown);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| PlaybackError::Unknown)
    }
}

/// What a presentation is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresentationState {
    /// Its clock runs.
    Playing,
    /// Its clock stands: not started yet, paused, or at the end.
    Paused,
    /// Its clock stands because no device is bound; it ends soon.
    Lingering,
}

impl PresentationState {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Playing => "playing",
            Self::Paused => "paused",
            Self::Lingering => "lingering",
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlaybackError {
    /// No such presentation, flow or track (any more).
    #[error("no such presentation")]
    Unknown,
    /// The asked range lies outside the title.
    #[error("the range lies outside the title")]
    InvalidRange,
    /// The presentation already has as many flows as it may have, or the server as many presentations.
    #[error("too many presentations or flows")]
    Full,
    /// As many presentations as one network may have were opened from there.
    #[error("too many presentations were opened from there")]
    FullOfNetwork,
    /// The track's configuration cannot be sent.
    #[error("the track cannot be sent")]
    Unplayable,
    /// The server is about to stop: what plays may play on, and nothing new begins.
    #[error("the server is about to stop")]
    Draining,
    /// More commands wait than can: nothing was done, and asking again later may help.
    #[error("the server is busy")]
    Busy,
}

/// A range of normal play time (RFC 2326 section 3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NptRange {
    /// Where to start; `None` is `now`, or an open beginning.
    pub start: Option<MediaTime>,
    /// Where to end; `None` is the title's end.
    pub end: Option<MediaTime>,
}

/// Play, resume, seek or join.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct PlayRequest {
    /// A seek, if present.
    pub range: Option<NptRange>,
    /// Set where branches have just been bound by this update, and the reply is to name *their* first packets.
    pub joining: Option<UpdateId>,
    /// Set where only the position changes: what stands or waits goes on standing or waiting.
    pub still: bool,
    /// The scale from now on; as it is where nothing is asked.
    pub scale: Option<Scale>,
    /// With what a seek begins.
    pub style: SeekStyle,
    /// The speed from now on; as it is where nothing is asked.
    pub speed: Option<Speed>,
}

/// The first packet of one flow, for `RTP-Info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowStart {
    /// Which flow.
    pub home: HomeAddress,
    /// The track's index in the title.
    pub track: usize,
    /// The sequence number of the first packet.
    pub sequence: u16,
    /// Set where that packet is yet to come, and has no number so far: `sequence` is only the next one's.
    pub later: bool,
    /// The RTP timestamp that corresponds to the start of the range (not the first packet's own).
    pub rtptime: u32,
}

/// What a play, resume, seek or join came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Playing {
    /// Where it really starts: the random access point, or the frame of sound.
    pub start: MediaTime,
    /// Where it will end; backwards, before its start.
    pub end: MediaTime,
    /// The scale in force.
    pub scale: Scale,
    /// How the start was chosen.
    pub style: SeekStyle,
    /// The speed in force.
    pub speed: Speed,
    /// The flows, in the order in which they were added.
    pub flows: Vec<FlowStart>,
}

/// What is fixed about a flow from its set-up on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowFacts {
    /// The track's index in the title.
    pub track: usize,
    /// Its home address.
    pub home: HomeAddress,
    /// Its label.
    pub label: FlowLabel,
    /// Its source identifier.
    pub ssrc: Ssrc,
    /// Its payload type.
    pub payload_type: PayloadType,
    /// Its RTP clock.
    pub clock_rate: ClockRate,
}

/// One branch, for the API.
#[derive(Clone, PartialEq, Debug)]
pub struct BranchSnapshot {
    /// As it stands in the route.
    pub branch: Branch,
    /// Whether it is still being primed.
    pub priming: bool,
    /// For how long it has been served.
    pub served: Duration,
    /// How far its picture lies behind the live position.
    pub lag: Duration,
    /// RTP packets sent.
    pub packets: u64,
    /// RTP payload octets sent.
    pub octets: u64,
    /// The fraction lost since the last receiver report, 0 to 1.
    pub loss_fraction: Option<f64>,
    /// Interarrival jitter, as last reported.
    pub jitter: Option<Duration>,
    /// Round trip, from the last receiver report that named a sender report.
    pub round_trip: Option<Duration>,
}

/// One flow, for the API.
#[derive(Clone, PartialEq, Debug)]
pub struct FlowSnapshot {
    /// What is fixed.
    pub facts: FlowFacts,
    /// Video, audio or text.
    pub kind: MediaKind,
    /// The codec's name.
    pub codec: &'static str,
    /// Packets dropped by the filter, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// The sequence number of the last packet that was sent.
    pub last_sequence: u16,
    /// The timestamp of the last packet that was sent.
    pub last_timestamp: u32,
    /// Its branches.
    pub branches: Vec<BranchSnapshot>,
}

/// One presentation, for the API.
#[derive(Clone, PartialEq, Debug)]
pub struct PresentationSnapshot {
    /// Its name.
    pub id: PresentationId,
    /// What is played.
    pub title: Arc<Title>,
    /// What it does.
    pub state: PresentationState,
    /// The live position.
    pub position: MediaTime,
    /// The scale in force.
    pub scale: Scale,
    /// The speed in force.
    pub speed: Speed,
    /// Its flows.
    pub flows: Vec<FlowSnapshot>,
}

impl PartialEq for Title {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

/// Where an RTCP packet came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportOrigin {
    /// The flow it belongs to.
    pub home: HomeAddress,
    /// The branch it belongs to.
    pub branch: BranchSerial,
}

/// How a presentation is made.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What is played.
    pub title: Arc<Title>,
    /// Where it stands at first.
    pub start: MediaTime,
    /// Where it ends, if before the title does.
    pub end: Option<MediaTime>,
    /// How fast it plays at first.
    pub scale: Scale,
    /// How fast its packets leave at first.
    pub speed: Speed,
    /// Whether it begins again at its end.
    pub looping: bool,
    /// The address that it was opened from, where that may open so many only.
    pub opener: Option<IpAddr>,
}

impl Opening {
    /// All of a title, once, at normal speed, for nobody in particular.
    pub fn whole(title: Arc<Title>) -> Self {
        let (scale, speed) = (Scale::default(), Speed::default());
        Self { title, start: MediaTime::ZERO, end: None, scale, speed, looping: false, opener: None }
    }
}

/// A flow to be; home address and label are reserved and authorised already.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow {
    /// The track's index in the title.
    pub track: usize,
    /// Its home address.
    pub home: HomeAddress,
    /// Its authorised label.
    pub label: FlowLabel,
}

/// Where a branch will be.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    /// Which session.
    pub holder: Holder,
    /// Where it will be; interleaved where no datagram is to be waited for any more.
    pub care_of: CareOf,
}

/// Takes the answer to a command.
pub type Reply<T> = Box<dyn FnOnce(Result<T, PlaybackError>) + Send>;

/// What a presentation can be told.
pub enum Command {
    /// Make a presentation.
    Open {
        /// Its name, chosen by the caller.
        presentation: PresentationId,
        /// What is played, and how.
        opening: Opening,
        /// Done.
        reply: Reply<()>,
    },
    /// Add a flow for a track; home address and label are reserved and authorised already.
    AddFlow {
        /// To which presentation.
        presentation: PresentationId,
        /// The track's index in the title.
        track: usize,
        /// The flow's home address.
        home: HomeAddress,
        /// The flow's authorised label.
        label: FlowLabel,
        /// Its facts.
        reply: Reply<FlowFacts>,
    },
    /// A SETUP of a track that has no flow yet, in one step: what `Open` (where `opening` says so), `AddFlow` and `Await` do.
    /// Where one of them fails, nothing is opened.
    SetUp {
        /// To which presentation.
        presentation: PresentationId,
        /// Set where the presentation is yet to be made.
        opening: Option<Opening>,
        /// The new flow.
        flow: NewFlow,
        /// Where its branch will be.
        awaited: Awaited,
        /// Its facts.
        reply: Reply<FlowFacts>,
    },
    /// A SETUP told where a branch will be: a datagram from its address may yet correct its ports.
    Await {
        /// Which presentation.
        presentation: PresentationId,
        /// Which flow.
        home: HomeAddress,
        /// Which session.
        holder: Holder,
        /// Where it will be; interleaved where no datagram is to be waited for any more.
        care_of: CareOf,
        /// Done: from now on such a datagram is noticed.
        reply: Reply<()>,
    },
    /// Play, resume, seek or join.
    Play {
        /// Which presentation.
        presentation: PresentationId,
        /// How.
        request: PlayRequest,
        /// From where.
        reply: Reply<Playing>,
    },
    /// Stop the clock.
    Pause {
        /// Which presentation.
        presentation: PresentationId,
        /// Where it stands.
        reply: Reply<MediaTime>,
    },
    /// End it: BYE on every branch, all its home addresses are released.
    End {
        /// Which presentation.
        presentation: PresentationId,
        /// Done.
        reply: Reply<()>,
    },
    /// End all presentations of a title whose file is gone or has changed.
    EndTitle {
        /// Which title.
        title: TitlePath,
    },
    /// The route of one of its home addresses has changed.
    RouteChanged {
        /// Which presentation.
        presentation: PresentationId,
    },
    /// An RTCP packet came in over an interleaved connection.
    Rtcp {
        /// Which presentation.
        presentation: PresentationId,
        /// From which branch.
        origin: ReportOrigin,
        /// The compound packet.
        packet: Vec<u8>,
    },
    /// A datagram of a branch has come back: nobody is there.
    Bounced {
        /// Which presentation.
        presentation: PresentationId,
        /// To which branch.
        origin: ReportOrigin,
        /// What is quoted of the RTP packet.
        quoted: SmallVec<[u8; 16]>,
    },
    /// Say that it is there: asked of every place where presentations live, answered when all have.
    Ping {
        /// It is.
        reply: Reply<()>,
    },
    /// Describe one presentation, or all.
    Snapshot {
        /// Which; `None` for all.
        presentation: Option<PresentationId>,
        /// The descriptions; of one that does not exist: [`PlaybackError::Unknown`].
        reply: Reply<Vec<PresentationSnapshot>>,
    },
}

impl Command {
    /// Answers a command that is not carried out; one without a reply is dropped.
    pub fn refuse(self, error: PlaybackError) {
        match self {
            Self::Open { reply, .. } | Self::Await { reply, .. } | Self::End { reply, .. } | Self::Ping { reply } => reply(Err(error)),
            Self::AddFlow { reply, .. } | Self::SetUp { reply, .. } => reply(Err(error)),
            Self::Play { reply, .. } => reply(Err(error)),
            Self::Pause { reply, .. } => reply(Err(error)),
            Self::Snapshot { reply, .. } => reply(Err(error)),
            Self::EndTitle { .. } | Self::RouteChanged { .. } | Self::Rtcp { .. } | Self::Bounced { .. } => {}
        }
    }
}

/// Carries commands to where the presentations are. Never blocks; a command that cannot be delivered is refused as
/// [`PlaybackError::Busy`], or, while the server stops, dropped and its reply with it.
pub trait Perform: Send + Sync {
    /// Delivers a command.
    fn perform(&self, command: Command);
}

/// The presentations, as carriages see them.
#[derive(Clone)]
pub struct Stage {
    performer: Arc<dyn Perform>,
    is_draining: Arc<AtomicBool>,
}

impl Stage {
    /// A stage over whatever carries out commands.
    pub fn new(performer: Arc<dyn Perform>) -> Self {
        Self { performer, is_draining: Arc::default() }
    }

    /// From now on no presentation begins; those that there are play on.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether none begins any more.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Delivers a command that has no reply, or whose reply is taken care of.
    pub fn tell(&self, command: Command) {
        self.performer.perform(command);
    }

    async fn ask<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, PlaybackError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(make(Box::new(move |outcome| {
            // The asker may have gone away meanwhile.
            let _ = sender.send(outcome);
        })));
        receiver.await.unwrap_or(Err(PlaybackError::Unknown))
    }

    /// See [`Command::Open`].
    ///
    /// # Errors
    /// `Full`, `Draining`.
    pub async fn open(&self, presentation: PresentationId, opening: Opening) -> Result<(), PlaybackError> {
        if self.is_draining() {
            return Err(PlaybackError::Draining);
        }
        self.ask(|reply| Command::Open { presentation, opening, reply }).await
    }

    /// See [`Command::AddFlow`].
    ///
    /// # Errors
    /// `Unknown`, `Full`, `Unplayable`.
    pub async fn add_flow(
        &self,
        presentation: PresentationId,
        track: usize,
        home: HomeAddress,
        label: FlowLabel,
    ) -> Result<FlowFacts, PlaybackError> {
        self.ask(|reply| Command::AddFlow { presentation, track, home, label, reply }).await
    }

    /// See [`Command::SetUp`].
    ///
    /// # Errors
    /// `Unknown`, `Full`, `Unplayable`; `Draining` where the presentation would begin with it.
    pub async fn set_up(
        &self,
        presentation: PresentationId,
        opening: Option<Opening>,
        flow: NewFlow,
        awaited: Awaited,
    ) -> Result<FlowFacts, PlaybackError> {
        if opening.is_some() && self.is_draining() {
            return Err(PlaybackError::Draining);
        }
        self.ask(|reply| Command::SetUp { presentation, opening, flow, awaited, reply }).await
    }

    /// See [`Command::Await`].
    ///
    /// # Errors
    /// `Unknown`.
    pub async fn await_datagrams(
        &self,
        presentation: PresentationId,
        home: HomeAddress,
        holder: Holder,
        care_of: CareOf,
    ) -> Result<(), PlaybackError> {
        self.ask(|reply| Command::Await { presentation, home, holder, care_of, reply }).await
    }

    /// See [`Command::Play`].
    ///
    /// # Errors
    /// `Unknown`, `InvalidRange`.
    pub async fn play(&self, presentation: PresentationId, request: PlayRequest) -> Result<Playing, PlaybackError> {
        self.ask(|reply| Command::Play { presentation, request, reply }).await
    }

    /// See [`Command::Pause`].
    ///
    /// # Errors
    /// `Unknown`.
    pub async fn pause(&self, presentation: PresentationId) -> Result<MediaTime, PlaybackError> {
        self.ask(|reply| Command::Pause { presentation, reply }).await
    }

    /// See [`Command::End`].
    ///
    /// # Errors
    /// `Unknown`.
    pub async fn end(&self, presentation: PresentationId) -> Result<(), PlaybackError> {
        self.ask(|reply| Command::End { presentation, reply }).await
    }

    /// See [`Command::Ping`].
    ///
    /// # Errors
    /// `Unknown` while the server stops.
    pub async fn ping(&self) -> Result<(), PlaybackError> {
        self.ask(|reply| Command::Ping { reply }).await
    }

    /// Describes all presentations.
    ///
    /// # Errors
    /// `Unknown` while the server stops.
    pub async fn snapshots(&self) -> Result<Vec<PresentationSnapshot>, PlaybackError> {
        self.ask(|reply| Command::Snapshot { presentation: None, reply }).await
    }

    /// Describes one presentation.
    ///
    /// # Errors
    /// `Unknown`.
    pub async fn snapshot(&self, presentation: PresentationId) -> Result<PresentationSnapshot, PlaybackError> {
        let found = self.ask(|reply| Command::Snapshot { presentation: Some(presentation), reply }).await?;
        found.into_iter().next().ok_or(PlaybackError::Unknown)
    }
}
