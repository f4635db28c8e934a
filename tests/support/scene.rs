//! A server and two devices, ready.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::support::film::library;
use crate::support::namespaces::{Family, Network};
use crate::support::server::{Operator, Server, rtsp_address, title_url};
use crate::support::{SOON, skip, wait_for};

/// What a test plays in. The server ends first.
#[derive(Debug)]
pub struct Scene {
    pub server: Server,
    pub network: Network,
}

impl Scene {
    /// The library served with the defaults; `None` (having said so) where this process may not make namespaces.
    pub fn set() -> Option<Self> {
        Self::set_with(&library(), &[])
    }

    /// A folder served with flags.
    pub fn set_with(media: &Path, flags: &[&str]) -> Option<Self> {
        let network = match Network::new() {
            Ok(network) => network,
            Err(error) => {
                skip(&format!("network namespaces cannot be made here ({error})"));
                return None;
            }
        };
        let server = Server::start(&network.server, media, flags);
        let scene = Self { server, network };
        for device in [&scene.network.a, &scene.network.b] {
            for family in [Family::V4, Family::V6] {
                let address = rtsp_address(&scene.network.server, family);
                let connect = || device.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(200))).ok();
                wait_for(&format!("{} to reach {address}", device.name), SOON, connect);
            }
        }
        Some(scene)
    }

    /// The server's API.
    pub fn operator(&self) -> Operator<'_> {
        Operator { host: &self.network.server }
    }

    /// A title's URL.
    pub fn url(&self, family: Family, title: &str) -> String {
        title_url(&self.network.server, family, title)
    }
}
