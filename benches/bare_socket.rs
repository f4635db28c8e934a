//! What the kernel alone takes for the server's load: runs of 12 segments of 1400 octets, a message to each of 400 sockets in
//! turn, by `sendmmsg` with UDP_SEGMENT, and nothing else. The floor under the server's figure of the same unit.
//!
//! `cargo bench --bench bare_socket -- --sockets 400 --rate 1660 --seconds 8` prints one JSON line: processor time per gigabit.
//! Another thread waits for the sockets and empties them, on a core of its own if one is named; only the sending thread's time counts. `--rate 0`
//! sends as fast as it goes.
//!
//! `--film FILE` sends what sessions of that film would be sent, message for message and at the same times (large pictures in pieces), to two
//! sockets each: the same sizes, but always the same octets, without reading, headers, filter and map. The floor under a server that
//! keeps its times; `late_ms_p99` tells whether it keeps them itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use flowsteer::library::{ReadAt, TitlePath, container};
use flowsteer::net::udp::{self, MAX_MESSAGE, MAX_SEGMENTS, Message, Part, Scratch};
use flowsteer::payload::{PacketBuffer, Payloader};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};
use nix::unistd::Pid;

#[derive(Parser)]
struct Options {
    /// Sockets that are sent to.
    #[arg(long, default_value_t = 400)]
    sockets: usize,
    /// Segments of a message.
    #[arg(long, default_value_t = 12)]
    segments: usize,
    /// Octets of a segment.
    #[arg(long, default_value_t = 1400)]
    octets: u16,
    /// Messages of one call.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Mbit/s of payload; 0 is as fast as it goes.
    #[arg(long, default_value_t = 1660.0)]
    rate: f64,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// A film that as many sessions play as there are pairs of sockets, from several positions.
    #[arg(long, value_name = "FILE", conflicts_with = "rate")]
    film: Option<PathBuf>,
    /// The core to send on.
    #[arg(long)]
    send_core: Option<usize>,
    /// The core to receive on.
    #[arg(long)]
    receive_core: Option<usize>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Datagrams taken with one call.
const RECEIVED: usize = 256;
/// How long the receiver waits before it looks whether it is over.
const RECEIVE_WAIT_MS: u8 = 10;

fn processor() -> f64 {
    let times = getrusage(UsageWho::RUSAGE_THREAD).map(|usage| [usage.user_time(), usage.system_time()]);
    times.map_or(0.0, |times| times.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum())
}

fn stay_on(core: Option<usize>) -> std::io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Empties sockets until told to stop: datagrams that came. It waits for them as receivers do, so that waking it is part of sending.
fn receive(sinks: &[UdpSocket], core: Option<usize>, stop: &AtomicBool) -> std::io::Result<u64> {
    if let Err(error) = stay_on(core) {
        eprintln!("bare_socket: core for receiving: {error}");
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, sink) in sinks.iter().enumerate() {
        epoll.add(sink, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
    }
    let mut events = vec![EpollEvent::empty(); sinks.len().max(1)];
    let (mut headers, mut heads) = (MultiHeaders::<()>::preallocate(RECEIVED, None), [[0; 1]; RECEIVED]);
    let mut received = 0;
    while !stop.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, RECEIVE_WAIT_MS).unwrap_or(0);
        for event in events.iter().take(count) {
            let Some(sink) = sinks.get(event.data() as usize) else { continue };
            let mut slices = heads.each_mut().map(|head| [IoSliceMut::new(head)]);
            let taken = recvmmsg(sink.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
            received += taken.map_or(0, |messages| messages.count() as u64);
        }
    }
    Ok(received)
}

fn run(options: &Options) -> std::io::Result<serde_json::Value> {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    setsockopt(&sender, sockopt::SndBuf, &(4 << 20))?;
    let mut sinks = Vec::with_capacity(options.sockets);
    let mut addresses = Vec::with_capacity(options.sockets);
    for _ in 0..options.sockets {
        let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sink.set_nonblocking(true)?;
        if setsockopt(&sink, sockopt::RcvBufForce, &(2 << 20)).is_err() {
            setsockopt(&sink, sockopt::RcvBuf, &(2 << 20))?;
        }
        addresses.push(Some(SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, sink.local_addr()?.port()))));
        sinks.push(sink);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&sinks, options.receive_core, &stop));
        let sent = stay_on(options.send_core).and_then(|()| match &options.film {
            Some(film) => send_film(options, film, &sinks),
            None => send(options, &sender, &addresses),
        });
        // What was sent last has its time to be taken.
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        let received = receiver.join().map_err(|_| std::io::Error::other("the receiver failed"))??;
        let mut line = sent?;
        line["received"] = received.into();
        Ok(line)
    })
}

