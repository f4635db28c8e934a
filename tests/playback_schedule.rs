//! Presentations under a simulated clock: what is sent when, to whom, with which numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flowsteer::library::{AacConfig, Codec, H264Config, Sample, SampleIndex, Title, TitlePath, Track};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::playback::flow::FlowIdentity;
use flowsteer::playback::presentation::{Audience, Presentation, PresentationSettings, Work};
use flowsteer::playback::{FlowFacts, NptRange, PlayRequest, PlaybackError, PresentationId, PresentationState};
use flowsteer::quantities::{ClockRate, FlowLabel, MediaKind, MediaTime, PayloadType, Ssrc};
use flowsteer::steering::{BindingId, Branch, BranchSerial, CareOf, EndReason, Ended, HomeAddress, Join, JoinWay, Route, UpdateId};

const VIDEO: usize = 0;
const AUDIO: usize = 1;
/// Packets of an access unit of either flow.
const PACKETS: [u64; 2] = [3, 1];

/// 25 pictures a second in decode order I P B B P B B …, a random access point every `distance`, closed.
fn pictures(seconds: i64, distance: i64) -> SampleIndex {
    let count = seconds * 25;
    let samples = (0..count).map(|number| {
        let in_group = number % distance;
        // Groups of three after the first picture: shown 3, 1, 2.
        let shift = match (in_group, (in_group - 1) % 3) {
            (0, _) => 1,
            (_, 0) if in_group + 2 < distance => 3,
            (_, 0) => 1 + (distance - 1 - in_group).min(2),
            (_, 1) => 0,
            _ if (in_group - 1) % 3 == 2 => 0,
            _ => 0,
        };
        let size = if in_group == 0 { 4000 } else { 1000 };
        Sample::new((number * 5000) as u64, size, number * 3600, (shift * 3600) as i32, in_group == 0).expect("small")
    });
    SampleIndex::new(samples.collect(), 3600)
}

fn sound(seconds: i64) -> SampleIndex {
    let count = seconds * 48_000 / 1024;
    let samples = (0..count).map(|number| Sample::new(1_000_000 + (number * 300) as u64, 300, number * 1024, 0, true).expect("small"));
    SampleIndex::new(samples.collect(), 1024)
}

fn title(seconds: i64, distance: i64) -> Arc<Title> {
    title_of(MediaTime::from_seconds(seconds as f64), pictures(seconds, distance), 48_000, sound(seconds))
}

fn title_of(duration: MediaTime, pictures: SampleIndex, sample_rate: u32, sound: SampleIndex) -> Arc<Title> {
    let h264 = H264Config {
        length_size: 4,
        profile_level_id: [100, 0, 30],
        sequence_parameter_sets: vec![vec![0x67]],
        picture_parameter_sets: vec![vec![0x68]],
        width: 640,
        height: 360,
    };
    let aac = AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate, channels: 2 };
    let track = |kind, codec, timescale, index| Track {
        kind,
        codec,
        timescale: ClockRate::new(timescale).expect("not zero"),
        language: None,
        index,
    };
    Arc::new(Title {
        path: TitlePath::new("film.mp4").expect("a path"),
        duration,
        tracks: vec![
            track(MediaKind::Video, Codec::H264(h264), 90_000, pictures),
            track(MediaKind::Audio, Codec::Aac(aac), sample_rate, sound),
        ],
        remark: None,
        source: Arc::new(Vec::<u8>::new()),
    })
}

/// A packet run as one branch got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Got {
    at: Mono,
    sequence: u16,
    timestamp: u32,
    random_access: bool,
    offset: u64,
}

/// A presentation with the part of the data plane played by the test.
struct Rig {
    presentation: Presentation,
    now: Now,
    routes: Vec<Route>,
    /// By branch and flow.
    got: BTreeMap<(u64, usize), Vec<Got>>,
    byes: Vec<(u64, usize, Mono)>,
    reports: Vec<(u64, usize, Mono)>,
    ended: bool,
    updates: u64,
    /// A branch whose connection takes nothing.
    stalled: Option<u64>,
    /// Access units (flow and offset) that cannot be read while they are live.
    unreadable: Vec<(usize, u64)>,
}

