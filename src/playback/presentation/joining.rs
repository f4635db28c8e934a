//! How branches enter a flow that runs, and what a hand-over came to.
//!
//! *Primed*: from the last random access point shown at or before the live position less the lag of the branch that is
//! left, faster than real time, until it has caught up.
//!
//! *Delayed*: where that point lies more than [`DELAYED_BEYOND`] back, at real time: such a branch stays that much behind,
//! with its own Sender Reports. It is no other than a branch that is primed and never catches up. Players that take bursts
//! are given the first second at once. A rate that was asked for is obeyed however far back the point lies; 1 is real time.
//!
//! *Aligned*: with the next random access point as the branch that is left comes to it, and as far behind as that shows the
//! film, so that nothing comes twice and nothing is missing. Where none comes in time, or nobody is there who is served until
//! then, it is primed. So enters a branch for which the last point lies too far back to be primed; where none comes in time,
//! from that all the same: there is nothing else that could be shown.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Aligned, INTERLEAVED_DELAY, JOINS_KEPT, JoinPoint, Phase, Presentation, TOGETHER, entry};
use crate::now::{Mono, Now};
use crate::playback::clock::FlowTime;
use crate::playback::flow::{BranchState, Cursor, Entry, Flow, Priming, Reception, Segment, Sent};
use crate::playback::scale::View;
use crate::playback::speed::Speed;
use crate::playback::stage::FlowStart;
use crate::quantities::{MediaKind, MediaTime};
use crate::steering::{Branch, BranchSerial, CareOf, Entered, HandedOver, Join, JoinWay, Route, UpdateId};

/// A random access point further back than this is not made up: players lose packets or sound in a long burst.
const DELAYED_BEYOND: Duration = Duration::from_secs(2);
/// Players that take this rate are given [`HEAD_START`] of media at it also where they stay behind: they show nothing before.
const FAST: u16 = 4000;
/// … and take bursts of that length.
const HEAD_START: Duration = Duration::from_secs(1);
/// A random access point of a live title that has not come is looked for again after this.
const LOOK: Duration = Duration::from_millis(10);
/// Real time, in thousandths of it.
const REAL_TIME: u16 = 1000;
/// An aligned branch begins so much before the wait of its predecessor would be over at the latest.
const IN_TIME: Duration = Duration::from_millis(200);

