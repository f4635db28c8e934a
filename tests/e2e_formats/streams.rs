//! Transport streams and raw streams to real players: whole titles and seeks, compared with the file slice by slice.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::elementary::{Digest, Pictures, adts_frames};
use crate::support::film::Film;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::players::{Player, Received, play_with_retina};
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};

const TITLE: &str = "film.ts";
const SLACK: Duration = Duration::from_secs(20);

/// Six seconds at 25 pictures a second, three B-pictures between others, first as MP4, whose tracks are then written in other ways.
fn make_films(folder: &Path) {
    let run = |arguments: &str, name: &str| {
        let made = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(arguments.split(' ')).arg(folder.join(name)).status();
        assert!(made.expect("ffmpeg starts").success(), "ffmpeg {arguments} {name}");
    };
    let source = "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=f=440:r=48000 -t 6";
    let coded = "-c:v libx264 -preset ultrafast -g 25 -bf 3 -x264-params b-adapt=0:slices=2 -pix_fmt yuv420p -c:a aac -b:a 64k";
    run(&format!("{source} {coded}"), "source.mp4");
    let source = format!("-i {}", folder.join("source.mp4").display());
    run(&format!("{source} -c copy"), TITLE);
    run(&format!("{source} -an -c copy"), "raw.h264");
    run(&format!("{source} -vn -c copy"), "raw.aac");
}

struct Stage {
    scene: Scene,
    film: &'static Film,
}

/// Made once for all tests here.
fn set() -> Option<Stage> {
    static MADE: OnceLock<(tempfile::TempDir, Film)> = OnceLock::new();
    let (folder, film) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        make_films(folder.path());
        let film = Film::at(&folder.path().join("source.mp4"), TITLE, &["video", "audio"]);
        assert_eq!(film.video.len(), 150);
        (folder, film)
    });
    Some(Stage { scene: Scene::set_with(folder.path(), &[])?, film })
}

impl Stage {
    fn url(&self, carriage: Carriage, title: &str) -> String {
        self.scene.url(if carriage == Udp { V6 } else { V4 }, title)
    }
}

fn has_all(stage: &Stage, received: &Received) {
    assert_eq!(stage.film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(stage.film.locate_frames("sound", &received.frames), 0);
    assert_eq!((received.pictures.len(), received.frames.len()), (stage.film.video.len(), stage.film.audio.len()));
}

fn gets_all(player: Player, carriage: Carriage) {
    let Some(stage) = set() else { return };
    let url = stage.url(carriage, TITLE);
    has_all(&stage, &player.play(&stage.scene.network.a, &url, carriage).end(SLACK));
}

#[test]
fn ffmpeg_gets_every_slice_of_a_transport_stream() {
    gets_all(Player::Ffmpeg, Udp);
}

#[test]
fn ffmpeg_gets_every_slice_of_a_transport_stream_interleaved() {
    gets_all(Player::Ffmpeg, Interleaved);
}

#[test]
fn gstreamer_gets_every_slice_of_a_transport_stream() {
    gets_all(Player::GStreamer, Udp);
}

#[test]
fn retina_gets_every_slice_of_a_transport_stream() {
    let Some(stage) = set() else { return };
    has_all(&stage, &play_with_retina(&stage.scene.network.a, &stage.url(Udp, TITLE), Udp, |_| false));
}

#[test]
fn players_seek_in_a_transport_stream() {
    let Some(stage) = set() else { return };
    let key = stage.film.key_at_or_before(3.5);
    assert!(key > 50);
    let expected: Vec<Digest> = stage.film.pictures()[key..].to_vec();
    let url = stage.url(Interleaved, TITLE);
    for player in [Player::Ffmpeg, Player::GStreamer] {
        // The timeline begins with the sound, a frame before the picture: the key picture of the third second lies behind it.
        let key = stage.film.key_at_or_before(2.9);
        let received = player.play_from(&stage.scene.network.a, &url, Interleaved, 3).end(SLACK);
        let received = if player == Player::GStreamer { received.behind_a_seek(stage.film, key) } else { received };
        assert_eq!(received.pictures, stage.film.pictures()[key..], "{player:?}");
    }
    let received = play_with_retina(&stage.scene.network.a, &format!("{url}?t=3.5"), Interleaved, |_| false);
    assert_eq!(received.pictures, expected);
}

/// What ffmpeg writes of a raw title, which has one track only.
fn copy(stage: &Stage, title: &str, format: &str) -> Vec<u8> {
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = stage.scene.network.a.command("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y", "-rtsp_transport", "tcp", "-i", &stage.url(Interleaved, title)]);
    assert!(command.args(["-c", "copy", "-f", format]).arg(out.path()).status().expect("ffmpeg starts").success());
    std::fs::read(out.path()).expect("ffmpeg wrote it")
}

#[test]
fn players_get_every_slice_of_raw_pictures() {
    let Some(stage) = set() else { return };
    let pictures: Vec<Digest> = Pictures::of_annex_b(&copy(&stage, "raw.h264", "h264")).into_iter().map(|picture| picture.digest).collect();
    assert_eq!(pictures, stage.film.pictures(), "ffmpeg");
    let received = play_with_retina(&stage.scene.network.a, &stage.url(Udp, "raw.h264"), Udp, |_| false);
    assert_eq!(received.pictures, stage.film.pictures(), "retina");
    let received = play_with_retina(&stage.scene.network.a, &format!("{}?t=3.5", stage.url(Udp, "raw.h264")), Udp, |_| false);
    assert_eq!(received.pictures, stage.film.pictures()[stage.film.key_at_or_before(3.5)..], "retina, from 3.5 s on");
}

#[test]
fn players_get_every_frame_of_raw_sound() {
    let Some(stage) = set() else { return };
    let frames: Vec<Digest> = adts_frames(&copy(&stage, "raw.aac", "adts")).into_iter().map(Digest::of).collect();
    assert_eq!(frames, stage.film.frames(), "ffmpeg");
    let received = play_with_retina(&stage.scene.network.a, &stage.url(Udp, "raw.aac"), Udp, |_| false);
    assert_eq!(received.frames, stage.film.frames(), "retina");
}
