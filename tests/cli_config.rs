//! The configuration as the command line shows it, refuses it and rereads it: the built binary with files, variables and flags.

mod cli_server;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use cli_server::{Running, SOON, Server, flowsteer, replace};
use serde_json::Value;

fn lines(octets: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(octets).lines().map(str::to_owned).collect()
}

#[test]
fn check_prints_each_key_with_its_value_and_where_it_is_from() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), "[rtp]\nmtu = 1200\n[[home]]\nname = \"wall\"\n").expect("written");
    let environment = [("FLOWSTEER_RTP_DSCP_VIDEO", "34"), ("FLOWSTEER_RTP_PROT", "1")];
    let output = flowsteer(folder.path(), &environment, &["check", "films", "--config", "f.toml", "--rtsp", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = lines(&output.stdout);
    for line in [
        "path = \"films\"  # MEDIA",
        "mtu = 1200  # f.toml:2",
        "dscp_video = 34  # FLOWSTEER_RTP_DSCP_VIDEO",
        "listen = \"127.0.0.1:0\"  # --rtsp",
        "port = 8000  # default",
        "[[home]]  # f.toml:3",
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line}: {shown:#?}");
    }
    let told = lines(&output.stderr);
    assert_eq!(told, ["flowsteer: warning: FLOWSTEER_RTP_PROT: no such setting, did you mean FLOWSTEER_RTP_PORT?"]);
}

#[test]
fn check_and_serve_tell_all_errors_and_end_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f.toml"), "[rtp]\nport = 8001\nmut = 3\n[lgo]\nlevel = \"x\"\n").expect("written");
    for command in ["check", "serve"] {
        let output = flowsteer(folder.path(), &[("FLOWSTEER_RTSP_LISTEN", "here")], &[command, "--config", "f.toml", "--transition", "x"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(
            lines(&output.stderr),
            [
                "flowsteer: f.toml:2: rtp.port: RTP takes an even port, RTCP the next one",
                "flowsteer: f.toml:3: rtp.mut: no such key, did you mean rtp.mtu?",
                "flowsteer: f.toml:4: lgo: no such key, did you mean log?",
                "flowsteer: FLOWSTEER_RTSP_LISTEN: rtsp.listen: invalid socket address syntax",
                "flowsteer: --transition: steering.transition_ms: invalid type: string \"x\", expected u64",
            ],
            "{command}"
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let default = flowsteer(folder.path(), &[], &["check"]);
    assert!(lines(&default.stdout).iter().any(|line| line == "path = \"./media\"  # default"), "{default:?}");
    let missing = flowsteer(folder.path(), &[], &["check", "--config", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(lines(&missing.stderr)[0].starts_with("flowsteer: missing.toml: "), "{missing:?}");
}

#[test]
fn what_a_command_line_cannot_mean_ends_with_2_before_anything_is_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("context.json"), "{}").expect("written");
    let give = ["give", "context.json", "--care-of", "127.0.0.1", "--nonce-index", "1"];
    for (arguments, because) in [
        (&["titles", "--server", "127.0.0.1:1"][..], "--server 127.0.0.1:1: not an http:// or https:// URL"),
        (&["sessions", "--server", "ftp://127.0.0.1:1"], "--server ftp://127.0.0.1:1: not an http:// or https:// URL"),
        (&["release", "fd00::1", "--server", "http://127.0.0.1:1/api"], "a host and its port, and nothing else"),
        (&["move", "fd00::1", "127.0.0.1:5000", "--server", "https://127.0.0.1:1"], "an https:// server needs --ca"),
        (&["reserve", "--server", "127.0.0.1"], "--server is its URL, as http://127.0.0.1:8080"),
        (&["reserve", "--server", "::1"], "--server is its URL, as http://[::1]:8080"),
        (&["prove", "--server", "127.0.0.1:port"], "--server 127.0.0.1:port: \"port\" is no port"),
        (&give, "--token is missing"),
        (&[&give[..], &["--token", "0a"]].concat(), "--token: 16 hex digits"),
        (&["cert", "--name", "no host"], "a name or an address of a host"),
    ] {
        let refused = flowsteer(folder.path(), &[], arguments);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && told.contains(because), "{arguments:?}: {refused:?}");
    }
    // What is there in vain is a failure.
    let ca = flowsteer(folder.path(), &[], &["titles", "--server", "https://127.0.0.1:1", "--ca", "missing.pem"]);
    assert_eq!(ca.status.code(), Some(1), "{ca:?}");
}

#[test]
fn keygen_prints_an_entry_that_the_configuration_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = flowsteer(folder.path(), &[], &["keygen"]);
    assert_eq!(plain.status.code(), Some(0), "{plain:?}");
    let named = flowsteer(folder.path(), &[], &["keygen", "--nai", "tv@example", "--spi", "0x1234", "--key-file", "tv.key"]);
    assert_eq!(named.status.code(), Some(0), "{named:?}");
    let file = folder.path().join("tv.key");
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).expect("text");
    assert_eq!(secret.trim().len(), 64);
    let entry = String::from_utf8_lossy(&named.stdout).into_owned();
    assert!(!entry.contains(secret.trim()) && entry.contains("spi = \"0x1234\"\nnai = \"tv@example\"\nkey_file = "), "{entry}");

    // From another folder than the key's: the entry still finds it.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let both = format!("{}\n{entry}", String::from_utf8_lossy(&plain.stdout));
    std::fs::write(elsewhere.path().join("f.toml"), both).expect("written");
    let checked = flowsteer(elsewhere.path(), &[], &["check", "--config", "f.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let shown = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(shown.matches("[[mobility.keys]]").count(), 2);
    let random = String::from_utf8_lossy(&plain.stdout).lines().find_map(|line| Some(line.strip_prefix("key = \"")?[..64].to_owned()));
    assert!(!shown.contains(secret.trim()) && !shown.contains(&random.expect("a key")), "{shown}");

    let again = flowsteer(folder.path(), &[], &["keygen", "--key-file", "tv.key"]);
    assert_eq!(again.status.code(), Some(1), "a key that is there is left alone: {again:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("text"), secret);
    for wrong in [["--spi", "255"], ["--spi", "0x80000000"], ["--nai", " "]] {
        assert_eq!(flowsteer(folder.path(), &[], &["keygen", wrong[0], wrong[1]]).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_hang_up_takes_over_names_and_keys_and_names_what_needs_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[[home]]\nname = \"wall\"\ntitle = \"short.mp4\"\n").expect("written");
    let server = Server::start(folder.path());
    assert_eq!((server.describe("home/wall"), server.describe("home/tv")), (200, 404));

    let key = flowsteer(folder.path(), &[], &["keygen", "--nai", "tv@example"]).stdout;
    let entry = String::from_utf8_lossy(&key).into_owned();
    let text = format!("[rtp]\nmtu = 1200\n[log]\nlevel = \"debug\"\n[[home]]\nname = \"tv\"\ntitle = \"short.mp4\"\n{entry}");
    replace(&file, &text);
    server.hang_up();
    server.wait("the new name is served", |_| server.describe("home/tv") == 200);
    assert_eq!(server.describe("home/wall"), 404, "the other is gone");
    server.wait("what changed is told", |log| log.iter().any(|line| line.ends_with("log.level, home, mobility.keys changed")));
    server.wait("what did not is told", |log| log.iter().any(|line| line.ends_with("a restart is needed for rtp.mtu")));
    server.wait("the level has changed", |log| log.iter().any(|line| line.contains("DEBUG")));

    replace(&file, "[rtp]\nport = 7\nmut = 3\n");
    server.hang_up();
    for told in ["f.toml:3: rtp.mut: no such key", "the one before stays in force"] {
        server.wait(told, |log| log.iter().any(|line| line.contains(told)));
    }
    assert_eq!(server.describe("home/tv"), 200, "nothing has changed");
    let log = server.log.lock().expect("pushing does not panic").join("\n");
    let secret = entry.lines().find_map(|line| line.strip_prefix("key = \"")).expect("a key");
    assert!(!log.contains(&secret[..64]), "{log}");
}

#[test]
fn what_cannot_be_taken_over_keeps_nothing_else_from_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, state) = (folder.path().join("f.toml"), folder.path().join("state"));
    std::fs::write(&file, "[serve]\nwatch = false\n").expect("written");
    let server = Server::start(folder.path());
    assert_eq!(server.describe("short.mp4"), 200);
    // No name can be written down there.
    std::fs::rename(&state, folder.path().join("away")).expect("it is there");
    let anna = "[[users]]\nname = \"anna\"\npassword = \"s3cret\"\nroles = [\"viewer\"]\n";
    let text = format!("[serve]\nwatch = false\n[[home]]\nname = \"tv\"\ntitle = \"short.mp4\"\n{anna}");
    std::fs::write(&file, text).expect("written");
    server.hang_up();
    server.wait("what could not be is told", |log| log.iter().any(|line| line.contains("home could not be taken over: ")));
    server.wait("what could be is told", |log| log.iter().any(|line| line.ends_with("read again: users changed")));
    assert_eq!(server.describe("short.mp4"), 401);
    // The next time it is.
    std::fs::rename(folder.path().join("away"), &state).expect("it is there");
    server.hang_up();
    server.wait("the name is taken over", |log| log.iter().any(|line| line.ends_with("read again: home changed")));
}

/// Whoever reads `ready` may send a signal at once: it is heard, and ends nothing by itself.
#[test]
fn signals_are_heard_as_soon_as_it_is_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("films")).expect("made");
    let ports = ["--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rtp-port", "0", "--mobility", "127.0.0.1:0", "--state", "state"];
    for _ in 0..5 {
        for (signal, told) in [(libc::SIGHUP, "read again: nothing changed"), (libc::SIGTERM, "nothing plays any more")] {
            let mut server = Running::start(folder.path(), &[&["serve", "films", "--drain=60"], &ports[..]].concat());
            while server.line() != "ready" {}
            server.signal(signal);
            let start = Instant::now();
            while !server.told().contains(told) {
                assert!(start.elapsed() < SOON, "{told}: {}", server.told());
                std::thread::sleep(Duration::from_millis(5));
            }
            if signal == libc::SIGTERM {
                assert_eq!(server.end(), Some(0), "{}", server.told());
            }
        }
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_what_cannot_change_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[[home]]\nname = \"wall\"\ntitle = \"short.mp4\"\n").expect("written");
    let server = Server::start(folder.path());
    assert_eq!(server.describe("home/tv"), 404);
    let tells = |told: &str| server.wait(told, |log| log.iter().any(|line| line.ends_with(told)));

    // As an editor does it: another file in its place.
    let text = "[log]\nformat = \"json\"\n[serve]\ndrain_s = 3\n[[home]]\nname = \"tv\"\ntitle = \"short.mp4\"\n";
    replace(&file, text);
    tells("the configuration was read again: serve.drain_s, home changed");
    tells("a restart is needed for log.format");
    assert_eq!((server.describe("home/tv"), server.describe("home/wall")), (200, 404));

    // In place, with an error. It is as long as what was there: at no moment is the file empty, which would be a configuration as well.
    let longer = format!("{:\n<1$}", "[rtp]\nmut = 3\n", text.len());
    std::fs::OpenOptions::new().write(true).open(&file).and_then(|mut open| open.write_all(longer.as_bytes())).expect("written");
    tells("f.toml:2: rtp.mut: no such key, did you mean rtp.mtu?");
    tells("the one before stays in force");
    assert_eq!(server.describe("home/tv"), 200);
}

