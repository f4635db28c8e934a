//! Decode times out of presentation times, for containers that have only these, as Matroska.
//!
//! Access units come in decode order. A picture is decoded before it is shown, and pictures leave the decoder in the order of their
//! times: the k-th picture is decoded when the k-th of all is shown, less the one delay by which every picture is there in time.
//! That is what an encoder at a constant rate does, and no smaller constant delay does it (ISO/IEC 14496-10 annex C.4.5.3: bumping).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Pictures that are shown later than ones behind them in decode order: as many as a decoder holds back at most
/// (ISO/IEC 14496-10 annex A.3.1, `MaxDpbFrames`).
const MAX_REORDERED: usize = 16;

/// When to decode access units that are shown at these times: never decreasing, and none after it is shown, unless it is shown
/// earlier than what was sent sixteen pictures before it: such a one comes out of turn, and is due with its neighbours.
pub fn decode_times(presentation: &[i64]) -> Vec<i64> {
    let ordered = in_order(presentation);
    let late = |(at, shown): (&i64, &i64)| at.checked_sub(*shown).filter(|late| *late > 0);
    let out_of_turn = out_of_turn(presentation, &ordered);
    let pairs = ordered.iter().zip(presentation).zip(&out_of_turn).filter(|(_, out)| !**out).map(|(pair, _)| pair);
    let delay = pairs.filter_map(late).max().unwrap_or(0);
    ordered.iter().map(|time| time.saturating_sub(delay)).collect()
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

/// Which ones are shown before something that lies more than sixteen pictures before them in decode order was.
fn out_of_turn(presentation: &[i64], ordered: &[i64]) -> Vec<bool> {
    let before = |position: usize| position.checked_sub(MAX_REORDERED).and_then(|before| ordered.get(before)).copied();
    presentation.iter().enumerate().map(|(position, time)| before(position).is_some_and(|before| *time < before)).collect()
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
        fn any_times_give_times_that_never_decrease(shown in proptest::collection::vec(any::<i64>(), 0..64)) {
            let decoded = decode_times(&shown);
            prop_assert_eq!(decoded.len(), shown.len());
            prop_assert!(decoded.is_sorted());
        }
    }
}
