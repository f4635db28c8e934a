//! H.265 in MP4 to real players: whole titles, seeks, hand-overs into open groups of pictures, compared with the file slice by slice.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::elementary::Digest;
use crate::support::film::Film;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::players::{Player, Received, play_with_retina};
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::viewer::Viewer;

/// As players are told, so that they take it apart by its coding.
const TITLE: &str = "film.h265.mp4";
const SLACK: Duration = Duration::from_secs(10);

/// Ten seconds at 25 pictures a second, three slices a picture, open groups of 52 pictures (CRA pictures, three RASL pictures behind each).
fn make_film(path: &Path) {
    let picture = "testsrc2=s=640x360:r=25,noise=alls=10:allf=t";
    let arguments = ["-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=f=440:r=48000", "-t", "10"];
    let groups = "log-level=error:keyint=52:min-keyint=52:scenecut=0:open-gop=1:bframes=3:slices=3:pools=2";
    let coded =
        ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", groups, "-b:v", "800k", "-pix_fmt", "yuv420p", "-tag:v", "hvc1"];
    let sound = ["-c:a", "aac", "-b:a", "64k"];
    let made = Command::new("ffmpeg").args(arguments).args(coded).args(sound).arg(path).status().expect("ffmpeg starts");
    assert!(made.success());
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
        let path = folder.path().join(TITLE);
        make_film(&path);
        let film = Film::at(&path, TITLE, &["video", "audio"]);
        assert_eq!(film.video.len(), 250);
        (folder, film)
    });
    Some(Stage { scene: Scene::set_with(folder.path(), &[])?, film })
}

impl Stage {
    /// The positions of what is shown before the key picture at `key` and sent behind it.
    fn leading(&self, key: usize) -> std::ops::Range<usize> {
        let video = &self.film.video;
        key + 1..key + 1 + video[key + 1..].iter().take_while(|unit| unit.time < video[key].time).count()
    }

    /// What is sent to who begins with the key picture at `key`.
    fn from(&self, key: usize) -> Vec<Digest> {
        let leading = self.leading(key);
        (key..self.film.video.len())
            .filter(|position| !leading.contains(position))
            .map(|position| self.film.video[position].digest)
            .collect()
    }
}

fn play(player: Player, carriage: Carriage, stage: &Stage, from: Option<u32>) -> Received {
    let device = &stage.scene.network.a;
    let url = stage.scene.url(if carriage == Udp { V6 } else { V4 }, TITLE);
    match (player, from) {
        (Player::Retina, None) => play_with_retina(device, &url, carriage, |_| false),
        (Player::Retina, Some(seconds)) => play_with_retina(device, &format!("{url}?t={seconds}"), carriage, |_| false),
        (player, None) => player.play(device, &url, carriage).end(SLACK * 2),
        (player, Some(seconds)) => player.play_from(device, &url, carriage, seconds).end(SLACK * 2),
    }
}

