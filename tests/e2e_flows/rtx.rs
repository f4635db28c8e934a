//! Retransmission for those who ask for it by `?rtx`: GStreamer on a network that loses datagrams, and a receiver that asks by hand.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::film::{Film, library};
use crate::support::namespaces::Family::{self, V4, V6};
use crate::support::players::{LOST_TO_BYE, Player, Received, Running, play_with_retina};
use crate::support::recording::{Packet, SENDER_REPORT};
use crate::support::scene::Scene;
use crate::support::server::RTP;
use crate::support::viewer::Carriage::{self, Interleaved, Udp};
use crate::support::viewer::{Viewer, Watched};
use crate::support::wire::Capture;
use crate::support::{SOON, wait_for};

/// Ten seconds, a key picture every two.
const TITLE: &str = "short.mp4";
/// By then GStreamer has ended, from the title's last seconds on.
const ENDS: Duration = Duration::from_secs(20);
/// A minute.
const LONG: &str = "countdown.mp4";
/// So often the same packet is sent again at most.
const MAX_TIMES: usize = 4;
/// What no path to ourselves takes.
const A_WHILE: Duration = Duration::from_millis(300);

/// A server that sends again what it sent ten seconds ago: who asks may be late.
fn set() -> Option<Scene> {
    let mut config = tempfile::NamedTempFile::new().expect("a temporary file");
    config.write_all(b"[rtp]\nrtx_ms = 10000\n").expect("written");
    Scene::set_with(&library(), &["--config", config.path().to_str().expect("a path in UTF-8")])
}

/// What GStreamer gets of the title while each 33rd datagram is lost, and how many were. What is lost at the very end is
/// not missed by anybody: nothing comes after it. Nor is anything lost of the first half second: GStreamer takes a source for one
/// when two packets have come in succession, and throws away what came before, also where it is sent again.
fn play_with_loss(scene: &Scene, family: Family, query: &str) -> (Running, u64) {
    scene.network.server.switch_segmentation_offload_off();
    let device = &scene.network.a;
    let playing = Player::play_patiently(device, &scene.url(family, &format!("{TITLE}{query}")), !query.is_empty());
    let operator = scene.operator();
    let is_at = |seconds: f64| operator.sessions().iter().any(|session| session["positionSeconds"].as_f64() >= Some(seconds));
    wait_for("the title to play", SOON * 2, || is_at(0.5).then_some(()));
    device.lose(33, RTP);
    // Nothing more is lost well before its end.
    wait_for("most of the title to have played", Duration::from_secs(20), || is_at(7.0).then_some(()));
    let lost = device.lost();
    device.lose_nothing_more();
    assert!(lost >= 5, "{lost} datagrams were lost");
    (playing, lost)
}

