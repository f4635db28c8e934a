//! Take-overs: what plays on device A moves to device B, with receivers of our own that keep every packet, and with ffmpeg and GStreamer.
//!
//! A's and B's addresses, labels and packets are looked at where they arrive; [`wire`](support::wire) looks at them where they leave.

mod support;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::elementary::{Digest, Unit};
use support::film::{Film, library};
use support::namespaces::Family::{self, V4, V6};
use support::namespaces::Host;
use support::players::{LOST_TO_BYE, Player, RECORDED_LATE, Received, play_with_retina};
use support::recording::{Arrived, Packet};
use support::rtsp::{Connection, Response};
use support::scene::Scene;
use support::server::{ENDS, rtsp_address};
use support::transcript::Vlc;
use support::viewer::Carriage::{self, Interleaved, Udp};
use support::viewer::{Viewer, Watched, assert_contiguous, authority, parameter, units};
use support::wire::{Capture, Datagram};
use support::{SOON, wait_for};

/// A minute, a key picture every two seconds.
const TITLE: &str = "countdown.mp4";
/// Pictures before a take-over begins: well into the title, and away from a key picture.
const BEFORE: usize = 80;
/// The transition window that the server has by default.
const WINDOW: Duration = Duration::from_secs(2);
/// So much later than it is due something may happen on a busy machine.
const LATE: Duration = Duration::from_secs(1);
/// Something is due every 40 ms: where nothing comes to anybody for longer than this, the server is kept from running.
const STILL: Duration = Duration::from_millis(100);

/// Waits until so many pictures have begun to arrive.
#[track_caller]
fn wait_for_pictures(viewer: &Viewer, count: usize) {
    viewer.video().recording.wait_for(&format!("{count} pictures"), SOON * 2, |arrived| (begun(&arrived.rtp) >= count).then_some(()));
}

/// Waits for so many pictures more than there are now.
#[track_caller]
fn wait_for_more_pictures(viewer: &Viewer, count: usize) {
    let now = begun(&viewer.video().packets());
    wait_for_pictures(viewer, now + count);
}

fn begun(packets: &[Packet]) -> usize {
    packets.chunk_by(|before, next| before.timestamp() == next.timestamp()).count()
}

/// Device A plays the title and is some way into it.
#[track_caller]
fn a_plays(scene: &Scene, carriage: Carriage, family: Family) -> Viewer {
    let viewer = Viewer::watch(&scene.network.a, &scene.url(family, TITLE), carriage);
    wait_for_pictures(&viewer, BEFORE);
    viewer
}

/// The URL by which another device takes over all that `viewer` plays.
#[track_caller]
fn url_to_take_all(scene: &Scene, viewer: &Viewer, family: Family) -> String {
    let url = scene.operator().takeover_url(&viewer.video().home, family, "presentation");
    assert!(url.contains("/all?key="), "{url}");
    url
}

/// Device B takes all that `viewer` plays.
#[track_caller]
fn b_takes(scene: &Scene, viewer: &Viewer, carriage: Carriage, family: Family) -> Viewer {
    let url = url_to_take_all(scene, viewer, family);
    Viewer::watch(&scene.network.b, &url, carriage)
}

#[track_caller]
fn wait_for_bye(track: &Watched) -> Instant {
    track.recording.wait_for(&format!("BYE to the old {}", track.media), SOON * 2, Arrived::bye_at)
}

#[track_caller]
fn digests(units: &[Unit]) -> Vec<Digest> {
    units.iter().map(|unit| unit.digest).collect()
}

/// Where in the film a viewer's pictures begin, and how many there are; they are checked to be as in the file, one after the other.
#[track_caller]
fn pictures_in(film: &Film, whose: &str, viewer: &Viewer) -> (usize, usize) {
    let pictures = digests(&viewer.video().units());
    (film.locate_pictures(&format!("{whose}'s pictures"), &pictures), pictures.len())
}

/// As [`pictures_in`], for the sound.
#[track_caller]
fn frames_in(film: &Film, whose: &str, viewer: &Viewer) -> (usize, usize) {
    let frames = digests(&viewer.audio().units());
    (film.locate_frames(&format!("{whose}'s audio frames"), &frames), frames.len())
}

/// B's first picture is the last key picture from before B's PLAY left. A, which has played from the film's beginning, has got the next
/// one after that, or so shortly before that it was not yet to be shown.
#[track_caller]
fn assert_last_key_picture(film: &Film, first: usize, a: &[Packet], decided: Instant) {
    assert!(film.video[first].key && first >= BEFORE / 50 * 50, "B's first picture is the film's {first}");
    let next = a.chunk_by(|before, next| before.timestamp() == next.timestamp()).nth(first + 50);
    let had = next.map(|packets| decided.saturating_duration_since(packets[0].at)).unwrap_or_default();
    assert!(had < Duration::from_millis(200), "B's first picture is the film's {first}, and A had the next key picture {had:?} ago");
}

/// For how long between two times the server stood still: by what came of it to all devices.
fn stood_still<'p>(packets: impl Iterator<Item = &'p Packet>, (from, until): (Instant, Instant)) -> Duration {
    let times = packets.map(|packet| packet.at).filter(|at| (from..until).contains(at));
    let mut times: Vec<Instant> = times.chain([from, until]).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).filter(|pause| *pause > STILL).sum()
}

/// A window that began between those two times is kept: it ends not before its time, and soon after that, but for how long the server
/// stood still meanwhile.
#[track_caller]
fn assert_window_is_over(what: &str, at: Instant, (decided, answered): (Instant, Instant), still: Duration) {
    let (least, most) = (at.saturating_duration_since(decided), at.saturating_duration_since(answered));
    let tolerated = Duration::from_millis(20);
    assert!(
        least + tolerated >= WINDOW && most <= WINDOW + LATE + still,
        "{what} comes {least:?} after PLAY and {most:?} after its answer; for {still:?} nothing came"
    );
}

/// What was on the wire at one device, for one track.
struct Side {
    media: String,
    home: String,
    label: u32,
    /// Over UDP and IPv6.
    is_labelled: bool,
    ssrc: u32,
    url: String,
    clock_rate: u32,
    arrived: Arrived,
}

impl Side {
    fn of(viewer: &Viewer) -> Vec<Self> {
        let side = |track: &Watched| Self {
            media: track.media.clone(),
            home: track.home.clone(),
            label: track.label,
            is_labelled: parameter(&track.transport, "source").is_some_and(|source| source.contains(':')),
            ssrc: track.ssrc,
            url: track.url.clone(),
            clock_rate: track.clock_rate,
            arrived: track.recording.so_far(),
        };
        viewer.tracks.iter().map(side).collect()
    }

