use super::*;
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
    assert!(decode::<Avcc>(&behind).is_none(), "a strict reader gives up");
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
    }
    for (len, name) in [(body.len() - 1, "cut short"), (20, "without its end"), (0, "empty")] {
        let broken = codec(&descriptions(&[entry(b"hvc1", &body[..len])]), &[1]);
        assert_eq!(broken, Err("its H.265 configuration is broken".into()), "{name}");
    }
    assert_eq!(codec(&descriptions(&[boxed(b"hvc1", vec![0; 78])]), &[1]), Err("its H.265 configuration is missing".into()));
    let three = [&head[..21], &[0x26, 0]].concat();
    assert!(codec(&descriptions(&[entry(b"hvc1", &three)]), &[1]).is_err(), "lengths of three octets do not exist");
}

#[test]
fn encrypted_and_unknown_codings_are_named() {
    assert_eq!(codec(&descriptions(&[boxed(b"encv", [])]), &[]), Err("it is encrypted".into()));
    assert_eq!(codec(&descriptions(&[boxed(b"av\n1", [])]), &[]), Err("av?1 is not supported".into()));
    assert_eq!(codec(&[], &[]), Err("its sample description is broken".into()));
}
