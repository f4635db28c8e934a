//! Frames of sound that share packets, under a simulated clock: the same packets for everybody, near their pictures.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::playback_rig::*;
use flowsteer::quantities::MediaTime;
use flowsteer::steering::{Entered, JoinWay};

/// The frame's number in the track.
fn frame(got: &Got) -> u64 {
    (got.offset - 1_000_000) / 300
}

/// Each frame of a stretch came once, in order.
fn assert_gapless(got: &[Got]) {
    for pair in got.windows(2) {
        assert_eq!(frame(&pair[1]), frame(&pair[0]) + pair[0].units as u64, "{pair:?}");
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), pair[0].units as u32 * 1024);
    }
}

/// Whoever got a number got the same packet.
fn assert_same_packets(rig: &Rig) {
    for flow in [VIDEO, AUDIO] {
        let mut known: BTreeMap<u16, (u64, u32, usize)> = BTreeMap::new();
        for got in rig.got.iter().filter(|((_, of), _)| *of == flow).flat_map(|(_, got)| got) {
            let packet = (got.offset, got.timestamp, got.units);
            assert_eq!(*known.entry(got.sequence).or_insert(packet), packet, "flow {flow}, {got:?}");
        }
    }
}

#[test]
fn two_frames_leave_together_near_their_pictures() {
    let mut rig = Rig::grouped(title(11, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    let begun = rig.now.mono;
    rig.play(None, None);
    rig.run(seconds(30.0));
    rig.assert_contiguous(1);
    let got = rig.got(1, AUDIO);
    // 515 frames: the last has a packet of its own.
    assert_eq!((got.len(), got[..257].iter().all(|got| got.units == 2), got[257].units), (258, true, 1));
    assert_gapless(got);
    for got in got {
        for frame in frame(got)..frame(got) + got.units as u64 {
            let of_frame = frame as f64 * 1024.0 / 48_000.0;
            let late = got.at.since(begun).as_secs_f64() - of_frame;
            assert!(late.abs() < 0.011, "frame {frame} leaves {late} s after it is due");
        }
    }
    assert_eq!(rig.byes.len(), 2);
}

#[test]
fn a_stretch_that_begins_between_two_sends_the_second_alone() {
    let mut rig = Rig::grouped(title(20, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    let mut alone = 0;
    for target in [2.0, 4.0, 6.0, 10.0, 14.0] {
        let before = rig.got(1, AUDIO).len();
        rig.play(Some((target, None)), None);
        rig.run(seconds(1.0));
        let got = &rig.got(1, AUDIO)[before..];
        assert_gapless(got);
        assert_eq!(got[0].units as u64, 2 - frame(&got[0]) % 2);
        assert!(got[1..].iter().all(|got| got.units == 2 && frame(got).is_multiple_of(2)));
        alone += usize::from(got[0].units == 1);
    }
    assert!((1..5).contains(&alone), "{alone}");
    rig.assert_contiguous(1);
}

#[test]
fn whoever_joins_gets_the_same_packets() {
    for (way, entered) in [(JoinWay::Primed, Entered::Primed), (JoinWay::Aligned, Entered::Aligned), (JoinWay::AtOnce, Entered::AtOnce)] {
        for start in 0..12 {
            let mut rig = Rig::grouped(title(60, 50), false);
            rig.bind(1, &[VIDEO, AUDIO], 2000);
            // Every second stretch begins between two frames.
            rig.play(Some((f64::from(start) * 2.0, None)), None);
            rig.run(seconds(5.0 + f64::from(start) * 0.017));
            rig.hand_over(1, 2, &[VIDEO, AUDIO], way, Duration::ZERO);
            rig.run(seconds(4.0));
            assert_same_packets(&rig);
            rig.assert_contiguous(1);
            rig.assert_contiguous(2);
            assert_gapless(rig.got(2, AUDIO));
            let outcome = rig.handed_over[&(2, AUDIO)];
            assert_eq!((outcome.entered, outcome.missing), (entered, Duration::ZERO), "{way:?} {start}");
            if way == JoinWay::Aligned {
                assert_eq!(outcome.repeated, Duration::ZERO);
                let (last, first) = (rig.got(1, AUDIO).last().expect("sound"), rig.got(2, AUDIO)[0]);
                assert_eq!(frame(last) + last.units as u64, frame(&first), "nothing twice, nothing missing");
            }
        }
    }
}

#[test]
fn an_end_that_moves_on_changes_no_packet() {
    let mut rig = Rig::grouped(title(20, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    for end in [4.0, 4.02, 4.03, 4.05] {
        rig.play(Some((2.0, Some(end))), None);
        rig.run(seconds(1.5));
        // Who joins shortly before the end is behind when it moves on.
        rig.bind(2, &[VIDEO, AUDIO], 1500);
        rig.run(seconds(0.8));
        rig.presentation
            .play(
                flowsteer::playback::PlayRequest {
                    range: Some(flowsteer::playback::NptRange { start: None, end: Some(MediaTime::from_seconds(8.0)) }),
                    ..Default::default()
                },
                rig.now,
            )
            .expect("goes on");
        rig.run(seconds(2.0));
        assert_same_packets(&rig);
        rig.assert_contiguous(2);
        rig.unbind(2, flowsteer::steering::EndReason::Removed);
        rig.got.remove(&(2, VIDEO));
        rig.got.remove(&(2, AUDIO));
    }
}

#[test]
fn a_pair_that_cannot_be_read_is_passed_over_for_all() {
    let mut rig = Rig::grouped(title(20, 50), false);
    rig.unreadable = vec![(AUDIO, 1_000_000 + 200 * 300)];
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.0));
    rig.bind(2, &[VIDEO, AUDIO], 4000);
    rig.run(seconds(3.0));
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
    assert_same_packets(&rig);
    assert!(!rig.got(2, AUDIO).iter().any(|got| frame(got) == 200) && rig.got(2, AUDIO).iter().any(|got| frame(got) == 202));
}

#[test]
fn sound_alone_begins_at_once() {
    let mut rig = Rig::grouped(title(20, 50), false);
    rig.bind(1, &[AUDIO], 2000);
    let begun = rig.now.mono;
    rig.presentation.play(Default::default(), rig.now).expect("plays");
    rig.run(seconds(1.0));
    assert!(rig.got(1, AUDIO)[0].at.since(begun) < Duration::from_millis(12));
}
