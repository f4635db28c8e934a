//! One shard: a thread that owns presentations.
//!
//! Its loop: take commands, fire timers, let each presentation that is due say what it wants sent, read and payload that
//! access unit, pass it through filter and map, gather the messages, send them, wait. Nothing else touches its
//! presentations; nothing here is shared but the address map.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rtp::header::Header;

use crate::dataplane::ahead::Readers;
use crate::dataplane::director::{Director, Notices, QUEUE, ShardHandle};
use crate::dataplane::endpoints::{Endpoint, Endpoints, Origin, Port};
use crate::dataplane::lateness::Lateness;
use crate::dataplane::near::Neighbours;
use crate::dataplane::outbox::Outbox;
use crate::dataplane::resend::{FlowParts, Resender, Resends};
use crate::dataplane::slot::{Sender, Slot};
use crate::dataplane::transmit::Sending;
use crate::dataplane::units::{Near, Units};
use crate::dataplane::unreachable::Unreachable;
use crate::dataplane::ways::Ways;
use crate::dataplane::wheel::Wheel;
use crate::library::TitlePath;
use crate::net::Places;
use crate::net::admission::NoPlace;
use crate::net::bounced::Bounced;
use crate::net::connection::Connections;
use crate::net::process::take_short_turns;
use crate::net::udp::PortPair;
use crate::net::wait::{Waker, wait};
use crate::now::{Mono, Now};
use crate::payload::rtx::ORIGINAL_SEQUENCE_LEN;
use crate::payload::{Payloader, payload_type};
use crate::playback::flow::FlowIdentity;
use crate::playback::presentation::{Audience, Presentation, PresentationSettings, Work};
use crate::playback::report;
use crate::playback::{Awaited, Command, FlowFacts, NewFlow, Opening, Perform, PlaybackError, PresentationId, ReportOrigin};
use crate::quantities::{MediaKind, Ssrc};
use crate::steering::{BindingCache, EndReason, Owner};

/// What the data plane goes by.
#[derive(Clone, Debug)]
pub struct DataPlaneSettings {
    /// The RTP port; zero for any free even one.
    pub port: u16,
    /// Threads.
    pub shards: usize,
    /// Octets of an RTP packet at most.
    pub max_packet: usize,
    /// Presentations in all at most.
    pub max_presentations: usize,
    /// … and opened from one network, which this machine is none of.
    pub max_of_network: usize,
    /// For how long a packet can be sent again to a branch that asked for that.
    pub rtx: Duration,
    /// DSCP of video packets.
    pub dscp_video: u8,
    /// DSCP of audio packets.
    pub dscp_audio: u8,
    /// For presentations.
    pub presentation: PresentationSettings,
    /// Packets of an access unit that leave at once at least; the others follow, as many each millisecond.
    pub burst: usize,
    /// How long the packets of an access unit may be under way at most, if half of its duration is not less.
    pub spread: Duration,
    /// A test of the filter: the label that leaves the payload stage is changed by this before the filter sees it.
    pub corrupt_label: Option<u32>,
}

impl DataPlaneSettings {
    /// Octets of an RTP packet at most that is sent for the first time: sent again it has its number too.
    pub const fn first_packet(&self) -> usize {
        if self.rtx.is_zero() { self.max_packet } else { self.max_packet.saturating_sub(ORIGINAL_SEQUENCE_LEN) }
    }
}

impl Default for DataPlaneSettings {
    fn default() -> Self {
        Self {
            port: 8000,
            shards: 1,
            max_packet: 1400,
            max_presentations: 10_000,
            max_of_network: 2048,
            rtx: Duration::from_secs(2),
            dscp_video: 0,
            dscp_audio: 0,
            burst: 16,
            spread: Duration::from_millis(2),
            presentation: PresentationSettings::default(),
            corrupt_label: None,
        }
    }
}

