//! Trick play under a simulated clock: what is sent when at a scale, and what becomes of positions, numbers and hand-overs.

use std::sync::Arc;
use std::time::Duration;

use crate::playback_rig::{AUDIO, Rig, VIDEO, seconds, title};
use flowsteer::library::{Sample, SampleIndex, Title};
use flowsteer::playback::presentation::{Presentation, PresentationSettings};
use flowsteer::playback::{NptRange, Opening, PlayRequest, Playing, PresentationId, PresentationState, Scale};
use flowsteer::quantities::MediaTime;
use flowsteer::steering::JoinWay;

const BOTH: [usize; 2] = [VIDEO, AUDIO];

fn scale(factor: f64) -> Option<Scale> {
    Some(Scale::nearest(factor).expect("a number"))
}

fn play(rig: &mut Rig, start: Option<f64>, factor: f64) -> Playing {
    let range = start.map(|start| NptRange { start: Some(MediaTime::from_seconds(start)), end: None });
    let request = PlayRequest { range, scale: scale(factor), ..PlayRequest::default() };
    rig.presentation.play(request, rig.now).expect("playable")
}

fn position(rig: &Rig) -> f64 {
    rig.presentation.position(rig.now).as_seconds()
}

/// Which pictures a branch got, by their number in the file.
fn pictures(rig: &Rig, branch: u64) -> Vec<u64> {
    rig.got(branch, VIDEO).iter().map(|got| got.offset / 5000).collect()
}

fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.002
}

#[test]
fn twice_as_fast_sends_every_picture_in_half_the_time_and_no_sound() {
    let mut rig = Rig::new(title(20, 50), false);
    rig.bind(1, &BOTH, 2000);
    let playing = play(&mut rig, None, 2.0);
    assert_eq!((playing.start.as_seconds(), playing.end.as_seconds(), playing.scale.to_string().as_str()), (0.0, 20.0, "2.0"));
    rig.run(seconds(5.0));
    assert!(is_near(position(&rig), 10.0), "{}", position(&rig));
    rig.run(seconds(6.0));
    assert_eq!(pictures(&rig, 1), (0..500).collect::<Vec<_>>());
    assert!(rig.got(1, AUDIO).is_empty());
    rig.assert_contiguous(1);
    let (first, last) = (rig.got(1, VIDEO)[0], rig.got(1, VIDEO)[498]);
    assert!((last.at.since(first.at).as_secs_f64() - 498.0 / 50.0).abs() < 0.01);
    // Timestamps are those of what is watched: 1,800 ticks a picture.
    assert!((i64::from(last.timestamp.wrapping_sub(first.timestamp)) - 498 * 1800).abs() <= 3 * 1800);
    assert_eq!(rig.byes.len(), 2, "the title's end is told on both flows");
}

#[test]
fn slow_motion_takes_longer() {
    let mut rig = Rig::new(title(4, 25), false);
    rig.bind(1, &BOTH, 2000);
    play(&mut rig, None, 0.25);
    rig.run(seconds(8.0));
    assert!(is_near(position(&rig), 2.0), "{}", position(&rig));
    assert_eq!(pictures(&rig, 1), (0..51).collect::<Vec<_>>());
    rig.run(seconds(9.0));
    assert_eq!(pictures(&rig, 1).len(), 100);
    assert_eq!(rig.byes.len(), 2);
}

#[test]
fn faster_than_twice_sends_key_pictures_alone() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &BOTH, 2000);
    let playing = play(&mut rig, None, 9.0);
    assert_eq!(playing.scale, Scale::nearest(4.0).expect("a number"));
    rig.run(seconds(2.1));
    assert_eq!(pictures(&rig, 1), [0, 25, 50, 75, 100, 125, 150, 175, 200]);
    let gaps: Vec<Duration> = rig.got(1, VIDEO).windows(2).map(|pair| pair[1].at.since(pair[0].at)).collect();
    assert!(gaps[1..].iter().all(|gap| is_near(gap.as_secs_f64(), 0.25)), "{gaps:?}");
    rig.assert_contiguous(1);
}

