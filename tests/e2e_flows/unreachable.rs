//! Destinations that take nothing: what is counted, what becomes of their branches, and that nobody else loses anything by them.

use std::net::Ipv4Addr;

use crate::support::film::{Film, library};
use crate::support::namespaces::Family;
use crate::support::scene::Scene;
use crate::support::server::RTP;
use crate::support::viewer::{Carriage, Viewer, assert_contiguous};
use crate::support::{SOON, wait_for};
use serde_json::{Value, json};

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
    // Counted when it is sent, which is after it was given to be; and beside the packets there are some reports.
    wait_for("what was refused to be counted", SOON, || (refused() >= lost).then_some(()));
    assert!(refused() < lost + 10.0, "{} of {lost}", refused());
    assert_contiguous("the other's", &viewer.video().packets());
}

#[test]
fn a_way_without_room_costs_nobody_else_anything() {
    let Some((scene, _folder)) = scene() else { return };
    let (operator, server) = (scene.operator(), &scene.network.server);
    // An interface whose queue takes nothing, and somebody behind it.
    server.ip("link add full type veth peer name behind\nlink set behind up\nlink set full up\n");
    server.ip("addr add 2001:db8:dead::2/64 dev full nodad\nneigh add 2001:db8:dead::1 lladdr 02:00:00:00:00:01 dev full\n");
    let queue = server.command("tc").args(["qdisc", "add", "dev", "full", "root", "pfifo", "limit", "0"]).status();
    assert!(queue.expect("tc runs").success());
    let viewer = Viewer::watch(&scene.network.a, &scene.url(Family::V6, "countdown.mp4"), Carriage::Udp);
    for track in &viewer.tracks {
        let target = format!("/api/v1/home-addresses/{}/bindings/1", track.home);
        operator.put(&target, &json!({ "careOf": "[2001:db8:dead::1]:5000", "mode": "fork", "join": "at-once" })).json();
    }
    let given_up = || number(&scene, "flowsteer_dropped_packets_total{reason=\"send_buffer_full\"}");
    wait_for("packets that are given up", SOON * 2, || (given_up() > 100.0).then_some(()));
    // A report comes every five seconds, behind no one else's media.
    let reports = || viewer.tracks.iter().all(|track| track.recording.so_far().rtcp.len() >= 2);
    wait_for("reports", SOON * 2, || reports().then_some(()));
    for track in &viewer.tracks {
        let packets = track.packets();
        assert_contiguous(&track.media, &packets);
        let mut apart: Vec<_> = packets.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at)).collect();
        apart.sort_unstable();
        // What waits a quarter of a second to be given up would hold back nearly all.
        assert!(apart[apart.len() * 9 / 10] < std::time::Duration::from_millis(100), "{:?}", apart.last());
    }
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
    // It is counted behind the change.
    let assert_counted = |count: f64| {
        let counted = || number(&scene, "flowsteer_branches_unreachable_total");
        wait_for("it to be counted", SOON, || (counted() >= count).then_some(()));
        assert_eq!(counted(), count);
    };
    let own = scene.network.a.address(family).to_string();
    // For a while only one of its two: what comes back of the other's packets is nothing to the first.
    goes.tracks[1].ports = None;
    let left = wait_for("the first branch to end", SOON, || Some(there()).filter(|there| there.len() == 3));
    assert_eq!(left.iter().filter(|care_of| care_of.contains(&own)).count(), 2, "{left:?}");
    assert_counted(1.0);
    let before = goes.video().packets().len();
    wait_for("the pictures to go on", SOON, || (goes.video().packets().len() > before + 50).then_some(()));
    assert_contiguous("the one that goes", &goes.video().packets());
    goes.tracks[0].ports = None;
    let left = wait_for("the other branch to end", SOON, || Some(there()).filter(|there| there.len() == 2));
    assert!(left.iter().all(|care_of| care_of.contains(&own)), "{left:?}");
    assert_counted(2.0);
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
    wait_for("reports to come back", SOON * 3, || {
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

/// The sum that ICMP and IPv4 headers carry (RFC 1071).
fn checksum(octets: &[u8]) -> [u8; 2] {
    let mut sum: u32 = octets.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// "Port unreachable" about a datagram of the server's RTP port (RFC 792).
fn port_unreachable(from: Ipv4Addr, to: Ipv4Addr, port: u16, datagram: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(datagram.len() + more).expect("small").to_be_bytes();
    let mut header = [&[0x45, 0][..], &length(28), &[0, 0, 0x40, 0, 64, 17, 0, 0], &from.octets(), &to.octets()].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    let udp = [&RTP.to_be_bytes()[..], &port.to_be_bytes(), &length(8), &[0, 0]].concat();
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &header, &udp, datagram].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);
    message
}

#[test]
fn a_message_from_who_has_not_seen_the_flow_ends_nothing() {
    let Some((scene, _folder)) = scene() else { return };
    let network = &scene.network;
    let viewer = Viewer::watch(&network.a, &scene.url(Family::V4, "countdown.mp4"), Carriage::Udp);
    let video = viewer.video();
    let port = video.ports.as_ref().expect("UDP").rtp_port;
    let raw = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(socket2::Protocol::ICMPV4));
    let raw = network.b.run(raw).expect("root may");
    let server = std::net::SocketAddr::from((network.server.v4, 0)).into();
    // Three that are far enough apart.
    let tell = |ssrc: u32| {
        for _ in 0..3 {
            let datagram = [&[0x80, 96, 0, 1, 0, 0, 0, 1][..], &ssrc.to_be_bytes(), &[0; 8]].concat();
            let before = number(&scene, "flowsteer_datagrams_bounced_total");
            raw.send_to(&port_unreachable(network.server.v4, network.a.v4, port, &datagram), &server).expect("sent");
            wait_for("the server to have it", SOON, || (number(&scene, "flowsteer_datagrams_bounced_total") > before).then_some(()));
            let start = std::time::Instant::now();
            wait_for("a second to pass", SOON, || (start.elapsed() > std::time::Duration::from_millis(1050)).then_some(()));
        }
    };
    tell(video.ssrc ^ 1);
    assert_eq!(branches(&scene).len(), 2);
    assert_contiguous("the viewer's", &video.packets());
    // So that it is known what the first three were refused for.
    tell(video.ssrc);
    let left = wait_for("the branch to end", SOON, || Some(branches(&scene)).filter(|branches| branches.len() == 1));
    assert_eq!(left[0].0, "audio");
}

