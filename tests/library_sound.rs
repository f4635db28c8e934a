//! Sound files made by ffmpeg, index by index against what ffprobe says of them, and octet by octet.

mod support;

use std::process::Command;
use std::sync::Arc;

use flowsteer::library::{AccessUnit, Codec, Library, Title, TitlePath, Track, container};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::sound::{LENGTH, SOUNDS, folder};

/// Whether the tools are there; says so or fails otherwise.
fn has_tools(test: &str) -> bool {
    let has = |tool: &str| Command::new(tool).arg("-version").output().is_ok_and(|output| output.status.success());
    if has("ffmpeg") && has("ffprobe") {
        return true;
    }
    assert!(!support::tools_are_required(), "{test}: ffmpeg or ffprobe is missing");
    eprintln!("skipped: {test}: ffmpeg or ffprobe is missing");
    false
}

fn titles() -> Vec<Arc<Title>> {
    let library = Library::open(folder()).expect("the folder is there");
    let title = |name: &str| {
        let entry = library.entry(&TitlePath::new(name).expect("a path")).unwrap_or_else(|| panic!("{name} is shown"));
        entry.title().unwrap_or_else(|problem| panic!("{name}: {problem}"))
    };
    SOUNDS.iter().map(|sound| title(sound.name)).collect()
}

fn octets(title: &Title, track: &Track, unit: AccessUnit) -> Vec<u8> {
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).unwrap_or_else(|error| panic!("{}: {error}", title.path));
    octets
}

fn units(track: &Track) -> Vec<AccessUnit> {
    (0..track.len()).map(|position| track.access_unit(position).expect("within")).collect()
}

#[test]
fn each_file_plays_for_as_long_as_it_sounds() {
    if !has_tools("each_file_plays_for_as_long_as_it_sounds") {
        return;
    }
    for title in titles() {
        assert_eq!((title.tracks.len(), &title.remark), (1, &None), "{}", title.path);
        // Encoders of frames begin before the sound and fill the last frame up.
        let off = title.duration.as_seconds() - f64::from(LENGTH);
        let is_coded = !matches!(title.tracks[0].codec, Codec::Pcm(_) | Codec::G722(_));
        assert!(off.abs() < if is_coded { 0.11 } else { 1e-6 }, "{}: {off} s off", title.path);
        // Of transport streams what is cut off at either end is not.
        if matches!(title.tracks[0].codec, Codec::Opus(_) | Codec::Vorbis(_)) && !title.path.as_str().ends_with(".ts") {
            assert!(off.abs() < 0.008, "{}: the end is cut off where the file says: {off} s off", title.path);
        }
    }
}

#[test]
fn the_octets_are_those_that_ffmpeg_finds() {
    if !has_tools("the_octets_are_those_that_ffmpeg_finds") {
        return;
    }
    for (title, sound) in titles().iter().zip(&SOUNDS) {
        let track = &title.tracks[0];
        let payloader = flowsteer::payload::Payloader::new(&track.codec, 1_400).expect("is carried");
        let mut buffer = flowsteer::payload::PacketBuffer::default();
        for unit in units(track) {
            payloader.payload(&octets(title, track, unit), unit.random_access, &mut buffer).expect("a sound access unit");
        }
        // The payload header's length; what is left of the packets is what the file has.
        let header = match track.codec {
            Codec::MpegAudio(_) => 4,
            Codec::Ac3(_) => 2,
            Codec::Vorbis(_) => 6,
            _ => 0,
        };
        let packets = buffer.packets().iter().map(|packet| &buffer.octets()[packet.range.clone()][12 + header..]);
        let (sent, held) = (packets.collect::<Vec<_>>().concat(), sound.octets());
        assert!(!held.is_empty());
        let alike = sent.iter().zip(&held).take_while(|(a, b)| a == b).count();
        assert!(sent == held, "{}: {} of {} octets, {alike} alike", title.path, sent.len(), held.len());
    }
}

/// A packet as ffprobe tells it: time in seconds, octets, checksum.
fn probe(path: &std::path::Path) -> Vec<(f64, u32, String)> {
    let fields = "packet=pts_time,size,data_hash";
    let arguments = ["-v", "error", "-ignore_editlist", "1", "-show_packets", "-show_data_hash", "sha256", "-show_entries", fields];
    let skipped = if path.extension().is_some_and(|ending| ending == "mp4") { 0 } else { 2 };
    let (before, after) = arguments.split_at(2);
    let output =
        Command::new("ffprobe").args(before).args(&after[skipped..]).args(["-of", "json"]).arg(path).output().expect("ffprobe runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON");
    let packet = |packet: &Value| {
        let field = |name: &str| packet[name].as_str().unwrap_or_else(|| panic!("no {name} in {packet}")).to_owned();
        let checksum = field("data_hash").trim_start_matches("SHA256:").to_owned();
        (field("pts_time").parse().expect("a number"), field("size").parse().expect("a number"), checksum)
    };
    answer["packets"].as_array().expect("packets are listed").iter().map(packet).collect()
}

