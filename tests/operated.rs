//! What an operator sees of the built server while it serves players on loopback: events, numbers, reports of receivers, home
//! addresses, and that tokens which are no longer good change nothing.

mod cli_server;

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cli_server::{SOON, Server};
use flowsteer::http::routes::calls;
use serde_json::{Value, json};
use tempfile::TempDir;

const TCP: &str = "RTP/AVP/TCP;unicast";

fn start(config: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), config).expect("written");
    (Server::start(folder.path()), folder)
}

/// Asks again until there is an answer.
#[track_caller]
fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < SOON, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status, head and body of a call.
fn call(server: &Server, method: &str, target: &str, body: Option<&Value>) -> (u16, String, String) {
    let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
    call_with(server, method, target, kind, &body.map(Value::to_string).unwrap_or_default())
}

fn call_with(server: &Server, method: &str, target: &str, headers: &str, body: &str) -> (u16, String, String) {
    let authority = server.http.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).expect("the server listens");
    stream.set_read_timeout(Some(SOON)).expect("possible");
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n", body.len());
    write!(stream, "{head}\r\n{body}").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text, in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), head.to_owned(), body.to_owned())
}

#[track_caller]
fn ask(server: &Server, method: &str, target: &str, body: Option<&Value>, expected: u16) -> Value {
    let (status, _, body) = call(server, method, target, body);
    assert_eq!(status, expected, "{method} {target}: {body}");
    if body.is_empty() { Value::Null } else { serde_json::from_str(&body).expect("JSON") }
}

#[track_caller]
fn get(server: &Server, target: &str) -> Value {
    ask(server, "GET", target, None, 200)
}

/// The only presentation.
#[track_caller]
fn session(server: &Server) -> Value {
    let sessions = get(server, "/api/v1/sessions");
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions:#}");
    sessions[0].clone()
}

fn home_of(flow: &Value) -> String {
    flow["homeAddress"].as_str().expect("a home address").to_owned()
}

/// A take-over of what the only presentation plays: its URL, the key, and the whole answer.
#[track_caller]
fn context(server: &Server, options: &Value) -> (String, String, Value) {
    let home = home_of(&session(server)["flows"][0]);
    let answer = ask(server, "POST", &format!("/api/v1/home-addresses/{home}/context"), Some(options), 200);
    let url = answer["takeoverUrl"].as_str().expect("a URL").to_owned();
    let (path, key) = url.split_once("?key=").expect("a key");
    let path = path.splitn(4, '/').last().expect("a path");
    (format!("{}/{path}", server.rtsp), key.to_owned(), answer)
}

/// What does not change by itself of where everything goes.
fn places(server: &Server) -> Vec<Value> {
    let flows = session(server)["flows"].as_array().expect("flows").clone();
    let place = |branch: &Value| json!([branch["bindingId"], branch["careOf"], branch["state"], branch["transport"]]);
    flows.iter().map(|flow| flow["branches"].as_array().expect("branches").iter().map(place).collect()).collect()
}

/// Octets that are read at a time.
const READ: usize = 16 * 1024;

/// A player that speaks RTSP by hand.
struct Player {
    stream: TcpStream,
    received: Vec<u8>,
    packets: VecDeque<(u8, Vec<u8>)>,
    session: Option<String>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:#?}");
        self
    }

    /// The source in `Transport`.
    #[track_caller]
    fn ssrc(&self) -> u32 {
        let transport = self.header("Transport").expect("a transport");
        let ssrc = transport.split(';').find_map(|part| part.strip_prefix("ssrc=")).expect("a source");
        u32::from_str_radix(ssrc, 16).expect("hex digits")
    }
}

impl Player {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.rtsp.strip_prefix("rtsp://").expect("a URL")).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("possible");
        Self { stream, received: Vec::new(), packets: VecDeque::new(), session: None }
    }

    #[track_caller]
    fn ask(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Reply {
        let session = self.session.as_ref().map(|session| format!("Session: {session}\r\n")).unwrap_or_default();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(self.stream, "{method} {url} RTSP/1.0\r\nCSeq: 1\r\n{session}{headers}\r\n").expect("sent");
        let reply = wait_for("an answer", || {
            self.fill();
            self.take_reply()
        });
        if let Some(session) = reply.header("Session") {
            self.session = session.split(';').next().map(str::to_owned);
        }
        reply
    }

    /// The next packet on a channel.
    #[track_caller]
    fn packet(&mut self, channel: u8) -> Vec<u8> {
        wait_for("a packet", || {
            self.fill();
            assert!(self.take_reply().is_none());
            let position = self.packets.iter().position(|(of, _)| *of == channel)?;
            self.packets.remove(position).map(|(_, packet)| packet)
        })
    }

    /// The newest packet on a channel of all that have come.
    #[track_caller]
    fn newest(&mut self, channel: u8) -> Vec<u8> {
        wait_for("a packet", || {
            // As long as much is there, more is.
            while self.read_on() == READ {}
            assert!(self.take_reply().is_none());
            self.packets.iter().rev().find(|(of, _)| *of == channel).map(|(_, packet)| packet.clone())
        })
    }

    fn fill(&mut self) {
        self.read_on();
    }

    fn read_on(&mut self) -> usize {
        let mut buffer = [0; READ];
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        self.received.extend_from_slice(&buffer[..count]);
        count
    }

    /// Takes the packets that have come, up to a response.
    fn take_reply(&mut self) -> Option<Reply> {
        loop {
            if let &[b'$', channel, high, low, ..] = self.received.as_slice() {
                let end = 4 + usize::from(u16::from_be_bytes([high, low]));
                if self.received.len() < end {
                    return None;
                }
                let frame: Vec<u8> = self.received.drain(..end).collect();
                self.packets.push_back((channel, frame[4..].to_vec()));
                continue;
            }
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
            let head = String::from_utf8(self.received[..end].to_vec()).expect("a head is text");
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            let reply = Reply { status, head };
            let body = reply.header("Content-Length").map_or(0, |length| length.parse().expect("a number"));
            if self.received.len() < end + body {
                return None;
            }
            self.received.drain(..end + body);
            return Some(reply);
        }
    }

    /// Sets both tracks up, interleaved, and plays them.
    #[track_caller]
    fn play(server: &Server, title: &str) -> Self {
        let mut player = Self::connect(server);
        let url = format!("{}/{title}", server.rtsp);
        player.open(&url);
        player.ask("PLAY", &format!("{url}/"), &[]).ok();
        player
    }

    /// The sources of both tracks, set up interleaved.
    #[track_caller]
    fn open(&mut self, url: &str) -> [u32; 2] {
        [0, 1].map(|track| self.ask("SETUP", &format!("{url}/trackID={track}"), &[("Transport", TCP)]).ok().ssrc())
    }

    /// Takes over what plays; the answer to PLAY.
    #[track_caller]
    fn take_over(server: &Server, query: &str) -> (Self, Reply) {
        let (url, key, _) = context(server, &json!({}));
        let mut player = Self::connect(server);
        player.ask("DESCRIBE", &format!("{url}?key={key}{query}"), &[]).ok();
        player.open(&url);
        let reply = player.ask("PLAY", &format!("{url}/"), &[("Range", "npt=0-")]).ok();
        (player, reply)
    }
}

