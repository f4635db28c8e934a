//! Consent to take-overs: who is asked, what a player and a device are answered meanwhile, and that nothing changes before a yes.
//! With ffmpeg, receivers of our own, and the device commands.

mod carriages;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::elementary::Digest;
use support::film::{Film, library};
use support::http::{self, Answer};
use support::namespaces::Family::{self, V4, V6};
use support::namespaces::Host;
use support::players::Player;
use support::recording::{PortPair, Recording};
use support::rtsp::{Connection, Response};
use support::scene::Scene;
use support::server::{flowsteer, rtsp_address};
use support::viewer::Carriage::Udp;
use support::viewer::{Viewer, authority};
use support::{Killed, SOON, replace, wait_for};

/// A minute: longer than anything here takes.
const TITLE: &str = "countdown.mp4";
/// Fifteen seconds, for players that are waited for until the end, which is far enough for one that starts late.
const SHORTER: &str = "films/evening.mp4";
const KEY: &str = "[[mobility.keys]]\nspi = \"0x200\"\nnai = \"tv@home\"\n\
    key = \"0707070707070707070707070707070707070707070707070707070707070707\"\n";

/// A scene with this configuration.
fn scene(text: &str) -> Option<(Scene, tempfile::TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("f.toml");
    std::fs::write(&config, text).expect("written");
    let scene = Scene::set_with(&library(), &["--config", config.to_str().expect("UTF-8"), "--state", "none"])?;
    Some((scene, folder))
}

/// A plays what is at that URL, and is some way into it.
#[track_caller]
fn a_plays(scene: &Scene, path: &str) -> Viewer {
    let viewer = Viewer::watch(&scene.network.a, &scene.url(V4, path), Udp);
    viewer.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
    viewer
}

#[track_caller]
fn takeover_url(scene: &Scene, a: &Viewer) -> String {
    scene.operator().takeover_url(&a.video().home, V4, "presentation")
}

/// The token in a take-over's URL.
#[track_caller]
fn token(url: &str) -> &str {
    url.split_once("key=").expect("a key").1
}

/// The only open question.
#[track_caller]
fn question(scene: &Scene) -> Value {
    wait_for("one open question", SOON * 2, || match &scene.operator().get("/api/v1/consents").json().as_array()?[..] {
        [question] => Some(question.clone()),
        _ => None,
    })
}

