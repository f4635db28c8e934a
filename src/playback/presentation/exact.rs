//! Starts at the very position that was asked for: sound with the frame that is heard then, pictures with their random access point
//! before it.
//!
//! The stretch begins at the position: it is what `Range` tells, and what the clock comes to in the end. The pictures before it are a
//! *lead*: they are sent faster than real time, so fast as the players that are bound take it, and have the timestamps of the time before. From the position
//! on all goes on at real time, and nothing is left to be made up.

use std::time::Duration;

use super::{Presentation, access_point};
use crate::playback::clock::FlowTime;
use crate::playback::flow::{Flow, Segment};
use crate::playback::scale::View;
use crate::quantities::{MediaKind, MediaTime};
use crate::steering::Join;

/// As fast as the flow, in thousandths.
const REAL_TIME: u16 = 1000;

/// Where a stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// What is told: nothing is heard before.
    pub start: MediaTime,
    /// The position by which each flow's first access unit is chosen.
    pub at: MediaTime,
    /// When what is sent first is shown: no later than `start`.
    pub from: MediaTime,
    /// How much faster than the flow what is shown before `start` is sent, in thousandths.
    pub rate_milli: u16,
}

impl Beginning {
    /// With nothing before it.
    pub const fn plain(start: MediaTime) -> Self {
        Self { start, at: start, from: start, rate_milli: REAL_TIME }
    }

    /// How much is sent ahead.
    pub fn lead(&self) -> Duration {
        self.start.since(self.from)
    }

    /// How much less time that takes than it lasts.
    pub fn gain(&self) -> Duration {
        self.lead().saturating_sub(faster(self.lead(), self.rate_milli))
    }
}

/// The pictures that are sent ahead of a stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    /// The serial number of the stretch.
    segment: u32,
    /// When it begins.
    begins: FlowTime,
    rate_milli: u16,
}

impl Lead {
    /// That of a stretch which begins so; `None` where nothing is sent ahead.
    pub fn of(segment: &Segment, beginning: &Beginning) -> Option<Self> {
        let is_plain = beginning.lead().is_zero();
        (!is_plain).then_some(Self { segment: segment.serial, begins: segment.begins, rate_milli: beginning.rate_milli })
    }

    /// When something of a stretch leaves that would be due at `due` at real time.
    fn leaves(&self, segment: u32, due: FlowTime) -> FlowTime {
        let ahead = self.begins.since(due);
        if segment != self.segment || ahead.is_zero() { due } else { self.begins.minus(faster(ahead, self.rate_milli)) }
    }

    /// How far what is sent at a flow time lies behind that.
    fn behind(&self, live: FlowTime) -> Duration {
        let left = self.begins.since(live);
        (left.saturating_mul(u32::from(self.rate_milli)) / u32::from(REAL_TIME)).saturating_sub(left)
    }
}

impl Presentation {
    /// How a stretch begins that is to begin exactly at `target`. `None` where there is no sound then, where the random access point lies
    /// further back than branches are primed, or where they are not to be sent anything faster than real time.
    pub(super) fn exact_beginning(&self, target: MediaTime) -> Option<Beginning> {
        if target <= MediaTime::ZERO || !self.pace.scale().is_normal() {
            return None;
        }
        let views = || self.flows.iter().filter_map(|flow| self.pace.view(&self.title, flow.facts.track));
        let heard = views().filter(|view| view.kind() == MediaKind::Audio).filter_map(|view| frame_at(view, target)).min()?;
        let start = heard.clamp(MediaTime::ZERO, target);
        let pictures = views().find(|view| view.kind() == MediaKind::Video);
        let from = match pictures {
            Some(view) => access_point(view, target).map_or(start, |(_, shown)| shown.min(start)),
            None => start,
        };
        let rates = self.flows.iter().flat_map(|flow| &flow.branches).map(|state| state.branch.join.rate_milli);
        let taken = rates.min().unwrap_or(Join::default().rate_milli);
        let beginning = Beginning { start, at: target, from, rate_milli: self.clock.speed().catching_up(taken) };
        let lead = beginning.lead();
        (lead.is_zero() || (lead <= self.settings.max_prime && taken > REAL_TIME)).then_some(beginning)
    }

    /// Whether to go on is as good as a seek to `target`: no random access point lies between.
    pub(super) fn leads_on_to(&self, target: MediaTime, position: MediaTime) -> bool {
        let views = self.flows.iter().filter_map(|flow| self.pace.view(&self.title, flow.facts.track));
        let mut pictures = views.filter(|view| view.kind() == MediaKind::Video);
        position <= target && pictures.next().and_then(|view| access_point(view, target)).is_some_and(|(_, shown)| shown <= position)
    }

    /// When the access unit under the live cursor of a flow is to leave.
    pub(super) fn live_leaves(&self, flow: &Flow, view: View<'_>) -> Option<FlowTime> {
        let cursor = flow.live?;
        let due = flow.due(&cursor, view)?;
        Some(self.lead.map_or(due, |lead| lead.leaves(cursor.segment.serial, due)))
    }

    /// How far what is sent now lies behind the live position.
    pub(super) fn behind_in_lead(&self, live: FlowTime) -> Duration {
        self.lead.map_or(Duration::ZERO, |lead| lead.behind(live))
    }
}

/// When the frame begins that is heard at `at`.
fn frame_at(view: View<'_>, at: MediaTime) -> Option<MediaTime> {
    view.access_unit(view.first_shown_at(at)).map(|unit| view.presentation_time(&unit))
}

/// How long something takes at a rate.
fn faster(span: Duration, rate_milli: u16) -> Duration {
    span.saturating_mul(u32::from(REAL_TIME)) / u32::from(rate_milli.max(REAL_TIME))
}
