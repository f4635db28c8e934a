//! A title being played: one clock, its flows, and who gets which access unit when.
//!
//! Order of use: commands ([`Presentation::play`], [`Presentation::pause`], [`Presentation::sync`], …) at any time, then
//! [`Presentation::poll`] until it gives nothing, each [`Work::Unit`] answered by [`Presentation::sent`] (or
//! [`Presentation::skip`] where the access unit cannot be sent) before the next poll; then
//! [`Presentation::next_deadline`], which every command and every poll may move.
//!
//! Played before any branch is bound it waits, as long as one of its home addresses exists; it starts with the first
//! branch. What ran when the last branch went goes on with the next one.
//!
//! How a branch joins a flow that runs (*primed*): it is sent the access units from the last random access point shown
//! at or before the live position less the lag of the branch that is left, faster than real time, with their first
//! sequence numbers and timestamps, until it has caught up; from then on it gets what all get.
//! Leading pictures of the random access point that it begins with are left out: what they refer to it has not had.

mod delayed;
mod exact;
mod joining;
mod live;
mod schedule;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use self::exact::{Beginning, Lead};
use self::live::Live;
use crate::library::{AccessUnit, Title, Track};
use crate::now::{Mono, Now};
use crate::payload::grouping::Grouping;
use crate::playback::clock::{FlowClock, FlowTime};
use crate::playback::flow::{BranchState, Flow, FlowIdentity, Priming, Segment};
use crate::playback::scale::{Pace, Scale, View};
use crate::playback::seek::SeekStyle;
use crate::playback::speed::Speed;
use crate::playback::stage::{
    BranchSnapshot, FlowFacts, FlowSnapshot, FlowStart, NptRange, Opening, PlayRequest, PlaybackError, Playing, PresentationId,
    PresentationSnapshot, PresentationState,
};
use crate::quantities::{MediaKind, MediaTime};
use crate::steering::{Branch, BranchSerial, EndReason, Ended, HandedOver, Route, UpdateId};

/// Flows a presentation may have at most.
const MAX_FLOWS: usize = 16;
/// Join points that are remembered for the answers to their requests.
const JOINS_KEPT: usize = 8;
/// Stretches that are remembered for priming across a loop.
const SEGMENTS_KEPT: usize = 8;
/// How often a Sender Report leaves on each branch.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// … and while it is caught up: GStreamer's clocks move then, those of sound and picture not alike, and reports put them together.
const CATCHING_UP_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Those of branches that came within this go together, where they are due within it: less than the intervals.
const REPORTS_TOGETHER: Duration = Duration::from_millis(500);
/// The first packet on an interleaved branch follows the response by this much: players open their demultiplexer
/// only after they have read it.
const INTERLEAVED_DELAY: Duration = Duration::from_millis(20);
/// An asked end so close to the title's is the title's: descriptions give it in whole milliseconds, and players send it
/// back.
const END_TOLERANCE: Duration = Duration::from_millis(1);
/// How far ahead of the clock a new stretch begins at most, where the last access unit is to be shown for longer.
const MAX_LEAD: Duration = Duration::from_millis(200);
/// … and how far the clock is set ahead at most so that timestamps do not go back.
const MAX_SKIP: Duration = Duration::from_secs(10);
/// How long after a branch's last datagram its BYE follows at the title's end: players read RTCP before RTP, and what they
/// have not read when BYE comes is lost, with what their reordering buffer holds (libavformat: up to 100 ms).
const BEFORE_BYE: Duration = Duration::from_secs(1);
/// … and interleaved, where nothing overtakes.
const BEFORE_INTERLEAVED_BYE: Duration = Duration::from_millis(20);
/// So far the clock runs on at the end of a range anyway, since it is stopped by a timer.
const RAN_ON: Duration = Duration::from_millis(50);
/// How long a branch waits for those of other flows that its update bound as well.
const TOGETHER: Duration = Duration::from_millis(50);
/// A presentation that nobody ever was bound to ends after this.
const UNCLAIMED: Duration = Duration::from_secs(150);

