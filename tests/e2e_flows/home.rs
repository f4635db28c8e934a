//! Titles played to home addresses that were reserved before: by the API and by RTSP, to receivers that speak neither.

use std::io::Write;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::film::library;
use crate::support::namespaces::{Family, Host};
use crate::support::recording::{PortPair, Recording};
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::server::rtsp_address;
use crate::support::viewer::{assert_contiguous, home_address, parameter, units};
use crate::support::{SOON, http, wait_for};

const TITLE: &str = "countdown.mp4";

/// A device that only receives.
struct Receiver {
    care_of: String,
    recording: Arc<Recording>,
    ports: PortPair,
}

impl Receiver {
    fn on(host: &Host) -> Self {
        Self::at(host, host.v6)
    }

    fn at(host: &Host, address: Ipv6Addr) -> Self {
        let recording = Arc::new(Recording::default());
        let ports = PortPair::open(host, address.into(), &recording);
        Self { care_of: format!("[{address}]:{}", ports.rtp_port), recording, ports }
    }

    /// Waits for so many packets more.
    #[track_caller]
    fn wait_for_more(&self, count: usize) {
        let before = self.recording.count();
        self.recording.wait_for(&format!("{count} more packets"), SOON, |arrived| (arrived.rtp.len() >= before + count).then_some(()));
    }

    #[track_caller]
    fn wait_for_bye(&self) -> Instant {
        self.recording.wait_for("a BYE", SOON, |arrived| arrived.bye_at())
    }
}

/// A scene whose operator may name the devices' addresses.
fn scene(flags: &[&str], steering: &str) -> Option<Scene> {
    let mut config = tempfile::NamedTempFile::new().expect("a temporary file");
    let trusted = "trusted_care_of = [\"::1/128\", \"127.0.0.0/8\", \"2001:db8:f10::/64\"]";
    write!(config, "[steering]\n{trusted}\n{steering}\n").expect("written");
    let path = config.path().to_str().expect("a path in UTF-8").to_owned();
    Scene::set_with(&library(), &[&["--config", &path], flags].concat())
}

/// Reserves a home address; the address and its key.
#[track_caller]
fn reserve(scene: &Scene) -> (String, String) {
    let reserved = scene.operator().post("/api/v1/home-addresses", &json!({})).json();
    let text = |key: &str| reserved[key].as_str().unwrap_or_else(|| panic!("no {key} in {reserved:#}")).to_owned();
    (text("homeAddress"), text("key"))
}

#[track_caller]
fn bind(scene: &Scene, home: &str, id: u16, receiver: &Receiver, more: &Value) -> Value {
    let mut body = json!({ "careOf": receiver.care_of });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    scene.operator().put(&format!("/api/v1/home-addresses/{home}/bindings/{id}"), &body).json()
}

fn label_of(flow: &Value) -> u32 {
    let text = flow["flowLabel"].as_str().and_then(|label| label.strip_prefix("0x")).unwrap_or_else(|| panic!("no label in {flow:#}"));
    u32::from_str_radix(text, 16).expect("hex digits")
}

/// Checks that every packet bears that label, and that none is missing between the first and the last.
#[track_caller]
fn assert_one_flow(receiver: &Receiver, label: u32) {
    let packets = receiver.recording.so_far().rtp;
    assert!(packets.iter().all(|packet| packet.label == Some(label)), "every datagram has the flow label {label:#x}");
    assert_contiguous("the receiver", &packets);
}

