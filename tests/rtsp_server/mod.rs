//! A whole server in the test's process, on loopback, and a player that speaks RTSP by hand.
//!
//! The player reads responses with the crate `rtsp-types`, which shares nothing with the server's own codec.

#![allow(dead_code)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flowsteer::dataplane::{DataPlane, DataPlaneSettings, Director};
use flowsteer::library::Library;
use flowsteer::library::live::LiveSettings;
use flowsteer::net::{Connections, now};
use flowsteer::playback::{Command, Perform, PlaybackError, PresentationId, PresentationSnapshot, Stage};
use flowsteer::rtsp::publishers::{PublishRules, Publishers};
use flowsteer::rtsp::server::serve;
use flowsteer::rtsp::service::{RtspSettings, Service};
use flowsteer::rtsp::session::Sessions;
use flowsteer::steering::{BindingCache, GrantOptions, HomeAddress, SteeringSettings, token};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How soon something must happen.
pub const SOON: Duration = Duration::from_secs(10);

/// The way to the presentations, looked at.
pub struct Watched {
    director: Arc<Director>,
    /// Reports of receivers that were handed over.
    pub reports: AtomicUsize,
    /// Commands that somebody waited for.
    pub waits: AtomicUsize,
    /// As if too many commands waited.
    pub full: AtomicBool,
}

