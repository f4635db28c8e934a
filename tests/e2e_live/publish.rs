//! Publishing with ANNOUNCE and RECORD: what ffmpeg sends in is what players get, every unit of it, over either transport and across a
//! hand-over; who may publish, and what becomes of those who watch when a publisher is killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::elementary::Digest;
use crate::support::film::Film;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::namespaces::{Family, Host};
use crate::support::players::{Player, Received};
use crate::support::recording::Arrived;
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::server::rtsp_address;
use crate::support::viewer::{Carriage, Viewer, assert_contiguous};
use crate::support::{Killed, SOON, wait_for};
use serde_json::Value;

pub(super) const PATH: &str = "studio/live.mp4";
const SLACK: Duration = Duration::from_secs(12);

/// Eight seconds at 25 pictures a second, three B-pictures between others, and sound: who is slow to start still gets a good part of it.
pub(super) fn film() -> &'static (PathBuf, Film) {
    static MADE: OnceLock<(tempfile::TempDir, (PathBuf, Film))> = OnceLock::new();
    let (_, made) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("film.mp4");
        let source = "-v error -y -f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=f=440:r=48000 -t 8 -c:v libx264 -preset ultrafast";
        let coded = "-g 25 -bf 3 -x264-params b-adapt=0:slices=2 -pix_fmt yuv420p -c:a aac -b:a 64k";
        let arguments = source.split(' ').chain(coded.split(' '));
        let made = Command::new("ffmpeg").args(arguments).arg(&path).status().expect("ffmpeg starts");
        assert!(made.success());
        let film = Film::at(&path, PATH, &["video", "audio"]);
        assert_eq!(film.video.len(), 200);
        (folder, (path, film))
    });
    made
}

pub(super) struct Studio {
    pub scene: Scene,
    /// Where the configuration lies.
    pub folder: tempfile::TempDir,
}

pub(super) fn studio() -> Option<Studio> {
    let folder = tempfile::tempdir().expect("a folder");
    let configured = folder.path().join("flowsteer.toml");
    let text = "[[publish]]\npath = \"studio/*\"\nusername = \"anna\"\npassword = \"s3cret\"\n";
    std::fs::write(&configured, text).expect("a configuration is written");
    let media = folder.path().join("media");
    std::fs::create_dir(&media).expect("a folder for media");
    let scene = Scene::set_with(&media, &["--config", configured.to_str().expect("a path")])?;
    Some(Studio { scene, folder })
}

impl Studio {
    /// The URL to publish at, with these credentials.
    pub fn target(&self, family: Family, credentials: &str, path: &str) -> String {
        format!("rtsp://{credentials}{}/{path}", rtsp_address(&self.scene.network.server, family))
    }

    /// ffmpeg, publishing the film once in real time from `host`; of a film that goes on, for ever.
    pub fn publish(&self, host: &Host, url: &str, transport: &str, film: &Path, goes_on: bool) -> Killed {
        let mut command = host.command("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error"]);
        if goes_on {
            command.args(["-stream_loop", "-1"]);
        }
        command.args(["-re", "-i"]).arg(film).args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", transport, url]);
        Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ffmpeg starts"))
    }

    /// What the API says of the title of that path.
    pub fn shown_at(&self, path: &str) -> Option<Value> {
        let titles = self.scene.operator().get("/api/v1/titles").json();
        titles.as_array().expect("a list of titles").iter().find(|title| title["path"] == path).cloned()
    }

    fn shown(&self) -> Option<Value> {
        self.shown_at(PATH)
    }

    pub fn wait_until_online(&self) {
        let is_there = |title: &Value| title["online"] == true && !title["tracks"].as_array().expect("tracks").is_empty();
        wait_for("the title to be online", SOON, || self.shown().filter(|title| is_there(title)));
    }

    pub fn metric(&self, begin: &str) -> u64 {
        let text = self.scene.operator().get("/metrics").text();
        let values = text.lines().filter(|line| line.starts_with(begin)).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }
}

/// What was published from a key picture on, to the end, without a gap.
#[track_caller]
fn is_the_rest(whose: &str, film: &Film, received: &Received) {
    let begins = film.locate_pictures(whose, &received.pictures);
    assert!(film.video[begins].key, "{whose} begins with picture {begins}");
    assert_eq!(begins + received.pictures.len(), film.video.len(), "{whose} has the pictures to the end");
    let begins = film.locate_frames(whose, &received.frames);
    // ffmpeg sends an AAC frame when the next one comes: the very last one it keeps to itself.
    assert_eq!(begins + received.frames.len(), film.audio.len() - 1, "{whose} has the sound to the end");
}

fn is_watched(transport: &str, family: Family, players: [(Player, Carriage); 2]) {
    let Some(mut studio) = studio() else { return };
    let (path, film) = film();
    let target = studio.target(family, "anna:s3cret@", PATH);
    let mut publisher = studio.publish(&studio.scene.network.b, &target, transport, path, false);
    studio.wait_until_online();
    let url = studio.scene.url(family, PATH);
    let watching = players.map(|(player, carriage)| (player, player.play(&studio.scene.network.a, &url, carriage)));
    assert!(publisher.0.wait().expect("our child can be waited for").success(), "ffmpeg publishes to the end");
    for (player, running) in watching {
        is_the_rest(&format!("{player:?}"), film, &running.end(SLACK));
    }
    wait_for("the title to be gone", SOON, || studio.shown().is_none().then_some(()));
    assert!(studio.metric("flowsteer_published_packets_total") > 200);
    assert_eq!(studio.metric("flowsteer_published_dropped_total"), 0, "nothing was lost, and nothing was junk");
    studio.scene.server.assert_alive();
}

