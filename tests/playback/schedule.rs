//! Presentations under a simulated clock: what is sent when, to whom, with which numbers.

use std::sync::Arc;
use std::time::Duration;

use crate::playback_rig::*;
use flowsteer::library::{Sample, SampleIndex, Title};
use flowsteer::playback::{NptRange, PlayRequest, PlaybackError, PresentationState};
use flowsteer::quantities::{ClockRate, MediaTime};
use flowsteer::steering::{EndReason, UpdateId};

#[test]
fn a_title_is_sent_once_in_order_and_on_time_and_ends_with_bye() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    let begun = rig.now.mono;
    let playing = rig.play(None, None);
    assert_eq!((playing.start, playing.end), (MediaTime::ZERO, MediaTime::from_seconds(10.0)));
    rig.run(seconds(30.0));
    rig.assert_contiguous(1);
    for (flow, count) in [(VIDEO, 250), (AUDIO, 468)] {
        let got = rig.got(1, flow);
        assert_eq!(got.len(), count);
        assert!(got.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        assert_eq!((got[0].sequence, playing.flows[flow].sequence), (65_500, 65_500));
    }
    for (number, got) in rig.got(1, VIDEO).iter().enumerate() {
        assert!(near(got.at.since(begun), number as f64 * 0.04), "picture {number} at {:?}", got.at.since(begun));
    }
    // Timestamps are those of presentation: the first picture is shown one picture after it is decoded.
    assert_eq!(rig.got(1, VIDEO)[0].timestamp, playing.flows[VIDEO].rtptime.wrapping_add(3600));
    assert_eq!(rig.got(1, AUDIO)[7].timestamp, playing.flows[AUDIO].rtptime.wrapping_add(7 * 1024));
    let told: Vec<_> = rig.byes.iter().map(|(branch, flow, at)| (*branch, *flow, at.since(begun) >= seconds(9.98))).collect();
    assert_eq!(told, [(1, VIDEO, true), (1, AUDIO, true)]);
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    // A report with the first packet, then every five seconds.
    let reports: Vec<u64> = rig.reports.iter().filter(|(_, flow, _)| *flow == VIDEO).map(|(_, _, at)| at.since(begun).as_secs()).collect();
    assert_eq!(reports[..2], [0, 5]);
}

#[test]
fn after_the_end_another_play_begins_anew_without_a_break_in_numbers() {
    let mut rig = Rig::new(title(4, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(6.0));
    let before = *rig.got(1, AUDIO).last().expect("sound");
    let playing = rig.play(None, None);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(6.0));
    rig.assert_contiguous(1);
    assert_eq!(rig.got(1, VIDEO).len(), 200);
    assert_eq!(rig.got(1, AUDIO)[187].sequence, before.sequence.wrapping_add(1));
    let step = rig.got(1, AUDIO)[187].timestamp.wrapping_sub(before.timestamp);
    assert!((1024..60_000).contains(&step), "{step}");
}

#[test]
fn a_pause_stops_everything_and_resumes_with_the_next_access_unit() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(3.0));
    let at = rig.presentation.pause(rig.now).expect("paused");
    assert!(near(at.since(MediaTime::ZERO), 3.0), "{at:?}");
    let sent = rig.got(1, VIDEO).len();
    rig.run(seconds(60.0));
    assert_eq!(rig.got(1, VIDEO).len(), sent);
    let playing = rig.play(None, None);
    assert!(near(playing.start.since(MediaTime::ZERO), 3.0));
    assert_eq!(playing.flows[VIDEO].sequence, rig.got(1, VIDEO)[sent - 1].sequence.wrapping_add(3));
    rig.run(seconds(10.0));
    rig.assert_contiguous(1);
    assert_eq!(rig.got(1, VIDEO).len(), 250);
    // The timestamps stood still with the clock.
    assert_eq!(rig.got(1, AUDIO)[200].timestamp.wrapping_sub(rig.got(1, AUDIO)[0].timestamp), 200 * 1024);
}

