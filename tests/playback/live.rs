//! Live titles under a simulated clock: where a viewer begins, what it waits for, what it passes over.

use std::sync::Arc;
use std::time::Duration;

use crate::playback_rig::{AUDIO, Got, PACKETS, Rig, VIDEO, seconds};
use flowsteer::library::TitlePath;
use flowsteer::library::live::{Feed, LiveSettings, LiveTitles, LiveTrack, LiveUnit};
use flowsteer::now::Now;
use flowsteer::playback::{NptRange, PlayRequest, PlaybackError, Playing, Scale};
use flowsteer::quantities::{ClockRate, MediaTime};
use flowsteer::steering::{BranchSerial, EndReason, JoinWay};

/// Pictures of a group.
const GROUP: i64 = 50;

/// Octets of a picture and the sound beside it.
const OCTETS: u64 = 1200;

/// A source of 25 pictures and 50 frames of sound a second, whose clock may be wrong.
struct Source {
    feed: Feed,
    /// Pictures pushed so far.
    count: i64,
    /// When the first was.
    begun: Now,
    /// Its clock's fault, in millionths.
    fault: i64,
    /// Pictures of a group.
    group: i64,
    /// Whether groups are open: each third picture is shown behind the next two, also the first of a group.
    open: bool,
}

impl Source {
    fn new(settings: LiveSettings, now: Now) -> Self {
        let titles = Arc::new(LiveTitles::default());
        let feed = titles.add(TitlePath::new("camera").expect("a path"), settings).expect("free");
        Self { feed, count: 0, begun: now, fault: 0, group: GROUP, open: false }
    }

    fn begin(&mut self) {
        let film = crate::playback_rig::title(1, 25);
        let track = |number: usize| LiveTrack {
            codec: film.tracks[number].codec.clone(),
            timescale: film.tracks[number].timescale,
            language: None,
        };
        self.feed.begin(vec![track(VIDEO), track(AUDIO)], None).expect("two tracks");
    }

    /// When the next picture comes.
    fn due(&self) -> Now {
        let nanos = self.count * 40_000_000;
        self.begun.after(Duration::from_nanos((nanos + nanos / 1_000_000 * self.fault) as u64))
    }

    fn push(&mut self, now: Now) {
        let mut unit = |track, size, time, random_access| {
            let unit = LiveUnit { track, octets: vec![7; size], decode_time: None, presentation_time: time, random_access };
            self.feed.push(unit, now).expect("it is taken");
        };
        let shown = if self.open && self.count % 3 == 0 { self.count + 3 } else { self.count };
        unit(VIDEO, 1000, shown * 3600, self.count % self.group == 0);
        let rate = i64::from(ClockRate::new(48_000).expect("not zero").hertz());
        for half in 0..2 {
            unit(AUDIO, 100, self.count * rate / 25 + half * rate / 50, true);
        }
        self.count += 1;
    }

    /// How long after it was made at the source an access unit was sent to a branch.
    fn age(&self, got: &Got) -> Duration {
        let number = (got.offset / OCTETS) as u32;
        got.at.since(self.begun.mono + Duration::from_millis(40) * number)
    }

    /// Lets time pass at the source alone.
    fn run(&mut self, span: Duration) -> Now {
        let end = self.begun.after(span);
        while self.due().mono <= end.mono {
            self.push(self.due());
        }
        end
    }

    /// Lets time pass at both.
    fn run_with(&mut self, rig: &mut Rig, span: Duration) {
        let end = rig.now.mono + span;
        while rig.now.mono < end {
            let next = self.due().mono.min(end);
            rig.run(next.since(rig.now.mono));
            if self.due().mono <= rig.now.mono {
                self.push(rig.now);
            }
        }
    }
}

/// A source that has run for so long, and a viewer who begins then.
fn begin(span: Duration, settings: LiveSettings) -> (Source, Rig) {
    begin_with(span, settings, GROUP, 2000)
}

/// The same with groups of so many pictures, and a viewer who takes bursts at such a rate.
fn begin_with(span: Duration, settings: LiveSettings, group: i64, rate: u16) -> (Source, Rig) {
    let mut rig = Rig::new(crate::playback_rig::title(1, 25), false);
    let mut source = Source::new(settings, rig.now);
    source.group = group;
    source.begin();
    let now = source.run(span);
    let title = source.feed.title().ready().expect("its first random access point has come");
    assert!(title.is_live());
    rig = Rig::new(title, false);
    rig.now = now;
    rig.bind(0, &[VIDEO, AUDIO], rate);
    rig.play(None, None);
    (source, rig)
}

