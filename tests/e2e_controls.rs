//! What a player says of how a title is to be played, beside scales: seeks that begin with the very frame of sound, and delivery faster
//! and slower than real time. On the wire, and with real players, compared with the file.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use support::elementary;
use support::film::Film;
use support::namespaces::Family::{V4, V6};
use support::players::{Player, play_with_retina};
use support::scene::Scene;
use support::viewer::Carriage::{self, Interleaved, Udp};
use support::viewer::Viewer;

const TITLE: &str = "film.mp4";
const SLACK: Duration = Duration::from_secs(20);
/// Where in the film a seek goes, in seconds: a second and more behind a key picture.
const POSITION: u32 = 3;

/// Four seconds at 25 pictures a second, a key picture every two, three B-pictures between others.
fn make_film(path: &Path) {
    let source = "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=f=440:b=2:r=48000 -t 4";
    let coded = "-c:v libx264 -preset ultrafast -g 50 -bf 3 -x264-params b-adapt=0 -pix_fmt yuv420p -c:a aac -b:a 64k";
    let made = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(source.split(' ')).args(coded.split(' ')).arg(path).status();
    assert!(made.expect("ffmpeg starts").success(), "ffmpeg {source} {coded}");
}

struct Stage {
    scene: Scene,
    film: &'static Film,
}

/// The film is made once for all tests here.
fn set() -> Option<Stage> {
    static MADE: OnceLock<(tempfile::TempDir, Film)> = OnceLock::new();
    let (folder, film) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(TITLE);
        make_film(&path);
        let film = Film::at(&path, TITLE, &["video", "audio"]);
        assert_eq!(film.video.len(), 100);
        (folder, film)
    });
    Some(Stage { scene: Scene::set_with(folder.path(), &[])?, film })
}

impl Stage {
    fn url(&self, carriage: Carriage, query: &str) -> String {
        format!("{}{query}", self.scene.url(if carriage == Udp { V6 } else { V4 }, TITLE))
    }

    /// The frame that is heard at a position.
    fn frame_at(&self, position: f64) -> usize {
        self.film.audio.iter().rposition(|frame| frame.time <= position + 1e-6).expect("a frame")
    }
}

#[test]
fn an_exact_seek_begins_with_the_frame_that_is_told_behind_its_pictures() {
    let Some(stage) = set() else { return };
    for carriage in [Udp, Interleaved] {
        let mut viewer = Viewer::open(&stage.scene.network.a, &stage.url(carriage, "?seek=exact"), carriage);
        let answer = viewer.seek(f64::from(POSITION) + 0.1);
        let frame = stage.frame_at(f64::from(POSITION) + 0.1);
        let told = answer.range_start();
        assert!((told - stage.film.audio[frame].time).abs() < 0.0001, "{told}");
        for track in &viewer.tracks {
            track.recording.wait_for(&format!("the end of the {}", track.media), SLACK, |arrived| arrived.bye_at());
        }
        let (pictures, frames) = (viewer.video().units(), viewer.audio().units());
        let digests = |units: &[elementary::Unit]| units.iter().map(|unit| unit.digest).collect::<Vec<_>>();
        assert_eq!(digests(&frames), stage.film.frames()[frame..], "{carriage:?}");
        let key = stage.film.key_at_or_before(told);
        assert_eq!(digests(&pictures), stage.film.pictures()[key..], "{carriage:?}");
        assert!(pictures[0].key && key > 0);
        // The timestamps lie as the title has it, about the start that is told.
        let entry = |url: &str| answer.rtp_info().into_iter().find(|entry| entry.url == url).expect("every track is in RTP-Info");
        assert_eq!(entry(&viewer.audio().url).rtptime, frames[0].timestamp, "{carriage:?}");
        let ahead = f64::from(entry(&viewer.video().url).rtptime.wrapping_sub(pictures[0].timestamp)) / 90_000.0;
        assert!((ahead - (told - stage.film.video[key].time)).abs() < 0.002, "{ahead}");
        // What lies before comes before, and sooner than it would be shown.
        let before = pictures.iter().filter(|picture| picture.at < frames[0].at).count();
        assert!(before > 15, "{carriage:?}: {before}");
        let took = frames[0].at.duration_since(pictures[0].at).as_secs_f64();
        assert!(took < ahead, "{carriage:?}: {took} of {ahead}");
        let reports = viewer.audio().recording.so_far().rtcp;
        assert!(reports.iter().any(|packet| packet.sender_report().is_some()));
    }
}

/// Each from a position of the URL, GStreamer by a seek of its own.
#[test]
fn players_begin_with_the_frame_of_an_exact_seek() {
    let Some(stage) = set() else { return };
    let (key, frame) = (stage.film.key_at_or_before(f64::from(POSITION)), stage.frame_at(f64::from(POSITION)));
    let (host, opened) = (&stage.scene.network.a, format!("?t={POSITION}&seek=exact"));
    let running: Vec<_> = [(Player::Ffmpeg, Udp), (Player::PyAv, Interleaved)]
        .map(|(player, carriage)| (player, player.play(host, &stage.url(carriage, &opened), carriage)))
        .into_iter()
        .chain([(Player::GStreamer, Player::GStreamer.play_from(host, &stage.url(Udp, "?seek=exact"), Udp, POSITION))])
        .collect();
    let by_retina = play_with_retina(&stage.scene.network.b, &stage.url(Udp, &opened), Udp, |_| false);
    let played = running.into_iter().map(|(player, running)| (player, running.end(SLACK))).chain([(Player::Retina, by_retina)]);
    for (player, received) in played {
        let received = if player == Player::GStreamer { received.behind_a_seek(stage.film, key) } else { received };
        assert_eq!(received.pictures, stage.film.pictures()[key..], "{player:?}");
        assert_eq!(received.frames, stage.film.frames()[frame..], "{player:?}");
    }
}
