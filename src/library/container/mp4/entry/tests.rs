use super::*;
use crate::library::codec::H265Profile;
use crate::library::codec::{Av1Config, NalFraming, Vp9Config};
use crate::library::container::mp4::boxes::decode;
use crate::library::container::mp4::tests::{avc1, boxed, mp4a};

fn descriptions(entries: &[Vec<u8>]) -> Vec<u8> {
    [&[0, 0, 0, 0, 0, 0, 0, entries.len() as u8][..], &entries.concat()].concat()
}

fn video_entry(configuration: &[u8]) -> Vec<u8> {
    boxed(b"avc1", [vec![0; 78], boxed(b"avcC", configuration)].concat())
}

#[test]
fn the_description_that_the_track_uses_is_read() {
    let both = descriptions(&[avc1(), mp4a()]);
    assert_eq!(codec(&both, &[]).expect("the first").name(), "h264");
    assert_eq!(codec(&both, &[2]).expect("the second").name(), "aac");
    assert_eq!(codec(&both, &[3]), Err("its sample description is broken".into()));
    assert_eq!(codec(&both, &[0]), Err("its sample description is broken".into()));
    assert_eq!(codec(&both, &[1, 2]), Err("its coding changes midway".into()));
}

#[test]
fn octets_behind_the_parameter_sets_do_not_matter() {
    let sets = [1, 0x64, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2];
    let plain = codec(&descriptions(&[video_entry(&sets)]), &[1]).expect("sound");
    let behind = [&sets[..], &[0xfd, 0xf8, 0xf8, 9, 9]].concat();
    assert!(decode::<mp4_atom::Avcc>(&behind).is_none(), "a strict reader gives up");
    assert_eq!(codec(&descriptions(&[video_entry(&behind)]), &[1]).expect("sound"), plain);
    assert_eq!(codec(&descriptions(&[video_entry(&sets[..12])]), &[1]), Err("its H.264 configuration is broken".into()));
    let three = [&[1, 0x64, 0, 30, 0xfe][..], &sets[5..]].concat();
    assert!(codec(&descriptions(&[video_entry(&three)]), &[1]).is_err(), "lengths of three octets do not exist");
}

#[test]
fn h265_is_read_with_its_parameter_sets_under_both_of_its_names() {
    // Profile Main, four sub-layers of which are known, lengths of four octets; SEI among the parameter sets.
    let head = [[1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93].as_slice(), &[0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x27]].concat();
    let array = |kind: u8, sets: &[&[u8]]| {
        let sized = sets.iter().flat_map(|set| [&(set.len() as u16).to_be_bytes()[..], set].concat());
        [&[0x80 | kind, 0, sets.len() as u8][..], &sized.collect::<Vec<u8>>()].concat()
    };
    let arrays = [array(32, &[&[0x40, 1]]), array(33, &[&[0x42, 1, 7]]), array(34, &[&[0x44, 1], &[]]), array(39, &[&[0x4e, 1]])];
    let body = [&head[..], &[4], &arrays.concat()].concat();
    let mut fields = vec![0; 78];
    fields[24..28].copy_from_slice(&[2, 0x80, 1, 0x68]);
    let entry = |name: &[u8; 4], body: &[u8]| boxed(name, [fields.clone(), boxed(b"hvcC", body)].concat());
    for name in [b"hvc1", b"hev1"] {
        let Ok(Codec::H265(config)) = codec(&descriptions(&[entry(name, &body)]), &[1]) else { panic!("H.265") };
        assert_eq!((config.width, config.height, config.framing, config.temporal_layers), (640, 360, NalFraming::Length(4), 4));
        let constraints = [0x90, 0, 0, 0, 0, 0];
        assert_eq!(config.profile, H265Profile { space: 0, idc: 1, is_high_tier: false, level_idc: 93, constraints });
        assert_eq!((config.video_parameter_sets, config.sequence_parameter_sets), (vec![vec![0x40, 1]], vec![vec![0x42, 1, 7]]));
        assert_eq!(config.picture_parameter_sets, [vec![0x44, 1]], "an empty one is none");
        assert_eq!(config.messages, [vec![0x4e, 1]]);
    }
    for (len, name) in [(body.len() - 1, "cut short"), (20, "without its end"), (0, "empty")] {
        let broken = codec(&descriptions(&[entry(b"hvc1", &body[..len])]), &[1]);
        assert_eq!(broken, Err("its H.265 configuration is broken".into()), "{name}");
    }
    assert_eq!(codec(&descriptions(&[boxed(b"hvc1", vec![0; 78])]), &[1]), Err("its H.265 configuration is missing".into()));
    let three = [&head[..21], &[0x26, 0]].concat();
    assert!(codec(&descriptions(&[entry(b"hvc1", &three)]), &[1]).is_err(), "lengths of three octets do not exist");
}

/// A visual sample entry of 320 by 240.
fn visual(name: &[u8; 4], boxes: &[u8]) -> Vec<u8> {
    let mut fields = [0; 78];
    fields[24..28].copy_from_slice(&[1, 64, 0, 240]);
    boxed(name, [&fields[..], boxes].concat())
}

fn one_of(entry: Vec<u8>) -> Result<Codec, String> {
    codec(&descriptions(&[entry]), &[1])
}

const SIZE: PictureSize = PictureSize { width: 320, height: 240 };

