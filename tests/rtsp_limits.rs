//! Each limit of the RTSP listener against a whole server on loopback: the answer says what is wrong, a counter knows of it, and a session
//! that plays beside it loses nothing.

// unshare: tests only.
#![allow(unsafe_code)]

mod rtsp_server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use flowsteer::rtsp::service::RtspSettings;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rtsp_server::{Player, Reply, SOON, Server};

const TCP: &str = "RTP/AVP/TCP;unicast";

fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("the only recorder of this process"))
}

/// A counter's value.
fn counted(name: &str) -> u64 {
    let text = prometheus().render();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a count"))
}

fn refused_by(limit: &str) -> u64 {
    counted(&format!("flowsteer_rtsp_refused_total{{limit=\"{limit}\"}}"))
}

/// Who counts places or sessions that were refused waits for others who do: the counters are the process's.
fn alone_with_places() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a counter to pass what it was.
#[track_caller]
fn wait_for_count(name: &str, more_than: u64) {
    let start = Instant::now();
    while counted(name) <= more_than {
        assert!(start.elapsed() < SOON, "{name} stays at {more_than}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serve(change: impl FnOnce(&mut RtspSettings)) -> Server {
    prometheus();
    Server::with("media".as_ref(), change, |_| {})
}

fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// Plays the pictures of a title, interleaved.
#[track_caller]
fn play(mut player: Player, url: &str) -> Player {
    let reply = player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP)]).ok();
    player.session = Some(reply.session());
    player.ask("PLAY", &format!("{url}/"), &[]).ok();
    player
}

/// A session that plays while others run into limits.
struct Witness {
    player: Player,
    last: Option<u16>,
}

impl Witness {
    /// From an address of its own.
    fn start(server: &Server) -> Self {
        let player = Player::connect_from(server, "127.0.0.9".parse().expect("an address"));
        let mut witness = Self { player: play(player, &server.url("countdown.mp4")), last: None };
        witness.goes_on();
        witness
    }

    /// Reads on past this moment: no packet is missing.
    #[track_caller]
    fn goes_on(&mut self) {
        let start = Instant::now();
        loop {
            let (at, packet) = self.player.packet(0);
            if let Some(last) = self.last {
                assert_eq!(sequence(&packet), last.wrapping_add(1), "a packet is missing");
            }
            self.last = Some(sequence(&packet));
            if at > start {
                return;
            }
        }
    }
}

#[test]
fn connections_in_all() {
    let server = serve(|settings| settings.connections = 2);
    let mut witness = Witness::start(&server);
    let before = refused_by("connections");
    let mut second = Player::connect(&server);
    second.ask("OPTIONS", "*", &[]).ok();
    let mut third = Player::connect_from(&server, "127.0.0.3".parse().expect("an address"));
    let reply = third.reply();
    assert_eq!((reply.status, reply.phrase.contains("too many connections")), (503, true), "{reply:#?}");
    third.closed();
    assert_eq!(refused_by("connections"), before + 1);
    second.ask("OPTIONS", "*", &[]).ok();
    drop(second);
    // The place is free as soon as the server has seen the end.
    let start = Instant::now();
    loop {
        let mut next = Player::connect(&server);
        next.post("OPTIONS", "*", &[]);
        match next.reply().status {
            200 => break,
            status => assert!(status == 503 && start.elapsed() < SOON, "{status}"),
        }
    }
    witness.goes_on();
}

#[test]
fn connections_of_one_address() {
    let _alone = alone_with_places();
    let server = serve(|settings| settings.connections_per_address = 1);
    let mut witness = Witness::start(&server);
    let before = refused_by("connections_per_address");
    let mut first = Player::connect(&server);
    first.ask("OPTIONS", "*", &[]).ok();
    let mut second = Player::connect(&server);
    let reply = second.reply();
    assert_eq!((reply.status, reply.phrase.contains("too many connections")), (503, true), "{reply:#?}");
    second.closed();
    assert_eq!(refused_by("connections_per_address"), before + 1);
    Player::connect_from(&server, "127.0.0.3".parse().expect("an address")).ask("OPTIONS", "*", &[]).ok();
    first.ask("OPTIONS", "*", &[]).ok();
    witness.goes_on();
}

