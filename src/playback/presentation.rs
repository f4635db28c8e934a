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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::library::{AccessUnit, Title, Track};
use crate::now::{Mono, Now};
use crate::playback::clock::{FlowClock, FlowTime};
use crate::playback::flow::{BranchState, Cursor, Flow, FlowIdentity, Priming, Reception, Segment, duration};
use crate::playback::stage::{
    BranchSnapshot, FlowFacts, FlowSnapshot, FlowStart, NptRange, PlayRequest, PlaybackError, Playing, PresentationId,
    PresentationSnapshot, PresentationState,
};
use crate::quantities::{MediaKind, MediaTime};
use crate::steering::{Branch, BranchSerial, CareOf, Ended, JoinWay, Route, UpdateId};

/// Flows a presentation may have at most.
const MAX_FLOWS: usize = 16;
/// Join points that are remembered for the answers to their requests.
const JOINS_KEPT: usize = 8;
/// Stretches that are remembered for priming across a loop.
const SEGMENTS_KEPT: usize = 8;
/// How often a Sender Report leaves on each branch.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
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
/// How long after a branch's last packet its BYE follows at the title's end: players read RTCP before RTP, and what they
/// have not read when BYE comes is lost.
const BEFORE_BYE: Duration = Duration::from_millis(20);
/// How long a branch waits for those of other flows that its update bound as well.
const TOGETHER: Duration = Duration::from_millis(50);
/// A presentation that nobody ever was bound to ends after this.
const UNCLAIMED: Duration = Duration::from_secs(150);

/// What a presentation goes by.
#[derive(Clone, Copy, Debug)]
pub struct PresentationSettings {
    /// How far back a branch is primed at most.
    pub max_prime: Duration,
    /// How long it waits for a device after the last one is gone.
    pub linger: Duration,
}

