//! A live title: what is played arrives meanwhile.
//!
//! A viewer begins with the last random access point that is kept. What has come since then lies before the flow clock, and is sent
//! at the rate that its player takes; then the clock runs a little ([`CUSHION`]) behind the source, so that what comes unevenly leaves evenly. What is
//! not there when it is due is looked for again and again, and sent when it comes: it is not taken for the end, unless the source has
//! ended or is silent for [`PATIENCE`]. Two clocks never run alike: where the source's is found to be ahead or behind, the flow clock is set.
//! Who falls behind what is kept goes on with the last random access point, as after a jump.
//!
//! A device that takes over begins with a random access point that lies back, and is that much further behind than the one before. Where
//! that would be more than [`FAR`], it begins with a nearer one, if there is one: no further back than that, or a group of pictures.

use std::time::Duration;

use super::exact::Beginning;
use super::joining::pace;
use super::{INTERLEAVED_DELAY, JoinPoint, Phase, Presentation, live_start};
use crate::now::{Mono, Now};
use crate::playback::clock::FlowTime;
use crate::playback::flow::{BranchState, Flow, Sent};
use crate::playback::scale::View;
use crate::quantities::{MediaKind, MediaTime};
use crate::steering::{Branch, Entered, UpdateId};

/// So much later than it comes what is live is due.
const CUSHION: Duration = Duration::from_millis(50);
/// Tracks whose newest access units lie further apart do not wait for each other.
const APART: Duration = Duration::from_secs(1);
/// What is due and not there is looked for again after this …
const LOOK: Duration = Duration::from_millis(5);
/// … or after this, where it has been missing for [`APART`].
const LOOK_SELDOM: Duration = Duration::from_millis(50);
/// A source that gives nothing for so long has ended.
const PATIENCE: Duration = Duration::from_secs(15);
/// Leading pictures that are passed over at most: where more are shown before the random access point, the source's times are wrong.
const MAX_LEADING: usize = 32;
/// Who has been away for so long goes on with what is live.
const AWAY: Duration = Duration::from_secs(1);
/// So far behind the source devices take over at most, where random access points are not further apart.
const FAR: Duration = Duration::from_secs(5);
/// The clocks are compared over so long …
const WATCHED: Duration = Duration::from_secs(10);
/// … and may differ by so much beside the cushion.
const DRIFT: i64 = 250_000_000;

/// What a presentation of a live title knows beyond that of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    /// From where on it is caught up with what is live, since when, and at what rate in thousandths.
    catching_up: Option<(FlowTime, FlowTime, u16)>,
    /// How far it is meant to stay behind.
    delay: Duration,
    /// Where it began, until all that is shown before that has passed, and how many more may.
    begun: Option<(u32, usize)>,
    /// When what is not there is looked for again.
    look_at: Option<Mono>,
    /// Since when nothing has been there.
    silent_since: Option<Mono>,
    /// How far the newest access unit lay ahead of the clock: at least and at most, in nanoseconds, since when.
    ahead: Option<(i64, i64, Mono)>,
}

impl Live {
    pub(super) const fn new() -> Self {
        Self { catching_up: None, delay: Duration::ZERO, begun: None, look_at: None, silent_since: None, ahead: None }
    }

    /// The clocks are compared anew.
    pub(super) const fn compare_anew(&mut self) {
        (self.ahead, self.silent_since) = (None, None);
    }

    /// Whether it has yet to be caught up with what is live.
    pub(super) const fn is_catching_up(&self) -> bool {
        self.catching_up.is_some()
    }

    /// The flow clock has been set back.
    pub(super) fn set_back(&mut self, span: Duration) {
        self.delay += span;
        self.catching_up = self.catching_up.map(|(from, joined, rate)| (from, joined.minus(span), rate));
        self.ahead = None;
    }
}

impl Presentation {
    /// Whether what is played arrives meanwhile.
    pub(super) const fn is_live_title(&self) -> bool {
        self.live.is_some()
    }

    /// Whether access units are still to come.
    pub(super) fn is_open(&self) -> bool {
        self.live.is_some() && self.title.tracks.iter().any(crate::library::Track::is_open)
    }

