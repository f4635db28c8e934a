//! What is to be done when: the media that are due, those that new branches are caught up with, reports, BYE.

use std::time::Duration;

use smallvec::SmallVec;

use super::exact::Beginning;
use super::joining::{hand_over, left_out};
use super::{
    Audience, BEFORE_BYE, BEFORE_INTERLEAVED_BYE, CATCHING_UP_REPORT_INTERVAL, Phase, Presentation, REPORT_INTERVAL, REPORTS_TOGETHER,
    TOGETHER, Work, entry,
};
use crate::library::AccessUnit;
use crate::now::{Mono, Now};
use crate::playback::clock::FlowTime;
use crate::playback::flow::{BranchState, Cursor, Flow, Priming, Sent, duration};
use crate::steering::{BranchSerial, CareOf, HandedOver, UpdateId};

/// So long a branch waits at most for the leading pictures of what it begins with, from when that is due …
const LEADING_WAIT: Duration = Duration::from_millis(500);
/// … and so often it is looked for them.
const LEADING_LOOK: Duration = Duration::from_millis(5);

impl Presentation {
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
        // What comes late leaves at once: it is looked at before.
        let point = if self.deferred.is_empty() { None } else { self.point_ahead() };
        let is_new = point.is_some() && point != self.looked_at;
        if !self.deferred.is_empty() && (now.mono >= self.deferred_until || is_new) {
            self.looked_at = point;
            let routes = std::mem::take(&mut self.routes);
            self.sync(&routes, now);
        }
        if let Some(report) = self.poll_report(now) {
            return Some(report);
        }
        if self.phase != Phase::Running || !self.clock.has_begun(now.mono) {
            return None;
        }
        self.look_at_source(now);
        let live = self.clock.read(now.mono);
        self.settle_primed();
        self.flows.iter_mut().for_each(|flow| flow.note_succeeded(now.mono));
        self.follow_those_behind(now);
        let live = self.clock.read(now.mono).min(live);
        if let Some(work) = self.poll_priming(live, now) {
            return Some(work);
        }
        if let Some(work) = self.poll_live(self.live_reach(live)) {
            return Some(work);
        }
        self.poll_end(live, now)
    }

    fn poll_report(&mut self, now: Now) -> Option<Work> {
        let all_catch_up = self.live.is_some_and(|live| live.is_catching_up());
        for (index, flow) in self.flows.iter_mut().enumerate() {
            for state in &mut flow.branches {
                if state.report_due.is_some_and(|due| due <= now.mono) {
                    let catches_up = state.priming.map_or(all_catch_up, |priming| !priming.is_delayed());
                    state.report_due = Some(now.mono + if catches_up { CATCHING_UP_REPORT_INTERVAL } else { REPORT_INTERVAL });
                    let (branch, came) = (state.branch.serial, state.came);
                    self.hasten_reports(came, now);
                    return Some(Work::Report { flow: index, branch });
                }
            }
        }
        None
    }

    /// Lets the reports of branches that came together with one whose report is due go together with that: GStreamer compares what it
    /// makes of each with what it made of those of the other flows before, and shows nothing for a second if pictures come between
    /// them while its clocks still move.
    fn hasten_reports(&mut self, came: Mono, now: Now) {
        let is_near = |at: Mono| at.since(came).max(came.since(at)) < REPORTS_TOGETHER;
        for state in self.flows.iter_mut().flat_map(|flow| &mut flow.branches).filter(|state| is_near(state.came)) {
            state.report_due = state.report_due.map(|due| if due <= now.mono + REPORTS_TOGETHER { due.min(now.mono) } else { due });
        }
    }

    /// Notes that a branch was sent numbers ahead in place of what is left out for it behind the random access point that is next for an
    /// audience, up to `sequence`.
    pub fn promise(&mut self, flow: usize, audience: Audience, serial: BranchSerial, packets: u64) {
        let Some(flow) = self.flows.get_mut(flow) else { return };
        let Some(state) = flow.branches.iter().find(|state| state.branch.serial == serial) else { return };
        let (Some(next), Some((segment, units))) = (next_for(flow, state, audience), state.left_out.clone()) else { return };
        flow.promise(segment, units.end, next.sequence + packets);
        if let (Audience::Priming(_), Some(state)) = (audience, flow.branch_mut(serial)) {
            state.promised = Some((segment, units.end, next.sequence + packets));
        }
    }

    /// Branches that have caught up become live.
    pub(super) fn settle_primed(&mut self) {
        let is_open = self.is_open() && !self.is_closed;
        for flow in &mut self.flows {
            let Some(view) = self.pace.view(&self.title, flow.facts.track) else { continue };
            while let Some(live) = flow.live.filter(|live| flow.is_hole(live)) {
                // What nobody is sent.
                flow.live = Some(flow.behind(&live, view, 0));
                flow.keep_promise();
            }
            for position in 0..flow.branches.len() {
                while let Some(mut priming) = flow.branches[position].priming
                    && flow.is_hole(&priming.cursor)
                {
                    // What the others did not get took no numbers.
                    priming.cursor = flow.behind(&priming.cursor, view, 0);
                    flow.branches[position].priming = Some(priming);
                    flow.branches[position].keep_promise();
                }
                // Who is delayed waits at the live cursor where an access unit lasts longer than its delay; not at the end.
                let has_ended = !self.looping && !is_open && flow.live.is_some_and(|live| live.access_unit(view).is_none());
                let settles = |priming: Priming| flow.has_caught_up(&priming.cursor) && (has_ended || !priming.is_delayed());
                if flow.branches[position].priming.is_some_and(settles) {
                    flow.branches[position].priming = None;
                }
            }
        }
    }

    fn poll_priming(&mut self, live: FlowTime, now: Now) -> Option<Work> {
        for (index, flow) in self.flows.iter_mut().enumerate() {
            let Some(view) = self.pace.view(&self.title, flow.facts.track) else { continue };
            for position in 0..flow.branches.len() {
                let state = &flow.branches[position];
                let Some(mut priming) = state.priming else { continue };
                if state.not_before > now.mono {
                    continue;
                }
                // Over a loop's seam into the next stretch.
                if priming.cursor.access_unit(view).is_none() {
                    let next = self.segments.iter().find(|segment| segment.serial == priming.cursor.segment.serial.wrapping_add(1));
                    let Some(&segment) = next else {
                        // So far behind that the way is forgotten: it goes on with all.
                        if flow.live.is_some_and(|live| live.segment.serial != priming.cursor.segment.serial) {
                            flow.branches[position].join_the_live();
                        }
                        continue;
                    };
                    priming.cursor = Cursor { segment, unit: entry(view, segment.start), sequence: priming.cursor.sequence };
                    flow.branches[position].priming = Some(priming);
                }
                let Some(unit) = priming.cursor.access_unit(view) else { continue };
                let Some(due) = flow.due(&priming.cursor, view) else { continue };
                if due > priming.reach(live) || is_over(flow, &flow.branches[position], self.clock.when(priming.reaches(due))) {
                    continue;
                }
                let state = &mut flow.branches[position];
                if state.undecided {
                    let awaits = view.track().awaits_leading_pictures(priming.cursor.unit) && live.since(due) < LEADING_WAIT;
                    if awaits {
                        state.not_before = now.mono + LEADING_LOOK;
                        continue;
                    }
                    state.undecided = false;
                    state.left_out = left_out(&priming.cursor, view);
                }
                return Some(Work::Unit {
                    flow: index,
                    unit,
                    second: view.second(&flow.grouping, priming.cursor.unit),
                    sequence: (priming.cursor.sequence & 0xffff) as u16,
                    timestamp: flow.timestamp(&priming.cursor.segment, view, &unit),
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
            let Some(view) = self.pace.view(&self.title, flow.facts.track) else { continue };
            let Some((cursor, unit)) = flow.live.and_then(|cursor| Some((cursor, cursor.access_unit(view)?))) else { continue };
            let Some(due) = self.live_leaves(flow, view) else { continue };
            if due <= live && earliest.is_none_or(|(best, ..)| due < best) {
                earliest = Some((due, index, cursor, unit));
            }
        }
        let (due, index, cursor, unit) = earliest?;
        let flow = self.flows.get(index)?;
        let view = self.pace.view(&self.title, flow.facts.track)?;
        Some(Work::Unit {
            flow: index,
            unit,
            second: view.second(&flow.grouping, cursor.unit),
            sequence: (cursor.sequence & 0xffff) as u16,
            timestamp: flow.timestamp(&cursor.segment, view, &unit),
            // How late what is live leaves is its source's matter.
            due: self.clock.when(if self.is_live_title() { due.max(live) } else { due })?,
            audience: Audience::Live,
        })
    }

    /// The end of a stretch: the next round of a loop, or BYE to each branch that has had the last access unit, once that
    /// has been shown. The clock runs on for those that are catching up.
    fn poll_end(&mut self, live: FlowTime, now: Now) -> Option<Work> {
        if self.live_due().is_some() || self.waits_for_source(now) {
            return None;
        }
        let over = self.over_at()?;
        if live < over {
            return None;
        }
        if self.looping {
            self.begin_segment(Beginning::plain(self.loop_start()), self.pace.length(), now, false);
            return self.poll_live(live);
        }
        self.reached = true;
        self.wanted = false;
        self.finished = self.is_closed || self.segments.back().is_some_and(|segment| segment.end >= self.pace.length());
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
        let due = |flow: &Flow| self.live_leaves(flow, self.pace.view(&self.title, flow.facts.track)?);
        self.flows.iter().filter_map(due).min()
    }

    /// The flow time at which the last access unit of the stretch has been shown.
    pub(super) fn over_at(&self) -> Option<FlowTime> {
        let segment = self.segments.back()?;
        let last = |flow: &Flow| {
            let (cursor, view) = (flow.live?, self.pace.view(&self.title, flow.facts.track)?);
            let unit = view.access_unit(cursor.unit.checked_sub(1)?)?;
            Some(segment.due_at(view.decode_time(&unit)).plus(duration(view.track(), &unit)).max(flow.shown_until))
        };
        Some(self.flows.iter().filter_map(last).max().unwrap_or(segment.begins))
    }

    /// An access unit was sent in so many packets and payload octets to the branches that `served` names.
    pub fn sent(&mut self, flow: usize, audience: Audience, packets: u64, octets: u64, served: &[BranchSerial], now: Now) {
        let max_prime = self.settings.max_prime;
        let index = flow;
        let Some(flow) = self.flows.get_mut(flow) else { return };
        let Some(view) = self.pace.view(&self.title, flow.facts.track) else { return };
        let cursor = match audience {
            Audience::Live => flow.live,
            Audience::Priming(serial) => flow.branch_mut(serial).and_then(|state| state.priming).map(|priming| priming.cursor),
        };
        let unit = cursor.and_then(|cursor| Sent::of(&cursor, flow, view));
        let fresh =
            |flow: &Flow, serial: BranchSerial| flow.branches.iter().any(|state| state.branch.serial == serial && state.packets == 0);
        for serial in served {
            if packets > 0
                && fresh(flow, *serial)
                && let Some(outcome) = hand_over(flow, *serial, unit)
            {
                self.handed_over.push_back((index, *serial, outcome));
            }
        }
        let mut spoilt: SmallVec<[UpdateId; 2]> = SmallVec::new();
        let due = cursor.and_then(|cursor| cursor.due(view));
        if let (Audience::Live, Some(cursor), Some(due)) = (audience, cursor, due) {
            for state in flow.branches.iter_mut().filter(|state| state.priming.is_none()) {
                match state.awaits.filter(|entry| cursor.is_at(entry)) {
                    // An access unit that cannot be read is none to begin with.
                    Some(_) if packets == 0 => spoilt.push(state.branch.update),
                    // Its numbers are known now.
                    Some(entry) if !entry.delay.is_zero() => state.follow(cursor, due, entry.delay),
                    // It waits for what leads that, and then has what has come since.
                    Some(_) if state.undecided => state.follow(cursor, due, Duration::ZERO),
                    _ => {}
                }
            }
        }
        match audience {
            Audience::Live => flow.advance(view, packets, &self.segments, max_prime),
            Audience::Priming(serial) => {
                let behind = cursor.map(|cursor| flow.behind(&cursor, view, packets));
                if let (Some(state), Some(behind)) = (flow.branch_mut(serial), behind) {
                    if let Some(priming) = &mut state.priming {
                        priming.cursor = behind;
                    }
                    state.keep_promise();
                }
            }
        }
        for state in flow.branches.iter_mut().filter(|state| served.contains(&state.branch.serial)) {
            state.last_sent = now.mono;
            state.packets += packets;
            state.octets += octets;
            state.awaits = None;
            state.newest = unit.or(state.newest);
            state.report_due.get_or_insert(now.mono);
        }
        for update in spoilt {
            self.prime_instead(update, now);
        }
    }

    /// What the next hand-over came to that has not been told yet: the flow, its new branch, and the outcome.
    pub fn take_handed_over(&mut self) -> Option<(usize, BranchSerial, HandedOver)> {
        self.handed_over.pop_front()
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
        let Some(flow) = self.flows.get(flow) else { return false };
        let Some(state) = flow.branches.iter().find(|state| state.branch.serial == serial) else { return false };
        state.priming.is_none()
            && !(state.undecided && state.awaits.is_some())
            && (state.not_before <= now.mono || state.packets > 0)
            && !flow.is_waiting(state)
            && !flow.live.is_some_and(|live| state.leaves_out(&live))
            && !flow.is_succeeded(state, now.mono)
    }

    /// Whether `serial` gets what is next for an audience.
    pub fn is_for(&self, flow: usize, audience: Audience, serial: BranchSerial, now: Now) -> bool {
        match audience {
            Audience::Live => self.is_live(flow, serial, now),
            Audience::Priming(only) => only == serial && !self.leaves_out(flow, audience, serial),
        }
    }

    /// Whether `serial` is not sent what is next for an audience although it is one of them: it has not had what that refers to.
    pub fn leaves_out(&self, flow: usize, audience: Audience, serial: BranchSerial) -> bool {
        let Some(flow) = self.flows.get(flow) else { return false };
        let Some(state) = flow.branches.iter().find(|state| state.branch.serial == serial) else { return false };
        next_for(flow, state, audience).is_some_and(|next| state.leaves_out(&next))
    }

    /// What `serial` is not sent of what bears numbers right behind the random access point that is next for an audience.
    pub fn left_out_behind(&self, flow: usize, audience: Audience, serial: BranchSerial) -> SmallVec<[AccessUnit; 8]> {
        let mut units = SmallVec::new();
        let Some(flow) = self.flows.get(flow) else { return units };
        let Some(view) = self.pace.view(&self.title, flow.facts.track) else { return units };
        let Some(state) = flow.branches.iter().find(|state| state.branch.serial == serial) else { return units };
        let Some(next) = next_for(flow, state, audience) else { return units };
        if let Some((segment, left_out)) = &state.left_out
            && *segment == next.segment.serial
            && left_out.start == next.unit + 1
        {
            let cursors = left_out.clone().map(|unit| Cursor { unit, ..next }).filter(|cursor| !flow.is_hole(cursor));
            units.extend(cursors.filter_map(|cursor| cursor.access_unit(view)));
        }
        units
    }

    /// `serial`, which lost a picture, goes on with the random access point that is next for an audience: not with what leads that.
    pub fn begin_anew(&mut self, flow: usize, audience: Audience, serial: BranchSerial) {
        let Some(flow) = self.flows.get_mut(flow) else { return };
        let Some(view) = self.pace.view(&self.title, flow.facts.track) else { return };
        let state = flow.branches.iter().find(|state| state.branch.serial == serial);
        let Some(next) = state.and_then(|state| next_for(flow, state, audience)) else { return };
        if let (Some(state), Some(units)) = (flow.branch_mut(serial), left_out(&next, view)) {
            state.left_out = Some(units);
        }
    }

    /// What a Sender Report of a branch says: the flow time of what it is sent, and the NTP timestamp that belongs to that. Where it
    /// has yet to catch up both lie as far back: GStreamer ignores reports about what lies more than a second ahead of the
    /// newest packet.
    pub fn report_point(&self, flow: &Flow, state: &BranchState, now: Now) -> (FlowTime, u64) {
        let live = self.clock.read(now.mono);
        let view = self.pace.view(&self.title, flow.facts.track);
        let next = |priming: &Priming| view.and_then(|view| flow.due(&priming.cursor, view));
        let reach = |priming: Priming| next(&priming).map_or(priming.reach(live), |next| next.min(priming.reach(live)));
        let to_make_up = |priming: Priming| live.minus(state.behind).since(reach(priming));
        let reached = || self.live_reach(live).minus(self.behind_in_lead(live));
        let point = state.priming.map_or_else(reached, |priming| live.minus(to_make_up(priming)));
        // A branch that is behind is sent at this time what was live then.
        (point.minus(state.behind), self.clock.ntp(point))
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
        let deferred = (!self.deferred.is_empty()).then_some(self.deferred_until);
        [reports, unbound, incomplete, deferred, media].into_iter().flatten().min()
    }

    fn media_deadline(&self) -> Option<Mono> {
        let live = match self.live_due() {
            Some(due) => Some(self.live_reaches(due)),
            None if self.reached || self.look_at().is_some() => None,
            None => self.over_at(),
        };
        let live = live.and_then(|time| self.clock.when(time));
        let mut primed: Option<Mono> = None;
        for flow in &self.flows {
            let Some(view) = self.pace.view(&self.title, flow.facts.track) else { continue };
            for state in &flow.branches {
                let Some(priming) = &state.priming else { continue };
                let due = match flow.due(&priming.cursor, view) {
                    Some(due) => priming.reaches(due),
                    // A loop's next round may not have begun.
                    None if self.segments.back().is_some_and(|last| last.serial == priming.cursor.segment.serial) => continue,
                    None => priming.cursor.segment.begins,
                };
                if let Some(when) = self.clock.when(due).filter(|when| !is_over(flow, state, Some(*when))) {
                    let when = when.max(state.not_before);
                    primed = Some(primed.map_or(when, |best| best.min(when)));
                }
            }
        }
        let states = || self.flows.iter().flat_map(|flow| &flow.branches);
        let is_ended = self.reached && self.finished && self.live_due().is_none();
        let bye = if is_ended { states().filter_map(bye_at).min() } else { None };
        let look_at = if self.reached { None } else { self.look_at() };
        [live, primed, bye, look_at].into_iter().flatten().min()
    }
}

/// Whether another has taken over from a branch by the time at which its next access unit is due.
fn is_over(flow: &Flow, state: &BranchState, due: Option<Mono>) -> bool {
    state.succeeded || flow.succeeded_at(state).is_some_and(|at| due.is_none_or(|due| at <= due))
}

/// When a branch that has been sent all of a title may be told that it is over; `None` for one that has not, or was told.
fn bye_at(state: &BranchState) -> Option<Mono> {
    let pause = match state.branch.care_of {
        CareOf::Udp { .. } => BEFORE_BYE,
        CareOf::Interleaved { .. } => BEFORE_INTERLEAVED_BYE,
    };
    (state.priming.is_none() && !state.end_told).then(|| state.last_sent + pause)
}

/// What is next for an audience, where a branch is of it.
fn next_for(flow: &Flow, state: &BranchState, audience: Audience) -> Option<Cursor> {
    match audience {
        Audience::Live => flow.live.filter(|_| state.priming.is_none()),
        Audience::Priming(only) => state.priming.filter(|_| only == state.branch.serial).map(|priming| priming.cursor),
    }
}
