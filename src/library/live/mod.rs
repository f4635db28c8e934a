//! Live titles: their access units arrive while they are played.
//!
//! To whoever plays it a live title is a [`Title`](crate::library::Title) as any other: its index grows at the end and is pruned at
//! the front (`window.rs`), its octets are in memory. A source writes it through a [`Feed`]; the server finds it by its path in [`LiveTitles`].

mod feed;
mod titles;
mod window;

pub use feed::{Feed, FeedError, LiveTrack, LiveUnit};
pub use titles::{LiveTitle, LiveTitles};
pub use window::{LiveIndex, LiveSettings};
