//! Pictures of the other codings in MP4 and MOV to real players: whole titles, starts within one, a take-over; what players decode is what
//! is decoded of the file.
//!
//! Debian's ffmpeg and GStreamer know no AV1 in RTP (GStreamer's is a plugin of its own); PyAV's FFmpeg does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::support::namespaces::Family::{V4, V6};
use crate::support::namespaces::Host;
use crate::support::scene::Scene;
use crate::support::skip;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::viewer::{Viewer, assert_contiguous};

/// 25 pictures a second.
const PICTURE: &str = "testsrc2=s=320x240:r=25,noise=alls=8:allf=t";

/// A film and who plays it.
pub(super) struct Coding {
    pub(super) title: &'static str,
    pub(super) seconds: usize,
    pub(super) coded: &'static [&'static str],
    /// GStreamer's elements; empty where it has none.
    pub(super) elements: [&'static str; 2],
}

pub(super) const AV1: Coding = Coding {
    title: "av1.mp4",
    seconds: 4,
    coded: &["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-pix_fmt", "yuv420p"],
    elements: ["", ""],
};
/// ffmpeg does not put it into such a file, GStreamer does.
pub(super) const VP8: Coding = Coding {
    title: "vp8.mov",
    seconds: 4,
    coded: &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "500k", "-pix_fmt", "yuv420p"],
    elements: ["rtpvp8depay", "vp8dec"],
};
pub(super) const VP9: Coding = Coding {
    title: "vp9.mp4",
    seconds: 4,
    coded: &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "500k", "-pix_fmt", "yuv420p"],
    elements: ["rtpvp9depay", "vp9dec"],
};
/// Long enough for take-overs.
const LONG_VP9: Coding = Coding { title: "long.mp4", seconds: 10, ..VP9 };
const LONG_MPEG2: Coding = Coding { title: "long.mov", seconds: 10, ..MPEG2 };
pub(super) const MPEG4: Coding = Coding {
    title: "mpeg4.mp4",
    seconds: 4,
    coded: &["-c:v", "mpeg4", "-bf", "2", "-g", "25", "-b:v", "800k"],
    elements: ["rtpmp4vdepay", "mpeg4videoparse ! avdec_mpeg4"],
};
/// Open groups: two pictures behind each I-picture but the first lean on the group before. In QuickTime's table of partial sync samples.
pub(super) const MPEG2: Coding = Coding {
    title: "mpeg2.mov",
    seconds: 4,
    coded: &["-c:v", "mpeg2video", "-bf", "2", "-g", "13", "-b:v", "1500k"],
    elements: ["rtpmpvdepay", "mpegvideoparse ! avdec_mpeg2video"],
};
pub(super) const MPEG1: Coding = Coding {
    title: "mpeg1.mp4",
    seconds: 4,
    coded: &["-c:v", "mpeg1video", "-bf", "2", "-g", "13", "-b:v", "1500k"],
    elements: ["rtpmpvdepay", "mpegvideoparse ! avdec_mpeg2video"],
};
pub(super) const JPEG: Coding = Coding {
    title: "jpeg.mov",
    seconds: 4,
    coded: &["-c:v", "mjpeg", "-huffman", "default", "-q:v", "5", "-pix_fmt", "yuvj420p"],
    elements: ["rtpjpegdepay", "avdec_mjpeg"],
};

/// Where the films are made, each once.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder")).path()
}

/// The folder of one film alone, and a hash of each of its pictures in order; `None` (having said so) where ffmpeg cannot code it.
pub(super) fn film(coding: &Coding) -> Option<(PathBuf, Vec<String>)> {
    static MADE: Mutex<Option<HashMap<&str, Vec<String>>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let made = made.get_or_insert_default();
    let own = folder().join(coding.title.replace('.', "_"));
    let path = own.join(coding.title);
    if !made.contains_key(coding.title) {
        std::fs::create_dir_all(&own).expect("a folder");
        if !make(coding, &path) {
            skip(&format!("{} cannot be made", coding.title));
            return None;
        }
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-i"]).arg(&path);
        let pictures = hashes(&command.args(FRAMEHASH).output().expect("ffmpeg runs"));
        assert_eq!(pictures.len(), coding.seconds * 25, "{}", coding.title);
        made.insert(coding.title, pictures);
    }
    Some((own, made[coding.title].clone()))
}

