//! Binding updates as standard Mobile IPv6 messages, which stock tools read (RFC 6275; `docs/signalling.md`).
//!
//! `wire` is the codec, and knows nothing of what messages do; `responder` is the server's side, pure like the codec; `server`
//! owns the sockets.

mod counters;
mod foreign;
mod limits;
mod request;
pub mod responder;
pub mod server;
pub mod wire;

pub use counters::{Counted, Counters};
pub use limits::{Limits, RateTable};
pub use responder::{Carriage, Provisioned, Received, Responder, ResponderSettings, Transmit};