    #[track_caller]
    fn units(&self) -> Vec<Unit> {
        units(&self.media, &self.arrived.rtp)
    }
}

/// A take-over from A to B, from before it to well after its window.
struct Swap {
    film: Arc<Film>,
    /// When B's PLAY left, and its answer.
    decided: Instant,
    answer: Response,
    a: Vec<Side>,
    b: Vec<Side>,
    /// The API's view in the window.
    session: Value,
}

impl Swap {
    fn run(a: (Carriage, Family), b: (Carriage, Family)) -> Option<Self> {
        let scene = Scene::set()?;
        let old = a_plays(&scene, a.0, a.1);
        let url = url_to_take_all(&scene, &old, b.1);
        let mut new = Viewer::open(&scene.network.b, &url, b.0);
        let decided = Instant::now();
        let answer = new.play();
        let session = scene.operator().session();
        old.tracks.iter().for_each(|track| {
            wait_for_bye(track);
        });
        for (old, new) in old.tracks.iter().zip(&new.tracks) {
            let last = old.packets().last().expect("packets").sequence();
            let is_beyond = |packet: &Packet| packet.sequence().wrapping_sub(last).cast_signed() > 0;
            new.recording.wait_for("B to be beyond A", SOON, |arrived| arrived.rtp.last().is_some_and(is_beyond).then_some(()));
        }
        wait_for_more_pictures(&new, 25);
        Some(Self { film: Film::named(TITLE), decided, answer, a: Side::of(&old), b: Side::of(&new), session })
    }

    fn tracks(&self) -> impl Iterator<Item = (&Side, &Side)> {
        self.a.iter().zip(&self.b)
    }

    /// See [`stood_still`]: since the decision.
    fn stood_still(&self, until: Instant) -> Duration {
        stood_still(self.a.iter().chain(&self.b).flat_map(|side| &side.arrived.rtp), (self.decided, until))
    }

    fn b_starts_with_a_key_picture(&self) {
        let video = &self.b[0];
        let first = &video.units()[0];
        assert!(first.key, "the first picture on B");
        assert_eq!(first.sequence, video.arrived.rtp[0].sequence(), "the first packet on B belongs to it");
        let payload = video.arrived.rtp[0].payload();
        let leads = if payload[0] & 0x1f == 24 { payload[3] & 0x1f } else { payload[0] & 0x1f };
        assert_eq!(leads, 7, "the first NAL unit on B is a sequence parameter set");
        assert_last_key_picture(&self.film, self.first_of_b(), &self.a[0].arrived.rtp, self.decided);
    }

    /// The place of B's first picture in the film.
    #[track_caller]
    fn first_of_b(&self) -> usize {
        self.film.locate_pictures("B's pictures", &digests(&self.b[0].units()))
    }

    fn b_is_contiguous_from_its_first_packet(&self) {
        for side in self.a.iter().chain(&self.b) {
            assert_contiguous(&side.media, &side.arrived.rtp);
        }
    }

    fn both_get_the_same_octets(&self) {
        for (a, b) in self.tracks() {
            assert_eq!((a.ssrc, a.label, &a.home), (b.ssrc, b.label, &b.home), "SSRC, flow label and home address of the {}", a.media);
            let of_b: HashMap<u16, &Packet> = b.arrived.rtp.iter().map(|packet| (packet.sequence(), packet)).collect();
            let begins = b.arrived.rtp[0].sequence();
            let begins = a.arrived.rtp.iter().position(|packet| packet.sequence() == begins).expect("A had B's first packet before");
            for packet in &a.arrived.rtp[begins..] {
                let twin = of_b.get(&packet.sequence()).unwrap_or_else(|| panic!("packet {} of the {}", packet.sequence(), a.media));
                assert_eq!(packet.octets, twin.octets, "packet {} of the {}", packet.sequence(), a.media);
            }
            let until = a.arrived.rtp.iter().take_while(|packet| packet.at <= self.decided).count();
            let in_window = begun(&a.arrived.rtp[until..]);
            // What was due while the server stood still may have come too late for the window.
            let still = self.stood_still(a.arrived.bye_at().expect("it was waited for"));
            let least = 25.0 * (1.0 - still.as_secs_f64() / WINDOW.as_secs_f64());
            assert!(in_window as f64 >= least, "of two seconds of {} A gets {in_window} in the window, {still:?} of it still", a.media);
        }
    }

    fn the_window_is_as_long_as_promised(&self) {
        for side in &self.a {
            let bye = side.arrived.bye_at().expect("it was waited for");
            let still = self.stood_still(bye);
            assert_window_is_over(&format!("BYE to the old {}", side.media), bye, (self.decided, self.answer.at), still);
            let last = side.arrived.rtp[side.arrived.rtp.len() - 1].at - self.decided;
            assert!(last + LATE + still >= WINDOW, "the last packet of the old {} comes {last:?} after the decision", side.media);
        }
    }

    fn bye_goes_to_the_old_branch_alone(&self) {
        let byes: Vec<Instant> = self.a.iter().filter_map(|side| side.arrived.bye_at()).collect();
        assert_eq!(byes.len(), 2, "tracks of A with a BYE");
        let apart = byes[1].max(byes[0]) - byes[0].min(byes[1]);
        assert!(apart < LATE, "BYE on both tracks together, not {apart:?} apart");
        assert!(self.b.iter().all(|side| side.arrived.bye_at().is_none()), "no BYE to B");
    }

    fn together_they_miss_nothing(&self) {
        for (a, b) in self.tracks() {
            let (of_a, of_b) = (digests(&a.units()), digests(&b.units()));
            let locate = |whose: &str, digests: &[Digest]| match &*a.media {
                "video" => self.film.locate_pictures(whose, digests),
                _ => self.film.locate_frames(whose, digests),
            };
            let (first_a, first_b) = (locate("A", &of_a), locate("B", &of_b));
            assert_eq!(first_a, 0, "the first unit of {} on A", a.media);
            assert!(first_b <= of_a.len(), "B begins at unit {first_b} of {}, A had {}", a.media, of_a.len());
            assert!(first_b + of_b.len() > of_a.len(), "B goes on where A ended");
        }
    }

