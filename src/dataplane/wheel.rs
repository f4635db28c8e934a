//! A timer wheel with slots of one millisecond.
//!
//! Each timer is armed at most once; what lies beyond the wheel waits in its last slot and is armed again from there. A
//! timer may fire early by that, never late by more than a slot.

use std::time::Duration;

use crate::now::Mono;

const SLOT: u64 = 1_000_000;
const SLOTS: usize = 2048;

/// No timer.
const NONE: u32 = u32::MAX;

/// Timers by number.
pub struct Wheel {
    /// The first timer of each slot; the others hang on it.
    slots: Box<[u32]>,
    /// The slot number (of all time) that is next to fire.
    next: u64,
    timers: Vec<Timer>,
    count: usize,
}

/// Where a timer waits, and between which others of its slot.
#[derive(Clone, Copy)]
struct Timer {
    slot: Option<u64>,
    before: u32,
    behind: u32,
}

impl Wheel {
    /// A wheel that begins at `now`.
    pub fn new(now: Mono) -> Self {
        Self { slots: vec![NONE; SLOTS].into_boxed_slice(), next: now.as_nanos() / SLOT, timers: Vec::new(), count: 0 }
    }

    /// Arms a timer for `deadline`, in place of what it was armed for.
    pub fn arm(&mut self, timer: usize, deadline: Mono) {
        if self.timers.len() <= timer {
            self.timers.resize(timer + 1, Timer { slot: None, before: NONE, behind: NONE });
        }
        // Rounded up: a timer that fires before its time would only be armed again.
        let slot = deadline.as_nanos().div_ceil(SLOT).clamp(self.next, self.next + SLOTS as u64 - 1);
        if self.timers[timer].slot == Some(slot) {
            return;
        }
        self.disarm(timer);
        let first = &mut self.slots[(slot % SLOTS as u64) as usize];
        let behind = std::mem::replace(first, timer as u32);
        if let Some(other) = self.timers.get_mut(behind as usize) {
            other.before = timer as u32;
        }
        self.timers[timer] = Timer { slot: Some(slot), before: NONE, behind };
        self.count += 1;
    }

    /// Disarms a timer.
    pub fn disarm(&mut self, timer: usize) {
        let Some(Timer { slot: Some(slot), before, behind }) = self.timers.get(timer).copied() else { return };
        self.timers[timer].slot = None;
        match self.timers.get_mut(before as usize) {
            Some(other) => other.behind = behind,
            None => self.slots[(slot % SLOTS as u64) as usize] = behind,
        }
        if let Some(other) = self.timers.get_mut(behind as usize) {
            other.before = before;
        }
        self.count -= 1;
    }

    /// Takes the timers whose slot has come.
    pub fn fire(&mut self, now: Mono, due: &mut Vec<usize>) {
        let current = now.as_nanos() / SLOT;
        let mut turns = 0;
        while self.next <= current && turns < SLOTS {
            let slot = (self.next % SLOTS as u64) as usize;
            let mut timer = std::mem::replace(&mut self.slots[slot], NONE);
            while let Some(fired) = self.timers.get_mut(timer as usize) {
                due.push(timer as usize);
                fired.slot = None;
                timer = fired.behind;
                self.count -= 1;
            }
            self.next += 1;
            turns += 1;
        }
        self.next = self.next.max(current + 1);
    }

    /// How long until the next occupied slot; `None` where all are empty.
    pub fn wait(&self, now: Mono) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let ahead = (0..SLOTS as u64).find(|ahead| self.slots[((self.next + ahead) % SLOTS as u64) as usize] != NONE)?;
        Some(Duration::from_nanos(((self.next + ahead) * SLOT).saturating_sub(now.as_nanos())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Mono {
        Mono::from_nanos(milliseconds * SLOT)
    }

    #[test]
    fn timers_fire_in_their_slot_and_once() {
        let mut wheel = Wheel::new(at(100));
        wheel.arm(3, at(105));
        wheel.arm(1, at(103));
        wheel.arm(1, at(107));
        let mut due = Vec::new();
        assert_eq!(wheel.wait(at(100)), Some(Duration::from_millis(5)));
        wheel.fire(at(104), &mut due);
        assert!(due.is_empty());
        wheel.fire(at(110), &mut due);
        assert_eq!(due, [3, 1]);
        assert_eq!(wheel.wait(at(110)), None);
    }

    #[test]
    fn what_lies_beyond_the_wheel_is_asked_for_again_before_its_time() {
        let mut wheel = Wheel::new(at(0));
        wheel.arm(0, at(60_000));
        wheel.disarm(7);
        let mut due = Vec::new();
        wheel.fire(at(5_000), &mut due);
        assert_eq!(due, [0]);
    }

    #[test]
    fn timers_of_a_slot_are_armed_elsewhere_and_disarmed_one_by_one() {
        let mut wheel = Wheel::new(at(0));
        let mut due = Vec::new();
        (0..4).for_each(|timer| wheel.arm(timer, at(5)));
        wheel.disarm(1);
        wheel.arm(3, at(6));
        wheel.arm(0, at(7));
        wheel.disarm(1);
        wheel.fire(at(5), &mut due);
        assert_eq!(due, [2]);
        wheel.fire(at(7), &mut due);
        assert_eq!((due.as_slice(), wheel.wait(at(7))), (&[2, 3, 0][..], None));
        (0..4).for_each(|timer| wheel.arm(timer, at(9)));
        (0..4).for_each(|timer| wheel.disarm(timer));
        assert_eq!(wheel.wait(at(7)), None);
    }
}
