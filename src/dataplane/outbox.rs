//! What is to leave: datagrams gathered over many presentations and sent in few system calls.
//!
//! What the system has no room for waits here, in the order of its destination, and is tried again; where only the way to some
//! destinations is full, the others are served meanwhile. What waits is bounded: beyond that, whole
//! access units are given up, those first that are missed least: pictures that no other refers to, other pictures, random
//! access points, sound.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::dataplane::units::{Unit, Units};
use crate::net::udp::{Left, MAX_MESSAGE, MAX_SEGMENTS, Message, Octets, Part, PortPair, Scratch, Sent, UdpSocket};
use crate::now::Mono;
use crate::payload::RTP_HEADER_LEN;
use crate::playback::PresentationId;
use crate::steering::{BranchSerial, HomeAddress};

/// Messages after which the outbox is emptied: what one system call takes.
const MESSAGES: usize = 64;
/// Octets after which it is: about what the processor's cache holds.
const OCTETS: usize = 256 << 10;
/// Octets that may wait for room.
const WAITING: usize = 8 << 20;
/// How long they may.
const WAITS: Duration = Duration::from_millis(250);
/// Destinations that are found to have no room in one go at most.
const WAYS: usize = 64;
/// Parts of messages after which those that have left are forgotten although others wait.
const PARTS: usize = 64 << 10;

/// Where a message of UDP goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpTarget {
    pub(crate) to: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) label: u32,
    pub(crate) traffic_class: u8,
}

/// How much an access unit is missed, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Importance {
    /// A picture that no other refers to.
    Disposable,
    /// Another picture.
    Picture,
    /// A picture that decoding can start with.
    RandomAccess,
    /// Sound.
    Sound,
    /// RTCP.
    Report,
}

/// What is given up first; what has been begun, and would be of no use, last.
const ORDER: [(bool, Importance); 9] = [
    (false, Importance::Disposable),
    (false, Importance::Picture),
    (false, Importance::RandomAccess),
    (true, Importance::Disposable),
    (true, Importance::Picture),
    (true, Importance::RandomAccess),
    (false, Importance::Sound),
    (true, Importance::Sound),
    (true, Importance::Report),
];

/// Whose messages are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag {
    pub(crate) presentation: PresentationId,
    pub(crate) home: HomeAddress,
    pub(crate) branch: BranchSerial,
    /// Counts the access units.
    pub(crate) number: u64,
    pub(crate) importance: Importance,
    /// Whether earlier packets of the access unit went before.
    pub(crate) begun: bool,
    pub(crate) since: Mono,
}

/// What went for one family and port.
#[derive(Default)]
struct Lane {
    messages: Vec<Message>,
    tags: Vec<Tag>,
}

impl Lane {
    fn push(&mut self, message: Message, tag: Tag) {
        self.messages.push(message);
        self.tags.push(tag);
    }

    /// Whether something is for that destination.
    fn is_for(&self, to: IpAddr) -> bool {
        self.messages.iter().any(|message| message.to.ip() == to)
    }

    fn octets(&self) -> usize {
        self.messages.iter().map(|message| message.len).sum()
    }

    /// Takes out those that are for some destinations, in their order.
    fn take(&mut self, is_wanted: impl Fn(IpAddr) -> bool) -> Self {
        let mut taken = Self::default();
        let is_taken = |message: &mut Message| is_wanted(message.to.ip());
        let mut each = self.messages.iter().map(|message| is_wanted(message.to.ip())).collect::<Vec<_>>().into_iter();
        taken.tags.extend(self.tags.extract_if(.., |_| each.next().unwrap_or(false)));
        taken.messages.extend(self.messages.extract_if(.., is_taken));
        taken
    }

    fn append(&mut self, mut other: Self) {
        self.messages.append(&mut other.messages);
        self.tags.append(&mut other.tags);
    }

