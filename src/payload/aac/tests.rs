use proptest::prelude::*;

use crate::library::{AacConfig, Codec};
use crate::payload::{PacketBuffer, PayloadError, Payloader, RTP_HEADER_LEN};

fn codec(channels: u8, sample_rate: u32, config: &[u8]) -> Codec {
    Codec::Aac(AacConfig { audio_specific_config: config.to_vec(), sample_rate, channels })
}

fn payloader(max_packet: usize) -> Payloader {
    Payloader::new(&codec(2, 48_000, &[0x11, 0x90]), max_packet).expect("a sound configuration")
}

/// What a receiver makes of the packets: access units, by AU-size and marker.
fn depacketise(buffer: &PacketBuffer) -> Vec<Vec<u8>> {
    let (mut units, mut unit) = (Vec::new(), Vec::new());
    for packet in buffer.packets() {
        let payload = &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..];
        let (bits, rest) = payload.split_at(2);
        let bits = usize::from(u16::from_be_bytes([bits[0], bits[1]]));
        assert_eq!(bits % 16, 0, "AU-headers of 16 bits");
        let (headers, mut octets) = rest.split_at(bits / 8);
        if bits > 16 {
            assert!(unit.is_empty() && packet.marker, "whole access units");
            for header in headers.chunks(2) {
                assert_eq!(header[1] & 7, 0, "they follow each other");
                let (one, behind) = octets.split_at(usize::from(u16::from_be_bytes([header[0], header[1]]) >> 3));
                units.push(one.to_vec());
                octets = behind;
            }
            assert!(octets.is_empty());
            continue;
        }
        let (section, octets) = payload.split_at(4);
        assert_eq!(section[3] & 7, 0, "AU-Index is zero");
        unit.extend_from_slice(octets);
        let size = usize::from(u16::from_be_bytes([section[2], section[3]]) >> 3);
        assert_eq!(unit.len() == size, packet.marker, "the marker ends the access unit");
        if packet.marker {
            units.push(std::mem::take(&mut unit));
        }
    }
    assert!(unit.is_empty());
    units
}

#[test]
fn an_access_unit_is_one_packet_with_one_au_header() {
    let mut buffer = PacketBuffer::default();
    payloader(1_400).payload(&[1, 2, 3], true, &mut buffer).expect("fits");
    assert_eq!(buffer.octets()[RTP_HEADER_LEN..], [0, 16, 0, 3 << 3, 1, 2, 3]);
    assert_eq!(buffer.packets().len(), 1);
    assert!(buffer.packets()[0].marker);
}

#[test]
fn two_access_units_share_a_packet_with_two_au_headers() {
    let mut buffer = PacketBuffer::default();
    payloader(1_400).payload_together(&[1, 2, 3, 4, 5], &[3, 2], true, &mut buffer).expect("fits");
    assert_eq!(buffer.octets()[RTP_HEADER_LEN..], [0, 32, 0, 3 << 3, 0, 2 << 3, 1, 2, 3, 4, 5]);
    assert_eq!((buffer.packets().len(), buffer.packets()[0].marker), (1, true));
    let before = buffer.octets().to_vec();
    for (octets, sizes, error) in [
        (&[0; 1383][..], [700, 683], PayloadError::TooLarge { size: 1389, limit: 1388 }),
        (&[0; 5], [5, 0], PayloadError::Empty),
        (&[0; 5], [3, 3], PayloadError::Empty),
    ] {
        assert_eq!(payloader(1_400).payload_together(octets, &sizes, true, &mut buffer), Err(error));
        assert_eq!(buffer.octets(), before);
    }
    payloader(1_400).payload_together(&[0; 1382], &[700, 682], true, &mut buffer).expect("fits");
}

#[test]
fn access_units_that_are_empty_or_beyond_thirteen_bits_are_refused() {
    let mut buffer = PacketBuffer::default();
    assert_eq!(payloader(1_400).payload(&[], true, &mut buffer), Err(PayloadError::Empty));
    let too_large = payloader(1_400).payload(&[0; 8_192], true, &mut buffer);
    assert_eq!(too_large, Err(PayloadError::TooLarge { size: 8_192, limit: 8_191 }));
    assert!(buffer.packets().is_empty());
}

#[test]
fn the_description_is_what_players_read() {
    let stereo = payloader(1_400);
    assert_eq!(stereo.encoding_name(), "mpeg4-generic/48000/2");
    assert_eq!(
        stereo.format_parameters(),
        "streamtype=5;profile-level-id=41;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190"
    );
    let level = |codec: Codec| {
        let parameters = Payloader::new(&codec, 1_400).expect("sound").format_parameters();
        let value = parameters.split(';').find_map(|parameter| parameter.strip_prefix("profile-level-id=")).expect("is there");
        value.parse::<u8>().expect("a number")
    };
    assert_eq!(level(codec(6, 48_000, &[0x11, 0xb0])), 42, "5.1");
    assert_eq!(level(codec(2, 22_050, &[0x2b, 0x92, 0x08, 0x00])), 44, "HE-AAC");
    assert_eq!(level(codec(2, 22_050, &[0xeb, 0x8a, 0x08, 0x00])), 48, "HE-AAC v2");
}

#[test]
fn a_clock_of_zero_is_refused() {
    assert_eq!(Payloader::new(&codec(2, 0, &[0x11, 0x90]), 1_400).err(), Some(PayloadError::Clock));
}

proptest! {
    #[test]
    fn what_is_received_is_what_was_sent(units in proptest::collection::vec(prop_oneof![1usize..=8_191, 1usize..400], 1..6), max_packet in 64usize..3_000) {
        let mut buffer = PacketBuffer::default();
        let units: Vec<Vec<u8>> = units.iter().map(|&size| (0..size).map(|at| (at * 31 + size) as u8).collect()).collect();
        for pair in units.chunks(2) {
            let sizes: Vec<usize> = pair.iter().map(Vec::len).collect();
            if payloader(max_packet).payload_together(&pair.concat(), &sizes, true, &mut buffer).is_err() {
                for unit in pair {
                    payloader(max_packet).payload(unit, true, &mut buffer).expect("fits");
                }
            }
        }
        prop_assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
        prop_assert_eq!(depacketise(&buffer), units);
    }
}
