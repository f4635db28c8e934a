//! One track being played: its RTP identity, the point up to which it was sent, and its branches.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::library::{AccessUnit, Codec, Track};
use crate::now::Mono;
use crate::payload::grouping::Grouping;
use crate::playback::checkpoints::{Checkpoint, Checkpoints};
use crate::playback::clock::FlowTime;
use crate::playback::scale::View;
use crate::playback::stage::FlowFacts;
use crate::quantities::MediaTime;
use crate::steering::{Branch, Entered, UpdateId};

/// How many access units that could not be sent a flow remembers at most.
const HOLES: usize = 64;
/// Of so many access units one may be shown last that was not sent last.
const REORDERED: usize = 32;

/// What is drawn at random for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowIdentity {
    /// The first sequence number.
    pub sequence: u16,
    /// The RTP timestamp at flow time zero.
    pub timestamp: u32,
}

/// A stretch of the title played without a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Counts the stretches of a presentation.
    pub serial: u32,
    /// The flow time of its first picture.
    pub begins: FlowTime,
    /// The media time of its first picture, as told in `Range`.
    pub start: MediaTime,
    /// The earliest decode time in it: what is sent first.
    pub send_origin: MediaTime,
    /// Where it ends.
    pub end: MediaTime,
}

impl Segment {
    /// The flow time at which a media time of this stretch is shown.
    pub fn shown_at(&self, at: MediaTime) -> FlowTime {
        FlowTime(self.begins.0.saturating_add(at.as_nanos().saturating_sub(self.start.as_nanos())))
    }

    /// The flow time at which an access unit of that decode time is due.
    pub fn due_at(&self, decode_time: MediaTime) -> FlowTime {
        FlowTime(self.begins.0.saturating_add(decode_time.as_nanos().saturating_sub(self.send_origin.as_nanos())))
    }

    /// The decode time of an access unit of this stretch that is due at a flow time.
    pub fn decoded_at(&self, due: FlowTime) -> MediaTime {
        MediaTime::from_nanos(self.send_origin.as_nanos().saturating_add(due.0.saturating_sub(self.begins.0)))
    }

    /// The media time shown at a flow time.
    pub fn media_at(&self, time: FlowTime) -> MediaTime {
        MediaTime::from_nanos(self.start.as_nanos().saturating_add(time.0.saturating_sub(self.begins.0)))
    }
}

/// The next access unit to send, and the sequence number of its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The stretch it is in.
    pub segment: Segment,
    /// The access unit's position in the track.
    pub unit: usize,
    /// The extended sequence number of its first packet.
    pub sequence: u64,
}

impl Cursor {
    /// The access unit under the cursor; `None` past the stretch's end.
    pub fn access_unit(&self, view: View<'_>) -> Option<AccessUnit> {
        view.access_unit(self.unit).filter(|unit| view.decode_time(unit) < self.segment.end)
    }

    /// Whether it is at an access unit or beyond.
    pub fn has_reached(&self, entry: &Entry) -> bool {
        match self.segment.serial.wrapping_sub(entry.segment) {
            0 => self.unit >= entry.unit,
            ahead => ahead < u32::MAX / 2,
        }
    }

    /// Whether it is beyond an access unit.
    pub fn is_beyond(&self, entry: &Entry) -> bool {
        self.has_reached(entry) && !self.is_at(entry)
    }

    /// Whether it is at an access unit.
    pub const fn is_at(&self, entry: &Entry) -> bool {
        self.segment.serial == entry.segment && self.unit == entry.unit
    }

    /// When that access unit is due.
    pub fn due(&self, view: View<'_>) -> Option<FlowTime> {
        self.access_unit(view).map(|unit| self.segment.due_at(view.decode_time(&unit)))
    }
}

/// The way of a new branch to the live position.
#[derive(Clone, Copy, Debug)]
pub struct Priming {
    /// What it is sent next.
    pub cursor: Cursor,
    /// The flow time of its first access unit.
    pub from: FlowTime,
    /// The live flow time at which it joined.
    pub joined: FlowTime,
    /// How much faster than the flow it is served, in thousandths.
    pub rate_milli: u16,
    /// It is made up only until it lies so far behind the live position.
    pub delay: Duration,
}

