//! The device commands on a network: a server and two devices, each a machine of its own, speak the mobility signalling, and what they ask
//! is looked at where the packets arrive.

// kill: tests only.
#![allow(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::film::library;
use crate::support::namespaces::Family::{self, V4, V6};
use crate::support::namespaces::Host;
use crate::support::recording::{Packet, PortPair, Recording};
use crate::support::rtsp::Connection;
use crate::support::scene::Scene;
use crate::support::server::{Server, flowsteer, rtsp_address};
use crate::support::viewer::{assert_contiguous, home_address};
use crate::support::wire::Capture;
use crate::support::{SOON, http, wait_for};

const TITLE: &str = "countdown.mp4";
/// So much later than it is due something may happen on a busy machine.
const LATE: Duration = Duration::from_secs(2);
const KEY: &str = "[[mobility.keys]]\nspi = \"0x200\"\nnai = \"tv@home\"\n\
    key = \"0707070707070707070707070707070707070707070707070707070707070707\"\n";

/// The scene, and the folder with the files of both devices.
struct Stage {
    scene: Scene,
    folder: tempfile::TempDir,
    flags: Vec<String>,
    /// What is said on the server's interface.
    watched: Option<SignallingCapture>,
}

impl Drop for Stage {
    /// Whatever a test has the devices and the server say, stock tshark reads all of it.
    fn drop(&mut self) {
        if let Some(mut watched) = self.watched.take()
            && !std::thread::panicking()
        {
            watched.stop();
            watched.is_sound();
        }
    }
}

impl Stage {
    fn set() -> Option<Self> {
        Self::set_with("")
    }

    fn set_with(steering: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("f.toml");
        std::fs::write(&config, format!("[steering]\nhome_prefix = \"fd00:f10::/64\"\n{steering}\n{KEY}")).expect("written");
        std::fs::write(folder.path().join("key.toml"), KEY).expect("written");
        let flags = ["--config", config.to_str().expect("UTF-8"), "--state", "none"].map(str::to_owned).to_vec();
        let scene = Scene::set_with(&library(), &flags.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut stage = Self { scene, folder, flags, watched: None };
        stage.watched = Some(SignallingCapture::start(&stage, "all.pcapng"));
        Some(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of a device, whose keys lie in a folder of its own.
    fn command(&self, host: &Host, arguments: &[&str]) -> Command {
        let mut command = flowsteer(host);
        command.current_dir(self.folder.path()).env("XDG_STATE_HOME", self.path(if host.name == "device A" { "a" } else { "b" }));
        command.args(arguments);
        command
    }

    fn run(&self, host: &Host, arguments: &[&str]) -> Output {
        self.command(host, arguments).output().expect("the binary runs")
    }

    #[track_caller]
    fn done(&self, host: &Host, arguments: &[&str]) -> String {
        let output = self.run(host, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn spawn(&self, host: &Host, arguments: &[&str]) -> Running {
        Running::start(self.command(host, arguments))
    }

    fn server(&self, family: Family) -> String {
        self.scene.network.server.address(family).to_string()
    }

    /// A reserves.
    #[track_caller]
    fn reserve(&self) -> String {
        let answer = self.done(&self.scene.network.a, &["reserve", "--key-file", "key.toml", "--server", &self.server(V6), "--json"]);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["homeAddress"].as_str().expect("a home address").to_owned()
    }

    /// A reserves, binds, and plays the pictures of the title to its home address.
    #[track_caller]
    fn a_plays(&self, a: &Receiver) -> Playing {
        let home = self.reserve();
        self.done(&self.scene.network.a, &["bind", &home, "--rtp", &a.port()]);
        let playing = self.play(&home);
        a.wait_for_more(100);
        playing
    }

    /// From A, SETUP with the home address as the destination, and PLAY.
    #[track_caller]
    fn play(&self, home: &str) -> Playing {
        let url = self.scene.url(V6, TITLE);
        let mut control = Connection::open(&self.scene.network.a, rtsp_address(&self.scene.network.server, V6));
        let aim = format!("RTP/AVP;unicast;destination={home}");
        let answer = control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &aim)]).ok();
        let (named, label) = home_address(&answer);
        assert_eq!(named, home);
        control.request("PLAY", &url, &[("Range", "npt=0.000-")]).ok();
        Playing { home: home.to_owned(), label, _control: control }
    }

    /// The operator writes the context; how it comes to the other device is not the server's business.
    #[track_caller]
    fn context(&self, home: &str) -> String {
        let path = self.path("ctx.json").display().to_string();
        let output = self.scene.operator().flowsteer(&["context", home, "--output", &path]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        path
    }

    /// Where the home address's packets go, without what is leaving.
    fn places(&self, home: &str) -> Vec<String> {
        let shown = self.scene.operator().get(&format!("/api/v1/home-addresses/{home}")).json();
        let branches = shown["flow"]["branches"].as_array().cloned().unwrap_or_default();
        let current = branches.iter().filter(|branch| branch["state"] != "leaving");
        current.map(|branch| branch["careOf"].as_str().expect("a care-of").to_owned()).collect()
    }
}

/// What A has started.
struct Playing {
    home: String,
    label: u32,
    _control: Connection,
}

/// A command that runs on.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    told: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let told = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (BufReader::new(child.stderr.take().expect("a pipe")), Arc::clone(&told));
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *kept.lock().expect("pushing does not panic") += &(line + "\n");
            }
        });
        Self { child, lines, told }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.recv_timeout(SOON).unwrap_or_else(|error| panic!("{error}: {}", self.told()))
    }

    fn told(&self) -> String {
        self.told.lock().expect("pushing does not panic").clone()
    }

    fn signal(&self, signal: libc::c_int) {
        let id = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: no pointers; the process is our child and not yet waited for.
        unsafe { libc::kill(id, signal) };
    }

    #[track_caller]
    fn end(&mut self, limit: Duration) -> Option<i32> {
        wait_for("a command to end", limit, || self.child.try_wait().expect("our child can be waited for")).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- it said: {}", self.told());
        }
    }
}

