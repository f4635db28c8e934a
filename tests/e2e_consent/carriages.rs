//! One consent for all carriages: Binding Updates of the device commands, calls of the API and take-over URLs ask by the same rules and through
//! the same queue, and nothing is sent and nothing changes before a yes.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::namespaces::Family::{self, V4, V6};
use crate::support::namespaces::Host;
use crate::support::recording::{PortPair, Recording};
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::server::{flowsteer, rtsp_address};
use crate::support::viewer::Carriage::Udp;
use crate::support::viewer::{Viewer, authority};
use crate::support::{Killed, SOON, wait_for};
use crate::{KEY, a_plays, answer, ask, device, done, listen, question, scene, send_set_up, set_up, token};

const FILM: &str = "countdown.mp4";
const WEBHOOK: &str = "[steering]\nconsent = \"webhook\"\nconsent_webhook = \"http://127.0.0.1:9090/may\"\n";

static NEXT_BINDING: AtomicU16 = AtomicU16::new(100);

/// Where packets may come.
struct Receiver {
    ports: PortPair,
    recording: Arc<Recording>,
    place: SocketAddr,
}

impl Receiver {
    fn on(host: &Host, family: Family) -> Self {
        let recording = Arc::new(Recording::default());
        let ports = PortPair::open(host, host.address(family), &recording);
        let place = SocketAddr::new(host.address(family), ports.rtp_port);
        Self { ports, recording, place }
    }

    #[track_caller]
    fn wait_for_packets(&self) {
        let before = self.recording.count();
        self.recording.wait_for("packets", SOON, |arrived| (arrived.rtp.len() > before + 50).then_some(()));
    }
}

/// What reaches one flow under one key, by each carriage.
struct Key {
    /// The stream context, in a file.
    context: String,
    /// The take-over's URL.
    url: String,
    target: String,
}

impl Key {
    #[track_caller]
    fn issue(scene: &Scene, folder: &Path, home: &str, family: Family) -> Self {
        let issued = scene.operator().post(&format!("/api/v1/home-addresses/{home}/context"), &json!({ "scope": "flow" })).json();
        let url = scene.operator().reach_over(issued["takeoverUrl"].as_str().expect("a URL"), family);
        let context = folder.join(format!("{}.json", issued["context"]["transfer_id"])).display().to_string();
        std::fs::write(&context, issued["context"].to_string()).expect("written");
        // No other key's.
        let binding = NEXT_BINDING.fetch_add(1, Ordering::Relaxed);
        Self { context, url, target: format!("/api/v1/home-addresses/{home}/bindings/{binding}") }
    }

    /// `PUT …/bindings/…`, from there.
    fn call(&self, host: &Host, scene: &Scene, family: Family, to: &Receiver, pin: Option<&str>) -> Answer {
        let mut body = json!({ "careOf": to.place.to_string() });
        if let Some(pin) = pin {
            body["pin"] = json!(pin);
        }
        ask(host, scene, family, "PUT", &self.target, token(&self.url), Some(&body))
    }

    /// `flowsteer take`.
    fn take<'a>(&'a self, host: &'a Host, folder: &'a Path, to: &Receiver) -> Asking<'a> {
        let rtp = to.ports.rtp_port.to_string();
        Asking::begin(move || device(host, folder, &["take", &self.context, "--rtp", &rtp]))
    }
}

/// A device's command that asks for a flow; killed when dropped.
struct Asking<'a> {
    command: Box<dyn Fn() -> Command + 'a>,
    running: Killed,
}

impl<'a> Asking<'a> {
    fn begin(command: impl Fn() -> Command + 'a) -> Self {
        let running = start(&command);
        Self { command: Box::new(command), running }
    }

    /// The flow comes there. Where the command has ended without, the same is asked again.
    #[track_caller]
    fn passes(&mut self, at: &Receiver) {
        let before = at.recording.count();
        wait_for("packets behind the yes", SOON, || {
            if self.running.0.try_wait().expect("our child can be waited for").is_some_and(|status| !status.success()) {
                self.running = start(&self.command);
            }
            (at.recording.count() > before + 50).then_some(())
        });
    }
}