/// What a presentation goes by.
#[derive(Clone, Copy, Debug)]
pub struct PresentationSettings {
    /// How far back a branch is primed at most.
    pub max_prime: Duration,
    /// How long it waits for a random access point at most where it is to begin with the next one.
    pub max_window: Duration,
    /// How long it waits for a device after the last one is gone.
    pub linger: Duration,
}

impl Default for PresentationSettings {
    fn default() -> Self {
        Self { max_prime: Duration::from_secs(20), max_window: Duration::from_secs(15), linger: Duration::from_secs(60) }
    }
}

/// Who an access unit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All branches that have caught up.
    Live,
    /// One that has not.
    Priming(BranchSerial),
}

/// What is to be done now.
#[derive(Clone, Debug)]
pub enum Work {
    /// Send an access unit; answer with [`Presentation::sent`] or [`Presentation::skip`].
    Unit {
        /// The flow's index.
        flow: usize,
        /// What to read.
        unit: AccessUnit,
        /// … and what shares its packet.
        second: Option<AccessUnit>,
        /// The sequence number of its first packet.
        sequence: u16,
        /// The timestamp of all its packets.
        timestamp: u32,
        /// When it was due.
        due: Mono,
        /// Who gets it.
        audience: Audience,
    },
    /// Send a Sender Report to a branch.
    Report {
        /// The flow's index.
        flow: usize,
        /// The branch.
        branch: BranchSerial,
    },
    /// Say BYE to a branch that is no more, or (`state.branch` still bound) at the title's end.
    Bye {
        /// The flow's index.
        flow: usize,
        /// The branch as it was.
        state: Box<BranchState>,
    },
    /// It has ended: nothing more will come.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not started, paused or at the end.
    Standing,
    /// The clock runs.
    Running,
    /// Played, and no branch was ever bound: it waits for one.
    Waiting,
    /// No branch is left; it ends at that time.
    Unbound(Mono),
    /// Over.
    Over,
}

/// Where an update's branches entered.
#[derive(Clone, Debug)]
struct JoinPoint {
    update: UpdateId,
    segment: Segment,
    start: MediaTime,
    from: FlowTime,
    /// The live position when it was chosen: flows that come one by one begin as though they had come together.
    joined: FlowTime,
    /// How fast the flow clock ran then.
    speed: Speed,
    /// With what its pictures begin, where that was still to come.
    aligned: Option<Aligned>,
    starts: Vec<FlowStart>,
}

/// An access unit with which branches begin that was still to come for the branch that is left.
#[derive(Clone, Copy, Debug)]
struct Aligned {
    track: usize,
    unit: usize,
    /// How far behind the live position they are served.
    delay: Duration,
}

/// A title being played.
pub struct Presentation {
    id: PresentationId,
    title: Arc<Title>,
    settings: PresentationSettings,
    looping: bool,
    /// Where in the title it starts when nothing else is asked.
    opened_at: MediaTime,
    /// Where in the title it ends; opened backwards within a range, where it begins.
    closes_at: MediaTime,
    /// Where in the title it ends backwards.
    floor: MediaTime,
    /// What of the tracks is played when. Times of stretches and of access units are those of the view (see [`Pace`]).
    pace: Pace,
    phase: Phase,
    /// Whether it is to run as soon as a branch is bound.
    wanted: bool,
    /// Whether a branch was ever bound.
    claimed: bool,
    clock: FlowClock,
    /// The last stretches, the current one at the back; empty before the first start.
    segments: VecDeque<Segment>,
    next_segment: u32,
    /// What is sent ahead of the last stretch that began with a jump.
    lead: Option<Lead>,
    flows: Vec<Flow>,
    joins: VecDeque<JoinPoint>,
    farewells: VecDeque<(usize, Box<BranchState>)>,
    /// What hand-overs came to that nobody has been told yet.
    handed_over: VecDeque<(usize, BranchSerial, HandedOver)>,
    /// Whether all of the current stretch has been sent and shown; branches that are catching up may still lack of it.
    reached: bool,
    /// Whether that was the title's end.
    finished: bool,
    /// Set where the title is live.
    live: Option<Live>,
    /// Whether a live title has ended for this presentation, although more may come.
    is_closed: bool,
    /// Counts the jumps.
    jumps: u32,
    /// Updates of which some flow has not shown its branch yet, and since when.
    incomplete: Vec<(UpdateId, Mono)>,
    /// Updates of a live title that await a random access point which has not come yet, and since when.
    deferred: Vec<(UpdateId, Mono)>,
    /// When it is looked for again.
    deferred_until: Mono,
    /// The random access point (stretch and position) to be sent next when they were last looked at before that.
    looked_at: Option<(u32, usize)>,
    /// The routes that they stand in.
    routes: Vec<Arc<Route>>,
}

