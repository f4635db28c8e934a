//! How a shard sends: an access unit's packets through filter and map to its branches, large ones in pieces, and RTCP.

use std::io;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use rtp::header::Header;
use smallvec::SmallVec;
use webrtc_util::marshal::Marshal;

use crate::dataplane::handover;
use crate::dataplane::outbox::{Importance, Tag, UdpTarget, sum};
use crate::dataplane::resend::SentTo;
use crate::dataplane::shard::{READ_PAUSE, Shard};
use crate::dataplane::slot::{Rest, Sender, Slot};
use crate::dataplane::units::{Unit, UnitError, Wanted};
use crate::library::AccessUnit;
use crate::net::connection::{Connection, Offer};
use crate::now::{Mono, Now};
use crate::payload::RTP_HEADER_LEN;
use crate::playback::flow::BranchState;
use crate::playback::presentation::Audience;
use crate::playback::rtx::SentUnit;
use crate::playback::{PresentationId, report};
use crate::quantities::MediaKind;
use crate::steering::{BranchSerial, CareOf, PacketFacts, Payload};

/// Pieces of an access unit follow each other by this.
const STEP: Duration = Duration::from_millis(1);
/// Leading pictures have so many octets and packets at most that others take their numbers.
const MAX_LEADING_OCTETS: u64 = 4 << 20;
const MAX_FILLERS: usize = 512;
/// Titles of which it is told that they have access units larger than a packet.
const OVERSIZED: usize = 256;
/// A priming branch waits while its connection has so much to send.
const PRIMING_BACKLOG: usize = 64 * 1024;
/// … and is asked again after this.
const PRIMING_PAUSE: Duration = Duration::from_millis(5);

/// What is the same for all packets of an access unit.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub(super) flow: usize,
    pub(super) unit: AccessUnit,
    /// What shares its packet.
    pub(super) second: Option<AccessUnit>,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) random_access: bool,
    pub(super) audience: Audience,
    /// How long its packets may take.
    pub(super) spread: Duration,
}

