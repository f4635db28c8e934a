//! A generator of RTSP sessions, and a meter of what comes of them.
//!
//! `cargo bench --bench load -- -n 400 -t 20 --server-pid PID rtsp://127.0.0.1:8554/film.mp4` opens so many sessions, plays for so
//! long once all of them play, and prints one line of JSON: loss, duplicates, order, pacing, bursts, start, throughput, and what
//! the server took for it. It knows nothing of a particular server.
//!
//! Over UDP a packet's arrival is the kernel's stamp, so that draining sockets in batches costs no accuracy; interleaved packets
//! are stamped when they are read. Pacing is arrival against RTP timestamp since a track's first packet: of each packet, so
//! a picture sent as a burst is on time and one that is spread over its time is not; `unit_pacing` looks at first packets alone.
//! Of a datagram only the head is copied.
//!
//! `--branches` and `--moves` are for servers with this project's HTTP API: once all sessions play, each flow goes to so many
//! places, or flows are taken over by other places one after the other, and what an update takes to be seen is measured.

mod meter;
mod process;
mod rtsp;
mod session;
mod sockets;
mod updates;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use meter::{MILLISECOND, Meter, SECOND, Stamp, Totals, distribution, number};
use process::{Core, Process};
use rtsp::Kind;
use session::{Common, Session, Socket, Stage, Track};
use sockets::{Inbox, Ports, Waiting, raise_descriptors, wall_clock};
use updates::{Update, Updates};

/// Between looks at reports, keep-alives and deadlines.
const TICK: Stamp = 200 * MILLISECOND;
/// A track that brought nothing for so long at the end has stalled.
const STALLED: Stamp = 2 * SECOND;
const FAREWELL: Stamp = 3 * SECOND;
/// Looks at sockets that bring media, at one time.
const PASSES: usize = 8;
/// The first port to try.
const FIRST_PORT: u16 = 16_384;
/// Numbers announced and numbers first seen that differ by more have nothing to do with each other.
const LARGEST_GAP: u16 = 3000;
/// How long the first packets of further branches are waited for.
const BRANCHES_WITHIN: Stamp = 5 * SECOND;
/// The part of the time measured in which moves are asked for: the last one has its time to be seen.
const MOVING_SHARE: f64 = 0.9;

/// Opens RTSP sessions, measures what they bring, prints one line of JSON.
#[derive(Parser)]
struct Options {
    /// Sessions; URLs are used in turn.
    #[arg(short = 'n', long, default_value_t = 1)]
    sessions: usize,
    /// Seconds of play once all sessions play.
    #[arg(short = 't', long, default_value_t = 10.0)]
    seconds: f64,
    /// RTP over the RTSP connection.
    #[arg(long)]
    tcp: bool,
    /// Only the video track.
    #[arg(long)]
    video_only: bool,
    /// PLAY's Range header.
    #[arg(long)]
    range: Option<String>,
    /// Microseconds between starts of sessions.
    #[arg(long, default_value_t = 10_000)]
    ramp_us: i64,
    /// The most sessions being set up at once.
    #[arg(long, default_value_t = 64)]
    inflight: usize,
    /// Seconds after which a session that does not play yet has failed.
    #[arg(long, default_value_t = 15)]
    timeout: i64,
    /// Receive buffer of each RTP socket.
    #[arg(long, default_value_t = 2 << 20)]
    receive_buffer: usize,
    /// Microseconds between drains of the media's sockets.
    #[arg(long, default_value_t = 500)]
    batch_us: i64,
    /// Places that each flow goes to: further ones are bound over the API once all sessions play and have been measured alone.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8), requires = "http")]
    branches: u16,
    /// Updates that each move one session's picture to another place, spread over the time measured.
    #[arg(long, default_value_t = 0, requires = "http", conflicts_with = "tcp")]
    moves: usize,
    /// How the new place of a move joins: primed, aligned or at-once.
    #[arg(long, default_value = "primed")]
    join: String,
    /// The server's HTTP API, `http://HOST:PORT`.
    #[arg(long)]
    http: Option<String>,
    /// The server's process, to measure its processor time and memory.
    #[arg(long)]
    server_pid: Option<u32>,
    /// The server's core, to measure all that is done on it.
    #[arg(long)]
    server_core: Option<usize>,
    /// Copied into the line.
    #[arg(long, default_value = "")]
    label: String,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
    urls: Vec<String>,
}

