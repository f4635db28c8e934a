//! What one branch may be sent again (RFC 4588), and how much of it.
//!
//! The history holds no packets: the same access unit gives the same packets each time, so that it is enough to know which
//! access units were sent with which numbers. It is bounded in time and in packets, and empty after a jump.
//!
//! Who asks may lie. Each packet is sent again a few times at most, and what is sent again costs of two budgets: octets on the
//! wire, by which it cannot become much beside the media themselves, and octets read, since one packet may cost a whole access
//! unit.

use std::collections::VecDeque;
use std::time::Duration;

use smallvec::SmallVec;

use crate::library::AccessUnit;
use crate::now::Mono;
use crate::quantities::Ssrc;

/// Packets that a history knows at most: far fewer than there are sequence numbers, so that each means one packet.
pub const MAX_PACKETS: usize = 16_384;
/// So often the same packet is sent again at most.
pub const MAX_TIMES: u8 = 4;
/// The least rate that budgets go by, in octets a second: a track whose rate is unknown has none.
const LEAST_RATE: u64 = 16 * 1024;
/// The least burst, in octets.
const LEAST_BURST: u64 = 32 * 1024;

/// An access unit as a branch was sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentUnit {
    /// What was sent.
    pub unit: AccessUnit,
    /// … and what shared its packet.
    pub second: Option<AccessUnit>,
    /// The sequence number of its first packet.
    pub sequence: u16,
    /// How many packets it was.
    pub packets: usize,
    /// How many of them, the last ones, mean nothing: they bear the numbers of what was left out behind it.
    pub fillers: usize,
    /// The timestamp of all of them.
    pub timestamp: u32,
    /// When.
    pub at: Mono,
}

/// Packets of one access unit that are to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// The access unit as it was sent.
    pub sent: SentUnit,
    /// Which of its packets, rising.
    pub wanted: SmallVec<[usize; 8]>,
}

/// How many of the numbers asked for are not sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declined {
    /// Nothing of that number is known (any more).
    pub unknown: usize,
    /// It has been sent again often enough.
    pub repeated: usize,
}

#[derive(Debug)]
struct Kept {
    sent: SentUnit,
    /// How often each packet was sent again; empty where none was.
    times: Vec<u8>,
}

/// The access units that a branch was sent last, without a gap between their numbers.
#[derive(Debug)]
pub struct History {
    keep: Duration,
    kept: VecDeque<Kept>,
    packets: usize,
    jumps: u32,
}

impl History {
    /// One that forgets what was sent longer ago than `keep`.
    pub const fn new(keep: Duration) -> Self {
        Self { keep, kept: VecDeque::new(), packets: 0, jumps: 0 }
    }

    /// How many packets it knows.
    pub const fn packets(&self) -> usize {
        self.packets
    }

    /// Notes what was left out for this branch: it has numbers, but is not sent again.
    pub fn note_left_out(&mut self, sent: SentUnit, jumps: u32) {
        let end = self.kept.back().map(|Kept { sent, .. }| sent.sequence.wrapping_add(sent.packets as u16));
        if end.is_some_and(|end| (1..=MAX_PACKETS as u16).contains(&end.wrapping_sub(sent.sequence))) {
            // Something else has borne its numbers.
            return;
        }
        self.note(sent, jumps);
        if let Some(kept) = self.kept.back_mut().filter(|kept| kept.sent.sequence == sent.sequence) {
            kept.times = vec![MAX_TIMES; sent.packets];
        }
    }

    /// Notes what was sent. `jumps` counts the jumps of the presentation: nothing from before one is sent again.
    pub fn note(&mut self, sent: SentUnit, jumps: u32) {
        let follows =
            self.kept.back().is_none_or(|Kept { sent: last, .. }| last.sequence.wrapping_add(last.packets as u16) == sent.sequence);
        if !follows || self.jumps != jumps || sent.packets > MAX_PACKETS {
            self.clear();
        }
        self.jumps = jumps;
        self.forget(sent.at);
        if sent.packets == 0 || sent.packets > MAX_PACKETS {
            return;
        }
        self.packets += sent.packets;
        self.kept.push_back(Kept { sent, times: Vec::new() });
        while self.packets > MAX_PACKETS {
            self.drop_oldest();
        }
    }

