use super::*;

/// Writes bits, each with how many they are.
fn pack(fields: &[(u32, u32)]) -> Vec<u8> {
    let bits: Vec<u8> = fields.iter().flat_map(|(value, count)| (0..*count).rev().map(move |bit| (value >> bit & 1) as u8)).collect();
    bits.chunks(8).map(|octet| octet.iter().enumerate().fold(0, |sum, (place, bit)| sum | bit << (7 - place))).collect()
}

/// A layer of 320 × 240 with so many ticks a second, all else as ffmpeg writes it.
fn layer(resolution: u32) -> Vec<u8> {
    let start = [(0, 1), (1, 8), (1, 1), (1, 4), (1, 3), (1, 4), (1, 1), (1, 2), (0, 1), (0, 1), (0, 2), (1, 1)];
    let rest = [(resolution, 16), (1, 1), (0, 1), (1, 1), (320, 13), (1, 1), (240, 13), (1, 1), (0xff, 8)];
    pack(&[&start[..], &rest].concat())
}

fn vop(kind: u32, seconds: u32, ticks: u32) -> Vec<u8> {
    let modulo = (0..seconds).map(|_| (1, 1));
    let fields: Vec<_> = [(u32::from(VOP), 8), (kind, 2)].into_iter().chain(modulo).chain([(0, 1), (1, 1), (ticks, 5), (1, 1)]).collect();
    pack(&fields)
}

fn described() -> Mpeg4Visual {
    let mut video = Mpeg4Visual::default();
    for head in [vec![SEQUENCE, 1], vec![VISUAL_OBJECT, 0x89, 0x13], vec![0], [vec![0x20], layer(25)].concat()] {
        assert_eq!(video.section(&head), Role::Before);
    }
    video
}

#[test]
fn headers_before_the_first_picture_are_the_description() {
    let mut video = described();
    assert!(matches!(video.section(&vop(0, 0, 0)), Role::Picture(Picture { is_key: true, .. })));
    video.section(&[SEQUENCE, 7]);
    let headers = [&[0, 0, 1, 0xb0, 1, 0, 0, 1, 0xb5, 0x89, 0x13, 0, 0, 1, 0, 0, 0, 1, 0x20][..], &layer(25)].concat();
    assert_eq!(video.codec(), Some(Codec::Mpeg4Visual(Mpeg4VisualConfig { headers, width: 320, height: 240 })));
    assert_eq!(video.frame_rate(), Some((25, 1)));
}

#[test]
fn pictures_have_the_order_of_their_times() {
    let mut video = described();
    let coded = [(0, 0, 0), (1, 0, 24), (2, 0, 23), (1, 1, 2), (2, 1, 0), (2, 1, 1), (0, 1, 0), (2, 0, 3)];
    let orders = coded.map(|(kind, seconds, ticks)| match video.section(&vop(kind, seconds, ticks)) {
        Role::Picture(picture) => picture.order / 2,
        other => panic!("{other:?}"),
    });
    assert_eq!(orders, [0, 24, 23, 27, 25, 26, 50, 28]);
}

#[test]
fn noise_is_no_panic() {
    proptest::proptest!(|(sections in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..40))| {
        let mut video = described();
        for section in &sections {
            let _ = (video.section(section), video.codec(), video.frame_rate());
        }
        proptest::prop_assert!(video.headers.len() < 2 * MAX_HEADERS);
    });
}
