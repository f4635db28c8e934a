//! How a server that is in use ends, and what its log says of hand-overs: with ffmpeg, and receivers of our own that keep every packet.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::film::{Film, library};
use support::http::Answer;
use support::namespaces::Family::{V4, V6};
use support::players::Player;
use support::recording::Arrived;
use support::rtsp::Connection;
use support::scene::Scene;
use support::server::rtsp_address;
use support::viewer::Carriage::{Interleaved, Udp};
use support::viewer::Viewer;
use support::{SOON, wait_for};

/// How soon a server that is to stop has stopped.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Lines of the log, each an object of JSON, that have this message.
#[track_caller]
fn logged(scene: &Scene, message: &str) -> Vec<Value> {
    let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    scene.server.log().iter().map(read).filter(|line: &Value| line["message"] == message).collect()
}

/// The status that SETUP of a title's first track is answered with.
#[track_caller]
fn set_up(scene: &Scene, title: &str) -> u16 {
    let mut connection = Connection::open(&scene.network.b, rtsp_address(&scene.network.server, V4));
    let track = format!("{}/trackID=0", scene.url(V4, title));
    connection.request("SETUP", &track, &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]).status
}

#[track_caller]
fn wait_until_draining(scene: &Scene) {
    let readyz = || scene.operator().get("/readyz");
    wait_for("the server to be ready for nobody", SOON, || (readyz().status == 503).then_some(()));
    assert_eq!(refusal(&readyz()), (503, json!("urn:flowsteer:problem:draining")));
}

/// The status of a refusal, and its type.
#[track_caller]
fn refusal(answer: &Answer) -> (u16, Value) {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()));
    (answer.status, problem["type"].clone())
}

#[test]
fn a_player_sees_the_end_of_its_film_after_sigterm_and_nobody_begins_another() {
    let Some(mut scene) = Scene::set_with(&library(), &["--drain=30"]) else { return };
    let home = scene.operator().post("/api/v1/home-addresses", &json!({})).json()["homeAddress"].clone();
    let player = Player::Ffmpeg.play(&scene.network.a, &scene.url(V4, "short.mp4?t=7"), Udp);
    scene.operator().wait_for_state("playing");
    scene.server.ask_to_end();
    wait_until_draining(&scene);
    assert_eq!(set_up(&scene, "countdown.mp4"), 503);
    let played = scene.operator().post("/api/v1/sessions", &json!({ "title": "countdown.mp4", "home": home }));
    assert_eq!(refusal(&played), (503, json!("urn:flowsteer:problem:draining")));
    assert_eq!(scene.operator().get("/healthz").status, 200, "it lives");

    let (received, film) = (player.end(SOON), Film::named("short.mp4"));
    let begins = film.locate_pictures("the player's pictures", &received.pictures);
    assert_eq!(begins + received.pictures.len(), film.video.len(), "to the film's end");
    let ended = wait_for("the server to end by itself", SOON, || scene.server.ended());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_server_that_drains_hands_over_what_plays_and_a_second_sigterm_ends_it_at_once() {
    let flags = ["--drain", "--log-format", "json", "--log", "debug", "--transition", "200"];
    let Some(mut scene) = Scene::set_with(&library(), &flags) else { return };
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, "countdown.mp4"), Udp);
    a.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
    scene.server.ask_to_end();
    wait_until_draining(&scene);

    // The film may still walk to another device; each of its flows is one line.
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let b = Viewer::watch(&scene.network.b, &url, Interleaved);
    a.video().recording.wait_for("BYE to the old device", SOON, Arrived::bye_at);
    let lines = wait_for("a line for each flow", SOON, || {
        let lines = logged(&scene, "handed over");
        (lines.len() >= 2).then_some(lines)
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for track in &a.tracks {
        let line = lines.iter().find(|line| line["home"] == track.home.as_str()).unwrap_or_else(|| panic!("{} in {lines:#?}", track.home));
        assert_eq!((&line["level"], &line["missing_ms"]), (&json!("INFO"), &json!(0)), "{line:#}");
        assert!(line["after_ms"].as_u64().is_some_and(|after| after < 1000) && line["join"] == "primed", "{line:#}");
    }
    // Each request has a name of its own.
    let requests: Vec<_> = logged(&scene, "request").iter().map(|line| line["span"]["request"].to_string()).collect();
    let names: std::collections::BTreeSet<_> = requests.iter().collect();
    assert!(names.len() == requests.len() && names.len() > 8 && names.iter().all(|name| name.len() == 18), "{requests:?}");
    let answer = scene.operator().get("/healthz");
    let name = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("the answer's name").to_owned();
    let named = |line: &Value| line["span"]["request"] == name.as_str() && line["path"] == "/healthz";
    wait_for("its line", SOON, || logged(&scene, "request").iter().any(named).then_some(()));

    let asked = Instant::now();
    assert_eq!(scene.server.terminate().code(), Some(0));
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    b.video().recording.wait_for("BYE to who was still there", SOON, Arrived::bye_at);
}

#[test]
fn draining_ends_when_its_time_is_over_and_without_it_sigterm_ends_all() {
    for (flags, least, most) in [(&["--drain=1"][..], Duration::from_secs(1), AT_ONCE * 2), (&[], Duration::ZERO, AT_ONCE)] {
        let Some(mut scene) = Scene::set_with(&library(), flags) else { return };
        let a = Viewer::watch(&scene.network.a, &scene.url(V6, "countdown.mp4"), Udp);
        a.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 10).then_some(()));
        let asked = Instant::now();
        assert_eq!(scene.server.terminate().code(), Some(0));
        let took = asked.elapsed();
        assert!(took >= least && took < most, "{took:?} with {flags:?}");
        a.video().recording.wait_for("BYE", SOON, Arrived::bye_at);
    }
}
