//! `--server` of the device commands: a host, with a port or without, or the URL of the API, of which only the host counts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail};

use crate::cli::BadUsage;
use crate::cli::device::PORT;

/// A server, not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: Option<u16>,
}

impl Target {
    /// `HOST`, `HOST:PORT`, `[v6]:PORT`, an address, or a URL.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Self::read(text).map_err(|error| BadUsage(error.context(format!("--server {text}"))).into())
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        if let Some((_, rest)) = text.split_once("://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            return Ok(Self { port: None, ..Self::parse_authority(authority)? });
        }
        Self::parse_authority(text)
    }

    fn parse_authority(text: &str) -> anyhow::Result<Self> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: text.to_owned(), port: None });
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest),
            None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0).with_context(|| format!("{port:?} is no port"))?),
            None => bail!("not a host, HOST:PORT, [v6]:PORT or a URL"),
        };
        if host.is_empty() {
            bail!("no host is named");
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether a port stands beside the host.
    pub const fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// Its address: one of the care-of's family, if there is any.
    pub fn resolve(&self, port: Option<u16>, care_of: Option<IpAddr>) -> anyhow::Result<SocketAddr> {
        let port = port.or(self.port).unwrap_or(PORT);
        let found: Vec<SocketAddr> =
            (self.host.as_str(), port).to_socket_addrs().with_context(|| format!("the server {} is not known", self.host))?.collect();
        let same = found.iter().find(|address| care_of.is_none_or(|care_of| care_of.is_ipv4() == address.is_ipv4()));
        let chosen = same.or_else(|| found.first()).with_context(|| format!("the server {} has no address", self.host))?;
        Ok(SocketAddr::new(chosen.ip().to_canonical(), chosen.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_in_every_way() {
        for (text, host, port) in [
            ("media.example", "media.example", None),
            ("media.example:6000", "media.example", Some(6000)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:6000", "192.0.2.1", Some(6000)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:6000", "2001:db8::1", Some(6000)),
            ("http://127.0.0.1:8080", "127.0.0.1", None),
            ("https://[2001:db8::1]:8080/x", "2001:db8::1", None),
            ("http://user@media.example/", "media.example", None),
        ] {
            assert_eq!(Target::parse(text).expect(text), Target { host: host.into(), port }, "{text}");
        }
        for wrong in ["", ":6000", "host:", "host:x", "host:0", "host:70000", "[::1]6000", "http://"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
        let at = |text: &str, port| Target::parse(text).expect(text).resolve(port, None).expect(text).to_string();
        assert_eq!(at("[::1]", None), "[::1]:5436");
        assert_eq!(at("[::1]:7", None), "[::1]:7");
        assert_eq!(at("[::1]:7", Some(8)), "[::1]:8");
        assert_eq!(at("http://127.0.0.1:8080", None), "127.0.0.1:5436");
    }
}
