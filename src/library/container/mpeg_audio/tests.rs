use super::*;
use crate::library::codec::SoundFormat;
use crate::quantities::MediaTime;

/// A frame of layer III at 128 kbit/s and 44.1 kHz: 417 octets, filled with what is no sync.
fn frame_of(fill: u8) -> Vec<u8> {
    let mut frame = vec![fill; 417];
    frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x64]);
    frame
}

fn frames(count: u8) -> Vec<u8> {
    (0..count).flat_map(frame_of).collect()
}

fn id3v2(octets: usize, flags: u8) -> Vec<u8> {
    let size = [octets >> 21, octets >> 14, octets >> 7, octets].map(|group| (group & 0x7f) as u8);
    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
    [b"ID3\x04\0", &[flags][..], &size, &vec![0xff; octets], &vec![0; footer]].concat()
}

fn ape(octets: usize) -> Vec<u8> {
    let part = |flags: u8| {
        [b"APETAGEX", &2000u32.to_le_bytes()[..], &(octets as u32 + 32).to_le_bytes(), &[0; 4], &[0, 0, 0, flags], &[0; 8]].concat()
    };
    [part(0xa0), vec![0xff; octets], part(0x80)].concat()
}

fn parse_octets(octets: Vec<u8>) -> Result<Title, Problem> {
    parse(Arc::new(octets), TitlePath::new("a.mp3").expect("a path"))
}

fn offsets(octets: Vec<u8>) -> Vec<u64> {
    let title = parse_octets(octets).expect("sound");
    let track = &title.tracks[0];
    (0..track.len()).map(|position| track.access_unit(position).expect("within").offset).collect()
}

#[test]
fn each_frame_is_an_access_unit() {
    let title = parse_octets(frames(5)).expect("sound");
    let track = &title.tracks[0];
    assert_eq!(track.codec, Codec::MpegAudio(SoundFormat { sample_rate: 44_100, channels: 2 }));
    let units: Vec<_> = (0..5).map(|position| track.access_unit(position).expect("within")).collect();
    assert!(units.iter().zip(0..).all(|(unit, at)| (unit.offset, unit.decode_time) == (at * 417, at as i64 * 1_152)));
    assert!(units.iter().all(|unit| (unit.size, unit.duration, unit.random_access) == (417, 1_152, true)));
    assert_eq!(title.duration, MediaTime::from_ticks(5 * 1_152, track.timescale));
    assert_eq!(title.remark, None);
}

#[test]
fn tags_are_no_sound() {
    let table = [
        ("ID3v2", [id3v2(300, 0), frames(4)].concat(), 310),
        ("with a footer", [id3v2(300, 0x10), frames(4)].concat(), 320),
        ("two", [id3v2(300, 0), id3v2(5, 0), frames(4)].concat(), 325),
        ("ID3v1", [frames(4), b"TAG".to_vec(), vec![0xff; 125]].concat(), 0),
        ("APE", [frames(4), ape(100)].concat(), 0),
        ("both", [frames(4), ape(100), b"TAG".to_vec(), vec![0; 125]].concat(), 0),
        ("zeros behind the tag", [id3v2(3, 0), vec![0; 5_000], frames(4)].concat(), 5_013),
    ];
    for (what, octets, first) in table {
        assert!(sniff(&octets[..16]), "{what}");
        let title = parse_octets(octets.clone()).expect("sound");
        assert_eq!(title.remark, None, "{what}");
        assert_eq!(offsets(octets), [first, first + 417, first + 834, first + 1_251], "{what}");
    }
}

#[test]
fn a_frame_that_describes_the_file_is_no_sound() {
    for (place, name) in [(36, b"Xing"), (36, b"Info"), (36, b"VBRI")] {
        let mut octets = frames(4);
        octets[place..place + 4].copy_from_slice(name);
        assert_eq!(offsets(octets), [417, 834, 1_251]);
    }
    let mut mono = frames(4);
    mono[21..25].copy_from_slice(b"Xing");
    assert_eq!(offsets(mono.clone()).len(), 4, "that is a place of mono");
    (0..4).for_each(|frame| mono[frame * 417 + 3] = 0xc4);
    assert_eq!(offsets(mono).len(), 3);
}

#[test]
fn what_lies_between_frames_is_left_out() {
    let broken = [frames(3), vec![0xff; 50], vec![0xff, 0xfb, 0x90, 0x64, 1, 2, 3], frames(4)].concat();
    let title = parse_octets(broken.clone()).expect("sound");
    assert!(title.remark.is_some());
    assert_eq!(offsets(broken), [0, 417, 834, 1_308, 1_725, 2_142, 2_559]);
    let cut = [frames(3), frame_of(9)[..200].to_vec()].concat();
    assert!(parse_octets(cut.clone()).expect("sound").remark.is_some());
    assert_eq!(offsets(cut), [0, 417, 834]);
}

#[test]
fn what_is_no_sound_has_a_problem() {
    let why = |octets: Vec<u8>| parse_octets(octets).err().map(|problem| problem.reason);
    assert_eq!(why(vec![0xff, 0xfb, 0x90, 0x64, 0, 0]), Some(UNKNOWN.into()));
    assert_eq!(why([frame_of(1), vec![0; 500]].concat()), Some(UNKNOWN.into()), "one frame alone");
    assert_eq!(why(id3v2(3, 0)), Some("the file is cut short: it ends within its tag".into()));
    assert_eq!(why([id3v2(3, 0), vec![7; 100_000]].concat()), Some("the file has no MPEG audio behind its tag".into()));
    assert_eq!(why([id3v2(3, 0), vec![0; 70_000], frames(9)].concat()), Some("the file has no MPEG audio behind its tag".into()));
}
