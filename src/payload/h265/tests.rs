use proptest::prelude::*;

use crate::library::{Codec, H265Config, H265Profile, NalFraming};
use crate::payload::h265::USER_DATA;
use crate::payload::{PacketBuffer, PayloadError, Payloader, RTP_HEADER_LEN};

const VPS: &[u8] = &[0x40, 0x01, 0x0c];
const SPS: &[u8] = &[0x42, 0x01, 0x01, 0x60];
const PPS: &[u8] = &[0x44, 0x01, 0xc1];
/// NAL unit types.
const TRAIL_N: u8 = 0;
const TRAIL_R: u8 = 1;
const RASL_N: u8 = 8;
const CRA: u8 = 21;
const DELIMITER: u8 = 35;
const SEI: u8 = 39;
const SUFFIX_SEI: u8 = 40;

fn config(length_size: u8, temporal_layers: u8) -> H265Config {
    H265Config {
        framing: NalFraming::Length(length_size),
        profile: H265Profile { space: 0, idc: 2, is_high_tier: true, level_idc: 120, constraints: [0xb0, 0, 0, 0, 0, 1] },
        temporal_layers,
        video_parameter_sets: vec![VPS.to_vec()],
        sequence_parameter_sets: vec![SPS.to_vec(), vec![]],
        picture_parameter_sets: vec![PPS.to_vec(), vec![0x44, 0x01, 0x02]],
        messages: Vec::new(),
        width: 640,
        height: 360,
    }
}

fn payloader(length_size: u8, max_packet: usize) -> Payloader {
    Payloader::new(&Codec::H265(config(length_size, 1)), max_packet).expect("a sound configuration")
}

fn unit(length_size: usize, nals: &[Vec<u8>]) -> Vec<u8> {
    let prefixed = |nal: &Vec<u8>| [&(nal.len() as u32).to_be_bytes()[4 - length_size..], nal].concat();
    nals.iter().flat_map(prefixed).collect()
}

/// Of the base layer, with this temporal identifier.
fn nal_at(kind: u8, temporal: u8, len: usize) -> Vec<u8> {
    let octet = |at: usize| match at {
        0 => kind << 1,
        1 => temporal + 1,
        _ => (at * 7 + len) as u8,
    };
    (0..len).map(octet).collect()
}

fn nal(kind: u8, len: usize) -> Vec<u8> {
    nal_at(kind, 0, len)
}

/// What a receiver makes of the packets: the NAL units in order (RFC 7798 section 6).
fn depacketise(buffer: &PacketBuffer) -> Vec<Vec<u8>> {
    let (mut nals, mut fragments): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    for packet in buffer.packets() {
        let payload = &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..];
        match payload[0] >> 1 & 0x3f {
            48 => {
                let mut rest = &payload[2..];
                let mut count = 0;
                while let [high, low, tail @ ..] = rest {
                    let size = usize::from(u16::from_be_bytes([*high, *low]));
                    nals.push(tail[..size].to_vec());
                    assert!(payload[1] & 7 <= tail[1] & 7, "the temporal identifier is the lowest of the aggregated ones");
                    rest = &tail[size..];
                    count += 1;
                }
                assert!(rest.is_empty() && count > 1);
            }
            49 => {
                let (start, end) = (payload[2] & 0x80 != 0, payload[2] & 0x40 != 0);
                assert!(!(start && end), "one fragment alone is no fragment");
                assert_eq!(start, fragments.is_none());
                let header = [payload[0] & 0x81 | (payload[2] & 0x3f) << 1, payload[1]];
                let so_far = fragments.get_or_insert_with(|| header.to_vec());
                assert_eq!(so_far[..2], header);
                so_far.extend_from_slice(&payload[3..]);
                if end {
                    nals.extend(fragments.take());
                }
            }
            0..=47 => nals.push(payload.to_vec()),
            kind => panic!("a payload of type {kind}"),
        }
        assert!(fragments.is_none() || payload[0] >> 1 & 0x3f == 49, "fragments are contiguous");
    }
    assert!(fragments.is_none());
    nals
}

fn sent(payloader: &Payloader, unit: &[u8], random_access: bool) -> PacketBuffer {
    let mut buffer = PacketBuffer::default();
    payloader.payload(unit, random_access, &mut buffer).expect("a sound access unit");
    buffer
}

#[test]
fn parameter_sets_go_before_a_random_access_point_and_behind_its_delimiter() {
    let (delimiter, sei, slice, suffix) = (nal(DELIMITER, 3), nal(SEI, 9), nal(CRA, 3_000), nal(SUFFIX_SEI, 20));
    let nals = [delimiter.clone(), sei.clone(), slice.clone(), suffix.clone()];
    let buffer = sent(&payloader(4, 1_400), &unit(4, &nals), true);
    let second = vec![0x44, 0x01, 0x02];
    assert_eq!(depacketise(&buffer), [delimiter, VPS.to_vec(), SPS.to_vec(), PPS.to_vec(), second, sei, slice, suffix]);
    assert_eq!(buffer.packets().len(), 1 + 3 + 1, "one aggregate, three fragments, and what comes behind the slices");
}

