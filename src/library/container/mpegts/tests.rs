use std::collections::BTreeMap;

use super::*;
use crate::library::codec::{AacConfig, Codec};
use crate::library::title::AccessUnit;

/// Writes transport packets.
#[derive(Default)]
struct Writer {
    counters: BTreeMap<u16, u8>,
    octets: Vec<u8>,
}

impl Writer {
    /// What begins in a packet of a PID, in as many packets as it needs.
    fn put(&mut self, pid: u16, content: &[u8]) {
        for (number, piece) in content.chunks(184).enumerate() {
            let counter = self.counters.entry(pid).or_default();
            let [high, low] = (pid | if number == 0 { 0x4000 } else { 0 }).to_be_bytes();
            let stuffing = 184 - piece.len();
            self.octets.extend([0x47, high, low, if stuffing > 0 { 0x30 } else { 0x10 } | *counter]);
            *counter = (*counter + 1) & 0xf;
            let field = [&[(stuffing as u8).wrapping_sub(1), 0][..], &[0xff; 184]].concat();
            self.octets.extend(&field[..stuffing]);
            self.octets.extend(piece);
        }
    }

    fn section(&mut self, pid: u16, kind: u8, extension: u16, body: &[u8]) {
        let [high, low] = extension.to_be_bytes();
        let len = body.len() + 9;
        let mut section = [&[kind, 0xb0 | (len >> 8) as u8, len as u8, high, low, 0xc1, 0, 0], body].concat();
        section.extend(tables::checksum(&section).to_be_bytes());
        self.put(pid, &[&[0], &section[..]].concat());
    }

    /// Program numbers and the PIDs of their maps.
    fn association(&mut self, programs: &[(u16, u16)]) {
        for programs in programs.chunks(64) {
            let entries = programs.iter().map(|(number, pid)| [number.to_be_bytes(), (pid | 0xe000).to_be_bytes()].concat());
            self.section(0, 0, 1, &entries.flatten().collect::<Vec<_>>());
        }
    }

    /// The map of a program with ADTS on these PIDs.
    fn map(&mut self, pid: u16, number: u16, streams: &[u16]) {
        let entries = streams.iter().map(|pid| [&[0x0f][..], &(pid | 0xe000).to_be_bytes(), &[0xf0, 0]].concat());
        let body = [vec![0xe1, 0, 0xf0, 0], entries.flatten().collect()].concat();
        self.section(pid, 2, number, &body);
    }

    fn pes(&mut self, pid: u16, time: Option<u64>, media: &[u8]) {
        let header = match time {
            Some(time) => {
                let part = |shift: u32| ((time >> shift & 0x7fff) << 1 | 1) as u16;
                let [b, c] = part(15).to_be_bytes();
                let [d, e] = part(0).to_be_bytes();
                vec![0x80, 0x80, 5, 0x21 | (time >> 29 & 0xe) as u8, b, c, d, e]
            }
            None => vec![0x80, 0, 0],
        };
        self.put(pid, &[&[0, 0, 1, 0xc0, 0, 0], &header[..], media].concat());
    }

    fn read(self) -> Result<Title, Problem> {
        parse(Arc::new(self.octets), TitlePath::new("a.ts").expect("a path"))
    }
}

const MAP: u16 = 0x1000;
const ONE: u16 = 0x100;
const OTHER: u16 = 0x101;
/// Ticks of the PES clock that a frame lasts at 48 kHz.
const FRAME: u64 = 1_920;

/// One program with sound on these PIDs.
fn program(streams: &[u16]) -> Writer {
    let mut writer = Writer::default();
    writer.association(&[(1, MAP)]);
    writer.map(MAP, 1, streams);
    writer
}

/// A frame of AAC at 48 kHz in so many octets behind its header.
fn adts(channels: u8, octets: usize) -> Vec<u8> {
    let len = octets + 7;
    let header = [0xff, 0xf1, 0x4c, channels << 6 | (len >> 11) as u8, (len >> 3) as u8, ((len & 7) << 5) as u8 | 0x1f, 0xfc];
    [&header[..], &vec![7; octets]].concat()
}