#[test]
fn a_title_started_by_the_api_waits_for_a_device_plays_and_moves_to_the_next_with_a_window() {
    let Some(scene) = scene(&[], "") else { return };
    let (a, b) = (Receiver::on(&scene.network.a), Receiver::on(&scene.network.b));
    let (home, _) = reserve(&scene);
    let session = scene.operator().post("/api/v1/sessions", &json!({"title": TITLE, "home": home})).json();
    assert_eq!((&session["state"], &session["positionSeconds"]), (&json!("paused"), &json!(0.0)), "it waits: {session:#}");
    let label = label_of(&session["flows"][0]);

    // Reserved over loopback, but a name that is good for others.
    let context = scene.operator().post(&format!("/api/v1/home-addresses/{home}/context"), &json!({})).json();
    assert_eq!(context["context"]["media_source"]["address"], scene.network.server.v6.to_string());

    let bound = bind(&scene, &home, 1, &a, &json!({}));
    assert_eq!(bound["flowLabel"], session["flows"][0]["flowLabel"]);
    a.wait_for_more(100);
    scene.operator().wait_for_state("playing");
    assert_one_flow(&a, label);
    let pictures = units("video", &a.recording.so_far().rtp);
    assert!(pictures.len() > 3, "{} pictures", pictures.len());

    let moved = Instant::now();
    let window = Duration::from_millis(1500);
    bind(&scene, &home, 2, &b, &json!({"mode": "move", "transitionMs": window.as_millis() as u64}));
    b.wait_for_more(100);
    let ended = a.wait_for_bye();
    assert!(ended - moved >= window, "A was served for the window: {:?}", ended - moved);
    b.wait_for_more(50);
    assert_one_flow(&a, label);
    assert_one_flow(&b, label);
    let (from_a, from_b) = (a.recording.so_far().rtp, b.recording.so_far().rtp);
    let same = from_a.iter().filter(|packet| from_b.iter().any(|other| other.octets == packet.octets)).count();
    assert!(same > 0, "both had the same octets while the window ran");
    assert!(from_a.iter().all(|packet| packet.at <= ended + Duration::from_millis(10)), "nothing came to A after its BYE");

    // The session ends, the reservation stays: the next flow has the same label, and starts at once for who is bound.
    scene.operator().control(&scene.operator().session(), "end", &json!({}));
    b.wait_for_bye();
    let kept = scene.operator().get(&format!("/api/v1/home-addresses/{home}")).json();
    assert_eq!((kept.get("session"), label_of(&kept)), (None, label), "{kept:#}");
    let again = scene.operator().post("/api/v1/sessions", &json!({"title": TITLE, "home": home})).json();
    assert_eq!(label_of(&again["flows"][0]), label);
    b.wait_for_more(50);
    assert_eq!(scene.operator().wait_for_state("playing")["id"], again["id"]);
}

#[test]
fn when_the_reservation_ends_the_session_lingers_and_ends() {
    let Some(scene) = scene(&[], "linger_s = 1") else { return };
    let a = Receiver::on(&scene.network.a);
    let (home, _) = reserve(&scene);
    bind(&scene, &home, 1, &a, &json!({}));
    let session = scene.operator().post("/api/v1/sessions", &json!({"title": TITLE, "home": home})).json();
    assert_eq!(session["state"], "playing", "somebody is bound already: {session:#}");
    a.wait_for_more(50);
    let released = scene.operator().delete(&format!("/api/v1/home-addresses/{home}"));
    assert_eq!(released.status, 204, "{}", released.text());
    a.wait_for_bye();
    wait_for("the session to end", SOON, || scene.operator().sessions().is_empty().then_some(()));
}

