//! With what a seek begins: the random access point, or sound at the very position with the pictures before it sent ahead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::playback_rig::{AUDIO, Got, Rig, VIDEO, open_groups, seconds, sound, title, title_of};
use flowsteer::library::Title;
use flowsteer::playback::{NptRange, PlayRequest, Playing, SeekStyle};
use flowsteer::quantities::MediaTime;
use flowsteer::steering::JoinWay;
use proptest::prelude::*;

const BOTH: [usize; 2] = [VIDEO, AUDIO];
/// A frame of sound, in seconds.
const FRAME: f64 = 1024.0 / 48_000.0;

fn seek(rig: &mut Rig, start: f64, style: SeekStyle) -> Playing {
    let range = Some(NptRange { start: Some(MediaTime::from_seconds(start)), end: None });
    rig.presentation.play(PlayRequest { range, style, ..PlayRequest::default() }, rig.now).expect("playable")
}

fn position(rig: &Rig) -> f64 {
    rig.presentation.position(rig.now).as_seconds()
}

/// When the frame begins that is heard at a position, which is known to a sample.
fn frame_at(position: f64) -> f64 {
    (position / FRAME + 1.0 / 1024.0).floor() * FRAME
}

/// Seconds from the start that was told to what a packet shows.
fn after(playing: &Playing, flow: usize, got: &Got) -> f64 {
    f64::from(got.timestamp.wrapping_sub(playing.flows[flow].rtptime) as i32) / if flow == VIDEO { 90_000.0 } else { 48_000.0 }
}

fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.002
}

/// A title without one of its tracks.
fn without(title: Arc<Title>, track: usize) -> Arc<Title> {
    let mut title = Arc::into_inner(title).expect("nobody else has it");
    title.tracks.remove(track);
    Arc::new(title)
}

#[test]
fn sound_begins_at_the_position_and_pictures_before_it_are_sent_ahead() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(5.0));
    let before = [rig.got(1, VIDEO).len(), rig.got(1, AUDIO).len()];
    let playing = seek(&mut rig, 11.3, SeekStyle::FirstPrior);
    let (asked, begin) = (rig.now.mono, frame_at(11.3));
    assert_eq!(playing.style, SeekStyle::FirstPrior);
    assert!(is_near(playing.start.as_seconds(), begin), "{:?}", playing.start);
    rig.run(seconds(0.3));
    assert!(is_near(position(&rig), begin), "{}", position(&rig));
    rig.run(seconds(3.7));
    // The key picture shown at 10.04 s is the 250th.
    let pictures = &rig.got(1, VIDEO)[before[VIDEO]..];
    let frames = &rig.got(1, AUDIO)[before[AUDIO]..];
    assert_eq!((pictures[0].offset / 5000, pictures[0].random_access), (250, true));
    assert!(is_near(after(&playing, VIDEO, &pictures[0]), 10.04 - begin));
    assert_eq!(frames[0].timestamp, playing.flows[AUDIO].rtptime, "the first frame is the one that was told");
    // Twice as fast up to the position, for that is what the player takes; from there on at real time.
    let lead = (begin - 10.04) / 2.0;
    let heard = frames[0].at.since(asked).as_secs_f64();
    assert!((lead..lead + 0.3).contains(&heard), "{heard} {lead}");
    let begun = frames[0].at;
    for frame in frames {
        assert!((frame.at.since(begun).as_secs_f64() - after(&playing, AUDIO, frame)).abs() < 0.002, "{frame:?}");
    }
    let steps = |from: f64, to: f64| -> Vec<f64> {
        let sent = pictures.iter().filter(|got| (from..to).contains(&after(&playing, VIDEO, got))).map(|got| got.at).collect::<Vec<_>>();
        sent.windows(2).map(|pair| pair[1].since(pair[0]).as_secs_f64()).collect()
    };
    assert!(steps(-9.0, -0.2).iter().all(|step| *step < 0.045), "{:?}", steps(-9.0, -0.2));
    assert!(steps(-9.0, -0.2).iter().sum::<f64>() < 0.6);
    // What is sent is shown a moment later.
    let moment = position(&rig) - begin - rig.now.mono.since(begun).as_secs_f64();
    assert!((0.0..0.1).contains(&moment), "{moment}");
    rig.assert_contiguous(1);
    let rises = |flow: usize| {
        rig.got(1, flow)[before[flow]..]
            .iter()
            .all(|got| got.timestamp.wrapping_sub(rig.got(1, flow)[before[flow] - 1].timestamp).cast_signed() > 0)
    };
    assert!(rises(VIDEO) && rises(AUDIO), "nothing bears a timestamp from before the seek");
}

