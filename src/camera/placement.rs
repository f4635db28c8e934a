//! Where a camera's access units lie on one timeline: pure.
//!
//! RTP timestamps of different streams begin anywhere. The camera's sender reports say which of them belong together (RFC 3550 section
//! 6.4.1). They are waited for, [`PATIENCE`] long, and access units are held back meanwhile; where they do not come, `RTP-Info` does (RFC
//! 2326 section 12.33), and for want of that the streams begin together. Reports that come behind that set streams ahead, once; none is set
//! back. Later reports move nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::now::Mono;
use crate::quantities::{ClockRate, MediaTime, SenderClocks};

/// So long reports are waited for, from the first access unit.
const PATIENCE: Duration = Duration::from_millis(500);
/// Access units, and their octets, that are held back at most.
const MAX_HELD: usize = 1024;
const MAX_HELD_OCTETS: usize = 16 << 20;
/// Reports that come late and say that streams are off by less than this move nothing, in nanoseconds …
const TOLERANCE: i64 = 20_000_000;
/// … and those that say more than this are not believed: the clocks are not one. Well below what is a jump to a
/// [`Feed`](crate::library::live::Feed), which would undo it: access units come unevenly.
const INCREDIBLE: i64 = 3_000_000_000;

/// An access unit as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The camera's number of its stream.
    pub stream: usize,
    /// Its RTP timestamp, extended.
    pub timestamp: i64,
    /// The same from where `RTP-Info` or the first packet was, in ticks.
    pub elapsed: i64,
    /// Its octets.
    pub octets: Vec<u8>,
    /// Whether decoding can start here.
    pub random_access: bool,
}

#[derive(Debug)]
struct Stream {
    number: usize,
    clock: ClockRate,
    report: Option<SenderClocks>,
    /// The timestamp of its first access unit, and when that came.
    first: Option<(i64, Mono)>,
    /// The timestamp of its newest one.
    newest: i64,
    /// What is added to its timestamps.
    shift: Option<i64>,
    /// Whether it was put where a report says.
    is_settled: bool,
}

impl Stream {
    /// When what bears a timestamp was sampled by the camera's clock, in nanoseconds.
    fn sampled_at(&self, timestamp: i64) -> Option<i64> {
        self.report?.sampled_at(timestamp as u32, self.clock)
    }

