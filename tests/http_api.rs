//! The HTTP API over loopback: the real listener, the real binding cache and a real file; presentations are plain data, kept by a
//! stand-in for the data plane, so that nothing here waits for media.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use flowsteer::access::{Access, AccessList, AccessRule, Hashing, PasswordHash, Role, SessionTimes, User};
use flowsteer::http::api::{Api, ApiSettings};
use flowsteer::http::authority::Operators;
use flowsteer::http::connection::Limits;
use flowsteer::http::devices::{Devices, NamedDevice};
use flowsteer::http::event::{Announcer, ApiEvent};
use flowsteer::http::page::PICTURES_PER_ADDRESS;
use flowsteer::library::{Library, Title, TitlePath};
use flowsteer::net::{Shares, now};
use flowsteer::now::Mono;
use flowsteer::playback::{
    BranchSnapshot, Command, FlowFacts, FlowSnapshot, FlowStart, Opening, Perform, PlaybackError, Playing, PresentationId,
    PresentationSnapshot, PresentationState, Scale, SeekStyle, Speed, Stage,
};
use flowsteer::quantities::{ClockRate, FlowLabel, MediaTime, PayloadType, Ssrc};
use flowsteer::steering::{
    Authority, BindingCache, BindingId, CareOf, DropReason, Expectation, Holder, HomeAddress, Join, JoinWay, Mode, Owner, PacketFacts,
    Proof, Reserve, SteeringSettings, Update,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const PRESENTATION: PresentationId = PresentationId(7);

/// Presentations as plain data.
struct Presentations {
    known: Mutex<BTreeMap<PresentationId, PresentationSnapshot>>,
    steering: Arc<BindingCache>,
    /// As if too many commands waited.
    full: Arc<AtomicBool>,
    /// How often presentations were described.
    described: Arc<AtomicUsize>,
}

impl Presentations {
    /// A presentation with the branches that steering knows of.
    fn shown(&self, snapshot: &PresentationSnapshot) -> PresentationSnapshot {
        let mut shown = snapshot.clone();
        for flow in &mut shown.flows {
            let view = self.steering.home_view(flow.facts.home, now());
            let of = |known: flowsteer::steering::BranchView| BranchSnapshot {
                branch: known.branch,
                priming: false,
                served: Duration::from_millis(1500),
                lag: Duration::ZERO,
                packets: 10,
                octets: 1000,
                loss_fraction: Some(0.25),
                jitter: None,
                round_trip: None,
            };
            flow.branches = view.map(|view| view.branches.into_iter().map(of).collect()).unwrap_or_default();
        }
        shown
    }

    fn change<T>(&self, id: PresentationId, act: impl FnOnce(&mut PresentationSnapshot) -> T) -> Result<T, PlaybackError> {
        self.known.lock().expect("no panic under the lock").get_mut(&id).map(act).ok_or(PlaybackError::Unknown)
    }
}

impl Perform for Presentations {
    fn perform(&self, command: Command) {
        match command {
            command if self.full.load(Ordering::Relaxed) => command.refuse(PlaybackError::Busy),
            Command::Open { presentation, opening: Opening { title, start, .. }, reply } => {
                let snapshot = PresentationSnapshot {
                    id: presentation,
                    title,
                    state: PresentationState::Paused,
                    position: start,
                    scale: Scale::default(),
                    speed: Speed::default(),
                    flows: vec![],
                };
                self.known.lock().expect("no panic under the lock").insert(presentation, snapshot);
                reply(Ok(()));
            }
            Command::AddFlow { presentation, track, home, label, reply } => reply(self.change(presentation, |snapshot| {
                let found = &snapshot.title.tracks[track];
                let payload_type = PayloadType::dynamic(track).expect("few tracks");
                let facts = FlowFacts { track, home, label, ssrc: Ssrc(0xabcd), payload_type, clock_rate: ClockRate::VIDEO };
                let (kind, codec) = (found.kind, found.codec.name());
                let flow = FlowSnapshot { facts, kind, codec, dropped: vec![], last_sequence: 9, last_timestamp: 90, branches: vec![] };
                snapshot.flows.push(flow);
                facts
            })),
            Command::Play { presentation, request, reply } => {
                let outcome = self.change(presentation, |snapshot| {
                    let end = snapshot.title.duration;
                    let start = request.range.and_then(|range| range.start).unwrap_or(snapshot.position);
                    if start > end {
                        return Err(PlaybackError::InvalidRange);
                    }
                    if !request.still {
                        snapshot.state = PresentationState::Playing;
                    }
                    // Each full second is a random access point.
                    let access = MediaTime::from_seconds(start.as_seconds().floor());
                    snapshot.position = if request.style == SeekStyle::FirstPrior { start } else { access };
                    snapshot.scale = request.scale.unwrap_or(snapshot.scale);
                    snapshot.speed = request.speed.unwrap_or(snapshot.speed);
                    let (scale, speed) = (snapshot.scale, snapshot.speed);
                    Ok(Playing { start, end, scale, style: request.style, speed, flows: Vec::<FlowStart>::new() })
                });
                reply(outcome.and_then(|outcome| outcome));
            }
            Command::Pause { presentation, reply } => reply(self.change(presentation, |snapshot| {
                snapshot.state = PresentationState::Paused;
                snapshot.position
            })),
            Command::End { presentation, reply } => {
                let ended = self.known.lock().expect("no panic under the lock").remove(&presentation);
                self.steering.release_owner(Owner::Presentation(presentation.0), now());
                reply(ended.map(|_| ()).ok_or(PlaybackError::Unknown));
            }
            Command::Snapshot { presentation, reply } => {
                self.described.fetch_add(1, Ordering::Relaxed);
                let known = self.known.lock().expect("no panic under the lock").clone();
                let shown = known.values().filter(|snapshot| presentation.is_none_or(|id| id == snapshot.id));
                let found: Vec<_> = shown.map(|snapshot| self.shown(snapshot)).collect();
                reply(if presentation.is_some() && found.is_empty() { Err(PlaybackError::Unknown) } else { Ok(found) });
            }
            Command::SetUp { reply, .. } => reply(Err(PlaybackError::Unknown)),
            Command::Await { reply, .. } | Command::Ping { reply } => reply(Ok(())),
            Command::EndTitle { .. } | Command::RouteChanged { .. } | Command::Rtcp { .. } | Command::Bounced { .. } => {}
        }
    }
}

fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("no other recorder in this process"))
}

/// A listener with everything behind it.
struct Server {
    address: SocketAddr,
    steering: Arc<BindingCache>,
    stage: Stage,
    announcer: Announcer,
    devices: Arc<Devices>,
    library: Arc<Library>,
    full: Arc<AtomicBool>,
    described: Arc<AtomicUsize>,
    runtime: Runtime,
    _stop: watch::Sender<bool>,
    _media: tempfile::TempDir,
}

impl Server {
    fn start(tokens: &[&str]) -> Self {
        Self::start_with(tokens, |_| {})
    }

