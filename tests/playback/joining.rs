//! How branches join a presentation that runs, under a simulated clock: aligned, delayed, and what a hand-over comes to.

use std::sync::Arc;
use std::time::Duration;

use crate::playback_rig::*;
use flowsteer::library::Title;
use flowsteer::now::Mono;
use flowsteer::playback::presentation::Audience;
use flowsteer::playback::report;
use flowsteer::playback::{NptRange, PlayRequest, PresentationState};
use flowsteer::quantities::MediaTime;
use flowsteer::steering::{EndReason, Entered, JoinWay};

const BOTH: [usize; 2] = [VIDEO, AUDIO];

/// A film that branch 1 has watched for so long.
fn watched(length: i64, distance: i64, looping: bool, at: f64) -> Rig {
    let mut rig = Rig::new(title(length, distance), looping);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(at));
    rig
}

fn offsets(rig: &Rig, branch: u64, flow: usize) -> Vec<u64> {
    rig.got(branch, flow).iter().map(|got| got.offset).collect()
}

/// When the sound at that position in the index is played.
fn sound_at(offset: u64) -> f64 {
    ((offset - 1_000_000) / 300 * 1024) as f64 / 48_000.0
}

#[test]
fn aligned_begins_with_the_next_random_access_point_and_the_old_one_ends_right_before_it() {
    for (at, key) in [(5.3, 150), (5.99, 150), (6.01, 200), (7.9, 200)] {
        let mut rig = watched(30, 50, false, at);
        let update = rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, Duration::ZERO);
        let playing = rig.play(None, Some(update));
        assert!(playing.flows.iter().all(|start| start.later), "its numbers are not known before");
        rig.run(seconds(4.0));
        for flow in BOTH {
            let (old, new) = (offsets(&rig, 1, flow), offsets(&rig, 2, flow));
            let together: Vec<u64> = old.iter().chain(&new).copied().collect();
            let distance = if flow == VIDEO { 5000 } else { 300 };
            assert!(together.windows(2).all(|pair| pair[1] == pair[0] + distance), "at {at}, flow {flow}: nothing twice, nothing missing");
        }
        let (first, sound) = (rig.got(2, VIDEO)[0], rig.got(2, AUDIO)[0]);
        assert!(first.random_access);
        assert_eq!(first.offset, key * 5000, "at {at}");
        let start = playing.start.as_seconds();
        assert!((start - (key as f64 * 0.04 + 0.04)).abs() < 0.001, "{start}");
        assert!(
            (start - 0.0214..=start).contains(&sound_at(sound.offset)),
            "the sound heard at the picture's time: {}",
            sound_at(sound.offset)
        );
        assert_eq!(rig.got(1, VIDEO).last().map(|got| got.sequence.wrapping_add(3)), Some(first.sequence));
        rig.assert_contiguous(2);
        assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 1).count(), 2);
        for flow in BOTH {
            let outcome = rig.handed_over[&(2, flow)];
            assert_eq!(
                (outcome.entered, outcome.repeated, outcome.missing, outcome.lag),
                (Entered::Aligned, Duration::ZERO, Duration::ZERO, Duration::ZERO)
            );
        }
    }
}

#[test]
fn the_old_one_of_an_aligned_pair_is_served_until_its_window_is_over() {
    let mut rig = watched(30, 50, false, 5.5);
    let begun = rig.now.mono;
    rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, seconds(2.0));
    rig.run(seconds(5.0));
    let until = |branch| rig.got(branch, VIDEO).last().expect("pictures").at.since(begun);
    assert!((1.95..=2.0).contains(&until(1).as_secs_f64()), "{:?}", until(1));
    let first = rig.got(2, VIDEO)[0];
    assert_eq!(first.offset, 150 * 5000);
    assert!(near(first.at.since(begun), 0.5));
    for got in rig.got(2, VIDEO).iter().filter(|got| got.at.since(begun) < seconds(1.95)) {
        assert!(rig.got(1, VIDEO).contains(got), "both get the same at the same time");
    }
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!((outcome.repeated, outcome.missing), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn where_the_window_ends_first_the_old_one_stays_until_the_point() {
    let mut rig = watched(30, 50, false, 4.3);
    rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, seconds(0.5));
    rig.run(seconds(1.0));
    assert!(rig.got(2, VIDEO).is_empty());
    rig.run(seconds(2.0));
    assert_eq!((offsets(&rig, 1, VIDEO).last(), offsets(&rig, 2, VIDEO).first()), (Some(&(149 * 5000)), Some(&(150 * 5000))));
}