#[test]
fn what_ffmpeg_publishes_over_tcp_is_watched_whole() {
    is_watched("tcp", V4, [(Player::Ffmpeg, Carriage::Interleaved), (Player::GStreamer, Carriage::Udp)]);
}

#[test]
fn what_ffmpeg_publishes_over_udp_is_watched_whole() {
    is_watched("udp", V6, [(Player::PyAv, Carriage::Udp), (Player::Ffmpeg, Carriage::Udp)]);
}

fn digests(viewer: &Viewer) -> Vec<Digest> {
    viewer.video().units().iter().map(|unit| unit.digest).collect()
}

#[track_caller]
pub(super) fn wait_for_packets(viewer: &Viewer, count: usize) {
    viewer.video().recording.wait_for(&format!("{count} packets"), SOON, |arrived| (arrived.rtp.len() >= count).then_some(()));
}

#[test]
fn a_published_title_moves_from_one_device_to_another_without_a_gap() {
    let Some(studio) = studio() else { return };
    let (path, film) = film();
    let target = studio.target(V6, "anna:s3cret@", PATH);
    let mut publisher = studio.publish(&studio.scene.network.b, &target, "tcp", path, false);
    studio.wait_until_online();
    let a = Viewer::watch(&studio.scene.network.a, &studio.scene.url(V6, PATH), Carriage::Udp);
    wait_for_packets(&a, 60);
    let taken = studio.scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let b = Viewer::watch(&studio.scene.network.b, &taken, Carriage::Udp);
    assert!(publisher.0.wait().expect("our child can be waited for").success());
    for track in a.tracks.iter().chain(&b.tracks) {
        track.recording.wait_for(&format!("BYE to the {}", track.media), SOON, Arrived::bye_at);
        assert_contiguous(&track.media, &track.packets());
    }
    let (had, got) = (digests(&a), digests(&b));
    let (first, begins) = (film.locate_pictures("A", &had), film.locate_pictures("B", &got));
    assert!(begins <= first + had.len(), "B begins with {begins}, A had {} from {first} on", had.len());
    assert_eq!(begins + got.len(), film.video.len());
}

#[test]
fn only_those_publish_who_may_and_one_at_a_time() {
    let Some(studio) = studio() else { return };
    let (path, _) = film();
    let failed = |url: &str, says: &str| {
        let publisher = studio.publish(&studio.scene.network.a, url, "tcp", path, true);
        let mut publisher = publisher;
        let stderr = publisher.0.stderr.take().expect("stderr is a pipe");
        assert!(!publisher.0.wait().expect("our child can be waited for").success(), "{url}");
        let said = std::io::read_to_string(stderr).expect("text");
        assert!(said.contains(says), "{url}: {said}");
    };
    failed(&studio.target(V4, "anna:wrong@", PATH), "401");
    assert_eq!(studio.metric("flowsteer_rtsp_refused_total{limit=\"publish_password\"}"), 1);
    failed(&studio.target(V4, "", PATH), "401");
    failed(&studio.target(V4, "anna:s3cret@", "elsewhere"), "403");
    let first = studio.publish(&studio.scene.network.b, &studio.target(V4, "anna:s3cret@", PATH), "tcp", path, true);
    studio.wait_until_online();
    failed(&studio.target(V4, "anna:s3cret@", PATH), "403");
    assert!(studio.shown().expect("the first one still publishes")["online"] == true);
    drop(first);

    let mut connection = Connection::open(&studio.scene.network.a, rtsp_address(&studio.scene.network.server, V4));
    let url = studio.target(V4, "", PATH);
    assert_eq!(connection.request("RECORD", &url, &[]).status, 455);
    let setup = [("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")];
    assert_ne!(connection.request("SETUP", &url, &setup).status, 200);
    let public = connection.request("OPTIONS", &url, &[]).ok();
    assert!(public.expect_header("Public").contains("ANNOUNCE"));
}

#[test]
fn those_who_watch_a_publisher_who_is_killed_go_on_when_it_is_back() {
    let Some(mut studio) = studio() else { return };
    let (path, _) = film();
    let target = studio.target(V4, "anna:s3cret@", PATH);
    let publisher = studio.publish(&studio.scene.network.b, &target, "tcp", path, true);
    studio.wait_until_online();
    let a = Viewer::watch(&studio.scene.network.a, &studio.scene.url(V6, PATH), Carriage::Udp);
    wait_for_packets(&a, 40);
    // SIGKILL: no TEARDOWN.
    drop(publisher);
    let away = wait_for("the title to be offline", SOON, || studio.shown().filter(|title| title["online"] == false));
    assert_eq!(away["problem"], "its publisher is away");
    let before = a.video().packets().len();
    let _again = studio.publish(&studio.scene.network.a, &target, "udp", path, true);
    wait_for_packets(&a, before + 40);
    for track in &a.tracks {
        assert!(track.recording.so_far().bye_at().is_none(), "{} goes on", track.media);
        assert_contiguous(&track.media, &track.packets());
    }
    studio.scene.server.assert_alive();
}