    /// Takes out the first `count`. What is left of an access unit that they began is no longer whole.
    fn done_with(&mut self, count: usize) {
        if let Some(last) = count.checked_sub(1).and_then(|last| self.tags.get(last)).copied() {
            let same = |tag: &&mut Tag| (tag.number, tag.branch) == (last.number, last.branch);
            self.tags.iter_mut().skip(count).take_while(same).for_each(|tag| tag.begun = true);
        }
        self.messages.drain(..count);
        self.tags.drain(..count);
    }

    /// Gives up the oldest access units of that importance until `enough` octets are; the datagrams and octets in them.
    fn give_up(&mut self, importance: Importance, also_begun: bool, enough: usize, given_up: &mut Vec<Tag>) -> (u64, usize) {
        let (mut datagrams, mut octets) = (0, 0);
        let mut victims = HashSet::new();
        let mut goes = Vec::with_capacity(self.tags.len());
        for (tag, message) in self.tags.iter().zip(&self.messages) {
            let whose = (tag.number, tag.branch);
            if !victims.contains(&whose) && octets < enough && tag.importance == importance && (also_begun || !tag.begun) {
                victims.insert(whose);
                given_up.push(*tag);
            }
            let gone = victims.contains(&whose);
            if gone {
                octets += message.len;
                datagrams += message.datagrams();
            }
            goes.push(gone);
        }
        let mut each = goes.iter();
        self.messages.retain(|_| !each.next().is_some_and(|gone| *gone));
        let mut each = goes.iter();
        self.tags.retain(|_| !each.next().is_some_and(|gone| *gone));
        (datagrams, octets)
    }
}

/// Where the octets of messages lie.
#[derive(Default)]
struct Arena {
    headers: Vec<u8>,
    reports: Vec<u8>,
    units: Vec<Arc<Unit>>,
}

const HEADERS: u32 = 0;
const REPORTS: u32 = 1;
const UNITS: u32 = 2;

impl Octets for Arena {
    fn part(&self, part: Part) -> &[u8] {
        match part.buffer {
            HEADERS => self.headers.part(part),
            REPORTS => self.reports.part(part),
            unit => self.units.get((unit - UNITS) as usize).map_or(&[], |unit| unit.packets.octets().part(part)),
        }
    }
}

/// One message's worth of packets that were written.
#[derive(Clone, Debug)]
struct Run {
    parts: Range<usize>,
    len: usize,
    segment: usize,
}

/// What became of what was queued.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) packets: Sent,
    pub(crate) reports: Sent,
}

/// Packets and the messages that carry them.
#[derive(Default)]
pub(crate) struct Outbox {
    arena: Arena,
    parts: Vec<Part>,
    /// The packets that were written last.
    written: Vec<Run>,
    /// How long everything was before.
    mark: (usize, usize, usize),
    rtp6: Lane,
    rtp4: Lane,
    rtcp6: Lane,
    rtcp4: Lane,
    /// Octets since the last flush.
    queued: usize,
    /// At so many parts those that are not needed any more are forgotten.
    compact_at: usize,
    /// Whether the system had no room last time.
    blocked: bool,
    /// Whose access units were given up.
    given_up: Vec<Tag>,
    scratch: Scratch,
}

impl Outbox {
    /// Writes the headers of some of a unit's packets: `header` is that of the first, but for its marker and for what it is later than
    /// its access unit. What is written is
    /// queued by [`Outbox::queue`], to as many as want it.
    pub(crate) fn write(&mut self, unit: &Arc<Unit>, packets: Range<usize>, header: [u8; RTP_HEADER_LEN]) {
        self.unwrite();
        self.mark = (self.arena.headers.len(), self.parts.len(), self.arena.units.len());
        let buffer = match self.arena.units.last() {
            Some(last) if Arc::ptr_eq(last, unit) => UNITS + self.arena.units.len() as u32 - 1,
            _ => {
                self.arena.units.push(Arc::clone(unit));
                UNITS + self.arena.units.len() as u32 - 1
            }
        };
        let [first, kind, high, low, t0, t1, t2, t3, source @ ..] = header;
        let timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
        let mut sequence = u16::from_be_bytes([high, low]);
        self.written.clear();
        for run in unit.packets.runs(packets, MAX_SEGMENTS, MAX_MESSAGE) {
            let from = self.parts.len();
            for packet in &unit.packets.packets()[run.packets] {
                let start = self.arena.headers.len() as u32;
                let [high, low] = sequence.to_be_bytes();
                self.arena.headers.extend_from_slice(&[first, kind & 0x7f | u8::from(packet.marker) << 7, high, low]);
                self.arena.headers.extend_from_slice(&timestamp.wrapping_add(packet.later).to_be_bytes());
                self.arena.headers.extend_from_slice(&source);
                let payload = packet.range.start + RTP_HEADER_LEN..packet.range.end;
                self.parts.push(Part { buffer: HEADERS, start, len: RTP_HEADER_LEN as u32 });
                self.parts.push(Part { buffer, start: payload.start as u32, len: payload.len() as u32 });
                sequence = sequence.wrapping_add(1);
            }
            self.written.push(Run { parts: from..self.parts.len(), len: run.range.len(), segment: run.segment });
        }
    }

