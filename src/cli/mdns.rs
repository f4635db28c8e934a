//! Announces the server as the configuration says.

use std::net::SocketAddr;

use ipnet::Ipv6Net;
use sha2::{Digest as _, Sha256};

use crate::config::MdnsConfig;
use crate::mdns::{Announcement, Facts, services};
use crate::net::interface;

/// What is announced, if anything is.
pub struct Mdns {
    facts: Facts,
    running: Option<Announcement>,
}

/// Where the server listens.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    /// RTSP.
    pub rtsp: SocketAddr,
    /// … over TLS.
    pub rtsps: Option<SocketAddr>,
    /// Page and API.
    pub http: SocketAddr,
    /// … over TLS.
    pub https: Option<SocketAddr>,
    /// The mobility signalling.
    pub mobility: SocketAddr,
    /// Whether that is also IPv6 next header 135.
    pub mobility_native: bool,
}

impl Mdns {
    /// Announces nothing yet. `prefix` is that of the server's home addresses: with it the host has a name that no other one has, and
    /// the same one next time.
    pub fn new(listeners: &Listeners, prefix: Ipv6Net) -> Self {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(format!("{prefix} {}", host_name())));
        let Listeners { rtsp, rtsps, http, https, mobility, mobility_native } = *listeners;
        let host = format!("flowsteer-{:08x}", u32::from_be_bytes([a, b, c, d]));
        let facts = Facts { host, version: env!("CARGO_PKG_VERSION"), rtsp, rtsps, http, https, mobility, mobility_native };
        Self { facts, running: None }
    }

    /// Announces what it is told to, in place of what was announced before. Where that cannot be the server runs all the same.
    /// The name, where something is announced.
    pub fn replace(&mut self, config: &MdnsConfig) -> Option<String> {
        self.withdraw();
        if !config.enabled {
            return None;
        }
        let services = services(&self.facts);
        if services.is_empty() {
            tracing::warn!("mdns.enabled: nothing is announced, as the server listens at loopback addresses only");
            return None;
        }
        for missing in config.interfaces.iter().filter(|name| !interface::exists(name)) {
            tracing::warn!("mdns.interfaces: there is no interface {missing}; nothing is announced there until there is one");
        }
        let name = config.name.clone().unwrap_or_else(default_name);
        match Announcement::start(&name, &services, &config.interfaces) {
            Ok(announcement) => {
                self.running = Some(announcement);
                Some(name)
            }
            Err(error) => {
                tracing::error!("mdns.enabled: nothing is announced: {error}");
                None
            }
        }
    }

    /// Says goodbye, if something is announced.
    pub fn withdraw(&mut self) {
        self.running = None;
    }
}

/// The name of this machine, without its domain.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let label: String = name.trim().split('.').next().unwrap_or_default().chars().filter(|c| !c.is_control() && *c != '\\').collect();
    if label.is_empty() { "localhost".into() } else { label }
}

fn default_name() -> String {
    // Names of Linux have 64 octets at most.
    let mut name = format!("flowsteer on {}", host_name());
    while name.len() > 56 {
        name.pop();
    }
    name
}