    fn start_with(tokens: &[&str], change: impl FnOnce(&mut ApiSettings)) -> Self {
        let media = tempfile::tempdir().expect("a temporary folder");
        let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        std::fs::copy(film, media.path().join("a film.mp4")).expect("the library's film can be copied");
        std::fs::write(media.path().join("broken.mp4"), b"no film at all").expect("a file can be written");
        let library = Arc::new(Library::open(media.path()).expect("the folder is there"));
        library.index();
        let random = |octets: &mut [u8]| getrandom::fill(octets).expect("random octets");
        let settings = SteeringSettings::new("fd00:1::/64".parse().expect("a prefix"));
        let steering = Arc::new(BindingCache::new(settings, Box::new(random), Box::new(|_, _| {})));
        let (full, described) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let presentations =
            Presentations { known: Mutex::default(), steering: Arc::clone(&steering), full: full.clone(), described: described.clone() };
        let stage = Stage::new(Arc::new(presentations));
        let announcer = Announcer::default();
        let devices = Arc::new(Devices::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = watch::channel(false);
        let mut api = Api {
            stage: stage.clone(),
            steering: Arc::clone(&steering),
            library: Arc::clone(&library),
            announcer: announcer.clone(),
            devices: Arc::clone(&devices),
            refusals: Arc::default(),
            pictures: Arc::new(Shares::new(PICTURES_PER_ADDRESS)),
            metrics: Box::new(|| prometheus().render()),
            settings: ApiSettings {
                operators: Operators { tokens: tokens.iter().map(|&token| token.to_owned()).collect(), ..Operators::default() },
                access: Arc::default(),
                rtsp_port: 8554,
                rtp_port: 8000,
                mobility_port: 5436,
                mobility_native: false,
                max_packet: 1400,
                transition: Duration::from_secs(2),
                context: Duration::from_secs(600),
                join: Join { way: JoinWay::AtOnce, rate_milli: 4000, ..Join::default() },
                media_source: None,
                limits: Limits::default(),
                insecure_keys: false,
                devices: Vec::new(),
            },
        };
        change(&mut api.settings);
        prometheus();
        runtime.spawn(flowsteer::http::server::serve(vec![listener.into()], Arc::new(api), stopped));
        Self { address, steering, stage, announcer, devices, library, full, described, runtime, _stop: stop, _media: media }
    }

    fn title(&self) -> Arc<Title> {
        let path = TitlePath::new("a film.mp4").expect("a path");
        self.library.entry(&path).expect("the film is there").title().expect("the film can be played")
    }

    /// A presentation of the film, each track at a home address of its own.
    fn play(&self) -> Vec<HomeAddress> {
        // Flows that leave from elsewhere would be named by that address in take-over URLs.
        self.play_from("::1")
    }

    /// … whose packets pretend to come from an address.
    fn play_from(&self, media_source: &str) -> Vec<HomeAddress> {
        let title = self.title();
        let owner = Owner::Presentation(PRESENTATION.0);
        let media_source = media_source.parse().expect("an address");
        self.runtime.block_on(async {
            self.stage.open(PRESENTATION, Opening::whole(Arc::clone(&title))).await.expect("room for one");
            let mut homes = Vec::new();
            for track in 0..title.tracks.len() {
                let request = Reserve { owner, address: None, lifetime: None, media_source };
                let home = self.steering.reserve(&request, now()).expect("a free address").home;
                let label = FlowLabel::new(0x10001 + track as u32).expect("20 bits");
                self.steering.authorise(home, label, Expectation::default()).expect("no label yet");
                self.stage.add_flow(PRESENTATION, track, home, label).await.expect("a flow");
                homes.push(home);
            }
            self.stage.play(PRESENTATION, Default::default()).await.expect("it plays");
            homes
        })
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let host = self.address.to_string();
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len().to_string();
        let mut fields = vec![("Connection", "close"), ("Content-Length", length.as_str())];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            fields.push(("Host", &host));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            fields.push(("Content-Type", "application/json"));
        }
        fields.extend(headers);
        let head: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = self.connect();
        stream.write_all(format!("{method} {target} HTTP/1.1\r\n{head}\r\n{body}").as_bytes()).expect("the request is taken");
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).expect("the response ends");
        Answer::read(&octets)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout above zero");
        stream
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], None)
    }

    /// All numbers. How many of what there are is the process's, and of the server that was asked last.
    fn metrics(&self) -> String {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        self.get("/metrics").body
    }

    fn post(&self, target: &str, body: &Value) -> Answer {
        self.ask("POST", target, &[], Some(body))
    }

    fn put(&self, target: &str, body: &Value) -> Answer {
        self.ask("PUT", target, &[], Some(body))
    }

    fn delete(&self, target: &str) -> Answer {
        self.ask("DELETE", target, &[], None)
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    /// As it is shown again.
    cookie: Option<String>,
    body: String,
}

impl Answer {
    fn read(octets: &[u8]) -> Self {
        let text = String::from_utf8_lossy(octets);
        let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).map(str::to_owned);
        Self { status, head: head.to_ascii_lowercase(), cookie, body: body.to_owned() }
    }

    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:#?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Checks that it is a refusal with that status and type, in the form of RFC 9457.
    #[track_caller]
    fn refused(&self, status: u16, kind: &str) {
        let problem = self.json(status);
        assert!(self.head.contains("content-type: application/problem+json"), "{self:#?}");
        assert_eq!(problem["status"], status, "{self:#?}");
        assert!(problem["type"].as_str().is_some_and(|text| text.rsplit(':').next() == Some(kind)), "{self:#?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:#?}");
    }
}

fn home_path(home: HomeAddress) -> String {
    format!("/api/v1/home-addresses/{home}")
}

#[test]
fn titles_health_and_readiness_are_open_to_all() {
    let server = Server::start(&["secret"]);
    for target in ["/healthz", "/readyz"] {
        assert_eq!(server.get(target).status, 200, "{target}");
    }
    assert_eq!(server.described.load(Ordering::Relaxed), 0, "whether it is ready costs no description of what plays");
    server.full.store(true, Ordering::Relaxed);
    server.get("/readyz").refused(503, "not-ready");
    server.full.store(false, Ordering::Relaxed);
    let titles = server.get("/api/v1/titles").json(200);
    let film = &titles[0];
    assert_eq!(film["path"], "a film.mp4");
    assert_eq!(film["url"], "rtsp://127.0.0.1:8554/a%20film.mp4");
    assert!((film["durationSeconds"].as_f64().expect("a number") - 10.0).abs() < 0.2, "{film}");
    assert_eq!(film["sizeBytes"], std::fs::metadata("media/short.mp4").expect("it is there").len());
    assert_eq!((&film["tracks"][0]["kind"], &film["tracks"][0]["codec"]), (&json!("video"), &json!("h264")));
    assert_eq!((&film["tracks"][0]["width"], &film["tracks"][0]["height"]), (&json!(320), &json!(180)));
    assert_eq!((&film["tracks"][1]["sampleRate"], &film["tracks"][1]["channels"]), (&json!(48_000), &json!(1)));
    assert!(film.get("problem").is_none());
    assert_eq!(titles[1]["path"], "broken.mp4");
    assert!(titles[1]["problem"].is_string());
}

#[test]
fn a_title_that_is_not_indexed_yet_says_so_and_can_be_started() {
    let server = Server::start(&[]);
    std::fs::copy("media/short.mp4", server._media.path().join("new.mp4")).expect("the film can be copied");
    server.library.rescan();
    let shown =
        |titles: &Value| titles.as_array().expect("a list").iter().find(|title| title["path"] == "new.mp4").cloned().expect("there");
    let title = shown(&server.get("/api/v1/titles").json(200));
    assert_eq!((&title["indexing"], &title["tracks"], &title["durationSeconds"]), (&json!(true), &json!([]), &json!(0.0)));
    assert_eq!(title["sizeBytes"], std::fs::metadata("media/short.mp4").expect("it is there").len());
    let metrics = server.metrics();
    assert!(metrics.contains("flowsteer_titles 3") && metrics.contains("flowsteer_library_indexed 2"), "{metrics}");
    let entry = server.library.entry(&TitlePath::new("new.mp4").expect("a path")).expect("there");
    assert!(server.runtime.block_on(server.library.open_title(&entry)).is_ok(), "who wants it now gets it");
    let title = shown(&server.get("/api/v1/titles").json(200));
    assert!(title.get("indexing").is_none() && title["tracks"][0]["codec"] == "h264", "{title}");
}

#[test]
fn where_tokens_are_configured_only_their_bearers_are_operators() {
    let server = Server::start(&["secret", "other"]);
    server.get("/api/v1/sessions").refused(401, "unauthorized");
    let with = |value: &str| server.ask("GET", "/api/v1/sessions", &[("Authorization", value)], None);
    assert_eq!(with("Bearer secret").status, 200);
    assert_eq!(with("bearer other").status, 200);
    for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret"] {
        let answer = with(wrong);
        assert_eq!(answer.status, 401, "{wrong}: {answer:?}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
    }
}

