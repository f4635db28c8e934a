//! The signalling as IPv6 next header 135, on loopback: by a raw socket, whose checksums the kernel makes and checks.

mod cli_server;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use cli_server::{Running, SOON};
use flowsteer::mobility::wire::{CareOfTestInit, Message, Options};
use flowsteer::net::AskedSocket;

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/media");
const ARGUMENTS: [&str; 12] =
    ["serve", MEDIA, "--rtsp", "[::1]:0", "--http", "[::1]:0", "--mobility", "[::1]:0", "--rtp-port", "0", "--state", "none"];

/// Whether a raw socket is to be had; without one the test says its name, and fails where skips are failures.
fn may_be_raw(name: &str) -> bool {
    let permitted = AskedSocket::raw(135).is_ok();
    if !permitted {
        eprintln!("skipped: {name} needs CAP_NET_RAW");
        assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{name} was skipped");
    }
    permitted
}

#[test]
fn a_care_of_test_is_answered_in_native_carriage() {
    if !may_be_raw("a_care_of_test_is_answered_in_native_carriage") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Running::start(folder.path(), &[&ARGUMENTS[..], &["--mobility-raw"]].concat());
    let banner = server.line();
    let told = std::iter::once(banner).chain(std::iter::from_fn(|| Some(server.line()))).take_while(|line| line != "ready");
    let told: Vec<String> = told.collect();
    assert!(told.iter().any(|line| line.starts_with("mobility  udp ") && line.ends_with(", ipv6 next header 135")), "{told:?}");

    let device = AskedSocket::raw(135).expect("permitted");
    let cookie = *b"a cookie";
    let test = Message::CareOfTestInit(CareOfTestInit { cookie, options: Options::default() }).to_vec().expect("fits");
    let (here, start) = (Ipv6Addr::LOCALHOST, Instant::now());
    let mut buffer = [0; 2048];
    loop {
        assert!(start.elapsed() < SOON, "no answer came");
        device.send(&test, SocketAddr::from((here, 0)), IpAddr::V6(here)).expect("sent");
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(200) {
            let Some(question) = device.receive(&mut buffer) else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            // A raw socket on the same host hears its own question too.
            if let Ok(Message::CareOfTest(answer)) = Message::parse(&buffer[..question.len]) {
                assert_eq!((answer.cookie, question.from.ip(), question.asked), (cookie, IpAddr::V6(here), IpAddr::V6(here)));
                return;
            }
        }
    }
}

#[test]
fn without_the_capability_the_start_is_refused_in_words() {
    if !may_be_raw("without_the_capability_the_start_is_refused_in_words") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", env!("CARGO_BIN_EXE_flowsteer")]).args(ARGUMENTS);
    let output = command.arg("--mobility-raw").current_dir(folder.path()).output().expect("setpriv runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("IPv6 next header 135 needs CAP_NET_RAW"), "{told}");
}
