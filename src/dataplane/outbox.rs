//! What is to leave: datagrams gathered over many presentations and sent in few system calls, and interleaved frames.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::net::udp::{MAX_MESSAGE, MAX_SEGMENTS, Message, PortPair, Scratch, Sent};
use crate::payload::PacketBuffer;

/// Messages after which the outbox is emptied.
const MESSAGES: usize = 256;
/// Octets after which it is.
const OCTETS: usize = 1 << 20;

/// Where a message of UDP goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpTarget {
    pub(crate) to: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) label: u32,
    pub(crate) traffic_class: u8,
}

/// Packets and the messages that carry them.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The packets of all access units since the last flush.
    pub(crate) packets: PacketBuffer,
    rtp6: Vec<Message>,
    rtp4: Vec<Message>,
    reports: Vec<u8>,
    rtcp6: Vec<Message>,
    rtcp4: Vec<Message>,
    scratch: Scratch,
}

impl Outbox {
    /// Queues a range of packets for a destination, as few messages as the kernel takes them in.
    pub(crate) fn queue(&mut self, packets: Range<usize>, target: &UdpTarget) {
        let messages = if target.to.is_ipv6() { &mut self.rtp6 } else { &mut self.rtp4 };
        for run in self.packets.runs(packets, MAX_SEGMENTS, MAX_MESSAGE) {
            messages.push(Message {
                octets: run.range,
                segment: run.segment,
                to: target.to,
                label: target.label,
                from: target.source,
                traffic_class: target.traffic_class,
            });
        }
    }

    /// Queues a report.
    pub(crate) fn queue_report(&mut self, report: &[u8], target: &UdpTarget) {
        let start = self.reports.len();
        self.reports.extend_from_slice(report);
        let messages = if target.to.is_ipv6() { &mut self.rtcp6 } else { &mut self.rtcp4 };
        messages.push(Message {
            octets: start..self.reports.len(),
            segment: report.len(),
            to: target.to,
            label: target.label,
            from: target.source,
            traffic_class: target.traffic_class,
        });
    }

    /// Whether it is time to send what was gathered.
    pub(crate) fn is_full(&self) -> bool {
        self.rtp6.len() + self.rtp4.len() >= MESSAGES || self.packets.octets().len() >= OCTETS
    }

    /// Sends everything; what became of the RTP packets, and of the reports.
    pub(crate) fn flush(&mut self, sockets: &mut PortPair) -> (Sent, Sent) {
        let (mut packets, mut reports) = (Sent::default(), Sent::default());
        let rtp = [(&mut sockets.rtp6, &mut self.rtp6), (&mut sockets.rtp4, &mut self.rtp4)];
        for (socket, messages) in rtp {
            packets = sum(packets, send(socket.as_mut(), self.packets.octets(), messages, &mut self.scratch));
        }
        let rtcp = [(&mut sockets.rtcp6, &mut self.rtcp6), (&mut sockets.rtcp4, &mut self.rtcp4)];
        for (socket, messages) in rtcp {
            reports = sum(reports, send(socket.as_mut(), &self.reports, messages, &mut self.scratch));
        }
        self.packets.clear();
        self.reports.clear();
        (packets, reports)
    }
}

fn send(socket: Option<&mut crate::net::udp::UdpSocket>, octets: &[u8], messages: &mut Vec<Message>, scratch: &mut Scratch) -> Sent {
    if messages.is_empty() {
        return Sent::default();
    }
    let sent = match socket {
        Some(socket) => socket.send(octets, messages, scratch),
        None => Sent { refused: messages.iter().map(Message::datagrams).sum(), ..Sent::default() },
    };
    messages.clear();
    sent
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
