//! `flowsteer bind`, `prove` and `roam`: where this device is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::device::file::{DeviceFile, DeviceFolder};
use crate::cli::device::interrupt::Interrupt;
use crate::cli::device::{
    Towards, Undone, address, binding_id, bound, check_flow, keys, no_answer, open, pair, place, port, seconds, tell, wait, wait_all,
};
use crate::cli::operate::Reach;
use crate::device::exchange::PATIENCE;
use crate::device::{Ask, Event, FlowAsk, Runner};
use crate::net::now;
use crate::quantities::{MediaKind, PayloadType};
use crate::steering::{BindingId, HomeAddress};

/// How long the end of a binding is asked for.
pub(super) const FAREWELL: Duration = Duration::from_secs(3);

/// Where packets are to go.
#[derive(Debug, Args)]
pub struct Bind {
    /// The home address.
    home: Ipv6Addr,
    /// This device's address [default: the one from which the server is reached].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    care_of: Option<IpAddr>,
    /// Where it takes RTP [default: as agreed in the session set-up].
    #[arg(long, value_name = "PORT", value_parser = port)]
    rtp: Option<u16>,
    /// Where it takes RTCP [default: the next port].
    #[arg(long, value_name = "PORT", value_parser = port, requires = "rtp")]
    rtcp: Option<u16>,
    /// The binding's number.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = binding_id)]
    bid: u16,
    /// For so many seconds.
    #[arg(long, default_value_t = 600, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    lifetime: u32,
    /// What is expected of the first packet: video, audio or text.
    #[arg(long, value_name = "MEDIA", value_parser = media)]
    expect: Option<MediaKind>,
    /// Its payload type.
    #[arg(long, value_name = "N", value_parser = payload_type, requires = "expect")]
    payload_type: Option<u8>,
    /// Keep the binding until interrupted, and end it then.
    #[arg(long)]
    stay: bool,
    /// The key that the home address was reserved with, to reserve it again where the server has lost it [default: the same file].
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    towards: Towards,
}

/// Where this device is.
#[derive(Debug, Args)]
pub struct Prove {
    /// This device's address [default: the one from which the server is reached].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    care_of: Option<IpAddr>,
    #[command(flatten)]
    towards: Towards,
}

/// Where this device is now.
#[derive(Debug, Args)]
pub struct Roam {
    /// The home address.
    home: Ipv6Addr,
    /// The new address of this device.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    care_of: IpAddr,
    /// The binding's number: one that is there is led to the new address, another one is beside it for the window [default: a new one].
    #[arg(long, value_name = "N", value_parser = binding_id)]
    bid: Option<u16>,
    /// Where it takes RTP; RTCP is the next port.
    #[arg(long, value_name = "PORT", value_parser = port)]
    rtp: Option<u16>,
    /// How long the old address is served as well [default: as the server has it].
    #[arg(long, value_name = "MS")]
    window: Option<u32>,
    #[command(flatten)]
    towards: Towards,
}

/// For clap.
pub(super) fn media(text: &str) -> Result<MediaKind, &'static str> {
    match text {
        "video" => Ok(MediaKind::Video),
        "audio" => Ok(MediaKind::Audio),
        "text" => Ok(MediaKind::Text),
        _ => Err("video, audio or text"),
    }
}

fn payload_type(text: &str) -> Result<u8, &'static str> {
    text.parse().ok().filter(|bits| *bits <= 127).ok_or("a payload type is 0 to 127")
}

/// What a binding is to be.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) care_of: Option<IpAddr>,
    pub(super) ports: Option<(u16, u16)>,
    pub(super) bid: u16,
    pub(super) lifetime: Duration,
    pub(super) expects: Option<(MediaKind, Option<PayloadType>)>,
    pub(super) keep: bool,
}

impl Default for Bound {
    fn default() -> Self {
        Self { care_of: None, ports: None, bid: 1, lifetime: Duration::from_secs(600), expects: None, keep: false }
    }
}

/// What to tell of a binding.
pub(super) struct Told {
    pub(super) line: String,
    pub(super) value: Value,
}

impl Bound {
    fn ask(&self, file: &DeviceFile, care_of: IpAddr) -> Ask {
        let ask = Ask::bind(file.credential(), HomeAddress(file.home_address), BindingId(self.bid), care_of, self.lifetime);
        Ask { ports: self.ports, expects: self.expects, keep: self.keep, ..ask }
    }
}

