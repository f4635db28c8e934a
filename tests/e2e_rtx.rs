//! Retransmission for those who ask for it by `?rtx`, on a network that loses datagrams.

mod support;

use std::time::Duration;

use support::film::Film;
use support::namespaces::Family;
use support::players::{Player, Received};
use support::scene::Scene;
use support::server::RTP;

/// Ten seconds, a key picture every two.
const TITLE: &str = "short.mp4";

/// What GStreamer gets where three of a hundred datagrams are lost, and how many were.
fn play_with_loss(scene: &Scene, family: Family, query: &str) -> (Received, u64) {
    scene.network.server.switch_segmentation_offload_off();
    scene.network.a.lose(3, RTP);
    let url = scene.url(family, &format!("{TITLE}{query}"));
    let received = Player::play_patiently(&scene.network.a, &url).end(Duration::from_secs(25));
    (received, scene.network.a.lost())
}

#[test]
fn gstreamer_gets_every_access_unit_though_datagrams_are_lost() {
    let Some(scene) = Scene::set() else { return };
    let (received, lost) = play_with_loss(&scene, Family::V6, "?rtx");
    let metrics = scene.operator().get("/metrics").text();
    for line in metrics.lines().filter(|line| line.contains("rese") || line.contains("packets_total")) {
        eprintln!("{line}");
    }
    eprintln!("lost {lost}");
    let film = Film::named(TITLE);
    assert!(lost > 10, "{lost} datagrams were lost");
    assert_eq!(film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(film.locate_frames("sound", &received.frames), 0);
    assert_eq!((received.pictures.len(), received.frames.len()), (film.video.len(), film.audio.len()), "pictures and audio frames");
}

#[test]
fn without_asking_access_units_are_missing() {
    let Some(scene) = Scene::set() else { return };
    let (received, lost) = play_with_loss(&scene, Family::V6, "");
    let film = Film::named(TITLE);
    let (pictures, frames) = (film.pictures(), film.frames());
    let whole = received.pictures.iter().filter(|picture| pictures.contains(picture)).count();
    eprintln!("lost {lost} {whole} {}", received.frames.len());
    assert!(lost > 10, "{lost} datagrams were lost");
    assert!(whole < film.video.len(), "all pictures came though {lost} datagrams were lost");
    assert!(received.frames.len() < frames.len(), "all of the sound came though {lost} datagrams were lost");
}