impl Presentation {
    /// Whether all flows show what an update bound: its routes are published one after the other. It is waited for a
    /// moment only, for a branch may be gone again already.
    pub(super) fn is_complete(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], routes: &[Arc<Route>], now: Now) -> bool {
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

    /// Whether an update waits for a random access point of a live title to come, to begin with that: somebody is served until then.
    pub(super) fn defers(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], now: Now) -> bool {
        let since = self.deferred.iter().find(|(other, _)| *other == update).map_or(now.mono, |(_, since)| *since);
        self.deferred.retain(|(other, _)| *other != update);
        let is_aligned = arrivals.iter().any(|(_, branch)| branch.join.way == JoinWay::Aligned);
        let is_known = self.joins.iter().any(|join| join.update == update);
        if !is_aligned || is_known || self.phase != Phase::Running || !self.is_open() {
            return false;
        }
        let flows = || arrivals.iter().filter_map(|(index, _)| self.flows.get(*index));
        let is_served = flows().all(|flow| predecessor(flow, update).is_some());
        let is_late = now.mono >= since + self.settings.max_window.saturating_sub(IN_TIME);
        if !is_served || is_late || self.next_point(update, arrivals, self.clock.read(now.mono), now).is_some() {
            return false;
        }
        self.deferred.push((update, since));
        self.deferred_until = now.mono + LOOK;
        true
    }

    /// Lets the branches of one update enter, all from the same media time.
    pub(super) fn join(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], now: Now) {
        let live = self.clock.read(now.mono);
        let running = self.segments.back().is_some() && !self.is_over();
        let is_asked = |way: JoinWay| arrivals.iter().any(|(_, branch)| branch.join.way == way);
        let end_told = self.is_over();
        let known = self.joins.iter().position(|join| join.update == update);
        let mut point = match known {
            Some(position) => self.joins.remove(position),
            None if !running || is_asked(JoinWay::AtOnce) => None,
            None if is_asked(JoinWay::Aligned) => {
                self.next_point(update, arrivals, live, now).or_else(|| self.join_point(update, arrivals, live))
            }
            None => {
                let point = self.join_point(update, arrivals, live);
                let is_too_far = point.as_ref().is_some_and(|point| live.since(point.from) > self.settings.max_prime);
                let next = if is_too_far { self.next_point(update, arrivals, live, now) } else { None };
                next.or(point)
            }
        };
        let begins_nearer = known.is_none() && point.as_ref().is_some_and(|point| self.begins_nearer(point));
        point = point.filter(|_| !begins_nearer);
        for (index, branch) in arrivals {
            let Some(flow) = self.flows.get_mut(*index) else { continue };
            let mut state = BranchState {
                branch: *branch,
                priming: None,
                awaits: None,
                left_out: None,
                undecided: false,
                promised: None,
                left_by: None,
                succeeded: false,
                entered: Entered::AtOnce,
                behind: Duration::ZERO,
                newest: None,
                not_before: not_before(branch, now),
                came: now.mono,
                lag: Duration::ZERO,
                packets: 0,
                octets: 0,
                report_due: None,
                last_report: None,
                reception: Reception::default(),
                last_sent: now.mono,
                end_told,
            };
            if let (Some(point), Some(view)) = (&mut point, self.pace.view(&self.title, flow.facts.track)) {
                let entry = point.entry(flow, view);
                let cursor = entry.map(|entry| align(&mut state, flow, view, &self.segments, point, &entry, live));
                if state.awaits.is_some() {
                    point.starts.push(point.start_of(flow, cursor.flatten()));
                } else if let Some(cursor) = prime(&mut state, flow, view, &self.segments, point) {
                    point.starts.push(point.start_of(flow, Some(cursor)));
                } else if let Some(cursor) = flow.live {
                    // Nothing of this flow has been sent yet: it begins with what is sent first.
                    state.lag = live.since(point.segment.shown_at(point.start));
                    point.starts.push(point.start_of(flow, Some(cursor)));
                }
            }
            flow.branches.push(state);
        }
        if begins_nearer {
            point = self.begin_nearer(update, arrivals, now);
        }
        if let Some(point) = point {
            self.joins.push_back(point);
            if self.joins.len() > JOINS_KEPT {
                self.joins.pop_front();
            }
        }
    }

    /// Lets the flow clock run at another speed. Who is being caught up goes on from where it is, as fast as it takes it.
    pub(super) fn set_speed(&mut self, speed: Speed, now: Now) {
        let live = self.clock.read(now.mono);
        self.clock.set_speed(speed, now.mono);
        for state in self.flows.iter_mut().flat_map(|flow| &mut flow.branches) {
            let taken = state.branch.join.rate_milli;
            if let Some(priming) = state.priming.as_mut().filter(|priming| priming.rate_milli > REAL_TIME) {
                (priming.from, priming.joined) = (priming.reach(live), live);
                priming.rate_milli = speed.catching_up(taken);
            }
        }
    }

    /// Primes the branches that await a random access point although nobody is served any more until then, or that which
    /// they awaited has turned out to be unreadable.
    pub(super) fn prime_the_waiting(&mut self, now: Now) {
        let is_alone = |flow: &Flow| {
            let waits = |state: &BranchState| flow.is_waiting(state);
            flow.branches.iter().find(|state| waits(state)).filter(|_| flow.branches.iter().all(waits)).map(|state| state.branch.update)
        };
        while let Some(update) = self.flows.iter().find_map(is_alone) {
            self.prime_instead(update, now);
        }
    }

    /// Primes the branches of an update that still await their access units.
    pub(super) fn prime_instead(&mut self, update: UpdateId, now: Now) {
        let live = self.clock.read(now.mono);
        let of_update = |state: &BranchState| state.branch.update == update && state.awaits.is_some();
        let flows = || self.flows.iter().enumerate();
        let waiting: Vec<(usize, Branch)> = flows()
            .flat_map(|(index, flow)| flow.branches.iter().filter(|state| of_update(state)).map(move |state| (index, state.branch)))
            .collect();
        let point = self.join_point(update, &waiting, live);
        for (index, branch) in waiting {
            let Some(flow) = self.flows.get_mut(index) else { continue };
            let Some(position) = flow.branches.iter().position(|state| state.branch.serial == branch.serial) else { continue };
            let mut state = flow.branches.remove(position);
            state.awaits = None;
            state.priming = None;
            state.left_out = None;
            state.undecided = false;
            state.promised = None;
            state.entered = Entered::AtOnce;
            (state.behind, state.lag) = (Duration::ZERO, Duration::ZERO);
            if let (Some(point), Some(view)) = (&point, self.pace.view(&self.title, flow.facts.track)) {
                prime(&mut state, flow, view, &self.segments, point);
            }
            flow.branches.insert(position, state);
        }
        self.joins.retain(|join| join.update != update);
    }

    /// The next random access point, as the branch that is left comes to it, at which all flows of an update can begin.
    fn next_point(&self, update: UpdateId, arrivals: &[(usize, Branch)], live: FlowTime, now: Now) -> Option<JoinPoint> {
        let flows = || arrivals.iter().filter_map(|(index, _)| self.flows.get(*index));
        // Until then somebody else must be served.
        if !flows().all(|flow| predecessor(flow, update).is_some()) {
            return None;
        }
        // Not before the branch that is left has had what lies before.
        let behind = |flow: &Flow| predecessor(flow, update).map(BranchState::delay).unwrap_or_default();
        let delay = flows().map(|flow| lag_of(flow, update).max(behind(flow))).max().unwrap_or_default();
        let wait = arrivals.iter().map(|(_, branch)| not_before(branch, now)).max().unwrap_or(now.mono).since(now.mono);
        let in_flow = |span: Duration| live.plus(self.clock.speed().played_in(span));
        let (earliest, latest) = (in_flow(wait), in_flow(self.settings.max_window.saturating_sub(IN_TIME)));
        let leading = self.leading(arrivals)?;
        let view = self.pace.view(&self.title, leading.facts.track)?;
        let mut cursor = leading.next_of(predecessor(leading, update)?)?;
        while let Some(unit) = cursor.access_unit(view) {
            let from = cursor.segment.due_at(view.decode_time(&unit));
            let begins = from.plus(delay);
            if begins > latest {
                return None;
            }
            // Of a live title it may be due already, and not sent: to nobody, or all flows would not lie as far behind.
            let is_due = begins < earliest;
            if unit.random_access && (!is_due || wait.is_zero() && self.is_open()) {
                let start = view.presentation_time(&unit).max(MediaTime::ZERO).max(cursor.segment.start);
                let aligned = Some(Aligned { track: leading.facts.track, unit: cursor.unit, delay });
                let speed = self.clock.speed();
                let point = JoinPoint { update, segment: cursor.segment, start, from, joined: live, speed, aligned, starts: Vec::new() };
                let is_ahead = |flow: &Flow| {
                    let Some(view) = self.pace.view(&self.title, flow.facts.track) else { return false };
                    let Some(entry) = point.entry(flow, view) else { return false };
                    // Where a range ends between pictures and sound, one of them is not sent. What is live may have yet to come.
                    let is_sent = view.track().is_open() || Cursor { unit: entry.unit, ..cursor }.access_unit(view).is_some();
                    let next = predecessor(flow, update).and_then(|old| flow.next_of(old));
                    let is_late = is_due && flow.is_beyond(&entry);
                    is_sent && !is_late && next.is_some_and(|next| !next.is_beyond(&entry))
                };
                if flows().all(is_ahead) {
                    return Some(point);
                }
            }
            cursor = leading.behind(&cursor, view, 0);
        }
        None
    }

    /// The flow of an update that says where it begins. Pictures decide; sound can start anywhere.
    fn leading(&self, arrivals: &[(usize, Branch)]) -> Option<&Flow> {
        let flows = || arrivals.iter().filter_map(|(index, _)| self.flows.get(*index));
        flows().find(|flow| self.kind(flow) == Some(MediaKind::Video)).or_else(|| flows().next())
    }

    /// The last random access point at or before what the branch that is left shows; of a live title the last one that was sent, where
    /// that is too far behind the source.
    fn join_point(&self, update: UpdateId, arrivals: &[(usize, Branch)], live: FlowTime) -> Option<JoinPoint> {
        let flows = || arrivals.iter().filter_map(|(index, _)| self.flows.get(*index));
        let lag = flows().map(|flow| lag_of(flow, update)).max().unwrap_or_default();
        let limit = live.minus(lag);
        let leading = self.leading(arrivals)?;
        let view = self.pace.view(&self.title, leading.facts.track)?;
        let mut cursor = leading.checkpoint(view, &self.segments, limit)?;
        if cursor.due(view).is_some_and(|due| self.is_far_from_live(due)) {
            cursor = leading.checkpoint(view, &self.segments, live)?;
        }
        let unit = view.access_unit(cursor.unit)?;
        let start = view.presentation_time(&unit).max(MediaTime::ZERO).max(cursor.segment.start);
        let from = cursor.segment.due_at(view.decode_time(&unit));
        let speed = self.clock.speed();
        Some(JoinPoint { update, segment: cursor.segment, start, from, joined: live, speed, aligned: None, starts: Vec::new() })
    }

    fn kind(&self, flow: &Flow) -> Option<MediaKind> {
        self.pace.view(&self.title, flow.facts.track).map(|view| view.kind())
    }
}

