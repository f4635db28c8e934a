//! Files of the other video codings, made by ffmpeg, index by index against what ffprobe says of them, octet by octet; and seeks.
//!
//! Where ffmpeg or ffprobe is missing the tests are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use flowsteer::library::{Codec, Entry, Library, Title, Track};
use flowsteer::quantities::MediaTime;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sha2::{Digest, Sha256};

/// Names, how each is coded, and the codec that is found.
const FILMS: [(&str, &str, &[&str]); 9] = [
    ("svt.mp4", "av1", &["-c:v", "libsvtav1", "-preset", "12", "-g", "25"]),
    ("fragments.mp4", "av1", &["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-movflags", "frag_keyframe+empty_moov"]),
    ("vp9.mp4", "vp9", &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "300k"]),
    ("mpeg4.mp4", "mpeg4", &["-c:v", "mpeg4", "-bf", "2", "-g", "25"]),
    ("mpeg4.mov", "mpeg4", &["-c:v", "mpeg4", "-g", "25"]),
    ("mpeg2.mp4", "mpeg2video", &["-c:v", "mpeg2video", "-bf", "2", "-g", "13"]),
    ("mpeg2.mov", "mpeg2video", &["-c:v", "mpeg2video", "-bf", "2", "-g", "13"]),
    ("mpeg1.mp4", "mpeg2video", &["-c:v", "mpeg1video", "-bf", "2", "-g", "13"]),
    ("jpeg.mov", "mjpeg", &["-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p"]),
];

fn make(folder: &Path, name: &str, coded: &[&str]) -> bool {
    let picture = "testsrc2=s=320x180:r=25,noise=alls=8:allf=t";
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", picture, "-t", "3", "-pix_fmt", "yuv420p"]);
    let made = command.args(coded).arg(folder.join(name)).stderr(Stdio::null()).status();
    made.is_ok_and(|status| status.success())
}

/// Made once for all tests here; `None` (having said so) where the tools are missing.
fn library(test: &str) -> Option<&'static (tempfile::TempDir, Vec<Arc<Entry>>)> {
    static MADE: OnceLock<Option<(tempfile::TempDir, Vec<Arc<Entry>>)>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        if !FILMS.iter().all(|(name, _, coded)| make(folder.path(), name, coded)) {
            return None;
        }
        let entries = Library::open(folder.path()).expect("the folder is there").entries();
        Some((folder, entries))
    });
    if made.is_none() {
        assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: ffmpeg does not make all films");
        eprintln!("skipped: {test}: ffmpeg does not make all films");
    }
    made.as_ref()
}

fn title(entry: &Entry) -> Arc<Title> {
    entry.title().unwrap_or_else(|problem| panic!("{}: {problem}", entry.path))
}

fn octets(title: &Title, track: &Track, position: usize) -> Vec<u8> {
    let unit = track.access_unit(position).expect("within the index");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).expect("lies in the file");
    octets
}

/// What ffprobe says of each packet: presentation and decode time in ticks, size, whether it is a key picture, a checksum.
fn probe(file: &Path) -> Vec<(i64, i64, u32, bool, String)> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_packets", "-show_data_hash", "sha256", "-of", "compact"]);
    command.args(["-show_entries", "packet=pts,dts,size,flags,data_hash"]).arg(file);
    let output = command.output().expect("ffprobe runs");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let packet = |line: &str| {
        let field = |name: &str| {
            let mut fields = line.split('|').filter_map(|field| field.split_once('='));
            fields.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).expect("a field")
        };
        let number = |name: &str| field(name).parse::<i64>().expect("a number");
        (number("pts"), number("dts"), number("size") as u32, field("flags").starts_with('K'), field("data_hash").replace("SHA256:", ""))
    };
    text.lines().filter(|line| line.starts_with("packet|")).map(packet).collect()
}

