//! RTSP sessions against a whole server on loopback: who may do what, what a request in the wrong place gets, what a
//! take-over changes and what it leaves alone.

mod rtsp_server;

use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flowsteer::library::TitlePath;
use flowsteer::library::live::LiveSettings;
use flowsteer::net::now;
use flowsteer::playback::PresentationState;
use flowsteer::quantities::FlowLabel;
use flowsteer::steering::{
    Authority, BindingId, CareOf, Expectation, Holder, HomeAddress, Join, JoinWay, Mode, Owner, Proof, Reserve, TokenError, Update,
};
use md5::{Digest, Md5};
use rtsp_server::{Player, Reply, SOON, Server};

const UDP: &str = "RTP/AVP;unicast;client_port=24000-24001";
const UDP_TWO: &str = "RTP/AVP;unicast;client_port=24002-24003";
const TCP: &str = "RTP/AVP/TCP;unicast";

/// Somebody is at the ports that are told: else ICMP would say that nobody is, and end the branches. They lie below those that the system
/// gives to who asks for any.
fn receive() {
    static RECEIVERS: OnceLock<Vec<UdpSocket>> = OnceLock::new();
    // A port that another process has is taken too.
    RECEIVERS.get_or_init(|| (24_000..24_012).filter_map(|port| UdpSocket::bind(("::", port)).ok()).collect());
}

/// Sets both tracks up, and gives the last answer.
#[track_caller]
fn set_up(player: &mut Player, url: &str, transports: [&str; 2]) -> Reply {
    receive();
    let mut last = None;
    for (track, transport) in transports.iter().enumerate() {
        let reply = player.ask("SETUP", &format!("{url}/trackID={track}"), &[("Transport", transport)]).ok();
        player.session = Some(reply.session());
        last = Some(reply);
    }
    last.expect("two tracks")
}

#[track_caller]
fn play(player: &mut Player, url: &str, headers: &[(&str, &str)]) -> Reply {
    player.ask("PLAY", &format!("{url}/"), headers).ok()
}

/// A player that plays a title.
#[track_caller]
fn playing(server: &Server, title: &str, transports: [&str; 2]) -> (Player, String) {
    let url = server.url(title);
    let mut player = Player::connect(server);
    set_up(&mut player, &url, transports);
    play(&mut player, &url, &[]);
    (player, url)
}

/// A second player that has taken over what plays.
#[track_caller]
fn taken_over(server: &Server, query: &str, transports: [&str; 2]) -> (Player, String, Reply) {
    let (url, key) = server.takeover();
    let mut player = Player::connect(server);
    player.ask("DESCRIBE", &format!("{url}?key={key}{query}"), &[]).ok();
    set_up(&mut player, &url, transports);
    let reply = play(&mut player, &url, &[("Range", "npt=0-")]);
    (player, url, reply)
}

#[test]
fn each_refusal_has_its_status() {
    let media = tempfile::tempdir().expect("a folder");
    std::fs::write(media.path().join("broken.mp4"), b"this is no film at all").expect("written");
    std::fs::write(media.path().join("film.wmv"), b"\x30\x26\xb2\x75 and more").expect("written");
    std::fs::copy("media/short.mp4", media.path().join("short.mp4")).expect("copied");
    let server = Server::with(media.path(), |_| {}, |_| {});
    let mut player = Player::connect(&server);
    let url = |path: &str| server.url(path);
    let video = url("short.mp4/trackID=0");
    type Row<'a> = (&'a str, String, Vec<(&'a str, &'a str)>, u16);
    let table: Vec<Row<'_>> = vec![
        ("DESCRIBE", url("short.mp4"), vec![], 200),
        ("DESCRIBE", url("short.mp4"), vec![("Accept", "application/sdp, text/plain")], 200),
        ("DESCRIBE", url("short.mp4"), vec![("Accept", "*/*")], 200),
        ("DESCRIBE", url("short.mp4"), vec![("Accept", "text/plain")], 406),
        ("DESCRIBE", url("missing.mp4"), vec![], 404),
        ("DESCRIBE", url("broken.mp4"), vec![], 404),
        ("DESCRIBE", url("../short.mp4"), vec![], 404),
        ("DESCRIBE", url("a/%2e%2e/short.mp4"), vec![], 404),
        ("DESCRIBE", url(""), vec![], 404),
        ("DESCRIBE", "*".into(), vec![], 404),
        ("DESCRIBE", "short.mp4".into(), vec![], 400),
        ("DESCRIBE", url("home/fd00::1"), vec![], 401),
        ("DESCRIBE", url("home/fd00::1?key=x"), vec![], 401),
        ("SETUP", url("short.mp4"), vec![("Transport", UDP)], 459),
        ("SETUP", url("short.mp4/trackID=9"), vec![("Transport", UDP)], 404),
        ("SETUP", video.clone(), vec![], 461),
        ("SETUP", video.clone(), vec![("Transport", "RTP/AVP;multicast")], 461),
        ("SETUP", video.clone(), vec![("Transport", "RTP/AVP;unicast;client_port=24000-24001;destination=192.0.2.1")], 461),
        ("SETUP", video.clone(), vec![("Transport", "RTP/AVP;unicast;client_port=24000-24001;destination=fd00::1")], 401),
        ("SETUP", url("short.mp4/trackID=0?t=9999"), vec![("Transport", UDP)], 457),
        ("PLAY", url("short.mp4"), vec![], 454),
        ("PLAY", url("short.mp4"), vec![("Session", "AAAAAAAAAAAAAAAAAAAAAA")], 454),
        ("PAUSE", url("short.mp4"), vec![("Session", "x")], 454),
        ("TEARDOWN", url("short.mp4"), vec![], 454),
        ("OPTIONS", "*".into(), vec![], 200),
        ("OPTIONS", url("anything"), vec![("Session", "x")], 454),
        ("GET_PARAMETER", "*".into(), vec![], 200),
        ("SET_PARAMETER", "*".into(), vec![], 200),
        ("RECORD", url("short.mp4"), vec![], 405),
        ("FROBNICATE", url("short.mp4"), vec![], 501),
        ("OPTIONS", "*".into(), vec![("Require", "www.onvif.org/ver20/backchannel")], 551),
        ("OPTIONS", "*".into(), vec![("Proxy-Require", "a"), ("Require", "b")], 551),
    ];
    for (method, url, headers, status) in &table {
        let reply = player.ask(method, url, headers);
        assert_eq!(reply.status, *status, "{method} {url} {headers:?}: {reply:#?}");
        let allowed = (*status == 405).then_some("OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN");
        assert_eq!(reply.header("Allow"), allowed, "{method} {url}: {reply:#?}");
    }
    assert_eq!(player.ask("OPTIONS", "*", &[("Require", "a"), ("Require", "b")]).expect("Unsupported"), "a, b");
    let broken = player.ask("DESCRIBE", &url("broken.mp4"), &[]);
    assert!(broken.phrase.contains("not a media file"), "{broken:#?}");
    let other = player.ask("DESCRIBE", &url("film.wmv"), &[]);
    assert!(other.status == 404 && other.phrase.contains("containers of this kind are not served yet"), "{other:#?}");
    player.send(b"OPTIONS * RTSP/1.0\r\n\r\n");
    assert_eq!(player.reply().status, 400, "no CSeq");
    player.send(b"OPTIONS * RTSP/2.0\r\nCSeq: 5\r\n\r\n");
    assert_eq!(player.reply().status, 505);
    server.wait("what was refused has left nothing", |presentation| presentation.is_none());
}