impl Presentation {
    /// A presentation that stands at its start.
    pub fn new(id: PresentationId, opening: Opening, settings: PresentationSettings, now: Now) -> Self {
        let opening = if opening.title.is_live() { Opening::whole(opening.title) } else { opening };
        let Opening { title, start, end, scale, speed, looping, opener: _ } = opening;
        let live = title.is_live().then(Live::new);
        let scale = if title.tracks.iter().any(Track::has_scales) { scale } else { Scale::default() };
        // Backwards a range ends before it begins.
        let (end, floor) = match end {
            Some(floor) if scale.is_backward() && floor < start => (Some(start), floor.clamp(MediaTime::ZERO, title.duration)),
            end => (end, MediaTime::ZERO),
        };
        let closes_at = end.map_or(title.duration, |end| end.clamp(MediaTime::ZERO, title.duration));
        let opened_at = start.clamp(MediaTime::ZERO, closes_at);
        Self {
            id,
            title,
            settings,
            looping,
            opened_at,
            closes_at,
            floor,
            pace: Pace::new(scale, closes_at).down_to(floor),
            phase: Phase::Unbound(now.mono + UNCLAIMED),
            wanted: false,
            claimed: false,
            clock: FlowClock::at(speed),
            segments: VecDeque::new(),
            next_segment: 0,
            lead: None,
            flows: Vec::new(),
            joins: VecDeque::new(),
            farewells: VecDeque::new(),
            handed_over: VecDeque::new(),
            reached: false,
            finished: false,
            live,
            is_closed: false,
            jumps: 0,
            incomplete: Vec::new(),
            deferred: Vec::new(),
            deferred_until: now.mono,
            looked_at: None,
            routes: Vec::new(),
        }
    }

    /// Its name.
    pub const fn id(&self) -> PresentationId {
        self.id
    }

    /// What is played.
    pub const fn title(&self) -> &Arc<Title> {
        &self.title
    }

    /// Its flows, in the order in which they were added.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// How fast it plays.
    pub const fn scale(&self) -> Scale {
        self.pace.scale()
    }

    /// How fast its packets leave.
    pub const fn speed(&self) -> Speed {
        self.clock.speed()
    }

    /// How often it has jumped to another position.
    pub const fn jumps(&self) -> u32 {
        self.jumps
    }

    /// What it is doing.
    pub const fn state(&self) -> PresentationState {
        match self.phase {
            Phase::Running if !self.reached => PresentationState::Playing,
            Phase::Running | Phase::Standing | Phase::Waiting => PresentationState::Paused,
            Phase::Unbound(_) | Phase::Over => PresentationState::Lingering,
        }
    }

    /// The live position; that of those who are behind where nobody else is left.
    pub fn position(&self, now: Now) -> MediaTime {
        let shown = self.clock.read(now.mono).minus(self.common_delay());
        let segment = self.segments.iter().rev().find(|segment| segment.begins <= shown).or(self.segments.front());
        match segment {
            Some(segment) => {
                let at = segment.media_at(shown.max(segment.begins)).clamp(MediaTime::ZERO, segment.end);
                self.pace.title_time(at).clamp(self.lowest(self.pace.scale()), self.closes_at)
            }
            None => self.opened_at,
        }
    }

    /// Where in the title it plays at the lowest.
    const fn lowest(&self, scale: Scale) -> MediaTime {
        if scale.is_backward() { self.floor } else { MediaTime::ZERO }
    }

