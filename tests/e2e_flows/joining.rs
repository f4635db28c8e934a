//! How a device joins what runs, on the wire: aligned with the next key picture, and delayed where the last one is far back.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::SOON;
use crate::support::elementary::{Digest, Unit};
use crate::support::film::{Film, library};
use crate::support::namespaces::Family::V6;
use crate::support::recording::{Arrived, Packet};
use crate::support::scene::Scene;
use crate::support::viewer::Carriage::{Interleaved, Udp};
use crate::support::viewer::{Carriage, Viewer, Watched, assert_contiguous};
use serde_json::json;

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
    let mut b = Viewer::open(&scene.network.b, &(url_to_take_all(&scene, &a) + "&join=aligned"), carriage);
    let decided = Instant::now();
    let answered = b.play().at;
    a.tracks.iter().for_each(|track| {
        wait_for_bye(track);
    });
    wait_for_pictures(&b, 60);
    let (key, _) = within(&film, "B", b.video());
    for (old, new) in a.tracks.iter().zip(&b.tracks) {
        assert_contiguous(&new.media, &new.packets());
        let ((first, count), (begins, _)) = (within(&film, "A", old), within(&film, "B", new));
        assert_eq!(first, 0);
        match window {
            Some(0) => assert_eq!(begins, count, "{}: B begins right where A ends", new.media),
            _ => assert!(begins < count, "{}: both are served until the window is over", new.media),
        }
        if new.media == "video" {
            // Of A's key pictures the one before came before B was answered, or was too near, and this one, if at all, after B had asked.
            let units = old.units();
            let is_next =
                units[key - 50].at <= answered + Duration::from_millis(300) && units.get(key).is_none_or(|unit| unit.at >= decided);
            assert!(new.units()[0].key && is_next, "B's first picture is the next key picture, not {key}");
        } else {
            let apart = (film.audio[begins].time - film.video[key].time).abs();
            assert!(apart < 0.025, "B's sound begins {apart} s from its picture");
        }
        // Who has both at a time has the same packets at the same time: nothing was repeated.
        let first = new.packets()[0].clone();
        if let Some(twin) = old.packets().iter().find(|packet| packet.sequence() == first.sequence()) {
            let apart = first.at.max(twin.at) - first.at.min(twin.at);
            assert!(apart < Duration::from_secs(1), "{}: {apart:?}", new.media);
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
fn at_once_b_begins_with_what_is_due_and_has_the_same_packets_as_a() {
    // It ends long after it was looked at.
    let Some(scene) = Scene::set_with(&library(), &["--transition", "10000"]) else { return };
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, TITLE), Udp);
    wait_for_pictures(&a, 70);
    let b = Viewer::watch(&scene.network.b, &(url_to_take_all(&scene, &a) + "&join=at-once"), Udp);
    // While the window runs.
    let session = scene.operator().session();
    wait_for_pictures(&b, 12);
    for (old, new) in a.tracks.iter().zip(&b.tracks) {
        let got = new.packets();
        assert_contiguous(&new.media, &got);
        let is_twin = |packet: &&Packet| packet.sequence() == got[0].sequence();
        let twin = old.recording.wait_for("what A had, too", SOON, |arrived| arrived.rtp.iter().find(is_twin).cloned());
        assert_eq!(twin.payload(), got[0].payload());
        let apart = got[0].at.max(twin.at) - got[0].at.min(twin.at);
        assert!(apart < Duration::from_secs(1), "{}: {apart:?}", new.media);
    }
    assert!(!b.video().units()[0].key, "no key picture is due");
    let branches = session["flows"].as_array().expect("flows").iter().flat_map(|flow| flow["branches"].as_array().expect("branches"));
    assert!(branches.clone().count() >= 4 && branches.into_iter().all(|branch| branch["lagMs"] == json!(0)), "{session:#}");
}