/// The event stream from now on, as names and data.
fn listen(server: &Server) -> mpsc::Receiver<(String, Value)> {
    let authority = server.http.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).expect("the server listens");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {authority}\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    let (told, events) = mpsc::channel();
    std::thread::spawn(move || {
        let mut name = String::new();
        for line in lines {
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data = serde_json::from_str(data).expect("JSON");
                if told.send((name.clone(), data)).is_err() {
                    return;
                }
            }
        }
    });
    events
}

/// The names of an object's members, in order.
fn members(data: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = data.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_take_over_is_told_to_who_listens() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), "[steering]\ntransition_ms = 300\n").expect("written");
    let media = folder.path().join("media");
    std::fs::create_dir(&media).expect("made");
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
    std::fs::copy(library.join("countdown.mp4"), media.join("countdown.mp4")).expect("copied");
    let server = Server::serve(folder.path(), &media);
    let events = listen(&server);
    let mut told: Vec<(String, Value)> = Vec::new();
    let mut wait = |what: &str, is_it: &dyn Fn(&str, &Value) -> bool| -> Value {
        let start = Instant::now();
        loop {
            if let Some((_, data)) = told.iter().find(|(name, data)| is_it(name, data)) {
                return data.clone();
            }
            let left = SOON.saturating_sub(start.elapsed());
            told.push(events.recv_timeout(left).unwrap_or_else(|_| panic!("waited in vain for {what}: {told:#?}")));
        }
    };
    let first = Player::play(&server, "countdown.mp4");
    let playing = session(&server);
    let id = playing["id"].as_str().expect("an id").to_owned();
    let data = wait("a session that plays", &|name, data| name == "session" && data["state"] == "playing");
    assert_eq!(data, json!({ "session": id, "title": "countdown.mp4", "state": "playing" }));
    let (mut second, _) = Player::take_over(&server, "");
    second.packet(0);
    let shape = ["bindingId", "event", "homeAddress", "session"];
    for flow in playing["flows"].as_array().expect("flows") {
        let home = home_of(flow);
        let about =
            |name: &str, data: &Value, kind: &str, event: &str| name == kind && data["event"] == event && data["homeAddress"] == home;
        let bound = wait("the first binding", &|name, data| about(name, data, "binding", "bound"));
        assert_eq!((members(&bound), &bound["session"]), (shape.to_vec(), &json!(id)));
        let moving = wait("the window's begin", &|name, data| about(name, data, "handover", "moving"));
        assert_eq!(members(&moving), ["bindingId", "event", "homeAddress", "session", "windowMs"]);
        assert_eq!((&moving["windowMs"], &moving["session"]), (&json!(300), &json!(id)));
        assert!(moving["bindingId"].as_u64().is_some_and(|binding| binding >= 0x8000), "{moving}");
        assert_ne!(moving["bindingId"], bound["bindingId"]);
        let started = wait("the new device's first packet", &|name, data| about(name, data, "handover", "started"));
        assert_eq!(members(&started), ["bindingId", "event", "homeAddress", "join", "lagMs", "missingMs", "repeatedMs", "session"]);
        assert_eq!((&started["join"], &started["missingMs"], &started["bindingId"]), (&json!("primed"), &json!(0), &moving["bindingId"]));
        // Both began with the first picture.
        assert!(started["repeatedMs"].as_u64().is_some_and(|repeated| repeated < 5000), "{started}");
        let left = wait("the old device", &|name, data| about(name, data, "binding", "left"));
        assert_eq!(members(&left), ["bindingId", "event", "homeAddress", "reason", "session"]);
        assert_eq!((&left["bindingId"], &left["reason"]), (&bound["bindingId"], &json!("moved")));
        let moved = wait("the window's end", &|name, data| about(name, data, "handover", "moved"));
        assert_eq!(members(&moved), shape);
    }
    std::fs::copy(library.join("short.mp4"), media.join("short.mp4")).expect("copied");
    let data = wait("a new title", &|name, data| name == "title" && data["path"] == "short.mp4");
    assert_eq!(data, json!({ "event": "appeared", "path": "short.mp4" }));
    ask(&server, "POST", &format!("/api/v1/sessions/{id}/end"), None, 204);
    let data = wait("the session's end", &|name, data| name == "session" && data["state"] == "ended");
    assert_eq!(data, json!({ "session": id, "title": null, "state": "ended" }));
    drop(first);
}