    fn the_answer_says_where_it_really_is(&self) {
        let key = &self.film.video[self.first_of_b()];
        let start = self.answer.range_start();
        assert!((start - key.time).abs() < 0.005, "Range starts at {start} s, the key picture is at {} s", key.time);
        let entries = self.answer.rtp_info();
        for side in &self.b {
            let entry = entries.iter().find(|entry| entry.url == side.url).unwrap_or_else(|| panic!("no {} in {entries:?}", side.url));
            let first = &side.arrived.rtp[0];
            assert_eq!(entry.seq, first.sequence(), "the first packet of the {} is the one that RTP-Info names", side.media);
            // The timestamp at Range's start, not the first packet's own: they differ by no more than an audio frame or a picture.
            let apart = first.timestamp().wrapping_sub(entry.rtptime).cast_signed().unsigned_abs();
            assert!(apart <= side.clock_rate / 20, "rtptime of the {} is {apart} ticks from its first packet's", side.media);
        }
    }

    fn a_report_comes_with_the_first_packet(&self) {
        for side in self.a.iter().chain(&self.b) {
            let first = side.arrived.rtp[0].at;
            let report = side.arrived.rtcp.iter().find(|packet| packet.sender_report().is_some()).expect("a Sender Report");
            let apart = report.at.max(first) - report.at.min(first);
            assert!(apart < LATE, "the first Sender Report of the {} is {apart:?} from the first packet", side.media);
        }
    }

    fn labels_are_equal_everywhere(&self) {
        let flows = self.session["flows"].as_array().expect("flows are listed");
        for side in self.a.iter().chain(&self.b) {
            let flow = flows.iter().find(|flow| flow["homeAddress"] == side.home.as_str()).expect("the API knows the home address");
            let label = format!("0x{:05x}", side.label);
            assert_eq!(
                (&flow["flowLabel"], &flow["filter"]["authorised"]),
                (&json!(label), &json!(label)),
                "the API's label of {}",
                side.media
            );
            assert_eq!(flow["ssrc"], json!(format!("0x{:08x}", side.ssrc)), "the API's SSRC");
            let seen: Vec<_> = side.arrived.rtp.iter().chain(&side.arrived.rtcp).map(|packet| packet.label).collect();
            let expected = side.is_labelled.then_some(side.label);
            assert!(!seen.is_empty() && seen.iter().all(|label| *label == expected), "the {}: {expected:x?}, {seen:x?}", side.media);
        }
        let labels: Vec<u32> = self.b.iter().map(|side| side.label).collect();
        assert!(labels[0] != labels[1] && !labels.contains(&0), "each flow has a label of its own: {labels:x?}");
    }

    fn is_as_promised(&self) {
        self.b_starts_with_a_key_picture();
        self.b_is_contiguous_from_its_first_packet();
        self.both_get_the_same_octets();
        self.the_window_is_as_long_as_promised();
        self.bye_goes_to_the_old_branch_alone();
        self.together_they_miss_nothing();
        self.the_answer_says_where_it_really_is();
        self.a_report_comes_with_the_first_packet();
        self.labels_are_equal_everywhere();
    }
}

/// The plain case, run once and looked at from many sides.
mod a_take_over_over_udp_and_ipv6 {
    use super::*;

    fn swap() -> Option<&'static Swap> {
        static SWAP: OnceLock<Option<Swap>> = OnceLock::new();
        SWAP.get_or_init(|| Swap::run((Udp, V6), (Udp, V6))).as_ref()
    }

    macro_rules! promises {
        ($($promise:ident),*) => {
            $(
                #[test]
                fn $promise() {
                    let Some(swap) = swap() else { return };
                    swap.$promise();
                }
            )*
        };
    }

    promises!(
        b_starts_with_a_key_picture,
        b_is_contiguous_from_its_first_packet,
        both_get_the_same_octets,
        the_window_is_as_long_as_promised,
        bye_goes_to_the_old_branch_alone,
        together_they_miss_nothing,
        the_answer_says_where_it_really_is,
        a_report_comes_with_the_first_packet,
        labels_are_equal_everywhere
    );
}

#[test]
fn a_flow_moves_from_udp_into_a_connection() {
    let Some(swap) = Swap::run((Udp, V6), (Interleaved, V6)) else { return };
    swap.is_as_promised();
}

#[test]
fn a_flow_moves_out_of_a_connection_to_udp() {
    let Some(swap) = Swap::run((Interleaved, V6), (Udp, V6)) else { return };
    swap.is_as_promised();
}

#[test]
fn a_flow_moves_from_connection_to_connection() {
    let Some(swap) = Swap::run((Interleaved, V4), (Interleaved, V6)) else { return };
    swap.is_as_promised();
}

#[test]
fn a_flow_moves_from_ipv6_to_ipv4_and_keeps_its_label_inside() {
    let Some(swap) = Swap::run((Udp, V6), (Udp, V4)) else { return };
    swap.is_as_promised();
}

#[test]
fn a_flow_moves_from_ipv4_to_ipv6() {
    let Some(swap) = Swap::run((Udp, V4), (Udp, V6)) else { return };
    swap.is_as_promised();
}

#[test]
fn every_datagram_leaves_with_the_flow_label_of_its_flow() {
    let Some(scene) = Scene::set() else { return };
    let server = &scene.network.server;
    server.switch_segmentation_offload_off();
    let capture = Capture::start(server);
    let a = a_plays(&scene, Udp, V6);
    let b = b_takes(&scene, &a, Udp, V6);
    a.tracks.iter().for_each(|track| {
        wait_for_bye(track);
    });
    let seen = capture.end(server);
    for (viewer, host) in [(&a, &scene.network.a), (&b, &scene.network.b)] {
        for track in &viewer.tracks {
            let rtp_port = track.ports.as_ref().expect("over UDP").rtp_port;
            for (port, from) in [(rtp_port, 8000), (rtp_port + 1, 8001)] {
                let to_it: Vec<_> = seen.iter().filter(|datagram| datagram.port == port && datagram.to == host.v6.to_string()).collect();
                assert!(!to_it.is_empty(), "datagrams to port {port} of {}", host.name);
                for datagram in &to_it {
                    assert_eq!(datagram.label, Some(track.label), "the label of the {} to {}", track.media, host.name);
                    assert_eq!(datagram.source_port, from, "the port it comes from");
                    assert!(datagram.length <= 1500, "a datagram of {} octets", datagram.length);
                }
            }
            let is_its = |datagram: &&Datagram| datagram.port == rtp_port && datagram.to == host.v6.to_string();
            let sent: Vec<&[u8]> = seen.iter().filter(is_its).map(|datagram| &datagram.payload[..]).collect();
            track.recording.wait_for("all that left", SOON, |arrived| (arrived.rtp.len() >= sent.len()).then_some(()));
            let came = track.packets();
            let came: Vec<&[u8]> = came.iter().map(|packet| &packet.octets[..]).take(sent.len()).collect();
            assert_eq!(sent.len(), came.len(), "datagrams that left and datagrams that came");
            assert!(sent == came, "what left is what came to {}", host.name);
        }
    }
}