impl Priming {
    /// Up to where it may have been sent at the live flow time `live`.
    pub fn reach(&self, live: FlowTime) -> FlowTime {
        let gone = i128::from(live.0.saturating_sub(self.joined.0).max(0)) * i128::from(self.rate_milli) / 1000;
        FlowTime(self.from.0.saturating_add(i64::try_from(gone).unwrap_or(i64::MAX))).min(live.minus(self.delay))
    }

    /// Whether it has not come as near to the live position as it is to.
    pub fn is_making_up(&self, live: FlowTime) -> bool {
        self.reach(live) < live.minus(self.delay)
    }

    /// When, on the live flow clock, `due` comes into reach.
    pub fn reaches(&self, due: FlowTime) -> FlowTime {
        let ahead = i128::from(due.0.saturating_sub(self.from.0).max(0)) * 1000;
        let rate = i128::from(self.rate_milli.max(1));
        let made_up = FlowTime(self.joined.0.saturating_add(i64::try_from((ahead + rate - 1) / rate).unwrap_or(i64::MAX)));
        made_up.max(due.plus(self.delay))
    }

    /// Whether it never catches up.
    pub const fn is_delayed(&self) -> bool {
        !self.delay.is_zero()
    }
}

/// The access unit with which a branch is to begin once that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The serial number of the stretch.
    pub segment: u32,
    /// The access unit's position in the track.
    pub unit: usize,
    /// How long after the live ones the branch is sent it, and all that follow.
    pub delay: Duration,
}

/// An access unit that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The serial number of its stretch.
    pub segment: u32,
    /// When, on the flow clock, it is due.
    pub due: FlowTime,
    /// … and the one behind it.
    pub until: FlowTime,
}

/// What a receiver last reported of a branch (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reception {
    /// The fraction lost since the report before, 0 to 1.
    pub loss_fraction: Option<f64>,
    /// Interarrival jitter.
    pub jitter: Option<Duration>,
    /// Round trip.
    pub round_trip: Option<Duration>,
}

/// One branch of a flow, as the presentation serves it.
#[derive(Clone, Debug)]
pub struct BranchState {
    /// As it stands in the route.
    pub branch: Branch,
    /// Set until it has caught up.
    pub priming: Option<Priming>,
    /// Set until the access unit has come with which it begins.
    pub awaits: Option<Entry>,
    /// Access units that it is not sent, for it has not had what they refer to: the stretch, and the positions.
    pub left_out: Option<(u32, Range<usize>)>,
    /// Set while more may come of what leads the access unit with which it begins: that waits for it.
    pub undecided: bool,
    /// Numbers that it has had ahead, as [`Flow::promise`] has them; set only while it has yet to catch up.
    pub promised: Option<(u32, usize, u64)>,
    /// The newest update when it began to leave: that which it leaves by.
    pub left_by: Option<UpdateId>,
    /// Set once another has taken over from it there, whatever becomes of that one.
    pub succeeded: bool,
    /// How it has entered.
    pub entered: Entered,
    /// How much later than the live ones its packets leave. Constant, for its Sender Reports go by it.
    pub behind: Duration,
    /// The newest access unit that it was sent since the last jump.
    pub newest: Option<Sent>,
    /// It gets nothing before.
    pub not_before: Mono,
    /// When it came.
    pub came: Mono,
    /// How far its picture lies behind the live position.
    pub lag: Duration,
    /// RTP packets sent.
    pub packets: u64,
    /// RTP payload octets sent.
    pub octets: u64,
    /// When its next Sender Report is due; `None` until its first packet.
    pub report_due: Option<Mono>,
    /// The middle of the last Sender Report's NTP timestamp, and when it left.
    pub last_report: Option<(u32, Mono)>,
    /// What its receiver reported.
    pub reception: Reception,
    /// When it was sent something last.
    pub last_sent: Mono,
    /// Whether it needs no more be told that the title is over.
    pub end_told: bool,
}

