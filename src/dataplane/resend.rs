//! Packets that are sent again (RFC 4588) to branches whose receivers asked for it, when these say what they have not got.
//!
//! They are made anew from the file, pass the flow's filter with the flow's label, and go to the branch that asked and to no
//! other. What one may ask for, and how much of it, is [`crate::playback::rtx`]'s.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtp::header::Header;
use smallvec::SmallVec;
use webrtc_util::marshal::Marshal;

use crate::dataplane::outbox::{Importance, Outbox, Tag, UdpTarget};
use crate::dataplane::units::{Unit, read_units};
use crate::library::{AccessUnit, ReadAt, Track};
use crate::now::{Mono, Now};
use crate::payload::rtx::{ORIGINAL_SEQUENCE_LEN, append_again};
use crate::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use crate::playback::flow::{BranchState, Flow};
use crate::playback::presentation::Presentation;
use crate::playback::rtx::{Again, Resending, SentUnit};
use crate::playback::{FlowFacts, PresentationId, feedback, report};
use crate::quantities::{MediaKind, PayloadType, Ssrc};
use crate::steering::{Branch, BranchSerial, CareOf, Gate, PacketFacts, Payload, Route};

/// Those of a presentation's branches that asked for retransmission.
pub(crate) struct Resends {
    keep: Duration,
    branches: Vec<(BranchSerial, Resending)>,
}

/// What became of an access unit for a flow's branches.
#[derive(Debug, Default)]
pub(crate) struct SentTo {
    /// They were sent it.
    pub(crate) served: SmallVec<[BranchSerial; 4]>,
    /// They were not sent it, for they have not had what it refers to.
    pub(crate) left_out: SmallVec<[BranchSerial; 4]>,
    /// They were to be sent it with packets that mean nothing …
    pub(crate) lengthened: SmallVec<[BranchSerial; 4]>,
    /// … of which there are so many.
    pub(crate) fillers: usize,
}

/// What is needed of a flow.
pub(crate) struct FlowParts<'a> {
    pub(crate) presentation: PresentationId,
    pub(crate) gate: &'a mut Gate,
    pub(crate) payloader: &'a Payloader,
    pub(crate) track: &'a Track,
    pub(crate) facts: &'a FlowFacts,
    pub(crate) kind: MediaKind,
    /// As it leaves the payload stage.
    pub(crate) label: u32,
    pub(crate) traffic_class: u8,
}

impl Resends {
    /// Of none yet; what was sent longer ago than `keep` is not sent again.
    pub(crate) const fn new(keep: Duration) -> Self {
        Self { keep, branches: Vec::new() }
    }

    /// Notes what those of a flow's branches were sent that asked for retransmission.
    pub(crate) fn note(&mut self, sent: &SentUnit, facts: &FlowFacts, presentation: &Presentation, branches: &[Branch], to: &SentTo) {
        let SentTo { served, left_out, lengthened, fillers } = to;
        // A connection loses nothing.
        let asked = |branch: &&Branch| branch.join.rtx && matches!(branch.care_of, CareOf::Udp { .. });
        for branch in branches.iter().filter(asked) {
            if let Some((_, resending)) = self.branches.iter_mut().find(|(serial, _)| *serial == branch.serial && left_out.contains(serial))
            {
                resending.history.note_left_out(*sent, presentation.jumps());
            }
            if !served.contains(&branch.serial) {
                continue;
            }
            let position = self.branches.iter().position(|(serial, _)| *serial == branch.serial);
            let position = position.unwrap_or_else(|| {
                self.branches.push((branch.serial, self.begin(facts, presentation, sent.at)));
                self.branches.len() - 1
            });
            if let Some((_, resending)) = self.branches.get_mut(position) {
                let fillers = if lengthened.contains(&branch.serial) { *fillers } else { 0 };
                resending.history.note(SentUnit { packets: sent.packets + fillers, fillers, ..*sent }, presentation.jumps());
            }
        }
    }

    fn begin(&self, facts: &FlowFacts, presentation: &Presentation, now: Mono) -> Resending {
        let mut drawn = [0; 6];
        // Without random numbers they can be foretold, which does no harm here.
        let _ = getrandom::fill(&mut drawn);
        let [a, b, c, d, e, f] = drawn;
        let mut ssrc = Ssrc(u32::from_be_bytes([a, b, c, d]));
        if ssrc == facts.ssrc {
            ssrc = Ssrc(!ssrc.0);
        }
        let bitrate = presentation.title().tracks.get(facts.track).map_or(0, crate::library::Track::bitrate);
        Resending::new(ssrc, u16::from_be_bytes([e, f]), bitrate, self.keep, now)
    }

    /// The report about what a branch was sent again, once it was: that is a source of its own (RFC 3550 section 6.4).
    pub(crate) fn report(
        &self,
        branch: &BranchState,
        presentation: &Presentation,
        flow: &Flow,
        cname: &str,
        farewell: bool,
        now: Now,
    ) -> Option<Bytes> {
        let of_branch = |(serial, resending): &&(BranchSerial, Resending)| *serial == branch.branch.serial && resending.packets > 0;
        let (_, resending) = self.branches.iter().find(of_branch)?;
        Some(report::resending_report(presentation, flow, (branch, resending), cname, farewell, now))
    }

    /// Forgets branches that are no more.
    pub(crate) fn retain(&mut self, routes: &[Arc<Route>]) {
        self.branches.retain(|(serial, _)| routes.iter().any(|route| route.branches.iter().any(|branch| branch.serial == *serial)));
    }

    fn of(&mut self, serial: BranchSerial) -> Option<&mut Resending> {
        self.branches.iter_mut().find(|(known, _)| *known == serial).map(|(_, resending)| resending)
    }
}

