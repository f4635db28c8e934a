//! The RTSP conversation as VLC leads it with live555, and what a receiver then gets, packet by packet.
//!
//! Real players are in `e2e_players.rs`; here is what no player that runs in a test says, and what only an exact clock and exact
//! sequence numbers show.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::elementary::{Digest, Unit};
use support::film::{Film, library};
use support::namespaces::Family::{self, V4, V6};
use support::recording::{Arrived, PortPair, Recording};
use support::rtsp::{Connection, Response};
use support::scene::Scene;
use support::server::RTP;
use support::transcript::Vlc;
use support::viewer::Carriage::{self, Interleaved, Udp};
use support::viewer::{Viewer, assert_contiguous, authority, units};
use support::{SOON, wait_for};

const TITLE: &str = "countdown.mp4";
const VIDEO: usize = 0;
const AUDIO: usize = 1;

#[track_caller]
fn wait_for_packets(recording: &Recording, count: usize) {
    recording.wait_for(&format!("{count} packets"), SOON * 2, |arrived| (arrived.rtp.len() >= count).then_some(()));
}

#[track_caller]
fn wait_for_more_packets(recording: &Recording, count: usize) {
    let now = recording.count();
    wait_for_packets(recording, now + count);
}

fn digests(units: &[Unit]) -> Vec<Digest> {
    units.iter().map(|unit| unit.digest).collect()
}

/// A conversation from OPTIONS to TEARDOWN.
fn vlc_plays_a_title(carriage: Carriage, family: Family) {
    let Some(scene) = Scene::set() else { return };
    let url = scene.url(family, TITLE);
    let mut vlc = Vlc::open(&scene.network.a, &url, carriage);
    assert_eq!(vlc.base, format!("{url}/"), "Content-Base is the URL as asked, with a slash");
    assert!(vlc.session_lines.contains(&"a=range:npt=0-60".to_owned()), "VLC seeks only with a length: {:?}", vlc.session_lines);
    assert!(vlc.session_lines.contains(&"a=control:*".to_owned()), "{:?}", vlc.session_lines);
    assert!(!vlc.base.contains('?'));
    let mut sessions = Vec::new();
    for track in [VIDEO, AUDIO] {
        let answer = vlc.set_up(track).ok();
        vlc.open_the_way(track);
        sessions.push(answer.expect_header("Session").to_owned());
        if carriage == Udp {
            assert_eq!(vlc.tracks[track].server_port, RTP, "{answer:#?}");
        }
    }
    assert_eq!(sessions[0], sessions[1], "one session");
    assert!(sessions[0].ends_with(";timeout=60"), "{}", sessions[0]);
    let answer = vlc.play(Some(0.0)).ok();
    assert!((answer.range_start() - 0.0).abs() < f64::EPSILON, "{answer:#?}");
    let info = answer.rtp_info();
    for track in [VIDEO, AUDIO] {
        let recording = Arc::clone(&vlc.tracks[track].recording);
        wait_for_packets(&recording, 40);
        let arrived = recording.so_far();
        let entry = info.iter().find(|entry| entry.url == vlc.track_url(track)).expect("every track is in RTP-Info, by its SETUP URL");
        assert_eq!(entry.seq, arrived.rtp[0].sequence(), "the first packet is the one that RTP-Info names");
        assert_ne!(entry.rtptime, 0);
        assert_contiguous(&vlc.tracks[track].section.media, &arrived.rtp);
        let report = arrived.rtcp.first().expect("a Sender Report has come").clone();
        assert!(report.sender_report().is_some() && report.reports().contains(&202), "Sender Report and SDES: {:?}", report.reports());
        let apart = report.at.max(arrived.rtp[0].at) - report.at.min(arrived.rtp[0].at);
        assert!(apart < Duration::from_secs(1), "the Sender Report is {apart:?} from the first packet");
        if carriage == Interleaved {
            vlc.assert_pause(&answer, &arrived.rtp[0]);
        } else {
            for (packet, port) in arrived.rtp.iter().map(|packet| (packet, RTP)).chain(arrived.rtcp.iter().map(|packet| (packet, RTP + 1)))
            {
                assert_eq!(packet.from, Some(SocketAddr::new(scene.network.server.address(family), port)), "where packets come from");
            }
        }
    }
    assert_eq!(vlc.keep_alive().ok().body, "");
    vlc.tear_down().ok();
    wait_for("the presentation to end", SOON, || scene.operator().sessions().is_empty().then_some(()));
    let recording = &vlc.tracks[VIDEO].recording;
    let after = recording.count();
    recording.wait_for_silence(Duration::from_millis(300), SOON);
    assert!(recording.count() <= after + 30, "nothing follows a TEARDOWN");
}

