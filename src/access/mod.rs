//! Who may play and who may publish: users of the configuration, what their passwords are kept as, rules by title path, and
//! the slowing of those who guess.
//!
//! Pure: it reads no header and opens nothing. `rtsp` reads credentials and asks here; `cli` makes the list out of the
//! configuration, and replaces it when that is read again.

mod hash;
mod list;
mod slowing;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::now::Mono;

pub use hash::{HashError, Hashing, PasswordHash, REALM};
pub use list::{AccessList, AccessRule, Role, User};
pub use slowing::Slowing;

/// What a running server goes by: the list in force, and who guesses.
#[derive(Default)]
pub struct Access {
    list: ArcSwap<AccessList>,
    slowing: Mutex<Slowing>,
}

impl Access {
    /// With that list.
    pub fn new(list: AccessList) -> Self {
        Self { list: ArcSwap::from_pointee(list), slowing: Mutex::default() }
    }

    /// The list in force.
    pub fn list(&self) -> Arc<AccessList> {
        self.list.load_full()
    }

    /// From now on this list holds.
    pub fn replace(&self, list: AccessList) {
        self.list.store(Arc::new(list));
    }

    /// Whether what somebody shows is to be looked at: not while their network waits for wrong credentials before.
    pub fn may_try(&self, peer: IpAddr, now: Mono) -> bool {
        self.slowing().may_try(peer, now)
    }

    /// Notes wrong credentials.
    pub fn note_failure(&self, peer: IpAddr, now: Mono) {
        self.slowing().note(peer, now);
    }

    fn slowing(&self) -> MutexGuard<'_, Slowing> {
        self.slowing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(…)")
    }
}