#[test]
fn a_challenge_is_spelled_as_players_scan_for_it() {
    let server = Server::start();
    let mut player = Player::connect(&server);
    let reply = player.ask("DESCRIBE", &server.url("home/fd00::1"), &[]);
    let challenge = reply.expect("WWW-Authenticate");
    let nonce = challenge.strip_prefix("Digest realm=\"flowsteer\", nonce=\"").and_then(|rest| rest.strip_suffix('"'));
    assert!(nonce.is_some_and(|nonce| nonce.len() == 32 && !nonce.contains('"')), "{challenge}");
    assert_eq!(reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("WWW-Authenticate")).count(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_find_the_session_being_made() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    let pipeline = ("Pipelined-Requests", "7");
    player.post("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP), pipeline]);
    player.post("SETUP", &format!("{url}/trackID=1"), &[("Transport", TCP), pipeline]);
    player.post("PLAY", &format!("{url}/"), &[pipeline]);
    let replies = [player.reply().ok(), player.reply().ok(), player.reply().ok()];
    for (index, reply) in replies.iter().enumerate() {
        assert_eq!(reply.expect("CSeq"), (index + 1).to_string());
        assert_eq!(reply.session(), replies[0].session());
    }
    assert!(replies[0].expect("Transport").contains("interleaved=0-1"));
    assert!(replies[1].expect("Transport").contains("interleaved=2-3"));
    assert!(player.packets.is_empty(), "no media before the response");
    player.packet(0);
    assert_eq!(player.ask("PLAY", &url, &[("Pipelined-Requests", "8")]).status, 454);
    player.ask("TEARDOWN", &url, &[]).ok();
    server.wait("it is over", |presentation| presentation.is_none());
}

#[test]
fn media_wait_behind_the_response_but_for_players_that_read_at_once() {
    let server = Server::start();
    let url = server.url("short.mp4");
    let pause = |agent: &str| {
        let mut player = Player::connect(&server);
        let agent = ("User-Agent", agent);
        let session = player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP), agent]).ok().session();
        player.ask("PLAY", &url, &[("Session", &session), agent]).ok();
        let answered = std::time::Instant::now();
        player.packet(0).0.saturating_duration_since(answered)
    };
    let waits = std::time::Duration::from_millis(15);
    // A machine with other things to do may keep either waiting now and then.
    assert!((0..20).any(|_| pause("LibVLC/3.0.21 (LIVE555 Streaming Media v2016.11.28)") > waits), "they come at once");
    assert!((0..20).any(|_| pause("GStreamer/1.26.2") < waits), "they wait");
}

#[test]
fn a_request_waits_once_for_who_plays() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    let waits = || server.watched.waits.load(std::sync::atomic::Ordering::Relaxed);
    set_up(&mut player, &url, [UDP, UDP_TWO]);
    assert_eq!(waits(), 2, "once for each track");
    play(&mut player, &url, &[("Range", "npt=1-3")]);
    assert_eq!(waits(), 3);
}

#[test]
fn players_that_stop_before_play_keep_nobody_from_starting() {
    let server = Server::start();
    let silent: Vec<Player> = (0..40)
        .map(|_| {
            let mut player = Player::connect(&server);
            player.post("DESCRIBE", &server.url("short.mp4"), &[]);
            player
        })
        .collect();
    let silent: Vec<Player> = silent
        .into_iter()
        .map(|mut player| {
            // They are answered, each after the turn of another has lapsed.
            player.reply().ok();
            player
        })
        .collect();
    let (player, url) = playing(&server, "short.mp4", [UDP, UDP_TWO]);
    drop((player, url, silent));
}

#[test]
fn who_waits_for_a_source_lets_nobody_else_wait() {
    let server = Server::start();
    let live = server.service.library.live();
    // Nobody writes it: who wants to watch it waits for ten seconds.
    let path = TitlePath::new("door").expect("a path");
    let _feed = live.add(path.clone(), LiveSettings::default()).expect("it is free");
    let mut waiting: Vec<Player> = (0..8).map(|_| Player::connect(&server)).collect();
    for player in &mut waiting {
        player.post("DESCRIBE", &server.url("door"), &[]);
        let start = Instant::now();
        while !live.get(&path).expect("it is there").was_wanted() {
            assert!(start.elapsed() < SOON, "nobody asks for it");
            std::thread::yield_now();
        }
    }
    // Each of these would wait for a tenth of a second for its turn; on a machine with other things to do, some wait for that.
    let took = |_| {
        let begun = Instant::now();
        Player::connect(&server).ask("DESCRIBE", &server.url("short.mp4"), &[]).ok();
        begun.elapsed()
    };
    let mut took: Vec<Duration> = (0..50).map(took).collect();
    took.sort_unstable();
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_play_without_session_means_the_only_one_of_the_connection() {
    let server = Server::start();
    let url = server.url("short.mp4");
    let mut player = Player::connect(&server);
    let first = player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", UDP)]).ok();
    assert_eq!(play(&mut player, &url, &[]).session(), first.session());
    player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", UDP_TWO)]).ok();
    assert_eq!(player.ask("PLAY", &url, &[]).status, 454, "there are two now");
}

#[test]
fn a_session_is_good_from_its_own_address_only() {
    let server = Server::start();
    let (player, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let mut other = Player::connect_from(&server, "127.0.0.2".parse().expect("an address"));
    other.session.clone_from(&player.session);
    for method in ["PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "OPTIONS"] {
        assert_eq!(other.ask(method, &url, &[]).status, 454, "{method}");
    }
    let set_up = other.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", UDP)]);
    assert_eq!(set_up.status, 454);
    assert_eq!(server.presentation().expect("it plays").state, PresentationState::Playing);
    let mut again = Player::connect(&server);
    again.session = player.session;
    again.ask("PAUSE", &url, &[]).ok();
    server.wait("another connection from the same address may", |presentation| {
        presentation.is_some_and(|presentation| presentation.state == PresentationState::Paused)
    });
}

#[test]
fn requests_in_the_wrong_state_or_for_one_of_several_tracks_are_refused() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    set_up(&mut player, &url, [UDP, UDP_TWO]);
    assert_eq!(player.ask("PAUSE", &url, &[]).status, 455);
    assert_eq!(player.ask("PLAY", &format!("{url}/trackID=0"), &[]).status, 460);
    for (range, status) in [("clock=19961108T142300Z-", 457), ("npt=x-", 457), ("npt=9-8", 457), ("npt=-0", 457)] {
        assert_eq!(player.ask("PLAY", &url, &[("Range", range)]).status, status, "{range}");
    }
    assert_eq!(server.presentation().expect("opened").state, PresentationState::Lingering, "nothing was bound");
    let started = play(&mut player, &url, &[("Range", "npt=10.5-20"), ("Scale", "2.0"), ("Speed", "4")]);
    assert_eq!(started.expect("Range"), "npt=10.000000-20.000000");
    assert_eq!((started.expect("Scale"), started.expect("Speed")), ("2.0", "4.0"));
    assert_eq!(player.ask("PAUSE", &format!("{url}/trackID=0"), &[]).status, 460);
    player.ask("PAUSE", &url, &[]).ok();
    player.ask("PAUSE", &url, &[]).ok();
    player.ask("TEARDOWN", &format!("{url}/trackID=0"), &[]).ok();
    player.ask("PLAY", &format!("{url}/trackID=1"), &[]).ok();
    player.ask("PAUSE", &format!("{url}/trackID=1"), &[]).ok();
    player.ask("TEARDOWN", &format!("{url}/trackID=1"), &[]).ok();
    server.wait("the last track was torn down", |presentation| presentation.is_none());
}

#[test]
fn the_scale_in_force_is_answered_and_goes_with_what_the_player_knows() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    set_up(&mut player, &url, [UDP, UDP_TWO]);
    for text in ["0", "fast", "", "1e9", "nan"] {
        assert_eq!(player.ask("PLAY", &url, &[("Scale", text)]).status, 400, "{text}");
    }
    let scale = |reply: &Reply| reply.header("Scale").map(str::to_owned);
    // Whoever says nothing of it is told nothing of it.
    assert_eq!(scale(&play(&mut player, &url, &[("Range", "npt=20-")])), None);
    let snapshot = || server.presentation().expect("it plays");
    assert_eq!(snapshot().scale.factor(), 1.0);
    for (asked, answered) in [("2", "2.0"), ("0.01", "0.25"), ("7.5", "4.0")] {
        let reply = play(&mut player, &url, &[("Scale", asked)]);
        assert_eq!((scale(&reply).as_deref(), snapshot().scale.to_string().as_str()), (Some(answered), answered));
    }
    let back = play(&mut player, &url, &[("Range", "npt=31-0"), ("Scale", "-8")]);
    assert_eq!((back.expect("Range"), scale(&back).as_deref()), ("npt=30.000000-0.000000", Some("-8.0")));
    let back = play(&mut player, &url, &[("Range", "npt=41-60"), ("Scale", "-100")]);
    assert_eq!((back.expect("Range"), scale(&back).as_deref()), ("npt=40.000000-0.000000", Some("-32.0")));
    // Who has asked for a scale means normal speed when it asks for none (RFC 7826 section 18.46).
    let normal = play(&mut player, &url, &[("Range", "npt=10-")]);
    assert_eq!((normal.expect("Range"), scale(&normal)), ("npt=10.000000-60.000000", None));
    assert!(snapshot().scale.is_normal());
}

