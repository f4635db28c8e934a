//! The device commands: reserve a home address, bind, prove where a device is, take a flow over, give it away, roam. They speak the
//! mobility signalling with a server (`docs/signalling.md`).

mod bind;
mod file;
mod give;
mod interrupt;
mod keys;
mod player;
mod reserve;
mod take;
mod target;

pub use file::write_private;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use time::OffsetDateTime;

use crate::cli::device::target::Target;
use crate::cli::operate::Reach;
use crate::device::{AskId, Event, Runner};
use crate::mobility::wire::{AskedParty, FlowStatus, Status};

/// The port of the mobility signalling (RFC 5844).
const PORT: u16 = 5436;

/// What a device does.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Reserve a home address: with a provisioned key, or over the server's API.
    Reserve(reserve::Reserve),
    /// Have the packets of a home address sent to this device.
    Bind(bind::Bind),
    /// Prove to the server where this device is, and print the proof for somebody else to show.
    Prove(bind::Prove),
    /// Take flows over with a stream context, and keep them until interrupted.
    Take(take::Take),
    /// Send flows to another device, which has proven where it is.
    Give(give::Give),
    /// Go on at another address of this device.
    Roam(bind::Roam),
}

/// How the server's signalling is reached, and where this device keeps its keys.
#[derive(Debug, Args)]
pub struct Towards {
    /// The port of the server's signalling [default: 5436, or that of --server HOST:PORT].
    #[arg(long, value_name = "PORT")]
    mobility_port: Option<u16>,
    /// Where this device keeps its home addresses and their keys [default: $XDG_STATE_HOME/flowsteer/device].
    #[arg(long, value_name = "DIR")]
    device_dir: Option<PathBuf>,
}

/// Carries out a command.
///
/// # Errors
/// What is wrong, and what to do about it.
pub fn run(command: &DeviceCommand, reach: &Reach) -> anyhow::Result<()> {
    match command {
        DeviceCommand::Reserve(arguments) => reserve::run(arguments, reach),
        DeviceCommand::Bind(arguments) => bind::run(arguments, reach),
        DeviceCommand::Prove(arguments) => bind::prove(arguments, reach),
        DeviceCommand::Take(arguments) => take::run(arguments, reach),
        DeviceCommand::Give(arguments) => give::run(arguments, reach),
        DeviceCommand::Roam(arguments) => bind::roam(arguments, reach),
    }
}

impl Towards {
    /// The server as `--server` names it, else as it was before; `None` where nobody says.
    fn server(&self, reach: &Reach, before: Option<SocketAddr>, care_of: Option<IpAddr>) -> anyhow::Result<Option<SocketAddr>> {
        if let Some(text) = reach.named_server() {
            return Target::parse(text)?.resolve(self.mobility_port, care_of).map(Some);
        }
        Ok(before.map(|before| SocketAddr::new(before.ip(), self.mobility_port.unwrap_or(before.port()))))
    }

    /// The same, else the one on this machine.
    fn server_or_local(&self, reach: &Reach, care_of: Option<IpAddr>) -> anyhow::Result<SocketAddr> {
        match self.server(reach, None, care_of)? {
            Some(server) => Ok(server),
            None => Target::parse(reach.api())?.resolve(self.mobility_port, care_of),
        }
    }
}

/// A device at that address, or at the one from which the server is reached.
fn open(server: SocketAddr, care_of: Option<IpAddr>) -> anyhow::Result<Runner> {
    if let Some(care_of) = care_of.filter(|care_of| care_of.is_ipv4() != server.is_ipv4()) {
        bail!("{care_of} cannot reach {server}: name the server by an address of the same family with --server");
    }
    let random = |octets: &mut [u8]| getrandom::fill(octets).expect("the system gives random octets");
    Runner::open(server, care_of, Box::new(random)).map_err(|error| match (error.kind(), care_of) {
        (std::io::ErrorKind::AddrNotAvailable, Some(care_of)) => {
            anyhow!("this device has no address {care_of}: `ip address` lists its own")
        }
        _ => anyhow!("{server} cannot be reached from here: {error}"),
    })
}

/// What an ask came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Done {
    lifetime: Duration,
    flow: Option<FlowStatus>,
}