impl BranchState {
    /// Whether it is served behind the others for good.
    pub fn is_delayed(&self) -> bool {
        self.priming.is_some_and(|priming| priming.is_delayed())
    }

    /// How long after the live ones its packets leave, or will.
    pub fn delay(&self) -> Duration {
        let awaited = || self.awaits.map(|entry| entry.delay);
        self.priming.map(|priming| priming.delay).or_else(awaited).unwrap_or_default()
    }

    /// Whether it is not sent the access unit under a cursor.
    pub fn leaves_out(&self, cursor: &Cursor) -> bool {
        self.left_out.as_ref().is_some_and(|(segment, units)| *segment == cursor.segment.serial && units.contains(&cursor.unit))
    }

    /// Lets it go on with what goes to the live audience, wherever it was and whatever it waited for.
    pub fn join_the_live(&mut self) {
        (self.priming, self.awaits, self.undecided) = (None, None, false);
    }

    /// Its cursor has moved: behind what it has had the numbers of ahead, they go on behind these.
    pub fn keep_promise(&mut self) {
        if let (Some(priming), Some((segment, unit, sequence))) = (&mut self.priming, self.promised)
            && priming.cursor.segment.serial == segment
            && priming.cursor.unit >= unit
        {
            priming.cursor.sequence = priming.cursor.sequence.max(sequence);
            self.promised = None;
        }
    }

    /// Lets it be served from an access unit on that is due at `due`, `delay` later.
    pub fn follow(&mut self, cursor: Cursor, due: FlowTime, delay: Duration) {
        self.priming = Some(Priming { cursor, from: due, joined: due.plus(delay), rate_milli: 1000, delay });
    }
}

/// One track being played.
#[derive(Debug)]
pub struct Flow {
    /// What is fixed.
    pub facts: FlowFacts,
    /// The RTP timestamp at flow time zero.
    pub timestamp_base: u32,
    /// What is sent next to those who have caught up; `None` before the first start.
    pub live: Option<Cursor>,
    /// The extended sequence number of the next packet while there is no cursor.
    pub sequence: u64,
    /// The timestamp of the last access unit sent.
    pub last_timestamp: u32,
    /// The flow time up to which what was sent is shown.
    pub shown_until: FlowTime,
    /// The flow time at which the last picture sent is shown first: no later timestamp has left.
    pub shown_from: FlowTime,
    /// The lag of the branch that was there last.
    pub last_lag: Duration,
    /// What the branch was sent last that was left last, until its successor has begun.
    pub left: Option<Sent>,
    /// Which of its access units share packets.
    pub grouping: Grouping,
    /// Its branches.
    pub branches: Vec<BranchState>,
    checkpoints: Checkpoints,
    /// Numbers that were given out ahead: behind this access unit (stretch and position) they go on with this one at least.
    promised: Option<(u32, usize, u64)>,
    /// Access units (stretch and position) that were passed over and took no numbers.
    holes: VecDeque<(u32, usize)>,
}

impl Flow {
    /// A flow that has sent nothing.
    pub fn new(facts: FlowFacts, identity: FlowIdentity, grouping: Grouping) -> Self {
        Self {
            facts,
            timestamp_base: identity.timestamp,
            live: None,
            sequence: 0x1_0000 + u64::from(identity.sequence),
            last_timestamp: identity.timestamp,
            shown_until: FlowTime(0),
            shown_from: FlowTime(0),
            last_lag: Duration::ZERO,
            left: None,
            grouping,
            branches: Vec::new(),
            checkpoints: Checkpoints::default(),
            promised: None,
            holes: VecDeque::new(),
        }
    }

    /// The RTP timestamp of an access unit shown at `at` in `segment`.
    pub fn timestamp(&self, segment: &Segment, view: View<'_>, unit: &AccessUnit) -> u32 {
        let ticks = view.track().timescale.rescale(unit.presentation_time, self.facts.clock_rate);
        self.segment_base(segment).wrapping_add(ticks as u32)
    }