#[test]
fn backwards_sends_key_pictures_from_where_it_is_to_the_beginning_and_ends_there() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(10.3));
    let before = rig.got(1, VIDEO).len();
    let sounds = rig.got(1, AUDIO).len();
    let playing = play(&mut rig, None, -2.0);
    // The picture shown at 0.04 s after each full second is the key picture.
    assert!(is_near(playing.start.as_seconds(), 10.04), "{:?}", playing.start);
    assert_eq!((playing.end, playing.scale.to_string().as_str()), (MediaTime::ZERO, "-2.0"));
    rig.run(seconds(2.0));
    assert!((position(&rig) - 6.1).abs() < 0.3, "{}", position(&rig));
    rig.run(seconds(5.0));
    assert_eq!(pictures(&rig, 1)[before..], [250, 225, 200, 175, 150, 125, 100, 75, 50, 25, 0]);
    assert_eq!(rig.got(1, AUDIO).len(), sounds);
    rig.assert_contiguous(1);
    let stamps: Vec<i32> =
        rig.got(1, VIDEO)[before..].windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32).collect();
    assert_eq!(stamps, [45_000; 10], "timestamps rise, at the rate of what is watched");
    assert!(rig.byes.len() == 2 && !rig.ended, "players end, but may go on");
    assert_eq!((position(&rig), rig.presentation.state()), (0.0, PresentationState::Paused));
    // … and forward again.
    let playing = play(&mut rig, None, 1.0);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(1.0));
    assert!(is_near(position(&rig), 1.0), "{}", position(&rig));
    assert!(rig.got(1, AUDIO).len() > sounds + 40);
    rig.assert_contiguous(1);
}

#[test]
fn a_change_goes_on_where_it_is_with_the_numbers_that_follow() {
    let mut rig = Rig::new(title(60, 25), false);
    rig.bind(1, &BOTH, 2000);
    rig.play(None, None);
    rig.run(seconds(5.5));
    for factor in [2.0, 0.5, 4.0, 1.0] {
        let at = position(&rig);
        let sent = rig.got(1, VIDEO).len();
        let playing = play(&mut rig, None, factor);
        let start = playing.start.as_seconds();
        assert!(start <= at + 0.01 && start > at - 1.05, "the key picture before: {start} at {at}");
        let info = playing.flows.iter().find(|flow| flow.track == VIDEO).copied().expect("named");
        rig.run(seconds(2.0));
        let first = rig.got(1, VIDEO)[sent];
        assert_eq!((first.random_access, first.sequence), (true, info.sequence));
        // It begins when what was sent has been shown.
        let gone = (position(&rig) - start) / factor;
        assert!((1.75..2.001).contains(&gone), "{factor}: {gone}");
    }
    rig.assert_contiguous(1);
    let stamps = rig.got(1, VIDEO).iter().filter(|got| got.random_access).map(|got| got.timestamp);
    let stamps: Vec<u32> = stamps.collect();
    assert!(stamps.windows(2).all(|pair| (pair[1].wrapping_sub(pair[0]) as i32) > 0), "{stamps:?}");
}

#[test]
fn a_seek_at_a_scale_stays_at_it_and_asking_for_nothing_changes_nothing() {
    let mut rig = Rig::new(title(60, 25), false);
    rig.bind(1, &BOTH, 2000);
    play(&mut rig, Some(30.5), -4.0);
    rig.run(seconds(0.3));
    let playing = rig.play(None, None);
    assert_eq!(playing.scale.to_string(), "-4.0");
    assert_eq!(pictures(&rig, 1)[0], 750, "what lies before 30.5 s");
    let playing = rig.play(Some((20.5, None)), None);
    assert_eq!(playing.scale.to_string(), "-4.0");
    rig.run(seconds(0.9));
    assert_eq!(pictures(&rig, 1)[2..5], [500, 475, 450]);
}

