//! A presentation under a simulated clock, with the parts of the data plane and of steering played by the test. Not every test uses all
//! of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flowsteer::library::{AacConfig, Codec, H264Config, Sample, SampleIndex, Title, TitlePath, Track};
use flowsteer::now::{Mono, Now, Utc};
use flowsteer::payload::Payloader;
use flowsteer::payload::grouping::Grouping;
use flowsteer::playback::flow::FlowIdentity;
use flowsteer::playback::presentation::{Audience, Presentation, PresentationSettings, Work};
use flowsteer::playback::{FlowFacts, NptRange, Opening, PlayRequest, PresentationId};
use flowsteer::quantities::{ClockRate, FlowLabel, MediaKind, MediaTime, PayloadType, Ssrc};
use flowsteer::steering::{
    BindingId, Branch, BranchSerial, CareOf, ConnectionId, EndReason, Ended, HandedOver, HomeAddress, Join, JoinWay, Route, UpdateId,
};

pub const VIDEO: usize = 0;
pub const AUDIO: usize = 1;
/// Packets of an access unit of either flow.
pub const PACKETS: [u64; 2] = [3, 1];

/// 25 pictures a second in decode order I P B B P B B …, a random access point every `distance`, closed.
pub fn pictures(seconds: i64, distance: i64) -> SampleIndex {
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

/// 25 pictures a second in decode order I P B B P B B …, a random access point every `distance` (a multiple of three) that
/// follows in the order of decoding, and not in that of showing, the picture before the two shown before it.
pub fn open_groups(seconds: i64, distance: i64) -> SampleIndex {
    let samples = (0..seconds * 25).map(|number| {
        let shift = if number == 0 { 1 } else { [3, 0, 0][number as usize % 3] };
        let access = number % distance == 0;
        Sample::new((number * 5000) as u64, if access { 4000 } else { 1000 }, number * 3600, shift * 3600, access).expect("small")
    });
    SampleIndex::new(samples.collect(), 3600)
}

pub fn sound(seconds: i64) -> SampleIndex {
    let count = seconds * 48_000 / 1024;
    let samples = (0..count).map(|number| Sample::new(1_000_000 + (number * 300) as u64, 300, number * 1024, 0, true).expect("small"));
    SampleIndex::new(samples.collect(), 1024)
}

pub fn title(seconds: i64, distance: i64) -> Arc<Title> {
    title_of(MediaTime::from_seconds(seconds as f64), pictures(seconds, distance), 48_000, sound(seconds))
}

pub fn title_of(duration: MediaTime, pictures: SampleIndex, sample_rate: u32, sound: SampleIndex) -> Arc<Title> {
    let h264 = H264Config {
        framing: flowsteer::library::NalFraming::Length(4),
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
pub struct Got {
    pub at: Mono,
    pub sequence: u16,
    pub timestamp: u32,
    pub random_access: bool,
    pub offset: u64,
    /// Access units in it.
    pub units: usize,
}

/// A presentation with the part of the data plane played by the test.
pub struct Rig {
    pub presentation: Presentation,
    pub now: Now,
    pub routes: Vec<Route>,
    /// By branch and flow.
    pub got: BTreeMap<(u64, usize), Vec<Got>>,
    pub byes: Vec<(u64, usize, Mono)>,
    pub reports: Vec<(u64, usize, Mono)>,
    pub ended: bool,
    pub updates: u64,
    /// How branches are to enter.
    pub way: JoinWay,
    /// Whether their rate was asked for.
    pub fixed: bool,
    /// Whether they are interleaved with the connection.
    pub connected: bool,
    /// What hand-overs came to, by new branch and flow.
    pub handed_over: BTreeMap<(u64, usize), HandedOver>,
    /// A branch whose connection takes nothing.
    pub stalled: Option<u64>,
    /// Access units (flow and offset) that cannot be read while they are live.
    pub unreadable: Vec<(usize, u64)>,
}

impl Rig {
    /// One whose access units have packets of their own.
    pub fn new(title: Arc<Title>, looping: bool) -> Self {
        Self::with(title, looping, |_| Grouping::default())
    }

    /// One in which frames of sound share packets as they do on the wire.
    pub fn grouped(title: Arc<Title>, looping: bool) -> Self {
        Self::with(title, looping, |track| Payloader::new(&track.codec, 1400).expect("a payload format").grouping(track))
    }

    fn with(title: Arc<Title>, looping: bool, grouping: impl Fn(&Track) -> Grouping) -> Self {
        let now = Now { mono: Mono::from_nanos(10_000_000_000), utc: Utc::from_unix_seconds(1_800_000_000) };
        let tracks: Vec<(ClockRate, Grouping)> = title.tracks.iter().map(|track| (track.timescale, grouping(track))).collect();
        let mut presentation =
            Presentation::new(PresentationId(1), Opening { looping, ..Opening::whole(title) }, PresentationSettings::default(), now);
        let mut routes = Vec::new();
        for (track, (rate, grouping)) in tracks.into_iter().enumerate() {
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
            presentation.add_flow(facts, identity, grouping, now).expect("room");
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
            way: JoinWay::Primed,
            fixed: false,
            connected: false,
            handed_over: BTreeMap::new(),
            stalled: None,
            unreadable: Vec::new(),
        }
    }

    /// Binds a branch of each of `flows`, in one step; its update.
    pub fn bind(&mut self, serial: u64, flows: &[usize], rate_milli: u16) -> UpdateId {
        self.updates += 1;
        let update = UpdateId(self.updates);
        self.show(serial, flows, rate_milli, flows.len());
        update
    }

    /// Shows branches of the last update, which has `together` of them, in the routes of `flows`.
    pub fn show(&mut self, serial: u64, flows: &[usize], rate_milli: u16, together: usize) {
        let update = UpdateId(self.updates);
        let port = 5000 + serial as u16 * 10;
        for &flow in flows {
            let at = |port| SocketAddr::from(([192, 0, 2, 1], port + flow as u16 * 2));
            let channel = flow as u8 * 2;
            let care_of = if self.connected {
                CareOf::Interleaved { connection: ConnectionId(serial), peer: at(port), rtp_channel: channel, rtcp_channel: channel + 1 }
            } else {
                CareOf::Udp { rtp: at(port), rtcp: at(port + 1), source: None }
            };
            self.routes[flow].branches.push(Branch {
                serial: BranchSerial(serial * 2 + flow as u64),
                binding: BindingId(serial as u16),
                care_of,
                update,
                together,
                join: Join { way: self.way, rate_milli, fixed: self.fixed, ..Join::default() },
                leaving: false,
                until: None,
                since: self.now.mono,
            });
        }
        self.sync();
    }

    /// Binds a branch in the place of another, which leaves with its first packet or when the window is over, whichever is later.
    pub fn hand_over(&mut self, old: u64, new: u64, flows: &[usize], way: JoinWay, window: Duration) -> UpdateId {
        self.way = way;
        for &flow in flows {
            for branch in self.routes[flow].branches.iter_mut().filter(|branch| branch.serial.0 / 2 == old) {
                branch.leaving = true;
                branch.until = Some(self.now.mono + window);
            }
        }
        self.bind(new, flows, 2000)
    }

    /// A branch takes nothing before that time.
    pub fn stall_until(&mut self, serial: u64, until: Mono) {
        for flow in 0..self.routes.len() {
            self.presentation.defer(flow, BranchSerial(serial * 2 + flow as u64), until);
        }
    }

    /// Ends the windows that are over, as steering does: never before the successor's first packet.
    fn end_windows(&mut self) -> bool {
        let mut any = false;
        for (flow, route) in self.routes.iter_mut().enumerate() {
            let begun: Vec<UpdateId> = route
                .branches
                .iter()
                .filter(|branch| self.got.contains_key(&(branch.serial.0 / 2, flow)))
                .map(|branch| branch.update)
                .collect();
            let is_over = |branch: &Branch| {
                branch.until.is_some_and(|until| until <= self.now.mono) && begun.iter().any(|update| *update > branch.update)
            };
            let over: Vec<Branch> = route.branches.extract_if(.., |branch| is_over(branch)).collect();
            any |= !over.is_empty();
            route.ended.extend(over.into_iter().map(|branch| Ended { branch, reason: EndReason::Moved }));
        }
        if any {
            self.sync();
        }
        any
    }

    fn next_window(&self) -> Option<Mono> {
        let ends = self.routes.iter().flat_map(|route| &route.branches).filter_map(|branch| branch.until);
        ends.filter(|until| *until > self.now.mono).min()
    }

    pub fn unbind(&mut self, serial: u64, reason: EndReason) {
        for (flow, route) in self.routes.iter_mut().enumerate() {
            if let Some(position) = route.branches.iter().position(|branch| branch.serial.0 == serial * 2 + flow as u64) {
                let branch = route.branches.remove(position);
                route.ended.push(Ended { branch, reason });
            }
        }
        self.sync();
    }

    pub fn sync(&mut self) {
        let routes: Vec<_> = self.routes.iter().cloned().map(Arc::new).collect();
        self.presentation.sync(&routes, self.now);
    }

    pub fn play(&mut self, range: Option<(f64, Option<f64>)>, joining: Option<UpdateId>) -> flowsteer::playback::Playing {
        let range =
            range.map(|(start, end)| NptRange { start: Some(MediaTime::from_seconds(start)), end: end.map(MediaTime::from_seconds) });
        self.presentation.play(PlayRequest { range, joining, ..PlayRequest::default() }, self.now).expect("playable")
    }

    /// Lets time pass, doing at each deadline what is asked.
    pub fn run(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            self.work();
            if self.end_windows() {
                continue;
            }
            let next = [self.presentation.next_deadline(), self.next_window()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end && !self.ended) else { break };
            let step = next.since(self.now.mono).max(Duration::from_nanos(1));
            self.now = self.now.after(step);
        }
        self.now = self.now.after(end.since(self.now.mono));
    }

    pub fn work(&mut self) {
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
                Some(Work::Unit { flow, unit, second, sequence, timestamp, audience, .. }) => {
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
                    let wanted = |serial: &BranchSerial| self.presentation.is_for(flow, audience, *serial, self.now);
                    let served: Vec<BranchSerial> = branches.into_iter().filter(wanted).collect();
                    for serial in &served {
                        let units = 1 + usize::from(second.is_some());
                        let (at, random_access, offset) = (self.now.mono, unit.random_access, unit.offset);
                        let got = Got { at, sequence, timestamp, random_access, offset, units };
                        self.got.entry((serial.0 / 2, flow)).or_default().push(got);
                    }
                    self.presentation.sent(flow, audience, PACKETS[flow], u64::from(unit.size), &served, self.now);
                    while let Some((flow, branch, outcome)) = self.presentation.take_handed_over() {
                        let earlier = self.handed_over.insert((branch.0 / 2, flow), outcome);
                        assert_eq!(earlier, None, "a hand-over is told once");
                    }
                }
            }
        }
    }

    pub fn got(&self, branch: u64, flow: usize) -> &[Got] {
        self.got.get(&(branch, flow)).map_or(&[], Vec::as_slice)
    }

    /// Each access unit follows the one before: numbers without a gap.
    pub fn assert_contiguous(&self, branch: u64) {
        for flow in [VIDEO, AUDIO] {
            for pair in self.got(branch, flow).windows(2) {
                let next = pair[0].sequence.wrapping_add(PACKETS[flow] as u16);
                assert_eq!(pair[1].sequence, next, "branch {branch}, flow {flow}, {pair:?}");
            }
        }
    }
}

pub fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

pub fn near(one: Duration, other: f64) -> bool {
    (one.as_secs_f64() - other).abs() < 0.0005
}
