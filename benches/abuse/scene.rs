//! A server of its own on loopback, a session that is watched, and what connections to it take.
//!
//! Arrivals are the kernel's stamps, so that a machine that is busy with the flood does not count as a late server.

use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

/// How soon an answer must come.
pub const SOON: Duration = Duration::from_secs(10);
/// A session without a packet for so long has stopped: its server may be kept from the processor for almost as long.
const STOPPED: Duration = Duration::from_millis(3500);
/// The name of a key that the server has: an authenticator under it is computed before it is found to be wrong.
pub const KNOWN_SPI: u32 = 0x1000;

/// The title that is watched.
pub const WATCHED: &str = "aligned.mp4";

/// The server under attack.
pub struct Server {
    child: Child,
    pub rtsp: SocketAddr,
    /// RTSP over TLS.
    pub rtsps: SocketAddr,
    pub http: SocketAddr,
    pub mobility: SocketAddr,
    /// Where its certificate is: it looks there each second.
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts it, with these keys of its configuration.
    pub fn start(configuration: &str) -> Self {
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [file, certificate, own_key] = ["flowsteer.toml", "own.crt", "own.key"].map(|name| folder.path().join(name));
        let pair = rcgen::KeyPair::generate().expect("a key");
        let signed = rcgen::CertificateParams::new(vec!["localhost".into()]).and_then(|parameters| parameters.self_signed(&pair));
        std::fs::write(&certificate, signed.expect("a certificate").pem()).expect("written");
        std::fs::write(&own_key, pair.serialize_pem()).expect("written");
        let key = format!("{configuration}\n[[mobility.keys]]\nspi = {KNOWN_SPI:#x}\nnai = \"device\"\nkey = \"{}\"\n", "07".repeat(32));
        std::fs::write(&file, key).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLOWSTEER_")) {
            command.env_remove(name);
        }
        command.arg("serve").arg(media).args(["--rtsp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mobility", "127.0.0.1:0"]);
        command.args(["--rtsps", "127.0.0.1:0", "--https", "none", "--rtp-port", "0", "--state", "none", "--log", "error"]);
        command.arg("--certificate").arg(certificate).arg("--key").arg(own_key).arg("--config").arg(file);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let (mut rtsp, mut rtsps, mut http, mut mobility) = (None, None, None, None);
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let url = || words.get(1)?.split("://").nth(1)?.trim_end_matches('/').parse().ok();
            match words.first() {
                Some(&"rtsp") => rtsp = url(),
                Some(&"rtsps") => rtsps = url(),
                Some(&"http") => http = url(),
                Some(&"mobility") => mobility = words.get(2).and_then(|address| address.parse().ok()),
                Some(&"ready") => break,
                _ => {}
            }
        }
        let told = |address: Option<SocketAddr>| address.expect("a line");
        Self { child, rtsp: told(rtsp), rtsps: told(rtsps), http: told(http), mobility: told(mobility), _folder: folder }
    }

    /// Resident memory in KiB, and descriptors.
    pub fn taken(&self) -> (u64, usize) {
        let folder = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count);
        (resident.expect("the server runs"), descriptors)
    }

    /// All of a metric's values that stand behind this, added up.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics", &[]).1;
        text.lines().filter_map(|line| line.strip_prefix(name)?.split(' ').next_back()?.parse::<f64>().ok()).sum()
    }

    /// An HTTP request as its operator makes it; `headers` go in place of `Host`, where there are any.
    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
        ask_http(&mut connect(self.http, LOCAL), &http("GET", target, headers, ""))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the watched session and those who behave come from.
pub const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A connection from an address of this machine.
pub fn connect(to: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let start = Instant::now();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
        match socket.connect_timeout(&to.into(), SOON) {
            Ok(()) => {
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true).expect("possible");
                stream.set_read_timeout(Some(SOON)).expect("above zero");
                return stream;
            }
            Err(error) => assert!(start.elapsed() < SOON, "no connection: {error}"),
        }
    }
}

