//! The attacks of `benches/abuse`, smaller and all at once: a session that is watched meanwhile loses nothing and goes on; and sessions that
//! come and go leave the server as large as it was. At full size, each alone: `cargo bench --bench abuse`.

#[path = "../benches/abuse/amplification.rs"]
mod amplification;
#[path = "../benches/abuse/attacks.rs"]
mod attacks;
#[path = "../benches/abuse/scene.rs"]
mod scene;

use std::time::{Duration, Instant};

use amplification::Amplified;
use attacks::{ATTACKS, Target, come_and_go, watched_session};
use scene::{LOCAL, SOON, Seen, Server, Watched, ask_http, connect, http};

const CONFIGURATION: &str = "[rtsp]\nrequest_timeout_s = 1\n\n[steering]\ntrusted_care_of = [\"127.0.0.1/32\"]\nlinger_s = 0\n";

/// Other programs run beside the tests, which may take the processor away for a second, and seldom for three: the bench is stricter.
const LATE_MS: f64 = 150.0;
const MOST_LATE_MS: f64 = 3000.0;
/// Less than what a session that has stopped is waited for.
const SILENT_MS: f64 = 3400.0;

/// Nothing is lost, and media came to the end, most of them in time.
#[track_caller]
fn assert_undisturbed(seen: &Seen) {
    assert!(seen.lost == 0 && seen.p50 < LATE_MS && seen.p95 < MOST_LATE_MS && seen.silence < SILENT_MS, "{seen:?}");
}

#[test]
fn a_session_that_stops_is_seen_to() {
    let server = Server::start(CONFIGURATION);
    let watched = Watched::start(&server);
    let mark = watched.mark();
    assert!(watched.since(mark).silence < SILENT_MS);
    let (id, _) = watched_session(&server).expect("it plays");
    let pause = http("POST", &format!("/api/v1/sessions/{id}/pause"), &[], "");
    let (status, body) = ask_http(&mut connect(server.http, LOCAL), &pause);
    assert!((200..300).contains(&status), "{status} {body}");
    // What was due already may leave behind the answer.
    let start = Instant::now();
    let seen = loop {
        let seen = watched.since(mark);
        if seen.silence > SILENT_MS {
            break seen;
        }
        assert!(start.elapsed() < SOON, "it goes on: {seen:?}");
    };
    assert!(seen.lost == 0, "{seen:?}");
}

#[test]
fn a_session_that_is_watched_loses_nothing_while_all_attacks_are_made_at_once() {
    let server = Server::start(CONFIGURATION);
    let watched = Watched::start(&server);
    let mark = watched.mark();
    let target = Target {
        server: &server,
        watched: &watched,
        percent: 8,
        span: Duration::from_secs(1),
        patience: Duration::from_secs(1),
        rate: Some(4000),
    };
    std::thread::scope(|scope| {
        let attacks = ATTACKS.map(|(name, attack)| {
            (
                name,
                scope.spawn({
                    let target = &target;
                    move || attack(target)
                }),
            )
        });
        for (name, attack) in attacks {
            let sent = attack.join().unwrap_or_else(|_| panic!("{name} has failed"));
            assert!(sent.count > 0, "{name}");
            eprintln!("{name}: {} {} in {:.2?}, {}", sent.count, sent.what, sent.span, sent.answer);
        }
    });
    let seen = watched.since(mark);
    eprintln!("{seen:?}");
    assert!(seen.packets > 20, "{seen:?}");
    assert_undisturbed(&seen);
}

#[test]
fn sessions_that_come_and_go_leave_nothing_behind() {
    let server = Server::start(CONFIGURATION);
    let watched = Watched::start(&server);
    let mark = watched.mark();
    let wave = || {
        assert!(come_and_go(&server, 640, LOCAL).0 >= 640);
        let start = Instant::now();
        // Those of a connection that has ended end with it.
        while server.metric("flowsteer_sessions ") > 1.0 {
            assert!(start.elapsed() < SOON, "sessions stay");
            std::thread::sleep(Duration::from_millis(10));
        }
        server.taken()
    };
    // The first one fills what is kept for others.
    wave();
    let first = wave();
    // How many are there at the same time is chance, and may be more than before; what is left behind is more after each wave.
    let most = first.0 + first.0 / 10;
    let mut later: Vec<u64> = Vec::new();
    while later.len() < 3 && later.iter().all(|taken| *taken > most) {
        later.push(wave().0);
    }
    assert!(later.iter().any(|taken| *taken <= most), "memory grows: {} KiB, then {later:?} KiB", first.0);
    // Sockets are closed a little behind their sessions.
    let start = Instant::now();
    while server.taken().1 > first.1 {
        assert!(start.elapsed() < SOON, "descriptors: {}, then {}", first.1, server.taken().1);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_undisturbed(&watched.since(mark));
}

#[test]
fn who_has_proven_nothing_is_sent_little_more_than_it_has_sent() {
    let server = Server::start(CONFIGURATION);
    let watched = Watched::start(&server);
    for Amplified { what, received, sent } in amplification::measure(&server, &watched) {
        eprintln!("{what}: {received} octets, and {sent} back");
        // A Care-of Test has 24 octets for 16, a Binding Error 24 for 8, both limited by source (`docs/signalling.md` section 9).
        assert!(sent * 2 <= received * 3, "{what}: {sent} octets for {received}");
        assert!(sent == 0 || what.starts_with("mobility"), "{what}: {sent} octets");
    }
}
