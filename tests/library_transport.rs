//! Transport streams as a whole: packet by packet against the file, times against its clock, points against its key pictures.
//!
//! Where ffmpeg is missing the comparisons are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use flowsteer::library::{Codec, Title, TitlePath, Track, container};
use flowsteer::quantities::{ClockRate, MediaTime};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const LEN: usize = 188;
const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -keyint_min 25 -sc_threshold 0 -bf 2 -c:a aac -b:a 64k";

/// A film of four seconds.
fn film(test: &str, name: &str, options: &str) -> Option<Vec<u8>> {
    if !Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: ffmpeg is missing");
        eprintln!("skipped: {test}: ffmpeg is missing");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-f", "lavfi", "-i", "sine=f=440:r=48000"]);
    let status = command.args(["-t", "4", "-pix_fmt", "yuv420p"]).args(options.split_whitespace()).arg(&path).status();
    assert!(status.expect("ffmpeg runs").success(), "{options}");
    Some(fs::read(path).expect("it is there"))
}

fn parsed(octets: &[u8]) -> Title {
    let path = TitlePath::new("film").expect("a path");
    container::parse(Arc::new(octets.to_vec()), path).unwrap_or_else(|problem| panic!("{problem}"))
}

fn whole(octets: &[u8]) -> Title {
    container::mpegts::transport(&parsed(octets)).unwrap_or_else(|problem| panic!("{problem}"))
}

fn unit(title: &Title, position: usize) -> Vec<u8> {
    let track = &title.tracks[0];
    let unit = track.access_unit(position).expect("within the index");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).unwrap_or_else(|error| panic!("{unit:?}: {error}"));
    octets
}

/// The packets of a file, `stride` octets apart.
fn packets(octets: &[u8], stride: usize) -> Vec<&[u8]> {
    octets.chunks(stride).map(|packet| &packet[packet.len() - LEN..]).collect()
}

fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1f, packet[2]])
}

/// The clock reference of a packet, in ticks of 90 kHz.
fn clock(packet: &[u8]) -> Option<i64> {
    let has_one = packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
    has_one.then(|| packet[6..10].iter().fold(0, |base, octet| base << 8 | i64::from(*octet)) << 1 | i64::from(packet[10] >> 7))
}

/// Whether a key picture begins in a packet: a PES packet begins, and random_access_indicator is set.
fn begins_key(packet: &[u8]) -> bool {
    packet[1] & 0x40 != 0 && packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x40 != 0 && matches!(pid(packet), 0x100 | 0x1011)
}

fn films(test: &str) -> Option<Vec<(&'static str, usize, Vec<u8>)>> {
    let plain = film(test, "a.ts", H264)?;
    let twice = plain.repeat(2);
    Some(vec![
        ("plain", 188, plain),
        ("recorder", 192, film(test, "b.m2ts", &format!("{H264} -mpegts_m2ts_mode 1"))?),
        ("wrapped", 188, film(test, "c.ts", &format!("{H264} -output_ts_offset 95442"))?),
        ("constant", 188, film(test, "d.ts", &format!("{H264} -muxrate 2000k"))?),
        ("mpeg2", 188, film(test, "e.ts", "-c:v mpeg2video -g 25 -bf 2 -b:v 4M -c:a mp2")?),
        ("twice", 188, twice),
    ])
}

fn is_point(track: &Track, position: usize) -> bool {
    track.access_unit(position).expect("within the index").random_access
}

#[test]
fn all_packets_of_the_file_are_there_and_when_its_clock_says() {
    let Some(films) = films("all_packets_of_the_file_are_there_and_when_its_clock_says") else { return };
    for (name, stride, octets) in films {
        let (title, expected) = (whole(&octets), packets(&octets, stride));
        let track = &title.tracks[0];
        assert_eq!((title.tracks.len(), &track.codec, track.timescale), (1, &Codec::Mp2t, ClockRate::VIDEO), "{name}");
        let (mut number, mut first, mut last): (usize, Option<(i64, i64)>, i64) = (0, None, 0);
        let mut points = 0;
        for position in 0..track.len() {
            let held = unit(&title, position);
            let at = track.access_unit(position).expect("within");
            assert_eq!(at.decode_time, at.presentation_time, "{name}");
            assert!(at.decode_time >= last && at.decode_time - last < 9_000, "{name}: from {last} to {}", at.decode_time);
            last = at.decode_time;
            points += usize::from(at.random_access);
            for packet in held.chunks(LEN) {
                assert!(packet == expected[number], "{name}: packet {number}");
                if let Some(clock) = clock(packet).filter(|_| name != "twice") {
                    let (base, time) = *first.get_or_insert((clock, at.decode_time));
                    let ticks = (clock - base).rem_euclid(1 << 33);
                    // A piece lasts 8 ms, and one that is not full yet waits for what follows.
                    assert!((at.decode_time - time).abs_diff(ticks) <= 1_500, "{name}: packet {number}: {at:?} {time} {ticks}");
                }
                number += 1;
            }
        }
        assert_eq!(number, expected.len(), "{name}");
        let (seconds, times) = (title.duration.as_seconds(), if name == "twice" { 2.0 } else { 1.0 });
        assert!((3.5 * times..4.6 * times).contains(&seconds), "{name}: {seconds} s");
        let keys = expected.iter().filter(|packet| begins_key(packet)).count();
        // The file's beginning is one, too.
        assert!(keys >= 4 && points == keys + 1, "{name}: {points} points, {keys} key pictures");
        assert!(track.len() < expected.len() / 3, "{name}: {} pieces of {} packets", track.len(), expected.len());
    }
}