/// A pair of ports, and what came there.
struct Receiver {
    address: IpAddr,
    recording: Arc<Recording>,
    ports: PortPair,
}

impl Receiver {
    fn at(host: &Host, address: IpAddr) -> Self {
        let recording = Arc::new(Recording::default());
        let ports = PortPair::open(host, address, &recording);
        Self { address, recording, ports }
    }

    fn port(&self) -> String {
        self.ports.rtp_port.to_string()
    }

    fn place(&self) -> String {
        SocketAddr::new(self.address, self.ports.rtp_port).to_string()
    }

    fn packets(&self) -> Vec<Packet> {
        self.recording.so_far().rtp
    }

    #[track_caller]
    fn wait_for_more(&self, count: usize) {
        let before = self.recording.count();
        self.recording.wait_for(&format!("{count} more packets"), SOON, |arrived| (arrived.rtp.len() >= before + count).then_some(()));
    }

    #[track_caller]
    fn wait_for_bye(&self) -> Instant {
        self.recording.wait_for("a BYE", SOON, |arrived| arrived.bye_at())
    }
}

/// Checks that whole packets are the same wherever they came, and gives how many came to both.
#[track_caller]
fn assert_identical(one: &Receiver, other: &Receiver) -> usize {
    let (of_one, of_other) = (one.packets(), other.packets());
    assert_contiguous("one", &of_one);
    assert_contiguous("the other", &of_other);
    let by_number: std::collections::HashMap<u16, &Packet> = of_one.iter().map(|packet| (packet.sequence(), packet)).collect();
    let on_both: Vec<&Packet> = of_other.iter().filter(|packet| by_number.contains_key(&packet.sequence())).collect();
    for packet in &on_both {
        assert_eq!(packet.octets, by_number[&packet.sequence()].octets, "packet {}", packet.sequence());
    }
    on_both.len()
}

#[track_caller]
fn assert_labelled(receiver: &Receiver, label: Option<u32>) {
    assert!(receiver.packets().iter().all(|packet| packet.label == label), "every datagram has the flow label {label:x?}");
}