fn metric(scene: &Scene, name: &str) -> u64 {
    let text = scene.operator().get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// A GStreamer that has played so and ended, and what was on the wire.
struct Played {
    capture: Capture,
    received: Received,
    lost: u64,
    scene: Scene,
}

/// Where packets are lost, GStreamer was seen not to end: once in a hundred runs. Then another is looked at.
fn played_with_loss(family: Family, query: &str) -> Option<Played> {
    for _ in 0..2 {
        let scene = set()?;
        let capture = Capture::start(&scene.network.server);
        let (playing, lost) = play_with_loss(&scene, family, query);
        if let Some(received) = playing.end_if_it_does(ENDS) {
            return Some(Played { capture, received, lost, scene });
        }
    }
    panic!("GStreamer does not end by itself");
}

fn gstreamer_gets_every_access_unit(family: Family) {
    let Some(Played { capture, received, lost, scene }) = played_with_loss(family, "?rtx") else { return };
    let film = Film::named(TITLE);
    assert_eq!(film.locate_pictures("pictures", &received.pictures), 0);
    assert_eq!(film.locate_frames("sound", &received.frames), 0);
    assert_eq!((received.pictures.len(), received.frames.len()), (film.video.len(), film.audio.len()), "pictures and audio frames");
    // By payload type: what is sent again bears the label of its flow, and comes from and goes to the same ports.
    let wire: Vec<_> = capture.end(&scene.network.server).into_iter().filter(|datagram| datagram.source_port == RTP).collect();
    let of = |kind: u8| wire.iter().filter(move |datagram| datagram.payload[1] & 0x7f == kind);
    let mut again = 0;
    for (sent, sent_again) in [(96, 112), (97, 113)] {
        let first = of(sent).next().expect("packets of the flow");
        assert!(family == V4 || first.label > Some(0), "a label");
        for datagram in of(sent_again) {
            assert_eq!((datagram.label, &datagram.to, datagram.port), (first.label, &first.to, first.port));
            again += 1;
        }
    }
    assert!(again as u64 >= lost, "{lost} were lost, {again} sent again");
    assert_eq!(metric(&scene, "flowsteer_resent_packets_total"), again as u64);
}

#[test]
fn gstreamer_gets_every_access_unit_over_ipv6_though_datagrams_are_lost() {
    gstreamer_gets_every_access_unit(V6);
}

#[test]
fn gstreamer_gets_every_access_unit_over_ipv4_though_datagrams_are_lost() {
    gstreamer_gets_every_access_unit(V4);
}

#[test]
fn without_asking_access_units_are_missing() {
    let Some(Played { received, lost, scene, .. }) = played_with_loss(V6, "") else { return };
    let film = Film::named(TITLE);
    let pictures = film.pictures();
    let whole = received.pictures.iter().filter(|picture| pictures.contains(picture)).count();
    let missing = (film.video.len() - whole.min(film.video.len())) + (film.audio.len() - received.frames.len());
    assert!(missing > 0, "all came though {lost} datagrams were lost");
    assert_eq!(metric(&scene, "flowsteer_resent_packets_total"), 0);
}

/// Players that do not know the profile with feedback take what it is there beside.
#[test]
fn other_players_play_what_is_described_with_feedback() {
    let Some(scene) = set() else { return };
    let (film, url) = (Film::named(TITLE), scene.url(V6, &format!("{TITLE}?rtx")));
    let whole = |received: &Received, lost: usize| {
        assert_eq!((film.locate_pictures("pictures", &received.pictures), received.pictures.len()), (0, film.video.len()));
        assert_eq!(film.locate_frames("sound", &received.frames), 0);
        assert!(received.frames.len() + lost >= film.audio.len(), "of {} audio frames {}", film.audio.len(), received.frames.len());
    };
    let (a, b) = (&scene.network.a, &scene.network.b);
    let (ffmpeg, gstreamer) = (Player::Ffmpeg.play(a, &url, Udp), Player::GStreamer.play(b, &url, Interleaved));
    whole(&play_with_retina(a, &url, Udp, |_| false), 0);
    whole(&ffmpeg.end(SOON * 2), LOST_TO_BYE);
    whole(&gstreamer.end(SOON * 2), 0);
}

/// A receiver that asks for what it likes.
struct Asker<'a> {
    scene: &'a Scene,
    viewer: Viewer,
}

impl<'a> Asker<'a> {
    fn watch(scene: &'a Scene, host: &crate::support::namespaces::Host, url: &str, carriage: Carriage) -> Self {
        let mut viewer = Viewer::open_with_feedback(host, url, carriage);
        viewer.play();
        Self { scene, viewer }
    }

    fn video(&self) -> &Watched {
        self.viewer.video()
    }

    /// The pictures' packets as they were sent first, and those that were sent again.
    fn packets(&self) -> (Vec<Packet>, Vec<Packet>) {
        self.video().packets().into_iter().partition(|packet| packet.payload_type() == self.video().payload_type)
    }

    fn again(&self) -> Vec<Packet> {
        self.packets().1
    }

    /// Waits until so many packets have come.
    fn wait_for_first(&self, count: usize) -> Vec<Packet> {
        wait_for("packets", SOON, || Some(self.packets().0).filter(|packets| packets.len() >= count))
    }

    /// Says that packets with these numbers have not come.
    fn ask(&self, numbers: &[u16]) {
        let server = SocketAddr::new(self.scene.network.server.address(V6), RTP + 1);
        self.video().ports.as_ref().expect("over UDP").send_from_rtcp(&nack(self.video().ssrc, numbers), server);
    }

    /// Waits until nothing of what was asked for can be under way: a packet that is asked for at the end has come. It is one that has yet to
    /// come when this begins, which nobody can have asked for before.
    fn settle(&self) -> Vec<Packet> {
        let last = self.wait_for_first(self.packets().0.len() + 1).pop().expect("packets").sequence();
        let before = self.again().len();
        self.ask(&[last]);
        wait_for("the last number", SOON, || self.again().iter().skip(before).any(|packet| original(packet) == last).then_some(()));
        self.again()
    }
}

/// An empty receiver report and a generic NACK (RFC 4585 section 6.2.1), an entry for each number.
fn nack(ssrc: u32, numbers: &[u16]) -> Vec<u8> {
    let words = u16::try_from(2 + numbers.len()).expect("few").to_be_bytes();
    let mut octets = vec![0x80, 201, 0, 1, 0, 0, 0, 9, 0x81, 205, words[0], words[1], 0, 0, 0, 9];
    octets.extend(ssrc.to_be_bytes());
    octets.extend(numbers.iter().flat_map(|number| [number.to_be_bytes(), [0, 0]].concat()));
    octets
}

/// The original sequence number of a packet that was sent again (RFC 4588 section 4).
fn original(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet.payload()[0], packet.payload()[1]])
}