#[test]
fn vlc_plays_a_title_over_udp_and_ipv4() {
    vlc_plays_a_title(Udp, V4);
}

#[test]
fn vlc_plays_a_title_over_udp_and_ipv6() {
    vlc_plays_a_title(Udp, V6);
}

#[test]
fn vlc_plays_a_title_interleaved() {
    vlc_plays_a_title(Interleaved, V4);
}

/// After a seek nothing old comes, the first packet is the one that RTP-Info names, and time runs on.
fn vlc_moves_the_slider(carriage: Carriage) {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let mut vlc = Vlc::watch(&scene.network.a, &scene.url(V4, TITLE), carriage);
    wait_for_packets(&vlc.tracks[VIDEO].recording, 60);
    for (asked, lands) in [(31.5, 30.0), (9.0, 8.0), (58.0, 58.0)] {
        vlc.pause().ok();
        vlc.tracks[VIDEO].recording.wait_for_silence(Duration::from_millis(200), SOON);
        let before: Vec<usize> = vlc.tracks.iter().map(|track| track.recording.count()).collect();
        let answer = vlc.play(Some(asked)).ok();
        assert!((answer.range_start() - lands).abs() < 0.001, "asked for {asked} s, it says {} s", answer.range_start());
        wait_for_packets(&vlc.tracks[VIDEO].recording, before[VIDEO] + 40);
        wait_for_packets(&vlc.tracks[AUDIO].recording, before[AUDIO] + 20);
        for (track, entry) in answer.rtp_info().iter().enumerate() {
            let packets = vlc.tracks[track].recording.so_far().rtp;
            let media = &vlc.tracks[track].section.media;
            assert_contiguous(media, &packets);
            // What was paused may have come to our reader only now.
            let landed = packets.iter().position(|packet| packet.sequence() == entry.seq).expect("the packet that RTP-Info names");
            assert!(landed >= before[track], "the first {media} packet after the seek");
            let after = units(media, &packets[landed..]);
            let (place, time) = match track {
                VIDEO => (film.locate_pictures("pictures after the seek", &digests(&after)), film.key_at_or_before(asked)),
                _ => {
                    let place = film.locate_frames("sound after the seek", &digests(&after));
                    assert!((film.audio[place].time - lands).abs() < 0.05, "the sound starts at {} s", film.audio[place].time);
                    (place, place)
                }
            };
            assert_eq!(place, time, "the first {media} unit after the seek");
            // The timestamp at Range's start belongs to the first unit shown at that time.
            let starts = after[0].timestamp.wrapping_sub(entry.rtptime).cast_signed();
            let rate = vlc.tracks[track].section.clock_rate.cast_signed();
            assert!(starts.abs() < rate / 20, "the first {media} unit is {starts} ticks from rtptime");
        }
    }
    // Without a break over three seeks: no timestamp further from the one before than reordering and the standing clock explain.
    for track in &vlc.tracks {
        let all = units(&track.section.media, &track.recording.so_far().rtp);
        for pair in all.windows(2) {
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed().unsigned_abs();
            assert!(step < track.section.clock_rate / 4, "the {}'s timestamps jump by {step} ticks", track.section.media);
        }
    }
}

#[test]
fn vlc_moves_the_slider_over_udp() {
    vlc_moves_the_slider(Udp);
}

#[test]
fn vlc_moves_the_slider_interleaved() {
    vlc_moves_the_slider(Interleaved);
}

