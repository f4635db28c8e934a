//! Keys of the signalling in a running server, on loopback: read again without touching what is bound, revoked for every
//! carriage at once, and never shown.

mod cli_server;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output, Stdio};

use cli_server::{Server, flowsteer};
use serde_json::{Value, json};

struct World {
    server: Server,
    folder: tempfile::TempDir,
}

fn entry(spi: u32, nai: &str, digit: &str) -> String {
    format!("[[mobility.keys]]\nspi = {spi:#x}\nnai = \"{nai}\"\nkey = \"{}\"\n", digit.repeat(64))
}

impl World {
    fn new(keys: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), keys);
        Self { server: Server::start(folder.path()), folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        flowsteer(self.folder.path(), &[], &[arguments, &["--server", &self.server.mobility, "--device-dir", "device"]].concat())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    fn call(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let address = self.server.http.strip_prefix("http://").expect("a URL");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    fn state(&self, home: &str) -> Value {
        serde_json::from_str::<Value>(&self.call("GET", &format!("/api/v1/home-addresses/{home}"), "").1).expect("JSON")
    }

    /// A home address, bound to a port where somebody is, with a film that plays there.
    fn playing(&self) -> (String, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = receiver.local_addr().expect("bound").port().to_string();
        let reserved = self.done(&["reserve", "--key-file", "f.toml", "--nai", "phone@home"]);
        let home = reserved["homeAddress"].as_str().expect("an address").to_owned();
        self.done(&["bind", &home, "--care-of", "127.0.0.1", "--rtp", &port, "--rtcp", &port]);
        let (status, told) = self.call("POST", "/api/v1/sessions", &json!({ "title": "countdown.mp4", "home": home }).to_string());
        assert_eq!(status, 201, "{told}");
        (home, receiver)
    }

    /// What a take-over URL gets.
    fn describe(&self, url: &str) -> u16 {
        let address = self.server.rtsp.strip_prefix("rtsp://").expect("a URL");
        let path = url.strip_prefix("rtsp://").and_then(|rest| rest.split_once('/')).expect("a path").1;
        let mut stream = TcpStream::connect(address).expect("the server listens");
        write!(stream, "DESCRIBE {}/{path} RTSP/1.0\r\nCSeq: 1\r\n\r\n", self.server.rtsp).expect("sent");
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("an answer");
        String::from_utf8_lossy(&start[9..]).parse().expect("a status")
    }
}

fn write(folder: &std::path::Path, keys: &[String]) {
    let log = "[log]\nlevel = \"trace\"\n[steering]\nhome_prefix = \"fd00:f10::/64\"\n";
    std::fs::write(folder.join("f.toml"), format!("{log}{}", keys.concat())).expect("written");
}

#[test]
fn keys_are_read_again_and_what_is_bound_stays_bound() {
    let phone = entry(0x200, "phone@home", "5");
    let world = World::new(std::slice::from_ref(&phone));
    let (home, receiver) = world.playing();
    write(world.folder.path(), &[phone.clone(), entry(0x201, "tv@home", "6")]);
    world.server.hang_up();
    world.server.wait("the key is known", |log| log.iter().any(|line| line.contains("mobility.keys changed")));
    let other = world.done(&["reserve", "--key-file", "f.toml", "--nai", "tv@home"]);
    assert_ne!(other["homeAddress"], json!(home));
    // Without the first key its home address and binding go on all the same, by K1.
    write(world.folder.path(), &[entry(0x201, "tv@home", "6")]);
    world.server.hang_up();
    world.server.wait("it changed again", |log| log.iter().filter(|line| line.contains("mobility.keys changed")).count() == 2);
    assert_eq!(world.state(&home)["state"], "flowing");
    let port = receiver.local_addr().expect("bound").port().to_string();
    world.done(&["bind", &home, "--care-of", "127.0.0.1", "--rtp", &port, "--rtcp", &port]);
}

#[test]
fn what_is_revoked_is_refused_by_every_carriage() {
    let world = World::new(&[entry(0x200, "phone@home", "5")]);
    let (home, _receiver) = world.playing();
    let (status, told) = world.call("POST", &format!("/api/v1/home-addresses/{home}/context"), "{}");
    assert_eq!(status, 200, "{told}");
    std::fs::write(world.folder.path().join("ctx.json"), &told).expect("written");
    let envelope: Value = serde_json::from_str(&told).expect("JSON");
    let url = envelope["takeoverUrl"].as_str().expect("a URL");
    assert_eq!(world.describe(url), 200);
    assert_eq!(world.call("DELETE", &format!("/api/v1/home-addresses/{home}/keys"), "").0, 204);
    assert_eq!(world.describe(url), 401, "RTSP");
    let refused = world.refused(&["take", "ctx.json", "--care-of", "127.0.0.2", "--rtp", "6000"]);
    assert!(refused.contains("(status 151)") && refused.contains("for a new one"), "the signalling: {refused}");
    let places: Vec<Value> = world.state(&home)["flow"]["branches"].as_array().cloned().unwrap_or_default();
    assert_eq!(places.len(), 1, "nothing has moved: {places:?}");
}

#[test]
fn keys_are_in_no_log_and_no_answer() {
    let world = World::new(&[entry(0x200, "phone@home", "5")]);
    let (home, _receiver) = world.playing();
    let context: Value =
        serde_json::from_str(&world.call("POST", &format!("/api/v1/home-addresses/{home}/context"), "{}").1).expect("JSON");
    let second = context["context"]["flows"][0]["authorization"]["session_key"].as_str().expect("a key").to_owned();
    std::fs::write(world.folder.path().join("ctx.json"), context.to_string()).expect("written");
    let mut take = cli_server::Running::start(
        world.folder.path(),
        &["take", "ctx.json", "--server", &world.server.mobility, "--care-of", "127.0.0.2", "--rtp", "6000"],
    );
    assert!(take.line().contains("moved to"), "{}", take.told());
    world.server.wait("the log tells all that it can", |log| log.iter().any(|line| line.contains("DEBUG") && line.contains("Moving")));
    let file = std::fs::read_dir(world.folder.path().join("device")).expect("a folder").next().expect("a file").expect("readable");
    let device: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).expect("text")).expect("JSON");
    let keys: Vec<String> = hex_texts(&device).into_iter().chain([second, "5".repeat(64)]).collect();
    assert!(keys.len() >= 3, "K1, K2 and the provisioned key are looked for");
    let shown = [
        world.state(&home).to_string(),
        world.call("GET", "/api/v1/home-addresses", "").1,
        world.call("GET", "/api/v1/sessions", "").1,
        world.call("GET", "/metrics", "").1,
        take.told(),
        world.server.log.lock().expect("pushing does not panic").join("\n"),
    ];
    for key in &keys {
        let octets: Vec<u8> =
            key.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("digits"), 16).expect("hex")).collect();
        let listed = octets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        for text in &shown {
            let lower = text.to_lowercase();
            assert!(!lower.contains(&key.to_lowercase()) && !lower.contains(&listed), "a key is shown in {text}");
        }
    }
}