#[test]
fn one_flow_alone_is_aligned_with_the_other() {
    for flow in BOTH {
        let mut rig = watched(30, 50, false, 5.5);
        rig.hand_over(1, 2, &[flow], JoinWay::Aligned, Duration::ZERO);
        rig.run(seconds(3.0));
        let together: Vec<u64> = offsets(&rig, 1, flow).into_iter().chain(offsets(&rig, 2, flow)).collect();
        let distance = if flow == VIDEO { 5000 } else { 300 };
        assert!(together.windows(2).all(|pair| pair[1] == pair[0] + distance));
        assert!(rig.got(2, 1 - flow).is_empty() && rig.got(1, 1 - flow).len() > 200);
    }
}

#[test]
fn without_a_random_access_point_in_time_an_aligned_branch_is_primed() {
    // The next one is 24 s away.
    let mut rig = watched(60, 750, false, 36.0);
    let update = rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, Duration::ZERO);
    let playing = rig.play(None, Some(update));
    assert!(playing.flows.iter().all(|start| !start.later));
    rig.run(seconds(3.0));
    assert_eq!(rig.got(2, VIDEO)[0].offset, 750 * 5000);
    assert_eq!(rig.handed_over[&(2, VIDEO)].entered, Entered::Delayed);
    rig.assert_contiguous(2);
}

#[test]
fn an_aligned_branch_whose_predecessor_is_gone_is_primed_and_misses_nothing() {
    let mut rig = watched(60, 250, false, 11.0);
    rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, Duration::ZERO);
    rig.presentation.pause(rig.now).expect("it runs");
    rig.run(seconds(20.0));
    rig.unbind(1, EndReason::Moved);
    rig.play(None, None);
    rig.run(seconds(3.0));
    assert_eq!(rig.got(2, VIDEO)[0].offset, 250 * 5000);
    assert!(rig.handed_over[&(2, VIDEO)].repeated > seconds(0.9));
    assert_eq!(rig.handed_over[&(2, VIDEO)].missing, Duration::ZERO);
    rig.assert_contiguous(2);
}

#[test]
fn an_aligned_branch_does_not_begin_with_what_cannot_be_read() {
    let mut rig = watched(30, 50, false, 5.3);
    rig.unreadable = vec![(VIDEO, 150 * 5000)];
    rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, Duration::ZERO);
    rig.run(seconds(5.0));
    let first = rig.got(2, VIDEO)[0];
    assert!(first.random_access);
    assert_eq!(first.offset, 100 * 5000);
    rig.assert_contiguous(2);
}

#[test]
fn a_seek_ends_the_waiting_of_an_aligned_branch() {
    let mut rig = watched(60, 250, false, 11.0);
    rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, Duration::ZERO);
    let playing = rig.play(Some((40.0, None)), None);
    rig.run(seconds(2.0));
    assert_eq!(rig.got(2, VIDEO)[0].sequence, playing.flows[VIDEO].sequence);
    assert!(rig.got(2, VIDEO)[0].random_access);
}