#[test]
fn a_seek_starts_at_the_random_access_point_before_and_says_so() {
    let mut rig = Rig::new(title(20, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(2.5));
    for target in [9.3, 9.3, 17.9, 1.0, 0.5] {
        let before = rig.got(1, VIDEO).len();
        let (old_sound, old_video) = (rig.got(1, AUDIO).len(), *rig.got(1, VIDEO).last().expect("pictures"));
        let playing = rig.play(Some((target, None)), None);
        let start = playing.start.as_seconds();
        let expected = (target * 25.0 / 50.0).floor() * 2.0;
        assert!(start <= target && (start - expected).abs() <= 0.041, "{start} for {target}");
        rig.run(seconds(0.7));
        let (first, sound) = (rig.got(1, VIDEO)[before], rig.got(1, AUDIO)[old_sound]);
        assert!(first.random_access);
        assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
        assert_eq!(sound.sequence, playing.flows[AUDIO].sequence);
        assert!(first.timestamp.wrapping_sub(old_video.timestamp) < 90_000, "timestamps go on");
    }
    rig.assert_contiguous(1);
}

#[test]
fn ranges_end_where_they_say_and_nonsense_is_refused() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(Some((4.1, Some(6.0))), None);
    rig.run(seconds(10.0));
    let shown = rig.got(1, VIDEO).len();
    assert!((50..=54).contains(&shown), "{shown}");
    assert_eq!(rig.byes, []);
    for (start, end) in [(21.0, None), (-1.0, None), (5.0, Some(5.0)), (5.0, Some(4.0))] {
        let range = NptRange { start: Some(MediaTime::from_seconds(start)), end: end.map(MediaTime::from_seconds) };
        let outcome = rig.presentation.play(PlayRequest { range: Some(range), ..PlayRequest::default() }, rig.now);
        assert_eq!(outcome, Err(PlaybackError::InvalidRange), "{start} {end:?}");
    }
    // At the very end: the last random access point.
    let before = rig.got(1, VIDEO).len();
    rig.play(Some((20.0, None)), None);
    rig.run(seconds(5.0));
    assert!(rig.got(1, VIDEO).len() > before);
    assert_eq!(rig.byes.len(), 2);
}