/// A device takes over primed, at such a rate.
fn take_over(rig: &mut Rig, old: u64, rate: u16) -> Playing {
    for branch in rig.routes.iter_mut().flat_map(|route| &mut route.branches).filter(|branch| branch.serial.0 / 2 == old) {
        (branch.leaving, branch.until) = (true, Some(rig.now.mono));
    }
    let update = rig.bind(old + 1, &[VIDEO, AUDIO], rate);
    rig.play(None, Some(update))
}

/// What a branch was sent of a flow has timestamps that rise with what was made; where it skips something they go on.
#[track_caller]
fn assert_in_time(rig: &Rig, branch: u64) {
    rig.assert_contiguous(branch);
    for pair in rig.got(branch, VIDEO).windows(2) {
        let apart = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        match (pair[1].offset - pair[0].offset) / OCTETS {
            1 => assert_eq!(apart, 3600, "branch {branch}: {pair:?}"),
            _ => assert!(pair[1].random_access && (1..90_000 * 12).contains(&apart), "branch {branch}: {pair:?}"),
        }
    }
}

#[test]
fn a_viewer_begins_with_the_last_random_access_point_and_catches_up() {
    // Three groups and 18 pictures.
    let (mut source, mut rig) = begin(seconds(6.72), LiveSettings::default());
    rig.work();
    let at_once = rig.got(0, VIDEO).len();
    assert!((1..=3).contains(&at_once), "{at_once} at once");
    assert!(rig.got(0, VIDEO)[0].random_access);
    source.run_with(&mut rig, seconds(1.0));
    let pictures = rig.got(0, VIDEO).len();
    // A second later it has the 18 that lay behind it, and those of that second but for the cushion.
    assert!((41..=43).contains(&pictures), "{pictures}");
    source.run_with(&mut rig, seconds(3.0));
    rig.assert_contiguous(0);
    let late: Vec<u64> = (rig.got(0, VIDEO).windows(2).skip(60)).map(|pair| pair[1].at.since(pair[0].at).as_millis() as u64).collect();
    assert!(late.iter().all(|apart| (39..=41).contains(apart)), "evenly: {late:?}");
}

#[test]
fn what_has_not_come_is_waited_for_and_a_source_that_is_silent_has_ended() {
    let (mut source, mut rig) = begin(seconds(2.0), LiveSettings::default());
    source.run_with(&mut rig, seconds(1.0));
    let before = rig.got(0, VIDEO).len();
    rig.run(seconds(4.0));
    assert_eq!(rig.got(0, VIDEO).len(), source.count as usize - 50, "all that came");
    assert!(rig.got(0, VIDEO).len() <= before + 2 && rig.byes.is_empty());
    // The source is back, its times begin anew, in the middle of a group.
    source.begin();
    (source.begun, source.count) = (rig.now, 10);
    source.begun.mono = source.begun.mono - seconds(0.4);
    source.run_with(&mut rig, seconds(3.0));
    rig.assert_contiguous(0);
    let got = rig.got(0, VIDEO);
    let key = (before..got.len()).find(|position| got[*position].random_access).expect("a key picture");
    assert!(key <= before + 2, "what comes before the first key picture is left out");
    let gap = got[key].timestamp.wrapping_sub(got[key - 1].timestamp) / 90;
    assert!((5_000..6_500).contains(&gap), "timestamps have gone on by the time that has passed, not {gap} ms");
    rig.run(seconds(17.0));
    assert_eq!(rig.byes.len(), 2, "it has ended");
}

#[test]
fn the_end_of_the_source_is_the_end_of_the_title() {
    let (mut source, mut rig) = begin(seconds(3.0), LiveSettings::default());
    source.run_with(&mut rig, seconds(0.5));
    source.feed.end();
    rig.run(seconds(1.5));
    assert_eq!(rig.byes.len(), 2);
    assert!(rig.got(0, VIDEO).len() >= 37);
}

#[test]
fn who_falls_behind_what_is_kept_goes_on_with_a_random_access_point() {
    let settings = LiveSettings { span: seconds(4.0), ..LiveSettings::default() };
    let (mut source, mut rig) = begin(seconds(3.0), settings);
    source.run_with(&mut rig, seconds(1.0));
    // The shard is held up: nobody polls.
    rig.now = rig.now.after(seconds(20.0));
    while source.due().mono <= rig.now.mono {
        source.push(source.due());
    }
    let before = rig.got(0, VIDEO).len();
    source.run_with(&mut rig, seconds(2.0));
    rig.assert_contiguous(0);
    assert!(rig.got(0, VIDEO)[before].random_access, "it goes on with a key picture");
    assert!(rig.got(0, VIDEO).len() - before < 110, "and not with all that has come meanwhile");
    assert!(rig.byes.is_empty());
}

