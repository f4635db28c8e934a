//! Files that neither the code under test nor the tests of its formats know: those of other projects' tests
//! (`tests/vectors/files`), and those of GStreamer's and mkvmerge's muxers and of the encoders' rarer options. The index is what ffprobe finds,
//! and what is read after a seek is what is read straight through.
//!
//! Where a tool is missing the comparisons are skipped by name; `FLOWSTEER_REQUIRE_TOOLS=1` makes that a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use flowsteer::library::{Codec, Library, PcmSample, Title, TitlePath, Track};
use flowsteer::quantities::{MediaKind, MediaTime};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/files")
}

fn has_tools(test: &str, tools: &[&str]) -> bool {
    let works = |tool: &&&str| {
        let asked = if tool.starts_with("ff") { "-version" } else { "--version" };
        Command::new(tool).arg(asked).output().is_ok_and(|output| output.status.success())
    };
    let Some(missing) = tools.iter().find(|tool| !works(tool)) else { return true };
    assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{test}: {missing} is missing");
    eprintln!("skipped: {test}: {missing} is missing");
    false
}

fn octets(title: &Title, track: &Track, position: usize) -> Vec<u8> {
    let unit = track.access_unit(position).expect("within the index");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).expect("lies in the file");
    octets
}

fn hex(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A stream as ffprobe tells it.
#[derive(Debug)]
struct Stream {
    codec: String,
    /// Seconds, octets, whether decoding can start there, and a checksum.
    packets: Vec<(f64, u32, bool, String)>,
}

/// What ffprobe finds of pictures and sound, in its order; pictures that illustrate sound are none. `parsed`: as it cuts streams, not as the
/// container has them.
fn probe(file: &Path, parsed: bool) -> Vec<Stream> {
    let fields = "packet=stream_index,pts_time,size,flags,data_hash:stream=index,codec_name,codec_type:stream_disposition=attached_pic";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "quiet", "-show_packets", "-show_streams", "-show_data_hash", "sha256", "-show_entries", fields, "-of", "json"]);
    if !parsed {
        command.args(["-fflags", "+noparse+nofillin"]);
    }
    let output = command.arg(file).output().expect("ffprobe runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON");
    let mut packets: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for packet in answer["packets"].as_array().into_iter().flatten() {
        let text = |name: &str| packet[name].as_str().unwrap_or_default();
        packets.entry(packet["stream_index"].as_u64().expect("a number")).or_default().push((
            text("pts_time").parse().unwrap_or(f64::NAN),
            text("size").parse().expect("a number"),
            text("flags").starts_with('K'),
            text("data_hash").trim_start_matches("SHA256:").to_owned(),
        ));
    }
    let is_media = |stream: &&Value| {
        let kind = stream["codec_type"].as_str().unwrap_or_default();
        (kind == "video" || kind == "audio") && stream["disposition"]["attached_pic"] == 0
    };
    let stream = |stream: &Value| Stream {
        codec: stream["codec_name"].as_str().unwrap_or("unknown").to_owned(),
        packets: packets.remove(&stream["index"].as_u64().expect("a number")).unwrap_or_default(),
    };
    answer["streams"].as_array().into_iter().flatten().filter(is_media).map(stream).collect()
}

/// Whether a stream is coded as a track is.
fn is_of(stream: &Stream, track: &Track) -> bool {
    match (track.codec.name(), &*stream.codec) {
        ("h265", "hevc") | ("mp3", "mp2" | "mp1") | ("mpeg2video", "mpeg1video") => true,
        ("pcm", codec) => codec.starts_with("pcm_") || codec == "flac",
        (ours, theirs) => ours == theirs,
    }
}

/// What stands of an access unit in ffprobe's packets, where it is not the same octets.
#[derive(Clone, Copy, PartialEq)]
enum Held {
    /// The octets are the same, and so are the random access points.
    Same,
    /// ffprobe's packets are as its parser cuts them: their number and their times.
    Times,
}