impl Rig {
    fn new(title: Arc<Title>, looping: bool) -> Self {
        let now = Now { mono: Mono::from_nanos(10_000_000_000), utc: Utc::from_unix_seconds(1_800_000_000) };
        let rates: Vec<ClockRate> = title.tracks.iter().map(|track| track.timescale).collect();
        let mut presentation = Presentation::new(PresentationId(1), title, MediaTime::ZERO, looping, PresentationSettings::default(), now);
        let mut routes = Vec::new();
        for (track, rate) in rates.into_iter().enumerate() {
            let home = HomeAddress(format!("fd00::{}", track + 1).parse().expect("an address"));
            let facts = FlowFacts {
                track,
                home,
                label: FlowLabel::new(track as u32 + 1).expect("a label"),
                ssrc: Ssrc(track as u32),
                payload_type: PayloadType::dynamic(track).expect("few"),
                clock_rate: rate,
            };
            let identity = FlowIdentity { sequence: 65_500, timestamp: u32::MAX - 1000 };
            presentation.add_flow(facts, identity, now).expect("room");
            routes.push(Route {
                epoch: 0,
                home,
                label: Some(facts.label),
                branches: Vec::new(),
                ended: Vec::new(),
                reserved: true,
                ports: (5004, 5005),
            });
        }
        Self {
            presentation,
            now,
            routes,
            got: BTreeMap::new(),
            byes: Vec::new(),
            reports: Vec::new(),
            ended: false,
            updates: 0,
            stalled: None,
            unreadable: Vec::new(),
        }
    }

    /// Binds a branch of each of `flows`, in one step; its update.
    fn bind(&mut self, serial: u64, flows: &[usize], rate_milli: u16) -> UpdateId {
        self.updates += 1;
        let update = UpdateId(self.updates);
        self.show(serial, flows, rate_milli, flows.len());
        update
    }

    /// Shows branches of the last update, which has `together` of them, in the routes of `flows`.
    fn show(&mut self, serial: u64, flows: &[usize], rate_milli: u16, together: usize) {
        let update = UpdateId(self.updates);
        let port = 5000 + serial as u16 * 10;
        for &flow in flows {
            let at = |port| SocketAddr::from(([192, 0, 2, 1], port + flow as u16 * 2));
            self.routes[flow].branches.push(Branch {
                serial: BranchSerial(serial * 2 + flow as u64),
                binding: BindingId(serial as u16),
                care_of: CareOf::Udp { rtp: at(port), rtcp: at(port + 1), source: None },
                update,
                together,
                join: Join { way: JoinWay::Primed, rate_milli, rtx: false },
                leaving: false,
                since: self.now.mono,
            });
        }
        self.sync();
    }

    fn unbind(&mut self, serial: u64, reason: EndReason) {
        for (flow, route) in self.routes.iter_mut().enumerate() {
            if let Some(position) = route.branches.iter().position(|branch| branch.serial.0 == serial * 2 + flow as u64) {
                let branch = route.branches.remove(position);
                route.ended.push(Ended { branch, reason });
            }
        }
        self.sync();
    }

    fn sync(&mut self) {
        let routes: Vec<_> = self.routes.iter().cloned().map(Arc::new).collect();
        self.presentation.sync(&routes, self.now);
    }

    fn play(&mut self, range: Option<(f64, Option<f64>)>, joining: Option<UpdateId>) -> flowsteer::playback::Playing {
        let range =
            range.map(|(start, end)| NptRange { start: Some(MediaTime::from_seconds(start)), end: end.map(MediaTime::from_seconds) });
        self.presentation.play(PlayRequest { range, joining, still: false }, self.now).expect("playable")
    }

