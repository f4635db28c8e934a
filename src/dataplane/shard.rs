//! One shard: a thread that owns presentations.
//!
//! Its loop: take commands, fire timers, let each presentation that is due say what it wants sent, read and payload that
//! access unit, pass it through filter and map, gather the messages, send them, wait. Nothing else touches its
//! presentations; nothing here is shared but the address map.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rtp::header::Header;
use webrtc_util::marshal::Marshal;

use crate::dataplane::director::{Director, Notices, QUEUE, ShardHandle};
use crate::dataplane::endpoints::{Endpoint, Endpoints, Origin, Port};
use crate::dataplane::handover;
use crate::dataplane::outbox::{Outbox, UdpTarget, sum};
use crate::dataplane::resend::{FlowParts, Resender, Resends};
use crate::dataplane::unreachable::Unreachable;
use crate::dataplane::ways::Ways;
use crate::dataplane::wheel::Wheel;
use crate::library::{AccessUnit, ReadAt};
use crate::net::bounced::Bounced;
use crate::net::connection::{Connection, Connections, Offer};
use crate::net::udp::PortPair;
use crate::net::wait::{Waker, wait};
use crate::now::{Mono, Now};
use crate::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use crate::playback::flow::{BranchState, FlowIdentity};
use crate::playback::presentation::{Audience, Presentation, PresentationSettings, Work};
use crate::playback::report;
use crate::playback::rtx::SentUnit;
use crate::playback::{Command, FlowFacts, Perform, PlaybackError, PresentationId, ReportOrigin};
use crate::quantities::{FlowLabel, MediaKind, PayloadType, Ssrc};
use crate::steering::{BindingCache, BranchSerial, CareOf, EndReason, Gate, Holder, HomeAddress, Owner, PacketFacts, Payload, Route};

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
    /// For how long a packet can be sent again to a branch that asked for that.
    pub rtx: Duration,
    /// DSCP of video packets.
    pub dscp_video: u8,
    /// DSCP of audio packets.
    pub dscp_audio: u8,
    /// For presentations.
    pub presentation: PresentationSettings,
    /// A test of the filter: the label that leaves the payload stage is changed by this before the filter sees it.
    pub corrupt_label: Option<u32>,
}

impl Default for DataPlaneSettings {
    fn default() -> Self {
        Self {
            port: 8000,
            shards: 1,
            max_packet: 1400,
            rtx: Duration::from_secs(2),
            max_presentations: 10_000,
            dscp_video: 0,
            dscp_audio: 0,
            presentation: PresentationSettings::default(),
            corrupt_label: None,
        }
    }
}

/// The shards and their threads.
pub struct DataPlane {
    director: Arc<Director>,
    port: u16,
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
        let endpoints = Arc::new(Endpoints::default());
        let mut threads = Vec::new();
        for (index, Part { sockets, commands, notices, waker }) in self.parts.into_iter().enumerate() {
            let shard = Shard {
                settings: settings.clone(),
                steering: Arc::clone(steering),
                connections: Arc::clone(connections),
                endpoints: Arc::clone(&endpoints),
                director: Arc::clone(&self.director),
                notices,
                sockets,
                outbox: Outbox::default(),
                resender: Resender::default(),
                frames: Vec::new(),
                unit: Vec::new(),
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
        Ok(DataPlane { director: self.director, port: self.port, threads })
    }
}

/// A presentation and what the shard holds for it.
struct Slot {
    presentation: Presentation,
    source: Arc<dyn ReadAt>,
    opened: Mono,
    /// In the order of the flows.
    senders: Vec<Sender>,
    /// Failed reads in a row.
    failures: u32,
    /// Where its datagrams come from.
    ways: Ways,
    /// Of which branches datagrams come back.
    unreachable: Unreachable,
    /// What branches may be sent again.
    resends: Resends,
}

/// What turns one flow's access units into packets.
struct Sender {
    gate: Gate,
    payloader: Payloader,
    header: Header,
    facts: FlowFacts,
    kind: MediaKind,
    traffic_class: u8,
    cname: String,
    /// The connections of its interleaved branches.
    connections: Vec<(u64, Arc<Connection>)>,
    /// Branches that lost an access unit: they are served again from the next random access point on.
    broken: Vec<BranchSerial>,
}

struct Counters {
    packets: metrics::Counter,
    octets: metrics::Counter,
    refused: metrics::Counter,
    no_room: metrics::Counter,
    label_unavailable: metrics::Counter,
    interleaved_full: metrics::Counter,
    broken_units: metrics::Counter,
    ports_learned: metrics::Counter,
    datagrams_ignored: metrics::Counter,
    bounced: metrics::Counter,
    unreachable: metrics::Counter,
    lateness: metrics::Histogram,
    handover: metrics::Histogram,
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
            ports_learned: metrics::counter!("flowsteer_ports_learned_total"),
            datagrams_ignored: metrics::counter!("flowsteer_datagrams_ignored_total"),
            bounced: metrics::counter!("flowsteer_datagrams_bounced_total"),
            unreachable: metrics::counter!("flowsteer_branches_unreachable_total"),
            lateness: metrics::histogram!("flowsteer_pacing_lateness_seconds"),
            handover: metrics::histogram!("flowsteer_handover_seconds"),
        }
    }
}

