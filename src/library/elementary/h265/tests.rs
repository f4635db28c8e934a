use super::*;

/// Of a stream that x265 made, 320x180 at 25 pictures a second, with B-pictures.
const VIDEO: [u8; 24] = [0x40, 1, 0x0c, 1, 0xff, 0xff, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3c, 0x95, 0x94, 9];
const SEQUENCE: [u8; 43] = [
    0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3c, 0xa0, 0x0a, 8, 0x0c, 0x1f, 0x3e, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0,
    0x5a, 2, 0, 0, 3, 0, 2, 0, 0, 3, 0, 0x32, 0x10,
];
const PICTURE: [u8; 6] = [0x44, 1, 0xc0, 0x73, 0xc1, 0x89];
/// The beginnings of its first slices.
const SLICES: [&[u8]; 5] = [
    &[0x28, 1, 0xac, 0x74, 0xc2, 0xea, 0x8b],
    &[2, 1, 0xd0, 0x21, 0x49, 0x88, 0x3a],
    &[2, 1, 0xe0, 0x44, 0x95, 0x60, 0x81],
    &[0, 1, 0xe0, 0x24, 0xfd, 0x7a, 0x24],
    &[0, 1, 0xe0, 0x66, 0xb5, 0xe0, 0x81],
];

fn stream() -> H265 {
    let mut stream = H265::default();
    for set in [&VIDEO[..], &SEQUENCE, &PICTURE] {
        assert_eq!(stream.section(set), Role::Before);
    }
    stream
}

#[test]
fn parameter_sets_say_size_profile_and_rate() {
    let sequence = SequenceParameters::parse(&SEQUENCE).expect("a set");
    assert_eq!((sequence.width, sequence.height, sequence.temporal_layers, sequence.order_bits), (320, 180, 1, 8));
    assert_eq!((sequence.profile.idc, sequence.profile.level_idc, sequence.profile.is_high_tier), (1, 60, false));
    assert_eq!((sequence.profile.constraints, sequence.frame_rate), ([0x90, 0, 0, 0, 0, 0], Some((25, 1))));
    for len in 0..24 {
        assert_eq!(SequenceParameters::parse(&SEQUENCE[..len]), None, "{len} octets");
    }
    let Some(Codec::H265(config)) = stream().codec() else { panic!("H.265") };
    assert_eq!((config.video_parameter_sets, config.picture_parameter_sets), (vec![VIDEO.to_vec()], vec![PICTURE.to_vec()]));
}

#[test]
fn pictures_have_an_order_and_further_slices_belong_to_them() {
    let mut stream = stream();
    let mut orders = Vec::new();
    for slice in SLICES {
        let Role::Picture(picture) = stream.section(slice) else { panic!("a picture") };
        orders.push((picture.order / 2, picture.is_key));
        let further = [&slice[..2], &[slice[2] & 0x7f], &slice[3..]].concat();
        assert_eq!(stream.section(&further), Role::SamePicture);
    }
    assert_eq!(orders, [(0, true), (4, false), (2, false), (1, false), (3, false)]);
    assert_eq!(stream.section(&[38 << 1, 1, 0x80]), Role::Behind, "filler data");
    assert_eq!(stream.section(&[2, 9, 0xd0, 0x21]), Role::Behind, "another layer");
}

proptest::proptest! {
    #[test]
    fn noise_never_panics(nals in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), 0..20)) {
        let mut stream = stream();
        for nal in &nals {
            for kind in [32u8, 33, 34, 19, 21, 1, 0, 9, 39] {
                stream.section(&[&[kind << 1, 1], &nal[..]].concat());
            }
        }
    }
}
