//! `[mdns]`: whether the server is announced on its links.

use serde::{Deserialize, Serialize};

/// `[mdns]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MdnsConfig {
    /// Announce the server by multicast DNS on the links where it listens. Who asks from elsewhere is not answered.
    pub enabled: bool,
    /// The name under which people see it; else `flowsteer on` and the host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Interfaces on which it is announced, by name; without any, all of them.
    pub interfaces: Vec<String>,
}

impl MdnsConfig {
    /// Whether a name can be announced: as one label of DNS (RFC 6763 section 4.1.1), with room for a number behind it.
    pub(super) fn is_name(name: &str) -> bool {
        (1..=56).contains(&name.len()) && !name.contains(['.', '\\']) && !name.contains(char::is_control)
    }
}
