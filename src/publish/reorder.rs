//! RTP packets of one source in the order of their sequence numbers (RFC 3550 appendix A.1), with what is missing named.
//!
//! A gap is waited for, [`WAIT`] long and [`WINDOW`] numbers far, and is then lost. It knows nothing of SSRCs, payloads and
//! timestamps: who feeds it has told the sources apart.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::now::Mono;

/// So far behind a gap packets are held, in sequence numbers; also how many packets are held at most.
pub const WINDOW: usize = 32;
/// So long a gap is waited for, from the first packet behind it.
pub const WAIT: Duration = Duration::from_millis(200);
/// A number so much ahead is a gap; one still further ahead is strange (RFC 3550 appendix A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u16 = 3000;
/// A number so much behind is late; one still further behind is strange (RFC 3550 appendix A.1, `MAX_MISORDER`).
const MAX_MISORDER: u16 = 100;

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered<T> {
    /// The next packet.
    Packet(T),
    /// So many packets are missing before the next one.
    Lost(u16),
    /// The source began to count anew: what is behind has nothing to do with what was before.
    Restarted,
}

/// What was taken in and not given out, and what never came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were given up.
    pub lost: u64,
    /// Packets that came again while the first was held.
    pub duplicate: u64,
    /// Packets that came when their number was past: given up, or given out already.
    pub late: u64,
    /// Packets whose number fits nothing, and that none followed.
    pub strange: u64,
    /// Packets for which there was no room, since nothing was polled.
    pub overflowed: u64,
}

/// The buffer. After each [`Reorder::handle_packet`], and when [`Reorder::poll_timeout`] is reached, the caller drains
/// [`Reorder::poll`]; both may move the deadline.
#[derive(Clone, Debug)]
pub struct Reorder<T> {
    /// The extended number (its lower 16 bits are the sequence number) that is to come out next; `None` before the first.
    next: Option<u64>,
    /// By extended number, with the time of arrival; none is below `next`.
    held: BTreeMap<u64, (T, Mono)>,
    /// What follows the last strange number: if it comes, the source began anew.
    suspected: Option<u16>,
    /// The extended number of the first packet after a new beginning that has not come out yet.
    restart: Option<u64>,
    counters: Counters,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { next: None, held: BTreeMap::new(), suspected: None, restart: None, counters: Counters::default() }
    }
}

impl<T> Reorder<T> {
    /// What was dropped and lost so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes a packet in. The first one of all says where counting begins.
    pub fn handle_packet(&mut self, sequence: u16, packet: T, now: Mono) {
        let next = *self.next.get_or_insert(u64::from(sequence));
        // The lower 16 bits of an extended number.
        let ahead = sequence.wrapping_sub(next as u16);
        let extended = if ahead < MAX_DROPOUT {
            next + u64::from(ahead)
        } else if ahead > u16::MAX - MAX_MISORDER {
            self.counters.late += 1;
            return;
        } else if self.suspected == Some(sequence) && self.restart.is_none() {
            let last = self.held.last_key_value().map_or(next, |(last, _)| *last);
            // Beyond the window of all that is held, so that this comes out first.
            let extended = ((last >> 16) + 2) << 16 | u64::from(sequence);
            self.restart = Some(extended);
            extended
        } else {
            self.counters.strange += 1;
            self.suspected = Some(sequence.wrapping_add(1));
            return;
        };
        self.suspected = None;
        if self.held.contains_key(&extended) {
            self.counters.duplicate += 1;
        } else if self.held.len() >= WINDOW {
            self.counters.overflowed += 1;
            self.restart = self.restart.filter(|restart| *restart != extended);
        } else {
            self.held.insert(extended, (packet, now));
        }
    }

    /// Another source begins: the next packet says where counting begins. How many packets were held back, and are lost.
    pub fn restart(&mut self) -> usize {
        let held = self.held.len();
        let counters = Counters { lost: self.counters.lost + held as u64, ..self.counters };
        *self = Self { counters, ..Self::default() };
        held
    }

    /// What comes next; `None` while a gap is waited for and while nothing is held.
    pub fn poll(&mut self, now: Mono) -> Option<Ordered<T>> {
        let next = self.next?;
        let (first, last) = (*self.held.first_key_value()?.0, *self.held.last_key_value()?.0);
        if first == next {
            let (_, (packet, _)) = self.held.pop_first()?;
            self.next = Some(next + 1);
            return Some(Ordered::Packet(packet));
        }
        if last - next < WINDOW as u64 && self.poll_timeout().is_some_and(|deadline| now < deadline) {
            return None;
        }
        self.next = Some(first);
        if self.restart == Some(first) {
            self.restart = None;
            return Some(Ordered::Restarted);
        }
        // Without a new beginning, a packet is held less than MAX_DROPOUT behind what was next when it came.
        let lost = u16::try_from(first - next).unwrap_or(u16::MAX);
        self.counters.lost += u64::from(lost);
        Some(Ordered::Lost(lost))
    }