#[test]
fn a_file_that_is_not_to_be_watched_is_read_on_a_hang_up_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[serve]\nwatch = false\n").expect("written");
    let films = folder.path().join("films");
    std::fs::create_dir(&films).expect("made");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/media/short.mp4"), films.join("short.mp4")).expect("copied");
    let server = Server::serve(folder.path(), &films);
    std::fs::write(&file, "[serve]\nwatch = false\n[[home]]\nname = \"tv\"\ntitle = \"short.mp4\"\n").expect("written");
    // A change of the library is told later than one of the configuration would be.
    std::fs::write(films.join("noise.mp4"), "noise").expect("written");
    server.wait("the library has changed", |log| log.iter().any(|line| line.contains("the library has changed")));
    assert_eq!(server.describe("home/tv"), 404);
    server.hang_up();
    server.wait("the new name is served", |_| server.describe("home/tv") == 200);
    let log = server.log.lock().expect("pushing does not panic");
    assert!(!log.iter().any(|line| line.contains("file has changed")), "{log:#?}");
}

#[test]
fn shells_complete_every_command_and_man_has_a_page_for_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = |arguments: &[&str]| {
        let output = flowsteer(folder.path(), &[], arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let help = done(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: BTreeSet<&str> =
        commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !["", "help"].contains(name)).collect();
    assert!(commands.len() > 10 && commands.contains("serve") && commands.contains("man"), "{commands:?}");

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = done(&["completions", shell]);
        assert!(script.contains("--log-format") || script.contains("log-format"), "{shell}");
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    // What bash makes of it.
    let script = done(&["completions", "bash"]);
    let ask = "COMP_WORDS=(flowsteer comp); COMP_CWORD=1; _flowsteer flowsteer comp flowsteer; echo \"${COMPREPLY[@]}\"";
    let bash = std::process::Command::new("bash").args(["-c", &format!("{script}\n{ask}")]).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "completions", "{bash:?}");
    assert_eq!(flowsteer(folder.path(), &[], &["completions", "dos"]).status.code(), Some(2));

    let page = done(&["man"]);
    assert!(page.contains(".TH flowsteer 1") && page.contains("flowsteer\\-serve(1)"), "{page}");
    assert_eq!(done(&["man", "--out", "pages"]), "");
    let pages: BTreeSet<String> = std::fs::read_dir(folder.path().join("pages"))
        .expect("written")
        .map(|page| page.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    let wanted = commands.iter().map(|command| format!("flowsteer-{command}.1")).chain(["flowsteer.1".to_owned()]);
    assert_eq!(pages, wanted.collect());
    let serve = std::fs::read_to_string(folder.path().join("pages/flowsteer-serve.1")).expect("text");
    assert!(serve.contains("\\-\\-drain") && serve.contains("flowsteer serve"), "{serve}");
    assert_eq!(flowsteer(folder.path(), &[], &["man", "--out", "pages/flowsteer.1"]).status.code(), Some(1));
}

/// Asks over a connection of its own, and gives the whole answer.
fn ask(authority: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(authority).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("possible");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    let mut reader = BufReader::new(stream);
    while !answer.ends_with("\r\n\r\n") && reader.read_line(&mut answer).expect("an answer") > 0 {}
    let length = answer.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).expect("a body");
    answer + &String::from_utf8(body).expect("text")
}

