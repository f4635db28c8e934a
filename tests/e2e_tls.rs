//! RTSP and the API over TLS: real players and curl, with a certificate that `flowsteer cert` has made.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use support::film::{Film, library};
use support::namespaces::Family::{self, V4, V6};
use support::namespaces::Host;
use support::players::Player;
use support::recording::Arrived;
use support::scene::Scene;
use support::server::flowsteer;
use support::viewer::{Carriage, Viewer};
use support::{SOON, http, wait_for};
use tempfile::TempDir;

/// Ten seconds, a key picture every two; what is played of it begins at six.
const TITLE: &str = "short.mp4";
const BEGIN: f64 = 6.0;
/// How long a player may take.
const PATIENCE: Duration = Duration::from_secs(25);

/// A certificate of the server's addresses, its key, and a configuration that names both.
struct Pair {
    folder: TempDir,
}

impl Pair {
    /// Has them made.
    #[track_caller]
    fn make() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowsteer"));
        command.args(["cert", "--name", "10.15.0.1", "--name", "2001:db8:f10::1", "--days", "2", "--out"]).arg(folder.path());
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{output:?}");
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn certificate(&self) -> PathBuf {
        self.file("flowsteer.crt")
    }

    /// A server with it, and with further settings.
    fn serve(&self, settings: &str) -> Option<Scene> {
        let config = self.file("config.toml");
        // The files lie beside the configuration.
        let text = format!("[tls]\ncertificate = \"flowsteer.crt\"\nkey = \"flowsteer.key\"\n{settings}");
        fs::write(&config, text).expect("written");
        Scene::set_with(&library(), &["--config", config.to_str().expect("a name in UTF-8")])
    }
}

fn over_tls(url: &str) -> String {
    url.replacen("rtsp://", "rtsps://", 1).replacen(":8554/", ":8322/", 1)
}

fn title(scene: &Scene, family: Family) -> String {
    over_tls(&scene.url(family, &format!("{TITLE}?t={BEGIN}")))
}

/// Asks with curl.
fn curl(host: &Host, arguments: &[&str], ca: Option<&Pair>) -> Output {
    let mut command = host.command("curl");
    command.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"]).args(arguments);
    if let Some(pair) = ca {
        command.arg("--cacert").arg(pair.certificate());
    }
    command.output().expect("curl runs")
}

/// What it answered, and the status.
#[track_caller]
fn answered(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (body.to_owned(), status.to_owned())
}

/// A handshake under that certificate succeeds.
fn is_presented(host: &Host, pair: &Pair) -> bool {
    curl(host, &["https://10.15.0.1:8443/healthz"], Some(pair)).status.success()
}

const UNKNOWN_ISSUER: i32 = 60;

#[test]
fn ffmpeg_and_gstreamer_get_over_tls_what_is_in_the_file() {
    let pair = Pair::make();
    let Some(scene) = pair.serve("") else { return };
    for line in ["rtsps  rtsps://[::]:8322/", "https  https://[::]:8443/"] {
        assert!(scene.server.banner().iter().any(|told| told == line), "{line}: {:#?}", scene.server.banner());
    }
    let ffmpeg = Player::Ffmpeg.play(&scene.network.a, &title(&scene, V4), Carriage::Interleaved);
    let gstreamer = Player::play_trusting(&scene.network.b, &title(&scene, V6), &pair.certificate());
    ffmpeg.end(PATIENCE).assert_whole_from("ffmpeg", TITLE, BEGIN);
    gstreamer.end(PATIENCE).assert_whole_from("GStreamer", TITLE, BEGIN);
}

#[test]
fn what_plays_is_taken_over_by_url_over_tls() {
    let pair = Pair::make();
    let Some(scene) = pair.serve("") else { return };
    // Far enough from its end that B, which may start late, still finds it playing.
    let a = Viewer::watch(&scene.network.a, &scene.url(V4, &format!("{TITLE}?t=2")), Carriage::Udp);
    a.video().recording.wait_for("the first pictures", SOON, |arrived| (arrived.rtp.len() > 20).then_some(()));
    let url = over_tls(&scene.operator().takeover_url(&a.video().home, V4, "presentation"));
    let received = Player::Ffmpeg.play(&scene.network.b, &url, Carriage::Interleaved).end(PATIENCE);
    let film = Film::named(TITLE);
    let first = film.locate_pictures("B's pictures", &received.pictures);
    assert!(first >= film.key_at_or_before(2.0), "B begins where A is, not at picture {first}");
    assert_eq!(first + received.pictures.len(), film.video.len(), "B's last picture");
    for track in &a.tracks {
        track.recording.wait_for(&format!("BYE to A's {}", track.media), SOON, Arrived::bye_at);
    }
}