/// A film with a key picture every ten seconds, which branch 2 has joined 6 s behind one.
fn delayed(looping: bool) -> (Rig, Mono) {
    let mut rig = watched(30, 250, looping, 16.0);
    let begun = rig.now.mono;
    let update = rig.hand_over(1, 2, &BOTH, JoinWay::Primed, seconds(2.0));
    let playing = rig.play(None, Some(update));
    assert!((10.0..10.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    (rig, begun)
}

#[test]
fn far_from_its_random_access_point_a_branch_stays_that_much_behind_in_real_time() {
    let (mut rig, begun) = delayed(false);
    rig.run(seconds(30.0));
    rig.assert_contiguous(2);
    let first = rig.got(2, VIDEO)[0];
    assert_eq!((first.offset, first.at), (250 * 5000, begun));
    for (number, got) in rig.got(2, VIDEO).iter().enumerate() {
        assert!(near(got.at.since(begun), number as f64 * 0.04), "picture {number} at {:?}", got.at.since(begun));
    }
    for flow in BOTH {
        for got in rig.got(2, flow) {
            if let Some(twin) = rig.got(1, flow).iter().find(|twin| twin.sequence == got.sequence) {
                assert_eq!((twin.offset, twin.timestamp), (got.offset, got.timestamp));
            }
        }
    }
    // All of it to the end, and then BYE.
    assert_eq!(rig.got(2, VIDEO).last().expect("pictures").offset, 749 * 5000);
    let byes: Vec<f64> = rig.byes.iter().filter(|(branch, ..)| *branch == 2).map(|(.., at)| at.since(begun).as_secs_f64()).collect();
    assert!(byes.len() == 2 && byes.iter().all(|at| (20.4..21.3).contains(at)), "{byes:?}");
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!((outcome.entered, outcome.missing), (Entered::Delayed, Duration::ZERO));
    assert!(near(outcome.repeated, 5.96) || near(outcome.repeated, 6.0), "{outcome:?}");
    assert!(outcome.lag.abs_diff(seconds(6.0)) < seconds(0.05), "{outcome:?}");
}

#[test]
fn a_delayed_branch_is_shown_where_it_is_once_it_is_the_last_one() {
    let (mut rig, _) = delayed(false);
    rig.run(seconds(1.0));
    let at = |rig: &Rig| rig.presentation.position(rig.now).as_seconds();
    assert!((at(&rig) - 17.0).abs() < 0.001, "{}", at(&rig));
    rig.run(seconds(2.0));
    assert!((at(&rig) - 13.0).abs() < 0.001, "{}", at(&rig));
    let paused = rig.presentation.pause(rig.now).expect("it runs").as_seconds();
    assert!((paused - 13.0).abs() < 0.001, "{paused}");
    let sent = rig.got(2, VIDEO).len();
    rig.run(seconds(60.0));
    assert_eq!(rig.got(2, VIDEO).len(), sent);
    let playing = rig.play(None, None);
    assert!((playing.start.as_seconds() - 13.0).abs() < 0.001, "{:?}", playing.start);
    assert_eq!(playing.flows[VIDEO].sequence, rig.got(2, VIDEO)[sent - 1].sequence.wrapping_add(3));
    rig.run(seconds(4.0));
    rig.assert_contiguous(2);
    assert!((at(&rig) - 17.0).abs() < 0.001, "{}", at(&rig));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
}

#[test]
fn a_delayed_branch_goes_on_when_an_end_that_was_asked_for_is_taken_back() {
    let mut rig = watched(30, 250, false, 16.0);
    let range = NptRange { start: None, end: Some(MediaTime::from_seconds(20.0)) };
    rig.presentation.play(PlayRequest { range: Some(range), ..PlayRequest::default() }, rig.now).expect("playable");
    // The other one stays.
    let update = rig.hand_over(1, 2, &BOTH, JoinWay::Primed, seconds(600.0));
    rig.play(None, Some(update));
    rig.run(seconds(1.0));
    // All has been sent but to the one that is behind.
    rig.run(seconds(4.0));
    rig.play(None, None);
    rig.run(seconds(60.0));
    rig.assert_contiguous(2);
    let got = rig.got(2, VIDEO);
    assert_eq!((got.len(), got.last().map(|last| last.offset)), (500, Some(749 * 5000)));
    assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 2).count(), 2);
    assert!(rig.presentation.next_deadline().is_none_or(|next| next > rig.now.mono), "nothing is left to be done");
}

#[test]
fn a_seek_takes_a_delayed_branch_along() {
    let (mut rig, _) = delayed(false);
    rig.run(seconds(3.0));
    let before = rig.got(2, VIDEO).len();
    let playing = rig.play(Some((20.5, None)), None);
    let begun = rig.now.mono;
    rig.run(seconds(2.0));
    let first = rig.got(2, VIDEO)[before];
    assert!(first.random_access && first.at.since(begun) < seconds(0.25));
    assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
    // Both are where all are: the stretch begins when what was sent before has been shown.
    assert!((1.7..=2.0).contains(&rig.presentation.position(rig.now).since(playing.start).as_secs_f64()));
}

#[test]
fn a_loop_does_not_stop_a_delayed_branch() {
    let (mut rig, _) = delayed(true);
    rig.run(seconds(60.0));
    rig.assert_contiguous(2);
    assert!((1490..=1501).contains(&rig.got(2, VIDEO).len()), "{}", rig.got(2, VIDEO).len());
    assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 2).count(), 0);
}

#[test]
fn the_sender_reports_of_a_delayed_branch_lie_on_a_line_of_their_own() {
    let (mut rig, _) = delayed(false);
    let line = |rig: &Rig, branch: usize| {
        let flow = &rig.presentation.flows()[VIDEO];
        let report = report::sender_report(&rig.presentation, flow, &flow.branches[branch], "c", false, rig.now);
        let field = |at: usize| u32::from_be_bytes([report[at], report[at + 1], report[at + 2], report[at + 3]]);
        let ntp = f64::from(field(8)) + f64::from(field(12)) / 2f64.powi(32);
        // Modulo 2^32, as a time: where the line meets NTP zero, relative to the first branch's.
        (ntp, field(16))
    };
    rig.run(seconds(0.5));
    let ((ntp, live), (same, behind)) = (line(&rig, 0), line(&rig, 1));
    assert!((ntp - same).abs() < 1e-6);
    let apart = live.wrapping_sub(behind);
    assert!(apart.abs_diff(6 * 90_000) <= 2, "{apart}");
    rig.run(seconds(1.0));
    let (later, moved) = line(&rig, 1);
    let (span, ticks) = (later - ntp, moved.wrapping_sub(behind));
    assert!((span - f64::from(ticks) / 90_000.0).abs() < 0.001, "the line is one: {span} {ticks}");
    // What leaves now is what its report says.
    let got = rig.got(2, VIDEO).last().expect("pictures");
    assert!(moved.wrapping_sub(got.timestamp).cast_signed().unsigned_abs() < 90_000 / 5, "{moved} {}", got.timestamp);
}

