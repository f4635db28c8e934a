use proptest::prelude::*;

use crate::library::{Codec, H264Config, NalFraming};
use crate::payload::{PacketBuffer, PayloadError, Payloader, RTP_HEADER_LEN};

const SPS: &[u8] = &[0x67, 0x64, 0x00, 0x1f, 0xac];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3];

fn payloader(length_size: u8, max_packet: usize) -> Payloader {
    let config = H264Config {
        framing: NalFraming::Length(length_size),
        profile_level_id: [0x64, 0x00, 0x1f],
        sequence_parameter_sets: vec![SPS.to_vec()],
        picture_parameter_sets: vec![PPS.to_vec(), vec![0x68, 0x01]],
        width: 640,
        height: 360,
    };
    Payloader::new(&Codec::H264(config), max_packet).expect("a sound configuration")
}

fn unit(length_size: usize, nals: &[Vec<u8>]) -> Vec<u8> {
    let prefixed = |nal: &Vec<u8>| [&(nal.len() as u32).to_be_bytes()[4 - length_size..], nal].concat();
    nals.iter().flat_map(prefixed).collect()
}

fn nal(header: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| if at == 0 { header } else { (at * 7 + len) as u8 }).collect()
}

/// What a receiver makes of the packets: the NAL units in order (RFC 6184 section 7.1).
fn depacketise(buffer: &PacketBuffer) -> Vec<Vec<u8>> {
    let (mut nals, mut fragments): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    for packet in buffer.packets() {
        let payload = &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..];
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                let mut count = 0;
                while let [high, low, tail @ ..] = rest {
                    let size = usize::from(u16::from_be_bytes([*high, *low]));
                    nals.push(tail[..size].to_vec());
                    assert!(payload[0] & 0x60 >= tail[0] & 0x60, "NRI is the greatest of the aggregated ones");
                    rest = &tail[size..];
                    count += 1;
                }
                assert!(rest.is_empty() && count > 1);
            }
            28 => {
                let (start, end) = (payload[1] & 0x80 != 0, payload[1] & 0x40 != 0);
                assert!(!(start && end), "one fragment alone is no fragment");
                assert_eq!(start, fragments.is_none());
                let header = payload[0] & 0xe0 | payload[1] & 0x1f;
                let so_far = fragments.get_or_insert_with(|| vec![header]);
                assert_eq!(so_far[0], header);
                so_far.extend_from_slice(&payload[2..]);
                if end {
                    nals.extend(fragments.take());
                }
            }
            1..=23 => nals.push(payload.to_vec()),
            kind => panic!("a payload of type {kind}"),
        }
        assert!(fragments.is_none() || payload[0] & 0x1f == 28, "fragments are contiguous");
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
    let (delimiter, sei, slice) = (nal(0x09, 2), nal(0x06, 9), nal(0x65, 3_000));
    let buffer = sent(&payloader(4, 1_400), &unit(4, &[delimiter.clone(), sei.clone(), slice.clone()]), true);
    assert_eq!(depacketise(&buffer), [delimiter, SPS.to_vec(), PPS.to_vec(), vec![0x68, 0x01], sei, slice]);
    assert_eq!(buffer.packets().len(), 1 + 3, "one aggregate, three fragments");
}

#[test]
fn parameter_sets_that_the_unit_carries_are_not_sent_twice() {
    let own = [nal(0x67, 8), nal(0x68, 4), nal(0x65, 100)];
    assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &own), true)), own);
    let slice = [nal(0x41, 100)];
    assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &slice), false)), slice, "no random access point");
}

#[test]
fn fragments_form_one_run_and_only_the_last_packet_is_marked() {
    let buffer = sent(&payloader(4, 1_400), &unit(4, &[nal(0x41, 100_000)]), false);
    let packets = buffer.packets();
    let runs: Vec<_> = buffer.runs(0..packets.len(), usize::MAX, usize::MAX).collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].segment, 1_400);
    assert!(packets[..packets.len() - 1].iter().all(|packet| packet.range.len() == 1_400 && !packet.marker));
    assert!(packets[packets.len() - 1].marker);
}

#[test]
fn what_may_not_be_sent_is_skipped() {
    let nals = [vec![], nal(0x18, 5), nal(0x1c, 5), nal(0x1f, 5), nal(0x60, 5), nal(0x41, 5)];
    assert_eq!(depacketise(&sent(&payloader(4, 1_400), &unit(4, &nals), false)), [nal(0x41, 5)]);
    let mut buffer = PacketBuffer::default();
    let nothing = payloader(4, 1_400).payload(&unit(4, &nals[..4]), true, &mut buffer);
    assert_eq!((nothing, buffer.packets().len()), (Err(PayloadError::Empty), 0), "parameter sets alone are no access unit");
}

#[test]
fn corrupt_lengths_are_refused_and_leave_nothing_behind() {
    let mut buffer = PacketBuffer::default();
    let mut broken = unit(4, &[nal(0x41, 2_000)]);
    broken.extend([0, 0, 0, 9, 0x41]);
    let error = payloader(4, 1_400).payload(&broken, true, &mut buffer);
    assert_eq!(error, Err(PayloadError::NalLength));
    let error = payloader(4, 1_400).payload(&broken[..2_006], true, &mut buffer);
    assert_eq!(error, Err(PayloadError::NalLength));
    let error = payloader(4, 1_400).payload(&[0xff; 8], true, &mut buffer);
    assert_eq!(error, Err(PayloadError::NalLength));
    assert!(buffer.packets().is_empty() && buffer.octets().is_empty());
}

