//! What is done to the server. Each attack says what it sent, and fails where the server answers otherwise than it should.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flowsteer::mobility::wire::{BindingIdentifier, BindingUpdate, HomeNetworkPrefix, Lifetime, Message, Options, UpdateFlags};
use flowsteer::steering::{BindingId, Spi};

use crate::scene::{KNOWN_SPI, LOCAL, SOON, Server, WATCHED, Watched, ask_http, connect, head, http, rtsp, session, status};

/// What is attacked, and how much of it is done.
pub struct Target<'a> {
    pub server: &'a Server,
    pub watched: &'a Watched,
    /// A hundredth of what the attack does at most is 1.
    pub percent: usize,
    /// For how long what floods does so.
    pub span: Duration,
    /// What a request may take: `rtsp.request_timeout_s`.
    pub patience: Duration,
    /// Datagrams and blocks a second at most; floods take care of nothing where there is none.
    pub rate: Option<u32>,
}

impl Target<'_> {
    const fn part(&self, most: usize) -> usize {
        let part = most * self.percent / 100;
        if part == 0 { 1 } else { part }
    }
}

/// What an attack has sent.
pub struct Sent {
    pub what: &'static str,
    pub count: usize,
    pub span: Duration,
    /// What the server said to it.
    pub answer: String,
}

/// A name, and what it does.
pub type Attack = (&'static str, fn(&Target<'_>) -> Sent);

/// All of them. Those after which sessions come and go are last.
pub const ATTACKS: [Attack; 17] = [
    ("idle", idle),
    ("slow", slow),
    ("large headers", large_headers),
    ("large bodies", large_bodies),
    ("pipelined", pipelined),
    ("pipelined, unread", pipelined_unread),
    ("interleaved junk", interleaved_junk),
    ("handshakes", handshakes),
    ("junk to RTP", junk_to_rtp),
    ("junk to RTCP", junk_to_rtcp),
    ("junk to mobility", junk_to_mobility),
    ("badly signed", badly_signed),
    ("forged RTCP", forged_reports),
    ("event streams", event_streams),
    ("foreign pages", foreign_pages),
    ("set-ups", set_ups),
    ("junk beside set-ups", junk_beside_set_ups),
];

/// One of the addresses of this machine that attackers have.
fn attacker(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number % 200).unwrap_or(1))
}

/// A new player is answered beside the attack.
fn somebody_new_is_answered(server: &Server) {
    let mut connection = connect(server.rtsp, LOCAL);
    let url = format!("rtsp://{}/short.mp4", server.rtsp);
    connection.write_all(rtsp("DESCRIBE", &url, 1, "").as_bytes()).expect("sent");
    let answer = head(&mut connection).expect("an answer");
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(server.get("/healthz", &[]).0, 200);
}

/// Connections that say nothing.
fn idle(target: &Target<'_>) -> Sent {
    let (rtsp, http) = (target.part(2000), target.part(200));
    let start = Instant::now();
    let mut open: Vec<TcpStream> = (0..rtsp).map(|_| connect(target.server.rtsp, attacker(0))).collect();
    open.extend((0..http).map(|_| connect(target.server.http, attacker(1))));
    let count = open.len();
    std::thread::sleep(target.span);
    somebody_new_is_answered(target.server);
    Sent { what: "connections", count, span: start.elapsed(), answer: "held".into() }
}