/// A network namespace of its own for a test, with these addresses. Says so where it cannot be made.
fn alone<const N: usize>(addresses: [&'static str; N], work: impl FnOnce() + Send + 'static) {
    let inside = move || {
        // SAFETY: no pointers; only this thread's membership changes, and that of those it starts.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let required = std::env::var("FLOWSTEER_REQUIRE_TOOLS").is_ok_and(|value| !value.is_empty() && value != "0");
            let error = std::io::Error::last_os_error();
            assert!(!required, "network namespaces cannot be made here ({error})");
            return eprintln!("skipped: network namespaces cannot be made here ({error})");
        }
        let add = |address| format!("-6 addr add {address}/64 dev lo nodad");
        for arguments in [["link set lo up".to_owned()].as_slice(), &addresses.map(add)].concat() {
            let done = std::process::Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
            assert!(done.success(), "ip {arguments}");
        }
        work();
    };
    std::thread::spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn connections_of_one_network() {
    let _alone = alone_with_places();
    prometheus();
    alone(["2001:db8:1::1", "2001:db8:1::2", "2001:db8:1:0:ffff::3", "2001:db8:2::1"], || {
        let interface = "2001:db8:1::1".parse().expect("an address");
        let server = Server::at(interface, "media".as_ref(), |rtsp| rtsp.connections_per_address = 2, |_| {});
        let from = |text: &str| Player::connect_from(&server, text.parse().expect("an address"));
        let (mut first, mut second) = (from("2001:db8:1::1"), from("2001:db8:1::2"));
        first.ask("OPTIONS", "*", &[]).ok();
        second.ask("OPTIONS", "*", &[]).ok();
        assert_eq!(from("2001:db8:1:0:ffff::3").reply().status, 503, "the same /64");
        from("2001:db8:2::1").ask("OPTIONS", "*", &[]).ok();
    });
}

#[test]
fn keys_that_are_refused() {
    let server = serve(|_| {});
    let mut witness = Witness::start(&server);
    let (url, key) = server.takeover();
    let before = refused_by("refused_keys");
    let mut guess = Player::connect(&server);
    let describe = |player: &mut Player, key: &str| player.ask("DESCRIBE", &format!("{url}?key={key}"), &[]);
    let start = Instant::now();
    let statuses: Vec<u16> = (0..200).map(|number| describe(&mut guess, &format!("{}{number}", &key[..key.len() - 4])).status).collect();
    let most = 20 + 20 * (start.elapsed().as_secs() as usize + 1);
    let checked = statuses.iter().filter(|status| **status == 401).count();
    assert!((20..=most).contains(&checked) && statuses.iter().all(|status| matches!(status, 401 | 503)), "{checked}: {statuses:?}");
    assert_eq!(refused_by("refused_keys") - before, (statuses.len() - checked) as u64);
    // One is let in again every 50 ms.
    assert!((0..100).any(|_| describe(&mut guess, "wrong").phrase.contains("too many wrong keys")));
    // Another address, and a request that shows no key, are not concerned.
    let mut other = Player::connect_from(&server, "127.0.0.3".parse().expect("an address"));
    describe(&mut other, &key).ok();
    assert_eq!(guess.ask("DESCRIBE", &server.url("home/fd00::1"), &[]).status, 401);
    // It passes, and what is right was never what counted.
    let start = Instant::now();
    while describe(&mut guess, &key).status != 200 {
        assert!(start.elapsed() < SOON, "refused for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    (0..50).for_each(|_| drop(describe(&mut guess, &key).ok()));
    witness.goes_on();
}

#[test]
fn sessions_of_one_connection() {
    let _alone = alone_with_places();
    let server = serve(|settings| settings.sessions_per_connection = 2);
    let mut witness = Witness::start(&server);
    let name = "flowsteer_rtsp_requests_total{method=\"SETUP\",status=\"503\"}";
    let before = counted(name);
    let mut player = Player::connect(&server);
    let url = server.url("short.mp4");
    let set_up = |player: &mut Player| player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP)]);
    let session = set_up(&mut player).ok().session();
    set_up(&mut player).ok();
    let reply = set_up(&mut player);
    assert_eq!((reply.status, reply.phrase.contains("too many sessions on this connection")), (503, true), "{reply:#?}");
    assert_eq!(counted(name), before + 1);
    player.ask("TEARDOWN", &url, &[("Session", &session)]).ok();
    set_up(&mut player).ok();
    let mut other = Player::connect(&server);
    set_up(&mut other).ok();
    witness.goes_on();
}