    fn view_of(&self, flow: &Flow) -> Option<View<'_>> {
        self.pace.view(&self.title, flow.facts.track)
    }

    /// The decode time up to which there is something of all flows that are not far behind the others.
    fn newest(&self) -> Option<MediaTime> {
        let last = |flow: &Flow| {
            let view = self.view_of(flow)?;
            view.access_unit(view.len().checked_sub(1)?).map(|unit| view.decode_time(&unit))
        };
        let newest = self.flows.iter().filter_map(last).max()?;
        self.flows.iter().filter_map(last).filter(|at| newest.since(*at) <= APART).min()
    }

    /// With what a live title begins: the last random access point of its pictures, or of what there is.
    fn last_point(&self) -> Option<MediaTime> {
        let views = || self.flows.iter().filter_map(|flow| self.view_of(flow));
        let view = views().find(|view| view.kind() == MediaKind::Video).or_else(|| views().next())?;
        let unit = view.access_unit(view.random_access_for(self.closes_at)?)?;
        Some(view.presentation_time(&unit))
    }

    /// Begins with the last random access point.
    pub(super) fn jump_to_live(&mut self, now: Now) {
        let start = self.last_point().or_else(|| self.newest()).unwrap_or_default();
        self.jump_to(Beginning::plain(start), self.pace.length(), now);
        let Some(segment) = self.segments.back().copied() else { return };
        let begins = segment.begins;
        let reading = self.clock.read(now.mono);
        let edge = self.newest().map_or(begins, |newest| segment.due_at(newest)).minus(CUSHION);
        let staying = self.flows.iter().flat_map(|flow| &flow.branches).filter(|state| !state.branch.leaving);
        let (rate, delay) = staying
            .map(|state| &state.branch.join)
            .map(|join| pace(join, edge.since(begins), self.clock.speed()))
            .reduce(|(rate, delay), (other_rate, other_delay)| (rate.min(other_rate), delay.max(other_delay)))
            .unwrap_or((1000, edge.since(begins)));
        let joined = edge.minus(delay);
        let mut live = Live::new();
        live.delay = delay;
        live.begun = Some((segment.serial, MAX_LEADING));
        if joined > reading {
            self.clock.skip(joined.since(reading), now.mono);
            live.catching_up = Some((begins, joined, rate));
        } else {
            // The first picture is shown in a moment only.
            live.delay += reading.max(begins).since(joined);
        }
        self.live = Some(live);
    }

    /// Whether what is due then lies further behind the source than a device is to begin.
    pub(super) fn is_far_from_live(&self, due: FlowTime) -> bool {
        let edge = || Some(self.segments.back()?.due_at(self.newest()?));
        self.live.is_some() && edge().is_some_and(|edge| edge.since(due) > FAR)
    }

    /// Whether an update that would begin there, too far behind the source, begins anew with the last random access point: it has not
    /// come to that, and nobody is there who stays.
    pub(super) fn begins_nearer(&self, point: &JoinPoint) -> bool {
        self.phase == Phase::Running
            && point.aligned.is_none()
            && self.is_far_from_live(point.from)
            && self.last_point().is_some_and(|last| last > point.start)
            && self.flows.iter().flat_map(|flow| &flow.branches).all(|state| state.branch.leaving)
    }

    /// Begins anew with the last random access point for the branches of an update, which have entered.
    pub(super) fn begin_nearer(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], now: Now) -> Option<JoinPoint> {
        let left: Vec<_> = self.flows.iter().map(|flow| self.left_of(flow)).collect();
        self.skip_to_live("a device takes over", now);
        let segment = *self.segments.back()?;
        for (flow, left) in self.flows.iter_mut().zip(left) {
            // What was left lies before what is begun with, by media time: so the hand-over is told.
            flow.left = left.map(|(at, until)| Sent { segment: segment.serial, due: segment.due_at(at), until: segment.due_at(until) });
            let leaving = flow.branches.iter_mut().filter(|state| state.branch.leaving);
            leaving.for_each(|state| state.newest = flow.left);
        }
        let mut waits = false;
        for state in self.flows.iter_mut().flat_map(|flow| &mut flow.branches).filter(|state| state.branch.update == update) {
            state.entered = Entered::Primed;
            waits |= state.not_before > now.mono;
        }
        if waits {
            self.clock.stop(now.mono);
            self.clock.start(INTERLEAVED_DELAY, now);
        }
        let flows = arrivals.iter().filter_map(|(index, _)| self.flows.get(*index));
        let starts = flows.map(|flow| live_start(flow, &segment, segment.start)).collect();
        let (joined, speed) = (self.clock.read(now.mono), self.clock.speed());
        Some(JoinPoint { update, segment, start: segment.start, from: segment.begins, joined, speed, aligned: None, starts })
    }

    /// The decode times from which and up to which those had media of a flow that a new device takes over from.
    fn left_of(&self, flow: &Flow) -> Option<(MediaTime, MediaTime)> {
        let leaving = flow.branches.iter().filter(|state| state.branch.leaving);
        let sent = leaving.filter_map(|state| state.newest).max_by_key(|sent| sent.due).or(flow.left)?;
        let segment = self.segments.iter().find(|segment| segment.serial == sent.segment)?;
        Some((segment.decoded_at(sent.due), segment.decoded_at(sent.until)))
    }

    /// Those who are left lie behind: where that is too far, they go on with the last random access point, if that is still to come for
    /// them, and all of them are at one place: who lies further behind has not had all numbers before.
    pub(super) fn come_nearer(&mut self, now: Now) {
        let is_elsewhere = |state: &BranchState| state.priming.is_some() || state.awaits.is_some();
        let is_far = self.live.is_some_and(|live| live.delay > FAR) && self.phase == Phase::Running;
        let is_far = is_far && !self.flows.iter().flat_map(|flow| &flow.branches).any(is_elsewhere);
        let ahead = || Some(self.segments.back()?.due_at(self.last_point()?).since(self.clock.read(now.mono)));
        if is_far && ahead().is_some_and(|ahead| ahead >= AWAY) {
            self.skip_to_live("all lie too far behind", now);
        }
    }

    /// With which random access point (stretch and position) pictures are to go on, where that has come.
    pub(super) fn point_ahead(&self) -> Option<(u32, usize)> {
        let next = |flow: &Flow| {
            let view = self.view_of(flow).filter(|view| view.kind() == MediaKind::Video)?;
            let cursor = flow.live?;
            cursor.access_unit(view).filter(|unit| unit.random_access).map(|_| (cursor.segment.serial, cursor.unit))
        };
        self.flows.iter().find_map(next)
    }

    fn skip_to_live(&mut self, why: &str, now: Now) {
        metrics::counter!("flowsteer_live_skips_total").increment(1);
        tracing::info!(title = %self.title.path, session = %self.id, "{why}: it goes on with what is live");
        self.jump_to_live(now);
    }

    /// Up to which flow time media may have been sent.
    pub(super) fn live_reach(&self, reading: FlowTime) -> FlowTime {
        match self.live.and_then(|live| live.catching_up) {
            Some((from, joined, rate)) => {
                let gone = i128::from(reading.0.saturating_sub(joined.0).max(0)) * i128::from(rate) / 1000;
                FlowTime(from.0.saturating_add(i64::try_from(gone).unwrap_or(i64::MAX))).min(reading)
            }
            None => reading,
        }
    }

    /// The reading of the clock at which media of a flow time may leave.
    pub(super) fn live_reaches(&self, due: FlowTime) -> FlowTime {
        match self.live.and_then(|live| live.catching_up) {
            Some((from, joined, rate)) => {
                let gone = due.since(from).as_nanos() * 1000 / u128::from(rate.max(1));
                due.max(FlowTime(joined.0.saturating_add(i64::try_from(gone).unwrap_or(i64::MAX))))
            }
            None => due,
        }
    }

    /// Looks at what has come and what has gone.
    pub(super) fn look_at_source(&mut self, now: Now) {
        let Some(mut live) = self.live else { return };
        let is_gone = |flow: &Flow| flow.live.zip(self.view_of(flow)).is_some_and(|(cursor, view)| cursor.unit < view.track().first());
        if self.flows.iter().any(is_gone) && self.last_point().is_some() {
            self.skip_to_live("what was to be sent is no longer kept", now);
            return;
        }
        for flow in &mut self.flows {
            let Some(view) = self.pace.view(&self.title, flow.facts.track) else { continue };
            let first = view.track().first();
            // So far behind that it is gone: it goes on with all.
            let is_gone = |state: &&mut BranchState| state.priming.is_some_and(|priming| priming.cursor.unit < first);
            flow.branches.iter_mut().filter(is_gone).for_each(BranchState::join_the_live);
            while let Some(cursor) = flow.live
                && let Some((serial, left)) = live.begun.filter(|(serial, _)| *serial == cursor.segment.serial)
                && view.kind() == MediaKind::Video
                && let Some(unit) = cursor.access_unit(view)
                && !unit.random_access
            {
                // Leading pictures of what it began with, which had not all come then.
                if view.presentation_time(&unit) >= cursor.segment.start || left == 0 {
                    live.begun = None;
                    break;
                }
                flow.pass_over(serial, cursor.unit..cursor.unit + 1);
                flow.live = Some(flow.behind(&cursor, view, 0));
                flow.keep_promise();
                live.begun = Some((serial, left - 1));
            }
        }
        let reading = self.clock.read(now.mono);
        if self.live_reach(reading) >= reading {
            live.catching_up = None;
        }
        self.live = Some(live);
        self.compare_clocks(reading, now);
        self.note_silence(now);
    }

    /// Sets the flow clock where the source's runs faster or slower.
    fn compare_clocks(&mut self, reading: FlowTime, now: Now) {
        let (Some(mut live), Some(segment), Some(newest)) = (self.live, self.segments.back(), self.newest()) else { return };
        let is_catching_up =
            live.catching_up.is_some() || self.flows.iter().flat_map(|flow| &flow.branches).any(|state| state.priming.is_some());
        if is_catching_up || live.silent_since.is_some() {
            live.ahead = None;
            self.live = Some(live);
            return;
        }
        let meant = segment.due_at(newest).minus(CUSHION + live.delay);
        let ahead = meant.0.saturating_sub(reading.0);
        let (least, most, since) = live.ahead.unwrap_or((ahead, ahead, now.mono));
        let (least, most) = (least.min(ahead), most.max(ahead));
        live.ahead = Some((least, most, since));
        if now.mono.since(since) >= WATCHED {
            live.ahead = None;
            if least > DRIFT {
                self.clock.skip(Duration::from_nanos(least.unsigned_abs()), now.mono);
            } else if most < -DRIFT {
                self.clock.set_back(Duration::from_nanos(most.unsigned_abs()));
            }
        }
        self.live = Some(live);
    }

    /// Notes where nothing is there, and when it is looked for again.
    fn note_silence(&mut self, now: Now) {
        let is_open = self.is_open();
        let Some(live) = &mut self.live else { return };
        live.look_at = None;
        let mut is_silent = true;
        let mut earliest: Option<FlowTime> = None;
        for flow in &self.flows {
            let Some(view) = self.pace.view(&self.title, flow.facts.track) else { continue };
            let Some(cursor) = flow.live else { continue };
            if cursor.access_unit(view).is_some() {
                is_silent = false;
                continue;
            }
            // It comes when the one before is over, if it comes in time.
            let before = cursor.unit.checked_sub(1).and_then(|unit| view.access_unit(unit));
            let over = before.map(|unit| {
                let end = MediaTime::from_ticks(unit.decode_time.saturating_add(i64::from(unit.duration)), view.track().timescale);
                cursor.segment.due_at(end)
            });
            let over = over.unwrap_or(cursor.segment.begins);
            earliest = Some(earliest.map_or(over, |earliest| earliest.min(over)));
        }
        if !is_silent {
            live.silent_since = None;
        } else if self.phase == Phase::Running {
            live.silent_since.get_or_insert(now.mono);
        }
        if let Some(earliest) = earliest.filter(|_| is_open) {
            let is_long = live.silent_since.is_some_and(|since| now.mono.since(since) >= APART);
            let soon = now.mono + if is_long { LOOK_SELDOM } else { LOOK };
            live.look_at = Some(self.clock.when(earliest).map_or(soon, |when| when.max(soon)));
        }
    }

    /// When what is not there is looked for again.
    pub(super) fn look_at(&self) -> Option<Mono> {
        self.live.and_then(|live| live.look_at)
    }

    /// Whether the source is waited for; where it has been silent for too long, the title ends with what was sent.
    pub(super) fn waits_for_source(&mut self, now: Now) -> bool {
        if !self.is_open() || self.reached {
            return false;
        }
        let is_over = |live: Live| live.silent_since.is_some_and(|since| now.mono.since(since) >= PATIENCE);
        if !self.live.is_some_and(is_over) {
            return true;
        }
        tracing::info!(title = %self.title.path, session = %self.id, "the source is silent: it is not waited for any longer");
        self.close_stretch();
        false
    }

    /// Nothing that comes from now on belongs to what is played.
    fn close_stretch(&mut self) {
        let last = |flow: &Flow| {
            let (view, unit) = (self.view_of(flow)?, flow.live?.unit.checked_sub(1)?);
            view.access_unit(unit).map(|unit| view.decode_time(&unit))
        };
        let end = self.flows.iter().filter_map(last).max().unwrap_or_default().plus(Duration::from_nanos(1));
        let Some(segment) = self.segments.back_mut() else { return };
        segment.end = end;
        let serial = segment.serial;
        for flow in &mut self.flows {
            let priming = flow.branches.iter_mut().filter_map(|state| state.priming.as_mut()).map(|priming| &mut priming.cursor);
            for cursor in flow.live.iter_mut().chain(priming).filter(|cursor| cursor.segment.serial == serial) {
                cursor.segment.end = end;
            }
        }
        self.is_closed = true;
    }

    /// What was paused, or waited for a device, goes on with what is live; whether it was away for so long.
    pub(super) fn has_been_away(&self, now: Now) -> bool {
        let (Some(live), Some(segment), Some(newest)) = (self.live, self.segments.back(), self.newest()) else { return false };
        segment.due_at(newest).minus(live.delay).since(self.clock.read(now.mono)) >= AWAY
    }

    /// Where a live track is entered: with what is there at `start`, or comes next.
    pub(super) fn live_entry(view: View<'_>, start: MediaTime) -> usize {
        match view.kind() {
            MediaKind::Video => view.random_access_for(start).unwrap_or_else(|| view.len()),
            MediaKind::Audio | MediaKind::Text => view.first_shown_at(start),
        }
    }
}
