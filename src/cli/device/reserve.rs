//! `flowsteer reserve`: a home address for this device.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::BadUsage;
use crate::cli::device::bind::{self, Bound};
use crate::cli::device::file::{DeviceFile, DeviceFolder};
use crate::cli::device::{Towards, address, at_clock, instant, keys, open, pair, port, tell, wait};
use crate::cli::operate::Reach;
use crate::device::{Ask, Event, KeyText};
use crate::net::now;
use crate::steering::{HomeAddress, Spi};

/// What is reserved.
#[derive(Debug, Args)]
pub struct Reserve {
    /// A TOML file with a [[mobility.keys]] entry, as `flowsteer keygen` prints it; without it the server's API reserves.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Whose key of that file.
    #[arg(long, value_name = "NAI", requires = "key_file")]
    nai: Option<String>,
    /// This home address, and no other.
    #[arg(long, value_name = "ADDR", requires = "key_file")]
    home: Option<Ipv6Addr>,
    /// For so many seconds [default: as long as the server gives].
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    lifetime: Option<u32>,
    /// Bind this device as well, as `flowsteer bind` does.
    #[arg(long)]
    bind: bool,
    /// This device's address towards the server.
    #[arg(long, value_name = "ADDR", value_parser = address, requires = "bind")]
    care_of: Option<IpAddr>,
    /// Where it takes RTP; RTCP is the next port.
    #[arg(long, value_name = "PORT", value_parser = port, requires = "bind")]
    rtp: Option<u16>,
    #[command(flatten)]
    towards: Towards,
}

/// Reserves, and keeps the key.
pub fn run(arguments: &Reserve, reach: &Reach) -> anyhow::Result<()> {
    let folder = DeviceFolder::find(arguments.towards.device_dir.as_deref())?;
    let server = arguments.towards.server_or_local(reach, arguments.care_of)?;
    let mut file = match &arguments.key_file {
        Some(path) => by_update(arguments, path, server)?,
        None => by_api(arguments, reach, server)?,
    };
    let path = folder.write(&file)?;
    let until = file.validity_end.map_or("its end".into(), |end| at_clock(end, now().utc.unix_seconds()));
    let mut line = format!("reserved {} until {until} (spi {})", file.home_address, file.spi());
    let mut value = json!({
        "homeAddress": file.home_address.to_string(),
        "spi": file.spi().to_string(),
        "expiresAt": file.validity_end.and_then(instant),
        "server": server.to_string(),
        "deviceFile": path.display().to_string(),
    });
    if arguments.bind {
        let ports = arguments.rtp.map(|rtp| pair(rtp, None)).transpose()?;
        let bound = bind::once(&folder, &mut file, server, &Bound { care_of: arguments.care_of, ports, ..Bound::default() });
        let bound = match bound {
            Ok(bound) => bound,
            Err(error) => {
                // The reservation stands, and is told.
                if !reach.wants_json() {
                    super::super::print(&format!("{line}\n"))?;
                }
                return Err(error);
            }
        };
        line.push_str(&format!("\n{}", bound.line));
        value["binding"] = bound.value;
    }
    tell(reach, &value, &line)
}

/// With a Binding Update under a provisioned key.
fn by_update(arguments: &Reserve, path: &std::path::Path, server: SocketAddr) -> anyhow::Result<DeviceFile> {
    let provisioned = keys::read(path, arguments.nai.as_deref())?;
    let mut runner = open(server, arguments.care_of)?;
    let lifetime = Duration::from_secs(arguments.lifetime.unwrap_or(600).into());
    let ask = Ask::reserve(provisioned.clone(), arguments.home.map(HomeAddress), lifetime, runner.care_of());
    let id = runner.node().ask(ask, now());
    let Event::Reserved { home, spi, key, validity_end, .. } = wait(&mut runner, id, server)? else { bail!("the server granted no key") };
    let mut file = DeviceFile::new(home, spi, key, server);
    file.nai = Some(provisioned.nai);
    file.key_file = Some(std::path::absolute(path)?);
    file.validity_end = Some(validity_end);
    Ok(file)
}

/// Over the API.
fn by_api(arguments: &Reserve, reach: &Reach, server: SocketAddr) -> anyhow::Result<DeviceFile> {
    let mut body = json!({});
    if let Some(lifetime) = arguments.lifetime {
        body["lifetimeSeconds"] = json!(lifetime);
    }
    let api = reach.api();
    if !api.contains("://") {
        let url = format!("http://{}", SocketAddr::new(server.ip(), 8080));
        return Err(BadUsage::because(format!("without --key-file the server's API reserves: --server is its URL, as {url}")));
    }
    let mut answer = reach.client()?.call(Method::POST, "/api/v1/home-addresses", Some(&body))?;
    let text = |name: &str| answer[name].as_str().with_context(|| format!("the server's answer has no {name}"));
    let home: Ipv6Addr = text("homeAddress")?.parse().context("the server's answer has no home address")?;
    let spi = text("spi")?.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let key = KeyText::parse(text("key")?).context("the server's answer has no key")?;
    let end = OffsetDateTime::parse(text("expiresAt")?, &Rfc3339).ok().and_then(|end| u64::try_from(end.unix_timestamp()).ok());
    let mut file = DeviceFile::new(HomeAddress(home), Spi(spi.context("the server's answer has no spi")?), key.0, server);
    file.validity_end = end;
    erase(&mut answer["key"]);
    Ok(file)
}

/// Overwrites a text.
fn erase(value: &mut Value) {
    if let Value::String(text) = value {
        zeroize::Zeroize::zeroize(text);
    }
}
