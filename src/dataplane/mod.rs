//! The data plane: shards, each a thread with its presentations, a timer wheel and its sockets, turning access units
//! that are due into datagrams.

mod ahead;
mod awaited;
pub mod director;
pub mod endpoints;
mod handover;
mod lateness;
mod near;
mod outbox;
mod resend;
pub mod shard;
mod slot;
mod transmit;
mod units;
mod unreachable;
mod ways;
pub mod wheel;

pub use director::{Director, ShardHandle};
pub use endpoints::Endpoints;
pub use lateness::Lateness;
pub use shard::{DataPlane, DataPlaneSettings};
