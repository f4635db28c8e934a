//! Pictures and sound other than H.264, H.265 and AAC: out of what our own payload formats describe and send, and out of packets as others
//! make them.

use proptest::prelude::*;

use super::announced::{Announced, AnnouncedTrack, Coding};
use super::depacketizer::{Depacketizer, Payload, PayloadFault, Received};
use super::tests::payloads;
use super::vorbis::unpack;
use crate::library::elementary::vorbis::tests::{identification, setup};
use crate::library::{Codec, Mpeg4VisualConfig, PictureSize, SoundFormat, VorbisConfig, Vp9Config};
use crate::payload::Payloader;

const SIZE: PictureSize = PictureSize { width: 64, height: 36 };
const STEREO: SoundFormat = SoundFormat { sample_rate: 44_100, channels: 2 };
/// The headers of pictures of that size as FFmpeg writes them.
const MPEG4_HEADERS: [u8; 30] =
    [0, 0, 1, 0xb0, 1, 0, 0, 1, 0xb5, 0x89, 0x13, 0, 0, 1, 0, 0, 0, 1, 0x20, 0, 0xc4, 0x8d, 0x88, 0, 0xcd, 2, 4, 4, 0x94, 0x43];
const MPEG2_SEQUENCE: [u8; 22] = [0, 0, 1, 0xb3, 4, 0, 0x24, 0x33, 0xff, 0xff, 0xe0, 0x18, 0, 0, 1, 0xb5, 0x14, 0x8a, 0, 1, 0, 0];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Vp8,
    Vp9,
    Mpeg2,
    Mpeg4,
    Mp3,
    Ac3,
    Vorbis,
}

const KINDS: [Kind; 7] = [Kind::Vp8, Kind::Vp9, Kind::Mpeg2, Kind::Mpeg4, Kind::Mp3, Kind::Ac3, Kind::Vorbis];

impl Kind {
    fn codec(self) -> Codec {
        match self {
            Self::Vp8 => Codec::Vp8(SIZE),
            Self::Vp9 => Codec::Vp9(Vp9Config { profile: 0, size: SIZE }),
            Self::Mpeg2 => Codec::Mpeg2Video(SIZE),
            Self::Mpeg4 => {
                Codec::Mpeg4Visual(Mpeg4VisualConfig { headers: MPEG4_HEADERS.to_vec(), width: SIZE.width, height: SIZE.height })
            }
            Self::Mp3 => Codec::MpegAudio(STEREO),
            Self::Ac3 => Codec::Ac3(SoundFormat { sample_rate: 48_000, channels: 2 }),
            Self::Vorbis => Codec::Vorbis(VorbisConfig {
                sample_rate: 44_100,
                channels: 2,
                identification: identification(),
                comment: b"\x03vorbis\0\0\0\0\0\0\0\0\x01".to_vec(),
                setup: setup(&[(false, 0), (true, 1)], 3),
            }),
        }
    }

    /// An access unit of about so many octets, none of them zero behind its headers.
    fn unit(self, size: usize, key: bool) -> Vec<u8> {
        let head: Vec<u8> = match (self, key) {
            (Self::Vp8, true) => vec![0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 36, 0],
            (Self::Vp8, false) => vec![0x11, 2, 0],
            (Self::Vp9, true) => vec![0x82, 0x49, 0x83, 0x42, 0, 3, 0xf0, 2, 0x30],
            (Self::Vp9, false) => vec![0x86],
            (Self::Mpeg2, true) => [&MPEG2_SEQUENCE[..], &[0, 0, 1, 0, 0, 0x0f, 0xff, 0xf8, 0, 0, 1, 1]].concat(),
            (Self::Mpeg2, false) => vec![0, 0, 1, 0, 0, 0x57, 0xff, 0xf8, 0x80, 0, 0, 1, 1],
            (Self::Mpeg4, _) => vec![0, 0, 1, 0xb6, if key { 0x10 } else { 0x50 }],
            (Self::Mp3, _) => vec![0xff, 0xfb, 0x90, 0x64],
            (Self::Ac3, _) => vec![0x0b, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xe1],
            (Self::Vorbis, _) => vec![if size.is_multiple_of(2) { 2 } else { 0 }],
        };
        let size = match self {
            Self::Mp3 => 417,
            Self::Ac3 => 768,
            _ => size.max(head.len() + 1),
        };
        let noise = (0..size - head.len()).map(|at| (at % 251) as u8 + 1);
        [head.clone(), noise.collect()].concat()
    }