    /// Takes back what was written last and nobody was queued for.
    fn unwrite(&mut self) {
        if !self.written.is_empty() {
            let (headers, parts, units) = self.mark;
            self.arena.headers.truncate(headers);
            self.parts.truncate(parts);
            self.arena.units.truncate(units);
            self.written.clear();
        }
    }

    /// What was written last has all the destinations it will have.
    pub(crate) fn written(&mut self, queued: bool) {
        if queued {
            self.written.clear();
        } else {
            self.unwrite();
        }
    }

    /// Queues what was written last for a destination, as few messages as the kernel takes them in.
    pub(crate) fn queue(&mut self, target: &UdpTarget, tag: &Tag) {
        let lane = if target.to.is_ipv6() { &mut self.rtp6 } else { &mut self.rtp4 };
        for run in &self.written {
            self.queued += run.len;
            lane.push(message(run, 2, target), *tag);
        }
    }

    /// Queues packets that are complete, header and all, for a destination.
    pub(crate) fn queue_whole(&mut self, unit: &Arc<Unit>, target: &UdpTarget, tag: &Tag) {
        self.unwrite();
        self.arena.units.push(Arc::clone(unit));
        let buffer = UNITS + self.arena.units.len() as u32 - 1;
        let packets = unit.packets.packets();
        for run in unit.packets.runs(0..packets.len(), MAX_SEGMENTS, MAX_MESSAGE) {
            let from = self.parts.len();
            let part = |range: &Range<usize>| Part { buffer, start: range.start as u32, len: range.len() as u32 };
            self.parts.extend(packets[run.packets].iter().map(|packet| part(&packet.range)));
            self.queued += run.range.len();
            let run = Run { parts: from..self.parts.len(), len: run.range.len(), segment: run.segment };
            let lane = if target.to.is_ipv6() { &mut self.rtp6 } else { &mut self.rtp4 };
            lane.push(message(&run, 1, target), *tag);
        }
    }

    /// Queues a report.
    pub(crate) fn queue_report(&mut self, report: &[u8], target: &UdpTarget, tag: &Tag) {
        self.unwrite();
        let start = self.arena.reports.len() as u32;
        self.arena.reports.extend_from_slice(report);
        let from = self.parts.len();
        self.parts.push(Part { buffer: REPORTS, start, len: report.len() as u32 });
        let run = Run { parts: from..from + 1, len: report.len(), segment: report.len() };
        let lane = if target.to.is_ipv6() { &mut self.rtcp6 } else { &mut self.rtcp4 };
        lane.push(message(&run, 1, target), *tag);
    }

    /// What was written last, framed for a channel (RFC 2326 section 10.12).
    pub(crate) fn frame(&self, channel: u8, frames: &mut Vec<u8>) {
        frames.clear();
        for pair in self.written.iter().flat_map(|run| self.parts[run.parts.clone()].chunks(2)) {
            let len: u32 = pair.iter().map(|part| part.len).sum();
            let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            frames.extend_from_slice(&[b'$', channel, high, low]);
            pair.iter().for_each(|part| frames.extend_from_slice(self.arena.part(*part)));
        }
    }

