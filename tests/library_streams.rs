//! Transport streams and raw streams, made by ffmpeg here: index by index against what ffprobe says of them, and octet by octet.
//!
//! Where ffmpeg is missing the comparisons are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use flowsteer::library::{Codec, Title, TitlePath, Track, container};
use flowsteer::quantities::MediaTime;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sha2::{Digest, Sha256};

fn has_ffmpeg(test: &str) -> bool {
    let runs = |tool: &str| Command::new(tool).arg("-version").output().is_ok_and(|output| output.status.success());
    if runs("ffmpeg") && runs("ffprobe") {
        return true;
    }
    assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: ffmpeg or ffprobe is missing");
    eprintln!("skipped: {test}: ffmpeg or ffprobe is missing");
    false
}

/// A film of ffmpeg's test picture and a tone, made once a process.
fn film(name: &str, options: &str) -> PathBuf {
    static FOLDER: OnceLock<(tempfile::TempDir, Mutex<()>)> = OnceLock::new();
    let (folder, making) = FOLDER.get_or_init(|| (tempfile::tempdir().expect("a folder"), Mutex::new(())));
    let path = folder.path().join(name);
    let _one_at_a_time = making.lock().expect("making a film does not fail");
    if !path.exists() {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25"]);
        command.args(["-f", "lavfi", "-i", "sine=f=440:r=48000", "-t", "4", "-pix_fmt", "yuv420p"]);
        let status = command.args(options.split_whitespace()).arg(&path).status().expect("ffmpeg runs");
        assert!(status.success(), "ffmpeg {options} {name}");
    }
    path
}

const H264: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 3 -x264-params b-adapt=0:b-pyramid=1:slices=2";
const H265: &str =
    "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=1:slices=2";
const MPEG2: &str = "-c:v mpeg2video -g 12 -bf 2 -b:v 600k";
const MPEG4: &str = "-c:v mpeg4 -g 25 -bf 2 -b:v 600k";
const AAC: &str = "-c:a aac -b:a 64k";

fn transport_streams() -> Vec<PathBuf> {
    vec![
        film("plain.ts", &format!("{H264} {AAC}")),
        film("recorder.m2ts", &format!("{H264} -c:a ac3 -mpegts_m2ts_mode 1")),
        film("late.ts", &format!("{H264} {AAC} -output_ts_offset 95442")),
        film("low.ts", &format!("{H264} -c:a aac -b:a 32k -ac 2 -muxdelay 0 -pes_payload_size 2930")),
        film("mpeg.ts", "-c:v libx264 -preset ultrafast -g 10 -c:a mp2 -metadata:s:a:0 language=deu"),
        film("h265.ts", &format!("{H265} {AAC}")),
        film("mpeg2.ts", &format!("{MPEG2} -c:a ac3")),
        film("mpeg1.ts", "-c:v mpeg1video -g 12 -bf 2 -b:v 600k -c:a mp2"),
        film("interlaced.ts", "-c:v mpeg2video -flags +ildct+ilme -top 1 -g 12 -bf 2 -b:v 2M -c:a mp2"),
        film("mpeg4.ts", &format!("{MPEG4} -c:a ac3")),
        film("opus.ts", &format!("{H264} -c:a libopus -b:a 64k -ac 2")),
        film("ac3.ts", &format!("{H264} -c:a ac3 -mpegts_flags resend_headers+system_b")),
    ]
}

fn parse(path: &Path) -> Title {
    let octets = fs::read(path).expect("it is there");
    let name = TitlePath::new("film").expect("a path");
    container::parse(Arc::new(octets), name).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// A packet as ffprobe tells it, times in ticks.
#[derive(Clone, Debug, Default)]
struct Probed {
    presentation: i64,
    decode: i64,
    size: u32,
    key: bool,
    checksum: String,
}

/// What ffprobe finds, by its stream number.
fn probe(file: &Path) -> BTreeMap<usize, Vec<Probed>> {
    let fields = "packet=stream_index,pts,dts,size,flags,data_hash";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_packets", "-show_data_hash", "sha256", "-show_entries", fields, "-of", "compact"]);
    let output = command.arg(file).output().expect("ffprobe runs");
    assert!(output.status.success());
    let mut streams: BTreeMap<usize, Vec<Probed>> = BTreeMap::new();
    // Side data make two lines of one.
    let text = String::from_utf8(output.stdout).expect("text").replace("\n|", "|");
    for line in text.lines().filter(|line| line.starts_with("packet|")) {
        let (mut stream, mut packet) = (0, Probed::default());
        for (name, value) in line.split('|').filter_map(|field| field.split_once('=')) {
            match name {
                "stream_index" => stream = value.parse().expect("a number"),
                "pts" => packet.presentation = value.parse().unwrap_or(0),
                "dts" => packet.decode = value.parse().unwrap_or(0),
                "size" => packet.size = value.parse().expect("a number"),
                "flags" => packet.key = value.starts_with('K'),
                "data_hash" => packet.checksum = value.trim_start_matches("SHA256:").to_owned(),
                _ => {}
            }
        }
        streams.entry(stream).or_default().push(packet);
    }
    streams
}

fn octets(title: &Title, track: &Track, position: usize) -> Vec<u8> {
    let unit = track.access_unit(position).expect("within the index");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).unwrap_or_else(|error| panic!("{unit:?}: {error}"));
    octets
}