    const fn is_sound(self) -> bool {
        matches!(self, Self::Mp3 | Self::Ac3 | Self::Vorbis)
    }
}

/// The track as our own description of it announces it.
fn track(codec: &Codec) -> AnnouncedTrack {
    let payloader = Payloader::new(codec, 1_200).expect("a format");
    let (kind, name, parameters) = (codec.kind(), payloader.encoding_name(), payloader.format_parameters());
    let text = format!("v=0\r\ns=x\r\nm={kind} 0 RTP/AVP 96\r\na=rtpmap:96 {name}\r\na=fmtp:96 {parameters}\r\n");
    Announced::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).tracks.remove(0)
}

fn drain(depacketizer: &mut Depacketizer) -> Vec<Received> {
    std::iter::from_fn(|| depacketizer.poll()).collect()
}

fn payload(timestamp: i64, marker: bool, octets: &[u8]) -> Payload<'_> {
    Payload { timestamp, marker, octets }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is lost: access units of which everything came are there as they were, all others are not.
    #[test]
    fn access_units_come_whole_or_not_at_all(
        sizes in proptest::collection::vec((1..4_000_usize, any::<bool>()), 1..8),
        max_packet in 160..1_400_usize,
        lost in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        for kind in KINDS {
            let codec = kind.codec();
            let mut depacketizer = Depacketizer::new(&track(&codec));
            let mut payloader = Payloader::new(&codec, max_packet).expect("a format");
            // The first one is a key picture, which says how all are coded.
            let keys = sizes.iter().enumerate().map(|(number, (size, key))| (*size, *key || number == 0));
            let units: Vec<(Vec<u8>, bool)> = keys.map(|(size, key)| (kind.unit(size, key), key)).collect();
            let mut packets = Vec::new();
            for (number, (unit, key)) in units.iter().enumerate() {
                packets.extend(payloads(&mut payloader, unit, *key).into_iter().map(|(octets, marker)| (number, octets, marker)));
            }
            let lost: Vec<usize> = lost.iter().map(|index| index.index(packets.len())).collect();
            let (mut got, mut missing) = (Vec::new(), false);
            for (position, (number, octets, marker)) in packets.iter().enumerate() {
                if lost.contains(&position) {
                    missing = true;
                    continue;
                }
                if std::mem::take(&mut missing) {
                    depacketizer.handle_loss();
                }
                let outcome = depacketizer.handle_payload(&payload(*number as i64 * 100_000, *marker, octets));
                prop_assert!(outcome.is_ok() || !lost.is_empty(), "{kind:?}: {outcome:?}");
                got.extend(drain(&mut depacketizer));
            }
            if missing {
                depacketizer.handle_loss();
            }
            depacketizer.finish();
            prop_assert_eq!(drain(&mut depacketizer), vec![]);
            let is_whole = |number: usize| !packets.iter().enumerate().any(|(at, (of, ..))| *of == number && lost.contains(&at));
            let expected: Vec<_> = units.iter().enumerate().filter(|(number, _)| is_whole(*number)).collect();
            prop_assert_eq!(got.len(), expected.len(), "{:?}", kind);
            for (received, (number, (unit, key))) in got.iter().zip(expected) {
                prop_assert_eq!((received.timestamp, &received.octets), (number as i64 * 100_000, unit));
                prop_assert_eq!(received.random_access, *key || kind.is_sound(), "{:?}", kind);
                prop_assert_eq!(received.duration.is_some(), kind.is_sound());
            }
            if is_whole(0) {
                prop_assert_eq!(depacketizer.codec(), Some(&codec));
            }
        }
    }

    /// Payloads of anything make none of them panic, and give nothing that is empty.
    #[test]
    fn no_payloads_make_them_panic(noise in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..40)) {
        for kind in KINDS {
            let (codec, start) = (kind.codec(), kind.unit(60, true));
            let mut depacketizer = Depacketizer::new(&track(&codec));
            let first = payloads(&mut Payloader::new(&codec, 160).expect("a format"), &start, true);
            for (number, (octets, marker)) in noise.iter().enumerate() {
                // Half of it begins as what is meant.
                let begun = &first[number % first.len()].0;
                let octets = if *marker { [&begun[..begun.len().min(number % 40)], octets].concat() } else { octets.clone() };
                let _ = depacketizer.handle_payload(&payload(number as i64 / 3, *marker, &octets));
                prop_assert!(drain(&mut depacketizer).iter().all(|unit| !unit.octets.is_empty()));
            }
            depacketizer.finish();
        }
    }
}