impl JoinPoint {
    /// The access unit of a flow that is sent at this point, where that is still to come.
    fn entry(&self, flow: &Flow, view: View<'_>) -> Option<Entry> {
        let Aligned { track: leading, unit, delay } = self.aligned?;
        let unit = if flow.facts.track == leading { unit } else { packet_of(flow, view, entry(view, self.start)) };
        Some(Entry { segment: self.segment.serial, unit, delay })
    }

    /// What the answer to the request says of a flow's first packet, which is under `cursor` or still to come.
    fn start_of(&self, flow: &Flow, cursor: Option<Cursor>) -> FlowStart {
        FlowStart {
            home: flow.facts.home,
            track: flow.facts.track,
            sequence: (cursor.map_or(flow.sequence, |cursor| cursor.sequence) & 0xffff) as u16,
            later: cursor.is_none(),
            rtptime: flow.timestamp_at(&self.segment, self.start),
        }
    }
}

/// The access unit with which the packet begins, or will, that another is in.
fn packet_of(flow: &Flow, view: View<'_>, unit: usize) -> usize {
    match flow.live {
        Some(live) if live.unit == unit => unit,
        _ => view.packet_of(&flow.grouping, unit),
    }
}

/// When a branch may be sent its first packet.
fn not_before(branch: &Branch, now: Now) -> Mono {
    match branch.care_of {
        CareOf::Interleaved { .. } if !branch.join.eager => now.mono + INTERLEAVED_DELAY,
        CareOf::Interleaved { .. } | CareOf::Udp { .. } => now.mono,
    }
}

