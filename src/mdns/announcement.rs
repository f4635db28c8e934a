//! Has services announced, and withdrawn, by the responder of `mdns-sd`: a thread of its own with sockets at port 5353 of both families.
//!
//! It asks whether a name is free before it takes it, and takes `NAME (2)` where it is not (RFC 6762 sections 8 and 9); it answers questions, follows
//! interfaces that come and go, and says goodbye (section 10.1).

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, IfPredicate, Receiver, ServiceDaemon, ServiceInfo};

use crate::mdns::link;
use crate::mdns::services::{Scope, Service};

/// So long is waited at most until goodbyes have left.
const GOODBYE: Duration = Duration::from_secs(1);

/// So long is waited at most for the responder to have its sockets: machines are busy where servers start.
const OPENED: Duration = Duration::from_secs(5);

/// Why nothing is announced.
#[derive(Debug, thiserror::Error)]
pub enum MdnsError {
    /// The responder's own.
    #[error("{0}")]
    Responder(#[from] mdns_sd::Error),
    /// The system's.
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
    /// It would answer to anywhere.
    #[error("its sockets cannot be kept to their links: {0}")]
    Link(std::io::Error),
    /// The responder says nothing.
    #[error("the responder does not begin")]
    Silent,
}

/// Lasts until it is dropped: then what was announced is withdrawn.
pub struct Announcement {
    daemon: ServiceDaemon,
}

impl Announcement {
    /// Announces services under a name, on these interfaces, or all of them. Whoever is slow to be told delays nothing here.
    ///
    /// # Errors
    /// The system's, where there are no sockets or threads; a name that is too long.
    pub fn start(name: &str, services: &[Service], interfaces: &[String]) -> Result<Self, MdnsError> {
        let daemon = ServiceDaemon::new()?;
        // Whatever fails from here on ends the thread, too.
        let announcement = Self { daemon };
        let daemon = &announcement.daemon;
        let events = daemon.monitor()?;
        thread::Builder::new().name("mdns-events".into()).spawn(move || heed(&events))?;
        // Its thread has opened its sockets before it takes a command. As yet it knows no service that it could tell of.
        daemon.status()?.recv_timeout(OPENED).map_err(|_| MdnsError::Silent)?;
        link::keep_to_links().map_err(MdnsError::Link)?;
        let scope = |listens: IpAddr| Scope { listens, interfaces: interfaces.to_vec() };
        let scopes: Vec<Scope> = services.iter().map(|service| scope(service.listens.ip())).collect();
        let none = IfPredicate::new(move |interface| !scopes.iter().any(|scope| scope.admits(&interface.name, interface.ip())));
        daemon.disable_interface(IfKind::Predicate(none))?;
        for Service { kind, host, listens, txt } in services {
            let mut info = ServiceInfo::new(kind, name, host, (), listens.port(), &txt[..])?.enable_addr_auto();
            let scope = scope(listens.ip());
            let admits = IfPredicate::new(move |interface| scope.admits(&interface.name, interface.ip()));
            info.set_interfaces(vec![IfKind::Predicate(admits)]);
            daemon.register(info)?;
        }
        Ok(announcement)
    }
}

impl Drop for Announcement {
    /// Says goodbye, and waits for that to have left.
    fn drop(&mut self) {
        let outcome = self.daemon.shutdown().map(|status| status.recv_timeout(GOODBYE));
        if !matches!(outcome, Ok(Ok(_))) {
            tracing::warn!("what was announced by multicast DNS could not be withdrawn: it will be forgotten with time");
        }
    }
}

/// Tells what the responder tells, until it ends.
fn heed(events: &Receiver<DaemonEvent>) {
    let count = |event: &'static str| metrics::counter!("flowsteer_mdns_total", "event" => event).increment(1);
    while let Ok(event) = events.recv() {
        match event {
            DaemonEvent::Announce(name, to) => {
                count("announced");
                tracing::debug!(name, to, "announced by multicast DNS");
            }
            DaemonEvent::NameChange(change) => {
                count("renamed");
                tracing::warn!(interface = change.intf_name, "{} is taken: announced as {}", change.original, change.new_name);
            }
            DaemonEvent::Respond(_) => count("answered"),
            DaemonEvent::Error(error) => {
                count("failed");
                tracing::debug!("multicast DNS: {error}");
            }
            _ => {}
        }
    }
}
