use super::*;
use crate::library::elementary::pictures::{Pictures, Unit};
use crate::library::elementary::start_code::Place;

/// 720 × 576 at 25 pictures a second.
const HEADER: [u8; 12] = [0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33, 0, 0, 0x20, 0];
const SLICE: [u8; 7] = [0, 0, 1, 1, 0x12, 0x34, 0];

fn picture(reference: u16, kind: u8) -> Vec<u8> {
    [&[0, 0, 1, 0, (reference >> 2) as u8, (reference << 6) as u8 | kind << 3, 0, 0][..]].concat()
}

fn coding_extension(structure: u8) -> Vec<u8> {
    vec![0, 0, 1, 0xb5, 0x8f, 0xff, 0xf0 | structure, 0x80, 0]
}

fn group() -> Vec<u8> {
    vec![0, 0, 1, 0xb8, 0, 8, 0, 0x40]
}

fn read(stream: &[u8]) -> (Vec<Unit>, Option<Codec>, Option<(u32, u32)>) {
    let mut pictures = Pictures::new(Box::new(MpegVideo::default()), limit);
    let mut position = 0;
    for piece in stream.chunks(5) {
        pictures.feed(piece, Place { position, offset: position });
        position += piece.len() as u64;
    }
    pictures.finish();
    let units = pictures.take().collect();
    (units, pictures.coding().codec(), pictures.coding().frame_rate())
}

fn orders(units: &[Unit]) -> Vec<i64> {
    units.iter().map(|unit| unit.picture.order / 2).collect()
}

#[test]
fn an_access_unit_has_the_headers_before_its_picture() {
    let first = [&HEADER[..], &group(), &picture(0, 1), &SLICE].concat();
    let second = [&picture(1, 2)[..], &SLICE].concat();
    let (units, codec, rate) = read(&[&first[..], &second, &first].concat());
    let sizes: Vec<_> = units.iter().map(|unit| (unit.start.position, unit.size, unit.picture.is_key)).collect();
    let (one, two) = (first.len() as u64, second.len() as u64);
    assert_eq!(sizes, [(0, one, true), (one, two, false), (one + two, one, true)], "a slice may end with a zero");
    assert_eq!((codec, rate), (Some(Codec::Mpeg2Video(PictureSize { width: 720, height: 576 })), Some((25, 1))));
}

#[test]
fn two_fields_are_one_picture_and_two_frames_are_two() {
    let with = |structure: u8| {
        let one = |kind| [&picture(0, kind)[..], &coding_extension(structure), &SLICE].concat();
        read(&[&HEADER[..], &one(1), &one(2), &one(2), &one(2)].concat()).0
    };
    let fields = with(1);
    assert_eq!(fields.len(), 2);
    assert!(fields[0].picture.is_key && fields[0].last_position > fields[0].code_position);
    assert_eq!(with(3).len(), 4);
}

#[test]
fn order_goes_on_over_groups_and_where_references_run_over() {
    let pictures =
        |references: &[u16]| references.iter().flat_map(|number| [&picture(*number, 2)[..], &SLICE].concat()).collect::<Vec<_>>();
    let (grouped, ..) = read(&[&HEADER[..], &group(), &pictures(&[0, 3, 1, 2]), &group(), &pictures(&[2, 0, 1])].concat());
    assert_eq!(orders(&grouped), [0, 3, 1, 2, 6, 4, 5]);
    let (endless, ..) = read(&[&HEADER[..], &pictures(&[1_022, 1, 1_023, 0, 4])].concat());
    assert_eq!(orders(&endless), [1_022, 1_025, 1_023, 1_024, 1_028]);
}

#[test]
fn decoding_starts_only_where_a_sequence_header_is() {
    let (units, ..) = read(&[&HEADER[..], &picture(0, 1), &SLICE, &group(), &picture(0, 1), &SLICE].concat());
    assert_eq!(units.iter().map(|unit| (unit.picture.is_key, unit.picture.is_intra)).collect::<Vec<_>>(), [(true, true), (false, true)]);
}

#[test]
fn extensions_say_more_of_size_and_rate() {
    // Progressive, 4:2:0, size extensions 1 and 0, frame_rate_extension 1/1: twice as many in twice the time.
    let extension = [0, 0, 1, 0xb5, 0x14, 0x8a, 0x80, 1, 0, 0b0010_0001];
    let (_, codec, rate) = read(&[&HEADER[..], &extension, &picture(0, 1), &SLICE].concat());
    assert_eq!(codec, Some(Codec::Mpeg2Video(PictureSize { width: 720 + 4_096, height: 576 })));
    assert_eq!(rate, Some((50, 2)));
    // Those of 4/32 again and again: each is of the header, not of the one before. Another header begins without.
    let extension = [0, 0, 1, 0xb5, 0x14, 0x8a, 0x80, 1, 0, 0b0111_1111];
    let again = extension.repeat(100);
    assert_eq!(read(&[&HEADER[..], &again, &picture(0, 1), &SLICE].concat()).2, Some((100, 32)));
    assert_eq!(read(&[&HEADER[..], &again, &HEADER, &picture(0, 1), &SLICE].concat()).2, Some((25, 1)));
}

#[test]
fn noise_is_no_panic() {
    proptest::proptest!(|(sections in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20), 0..40))| {
        let mut video = MpegVideo::default();
        for section in &sections {
            let _ = (video.section(section), video.codec(), video.frame_rate());
        }
    });
}