#[test]
fn a_flow_is_on_both_devices_for_the_window_and_then_on_the_second_alone() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let (a, b) = (Receiver::at(&network.a, network.a.v6.into()), Receiver::at(&network.b, network.b.v6.into()));
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let (asked, promised) = (Instant::now(), Duration::from_secs(3));
    let mut take = stage.spawn(&network.b, &["take", &context, "--rtp", &b.port(), "--window", "3000"]);
    assert_eq!(take.line(), format!("video moved to {}, window 3.0 s", b.place()));
    let ended = a.wait_for_bye();
    b.wait_for_more(100);
    let begun = b.packets()[0].at;
    let window = ended - begun;
    assert!(ended - asked >= promised && window.abs_diff(promised) <= LATE, "both had it for {window:?}");
    assert!(a.packets().iter().all(|packet| packet.at <= ended + Duration::from_millis(10)), "nothing came to A after its BYE");
    let live = a.packets().iter().filter(|packet| packet.at > begun).count();
    let same = assert_identical(&a, &b);
    assert!(live > 40 && same >= live, "what A gets in the window, B gets too: {live} packets, {same} the same");
    let last = a.packets().last().expect("packets").at;
    assert!(last + LATE > begun + promised, "A had it until the window ended");
    assert_labelled(&a, Some(playing.label));
    assert_labelled(&b, Some(playing.label));
    take.signal(libc::SIGTERM);
    assert_eq!(take.end(SOON), Some(0), "{}", take.told());
}

#[test]
fn what_is_played_to_a_home_address_waits_until_a_device_binds() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let a = Receiver::at(&network.a, network.a.v6.into());
    let home = stage.reserve();
    let operator = stage.scene.operator();
    let session = operator.post("/api/v1/sessions", &json!({"title": TITLE, "home": home})).json();
    let id = session["id"].as_str().expect("an id").to_owned();
    let shown = || operator.get(&format!("/api/v1/sessions/{id}")).json();
    assert_eq!((&shown()["state"], &shown()["positionSeconds"]), (&json!("paused"), &json!(0.0)));
    stage.done(&network.a, &["bind", &home, "--rtp", &a.port()]);
    a.wait_for_more(100);
    operator.wait_for_state("playing");
    let first = &a.packets()[0];
    assert_contiguous("A", &a.packets());
    assert!(a.packets().iter().all(|packet| packet.label == first.label && packet.label.is_some()), "with one label");
}

#[test]
fn a_fork_is_on_both_devices_for_good() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let (a, b) = (Receiver::at(&network.a, network.a.v6.into()), Receiver::at(&network.b, network.b.v6.into()));
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let mut take = stage.spawn(&network.b, &["take", &context, "--rtp", &b.port(), "--fork"]);
    assert_eq!(take.line(), format!("video also goes to {}", b.place()));
    b.wait_for_more(1);
    // Well over the window that a move has by default.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        a.wait_for_more(20);
        b.wait_for_more(20);
    }
    let same = assert_identical(&a, &b);
    assert!(same > 100, "{same} packets are the same");
    assert_labelled(&b, Some(playing.label));
    assert_eq!(stage.places(&playing.home).len(), 2);
    take.signal(libc::SIGINT);
    assert_eq!(take.end(SOON), Some(0), "{}", take.told());
    b.wait_for_bye();
    a.wait_for_more(100);
    assert_contiguous("A", &a.packets());
}

#[test]
fn a_device_gives_a_flow_on_the_other_ones_behalf() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let (a, b) = (Receiver::at(&network.a, network.a.v6.into()), Receiver::at(&network.b, network.b.v6.into()));
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let proof = stage.done(&network.b, &["prove", "--server", &stage.server(V6), "--json"]);
    let proof: Value = serde_json::from_str(&proof).expect("JSON");
    assert_eq!(proof["careOf"], network.b.v6.to_string());
    let (care_of, index) = (network.b.v6.to_string(), proof["nonceIndex"].to_string());
    let token = proof["token"].as_str().expect("a token");
    let give = ["give", &context, "--care-of", &care_of, "--nonce-index", &index, "--token", token, "--rtp", &b.port(), "--window", "500"];
    assert_eq!(stage.done(&network.a, &give), format!("video given to {}, window 0.5 s\n", b.place()));
    b.wait_for_more(100);
    a.wait_for_bye();
    b.wait_for_more(50);
    assert!(assert_identical(&a, &b) > 0);
    assert_eq!(stage.places(&playing.home), [b.place()]);
}