#[test]
fn after_a_take_over_every_number_that_people_rely_on_is_there() {
    let begun = Instant::now();
    let (server, _folder) = start("[steering]\ntransition_ms = 300\n");
    let numbers = || {
        let (status, head, text) = call(&server, "GET", "/metrics", None);
        assert!(status == 200 && head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
        text
    };
    let of = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().expect("a number")
    };
    // To Prometheus, what is first seen as 1 has not grown.
    let fresh = numbers();
    for name in [
        "flowsteer_handovers_total{kind=\"move\"}",
        "flowsteer_binding_updates_total{status=\"accepted\"}",
        "flowsteer_handover_seconds_count",
        "flowsteer_rtsp_requests_total{method=\"PLAY\",status=\"200\"}",
        "flowsteer_rtsp_requests_total{method=\"DESCRIBE\",status=\"200\"}",
        "flowsteer_packets_total",
        "flowsteer_pacing_lateness_seconds_count",
    ] {
        assert_eq!(of(&fresh, name), 0.0, "{name}, before anybody has asked for anything");
    }
    let mut first = Player::play(&server, "countdown.mp4");
    first.packet(0);
    let (mut second, _) = Player::take_over(&server, "");
    [0, 2].iter().for_each(|channel| drop(second.packet(*channel)));
    let exactly = [
        ("flowsteer_sessions", 1.0),
        ("flowsteer_handovers_total{kind=\"move\"}", 2.0),
        ("flowsteer_binding_updates_total{status=\"accepted\"}", 4.0),
        ("flowsteer_handover_seconds_count", 4.0),
        ("flowsteer_handover_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("flowsteer_rtsp_requests_total{method=\"PLAY\",status=\"200\"}", 2.0),
        ("flowsteer_rtsp_requests_total{method=\"SETUP\",status=\"200\"}", 4.0),
        ("flowsteer_dropped_packets_total{reason=\"drop_label\"}", 0.0),
        ("flowsteer_titles", get(&server, "/api/v1/titles").as_array().expect("titles").len() as f64),
    ];
    // What tells of a hand-over is counted by whoever gets round to it: the branches may be known before.
    let at_least = [("flowsteer_packets_total", 20.0), ("flowsteer_pacing_lateness_seconds_count", 10.0)];
    let has_moved = |text: &String| {
        of(text, "flowsteer_branches") == 2.0
            && exactly.iter().all(|(name, value)| of(text, name) >= *value)
            && at_least.iter().all(|(name, value)| of(text, name) > *value)
    };
    let text = wait_for("both flows have moved", || Some(numbers()).filter(has_moved));
    for (name, value) in exactly {
        assert_eq!(of(&text, name), value, "{name}");
    }
    let packets = of(&text, "flowsteer_packets_total");
    let octets = of(&text, "flowsteer_octets_total");
    assert!(octets > packets * 10.0 && octets < packets * 1400.0, "{packets} packets, {octets} octets");
    let late = of(&text, "flowsteer_pacing_lateness_seconds_sum") / of(&text, "flowsteer_pacing_lateness_seconds_count");
    // Nothing took longer than all of it together.
    let most = begun.elapsed().as_secs_f64();
    assert!(late > 0.0 && late < most, "{late} s late on the average");
    assert!(of(&text, "flowsteer_pacing_lateness_seconds_bucket{le=\"+Inf\"}") > 10.0);
    let handover = of(&text, "flowsteer_handover_seconds_sum") / 4.0;
    assert!(handover > 0.0 && handover < most, "{handover} s for a hand-over");
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(of(&text, name) > 0.0, "{name}");
    }
}

/// A number of `/metrics`.
#[track_caller]
fn number(server: &Server, name: &str) -> f64 {
    let (_, _, text) = call(server, "GET", "/metrics", None);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().expect("a number")
}

#[test]
fn what_is_sent_to_catch_a_device_up_is_neither_late_nor_in_time() {
    let (server, _folder) = start("");
    let mut players = vec![Player::play(&server, "countdown.mp4")];
    // So much that it counts for little how far what is sent is behind where it is paused.
    wait_for("something to catch up with", || session(&server)["positionSeconds"].as_f64().filter(|position| *position > 3.0));
    for _ in 0..3 {
        players.push(Player::take_over(&server, "&mode=fork").0);
    }
    let id = session(&server)["id"].as_str().expect("an id").to_owned();
    wait_for("all to have caught up", || {
        players.iter_mut().for_each(Player::fill);
        let flows = session(&server)["flows"].as_array().expect("flows").clone();
        let is_current = |branch: &Value| branch["state"] == "current";
        flows.iter().all(|flow| flow["branches"].as_array().expect("branches").iter().all(is_current)).then_some(())
    });
    let paused = ask(&server, "POST", &format!("/api/v1/sessions/{id}/pause"), Some(&json!({})), 200);
    let position = paused["positionSeconds"].as_f64().expect("a number");
    // Pictures and sounds of the title so far, and some that are decoded ahead.
    let units = (position + 0.5) * (25.0 + 48_000.0 / 1024.0);
    let counted = number(&server, "flowsteer_pacing_lateness_seconds_count");
    assert!((units / 2.0..=units).contains(&counted), "{counted} of {units} at {position} s");
}

/// A Receiver Report with one block (RFC 3550 section 6.4.2): a quarter lost, 900 ticks of jitter.
fn report(about: u32, last: u32, delay: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
    packet.extend(about.to_be_bytes());
    packet.extend([64, 0, 0, 3]);
    for word in [1_000, 900, last, delay] {
        packet.extend(u32::to_be_bytes(word));
    }
    packet
}

/// The middle of a Sender Report's time.
fn middle(packet: &[u8]) -> u32 {
    assert_eq!(packet[1], 200, "a Sender Report comes first");
    u32::from_be_bytes([packet[10], packet[11], packet[12], packet[13]])
}

/// The middle of the newest Sender Report that has come to a socket that does not wait; else that of the one before.
fn newest(rtcp: &UdpSocket, before: u32) -> u32 {
    let (mut buffer, mut last) = ([0; 2048], before);
    while let Ok(len) = rtcp.recv(&mut buffer) {
        last = middle(&buffer[..len]);
    }
    last
}

/// Two UDP sockets on an even port and the next.
fn port_pair() -> (UdpSocket, UdpSocket) {
    let pair = (30_000..40_000)
        .step_by(2)
        .find_map(|port| Some((UdpSocket::bind(("127.0.0.1", port)).ok()?, UdpSocket::bind(("127.0.0.1", port + 1)).ok()?)));
    let (rtp, rtcp) = pair.expect("free ports");
    for socket in [&rtp, &rtcp] {
        socket.set_read_timeout(Some(SOON)).expect("possible");
    }
    (rtp, rtcp)
}

