//! Delivery faster and slower than real time under a simulated clock: the same packets, earlier or later.

use std::time::Duration;

use crate::playback_rig::{AUDIO, Got, Rig, VIDEO, seconds, title};
use flowsteer::playback::{NptRange, PlayRequest, Playing, PresentationState, SeekStyle, Speed};
use flowsteer::quantities::MediaTime;
use flowsteer::steering::{BranchSerial, JoinWay};
use proptest::prelude::*;

const BOTH: [usize; 2] = [VIDEO, AUDIO];

fn play(rig: &mut Rig, start: Option<f64>, factor: f64) -> Playing {
    let range = start.map(|start| NptRange { start: Some(MediaTime::from_seconds(start)), end: None });
    let request = PlayRequest { range, speed: Speed::nearest(factor), ..PlayRequest::default() };
    rig.presentation.play(request, rig.now).expect("playable")
}

fn position(rig: &Rig) -> f64 {
    rig.presentation.position(rig.now).as_seconds()
}

fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.002
}

/// What a branch got, but for when.
fn packets(got: &[Got]) -> Vec<(u16, u32, u64, usize)> {
    got.iter().map(|got| (got.sequence, got.timestamp, got.offset, got.units)).collect()
}

/// All of a title at a speed.
fn whole(factor: f64) -> Rig {
    let mut rig = Rig::grouped(title(12, 50), false);
    rig.bind(1, &BOTH, 2000);
    let playing = play(&mut rig, None, factor);
    assert_eq!(playing.speed, Speed::nearest(factor).expect("a speed"));
    rig.run(Duration::from_secs(60));
    rig
}

#[test]
fn the_same_packets_leave_sooner_or_later() {
    let normal = whole(1.0);
    for factor in [0.25, 0.5, 2.0, 3.3, 4.0] {
        let rig = whole(factor);
        for flow in BOTH {
            let (got, real) = (rig.got(1, flow), normal.got(1, flow));
            assert_eq!(packets(got), packets(real), "{factor}");
            let begun = (got[0].at, real[0].at);
            for (one, at_real_time) in got.iter().zip(real) {
                let (since, real_since) = (one.at.since(begun.0).as_secs_f64(), at_real_time.at.since(begun.1).as_secs_f64());
                assert!(is_near(since * factor, real_since) || is_near(since, real_since / factor), "{factor}: {since} {real_since}");
            }
        }
        assert_eq!(rig.byes.len(), 2, "{factor}");
        assert_eq!(rig.presentation.state(), PresentationState::Paused);
    }
}

#[test]
fn the_position_goes_on_at_the_speed_and_a_change_moves_nothing() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &BOTH, 2000);
    play(&mut rig, None, 1.0);
    rig.run(seconds(2.0));
    let jumps = rig.presentation.jumps();
    let before = rig.got(1, VIDEO).len();
    let faster = play(&mut rig, None, 4.0);
    assert!(is_near(faster.start.as_seconds(), 2.0), "{:?}", faster.start);
    rig.run(seconds(3.0));
    assert!(is_near(position(&rig), 14.0), "{}", position(&rig));
    // A request that says nothing of it changes nothing; a pause neither.
    rig.presentation.pause(rig.now).expect("it plays");
    rig.run(seconds(5.0));
    rig.play(None, None);
    rig.run(seconds(1.0));
    assert!(is_near(position(&rig), 18.0), "{}", position(&rig));
    play(&mut rig, None, 0.25);
    rig.run(seconds(4.0));
    assert!(is_near(position(&rig), 19.0), "{}", position(&rig));
    assert_eq!((rig.presentation.jumps(), rig.got(1, VIDEO)[before].random_access), (jumps, false), "nothing begins anew");
    rig.assert_contiguous(1);
    let times: Vec<u32> = rig.got(1, AUDIO).windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp)).collect();
    assert!(times.iter().all(|time| *time == 1024), "timestamps know of no speed");
}

#[test]
fn the_line_of_the_reports_is_one_at_any_speed() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &BOTH, 2000);
    let point = |rig: &Rig, flow: usize| {
        let playing = &rig.presentation.flows()[flow];
        let (time, ntp) = rig.presentation.report_point(playing, &playing.branches[0], rig.now);
        (time.0, (i128::from(ntp) * 1_000_000_000) >> 32)
    };
    play(&mut rig, None, 1.0);
    rig.run(seconds(1.0));
    let constant = point(&rig, VIDEO).1 - i128::from(point(&rig, VIDEO).0);
    for factor in [4.0, 0.5, 1.0] {
        play(&mut rig, None, factor);
        for _ in 0..3 {
            rig.run(seconds(0.7));
            for flow in BOTH {
                let (time, ntp) = point(&rig, flow);
                assert!((ntp - i128::from(time) - constant).abs() < 10, "{factor}: {time} {ntp}");
            }
        }
    }
}