#[test]
fn a_url_opens_a_part_of_a_title_at_a_scale_for_players_that_know_none() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    let opened = format!("{url}?t=10&end=20&scale=0.5");
    let described = player.ask("DESCRIBE", &opened, &[]).ok();
    assert!(described.body.contains("a=range:npt=0-20\r\n"));
    assert_eq!(player.ask("SETUP", &format!("{url}/trackID=0?t=10&end=9"), &[("Transport", UDP)]).status, 457);
    set_up(&mut player, &opened, [UDP, UDP_TWO]);
    let reply = play(&mut player, &url, &[("Range", "npt=0.000-")]);
    assert_eq!((reply.expect("Range"), reply.expect("Scale")), ("npt=10.000000-20.000000", "0.5"));
    // A seek of such a player changes nothing of that.
    let reply = play(&mut player, &url, &[("Range", "npt=14-")]);
    assert_eq!((reply.expect("Range"), reply.expect("Scale")), ("npt=14.000000-20.000000", "0.5"));
    let reply = play(&mut player, &url, &[("Range", "npt=30-")]);
    assert_eq!(reply.expect("Range"), "npt=20.000000-20.000000", "behind it lies nothing");
    player.ask("TEARDOWN", &url, &[]).ok();
    let mut player = Player::connect(&server);
    set_up(&mut player, &format!("{url}?scale=-4"), [UDP, UDP_TWO]);
    // FFmpeg asks for the beginning by itself.
    let reply = play(&mut player, &url, &[("Range", "npt=0.000-")]);
    assert_eq!((reply.expect("Range"), reply.expect("Scale")), ("npt=58.000000-0.000000", "-4.0"));
}

#[test]
fn the_speed_in_force_is_answered_and_goes_with_what_the_player_knows() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    set_up(&mut player, &url, [UDP, UDP_TWO]);
    for text in ["0", "-1", "fast", "", "1.0-2.0"] {
        assert_eq!(player.ask("PLAY", &url, &[("Speed", text)]).status, 400, "{text}");
    }
    let speed = |reply: &Reply| reply.header("Speed").map(str::to_owned);
    assert_eq!(speed(&play(&mut player, &url, &[("Range", "npt=20-")])), None);
    let snapshot = || server.presentation().expect("it plays");
    for (asked, answered) in [("2", "2.0"), ("0.01", "0.25"), ("7.5", "4.0")] {
        let reply = play(&mut player, &url, &[("Speed", asked)]);
        assert_eq!((speed(&reply).as_deref(), snapshot().speed.to_string().as_str()), (Some(answered), answered));
        assert_eq!((reply.header("Scale"), snapshot().scale.is_normal()), (None, true));
    }
    // Backwards at twice the speed: what GStreamer asks for at a rate of -2.
    let back = play(&mut player, &url, &[("Range", "npt=0-31"), ("Scale", "-1"), ("Speed", "2")]);
    assert_eq!((back.expect("Scale"), speed(&back).as_deref()), ("-1.0", Some("2.0")));
    // Who has asked for a speed means real time when it asks for none.
    assert_eq!(speed(&play(&mut player, &url, &[("Range", "npt=10-")])), None);
    assert!(snapshot().speed.is_real_time());
    player.ask("TEARDOWN", &url, &[]).ok();
    // A URL opens a title at a speed for players that know none, and tells it.
    let mut player = Player::connect(&server);
    set_up(&mut player, &format!("{url}?speed=0.5"), [UDP, UDP_TWO]);
    assert_eq!(speed(&play(&mut player, &url, &[("Range", "npt=0.000-")])).as_deref(), Some("0.5"));
    assert_eq!(speed(&play(&mut player, &url, &[("Range", "npt=14-")])).as_deref(), Some("0.5"));
}

