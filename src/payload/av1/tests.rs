use proptest::prelude::*;

use super::*;
use crate::payload::PacketBuffer;

/// As SVT-AV1 writes one, 320 by 240: order hints of seven bits, no frame numbers.
const SEQUENCE: &[u8] = &[0x0a, 0x0b, 0, 0, 0, 0x04, 0x3c, 0xff, 0xbc, 0xfb, 0xf9, 0x00, 0x40];

fn payloader(max_packet: usize) -> Av1Payloader {
    let config = Av1Config { profile: 0, level_idx: 8, tier: 0, sequence_header: SEQUENCE.to_vec(), width: 320, height: 240 };
    Av1Payloader::new(&config, max_packet)
}

fn obu(kind: u8, extension: Option<u8>, body: &[u8]) -> Vec<u8> {
    let header = kind << 3 | HAS_SIZE | if extension.is_some() { 4 } else { 0 };
    let size = leb128(body.len());
    [&[header][..], extension.as_slice(), &size, body].concat()
}

const HAS_SIZE: u8 = 2;
const DELIMITER: u8 = 2;

fn sent(max_packet: usize, unit: &[u8], random_access: bool) -> PacketBuffer {
    let mut buffer = PacketBuffer::default();
    payloader(max_packet).payload(unit, random_access, &mut buffer).expect("a sound temporal unit");
    buffer
}

fn payloads(buffer: &PacketBuffer) -> Vec<&[u8]> {
    buffer.packets().iter().map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..]).collect()
}

fn length(rest: &mut &[u8]) -> usize {
    let end = rest.iter().position(|octet| octet & 0x80 == 0).expect("it ends");
    let value = rest[..=end].iter().rev().fold(0, |value, octet| value << 7 | usize::from(octet & 0x7f));
    *rest = &rest[end + 1..];
    value
}

/// What a receiver makes of the packets: OBUs without sizes (section 4.4).
fn depacketise(buffer: &PacketBuffer) -> Vec<Vec<u8>> {
    let mut obus: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for payload in payloads(buffer) {
        let (&header, mut rest) = payload.split_first().expect("an aggregation header");
        assert_eq!(header & 0x80 != 0, is_open, "Z says what Y said before");
        let (count, mut elements) = (header >> 4 & 3, Vec::new());
        while !rest.is_empty() {
            let size = if elements.len() + 1 == usize::from(count) { rest.len() } else { length(&mut rest) };
            let (element, behind) = rest.split_at(size);
            elements.push(element);
            rest = behind;
        }
        assert!(if count == 0 { elements.len() > 3 } else { elements.len() == usize::from(count) });
        for (position, element) in elements.into_iter().enumerate() {
            match obus.last_mut().filter(|_| is_open && position == 0) {
                Some(open) => open.extend_from_slice(element),
                None => obus.push(element.to_vec()),
            }
        }
        is_open = header & 0x40 != 0;
    }
    assert!(!is_open);
    obus
}

/// An OBU as it is sent.
fn bare(kind: u8, extension: Option<u8>, body: &[u8]) -> Vec<u8> {
    let header = kind << 3 | if extension.is_some() { 4 } else { 0 };
    [&[header][..], extension.as_slice(), body].concat()
}