#[test]
fn parameter_sets_that_the_unit_carries_are_not_sent_twice() {
    let own = [nal(32, 8), nal(33, 8), nal(34, 4), nal(CRA, 100)];
    assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &own), true)), own);
    let slice = [nal(TRAIL_R, 100)];
    assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &slice), false)), slice, "no random access point");
    // What is missing goes behind that which it refers to; sets of other layers do not count.
    let (sequence_set, other) = (nal(33, 8), [vec![33 << 1, 8 | 1], vec![5; 6]].concat());
    let received = depacketise(&sent(&payloader(4, 1_400), &unit(4, &[sequence_set.clone(), nal(CRA, 100)]), true));
    assert_eq!(received, [VPS.to_vec(), sequence_set, PPS.to_vec(), vec![0x44, 0x01, 0x02], nal(CRA, 100)]);
    let received = depacketise(&sent(&payloader(4, 1_400), &unit(4, &[other.clone(), nal(CRA, 100)]), true));
    assert_eq!(received, [VPS.to_vec(), SPS.to_vec(), PPS.to_vec(), vec![0x44, 0x01, 0x02], other, nal(CRA, 100)]);
}

#[test]
fn messages_for_all_pictures_go_before_the_first_slice_of_a_random_access_point() {
    // mastering_display_colour_volume, and x265's settings.
    let (display, settings) = (vec![SEI << 1, 1, 137, 1, 7, 0x80], vec![SEI << 1, 1, USER_DATA, 1, 7, 0x80]);
    let told = H265Config { messages: vec![display.clone(), settings, nal(SUFFIX_SEI, 9), vec![SEI << 1, 1]], ..config(4, 1) };
    let payloader = Payloader::new(&Codec::H265(told), 1_400).expect("sound");
    let (delimiter, period, slice) = (nal(DELIMITER, 3), nal(SEI, 9), nal(CRA, 300));
    let received = depacketise(&sent(&payloader, &unit(4, &[delimiter.clone(), period.clone(), slice.clone(), slice.clone()]), true));
    assert_eq!(received[5..], [period, display.clone(), slice.clone(), slice.clone()]);
    let own = [display, slice.clone()];
    assert_eq!(depacketise(&sent(&payloader, &unit(4, &own), true))[4..], own, "what is there is not repeated");
    assert_eq!(depacketise(&sent(&payloader, &unit(4, std::slice::from_ref(&slice)), false)), [slice], "no random access point");
}

#[test]
fn several_slices_form_one_access_unit_and_only_the_last_packet_is_marked() {
    let slices = [nal(TRAIL_R, 50_000), nal(TRAIL_R, 2_000), nal(TRAIL_R, 40_000)];
    let buffer = sent(&payloader(4, 1_400), &unit(4, &slices), false);
    assert_eq!(depacketise(&buffer), slices);
    let packets = buffer.packets();
    assert!(packets[..packets.len() - 1].iter().all(|packet| !packet.marker) && packets[packets.len() - 1].marker);
    assert!(buffer.runs(0..packets.len(), usize::MAX, usize::MAX).count() <= 3 + 2);
}

#[test]
fn layer_and_temporal_identifiers_are_kept() {
    // Layer 37 of 64: its highest bit is in the first octet.
    let layered = |kind: u8, len: usize| [vec![kind << 1 | 1, 5 << 3 | 3], vec![9; len]].concat();
    for nals in [vec![layered(TRAIL_R, 5_000)], vec![layered(TRAIL_R, 10), nal_at(TRAIL_R, 4, 10)]] {
        assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &nals), false)), nals);
    }
    let buffer = sent(&payloader(4, 1_400), &unit(4, &[layered(TRAIL_R, 10), nal_at(TRAIL_R, 4, 10)]), false);
    assert_eq!(buffer.octets()[RTP_HEADER_LEN..][..2], [48 << 1, 3], "the lowest layer, the lowest temporal identifier");
}

#[test]
fn what_may_not_be_sent_is_skipped_and_what_is_corrupt_refused() {
    let nals = [vec![], vec![0x02], nal(48, 5), nal(49, 5), nal(50, 5), nal(63, 5), nal(TRAIL_R, 5)];
    assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &nals), false)), [nal(TRAIL_R, 5)]);
    let mut buffer = PacketBuffer::default();
    let nothing = payloader(4, 1_400).payload(&unit(4, &nals[..6]), true, &mut buffer);
    assert_eq!((nothing, buffer.packets().len()), (Err(PayloadError::Empty), 0), "parameter sets alone are no access unit");
    let broken = [unit(4, &[nal(TRAIL_R, 2_000)]), vec![0, 0, 0, 9, 2]].concat();
    assert_eq!(payloader(4, 1_400).payload(&broken, true, &mut buffer), Err(PayloadError::NalLength));
    assert!(buffer.packets().is_empty() && buffer.octets().is_empty());
    for length_size in [0, 3, 5] {
        let refused = Payloader::new(&Codec::H265(config(length_size, 1)), 1_400).err();
        assert_eq!(refused, Some(PayloadError::LengthSize(length_size)));
    }
}