#[test]
fn without_tokens_this_machine_operates_but_no_page_and_no_proxy_on_it() {
    let server = Server::start(&[]);
    let with = |headers: &[(&str, &str)]| server.ask("GET", "/api/v1/sessions", headers, None).status;
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&[("Host", "localhost:8080")]), 200);
    assert_eq!(with(&[("Host", "[::1]:8080")]), 200);
    for (name, value) in [
        ("Host", "rebound.example"),
        ("Host", "127.0.0.1.rebound.example"),
        ("Origin", "https://elsewhere.example"),
        ("Origin", "null"),
        ("Forwarded", "for=192.0.2.7"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("Origin", "http://localhost:3000"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let status = with(&[(name, value)]);
        assert!(matches!(status, 401 | 403), "{name}: {value} gave {status}");
    }
}

#[test]
fn no_page_of_another_origin_logs_in_or_has_a_login() {
    let hash = PasswordHash::of(Hashing::Md5, "olga", "s3cret");
    let olga = User { name: "olga".into(), hash, roles: vec![Role::Operator] };
    let server = Server::start_with(&[], |settings| {
        settings.access = Arc::new(Access::new(AccessList { users: vec![olga], ..AccessList::default() }));
        settings.operators.hosts = vec!["media.lan".into()];
    });
    let body = json!({"user": "olga", "password": "s3cret"});
    let log_in = |host: &str, origin: &str| {
        let headers = [("Host", host), ("Origin", origin)];
        server.ask("POST", "/api/v1/login", &headers, Some(&body))
    };
    for (host, origin, status) in [
        ("media.lan:8080", "http://media.lan:8080", 200),
        ("127.0.0.1:8080", "http://media.lan:8080", 200),
        ("192.0.2.1:8080", "http://192.0.2.1:8080", 200),
        ("media.lan:8080", "http://media.lan:9000", 403),
        ("media.lan:8080", "http://media.lan", 403),
        ("127.0.0.1:8080", "http://127.0.0.1:9000", 403),
        ("rebound.example", "http://rebound.example", 403),
    ] {
        assert_eq!(log_in(host, origin).status, status, "{origin} asks {host}");
    }
    let cookie = log_in("127.0.0.1:8080", "http://127.0.0.1:8080").cookie.expect("a cookie");
    let shown = |host: &str, cookie: &str| server.ask("GET", "/api/v1/login", &[("Host", host), ("Cookie", cookie)], None).status;
    assert_eq!((shown("media.lan", &cookie), shown("rebound.example", &cookie)), (200, 401));
}

#[test]
fn bodies_are_json_bounded_and_known() {
    let server = Server::start(&[]);
    let target = "/api/v1/home-addresses";
    let form = server.ask("POST", target, &[("Content-Type", "application/x-www-form-urlencoded")], Some(&json!({})));
    assert_eq!(form.status, 415, "{form:?}");
    let unknown = server.post(target, &json!({"lifetimeSecond": 5}));
    assert_eq!(unknown.status, 400, "{unknown:?}");
    assert!(unknown.body.contains("lifetimeSecond"), "{unknown:?}");
    let large = server.post(target, &json!({"name": "x".repeat(70_000)}));
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(server.steering.home_views(now()).len(), 0, "nothing was reserved");
}

#[test]
fn sessions_are_shown_and_controlled() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/api/v1/sessions").json(200), json!([]));
    let homes = server.play();
    let target = format!("/api/v1/sessions/{PRESENTATION}");
    let session = server.get(&target).json(200);
    assert_eq!((&session["title"], &session["state"], &session["scale"]), (&json!("a film.mp4"), &json!("playing"), &json!(1.0)));
    assert_eq!(session["flows"][0]["homeAddress"], homes[0].to_string());
    assert_eq!(session["flows"][0]["flowLabel"], "0x10001");
    assert_eq!(session["flows"][0]["track"], json!({"kind": "video", "codec": "h264"}));
    assert_eq!(server.get("/api/v1/sessions").json(200)[0]["id"], session["id"]);

    let told = |verb: &str, body: &Value| server.post(&format!("{target}/{verb}"), body);
    assert_eq!(told("pause", &json!({})).json(200)["state"], "paused");
    let sought = told("seek", &json!({"positionSeconds": 4.0})).json(200);
    assert_eq!((&sought["state"], &sought["positionSeconds"]), (&json!("paused"), &json!(4.0)), "a seek leaves what stands standing");
    assert_eq!(told("play", &json!({})).json(200)["state"], "playing");
    for (action, body, scale) in [
        ("play", json!({"scale": 2}), 2.0),
        ("play", json!({}), 2.0),
        ("play", json!({"scale": -99.5}), -32.0),
        ("seek", json!({"positionSeconds": 1.0, "scale": 1}), 1.0),
    ] {
        assert_eq!(told(action, &body).json(200)["scale"], json!(scale), "{action} {body}");
    }
    for (action, body, speed) in [
        ("play", json!({"speed": 2.5}), 2.5),
        ("play", json!({}), 2.5),
        ("play", json!({"speed": 99}), 4.0),
        ("seek", json!({"positionSeconds": 1.0, "speed": 1}), 1.0),
    ] {
        assert_eq!(told(action, &body).json(200)["speed"], json!(speed), "{action} {body}");
    }
    for body in [json!({"scale": 0}), json!({"scale": "2"}), json!({"speed": 0}), json!({"speed": -1}), json!({"pace": 2})] {
        assert_eq!(told("play", &body).status, 400, "{body}");
    }
    for (exact, position) in [(json!(null), 4.0), (json!(false), 4.0), (json!(true), 4.7)] {
        let mut body = json!({"positionSeconds": 4.7});
        if !exact.is_null() {
            body["exact"] = exact;
        }
        assert_eq!(told("seek", &body).json(200)["positionSeconds"], json!(position), "{body}");
    }
    assert_eq!(told("seek", &json!({"positionSeconds": 1.0, "exact": "yes"})).status, 400);
    told("pause", &json!({})).json(200);
    told("seek", &json!({"positionSeconds": 4000.0})).refused(422, "invalid-range");
    assert_eq!(told("seek", &json!({"positionSeconds": -1.0})).status, 400);
    assert_eq!(told("seek", &json!({})).status, 400);
    assert_eq!(told("dance", &json!({})).status, 404);
    assert_eq!(server.get("/api/v1/sessions/7").status, 404);
    assert_eq!(told("end", &json!({})).status, 204);
    assert_eq!(server.get(&target).status, 404);
    assert_eq!(server.steering.home_views(now()).len(), 0, "its home addresses went with it");
}

#[test]
fn a_home_address_is_reserved_bound_moved_forked_and_released() {
    let server = Server::start(&[]);
    let reserved = server.post("/api/v1/home-addresses", &json!({"lifetimeSeconds": 300})).json(201);
    let home = reserved["homeAddress"].as_str().expect("an address");
    assert_eq!(reserved["key"].as_str().map(str::len), Some(64));
    assert!(reserved["spi"].as_str().is_some_and(|spi| spi.starts_with("0x") && spi.len() == 10));
    assert!(reserved["expiresAt"].as_str().is_some_and(|end| end.ends_with('Z')));
    let encoded = home.replace(':', "%3A");
    for target in [format!("/api/v1/home-addresses/{home}"), format!("/api/v1/home-addresses/{encoded}")] {
        assert_eq!(server.get(&target).json(200)["state"], "reserved", "{target}");
    }

    let bind = |id: u16, body: &Value| server.put(&format!("/api/v1/home-addresses/{encoded}/bindings/{id}"), body);
    let label = bind(1, &json!({"careOf": "127.0.0.1:5000", "flowLabel": "0x12345"})).json(200);
    assert_eq!((&label["state"], &label["flowLabel"]), (&json!("flowing"), &json!("0x12345")));
    bind(1, &json!({"careOf": "127.0.0.1:5000", "flowLabel": "0x54321"})).refused(409, "other-label");
    assert_eq!(bind(2, &json!({"careOf": "127.0.0.1:6000", "mode": "fork"})).json(200)["state"], "forked");
    assert_eq!(bind(3, &json!({"careOf": "127.0.0.1:7000", "transitionMs": 5000})).json(200)["state"], "moving");
    assert_eq!(bind(0, &json!({"careOf": "127.0.0.1:7000"})).status, 400);
    assert_eq!(bind(4, &json!({"careOf": "not an address"})).status, 400);

    assert_eq!(server.delete(&format!("/api/v1/home-addresses/{home}/bindings/3")).status, 204);
    assert_eq!(server.delete(&format!("/api/v1/home-addresses/{home}/bindings/3")).status, 404);
    assert_eq!(server.delete(&format!("/api/v1/home-addresses/{home}")).status, 204);
    assert_eq!(server.get(&format!("/api/v1/home-addresses/{home}")).status, 404);
}

#[test]
fn a_refresh_does_not_take_back_what_is_leaving_and_a_move_does() {
    let server = Server::start(&[]);
    let homes = server.play();
    let bind = |id: u16, body: &Value| server.put(&format!("{}/bindings/{id}", home_path(homes[0])), body).json(200);
    let state = |shown: &Value, id: u16| -> String {
        let branches = shown["flow"]["branches"].as_array().expect("branches");
        let found = branches.iter().find(|branch| branch["bindingId"] == id).unwrap_or_else(|| panic!("no {id} in {shown:#}"));
        found["state"].as_str().expect("a state").to_owned()
    };
    bind(1, &json!({"careOf": "127.0.0.1:5000"}));
    let shown = bind(2, &json!({"careOf": "127.0.0.1:6000", "transitionMs": 15000}));
    assert_eq!((state(&shown, 1), state(&shown, 2)), ("leaving".into(), "current".into()));
    let shown = bind(1, &json!({"careOf": "127.0.0.1:5000", "rtcp": 5009, "lifetimeSeconds": 60}));
    assert_eq!((state(&shown, 1), state(&shown, 2)), ("leaving".into(), "current".into()), "the old device's refresh");
    let lifetimes: Vec<_> =
        shown["flow"]["branches"].as_array().expect("branches").iter().map(|branch| branch["lifetimeSeconds"].clone()).collect();
    assert!(lifetimes.iter().any(|lifetime| lifetime.as_u64().is_some_and(|seconds| (50..=60).contains(&seconds))), "{lifetimes:?}");
    let shown = bind(1, &json!({"careOf": "127.0.0.1:5000", "mode": "move"}));
    assert_eq!((state(&shown, 1), state(&shown, 2)), ("current".into(), "leaving".into()));
}