#[test]
fn av1_is_read_with_what_is_told_beforehand() {
    // As ffmpeg writes it: Main profile, level 2.0; a sequence header.
    let obus = [0x0a, 0x0b, 0, 0, 0, 0x04, 0x3c, 0xff, 0xbc, 0x02, 0xf8, 0x00, 0x40];
    let body = [&[0x81, 0x28, 0x8c, 0][..], &obus].concat();
    let expected = Av1Config { profile: 1, level_idx: 8, tier: 1, sequence_header: obus.to_vec(), width: 320, height: 240 };
    assert_eq!(one_of(visual(b"av01", &boxed(b"av1C", &body))), Ok(Codec::Av1(expected)));
    assert_eq!(one_of(visual(b"av01", &boxed(b"av1C", [0x81, 0]))), Err("its AV1 configuration is broken".into()));
    assert_eq!(one_of(visual(b"av01", &[])), Err("its AV1 configuration is missing".into()));
    assert_eq!(one_of(boxed(b"av01", [0; 77])), Err("its sample description is cut short".into()));
}

#[test]
fn codings_that_need_no_configuration_are_known_by_name() {
    assert_eq!(one_of(visual(b"vp08", &[])), Ok(Codec::Vp8(SIZE)));
    let vp9 = |profile| Ok(Codec::Vp9(Vp9Config { profile, size: SIZE }));
    assert_eq!(one_of(visual(b"vp09", &boxed(b"vpcC", [1, 0, 0, 0, 2, 10, 0x80, 0, 0, 0, 0, 0]))), vp9(2));
    assert_eq!(one_of(visual(b"vp09", &boxed(b"vpcC", [1, 0, 0, 0, 4]))), vp9(0));
    assert_eq!(one_of(visual(b"vp09", &[])), vp9(0));
    assert_eq!(one_of(visual(b"jpeg", &[])), Ok(Codec::Jpeg(SIZE)));
    for name in [b"m2v1", b"mp1v", b"hdv2", b"xdv4", b"xd5b", b"mx5p"] {
        assert_eq!(one_of(visual(name, &[])), Ok(Codec::Mpeg2Video(SIZE)));
    }
    assert_eq!(one_of(boxed(b"vp09", [0; 70])), Err("its sample description is cut short".into()));
}

#[test]
fn mpeg4_video_is_coded_as_its_descriptor_says() {
    let descriptor = |kind: u8, specific: &[u8]| {
        let specific = [&[5, specific.len() as u8][..], specific].concat();
        let config = [&[kind, 0x11][..], &[0; 11], &specific].concat();
        let stream = [&[0, 1, 0, 4, config.len() as u8][..], &config, &[6, 1, 2]].concat();
        one_of(visual(b"mp4v", &boxed(b"esds", [&[0, 0, 0, 0, 3, stream.len() as u8][..], &stream].concat())))
    };
    let headers = [0, 0, 1, 0xb0, 0xf1, 0, 0, 1, 0xb5, 0xa9, 0x13];
    let expected = Mpeg4VisualConfig { headers: headers.to_vec(), width: 320, height: 240 };
    assert_eq!(descriptor(0x20, &headers), Ok(Codec::Mpeg4Visual(expected)));
    assert_eq!(descriptor(0x61, &[0, 0, 1, 0xb3]), Ok(Codec::Mpeg2Video(SIZE)));
    assert_eq!(descriptor(0x6a, &[]), Ok(Codec::Mpeg2Video(SIZE)));
    assert_eq!(descriptor(0x6c, &[]), Ok(Codec::Jpeg(SIZE)));
    assert_eq!(descriptor(0x6e, &[]), Err("MPEG-4 video of object type 0x6e is not supported".into()));
    assert_eq!(one_of(visual(b"mp4v", &[])), Err("its MPEG-4 video configuration is missing".into()));
}

#[test]
fn dolby_vision_is_its_base_layer_where_that_is_for_others() {
    let sets = boxed(b"avcC", [1, 0x64, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2]);
    let record = |compatibility: u8| {
        let mut record = [0; 24];
        record[..5].copy_from_slice(&[1, 0, 9 << 1, 0x15, compatibility << 4]);
        boxed(b"dvvC", record)
    };
    assert_eq!(one_of(visual(b"dvav", &[sets.clone(), record(2)].concat())).map(|codec| codec.name()), Ok("h264"));
    let refused = Err("it is Dolby Vision without a base layer for others".to_owned());
    assert_eq!(one_of(visual(b"dvav", &[sets.clone(), record(0)].concat())), refused);
    assert_eq!(one_of(visual(b"dvav", &sets)), refused, "nothing is said");
    assert_eq!(one_of(visual(b"dvh1", &record(1))), Err("its H.265 configuration is missing".into()));
    assert_eq!(one_of(visual(b"dav1", &record(1))), Err("its AV1 configuration is missing".into()));
}

#[test]
fn encrypted_and_unknown_codings_are_named() {
    assert_eq!(codec(&descriptions(&[boxed(b"encv", [])]), &[]), Err("it is encrypted".into()));
    assert_eq!(codec(&descriptions(&[boxed(b"qt\n1", [])]), &[]), Err("qt?1 is not supported".into()));
    assert_eq!(codec(&[], &[]), Err("its sample description is broken".into()));
}