#[test]
fn a_seek_begins_as_the_url_or_the_request_says_and_the_answer_tells_how() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    set_up(&mut player, &url, [UDP, UDP_TWO]);
    let mut seek = |styles: &[&str]| {
        let mut headers = vec![("Range", "npt=13.5-")];
        headers.extend(styles.iter().map(|style| ("Seek-Style", *style)));
        let reply = play(&mut player, &url, &headers);
        (reply.expect("Range").to_owned(), reply.header("Seek-Style").map(str::to_owned))
    };
    let (key, frame) = ("npt=12.000000-60.000000", "npt=13.482666-60.000000");
    assert_eq!(seek(&[]), (key.to_owned(), None));
    for (asked, range, answered) in [("RAP", key, "RAP"), ("first-prior", frame, "First-Prior"), ("Next", key, "RAP"), ("RAP", key, "RAP")]
    {
        assert_eq!(seek(&[asked]), (range.to_owned(), Some(answered.to_owned())), "{asked}");
    }
    // No key picture lies between 12.0 s and 13.5 s: it goes on. Slowly, so that it does not come that far between both requests.
    let mut slowly = |style| play(&mut player, &url, &[("Range", "npt=13.5-"), ("Seek-Style", style), ("Speed", "0.25")]);
    assert_eq!(slowly("RAP").start(), 12.0);
    let reply = slowly("CoRAP");
    assert!((12.0..13.4).contains(&reply.start()) && reply.expect("Seek-Style") == "RAP", "{reply:#?}");
    player.ask("TEARDOWN", &url, &[]).ok();

    let mut player = Player::connect(&server);
    set_up(&mut player, &format!("{url}?t=9.1&seek=exact"), [UDP, UDP_TWO]);
    let begun = play(&mut player, &url, &[("Range", "npt=0.000-")]);
    assert_eq!((begun.expect("Range"), begun.header("Seek-Style")), ("npt=9.088000-60.000000", None));
    assert_eq!(play(&mut player, &url, &[("Range", "npt=13.5-")]).expect("Range"), frame);
    assert_eq!(play(&mut player, &url, &[("Range", "npt=13.5-"), ("Seek-Style", "RAP")]).expect("Range"), key);
}

/// Whether one of the packets of a compound is a BYE (RFC 3550 section 6.1).
fn says_bye(mut compound: &[u8]) -> bool {
    while let &[_, kind, high, low, ..] = compound {
        if kind == 203 {
            return true;
        }
        compound = compound.get(4 * (1 + usize::from(u16::from_be_bytes([high, low])))..).unwrap_or_default();
    }
    false
}

#[test]
fn a_seek_past_the_end_plays_the_last_of_the_title() {
    let server = Server::start();
    for (title, ranges, starts) in [
        ("countdown.mp4", ["npt=60-", "npt=61-", "npt=1:40:00-", "npt=61-70"], 58.0),
        // Sound alone: its last frame.
        ("sound.m4a", ["npt=20-", "npt=100-", "npt=1000-", "npt=9999-"], f64::NAN),
    ] {
        let url = server.url(title);
        let mut player = Player::connect(&server);
        let reply = player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", TCP)]).ok();
        player.session = Some(reply.session());
        for range in ranges {
            let reply = play(&mut player, &url, &[("Range", range)]);
            assert!(starts.is_nan() || reply.start() == starts, "{range}: {reply:#?}");
            // A packet of it, and its BYE, after which the next one is a seek again.
            player.packet(0);
            while !says_bye(&player.packet(1).1) {}
        }
        player.ask("TEARDOWN", &url, &[]).ok();
        server.wait("it is over", |presentation| presentation.is_none());
    }
}

#[test]
fn a_title_opened_at_a_position_starts_there_whatever_the_first_range_says() {
    let server = Server::start();
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    player.ask("DESCRIBE", &format!("{url}?t=0:31"), &[]).ok();
    set_up(&mut player, &url, [UDP, UDP_TWO]);
    assert_eq!(play(&mut player, &url, &[("Range", "npt=0.000-")]).start(), 30.0);
    assert_eq!(play(&mut player, &url, &[("Range", "npt=0.000-")]).start(), 0.0, "the second one is a seek");
}

#[test]
fn a_take_over_goes_on_from_where_it_is_and_leaves_the_old_player_behind() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [TCP, TCP]);
    play(&mut first, &url, &[("Range", "npt=20-")]);
    let begun = Instant::now();
    let (mut second, taken, reply) = taken_over(&server, "", [TCP, TCP]);
    assert!((20.0..30.0).contains(&reply.start()), "{reply:#?}");
    assert_eq!(reply.expect("RTP-Info").matches("url=").count(), 2);
    assert!(second.packets.is_empty(), "no media before the response");
    second.packet(0);
    // While its window runs, the old one controls only itself.
    let status = first.ask("PLAY", &url, &[("Range", "npt=0-")]).status;
    let is_leaving = server.presentation().expect("it plays").flows[0].branches.iter().any(|branch| branch.branch.leaving);
    assert!(status == 455 || (status == 454 && !is_leaving), "{status}");
    server.wait("the old branches have ended", |presentation| {
        presentation.is_some_and(|presentation| presentation.flows.iter().all(|flow| flow.branches.len() == 1))
    });
    assert_eq!(first.ask("PLAY", &url, &[("Range", "npt=0-")]).status, 454);
    assert_eq!(first.ask("PAUSE", &url, &[]).status, 454);
    let position = server.presentation().expect("it plays").position;
    assert!(position.as_seconds() < 30.0);
    first.closed();
    assert!(begun.elapsed() > Duration::from_secs(3), "after {:?}", begun.elapsed());
    assert_eq!(server.presentation().expect("it plays on").state, PresentationState::Playing);
    second.ask("PAUSE", &taken, &[]).ok();
    assert_eq!(play(&mut second, &taken, &[("Range", "npt=50-")]).start(), 50.0);
    second.ask("TEARDOWN", &taken, &[]).ok();
    server.wait("the last one has left", |presentation| presentation.is_none());
}

#[test]
fn a_new_transport_takes_nothing_back() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let (mut second, taken, _) = taken_over(&server, "", [TCP, TCP]);
    let other = "RTP/AVP;unicast;client_port=24010-24011";
    let stays = |snapshot: &flowsteer::playback::PresentationSnapshot| {
        let mut branches = snapshot.flows.iter().flat_map(|flow| &flow.branches);
        branches.all(|branch| branch.branch.leaving == matches!(branch.branch.care_of, CareOf::Udp { .. }))
    };
    // In the window: where the old one's packets go for the rest of it is its own affair.
    let reply = first.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", other)]);
    assert!(matches!(reply.status, 200 | 401 | 454), "{reply:#?}");
    assert!(stays(&server.presentation().expect("it plays")));
    server.wait("the old branches have ended", |presentation| {
        presentation.is_some_and(|presentation| presentation.flows.iter().all(|flow| flow.branches.len() == 1))
    });
    let reply = first.ask("SETUP", &format!("{url}/trackID=1"), &[("Transport", other)]);
    assert!(matches!(reply.status, 401 | 454), "{reply:#?}");
    assert!(stays(&server.presentation().expect("it plays")));
    second.ask("TEARDOWN", &taken, &[]).ok();
}

#[test]
fn pictures_that_have_moved_are_not_taken_back_by_a_new_transport() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let video = server.presentation().expect("it plays").flows[0].facts.home;
    let (taken, key) = (server.url(&format!("home/{video}")), server.token(&[video]));
    let mut second = Player::connect(&server);
    second.ask("DESCRIBE", &format!("{taken}?key={key}"), &[]).ok();
    let reply = second.ask("SETUP", &taken, &[("Transport", TCP)]).ok();
    second.session = Some(reply.session());
    play(&mut second, &taken, &[]);
    server.wait("the pictures have moved", |presentation| {
        presentation.is_some_and(|presentation| presentation.flows.iter().all(|flow| flow.branches.len() == 1))
    });
    let other = "RTP/AVP;unicast;client_port=24010-24011";
    assert_eq!(first.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", other)]).status, 401);
    let flows = server.presentation().expect("it plays").flows;
    assert!(
        matches!(flows[0].branches[..], [ref branch] if matches!(branch.branch.care_of, CareOf::Interleaved { .. }) && !branch.branch.leaving)
    );
    first.ask("TEARDOWN", &url, &[]).ok();
}