#[test]
fn a_wrong_key_is_refused_and_changes_nothing() {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays(&scene, Udp, V6);
    let url = url_to_take_all(&scene, &a, V6);
    let (base, key) = url.split_once("?key=").expect("a key");
    let last_but_one = key.len() - 2;
    let other = if key.as_bytes()[last_but_one] == b'A' { 'B' } else { 'A' };
    let forged = format!("{base}?key={}{other}{}", &key[..last_but_one], &key[last_but_one + 1..]);
    for url in [forged, base.to_owned(), format!("{base}?key="), format!("{base}?key=%00"), format!("{base}?key={}", &key[..20])] {
        let mut connection = Connection::open(&scene.network.b, authority(&url));
        assert_eq!(connection.request("DESCRIBE", &url, &[("Accept", "application/sdp")]).status, 401, "DESCRIBE {url}");
        let track = format!("{base}/trackID=0?{}", url.split_once('?').map_or("", |(_, query)| query));
        let setup = connection.request("SETUP", &track, &[("Transport", "RTP/AVP;unicast;client_port=40000-40001")]);
        assert_eq!(setup.status, 401, "SETUP {track}");
    }
    wait_for_more_pictures(&a, 60);
    assert_only_one_branch_each(&scene);
    assert!(a.tracks.iter().all(|track| track.recording.so_far().bye_at().is_none()), "nobody says BYE to A");
    assert_eq!(pictures_in(&Film::named(TITLE), "A", &a).0, 0);
}

#[track_caller]
fn assert_only_one_branch_each(scene: &Scene) {
    let session = scene.operator().session();
    for flow in session["flows"].as_array().expect("flows are listed") {
        assert_eq!(flow["branches"].as_array().map(Vec::len), Some(1), "branches of {flow:#}");
    }
}

#[test]
fn a_setup_that_no_play_follows_changes_nothing() {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays(&scene, Udp, V6);
    let b = Viewer::open(&scene.network.b, &url_to_take_all(&scene, &a, V6), Udp);
    assert_only_one_branch_each(&scene);
    // Beyond what a transition window would take.
    wait_for_more_pictures(&a, 75);
    assert_only_one_branch_each(&scene);
    assert!(a.tracks.iter().all(|track| track.recording.so_far().bye_at().is_none()), "nobody says BYE to A");
    assert!(b.tracks.iter().all(|track| track.recording.count() == 0), "B gets nothing");
}

#[test]
fn in_a_fork_b_seeks_and_a_plays_on_without_a_reset() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let mut a = a_plays(&scene, Udp, V6);
    let url = url_to_take_all(&scene, &a, V6) + "&mode=fork";
    let mut b = Viewer::watch(&scene.network.b, &url, Udp);
    wait_for_more_pictures(&a, 75);
    assert!(a.tracks.iter().all(|track| track.recording.so_far().bye_at().is_none()), "a fork ends nobody");
    let answer = b.seek(31.0);
    assert!((answer.range_start() - 30.0).abs() < 0.005, "the seek lands on the key picture at 30 s: {}", answer.range_start());
    wait_for_more_pictures(&a, 75);
    wait_for_more_pictures(&b, 50);
    for viewer in [&a, &b] {
        let video = viewer.video();
        let units = video.units();
        let landed = units.iter().position(|unit| unit.digest == film.video[750].digest).expect("the key picture at 30 s");
        film.locate_pictures("pictures after the seek", &digests(&units[landed..]));
        film.locate_pictures("pictures before the seek", &digests(&units[..landed]));
        assert!(units.len() - landed >= 40, "pictures after the seek");
        assert!(video.packets().iter().all(|packet| packet.ssrc() == video.ssrc), "one SSRC throughout");
        for track in &viewer.tracks {
            // Time runs on: in sending order no timestamp is further from the one before than the pictures' order accounts for.
            for pair in track.units().windows(2) {
                let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed().unsigned_abs();
                assert!(step < track.clock_rate / 4, "the {}'s timestamps jump by {step} ticks", track.media);
            }
        }
    }
    // Both are on the same packets.
    let of_a: HashMap<u16, Packet> = a.video().packets().into_iter().map(|packet| (packet.sequence(), packet)).collect();
    let with_twin = |packet: Packet| {
        let twin = of_a.get(&packet.sequence())?;
        Some((packet, twin))
    };
    let of_both: Vec<(Packet, &Packet)> = b.video().packets().into_iter().filter_map(with_twin).collect();
    assert!(of_both.len() > 100, "A and B see the same packets, {} of them", of_both.len());
    assert!(of_both.iter().all(|(of_b, of_a)| of_b.octets == of_a.octets), "A and B see the same packets");
    // Whoever leaves a fork takes nothing along.
    b.tear_down();
    wait_for_more_pictures(&a, 25);
    assert_only_one_branch_each(&scene);
    a.tear_down();
}

#[test]
fn the_picture_moves_alone_and_the_sound_stays() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let a = a_plays(&scene, Udp, V6);
    let url = scene.operator().takeover_url(&a.video().home, V6, "flow");
    assert!(!url.contains("/all"), "{url}");
    let b = Viewer::watch(&scene.network.b, &url, Udp);
    assert_eq!(b.tracks.iter().map(|track| &track.media[..]).collect::<Vec<_>>(), ["video"], "what B is offered");
    wait_for_bye(a.video());
    wait_for_more_pictures(&b, 75);
    assert!(a.audio().recording.so_far().bye_at().is_none(), "the sound stays with A");
    let ((first_a, of_a), (first_b, of_b)) = (pictures_in(&film, "A", &a), pictures_in(&film, "B", &b));
    let (first, frames) = frames_in(&film, "A", &a);
    assert_eq!((first, first_a), (0, 0));
    assert!(first_b <= of_a && first_b + of_b > of_a, "B's pictures from {first_b} on go on where A's {of_a} end");
    let heard = film.audio[frames - 1].time;
    assert!(heard > film.video[first_b + of_b - 1].time - 0.5, "the sound has come to {heard} s");
}

