//! Devices that operators send flows to by name.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::error::Fault;

/// Others need a privilege, and may be somebody's who expects no media.
const FIRST_PORT: u16 = 1024;

/// `[[device]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// What the page shows.
    pub name: String,
    /// Where it takes RTP: the first flow there, each next one two ports higher. Operators may send to its address as to one of
    /// `steering.trusted_care_of`.
    pub care_of: SocketAddr,
}

impl DeviceConfig {
    /// The address and port of a device: of one host, with an unprivileged port.
    pub(super) fn place(text: &str) -> Result<SocketAddr, Fault> {
        let place: SocketAddr = text.parse().map_err(|_| Fault::Value("is an address and a port".into()))?;
        let place = SocketAddr::new(place.ip().to_canonical(), place.port());
        let is_host = match place.ip() {
            IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
            IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast()),
        };
        match (is_host, place.port()) {
            (false, _) => Err(Fault::Rule("is the address of one host")),
            (true, ..FIRST_PORT) => Err(Fault::Rule("its port is 1024 or more")),
            (true, FIRST_PORT..) => Ok(place),
        }
    }
}
