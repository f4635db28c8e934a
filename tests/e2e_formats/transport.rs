//! Transport streams as a whole (`?as=ts`), packet by packet, and sound in LATM: to real players.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::SOON;
use crate::support::film::Film;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::namespaces::Host;
use crate::support::players::{Player, play_with_retina, script};
use crate::support::recording::{Arrived, Packet};
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Viewer, assert_contiguous, authority};

const TITLE: &str = "film.ts";
const LATM: &str = "latm.ts";
const SLACK: Duration = Duration::from_secs(20);
const LEN: usize = 188;

struct Stage {
    scene: Scene,
    film: &'static Film,
    /// The packets of the transport stream.
    packets: Vec<Vec<u8>>,
    folder: &'static Path,
}

/// Three seconds, a key picture each; made once for all tests here.
fn set() -> Option<Stage> {
    static MADE: OnceLock<(tempfile::TempDir, Film)> = OnceLock::new();
    let (folder, film) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |arguments: &str, name: &str| {
            let mut command = Command::new("ffmpeg");
            command.args(["-nostdin", "-v", "error", "-y"]).args(arguments.split(' ')).arg(folder.path().join(name));
            assert!(command.status().expect("ffmpeg starts").success(), "ffmpeg {arguments} {name}");
        };
        let source = "-f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=f=440:r=48000 -t 3";
        let coded = "-c:v libx264 -preset ultrafast -g 25 -keyint_min 25 -sc_threshold 0 -bf 2 -pix_fmt yuv420p -c:a aac -b:a 64k";
        run(&format!("{source} {coded}"), "source.mp4");
        let source = format!("-i {} -c copy", folder.path().join("source.mp4").display());
        run(&source, TITLE);
        run(&format!("{source} -mpegts_flags latm"), LATM);
        let film = Film::at(&folder.path().join("source.mp4"), TITLE, &["video", "audio"]);
        (folder, film)
    });
    let octets = std::fs::read(folder.path().join(TITLE)).expect("it is there");
    let packets = octets.chunks(LEN).map(<[u8]>::to_vec).collect();
    Some(Stage { scene: Scene::set_with(folder.path(), &[])?, film, packets, folder: folder.path() })
}

impl Stage {
    fn whole(&self, carriage: crate::support::viewer::Carriage) -> String {
        format!("{}?as=ts", self.scene.url(if carriage == Udp { V6 } else { V4 }, TITLE))
    }

    /// Where packets that came lie in the file; all of them one behind the other.
    #[track_caller]
    fn locate(&self, whose: &str, came: &[Vec<u8>]) -> usize {
        let first = came.first().unwrap_or_else(|| panic!("{whose} got nothing"));
        // Some packets are equal to others.
        let found = (0..self.packets.len()).find(|at| self.packets[*at] == *first && self.packets[*at..].starts_with(came));
        found.unwrap_or_else(|| panic!("{whose}: {} packets are not {} of the file one behind the other", came.len(), self.packets.len()))
    }
}

fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1f, packet[2]])
}

/// What GStreamer's depayloader gives out.
fn gstreamer(host: &Host, url: &str, protocol: &str) -> Vec<Vec<u8>> {
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    let status = script(host, "gstreamer_sound.py").args([url, protocol, "rtpmp2tdepay"]).arg(out.path()).status();
    assert!(status.expect("Python starts").success(), "GStreamer");
    std::fs::read(out.path()).expect("it wrote").chunks(LEN).map(<[u8]>::to_vec).collect()
}

#[test]
fn gstreamer_gets_every_packet_of_the_file() {
    let Some(stage) = set() else { return };
    std::thread::scope(|scope| {
        let udp = scope.spawn(|| gstreamer(&stage.scene.network.a, &stage.whole(Udp), "udp"));
        let seek = scope.spawn(|| gstreamer(&stage.scene.network.b, &format!("{}&t=1.5", stage.whole(Interleaved)), "tcp"));
        let end = gstreamer(&stage.scene.network.b, &format!("{}&end=1.5", stage.whole(Interleaved)), "tcp");
        let udp = udp.join().expect("no panic");
        assert_eq!((stage.locate("over UDP", &udp), udp.len()), (0, stage.packets.len()));
        let seek = seek.join().expect("no panic");
        let first = stage.locate("from 1.5 s on", &seek);
        assert_eq!(first + seek.len(), stage.packets.len());
        assert!(
            pid(&seek[0]) == 0 && first > stage.packets.len() / 8 && first < stage.packets.len() / 2,
            "{first} of {}",
            stage.packets.len()
        );
        assert_eq!(stage.locate("up to 1.5 s", &end), 0);
        assert!(end.len() > stage.packets.len() / 4 && end.len() < stage.packets.len() * 3 / 4);
    });
}