#[test]
fn octets_of_a_header_block() {
    let server = serve(|_| {});
    let mut witness = Witness::start(&server);
    let before = refused_by("header_bytes");
    let block = |octets: usize| {
        let start = "OPTIONS * RTSP/1.0\r\nCSeq: 7\r\nX-Filler: ";
        format!("{start}{}\r\n\r\n", "a".repeat(octets - start.len() - 4))
    };
    let mut player = Player::connect(&server);
    player.send(block(16 * 1024).as_bytes());
    player.reply().ok();
    player.send(block(16 * 1024 + 1).as_bytes());
    let reply = player.reply();
    assert_eq!((reply.status, reply.phrase.contains("the header block is larger than 16384 octets")), (413, true), "{reply:#?}");
    player.closed();
    assert_eq!(refused_by("header_bytes"), before + 1);
    // One that never ends is not waited for.
    let mut endless = Player::connect(&server);
    endless.send("OPTIONS * RTSP/1.0\r\n".repeat(1000).as_bytes());
    assert_eq!(endless.reply().status, 413);
    endless.closed();
    witness.goes_on();
}

#[test]
fn octets_of_a_body() {
    let server = serve(|_| {});
    let mut witness = Witness::start(&server);
    let before = refused_by("body_bytes");
    let mut player = Player::connect(&server);
    let request = |octets: usize| format!("SET_PARAMETER * RTSP/1.0\r\nCSeq: 7\r\nContent-Length: {octets}\r\n\r\n");
    player.send(format!("{}{}", request(64 * 1024), "a".repeat(64 * 1024)).as_bytes());
    player.reply().ok();
    // Refused by what it says: nothing of it has come.
    player.send(request(64 * 1024 + 1).as_bytes());
    let reply = player.reply();
    assert_eq!((reply.status, reply.header("CSeq")), (413, Some("7")), "{reply:#?}");
    assert!(reply.phrase.contains("the body is larger than 65536 octets"), "{reply:#?}");
    player.closed();
    assert_eq!(refused_by("body_bytes"), before + 1);
    witness.goes_on();
}