/// Lets a branch enter at a point that lies back; from where. `None` where nothing of the flow has been sent yet.
fn prime(state: &mut BranchState, flow: &Flow, view: View<'_>, segments: &VecDeque<Segment>, point: &JoinPoint) -> Option<Cursor> {
    let (shown, joined) = (point.segment.shown_at(point.start), point.joined);
    let cursor = flow.checkpoint(view, segments, shown)?;
    // The same for all flows of an update.
    let (rate_milli, delay) = pace(&state.branch.join, joined.since(point.from), point.speed);
    state.entered = if delay.is_zero() { Entered::Primed } else { Entered::Delayed };
    state.behind = delay;
    state.lag = joined.since(shown);
    state.left_out = left_out(&cursor, view);
    state.undecided = view.track().awaits_leading_pictures(cursor.unit);
    // Pictures may have to begin further back than sound that came first.
    let from = cursor.due(view).map_or(point.from, |due| due.min(point.from));
    state.priming = Some(Priming { cursor, from, joined, rate_milli, delay });
    Some(cursor)
}

/// How much faster than the flow a branch is served that begins `back` behind the live position, and how far behind it stays.
pub(super) fn pace(join: &Join, back: Duration, speed: Speed) -> (u16, Duration) {
    let taken = join.rate_milli.max(REAL_TIME);
    let rate = speed.catching_up(taken);
    if taken == REAL_TIME {
        (REAL_TIME, back)
    } else if join.fixed || back <= DELAYED_BEYOND {
        (rate, Duration::ZERO)
    } else if taken >= FAST {
        // While it is sent that much, at its rate, the live position goes on.
        (rate, back.saturating_sub(HEAD_START * u32::from(rate.saturating_sub(REAL_TIME)) / u32::from(rate)))
    } else {
        (REAL_TIME, back)
    }
}

