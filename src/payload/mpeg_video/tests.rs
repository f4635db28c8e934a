use proptest::prelude::*;

use super::*;
use crate::payload::PacketBuffer;

const I: u8 = 1;
const P: u8 = 2;
const B: u8 = 3;

/// A picture header: temporal reference, type, vbv_delay of ones, full_pel and f_code of both directions.
fn picture(reference: u16, kind: u8, forward: u8, backward: u8) -> Vec<u8> {
    let fields = u64::from(reference) << 38 | u64::from(kind) << 35 | 0xffff << 19 | u64::from(forward) << 15 | u64::from(backward) << 11;
    [&[0, 0, 1, PICTURE][..], &fields.to_be_bytes()[2..]].concat()
}

fn piece(kind: u8, len: usize) -> Vec<u8> {
    [&[0, 0, 1, kind][..], &vec![0x77; len - 4]].concat()
}

fn sent(max_packet: usize, unit: &[u8]) -> PacketBuffer {
    let mut buffer = PacketBuffer::default();
    MpegVideoPayloader::new(max_packet).payload(unit, false, &mut buffer).expect("a picture");
    assert!(buffer.packets().iter().rev().enumerate().all(|(behind, packet)| packet.marker == (behind == 0)));
    assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
    buffer
}

/// Header and octets of each packet.
fn payloads(buffer: &PacketBuffer) -> Vec<(u32, Vec<u8>)> {
    let payload = |packet: &crate::payload::Packet| {
        let (header, octets) = buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..].split_first_chunk().expect("a header");
        (u32::from_be_bytes(*header), octets.to_vec())
    };
    buffer.packets().iter().map(payload).collect()
}

const S: u32 = 0x2000;
const BS: u32 = 0x1000;
const ES: u32 = 0x0800;

#[test]
fn headers_go_with_whole_slices() {
    let headers = [piece(SEQUENCE, 12), piece(GROUP, 8), picture(5, I, 0, 0), piece(0xb5, 9)].concat();
    let slices = [piece(1, 300), piece(2, 300), piece(3, 500)];
    let packets = payloads(&sent(1_012, &[&headers[..], &slices.concat()].concat()));
    let told = 5 << 16 | 1 << 8;
    assert_eq!(packets, [(told | S | BS | ES, [&headers[..], &slices[0], &slices[1]].concat()), (told | BS | ES, slices[2].clone())]);
}

#[test]
fn a_slice_larger_than_a_packet_goes_alone_in_fragments() {
    let unit = [picture(1, P, 0b0111, 0), piece(1, 100), piece(2, 2_000), piece(3, 50)].concat();
    let packets = payloads(&sent(1_012, &unit));
    let told = 1 << 16 | 2 << 8 | 7;
    assert_eq!(packets.iter().map(|(header, _)| *header).collect::<Vec<_>>(), [told | BS | ES, told | BS, told, told | ES, told | BS | ES]);
    assert_eq!(packets.iter().flat_map(|(_, octets)| octets.clone()).collect::<Vec<u8>>(), unit);
}

#[test]
fn vectors_are_told_as_far_as_the_picture_has_them() {
    let vectors = |kind: u8| payloads(&sent(1_400, &[picture(1023, kind, 0b1011, 0b0110), piece(1, 20)].concat()))[0].0;
    assert_eq!(vectors(I), 1023 << 16 | 1 << 8 | BS | ES);
    assert_eq!(vectors(P), 1023 << 16 | 2 << 8 | BS | ES | 0b1011);
    assert_eq!(vectors(B), 1023 << 16 | 3 << 8 | BS | ES | 0b0110_1011);
}

#[test]
fn each_field_begins_a_packet_and_tells_of_itself() {
    let (first, second) = ([picture(4, I, 0, 0), piece(1, 40)].concat(), [picture(4, P, 7, 0), piece(1, 30)].concat());
    let packets = payloads(&sent(1_400, &[first.clone(), second.clone()].concat()));
    assert_eq!(packets, [(4 << 16 | 1 << 8 | BS | ES, first), (4 << 16 | 2 << 8 | BS | ES | 7, second)]);
}

#[test]
fn disposable_is_what_is_predicted_in_both_directions() {
    let is = |unit: &[u8]| MpegVideoPayloader::new(1_400).is_disposable(unit);
    assert!(is(&picture(0, B, 7, 7)) && is(&[picture(0, B, 7, 7), picture(0, B, 7, 7)].concat()));
    assert!(!is(&picture(0, P, 7, 0)) && !is(&picture(0, I, 0, 0)) && !is(&[picture(0, B, 7, 7), picture(0, P, 7, 7)].concat()));
    assert!(!is(&[]) && !is(&[0, 0, 1, PICTURE, 0]));
}

#[test]
fn filled_up_it_ends_with_zeros_behind_its_last_slice() {
    let unit = [piece(SEQUENCE, 12), picture(9, B, 7, 7), piece(1, 50)].concat();
    let mut buffer = sent(1_400, &unit);
    assert!(MpegVideoPayloader::new(1_400).fill_up(2, &mut buffer));
    let packets = payloads(&buffer);
    let told = 9 << 16 | 3 << 8 | 0x77;
    assert_eq!(packets, [(told | S | BS | ES, unit.clone()), (told | ES, vec![0]), (told | ES, vec![0])]);
    assert_eq!(buffer.packets().iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true]);
    let mut ended = sent(1_400, &[unit, vec![0, 0, 1, SEQUENCE_END]].concat());
    assert!(!MpegVideoPayloader::new(1_400).fill_up(2, &mut ended), "behind the end of a sequence nothing follows");
}

#[test]
fn what_is_no_picture_is_refused() {
    let refused = |unit: &[u8]| MpegVideoPayloader::new(1_400).payload(unit, false, &mut PacketBuffer::default());
    assert_eq!(refused(&[]), Err(PayloadError::Empty));
    assert_eq!(refused(&piece(1, 40)), Err(PayloadError::Broken("MPEG picture")));
}

proptest! {
    #[test]
    fn nothing_is_lost(
        slices in proptest::collection::vec((1u8..0xb0, prop_oneof![3 => 4usize..200, 1 => 4usize..4_000]), 0..40),
        before in proptest::collection::vec(any::<u8>(), 0..200),
        max_packet in 64usize..1_500,
    ) {
        let unit = [before, picture(3, I, 0, 0), slices.iter().flat_map(|&(kind, len)| piece(kind, len)).collect()].concat();
        let packets = payloads(&sent(max_packet, &unit));
        prop_assert_eq!(packets.iter().flat_map(|(_, octets)| octets.clone()).collect::<Vec<u8>>(), unit);
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..2_000)) {
        let payloader = MpegVideoPayloader::new(100);
        let _ = payloader.payload(&noise, true, &mut PacketBuffer::default());
        payloader.is_disposable(&noise);
    }
}
