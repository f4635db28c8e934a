//! Cameras as live titles: one server plays a short film in a loop, another has it as a camera, real players watch that.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::support::elementary::Digest;
use crate::support::film::{Film, library, locate};
use crate::support::namespaces::Family::V6;
use crate::support::players::{Player, Received};
use crate::support::recording::Arrived;
use crate::support::scene::Scene;
use crate::support::server::Server;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Viewer, assert_contiguous};
use crate::support::{SOON, http, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

const FILM: &str = "camera.mp4";
/// Where the camera's own API is.
pub(super) const CAMERA_HTTP: u16 = 7080;
/// How a camera is served beside the server under test.
pub(super) const CAMERA: [&str; 8] =
    ["--rtsp", "127.0.0.1:7554", "--http", "127.0.0.1:7080", "--rtp-port", "7000", "--mobility", "127.0.0.1:7436"];
/// The film is played so often at most.
const ROUNDS: usize = 20;

/// A server with two cameras, which are the same film, over TCP and over UDP.
struct Cameras {
    scene: Scene,
    camera: Option<Server>,
    film: Film,
    folder: TempDir,
}

/// Four seconds of a film.
pub(super) fn make_film(path: &Path) {
    let whole = library().join("countdown.mp4");
    let made = Command::new("ffmpeg").args(["-v", "error", "-y", "-t", "4", "-i"]).arg(whole).args(["-c", "copy"]).arg(path).status();
    assert!(made.expect("ffmpeg starts").success());
}

impl Cameras {
    fn set() -> Option<Self> {
        Self::set_with(&[])
    }

    /// The server under test with more flags.
    fn set_with(flags: &[&str]) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let films = folder.path().join("films");
        let own = folder.path().join("own");
        for folder in [&films, &own] {
            fs::create_dir(folder).expect("a new folder");
        }
        make_film(&films.join(FILM));
        let settings = folder.path().join("flowsteer.toml");
        let url = format!("rtsp://127.0.0.1:7554/{FILM}?loop");
        let cameras = format!(
            "[[camera]]\nname = \"front\"\nurl = \"{url}\"\n[[camera]]\nname = \"yard/side\"\nurl = \"{url}\"\ntransport = \"udp\"\n"
        );
        fs::write(&settings, cameras).expect("a file in a temporary folder");
        let flags = [&["--config", settings.to_str().expect("a path that is text")], flags].concat();
        let scene = Scene::set_with(&own, &flags)?;
        let camera = Server::start(&scene.network.server, &films, &CAMERA);
        let film = Film::at(&films.join(FILM), FILM, &["video", "audio"]);
        Some(Self { scene, camera: Some(camera), film, folder })
    }

    /// What the camera's own API says.
    fn camera_sessions(&self) -> Vec<Value> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, CAMERA_HTTP));
        let answer = http::ask(&self.scene.network.server, to, "GET", "/api/v1/sessions", &[], None).json();
        answer.as_array().expect("a list of sessions").clone()
    }

    fn title(&self, path: &str) -> Value {
        let titles = self.scene.operator().get("/api/v1/titles").json();
        let titles = titles.as_array().expect("a list of titles");
        titles.iter().find(|title| title["path"] == path).unwrap_or_else(|| panic!("no {path} in {titles:#?}")).clone()
    }

    /// Checks that these are units of the film as it is repeated, one behind the other, pictures from a key picture on.
    #[track_caller]
    fn check(&self, whose: &str, pictures: &[Digest], frames: &[Digest], least: usize) {
        let repeated = |whole: Vec<Digest>| whole.repeat(ROUNDS);
        // What the coder has put before the beginning of the sound is heard in the first round only.
        let frames_of_all_rounds = [&self.film.frames()[..1], &repeated(self.film.frames()[1..].to_vec())].concat();
        assert!(pictures.len() >= least, "{whose}: {} pictures only", pictures.len());
        let first = locate(whose, &repeated(self.film.pictures()), pictures);
        assert!(self.film.video[first % self.film.video.len()].key, "{whose}: begins with picture {first}, which is no key picture");
        locate(whose, &frames_of_all_rounds, frames);
    }

    #[track_caller]
    fn check_player(&self, whose: &str, received: &Received, least: usize) {
        self.check(whose, &received.pictures, &received.frames, least);
    }
}