#[test]
fn a_device_roams_from_one_interface_to_another() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let second = network.add_interface(&network.a, 0xa2);
    let (first, other) = (Receiver::at(&network.a, network.a.v6.into()), Receiver::at(&network.a, second.into()));
    let playing = stage.a_plays(&first);
    let roam = ["roam", &playing.home, "--care-of", &second.to_string(), "--rtp", &other.port(), "--window", "3000"];
    assert_eq!(stage.done(&network.a, &roam), format!("{} roams to {} (binding 2), window 3.0 s\n", playing.home, other.place()));
    other.wait_for_more(50);
    first.recording.wait_for_silence(LATE, SOON);
    assert_eq!(first.recording.so_far().bye_at(), None, "the same device is told no BYE");
    let window = first.packets().last().expect("packets").at - other.packets()[0].at;
    assert!(window.abs_diff(Duration::from_secs(3)) <= LATE, "{window:?}");
    // The old interface goes, the flow stays.
    network.a.unplug();
    other.wait_for_more(100);
    assert!(assert_identical(&first, &other) > 0);
    assert_labelled(&other, Some(playing.label));
}

#[test]
fn a_device_without_ipv6_takes_a_flow() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let (a, b) = (Receiver::at(&network.a, network.a.v6.into()), Receiver::at(&network.b, network.b.v4.into()));
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let v4 = network.b.v4.to_string();
    let told = stage.run(&network.b, &["take", &context, "--care-of", &v4]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("with --server"), "{told:?}");
    let take = ["take", &context, "--care-of", &v4, "--rtp", &b.port(), "--window", "1000", "--server", &stage.server(V4)];
    let mut take = stage.spawn(&network.b, &take);
    assert_eq!(take.line(), format!("video moved to {}, window 1.0 s", b.place()));
    a.wait_for_bye();
    b.wait_for_more(100);
    assert!(assert_identical(&a, &b) > 0);
    assert_labelled(&b, None);
    assert_eq!(stage.places(&playing.home), [b.place()]);
}

#[test]
fn when_the_only_device_leaves_media_stop_and_the_presentation_lingers() {
    let Some(stage) = Stage::set_with("linger_s = 30") else { return };
    let network = &stage.scene.network;
    let (a, b) = (Receiver::at(&network.a, network.a.v6.into()), Receiver::at(&network.b, network.b.v6.into()));
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let mut take = stage.spawn(&network.b, &["take", &context, "--rtp", &b.port(), "--window", "0"]);
    take.line();
    b.wait_for_more(50);
    take.signal(libc::SIGINT);
    assert_eq!(take.end(SOON), Some(0), "{}", take.told());
    stage.scene.operator().wait_for_state("lingering");
    b.recording.wait_for_silence(Duration::from_millis(300), SOON);
    assert_eq!(stage.places(&playing.home), Vec::<String>::new());
    // A has its binding still, and takes the flow back in time: it goes on.
    let care_of = network.a.v6.to_string();
    stage.done(&network.a, &["roam", &playing.home, "--care-of", &care_of, "--bid", "1", "--rtp", &a.port()]);
    a.wait_for_more(50);
    stage.scene.operator().wait_for_state("playing");
}

#[test]
fn a_device_recovers_when_the_server_has_lost_everything() {
    let Some(mut stage) = Stage::set() else { return };
    let home = stage.reserve();
    let a = Receiver::at(&stage.scene.network.a, stage.scene.network.a.v6.into());
    let mut bind = stage.spawn(&stage.scene.network.a, &["bind", &home, "--rtp", &a.port(), "--stay", "--lifetime", "8"]);
    assert_eq!(bind.line(), format!("bound {home} to {} for 8 s (binding 1)", a.place()));
    let playing = stage.play(&home);
    a.wait_for_more(50);
    assert_eq!(stage.scene.server.terminate().code(), Some(0));
    let flags: Vec<&str> = stage.flags.iter().map(String::as_str).collect();
    let anew = Server::start(&stage.scene.network.server, &library(), &flags);
    stage.scene.server = anew;
    drop(playing);
    wait_for("the device to notice", SOON * 2, || bind.told().contains("has lost").then_some(()));
    wait_for("the device to reserve again", SOON, || bind.told().contains(&format!("reserved {home} again")).then_some(()));
    let bound = || stage.scene.operator().get(&format!("/api/v1/home-addresses/{home}")).json()["state"] == "bound";
    wait_for("the device to be bound again", SOON, || bound().then_some(()));
    let before = a.recording.count();
    let _playing = stage.play(&home);
    a.recording.wait_for("media again", SOON, |arrived| (arrived.rtp.len() > before + 50).then_some(()));
    bind.signal(libc::SIGTERM);
    assert_eq!(bind.end(SOON), Some(0), "{}", bind.told());
    let lost = |kind: &str, field: &str| {
        stage.watched.as_ref().expect("it is watched").read(&["-Y", &format!("mip6.mhtype == {kind}"), "-T", "fields", "-e", field])
    };
    wait_for("the Binding Error in the capture", SOON, || {
        lost("7", "mip6.be.status").lines().any(|line| line == "1" || line == "0x01").then_some(())
    });
    // What was reserved anew is what the device file has.
    stage.done(&stage.scene.network.a, &["bind", &home, "--rtp", &a.port()]);
}