/// Octets of buffers that are kept between what is asked for.
const LARGE: usize = 256 << 10;

/// What a shard needs for sending again, whoever it is for.
pub(crate) struct Resender {
    /// One access unit.
    unit: Vec<u8>,
    /// All its packets.
    packets: PacketBuffer,
    resent: metrics::Counter,
    unknown: metrics::Counter,
    repeated: metrics::Counter,
    budget: metrics::Counter,
}

impl Default for Resender {
    fn default() -> Self {
        Self {
            unit: Vec::new(),
            packets: PacketBuffer::default(),
            resent: metrics::counter!("flowsteer_resent_packets_total"),
            unknown: metrics::counter!("flowsteer_resend_declined_total", "reason" => "unknown"),
            repeated: metrics::counter!("flowsteer_resend_declined_total", "reason" => "repeated"),
            budget: metrics::counter!("flowsteer_resend_declined_total", "reason" => "budget"),
        }
    }
}

impl Resender {
    /// Sends a branch again what a compound packet of its receiver says it has not got.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn resend(
        &mut self,
        resends: &mut Resends,
        flow: FlowParts<'_>,
        branch: BranchSerial,
        compound: &[u8],
        jumps: u32,
        source: &dyn ReadAt,
        outbox: &mut Outbox,
        number: u64,
        now: Now,
    ) {
        let (Some(resending), Some(payload_type)) = (resends.of(branch), PayloadType::retransmission(flow.facts.track)) else { return };
        let numbers = feedback::not_received(compound, flow.facts.ssrc);
        if numbers.is_empty() {
            return;
        }
        let (found, declined) = resending.history.find(&numbers, jumps, now.mono);
        self.unknown.increment(declined.unknown as u64);
        self.repeated.increment(declined.repeated as u64);
        let mut unit = Unit::default();
        for again in &found {
            self.make(again, resending, &flow, payload_type, source, &mut unit.packets, now.mono);
        }
        if self.unit.len() > LARGE {
            // A large picture is asked for again rarely.
            (self.unit, self.packets) = (Vec::new(), PacketBuffer::default());
        }
        let packets = unit.packets.packets().len();
        let Some(first) = unit.packets.packets().first() else { return };
        let facts = PacketFacts {
            source: flow.gate.media_source(),
            home: flow.facts.home,
            label: flow.label,
            destination_port: flow.gate.route().ports.0,
            payload: Payload::of(&unit.packets.octets()[first.range.clone()]),
            media: Some(flow.kind),
        };
        let route = flow.gate.pass(&facts, u32::try_from(packets).unwrap_or(u32::MAX), now).ok();
        let care_of = route.and_then(|route| route.branches.iter().find(|bound| bound.serial == branch)).map(|bound| bound.care_of);
        if let Some(CareOf::Udp { rtp, source, .. }) = care_of {
            let target = UdpTarget { to: rtp, source, label: flow.label, traffic_class: flow.traffic_class };
            let (presentation, home) = (flow.presentation, flow.facts.home);
            // The first to be given up where there is no room.
            let importance = Importance::Disposable;
            let tag = Tag { presentation, home, branch, number, importance, begun: false, since: now.mono };
            outbox.queue_whole(&Arc::new(unit), &target, &tag);
            self.resent.increment(packets as u64);
        }
    }

    /// Appends the packets of one access unit that are to be sent again, as far as the budgets go.
    #[allow(clippy::too_many_arguments)]
    fn make(
        &mut self,
        again: &Again,
        resending: &mut Resending,
        flow: &FlowParts<'_>,
        payload_type: PayloadType,
        source: &dyn ReadAt,
        out: &mut PacketBuffer,
        now: Mono,
    ) {
        let SentUnit { unit, second, sequence, packets, fillers, timestamp, .. } = again.sent;
        let units: SmallVec<[AccessUnit; 2]> = iter::once(unit).chain(second).collect();
        let sizes: SmallVec<[usize; 2]> = units.iter().map(|unit| unit.size as usize).collect();
        let size: usize = sizes.iter().sum();
        if !resending.reads.take(size, now) {
            self.budget.increment(again.wanted.len() as u64);
            return;
        }
        self.packets.clear();
        let Ok(octets) = read_units(flow.track, &units, source, &mut self.unit) else { return };
        if flow.payloader.payload_together(octets, &sizes, unit.random_access, &mut self.packets).is_err() {
            return;
        }
        if fillers > 0 {
            flow.payloader.fill_up(fillers, &mut self.packets);
        }
        if self.packets.packets().len() != packets {
            // The file was written over: these would be other packets.
            return;
        }
        for &index in &again.wanted {
            let len = self.packets.packets().get(index).map_or(0, |packet| packet.range.len() + ORIGINAL_SEQUENCE_LEN);
            if !resending.wire.take(len, now) {
                self.budget.increment(1);
                continue;
            }
            if !append_again(&self.packets, index, sequence.wrapping_add(index as u16), out) {
                continue;
            }
            let Some(packet) = out.packets().last().cloned() else { continue };
            let header = Header {
                version: 2,
                marker: packet.marker,
                payload_type: payload_type.bits(),
                sequence_number: resending.sequence,
                timestamp: timestamp.wrapping_add(packet.later),
                ssrc: resending.ssrc.0,
                ..Header::default()
            };
            resending.sequence = resending.sequence.wrapping_add(1);
            resending.packets += 1;
            resending.octets += (packet.range.len() - RTP_HEADER_LEN) as u64;
            let hole = &mut out.octets_mut()[packet.range][..RTP_HEADER_LEN];
            let written = header.marshal_to(hole);
            debug_assert!(matches!(written, Ok(RTP_HEADER_LEN)), "a header without extensions has twelve octets");
        }
    }
}