/// A device that knows where it was with the numbers of that key.
fn open_for(file: &DeviceFile, server: SocketAddr, care_of: Option<IpAddr>) -> anyhow::Result<Runner> {
    let mut runner = open(server, care_of)?;
    if let Some(last) = file.last_number {
        runner.node().set_number(file.spi(), last);
    }
    Ok(runner)
}

/// Keeps what has changed; also after a refusal, since numbers were used.
pub(super) fn keep(folder: &DeviceFolder, file: &mut DeviceFile, runner: &mut Runner) -> anyhow::Result<()> {
    file.last_number = runner.node().number(file.spi()).or(file.last_number);
    folder.keep(file)
}

fn told(file: &DeviceFile, bid: u16, care_of: IpAddr, ports: Option<(u16, u16)>, lifetime: Duration) -> Told {
    let lifetime = lifetime.as_secs();
    Told {
        line: format!("bound {} to {} for {lifetime} s (binding {bid})", file.home_address, place(care_of, ports)),
        value: json!({
            "homeAddress": file.home_address.to_string(),
            "bindingId": bid,
            "careOf": place(care_of, ports),
            "rtcpPort": ports.map(|(_, rtcp)| rtcp),
            "lifetimeSeconds": lifetime,
        }),
    }
}

/// Binds, and keeps that in the file.
pub(super) fn once(folder: &DeviceFolder, file: &mut DeviceFile, server: SocketAddr, bound: &Bound) -> anyhow::Result<Told> {
    let mut runner = open_for(file, server, bound.care_of)?;
    begin(folder, file, server, bound, &mut runner, &|| false)
}