    /// Lets time pass, doing at each deadline what is asked.
    fn run(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            self.work();
            let next = self.presentation.next_deadline();
            let Some(next) = next.filter(|next| *next <= end && !self.ended) else { break };
            let step = next.since(self.now.mono).max(Duration::from_nanos(1));
            self.now = self.now.after(step);
        }
        self.now = self.now.after(end.since(self.now.mono));
    }

    fn work(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "it never comes to rest");
            match self.presentation.poll(self.now) {
                None => return,
                Some(Work::Ended) => {
                    self.ended = true;
                    return;
                }
                Some(Work::Bye { flow, state }) => self.byes.push((state.branch.serial.0 / 2, flow, self.now.mono)),
                Some(Work::Report { flow, branch }) => self.reports.push((branch.0 / 2, flow, self.now.mono)),
                Some(Work::Unit { flow, unit, sequence, timestamp, audience, .. }) => {
                    if let Audience::Priming(serial) = audience
                        && self.stalled == Some(serial.0 / 2)
                    {
                        self.presentation.defer(flow, serial, self.now.mono + Duration::from_millis(5));
                        continue;
                    }
                    if audience == Audience::Live && self.unreadable.contains(&(flow, unit.offset)) {
                        self.presentation.skip(flow, audience, self.now);
                        continue;
                    }
                    let branches: Vec<BranchSerial> = self.routes[flow].branches.iter().map(|branch| branch.serial).collect();
                    let wanted = |serial: &BranchSerial| match audience {
                        Audience::Live => self.presentation.is_live(flow, *serial, self.now),
                        Audience::Priming(only) => only == *serial,
                    };
                    let served: Vec<BranchSerial> = branches.into_iter().filter(wanted).collect();
                    for serial in &served {
                        let got = Got { at: self.now.mono, sequence, timestamp, random_access: unit.random_access, offset: unit.offset };
                        self.got.entry((serial.0 / 2, flow)).or_default().push(got);
                    }
                    self.presentation.sent(flow, audience, PACKETS[flow], u64::from(unit.size), &served, self.now);
                }
            }
        }
    }

    fn got(&self, branch: u64, flow: usize) -> &[Got] {
        self.got.get(&(branch, flow)).map_or(&[], Vec::as_slice)
    }

    /// Each access unit follows the one before: numbers without a gap.
    fn assert_contiguous(&self, branch: u64) {
        for flow in [VIDEO, AUDIO] {
            for pair in self.got(branch, flow).windows(2) {
                let next = pair[0].sequence.wrapping_add(PACKETS[flow] as u16);
                assert_eq!(pair[1].sequence, next, "branch {branch}, flow {flow}, {pair:?}");
            }
        }
    }
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

fn near(one: Duration, other: f64) -> bool {
    (one.as_secs_f64() - other).abs() < 0.0005
}

#[test]
fn a_title_is_sent_once_in_order_and_on_time_and_ends_with_bye() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    let begun = rig.now.mono;
    let playing = rig.play(None, None);
    assert_eq!((playing.start, playing.end), (MediaTime::ZERO, MediaTime::from_seconds(10.0)));
    rig.run(seconds(30.0));
    rig.assert_contiguous(1);
    for (flow, count) in [(VIDEO, 250), (AUDIO, 468)] {
        let got = rig.got(1, flow);
        assert_eq!(got.len(), count);
        assert!(got.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        assert_eq!((got[0].sequence, playing.flows[flow].sequence), (65_500, 65_500));
    }
    for (number, got) in rig.got(1, VIDEO).iter().enumerate() {
        assert!(near(got.at.since(begun), number as f64 * 0.04), "picture {number} at {:?}", got.at.since(begun));
    }
    // Timestamps are those of presentation: the first picture is shown one picture after it is decoded.
    assert_eq!(rig.got(1, VIDEO)[0].timestamp, playing.flows[VIDEO].rtptime.wrapping_add(3600));
    assert_eq!(rig.got(1, AUDIO)[7].timestamp, playing.flows[AUDIO].rtptime.wrapping_add(7 * 1024));
    let told: Vec<_> = rig.byes.iter().map(|(branch, flow, at)| (*branch, *flow, at.since(begun) >= seconds(9.98))).collect();
    assert_eq!(told, [(1, VIDEO, true), (1, AUDIO, true)]);
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    // A report with the first packet, then every five seconds.
    let reports: Vec<u64> = rig.reports.iter().filter(|(_, flow, _)| *flow == VIDEO).map(|(_, _, at)| at.since(begun).as_secs()).collect();
    assert_eq!(reports[..2], [0, 5]);
}

