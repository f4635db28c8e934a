//! How a server that is in use is found, bounded and ended, and what its log says of hand-overs: with ffmpeg, a listener for multicast DNS, and
//! receivers of our own that keep every packet.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::film::{Film, library};
use support::http::Answer;
use support::namespaces::Family::{V4, V6};
use support::namespaces::Host;
use support::players::{Player, script};
use support::recording::Arrived;
use support::rtsp::Connection;
use support::scene::Scene;
use support::server::{ENDS, Server, rtsp_address};
use support::viewer::Carriage::{Interleaved, Udp};
use support::viewer::Viewer;
use support::{SOON, wait_for};
use tempfile::TempDir;

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
    let player = Player::Ffmpeg.play(&scene.network.a, &scene.url(V4, "short.mp4?t=4"), Udp);
    scene.operator().wait_for_state("playing");
    scene.server.ask_to_end();
    wait_until_draining(&scene);
    assert_eq!(set_up(&scene, "countdown.mp4"), 503);
    let played = scene.operator().post("/api/v1/sessions", &json!({ "title": "countdown.mp4", "home": home }));
    assert_eq!(refusal(&played), (503, json!("urn:flowsteer:problem:draining")));
    assert_eq!(scene.operator().get("/healthz").status, 200, "it lives");

    let (received, film) = (player.end(SOON * 2), Film::named("short.mp4"));
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
        assert!(line["after_ms"].as_u64().is_some_and(|after| after < 3000) && line["join"] == "primed", "{line:#}");
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
    assert!(asked.elapsed() < ENDS, "{:?}", asked.elapsed());
    b.video().recording.wait_for("BYE to who was still there", SOON, Arrived::bye_at);
}