/// Each is one of `first` in another stream.
#[track_caller]
fn assert_resent(again: &[Packet], first: &[Packet], label: u32) {
    let ssrc = again.first().expect("something was sent again").ssrc();
    for (index, packet) in again.iter().enumerate() {
        let sent = first.iter().find(|sent| sent.sequence() == original(packet)).expect("it was sent before");
        assert_eq!(&packet.payload()[2..], sent.payload());
        assert_eq!((packet.timestamp(), packet.marker(), packet.payload_type()), (sent.timestamp(), sent.marker(), 112));
        assert_eq!(packet.sequence(), again[0].sequence().wrapping_add(index as u16), "numbers of their own");
        assert_eq!(packet.ssrc(), ssrc);
        assert_ne!(packet.ssrc(), sent.ssrc());
        assert_eq!((packet.label, sent.label), (Some(label), Some(label)));
        assert_eq!(packet.from, sent.from);
    }
}

#[test]
fn who_asks_gets_exactly_what_it_asked_for() {
    let Some(scene) = set() else { return };
    let url = scene.url(V6, &format!("{LONG}?rtx"));
    let asker = Asker::watch(&scene, &scene.network.a, &url, Udp);
    assert!(asker.viewer.description.contains("m=video 0 RTP/AVPF 96 112\r\n"), "{}", asker.viewer.description);
    assert!(asker.video().transport.starts_with("RTP/AVPF;unicast;client_port="), "{}", asker.video().transport);
    let first = asker.wait_for_first(60);
    let wanted: Vec<u16> = [3, 4, 17, 40, 59].iter().map(|index: &usize| first[*index].sequence()).collect();
    // Numbers of nothing, and somebody else's source.
    asker.ask(&[wanted[0], first[0].sequence().wrapping_sub(1), wanted[1], first[0].sequence().wrapping_add(20_000)]);
    let server = SocketAddr::new(scene.network.server.address(V6), RTP + 1);
    let ports = asker.video().ports.as_ref().expect("over UDP");
    ports.send_from_rtcp(&nack(asker.video().ssrc ^ 1, &wanted), server);
    ports.send_from_rtcp(&nack(asker.viewer.audio().ssrc, &wanted), server);
    asker.ask(&wanted[2..]);
    let again = asker.settle();
    assert_eq!(again[..5].iter().map(original).collect::<Vec<_>>(), wanted);
    assert_eq!(again.len(), 6);
    assert_resent(&again, &asker.packets().0, asker.video().label);
    assert_eq!(metric(&scene, "flowsteer_resend_declined_total{reason=\"unknown\"}"), 2);
    assert_eq!(asker.viewer.audio().packets().iter().filter(|packet| packet.payload_type() != 97).count(), 0);
    // The source of what is sent again is reported as one (RFC 3550 section 6.4).
    let about = |packet: &Packet| (packet.octets[1] == SENDER_REPORT).then(|| u32::from_be_bytes([4, 5, 6, 7].map(|at| packet.octets[at])));
    let recording = &asker.video().recording;
    recording.wait_for("a report", SOON, |arrived| arrived.rtcp.iter().any(|packet| about(packet) == Some(again[0].ssrc())).then_some(()));
    // Both sources say farewell.
    scene.operator().control(&scene.operator().session(), "end", &serde_json::json!({}));
    for ssrc in [asker.video().ssrc, again[0].ssrc()] {
        let farewell = [&[0x81, 203, 0, 1][..], &ssrc.to_be_bytes()].concat();
        let said = |packet: &Packet| packet.octets.windows(8).any(|octets| octets == farewell);
        recording.wait_for("a farewell", SOON, |arrived| arrived.rtcp.iter().any(said).then_some(()));
    }
}

#[test]
fn nobody_else_gets_what_somebody_asked_for() {
    let Some(scene) = set() else { return };
    let a = Asker::watch(&scene, &scene.network.a, &scene.url(V6, &format!("{LONG}?rtx")), Udp);
    a.wait_for_first(30);
    // At the home address, and one that offers feedback unasked is refused it.
    let url = scene.operator().takeover_url(&a.video().home, V6, "presentation") + "&mode=fork";
    let b = Asker::watch(&scene, &scene.network.b, &format!("{url}&rtx"), Udp);
    let first = b.wait_for_first(30);
    b.ask(&[first[2].sequence(), first[9].sequence()]);
    let again = b.settle();
    assert_eq!(again[..2].iter().map(original).collect::<Vec<_>>(), [first[2].sequence(), first[9].sequence()]);
    assert_resent(&again, &b.packets().0, b.video().label);
    let for_a = a.settle();
    assert_eq!(for_a.len(), 1, "what it asked for itself");
    assert_ne!(for_a[0].ssrc(), again[0].ssrc(), "each has a source of its own");
    // Who did not ask by its URL is not sent anything again.
    let mut c = Viewer::open(&scene.network.b, &url, Udp);
    assert!(c.description.contains("m=video 0 RTP/AVP 96\r\n"), "{}", c.description);
    c.play();
    let c = Asker { scene: &scene, viewer: c };
    let first = c.wait_for_first(30);
    c.ask(&[first[2].sequence()]);
    a.settle();
    c.video().recording.wait_for("packets to go on", SOON, |arrived| (arrived.rtp.len() > first.len() + 20).then_some(()));
    assert_eq!(c.again().len(), 0);
}