#[test]
fn after_the_end_another_play_begins_anew_without_a_break_in_numbers() {
    let mut rig = Rig::new(title(4, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(6.0));
    let before = *rig.got(1, AUDIO).last().expect("sound");
    let playing = rig.play(None, None);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(6.0));
    rig.assert_contiguous(1);
    assert_eq!(rig.got(1, VIDEO).len(), 200);
    assert_eq!(rig.got(1, AUDIO)[187].sequence, before.sequence.wrapping_add(1));
    let step = rig.got(1, AUDIO)[187].timestamp.wrapping_sub(before.timestamp);
    assert!((1024..12_000).contains(&step), "{step}");
}

#[test]
fn a_pause_stops_everything_and_resumes_with_the_next_access_unit() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(3.0));
    let at = rig.presentation.pause(rig.now).expect("paused");
    assert!(near(at.since(MediaTime::ZERO), 3.0), "{at:?}");
    let sent = rig.got(1, VIDEO).len();
    rig.run(seconds(60.0));
    assert_eq!(rig.got(1, VIDEO).len(), sent);
    let playing = rig.play(None, None);
    assert!(near(playing.start.since(MediaTime::ZERO), 3.0));
    assert_eq!(playing.flows[VIDEO].sequence, rig.got(1, VIDEO)[sent - 1].sequence.wrapping_add(3));
    rig.run(seconds(10.0));
    rig.assert_contiguous(1);
    assert_eq!(rig.got(1, VIDEO).len(), 250);
    // The timestamps stood still with the clock.
    assert_eq!(rig.got(1, AUDIO)[200].timestamp.wrapping_sub(rig.got(1, AUDIO)[0].timestamp), 200 * 1024);
}

#[test]
fn a_seek_starts_at_the_random_access_point_before_and_says_so() {
    let mut rig = Rig::new(title(20, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(2.5));
    for target in [9.3, 9.3, 17.9, 1.0, 0.5] {
        let before = rig.got(1, VIDEO).len();
        let (old_sound, old_video) = (rig.got(1, AUDIO).len(), *rig.got(1, VIDEO).last().expect("pictures"));
        let playing = rig.play(Some((target, None)), None);
        let start = playing.start.as_seconds();
        let expected = (target * 25.0 / 50.0).floor() * 2.0;
        assert!(start <= target && (start - expected).abs() <= 0.041, "{start} for {target}");
        rig.run(seconds(0.7));
        let (first, sound) = (rig.got(1, VIDEO)[before], rig.got(1, AUDIO)[old_sound]);
        assert!(first.random_access);
        assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
        assert_eq!(sound.sequence, playing.flows[AUDIO].sequence);
        assert!(first.timestamp.wrapping_sub(old_video.timestamp) < 90_000, "timestamps go on");
    }
    rig.assert_contiguous(1);
}

#[test]
fn ranges_end_where_they_say_and_nonsense_is_refused() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(Some((4.1, Some(6.0))), None);
    rig.run(seconds(10.0));
    let shown = rig.got(1, VIDEO).len();
    assert!((50..=54).contains(&shown), "{shown}");
    assert_eq!(rig.byes, []);
    for (start, end) in [(21.0, None), (-1.0, None), (5.0, Some(5.0)), (5.0, Some(4.0))] {
        let range = NptRange { start: Some(MediaTime::from_seconds(start)), end: end.map(MediaTime::from_seconds) };
        let outcome = rig.presentation.play(PlayRequest { range: Some(range), joining: None, still: false }, rig.now);
        assert_eq!(outcome, Err(PlaybackError::InvalidRange), "{start} {end:?}");
    }
    // At the very end: the last random access point.
    let before = rig.got(1, VIDEO).len();
    rig.play(Some((20.0, None)), None);
    rig.run(seconds(5.0));
    assert!(rig.got(1, VIDEO).len() > before);
    assert_eq!(rig.byes.len(), 2);
}