/// Why an ask came to nothing.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("the server refuses: {}; {}", meaning(*.0), advice(*.0))]
    Refused(Status),
    #[error("no yes has come: the answer was no, or there was none (status 129); ask who was asked, and do the same again")]
    NoConsent,
    #[error("no answer came from {server}{}", silence(.lost.as_ref(), *.ignored))]
    NoAnswer { server: String, lost: Option<std::io::Error>, ignored: u64 },
    #[error("interrupted")]
    Interrupted,
}

/// What may be behind it that nobody answers.
fn silence(lost: Option<&std::io::Error>, ignored: u64) -> String {
    match (lost, ignored) {
        (_, 1..) => " that this key authenticates: look at the key, the server seems to have another one".into(),
        (Some(lost), 0) => format!(" ({lost}): is its signalling there?"),
        (None, 0) => ": is its signalling there, and does the way let UDP through?".into(),
    }
}

/// Nobody has answered.
fn no_answer(runner: &mut Runner, server: SocketAddr) -> Undone {
    Undone::NoAnswer { server: server.to_string(), lost: runner.take_lost(), ignored: runner.node().ignored() }
}

fn meaning(status: Status) -> String {
    format!("{} (status {})", status.meaning(), status.0)
}

/// What the person at the device can do about it.
fn advice(status: Status) -> String {
    match status {
        Status::NOT_PERMITTED => {
            "that binding is another device's, or the key does not reach so far: take another --bid; or the flow goes to nobody, somebody \
             has said no, or a PIN is wanted, which a URL or the server's API takes"
                .into()
        }
        Status::RESOURCES => "the server has no room for more: release what is not needed, or try again later".into(),
        Status::NOT_OF_POOL => "the address is not the server's to give, or not free: reserve without --home".into(),
        Status::ADDRESS_HELD => "reserve without --home, or with the key that holds it".into(),
        Status::NOT_THIS_HOME => {
            "look whether the binding has ended, and whether --device-dir has this server's keys; else reserve again".into()
        }
        Status::CARE_OF_NONCE => "the proof is too old or of another address: run `flowsteer prove` there, and use what it prints".into(),
        Status::AUTHENTICATION_FAILED => {
            "the key is not the one that the server has, or a NAT changes this device's address: ask for a new context, or reserve again"
                .into()
        }
        Status::KEY_NOT_USABLE => "ask the device that gave the context for a new one, or reserve again".into(),
        Status::PLAIN_BINDING_EXISTS => "end the binding without an identifier first".into(),
        Status::BINDING_ID_MALFORMED | Status::CARE_OF_NOT_ACCEPTABLE => {
            "packets cannot be sent to that care-of address: name another with --care-of".into()
        }
        Status::TIMESTAMP_MISMATCH => "set this device's clock".into(),
        Status::IDENTITY_MISSING => "name whose key it is, with nai in the key file".into(),
        other => other.remedy().to_string(),
    }
}

/// Waits until that ask is done.
fn wait(runner: &mut Runner, id: AskId, server: SocketAddr) -> anyhow::Result<Event> {
    let mut seen = Vec::new();
    wait_all(runner, &[id], server, &mut |event| seen.push(event.clone()), &|| false)?;
    seen.into_iter().find(|event| names(event) == Some(id)).context("the answer was not told")
}

/// Which ask an event is the end of.
const fn names(event: &Event) -> Option<AskId> {
    match event {
        Event::Tested { .. } | Event::HomeUnknown { .. } | Event::Asked { .. } => None,
        Event::Reserved { id, .. } | Event::Bound { id, .. } | Event::Refused { id, .. } => *id,
        Event::Removed { id } | Event::NoAnswer { id } => Some(*id),
    }
}