#[track_caller]
fn answer(scene: &Scene, question: &Value, word: &str) {
    let id = question["id"].as_str().expect("an id");
    let output = scene.operator().flowsteer(&["answer", id, word]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// A has its flows for itself, and has lost nothing.
#[track_caller]
fn assert_a_is_left_alone(scene: &Scene, a: &Viewer) {
    for flow in scene.operator().session()["flows"].as_array().expect("flows are listed") {
        assert_eq!(flow["branches"].as_array().map(Vec::len), Some(1), "{flow:#}");
    }
    for track in &a.tracks {
        assert_eq!(track.recording.so_far().bye_at(), None, "{}", track.media);
        track.units();
    }
}

/// DESCRIBE and the SETUP of the first track; when that was sent.
#[track_caller]
fn send_set_up(connection: &mut Connection, url: &str) -> Instant {
    connection.request("DESCRIBE", url, &[("Accept", "application/sdp")]).ok();
    let sent = Instant::now();
    let base = url.split('?').next().expect("a URL");
    connection.send("SETUP", &format!("{base}/trackID=0"), &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
    sent
}

#[track_caller]
fn set_up(host: &Host, url: &str) -> Response {
    let mut connection = Connection::open(host, authority(url));
    send_set_up(&mut connection, url);
    connection.next_response("SETUP")
}

/// A plays, B opens the take-over's URL with that player, and plays to the end behind the holder's yes.
#[track_caller]
fn plays_behind_a_yes(player: Player) {
    let Some((scene, _folder)) = scene("[steering]\nconsent = \"ask-holder\"\n") else { return };
    let a = a_plays(&scene, &format!("{SHORTER}?t=4"));
    let url = takeover_url(&scene, &a);
    let player = player.play(&scene.network.b, &url, Udp);
    let asked = question(&scene);
    assert_eq!((&asked["asked"], &asked["way"]), (&json!("holder"), &json!("rtsp")), "{asked:#}");
    assert_eq!(asked["taker"], json!(scene.network.b.address(V4).to_string()));
    assert_eq!(asked["homeAddresses"].as_array().map(Vec::len), Some(2), "one question about picture and sound");
    assert!(!asked.to_string().contains(token(&url)), "no secrets");
    assert_a_is_left_alone(&scene, &a);
    let listed = scene.operator().flowsteer(&["consents"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("asks the holder, by rtsp"), "{listed:?}");
    answer(&scene, &asked, "yes");
    let (received, film) = (player.end(SOON * 2), Film::named(SHORTER));
    let first = film.locate_pictures("the player's pictures", &received.pictures);
    let digests: Vec<Digest> = a.video().units().iter().map(|unit| unit.digest).collect();
    assert!(first <= film.locate_pictures("A's pictures", &digests) + digests.len(), "nothing is missing between the two");
    assert_eq!(first + received.pictures.len(), film.video.len(), "to the film's end");
}

#[test]
fn ffmpeg_plays_as_soon_as_the_holder_has_said_yes() {
    plays_behind_a_yes(Player::Ffmpeg);
}

#[test]
fn gstreamer_plays_as_soon_as_the_holder_has_said_yes() {
    plays_behind_a_yes(Player::GStreamer);
}

#[test]
fn a_no_is_403_to_ffmpeg_and_a_loses_nothing() {
    let Some((scene, _folder)) = scene("[steering]\nconsent = \"ask-holder\"\n") else { return };
    let a = a_plays(&scene, TITLE);
    let url = takeover_url(&scene, &a);
    let mut command = scene.network.b.command("ffmpeg");
    command.args(["-nostdin", "-loglevel", "warning", "-i", &url, "-f", "null", "-"]);
    let player = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ffmpeg starts");
    answer(&scene, &question(&scene), "no");
    let output = player.wait_with_output().expect("ffmpeg ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("403"), "{told}");
    assert_eq!(set_up(&scene.network.b, &url).status, 403, "it is not asked again at once");
    assert_eq!(scene.operator().get("/api/v1/consents").json(), json!([]));
    assert_a_is_left_alone(&scene, &a);
}

#[test]
fn after_silence_a_later_yes_lets_the_url_pass_at_once() {
    let logged = "[log]\nlevel = \"debug\"\nformat = \"json\"\n";
    let Some((scene, _folder)) = scene(&format!("[steering]\nconsent = \"ask-holder\"\n{logged}")) else { return };
    let a = a_plays(&scene, TITLE);
    let url = takeover_url(&scene, &a);
    let b = &scene.network.b;
    let nobody_is_asked = || {
        wait_for("nobody to be asked", SOON, || (scene.operator().get("/api/v1/consents").json() == json!([])).then_some(()));
    };
    // Who goes away while its SETUP is held, or ends what it has begun, asks no more.
    let mut gone = Connection::open(b, authority(&url));
    send_set_up(&mut gone, &url);
    question(&scene);
    drop(gone);
    nobody_is_asked();
    let mut ended = Connection::open(b, authority(&url));
    send_set_up(&mut ended, &url);
    question(&scene);
    ended.send("DESCRIBE", &url, &[("Accept", "application/sdp")]);
    ended.send("TEARDOWN", &url, &[]);
    assert_eq!(ended.next_response("SETUP").status, 403);
    ended.next_response("DESCRIBE").ok();
    assert_eq!(ended.next_response("TEARDOWN").status, 454, "there is no session");
    nobody_is_asked();

    let mut held = Connection::open(b, authority(&url));
    let begun = send_set_up(&mut held, &url);
    let asked = question(&scene);
    held.send("DESCRIBE", &url, &[("Accept", "application/sdp")]);
    for _ in 0..2 {
        let options = held.send("OPTIONS", &url, &[]).to_string();
        let ahead = held.next_response("OPTIONS, while SETUP waits, and DESCRIBE behind it").ok();
        assert_eq!(ahead.header("CSeq"), Some(options.as_str()));
    }
    let refused = held.next_response_within("SETUP", SOON * 2);
    let waited = refused.at - begun;
    assert_eq!(refused.status, 403, "{refused:#?}");
    assert!(refused.reason.contains("consent"), "{refused:#?}");
    assert!(waited > Duration::from_millis(6900) && waited < Duration::from_secs(12), "{waited:?}");
    held.next_response("DESCRIBE, in its order").ok();
    drop(held);
    let metrics = scene.operator().get("/metrics").text();
    assert!(metrics.contains("flowsteer_rtsp_requests_total{method=\"SETUP\",status=\"403\"} 2\n"), "who had gone was answered nothing");
    assert!(metrics.contains("flowsteer_steering_total{event=\"consent_asked\"}"), "it is counted");
    assert_eq!(question(&scene)["id"], asked["id"], "it is the same question, and open");
    assert_a_is_left_alone(&scene, &a);
    answer(&scene, &asked, "yes");
    let begun = Instant::now();
    let taken = Viewer::watch(b, &url, Udp);
    assert!(begun.elapsed() < Duration::from_millis(6900), "it passes, and is not held");
    taken.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));

    // Now B is the holder, and its token answers; that of who asks does not.
    let next = takeover_url(&scene, &taken);
    let mut held = Connection::open(&scene.network.a, authority(&next));
    send_set_up(&mut held, &next);
    let asked = question(&scene);
    let target = format!("/api/v1/consents/{}", asked["id"].as_str().expect("an id"));
    let answer = |host, url| ask(host, &scene, V4, "POST", &target, token(url), Some(&json!({ "answer": "no" }))).status;
    assert_eq!(answer(&scene.network.a, &next), 404, "the taker answers for nobody");
    assert_eq!(ask(b, &scene, V4, "GET", "/api/v1/consents", token(&url), None).json(), json!([question(&scene)]));
    assert_eq!(answer(b, &url), 200);
    let refused = held.next_response("SETUP");
    assert!(refused.status == 403 && refused.reason.contains("consent was refused"), "{refused:#?}");
    taken.video().units();
    // A request that has waited has one name, as any other.
    let lines = scene.server.log();
    let requests = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["message"] == "request");
    let names: Vec<String> =
        requests.map(|line| line["span"]["request"].as_str().unwrap_or_else(|| panic!("{line:#}")).to_owned()).collect();
    assert!(names.len() > 8, "{names:?}");
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn who_asks_without_a_pause_while_its_set_up_waits_keeps_nobody_from_being_answered() {
    const AT_ONCE: usize = 8;
    let Some((scene, _folder)) = scene("[steering]\nconsent = \"ask-holder\"\n") else { return };
    let a = a_plays(&scene, TITLE);
    let url = takeover_url(&scene, &a);
    let base = url.split('?').next().expect("a URL");
    let set_up = format!("SETUP {base}/trackID=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n");
    let begin = format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n{set_up}");
    let block = "OPTIONS * RTSP/1.0\r\nCSeq: 3\r\n\r\n".repeat(1000);
    let block = block.as_bytes();
    let open: Vec<TcpStream> = (0..AT_ONCE)
        .map(|_| {
            let mut stream = scene.network.b.run(|| TcpStream::connect(authority(&url))).expect("it listens");
            stream.write_all(begin.as_bytes()).expect("sent");
            stream
        })
        .collect();
    question(&scene);
    let most = thread::scope(|scope| {
        for stream in &open {
            let (mut reading, mut writing) = (stream, stream);
            scope.spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
            scope.spawn(move || while writing.write_all(block).is_ok() {});
        }
        let new = scope.spawn(|| {
            let (begun, mut most) = (Instant::now(), Duration::ZERO);
            while begun.elapsed() < Duration::from_secs(2) {
                let asked = Instant::now();
                Connection::open(&scene.network.a, authority(&url)).request("OPTIONS", base, &[]).ok();
                most = most.max(asked.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            question(&scene);
            most
        });
        let most = new.join();
        open.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        most.expect("somebody new is answered")
    });
    assert!(most < Duration::from_secs(5), "somebody new waits for {most:?}");
    a.video().units();
}

#[test]
fn the_url_with_the_pin_passes_and_one_without_does_not() {
    let config = format!("[[home]]\nname = \"wall\"\ntitle = \"{TITLE}\"\nconsent = \"pin\"\npin = \"4711\"\n");
    let Some((scene, _folder)) = scene(&config) else { return };
    let a = a_plays(&scene, "home/wall");
    let url = takeover_url(&scene, &a);
    for (more, because) in [("", "a PIN is needed"), ("&pin=4712", "the PIN is wrong")] {
        let refused = set_up(&scene.network.b, &format!("{url}{more}"));
        assert!(refused.status == 403 && refused.reason.contains(because), "{refused:#?}");
    }
    assert_a_is_left_alone(&scene, &a);
    assert_eq!(set_up(&scene.network.b, &format!("{url}&pin=4711")).status, 200);
    let shown = scene.operator().get("/metrics").text();
    assert!(shown.contains("flowsteer_steering_total{event=\"pin_refused\"} 1"), "it is counted");
}

#[test]
fn a_service_decides_for_each_device() {
    let Some((scene, _folder)) = scene("[steering]\nconsent = \"webhook\"\nconsent_webhook = \"http://127.0.0.1:9090/may\"\n") else {
        return;
    };
    let listener = scene.network.server.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 9090))).expect("a free port");
    let b = scene.network.b.address(V4);
    let calls = thread::spawn(move || {
        let answers = ["{\"allow\":false}", "{\"allow\":true}"];
        answers.map(|body| {
            let (mut stream, _) = listener.accept().expect("a call");
            let (mut octets, mut part) = (Vec::new(), [0; 4096]);
            while !octets.ends_with(b"}") {
                let count = stream.read(&mut part).expect("the call is read");
                octets.extend_from_slice(&part[..count]);
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).expect("the answer is taken");
            String::from_utf8(octets).expect("text")
        })
    });
    let a = a_plays(&scene, TITLE);
    let url = takeover_url(&scene, &a);
    assert_eq!(set_up(&scene.network.b, &url).status, 403);
    assert_a_is_left_alone(&scene, &a);
    // Another address, and so another question.
    let other = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    assert_eq!(set_up(&scene.network.b, &other).status, 200);
    let metrics = scene.operator().get("/metrics").text();
    for outcome in ["refused", "allowed"] {
        assert!(metrics.contains(&format!("flowsteer_consent_webhook_total{{outcome=\"{outcome}\"}} 1")), "{outcome} is counted");
    }
    let [first, second] = calls.join().expect("both were asked");
    let (head, body) = first.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /may HTTP/1.1"), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["taker"], &body["way"]), (&json!(b.to_string()), &json!("rtsp")), "{body:#}");
    assert_eq!(body["homes"].as_array().map(Vec::len), Some(2));
    assert!(second.contains(&scene.network.b.address(V6).to_string()), "{second}");
}

/// A call of the API with a token; with an empty one without.
fn ask(host: &Host, scene: &Scene, family: Family, method: &str, target: &str, token: &str, body: Option<&Value>) -> Answer {
    let to = SocketAddr::new(scene.network.server.address(family), 8080);
    let bearer = format!("Bearer {token}");
    let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("Authorization", &bearer)] };
    http::ask(host, to, method, target, headers, body)
}

/// A device's command.
fn device(host: &Host, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = flowsteer(host);
    command.current_dir(folder).env("XDG_STATE_HOME", folder.join(host.name)).args(arguments);
    command
}

#[track_caller]
fn done(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_binding_update_and_a_call_are_accepted_behind_a_yes_only() {
    let config = format!("[steering]\nhome_prefix = \"fd00:f10::/64\"\nconsent = \"ask-holder\"\n{KEY}");
    let Some((scene, folder)) = scene(&config) else { return };
    let (a, b, folder) = (&scene.network.a, &scene.network.b, folder.path());
    std::fs::write(folder.join("key.toml"), KEY).expect("written");
    let server = scene.network.server.address(V6).to_string();
    let ports = |host: &Host| {
        let recording = Arc::new(Recording::default());
        (PortPair::open(host, host.address(V6), &recording), recording)
    };
    let ((at_a, of_a), (at_b, of_b)) = (ports(a), ports(b));
    let (rtp_a, rtp_b) = (at_a.rtp_port.to_string(), at_b.rtp_port.to_string());
    let run = |host: &Host, arguments: &[&str]| device(host, folder, arguments).output().expect("the binary runs");
    let reserved = done(run(a, &["reserve", "--key-file", "key.toml", "--server", &server, "--json"]));
    let reserved: Value = serde_json::from_str(&reserved).expect("JSON");
    let home = reserved["homeAddress"].as_str().expect("a home address");
    // The holder's own binding asks nobody.
    done(run(a, &["bind", home, "--rtp", &rtp_a]));
    let mut control = Connection::open(a, rtsp_address(&scene.network.server, V6));
    let url = scene.url(V6, TITLE);
    control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &format!("RTP/AVP;unicast;destination={home}"))]).ok();
    control.request("PLAY", &url, &[("Range", "npt=0.000-")]).ok();
    of_a.wait_for("packets", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));

    let context = folder.join("ctx.json").display().to_string();
    done(scene.operator().flowsteer(&["context", home, "--output", &context]));
    let take = ["take", &context, "--rtp", &rtp_b];
    let taking = Killed(device(b, folder, &take).stdout(Stdio::null()).spawn().expect("the binary runs"));
    let asked = question(&scene);
    assert_eq!((&asked["way"], &asked["homeAddress"]), (&json!("binding-update"), &json!(home)), "{asked:#}");
    assert_eq!(asked["taker"], json!(b.address(V6).to_string()));
    assert_eq!(of_b.count(), 0, "no media before a yes");
    // The token is the taker's: it may not answer for the holder.
    let url = scene.operator().takeover_url(home, V6, "flow");
    let token = token(&url);
    let target = format!("/api/v1/consents/{}", asked["id"].as_str().expect("an id"));
    let yes = json!({ "answer": "yes" });
    assert_eq!(ask(b, &scene, V6, "POST", &target, token, Some(&yes)).status, 404);
    // The home key is the holder's.
    let kept = std::fs::read(folder.join(reserved["deviceFile"].as_str().expect("a file"))).expect("the device has its file");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    assert_eq!(ask(a, &scene, V6, "POST", &target, kept["key"].as_str().expect("a key"), Some(&yes)).status, 200);
    // It has waited, and goes on by itself.
    of_b.wait_for("packets", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
    drop(taking);

    // By a call, with another key: 202 and nothing, then 200.
    let other: IpAddr = b.address(V4);
    let body = json!({ "careOf": SocketAddr::new(other, at_b.rtp_port).to_string() });
    let target = format!("/api/v1/home-addresses/{home}/bindings/9");
    let call = || ask(b, &scene, V4, "PUT", &target, token, Some(&body));
    let waits = call();
    assert_eq!(waits.status, 202, "{}", waits.text());
    assert_eq!(waits.json()["consent"]["way"], json!("http"));
    answer(&scene, &question(&scene), "yes");
    let bound = call();
    assert_eq!(bound.status, 200, "{}", bound.text());
}