    /// The next packet of a flow: of who is behind, where nobody else is left.
    fn next_start(&self, flow: &Flow, segment: &Segment, start: MediaTime) -> FlowStart {
        let behind = flow.branches.first().and_then(|state| state.priming).filter(|_| !self.common_delay().is_zero());
        match behind {
            Some(Priming { cursor, .. }) => FlowStart {
                sequence: (cursor.sequence & 0xffff) as u16,
                rtptime: flow.timestamp_at(&cursor.segment, start),
                ..live_start(flow, segment, start)
            },
            None => live_start(flow, segment, start),
        }
    }

    /// All that the API shows of it. Drops are known to the filter, and are left empty.
    pub fn snapshot(&self, now: Now) -> PresentationSnapshot {
        let flow = |flow: &Flow| {
            let view = self.pace.view(&self.title, flow.facts.track);
            FlowSnapshot {
                facts: flow.facts,
                kind: view.map_or(MediaKind::Video, |view| view.kind()),
                codec: view.map_or("", |view| view.track().codec.name()),
                dropped: Vec::new(),
                last_sequence: (flow.sequence.wrapping_sub(1) & 0xffff) as u16,
                last_timestamp: flow.last_timestamp,
                branches: flow.branches.iter().map(|state| branch_snapshot(state, now)).collect(),
            }
        };
        PresentationSnapshot {
            id: self.id,
            title: Arc::clone(&self.title),
            state: self.state(),
            position: self.position(now),
            scale: self.pace.scale(),
            speed: self.clock.speed(),
            flows: self.flows.iter().map(flow).collect(),
        }
    }

    /// Adds a flow for a track.
    ///
    /// # Errors
    /// `Full`; `Unknown` where the title has no such track.
    pub fn add_flow(&mut self, facts: FlowFacts, identity: FlowIdentity, grouping: Grouping, now: Now) -> Result<(), PlaybackError> {
        let view = self.pace.view(&self.title, facts.track).ok_or(PlaybackError::Unknown)?;
        if self.flows.len() >= MAX_FLOWS {
            return Err(PlaybackError::Full);
        }
        let mut flow = Flow::new(facts, identity, grouping);
        if let Some(&segment) = self.segments.back() {
            let position = segment.media_at(self.clock.read(now.mono).max(segment.begins));
            flow.enter(segment, entry(view, position), true);
        }
        self.flows.push(flow);
        Ok(())
    }