#[test]
fn far_from_its_key_picture_b_is_served_behind_a_to_the_very_end() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(FAR);
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, FAR), Udp);
    wait_for_pictures(&a, 110);
    let position = || scene.operator().session()["positionSeconds"].as_f64().expect("a position") * 1000.0;
    let taken = position() - 100.0;
    let b = Viewer::watch(&scene.network.b, &url_to_take_all(&scene, &a), Udp);
    let taken = taken..position() + 100.0;
    wait_for_pictures(&b, 20);
    let session = scene.operator().session();
    wait_for_pictures(&b, 50);
    for track in &b.tracks {
        assert_contiguous(&track.media, &track.packets());
    }
    let (first, _) = within(&film, "B", b.video());
    assert!(b.video().units()[0].key && first == 0, "from the key picture, not {first}");
    let lags: Vec<f64> = session["flows"]
        .as_array()
        .expect("flows")
        .iter()
        .flat_map(|flow| flow["branches"].as_array().expect("branches").iter())
        .filter(|branch| branch["state"] == json!("current"))
        .map(|branch| branch["lagMs"].as_f64().expect("a lag"))
        .collect();
    assert!(lags.len() == 2 && lags.iter().all(|lag| taken.contains(lag)), "{lags:?} ms, taken at {taken:?} ms");
    for track in &b.tracks {
        let bye = track.recording.wait_for("BYE at the end", Duration::from_secs(60), Arrived::bye_at);
        let last = track.packets().last().expect("packets").at;
        assert!(bye >= last);
        assert_contiguous(&track.media, &track.packets());
    }
    let (first, count) = within(&film, "B", b.video());
    assert_eq!(first + count, film.video.len(), "all pictures to the end");
    let packets = b.video().packets();
    let mut begin = packets.chunk_by(|before, next| before.timestamp() == next.timestamp()).map(|packets| packets[0].at);
    let begun = begin.next().expect("pictures");
    // Players are given the first second at once, and the server may have begun late.
    let took = begin.nth(248).expect("250 pictures") - begun;
    assert!(took > Duration::from_secs(6), "ten seconds of pictures in {took:?}: it is served in real time");
}

/// Twenty seconds with open groups of pictures, two leading pictures behind each key picture.
fn make_open_film(path: &Path) {
    let picture = "testsrc2=s=640x360:r=25,noise=alls=20:allf=t";
    let arguments = ["-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=f=440:r=48000", "-t", "20"];
    let groups = ["-g", "51", "-keyint_min", "51", "-sc_threshold", "0", "-bf", "2", "-b_strategy", "0", "-x264-params", "open-gop=1"];
    let coded = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "2M", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k"];
    let made = Command::new("ffmpeg").args(arguments).args(groups).args(coded).arg(path).status().expect("ffmpeg starts");
    assert!(made.success());
}

/// Where a device begins with an open group, filler data bears the numbers of the pictures that it is not sent: it misses no packet.
fn begins_an_open_group(carriage: Carriage, join: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    make_open_film(&folder.path().join("open.mp4"));
    let Some(scene) = Scene::set_with(folder.path(), &[]) else { return };
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, "open.mp4"), Udp);
    wait_for_pictures(&a, 90);
    let b = Viewer::watch(&scene.network.b, &(url_to_take_all(&scene, &a) + "&join=" + join), carriage);
    wait_for_pictures(&b, 60);
    let twins = a.video().packets();
    let got = b.video().packets();
    assert_contiguous("video", &got);
    let (key, rest) = got.split_at(got.iter().position(|packet| packet.timestamp() != got[0].timestamp()).expect("more than one picture"));
    let fillers = key.iter().filter(|packet| packet.payload() == [12, 0x80]).count();
    let (picture, filler) = key.split_at(key.len() - fillers);
    assert!(fillers >= 2 && filler.iter().all(|packet| packet.payload() == [12, 0x80]));
    let marked: Vec<bool> = key.iter().map(Packet::marker).collect();
    assert!(marked[key.len() - 1] && !marked[..key.len() - 1].contains(&true), "one access unit");
    let twin = |packet: &Packet| twins.iter().find(|twin| twin.sequence() == packet.sequence()).expect("A had it too");
    for packet in picture.iter().chain(rest.iter().take_while(|packet| packet.at < twins[twins.len() - 1].at)) {
        assert_eq!((twin(packet).payload(), twin(packet).timestamp()), (packet.payload(), packet.timestamp()));
    }
    let leading = filler.iter().map(|packet| twin(packet).timestamp());
    assert!(leading.clone().all(|timestamp| (timestamp.wrapping_sub(key[0].timestamp()) as i32) < 0), "shown before the key picture");
    assert_eq!(leading.collect::<HashSet<_>>().len(), 2);
    scene.operator().control(&scene.operator().session(), "pause", &json!({}));
    b.video().recording.wait_for_silence(Duration::from_millis(300), SOON);
    let session = scene.operator().session();
    let video = session["flows"].as_array().expect("flows").iter().find(|flow| flow["track"]["kind"] == json!("video")).expect("pictures");
    let newest = video["branches"].as_array().expect("branches").last().expect("a branch").clone();
    let sent = newest["packets"].as_u64().expect("a count");
    // Our reader may be late.
    let is_all = |arrived: &Arrived| (sent.abs_diff(arrived.rtp.len() as u64) < fillers as u64).then_some(());
    b.video().recording.wait_for(&format!("the {sent} that were sent"), SOON, is_all);
}

#[test]
fn primed_with_an_open_group_no_number_is_missing() {
    begins_an_open_group(Udp, "primed");
}

#[test]
fn aligned_with_an_open_group_no_number_is_missing() {
    begins_an_open_group(Udp, "aligned");
}

#[test]
fn primed_with_an_open_group_into_a_connection_no_number_is_missing() {
    begins_an_open_group(Interleaved, "primed");
}
