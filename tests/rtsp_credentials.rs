//! Users and passwords, seen from outside: real players with the right, the wrong and no credentials, take-overs in a library that is
//! for users only, publishers, who guesses, what SIGHUP takes over, and operators who log in over HTTP.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::film::{Film, library};
use support::http::Answer;
use support::namespaces::Family::{self, V4, V6};
use support::namespaces::Host;
use support::players::{Player, play_with_retina, refused_to_retina};
use support::rtsp::{Connection, Response};
use support::scene::Scene;
use support::server::rtsp_address;
use support::viewer::Carriage;
use support::{Killed, SOON, http, wait_for};
use tempfile::TempDir;

/// Ten seconds, a key picture every two; what is played of it begins at eight.
const TITLE: &str = "short.mp4";
const BEGIN: f64 = 8.0;
/// How long a player may take.
const PATIENCE: Duration = Duration::from_secs(30);

const ANNA: &str = "[[users]]\nname = \"anna\"\npassword = \"s3cret\"\nroles = [\"viewer\"]\n";

/// A server with a configuration that can be changed.
struct Guarded {
    scene: Scene,
    folder: TempDir,
}

impl Guarded {
    fn serve(settings: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("f.toml");
        // It is read again when it is told, not before.
        fs::write(&config, format!("[serve]\nwatch = false\n{settings}")).expect("written");
        let scene = Scene::set_with(&library(), &["--config", config.to_str().expect("a name in UTF-8")])?;
        Some(Self { scene, folder })
    }

    /// The title's last two seconds, asked for by somebody: `name:password@`, or nothing.
    fn url(&self, family: Family, who: &str) -> String {
        self.at(family, who, &format!("{TITLE}?t={BEGIN}"))
    }

    fn at(&self, family: Family, who: &str, path: &str) -> String {
        format!("rtsp://{who}{}/{path}", rtsp_address(&self.scene.network.server, family))
    }

    fn reload(&self, settings: &str, told: &str) {
        fs::write(self.folder.path().join("f.toml"), format!("[serve]\nwatch = false\n{settings}")).expect("written");
        self.scene.server.hang_up();
        wait_for(told, SOON, || self.scene.server.has_logged(told).then_some(()));
    }