    /// Whether it is time to send what was gathered.
    pub(crate) fn is_full(&self) -> bool {
        // While nothing leaves, so much is gathered that some of it is given up.
        let most = if self.blocked { WAITING } else { OCTETS };
        self.queued >= most || !self.blocked && self.rtp6.messages.len() + self.rtp4.messages.len() >= MESSAGES
    }

    /// Whether something waits for room.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Sends what there is room for; what became of it.
    pub(crate) fn flush(&mut self, sockets: &mut PortPair, units: &mut Units, now: Mono) -> Flushed {
        let mut flushed = Flushed::default();
        self.blocked = false;
        self.queued = 0;
        let families = [
            (&mut sockets.rtp6, &mut self.rtp6, &mut sockets.rtcp6, &mut self.rtcp6),
            (&mut sockets.rtp4, &mut self.rtp4, &mut sockets.rtcp4, &mut self.rtcp4),
        ];
        for (media_socket, media, report_socket, reports) in families {
            let mut sender = Sender { arena: &self.arena, parts: &self.parts, scratch: &mut self.scratch };
            self.blocked |= sender.send(media_socket.as_mut(), media, &mut flushed.packets);
            // No BYE overtakes the media before it.
            let behind = if media.messages.is_empty() { Lane::default() } else { reports.take(|to| media.is_for(to)) };
            self.blocked |= sender.send(report_socket.as_mut(), reports, &mut flushed.reports);
            reports.append(behind);
        }
        if self.blocked {
            self.shed(now, &mut flushed.packets);
        }
        if self.lanes().all(|lane| lane.messages.is_empty()) {
            self.blocked = false;
            self.compact_at = PARTS;
            self.parts.clear();
            self.arena.headers.clear();
            self.arena.reports.clear();
            self.arena.units.drain(..).for_each(|unit| units.put_back(unit));
        } else if self.parts.len() > self.compact_at.max(PARTS) {
            self.compact();
            self.compact_at = self.parts.len() * 2;
        }
        flushed
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        [&self.rtp6, &self.rtp4, &self.rtcp6, &self.rtcp4].into_iter()
    }

    /// Gives up access units until what waits is within its bounds.
    fn shed(&mut self, now: Mono, sent: &mut Sent) {
        let oldest = self.lanes().flat_map(|lane| &lane.tags).map(|tag| now.since(tag.since)).max();
        let mut waiting = self.lanes().map(Lane::octets).sum::<usize>();
        if waiting <= WAITING && oldest.is_none_or(|oldest| oldest < WAITS) {
            return;
        }
        let enough = waiting.min(WAITING) / 2;
        for (also_begun, importance) in ORDER {
            for lane in [&mut self.rtp6, &mut self.rtp4, &mut self.rtcp6, &mut self.rtcp4] {
                if waiting > enough {
                    let (datagrams, octets) = lane.give_up(importance, also_begun, waiting - enough, &mut self.given_up);
                    waiting = waiting.saturating_sub(octets);
                    sent.no_room += datagrams;
                }
            }
        }
    }

    /// Forgets octets that no message needs any more, while others still wait.
    fn compact(&mut self) {
        let (mut arena, mut parts) = (Arena::default(), Vec::new());
        for lane in [&mut self.rtp6, &mut self.rtp4, &mut self.rtcp6, &mut self.rtcp4] {
            for message in &mut lane.messages {
                let first = parts.len();
                for part in &self.parts[message.parts.clone()] {
                    parts.push(match part.buffer {
                        HEADERS => {
                            let start = arena.headers.len() as u32;
                            arena.headers.extend_from_slice(self.arena.part(*part));
                            Part { start, ..*part }
                        }
                        REPORTS => {
                            let start = arena.reports.len() as u32;
                            arena.reports.extend_from_slice(self.arena.part(*part));
                            Part { start, ..*part }
                        }
                        unit => {
                            let unit = &self.arena.units[(unit - UNITS) as usize];
                            if arena.units.last().is_none_or(|last| !Arc::ptr_eq(last, unit)) {
                                arena.units.push(Arc::clone(unit));
                            }
                            Part { buffer: UNITS + arena.units.len() as u32 - 1, ..*part }
                        }
                    });
                }
                message.parts = first..parts.len();
            }
        }
        self.arena = arena;
        self.parts = parts;
        self.written.clear();
    }