#[test]
fn vlc_pauses_and_goes_on_without_a_gap() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named(TITLE);
    let mut vlc = Vlc::watch(&scene.network.a, &scene.url(V4, TITLE), Udp);
    wait_for_packets(&vlc.tracks[VIDEO].recording, 60);
    let answer = vlc.pause().ok();
    let video = Arc::clone(&vlc.tracks[VIDEO].recording);
    video.wait_for_silence(Duration::from_millis(1500), SOON);
    let before = video.so_far().rtp;
    let late = before[before.len() - 1].at.saturating_duration_since(answer.at);
    assert!(late < Duration::from_millis(100), "a packet {late:?} after the answer to PAUSE");
    vlc.play(None).ok();
    wait_for_more_packets(&video, 60);
    let packets = video.so_far().rtp;
    assert_contiguous("the picture", &packets);
    assert_eq!(film.locate_pictures("pictures across the pause", &digests(&units("video", &packets))), 0);
    // The clock stood still: the pause is in the arrival times and not in the timestamps.
    let (last, first) = (&packets[before.len() - 1], &packets[before.len()]);
    assert!(first.at - last.at > Duration::from_millis(1400));
    let step = first.timestamp().wrapping_sub(last.timestamp()).cast_signed().unsigned_abs();
    assert!(step < 90_000 / 4, "the timestamps jump by {step} ticks");
    // So do the Sender Reports: NTP and RTP time advance alike on one line.
    let reports: Vec<(u64, u32)> = video.wait_for("a report after the pause", SOON, |arrived| {
        let reports: Vec<_> =
            arrived.rtcp.iter().filter(|packet| packet.at > first.at).filter_map(|packet| packet.sender_report()).collect();
        let all: Vec<_> = arrived.rtcp.iter().filter_map(|packet| packet.sender_report()).collect();
        (!reports.is_empty()).then_some(all)
    });
    for pair in reports.windows(2) {
        let ntp = ((pair[1].0 - pair[0].0) as f64) / f64::from(u32::MAX);
        let rtp = f64::from(pair[1].1.wrapping_sub(pair[0].1)) / 90_000.0;
        assert!((ntp - rtp).abs() < 0.002, "between two reports NTP advances by {ntp} s, RTP by {rtp} s");
    }
}

#[test]
fn vlc_switches_the_sound_off_and_on() {
    let Some(scene) = Scene::set() else { return };
    let mut vlc = Vlc::watch(&scene.network.a, &scene.url(V4, TITLE), Udp);
    wait_for_packets(&vlc.tracks[AUDIO].recording, 40);
    vlc.switch_off(AUDIO).ok();
    vlc.tracks[AUDIO].recording.wait_for_silence(Duration::from_millis(300), SOON);
    wait_for_more_packets(&vlc.tracks[VIDEO].recording, 40);
    let answer = vlc.switch_on(AUDIO);
    assert_eq!(answer.status, 200, "VLC gives the track up otherwise: {answer:#?}");
    wait_for_packets(&vlc.tracks[AUDIO].recording, 40);
    let film = Film::named(TITLE);
    let audio = vlc.tracks[AUDIO].recording.so_far().rtp;
    assert_contiguous("the sound", &audio);
    film.locate_frames("the sound after it was switched on", &digests(&units("audio", &audio)));
    let video = vlc.tracks[VIDEO].recording.so_far().rtp;
    assert_contiguous("the picture", &video);
    assert_eq!(film.locate_pictures("the picture", &digests(&units("video", &video))), 0, "the picture is not disturbed");
    wait_for_more_packets(&vlc.tracks[VIDEO].recording, 20);
}

#[test]
fn a_second_setup_of_a_track_changes_its_ports() {
    let Some(scene) = Scene::set() else { return };
    let mut vlc = Vlc::watch(&scene.network.a, &scene.url(V6, TITLE), Udp);
    let old = Arc::clone(&vlc.tracks[VIDEO].recording);
    wait_for_packets(&old, 60);
    // The old receivers are kept open, to see that they are left.
    let kept = vlc.tracks[VIDEO].ports.take();
    vlc.set_up(VIDEO).ok();
    vlc.play(None).ok();
    let new = Arc::clone(&vlc.tracks[VIDEO].recording);
    wait_for_packets(&new, 100);
    old.wait_for_silence(Duration::from_millis(500), SOON);
    assert!(old.so_far().bye_at().is_none(), "no BYE where the same player has moved to other ports");
    let packets = new.so_far().rtp;
    assert_contiguous("the picture on the new ports", &packets);
    let left = old.so_far().rtp;
    let ahead = packets[0].sequence().wrapping_sub(left[left.len() - 1].sequence()).cast_signed();
    assert!(ahead <= 1, "{ahead} packets after the last on the old ports comes the first on the new ones");
    drop(kept);
}

#[test]
fn datagrams_of_a_stranger_move_nothing() {
    let Some(scene) = Scene::set() else { return };
    let vlc = Vlc::watch(&scene.network.a, &scene.url(V4, TITLE), Udp);
    let (other, theirs) = (&scene.network.b, Arc::new(Recording::default()));
    let stranger = PortPair::open(other, other.address(V4), &theirs);
    let server = scene.network.server.address(V4);
    for _ in 0..3 {
        let recording = &vlc.tracks[VIDEO].recording;
        wait_for_more_packets(recording, 20);
        stranger.send_from_rtp(&[0xce, 0xfa, 0xed, 0xfe], (server, RTP).into());
        stranger.send_from_rtcp(&[0xce, 0xfa, 0xed, 0xfe], (server, RTP + 1).into());
        // A report about somebody else's flow, and one that says BYE for it.
        let ssrc = recording.so_far().rtp[0].ssrc();
        stranger.send_from_rtcp(&receiver_report(ssrc), (server, RTP + 1).into());
        stranger.send_from_rtcp(&[&[0x81, 203, 0, 1][..], &ssrc.to_be_bytes()].concat(), (server, RTP + 1).into());
    }
    wait_for_more_packets(&vlc.tracks[VIDEO].recording, 20);
    assert_contiguous("the picture", &vlc.tracks[VIDEO].recording.so_far().rtp);
    assert_eq!(theirs.count(), 0, "a stranger gets nothing");
}