    /// Plays, resumes, seeks or joins.
    ///
    /// # Errors
    /// `InvalidRange`, `Unknown` after the end.
    pub fn play(&mut self, request: PlayRequest, now: Now) -> Result<Playing, PlaybackError> {
        if self.phase == Phase::Over || self.flows.is_empty() {
            return Err(PlaybackError::Unknown);
        }
        // What is live has one position and one scale.
        let seeks = |range: NptRange| range.end.is_some() || range.start.is_some_and(|start| start > MediaTime::ZERO);
        if self.live.is_some() && request.range.is_some_and(seeks) {
            return Err(PlaybackError::InvalidRange);
        }
        let request = if self.live.is_some() {
            PlayRequest { range: None, scale: None, speed: None, style: SeekStyle::RandomAccess, ..request }
        } else {
            request
        };
        let range = request.range.unwrap_or(NptRange { start: None, end: None });
        let has_pictures = self.flows.iter().any(|flow| self.title.tracks.get(flow.facts.track).is_some_and(Track::has_scales));
        let scale = request.scale.unwrap_or(self.pace.scale());
        // Nothing would be left to be sent.
        let pace = Pace::new(if has_pictures { scale } else { Scale::default() }, self.closes_at).down_to(self.floor);
        if range.start.is_some_and(|start| start > self.title.duration || start < MediaTime::ZERO) {
            return Err(PlaybackError::InvalidRange);
        }
        // From here on, times of the view.
        let lowest = self.lowest(pace.scale());
        let asked_start = range.start.map(|start| pace.view_time(start.clamp(lowest, self.closes_at)));
        let asked_end = range.end.map(|end| pace.view_time(end));
        // Backwards a player may still say where the title ends.
        let asked_end = asked_end.filter(|end| !pace.scale().is_backward() || *end > asked_start.unwrap_or_default());
        // Where it is, all may go on.
        let leads_on = |start: &MediaTime| {
            pace == self.pace && !self.segments.is_empty() && !self.reached && self.leads_on_to(*start, pace.view_time(self.position(now)))
        };
        let asked_start = asked_start.filter(|start| request.style != SeekStyle::ConditionalRandomAccess || !leads_on(start));
        let length = pace.length();
        let last = pace.view_time(if pace.scale().is_backward() { self.floor } else { self.closes_at });
        let end = asked_end.map_or(length, |end| if end.plus(END_TOLERANCE) >= last { length } else { end });
        if asked_end.is_some_and(|end| end <= asked_start.unwrap_or_default()) {
            return Err(PlaybackError::InvalidRange);
        }
        let first = if pace.scale().is_backward() { self.closes_at } else { MediaTime::ZERO };
        let fresh = match (asked_start, self.segments.is_empty() || self.is_over()) {
            (Some(start), _) => Some(start),
            (None, true) if self.segments.is_empty() && self.opened_at > MediaTime::ZERO => Some(pace.view_time(self.opened_at)),
            (None, true) => Some(pace.view_time(first)),
            (None, false) if self.live.is_some() && matches!(self.phase, Phase::Standing) && self.has_been_away(now) => {
                Some(MediaTime::ZERO)
            }
            (None, false) if pace != self.pace => Some(pace.view_time(self.position(now))),
            (None, false) => None,
        };
        if asked_start.is_none() && asked_end.is_some() && end <= fresh.unwrap_or_else(|| pace.view_time(self.position(now))) {
            return Err(PlaybackError::InvalidRange);
        }
        self.pace = pace;
        if let Some(speed) = request.speed.filter(|speed| *speed != self.clock.speed()) {
            self.set_speed(speed, now);
        }
        let mut style = SeekStyle::RandomAccess;
        if let Some(start) = fresh {
            style = self.jump(start, end, request.style, now);
        } else if (asked_end.is_some() || self.reached) && !self.segments.is_empty() {
            if self.reached {
                // The clock may have run on for those who were behind; all go on from where they are.
                let ran_on = self.clock.read(now.mono).since(self.over_at().unwrap_or_default());
                let moment = self.clock.speed().played_in(RAN_ON);
                self.set_back(if ran_on > moment { ran_on } else { Duration::ZERO }, now);
            }
            let Some(segment) = self.segments.back_mut() else { return Err(PlaybackError::Unknown) };
            // Without an end it keeps the one that it has, but goes on from there to the title's.
            segment.end = end;
            self.reached = false;
            let segment = *segment;
            for flow in &mut self.flows {
                // Also those who are behind go on to the new end.
                let priming = flow.branches.iter_mut().filter_map(|state| state.priming.as_mut()).map(|priming| &mut priming.cursor);
                for cursor in flow.live.iter_mut().chain(priming).filter(|cursor| cursor.segment.serial == segment.serial) {
                    cursor.segment = segment;
                }
            }
        }
        let position = self.position(now);
        if !request.still {
            self.wanted = true;
            if matches!(self.phase, Phase::Unbound(_)) && !self.claimed {
                self.phase = Phase::Waiting;
            }
            self.run(now);
        }
        let segment = *self.segments.back().ok_or(PlaybackError::Unknown)?;
        let joined = request.joining.filter(|_| fresh.is_none()).and_then(|update| self.joins.iter().find(|join| join.update == update));
        if let Some(join) = joined {
            let (start, end) = (pace.title_time(join.start), pace.title_time(segment.end).max(lowest));
            return Ok(Playing { start, end, scale: pace.scale(), style, speed: self.clock.speed(), flows: join.starts.clone() });
        }
        let is_deferred = request.joining.is_some_and(|update| self.deferred.iter().any(|(deferred, _)| *deferred == update));
        let start = if fresh.is_some() { segment.start } else { pace.view_time(position) };
        Ok(Playing {
            start: if fresh.is_some() { pace.title_time(start) } else { position },
            end: pace.title_time(segment.end).max(lowest),
            scale: pace.scale(),
            style,
            speed: self.clock.speed(),
            flows: self.flows.iter().map(|flow| FlowStart { later: is_deferred, ..self.next_start(flow, &segment, start) }).collect(),
        })
    }

