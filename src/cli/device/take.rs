//! `flowsteer take`: this device takes flows over, keeps them while it runs, and lets them go at its end.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::device::bind::{FAREWELL, media};
use crate::cli::device::file::{read_bounded, read_file, write_private};
use crate::cli::device::interrupt::Interrupt;
use crate::cli::device::player::Player;
use crate::cli::device::target::Target;
use crate::cli::device::{PORT, Towards, Undone, address, check_flow, meaning, open, place, port, seconds, tell, wait_all};
use crate::cli::operate::Reach;
use crate::device::description::{Place, placed};
use crate::device::{Ask, Credential, Event, Flow, FlowAsk, Runner, StreamContext};
use crate::mobility::wire::{FlowStatus, TransitionWindow};
use crate::net::now;
use crate::quantities::MediaKind;

/// What is taken, and where to.
#[derive(Debug, Args)]
pub struct Take {
    /// The stream context, as `flowsteer context HOME` writes it; `-` reads it from standard input.
    context: PathBuf,
    /// Its keys, where they were split off.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// This device's address [default: the one from which the server is reached].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    care_of: Option<IpAddr>,
    /// Where it takes the first flow's RTP, RTCP being the next port; each further flow two ports higher [default: free ones].
    #[arg(long, value_name = "PORT", value_parser = port)]
    rtp: Option<u16>,
    /// How long the old device is served as well [default: as the context says].
    #[arg(long, value_name = "MS")]
    window: Option<u32>,
    /// Leave the flows at the old device, too.
    #[arg(long)]
    fork: bool,
    /// Write a description there that players open, before anything comes. Where nobody listens within two seconds, the server gives up.
    #[arg(long, value_name = "FILE")]
    sdp: Option<PathBuf>,
    /// Start this player, and let the flows come once it listens; the description's path is appended, or takes the place of {}.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Only flows of this kind: video, audio or text.
    #[arg(long, value_name = "MEDIA", value_parser = media)]
    flow: Option<MediaKind>,
    /// Who takes it, where the context is bound to somebody.
    #[arg(long, value_name = "NAI")]
    identity: Option<String>,
    #[command(flatten)]
    towards: Towards,
}

/// Reads a context, with its keys where they lie apart.
pub(super) fn read(path: &Path, keys: Option<&Path>) -> anyhow::Result<StreamContext> {
    let text = if path == Path::new("-") { read_bounded(std::io::stdin()).context("standard input")? } else { read_file(path)? };
    let read = match keys {
        None => StreamContext::read(&text),
        Some(keys) => {
            let keys = read_file(keys)?;
            StreamContext::read_with_keys(&text, &keys)
        }
    };
    read.with_context(|| path.display().to_string())
}

/// The flows of a kind, pictures first.
pub(super) fn chosen(context: &StreamContext, kind: Option<MediaKind>) -> anyhow::Result<Vec<&Flow>> {
    let mut flows: Vec<&Flow> = context.flows().iter().filter(|flow| kind.is_none_or(|kind| flow.media() == kind.as_str())).collect();
    if let (Some(kind), true) = (kind, flows.is_empty()) {
        bail!("the context has no {kind} flow");
    }
    flows.sort_by_key(|flow| flow.media() != "video");
    Ok(flows)
}

/// Where the signalling is: as `--server` says, else as the context does.
fn server(arguments: &Take, context: &StreamContext, reach: &Reach) -> anyhow::Result<SocketAddr> {
    let port = arguments.towards.mobility_port.or_else(|| context.signalling_port()).unwrap_or(PORT);
    if let Some(text) = reach.named_server() {
        let target = Target::parse(text)?;
        // A port that stands in --server goes before that of the context.
        let given = arguments.towards.mobility_port.or(if target.has_port() { None } else { Some(port) });
        return target.resolve(given, arguments.care_of);
    }
    let source = SocketAddr::new(context.media_source(), port);
    if arguments.care_of.is_none_or(|care_of| care_of.is_ipv4() == source.is_ipv4()) {
        return Ok(source);
    }
    let host =
        context.rtsp_uri().and_then(|uri| Target::parse(uri).ok()).and_then(|target| target.resolve(Some(port), arguments.care_of).ok());
    let host = host.filter(|host| arguments.care_of.is_none_or(|care_of| care_of.is_ipv4() == host.is_ipv4()));
    host.with_context(|| format!("the context names its server as {source}: name an address that reaches it from here with --server"))
}

/// So many pairs of free ports, one after the other; held until they are dropped.
fn free_ports(care_of: IpAddr, count: usize) -> anyhow::Result<(u16, Vec<UdpSocket>)> {
    /// Flows that one take is for at most.
    const MAX_FLOWS: usize = 64;
    if count == 0 || count > MAX_FLOWS {
        bail!("the context has {count} flows: at most {MAX_FLOWS} are taken at once");
    }
    let last = u16::try_from(2 * count).context("so many flows have no ports")?;
    for first in (16_384_u16..32_768 - last).step_by(usize::from(last)) {
        let held: Result<Vec<UdpSocket>, _> = (first..first + last).map(|port| UdpSocket::bind((care_of, port))).collect();
        if let Ok(held) = held {
            return Ok((first, held));
        }
    }
    bail!("{care_of} has no free ports: name some with --rtp")
}

