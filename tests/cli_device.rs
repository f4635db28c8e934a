//! The device commands against a running server, both the built binary, on loopback: two addresses of it are two devices.

mod cli_server;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use cli_server::{Running, SOON, Server, flowsteer};
use serde_json::{Value, json};

const A: &str = "127.0.0.1";
const B: &str = "127.0.0.2";

/// A server, and a folder in which devices have their files.
struct World {
    server: Server,
    folder: tempfile::TempDir,
}

fn key_entry(spi: u32, nai: &str, key: &str) -> String {
    format!("[[mobility.keys]]\nspi = \"{spi:#x}\"\nnai = \"{nai}\"\nkey = \"{}\"\n", key.repeat(32))
}

impl World {
    fn new() -> Self {
        Self::with("")
    }

    /// One with more settings of `[steering]`.
    fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = key_entry(0x200, "tv@home", "07");
        let steering = "[steering]\nhome_prefix = \"fd00:f10::/64\"\n";
        std::fs::write(folder.path().join("f.toml"), format!("{steering}{settings}{key}")).expect("written");
        std::fs::write(folder.path().join("key.toml"), key).expect("written");
        Self { server: Server::start(folder.path()), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that speaks the signalling.
    fn device(&self, arguments: &[&str]) -> Output {
        let more = ["--server", &self.server.mobility, "--device-dir", "device"];
        let more: &[&str] = if arguments[0] == "prove" { &more[..2] } else { &more };
        flowsteer(self.folder.path(), &[], &[arguments, more].concat())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.device(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat())).expect("JSON")
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], status: i32) -> String {
        let output = self.device(arguments);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    fn spawn(&self, arguments: &[&str]) -> Running {
        Running::start(self.folder.path(), &[arguments, &["--server", &self.server.mobility, "--device-dir", "device"]].concat())
    }

    /// Reserves with the key.
    #[track_caller]
    fn reserve(&self) -> String {
        self.json(&["reserve", "--key-file", "key.toml"])["homeAddress"].as_str().expect("a home address").to_owned()
    }

    /// Reserves, binds A and plays pictures there.
    #[track_caller]
    fn playing(&self, a: &Receiver) -> (String, TcpStream) {
        let home = self.reserve();
        self.done(&["bind", &home, "--care-of", A, "--rtp", &a.port()]);
        let control = self.play(&home);
        assert!(a.gets_packets(), "it plays");
        (home, control)
    }

    /// Plays the first track of a title to a home address. The connection has to live.
    #[track_caller]
    fn play(&self, home: &str) -> TcpStream {
        self.play_with(&[format!("Transport: RTP/AVP;unicast;destination={home}\r\n")])
    }

    /// Plays as many tracks of a title as there are headers for their set-up.
    #[track_caller]
    fn play_with(&self, transports: &[String]) -> TcpStream {
        let stream = TcpStream::connect(self.server.rtsp.strip_prefix("rtsp://").expect("a URL")).expect("the server listens");
        stream.set_read_timeout(Some(SOON)).expect("possible");
        let mut reader = BufReader::new(stream);
        let url = format!("{}/countdown.mp4", self.server.rtsp);
        let mut session = String::new();
        let set_ups = transports.iter().enumerate().map(|(track, header)| (format!("SETUP {url}/trackID={track}"), header.clone()));
        for (line, headers) in set_ups.chain([(format!("PLAY {url}/"), String::new())]) {
            write!(reader.get_mut(), "{line} RTSP/1.0\r\nCSeq: 1\r\n{session}{headers}\r\n").expect("sent");
            let mut status = String::new();
            reader.read_line(&mut status).expect("an answer");
            assert!(status.starts_with("RTSP/1.0 200"), "{line}: {status}");
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).expect("a header");
                if header == "\r\n" {
                    break;
                }
                if let Some(id) = header.strip_prefix("Session: ") {
                    session = format!("Session: {}\r\n", id.trim().split(';').next().unwrap_or_default());
                }
            }
        }
        reader.into_inner()
    }

    /// Writes the context of what plays there, as a shell does with `>`.
    #[track_caller]
    fn context(&self, home: &str, name: &str) -> Value {
        let file = std::fs::File::create(self.path(name)).expect("made");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flowsteer"));
        let status = command.args(["context", home, "--server", &self.server.http]).stdout(file).status().expect("it runs");
        assert!(status.success());
        serde_json::from_str(&std::fs::read_to_string(self.path(name)).expect("written")).expect("JSON")
    }

    /// Answers so many questions, once they are all open.
    #[track_caller]
    fn answer(&self, count: usize, word: &str) {
        let start = Instant::now();
        let open = loop {
            let open = self.call("GET", "/api/v1/consents", None).1.as_array().cloned().expect("a list");
            if open.len() == count {
                break open;
            }
            assert!(start.elapsed() < SOON, "{count} questions: {open:#?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        for question in open {
            let id = question["id"].as_str().expect("an id");
            let (status, answer) = self.call("POST", &format!("/api/v1/consents/{id}"), Some(&json!({ "answer": word })));
            assert_eq!(status, 200, "{answer:#}");
        }
    }

    /// What the API says of a home address.
    fn shown(&self, home: &str) -> Value {
        self.call("GET", &format!("/api/v1/home-addresses/{home}"), None).1
    }

    fn call(&self, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        let address = self.server.http.strip_prefix("http://").expect("a URL");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
        let text = std::io::read_to_string(stream).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Where its packets go, without what is leaving.
    fn places(&self, home: &str) -> Vec<String> {
        let shown = self.shown(home);
        let branches = shown["flow"]["branches"].as_array().cloned().unwrap_or_default();
        let current = branches.iter().filter(|branch| branch["state"] != "leaving");
        let mut places: Vec<String> = current.map(|branch| branch["careOf"].as_str().expect("a care-of").to_owned()).collect();
        places.sort();
        places
    }

    #[track_caller]
    fn wait_for_places(&self, home: &str, expected: &[&str]) {
        let start = Instant::now();
        while self.places(home) != expected {
            assert!(start.elapsed() < SOON, "{:?}, {expected:?}", self.places(home));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A pair of ports.
struct Receiver {
    rtp: UdpSocket,
    _rtcp: UdpSocket,
}

impl Receiver {
    fn at(address: &str) -> Self {
        loop {
            let rtp = UdpSocket::bind((address, 0)).expect("a port");
            let port = rtp.local_addr().expect("bound").port();
            if port.is_multiple_of(2)
                && let Ok(rtcp) = UdpSocket::bind((address, port + 1))
            {
                rtp.set_read_timeout(Some(SOON)).expect("possible");
                return Self { rtp, _rtcp: rtcp };
            }
        }
    }

    fn port(&self) -> String {
        self.rtp.local_addr().expect("bound").port().to_string()
    }

    fn place(&self) -> String {
        self.rtp.local_addr().expect("bound").to_string()
    }

    /// Whether RTP comes from now on.
    fn gets_packets(&self) -> bool {
        let mut packet = [0; 2048];
        self.rtp.set_nonblocking(true).expect("possible");
        while self.rtp.recv(&mut packet).is_ok() {}
        self.rtp.set_nonblocking(false).expect("possible");
        self.rtp.recv(&mut packet).is_ok_and(|count| count > 12 && packet[0] >> 6 == 2)
    }
}

/// Somebody is there from now on: a place where nobody listens is taken for gone after two seconds. Who looks for free ports may have its
/// port for a moment.
fn listen_at(place: &str) -> UdpSocket {
    let start = Instant::now();
    loop {
        match UdpSocket::bind(place) {
            Ok(socket) => return socket,
            Err(error) => assert!(start.elapsed() < SOON, "{place}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_home_address_is_reserved_with_a_key_and_kept_where_only_its_owner_reads_it() {
    let world = World::new();
    let line = world.done(&["reserve", "--key-file", "key.toml"]);
    let (home, rest) = line.strip_prefix("reserved ").and_then(|rest| rest.split_once(" until ")).expect(&line);
    assert!(home.starts_with("fd00:f10::") && rest.contains(" UTC (spi 0x") && rest.ends_with(")\n"), "{line}");
    let path = world.path(&format!("device/{home}.json"));
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("kept")).expect("JSON");
    assert_eq!((&kept["homeAddress"], &kept["nai"], &kept["server"]), (&json!(home), &json!("tv@home"), &json!(world.server.mobility)));
    assert_eq!(kept["key"].as_str().map(str::len), Some(64));
    // The same address again: the same key.
    let again = world.json(&["reserve", "--key-file", "key.toml", "--home", home, "--nai", "tv@home"]);
    assert_eq!((&again["homeAddress"], &again["spi"]), (&json!(home), &kept["spi"]));
    for member in ["expiresAt", "server", "deviceFile"] {
        assert!(again[member].is_string(), "{again:#}");
    }
    assert_eq!(again.get("key"), None, "it is in the file");
    // Over the API, and bound in the same command.
    let receiver = Receiver::at(A);
    let output = flowsteer(
        world.folder.path(),
        &[],
        &[
            &["reserve", "--server", &world.server.http, "--mobility-port", world.server.mobility.rsplit(':').next().expect("a port")][..],
            &["--device-dir", "device", "--bind", "--rtp", &receiver.port(), "--json"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let reserved: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&reserved["binding"]["careOf"], &reserved["binding"]["bindingId"]), (&json!(receiver.place()), &json!(1)));
    let _control = world.play(reserved["homeAddress"].as_str().expect("a home address"));
    assert!(receiver.gets_packets());
}

#[test]
fn a_bound_device_plays_and_another_takes_it_over_and_lets_it_go() {
    let world = World::new();
    let (a, b) = (Receiver::at(A), Receiver::at(B));
    let home = world.reserve();
    let line = world.done(&["bind", &home, "--care-of", A, "--rtp", &a.port(), "--lifetime", "120"]);
    assert_eq!(line, format!("bound {home} to {} for 120 s (binding 1)\n", a.place()));
    let bound = world.json(&["bind", &home, "--care-of", A, "--rtp", &a.port()]);
    let rtcp = a.port().parse::<u16>().expect("a port") + 1;
    let expected = json!({"homeAddress": home, "bindingId": 1, "careOf": a.place(), "rtcpPort": rtcp, "lifetimeSeconds": 600});
    assert_eq!(bound, expected);
    let _control = world.play(&home);
    assert!(a.gets_packets());

    let context = world.context(&home, "ctx.json");
    let port: u16 = world.server.mobility.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_eq!(context["media_source"]["signalling"], json!({"udp_port": port, "native": false}));
    assert_eq!((&context["flows"][0]["fid"], &context["flows"][0]["bid"]), (&json!(1), &json!({"previous": 1, "yours": 2})));
    assert_eq!(context["flows"][0]["ports"]["previous"]["rtp"].as_u64(), a.port().parse().ok());

    let mut take = world.spawn(&["take", "ctx.json", "--care-of", B, "--rtp", &b.port(), "--window", "1000", "--sdp", "b.sdp"]);
    assert_eq!(take.line(), format!("video moved to {}, window 1.0 s", b.place()));
    assert!(b.gets_packets());
    world.wait_for_places(&home, &[&b.place()]);
    let sdp = std::fs::read_to_string(world.path("b.sdp")).expect("written");
    assert!(sdp.contains(&format!("c=IN IP4 {B}\r\n")) && sdp.contains(&format!("m=video {} RTP/AVP 96\r\n", b.port())), "{sdp}");
    take.signal(libc::SIGTERM);
    assert_eq!(take.end(), Some(0), "{}", take.told());
    world.wait_for_places(&home, &[]);
    assert_eq!(take.told(), "");
}

#[test]
fn pictures_and_sound_of_a_film_are_taken_together_or_apart() {
    let world = World::new();
    let old = [Receiver::at(A), Receiver::at(A)];
    let transport = |receiver: &Receiver| {
        let port: u16 = receiver.port().parse().expect("a port");
        format!("Transport: RTP/AVP;unicast;client_port={port}-{}\r\n", port + 1)
    };
    // A player that knows nothing of home addresses.
    let _control = world.play_with(&old.each_ref().map(transport));
    assert!(old.iter().all(Receiver::gets_packets));
    let session = world.call("GET", "/api/v1/sessions", None).1;
    let homes: Vec<&str> = (0..2).filter_map(|flow| session[0]["flows"][flow]["homeAddress"].as_str()).collect();
    let context = world.context(homes[0], "ctx.json");
    let previous = context["flows"][0]["bid"]["previous"].as_u64().expect("the player's binding");
    assert!(previous >= 0x8000, "{context:#}");
    let b = Receiver::at(B);
    let port = b.port();
    let sound = ["take", "ctx.json", "--care-of", B, "--window", "0", "--sdp", "b.sdp", "--flow", "audio", "--rtp", &port, "--json"];
    let mut take = world.spawn(&sound);
    assert_eq!(told_place(&mut take), b.place());
    world.wait_for_places(homes[1], &[&b.place()]);
    let sdp = std::fs::read_to_string(world.path("b.sdp")).expect("written");
    assert!(sdp.contains("m=audio ") && !sdp.contains("m=video "), "{sdp}");
    assert_eq!(world.places(homes[0]), [old[0].place()], "the pictures stay");
    take.signal(libc::SIGTERM);
    assert_eq!(take.end(), Some(0), "{}", take.told());
    // Both, the pictures to the first port. Somebody is there: a place where nobody listens would be taken for gone.
    let _there = [29_000, 29_002].map(|port| UdpSocket::bind((B, port)).expect("a port that nothing else here uses"));
    world.context(homes[0], "ctx.json");
    let mut take = world.spawn(&["take", "ctx.json", "--care-of", B, "--rtp", "29000", "--sdp", "b.sdp"]);
    assert_eq!(take.line(), format!("video moved to {B}:29000, window 2.0 s"));
    assert_eq!(take.line(), format!("audio moved to {B}:29002, window 2.0 s"));
    world.wait_for_places(homes[0], &[&format!("{B}:29000")]);
    world.wait_for_places(homes[1], &[&format!("{B}:29002")]);
    let sdp = std::fs::read_to_string(world.path("b.sdp")).expect("written");
    for line in ["m=video 29000 ", "m=audio 29002 ", "a=rtcp:29001\r\n", "a=rtcp:29003\r\n"] {
        assert!(sdp.contains(line), "{line} in {sdp}");
    }
}

#[test]
fn a_player_is_started_with_the_description_and_its_end_is_the_end() {
    let world = World::new();
    let a = Receiver::at(A);
    let (home, _control) = world.playing(&a);
    world.context(&home, "ctx.json");
    let take = ["take", "ctx.json", "--care-of", B, "--window", "0", "--json"];
    let mut appended = world.spawn(&[&take[..], &["--exec", "cp --no-preserve=mode -t ."]].concat());
    let told: Value = serde_json::from_str(&appended.rest()).expect("JSON");
    assert_eq!(appended.end(), Some(0), "{}", appended.told());
    let flow = &told["flows"][0];
    assert_eq!((&flow["media"], &flow["homeAddress"], &flow["bindingId"]), (&json!("video"), &json!(home), &json!(2)));
    assert_eq!((&flow["mode"], &flow["windowMs"]), (&json!("move"), &json!(0)));
    let place = flow["careOf"].as_str().expect("a care-of");
    world.wait_for_places(&home, &[]);
    let names = std::fs::read_dir(world.folder.path()).expect("listed").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let copied: Vec<String> = names.filter(|name| name.ends_with(".sdp")).collect();
    let sdp = std::fs::read_to_string(world.path(&copied[0])).expect("copied");
    assert!(sdp.contains(&format!("m=video {} ", place.rsplit(':').next().expect("a port"))), "{sdp}");
    assert!(!std::env::temp_dir().join(&copied[0]).exists(), "nothing is left behind");
    // A player that runs on is ended.
    let mut placed = world.spawn(&[&take[..], &["--exec", "sh -c 'test -r \"$0\" && exec sleep 60' {}"]].concat());
    let place = told_place(&mut placed);
    let _there = listen_at(&place);
    world.wait_for_places(&home, &[&place]);
    placed.signal(libc::SIGINT);
    assert_eq!(placed.end(), Some(0), "{}", placed.told());
    world.wait_for_places(&home, &[]);
}

/// Where the first flow of a `take --json` goes, once it says so.
fn told_place(take: &mut Running) -> String {
    let mut text = String::new();
    loop {
        text += &take.line();
        if let Ok(told) = serde_json::from_str::<Value>(&text) {
            return told["flows"][0]["careOf"].as_str().expect("a care-of").to_owned();
        }
    }
}

/// Waits until it has said that on standard error, from its beginning on.
#[track_caller]
fn wait_until_told(command: &Running, words: &str) {
    let start = Instant::now();
    while !command.told().starts_with(words) {
        assert!(start.elapsed() < SOON, "{}", command.told());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_take_over_waits_for_the_holder_s_answer() {
    const WAITS: &str = "flowsteer: waiting for the holder's yes, 20 s at most\n";
    let world = World::with("consent = \"ask-holder\"\n");
    let old = [Receiver::at(A), Receiver::at(A)];
    let _control = world.play_with(&old.each_ref().map(|receiver| {
        let port: u16 = receiver.port().parse().expect("a port");
        format!("Transport: RTP/AVP;unicast;client_port={port}-{}\r\n", port + 1)
    }));
    assert!(old.iter().all(Receiver::gets_packets));
    let session = world.call("GET", "/api/v1/sessions", None).1;
    let homes: Vec<&str> = (0..2).filter_map(|flow| session[0]["flows"][flow]["homeAddress"].as_str()).collect();
    let take = ["take", "ctx.json", "--care-of", B, "--window", "0", "--sdp", "b.sdp", "--json"];

    // No: that is why it ends.
    world.context(homes[0], "ctx.json");
    let mut refused = world.spawn(&[&take[..], &["--flow", "audio"]].concat());
    world.answer(1, "no");
    assert_eq!(refused.end(), Some(1), "{}", refused.told());
    assert_eq!(refused.rest(), "");
    wait_until_told(&refused, &format!("{WAITS}flowsteer: no yes has come: "));

    // Nobody waits for who does not wait any more.
    world.context(homes[0], "ctx.json");
    let mut interrupted = world.spawn(&[&take[..], &["--flow", "audio"]].concat());
    wait_until_told(&interrupted, WAITS);
    let start = Instant::now();
    interrupted.signal(libc::SIGINT);
    assert_eq!((interrupted.end(), interrupted.told().as_str()), (Some(0), WAITS));
    // So long it would wait for an answer to its farewell.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(interrupted.rest(), "");
    world.answer(1, "no");
    assert!(old.iter().all(Receiver::gets_packets), "the flows are where they were");

    // Yes, to both flows.
    world.context(homes[0], "ctx.json");
    let mut taken = world.spawn(&take);
    world.answer(2, "yes");
    let mut shown = taken.line();
    while serde_json::from_str::<Value>(&shown).is_err() {
        shown += &taken.line();
    }
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let flows = shown["flows"].as_array().expect("flows");
    let places: Vec<&str> = flows.iter().map(|flow| flow["careOf"].as_str().expect("a care-of")).collect();
    let _there: Vec<UdpSocket> = places.iter().map(|place| listen_at(place)).collect();
    for ((home, flow), place) in homes.iter().zip(flows).zip(places) {
        assert_eq!(flow["homeAddress"], *home);
        world.wait_for_places(home, &[place]);
    }
    // Its standard error may be read later than its output.
    wait_until_told(&taken, WAITS);
    assert_eq!(taken.told(), WAITS, "once");
    taken.signal(libc::SIGTERM);
    assert_eq!(taken.end(), Some(0), "{}", taken.told());
}

#[test]
fn a_fork_leaves_the_old_device_its_flow() {
    let world = World::new();
    let (a, b) = (Receiver::at(A), Receiver::at(B));
    let (home, _control) = world.playing(&a);
    world.context(&home, "ctx.json");
    let mut take = world.spawn(&["take", "ctx.json", "--care-of", B, "--rtp", &b.port(), "--fork"]);
    assert_eq!(take.line(), format!("video also goes to {}", b.place()));
    assert!(a.gets_packets() && b.gets_packets());
    world.wait_for_places(&home, &[&a.place(), &b.place()]);
    // Where the old one has gone meanwhile, the new one has it alone.
    take.signal(libc::SIGINT);
    assert_eq!(take.end(), Some(0));
    world.wait_for_places(&home, &[&a.place()]);
    let (status, _) = world.call("DELETE", &format!("/api/v1/home-addresses/{home}/bindings/1"), None);
    assert_eq!(status, 204);
    let mut take = world.spawn(&["take", "ctx.json", "--care-of", B, "--rtp", &b.port(), "--fork"]);
    assert_eq!(take.line(), format!("video also goes to {}", b.place()));
    world.wait_for_places(&home, &[&b.place()]);
}

#[test]
fn a_device_gives_a_flow_to_one_that_has_proven_where_it_is() {
    let world = World::new();
    let (a, b) = (Receiver::at(A), Receiver::at(B));
    let (home, _control) = world.playing(&a);
    world.context(&home, "ctx.json");
    let line = world.done(&["prove", "--care-of", B]);
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["nonce", index, "token", token] = words[..] else { panic!("{line}") };
    let proof = world.json(&["prove", "--care-of", B]);
    assert_eq!(proof, json!({"careOf": B, "nonceIndex": index.parse::<u16>().expect("a number"), "token": token}));
    let give = ["give", "ctx.json", "--care-of", B, "--nonce-index", index, "--token"];
    let told = world.refused(&[&give[..], &["0123456789abcdef", "--rtp", &b.port()]].concat(), 1);
    assert!(told.contains("(status 146); the token is not one of 127.0.0.2"), "{told}");
    let line = world.done(&[&give[..], &[token, "--rtp", &b.port(), "--window", "0"]].concat());
    assert_eq!(line, format!("video given to {}, window 0.0 s\n", b.place()));
    assert!(b.gets_packets());
    world.wait_for_places(&home, &[&b.place()]);
    let told = world.json(&[&give[..], &[token, "--rtp", &b.port(), "--window", "250"]].concat());
    let flow = &told["flows"][0];
    assert_eq!((&flow["media"], &flow["homeAddress"], &flow["bindingId"]), (&json!("video"), &json!(home), &json!(2)));
    assert_eq!((&flow["careOf"], &flow["mode"], &flow["windowMs"]), (&json!(b.place()), &json!("move"), &json!(250)));
    let elsewhere = ["give", "ctx.json", "--care-of", B, "--nonce-index", index, "--token", token, "--device-dir", "elsewhere"];
    let output = flowsteer(world.folder.path(), &[], &[&elsewhere[..], &["--server", &world.server.mobility]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("only who reserved it can give it"), "{output:?}");
}

#[test]
fn a_proof_is_good_for_the_api() {
    let world = World::new();
    let b = Receiver::at(B);
    let home = world.reserve();
    let proof = world.json(&["prove", "--care-of", B]);
    let body = json!({
        "careOf": b.place(),
        "proof": {"nonceIndex": proof["nonceIndex"], "token": proof["token"]},
    });
    let (status, shown) = world.call("PUT", &format!("/api/v1/home-addresses/{home}/bindings/3"), Some(&body));
    assert_eq!(status, 200, "{shown:#}");
    let wrong = json!({"careOf": "127.0.0.3:5000", "proof": {"nonceIndex": proof["nonceIndex"], "token": proof["token"]}});
    let (status, shown) = world.call("PUT", &format!("/api/v1/home-addresses/{home}/bindings/4"), Some(&wrong));
    assert_eq!(status, 409, "{shown:#}");
}

#[test]
fn a_device_roams_to_another_of_its_addresses_and_back() {
    let world = World::new();
    let (a, b) = (Receiver::at(A), Receiver::at(B));
    let (home, _control) = world.playing(&a);
    let line = world.done(&["roam", &home, "--care-of", B, "--rtp", &b.port(), "--window", "500"]);
    assert_eq!(line, format!("{home} roams to {} (binding 2), window 0.5 s\n", b.place()));
    assert!(b.gets_packets());
    world.wait_for_places(&home, &[&b.place()]);
    // The old binding has no flow now, and its number is not free all the same.
    let context = world.context(&home, "ctx.json");
    assert_eq!(context["flows"][0]["bid"], json!({"previous": 2, "yours": 3}));
    // Back with a number that is known, and on with the same number at another address.
    let back = world.json(&["roam", &home, "--care-of", A, "--rtp", &a.port(), "--bid", "1", "--window", "0"]);
    assert_eq!((&back["bindingId"], &back["careOf"], &back["windowMs"]), (&json!(1), &json!(a.place()), &json!(0)));
    world.wait_for_places(&home, &[&a.place()]);
    world.done(&["roam", &home, "--care-of", B, "--rtp", &b.port(), "--bid", "1"]);
    world.wait_for_places(&home, &[&b.place()]);
    assert!(b.gets_packets());
}

#[test]
fn a_binding_that_stays_is_ended_when_it_is_interrupted() {
    let world = World::new();
    let a = Receiver::at(A);
    let home = world.reserve();
    let mut bind = world.spawn(&["bind", &home, "--care-of", A, "--rtp", &a.port(), "--stay", "--lifetime", "8", "--expect", "video"]);
    assert_eq!(bind.line(), format!("bound {home} to {} for 8 s (binding 1)", a.place()));
    let _control = world.play(&home);
    assert!(a.gets_packets());
    // Twice its lifetime later it is there.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(16) {
        assert_eq!(world.places(&home), [a.place()]);
        std::thread::sleep(Duration::from_millis(200));
    }
    bind.signal(libc::SIGINT);
    assert_eq!(bind.end(), Some(0), "{}", bind.told());
    world.wait_for_places(&home, &[]);
}

#[test]
fn a_context_travels_apart_from_its_keys() {
    let world = World::new();
    let (a, b) = (Receiver::at(A), Receiver::at(B));
    let (home, _control) = world.playing(&a);
    let operate = |arguments: &[&str]| {
        let output = flowsteer(world.folder.path(), &[], &[arguments, &["--server", &world.server.http]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(operate(&["context", &home]).starts_with("rtsp://"), "a pipe gets the URL");
    assert_eq!(operate(&["context", &home, "--output", "whole.json"]), "");
    assert_eq!(mode(&world.path("whole.json")), 0o600);
    let keyless = operate(&["context", &home, "--keyless", "--keys", "keys.json"]);
    std::fs::write(world.path("keyless.json"), &keyless).expect("written");
    assert!(!keyless.contains("session_key") && mode(&world.path("keys.json")) == 0o600);
    let told = world.refused(&["take", "keyless.json", "--care-of", B], 1);
    assert!(told.contains("its keys are in a file of their own"), "{told}");
    let told = world.refused(&["take", "whole.json", "--keys", "keys.json", "--care-of", B], 1);
    assert!(told.contains("the keys are of transfer"), "{told}");
    let mut take = world.spawn(&["take", "keyless.json", "--keys", "keys.json", "--care-of", B, "--rtp", &b.port()]);
    assert!(take.line().starts_with("video moved to"), "{}", take.told());
}

#[test]
fn key_files_that_are_none_are_told() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.path(name), text).expect("written");
    write("none.toml", "");
    write("two.toml", &(key_entry(0x200, "tv@home", "07") + &key_entry(0x201, "pad@home", "08")));
    write("short.toml", "[[mobility.keys]]\nspi = \"0x200\"\nnai = \"tv@home\"\nkey = \"07\"\n");
    write("wrong.toml", &key_entry(0x200, "tv@home", "09"));
    for (arguments, expected) in [
        (&["--key-file", "absent.toml"][..], "absent.toml: No such file"),
        (&["--key-file", "none.toml"], "none.toml has no [[mobility.keys]] entry: `flowsteer keygen` makes one"),
        (&["--key-file", "two.toml"], "choose one with --nai, of tv@home, pad@home"),
        (&["--key-file", "two.toml", "--nai", "x"], "two.toml has no key of x, only of tv@home, pad@home"),
        (&["--key-file", "short.toml"], "short.toml:4: mobility.keys.key: has 2 hex digits, a key has 64"),
    ] {
        let told = world.refused(&[&["reserve"], arguments].concat(), 1);
        assert!(told.contains(expected), "{told}");
    }
    world.done(&["reserve", "--key-file", "two.toml", "--nai", "tv@home"]);
    // An answer to a wrong key cannot be told from one that somebody made up.
    let told = world.refused(&["reserve", "--key-file", "wrong.toml"], 1);
    assert!(told.contains("no answer came from") && told.contains("look at the key"), "{told}");
}

#[test]
fn refusals_say_what_to_do() {
    let world = World::new();
    let a = Receiver::at(A);
    let told = world.refused(&["bind", "fd00:f10::1"], 1);
    assert!(told.contains("this device has no key of fd00:f10::1") && told.contains("`flowsteer reserve` makes one"), "{told}");
    let told = world.refused(&["reserve", "--key-file", "key.toml", "--home", "2001:db8::9"], 1);
    assert!(told.contains("home address not of the pool (status 132); the address is not the server's to give"), "{told}");
    let (home, _control) = world.playing(&a);
    let told = world.refused(&["bind", &home, "--care-of", "192.0.2.77"], 1);
    assert!(told.contains("this device has no address 192.0.2.77"), "{told}");
    let told = world.refused(&["bind", &home, "--care-of", "::1"], 1);
    assert!(told.contains("::1 cannot reach 127.0.0.1:"), "{told}");
    let told = world.refused(&["bind", &home, "--bid", "0"], 2);
    assert!(told.contains("a binding is 1 to 65535"), "{told}");
    let told = world.refused(&["take", "absent.json"], 1);
    assert!(told.contains("absent.json: No such file"), "{told}");
    std::fs::write(world.path("other.json"), "{\"version\": 1}").expect("written");
    let told = world.refused(&["take", "other.json"], 1);
    assert!(told.contains("no stream context: missing field"), "{told}");

    // A key that was revoked, a binding that is another's, and a context bound to somebody.
    let mut context = world.context(&home, "ctx.json");
    let spi = context["flows"][0]["authorization"]["spi"].as_str().expect("an SPI").to_owned();
    context["flows"][0]["bid"]["yours"] = json!(1);
    std::fs::write(world.path("mine.json"), context.to_string()).expect("written");
    let told = world.refused(&["take", "mine.json", "--care-of", B], 1);
    assert!(told.contains("not permitted (status 129)"), "{told}");
    let (status, _) = world.call("DELETE", &format!("/api/v1/home-addresses/{home}/keys/{spi}"), None);
    assert_eq!(status, 204);
    let told = world.refused(&["take", "ctx.json", "--care-of", B], 1);
    assert!(told.contains("(status 151); ask the device that gave the context for a new one"), "{told}");
    let told = world.refused(&["take", "ctx.json", "--care-of", B, "--flow", "audio"], 1);
    assert!(told.contains("the context has no audio flow"), "{told}");
    let output = flowsteer(
        world.folder.path(),
        &[],
        &["context", &home, "--identity", "tv@home", "--output", "bound.json", "--server", &world.server.http],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = world.refused(&["take", "bound.json", "--care-of", B, "--identity", "pad@home"], 1);
    assert!(told.contains("the context is bound to tv@home, not to pad@home"), "{told}");
    let mut take = world.spawn(&["take", "bound.json", "--care-of", B, "--identity", "tv@home"]);
    assert!(take.line().starts_with("video moved to"), "{}", take.told());
}
