//! When a branch is taken for gone because the network says so.
//!
//! One message means little: a player opens its ports late, a radio link is away for a moment, and one failed look for a
//! neighbour comes back for every datagram that has waited for it. Three that are apart, and nothing heard from there
//! meanwhile, mean that nobody listens.

use std::time::Duration;

use smallvec::SmallVec;

use crate::now::Mono;
use crate::steering::BranchSerial;

/// So many messages …
const ENOUGH: usize = 3;
/// … within this …
const WITHIN: Duration = Duration::from_secs(10);
/// … of which those closer together than this are one.
const APART: Duration = Duration::from_secs(1);

/// What was said of a presentation's branches.
#[derive(Debug, Default)]
pub(crate) struct Unreachable {
    told: Vec<(BranchSerial, SmallVec<[Mono; ENOUGH]>)>,
}

impl Unreachable {
    /// Notes that a branch could not be reached; whether it is gone.
    pub(crate) fn note(&mut self, branch: BranchSerial, now: Mono) -> bool {
        let position = self.told.iter().position(|(known, _)| *known == branch).unwrap_or_else(|| {
            self.told.push((branch, SmallVec::new()));
            self.told.len() - 1
        });
        let (_, times) = &mut self.told[position];
        times.retain(|time| now.since(*time) < WITHIN);
        if times.last().is_none_or(|last| now.since(*last) >= APART) {
            times.push(now);
        }
        times.len() >= ENOUGH
    }

    /// Something was heard from a branch.
    pub(crate) fn heard(&mut self, branch: BranchSerial) {
        self.retain(|known| known != branch);
    }

    /// Forgets those of which `keep` does not hold.
    pub(crate) fn retain(&mut self, keep: impl Fn(BranchSerial) -> bool) {
        self.told.retain(|(branch, _)| keep(*branch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn three_that_are_apart_within_ten_seconds_are_enough() {
        let mut unreachable = Unreachable::default();
        let branch = BranchSerial(1);
        assert!((0..100).all(|ms| !unreachable.note(branch, at(ms))), "one after the other is one");
        assert!(!unreachable.note(branch, at(1000)) && !unreachable.note(BranchSerial(2), at(1500)));
        assert!(!unreachable.note(branch, at(1999)) && unreachable.note(branch, at(2000)));
        // Those that are too old do not count.
        assert!([20_000, 26_000, 30_001, 36_001].iter().all(|ms| !unreachable.note(branch, at(*ms))));
        assert!(unreachable.note(branch, at(38_000)));
    }

    #[test]
    fn one_that_is_heard_of_is_there() {
        let mut unreachable = Unreachable::default();
        let branch = BranchSerial(1);
        assert!(!unreachable.note(branch, at(0)) && !unreachable.note(branch, at(1000)));
        unreachable.heard(branch);
        assert!(!unreachable.note(branch, at(2000)) && !unreachable.note(branch, at(3000)));
        assert!(unreachable.note(branch, at(4000)));
        unreachable.retain(|_| false);
        assert!(unreachable.told.is_empty());
    }
}