/// What has come of a connection that does not block.
fn is_over(connection: &mut TcpStream, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return true,
            Ok(len) => said.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Requests whose headers and bodies come an octet at a time.
fn slow(target: &Target<'_>) -> Sent {
    let begun = |text: &str| text.as_bytes().to_vec();
    let header = begun("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: ");
    let body = begun("SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 60000\r\n\r\n");
    let http_header = begun("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ");
    let http_body = begun("POST /api/v1/home-addresses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n");
    let start = Instant::now();
    let mut open = Vec::new();
    for (to, beginning, count) in [
        (target.server.rtsp, header, target.part(400)),
        (target.server.rtsp, body, target.part(400)),
        (target.server.http, http_header, target.part(100)),
        (target.server.http, http_body, target.part(100)),
    ] {
        for _ in 0..count {
            let mut connection = connect(to, attacker(2));
            connection.write_all(&beginning).expect("sent");
            connection.set_nonblocking(true).expect("possible");
            open.push((connection, to, Vec::new()));
        }
    }
    let count = open.len();
    let mut told = 0;
    somebody_new_is_answered(target.server);
    // HTTP waits for 10 s, whatever is configured.
    let left = |open: &[(TcpStream, SocketAddr, Vec<u8>)]| match target.patience < SOON {
        true => open.iter().any(|(_, to, _)| *to == target.server.rtsp),
        false => !open.is_empty(),
    };
    while left(&open) {
        assert!(start.elapsed() < target.patience + Duration::from_secs(8), "{} are still waited for", open.len());
        open.retain_mut(|(connection, _, said)| {
            let _ = connection.write(b"a");
            let over = is_over(connection, said);
            told += usize::from(over && status(&String::from_utf8_lossy(said)) == 408);
            !over
        });
        std::thread::sleep(Duration::from_millis(100));
    }
    Sent { what: "connections", count, span: start.elapsed(), answer: format!("{} cut off, 408 to {told}", count - open.len()) }
}

/// Writes until somebody answers or does not listen any more; what was said, and how many octets were taken.
fn insist(to: SocketAddr, beginning: &str, filler: &[u8], most: usize) -> (String, usize) {
    let mut connection = connect(to, attacker(3));
    connection.write_all(beginning.as_bytes()).expect("sent");
    connection.set_nonblocking(true).expect("possible");
    let (start, mut said, mut taken) = (Instant::now(), Vec::new(), 0);
    loop {
        assert!(start.elapsed() < SOON, "{taken} octets are taken, and nothing is said");
        if is_over(&mut connection, &mut said) || said.windows(4).any(|four| four == b"\r\n\r\n") {
            return (String::from_utf8_lossy(&said).into_owned(), taken);
        }
        match connection.write(filler) {
            Ok(len) if taken < most => taken += len,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Says what was answered to all of them.
fn tally(answers: &[(String, usize)]) -> String {
    let mut statuses: Vec<u16> = answers.iter().map(|(said, _)| status(said)).collect();
    statuses.sort_unstable();
    let counts = statuses.chunk_by(|one, other| one == other).map(|same| match same[0] {
        0 => format!("{} closed", same.len()),
        status => format!("{status} to {}", same.len()),
    });
    let most = answers.iter().map(|(_, taken)| *taken).max().unwrap_or_default();
    format!("{}, {} KiB of one taken at most", counts.collect::<Vec<_>>().join(", "), most >> 10)
}

/// Does it so often at least, and until the span is over.
fn over_and_over<const N: usize>(target: &Target<'_>, least: usize, once: impl Fn() -> [(String, usize); N]) -> Vec<(String, usize)> {
    let start = Instant::now();
    let until = |done: &usize| *done < least || start.elapsed() < target.span;
    (0..).take_while(until).flat_map(|_| once()).collect()
}

/// Headers of a mebioctet.
fn large_headers(target: &Target<'_>) -> Sent {
    let (start, filler, most) = (Instant::now(), vec![b'a'; 16 << 10], 1 << 20);
    let each = target.part(200);
    let counted = |of| target.server.metric(&format!("flowsteer_{of}_refused_total{{limit=\"header_bytes\"}}"));
    let before = ["rtsp", "http"].map(counted);
    let beginnings = [
        (target.server.rtsp, "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: "),
        (target.server.http, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "),
    ];
    let ask = || beginnings.map(|(to, beginning)| insist(to, beginning, &filler, most));
    let answers = over_and_over(target, each, ask);
    let each = answers.len() / beginnings.len();
    assert!(answers.iter().all(|(said, _)| matches!(status(said), 0 | 413 | 431)), "{}", tally(&answers));
    let span = start.elapsed();
    // HTTP counts it when the connection is over, which was answered before.
    while ["rtsp", "http"].map(counted).iter().zip(before).any(|(after, before)| after - before < each as f64) {
        let counted = ["rtsp", "http"].map(counted);
        assert!(start.elapsed() < span + SOON, "of {each}: {before:?}, then {counted:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Sent { what: "headers", count: answers.len(), span, answer: tally(&answers) }
}

/// Bodies of a gibioctet, and some that do not end.
fn large_bodies(target: &Target<'_>) -> Sent {
    let (start, each, most) = (Instant::now(), target.part(100), 64 << 20);
    let counted = || target.server.metric("flowsteer_http_refused_total{limit=\"body_bytes\"}");
    let before = counted();
    let http = |framing: &str| format!("POST /api/v1/home-addresses HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
    let plain = vec![b'a'; 16 << 10];
    let chunk = [b"4000\r\n".as_slice(), &plain, b"\r\n"].concat();
    let large = "SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1073741824\r\n\r\n".to_owned();
    let cases = [
        (target.server.http, http("Content-Length: 1073741824"), &plain),
        (target.server.http, http("Transfer-Encoding: chunked"), &chunk),
        (target.server.rtsp, large, &plain),
    ];
    let ask = || cases.each_ref().map(|(to, beginning, filler)| insist(*to, beginning, filler, most));
    let answers = over_and_over(target, each, ask);
    let each = answers.len() / cases.len();
    assert!(answers.iter().all(|(said, _)| matches!(status(said), 0 | 413)), "{}", tally(&answers));
    assert!(answers.iter().any(|(said, _)| status(said) == 413), "{}", tally(&answers));
    assert!(counted() - before >= 2.0 * each as f64, "of {}: {before}, then {}", 2 * each, counted());
    Sent { what: "bodies", count: answers.len(), span: start.elapsed(), answer: tally(&answers) }
}

/// Does something, and how long a new player waits for an answer meanwhile, at the most.
fn beside_somebody_new<T>(target: &Target<'_>, attack: impl FnOnce() -> T) -> (T, Duration) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let new = scope.spawn(|| {
            let mut most = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                somebody_new_is_answered(target.server);
                most = most.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let done = attack();
        over.store(true, Ordering::Relaxed);
        (done, new.join().expect("it is answered"))
    })
}

/// Sends the same octets over some connections as fast as they are taken; how often. `reads`: the answers are taken, too.
fn pour(target: &Target<'_>, octets: &[u8], connections: usize, reads: bool) -> (usize, Duration, String) {
    let ((whole, span), new) = beside_somebody_new(target, || pour_alone(target, octets, connections, reads));
    // Where all attacks are made at once, the others count as well.
    assert!(target.rate.is_some() || new < Duration::from_millis(500), "somebody new waits for {new:.2?}");
    (whole, span, format!("somebody new within {new:.1?}"))
}

fn pour_alone(target: &Target<'_>, octets: &[u8], connections: usize, reads: bool) -> (usize, Duration) {
    let mut open: Vec<(TcpStream, usize)> =
        (0..connections).map(|number| (connect(target.server.rtsp, attacker(10 + number)), 0)).collect();
    open.iter().for_each(|(connection, _)| connection.set_nonblocking(true).expect("possible"));
    let (start, mut whole, mut buffer) = (Instant::now(), 0, vec![0; 64 << 10]);
    while start.elapsed() < target.span {
        let mut went = false;
        for (connection, at) in &mut open {
            if reads {
                while matches!(connection.read(&mut buffer), Ok(1..)) {
                    went = true;
                }
            }
            if let Ok(len) = connection.write(&octets[*at..]) {
                went |= len > 0;
                *at += len;
            }
            if *at == octets.len() {
                (*at, whole) = (0, whole + 1);
            }
        }
        if !went || target.rate.is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    (whole, start.elapsed())
}

/// So many requests as one block.
const BLOCK: usize = 100;

fn requests(server: &Server) -> Vec<u8> {
    let url = format!("rtsp://{}/short.mp4", server.rtsp);
    let request = |number| if number % 10 == 0 { rtsp("DESCRIBE", &url, number, "") } else { rtsp("OPTIONS", "*", number, "") };
    (0..BLOCK).map(request).collect::<String>().into_bytes()
}

fn pipelined(target: &Target<'_>) -> Sent {
    let (blocks, span, new) = pour(target, &requests(target.server), 8, true);
    Sent { what: "requests", count: blocks * BLOCK, span, answer: format!("answered, {new}") }
}

fn pipelined_unread(target: &Target<'_>) -> Sent {
    let (blocks, span, new) = pour(target, &requests(target.server), 8, false);
    Sent { what: "requests", count: blocks * BLOCK, span, answer: format!("not read on, {new}") }
}

/// Interleaved frames on channels that nobody has, with what is nothing.
fn interleaved_junk(target: &Target<'_>) -> Sent {
    let mut noise = Noise(7);
    let frame = |_| {
        let mut octets = vec![b'$', noise.octet(), 0, 200];
        octets.extend(std::iter::repeat_with(|| noise.octet()).take(200));
        octets
    };
    let block: Vec<u8> = (0..BLOCK).flat_map(frame).collect();
    let (blocks, span, new) = pour(target, &block, 4, true);
    Sent { what: "frames", count: blocks * BLOCK, span, answer: format!("dropped, {new}") }
}

/// TLS handshakes that end when the server has signed its part.
fn handshakes(target: &Target<'_>) -> Sent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name).expect("it begins").write_tls(&mut hello).expect("memory takes it");
    let counted = || target.server.metric("flowsteer_tls_failed_handshakes_total{door=\"rtsps\"");
    let (before, start, mut count) = (counted(), Instant::now(), 0);
    while start.elapsed() < target.span {
        let mut connection = connect(target.server.rtsps, attacker(50 + count));
        connection.write_all(&hello).expect("sent");
        assert!(connection.read(&mut [0; 64]).expect("an answer") > 0, "closed");
        count += 1;
        if target.rate.is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let span = start.elapsed();
    somebody_new_is_answered(target.server);
    while counted() - before < count as f64 {
        assert!(start.elapsed() < target.span + SOON, "{} of {count} are counted", counted() - before);
        std::thread::sleep(Duration::from_millis(10));
    }
    Sent { what: "handshakes", count, span, answer: "each counted as failed".into() }
}

/// The same octets for each run (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octet(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }

    fn datagram(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.octet()).take(len).collect()
    }
}

/// Datagrams over a connected socket, in turn, as fast as one thread sends them.
fn flood(target: &Target<'_>, socket: &UdpSocket, datagrams: &[Vec<u8>]) -> (usize, Duration) {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < target.span {
        for datagram in datagrams {
            count += usize::from(socket.send(datagram).is_ok());
        }
        if let Some(rate) = target.rate {
            let due = Duration::from_secs_f64(count as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    (count, start.elapsed())
}

fn stranger(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((attacker(66), 0)).expect("bound");
    socket.connect(to).expect("connected");
    socket
}

fn junk(target: &Target<'_>, to: SocketAddr, counter: &str) -> Sent {
    let mut noise = Noise(11);
    let datagrams: Vec<Vec<u8>> = (0..64).map(|number| noise.datagram(8 + number * 8)).collect();
    let before = target.server.metric(counter);
    let (count, span) = flood(target, &stranger(to), &datagrams);
    somebody_new_is_answered(target.server);
    let taken = target.server.metric(counter) - before;
    assert!(taken > 0.0, "none is counted as {counter}");
    Sent { what: "datagrams", count, span, answer: format!("{:.0} % of them dropped by name", 100.0 * taken / count as f64) }
}

fn junk_to_rtp(target: &Target<'_>) -> Sent {
    junk(target, target.watched.server, "flowsteer_datagrams_ignored_total")
}

fn rtcp_port(target: &Target<'_>) -> SocketAddr {
    SocketAddr::new(target.watched.server.ip(), target.watched.server.port() + 1)
}

fn junk_to_rtcp(target: &Target<'_>) -> Sent {
    junk(target, rtcp_port(target), "flowsteer_datagrams_ignored_total")
}

fn junk_to_mobility(target: &Target<'_>) -> Sent {
    junk(target, target.server.mobility, "flowsteer_mobility_total{event=\"rx_malformed\"}")
}

/// A Binding Update under a key that the server knows, with an authenticator that is wrong.
pub fn badly_signed_update() -> Vec<u8> {
    let (mut message, _) = update();
    message.authenticate(Spi(KNOWN_SPI), |_| [9; 16]).expect("fits")
}

/// A Binding Update, and itself without an authenticator.
pub fn update() -> (Message, Vec<u8>) {
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of("fd00::1".parse().expect("an address")));
    let care_of = Some(Ipv4Addr::new(127, 0, 3, 77).into());
    options.push(BindingIdentifier { binding: BindingId(1), status: 0, priority: Default::default(), care_of });
    let flags = UpdateFlags(UpdateFlags::ACKNOWLEDGE.0 | UpdateFlags::HOME_REGISTRATION.0);
    let message = Message::BindingUpdate(BindingUpdate { sequence: 1, flags, lifetime: Lifetime::from_seconds(300), options });
    let octets = message.to_vec().expect("fits");
    (message, octets)
}

fn badly_signed(target: &Target<'_>) -> Sent {
    let before = target.server.metric("flowsteer_mobility_total{event=\"auth_fail\"}");
    let (count, span) = flood(target, &stranger(target.server.mobility), &vec![badly_signed_update(); 64]);
    somebody_new_is_answered(target.server);
    let taken = target.server.metric("flowsteer_mobility_total{event=\"auth_fail\"}") - before;
    assert!(taken > 0.0, "none is counted");
    Sent { what: "updates", count, span, answer: format!("{:.0} % of them checked and dropped", 100.0 * taken / count as f64) }
}

/// Receiver Reports, goodbyes and requests for packets of sources that there are not, from the port that the watched session's own
/// reports come from: a stranger who forges its address sends no other.
fn forged_reports(target: &Target<'_>) -> Sent {
    let mut noise = Noise(13);
    let mut forged = |number: usize| {
        let report: Vec<u8> = [&[0x81, 201, 0, 7][..], &noise.datagram(28)].concat();
        let more: Vec<u8> = match number % 3 {
            0 => [&[0x81, 203, 0, 1][..], &noise.datagram(4)].concat(),
            // Generic NACK (RFC 4585 section 6.2.1).
            1 => [&[0x81, 205, 0, 18][..], &noise.datagram(72)].concat(),
            _ => Vec::new(),
        };
        [report, more].concat()
    };
    let datagrams: Vec<Vec<u8>> = (0..64).map(&mut forged).collect();
    let before = reported(target.server);
    let (count, span) = flood(target, &target.watched.rtcp, &datagrams);
    somebody_new_is_answered(target.server);
    assert_eq!(reported(target.server), before, "a report of nobody's is believed");
    Sent { what: "reports", count, span, answer: "none believed".into() }
}

/// What the watched session's receiver is known to have reported: whom each flow goes to, losses, jitter, round trips.
fn reported(server: &Server) -> Vec<serde_json::Value> {
    let session = watched_entry(server).expect("it plays");
    let flows = session["flows"].as_array().expect("flows are listed");
    let branches = flows.iter().flat_map(|flow| flow["branches"].as_array().expect("branches are listed"));
    let fields = ["bindingId", "careOf", "state", "lossFraction", "jitterMs", "roundTripMs"];
    branches.map(|branch| fields.map(|field| branch[field].clone()).into_iter().collect()).collect()
}

/// Streams of events that nobody reads, and events.
fn event_streams(target: &Target<'_>) -> Sent {
    let (start, count) = (Instant::now(), target.part(1000));
    let open: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = connect(target.server.http, attacker(20 + number / 200));
            stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
            assert_eq!(status(&head(&mut stream).expect("an answer")), 200);
            stream
        })
        .collect();
    let mut events = 0;
    let begun = Instant::now();
    while begun.elapsed() < target.span {
        events += come_and_go(target.server, 16, attacker(30)).0;
    }
    somebody_new_is_answered(target.server);
    drop(open);
    Sent { what: "streams", count, span: start.elapsed(), answer: format!("unread, beside {events} sessions") }
}

/// The session that is watched, as its operator sees it.
fn watched_entry(server: &Server) -> Option<serde_json::Value> {
    let (status, sessions) = server.get("/api/v1/sessions", &[]);
    assert_eq!(status, 200, "{sessions}");
    let sessions: Vec<serde_json::Value> = serde_json::from_str(&sessions).expect("a list");
    sessions.into_iter().find(|session| session["title"] == WATCHED && session["state"] == "playing")
}

/// Its number and its home address.
pub fn watched_session(server: &Server) -> Option<(String, String)> {
    let session = watched_entry(server)?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    Some((text(&session["id"])?, text(&session["flows"][0]["homeAddress"])?))
}

/// Requests as a page of another site, or one under a name that was made to mean this machine, has a browser make them.
fn foreign_pages(target: &Target<'_>) -> Sent {
    const PAGES: [&[(&str, &str)]; 5] = [
        &[("Host", "rebound.example:8080")],
        &[("Host", "localhost"), ("Origin", "http://rebound.example:8080")],
        &[("Host", "127.0.0.1"), ("Origin", "null")],
        &[("Host", "localhost"), ("Sec-Fetch-Site", "cross-site")],
        &[("Host", "localhost"), ("X-Forwarded-For", "192.0.2.1")],
    ];
    let (id, home) = watched_session(target.server).expect("it plays");
    let (end, pause) = (format!("/api/v1/sessions/{id}/end"), format!("/api/v1/sessions/{id}/pause"));
    let (release, context) = (format!("/api/v1/home-addresses/{home}"), format!("/api/v1/home-addresses/{home}/context"));
    let calls = [
        ("GET", "/api/v1/sessions"),
        ("POST", "/api/v1/home-addresses"),
        ("GET", "/api/v1/events"),
        ("POST", &end),
        ("POST", &pause),
        ("DELETE", &release),
        ("POST", &context),
    ];
    let (start, mut count) = (Instant::now(), 0);
    let mut connection = connect(target.server.http, LOCAL);
    while count == 0 || start.elapsed() < target.span {
        for headers in PAGES {
            for (method, path) in calls {
                let (status, body) = ask_http(&mut connection, &http(method, path, headers, ""));
                assert!(matches!(status, 401 | 403), "{method} {path} with {headers:?}: {status} {body}");
                count += 1;
            }
        }
    }
    assert_eq!(watched_session(target.server), Some((id, home)), "it is still there");
    Sent { what: "requests", count, span: start.elapsed(), answer: "401 or 403 to each".into() }
}

/// Sessions of one connection: `rtsp.sessions_per_connection`.
const SESSIONS: usize = 16;

/// A connection, and the sessions set up over it.
struct SetUp {
    connection: TcpStream,
    sessions: Vec<String>,
    refused: usize,
}

fn ask_all(connection: &mut TcpStream, requests: &[String]) -> Vec<String> {
    connection.write_all(requests.concat().as_bytes()).expect("sent");
    // Nothing but answers comes before PLAY: nothing stays behind in the reader.
    let mut answers = BufReader::new(connection);
    requests.iter().map(|_| head(&mut answers).expect("an answer")).collect()
}

fn set_up(server: &Server, count: usize, transport: impl Fn(usize) -> String, from: Ipv4Addr) -> SetUp {
    let mut connection = connect(server.rtsp, from);
    let url = format!("rtsp://{}/short.mp4/trackID=0", server.rtsp);
    let request = |number| rtsp("SETUP", &url, number, &format!("Transport: {}\r\n", transport(number)));
    let answers = ask_all(&mut connection, &(0..count).map(request).collect::<Vec<_>>());
    let sessions: Vec<String> = answers.iter().filter(|answer| status(answer) == 200).filter_map(|answer| session(answer)).collect();
    let refused = answers.iter().filter(|answer| matches!(status(answer), 453 | 503)).count();
    assert_eq!(sessions.len() + refused, count, "{:?}", answers.iter().find(|answer| !matches!(status(answer), 200 | 453 | 503)));
    SetUp { connection, sessions, refused }
}

fn tear_down(server: &Server, set_up: &mut SetUp) {
    let url = format!("rtsp://{}/short.mp4/", server.rtsp);
    let request = |id: &String| rtsp("TEARDOWN", &url, 1, &format!("Session: {id}\r\n"));
    let answers = ask_all(&mut set_up.connection, &set_up.sessions.drain(..).map(|id| request(&id)).collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| status(answer) == 200), "{answers:?}");
}

/// Sessions that are set up and not played, all at once; then `beside` is done, and they are torn down.
fn hold_set_ups(target: &Target<'_>, beside: impl FnOnce()) -> (usize, usize, Duration) {
    let (start, most) = (Instant::now(), target.part(10_000));
    let port = |connection: usize, number: usize| 2 * (5000 + (connection * SESSIONS + number) % 20_000);
    let transport = |connection: usize| {
        move |number| format!("RTP/AVP;unicast;client_port={}-{}", port(connection, number), port(connection, number) + 1)
    };
    let mut held: Vec<SetUp> =
        (0..most.div_ceil(SESSIONS)).map(|connection| set_up(target.server, SESSIONS, transport(connection), attacker(40))).collect();
    let span = start.elapsed();
    beside();
    let (made, refused) = held.iter().fold((0, 0), |(made, refused), one| (made + one.sessions.len(), refused + one.refused));
    held.iter_mut().for_each(|one| tear_down(target.server, one));
    (made, refused, span)
}

fn set_ups(target: &Target<'_>) -> Sent {
    let (made, refused, span) = hold_set_ups(target, || std::thread::sleep(target.span));
    Sent { what: "SETUPs", count: made + refused, span, answer: format!("{refused} refused, {made} held and torn down") }
}

/// Datagrams from ports that nobody told, from the address at which all of these are awaited.
fn junk_beside_set_ups(target: &Target<'_>) -> Sent {
    let mut flooded = (0, Duration::ZERO);
    let (made, ..) = hold_set_ups(target, || {
        let socket = UdpSocket::bind((attacker(40), 0)).expect("bound");
        socket.connect(target.watched.server).expect("connected");
        flooded = flood(target, &socket, &vec![Noise(17).datagram(200); 64]);
    });
    Sent { what: "datagrams", count: flooded.0, span: flooded.1, answer: format!("beside {made} sessions of that address") }
}

/// So many sessions come, a quarter of them play, and go: half of them are torn down, the others' connection ends. How many, and how long it took.
pub fn come_and_go(server: &Server, count: usize, from: Ipv4Addr) -> (usize, Duration) {
    let start = Instant::now();
    let mut made = 0;
    while made < count {
        let transport = |number| format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * number, 2 * number + 1);
        let mut one = set_up(server, SESSIONS, transport, from);
        made += one.sessions.len();
        let url = format!("rtsp://{}/short.mp4/", server.rtsp);
        let play = |id: &String| rtsp("PLAY", &url, 1, &format!("Session: {id}\r\n"));
        let playing: String = one.sessions.iter().skip(SESSIONS * 3 / 4).map(play).collect();
        one.sessions.truncate(SESSIONS / 2);
        tear_down(server, &mut one);
        one.connection.write_all(playing.as_bytes()).expect("sent");
        // Until the first of them is answered; media and the end of the connection come between.
        let _ = head(&mut one.connection);
    }
    (made, start.elapsed())
}