/// FLAC with a front cover, and nothing to play.
fn covered(picture: &[u8]) -> Vec<u8> {
    let length = |octets: &[u8]| u32::try_from(octets.len()).expect("short").to_be_bytes();
    let block = [&[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16], &length(picture), picture].concat();
    [b"fLaC\x86".as_slice(), &length(&block)[1..], &block].concat()
}

/// A title with a picture, of more than what waits in sockets.
fn large_picture(server: &Server) -> Vec<u8> {
    let picture = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; 3 << 20]].concat();
    std::fs::write(server._media.path().join("large.flac"), covered(&picture)).expect("written");
    server.library.rescan();
    picture
}

/// Asks for it from an address of this machine.
fn ask_for_picture(server: &Server, last: u8) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).expect("all of 127.0.0.0/8 is here");
    socket.connect(&server.address.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout above zero");
    let request = format!("GET /titles/large.flac.picture HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).expect("the request is taken");
    stream
}

/// The status of what comes, as far as that.
fn status_of(stream: &mut TcpStream) -> u16 {
    let mut begins = [0; 12];
    stream.read_exact(&mut begins).expect("it is answered");
    String::from_utf8_lossy(&begins[9..]).parse().expect("a status")
}

/// As many as are in memory at a time ask for a picture and take twelve octets of it, from a few addresses; with the picture.
fn ask_slowly(server: &Server) -> (Vec<TcpStream>, Vec<u8>) {
    let picture = large_picture(server);
    let ask = |count: u8| {
        let mut stream = ask_for_picture(server, 2 + count / 6);
        assert_eq!(status_of(&mut stream), 200);
        stream
    };
    ((0..16).map(ask).collect(), picture)
}

#[test]
fn slow_readers_of_one_address_leave_pictures_to_others_however_often_they_ask_anew() {
    let server = Server::start(&[]);
    let picture = large_picture(&server);
    let mut greedy: Vec<TcpStream> = (0..24).map(|_| ask_for_picture(&server, 9)).collect();
    let begun = std::time::Instant::now();
    let statuses: Vec<u16> = greedy.iter_mut().map(status_of).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), PICTURES_PER_ADDRESS, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 24 - PICTURES_PER_ADDRESS, "{statuses:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Each that is let go is asked for again, and others stand in line all the time.
    for _ in 0..8 {
        greedy.drain(..PICTURES_PER_ADDRESS);
        greedy.extend((0..2 * PICTURES_PER_ADDRESS).map(|_| ask_for_picture(&server, 9)));
        let mut shown = Vec::new();
        ask_for_picture(&server, 2).read_to_end(&mut shown).expect("the response ends");
        assert!(shown.starts_with(b"HTTP/1.1 200 ") && shown.ends_with(&picture), "{} octets", shown.len());
    }
    assert!(prometheus().render().contains("flowsteer_http_refused_total{limit=\"pictures_per_address\"}"), "it is counted");
}

#[test]
fn pictures_that_nobody_takes_are_bounded_in_number_and_who_finds_no_place_is_told_so() {
    let server = Server::start(&[]);
    let (slow, picture) = ask_slowly(&server);
    let start = std::time::Instant::now();
    let refused = server.get("/titles/large.flac.picture");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    refused.refused(503, "busy");
    assert!(refused.head.lines().any(|line| line == "retry-after: 1"), "{refused:#?}");
    drop(slow);
    // The server sees that they have gone, and may look for a place before.
    let shown = (0..10).map(|_| server.get("/titles/large.flac.picture")).find(|shown| shown.status == 200);
    let shown = shown.expect("there is a place now");
    assert!(shown.body == String::from_utf8_lossy(&picture), "{} octets", shown.body.len());
}

#[test]
fn who_takes_a_picture_octet_by_octet_is_cut_off() {
    let server = Server::start_with(&[], |settings| settings.limits.picture_time = Duration::from_millis(400));
    let (slow, picture) = ask_slowly(&server);
    let shown = server.get("/titles/large.flac.picture");
    assert_eq!(shown.status, 200, "the places are free before who waits for one is told that there is none");
    // The time of the first was over first.
    let mut left = Vec::new();
    let _ = slow.into_iter().next().expect("sixteen ask").read_to_end(&mut left);
    assert!(left.len() < picture.len(), "{} octets", left.len());
}

#[test]
fn pictures_of_id3_tags_of_each_version_are_shown_as_they_were_before_they_were_put_in() {
    let server = Server::start(&[]);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/cover");
    let names = ["two.mp3", "two_unsynchronised.mp3", "three_unsynchronised.mp3", "four_unsynchronised.mp3"];
    for name in names {
        std::fs::copy(corpus.join(name), server._media.path().join(name)).expect("the corpus is there");
    }
    server.library.rescan();
    // In the first it stands as it is, at the end of its tag and before 32 octets of sound.
    let plain = std::fs::read(corpus.join(names[0])).expect("the corpus is there");
    let start = plain.windows(4).position(|part| part == b"\x89PNG").expect("it is there");
    let picture = &plain[start..plain.len() - 32];
    for name in names {
        let shown = server.get(&format!("/titles/{name}.picture"));
        assert_eq!((shown.status, shown.body.as_str()), (200, &*String::from_utf8_lossy(picture)), "{name}");
        assert!(shown.head.lines().any(|line| line == "content-type: image/png"), "{shown:#?}");
        assert!(shown.head.lines().any(|line| line == format!("content-length: {}", picture.len())), "{shown:#?}");
    }
}

#[test]
fn playlists_and_pictures_of_titles_are_for_whom_the_titles_are_shown() {
    let rule = |path: &str, anyone| AccessRule { path: path.into(), anyone, roles: Vec::new(), users: Vec::new() };
    let rules = vec![rule("kept/*", false)];
    let sessions = SessionTimes { idle: Duration::from_secs(60), longest: Duration::from_secs(60) };
    let access = AccessList { rules, hashing: Hashing::Md5, users: Vec::new(), basic: false, sessions };
    let server = Server::start_with(&["operator"], |settings| settings.access = Arc::new(Access::new(access)));
    let picture = b"\x89PNG\r\n\x1a\n and the rest";
    let file = covered(picture);
    let folder = server._media.path();
    std::fs::create_dir(folder.join("kept")).expect("made");
    for name in ["open.flac", "kept/a.flac"] {
        std::fs::write(folder.join(name), &file).expect("written");
    }
    server.library.rescan();
    let shown = server.get("/titles/open.flac.picture");
    assert_eq!((shown.status, shown.body.as_str()), (200, &*String::from_utf8_lossy(picture)));
    for line in ["content-type: image/png", "x-content-type-options: nosniff", "content-security-policy: default-src 'none'; sandbox"] {
        assert!(shown.head.lines().any(|head| head == line), "{line}: {shown:#?}");
    }
    for none in ["/titles/a%20film.mp4.picture", "/titles/nothing.flac.picture", "/titles/kept/a.flac.picture", "/titles/..%2Fx.picture"] {
        let answer = server.get(none);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{none}");
    }
    server.get("/titles/kept/a.flac.m3u").refused(404, "not-found");
    server.get("/titles/open.flac").refused(404, "not-found");
    let bearer = [("Authorization", "Bearer operator")];
    assert_eq!(server.ask("GET", "/titles/kept/a.flac.picture", &bearer, None).status, 200);
    assert_eq!(server.ask("GET", "/titles/kept/a.flac.m3u", &bearer, None).status, 200);
}

