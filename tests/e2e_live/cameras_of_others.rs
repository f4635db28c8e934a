//! Cameras that are no flowsteer: one that asks for a password, one that dies while nobody watches, one whose sound comes late.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::responder::{FRAME, PASSWORD, PICTURE, PORT, Responder, SOUND_BEFORE, USER};
use crate::support::namespaces::Family::V6;
use crate::support::recording::{Arrived, Packet};
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::server::rtsp_address;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Viewer, Watched, assert_contiguous};
use crate::support::{SOON, wait_for};

/// What the camera sends from then on lies where it is to, also where its first sound came late to a machine that is busy.
const SETTLED: Duration = Duration::from_millis(600);

/// A server with one camera, at `path` of ours, with more settings of it.
fn set(path: &str, settings: &str) -> Option<(Scene, Responder, TempDir)> {
    let folder = TempDir::new().expect("a temporary folder");
    let configured = folder.path().join("flowsteer.toml");
    let camera = format!("[[camera]]\nname = \"door\"\nurl = \"rtsp://127.0.0.1:{PORT}/{path}\"\n{settings}\n");
    fs::write(&configured, camera).expect("a file in a temporary folder");
    let media = folder.path().join("media");
    fs::create_dir(&media).expect("a new folder");
    let scene = Scene::set_with(&media, &["--config", configured.to_str().expect("a path that is text")])?;
    let responder = Responder::start(&scene.network.server);
    Some((scene, responder, folder))
}

fn shown(scene: &Scene) -> serde_json::Value {
    scene.operator().get("/api/v1/titles").json()[0].clone()
}

/// The number at the end, or at the beginning, of what the camera has put into a packet.
fn number(watched: &Watched, packet: &Packet) -> u32 {
    let payload = packet.payload();
    let octets = if watched.media == "video" { &payload[payload.len() - 4..] } else { &payload[..4] };
    octets.iter().fold(0, |number, octet| number << 7 | u32::from(octet & 0x7f))
}

/// When, by the server's reports, what is in a track's packet was sampled, in seconds; and its number.
fn sampled(watched: &Watched, arrived: &Arrived) -> Vec<(u32, f64)> {
    let (ntp, rtp) = arrived.rtcp.iter().find_map(Packet::sender_report).expect("a report");
    let seconds = |packet: &Packet| {
        let behind = f64::from(packet.timestamp().wrapping_sub(rtp) as i32) / f64::from(watched.clock_rate);
        (ntp as u32) as f64 / f64::from(u32::MAX) + ((ntp >> 32) & 0xffff) as f64 + behind
    };
    let whole = |packet: &&Packet| watched.media != "video" || packet.marker();
    arrived.rtp.iter().filter(whole).map(|packet| (number(watched, packet), seconds(packet))).collect()
}

#[test]
fn sound_and_picture_lie_apart_as_the_camera_says_and_not_as_they_come() {
    let Some((scene, responder, _folder)) = set("stream", "") else { return };
    let viewer = Viewer::watch(&scene.network.a, &scene.url(V6, "door"), Udp);
    let arrived = |media: &str, count: usize| {
        let track = viewer.track(media);
        let enough = |arrived: &Arrived| arrived.rtp.len() >= count && arrived.rtcp.iter().any(|packet| packet.sender_report().is_some());
        (track, track.recording.wait_for(&format!("{count} packets of {media}"), SOON, |so_far| enough(so_far).then(|| so_far.clone())))
    };
    let ((video, pictures), (audio, sound)) = (arrived("video", 45), arrived("audio", 70));
    for (track, arrived) in [(video, &pictures), (audio, &sound)] {
        assert_contiguous(&track.media, &arrived.rtp);
    }
    let settled = |mut units: Vec<(u32, f64)>, length: Duration| {
        units.retain(|(number, _)| length * *number >= SETTLED);
        units
    };
    let (pictures, sound) = (settled(sampled(video, &pictures), PICTURE), settled(sampled(audio, &sound), FRAME));
    assert!(pictures.len() >= 25 && sound.len() >= 35, "{} pictures, {} frames", pictures.len(), sound.len());
    let ((first_picture, seen), (first_sound, heard)) = (pictures[0], sound[0]);
    // By the camera's clock.
    let expected =
        FRAME.as_secs_f64() * (f64::from(first_sound) - f64::from(SOUND_BEFORE)) - PICTURE.as_secs_f64() * f64::from(first_picture);
    let off = heard - seen - expected;
    assert!(off.abs() < 0.005, "sound {first_sound} and picture {first_picture} are off by {off} s");
    for (numbers, length) in [(&pictures, PICTURE), (&sound, FRAME)] {
        for pair in numbers.windows(2) {
            assert_eq!(pair[1].0, pair[0].0 + 1);
            assert!((pair[1].1 - pair[0].1 - length.as_secs_f64()).abs() < 0.001, "{pair:?}");
        }
    }
    assert_eq!(responder.asked("DESCRIBE").len(), 1, "it is pulled once");
}