    /// The RTP timestamp that a media time of `segment` has.
    pub fn timestamp_at(&self, segment: &Segment, at: MediaTime) -> u32 {
        self.segment_base(segment).wrapping_add(at.to_ticks(self.facts.clock_rate) as u32)
    }

    /// The RTP timestamp that a flow time has.
    pub fn timestamp_of(&self, time: FlowTime) -> u32 {
        self.timestamp_base.wrapping_add(MediaTime::from_nanos(time.0).to_ticks(self.facts.clock_rate) as u32)
    }

    /// One rounding for the whole stretch: differences within it are the track's own.
    fn segment_base(&self, segment: &Segment) -> u32 {
        let shift = MediaTime::from_nanos(segment.begins.0.saturating_sub(segment.start.as_nanos()));
        self.timestamp_base.wrapping_add(shift.to_ticks(self.facts.clock_rate) as u32)
    }

    /// Puts the live cursor at the beginning of a stretch. After a jump nothing before it can be primed from.
    pub fn enter(&mut self, segment: Segment, unit: usize, jump: bool) {
        if jump {
            self.checkpoints.clear();
            self.holes.clear();
        }
        if let Some((.., sequence)) = self.promised.take() {
            self.sequence = self.sequence.max(sequence);
        }
        self.live = Some(Cursor { segment, unit, sequence: self.sequence });
    }

    /// Notes that the access unit under the live cursor was sent in `packets` packets (none: it was passed over), and goes
    /// on to the next.
    pub fn advance(&mut self, view: View<'_>, packets: u64, segments: &VecDeque<Segment>, max_prime: Duration) {
        let Some(cursor) = self.live else { return };
        if packets == 0 {
            if self.holes.len() >= HOLES {
                self.holes.pop_front();
            }
            self.holes.push_back((cursor.segment.serial, cursor.unit));
        } else if let Some(unit) = cursor.access_unit(view) {
            if unit.random_access {
                let unit = u32::try_from(cursor.unit).unwrap_or(u32::MAX);
                self.checkpoints.push(Checkpoint { segment: cursor.segment.serial, unit, sequence: cursor.sequence });
                self.forget_checkpoints(view, &cursor, segments, max_prime);
            }
            self.last_timestamp = self.timestamp(&cursor.segment, view, &unit);
            let shown = cursor.segment.shown_at(view.presentation_time(&unit));
            let until = shown.plus(self.lasts(&cursor, view));
            // Samples fill several packets, of which the last is nearly as late as the end.
            let is_plain = matches!(view.track().codec, Codec::Pcm(_) | Codec::G722(_));
            self.shown_from = self.shown_from.max(if is_plain { until } else { shown });
            self.shown_until = self.shown_until.max(until);
        }
        self.sequence += packets;
        self.live = Some(self.behind(&cursor, view, packets));
        self.keep_promise();
    }

    /// The live cursor has moved: behind what has numbers that were given out ahead, they go on behind these. One that could not be read
    /// has left some over.
    pub fn keep_promise(&mut self) {
        if let (Some(live), Some((segment, unit, sequence))) = (&mut self.live, self.promised)
            && live.segment.serial == segment
            && live.unit >= unit
        {
            self.sequence = self.sequence.max(sequence);
            live.sequence = self.sequence;
            self.promised = None;
        }
    }

    /// Notes that somebody has had all numbers before `sequence`, which those access units of a stretch will have that come before
    /// the one at `unit`, whether or not they do come.
    pub fn promise(&mut self, segment: u32, unit: usize, sequence: u64) {
        if self.live.is_some_and(|live| live.segment.serial == segment && live.unit < unit) {
            self.promised = Some((segment, unit, sequence.max(self.promised.map_or(0, |(.., before)| before))));
        }
    }