#[test]
fn a_branch_that_joins_is_primed_from_the_last_random_access_point_and_catches_up() {
    for rate in [1500, 2000, 8000] {
        let mut rig = Rig::new(title(30, 50), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(5.3));
        let live = rig.got(1, VIDEO).len();
        let update = rig.bind(2, &[VIDEO, AUDIO], rate);
        let playing = rig.play(None, Some(update));
        rig.run(seconds(6.0));
        rig.assert_contiguous(1);
        rig.assert_contiguous(2);
        // From the point at four seconds, faster than real time.
        assert!((4.0..4.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
        let (pictures, sounds) = (rig.got(2, VIDEO), rig.got(2, AUDIO));
        assert!(pictures[0].random_access);
        assert_eq!(pictures[0].offset, 100 * 5000);
        assert_eq!((pictures[0].sequence, sounds[0].sequence), (playing.flows[VIDEO].sequence, playing.flows[AUDIO].sequence));
        let sound_start = (sounds[0].offset - 1_000_000) / 300 * 1024;
        assert!((4 * 48_000 - 1024..=4 * 48_000 + 4096).contains(&sound_start), "sound begins with the picture: {sound_start}");
        // Everything is byte for byte what the first branch has had: same number, same timestamp, same unit.
        for (flow, got) in [(VIDEO, pictures), (AUDIO, sounds)] {
            for unit in got {
                let twin = rig.got(1, flow).iter().find(|twin| twin.sequence == unit.sequence).expect("sent to the first as well");
                assert_eq!((twin.timestamp, twin.offset), (unit.timestamp, unit.offset));
            }
        }
        // Caught up after 1.3 s / (rate - 1), and never all at once.
        let caught_up =
            pictures.iter().find(|unit| rig.got(1, VIDEO).iter().any(|twin| twin.sequence == unit.sequence && twin.at == unit.at));
        let took = caught_up.expect("it catches up").at.since(pictures[0].at).as_secs_f64();
        let expected = 1.3 / (f64::from(rate) / 1000.0 - 1.0);
        assert!((took - expected).abs() < 0.15, "rate {rate}: {took} for {expected}");
        assert!(rig.got(1, VIDEO).len() >= live + 149);
    }
}

#[test]
fn who_takes_back_skips_nothing_that_was_not_seen() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.9));
    rig.bind(2, &[VIDEO, AUDIO], 4000);
    rig.run(seconds(2.0));
    rig.unbind(1, EndReason::Moved);
    rig.run(seconds(2.3));
    // The second device shows the film 1.9 s behind: at 10.2 s live it is at 8.3.
    let update = rig.bind(3, &[VIDEO, AUDIO], 4000);
    let playing = rig.play(None, Some(update));
    assert!((8.0..8.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    rig.run(seconds(1.0));
    rig.assert_contiguous(3);
}

#[test]
fn sound_alone_joins_where_the_picture_is() {
    let mut rig = Rig::new(title(30, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.5));
    let update = rig.bind(2, &[AUDIO], 2000);
    let playing = rig.play(None, Some(update));
    assert!((5.4..5.6).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    rig.run(seconds(1.0));
    assert_eq!(rig.got(2, VIDEO), []);
    rig.assert_contiguous(2);
}

#[test]
fn a_move_ends_with_bye_and_a_roaming_device_hears_none() {
    for (reason, told) in [(EndReason::Moved, 2), (EndReason::Roamed, 0), (EndReason::Expired, 2), (EndReason::Removed, 2)] {
        let mut rig = Rig::new(title(30, 50), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(3.0));
        rig.bind(2, &[VIDEO, AUDIO], 2000);
        rig.run(seconds(1.0));
        rig.unbind(1, reason);
        let last = rig.got(1, VIDEO).len();
        rig.run(seconds(3.0));
        assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 1).count(), told, "{reason:?}");
        assert_eq!(rig.got(1, VIDEO).len(), last);
        assert_eq!(rig.presentation.state(), PresentationState::Playing);
    }
}

#[test]
fn with_nobody_bound_it_lingers_keeps_its_place_and_resumes_for_who_comes() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(7.0));
    rig.unbind(1, EndReason::Removed);
    rig.run(seconds(50.0));
    assert_eq!(rig.presentation.state(), PresentationState::Lingering);
    assert!(near(rig.presentation.position(rig.now).since(MediaTime::ZERO), 7.0));
    let update = rig.bind(2, &[VIDEO, AUDIO], 2000);
    let playing = rig.play(None, Some(update));
    assert!((6.0..6.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    rig.run(seconds(5.0));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
    rig.assert_contiguous(2);
    rig.unbind(2, EndReason::Removed);
    rig.run(seconds(59.0));
    assert!(!rig.ended);
    rig.run(seconds(2.0));
    assert!(rig.ended);
}

#[test]
fn what_ran_goes_on_by_itself_when_a_device_is_bound_again_and_what_stood_stands() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(7.0));
    rig.unbind(1, EndReason::Expired);
    rig.run(seconds(10.0));
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
    assert!(near(rig.presentation.position(rig.now).since(MediaTime::ZERO), 12.0));
    rig.assert_contiguous(2);
    rig.presentation.pause(rig.now).expect("it runs");
    rig.unbind(2, EndReason::Expired);
    rig.run(seconds(1.0));
    rig.bind(3, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    assert!(!rig.got.contains_key(&(3, VIDEO)));
}

#[test]
fn played_before_anybody_is_bound_it_waits_paused_and_starts_with_the_first_branch() {
    let mut rig = Rig::new(title(60, 50), false);
    let playing = rig.play(None, None);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(1000.0));
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    let request = PlayRequest {
        range: Some(NptRange { start: Some(MediaTime::from_seconds(20.0)), end: None }),
        still: true,
        ..PlayRequest::default()
    };
    let sought = rig.presentation.play(request, rig.now).expect("inside the title");
    rig.run(seconds(1.0));
    assert_eq!((rig.presentation.state(), rig.ended), (PresentationState::Paused, false));
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(3.0));
    assert_eq!(rig.presentation.state(), PresentationState::Playing);
    assert!(near(rig.presentation.position(rig.now).since(sought.start), 3.0));
    assert!(rig.got(1, VIDEO)[0].random_access);
    rig.assert_contiguous(1);
    rig.unbind(1, EndReason::Expired);
    rig.run(seconds(61.0));
    assert!(rig.ended);
}