    fn metric(&self, begin: &str) -> u64 {
        let text = self.scene.operator().get("/metrics").text();
        let values = text.lines().filter(|line| line.starts_with(begin)).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// Paths of the titles that are shown to who asks over HTTP from a device.
    fn shown_to_devices(&self) -> Vec<String> {
        let device = &self.scene.network.a;
        let to = (self.scene.network.server.address(V4), 8080).into();
        let titles = http::ask(device, to, "GET", "/api/v1/titles", &[], None).json();
        paths(&titles)
    }
}

fn paths(titles: &Value) -> Vec<String> {
    let titles = titles.as_array().expect("a list of titles");
    titles.iter().map(|title| title["path"].as_str().expect("a path").to_owned()).collect()
}

/// ffmpeg is turned away, and says with which status.
#[track_caller]
fn assert_refused(host: &Host, url: &str, status: &str) {
    let mut command = host.command("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "null", "-"]);
    let output = command.output().expect("ffmpeg runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(status), "{url}: {said}");
}

/// `Authorization` by another hand than the server's.
struct Hand<'a> {
    user: &'a str,
    password: &'a str,
    sha: bool,
}

impl Hand<'_> {
    fn hash(&self, text: &str) -> String {
        let octets: Vec<u8> = match self.sha {
            true => <sha2::Sha256 as sha2::Digest>::digest(text).to_vec(),
            false => <md5::Md5 as md5::Digest>::digest(text).to_vec(),
        };
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// DESCRIBE, and again with the answer to the challenge; `uri` is what that is computed for.
    #[track_caller]
    fn describe(&self, connection: &mut Connection, url: &str, uri: &str) -> Response {
        let challenged = connection.request("DESCRIBE", url, &[]);
        assert_eq!(challenged.status, 401, "{challenged:#?}");
        let challenges: Vec<_> = challenged.headers.iter().filter(|(name, _)| name == "WWW-Authenticate").collect();
        assert_eq!(challenges.len(), 1, "{challenges:?}");
        let challenge = challenges[0].1.strip_prefix("Digest realm=\"flowsteer\", nonce=\"").expect("this order and spelling");
        let (nonce, rest) = challenge.split_once('"').expect("a nonce");
        assert_eq!(rest, if self.sha { ", algorithm=SHA-256" } else { "" });
        let (secret, asked) = (self.hash(&format!("{}:flowsteer:{}", self.user, self.password)), self.hash(&format!("DESCRIBE:{uri}")));
        let response = self.hash(&format!("{secret}:{nonce}:{asked}"));
        let mut value =
            format!("Digest username=\"{}\", realm=\"flowsteer\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"", self.user);
        if self.sha {
            value += ", algorithm=SHA-256";
        }
        connection.request("DESCRIBE", url, &[("Authorization", &value)])
    }
}

const fn hand<'a>(user: &'a str, password: &'a str) -> Hand<'a> {
    Hand { user, password, sha: false }
}

fn basic(who: &str) -> String {
    format!("Basic {}", STANDARD.encode(who))
}

fn passwd(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
    command.arg("passwd").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // Where it refuses its arguments, it reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn players_play_with_the_right_credentials_and_with_no_others() {
    let Some(guarded) = Guarded::serve(ANNA) else { return };
    let (a, b) = (&guarded.scene.network.a, &guarded.scene.network.b);
    for line in ["play  1 user, as roles and [[access]] say", "operate  who asks from this machine"] {
        assert!(guarded.scene.server.banner().iter().any(|told| told == line), "{line}: {:#?}", guarded.scene.server.banner());
    }
    let url = guarded.url(V4, "anna:s3cret@");
    let ffmpeg = Player::Ffmpeg.play(a, &url, Carriage::Interleaved);
    let gstreamer = Player::GStreamer.play(a, &guarded.url(V6, "anna:s3cret@"), Carriage::Udp);
    let pyav = Player::PyAv.play(a, &url, Carriage::Udp);
    let retina = play_with_retina(a, &url, Carriage::Interleaved, |_| false);
    retina.assert_whole_from("retina", TITLE, BEGIN);
    ffmpeg.end(PATIENCE).assert_whole_from("ffmpeg", TITLE, BEGIN);
    gstreamer.end(PATIENCE).assert_whole_from("GStreamer", TITLE, BEGIN);
    pyav.end(PATIENCE).assert_whole_from("PyAV", TITLE, BEGIN);
    assert_eq!(guarded.metric("flowsteer_authentication_failures_total"), 0, "a challenge that is answered is no failure");
    assert_refused(b, &guarded.url(V4, ""), "401");
    let refused =
        |player: Player, who: &str, family| player.play(b, &guarded.url(family, who), Carriage::Interleaved).end_refused(PATIENCE);
    for player in [Player::PyAv, Player::GStreamer] {
        let told = refused(player, "", V4).to_lowercase();
        assert!(told.contains("unauthori") || told.contains("not authorized"), "{player:?}: {told}");
    }
    assert!(refused_to_retina(b, &guarded.url(V4, "")).is_some_and(|told| told.contains("401")));
    assert_eq!(guarded.metric("flowsteer_authentication_failures_total"), 0, "who shows nothing does not guess");
    // Each guess from a network that has guessed less than it is slowed for.
    assert_refused(b, &guarded.url(V4, "anna:wrong@"), "401");
    refused(Player::PyAv, "bert:s3cret@", V4);
    refused(Player::GStreamer, "anna:wrong@", V6);
    assert!(refused_to_retina(b, &guarded.url(V6, "anna:wrong@")).is_some_and(|told| told.contains("401")));
    assert!(
        (4..=6).contains(&guarded.metric("flowsteer_authentication_failures_total{scheme=\"digest\"}")),
        "one each, of one that asks again two"
    );
    assert_eq!(guarded.shown_to_devices(), Vec::<String>::new());
    assert!(paths(&guarded.scene.operator().get("/api/v1/titles").json()).contains(&TITLE.to_owned()));
}

#[test]
fn the_most_specific_rule_decides_and_a_digest_may_be_for_any_spelling_of_the_url() {
    let settings = format!(
        "{ANNA}[[users]]\nname = \"bert\"\npassword = \"pass:word\"\n[[access]]\npath = \"films/*\"\nusers = [\"bert\"]\n[[access]]\npath = \"aligned.mp4\"\nanyone = true\n"
    );
    let Some(guarded) = Guarded::serve(&settings) else { return };
    let address = rtsp_address(&guarded.scene.network.server, V4);
    let film = fs::read_dir(library().join("films")).expect("a folder").next().expect("a film").expect("readable").file_name();
    let film = format!("films/{}", film.to_str().expect("a name in UTF-8"));
    let url = |path: &str| guarded.at(V4, "", path);
    let ask = |who: &Hand<'_>, path: &str, uri: &str| {
        let mut connection = Connection::open(&guarded.scene.network.a, address);
        who.describe(&mut connection, &url(path), uri).status
    };
    let (anna, bert) = (hand("anna", "s3cret"), hand("bert", "pass:word"));
    for uri in [url(TITLE), url(&format!("{TITLE}/")), format!("/{TITLE}"), url("")] {
        assert_eq!(ask(&anna, TITLE, &uri), 200, "{uri}");
    }
    assert_eq!(ask(&anna, TITLE, &url("countdown.mp4")), 401, "a digest for another title");
    assert_eq!(ask(&bert, TITLE, &url(TITLE)), 403, "no viewer");
    assert_eq!(ask(&anna, &film, &url(&film)), 403, "a film for another");
    assert_eq!(ask(&bert, &film, &url(&film)), 200);
    assert_eq!(ask(&anna, "nothing.mp4", &url("nothing.mp4")), 404, "who may not play is not told what there is");
    let mut anybody = Connection::open(&guarded.scene.network.a, address);
    anybody.request("DESCRIBE", &url("aligned.mp4"), &[]).ok();
    assert_eq!(guarded.shown_to_devices(), ["aligned.mp4"]);
    // A session cannot be opened without the description either.
    let setup = anybody.request("SETUP", &url(&format!("{TITLE}/trackID=0")), &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
    assert_eq!(setup.status, 401);
}

#[test]
fn what_a_user_plays_is_taken_over_by_token() {
    let Some(guarded) = Guarded::serve(ANNA) else { return };
    let operator = guarded.scene.operator();
    // Who takes over what stands still resumes it: two players find it where it is, however late they start.
    let stand_still = || {
        operator.control(&operator.session(), "pause", &json!({}));
        operator.wait_for_state("paused")
    };
    let url = guarded.at(V4, "anna:s3cret@", &format!("{TITLE}?t=2"));
    let a = Player::Ffmpeg.play(&guarded.scene.network.a, &url, Carriage::Udp);
    operator.wait_for_state("playing");
    let session = stand_still();
    let home = session["flows"][0]["homeAddress"].as_str().expect("a home address");
    // The token as a password. FFmpeg reads 127 octets of a URL's name and password: the token of one flow.
    let as_password = |scope: &str| {
        let url = operator.takeover_url(home, V4, scope);
        let (before, key) = url.split_once("?key=").expect("a key");
        before.replacen("rtsp://", &format!("rtsp://flow:{key}@"), 1)
    };
    let mut ffmpeg = guarded.scene.network.b.command("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", &as_password("flow")]);
    let output = ffmpeg.args(["-map", "0:v", "-c", "copy", "-frames:v", "5", "-f", "null", "-"]).output().expect("ffmpeg runs");
    assert!(output.status.success(), "{output:?}");
    stand_still();
    let received = Player::GStreamer.play(&guarded.scene.network.b, &as_password("presentation"), Carriage::Interleaved).end(PATIENCE);
    let film = Film::named(TITLE);
    let first = film.locate_pictures("B's pictures", &received.pictures);
    assert!(first >= film.key_at_or_before(2.0), "B begins where A is, not at picture {first}");
    assert_eq!(first + received.pictures.len(), film.video.len(), "B's last picture");
    drop(a);
}

#[test]
fn publishers_publish_and_viewers_watch() {
    let carl = "[[users]]\nname = \"carl\"\npassword = \"s3cret\"\nroles = [\"publisher\"]\n";
    let Some(guarded) = Guarded::serve(&format!("{ANNA}{carl}[[publish]]\npath = \"studio/*\"\nroles = [\"publisher\"]\n")) else { return };
    let publish = |host: &Host, who: &str| {
        let mut command = host.command("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-stream_loop", "-1", "-re", "-i"]).arg(library().join(TITLE));
        command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", &guarded.at(V4, who, "studio/live")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("ffmpeg starts")
    };
    let refused = publish(&guarded.scene.network.b, "anna:s3cret@").wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
    let _carl = Killed(publish(&guarded.scene.network.a, "carl:s3cret@"));
    let is_online = |title: &Value| title["path"] == "studio/live" && title["online"] == true;
    let titles = || guarded.scene.operator().get("/api/v1/titles").json();
    wait_for("the title to be online", PATIENCE, || titles().as_array().expect("a list").iter().any(is_online).then_some(()));
    let url = guarded.at(V4, "anna:s3cret@", "studio/live");
    let received = play_with_retina(&guarded.scene.network.b, &url, Carriage::Interleaved, |received| received.pictures.len() > 5);
    assert!(received.pictures.len() > 5);
    assert_refused(&guarded.scene.network.b, &guarded.at(V4, "carl:s3cret@", "studio/live"), "403");
}

#[test]
fn who_guesses_waits_and_others_do_not() {
    let Some(guarded) = Guarded::serve(ANNA) else { return };
    let (a, b, address) = (&guarded.scene.network.a, &guarded.scene.network.b, rtsp_address(&guarded.scene.network.server, V4));
    let url = guarded.at(V4, "", TITLE);
    let mut guesser = Connection::open(a, address);
    let mut statuses = Vec::new();
    let start = Instant::now();
    for guess in 0..20 {
        statuses.push(hand("anna", &format!("guess{guess}")).describe(&mut guesser, &url, &url).status);
    }
    let looked_at = statuses.iter().filter(|status| **status == 401).count() as u64;
    // After four of them, as many more as there were waits.
    let passed = start.elapsed().as_millis();
    let waits = [250, 750, 1750, 3750, 7750, 15_750, 31_750].iter().filter(|until| passed >= **until).count() as u64;
    assert!((4..=4 + waits).contains(&looked_at), "{statuses:?} in {passed} ms");
    assert!(statuses[..4].iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(guarded.metric("flowsteer_authentication_failures_total{scheme=\"digest\"}"), looked_at);
    assert_eq!(guarded.metric("flowsteer_rtsp_refused_total{limit=\"wrong_passwords\"}"), 20 - looked_at);
    let mut other = Connection::open(b, address);
    hand("anna", "s3cret").describe(&mut other, &url, &url).ok();
    let let_in = || Some(hand("anna", "s3cret").describe(&mut guesser, &url, &url).status).filter(|status| *status == 200);
    wait_for("the guesser to be let in with the right password", SOON, let_in);
}

#[test]
fn a_reload_takes_over_users_rules_and_how_passwords_are_shown() {
    let Some(guarded) = Guarded::serve(ANNA) else { return };
    let (a, address) = (&guarded.scene.network.a, rtsp_address(&guarded.scene.network.server, V4));
    let url = guarded.at(V4, "", TITLE);
    let ask = |hand: &Hand<'_>| hand.describe(&mut Connection::open(a, address), &url, &url).status;
    let as_it_is = |who: &str| Connection::open(a, address).request("DESCRIBE", &url, &[("Authorization", &basic(who))]).status;
    assert_eq!((ask(&hand("anna", "s3cret")), as_it_is("anna:s3cret")), (200, 401));
    let changed = ANNA.replace("s3cret", "other");
    guarded.reload(&format!("[rtsp]\nbasic = true\n{changed}"), "read again: rtsp.basic, users changed");
    assert_eq!((ask(&hand("anna", "s3cret")), ask(&hand("anna", "other"))), (401, 200));
    assert_eq!((as_it_is("anna:other"), as_it_is("anna:s3cret")), (200, 401));
    assert_eq!(guarded.metric("flowsteer_authentication_failures_total{scheme=\"basic\"}"), 1);
    // Hashed, in the way that few players know.
    let printed = passwd(&["anna", "--digest", "sha-256", "--stdin"], "third\n");
    assert!(printed.status.success(), "{printed:?}");
    let entry = String::from_utf8(printed.stdout).expect("text");
    assert!(!entry.contains("third"));
    guarded.reload(&format!("[rtsp]\ndigest = \"sha-256\"\n{entry}"), "read again: rtsp.basic, rtsp.digest, users changed");
    assert_eq!(ask(&Hand { user: "anna", password: "third", sha: true }), 200);
    let retina = guarded.at(V4, "anna:third@", &format!("{TITLE}?t=9.9"));
    assert!(!play_with_retina(a, &retina, Carriage::Interleaved, |received| !received.pictures.is_empty()).pictures.is_empty());
    guarded.reload("", "read again: rtsp.digest, users changed");
    Connection::open(a, address).request("DESCRIBE", &url, &[]).ok();
}

/// What operates by cookie, from one host.
struct Browser<'a> {
    host: &'a Host,
    to: SocketAddr,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    fn at(host: &'a Host, to: SocketAddr) -> Self {
        Self { host, to, cookie: String::new(), csrf: String::new() }
    }

    fn ask(&self, method: &str, target: &str, more: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut headers = more.to_vec();
        if !self.cookie.is_empty() {
            headers.push(("Cookie", &self.cookie));
        }
        http::ask(self.host, self.to, method, target, &headers, body)
    }

    fn status(&self, method: &str, target: &str, more: &[(&str, &str)]) -> u16 {
        let body = (method != "GET").then(|| json!({}));
        self.ask(method, target, more, body.as_ref()).status
    }

    fn try_to_log_in(&self, user: &str, password: &str) -> Answer {
        self.ask("POST", LOGIN, &[], Some(&json!({ "user": user, "password": password })))
    }

    /// Logs in; what the cookie was set with.
    #[track_caller]
    fn log_in(&mut self, user: &str, password: &str) -> String {
        let answer = self.try_to_log_in(user, password);
        let shape = answer.json();
        assert_eq!((shape["user"].as_str(), shape.as_object().map(|shape| shape.len())), (Some(user), Some(2)), "{shape}");
        self.csrf = shape["csrf"].as_str().expect("a text").to_owned();
        let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        self.cookie = cookie.split(';').next().expect("a pair").to_owned();
        cookie.to_owned()
    }
}

const LOGIN: &str = "/api/v1/login";
const HOMES: &str = "/api/v1/home-addresses";
const SESSIONS: &str = "/api/v1/sessions";

#[test]
fn an_operator_logs_in_over_http_and_operates_until_the_login_ends() {
    let printed = passwd(&["olga", "--argon2", "--stdin"], "s3cret\n");
    let olga = String::from_utf8(printed.stdout).expect("text");
    assert!(olga.contains("\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$") && olga.ends_with("roles = [\"operator\"]\n"), "{olga}");
    let Some(guarded) = Guarded::serve(&format!("{ANNA}{olga}")) else { return };
    let (server, device) = (&guarded.scene.network.server, &guarded.scene.network.a);
    assert!(guarded.scene.server.banner().iter().any(|told| told == "operate  1 user who logs in"), "{:#?}", guarded.scene.server.banner());
    let mut browser = Browser::at(server, (Ipv4Addr::LOCALHOST, 8080).into());
    assert_eq!([SESSIONS, LOGIN].map(|target| browser.status("GET", target, &[])), [401, 401], "being here is not enough");
    assert_eq!(browser.try_to_log_in("olga", "secret").status, 401);
    assert_eq!(browser.try_to_log_in("anna", "s3cret").status, 403, "a viewer");
    let mut outside = Browser::at(device, (server.address(V4), 8080).into());
    let refused = outside.try_to_log_in("olga", "s3cret");
    assert!(refused.status == 403 && refused.text().contains("insecure-transport"), "{}", refused.text());

    let set = browser.log_in("olga", "s3cret");
    assert!(set.starts_with("flowsteer=") && set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    assert_eq!(browser.ask("GET", LOGIN, &[], None).json()["csrf"], browser.csrf.as_str());
    assert_eq!(browser.status("GET", SESSIONS, &[]), 200);
    let csrf = [("X-CSRF-Token", browser.csrf.as_str())];
    assert_eq!(browser.status("POST", HOMES, &[]), 403, "without the second secret");
    assert_eq!(browser.status("POST", HOMES, &[("X-CSRF-Token", "wrong")]), 403);
    assert_eq!(browser.status("POST", HOMES, &csrf), 201);
    for (header, of, status) in [
        ("Origin", "http://127.0.0.1:8080", 201),
        ("Origin", "http://127.0.0.1:9000", 401),
        ("Origin", "https://elsewhere.example", 401),
        ("Origin", "null", 401),
        ("Sec-Fetch-Site", "same-origin", 201),
        ("Sec-Fetch-Site", "same-site", 401),
        ("Sec-Fetch-Site", "cross-site", 401),
    ] {
        assert_eq!(browser.status("POST", HOMES, &[csrf[0], (header, of)]), status, "{header}: {of}");
    }
    outside.cookie.clone_from(&browser.cookie);
    assert_eq!(outside.status("GET", SESSIONS, &[]), 401, "a cookie that others could read is none");
    let failures = browser.ask("GET", "/metrics", &[], None).text();
    assert!(failures.contains("flowsteer_authentication_failures_total{scheme=\"login\"} 1"), "{failures}");

    // Events are heard until the user has another password.
    let mut events = server.run(|| TcpStream::connect(browser.to)).expect("the server listens");
    write!(events, "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {}\r\n\r\n", browser.to, browser.cookie)
        .expect("sent");
    events.set_read_timeout(Some(SOON)).expect("a timeout above zero");
    let mut events = BufReader::new(events);
    let mut heard = String::new();
    events.read_line(&mut heard).expect("a line");
    assert_eq!(heard, "HTTP/1.1 200 OK\r\n");
    let other = "[[users]]\nname = \"olga\"\npassword = \"other\"\nroles = [\"operator\"]\n";
    guarded.reload(&format!("{ANNA}{other}"), "read again: users changed");
    assert_eq!(browser.status("GET", SESSIONS, &[]), 401);
    browser.log_in("olga", "other");
    // What others would hear of.
    let csrf = [("X-CSRF-Token", browser.csrf.as_str())];
    let reserved = browser.ask("POST", HOMES, &csrf, Some(&json!({}))).json();
    let home = format!("{HOMES}/{}", reserved["homeAddress"].as_str().expect("a home address"));
    assert_eq!(browser.ask("DELETE", &home, &csrf, None).status, 204);
    events.read_to_string(&mut heard).expect("the stream ends");
    assert!(!heard.contains("event:"), "{heard}");

    assert_eq!(browser.status("POST", "/api/v1/logout", &[]), 403);
    let out = browser.ask("POST", "/api/v1/logout", &[("X-CSRF-Token", &browser.csrf)], None);
    assert!(out.status == 204 && out.head.contains("set-cookie: flowsteer=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0\r\n"), "{out:?}");
    assert_eq!([SESSIONS, LOGIN].map(|target| browser.status("GET", target, &[])), [401, 401]);

    browser.log_in("olga", "other");
    guarded.reload(&format!("[http]\nsession_s = 1\nsession_max_s = 1\n{ANNA}{other}"), "http.session_max_s, http.session_s changed");
    wait_for("the login's end", SOON, || (browser.status("GET", SESSIONS, &[]) == 401).then_some(()));

    let answers: Vec<Answer> = (0..8).map(|_| browser.try_to_log_in("olga", "guess")).collect();
    let slowed = answers.iter().find(|answer| answer.status == 429).expect("one that was not looked at");
    assert!(slowed.head.contains("retry-after: 1\r\n"), "{slowed:?}");
    assert!(!guarded.scene.server.has_logged("guess"));
}

/// Asks with curl, which keeps cookies as browsers do; the body and the status.
fn curl(host: &Host, jar: &Path, arguments: &[&str]) -> (String, String) {
    let mut command = host.command("curl");
    command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "-c"]).arg(jar).arg("-b").arg(jar).args(arguments);
    let output = command.output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (body.to_owned(), status.to_owned())
}