/// A request over HTTP, as text; without a `Host` among them, it is to this machine.
pub fn http(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("{method} {target} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request += "Host: localhost\r\n";
    }
    headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
    request + "\r\n" + body
}

/// One HTTP request, and the status and body of its answer.
pub fn ask_http(connection: &mut TcpStream, request: &str) -> (u16, String) {
    connection.write_all(request.as_bytes()).expect("sent");
    let head = head(connection).expect("an answer");
    let len = value(&head, "content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    connection.read_exact(&mut body).expect("a body");
    (status(&head), String::from_utf8_lossy(&body).into_owned())
}

/// The head of an answer; `None` where the connection ends before.
pub fn head(connection: &mut impl Read) -> Option<String> {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read(&mut octet) {
            Ok(1..) => head.push(octet[0]),
            Ok(0) | Err(_) => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// A status line's number.
pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// A header's value.
pub fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
}

/// The session in an answer to SETUP.
pub fn session(head: &str) -> Option<String> {
    value(head, "session").map(|value| value.split(';').next().unwrap_or_default().to_owned())
}

/// A request over RTSP, as text.
pub fn rtsp(method: &str, url: &str, sequence: usize, headers: &str) -> String {
    format!("{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\n{headers}\r\n")
}

/// A packet of the watched session.
#[derive(Clone, Copy)]
struct Arrival {
    /// Milliseconds of the wall clock since the session is watched.
    at: f64,
    sequence: u16,
    timestamp: u32,
}

/// What was seen of it in a while.
#[derive(Debug)]
// The test looks at some of it.
#[allow(dead_code)]
pub struct Seen {
    pub packets: usize,
    pub lost: u64,
    /// By how much packets came later than their timestamps say, against the earliest of the whole session; in milliseconds.
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub most: f64,
    /// The longest time without a packet, in milliseconds.
    pub silence: f64,
}

/// A session over UDP whose pictures must not suffer.
pub struct Watched {
    /// Seconds of the wall clock.
    begun: f64,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _control: TcpStream,
    /// The receiver's RTCP socket, connected to the server's.
    pub rtcp: UdpSocket,
    /// The server's RTP port; RTCP is the next one.
    pub server: SocketAddr,
}

impl Watched {
    pub fn start(server: &Server) -> Self {
        let (rtp, rtcp, port) = loop {
            let rtp = UdpSocket::bind((LOCAL, 0)).expect("bound");
            let port = rtp.local_addr().expect("bound").port();
            if port.is_multiple_of(2)
                && let Ok(rtcp) = UdpSocket::bind((LOCAL, port + 1))
            {
                break (rtp, rtcp, port);
            }
        };
        if setsockopt(&rtp, sockopt::RcvBufForce, &(16 << 20)).is_err() {
            setsockopt(&rtp, sockopt::RcvBuf, &(4 << 20)).expect("a buffer");
        }
        setsockopt(&rtp, sockopt::ReceiveTimestampns, &true).expect("stamps");
        rtp.set_read_timeout(Some(Duration::from_millis(100))).expect("above zero");
        let mut control = connect(server.rtsp, LOCAL);
        let url = format!("rtsp://{}/{WATCHED}", server.rtsp);
        let transport = format!("Transport: RTP/AVP;unicast;client_port={port}-{}\r\n", port + 1);
        control.write_all(rtsp("SETUP", &format!("{url}/trackID=0?loop"), 1, &transport).as_bytes()).expect("sent");
        let answer = head(&mut control).expect("an answer");
        assert_eq!(status(&answer), 200, "{answer}");
        let ports = answer.split("server_port=").nth(1).and_then(|rest| rest.split(['-', ';']).next()).expect("ports");
        let there = SocketAddr::new(IpAddr::V4(LOCAL), ports.parse().expect("a port"));
        rtcp.connect((there.ip(), there.port() + 1)).expect("connected");
        let headers = format!("Session: {}\r\n", session(&answer).expect("a session"));
        control.write_all(rtsp("PLAY", &format!("{url}/"), 2, &headers).as_bytes()).expect("sent");
        let answer = head(&mut control).expect("an answer");
        assert_eq!(status(&answer), 200, "{answer}");
        let (arrivals, stop, begun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)), wall());
        let thread = {
            let (arrivals, stop, reports) = (Arc::clone(&arrivals), Arc::clone(&stop), rtcp.try_clone().expect("possible"));
            std::thread::spawn(move || watch(&rtp, &reports, begun, &arrivals, &stop))
        };
        let watched = Self { begun, arrivals, stop, thread: Some(thread), _control: control, rtcp, server: there };
        let start = Instant::now();
        while watched.mark() == 0 {
            assert!(start.elapsed() < SOON, "nothing plays");
            std::thread::sleep(Duration::from_millis(5));
        }
        watched
    }

    fn arrivals(&self) -> std::sync::MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packets that have come so far.
    pub fn mark(&self) -> usize {
        self.arrivals().len()
    }

    /// What has come since a mark, and comes still: the next packet is waited for, though not long.
    pub fn since(&self, mark: usize) -> Seen {
        let now = || (wall() - self.begun) * 1000.0;
        let asked = now();
        while now() - asked < STOPPED.as_secs_f64() * 1000.0 && self.arrivals().last().is_none_or(|last| last.at < asked) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let all = self.arrivals();
        let first = all.first().map_or(0, |arrival| arrival.timestamp);
        let offset = |arrival: &Arrival| arrival.at - f64::from(arrival.timestamp.wrapping_sub(first).cast_signed()) / 90.0;
        let earliest = all.iter().map(offset).fold(f64::INFINITY, f64::min);
        let mut late: Vec<f64> = all[mark..].iter().map(|arrival| offset(arrival) - earliest).collect();
        late.sort_by(f64::total_cmp);
        let gap = |pair: &[Arrival]| u64::from(pair[1].sequence.wrapping_sub(pair[0].sequence).wrapping_sub(1));
        let lost = all[mark.saturating_sub(1)..].windows(2).map(gap).sum();
        let mut times: Vec<f64> = all[mark.saturating_sub(1)..].iter().map(|arrival| arrival.at).collect();
        // Where none has come, the silence lasts.
        times.extend(Some(now()).filter(|_| times.last().is_none_or(|last| *last < asked)));
        let silence = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        let at = |share: f64| {
            late.get(((late.len() as f64 * share) as usize).min(late.len().saturating_sub(1))).copied().unwrap_or(f64::INFINITY)
        };
        Seen { packets: late.len(), lost, p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1.0), silence }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Seconds of the wall clock, as the kernel's stamps have it.
fn wall() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn watch(rtp: &UdpSocket, rtcp: &UdpSocket, begun: f64, arrivals: &Mutex<Vec<Arrival>>, stop: &AtomicBool) {
    let (mut buffer, mut control) = ([0; 2048], nix::cmsg_space!(TimeSpec));
    let mut reported = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if reported.elapsed() >= Duration::from_secs(1) {
            // A Receiver Report about nobody: somebody is there.
            let _ = rtcp.send(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
            reported = Instant::now();
        }
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let Ok(received) = recvmsg::<()>(rtp.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()) else { continue };
        let stamp = received.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() as f64 + at.tv_nsec() as f64 / 1e9),
                _ => None,
            })
        });
        let (len, Some(stamp)) = (received.bytes, stamp) else { continue };
        if len < 12 || buffer[0] >> 6 != 2 {
            continue;
        }
        let arrival = Arrival {
            at: (stamp - begun) * 1000.0,
            sequence: u16::from_be_bytes([buffer[2], buffer[3]]),
            timestamp: u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]),
        };
        arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
    }
}
