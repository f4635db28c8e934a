//! What comes from one publisher: its tracks' access units on one timeline.
//!
//! RTP timestamps of different tracks begin anywhere. The sender reports say which of them belong together (RFC 3550 section 6.4.1);
//! without them, what came together does. So long as neither is known, access units are held back, [`PATIENCE`] long at most; where the
//! parameter sets of a picture track have not come, though packets of it do, [`DESCRIBED`] long. Later reports move
//! nothing: a timeline that jumps is worse than one that is off by a drift of clocks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::library::Codec;
use crate::now::Mono;
use crate::publish::announced::AnnouncedTrack;
use crate::publish::depacketizer::Received;
use crate::publish::receiver::{Counters, Junk, Receiver};
use crate::quantities::{ClockRate, MediaTime};

/// So long all tracks are waited for, from the first packet of any.
pub const PATIENCE: Duration = Duration::from_millis(1500);
/// So long parameter sets are waited for where packets of their track come, or where there is no track without.
pub const DESCRIBED: Duration = Duration::from_secs(10);
/// Reports are sent so often (RFC 3550 section 6.2).
const REPORTS: Duration = Duration::from_secs(5);
/// Access units, and their octets, that are held back at most.
const MAX_HELD: usize = 4096;
const MAX_HELD_OCTETS: usize = 16 << 20;
/// How we are called in reports.
const CNAME: &str = "flowsteer";

/// A track of which access units come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTrack {
    /// How they are coded.
    pub codec: Codec,
    /// The clock of their times.
    pub clock_rate: ClockRate,
    /// `a=lang`.
    pub language: Option<String>,
}

/// An access unit on the timeline of all tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedUnit {
    /// Its place among the tracks of [`Output::Begin`].
    pub track: usize,
    /// When it is shown, in ticks of the track's clock.
    pub presentation_time: i64,
    /// Whether decoding can start here.
    pub random_access: bool,
    /// The octets, as the codec says.
    pub octets: Vec<u8>,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// What is known of the tracks; comes first and once. Those of the second list have said nothing of how they are coded.
    Begin(Vec<PublishedTrack>, Vec<usize>),
    /// An access unit.
    Unit(PublishedUnit),
    /// No track has said how it is coded. Nothing comes after this.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing came.
    Silent,
    /// Since the first packet.
    Waiting(Mono),
    /// Something has come out.
    Begun,
    Over,
}

#[derive(Debug)]
struct Track {
    announced: AnnouncedTrack,
    receiver: Receiver,
    /// The timestamp of its first access unit, and when that came.
    first: Option<(i64, Mono)>,
    /// What is added to its timestamps.
    shift: Option<i64>,
    /// Its place among those that come out.
    place: Option<usize>,
}

/// After each `handle_…`, and when [`Publication::poll_timeout`] is reached, the caller drains [`Publication::poll`].
#[derive(Debug)]
pub struct Publication {
    tracks: Vec<Track>,
    stage: Stage,
    held: VecDeque<(usize, Received)>,
    held_octets: usize,
    /// The moment that the timeline begins with: of the senders' clocks, and of arrival.
    origin: (Option<i64>, Mono),
    ssrc: u32,
    next_report: Option<Mono>,
    /// The track whose report is due next, of those that are.
    report_of: usize,
    dropped: u64,
}

impl Publication {
    /// Of the tracks that were announced and set up; its reports are in the name of `ssrc`.
    pub fn new(tracks: Vec<AnnouncedTrack>, ssrc: u32) -> Self {
        let track = |announced: AnnouncedTrack| {
            let receiver = Receiver::new(&announced);
            Track { announced, receiver, first: None, shift: None, place: None }
        };
        Self {
            tracks: tracks.into_iter().map(track).collect(),
            stage: Stage::Silent,
            held: VecDeque::new(),
            held_octets: 0,
            origin: (None, Mono::default()),
            ssrc,
            next_report: None,
            report_of: 0,
            dropped: 0,
        }
    }

