//! What steering has done since the process started, as numbers that only rise (`docs/signalling.md` section 8).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::steering::consent::Withheld;
use crate::steering::event::EventKind;
use crate::steering::route::DropReason;

/// Counters of the whole process; those of one home address are in its view.
#[derive(Debug, Default)]
pub struct Counters {
    /// Home addresses reserved.
    pub reserved: AtomicU64,
    /// Reservations that were prolonged.
    pub renewed: AtomicU64,
    /// Home addresses released.
    pub released: AtomicU64,
    /// Care-ofs bound: new ones, changed ones and refreshed ones.
    pub bound: AtomicU64,
    /// Bindings refreshed.
    pub refreshed: AtomicU64,
    /// Bindings removed.
    pub deregistered: AtomicU64,
    /// Flows that have begun to move, with a window.
    pub moving: AtomicU64,
    /// Flows that have moved at once, without a window.
    pub moved: AtomicU64,
    /// Flows that were forked for good.
    pub forked: AtomicU64,
    /// Flows that were set without taking them from anybody, and labels stated.
    pub flow_set: AtomicU64,
    /// Labels learned from a first packet.
    pub learned: AtomicU64,
    /// Bindings that ended by their lifetime or by silence.
    pub expired: AtomicU64,
    /// Updates refused because their care-of was not proven.
    pub care_of_unproven: AtomicU64,
    /// Questions of consent.
    pub consent_asked: AtomicU64,
    /// Wishes that consent was refused to, or that too many others were in the way of.
    pub consent_refused: AtomicU64,
    /// PINs that were wrong, or not looked at after too many that were.
    pub pin_refused: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// Packets that did not leave, for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// All of them with their names.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let counters = [
            ("reserved", &self.reserved),
            ("renewed", &self.renewed),
            ("released", &self.released),
            ("bound", &self.bound),
            ("refreshed", &self.refreshed),
            ("deregistered", &self.deregistered),
            ("moving", &self.moving),
            ("moved", &self.moved),
            ("forked", &self.forked),
            ("flow_set", &self.flow_set),
            ("learned", &self.learned),
            ("expired", &self.expired),
            ("care_of_unproven", &self.care_of_unproven),
            ("consent_asked", &self.consent_asked),
            ("consent_refused", &self.consent_refused),
            ("pin_refused", &self.pin_refused),
        ];
        let dropped = DropReason::ALL.into_iter().map(|reason| (reason.as_str(), self.dropped(reason)));
        counters.into_iter().map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).chain(dropped).collect()
    }

    pub(crate) fn note_dropped(&self, reason: DropReason, packets: u32) {
        self.dropped[reason as usize].fetch_add(u64::from(packets), Ordering::Relaxed);
    }

    pub(crate) fn note_consent(&self, outcome: &Result<(), Withheld>) {
        match outcome {
            Ok(()) => {}
            Err(Withheld::Asked(_)) => count(&self.consent_asked),
            Err(Withheld::No | Withheld::Never | Withheld::Full | Withheld::PinNeeded) => count(&self.consent_refused),
            Err(Withheld::PinWrong | Withheld::PinSlowed) => count(&self.pin_refused),
        }
    }

    pub(crate) fn note_event(&self, kind: &EventKind) {
        match kind {
            EventKind::Refreshed => count(&self.refreshed),
            EventKind::Expired => count(&self.expired),
            EventKind::Removed { .. } => count(&self.deregistered),
            EventKind::Released => count(&self.released),
            // Counted where a flow is passed on: a message may set several.
            EventKind::Bound
            | EventKind::Moving { .. }
            | EventKind::HandedOver(_)
            | EventKind::Moved { .. }
            | EventKind::Forked { .. }
            | EventKind::Left { .. } => {}
        }
    }
}
