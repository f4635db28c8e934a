//! The files under `media/`, index by index against what ffprobe says of them, and octet by octet.
//!
//! Where ffprobe is missing the comparisons are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use flowsteer::library::{Codec, Library, NalFraming, Title, TitlePath, Track};
use flowsteer::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use flowsteer::quantities::{MediaKind, MediaTime};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media")
}

fn titles() -> Vec<Arc<Title>> {
    let library = Library::open(&folder()).expect("the folder is there");
    let title = |entry: Arc<flowsteer::library::Entry>| entry.title().unwrap_or_else(|problem| panic!("{}: {problem}", entry.path));
    let titles: Vec<_> = library.entries().into_iter().map(title).collect();
    assert!(titles.len() >= 12, "the library is whole: {}", titles.len());
    titles
}

fn title(name: &str) -> Arc<Title> {
    let library = Library::open(&folder()).expect("the folder is there");
    let entry = library.entry(&TitlePath::new(name).expect("a path")).expect("the title is there");
    entry.title().expect("it plays")
}

fn has_ffprobe(test: &str) -> bool {
    if Command::new("ffprobe").arg("-version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: ffprobe is missing");
    eprintln!("skipped: {test}: ffprobe is missing");
    false
}

/// A packet as ffprobe tells it, times in ticks.
#[derive(Clone, Debug, Default)]
struct Probed {
    presentation: i64,
    decode: i64,
    size: u32,
    key: bool,
    offset: u64,
    checksum: String,
}