    /// Stops the clock; where it stands then.
    ///
    /// # Errors
    /// `Unknown` after the end.
    pub fn pause(&mut self, now: Now) -> Result<MediaTime, PlaybackError> {
        if self.phase == Phase::Over {
            return Err(PlaybackError::Unknown);
        }
        self.wanted = false;
        if self.phase == Phase::Running {
            self.clock.stop(now.mono);
            self.phase = Phase::Standing;
        }
        Ok(self.position(now))
    }

    /// Ends it: BYE on every branch, then [`Work::Ended`].
    pub fn end(&mut self, now: Now) {
        if self.phase == Phase::Over {
            return;
        }
        self.clock.stop(now.mono);
        for (index, flow) in self.flows.iter_mut().enumerate() {
            self.farewells.extend(flow.branches.drain(..).map(|state| (index, Box::new(state))));
        }
        self.phase = Phase::Over;
    }

    /// Takes over what the address map says: one route per flow, in the order of the flows.
    pub fn sync(&mut self, routes: &[Arc<Route>], now: Now) {
        if self.phase == Phase::Over {
            return;
        }
        let mut arrivals: Vec<(usize, Branch)> = Vec::new();
        self.routes.clear();
        for (index, (flow, route)) in self.flows.iter_mut().zip(routes).enumerate() {
            let mut kept = Vec::with_capacity(route.branches.len());
            let newest = || route.branches.iter().map(|branch| branch.update).max();
            for mut state in flow.branches.drain(..) {
                if let Some(branch) = route.branches.iter().find(|branch| branch.serial == state.branch.serial) {
                    state.branch = *branch;
                    state.succeeded &= branch.leaving;
                    state.left_by = if branch.leaving { state.left_by.or_else(newest) } else { None };
                    kept.push(state);
                    continue;
                }
                flow.last_lag = state.lag;
                let ended = route.ended.iter().rev().find(|ended| ended.branch.serial == state.branch.serial);
                if ended.is_some_and(|ended| matches!(ended.reason, EndReason::Moved | EndReason::Roamed)) {
                    flow.left = state.newest.or(flow.left);
                }
                if ended.is_none_or(|Ended { reason, .. }| reason.says_bye()) {
                    self.farewells.push_back((index, Box::new(state)));
                }
            }
            flow.branches = kept;
            if flow.branches.iter().any(|state| state.packets > 0) {
                flow.left = None;
            }
            let new = route.branches.iter().filter(|branch| !flow.branches.iter().any(|state| state.branch.serial == branch.serial));
            arrivals.extend(new.map(|branch| (index, *branch)));
        }
        let updates: Vec<UpdateId> = arrivals.iter().map(|(_, branch)| branch.update).collect();
        self.incomplete.retain(|(update, _)| updates.contains(update));
        self.deferred.retain(|(update, _)| updates.contains(update));
        for update in updates {
            let together: Vec<(usize, Branch)> = arrivals.extract_if(.., |(_, branch)| branch.update == update).collect();
            if self.is_complete(update, &together, routes, now) && !self.defers(update, &together, now) {
                self.join(update, &together, now);
            }
        }
        self.prime_the_waiting(now);
        if self.incomplete.is_empty() {
            self.follow_those_behind(now);
        }
        if !self.incomplete.is_empty() || !self.deferred.is_empty() {
            self.routes.extend_from_slice(routes);
        }
        let bound = !self.incomplete.is_empty() || !self.deferred.is_empty() || self.flows.iter().any(|flow| !flow.branches.is_empty());
        self.claimed |= bound;
        match self.phase {
            Phase::Unbound(_) | Phase::Waiting if bound => {
                self.phase = Phase::Standing;
                if self.wanted {
                    self.run(now);
                }
            }
            Phase::Waiting if routes.iter().all(|route| !route.reserved) => self.phase = Phase::Unbound(now.mono + self.settings.linger),
            Phase::Standing | Phase::Running if !bound => {
                self.clock.stop(now.mono);
                self.phase = Phase::Unbound(now.mono + self.settings.linger);
            }
            _ => {}
        }
    }