#[test]
fn over_tls_passwords_come_as_they_are_for_slow_hashes_and_cookies_stay_there() {
    let pair = TempDir::new().expect("a temporary folder");
    let file = |name: &str| pair.path().join(name).to_str().expect("a name in UTF-8").to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
    command.args(["cert", "--name", "10.15.0.1", "--days", "2", "--out"]).arg(pair.path());
    assert!(command.output().expect("the binary runs").status.success());
    let entry = String::from_utf8(passwd(&["anna", "--argon2", "--stdin"], "s3cret\n").stdout).expect("text");
    let entry = entry.replace("\"operator\"", "\"viewer\", \"operator\"");
    let tls = format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", file("flowsteer.crt"), file("flowsteer.key"));
    let Some(guarded) = Guarded::serve(&format!("{tls}{entry}")) else { return };
    let (a, b) = (&guarded.scene.network.a, &guarded.scene.network.b);
    let secured = |who: &str, path: &str| guarded.at(V4, who, path).replacen("rtsp://", "rtsps://", 1).replacen(":8554/", ":8322/", 1);
    // A minute long, and killed before that.
    let watched = Player::Ffmpeg.play(a, &secured("anna:s3cret@", "countdown.mp4"), Carriage::Interleaved);

    // A browser's side.
    let jar = pair.path().join("jar");
    let ca = file("flowsteer.crt");
    let ask = |arguments: &[&str]| curl(a, &jar, &[&["--cacert", ca.as_str()][..], arguments].concat());
    let json = ["-H", "Content-Type: application/json"];
    let (body, status) =
        ask(&[&json[..], &["-d", r#"{"user":"anna","password":"s3cret"}"#, "https://10.15.0.1:8443/api/v1/login"]].concat());
    assert_eq!(status, "200", "{body}");
    let shape: Value = serde_json::from_str(&body).expect("JSON");
    let kept = fs::read_to_string(&jar).expect("the jar");
    assert!(kept.lines().any(|line| line.starts_with("#HttpOnly_10.15.0.1\tFALSE\t/\tTRUE\t0\t__Host-flowsteer\t")), "{kept}");
    let home = wait_for("the player", SOON, || {
        let (body, status) = ask(&["https://10.15.0.1:8443/api/v1/sessions"]);
        assert_eq!(status, "200", "{body}");
        let sessions: Value = serde_json::from_str(&body).expect("JSON");
        let is_playing = sessions[0]["state"] == "playing";
        sessions[0]["flows"][0]["homeAddress"].as_str().filter(|_| is_playing).map(str::to_owned)
    });
    assert_eq!(ask(&["http://10.15.0.1:8080/api/v1/sessions"]).1, "401", "the cookie stays where nobody reads along");
    let csrf = format!("X-CSRF-Token: {}", shape["csrf"].as_str().expect("a text"));
    let context = format!("https://10.15.0.1:8443/api/v1/home-addresses/{home}/context");
    let (body, status) = ask(&[&json[..], &["-H", csrf.as_str(), "-d", r#"{"scope":"flow"}"#, context.as_str()]].concat());
    assert_eq!(status, "200", "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let (_, key) = answer["takeoverUrl"].as_str().and_then(|url| url.split_once("?key=")).expect("a key");
    // Where a password is asked for as it is, so is a token.
    let mut ffmpeg = b.command("ffmpeg");
    let url = secured(&format!("flow:{key}@"), &format!("home/{home}?mode=fork"));
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", &url]);
    let taken = ffmpeg.args(["-map", "0:v", "-c", "copy", "-frames:v", "5", "-f", "null", "-"]).output().expect("ffmpeg runs");
    assert!(taken.status.success(), "{taken:?}");
    drop(watched);

    let title = secured("anna:s3cret@", &format!("{TITLE}?t={BEGIN}"));
    let ffmpeg = Player::Ffmpeg.play(a, &title, Carriage::Interleaved);
    let gstreamer = Player::play_trusting(b, &title, Path::new(&ca));
    ffmpeg.end(PATIENCE).assert_whole_from("ffmpeg", TITLE, BEGIN);
    gstreamer.end(PATIENCE).assert_whole_from("GStreamer", TITLE, BEGIN);
    assert_refused(b, &secured("anna:wrong@", TITLE), "401");
    assert_refused(b, &guarded.url(V4, "anna:s3cret@"), "401");
    let (metrics, _) = ask(&["https://10.15.0.1:8443/metrics"]);
    assert!(metrics.contains("flowsteer_authentication_failures_total{scheme=\"basic\"} 1"), "{metrics}");
    assert!(!metrics.contains("flowsteer_authentication_failures_total{scheme=\"digest\"}"), "who can answer no challenge does not guess");
    assert!(!guarded.scene.server.has_logged("s3cret"));
}

#[test]
fn a_password_is_hashed_as_other_tools_do_and_bad_entries_are_told() {
    let printed = passwd(&["anna", "--stdin"], "s3cret\n");
    let expected = format!(
        "[[users]]\nname = \"anna\"\npassword_hash = \"md5:{}\"\nroles = [\"viewer\"]\n",
        hand("", "").hash("anna:flowsteer:s3cret")
    );
    assert_eq!(String::from_utf8_lossy(&printed.stdout), expected);
    for (arguments, input) in
        [(&["anna", "--stdin"][..], "\n"), (&["an:na", "--stdin"], "x\n"), (&["flow", "--stdin"], "x\n"), (&["anna"], "x\nx\n")]
    {
        let refused = passwd(arguments, input);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{arguments:?}: {refused:?}");
    }
    // Neither does a server start that would let anybody operate.
    let folder = TempDir::new().expect("a temporary folder");
    let config = folder.path().join("f.toml");
    fs::write(&config, "[http]\noperators = \"network\"\n").expect("written");
    for command in ["check", "serve"] {
        let refused =
            Command::new(env!("CARGO_BIN_EXE_flowsteer")).arg(command).arg("--config").arg(&config).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && told.contains("f.toml:2: http.operators: anybody could operate"), "{refused:?}");
    }
}

/// `passwd` at a terminal of its own, which types both passwords, `^C` for Ctrl-C; what the terminal has shown.
fn at_a_terminal(first: &str, second: &str) -> (String, bool) {
    let typed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/password_terminal.py");
    let program = ["--", env!("CARGO_BIN_EXE_flowsteer"), "passwd", "anna"];
    let output = Command::new("python3").arg(typed).args([first, second]).args(program).output().expect("python3 runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn a_terminal_shows_nothing_of_a_password_and_asks_twice() {
    let (shown, is_done) = at_a_terminal("s3cret", "s3cret");
    assert!(is_done && shown.contains(&hand("", "").hash("anna:flowsteer:s3cret")), "{shown}");
    assert!(!shown.contains("s3cret") && shown.ends_with("(it shows what is typed)\n"), "{shown}");
    let (shown, is_done) = at_a_terminal("s3cret", "secret");
    assert!(!is_done && shown.contains("differ") && !shown.contains("password_hash"), "{shown}");
    for typed in [("^C", ""), ("s3cret", "^C"), ("^\\", "")] {
        let (shown, is_done) = at_a_terminal(typed.0, typed.1);
        assert!(!is_done && shown.ends_with("(it shows what is typed)\n") && !shown.contains("password_hash"), "{typed:?}: {shown}");
    }
}