#[track_caller]
fn wait_for_pictures(viewer: &Viewer, count: usize) {
    let begun = |arrived: &Arrived| arrived.rtp.chunk_by(|before, next| before.timestamp() == next.timestamp()).count();
    viewer.video().recording.wait_for(&format!("{count} pictures"), SOON, |arrived| (begun(arrived) >= count).then_some(()));
}

#[test]
fn players_get_what_the_camera_sends_and_the_camera_is_pulled_once() {
    let Some(cameras) = Cameras::set() else { return };
    let shown = cameras.title("front");
    assert_eq!((&shown["live"], &shown["online"], &shown["durationSeconds"]), (&json!(true), &json!(false), &Value::Null));
    assert_eq!(cameras.camera_sessions().len(), 0, "nobody watches");
    let url = |title| cameras.scene.url(V6, title);
    let network = &cameras.scene.network;
    let players = [
        ("ffmpeg", Player::Ffmpeg.play(&network.a, &url("front"), Udp)),
        ("PyAV", Player::PyAv.play(&network.b, &url("front"), Interleaved)),
        ("GStreamer", Player::GStreamer.play(&network.b, &url("yard/side"), Udp)),
    ];
    // All have begun, and play on for a while.
    wait_for("three seconds of media at each player", SOON * 3, || {
        let sessions = cameras.scene.operator().sessions();
        let sent = |session: &Value| {
            let flows = session["flows"].as_array().expect("flows").iter();
            let sound =
                flows.filter(|flow| flow["track"]["kind"] == "audio").flat_map(|flow| flow["branches"].as_array().expect("branches"));
            sound.map(|branch| branch["packets"].as_u64().expect("a count")).sum::<u64>()
        };
        (sessions.len() == 3 && sessions.iter().all(|session| sent(session) >= 140)).then_some(())
    });
    let pulled: Vec<Value> = cameras.camera_sessions();
    assert_eq!(pulled.len(), 2, "one for each camera: {pulled:#?}");
    let shown = cameras.title("front");
    assert_eq!(shown["online"], json!(true));
    assert_eq!(shown["tracks"].as_array().map(Vec::len), Some(2));
    // Told by the server that it is over, not by its going away: that is an error to GStreamer where it sees it first.
    let operator = cameras.scene.operator();
    for session in operator.sessions() {
        operator.control(&session, "end", &json!({}));
    }
    let received = players.map(|(name, player)| (name, player.end(SOON)));
    for (name, received) in &received {
        cameras.check_player(name, received, 50);
    }
}

#[test]
fn a_live_title_has_no_length_and_no_positions() {
    let Some(cameras) = Cameras::set() else { return };
    let mut viewer = Viewer::open(&cameras.scene.network.a, &cameras.scene.url(V6, "front"), Interleaved);
    assert!(viewer.description.contains("a=range:npt=now-\r\n"), "{}", viewer.description);
    assert_eq!(viewer.play().expect_header("Range"), "npt=now-");
    wait_for_pictures(&viewer, 30);
    let base = viewer.base.clone();
    assert_eq!(viewer.connection.request("PLAY", &base, &[("Range", "npt=3.000-")]).status, 457);
    let faster = viewer.connection.request("PLAY", &base, &[("Scale", "2.0")]).ok();
    assert_eq!((faster.expect_header("Scale"), faster.expect_header("Range")), ("1.0", "npt=now-"));
    assert_eq!(viewer.pause().expect_header("Range"), "npt=now-");
    let before = viewer.video().packets().len();
    assert_eq!(viewer.resume().expect_header("Range"), "npt=now-");
    viewer.video().recording.wait_for("media after the pause", SOON, |arrived| (arrived.rtp.len() > before + 30).then_some(()));
    for track in &viewer.tracks {
        assert_contiguous(&track.media, &track.packets());
    }
    viewer.tear_down();
}

