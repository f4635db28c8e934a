//! The configuration as the command line shows it, refuses it and rereads it: the built binary with files, variables and flags.

mod cli_server;

use std::os::unix::fs::PermissionsExt as _;

use cli_server::{Server, flowsteer};

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
    let missing = flowsteer(folder.path(), &[], &["check", "--config", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(lines(&missing.stderr)[0].starts_with("flowsteer: missing.toml: "), "{missing:?}");
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
    std::fs::write(&file, text).expect("written");
    server.hang_up();
    server.wait("the new name is served", |_| server.describe("home/tv") == 200);
    assert_eq!(server.describe("home/wall"), 404, "the other is gone");
    server.wait("what changed is told", |log| log.iter().any(|line| line.ends_with("log.level, home, mobility.keys changed")));
    server.wait("what did not is told", |log| log.iter().any(|line| line.ends_with("a restart is needed for rtp.mtu")));
    server.wait("the level has changed", |log| log.iter().any(|line| line.contains("DEBUG")));

    std::fs::write(&file, "[rtp]\nport = 7\nmut = 3\n").expect("written");
    server.hang_up();
    for told in ["f.toml:3: rtp.mut: no such key", "the one before stays in force"] {
        server.wait(told, |log| log.iter().any(|line| line.contains(told)));
    }
    assert_eq!(server.describe("home/tv"), 200, "nothing has changed");
    let log = server.log.lock().expect("pushing does not panic").join("\n");
    let secret = entry.lines().find_map(|line| line.strip_prefix("key = \"")).expect("a key");
    assert!(!log.contains(&secret[..64]), "{log}");
}
