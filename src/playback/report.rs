//! RTCP (RFC 3550 section 6): what we send on each branch, and what we read of its receiver's reports.
//!
//! Compound packets are taken apart here by their length fields; only whole sender and receiver reports reach the
//! `rtcp` crate's parsers. All other packet types are passed over.

use std::time::Duration;

use bytes::Bytes;
use rtcp::packet::Packet;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use smallvec::SmallVec;
use webrtc_util::marshal::Unmarshal;

use crate::now::Mono;
use crate::now::Now;
use crate::playback::clock::FlowTime;
use crate::playback::flow::{BranchState, Flow, Reception};
use crate::playback::presentation::Presentation;
use crate::playback::rtx::Resending;
use crate::quantities::{ClockRate, Ssrc};

/// Packet types (RFC 3550 section 12.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const GOODBYE: u8 = 203;

/// A sender report with the canonical name, and a BYE where `farewell` is set, for one branch of a flow.
pub fn sender_report(presentation: &Presentation, flow: &Flow, branch: &BranchState, cname: &str, farewell: bool, now: Now) -> Bytes {
    let point = presentation.report_point(flow, branch, now);
    source_report(point, flow, flow.facts.ssrc, (branch.packets, branch.octets), cname, farewell)
}

/// The same about the source of what a branch of the flow is sent again.
pub fn resending_report(
    presentation: &Presentation,
    flow: &Flow,
    (branch, resending): (&BranchState, &Resending),
    cname: &str,
    farewell: bool,
    now: Now,
) -> Bytes {
    let point = presentation.report_point(flow, branch, now);
    source_report(point, flow, resending.ssrc, (resending.packets, resending.octets), cname, farewell)
}

fn source_report(
    (time, ntp): (FlowTime, u64),
    flow: &Flow,
    Ssrc(ssrc): Ssrc,
    (packets, octets): (u64, u64),
    cname: &str,
    farewell: bool,
) -> Bytes {
    let report = SenderReport {
        ssrc,
        ntp_time: ntp,
        rtp_time: flow.timestamp_of(time),
        packet_count: packets as u32,
        octet_count: octets as u32,
        ..SenderReport::default()
    };
    let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: Bytes::copy_from_slice(cname.as_bytes()) };
    let names = SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items: vec![item] }] };
    let packets: Vec<Box<dyn Packet + Send + Sync>> = vec![Box::new(report), Box::new(names)];
    let octets = rtcp::packet::marshal(&packets).expect("reports of one source are within the format's limits");
    if farewell { [&octets[..], &goodbye(Ssrc(ssrc))].concat().into() } else { octets }
}

/// A BYE of one source without a reason (RFC 3550 section 6.6). The `rtcp` crate fills up an empty reason and sets the padding bit for
/// that with a count that is not a multiple of four: receivers that check it, GStreamer among them, drop the whole compound packet.
fn goodbye(Ssrc(ssrc): Ssrc) -> [u8; 8] {
    let [a, b, c, d] = ssrc.to_be_bytes();
    [0x81, GOODBYE, 0, 1, a, b, c, d]
}

/// The middle 32 bits of an NTP timestamp, as receivers echo them (RFC 3550 section 6.4.1).
pub const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// What a compound packet reports about `ssrc`; `None` if it is no RTCP or says nothing about it. `last_report` is the
/// middle of the last Sender Report's NTP timestamp and when it left.
pub fn read_reception(
    compound: &[u8],
    ssrc: Ssrc,
    clock_rate: ClockRate,
    last_report: Option<(u32, Mono)>,
    now: Mono,
) -> Option<Reception> {
    let block = packets(compound).filter_map(|(kind, packet)| report_block(kind, packet, ssrc)).last()?;
    let jitter = Duration::from_nanos(u64::from(block.jitter) * 1_000_000_000 / u64::from(clock_rate.hertz()));
    let round_trip = last_report.filter(|(middle, _)| *middle == block.last_sender_report && *middle != 0).map(|(_, left)| {
        let held = Duration::from_nanos((u64::from(block.delay) * 1_000_000_000) >> 16);
        now.since(left).saturating_sub(held)
    });
    Some(Reception { loss_fraction: Some(f64::from(block.fraction_lost) / 256.0), jitter: Some(jitter), round_trip })
}

