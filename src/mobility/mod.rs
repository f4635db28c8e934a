//! Binding updates as standard Mobile IPv6 messages, the third carriage beside RTSP and HTTP.
//!
//! `wire` is the codec of the Mobility Header and knows nothing of what a message brings about. `docs/signalling.md` says what
//! is served; read RFC 6275 section 6.1 first.

pub mod wire;

pub use wire::{BindingAck, BindingUpdate, Malformed, Message, MobilityOption, Options, Status};