/// The configuration is that text from now on.
#[track_caller]
fn reload(scene: &Scene, folder: &tempfile::TempDir, text: &str) {
    replace(&folder.path().join("f.toml"), text);
    scene.server.hang_up();
    wait_for("the reload", SOON, || scene.server.has_logged("the configuration was read again").then_some(()));
}

#[test]
fn a_session_that_has_lost_a_flow_asks_for_it_as_anybody_does() {
    let config = |consent: &str| format!("[steering]\nconsent = \"{consent}\"\ntrusted_care_of = [\"10.15.0.0/16\"]\n");
    let Some((scene, folder)) = scene(&config("anyone-with-key")) else { return };
    let watching = a_plays(&scene, TITLE);
    let (a, b, url) = (&scene.network.a, &scene.network.b, takeover_url(&scene, &watching));
    let mut taken = Viewer::watch(b, &url, Udp);
    // Set up, and not played.
    let mut parked = Viewer::open(b, &url, Udp);
    reload(&scene, &folder, &config("ask-holder"));
    let (sound, home) = (taken.tracks[1].url.clone(), taken.tracks[1].home.clone());
    let ports = |host: &Host| PortPair::open(host, host.address(V4), &Arc::new(Recording::default()));
    let (first, second, at_a) = (ports(b), ports(b), ports(a));
    let set_up = |viewer: &mut Viewer, ports: &PortPair| {
        let transport = format!("RTP/AVP;unicast;client_port={}-{}", ports.rtp_port, ports.rtp_port + 1);
        viewer.connection.request("SETUP", &sound, &[("Transport", &transport)])
    };
    let play = |viewer: &mut Viewer| viewer.connection.request("PLAY", &viewer.base.clone(), &[]);
    // Where the sound is, if one place has it.
    let is_at = |host: &Host, ports: &PortPair| {
        let there = SocketAddr::new(host.address(V4), ports.rtp_port).to_string();
        wait_for(&format!("the sound to be at {there}"), SOON, || {
            let session = scene.operator().session();
            let flow = session["flows"].as_array()?.iter().find(|flow| flow["homeAddress"] == json!(home))?.clone();
            let [branch] = &flow["branches"].as_array()?[..] else { return None };
            (branch["careOf"] == json!(there)).then_some(())
        });
    };
    // What it has goes to other ports, and what it has let go, and nobody has, comes back.
    set_up(&mut taken, &first).ok();
    is_at(b, &first);
    taken.connection.request("TEARDOWN", &sound, &[]).ok();
    set_up(&mut taken, &second).ok();
    play(&mut taken).ok();
    is_at(b, &second);
    assert_eq!(scene.operator().get("/api/v1/consents").json(), json!([]));

    let care_of = SocketAddr::new(a.address(V4), at_a.rtp_port).to_string();
    let moved = scene.operator().put(&format!("/api/v1/home-addresses/{home}/bindings/9"), &json!({ "careOf": care_of }));
    assert_eq!(moved.status, 200, "{}", moved.text());
    is_at(a, &at_a);
    let refused = set_up(&mut taken, &first);
    assert!(refused.status == 403 && refused.reason.contains("consent"), "{refused:#?}");
    let asked = question(&scene);
    assert_eq!((&asked["homeAddresses"], &asked["asked"]), (&json!([home]), &json!("holder")), "{asked:#}");
    taken.connection.request("TEARDOWN", &sound, &[]).ok();
    set_up(&mut taken, &second).ok();
    assert_eq!(play(&mut taken).status, 403);
    assert_eq!(play(&mut parked).status, 403, "the yes of its SETUP counts no more");
    is_at(a, &at_a);
    answer(&scene, &asked, "yes");
    play(&mut taken).ok();
    is_at(b, &second);
}