#[test]
fn what_the_signalling_counts_is_in_the_metrics() {
    let world = World::new(&[entry(0x200, "phone@home", "5")]);
    world.playing();
    let noise = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mobility: std::net::SocketAddr = world.server.mobility.parse().expect("an address");
    for datagram in [&[0xff; 40][..], &[59, 2, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        noise.send_to(datagram, (std::net::Ipv4Addr::LOCALHOST, mobility.port())).expect("sent");
    }
    let start = std::time::Instant::now();
    // A device that waits for an answer for a second asks again.
    let wanted = [
        ("flowsteer_mobility_total{event=\"tx_cot\"} ", 1..=3_u64),
        ("flowsteer_mobility_total{event=\"rx_malformed\"} ", 1..=1),
        ("flowsteer_mobility_total{event=\"rx_unexpected\"} ", 1..=1),
        ("flowsteer_binding_updates_total{status=\"accepted\"} ", 2..=6),
    ];
    loop {
        let shown = world.call("GET", "/metrics", "").1;
        let count = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        let wrong: Vec<_> = wanted.iter().filter(|one| count(one.0).is_none_or(|count| !one.1.contains(&count))).collect();
        if wrong.is_empty() {
            break;
        }
        assert!(start.elapsed() < cli_server::SOON, "{wrong:?} in {shown}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The owner of what the system shows of a process: root, where the process may not be looked into.
fn shown_owner(id: u32) -> u32 {
    std::fs::metadata(format!("/proc/{id}/environ")).expect("Linux").uid()
}

#[test]
fn the_memory_of_the_server_is_not_to_be_read_by_others_of_its_user() {
    const NOBODY: &str = "65534";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    // Where everybody may run it. Copied by another process: what this one has open to be written, those that other tests start meanwhile
    // have, too, and so long nobody can run it.
    let binary = folder.path().join("flowsteer");
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_flowsteer")).arg(&binary).status().expect("cp runs").success());
    let is_root = folder.path().metadata().expect("there").uid() == 0;
    let as_user = |program: &std::ffi::OsStr| {
        let mut command = Command::new(if is_root { "setpriv".as_ref() } else { program });
        if is_root {
            command.args(["--reuid", NOBODY, "--clear-groups"]).arg(program);
        }
        command
    };
    let mut other = as_user("sleep".as_ref()).arg("60").spawn().expect("it starts");
    let start = std::time::Instant::now();
    while shown_owner(other.id()) == 0 {
        assert!(start.elapsed() < cli_server::SOON, "a process of that user is shown as its own");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut server = as_user(binary.as_os_str());
    server.arg("serve").arg(folder.path()).args(["--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mobility", "127.0.0.1:0"]);
    server.args(["--rtp-port", "0", "--state", "none"]).current_dir(folder.path()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("it starts");
    let lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "it starts");
    let owner = shown_owner(server.id());
    for child in [&mut other, &mut server] {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(owner, 0, "it cannot be dumped");
}

/// Every text of 64 hex digits in a value: what may be a key.
fn hex_texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if text.len() == 64 && text.bytes().all(|octet| octet.is_ascii_hexdigit()) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(hex_texts).collect(),
        Value::Object(all) => all.values().flat_map(hex_texts).collect(),
        _ => Vec::new(),
    }
}
