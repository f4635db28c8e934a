//! Sockets: batches of datagrams, segmentation offload, flow labels, TCP connections that carry interleaved packets,
//! and the clock. Knows datagrams, not meaning.

pub mod asked;
pub mod clock;
pub mod connection;
pub mod interface;
pub mod labels;
pub mod process;
pub mod udp;
pub mod wait;

pub use asked::{AskedSocket, Question};
pub use clock::now;
pub use connection::{Connection, Connections, Offer};
pub use interface::media_source;