#[test]
fn a_primed_hand_over_says_what_it_repeats() {
    let mut rig = watched(30, 50, false, 5.3);
    rig.hand_over(1, 2, &BOTH, JoinWay::Primed, seconds(2.0));
    rig.run(seconds(5.0));
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!((outcome.entered, outcome.missing), (Entered::Primed, Duration::ZERO));
    assert!(near(outcome.repeated, 1.28), "{outcome:?}");
    let mut rig = watched(30, 50, false, 5.3);
    rig.hand_over(1, 2, &BOTH, JoinWay::AtOnce, seconds(2.0));
    rig.run(seconds(5.0));
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!((outcome.entered, outcome.repeated, outcome.missing), (Entered::AtOnce, Duration::ZERO, Duration::ZERO));
}

#[test]
fn what_reached_neither_is_told_as_missing() {
    let mut rig = watched(30, 50, false, 5.3);
    rig.stalled = Some(2);
    rig.hand_over(1, 2, &BOTH, JoinWay::Primed, Duration::ZERO);
    rig.run(seconds(0.1));
    // Nothing could be sent to it, and the old one is cut off at last.
    rig.unbind(1, EndReason::Moved);
    rig.run(seconds(0.9));
    let newest = rig.got(1, VIDEO).last().expect("pictures").offset;
    rig.stalled = None;
    rig.run(seconds(0.1));
    assert_eq!(rig.got(2, VIDEO)[0].offset, 100 * 5000);
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!(outcome.missing, Duration::ZERO);
    assert!(near(outcome.repeated, (newest - 100 * 5000) as f64 / 5000.0 * 0.04), "{outcome:?}");

    // With the next packet, after a while in which nobody was served.
    let mut rig = watched(30, 50, false, 5.3);
    rig.hand_over(1, 2, &BOTH, JoinWay::AtOnce, Duration::ZERO);
    rig.stall_until(2, rig.now.mono + seconds(1.0));
    rig.unbind(1, EndReason::Moved);
    rig.run(seconds(2.0));
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!(outcome.repeated, Duration::ZERO);
    assert!((0.95..1.05).contains(&outcome.missing.as_secs_f64()), "{outcome:?}");
}

/// What two branches had of a flow, one after the other: nothing twice, nothing missing.
#[track_caller]
fn assert_seamless(rig: &Rig, old: u64, new: u64, flow: usize) {
    let together: Vec<u64> = offsets(rig, old, flow).into_iter().chain(offsets(rig, new, flow)).collect();
    let distance = if flow == VIDEO { 5000 } else { 300 };
    let seam = together.windows(2).find(|pair| pair[1] != pair[0] + distance);
    assert_eq!(seam, None, "flow {flow}: nothing twice, nothing missing");
    let outcome = rig.handed_over[&(new, flow)];
    assert_eq!((outcome.entered, outcome.repeated, outcome.missing), (Entered::Aligned, Duration::ZERO, Duration::ZERO));
}

#[test]
fn aligned_with_one_that_is_delayed_a_branch_begins_where_that_ends_and_is_as_far_behind() {
    for flows in [&BOTH[..], &[VIDEO], &[AUDIO]] {
        let mut rig = watched(60, 250, false, 16.0);
        // The first one stays.
        rig.bind(2, &BOTH, 2000);
        rig.run(seconds(5.0));
        rig.hand_over(2, 3, flows, JoinWay::Aligned, Duration::ZERO);
        rig.run(seconds(12.0));
        for &flow in flows {
            assert_seamless(&rig, 2, 3, flow);
            rig.assert_contiguous(3);
            assert!(rig.handed_over[&(3, flow)].lag.abs_diff(seconds(6.0)) < seconds(0.05));
            let (first, live) = (rig.got(3, flow)[0], rig.got(1, flow));
            let twin = live.iter().find(|twin| twin.offset == first.offset).expect("sent to the first as well");
            assert_eq!((twin.sequence, twin.timestamp), (first.sequence, first.timestamp));
            assert!(first.at.since(twin.at).abs_diff(seconds(6.0)) < seconds(0.05), "{:?}", first.at.since(twin.at));
        }
        if flows.contains(&VIDEO) {
            assert_eq!(rig.got(3, VIDEO)[0].offset, 500 * 5000);
        }
    }
}