/// Each track has the packets of its stream; times but for `rounding` seconds and a constant that all tracks have in common.
#[track_caller]
fn compare(title: &Title, file: &Path, held: Held, rounding: f64) {
    let streams = probe(file, held == Held::Times);
    let mut rest = streams.iter();
    let pairs: Vec<(&Track, &Stream)> = title
        .tracks
        .iter()
        .map(|track| (track, rest.find(|stream| is_of(stream, track)).unwrap_or_else(|| panic!("{}: {streams:?}", title.path))))
        .collect();
    let first = |times: &mut dyn Iterator<Item = f64>| times.fold(f64::MAX, f64::min);
    let times = |track: &Track| -> Vec<f64> {
        (0..track.len()).filter_map(|at| track.access_unit(at)).map(|unit| track.presentation_time(&unit).as_seconds()).collect()
    };
    let ours = first(&mut pairs.iter().flat_map(|(track, _)| times(track)));
    let theirs = first(&mut pairs.iter().flat_map(|(_, stream)| stream.packets.iter().map(|packet| packet.0)));
    for (track, stream) in pairs {
        let name = format!("{} {}", title.path, track.codec.name());
        assert_eq!(track.len(), stream.packets.len(), "{name}");
        for (position, (shown, size, key, checksum)) in stream.packets.iter().enumerate() {
            let unit = track.access_unit(position).expect("within");
            if held == Held::Same {
                let key = *key || track.kind == MediaKind::Audio;
                assert_eq!((unit.size, unit.random_access), (*size, key), "{name} {position}");
                assert_eq!(&hex(&octets(title, track, position)), checksum, "{name} {position}");
            }
            let apart = (track.presentation_time(&unit).as_seconds() - ours) - (shown - theirs);
            // Of laced frames ffprobe knows the time of the first.
            assert!(apart.abs() < rounding || shown.is_nan(), "{name} {position}: {apart}");
            assert!(unit.decode_time <= unit.presentation_time, "{name} {position}");
        }
    }
}

/// From anywhere on: the last random access point that is shown by then, and from there what is read straight through.
#[track_caller]
fn seek(title: &Title) {
    let source = title.source.open().expect("opens");
    for track in &title.tracks {
        let straight: Vec<_> = (0..track.len()).map(|at| octets(title, track, at)).collect();
        let units: Vec<_> = (0..track.len()).filter_map(|at| track.access_unit(at)).collect();
        for step in 0..40u32 {
            // All over the title, in no order.
            let share = f64::from(step * 17 % 41) / 38.0;
            let at =
                MediaTime::from_ticks((title.duration.as_seconds() * share * f64::from(track.timescale.hertz())) as i64, track.timescale);
            let start = track.random_access_at_or_before(at).expect("there is one");
            assert!(units[start].random_access && (track.presentation_time(&units[start]) <= at || start == 0), "{}", title.path);
            let next = units[start + 1..].iter().find(|unit| unit.random_access);
            assert!(next.is_none_or(|next| track.presentation_time(next) > at), "{}: the last one before", title.path);
            let some = &units[start..(start + 5).min(units.len())];
            let mut read = vec![0; some.iter().map(|unit| unit.size as usize).sum()];
            track.read(source.as_ref(), some, &mut read).expect("can be read");
            assert_eq!(read, straight[start..start + some.len()].concat(), "{} from {start}", title.path);
        }
    }
}

/// All samples of sound that is not coded are those that ffmpeg decodes.
#[track_caller]
fn compare_samples(title: &Title, file: &Path) {
    let track = &title.tracks[0];
    let Codec::Pcm(config) = &track.codec else { panic!("{}: {:?}", title.path, track.codec) };
    let format = match config.sample {
        PcmSample::Unsigned8 => "u8",
        PcmSample::Little16 => "s16le",
        PcmSample::Big16 => "s16be",
        PcmSample::Little24 => "s24le",
        PcmSample::Big24 => "s24be",
        PcmSample::ALaw => "alaw",
        PcmSample::MuLaw => "mulaw",
    };
    let coder = format!("pcm_{format}");
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-c:a", &coder, "-f", format, "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(decoded.status.success(), "{}", title.path);
    let ours: Vec<u8> = (0..track.len()).flat_map(|position| octets(title, track, position)).collect();
    assert_eq!(ours, decoded.stdout, "{}", title.path);
}