fn units(title: &Title, track: usize) -> Vec<AccessUnit> {
    let track = &title.tracks[track];
    (0..track.len()).filter_map(|position| track.access_unit(position)).collect()
}

fn times(title: &Title, track: usize) -> Vec<i64> {
    units(title, track).iter().map(|unit| unit.decode_time).collect()
}

fn remark(title: &Title) -> &str {
    title.remark.as_ref().map_or("", |remark| &remark.reason)
}

#[test]
fn what_comes_before_the_first_time_of_a_track_is_left_out() {
    let mut file = program(&[ONE, OTHER]);
    let two = adts(2, 40).repeat(2);
    file.pes(ONE, None, &two);
    for number in 0..3 {
        file.pes(ONE, Some(900_000 + number * 2 * FRAME), &two);
        file.pes(OTHER, Some(900_000 + number * 2 * FRAME), &two);
    }
    let title = file.read().expect("plays");
    let expected: Vec<i64> = (0..6).map(|number| number * 1_024).collect();
    assert_eq!((times(&title, 0), times(&title, 1)), (expected.clone(), expected));
}

#[test]
fn sound_that_pauses_goes_on_with_the_other_track() {
    let mut file = program(&[ONE, OTHER]);
    for number in 0..600 {
        let time = Some(900_000 + number * FRAME);
        file.pes(ONE, time, &adts(2, 40));
        if !(10..580).contains(&number) {
            file.pes(OTHER, time, &adts(2, 40));
        }
    }
    let title = file.read().expect("plays");
    let expected: Vec<i64> = (0..600).filter(|number| !(10..580).contains(number)).map(|number| number * 1_024).collect();
    assert_eq!(times(&title, 1), expected);
    assert_eq!(title.tracks[0].len(), 600);
}

#[test]
fn only_so_many_programs_are_looked_for() {
    let all: Vec<(u16, u16)> = (1..=8_000).map(|number| (number, 0x20 + number)).collect();
    let with = |number: u16| {
        let mut file = Writer::default();
        file.association(&all);
        file.map(0x20 + number, number, &[0x1ff0]);
        file.pes(0x1ff0, Some(0), &adts(2, 40).repeat(3));
        file.read()
    };
    assert_eq!(with(200).expect("plays").tracks[0].len(), 3);
    assert_eq!(with(300).expect_err("too many").reason, "the file has no program map table");
}

#[test]
fn a_frame_of_sound_in_too_wide_a_part_of_the_file_is_left_out() {
    let mut file = program(&[ONE]);
    let frames: Vec<Vec<u8>> = [100, 200, 30, 50].map(|octets| adts(2, octets)).into();
    let media = frames.concat();
    // The first packet of the PID ends within the second frame.
    file.pes(ONE, Some(0), &media[..170]);
    file.octets.extend([&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat().repeat(24_000));
    file.pes(ONE, None, &media[170..]);
    let title = file.read().expect("plays");
    assert_eq!(units(&title, 0).iter().map(|unit| unit.size).collect::<Vec<_>>(), [100, 30, 50]);
}

#[test]
fn sound_that_is_coded_otherwise_in_the_middle_is_named() {
    let with = |others: usize| {
        let mut file = program(&[ONE]);
        for (number, channels) in [vec![2; 10], vec![1; others], vec![2; 10]].concat().into_iter().enumerate() {
            file.pes(ONE, Some(900_000 + number as u64 * FRAME), &adts(channels, 40));
        }
        file.read().expect("plays")
    };
    let title = with(20);
    assert_eq!(title.tracks[0].len(), 20);
    assert!(matches!(title.tracks[0].codec, Codec::Aac(AacConfig { channels: 2, .. })));
    assert_eq!(remark(&title), "20 frames of the sound with PID 256 are left out: they are coded otherwise than those before");
    assert_eq!(remark(&with(2)), "");
}

#[test]
fn noise_is_a_problem_and_never_a_panic() {
    proptest::proptest!(|(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4_000))| {
        let mut file = noise;
        file.chunks_mut(188).for_each(|packet| packet[0] = 0x47);
        let path = TitlePath::new("noise.ts").expect("a path");
        proptest::prop_assert!(parse(Arc::new(file), path).is_err());
    });
}