    /// Where a stretch begins that is to begin at `target`: with a picture, the random access point.
    fn start_for(&self, target: MediaTime) -> MediaTime {
        let views = |flow: &Flow| self.pace.view(&self.title, flow.facts.track);
        let leading = self.flows.iter().filter_map(views).find(|view| view.kind() == MediaKind::Video);
        match leading {
            _ if target <= MediaTime::ZERO && !self.pace.scale().is_backward() => MediaTime::ZERO,
            Some(view) => access_point(view, target).map_or(target, |(_, start)| start),
            // Something is to be heard, also at the very end.
            None => self.flows.iter().filter_map(views).filter_map(last_start).max().map_or(target, |last| target.min(last)),
        }
    }

    /// Begins a new stretch at the random access point at or before `target`, or at that itself; of a live title at the last one. Which
    /// of these.
    fn jump(&mut self, target: MediaTime, end: MediaTime, style: SeekStyle, now: Now) -> SeekStyle {
        if self.live.is_some() {
            self.jump_to_live(now);
            return SeekStyle::RandomAccess;
        }
        let exact = if style == SeekStyle::FirstPrior { self.exact_beginning(target) } else { None };
        self.jump_to(exact.unwrap_or_else(|| Beginning::plain(self.start_for(target))), end, now);
        if exact.is_some() { style } else { SeekStyle::RandomAccess }
    }

    /// Begins a new stretch.
    fn jump_to(&mut self, beginning: Beginning, end: MediaTime, now: Now) {
        self.jumps = self.jumps.wrapping_add(1);
        self.begin_segment(beginning, end, now, true);
        for flow in &mut self.flows {
            flow.last_lag = Duration::ZERO;
            flow.left = None;
            for state in &mut flow.branches {
                // Whoever was still catching up, behind, or waiting is where all are now.
                state.join_the_live();
                state.left_out = None;
                state.promised = None;
                state.newest = None;
                state.lag = Duration::ZERO;
            }
        }
        self.joins.clear();
    }