#[test]
fn sound_alone_is_played_at_normal_speed() {
    let mut rig = Rig::new(title(20, 25), false);
    let flows: Vec<_> = rig.presentation.flows().iter().map(|flow| flow.facts).collect();
    let opening = Opening { scale: Scale::nearest(2.0).expect("a number"), ..Opening::whole(title(20, 25)) };
    rig.presentation = Presentation::new(PresentationId(1), opening, PresentationSettings::default(), rig.now);
    let identity = flowsteer::playback::flow::FlowIdentity { sequence: 65_500, timestamp: 5 };
    rig.presentation.add_flow(flows[AUDIO], identity, Default::default(), rig.now).expect("room");
    for asked in [None, scale(4.0)] {
        let request = PlayRequest { scale: asked, still: true, ..PlayRequest::default() };
        let playing = rig.presentation.play(request, rig.now).expect("playable");
        assert!(playing.scale.is_normal());
    }
    // A title with pictures, of which only the sound is set up.
    let opening = Opening { scale: Scale::nearest(-4.0).expect("a number"), ..Opening::whole(title(20, 25)) };
    rig.presentation = Presentation::new(PresentationId(1), opening, PresentationSettings::default(), rig.now);
    rig.presentation.add_flow(flows[AUDIO], identity, Default::default(), rig.now).expect("room");
    let playing = rig.presentation.play(PlayRequest::default(), rig.now).expect("playable");
    assert!(playing.scale.is_normal() && playing.start == MediaTime::ZERO);
}

/// One device hands over to another while the title plays at a scale.
fn hands_over(factor: f64, way: JoinWay) {
    let mut rig = Rig::new(title(60, 25), false);
    rig.bind(1, &BOTH, 2000);
    play(&mut rig, Some(30.0), factor);
    rig.run(seconds(2.2));
    rig.hand_over(1, 2, &BOTH, way, seconds(1.0));
    rig.run(seconds(3.0));
    let (old, new) = (rig.got(1, VIDEO), rig.got(2, VIDEO));
    assert!(new[0].random_access, "{factor} {way:?}");
    let twin = |got: &crate::playback_rig::Got| old.iter().find(|old| old.sequence == got.sequence).copied();
    let shared: Vec<_> = new.iter().filter_map(|got| twin(got).map(|old| (old, *got))).collect();
    assert!(!shared.is_empty() || way == JoinWay::Aligned, "{factor} {way:?}");
    for (old, new) in shared {
        assert_eq!((old.offset, old.timestamp), (new.offset, new.timestamp), "{factor} {way:?}");
    }
    let last = old.last().expect("something");
    let follows = new.iter().find(|got| got.sequence == last.sequence.wrapping_add(3));
    assert!(follows.is_some(), "{factor} {way:?}: nothing is missing");
    rig.assert_contiguous(2);
    let outcome = rig.handed_over[&(2, VIDEO)];
    assert_eq!(outcome.missing, Duration::ZERO, "{factor} {way:?}");
}

#[test]
fn a_hand_over_at_any_scale_misses_nothing() {
    for factor in [0.5, 1.0, 2.0, 4.0, -1.0, -4.0, -8.0] {
        for way in [JoinWay::Primed, JoinWay::Aligned] {
            hands_over(factor, way);
        }
    }
}

fn opened(end: Option<f64>, start: f64, factor: f64, looping: bool) -> Rig {
    opened_of(title(20, 25), end, start, factor, looping)
}

fn opened_of(film: Arc<Title>, end: Option<f64>, start: f64, factor: f64, looping: bool) -> Rig {
    let mut rig = Rig::new(film.clone(), looping);
    let opening = Opening {
        start: MediaTime::from_seconds(start),
        end: end.map(MediaTime::from_seconds),
        scale: Scale::nearest(factor).expect("a number"),
        looping,
        ..Opening::whole(film)
    };
    let flows: Vec<_> = rig.presentation.flows().iter().map(|flow| flow.facts).collect();
    rig.presentation = Presentation::new(PresentationId(1), opening, PresentationSettings::default(), rig.now);
    for facts in flows {
        let identity = flowsteer::playback::flow::FlowIdentity { sequence: 65_500, timestamp: u32::MAX - 1000 };
        rig.presentation.add_flow(facts, identity, Default::default(), rig.now).expect("room");
    }
    rig.bind(1, &BOTH, 2000);
    rig
}