#[test]
fn a_receiver_s_report_is_shown_with_its_branch_and_no_other() {
    let (server, _folder) = start("");
    let url = format!("{}/countdown.mp4", server.rtsp);
    let pairs = [port_pair(), port_pair()];
    let mut first = Player::connect(&server);
    let sources: Vec<u32> = pairs
        .iter()
        .enumerate()
        .map(|(track, (rtp, _))| {
            let port = rtp.local_addr().expect("bound").port();
            let transport = format!("RTP/AVP;unicast;client_port={port}-{}", port + 1);
            first.ask("SETUP", &format!("{url}/trackID={track}"), &[("Transport", &transport)]).ok().ssrc()
        })
        .collect();
    let begun = Instant::now();
    first.ask("PLAY", &format!("{url}/"), &[]).ok();
    let (mut second, _) = Player::take_over(&server, "&mode=fork");
    // What each branch is shown with: transport, loss, jitter, round trip.
    let shown = |track: usize, transport: &str| {
        let flow = session(&server)["flows"][track].clone();
        let branches = flow["branches"].as_array().expect("branches").clone();
        assert_eq!(branches.len(), 2, "{flow:#}");
        let branch = branches.into_iter().find(|branch| branch["transport"] == transport).expect("there is one");
        [branch["lossFraction"].clone(), branch["jitterMs"].clone(), branch["roundTripMs"].clone()]
    };
    let nothing = [Value::Null, Value::Null, Value::Null];
    let all = || [shown(0, "udp"), shown(1, "udp"), shown(0, "interleaved"), shown(1, "interleaved")];
    assert_eq!(all(), [(); 4].map(|()| nothing.clone()));

    // Over UDP, about the pictures, some time after the Sender Report; then one that says for how long it has waited.
    let (_, rtcp) = &pairs[0];
    let mut buffer = [0; 2048];
    let (len, from) = rtcp.recv_from(&mut buffer).expect("a Sender Report comes with the first packet");
    let mut last = middle(&buffer[..len]);
    rtcp.set_nonblocking(true).expect("possible");
    // A round trip is had of the last Sender Report, and another may have left meanwhile.
    let has_round_trip = |[.., round_trip]: &[Value; 3]| !round_trip.is_null();
    let [loss, jitter, round_trip] = wait_for("the report is taken in", || {
        last = newest(rtcp, last);
        std::thread::sleep(Duration::from_millis(150));
        rtcp.send_to(&report(sources[0] ^ 1, last, 0), from).expect("sent");
        rtcp.send_to(&report(sources[0], last, 0), from).expect("sent");
        Some(shown(0, "udp")).filter(has_round_trip)
    });
    assert_eq!((loss, jitter), (json!(0.25), json!(10.0)));
    let passed = round_trip.as_f64().expect("a round trip");
    assert!(passed >= 150.0 && passed <= begun.elapsed().as_secs_f64() * 1000.0, "{passed} ms");
    let [udp, others @ ..] = all();
    assert!(udp != nothing && others.iter().all(|shown| *shown == nothing), "{udp:?} {others:?}");
    // What was held is taken off; of one that is on the way for long, less is left.
    wait_for("the delay is taken off", || {
        last = newest(rtcp, last);
        let held = (begun.elapsed().as_millis() as u32 * 65_536) / 1000;
        rtcp.send_to(&report(sources[0], last, held), from).expect("sent");
        shown(0, "udp")[2].as_f64().filter(|passed| *passed < 100.0)
    });

    // Interleaved, about the sound: its clock is another.
    let [loss, jitter, round_trip] = wait_for("the report is taken in", || {
        let last = middle(&second.newest(3));
        std::thread::sleep(Duration::from_millis(60));
        let packet = report(sources[1], last, 0);
        second.stream.write_all(&[&[b'$', 3, 0, packet.len() as u8], packet.as_slice()].concat()).expect("sent");
        Some(shown(1, "interleaved")).filter(has_round_trip)
    });
    assert_eq!((loss, jitter), (json!(0.25), json!(18.75)));
    assert!(round_trip.as_f64().is_some_and(|passed| passed >= 60.0), "{round_trip}");
    assert_eq!([shown(0, "interleaved"), shown(1, "udp")], [nothing.clone(), nothing]);
    drop(first);
}

#[test]
fn a_token_that_is_revoked_or_over_changes_nothing() {
    let (server, _folder) = start("");
    let _first = Player::play(&server, "countdown.mp4");
    let before = places(&server);
    let home = home_of(&session(&server)["flows"][0]);
    // Revoked between SETUP and PLAY.
    let (url, key, _) = context(&server, &json!({}));
    let mut second = Player::connect(&server);
    second.ask("DESCRIBE", &format!("{url}?key={key}"), &[]).ok();
    second.open(&url);
    ask(&server, "DELETE", &format!("/api/v1/home-addresses/{home}/keys"), None, 204);
    let reply = second.ask("PLAY", &format!("{url}/"), &[]);
    assert!(reply.status == 401 && reply.header("WWW-Authenticate").is_some(), "{reply:#?}");
    assert_eq!(places(&server), before);
    // Revoked before DESCRIBE: also for who has shown it before, and for who has not.
    for player in [&mut second, &mut Player::connect(&server)] {
        player.session = None;
        assert_eq!(player.ask("DESCRIBE", &format!("{url}?key={key}"), &[]).status, 401);
        assert_eq!(player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP)]).status, 401);
    }
    // One that was good for a second.
    let (url, key, answer) = context(&server, &json!({ "lifetimeSeconds": 1 }));
    assert!(answer["expiresAt"].as_str().is_some_and(|end| end.ends_with('Z')), "{answer:#}");
    let describe = || Player::connect(&server).ask("DESCRIBE", &format!("{url}?key={key}"), &[]);
    let refused = wait_for("its end", || Some(describe()).filter(|reply| reply.status != 200));
    assert!(refused.status == 401 && refused.head.contains("expired"), "{refused:#?}");
    assert_eq!(places(&server), before);
    let state = session(&server)["state"].clone();
    assert_eq!(state, "playing");
}