    /// Starts a stretch: after what was shown, so that timestamps go on without a break.
    fn begin_segment(&mut self, beginning: Beginning, end: MediaTime, now: Now, jump: bool) {
        let Beginning { start, at, from, .. } = beginning;
        let begins = self.beginning(now, jump).plus(beginning.lead());
        self.clock.skip(beginning.gain(), now.mono);
        let entry_of = |view: View<'_>| match view.kind() {
            // What a coder puts before the beginning is for a decoder that begins: one that goes on hears the last of the round before.
            MediaKind::Audio if !jump => view.first_shown_at(at),
            _ => entry(view, at),
        };
        let entries: Vec<usize> = self.flows.iter().map(|flow| self.pace.view(&self.title, flow.facts.track).map_or(0, entry_of)).collect();
        let decode_times = self.flows.iter().zip(&entries).filter_map(|(flow, unit)| {
            let view = self.pace.view(&self.title, flow.facts.track)?;
            view.access_unit(*unit).map(|unit| view.decode_time(&unit).plus(flow.grouping.hold()))
        });
        // An edit list may place much before the beginning; that is sent at once, not waited for.
        let earliest = from.minus(Duration::from_secs(2));
        // Something leaves at once, also where all is held for a moment.
        let latest = from.plus(self.flows.iter().map(|flow| flow.grouping.hold()).max().unwrap_or_default());
        let send_origin = decode_times.min().unwrap_or(from).clamp(earliest, latest).plus(beginning.lead());
        let segment = Segment { serial: self.next_segment, begins, start, send_origin, end };
        self.lead = Lead::of(&segment, &beginning);
        self.next_segment = self.next_segment.wrapping_add(1);
        if jump {
            self.segments.clear();
        }
        self.segments.push_back(segment);
        if self.segments.len() > SEGMENTS_KEPT {
            self.segments.pop_front();
        }
        for (flow, unit) in self.flows.iter_mut().zip(entries) {
            flow.enter(segment, unit, jump);
            if let Some(view) = self.pace.view(&self.title, flow.facts.track).filter(|_| jump) {
                flow.pass_over(segment.serial, view.leading_pictures(unit));
            }
        }
        self.reached = false;
        self.finished = false;
        self.is_closed = false;
        for state in self.flows.iter_mut().flat_map(|flow| &mut flow.branches) {
            state.end_told = false;
        }
    }

    /// Where a new stretch begins: when what was sent has been shown, but soon, however long the last picture was to stay.
    /// Where that would be before a timestamp that has left, the clock is set ahead instead. A further round begins where the one before
    /// ends, also where that is over already: pictures are sent by so much later than they are shown as they are decoded before.
    fn beginning(&mut self, now: Now, jump: bool) -> FlowTime {
        let clock = self.clock.read(now.mono);
        let earliest = if jump { clock } else { clock.minus(MAX_LEAD) };
        let soon = clock.plus(MAX_LEAD);
        let shown_until = self.flows.iter().map(|flow| flow.shown_until).max().unwrap_or_default();
        let shown_from = self.flows.iter().map(|flow| flow.shown_from.plus(Duration::from_millis(1))).max().unwrap_or_default();
        let begins = earliest.max(shown_until.min(soon.max(shown_from)).min(soon.plus(MAX_SKIP)));
        self.clock.skip(begins.since(soon), now.mono);
        begins
    }

    /// Where in the view a further round begins: a part that was asked for is repeated as such.
    fn loop_start(&self) -> MediaTime {
        let is_part = self.closes_at < self.title.duration && !self.pace.scale().is_backward();
        let part = if self.floor > MediaTime::ZERO { self.floor } else { self.opened_at };
        self.start_for(if is_part { self.pace.view_time(part) } else { MediaTime::ZERO })
    }

    fn run(&mut self, now: Now) {
        if matches!(self.phase, Phase::Standing) {
            if self.has_been_away(now) {
                self.jump_to_live(now);
            }
            if let Some(live) = &mut self.live {
                live.compare_anew();
            }
            let waits = self.flows.iter().flat_map(|flow| &flow.branches).any(|state| state.not_before > now.mono);
            self.clock.start(if waits { INTERLEAVED_DELAY } else { Duration::ZERO }, now);
            self.phase = Phase::Running;
        }
    }
}

/// Where a player that starts at `start` enters a track: pictures at their random access point, sound at the frame that
/// is heard then; all of it at the title's beginning.
fn entry(view: View<'_>, start: MediaTime) -> usize {
    if view.track().is_live() {
        return Presentation::live_entry(view, start);
    }
    if start <= MediaTime::ZERO && !view.is_backward() {
        return 0;
    }
    match view.kind() {
        MediaKind::Video => access_point(view, start).map_or(0, |(unit, _)| unit),
        MediaKind::Audio | MediaKind::Text => view.first_shown_at(start),
    }
}

fn access_point(view: View<'_>, at: MediaTime) -> Option<(usize, MediaTime)> {
    let unit = view.random_access_for(at)?;
    let start = view.access_unit(unit).map(|unit| view.presentation_time(&unit))?;
    Some((unit, start.max(MediaTime::ZERO)))
}

/// When a track's last access unit begins.
fn last_start(view: View<'_>) -> Option<MediaTime> {
    view.access_unit(view.len().checked_sub(1)?).map(|unit| view.presentation_time(&unit))
}

fn live_start(flow: &Flow, segment: &Segment, start: MediaTime) -> FlowStart {
    FlowStart {
        home: flow.facts.home,
        track: flow.facts.track,
        sequence: (flow.sequence & 0xffff) as u16,
        later: false,
        rtptime: flow.timestamp_at(segment, start),
    }
}

fn branch_snapshot(state: &BranchState, now: Now) -> BranchSnapshot {
    BranchSnapshot {
        branch: state.branch,
        priming: state.awaits.is_some() || (state.priming.is_some() && !state.is_delayed()),
        served: now.mono.since(state.came),
        lag: state.lag,
        packets: state.packets,
        octets: state.octets,
        loss_fraction: state.reception.loss_fraction,
        jitter: state.reception.jitter,
        round_trip: state.reception.round_trip,
    }
}