/// The pictures that are left out for a branch that begins under a cursor.
pub(super) fn left_out(cursor: &Cursor, view: View<'_>) -> Option<(u32, Range<usize>)> {
    let units = view.leading_pictures(cursor.unit);
    (!units.is_empty()).then_some((cursor.segment.serial, units))
}

/// Lets a branch await an access unit, unless it is too late for that; where that is known, from where.
fn align(
    state: &mut BranchState,
    flow: &Flow,
    view: View<'_>,
    segments: &VecDeque<Segment>,
    point: &JoinPoint,
    entry: &Entry,
    live: FlowTime,
) -> Option<Cursor> {
    let delay = entry.delay;
    let next = Cursor { segment: point.segment, unit: entry.unit, sequence: flow.sequence };
    let mut cursor = None;
    if flow.is_beyond(entry) {
        let due = flow.due(&next, view)?;
        let unit = next.access_unit(view)?;
        let shown = point.segment.shown_at(view.presentation_time(&unit));
        let sent = flow.checkpoint(view, segments, shown).filter(|sent| sent.is_at(entry))?;
        if due.plus(delay) < live {
            return None;
        }
        state.follow(sent, due, delay);
        cursor = Some(sent);
    }
    state.awaits = Some(*entry);
    state.entered = Entered::Aligned;
    (state.behind, state.lag) = (delay, delay);
    state.left_out = left_out(&next, view);
    state.undecided = view.track().awaits_leading_pictures(next.unit);
    cursor
}

/// The branch that a new one takes over from: of those that leave the one that came last, else the one that came last.
fn predecessor(flow: &Flow, update: UpdateId) -> Option<&BranchState> {
    let served = || flow.branches.iter().rev().filter(|state| state.branch.update != update && !flow.is_waiting(state));
    served().find(|state| state.branch.leaving).or_else(|| served().next())
}

/// How far the branch that a new one takes over from lies behind the live position, or did.
fn lag_of(flow: &Flow, update: UpdateId) -> Duration {
    let begun = |state: &&BranchState| state.report_due.is_some() || state.priming.is_some();
    predecessor(flow, update).filter(begun).map_or(flow.last_lag, |state| state.lag)
}

/// What a hand-over comes to that `new` begins with `first`; `None` where nobody is left.
pub(super) fn hand_over(flow: &mut Flow, new: BranchSerial, first: Option<Sent>) -> Option<HandedOver> {
    let state = flow.branches.iter().find(|state| state.branch.serial == new)?;
    let (entered, lag, update) = (state.entered, state.lag, state.branch.update);
    let left = || flow.branches.iter().filter(|old| old.branch.leaving && old.branch.update < update);
    if left().next().is_none() && flow.left.is_none() {
        return None;
    }
    let newest = left().filter_map(|old| old.newest).max_by_key(|sent| sent.due);
    let newest = newest.or(flow.left.take());
    let (repeated, missing) = match (newest, first) {
        // Between two stretches lies no media time.
        (Some(old), Some(first)) if old.segment != first.segment => (old.due.since(first.due), Duration::ZERO),
        (Some(old), Some(first)) => (old.due.since(first.due), first.due.since(old.until)),
        _ => (Duration::ZERO, Duration::ZERO),
    };
    Some(HandedOver { entered, lag, repeated, missing })
}

impl Sent {
    /// What is under a cursor, as it is sent.
    pub(super) fn of(cursor: &Cursor, flow: &Flow, view: View<'_>) -> Option<Self> {
        let unit = cursor.access_unit(view)?;
        let due = cursor.segment.due_at(view.decode_time(&unit));
        Some(Self { segment: cursor.segment.serial, due, until: due.plus(flow.lasts(cursor, view)) })
    }
}