#[test]
fn without_it_both_begin_at_the_random_access_point() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &BOTH, 2000);
    let playing = seek(&mut rig, 11.3, SeekStyle::RandomAccess);
    assert_eq!((playing.style, is_near(playing.start.as_seconds(), 10.04)), (SeekStyle::RandomAccess, true));
    rig.run(seconds(0.2));
    assert_eq!(rig.got(1, VIDEO)[0].offset / 5000, 250);
    assert!(after(&playing, AUDIO, &rig.got(1, AUDIO)[0]).abs() < FRAME);
}

#[test]
fn what_cannot_begin_exactly_begins_at_the_random_access_point_and_says_so() {
    let told = |title: Arc<Title>, flows: &[usize], rate: u16| {
        let mut rig = Rig::new(title, false);
        rig.bind(1, flows, rate);
        let playing = seek(&mut rig, 29.5, SeekStyle::FirstPrior);
        (playing.style, (playing.start.as_seconds() * 100.0).round() / 100.0)
    };
    // Further back than branches are primed.
    assert_eq!(told(title(60, 1000), &BOTH, 2000), (SeekStyle::RandomAccess, 0.04));
    // Nothing is to be sent faster than real time.
    assert_eq!(told(title(60, 50), &BOTH, 1000), (SeekStyle::RandomAccess, 28.04));
    // There is nothing to be heard, or not any more.
    assert_eq!(told(without(title(60, 50), AUDIO), &[VIDEO], 2000), (SeekStyle::RandomAccess, 28.04));
    let short = title_of(MediaTime::from_seconds(60.0), crate::playback_rig::pictures(60, 50), 48_000, sound(20));
    assert_eq!(told(short, &BOTH, 2000), (SeekStyle::RandomAccess, 28.04));
}

#[test]
fn sound_alone_begins_with_its_own_frame() {
    let mut rig = Rig::new(without(title(60, 50), VIDEO), false);
    rig.bind(1, &[0], 1000);
    let playing = seek(&mut rig, 11.3, SeekStyle::FirstPrior);
    assert_eq!(playing.style, SeekStyle::FirstPrior);
    assert!(is_near(playing.start.as_seconds(), frame_at(11.3)));
    rig.run(seconds(1.0));
    let first = rig.got(1, 0)[0];
    assert_eq!(first.timestamp, playing.flows[0].rtptime);
    assert!(is_near(position(&rig), frame_at(11.3) + 1.0), "{}", position(&rig));
}

#[test]
fn a_conditional_seek_goes_on_where_no_random_access_point_lies_between() {
    let mut rig = Rig::new(title(60, 250), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(2.0));
    let (before, jumps) = (rig.got(1, VIDEO).len(), rig.presentation.jumps());
    // The next one is shown at 10.04 s.
    let playing = seek(&mut rig, 9.0, SeekStyle::ConditionalRandomAccess);
    assert!(is_near(playing.start.as_seconds(), 2.0), "{:?}", playing.start);
    rig.run(seconds(0.5));
    assert_eq!((rig.got(1, VIDEO)[before].random_access, rig.presentation.jumps()), (false, jumps));
    for (to, begin) in [(11.0, 10.04), (1.0, 0.0)] {
        let playing = seek(&mut rig, to, SeekStyle::ConditionalRandomAccess);
        assert!((playing.start.as_seconds() - begin).abs() < 0.05, "{:?}", playing.start);
    }
    assert_eq!(rig.presentation.jumps(), jumps + 2);
    rig.assert_contiguous(1);
}