fn start(command: &dyn Fn() -> Command) -> Killed {
    Killed(command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"))
}

/// Where a flow goes.
#[track_caller]
fn places(scene: &Scene, home: &str) -> Vec<Value> {
    let shown = scene.operator().get(&format!("/api/v1/home-addresses/{home}")).json();
    let branches = shown["flow"]["branches"].as_array().unwrap_or_else(|| panic!("{shown:#}")).clone();
    branches.iter().map(|branch| json!([branch["bindingId"], branch["careOf"], branch["state"] == "leaving"])).collect()
}

#[track_caller]
fn goes_to(scene: &Scene, home: &str, at: &Receiver) {
    let there = json!(at.place.to_string());
    wait_for("the flow to be there alone", SOON, || matches!(&places(scene, home)[..], [one] if one[1] == there).then_some(()));
}

/// Flows as they were.
struct Before<'a> {
    scene: &'a Scene,
    places: Vec<(&'a str, Vec<Value>)>,
}

impl<'a> Before<'a> {
    fn of(scene: &'a Scene, homes: &[&'a str]) -> Self {
        Self { scene, places: homes.iter().map(|home| (*home, places(scene, home))).collect() }
    }

    /// The address map is as it was, and nothing has come there.
    #[track_caller]
    fn holds(&self, silent: &Receiver) {
        for (home, before) in &self.places {
            assert_eq!(places(self.scene, home), *before, "{home}");
        }
        assert_eq!(silent.recording.count(), 0, "no media before a yes");
    }
}

#[track_caller]
fn nobody_is_asked(scene: &Scene) {
    assert_eq!(scene.operator().get("/api/v1/consents").json(), json!([]));
}

/// How often something was refused for consent.
#[track_caller]
fn refusals(scene: &Scene) -> u64 {
    let shown = scene.operator().get("/metrics").text();
    let line = shown.lines().find_map(|line| line.strip_prefix("flowsteer_steering_total{event=\"consent_refused\"} "));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// An update is refused, and nobody is asked.
#[track_caller]
fn update_is_refused(scene: &Scene, taking: impl FnOnce() -> Killed) {
    let before = refusals(scene);
    let _taking = taking();
    wait_for("the update to be refused", SOON, || (refusals(scene) > before).then_some(()));
    nobody_is_asked(scene);
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, kind: &str) {
    assert!(answer.status == status && answer.text().contains(kind), "{} {}, and not {status} {kind}", answer.status, answer.text());
}

/// A service that is asked for consent: each call is the test's to answer.
struct Service(mpsc::Receiver<Called>);

struct Called {
    body: Value,
    stream: TcpStream,
}

impl Service {
    fn listen(scene: &Scene) -> Self {
        let listener = scene.network.server.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 9090))).expect("a free port");
        let (call, calls) = mpsc::channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (mut octets, mut part) = (Vec::new(), [0; 4096]);
                while !octets.ends_with(b"}") {
                    let count = stream.read(&mut part).expect("the call is read");
                    octets.extend_from_slice(&part[..count]);
                }
                let text = String::from_utf8(octets).expect("text");
                let (head, body) = text.split_once("\r\n\r\n").expect("a head");
                assert!(head.starts_with("POST /may HTTP/1.1\r\n"), "{head}");
                if call.send(Called { body: serde_json::from_str(body).expect("JSON"), stream }).is_err() {
                    return;
                }
            }
        });
        Self(calls)
    }

    #[track_caller]
    fn next_call(&self) -> Called {
        self.0.recv_timeout(SOON).expect("the service is asked")
    }
}

impl Called {
    fn says(mut self, status: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(answer.as_bytes()).expect("the answer is taken");
    }

    fn answers(self, allow: bool) {
        self.says("200 OK", &json!({ "allow": allow }).to_string());
    }
}

/// Who has paid, and what each address has been let have: one flow.
#[derive(Default)]
struct Entitlements {
    paid: HashSet<String>,
    has: HashMap<String, String>,
}

impl Entitlements {
    fn allow(&mut self, call: &Value) -> bool {
        let [taker, home] = ["taker", "home"].map(|name| call[name].as_str().expect("text").to_owned());
        self.paid.contains(&taker) && *self.has.entry(taker).or_insert_with(|| home.clone()) == home
    }
}