#[test]
fn aligned_with_one_that_shows_the_film_late_a_branch_shows_it_as_late() {
    for (flows, window, made_up) in [(&BOTH[..], 0.0, 5.0), (&[VIDEO], 0.0, 5.0), (&BOTH[..], 0.0, 0.2), (&BOTH[..], 2.0, 5.0)] {
        let mut rig = watched(60, 50, false, 5.3);
        rig.bind(2, &BOTH, 2000);
        rig.run(seconds(made_up));
        // It has had all, and shows it 1.3 s after the first one.
        rig.hand_over(2, 3, flows, JoinWay::Aligned, seconds(window));
        rig.run(seconds(8.0));
        for &flow in flows {
            assert_seamless(&rig, 2, 3, flow);
            rig.assert_contiguous(3);
            let (first, live) = (rig.got(3, flow)[0], rig.got(1, flow));
            let twin = live.iter().find(|twin| twin.offset == first.offset).expect("sent to the first as well");
            assert_eq!((twin.sequence, twin.timestamp), (first.sequence, first.timestamp));
            assert!(first.at.since(twin.at).abs_diff(seconds(1.27)) < seconds(0.05), "{:?}", first.at.since(twin.at));
        }
    }
}

#[test]
fn the_last_delayed_branch_becomes_the_flow() {
    let (mut rig, begun) = delayed(false);
    let line = |rig: &Rig| {
        let flow = &rig.presentation.flows()[VIDEO];
        let state = flow.branches.last().expect("a branch");
        let report = report::sender_report(&rig.presentation, flow, state, "c", false, rig.now);
        let field = |at: usize| u32::from_be_bytes([report[at], report[at + 1], report[at + 2], report[at + 3]]);
        (f64::from(field(8)) + f64::from(field(12)) / 2f64.powi(32), field(16))
    };
    rig.run(seconds(1.9));
    let before = line(&rig);
    rig.run(seconds(0.2));
    let after = line(&rig);
    assert!((after.0 - before.0 - 0.2).abs() < 1e-6);
    assert!(after.1.wrapping_sub(before.1).abs_diff(18_000) <= 1, "the line of its reports stays");
    for flow in rig.presentation.flows() {
        assert!(flow.branches.iter().all(|state| state.priming.is_none() && state.lag < seconds(0.05)), "all of it is live");
    }
    rig.run(seconds(30.0));
    rig.assert_contiguous(2);
    for (number, got) in rig.got(2, VIDEO).iter().enumerate() {
        assert!(near(got.at.since(begun), number as f64 * 0.04), "picture {number} at {:?}", got.at.since(begun));
    }
    assert_eq!(rig.got(2, VIDEO).len(), 500);
    assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 2).count(), 2);
    // Where it is, another one joins.
    let (mut rig, _) = delayed(true);
    rig.run(seconds(40.0));
    rig.bind(3, &BOTH, 2000);
    rig.run(seconds(20.0));
    for branch in [2, 3] {
        rig.assert_contiguous(branch);
        for got in rig.got(branch, VIDEO) {
            let of = |other| rig.got(other, VIDEO).iter().find(|twin| twin.sequence == got.sequence);
            assert!(of(5 - branch).is_none_or(|twin| (twin.offset, twin.timestamp) == (got.offset, got.timestamp)));
        }
    }
}

#[test]
fn a_point_that_lies_too_far_back_is_not_primed_from_where_another_comes_in_time() {
    for (at, first, entered) in [(48.0, 750, Entered::Delayed), (54.0, 1500, Entered::Aligned)] {
        let mut rig = watched(90, 750, false, at);
        rig.hand_over(1, 2, &BOTH, JoinWay::Primed, Duration::ZERO);
        rig.run(seconds(15.0));
        assert_eq!((rig.got(2, VIDEO)[0].offset, rig.handed_over[&(2, VIDEO)].entered), (first * 5000, entered), "at {at}");
        rig.assert_contiguous(2);
    }
    // None comes in time: there is nothing else that could be shown.
    let mut rig = watched(120, 1500, false, 25.0);
    rig.hand_over(1, 2, &BOTH, JoinWay::Primed, Duration::ZERO);
    rig.run(seconds(1.0));
    assert_eq!(rig.got(2, VIDEO)[0].offset, 0);
}