#[test]
fn home_addresses_are_listed_reserved_with_a_care_of_and_rid_of_single_keys() {
    let (server, _folder) = start("[[home]]\nname = \"wall\"\n");
    assert_eq!(get(&server, "/api/v1/home-addresses"), json!([]));
    let (rtp, _rtcp) = port_pair();
    let to = rtp.local_addr().expect("bound").to_string();
    let reserved = ask(&server, "POST", "/api/v1/home-addresses", Some(&json!({ "name": "wall", "careOf": to })), 201);
    let home = home_of(&reserved);
    let listed = get(&server, "/api/v1/home-addresses");
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0], get(&server, "/api/v1/home-addresses/wall"), "as it is shown by itself");
    assert_eq!((&listed[0]["homeAddress"], &listed[0]["name"], &listed[0]["state"]), (&json!(home), &json!("wall"), &json!("bound")));
    assert_eq!(listed[0]["expiresAt"], reserved["expiresAt"]);

    // Bound already: what is played there arrives at once.
    let playing = ask(&server, "POST", "/api/v1/sessions", Some(&json!({ "title": "countdown.mp4", "home": home })), 201);
    let mut packet = [0; 2048];
    assert!(rtp.recv(&mut packet).is_ok_and(|count| count > 12 && packet[0] >> 6 == 2), "RTP arrives");
    let listed = get(&server, "/api/v1/home-addresses");
    assert_eq!((&listed[0]["state"], &listed[0]["session"]), (&json!("flowing"), &playing["id"]));
    assert_eq!(listed[0]["flow"]["branches"][0]["careOf"], to);
    assert_eq!(listed[0]["flowLabel"], listed[0]["flow"]["flowLabel"]);

    // Of two tokens one is revoked by the index of its key.
    let tokens = [(); 2].map(|()| context(&server, &json!({})));
    let indices =
        tokens.each_ref().map(|(.., answer)| answer["context"]["flows"][0]["authorization"]["spi"].as_str().expect("an index").to_owned());
    assert_ne!(indices[0], indices[1]);
    let keys = format!("/api/v1/home-addresses/{home}/keys");
    ask(&server, "DELETE", &format!("{keys}/{}", indices[0].trim_start_matches("0x")), None, 400);
    ask(&server, "DELETE", &format!("{keys}/{}", indices[0]), None, 204);
    let describe =
        |(url, key, _): &(String, String, Value)| Player::connect(&server).ask("DESCRIBE", &format!("{url}?key={key}"), &[]).status;
    assert_eq!(tokens.each_ref().map(describe), [401, 200]);
}

#[test]
fn what_is_served_and_what_plays_is_told_as_text() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), "").expect("written");
    let media = folder.path().join("media");
    std::fs::create_dir_all(media.join("films")).expect("made");
    std::fs::copy("media/countdown.mp4", media.join("films/countdown.mp4")).expect("copied");
    std::fs::write(media.join("broken.mp4"), b"no film at all").expect("written");
    let server = Server::serve(folder.path(), &media);
    // It may be ready before it has looked into its files.
    wait_for("the index", || (!get(&server, "/api/v1/titles").to_string().contains("\"indexing\"")).then_some(()));
    let told = |command: &str| {
        let output = cli_server::flowsteer(folder.path(), &[], &[command, "--server", &server.http]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let text = told("titles");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        ["       -  -             broken.mp4  (not a media file of a known format)", "    1:00  h264+aac      films/countdown.mp4"],
        "{text}"
    );
    assert_eq!(told("sessions"), "nothing plays\n");

    let (rtp, _rtcp) = port_pair();
    let mut player = Player::connect(&server);
    let url = format!("{}/films/countdown.mp4", server.rtsp);
    let port = rtp.local_addr().expect("bound").port();
    let transport = format!("RTP/AVP;unicast;client_port={port}-{}", port + 1);
    player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", &transport)]).ok();
    player.ask("SETUP", &format!("{url}/trackID=1"), &[("Transport", TCP)]).ok();
    player.ask("PLAY", &format!("{url}/"), &[]).ok();
    let shown = session(&server);
    let text = told("sessions");
    let mut lines = text.lines();
    let first = lines.next().expect("a line");
    let id = shown["id"].as_str().expect("an id");
    assert!(first.starts_with("films/countdown.mp4  playing 0:0") && first.ends_with(&format!(" of 1:00  (session {id})")), "{text}");
    let peer = player.stream.local_addr().expect("connected");
    let branches = [(format!("127.0.0.1:{port}"), "udp"), (peer.to_string(), "interleaved")];
    for (flow, (care_of, transport)) in shown["flows"].as_array().expect("flows").iter().zip(branches) {
        let part = |name: &str| flow["track"][name].as_str().expect("a text");
        let (home, label) = (home_of(flow), flow["flowLabel"].as_str().expect("a label"));
        assert_eq!(lines.next(), Some(format!("  {:<5} {:<5}  home {home}  label {label}", part("kind"), part("codec")).as_str()));
        assert_eq!(lines.next(), Some(format!("    → {care_of:<44} current  {transport}").as_str()));
    }
    assert_eq!(lines.next(), None, "{text}");
}

/// The API's own description, against what the server answers.
struct Described {
    document: Value,
    /// The calls that were looked at.
    seen: BTreeSet<(String, String)>,
}

impl Described {
    fn of(server: &Server) -> Self {
        Self { document: get(server, "/api/openapi.json"), seen: BTreeSet::new() }
    }