/// A flow that is being taken.
struct Taken<'a> {
    flow: &'a Flow,
    ports: (u16, u16),
    ask: Ask,
    is_fork: bool,
    done: Option<(Duration, Option<FlowStatus>)>,
}

impl Taken<'_> {
    fn window(&self) -> Option<u32> {
        self.ask.window_ms.filter(|_| !self.is_fork)
    }
}

fn asks<'a>(arguments: &Take, context: &StreamContext, flows: &[&'a Flow], care_of: IpAddr, rtp: u16) -> anyhow::Result<Vec<Taken<'a>>> {
    let mut taken = Vec::new();
    for (index, flow) in flows.iter().enumerate() {
        let grant = flow.grant().context("the context has no key for this flow")?;
        if let (Some(bound), Some(given)) = (&grant.identity, &arguments.identity)
            && bound != given
        {
            bail!("the context is bound to {bound}, not to {given}: ask for one of your own");
        }
        if grant.validity_end <= now().utc.unix_seconds() {
            bail!("the key for {} has ended: ask for a new context", flow.home());
        }
        let more = u16::try_from(2 * index).ok().and_then(|more| rtp.checked_add(more)).filter(|rtp| *rtp < u16::MAX);
        let first = more.with_context(|| format!("above port {rtp} there is no room for {} flows", flows.len()))?;
        let ports = (first, first + 1);
        let previous = flow.previous().filter(|previous| arguments.fork && *previous != flow.yours());
        let bindings = previous.into_iter().chain([flow.yours()]).collect();
        let window_ms = if arguments.fork { Some(TransitionWindow::FOR_EVER) } else { arguments.window.or_else(|| flow.window_ms()) };
        let credential = Credential::Session { transfer_id: context.transfer_id(), label: flow.label(), grant };
        let source = flow.grant().map(|grant| grant.media_source);
        let ask = Ask::bind(credential, flow.home(), flow.yours(), care_of, Duration::from_secs(600));
        let about = FlowAsk { id: flow.flow_id().unwrap_or(1), label: Some(flow.label()), source, bindings };
        let ask = Ask { ports: Some(ports), window_ms, flow: Some(about), keep: true, ..ask };
        taken.push(Taken { flow, ports, ask, is_fork: arguments.fork, done: None });
    }
    Ok(taken)
}

/// Takes flows over.
pub fn run(arguments: &Take, reach: &Reach) -> anyhow::Result<()> {
    let context = read(&arguments.context, arguments.keys.as_deref())?;
    let flows = chosen(&context, arguments.flow)?;
    let server = server(arguments, &context, reach)?;
    let mut runner = open(server, arguments.care_of)?;
    let care_of = runner.care_of();
    let (rtp, held) = match arguments.rtp {
        Some(rtp) => (rtp, Vec::new()),
        None => free_ports(care_of, flows.len())?,
    };
    let mut taken = asks(arguments, &context, &flows, care_of, rtp)?;
    let description = describe(arguments, &context, &taken, care_of)?;
    let interrupt = Interrupt::watch()?;
    // The player binds them now. The first packets are those of a whole picture: it is to be there before they are.
    drop(held);
    let player = match (&arguments.exec, &description) {
        (Some(line), Some(description)) => {
            let mut player = Player::start(line, description.path())?;
            player.wait_until_it_listens(rtp)?;
            Some(player)
        }
        _ => None,
    };
    let outcome = establish(&mut runner, &mut taken, server, &interrupt);
    if let Err(error) = outcome {
        let_go(&mut runner, &taken, server);
        return match error.downcast_ref() {
            Some(Undone::Interrupted) => Ok(()),
            _ => Err(error),
        };
    }
    report(reach, &taken, care_of)?;
    let outcome = stay(&mut runner, &taken, server, player, &interrupt);
    let_go(&mut runner, &taken, server);
    outcome
}

/// The description, removed at the end where nobody asked for it.
struct Description {
    path: PathBuf,
    is_asked_for: bool,
}

