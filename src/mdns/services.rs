//! What is announced: a service for each listener that others than this machine reach, with the TXT records that say more (RFC 6763 section 6).

use std::net::{IpAddr, SocketAddr};

/// RTSP (RFC 2326); the name is that of the registry of services.
const RTSP: &str = "_rtsp._tcp.local.";
/// RTSP over TLS.
const RTSPS: &str = "_rtsps._tcp.local.";
/// The mobility signalling.
const MOBILITY: &str = "_flowsteer._udp.local.";
/// Of the TXT records (RFC 6763 section 6.7).
const TXT_VERSION: &str = "1";

/// What the server is and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The first part of the host's name, `flowsteer-1a2b3c4d`.
    pub host: String,
    /// The version of the server.
    pub version: &'static str,
    /// Where RTSP is served.
    pub rtsp: SocketAddr,
    /// … over TLS.
    pub rtsps: Option<SocketAddr>,
    /// Where page and API are served.
    pub http: SocketAddr,
    /// … over TLS.
    pub https: Option<SocketAddr>,
    /// Where Binding Updates are taken over UDP.
    pub mobility: SocketAddr,
    /// Whether they are also taken as IPv6 next header 135.
    pub mobility_native: bool,
}

/// Which of this machine's addresses something can be found under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The address that is listened at.
    pub listens: IpAddr,
    /// The interfaces that are meant; without any, all of them.
    pub interfaces: Vec<String>,
}