#[test]
fn a_session_is_controlled_by_its_own_url() {
    let server = Server::start();
    let (mut player, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    for title in ["short.mp4", "missing.mp4"] {
        let other = server.url(title);
        assert_eq!(player.ask("SETUP", &format!("{other}/trackID=0"), &[("Transport", UDP)]).status, 404, "{title}");
        for method in ["PLAY", "PAUSE", "TEARDOWN"] {
            assert_eq!(player.ask(method, &other, &[]).status, 404, "{method} {title}");
        }
    }
    assert_eq!(server.presentation().expect("it plays on").state, PresentationState::Playing);
    // Without its slash, with it, and by no URL in particular.
    player.ask("PAUSE", &url, &[]).ok();
    player.ask("PLAY", &format!("{url}/"), &[]).ok();
    player.ask("TEARDOWN", "*", &[]).ok();
    server.wait("it is over", |presentation| presentation.is_none());
}

#[test]
fn a_token_is_its_first_device_s_whole() {
    let server = Server::start();
    let (_first, _) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let homes: Vec<_> = server.presentation().expect("it plays").flows.iter().map(|flow| flow.facts.home).collect();
    let key = server.token(&homes);
    let taken = server.url(&format!("home/{}/all", homes[0]));
    let mut second = Player::connect(&server);
    second.ask("DESCRIBE", &format!("{taken}?key={key}"), &[]).ok();
    let reply = second.ask("SETUP", &format!("{taken}/trackID=0"), &[("Transport", TCP)]).ok();
    second.session = Some(reply.session());
    play(&mut second, &taken, &[]);
    // The pictures' half of the token was played with: the sound's half is no other address's either.
    let elsewhere = "192.0.2.77".parse().expect("an address");
    assert_eq!(server.steering.verify_token(&key, Some(elsewhere), now()).err(), Some(TokenError::OtherPeer));
    let records = URL_SAFE_NO_PAD.decode(&key).expect("base64url");
    let sound = URL_SAFE_NO_PAD.encode(&records[records.len() / 2..]);
    assert_eq!(server.steering.verify_token(&sound, Some(elsewhere), now()).err(), Some(TokenError::OtherPeer));
}

#[test]
fn a_pause_by_who_is_leaving_stops_nobody_else() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let (mut second, taken, _) = taken_over(&server, "", [TCP, TCP]);
    let reply = first.ask("PAUSE", &url, &[]);
    assert!(matches!(reply.status, 200 | 454), "{reply:#?}");
    assert_eq!(server.presentation().expect("it plays").state, PresentationState::Playing);
    first.ask("TEARDOWN", &url, &[]).ok();
    assert_eq!(server.presentation().expect("it plays").state, PresentationState::Playing);
    second.ask("TEARDOWN", &taken, &[]).ok();
    server.wait("it is over", |presentation| presentation.is_none());
}

#[test]
fn a_fork_serves_both_and_ends_with_the_last() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let (mut second, taken, _) = taken_over(&server, "&mode=fork", [TCP, TCP]);
    let both = |snapshot: &flowsteer::playback::PresentationSnapshot| {
        snapshot.flows.iter().all(|flow| flow.branches.iter().filter(|branch| !branch.branch.leaving).count() == 2)
    };
    server.wait("both are served", |presentation| presentation.is_some_and(both));
    // The first changes its transport: the second keeps what it has.
    first.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", "RTP/AVP;unicast;client_port=24004-24005")]).ok();
    assert!(both(&server.presentation().expect("it plays")));
    first.ask("PAUSE", &url, &[]).ok();
    server.wait("who is current controls", |presentation| {
        presentation.is_some_and(|presentation| presentation.state == PresentationState::Paused)
    });
    first.ask("TEARDOWN", &url, &[]).ok();
    play(&mut second, &taken, &[]);
    second.ask("TEARDOWN", &taken, &[]).ok();
    server.wait("it is over", |presentation| presentation.is_none());
}

#[test]
fn a_set_up_take_over_changes_nothing_and_a_wrong_key_neither() {
    let server = Server::start();
    let (_first, _) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let (url, key) = server.takeover();
    let before = server.presentation().expect("it plays").flows;
    let mut second = Player::connect(&server);
    let mut wrong = key.clone();
    wrong.replace_range(60..61, if wrong.as_bytes()[60] == b'A' { "B" } else { "A" });
    for query in ["", "?key=", &format!("?key={wrong}"), &format!("?key={key}A")] {
        assert_eq!(second.ask("DESCRIBE", &format!("{url}{query}"), &[]).status, 401, "{query}");
        assert_eq!(second.ask("SETUP", &format!("{url}/trackID=0{query}"), &[("Transport", UDP)]).status, 401, "{query}");
    }
    let described = second.ask("DESCRIBE", &format!("{url}?key={key}"), &[]).ok();
    assert_eq!(described.expect("Content-Base"), format!("{url}/"));
    assert!(!described.body.contains('?'));
    set_up(&mut second, &url, [UDP, UDP_TWO]);
    drop(second);
    let after = server.presentation().expect("it plays").flows;
    let branches = |flows: &[flowsteer::playback::FlowSnapshot]| -> Vec<_> {
        flows.iter().flat_map(|flow| flow.branches.iter().map(|branch| branch.branch)).collect()
    };
    assert_eq!(branches(&before), branches(&after));
}

#[test]
fn one_flow_alone_can_be_taken_over() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let video = server.presentation().expect("it plays").flows[0].facts.home;
    let taken = server.url(&format!("home/{video}"));
    let key = server.token(&[video]);
    let mut second = Player::connect(&server);
    let described = second.ask("DESCRIBE", &format!("{taken}?key={key}"), &[]).ok();
    assert_eq!(described.body.matches("m=").count(), 1, "{}", described.body);
    // The URL of the whole names its only flow.
    let reply = second.ask("SETUP", &taken, &[("Transport", TCP)]).ok();
    second.session = Some(reply.session());
    assert_eq!(second.ask("SETUP", &format!("{taken}/trackID=1"), &[("Transport", TCP)]).status, 404);
    play(&mut second, &taken, &[]);
    server.wait("the pictures have moved", |presentation| {
        presentation.is_some_and(|presentation| presentation.flows.iter().all(|flow| flow.branches.len() == 1))
    });
    // Who still has the sound still controls, but does not get the pictures back by asking.
    first.ask("PAUSE", &url, &[]).ok();
    first.ask("TEARDOWN", &format!("{url}/trackID=0"), &[]).ok();
    first.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", UDP)]).ok();
    assert_eq!(first.ask("PLAY", &url, &[]).status, 401);
    first.ask("TEARDOWN", &url, &[]).ok();
    assert!(server.presentation().is_some(), "the pictures are still wanted");
    second.ask("TEARDOWN", &taken, &[]).ok();
    server.wait("it is over", |presentation| presentation.is_none());
}

