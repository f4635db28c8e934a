//! Hand-overs in every coding that is sent, primed and aligned: what both devices have together is the whole title, number by number, and
//! the second begins with a random access point.
//!
//! All play at the same time, so that the whole takes as long as one of them. What the whole is says a third device, which plays it alone.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::recording::{Arrived, Packet};
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Viewer, assert_contiguous};
use crate::support::{SOON, namespaces::Family::V6};
use crate::video::{AV1, Coding, JPEG, MPEG1, MPEG2, MPEG4, VP8, VP9, film};

/// When the second device comes, for how long the first has packets too (longer than a group of pictures, for the first has what is left
/// out behind the second's first picture), and how long the titles are, in seconds: so long that the first leaves before the end, also
/// where all these players are slow to start together.
const COMES: Duration = Duration::from_millis(1200);
const TRANSITION_MS: &str = "1200";
const SECONDS: usize = 8;

const H264: Coding = Coding {
    title: "h264.mp4",
    seconds: SECONDS,
    coded: &["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2", "-b:v", "500k", "-pix_fmt", "yuv420p"],
    elements: ["", ""],
};
/// Open groups.
const H265: Coding = Coding {
    title: "h265.mp4",
    seconds: SECONDS,
    coded: &[
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=error:keyint=25:min-keyint=25:scenecut=0:open-gop=1:bframes=3",
        "-pix_fmt",
        "yuv420p",
    ],
    elements: ["", ""],
};

/// Sound, several codings in a title each; the last has pictures too, and its sound in LATM.
const SOUNDS: [(&str, &str); 4] = [
    ("sounds.mkv", "aac libopus libmp3lame ac3 libvorbis pcm_s16le pcm_s24le"),
    ("telephone.mov", "pcm_alaw pcm_mulaw"),
    ("wide.wav", "g722"),
    ("latm.ts", "aac"),
];

/// A title, how many tracks it has, and when its key pictures are shown, behind the first.
#[derive(Clone)]
struct Case {
    title: &'static str,
    query: &'static str,
    tracks: usize,
    pictures: usize,
    keys: Vec<f64>,
}

fn ffmpeg(arguments: &[&str], to: &Path) {
    let made = Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(to).status();
    assert!(made.expect("ffmpeg starts").success(), "{arguments:?}");
}

