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

mod meter;
mod process;
mod rtsp;
mod session;
mod sockets;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use meter::{MILLISECOND, SECOND, Stamp, Totals, distribution, number};
use process::{Core, Process};
use rtsp::Kind;
use session::{Common, Session, Socket, Stage};
use sockets::{Inbox, Ports, Waiting, raise_descriptors, wall_clock};

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
    fn now(options: &Options, totals: &Totals) -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let own = usage.map_or(0.0, |usage| {
            [usage.user_time(), usage.system_time()].iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum()
        });
        Self {
            at: wall_clock(),
            packets: totals.packets,
            octets: totals.octets,
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
    };
    let urls = options.urls.iter().cycle().cloned();
    let mut sessions: Vec<Session> = urls.take(options.sessions).enumerate().map(|(number, url)| Session::new(number, url)).collect();
    let before = Mark::now(options, &common.totals);
    let (begin, end) = play(options, &mut common, &mut sessions);
    sessions.iter_mut().flat_map(|session| &mut session.tracks).for_each(|track| track.meter.finish(&mut common.totals));
    Ok(report(options, &common.totals, &sessions, &before, &begin, &end))
}

/// Starts all sessions, plays, ends them: the edges of the time in which all played.
fn play(options: &Options, common: &mut Common, sessions: &mut [Session]) -> (Mark, Mark) {
    let batch = options.batch_us.max(1) * 1000;
    let (mut next, mut start_at, mut drained_at, mut ticked_at) = (0, wall_clock(), 0, 0);
    let mut begin: Option<Mark> = None;
    let mut end: Option<Mark> = None;
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
        common.control.wait(Duration::from_nanos(batch.unsigned_abs()));
        common.control.ready(&mut ready);
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
        match (&begin, &end) {
            (None, _) if next == sessions.len() && sessions.iter().all(Session::is_settled) => {
                begin = Some(Mark::now(options, &common.totals));
            }
            (Some(mark), None) if (now - mark.at) as f64 >= options.seconds * 1e9 => {
                end = Some(Mark::now(options, &common.totals));
                sessions.iter_mut().for_each(Session::tear_down);
            }
            (Some(_), Some(mark)) if now - mark.at > FAREWELL || !sessions.iter().any(|session| session.stage == Stage::Teardown) => break,
            _ => {}
        }
    }
    let now = || Mark::now(options, &common.totals);
    (begin.unwrap_or_else(now), end.unwrap_or_else(now))
}

fn serve(ready: &[u64], sessions: &mut [Session], common: &mut Common) {
    for label in ready {
        let (number, socket) = Socket::of(*label);
        sessions[number].ready(socket, common);
    }
}

/// The line, and whether every session played to the end.
fn report(options: &Options, totals: &Totals, sessions: &[Session], before: &Mark, begin: &Mark, end: &Mark) -> (Value, bool) {
    let tracks = || sessions.iter().flat_map(|session| &session.tracks);
    let sum = |count: fn(&meter::Meter) -> u64| tracks().map(|track| count(&track.meter)).sum::<u64>();
    let of_kind = |kind| tracks().filter(|track| track.kind == kind).map(|track| track.meter.packets).sum::<u64>();
    let spans = |from: fn(&Session) -> Option<Stamp>, to: fn(&Session) -> Option<Stamp>| {
        distribution(sessions.iter().filter_map(|session| Some((to(session)? - from(session)?) as f64 / 1e6)).collect())
    };
    let established = sessions.iter().filter(|session| session.playing_at.is_some()).count();
    let dropped = sessions.iter().filter(|session| session.dropped).count();
    let has_stalled = |session: &&Session| {
        let late = |track: &session::Track| track.meter.last_at().is_none_or(|at| end.at - at > STALLED);
        session.playing_at.is_some() && !session.dropped && session.tracks.iter().any(late)
    };
    let stalled = sessions.iter().filter(has_stalled).count();
    let errors: Vec<&String> = sessions.iter().filter_map(|session| session.failure.as_ref()).take(3).collect();
    let start_gap: u64 = tracks()
        .filter_map(|track| Some(track.meter.lowest()?.wrapping_sub(track.announced?)))
        .filter(|gap| *gap < LARGEST_GAP)
        .map(u64::from)
        .sum();
    let (lost, expected) = (sum(meter::Meter::lost), sum(meter::Meter::expected));

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
    let line = json!({
        "label": options.label, "transport": if options.tcp { "tcp" } else { "udp" }, "asked": options.sessions,
        "established": established, "held": established - dropped - stalled, "dropped": dropped, "stalled": stalled, "errors": errors,
        "packets": totals.packets, "octets": totals.octets, "video_packets": of_kind(Kind::Video), "audio_packets": of_kind(Kind::Audio),
        "rtcp_packets": sessions.iter().map(|session| session.rtcp_packets).sum::<u64>(),
        "lost": lost, "loss_pct": number(100.0 * lost as f64 / expected as f64), "duplicates": sum(|meter| meter.duplicates),
        "reordered": sum(|meter| meter.reordered), "too_late": sum(|meter| meter.too_late), "malformed": totals.malformed,
        "other_payload_type": sum(|meter| meter.other_payload_type), "other_source": sum(|meter| meter.other_source), "start_gap": start_gap,
        "setup_to_first_rtp_ms": spans(|session| session.setup_at, Session::first_packet_at),
        "play_to_first_rtp_ms": spans(|session| session.play_at, Session::first_packet_at),
        "describe_to_play_ms": spans(|session| session.described_at, |session| session.playing_at),
        "pacing_ms": totals.pacing.report(), "unit_pacing_ms": totals.unit_pacing.report(), "bursts": totals.bursts.report(),
        "stamps": if options.tcp { "read" } else { "kernel" },
        "window_s": number(seconds), "mbit_s": number(octets * 8.0 / seconds / 1e6), "packets_s": number(packets / seconds),
        "generator_cpu_pct": number(100.0 * (end.own - begin.own) / seconds), "server": server, "core": core,
    });
    (line, established == options.sessions && dropped == 0)
}