#[test]
fn clocks_that_run_apart_are_put_together() {
    for fault in [-2_000, 2_000] {
        let (mut source, mut rig) = begin(seconds(2.5), LiveSettings::default());
        (source.begun, source.fault) = (source.due(), fault);
        source.begun.mono = source.begun.mono - seconds(source.count as f64 / 25.0 * (1.0 + fault as f64 / 1e6));
        source.run_with(&mut rig, seconds(600.0));
        rig.assert_contiguous(0);
        let behind = source.count - 50 - rig.got(0, VIDEO).len() as i64;
        assert!((0..=14).contains(&behind), "at {fault} it is {behind} pictures behind the source");
        assert!(rig.byes.is_empty());
    }
}

#[test]
fn a_pause_ends_with_what_is_live() {
    let (mut source, mut rig) = begin(seconds(3.0), LiveSettings::default());
    source.run_with(&mut rig, seconds(1.0));
    rig.presentation.pause(rig.now).expect("it plays");
    source.run_with(&mut rig, seconds(5.0));
    let before = rig.got(0, VIDEO).len();
    rig.play(None, None);
    source.run_with(&mut rig, seconds(3.0));
    rig.assert_contiguous(0);
    let behind = &rig.got(0, VIDEO)[before..];
    assert!(behind[0].random_access && (75..130).contains(&behind.len()), "{} pictures", behind.len());
}

#[test]
fn seeks_are_refused_and_the_scale_stays_one() {
    let (_source, mut rig) = begin(seconds(3.0), LiveSettings::default());
    let range = Some(NptRange { start: Some(MediaTime::from_seconds(2.0)), end: None });
    let refused = rig.presentation.play(PlayRequest { range, ..PlayRequest::default() }, rig.now);
    assert_eq!(refused, Err(PlaybackError::InvalidRange));
    let scale = Scale::nearest(2.0);
    let playing = rig.presentation.play(PlayRequest { scale, ..PlayRequest::default() }, rig.now).expect("it plays on");
    assert!(playing.scale.is_normal());
}

#[test]
fn devices_take_over_primed_aligned_and_at_once() {
    for way in [JoinWay::Primed, JoinWay::Aligned, JoinWay::AtOnce] {
        let (mut source, mut rig) = begin(seconds(3.0), LiveSettings::default());
        source.run_with(&mut rig, seconds(2.2));
        let update = rig.hand_over(0, 1, &[VIDEO, AUDIO], way, Duration::ZERO);
        let playing = rig.play(None, Some(update));
        if way == JoinWay::Aligned {
            assert!(playing.flows.iter().all(|flow| flow.later), "its numbers are not known yet");
        }
        source.run_with(&mut rig, seconds(4.0));
        for branch in [0, 1] {
            rig.assert_contiguous(branch);
        }
        let (old, new) = (rig.got(0, VIDEO), rig.got(1, VIDEO));
        let (last, first) = (old.last().expect("it was served"), new.first().expect("it is served"));
        let apart = first.sequence.wrapping_sub(last.sequence) as i16;
        match way {
            JoinWay::Primed => assert!(first.random_access && apart < 0, "{apart}"),
            JoinWay::Aligned => assert!(first.random_access && apart == 3, "it begins {apart} behind the old one's last"),
            JoinWay::AtOnce => assert!(apart <= 3, "{apart}"),
        }
        assert!([VIDEO, AUDIO].iter().all(|flow| rig.got(1, *flow).len() > 20), "{way:?}: both are served");
    }
}