fn send(options: &Options, sender: &UdpSocket, addresses: &[Option<SockaddrIn>]) -> std::io::Result<serde_json::Value> {
    let len = options.segments * usize::from(options.octets);
    let payload = vec![0x5a_u8; len];
    let control = [ControlMessage::UdpGsoSegments(&options.octets)];
    let part = [IoSlice::new(&payload)];
    let mut headers = MultiHeaders::preallocate(options.batch, Some(nix::cmsg_space!(u16)));
    let (mut messages, mut calls, mut at) = (0_u64, 0_u64, 0);
    let (began, before) = (Instant::now(), processor());
    while began.elapsed().as_secs_f64() < options.seconds {
        let due = began.elapsed().as_secs_f64() * options.rate * 1e6 / 8.0;
        if options.rate > 0.0 && (messages * len as u64) as f64 > due {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let to = &addresses[at..addresses.len().min(at + options.batch)];
        let parts = std::iter::repeat_n(&part, to.len());
        let sent = sendmmsg(sender.as_raw_fd(), &mut headers, parts, to, control, MsgFlags::empty())?.count();
        messages += sent as u64;
        calls += 1;
        at = (at + sent) % addresses.len();
    }
    let (seconds, processor) = (began.elapsed().as_secs_f64(), processor() - before);
    let gigabits = (messages * len as u64 * 8) as f64 / 1e9;
    Ok(serde_json::json!({
        "label": "bare socket", "sockets": options.sockets, "segments": options.segments, "octets": options.octets,
        "messages": messages, "calls": calls, "datagrams": messages * options.segments as u64,
        "mbit_s": gigabits * 1e3 / seconds, "messages_per_gigabit": messages as f64 / gigabits, "cpu_pct": 100.0 * processor / seconds, "cpu_ms_per_gigabit": processor * 1e3 / gigabits,
    }))
}

/// Octets of a packet at most, as the server has it by itself.
const PACKET: usize = 1400;
/// Where sessions begin, in seconds, one behind the other.
const STARTS: [u64; 8] = [0, 7, 13, 21, 29, 37, 45, 51];
/// The server's timers go by this, and so do pieces of a picture: of so many packets at least, and so many pieces at most.
const TICK: u64 = 1_000_000;
const PIECE: usize = 16;
const PIECES: usize = 3;

/// A piece of an access unit as messages: when it is due, in nanoseconds, and for each message its octets and those of a segment.
struct Unit {
    due: u64,
    messages: Vec<(usize, usize)>,
}

/// What each track of a film comes to on the wire.
fn units(film: &Path) -> Result<Vec<Vec<Unit>>, Box<dyn std::error::Error>> {
    let source: Arc<dyn ReadAt> = Arc::new(fs::read(film)?);
    let title = container::parse(Arc::clone(&source), TitlePath::new("film.mp4").ok_or("a path")?)?;
    let mut tracks = Vec::new();
    for track in &title.tracks {
        let payloader = Payloader::new(&track.codec, PACKET)?;
        let grouping = payloader.grouping(track);
        let (mut units, mut buffer, mut position) = (Vec::new(), PacketBuffer::default(), 0);
        while let Some(first) = track.access_unit(position) {
            let (mut octets, mut sizes) = (Vec::new(), Vec::new());
            for unit in std::iter::once(first).chain(grouping.second(track, position)) {
                let begin = octets.len();
                octets.resize(begin + unit.size as usize, 0);
                source.read_exact_at(&mut octets[begin..], unit.offset)?;
                sizes.push(unit.size as usize);
            }
            buffer.clear();
            payloader.payload_together(&octets, &sizes, first.random_access, &mut buffer)?;
            let packets = buffer.packets().len();
            let due = u64::try_from(track.decode_time(&first).as_nanos()).unwrap_or(0) + grouping.hold().as_nanos() as u64;
            let piece = packets.div_ceil(PIECES).max(PIECE);
            for (number, begin) in (0..packets).step_by(piece).enumerate() {
                let runs = buffer.runs(begin..(begin + piece).min(packets), MAX_SEGMENTS, MAX_MESSAGE);
                let messages = runs.map(|run| (run.range.len(), run.segment)).collect();
                units.push(Unit { due: due + number as u64 * TICK, messages });
            }
            position += grouping.count(track, position);
        }
        tracks.push(units);
    }
    Ok(tracks)
}

fn send_film(options: &Options, film: &Path, sinks: &[UdpSocket]) -> std::io::Result<serde_json::Value> {
    let tracks = units(film).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut socket = udp::UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let payload = vec![0x5a; MAX_MESSAGE];
    let to = sinks.iter().map(UdpSocket::local_addr).collect::<std::io::Result<Vec<_>>>()?;
    let sessions = to.len() / tracks.len().max(1);
    // Each is a little later than the one before, so that pictures are due all the time.
    let begins = |session: usize| STARTS[session % STARTS.len()] * 1_000_000_000 + session as u64 * 7_300_000 % 1_000_000_000;
    let mut due = BinaryHeap::new();
    for session in 0..sessions {
        for (number, track) in tracks.iter().enumerate() {
            let first = track.partition_point(|unit| unit.due < begins(session));
            if let Some(unit) = track.get(first) {
                due.push(Reverse((unit.due - begins(session), session, number, first)));
            }
        }
    }
    let (mut parts, mut messages, mut scratch) = (Vec::new(), Vec::new(), Scratch::default());
    let (mut octets, mut count, mut datagrams, mut refused, mut wakings, mut late) = (0, 0, 0, 0, 0_u64, Vec::new());
    let (began, before) = (Instant::now(), processor());
    while began.elapsed().as_secs_f64() < options.seconds {
        let now = began.elapsed().as_nanos() as u64;
        while let Some(&Reverse((at, session, number, position))) = due.peek()
            && at <= now
            && messages.len() < udp::BATCH
        {
            due.pop();
            late.push(now - at);
            for &(len, segment) in &tracks[number][position].messages {
                parts.push(Part { buffer: 0, start: 0, len: len as u32 });
                let parts = parts.len() - 1..parts.len();
                let to = to[session * tracks.len() + number];
                messages.push(Message { parts, parts_each: 1, len, segment, to, label: 0, from: None, traffic_class: 0 });
            }
            if let Some(next) = tracks[number].get(position + 1) {
                due.push(Reverse((next.due - begins(session), session, number, position + 1)));
            }
        }
        if messages.is_empty() {
            let next = due.peek().map_or(now + TICK, |Reverse((at, ..))| *at).div_ceil(TICK) * TICK;
            std::thread::sleep(Duration::from_nanos(next.saturating_sub(began.elapsed().as_nanos() as u64)));
            wakings += 1;
            continue;
        }
        let (sent, taken, _) = socket.send(&payload[..], &parts, &mut messages, &mut scratch);
        octets += sent.octets;
        datagrams += sent.datagrams;
        // What finds no room is given up.
        refused += sent.refused + messages[taken..].iter().map(Message::datagrams).sum::<u64>();
        count += taken;
        messages.clear();
        parts.clear();
    }
    let (seconds, processor) = (began.elapsed().as_secs_f64(), processor() - before);
    let gigabits = (octets * 8) as f64 / 1e9;
    late.sort_unstable();
    Ok(serde_json::json!({
        "label": "bare film", "late_ms_p99": late.get(late.len() * 99 / 100).map(|late| *late as f64 / 1e6), "sessions": sessions, "messages": count, "datagrams": datagrams, "refused": refused, "wakings": wakings,
        "mbit_s": gigabits * 1e3 / seconds, "messages_per_gigabit": count as f64 / gigabits, "cpu_pct": 100.0 * processor / seconds, "cpu_ms_per_gigabit": processor * 1e3 / gigabits,
    }))
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bare_socket: {error}");
            ExitCode::FAILURE
        }
    }
}