#[test]
fn disposable_is_what_nothing_refers_to() {
    let is =
        |layers: u8, nals: &[Vec<u8>]| Payloader::new(&Codec::H265(config(4, layers)), 1_400).expect("sound").is_disposable(&unit(4, nals));
    assert!(is(1, &[nal(SEI, 5), nal(TRAIL_N, 9)]) && is(1, &[nal(RASL_N, 9)]));
    assert!(!is(1, &[nal(TRAIL_R, 9)]) && !is(1, &[nal(TRAIL_N, 9), nal(TRAIL_R, 9)]) && !is(1, &[nal(CRA, 9)]) && !is(1, &[nal(SEI, 9)]));
    assert!(!is(2, &[nal(TRAIL_N, 9)]), "a higher sub-layer may refer to it");
    assert!(is(2, &[nal_at(TRAIL_N, 1, 9)]));
    assert!(!is(0, &[nal(TRAIL_N, 9)]), "it is not known which sub-layer is the highest");
}

#[test]
fn the_description_is_what_players_read() {
    let payloader = payloader(4, 1_400);
    assert_eq!((payloader.encoding_name().as_str(), payloader.clock_rate().hertz()), ("H265/90000", 90_000));
    let expected = "profile-space=0;profile-id=2;tier-flag=1;level-id=120;interop-constraints=B00000000001;\
                    sprop-vps=QAEM;sprop-sps=QgEBYA==;sprop-pps=RAHB,RAEC";
    assert_eq!(payloader.format_parameters(), expected);
}

#[test]
fn filled_up_it_ends_with_filler_data() {
    let mut filled = sent(&payloader(4, 1_400), &unit(4, &[nal(CRA, 3_000)]), false);
    let before = filled.packets().len();
    assert!(payloader(4, 1_400).fill_up(2, &mut filled));
    assert_eq!(depacketise(&filled)[1..], [vec![38 << 1, 1, 0x80], vec![38 << 1, 1, 0x80]]);
    assert!(filled.packets()[before + 1].marker && filled.packets().iter().filter(|packet| packet.marker).count() == 1);
}

proptest! {
    #[test]
    fn what_is_received_is_what_was_sent(
        sizes in proptest::collection::vec((0u8..48, 0u8..7, prop_oneof![4 => 2usize..200, 2 => 2usize..5_000, 1 => 2usize..70_000]), 0..40),
        wide in any::<bool>(),
        random_access in any::<bool>(),
        max_packet in prop_oneof![3 => 64usize..2_000, 1 => 2_000usize..=65_000],
    ) {
        let length_size = if wide { 4 } else { 2 };
        let limit = if wide { usize::MAX } else { 65_535 };
        let nals: Vec<Vec<u8>> = sizes.iter().map(|&(kind, temporal, size)| nal_at(kind, temporal, size.min(limit))).collect();
        let payloader = payloader(length_size, max_packet);
        let unit = unit(usize::from(length_size), &nals);
        if nals.is_empty() {
            prop_assert_eq!(payloader.payload(&unit, random_access, &mut PacketBuffer::default()), Err(PayloadError::Empty));
            return Ok(());
        }
        let buffer = sent(&payloader, &unit, random_access);
        prop_assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
        prop_assert_eq!(buffer.packets().iter().filter(|packet| packet.marker).count(), 1);
        let mut received = depacketise(&buffer);
        let kinds: Vec<u8> = sizes.iter().map(|&(kind, ..)| kind).collect();
        if random_access {
            for (kind, set) in [(32, VPS), (33, SPS), (34, PPS), (34, &[0x44, 0x01, 0x02][..])] {
                if !kinds.contains(&kind) {
                    let at = received.iter().position(|nal| nal == set).expect("a parameter set");
                    received.remove(at);
                }
            }
        }
        prop_assert_eq!(received, nals);
        let again = sent(&payloader, &unit, random_access);
        prop_assert_eq!(again.octets(), buffer.octets());
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..4_000), length_size in prop_oneof![Just(1u8), Just(2), Just(4)]) {
        let mut buffer = PacketBuffer::default();
        let payloader = payloader(length_size, 200);
        payloader.is_disposable(&noise);
        if payloader.payload(&noise, true, &mut buffer).is_ok() {
            depacketise(&buffer);
        }
    }
}
