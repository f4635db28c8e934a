//! What a flood of signalling does to a film that plays: datagrams of noise, and well-formed updates with wrong authenticators,
//! as fast as one core sends them, beside one RTSP session over UDP on loopback.
//!
//! `cargo bench --bench signalling_flood` prints, for a quiet time and for each kind of flood: datagrams sent and taken a second,
//! RTP packets received and lost, and by how much packets came later than their timestamps say (relative to the earliest).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flowsteer::mobility::wire::{BindingIdentifier, BindingUpdate, HomeNetworkPrefix, Lifetime, Message, Options, UpdateFlags};
use flowsteer::steering::{BindingId, Spi};

/// So many datagrams a second are a flood.
const LEAST: f64 = 100_000.0;
const SPAN: Duration = Duration::from_secs(10);
/// The name of a key that the server has: an authenticator under it is computed before it is found to be wrong.
const KNOWN: u32 = 0x1000;

struct Server {
    child: Child,
    rtsp: String,
    http: String,
    mobility: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
        let config = std::env::temp_dir().join(format!("flowsteer-flood-{}.toml", std::process::id()));
        let key = format!("[[mobility.keys]]\nspi = {KNOWN:#x}\nnai = \"device\"\nkey = \"{}\"\n", "07".repeat(32));
        std::fs::write(&config, key).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
        command.arg("serve").arg(media).args(["--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mobility", "127.0.0.1:0"]);
        command.args(["--rtp-port", "0", "--state", "none", "--log", "error", "--config"]).arg(&config);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (mut rtsp, mut http, mut mobility) = (String::new(), String::new(), None);
        for line in out.lines().map_while(Result::ok) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("rtsp") => rtsp = words.next().unwrap_or_default().trim_end_matches('/').to_owned(),
                Some("http") => http = words.next().unwrap_or_default().trim_end_matches('/').to_owned(),
                Some("mobility") => mobility = words.nth(1).and_then(|address| address.parse().ok()),
                Some("ready") => break,
                _ => {}
            }
        }
        let _ = std::fs::remove_file(config);
        Self { child, rtsp, http, mobility: mobility.expect("a line for the signalling") }
    }

    fn metric(&self, name: &str) -> f64 {
        let address = self.http.strip_prefix("http://").expect("a URL");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text.lines().filter_map(|line| line.strip_prefix(name)?.split(' ').next_back()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request, and its answer's head.
fn ask(stream: &mut TcpStream, method: &str, url: &str, sequence: u32, headers: &str) -> String {
    write!(stream, "{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\n{headers}\r\n").expect("sent");
    let (mut head, mut octet) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut octet).expect("an answer");
        head.push(char::from(octet[0]));
    }
    assert!(head.starts_with("RTSP/1.0 200"), "{head}");
    head
}

/// What a receiver saw of one track.
struct Seen {
    packets: u64,
    lost: u64,
    late_ms: Vec<f64>,
}

/// Receives one track of 90 kHz for a while.
fn receive(socket: &UdpSocket, span: Duration) -> Seen {
    let mut buffer = [0; 2048];
    // What has waited in the socket meanwhile came in time.
    socket.set_nonblocking(true).expect("possible");
    while socket.recv(&mut buffer).is_ok() {}
    socket.set_nonblocking(false).expect("possible");
    let (mut last, mut first) = (None::<u16>, None::<u32>);
    let (mut packets, mut lost) = (0, 0);
    let mut offsets = Vec::new();
    let begun = Instant::now();
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("possible");
    while begun.elapsed() < span {
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        if len < 12 || buffer[0] >> 6 != 2 {
            continue;
        }
        let at = begun.elapsed().as_secs_f64() * 1000.0;
        let sequence = u16::from_be_bytes([buffer[2], buffer[3]]);
        let timestamp = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
        lost += last.map_or(0, |last| u64::from(sequence.wrapping_sub(last).wrapping_sub(1)));
        last = Some(sequence);
        packets += 1;
        let media = f64::from(timestamp.wrapping_sub(*first.get_or_insert(timestamp)).cast_signed()) / 90.0;
        offsets.push(at - media);
    }
    let earliest = offsets.iter().copied().fold(f64::INFINITY, f64::min);
    let mut late_ms: Vec<f64> = offsets.iter().map(|offset| offset - earliest).collect();
    late_ms.sort_by(f64::total_cmp);
    Seen { packets, lost, late_ms }
}

