//! The random access points that a flow has sent, with the numbers of their first packets.
//!
//! Of sound each access unit is one, of pictures one in some seconds. So they are kept as runs: points of one stretch at equal
//! distances, in access units and in sequence numbers. A minute of sound is one run.

use std::collections::VecDeque;

/// How many points are remembered at most.
const MOST: usize = 2048;

/// A random access point that has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The serial number of its stretch.
    pub segment: u32,
    /// The access unit's position in the track.
    pub unit: u32,
    /// The extended sequence number of its first packet.
    pub sequence: u64,
}

/// Points at equal distances.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Checkpoint,
    /// At least one.
    count: u32,
    /// From each to the next, in access units and in sequence numbers; of no meaning for a single point.
    step: (u32, u32),
}

impl Run {
    const fn of(first: Checkpoint) -> Self {
        Self { first, count: 1, step: (0, 0) }
    }

    /// The point of that number; callers ask for those that there are.
    fn at(&self, index: u32) -> Checkpoint {
        let Checkpoint { segment, unit, sequence } = self.first;
        let (units, packets) = self.step;
        Checkpoint {
            segment,
            unit: unit.saturating_add(units.saturating_mul(index)),
            sequence: sequence.saturating_add(u64::from(packets) * u64::from(index)),
        }
    }

    /// Takes a point in, if it goes on as the others do.
    fn extend(&mut self, point: Checkpoint) -> bool {
        let last = self.at(self.count - 1);
        let packets = point.sequence.checked_sub(last.sequence).and_then(|packets| u32::try_from(packets).ok());
        let step = point.unit.checked_sub(last.unit).zip(packets);
        let goes_on = point.segment == last.segment && step.is_some_and(|step| self.count == 1 || step == self.step);
        if goes_on {
            self.step = step.unwrap_or(self.step);
            self.count += 1;
        }
        goes_on
    }

    /// Without its first point; `None` where nothing is left.
    fn rest(&self) -> Option<Self> {
        (self.count > 1).then(|| Self { first: self.at(1), count: self.count - 1, step: self.step })
    }
}

/// The points of a flow, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    runs: VecDeque<Run>,
    count: usize,
}

impl Checkpoints {
    /// Takes in the newest; of too many the oldest goes.
    pub fn push(&mut self, point: Checkpoint) {
        if !self.runs.back_mut().is_some_and(|run| run.extend(point)) {
            self.runs.push_back(Run::of(point));
        }
        self.count += 1;
        if self.count > MOST {
            self.pop_oldest();
        }
    }

    /// Forgets the oldest.
    pub fn pop_oldest(&mut self) {
        let Some(run) = self.runs.front_mut() else { return };
        self.count -= 1;
        match run.rest() {
            Some(rest) => *run = rest,
            None => drop(self.runs.pop_front()),
        }
    }

    /// Forgets the newest.
    pub fn pop_newest(&mut self) {
        let Some(run) = self.runs.back_mut() else { return };
        self.count -= 1;
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_back();
        }
    }

    /// The newest.
    pub fn newest(&self) -> Option<Checkpoint> {
        self.runs.back().map(|run| run.at(run.count - 1))
    }

    /// The oldest.
    pub fn oldest(&self) -> Option<Checkpoint> {
        self.runs.front().map(|run| run.first)
    }

    /// The one after the oldest.
    pub fn second(&self) -> Option<Checkpoint> {
        let run = self.runs.front()?;
        if run.count > 1 { Some(run.at(1)) } else { self.runs.get(1).map(|next| next.first) }
    }

    /// All, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = Checkpoint> + '_ {
        self.runs.iter().rev().flat_map(|run| (0..run.count).rev().map(|index| run.at(index)))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sound_is_one_run_and_a_packet_more_begins_another() {
        let mut points = Checkpoints::default();
        (0..1000).for_each(|unit| points.push(Checkpoint { segment: 1, unit, sequence: 70_000 + u64::from(unit) }));
        assert_eq!((points.len(), points.runs.len()), (1000, 1));
        points.push(Checkpoint { segment: 1, unit: 1000, sequence: 71_001 });
        assert_eq!((points.len(), points.runs.len()), (1001, 2));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { next_segment: bool, units: u32, packets: u64 },
        Pop,
        PopNewest,
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        let distance = prop_oneof![4 => Just((1, 1)), 1 => (0..3_u32, 0..3_u64), 1 => Just((60, 1 << 33))];
        prop_oneof![
            12 => (prop::bool::weighted(0.05), distance).prop_map(|(next_segment, (units, packets))| Step::Push { next_segment, units, packets }),
            3 => Just(Step::Pop),
            2 => Just(Step::PopNewest),
            1 => prop::bool::weighted(0.1).prop_map(|clear| if clear { Step::Clear } else { Step::Pop }),
        ]
    }

    proptest! {
        #[test]
        fn runs_say_what_a_plain_list_says(steps in prop::collection::vec(step(), 0..400)) {
            let (mut points, mut naive) = (Checkpoints::default(), VecDeque::new());
            let mut next = Checkpoint { segment: 0, unit: 0, sequence: 65_536 };
            for step in steps {
                match step {
                    Step::Push { next_segment, units, packets } => {
                        next.segment += u32::from(next_segment);
                        next.unit = if next_segment { 0 } else { next.unit + units };
                        next.sequence += packets;
                        points.push(next);
                        naive.push_back(next);
                    }
                    Step::Pop => {
                        points.pop_oldest();
                        naive.pop_front();
                    }
                    Step::PopNewest => {
                        points.pop_newest();
                        naive.pop_back();
                    }
                    Step::Clear => {
                        points.clear();
                        naive.clear();
                    }
                }
                prop_assert_eq!(points.newest_first().collect::<Vec<_>>(), naive.iter().rev().copied().collect::<Vec<_>>());
                prop_assert_eq!((points.oldest(), points.second()), (naive.front().copied(), naive.get(1).copied()));
                prop_assert_eq!(points.newest(), naive.back().copied());
                prop_assert_eq!((points.len(), points.is_empty()), (naive.len(), naive.is_empty()));
            }
        }
    }

    #[test]
    fn of_too_many_the_oldest_goes() {
        let mut points = Checkpoints::default();
        (0..3000).for_each(|unit| points.push(Checkpoint { segment: 1, unit, sequence: u64::from(unit) }));
        assert_eq!((points.len(), points.oldest().map(|point| point.unit)), (MOST, Some(3000 - MOST as u32)));
    }
}