#[test]
fn a_rate_that_was_asked_for_is_obeyed() {
    for (distance, rate) in [(50, 1000), (250, 1000), (250, 4000)] {
        let mut rig = watched(60, distance, false, 15.3);
        rig.fixed = true;
        let begun = rig.now.mono;
        rig.bind(2, &BOTH, rate);
        rig.run(seconds(1.0));
        let sent = rig.got(2, VIDEO).len();
        let expected = 25 * usize::from(rate) / 1000;
        assert!(sent.abs_diff(expected) <= 1, "{sent} of {expected} at {rate}");
        assert_eq!(rig.got(2, VIDEO)[0].at, begun);
        rig.run(seconds(10.0));
        rig.assert_contiguous(2);
        let behind = rig.got(1, VIDEO).len() - (rig.got(2, VIDEO).last().expect("pictures").offset / 5000 + 1) as usize;
        assert_eq!(behind > 0, rate == 1000, "{behind}");
        let state = rig.presentation.flows()[VIDEO].branches.last().expect("a branch");
        assert_eq!((state.entered == Entered::Delayed, !state.behind.is_zero()), (rate == 1000, rate == 1000), "its reports as well");
    }
}

#[test]
fn after_the_end_of_a_range_nothing_comes_at_once_though_somebody_was_behind() {
    for (wait, rate) in [(4.0, 2000), (30.0, 2000), (3.2, 1010)] {
        let mut rig = watched(60, if rate == 2000 { 250 } else { 50 }, false, 17.9);
        let range = NptRange { start: None, end: Some(MediaTime::from_seconds(20.0)) };
        rig.presentation.play(PlayRequest { range: Some(range), ..PlayRequest::default() }, rig.now).expect("playable");
        rig.bind(2, &BOTH, rate);
        rig.run(seconds(wait));
        let sent = [rig.got(1, VIDEO).len(), rig.got(2, VIDEO).len()];
        let playing = rig.play(None, None);
        assert!(playing.start.since(MediaTime::from_seconds(20.0)) < seconds(0.1), "{:?}", playing.start);
        rig.run(seconds(1.0));
        for (branch, before) in [(1, sent[0]), (2, sent[1])] {
            let came = rig.got(branch, VIDEO).len() - before;
            assert!((23..=28).contains(&came), "branch {branch} after {wait}: {came} pictures in a second");
        }
        rig.run(seconds(60.0));
        for branch in [1, 2] {
            rig.assert_contiguous(branch);
            assert_eq!(rig.got(branch, VIDEO).last().expect("pictures").offset, 1499 * 5000);
        }
    }
}

/// A film with open groups of pictures.
fn open(distance: i64) -> Arc<Title> {
    title_of(MediaTime::from_seconds(60.0), open_groups(60, distance), 48_000, sound(60))
}

#[test]
fn leading_pictures_are_left_out_for_who_begins_with_their_random_access_point() {
    for (distance, way, first) in [(51, JoinWay::Primed, 357), (252, JoinWay::Primed, 252), (51, JoinWay::Aligned, 408)] {
        let mut rig = Rig::new(open(distance), false);
        rig.bind(1, &BOTH, 2000);
        rig.play(None, None);
        rig.run(seconds(16.0));
        rig.hand_over(1, 2, &BOTH, way, seconds(60.0));
        rig.run(seconds(30.0));
        let got = offsets(&rig, 2, VIDEO);
        assert_eq!(got[..2], [first * 5000, (first + 3) * 5000], "{way:?} {distance}");
        assert!(got[1..].windows(2).all(|pair| pair[1] == pair[0] + 5000), "no other picture is");
        rig.assert_contiguous(1);
        for got in rig.got(2, VIDEO) {
            let twin = rig.got(1, VIDEO).iter().find(|twin| twin.offset == got.offset).expect("sent to the first as well");
            assert_eq!((twin.sequence, twin.timestamp), (got.sequence, got.timestamp), "all keep their numbers");
        }
    }
}

#[test]
fn whose_leading_pictures_are_left_out_is_told_of_them_with_their_random_access_point() {
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(16.0));
    rig.bind(2, &BOTH, 2000);
    let branch = |rig: &Rig| rig.presentation.flows()[VIDEO].branches[1].branch.serial;
    let left_out = |rig: &Rig| rig.presentation.left_out_behind(VIDEO, Audience::Priming(branch(rig)), branch(rig));
    let told: Vec<u64> = left_out(&rig).iter().map(|unit| unit.offset).collect();
    assert_eq!(told, [358 * 5000, 359 * 5000]);
    assert!(rig.presentation.left_out_behind(VIDEO, Audience::Live, branch(&rig)).is_empty(), "of the others nobody is");
    rig.run(seconds(0.02));
    assert_eq!(offsets(&rig, 2, VIDEO), [357 * 5000]);
    assert!(left_out(&rig).is_empty(), "only once");
    // What has no numbers leaves no gap.
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(Some((21.0, None)), None);
    rig.run(seconds(1.0));
    rig.bind(2, &BOTH, 2000);
    assert_eq!(rig.presentation.flows()[VIDEO].branches[1].left_out.as_ref().map(|(_, units)| units.len()), Some(2));
    assert!(left_out(&rig).is_empty());
}