#[test]
fn a_pause_ends_the_waiting_and_so_does_the_end_of_its_home_addresses() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.play(None, None);
    rig.presentation.pause(rig.now).expect("it waits");
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(3.0));
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    assert!(rig.got.is_empty());

    let mut rig = Rig::new(title(60, 50), false);
    rig.play(None, None);
    for route in &mut rig.routes {
        route.reserved = false;
    }
    let routes: Vec<_> = rig.routes.iter().cloned().map(Arc::new).collect();
    rig.presentation.sync(&routes, rig.now);
    assert_eq!(rig.presentation.state(), PresentationState::Lingering);
    rig.run(seconds(61.0));
    assert!(rig.ended);
}

#[test]
fn a_loop_goes_on_without_a_seam_also_for_who_joins_across_it() {
    let mut rig = Rig::new(title(4, 25), true);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(8.3));
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
    assert_eq!(rig.byes, []);
    assert!(rig.got(1, VIDEO).len() > 320);
    let sounds = rig.got(1, AUDIO);
    assert!(sounds.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) < 6000));
}

#[test]
fn a_seek_takes_everybody_along_and_one_who_was_catching_up_is_where_all_are() {
    let mut rig = Rig::new(title(60, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.5));
    rig.bind(2, &[VIDEO, AUDIO], 1500);
    rig.run(seconds(0.2));
    let sent = (rig.got(1, VIDEO).len(), rig.got(2, VIDEO).len());
    let playing = rig.play(Some((30.0, None)), None);
    rig.run(seconds(2.0));
    rig.assert_contiguous(1);
    for (branch, before) in [(1, sent.0), (2, sent.1)] {
        let first = rig.got(branch, VIDEO)[before];
        assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
        assert!(first.random_access);
    }
}

#[test]
fn one_that_nobody_ever_bound_ends() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.run(seconds(151.0));
    assert!(rig.ended);
}

#[test]
fn an_end_in_whole_milliseconds_is_the_titles_end() {
    // 431 frames at 44.1 kHz: 10.00780… s, of which a description tells 10.007.
    let samples = (0..431).map(|number| Sample::new(1_000_000 + number * 300, 300, number as i64 * 1024, 0, true).expect("small"));
    let duration = MediaTime::from_ticks(431 * 1024, ClockRate::new(44_100).expect("not zero"));
    for end in [10.007, 10.0078, 10.2, 3600.0] {
        let mut rig = Rig::new(title_of(duration, pictures(10, 50), 44_100, SampleIndex::new(samples.clone().collect(), 1024)), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        let playing = rig.play(Some((0.0, Some(end))), None);
        assert_eq!(playing.end, duration, "{end}");
        rig.run(seconds(12.0));
        assert_eq!(rig.got(1, AUDIO).len(), 431);
        assert_eq!(rig.byes.len(), 2, "{end}: both flows say BYE");
        assert_eq!(rig.play(None, None).start, MediaTime::ZERO, "{end}: it begins anew");
    }
}

#[test]
fn play_goes_on_where_a_range_has_ended() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(Some((4.1, Some(6.0))), None);
    rig.run(seconds(10.0));
    let shown = rig.got(1, VIDEO).len();
    let playing = rig.play(None, None);
    assert!((5.9..6.1).contains(&playing.start.as_seconds()), "{:?}", playing.start);
    assert_eq!(playing.end, MediaTime::from_seconds(20.0));
    assert_eq!(playing.flows[VIDEO].sequence, rig.got(1, VIDEO)[shown - 1].sequence.wrapping_add(3));
    rig.run(seconds(20.0));
    rig.assert_contiguous(1);
    assert_eq!(rig.got(1, VIDEO).last().expect("pictures").offset, 499 * 5000);
    assert_eq!(rig.byes.len(), 2);
    let outcome = rig
        .presentation
        .play(PlayRequest { range: Some(NptRange { start: None, end: Some(MediaTime::ZERO) }), ..PlayRequest::default() }, rig.now);
    assert_eq!(outcome, Err(PlaybackError::InvalidRange));
}

