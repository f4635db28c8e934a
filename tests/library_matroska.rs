//! Matroska and WebM files that ffmpeg makes, index by index against what ffprobe says of them, and octet by octet.
//!
//! Where the tools are missing the tests are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use flowsteer::library::{Codec, Library, NalFraming, Title, TitlePath, Track};
use flowsteer::quantities::{MediaKind, MediaTime};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use sha2::{Digest, Sha256};

const PICTURE: &str = "testsrc2=s=320x180:r=";
const X264: [&str; 8] = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "24"];

/// The files: name, rate of the pictures (none: no picture), and how they are coded.
fn recipes() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let x264 = |more: &[&'static str]| [&X264[..], more].concat();
    vec![
        ("film.mkv", "24000/1001", x264(&["-c:a", "aac", "-ar", "44100"])),
        (
            "languages.mkv",
            "25",
            x264(&[
                "-map",
                "0:v",
                "-map",
                "1:a",
                "-map",
                "2:a",
                "-c:a:0",
                "libopus",
                "-c:a:1",
                "aac",
                "-metadata:s:a:0",
                "language=deu",
                "-metadata:s:a:1",
                "language=fre",
            ]),
        ),
        ("ac3.mkv", "30000/1001", x264(&["-c:a", "ac3", "-x264-params", "open-gop=1:b-pyramid=normal"])),
        (
            "open.h265.mkv",
            "25",
            vec![
                "-c:v",
                "libx265",
                "-preset",
                "ultrafast",
                "-x265-params",
                "log-level=error:keyint=26:min-keyint=26:scenecut=0:open-gop=1:bframes=3",
                "-c:a",
                "libmp3lame",
            ],
        ),
        ("vp9.webm", "30", vec!["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]),
        ("vp8.webm", "50", vec!["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libvorbis"]),
        ("av1.mkv", "25", vec!["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-c:a", "pcm_s16le"]),
        ("mpeg4.mkv", "25", vec!["-c:v", "mpeg4", "-bf", "2", "-c:a", "mp2"]),
        ("mpeg2.mkv", "25", vec!["-c:v", "mpeg2video", "-bf", "2", "-c:a", "pcm_s24be"]),
        ("mjpeg.mkv", "12", vec!["-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p", "-c:a", "pcm_u8"]),
        (
            "live.webm",
            "30",
            vec!["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus", "-live", "1", "-f", "webm"],
        ),
        ("sound.mka", "", vec!["-vn", "-c:a", "aac", "-ar", "48000"]),
        ("late.mkv", "25", x264(&["-c:a", "aac", "-output_ts_offset", "3600"])),
    ]
}

fn make(path: &Path, rate: &str, coding: &[&str]) {
    let picture = format!("{PICTURE}{}", if rate.is_empty() { "25" } else { rate });
    let inputs = [
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-f",
        "lavfi",
        "-i",
        "sine=f=440:r=48000",
        "-f",
        "lavfi",
        "-i",
        "sine=f=660:r=48000",
    ];
    let made = Command::new("ffmpeg").args(inputs).args(["-t", "4"]).args(coding).arg(path).status().expect("ffmpeg starts");
    assert!(made.success(), "{}", path.display());
}

fn has_tools(test: &str) -> bool {
    let works = |tool: &str| Command::new(tool).arg("-version").output().is_ok_and(|output| output.status.success());
    if works("ffmpeg") && works("ffprobe") {
        return true;
    }
    assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: ffmpeg or ffprobe is missing");
    eprintln!("skipped: {test}: ffmpeg or ffprobe is missing");
    false
}

/// The files, made once for all tests here.
fn folder() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, rate, coding) in recipes() {
            make(&folder.path().join(name), rate, &coding);
        }
        folder
    });
    folder.path()
}

fn titles_in(folder: &Path) -> Vec<Arc<Title>> {
    let library = Library::open(folder).expect("the folder is there");
    let title = |entry: Arc<flowsteer::library::Entry>| entry.title().unwrap_or_else(|problem| panic!("{}: {problem}", entry.path));
    library.entries().into_iter().map(title).collect()
}

fn titles() -> Vec<Arc<Title>> {
    let titles = titles_in(folder());
    assert_eq!(titles.len(), recipes().len());
    titles
}

fn title(name: &str) -> Arc<Title> {
    let library = Library::open(folder()).expect("the folder is there");
    let entry = library.entry(&TitlePath::new(name).expect("a path")).expect("the title is there");
    entry.title().expect("it plays")
}