impl Description {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if !self.is_asked_for {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn describe(arguments: &Take, context: &StreamContext, taken: &[Taken<'_>], care_of: IpAddr) -> anyhow::Result<Option<Description>> {
    let is_asked_for = arguments.sdp.is_some();
    let path = match (&arguments.sdp, &arguments.exec) {
        (Some(path), _) => path.clone(),
        (None, Some(_)) => std::env::temp_dir().join(format!("flowsteer-{}.sdp", std::process::id())),
        (None, None) => return Ok(None),
    };
    let sdp = context.sdp().context("the context describes no media: without a description no player can be started")?;
    let places: Vec<Place<'_>> =
        taken.iter().map(|taken| Place { media: taken.flow.media(), rtp: taken.ports.0, rtcp: taken.ports.1 }).collect();
    let text = placed(sdp, care_of, &places)?;
    write_private(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
    Ok(Some(Description { path, is_asked_for }))
}

/// One test, and one update for each flow.
fn establish(runner: &mut Runner, taken: &mut [Taken<'_>], server: SocketAddr, interrupt: &Interrupt) -> anyhow::Result<()> {
    ask_all(runner, taken, server, interrupt)?;
    // Who had a flow has gone meanwhile: it goes on without.
    let mut again: Vec<&mut Taken<'_>> = Vec::new();
    for one in taken.iter_mut() {
        let refused = matches!(one.done, Some((_, Some(FlowStatus::UNKNOWN_BINDING))));
        if refused && one.is_fork {
            if let Some(flow) = &mut one.ask.flow {
                flow.bindings = vec![one.flow.yours()];
            }
            one.done = None;
            again.push(one);
        }
    }
    for one in again {
        ask_all(runner, std::slice::from_mut(one), server, interrupt)?;
    }
    taken.iter().try_for_each(|taken| check_flow(taken.done.and_then(|(_, flow)| flow)))
}

fn ask_all(runner: &mut Runner, taken: &mut [Taken<'_>], server: SocketAddr, interrupt: &Interrupt) -> anyhow::Result<()> {
    let ids: Vec<_> = taken.iter().map(|taken| runner.node().ask(taken.ask.clone(), now())).collect();
    let mut told = |event: &Event| {
        if let Event::Bound { id: Some(id), lifetime, flow, .. } = event
            && let Some(index) = ids.iter().position(|known| known == id)
        {
            taken[index].done = Some((*lifetime, *flow));
        }
    };
    wait_all(runner, &ids, server, &mut told, &|| interrupt.is_seen())
}

fn report(reach: &Reach, taken: &[Taken<'_>], care_of: IpAddr) -> anyhow::Result<()> {
    let (mut lines, mut values) = (Vec::new(), Vec::new());
    for one in taken {
        let to = place(care_of, Some(one.ports));
        let window = one.window().map_or_else(String::new, |window| match window {
            TransitionWindow::FOR_EVER => ", and stays where it was".into(),
            window => format!(", window {}", seconds(window)),
        });
        lines.push(format!("{} {} to {to}{window}", one.flow.media(), if one.is_fork { "also goes" } else { "moved" }));
        values.push(shown(one, &to));
    }
    tell(reach, &json!({ "flows": values }), &lines.join("\n"))
}

fn shown(one: &Taken<'_>, to: &str) -> Value {
    json!({
        "media": one.flow.media(),
        "homeAddress": one.flow.home().to_string(),
        "bindingId": one.flow.yours().0,
        "careOf": to,
        "rtcpPort": one.ports.1,
        "mode": if one.is_fork { "fork" } else { "move" },
        "windowMs": one.window(),
        "lifetimeSeconds": one.done.map(|(lifetime, _)| lifetime.as_secs()),
    })
}

/// Refreshes until it is time to end.
fn stay(runner: &mut Runner, taken: &[Taken<'_>], server: SocketAddr, player: Option<Player>, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut player = player;
    let mut left = taken.len();
    while !interrupt.is_seen() {
        for event in runner.step(Duration::from_millis(100))? {
            match event {
                Event::HomeUnknown { home, .. } => {
                    eprintln!("flowsteer: {server} says that nobody holds {home}: it may have been started anew; ask for a new context");
                }
                Event::Refused { id: None, home, status } => {
                    left -= 1;
                    let home = home.map_or_else(|| "a flow".into(), |home| home.to_string());
                    eprintln!("flowsteer: {home} is not kept any more: {}", meaning(status));
                    if left == 0 {
                        return Err(Undone::Refused(status).into());
                    }
                }
                _ => {}
            }
        }
        if let Some(running) = &mut player
            && running.has_ended()?
        {
            return Ok(());
        }
    }
    if let Some(player) = player.take() {
        player.end();
    }
    Ok(())
}

/// Ends what was taken. Who does not answer ends it when its time is over.
fn let_go(runner: &mut Runner, taken: &[Taken<'_>], server: SocketAddr) {
    let mut ids = Vec::new();
    for one in taken {
        let (home, binding) = (one.flow.home(), one.flow.yours());
        match runner.node().let_go(home, binding, FAREWELL, now()) {
            Some(id) => ids.push((id, true)),
            // It was asked for, and its answer may be on the way: what is there then is not to stay.
            None => {
                let mut ask = Ask::remove(one.ask.credential.clone(), home, Some(binding), one.ask.care_of);
                ask.patience = Some(FAREWELL);
                ids.push((runner.node().ask(ask, now()), false));
            }
        }
    }
    for (id, was_bound) in ids {
        if let Err(error) = super::wait(runner, id, server)
            && was_bound
        {
            eprintln!("flowsteer: a binding ends by itself: {error}");
        }
    }
}