/// The channels and the source that a SETUP was answered with.
#[track_caller]
fn channels(reply: &Reply) -> (u8, u8, String) {
    let parts: Vec<(&str, &str)> = reply.expect("Transport").split(';').filter_map(|part| part.split_once('=')).collect();
    let part = |name| parts.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name} in {reply:#?}")).1;
    let (rtp, rtcp) = part("interleaved").split_once('-').expect("a pair");
    (rtp.parse().expect("a channel"), rtcp.parse().expect("a channel"), part("ssrc").to_owned())
}

#[test]
fn two_titles_over_one_connection_have_channels_of_their_own() {
    let server = Server::start();
    let mut player = Player::connect(&server);
    let asked = "RTP/AVP/TCP;unicast;interleaved=0-1";
    let (films, transports) = (["countdown.mp4", "short.mp4"], [[asked, TCP], [asked, "RTP/AVP/TCP;unicast;interleaved=3-4"]]);
    let mut sessions = Vec::new();
    let mut given = Vec::new();
    for (film, transports) in films.iter().zip(transports) {
        player.session = None;
        for (track, transport) in transports.iter().enumerate() {
            let reply = player.ask("SETUP", &server.url(&format!("{film}/trackID={track}")), &[("Transport", transport)]).ok();
            player.session = Some(reply.session());
            given.push(channels(&reply));
        }
        sessions.push(player.session.clone());
    }
    assert_eq!((given[0].0, given[0].1), (0, 1), "a pair that is free is the one that was asked for");
    let mut used: Vec<u8> = given.iter().flat_map(|(rtp, rtcp, _)| [*rtp, *rtcp]).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 8, "{given:?}");
    for (film, session) in films.iter().zip(&sessions) {
        player.session.clone_from(session);
        play(&mut player, &server.url(film), &[]);
    }
    for _ in 0..3 {
        for (rtp, _, ssrc) in &given {
            let (_, packet) = player.packet(*rtp);
            assert_eq!(hex(&packet[8..12]), *ssrc, "RTP on channel {rtp}");
        }
    }
    // Channels that a session has given up may be had again.
    player.session.clone_from(&sessions[0]);
    player.ask("TEARDOWN", &server.url(films[0]), &[]).ok();
    player.session = None;
    let reply = player.ask("SETUP", &server.url("short.mp4/trackID=0"), &[("Transport", asked)]).ok();
    assert_eq!(channels(&reply).0, 0);
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

#[test]
fn a_lost_connection_ends_what_was_interleaved_in_it_and_the_url_resumes() {
    let server = Server::start();
    let (mut first, url) = playing(&server, "countdown.mp4", [TCP, TCP]);
    play(&mut first, &url, &[("Range", "npt=30-")]);
    first.packet(0);
    let (takeover, key) = server.takeover();
    drop(first);
    server.wait("it lingers", |presentation| presentation.is_some_and(|presentation| presentation.state == PresentationState::Lingering));
    let mut second = Player::connect(&server);
    second.ask("DESCRIBE", &format!("{takeover}?key={key}"), &[]).ok();
    set_up(&mut second, &takeover, [TCP, TCP]);
    assert!((30.0..40.0).contains(&play(&mut second, &takeover, &[("Range", "npt=0-60")]).start()));
    second.packet(0);
    assert_eq!(server.presentation().expect("it plays").state, PresentationState::Playing);
}

#[test]
fn a_udp_session_outlives_its_connection_until_it_is_silent_for_too_long() {
    let patience = Duration::from_secs(5);
    let server = Server::with("media".as_ref(), |settings| settings.session_timeout = patience, |_| {});
    let (first, url) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let session = first.session.clone();
    drop(first);
    let start = Instant::now();
    while start.elapsed() < patience + Duration::from_secs(1) {
        let mut again = Player::connect(&server);
        again.session.clone_from(&session);
        again.ask("GET_PARAMETER", &url, &[]).ok();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(server.presentation().expect("it plays").state, PresentationState::Playing);
    server.wait("silence ends it", |presentation| {
        presentation.is_some_and(|presentation| presentation.state == PresentationState::Lingering)
    });
    let mut again = Player::connect(&server);
    again.session = session;
    assert_eq!(again.ask("GET_PARAMETER", &url, &[]).status, 454);
    assert_eq!(server.service.sessions.len(), 0);
}

#[test]
fn credentials_do_what_a_key_in_the_url_does() {
    let server = Server::start();
    let (_first, _) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let (url, key) = server.takeover();
    let path = url.split_at(url.find("/home").expect("its path")).1.to_owned();
    let hex = |text: String| Md5::digest(text).iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let credentials = |method: &str, uri: &str, nonce: &str, user: &str, password: &str| {
        let secret = hex(format!("{user}:flowsteer:{password}"));
        let response = hex(format!("{secret}:{nonce}:{}", hex(format!("{method}:{uri}"))));
        format!("Digest username=\"{user}\", realm=\"flowsteer\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"")
    };
    let mut second = Player::connect(&server);
    let challenge = second.ask("DESCRIBE", &url, &[]);
    assert_eq!(challenge.status, 401);
    let nonce = challenge.expect("WWW-Authenticate").split('"').nth(3).expect("a nonce").to_owned();
    let slash = format!("{url}/");
    for uri in [&url, &slash, &path] {
        let shown = credentials("DESCRIBE", uri, &nonce, "flow", &key);
        second.ask("DESCRIBE", &url, &[("Authorization", &shown)]).ok();
    }
    let refused = [
        credentials("DESCRIBE", &url, &nonce, "flow", "another"),
        credentials("DESCRIBE", &url, &nonce, "root", &key),
        credentials("DESCRIBE", &url, "0123", "flow", &key),
        credentials("SETUP", &url, &nonce, "flow", &key),
        credentials("DESCRIBE", &server.url("countdown.mp4"), &nonce, "flow", &key),
        "Basic Zmxvdzp4".into(),
        "Digest".into(),
    ];
    for shown in &refused {
        assert_eq!(second.ask("DESCRIBE", &url, &[("Authorization", shown)]).status, 401, "{shown}");
    }
    for (track, transport) in [UDP, UDP_TWO].iter().enumerate() {
        let control = format!("{url}/trackID={track}");
        let shown = credentials("SETUP", &control, &nonce, "flow", &key);
        let reply = second.ask("SETUP", &control, &[("Transport", transport), ("Authorization", &shown)]).ok();
        second.session = Some(reply.session());
    }
    play(&mut second, &url, &[]);
    server.wait("it has moved", |presentation| {
        presentation.is_some_and(|presentation| presentation.flows.iter().all(|flow| flow.branches.len() == 1))
    });
}

#[test]
fn a_key_is_good_for_the_first_peer_that_plays_with_it() {
    let server = Server::start();
    let (_first, _) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
    let (url, key) = server.takeover();
    let mut second = Player::connect(&server);
    let mut third = Player::connect_from(&server, "127.0.0.2".parse().expect("an address"));
    for player in [&mut second, &mut third] {
        player.ask("DESCRIBE", &format!("{url}?key={key}"), &[]).ok();
        set_up(player, &url, [TCP, TCP]);
    }
    play(&mut second, &url, &[]);
    assert_eq!(third.ask("PLAY", &url, &[]).status, 401);
    assert_eq!(third.ask("DESCRIBE", &url, &[]).status, 401);
}

#[test]
fn a_named_home_address_starts_its_title_and_keeps_its_address() {
    let wall: HomeAddress = HomeAddress("fd00::77".parse().expect("an address"));
    let title = TitlePath::new("countdown.mp4").expect("a path");
    let server = Server::with(
        "media".as_ref(),
        |settings| {
            settings.homes.insert("wall".into(), Some(title));
            settings.homes.insert("bare".into(), None);
        },
        |steering| steering.keep("wall", wall),
    );
    let mut other = Player::connect(&server);
    assert_eq!(other.ask("DESCRIBE", &server.url("home/bare"), &[]).status, 404);
    // The same title by its own URL has nothing to do with the name.
    let plain = server.url("countdown.mp4");
    let reply = set_up(&mut other, &plain, [UDP, UDP_TWO]);
    assert!(!reply.expect("Home-Address").starts_with("fd00::77;"));
    assert_eq!(server.steering.home_view(wall, now()), None);
    other.ask("TEARDOWN", &plain, &[]).ok();

    let url = server.url("home/wall");
    let mut player = Player::connect(&server);
    let described = player.ask("DESCRIBE", &url, &[]).ok();
    assert_eq!(described.body.matches("m=").count(), 2);
    let reply = player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", UDP)]).ok();
    assert!(reply.expect("Home-Address").starts_with("fd00::77;"), "{reply:#?}");
    player.session = Some(reply.session());
    play(&mut player, &url, &[]);
    let mut second = Player::connect(&server);
    assert_eq!(second.ask("DESCRIBE", &url, &[]).status, 401, "something plays there now");
    let key = server.token(&[wall]);
    let described = second.ask("DESCRIBE", &format!("{url}?key={key}"), &[]).ok();
    assert_eq!(described.body.matches("m=").count(), 1);
    let held = format!("{UDP};destination=fd00::77");
    let occupied = second.ask("SETUP", &format!("{plain}/trackID=0?key={key}"), &[("Transport", &held)]);
    assert_eq!(occupied.status, 461, "{occupied:#?}");
}

/// A home address that a key holder has reserved.
fn reserved(server: &Server) -> HomeAddress {
    let media_source = "2001:db8::1".parse().expect("an address");
    let reserve = Reserve { owner: Owner::KeyHolder, address: None, lifetime: Some(Duration::from_secs(300)), media_source };
    server.steering.reserve(&reserve, now()).expect("a free address").home
}

/// Binds the home address to a new socket, by its key.
fn bound(server: &Server, home: HomeAddress) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(rtsp_server::SOON)).expect("possible");
    let rtp = socket.local_addr().expect("an address");
    let update = Update {
        home,
        authority: Authority::HomeKey,
        binding: Some(BindingId(1)),
        care_of: CareOf::Udp { rtp, rtcp: rtp, source: None },
        proof: Proof::RequestPeer(rtp.ip()),
        lifetime: Some(Duration::from_secs(60)),
        mode: Mode::Move,
        window: None,
        join: Join::default(),
        holder: Holder(1 << 63),
    };
    server.steering.update(&[update], now()).expect("accepted");
    socket
}

