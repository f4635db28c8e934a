//! What attacks do to a session that is watched meanwhile: its lost packets and its pacing, and the server's memory and descriptors.
//!
//! `cargo bench --bench abuse` prints a line for each attack: what was sent and at which rate, packets of the watched session and
//! those that are lost, how much later than their timestamps packets came (99 % and the most), the server's resident memory before and
//! after, and what it said. Behind that: sessions that come and go, twice; and what the server sends to addresses that have proven
//! nothing. It fails where a packet is lost, 1 % of them are 20 ms late, none comes for half a second, or memory and descriptors do not
//! come back.
//! A name behind `--` runs what has it in its name.

// Each user of these has its own part of them.
#[allow(dead_code)]
mod amplification;
#[allow(dead_code)]
mod attacks;
#[allow(dead_code)]
mod scene;

use std::time::Duration;

use attacks::{ATTACKS, Target, come_and_go};
use scene::{LOCAL, Seen, Server, Watched};

/// Operators may name no address but the one that the watched session is at; what was played waits 1 s for another device, so that one wave
/// does not fill all presentations.
const CONFIGURATION: &str = "[steering]\ntrusted_care_of = [\"127.0.0.1/32\"]\nlinger_s = 1\n";
/// For how long what floods does so: of more than a hundred packets 1 % are one at least.
const SPAN: Duration = Duration::from_secs(5);
/// So many datagrams a second are a flood.
const LEAST: f64 = 100_000.0;
/// Sessions of one wave.
const WAVE: usize = 40_000;
/// Sessions of a wave are made by so many at once.
const AT_ONCE: usize = 4;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let server = Server::start(CONFIGURATION);
    let watched = Watched::start(&server);
    println!(
        "{:<20} {:>9} {:<12} {:>9} {:>8} {:>5} {:>8} {:>8} {:>9} {:>9}  answer",
        "attack", "sent", "", "a second", "packets", "lost", "p99 ms", "max ms", "RSS before", "after KiB"
    );
    let mut failures = Vec::new();
    let mut judge = |name: &str, seen: &Seen| {
        if seen.lost > 0 || seen.p99 >= 20.0 || seen.silence >= 500.0 {
            let Seen { lost, p99, silence, .. } = seen;
            failures.push(format!("{name}: {lost} packets lost, 99 % within {p99:.2} ms, none for {silence:.0} ms"));
        }
    };
    let line = |name: &str, what: &str, count: usize, span: Duration, seen: &Seen, memory: (u64, u64), answer: &str| {
        let rate = count as f64 / span.as_secs_f64();
        let Seen { packets, lost, p99, most, .. } = seen;
        let (before, after) = memory;
        println!(
            "{name:<20} {count:>9} {what:<12} {rate:>9.0} {packets:>8} {lost:>5} {p99:>8.2} {most:>8.2} {before:>9} {after:>9}  {answer}"
        );
    };
    // What is read for the first time may wait for a disk.
    std::thread::sleep(Duration::from_secs(1));
    let mark = watched.mark();
    std::thread::sleep(SPAN);
    let (seen, memory) = (watched.since(mark), server.taken().0);
    line("none", "", 0, SPAN, &seen, (memory, memory), "");
    judge("none", &seen);
    let target = Target { server: &server, watched: &watched, percent: 100, span: SPAN, patience: Duration::from_secs(10), rate: None };
    for (name, attack) in ATTACKS.iter().filter(|(name, _)| is_wanted(name)) {
        let (before, mark) = (server.taken().0, watched.mark());
        let sent = attack(&target);
        let (seen, after) = (watched.since(mark), server.taken().0);
        line(name, sent.what, sent.count, sent.span, &seen, (before, after), &sent.answer);
        judge(name, &seen);
        let rate = sent.count as f64 / sent.span.as_secs_f64();
        assert!(!name.starts_with("junk to") || rate >= LEAST, "{name} is no flood: {rate:.0} a second");
    }
    if is_wanted("come and go") {
        let mut taken = Vec::new();
        for wave in ["come and go", "come and go again"] {
            let (before, mark) = (server.taken().0, watched.mark());
            let (made, span) = std::thread::scope(|scope| {
                let one = || scope.spawn(|| come_and_go(&server, WAVE / AT_ONCE, LOCAL));
                let all: Vec<_> = (0..AT_ONCE).map(|_| one()).collect();
                let ended = all.into_iter().map(|thread| thread.join().expect("it does not panic"));
                ended.fold((0, Duration::ZERO), |(made, span), (more, took)| (made + more, span.max(took)))
            });
            settle(&server);
            let (seen, after) = (watched.since(mark), server.taken());
            line(wave, "sessions", made, span, &seen, (before, after.0), &format!("{} descriptors", after.1));
            judge(wave, &seen);
            taken.push(after);
        }
        if let [first, second] = taken[..] {
            assert!(second.0 <= first.0 + first.0 / 20, "memory grows: {} KiB, then {} KiB", first.0, second.0);
            assert!(second.1 <= first.1, "descriptors: {}, then {}", first.1, second.1);
        }
    }
    if is_wanted("amplification") {
        println!("\n{:<44} {:>9} {:>9} {:>7}", "to who has proven nothing (octets with headers)", "received", "sent", "ratio");
        for amplified in amplification::measure(&server, &watched) {
            let amplification::Amplified { what, received, sent } = amplified;
            println!("{what:<44} {received:>9} {sent:>9} {:>7.2}", sent as f64 / received as f64);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Waits for the sessions of connections that have ended to end.
fn settle(server: &Server) {
    for _ in 0..200 {
        if server.metric("flowsteer_sessions ") <= 1.0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // What idle threads give back.
    std::thread::sleep(Duration::from_secs(1));
}