/// The shards and their threads.
pub struct DataPlane {
    director: Arc<Director>,
    port: u16,
    lateness: Arc<Lateness>,
    threads: Vec<JoinHandle<()>>,
}

/// What all shards share, made before they run: the address map needs the director to be told of changes, and the shards
/// need the address map.
pub struct Prepared {
    director: Arc<Director>,
    port: u16,
    parts: Vec<Part>,
}

/// What one shard is made of.
struct Part {
    sockets: PortPair,
    commands: Receiver<Command>,
    notices: Arc<Notices>,
    waker: Waker,
}

impl DataPlane {
    /// Binds the sockets.
    ///
    /// # Errors
    /// The system's, where the ports are taken.
    pub fn prepare(settings: &DataPlaneSettings) -> std::io::Result<Prepared> {
        let mut parts = Vec::new();
        let mut handles = Vec::new();
        let mut port = settings.port;
        for _ in 0..settings.shards.max(1) {
            let sockets = PortPair::bind(port)?;
            port = sockets.port;
            let (sender, commands) = sync_channel(QUEUE);
            let (waker, notices) = (Waker::new()?, Arc::new(Notices::default()));
            handles.push(ShardHandle { commands: sender, notices: Arc::clone(&notices), waker: waker.clone() });
            parts.push(Part { sockets, commands, notices, waker });
        }
        Ok(Prepared { director: Arc::new(Director::new(handles)), port, parts })
    }

    /// The way to the presentations.
    pub fn director(&self) -> Arc<Director> {
        Arc::clone(&self.director)
    }

    /// The RTP port; RTCP is the next one.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How late access units have left, of all shards.
    pub fn lateness(&self) -> Arc<Lateness> {
        Arc::clone(&self.lateness)
    }

    /// Says BYE to everybody, and waits for the shards to end.
    pub fn stop(self) {
        self.director.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a shard ended badly");
            }
        }
    }
}

impl Prepared {
    /// The way to the presentations.
    pub fn director(&self) -> Arc<Director> {
        Arc::clone(&self.director)
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// The system's, where no thread can be started.
    pub fn start(
        self,
        settings: &DataPlaneSettings,
        steering: &Arc<BindingCache>,
        connections: &Arc<Connections>,
        clock: fn() -> Now,
    ) -> std::io::Result<DataPlane> {
        let (endpoints, lateness, readers) = (Arc::new(Endpoints::default()), Arc::new(Lateness::default()), Arc::new(Readers::default()));
        let places = Arc::new(Places::default());
        let mut threads = Vec::new();
        for (index, Part { sockets, commands, notices, waker }) in self.parts.into_iter().enumerate() {
            let shard = Shard {
                settings: settings.clone(),
                readers: Arc::clone(&readers),
                steering: Arc::clone(steering),
                connections: Arc::clone(connections),
                endpoints: Arc::clone(&endpoints),
                places: Arc::clone(&places),
                director: Arc::clone(&self.director),
                notices,
                sockets,
                outbox: Outbox::default(),
                resender: Resender::default(),
                frames: Vec::new(),
                units: Units::default(),
                oversized: HashSet::new(),
                numbered: 0,
                neighbours: Neighbours::default(),
                told: Mono::default(),
                has_more: false,
                lateness: Arc::clone(&lateness),
                slots: Vec::new(),
                free: Vec::new(),
                index: HashMap::new(),
                wheel: Wheel::new(clock().mono),
                clock,
                counters: Counters::default(),
            };
            let name = format!("shard-{index}");
            threads.push(thread::Builder::new().name(name).spawn(move || shard.run(&commands, &waker))?);
        }
        Ok(DataPlane { director: self.director, port: self.port, lateness, threads })
    }
}

pub(super) struct Counters {
    pub(super) packets: metrics::Counter,
    pub(super) octets: metrics::Counter,
    pub(super) refused: metrics::Counter,
    pub(super) no_room: metrics::Counter,
    pub(super) label_unavailable: metrics::Counter,
    pub(super) interleaved_full: metrics::Counter,
    pub(super) broken_units: metrics::Counter,
    pub(super) oversized_units: metrics::Counter,
    pub(super) ports_learned: metrics::Counter,
    pub(super) datagrams_ignored: metrics::Counter,
    pub(super) bounced: metrics::Counter,
    pub(super) unreachable: metrics::Counter,
    pub(super) handover: metrics::Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            packets: metrics::counter!("flowsteer_packets_total"),
            octets: metrics::counter!("flowsteer_octets_total"),
            refused: metrics::counter!("flowsteer_dropped_packets_total", "reason" => "send_refused"),
            no_room: metrics::counter!("flowsteer_dropped_packets_total", "reason" => "send_buffer_full"),
            label_unavailable: metrics::counter!("flowsteer_label_unavailable_total"),
            interleaved_full: metrics::counter!("flowsteer_dropped_packets_total", "reason" => "interleaved_full"),
            broken_units: metrics::counter!("flowsteer_broken_access_units_total"),
            oversized_units: metrics::counter!("flowsteer_oversized_access_units_total"),
            ports_learned: metrics::counter!("flowsteer_ports_learned_total"),
            datagrams_ignored: metrics::counter!("flowsteer_datagrams_ignored_total"),
            bounced: metrics::counter!("flowsteer_datagrams_bounced_total"),
            unreachable: metrics::counter!("flowsteer_branches_unreachable_total"),
            handover: metrics::histogram!("flowsteer_handover_seconds"),
        }
    }
}