/// From each point on come both tables, and then the key picture before any other of the pictures.
#[test]
fn points_are_tables_before_key_pictures() {
    let test = "points_are_tables_before_key_pictures";
    let Some(plain) = film(test, "a.ts", H264) else { return };
    // The same with its tables at the beginning only.
    let mut seen = [false; 2];
    let is_kept = |packet: &&[u8]| match pid(packet) {
        0 => !std::mem::replace(&mut seen[0], true),
        0x1000 => !std::mem::replace(&mut seen[1], true),
        _ => true,
    };
    let bare: Vec<u8> = packets(&plain, LEN).into_iter().filter(is_kept).collect::<Vec<_>>().concat();
    for (name, octets) in [("plain", &plain), ("bare", &bare)] {
        let title = whole(octets);
        let track = &title.tracks[0];
        let mut points = 0;
        for point in (0..track.len()).filter(|position| is_point(track, *position)) {
            let behind: Vec<u8> = (point..track.len().min(point + 60)).flat_map(|position| unit(&title, position)).collect();
            let behind = packets(&behind, LEN);
            assert_eq!(
                pid(behind[if point == 0 { behind.iter().position(|packet| pid(packet) == 0).expect("tables") } else { 0 }]),
                0,
                "{name}"
            );
            let map = behind.iter().position(|packet| pid(packet) == 0x1000).expect("a map");
            let key = behind.iter().position(|packet| begins_key(packet)).expect("a key picture");
            assert!(map < key, "{name}: the map at {map}, the key picture at {key}");
            if name == "bare" && point > 0 {
                assert_eq!((map, key), (1, 2), "copies right before it");
                // Whoever had the tables sees them again, as they were.
                assert_eq!((behind[0], behind[1]), (packets(&bare, LEN)[1], packets(&bare, LEN)[2]));
            }
            points += 1;
        }
        assert_eq!(points, 5, "{name}: the file's beginning, and each key picture");
    }
}

#[test]
fn a_seek_leads_to_the_last_point_before() {
    let test = "a_seek_leads_to_the_last_point_before";
    let Some(octets) = film(test, "b.m2ts", &format!("{H264} -mpegts_m2ts_mode 1")) else { return };
    let title = whole(&octets);
    let track = &title.tracks[0];
    let straight: Vec<Vec<u8>> = (0..track.len()).map(|position| unit(&title, position)).collect();
    let mut runner = TestRunner::new(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&(0.0..1.2f64), |share| {
        let at = MediaTime::from_seconds(title.duration.as_seconds() * share);
        let start = track.random_access_at_or_before(at).expect("there is one");
        let found = track.access_unit(start).expect("within");
        prop_assert!(found.random_access && (track.presentation_time(&found) <= at || start == 0));
        let next = (start + 1..track.len()).find(|position| is_point(track, *position));
        let next = next.and_then(|position| track.access_unit(position)).map(|unit| track.presentation_time(&unit));
        prop_assert!(next.is_none_or(|next| next > at), "the last one before");
        for (position, held) in straight.iter().enumerate().skip(start).take(10) {
            prop_assert_eq!(&unit(&title, position), held);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn what_has_no_packets_or_no_clock_is_refused() {
    let test = "what_has_no_packets_or_no_clock_is_refused";
    let Some(film_in_mp4) = film(test, "a.mp4", H264) else { return };
    let refused = container::mpegts::transport(&parsed(&film_in_mp4)).expect_err("no transport stream");
    assert_eq!(refused.reason, "it is no transport stream, and is not made one");
    let mut plain = film(test, "a.ts", H264).expect("ffmpeg is there");
    plain.chunks_mut(LEN).filter(|packet| clock(packet).is_some()).for_each(|packet| packet[5] &= !0x10);
    let refused = container::mpegts::transport(&parsed(&plain)).expect_err("no clock");
    assert_eq!(refused.reason, "the file cannot be sent as a transport stream: it has no clock");
}