    /// Finds the packets with these numbers, each once, by access units in the order in which they were sent. All that are
    /// found count as sent again.
    pub fn find(&mut self, numbers: &[u16], jumps: u32, now: Mono) -> (Vec<Again>, Declined) {
        if self.jumps != jumps {
            self.clear();
        }
        self.forget(now);
        let mut declined = Declined::default();
        let Some(oldest) = self.kept.front().map(|kept| kept.sent.sequence) else {
            return (Vec::new(), Declined { unknown: numbers.len(), ..declined });
        };
        let mut places: SmallVec<[usize; 32]> = numbers.iter().map(|number| usize::from(number.wrapping_sub(oldest))).collect();
        places.retain(|place| {
            let known = *place < self.packets;
            declined.unknown += usize::from(!known);
            known
        });
        places.sort_unstable();
        places.dedup();
        let mut found: Vec<Again> = Vec::new();
        let (mut kept, mut first) = (self.kept.iter_mut(), 0);
        let mut current = kept.next();
        for place in places {
            while let Some(unit) = current.as_deref()
                && place - first >= unit.sent.packets
            {
                first += unit.sent.packets;
                current = kept.next();
            }
            let Some(unit) = current.as_deref_mut() else { break };
            unit.times.resize(unit.sent.packets, 0);
            let Some(times) = unit.times.get_mut(place - first).filter(|times| **times < MAX_TIMES) else {
                declined.repeated += 1;
                continue;
            };
            *times += 1;
            match found.last_mut() {
                Some(again) if again.sent.sequence == unit.sent.sequence => again.wanted.push(place - first),
                _ => found.push(Again { sent: unit.sent, wanted: SmallVec::from_slice(&[place - first]) }),
            }
        }
        (found, declined)
    }

    fn forget(&mut self, now: Mono) {
        while self.kept.front().is_some_and(|kept| now.since(kept.sent.at) > self.keep) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.packets -= oldest.sent.packets;
        }
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.packets = 0;
    }
}

/// Octets that come in at a steady rate and may be saved up for a while. What exceeds it a little is lent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Octets a second.
    rate: u64,
    /// How long it takes to fill it.
    fills: Duration,
    /// When it will be full.
    full: Mono,
}

impl Budget {
    /// A full one, which holds what comes in within a second, or a little more.
    pub fn new(rate: u64, now: Mono) -> Self {
        let rate = rate.max(1);
        Self { rate, fills: time_of(rate.max(LEAST_BURST), rate), full: now }
    }

    /// Takes `octets`; whether anything was left.
    pub fn take(&mut self, octets: usize, now: Mono) -> bool {
        let left = self.full.since(now) < self.fills;
        if left {
            self.full = self.full.max(now) + time_of(octets as u64, self.rate);
        }
        left
    }
}

/// How long `octets` take at a rate.
fn time_of(octets: u64, rate: u64) -> Duration {
    Duration::from_nanos(u64::try_from(u128::from(octets) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX))
}

/// A branch that asked for retransmission: its history, its budgets, and the stream of what it is sent again. That is a source
/// of its own, drawn for the branch: two branches of a flow have different ones.
#[derive(Debug)]
pub struct Resending {
    /// What it may be sent again.
    pub history: History,
    /// The source of what is sent again.
    pub ssrc: Ssrc,
    /// The sequence number of what is sent again next.
    pub sequence: u16,
    /// Packets that were sent again.
    pub packets: u64,
    /// Octets of their payloads.
    pub octets: u64,
    /// Octets on the wire: a quarter of the media's rate.
    pub wire: Budget,
    /// Octets read: twice the media's rate.
    pub reads: Budget,
}