#[test]
fn the_index_has_the_packets_that_ffprobe_finds() {
    let Some((folder, entries)) = library("the_index_has_the_packets_that_ffprobe_finds") else { return };
    assert_eq!(entries.len(), FILMS.len());
    for entry in entries {
        let title = title(entry);
        let (_, codec, _) = FILMS.iter().find(|(name, ..)| *name == entry.path.as_str()).expect("one of them");
        let [track] = &title.tracks[..] else { panic!("{}: one track", entry.path) };
        assert_eq!((track.codec.name(), title.remark.clone()), (*codec, None), "{}", entry.path);
        let size = track.codec.picture_size().expect("pictures");
        assert_eq!((size.width, size.height), (320, 180));
        let packets = probe(&folder.path().join(entry.path.as_str()));
        assert_eq!((track.len(), packets.len()), (75, 75), "{}", entry.path);
        for (position, (presentation, decode, size, key, checksum)) in packets.into_iter().enumerate() {
            let unit = track.access_unit(position).expect("within");
            let found = (unit.presentation_time, unit.decode_time, unit.size, unit.random_access);
            assert_eq!(found, (presentation, decode, size, key), "{} {position}", entry.path);
            let own: String = Sha256::digest(octets(&title, track, position)).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(own, checksum, "{} {position}", entry.path);
        }
    }
}

#[test]
fn what_decoders_are_told_beforehand_is_found() {
    let Some((_, entries)) = library("what_decoders_are_told_beforehand_is_found") else { return };
    for entry in entries {
        match &title(entry).tracks[0].codec {
            Codec::Av1(config) => {
                assert_eq!((config.profile, config.tier), (0, 0));
                assert_eq!(config.sequence_header.first(), Some(&0x0a), "a sequence header with its size");
            }
            Codec::Mpeg4Visual(config) => assert!(config.headers.starts_with(&[0, 0, 1, 0xb0]), "a visual object sequence"),
            _ => {}
        }
    }
}

#[test]
fn jpeg_that_rtp_cannot_carry_is_left_out_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd: [(&str, &[&str], &str); 2] = [
        ("own.mov", &["-c:v", "mjpeg", "-huffman", "optimal", "-pix_fmt", "yuvj420p"], "Huffman tables of its own"),
        ("full.mov", &["-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj444p"], "neither 4:2:0 nor 4:2:2"),
    ];
    for (name, coded, _) in odd {
        if !make(folder.path(), name, coded) {
            assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "ffmpeg does not make {name}");
            eprintln!("skipped: jpeg_that_rtp_cannot_carry_is_left_out_and_named: ffmpeg does not make {name}");
            return;
        }
    }
    for entry in Library::open(folder.path()).expect("the folder is there").entries() {
        let (.., why) = odd.iter().find(|(name, ..)| *name == entry.path.as_str()).expect("one of them");
        let problem = entry.title().expect_err("nothing can be played");
        assert!(problem.reason.contains(why), "{}: {problem}", entry.path);
    }
}

/// Seeking to any time and reading on gives the units that reading straight through gives, from a random access point on.
#[test]
fn reading_from_a_seek_is_reading_straight_through() {
    let Some((_, entries)) = library("reading_from_a_seek_is_reading_straight_through") else { return };
    for entry in entries {
        let title = title(entry);
        let track = &title.tracks[0];
        let straight: Vec<Vec<u8>> = (0..track.len()).map(|position| octets(&title, track, position)).collect();
        let mut runner = TestRunner::new(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() });
        let outcome = runner.run(&(0.0..1.2f64), |share| {
            let at = MediaTime::from_seconds(title.duration.as_seconds() * share);
            let at = MediaTime::from_ticks(at.to_ticks(track.timescale), track.timescale);
            let start = track.random_access_at_or_before(at).expect("there is one");
            let unit = track.access_unit(start).expect("within");
            prop_assert!(unit.random_access && (track.presentation_time(&unit) <= at || start == 0));
            let later = (start + 1..track.len()).filter_map(|position| track.access_unit(position));
            let next = later.filter(|unit| unit.random_access).map(|unit| track.presentation_time(&unit)).next();
            prop_assert!(next.is_none_or(|next| next > at), "the last one before");
            for (position, held) in straight.iter().enumerate().skip(start).take(4) {
                prop_assert_eq!(&octets(&title, track, position), held);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", entry.path));
    }
}
