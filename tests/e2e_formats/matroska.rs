//! Matroska files to real players: whole titles, seeks, a hand-over, compared with the file picture by picture.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::film::Film;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::players::{Player, Received};
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::viewer::Viewer;

/// Closed groups of 24 pictures, pyramids of B pictures, 24000/1001 a second; sound at 44.1 kHz.
const H264: &str = "film.mkv";
/// Open groups of 52 pictures. As players are told, so that they take it apart by its coding.
const H265: &str = "film.h265.mkv";
const SLACK: Duration = Duration::from_secs(10);

fn make_film(path: &Path, rate: &str, coding: &[&str]) {
    let picture = format!("testsrc2=s=320x180:r={rate},noise=alls=10:allf=t");
    let inputs = ["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=f=440:r=44100", "-t", "8"];
    let made = Command::new("ffmpeg").args(inputs).args(coding).args(["-c:a", "aac", "-b:a", "64k"]).arg(path).status();
    assert!(made.expect("ffmpeg starts").success());
}

struct Stage {
    scene: Scene,
    film: &'static Film,
}

/// The two films, made once for all tests here.
fn set(name: &str) -> Option<Stage> {
    static MADE: OnceLock<(tempfile::TempDir, [Film; 2])> = OnceLock::new();
    let (folder, films) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str| Film::at(&folder.path().join(name), name, &["video", "audio"]);
        let x264 = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "24", "-pix_fmt", "yuv420p", "-b:v", "500k"];
        make_film(&folder.path().join(H264), "24000/1001", &x264);
        let groups = "log-level=error:keyint=52:min-keyint=52:scenecut=0:open-gop=1:bframes=3:pools=2";
        let x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", groups, "-b:v", "500k", "-pix_fmt", "yuv420p"];
        make_film(&folder.path().join(H265), "25", &x265);
        let films = [of(H264), of(H265)];
        assert_eq!(films.each_ref().map(|film| film.video.len()), [192, 200]);
        (folder, films)
    });
    let film = films.iter().find(|film| film.name == name)?;
    Some(Stage { scene: Scene::set_with(folder.path(), &[])?, film })
}

impl Stage {
    /// The positions of what is shown before the key picture at `key` and sent behind it.
    fn leading(&self, key: usize) -> std::ops::Range<usize> {
        let video = &self.film.video;
        key + 1..key + 1 + video[key + 1..].iter().take_while(|unit| unit.time < video[key].time).count()
    }

    /// Holds what came against the file from the key picture at `key` on.
    fn came_from(&self, key: usize, received: &Received) {
        let leading = self.leading(key);
        let expected: Vec<_> = (key..self.film.video.len())
            .filter(|position| !leading.contains(position))
            .map(|position| self.film.video[position].digest)
            .collect();
        assert_eq!(received.pictures, expected, "pictures from {key} on");
    }
}

fn gets_everything(name: &str, player: Player, carriage: Carriage) {
    let Some(stage) = set(name) else { return };
    let url = stage.scene.url(if carriage == Udp { V6 } else { V4 }, name);
    let received = player.play(&stage.scene.network.a, &url, carriage).end(SLACK * 2);
    assert_eq!(stage.film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(stage.film.locate_frames("sound", &received.frames), 0);
    assert_eq!((received.pictures.len(), received.frames.len()), (stage.film.video.len(), stage.film.audio.len()));
}

/// A seek begins with the random access point before, and without what leans on the group before that.
fn seeks(name: &str, player: Player, carriage: Carriage) {
    let Some(stage) = set(name) else { return };
    let key = stage.film.key_at_or_before(3.0);
    assert!(key > 0);
    let url = stage.scene.url(if carriage == Udp { V6 } else { V4 }, name);
    let received = player.play_from(&stage.scene.network.a, &url, carriage, 3).end(SLACK * 2);
    let received = if player == Player::GStreamer { received.behind_a_seek(stage.film, key) } else { received };
    stage.came_from(key, &received);
}

#[test]
fn ffmpeg_gets_everything() {
    gets_everything(H264, Player::Ffmpeg, Udp);
}

#[test]
fn ffmpeg_gets_everything_interleaved() {
    gets_everything(H265, Player::Ffmpeg, Interleaved);
}

#[test]
fn pyav_gets_everything() {
    gets_everything(H264, Player::PyAv, Udp);
}

#[test]
fn gstreamer_gets_everything() {
    gets_everything(H264, Player::GStreamer, Udp);
    gets_everything(H265, Player::GStreamer, Udp);
}

#[test]
fn ffmpeg_seeks() {
    seeks(H264, Player::Ffmpeg, Interleaved);
}

#[test]
fn ffmpeg_seeks_into_an_open_group() {
    seeks(H265, Player::Ffmpeg, Interleaved);
}

#[test]
fn gstreamer_seeks_into_an_open_group() {
    seeks(H265, Player::GStreamer, Udp);
}

/// B begins with a key picture of an open group while A plays on, and has all that follows but its leading pictures.
#[test]
fn primed_b_begins_with_an_open_group() {
    let Some(stage) = set(H265) else { return };
    let scene = &stage.scene;
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, H265), Udp);
    a.video().recording.wait_for("a picture of the second group", SLACK, |arrived| {
        let pictures = arrived.rtp.chunk_by(|before, next| before.timestamp() == next.timestamp()).count();
        (pictures > 60).then_some(())
    });
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    // The coding is told by the query, which the server does not know.
    let url = format!("{url}&join=primed&x=h265");
    let received = Player::Ffmpeg.play(&scene.network.b, &url, Udp).end(SLACK * 2);
    let key = stage.film.locate_pictures("B's first picture", &received.pictures[..1]);
    assert!(key > 0 && stage.film.video[key].key && stage.leading(key).len() > 1, "an open group, not position {key}");
    stage.came_from(key, &received);
}