/// The next RTP packet of a socket where RTCP comes too.
#[track_caller]
fn next_rtp(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer).expect("a packet comes");
        if !(200..=204).contains(&buffer[1]) {
            return buffer[..length].to_vec();
        }
    }
}

fn aimed(home: HomeAddress) -> String {
    format!("RTP/AVP;unicast;destination={home};client_port=5000-5001")
}

#[test]
fn a_title_is_played_to_a_home_address_for_who_has_its_key_and_controlled_without_a_branch() {
    let server = Server::start();
    let home = reserved(&server);
    let label = FlowLabel::new(0x1a2b3).expect("20 bits");
    server.steering.authorise(home, label, Expectation::default()).expect("no label yet");
    let key = server.token(&[home]);
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    let track = format!("{url}/trackID=0");
    assert_eq!(player.ask("SETUP", &track, &[("Transport", &aimed(home))]).status, 401, "anybody could");
    assert_eq!(player.ask("SETUP", &format!("{track}?key={}", &key[..40]), &[("Transport", &aimed(home))]).status, 401);
    assert!(server.presentation().is_none(), "a refusal leaves nothing");

    let reply = player.ask("SETUP", &format!("{track}?key={key}"), &[("Transport", &aimed(home))]).ok();
    assert!(reply.expect("Transport").contains(&format!(";destination={home};client_port=5000-5001;server_port=")), "{reply:#?}");
    assert_eq!(reply.expect("Home-Address"), format!("{home};flow-label=0x1a2b3"), "the label that was authorised before");
    player.session = Some(reply.session());
    let mut second = Player::connect(&server);
    assert_eq!(second.ask("SETUP", &format!("{track}?key={key}"), &[("Transport", &aimed(home))]).status, 461, "occupied");

    let playing = play(&mut player, &url, &[]);
    assert_eq!(playing.start(), 0.0);
    server.wait("it waits for a device", |presentation| {
        presentation.is_some_and(|presentation| presentation.state == PresentationState::Paused)
    });
    let device = bound(&server, home);
    let first = next_rtp(&device);
    let announced = playing.expect("RTP-Info");
    assert!(announced.contains(&format!(";seq={};", u16::from_be_bytes([first[2], first[3]]))), "{announced}");
    assert_eq!(server.presentation().map(|presentation| presentation.state), Some(PresentationState::Playing));

    player.ask("PAUSE", &url, &[]).ok();
    assert_eq!(server.presentation().map(|presentation| presentation.state), Some(PresentationState::Paused));
    assert!((19.0..=20.0).contains(&play(&mut player, &url, &[("Range", "npt=20-")]).start()));
    assert_eq!(player.ask("TEARDOWN", &track, &[]).status, 200, "the only track is the whole");
    assert!(server.presentation().is_none());
    let view = server.steering.home_view(home, now()).expect("the reservation stays");
    assert_eq!((view.player, view.label, view.branches.len()), (None, Some(label), 1));
}