#[test]
fn a_take_over_of_a_paused_presentation_resumes_it_where_it_is() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let mut a = a_plays(&scene, Udp, V6);
    a.pause();
    // What is sent last may be a key picture that is not to be shown yet.
    let stands = scene.operator().wait_for_state("paused")["positionSeconds"].as_f64().expect("a position");
    a.video().recording.wait_for_silence(Duration::from_millis(300), SOON);
    let before = pictures_in(&film, "A", &a);
    let b = b_takes(&scene, &a, Udp, V6);
    scene.operator().wait_for_state("playing");
    wait_for_more_pictures(&b, 60);
    let (first, count) = pictures_in(&film, "B", &b);
    assert!(film.video[first].key && first == film.key_at_or_before(stands), "B begins with picture {first}, A stood at {stands} s");
    assert!(first <= before.1 && first + count > before.1, "B goes on where A stood");
    frames_in(&film, "B", &b);
}

#[test]
fn a_take_over_during_a_window_works() {
    // Long enough for C to come in time.
    let Some(scene) = Scene::set_with(&library(), &["--transition", "5000"]) else { return };
    let film = Film::named(TITLE);
    let a = a_plays(&scene, Udp, V6);
    let b = b_takes(&scene, &a, Udp, V6);
    wait_for_more_pictures(&b, 20);
    assert!(a.video().recording.so_far().bye_at().is_none(), "A's window still runs");
    let c = Viewer::watch(&scene.network.a, &url_to_take_all(&scene, &b, V6), Interleaved);
    // The window begins anew for everybody who has the flow: A and B leave together.
    let last = [&a, &b].map(|viewer| {
        wait_for_bye(viewer.video());
        viewer.video().packets().last().expect("a packet").octets.clone()
    });
    assert_eq!(last[0], last[1], "the last packet of A and of B");
    wait_for_more_pictures(&c, 50);
    let viewers = [("A", &a), ("B", &b), ("C", &c)];
    let pictures = viewers.map(|(whose, viewer)| pictures_in(&film, whose, viewer));
    let frames = viewers.map(|(whose, viewer)| frames_in(&film, whose, viewer));
    for pieces in [pictures, frames] {
        assert_eq!(pieces[0].0, 0);
        for pair in pieces.windows(2) {
            assert!(pair[1].0 <= pair[0].0 + pair[0].1, "nothing is missing between one device and the next: {pieces:?}");
        }
    }
    assert!(c.tracks.iter().all(|track| track.recording.so_far().bye_at().is_none()), "C plays on");
    assert_only_one_branch_each(&scene);
}

#[test]
fn taking_back_skips_nothing_that_the_viewer_has_not_seen() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let a = a_plays(&scene, Udp, V6);
    let position = || scene.operator().session()["positionSeconds"].as_f64().expect("a position");
    let taken = position();
    let b = b_takes(&scene, &a, Udp, V6);
    let taken = taken..position();
    wait_for_bye(a.video());
    wait_for_more_pictures(&b, 20);
    let url = url_to_take_all(&scene, &b, V6);
    let session = scene.operator().session();
    let lag = session["flows"][0]["branches"][0]["lagMs"].as_f64().expect("a branch has its lag") / 1000.0;
    let began = film.video[pictures_in(&film, "B", &b).0].time;
    assert!(
        lag > taken.start - began - 0.1 && lag < taken.end - began + 0.1,
        "B began at the key picture at {began} s when A was between {taken:?} s: its lag is {lag} s"
    );
    let before = position();
    let again = Viewer::watch(&scene.network.a, &url, Udp);
    let after = position();
    wait_for_bye(b.video());
    wait_for_more_pictures(&again, 25);
    let (first, count) = pictures_in(&film, "A", &again);
    assert!(film.video[first].key, "a key picture");
    // What B shows is its lag behind; the key picture is at or before that, and no more than one distance before.
    let shown = before - lag..after - lag;
    let begins = film.video[first].time;
    assert!(begins <= shown.end + 0.1 && begins > shown.start - 2.2, "B shows {shown:?} s, A begins at {begins} s");
    let (first_b, of_b) = pictures_in(&film, "B", &b);
    assert!(first <= first_b + of_b && first + count > first_b + of_b, "A goes on where B ended");
    frames_in(&film, "A", &again);
}

#[test]
fn the_old_players_end_no_longer_matters() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let mut a = a_plays(&scene, Udp, V6);
    let decided = Instant::now();
    let b = b_takes(&scene, &a, Udp, V6);
    let play = |a: &mut Viewer| a.connection.request("PLAY", &a.base.clone(), &[("Range", "npt=0.000-")]).status;
    let status = play(&mut a);
    // Where we come late to ask, it has left.
    assert!(status == 455 || status == 454 && decided.elapsed() >= WINDOW, "a session that is leaving steers nothing: {status}");
    wait_for_bye(a.video());
    assert!([454, 455].contains(&play(&mut a)), "a session that has left steers nothing");
    let of_a = a.video().packets();
    a.connection.request("TEARDOWN", &a.base.clone(), &[]);
    wait_for_more_pictures(&b, 50);
    drop(a);
    wait_for_more_pictures(&b, 25);
    let (first, count) = pictures_in(&film, "B", &b);
    assert_last_key_picture(&film, first, &of_a, decided);
    assert!(count > 100);
    scene.operator().wait_for_state("playing");
}

#[test]
fn the_old_connection_is_closed_where_no_teardown_comes() {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays(&scene, Interleaved, V6);
    let b = b_takes(&scene, &a, Udp, V6);
    let bye = wait_for_bye(a.video());
    wait_for("the old connection to be closed", SOON, || a.connection.is_closed().then_some(()));
    let after = bye.elapsed();
    assert!(after > LATE && after < Duration::from_secs(7), "closed {after:?} after the BYE");
    wait_for_more_pictures(&b, 25);
    scene.operator().wait_for_state("playing");
}

#[test]
fn a_server_that_is_told_to_end_says_bye_on_every_branch() {
    let Some(mut scene) = Scene::set() else { return };
    let a = a_plays(&scene, Udp, V6);
    let url = url_to_take_all(&scene, &a, V6);
    let b = Viewer::watch(&scene.network.b, &format!("{url}&mode=fork"), Interleaved);
    let c = Viewer::watch(&scene.network.b, &scene.url(V4, TITLE), Interleaved);
    for viewer in [&a, &b, &c] {
        wait_for_more_pictures(viewer, 10);
    }
    let begun = Instant::now();
    let status = scene.server.terminate();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < ENDS, "it took {:?}", begun.elapsed());
    for track in [&a, &b, &c].iter().flat_map(|viewer| &viewer.tracks) {
        wait_for_bye(track);
    }
}

