//! The addresses of this machine's interfaces (getifaddrs(3)).

#![allow(unsafe_code)]

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::net::clock::now;
use crate::now::Mono;

/// For so long the system's answer is believed: it takes as long as all else that a SETUP does.
const BELIEVED: Duration = Duration::from_secs(1);

static REACHABLE: Remembered = Remembered::new();

/// The address that packets to home addresses pretend to come from: the configured one, else the one that was asked; one of
/// another interface where that is loopback and there is any.
pub fn media_source(configured: Option<Ipv6Addr>, asked: IpAddr) -> Ipv6Addr {
    let chosen = if asked.is_loopback() { REACHABLE.get(now().mono, || preferred(addresses())).unwrap_or(asked) } else { asked };
    configured.unwrap_or(match chosen {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
    })
}

/// Whether there is an interface of this name now.
pub fn exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the pointer is to a text that ends with a zero, and outlasts the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

/// The address that was found, and when.
struct Remembered(Mutex<Option<(Mono, Option<IpAddr>)>>);

impl Remembered {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What was found lately, else what is found now.
    fn get(&self, now: Mono, find: impl FnOnce() -> Option<IpAddr>) -> Option<IpAddr> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *remembered {
            Some((at, found)) if now.since(at) < BELIEVED => found,
            _ => {
                let found = find();
                *remembered = Some((now, found));
                found
            }
        }
    }
}

/// The address under which others reach this machine, if it has one: IPv6 before IPv4, then the lowest.
fn preferred(addresses: Vec<IpAddr>) -> Option<IpAddr> {
    let reachable = addresses.into_iter().filter(|address| match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    });
    reachable.min_by_key(|address| (address.is_ipv4(), *address))
}

/// All addresses of all interfaces; none where the system does not tell.
fn addresses() -> Vec<IpAddr> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is to a local that the call fills.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: the list stays as it is until it is freed below; each entry is whole, and its address is of the family it names.
        unsafe {
            let entry = &*next;
            if let Some(name) = entry.ifa_addr.as_ref() {
                match i32::from(name.sa_family) {
                    libc::AF_INET => {
                        let name = entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        found.push(IpAddr::V4(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr))));
                    }
                    libc::AF_INET6 => {
                        let name = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        found.push(IpAddr::V6(Ipv6Addr::from(name.sin6_addr.s6_addr)));
                    }
                    _ => {}
                }
            }
            next = entry.ifa_next;
        }
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked_once_a_second_at_most_and_what_has_changed_is_seen_then() {
        let (remembered, at) = (Remembered::new(), |millis| Mono::default() + Duration::from_millis(millis));
        let address = |last| Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        assert_eq!(remembered.get(at(500), || address(1)), address(1));
        assert_eq!(remembered.get(at(1499), || address(2)), address(1), "the answer is believed");
        assert_eq!(remembered.get(at(1500), || address(2)), address(2), "it is asked again");
        assert_eq!(remembered.get(at(2500), || None), None);
        assert_eq!(remembered.get(at(2501), || address(3)), None, "that there is none is an answer as well");
    }

    #[test]
    fn an_address_that_others_reach_comes_before_loopback() {
        let preferred = |texts: &[&str]| {
            preferred(texts.iter().map(|text| text.parse().expect("an address")).collect()).map(|address| address.to_string())
        };
        assert_eq!(preferred(&["::1", "127.0.0.1", "fe80::1", "169.254.1.1"]), None);
        assert_eq!(preferred(&["127.0.0.1", "10.0.0.2"]).as_deref(), Some("10.0.0.2"));
        assert_eq!(preferred(&["10.0.0.2", "fe80::1", "2001:db8::2", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn what_is_configured_is_taken_and_else_what_was_asked() {
        let v6 = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        let asked = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(media_source(Some(v6("2001:db8::5")), asked), v6("2001:db8::5"));
        assert_eq!(media_source(None, asked), v6("::ffff:192.0.2.1"));
        assert_eq!(media_source(None, v6("2001:db8::1").into()), v6("2001:db8::1"));
    }

    #[test]
    fn an_interface_is_there_or_not() {
        assert!(exists("lo") && !exists("eht0") && !exists("") && !exists("l\0o"));
    }

    #[test]
    fn the_loopback_addresses_of_this_machine_are_found() {
        assert!(addresses().iter().any(IpAddr::is_loopback), "{:?}", addresses());
    }
}