#[test]
fn the_time_of_a_request_that_does_not_end() {
    let server = serve(|settings| settings.request_timeout = Duration::from_millis(300));
    let mut witness = Witness::start(&server);
    let before = refused_by("request_timeout_s");
    let mut header = Player::connect(&server);
    let mut body = Player::connect(&server);
    let mut idle = Player::connect(&server);
    let start = Instant::now();
    header.send(b"OPTIONS * RTSP/1.0\r\nCSe");
    body.send(b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 7\r\nContent-Length: 10\r\n\r\nabc");
    for player in [&mut header, &mut body] {
        assert_eq!(player.reply().status, 408);
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
        player.closed();
    }
    assert_eq!(refused_by("request_timeout_s"), before + 2);
    // Octets that trickle in do not buy time.
    let mut slow = Player::connect(&server);
    let start = Instant::now();
    slow.send(b"OPTIONS * RTSP/1.0\r\nX-Filler: ");
    let reply = loop {
        assert!(start.elapsed() < SOON, "each octet buys time");
        slow.send(b"a");
        std::thread::sleep(Duration::from_millis(20));
        if let Some(reply) = slow.reply_if_there() {
            break reply;
        }
    };
    assert_eq!(reply.status, 408);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    // One that says nothing has not begun a request.
    idle.ask("OPTIONS", "*", &[]).ok();
    witness.goes_on();
}

/// An interleaved frame.
fn frame(channel: u8, octets: &[u8]) -> Vec<u8> {
    [&[b'$', channel, 0, octets.len() as u8], octets].concat()
}

/// A Receiver Report about nobody (RFC 3550 section 6.4.2).
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

#[test]
fn reports_of_one_receiver() {
    let patience = Duration::from_secs(5);
    let server = serve(|settings| settings.session_timeout = patience);
    let mut witness = Witness::start(&server);
    let mut player = play(Player::connect(&server), &server.url("short.mp4"));
    player.packet(0);
    let handed_over = || server.watched.reports.load(Ordering::Relaxed);
    // What is no RTCP is not handed over at all.
    let noise = [&[][..], &[0xce, 0xfa, 0xed, 0xfe], &REPORT[..4], &[0x80, 201, 0, 9, 0, 0, 0, 9], b"OPTIONS * RTSP/1.0"];
    noise.iter().for_each(|octets| player.send(&frame(1, octets)));
    player.ask("OPTIONS", "*", &[]).ok();
    assert_eq!(handed_over(), 0);
    let start = Instant::now();
    // Media are taken off the connection by nobody but this test: reports alone keep the session.
    player.ask("PAUSE", &server.url("short.mp4/"), &[]).ok();
    while start.elapsed() < patience + Duration::from_millis(1500) {
        player.send(&frame(1, &REPORT).repeat(200));
        witness.goes_on();
    }
    let most = 20 + 10 * (start.elapsed().as_secs() as usize + 1);
    player.ask("PLAY", &server.url("short.mp4/"), &[]).ok();
    assert!((1..=most).contains(&handed_over()), "{} were handed over", handed_over());
    witness.goes_on();
}

#[test]
fn commands_that_wait() {
    let _alone = alone_with_places();
    let server = serve(|_| {});
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    let reply = player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP)]).ok();
    player.session = Some(reply.session());
    let (home, key) = server.takeover();
    server.watched.full.store(true, Ordering::Relaxed);
    let mut other = Player::connect(&server);
    let refused = |reply: Reply| assert_eq!((reply.status, reply.phrase.contains("the server is busy")), (503, true), "{reply:#?}");
    refused(player.ask("PLAY", &format!("{url}/"), &[]));
    refused(other.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP)]));
    refused(other.ask("DESCRIBE", &format!("{home}?key={key}"), &[]));
    server.watched.full.store(false, Ordering::Relaxed);
    player.ask("PLAY", &format!("{url}/"), &[]).ok();
    other.ask("DESCRIBE", &format!("{home}?key={key}"), &[]).ok();
}