#[test]
fn a_connection_with_a_backlog_still_gets_its_bye_when_the_server_ends() {
    let settings = tempfile::tempdir().expect("a folder");
    let file = settings.path().join("flowsteer.toml");
    std::fs::write(&file, "rtsp.interleaved_queue = 65536\n").expect("written");
    let Some(mut scene) = Scene::set_with(&library(), &["--config", file.to_str().expect("UTF-8")]) else { return };
    let (url, to) = (scene.url(V4, TITLE), rtsp_address(&scene.network.server, V4));
    let mut stream: TcpStream = scene.network.a.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // So that little fits between the server and a player that does not read.
        socket.set_recv_buffer_size(32 * 1024).expect("possible");
        socket.connect(&to.into()).expect("the server listens");
        socket.into()
    });
    stream.set_read_timeout(Some(SOON)).expect("possible");
    let mut ask = |method: &str, url: &str, header: &str| {
        stream.write_all(format!("{method} {url} RTSP/1.0\r\nCSeq: 1\r\n{header}\r\n\r\n").as_bytes()).expect("it takes a request");
        let (mut answer, mut octet) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut octet).expect("an answer");
            answer.push(octet[0]);
        }
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("RTSP/1.0 200"), "{answer}");
        answer
    };
    let answer = ask("SETUP", &format!("{url}/trackID=0"), "Transport: RTP/AVP/TCP;unicast;interleaved=0-1");
    let session = answer.lines().find_map(|line| line.strip_prefix("Session: ")).expect("a session");
    let session = session.split(';').next().expect("splitting gives one at least");
    ask("PLAY", &url, &format!("Session: {session}"));
    wait_for("media that the connection does not take", SOON * 3, || {
        let metrics = scene.operator().get("/metrics").text();
        metrics.lines().any(|line| line.contains("interleaved_full") && !line.ends_with(" 0")).then_some(())
    });
    let reader = thread::spawn(move || {
        let mut last = Vec::new();
        // A reset at the end is one as well.
        let _ = stream.read_to_end(&mut last);
        last
    });
    let begun = Instant::now();
    let status = scene.server.terminate();
    assert!(status.success() && begun.elapsed() < ENDS, "{status} after {:?}", begun.elapsed());
    let received = reader.join().expect("it only reads");
    // The last frame is RTCP, the last packet in it a BYE of one source, which gives no reason.
    let bye = received.len().checked_sub(8).map(|at| (received[at], received[at + 1]));
    assert_eq!(bye, Some((0x81, 203)), "{} octets came", received.len());
}

#[test]
fn the_new_player_steers_the_presentation() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let a = a_plays(&scene, Udp, V6);
    let mut b = b_takes(&scene, &a, Udp, V6);
    wait_for_bye(a.video());
    b.pause();
    scene.operator().wait_for_state("paused");
    b.video().recording.wait_for_silence(Duration::from_millis(300), SOON);
    let before = b.video().recording.count();
    b.resume();
    wait_for_more_pictures(&b, 25);
    assert_contiguous("the picture across the pause", &b.video().packets());
    pictures_in(&film, "B", &b);
    let asked = Instant::now();
    let answer = b.seek(41.0);
    wait_for_more_pictures(&b, 50);
    let first = answer.rtp_info().into_iter().find(|entry| entry.url == b.video().url).expect("the video in RTP-Info").seq;
    let packets = b.video().packets();
    let landed = packets.iter().position(|packet| packet.sequence() == first).expect("the packet that RTP-Info names");
    assert!(landed > before);
    let after = units("video", &packets[landed..]);
    assert_eq!(film.locate_pictures("pictures after the seek", &digests(&after)), 1000, "the key picture at 40 s");
    assert!(packets[landed].at > asked, "nothing new before it was asked for");
    b.tear_down();
    wait_for("the presentation to end", SOON, || scene.operator().sessions().is_empty().then_some(()));
}

#[test]
fn a_crashed_players_presentation_lingers_and_is_resumed_by_the_url() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let a = a_plays(&scene, Interleaved, V6);
    let url = url_to_take_all(&scene, &a, V6);
    let recordings: Vec<_> = a.tracks.iter().map(|track| Arc::clone(&track.recording)).collect();
    drop(a);
    let before = scene.operator().wait_for_state("lingering");
    let packets = recordings[0].so_far().rtp;
    assert_contiguous("the picture on A", &packets);
    let seen = units("video", &packets);
    assert_eq!(film.locate_pictures("A's pictures", &digests(&seen)), 0);
    thread::sleep(Duration::from_millis(500));
    let after = scene.operator().session();
    assert_eq!((&after["state"], &after["positionSeconds"]), (&json!("lingering"), &before["positionSeconds"]), "it keeps its place");
    let b = Viewer::watch(&scene.network.b, &url, Udp);
    scene.operator().wait_for_state("playing");
    wait_for_more_pictures(&b, 60);
    let (first, count) = pictures_in(&film, "B", &b);
    assert!(film.video[first].key, "B begins with a key picture");
    assert!(
        first <= seen.len() && first + count > seen.len(),
        "B goes on where A broke off: {first} to {}, A had {}",
        first + count,
        seen.len()
    );
    frames_in(&film, "B", &b);
}

#[test]
fn a_udp_viewer_outlives_its_rtsp_connection() {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays(&scene, Udp, V6);
    let Viewer { connection, tracks, .. } = a;
    drop(connection);
    let now = tracks[0].recording.count();
    tracks[0].recording.wait_for("100 packets more", SOON * 2, |arrived| (arrived.rtp.len() > now + 100).then_some(()));
    assert_eq!(scene.operator().session()["state"], "playing");
}