pub(super) struct Shard {
    pub(super) settings: DataPlaneSettings,
    readers: Arc<Readers>,
    pub(super) steering: Arc<BindingCache>,
    pub(super) connections: Arc<Connections>,
    endpoints: Arc<Endpoints>,
    /// Those of the presentations of all shards.
    places: Arc<Places>,
    director: Arc<Director>,
    notices: Arc<Notices>,
    pub(super) sockets: PortPair,
    pub(super) outbox: Outbox,
    resender: Resender,
    /// Interleaved frames of one access unit.
    pub(super) frames: Vec<u8>,
    /// Access units as packets.
    pub(super) units: Units,
    /// Titles of which it was told that they have access units larger than a packet.
    pub(super) oversized: HashSet<TitlePath>,
    /// Counts the access units.
    pub(super) numbered: u64,
    neighbours: Neighbours,
    /// When those near each other were told last.
    told: Mono,
    /// Whether commands wait that there was no time for.
    has_more: bool,
    lateness: Arc<Lateness>,
    /// In boxes: each is taken out while it is served.
    pub(super) slots: Vec<Option<Box<Slot>>>,
    free: Vec<usize>,
    pub(super) index: HashMap<PresentationId, usize>,
    wheel: Wheel,
    pub(super) clock: fn() -> Now,
    pub(super) counters: Counters,
}

/// Why no presentation is opened; counted.
fn refused(full: NoPlace) -> PlaybackError {
    let (limit, error) = match full {
        NoPlace::All => ("presentations", PlaybackError::Full),
        NoPlace::OfNetwork => ("presentations_per_address", PlaybackError::FullOfNetwork),
    };
    metrics::counter!("flowsteer_presentations_refused_total", "limit" => limit).increment(1);
    error
}

/// Reads that may fail in a row before the presentation ends.
const MAX_FAILURES: u32 = 3;
/// What is not read yet is asked for again after this.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(2);
/// What found no room is tried again after this.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Commands are taken for so long at one time, and what came in to one socket for so long: what of the media is due comes before the rest.
const COMMANDS_FOR: Duration = Duration::from_millis(4);
const RECEIVE_FOR: Duration = Duration::from_micros(500);
/// Those who play near each other are told at most so often.
const TELL: Duration = Duration::from_millis(100);