#[test]
fn devices_are_those_that_have_a_name_and_those_that_were_seen() {
    let tv = NamedDevice { name: "TV".into(), care_of: "192.0.2.9:5004".parse().expect("a place") };
    let server = Server::start_with(&[], |settings| settings.devices = vec![tv]);
    let homes = server.play();
    let seen = |at: Mono| {
        server.devices.changed(PRESENTATION);
        assert_eq!(Vec::from_iter(server.devices.take_changed()), [PRESENTATION]);
        let snapshot = server.runtime.block_on(server.stage.snapshot(PRESENTATION)).expect("it plays");
        server.devices.note(&snapshot, at);
        let mut shown = server.get("/api/v1/devices").json(200);
        // How slow this test is, is not what is looked at.
        for device in shown.as_array_mut().expect("a list") {
            if let Some(ago) = device["seenSecondsAgo"].as_u64() {
                assert!(ago <= now().mono.since(at).as_secs(), "{device:#}");
                device["seenSecondsAgo"] = json!(0);
            }
        }
        shown
    };
    let bind = |home: usize, id: u16, port: u16| {
        let body = json!({"careOf": format!("127.0.0.1:{port}"), "mode": "move", "transitionMs": 15000});
        server.put(&format!("{}/bindings/{id}", home_path(homes[home])), &body).json(200);
    };
    let start = now().mono;
    let named = json!({ "name": "TV", "places": [{ "careOf": "192.0.2.9:5004" }], "seenSecondsAgo": null, "accepted": false });
    assert_eq!(seen(start), json!([named]));
    bind(0, 3, 5000);
    assert_eq!(seen(start)[1]["places"].as_array().map(Vec::len), Some(1));
    bind(1, 7, 5002);
    let place = |kind: &str, home: usize, id: u16, port: u16| json!({ "kind": kind, "careOf": format!("127.0.0.1:{port}"), "homeAddress": homes[home].to_string(), "bindingId": id });
    let one = json!({ "places": [place("video", 0, 3, 5000), place("audio", 1, 7, 5002)], "seenSecondsAgo": 0, "accepted": true });
    assert_eq!(seen(start), json!([named, one]), "both are one device's");
    bind(0, 4, 6000);
    let other = json!({ "places": [place("video", 0, 4, 6000), place("audio", 1, 7, 5002)], "seenSecondsAgo": 0, "accepted": true });
    let left = json!({ "places": [place("video", 0, 3, 5000)], "seenSecondsAgo": 0, "accepted": true });
    assert_eq!(seen(start), json!([named, other, left]), "who has its ports is in its place; what is being left can be had back");
    for id in 10..15 {
        bind(0, id, 7000 + id);
        bind(1, id, 8000 + id);
        seen(start);
    }
    let shown = seen(start);
    assert_eq!(shown.as_array().map(Vec::len), Some(5), "four of a host: {shown:#}");
    assert_eq!(shown[1]["places"][0]["careOf"], "127.0.0.1:7014", "the last one first");
    let later = server.devices.shown(&[], |_| false, start + Duration::from_secs(86_400));
    assert!(later.is_empty(), "none is remembered for longer than a day");
    let key = token_for(&server, homes[0]);
    server.ask("GET", "/api/v1/devices", &[("Authorization", &format!("Bearer {key}"))], None).refused(403, "not-permitted");
}

#[test]
fn the_media_source_of_a_reservation_is_the_configured_one_and_else_not_loopback_where_there_is_another() {
    let source = |server: &Server| {
        let reserved = server.post("/api/v1/home-addresses", &json!({})).json(201);
        let home = HomeAddress(reserved["homeAddress"].as_str().and_then(|home| home.parse().ok()).expect("an address"));
        server.steering.gate(home).expect("reserved").media_source()
    };
    let named = "2001:db8:5::1".parse().expect("an address");
    let server = Server::start_with(&[], |settings| settings.media_source = Some(named));
    assert_eq!(source(&server), named);
    let found = source(&Server::start(&[]));
    let expected = flowsteer::net::media_source(None, "127.0.0.1".parse().expect("an address"));
    assert_eq!(found, expected, "asked over loopback");
}

#[test]
fn a_title_is_played_to_a_reserved_home_address_by_its_key_or_by_an_operator() {
    let server = Server::start(&["secret"]);
    let operator = ("Authorization", "Bearer secret");
    let reserve = || {
        let reserved = server.ask("POST", "/api/v1/home-addresses", &[operator], Some(&json!({}))).json(201);
        let key = format!("Bearer {}", reserved["key"].as_str().expect("a key"));
        (reserved["homeAddress"].as_str().expect("an address").to_owned(), key)
    };
    let ((home, key), (other, other_key)) = (reserve(), reserve());
    let start = |who: &str, body: &Value| server.ask("POST", "/api/v1/sessions", &[("Authorization", who)], Some(body));
    let body = json!({"title": "a film.mp4", "home": home});
    server.post("/api/v1/sessions", &body).refused(401, "unauthorized");
    start(&other_key, &body).refused(403, "not-permitted");
    start(&key, &json!({"title": "no film.mp4", "home": home})).refused(404, "not-found");
    start(&key, &json!({"title": "broken.mp4", "home": home})).refused(422, "unplayable");
    start(&key, &json!({"title": "a film.mp4", "home": "fd00:1::9"})).refused(404, "not-found");
    start(&key, &json!({"title": "a film.mp4"})).refused(400, "invalid-request");
    start(&key, &json!({"title": "a film.mp4", "home": home, "homes": {"video": other}})).refused(400, "invalid-request");
    start(&key, &json!({"title": "a film.mp4", "homes": {}})).refused(400, "invalid-request");
    start("Bearer secret", &json!({"title": "a film.mp4", "homes": {"text": home}})).refused(422, "no-track");
    assert_eq!(server.ask("GET", "/api/v1/sessions", &[operator], None).json(200), json!([]), "what was refused left nothing");

    let session = start(&key, &body).json(201);
    assert_eq!(session["title"], "a film.mp4");
    assert_eq!(session["flows"].as_array().map(Vec::len), Some(1));
    assert_eq!((&session["flows"][0]["homeAddress"], &session["flows"][0]["track"]["kind"]), (&json!(home), &json!("video")));
    let target = format!("/api/v1/home-addresses/{home}");
    let shown = server.ask("GET", &target, &[("Authorization", &key)], None).json(200);
    assert_eq!((&shown["session"], &shown["flow"]), (&session["id"], &session["flows"][0]));
    start("Bearer secret", &body).refused(409, "occupied");
    assert_eq!(server.ask("GET", "/api/v1/sessions", &[operator], None).json(200).as_array().map(Vec::len), Some(1));

    let end = format!("/api/v1/sessions/{}/end", session["id"].as_str().expect("an id"));
    assert_eq!(server.ask("POST", &end, &[operator], Some(&json!({}))).status, 204);
    let shown = server.ask("GET", &target, &[("Authorization", &key)], None).json(200);
    assert_eq!(
        (shown.get("session"), &shown["flowLabel"]),
        (None, &session["flows"][0]["flowLabel"]),
        "the reservation stays, with its label"
    );
    let both = json!({"title": "a film.mp4", "homes": {"video": home, "audio": other}});
    start(&key, &both).refused(403, "not-permitted");
    let again = start("Bearer secret", &both).json(201);
    assert_eq!(again["flows"][0]["flowLabel"], session["flows"][0]["flowLabel"]);
    assert_eq!((&again["flows"][1]["homeAddress"], &again["flows"][1]["track"]["kind"]), (&json!(other), &json!("audio")));
}

#[test]
fn a_name_stands_for_its_home_addresses_of_each_kind() {
    let server = Server::start(&[]);
    let kept = server.steering.keep_all(["wall", "wall.audio", "wall.text"], &BTreeMap::new(), now()).expect("a /64 is not exhausted");
    let start = |home: &str| server.post("/api/v1/sessions", &json!({"title": "a film.mp4", "home": home}));
    let flows = |session: &Value| -> Vec<(String, String)> {
        let shown = |flow: &Value| {
            (flow["track"]["kind"].as_str().unwrap_or_default().to_owned(), flow["homeAddress"].as_str().unwrap_or_default().to_owned())
        };
        session["flows"].as_array().expect("flows").iter().map(shown).collect()
    };
    let end = |session: &Value| {
        let id = session["id"].as_str().expect("an id");
        assert_eq!(server.post(&format!("/api/v1/sessions/{id}/end"), &json!({})).status, 204);
    };
    let (video, audio) = (("video".to_owned(), kept["wall"].to_string()), ("audio".to_owned(), kept["wall.audio"].to_string()));

    // Nobody has them yet, but where they are is known.
    for (name, home) in &kept {
        let free = server.get(&format!("/api/v1/home-addresses/{name}")).json(200);
        assert_eq!(free, json!({"homeAddress": home.to_string(), "name": name, "state": "free", "expiresAt": null}));
        assert_eq!(server.get(&home_path(HomeAddress(*home))).json(200), free);
    }
    server.get("/api/v1/home-addresses/door").refused(404, "not-found");
    assert_eq!(server.get("/api/v1/home-addresses").json(200), json!([]), "what is reserved is listed");

    let session = start("wall").json(201);
    assert_eq!(flows(&session), [video.clone(), audio.clone()]);
    start("wall").refused(409, "occupied");
    end(&session);
    assert_eq!(server.steering.home_views(now()), [], "reserved for the session, and gone with it");

    let session = start("wall.audio").json(201);
    assert_eq!(flows(&session), [audio]);
    end(&session);
    let session = start(&video.1).json(201);
    assert_eq!(flows(&session), std::slice::from_ref(&video));
    end(&session);

    server.post("/api/v1/home-addresses", &json!({"name": "wall"})).json(201);
    let session = start("wall").json(201);
    assert_eq!(flows(&session), [video], "what is reserved of a name is what is meant");
}