#[test]
fn the_index_has_the_packets_that_ffprobe_finds_in_the_file() {
    if !has_tools("the_index_has_the_packets_that_ffprobe_finds_in_the_file") {
        return;
    }
    for (title, sound) in titles().iter().zip(&SOUNDS) {
        let track = &title.tracks[0];
        if matches!(track.codec, Codec::Pcm(_) | Codec::G722(_)) {
            continue;
        }
        let (units, probed) = (units(track), probe(&sound.path()));
        assert_eq!(units.len(), probed.len(), "{}", title.path);
        // One constant lies between both timelines.
        let shift = probed[0].0 - track.presentation_time(&units[0]).as_seconds();
        for (position, (unit, (time, size, checksum))) in units.iter().zip(&probed).enumerate() {
            let place = format!("{} {position}", title.path);
            let digest: String = Sha256::digest(octets(title, track, *unit)).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!((unit.size, &digest), (*size, checksum), "{place}");
            let off = track.presentation_time(unit).as_seconds() + shift - time;
            assert!(off.abs() < 2e-4, "{place}: {off} s off");
        }
    }
}

/// What is heard at any time is what reading straight through gives there.
#[test]
fn reading_from_a_seek_is_reading_straight_through() {
    if !has_tools("reading_from_a_seek_is_reading_straight_through") {
        return;
    }
    for title in titles() {
        let track = &title.tracks[0];
        let straight: Vec<Vec<u8>> = units(track).into_iter().map(|unit| octets(&title, track, unit)).collect();
        let mut runner = TestRunner::new(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() });
        let outcome = runner.run(&(-0.1..1.1f64), |share| {
            let at = flowsteer::quantities::MediaTime::from_seconds(title.duration.as_seconds() * share);
            let start = track.first_shown_at(at);
            // To the track's own resolution, which is what a seek can tell apart.
            let at = flowsteer::quantities::MediaTime::from_ticks(at.to_ticks(track.timescale), track.timescale);
            let found = track.access_unit(start).map(|unit| track.presentation_time(&unit));
            prop_assert!(found.is_none_or(|begin| begin <= at || start == 0), "{:?} at {:?}", found, at);
            for (position, held) in straight.iter().enumerate().skip(start).take(3) {
                prop_assert_eq!(&octets(&title, track, track.access_unit(position).expect("within")), held);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", title.path));
    }
}

/// Files with octets changed, taken out or cut off play or have a problem, and what their index names can be asked for.
#[test]
fn mangled_files_play_or_have_a_problem() {
    if !has_tools("mangled_files_play_or_have_a_problem") {
        return;
    }
    for sound in &SOUNDS {
        let held = std::fs::read(sound.path()).expect("the file is there");
        // Of MP4 files the index lies at the end.
        let is_movie = sound.name.ends_with(".mp4") || sound.name.ends_with(".mov");
        let held = held[..if is_movie { held.len() } else { held.len().min(60_000) }].to_vec();
        let mut runner = TestRunner::new(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() });
        let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0.0..1.0f64), 1..12);
        let outcome = runner.run(&(changes, 0.1..1.0f64), |(changes, share)| {
            let mut file = held.clone();
            for (place, value, head) in changes {
                // Most of them among the headers at the beginning.
                let among = if head < 0.6 { file.len().min(400) } else { file.len() };
                let at = place.index(among);
                if value == 0 && file.len() > 100 { file.truncate(file.len() - at.min(50)) } else { file[at] = value }
            }
            file.truncate((file.len() as f64 * share.sqrt()) as usize);
            let parsed = container::parse(Arc::new(file), TitlePath::new(sound.name).expect("a path"));
            let Ok(title) = parsed else { return Ok(()) };
            for track in &title.tracks {
                for unit in (0..track.len()).filter_map(|position| track.access_unit(position)).take(2_000) {
                    prop_assert!(unit.size <= 16 << 20);
                    let mut octets = vec![0; unit.size as usize];
                    let _ = track.read(title.source.as_ref(), &[unit], &mut octets);
                }
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", sound.name));
    }
}