#[test]
fn the_aggregate_url_works_with_and_without_its_slash() {
    let Some(scene) = Scene::set() else { return };
    let mut vlc = Vlc::watch(&scene.network.a, &scene.url(V6, TITLE), Interleaved);
    let with_slash = vlc.base.clone();
    for base in [with_slash.trim_end_matches('/').to_owned(), with_slash] {
        vlc.base = base;
        vlc.pause().ok();
        vlc.play(None).ok();
        vlc.keep_alive().ok();
    }
    vlc.base.truncate(vlc.base.len() - 1);
    vlc.tear_down().ok();
}

#[test]
fn at_the_end_bye_comes_after_the_last_picture_was_shown() {
    let Some(scene) = Scene::set() else { return };
    let film = Film::named("short.mp4");
    for carriage in [Udp, Interleaved] {
        let mut viewer = Viewer::watch(&scene.network.a, &(scene.url(V6, "short.mp4") + "?t=8"), carriage);
        for track in &viewer.tracks {
            let bye = track.recording.wait_for("BYE at the end", SOON, Arrived::bye_at);
            let arrived = track.recording.so_far();
            let after = bye.saturating_duration_since(arrived.rtp[arrived.rtp.len() - 1].at);
            // In a connection nothing overtakes.
            let least = Duration::from_millis(if carriage == Udp { 450 } else { 0 });
            assert!(after >= least && after < least + Duration::from_secs(4), "BYE {after:?} after the last packet");
            assert!(arrived.rtcp.last().is_some_and(|packet| packet.reports()[0] == 200), "a Sender Report goes before the BYE");
        }
        let pictures = digests(&viewer.video().units());
        let first = film.locate_pictures("pictures", &pictures);
        assert_eq!((first, first + pictures.len()), (film.key_at_or_before(8.0), film.video.len()));
        // The session stays for another PLAY.
        let before = viewer.video().recording.count();
        viewer.seek(8.0);
        wait_for_packets(&viewer.video().recording, before + 20);
        assert_contiguous("the picture across the end", &viewer.video().packets());
        viewer.tear_down();
    }
}

#[test]
fn a_file_that_vanishes_ends_what_plays_it_and_nothing_else() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    for name in ["gone.mp4", "stays.mp4"] {
        fs::copy(library().join(TITLE), folder.path().join(name)).expect("a copy in a temporary folder");
    }
    let Some(scene) = Scene::set_with(folder.path(), &[]) else { return };
    let stays = Viewer::watch(&scene.network.b, &scene.url(V6, "stays.mp4"), Udp);
    let mut ends = [
        Viewer::watch(&scene.network.a, &scene.url(V6, "gone.mp4"), Udp),
        Viewer::watch(&scene.network.b, &scene.url(V4, "gone.mp4"), Interleaved),
    ];
    ends.iter().for_each(|viewer| wait_for_packets(&viewer.video().recording, 60));
    fs::remove_file(folder.path().join("gone.mp4")).expect("it is there");
    for viewer in &mut ends {
        viewer.tracks.iter().for_each(|track| {
            track.recording.wait_for("BYE", SOON, Arrived::bye_at);
        });
        let (base, status) = (viewer.base.clone(), |answer: Response| answer.status);
        assert_eq!(status(viewer.connection.request("PLAY", &base, &[])), 454, "there is nothing to go on with");
        assert_eq!(status(viewer.connection.request("DESCRIBE", &base, &[("Accept", "application/sdp")])), 404);
    }
    for viewer in &ends {
        wait_for("the connection to be closed", SOON, || viewer.connection.is_closed().then_some(()));
        for track in &viewer.tracks {
            track.recording.wait_for_silence(Duration::from_millis(300), SOON);
            track.units();
        }
    }
    let left: Vec<_> = scene.operator().sessions().into_iter().map(|session| session["title"].clone()).collect();
    assert_eq!(left, ["stays.mp4"]);
    wait_for_more_packets(&stays.video().recording, 60);
    assert_eq!(Film::named(TITLE).locate_pictures("the other's pictures", &digests(&stays.video().units())), 0);
    assert!(stays.tracks.iter().all(|track| track.recording.so_far().bye_at().is_none()), "the other plays on");
}