/// Whether octets are an RTCP compound packet at all (RFC 3550 appendix A.2): version 2, a report first, lengths that add
/// up.
pub fn is_compound(octets: &[u8]) -> bool {
    let mut covered = 0;
    let mut first = None;
    for (kind, packet) in packets(octets) {
        first.get_or_insert(kind);
        covered += packet.len();
    }
    covered == octets.len() && matches!(first, Some(SENDER_REPORT | RECEIVER_REPORT))
}

/// The sources that a compound packet reports on.
pub fn reported_sources(compound: &[u8]) -> SmallVec<[Ssrc; 4]> {
    packets(compound).flat_map(|(kind, packet)| report_blocks(kind, packet)).map(|block| Ssrc(block.ssrc)).collect()
}

fn report_block(kind: u8, packet: &[u8], ssrc: Ssrc) -> Option<ReceptionReport> {
    report_blocks(kind, packet).into_iter().find(|block| block.ssrc == ssrc.0)
}

fn report_blocks(kind: u8, packet: &[u8]) -> Vec<ReceptionReport> {
    let mut octets = packet;
    let reports = match kind {
        RECEIVER_REPORT => ReceiverReport::unmarshal(&mut octets).map(|report| report.reports),
        SENDER_REPORT => SenderReport::unmarshal(&mut octets).map(|report| report.reports),
        _ => return Vec::new(),
    };
    reports.unwrap_or_default()
}

/// The packets of a compound packet with their types; ends at the first whose length does not fit.
pub(super) fn packets(compound: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let &[first, kind, high, low, ..] = rest else { return None };
        let len = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        if first >> 6 != 2 || len > rest.len() {
            return None;
        }
        let (packet, behind) = rest.split_at(len);
        rest = behind;
        Some((kind, packet))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver_report(ssrc: u32, last: u32, delay: u32) -> Vec<u8> {
        let mut packet = vec![0x81, RECEIVER_REPORT, 0, 7, 0, 0, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([64, 0, 0, 3]);
        packet.extend(1_000u32.to_be_bytes());
        packet.extend(900u32.to_be_bytes());
        packet.extend(last.to_be_bytes());
        packet.extend(delay.to_be_bytes());
        packet
    }

    #[test]
    fn a_receiver_report_tells_loss_jitter_and_round_trip() {
        let left = Mono::from_nanos(1_000_000_000);
        let packet = receiver_report(7, 0x1234_5678, 0x8000);
        let seen = read_reception(&packet, Ssrc(7), ClockRate::VIDEO, Some((0x1234_5678, left)), left + Duration::from_millis(540));
        let seen = seen.expect("a report about us");
        assert_eq!(seen.loss_fraction, Some(0.25));
        assert_eq!(seen.jitter, Some(Duration::from_millis(10)));
        assert_eq!(seen.round_trip, Some(Duration::from_millis(40)));
    }

    #[test]
    fn reports_about_others_and_noise_say_nothing() {
        let packet = receiver_report(7, 0, 0);
        assert_eq!(read_reception(&packet, Ssrc(8), ClockRate::VIDEO, None, Mono::default()), None);
        assert_eq!(reported_sources(&packet)[..], [Ssrc(7)]);
        assert!(reported_sources(&[0x80, RECEIVER_REPORT, 0, 1, 0, 0, 0, 0]).is_empty());
        for len in 0..packet.len() {
            assert!(reported_sources(&packet[..len]).is_empty());
            assert_eq!(read_reception(&packet[..len], Ssrc(7), ClockRate::VIDEO, None, Mono::default()), None);
            assert!(!is_compound(&packet[..len]));
        }
        assert!(is_compound(&packet));
        assert!(!is_compound(&[0xce, 0xfa, 0xed, 0xfe]));
    }

    #[test]
    fn a_bye_has_no_padding_and_nothing_behind_its_source() {
        use rtcp::goodbye::Goodbye;
        let octets = goodbye(Ssrc(0x0102_0304));
        assert_eq!(octets, [0x81, 203, 0, 1, 1, 2, 3, 4]);
        let read = Goodbye::unmarshal(&mut &octets[..]).expect("a BYE");
        assert_eq!((read.sources, read.reason.len()), (vec![0x0102_0304], 0));
    }
}
