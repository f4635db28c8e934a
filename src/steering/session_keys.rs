//! The session keys under which a home address has accepted Binding Updates, each with its sequence numbers
//! (`docs/signalling.md` section 5). A bounded table, in which those that have ended make room.

use crate::steering::keys::{Key, KeyParameters, ReplayWindow, Spi};

/// A session key that was used.
#[derive(Clone, Debug)]
pub(crate) struct SessionKey {
    pub(crate) spi: Spi,
    pub(crate) key: Key,
    /// The key that it was derived from.
    pub(crate) parent: Spi,
    /// When it ends, in seconds since 1970: not later than its parent.
    pub(crate) validity_end: u64,
    pub(crate) parameters: KeyParameters,
    pub(crate) replay: ReplayWindow,
}

/// The session keys of one home address.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionKeys(Vec<SessionKey>);

impl SessionKeys {
    pub(crate) fn find(&self, spi: Spi) -> Option<&SessionKey> {
        self.0.iter().find(|known| known.spi == spi)
    }

    pub(crate) fn find_mut(&mut self, spi: Spi) -> Option<&mut SessionKey> {
        self.0.iter_mut().find(|known| known.spi == spi)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SessionKey> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets keys.
    pub(crate) fn drop_all(&mut self, names: &[Spi]) {
        self.0.retain(|known| !names.contains(&known.spi));
    }

    /// Keeps a key, unless there are `most`.
    pub(crate) fn keep(&mut self, key: SessionKey, most: usize) -> bool {
        let room = self.0.len() < most;
        if room {
            self.0.push(key);
        }
        room
    }
}