#[test]
fn a_branch_that_joins_is_primed_from_the_last_random_access_point_and_catches_up() {
    for rate in [1500, 2000, 8000] {
        let mut rig = Rig::new(title(30, 50), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(5.3));
        let live = rig.got(1, VIDEO).len();
        let update = rig.bind(2, &[VIDEO, AUDIO], rate);
        let playing = rig.play(None, Some(update));
        rig.run(seconds(6.0));
        rig.assert_contiguous(1);
        rig.assert_contiguous(2);
        // From the point at four seconds, faster than real time.
        assert!((4.0..4.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
        let (pictures, sounds) = (rig.got(2, VIDEO), rig.got(2, AUDIO));
        assert!(pictures[0].random_access);
        assert_eq!(pictures[0].offset, 100 * 5000);
        assert_eq!((pictures[0].sequence, sounds[0].sequence), (playing.flows[VIDEO].sequence, playing.flows[AUDIO].sequence));
        let sound_start = (sounds[0].offset - 1_000_000) / 300 * 1024;
        assert!((4 * 48_000 - 1024..=4 * 48_000 + 4096).contains(&sound_start), "sound begins with the picture: {sound_start}");
        // Everything is byte for byte what the first branch has had: same number, same timestamp, same unit.
        for (flow, got) in [(VIDEO, pictures), (AUDIO, sounds)] {
            for unit in got {
                let twin = rig.got(1, flow).iter().find(|twin| twin.sequence == unit.sequence).expect("sent to the first as well");
                assert_eq!((twin.timestamp, twin.offset), (unit.timestamp, unit.offset));
            }
        }
        // Caught up after 1.3 s / (rate - 1), and never all at once.
        let caught_up =
            pictures.iter().find(|unit| rig.got(1, VIDEO).iter().any(|twin| twin.sequence == unit.sequence && twin.at == unit.at));
        let took = caught_up.expect("it catches up").at.since(pictures[0].at).as_secs_f64();
        let expected = 1.3 / (f64::from(rate) / 1000.0 - 1.0);
        assert!((took - expected).abs() < 0.15, "rate {rate}: {took} for {expected}");
        assert!(rig.got(1, VIDEO).len() >= live + 149);
    }
}

#[test]
fn who_takes_back_skips_nothing_that_was_not_seen() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.9));
    rig.bind(2, &[VIDEO, AUDIO], 4000);
    rig.run(seconds(2.0));
    rig.unbind(1, EndReason::Moved);
    rig.run(seconds(2.3));
    // The second device shows the film 1.9 s behind: at 10.2 s live it is at 8.3.
    let update = rig.bind(3, &[VIDEO, AUDIO], 4000);
    let playing = rig.play(None, Some(update));
    assert!((8.0..8.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    rig.run(seconds(1.0));
    rig.assert_contiguous(3);
}

#[test]
fn sound_alone_joins_where_the_picture_is() {
    let mut rig = Rig::new(title(30, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.5));
    let update = rig.bind(2, &[AUDIO], 2000);
    let playing = rig.play(None, Some(update));
    assert!((5.4..5.6).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    rig.run(seconds(1.0));
    assert_eq!(rig.got(2, VIDEO), []);
    rig.assert_contiguous(2);
}

#[test]
fn a_move_ends_with_bye_and_a_roaming_device_hears_none() {
    for (reason, told) in [(EndReason::Moved, 2), (EndReason::Roamed, 0), (EndReason::Expired, 2), (EndReason::Removed, 2)] {
        let mut rig = Rig::new(title(30, 50), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(3.0));
        rig.bind(2, &[VIDEO, AUDIO], 2000);
        rig.run(seconds(1.0));
        rig.unbind(1, reason);
        let last = rig.got(1, VIDEO).len();
        rig.run(seconds(3.0));
        assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 1).count(), told, "{reason:?}");
        assert_eq!(rig.got(1, VIDEO).len(), last);
        assert_eq!(rig.presentation.state(), PresentationState::Playing);
    }
}

