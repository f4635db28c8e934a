//! Players behind a router that gives their datagrams another address and other ports than they told the server: the datagrams by
//! which they open the way say where they really are.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::film::Film;
use crate::support::namespaces::Family::{self, V4, V6};
use crate::support::namespaces::{BehindNat, Host};
use crate::support::players::{LOST_TO_BYE, Player};
use crate::support::scene::Scene;
use crate::support::server::RTP;
use crate::support::transcript::Vlc;
use crate::support::viewer::Carriage::Udp;
use crate::support::viewer::Viewer;
use crate::support::{SOON, wait_for};
use serde_json::Value;

const TITLE: &str = "short.mp4";
/// What opens the way: the header of an RTP packet and an empty Receiver Report, as FFmpeg sends them.
const RTP_OPENER: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const RTCP_OPENER: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 0];

fn set() -> Option<(Scene, BehindNat)> {
    let scene = Scene::set()?;
    let nat = scene.network.behind_nat().expect("who may make some namespaces may make more");
    Some((scene, nat))
}

/// The server's count of ports that it learned, and of datagrams that it made nothing of.
fn counted(scene: &Scene) -> (u64, u64) {
    let metrics = scene.operator().get("/metrics").text();
    let count = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    };
    (count("flowsteer_ports_learned_total"), count("flowsteer_datagrams_ignored_total"))
}

/// Where the branches of the only presentation are.
fn care_ofs(scene: &Scene) -> Vec<SocketAddr> {
    let session = scene.operator().session();
    let flows = session["flows"].as_array().expect("flows are listed");
    let branches = flows.iter().flat_map(|flow| flow["branches"].as_array().expect("branches are listed"));
    branches.map(|branch| branch["careOf"].as_str().and_then(|care_of| care_of.parse().ok()).expect("an address and a port")).collect()
}

/// Whether the address and the port are the router's.
fn is_behind(router: &Host, family: Family, care_of: &SocketAddr) -> bool {
    care_of.ip() == router.address(family) && (20000..30000).contains(&care_of.port())
}

#[track_caller]
fn assert_behind(router: &Host, family: Family, care_ofs: &[SocketAddr]) {
    assert!(care_ofs.iter().all(|care_of| is_behind(router, family, care_of)), "the router's: {care_ofs:?}");
}

#[track_caller]
fn open_the_way(scene: &Scene, viewer: &Viewer, family: Family) {
    let server = scene.network.server.address(family);
    for track in &viewer.tracks {
        let ports = track.ports.as_ref().expect("over UDP");
        assert!(!(20000..30000).contains(&ports.rtp_port), "told is {}, which the router might give out", ports.rtp_port);
        ports.send_from_rtp(&RTP_OPENER, (server, RTP).into());
        ports.send_from_rtcp(&RTCP_OPENER, (server, RTP + 1).into());
    }
}

/// All of the title gets through to ffmpeg, from its first packet on.
fn gets_the_whole_title(family: Family) {
    let Some((scene, nat)) = set() else { return };
    let film = Film::named(TITLE);
    let running = Player::Ffmpeg.play(&nat.device, &scene.url(family, TITLE), Udp);
    let plays = |session: &Value| session["state"] == "playing";
    wait_for("it to play", SOON * 2, || scene.operator().sessions().iter().any(plays).then_some(()));
    wait_for("the ports of both tracks to be learned", SOON, || (counted(&scene).0 >= 2).then_some(()));
    wait_for("both to be the router's", SOON, || care_ofs(&scene).iter().all(|at| is_behind(&nat.router, family, at)).then_some(()));
    let received = running.end(Duration::from_secs(20));
    assert_eq!(film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(film.locate_frames("sound", &received.frames), 0);
    assert_eq!(received.pictures.len(), film.video.len(), "pictures");
    assert!(received.frames.len() + LOST_TO_BYE >= film.audio.len(), "of {} audio frames {}", film.audio.len(), received.frames.len());
}

#[test]
fn ffmpeg_gets_the_whole_title_over_ipv4() {
    gets_the_whole_title(V4);
}

#[test]
fn ffmpeg_gets_the_whole_title_over_ipv6() {
    gets_the_whole_title(V6);
}

/// GStreamer opens the ways of its tracks from several threads, with octets that name none: it is for a title of one track.
#[test]
fn gstreamer_gets_the_sound() {
    let Some((scene, nat)) = set() else { return };
    let film = Film::of_tracks("sound.m4a", &["audio"]);
    // Long enough for the report by which the way of RTCP is found, and so for BYE.
    let running = Player::GStreamer.play(&nat.device, &scene.url(V4, "sound.m4a?t=8"), Udp);
    let plays = |session: &Value| session["state"] == "playing";
    wait_for("it to play", SOON * 2, || scene.operator().sessions().iter().any(plays).then_some(()));
    let received = running.end(Duration::from_secs(30));
    let first = film.locate_frames("sound", &received.frames);
    assert_eq!(first + received.frames.len(), film.audio.len(), "all that follows {first}");
    assert!(counted(&scene).0 >= 1, "the port was learned");
}

#[test]
fn live555_opens_the_way_of_each_track_after_its_setup() {
    let Some((scene, nat)) = set() else { return };
    let film = Film::named(TITLE);
    let vlc = Vlc::watch(&nat.device, &scene.url(V4, TITLE), Udp);
    for track in &vlc.tracks {
        track
            .recording
            .wait_for("40 packets and a report", SOON, |arrived| (arrived.rtp.len() >= 40 && !arrived.rtcp.is_empty()).then_some(()));
    }
    let pictures = crate::support::viewer::units("video", &vlc.tracks[0].recording.so_far().rtp);
    assert_eq!(film.locate_pictures("pictures", &pictures.iter().map(|unit| unit.digest).collect::<Vec<_>>()), 0);
    assert_behind(&nat.router, V4, &care_ofs(&scene));
}

#[test]
fn a_film_moves_to_a_device_behind_a_nat() {
    let Some((scene, nat)) = set() else { return };
    let a = Viewer::watch(&scene.network.a, &scene.url(V6, "countdown.mp4"), Udp);
    a.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() >= 60).then_some(()));
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    let mut b = Viewer::open(&nat.device, &url, Udp);
    open_the_way(&scene, &b, V6);
    wait_for("the ports to be learned", SOON, || (counted(&scene).0 == 4).then_some(()));
    let answer = b.play();
    for track in &b.tracks {
        let info = answer.rtp_info().into_iter().find(|entry| entry.url == track.url).expect("every track is in RTP-Info");
        let first = track.recording.wait_for("the first packet", SOON, |arrived| arrived.rtp.first().map(|packet| packet.sequence()));
        assert_eq!(first, info.seq, "nothing went astray before");
        track.recording.wait_for("a report", SOON, |arrived| (!arrived.rtcp.is_empty()).then_some(()));
    }
    a.video().recording.wait_for("BYE to A", SOON, crate::support::recording::Arrived::bye_at);
    let pictures: Vec<_> = b.video().units().iter().map(|unit| unit.digest).collect();
    Film::named("countdown.mp4").locate_pictures("B's pictures", &pictures);
}