#[test]
fn a_device_that_takes_over_catches_up_at_any_speed() {
    for (factor, way) in
        [0.25, 0.5, 2.0, 4.0].into_iter().flat_map(|factor| [JoinWay::Primed, JoinWay::Aligned, JoinWay::AtOnce].map(|way| (factor, way)))
    {
        let mut rig = Rig::new(title(120, 25), false);
        rig.bind(1, &BOTH, 2000);
        play(&mut rig, None, factor);
        rig.run(seconds(8.0 / factor));
        rig.hand_over(1, 2, &BOTH, way, seconds(1.0));
        rig.run(seconds(20.0 / factor));
        let told = format!("{factor} {way:?}");
        let state = &rig.presentation.flows()[VIDEO].branches[0];
        assert_eq!((state.branch.serial, state.priming.is_some(), state.awaits.is_some()), (BranchSerial(4), false, false), "{told}");
        rig.assert_contiguous(1);
        rig.assert_contiguous(2);
        for flow in BOTH {
            let had =
                |branch: u64| packets(rig.got(branch, flow)).into_iter().map(|(sequence, stamp, offset, _)| (offset, sequence, stamp));
            let all: std::collections::BTreeSet<_> = had(1).chain(had(2)).collect();
            let offsets: std::collections::BTreeSet<_> = all.iter().map(|(offset, ..)| *offset).collect();
            assert_eq!(all.len(), offsets.len(), "{told}: both have it with the same numbers");
            let handed = rig.handed_over[&(2, flow)];
            assert!(handed.missing.is_zero() && handed.repeated < seconds(1.2), "{told}: {handed:?}");
        }
        assert!(way != JoinWay::Primed || rig.got(2, VIDEO)[0].random_access, "{told}");
        // How much faster than real time it was caught up.
        let first = rig.got(2, VIDEO)[0].at;
        let soon = rig.got(2, VIDEO).iter().filter(|got| got.at.since(first) < seconds(0.2)).count();
        assert!(soon as f64 <= 25.0 * 0.2 * f64::max(2.0, 1.25 * factor) + 4.0, "{told}: {soon} pictures in 0.2 s");
        assert!((position(&rig) - 28.0).abs() < 0.1, "{told}: {}", position(&rig));
    }
}

#[test]
fn an_aligned_branch_waits_as_long_as_it_may_in_time() {
    // The next random access point comes within the longest window only because it is played four times as fast.
    let mut rig = Rig::new(title(120, 1000), false);
    rig.bind(1, &BOTH, 2000);
    play(&mut rig, None, 4.0);
    rig.run(seconds(0.5));
    rig.hand_over(1, 2, &BOTH, JoinWay::Aligned, seconds(1.0));
    rig.run(seconds(12.0));
    assert_eq!(rig.got(2, VIDEO)[0].offset / 5000, 1000);
    assert_eq!(rig.handed_over[&(2, VIDEO)].repeated, Duration::ZERO);
}

#[test]
fn an_exact_seek_at_another_speed_begins_where_it_says() {
    for factor in [0.5, 4.0] {
        let mut rig = Rig::new(title(60, 50), false);
        rig.bind(1, &BOTH, 2000);
        let range = Some(NptRange { start: Some(MediaTime::from_seconds(31.9)), end: None });
        let request = PlayRequest { range, speed: Speed::nearest(factor), style: SeekStyle::FirstPrior, ..PlayRequest::default() };
        let playing = rig.presentation.play(request, rig.now).expect("playable");
        let asked = rig.now.mono;
        rig.run(seconds(6.0));
        let first = rig.got(1, AUDIO)[0];
        assert_eq!(first.timestamp, playing.flows[AUDIO].rtptime);
        // 1.86 s of pictures come before it: twice as fast as real time, but a quarter faster than the flow at least.
        let lead = 1.86 / f64::max(2.0, 1.25 * factor);
        let heard = first.at.since(asked).as_secs_f64();
        assert!((lead - 0.05..lead + 0.15).contains(&heard), "{factor}: {heard} {lead}");
        let moment = position(&rig) - playing.start.as_seconds() - rig.now.mono.since(first.at).as_secs_f64() * factor;
        assert!((0.0..0.1).contains(&moment), "{factor}: {moment}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever is asked for in between, what leaves is what leaves at real time, and never more than the speed allows.
    #[test]
    fn changes_of_speed_change_no_packet(
        steps in prop::collection::vec((0.25f64..4.0, 0.0f64..2.0, any::<bool>()), 1..8),
    ) {
        let normal = whole(1.0);
        let mut rig = Rig::grouped(title(12, 50), false);
        rig.bind(1, &BOTH, 2000);
        for (factor, span, pauses) in steps {
            // Behind the end PLAY would begin anew.
            if position(&rig) > 11.5 {
                break;
            }
            play(&mut rig, None, factor);
            let (at, from) = (rig.now.mono, position(&rig));
            rig.run(seconds(span));
            let gone = rig.now.mono.since(at).as_secs_f64();
            prop_assert!(position(&rig) <= from + gone * factor + 0.002);
            if pauses && position(&rig) <= 11.5 {
                rig.presentation.pause(rig.now).expect("it has not ended");
                rig.run(seconds(0.3));
            }
        }
        if position(&rig) <= 11.5 {
            rig.play(None, None);
        }
        rig.run(Duration::from_secs(60));
        for flow in BOTH {
            prop_assert_eq!(packets(rig.got(1, flow)), packets(normal.got(1, flow)));
        }
        prop_assert_eq!(rig.byes.len(), 2);
    }
}