#[test]
fn feedback_is_not_served_to_who_did_not_ask() {
    let Some(scene) = set() else { return };
    let url = scene.url(V6, TITLE);
    let mut viewer = Viewer::open_tracks(&scene.network.a, &url, Udp, &[]);
    let answer =
        viewer.connection.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", "RTP/AVPF;unicast;client_port=5000-5001")]);
    assert_eq!(answer.status, 461);
}

#[test]
fn a_storm_of_requests_is_no_amplifier() {
    let Some(scene) = set() else { return };
    let asker = Asker::watch(&scene, &scene.network.a, &scene.url(V6, &format!("{LONG}?rtx")), Udp);
    asker.wait_for_first(100);
    let start = std::time::Instant::now();
    for _ in 0..50 {
        let numbers: Vec<u16> = asker.packets().0.iter().rev().take(300).map(Packet::sequence).collect();
        asker.ask(&numbers);
    }
    let silent = || asker.again().last().is_some_and(|packet| packet.at.elapsed() > A_WHILE);
    wait_for("something, and then nothing more, to be sent again", SOON, || silent().then_some(()));
    let (first, again) = asker.packets();
    assert_resent(&again, &first, asker.video().label);
    let mut times = std::collections::HashMap::new();
    again.iter().for_each(|packet| *times.entry(original(packet)).or_insert(0) += 1);
    assert!(times.values().all(|times| *times <= MAX_TIMES), "{times:?}");
    let octets: usize = again.iter().map(|packet| packet.octets.len()).sum();
    let declined = |reason| metric(&scene, &format!("flowsteer_resend_declined_total{{reason=\"{reason}\"}}"));
    // What may be saved up, what came in meanwhile, and one packet.
    let rate = (bitrate(&asker) / 8 / 4).max(4096);
    let most = rate.max(32 * 1024) + (start.elapsed().as_secs_f64() * rate as f64) as usize + 1500;
    assert!(octets <= most, "{octets} octets, {most} at most");
    wait_for("the rest to be counted", SOON, || (declined("budget") + declined("repeated") > 1000).then_some(()));
}

/// The pictures' rate in bits a second, as described.
fn bitrate(asker: &Asker<'_>) -> usize {
    let line = asker.viewer.description.lines().find_map(|line| line.strip_prefix("b=AS:"));
    line.expect("a rate").parse::<usize>().expect("a number") * 1000
}

#[test]
fn nothing_from_before_a_seek_is_sent_again() {
    let Some(scene) = set() else { return };
    let mut asker = Asker::watch(&scene, &scene.network.a, &scene.url(V6, &format!("{LONG}?rtx")), Udp);
    let before = asker.wait_for_first(30).last().expect("packets").sequence();
    let info = asker.viewer.seek(30.0).rtp_info();
    let next = info.iter().find(|entry| entry.url == asker.video().url).expect("the pictures are in RTP-Info").seq;
    wait_for("what comes behind the seek", SOON, || asker.packets().0.iter().any(|packet| packet.sequence() == next).then_some(()));
    asker.ask(&[before]);
    let again = asker.settle();
    assert_eq!(again.len(), 1, "{:?}", again.iter().map(original).collect::<Vec<_>>());
    assert_ne!(original(&again[0]), before);
}

#[test]
fn a_connection_loses_nothing_and_nothing_is_sent_again_over_it() {
    let Some(scene) = set() else { return };
    let mut asker = Asker::watch(&scene, &scene.network.a, &scene.url(V6, &format!("{LONG}?rtx")), Interleaved);
    assert!(asker.video().transport.starts_with("RTP/AVPF/TCP;unicast;interleaved=0-1"), "{}", asker.video().transport);
    let first = asker.wait_for_first(30);
    let (ssrc, number) = (asker.video().ssrc, first[2].sequence());
    asker.viewer.connection.send_frame(1, &nack(ssrc, &[number]));
    asker.viewer.connection.request("GET_PARAMETER", &asker.viewer.base.clone(), &[]).ok();
    asker.wait_for_first(first.len() + 30);
    assert_eq!(asker.again().len(), 0);
}
