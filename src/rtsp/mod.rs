//! RTSP/1.0 (RFC 2326): how players open titles, control them, and take flows over.
//!
//! `decoder`, `message`, `header` and `url` are the codec, `session` holds what is known between requests: both pure.
//! `service` answers requests, `error` turns every refusal into one status, `server` owns sockets and tasks.

pub mod decoder;
pub mod error;
pub mod header;
mod intake;
pub mod message;
pub mod publishers;
pub mod server;
pub mod service;
pub mod session;
mod turns;
pub mod url;
