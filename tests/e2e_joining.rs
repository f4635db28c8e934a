//! How a device joins what runs, on the wire: aligned with the next key picture, and delayed where the last one is far back.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::SOON;
use support::elementary::{Digest, Unit};
use support::film::{Film, library};
use support::namespaces::Family::V6;
use support::recording::Arrived;
use support::scene::Scene;
use support::viewer::Carriage::{Interleaved, Udp};
use support::viewer::{Carriage, Viewer, Watched, assert_contiguous};

/// A minute, a key picture every two seconds.
const TITLE: &str = "countdown.mp4";
/// A key picture every ten seconds.
const FAR: &str = "far-keys.mp4";

#[track_caller]
fn wait_for_pictures(viewer: &Viewer, count: usize) {
    let begun = |arrived: &Arrived| arrived.rtp.chunk_by(|before, next| before.timestamp() == next.timestamp()).count();
    viewer.video().recording.wait_for(&format!("{count} pictures"), SOON * 2, |arrived| (begun(arrived) >= count).then_some(()));
}

#[track_caller]
fn wait_for_bye(track: &Watched) -> Instant {
    track.recording.wait_for(&format!("BYE to the {}", track.media), SOON * 2, Arrived::bye_at)
}

fn digests(units: &[Unit]) -> Vec<Digest> {
    units.iter().map(|unit| unit.digest).collect()
}

/// Where in the film a viewer's track begins, and how many access units it has.
#[track_caller]
fn within(film: &Film, whose: &str, track: &Watched) -> (usize, usize) {
    let units = digests(&track.units());
    let first = if track.media == "video" { film.locate_pictures(whose, &units) } else { film.locate_frames(whose, &units) };
    (first, units.len())
}

fn url_to_take_all(scene: &Scene, viewer: &Viewer) -> String {
    scene.operator().takeover_url(&viewer.video().home, V6, "presentation")
}

fn aligned(carriage: Carriage, window: Option<u32>) {
    let flags: Vec<String> = window.map(|window| vec!["--transition".to_owned(), window.to_string()]).unwrap_or_default();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let Some(scene) = Scene::set_with(&library(), &flags) else { return };
    let film = Film::named(TITLE);
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, TITLE), Udp);
    wait_for_pictures(&a, 70);
    let b = Viewer::watch(&scene.network.b, &(url_to_take_all(&scene, &a) + "&join=aligned"), carriage);
    a.tracks.iter().for_each(|track| {
        wait_for_bye(track);
    });
    wait_for_pictures(&b, 60);
    for (old, new) in a.tracks.iter().zip(&b.tracks) {
        assert_contiguous(&new.media, &new.packets());
        let ((first, count), (begins, _)) = (within(&film, "A", old), within(&film, "B", new));
        assert_eq!(first, 0);
        match window {
            Some(0) => assert_eq!(begins, count, "{}: B begins right where A ends", new.media),
            _ => assert!(begins < count, "{}: both are served until the window is over", new.media),
        }
        if new.media == "video" {
            assert!(new.units()[0].key && begins == 100, "B's first picture is the next key picture, not {begins}");
        } else {
            let apart = (film.audio[begins].time - film.video[100].time).abs();
            assert!(apart < 0.025, "B's sound begins {apart} s from its picture");
        }
        // Who has both at a time has the same packets at the same time: nothing was repeated.
        let first = new.packets()[0].clone();
        if let Some(twin) = old.packets().iter().find(|packet| packet.sequence() == first.sequence()) {
            let apart = first.at.max(twin.at) - first.at.min(twin.at);
            assert!(apart < Duration::from_millis(500), "{}: {apart:?}", new.media);
        }
    }
    let metrics = scene.operator().get("/metrics").text();
    for kind in ["repeated", "missing"] {
        let sum = metrics.lines().find(|line| line.starts_with(&format!("flowsteer_handover_{kind}_seconds_sum"))).map(str::to_owned);
        assert_eq!(sum.as_deref().and_then(|line| line.split(' ').nth(1)), Some("0"), "{kind}: {metrics}");
    }
}

#[test]
fn aligned_with_a_window_of_nothing_b_begins_where_a_ends() {
    aligned(Udp, Some(0));
}

#[test]
fn aligned_into_a_connection_b_begins_where_a_ends() {
    aligned(Interleaved, Some(0));
}

#[test]
fn aligned_with_a_window_both_are_served_until_it_is_over() {
    aligned(Udp, Some(2000));
}

#[test]
fn far_from_its_key_picture_b_is_served_behind_a_to_the_very_end() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(FAR);
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, FAR), Udp);
    wait_for_pictures(&a, 110);
    let b = Viewer::watch(&scene.network.b, &url_to_take_all(&scene, &a), Udp);
    wait_for_pictures(&b, 20);
    let session = scene.operator().session();
    wait_for_pictures(&b, 50);
    let arrived = b.video().recording.so_far();
    let begun = arrived.rtp[0].at;
    let pictures: Vec<Instant> =
        arrived.rtp.chunk_by(|before, next| before.timestamp() == next.timestamp()).map(|packets| packets[0].at).collect();
    let took = pictures[49] - begun;
    assert!(took > Duration::from_millis(1700), "fifty pictures in {took:?}: it is served in real time");
    for track in &b.tracks {
        assert_contiguous(&track.media, &track.packets());
    }
    let (first, _) = within(&film, "B", b.video());
    assert!(b.video().units()[0].key && first == 0, "from the key picture, not {first}");
    let lags: Vec<u64> = session["flows"]
        .as_array()
        .expect("flows")
        .iter()
        .flat_map(|flow| flow["branches"].as_array().expect("branches").iter())
        .filter(|branch| branch["state"] == json!("current"))
        .map(|branch| branch["lagMs"].as_u64().expect("a lag"))
        .collect();
    assert!(lags.len() == 2 && lags.iter().all(|lag| (4000..5500).contains(lag)), "{lags:?}");
    for track in &b.tracks {
        let bye = track.recording.wait_for("BYE at the end", Duration::from_secs(60), Arrived::bye_at);
        let last = track.packets().last().expect("packets").at;
        assert!(bye >= last);
        assert_contiguous(&track.media, &track.packets());
    }
    let (first, count) = within(&film, "B", b.video());
    assert_eq!(first + count, film.video.len(), "all pictures to the end");
}
