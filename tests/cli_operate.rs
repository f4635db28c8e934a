//! The operating commands against a running server, both the built binary: what plays is moved, forked, handed over and ended by home
//! address, by name and by session.

mod cli_server;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use cli_server::{SOON, Server, flowsteer};
use serde_json::Value;

/// A player with two UDP port pairs.
struct Player {
    reader: BufReader<TcpStream>,
    session: Option<String>,
    sockets: Vec<UdpSocket>,
}

impl Player {
    /// Plays both tracks of a URL.
    fn play(server: &Server, path: &str) -> Self {
        let stream = TcpStream::connect(server.rtsp.strip_prefix("rtsp://").expect("a URL")).expect("the server listens");
        stream.set_read_timeout(Some(SOON)).expect("possible");
        let mut player = Self { reader: BufReader::new(stream), session: None, sockets: receivers(2) };
        let url = format!("{}/{path}", server.rtsp);
        for track in 0..2 {
            let port = player.sockets[track].local_addr().expect("bound").port();
            let transport = format!("Transport: RTP/AVP;unicast;client_port={port}-{}\r\n", port + 1);
            player.ask(&format!("SETUP {url}/trackID={track}"), &transport);
        }
        player.ask(&format!("PLAY {url}/"), "");
        assert!(player.sockets.iter().all(arrives), "it plays");
        player
    }

    #[track_caller]
    fn ask(&mut self, line: &str, headers: &str) {
        let session = self.session.as_ref().map_or_else(String::new, |session| format!("Session: {session}\r\n"));
        write!(self.reader.get_mut(), "{line} RTSP/1.0\r\nCSeq: 1\r\n{session}{headers}\r\n").expect("sent");
        let mut status = String::new();
        self.reader.read_line(&mut status).expect("an answer");
        assert!(status.starts_with("RTSP/1.0 200"), "{line}: {status}");
        loop {
            let mut header = String::new();
            self.reader.read_line(&mut header).expect("a header");
            if header == "\r\n" {
                return;
            }
            if let Some(session) = header.strip_prefix("Session: ") {
                self.session = session.trim().split(';').next().map(str::to_owned);
            }
        }
    }
}

/// Sockets whose ports are even and two apart, as a session is moved to them.
fn receivers(count: u16) -> Vec<UdpSocket> {
    for base in (20_000..30_000).step_by(2 * usize::from(count)) {
        let sockets: Result<Vec<_>, _> = (0..count).map(|index| UdpSocket::bind(("127.0.0.1", base + 2 * index))).collect();
        if let Ok(sockets) = sockets {
            sockets.iter().for_each(|socket| socket.set_read_timeout(Some(SOON)).expect("possible"));
            return sockets;
        }
    }
    panic!("no free ports");
}

/// Whether an RTP packet comes.
fn arrives(socket: &UdpSocket) -> bool {
    let mut packet = [0; 2048];
    socket.recv(&mut packet).is_ok_and(|count| count > 12 && packet[0] >> 6 == 2)
}

fn operate(server: &Server, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    flowsteer(folder.path(), &[], &[arguments, &["--server", &server.http]].concat())
}

#[track_caller]
fn done(server: &Server, arguments: &[&str]) -> String {
    let output = operate(server, arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(server, &[arguments, &["--json"]].concat())).expect("JSON")
}

#[track_caller]
fn refused(server: &Server, arguments: &[&str], status: i32) -> String {
    let output = operate(server, arguments);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn start(config: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), config).expect("written");
    (Server::start(folder.path()), folder)
}

/// The only session, and the home addresses of its flows.
#[track_caller]
fn session(server: &Server) -> (String, Vec<String>) {
    let sessions = json(server, &["sessions"]);
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions:#}");
    let flows = sessions[0]["flows"].as_array().expect("flows");
    let homes = flows.iter().map(|flow| flow["homeAddress"].as_str().expect("a home address").to_owned()).collect();
    (sessions[0]["id"].as_str().expect("an id").to_owned(), homes)
}

/// Where the flows of the only session go, without what is leaving.
fn places(server: &Server) -> Vec<Vec<String>> {
    let sessions = json(server, &["sessions"]);
    let current = |flow: &Value| {
        let branches = flow["branches"].as_array().expect("branches").iter().filter(|branch| branch["state"] != "leaving");
        branches.map(|branch| branch["careOf"].as_str().expect("a care-of").to_owned()).collect()
    };
    sessions[0]["flows"].as_array().expect("flows").iter().map(current).collect()
}