#[test]
fn the_api_answers_over_tls_and_gives_first_keys_there_alone() {
    let pair = Pair::make();
    let olga = "[[users]]\nname = \"olga\"\npassword = \"s3cret\"\nroles = [\"operator\"]\n";
    let settings = &format!("[http]\ntokens = [\"operator\"]\n[rtsp]\nrequest_timeout_s = 3\n{olga}");
    let Some(scene) = pair.serve(settings) else { return };
    let device = &scene.network.a;
    for version in [["--tlsv1.2", "--tls-max", "1.2"].as_slice(), &["--tlsv1.3"]] {
        let asked = [version, &["https://10.15.0.1:8443/readyz"]].concat();
        assert_eq!(answered(&curl(device, &asked, Some(&pair))).1, "200", "{version:?}");
    }
    let stranger = curl(device, &["https://10.15.0.1:8443/readyz"], None);
    assert_eq!(stranger.status.code(), Some(UNKNOWN_ISSUER), "nobody vouches for the certificate: {stranger:?}");

    let (target, bearer) = ("/api/v1/home-addresses", "Bearer operator");
    let plain = SocketAddr::new(scene.network.server.address(V4), 8080);
    let refused = http::ask(device, plain, "POST", target, &[("Authorization", bearer)], Some(&json!({})));
    assert_eq!(refused.status, 403, "{}", refused.text());
    let problem: Value = serde_json::from_slice(&refused.body).expect("a problem is JSON");
    assert_eq!(problem["type"], "urn:flowsteer:problem:insecure-transport", "{problem:#}");
    let reserve = ["-H", "Authorization: Bearer operator", "-X", "POST", "https://10.15.0.1:8443/api/v1/home-addresses"];
    let (body, status) = answered(&curl(device, &reserve, Some(&pair)));
    assert_eq!(status, "201", "{body}");
    let reserved: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(reserved["key"].as_str().map(str::len), Some(64), "a key of 32 octets: {reserved:#}");

    let sessions = |more: &[&str]| {
        let arguments = ["sessions", "--token", "operator", "--server", "https://10.15.0.1:8443"];
        flowsteer(device).args(arguments).args(more).output().expect("the binary runs")
    };
    let certificate = pair.certificate();
    let shown = sessions(&["--ca", certificate.to_str().expect("a name in UTF-8")]);
    assert!(shown.status.success(), "{shown:?}");
    let unknown = sessions(&[]);
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("--ca"), "{unknown:?}");
    let other = Pair::make();
    let foreign = sessions(&["--ca", other.certificate().to_str().expect("a name in UTF-8")]);
    assert!(!foreign.status.success() && String::from_utf8_lossy(&foreign.stderr).contains("no TLS connection"), "{foreign:?}");

    // A password goes where nobody can read it on its way, and nowhere else.
    let as_olga = |more: &[&str]| {
        let command = ["sessions", "--user", "olga", "--server"];
        flowsteer(device).args(command).args(more).env("FLOWSTEER_PASSWORD", "s3cret").output().expect("the binary runs")
    };
    let open = as_olga(&["http://10.15.0.1:8080"]);
    assert!(!open.status.success() && String::from_utf8_lossy(&open.stderr).contains("can be read on its way"), "{open:?}");
    assert!(!scene.server.has_logged("logged in"), "it was not even sent");
    let secured = as_olga(&["https://10.15.0.1:8443", "--ca", certificate.to_str().expect("a name in UTF-8")]);
    assert!(secured.status.success(), "{secured:?}");
    wait_for("the end of the login", SOON, || scene.server.has_logged("logged out").then_some(()));

    // Who says nothing is waited for, but not for ever, and who speaks RTSP is told so in TLS.
    let secured = SocketAddr::new(scene.network.server.address(V4), 8322);
    let open = || device.run(|| TcpStream::connect_timeout(&secured, SOON)).expect("the listener takes connections");
    for said in ["", "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"] {
        let mut stream = open();
        stream.set_read_timeout(Some(SOON)).expect("a timeout above zero");
        stream.write_all(said.as_bytes()).expect("it is taken");
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard);
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "the connection is ended");
        assert!(!heard.starts_with(b"RTSP"), "nothing is answered in the clear");
    }
    let metrics = ["-H", "Authorization: Bearer operator", "https://10.15.0.1:8443/metrics"];
    let (metrics, _) = answered(&curl(device, &metrics, Some(&pair)));
    for reason in ["timeout", "tls"] {
        let line = format!("flowsteer_tls_failed_handshakes_total{{door=\"rtsps\",reason=\"{reason}\"}} 1");
        assert!(metrics.lines().any(|told| told == line), "{line}\n{metrics}");
    }
}

#[test]
fn another_certificate_is_taken_up_while_a_session_loses_nothing() {
    let (pair, other) = (Pair::make(), Pair::make());
    let Some(scene) = pair.serve("") else { return };
    let device = &scene.network.b;
    let playing = Player::Ffmpeg.play(&scene.network.a, &title(&scene, V4), Carriage::Interleaved);
    scene.operator().wait_for_state("playing");
    // Half of a pair is none: the one before stays.
    fs::copy(other.certificate(), pair.certificate()).expect("copied");
    let refused = "the certificate before stays in force";
    wait_for("the refusal in the log", SOON, || scene.server.has_logged(refused).then_some(()));
    // What was there lives in no file any more: the other one is not presented.
    assert!(!is_presented(device, &other));
    fs::copy(other.file("flowsteer.key"), pair.file("flowsteer.key")).expect("copied");
    scene.server.hang_up();
    wait_for("the other certificate", SOON, || is_presented(device, &other).then_some(()));
    playing.end(PATIENCE).assert_whole_from("ffmpeg", TITLE, BEGIN);
}
