//! What survives a restart.
//!
//! A [`Store`] is all that the rest knows of it. For now it keeps the home prefix that was drawn and the home addresses
//! that are kept by name; bindings, keys and presentations do not survive. [`FileStore`] is one file in the state folder,
//! [`NoStore`] keeps nothing.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

pub use file::FileStore;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The prefix of home addresses that was drawn; `None` before that, or where one is configured.
    pub home_prefix: Option<Ipv6Net>,
    /// The home addresses that are kept under names.
    pub homes: BTreeMap<String, Ipv6Addr>,
}

/// Why what was kept cannot be had, or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system's.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there, but is not what was written.
    #[error("{path}: not a state file: {reason} (remove it to begin anew)")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Keeps what must survive.
pub trait Store: Send + Sync {
    /// What was kept last; the default where nothing was.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn load(&self) -> Result<Kept, StoreError>;

    /// Keeps this in place of what was kept: all of it or nothing, also when power fails.
    ///
    /// # Errors
    /// It cannot be written.
    fn save(&self, kept: &Kept) -> Result<(), StoreError>;
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl Store for NoStore {
    fn load(&self) -> Result<Kept, StoreError> {
        Ok(Kept::default())
    }

    fn save(&self, _kept: &Kept) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A unique local prefix (RFC 4193 section 3.2): `fd`, 40 random bits, subnet 0.
pub fn unique_local(random: [u8; 5]) -> Ipv6Net {
    let [a, b, c, d, e] = random;
    let network = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    Ipv6Net::new(network, 64).expect("64 is a prefix length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_prefix_is_unique_local_and_sixty_four_bits_long() {
        assert_eq!(unique_local([1, 2, 3, 4, 5]).to_string(), "fd01:203:405::/64");
    }

    #[test]
    fn no_store_keeps_nothing() {
        let kept = Kept { home_prefix: Some(unique_local([1; 5])), homes: BTreeMap::new() };
        NoStore.save(&kept).expect("nothing to fail");
        assert_eq!(NoStore.load().expect("nothing to fail"), Kept::default());
    }
}