fn begin(
    folder: &DeviceFolder,
    file: &mut DeviceFile,
    server: SocketAddr,
    asked: &Bound,
    runner: &mut Runner,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Told> {
    let care_of = runner.care_of();
    let id = runner.node().ask(asked.ask(file, care_of), now());
    let mut done = None;
    let mut renewed = None;
    let outcome = wait_all(
        runner,
        &[id],
        server,
        &mut |event| {
            done = bound(event).or(done.take());
            if let Event::Reserved { spi, key, validity_end, .. } = event {
                renewed = Some((*spi, key.clone(), *validity_end));
            }
        },
        stop,
    );
    if let Some((spi, key, validity_end)) = renewed {
        file.set_key(spi, key, validity_end);
    }
    if outcome.is_ok() {
        file.note(asked.bid, care_of);
    }
    keep(folder, file, runner)?;
    outcome?;
    let done = done.context("the answer was not told")?;
    Ok(told(file, asked.bid, care_of, asked.ports, done.lifetime))
}

/// Binds this device.
pub fn run(arguments: &Bind, reach: &Reach) -> anyhow::Result<()> {
    let folder = DeviceFolder::find(arguments.towards.device_dir.as_deref())?;
    let mut file = folder.read(arguments.home)?;
    let server = arguments.towards.server(reach, Some(file.server), arguments.care_of)?.unwrap_or(file.server);
    let asked = Bound {
        care_of: arguments.care_of,
        ports: arguments.rtp.map(|rtp| pair(rtp, arguments.rtcp)).transpose()?,
        bid: arguments.bid,
        lifetime: Duration::from_secs(arguments.lifetime.into()),
        expects: arguments.expect.map(|kind| (kind, arguments.payload_type.and_then(PayloadType::new))),
        keep: arguments.stay,
    };
    let mut runner = open_for(&file, server, arguments.care_of)?;
    let key_file = arguments.key_file.clone().or_else(|| file.key_file.clone());
    match (&key_file, &file.nai) {
        (Some(path), nai) if arguments.key_file.is_some() => runner.node().provision(keys::read(path, nai.as_deref())?),
        // The file may have gone since; then what the server has lost stays lost.
        (Some(path), nai) => {
            if let Ok(provisioned) = keys::read(path, nai.as_deref()) {
                runner.node().provision(provisioned);
            }
        }
        (None, _) => {}
    }
    let interrupt = if arguments.stay { Some(Interrupt::watch()?) } else { None };
    let stop = || interrupt.as_ref().is_some_and(Interrupt::is_seen);
    let told = match begin(&folder, &mut file, server, &asked, &mut runner, &stop) {
        Err(error) if error.downcast_ref().is_some_and(|undone| matches!(undone, Undone::Interrupted)) => return Ok(()),
        told => told?,
    };
    tell(reach, &told.value, &told.line)?;
    if arguments.stay { stay(&folder, &mut file, server, asked.bid, &mut runner, &stop) } else { Ok(()) }
}

/// Keeps the binding until it is time to end.
fn stay(
    folder: &DeviceFolder,
    file: &mut DeviceFile,
    server: SocketAddr,
    bid: u16,
    runner: &mut Runner,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<()> {
    while !stop() {
        for event in runner.step(Duration::from_millis(100))? {
            match event {
                Event::Reserved { spi, key, validity_end, home, .. } => {
                    file.set_key(spi, key, validity_end);
                    keep(folder, file, runner)?;
                    eprintln!("flowsteer: reserved {home} again (spi {spi})");
                }
                Event::HomeUnknown { home, again: true } => eprintln!("flowsteer: {server} has lost {home}, reserving it again"),
                Event::HomeUnknown { home, again: false } => {
                    eprintln!(
                        "flowsteer: {server} says that nobody holds {home}: it may have been started anew; `flowsteer reserve` helps"
                    );
                }
                Event::Refused { status, .. } => {
                    file.forget(bid);
                    keep(folder, file, runner)?;
                    return Err(Undone::Refused(status).into());
                }
                _ => {}
            }
        }
    }
    let home = HomeAddress(file.home_address);
    if let Some(id) = runner.node().let_go(home, BindingId(bid), FAREWELL, now()) {
        // The server may have ended it already.
        match wait(runner, id, server) {
            Ok(_) => file.forget(bid),
            Err(error) => eprintln!("flowsteer: binding {bid} of {home} ends by itself: {error}"),
        }
    }
    keep(folder, file, runner)
}

/// Makes a care-of test.
pub fn prove(arguments: &Prove, reach: &Reach) -> anyhow::Result<()> {
    let server = arguments.towards.server_or_local(reach, arguments.care_of)?;
    let mut runner = open(server, arguments.care_of)?;
    let care_of = runner.care_of();
    runner.node().test(care_of, Some(PATIENCE), now());
    let token = loop {
        let tested = runner.step(Duration::from_secs(1))?.into_iter().find_map(|event| match event {
            Event::Tested { token, .. } => Some(token),
            _ => None,
        });
        match tested {
            Some(token) => break token,
            None if runner.node().is_testing(care_of) => {}
            None => return Err(no_answer(&mut runner, server).into()),
        }
    };
    let hex: String = token.token.iter().map(|octet| format!("{octet:02x}")).collect();
    let value = json!({ "careOf": care_of.to_string(), "nonceIndex": token.index, "token": hex });
    tell(reach, &value, &format!("nonce {} token {hex}", token.index))
}

/// Goes on at another address.
pub fn roam(arguments: &Roam, reach: &Reach) -> anyhow::Result<()> {
    let folder = DeviceFolder::find(arguments.towards.device_dir.as_deref())?;
    let mut file = folder.read(arguments.home)?;
    let care_of = arguments.care_of;
    let server = arguments.towards.server(reach, Some(file.server), Some(care_of))?.unwrap_or(file.server);
    let known = |id: u16| file.bindings.iter().any(|known| known.binding_id == id);
    let Some(bid) = arguments.bid.or_else(|| (1..=u16::MAX).find(|id| !known(*id))) else { bail!("no number of a binding is left") };
    let ports = arguments.rtp.map(|rtp| pair(rtp, None)).transpose()?;
    let mut runner = open_for(&file, server, Some(care_of))?;
    let home = HomeAddress(file.home_address);
    let flow = FlowAsk { id: 1, label: None, source: None, bindings: vec![BindingId(bid)] };
    let ask = Ask::bind(file.credential(), home, BindingId(bid), care_of, Duration::from_secs(600));
    let ask = Ask { ports, window_ms: arguments.window, flow: Some(flow), ..ask };
    let id = runner.node().ask(ask, now());
    let event = wait(&mut runner, id, server);
    if event.is_ok() {
        file.note(bid, care_of);
    }
    keep(&folder, &mut file, &mut runner)?;
    let done = bound(&event?).context("the answer was not told")?;
    check_flow(done.flow)?;
    let window = arguments.window.map_or_else(String::new, |window| format!(", window {}", seconds(window)));
    let mut value = told(&file, bid, care_of, ports, done.lifetime).value;
    value["windowMs"] = json!(arguments.window);
    tell(reach, &value, &format!("{home} roams to {} (binding {bid}){window}", place(care_of, ports)))
}