    /// The cursor behind a packet, or several of one access unit.
    pub fn behind(&self, cursor: &Cursor, view: View<'_>, packets: u64) -> Cursor {
        let unit = cursor.unit + view.count(&self.grouping, cursor.unit);
        Cursor { unit, sequence: cursor.sequence + packets, ..*cursor }
    }

    /// When what is under a cursor is to leave.
    pub fn due(&self, cursor: &Cursor, view: View<'_>) -> Option<FlowTime> {
        cursor.due(view).map(|due| due.plus(self.grouping.hold()))
    }

    /// How long what is under a cursor lasts.
    pub fn lasts(&self, cursor: &Cursor, view: View<'_>) -> Duration {
        let Some(first) = view.access_unit(cursor.unit) else { return Duration::ZERO };
        let last = view.second(&self.grouping, cursor.unit).unwrap_or(first);
        // Rounded where the next one begins.
        let end = MediaTime::from_ticks(last.decode_time.saturating_add(i64::from(last.duration)), view.track().timescale);
        end.since(view.decode_time(&first))
    }

    /// Whether the access unit under a cursor was passed over when it was due.
    pub fn is_hole(&self, cursor: &Cursor) -> bool {
        self.holes.contains(&(cursor.segment.serial, cursor.unit))
    }

    /// Whether a cursor is where the live one is, or beyond: in access units, for numbers may differ after one could be
    /// read at one time and not at another.
    pub fn has_caught_up(&self, cursor: &Cursor) -> bool {
        self.live.is_some_and(|live| match cursor.segment.serial.wrapping_sub(live.segment.serial) {
            0 => cursor.unit >= live.unit,
            ahead => ahead < u32::MAX / 2,
        })
    }

    /// Whether the live cursor is at an access unit or beyond.
    pub fn has_reached(&self, entry: &Entry) -> bool {
        self.live.is_some_and(|live| live.has_reached(entry))
    }

    /// Whether an access unit has been sent to those who are served live, or passed over.
    pub fn is_beyond(&self, entry: &Entry) -> bool {
        self.live.is_some_and(|live| live.is_beyond(entry))
    }

    /// What a branch is sent next.
    pub fn next_of(&self, state: &BranchState) -> Option<Cursor> {
        state.priming.map(|priming| priming.cursor).or(self.live)
    }

    /// Whether a branch awaits an access unit that has not come yet.
    pub fn is_waiting(&self, state: &BranchState) -> bool {
        state.awaits.is_some_and(|entry| !entry.delay.is_zero() || !self.has_reached(&entry))
    }

    /// From when on a branch gets nothing more because another that began with a random access point has taken over there:
    /// the end of its window; at once where the other lies further behind, for it has yet to show what it has.
    pub fn succeeded_at(&self, old: &BranchState) -> Option<Mono> {
        if !old.branch.leaving {
            return None;
        }
        let next = self.next_of(old);
        let begun = |state: &&BranchState| {
            // Also one that is about to leave itself, but none of another hand-over.
            old.left_by == Some(state.branch.update)
                && state.entered == Entered::Aligned
                && state.awaits.is_none_or(|entry| next.is_some_and(|next| next.has_reached(&entry)))
        };
        let ends = |new: &BranchState| if new.delay() > old.delay() { Some(Mono::default()) } else { old.branch.until };
        self.branches.iter().filter(begun).filter_map(ends).min()
    }

    /// Whether another branch has taken over from this one.
    pub fn is_succeeded(&self, old: &BranchState, now: Mono) -> bool {
        old.succeeded || self.succeeded_at(old).is_some_and(|at| at <= now)
    }

    /// Notes from whom others have taken over.
    pub fn note_succeeded(&mut self, now: Mono) {
        for position in 0..self.branches.len() {
            if self.branches.get(position).is_some_and(|old| old.branch.leaving && !old.succeeded && self.is_succeeded(old, now))
                && let Some(old) = self.branches.get_mut(position)
            {
                old.succeeded = true;
            }
        }
    }

