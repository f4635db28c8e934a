//! How branches enter a flow.

use std::sync::Arc;
use std::time::Duration;

use super::{INTERLEAVED_DELAY, JOINS_KEPT, JoinPoint, Presentation, TOGETHER};
use crate::now::Now;
use crate::playback::clock::FlowTime;
use crate::playback::flow::{BranchState, Flow, Priming, Reception};
use crate::playback::stage::FlowStart;
use crate::quantities::{MediaKind, MediaTime};
use crate::steering::{Branch, CareOf, JoinWay, Route, UpdateId};

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

    /// Lets the branches of one update enter, all from the same media time.
    pub(super) fn join(&mut self, update: UpdateId, arrivals: &[(usize, Branch)], now: Now) {
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
}