#[test]
fn a_part_of_a_title_ends_where_it_was_asked_to() {
    let mut rig = opened(Some(7.0), 5.04, 1.0, false);
    let playing = rig.play(None, None);
    assert_eq!((playing.start.as_seconds(), playing.end.as_seconds()), (5.04, 7.0));
    rig.run(seconds(3.0));
    let seen = pictures(&rig, 1);
    assert_eq!((seen.first(), seen.last()), (Some(&125), Some(&174)));
    assert_eq!(rig.byes.len(), 2);
    let playing = rig.play(Some((18.0, None)), None);
    assert!(playing.start.as_seconds() < 7.0, "behind its end lies nothing: {:?}", playing.start);
}

#[test]
fn a_part_is_repeated_as_such_without_a_seam() {
    let mut rig = opened(Some(7.0), 5.04, 1.0, true);
    rig.play(None, None);
    rig.run(seconds(9.0));
    let seen = pictures(&rig, 1);
    let round: Vec<u64> = (125..175).collect();
    assert_eq!(seen[..150], [&round[..], &round[..], &round[..]].concat()[..]);
    rig.assert_contiguous(1);
    let keys: Vec<u32> = rig.got(1, VIDEO).iter().step_by(50).map(|got| got.timestamp).collect();
    assert!(keys.windows(2).all(|pair| (pair[1].wrapping_sub(pair[0]) as i32 - 180_000).abs() < 10_000), "{keys:?}");
}

#[test]
fn a_title_can_be_opened_at_a_scale_and_backwards_from_its_end() {
    let mut rig = opened(None, 0.0, -4.0, false);
    let playing = rig.play(None, None);
    assert_eq!(playing.scale.to_string(), "-4.0");
    rig.run(seconds(6.0));
    assert_eq!(pictures(&rig, 1), (0..20).rev().map(|second| second * 25).collect::<Vec<_>>());
    assert_eq!(position(&rig), 0.0);
}

#[test]
fn a_part_backwards_begins_at_its_end_and_a_loop_of_it_does_so_again() {
    let mut rig = opened(Some(7.0), 0.0, -4.0, true);
    let playing = rig.play(None, None);
    assert!(is_near(playing.start.as_seconds(), 6.04), "{:?}", playing.start);
    rig.run(seconds(4.5));
    let round: Vec<u64> = (0..7).rev().map(|second| second * 25).collect();
    assert_eq!(pictures(&rig, 1)[..14], [round.clone(), round].concat()[..]);
    rig.assert_contiguous(1);
    let got = rig.got(1, VIDEO);
    assert!(got.windows(2).all(|pair| (pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32) > 0));
    assert!(got.windows(2).all(|pair| pair[1].at.since(pair[0].at) > seconds(0.03)), "no burst");
}

#[test]
fn a_part_that_begins_between_key_pictures_is_repeated_without_a_step_back() {
    let mut rig = opened(Some(7.0), 5.5, 1.0, true);
    rig.play(None, None);
    rig.run(seconds(6.5));
    let round: Vec<u64> = (125..175).collect();
    assert_eq!(pictures(&rig, 1)[..150], [round.clone(), round.clone(), round].concat()[..]);
    rig.assert_contiguous(1);
    let keys: Vec<_> = rig.got(1, VIDEO).iter().step_by(50).collect();
    assert!(keys.windows(2).all(|pair| (pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32) > 90_000));
    assert!(keys.windows(2).all(|pair| pair[1].at.since(pair[0].at) > seconds(1.0)), "no burst");
}

