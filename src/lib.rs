//! flowsteer: a media-source server with built-in flow steering.
//!
//! Two ways lead through the crate. The data's way: [`library`] → [`payload`] → [`playback`] → [`steering`] → [`net`],
//! driven by [`dataplane`]. The signalling's way: [`rtsp`] or [`http`] → [`steering`] → events → [`playback`].
//! `docs/architecture.md` walks a packet and a take-over along them.

pub mod access;
pub mod camera;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod device;
pub mod http;
pub mod library;
pub mod mdns;
pub mod mobility;
pub mod net;
pub mod now;
pub mod payload;
pub mod playback;
pub mod publish;
pub mod quantities;
pub mod rtsp;
pub mod sdp;
pub mod steering;
pub mod store;
pub mod tls;