#[test]
fn from_device_to_device_nothing_is_missing() {
    let Some(cameras) = Cameras::set() else { return };
    let scene = &cameras.scene;
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, "yard/side"), Udp);
    wait_for_pictures(&a, 60);
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let b = Viewer::watch(&scene.network.b, &url, Interleaved);
    for track in &a.tracks {
        track.recording.wait_for("BYE to A", SOON, Arrived::bye_at);
    }
    wait_for_pictures(&b, 70);
    for (old, new) in a.tracks.iter().zip(&b.tracks) {
        let (had, got) = (old.packets(), new.packets());
        assert_contiguous(&old.media, &had);
        assert_contiguous(&new.media, &got);
        let last = had.last().expect("A had packets").sequence();
        let apart = got[0].sequence().wrapping_sub(last);
        assert!(apart == 1 || apart > u16::MAX / 2, "{}: A ends with {last}, B begins with {}", new.media, got[0].sequence());
    }
    let digests = |viewer: &Viewer, media| viewer.track(media).units().iter().map(|unit| unit.digest).collect::<Vec<_>>();
    for (whose, viewer) in [("A", &a), ("B", &b)] {
        cameras.check(whose, &digests(viewer, "video"), &digests(viewer, "audio"), 60);
    }
    assert_eq!(cameras.camera_sessions().len(), 1);
}

#[test]
fn aligned_the_next_device_begins_right_where_the_one_before_ends() {
    let Some(cameras) = Cameras::set_with(&["--transition", "0"]) else { return };
    let scene = &cameras.scene;
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, "front"), Udp);
    wait_for_pictures(&a, 40);
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation") + "&join=aligned";
    let b = Viewer::watch(&scene.network.b, &url, Udp);
    for track in &a.tracks {
        track.recording.wait_for("BYE to A", SOON, Arrived::bye_at);
    }
    wait_for_pictures(&b, 40);
    let digests = |viewer: &Viewer, media| viewer.track(media).units().iter().map(|unit| unit.digest).collect::<Vec<_>>();
    for (old, new) in a.tracks.iter().zip(&b.tracks) {
        // Both together are one run of packets.
        let all = [old.packets(), new.packets()].concat();
        assert_contiguous(&old.media, &all);
    }
    assert!(b.video().units()[0].key);
    cameras.check("B", &digests(&b, "video"), &digests(&b, "audio"), 30);
    let both = |media| [digests(&a, media), digests(&b, media)].concat();
    cameras.check("A and B", &both("video"), &both("audio"), 70);
    assert_eq!(cameras.camera_sessions().len(), 1);
}

#[test]
fn a_camera_that_dies_and_is_back_is_watched_on() {
    let Some(mut cameras) = Cameras::set() else { return };
    let a = Viewer::watch(&cameras.scene.network.a, &cameras.scene.url(V6, "front"), Udp);
    wait_for_pictures(&a, 40);
    let films = cameras.folder.path().join("films");
    // Killed: it says nothing.
    drop(cameras.camera.take());
    wait_for("the title to be away", SOON, || (cameras.title("front")["online"] == json!(false)).then_some(()));
    assert!(cameras.title("front")["problem"].is_string());
    let mut camera = Server::start(&cameras.scene.network.server, &films, &CAMERA);
    let before = a.video().packets().len();
    // The later it is there, the longer the pause that is under way.
    wait_for("the title to be back", SOON * 3, || (cameras.title("front")["online"] == json!(true)).then_some(()));
    a.video().recording.wait_for("media of the camera that is back", SOON, |arrived| (arrived.rtp.len() > before + 100).then_some(()));
    for track in &a.tracks {
        assert!(track.recording.so_far().bye_at().is_none(), "{}: nobody was told that it has ended", track.media);
        assert_contiguous(&track.media, &track.packets());
    }
    cameras.scene.server.assert_alive();
    camera.assert_alive();
}