/// The files of `tests/vectors/files` that have nothing to play, or not all, and what is told of them.
const PROBLEMS: [(&str, &str); 20] = [
    ("claxon/large_vendor_string.flac", "the file has no description of its sound (STREAMINFO)"),
    ("claxon/large_vorbis_comment_block.flac", "the file has no description of its sound (STREAMINFO)"),
    ("hound/nonstandard-02.wav", "the audio track is left out: samples of 32 bits are not supported"),
    ("hound/pcmwaveformat-24bit-4byte-48kHz-stereo.wav", "the audio track is left out: blocks of 8 octets do not fit its format"),
    ("hound/waveformatex-ieeefloat-44100Hz-mono.wav", "the audio track is left out: samples with a floating point are not supported"),
    ("hound/waveformatextensible-24bit-4byte-48kHz-stereo.wav", "the audio track is left out: samples of 32 bits are not supported"),
    ("hound/waveformatextensible-32bit-48kHz-stereo.wav", "the audio track is left out: samples of 32 bits are not supported"),
    (
        "hound/waveformatextensible-ieeefloat-44100Hz-mono.wav",
        "the audio track is left out: samples with a floating point are not supported",
    ),
    ("mp4-atom/esds.mp4", "the file is cut short; the video track is empty; the audio track is empty"),
    ("mp4-atom/flac.mp4", "the audio track is left out: fLaC is not supported"),
    ("mp4-atom/h264.mp4", "the file is cut short; the video track is empty; the audio track is empty"),
    ("mp4-atom/h264_avcc_ext_2.mp4", "the video track is empty"),
    ("mp4-atom/h264_encrypted_segment.mp4", "the file has no index (moov)"),
    ("mp4-atom/hevc.mp4", "the file is cut short; the video track is empty"),
    ("mp4-atom/uncompressed.mp4", "the video track is left out: uncv is not supported"),
    ("mp4-atom/vp9.mp4", "the file is cut short; the video track is empty"),
    ("hound-broken/crash-cbd757427cea12bd8a21f86cd8cf74d98ce56bee.wav", "the audio track is left out: so many channels are not supported"),
    ("hound-broken/crash-e879de4eb4d206c59e21f0e01def16457af80fdc.wav", "the file has no format (no fmt chunk)"),
    ("hound-broken/oom-48ae4cd061ff8578ad3f23dc87624bd365cf5216.wav", "the file has no format (no fmt chunk)"),
    ("claxon-broken/07d990b7992590022e2721bfaa83e4bd3b905443.flac", "not a media file of a known format"),
];
/// Files that end before their index does: the packets that are whole play.
const CUT_SHORT: [&str; 2] = ["mp4-atom/av1.mp4", "mp4-atom/c2pa.mp4"];
/// Its last fragment says that it begins at zero again: it follows the others.
const BEGINS_AGAIN: &str = "mp4-atom/bbb.mp4";