    /// Whether a random access point that came after an access unit of that branch still waits.
    pub(crate) fn recovers(&self, tag: &Tag) -> bool {
        let is_later =
            |other: &Tag| (other.branch, other.importance) == (tag.branch, Importance::RandomAccess) && other.number > tag.number;
        self.lanes().flat_map(|lane| &lane.tags).any(is_later)
    }

    /// Whose access units were given up since the last time.
    pub(crate) fn take_given_up(&mut self) -> Vec<Tag> {
        std::mem::take(&mut self.given_up)
    }
}

/// What sending needs beside a lane and its socket.
struct Sender<'a> {
    arena: &'a Arena,
    parts: &'a [Part],
    scratch: &'a mut Scratch,
}

impl Sender<'_> {
    /// Sends what a lane holds; whether something is left for which there is no room.
    fn send(&mut self, mut socket: Option<&mut UdpSocket>, lane: &mut Lane, into: &mut Sent) -> bool {
        let mut held = Lane::default();
        for _ in 0..WAYS {
            if lane.messages.is_empty() {
                break;
            }
            let (sent, done, left) = match socket.as_mut() {
                Some(socket) => socket.send(self.arena, self.parts, &mut lane.messages, self.scratch),
                None => {
                    let refused = lane.messages.iter().map(Message::datagrams).sum();
                    (Sent { refused, ..Sent::default() }, lane.messages.len(), Left::Nothing)
                }
            };
            *into = sum(*into, sent);
            lane.done_with(done);
            match (left, lane.messages.first().map(|message| message.to.ip())) {
                (Left::Way, Some(full)) => held.append(lane.take(|to| to == full)),
                _ => break,
            }
        }
        // Behind the others, who are tried first the next time.
        lane.append(held);
        !lane.messages.is_empty()
    }
}

fn message(run: &Run, parts_each: usize, target: &UdpTarget) -> Message {
    Message {
        parts: run.parts.clone(),
        parts_each,
        len: run.len,
        segment: run.segment,
        to: target.to,
        label: target.label,
        from: target.source,
        traffic_class: target.traffic_class,
    }
}