/// A hash of each access unit of the pictures and of the sound, as ffmpeg finds them.
fn hashes(command: &mut Command) -> [Vec<String>; 2] {
    command.args(["-map", "0:v", "-map", "0:a", "-c", "copy", "-f", "framehash", "-hash", "md5", "-"]);
    let output = command.stdin(Stdio::null()).output().expect("ffmpeg starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let of = |stream: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with(stream));
        lines.filter_map(|line| line.split(',').nth(5)).map(str::to_owned).collect()
    };
    [of("0,"), of("1,")]
}

#[test]
fn ffmpeg_gets_all_pictures_and_sound_of_the_file() {
    let Some(stage) = set() else { return };
    let [mut pictures, sound] = hashes(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(stage.folder.join(TITLE)));
    assert_eq!(pictures.len(), 75);
    let url = stage.whole(Udp);
    let mut command = stage.scene.network.a.command("ffmpeg");
    let came = hashes(command.args(["-nostdin", "-v", "error", "-rtsp_transport", "udp", "-buffer_size", "8388608", "-i", &url]));
    // Of the last picture nothing says that it is whole but the next, and a stream that ends is no file that ends to it.
    pictures.pop();
    assert_eq!(came, [pictures, sound]);
}

#[test]
fn a_take_over_goes_on_at_tables() {
    let Some(stage) = set() else { return };
    let a = Viewer::watch(&stage.scene.network.a, &stage.whole(Udp), Udp);
    assert_eq!((a.tracks.len(), a.video().payload_type, a.video().clock_rate), (1, 33, 90_000));
    let enough = |arrived: &Arrived| (arrived.rtp.len() >= 20).then_some(());
    a.video().recording.wait_for("20 packets", SOON, enough);
    let url = stage.scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let b = Viewer::watch(&stage.scene.network.b, &url, Interleaved);
    b.video().recording.wait_for("BYE", SOON * 2, Arrived::bye_at);
    let packets = b.video().packets();
    assert_contiguous("B", &packets);
    let came: Vec<Vec<u8>> =
        packets.iter().flat_map(|packet| packet.payload().chunks(LEN).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
    assert_eq!(stage.locate("B", &came) + came.len(), stage.packets.len(), "to the end");
    assert_eq!(pid(&came[0]), 0, "from tables on");
    // The same packets as A had, with the same numbers and times.
    let twins =
        |packet: &Packet| a.video().packets().iter().any(|had| had.sequence() == packet.sequence() && had.payload() == packet.payload());
    assert!(packets.iter().filter(|packet| twins(packet)).count() > 5);
    let times: Vec<u32> = packets.iter().map(Packet::timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) < 9_000), "{times:?}");
}

#[test]
fn what_is_no_transport_stream_is_refused_and_scales_are_not_played() {
    let Some(stage) = set() else { return };
    let base = stage.scene.url(V6, "source.mp4");
    let mut connection = Connection::open(&stage.scene.network.a, authority(&base));
    let refused = connection.request("DESCRIBE", &format!("{base}?as=ts"), &[("Accept", "application/sdp")]);
    assert_eq!((refused.status, refused.reason.as_str()), (404, "Not Found (it is no transport stream, and is not made one)"));
    let refused = connection.request("DESCRIBE", &format!("{base}?as=flv"), &[("Accept", "application/sdp")]);
    assert_eq!((refused.status, refused.reason.as_str()), (404, "Not Found (titles are sent in no such form)"));
    let mut viewer = Viewer::open(&stage.scene.network.a, &stage.whole(Interleaved), Interleaved);
    let playing = viewer.connection.request("PLAY", &viewer.base.clone(), &[("Scale", "2")]).ok();
    assert_eq!(playing.expect_header("Scale"), "1.0");
    viewer.tear_down();
}

#[test]
fn players_get_every_access_unit_of_sound_in_latm() {
    let Some(stage) = set() else { return };
    let url = |family| stage.scene.url(family, LATM);
    let host = &stage.scene.network.a;
    std::thread::scope(|scope| {
        let ffmpeg = scope.spawn(|| Player::Ffmpeg.play(host, &url(V6), Udp).end(SLACK));
        let gstreamer = scope.spawn(|| Player::GStreamer.play(&stage.scene.network.b, &url(V6), Udp).end(SLACK));
        let received = [("retina", play_with_retina(host, &url(V4), Interleaved, |_| false))];
        let others = [("ffmpeg", ffmpeg.join().expect("no panic")), ("GStreamer", gstreamer.join().expect("no panic"))];
        for (player, received) in received.into_iter().chain(others) {
            assert_eq!(stage.film.locate_frames(player, &received.frames), 0);
            assert_eq!(stage.film.locate_pictures(player, &received.pictures), 0);
            assert_eq!((received.pictures.len(), received.frames.len()), (stage.film.video.len(), stage.film.audio.len()), "{player}");
        }
    });
}