fn checksum(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn the_index_of_a_transport_stream_has_the_packets_that_ffprobe_finds() {
    if !has_ffmpeg("the_index_of_a_transport_stream_has_the_packets_that_ffprobe_finds") {
        return;
    }
    for path in transport_streams() {
        let (title, probed) = (parse(&path), probe(&path));
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(title.remark.is_none(), "{name}: {:?}", title.remark);
        assert_eq!(title.tracks.len(), probed.len(), "{name}");
        let start = probed.values().flatten().map(|packet| packet.presentation).min().expect("not empty");
        for (track, packets) in title.tracks.iter().zip(probed.values()) {
            assert_eq!(track.len(), packets.len(), "{name} {}", track.kind);
            // ADTS headers are no part of the access units.
            let header = if matches!(track.codec, Codec::Aac(_)) { 7 } else { 0 };
            let clock = i64::from(track.timescale.hertz());
            for (position, packet) in packets.iter().enumerate() {
                let place = format!("{name} {} {position}", track.kind);
                let unit = track.access_unit(position).expect("within");
                // Of H.265, ffmpeg leaves the first zero of a start code with the picture before.
                let cut = matches!(track.codec, Codec::H265(_));
                assert!((unit.size + header).abs_diff(packet.size) <= u32::from(cut), "{place}: {unit:?} {packet:?}");
                assert_eq!(unit.random_access, packet.key, "{place}");
                // Sound counts samples, which the file's 90 kHz round.
                let ticks = |time: i64| time * 90_000 / clock;
                let apart = [unit.presentation_time, unit.decode_time].map(ticks);
                let expected = [packet.presentation - start, packet.decode - start];
                let rounding = if clock == 90_000 { 0 } else { 2 };
                assert!(
                    apart.iter().zip(expected).all(|(time, expected)| (time - expected).abs() <= rounding),
                    "{place}: {unit:?} {expected:?}"
                );
                if header == 0 && !cut {
                    assert_eq!(checksum(&octets(&title, track, position)), packet.checksum, "{place}");
                }
            }
        }
        let seconds = title.duration.as_seconds();
        assert!((seconds - 4.0).abs() < 0.1, "{name}: {seconds} s");
    }
}

/// The frames of sound are those that ffmpeg writes without their headers.
#[test]
fn frames_of_sound_are_those_of_an_adts_stream_without_headers() {
    if !has_ffmpeg("frames_of_sound_are_those_of_an_adts_stream_without_headers") {
        return;
    }
    let path = film("plain.ts", &format!("{H264} {AAC}"));
    let title = parse(&path);
    let track = title.tracks.iter().find(|track| matches!(track.codec, Codec::Aac(_))).expect("sound");
    let held: Vec<u8> = (0..track.len()).flat_map(|position| octets(&title, track, position)).collect();
    let adts =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&path).args(["-map", "0:a", "-c", "copy", "-f", "adts", "-"]).output();
    let adts = adts.expect("ffmpeg runs").stdout;
    let (mut rest, mut frames) = (&adts[..], Vec::new());
    while rest.len() >= 7 {
        let len = usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5]) >> 5;
        frames.extend_from_slice(&rest[7..len]);
        rest = &rest[len..];
    }
    assert!(frames.len() > 10_000);
    assert_eq!(held, frames);
}

/// Access units that begin at any bit are those that lie in ADTS, at the same times.
#[test]
fn sound_in_latm_is_that_in_adts() {
    if !has_ffmpeg("sound_in_latm_is_that_in_adts") {
        return;
    }
    let plain = content(&parse(&film("plain.ts", &format!("{H264} {AAC}"))));
    let title = parse(&film("latm.ts", &format!("{H264} {AAC} -mpegts_flags latm")));
    assert!(title.remark.is_none(), "{:?}", title.remark);
    let Codec::Aac(config) = &title.tracks[1].codec else { panic!("{:?}", title.tracks[1].codec) };
    assert_eq!((config.sample_rate, config.channels), (48_000, 1));
    assert_eq!(config.audio_specific_config[..2], [0x11, 0x88]);
    let latm = content(&title);
    assert!(plain[1].len() > 180 && plain[1] == latm[1]);
}