impl Shard {
    /// Sends what has been gathered, and counts it.
    pub(super) fn flush(&mut self) {
        let now = (self.clock)();
        let flushed = self.outbox.flush(&mut self.sockets, &mut self.units, now.mono);
        let sent = sum(flushed.packets, flushed.reports);
        let packets = flushed.packets;
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

    /// Of what was given up others may depend: a branch that lost such a picture goes on with the next random access point.
    pub(super) fn note_given_up(&mut self) {
        for tag in self.outbox.take_given_up() {
            if !matches!(tag.importance, Importance::Picture | Importance::RandomAccess) || self.outbox.recovers(&tag) {
                continue;
            }
            let slot = self.index.get(&tag.presentation).and_then(|slot| self.slots.get_mut(*slot)?.as_mut());
            let sender = slot.and_then(|slot| slot.senders.iter_mut().find(|sender| sender.facts.home == tag.home));
            if let Some(sender) = sender.filter(|sender| !sender.broken.contains(&tag.branch)) {
                sender.broken.push(tag.branch);
            }
        }
    }

    /// Reads and payloads an access unit; `None` where that failed, which is taken care of, or where it has to wait.
    pub(super) fn fetch(&mut self, slot: &mut Slot, sending: &Sending, now: Now) -> Option<Arc<Unit>> {
        let sender = slot.senders.get(sending.flow)?;
        let units: SmallVec<[AccessUnit; 2]> = iter::once(sending.unit).chain(sending.second).collect();
        let fetched = self.units.fetch(&Wanted {
            title: slot.presentation.title(),
            track: sender.facts.track,
            units: &units,
            source: &*slot.source,
            payloader: &sender.payloader,
            near: slot.near,
        });
        match fetched {
            Ok(unit) => {
                slot.failures = 0;
                return Some(unit);
            }
            Err(UnitError::Payload) => self.counters.broken_units.increment(1),
            Err(UnitError::TooLarge(error)) => {
                self.counters.oversized_units.increment(1);
                let path = &slot.presentation.title().path;
                if self.oversized.len() < OVERSIZED && !self.oversized.contains(path) {
                    self.oversized.insert(path.clone());
                    tracing::warn!(title = %path, "an access unit is left out, and others like it: {error}");
                }
            }
            Err(UnitError::Read(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                slot.waits = Some(now.mono + READ_PAUSE);
                return None;
            }
            Err(UnitError::Read(error)) => {
                slot.failures += 1;
                tracing::warn!(title = %slot.presentation.title().path, "an access unit cannot be read: {error}");
            }
        }
        slot.presentation.skip(sending.flow, sending.audience, now);
        None
    }

    /// A random access point as it is sent to those who are not sent its leading pictures: with packets that take their numbers. `None`
    /// where nobody begins with it so, and where it has to wait.
    fn fill_up(&mut self, slot: &mut Slot, sending: &Sending, unit: &Unit, now: Now) -> Option<Arc<Unit>> {
        let playing = slot.presentation.flows().get(sending.flow)?;
        let behind = |state: &BranchState| slot.presentation.left_out_behind(sending.flow, sending.audience, state.branch.serial);
        let is_for = |state: &&BranchState| slot.presentation.is_for(sending.flow, sending.audience, state.branch.serial, now);
        let new = playing.branches.iter().filter(|state| state.left_out.is_some()).filter(is_for);
        let left_out = new.map(behind).find(|units| !units.is_empty())?;
        let (title, sender) = (slot.presentation.title(), slot.senders.get(sending.flow)?);
        let mut count = 0;
        if left_out.iter().map(|picture| u64::from(picture.size)).sum::<u64>() > MAX_LEADING_OCTETS {
            return None;
        }
        for picture in left_out {
            let wanted = Wanted {
                title,
                track: sender.facts.track,
                units: &[picture],
                source: &*slot.source,
                payloader: &sender.payloader,
                near: slot.near,
            };
            match self.units.fetch(&wanted) {
                Ok(picture) => {
                    count += picture.packets.packets().len();
                    self.units.put_back(picture);
                }
                Err(UnitError::Read(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.waits = Some(now.mono + READ_PAUSE);
                    return None;
                }
                // One that cannot be read takes no numbers.
                Err(_) => {}
            }
        }
        if count > MAX_FILLERS {
            return None;
        }
        let mut filled = Unit { disposable: unit.disposable, ..Unit::default() };
        filled.packets.append(&unit.packets);
        sender.payloader.fill_up(count, &mut filled.packets).then(|| Arc::new(filled))
    }

    /// One access unit: filter, map, outbox. Nothing is sent of it where what goes with it has to wait.
    pub(super) fn send_unit(&mut self, slot: &mut Slot, sending: &Sending, unit: &Arc<Unit>, now: Now) {
        if sending.random_access {
            for serial in slot.senders.get(sending.flow).iter().flat_map(|sender| &sender.broken) {
                slot.presentation.begin_anew(sending.flow, sending.audience, *serial);
            }
        }
        let filled = if sending.random_access { self.fill_up(slot, sending, unit, now) } else { None };
        if slot.waits.is_some() {
            return;
        }
        let Some(sender) = slot.senders.get_mut(sending.flow) else { return };
        let packets = unit.packets.packets().len();
        let octets = unit.packets.octets().len() - packets * RTP_HEADER_LEN;
        let header = header(&mut sender.header, sending.sequence, sending.timestamp);
        let facts = media_facts(sender, &header, self.settings.corrupt_label);
        // One reason for each packet that does not leave; the access unit is over either way.
        let Ok(route) = sender.gate.pass(&facts, u32::try_from(packets).unwrap_or(u32::MAX), now).map(Arc::clone) else {
            slot.presentation.sent(sending.flow, sending.audience, packets as u64, 0, &[], now);
            return;
        };
        let mut to = SentTo::default();
        let mut datagrams: SmallVec<[(BranchSerial, UdpTarget); 4]> = SmallVec::new();
        if let Some(filled) = &filled {
            to.fillers = filled.packets.packets().len() - packets;
        }
        for branch in &route.branches {
            if slot.presentation.leaves_out(sending.flow, sending.audience, branch.serial) {
                to.left_out.push(branch.serial);
            }
            if !slot.presentation.is_for(sending.flow, sending.audience, branch.serial, now) {
                continue;
            }
            if sender.broken.contains(&branch.serial) {
                if !sending.random_access {
                    let lost = match branch.care_of {
                        CareOf::Interleaved { .. } => &self.counters.interleaved_full,
                        CareOf::Udp { .. } => &self.counters.no_room,
                    };
                    lost.increment(packets as u64);
                    continue;
                }
                sender.broken.retain(|serial| *serial != branch.serial);
            }
            let begins = |_: &&Arc<Unit>| !slot.presentation.left_out_behind(sending.flow, sending.audience, branch.serial).is_empty();
            let whole = filled.as_ref().filter(begins);
            if whole.is_some() {
                to.lengthened.push(branch.serial);
            }
            let whole = whole.unwrap_or(unit);
            match branch.care_of {
                CareOf::Udp { rtp, source, .. } => {
                    let target = UdpTarget { to: rtp, source, label: facts.label, traffic_class: sender.traffic_class };
                    datagrams.push((branch.serial, target));
                    to.served.push(branch.serial);
                }
                CareOf::Interleaved { connection, rtp_channel, .. } => {
                    let Some(connection) = sender.connection(connection.0, &self.connections) else { continue };
                    let primes = matches!(sending.audience, Audience::Priming(_));
                    if primes && connection.backlog() > PRIMING_BACKLOG {
                        slot.presentation.defer(sending.flow, branch.serial, now.mono + PRIMING_PAUSE);
                        return;
                    }
                    self.outbox.write(whole, 0..whole.packets.packets().len(), header);
                    self.outbox.frame(rtp_channel, &mut self.frames);
                    self.outbox.written(false);
                    match connection.offer(&self.frames, now.mono) {
                        Offer::Taken => {
                            let packets = whole.packets.packets().len();
                            self.counters.packets.increment(packets as u64);
                            self.counters.octets.increment((whole.packets.octets().len() - packets * RTP_HEADER_LEN) as u64);
                            to.served.push(branch.serial);
                        }
                        Offer::Full if primes => {
                            slot.presentation.defer(sending.flow, branch.serial, now.mono + PRIMING_PAUSE);
                            return;
                        }
                        Offer::Full => {
                            self.counters.interleaved_full.increment(whole.packets.packets().len() as u64);
                            sender.broken.push(branch.serial);
                        }
                        Offer::Closed => {}
                    }
                }
            }
        }
        let is_lengthened = |(serial, _): &(BranchSerial, UdpTarget)| to.lengthened.contains(serial);
        let begin: SmallVec<[_; 4]> = datagrams.iter().copied().filter(is_lengthened).collect();
        datagrams.retain(|datagram| !is_lengthened(datagram));
        for (whole, datagrams) in [(Some(unit), &datagrams), (filled.as_ref(), &begin)] {
            let Some(whole) = whole.filter(|_| !datagrams.is_empty()) else { continue };
            let packets = whole.packets.packets().len();
            self.numbered = self.numbered.wrapping_add(1);
            let rest = Rest {
                flow: sending.flow,
                unit: Arc::clone(whole),
                next: 0,
                piece: self.piece(packets, sending.spread),
                sequence: sending.sequence,
                timestamp: sending.timestamp,
                random_access: sending.random_access,
                number: self.numbered,
                branches: SmallVec::new(),
                due: now.mono,
            };
            self.queue(sender, slot.presentation.id(), &rest, header, datagrams, now.mono);
            if rest.piece < packets {
                let branches = datagrams.iter().map(|(serial, _)| *serial).collect();
                let rest = Rest { next: rest.piece, branches, due: now.mono + STEP, ..rest };
                if let Audience::Priming(serial) = sending.audience {
                    // What is next for it waits: it would be a burst otherwise.
                    let pieces = (packets - rest.next).div_ceil(rest.piece);
                    slot.presentation.defer(sending.flow, serial, now.mono + STEP * u32::try_from(pieces).unwrap_or(u32::MAX));
                }
                slot.rests.push(rest);
            }
        }
        let home = sender.facts.home;
        let fresh = slot.presentation.flows().get(sending.flow).map(|flow| {
            let fresh = flow.branches.iter().filter(|state| state.packets == 0 && to.served.contains(&state.branch.serial));
            fresh
                .map(|state| (state.branch.serial, (!state.branch.is_at_home(home)).then_some(state.branch.since)))
                .collect::<SmallVec<[(BranchSerial, Option<Mono>); 2]>>()
        });
        // Before the cursor goes on.
        for serial in &to.lengthened {
            slot.presentation.promise(sending.flow, sending.audience, *serial, (packets + to.fillers) as u64);
        }
        slot.presentation.sent(sending.flow, sending.audience, packets as u64, octets as u64, &to.served, now);
        if let Some(filled) = &filled {
            let more = to.fillers;
            let more_octets = filled.packets.octets().len() - (packets + more) * RTP_HEADER_LEN - octets;
            for serial in to.lengthened.iter().filter(|serial| to.served.contains(serial)) {
                if let Some(state) = slot.presentation.flow_mut(sending.flow).and_then(|flow| flow.branch_mut(*serial)) {
                    state.packets += more as u64;
                    state.octets += more_octets as u64;
                }
            }
        }
        let sent = SentUnit {
            unit: sending.unit,
            second: sending.second,
            sequence: sending.sequence,
            packets,
            fillers: 0,
            timestamp: sending.timestamp,
            at: now.mono,
        };
        slot.resends.note(&sent, &sender.facts, &slot.presentation, &route.branches, &to);
        for (serial, since) in fresh.unwrap_or_default() {
            // Who was bound before there was anything to play was not waiting for a hand-over.
            if let Some(since) = since.filter(|since| *since >= slot.opened) {
                self.counters.handover.record(now.mono.since(since).as_secs_f64());
            }
            self.steering.branch_started(home, serial, now);
        }
        handover::tell(&mut slot.presentation, &self.steering, now);
    }

    /// How many packets of an access unit leave at once.
    fn piece(&self, packets: usize, spread: Duration) -> usize {
        let steps = spread.min(self.settings.spread).as_nanos() / STEP.as_nanos();
        packets.div_ceil(steps as usize + 1).max(self.settings.burst)
    }

    /// Queues the next packets of an access unit for those who get datagrams.
    fn queue(
        &mut self,
        sender: &Sender,
        presentation: PresentationId,
        rest: &Rest,
        header: [u8; RTP_HEADER_LEN],
        datagrams: &[(BranchSerial, UdpTarget)],
        now: Mono,
    ) {
        let packets = rest.next..(rest.next + rest.piece).min(rest.unit.packets.packets().len());
        if datagrams.is_empty() {
            return;
        }
        let importance = match (sender.kind, rest.random_access) {
            (MediaKind::Video, true) => Importance::RandomAccess,
            (MediaKind::Video, false) if rest.unit.disposable => Importance::Disposable,
            (MediaKind::Video, false) => Importance::Picture,
            _ => Importance::Sound,
        };
        self.outbox.write(&rest.unit, packets, header);
        for (branch, target) in datagrams {
            let (home, branch, number, begun) = (sender.facts.home, *branch, rest.number, rest.next > 0);
            self.outbox.queue(target, &Tag { presentation, home, branch, number, importance, begun, since: now });
        }
        self.outbox.written(true);
    }

    /// Sends pieces whose time has come.
    pub(super) fn send_rests(&mut self, slot: &mut Slot, now: Now) {
        let mut at = 0;
        while at < slot.rests.len() {
            if slot.rests[at].due <= now.mono && self.send_piece(slot, at, false, now) {
                slot.rests.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Sends at once what is left of access units that have to leave before something else.
    pub(super) fn finish_rests(&mut self, slot: &mut Slot, which: impl Fn(&Rest) -> bool, now: Now) {
        let mut at = 0;
        while at < slot.rests.len() {
            if which(&slot.rests[at]) {
                self.send_piece(slot, at, true, now);
                slot.rests.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Sends the next piece, or all that is left; whether nothing is.
    fn send_piece(&mut self, slot: &mut Slot, at: usize, all: bool, now: Now) -> bool {
        let Some(rest) = slot.rests.get_mut(at) else { return true };
        let Some(sender) = slot.senders.get_mut(rest.flow) else { return true };
        let packets = rest.unit.packets.packets().len();
        if all {
            rest.piece = packets - rest.next;
        }
        let header = header(&mut sender.header, rest.sequence.wrapping_add(rest.next as u16), rest.timestamp);
        let facts = media_facts(sender, &header, self.settings.corrupt_label);
        let count = rest.piece.min(packets - rest.next);
        if let Ok(route) = sender.gate.pass(&facts, u32::try_from(count).unwrap_or(u32::MAX), now).map(Arc::clone) {
            let begun = |serial: BranchSerial| rest.branches.contains(&serial) && !sender.broken.contains(&serial);
            let target = |care_of: CareOf| match care_of {
                CareOf::Udp { rtp, source, .. } => {
                    Some(UdpTarget { to: rtp, source, label: facts.label, traffic_class: sender.traffic_class })
                }
                CareOf::Interleaved { .. } => None,
            };
            let to = route.branches.iter().filter(|branch| begun(branch.serial));
            let datagrams: SmallVec<[(BranchSerial, UdpTarget); 4]> =
                to.filter_map(|branch| Some((branch.serial, target(branch.care_of)?))).collect();
            self.queue(sender, slot.presentation.id(), rest, header, &datagrams, now.mono);
            for (serial, _) in &datagrams {
                if let Some(state) = slot.presentation.flow_mut(rest.flow).and_then(|flow| flow.branch_mut(*serial)) {
                    state.last_sent = now.mono;
                }
            }
        }
        rest.next += count;
        // From when it was due, so that lateness does not add up, but not right behind this one.
        rest.due = (rest.due + STEP).max(now.mono + STEP / 2);
        rest.next >= packets
    }

    /// What the filter sees of RTCP.
    pub(super) fn rtcp_facts(&self, sender: &mut Sender) -> PacketFacts {
        PacketFacts {
            source: sender.gate.media_source(),
            home: sender.facts.home,
            label: sender.facts.label.bits() ^ self.settings.corrupt_label.unwrap_or(0),
            destination_port: sender.gate.route().ports.1,
            payload: Payload::Rtcp,
            media: Some(sender.kind),
        }
    }

    pub(super) fn send_report(&mut self, slot: &mut Slot, flow: usize, branch: BranchSerial, now: Now) {
        let Some(sender) = slot.senders.get_mut(flow) else { return };
        let facts = self.rtcp_facts(sender);
        let Ok(route) = sender.gate.pass(&facts, 1, now) else { return };
        // One that has just ended gets no more than its BYE.
        let Some(care_of) = route.branches.iter().find(|bound| bound.serial == branch).map(|bound| bound.care_of) else { return };
        let Some(playing) = slot.presentation.flows().get(flow) else { return };
        let Some(state) = playing.branches.iter().find(|state| state.branch.serial == branch) else { return };
        let report = report::sender_report(&slot.presentation, playing, state, &sender.cname, false, now);
        let tag = report_tag(slot.presentation.id(), sender, branch, now);
        self.send_rtcp(sender, &care_of, &report, facts.label, tag, |connection, frame| {
            // A report that finds no room is followed by another.
            let _ = connection.offer(frame, now.mono);
        });
        if let Some(report) = slot.resends.report(state, &slot.presentation, playing, &sender.cname, false, now) {
            self.send_rtcp(sender, &care_of, &report, facts.label, tag, |_, _| {});
        }
        let (_, ntp) = slot.presentation.report_point(playing, state, now);
        if let Some(state) = slot.presentation.flow_mut(flow).and_then(|flow| flow.branch_mut(branch)) {
            state.last_report = Some((report::middle(ntp), now.mono));
        }
    }

    pub(super) fn send_farewell(&mut self, slot: &mut Slot, flow: usize, state: &BranchState, now: Now) {
        let (Some(playing), Some(sender)) = (slot.presentation.flows().get(flow), slot.senders.get_mut(flow)) else { return };
        let facts = self.rtcp_facts(sender);
        if sender.gate.pass_farewell(&facts).is_err() {
            return;
        }
        let report = report::sender_report(&slot.presentation, playing, state, &sender.cname, true, now);
        // What it has the beginning of it gets whole, although its window has ended meanwhile.
        for rest in slot.rests.iter_mut().filter(|rest| rest.flow == flow && rest.branches.contains(&state.branch.serial)) {
            rest.branches.retain(|serial| *serial != state.branch.serial);
            if let (true, CareOf::Udp { rtp, source, .. }) = (state.branch.leaving, state.branch.care_of) {
                let target = UdpTarget { to: rtp, source, label: facts.label, traffic_class: sender.traffic_class };
                let header = header(&mut sender.header, rest.sequence.wrapping_add(rest.next as u16), rest.timestamp);
                let piece = rest.unit.packets.packets().len() - rest.next;
                let rest = Rest { piece, branches: SmallVec::new(), unit: Arc::clone(&rest.unit), ..*rest };
                self.queue(sender, slot.presentation.id(), &rest, header, &[(state.branch.serial, target)], now.mono);
            }
        }
        let tag = report_tag(slot.presentation.id(), sender, state.branch.serial, now);
        self.send_rtcp(sender, &state.branch.care_of, &report, facts.label, tag, |connection, frame| {
            // One that is closed needs none.
            let _ = connection.insist(frame, now.mono);
        });
        if let Some(report) = slot.resends.report(state, &slot.presentation, playing, &sender.cname, true, now) {
            self.send_rtcp(sender, &state.branch.care_of, &report, facts.label, tag, |_, _| {});
        }
    }

    fn send_rtcp(
        &mut self,
        sender: &mut Sender,
        care_of: &CareOf,
        report: &[u8],
        label: u32,
        tag: Tag,
        write: impl FnOnce(&Connection, &[u8]),
    ) {
        match *care_of {
            CareOf::Udp { rtcp, source, .. } => {
                let target = UdpTarget { to: rtcp, source, label, traffic_class: sender.traffic_class };
                self.numbered = self.numbered.wrapping_add(1);
                self.outbox.queue_report(report, &target, &Tag { number: self.numbered, ..tag });
            }
            CareOf::Interleaved { connection, rtcp_channel, .. } => {
                if let Some(connection) = sender.connection(connection.0, &self.connections) {
                    let len = u16::try_from(report.len()).unwrap_or(0).to_be_bytes();
                    write(&connection, &[&[b'$', rtcp_channel, len[0], len[1]], report].concat());
                }
            }
        }
    }
}

/// Whose a report is.
fn report_tag(presentation: PresentationId, sender: &Sender, branch: BranchSerial, now: Now) -> Tag {
    let home = sender.facts.home;
    Tag { presentation, home, branch, number: 0, importance: Importance::Report, begun: false, since: now.mono }
}

/// The header of an access unit's first packet, its marker not set.
fn header(header: &mut Header, sequence: u16, timestamp: u32) -> [u8; RTP_HEADER_LEN] {
    header.timestamp = timestamp;
    header.sequence_number = sequence;
    let mut octets = [0; RTP_HEADER_LEN];
    let written = header.marshal_to(&mut octets);
    debug_assert!(matches!(written, Ok(RTP_HEADER_LEN)), "a header without extensions has twelve octets");
    octets
}

/// What the filter sees of media packets: as it stands in them; those of one access unit differ in nothing of it.
fn media_facts(sender: &mut Sender, header: &[u8], corrupt_label: Option<u32>) -> PacketFacts {
    PacketFacts {
        source: sender.gate.media_source(),
        home: sender.facts.home,
        label: sender.facts.label.bits() ^ corrupt_label.unwrap_or(0),
        destination_port: sender.gate.route().ports.0,
        payload: Payload::of(header),
        media: Some(sender.kind),
    }
}