#[test]
fn the_very_first_picture_is_the_last_one_backwards() {
    let samples = (0..100).map(|number| Sample::new(number * 5000, 1000, number as i64 * 3600, 0, number % 25 == 0).expect("small"));
    let pictures_from_zero = SampleIndex::new(samples.collect(), 3600);
    let film = crate::playback_rig::title_of(MediaTime::from_seconds(4.0), pictures_from_zero, 48_000, crate::playback_rig::sound(4));
    let mut rig = Rig::new(film, false);
    rig.bind(1, &BOTH, 2000);
    // As GStreamer asks.
    let range = NptRange { start: Some(MediaTime::from_seconds(3.5)), end: Some(MediaTime::ZERO) };
    let request = PlayRequest { range: Some(range), scale: scale(-4.0), ..PlayRequest::default() };
    rig.presentation.play(request, rig.now).expect("playable");
    rig.run(seconds(2.0));
    assert_eq!((pictures(&rig, 1), rig.byes.len()), (vec![75, 50, 25, 0], 2));
}

#[test]
fn a_loop_backwards_begins_again_at_the_end() {
    let mut rig = opened(None, 0.0, -4.0, true);
    rig.play(None, None);
    rig.run(seconds(11.0));
    let round: Vec<u64> = (0..20).rev().map(|second| second * 25).collect();
    assert_eq!(pictures(&rig, 1)[..40], [round.clone(), round].concat()[..]);
    rig.assert_contiguous(1);
}

#[test]
fn a_range_backwards_is_played_from_its_later_end_to_its_earlier() {
    let mut rig = opened(Some(5.0), 12.0, -4.0, false);
    let playing = rig.play(None, None);
    assert!(is_near(playing.start.as_seconds(), 11.04) && is_near(playing.end.as_seconds(), 5.0), "{playing:?}");
    rig.run(seconds(3.0));
    let round: Vec<u64> = (5..12).rev().map(|second| second * 25).collect();
    assert_eq!((pictures(&rig, 1), rig.byes.len(), position(&rig)), (round.clone(), 2, 5.0));
    // What is asked for behind or before it lies in it.
    for (asked, first) in [(18.0, 275), (8.5, 200), (2.0, 125)] {
        let before = pictures(&rig, 1).len();
        rig.play(Some((asked, None)), None);
        rig.run(seconds(3.0));
        let seen = pictures(&rig, 1).split_off(before);
        assert_eq!((seen.first(), seen.last()), (Some(&first), Some(&125)), "{asked}");
    }
    rig.assert_contiguous(1);
    let mut rig = opened(Some(5.0), 12.0, -4.0, true);
    rig.play(None, None);
    rig.run(seconds(4.5));
    assert_eq!(pictures(&rig, 1)[..14], [round.clone(), round].concat()[..]);
    rig.assert_contiguous(1);
    // Forward it is the same range.
    play(&mut rig, None, 1.0);
    rig.run(seconds(9.0));
    let seen = pictures(&rig, 1);
    assert!(seen.contains(&299) && !seen.contains(&300), "up to 12 s");
    assert_eq!(seen.last().map(|picture| *picture >= 125), Some(true));
}

#[test]
fn a_range_backwards_between_key_pictures_shows_the_one_before() {
    // Key pictures at 0, 12, 24 and 36 seconds, and a little.
    for (start, end, first) in [(30.0, 25.0, 600), (23.0, 13.0, 300), (35.0, 26.0, 600)] {
        let mut rig = opened_of(title(40, 300), Some(end), start, -1.0, false);
        let playing = rig.play(None, None);
        assert!(is_near(playing.start.as_seconds(), end) && is_near(playing.end.as_seconds(), end), "{playing:?}");
        rig.run(seconds(2.0));
        assert_eq!((pictures(&rig, 1), rig.byes.len(), position(&rig)), (vec![first], 2, end));
    }
    // One lies in it.
    let mut rig = opened_of(title(40, 300), Some(20.0), 30.0, -4.0, false);
    rig.play(None, None);
    rig.run(seconds(3.0));
    assert_eq!((pictures(&rig, 1), position(&rig)), (vec![600], 20.0));
}
