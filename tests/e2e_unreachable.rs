//! Destinations that take nothing: what is counted, what becomes of their branches, and that nobody else loses anything by them.

mod support;

use serde_json::json;
use support::film::library;
use support::namespaces::Family;
use support::scene::Scene;
use support::viewer::{Carriage, Viewer, assert_contiguous};
use support::{SOON, wait_for};

/// A server that operators may tell any address of the documentation prefix.
fn scene() -> Option<(Scene, tempfile::TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[steering]\ntrusted_care_of = [\"2001:db8::/32\", \"10.15.0.0/24\"]\n").expect("written");
    let scene = Scene::set_with(&library(), &["--config", file.to_str().expect("UTF-8")])?;
    Some((scene, folder))
}

fn number(scene: &Scene, name: &str) -> f64 {
    let text = scene.operator().get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |count| count.parse().expect("a number"))
}

#[test]
fn what_the_socket_does_not_take_is_counted_in_packets_and_not_as_sent() {
    let Some((scene, _folder)) = scene() else { return };
    let operator = scene.operator();
    let viewer = Viewer::watch(&scene.network.a, &scene.url(Family::V6, "countdown.mp4"), Carriage::Interleaved);
    // There is no way to it.
    let target = format!("/api/v1/home-addresses/{}/bindings/1", viewer.video().home);
    operator.put(&target, &json!({ "careOf": "[2001:db8:dead::1]:5000", "mode": "fork", "join": "at-once" })).json();
    let refused = || number(&scene, "flowsteer_dropped_packets_total{reason=\"send_refused\"}");
    wait_for("packets that are refused", SOON, || (refused() > 100.0).then_some(()));
    let playing = operator.sessions().into_iter().find(|session| session["state"] == "playing").expect("one plays");
    operator.control(&playing, "pause", &json!({}));
    let id = playing["id"].as_str().expect("an id");
    let session = operator.get(&format!("/api/v1/sessions/{id}")).json();
    let shown = session["flows"].as_array().expect("flows").iter().flat_map(|flow| flow["branches"].as_array().expect("branches"));
    let (mut sent, mut octets, mut lost) = (0.0, 0.0, 0.0);
    for branch in shown {
        let packets = branch["packets"].as_f64().expect("a number");
        if branch["transport"] == "udp" {
            lost += packets;
        } else {
            sent += packets;
            octets += branch["octets"].as_f64().expect("a number");
        }
    }
    assert!(sent > 100.0 && lost > 50.0, "{session:#}");
    assert_eq!(number(&scene, "flowsteer_packets_total"), sent, "only what has left");
    assert_eq!(number(&scene, "flowsteer_octets_total"), octets);
    // Beside the packets there are some reports.
    assert!((lost..lost + 10.0).contains(&refused()), "{} of {lost}", refused());
    assert_contiguous("the other's", &viewer.video().packets());
}