    /// Puts the live cursor back to where a branch is, as though nothing behind it had been sent.
    pub fn rewind(&mut self, cursor: Cursor, view: View<'_>) {
        let is_behind = |segment: u32, unit: usize| cursor.is_beyond(&Entry { segment, unit, delay: Duration::ZERO });
        while self.checkpoints.newest().is_some_and(|newest| !is_behind(newest.segment, newest.unit as usize)) {
            self.checkpoints.pop_newest();
        }
        // What was passed over takes no numbers this time either.
        self.holes.retain(|(segment, _)| cursor.segment.serial.wrapping_sub(*segment) < u32::MAX / 2);
        self.live = Some(cursor);
        self.sequence = cursor.sequence;
        self.promised = self.promised.filter(|(segment, ..)| *segment == cursor.segment.serial);
        self.left = self.left.filter(|sent| sent.segment == cursor.segment.serial);
        let sent = (cursor.unit.saturating_sub(REORDERED)..cursor.unit).filter_map(|unit| view.access_unit(unit));
        (self.shown_from, self.shown_until) = sent.fold((cursor.segment.begins, cursor.segment.begins), |(from, until), unit| {
            let shown = cursor.segment.shown_at(view.presentation_time(&unit));
            (from.max(shown), until.max(shown.plus(duration(view.track(), &unit))))
        });
        if let Some(unit) = cursor.unit.checked_sub(1).and_then(|unit| view.access_unit(unit)) {
            self.last_timestamp = self.timestamp(&cursor.segment, view, &unit);
        }
    }

    /// Passes over access units that nobody will be sent: they take no numbers.
    pub fn pass_over(&mut self, segment: u32, units: Range<usize>) {
        self.holes.extend(units.take(HOLES / 2).map(|unit| (segment, unit)));
        self.holes.drain(..self.holes.len().saturating_sub(HOLES));
    }

    /// Drops what lies further back than `max_prime`, but keeps the newest one that does.
    fn forget_checkpoints(&mut self, view: View<'_>, live: &Cursor, segments: &VecDeque<Segment>, max_prime: Duration) {
        let due = |point: &Checkpoint| {
            let segment = segments.iter().find(|segment| segment.serial == point.segment)?;
            view.access_unit(point.unit as usize).map(|unit| segment.due_at(view.decode_time(&unit)))
        };
        while self.checkpoints.oldest().is_some_and(|oldest| due(&oldest).is_none()) {
            self.checkpoints.pop_oldest();
        }
        let now = live.due(view).unwrap_or(self.shown_until);
        while self.checkpoints.second().is_some_and(|second| due(&second).is_none_or(|due| now.since(due) >= max_prime)) {
            self.checkpoints.pop_oldest();
        }
    }

    /// How many random access points it remembers.
    pub fn checkpoints(&self) -> usize {
        self.checkpoints.len()
    }

    /// The newest random access point sent that is shown at `limit` or before, else the oldest one remembered.
    pub fn checkpoint(&self, view: View<'_>, segments: &VecDeque<Segment>, limit: FlowTime) -> Option<Cursor> {
        let cursors = self.checkpoints.newest_first().filter_map(|point| {
            let segment = *segments.iter().find(|segment| segment.serial == point.segment)?;
            Some(Cursor { segment, unit: point.unit as usize, sequence: point.sequence })
        });
        let mut oldest = None;
        for cursor in cursors {
            let shown = view.access_unit(cursor.unit).map(|unit| cursor.segment.shown_at(view.presentation_time(&unit)));
            if shown.is_some_and(|shown| shown <= limit) {
                return Some(cursor);
            }
            oldest = Some(cursor);
        }
        oldest
    }

    /// The branch of that serial.
    pub fn branch_mut(&mut self, serial: crate::steering::BranchSerial) -> Option<&mut BranchState> {
        self.branches.iter_mut().find(|state| state.branch.serial == serial)
    }
}

/// How long an access unit lasts.
pub fn duration(track: &Track, unit: &AccessUnit) -> Duration {
    MediaTime::from_ticks(i64::from(unit.duration), track.timescale).since(MediaTime::ZERO)
}
