use proptest::prelude::*;

use super::*;
use crate::payload::PacketBuffer;

fn sent(max_packet: usize, unit: &[u8]) -> PacketBuffer {
    let mut buffer = PacketBuffer::default();
    Vp8Payloader::new(max_packet).payload(unit, false, &mut buffer).expect("a frame");
    buffer
}

/// Writes what [`BoolDecoder`] reads (RFC 6386 section 7.3).
struct BoolEncoder {
    octets: Vec<u8>,
    range: u32,
    bottom: u32,
    left: u32,
}

impl BoolEncoder {
    fn of(bits: &[u8]) -> Vec<u8> {
        let mut encoder = Self { octets: Vec::new(), range: 255, bottom: 0, left: 24 };
        bits.iter().chain(&[0; 32]).for_each(|bit| encoder.write(*bit == 1));
        encoder.octets
    }

    fn write(&mut self, bit: bool) {
        let split = 1 + (((self.range - 1) * 128) >> 8);
        if bit {
            self.bottom = match self.bottom.checked_add(split) {
                Some(bottom) => bottom,
                None => {
                    self.carry();
                    self.bottom.wrapping_add(split)
                }
            };
            self.range -= split;
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.range <<= 1;
            if self.bottom >> 31 == 1 {
                self.carry();
            }
            self.bottom <<= 1;
            self.left -= 1;
            if self.left == 0 {
                self.octets.push((self.bottom >> 24) as u8);
                self.bottom &= 0x00ff_ffff;
                self.left = 8;
            }
        }
    }

    fn carry(&mut self) {
        for octet in self.octets.iter_mut().rev() {
            *octet = octet.wrapping_add(1);
            if *octet != 0 {
                break;
            }
        }
    }
}

/// An inter frame with these header bits, from segmentation_enabled on.
fn inter(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    [&[1, 0, 0][..], &BoolEncoder::of(&bits)].concat()
}

#[test]
fn a_frame_is_even_packets_of_which_the_last_is_marked() {
    let unit: Vec<u8> = (0..2_900).map(|at| (at % 251) as u8).collect();
    let buffer = sent(1_012, &unit);
    let packets = buffer.packets();
    assert_eq!(packets.iter().map(|packet| packet.range.len()).collect::<Vec<_>>(), [12 + 1 + 967, 12 + 1 + 967, 12 + 1 + 966]);
    assert_eq!(packets.iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true]);
    let descriptors: Vec<u8> = packets.iter().map(|packet| buffer.octets()[packet.range.start + RTP_HEADER_LEN]).collect();
    assert_eq!(descriptors, [0x10, 0, 0], "the first begins the partition");
}

#[test]
fn disposable_is_what_leaves_nothing_behind() {
    let is = |bits: &str| Vp8Payloader::new(1_400).is_disposable(&inter(bits));
    // Segments; filter; its deltas; partitions; quantizers; refresh golden, alternate; copies; sign biases; entropy, last.
    assert!(is("0 0 011111 000 0 00 0101010 00000 0 0 00 00 00 0 0"));
    assert!(is("1 0 0 0 011111 000 1 0 00 0101010 1011110000 0 0 00 00 11 0 0"), "segments and levels as they were");
    let levels = "1 0000100".repeat(8);
    assert!(is(&format!("0 0 011111 000 1 1 {levels} 00 0101010 00000 0 0 00 00 00 0 0")), "all levels, as in each frame");
    for (bits, why) in [
        ("0 0 011111 000 0 00 0101010 00000 0 0 00 00 00 0 1", "the last picture"),
        ("0 0 011111 000 0 00 0101010 00000 0 0 00 00 00 1 0", "probabilities"),
        ("0 0 011111 000 0 00 0101010 00000 1 0 00 00 0 0", "the golden picture"),
        ("0 0 011111 000 0 00 0101010 00000 0 1 00 00 0 0", "the alternate picture"),
        ("0 0 011111 000 0 00 0101010 00000 0 0 01 00 00 0 0", "a copy"),
        ("1 1 0 0 011111", "a map of segments"),
        ("0 0 011111 000 1 1 1 0000100 1 0000100 0 1 0000100 1 0000100 1 0000100 1 0000100 1 0000100", "levels of the filter"),
    ] {
        assert!(!is(bits), "{why}");
    }
    let key = [&[0, 0, 0][..], &inter("0")[3..]].concat();
    assert!(!Vp8Payloader::new(1_400).is_disposable(&key));
    assert!(!Vp8Payloader::new(1_400).is_disposable(&[1, 0, 0, 0, 0]), "cut short");
    let disposable = sent(1_400, &inter("0 0 011111 000 0 00 0101010 00000 0 0 00 00 00 0 0"));
    assert_eq!(disposable.octets()[RTP_HEADER_LEN], 0x30, "N is set");
}

proptest! {
    #[test]
    fn what_is_received_is_what_was_sent(unit in proptest::collection::vec(any::<u8>(), 1..5_000), max_packet in 64usize..2_000) {
        let buffer = sent(max_packet, &unit);
        let received: Vec<u8> = buffer.packets().iter().flat_map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN + 1..]).copied().collect();
        prop_assert_eq!(received, unit);
        prop_assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
    }
}
