//! Decode times out of presentation times, for containers that have only these, as Matroska.
//!
//! Access units come in decode order. A picture is decoded before it is shown, and pictures leave the decoder in the order of their
//! times: the k-th picture is decoded when the one is shown that comes so many pictures before the k-th of all in that order as the
//! decoder holds back, the fewest with which every picture is there in time (ISO/IEC 14496-10 annex C.4.5.3: bumping). The delay is a
//! number of pictures and no time, so that a pause between two of them delays no others. At a constant rate both are the same, and that
//! is what an encoder does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Pictures that are shown later than ones behind them in decode order: as many as a decoder holds back at most
/// (ISO/IEC 14496-10 annex A.3.1, `MaxDpbFrames`).
const MAX_REORDERED: usize = 16;

/// Steps from one picture to the next of which the usual one is taken.
const MAX_STEPS: usize = 1_024;

/// When to decode access units that are shown at these times: never decreasing, and none after it is shown, unless it is shown
/// earlier than what was sent sixteen pictures before it: such a one comes out of turn, and is due with its neighbours.
pub fn decode_times(presentation: &[i64]) -> Vec<i64> {
    let ordered = in_order(presentation);
    let held_back = presentation.iter().enumerate().filter_map(|(position, time)| held_back(&ordered, position, *time));
    let depth = held_back.max().unwrap_or(0);
    let (first, step) = (ordered.first().copied().unwrap_or(0), usual_step(&ordered));
    // The pictures before the first is shown.
    let before = (1..=depth as i64).rev().map(|steps| first.saturating_sub(step.saturating_mul(steps)));
    before.chain(ordered.iter().copied()).take(presentation.len()).collect()
}

/// How many pictures before `position`, in the order in which pictures are shown, the last one is that is shown no later than `time`; `None`
/// where that are more than can be reordered.
fn held_back(ordered: &[i64], position: usize, time: i64) -> Option<usize> {
    (0..=MAX_REORDERED.min(position)).find(|back| ordered.get(position - back).is_some_and(|shown| *shown <= time))
}

/// How long a picture at the beginning is shown mostly.
fn usual_step(ordered: &[i64]) -> i64 {
    let steps = ordered.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).filter(|step| *step > 0);
    let mut steps: Vec<i64> = steps.take(MAX_STEPS).collect();
    let middle = steps.len() / 2;
    if steps.is_empty() { 0 } else { *steps.select_nth_unstable(middle).1 }
}

/// The times sorted as far as pictures are reordered, and never decreasing.
fn in_order(presentation: &[i64]) -> Vec<i64> {
    let mut waiting = BinaryHeap::with_capacity(MAX_REORDERED + 1);
    let mut ordered: Vec<i64> = Vec::with_capacity(presentation.len());
    let mut push = |time: i64| ordered.push(time.max(ordered.last().copied().unwrap_or(i64::MIN)));
    for time in presentation {
        waiting.push(Reverse(*time));
        if waiting.len() > MAX_REORDERED {
            waiting.pop().into_iter().for_each(|Reverse(time)| push(time));
        }
    }
    while let Some(Reverse(time)) = waiting.pop() {
        push(time);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pictures_in_order_are_decoded_when_they_are_shown() {
        assert_eq!(decode_times(&[0, 40, 80, 120]), [0, 40, 80, 120]);
        assert_eq!(decode_times(&[7]), [7]);
        assert!(decode_times(&[]).is_empty());
    }

    #[test]
    fn reordered_pictures_have_the_least_delay() {
        // I P B B P B B.
        assert_eq!(decode_times(&[0, 120, 40, 80, 240, 160, 200]), [-40, 0, 40, 80, 120, 160, 200]);
        // I P B b b: a pyramid.
        assert_eq!(decode_times(&[0, 160, 80, 40, 120]), [-80, -40, 0, 40, 80]);
    }

    #[test]
    fn a_pause_between_reordered_pictures_delays_no_others() {
        assert_eq!(decode_times(&[0, 10_000, 40, 80]), [-40, 0, 40, 80]);
        // I P B B, a pause before the second P, and on at a constant rate.
        let shown = [0, 120, 40, 80, 10_200, 160, 200, 10_320, 10_240, 10_280];
        assert_eq!(decode_times(&shown), [-40, 0, 40, 80, 120, 160, 200, 10_200, 10_240, 10_280]);
    }

    #[test]
    fn one_picture_out_of_turn_does_not_delay_the_others() {
        let mut shown: Vec<i64> = (0..60).map(|position| position * 40).collect();
        shown[40] = 3;
        let decoded = decode_times(&shown);
        assert_eq!((decoded[0], decoded[20]), (0, 20 * 40));
        assert!(decoded.is_sorted(), "{decoded:?}");
    }

    proptest! {
        #[test]
        fn what_is_reordered_within_bounds_is_decoded_in_time(
            steps in proptest::collection::vec(0i64..100, 1..200), depth in 1usize..12, seed in any::<u64>(),
        ) {
            let mut shown: Vec<i64> = steps.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            let mut state = seed | 1;
            for group in shown.chunks_mut(depth) {
                for at in (1..group.len()).rev() {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    group.swap(at, (state >> 33) as usize % (at + 1));
                }
            }
            let decoded = decode_times(&shown);
            prop_assert!(decoded.is_sorted());
            prop_assert!(decoded.iter().zip(&shown).all(|(decoded, shown)| decoded <= shown));
            prop_assert!(decoded.iter().zip(&shown).any(|(decoded, shown)| decoded == shown), "no more delay than is needed");
        }

        #[test]
        fn pauses_delay_no_picture_by_more_than_those_that_are_held_back(
            pauses in proptest::collection::vec(prop_oneof![9 => Just(40i64), 1 => 41i64..100_000], 8..200),
        ) {
            let times: Vec<i64> = pauses.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            // P B B: the last of three is sent first.
            let mut shown = times.clone();
            shown.chunks_exact_mut(3).for_each(|group| group.rotate_right(1));
            let decoded = decode_times(&shown);
            prop_assert!(decoded.is_sorted());
            prop_assert!(decoded.iter().zip(&shown).all(|(decoded, shown)| decoded <= shown));
            prop_assert_eq!(&decoded[1..], &times[..times.len() - 1]);
        }

        #[test]
        fn any_times_give_times_that_never_decrease(shown in proptest::collection::vec(any::<i64>(), 0..64)) {
            let decoded = decode_times(&shown);
            prop_assert_eq!(decoded.len(), shown.len());
            prop_assert!(decoded.is_sorted());
        }
    }
}