    /// What the document says of a call.
    #[track_caller]
    fn operation(&self, method: &str, template: &str) -> &Value {
        let operation = &self.document["paths"][template][method.to_ascii_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not described");
        operation
    }

    /// Checks that an answer is one of those described: its status, its kind, its shape.
    #[track_caller]
    fn check(&self, method: &str, template: &str, (status, head, body): &(u16, String, String)) {
        let answer = &self.operation(method, template)["responses"][status.to_string()];
        let answer = match answer["$ref"].as_str() {
            Some(at) => self.document.pointer(at.trim_start_matches('#')).expect("a reference leads somewhere"),
            None => answer,
        };
        assert!(answer.is_object(), "{method} {template}: {status} is not described\n{body}");
        let kind = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-type: ").map(str::to_owned));
        let Some(kind) = kind else {
            assert!(answer["content"].is_null() && body.is_empty(), "{method} {template}: {status} is described with a body");
            return;
        };
        let schema = &answer["content"][&kind]["schema"];
        assert!(schema.is_object(), "{method} {template}: {status} comes as {kind}");
        if kind.ends_with("json") {
            let mut schema = schema.clone();
            schema["components"] = self.document["components"].clone();
            let schema = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("a schema");
            let value: Value = serde_json::from_str(body).expect("JSON");
            let errors: Vec<String> = schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert_eq!(errors, Vec::<String>::new(), "{method} {template}: {value:#}");
        }
    }

    /// Makes a call and checks its answer; its body.
    #[track_caller]
    fn call(&mut self, server: &Server, method: &str, template: &str, values: &[&str], body: Option<Value>, expected: u16) -> Value {
        let (path, query) = template.split_once('?').unwrap_or((template, ""));
        let mut values = values.iter();
        let parts = path.split('/').map(|part| if part.starts_with('{') { values.next().expect("a value") } else { part });
        let target = parts.collect::<Vec<_>>().join("/") + if query.is_empty() { "" } else { "?" } + query;
        let answer = call(server, method, &target, body.as_ref());
        assert_eq!(answer.0, expected, "{method} {target}: {}", answer.2);
        self.check(method, path, &answer);
        self.seen.insert((method.to_owned(), path.to_owned()));
        serde_json::from_str(&answer.2).unwrap_or(Value::Null)
    }

    /// All calls that the document has.
    fn all(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let methods =
            |item: &Value| item.as_object().expect("an object").keys().filter(|key| *key != "parameters").cloned().collect::<Vec<_>>();
        paths.iter().flat_map(|(path, item)| methods(item).into_iter().map(|method| (method.to_ascii_uppercase(), path.clone()))).collect()
    }
}

#[test]
fn the_api_answers_as_it_describes_itself() {
    const SESSIONS: &str = "/api/v1/sessions";
    const SESSION: &str = "/api/v1/sessions/{session}";
    const HOMES: &str = "/api/v1/home-addresses";
    const HOME: &str = "/api/v1/home-addresses/{home}";
    let under = |path: &str, more: &str| format!("{path}/{more}");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), "[[home]]\nname = \"wall\"\n[[device]]\nname = \"TV\"\ncare_of = \"127.0.0.1:7000\"\n")
        .expect("written");
    let media = folder.path().join("media");
    std::fs::create_dir(&media).expect("made");
    std::fs::copy("media/countdown.mp4", media.join("countdown.mp4")).expect("copied");
    std::fs::write(media.join("film.mkv"), b"\x1a\x45\xdf\xa3").expect("written");
    let server = Server::serve(folder.path(), &media);
    let mut api = Described::of(&server);
    let _first = Player::play(&server, "countdown.mp4");
    let (mut second, _) = Player::take_over(&server, "&mode=fork");
    // With what a receiver reports.
    let source = session(&server)["flows"][0]["ssrc"].as_str().and_then(|ssrc| u32::from_str_radix(&ssrc[2..], 16).ok()).expect("a source");
    wait_for("the report", || {
        let packet = report(source, middle(&second.newest(1)), 0);
        second.stream.write_all(&[&[b'$', 1, 0, packet.len() as u8], packet.as_slice()].concat()).expect("sent");
        session(&server).to_string().contains("roundTripMs").then_some(())
    });

    // Nobody can log in here.
    api.call(&server, "GET", "/api/v1/login", &[], None, 401);
    api.call(&server, "POST", "/api/v1/login", &[], Some(json!({ "user": "olga", "password": "s3cret" })), 401);
    api.call(&server, "POST", "/api/v1/logout", &[], None, 401);
    for path in
        ["/healthz", "/readyz", "/metrics", "/api/openapi.json", "/api/v1/titles", "/api/v1/consents", "/api/v1/devices", SESSIONS, HOMES]
    {
        api.call(&server, "GET", path, &[], None, 200);
    }
    let authority = server.http.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).expect("the server listens");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {authority}\r\n\r\n").expect("sent");
    let head: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    api.check("GET", "/api/v1/events", &(200, head.join("\r\n"), String::new()));
    api.seen.insert(("GET".into(), "/api/v1/events".into()));

    let reserved = api.call(&server, "POST", HOMES, &[], Some(json!({ "name": "wall", "lifetimeSeconds": 300 })), 201);
    api.call(&server, "POST", HOMES, &[], Some(json!({ "name": "nobody" })), 404);
    api.call(&server, "POST", HOMES, &[], Some(json!({ "name": "wall" })), 409);
    api.call(&server, "POST", HOMES, &[], Some(json!({ "careOf": "192.0.2.9:5000" })), 409);
    api.call(&server, "POST", HOMES, &[], Some(json!({ "lifetime": 5 })), 400);
    let home = home_of(&reserved);
    api.call(&server, "GET", HOME, &["wall"], None, 200);
    api.call(&server, "GET", HOME, &["fd00::9"], None, 404);
    api.call(&server, "POST", &under(HOME, "context"), &[&home], Some(json!({})), 409);

    let start = |title: &str| Some(json!({ "title": title, "home": "wall" }));
    api.call(&server, "POST", SESSIONS, &[], start("missing.mp4"), 404);
    api.call(&server, "POST", SESSIONS, &[], start("film.mkv"), 422);
    api.call(&server, "POST", SESSIONS, &[], Some(json!({ "title": "countdown.mp4" })), 400);
    let started = api.call(&server, "POST", SESSIONS, &[], start("countdown.mp4"), 201);
    api.call(&server, "POST", SESSIONS, &[], start("countdown.mp4"), 409);
    api.call(&server, "GET", SESSIONS, &[], None, 200);
    let id = started["id"].as_str().expect("an id").to_owned();
    api.call(&server, "GET", SESSION, &[&id], None, 200);
    for action in ["pause", "play", "seek"] {
        let path = under(SESSION, action);
        let body = || Some(if action == "seek" { json!({ "positionSeconds": 4.0 }) } else { json!({}) });
        api.call(&server, "POST", &path, &[&id], body(), 200);
        api.call(&server, "POST", &path, &["0123456789abcdef"], body(), 404);
    }
    api.call(&server, "POST", &under(SESSION, "seek"), &[&id], Some(json!({ "positionSeconds": -1 })), 400);
    api.call(&server, "GET", SESSION, &["0123456789abcdef"], None, 404);

    api.call(&server, "POST", "/api/v1/consents/{consent}", &["7"], Some(json!({ "answer": "yes" })), 404);
    let binding = under(HOME, "bindings/{binding}");
    let to =
        |care_of: &str| Some(json!({ "careOf": care_of, "mode": "move", "join": "at-once", "transitionMs": 100, "lifetimeSeconds": 60 }));
    // Where nobody is, it would end by itself.
    let (rtp, _rtcp) = port_pair();
    api.call(&server, "PUT", &binding, &[&home, "1"], to(&rtp.local_addr().expect("bound").to_string()), 200);
    api.call(&server, "PUT", &binding, &[&home, "2"], to("192.0.2.9:5000"), 409);
    api.call(&server, "PUT", &binding, &[&home, "2"], Some(json!({})), 400);
    for path in [HOME, HOMES] {
        api.call(&server, "GET", path, &[&home], None, 200);
    }
    api.call(&server, "GET", &under(HOME, "sdp?rtp=5000"), &[&home], None, 200);
    api.call(&server, "GET", &under(HOME, "sdp?rtp=0"), &[&home], None, 400);
    let made = api.call(&server, "POST", &under(HOME, "context"), &[&home], Some(json!({ "scope": "flow" })), 200);
    let spi = made["context"]["flows"][0]["authorization"]["spi"].as_str().expect("an index").to_owned();
    api.call(&server, "DELETE", &under(HOME, "keys/{spi}"), &[&home, &spi], None, 204);
    api.call(&server, "DELETE", &under(HOME, "keys/{spi}"), &[&home, "7"], None, 400);
    api.call(&server, "DELETE", &under(HOME, "keys"), &[&home], None, 204);
    api.call(&server, "DELETE", &binding, &[&home, "1"], None, 204);
    api.call(&server, "DELETE", &binding, &[&home, "1"], None, 404);

    let (consents, consent) = ("/api/v1/consents", "/api/v1/consents/{consent}");
    api.call(&server, "POST", HOMES, &[], Some(json!({ "consent": "pin" })), 400);
    let asking = home_of(&api.call(&server, "POST", HOMES, &[], Some(json!({ "consent": "ask-taker" })), 201));
    // Nobody is asked about a place that nobody has proven or trusts.
    api.call(&server, "PUT", &binding, &[&asking, "1"], to("192.0.2.9:5000"), 409);
    assert_eq!(api.call(&server, "GET", consents, &[], None, 200), json!([]));
    // Another device of this machine.
    api.call(&server, "PUT", &binding, &[&asking, "1"], to("127.0.0.2:5000"), 202);
    let question = api.call(&server, "GET", consents, &[], None, 200)[0]["id"].as_str().expect("a question").to_owned();
    api.call(&server, "POST", consent, &[&question], Some(json!({ "answer": "perhaps" })), 400);
    api.call(&server, "POST", consent, &[&question], Some(json!({ "answer": "yes" })), 200);
    api.call(&server, "POST", consent, &[&question], Some(json!({ "answer": "yes" })), 404);
    api.call(&server, "PUT", &binding, &[&asking, "1"], to("127.0.0.2:5000"), 200);
    api.call(&server, "POST", &under(SESSION, "end"), &[&id], Some(json!({})), 204);
    api.call(&server, "POST", &under(SESSION, "end"), &[&id], Some(json!({})), 404);
    api.call(&server, "DELETE", HOME, &[&home], None, 204);
    api.call(&server, "DELETE", HOME, &[&home], None, 404);

    // Document, server and this test know of the same calls.
    let served = calls().map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(served.collect::<BTreeSet<_>>(), api.all());
    assert_eq!(api.seen, api.all());
    // Whoever asks, and with whatever body.
    for (method, path) in api.all().into_iter().filter(|(_, path)| path != "/api/v1/events") {
        let target: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "fd00::9" } else { part }).collect();
        for (headers, body) in [
            ("Authorization: Bearer d3Jvbmc\r\n", ""),
            ("Content-Type: text/plain\r\n", "hello"),
            ("Content-Type: application/json\r\n", "{"),
        ] {
            let answer = call_with(&server, &method, &target.join("/"), headers, body);
            api.check(&method, &path, &answer);
        }
        // No other method.
        let answer = call_with(&server, "PATCH", &target.join("/"), "", "");
        assert!(answer.0 == 405 && answer.1.to_ascii_uppercase().contains(&method), "{path}: {answer:?}");
    }
}