fn make(coding: &Coding, path: &Path) -> bool {
    let is_vp8 = coding.title.ends_with(VP8.title);
    let out = if is_vp8 { folder().join("vp8.webm") } else { path.to_owned() };
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", PICTURE, "-t"]);
    command.arg(coding.seconds.to_string()).args(coding.coded).arg(&out);
    let mut is_made = succeeds(&mut command);
    if is_vp8 && is_made {
        let mut command = Command::new("gst-launch-1.0");
        command.args(["-q", "filesrc"]).arg(format!("location={}", out.display()));
        command.args(["!", "matroskademux", "!", "video/x-vp8", "!", "qtmux", "!", "filesink"]).arg(format!("location={}", path.display()));
        is_made = succeeds(&mut command);
    }
    is_made
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

pub(super) const FRAMEHASH: [&str; 9] = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "md5", "-"];

/// The last field of each line of a framehash; whole lines where they are hashes.
#[track_caller]
pub(super) fn hashes(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::str::from_utf8(&output.stdout).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit(',').next()).map(|hash| hash.trim().to_owned()).collect()
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Player {
    Ffmpeg,
    PyAv,
    GStreamer,
}

impl Player {
    pub(super) fn play(self, coding: &Coding, host: &Host, url: &str, carriage: Carriage) -> Vec<String> {
        let transport = if matches!(carriage, Udp) { "udp" } else { "tcp" };
        let script = |player: &str| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut command = host.command(root.join("target/test-venv/bin/python"));
            command.env("PYTHONDONTWRITEBYTECODE", "1").arg(root.join("tests/players/pictures.py")).args([player, url, transport]);
            command
        };
        let mut command = match self {
            Self::Ffmpeg => {
                let mut command = host.command("ffmpeg");
                command
                    .args(["-v", "error", "-nostdin", "-rtsp_transport", transport, "-buffer_size", "8388608", "-i", url])
                    .args(FRAMEHASH);
                command
            }
            Self::PyAv => script("pyav"),
            Self::GStreamer => {
                let mut command = script("gstreamer");
                command.args(coding.elements);
                command
            }
        };
        hashes(&command.output().expect("the player runs"))
    }
}

fn scene_of(coding: &Coding) -> Option<(Scene, Vec<String>)> {
    let (folder, pictures) = film(coding)?;
    Some((Scene::set_with(&folder, &[])?, pictures))
}

fn gets_every_picture(coding: &Coding, players: &[(Player, Carriage)]) {
    let Some((scene, pictures)) = scene_of(coding) else { return };
    for &(player, carriage) in players {
        let url = scene.url(if matches!(carriage, Udp) { V6 } else { V4 }, coding.title);
        let received = player.play(coding, &scene.network.a, &url, carriage);
        assert_eq!(received, pictures, "{player:?}, {}", coding.title);
    }
}

/// From the random access point at or before two seconds and a bit, at `first`; without what leans on the pictures before it.
fn starts_within(coding: &Coding, first: usize, players: &[(Player, Carriage)]) {
    let Some((scene, pictures)) = scene_of(coding) else { return };
    for &(player, carriage) in players {
        let url = scene.url(V6, &format!("{}?t=2.2", coding.title));
        let received = player.play(coding, &scene.network.a, &url, carriage);
        assert_eq!(received, pictures[first..], "{player:?}, {}", coding.title);
    }
}

#[test]
fn av1_arrives_whole() {
    gets_every_picture(&AV1, &[(Player::PyAv, Udp), (Player::PyAv, Interleaved)]);
}

#[test]
fn av1_starts_within() {
    starts_within(&AV1, 50, &[(Player::PyAv, Udp)]);
}

#[test]
fn vp8_arrives_whole() {
    gets_every_picture(&VP8, &[(Player::Ffmpeg, Udp), (Player::Ffmpeg, Interleaved), (Player::PyAv, Udp), (Player::GStreamer, Udp)]);
}

#[test]
fn vp8_starts_within() {
    starts_within(&VP8, 50, &[(Player::Ffmpeg, Interleaved), (Player::GStreamer, Udp)]);
}

#[test]
fn vp9_arrives_whole() {
    gets_every_picture(&VP9, &[(Player::Ffmpeg, Udp), (Player::Ffmpeg, Interleaved), (Player::PyAv, Udp), (Player::GStreamer, Udp)]);
}

#[test]
fn vp9_starts_within() {
    starts_within(&VP9, 50, &[(Player::Ffmpeg, Interleaved), (Player::GStreamer, Udp)]);
}