#[test]
fn a_care_of_without_proof_is_a_conflict_and_nothing_is_stored() {
    let server = Server::start(&[]);
    let homes = server.play();
    let target = format!("{}/bindings/1", home_path(homes[0]));
    let before = server.steering.home_view(homes[0], now()).expect("it is reserved");
    for body in [
        json!({"careOf": "192.0.2.9:5000"}),
        json!({"careOf": "[2001:db8::9]:5000"}),
        json!({"careOf": "192.0.2.9:5000", "proof": {"nonceIndex": 1, "token": "0011223344556677"}}),
        // Trusted, but not below 1024.
        json!({"careOf": "127.0.0.2:53"}),
    ] {
        server.put(&target, &body).refused(409, "care-of-unproven");
    }
    assert_eq!(server.steering.home_view(homes[0], now()), Some(before));
    // A reservation whose care-of is refused is none.
    let count = server.steering.home_views(now()).len();
    server.post("/api/v1/home-addresses", &json!({"careOf": "192.0.2.9:5000"})).refused(409, "care-of-unproven");
    assert_eq!(server.steering.home_views(now()).len(), count);
}

#[test]
fn a_device_joins_as_the_update_or_else_the_settings_say() {
    let server = Server::start(&[]);
    let home = server.play()[0];
    let target = format!("{}/bindings/1", home_path(home));
    let before = server.steering.home_view(home, now()).expect("it is reserved");
    server.put(&target, &json!({"careOf": "127.0.0.1:5000", "join": "sideways"})).refused(400, "invalid-request");
    assert_eq!(server.steering.home_view(home, now()), Some(before), "nothing is stored");
    let joined = |port: u16, body: Value| {
        let mut body = body;
        body["careOf"] = json!(format!("127.0.0.1:{port}"));
        // Another binding is another device.
        assert_eq!(server.put(&format!("{}/bindings/{port}", home_path(home)), &body).status, 200);
        let view = server.steering.home_view(home, now()).expect("it is reserved");
        view.branches.into_iter().find(|known| known.branch.care_of.endpoint().port() == port).expect("bound").branch.join
    };
    assert_eq!(joined(5000, json!({})), Join { way: JoinWay::AtOnce, rate_milli: 4000, ..Join::default() });
    assert_eq!(joined(5002, json!({"join": "primed"})), Join { way: JoinWay::Primed, rate_milli: 4000, ..Join::default() });
    assert_eq!(joined(5006, json!({"join": "aligned"})), Join { way: JoinWay::Aligned, rate_milli: 4000, ..Join::default() });
    assert_eq!(joined(5004, json!({"join": "at-once"})), Join { way: JoinWay::AtOnce, rate_milli: 4000, ..Join::default() });
}

#[test]
fn a_context_is_as_its_schema_says_and_its_url_covers_every_flow() {
    let server = Server::start(&[]);
    let homes = server.play();
    assert_eq!(server.put(&format!("{}/bindings/1", home_path(homes[0])), &json!({"careOf": "127.0.0.1:5000"})).status, 200);
    let schema: Value = serde_json::from_str(include_str!("../docs/context.schema.json")).expect("the schema is JSON");
    let schema = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("the schema is one");
    let valid = |context: &Value| schema.iter_errors(context).map(|error| error.to_string()).collect::<Vec<_>>();

    let made = server.post(&format!("{}/context", home_path(homes[0])), &json!({"identity": "tv@living-room"})).json(200);
    assert_eq!(valid(&made["context"]), Vec::<String>::new(), "{made:#}");
    assert_eq!(made["context"]["flows"].as_array().map(Vec::len), Some(homes.len()));
    assert_eq!(made["context"]["flows"][0]["bid"], json!({"previous": 1, "yours": 2}));
    assert_eq!(made["context"]["flows"][0]["ports"]["previous"], json!({"rtp": 5000, "rtcp": 5001, "mux": false}));
    assert_eq!(made["context"]["media_source"]["signalling"], json!({"udp_port": 5436, "native": false}));
    assert!(made["expiresAt"].as_str().is_some_and(|end| end.ends_with('Z')));
    let url = made["takeoverUrl"].as_str().expect("a URL");
    let (place, token) = url.split_once("?key=").expect("a key");
    assert_eq!(place, format!("rtsp://127.0.0.1:8554/home/{}/all", homes[0]));
    let grants = server.steering.verify_token(token, None, now()).expect("the token is good");
    assert_eq!(grants.iter().map(|grant| grant.home).collect::<Vec<_>>(), homes);
    // The session keys are in the context alone.
    for flow in made["context"]["flows"].as_array().expect("flows") {
        let key = flow["authorization"]["session_key"].as_str().expect("a key");
        assert!(!url.contains(key));
    }

    for (wrong, kind) in [
        (json!({"lifetimeSeconds": 0}), "invalid-lifetime"),
        (json!({"identity": ""}), "invalid-identity"),
        (json!({"identity": "x".repeat(1000)}), "invalid-identity"),
    ] {
        server.post(&format!("{}/context", home_path(homes[1])), &wrong).refused(422, kind);
    }
    let one = server.post(&format!("{}/context", home_path(homes[1])), &json!({"scope": "flow"})).json(200);
    assert_eq!(valid(&one["context"]), Vec::<String>::new(), "{one:#}");
    assert_eq!(one["context"]["flows"].as_array().map(Vec::len), Some(1));
    assert!(one["takeoverUrl"].as_str().is_some_and(|url| url.contains(&format!("/home/{}?key=", homes[1]))));
}

#[test]
fn a_context_that_lacks_a_flow_fails_its_schema() {
    let schema: Value = serde_json::from_str(include_str!("../docs/context.schema.json")).expect("the schema is JSON");
    let schema = jsonschema::draft202012::new(&schema).expect("the schema is one");
    assert!(
        !schema
            .is_valid(&json!({"version": 1, "transfer_id": "0x00000001", "media_source": {"address": "::1"}, "protocol": {}, "flows": []}))
    );
}

/// A take-over token for what plays at a home address, made without HTTP.
fn token_for(server: &Server, home: HomeAddress) -> String {
    let grant = server.steering.issue_grant(home, &Default::default(), now()).expect("something plays there");
    flowsteer::steering::token(&[grant])
}

#[test]
fn a_take_over_token_sees_and_moves_its_own_home_address_and_nothing_else() {
    let server = Server::start(&["secret"]);
    let homes = server.play();
    let bearer = format!("Bearer {}", token_for(&server, homes[0]));
    let with = |method: &str, target: &str, body: Option<&Value>| server.ask(method, target, &[("Authorization", &bearer)], body);
    let (own, other) = (home_path(homes[0]), home_path(homes[1]));

    assert_eq!(with("GET", &own, None).json(200)["homeAddress"], homes[0].to_string());
    let care_of = json!({"careOf": "127.0.0.1:5000"});
    assert_eq!(with("PUT", &format!("{own}/bindings/9"), Some(&care_of)).status, 200, "its own address is proven by its connection");
    let elsewhere = json!({"careOf": "127.0.0.2:5000"});
    with("PUT", &format!("{own}/bindings/10"), Some(&elsewhere)).refused(409, "care-of-unproven");

    for (method, target, body) in [
        ("GET", other.clone(), None),
        ("PUT", format!("{other}/bindings/9"), Some(&care_of)),
        ("DELETE", own.clone(), None),
        ("DELETE", format!("{own}/bindings/9"), None),
        ("DELETE", format!("{own}/keys"), None),
        ("POST", format!("{own}/context"), None),
        ("GET", "/api/v1/sessions".to_owned(), None),
        ("POST", format!("/api/v1/sessions/{PRESENTATION}/end"), None),
        ("GET", "/metrics".to_owned(), None),
    ] {
        assert_eq!(with(method, &target, body).status, 403, "{method} {target}");
    }
}

