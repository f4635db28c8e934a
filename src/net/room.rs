//! What waits for slow peers, of all connections together.
//!
//! Each connection has a bound of its own. Many of them together have this one: where it is reached, each that lies behind keeps
//! little, and those whose peers read notice nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets of all connections.
const ALL: usize = 512 << 20;
/// Octets that a connection keeps where there is no room for more.
const LEAST: usize = 64 << 10;

/// How many octets wait.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    most: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(ALL)
    }
}

impl Room {
    pub const fn of(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    /// What one connection may keep of `limit` octets now.
    pub fn share(&self, limit: usize) -> usize {
        match self.taken.load(Ordering::Relaxed) < self.most {
            true => limit,
            false => limit.min(LEAST),
        }
    }

    /// Notes that a connection keeps so much now, and kept so much before.
    pub fn note(&self, now: usize, before: usize) {
        // Each connection takes back what it has added, so this never passes zero.
        match now.cmp(&before) {
            std::cmp::Ordering::Greater => self.taken.fetch_add(now - before, Ordering::Relaxed),
            std::cmp::Ordering::Less => self.taken.fetch_sub(before - now, Ordering::Relaxed),
            std::cmp::Ordering::Equal => return,
        };
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