    /// What was taken in and what was not, of each track.
    pub fn counters(&self) -> impl Iterator<Item = Counters> + '_ {
        self.tracks.iter().map(|track| track.receiver.counters())
    }

    /// Access units that could not be held back.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a datagram for a track in.
    ///
    /// # Errors
    /// Why it is none of the track's.
    pub fn handle_rtp(&mut self, track: usize, datagram: &[u8], now: Mono) -> Result<(), Junk> {
        let Some(track) = self.tracks.get_mut(track) else { return Err(Junk::Malformed) };
        track.receiver.handle_rtp(datagram, now)?;
        if self.stage == Stage::Silent {
            self.stage = Stage::Waiting(now);
            self.next_report = Some(now + REPORTS / 5);
        }
        Ok(())
    }

    /// Takes a track's RTCP in.
    pub fn handle_rtcp(&mut self, track: usize, compound: &[u8], now: Mono) {
        if let Some(track) = self.tracks.get_mut(track) {
            track.receiver.handle_rtcp(compound, now);
        }
    }

    /// Nothing comes any more: [`Publication::poll`] gives what is left.
    pub fn finish(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.receiver.finish());
    }

    /// What comes next.
    pub fn poll(&mut self, now: Mono) -> Option<Output> {
        loop {
            match self.stage {
                Stage::Silent | Stage::Over => return None,
                Stage::Waiting(since) => {
                    self.hold(now);
                    return self.begin(since, now);
                }
                Stage::Begun => {
                    let (number, unit) = self.held.pop_front().or_else(|| self.next(now))?;
                    if let Some(unit) = self.placed(number, unit, now) {
                        return Some(Output::Unit(unit));
                    }
                }
            }
        }
    }

    /// When [`Publication::poll`], or [`Publication::poll_report`], may give something without a packet.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let waiting = match self.stage {
            Stage::Waiting(since) => Some(self.deadline(since)),
            Stage::Silent | Stage::Begun | Stage::Over => None,
        };
        let gaps = self.tracks.iter().filter_map(|track| track.receiver.poll_timeout());
        gaps.chain(waiting).chain(self.next_report).min()
    }

    /// A receiver report that is due, and the track whose source is to get it.
    pub fn poll_report(&mut self, now: Mono) -> Option<(usize, Bytes)> {
        if self.next_report.is_none_or(|due| now < due) {
            return None;
        }
        while let Some(track) = self.tracks.get_mut(self.report_of) {
            self.report_of += 1;
            if let Some(report) = track.receiver.report(self.ssrc, CNAME, now) {
                return Some((self.report_of - 1, report));
            }
        }
        self.report_of = 0;
        self.next_report = Some(now + REPORTS);
        None
    }

    /// Whether at least one track has said how it is coded.
    fn is_described(&self) -> bool {
        self.tracks.iter().any(|track| track.receiver.codec().is_some())
    }

    /// When what is known has to do, of packets that come since then.
    fn deadline(&self, since: Mono) -> Mono {
        if !self.is_described() {
            return since + DESCRIBED;
        }
        let nameless = self.tracks.iter().filter(|track| track.receiver.codec().is_none());
        let heard = nameless.filter_map(|track| track.receiver.heard()).max().unwrap_or(since);
        (heard.max(since) + PATIENCE).min(since + DESCRIBED)
    }

    /// Whether more than half of what may be held back is.
    fn is_full(&self) -> bool {
        self.held.len() > MAX_HELD / 2 || self.held_octets > MAX_HELD_OCTETS / 2
    }

    fn next(&mut self, now: Mono) -> Option<(usize, Received)> {
        self.tracks.iter_mut().enumerate().find_map(|(number, track)| Some((number, track.receiver.poll(now)?)))
    }

    fn hold(&mut self, now: Mono) {
        while let Some((number, unit)) = self.next(now) {
            let Some(track) = self.tracks.get_mut(number) else { continue };
            track.first.get_or_insert((unit.timestamp, now));
            // Without parameter sets it cannot be decoded.
            let is_decodable = track.receiver.codec().is_some();
            if is_decodable && self.held.len() < MAX_HELD && self.held_octets + unit.octets.len() <= MAX_HELD_OCTETS {
                self.held_octets += unit.octets.len();
                self.held.push_back((number, unit));
            } else {
                self.dropped += 1;
            }
            if self.is_described() && self.is_full() {
                return;
            }
        }
    }

    fn begin(&mut self, since: Mono, now: Mono) -> Option<Output> {
        let is_whole = |track: &Track| track.first.is_some() && track.receiver.sender().is_some() && track.receiver.codec().is_some();
        let is_due = now >= self.deadline(since) || self.is_described() && self.is_full();
        if !self.tracks.iter().all(is_whole) && !is_due {
            return None;
        }
        if !self.is_described() {
            self.stage = Stage::Over;
            return Some(Output::Nothing);
        }
        self.stage = Stage::Begun;
        self.held_octets = 0;
        let earliest = self.tracks.iter().filter_map(|track| track.first).map(|(_, came)| came).min().unwrap_or(now);
        self.origin = (self.tracks.iter().filter_map(Track::sent_at).min(), earliest);
        let (mut tracks, mut silent) = (Vec::new(), Vec::new());
        for (number, track) in self.tracks.iter_mut().enumerate() {
            match track.receiver.codec() {
                Some(codec) => {
                    track.place = Some(tracks.len());
                    let AnnouncedTrack { clock_rate, language, .. } = &track.announced;
                    tracks.push(PublishedTrack { codec: codec.clone(), clock_rate: *clock_rate, language: language.clone() });
                }
                None => silent.push(number),
            }
        }
        Some(Output::Begin(tracks, silent))
    }

    /// Puts an access unit on the timeline.
    fn placed(&mut self, number: usize, unit: Received, now: Mono) -> Option<PublishedUnit> {
        let origin = self.origin;
        let track = self.tracks.get_mut(number)?;
        let place = track.place?;
        let (first, came) = *track.first.get_or_insert((unit.timestamp, now));
        let sent = track.sent_at();
        let clock = track.announced.clock_rate;
        let shift = *track.shift.get_or_insert_with(|| {
            let begins = match (sent, origin.0) {
                (Some(sent), Some(origin)) => MediaTime::from_nanos(sent.saturating_sub(origin)),
                _ => MediaTime::ZERO.plus(came.since(origin.1)),
            };
            begins.to_ticks(clock).saturating_sub(first)
        });
        let Received { timestamp, random_access, octets, .. } = unit;
        Some(PublishedUnit { track: place, presentation_time: timestamp.saturating_add(shift), random_access, octets })
    }
}

impl Track {
    /// When its first access unit was sampled by its sender's clock, in nanoseconds.
    fn sent_at(&self) -> Option<i64> {
        let (first, _) = self.first?;
        self.receiver.sender()?.clocks.sampled_at(first as u32, self.announced.clock_rate)
    }
}