impl Perform for Watched {
    fn perform(&self, command: Command) {
        if matches!(command, Command::Rtcp { .. }) {
            self.reports.fetch_add(1, Ordering::Relaxed);
        } else if !matches!(command, Command::RouteChanged { .. }) {
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
        match self.full.load(Ordering::Relaxed) {
            true => command.refuse(PlaybackError::Busy),
            false => self.director.perform(command),
        }
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub watched: Arc<Watched>,
    pub steering: Arc<BindingCache>,
    pub service: Arc<Service>,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    plane: Option<DataPlane>,
}

impl Server {
    /// Serves `media/` on 127.0.0.1.
    pub fn start() -> Self {
        Self::with(Path::new("media"), |_| {}, |_| {})
    }

    /// Serves a folder on 127.0.0.1, with other settings.
    pub fn with(media: &Path, change: impl FnOnce(&mut RtspSettings), prepare: impl FnOnce(&BindingCache)) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), media, change, prepare)
    }

    /// Serves a folder on an interface.
    pub fn at(interface: IpAddr, media: &Path, change: impl FnOnce(&mut RtspSettings), prepare: impl FnOnce(&BindingCache)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let settings = DataPlaneSettings { port: 0, shards: 1, ..DataPlaneSettings::default() };
        let prepared = DataPlane::prepare(&settings).expect("free ports");
        let watched = Arc::new(Watched {
            director: prepared.director(),
            reports: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        });
        let stage = Stage::new(Arc::clone(&watched) as Arc<dyn Perform>);
        let told = stage.clone();
        let changed = move |_: HomeAddress, player: Option<u64>| {
            if let Some(id) = player {
                told.tell(Command::RouteChanged { presentation: PresentationId(id) });
            }
        };
        let mut steering = SteeringSettings::new("fd00::/64".parse().expect("a prefix"));
        steering.default_window = Duration::from_millis(300);
        let random = |octets: &mut [u8]| getrandom::fill(octets).expect("random octets");
        let steering = Arc::new(BindingCache::new(steering, Box::new(random), Box::new(changed)));
        prepare(&steering);
        let connections = Arc::new(Connections::default());
        let plane = prepared.start(&settings, &steering, &connections, now).expect("threads");
        let mut rtsp = RtspSettings { rtp_port: plane.port(), ..RtspSettings::default() };
        change(&mut rtsp);
        let library = Arc::new(Library::open(media).expect("the library"));
        let live = Arc::clone(library.live());
        let service = Arc::new(Service {
            stage,
            steering: Arc::clone(&steering),
            library,
            publishers: Arc::new(Publishers::new(PublishRules::default(), live, LiveSettings::default(), Arc::clone(&connections))),
            sessions: Sessions::default(),
            refusals: Arc::default(),
            settings: rtsp,
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind((interface, 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(serve(vec![listener.into()], Arc::clone(&service), connections, stopped));
        let tended = Arc::clone(&steering);
        runtime.spawn(async move {
            loop {
                tended.handle_timeout(now());
                while tended.poll_event().is_some() {}
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { address, watched, steering, service, runtime, stop, plane: Some(plane) }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("rtsp://{}/{path}", self.address)
    }

    /// What the only presentation does; `None` where there is none.
    pub fn presentation(&self) -> Option<PresentationSnapshot> {
        let mut all = self.runtime.block_on(self.service.stage.snapshots()).expect("the data plane answers");
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    }

    /// Waits until the only presentation is as it should be.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(Option<&PresentationSnapshot>) -> bool) -> Option<PresentationSnapshot> {
        let start = Instant::now();
        loop {
            let found = self.presentation();
            if is_so(found.as_ref()) {
                return found;
            }
            assert!(start.elapsed() < SOON, "waited in vain: {what}; {found:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A token for these home addresses.
    pub fn token(&self, homes: &[HomeAddress]) -> String {
        let options = GrantOptions { transfer_id: Some(7), ..GrantOptions::default() };
        let grants: Vec<_> = homes.iter().map(|home| self.steering.issue_grant(*home, &options, now()).expect("issued")).collect();
        token(&grants)
    }

    /// The take-over URL of the only presentation: its first home address, and a token for all.
    pub fn takeover(&self) -> (String, String) {
        let snapshot = self.presentation().expect("something plays");
        let homes: Vec<HomeAddress> = snapshot.flows.iter().map(|flow| flow.facts.home).collect();
        (self.url(&format!("home/{}/all", homes[0])), self.token(&homes))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(plane) = self.plane.take() {
            plane.stop();
        }
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub phrase: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn expect(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:#?}");
        self
    }

    /// The session's id, without its parameters.
    #[track_caller]
    pub fn session(&self) -> String {
        self.expect("Session").split(';').next().expect("splitting gives one").to_owned()
    }

    /// Where `Range` starts, in seconds.
    #[track_caller]
    pub fn start(&self) -> f64 {
        let range = self.expect("Range");
        let start = range.strip_prefix("npt=").and_then(|range| range.split('-').next());
        start.and_then(|start| start.parse().ok()).unwrap_or_else(|| panic!("Range: {range}"))
    }
}

/// A connection of a player.
pub struct Player {
    stream: TcpStream,
    received: Vec<u8>,
    next_sequence: u32,
    /// Interleaved packets: when, channel, octets.
    pub packets: VecDeque<(Instant, u8, Vec<u8>)>,
    /// Sent with each request.
    pub session: Option<String>,
}

impl Player {
    pub fn connect(server: &Server) -> Self {
        Self::over(TcpStream::connect(server.address).expect("the server listens"))
    }

    /// Connects from another address of the loopback network.
    pub fn connect_from(server: &Server, address: IpAddr) -> Self {
        let domain = socket2::Domain::for_address(server.address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(address, 0).into()).expect("an address of the loopback network");
        socket.connect(&server.address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    /// Connects with a small receive buffer and small segments: what is not read stays with the server.
    pub fn connect_narrow(server: &Server) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("possible");
        socket.set_tcp_mss(536).expect("possible");
        socket.connect(&server.address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("possible");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("possible");
        Self { stream, received: Vec::new(), next_sequence: 1, packets: VecDeque::new(), session: None }
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).expect("the connection takes it");
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Reply {
        let sequence = self.post(method, url, headers);
        let reply = self.reply();
        assert_eq!(reply.header("CSeq"), Some(sequence.to_string().as_str()), "{method} {url}: {reply:#?}");
        reply
    }

    /// Asks without waiting; the request's `CSeq`.
    pub fn post(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut request = format!("{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\n");
        if let Some(session) = &self.session {
            request += &format!("Session: {session}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.send((request + "\r\n").as_bytes());
        sequence
    }

    /// The next response.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        let start = Instant::now();
        loop {
            if let Some(reply) = self.take_response() {
                return reply;
            }
            assert!(start.elapsed() < SOON, "no answer");
            assert!(self.fill(), "closed instead of an answer");
        }
    }

    /// The next response, where it has come.
    #[track_caller]
    pub fn reply_if_there(&mut self) -> Option<Reply> {
        let is_open = self.fill();
        let reply = self.take_response();
        assert!(is_open || reply.is_some(), "closed instead of an answer");
        reply
    }

    /// The next interleaved packet on a channel.
    #[track_caller]
    pub fn packet(&mut self, channel: u8) -> (Instant, Vec<u8>) {
        let start = Instant::now();
        loop {
            assert!(self.take_response().is_none(), "a response that nobody waits for");
            while let Some((at, of, octets)) = self.packets.pop_front() {
                if of == channel {
                    return (at, octets);
                }
            }
            assert!(start.elapsed() < SOON, "no packet on channel {channel}");
            assert!(self.fill(), "closed instead of a packet");
        }
    }

    /// Waits for the server to close the connection; how long that took.
    #[track_caller]
    pub fn closed(&mut self) -> Duration {
        let start = Instant::now();
        while self.fill() {
            assert!(start.elapsed() < SOON, "still open");
        }
        start.elapsed()
    }

    /// Whether the connection is still open.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                true
            }
            // A socket that waits for a limited time is interrupted where the process is stopped and goes on.
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
        }
    }

    fn take_response(&mut self) -> Option<Reply> {
        loop {
            if self.received.is_empty() {
                return None;
            }
            let (message, used) = match rtsp_types::Message::<Vec<u8>>::parse(&self.received) {
                Ok(parsed) => parsed,
                Err(rtsp_types::ParseError::Incomplete(_)) => return None,
                Err(rtsp_types::ParseError::Error) => panic!("no RTSP: {:?}", String::from_utf8_lossy(&self.received)),
            };
            self.received.drain(..used);
            match message {
                rtsp_types::Message::Data(data) => {
                    self.packets.push_back((Instant::now(), data.channel_id(), data.into_body()));
                }
                rtsp_types::Message::Response(response) => {
                    return Some(Reply {
                        status: u16::from(response.status()),
                        phrase: response.reason_phrase().to_owned(),
                        headers: response.headers().map(|(name, value)| (name.to_string(), value.as_str().to_owned())).collect(),
                        body: String::from_utf8(response.body().clone()).expect("UTF-8"),
                        at: Instant::now(),
                    });
                }
                rtsp_types::Message::Request(request) => panic!("the server asks: {request:?}"),
            }
        }
    }
}