impl Resending {
    /// For media of so many bits a second, kept for so long.
    pub fn new(ssrc: Ssrc, sequence: u16, bitrate: u64, keep: Duration, now: Mono) -> Self {
        let rate = (bitrate / 8).max(LEAST_RATE);
        let (wire, reads) = (Budget::new(rate / 4, now), Budget::new(rate.saturating_mul(2), now));
        Self { history: History::new(keep), ssrc, sequence, packets: 0, octets: 0, wire, reads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEEP: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> Mono {
        Mono::from_nanos(millis * 1_000_000)
    }

    fn unit(offset: u64) -> AccessUnit {
        AccessUnit { offset, size: 9, decode_time: 0, presentation_time: 0, duration: 1, random_access: false }
    }

    fn sent(offset: u64, sequence: u16, packets: usize, millis: u64) -> SentUnit {
        SentUnit { unit: unit(offset), second: None, sequence, packets, fillers: 0, timestamp: sequence.into(), at: at(millis) }
    }

    #[test]
    fn what_was_left_out_is_not_sent_again_and_what_came_before_and_after_is() {
        let mut history = History::new(KEEP);
        history.note(sent(1, 100, 3, 0), 0);
        history.note_left_out(sent(2, 103, 2, 1), 0);
        history.note(sent(3, 105, 2, 2), 0);
        let (again, declined) = history.find(&[102, 103, 104, 105], 0, at(10));
        let found: Vec<(u64, Vec<usize>)> = again.iter().map(|again| (again.sent.unit.offset, again.wanted.to_vec())).collect();
        assert_eq!(found, [(1, vec![2]), (3, vec![0])]);
        assert_eq!(declined, Declined { unknown: 0, repeated: 2 });
    }

    #[test]
    fn what_bore_the_numbers_of_what_was_left_out_is_sent_again() {
        let mut history = History::new(KEEP);
        history.note(SentUnit { fillers: 2, ..sent(1, 100, 5, 0) }, 0);
        history.note_left_out(sent(2, 103, 1, 1), 0);
        history.note_left_out(sent(3, 104, 1, 1), 0);
        history.note(sent(4, 105, 2, 2), 0);
        assert_eq!(find(&mut history, &[102, 103, 104, 105], 10), (vec![(1, vec![2, 3, 4]), (4, vec![0])], (0, 0)));
    }

    /// Offsets of access units and which of their packets; and how many are unknown, and were sent again too often.
    type Found = (Vec<(u64, Vec<usize>)>, (usize, usize));

    fn find(history: &mut History, numbers: &[u16], millis: u64) -> Found {
        let (found, declined) = history.find(numbers, 0, at(millis));
        (found.into_iter().map(|again| (again.sent.unit.offset, again.wanted.to_vec())).collect(), (declined.unknown, declined.repeated))
    }

    #[test]
    fn packets_are_found_by_their_numbers_across_the_wrap() {
        let mut history = History::new(KEEP);
        history.note(sent(1, 65_533, 2, 0), 0);
        history.note(sent(2, 65_535, 3, 40), 0);
        history.note(sent(3, 2, 1, 80), 0);
        assert_eq!(find(&mut history, &[1, 65_533, 2, 65_535, 1], 90), (vec![(1, vec![0]), (2, vec![0, 2]), (3, vec![0])], (0, 0)));
        assert_eq!(find(&mut history, &[3, 65_532, 30_000], 90), (vec![], (3, 0)), "neither sent yet nor known");
    }

    #[test]
    fn what_is_old_is_not_sent_again() {
        let mut history = History::new(KEEP);
        history.note(sent(1, 10, 2, 0), 0);
        history.note(sent(2, 12, 2, 1000), 0);
        assert_eq!(find(&mut history, &[11], 2000).0, [(1, vec![1])]);
        assert_eq!(find(&mut history, &[11, 12], 2001), (vec![(2, vec![0])], (1, 0)));
        assert_eq!(find(&mut history, &[12], 3001), (vec![], (1, 0)));
        assert_eq!(history.packets(), 0);
    }

    #[test]
    fn nothing_from_before_a_jump_is_sent_again() {
        let mut history = History::new(KEEP);
        history.note(sent(1, 10, 2, 0), 0);
        assert_eq!(history.find(&[10], 1, at(1)), (vec![], Declined { unknown: 1, repeated: 0 }), "before anything is sent after it");
        history.note(sent(1, 10, 2, 0), 0);
        history.note(sent(2, 12, 2, 1), 1);
        let (found, declined) = history.find(&[10, 12], 1, at(1));
        assert_eq!((found.len(), found[0].sent.unit.offset, declined.unknown), (1, 2, 1));
    }

    #[test]
    fn a_packet_is_sent_again_a_few_times_only() {
        let mut history = History::new(KEEP);
        history.note(sent(1, 10, 3, 0), 0);
        for _ in 0..MAX_TIMES {
            assert_eq!(find(&mut history, &[11, 11], 1).0, [(1, vec![1])]);
        }
        assert_eq!(find(&mut history, &[11, 12], 1), (vec![(1, vec![2])], (0, 1)));
    }

    #[test]
    fn a_history_is_bounded_in_packets() {
        let mut history = History::new(KEEP);
        let mut sequence = 0u16;
        for offset in 0..100 {
            history.note(sent(offset, sequence, 1000, 0), 0);
            sequence = sequence.wrapping_add(1000);
            assert!(history.packets() <= MAX_PACKETS);
        }
        assert_eq!(history.packets(), 16_000);
        history.note(sent(100, sequence, MAX_PACKETS + 1, 0), 0);
        assert_eq!(history.packets(), 0, "one so large is not sent again, and what is before it neither");
    }

    #[test]
    fn a_budget_lends_one_packet_and_gives_no_more_than_its_rate() {
        let mut budget = Budget::new(100_000, at(0));
        let mut taken = |millis: u64| {
            let mut octets = 0;
            while budget.take(1_400, at(millis)) {
                octets += 1_400;
            }
            octets
        };
        let burst = taken(0);
        assert!((100_000..=101_400).contains(&burst), "{burst}");
        assert_eq!(taken(0), 0);
        let later: usize = (1..=1000).map(&mut taken).sum();
        assert!((98_600..=101_400).contains(&later), "{later} in a second");
        assert!(taken(60_000) <= 101_400, "no more is saved up");
    }

    proptest! {
        /// As a list of all packets ever sent would say it.
        #[test]
        fn a_history_says_what_was_sent(
            start in any::<u16>(),
            units in proptest::collection::vec((1usize..40, 0u64..300), 1..80),
            asked in proptest::collection::vec(0u16..3500, 1..40),
        ) {
            let mut history = History::new(KEEP);
            let mut packets = Vec::new();
            let (mut sequence, mut millis) = (start, 0);
            for (offset, (count, pause)) in units.iter().enumerate() {
                millis += pause;
                history.note(sent(offset as u64, sequence, *count, millis), 0);
                for index in 0..*count {
                    packets.push((sequence.wrapping_add(index as u16), offset as u64, index, millis));
                }
                sequence = sequence.wrapping_add(*count as u16);
            }
            let numbers: Vec<u16> = asked.iter().map(|number| start.wrapping_add(*number)).collect();
            let (found, (unknown, repeated)) = find(&mut history, &numbers, millis);
            let mut flat: Vec<(u64, usize)> =
                found.into_iter().flat_map(|(offset, wanted)| wanted.into_iter().map(move |index| (offset, index))).collect();
            let live: Vec<_> = packets.iter().filter(|(.., when)| millis - when <= 2000).collect();
            let mut expected: Vec<(u64, usize)> =
                live.iter().filter(|(number, ..)| numbers.contains(number)).map(|(_, offset, index, _)| (*offset, *index)).collect();
            flat.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(flat, expected);
            prop_assert_eq!(unknown, numbers.iter().filter(|number| !live.iter().any(|(known, ..)| known == *number)).count());
            prop_assert_eq!(repeated, 0);
        }
    }
}
