//! A timer wheel with slots of one millisecond.
//!
//! Each timer is armed at most once; what lies beyond the wheel waits in its last slot and is armed again from there. A
//! timer may fire early by that, never late by more than a slot.

use std::time::Duration;

use crate::now::Mono;

const SLOT: u64 = 1_000_000;
const SLOTS: usize = 2048;

/// Timers by number.
pub struct Wheel {
    slots: Vec<Vec<usize>>,
    /// The slot number (of all time) that is next to fire.
    next: u64,
    /// For each timer the slot it waits in.
    armed: Vec<Option<u64>>,
    count: usize,
}

impl Wheel {
    /// A wheel that begins at `now`.
    pub fn new(now: Mono) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], next: now.as_nanos() / SLOT, armed: Vec::new(), count: 0 }
    }

    /// Arms a timer for `deadline`, in place of what it was armed for.
    pub fn arm(&mut self, timer: usize, deadline: Mono) {
        if self.armed.len() <= timer {
            self.armed.resize(timer + 1, None);
        }
        // Rounded up: a timer that fires before its time would only be armed again.
        let slot = deadline.as_nanos().div_ceil(SLOT).clamp(self.next, self.next + SLOTS as u64 - 1);
        match self.armed[timer] {
            Some(waiting) if waiting == slot => return,
            Some(waiting) => {
                let entries = &mut self.slots[(waiting % SLOTS as u64) as usize];
                if let Some(position) = entries.iter().position(|other| *other == timer) {
                    entries.swap_remove(position);
                    self.count -= 1;
                }
            }
            None => {}
        }
        self.armed[timer] = Some(slot);
        self.slots[(slot % SLOTS as u64) as usize].push(timer);
        self.count += 1;
    }

    /// Disarms a timer.
    pub fn disarm(&mut self, timer: usize) {
        if let Some(slot) = self.armed.get_mut(timer).and_then(Option::take) {
            let entries = &mut self.slots[(slot % SLOTS as u64) as usize];
            if let Some(position) = entries.iter().position(|other| *other == timer) {
                entries.swap_remove(position);
                self.count -= 1;
            }
        }
    }

    /// Takes the timers whose slot has come.
    pub fn fire(&mut self, now: Mono, due: &mut Vec<usize>) {
        let current = now.as_nanos() / SLOT;
        let mut turns = 0;
        while self.next <= current && turns < SLOTS {
            let slot = (self.next % SLOTS as u64) as usize;
            for timer in self.slots[slot].drain(..) {
                self.armed[timer] = None;
                self.count -= 1;
                due.push(timer);
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
        let ahead = (0..SLOTS as u64).find(|ahead| !self.slots[((self.next + ahead) % SLOTS as u64) as usize].is_empty())?;
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
        let mut due = Vec::new();
        wheel.fire(at(5_000), &mut due);
        assert_eq!(due, [0]);
    }
}