/// What the event stream tells of questions from now on, to who listens there.
fn listen(host: &Host, server: IpAddr, query: &str) -> impl Iterator<Item = Value> + use<> {
    let mut stream = host.run(|| TcpStream::connect((server, 8080))).expect("the API takes connections");
    stream.set_read_timeout(Some(SOON)).expect("a timeout above zero");
    write!(stream, "GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the request is taken");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line comes in time"));
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    let data = lines.filter_map(|line| line.strip_prefix("data: ").map(|data| serde_json::from_str::<Value>(data).expect("JSON")));
    data.filter(|data| data["taker"].is_string())
}

#[test]
fn the_device_that_is_to_have_a_flow_is_asked_and_answers_from_where_it_is() {
    let config = "[steering]\nconsent = \"ask-taker\"\ntrusted_care_of = [\"10.15.0.0/16\", \"2001:db8:f10::/64\"]\n";
    let Some((scene, _folder)) = scene(config) else { return };
    let watching = a_plays(&scene, TITLE);
    let (a, b, home) = (&scene.network.a, &scene.network.b, &watching.video().home);
    // The operator names the device, over either family: two addresses, two questions.
    let [(v4, _), (v6, at_b)] = [V4, V6].map(|family| {
        let recording = Arc::new(Recording::default());
        (PortPair::open(b, b.address(family), &recording), recording)
    });
    let bind = |family, ports: &PortPair| {
        let care_of = SocketAddr::new(b.address(family), ports.rtp_port).to_string();
        scene.operator().put(&format!("/api/v1/home-addresses/{home}/bindings/7"), &json!({ "careOf": care_of }))
    };
    let say = |family, id: &str, word: &str| {
        let server = format!("http://{}", SocketAddr::new(scene.network.server.address(family), 8080));
        done(flowsteer(b).args(["--server", &server, "answer", id, word]).output().expect("the binary runs"));
    };
    let server = scene.network.server.address(V4);
    let (mut told_a, mut told_b) = (listen(a, server, "?asked=taker"), listen(b, server, "?asked=taker"));
    let waits = bind(V4, &v4);
    assert_eq!((waits.status, &waits.json()["consent"]["asked"]), (202, &json!("taker")), "{}", waits.text());
    assert!(!waits.text().contains("answerKey"), "who asks may not answer: {}", waits.text());
    let list = |host| ask(host, &scene, V4, "GET", "/api/v1/consents", "", None).json();
    assert_eq!(list(a), json!([]));
    let (heard, asked) = (told_b.next().expect("an event"), list(b)[0].clone());
    assert_eq!((&heard["event"], &heard["id"], heard.get("answerKey")), (&json!("asked"), &asked["id"], None), "{heard:#}");
    let (id, key) = (asked["id"].as_str().expect("an id"), asked["answerKey"].as_str().expect("a key"));
    let target = format!("/api/v1/consents/{id}");
    let answer = |host, body: &Value| ask(host, &scene, V4, "POST", &target, "", Some(body)).status;
    assert_eq!(answer(a, &json!({ "answer": "yes", "key": key })), 404, "from elsewhere");
    assert_eq!(answer(b, &json!({ "answer": "yes" })), 404, "without the key");
    assert_eq!(answer(b, &json!({ "answer": "yes", "key": "0".repeat(32) })), 404);
    // Nor does a page of another site in B's browser, that has its own name lead to the server.
    let rebound = |request: &str, body: &str| {
        let mut stream = b.run(|| TcpStream::connect((server, 8080))).expect("the API takes connections");
        stream.set_read_timeout(Some(SOON)).expect("a timeout above zero");
        let head = "Host: rebound.example:8080\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{request} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer, and its end");
        answer
    };
    let listed = rebound("GET /api/v1/consents", "");
    assert!(listed.starts_with("HTTP/1.1 200") && listed.ends_with("[]"), "{listed}");
    assert!(rebound("GET /api/v1/events?asked=taker", "").starts_with("HTTP/1.1 401"));
    let yes = json!({ "answer": "yes", "key": key }).to_string();
    assert!(rebound(&format!("POST {target}"), &yes).starts_with("HTTP/1.1 404"));
    assert_a_is_left_alone(&scene, &watching);
    say(V4, id, "no");
    assert_eq!(told_b.next().expect("an event")["answer"], json!("no"));
    let refused = bind(V4, &v4);
    assert!(refused.status == 403 && refused.text().contains("consent-refused"), "{}", refused.text());
    let waits = bind(V6, &v6);
    assert_eq!(waits.status, 202, "{}", waits.text());
    say(V6, waits.json()["consent"]["id"].as_str().expect("an id"), "yes");
    assert_eq!(at_b.count(), 0, "no media before the yes, and none by it");
    assert_eq!(bind(V6, &v6).status, 200);
    at_b.wait_for("packets", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
    // A has heard of nothing but what it is asked itself.
    let back = json!({ "careOf": SocketAddr::new(a.address(V4), 40_000).to_string() });
    let waits = scene.operator().put(&format!("/api/v1/home-addresses/{home}/bindings/8"), &back);
    assert_eq!(waits.status, 202, "{}", waits.text());
    assert_eq!(told_a.next().expect("an event")["id"], waits.json()["consent"]["id"]);
    // Who opens a URL has said yes by that.
    assert_eq!(set_up(a, &takeover_url(&scene, &watching)).status, 200);
}