#[test]
fn the_command_line_hands_out_the_url() {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays(&scene, Udp, V6);
    let output = scene.operator().flowsteer(&["context", &a.video().home, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let context: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let url = scene.operator().reach_over(context["takeoverUrl"].as_str().expect("a URL"), V6);
    let b = Viewer::watch(&scene.network.b, &url, Udp);
    wait_for_bye(a.video());
    wait_for_more_pictures(&b, 10);
}

/// Fifteen seconds, for players that are waited for until the end.
const SHORTER: &str = "films/evening.mp4";

/// Plays on a device to the end, with that going on besides.
fn plays<T>(player: Player, host: &Host, url: &str, carriage: Carriage, limit: Duration, besides: impl FnOnce() -> T) -> (Received, T) {
    if player == Player::Retina {
        return thread::scope(|scope| {
            let playing = scope.spawn(|| play_with_retina(host, url, carriage, |_| false));
            let done = besides();
            (playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), done)
        });
    }
    let running = player.play(host, url, carriage);
    let done = besides();
    (running.end(limit), done)
}

/// A plays [`SHORTER`] and is some way into it.
#[track_caller]
fn a_plays_the_shorter(scene: &Scene, family: Family) -> Viewer {
    let a = Viewer::watch(&scene.network.a, &scene.url(family, SHORTER), Udp);
    wait_for_pictures(&a, BEFORE);
    a
}

/// What A had and what the player has got make up all of [`SHORTER`].
#[track_caller]
fn assert_taken_over(a: &Viewer, received: &Received) {
    let film = Film::named(SHORTER);
    let ((first_a, of_a), (first_frame_a, frames_a)) = (pictures_in(&film, "A", a), frames_in(&film, "A", a));
    assert_eq!((first_a, first_frame_a), (0, 0));
    let recorded = film.locate_pictures("the player's pictures", &received.pictures);
    let first = received.shown.map_or(recorded, |shown| film.video.len() - shown);
    assert!(recorded - first <= RECORDED_LATE, "it shows pictures from {first} on, and has got those from {recorded} on");
    assert!(film.video[first].key, "the player's first picture is the file's {first}");
    assert!(first <= of_a, "nothing is missing between A's {of_a} pictures and the player's from {first} on");
    assert_eq!(recorded + received.pictures.len(), film.video.len(), "the player gets everything up to the end");
    let first = film.locate_frames("the player's sound", &received.frames);
    assert!(first <= frames_a, "nothing is missing between A's {frames_a} audio frames and the player's from {first} on");
    let missing = film.audio.len() - first - received.frames.len();
    assert!(missing == 0 || received.shown.is_some() && missing <= LOST_TO_BYE, "{missing} of the last audio frames are missing");
}

/// A real player takes over from our receiver and plays to the end.
fn takes_over(player: Player, carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays_the_shorter(&scene, family);
    let url = url_to_take_all(&scene, &a, family);
    let (received, ()) = plays(player, &scene.network.b, &url, carriage, Duration::from_secs(25), || {
        a.tracks.iter().for_each(|track| {
            wait_for_bye(track);
        });
    });
    assert_taken_over(&a, &received);
}

/// What live555 says, as the one that takes over: by its URLs, its datagrams to open the way, and the start position that it sends.
fn live555_takes_over(carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let a = a_plays_the_shorter(&scene, family);
    let mut vlc = Vlc::open(&scene.network.b, &url_to_take_all(&scene, &a, family), carriage);
    for track in 0..vlc.tracks.len() {
        vlc.set_up(track).ok();
        vlc.open_the_way(track);
    }
    let answer = vlc.play(Some(0.0)).ok();
    a.tracks.iter().for_each(|track| {
        wait_for_bye(track);
    });
    let mut received = Received::default();
    for (index, track) in vlc.tracks.iter().enumerate() {
        track.recording.wait_for("BYE at the title's end", SOON * 2, Arrived::bye_at);
        let arrived = track.recording.so_far();
        assert_contiguous(&track.section.media, &arrived.rtp);
        let url = vlc.track_url(index);
        let entry = answer.rtp_info().into_iter().find(|entry| entry.url == url).expect("every track is in RTP-Info");
        assert_eq!(entry.seq, arrived.rtp[0].sequence(), "the first packet is the one that RTP-Info names");
        if carriage == Interleaved {
            vlc.assert_pause(&answer, &arrived.rtp[0]);
        }
        let units = digests(&units(&track.section.media, &arrived.rtp));
        *if track.section.media == "video" { &mut received.pictures } else { &mut received.frames } = units;
    }
    assert_taken_over(&a, &received);
    vlc.tear_down().ok();
    wait_for("the presentation to end", SOON, || scene.operator().sessions().is_empty().then_some(()));
}

/// The URL by which another device takes over what has played for three seconds.
#[track_caller]
fn url_to_take_what_plays(scene: &Scene, family: Family) -> String {
    let session = wait_for("three seconds to have played", SOON * 2, || {
        scene.operator().sessions().pop().filter(|session| session["positionSeconds"].as_f64() > Some(3.0))
    });
    let home = session["flows"][0]["homeAddress"].as_str().expect("a home address");
    scene.operator().takeover_url(home, family, "presentation")
}

/// A real player is taken over from: it ends by itself, soon after the window.
fn is_taken_over_from(player: Player, carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let (received, (b, start)) = plays(player, &scene.network.a, &scene.url(family, TITLE), carriage, Duration::from_secs(10), || {
        let mut b = Viewer::open(&scene.network.b, &url_to_take_what_plays(&scene, family), Udp);
        let decided = Instant::now();
        b.play();
        (b, decided)
    });
    assert!(start.elapsed() >= WINDOW, "the player ends {:?} after the decision", start.elapsed());
    let first = film.locate_pictures("the player's pictures", &received.pictures);
    assert!(first == 0 || received.shown.is_some() && first <= RECORDED_LATE, "the player's first picture is the file's {first}");
    let of_a = first + received.pictures.len();
    assert_eq!(received.shown.unwrap_or(of_a), of_a, "all are shown");
    assert_eq!(film.locate_frames("the player's sound", &received.frames), 0);
    wait_for_more_pictures(&b, 50);
    let (first_b, of_b) = pictures_in(&film, "B", &b);
    assert!(first_b <= of_a && first_b + of_b > of_a, "B's pictures from {first_b} on go on where the player's {of_a} end");
}

/// What live555 says, as the one that is left: BYE ends its tracks, and its TEARDOWN after that disturbs nobody.
fn live555_is_taken_over_from(carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let mut vlc = Vlc::watch(&scene.network.a, &scene.url(family, TITLE), carriage);
    let mut b = Viewer::open(&scene.network.b, &url_to_take_what_plays(&scene, family), Udp);
    let decided = Instant::now();
    let answered = b.play().at;
    for track in &vlc.tracks {
        let bye = track.recording.wait_for("BYE to the old player", SOON, Arrived::bye_at);
        let of_b: Vec<Packet> = b.tracks.iter().flat_map(Watched::packets).collect();
        assert_window_is_over("BYE to the old player", bye, (decided, answered), stood_still(of_b.iter(), (decided, bye)));
        assert_contiguous(&track.section.media, &track.recording.so_far().rtp);
    }
    let answer = vlc.tear_down();
    assert!([200, 454].contains(&answer.status), "{answer:#?}");
    wait_for_more_pictures(&b, 50);
    let pictures = digests(&units("video", &vlc.tracks[0].recording.so_far().rtp));
    assert_eq!(film.locate_pictures("the old player's pictures", &pictures), 0);
    let (first_b, of_b) = pictures_in(&film, "B", &b);
    assert!(first_b <= pictures.len() && first_b + of_b > pictures.len(), "B's pictures go on where the old player's end");
    assert!(b.tracks.iter().all(|track| track.recording.so_far().bye_at().is_none()), "B plays on");
    assert_only_one_branch_each(&scene);
}

macro_rules! players {
    ($($name:ident: $what:ident($player:ident, $carriage:ident, $family:ident);)*) => {
        $(
            #[test]
            fn $name() {
                $what(Player::$player, $carriage, $family);
            }
        )*
    };
}

players! {
    ffmpeg_takes_over_to_udp: takes_over(Ffmpeg, Udp, V6);
    ffmpeg_takes_over_into_a_connection: takes_over(Ffmpeg, Interleaved, V4);
    gstreamer_takes_over_to_udp: takes_over(GStreamer, Udp, V6);
    gstreamer_takes_over_into_a_connection: takes_over(GStreamer, Interleaved, V4);
    pyav_takes_over_to_udp: takes_over(PyAv, Udp, V6);
    pyav_takes_over_into_a_connection: takes_over(PyAv, Interleaved, V4);
    retina_takes_over_to_udp: takes_over(Retina, Udp, V6);
    retina_takes_over_into_a_connection: takes_over(Retina, Interleaved, V4);
    mpv_takes_over_to_udp: takes_over(Mpv, Udp, V6);
    mpv_takes_over_into_a_connection: takes_over(Mpv, Interleaved, V4);
    pyav_ends_when_it_is_taken_over_from: is_taken_over_from(PyAv, Udp, V6);
    retina_ends_when_it_is_taken_over_from: is_taken_over_from(Retina, Udp, V6);
    mpv_ends_when_it_is_taken_over_from: is_taken_over_from(Mpv, Interleaved, V4);
    ffmpeg_ends_when_it_is_taken_over_from: is_taken_over_from(Ffmpeg, Udp, V6);
    gstreamer_ends_when_its_connection_is_taken_over_from: is_taken_over_from(GStreamer, Interleaved, V6);
    gstreamer_ends_when_it_is_taken_over_from: is_taken_over_from(GStreamer, Udp, V6);
}

#[test]
fn live555_takes_over_to_udp() {
    live555_takes_over(Udp, V4);
}

#[test]
fn live555_takes_over_into_a_connection() {
    live555_takes_over(Interleaved, V6);
}

#[test]
fn live555_is_taken_over_from_over_udp() {
    live555_is_taken_over_from(Udp, V6);
}

#[test]
fn live555_is_taken_over_from_interleaved() {
    live555_is_taken_over_from(Interleaved, V4);
}

#[test]
fn a_presentation_that_nobody_takes_up_ends() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = folder.path().join("flowsteer.toml");
    std::fs::write(&path, "[steering]\nlinger_s = 2\n").expect("a file in a temporary folder");
    let Some(scene) = Scene::set_with(&library(), &["--config", path.to_str().expect("UTF-8")]) else { return };
    let a = a_plays(&scene, Interleaved, V6);
    let url = url_to_take_all(&scene, &a, V6);
    let start = Instant::now();
    drop(a);
    wait_for("the presentation to end", SOON, || scene.operator().sessions().is_empty().then_some(()));
    assert!(start.elapsed() >= Duration::from_secs(2), "it lingers for {:?}", start.elapsed());
    let mut late = Connection::open(&scene.network.b, authority(&url));
    assert_eq!(late.request("DESCRIBE", &url, &[("Accept", "application/sdp")]).status, 401, "there is nothing to be taken over");
}