/// Runs a player of a description to its own end, with its output.
#[track_caller]
fn played(stage: &Stage, program: &str, arguments: &[&str]) -> String {
    let mut command = stage.scene.network.b.command(program);
    command.current_dir(stage.folder.path()).args(arguments);
    let mut player = Running::start(command);
    let code = player.end(SOON * 3);
    let printed: String = player.lines.iter().map(|line| line + "\n").collect();
    assert_eq!(code, Some(0), "{program}: {}", player.told());
    printed
}

/// Device B takes what A plays over that family, and gives a player the description of it.
fn with_the_description(family: Family, play: impl FnOnce(&Stage)) {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let a = Receiver::at(&network.a, network.a.v6.into());
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    network.b.tell_of_no_closed_port();
    let (care_of, server) = (network.b.address(family), stage.server(family));
    let take =
        ["take", &context, "--care-of", &care_of.to_string(), "--server", &server, "--rtp", "6000", "--window", "500", "--sdp", "b.sdp"];
    let mut take = stage.spawn(&network.b, &take);
    assert_eq!(take.line(), format!("video moved to {}, window 0.5 s", SocketAddr::new(care_of, 6000)));
    play(&stage);
    take.signal(libc::SIGTERM);
    assert_eq!(take.end(SOON), Some(0), "{}", take.told());
}

#[test]
fn ffmpeg_plays_from_the_description_of_the_second_device() {
    with_the_description(V6, |stage| {
        let input = ["-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,udp,rtp", "-i", "b.sdp"];
        let frames = played(stage, "ffmpeg", &[&input[..], &["-frames:v", "50", "-f", "framemd5", "-"]].concat());
        assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 50, "{frames}");
    });
}

#[test]
fn gstreamer_plays_from_the_description_of_the_second_device() {
    // Its reader of descriptions listens on IPv4 alone, whatever they say.
    with_the_description(V4, |stage| {
        let decode = ["rtph264depay", "!", "avdec_h264", "!", "fakesink", "num-buffers=50"];
        let shown = played(stage, "gst-launch-1.0", &[&["-v", "filesrc", "location=b.sdp", "!", "sdpdemux", "!"], &decode[..]].concat());
        assert!(shown.contains("video/x-raw"), "it was decoded: {shown}");
    });
}

#[test]
fn the_player_that_a_take_starts_records_pictures() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let a = Receiver::at(&network.a, network.a.v6.into());
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    network.b.tell_of_no_closed_port();
    let exec = "ffmpeg -nostdin -loglevel error -protocol_whitelist file,udp,rtp -i {} -frames:v 25 -f framemd5 frames";
    let mut take = stage.spawn(&network.b, &["take", &context, "--exec", exec]);
    assert!(take.line().starts_with("video moved to"));
    assert_eq!(take.end(SOON * 3), Some(0), "it ends with its player: {}", take.told());
    let frames = std::fs::read_to_string(stage.path("frames")).expect("the player wrote it");
    assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 25, "{frames}");
    assert_eq!(stage.places(&playing.home), Vec::<String>::new());
}