#[test]
fn a_camera_that_asks_for_a_password_is_told_that_it_is_known_and_not_what_it_is() {
    let Some((scene, responder, _folder)) = set("locked", &format!("username = \"{USER}\"\npassword = \"{PASSWORD}\"")) else { return };
    let viewer = Viewer::watch(&scene.network.a, &scene.url(V6, "door"), Interleaved);
    viewer.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() >= 10).then_some(()));
    let asked = responder.all_asked();
    assert!(asked.iter().any(|asked| asked.status == 401), "it was asked without first: {asked:#?}");
    assert_eq!(asked.iter().filter(|asked| asked.method == "SETUP" && asked.status == 200).count(), 2);
    assert_eq!(responder.asked("PLAY").last().map(|asked| asked.status), Some(200));
    for asked in &asked {
        assert!(!asked.url.contains(PASSWORD) && !asked.authorization.iter().any(|said| said.contains(PASSWORD)), "{asked:#?}");
    }
}

#[test]
fn a_camera_whose_password_is_another_one_is_no_title_and_says_why() {
    let Some((mut scene, responder, _folder)) = set("locked", &format!("username = \"{USER}\"\npassword = \"wrong\"")) else { return };
    let mut connection = Connection::open(&scene.network.a, rtsp_address(&scene.network.server, V6));
    let url = scene.url(V6, "door");
    let refused = connection.request("DESCRIBE", &url, &[("Accept", "application/sdp")]);
    assert!((400..600).contains(&refused.status), "{refused:#?}");
    let title = shown(&scene);
    let problem = title["problem"].as_str().unwrap_or_else(|| panic!("no problem in {title:#}"));
    assert!(problem.contains("401") && !problem.contains("wrong"), "{problem}");
    assert!(responder.all_asked().iter().all(|asked| asked.status != 200 || asked.method == "OPTIONS"));
    scene.server.assert_alive();
}

#[test]
fn a_camera_that_is_always_pulled_is_so_with_nobody_there_and_again_after_its_death() {
    let Some((scene, responder, _folder)) = set("stream", "always = true") else { return };
    let played = |count: usize| {
        wait_for(&format!("PLAY number {count}"), SOON * 2, || (responder.asked("PLAY").len() >= count).then_some(()));
        wait_for("the title to be online", SOON, || (shown(&scene)["online"] == json!(true)).then_some(()));
    };
    played(1);
    let died = Instant::now();
    responder.die();
    // One answer shows both.
    let away = wait_for("the title to be away", SOON, || Some(shown(&scene)).filter(|title| title["online"] == json!(false)));
    assert!(away["problem"].is_string(), "{away:#}");
    responder.come_back();
    played(2);
    let asked = responder.asked("PLAY");
    assert!(asked[1].at - died >= Duration::from_secs(1), "not at once");
    assert_eq!(scene.operator().sessions().len(), 0, "nobody watches");
    // Who comes now has it at once.
    let viewer = Viewer::watch(&scene.network.a, &scene.url(V6, "door"), Udp);
    viewer.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() >= 10).then_some(()));
    assert_eq!(responder.asked("PLAY").len(), 2);
}