/// The library served with sessions that time out after five seconds instead of 75.
fn scene_with_a_short_timeout() -> Option<(Scene, tempfile::TempDir)> {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = folder.path().join("flowsteer.toml");
    fs::write(&path, "[rtsp]\nsession_timeout_s = 5\n").expect("a file in a temporary folder");
    Some((Scene::set_with(&library(), &["--config", path.to_str().expect("UTF-8")])?, folder))
}

#[test]
fn a_session_that_says_nothing_ends_and_any_word_keeps_it_alive() {
    let Some((scene, _folder)) = scene_with_a_short_timeout() else { return };
    let url = scene.url(V6, TITLE);
    let silent = Viewer::watch(&scene.network.a, &url, Udp);
    let mut asking = Viewer::watch(&scene.network.a, &url, Udp);
    let reporting = Viewer::watch(&scene.network.b, &url, Udp);
    let reading = Viewer::watch(&scene.network.b, &url, Interleaved);
    let server = SocketAddr::new(scene.network.server.address(V6), RTP + 1);
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < Duration::from_secs(9) {
        let (base, method) = (asking.base.clone(), ["GET_PARAMETER", "OPTIONS", "SET_PARAMETER"][round % 3]);
        assert_eq!(asking.connection.request(method, &base, &[]).status, 200, "{method}");
        for track in &reporting.tracks {
            track.ports.as_ref().expect("over UDP").send_from_rtcp(&receiver_report(track.ssrc), server);
        }
        round += 1;
        thread::sleep(Duration::from_millis(500));
    }
    silent.video().recording.wait_for_silence(Duration::from_millis(500), SOON);
    for (viewer, who) in [(&asking, "one that asks"), (&reporting, "one that sends reports"), (&reading, "one that takes our data")] {
        let now = viewer.video().recording.count();
        viewer.video().recording.wait_for(who, SOON, |arrived| (arrived.rtp.len() > now + 20).then_some(()));
    }
    let sessions = scene.operator().sessions();
    let mut states: Vec<&str> = sessions.iter().filter_map(|session| session["state"].as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["lingering", "playing", "playing", "playing"], "the silent one's has nobody bound");
}

/// A Receiver Report with one block about `ssrc` (RFC 3550 section 6.4.2).
fn receiver_report(ssrc: u32) -> Vec<u8> {
    [&[0x81, 201, 0, 7][..], &ssrc.wrapping_add(1).to_be_bytes(), &ssrc.to_be_bytes(), &[0; 20]].concat()
}

#[test]
fn what_is_not_there_is_404_and_not_400() {
    let Some(scene) = Scene::set() else { return };
    let host = &scene.network.a;
    for title in ["nothing.mp4", "make", "README.md", "films", "films/", "../media/short.mp4", "%2e%2e/media/short.mp4", "home/nobody"] {
        let url = scene.url(V4, "") + title;
        let mut connection = Connection::open(host, authority(&url));
        let answer = connection.request("DESCRIBE", &url, &[("Accept", "application/sdp")]);
        assert_eq!(answer.status, 404, "DESCRIBE {url}");
    }
}

#[test]
fn every_title_of_the_library_is_described_and_starts() {
    let Some(scene) = Scene::set() else { return };
    // A library is waited for at the start, but not for long.
    let titles = wait_for("what is in the titles to be known", SOON, || {
        let titles = scene.operator().get("/api/v1/titles").json();
        let titles = titles.as_array().expect("a list of titles").clone();
        titles.iter().all(|title| title["tracks"].is_array() || title["problem"].is_string()).then_some(titles)
    });
    assert_eq!(titles.len(), 12);
    let mut viewers = Vec::new();
    for title in &titles {
        let path = title["path"].as_str().expect("a title has a path");
        assert!(title.get("problem").is_none_or(serde_json::Value::is_null), "{title:#}");
        let viewer = Viewer::watch(&scene.network.a, &scene.url(V6, path), Udp);
        assert_eq!(viewer.tracks.len(), title["tracks"].as_array().map_or(0, Vec::len), "tracks of {path}");
        viewers.push((path, viewer));
    }
    for (path, viewer) in &viewers {
        let film = Film::of_tracks(path, &viewer.tracks.iter().map(|track| &track.media[..]).collect::<Vec<_>>());
        for track in &viewer.tracks {
            wait_for_packets(&track.recording, 20);
            let came = digests(&track.units());
            match &*track.media {
                "video" => film.locate_pictures(path, &came),
                _ => film.locate_frames(path, &came),
            };
        }
    }
}