impl Default for PresentationSettings {
    fn default() -> Self {
        Self { max_prime: Duration::from_secs(20), linger: Duration::from_secs(60) }
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
    starts: Vec<FlowStart>,
}

/// A title being played.
pub struct Presentation {
    id: PresentationId,
    title: Arc<Title>,
    settings: PresentationSettings,
    looping: bool,
    /// Where it starts when nothing else is asked.
    opened_at: MediaTime,
    phase: Phase,
    /// Whether it is to run as soon as a branch is bound.
    wanted: bool,
    /// Whether a branch was ever bound.
    claimed: bool,
    clock: FlowClock,
    /// The last stretches, the current one at the back; empty before the first start.
    segments: VecDeque<Segment>,
    next_segment: u32,
    flows: Vec<Flow>,
    joins: VecDeque<JoinPoint>,
    farewells: VecDeque<(usize, Box<BranchState>)>,
    /// Whether all of the current stretch has been sent and shown; branches that are catching up may still lack of it.
    reached: bool,
    /// Whether that was the title's end.
    finished: bool,
    /// Counts the jumps.
    jumps: u32,
    /// Updates of which some flow has not shown its branch yet, and since when.
    incomplete: Vec<(UpdateId, Mono)>,
    /// The routes that they stand in.
    routes: Vec<Arc<Route>>,
}

impl Presentation {
    /// A presentation that stands at `start`.
    pub fn new(id: PresentationId, title: Arc<Title>, start: MediaTime, looping: bool, settings: PresentationSettings, now: Now) -> Self {
        Self {
            id,
            title,
            settings,
            looping,
            opened_at: start,
            phase: Phase::Unbound(now.mono + UNCLAIMED),
            wanted: false,
            claimed: false,
            clock: FlowClock::new(),
            segments: VecDeque::new(),
            next_segment: 0,
            flows: Vec::new(),
            joins: VecDeque::new(),
            farewells: VecDeque::new(),
            reached: false,
            finished: false,
            jumps: 0,
            incomplete: Vec::new(),
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

    /// The live position.
    pub fn position(&self, now: Now) -> MediaTime {
        match self.segments.back() {
            Some(segment) => {
                segment.media_at(self.clock.read(now.mono).max(segment.begins)).clamp(MediaTime::ZERO, segment.end.min(self.title.duration))
            }
            None => self.opened_at,
        }
    }

    /// All that the API shows of it. Drops are known to the filter, and are left empty.
    pub fn snapshot(&self, now: Now) -> PresentationSnapshot {
        let flow = |flow: &Flow| {
            let track = self.title.tracks.get(flow.facts.track);
            FlowSnapshot {
                facts: flow.facts,
                kind: track.map_or(MediaKind::Video, |track| track.kind),
                codec: track.map_or("", |track| track.codec.name()),
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
            scale: 1.0,
            flows: self.flows.iter().map(flow).collect(),
        }
    }

    /// Adds a flow for a track.
    ///
    /// # Errors
    /// `Full`; `Unknown` where the title has no such track.
    pub fn add_flow(&mut self, facts: FlowFacts, identity: FlowIdentity, now: Now) -> Result<(), PlaybackError> {
        let track = self.title.tracks.get(facts.track).ok_or(PlaybackError::Unknown)?;
        if self.flows.len() >= MAX_FLOWS {
            return Err(PlaybackError::Full);
        }
        let mut flow = Flow::new(facts, identity);
        if let Some(&segment) = self.segments.back() {
            let position = segment.media_at(self.clock.read(now.mono).max(segment.begins));
            flow.enter(segment, entry(track, position), true);
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
        let range = request.range.unwrap_or(NptRange { start: None, end: None });
        let duration = self.title.duration;
        let end = range.end.map_or(duration, |end| if end.plus(END_TOLERANCE) >= duration { duration } else { end });
        if range.start.is_some_and(|start| start > self.title.duration || start < MediaTime::ZERO) {
            return Err(PlaybackError::InvalidRange);
        }
        if range.end.is_some_and(|end| end <= range.start.unwrap_or_default()) {
            return Err(PlaybackError::InvalidRange);
        }
        let fresh = match (range.start, self.segments.is_empty() || self.finished) {
            (Some(start), _) => Some(start),
            (None, true) if self.segments.is_empty() => Some(self.opened_at),
            (None, true) => Some(MediaTime::ZERO),
            (None, false) => None,
        };
        if range.start.is_none() && range.end.is_some() && end <= fresh.unwrap_or_else(|| self.position(now)) {
            return Err(PlaybackError::InvalidRange);
        }
        if let Some(start) = fresh {
            self.jump(start, end, now);
        } else if (range.end.is_some() || self.reached)
            && let Some(segment) = self.segments.back_mut()
        {
            // Without an end it keeps the one that it has, but goes on from there to the title's.
            segment.end = end;
            self.reached = false;
            let segment = *segment;
            for cursor in self.flows.iter_mut().filter_map(|flow| flow.live.as_mut()) {
                cursor.segment = segment;
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
            return Ok(Playing { start: join.start, end: segment.end, scale: 1.0, flows: join.starts.clone() });
        }
        let start = if fresh.is_some() { segment.start } else { position };
        Ok(Playing {
            start,
            end: segment.end,
            scale: 1.0,
            flows: self.flows.iter().map(|flow| live_start(flow, &segment, start)).collect(),
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
            for mut state in flow.branches.drain(..) {
                if let Some(branch) = route.branches.iter().find(|branch| branch.serial == state.branch.serial) {
                    state.branch = *branch;
                    kept.push(state);
                    continue;
                }
                flow.last_lag = state.lag;
                let ended = route.ended.iter().rev().find(|ended| ended.branch.serial == state.branch.serial);
                if ended.is_none_or(|Ended { reason, .. }| reason.says_bye()) {
                    self.farewells.push_back((index, Box::new(state)));
                }
            }
            flow.branches = kept;
            let new = route.branches.iter().filter(|branch| !flow.branches.iter().any(|state| state.branch.serial == branch.serial));
            arrivals.extend(new.map(|branch| (index, *branch)));
        }
        let updates: Vec<UpdateId> = arrivals.iter().map(|(_, branch)| branch.update).collect();
        self.incomplete.retain(|(update, _)| updates.contains(update));
        for update in updates {
            let together: Vec<(usize, Branch)> = arrivals.extract_if(.., |(_, branch)| branch.update == update).collect();
            if self.is_complete(update, &together, routes, now) {
                self.join(update, &together, now);
            }
        }
        if !self.incomplete.is_empty() {
            self.routes.extend_from_slice(routes);
        }
        let bound = !self.incomplete.is_empty() || self.flows.iter().any(|flow| !flow.branches.is_empty());
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

    /// Whether all flows show what an update bound: its routes are published one after the other. It is waited for a
    /// moment only, for a branch may be gone again already.
    fn is_complete(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], routes: &[Arc<Route>], now: Now) -> bool {
        let Some((_, first)) = arrivals.first() else { return false };
        let seen = routes.iter().filter(|route| route.branches.iter().any(|branch| branch.update == update)).count();
        let since = match self.incomplete.iter().find(|(other, _)| *other == update) {
            Some((_, since)) => *since,
            None => now.mono,
        };
        self.incomplete.retain(|(other, _)| *other != update);
        if seen >= first.together || now.mono >= since + TOGETHER {
            return true;
        }
        self.incomplete.push((update, since));
        false
    }

    /// Lets the branches of one update enter, all from the same media time.
    fn join(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], now: Now) {
        let live = self.clock.read(now.mono);
        let running = self.segments.back().is_some() && !self.finished;
        let at_once = arrivals.iter().any(|(_, branch)| branch.join.way == JoinWay::AtOnce);
        let known = self.joins.iter().position(|join| join.update == update);
        let mut point = match known {
            Some(position) => self.joins.remove(position),
            None if running && !at_once => self.join_point(update, arrivals, live),
            None => None,
        };
        for (index, branch) in arrivals {
            let Some(flow) = self.flows.get_mut(*index) else { continue };
            let not_before = match branch.care_of {
                CareOf::Interleaved { .. } => now.mono + INTERLEAVED_DELAY,
                CareOf::Udp { .. } => now.mono,
            };
            let mut lag = Duration::ZERO;
            let mut priming = None;
            if let (Some(point), Some(track)) = (&mut point, self.title.tracks.get(flow.facts.track)) {
                let shown = point.segment.shown_at(point.start);
                if let Some(cursor) = flow.checkpoint(track, &self.segments, shown) {
                    lag = live.since(shown);
                    priming = Some(Priming { cursor, from: point.from, joined: live, rate_milli: branch.join.rate_milli.max(1001) });
                    point.starts.push(FlowStart {
                        home: flow.facts.home,
                        track: flow.facts.track,
                        sequence: (cursor.sequence & 0xffff) as u16,
                        rtptime: flow.timestamp_at(&point.segment, point.start),
                    });
                } else if let Some(cursor) = flow.live {
                    // Nothing of this flow has been sent yet: it begins with what is sent first.
                    lag = live.since(shown);
                    point.starts.push(FlowStart {
                        home: flow.facts.home,
                        track: flow.facts.track,
                        sequence: (cursor.sequence & 0xffff) as u16,
                        rtptime: flow.timestamp_at(&point.segment, point.start),
                    });
                }
            }
            flow.branches.push(BranchState {
                branch: *branch,
                priming,
                not_before,
                came: now.mono,
                lag,
                packets: 0,
                octets: 0,
                report_due: None,
                last_report: None,
                reception: Reception::default(),
                last_sent: now.mono,
                end_told: self.finished,
            });
        }
        if let Some(point) = point {
            self.joins.push_back(point);
            if self.joins.len() > JOINS_KEPT {
                self.joins.pop_front();
            }
        }
    }

    /// The last random access point at or before what the branch that is left shows.
    fn join_point(&self, update: UpdateId, arrivals: &[(usize, Branch)], live: FlowTime) -> Option<JoinPoint> {
        let flows = || arrivals.iter().filter_map(|(index, _)| self.flows.get(*index));
        let lag = |flow: &Flow| {
            let newest = flow.branches.iter().rev().find(|state| state.report_due.is_some() || state.priming.is_some());
            newest.map_or(flow.last_lag, |state| state.lag)
        };
        let lag = flows().map(lag).max().unwrap_or_default();
        let limit = FlowTime(live.0.saturating_sub(i64::try_from(lag.as_nanos()).unwrap_or(i64::MAX)));
        // Pictures decide; sound can start anywhere.
        let leading = flows().find(|flow| self.kind(flow) == Some(MediaKind::Video)).or_else(|| flows().next())?;
        let track = self.title.tracks.get(leading.facts.track)?;
        let cursor = leading.checkpoint(track, &self.segments, limit)?;
        let unit = track.access_unit(cursor.unit)?;
        let start = track.presentation_time(&unit).max(MediaTime::ZERO).max(cursor.segment.start);
        let from = cursor.segment.due_at(track.decode_time(&unit));
        Some(JoinPoint { update, segment: cursor.segment, start, from, starts: Vec::new() })
    }

    fn kind(&self, flow: &Flow) -> Option<MediaKind> {
        self.title.tracks.get(flow.facts.track).map(|track| track.kind)
    }

    /// Begins a new stretch at the random access point at or before `target`.
    fn jump(&mut self, target: MediaTime, end: MediaTime, now: Now) {
        let tracks = |flow: &Flow| self.title.tracks.get(flow.facts.track);
        let leading = self.flows.iter().filter_map(tracks).find(|track| track.kind == MediaKind::Video);
        let start = match leading {
            _ if target <= MediaTime::ZERO => MediaTime::ZERO,
            Some(track) => access_point(track, target).map_or(target, |(_, start)| start),
            // Something is to be heard, also at the very end.
            None => self.flows.iter().filter_map(tracks).filter_map(last_start).max().map_or(target, |last| target.min(last)),
        };
        self.jumps = self.jumps.wrapping_add(1);
        self.begin_segment(start, end, now, true);
        for flow in &mut self.flows {
            flow.last_lag = Duration::ZERO;
            for state in &mut flow.branches {
                // Whoever was still catching up is where all are now.
                state.priming = None;
                state.lag = Duration::ZERO;
            }
        }
        self.joins.clear();
    }

    /// Starts a stretch at `start`: after what was shown, so that timestamps go on without a break.
    fn begin_segment(&mut self, start: MediaTime, end: MediaTime, now: Now, jump: bool) {
        let begins = self.beginning(now);
        let entries: Vec<usize> =
            self.flows.iter().map(|flow| self.title.tracks.get(flow.facts.track).map_or(0, |track| entry(track, start))).collect();
        let decode_times = self.flows.iter().zip(&entries).filter_map(|(flow, unit)| {
            let track = self.title.tracks.get(flow.facts.track)?;
            track.access_unit(*unit).map(|unit| track.decode_time(&unit))
        });
        // An edit list may place much before the beginning; that is sent at once, not waited for.
        let earliest = start.minus(Duration::from_secs(2));
        let send_origin = decode_times.min().unwrap_or(start).clamp(earliest, start);
        let segment = Segment { serial: self.next_segment, begins, start, send_origin, end };
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
        }
        self.reached = false;
        self.finished = false;
        for state in self.flows.iter_mut().flat_map(|flow| &mut flow.branches) {
            state.end_told = false;
        }
    }

    /// Where a new stretch begins: when what was sent has been shown, but soon, however long the last picture was to stay.
    /// Where that would be before a timestamp that has left, the clock is set ahead instead.
    fn beginning(&mut self, now: Now) -> FlowTime {
        let clock = self.clock.read(now.mono);
        let soon = clock.plus(MAX_LEAD);
        let shown_until = self.flows.iter().map(|flow| flow.shown_until).max().unwrap_or_default();
        let shown_from = self.flows.iter().map(|flow| flow.shown_from.plus(Duration::from_millis(1))).max().unwrap_or_default();
        let begins = clock.max(shown_until.min(soon.max(shown_from)).min(soon.plus(MAX_SKIP)));
        self.clock.skip(begins.since(soon), now.mono);
        begins
    }

    fn run(&mut self, now: Now) {
        if matches!(self.phase, Phase::Standing) {
            let waits = self.flows.iter().flat_map(|flow| &flow.branches).any(|state| state.not_before > now.mono);
            self.clock.start(if waits { INTERLEAVED_DELAY } else { Duration::ZERO }, now);
            self.phase = Phase::Running;
        }
    }

    /// The next thing to do; `None` when all is done until [`Presentation::next_deadline`].
    pub fn poll(&mut self, now: Now) -> Option<Work> {
        if let Some((flow, state)) = self.farewells.pop_front() {
            return Some(Work::Bye { flow, state });
        }
        if self.phase == Phase::Over {
            return Some(Work::Ended);
        }
        if let Phase::Unbound(until) = self.phase
            && until <= now.mono
        {
            self.phase = Phase::Over;
            return Some(Work::Ended);
        }
        if self.incomplete.iter().any(|(_, since)| now.mono >= *since + TOGETHER) {
            let routes = std::mem::take(&mut self.routes);
            self.sync(&routes, now);
        }
        if let Some(report) = self.poll_report(now) {
            return Some(report);
        }
        if self.phase != Phase::Running || !self.clock.has_begun(now.mono) {
            return None;
        }
        let live = self.clock.read(now.mono);
        self.settle_primed();
        if let Some(work) = self.poll_priming(live, now) {
            return Some(work);
        }
        if let Some(work) = self.poll_live(live) {
            return Some(work);
        }
        self.poll_end(live, now)
    }

    fn poll_report(&mut self, now: Now) -> Option<Work> {
        for (index, flow) in self.flows.iter_mut().enumerate() {
            for state in &mut flow.branches {
                if state.report_due.is_some_and(|due| due <= now.mono) {
                    state.report_due = Some(now.mono + REPORT_INTERVAL);
                    return Some(Work::Report { flow: index, branch: state.branch.serial });
                }
            }
        }
        None
    }

    /// Branches that have caught up become live.
    fn settle_primed(&mut self) {
        for flow in &mut self.flows {
            for position in 0..flow.branches.len() {
                while let Some(mut priming) = flow.branches[position].priming
                    && flow.is_hole(&priming.cursor)
                {
                    // What the others did not get took no numbers.
                    priming.cursor.unit += 1;
                    flow.branches[position].priming = Some(priming);
                }
                if flow.branches[position].priming.is_some_and(|priming| flow.has_caught_up(&priming.cursor)) {
                    flow.branches[position].priming = None;
                }
            }
        }
    }

    fn poll_priming(&mut self, live: FlowTime, now: Now) -> Option<Work> {
        for (index, flow) in self.flows.iter_mut().enumerate() {
            let Some(track) = self.title.tracks.get(flow.facts.track) else { continue };
            for position in 0..flow.branches.len() {
                let state = &flow.branches[position];
                let Some(mut priming) = state.priming else { continue };
                if state.not_before > now.mono {
                    continue;
                }
                // Over a loop's seam into the next stretch.
                if priming.cursor.access_unit(track).is_none() {
                    let next = self.segments.iter().find(|segment| segment.serial == priming.cursor.segment.serial.wrapping_add(1));
                    let Some(&segment) = next else {
                        // So far behind that the way is forgotten: it goes on with all.
                        if flow.live.is_some_and(|live| live.segment.serial != priming.cursor.segment.serial) {
                            flow.branches[position].priming = None;
                        }
                        continue;
                    };
                    priming.cursor = Cursor { segment, unit: entry(track, segment.start), sequence: priming.cursor.sequence };
                    flow.branches[position].priming = Some(priming);
                }
                let Some(unit) = priming.cursor.access_unit(track) else { continue };
                let due = priming.cursor.segment.due_at(track.decode_time(&unit));
                if due > priming.reach(live) {
                    continue;
                }
                return Some(Work::Unit {
                    flow: index,
                    unit,
                    sequence: (priming.cursor.sequence & 0xffff) as u16,
                    timestamp: flow.timestamp(&priming.cursor.segment, track, &unit),
                    due: now.mono,
                    audience: Audience::Priming(flow.branches[position].branch.serial),
                });
            }
        }
        None
    }

    fn poll_live(&self, live: FlowTime) -> Option<Work> {
        let mut earliest: Option<(FlowTime, usize, Cursor, AccessUnit)> = None;
        for (index, flow) in self.flows.iter().enumerate() {
            let Some(track) = self.title.tracks.get(flow.facts.track) else { continue };
            let Some((cursor, unit)) = flow.live.and_then(|cursor| Some((cursor, cursor.access_unit(track)?))) else { continue };
            let due = cursor.segment.due_at(track.decode_time(&unit));
            if due <= live && earliest.is_none_or(|(best, ..)| due < best) {
                earliest = Some((due, index, cursor, unit));
            }
        }
        let (due, index, cursor, unit) = earliest?;
        let flow = self.flows.get(index)?;
        let track = self.title.tracks.get(flow.facts.track)?;
        Some(Work::Unit {
            flow: index,
            unit,
            sequence: (cursor.sequence & 0xffff) as u16,
            timestamp: flow.timestamp(&cursor.segment, track, &unit),
            due: self.clock.when(due)?,
            audience: Audience::Live,
        })
    }

    /// The end of a stretch: the next round of a loop, or BYE to each branch that has had the last access unit, once that
    /// has been shown. The clock runs on for those that are catching up.
    fn poll_end(&mut self, live: FlowTime, now: Now) -> Option<Work> {
        if self.live_due().is_some() {
            return None;
        }
        let over = self.over_at()?;
        if live < over {
            return None;
        }
        if self.looping {
            let end = self.title.duration;
            self.begin_segment(MediaTime::ZERO, end, now, false);
            return self.poll_live(live);
        }
        self.reached = true;
        self.wanted = false;
        self.finished = self.segments.back().is_some_and(|segment| segment.end >= self.title.duration);
        if self.finished {
            for (index, flow) in self.flows.iter_mut().enumerate() {
                for state in flow.branches.iter_mut().filter(|state| bye_at(state).is_some_and(|at| at <= now.mono)) {
                    state.end_told = true;
                    self.farewells.push_back((index, Box::new(state.clone())));
                    state.report_due = None;
                }
            }
        }
        let is_open = |state: &BranchState| state.priming.is_some() || (self.finished && !state.end_told);
        if !self.flows.iter().flat_map(|flow| &flow.branches).any(is_open) {
            self.clock.stop(now.mono);
            self.phase = Phase::Standing;
        }
        self.farewells.pop_front().map(|(flow, state)| Work::Bye { flow, state })
    }

    /// When the next live access unit is due.
    fn live_due(&self) -> Option<FlowTime> {
        let due = |flow: &Flow| flow.live.and_then(|cursor| cursor.due(self.title.tracks.get(flow.facts.track)?));
        self.flows.iter().filter_map(due).min()
    }

    /// The flow time at which the last access unit of the stretch has been shown.
    fn over_at(&self) -> Option<FlowTime> {
        let segment = self.segments.back()?;
        let last = |flow: &Flow| {
            let (cursor, track) = (flow.live?, self.title.tracks.get(flow.facts.track)?);
            let unit = track.access_unit(cursor.unit.checked_sub(1)?)?;
            Some(segment.due_at(track.decode_time(&unit)).plus(duration(track, &unit)).max(flow.shown_until))
        };
        Some(self.flows.iter().filter_map(last).max().unwrap_or(segment.begins))
    }

    /// An access unit was sent in so many packets and payload octets to the branches that `served` names.
    pub fn sent(&mut self, flow: usize, audience: Audience, packets: u64, octets: u64, served: &[BranchSerial], now: Now) {
        let max_prime = self.settings.max_prime;
        let Some(flow) = self.flows.get_mut(flow) else { return };
        let Some(track) = self.title.tracks.get(flow.facts.track) else { return };
        match audience {
            Audience::Live => flow.advance(track, packets, &self.segments, max_prime),
            Audience::Priming(serial) => {
                if let Some(priming) = flow.branch_mut(serial).and_then(|state| state.priming.as_mut()) {
                    priming.cursor.unit += 1;
                    priming.cursor.sequence += packets;
                }
            }
        }
        for state in flow.branches.iter_mut().filter(|state| served.contains(&state.branch.serial)) {
            state.last_sent = now.mono;
            state.packets += packets;
            state.octets += octets;
            state.report_due.get_or_insert(now.mono);
        }
    }

    /// An access unit cannot be sent (it is broken): goes on behind it.
    pub fn skip(&mut self, flow: usize, audience: Audience, now: Now) {
        self.sent(flow, audience, 0, 0, &[], now);
    }

    /// A priming branch cannot take more just now (its connection is full): it is asked again at `until`.
    pub fn defer(&mut self, flow: usize, serial: BranchSerial, until: Mono) {
        if let Some(state) = self.flows.get_mut(flow).and_then(|flow| flow.branch_mut(serial)) {
            state.not_before = until;
        }
    }

    /// Whether `serial` gets what goes to the live audience.
    pub fn is_live(&self, flow: usize, serial: BranchSerial, now: Now) -> bool {
        let state = self.flows.get(flow).and_then(|flow| flow.branches.iter().find(|state| state.branch.serial == serial));
        state.is_some_and(|state| state.priming.is_none() && (state.not_before <= now.mono || state.packets > 0))
    }

    /// The reading of the flow clock, and the NTP timestamp that belongs to it.
    pub fn report_time(&self, now: Now) -> (FlowTime, u64) {
        let time = self.clock.read(now.mono);
        (time, self.clock.ntp(time))
    }

    /// A flow, to note reports in.
    pub fn flow_mut(&mut self, index: usize) -> Option<&mut Flow> {
        self.flows.get_mut(index)
    }

    /// When it wants to be polled next.
    pub fn next_deadline(&self) -> Option<Mono> {
        if !self.farewells.is_empty() || self.phase == Phase::Over {
            return Some(Mono::default());
        }
        let states = || self.flows.iter().flat_map(|flow| &flow.branches);
        let reports = states().filter_map(|state| state.report_due).min();
        let unbound = match self.phase {
            Phase::Unbound(until) => Some(until),
            _ => None,
        };
        let media = if self.phase == Phase::Running { self.media_deadline() } else { None };
        let incomplete = self.incomplete.iter().map(|(_, since)| *since + TOGETHER).min();
        [reports, unbound, incomplete, media].into_iter().flatten().min()
    }

    fn media_deadline(&self) -> Option<Mono> {
        let live = match self.live_due() {
            Some(due) => Some(due),
            None if self.reached => None,
            None => self.over_at(),
        };
        let live = live.and_then(|time| self.clock.when(time));
        let mut primed: Option<Mono> = None;
        for flow in &self.flows {
            let Some(track) = self.title.tracks.get(flow.facts.track) else { continue };
            for state in &flow.branches {
                let Some(priming) = &state.priming else { continue };
                let due = match priming.cursor.due(track) {
                    Some(due) => priming.reaches(due),
                    None => priming.cursor.segment.begins,
                };
                if let Some(when) = self.clock.when(due) {
                    let when = when.max(state.not_before);
                    primed = Some(primed.map_or(when, |best| best.min(when)));
                }
            }
        }
        let states = || self.flows.iter().flat_map(|flow| &flow.branches);
        let bye = if self.reached && self.finished { states().filter_map(bye_at).min() } else { None };
        [live, primed, bye].into_iter().flatten().min()
    }
}

/// When a branch that has been sent all of a title may be told that it is over; `None` for one that has not, or was told.
fn bye_at(state: &BranchState) -> Option<Mono> {
    (state.priming.is_none() && !state.end_told).then(|| state.last_sent + BEFORE_BYE)
}

/// Where a player that starts at `start` enters a track: pictures at their random access point, sound at the frame that
/// is heard then; all of it at the title's beginning.
fn entry(track: &Track, start: MediaTime) -> usize {
    if start <= MediaTime::ZERO {
        return 0;
    }
    match track.kind {
        MediaKind::Video => access_point(track, start).map_or(0, |(unit, _)| unit),
        MediaKind::Audio | MediaKind::Text => track.first_shown_at(start),
    }
}

fn access_point(track: &Track, at: MediaTime) -> Option<(usize, MediaTime)> {
    let unit = track.random_access_at_or_before(at)?;
    let start = track.access_unit(unit).map(|unit| track.presentation_time(&unit))?;
    Some((unit, start.max(MediaTime::ZERO)))
}

/// When a track's last access unit begins.
fn last_start(track: &Track) -> Option<MediaTime> {
    track.access_unit(track.len().checked_sub(1)?).map(|unit| track.presentation_time(&unit))
}

fn live_start(flow: &Flow, segment: &Segment, start: MediaTime) -> FlowStart {
    FlowStart {
        home: flow.facts.home,
        track: flow.facts.track,
        sequence: (flow.sequence & 0xffff) as u16,
        rtptime: flow.timestamp_at(segment, start),
    }
}

fn branch_snapshot(state: &BranchState, now: Now) -> BranchSnapshot {
    BranchSnapshot {
        branch: state.branch,
        priming: state.priming.is_some(),
        served: now.mono.since(state.came),
        lag: state.lag,
        packets: state.packets,
        octets: state.octets,
        loss_fraction: state.reception.loss_fraction,
        jitter: state.reception.jitter,
        round_trip: state.reception.round_trip,
    }
}