#[test]
fn paths_out_of_the_library() {
    prometheus();
    let folder = tempfile::tempdir().expect("a folder");
    let media = folder.path().join("media");
    std::fs::create_dir_all(media.join("films")).expect("made");
    for copy in ["secret.mp4", "media/countdown.mp4", "media/films/.hidden.mp4"] {
        std::fs::copy("media/countdown.mp4", folder.path().join(copy)).expect("copied");
    }
    let server = Server::with(&media, |_| {}, |_| {});
    let mut witness = Witness::start(&server);
    let mut player = Player::connect(&server);
    let outside = [
        "../secret.mp4",
        "films/../../secret.mp4",
        "./countdown.mp4",
        "%2e%2e/secret.mp4",
        "%2E%2E/secret.mp4",
        "films/%2e%2e/%2e%2e/secret.mp4",
        "films/..%2f..%2fsecret.mp4",
        "..%2fsecret.mp4",
        "%2fetc/passwd",
        "%2f%2e%2e%2fsecret.mp4",
        "..\\secret.mp4",
        "films\\..\\..\\secret.mp4",
        "..%5csecret.mp4",
        "countdown.mp4%00",
        "%00",
        "countdown.mp4%00.txt",
        "%252e%252e/secret.mp4",
        "films/.hidden.mp4",
        "%ff%fe",
    ];
    let name = "flowsteer_rtsp_requests_total{method=\"DESCRIBE\",status=\"404\"}";
    let before = counted(name);
    for path in outside {
        assert_eq!(player.ask("DESCRIBE", &server.url(path), &[]).status, 404, "{path}");
        let set_up = player.ask("SETUP", &format!("{}/trackID=0", server.url(path)), &[("Transport", TCP)]);
        assert_eq!(set_up.status, 404, "{path}");
    }
    assert_eq!(counted(name), before + outside.len() as u64);
    // As it is, not written as three characters.
    player.send(format!("DESCRIBE {}\0 RTSP/1.0\r\nCSeq: 7\r\n\r\n", server.url("countdown.mp4")).as_bytes());
    let status = player.reply().status;
    assert!(matches!(status, 400 | 404), "{status}");
    Player::connect(&server).ask("DESCRIBE", &server.url("countdown.mp4"), &[]).ok();
    witness.goes_on();
}

/// Says that it is done, also where the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Whether a packet begins an access unit that decodes alone: its parameter sets, or the first part of an IDR picture (RFC 6184
/// sections 5.2 to 5.8).
fn begins_random_access(packet: &[u8]) -> bool {
    let payload = &packet[12..];
    match payload[0] & 31 {
        5 | 7 => true,
        24 => matches!(payload[3] & 31, 5 | 7),
        28 => payload[1] & 0x80 != 0 && matches!(payload[1] & 31, 5 | 7),
        _ => false,
    }
}

#[test]
fn media_that_waits_for_a_slow_reader() {
    let server = serve(|settings| settings.interleaved_queue = 32 * 1024);
    let url = server.url("countdown.mp4");
    let name = "flowsteer_dropped_packets_total{reason=\"interleaved_full\"}";
    let before = counted(name);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let witness = scope.spawn(|| {
            let mut witness = Witness::start(&server);
            while !done.load(Ordering::Acquire) {
                witness.goes_on();
            }
        });
        let over = Done(&done);
        let mut slow = play(Player::connect_narrow(&server), &url);
        let (_, first) = slow.packet(0);
        // Nothing is read until the queue is full, and until more has been dropped than one access unit.
        wait_for_count(name, before);
        let dropped = counted(name);
        wait_for_count(name, dropped);
        let mut last = first;
        let (mut gaps, mut missing) = (0, 0);
        let start = Instant::now();
        // From then on everything is read: what had waited is whole, then comes the gap, then it goes on without another, unless this
        // is kept from reading. What the counter says is what is missing.
        let mut after = 0;
        while after < 40 || missing != counted(name) - before {
            assert!(start.elapsed() < SOON * 2, "{gaps} gaps, {missing} packets missing, {} lost, {after} after", counted(name) - before);
            let (_, packet) = slow.packet(0);
            match sequence(&packet).wrapping_sub(sequence(&last)).wrapping_sub(1) {
                0 => after += usize::from(gaps > 0),
                gap => {
                    assert!(last[1] & 0x80 != 0, "the last one before the gap ends its access unit");
                    assert!(begins_random_access(&packet), "the first one after it begins a random access point: {:02x?}", &packet[..20]);
                    (gaps, missing, after) = (gaps + 1, missing + u64::from(gap), 0);
                }
            }
            last = packet;
        }
        drop(over);
        witness.join().expect("the other session lost nothing");
    });
}