#[test]
fn wrong_and_revoked_tokens_are_refused_and_change_nothing() {
    let server = Server::start(&["secret"]);
    let homes = server.play();
    let token = token_for(&server, homes[0]);
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        server.ask(
            "PUT",
            &format!("{}/bindings/9", home_path(homes[0])),
            &[("Authorization", &bearer)],
            Some(&json!({"careOf": "127.0.0.1:5000"})),
        )
    };
    let last = token.chars().last().expect("a token is not empty");
    let mut altered = token[..token.len() - 2].to_owned();
    altered.push_str(if last == 'A' { "BA" } else { "AA" });
    for wrong in [altered.as_str(), &token[..20], "", "äöü"] {
        assert_eq!(with(wrong).status, 401, "{wrong}");
    }
    let operator = ("Authorization", "Bearer secret");
    assert_eq!(server.ask("DELETE", &format!("{}/keys", home_path(homes[0])), &[operator], None).status, 204);
    with(&token).refused(401, "unauthorized");
    assert_eq!(server.steering.home_view(homes[0], now()).map(|view| view.branches.len()), Some(0));
}

#[test]
fn a_receiver_without_rtsp_gets_its_sdp() {
    let server = Server::start(&[]);
    let homes = server.play_from("2001:db8::5");
    let answer = server.get(&format!("{}/sdp?rtp=5004", home_path(homes[0])));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: application/sdp"), "{answer:?}");
    // Asked over loopback: another machine can do nothing with that address.
    for line in ["c=IN IP6 2001:db8::5", "m=video 5004 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=rtcp:5005"] {
        assert!(answer.body.lines().any(|found| found == line), "{line} in {}", answer.body);
    }
    assert!(answer.body.contains("a=range:npt=0-10"), "{}", answer.body);
    for port in ["0", "65535", "x", "70000"] {
        assert_eq!(server.get(&format!("{}/sdp?rtp={port}", home_path(homes[0]))).status, 400, "{port}");
    }
    let context = server.post(&format!("{}/context", home_path(homes[0])), &json!({})).json(200);
    let described = context["context"]["sdp"].as_str().expect("a description");
    assert!(described.contains(" IN IP6 2001:db8::5\r\n") && described.contains("c=IN IP6 ::\r\n"), "{described}");
    assert!(!described.contains("127.0.0.1"), "{described}");
    // A branch says better where its flow comes from.
    let update = Update {
        home: homes[0],
        authority: Authority::Operator,
        binding: Some(BindingId(1)),
        care_of: CareOf::Udp {
            rtp: ([192, 0, 2, 9], 5000).into(),
            rtcp: ([192, 0, 2, 9], 5001).into(),
            source: Some([192, 0, 2, 7].into()),
        },
        proof: Proof::RequestPeer([192, 0, 2, 9].into()),
        lifetime: None,
        mode: Mode::Move,
        window: None,
        join: Join::default(),
        holder: Holder(1),
    };
    server.steering.update(&[update], now()).expect("bound");
    let answer = server.get(&format!("{}/sdp?rtp=5004", home_path(homes[0])));
    assert!(answer.body.lines().any(|line| line == "c=IN IP4 192.0.2.7"), "{}", answer.body);
}

#[test]
fn events_are_told_as_they_happen() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line comes in time"));
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    assert!(lines.by_ref().take_while(|line| !line.is_empty()).any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")));
    // The head is out: the listener is heard.
    server.announcer.tell(ApiEvent { name: "title", data: json!({"path": "new.mp4"}) });
    assert!(lines.by_ref().any(|line| line == "event: title"));
    assert!(lines.by_ref().any(|line| line == "data: {\"path\":\"new.mp4\"}"));
}

/// Opens the event stream; the lines after its head. Whoever has the head is heard.
fn listen(server: &Server, authorization: Option<&str>) -> impl Iterator<Item = String> + use<> {
    listen_again(server, authorization, None)
}

/// … as who has heard all up to `last`.
fn listen_again(server: &Server, authorization: Option<&str>, last: Option<&str>) -> impl Iterator<Item = String> + use<> {
    let mut stream = server.connect();
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}{last}\r\n", server.address);
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line comes in time"));
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    lines
}

/// The data of the next event; `None` at the stream's end.
fn next_data(lines: &mut impl Iterator<Item = String>) -> Option<Value> {
    lines.find_map(|line| line.strip_prefix("data: ").map(|data| serde_json::from_str(data).expect("JSON")))
}

/// The next event: its id, name and data.
#[track_caller]
fn next_event(lines: &mut impl Iterator<Item = String>) -> (String, String, Value) {
    let (mut id, mut name) = (String::new(), String::new());
    loop {
        let line = lines.next().expect("an event");
        if let Some(given) = line.strip_prefix("id: ") {
            given.clone_into(&mut id);
        } else if let Some(given) = line.strip_prefix("event: ") {
            given.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            return (id, name, serde_json::from_str(data).expect("JSON"));
        }
    }
}

#[test]
fn who_comes_back_to_the_event_stream_is_told_what_it_has_missed_or_that_it_is_lost() {
    let server = Server::start(&[]);
    let tell = |number: u32| server.announcer.tell(ApiEvent { name: "title", data: json!({ "number": number }) });
    let mut first = listen(&server, None);
    let begin = first.find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).expect("where it begins");
    tell(1);
    let (id, name, data) = next_event(&mut first);
    assert_eq!((name.as_str(), data), ("title", json!({ "number": 1 })));
    drop(first);

    // It has gone; two more happen.
    tell(2);
    tell(3);
    let mut back = listen_again(&server, None, Some(&id));
    let heard = [(); 2].map(|()| next_event(&mut back));
    assert_eq!(heard.each_ref().map(|(.., data)| data["number"].as_u64()), [Some(2), Some(3)]);
    tell(4);
    assert_eq!(next_event(&mut back).2, json!({ "number": 4 }), "and what happens now");
    let mut from_the_begin = listen_again(&server, None, Some(&begin));
    assert_eq!(next_event(&mut from_the_begin).2, json!({ "number": 1 }));

    // 1024 are kept: the first five are not.
    (5..=1029).for_each(tell);
    let mut late = listen_again(&server, None, Some(&begin));
    let (resumed, name, data) = next_event(&mut late);
    assert_eq!((name.as_str(), data), ("missed", json!({ "events": 5 })));
    assert_eq!(next_event(&mut late).2, json!({ "number": 6 }));
    let mut again = listen_again(&server, None, Some(&resumed));
    assert_eq!(next_event(&mut again).2, json!({ "number": 6 }), "what is lost is told once");

    // Another run of the server: nobody knows how many.
    for other in ["00000000-3", "nonsense"] {
        let (_, name, data) = next_event(&mut listen_again(&server, None, Some(other)));
        assert_eq!((name.as_str(), data), ("missed", json!({ "events": null })), "{other}");
    }
}

#[test]
fn who_comes_back_with_a_key_is_told_again_of_its_own_home_address_only() {
    let server = Server::start(&["secret"]);
    let operator = ("Authorization", "Bearer secret");
    let reserved = server.ask("POST", "/api/v1/home-addresses", &[operator], Some(&json!({}))).json(201);
    let own = reserved["homeAddress"].as_str().expect("an address").to_owned();
    let key = format!("Bearer {}", reserved["key"].as_str().expect("a key"));
    let begin = listen(&server, Some(&key)).find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).expect("where it begins");
    let tell =
        |home: &str, event: &str| server.announcer.tell(ApiEvent { name: "binding", data: json!({"homeAddress": home, "event": event}) });
    server.announcer.tell(ApiEvent { name: "session", data: json!({"session": "1"}) });
    tell("fd00::77", "bound");
    tell(&own, "bound");
    let mut back = listen_again(&server, Some(&key), Some(&begin));
    assert_eq!(next_event(&mut back).2, json!({"homeAddress": own, "event": "bound"}));
}

