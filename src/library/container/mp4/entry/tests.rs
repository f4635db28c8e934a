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
fn encrypted_and_unknown_codings_are_named() {
    assert_eq!(codec(&descriptions(&[boxed(b"encv", [])]), &[]), Err("it is encrypted".into()));
    assert_eq!(codec(&descriptions(&[boxed(b"av\n1", [])]), &[]), Err("av?1 is not supported".into()));
    assert_eq!(codec(&[], &[]), Err("its sample description is broken".into()));
}