#[test]
fn a_service_lets_each_paid_address_have_one_flow_by_whatever_way_it_asks() {
    let Some((scene, folder)) = scene(WEBHOOK) else { return };
    let (service, b) = (Service::listen(&scene), &scene.network.b);
    let mut entitlements = Entitlements { paid: [b.address(V4).to_string()].into(), ..Entitlements::default() };
    let watching = a_plays(&scene, FILM);
    let (picture, sound) = (watching.video(), watching.audio());
    let (at_b, also_at_b) = (Receiver::on(b, V4), Receiver::on(b, V4));

    // Behind a Binding Update.
    let before = Before::of(&scene, &[&picture.home, &sound.home]);
    let key = Key::issue(&scene, folder.path(), &picture.home, V4);
    let mut taking = key.take(b, folder.path(), &at_b);
    let call = service.next_call();
    let expected = json!({
        "home": picture.home, "flow": format!("0x{:05x}", picture.label), "homes": [picture.home],
        "taker": b.address(V4).to_string(), "way": "binding-update",
    });
    assert_eq!(call.body, expected);
    let asked = question(&scene);
    assert_eq!(asked["asked"], json!("webhook"), "{asked:#}");
    let answered = scene.operator().flowsteer(&["answer", asked["id"].as_str().expect("an id"), "yes"]);
    assert!(!answered.status.success(), "the service alone decides: {answered:?}");
    assert_eq!(key.call(b, &scene, V4, &also_at_b, None).json()["consent"]["id"], asked["id"], "it is asked once");
    before.holds(&at_b);
    let allow = entitlements.allow(&call.body);
    call.answers(allow);
    taking.passes(&at_b);
    goes_to(&scene, &picture.home, &at_b);

    // Behind a call: the second flow.
    let before = Before::of(&scene, &[&sound.home]);
    let key = Key::issue(&scene, folder.path(), &sound.home, V4);
    let waits = key.call(b, &scene, V4, &also_at_b, None);
    assert_eq!((waits.status, &waits.json()["consent"]["asked"]), (202, &json!("webhook")), "{}", waits.text());
    let call = service.next_call();
    assert_eq!((&call.body["way"], &call.body["home"]), (&json!("http"), &json!(sound.home)));
    before.holds(&also_at_b);
    let allow = entitlements.allow(&call.body);
    call.answers(allow);
    wait_for("the answer to count", SOON, || (scene.operator().get("/api/v1/consents").json() == json!([])).then_some(()));
    is_problem(&key.call(b, &scene, V4, &also_at_b, None), 403, "consent-refused");
    // It is a no to the same key by any way, and the service is not asked again.
    let refused = set_up(b, &key.url);
    assert!(refused.status == 403 && refused.reason.contains("consent was refused"), "{refused:#?}");
    update_is_refused(&scene, || key.take(b, folder.path(), &also_at_b).running);

    // Another address, that has not paid.
    let at_b6 = Receiver::on(b, V6);
    let key = Key::issue(&scene, folder.path(), &sound.home, V6);
    assert_eq!(key.call(b, &scene, V6, &at_b6, None).status, 202);
    let call = service.next_call();
    assert_eq!(call.body["taker"], json!(b.address(V6).to_string()));
    let allow = entitlements.allow(&call.body);
    call.answers(allow);
    let refused = wait_for("the service's no", SOON, || {
        let answer = key.call(b, &scene, V6, &at_b6, None);
        (answer.status != 202).then_some(answer)
    });
    is_problem(&refused, 403, "consent-refused");
    before.holds(&at_b6);
    before.holds(&also_at_b);
    let shown = scene.operator().get("/metrics").text();
    for (outcome, count) in [("allowed", 1), ("refused", 2)] {
        assert!(shown.contains(&format!("flowsteer_consent_webhook_total{{outcome=\"{outcome}\"}} {count}")), "{outcome}");
    }
    at_b.wait_for_packets();
}