#[test]
fn an_end_behind_the_position_is_refused() {
    let mut rig = Rig::new(title(20, 25), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.0));
    let range = NptRange { start: None, end: Some(MediaTime::from_seconds(4.0)) };
    assert_eq!(
        rig.presentation.play(PlayRequest { range: Some(range), ..PlayRequest::default() }, rig.now),
        Err(PlaybackError::InvalidRange)
    );
    rig.run(seconds(30.0));
    assert_eq!(rig.got(1, VIDEO).len(), 500);
}

/// A slide show: a picture every ten seconds, decoded `ahead` seconds before it is shown.
fn slides(ahead: i32) -> Arc<Title> {
    let samples = (0..6).map(|number| Sample::new(number * 5000, 4000, number as i64 * 900_000, ahead * 90_000, true).expect("small"));
    title_of(MediaTime::from_seconds(60.0), SampleIndex::new(samples.collect(), 900_000), 48_000, sound(60))
}

#[test]
fn a_seek_out_of_a_long_picture_does_not_wait_for_its_end() {
    for ahead in [0, 3] {
        let mut rig = Rig::new(slides(ahead), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(1.0));
        for target in [33.0, 44.0, 4.0] {
            let (before, sounds) = (rig.got(1, VIDEO).len(), rig.got(1, AUDIO).len());
            let last = *rig.got(1, VIDEO).last().expect("a picture");
            let begun = rig.now.mono;
            let playing = rig.play(Some((target, None)), None);
            rig.run(seconds(0.5));
            let first = rig.got(1, VIDEO)[before];
            assert!(first.at.since(begun) <= seconds(0.25), "{ahead} {target}: {:?}", first.at.since(begun));
            // What is decoded long before it is shown is sent long before its sound.
            assert!(ahead > 0 || rig.got(1, AUDIO).len() > sounds, "sound goes on as well");
            let step = first.timestamp.wrapping_sub(last.timestamp);
            assert!((1..90_000 * 10).contains(&step), "{ahead} {target}: timestamps do not go back: {step}");
            assert_eq!(first.sequence, playing.flows[VIDEO].sequence);
        }
        rig.assert_contiguous(1);
    }
}

#[test]
fn one_that_takes_nothing_withholds_the_end_from_nobody() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(8.9));
    rig.stalled = Some(2);
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.bind(3, &[VIDEO, AUDIO], 1100);
    rig.run(seconds(2.2));
    assert_eq!(rig.byes.iter().map(|(branch, flow, _)| (*branch, *flow)).collect::<Vec<_>>(), [(1, VIDEO), (1, AUDIO)]);
    assert_eq!(rig.presentation.state(), PresentationState::Paused);
    rig.run(seconds(20.0));
    rig.assert_contiguous(3);
    let (last, complete) = (rig.got(1, VIDEO).last().expect("pictures"), rig.got(3, VIDEO).last().expect("pictures"));
    assert_eq!(complete.sequence, last.sequence, "who is still catching up gets the rest");
    assert_eq!(rig.byes.iter().filter(|(branch, ..)| *branch == 3).count(), 2);
    assert!(rig.byes.iter().all(|(branch, ..)| *branch != 2));
    rig.bind(4, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(1.0));
    assert!(rig.byes.iter().all(|(branch, ..)| *branch != 4), "who comes later is to start it anew");
    let playing = rig.play(None, None);
    assert_eq!(playing.start, MediaTime::ZERO);
    rig.run(seconds(11.0));
    for branch in [1, 2, 3, 4] {
        assert_eq!(rig.got(branch, VIDEO).last().expect("pictures").offset, 249 * 5000);
        let expected = if branch == 1 || branch == 3 { 4 } else { 2 };
        assert_eq!(rig.byes.iter().filter(|(other, ..)| *other == branch).count(), expected, "branch {branch}");
    }
}