/// Waits until all of them are done, and shows every event; the first refusal ends it.
fn wait_all(
    runner: &mut Runner,
    ids: &[AskId],
    server: SocketAddr,
    told: &mut dyn FnMut(&Event),
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<()> {
    let mut open: Vec<AskId> = ids.to_vec();
    let mut asked: Vec<AskId> = Vec::new();
    while !open.is_empty() {
        if stop() {
            return Err(Undone::Interrupted.into());
        }
        for event in runner.step(Duration::from_millis(100))? {
            told(&event);
            match &event {
                // The ask goes on.
                Event::Asked { id: Some(id), asked: party, left, .. } if open.contains(id) => {
                    if asked.is_empty() {
                        eprintln!("flowsteer: waiting for {} yes, {} s at most", whose(*party), left.as_secs_f64().round());
                    }
                    asked.push(*id);
                }
                Event::Refused { id: Some(id), status: Status::NOT_PERMITTED, .. } if asked.contains(id) => {
                    return Err(Undone::NoConsent.into());
                }
                Event::Refused { id: Some(id), status, .. } if open.contains(id) => return Err(Undone::Refused(*status).into()),
                Event::NoAnswer { id } if open.contains(id) => {
                    return Err(no_answer(runner, server).into());
                }
                // The ask goes on, and may end in silence: this is why.
                Event::HomeUnknown { home, again: false } => eprintln!(
                    "flowsteer: {server} says that nobody holds {home}: it may have been started anew. Reserve again, or ask for a new context"
                ),
                Event::HomeUnknown { home, again: true } => eprintln!("flowsteer: {server} has lost {home}, reserving it again"),
                _ => {}
            }
            if let Some(id) = names(&event) {
                open.retain(|other| *other != id);
            }
        }
    }
    Ok(())
}

/// Of whom a yes is waited for.
const fn whose(party: AskedParty) -> &'static str {
    match party {
        AskedParty::HOLDER => "the holder's",
        AskedParty::TAKER => "the other device's",
        AskedParty::SERVICE => "a service's",
        _ => "somebody's",
    }
}

/// What a binding came to, out of its event.
fn bound(event: &Event) -> Option<Done> {
    match event {
        Event::Bound { lifetime, flow, .. } => Some(Done { lifetime: *lifetime, flow: *flow }),
        _ => None,
    }
}

/// Refuses a flow that the server has left as it was.
fn check_flow(flow: Option<FlowStatus>) -> anyhow::Result<()> {
    match flow {
        Some(status) if status.is_refused() => {
            let advice = match status {
                FlowStatus::UNKNOWN_BINDING => "a device that had it has gone: ask for a new context",
                FlowStatus::PROHIBITED => "the key is for another flow: ask for a new context",
                _ => "ask for a new context",
            };
            bail!("the server leaves the flow where it is: {} (flow status {}); {advice}", status.meaning(), status.0)
        }
        _ => Ok(()),
    }
}

/// An address with its port, as URLs have it; without a port the address.
fn place(care_of: IpAddr, ports: Option<(u16, u16)>) -> String {
    match ports {
        Some((rtp, _)) => SocketAddr::new(care_of, rtp).to_string(),
        None => care_of.to_string(),
    }
}

/// A second as a clock shows it, with the date where that is another.
fn at_clock(second: u64, now: u64) -> String {
    let Ok(at) = i64::try_from(second).map_err(drop).and_then(|second| OffsetDateTime::from_unix_timestamp(second).map_err(drop)) else {
        return "the end of time".into();
    };
    let clock = format!("{:02}:{:02}:{:02} UTC", at.hour(), at.minute(), at.second());
    if second.saturating_sub(now) < 86_400 { clock } else { format!("{} {clock}", at.date()) }
}

/// A second as RFC 3339 has it.
fn instant(second: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(second).ok()?).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}

/// A window as people read it.
fn seconds(millis: u32) -> String {
    format!("{:.1} s", f64::from(millis) / 1000.0)
}

/// Prints the line, or the value where JSON is asked for.
fn tell(reach: &Reach, value: &Value, line: &str) -> anyhow::Result<()> {
    if reach.wants_json() {
        super::print(&format!("{}\n", serde_json::to_string_pretty(value)?))
    } else {
        super::print(&format!("{line}\n"))
    }
}

/// The RTCP port beside an RTP port.
fn pair(rtp: u16, rtcp: Option<u16>) -> anyhow::Result<(u16, u16)> {
    match rtcp.or_else(|| rtp.checked_add(1)) {
        Some(rtcp) => Ok((rtp, rtcp)),
        None => bail!("above port {rtp} there is no room for RTCP: name its port with --rtcp, or another --rtp"),
    }
}

/// For clap: a port that packets can go to.
fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port != 0).ok_or("a port is 1 to 65535")
}

/// For clap: an identifier of a binding.
fn binding_id(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|id| *id != 0).ok_or("a binding is 1 to 65535")
}

/// For clap: a care-of address.
fn address(text: &str) -> Result<IpAddr, &'static str> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    plain.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| "an address, as 192.0.2.1 or 2001:db8::1")
}