fn gets_every_slice(player: Player, carriage: Carriage) {
    let Some(stage) = set() else { return };
    let received = play(player, carriage, &stage, None);
    assert_eq!(stage.film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(stage.film.locate_frames("sound", &received.frames), 0);
    assert_eq!((received.pictures.len(), received.frames.len()), (250, stage.film.audio.len()));
}

/// A seek begins with the random access point before, and without what leans on the group before that.
fn seeks_into_an_open_group(player: Player, carriage: Carriage) {
    let Some(stage) = set() else { return };
    let key = stage.film.key_at_or_before(5.0);
    assert!(stage.leading(key).len() > 1, "an open group");
    let received = play(player, carriage, &stage, Some(5));
    let received = if player == Player::GStreamer { received.behind_a_seek(stage.film, key) } else { received };
    assert_eq!(received.pictures, stage.from(key));
}

#[test]
fn ffmpeg_gets_every_slice() {
    gets_every_slice(Player::Ffmpeg, Udp);
}

#[test]
fn ffmpeg_gets_every_slice_interleaved() {
    gets_every_slice(Player::Ffmpeg, Interleaved);
}

#[test]
fn ffmpeg_seeks_into_an_open_group() {
    seeks_into_an_open_group(Player::Ffmpeg, Interleaved);
}

#[test]
fn pyav_gets_every_slice() {
    gets_every_slice(Player::PyAv, Udp);
}

#[test]
fn gstreamer_gets_every_slice() {
    gets_every_slice(Player::GStreamer, Udp);
}

#[test]
fn gstreamer_gets_every_slice_interleaved() {
    gets_every_slice(Player::GStreamer, Interleaved);
}

#[test]
fn gstreamer_seeks_into_an_open_group() {
    seeks_into_an_open_group(Player::GStreamer, Udp);
}

#[test]
fn retina_gets_every_slice() {
    gets_every_slice(Player::Retina, Udp);
}

#[test]
fn retina_begins_with_an_open_group() {
    seeks_into_an_open_group(Player::Retina, Interleaved);
}

/// B begins with a key picture of an open group while A plays on, and has all that follows but its leading pictures.
fn takes_over(join: &str) {
    let Some(stage) = set() else { return };
    let scene = &stage.scene;
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, TITLE), Udp);
    // The last group begins at 8.3 s: until then a player that is slow to start has time.
    a.video().recording.wait_for("a picture of the second group", SLACK, |arrived| {
        let pictures = arrived.rtp.chunk_by(|before, next| before.timestamp() == next.timestamp()).count();
        (pictures > 60).then_some(())
    });
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    // The coding is told by the query, which the server does not know.
    let url = format!("{url}&join={join}&x=h265");
    let received = Player::Ffmpeg.play(&scene.network.b, &url, Udp).end(SLACK * 2);
    let key = stage.film.locate_pictures("B's first picture", &received.pictures[..1]);
    assert!(stage.film.video[key].key && stage.leading(key).len() > 1, "{join}: an open group, not position {key}");
    assert!(key > 0 && stage.film.video[key].time < 9.0);
    assert_eq!(received.pictures, stage.from(key), "{join}");
}

#[test]
fn primed_b_begins_with_an_open_group() {
    takes_over("primed");
}

#[test]
fn aligned_b_begins_with_an_open_group() {
    takes_over("aligned");
}

/// What an HDR10 screen is told of the film's is in the file's configuration alone.
#[test]
fn the_mastering_display_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(TITLE);
    let display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)";
    let told = format!("log-level=error:keyint=25:hdr10=1:master-display={display}:max-cll=1000,400");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-t", "3", "-pix_fmt", "yuv420p10le"]);
    command.args(["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", &told, "-tag:v", "hvc1"]).arg(&path);
    assert!(command.status().expect("ffmpeg starts").success());
    // x265 repeats the messages before each key picture: here they become NAL units of an unspecified type, which nobody sends or reads.
    let mut file = std::fs::read(&path).expect("ffmpeg wrote it");
    let index = file.windows(4).position(|kind| kind == b"moov").expect("an index behind the media");
    // A short length, then the header, then the kind of message.
    let is_message = |octets: &[u8]| matches!(octets, [0, 0, 0, _, 0x4e, 1, 137 | 144]);
    let places: Vec<usize> = (4..index).filter(|at| is_message(&file[*at - 4..*at + 3])).collect();
    assert!(places.len() >= 6, "two before each of three key pictures");
    places.into_iter().for_each(|at| file[at] = 62 << 1);
    std::fs::write(&path, file).expect("room for it");
    let Some(scene) = Scene::set_with(folder.path(), &[]) else { return };
    let mut command = scene.network.a.command("ffprobe");
    command.args(["-v", "error", "-rtsp_transport", "tcp", "-read_intervals", "%+#1", "-show_frames", "-of", "json"]);
    let output = command.arg(scene.url(V4, TITLE)).output().expect("ffprobe runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("Mastering display metadata") && told.contains("10000000/10000"), "{told}");
    assert!(told.contains("Content light level metadata") && told.contains("\"max_content\": 1000"), "{told}");
}