/// What ffprobe finds, by its stream number: the packets, the edit list left to us or applied by it.
fn probe(file: &Path, apply_edits: bool) -> BTreeMap<usize, Vec<Probed>> {
    let fields = "packet=stream_index,pts,dts,size,pos,flags,data_hash";
    let apply = if apply_edits { "0" } else { "1" };
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-ignore_editlist",
        apply,
        "-show_packets",
        "-show_data_hash",
        "sha256",
        "-show_entries",
        fields,
        "-of",
        "compact",
    ]);
    let output = command.arg(file).output().expect("ffprobe runs");
    assert!(output.status.success());
    let mut streams: BTreeMap<usize, Vec<Probed>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("text").lines().filter(|line| line.starts_with("packet|")) {
        let (mut stream, mut packet) = (0, Probed::default());
        for (name, value) in line.split('|').filter_map(|field| field.split_once('=')) {
            match name {
                "stream_index" => stream = value.parse().expect("a number"),
                "pts" => packet.presentation = value.parse().expect("a number"),
                "dts" => packet.decode = value.parse().expect("a number"),
                "size" => packet.size = value.parse().expect("a number"),
                "pos" => packet.offset = value.parse().expect("a number"),
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
    title.source.read_exact_at(&mut octets, unit.offset).expect("lies in the file");
    octets
}

#[test]
fn every_title_of_the_library_plays_without_a_remark() {
    for title in titles() {
        assert!(title.remark.is_none(), "{}: {:?}", title.path, title.remark);
        assert!(title.duration > MediaTime::ZERO);
    }
}

#[test]
fn the_index_has_the_packets_that_ffprobe_finds_in_the_file() {
    if !has_ffprobe("the_index_has_the_packets_that_ffprobe_finds_in_the_file") {
        return;
    }
    for title in titles() {
        let probed = probe(&folder().join(title.path.as_str()), false);
        assert_eq!(title.tracks.len(), probed.len(), "{}", title.path);
        for (track, packets) in title.tracks.iter().zip(probed.values()) {
            // Found by their place: an edit may leave some at the ends out, none between.
            let first = track.access_unit(0).expect("not empty");
            let skipped = packets.iter().position(|packet| packet.offset == first.offset).expect("the first one is known to ffprobe");
            let edited = title.path.as_str() == "edited.mp4";
            assert!(edited || (skipped == 0 && track.len() == packets.len()), "{} {}: all of them", title.path, track.kind);
            // One constant lies between both timelines.
            let shift = packets[skipped].presentation - first.presentation_time;
            for position in 0..track.len() {
                let (unit, packet) = (track.access_unit(position).expect("within"), &packets[skipped + position]);
                let place = format!("{} {} {position}", title.path, track.kind);
                assert_eq!((unit.offset, unit.size, unit.random_access), (packet.offset, packet.size, packet.key), "{place}");
                let checksum: String = Sha256::digest(octets(&title, track, position)).iter().map(|octet| format!("{octet:02x}")).collect();
                assert_eq!(checksum, packet.checksum, "{place}");
                assert_eq!((unit.presentation_time, unit.decode_time), (packet.presentation - shift, packet.decode - shift), "{place}");
            }
        }
    }
}

#[test]
fn presentation_times_are_those_of_ffprobe_with_the_edit_list_applied() {
    if !has_ffprobe("presentation_times_are_those_of_ffprobe_with_the_edit_list_applied") {
        return;
    }
    for title in titles() {
        let probed = probe(&folder().join(title.path.as_str()), true);
        let cut = title.path.as_str() == "edited.mp4";
        for (track, packets) in title.tracks.iter().zip(probed.values()) {
            let by_offset: BTreeMap<u64, &Probed> = packets.iter().map(|packet| (packet.offset, packet)).collect();
            let mut compared = 0;
            for position in 0..track.len() {
                let unit = track.access_unit(position).expect("within");
                if let Some(packet) = by_offset.get(&unit.offset) {
                    // Where an edit cuts through a picture or a frame, ffprobe moves the track so that the next one begins at
                    // zero; here the cut stays where the list has it, and sound and picture stay together.
                    let apart = (unit.presentation_time - packet.presentation).abs();
                    assert!(
                        apart < if cut { i64::from(unit.duration) } else { 2 },
                        "{} {} {position}: {unit:?} {packet:?}",
                        title.path,
                        track.kind
                    );
                    compared += 1;
                }
            }
            assert!(compared * 10 >= track.len() * 9, "{} {}: {compared} of {}", title.path, track.kind, track.len());
        }
    }
}

#[test]
fn the_edited_title_begins_where_its_edit_list_says() {
    let title = title("edited.mp4");
    let video = title.tracks.iter().find(|track| track.kind == MediaKind::Video).expect("a picture");
    let first = video.access_unit(0).expect("not empty");
    assert!(first.random_access, "a decoder can begin");
    assert!((video.presentation_time(&first).as_seconds() + 1.3).abs() < 0.021, "{:?}", video.presentation_time(&first));
    let shown = (0..video.len()).filter_map(|position| video.access_unit(position)).map(|unit| unit.presentation_time);
    let first_shown = MediaTime::from_ticks(shown.filter(|time| *time >= 0).min().expect("one is shown"), video.timescale);
    assert!(first_shown.as_seconds() < 0.04, "no gap at the beginning: {first_shown:?}");
    let sound = title.tracks.iter().find(|track| track.kind == MediaKind::Audio).expect("a sound");
    let heard = sound.access_unit(sound.first_shown_at(MediaTime::from_seconds(0.61))).expect("heard");
    assert!((sound.presentation_time(&heard).as_seconds() - 0.6).abs() < 0.03, "{heard:?}");
}

#[test]
fn codecs_are_described_as_the_files_have_them() {
    let sound = |name: &str| match &title(name).tracks.iter().find(|track| track.kind == MediaKind::Audio).expect("a sound").codec {
        Codec::Aac(config) => (config.sample_rate, config.channels),
        other => panic!("{}", other.name()),
    };
    assert_eq!(sound("countdown.mp4"), (48_000, 1));
    assert_eq!(sound("sound.m4a"), (44_100, 2));
    assert_eq!(sound("surround.mp4"), (48_000, 6));
    assert_eq!(sound("films/quicktime.mov"), (48_000, 1));
    let countdown = title("countdown.mp4");
    let Codec::H264(config) = &countdown.tracks[0].codec else { panic!("H.264 first") };
    assert_eq!((config.width, config.height, config.framing), (640, 360, NalFraming::Length(4)));
    assert!((countdown.duration.as_seconds() - 60.0).abs() < 0.05, "{:?}", countdown.duration);
}

/// Seeking to any time and reading on gives the units that reading straight through gives, from a random access point on.
#[test]
fn reading_from_a_seek_is_reading_straight_through() {
    for title in titles() {
        let straight: Vec<Vec<_>> =
            title.tracks.iter().map(|track| (0..track.len()).map(|at| octets(&title, track, at)).collect()).collect();
        let mut runner = TestRunner::new(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() });
        let seeks = (0.0..1.2f64, any::<prop::sample::Index>());
        let outcome = runner.run(&seeks, |(share, which)| {
            let track = which.index(title.tracks.len());
            let (track, straight) = (&title.tracks[track], &straight[track]);
            let at = MediaTime::from_seconds(title.duration.as_seconds() * share);
            // To the track's own resolution, which is what a seek can tell apart.
            let at = MediaTime::from_ticks(at.to_ticks(track.timescale), track.timescale);
            let start = track.random_access_at_or_before(at).expect("there is one");
            let unit = track.access_unit(start).expect("within");
            prop_assert!(unit.random_access);
            prop_assert!(track.presentation_time(&unit) <= at || start == 0);
            let later = (start + 1..track.len()).filter_map(|position| track.access_unit(position));
            let next = later.filter(|unit| unit.random_access).map(|unit| track.presentation_time(&unit)).next();
            prop_assert!(next.is_none_or(|next| next > at), "the last one before");
            for (position, held) in straight.iter().enumerate().skip(start).take(40) {
                prop_assert_eq!(&octets(&title, track, position), held);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", title.path));
    }
}

/// What a receiver puts together from the packets is what the file holds, parameter sets aside.
#[test]
fn packets_carry_the_access_units_of_the_files() {
    let mut buffer = PacketBuffer::default();
    for title in titles() {
        for track in &title.tracks {
            let payloader = Payloader::new(&track.codec, 1_400).expect("a sound configuration");
            for position in 0..track.len() {
                let (unit, octets) = (track.access_unit(position).expect("within"), octets(&title, track, position));
                buffer.clear();
                payloader.payload(&octets, unit.random_access, &mut buffer).expect("a sound access unit");
                assert!(buffer.packets().iter().all(|packet| packet.range.len() <= 1_400));
                assert!(buffer.packets().last().expect("a packet").marker);
                let payloads: Vec<&[u8]> =
                    buffer.packets().iter().map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..]).collect();
                let (received, held): (Vec<Vec<u8>>, Vec<Vec<u8>>) = match &track.codec {
                    Codec::Aac(_) => (vec![payloads.iter().flat_map(|payload| &payload[4..]).copied().collect()], vec![octets]),
                    Codec::H264(config) => {
                        let sets =
                            |nal: &Vec<u8>| config.sequence_parameter_sets.contains(nal) || config.picture_parameter_sets.contains(nal);
                        (
                            nal_units(&payloads).into_iter().filter(|nal| !sets(nal)).collect(),
                            stored(&octets).into_iter().filter(|nal| !sets(nal)).collect(),
                        )
                    }
                    other => panic!("no title of the library is coded as {}", other.name()),
                };
                assert_eq!(received, held, "{} {} {position}", title.path, track.kind);
            }
        }
    }
}

fn stored(mut unit: &[u8]) -> Vec<Vec<u8>> {
    let mut nals = Vec::new();
    while let Some((len, rest)) = unit.split_first_chunk::<4>() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        nals.push(nal.to_vec());
        unit = rest;
    }
    nals
}

fn nal_units(payloads: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    for payload in payloads {
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while let Some((len, behind)) = rest.split_first_chunk::<2>() {
                    let (nal, behind) = behind.split_at(usize::from(u16::from_be_bytes(*len)));
                    nals.push(nal.to_vec());
                    rest = behind;
                }
            }
            28 if payload[1] & 0x80 != 0 => nals.push([&[payload[0] & 0xe0 | payload[1] & 0x1f], &payload[2..]].concat()),
            28 => nals.last_mut().expect("a start before").extend_from_slice(&payload[2..]),
            _ => nals.push(payload.to_vec()),
        }
    }
    nals
}
