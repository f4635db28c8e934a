//! The viewer's device: it reserves home addresses, proves where it is, binds, takes flows over and gives them away, with the
//! mobility signalling of `docs/signalling.md`.
//!
//! `context` and `description` read and write what one device hands to the next; `exchange` is one update until it is answered, `consent`
//! its wait for somebody's yes, `node` all that a device has under way; `runner` owns the socket. All but the last are pure.

mod consent;
pub mod context;
pub mod description;
pub mod event;
pub mod exchange;
mod member;
pub mod node;
pub mod runner;

pub use context::{ContextError, Flow, Grant, StreamContext};
pub use event::{AskId, Event, Outgoing};
pub use exchange::{Ask, Credential, FlowAsk, Proof};
pub use member::{Digits, KeyText};
pub use node::Node;
pub use runner::Runner;