#[test]
fn a_service_that_gives_no_answer_says_no_to_updates_and_calls() {
    let Some((scene, folder)) = scene(WEBHOOK) else { return };
    let (b, folder) = (&scene.network.b, folder.path());
    let watching = a_plays(&scene, FILM);
    let home = &watching.video().home;
    let (before, at_b) = (Before::of(&scene, &[home]), Receiver::on(b, V4));
    let mut told = listen(&scene.network.server, Ipv4Addr::LOCALHOST.into(), "");
    let mut comes_to_no = |way: &str| {
        let (asked, answered) = (told.next().expect("an event"), told.next().expect("an event"));
        assert_eq!((&asked["event"], &asked["way"]), (&json!("asked"), &json!(way)), "{asked:#}");
        assert_eq!((&answered["id"], &answered["answer"]), (&asked["id"], &json!("no")), "{answered:#}");
    };
    // It is not there.
    let absent = Key::issue(&scene, folder, home, V4);
    let taking = absent.take(b, folder, &at_b);
    comes_to_no("binding-update");
    drop(taking);
    is_problem(&absent.call(b, &scene, V4, &at_b, None), 403, "consent-refused");

    let service = Service::listen(&scene);
    let broken = Key::issue(&scene, folder, home, V4);
    assert_eq!(broken.call(b, &scene, V4, &at_b, None).status, 202);
    service.next_call().says("500 Internal Server Error", "{\"allow\": true}");
    comes_to_no("http");
    is_problem(&broken.call(b, &scene, V4, &at_b, None), 403, "consent-refused");
    update_is_refused(&scene, || broken.take(b, folder, &at_b).running);

    // It says nothing.
    let silent = Key::issue(&scene, folder, home, V4);
    let begun = Instant::now();
    let taking = silent.take(b, folder, &at_b);
    let unanswered = service.next_call();
    assert_eq!(silent.call(b, &scene, V4, &at_b, None).status, 202);
    comes_to_no("binding-update");
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(4900), "the service has five seconds: {waited:?}");
    is_problem(&silent.call(b, &scene, V4, &at_b, None), 403, "consent-refused");
    drop((taking, unanswered));
    before.holds(&at_b);
    let shown = scene.operator().get("/metrics").text();
    assert!(shown.contains("flowsteer_consent_webhook_total{outcome=\"failed\"} 3"), "each is counted");
}

#[test]
fn what_is_asked_by_one_way_is_answered_for_all_of_them() {
    let Some((scene, folder)) = scene("[steering]\nconsent = \"ask-holder\"\n") else { return };
    let (b, folder) = (&scene.network.b, folder.path());
    let watching = a_plays(&scene, FILM);
    let home = &watching.video().home;
    let (before, by_update, by_call) = (Before::of(&scene, &[home]), Receiver::on(b, V4), Receiver::on(b, V4));
    let mut told = listen(&scene.network.server, Ipv4Addr::LOCALHOST.into(), "");

    let refused = Key::issue(&scene, folder, home, V4);
    let waits = refused.call(b, &scene, V4, &by_call, None);
    assert_eq!((waits.status, &waits.json()["consent"]["way"]), (202, &json!("http")), "{}", waits.text());
    let taking = refused.take(b, folder, &by_update);
    let mut held = Connection::open(b, authority(&refused.url));
    send_set_up(&mut held, &refused.url);
    // It is answered ahead of SETUP, which is there then.
    held.request("OPTIONS", &refused.url, &[]).ok();
    let asked = question(&scene);
    assert_eq!(asked["id"], waits.json()["consent"]["id"], "one question");
    answer(&scene, &asked, "no");
    let answered = held.next_response("SETUP");
    assert!(answered.status == 403 && answered.reason.contains("consent was refused"), "{answered:#?}");
    is_problem(&refused.call(b, &scene, V4, &by_call, None), 403, "consent-refused");
    drop(taking);
    update_is_refused(&scene, || refused.take(b, folder, &by_update).running);
    before.holds(&by_update);
    before.holds(&by_call);

    let key = Key::issue(&scene, folder, home, V4);
    let mut taking = key.take(b, folder, &by_update);
    let asked = question(&scene);
    assert_eq!((&asked["way"], &asked["asked"]), (&json!("binding-update"), &json!("holder")), "{asked:#}");
    assert_eq!(asked["taker"], json!(b.address(V4).to_string()));
    let waits = key.call(b, &scene, V4, &by_call, None);
    assert_eq!((waits.status, &waits.json()["consent"]["id"]), (202, &asked["id"]), "the same question");
    let mut held = Connection::open(b, authority(&key.url));
    send_set_up(&mut held, &key.url);
    held.request("OPTIONS", &key.url, &[]).ok();
    assert_eq!(question(&scene)["id"], asked["id"], "one question");
    before.holds(&by_update);
    before.holds(&by_call);
    let told: Vec<Value> = told.by_ref().take(3).collect();
    let of_both: Vec<(&Value, &Value)> = told.iter().map(|told| (&told["event"], &told["way"])).collect();
    let [asked_by_call, asked_by_update] = [json!("http"), json!("binding-update")];
    assert_eq!(of_both, [(&json!("asked"), &asked_by_call), (&json!("answered"), &asked_by_call), (&json!("asked"), &asked_by_update)]);

    answer(&scene, &asked, "yes");
    held.next_response("SETUP").ok();
    drop(held);
    taking.passes(&by_update);
    goes_to(&scene, home, &by_update);
    let bound = key.call(b, &scene, V4, &by_call, None);
    assert_eq!(bound.status, 200, "{}", bound.text());
    by_call.wait_for_packets();
    let taken = Viewer::watch(b, &key.url, Udp);
    taken.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
    nobody_is_asked(&scene);
}