/// A camera that knows nobody: it asks for a password, and lets in none. What it was asked with comes back.
fn strict_camera() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut request, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                request += &line;
                if line == "\r\n" {
                    let number = request.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("1").to_owned();
                    let challenge = "WWW-Authenticate: Basic realm=\"camera\"\r\n";
                    let _ = write!(reader.get_mut(), "RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n{challenge}\r\n");
                    if sender.send(std::mem::take(&mut request)).is_err() {
                        return;
                    }
                }
                line.clear();
            }
        }
    });
    (address, asked)
}

#[test]
fn no_secret_is_in_the_log_or_shown_whoever_uses_it() {
    for format in ["human", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (camera, asked) = strict_camera();
        let key = "5e".repeat(32);
        let mut secrets: Vec<String> = ["token-of-operators", "password-of-anna", "password-of-the-camera"].map(str::to_owned).into();
        secrets.push(key.clone());
        let config = format!(
            "[log]\nlevel = \"trace\"\nformat = \"{format}\"\n[http]\ntokens = [\"{}\"]\n[[publish]]\npath = \"live\"\nusername = \"anna\"\n\
             password = \"{}\"\n[[camera]]\nname = \"door\"\nurl = \"rtsp://{camera}/door\"\nusername = \"root\"\npassword = \"{}\"\nalways = true\n\
             [[mobility.keys]]\nspi = \"0x300\"\nnai = \"tv@home\"\nkey = \"{key}\"\n",
            secrets[0], secrets[1], secrets[2]
        );
        std::fs::write(folder.path().join("f.toml"), &config).expect("written");
        let server = Server::start(folder.path());
        let (rtsp, http) = (server.rtsp.strip_prefix("rtsp://").expect("a URL"), server.http.strip_prefix("http://").expect("a URL"));
        // The camera is asked with its password (Basic: so that it is known to have been sent).
        let with_password = std::iter::from_fn(|| asked.recv_timeout(SOON).ok()).find(|request| request.contains("Authorization: Basic "));
        assert!(with_password.is_some(), "the camera was asked without a password");

        // Operators, right and wrong; a home address with a key of its own; a player, and a take-over of what it plays.
        let api = |method: &str, path: &str, token: &str| {
            let head = format!("Host: {http}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n");
            let body = if method == "POST" { "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" } else { "\r\n" };
            ask(http, &format!("{method} {path} HTTP/1.1\r\n{head}{body}"))
        };
        let body = |answer: &str| serde_json::from_str::<Value>(answer.split("\r\n\r\n").nth(1).unwrap_or_default()).expect("JSON");
        let reserved = api("POST", "/api/v1/home-addresses", &secrets[0]);
        assert!(reserved.starts_with("HTTP/1.1 201"), "{reserved}");
        secrets.push(body(&reserved)["key"].as_str().expect("a key").to_owned());
        secrets.push("token-of-nobody".to_owned());
        assert!(api("GET", "/api/v1/sessions?key=token-of-nobody", "token-of-nobody").starts_with("HTTP/1.1 401"));

        let track = format!("rtsp://{rtsp}/countdown.mp4/trackID=0");
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let mut player = TcpStream::connect(rtsp).expect("it listens");
        player.set_read_timeout(Some(SOON)).expect("possible");
        write!(player, "SETUP {track} RTSP/1.0\r\nCSeq: 1\r\n{transport}\r\n").expect("sent");
        let mut head = String::new();
        let mut reader = BufReader::new(player.try_clone().expect("possible"));
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("an answer") > 0 {}
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {head}"));
        let session = header("Session: ").split(';').next().expect("an id").to_owned();
        write!(player, "PLAY rtsp://{rtsp}/countdown.mp4/ RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n").expect("sent");
        reader.read_exact(&mut [0; 4096]).expect("it plays");
        let home = header("Home-Address: ").split(';').next().expect("an address").to_owned();
        secrets.push(session);
        let context = body(&api("POST", &format!("/api/v1/home-addresses/{home}/context"), &secrets[0]));
        let url = context["takeoverUrl"].as_str().expect("a URL").to_owned();
        let token = url.split("key=").nth(1).expect("a key").to_owned();
        secrets.push(token.clone());
        secrets.push(context["context"]["flows"][0]["authorization"]["session_key"].as_str().expect("a key").to_owned());
        assert!(ask(rtsp, &format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n")).starts_with("RTSP/1.0 200"), "{url}");
        let wrong = token.replace(|letter: char| letter.is_ascii_lowercase(), "q");
        let refused = ask(rtsp, &format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", url.replace(&token, &wrong)));
        assert!(refused.starts_with("RTSP/1.0 401"), "{refused}");
        secrets.push(wrong);

        // A publisher with a password that is none, in the form in which it is on the wire, too.
        let basic = "YW5uYTpwYXNzd29yZC1vZi1ub2JvZHk=";
        let announce =
            format!("ANNOUNCE rtsp://{rtsp}/live RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic {basic}\r\nContent-Length: 0\r\n\r\n");
        let refused = ask(rtsp, &announce);
        assert!(refused.starts_with("RTSP/1.0 4"), "{refused}");
        secrets.extend([basic.to_owned(), "password-of-nobody".to_owned()]);

        // A device that binds with its key.
        std::fs::write(folder.path().join("key.toml"), config.split_at(config.find("[[mobility").expect("it is there")).1)
            .expect("written");
        let mut device = Running::start(
            folder.path(),
            &["reserve", "--server", &server.mobility, "--key-file", "key.toml", "--device-dir", "device", "--bind", "--rtp", "5004"],
        );
        let told = device.line() + &device.told();

        // The configuration is read again, with an error in each secret's line.
        let file = folder.path().join("f.toml");
        replace(&file, &config.replace("password =", "pasword =").replace("tokens = [", "tokens = 3 # ["));
        server.hang_up();
        server.wait("the errors are told", |log| log.iter().any(|line| line.contains("stays in force")));
        let checked = flowsteer(folder.path(), &[], &["check", "--config", "f.toml"]);
        assert_eq!(checked.status.code(), Some(2));
        replace(&file, &config);
        let shown = flowsteer(folder.path(), &[], &["check", "--config", "f.toml"]);
        assert_eq!(shown.status.code(), Some(0), "{shown:?}");

        let metrics = api("GET", "/metrics", &secrets[0]);
        let sessions = api("GET", "/api/v1/sessions", &secrets[0]);
        let titles = api("GET", "/api/v1/titles", &secrets[0]);
        assert!(sessions.contains(&home) && titles.contains("door") && metrics.contains("flowsteer_sessions 1"), "{sessions}{titles}");
        let log = server.log.lock().expect("pushing does not panic").join("\n");
        assert!(log.contains("DEBUG") && log.contains("SETUP") && log.contains("/api/v1/sessions"), "{log}");
        let texts = [log, metrics, sessions, titles, told, format!("{checked:?}{shown:?}")];
        for secret in &secrets {
            for text in &texts {
                let place = text.find(secret.as_str()).map(|place| &text[place.saturating_sub(120)..place]);
                assert_eq!(place, None, "{format}: {secret}");
            }
        }
    }
}

#[test]
fn cert_makes_a_pair_once_that_check_takes_and_check_names_the_file_that_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = flowsteer(folder.path(), &[], &["cert", "--name", "media.example", "--name", "[2001:db8::1]", "--out", "made"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let told = lines(&made.stdout);
    assert_eq!(told[..3], ["certificate  made/flowsteer.crt", "key  made/flowsteer.key", "names  media.example, 2001:db8::1"], "{told:#?}");
    assert!(told.iter().any(|line| line.strip_prefix("SHA-256  ").is_some_and(|digits| digits.split(':').count() == 32)), "{told:#?}");
    let mode = std::fs::metadata(folder.path().join("made/flowsteer.key")).expect("the key is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key is its owner's alone");
    let again = flowsteer(folder.path(), &[], &["cert", "--out", "made"]);
    assert!(again.status.code() == Some(1) && lines(&again.stderr)[0].contains("made/flowsteer.key: File exists"), "{again:?}");
    let other = flowsteer(folder.path(), &[], &["cert", "--out", "other"]);
    assert_eq!(other.status.code(), Some(0), "{other:?}");

    std::fs::create_dir(folder.path().join("etc")).expect("made");
    let check = |tls: &str| {
        std::fs::write(folder.path().join("etc/f.toml"), tls).expect("written");
        flowsteer(folder.path(), &[], &["check", "--config", "etc/f.toml"])
    };
    let good = check("[tls]\ncertificate = \"../made/flowsteer.crt\"\nkey = \"../made/flowsteer.key\"\n[rtsp]\ntls_listen = \"none\"\n");
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    for (tls, expected) in [
        (
            "[tls]\ncertificate = \"../made/none.crt\"\nkey = \"../made/flowsteer.key\"\n",
            "flowsteer: etc/f.toml:2: tls.certificate: etc/../made/none.crt: No such file or directory (os error 2)",
        ),
        (
            "[tls]\ncertificate = \"../made/flowsteer.crt\"\nkey = \"../made/flowsteer.crt\"\n",
            "flowsteer: etc/f.toml:3: tls.key: etc/../made/flowsteer.crt: no private key in PEM is in it",
        ),
        (
            "[tls]\ncertificate = \"../made/flowsteer.crt\"\nkey = \"../other/flowsteer.key\"\n",
            "flowsteer: etc/f.toml:3: tls.key: the key in etc/../other/flowsteer.key is not that of the certificate in etc/../made/flowsteer.crt",
        ),
        ("[tls]\ncertificate = \"../made/flowsteer.crt\"\n", "flowsteer: etc/f.toml:2: tls.key: tls.certificate and tls.key go together"),
        ("[http]\ntls_listen = \"[::]:8443\"\n", "flowsteer: etc/f.toml:2: http.tls_listen: needs tls.certificate and tls.key"),
    ] {
        let refused = check(tls);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert_eq!(lines(&refused.stderr), [expected]);
    }
}

#[test]
fn a_log_of_json_has_an_object_a_line_also_at_a_level_that_is_set_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[log]\nformat = \"json\"\n").expect("written");
    let server = Server::start(folder.path());
    std::fs::write(&file, "[log]\nformat = \"json\"\nlevel = \"debug\"\n").expect("written");
    server.wait("the level is taken over", |log| log.iter().any(|line| line.contains("read again: log.level changed")));
    assert_eq!(server.describe("short.mp4"), 200);
    let read = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    server.wait("the request is told", |log| {
        log.iter().map(read).any(|line| line["level"] == "DEBUG" && line["method"] == "DESCRIBE" && line["span"]["name"] == "rtsp")
    });
}
