use super::*;

/// Of a stream that x264 made, 320x180 at 25 pictures a second, with B-pictures.
const SEQUENCE: [u8; 24] =
    [0x67, 0x4d, 0x40, 0x0c, 0xec, 0xa0, 0xa0, 0xcf, 0xcf, 0x80, 0x88, 0, 0, 3, 0, 8, 0, 0, 3, 1, 0x90, 0x78, 0xa1, 0x4c];
const PICTURE: [u8; 4] = [0x68, 0xce, 0x0f, 0xc8];
/// The beginnings of its first slices.
const SLICES: [&[u8]; 4] = [
    &[0x65, 0x88, 0x84, 0, 0xe8, 0x31, 0x80, 0x50, 0x40, 0x4e],
    &[0x41, 0x9a, 0x24, 0x0a, 0xf1, 0xb0, 0xa5, 0x4e, 0xe3],
    &[0x41, 0x9e, 0x42, 0x41, 0x2b, 0xc1, 0x07, 0x3e],
    &[0x01, 0x9e, 0x61, 0x41, 0x16, 0x19, 0xaa, 0x43],
];

fn stream() -> H264 {
    let mut stream = H264::default();
    assert_eq!(stream.section(&SEQUENCE), Role::Before);
    assert_eq!(stream.section(&PICTURE), Role::Before);
    stream
}

#[test]
fn parameter_sets_say_size_profile_and_rate() {
    let sequence = SequenceParameters::parse(&SEQUENCE).expect("a set");
    assert_eq!((sequence.width, sequence.height, sequence.profile_level_id), (320, 180, [0x4d, 0x40, 0x0c]));
    assert_eq!((sequence.order_type, sequence.has_frames_only, sequence.frame_rate), (0, true, Some((50, 2))));
    for len in 0..9 {
        assert_eq!(SequenceParameters::parse(&SEQUENCE[..len]), None, "{len} octets");
    }
    let Some(Codec::H264(config)) = stream().codec() else { panic!("H.264") };
    assert_eq!(config.sequence_parameter_sets, [SEQUENCE.to_vec()]);
    assert_eq!((config.picture_parameter_sets, config.framing), (vec![PICTURE.to_vec()], NalFraming::StartCodes));
}

#[test]
fn pictures_have_an_order_and_slices_of_one_belong_together() {
    let mut stream = stream();
    let mut orders = Vec::new();
    for slice in SLICES {
        let Role::Picture(picture) = stream.section(slice) else { panic!("a picture") };
        orders.push((picture.order, picture.is_key));
        assert_eq!(stream.section(slice), Role::SamePicture);
    }
    assert_eq!(orders, [(0, true), (8, false), (4, false), (2, false)]);
    assert_eq!(stream.section(&[0x0c, 0x80]), Role::Behind, "filler data");
}

#[test]
fn slices_without_parameter_sets_are_no_pictures() {
    assert_eq!(H264::default().section(SLICES[0]), Role::Behind);
}

#[test]
fn a_recovery_point_is_found_among_other_messages() {
    assert!(has_recovery_point(&[6, 6, 1, 0xc4, 0x80]));
    assert!(has_recovery_point(&[6, 0, 2, 1, 2, 6, 1, 0xc4, 0x80]));
    assert!(!has_recovery_point(&[6, 1, 2, 6, 1, 0x80]));
    assert!(!has_recovery_point(&[6, 5, 0xff, 0xff, 1, 6, 1]));
    assert!(!has_recovery_point(&[6]));
}

proptest::proptest! {
    #[test]
    fn noise_never_panics(nals in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), 0..20)) {
        let mut stream = stream();
        for nal in &nals {
            stream.section(nal);
        }
        for kind in [0x67u8, 0x68, 0x65, 0x41, 0x06] {
            for nal in &nals {
                stream.section(&[&[kind], &nal[..]].concat());
            }
        }
    }
}