#[test]
fn what_other_projects_test_with_plays_or_has_a_problem() {
    if !has_tools("what_other_projects_test_with_plays_or_has_a_problem", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let library = Library::open(&vectors()).expect("the folder is there");
    let mut played = 0;
    let problems: BTreeMap<&str, &str> = PROBLEMS.into_iter().collect();
    assert!(problems.keys().all(|name| library.entry(&TitlePath::new(name).expect("a path")).is_some()), "all of them are there");
    for entry in library.entries() {
        let (name, file) = (entry.path.as_str(), vectors().join(entry.path.as_str()));
        let title = match (entry.title(), problems.get(name)) {
            (Err(problem), Some(expected)) => {
                assert_eq!(problem.reason, *expected, "{name}");
                continue;
            }
            (title, None) if name.contains("-broken/") => {
                // It says what is wrong, or each access unit can be read or not.
                for (title, track) in title.iter().flat_map(|title| title.tracks.iter().map(move |track| (title, track))) {
                    for unit in (0..track.len()).filter_map(|position| track.access_unit(position)) {
                        let _ = track.read(title.source.as_ref(), &[unit], &mut vec![0; unit.size as usize]);
                    }
                }
                continue;
            }
            (Ok(title), None) => title,
            (outcome, _) => panic!("{name}: {outcome:?}"),
        };
        let remark = title.remark.as_ref().map(|remark| &*remark.reason);
        assert_eq!(remark, CUT_SHORT.contains(&name).then_some("the file is cut short"), "{name}");
        match &title.tracks[0].codec {
            Codec::Pcm(_) => compare_samples(&title, &file),
            // What ffprobe gives of a packet that is cut is no packet.
            _ if CUT_SHORT.contains(&name) || name == BEGINS_AGAIN => {}
            _ => compare(&title, &file, Held::Same, 0.001),
        }
        seek(&title);
        played += 1;
    }
    assert_eq!(played, 23);
}

/// A film with the sound and picture that a muxer is to take.
fn make(folder: &Path, name: &str, coding: &str) -> PathBuf {
    let file = folder.join(name);
    let source = "-f lavfi -i testsrc2=s=160x96:r=25,noise=alls=5 -f lavfi -i sine=f=440:r=48000 -t 2";
    let mut command = Command::new("ffmpeg");
    command.args("-v error -nostdin -y".split(' ')).args(source.split(' ')).args(coding.split(' ')).arg(&file);
    assert!(command.status().expect("ffmpeg starts").success(), "{name}: {coding}");
    file
}

/// A file's title.
fn title_of(file: &Path) -> Title {
    let library = Library::open(file.parent().expect("a folder")).expect("the folder is there");
    let name = file.file_name().and_then(|name| name.to_str()).and_then(TitlePath::new).expect("a path");
    let title = library.entry(&name).expect("it is there").title().unwrap_or_else(|problem| panic!("{name}: {problem}"));
    assert!(title.remark.is_none(), "{name}: {:?}", title.remark);
    Arc::into_inner({
        drop(library);
        title
    })
    .expect("nobody else has it")
}

/// Runs a tool in a folder, with words that are divided by spaces.
#[track_caller]
fn run(folder: &Path, tool: &str, words: &str) {
    let done = Command::new(tool).current_dir(folder).args(words.split_whitespace()).output().expect("it starts");
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(done.status.success(), "{tool} {words}: {said}");
}

const H264_AAC: &str = "-c:v libx264 -preset veryfast -g 25 -bf 2 -pix_fmt yuv420p -c:a aac";
const VP8_OPUS: &str = "-c:v libvpx -deadline realtime -cpu-used 8 -g 25 -c:a libopus";

/// GStreamer's muxers of pictures and sound: file, muxer, what stands in the file and how far its times are rounded.
const GSTREAMER: [(&str, &str, Held, f64); 12] = [
    ("plain.mp4", "mp4mux", Held::Same, 0.000_1),
    ("fast.mp4", "mp4mux faststart=true", Held::Same, 0.000_1),
    ("fragments.mp4", "mp4mux fragment-duration=500", Held::Same, 0.000_1),
    ("finalised.mp4", "mp4mux fragment-duration=500 fragment-mode=first-moov-then-finalise", Held::Same, 0.000_1),
    ("plain.mov", "qtmux", Held::Same, 0.000_1),
    ("fragments.mov", "qtmux fragment-duration=500 streamable=true", Held::Same, 0.000_1),
    ("plain.3gp", "3gppmux", Held::Same, 0.000_1),
    ("plain.mkv", "matroskamux", Held::Same, 0.001_6),
    ("live.mkv", "matroskamux streamable=true", Held::Same, 0.001_6),
    ("plain.ts", "mpegtsmux", Held::Times, 0.000_1),
    ("aligned.ts", "mpegtsmux alignment=7 pat-interval=1000 bitrate=1000000", Held::Times, 0.000_1),
    ("plain.m2ts", "mpegtsmux m2ts-mode=true", Held::Times, 0.000_1),
];
/// Its muxers of sound.
const GSTREAMER_SOUND: [(&str, &str); 8] = [
    ("vorbis.ogg", "vorbisenc ! oggmux"),
    ("opus.opus", "opusenc ! oggmux"),
    ("short.opus", "opusenc frame-size=5 ! oggmux max-page-delay=100000000"),
    ("best.flac", "flacenc quality=8"),
    ("deep.wav", "audio/x-raw,format=S24LE ! wavenc"),
    ("law.wav", "alawenc ! wavenc"),
    ("tagged.mp3", "lamemp3enc ! xingmux ! id3v2mux"),
    ("frames.aac", "avenc_aac ! aacparse ! audio/mpeg,stream-format=adts"),
];

#[test]
fn what_gstreamer_makes_has_the_packets_that_ffprobe_finds() {
    if !has_tools("what_gstreamer_makes_has_the_packets_that_ffprobe_finds", &["ffmpeg", "ffprobe", "gst-launch-1.0"]) {
        return;
    }
    let (folder, made) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    make(folder.path(), "in.mp4", H264_AAC);
    make(folder.path(), "in.webm", VP8_OPUS);
    let made = made.path();
    let launch = |pipeline: &str, name: &str| {
        run(folder.path(), "gst-launch-1.0", &format!("-q {pipeline} ! filesink location={}", made.join(name).display()));
        (title_of(&made.join(name)), made.join(name))
    };
    let demuxed = "filesrc location=in.mp4 ! qtdemux name=d d.video_0 ! queue ! h264parse ! m. d.audio_0 ! queue ! aacparse ! m.";
    for (name, muxer, held, rounding) in GSTREAMER {
        let (title, file) = launch(&format!("{demuxed} {muxer} name=m"), name);
        assert_eq!(title.tracks.iter().map(|track| track.codec.name()).collect::<Vec<_>>(), ["h264", "aac"], "{name}");
        compare(&title, &file, held, rounding);
        seek(&title);
    }
    let demuxed = "filesrc location=in.webm ! matroskademux name=d d.video_0 ! queue ! m.video_0 d.audio_0 ! queue ! m.audio_0";
    let (title, file) = launch(&format!("{demuxed} webmmux name=m"), "plain.webm");
    compare(&title, &file, Held::Same, 0.001_6);
    seek(&title);
    let sound = "audiotestsrc num-buffers=90 wave=pink-noise ! audio/x-raw,rate=48000,channels=2 ! audioconvert";
    for (name, muxer) in GSTREAMER_SOUND {
        let (title, file) = launch(&format!("{sound} ! {muxer}"), name);
        match &title.tracks[0].codec {
            Codec::Pcm(_) => compare_samples(&title, &file),
            // Opus begins with samples that are left out; headers of ADTS are no part of a frame.
            _ => compare(&title, &file, Held::Times, 0.015),
        }
        seek(&title);
    }
}

/// mkvmerge's ways to write a file: its name, the words before the input, the input.
const MKVMERGE: [(&str, &str, &str); 16] = [
    ("plain.mkv", "", "in.mp4"),
    ("uncued.mkv", "--no-cues", "in.mp4"),
    ("cued.mkv", "--cues 0:all --cues 1:all --engage no_cue_duration --engage no_cue_relative_position", "in.mp4"),
    ("short.mkv", "--clusters-in-meta-seek --cluster-length 200ms", "in.mp4"),
    ("fine.mkv", "--timestamp-scale 100000", "in.mp4"),
    ("xiph.mkv", "--engage lacing_xiph", "in.mp4"),
    ("ebml.mkv", "--engage lacing_ebml", "in.mp4"),
    ("unlaced.mkv", "--disable-lacing", "in.mp4"),
    ("groups.mkv", "--engage no_simpleblocks", "in.mp4"),
    ("late.mkv", "--sync 1:200", "in.mp4"),
    ("twice.mkv", "--engage write_headers_twice --engage no_meta_seek", "in.mp4"),
    ("attached.mkv", "--title Film --language 0:ger --attach-file in.mp3", "in.mp4"),
    ("plain.webm", "--webm", "in.webm"),
    ("mpeg.mka", "", "in.mp3"),
    ("laced.mka", "--engage lacing_xiph", "in.mp3"),
    ("ac3.mka", "", "in.ac3"),
];

#[test]
fn what_mkvmerge_makes_has_the_packets_that_ffprobe_finds() {
    if !has_tools("what_mkvmerge_makes_has_the_packets_that_ffprobe_finds", &["ffmpeg", "ffprobe", "mkvmerge"]) {
        return;
    }
    let (folder, made) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let inputs = [("in.mp4", H264_AAC), ("in.webm", VP8_OPUS), ("in.mp3", "-map 1:a"), ("in.ac3", "-map 1:a")];
    for (name, coding) in inputs {
        make(folder.path(), name, coding);
    }
    for (name, words, input) in MKVMERGE {
        let file = made.path().join(name);
        run(folder.path(), "mkvmerge", &format!("-q -o {} {words} {input}", file.display()));
        let title = title_of(&file);
        assert_eq!(title.tracks.len(), if input.ends_with('4') || input.ends_with('m') { 2 } else { 1 }, "{name}");
        // It rounds the beginning and each time to milliseconds.
        compare(&title, &file, Held::Same, 0.002);
        seek(&title);
    }
}

/// Rarer options of the encoders, in a container each.
const ENCODERS: [(&str, &str); 18] = [
    ("open.mp4", "-c:v libx264 -x264-params open-gop=1:keyint=13:bframes=3"),
    ("pyramid.mkv", "-c:v libx264 -x264-params b-pyramid=strict:bframes=5:b-adapt=0:keyint=25"),
    ("slices.ts", "-c:v libx264 -x264-params slices=4:aud=1:keyint=25:bframes=2"),
    ("refresh.mp4", "-c:v libx264 -x264-params intra-refresh=1:keyint=20:bframes=0"),
    ("refresh.mkv", "-c:v libx264 -x264-params intra-refresh=1:keyint=20:bframes=0"),
    ("repeated.mp4", "-c:v libx264 -x264-params repeat-headers=1:keyint=10"),
    ("undeblocked.mkv", "-c:v libx264 -x264-params no-deblock=1:cabac=0:ref=6"),
    ("interlaced.mp4", "-c:v libx264 -x264-params tff=1:keyint=25:bframes=2"),
    ("interlaced.ts", "-c:v libx264 -x264-params tff=1:keyint=25:bframes=2"),
    ("hrd.ts", "-c:v libx264 -x264-params nal-hrd=cbr:vbv-maxrate=400:vbv-bufsize=400:bitrate=400:filler=1"),
    ("lossless.mov", "-c:v libx264 -x264-params qp=0:bframes=1"),
    ("open.h265.mp4", "-c:v libx265 -x265-params log-level=none:open-gop=1:keyint=13:bframes=4"),
    ("closed.h265.mkv", "-c:v libx265 -x265-params log-level=none:open-gop=0:keyint=13:b-pyramid=1:bframes=6"),
    ("repeated.h265.mp4", "-c:v libx265 -x265-params log-level=none:repeat-headers=1:aud=1:hrd=1:vbv-maxrate=500:vbv-bufsize=500"),
    ("refresh.h265.ts", "-c:v libx265 -x265-params log-level=none:intra-refresh=1:bframes=0"),
    ("layers.h265.mkv", "-c:v libx265 -x265-params log-level=none:temporal-layers=2:b-pyramid=1:keyint=25"),
    ("slices.h265.ts", "-c:v libx265 -x265-params log-level=none:slices=2:ctu=16:keyint=25:aud=1"),
    ("small.h265.mov", "-tag:v hvc1 -c:v libx265 -x265-params log-level=none:ctu=16:min-cu-size=8:no-deblock=1:keyint=8"),
];

#[test]
fn what_encoders_make_of_rarer_options_has_the_packets_that_ffprobe_finds() {
    if !has_tools("what_encoders_make_of_rarer_options_has_the_packets_that_ffprobe_finds", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, coding) in ENCODERS {
        let file = make(folder.path(), name, &format!("-map 0:v -pix_fmt yuv420p -preset veryfast {coding}"));
        let held = if name.ends_with(".ts") { Held::Times } else { Held::Same };
        let title = title_of(&file);
        assert_eq!(title.tracks[0].len(), 50, "{name}");
        compare(&title, &file, held, if name.ends_with("mkv") { 0.001_6 } else { 0.000_1 });
        seek(&title);
    }
}

/// Files with a picture of their own: their name, the tool, its words.
const COVERED: [(&str, &str, &str); 7] = [
    ("png.mp4", "ffmpeg", "-v error -i film.mp4 -i cover.png -map 0 -map 1 -c copy -disposition:v:1 attached_pic png.mp4"),
    ("jpeg.m4a", "ffmpeg", "-v error -i film.mp4 -i cover.jpg -map 0:a -map 1 -c copy -disposition:v:0 attached_pic jpeg.m4a"),
    ("png.flac", "ffmpeg", "-v error -i film.mp4 -i cover.png -map 0:a -map 1 -c:a flac -c:v copy -disposition:v:0 attached_pic png.flac"),
    (
        "three.mp3",
        "ffmpeg",
        "-v error -i film.mp4 -i cover.jpg -map 0:a -map 1 -c:a libmp3lame -c:v copy -id3v2_version 3 -metadata title=Grüße three.mp3",
    ),
    ("four.mp3", "ffmpeg", "-v error -i film.mp4 -i cover.png -map 0:a -map 1 -c:a libmp3lame -c:v copy -id3v2_version 4 four.mp3"),
    ("ffmpeg.mkv", "ffmpeg", "-v error -i film.mp4 -attach cover.jpg -metadata:s:t mimetype=image/jpeg -c copy ffmpeg.mkv"),
    ("mkvmerge.mkv", "mkvmerge", "-q -o mkvmerge.mkv --attach-file other.png --attach-file cover.png film.mp4"),
];

#[test]
fn the_picture_that_a_file_carries_is_found_octet_by_octet() {
    if !has_tools("the_picture_that_a_file_carries_is_found_octet_by_octet", &["ffmpeg", "mkvmerge"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, size) in [("cover.png", "64x48"), ("cover.jpg", "64x48"), ("other.png", "32x32")] {
        run(folder.path(), "ffmpeg", &format!("-v error -f lavfi -i testsrc=size={size} -frames:v 1 {name}"));
    }
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4"), folder.path().join("film.mp4")).expect("copied");
    for (_, tool, words) in COVERED {
        run(folder.path(), tool, words);
    }
    let library = Library::open(folder.path()).expect("a folder");
    let cover = |name: &str| library.entry(&TitlePath::new(name).expect("a path")).expect("it is there").cover();
    for (name, _, words) in COVERED {
        let (file, kind) = if words.contains("cover.png") { ("cover.png", "image/png") } else { ("cover.jpg", "image/jpeg") };
        let found = cover(name).unwrap_or_else(|| panic!("{name} has a picture"));
        let wanted = std::fs::read(folder.path().join(file)).expect("readable");
        assert!((found.kind, found.octets.len()) == (kind, wanted.len()) && found.octets == wanted, "{name}: {}", found.kind);
    }
    assert_eq!(cover("film.mp4"), None, "it has none");
}