pub(crate) const fn sum(one: Sent, other: Sent) -> Sent {
    Sent {
        datagrams: one.datagrams + other.datagrams,
        octets: one.octets + other.octets,
        refused: one.refused + other.refused,
        no_room: one.no_room + other.no_room,
        label_unavailable: one.label_unavailable + other.label_unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, UdpSocket};

    const NOW: Mono = Mono::from_nanos(1_000_000_000);

    fn unit(packets: usize) -> Arc<Unit> {
        let mut unit = Unit::default();
        for packet in 0..packets {
            unit.packets.begin();
            unit.packets.extend(&[packet as u8; 100]);
            unit.packets.finish(packet + 1 == packets);
        }
        Arc::new(unit)
    }

    fn tag(number: u64, importance: Importance) -> Tag {
        let home = HomeAddress(Ipv6Addr::LOCALHOST);
        Tag { presentation: PresentationId(1), home, branch: BranchSerial(1), number, importance, begun: false, since: NOW }
    }

    fn header(sequence: u16) -> [u8; RTP_HEADER_LEN] {
        let [high, low] = sequence.to_be_bytes();
        [0x80, 96, high, low, 0, 0, 0, 9, 1, 2, 3, 4]
    }

    fn target(to: SocketAddr) -> UdpTarget {
        UdpTarget { to, source: None, label: 0, traffic_class: 0 }
    }

    /// An outbox with a unit of each importance, each of three packets, the first of them begun already.
    fn filled(to: SocketAddr) -> Outbox {
        let mut outbox = Outbox::default();
        let order = [Importance::Picture, Importance::Sound, Importance::Disposable, Importance::RandomAccess, Importance::Disposable];
        for (number, importance) in (0..).zip(order) {
            outbox.write(&unit(3), 0..3, header(10 * number as u16));
            outbox.queue(&target(to), &Tag { begun: number == 0, ..tag(number, importance) });
            outbox.written(true);
        }
        outbox
    }

    #[test]
    fn what_is_written_leaves_with_its_headers_whoever_else_writes() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut pair = PortPair::bind(0).expect("a pair");
        let (mut outbox, shared) = (Outbox::default(), unit(3));
        let to = receiver.local_addr().expect("an address");
        for sequence in [0xffff, 7] {
            outbox.write(&shared, 0..3, header(sequence));
            outbox.queue(&target(to), &tag(1, Importance::Picture));
            outbox.written(true);
        }
        // For a connection only.
        outbox.write(&shared, 1..2, header(5));
        let mut frames = Vec::new();
        outbox.frame(4, &mut frames);
        outbox.written(false);
        assert_eq!(frames[..8], [b'$', 4, 0, 112, 0x80, 96, 0, 5]);
        assert_eq!(frames[16..], [1; 100]);
        let flushed = outbox.flush(&mut pair, &mut Units::default(), NOW);
        assert_eq!((flushed.packets.datagrams, flushed.packets.octets), (6, 6 * 112));
        let mut got = Vec::new();
        for _ in 0..6 {
            let mut buffer = [0; 200];
            let len = receiver.recv(&mut buffer).expect("a datagram");
            assert_eq!(len, 112);
            got.push((buffer[1] >> 7, u16::from_be_bytes([buffer[2], buffer[3]]), buffer[12]));
        }
        assert_eq!(got, [(0, 0xffff, 0), (0, 0, 1), (1, 1, 2), (0, 7, 0), (0, 8, 1), (1, 9, 2)]);
        assert!(outbox.arena.headers.is_empty() && outbox.arena.units.is_empty() && outbox.parts.is_empty());
    }

    #[test]
    fn what_is_missed_least_is_given_up_first_and_whole() {
        let mut outbox = filled(SocketAddr::from(([127, 0, 0, 1], 5000)));
        let mut sent = Sent::default();
        outbox.shed(NOW + WAITS / 2, &mut sent);
        assert_eq!((sent.no_room, outbox.take_given_up().len()), (0, 0), "there is room, and time");
        outbox.shed(NOW + WAITS, &mut sent);
        let given_up: Vec<_> = outbox.take_given_up().iter().map(|tag| (tag.number, tag.importance)).collect();
        // Half of it goes: both pictures that no other refers to, then the random access point, for the other picture has begun.
        let expected = [(2, Importance::Disposable), (4, Importance::Disposable), (3, Importance::RandomAccess)];
        assert_eq!((given_up.as_slice(), sent.no_room), (&expected[..], 9));
        let left: Vec<_> = outbox.rtp4.tags.iter().map(|tag| tag.number).collect();
        assert_eq!(left, [0, 1]);
        outbox.shed(NOW + WAITS, &mut sent);
        let given_up: Vec<_> = outbox.take_given_up().iter().map(|tag| tag.number).collect();
        assert_eq!(given_up, [0], "sound goes last");
    }

    #[test]
    fn what_still_waits_outlives_that_the_rest_is_forgotten() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut outbox = filled(receiver.local_addr().expect("an address"));
        outbox.queue_report(&[7; 8], &target(SocketAddr::from(([127, 0, 0, 1], 9))), &tag(9, Importance::Report));
        outbox.rtp4.done_with(3);
        let units = outbox.arena.units.len();
        outbox.compact();
        assert_eq!((outbox.arena.units.len(), units), (2, 5));
        let sent = |outbox: &Outbox, message: &Message| -> Vec<u8> {
            outbox.parts[message.parts.clone()].iter().flat_map(|part| outbox.arena.part(*part).to_vec()).collect()
        };
        let octets = sent(&outbox, &outbox.rtp4.messages[0]);
        assert_eq!((octets.len(), &octets[..4], octets[12]), (3 * 112, &[0x80, 96, 0, 30][..], 0));
        assert_eq!(sent(&outbox, &outbox.rtcp4.messages[0]), [7; 8]);
    }
}