#[test]
fn impossible_settings_are_refused() {
    let config = |length_size| {
        let sets = || vec![vec![]];
        let (sequence_parameter_sets, picture_parameter_sets) = (sets(), sets());
        Codec::H264(H264Config {
            framing: NalFraming::Length(length_size),
            profile_level_id: [0; 3],
            sequence_parameter_sets,
            picture_parameter_sets,
            width: 0,
            height: 0,
        })
    };
    for length_size in [0, 3, 5] {
        assert_eq!(Payloader::new(&config(length_size), 1_400).err(), Some(PayloadError::LengthSize(length_size)));
    }
    assert_eq!(Payloader::new(&config(4), 63).err(), Some(PayloadError::PacketSize(63)));
    assert_eq!(Payloader::new(&config(4), 70_000).err(), Some(PayloadError::PacketSize(70_000)));
    let without_sets = Payloader::new(&config(4), 1_400).expect("empty sets are left out");
    assert_eq!(without_sets.format_parameters(), "packetization-mode=1;profile-level-id=000000");
}

#[test]
fn the_description_is_what_players_read() {
    let payloader = payloader(4, 1_400);
    assert_eq!(payloader.encoding_name(), "H264/90000");
    assert_eq!(payloader.clock_rate().hertz(), 90_000);
    let expected = "packetization-mode=1;profile-level-id=64001F;sprop-parameter-sets=Z2QAH6w=,aOvj";
    assert_eq!(payloader.format_parameters(), expected);
}

proptest! {
    #[test]
    fn what_is_received_is_what_was_sent(
        sizes in proptest::collection::vec((1u8..24, 0u8..4, prop_oneof![4 => 1usize..200, 2 => 1usize..5_000, 1 => 1usize..70_000]), 0..40),
        wide in any::<bool>(),
        random_access in any::<bool>(),
        max_packet in prop_oneof![3 => 64usize..2_000, 1 => 2_000usize..=65_000],
    ) {
        let length_size = if wide { 4 } else { 2 };
        let limit = if wide { usize::MAX } else { 65_535 };
        let nals: Vec<Vec<u8>> = sizes.iter().map(|&(kind, reference, size)| nal(reference << 5 | kind, size.min(limit))).collect();
        let payloader = payloader(length_size, max_packet);
        let unit = unit(usize::from(length_size), &nals);
        if nals.is_empty() {
            prop_assert_eq!(payloader.payload(&unit, random_access, &mut PacketBuffer::default()), Err(PayloadError::Empty));
            return Ok(());
        }
        let buffer = sent(&payloader, &unit, random_access);
        prop_assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
        let marked = buffer.packets().iter().filter(|packet| packet.marker).count();
        prop_assert_eq!(marked, 1);
        let mut received = depacketise(&buffer);
        let kinds: Vec<u8> = nals.iter().map(|nal| nal[0] & 0x1f).collect();
        if random_access {
            let at = usize::from(kinds[0] == 9);
            let sets = if kinds.contains(&7) { 0 } else { 1 } + if kinds.contains(&8) { 0 } else { 2 };
            received.drain(at..at + sets);
        }
        prop_assert_eq!(received, nals);
        let again = sent(&payloader, &unit, random_access);
        prop_assert_eq!(again.octets(), buffer.octets());
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..4_000), length_size in prop_oneof![Just(1u8), Just(2), Just(4)]) {
        let mut buffer = PacketBuffer::default();
        if payloader(length_size, 200).payload(&noise, true, &mut buffer).is_ok() {
            depacketise(&buffer);
        }
    }
}

#[test]
fn filled_up_an_access_unit_is_the_same_with_packets_of_nothing_behind_it() {
    let (payloader, unit) = (payloader(4, 200), unit(4, &[nal(0x65, 500)]));
    let (mut before, mut filled) = (PacketBuffer::default(), PacketBuffer::default());
    payloader.payload(&nal_unit_of(9), false, &mut filled).expect("sound");
    payloader.payload(&unit, true, &mut before).expect("sound");
    filled.append(&before);
    assert!(payloader.fill_up(3, &mut filled));
    let nals = depacketise(&before);
    assert_eq!(depacketise(&filled)[1..], [&nals[..], &vec![vec![12, 0x80]; 3][..]].concat());
    let markers: Vec<usize> = filled.packets().iter().enumerate().filter(|(_, packet)| packet.marker).map(|(index, _)| index).collect();
    assert_eq!(markers, [0, before.packets().len() + 3], "of the one before, and the very last");
    // By none it stays as it is.
    let mut same = PacketBuffer::default();
    same.append(&before);
    assert!(payloader.fill_up(0, &mut same));
    assert_eq!((same.packets(), same.octets()), (before.packets(), before.octets()));
}

fn nal_unit_of(octets: usize) -> Vec<u8> {
    unit(4, &[nal(0x41, octets)])
}