impl Shard {
    fn run(mut self, commands: &Receiver<Command>, waker: &Waker) {
        // Media that are due must not wait for requests to be answered.
        if let Err(error) = take_short_turns() {
            tracing::warn!("a shard is scheduled as others are: {error}");
        }
        let descriptors: Vec<_> = self.sockets.sockets().map(|(socket, _)| socket.fd()).collect();
        let mut readable = Vec::new();
        let mut due = Vec::new();
        loop {
            waker.clear();
            if !self.take_commands(commands) {
                return;
            }
            due.clear();
            self.wheel.fire((self.clock)().mono, &mut due);
            for &slot in &due {
                self.serve(slot);
            }
            self.flush();
            self.note_given_up();
            self.look_at_bounced();
            self.tell_neighbours();
            // Also where more is due already: reports are taken in under any load.
            let timeout = if self.has_more { Some(Duration::ZERO) } else { self.wheel.wait((self.clock)().mono) };
            // What waits for room is tried again soon.
            let timeout = if self.outbox.is_blocked() { Some(timeout.unwrap_or(FULL_PAUSE).min(FULL_PAUSE)) } else { timeout };
            if let Err(error) = wait(&descriptors, waker, timeout, &mut readable) {
                tracing::error!("the shard cannot wait for its sockets: {error}");
                thread::sleep(Duration::from_millis(1));
            }
            if readable.iter().any(|readable| *readable) {
                let told = self.sockets.sockets_mut().zip(&readable).filter(|(_, readable)| **readable);
                told.for_each(|((socket, _), _)| socket.collect());
                self.look_at_bounced();
                self.receive();
            }
            readable.clear();
        }
    }

    /// Whether to go on.
    fn take_commands(&mut self, commands: &Receiver<Command>) -> bool {
        // Bounded: media that are due leave between many commands.
        let until = (self.clock)().mono + COMMANDS_FOR;
        self.has_more = false;
        for _ in 0..QUEUE {
            if (self.clock)().mono >= until {
                self.has_more = true;
                break;
            }
            match commands.try_recv() {
                _ if self.notices.stops() => break,
                Ok(command) => self.perform(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.end_all();
                    return false;
                }
            }
        }
        if self.notices.stops() {
            self.end_all();
            return false;
        }
        for title in self.notices.take_ended_titles() {
            self.perform(Command::EndTitle { title });
        }
        if self.notices.take_routes_changed() {
            let all: Vec<PresentationId> = self.index.keys().copied().collect();
            for presentation in all {
                self.perform(Command::RouteChanged { presentation });
            }
        }
        true
    }

    fn end_all(&mut self) {
        let now = (self.clock)();
        for slot in 0..self.slots.len() {
            if let Some(found) = self.slots.get_mut(slot).and_then(Option::as_mut) {
                found.presentation.end(now);
                self.serve(slot);
            }
        }
        self.flush();
    }