#[test]
fn numbers_that_somebody_has_had_are_not_given_out_again_after_a_jump() {
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    let live = |rig: &Rig| rig.presentation.flows()[VIDEO].live.expect("it plays");
    while live(&rig).unit < 51 {
        rig.run(seconds(0.01));
    }
    // The key picture is sent, and with it the numbers of its two leading pictures, to one that begins there.
    let (serial, next) = (rig.presentation.flows()[VIDEO].branches[0].branch.serial, live(&rig));
    rig.presentation.begin_anew(VIDEO, Audience::Live, serial);
    rig.presentation.promise(VIDEO, Audience::Live, serial, 3 * PACKETS[VIDEO]);
    while live(&rig).unit < 52 {
        rig.run(seconds(0.01));
    }
    rig.play(Some((30.0, None)), None);
    assert_eq!(live(&rig).sequence, next.sequence + 3 * PACKETS[VIDEO]);
    // Where they all come, nothing is left over.
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    while live(&rig).unit < 51 {
        rig.run(seconds(0.01));
    }
    let (serial, next) = (rig.presentation.flows()[VIDEO].branches[0].branch.serial, live(&rig));
    rig.presentation.begin_anew(VIDEO, Audience::Live, serial);
    rig.presentation.promise(VIDEO, Audience::Live, serial, 3 * PACKETS[VIDEO]);
    rig.run(seconds(2.0));
    let (unit, sequence) = (live(&rig).unit, live(&rig).sequence);
    assert_eq!(sequence - next.sequence, (unit - 51) as u64 * PACKETS[VIDEO]);
    // Where one cannot be read that was counted, its numbers are left over for everybody, also who begins further back.
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(16.0));
    rig.bind(2, &BOTH, 2000);
    let serial = rig.presentation.flows()[VIDEO].branches[1].branch.serial;
    let begins = |rig: &Rig| rig.presentation.flows()[VIDEO].branches[1].priming.expect("it catches up").cursor;
    let audience = Audience::Priming(serial);
    let first = begins(&rig);
    rig.presentation.promise(VIDEO, audience, serial, 3 * PACKETS[VIDEO]);
    rig.presentation.sent(VIDEO, audience, PACKETS[VIDEO], 0, &[serial], rig.now);
    rig.presentation.skip(VIDEO, audience, rig.now);
    rig.presentation.skip(VIDEO, audience, rig.now);
    assert_eq!((begins(&rig).unit, begins(&rig).sequence), (first.unit + 3, first.sequence + 3 * PACKETS[VIDEO]));
}

#[test]
fn reports_of_what_plays_together_go_together_after_the_first() {
    let mut rig = watched(60, 50, false, 1.0);
    rig.bind(2, &BOTH, 2000);
    rig.run(seconds(25.0));
    let of = |flow: usize, branch: u64| {
        let mine = rig.reports.iter().filter(|(serial, of, _)| *of == flow && *serial == branch).map(|(_, _, at)| *at);
        mine.collect::<Vec<Mono>>()
    };
    for branch in [1, 2] {
        let (video, audio) = (of(VIDEO, branch), of(AUDIO, branch));
        assert!(video.len() >= 5 && video.len() == audio.len(), "{} and {}", video.len(), audio.len());
        assert_eq!(video[1..], audio[1..], "branch {branch}");
    }
}

#[test]
fn who_lost_a_picture_goes_on_with_an_open_group_without_its_leading_pictures() {
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.bind(2, &BOTH, 2000);
    rig.play(None, None);
    let is_next = |rig: &Rig, unit: usize| rig.presentation.flows()[VIDEO].live.is_some_and(|live| live.unit == unit);
    while !is_next(&rig, 51) {
        rig.run(seconds(0.01));
    }
    let serial = rig.presentation.flows()[VIDEO].branches[1].branch.serial;
    rig.presentation.begin_anew(VIDEO, Audience::Live, serial);
    assert_eq!(rig.presentation.left_out_behind(VIDEO, Audience::Live, serial).len(), 2);
    rig.run(seconds(1.0));
    let after = |branch| offsets(&rig, branch, VIDEO).into_iter().filter(|offset| *offset >= 51 * 5000).take(3).collect::<Vec<_>>();
    assert_eq!(after(1), [51 * 5000, 52 * 5000, 53 * 5000]);
    assert_eq!(after(2), [51 * 5000, 54 * 5000, 55 * 5000]);
}