#[test]
fn mpeg4_arrives_whole() {
    gets_every_picture(&MPEG4, &[(Player::Ffmpeg, Udp), (Player::Ffmpeg, Interleaved), (Player::PyAv, Udp), (Player::GStreamer, Udp)]);
}

#[test]
fn mpeg4_starts_within() {
    starts_within(&MPEG4, 51, &[(Player::Ffmpeg, Interleaved), (Player::GStreamer, Udp)]);
}

#[test]
fn mpeg2_arrives_whole() {
    gets_every_picture(
        &MPEG2,
        &[(Player::Ffmpeg, Udp), (Player::Ffmpeg, Interleaved), (Player::PyAv, Udp), (Player::GStreamer, Interleaved)],
    );
}

#[test]
fn mpeg2_starts_within_an_open_group() {
    starts_within(&MPEG2, 51, &[(Player::Ffmpeg, Udp), (Player::GStreamer, Udp)]);
}

#[test]
fn mpeg1_arrives_whole() {
    gets_every_picture(&MPEG1, &[(Player::Ffmpeg, Udp), (Player::PyAv, Interleaved), (Player::GStreamer, Udp)]);
}

#[test]
fn jpeg_arrives_whole() {
    gets_every_picture(&JPEG, &[(Player::Ffmpeg, Udp), (Player::Ffmpeg, Interleaved), (Player::PyAv, Udp), (Player::GStreamer, Udp)]);
}

#[test]
fn jpeg_starts_within() {
    starts_within(&JPEG, 55, &[(Player::Ffmpeg, Udp), (Player::GStreamer, Udp)]);
}

/// A plays until it is well into a film.
fn a_plays(scene: &Scene, coding: &Coding) -> Viewer {
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, coding.title), Udp);
    wait_for_pictures(&a, 60);
    a
}

fn wait_for_pictures(viewer: &Viewer, count: usize) {
    viewer.video().recording.wait_for(&format!("{count} pictures"), Duration::from_secs(20), |arrived| {
        let begun = arrived.rtp.chunk_by(|before, next| before.timestamp() == next.timestamp()).count();
        (begun > count).then_some(())
    });
}

/// B is brought to the key picture that A has last begun with, and has all from there on but what leans on the pictures before it; that is
/// one of those at `first` and every `period` pictures in the order of showing.
fn ffmpeg_takes_over(coding: &Coding, join: &str, first: usize, period: usize) {
    let Some((scene, pictures)) = scene_of(coding) else { return };
    let a = a_plays(&scene, coding);
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let received = Player::Ffmpeg.play(coding, &scene.network.b, &format!("{url}&join={join}"), Udp);
    let begins = pictures.len() - received.len();
    assert!(begins > first && (begins - first).is_multiple_of(period) && received.len() >= 25, "{join}: not at {begins}");
    assert_eq!(received, pictures[begins..], "{join}");
}

#[test]
fn ffmpeg_takes_vp9_over() {
    ffmpeg_takes_over(&LONG_VP9, "primed", 0, 25);
}

#[test]
fn ffmpeg_takes_mpeg2_over() {
    ffmpeg_takes_over(&LONG_MPEG2, "primed", 3, 12);
    ffmpeg_takes_over(&LONG_MPEG2, "aligned", 3, 12);
}

/// Packets of zeros have the numbers of what is left out.
#[test]
fn mpeg2_has_no_gap_where_it_begins_with_an_open_group() {
    let Some((scene, _)) = scene_of(&LONG_MPEG2) else { return };
    let a = a_plays(&scene, &LONG_MPEG2);
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let b = Viewer::watch(&scene.network.b, &format!("{url}&join=primed"), Udp);
    wait_for_pictures(&b, 30);
    let packets = b.video().packets();
    assert_contiguous("B", &packets);
    // Neither a sequence header nor a slice begins in them (RFC 2250 section 3.4).
    let is_filler = |payload: &[u8]| matches!(payload, [_, _, flags, _, 0] if flags & 0x30 == 0);
    let first = packets.iter().take_while(|packet| packet.timestamp() == packets[0].timestamp());
    assert!(first.filter(|packet| is_filler(packet.payload())).count() >= 2, "one for each picture at least");
    assert!(packets.iter().all(|packet| packet.octets[1] & 0x7f == 32), "the static payload type");
}