#[test]
fn a_session_is_moved_forked_and_ended_with_all_its_flows() {
    let (server, _folder) = start("");
    let _player = Player::play(&server, "countdown.mp4");
    let (id, homes) = session(&server);

    let there = receivers(2);
    let to = there[0].local_addr().expect("bound").to_string();
    let next = there[1].local_addr().expect("bound").to_string();
    let text = done(&server, &["move", &id, &to, "--window", "0"]);
    assert_eq!(text, format!("video {} goes to {to}\naudio {} goes to {next}\n", homes[0], homes[1]));
    assert!(there.iter().all(arrives), "both flows arrive");
    assert_eq!(places(&server), [vec![to.clone()], vec![next.clone()]]);

    let beside = receivers(2);
    let also: Vec<String> = beside.iter().map(|socket| socket.local_addr().expect("bound").to_string()).collect();
    let answer = json(&server, &["fork", &id, &also[0], "--binding", "2"]);
    let forked: Vec<&str> = answer.as_array().expect("an array").iter().filter_map(|home| home["homeAddress"].as_str()).collect();
    assert_eq!(forked, homes);
    assert!(beside.iter().all(arrives), "both flows arrive there too");
    assert_eq!(places(&server), [vec![to, also[0].clone()], vec![next, also[1].clone()]]);

    let url = done(&server, &["context", &id]);
    assert!(url.starts_with("rtsp://") && url.contains(&format!("/home/{}/all?key=", homes[0])), "{url}");
    let context = json(&server, &["context", &id]);
    assert_eq!(context["context"]["flows"].as_array().map(Vec::len), Some(2));

    assert_eq!(done(&server, &["release", &id]), format!("session {id} has ended\n"));
    server.wait("it has ended", |_| done(&server, &["sessions"]) == "nothing plays\n");
}

#[test]
fn one_flow_is_named_by_its_home_address_or_its_name() {
    let (server, _folder) = start("[[home]]\nname = \"wall\"\ntitle = \"countdown.mp4\"\n");
    let _player = Player::play(&server, "home/wall");
    let (_, homes) = session(&server);
    let there = receivers(2);
    let to = there[0].local_addr().expect("bound").to_string();
    let next = there[1].local_addr().expect("bound").to_string();
    assert_eq!(done(&server, &["move", "wall", &to, "--window", "0"]), format!("wall goes to {to}\n"));
    assert_eq!(done(&server, &["move", &homes[1], &next, "--window", "0"]), format!("{} goes to {next}\n", homes[1]));
    assert!(there.iter().all(arrives), "both flows arrive");
    assert_eq!(places(&server), [[to], [next]]);
    assert!(done(&server, &["context", "wall", "--flow"]).contains(&format!("/home/{}?key=", homes[0])));
    assert_eq!(json(&server, &["release", "wall"]), serde_json::json!({ "released": "wall" }));
    server.wait("it has ended", |_| done(&server, &["sessions"]) == "nothing plays\n");
}

#[test]
fn refusals_say_what_to_do() {
    let (server, _folder) = start("");
    let _player = Player::play(&server, "countdown.mp4");
    let (id, homes) = session(&server);
    let before = places(&server);
    for unknown in ["0123456789abcdef", "wall", "fd00::1"] {
        for command in [&["move", unknown, "127.0.0.1:5000"][..], &["release", unknown]] {
            let told = refused(&server, command, 1);
            let expected =
                format!("flowsteer: the server knows no home address, name or session {unknown}; `flowsteer sessions` lists what plays\n");
            assert_eq!(told, expected, "{command:?}");
        }
    }
    assert!(refused(&server, &["context", "wall"], 1).contains("no home address, name or session wall;"));
    assert!(refused(&server, &["context", "fd00::1"], 1).contains("nothing plays to this home address"));
    let unproven = refused(&server, &["move", &id, "192.0.2.9:5000"], 1);
    assert!(unproven.contains("(409)") && unproven.contains("steering.trusted_care_of"), "{unproven}");
    let two = format!("session {id} has 2: name one of {} (video), {} (audio)", homes[0], homes[1]);
    assert!(refused(&server, &["move", &id, "127.0.0.1:5000", "--rtcp", "6000"], 1).contains(&two));
    assert!(refused(&server, &["context", &id, "--flow"], 1).contains(&two));
    assert!(refused(&server, &["fork", &id, "127.0.0.1:65534"], 1).contains("no room for 2 flows"));
    let told = refused(&server, &["move", &id, "here"], 2);
    assert!(told.contains("an address with a port, as 192.0.2.1:5000 or [2001:db8::1]:5000"), "{told}");
    assert_eq!(places(&server), before, "nothing has moved");
    let token = refused(&server, &["sessions", "--token", "wrong"], 1);
    assert!(token.contains("(401)") && token.contains("--token"), "{token}");
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = flowsteer(folder.path(), &[], &["sessions", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&nobody.stderr).lines().count(), 1, "{nobody:?}");
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no server answers at http://127.0.0.1:1"), "{nobody:?}");
}