/// A packet as ffprobe tells it.
#[derive(Clone, Debug)]
struct Probed {
    /// Seconds.
    shown: f64,
    size: u32,
    key: bool,
    checksum: String,
}

/// The packets that ffprobe finds, by its stream number.
fn probe(file: &Path) -> BTreeMap<u64, Vec<Probed>> {
    let fields = "packet=stream_index,pts_time,size,flags,data_hash";
    let arguments = [
        "-v",
        "error",
        "-fflags",
        "+noparse+nofillin",
        "-show_packets",
        "-show_data_hash",
        "sha256",
        "-show_entries",
        fields,
        "-of",
        "json",
    ];
    let output = Command::new("ffprobe").args(arguments).arg(file).output().expect("ffprobe runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON");
    let mut streams: BTreeMap<u64, Vec<Probed>> = BTreeMap::new();
    for packet in answer["packets"].as_array().expect("packets are listed") {
        let text = |name: &str| packet[name].as_str().unwrap_or_default();
        streams.entry(packet["stream_index"].as_u64().expect("a number")).or_default().push(Probed {
            shown: text("pts_time").parse().expect("every packet has a time"),
            size: text("size").parse().expect("a number"),
            key: text("flags").starts_with('K'),
            checksum: text("data_hash").trim_start_matches("SHA256:").to_owned(),
        });
    }
    streams
}

fn octets(title: &Title, track: &Track, position: usize) -> Vec<u8> {
    let unit = track.access_unit(position).expect("within the index");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).expect("lies in the file");
    octets
}