/// Seeking to any time and reading on gives the units that reading straight through gives, from a random access point on.
#[test]
fn reading_from_a_seek_is_reading_straight_through() {
    if !has_ffmpeg("reading_from_a_seek_is_reading_straight_through") {
        return;
    }
    let latm = film("latm.ts", &format!("{H264} {AAC} -mpegts_flags latm"));
    let others = [latm, film("mpeg2.ts", &format!("{MPEG2} -c:a ac3")), film("mpeg4.ts", &format!("{MPEG4} -c:a ac3"))];
    let newer = [film("plain.ts", &format!("{H264} {AAC}")), film("recorder.m2ts", &format!("{H264} -c:a ac3 -mpegts_m2ts_mode 1"))];
    for path in newer.into_iter().chain(others) {
        let title = parse(&path);
        let straight: Vec<Vec<_>> =
            title.tracks.iter().map(|track| (0..track.len()).map(|at| octets(&title, track, at)).collect()).collect();
        let mut runner = TestRunner::new(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() });
        let outcome = runner.run(&(0.0..1.2f64, any::<prop::sample::Index>()), |(share, which)| {
            let track = which.index(title.tracks.len());
            let (track, straight) = (&title.tracks[track], &straight[track]);
            let at = MediaTime::from_seconds(title.duration.as_seconds() * share);
            let at = MediaTime::from_ticks(at.to_ticks(track.timescale), track.timescale);
            let start = track.random_access_at_or_before(at).expect("there is one");
            let unit = track.access_unit(start).expect("within");
            prop_assert!(unit.random_access);
            prop_assert!(track.presentation_time(&unit) <= at || start == 0);
            let later = (start + 1..track.len()).filter_map(|position| track.access_unit(position));
            let next = later.filter(|unit| unit.random_access).map(|unit| track.presentation_time(&unit)).next();
            prop_assert!(next.is_none_or(|next| next > at), "the last one before");
            for (position, held) in straight.iter().enumerate().skip(start).take(10) {
                prop_assert_eq!(&octets(&title, track, position), held);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", path.display()));
    }
}

/// Times of pictures are those that a container has for the same pictures.
#[test]
fn raw_pictures_have_the_order_and_the_rate_that_a_container_says() {
    if !has_ffmpeg("raw_pictures_have_the_order_and_the_rate_that_a_container_says") {
        return;
    }
    for (name, options) in [("raw.h264", H264), ("raw.h265", H265)] {
        let (raw, contained) = (film(name, &format!("-an {options}")), film(&format!("{name}.ts"), &format!("-an {options}")));
        let title = parse(&raw);
        assert!(title.remark.is_none(), "{name}: {:?}", title.remark);
        assert!((title.duration.as_seconds() - 4.0).abs() < 0.001, "{name}");
        let (track, probed, timed) =
            (&title.tracks[0], probe(&raw).remove(&0).expect("pictures"), probe(&contained).remove(&0).expect("pictures"));
        assert_eq!((track.len(), timed.len()), (probed.len(), probed.len()), "{name}");
        let held: Vec<u8> = (0..track.len()).flat_map(|position| octets(&title, track, position)).collect();
        assert!(held == fs::read(&raw).expect("it is there"), "{name}: together they are the file");
        let start = timed.iter().map(|packet| packet.presentation).min().expect("not empty");
        for (position, (packet, timed)) in probed.iter().zip(&timed).enumerate() {
            let unit = track.access_unit(position).expect("within");
            // Of H.265, ffmpeg leaves the first zero of a start code with the picture before.
            let apart = if name == "raw.h265" { 1 } else { 0 };
            assert!(unit.size.abs_diff(packet.size) <= apart && unit.random_access == packet.key, "{name} {position}: {unit:?} {packet:?}");
            assert!(apart > 0 || checksum(&octets(&title, track, position)) == packet.checksum, "{name} {position}");
            assert_eq!(unit.presentation_time, timed.presentation - start, "{name} {position}");
            assert!(unit.decode_time <= unit.presentation_time, "{name} {position}");
        }
    }
}

#[test]
fn raw_sound_has_the_frames_that_ffprobe_finds() {
    if !has_ffmpeg("raw_sound_has_the_frames_that_ffprobe_finds") {
        return;
    }
    let path = film("sound.aac", &format!("-vn {AAC}"));
    let (title, probed) = (parse(&path), probe(&path).remove(&0).expect("frames"));
    assert!(title.remark.is_none(), "{:?}", title.remark);
    let track = &title.tracks[0];
    assert_eq!(track.len(), probed.len());
    for (position, packet) in probed.iter().enumerate() {
        let unit = track.access_unit(position).expect("within");
        assert_eq!((unit.size + 7, unit.decode_time), (packet.size, 1_024 * position as i64));
    }
}

/// Decode and presentation time, whether decoding can start there, octets.
type Unit = (i64, i64, bool, Vec<u8>);

/// What the tracks of a title hold and when: all that must stay the same however the packets lie.
fn content(title: &Title) -> Vec<Vec<Unit>> {
    let unit = |track: &Track, position| {
        let unit = track.access_unit(position).expect("within");
        (unit.decode_time, unit.presentation_time, unit.random_access, octets(title, track, position))
    };
    title.tracks.iter().map(|track| (0..track.len()).map(|position| unit(track, position)).collect()).collect()
}

fn parse_octets(octets: Vec<u8>) -> Title {
    container::parse(Arc::new(octets), TitlePath::new("film").expect("a path")).expect("plays")
}

#[test]
fn distance_and_repetition_of_packets_make_no_difference() {
    if !has_ffmpeg("distance_and_repetition_of_packets_make_no_difference") {
        return;
    }
    let plain = fs::read(film("plain.ts", &format!("{H264} {AAC}"))).expect("it is there");
    let expected = content(&parse_octets(plain.clone()));
    let distant: Vec<u8> = plain.chunks(188).flat_map(|packet| [packet, &[0x47; 16]].concat()).collect();
    assert!(content(&parse_octets(distant)) == expected, "204 octets");
    let carries = |packet: &[u8]| packet[3] & 0x10 != 0;
    let twice: Vec<u8> = plain.chunks(188).flat_map(|packet| packet.repeat(if carries(packet) { 2 } else { 1 })).collect();
    assert!(content(&parse_octets(twice)) == expected, "each packet twice");
    let prefixed = [vec![0x47; 1_000], plain].concat();
    assert!(content(&parse_octets(prefixed)) == expected, "behind something else");
}

#[test]
fn a_damaged_file_plays_without_what_is_damaged() {
    if !has_ffmpeg("a_damaged_file_plays_without_what_is_damaged") {
        return;
    }
    let plain = fs::read(film("plain.ts", &format!("{H264} {AAC}"))).expect("it is there");
    let whole = content(&parse_octets(plain.clone()));
    let damaged = [&plain[..100_000], &[0x55; 777], &plain[103_000..200_000], &plain[205_000..]].concat();
    let title = parse_octets(damaged);
    assert!(title.remark.as_ref().is_some_and(|remark| remark.reason.contains("damaged")), "{:?}", title.remark);
    for (track, whole) in content(&title).iter().zip(&whole) {
        assert!(track.len() < whole.len() && track.len() * 10 > whole.len() * 8, "{} of {}", track.len(), whole.len());
        let is_there = |unit: &&Unit| whole.iter().any(|known| known.1.abs_diff(unit.1) < 100 && known.3 == unit.3);
        assert_eq!(track.iter().filter(is_there).count(), track.len(), "what is left is as it was, at its time");
    }
}

#[test]
fn two_files_in_one_play_without_a_gap() {
    if !has_ffmpeg("two_files_in_one_play_without_a_gap") {
        return;
    }
    let plain = fs::read(film("plain.ts", &format!("{H264} {AAC}"))).expect("it is there");
    let one = content(&parse_octets(plain.clone()));
    let title = parse_octets(plain.repeat(2));
    assert!((title.duration.as_seconds() - 8.0).abs() < 0.2, "{:?}", title.duration);
    let both = content(&title);
    for (both, one) in both.iter().zip(&one) {
        // The last one before the joint may not be told from noise.
        assert!(both.len() + 1 >= 2 * one.len() && both.len() <= 2 * one.len(), "{} of 2 × {}", both.len(), one.len());
        assert!(both.windows(2).all(|pair| (0..=9_000).contains(&(pair[1].0 - pair[0].0))), "times go on");
    }
    // Sound and picture stay together: the second file is as far behind the first in both.
    let shift = |track: usize, clock: i64| (both[track][both[track].len() - 1].1 - one[track][one[track].len() - 1].1) * 1_000 / clock;
    assert!(shift(0, 90_000).abs_diff(shift(1, 48_000)) <= 50, "{} and {} ms", shift(0, 90_000), shift(1, 48_000));
}