#[test]
fn a_pin_is_given_in_a_url_or_a_call_and_is_good_for_an_update_then() {
    let config = format!("[[home]]\nname = \"wall\"\ntitle = \"{FILM}\"\nconsent = \"pin\"\npin = \"4711\"\n");
    let Some((scene, folder)) = scene(&config) else { return };
    let (b, folder) = (&scene.network.b, folder.path());
    let watching = a_plays(&scene, "home/wall");
    let home = &watching.video().home;
    let (before, by_update, by_call) = (Before::of(&scene, &[home]), Receiver::on(b, V4), Receiver::on(b, V4));
    let key = Key::issue(&scene, folder, home, V4);
    update_is_refused(&scene, || key.take(b, folder, &by_update).running);
    is_problem(&key.call(b, &scene, V4, &by_call, None), 403, "pin-needed");
    is_problem(&key.call(b, &scene, V4, &by_call, Some("4712")), 403, "pin-wrong");
    before.holds(&by_update);
    before.holds(&by_call);
    // What is set up is not played.
    let opened = set_up(b, &format!("{}&pin=4711", key.url));
    assert_eq!(opened.status, 200, "{opened:#?}");
    before.holds(&by_update);
    key.take(b, folder, &by_update).passes(&by_update);
    assert_eq!(key.call(b, &scene, V4, &by_call, None).status, 200, "the same key at the same address");

    // The PIN was for that key.
    let other = Key::issue(&scene, folder, home, V4);
    is_problem(&other.call(b, &scene, V4, &by_call, None), 403, "pin-needed");
    update_is_refused(&scene, || other.take(b, folder, &by_update).running);
    assert_eq!(other.call(b, &scene, V4, &by_call, Some("4711")).status, 200);
    goes_to(&scene, home, &by_call);
    key.take(b, folder, &by_update).passes(&by_update);
}

/// A home address that A has reserved, where a title plays to A.
struct Held {
    home: String,
    key: String,
    at_a: Receiver,
    _control: Connection,
}

impl Held {
    #[track_caller]
    fn by_a(scene: &Scene, folder: &Path) -> Self {
        let (a, at_a) = (&scene.network.a, Receiver::on(&scene.network.a, V6));
        std::fs::write(folder.join("key.toml"), KEY).expect("written");
        let run = |arguments: &[&str]| done(device(a, folder, arguments).output().expect("the binary runs"));
        let server = scene.network.server.address(V6).to_string();
        let reserved: Value =
            serde_json::from_str(&run(&["reserve", "--key-file", "key.toml", "--server", &server, "--json"])).expect("JSON");
        let home = reserved["homeAddress"].as_str().expect("a home address").to_owned();
        let kept = std::fs::read(folder.join(reserved["deviceFile"].as_str().expect("a file"))).expect("the device has its file");
        let key = serde_json::from_slice::<Value>(&kept).expect("JSON")["key"].as_str().expect("a key").to_owned();
        // Whatever the rules are, the first binding of who holds the address is nobody else's affair, but for a service.
        run(&["bind", &home, "--rtp", &at_a.ports.rtp_port.to_string()]);
        let mut control = Connection::open(a, rtsp_address(&scene.network.server, V6));
        let url = scene.url(V6, FILM);
        control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &format!("RTP/AVP;unicast;destination={home}"))]).ok();
        control.request("PLAY", &url, &[("Range", "npt=0.000-")]).ok();
        at_a.wait_for_packets();
        Self { home, key, at_a, _control: control }
    }

    /// `PUT …/bindings/5` under the home key.
    fn call(&self, host: &Host, scene: &Scene, body: &Value) -> Answer {
        ask(host, scene, V6, "PUT", &format!("/api/v1/home-addresses/{}/bindings/5", self.home), &self.key, Some(body))
    }
}