/// A command of that operator, with that password if it is one.
fn operate_as(server: &Server, user: &str, password: Option<&str>, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let environment: Vec<(&str, &str)> = password.map(|password| ("FLOWSTEER_PASSWORD", password)).into_iter().collect();
    flowsteer(folder.path(), &environment, &[arguments, &["--user", user, "--server", &server.http]].concat())
}

#[test]
fn an_operator_signs_in_for_each_command() {
    const OLGA: &str = "[[users]]\nname = \"olga\"\npassword = \"s3cret\"\nroles = [\"operator\"]\n";
    const ANNA: &str = "[[users]]\nname = \"anna\"\npassword = \"secret\"\nroles = [\"viewer\"]\n";
    let (server, _folder) = start(&format!("{OLGA}{ANNA}[[access]]\npath = \"*\"\nanyone = true\n"));
    let _player = Player::play(&server, "countdown.mp4");
    let without = refused(&server, &["sessions"], 1);
    assert!(without.contains("(401)") && without.contains("--user signs an operator in"), "{without}");

    let as_olga = |arguments: &[&str]| {
        let output = operate_as(&server, "olga", Some("s3cret"), arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let sessions: Value = serde_json::from_str(&as_olga(&["sessions", "--json"])).expect("JSON");
    let id = sessions[0]["id"].as_str().expect("an id");
    // Reads, and what changes something.
    let there = receivers(2);
    as_olga(&["move", id, &there[0].local_addr().expect("bound").to_string(), "--window", "0"]);
    assert!(there.iter().all(arrives), "both flows arrive");
    assert_eq!(as_olga(&["release", id]), format!("session {id} has ended\n"));
    let reserved = as_olga(&["reserve", "--device-dir", "device"]);
    assert!(reserved.starts_with("reserved "), "{reserved}");

    let refused_as = |user: &str, password: Option<&str>, arguments: &[&str]| {
        let output = operate_as(&server, user, password, arguments);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let wrong = refused_as("olga", Some("secret"), &["sessions"]);
    assert_eq!(wrong, "flowsteer: --user olga: the server refuses (401): wrong user or password\n");
    let viewer = refused_as("anna", Some("secret"), &["sessions"]);
    assert_eq!(viewer, "flowsteer: --user anna: the server refuses (403): only users with the role operator log in here\n");
    assert!(refused_as("olga", None, &["sessions"]).contains("FLOWSTEER_PASSWORD is the password of olga"));
    assert!(refused_as("olga", Some("s3cret"), &["sessions", "--token", "x"]).contains("take one"));

    // At a terminal, which shows nothing of it.
    let typed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/password_terminal.py");
    let program = ["--", env!("CARGO_BIN_EXE_flowsteer"), "sessions", "--user", "olga", "--server", &server.http];
    for (password, is_right, told) in [("s3cret", true, "nothing plays"), ("secret", false, "wrong user or password"), ("^C", false, "")] {
        let mut command = Command::new("python3");
        let output = command.arg(&typed).arg(password).args(program).env_remove("FLOWSTEER_PASSWORD").output().expect("python3 runs");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), is_right, "{output:?}");
        assert!(shown.contains("Password of olga: ") && shown.contains(told) && !shown.contains(password), "{shown}");
        assert!(shown.ends_with("(it shows what is typed)\n"), "{shown}");
    }

    // Each login has ended with its command, and no password is written down.
    let told = |log: &[String], words: &str| log.iter().filter(|line| line.contains(words)).count();
    server.wait("five logins, and their ends", |log| told(log, "logged in") == 5 && told(log, "logged out") == 5);
    assert!(!server.log.lock().expect("pushing does not panic").concat().contains("s3cret"));
}
