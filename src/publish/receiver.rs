//! One track's RTP as it comes from a publisher: packets of one source, in order, made access units; and what RTCP says of their
//! reception (RFC 3550 sections 6.4 and 8, appendices A.3 and A.8).

use std::time::Duration;

use bytes::Bytes;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtp::packet::Packet;
use webrtc_util::marshal::Unmarshal;

use crate::library::Codec;
use crate::now::Mono;
use crate::publish::announced::AnnouncedTrack;
use crate::publish::depacketizer::{Depacketizer, Payload, Received};
use crate::publish::reorder::{self, Ordered, Reorder};
use crate::quantities::{ClockRate, MediaTime, SenderClocks};

const SENDER_REPORT: u8 = 200;
/// A sender report without blocks, in octets.
const SENDER_REPORT_LEN: usize = 28;

/// Another source takes the place of the one that is known with so many packets, none of the known one between them; all but the last
/// are dropped.
const IN_A_ROW: u8 = 3;
/// It does with its first one where the known one has said nothing for so long.
const QUIET: Duration = Duration::from_secs(1);

/// Why a datagram is none of a track's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Junk {
    /// It is no RTP.
    #[error("no RTP")]
    Malformed,
    /// It has another payload type than was announced.
    #[error("another payload type")]
    PayloadType,
    /// It is of another source than those before it.
    #[error("another source")]
    Source,
}

/// What was taken in, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were taken in.
    pub packets: u64,
    /// Packets that never came, or too late.
    pub lost: u64,
    /// Datagrams that are none of the track's.
    pub junk: u64,
    /// Payloads that are none of their format.
    pub malformed: u64,
    /// Access units that were dropped since a part is missing.
    pub damaged: u64,
}

/// What a packet was, while it waits for those before it.
#[derive(Clone, Debug)]
struct Held {
    timestamp: u32,
    marker: bool,
    payload: Bytes,
}

/// What a sender has said of its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderTime {
    /// The RTP timestamp is as the lower 32 bits of those of access units.
    pub clocks: SenderClocks,
    /// When the report came.
    pub came: Mono,
}

/// What a reception report is computed from.
#[derive(Clone, Copy, Debug, Default)]
struct Reception {
    /// The first and the highest sequence number, extended.
    first: u32,
    highest: u32,
    received: u64,
    /// At the last report.
    expected_before: u64,
    received_before: u64,
    /// In ticks, sixteen times.
    jitter: u64,
    /// Arrival less timestamp of the last packet, in ticks.
    transit: Option<i64>,
}