fn make_sounds(folder: &Path, (title, coders): (&str, &str)) -> usize {
    let seconds = SECONDS.to_string();
    let rate = match coders {
        "pcm_alaw pcm_mulaw" => "8000",
        "g722" => "16000",
        _ => "48000",
    };
    let mut arguments =
        vec!["-f", "lavfi", "-i", "aevalsrc=0.2*random(0)+0.3*sin(2764*t):s=48000", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25"];
    arguments.extend(["-t", &seconds, "-ar", rate, "-ac", if rate == "48000" { "2" } else { "1" }]);
    let coders: Vec<&str> = coders.split(' ').collect();
    let options: Vec<String> = (0..coders.len()).map(|number| format!("-c:a:{number}")).collect();
    for (option, coder) in options.iter().zip(&coders) {
        arguments.extend(["-map", "0:a", option, coder]);
    }
    let has_pictures = title.ends_with(".ts");
    if has_pictures {
        arguments.extend(["-map", "1:v", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-mpegts_flags", "latm"]);
    }
    ffmpeg(&arguments, &folder.join(title));
    coders.len() + usize::from(has_pictures)
}

/// How many pictures there are, and when those are shown which ffprobe calls key pictures.
fn pictures(path: &Path) -> (usize, Vec<f64>) {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0"]).arg(path);
    let output = command.output().expect("ffprobe runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<(f64, bool)> = text
        .lines()
        .filter_map(|line| line.split_once(','))
        .map(|(time, flags)| (time.parse().expect("a time"), flags.starts_with('K')))
        .collect();
    let first = lines.first().map_or(0.0, |line| line.0);
    (lines.len(), lines.iter().filter(|line| line.1).map(|line| line.0 - first).collect())
}

/// Everything in one folder; `None` (having said so) where a film cannot be made.
fn library() -> Option<(tempfile::TempDir, Vec<Case>)> {
    const FILMS: [Coding; 9] = [
        H264,
        H265,
        Coding { title: "long_av1.mp4", seconds: SECONDS, ..AV1 },
        Coding { title: "long_vp8.mov", seconds: SECONDS, ..VP8 },
        Coding { title: "long_vp9.mp4", seconds: SECONDS, ..VP9 },
        Coding { title: "long_mpeg4.mp4", seconds: SECONDS, ..MPEG4 },
        Coding { title: "long_mpeg1.mp4", seconds: SECONDS, ..MPEG1 },
        Coding { title: "long_mpeg2.mov", seconds: SECONDS, ..MPEG2 },
        Coding { title: "long_jpeg.mov", seconds: SECONDS, ..JPEG },
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let (films, sounds) = std::thread::scope(|scope| {
        let sounds = scope.spawn(|| {
            let fast = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25", "-t", "32", "-c:v", "libx264", "-preset", "ultrafast", "-g", "10"];
            ffmpeg(&fast, &folder.path().join("back.mp4"));
            SOUNDS.map(|sounds| make_sounds(folder.path(), sounds))
        });
        (FILMS.map(|coding| film(&coding)), sounds.join().expect("no panic"))
    });
    let mut cases = Vec::new();
    let mut add = |title: &'static str, query, tracks| {
        let (pictures, keys) = pictures(&folder.path().join(title));
        cases.push(Case { title, query, tracks, pictures, keys });
    };
    for (coding, made) in FILMS.into_iter().zip(films) {
        std::fs::copy(made?.0.join(coding.title), folder.path().join(coding.title)).expect("copied");
        add(coding.title, "", 1);
    }
    for ((title, _), tracks) in SOUNDS.into_iter().zip(sounds) {
        add(title, "", tracks);
    }
    add("back.mp4", "?scale=-4", 1);
    Some((folder, cases))
}

fn ends(viewer: &Viewer) {
    for track in &viewer.tracks {
        track.recording.wait_for(&format!("BYE to the {}", track.media), SOON * 2, Arrived::bye_at);
    }
}

/// Payloads in order, and by how much each packet is sampled behind the first.
fn content(packets: &[Packet]) -> Vec<(u32, &[u8])> {
    let first = packets.first().map_or(0, Packet::timestamp);
    packets.iter().map(|packet| (packet.timestamp().wrapping_sub(first), packet.payload())).collect()
}

/// What a pair of devices has of a track, in the order of the numbers.
#[track_caller]
fn together(whose: &str, case: &Case, a: &[Packet], b: &[Packet]) -> Vec<Packet> {
    assert_contiguous(&format!("{whose}, A"), a);
    let first = &b[0];
    // What is left out behind B's first picture, as it leans on the pictures before, is filled or leaves a gap; A has it.
    let filled: Vec<u16> = b.iter().take_while(|packet| packet.timestamp() == first.timestamp()).map(Packet::sequence).collect();
    for (position, pair) in b.windows(2).enumerate() {
        let step = pair[1].sequence().wrapping_sub(pair[0].sequence());
        let is_gap = case.title.ends_with(MPEG4.title) && position + 1 == filled.len();
        assert!(step == 1 || (is_gap && (1..100).contains(&step)), "{whose}, B: packet {position} is followed by another than the next");
    }
    let numbers: HashMap<u16, &Packet> = a.iter().map(|packet| (packet.sequence(), packet)).collect();
    let mut all = a.to_vec();
    for packet in b {
        match numbers.get(&packet.sequence()) {
            Some(twin) if twin.timestamp() != packet.timestamp() => {
                assert!(filled.contains(&packet.sequence()), "{whose}: another packet of the same number");
            }
            Some(twin) => assert!(twin.payload() == packet.payload(), "{whose}: other octets of the same number"),
            None => all.push(packet.clone()),
        }
    }
    assert_contiguous(&format!("{whose}, together"), &all);
    all
}

fn hands_over(scene: &Scene, case: &Case, join: &str) -> Vec<Vec<Packet>> {
    let url = scene.url(V6, &format!("{}{}", case.title, case.query));
    let a = Viewer::watch(&scene.network.a, &url, Udp);
    assert_eq!(a.tracks.len(), case.tracks, "{}", case.title);
    // Not before all of its tracks are well under way.
    for track in &a.tracks {
        track.recording.wait_for(&format!("{} of {}", track.media, case.title), SOON, |arrived| {
            let first = arrived.rtp.first()?.at;
            arrived.rtp.iter().any(|packet| packet.at - first > COMES).then_some(())
        });
    }
    let url = scene.operator().takeover_url(&a.tracks[0].home, V6, "presentation");
    let carriage = if join == "primed" { Udp } else { Interleaved };
    let b = Viewer::watch(&scene.network.b, &format!("{url}&join={join}"), carriage);
    ends(&a);
    ends(&b);
    let mut all = Vec::new();
    for (number, (old, new)) in a.tracks.iter().zip(&b.tracks).enumerate() {
        let whose = format!("{} track {number}, {join}", case.title);
        let (had, got) = (old.packets(), new.packets());
        assert!(had.last().expect("A had something").sequence() != got.last().expect("B has something").sequence(), "{whose}: A left");
        let behind = f64::from(got[0].timestamp().wrapping_sub(had[0].timestamp()) as i32) / f64::from(new.clock_rate);
        if new.media == "video" && case.query.is_empty() {
            assert!(behind > 0.5 && case.keys.iter().any(|key| (key - behind).abs() < 0.002), "{whose}: begins at {behind} s");
        } else {
            assert!(behind > 0.5, "{whose}: begins at {behind} s");
        }
        all.push(together(&whose, case, &had, &got));
    }
    all
}

#[test]
fn in_every_coding_two_devices_have_the_whole_title() {
    let Some((folder, cases)) = library() else { return };
    let Some(scene) = Scene::set_with(folder.path(), &["--transition", TRANSITION_MS]) else { return };
    std::thread::scope(|scope| {
        let running: Vec<_> = cases
            .iter()
            .map(|case| {
                let pairs = ["primed", "aligned"].map(|join| (join, scope.spawn(|| hands_over(&scene, case, join))));
                let alone = scope.spawn(|| {
                    let alone = Viewer::watch(&scene.network.b, &scene.url(V6, &format!("{}{}", case.title, case.query)), Interleaved);
                    ends(&alone);
                    alone
                });
                (case, pairs, alone)
            })
            .collect();
        for (case, pairs, alone) in running {
            let alone = alone.join().expect("no panic");
            let whole: Vec<Vec<Packet>> = alone.tracks.iter().map(crate::support::viewer::Watched::packets).collect();
            for (track, packets) in alone.tracks.iter().zip(&whole) {
                assert_contiguous(case.title, packets);
                let begun = packets.chunk_by(|before, next| before.timestamp() == next.timestamp()).count();
                let expected = if case.query.is_empty() { case.pictures } else { case.keys.len() };
                assert!(track.media != "video" || begun == expected, "{}: {begun} of {expected} pictures", case.title);
            }
            for (join, pair) in pairs {
                let came = pair.join().expect("no panic");
                for (number, (whole, came)) in whole.iter().zip(&came).enumerate() {
                    assert!(
                        content(whole) == content(came),
                        "{} track {number}, {join}: {} and {} packets",
                        case.title,
                        whole.len(),
                        came.len()
                    );
                }
            }
        }
    });
}