#[test]
fn a_reload_changes_who_is_asked_and_only_so_many_are() {
    let Some((scene, folder)) = scene("[steering]\nconsent = \"never\"\n") else { return };
    let a = a_plays(&scene, TITLE);
    let (b, home) = (&scene.network.b, &a.video().home);
    let urls: Vec<String> = (0..5).map(|_| takeover_url(&scene, &a)).collect();
    let refused = set_up(b, &urls[0]);
    assert!(refused.status == 403 && refused.reason.contains("the flow is handed over to nobody"), "{refused:#?}");
    reload(&scene, &folder, "[steering]\nconsent = \"ask-holder\"\n");
    let mut told_of = listen(&scene.network.server, Ipv4Addr::LOCALHOST.into(), "");

    // Each token is another wish.
    let port = PortPair::open(b, b.address(V4), &Arc::new(Recording::default()));
    let body = json!({ "careOf": SocketAddr::new(b.address(V4), port.rtp_port).to_string() });
    let bind = |url: &str| ask(b, &scene, V4, "PUT", &format!("/api/v1/home-addresses/{home}/bindings/9"), token(url), Some(&body));
    let ids: Vec<String> = urls[..4].iter().map(|url| bind(url).json()["consent"]["id"].as_str().expect("an id").to_owned()).collect();
    let full = bind(&urls[4]);
    assert!(full.status == 503 && full.head.contains("retry-after"), "{}\n{}", full.head, full.text());
    assert_eq!(set_up(b, &urls[4]).status, 503);
    assert_a_is_left_alone(&scene, &a);
    for (id, word) in [(&ids[0], "no"), (&ids[1], "yes")] {
        answer(&scene, &json!({ "id": id }), word);
    }
    assert_eq!(bind(&urls[0]).status, 403);
    assert_eq!(bind(&urls[1]).status, 200);
    let mut told = Vec::new();
    while told.len() < 6 {
        let data = told_of.next().expect("events");
        let text = data.to_string();
        assert!(urls.iter().all(|url| !text.contains(token(url))) && !text.contains("answerKey"), "no secrets: {data}");
        told.push((data["event"].as_str().expect("a word").to_owned(), data["answer"].as_str().map(str::to_owned)));
    }
    let expected = [("asked", None); 4].into_iter().chain([("answered", Some("no")), ("answered", Some("yes"))]);
    assert_eq!(told, expected.map(|(event, answer)| (event.to_owned(), answer.map(str::to_owned))).collect::<Vec<_>>());
}
