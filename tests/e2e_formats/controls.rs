//! What a player says of how a title is to be played, beside scales: seeks that begin with the very frame of sound, and delivery faster
//! and slower than real time. On the wire, and with real players, compared with the file.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::elementary;
use crate::support::film::Film;
use crate::support::namespaces::Family::{V4, V6};
use crate::support::players::{Player, play_with_retina};
use crate::support::recording::{Arrived, Packet};
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::viewer::{Viewer, Watched};
use crate::support::wait_for;

const TITLE: &str = "film.mp4";
const SLACK: Duration = Duration::from_secs(20);
/// Where in the film a seek goes, in seconds: a second and more behind a key picture.
const POSITION: u32 = 3;
/// Pictures follow each other sooner than this unless the machine stands still.
const STEP: Duration = Duration::from_millis(100);

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
            wait_for_bye(track);
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
        // What was read from a connection at once has come at one time.
        let times: Vec<Instant> = pictures.iter().map(|picture| picture.at).filter(|at| *at <= frames[0].at).collect();
        assert!(times.len() > 15, "{carriage:?}: {}", times.len());
        // Where the machine stands still, all of it takes longer; it does not between most of them.
        let steps = times.iter().zip(times[1..].iter().chain([&frames[0].at]));
        let took: Duration = steps.map(|(at, next)| next.duration_since(*at).min(STEP)).sum();
        assert!(took.as_secs_f64() < ahead, "{carriage:?}: {took:?} of {ahead} s");
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

/// PLAY of the whole title at a speed, and that which is answered.
#[track_caller]
fn play_at(viewer: &mut Viewer, speed: &str) -> String {
    let headers = [("Range", "npt=0.000-"), ("Speed", speed)];
    viewer.connection.request("PLAY", &viewer.base.clone(), &headers).ok().expect_header("Speed").to_owned()
}

#[track_caller]
fn wait_for_bye(track: &Watched) -> Instant {
    track.recording.wait_for(&format!("BYE to the {}", track.media), SLACK, Arrived::bye_at)
}

/// What was received of a track, but for when.
fn packets(track: &Watched) -> Vec<(u16, u32, Vec<u8>)> {
    let since = |first: u32, packet: &Packet| packet.timestamp().wrapping_sub(first);
    let packets = track.packets();
    let (number, stamp) = (packets[0].sequence(), packets[0].timestamp());
    packets.iter().map(|packet| (packet.sequence().wrapping_sub(number), since(stamp, packet), packet.payload().to_vec())).collect()
}

/// The same packets with the same steps between timestamps, and over sooner.
#[test]
fn at_a_speed_the_same_packets_come_sooner_or_later() {
    let Some(stage) = set() else { return };
    let (url, other_host) = (stage.url(Udp, ""), &stage.scene.network.b);
    let mut usual = Viewer::open(&stage.scene.network.a, &url, Udp);
    let mut fast = Viewer::open(other_host, &url, Udp);
    let mut slow = Viewer::open(other_host, &stage.url(Udp, "?t=3"), Udp);
    let usual_asked = Instant::now();
    assert_eq!(usual.play().header("Speed"), None);
    assert_eq!(play_at(&mut slow, "0.1"), "0.25");
    let fast_asked = Instant::now();
    assert_eq!(play_at(&mut fast, "4"), "4.0");
    let ends: Vec<Instant> = fast.tracks.iter().chain(&usual.tracks).map(wait_for_bye).collect();
    assert!(ends[..2].iter().max() < ends[2..].iter().min(), "what is sent four times as fast and was begun later ends first");
    for (one, other) in fast.tracks.iter().zip(&usual.tracks) {
        assert_eq!(packets(one), packets(other), "{}", one.media);
        // Where the first packet is late, the last one is not sooner for that.
        let took = |track: &Watched, asked: Instant| track.packets().last().expect("packets").at.duration_since(asked).as_secs_f64();
        let (fast, usual) = (took(one, fast_asked), took(other, usual_asked));
        assert!(fast > 0.9 && usual > 3.8, "{}: paced: {fast} {usual}", one.media);
    }
    // The last two seconds, from a key picture on, take eight.
    let pictures = slow.video().units();
    assert!(pictures.len() < 45 && pictures[0].digest == stage.film.video[50].digest, "{} pictures came", pictures.len());
    slow.tear_down();
}

#[test]
fn players_get_all_of_a_title_at_a_speed() {
    let Some(stage) = set() else { return };
    let host = &stage.scene.network.a;
    let mut running: Vec<_> = [(Player::Ffmpeg, Udp), (Player::PyAv, Interleaved)]
        .map(|(player, carriage)| (player, player.play(host, &stage.url(carriage, "?speed=4"), carriage)))
        .into_iter()
        .collect();
    // It asks for a speed where it seeks at a rate, and not for key pictures only.
    running.push((Player::GStreamer, Player::play_at_a_rate(&stage.scene.network.b, &stage.url(Udp, ""), Udp, 2)));
    let at_twice = || stage.scene.operator().sessions().iter().any(|session| session["speed"] == 2.0 && session["scale"] == 1.0);
    wait_for("GStreamer to ask for twice the speed", SLACK, || at_twice().then_some(()));
    for (player, running) in running {
        let received = running.end(SLACK);
        let received = if player == Player::GStreamer { received.behind_a_seek(stage.film, 0) } else { received };
        assert_eq!(received.pictures, stage.film.pictures(), "{player:?}");
        assert_eq!(received.frames, stage.film.frames(), "{player:?}");
    }
}

#[test]
fn a_device_takes_over_what_plays_at_a_speed() {
    let Some(stage) = set() else { return };
    let mut a = Viewer::open(&stage.scene.network.a, &stage.url(Udp, ""), Udp);
    // Half as fast: who comes late comes before the end.
    play_at(&mut a, "0.5");
    a.video().recording.wait_for("half a second of pictures", SLACK, |arrived| {
        arrived
            .rtp
            .last()
            .is_some_and(|last| last.timestamp().wrapping_sub(arrived.rtp[0].timestamp()).cast_signed() > 45_000)
            .then_some(())
    });
    let url = stage.scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let mut b = Viewer::open(&stage.scene.network.b, &url, Udp);
    assert_eq!(b.play().header("Speed"), Some("0.5"), "it stays what it is");
    for track in a.tracks.iter().chain(&b.tracks) {
        wait_for_bye(track);
    }
    for (old, new) in a.tracks.iter().zip(&b.tracks) {
        let (had, units) = (old.units(), new.units());
        let in_file = if new.media == "video" { stage.film.pictures() } else { stage.film.frames() };
        let digests: Vec<_> = units.iter().map(|unit| unit.digest).collect();
        assert!(in_file.ends_with(&digests) && digests.len() > in_file.len() / 4, "{}: all up to the end", new.media);
        let same = had.iter().filter(|unit| units.iter().any(|other| other.digest == unit.digest && other.timestamp == unit.timestamp));
        assert!(same.clone().count() > 5, "{}: both have had {} of the same", new.media, same.count());
    }
}
