//! Destinations that take nothing: what is counted, what becomes of their branches, and that nobody else loses anything by them.

mod support;

use serde_json::{Value, json};
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

/// All branches, as the API shows them, each with its kind of media.
fn branches(scene: &Scene) -> Vec<(String, Value)> {
    let session = scene.operator().session();
    let of = |flow: &Value| {
        let kind = flow["track"]["kind"].as_str().expect("a kind").to_owned();
        let branches = flow["branches"].as_array().expect("branches").clone();
        branches.into_iter().map(move |branch| (kind.clone(), branch)).collect::<Vec<_>>()
    };
    session["flows"].as_array().expect("flows").iter().flat_map(of).collect()
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

/// A player that shares a film with another closes its sockets and says nothing.
fn one_closes_its_sockets(family: Family) {
    let Some((scene, _folder)) = scene() else { return };
    let operator = scene.operator();
    let stays = Viewer::watch(&scene.network.a, &scene.url(family, "countdown.mp4"), Carriage::Udp);
    let url = operator.takeover_url(&stays.video().home, family, "presentation") + "&mode=fork";
    let mut goes = Viewer::watch(&scene.network.b, &url, Carriage::Udp);
    let there =
        || branches(&scene).into_iter().map(|(_, branch)| branch["careOf"].as_str().expect("an endpoint").to_owned()).collect::<Vec<_>>();
    wait_for("both to play", SOON, || goes.tracks.iter().all(|track| track.packets().len() > 10).then_some(()));
    assert_eq!(there().len(), 4);
    let own = scene.network.a.address(family).to_string();
    // For a while only one of its two: what comes back of the other's packets is nothing to the first.
    goes.tracks[1].ports = None;
    let left = wait_for("the first branch to end", SOON, || Some(there()).filter(|there| there.len() == 3));
    assert_eq!(left.iter().filter(|care_of| care_of.contains(&own)).count(), 2, "{left:?}");
    assert_eq!(number(&scene, "flowsteer_branches_unreachable_total"), 1.0);
    let before = goes.video().packets().len();
    wait_for("the pictures to go on", SOON, || (goes.video().packets().len() > before + 50).then_some(()));
    assert_contiguous("the one that goes", &goes.video().packets());
    goes.tracks[0].ports = None;
    let left = wait_for("the other branch to end", SOON, || Some(there()).filter(|there| there.len() == 2));
    assert!(left.iter().all(|care_of| care_of.contains(&own)), "{left:?}");
    assert_eq!(number(&scene, "flowsteer_branches_unreachable_total"), 2.0);
    assert!(number(&scene, "flowsteer_datagrams_bounced_total") >= 6.0);
    // The other one lost nothing by it, before or after.
    let before = stays.video().packets().len();
    wait_for("the other to play on", SOON, || (stays.video().packets().len() > before + 50).then_some(()));
    for track in &stays.tracks {
        assert_contiguous(&track.media, &track.packets());
    }
    for reason in ["send_refused", "send_buffer_full"] {
        assert_eq!(number(&scene, &format!("flowsteer_dropped_packets_total{{reason=\"{reason}\"}}")), 0.0, "{reason}");
    }
    assert_eq!(operator.session()["state"], "playing");
}

#[test]
fn a_player_that_closes_its_sockets_over_ipv6_ends_its_own_branches_and_nobody_else_s() {
    one_closes_its_sockets(Family::V6);
}

#[test]
fn a_player_that_closes_its_sockets_over_ipv4_ends_its_own_branches_and_nobody_else_s() {
    one_closes_its_sockets(Family::V4);
}

#[test]
fn a_receiver_without_an_rtcp_port_is_served() {
    let Some((scene, _folder)) = scene() else { return };
    let operator = scene.operator();
    let viewer = Viewer::watch(&scene.network.a, &scene.url(Family::V6, "countdown.mp4"), Carriage::Udp);
    let bare = scene.network.b.run(|| std::net::UdpSocket::bind((scene.network.b.v6, 0))).expect("a socket");
    bare.set_read_timeout(Some(SOON)).expect("possible");
    let to = bare.local_addr().expect("bound");
    // The next port is nobody's.
    let target = format!("/api/v1/home-addresses/{}/bindings/1", viewer.video().home);
    operator.put(&target, &json!({ "careOf": to.to_string(), "mode": "fork", "join": "at-once" })).json();
    let mut packet = [0; 2048];
    wait_for("reports to come back", SOON * 2, || {
        bare.recv(&mut packet).expect("RTP comes");
        (number(&scene, "flowsteer_datagrams_bounced_total") >= 3.0).then_some(())
    });
    // As after three of RTP: it would have ended by now.
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(1) {
        bare.recv(&mut packet).expect("RTP goes on coming");
    }
    let still: Vec<Value> =
        branches(&scene).into_iter().map(|(_, branch)| branch).filter(|branch| branch["careOf"] == to.to_string()).collect();
    assert_eq!(still.len(), 1, "{still:#?}");
    assert_eq!(number(&scene, "flowsteer_branches_unreachable_total"), 0.0);
}
