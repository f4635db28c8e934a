//! The signalling as IPv6 next header 135, on loopback: by a raw socket, whose checksums the kernel makes and checks.

mod cli_server;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cli_server::{Running, SOON};
use flowsteer::mobility::wire::{
    BindingIdentifier, BindingUpdate, CareOfTestInit, HomeNetworkPrefix, Lifetime, Message, MessageId, MobileNodeId, NonceIndices, Options,
    Status, UpdateFlags, checksum,
};
use flowsteer::net::{AskedSocket, now};
use flowsteer::steering::keys::home_key;
use flowsteer::steering::{BindingId, HomeAddress, Key, Spi};

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/media");
const ARGUMENTS: [&str; 12] =
    ["serve", MEDIA, "--rtsp", "[::1]:0", "--http", "[::1]:0", "--mobility", "[::1]:0", "--rtp-port", "0", "--state", "none"];

/// Whether a raw socket is to be had; without one the test says its name, and fails where skips are failures. One test at a time:
/// each raw socket hears what is sent to any, and the server of another test would answer too.
fn may_be_raw(name: &str) -> Option<MutexGuard<'static, ()>> {
    static ALONE: Mutex<()> = Mutex::new(());
    let permitted = AskedSocket::raw(135).is_ok();
    if !permitted {
        eprintln!("skipped: {name} needs CAP_NET_RAW");
        assert!(std::env::var_os("FLOWSTEER_REQUIRE_TOOLS").is_none(), "{name} was skipped");
    }
    permitted.then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A server with the raw socket, and what it says until it is ready.
fn start(folder: &Path, more: &[&str]) -> (Running, Vec<String>) {
    let mut server = Running::start(folder, &[&ARGUMENTS[..], &["--mobility-raw"], more].concat());
    let told = std::iter::from_fn(|| Some(server.line())).take_while(|line| line != "ready").collect();
    (server, told)
}

/// Sends a message once, and gives the answer to it.
#[track_caller]
fn answer(device: &AskedSocket, message: &[u8], is_it: impl Fn(&Message) -> bool) -> (Message, Vec<u8>) {
    let (here, start) = (Ipv6Addr::LOCALHOST, Instant::now());
    let mut buffer = [0; 2048];
    device.send(message, SocketAddr::from((here, 0)), IpAddr::V6(here)).expect("sent");
    while start.elapsed() < SOON {
        let Some(question) = device.receive(&mut buffer) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let octets = &buffer[..question.len];
        if let Some(message) = Message::parse(octets).ok().filter(|message| is_it(message)) {
            return (message, octets.to_vec());
        }
    }
    panic!("no answer came");
}

#[test]
fn a_device_reserves_and_binds_in_native_carriage() {
    let Some(_alone) = may_be_raw("a_device_reserves_and_binds_in_native_carriage") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let key = "07".repeat(32);
    let entry = format!("[[mobility.keys]]\nspi = \"0x200\"\nnai = \"tv@home\"\nkey = \"{key}\"\n");
    std::fs::write(folder.path().join("f.toml"), entry).expect("written");
    let (_server, told) = start(folder.path(), &["--config", "f.toml"]);
    let device = AskedSocket::raw(135).expect("permitted");
    let (here, provisioned) = (Ipv6Addr::LOCALHOST, Key::new([7; 32]));
    let flags = UpdateFlags(UpdateFlags::ACKNOWLEDGE.0 | UpdateFlags::HOME_REGISTRATION.0);
    let update = |options| Message::BindingUpdate(BindingUpdate { sequence: 1, flags, lifetime: Lifetime::from_seconds(300), options });

    let mut options = Options::default();
    options.push(HomeNetworkPrefix::ANY);
    options.push(MobileNodeId::new("tv@home").expect("an identifier"));
    options.push(MessageId { ntp: now().utc.ntp64() });
    let sign = |covered: &[u8]| provisioned.authenticate(&[&here.octets(), &[0; 16], &[0; 8], covered]);
    let asked = update(options).authenticate(Spi(0x200), sign).expect("fits");
    let (Message::BindingAck(reserved), octets) = answer(&device, &asked, |message| matches!(message, Message::BindingAck(_))) else {
        panic!("an acknowledgement")
    };
    assert_eq!(reserved.status, Status::ACCEPTED);
    assert!(checksum::verify(here, here, &octets));
    let home = HomeAddress(reserved.options.home_network_prefix().expect("an address").address);
    let spi = reserved.options.key_grant().expect("a key").spi;
    let first = home_key(&provisioned, home, spi, "tv@home");

    let test = Message::CareOfTestInit(CareOfTestInit { cookie: *b"a cookie", options: Options::default() }).to_vec().expect("fits");
    let (Message::CareOfTest(test), _) = answer(&device, &test, |message| matches!(message, Message::CareOfTest(_))) else {
        panic!("a Care-of Test")
    };
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of(home.0));
    options.push(BindingIdentifier { binding: BindingId(1), status: 0, priority: Default::default(), care_of: Some(here.into()) });
    options.push(NonceIndices { home: 0, care_of: test.nonce_index });
    let sign = |covered: &[u8]| first.authenticate(&[&here.octets(), &home.0.octets(), &test.token, covered]);
    let asked = update(options).authenticate(spi, sign).expect("fits");
    let (Message::BindingAck(bound), _) = answer(&device, &asked, |message| matches!(message, Message::BindingAck(_))) else {
        panic!("an acknowledgement")
    };
    assert_eq!((bound.status, bound.sequence), (Status::ACCEPTED, 1));

    let http = told.iter().find_map(|line| line.strip_prefix("http  http://")).expect("it serves HTTP").trim_end_matches('/');
    let mut stream = TcpStream::connect(http).expect("the server listens");
    write!(stream, "GET /api/v1/home-addresses/{home} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut shown = String::new();
    stream.read_to_string(&mut shown).expect("an answer");
    assert!(shown.contains("\"state\":\"bound\""), "{shown}");
}

#[test]
fn a_care_of_test_is_answered_in_native_carriage() {
    let Some(_alone) = may_be_raw("a_care_of_test_is_answered_in_native_carriage") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, told) = start(folder.path(), &[]);
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
    let Some(_alone) = may_be_raw("without_the_capability_the_start_is_refused_in_words") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", env!("CARGO_BIN_EXE_flowsteer")]).args(ARGUMENTS);
    let output = command.arg("--mobility-raw").current_dir(folder.path()).output().expect("setpriv runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("IPv6 next header 135 needs CAP_NET_RAW"), "{told}");
}
