//! Sockets: batches of datagrams, segmentation offload, flow labels, TCP connections that carry interleaved packets,
//! who gets a place, and the clock. Knows datagrams, not meaning.

pub mod admission;
pub mod aside;
pub mod asked;
pub mod bounced;
pub mod bound;
pub mod clock;
pub mod connection;
pub mod door;
pub mod interface;
pub mod labels;
pub mod pair;
pub mod process;
pub mod request_id;
mod room;
mod secured;
mod share;
pub mod udp;
pub mod wait;

pub use admission::{Places, Refusals};
pub use aside::Bench;
pub use asked::{AskedSocket, Question};
pub use clock::now;
pub use connection::{Connection, Connections, Offer};
pub use door::Door;
pub use interface::media_source;
pub use pair::{PeerSocket, bind_pair};
pub use request_id::RequestId;
pub use share::{Share, Shares};