#[test]
fn never_holds_for_updates_calls_and_operators_but_not_for_the_home_key() {
    let trusted = "trusted_care_of = [\"2001:db8:f10::/64\"]";
    let config = format!("[steering]\nhome_prefix = \"fd00:f10::/64\"\nconsent = \"never\"\n{trusted}\n{KEY}");
    let Some((scene, folder)) = scene(&config) else { return };
    let (b, folder) = (&scene.network.b, folder.path());
    let held = Held::by_a(&scene, folder);
    let (before, at_b) = (Before::of(&scene, &[&held.home]), Receiver::on(b, V6));
    let key = Key::issue(&scene, folder, &held.home, V6);
    update_is_refused(&scene, || key.take(b, folder, &at_b).running);
    is_problem(&key.call(b, &scene, V6, &at_b, None), 403, "consent-never");
    let refused = set_up(b, &key.url);
    assert!(refused.status == 403 && refused.reason.contains("the flow is handed over to nobody"), "{refused:#?}");
    let body = json!({ "careOf": at_b.place.to_string() });
    is_problem(&scene.operator().put(&key.target, &body), 403, "consent-never");
    before.holds(&at_b);
    held.at_a.wait_for_packets();
    let bound = held.call(b, &scene, &body);
    assert_eq!(bound.status, 200, "{}", bound.text());
    at_b.wait_for_packets();
}

#[test]
fn who_is_given_a_flow_is_asked_once_and_who_takes_one_is_not() {
    let Some((scene, folder)) = scene(&format!("[steering]\nhome_prefix = \"fd00:f10::/64\"\nconsent = \"ask-taker\"\n{KEY}")) else {
        return;
    };
    let (a, b, folder) = (&scene.network.a, &scene.network.b, folder.path());
    let held = Held::by_a(&scene, folder);
    let (before, given, taken) = (Before::of(&scene, &[&held.home]), Receiver::on(b, V6), Receiver::on(b, V6));
    let key = Key::issue(&scene, folder, &held.home, V6);
    let server = scene.network.server.address(V6).to_string();
    let proof = done(device(b, folder, &["prove", "--server", &server, "--json"]).output().expect("the binary runs"));
    let proof: Value = serde_json::from_str(&proof).expect("JSON");
    let (care_of, index) = (b.address(V6).to_string(), proof["nonceIndex"].to_string());
    let (shown, rtp) = (proof["token"].as_str().expect("a token"), given.ports.rtp_port.to_string());
    let mut giving = Asking::begin(|| {
        let proven = ["--care-of", &care_of, "--nonce-index", &index, "--token", shown, "--rtp", &rtp];
        device(a, folder, &[&["give", &key.context], &proven[..]].concat())
    });
    let asked = question(&scene);
    assert_eq!(
        (&asked["way"], &asked["asked"], &asked["taker"]),
        (&json!("binding-update"), &json!("taker"), &json!(care_of)),
        "{asked:#}"
    );
    // The home key asks the same over HTTP.
    let body = json!({ "careOf": given.place.to_string(), "proof": { "nonceIndex": proof["nonceIndex"], "token": shown } });
    let waits = held.call(a, &scene, &body);
    assert_eq!((waits.status, &waits.json()["consent"]["id"]), (202, &asked["id"]), "{}", waits.text());
    question(&scene);
    before.holds(&given);
    held.at_a.wait_for_packets();
    let api = format!("http://{}", SocketAddr::new(scene.network.server.address(V6), 8080));
    let id = asked["id"].as_str().expect("an id");
    done(flowsteer(b).args(["--server", &api, "answer", id, "yes"]).output().expect("the binary runs"));
    giving.passes(&given);
    goes_to(&scene, &held.home, &given);
    let bound = held.call(a, &scene, &body);
    assert_eq!(bound.status, 200, "behind the same yes: {}", bound.text());

    // B's own wish needs no other yes, by an update and by a call.
    let own = Key::issue(&scene, folder, &held.home, V6);
    own.take(b, folder, &taken).passes(&taken);
    let bound = own.call(b, &scene, V6, &given, None);
    assert_eq!(bound.status, 200, "{}", bound.text());
    nobody_is_asked(&scene);
}