/// Home addresses that are routed to the server, as they are on a network that knows of them.
fn scene_with_routed_homes() -> Option<Scene> {
    let scene = Scene::set_with(&library(), &["--home-prefix", "fd0f:10::/64"])?;
    scene.network.server.ip("route add local fd0f:10::/64 dev lo\n");
    scene.network.b.ip(&format!("route add fd0f:10::/64 via {}\n", scene.network.server.v6));
    Some(scene)
}

/// The same take-over by a connection to the home address itself.
#[track_caller]
fn at_the_home_address(url: &str) -> String {
    let (_, path) = url.split_once("/home/").expect("the URL of a home address");
    let end = path.find(['/', '?']).expect("a key");
    format!("rtsp://[{}]:8554/{}", &path[..end], path[end..].trim_start_matches('/'))
}

#[test]
fn a_connection_to_a_home_address_takes_over_what_plays_there() {
    let Some(scene) = scene_with_routed_homes() else { return };
    let film = Film::named(TITLE);
    let a = a_plays(&scene, Udp, V6);
    let url = at_the_home_address(&scene.operator().takeover_url(&a.video().home, V6, "flow"));
    assert!(url.starts_with(&format!("rtsp://[{}]:8554/?key=", a.video().home)), "{url}");
    let (bare, _) = url.split_once('?').expect("a key");
    let mut connection = Connection::open(&scene.network.b, authority(bare));
    assert_eq!(connection.request("DESCRIBE", bare, &[("Accept", "application/sdp")]).status, 401, "without a key");
    let b = Viewer::watch(&scene.network.b, &url, Udp);
    assert_eq!(b.tracks.iter().map(|track| &track.media[..]).collect::<Vec<_>>(), ["video"], "what B is offered");
    wait_for_bye(a.video());
    wait_for_more_pictures(&b, 50);
    let from = b.video().packets()[0].from.expect("over UDP");
    assert_eq!(from.ip().to_string(), a.video().home, "packets come from the address that B has asked");
    assert!(b.video().packets().iter().all(|packet| packet.label == Some(b.video().label)), "with the label of their flow");
    let ((_, of_a), (first_b, of_b)) = (pictures_in(&film, "A", &a), pictures_in(&film, "B", &b));
    assert!(first_b <= of_a && first_b + of_b > of_a, "B's pictures from {first_b} on go on where A's {of_a} end");
    assert!(a.audio().recording.so_far().bye_at().is_none(), "the sound stays with A");
    assert_eq!(a.audio().packets().last().map(|packet| packet.label), Some(Some(a.audio().label)), "and has its label");
}

#[test]
fn a_connection_to_a_home_address_takes_over_all_that_plays_with_it() {
    let Some(scene) = scene_with_routed_homes() else { return };
    let a = a_plays_the_shorter(&scene, V6);
    let url = at_the_home_address(&url_to_take_all(&scene, &a, V6));
    assert!(url.contains(":8554/all?key="), "{url}");
    let received = Player::Ffmpeg.play(&scene.network.b, &url, Udp).end(Duration::from_secs(25));
    assert_taken_over(&a, &received);
}