#[test]
fn several_frames_of_sound_in_a_packet_have_their_own_times() {
    let frame = Kind::Mp3.unit(0, true);
    let mut depacketizer = Depacketizer::new(&track(&Kind::Mp3.codec()));
    let packet = [&[0; 4][..], &frame, &frame, &frame].concat();
    depacketizer.handle_payload(&payload(90_000, false, &packet)).expect("three frames");
    let times: Vec<_> = drain(&mut depacketizer).iter().map(|unit| (unit.timestamp, unit.duration)).collect();
    assert_eq!(times, [(90_000, Some(2_351)), (92_351, Some(2_351)), (94_702, Some(2_351))]);
    let cut = [&[0; 4][..], &frame, &frame[..100]].concat();
    assert_eq!(depacketizer.handle_payload(&payload(0, false, &cut)), Err(PayloadFault::Malformed), "a fragment shares no packet");
    let slower = [&[0, 0, 0, 0, 0xff, 0xf3, 0x84, 0xc4][..], &[1; 188]].concat();
    drain(&mut depacketizer);
    assert_eq!(depacketizer.handle_payload(&payload(0, false, &slower)), Err(PayloadFault::Malformed), "another sampling rate");

    let Codec::Vorbis(config) = Kind::Vorbis.codec() else { panic!("Vorbis is Vorbis") };
    let track = track(&Codec::Vorbis(config));
    let Coding::Vorbis { ident: [a, b, c], .. } = track.coding else { panic!("{track:?}") };
    let mut depacketizer = Depacketizer::new(&track);
    // Of a short and two long blocks.
    let packet = [a, b, c, 3, 0, 2, 0, 9, 0, 1, 2, 0, 3, 2, 8, 8];
    depacketizer.handle_payload(&payload(500, false, &packet)).expect("three packets");
    let times: Vec<_> = drain(&mut depacketizer).iter().map(|unit| (unit.timestamp, unit.octets.len())).collect();
    assert_eq!(times, [(500, 2), (628, 1), (1_204, 3)]);
    let others = [a, b, c ^ 1, 1, 0, 1, 2];
    assert_eq!(depacketizer.handle_payload(&payload(0, false, &others)), Ok(()), "another configuration is passed over");
    assert_eq!(depacketizer.handle_payload(&payload(0, false, &[a, b, c, 2, 0, 1, 2])), Err(PayloadFault::Malformed), "one of two");
    assert_eq!(drain(&mut depacketizer).len(), 1);
}

#[test]
fn payload_descriptors_of_others_are_read() {
    let table: [(Kind, &[u8], bool); 12] = [
        (Kind::Vp8, &[0x10], true),
        // FFmpeg's: a picture number. WebRTC's: one of 15 bits, TL0PICIDX, and a layer with a key index.
        (Kind::Vp8, &[0x90, 0x80, 0x05], true),
        (Kind::Vp8, &[0xb0, 0xf0, 0x92, 0x34, 7, 0x61], true),
        (Kind::Vp8, &[0x11], false),
        (Kind::Vp8, &[0x00], false),
        (Kind::Vp9, &[0x0c], true),
        // A picture number with layers in non-flexible mode, and in flexible mode with two references.
        (Kind::Vp9, &[0xac, 0x81, 0x23, 0x00, 0x05], true),
        (Kind::Vp9, &[0xfc, 0x12, 0x20, 0x03, 0x04], true),
        // A structure of one layer with its size and of two pictures, the second of which has a reference.
        (Kind::Vp9, &[0x0e, 0x18, 0, 64, 0, 36, 2, 0x00, 0x04, 0x01], true),
        (Kind::Vp9, &[0x04], false),
        // A spatial layer above the first; four references.
        (Kind::Vp9, &[0x2c, 0x02, 0x05], false),
        (Kind::Vp9, &[0x5c, 1, 1, 1, 0], false),
    ];
    for (kind, descriptor, is_taken) in table {
        let unit = kind.unit(40, true);
        let mut depacketizer = Depacketizer::new(&track(&kind.codec()));
        let outcome = depacketizer.handle_payload(&payload(1, true, &[descriptor, &unit].concat()));
        let got = drain(&mut depacketizer);
        assert_eq!((outcome.is_ok(), got.len()), (is_taken, usize::from(is_taken)), "{kind:?} {descriptor:02x?}: {outcome:?}");
        assert!(got.iter().all(|received| received.octets == unit && received.random_access));
        for cut in 0..descriptor.len() {
            assert!(depacketizer.handle_payload(&payload(2, true, &descriptor[..cut])).is_err(), "{descriptor:02x?} to {cut}");
        }
    }
}