#[test]
fn the_holder_of_a_key_or_token_hears_of_its_own_home_address_only_and_until_its_right_ends() {
    let server = Server::start(&["secret"]);
    let homes = server.play();
    let operator = ("Authorization", "Bearer secret");
    let reserved = server.ask("POST", "/api/v1/home-addresses", &[operator], Some(&json!({}))).json(201);
    let own = reserved["homeAddress"].as_str().expect("an address").to_owned();
    server.get("/api/v1/events").refused(401, "unauthorized");
    let nobodys = format!("Bearer {}", "0a".repeat(32));
    server.ask("GET", "/api/v1/events", &[("Authorization", &nobodys)], None).refused(401, "unauthorized");

    let key = format!("Bearer {}", reserved["key"].as_str().expect("a key"));
    let token = format!("Bearer {}", token_for(&server, homes[0]));
    let (mut by_key, mut by_token) = (listen(&server, Some(&key)), listen(&server, Some(&token)));
    let tell = |name, home: &str, event: &str| server.announcer.tell(ApiEvent { name, data: json!({"homeAddress": home, "event": event}) });
    server.announcer.tell(ApiEvent { name: "title", data: json!({"path": "new.mp4"}) });
    server.announcer.tell(ApiEvent { name: "session", data: json!({"session": "1"}) });
    tell("binding", &homes[1].to_string(), "bound");
    tell("binding", &own, "bound");
    tell("handover", &homes[0].to_string(), "moving");
    assert_eq!(next_data(&mut by_key), Some(json!({"homeAddress": own, "event": "bound"})));
    assert_eq!(next_data(&mut by_token), Some(json!({"homeAddress": homes[0].to_string(), "event": "moving"})));

    assert_eq!(server.ask("DELETE", &format!("/api/v1/home-addresses/{own}"), &[operator], None).status, 204);
    tell("binding", &own, "released");
    assert_eq!(next_data(&mut by_key), Some(json!({"homeAddress": own, "event": "released"})));
    assert_eq!(server.ask("DELETE", &format!("{}/keys", home_path(homes[0])), &[operator], None).status, 204);
    tell("binding", &own, "bound");
    tell("binding", &homes[0].to_string(), "bound");
    assert_eq!((next_data(&mut by_key), next_data(&mut by_token)), (None, None), "the streams have ended");
}

#[test]
fn connections_are_bounded_for_each_address_and_who_does_not_read_is_cut_off() {
    let server = Server::start_with(&[], |settings| {
        settings.limits = Limits { connections_per_address: 2, write_timeout: Duration::from_millis(200), ..Limits::default() };
    });
    let idle = server.connect();
    let mut deaf = server.connect();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    deaf.write_all(request.as_bytes()).expect("the request is taken");
    // Who finds no place may be reset before it has read why.
    let is_let_in = || {
        let mut stream = server.connect();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address);
        let mut octets = Vec::new();
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut octets));
        assert!(octets.is_empty() || octets.starts_with(b"HTTP/1.1 200") || octets.starts_with(b"HTTP/1.1 503"));
        octets.starts_with(b"HTTP/1.1 200")
    };
    assert!(!is_let_in(), "two are there");
    // The one that listens is told more than the system keeps for it.
    let start = std::time::Instant::now();
    let event = ApiEvent { name: "title", data: json!({"path": "x".repeat(8192)}) };
    while !is_let_in() {
        assert!(start.elapsed() < Duration::from_secs(20), "the listener that does not read is still there");
        for _ in 0..64 {
            server.announcer.tell(event.clone());
        }
        std::thread::yield_now();
    }
    drop(idle);
    let mut left = Vec::new();
    // What was on the way comes still; then the connection is over, in good order or not.
    let ended = deaf.read_to_end(&mut left);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(left.len() < 16 << 20, "{} octets were kept", left.len());
}

#[test]
fn numbers_are_for_operators_and_carry_the_names_people_rely_on() {
    let server = Server::start(&[]);
    let homes = server.play();
    let facts = PacketFacts {
        source: "::1".parse().expect("an address"),
        home: homes[0],
        label: 0x10001,
        destination_port: 5004,
        payload: flowsteer::steering::Payload::Rtcp,
        media: None,
    };
    let dropped = server.steering.gate(homes[0]).expect("reserved").pass(&facts, 3, now()).expect_err("nobody is bound");
    let text = server.metrics();
    for line in ["flowsteer_sessions 1", "flowsteer_titles 2", "flowsteer_branches 0"] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let number = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().expect("a number")
    };
    assert!(number(&format!("flowsteer_dropped_packets_total{{reason=\"{}\"}}", dropped.as_str())) >= 3.0);
    for reason in DropReason::ALL {
        number(&format!("flowsteer_dropped_packets_total{{reason=\"{}\"}}", reason.as_str()));
    }
    assert!(number("flowsteer_steering_total{event=\"reserved\"}") >= 1.0);
    assert!(number("process_resident_memory_bytes") > 0.0);
    assert!(number("process_open_fds") > 0.0);
    let closed = Server::start(&["secret"]);
    closed.get("/metrics").refused(401, "unauthorized");
}

#[test]
fn who_shows_too_many_wrong_keys_is_put_off() {
    let counter = "flowsteer_http_refused_total{limit=\"refused_keys\"}";
    let counted = || prometheus().render().lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok()).unwrap_or(0_u64);
    let token = |number: u32| format!("bm8gdG9rZW4{number}");
    let key = |number: u32| format!("{number:064x}");
    for (wrong, refusal) in [(&token as &dyn Fn(u32) -> String, 401), (&key, 403)] {
        let server = Server::start(&["secret"]);
        let homes = server.play();
        let ask = |bearer: &str| server.ask("GET", &home_path(homes[0]), &[("Authorization", &format!("Bearer {bearer}"))], None);
        let (start, before) = (std::time::Instant::now(), counted());
        let answers: Vec<Answer> = (0..200).map(|number| ask(&wrong(number))).collect();
        let (checked, put_off): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == refusal);
        assert!((20..=20 + 20 * (start.elapsed().as_secs() as usize + 1)).contains(&checked.len()), "{}", checked.len());
        assert_eq!(counted() - before, put_off.len() as u64);
        for answer in &put_off {
            answer.refused(429, "too-many-refused");
            assert!(answer.head.contains("\r\nretry-after: 1"), "{answer:#?}");
        }
        // While it is put off, no right one is told from a wrong one …
        assert!((0..100).any(|number| ask(&wrong(1000 + number)).status == 429 && ask("secret").status == 429));
        // … and then it is let in.
        let start = std::time::Instant::now();
        while ask("secret").status != 200 {
            assert!(start.elapsed() < Duration::from_secs(5), "it is put off for good");
        }
    }
}

#[test]
fn who_asks_while_too_many_commands_wait_is_told_so() {
    let server = Server::start(&[]);
    let homes = server.play();
    server.full.store(true, Ordering::Relaxed);
    for target in ["/api/v1/sessions", "/api/v1/sessions/0000000000000007", &home_path(homes[0])] {
        server.get(target).refused(503, "busy");
    }
    server.post("/api/v1/sessions/0000000000000007/pause", &json!({})).refused(503, "busy");
    server.post("/api/v1/sessions", &json!({ "title": "a film.mp4", "home": homes[0].to_string() })).refused(503, "busy");
    server.full.store(false, Ordering::Relaxed);
    server.get("/api/v1/sessions/0000000000000007").json(200);
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let server = Server::start(&[]);
    for target in ["/", "/healthz", "/api/openapi.json", "/api/v1/events", "/api/v1/nothing"] {
        let answer = server.ask("HEAD", target, &[], None);
        let status = if target.ends_with("nothing") { 404 } else { 200 };
        assert!(answer.status == status && answer.body.is_empty(), "{target}: {answer:#?}");
        if target != "/api/v1/events" {
            let length = server.get(target).body.len();
            assert!(answer.head.lines().any(|line| line == format!("content-length: {length}")), "{target}: {answer:#?}");
        }
    }
}

#[test]
fn wrong_methods_and_addresses_are_told_apart() {
    let server = Server::start(&[]);
    for (method, target, allow) in [
        ("DELETE", "/api/v1/sessions", "get, post, head"),
        ("DELETE", "/api/v1/sessions/7", "get, head"),
        ("GET", "/api/v1/sessions/7/end", "post"),
        ("POST", "/api/v1/titles", "get, head"),
        ("POST", "/api/v1/events", "get, head"),
        ("POST", "/healthz", "get, head"),
        ("PUT", "/metrics", "get, head"),
        ("PUT", "/api/v1/home-addresses", "get, post, head"),
        ("PUT", "/api/v1/home-addresses/fd00:1::9", "delete, get, head"),
        ("GET", "/api/v1/home-addresses/fd00:1::9/bindings/1", "delete, put"),
        ("GET", "/api/v1/home-addresses/fd00:1::9/context", "post"),
        ("GET", "/api/v1/home-addresses/fd00:1::9/keys", "delete"),
        ("POST", "/api/v1/home-addresses/fd00:1::9/sdp", "get, head"),
    ] {
        let answer = server.ask(method, target, &[], None);
        answer.refused(405, "method-not-allowed");
        assert!(answer.head.lines().any(|line| line == format!("allow: {allow}")), "{method} {target}: {answer:#?}");
    }
    server.get("/api/v1/nothing").refused(404, "not-found");
    server.get("/api/v1/home-addresses/fd00:1::9").refused(404, "not-found");
    server.get("/api/v1/home-addresses/nobody").refused(404, "not-found");
}