/// Datagrams that one thread sends as fast as it can until told to stop.
fn flood(to: SocketAddr, datagram: Vec<u8>, stop: &Arc<AtomicBool>, sent: &Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let (stop, sent) = (Arc::clone(stop), Arc::clone(sent));
    std::thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        socket.connect(to).expect("connected");
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..64 {
                let taken = socket.send(&datagram).is_ok();
                sent.fetch_add(u64::from(taken), Ordering::Relaxed);
            }
        }
    })
}

fn badly_signed() -> Vec<u8> {
    let mut options = Options::default();
    options.push(HomeNetworkPrefix::of("fd00::1".parse().expect("an address")));
    options.push(BindingIdentifier {
        binding: BindingId(1),
        status: 0,
        priority: Default::default(),
        care_of: Some(Ipv4Addr::LOCALHOST.into()),
    });
    let flags = UpdateFlags(UpdateFlags::ACKNOWLEDGE.0 | UpdateFlags::HOME_REGISTRATION.0);
    let mut message = Message::BindingUpdate(BindingUpdate { sequence: 1, flags, lifetime: Lifetime::from_seconds(300), options });
    message.authenticate(Spi(KNOWN), |_| [9; 16]).expect("fits")
}

fn main() {
    let server = Server::start();
    let sockets = loop {
        let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let port = rtp.local_addr().expect("bound").port();
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1))
        {
            break (rtp, rtcp, port);
        }
    };
    let (rtp, _rtcp, port) = sockets;
    let mut stream = TcpStream::connect(server.rtsp.strip_prefix("rtsp://").expect("a URL")).expect("the server listens");
    let transport = format!("Transport: RTP/AVP;unicast;client_port={port}-{}\r\n", port + 1);
    let base = format!("{}/aligned.mp4", server.rtsp);
    let head = ask(&mut stream, "SETUP", &format!("{base}/trackID=0?loop"), 1, &transport);
    let session = head.lines().find_map(|line| line.strip_prefix("Session: ")).and_then(|id| id.split(';').next()).expect("a session");
    ask(&mut stream, "PLAY", &format!("{base}/"), 2, &format!("Session: {session}\r\n"));
    let noise: Vec<u8> = (0..128_u8).map(|octet| octet.wrapping_mul(73)).collect();
    println!(
        "{:<14} {:>12} {:>12} {:>9} {:>6} {:>9} {:>9} {:>9}",
        "flood", "sent/s", "taken/s", "packets", "lost", "p50 ms", "p99 ms", "max ms"
    );
    for (name, datagram) in [("none", None), ("noise", Some(noise)), ("badly signed", Some(badly_signed()))] {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let taken_so_far = || {
            server.metric("flowsteer_mobility_total{event=\"rx_malformed\"}")
                + server.metric("flowsteer_mobility_total{event=\"auth_fail\"}")
        };
        let before = taken_so_far();
        let thread = datagram.map(|datagram| flood(server.mobility, datagram, &stop, &sent));
        let seen = receive(&rtp, SPAN);
        stop.store(true, Ordering::Relaxed);
        if let Some(thread) = thread {
            thread.join().expect("it does not panic");
        }
        std::thread::sleep(Duration::from_millis(600));
        let taken = (taken_so_far() - before) / SPAN.as_secs_f64();
        assert_eq!(seen.lost, 0, "{name}: no packet is lost");
        let at = |share: f64| {
            seen.late_ms.get(((seen.late_ms.len() as f64 * share) as usize).min(seen.late_ms.len().saturating_sub(1))).copied()
        };
        println!(
            "{name:<14} {:>12.0} {taken:>12.0} {:>9} {:>6} {:>9.2} {:>9.2} {:>9.2}",
            sent.load(Ordering::Relaxed) as f64 / SPAN.as_secs_f64(),
            seen.packets,
            seen.lost,
            at(0.5).unwrap_or_default(),
            at(0.99).unwrap_or_default(),
            at(1.0).unwrap_or_default(),
        );
        assert!(at(0.99).is_some_and(|late| late < 20.0), "{name}: media keep their pace");
        let sent = sent.load(Ordering::Relaxed) as f64 / SPAN.as_secs_f64();
        assert!(name == "none" || (sent >= LEAST && taken >= LEAST), "{name}: a flood, and the server takes it: {sent:.0}/s, {taken:.0}/s");
    }
}