    /// By how much it lies too early, in nanoseconds, up to something that is the same for all streams.
    fn fault(&self) -> Option<i64> {
        let placed = MediaTime::from_ticks(self.newest.saturating_add(self.shift?), self.clock);
        Some(self.sampled_at(self.newest)?.saturating_sub(placed.as_nanos()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing came.
    Silent,
    /// Since the first access unit.
    Waiting(Mono),
    /// The timeline begins with what was sampled then, by the camera's clock, if reports say it, and came then.
    Begun(Option<i64>, Mono),
}

/// After each `handle_…`, and when [`Placement::poll_timeout`] is reached, the caller drains [`Placement::poll`].
#[derive(Debug)]
pub(super) struct Placement {
    streams: Vec<Stream>,
    stage: Stage,
    held: VecDeque<Unit>,
    held_octets: usize,
}

impl Placement {
    /// Of streams with these numbers and clocks.
    pub(super) fn new(streams: impl IntoIterator<Item = (usize, ClockRate)>) -> Self {
        let stream = |(number, clock)| Stream { number, clock, report: None, first: None, newest: 0, shift: None, is_settled: false };
        Self { streams: streams.into_iter().map(stream).collect(), stage: Stage::Silent, held: VecDeque::new(), held_octets: 0 }
    }

    /// The camera says how a stream's clocks lie.
    pub(super) fn handle_report(&mut self, number: usize, report: SenderClocks) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.number == number) {
            stream.report = Some(report);
        }
    }

    /// An access unit has come. What is of none of the streams is dropped.
    pub(super) fn handle_unit(&mut self, unit: Unit, now: Mono) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.number == unit.stream) else { return };
        stream.first.get_or_insert((unit.timestamp, now));
        stream.newest = unit.timestamp;
        if self.stage == Stage::Silent {
            self.stage = Stage::Waiting(now);
        }
        self.held_octets += unit.octets.len();
        self.held.push_back(unit);
    }

    /// Nothing is held back any longer.
    pub(super) fn finish(&mut self, now: Mono) {
        if let Stage::Waiting(_) = self.stage {
            self.begin(now);
        }
    }

    /// The next access unit, and when it is shown, in ticks of its stream's clock.
    pub(super) fn poll(&mut self, now: Mono) -> Option<(Unit, i64)> {
        if let Stage::Waiting(since) = self.stage {
            let is_whole = self.streams.iter().all(|stream| stream.first.is_some() && stream.report.is_some());
            let is_full = self.held.len() >= MAX_HELD || self.held_octets >= MAX_HELD_OCTETS;
            // One alone lies beside nothing.
            if !is_whole && !is_full && self.streams.len() > 1 && now < since + PATIENCE {
                return None;
            }
            self.begin(now);
        }
        let unit = self.held.pop_front()?;
        self.held_octets -= unit.octets.len();
        self.settle();
        let shift = self.shift(&unit, now)?;
        let shown = unit.timestamp.saturating_add(shift);
        Some((unit, shown))
    }

    /// When [`Placement::poll`] may give something although nothing has come.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        match self.stage {
            Stage::Waiting(since) => Some(since + PATIENCE),
            Stage::Silent | Stage::Begun(..) => None,
        }
    }

    fn begin(&mut self, now: Mono) {
        let heard = || self.streams.iter().filter_map(|stream| Some((stream, stream.first?)));
        let sampled: Option<Vec<i64>> = heard().map(|(stream, (first, _))| stream.sampled_at(first)).collect();
        let is_one = |sampled: &Vec<i64>| {
            let (first, last) = (sampled.iter().min().copied().unwrap_or(0), sampled.iter().max().copied().unwrap_or(0));
            last.saturating_sub(first) <= INCREDIBLE
        };
        let sampled = sampled.filter(is_one);
        let came = heard().map(|(_, (_, came))| came).min().unwrap_or(now);
        self.stage = Stage::Begun(sampled.and_then(|sampled| sampled.into_iter().min()), came);
    }

    /// What is added to the timestamps of an access unit's stream.
    fn shift(&mut self, unit: &Unit, now: Mono) -> Option<i64> {
        let Stage::Begun(origin, began) = self.stage else { return None };
        let stream = self.streams.iter_mut().find(|stream| stream.number == unit.stream)?;
        if let Some(shift) = stream.shift {
            return Some(shift);
        }
        let (first, came) = *stream.first.get_or_insert((unit.timestamp, now));
        let arrived = MediaTime::ZERO.plus(came.since(began));
        let is_credible = |said: &i64| said.abs_diff(arrived.as_nanos()) <= INCREDIBLE.unsigned_abs();
        let begins = origin.map(|origin| {
            let said = stream.sampled_at(first).map(|sampled| sampled.saturating_sub(origin)).filter(is_credible);
            stream.is_settled = said.is_some();
            // Beside streams with reports it lies where it came.
            said.map_or(arrived, MediaTime::from_nanos)
        });
        let shift =
            begins.map_or(unit.elapsed.saturating_sub(unit.timestamp), |begins| begins.to_ticks(stream.clock).saturating_sub(first));
        stream.shift = Some(shift);
        Some(shift)
    }

    /// Once there are reports of all streams that have begun, puts those where they belong that began without.
    fn settle(&mut self) {
        let is_placed = |stream: &&mut Stream| stream.shift.is_some();
        if self.streams.iter().all(|stream| stream.is_settled || stream.shift.is_none()) {
            return;
        }
        let faults = || self.streams.iter().filter(|stream| stream.shift.is_some()).map(Stream::fault);
        let (Some(least), Some(most)) = (faults().min().flatten(), faults().max().flatten()) else { return };
        let spread = most.saturating_sub(least);
        if spread > INCREDIBLE {
            // They may become one: cameras begin with a clock that is not set.
            return;
        }
        let is_off = spread >= TOLERANCE;
        for stream in self.streams.iter_mut().filter(is_placed) {
            stream.is_settled = true;
            let ahead = stream.fault().unwrap_or(least).saturating_sub(least);
            let ticks = MediaTime::from_nanos(ahead).to_ticks(stream.clock);
            stream.shift = stream.shift.map(|shift| if is_off { shift.saturating_add(ticks) } else { shift });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::library::live::{LiveSettings, LiveTitles, LiveTrack, LiveUnit};
    use crate::library::{Codec, PcmConfig, PcmSample, TitlePath};
    use crate::now::{Now, Utc};

    const VIDEO: usize = 0;
    const SOUND: usize = 2;
    const CLOCKS: [(usize, ClockRate); 2] = [
        (VIDEO, ClockRate::VIDEO),
        (
            SOUND,
            match ClockRate::new(8000) {
                Some(clock) => clock,
                None => panic!("it is not zero"),
            },
        ),
    ];

    fn hertz(stream: usize) -> i64 {
        if stream == VIDEO { 90_000 } else { 8000 }
    }

    /// A camera whose clock and whose timestamps begin anywhere.
    #[derive(Clone, Copy, Debug)]
    struct Camera {
        /// Seconds of its clock at its beginning.
        ntp: u32,
        /// The timestamps then.
        bases: [u32; 2],
    }

    impl Camera {
        fn base(&self, stream: usize) -> u32 {
            self.bases[usize::from(stream == SOUND)]
        }

        fn report(&self, stream: usize, millis: u64) -> SenderClocks {
            let ntp = (u64::from(self.ntp) << 32) + ((millis << 32) / 1000);
            SenderClocks::new(ntp, self.base(stream).wrapping_add((millis as i64 * hertz(stream) / 1000) as u32)).expect("a clock")
        }

        /// What was sampled then; `RTP-Info` says nothing, so that time counts from the first one, at `from`.
        fn unit(&self, stream: usize, millis: i64, from: i64) -> Unit {
            let ticks = |millis: i64| millis * hertz(stream) / 1000;
            let timestamp = i64::from(self.base(stream)) + ticks(millis);
            Unit { stream, timestamp, elapsed: ticks(millis - from), octets: vec![millis as u8], random_access: true }
        }
    }

    fn at(millis: u64) -> Mono {
        Mono::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    /// (stream, milliseconds at which it is shown) of all that comes out.
    fn shown(placement: &mut Placement, now: Mono) -> Vec<(usize, i64)> {
        let next = || placement.poll(now).map(|(unit, shown)| (unit.stream, shown * 1000 / hertz(unit.stream)));
        std::iter::from_fn(next).collect()
    }

    const CAMERA: Camera = Camera { ntp: 3_900_000_000, bases: [u32::MAX - 1000, 77] };

    #[test]
    fn where_there_are_no_reports_streams_begin_as_they_came_and_late_ones_set_ahead_once() {
        let mut placement = Placement::new(CLOCKS);
        // The sound is half a second ahead of the pictures that come with it.
        placement.handle_unit(CAMERA.unit(VIDEO, 1000, 1000), at(0));
        placement.handle_unit(CAMERA.unit(SOUND, 1500, 1500), at(10));
        assert_eq!(shown(&mut placement, at(20)), [], "reports are waited for");
        assert_eq!(placement.poll_timeout(), Some(at(500)));
        assert_eq!(shown(&mut placement, at(500)), [(VIDEO, 0), (SOUND, 0)]);
        placement.handle_report(VIDEO, CAMERA.report(VIDEO, 2000));
        placement.handle_unit(CAMERA.unit(VIDEO, 2000, 1000), at(1000));
        placement.handle_unit(CAMERA.unit(SOUND, 2500, 1500), at(1000));
        assert_eq!(shown(&mut placement, at(1000)), [(VIDEO, 1000), (SOUND, 1000)], "one alone says nothing");
        placement.handle_report(SOUND, CAMERA.report(SOUND, 2600));
        for (stream, millis, from) in [(VIDEO, 3000, 1000), (SOUND, 3500, 1500)] {
            placement.handle_unit(CAMERA.unit(stream, millis, from), at(2000));
        }
        assert_eq!(shown(&mut placement, at(2000)), [(VIDEO, 2000), (SOUND, 2500)]);
        // The camera's clock is set: what is there stays where it is.
        placement.handle_report(SOUND, Camera { ntp: CAMERA.ntp + 1, ..CAMERA }.report(SOUND, 3600));
        placement.handle_unit(CAMERA.unit(SOUND, 4500, 1500), at(3000));
        assert_eq!(shown(&mut placement, at(3000)), [(SOUND, 3500)]);
    }

    #[test]
    fn a_stream_that_begins_late_is_put_where_its_report_says() {
        let mut placement = Placement::new(CLOCKS);
        placement.handle_report(VIDEO, CAMERA.report(VIDEO, 900));
        placement.handle_unit(CAMERA.unit(VIDEO, 1000, 1000), at(0));
        assert_eq!(shown(&mut placement, at(600)), [(VIDEO, 0)]);
        placement.handle_report(SOUND, CAMERA.report(SOUND, 900));
        placement.handle_unit(CAMERA.unit(SOUND, 1700, 1700), at(1200));
        assert_eq!(shown(&mut placement, at(1200)), [(SOUND, 700)]);
    }

    #[test]
    fn a_stream_that_begins_late_and_has_another_clock_is_put_where_it_came() {
        let mut placement = Placement::new(CLOCKS);
        placement.handle_report(VIDEO, CAMERA.report(VIDEO, 900));
        placement.handle_unit(CAMERA.unit(VIDEO, 1000, 1000), at(0));
        assert_eq!(shown(&mut placement, at(600)), [(VIDEO, 0)]);
        for ntp in [5, CAMERA.ntp + 60] {
            placement.handle_report(SOUND, Camera { ntp, ..CAMERA }.report(SOUND, 900));
            placement.handle_unit(CAMERA.unit(SOUND, 1700, 1700), at(1200));
            assert_eq!(shown(&mut placement, at(1200)), [(SOUND, 1200)], "of a clock at {ntp}");
        }
    }

    #[test]
    fn one_stream_alone_and_what_is_too_much_to_hold_are_not_held_back() {
        let mut placement = Placement::new([CLOCKS[0]]);
        placement.handle_unit(CAMERA.unit(VIDEO, 1000, 400), at(0));
        assert_eq!(shown(&mut placement, at(0)), [(VIDEO, 600)], "from where `RTP-Info` said");
        let mut placement = Placement::new(CLOCKS);
        for millis in 0..MAX_HELD as i64 {
            assert_eq!(shown(&mut placement, at(1)), []);
            placement.handle_unit(CAMERA.unit(VIDEO, millis, 0), at(1));
        }
        assert_eq!(shown(&mut placement, at(1)).len(), MAX_HELD);
    }

    #[test]
    fn clocks_that_are_not_one_are_not_believed() {
        let mut placement = Placement::new(CLOCKS);
        for stream in [VIDEO, SOUND] {
            placement.handle_unit(CAMERA.unit(stream, 1000, 1000), at(0));
        }
        assert_eq!(shown(&mut placement, at(500)), [(VIDEO, 0), (SOUND, 0)]);
        placement.handle_report(VIDEO, CAMERA.report(VIDEO, 1000));
        placement.handle_report(SOUND, Camera { ntp: 5, ..CAMERA }.report(SOUND, 1000));
        placement.handle_unit(CAMERA.unit(SOUND, 1500, 1000), at(600));
        assert_eq!(shown(&mut placement, at(600)), [(SOUND, 500)]);
    }

    #[test]
    fn clocks_that_become_one_are_believed_from_then_on() {
        let mut placement = Placement::new(CLOCKS);
        placement.handle_unit(CAMERA.unit(VIDEO, 1000, 1000), at(0));
        placement.handle_unit(CAMERA.unit(SOUND, 1500, 1500), at(0));
        assert_eq!(shown(&mut placement, at(500)), [(VIDEO, 0), (SOUND, 0)]);
        placement.handle_report(VIDEO, CAMERA.report(VIDEO, 1000));
        placement.handle_report(SOUND, Camera { ntp: 5, ..CAMERA }.report(SOUND, 1000));
        placement.handle_unit(CAMERA.unit(SOUND, 2000, 1500), at(600));
        assert_eq!(shown(&mut placement, at(600)), [(SOUND, 500)]);
        placement.handle_report(SOUND, CAMERA.report(SOUND, 2400));
        placement.handle_unit(CAMERA.unit(SOUND, 2500, 1500), at(1100));
        assert_eq!(shown(&mut placement, at(1100)), [(SOUND, 1500)]);
    }

    #[test]
    fn what_is_believed_is_no_jump_to_the_title() {
        let track = |codec, stream: usize| LiveTrack { codec, timescale: CLOCKS[stream / 2].1, language: None };
        let sound = PcmConfig { sample: PcmSample::MuLaw, sample_rate: 8000, channels: 1 };
        for (off, taken) in [(2900, 2900), (4800, 0)] {
            let path = TitlePath::new("door").expect("a path");
            let mut feed = Arc::new(LiveTitles::default()).add(path, LiveSettings::default()).expect("free");
            feed.begin(vec![track(Codec::Jpeg(Default::default()), VIDEO), track(Codec::Pcm(sound), SOUND)], None).expect("two tracks");
            let mut placement = Placement::new(CLOCKS);
            let (mut moved, mut newest) = (Vec::new(), [0; 2]);
            for step in 0..60 {
                // Four at once: unevenly.
                let now = at(step / 4 * 400);
                if step == 20 {
                    placement.handle_report(VIDEO, CAMERA.report(VIDEO, 2000));
                    placement.handle_report(SOUND, CAMERA.report(SOUND, 2000));
                }
                let millis = step as i64 * 100;
                placement.handle_unit(CAMERA.unit(VIDEO, millis, 0), now);
                placement.handle_unit(CAMERA.unit(SOUND, millis + off, off), now);
                while let Some((unit, shown)) = placement.poll(now) {
                    let (stream, number) = (unit.stream, unit.stream / 2);
                    let unit =
                        LiveUnit { track: number, octets: unit.octets, decode_time: None, presentation_time: shown, random_access: true };
                    feed.push(unit, Now { mono: now, utc: Utc::from_unix_seconds(0) }).expect("it is taken");
                    let title = feed.title().ready().expect("the first was a picture");
                    let last = title.tracks[number].access_unit(title.tracks[number].len() - 1).expect("it is kept");
                    newest[number] = shown * 1000 / hertz(stream);
                    moved.push(last.presentation_time * 1000 / hertz(stream) - newest[number]);
                }
            }
            assert_eq!(newest[1] - newest[0], taken, "{off} ms");
            assert!(moved.iter().all(|by| by.abs_diff(moved[0]) <= 1), "{off} ms: {moved:?}");
        }
    }

    proptest! {
        /// Wherever timestamps and clocks begin, and however late the one stream's packets come: they lie apart by what the reports say.
        #[test]
        fn streams_lie_apart_as_reports_say(
            ntp in 1..u32::MAX - 10, bases: [u32; 2], skew in -400_i64..400, late in 0_u64..300, reports in (0_u64..5000, 0_u64..5000),
        ) {
            let camera = Camera { ntp, bases };
            let mut placement = Placement::new(CLOCKS);
            placement.handle_report(VIDEO, camera.report(VIDEO, reports.0));
            placement.handle_unit(camera.unit(VIDEO, 1000, 1000), at(0));
            placement.handle_unit(camera.unit(SOUND, 1000 + skew, 1000 + skew), at(late));
            placement.handle_report(SOUND, camera.report(SOUND, reports.1));
            let out = shown(&mut placement, at(late));
            prop_assert_eq!((out[0].0, out[1].0), (VIDEO, SOUND));
            prop_assert!((out[1].1 - out[0].1 - skew).abs() <= 1, "{:?}", out);
            prop_assert!(out[0].1.min(out[1].1).abs() <= 1, "{:?}", out);
        }

        /// Whatever it is told: what goes in comes out, in order, and nothing panics.
        #[test]
        fn nothing_is_lost_and_nothing_panics(
            steps in proptest::collection::vec((0_usize..4, any::<i64>(), any::<i64>(), any::<u64>(), any::<u32>(), 0_u64..100, any::<bool>()), 0..80),
        ) {
            let mut placement = Placement::new(CLOCKS);
            let (mut millis, mut put, mut got) = (0, 0, 0);
            for (stream, timestamp, elapsed, ntp, rtp, pause, is_report) in steps {
                millis += pause;
                if let Some(report) = SenderClocks::new(ntp, rtp).filter(|_| is_report) {
                    placement.handle_report(stream, report);
                } else {
                    put += usize::from(stream == VIDEO || stream == SOUND);
                    placement.handle_unit(Unit { stream, timestamp, elapsed, octets: vec![1], random_access: true }, at(millis));
                }
                got += std::iter::from_fn(|| placement.poll(at(millis))).count();
            }
            placement.finish(at(millis));
            got += std::iter::from_fn(|| placement.poll(at(millis))).count();
            prop_assert_eq!(got, put);
        }
    }
}