#[test]
fn fields_of_a_frame_come_together_or_each_by_itself() {
    // The picture header, and the picture coding extension that says which field it is.
    let first = [&MPEG2_SEQUENCE[..], &[0, 0, 1, 0, 0, 0x0f, 0xff, 0xf8, 0, 0, 1, 0xb5, 0x8f, 0xff, 0xf1, 0x80, 0, 0, 0, 1, 1, 7]].concat();
    let second = [0, 0, 1, 0, 0, 0x17, 0xff, 0xf8, 0x80, 0, 0, 1, 0xb5, 0x8f, 0xff, 0xf2, 0x80, 0, 0, 0, 1, 1, 9];
    let packet = |octets: &[u8]| [&[0; 4], octets].concat();
    for (behind, is_marked) in [(1_800, true), (1_800, false), (0, true), (0, false)] {
        let mut depacketizer = Depacketizer::new(&track(&Kind::Mpeg2.codec()));
        for frame in 0..3 {
            let at = frame * 3_600;
            depacketizer.handle_payload(&payload(at, is_marked, &packet(&first))).expect("a field");
            depacketizer.handle_payload(&payload(at + behind, true, &packet(&second))).expect("a field");
            let got = drain(&mut depacketizer);
            let got: Vec<_> = got.iter().map(|unit| (unit.timestamp, unit.random_access, &unit.octets[..])).collect();
            if is_marked || behind > 0 {
                assert_eq!(got, [(at, true, &first[..]), (at + behind, false, &second[..])], "{behind} {is_marked}");
            } else {
                assert_eq!(got, [(at, true, &[&first[..], &second].concat()[..])]);
            }
        }
        assert_eq!(depacketizer.damaged(), 0);
    }
}

#[test]
fn nothing_is_joined_over_a_fragment_that_is_none() {
    let track = track(&Kind::Vorbis.codec());
    let Coding::Vorbis { ident: [a, b, c], .. } = track.coding else { panic!("{track:?}") };
    let fragment = |kind: u8, octets: &[u8]| [&[a, b, c, kind << 6, 0, octets.len() as u8], octets].concat();
    let broken = [fragment(2, &[]), fragment(2, &[1, 2])[..7].to_vec(), vec![a, b, c]];
    for broken in broken {
        let mut depacketizer = Depacketizer::new(&track);
        let mut feed = |octets: &[u8]| depacketizer.handle_payload(&payload(0, false, octets));
        feed(&fragment(1, &[2, 3])).expect("it begins");
        assert_eq!(feed(&broken), Err(PayloadFault::Malformed), "{broken:?}");
        assert_eq!(feed(&fragment(3, &[4])), Err(PayloadFault::NoBeginning), "{broken:?}");
        feed(&fragment(1, &[2, 3])).and_then(|()| feed(&fragment(3, &[4]))).expect("both fragments");
        assert_eq!((drain(&mut depacketizer).len(), depacketizer.damaged()), (1, 1), "{broken:?}");
    }
}

#[test]
fn packed_headers_are_read_as_others_write_them() {
    let (head, body) = (identification(), setup(&[(true, 0)], 0));
    // As FFmpeg: no comment header.
    let [high, low] = ((head.len() + body.len()) as u16).to_be_bytes();
    let packed = [&[0, 0, 0, 1, 0xfe, 0xcd, 0xba, high, low, 2, head.len() as u8, 0][..], &head, &body].concat();
    let (ident, config) = unpack(&packed).expect("headers");
    assert_eq!((ident, config.comment.len(), &config.setup, config.sample_rate), ([0xfe, 0xcd, 0xba], 0, &body, 44_100));
    assert!((0..packed.len()).all(|cut| unpack(&packed[..cut]).is_none()));
    let endless = [&packed[..10], &[0xff; 200]].concat();
    assert_eq!(unpack(&endless), None);
}