#[test]
fn nothing_is_sent_to_who_has_not_proven_to_be_there() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let a = Receiver::at(&network.a, network.a.v6.into());
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let victim = network.b.v6.to_string();
    let capture = Capture::start(&network.b);
    // A has the key, and a proof of its own address, and names B.
    let proof = stage.done(&network.a, &["prove", "--server", &stage.server(V6), "--json"]);
    let proof: Value = serde_json::from_str(&proof).expect("JSON");
    let (index, token) = (proof["nonceIndex"].as_u64().expect("a number"), proof["token"].as_str().expect("a token"));
    let (unknown, index) = (((index + 1000) % 65_536).to_string(), index.to_string());
    for (index, token, status) in [(&index, token, 146), (&index, "0123456789abcdef", 146), (&unknown, token, 137)] {
        let give = ["give", &context, "--care-of", &victim, "--nonce-index", index, "--token", token, "--rtp", "6000", "--window", "0"];
        let output = stage.run(&network.a, &give);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(&format!("(status {status})")), "{told}");
    }
    let output = stage.run(&network.a, &["bind", &playing.home, "--care-of", &victim]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // Nor by the key over HTTP.
    let kept = std::fs::read_to_string(stage.path(&format!("a/flowsteer/device/{}.json", playing.home))).expect("kept");
    let key = serde_json::from_str::<Value>(&kept).expect("JSON")["key"].as_str().expect("a key").to_owned();
    let body = json!({"careOf": format!("[{victim}]:6000"), "proof": {"nonceIndex": proof["nonceIndex"], "token": token}});
    let target = format!("/api/v1/home-addresses/{}/bindings/5", playing.home);
    let bearer = format!("Bearer {key}");
    let to = (network.server.v6, 8080).into();
    let answer = http::ask(&network.a, to, "PUT", &target, &[("Authorization", &bearer)], Some(&body));
    assert_eq!(answer.status, 409, "{}", answer.text());
    a.wait_for_more(100);
    let seen = capture.end(&network.b);
    let to_victim: Vec<_> = seen.iter().filter(|datagram| datagram.to == victim).collect();
    assert!(to_victim.is_empty(), "{} datagrams, the first {:?}", to_victim.len(), to_victim.first());
    assert_eq!(stage.places(&playing.home), [a.place()]);
}

/// All that the signalling says on the server's interface, into a file.
struct SignallingCapture {
    tshark: Running,
    path: PathBuf,
}

impl SignallingCapture {
    fn start(stage: &Stage, file: &str) -> Self {
        let path = stage.path(file);
        let mut command = stage.scene.network.server.command("tshark");
        command.args(["-i", "eth0", "-f", "udp port 5436", "-n", "-Q", "-w"]).arg(&path);
        let capture = Self { tshark: Running::start(command), path };
        // It captures once it has seen something.
        let seen = || {
            stage.done(&stage.scene.network.a, &["prove", "--server", &stage.server(V6)]);
            !capture.read(&["-c", "1", "-T", "fields", "-e", "frame.number"]).trim().is_empty()
        };
        wait_for("tshark to see a test", SOON * 3, || seen().then_some(()));
        capture
    }