    /// When the gap that is waited for is given up; `None` where there is none.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let first = *self.held.first_key_value()?.0;
        let earliest = self.held.values().map(|(_, at)| *at).min()?;
        (Some(first) != self.next).then(|| earliest + WAIT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drained(reorder: &mut Reorder<u16>, now: Mono) -> Vec<Ordered<u16>> {
        std::iter::from_fn(|| reorder.poll(now)).collect()
    }

    fn fed(reorder: &mut Reorder<u16>, sequences: &[u16], now: Mono) -> Vec<Ordered<u16>> {
        let mut out = Vec::new();
        for sequence in sequences {
            reorder.handle_packet(*sequence, *sequence, now);
            out.extend(drained(reorder, now));
        }
        out
    }

    fn packets(sequences: &[u16]) -> Vec<Ordered<u16>> {
        sequences.iter().copied().map(Ordered::Packet).collect()
    }

    #[test]
    fn what_is_out_of_order_comes_out_in_order_across_the_wrap() {
        let mut reorder = Reorder::default();
        let out = fed(&mut reorder, &[65533, 65535, 1, 65534, 0, 2], Mono::default());
        assert_eq!(out, packets(&[65533, 65534, 65535, 0, 1, 2]));
        assert_eq!(reorder.counters(), Counters::default());
        assert_eq!(reorder.poll_timeout(), None);
    }

    #[test]
    fn a_gap_is_waited_for_until_its_deadline_and_is_late_after_that() {
        let (mut reorder, start) = (Reorder::default(), Mono::from_nanos(5));
        assert_eq!(fed(&mut reorder, &[10, 13, 13], start), packets(&[10]));
        assert_eq!(reorder.poll_timeout(), Some(start + WAIT));
        assert_eq!(drained(&mut reorder, start + WAIT - Duration::from_nanos(1)), []);
        assert_eq!(drained(&mut reorder, start + WAIT), [Ordered::Lost(2), Ordered::Packet(13)]);
        assert_eq!(fed(&mut reorder, &[11], start + WAIT), []);
        assert_eq!(reorder.counters(), Counters { lost: 2, duplicate: 1, late: 1, ..Counters::default() });
    }

    #[test]
    fn a_gap_is_given_up_when_the_window_is_full() {
        let mut reorder = Reorder::default();
        let behind: Vec<u16> = (2..=WINDOW as u16).collect();
        let mut out = fed(&mut reorder, &[0], Mono::default());
        out.extend(fed(&mut reorder, &behind, Mono::default()));
        assert_eq!(out, packets(&[0]));
        out = fed(&mut reorder, &[WINDOW as u16 + 1], Mono::default());
        assert_eq!(out[0], Ordered::Lost(1));
        assert_eq!(out.len(), WINDOW + 1);
    }

    #[test]
    fn one_strange_number_is_dropped_and_two_in_a_row_are_a_new_beginning() {
        let mut reorder = Reorder::default();
        assert_eq!(fed(&mut reorder, &[5, 30_000, 6], Mono::default()), packets(&[5, 6]));
        // What is held behind a gap comes out before it.
        let out = fed(&mut reorder, &[8, 20_000, 20_001, 20_002], Mono::default());
        let mut expected = vec![Ordered::Lost(1), Ordered::Packet(8), Ordered::Restarted];
        expected.extend(packets(&[20_001, 20_002]));
        assert_eq!(out, expected);
        assert_eq!(reorder.counters(), Counters { lost: 1, strange: 2, ..Counters::default() });
    }

    #[test]
    fn another_source_counts_anew_and_what_was_held_is_lost() {
        let mut reorder = Reorder::default();
        assert_eq!(fed(&mut reorder, &[5, 7, 8], Mono::default()), packets(&[5]));
        assert_eq!(reorder.restart(), 2);
        assert_eq!(fed(&mut reorder, &[40_000, 40_001], Mono::default()), packets(&[40_000, 40_001]));
        assert_eq!(reorder.counters(), Counters { lost: 2, ..Counters::default() });
    }

    #[test]
    fn who_does_not_poll_fills_no_memory() {
        let mut reorder = Reorder::default();
        (0..1000).for_each(|sequence| reorder.handle_packet(sequence, sequence, Mono::default()));
        assert_eq!(reorder.held.len(), WINDOW);
        assert_eq!(reorder.counters().overflowed, 1000 - WINDOW as u64);
    }

    proptest! {
        /// Any numbers at any times: each packet comes out once or is counted once, and between two new beginnings the
        /// numbers that come out differ by one and what is said to be lost.
        #[test]
        fn every_packet_comes_out_or_is_counted(
            start: u16,
            steps in proptest::collection::vec((prop_oneof![8 => -40..40_i32, 1 => any::<i32>()], 0..90_u64), 0..300),
        ) {
            let mut reorder = Reorder::default();
            let (mut out, mut now) = (Vec::new(), Mono::default());
            for (at, (step, later)) in steps.iter().enumerate() {
                now += Duration::from_millis(*later);
                let sequence = start.wrapping_add(at as u16).wrapping_add(*step as u16);
                reorder.handle_packet(sequence, sequence, now);
                out.extend(drained(&mut reorder, now));
                prop_assert!(reorder.held.len() < WINDOW);
                prop_assert!(reorder.poll_timeout().is_none_or(|deadline| deadline > now));
            }
            out.extend(drained(&mut reorder, now + WAIT));
            prop_assert!(reorder.held.is_empty());

            let (mut expected, mut lost, mut given) = (None::<u16>, 0, 0);
            for item in out {
                match item {
                    Ordered::Packet(sequence) => {
                        prop_assert!(expected.is_none_or(|expected| expected == sequence));
                        expected = Some(sequence.wrapping_add(1));
                        given += 1;
                    }
                    Ordered::Lost(count) => {
                        expected = expected.map(|expected| expected.wrapping_add(count));
                        lost += u64::from(count);
                    }
                    Ordered::Restarted => expected = None,
                }
            }
            let counters = reorder.counters();
            prop_assert_eq!(lost, counters.lost);
            prop_assert_eq!(counters.overflowed, 0);
            prop_assert_eq!(given + counters.duplicate + counters.late + counters.strange, steps.len() as u64);
        }
    }
}