#[test]
fn pictures_are_shown_although_their_times_stay_before_that_of_the_key_picture() {
    let mut rig = Rig::new(crate::playback_rig::title(1, 25), false);
    let mut source = Source::new(LiveSettings::default(), rig.now);
    source.begin();
    let key = LiveUnit { track: VIDEO, octets: vec![7; 1000], decode_time: None, presentation_time: 4 * 90_000, random_access: true };
    source.feed.push(key, rig.now).expect("it is taken");
    source.count = 1;
    let now = source.run(seconds(1.0));
    rig = Rig::new(source.feed.title().ready().expect("it has begun"), false);
    rig.now = now;
    rig.bind(0, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    source.run_with(&mut rig, seconds(0.2));
    // As many are passed over as can be leading pictures, with those that were there when it began.
    assert_eq!(rig.got(0, VIDEO).len(), 1, "of {}", source.count);
    source.run_with(&mut rig, seconds(1.2));
    assert!(rig.got(0, VIDEO).len() >= 25, "{} of {}", rig.got(0, VIDEO).len(), source.count);
    rig.assert_contiguous(0);
}

#[test]
fn moves_in_a_row_do_not_lead_further_and_further_behind() {
    // Where groups are longer than what is too far, one of them is.
    for (group, rate, most) in [(50, 1000, 5.0), (50, 2000, 5.0), (50, 4000, 5.0), (200, 1000, 8.0), (200, 2000, 8.0), (200, 4000, 8.0)] {
        let (mut source, mut rig) = begin_with(seconds(9.3), LiveSettings::default(), group, rate);
        for device in 0..10 {
            source.run_with(&mut rig, seconds(2.31 + 0.37 * device as f64));
            let answer = take_over(&mut rig, device, rate);
            source.run_with(&mut rig, seconds(0.2));
            for flow in [VIDEO, AUDIO] {
                let first = rig.got(device + 1, flow)[0];
                assert_eq!(answer.flows[flow].sequence, first.sequence, "device {device}, flow {flow}");
                let last = rig.got(device, flow).last().expect("it was served").sequence;
                assert!(first.sequence.wrapping_sub(last) as i16 <= PACKETS[flow] as i16, "nothing is between them");
            }
            assert_eq!(answer.flows[VIDEO].rtptime, rig.got(device + 1, VIDEO)[0].timestamp);
        }
        source.run_with(&mut rig, seconds(12.0));
        let ages: Vec<Duration> = (0..=10).map(|device| source.age(&rig.got(device, VIDEO)[0])).collect();
        assert!(ages.iter().all(|age| *age <= seconds(most + 0.1)), "{group} at {rate}: {ages:?}");
        assert!(ages.iter().any(|age| *age >= seconds(2.1)), "what lies behind the source is taken along: {ages:?}");
        let now = source.age(rig.got(10, VIDEO).last().expect("it is served"));
        assert!(now <= seconds(most + 0.1), "{group} at {rate}: {now:?}");
        (0..=10).for_each(|device| assert_in_time(&rig, device));
        assert!(rig.got(10, VIDEO).windows(2).all(|pair| pair[1].offset - pair[0].offset == OCTETS), "the last one is sent all");
    }
}

#[test]
fn who_is_left_far_behind_goes_on_nearer_to_the_source() {
    // Eight seconds to a group: a device that takes no bursts stays seven behind those who are there.
    let (mut source, mut rig) = begin_with(seconds(8.5), LiveSettings::default(), 200, 2000);
    source.run_with(&mut rig, seconds(6.5));
    rig.bind(1, &[VIDEO, AUDIO], 1000);
    source.run_with(&mut rig, seconds(2.0));
    let last = |source: &Source, rig: &Rig| source.age(rig.got(1, VIDEO).last().expect("it is served"));
    assert!(last(&source, &rig) > seconds(6.9), "while somebody is live, nothing is done to that");
    rig.unbind(0, EndReason::Released);
    source.run_with(&mut rig, seconds(0.5));
    assert!(last(&source, &rig) < seconds(2.0), "{:?}", last(&source, &rig));
    source.run_with(&mut rig, seconds(5.0));
    assert_in_time(&rig, 1);
    assert!(rig.byes.iter().all(|(branch, ..)| *branch == 0));
}

#[test]
fn leading_pictures_that_have_yet_to_come_are_left_out_for_who_begins_with_their_key_picture() {
    for way in [JoinWay::Primed, JoinWay::Aligned] {
        // Before, while and after what leads a key picture comes.
        for after in (0..320).step_by(20) {
            let mut rig = Rig::new(crate::playback_rig::title(1, 25), false);
            let mut source = Source::new(LiveSettings::default(), rig.now);
            (source.group, source.open) = (51, true);
            source.begin();
            let now = source.run(seconds(5.0));
            rig = Rig::new(source.feed.title().ready().expect("it has begun"), false);
            rig.now = now;
            rig.bind(0, &[VIDEO, AUDIO], 2000);
            rig.play(None, None);
            // What it began with has its leading pictures without numbers.
            while source.count % 51 != 1 || source.count < 200 {
                source.run_with(&mut rig, seconds(0.02));
            }
            source.run_with(&mut rig, Duration::from_millis(after));
            let asked = rig.now.mono;
            let update = rig.hand_over(0, 1, &[VIDEO, AUDIO], way, Duration::ZERO);
            rig.play(None, Some(update));
            source.run_with(&mut rig, seconds(4.0));
            let numbers: Vec<u64> = rig.got(1, VIDEO).iter().map(|got| got.offset / OCTETS).collect();
            assert!(rig.got(1, VIDEO)[0].random_access);
            assert_eq!(numbers[1], numbers[0] + 3, "{way:?} {after} ms after: {numbers:?}");
            assert!(numbers[1..].windows(2).all(|pair| pair[1] == pair[0] + 1), "no other picture is: {numbers:?}");
            let behind = numbers.last().zip(rig.got(0, VIDEO).last()).map(|(new, old)| (*new, old.offset / OCTETS));
            let (newest, last) = behind.expect("both were served");
            if way == JoinWay::Aligned {
                assert!(source.count as u64 - newest <= 5, "it is with the source");
                assert_eq!(numbers[0], last + 1, "{after} ms after: nothing comes twice and nothing is missing");
            } else {
                let waited = rig.got(1, VIDEO)[0].at.since(asked);
                assert!(waited <= seconds(0.2), "{after} ms after: it waited {waited:?}");
            }
            rig.assert_contiguous(0);
            for got in rig.got(1, VIDEO) {
                let number = got.sequence.wrapping_sub(rig.got(1, VIDEO)[0].sequence);
                assert_eq!(u64::from(number), (got.offset / OCTETS - numbers[0]) * PACKETS[VIDEO], "all keep their numbers");
            }
            assert!(rig.got(1, AUDIO).len() > 50);
        }
    }
}

#[test]
fn of_those_who_are_left_far_behind_nobody_loses_what_others_have_had() {
    let (mut source, mut rig) = begin_with(seconds(8.5), LiveSettings::default(), 200, 2000);
    source.run_with(&mut rig, seconds(6.0));
    rig.bind(1, &[VIDEO, AUDIO], 1000);
    source.run_with(&mut rig, seconds(1.0));
    rig.bind(2, &[VIDEO, AUDIO], 1000);
    // The next key picture has come.
    source.run_with(&mut rig, seconds(1.5));
    let last = |source: &Source, rig: &Rig, branch| source.age(rig.got(branch, VIDEO).last().expect("it is served"));
    let apart = last(&source, &rig, 2).saturating_sub(last(&source, &rig, 1));
    assert!(apart > seconds(0.9), "they lie apart: {apart:?}");
    rig.unbind(0, EndReason::Released);
    source.run_with(&mut rig, seconds(1.0));
    for branch in [1, 2] {
        assert_in_time(&rig, branch);
        assert!(rig.got(branch, VIDEO).windows(2).all(|pair| pair[1].offset - pair[0].offset == OCTETS), "{branch} is sent all");
    }
    rig.unbind(1, EndReason::Released);
    source.run_with(&mut rig, seconds(0.5));
    assert!(last(&source, &rig, 2) < seconds(3.0), "who is alone comes nearer: {:?}", last(&source, &rig, 2));
    assert_in_time(&rig, 2);
}

#[test]
fn behind_one_whose_key_picture_is_overdue_sound_and_pictures_lie_as_far_behind() {
    for late in (40..240).step_by(10) {
        let mut rig = Rig::new(crate::playback_rig::title(1, 25), false);
        let mut source = Source::new(LiveSettings::default(), rig.now);
        (source.group, source.open) = (51, true);
        source.begin();
        let now = source.run(seconds(5.4));
        rig = Rig::new(source.feed.title().ready().expect("it has begun"), false);
        rig.now = now;
        rig.bind(0, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        source.run_with(&mut rig, seconds(0.5));
        // This one stays behind.
        rig.bind(1, &[VIDEO, AUDIO], 1000);
        let number = |got: &Got| got.offset / OCTETS;
        while rig.got(1, VIDEO).last().is_none_or(|last| number(last) % 51 != 50) {
            source.run_with(&mut rig, seconds(0.01));
        }
        // Its pictures are held up, its sound is not.
        rig.presentation.defer(VIDEO, BranchSerial(2 + VIDEO as u64), rig.now.mono + seconds(0.3));
        source.run_with(&mut rig, Duration::from_millis(late));
        let update = rig.hand_over(1, 2, &[VIDEO, AUDIO], JoinWay::Aligned, Duration::ZERO);
        rig.play(None, Some(update));
        source.run_with(&mut rig, seconds(5.0));
        let ages = [VIDEO, AUDIO].map(|flow| source.age(rig.got(2, flow).last().expect("it is served")));
        let apart = ages[0].max(ages[1]) - ages[0].min(ages[1]);
        assert!(apart < seconds(0.3), "{late} ms late: pictures and sound are {ages:?} behind");
    }
}

#[test]
fn who_waits_for_leading_pictures_until_its_key_picture_is_gone_goes_on_with_all() {
    let mut rig = Rig::new(crate::playback_rig::title(1, 25), false);
    let settings = LiveSettings { span: seconds(4.0), ..LiveSettings::default() };
    let mut source = Source::new(settings, rig.now);
    (source.group, source.open) = (51, true);
    source.begin();
    let now = source.run(seconds(5.0));
    rig = Rig::new(source.feed.title().ready().expect("it has begun"), false);
    rig.now = now;
    rig.bind(0, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    while source.count % 51 != 0 {
        let wait = source.due().mono.since(rig.now.mono);
        source.run_with(&mut rig, wait);
    }
    rig.way = JoinWay::Aligned;
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.run(source.due().mono.since(rig.now.mono));
    source.push(rig.now);
    // It enters; its connection is full from then on.
    rig.sync();
    rig.stall_until(1, rig.now.mono + seconds(9.0));
    source.run_with(&mut rig, seconds(8.9));
    assert_eq!(rig.got(1, VIDEO), []);
    source.run_with(&mut rig, seconds(3.0));
    for flow in [VIDEO, AUDIO] {
        assert!(rig.got(1, flow).len() > 60, "of flow {flow} it is sent {}", rig.got(1, flow).len());
    }
}

#[test]
fn a_key_picture_that_nobody_can_begin_with_is_looked_at_once() {
    let (mut source, mut rig) = begin(seconds(5.0), LiveSettings::default());
    while source.count % GROUP != 1 || source.count < 190 {
        source.run_with(&mut rig, seconds(0.01));
    }
    // It is due in 15 ms, and a connection begins in 20 ms at the earliest.
    let due = source.begun.mono + seconds(0.04) * (source.count as u32 - 1) + seconds(0.05);
    let wait = due.since(rig.now.mono) - seconds(0.015);
    source.run_with(&mut rig, wait);
    rig.way = JoinWay::Aligned;
    rig.connected = true;
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.work();
    let next = rig.presentation.next_deadline().expect("it is looked for another one");
    assert!(next <= rig.now.mono + seconds(0.01), "in {:?}", next.since(rig.now.mono));
    for _ in 0..4 {
        rig.now = rig.now.after(seconds(0.001));
        rig.work();
        assert_eq!(rig.presentation.next_deadline(), Some(next), "nothing is looked at anew before");
    }
    source.run_with(&mut rig, seconds(3.0));
    let first = rig.got(1, VIDEO).first().expect("it is served");
    assert!(first.random_access && first.at > due + seconds(1.0), "it begins with the next one");
}

#[test]
fn a_hand_over_that_comes_nearer_tells_how_much_is_shown_nowhere() {
    let (mut source, mut rig) = begin_with(seconds(9.3), LiveSettings::default(), 200, 1000);
    source.run_with(&mut rig, seconds(5.2));
    take_over(&mut rig, 0, 1000);
    source.run_with(&mut rig, seconds(2.5));
    // The next key picture has come, the last one lies too far back.
    let left = [VIDEO, AUDIO].map(|flow| *rig.got(1, flow).last().expect("it was served"));
    take_over(&mut rig, 1, 1000);
    source.run_with(&mut rig, seconds(1.0));
    for flow in [VIDEO, AUDIO] {
        let told = rig.handed_over[&(2, flow)];
        let first = rig.got(2, flow)[0];
        let skipped = seconds((first.offset - left[flow].offset) as f64 / OCTETS as f64 * 0.04);
        assert!(skipped > seconds(4.0), "flow {flow} goes on {skipped:?} later");
        assert!(told.repeated.is_zero(), "flow {flow}: {told:?}");
        let apart = told.missing.max(skipped) - told.missing.min(skipped);
        assert!(apart <= seconds(0.07), "flow {flow}: {told:?}, and it goes on {skipped:?} later");
    }
}
