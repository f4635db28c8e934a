//! Who lies behind the live position: when that is all there are, they are the flow.
//!
//! The flow clock is set back, and the live cursors to where the branches are. Their numbers, their timestamps and the lines
//! of their Sender Reports stay what they are; position, seek, pause and the end are those of what is shown, and the file is
//! read once.

use std::time::Duration;

use super::{Phase, Presentation, entry};
use crate::now::Now;
use crate::playback::clock::FlowTime;
use crate::playback::flow::{BranchState, Cursor, Flow};
use crate::playback::scale::View;

/// Who is further from where it should be has a connection that takes nothing: it is left alone.
const SETTLED: Duration = Duration::from_millis(500);

impl Presentation {
    /// Whether the title has ended, also for those who are served behind the others.
    pub(super) fn is_over(&self) -> bool {
        self.finished && !self.flows.iter().flat_map(|flow| &flow.branches).any(BranchState::is_delayed)
    }

    /// How far behind the live position all are that are served; zero where somebody is not.
    pub(super) fn common_delay(&self) -> Duration {
        self.flows.iter().flat_map(|flow| &flow.branches).map(BranchState::delay).min().unwrap_or_default()
    }

    /// Where all branches lie behind, those that do so least become the live ones.
    pub(super) fn follow_those_behind(&mut self, now: Now) {
        let delay = self.common_delay();
        if delay.is_zero() || matches!(self.phase, Phase::Over | Phase::Unbound(_)) {
            return;
        }
        let shown = self.clock.read(now.mono).minus(delay);
        let cursors: Option<Vec<Option<Cursor>>> = self.flows.iter().map(|flow| self.cursor_behind(flow, delay, shown)).collect();
        let Some(cursors) = cursors else { return };
        let mut serials = cursors.iter().flatten().map(|cursor| cursor.segment.serial);
        let Some(serial) = serials.next() else { return };
        if serials.any(|other| other != serial) {
            // Some are over a loop's seam already.
            return;
        }
        let segment = self.segments.iter().find(|segment| segment.serial == serial).copied();
        for (flow, cursor) in self.flows.iter_mut().zip(cursors) {
            match (cursor, segment, self.pace.view(&self.title, flow.facts.track)) {
                (Some(cursor), _, Some(view)) => flow.rewind(cursor, view),
                // Nothing of it has been sent yet: it begins where the others are.
                (None, Some(segment), Some(view)) => {
                    flow.enter(segment, entry(view, segment.media_at(shown.max(segment.begins))), true);
                }
                _ => {}
            }
        }
        self.segments.retain(|segment| serial.wrapping_sub(segment.serial) < u32::MAX / 2);
        self.joins.retain(|join| serial.wrapping_sub(join.segment.serial) < u32::MAX / 2);
        self.next_segment = serial.wrapping_add(1);
        // They come to it at real time.
        self.lead = None;
        self.set_back(delay, now);
        self.wanted |= self.phase == Phase::Running;
        self.reached = false;
        self.finished = false;
        self.settle_primed();
        self.come_nearer(now);
    }

    /// Where the live cursor of a flow is to be put: where those of its branches are that lie least behind, or for want of
    /// branches at what is due then (`Some(None)`: nothing of it has been sent). `None` where they are not at one place.
    fn cursor_behind(&self, flow: &Flow, delay: Duration, shown: FlowTime) -> Option<Option<Cursor>> {
        let view = self.pace.view(&self.title, flow.facts.track)?;
        if flow.branches.is_empty() {
            return Some(flow.checkpoint(view, &self.segments, shown));
        }
        let mut least = flow.branches.iter().filter(|state| state.delay() == delay);
        let first = settled(least.next()?, view, shown)?;
        least.all(|state| settled(state, view, shown) == Some(first)).then_some(Some(first))
    }

    /// Sets the flow clock back. Who lies behind does so by that much less, and nothing changes for it.
    pub(super) fn set_back(&mut self, span: Duration, now: Now) {
        if span.is_zero() {
            return;
        }
        self.clock.set_back(span);
        if let Some(live) = &mut self.live {
            live.set_back(span);
        }
        for join in &mut self.joins {
            join.joined = join.joined.minus(span);
        }
        for flow in &mut self.flows {
            flow.last_lag = flow.last_lag.saturating_sub(span);
            for state in &mut flow.branches {
                if state.behind < span {
                    // Its reports lie on another line now: those of its flows change together.
                    state.report_due = state.report_due.map(|_| now.mono);
                }
                state.behind = state.behind.saturating_sub(span);
                state.lag = state.lag.saturating_sub(span);
                if let Some(priming) = &mut state.priming {
                    priming.joined = priming.joined.minus(span);
                    priming.delay = priming.delay.saturating_sub(span);
                }
                if let Some(entry) = &mut state.awaits {
                    entry.delay = entry.delay.saturating_sub(span);
                }
            }
        }
    }
}

/// Where a branch is that has come to its place behind the live position.
fn settled(state: &BranchState, view: View<'_>, shown: FlowTime) -> Option<Cursor> {
    let cursor = state.priming.filter(|_| state.awaits.is_none()).map(|priming| priming.cursor)?;
    let due = cursor.due(view)?;
    (due.plus(SETTLED) >= shown && !state.priming.is_some_and(|priming| priming.is_making_up(shown.plus(priming.delay)))).then_some(cursor)
}
