//! `flowsteer give`: this device, which holds the home address, sends flows to another one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::json;

use crate::cli::BadUsage;
use crate::cli::device::bind::{keep, media};
use crate::cli::device::file::DeviceFolder;
use crate::cli::device::take::{chosen, read};
use crate::cli::device::{Towards, Undone, address, bound, check_flow, open, pair, place, port, seconds, tell, wait};
use crate::cli::operate::Reach;
use crate::device::{Ask, FlowAsk, Proof};
use crate::mobility::wire::Status;
use crate::net::now;
use crate::quantities::MediaKind;
use crate::steering::KeygenToken;

/// What is given, and to whom.
#[derive(Debug, Args)]
pub struct Give {
    /// The stream context, as `flowsteer context HOME` writes it; `-` reads it from standard input.
    context: PathBuf,
    /// Its keys, where they were split off.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The other device's address.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    care_of: IpAddr,
    /// The nonce index that `flowsteer prove` printed there; the token goes into --token.
    #[arg(long, value_name = "N")]
    nonce_index: u16,
    /// Where the other device takes the first flow's RTP, RTCP being the next port; each further flow two ports higher.
    #[arg(long, value_name = "PORT", value_parser = port)]
    rtp: Option<u16>,
    /// How long this device is served as well [default: as the context says].
    #[arg(long, value_name = "MS")]
    window: Option<u32>,
    /// For so many seconds.
    #[arg(long, default_value_t = 600, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    lifetime: u32,
    /// Only flows of this kind: video, audio or text.
    #[arg(long, value_name = "MEDIA", value_parser = media)]
    flow: Option<MediaKind>,
    #[command(flatten)]
    towards: Towards,
}

/// The token of a care-of test out of its 16 hex digits.
fn keygen_token(index: u16, text: Option<&str>) -> anyhow::Result<KeygenToken> {
    let text = text.ok_or_else(|| BadUsage::because("--token is missing: it is what `flowsteer prove` printed at the other device"))?;
    let is_token = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bits = u64::from_str_radix(text, 16).ok().filter(|_| is_token);
    let bits = bits.ok_or_else(|| BadUsage::because("--token: 16 hex digits, as `flowsteer prove` prints them"))?;
    Ok(KeygenToken { index, token: bits.to_be_bytes() })
}

/// Binds on the other device's behalf.
pub fn run(arguments: &Give, reach: &Reach) -> anyhow::Result<()> {
    let token = keygen_token(arguments.nonce_index, reach.token())?;
    let context = read(&arguments.context, arguments.keys.as_deref())?;
    let folder = DeviceFolder::find(arguments.towards.device_dir.as_deref())?;
    let flows = chosen(&context, arguments.flow)?;
    let held: Vec<_> = flows.iter().filter(|flow| folder.path(flow.home().0).exists()).collect();
    if held.is_empty() {
        let homes: Vec<String> = flows.iter().map(|flow| flow.home().to_string()).collect();
        bail!("this device holds no key of {}: only who reserved it can give it", homes.join(" or "));
    }
    let (mut lines, mut values) = (Vec::new(), Vec::new());
    for (index, flow) in held.iter().enumerate() {
        let mut file = folder.read(flow.home().0)?;
        let server = arguments.towards.server(reach, Some(file.server), None)?.unwrap_or(file.server);
        let more = u16::try_from(2 * index).unwrap_or(u16::MAX);
        let ports = match arguments.rtp {
            Some(rtp) => Some(pair(rtp.checked_add(more).context("no port is left for so many flows")?, None)?),
            None => None,
        };
        let mut runner = open(server, None)?;
        if let Some(last) = file.last_number {
            runner.node().set_number(file.spi(), last);
        }
        let window_ms = arguments.window.or_else(|| flow.window_ms());
        let about = FlowAsk { id: flow.flow_id().unwrap_or(1), label: Some(flow.label()), source: None, bindings: vec![flow.yours()] };
        let lifetime = Duration::from_secs(arguments.lifetime.into());
        let ask = Ask::bind(file.credential(), flow.home(), flow.yours(), arguments.care_of, lifetime);
        let ask = Ask { proof: Proof::Shown(token), ports, window_ms, flow: Some(about), ..ask };
        let id = runner.node().ask(ask, now());
        let event = wait(&mut runner, id, server);
        if event.is_ok() {
            // So that no other binding of this device takes its number.
            file.note(flow.yours().0, arguments.care_of);
        }
        keep(&folder, &mut file, &mut runner)?;
        let event = event.map_err(|error| match error.downcast_ref() {
            Some(Undone::Refused(Status::AUTHENTICATION_FAILED)) => anyhow!(
                "the server refuses: authentication failed (status 146); the token is not one of {}: run `flowsteer prove` there",
                arguments.care_of
            ),
            _ => error,
        })?;
        let done = bound(&event).context("the answer was not told")?;
        check_flow(done.flow)?;
        let to = place(arguments.care_of, ports);
        let window = window_ms.map_or_else(String::new, |window| format!(", window {}", seconds(window)));
        lines.push(format!("{} given to {to}{window}", flow.media()));
        values.push(json!({
            "media": flow.media(),
            "homeAddress": flow.home().to_string(),
            "bindingId": flow.yours().0,
            "careOf": to,
            "rtcpPort": ports.map(|(_, rtcp)| rtcp),
            "mode": "move",
            "windowMs": window_ms,
            "lifetimeSeconds": done.lifetime.as_secs(),
        }));
    }
    for flow in flows.iter().filter(|flow| !folder.path(flow.home().0).exists()) {
        eprintln!("flowsteer: {} {} stays: this device holds no key of it", flow.media(), flow.home());
    }
    tell(reach, &json!({ "flows": values }), &lines.join("\n"))
}