#[test]
fn with_nobody_bound_it_lingers_keeps_its_place_and_resumes_for_who_comes() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(7.0));
    rig.unbind(1, EndReason::Removed);
    rig.run(seconds(50.0));
    assert_eq!(rig.presentation.state(), PresentationState::Lingering);
    assert!(near(rig.presentation.position(rig.now).since(MediaTime::ZERO), 7.0));
    let update = rig.bind(2, &[VIDEO, AUDIO], 2000);
    let playing = rig.play(None, Some(update));
    assert!((6.0..6.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    rig.run(seconds(5.0));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
    rig.assert_contiguous(2);
    rig.unbind(2, EndReason::Removed);
    rig.run(seconds(59.0));
    assert!(!rig.ended);
    rig.run(seconds(2.0));
    assert!(rig.ended);
}

#[test]
fn what_ran_goes_on_by_itself_when_a_device_is_bound_again_and_what_stood_stands() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(7.0));
    rig.unbind(1, EndReason::Expired);
    rig.run(seconds(10.0));
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
    assert!(near(rig.presentation.position(rig.now).since(MediaTime::ZERO), 12.0));
    rig.assert_contiguous(2);
    rig.presentation.pause(rig.now).expect("it runs");
    rig.unbind(2, EndReason::Expired);
    rig.run(seconds(1.0));
    rig.bind(3, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    assert!(!rig.got.contains_key(&(3, VIDEO)));
}

#[test]
fn played_before_anybody_is_bound_it_waits_paused_and_starts_with_the_first_branch() {
    let mut rig = Rig::new(title(60, 50), false);
    let playing = rig.play(None, None);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(1000.0));
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    let request =
        PlayRequest { range: Some(NptRange { start: Some(MediaTime::from_seconds(20.0)), end: None }), joining: None, still: true };
    let sought = rig.presentation.play(request, rig.now).expect("inside the title");
    rig.run(seconds(1.0));
    assert_eq!((rig.presentation.state(), rig.ended), (PresentationState::Paused, false));
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(3.0));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
    assert!(near(rig.presentation.position(rig.now).since(sought.start), 3.0));
    assert!(rig.got(1, VIDEO)[0].random_access);
    rig.assert_contiguous(1);
    rig.unbind(1, EndReason::Expired);
    rig.run(seconds(61.0));
    assert!(rig.ended);
}

#[test]
fn a_pause_ends_the_waiting_and_so_does_the_end_of_its_home_addresses() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.play(None, None);
    rig.presentation.pause(rig.now).expect("it waits");
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(3.0));
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    assert!(rig.got.is_empty());

    let mut rig = Rig::new(title(60, 50), false);
    rig.play(None, None);
    for route in &mut rig.routes {
        route.reserved = false;
    }
    let routes: Vec<_> = rig.routes.iter().cloned().map(Arc::new).collect();
    rig.presentation.sync(&routes, rig.now);
    assert_eq!(rig.presentation.state(), PresentationState::Lingering);
    rig.run(seconds(61.0));
    assert!(rig.ended);
}

#[test]
fn a_loop_goes_on_without_a_seam_also_for_who_joins_across_it() {
    let mut rig = Rig::new(title(4, 25), true);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(8.3));
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
    assert_eq!(rig.byes, []);
    assert!(rig.got(1, VIDEO).len() > 320);
    let sounds = rig.got(1, AUDIO);
    assert!(sounds.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) < 6000));
}

#[test]
fn a_seek_takes_everybody_along_and_one_who_was_catching_up_is_where_all_are() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.5));
    rig.bind(2, &[VIDEO, AUDIO], 1500);
    rig.run(seconds(0.2));
    let sent = (rig.got(1, VIDEO).len(), rig.got(2, VIDEO).len());
    let playing = rig.play(Some((30.0, None)), None);
    rig.run(seconds(2.0));
    rig.assert_contiguous(1);
    for (branch, before) in [(1, sent.0), (2, sent.1)] {
        let first = rig.got(branch, VIDEO)[before];
        assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
        assert!(first.random_access);
    }
}

#[test]
fn one_that_nobody_ever_bound_ends() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.run(seconds(151.0));
    assert!(rig.ended);
}