    fn perform(&mut self, command: Command) {
        let now = (self.clock)();
        match command {
            Command::Open { presentation, opening, reply } => {
                reply(self.open(presentation, opening, now));
            }
            Command::AddFlow { presentation, track, home, label, reply } => {
                reply(self.add_flow(presentation, NewFlow { track, home, label }, now));
            }
            Command::SetUp { presentation, opening, flow, awaited, reply } => {
                reply(self.set_up(presentation, opening, flow, awaited, now));
            }
            Command::Await { presentation, home, holder, care_of, reply } => {
                let endpoints = Arc::clone(&self.endpoints);
                reply(self.with(presentation, |slot| slot.await_datagrams(&endpoints, home, holder, care_of, now)));
            }
            Command::Play { presentation, request, reply } => {
                // Players open the way through a NAT right before they ask for media: what they sent is here by now.
                self.receive();
                if request.range.is_some() {
                    // Nothing old is sent after a seek.
                    self.finish(presentation, now);
                }
                // The first packets leave by the timer, as late as all others: receivers and meters take them for the origin.
                let outcome = self.change(presentation, |slot| {
                    slot.sync(now);
                    let jumps = slot.presentation.jumps();
                    let outcome = slot.presentation.play(request, now);
                    if slot.presentation.jumps() != jumps {
                        slot.discard_held();
                    }
                    outcome
                });
                if let Some(&slot) = self.index.get(&presentation) {
                    self.arm(slot);
                }
                reply(outcome);
            }
            Command::Pause { presentation, reply } => {
                self.finish(presentation, now);
                reply(self.with(presentation, |slot| slot.presentation.pause(now)));
            }
            Command::End { presentation, reply } => {
                reply(self.with(presentation, |slot| {
                    slot.presentation.end(now);
                    Ok(())
                }));
            }
            Command::EndTitle { title } => {
                for slot in 0..self.slots.len() {
                    let found = self.slots.get_mut(slot).and_then(Option::as_mut);
                    // A live title of that path is no file: it hides one.
                    let is_meant = |played: &crate::library::Title| played.path == title && !played.is_live();
                    if let Some(found) = found.filter(|found| is_meant(found.presentation.title())) {
                        tracing::info!(%title, session = %found.presentation.id(), "the file is gone or has changed: the session ends");
                        found.presentation.end(now);
                        self.serve(slot);
                    }
                }
            }
            Command::RouteChanged { presentation } => {
                // One that has ended meanwhile needs nothing.
                let _ = self.with(presentation, |slot| {
                    slot.sync(now);
                    Ok(())
                });
            }
            Command::Rtcp { presentation, origin, packet } => {
                self.notices.report_taken();
                let _ = self.with(presentation, |slot| {
                    slot.reported(origin, &packet, now);
                    Ok(())
                });
                self.resend(presentation, origin, &packet, now);
            }
            Command::Bounced { presentation, origin, quoted } => {
                self.notices.report_taken();
                self.bounced(presentation, origin, &quoted, now);
            }
            Command::Snapshot { presentation, reply } => {
                let one = |id| self.slots.get(*self.index.get(&id)?)?.as_ref();
                reply(match presentation {
                    Some(id) => one(id).map(|slot| vec![slot.snapshot(now)]).ok_or(PlaybackError::Unknown),
                    None => Ok(self.slots.iter().flatten().map(|slot| slot.snapshot(now)).collect()),
                });
            }
            Command::Ping { reply } => reply(Ok(())),
        }
    }

    /// Tells those who play near each other so.
    fn tell_neighbours(&mut self) {
        let now = (self.clock)().mono;
        if now.since(self.told) < TELL {
            return;
        }
        self.told = now;
        let slots = &mut self.slots;
        let any = self.neighbours.tell(|slot, near| {
            if let Some(slot) = slots.get_mut(slot).and_then(Option::as_mut) {
                slot.near = near;
            }
        });
        if any == Some(false) {
            self.units.forget();
        }
    }

