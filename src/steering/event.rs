//! What has happened to a home address.

use std::time::Duration;

use crate::steering::care_of::{BindingId, HomeAddress};
use crate::steering::route::{EndReason, HandedOver, UpdateId};

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// To which home address.
    pub home: HomeAddress,
    /// The presentation that plays there.
    pub player: Option<u64>,
    /// To which binding; zero where it is about none.
    pub binding: BindingId,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// The first care-of was bound.
    Bound,
    /// A binding was refreshed, or its device is somewhere else.
    Refreshed,
    /// The flow moves; both are served while the window runs.
    Moving {
        /// By that update.
        update: UpdateId,
        /// For so long.
        window: Duration,
    },
    /// The window is over.
    Moved {
        /// By that update.
        update: UpdateId,
    },
    /// A new branch has had its first packet while an old one was left.
    HandedOver(HandedOver),
    /// A further care-of was bound for good.
    Forked {
        /// By that update.
        update: UpdateId,
    },
    /// A binding that was leaving has left.
    Left {
        /// Why.
        reason: EndReason,
    },
    /// A binding's lifetime ended, or nothing was heard from it.
    Expired,
    /// A binding was removed.
    Removed {
        /// Why.
        reason: EndReason,
    },
    /// The home address was released.
    Released,
}