#[test]
fn a_flow_that_runs_already_follows_its_first_datagram_and_no_other() {
    let Some((scene, nat)) = set() else { return };
    let viewer = Viewer::watch(&nat.device, &scene.url(V4, "countdown.mp4"), Udp);
    wait_for("it to play", SOON, || (scene.operator().session()["state"] == "playing").then_some(()));
    assert!(viewer.tracks.iter().all(|track| track.recording.count() == 0), "the router lets nothing in");
    open_the_way(&scene, &viewer, V4);
    for track in &viewer.tracks {
        track.recording.wait_for("20 packets", SOON, |arrived| (arrived.rtp.len() >= 20).then_some(()));
    }
    let at = care_ofs(&scene);
    assert_behind(&nat.router, V4, &at);
    // A neighbour behind the same router: his datagrams come from the same address.
    let ignored = counted(&scene).1;
    let neighbour = nat.device.run(|| std::net::UdpSocket::bind("0.0.0.0:0")).expect("a free port");
    let server = scene.network.server.address(V4);
    neighbour.send_to(&RTP_OPENER, (server, RTP)).expect("a datagram leaves");
    neighbour.send_to(&RTCP_OPENER, (server, RTP + 1)).expect("a datagram leaves");
    wait_for("both to be ignored", SOON, || (counted(&scene).1 == ignored + 2).then_some(()));
    assert_eq!(care_ofs(&scene), at, "nothing has moved");
    let before = viewer.video().recording.count();
    viewer.video().recording.wait_for("more packets", SOON, |arrived| (arrived.rtp.len() > before + 20).then_some(()));
    assert_eq!(counted(&scene).0, 4);
}

#[test]
fn of_two_devices_behind_one_nat_that_are_set_up_at_once_none_is_guessed() {
    let Some((scene, nat)) = set() else { return };
    let mut first = Viewer::open(&nat.device, &scene.url(V4, "countdown.mp4"), Udp);
    let second = Viewer::open(&nat.device, &scene.url(V4, TITLE), Udp);
    open_the_way(&scene, &first, V4);
    wait_for("the datagrams to be ignored", SOON, || (counted(&scene) == (0, 4)).then_some(()));
    drop(second);
    first.play();
    let told: Vec<u16> = first.tracks.iter().map(|track| track.ports.as_ref().expect("over UDP").rtp_port).collect();
    let bound: Vec<u16> = scene.operator().sessions().iter().flat_map(flow_ports).collect();
    assert_eq!(bound, told, "packets go where the SETUP said");
}

fn flow_ports(session: &Value) -> Vec<u16> {
    let flows = session["flows"].as_array().expect("flows are listed");
    let branches = flows.iter().flat_map(|flow| flow["branches"].as_array().expect("branches are listed"));
    let port = |branch: &Value| branch["careOf"].as_str().and_then(|care_of| care_of.rsplit(':').next()?.parse().ok());
    branches.map(|branch| port(branch).expect("an address and a port")).collect()
}