/// The kernel takes no run of packets that are larger than what the way carries, and cuts each apart.
fn a_way_of_smaller_packets_carries_all(family: Family) {
    let Some((scene, _folder)) = scene() else { return };
    scene.network.server.ip("link set eth0 mtu 1300\n");
    scene.network.a.ip("link set eth0 mtu 1300\n");
    let viewer = Viewer::watch(&scene.network.a, &scene.url(family, "countdown.mp4"), Carriage::Udp);
    let large = || viewer.video().packets().iter().filter(|packet| packet.octets.len() > 1300).count();
    wait_for("packets that are larger than that", SOON * 2, || (large() > 40).then_some(()));
    for track in &viewer.tracks {
        assert_contiguous(&track.media, &track.packets());
    }
    let film = Film::named("countdown.mp4");
    let pictures: Vec<_> = viewer.video().units().iter().map(|unit| unit.digest).collect();
    assert_eq!(film.locate_pictures("pictures", &pictures), 0);
    assert_eq!(number(&scene, "flowsteer_dropped_packets_total{reason=\"send_refused\"}"), 0.0);
    if family == Family::V6 {
        assert!(viewer.video().packets().iter().all(|packet| packet.label == Some(viewer.video().label)), "each bears its label");
    }
}

#[test]
fn over_ipv6_a_way_of_smaller_packets_carries_all() {
    a_way_of_smaller_packets_carries_all(Family::V6);
}

#[test]
fn over_ipv4_a_way_of_smaller_packets_carries_all() {
    a_way_of_smaller_packets_carries_all(Family::V4);
}
