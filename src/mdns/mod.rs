//! Announces the server on its links, so that players and devices find it without being told where it is: multicast DNS (RFC 6762) and
//! DNS-based service discovery (RFC 6763).
//!
//! `services` says what is announced, and where: pure. `announcement` has it announced, by the responder of the crate `mdns-sd`, which has a
//! thread and sockets of its own; `link` keeps those to the links they are for. Nothing is said here of titles, home addresses, keys or users.

mod announcement;
mod link;
mod services;

pub use announcement::{Announcement, MdnsError};
pub use services::{Facts, Scope, Service, services};