#[test]
fn an_end_in_whole_milliseconds_is_the_titles_end() {
    // 431 frames at 44.1 kHz: 10.00780… s, of which a description tells 10.007.
    let samples = (0..431).map(|number| Sample::new(1_000_000 + number * 300, 300, number as i64 * 1024, 0, true).expect("small"));
    let duration = MediaTime::from_ticks(431 * 1024, ClockRate::new(44_100).expect("not zero"));
    for end in [10.007, 10.0078, 10.2, 3600.0] {
        let mut rig = Rig::new(title_of(duration, pictures(10, 50), 44_100, SampleIndex::new(samples.clone().collect(), 1024)), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        let playing = rig.play(Some((0.0, Some(end))), None);
        assert_eq!(playing.end, duration, "{end}");
        rig.run(seconds(12.0));
        assert_eq!(rig.got(1, AUDIO).len(), 431);
        assert_eq!(rig.byes.len(), 2, "{end}: both flows say BYE");
        assert_eq!(rig.play(None, None).start, MediaTime::ZERO, "{end}: it begins anew");
    }
}

#[test]
fn play_goes_on_where_a_range_has_ended() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(Some((4.1, Some(6.0))), None);
    rig.run(seconds(10.0));
    let shown = rig.got(1, VIDEO).len();
    let playing = rig.play(None, None);
    assert!((5.9..6.1).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    assert_eq!(playing.end, MediaTime::from_seconds(20.0));
    assert_eq!(playing.flows[VIDEO].sequence, rig.got(1, VIDEO)[shown - 1].sequence.wrapping_add(3));
    rig.run(seconds(20.0));
    rig.assert_contiguous(1);
    assert_eq!(rig.got(1, VIDEO).last().expect("pictures").offset, 499 * 5000);
    assert_eq!(rig.byes.len(), 2);
    let outcome = rig
        .presentation
        .play(PlayRequest { range: Some(NptRange { start: None, end: Some(MediaTime::ZERO) }), joining: None, still: false }, rig.now);
    assert_eq!(outcome, Err(PlaybackError::InvalidRange));
}

#[test]
fn an_end_behind_the_position_is_refused() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.0));
    let range = NptRange { start: None, end: Some(MediaTime::from_seconds(4.0)) };
    assert_eq!(
        rig.presentation.play(PlayRequest { range: Some(range), joining: None, still: false }, rig.now),
        Err(PlaybackError::InvalidRange)
    );
    rig.run(seconds(30.0));
    assert_eq!(rig.got(1, VIDEO).len(), 500);
}

/// A slide show: a picture every ten seconds, decoded `ahead` seconds before it is shown.
fn slides(ahead: i32) -> Arc<Title> {
    let samples = (0..6).map(|number| Sample::new(number * 5000, 4000, number as i64 * 900_000, ahead * 90_000, true).expect("small"));
    title_of(MediaTime::from_seconds(60.0), SampleIndex::new(samples.collect(), 900_000), 48_000, sound(60))
}

#[test]
fn a_seek_out_of_a_long_picture_does_not_wait_for_its_end() {
    for ahead in [0, 3] {
        let mut rig = Rig::new(slides(ahead), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(1.0));
        for target in [33.0, 44.0, 4.0] {
            let (before, sounds) = (rig.got(1, VIDEO).len(), rig.got(1, AUDIO).len());
            let last = *rig.got(1, VIDEO).last().expect("a picture");
            let begun = rig.now.mono;
            let playing = rig.play(Some((target, None)), None);
            rig.run(seconds(0.5));
            let first = rig.got(1, VIDEO)[before];
            assert!(first.at.since(begun) <= seconds(0.25), "{ahead} {target}: {:?}", first.at.since(begun));
            // What is decoded long before it is shown is sent long before its sound.
            assert!(ahead > 0 || rig.got(1, AUDIO).len() > sounds, "sound goes on as well");
            let step = first.timestamp.wrapping_sub(last.timestamp);
            assert!((1..90_000 * 10).contains(&step), "{ahead} {target}: timestamps do not go back: {step}");
            assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
        }
        rig.assert_contiguous(1);
    }
}