/// The status of a call, also of one whose answer does not end.
fn status_of(server: &Server, method: &str, target: &str, headers: &str, body: &str) -> u16 {
    let authority = server.http.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(authority).expect("the server listens");
    stream.set_read_timeout(Some(SOON)).expect("possible");
    let length = body.len();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").expect("sent");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

/// Headers that show one of the ways to be let in, as they are described; of a home address that plays, made for this.
struct Credentials<'s> {
    server: &'s Server,
    home: String,
    key: String,
}

impl<'s> Credentials<'s> {
    const JSON: &'static str = "Content-Type: application/json\r\n";

    fn made(server: &'s Server) -> Self {
        let made = Self::post(server, "/api/v1/home-addresses", &json!({}));
        let (home, key) = (home_of(&made), made["key"].as_str().expect("a key").to_owned());
        Self { server, home, key }
    }

    fn post(server: &Server, target: &str, body: &Value) -> Value {
        let headers = format!("Authorization: Bearer operator\r\n{}", Self::JSON);
        let (status, _, answer) = call_with(server, "POST", target, &headers, &body.to_string());
        assert!((200..300).contains(&status), "{target}: {answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// What shows these schemes together.
    fn headers(&self, schemes: &[&str]) -> String {
        let (cookie, csrf) = if schemes.contains(&"login") { self.log_in() } else { Default::default() };
        let mut headers = String::new();
        for scheme in schemes {
            headers += &match *scheme {
                "operator" => "Authorization: Bearer operator\r\n".to_owned(),
                "homeKey" => format!("Authorization: Bearer {}\r\n", self.key),
                "takeOverToken" => format!("Authorization: Bearer {}\r\n", self.token()),
                "login" => format!("Cookie: {cookie}\r\n"),
                "csrf" => format!("X-CSRF-Token: {csrf}\r\n"),
                scheme => panic!("{scheme} is described, and unknown here"),
            };
        }
        headers
    }

    /// A login's cookie, and its second secret.
    fn log_in(&self) -> (String, String) {
        let body = json!({ "user": "olga", "password": "s3cret" }).to_string();
        let (_, head, body) = call_with(self.server, "POST", "/api/v1/login", Self::JSON, &body);
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).expect("a cookie");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        (cookie.to_owned(), answer["csrf"].as_str().expect("a text").to_owned())
    }

    /// A token of what begins to play there.
    fn token(&self) -> String {
        Self::post(self.server, "/api/v1/sessions", &json!({ "title": "countdown.mp4", "home": self.home }));
        let context = Self::post(self.server, &format!("/api/v1/home-addresses/{}/context", self.home), &json!({}));
        context["takeoverUrl"].as_str().and_then(|url| url.split_once("?key=")).expect("a key").1.to_owned()
    }
}

#[test]
fn each_call_lets_in_whom_its_description_says_and_nobody_else() {
    let (server, _folder) =
        start("http.tokens = [\"operator\"]\n[[users]]\nname = \"olga\"\npassword = \"s3cret\"\nroles = [\"operator\"]\n");
    let api = Described::of(&server);
    let status = |method: &str, path: &str, schemes: &[&str]| {
        let credentials = Credentials::made(&server);
        let headers = credentials.headers(schemes);
        let values =
            [("{home}", credentials.home.as_str()), ("{session}", "0123456789abcdef"), ("{binding}", "1"), ("{spi}", "0x80000001")];
        let mut target = values.iter().fold(path.replace("{consent}", "1"), |path, (name, value)| path.replace(name, value));
        if path == "/api/v1/events" && schemes.is_empty() {
            target += "?asked=taker";
        }
        let body = match (method, path.rsplit('/').next()) {
            ("POST", Some("sessions")) => json!({ "title": "countdown.mp4", "home": credentials.home }).to_string(),
            ("POST", Some("seek")) => json!({ "positionSeconds": 1 }).to_string(),
            ("POST", Some("{consent}")) => json!({ "answer": "yes" }).to_string(),
            ("PUT", _) => json!({ "careOf": "127.0.0.1:5000" }).to_string(),
            _ => String::new(),
        };
        let kind = if body.is_empty() { "" } else { Credentials::JSON };
        let status = status_of(&server, method, &target, &(headers + kind), &body);
        status_of(&server, "DELETE", &format!("/api/v1/home-addresses/{}", credentials.home), "Authorization: Bearer operator\r\n", "");
        status
    };
    for (method, path) in api.all() {
        let security = api.operation(&method, &path)["security"].as_array().expect("security is stated");
        let ways: Vec<Vec<&str>> = security.iter().map(|way| members(way)).collect();
        for way in &ways {
            let answered = status(&method, &path, way);
            assert!(!matches!(answered, 401 | 403), "{method} {path} by {way:?}: {answered}");
            if way.contains(&"csrf") {
                assert_eq!(status(&method, &path, &["login"]), 403, "{method} {path} without the second secret");
            }
        }
        if ways.is_empty() || ways.contains(&Vec::new()) {
            continue;
        }
        assert_eq!(status(&method, &path, &[]), 401, "{method} {path} without anything");
        for other in ["operator", "homeKey", "takeOverToken"].iter().filter(|other| !ways.contains(&vec![**other])) {
            let answered = status(&method, &path, &[other]);
            assert!(matches!(answered, 401 | 403), "{method} {path} by {other}: {answered}");
        }
    }
}

/// A program of the tests' virtual environment; where there is none the test is skipped, and says so.
fn installed(program: &str) -> Option<Command> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin").join(program);
    if path.exists() {
        return Some(Command::new(path));
    }
    let required = std::env::var("FLOWSTEER_REQUIRE_TOOLS").is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(!required, "{} is missing: tests/run --prepare makes it", path.display());
    eprintln!("skipped: {}: no {program}", std::thread::current().name().unwrap_or("a test"));
    None
}

