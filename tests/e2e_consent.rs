//! Consent to take-overs: who is asked, what a player and a device are answered meanwhile, and that nothing changes before a yes.
//! With ffmpeg, receivers of our own, and the device commands.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::elementary::Digest;
use support::film::{Film, library};
use support::http::{self, Answer};
use support::namespaces::Family::{V4, V6};
use support::namespaces::Host;
use support::players::Player;
use support::recording::{PortPair, Recording};
use support::rtsp::{Connection, Response};
use support::scene::Scene;
use support::server::{flowsteer, rtsp_address};
use support::viewer::Carriage::Udp;
use support::viewer::{Viewer, authority};
use support::{SOON, wait_for};

/// Ten seconds; what is tested needs the end of it only.
const TITLE: &str = "short.mp4";
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

/// A plays what is at that URL, from the middle of the film on.
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

/// The only open question.
#[track_caller]
fn question(scene: &Scene) -> Value {
    wait_for("one open question", SOON, || match &scene.operator().get("/api/v1/consents").json().as_array()?[..] {
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

/// DESCRIBE and the SETUP of the first track.
#[track_caller]
fn send_set_up(connection: &mut Connection, url: &str) {
    connection.request("DESCRIBE", url, &[("Accept", "application/sdp")]).ok();
    let base = url.split('?').next().expect("a URL");
    connection.send("SETUP", &format!("{base}/trackID=0"), &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
}

#[track_caller]
fn set_up(host: &Host, url: &str) -> Response {
    let mut connection = Connection::open(host, authority(url));
    send_set_up(&mut connection, url);
    connection.next_response("SETUP")
}

#[test]
fn ffmpeg_plays_as_soon_as_the_holder_has_said_yes() {
    let Some((scene, _folder)) = scene("[steering]\nconsent = \"ask-holder\"\n") else { return };
    let a = a_plays(&scene, &format!("{TITLE}?t=4"));
    let url = takeover_url(&scene, &a);
    let player = Player::Ffmpeg.play(&scene.network.b, &url, Udp);
    let asked = question(&scene);
    assert_eq!((&asked["asked"], &asked["way"]), (&json!("holder"), &json!("rtsp")), "{asked:#}");
    assert_eq!(asked["taker"], json!(scene.network.b.address(V4).to_string()));
    assert_eq!(asked["homeAddresses"].as_array().map(Vec::len), Some(2), "one question about picture and sound");
    assert!(!asked.to_string().contains(url.split_once("key=").expect("a key").1), "no secrets");
    assert_a_is_left_alone(&scene, &a);
    let listed = scene.operator().flowsteer(&["consents"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("asks the holder, by rtsp"), "{listed:?}");
    answer(&scene, &asked, "yes");
    let (received, film) = (player.end(SOON), Film::named(TITLE));
    let first = film.locate_pictures("the player's pictures", &received.pictures);
    let digests: Vec<Digest> = a.video().units().iter().map(|unit| unit.digest).collect();
    assert!(first <= film.locate_pictures("A's pictures", &digests) + digests.len(), "nothing is missing between the two");
    assert_eq!(first + received.pictures.len(), film.video.len(), "to the film's end");
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
    let Some((scene, _folder)) = scene("[steering]\nconsent = \"ask-holder\"\n") else { return };
    let a = a_plays(&scene, "countdown.mp4");
    let url = takeover_url(&scene, &a);
    // Who goes away while its SETUP is held is not waited for.
    let mut gone = Connection::open(&scene.network.b, authority(&url));
    send_set_up(&mut gone, &url);
    let asked = question(&scene);
    drop(gone);
    let mut held = Connection::open(&scene.network.b, authority(&url));
    let begun = Instant::now();
    send_set_up(&mut held, &url);
    held.send("OPTIONS", &url, &[]);
    let refused = held.next_response_within("SETUP", Duration::from_secs(9));
    let waited = begun.elapsed();
    assert_eq!(refused.status, 403, "{refused:#?}");
    assert!(refused.reason.contains("consent"), "{refused:#?}");
    assert!(waited > Duration::from_millis(6900) && waited < Duration::from_millis(7900), "{waited:?}");
    held.next_response("OPTIONS, read meanwhile").ok();
    let metrics = scene.operator().get("/metrics").text();
    assert!(metrics.contains("flowsteer_rtsp_requests_total{method=\"SETUP\",status=\"403\"} 1\n"), "who had gone was answered nothing");
    assert_eq!(question(&scene)["id"], asked["id"], "it is the same question, and open");
    assert_a_is_left_alone(&scene, &a);
    answer(&scene, &asked, "yes");
    let begun = Instant::now();
    let b = Viewer::watch(&scene.network.b, &url, Udp);
    assert!(begun.elapsed() < Duration::from_secs(1), "it passes at once");
    b.video().recording.wait_for("pictures", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
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
    let a = a_plays(&scene, "countdown.mp4");
    let url = takeover_url(&scene, &a);
    assert_eq!(set_up(&scene.network.b, &url).status, 403);
    assert_a_is_left_alone(&scene, &a);
    // Another address, and so another question.
    let other = scene.operator().takeover_url(&a.video().home, V6, "presentation");
    assert_eq!(set_up(&scene.network.b, &other).status, 200);
    let [first, second] = calls.join().expect("both were asked");
    let (head, body) = first.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /may HTTP/1.1"), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["taker"], &body["way"]), (&json!(b.to_string()), &json!("rtsp")), "{body:#}");
    assert_eq!(body["homes"].as_array().map(Vec::len), Some(2));
    assert!(second.contains(&scene.network.b.address(V6).to_string()), "{second}");
}

/// A call of the API with a token.
fn ask(host: &Host, scene: &Scene, method: &str, target: &str, token: &str, body: &Value) -> Answer {
    let to = SocketAddr::new(scene.network.server.address(V6), 8080);
    http::ask(host, to, method, target, &[("Authorization", &format!("Bearer {token}"))], Some(body))
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

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let url = scene.url(V6, "countdown.mp4");
    control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &format!("RTP/AVP;unicast;destination={home}"))]).ok();
    control.request("PLAY", &url, &[("Range", "npt=0.000-")]).ok();
    of_a.wait_for("packets", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));

    let context = folder.join("ctx.json").display().to_string();
    done(scene.operator().flowsteer(&["context", home, "--output", &context]));
    let take = ["take", &context, "--rtp", &rtp_b];
    let refused = run(b, &take);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("129"), "{refused:?}");
    let asked = question(&scene);
    assert_eq!((&asked["way"], &asked["homeAddress"]), (&json!("binding-update"), &json!(home)), "{asked:#}");
    assert_eq!(asked["taker"], json!(b.address(V6).to_string()));
    assert_eq!(of_b.count(), 0, "no media before a yes");
    // The token is the taker's: it may not answer for the holder.
    let token = scene.operator().takeover_url(home, V6, "flow");
    let token = token.split_once("key=").expect("a key").1;
    let id = asked["id"].as_str().expect("an id");
    assert_eq!(ask(b, &scene, "POST", &format!("/api/v1/consents/{id}"), token, &json!({ "answer": "yes" })).status, 404);
    answer(&scene, &asked, "yes");
    let taking = Running(device(b, folder, &take).stdout(Stdio::null()).spawn().expect("the binary runs"));
    of_b.wait_for("packets", SOON, |arrived| (arrived.rtp.len() > 50).then_some(()));
    drop(taking);

    // By a call, with another key: 202 and nothing, then 200.
    let other: IpAddr = b.address(V4);
    let body = json!({ "careOf": SocketAddr::new(other, at_b.rtp_port).to_string() });
    let to = SocketAddr::new(scene.network.server.address(V4), 8080);
    let call = || {
        let bearer = format!("Bearer {token}");
        http::ask(b, to, "PUT", &format!("/api/v1/home-addresses/{home}/bindings/9"), &[("Authorization", &bearer)], Some(&body))
    };
    let waits = call();
    assert_eq!(waits.status, 202, "{}", waits.text());
    assert_eq!(waits.json()["consent"]["way"], json!("http"));
    answer(&scene, &question(&scene), "yes");
    let bound = call();
    assert_eq!(bound.status, 200, "{}", bound.text());
}