#[test]
fn a_random_access_point_begins_with_its_sequence_header() {
    let frame: Vec<u8> = (0..3_000).map(|at| at as u8).collect();
    let unit = [obu(DELIMITER, None, &[]), obu(FRAME, None, &frame), obu(15, None, &[0; 50])].concat();
    let buffer = sent(1_400, &unit, true);
    assert_eq!(depacketise(&buffer), [bare(SEQUENCE_HEADER, None, &SEQUENCE[2..]), bare(FRAME, None, &frame)], "no delimiter, no padding");
    let headers: Vec<u8> = payloads(&buffer).iter().map(|payload| payload[0]).collect();
    assert_eq!(
        headers,
        [IS_CONTINUED | 2 << COUNT_SHIFT | NEW_SEQUENCE, CONTINUES | IS_CONTINUED | 1 << COUNT_SHIFT, CONTINUES | 1 << COUNT_SHIFT]
    );
    let sizes: Vec<usize> = buffer.packets().iter().map(|packet| packet.range.len()).collect();
    assert_eq!(sizes[..2], [1_400, 1_400], "packets are full");
    assert_eq!(buffer.packets().iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(depacketise(&sent(1_400, &unit, false)), [bare(FRAME, None, &frame)]);
    let own = [obu(SEQUENCE_HEADER, None, &[1; 9]), obu(FRAME, None, &frame)].concat();
    assert_eq!(depacketise(&sent(1_400, &own, true)).len(), 2, "its own is not sent twice");
}

#[test]
fn broken_units_are_refused() {
    let refuse = |unit: &[u8]| {
        let mut buffer = PacketBuffer::default();
        let refused = payloader(1_400).payload(unit, true, &mut buffer).expect_err("refused");
        assert!(buffer.packets().is_empty());
        refused
    };
    let broken = PayloadError::Broken("AV1 temporal unit");
    assert_eq!(refuse(&[]), PayloadError::Empty);
    assert_eq!(refuse(&obu(DELIMITER, None, &[])), PayloadError::Empty);
    assert_eq!(refuse(&[FRAME << 3 | HAS_SIZE, 5, 1]), broken, "longer than what is there");
    assert_eq!(refuse(&[FRAME << 3 | HAS_SIZE, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), broken, "an endless length");
    assert_eq!(refuse(&[FRAME << 3 | HAS_SIZE | 4]), broken, "without its extension");
    assert_eq!(refuse(&[0x80 | FRAME << 3, 1]), broken, "the forbidden bit");
}

#[test]
fn the_last_obu_may_be_without_a_size() {
    let unit = [obu(DELIMITER, None, &[]), vec![FRAME << 3, 1, 2, 3]].concat();
    assert_eq!(depacketise(&sent(1_400, &unit, false)), [bare(FRAME, None, &[1, 2, 3])]);
}

#[test]
fn disposable_is_what_no_slot_keeps() {
    // show_existing_frame, frame_type, show_frame, error_resilient_mode, disable_cdf_update, allow_screen_content_tools,
    // frame_size_override_flag, order_hint, primary_ref_frame, refresh_frame_flags.
    let frame = |bits: &str| {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        let octets: Vec<u8> =
            bits.chunks(8).map(|octet| octet.iter().enumerate().fold(0, |value, (at, bit)| value | bit << (7 - at))).collect();
        obu(FRAME, None, &octets)
    };
    let is = |unit: &[u8]| payloader(1_400).is_disposable(unit);
    let (left, kept) = (frame("0 01 1 0 0 0 0 0000101 000 00000000 1"), frame("0 01 1 0 0 0 0 0000101 000 00010000 1"));
    assert!(is(&left) && !is(&kept));
    assert!(is(&[obu(DELIMITER, None, &[]), left.clone(), left.clone()].concat()));
    assert!(!is(&[kept.clone(), left.clone()].concat()) && !is(&[left.clone(), kept].concat()));
    assert!(is(&frame("0 01 1 1 0 0 0 0000101 00000000 1")), "error resilient: no primary reference");
    assert!(!is(&frame("0 00 1 0")) && !is(&frame("1 000")) && !is(&frame("0 01")) && !is(&[]) && !is(&obu(DELIMITER, None, &[])));
    let told = Av1Config { profile: 0, level_idx: 0, tier: 0, sequence_header: Vec::new(), width: 0, height: 0 };
    assert!(!Av1Payloader::new(&told, 1_400).is_disposable(&left), "without a sequence header it cannot be read");
}

#[test]
fn the_description_is_what_players_read() {
    assert_eq!(
        (payloader(1_400).encoding_name(), payloader(1_400).format_parameters()),
        ("AV1/90000".into(), "profile=0;level-idx=8;tier=0".into())
    );
}

proptest! {
    #[test]
    fn what_is_received_is_what_was_sent(
        obus in proptest::collection::vec((3u8..8, any::<bool>(), prop_oneof![4 => 0usize..40, 2 => 0usize..600, 1 => 0usize..5_000]), 1..24),
        random_access in any::<bool>(),
        max_packet in prop_oneof![3 => 64usize..2_000, 1 => 2_000usize..=65_000],
    ) {
        let body = |size: usize| (0..size).map(|at| (at * 7 + size) as u8).collect::<Vec<u8>>();
        let unit: Vec<u8> = obus.iter().flat_map(|&(kind, extended, size)| obu(kind, extended.then_some(0x28), &body(size))).collect();
        let buffer = sent(max_packet, &unit, random_access);
        prop_assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
        let mut expected: Vec<Vec<u8>> = obus.iter().map(|&(kind, extended, size)| bare(kind, extended.then_some(0x28), &body(size))).collect();
        if random_access {
            expected.insert(0, bare(SEQUENCE_HEADER, None, &SEQUENCE[2..]));
        }
        prop_assert_eq!(depacketise(&buffer), expected);
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..3_000), max_packet in 64usize..500) {
        let mut buffer = PacketBuffer::default();
        if payloader(max_packet).payload(&noise, true, &mut buffer).is_ok() {
            depacketise(&buffer);
        }
        payloader(max_packet).is_disposable(&noise);
        let told = Av1Config { profile: 0, level_idx: 0, tier: 0, sequence_header: noise, width: 0, height: 0 };
        Av1Payloader::new(&told, max_packet).is_disposable(&[0x32, 2, 0x30, 0]);
    }
}