#[test]
fn a_device_plays_a_title_to_its_home_address_by_rtsp_and_another_takes_it_over_by_the_key() {
    let Some(scene) = scene(&[], "") else { return };
    let (network, url) = (&scene.network, scene.url(Family::V6, TITLE));
    let (a, b) = (Receiver::on(&network.a), Receiver::on(&network.b));
    let (home, key) = reserve(&scene);
    // Each device binds itself: its own connection proves where it is.
    let bearer = format!("Bearer {key}");
    let put = |host: &Host, id: u16, receiver: &Receiver, more: Value| {
        let mut body = json!({ "careOf": receiver.care_of });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let to = (network.server.v6, 8080).into();
        http::ask(host, to, "PUT", &format!("/api/v1/home-addresses/{home}/bindings/{id}"), &[("Authorization", &bearer)], Some(&body))
            .json()
    };
    put(&network.a, 1, &a, json!({}));

    let aim = format!("RTP/AVP;unicast;destination={home}");
    let mut stranger = Connection::open(&network.b, rtsp_address(&network.server, Family::V6));
    assert_eq!(stranger.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &aim)]).status, 401, "B is not bound there");
    let mut control = Connection::open(&network.a, rtsp_address(&network.server, Family::V6));
    let elsewhere = format!("RTP/AVP;unicast;destination={};client_port=5000-5001", network.b.v6);
    assert_eq!(control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &elsewhere)]).status, 461);
    let answer = control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &aim)]).ok();
    assert_eq!(parameter(answer.expect_header("Transport"), "destination"), Some(home.as_str()));
    let (named, label) = home_address(&answer);
    assert_eq!(named, home);
    let mut second = Connection::open(&network.a, rtsp_address(&network.server, Family::V6));
    assert_eq!(second.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &aim)]).status, 461, "occupied");

    let info = control.request("PLAY", &url, &[("Range", "npt=0.000-")]).ok().rtp_info();
    a.wait_for_more(100);
    assert_eq!(a.recording.so_far().rtp[0].sequence(), info[0].seq);
    let moved = Instant::now();
    put(&network.b, 2, &b, json!({"mode": "move", "transitionMs": 1000}));
    b.wait_for_more(100);
    assert!(a.wait_for_bye() - moved >= Duration::from_secs(1));
    assert_one_flow(&a, label);
    assert_one_flow(&b, label);
    control.request("PAUSE", &url, &[]).ok();
    scene.operator().wait_for_state("paused");
    let start = control.request("PLAY", &url, &[("Range", "npt=20-")]).ok().range_start();
    assert!((19.0..=20.0).contains(&start), "{start}");
    b.wait_for_more(50);
    control.request("TEARDOWN", &url, &[]).ok();
    b.wait_for_bye();
    assert_eq!(scene.operator().sessions(), Vec::<Value>::new());
    let kept = scene.operator().get(&format!("/api/v1/home-addresses/{home}")).json();
    assert_eq!(label_of(&kept), label, "{kept:#}");
}

#[test]
fn a_home_address_that_is_routed_to_its_device_gets_its_packets_there_until_the_device_binds_elsewhere() {
    let routed = "home_prefix = \"2001:db8:f10:0:5::/80\"\nunbound = \"home\"\nunbound_prefixes = [\"2001:db8:f10:0:5::/80\"]";
    let Some(scene) = scene(&[], routed) else { return };
    let network = &scene.network;
    let (home, _) = reserve(&scene);
    let added = network.a.command("ip").args(["addr", "add", &format!("{home}/128"), "dev", "eth0", "nodad"]).status();
    assert!(added.expect("ip runs").success());
    // A key of the home address comes with what plays there.
    let session = scene.operator().post("/api/v1/sessions", &json!({"title": TITLE, "home": home})).json();
    let context = scene.operator().post(&format!("/api/v1/home-addresses/{home}/context"), &json!({})).json();
    let key = context["takeoverUrl"].as_str().and_then(|url| url.split_once("?key=")).expect("a key").1.to_owned();
    scene.operator().control(&session, "end", &json!({}));

    let at_home = Receiver::at(&network.a, home.parse().expect("an address"));
    let away = Receiver::on(&network.b);
    let port = at_home.ports.rtp_port;
    let url = scene.url(Family::V6, TITLE);
    let mut control = Connection::open(&network.a, rtsp_address(&network.server, Family::V6));
    let aim = format!("RTP/AVP;unicast;destination={home};client_port={port}-{}", port + 1);
    let answer = control.request("SETUP", &format!("{url}/trackID=0?key={key}"), &[("Transport", &aim)]).ok();
    let (_, label) = home_address(&answer);
    control.request("PLAY", &url, &[]).ok();
    at_home.wait_for_more(100);
    bind(&scene, &home, 1, &away, &json!({}));
    away.wait_for_more(100);
    at_home.recording.wait_for_silence(Duration::from_millis(300), SOON);
    assert_eq!(at_home.recording.so_far().bye_at(), None, "the device has moved, not lost the flow");
    assert_one_flow(&at_home, label);
    assert_one_flow(&away, label);
    let gone = scene.operator().delete(&format!("/api/v1/home-addresses/{home}/bindings/1"));
    assert_eq!(gone.status, 204, "{}", gone.text());
    at_home.wait_for_more(50);
    control.request("TEARDOWN", &url, &[]).ok();
    at_home.wait_for_bye();
    assert_eq!(scene.operator().sessions(), Vec::<Value>::new());
}