/// A moment at an edge of the window that is measured.
struct Mark {
    at: Stamp,
    packets: u64,
    octets: u64,
    own: f64,
    server: Option<Process>,
    core: Option<Core>,
}

impl Mark {
    fn now(options: &Options, common: &Common) -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let own = usage.map_or(0.0, |usage| {
            [usage.user_time(), usage.system_time()].iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum()
        });
        Self {
            at: wall_clock(),
            packets: common.totals.packets + common.moved.packets,
            octets: common.totals.octets + common.moved.octets,
            own,
            server: options.server_pid.and_then(Process::read),
            core: options.server_core.and_then(Core::read),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.urls.is_empty() {
        println!("load: no URL given; see cargo bench --bench load -- --help");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok((report, true)) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Ok((report, false)) => {
            println!("{report}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> std::io::Result<(Value, bool)> {
    raise_descriptors();
    let mut common = Common {
        tcp: options.tcp,
        video_only: options.video_only,
        range: options.range.clone(),
        receive_buffer: options.receive_buffer,
        ports: Ports::starting_at(FIRST_PORT),
        control: Waiting::new()?,
        media: Waiting::new()?,
        inbox: Inbox::new(),
        scratch: vec![0; 256 << 10],
        totals: Totals::default(),
        moved: Totals::default(),
    };
    let join = if options.branches > 1 { "at-once" } else { &options.join };
    let mut updates = options.http.as_ref().map(|url| Updates::new(url, join)).transpose()?;
    let urls = options.urls.iter().cycle().cloned();
    let mut sessions: Vec<Session> = urls.take(options.sessions).enumerate().map(|(number, url)| Session::new(number, url)).collect();
    let before = Mark::now(options, &common);
    let edges = play(options, &mut common, &mut sessions, updates.as_mut());
    for track in sessions.iter_mut().flat_map(|session| &mut session.tracks) {
        track.meter.finish(&mut common.totals);
        for branch in &mut track.further {
            branch.meter.finish(if branch.replaces { &mut common.moved } else { &mut common.totals });
        }
    }
    Ok(report(options, &common, &sessions, updates.as_ref(), &before, &edges))
}

/// What a run does now.
enum Stretch {
    /// Sessions start.
    Starting,
    /// Each flow goes to one place, and that is measured, to compare with more of them.
    Alone {
        begin: Mark,
    },
    /// Further branches are bound.
    Branching {
        since: Stamp,
        alone: (Mark, Mark),
    },
    Measured {
        begin: Mark,
        alone: Option<(Mark, Mark)>,
    },
    /// Sessions are ended.
    Farewell(Edges),
}

/// The edges of the times that are measured.
struct Edges {
    begin: Mark,
    end: Mark,
    /// While each flow went to one place, where it went to more later.
    alone: Option<(Mark, Mark)>,
}

/// Starts all sessions, plays, ends them: the edges of the time in which all played.
fn play(options: &Options, common: &mut Common, sessions: &mut [Session], mut updates: Option<&mut Updates>) -> Edges {
    let batch = options.batch_us.max(1) * 1000;
    let (mut next, mut start_at, mut drained_at, mut ticked_at) = (0, wall_clock(), 0, 0);
    let mut stretch = Stretch::Starting;
    let mut ready = Vec::new();
    loop {
        let mut now = wall_clock();
        if next < sessions.len() && now >= start_at {
            let mut starting = sessions[..next].iter().filter(|session| session.is_starting()).count();
            while next < sessions.len() && now >= start_at && starting < options.inflight {
                sessions[next].start(common, now + options.timeout * SECOND);
                next += 1;
                starting += 1;
                start_at = (start_at + options.ramp_us * 1000).max(now - 100 * MILLISECOND);
            }
        }
        if let Some(updates) = &mut updates {
            updates.step(sessions, common);
        }
        common.control.wait(Duration::from_nanos(batch.unsigned_abs()));
        common.control.ready(&mut ready);
        if let Some(updates) = &mut updates
            && ready.contains(&updates::LABEL)
        {
            updates.ready(sessions);
        }
        serve(&ready, sessions, common);
        now = wall_clock();
        if now - drained_at >= batch {
            drained_at = now;
            // All that are ready, though one answer of epoll's may not hold them.
            let mut is_full = true;
            for _ in 0..PASSES {
                if is_full {
                    is_full = common.media.ready(&mut ready);
                    serve(&ready, sessions, common);
                }
            }
        }
        if now - ticked_at > TICK {
            ticked_at = now;
            sessions.iter_mut().for_each(|session| session.tick(now));
        }
        let is_over = |mark: &Mark| (now - mark.at) as f64 >= options.seconds * 1e9;
        stretch = match stretch {
            Stretch::Starting if next == sessions.len() && sessions.iter().all(Session::is_settled) => {
                let begin = Mark::now(options, common);
                if options.branches > 1 {
                    Stretch::Alone { begin }
                } else {
                    if let Some(updates) = &mut updates {
                        updates.plan(moves(options, sessions, begin.at));
                    }
                    Stretch::Measured { begin, alone: None }
                }
            }
            Stretch::Alone { begin } if is_over(&begin) => {
                if let Some(updates) = &mut updates {
                    updates.plan(branches(options, sessions, now));
                }
                Stretch::Branching { since: now, alone: (begin, Mark::now(options, common)) }
            }
            Stretch::Branching { since, alone }
                if updates.as_ref().is_none_or(|updates| updates.is_idle())
                    && (now - since > BRANCHES_WITHIN || meters(sessions).all(|meter| meter.first_at().is_some())) =>
            {
                Stretch::Measured { begin: Mark::now(options, common), alone: Some(alone) }
            }
            Stretch::Measured { begin, alone } if is_over(&begin) => {
                let end = Mark::now(options, common);
                sessions.iter_mut().for_each(Session::tear_down);
                Stretch::Farewell(Edges { begin, end, alone })
            }
            Stretch::Farewell(edges)
                if now - edges.end.at > FAREWELL || !sessions.iter().any(|session| session.stage == Stage::Teardown) =>
            {
                return edges;
            }
            same => same,
        };
    }
}

fn meters(sessions: &[Session]) -> impl Iterator<Item = &Meter> {
    sessions.iter().flat_map(|session| &session.tracks).flat_map(Track::meters)
}

/// Each flow to as many places as asked, branch after branch.
fn branches(options: &Options, sessions: &[Session], due: Stamp) -> Vec<Update> {
    let flows = || sessions.iter().flat_map(|session| (0..session.tracks.len()).map(|track| (session.number, track)));
    (1..options.branches).flat_map(|_| flows().map(|(session, track)| Update { due, session, track, replaces: false })).collect()
}

/// Moves of one session's picture after the other, evenly over the time that is measured.
fn moves(options: &Options, sessions: &[Session], begin: Stamp) -> Vec<Update> {
    let apart = options.seconds * 1e9 * MOVING_SHARE / options.moves.max(1) as f64;
    let turn = (0..sessions.len()).cycle().take(options.moves).enumerate();
    turn.map(|(number, session)| Update { due: begin + (number as f64 * apart) as Stamp, session, track: 0, replaces: true }).collect()
}

fn serve(ready: &[u64], sessions: &mut [Session], common: &mut Common) {
    for label in ready.iter().filter(|label| **label != updates::LABEL) {
        let (number, socket) = Socket::of(*label);
        sessions[number].ready(socket, common);
    }
}

/// The line, and whether every session played to the end.
fn report(
    options: &Options,
    common: &Common,
    sessions: &[Session],
    updates: Option<&Updates>,
    before: &Mark,
    edges: &Edges,
) -> (Value, bool) {
    let (Common { totals, moved, .. }, Edges { begin, end, .. }) = (common, edges);
    let tracks = || sessions.iter().flat_map(|session| &session.tracks);
    let sum = |count: fn(&Meter) -> u64| meters(sessions).map(count).sum::<u64>();
    let of_kind = |kind| tracks().filter(|track| track.kind == kind).flat_map(Track::meters).map(|meter| meter.packets).sum::<u64>();
    let spans = |from: fn(&Session) -> Option<Stamp>, to: fn(&Session) -> Option<Stamp>| {
        distribution(sessions.iter().filter_map(|session| Some((to(session)? - from(session)?) as f64 / 1e6)).collect())
    };
    let established = sessions.iter().filter(|session| session.playing_at.is_some()).count();
    let dropped = sessions.iter().filter(|session| session.dropped).count();
    let has_stalled = |session: &&Session| {
        let late = |meter: &Meter| meter.last_at().is_none_or(|at| end.at - at > STALLED);
        session.playing_at.is_some() && !session.dropped && session.tracks.iter().flat_map(Track::current).any(late)
    };
    let stalled = sessions.iter().filter(has_stalled).count();
    let errors: Vec<&String> = sessions.iter().filter_map(|session| session.failure.as_ref()).take(3).collect();
    let start_gap: u64 = tracks()
        .filter_map(|track| Some(track.meter.lowest()?.wrapping_sub(track.announced?)))
        .filter(|gap| *gap < LARGEST_GAP)
        .map(u64::from)
        .sum();
    let (lost, expected) = (sum(Meter::lost), sum(Meter::expected));

    let seconds = (end.at - begin.at) as f64 / 1e9;
    let (packets, octets) = ((end.packets - begin.packets) as f64, (end.octets - begin.octets) as f64);
    let gigabits = octets * 8.0 / 1e9;
    let server = before.server.zip(begin.server).zip(end.server).map(|((before, begin), end)| {
        let processor = end.processor() - begin.processor();
        json!({
            "cpu_user_s": number(end.user - begin.user), "cpu_sys_s": number(end.system - begin.system),
            "cpu_running_s": number(end.running - begin.running),
            "cpu_pct": number(100.0 * processor / seconds), "runq_wait_pct": number(100.0 * (end.waiting - begin.waiting) / seconds),
            "cpu_ms_per_gigabit": number(processor * 1e3 / gigabits), "cpu_us_per_packet": number(processor * 1e6 / packets),
            "cpu_setup_s": number(begin.processor() - before.processor()),
            "rss0_kb": before.resident, "rss_kb": end.resident, "peak_rss_kb": end.peak,
            "rss_kb_per_session": number((end.resident as f64 - before.resident as f64) / established as f64), "threads": end.threads,
        })
    });
    let core = begin.core.zip(end.core).map(|(begin, end)| {
        let (all, busy) = (end.all - begin.all, end.busy - begin.busy);
        json!({
            "busy_pct": number(100.0 * busy / all), "stolen_pct": number(100.0 * (end.stolen - begin.stolen) / all),
            "busy_ms_per_gigabit": number(busy * 1e3 / gigabits),
        })
    });
    let mut line = json!({
        "label": options.label, "transport": if options.tcp { "tcp" } else { "udp" }, "asked": options.sessions,
        "established": established, "held": established - dropped - stalled, "dropped": dropped, "stalled": stalled, "errors": errors,
        "packets": totals.packets + moved.packets, "octets": totals.octets + moved.octets, "video_packets": of_kind(Kind::Video), "audio_packets": of_kind(Kind::Audio),
        "rtcp_packets": sessions.iter().map(|session| session.rtcp_packets).sum::<u64>(),
        "lost": lost, "loss_pct": number(100.0 * lost as f64 / expected as f64), "duplicates": sum(|meter| meter.duplicates),
        "reordered": sum(|meter| meter.reordered), "too_late": sum(|meter| meter.too_late), "malformed": totals.malformed + moved.malformed,
        "other_payload_type": sum(|meter| meter.other_payload_type), "other_source": sum(|meter| meter.other_source), "start_gap": start_gap,
        "setup_to_first_rtp_ms": spans(|session| session.setup_at, Session::first_packet_at),
        "play_to_first_rtp_ms": spans(|session| session.play_at, Session::first_packet_at),
        "describe_to_play_ms": spans(|session| session.described_at, |session| session.playing_at),
        "pacing_ms": totals.pacing.report(), "unit_pacing_ms": totals.unit_pacing.report(), "bursts": totals.bursts.report(),
        "stamps": if options.tcp { "read" } else { "kernel" },
        "window_s": number(seconds), "mbit_s": number(octets * 8.0 / seconds / 1e6), "packets_s": number(packets / seconds),
        "generator_cpu_pct": number(100.0 * (end.own - begin.own) / seconds), "server": server, "core": core,
    });
    if let Some(updates) = updates {
        if options.branches > 1 {
            line["branches"] = branches_report(options, sessions, updates, edges);
        }
        if options.moves > 0 {
            line["moves"] = moves_report(options, sessions, updates);
        }
    }
    (line, established == options.sessions && dropped == 0 && updates.is_none_or(|updates| updates.refused == 0))
}

/// What came to each branch, and what the server takes for a further one: the growth of its time over the growth of what it sends.
fn branches_report(options: &Options, sessions: &[Session], updates: &Updates, edges: &Edges) -> Value {
    let tracks = || sessions.iter().flat_map(|session| &session.tracks);
    let of = |branch: usize, count: fn(&Meter) -> u64| tracks().filter_map(|track| track.meters().nth(branch)).map(count).sum::<u64>();
    let every: Vec<usize> = (0..usize::from(options.branches)).collect();
    let lost: Vec<u64> = every.iter().map(|branch| of(*branch, Meter::lost)).collect();
    let expected: Vec<u64> = every.iter().map(|branch| of(*branch, Meter::expected)).collect();
    let brought = |track: &Track| track.further.iter().filter(|branch| branch.meter.packets > 0).count();
    // Processor time and gigabits, each by the second.
    let pace = |begin: &Mark, end: &Mark| {
        let seconds = (end.at - begin.at) as f64 / 1e9;
        let processor = begin.server.zip(end.server).map_or(f64::NAN, |(begin, end)| end.processor() - begin.processor());
        (processor / seconds, (end.octets - begin.octets) as f64 * 8e-9 / seconds)
    };
    let (whole, alone) = (pace(&edges.begin, &edges.end), edges.alone.as_ref().map(|(begin, end)| pace(begin, end)));
    let (alone_cost, further_cost) = alone.map_or((f64::NAN, f64::NAN), |(processor, gigabits)| {
        (processor * 1e3 / gigabits, (whole.0 - processor) * 1e3 / (whole.1 - gigabits))
    });
    json!({
        "count": options.branches, "flows": tracks().count(), "further": tracks().map(brought).sum::<usize>(),
        "refused": updates.refused, "failures": updates.failures, "lost": lost, "expected": expected,
        "alone_cpu_ms_per_gigabit": number(alone_cost), "alone_mbit_s": number(alone.map_or(f64::NAN, |(_, gigabits)| gigabits * 1e3)),
        "further_cpu_ms_per_gigabit": number(further_cost), "update_to_answer_ms": distribution(updates.answered.clone()),
    })
}

/// From an update to the first packet at the new place.
fn moves_report(options: &Options, sessions: &[Session], updates: &Updates) -> Value {
    let branches = || sessions.iter().flat_map(|session| &session.tracks).flat_map(|track| &track.further);
    let spans = branches().filter_map(|branch| Some((branch.meter.first_at()? - branch.asked_at) as f64 / 1e6)).collect();
    json!({
        "asked": options.moves, "refused": updates.refused, "failures": updates.failures, "join": options.join,
        "lost_at_new": branches().map(|branch| branch.meter.lost()).sum::<u64>(),
        "update_to_first_packet_ms": distribution(spans), "update_to_answer_ms": distribution(updates.answered.clone()),
    })
}