struct Shard {
    settings: DataPlaneSettings,
    steering: Arc<BindingCache>,
    connections: Arc<Connections>,
    endpoints: Arc<Endpoints>,
    director: Arc<Director>,
    notices: Arc<Notices>,
    sockets: PortPair,
    outbox: Outbox,
    resender: Resender,
    /// Interleaved frames of one access unit.
    frames: Vec<u8>,
    /// One access unit.
    unit: Vec<u8>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    index: HashMap<PresentationId, usize>,
    wheel: Wheel,
    clock: fn() -> Now,
    counters: Counters,
}

/// The largest access unit that is read: an index that claims more is wrong.
const MAX_UNIT: u32 = 64 << 20;
/// Reads that may fail in a row before the presentation ends.
const MAX_FAILURES: u32 = 3;
/// A priming branch waits while its connection has so much to send.
const PRIMING_BACKLOG: usize = 64 * 1024;
/// … and is asked again after this.
const PRIMING_PAUSE: Duration = Duration::from_millis(5);

impl Shard {
    fn run(mut self, commands: &Receiver<Command>, waker: &Waker) {
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
            self.look_at_bounced();
            // Also where more is due already: reports are taken in under any load.
            let timeout = self.wheel.wait((self.clock)().mono);
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

    fn flush(&mut self) {
        let (packets, reports) = self.outbox.flush(&mut self.sockets);
        let sent = sum(packets, reports);
        for (counter, count) in [
            (&self.counters.packets, packets.datagrams),
            (&self.counters.octets, packets.octets.saturating_sub(packets.datagrams * RTP_HEADER_LEN as u64)),
            (&self.counters.refused, sent.refused),
            (&self.counters.no_room, sent.no_room),
            (&self.counters.label_unavailable, sent.label_unavailable),
        ] {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    /// Whether to go on.
    fn take_commands(&mut self, commands: &Receiver<Command>) -> bool {
        // Bounded: media that are due leave between many commands.
        for _ in 0..QUEUE {
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
            Command::Open { presentation, title, start, looping, reply } => {
                if self.index.len() >= self.settings.max_presentations || self.index.contains_key(&presentation) {
                    return reply(Err(PlaybackError::Full));
                }
                let source = match title.source.open() {
                    Ok(source) => source,
                    Err(error) => {
                        tracing::warn!(title = %title.path, "the file cannot be opened: {error}");
                        return reply(Err(PlaybackError::Unplayable));
                    }
                };
                let start = start.clamp(crate::quantities::MediaTime::ZERO, title.duration);
                let made = Presentation::new(presentation, title, start, looping, self.settings.presentation, now);
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() - 1
                });
                self.slots[slot] = Some(Slot {
                    presentation: made,
                    source,
                    opened: now.mono,
                    senders: Vec::new(),
                    failures: 0,
                    ways: Ways::default(),
                    unreachable: Unreachable::default(),
                    resends: Resends::new(self.settings.rtx),
                });
                self.index.insert(presentation, slot);
                self.arm(slot);
                reply(Ok(()));
            }
            Command::AddFlow { presentation, track, home, label, reply } => reply(self.add_flow(presentation, track, home, label, now)),
            Command::Await { presentation, home, holder, care_of, reply } => {
                let endpoints = Arc::clone(&self.endpoints);
                reply(self.with(presentation, |slot| slot.await_datagrams(&endpoints, home, holder, care_of, now)));
            }
            Command::Play { presentation, request, reply } => {
                // Players open the way through a NAT right before they ask for media: what they sent is here by now.
                self.receive();
                let outcome = self.with(presentation, |slot| {
                    slot.sync(now);
                    let jumps = slot.presentation.jumps();
                    let outcome = slot.presentation.play(request, now);
                    if slot.presentation.jumps() != jumps {
                        slot.discard_held();
                    }
                    outcome
                });
                reply(outcome);
            }
            Command::Pause { presentation, reply } => reply(self.with(presentation, |slot| slot.presentation.pause(now))),
            Command::End { presentation, reply } => {
                reply(self.with(presentation, |slot| {
                    slot.presentation.end(now);
                    Ok(())
                }));
            }
            Command::EndTitle { title } => {
                for slot in 0..self.slots.len() {
                    let found = self.slots.get_mut(slot).and_then(Option::as_mut);
                    if let Some(found) = found.filter(|found| found.presentation.title().path == title) {
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

    /// Does something to a presentation, and what it wants done after that.
    fn with<T>(
        &mut self,
        presentation: PresentationId,
        act: impl FnOnce(&mut Slot) -> Result<T, PlaybackError>,
    ) -> Result<T, PlaybackError> {
        let slot = *self.index.get(&presentation).ok_or(PlaybackError::Unknown)?;
        let found = self.slots.get_mut(slot).and_then(Option::as_mut).ok_or(PlaybackError::Unknown)?;
        let outcome = act(found);
        found.follow_datagrams(&self.endpoints, &self.steering, (self.clock)());
        self.serve(slot);
        outcome
    }

    fn add_flow(
        &mut self,
        presentation: PresentationId,
        track: usize,
        home: HomeAddress,
        label: FlowLabel,
        now: Now,
    ) -> Result<FlowFacts, PlaybackError> {
        let gate = self.steering.gate(home).ok_or(PlaybackError::Unknown)?;
        let settings = self.settings.clone();
        self.with(presentation, |slot| {
            let found = slot.presentation.title().tracks.get(track).ok_or(PlaybackError::Unknown)?;
            let payloader = Payloader::new(&found.codec, settings.max_packet).map_err(|_| PlaybackError::Unplayable)?;
            let mut drawn = [0; 10];
            getrandom::fill(&mut drawn).map_err(|_| PlaybackError::Full)?;
            let [a, b, c, d, e, f, g, h, i, j] = drawn;
            let facts = FlowFacts {
                track,
                home,
                label,
                ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
                payload_type: PayloadType::dynamic(track).ok_or(PlaybackError::Full)?,
                clock_rate: payloader.clock_rate(),
            };
            // Players take a first sequence number or timestamp of zero for none at all.
            let identity = FlowIdentity { sequence: u16::from_be_bytes([e, f]).max(2), timestamp: u32::from_be_bytes([g, h, i, j]).max(1) };
            let found_kind = found.kind;
            let dscp = if found.kind == MediaKind::Video { settings.dscp_video } else { settings.dscp_audio };
            let header = Header { version: 2, payload_type: facts.payload_type.bits(), ssrc: facts.ssrc.0, ..Header::default() };
            slot.presentation.add_flow(facts, identity, now)?;
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
        let deadline = self.slots.get(slot).and_then(Option::as_ref).and_then(|slot| slot.presentation.next_deadline());
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
        while let Some(work) = slot.presentation.poll(now) {
            match work {
                Work::Unit { flow, unit, sequence, timestamp, due, audience } => {
                    if unit.size > MAX_UNIT {
                        slot.presentation.skip(flow, audience, now);
                        continue;
                    }
                    self.unit.resize(unit.size as usize, 0);
                    if let Err(error) = slot.source.read_exact_at(&mut self.unit, unit.offset) {
                        slot.failures += 1;
                        tracing::warn!(title = %slot.presentation.title().path, "an access unit cannot be read: {error}");
                        slot.presentation.skip(flow, audience, now);
                        if slot.failures >= MAX_FAILURES {
                            slot.presentation.end(now);
                        }
                        continue;
                    }
                    slot.failures = 0;
                    if audience == Audience::Live {
                        self.counters.lateness.record(now.mono.since(due).as_secs_f64());
                    }
                    let sent = Sending { unit, sequence, timestamp, random_access: unit.random_access, audience };
                    self.send_unit(&mut slot, flow, &sent, now);
                    if self.outbox.is_full() {
                        self.flush();
                    }
                }
                Work::Report { flow, branch } => self.send_report(&mut slot, flow, branch, now),
                Work::Bye { flow, state } => self.send_farewell(&mut slot, flow, &state, now),
                Work::Ended => {
                    over = true;
                    break;
                }
            }
        }
        if over {
            let id = slot.presentation.id();
            slot.ways.close(&self.endpoints, id, now);
            self.index.remove(&id);
            self.wheel.disarm(index);
            self.free.push(index);
            self.steering.release_owner(Owner::Presentation(id.0), now);
        } else {
            self.slots[index] = Some(slot);
            self.arm(index);
        }
    }

    /// One access unit: payload, filter, map, outbox.
    fn send_unit(&mut self, slot: &mut Slot, flow: usize, sending: &Sending, now: Now) {
        let Some(sender) = slot.senders.get_mut(flow) else { return };
        let first = self.outbox.packets.packets().len();
        if sender.payloader.payload(&self.unit, sending.random_access, &mut self.outbox.packets).is_err() {
            self.counters.broken_units.increment(1);
            slot.presentation.skip(flow, sending.audience, now);
            return;
        }
        let octets = fill_headers(&mut self.outbox.packets, first, &mut sender.header, sending);
        let packets = self.outbox.packets.packets().len() - first;
        // As they stand in the packets; those of one access unit differ in nothing of it.
        let written = self.outbox.packets.packets().get(first).map(|packet| packet.range.clone()).unwrap_or_default();
        let facts = PacketFacts {
            source: sender.gate.media_source(),
            home: sender.facts.home,
            label: sender.facts.label.bits() ^ self.settings.corrupt_label.unwrap_or(0),
            destination_port: sender.gate.route().ports.0,
            payload: Payload::of(&self.outbox.packets.octets()[written]),
            media: Some(sender.kind),
        };
        // One reason for each packet that does not leave; the access unit is over either way.
        let Ok(route) = sender.gate.pass(&facts, u32::try_from(packets).unwrap_or(u32::MAX), now).map(Arc::clone) else {
            self.outbox.packets.truncate(first);
            slot.presentation.sent(flow, sending.audience, packets as u64, 0, &[], now);
            return;
        };
        let mut served: smallvec::SmallVec<[BranchSerial; 4]> = smallvec::SmallVec::new();
        for branch in &route.branches {
            let wanted = match sending.audience {
                Audience::Live => slot.presentation.is_live(flow, branch.serial, now),
                Audience::Priming(serial) => branch.serial == serial,
            };
            if !wanted {
                continue;
            }
            match branch.care_of {
                CareOf::Udp { rtp, source, .. } => {
                    let target = UdpTarget { to: rtp, source, label: facts.label, traffic_class: sender.traffic_class };
                    self.outbox.queue(first..first + packets, &target);
                    served.push(branch.serial);
                }
                CareOf::Interleaved { connection, rtp_channel, .. } => {
                    let Some(connection) = sender.connection(connection.0, &self.connections) else { continue };
                    if sending.audience == Audience::Live && sender.broken.contains(&branch.serial) {
                        if !sending.random_access {
                            self.counters.interleaved_full.increment(packets as u64);
                            continue;
                        }
                        sender.broken.retain(|serial| *serial != branch.serial);
                    }
                    if matches!(sending.audience, Audience::Priming(_)) && connection.backlog() > PRIMING_BACKLOG {
                        self.outbox.packets.truncate(first);
                        slot.presentation.defer(flow, branch.serial, now.mono + PRIMING_PAUSE);
                        return;
                    }
                    frame(&self.outbox.packets, first, rtp_channel, &mut self.frames);
                    match connection.offer(&self.frames, now.mono) {
                        Offer::Taken => {
                            self.counters.packets.increment(packets as u64);
                            self.counters.octets.increment(octets as u64);
                            served.push(branch.serial);
                        }
                        Offer::Full if matches!(sending.audience, Audience::Priming(_)) => {
                            self.outbox.packets.truncate(first);
                            slot.presentation.defer(flow, branch.serial, now.mono + PRIMING_PAUSE);
                            return;
                        }
                        Offer::Full => {
                            self.counters.interleaved_full.increment(packets as u64);
                            sender.broken.push(branch.serial);
                        }
                        Offer::Closed => {}
                    }
                }
            }
        }
        let home = sender.facts.home;
        let fresh = slot.presentation.flows().get(flow).map(|flow| {
            let fresh = flow.branches.iter().filter(|state| state.packets == 0 && served.contains(&state.branch.serial));
            fresh
                .map(|state| (state.branch.serial, (!state.branch.is_at_home(home)).then_some(state.branch.since)))
                .collect::<smallvec::SmallVec<[(BranchSerial, Option<Mono>); 2]>>()
        });
        slot.presentation.sent(flow, sending.audience, packets as u64, octets as u64, &served, now);
        let Sending { unit, sequence, timestamp, .. } = *sending;
        let sent = SentUnit { unit, sequence, packets, timestamp, at: now.mono };
        slot.resends.note(&sent, &sender.facts, &slot.presentation, &route.branches, &served);
        for (serial, since) in fresh.unwrap_or_default() {
            // Who was bound before there was anything to play was not waiting for a hand-over.
            if let Some(since) = since.filter(|since| *since >= slot.opened) {
                self.counters.handover.record(now.mono.since(since).as_secs_f64());
            }
            self.steering.branch_started(home, serial, now);
        }
        handover::tell(&mut slot.presentation, &self.steering);
        if served.is_empty() && self.outbox.packets.packets().len() == first + packets {
            // Nobody took them: the octets need not wait for the flush.
            self.outbox.packets.truncate(first);
        }
    }

    /// What the filter sees of RTCP.
    fn rtcp_facts(&self, sender: &mut Sender) -> PacketFacts {
        PacketFacts {
            source: sender.gate.media_source(),
            home: sender.facts.home,
            label: sender.facts.label.bits() ^ self.settings.corrupt_label.unwrap_or(0),
            destination_port: sender.gate.route().ports.1,
            payload: Payload::Rtcp,
            media: Some(sender.kind),
        }
    }

    fn send_report(&mut self, slot: &mut Slot, flow: usize, branch: BranchSerial, now: Now) {
        let Some(sender) = slot.senders.get_mut(flow) else { return };
        let facts = self.rtcp_facts(sender);
        let Ok(route) = sender.gate.pass(&facts, 1, now) else { return };
        // One that has just ended gets no more than its BYE.
        let Some(care_of) = route.branches.iter().find(|bound| bound.serial == branch).map(|bound| bound.care_of) else { return };
        let Some(playing) = slot.presentation.flows().get(flow) else { return };
        let Some(state) = playing.branches.iter().find(|state| state.branch.serial == branch) else { return };
        let report = report::sender_report(&slot.presentation, playing, state, &sender.cname, false, now);
        self.send_rtcp(sender, &care_of, &report, facts.label, |connection, frame| {
            // A report that finds no room is followed by another.
            let _ = connection.offer(frame, now.mono);
        });
        if let Some(report) = slot.resends.report(branch, &slot.presentation, playing, &sender.cname, false, now) {
            self.send_rtcp(sender, &care_of, &report, facts.label, |_, _| {});
        }
        let (_, ntp) = slot.presentation.report_time(now);
        if let Some(state) = slot.presentation.flow_mut(flow).and_then(|flow| flow.branch_mut(branch)) {
            state.last_report = Some((report::middle(ntp), now.mono));
        }
    }

    fn send_farewell(&mut self, slot: &mut Slot, flow: usize, state: &BranchState, now: Now) {
        let (Some(playing), Some(sender)) = (slot.presentation.flows().get(flow), slot.senders.get_mut(flow)) else { return };
        let facts = self.rtcp_facts(sender);
        if sender.gate.pass_farewell(&facts).is_err() {
            return;
        }
        let report = report::sender_report(&slot.presentation, playing, state, &sender.cname, true, now);
        self.send_rtcp(sender, &state.branch.care_of, &report, facts.label, |connection, frame| {
            // One that is closed needs none.
            let _ = connection.insist(frame, now.mono);
        });
        if let Some(report) = slot.resends.report(state.branch.serial, &slot.presentation, playing, &sender.cname, true, now) {
            self.send_rtcp(sender, &state.branch.care_of, &report, facts.label, |_, _| {});
        }
    }

    fn send_rtcp(&mut self, sender: &mut Sender, care_of: &CareOf, report: &[u8], label: u32, write: impl FnOnce(&Connection, &[u8])) {
        match *care_of {
            CareOf::Udp { rtcp, source, .. } => {
                self.outbox.queue_report(report, &UdpTarget { to: rtcp, source, label, traffic_class: sender.traffic_class });
            }
            CareOf::Interleaved { connection, rtcp_channel, .. } => {
                if let Some(connection) = sender.connection(connection.0, &self.connections) {
                    let len = u16::try_from(report.len()).unwrap_or(0).to_be_bytes();
                    write(&connection, &[&[b'$', rtcp_channel, len[0], len[1]], report].concat());
                }
            }
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
        let flow = FlowParts { gate, payloader, facts, kind: *kind, label, traffic_class: *traffic_class };
        let jumps = slot.presentation.jumps();
        self.resender.resend(&mut slot.resends, flow, origin.branch, packet, jumps, &*slot.source, &mut self.outbox, now);
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
            for _ in 0..256 {
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

/// What is the same for all packets of an access unit.
struct Sending {
    unit: AccessUnit,
    sequence: u16,
    timestamp: u32,
    random_access: bool,
    audience: Audience,
}

/// Fills the holes before the payloads of the packets from `first` on; payload octets in all.
fn fill_headers(packets: &mut PacketBuffer, first: usize, header: &mut Header, sending: &Sending) -> usize {
    header.timestamp = sending.timestamp;
    header.sequence_number = sending.sequence;
    let mut payload = 0;
    for index in first..packets.packets().len() {
        let packet = &packets.packets()[index];
        let range = packet.range.clone();
        header.marker = packet.marker;
        payload += range.len() - RTP_HEADER_LEN;
        let hole = &mut packets.octets_mut()[range][..RTP_HEADER_LEN];
        let written = header.marshal_to(hole);
        debug_assert!(matches!(written, Ok(RTP_HEADER_LEN)), "a header without extensions has twelve octets");
        header.sequence_number = header.sequence_number.wrapping_add(1);
    }
    payload
}

/// The source of an RTP packet, of which only the beginning is there.
fn quoted_source(packet: &[u8]) -> Option<Ssrc> {
    match packet {
        &[first, _, _, _, _, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => Some(Ssrc(u32::from_be_bytes([a, b, c, d]))),
        _ => None,
    }
}

/// Frames the packets from `first` on for a channel (RFC 2326 section 10.12).
fn frame(packets: &PacketBuffer, first: usize, channel: u8, frames: &mut Vec<u8>) {
    frames.clear();
    for packet in packets.packets().iter().skip(first) {
        let octets = &packets.octets()[packet.range.clone()];
        let [high, low] = u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes();
        frames.extend_from_slice(&[b'$', channel, high, low]);
        frames.extend_from_slice(octets);
    }
}

impl Slot {
    /// Takes over what the address map says.
    fn sync(&mut self, now: Now) {
        let routes: Vec<Arc<Route>> = self.senders.iter_mut().map(|sender| Arc::clone(sender.gate.route())).collect();
        self.presentation.sync(&routes, now);
        for (sender, route) in self.senders.iter_mut().zip(&routes) {
            let bound = |id: u64| {
                let of = |branch: &crate::steering::Branch| matches!(branch.care_of, CareOf::Interleaved { connection, .. } if connection.0 == id);
                route.branches.iter().any(of)
            };
            sender.connections.retain(|(id, _)| bound(*id));
            sender.broken.retain(|serial| route.branches.iter().any(|branch| branch.serial == *serial));
        }
        self.resends.retain(&routes);
        self.unreachable.retain(|serial| routes.iter().any(|route| route.branches.iter().any(|branch| branch.serial == serial)));
    }

    /// Forgets media that connections hold back until a response is out: they are of the position before.
    fn discard_held(&mut self) {
        for (sender, flow) in self.senders.iter_mut().zip(self.presentation.flows()) {
            for state in &flow.branches {
                if let CareOf::Interleaved { connection, rtp_channel, .. } = state.branch.care_of
                    && let Some((_, connection)) = sender.connections.iter().find(|(id, _)| *id == connection.0)
                {
                    connection.discard_held(rtp_channel);
                }
            }
        }
    }

    /// Notes what a SETUP told.
    fn await_datagrams(
        &mut self,
        endpoints: &Endpoints,
        home: HomeAddress,
        holder: Holder,
        care_of: CareOf,
        now: Now,
    ) -> Result<(), PlaybackError> {
        let sender = self.senders.iter().find(|sender| sender.facts.home == home).ok_or(PlaybackError::Unknown)?;
        self.ways.expect(endpoints, self.presentation.id(), &sender.facts, holder, care_of, now);
        Ok(())
    }

    /// Makes known where its branches are, and moves those that turned out to be behind another port.
    fn follow_datagrams(&mut self, endpoints: &Endpoints, steering: &BindingCache, now: Now) {
        if self.ways.correct(endpoints, &self.presentation, steering, now) {
            self.sync(now);
        }
        self.ways.note(endpoints, &self.presentation, now);
    }

    /// Notes that a datagram of a branch has come back; whether it is one too many. One that quotes no packet of the flow
    /// was made up.
    fn is_gone(&mut self, origin: ReportOrigin, quoted: &[u8], now: Now) -> bool {
        let Some(sender) = self.senders.iter().find(|sender| sender.facts.home == origin.home) else { return false };
        quoted_source(quoted) == Some(sender.facts.ssrc) && self.unreachable.note(origin.branch, now.mono)
    }

    fn reported(&mut self, origin: ReportOrigin, packet: &[u8], now: Now) {
        self.unreachable.heard(origin.branch);
        let Some(index) = self.senders.iter().position(|sender| sender.facts.home == origin.home) else { return };
        self.senders[index].gate.heard(origin.branch, now.mono);
        let facts = self.senders[index].facts;
        if let Some(state) = self.presentation.flow_mut(index).and_then(|flow| flow.branch_mut(origin.branch))
            && let Some(mut reception) = report::read_reception(packet, facts.ssrc, facts.clock_rate, state.last_report, now.mono)
        {
            reception.round_trip = reception.round_trip.or(state.reception.round_trip);
            state.reception = reception;
        }
    }

    fn snapshot(&self, now: Now) -> crate::playback::PresentationSnapshot {
        let mut snapshot = self.presentation.snapshot(now);
        for (flow, sender) in snapshot.flows.iter_mut().zip(&self.senders) {
            flow.dropped = sender.gate.dropped();
        }
        snapshot
    }
}

impl Sender {
    fn connection(&mut self, id: u64, connections: &Connections) -> Option<Arc<Connection>> {
        if let Some((_, connection)) = self.connections.iter().find(|(known, _)| *known == id) {
            return Some(Arc::clone(connection));
        }
        let connection = connections.get(id)?;
        self.connections.push((id, Arc::clone(&connection)));
        Some(connection)
    }
}