#[test]
fn a_device_that_takes_over_in_the_lead_or_behind_it_has_the_same_packets() {
    for way in [JoinWay::Primed, JoinWay::Aligned, JoinWay::AtOnce] {
        for moment in [0.05, 0.4, 1.5] {
            let mut rig = Rig::new(title(60, 50), false);
            rig.bind(1, &BOTH, 2000);
            rig.play(None, None);
            rig.run(seconds(3.0));
            let before = [rig.got(1, VIDEO).len(), rig.got(1, AUDIO).len()];
            seek(&mut rig, 21.7, SeekStyle::FirstPrior);
            rig.run(seconds(moment));
            rig.hand_over(1, 2, &BOTH, way, seconds(1.0));
            rig.run(seconds(8.0));
            for flow in BOTH {
                let had: BTreeMap<u64, (u16, u32)> =
                    rig.got(1, flow)[before[flow]..].iter().map(|got| (got.offset, (got.sequence, got.timestamp))).collect();
                let both = rig.got(2, flow).iter().filter_map(|got| Some((had.get(&got.offset)?, (got.sequence, got.timestamp))));
                assert!(both.clone().all(|(one, other)| *one == other), "{way:?} {moment}");
                assert!(way != JoinWay::Primed || flow != VIDEO || both.count() > 10, "{moment}");
                assert!(rig.got(2, flow).len() > 100, "{way:?} {moment}");
            }
            rig.assert_contiguous(1);
            rig.assert_contiguous(2);
            assert!(position(&rig) > 27.0, "{way:?} {moment} {}", position(&rig));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Wherever, with groups however long and open or closed, to players that take whatever rate, also after other seeks and pauses.
    #[test]
    fn every_exact_seek_tells_the_frame_that_is_heard_and_never_goes_back(
        distance in prop_oneof![Just(3i64), Just(30), Just(75), Just(240)],
        is_open: bool,
        rate in prop_oneof![Just(1500u16), Just(2000), Just(8000)],
        steps in prop::collection::vec((0.0f64..39.0, 0.0f64..4.0, any::<bool>()), 1..5),
    ) {
        let film = title_of(
            MediaTime::from_seconds(40.0),
            if is_open { open_groups(40, distance) } else { crate::playback_rig::pictures(40, distance) },
            48_000,
            sound(40),
        );
        let mut rig = Rig::grouped(film, false);
        rig.bind(1, &BOTH, rate);
        for (to, span, pauses) in steps {
            let before = [VIDEO, AUDIO].map(|flow| rig.got(1, flow).to_vec());
            let playing = seek(&mut rig, to, SeekStyle::FirstPrior);
            let asked = rig.now.mono;
            let start = playing.start.as_seconds();
            if playing.style == SeekStyle::FirstPrior {
                prop_assert!(is_near(start, frame_at(to)), "{start} {to}");
            } else {
                prop_assert_eq!(start, 0.0, "only where nothing lies before is there nothing to lead");
            }
            if pauses {
                rig.run(seconds(span / 8.0));
                rig.presentation.pause(rig.now).expect("it plays");
                rig.run(seconds(0.5));
                rig.play(None, None);
            }
            rig.run(seconds(span));
            for flow in BOTH {
                let had = &before[flow];
                let got = &rig.got(1, flow)[had.len()..];
                let newest = had.iter().map(|got| got.timestamp.wrapping_sub(u32::MAX - 1000)).max();
                for one in got {
                    prop_assert!(newest.is_none_or(|newest| one.timestamp.wrapping_sub(u32::MAX - 1000) > newest), "{one:?}");
                    // At real time at most but for what is sent ahead, and a moment that is always allowed.
                    let at = after(&playing, flow, one);
                    prop_assert!(at < 0.3 || at < one.at.since(asked).as_secs_f64() + 0.3, "{at}");
                }
                if let (AUDIO, Some(first)) = (flow, got.first()) {
                    prop_assert!(after(&playing, flow, first).abs() < 1.5 * FRAME, "{first:?}");
                }
                if let (VIDEO, Some(first)) = (flow, got.first()) {
                    prop_assert!(first.random_access);
                    prop_assert!(after(&playing, flow, first) < 0.2);
                }
            }
            rig.assert_contiguous(1);
        }
        rig.run(Duration::from_secs(60));
        // A seek may come when one track has been told of the end, and the other has not.
        prop_assert!(BOTH.iter().all(|flow| rig.byes.iter().any(|bye| bye.1 == *flow)), "and it ends: {:?}", rig.byes);
    }
}