#[test]
fn flows_of_one_update_join_together_though_their_routes_change_one_after_the_other() {
    for first in [AUDIO, VIDEO] {
        let mut rig = Rig::new(title(30, 50), false);
        rig.bind(1, &[VIDEO, AUDIO], 2000);
        rig.play(None, None);
        rig.run(seconds(5.3));
        rig.updates += 1;
        rig.show(2, &[first], 2000, 2);
        rig.run(seconds(0.005));
        rig.show(2, &[1 - first], 2000, 2);
        let playing = rig.play(None, Some(UpdateId(2)));
        assert!((4.0..4.05).contains(&playing.start.as_seconds()), "{:?}", playing.start);
        rig.run(seconds(4.0));
        assert_eq!(rig.got(2, VIDEO)[0].offset, 100 * 5000);
        let sound = (rig.got(2, AUDIO)[0].offset - 1_000_000) / 300 * 1024;
        assert!((4 * 48_000 - 1024..=4 * 48_000 + 4096).contains(&sound), "sound begins with the picture: {sound}");
        rig.assert_contiguous(2);
    }
}

#[test]
fn a_flow_whose_companion_never_comes_joins_alone() {
    let mut rig = Rig::new(title(30, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.3));
    rig.updates += 1;
    let begun = rig.now.mono;
    rig.show(2, &[AUDIO], 2000, 2);
    rig.run(seconds(1.0));
    let first = rig.got(2, AUDIO)[0];
    assert!(first.at.since(begun) < seconds(0.1), "{:?}", first.at.since(begun));
    rig.assert_contiguous(2);
}

#[test]
fn what_could_not_be_read_once_gives_nobody_other_numbers() {
    let mut rig = Rig::new(title(30, 50), false);
    rig.unreadable = vec![(VIDEO, 110 * 5000), (VIDEO, 125 * 5000)];
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(5.3));
    rig.bind(2, &[VIDEO, AUDIO], 2000);
    rig.run(seconds(5.0));
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
    for unit in rig.got(2, VIDEO) {
        let twin = rig.got(1, VIDEO).iter().find(|twin| twin.offset == unit.offset).expect("sent to the first as well");
        assert_eq!((twin.sequence, twin.timestamp), (unit.sequence, unit.timestamp));
    }
    let last = |branch| rig.got(branch, VIDEO).last().expect("pictures");
    assert_eq!(last(1), last(2), "it has caught up");
}

#[test]
fn a_loop_remembers_no_more_random_access_points_than_its_stretches_have() {
    let mut rig = Rig::new(title(1, 25), true);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(60.0));
    let remembered: Vec<usize> = rig.presentation.flows().iter().map(|flow| flow.checkpoints()).collect();
    assert!(remembered[VIDEO] <= 9 && remembered[AUDIO] <= 9 * 46, "{remembered:?}");
}

#[test]
fn bye_keeps_a_distance_from_the_last_packet_however_late_that_was() {
    let mut rig = Rig::new(title(10, 50), false);
    rig.bind(1, &[VIDEO, AUDIO], 2000);
    rig.play(None, None);
    rig.run(seconds(9.5));
    // Whoever owns the timers was kept busy elsewhere.
    rig.now = rig.now.after(seconds(2.0));
    rig.bind(2, &[VIDEO, AUDIO], 1500);
    rig.run(seconds(10.0));
    for (branch, count) in [(1, 250), (2, 1)] {
        assert!(rig.got(branch, VIDEO).len() >= count);
        for flow in [VIDEO, AUDIO] {
            let bye = rig.byes.iter().find(|(of, which, _)| (*of, *which) == (branch, flow)).expect("told").2;
            let last = rig.got(branch, flow).last().expect("sent").at;
            assert!(bye.since(last) >= Duration::from_secs(1), "branch {branch}, flow {flow}: {:?}", bye.since(last));
        }
    }
    rig.assert_contiguous(1);
    rig.assert_contiguous(2);
}