#[test]
fn one_that_takes_nothing_withholds_the_end_from_nobody() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(8.9));
    rig.stalled = Some(2);
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.bind(3, &[VIDEO, AUDIO], 1100);
    rig.run(seconds(1.2));
    assert_eq!(rig.byes.iter().map(|(branch, flow, _)| (*branch, *flow)).collect::<Vec<_>>(), [(1, VIDEO), (1, AUDIO)]);
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    rig.run(seconds(20.0));
    rig.assert_contiguous(3);
    let (last, complete) = (rig.got(1, VIDEO).last().expect("pictures"), rig.got(3, VIDEO).last().expect("pictures"));
    assert_eq!(complete.sequence, last.sequence, "who is still catching up gets the rest");
    assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 3).count(), 2);
    assert!(rig.byes.iter().all(|(branch, ..)| *branch != 2));
    rig.bind(4, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(1.0));
    assert!(rig.byes.iter().all(|(branch, ..)| *branch != 4), "who comes later is to start it anew");
    let playing = rig.play(None, None);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(11.0));
    for branch in [1, 2, 3, 4] {
        assert_eq!(rig.got(branch, VIDEO).last().expect("pictures").offset, 249 * 5000);
        let expected = if branch == 1 || branch == 3 { 4 } else { 2 };
        assert_eq!(rig.byes.iter().filter(|(other, ..)| *other == branch).count(), expected, "branch {branch}");
    }
}

#[test]
fn flows_of_one_update_join_together_though_their_routes_change_one_after_the_other() {
    for first in [AUDIO, VIDEO] {
        let mut rig = Rig::new(title(30, 50), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(5.3));
        rig.updates += 1;
        rig.show(2, &[first], 2000, 2);
        rig.run(seconds(0.005));
        rig.show(2, &[1 - first], 2000, 2);
        let playing = rig.play(None, Some(UpdateId(2)));
        assert!((4.0..4.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
        rig.run(seconds(4.0));
        assert_eq!(rig.got(2, VIDEO)[0].offset, 100 * 5000);
        let sound = (rig.got(2, AUDIO)[0].offset - 1_000_000) / 300 * 1024;
        assert!((4 * 48_000 - 1024..=4 * 48_000 + 4096).contains(&sound), "sound begins with the picture: {sound}");
        rig.assert_contiguous(2);
    }
}

#[test]
fn a_flow_whose_companion_never_comes_joins_alone() {
    let mut rig = Rig::new(title(30, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.3));
    rig.updates += 1;
    let begun = rig.now.mono;
    rig.show(2, &[AUDIO], 2000, 2);
    rig.run(seconds(1.0));
    let first = rig.got(2, AUDIO)[0];
    assert!(first.at.since(begun) < seconds(0.1), "{:?}", first.at.since(begun));
    rig.assert_contiguous(2);
}

#[test]
fn what_could_not_be_read_once_gives_nobody_other_numbers() {
    let mut rig = Rig::new(title(30, 50), false);
    rig.unreadable = vec![(VIDEO, 110 * 5000), (VIDEO, 125 * 5000)];
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.3));
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
    for unit in rig.got(2, VIDEO) {
        let twin = rig.got(1, VIDEO).iter().find(|twin| twin.offset == unit.offset).expect("sent to the first as well");
        assert_eq!((twin.sequence, twin.timestamp), (unit.sequence, unit.timestamp));
    }
    let last = |branch| rig.got(branch, VIDEO).last().expect("pictures");
    assert_eq!(last(1), last(2), "it has caught up");
}

#[test]
fn a_loop_remembers_no_more_random_access_points_than_its_stretches_have() {
    let mut rig = Rig::new(title(1, 25), true);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(60.0));
    let remembered: Vec<usize> = rig.presentation.flows().iter().map(|flow| flow.checkpoints()).collect();
    assert!(remembered[VIDEO] <= 9 && remembered[AUDIO] <= 9 * 46, "{remembered:?}");
}

#[test]
fn bye_keeps_a_distance_from_the_last_packet_however_late_that_was() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(9.5));
    // Whoever owns the timers was kept busy elsewhere.
    rig.now = rig.now.after(seconds(2.0));
    rig.bind(2, &[VIDEO, AUDIO], 1500);
    rig.run(seconds(10.0));
    for (branch, count) in [(1, 250), (2, 1)] {
        assert!(rig.got(branch, VIDEO).len() >= count);
        for flow in [VIDEO, AUDIO] {
            let bye = rig.byes.iter().find(|(of, which, _)| (*of, *which) == (branch, flow)).expect("told").2;
            let last = rig.got(branch, flow).last().expect("sent").at;
            assert!(bye.since(last) >= Duration::from_millis(20), "branch {branch}, flow {flow}: {:?}", bye.since(last));
        }
    }
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
}