impl Reception {
    fn note(&mut self, sequence: u16, timestamp: u32, clock: ClockRate, now: Mono) {
        if self.received == 0 {
            (self.first, self.highest) = (u32::from(sequence), u32::from(sequence));
        }
        self.received += 1;
        let ahead = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let extended = i64::from(self.highest) + ahead;
        self.highest = self.highest.max(u32::try_from(extended).unwrap_or(0));
        let arrival = (u128::from(now.as_nanos()) * u128::from(clock.hertz()) / 1_000_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        let before = self.transit.replace(transit).unwrap_or(transit);
        let distance = u64::from((transit.wrapping_sub(before) as i32).unsigned_abs());
        self.jitter = self.jitter + distance - (self.jitter + 8) / 16;
    }

    fn block(&mut self, ssrc: u32, sender: Option<SenderTime>, now: Mono) -> ReceptionReport {
        let expected = u64::from(self.highest.wrapping_sub(self.first)) + 1;
        let (expected_now, received_now) = (expected - self.expected_before.min(expected), self.received - self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let fraction = expected_now.saturating_sub(received_now) * 256 / expected_now.max(1);
        let delay = |since: SenderTime| (now.since(since.came).as_nanos() << 16) / 1_000_000_000;
        ReceptionReport {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            total_lost: expected.saturating_sub(self.received).min(0x7f_ffff) as u32,
            last_sequence_number: self.highest,
            jitter: (self.jitter / 16).min(u64::from(u32::MAX)) as u32,
            last_sender_report: sender.map_or(0, |sender| (sender.clocks.ntp() >> 16) as u32),
            delay: sender.map_or(0, |sender| u32::try_from(delay(sender)).unwrap_or(u32::MAX)),
        }
    }
}

/// After [`Receiver::handle_rtp`], and when [`Receiver::poll_timeout`] is reached, the caller drains [`Receiver::poll`].
#[derive(Debug)]
pub struct Receiver {
    payload_type: u8,
    clock: ClockRate,
    source: Option<u32>,
    /// A source that may take its place, and the packets that came of it since the last one of `source`.
    other: Option<(u32, u8)>,
    /// When the last packet was taken in.
    heard: Option<Mono>,
    /// What is added to the timestamps of the source, modulo 2^32, for them to go on where those of the one before ended.
    moved: u32,
    reorder: Reorder<Held>,
    depacketizer: Depacketizer,
    /// The timestamp of the last packet that came out, and the same extended.
    last: Option<(u32, i64)>,
    reception: Reception,
    sender: Option<SenderTime>,
    counters: Counters,
}

impl Receiver {
    /// For a track as it was announced.
    pub fn new(track: &AnnouncedTrack) -> Self {
        Self {
            payload_type: track.payload_type,
            clock: track.clock_rate,
            source: None,
            other: None,
            heard: None,
            moved: 0,
            reorder: Reorder::default(),
            depacketizer: Depacketizer::new(track),
            last: None,
            reception: Reception::default(),
            sender: None,
            counters: Counters::default(),
        }
    }

    /// How its access units are coded, once that is known.
    pub const fn codec(&self) -> Option<&Codec> {
        self.depacketizer.codec()
    }

    /// What was taken in so far.
    pub fn counters(&self) -> Counters {
        let reorder::Counters { lost, .. } = self.reorder.counters();
        Counters { lost, damaged: self.depacketizer.damaged(), ..self.counters }
    }

    /// What the sender has last said of its clocks.
    pub const fn sender(&self) -> Option<SenderTime> {
        self.sender
    }

    /// When the last packet was taken in.
    pub const fn heard(&self) -> Option<Mono> {
        self.heard
    }

    /// Takes a datagram in.
    ///
    /// # Errors
    /// Why it is none of the track's; it is counted.
    pub fn handle_rtp(&mut self, datagram: &[u8], now: Mono) -> Result<(), Junk> {
        let outcome = self.read(datagram, now);
        match outcome {
            Ok((sequence, held)) => {
                self.counters.packets += 1;
                self.heard = Some(now);
                self.reception.note(sequence, held.timestamp, self.clock, now);
                self.reorder.handle_packet(sequence, held, now);
                Ok(())
            }
            Err(junk) => {
                self.counters.junk += 1;
                Err(junk)
            }
        }
    }

    fn read(&mut self, datagram: &[u8], now: Mono) -> Result<(u16, Held), Junk> {
        // RTP and RTCP on one port are told apart by this octet (RFC 5761 section 4).
        if datagram.first().is_none_or(|octet| octet >> 6 != 2) {
            return Err(Junk::Malformed);
        }
        let packet = Packet::unmarshal(&mut without_extension(datagram).ok_or(Junk::Malformed)?).map_err(|_| Junk::Malformed)?;
        let header = packet.header;
        if header.payload_type != self.payload_type {
            return Err(Junk::PayloadType);
        }
        match self.source.map(|source| source == header.ssrc) {
            Some(true) => self.other = None,
            Some(false) if !self.gives_way(header.ssrc, now) => return Err(Junk::Source),
            Some(false) => self.restart(header.ssrc, header.timestamp, now),
            None => self.source = Some(header.ssrc),
        }
        Ok((header.sequence_number, Held { timestamp: header.timestamp, marker: header.marker, payload: packet.payload }))
    }

    /// Whether the known source gives way to this one.
    fn gives_way(&mut self, ssrc: u32, now: Mono) -> bool {
        let before = self.other.filter(|(other, _)| *other == ssrc).map_or(0, |(_, count)| count);
        self.other = Some((ssrc, before + 1));
        before + 1 >= IN_A_ROW || self.heard.is_none_or(|heard| now.since(heard) >= QUIET)
    }

    /// Another source goes on. Its timestamps begin anywhere: they are put as far behind the last ones as it came behind them.
    fn restart(&mut self, ssrc: u32, timestamp: u32, now: Mono) {
        if self.reorder.restart() > 0 {
            self.depacketizer.handle_loss();
        }
        self.depacketizer.finish();
        (self.source, self.other, self.sender, self.reception) = (Some(ssrc), None, None, Reception::default());
        if let (Some((_, last)), Some(heard)) = (self.last, self.heard) {
            let extended = last.saturating_add(MediaTime::ZERO.plus(now.since(heard)).to_ticks(self.clock));
            self.last = Some((timestamp, extended));
            self.moved = (extended as u32).wrapping_sub(timestamp);
        }
    }

    /// Takes RTCP in: the sender's reports count, all else is passed over.
    pub fn handle_rtcp(&mut self, compound: &[u8], now: Mono) {
        let mut rest = compound;
        while let &[head, kind, high, low, ..] = rest {
            let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
            let Some((packet, behind)) = rest.split_at_checked(length).filter(|_| head >> 6 == 2) else { return };
            rest = behind;
            if kind == SENDER_REPORT && packet.len() >= SENDER_REPORT_LEN {
                let word = |at: usize| packet.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
                if self.source.is_none_or(|source| source == word(4)) {
                    let ntp = u64::from(word(8)) << 32 | u64::from(word(12));
                    let rtp = word(16).wrapping_add(self.moved);
                    self.sender = SenderClocks::new(ntp, rtp).map(|clocks| SenderTime { clocks, came: now });
                }
            }
        }
    }

    /// The next access unit.
    pub fn poll(&mut self, now: Mono) -> Option<Received> {
        loop {
            if let Some(unit) = self.depacketizer.poll() {
                return Some(unit);
            }
            match self.reorder.poll(now)? {
                Ordered::Packet(held) => {
                    let timestamp = self.extended(held.timestamp);
                    let payload = Payload { timestamp, marker: held.marker, octets: &held.payload };
                    // A packet without a payload keeps ways open (RFC 6263 section 4.1).
                    if !held.payload.is_empty() && self.depacketizer.handle_payload(&payload).is_err() {
                        self.counters.malformed += 1;
                    }
                }
                Ordered::Lost(_) => self.depacketizer.handle_loss(),
                Ordered::Restarted => self.depacketizer.finish(),
            }
        }
    }

    /// When [`Receiver::poll`] may give something without a packet.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.reorder.poll_timeout()
    }

    /// Nothing comes any more: what has begun is given out by [`Receiver::poll`].
    pub fn finish(&mut self) {
        self.depacketizer.finish();
    }

    /// A compound packet with a receiver report in the name of `ssrc`; `None` before the first packet.
    pub fn report(&mut self, ssrc: u32, cname: &str, now: Mono) -> Option<Bytes> {
        let source = self.source?;
        let reports = vec![self.reception.block(source, self.sender, now)];
        let report = ReceiverReport { ssrc, reports, profile_extensions: Bytes::new() };
        let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: Bytes::copy_from_slice(cname.as_bytes()) };
        let names = SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items: vec![item] }] };
        let packets: Vec<Box<dyn rtcp::packet::Packet + Send + Sync>> = vec![Box::new(report), Box::new(names)];
        rtcp::packet::marshal(&packets).ok()
    }

    fn extended(&mut self, timestamp: u32) -> i64 {
        let extended = match self.last {
            Some((last, extended)) => extended.saturating_add(i64::from(timestamp.wrapping_sub(last) as i32)),
            None => i64::from(timestamp),
        };
        self.last = Some((timestamp, extended));
        extended
    }
}