#[test]
fn a_care_of_may_aim_at_its_home_address_and_only_as_a_whole() {
    let server = Server::start();
    let (home, other) = (reserved(&server), reserved(&server));
    let device = bound(&server, home);
    let url = server.url("countdown.mp4");
    let mut player = Player::connect(&server);
    let mut set_up = |track: usize, transport: &str| player.ask("SETUP", &format!("{url}/trackID={track}"), &[("Transport", transport)]);
    assert_eq!(set_up(0, &aimed(other)).status, 401, "nobody is bound there");
    assert_eq!(set_up(0, &format!("RTP/AVP/TCP;unicast;destination={home}")).status, 461);
    assert_eq!(set_up(0, "RTP/AVP;unicast;destination=2001:db8::7;client_port=5000-5001").status, 461, "no home address");
    assert!(server.presentation().is_none());
    player.session = Some(set_up(0, &format!("RTP/AVP;unicast;destination={home}")).ok().session());
    let mut set_up = |track: usize, transport: &str| player.ask("SETUP", &format!("{url}/trackID={track}"), &[("Transport", transport)]);
    set_up(0, &format!("RTP/AVP;unicast;destination=[{home}]")).ok();
    assert_eq!(set_up(0, UDP).status, 455, "its flow is elsewhere");
    assert_eq!(set_up(1, &aimed(home)).status, 461, "occupied, by the same session");
    set_up(1, UDP_TWO).ok();
    play(&mut player, &url, &[]);
    next_rtp(&device);
    assert_eq!(player.ask("TEARDOWN", &format!("{url}/trackID=0"), &[]).status, 460);
    player.ask("TEARDOWN", &url, &[]).ok();
    assert!(server.presentation().is_none());
    assert_eq!(server.steering.owner(home), Some(Owner::KeyHolder));

    // Set up and never played, it ends with its session.
    let mut player = Player::connect(&server);
    player.session = Some(player.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", &aimed(home))]).ok().session());
    player.ask("TEARDOWN", &url, &[]).ok();
    assert!(server.presentation().is_none());
    assert_eq!(server.steering.player(home), None);
}

#[test]
fn who_played_to_a_home_address_controls_nothing_once_a_player_has_taken_the_flow_over() {
    let server = Server::start();
    let home = reserved(&server);
    let device = bound(&server, home);
    let url = server.url("countdown.mp4");
    let mut first = Player::connect(&server);
    first.session = Some(first.ask("SETUP", &format!("{url}/trackID=0"), &[("Transport", &aimed(home))]).ok().session());
    play(&mut first, &url, &[]);
    next_rtp(&device);

    let key = server.token(&[home]);
    let taken = server.url(&format!("home/{home}"));
    let mut taker = Player::connect(&server);
    taker.ask("DESCRIBE", &format!("{taken}?key={key}"), &[]).ok();
    assert_eq!(taker.ask("SETUP", &format!("{taken}/trackID=0"), &[("Transport", &aimed(home))]).status, 461, "taken over to itself only");
    taker.session = Some(taker.ask("SETUP", &format!("{taken}/trackID=0"), &[("Transport", TCP)]).ok().session());
    play(&mut taker, &taken, &[("Range", "npt=0-")]);
    taker.packet(0);
    server.wait("the device is left", |presentation| presentation.is_some_and(|presentation| presentation.flows[0].branches.len() == 1));
    assert_eq!(first.ask("PAUSE", &url, &[]).status, 454);
    taker.ask("PAUSE", &taken, &[]).ok();
    play(&mut taker, &taken, &[]);
    taker.ask("TEARDOWN", &taken, &[]).ok();
    assert!(server.presentation().is_none(), "the last current branch ends it");
    assert_eq!(server.steering.owner(home), Some(Owner::KeyHolder));
}

#[test]
fn settings_and_urls_say_how_a_player_joins() {
    let join_of_second = |query: &str| {
        let change = |settings: &mut flowsteer::rtsp::service::RtspSettings| {
            settings.join = JoinWay::AtOnce;
            settings.prime_rate_milli = Some(4000);
        };
        let server = Server::with("media".as_ref(), change, |_| {});
        let (_first, _) = playing(&server, "countdown.mp4", [UDP, UDP_TWO]);
        let (_second, ..) = taken_over(&server, &format!("{query}&mode=fork"), [TCP, TCP]);
        let flows = server.presentation().expect("it plays").flows;
        let joins: Vec<Join> = flows.iter().map(|flow| flow.branches.last().expect("the second").branch.join).collect();
        assert_eq!(joins.len(), 2);
        joins[0]
    };
    assert_eq!(join_of_second(""), Join { way: JoinWay::AtOnce, rate_milli: 4000, fixed: true, ..Join::default() });
    assert_eq!(join_of_second("&join=primed"), Join { way: JoinWay::Primed, rate_milli: 4000, fixed: true, ..Join::default() });
}

#[test]
fn limits_have_clear_answers() {
    let server = Server::with(
        "media".as_ref(),
        |settings| {
            settings.connections_per_address = 2;
            settings.sessions_per_connection = 1;
            settings.request_timeout = Duration::from_millis(200);
            settings.message.header = 1024;
            settings.message.body = 64;
        },
        |_| {},
    );
    let mut first = Player::connect(&server);
    let url = server.url("short.mp4/trackID=0");
    first.ask("SETUP", &url, &[("Transport", UDP)]).ok();
    assert_eq!(first.ask("SETUP", &url, &[("Transport", UDP)]).status, 503);
    let mut second = Player::connect(&server);
    second.ask("OPTIONS", "*", &[]).ok();
    let mut third = Player::connect(&server);
    assert_eq!(third.reply().status, 503);
    third.closed();
    let mut elsewhere = Player::connect_from(&server, "127.0.0.2".parse().expect("an address"));
    elsewhere.send(b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\nContent-Length: 65\r\n\r\n");
    let reply = elsewhere.reply();
    assert_eq!((reply.status, reply.header("CSeq")), (413, Some("9")));
    elsewhere.closed();
    let mut elsewhere = Player::connect_from(&server, "127.0.0.2".parse().expect("an address"));
    elsewhere.send(&[b'A'; 1100]);
    assert_eq!(elsewhere.reply().status, 413);
    elsewhere.closed();
    second.send(b"OPTIONS * RTSP/1.0\r\nCSe");
    assert_eq!(second.reply().status, 408, "half a request");
    second.closed();
    let mut noise = Player::connect_from(&server, "127.0.0.3".parse().expect("an address"));
    noise.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(noise.reply().status, 400);
    noise.closed();
}

#[test]
fn a_player_that_reads_nothing_disturbs_nobody() {
    let server = Server::with("media".as_ref(), |settings| settings.interleaved_queue = 64 * 1024, |_| {});
    let (mut slow, slow_url) = playing(&server, "countdown.mp4", [TCP, TCP]);
    for _ in 0..2000 {
        slow.post("GET_PARAMETER", &slow_url, &[]);
    }
    let url = server.url("short.mp4");
    let mut other = Player::connect(&server);
    set_up(&mut other, &url, [TCP, TCP]);
    play(&mut other, &url, &[]);
    other.packet(0);
    other.ask("TEARDOWN", &url, &[]).ok();
}

#[test]
fn a_player_that_asks_and_reads_nothing_is_not_waited_for_for_ever() {
    let patience = Duration::from_millis(500);
    let server = Server::with(
        "media".as_ref(),
        |settings| {
            settings.interleaved_queue = 64 * 1024;
            settings.session_timeout = patience;
        },
        |_| {},
    );
    let mut deaf = std::net::TcpStream::connect(server.address).expect("the server listens");
    deaf.set_write_timeout(Some(Duration::from_millis(50))).expect("possible");
    let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
    let requests = request.repeat(1000);
    let (begun, mut sent) = (Instant::now(), 0);
    let closed = loop {
        assert!(begun.elapsed() < SOON, "still open");
        match deaf.write(&requests[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(closed, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{closed}");
    assert!(begun.elapsed() >= patience);
}