    /// Sends what is left of access units that have begun.
    fn finish(&mut self, presentation: PresentationId, now: Now) {
        let Some(&index) = self.index.get(&presentation) else { return };
        if let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) {
            self.finish_rests(&mut slot, |_| true, now);
            self.slots[index] = Some(slot);
        }
    }

    /// Does something to a presentation, and what it wants done after that.
    fn with<T>(
        &mut self,
        presentation: PresentationId,
        act: impl FnOnce(&mut Slot) -> Result<T, PlaybackError>,
    ) -> Result<T, PlaybackError> {
        let outcome = self.change(presentation, act);
        if let Some(&slot) = self.index.get(&presentation) {
            self.serve(slot);
        }
        outcome
    }

    /// Does something to a presentation; what it wants done after that is up to the caller.
    fn change<T>(
        &mut self,
        presentation: PresentationId,
        act: impl FnOnce(&mut Slot) -> Result<T, PlaybackError>,
    ) -> Result<T, PlaybackError> {
        let slot = *self.index.get(&presentation).ok_or(PlaybackError::Unknown)?;
        let found = self.slots.get_mut(slot).and_then(Option::as_deref_mut).ok_or(PlaybackError::Unknown)?;
        let outcome = act(found);
        let now = (self.clock)();
        found.follow_datagrams(&self.endpoints, &self.steering, now);
        self.neighbours.note(slot, found.place(now));
        outcome
    }

    /// Makes a presentation.
    fn open(&mut self, presentation: PresentationId, opening: Opening, now: Now) -> Result<(), PlaybackError> {
        let title = &opening.title;
        if self.index.contains_key(&presentation) {
            return Err(PlaybackError::Full);
        }
        let opener = opening.opener.filter(|address| !address.is_loopback());
        let place = self.places.enter_for(opener, self.settings.max_presentations, self.settings.max_of_network).map_err(refused)?;
        let source = self.readers.open(title).map_err(|error| {
            tracing::warn!(title = %title.path, "the file cannot be opened: {error}");
            PlaybackError::Unplayable
        })?;
        let made = Presentation::new(presentation, opening, self.settings.presentation, now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(Box::new(Slot {
            presentation: made,
            _place: place,
            source,
            waits: None,
            opened: now.mono,
            senders: Vec::new(),
            failures: 0,
            ways: Ways::default(),
            unreachable: Unreachable::default(),
            resends: Resends::new(self.settings.rtx),
            near: Near::default(),
            rests: Vec::new(),
        }));
        self.index.insert(presentation, slot);
        self.units.set_presentations(self.index.len());
        self.arm(slot);
        Ok(())
    }

    /// Adds a flow and awaits its branch, in a presentation that is made for it where `opening` says so.
    fn set_up(
        &mut self,
        presentation: PresentationId,
        opening: Option<Opening>,
        flow: NewFlow,
        awaited: Awaited,
        now: Now,
    ) -> Result<FlowFacts, PlaybackError> {
        let opens = opening.is_some();
        if let Some(opening) = opening {
            self.open(presentation, opening, now)?;
        }
        let endpoints = Arc::clone(&self.endpoints);
        let outcome = self.add_flow(presentation, flow, now).and_then(|facts| {
            let Awaited { holder, care_of } = awaited;
            self.with(presentation, |slot| slot.await_datagrams(&endpoints, facts.home, holder, care_of, now))?;
            Ok(facts)
        });
        if outcome.is_err() && opens {
            // It was just made, and ends as any other does.
            let _ = self.with(presentation, |slot| {
                slot.presentation.end(now);
                Ok(())
            });
        }
        outcome
    }

    fn add_flow(&mut self, presentation: PresentationId, flow: NewFlow, now: Now) -> Result<FlowFacts, PlaybackError> {
        let NewFlow { track, home, label } = flow;
        let gate = self.steering.gate(home).ok_or(PlaybackError::Unknown)?;
        let settings = self.settings.clone();
        self.with(presentation, |slot| {
            let title = Arc::clone(slot.presentation.title());
            let found = title.tracks.get(track).ok_or(PlaybackError::Unknown)?;
            let payloader = Payloader::new(&found.codec, settings.first_packet()).map_err(|_| PlaybackError::Unplayable)?;
            let mut drawn = [0; 10];
            getrandom::fill(&mut drawn).map_err(|_| PlaybackError::Full)?;
            let [a, b, c, d, e, f, g, h, i, j] = drawn;
            let facts = FlowFacts {
                track,
                home,
                label,
                ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
                payload_type: payload_type(&found.codec, track).ok_or(PlaybackError::Full)?,
                clock_rate: payloader.clock_rate(),
            };
            // Players take a first sequence number or timestamp of zero for none at all.
            let identity = FlowIdentity { sequence: u16::from_be_bytes([e, f]).max(2), timestamp: u32::from_be_bytes([g, h, i, j]).max(1) };
            let found_kind = found.kind;
            let dscp = if found.kind == MediaKind::Video { settings.dscp_video } else { settings.dscp_audio };
            let header = Header { version: 2, payload_type: facts.payload_type.bits(), ssrc: facts.ssrc.0, ..Header::default() };
            slot.presentation.add_flow(facts, identity, payloader.grouping(found), now)?;
            slot.senders.push(Sender {
                gate,
                payloader,
                header,
                facts,
                kind: found_kind,
                traffic_class: dscp << 2,
                cname: format!("{presentation}@flowsteer"),
                connections: Vec::new(),
                broken: Vec::new(),
            });
            Ok(facts)
        })
    }

    fn arm(&mut self, slot: usize) {
        let deadline = self.slots.get(slot).and_then(Option::as_deref).and_then(Slot::next_deadline);
        match deadline {
            Some(deadline) => self.wheel.arm(slot, deadline),
            None => self.wheel.disarm(slot),
        }
    }

    /// Does all that a presentation wants done now.
    fn serve(&mut self, index: usize) {
        // Taken out while it is served: what it needs of the shard is borrowed beside it.
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else { return };
        let now = (self.clock)();
        let mut over = false;
        slot.waits = None;
        self.send_rests(&mut slot, now);
        while let Some(work) = slot.presentation.poll(now) {
            match work {
                Work::Unit { flow, unit, second, sequence, timestamp, due, audience } => {
                    self.finish_rests(&mut slot, |rest| rest.goes_before(flow, audience), now);
                    let spread = slot.spread(flow, &unit, audience);
                    let sending = Sending { flow, unit, second, sequence, timestamp, random_access: unit.random_access, audience, spread };
                    let Some(packets) = self.fetch(&mut slot, &sending, now) else {
                        if slot.waits.is_some() {
                            break;
                        }
                        if slot.failures >= MAX_FAILURES {
                            slot.presentation.end(now);
                        }
                        continue;
                    };
                    self.send_unit(&mut slot, &sending, &packets, now);
                    self.units.put_back(packets);
                    if slot.waits.is_some() {
                        break;
                    }
                    if audience == Audience::Live {
                        self.lateness.note(now.mono.since(due));
                    }
                    if self.outbox.is_full() {
                        self.flush();
                    }
                }
                Work::Report { flow, branch } => self.send_report(&mut slot, flow, branch, now),
                Work::Bye { flow, state } => {
                    if !state.branch.leaving {
                        self.finish_rests(&mut slot, |rest| rest.flow == flow, now);
                    }
                    self.send_farewell(&mut slot, flow, &state, now);
                }
                Work::Ended => {
                    over = true;
                    break;
                }
            }
        }
        if over {
            let id = slot.presentation.id();
            slot.ways.close(&self.endpoints, id, now);
            self.neighbours.note(index, None);
            self.index.remove(&id);
            self.units.set_presentations(self.index.len());
            if self.index.is_empty() {
                // What is kept keeps its title, and a live title its source.
                self.units.forget();
            }
            self.wheel.disarm(index);
            self.free.push(index);
            self.steering.release_owner(Owner::Presentation(id.0), now);
        } else {
            self.slots[index] = Some(slot);
            self.note_given_up();
            self.arm(index);
        }
    }

    /// Finds out whose the datagrams are that have come back. Only RTP says something: a receiver need not have an RTCP port.
    fn look_at_bounced(&mut self) {
        let mut found = Vec::new();
        for (socket, rtcp) in self.sockets.sockets_mut() {
            let bounced = socket.take_bounced();
            if bounced.is_empty() {
                continue;
            }
            self.counters.bounced.increment(bounced.len() as u64);
            found.extend(bounced.into_iter().filter(|_| !rtcp).filter_map(|Bounced { to, quoted }| {
                let endpoint = self.endpoints.branch_at(to, Port::Rtp)?;
                Some((endpoint, quoted))
            }));
        }
        for (Endpoint { presentation, home, branch }, quoted) in found {
            let origin = ReportOrigin { home, branch };
            match self.index.contains_key(&presentation) {
                true => self.bounced(presentation, origin, &quoted, (self.clock)()),
                false => self.director.perform(Command::Bounced { presentation, origin, quoted }),
            }
        }
    }

    /// Ends a branch where nobody is.
    fn bounced(&mut self, presentation: PresentationId, origin: ReportOrigin, quoted: &[u8], now: Now) {
        let Some(slot) = self.index.get(&presentation).and_then(|slot| self.slots.get_mut(*slot)?.as_mut()) else { return };
        if !slot.is_gone(origin, quoted, now) {
            return;
        }
        let steering = Arc::clone(&self.steering);
        let removed = self.with(presentation, |slot| {
            steering.remove(origin.home, origin.branch, EndReason::Expired, now).map_err(|_| PlaybackError::Unknown)?;
            slot.sync(now);
            Ok(())
        });
        // One that the address map does not let go, as a home address itself, stays.
        if removed.is_ok() {
            self.counters.unreachable.increment(1);
            tracing::info!(home = %origin.home, session = %presentation, "nobody is where a branch goes: it ends");
        }
    }

    /// Sends a branch again what it says it has not got.
    fn resend(&mut self, presentation: PresentationId, origin: ReportOrigin, packet: &[u8], now: Now) {
        let Some(slot) = self.index.get(&presentation).and_then(|slot| self.slots.get_mut(*slot)?.as_mut()) else { return };
        let Some(sender) = slot.senders.iter_mut().find(|sender| sender.facts.home == origin.home) else { return };
        let Sender { gate, payloader, facts, kind, traffic_class, .. } = sender;
        let label = facts.label.bits() ^ self.settings.corrupt_label.unwrap_or(0);
        let Some(track) = slot.presentation.title().tracks.get(facts.track) else { return };
        let flow = FlowParts { presentation, gate, payloader, track, facts, kind: *kind, label, traffic_class: *traffic_class };
        let jumps = slot.presentation.jumps();
        self.numbered = self.numbered.wrapping_add(1);
        self.resender.resend(&mut slot.resends, flow, origin.branch, packet, jumps, &*slot.source, &mut self.outbox, self.numbered, now);
        if self.outbox.is_full() {
            self.flush();
        }
    }

    /// Takes what came in: reports of receivers, and datagrams that open a way.
    fn receive(&mut self) {
        let now = (self.clock)();
        let mut buffer = [0; 2048];
        let mut reports: Vec<(Endpoint, Vec<u8>)> = Vec::new();
        for (socket, rtcp) in self.sockets.sockets() {
            // Bounded: a flood must not keep media from leaving.
            let until = (self.clock)().mono + RECEIVE_FOR;
            for _ in 0..256 {
                if (self.clock)().mono >= until {
                    break;
                }
                let Some(received) = socket.receive(&mut buffer) else { break };
                let packet = &buffer[..received.len];
                match self.endpoints.hear(received.from, if rtcp { Port::Rtcp } else { Port::Rtp }, packet, now.mono) {
                    Origin::Branch(endpoint) if rtcp && report::is_compound(packet) => reports.push((endpoint, packet.to_vec())),
                    Origin::Branch(_) | Origin::SetUp => {}
                    Origin::Learned(presentation) => {
                        self.counters.ports_learned.increment(1);
                        // Its shard looks at its branches again.
                        self.director.perform(Command::RouteChanged { presentation });
                    }
                    Origin::Nobody => self.counters.datagrams_ignored.increment(1),
                }
            }
        }
        for (Endpoint { presentation, home, branch }, packet) in reports {
            let origin = ReportOrigin { home, branch };
            match self.index.get(&presentation).copied().and_then(|slot| self.slots.get_mut(slot)?.as_mut()) {
                Some(slot) => {
                    slot.reported(origin, &packet, now);
                    self.resend(presentation, origin, &packet, now);
                }
                None => self.director.perform(Command::Rtcp { presentation, origin, packet }),
            }
        }
    }
}