/// A packet without its header extension (RFC 3550 section 5.3.1), which nobody reads; `None` where that is longer than the packet. What `rtp`
/// makes of the elements of one may read beyond them.
fn without_extension(datagram: &[u8]) -> Option<Bytes> {
    let first = *datagram.first()?;
    if first & 0x10 == 0 {
        return Some(Bytes::copy_from_slice(datagram));
    }
    let begins = 12 + 4 * usize::from(first & 0x0f);
    let words = datagram.get(begins + 2..begins + 4)?;
    let behind = begins + 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    let mut octets = [datagram.get(..begins)?, datagram.get(behind..)?].concat();
    *octets.first_mut()? &= !0x10;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::without_extension;

    const HEADER: [u8; 12] = [0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];

    #[test]
    fn an_extension_is_cut_out_whatever_its_elements_say() {
        // One-byte elements of which the second claims 16 octets, and the reserved one.
        for elements in [[0x10, 1, 0x2f, 2], [0xf0, 1, 2, 3]] {
            let packet = [&HEADER[..], &[0xbe, 0xde, 0, 1], &elements, b"media"].concat();
            let plain = without_extension(&packet).expect("it is whole");
            assert_eq!((plain[0], &plain[1..12], &plain[12..]), (0x80, &HEADER[1..], &b"media"[..]));
        }
        let plain = [&[0x80], &HEADER[1..], b"media"].concat();
        assert_eq!(without_extension(&plain).as_deref(), Some(&plain[..]));
        // Sources that contribute lie before it.
        let packet = [&[0x91], &HEADER[1..], &[7; 4], &[0x10, 0, 0, 0], b"media"].concat();
        assert_eq!(without_extension(&packet).expect("it is whole")[12..], [&[7; 4][..], b"media"].concat());
    }

    #[test]
    fn an_extension_that_is_longer_than_its_packet_is_none() {
        let packet = [&HEADER[..], &[0xbe, 0xde, 0, 2], &[0; 7]].concat();
        assert_eq!(without_extension(&packet), None);
        assert!((0..16).all(|size| without_extension(&packet[..size]).is_none()));
    }
}
