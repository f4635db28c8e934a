//! Packets that are sent again (RFC 4588).

use crate::payload::{PacketBuffer, RTP_HEADER_LEN};

/// Octets before the payload of a packet that is sent again: its original sequence number (RFC 4588 section 4).
pub const ORIGINAL_SEQUENCE_LEN: usize = 2;

/// Appends packet `index` of `packets`, whose sequence number was `sequence`, as it is sent again: a hole for the header, the
/// number, the payload, the same marker. Whether there is such a packet.
pub fn append_again(packets: &PacketBuffer, index: usize, sequence: u16, out: &mut PacketBuffer) -> bool {
    let Some(packet) = packets.packets().get(index) else { return false };
    let Some(payload) = packets.octets().get(packet.range.clone()).and_then(|octets| octets.get(RTP_HEADER_LEN..)) else { return false };
    out.begin();
    out.extend(&sequence.to_be_bytes());
    out.extend(payload);
    out.finish(packet.marker);
    out.set_later(packet.later);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_its_number_and_its_payload() {
        let (mut packets, mut out) = (PacketBuffer::default(), PacketBuffer::default());
        for (payload, marker) in [(&b"first"[..], false), (b"", false), (b"last", true)] {
            packets.begin();
            packets.extend(payload);
            packets.finish(marker);
        }
        assert!(append_again(&packets, 2, 0xfffe, &mut out) && append_again(&packets, 0, 0xfffc, &mut out));
        assert!(append_again(&packets, 1, 0xfffd, &mut out));
        assert!(!append_again(&packets, 3, 0xffff, &mut out));
        let read: Vec<(&[u8], bool)> =
            out.packets().iter().map(|packet| (&out.octets()[packet.range.clone()][RTP_HEADER_LEN..], packet.marker)).collect();
        assert_eq!(read, [(&b"\xff\xfelast"[..], true), (b"\xff\xfcfirst", false), (b"\xff\xfd", false)]);
    }
}