impl Scope {
    /// Whether somebody comes to the listener who comes to this address of an interface. Who is on this machine needs no announcement.
    pub fn admits(&self, interface: &str, address: IpAddr) -> bool {
        let named = self.interfaces.is_empty() || self.interfaces.iter().any(|name| name == interface);
        named && !address.is_loopback() && reaches(self.listens, address)
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its type and domain.
    pub kind: &'static str,
    /// The name of the host that has it, in full.
    pub host: String,
    /// Where it listens.
    pub listens: SocketAddr,
    /// Keys and values of its TXT records.
    pub txt: Vec<(&'static str, String)>,
}

/// The services of a server.
pub fn services(facts: &Facts) -> Vec<Service> {
    let version = || [("txtvers", TXT_VERSION.to_owned()), ("version", facts.version.to_owned())];
    let mut found = Vec::new();
    for (kind, listens) in [(RTSP, Some(facts.rtsp)), (RTSPS, facts.rtsps)] {
        let Some(listens) = listens else { continue };
        let mut txt = Vec::from(version());
        txt.push(("path", "/".to_owned()));
        txt.extend(facts.url("http", facts.http, listens.ip()).map(|url| ("http", url)));
        txt.extend(facts.https.and_then(|https| facts.url("https", https, listens.ip())).map(|url| ("https", url)));
        found.push(Service { kind, host: facts.host_at(listens.ip()), listens, txt });
    }
    let mut txt = Vec::from(version());
    txt.push(("rtsp", facts.rtsp.port().to_string()));
    txt.extend(facts.rtsps.map(|rtsps| ("rtsps", rtsps.port().to_string())));
    txt.extend(facts.mobility_native.then(|| ("native", "1".to_owned())));
    found.push(Service { kind: MOBILITY, host: facts.host_at(facts.mobility.ip()), listens: facts.mobility, txt });
    found.retain(|service| !service.listens.ip().is_loopback());
    found
}

impl Facts {
    /// The host's name for what listens at an address. A name has one set of addresses, so that what listens at one address alone is under another
    /// name than what listens at all of them.
    fn host_at(&self, listens: IpAddr) -> String {
        if listens.is_unspecified() && listens.is_ipv6() {
            return format!("{}.local.", self.host);
        }
        let digits: String = listens.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        format!("{}-at-{digits}.local.", self.host)
    }

    /// The URL of something that is served beside what listens at `beside`, if who comes there comes to this, too.
    fn url(&self, scheme: &str, listens: SocketAddr, beside: IpAddr) -> Option<String> {
        let (at, port) = (listens.ip(), listens.port());
        if reaches(at, beside) || at == beside {
            let host = self.host_at(beside);
            return Some(format!("{scheme}://{}:{port}/", host.trim_end_matches('.')));
        }
        (!at.is_loopback() && !at.is_unspecified()).then(|| format!("{scheme}://{listens}/"))
    }
}

/// Whether who comes to `address` comes to what listens there. The unspecified address of IPv6 is that of both families here.
fn reaches(listens: IpAddr, address: IpAddr) -> bool {
    let (listens, address) = (listens.to_canonical(), address.to_canonical());
    if listens.is_unspecified() { listens.is_ipv6() || address.is_ipv4() } else { listens == address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address and a port")
    }

    fn facts(listens: &str) -> Facts {
        Facts {
            host: "flowsteer-1a2b3c4d".into(),
            version: "0.1.0",
            rtsp: at(&format!("{listens}:8554")),
            rtsps: Some(at(&format!("{listens}:8322"))),
            http: at(&format!("{listens}:8080")),
            https: None,
            mobility: at(&format!("{listens}:5436")),
            mobility_native: true,
        }
    }

    fn text<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
        service.txt.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn each_listener_is_a_service_of_one_host() {
        let services = services(&facts("[::]"));
        let told: Vec<_> = services.iter().map(|service| (service.kind, service.listens.port(), service.host.as_str())).collect();
        let host = "flowsteer-1a2b3c4d.local.";
        assert_eq!(told, [(RTSP, 8554, host), (RTSPS, 8322, host), (MOBILITY, 5436, host)]);
        assert_eq!(text(&services[0], "http"), Some("http://flowsteer-1a2b3c4d.local:8080/"));
        assert_eq!(text(&services[0], "https"), None);
        assert_eq!((text(&services[2], "rtsp"), text(&services[2], "native")), (Some("8554"), Some("1")));
    }

    #[test]
    fn a_url_is_told_where_it_leads_somewhere() {
        let url = |rtsp: &str, http: &str| {
            let facts = Facts { rtsp: at(rtsp), http: at(http), ..facts("[::]") };
            text(&services(&facts)[0], "http").map(str::to_owned)
        };
        for (rtsp, http, expected) in [
            ("192.0.2.1:8554", "0.0.0.0:80", Some("http://flowsteer-1a2b3c4d-at-192-0-2-1.local:80/")),
            ("192.0.2.1:8554", "[::]:80", Some("http://flowsteer-1a2b3c4d-at-192-0-2-1.local:80/")),
            ("[2001:db8::1]:8554", "[2001:db8::1]:80", Some("http://flowsteer-1a2b3c4d-at-2001-db8--1.local:80/")),
            ("0.0.0.0:8554", "0.0.0.0:80", Some("http://flowsteer-1a2b3c4d-at-0-0-0-0.local:80/")),
            ("[::]:8554", "192.0.2.1:80", Some("http://192.0.2.1:80/")),
            ("[::]:8554", "127.0.0.1:80", None),
            ("[2001:db8::1]:8554", "0.0.0.0:80", None),
            ("[::]:8554", "0.0.0.0:80", None),
        ] {
            assert_eq!(url(rtsp, http).as_deref(), expected, "{rtsp} {http}");
        }
    }

    #[test]
    fn what_only_this_machine_reaches_is_not_announced() {
        assert_eq!(services(&facts("127.0.0.1")), []);
        assert_eq!(services(&facts("[::1]")), []);
    }

    #[test]
    fn an_address_is_announced_where_the_listener_is_reached_by_it() {
        let admits = |listens: &str, interfaces: &[&str], interface: &str, address: &str| {
            let ip = |text: &str| text.parse().expect("an address");
            let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
            Scope { listens: ip(listens), interfaces }.admits(interface, ip(address))
        };
        assert!(admits("::", &[], "eth0", "192.0.2.1") && admits("::", &[], "eth0", "fe80::1"));
        assert!(!admits("::", &[], "lo", "127.0.0.1") && !admits("::", &["lo"], "lo", "::1"));
        assert!(admits("0.0.0.0", &[], "eth0", "192.0.2.1") && !admits("0.0.0.0", &[], "eth0", "2001:db8::1"));
        assert!(admits("192.0.2.1", &[], "eth0", "192.0.2.1") && !admits("192.0.2.1", &[], "eth0", "192.0.2.2"));
        assert!(admits("::", &["eth1", "eth2"], "eth2", "192.0.2.1") && !admits("::", &["eth1", "eth2"], "eth0", "192.0.2.1"));
    }
}