    /// What tshark makes of the file so far.
    fn read(&self, arguments: &[&str]) -> String {
        let output = Command::new("tshark").args(["-n", "-r"]).arg(&self.path).args(arguments).output().expect("tshark runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends it, once it has seen so many acknowledgements and a Binding Error.
    #[track_caller]
    fn end(&mut self, acknowledgements: usize) {
        let is_whole = || {
            let types = self.read(&["-T", "fields", "-e", "mip6.mhtype"]);
            let count = |kind: &str| types.lines().filter(|line| *line == kind).count();
            count("6") >= acknowledgements && count("7") >= 1
        };
        wait_for("tshark to have written what it saw", SOON * 3, || is_whole().then_some(()));
        self.stop();
    }

    fn stop(&mut self) {
        self.tshark.signal(libc::SIGINT);
        self.tshark.end(SOON);
    }

    /// Nothing that it saw is malformed, or anything else than signalling.
    #[track_caller]
    fn is_sound(&self) {
        let types = self.read(&["-T", "fields", "-e", "mip6.mhtype"]);
        assert!(types.lines().count() >= 2 && types.lines().all(|line| !line.is_empty()), "each datagram is read as one: {types}");
        let flagged = self.read(&["-Y", "_ws.malformed || _ws.expert.severity >= 6291456 || !mip6"]);
        assert_eq!(flagged, "", "stock tshark finds nothing wrong");
    }
}

#[test]
fn stock_tshark_reads_all_of_the_signalling_and_the_add_on_shows_label_bindings_and_window() {
    let Some(stage) = Stage::set() else { return };
    let network = &stage.scene.network;
    let mut capture = SignallingCapture::start(&stage, "signalling.pcapng");
    let (a, b, c) = (
        Receiver::at(&network.a, network.a.v6.into()),
        Receiver::at(&network.b, network.b.v6.into()),
        Receiver::at(&network.b, network.b.v4.into()),
    );
    let playing = stage.a_plays(&a);
    let context = stage.context(&playing.home);
    let mut take = stage.spawn(&network.b, &["take", &context, "--rtp", &b.port(), "--window", "1234"]);
    take.line();
    b.wait_for_more(10);
    take.signal(libc::SIGTERM);
    assert_eq!(take.end(SOON), Some(0), "{}", take.told());
    stage.done(&network.a, &["bind", &playing.home, "--rtp", &a.port(), "--expect", "video", "--payload-type", "96"]);
    let v6 = network.a.v6.to_string();
    stage.done(&network.a, &["roam", &playing.home, "--care-of", &v6, "--bid", "1", "--rtp", &a.port()]);
    let context = stage.context(&playing.home);
    let v4 = network.b.v4.to_string();
    let take = ["take", &context, "--care-of", &v4, "--rtp", &c.port(), "--fork", "--server", &stage.server(V4)];
    let mut take = stage.spawn(&network.b, &take);
    take.line();
    take.signal(libc::SIGTERM);
    assert_eq!(take.end(SOON), Some(0), "{}", take.told());
    // Refusals, and a Binding Error.
    stage.run(&network.a, &["reserve", "--key-file", "key.toml", "--home", "2001:db8::9", "--server", &stage.server(V6)]);
    let file = stage.path(&format!("a/flowsteer/device/{}.json", playing.home));
    let nobody = "fd00:f10::9999";
    let mut moved: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("kept")).expect("JSON");
    (moved["homeAddress"], moved["spi"]) = (json!(nobody), json!("0x7fffff00"));
    std::fs::write(file.with_file_name(format!("{nobody}.json")), moved.to_string()).expect("written");
    let mut lost = stage.spawn(&network.a, &["bind", nobody, "--rtp", &a.port()]);
    wait_for("a Binding Error", SOON, || lost.told().contains("has lost").then_some(()));
    assert_eq!(lost.end(SOON * 2), Some(0), "it reserves what it has lost: {}", lost.told());
    stage.scene.operator().delete(&format!("/api/v1/home-addresses/{}", playing.home));
    capture.end(11);

    capture.is_sound();
    let types = capture.read(&["-T", "fields", "-e", "mip6.mhtype"]);
    for kind in ["2", "4", "5", "6", "7"] {
        assert!(types.lines().any(|line| line == kind), "type {kind} was captured: {types}");
    }
    assert!(types.lines().count() >= 30, "{types}");
    assert!(!capture.read(&["-V"]).contains("Malformed"));

    let add_on = format!("lua_script:{}", Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wireshark/flow_mobility.lua").display());
    let fields = ["flowsteer_flow.label", "flowsteer_flow.binding", "flowsteer_vendor.window_ms", "flowsteer_vendor.rtp_port"];
    let mut read = vec!["-X", &add_on, "-T", "fields", "-E", "separator=|", "-Y", "mip6.mhtype == 5 && flowsteer_flow"];
    read.extend(fields.iter().flat_map(|field| ["-e", field]));
    let shown = capture.read(&read);
    let label = format!("{:#010x}", playing.label);
    assert!(shown.lines().any(|line| line == format!("{label}|2|1234|{}", b.port())), "the move: {shown}");
    let both = |line: &str| line.starts_with(&format!("{label}|1,")) && line.ends_with(&format!("|4294967295|{}", c.port()));
    assert!(shown.lines().any(both), "the fork: {shown}");
    let text = capture.read(&["-X", &add_on, "-V"]);
    for expected in ["Transition Window", "Media Ports", "Key Parameters", "Media Expectation", "Key Grant", "Goes to binding: 2"] {
        assert!(text.contains(expected), "{expected}");
    }
    assert!(!text.contains("Malformed") && !text.contains("Lua Error"));
}