#[test]
fn draining_ends_when_its_time_is_over_and_without_it_sigterm_ends_all() {
    for (flags, least, most) in [(&["--drain=1"][..], Duration::from_secs(1), ENDS * 2), (&[], Duration::ZERO, ENDS)] {
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

/// A configuration with this in it.
fn configured(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("f.toml");
    std::fs::write(&file, text).expect("written");
    (folder, file.to_str().expect("UTF-8").to_owned())
}

/// Somebody who looks for servers, and keeps what is found.
struct Seeker {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

/// A server is to be found so soon, by a seeker that may be busy.
const FOUND: Duration = Duration::from_secs(6);
/// All that is looked for.
const TYPES: [&str; 3] = ["_rtsp._tcp.local.", "_rtsps._tcp.local.", "_flowsteer._udp.local."];

impl Seeker {
    fn at(host: &Host) -> Self {
        let mut command = script(host, "mdns_listener.py");
        let mut child = command.args(TYPES).stdout(Stdio::piped()).spawn().expect("Python runs");
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let seeker = Self { child, lines };
        assert_eq!(seeker.next(SOON * 2), json!("listening"));
        seeker
    }

    #[track_caller]
    fn next(&self, limit: Duration) -> Value {
        self.lines.recv_timeout(limit).unwrap_or_else(|_| panic!("nothing was told within {limit:?}"))
    }

    /// What is told next of so many services, in the order of their types.
    #[track_caller]
    fn services(&self, event: &str, count: usize, limit: Duration) -> Vec<Value> {
        let until = Instant::now() + limit;
        let mut told: Vec<Value> = (0..count).map(|_| self.next(until.saturating_duration_since(Instant::now()))).collect();
        assert!(told.iter().all(|service| service["event"] == event), "{told:#?}");
        told.sort_by_key(|service| (TYPES.iter().position(|kind| service["type"] == *kind), service["name"].to_string()));
        told
    }

    #[track_caller]
    fn is_told_nothing(&self, during: Duration) {
        if let Ok(told) = self.lines.recv_timeout(during) {
            panic!("{told:#}");
        }
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn named(services: &[Value]) -> Vec<(&str, &str)> {
    services.iter().map(|service| (service["type"].as_str().expect("a type"), service["name"].as_str().expect("a name"))).collect()
}

#[test]
fn a_server_is_found_by_its_announcement_played_and_gone_when_it_ends() {
    let announced = "[mdns]\nenabled = true\nname = \"The hall\"\n";
    let (_folder, file) = configured(announced);
    let Some(mut scene) = Scene::set() else { return };
    // Off unless it is configured: nothing is told of this one.
    let (before, b) = (Seeker::at(&scene.network.a), &scene.network.b);
    before.is_told_nothing(Duration::from_millis(300));
    scene.server.terminate();
    scene.server = Server::start(&scene.network.server, &library(), &["--config", &file]);
    let ready = Instant::now();
    let services = before.services("found", 2, SOON);
    assert!(ready.elapsed() < FOUND, "{:?}", ready.elapsed());
    assert_eq!(named(&services), [("_rtsp._tcp.local.", "The hall"), ("_flowsteer._udp.local.", "The hall")]);
    assert_eq!((&services[0]["port"], &services[1]["port"]), (&json!(8554), &json!(5436)));
    let host = services[0]["host"].as_str().expect("a name").trim_end_matches('.').to_owned();
    let version = env!("CARGO_PKG_VERSION");
    // This, and nothing else: no titles, no home addresses.
    let http = format!("http://{host}:8080/");
    assert_eq!(services[0]["txt"], json!({ "txtvers": "1", "version": version, "path": "/", "http": http }));
    assert_eq!(services[1]["txt"], json!({ "txtvers": "1", "version": version, "rtsp": "8554" }));

    // Who comes later asks, and is answered.
    let later = Seeker::at(b);
    let service = later.services("found", 2, FOUND).remove(0);
    let addresses: Vec<IpAddr> = service["addresses"].as_array().expect("addresses").iter().map(address).collect();
    let server = &scene.network.server;
    for expected in [IpAddr::V4(server.v4), IpAddr::V6(server.v6)] {
        assert!(addresses.contains(&expected), "{expected} in {addresses:?}");
    }
    assert!(!addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
    let resolved = addresses.iter().find(|address| address.is_ipv4()).expect("one of IPv4");
    let url = format!("rtsp://{}{}short.mp4?t=7", SocketAddr::new(*resolved, 8554), service["txt"]["path"].as_str().expect("a path"));
    let (received, film) = (Player::Ffmpeg.play(b, &url, Interleaved).end(SOON * 2), Film::named("short.mp4"));
    let begins = film.locate_pictures("the player's pictures", &received.pictures);
    assert_eq!(begins + received.pictures.len(), film.video.len(), "to the film's end");

    // Another name is another service, without a restart.
    std::fs::write(&file, announced.replace("The hall", "The cellar")).expect("written");
    scene.server.hang_up();
    let mut told: Vec<Value> = (0..4).map(|_| before.next(SOON)).collect();
    told.sort_by_key(|service| service["event"].to_string());
    assert!(told[..2].iter().all(|service| service["event"] == "found" && service["name"] == "The cellar"), "{told:#?}");
    assert!(told[2..].iter().all(|service| service["event"] == "gone" && service["name"] == "The hall"), "{told:#?}");

    let asked = Instant::now();
    assert_eq!(scene.server.terminate().code(), Some(0));
    let gone = before.services("gone", 2, SOON);
    assert!(asked.elapsed() < FOUND, "{:?}", asked.elapsed());
    assert_eq!(named(&gone), [("_rtsp._tcp.local.", "The cellar"), ("_flowsteer._udp.local.", "The cellar")]);
}

fn address(text: &Value) -> IpAddr {
    let text = text.as_str().expect("an address");
    text.split('%').next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address: {text}"))
}

#[test]
fn of_two_servers_of_one_name_both_are_found_where_they_are() {
    let (_folder, file) = configured("[mdns]\nenabled = true\nname = \"The hall\"\n");
    let Some(scene) = Scene::set_with(&library(), &["--config", &file]) else { return };
    let seeker = Seeker::at(&scene.network.a);
    assert_eq!(named(&seeker.services("found", 2, SOON))[0].1, "The hall");
    let _second = Server::start(&scene.network.b, &library(), &["--config", &file]);
    let found = seeker.services("found", 2, SOON);
    assert_eq!(named(&found), [("_rtsp._tcp.local.", "The hall (2)"), ("_flowsteer._udp.local.", "The hall (2)")]);
    let addresses: Vec<IpAddr> = found[0]["addresses"].as_array().expect("addresses").iter().map(address).collect();
    assert!(addresses.contains(&scene.network.b.v4.into()) && !addresses.contains(&scene.network.server.v4.into()), "{addresses:?}");

    // One that only its own machine reaches is not announced, and says so.
    let flags = ["--config", &file, "--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mobility", "[::1]:0", "--rtp-port", "0"];
    let alone = Server::start(&scene.network.a, &library(), &flags);
    wait_for("its warning", SOON, || alone.has_logged("nothing is announced").then_some(()));
    seeker.is_told_nothing(Duration::from_secs(1));
}

/// A datagram that asks so many times for servers of RTSP: first by name, then by where that name stands.
fn questions(count: u16) -> Vec<u8> {
    let mut datagram = [7, 0, count, 0, 0, 0].map(u16::to_be_bytes).concat();
    datagram.extend(b"\x05_rtsp\x04_tcp\x05local\0\0\x0c\0\x01");
    datagram.extend(b"\xc0\x0c\0\x0c\0\x01".repeat(usize::from(count) - 1));
    datagram
}

/// Sends that from an address, and a port other than that of multicast DNS.
fn ask(host: &Host, from: IpAddr, to: IpAddr, count: u16) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((from, 0))).expect("a socket");
    socket.send_to(&questions(count), (to, 5353)).expect("it is sent");
    socket
}

/// How many octets of UDP come back in the first datagram, if one comes within `limit`.
fn answered(socket: &UdpSocket, limit: Duration) -> Option<usize> {
    socket.set_read_timeout(Some(limit)).expect("a limit");
    socket.recv(&mut [0; 9000]).ok()
}

#[test]
fn who_asks_from_another_port_is_answered_on_the_link_only_and_with_little() {
    let (_folder, file) = configured("[mdns]\nenabled = true\nname = \"The hall\"\ninterfaces = [\"eth0\", \"eht0\"]\n");
    let Some(scene) = Scene::set_with(&library(), &["--config", &file]) else { return };
    // A name of no interface is told: it may be a mistake.
    wait_for("a warning", SOON, || scene.server.has_logged("there is no interface eht0").then_some(()));
    assert!(!scene.server.has_logged("no interface eth0"));
    let (a, server) = (&scene.network.a, &scene.network.server);
    // Addresses that are not of this link, and that datagrams reach all the same.
    let beyond = [IpAddr::from([198, 51, 100, 9]), IpAddr::from([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 9])];
    a.ip(&format!("addr add {}/32 dev eth0\naddr add {}/128 dev eth0 nodad\n", beyond[0], beyond[1]));
    server.ip(&format!("route add {} via {}\nroute add {} via {}\n", beyond[0], a.v4, beyond[1], a.v6));
    let groups = [IpAddr::from([224, 0, 0, 251]), IpAddr::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb))];

    let answer = |from, group, count| answered(&ask(a, from, group, count), SOON).expect("an answer");
    for ((family, beyond), group) in [V4, V6].into_iter().zip(beyond).zip(groups) {
        let (here, there) = (a.address(family), server.address(family));
        // Until it listens there.
        let one = wait_for("an answer", SOON, || answered(&ask(a, here, group, 1), Duration::from_millis(100)));
        let two = answer(here, group, 2);
        println!("{family:?}: {} -> {one}, {} -> {two}", questions(1).len(), questions(2).len());
        assert!(one < 8 * questions(1).len() && two < 12 * questions(2).len(), "{one} {two}");

        let mut in_vain = vec![ask(a, here, group, 200)];
        for (from, count) in [(here, 1), (here, 200), (beyond, 1), (beyond, 200)] {
            in_vain.push(ask(a, from, there, count));
        }
        // Whatever is answered has been answered before this is.
        answer(here, group, 1);
        let came: Vec<_> = in_vain.iter().map(|socket| answered(socket, Duration::from_millis(1))).collect();
        assert_eq!(came, [None; 5], "{family:?}");
    }
}

#[test]
fn one_network_opens_so_many_presentations_and_others_are_not_concerned() {
    let (_folder, file) = configured("[data]\npresentations_per_address = 2\n");
    let Some(scene) = Scene::set_with(&library(), &["--config", &file]) else { return };
    let network = &scene.network;
    let set_up = |from: &Host, to: SocketAddr| {
        let mut connection = Connection::open(from, to);
        let track = format!("rtsp://{to}/countdown.mp4/trackID=0");
        let response = connection.request("SETUP", &track, &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
        (response.status, connection)
    };
    let (v4, v6) = (rtsp_address(&network.server, V4), rtsp_address(&network.server, V6));
    let mut held: Vec<_> = (0..2).map(|_| set_up(&network.a, v4)).collect();
    assert!(held.iter().all(|(status, _)| *status == 200));
    assert_eq!(set_up(&network.a, v4).0, 503);
    held.push(set_up(&network.b, v4));
    assert_eq!(held[2].0, 200, "another address");
    // Over IPv6 both are one network.
    held.extend([set_up(&network.a, v6), set_up(&network.b, v6)]);
    assert!(held[3..].iter().all(|(status, _)| *status == 200));
    assert_eq!((set_up(&network.a, v6).0, set_up(&network.b, v6).0), (503, 503));
    // This machine's own are not counted, nor is what an operator starts.
    let here: SocketAddr = (Ipv4Addr::LOCALHOST, v4.port()).into();
    held.extend((0..3).map(|_| set_up(&network.server, here)));
    assert!(held[5..].iter().all(|(status, _)| *status == 200));
    let metrics = scene.operator().get("/metrics").text();
    let refused = "flowsteer_presentations_refused_total{limit=\"presentations_per_address\"} 3";
    assert!(metrics.contains(refused), "{metrics}");

    // The place is free again with the presentation's end.
    let (_, mut connection) = held.swap_remove(0);
    connection.request("TEARDOWN", &format!("rtsp://{v4}/countdown.mp4/"), &[]).ok();
    assert_eq!(wait_for("a place", SOON, || Some(set_up(&network.a, v4)).filter(|(status, _)| *status == 200)).0, 200);
}