#[test]
fn schemathesis_finds_nothing_that_is_not_described() {
    let (Some(mut schemathesis), Some(mut validator)) = (installed("schemathesis"), installed("openapi-spec-validator")) else { return };
    const BEARER: &str = "Authorization: Bearer operator\r\n";
    let folder = tempfile::tempdir().expect("a folder");
    // However long it takes: what plays waits for a device when one has been there.
    let settings = "http.tokens = [\"operator\"]\nsteering.linger_s = 3600\n[[home]]\nname = \"wall\"\n";
    std::fs::write(folder.path().join("f.toml"), settings).expect("written");
    let server = Server::start(folder.path());
    let post = |target: &str, body: Value| {
        let headers = format!("{BEARER}Content-Type: application/json\r\n");
        let (status, _, answer) = call_with(&server, "POST", target, &headers, &body.to_string());
        assert_eq!(status, 201, "{answer}");
        serde_json::from_str::<Value>(&answer).expect("JSON")
    };
    // Something plays that is asked about.
    post("/api/v1/home-addresses", json!({ "name": "wall" }));
    let session = post("/api/v1/sessions", json!({ "title": "countdown.mp4", "home": "wall" }))["id"].clone();

    let description = folder.path().join("openapi.json");
    std::fs::write(&description, get(&server, "/api/openapi.json").to_string()).expect("written");
    let output = validator.arg(&description).output().expect("the validator runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // What fits the description is answered, refused as things stand, or is about something that there is not. 400 would say that the
    // description promises too much.
    let mut config = "[checks.positive_data_acceptance]\nexpected-statuses = [\"2xx\", 401, 403, 404, 409, 422, 429, 503]\n".to_owned();
    // What goes on is not ended by those calls that end something.
    let nobodys = |call: &str, path: &str| path.ends_with("/end") || (call, path) == ("DELETE", "/api/v1/home-addresses/{home}");
    for (call, path) in calls().filter(|(_, path)| path.contains("{session}") || path.contains("{home}")) {
        let value = match (path.contains("{session}"), nobodys(call, path)) {
            (true, false) => format!("session = {session}"),
            (true, true) => "session = \"0123456789abcdef\"".to_owned(),
            (false, false) => "home = \"wall\"".to_owned(),
            (false, true) => "home = \"nobody\"".to_owned(),
        };
        config += &format!("[[operations]]\ninclude-name = \"{call} {path}\"\nparameters = {{ {value} }}\n");
    }
    let file = folder.path().join("schemathesis.toml");
    std::fs::write(&file, config).expect("written");
    // The stream of events never ends: other tests listen to it. One worker: CPython 3.11 cannot parse in two threads at a time.
    let output = schemathesis
        .arg("--config-file")
        .arg(file)
        .args(["run", "--checks", "all", "--max-examples", "8", "--seed", "1", "--workers", "1", "--exclude-path", "/api/v1/events"])
        .args(["--header", "Authorization: Bearer operator", "--request-timeout", "10", "--continue-on-failure", "--no-color"])
        // It is always let in by the token: other credentials would only be more of the same.
        .arg("--generation-with-security-parameters=false")
        .args(["--phases", "examples,coverage,fuzzing", "--warnings", "off", "--url", &server.http])
        .arg(format!("{}/api/openapi.json", server.http))
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("schemathesis runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        call_with(&server, "GET", &format!("/api/v1/sessions/{}", session.as_str().expect("an id")), BEARER, "").0,
        200,
        "it goes on"
    );
}
