//! The configuration as the command line shows it, refuses it and rereads it: the built binary with files, variables and flags.

use std::path::Path;
use std::process::{Command, Output};

fn flowsteer(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLOWSTEER_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).envs(environment.iter().copied()).args(arguments).output().expect("the binary runs")
}

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