fn checksum(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Times are the file's but for its rounding to milliseconds, `rounding` seconds at most, and one constant that lies between both
/// timelines.
fn compare(title: &Title, file: &Path, rounding: f64) {
    let probed = probe(file);
    assert_eq!(title.tracks.len(), probed.len(), "{}", title.path);
    let start = probed.values().flatten().map(|packet| packet.shown).fold(f64::MAX, f64::min);
    let ours = title.tracks.iter().map(|track| {
        let times = (0..track.len()).filter_map(|at| track.access_unit(at)).map(|unit| track.presentation_time(&unit));
        times.min().expect("not empty").as_seconds()
    });
    let ours = ours.fold(f64::MAX, f64::min);
    for (track, packets) in title.tracks.iter().zip(probed.values()) {
        assert_eq!(track.len(), packets.len(), "{} {}", title.path, track.kind);
        for (position, packet) in packets.iter().enumerate() {
            let place = format!("{} {} {position}", title.path, track.codec.name());
            let unit = track.access_unit(position).expect("within");
            // Of frames of sound that share a block, ffprobe marks the first.
            let is_key = packet.key || track.kind == MediaKind::Audio;
            assert_eq!((unit.size, unit.random_access), (packet.size, is_key), "{place}");
            assert_eq!(checksum(&octets(title, track, position)), packet.checksum, "{place}");
            let apart = (track.presentation_time(&unit).as_seconds() - ours) - (packet.shown - start);
            assert!(apart.abs() < rounding, "{place}: {apart}");
            assert!(unit.decode_time <= unit.presentation_time, "{place}");
        }
    }
}

#[test]
fn the_index_has_the_packets_that_ffprobe_finds_in_the_file() {
    if !has_tools("the_index_has_the_packets_that_ffprobe_finds_in_the_file") {
        return;
    }
    for title in titles() {
        assert!(title.remark.is_none(), "{}: {:?}", title.path, title.remark);
        assert!((3.9..4.3).contains(&title.duration.as_seconds()), "{}: {:?}", title.path, title.duration);
        compare(&title, &folder().join(title.path.as_str()), 0.001_6);
    }
}

/// Frames of sound follow each other by their samples, pictures of a constant rate by its part of a second, to the tick.
#[test]
fn rounded_times_become_exact_again() {
    if !has_tools("rounded_times_become_exact_again") {
        return;
    }
    let steps = |name: &str, kind: MediaKind| {
        let title = title(name);
        let track = title.tracks.iter().find(|track| track.kind == kind).expect("there is one");
        let mut times: Vec<i64> = (0..track.len()).filter_map(|at| track.access_unit(at)).map(|unit| unit.presentation_time).collect();
        times.sort_unstable();
        let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.dedup();
        (track.timescale.hertz(), steps)
    };
    assert_eq!(steps("film.mkv", MediaKind::Video), (24_000, vec![1_001]));
    assert_eq!(steps("film.mkv", MediaKind::Audio), (44_100, vec![1_024]));
    assert_eq!(steps("ac3.mkv", MediaKind::Video), (30_000, vec![1_001]));
    assert_eq!(steps("ac3.mkv", MediaKind::Audio), (48_000, vec![1_536]));
    assert_eq!(steps("vp9.webm", MediaKind::Audio), (48_000, vec![960]));
    assert_eq!(steps("open.h265.mkv", MediaKind::Audio), (48_000, vec![1_152]));
    assert_eq!(steps("late.mkv", MediaKind::Audio), (48_000, vec![1_024]));
}

#[test]
fn codecs_and_languages_are_described_as_the_files_have_them() {
    if !has_tools("codecs_and_languages_are_described_as_the_files_have_them") {
        return;
    }
    let names = |name: &str| title(name).tracks.iter().map(|track| track.codec.name()).collect::<Vec<_>>();
    assert_eq!(names("film.mkv"), ["h264", "aac"]);
    assert_eq!(names("open.h265.mkv"), ["h265", "mp3"]);
    assert_eq!(names("ac3.mkv"), ["h264", "ac3"]);
    assert_eq!(names("vp9.webm"), ["vp9", "opus"]);
    assert_eq!(names("vp8.webm"), ["vp8", "vorbis"]);
    assert_eq!(names("av1.mkv"), ["av1", "pcm"]);
    assert_eq!(names("mpeg4.mkv"), ["mpeg4", "mp3"]);
    assert_eq!(names("mpeg2.mkv"), ["mpeg2video", "pcm"]);
    assert_eq!(names("mjpeg.mkv"), ["mjpeg", "pcm"]);
    let spoken = title("languages.mkv");
    let languages: Vec<_> = spoken.tracks.iter().map(|track| (track.codec.name(), track.language.as_deref())).collect();
    assert_eq!(languages, [("h264", None), ("opus", Some("deu")), ("aac", Some("fre"))]);
    let Codec::H264(config) = &spoken.tracks[0].codec else { panic!("H.264 first") };
    assert_eq!((config.width, config.height, config.framing), (320, 180, NalFraming::Length(4)));
    let av1 = title("av1.mkv");
    let Codec::Av1(config) = &av1.tracks[0].codec else { panic!("AV1 first") };
    assert_eq!(config.sequence_header.first(), Some(&0x0a), "a sequence header with its size");
    let vorbis = title("vp8.webm");
    let Codec::Vorbis(config) = &vorbis.tracks[1].codec else { panic!("Vorbis second") };
    assert_eq!((config.sample_rate, config.channels), (48_000, 1));
}

/// Sound that an encoder put before the beginning is before zero, and pictures begin at zero or where the file has them.
#[test]
fn a_title_begins_at_zero() {
    if !has_tools("a_title_begins_at_zero") {
        return;
    }
    for title in titles() {
        let first = |track: &Track| track.presentation_time(&track.access_unit(0).expect("not empty")).as_seconds();
        for track in &title.tracks {
            assert!((-0.06..0.06).contains(&first(track)), "{} {}: {}", title.path, track.kind, first(track));
        }
        assert!(title.tracks.iter().map(first).fold(f64::MAX, f64::min) < 0.001, "{}", title.path);
    }
}

/// Seeking to any time and reading on gives the units that reading straight through gives, from a random access point on.
#[test]
fn reading_from_a_seek_is_reading_straight_through() {
    if !has_tools("reading_from_a_seek_is_reading_straight_through") {
        return;
    }
    let titles = titles();
    let cases = u32::try_from(1_000 / titles.len() + 1).expect("few");
    for title in titles {
        let straight: Vec<Vec<_>> =
            title.tracks.iter().map(|track| (0..track.len()).map(|at| octets(&title, track, at)).collect()).collect();
        let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
        let seeks = (0.0..1.2f64, any::<prop::sample::Index>());
        let outcome = runner.run(&seeks, |(share, which)| {
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
            for (position, held) in straight.iter().enumerate().skip(start).take(20) {
                prop_assert_eq!(&octets(&title, track, position), held);
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", title.path));
    }
}

/// What is there of a file that was cut short plays, as what ffprobe finds in it.
#[test]
fn a_file_that_was_cut_short_plays_up_to_there() {
    if !has_tools("a_file_that_was_cut_short_plays_up_to_there") {
        return;
    }
    let whole = std::fs::read(folder().join("film.mkv")).expect("a file");
    let cut = tempfile::tempdir().expect("a folder");
    let path: PathBuf = cut.path().join("cut.mkv");
    std::fs::write(&path, &whole[..whole.len() * 2 / 3]).expect("written");
    let title = Arc::clone(&titles_in(cut.path())[0]);
    assert_eq!(title.remark.as_ref().expect("told").reason, "the file is cut short");
    let probed = probe(&path);
    for (track, packets) in title.tracks.iter().zip(probed.values()) {
        // ffprobe gives what there is of the last frame, too.
        assert!(packets.len() - track.len() <= 1 && track.len() > 20, "{} of {}", track.len(), packets.len());
        for (position, packet) in packets.iter().take(track.len()).enumerate() {
            assert_eq!(checksum(&octets(&title, track, position)), packet.checksum);
        }
    }
}

#[test]
fn what_cannot_be_sent_is_left_out_and_named() {
    if !has_tools("what_cannot_be_sent_is_left_out_and_named") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let subtitles = folder.path().join("text.srt");
    std::fs::write(&subtitles, "1\n00:00:01,000 --> 00:00:02,000\nHello.\n").expect("written");
    let file = folder.path().join("film.mkv");
    let inputs = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-f", "lavfi", "-i", "sine", "-i"];
    let coding = ["-map", "0", "-map", "1", "-map", "2", "-t", "2", "-c:v", "libx264", "-c:a", "flac", "-c:s", "srt"];
    let made = Command::new("ffmpeg").args(inputs).arg(&subtitles).args(coding).arg(&file).status().expect("ffmpeg starts");
    assert!(made.success());
    let title = Arc::clone(&titles_in(folder.path())[0]);
    assert_eq!(title.tracks.iter().map(|track| track.codec.name()).collect::<Vec<_>>(), ["h264"]);
    let reason = &title.remark.as_ref().expect("told").reason;
    let subtitle = "the subtitle track is left out: S_TEXT/UTF8 is not supported";
    assert_eq!(*reason, format!("the audio track is left out: A_FLAC is not supported; {subtitle}"));
}

fn element(id: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let id = id.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect::<Vec<_>>();
    [&id[..], &(1 << 56 | content.len() as u64).to_be_bytes(), content].concat()
}

fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, value.to_be_bytes())
}

/// The sizes of all frames but the last, as Xiph has them.
fn xiph(frames: &[&[u8]]) -> Vec<u8> {
    let size = |frame: &&[u8]| [vec![255; frame.len() / 255], vec![(frame.len() % 255) as u8]].concat();
    frames[..frames.len() - 1].iter().flat_map(size).collect()
}

/// The first size and the differences, in two octets each.
fn ebml(frames: &[&[u8]]) -> Vec<u8> {
    let sizes: Vec<i64> = frames[..frames.len() - 1].iter().map(|frame| frame.len() as i64).collect();
    let first = (0x4000 | sizes[0]) as u16;
    let differences = sizes.windows(2).map(|pair| (0x4000 | (pair[1] - pair[0] + 0x1fff)) as u16);
    std::iter::once(first).chain(differences).flat_map(u16::to_be_bytes).collect()
}

/// A file of one track of sound whose frames share blocks, four each, by lacing of the kind of `flags` and the `sizes` for it.
fn laced(codec: &str, more: &[u8], nanos: u64, frames: &[&[u8]], flags: u8, sizes: impl Fn(&[&[u8]]) -> Vec<u8>) -> Vec<u8> {
    let described = [&number(0xd7, 1)[..], &number(0x73c5, 1), &number(0x83, 2), &element(0x86, codec), &number(0x23_e383, nanos)];
    let audio = element(0xe1, [element(0xb5, 48_000f64.to_be_bytes()), number(0x9f, 1)].concat());
    let track = element(0xae, [&described.concat()[..], &audio, more].concat());
    let blocks = frames.chunks(4).enumerate().map(|(at, frames)| {
        let time = (at as u64 * 4 * nanos + 500_000).div_euclid(1_000_000) as i16;
        let count = [frames.len() as u8 - 1];
        element(0xa3, [&[0x81][..], &time.to_be_bytes(), &[0x80 | flags], &count, &sizes(frames), &frames.concat()].concat())
    });
    let cluster = element(0x1f43_b675, [number(0xe7, 0), blocks.collect::<Vec<_>>().concat()].concat());
    let information = element(0x1549_a966, [number(0x2a_d7b1, 1_000_000), element(0x4d80, "x"), element(0x5741, "x")].concat());
    let segment = [information, element(0x1654_ae6b, track), cluster].concat();
    [element(0x1a45_dfa3, element(0x4282, "matroska")), element(0x1853_8067, segment)].concat()
}

/// Frames out of ffmpeg's files in blocks that they share, with what all begin with stripped: as ffprobe takes them apart.
#[test]
fn frames_that_share_a_block_are_those_that_ffprobe_finds() {
    if !has_tools("frames_that_share_a_block_are_those_that_ffprobe_finds") {
        return;
    }
    let frames = |name: &str| {
        let title = title(name);
        let track = title.tracks.iter().find(|track| track.kind == MediaKind::Audio).expect("a sound");
        (0..track.len()).map(|at| octets(&title, track, at)).collect::<Vec<_>>()
    };
    let sound = title("sound.mka");
    let Codec::Aac(config) = &sound.tracks[0].codec else { panic!("AAC") };
    let private = element(0x63a2, &config.audio_specific_config);
    let aac = frames("sound.mka");
    let aac: Vec<&[u8]> = aac[..aac.len() / 4 * 4].iter().map(Vec::as_slice).collect();
    let mp3 = frames("open.h265.mkv");
    assert!(mp3.iter().all(|frame| frame.len() == mp3[0].len() && frame[..2] == mp3[0][..2]), "a constant bit rate");
    let mp3: Vec<&[u8]> = mp3[..mp3.len() / 4 * 4].iter().map(|frame| &frame[2..]).collect();
    let compression = element(0x5034, [number(0x4254, 3), element(0x4255, [0xff, 0xfb])].concat());
    let stripped = element(0x6d80, element(0x6240, [number(0x5031, 0), number(0x5032, 1), number(0x5033, 0), compression].concat()));
    let folder = tempfile::tempdir().expect("a folder");
    for (name, file) in [
        ("xiph.mka", laced("A_AAC", &private, 21_333_333, &aac, 0x02, xiph)),
        ("ebml.mka", laced("A_AAC", &private, 21_333_333, &aac, 0x06, ebml)),
        ("fixed.mka", laced("A_MPEG/L3", &stripped, 24_000_000, &mp3, 0x04, |_| Vec::new())),
    ] {
        std::fs::write(folder.path().join(name), file).expect("written");
    }
    for title in titles_in(folder.path()) {
        assert!(title.remark.is_none() && title.tracks[0].len() > 150, "{}: {:?}", title.path, title.remark);
        // ffprobe counts whole milliseconds from the block's time on.
        compare(&title, &folder.path().join(title.path.as_str()), 0.003);
    }
}

/// Behind what is damaged it goes on: every frame that lies outside of it and its cluster is there, at its time.
#[test]
fn a_damaged_file_plays_on_behind_the_damage() {
    if !has_tools("a_damaged_file_plays_on_behind_the_damage") {
        return;
    }
    let plain = std::fs::read(folder().join("film.mkv")).expect("it is there");
    let parse =
        |octets: Vec<u8>| flowsteer::library::container::parse(Arc::new(octets), TitlePath::new("film").expect("a path")).expect("plays");
    let whole = parse(plain.clone());
    let clusters: Vec<usize> = (0..plain.len() - 4).filter(|at| plain[*at..at + 4] == [0x1f, 0x43, 0xb6, 0x75]).collect();
    assert!(clusters.len() >= 4, "{clusters:?}");
    let from = clusters[1] + 5_000;
    let mut damaged = plain.clone();
    damaged[from..from + 5_000].fill(0);
    let title = parse(damaged);
    let told = title.remark.as_ref().map_or("", |remark| &remark.reason);
    assert!(told.starts_with("the file is damaged in 1 place: "), "{told}");
    let ends = clusters.iter().copied().find(|cluster| *cluster > from + 5_000).expect("another cluster") as u64;
    for (track, whole) in title.tracks.iter().zip(&whole.tracks) {
        let units = |track: &Track| (0..track.len()).filter_map(|position| track.access_unit(position)).collect::<Vec<_>>();
        let place = |unit: &flowsteer::library::AccessUnit| (unit.offset, unit.size, unit.random_access);
        let left: Vec<_> = units(track).iter().map(place).collect();
        let sound: Vec<_> =
            units(whole).iter().filter(|unit| unit.offset + u64::from(unit.size) < from as u64 || unit.offset >= ends).map(place).collect();
        assert!(sound.iter().all(|unit| left.contains(unit)) && sound.len() * 10 > whole.len() * 5, "{} of {}", left.len(), whole.len());
        // Times in the order of showing are those of the file, to within what it rounds.
        let shown = |track: &Track, unit: &flowsteer::library::AccessUnit| track.presentation_time(unit).as_seconds();
        for unit in units(track).iter().filter(|unit| unit.offset >= ends) {
            let was = units(whole).into_iter().find(|known| known.offset == unit.offset).expect("it was there");
            assert!((shown(track, unit) - shown(whole, &was)).abs() < 0.02, "{unit:?} {was:?}");
        }
    }
}