#[test]
fn the_sender_reports_of_a_branch_that_catches_up_are_about_what_it_is_sent() {
    let mut rig = watched(60, 50, false, 17.5);
    let line = |rig: &Rig, branch: usize| {
        let flow = &rig.presentation.flows()[VIDEO];
        let report = report::sender_report(&rig.presentation, flow, &flow.branches[branch], "c", false, rig.now);
        let field = |at: usize| u32::from_be_bytes([report[at], report[at + 1], report[at + 2], report[at + 3]]);
        (u64::from(field(8)) << 32 | u64::from(field(12)), field(16))
    };
    rig.bind(2, &BOTH, 1500);
    let mut before = None;
    for step in 0..60 {
        rig.run(seconds(0.1));
        let (newest, (ntp, rtp)) = (rig.got(2, VIDEO).last().expect("pictures").timestamp, line(&rig, 1));
        let apart = f64::from(rtp.wrapping_sub(newest) as i32) / 90_000.0;
        assert!(apart.abs() < 0.2, "after {step}: {apart} s from what is sent");
        // All on the line of those who do not lie behind.
        let (live_ntp, live_rtp) = line(&rig, 0);
        let apart = (live_ntp - ntp) as f64 / (1u64 << 32) as f64 - f64::from(live_rtp.wrapping_sub(rtp)) / 90_000.0;
        assert!(apart.abs() < 0.000_1, "after {step}: {apart} s from the line");
        assert!(before.is_none_or(|before| before < ntp), "time goes on");
        before = Some(ntp);
    }
    assert_eq!(line(&rig, 0), line(&rig, 1), "it has caught up");
}

#[test]
fn after_a_jump_to_an_open_group_its_leading_pictures_are_sent_to_nobody_and_have_no_numbers() {
    let mut rig = Rig::new(open(51), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(Some((21.0, None)), None);
    rig.run(seconds(1.0));
    rig.bind(2, &BOTH, 2000);
    rig.run(seconds(4.0));
    for branch in [1, 2] {
        let got = offsets(&rig, branch, VIDEO);
        assert_eq!(got[..3], [510 * 5000, 513 * 5000, 514 * 5000]);
        rig.assert_contiguous(branch);
    }
    assert_eq!(rig.got(1, VIDEO)[1].sequence, rig.got(2, VIDEO)[1].sequence);
}

#[test]
fn a_delayed_branch_of_a_player_that_takes_bursts_has_the_first_second_at_once() {
    let mut rig = watched(60, 250, false, 16.0);
    let begun = rig.now.mono;
    rig.bind(2, &BOTH, 8000);
    rig.run(seconds(20.0));
    rig.assert_contiguous(2);
    for (number, got) in rig.got(2, VIDEO).iter().enumerate() {
        let expected = if number <= 25 { number as f64 * 0.005 } else { 0.125 + (number - 25) as f64 * 0.04 };
        assert!((got.at.since(begun).as_secs_f64() - expected).abs() < 0.002, "picture {number} at {:?}", got.at.since(begun));
    }
    let flow = &rig.presentation.flows()[VIDEO];
    let state = flow.branches.last().expect("a branch");
    assert_eq!(state.entered, Entered::Delayed);
    assert!(state.behind.abs_diff(seconds(5.125)) < seconds(0.05) && state.lag.abs_diff(seconds(6.0)) < seconds(0.05), "{state:?}");
}

#[test]
fn one_that_lies_behind_by_less_than_a_picture_stays_behind() {
    let mut rig = watched(60, 50, false, 0.05);
    rig.bind(2, &BOTH, 2000);
    rig.run(seconds(0.5));
    rig.hand_over(2, 3, &BOTH, JoinWay::Aligned, seconds(4.0));
    rig.run(seconds(10.0));
    for flow in BOTH {
        assert_seamless(&rig, 2, 3, flow);
    }
    rig.assert_contiguous(2);
    rig.assert_contiguous(3);
}

#[test]
fn flows_that_are_bound_one_by_one_lie_equally_far_behind() {
    for first in [VIDEO, AUDIO] {
        for rate in [1500, 8000] {
            let mut rig = Rig::new(title(60, 250), false);
            rig.bind(1, &[VIDEO, AUDIO], 2000);
            rig.play(None, None);
            rig.run(seconds(13.0));
            rig.updates += 1;
            rig.show(2, &[first], rate, 1);
            rig.run(seconds(0.2));
            rig.show(2, &[1 - first], rate, 1);
            rig.run(seconds(0.5));
            let flows = rig.presentation.flows();
            let [pictures, sound] = [VIDEO, AUDIO].map(|flow| flows[flow].branches.iter().find(|state| state.branch.serial.0 / 2 == 2));
            let (pictures, sound) = (pictures.expect("bound"), sound.expect("bound"));
            assert_eq!((pictures.behind, pictures.delay()), (sound.behind, sound.delay()), "{first} first, at {rate}");
            // Never all at once.
            assert!(rig.got(2, VIDEO).len() < usize::from(rate) * 25 / 1000, "{} pictures", rig.got(2, VIDEO).len());
        }
    }
}
