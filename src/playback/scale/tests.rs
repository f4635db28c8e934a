use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::library::{AacConfig, Codec, PictureSize, Sample, SampleIndex, TitlePath};
use crate::quantities::ClockRate;

#[test]
fn the_nearest_scale_is_in_force() {
    let table = [
        ("1", "1.0"),
        ("1.0", "1.0"),
        ("2", "2.0"),
        (" 0.5 ", "0.5"),
        ("0.1", "0.25"),
        ("3.75", "3.75"),
        ("100", "4.0"),
        ("-0.5", "-1.0"),
        ("-1", "-1.0"),
        ("-32", "-32.0"),
        ("-99999", "-32.0"),
        ("+2", "2.0"),
        ("0.0001", "0.25"),
    ];
    for (asked, in_force) in table {
        assert_eq!(Scale::parse(asked).map(|scale| scale.to_string()).as_deref(), Some(in_force), "{asked}");
    }
    for text in ["", "0", "0.0", "x", "nan", "inf", "1e3", "--1", "1,5", "0000000000000000000001"] {
        assert_eq!(Scale::parse(text), None, "{text}");
    }
    assert!(Scale::default().is_normal() && Scale::nearest(1.0) == Some(Scale::default()));
    assert_eq!((Scale::nearest(f64::NAN), Scale::nearest(f64::NEG_INFINITY)), (None, None));
}

const TIMESCALE: u32 = 1_000;

/// A title whose pictures have these durations; those named are random access points, and each may be shown later.
fn title(pictures: &[(u32, u8, bool)]) -> Arc<Title> {
    let mut at = 0;
    let mut samples = Vec::new();
    for (number, (duration, later, key)) in pictures.iter().enumerate() {
        samples.push(Sample::new(number as u64, 1, at, i32::from(*later), *key || number == 0).expect("small"));
        at += i64::from(*duration);
    }
    let last = pictures.last().map_or(0, |(duration, ..)| *duration);
    let track = |kind, codec, index| Track { kind, codec, timescale: ClockRate::new(TIMESCALE).expect("not zero"), language: None, index };
    let sound = (0..20).map(|number| Sample::new(number, 1, number as i64 * 10, 0, true).expect("small")).collect();
    let aac = AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: TIMESCALE, channels: 2 };
    Arc::new(Title {
        path: TitlePath::new("a.mp4").expect("a path"),
        duration: MediaTime::from_ticks(at, ClockRate::new(TIMESCALE).expect("not zero")),
        tracks: vec![
            track(MediaKind::Video, Codec::Vp8(PictureSize::default()), SampleIndex::new(samples, last)),
            track(MediaKind::Audio, Codec::Aac(aac), SampleIndex::new(sound, 10)),
        ],
        remark: None,
        source: Arc::new(Vec::<u8>::new()),
    })
}

fn pace(title: &Title, factor: f64) -> Pace {
    Pace::new(Scale::nearest(factor).expect("a number"), title.duration)
}

/// What a view is, said plainly: the number in the track, when it is due, when it is shown.
fn naive(title: &Title, pace: Pace) -> Vec<(u64, i64, i64)> {
    let track = &title.tracks[0];
    let units = (0..track.len()).filter_map(|position| track.access_unit(position));
    let scale = i64::from(pace.scale.0);
    let end = title.duration.to_ticks(track.timescale);
    if scale < 0 {
        let mut keys: Vec<_> = units.filter(|unit| unit.random_access).collect();
        keys.reverse();
        let at = |time: i64| ((end - time) * 1000).div_euclid(-scale);
        return keys.iter().map(|unit| (unit.offset, at(unit.presentation_time), at(unit.presentation_time))).collect();
    }
    let at = |time: i64| (time * 1000).div_euclid(scale);
    if scale > 2_000 {
        let keys = units.filter(|unit| unit.random_access);
        return keys.map(|unit| (unit.offset, at(unit.presentation_time), at(unit.presentation_time))).collect();
    }
    units.map(|unit| (unit.offset, at(unit.decode_time), at(unit.presentation_time))).collect()
}

proptest! {
    #[test]
    fn a_view_is_what_a_plain_list_says(
        pictures in prop::collection::vec((1..60_u32, 0..40_u8, prop::bool::weighted(0.2)), 1..80),
        factor in prop_oneof![0.25..4.0, -32.0..-1.0, Just(1.0), Just(2.0), Just(-1.0)],
        seeks in prop::collection::vec(0.0..1.1f64, 1..20),
    ) {
        let title = title(&pictures);
        let pace = pace(&title, factor);
        let view = pace.view(&title, 0).expect("pictures");
        let plain = naive(&title, pace);
        let seen: Vec<_> = (0..view.len()).filter_map(|position| view.access_unit(position)).collect();
        prop_assert_eq!(seen.iter().map(|unit| (unit.offset, unit.decode_time, unit.presentation_time)).collect::<Vec<_>>(), plain);
        prop_assert!(view.access_unit(view.len()).is_none());
        // Each is due no earlier than what is sent before it, where the file's own pictures are shown in the order of sending.
        let keys: Vec<i64> = seen.iter().filter(|unit| unit.random_access).map(|unit| unit.presentation_time).collect();
        if keys.is_sorted() {
            for share in seeks {
                let at = MediaTime::from_ticks((pace.length().to_ticks(title.tracks[0].timescale) as f64 * share) as i64, title.tracks[0].timescale);
                let found = view.random_access_for(at).expect("there is one");
                let unit = view.access_unit(found).expect("within");
                prop_assert!(unit.random_access);
                let limit = at.to_ticks(title.tracks[0].timescale);
                let expected = if pace.scale.is_backward() {
                    seen.iter().position(|unit| unit.random_access && unit.presentation_time >= limit)
                        .or_else(|| seen.iter().rposition(|unit| unit.random_access))
                } else {
                    seen.iter().rposition(|unit| unit.random_access && unit.presentation_time <= limit)
                        .or_else(|| seen.iter().position(|unit| unit.random_access))
                };
                // Of several at one time any will do.
                let expected = seen[expected.expect("there is one")].presentation_time;
                prop_assert_eq!(unit.presentation_time, expected);
            }
        }
    }

    #[test]
    fn there_and_back_a_time_stays_what_it_is(at in 0..7_200_000_000_000_i64, factor in prop_oneof![0.25..4.0, -32.0..-1.0]) {
        let end = MediaTime::from_seconds(7_200.0);
        let pace = Pace::new(Scale::nearest(factor).expect("a number"), end);
        let back = pace.title_time(pace.view_time(MediaTime::from_nanos(at)));
        prop_assert!((back.as_nanos() - at).abs() <= 32, "{back:?}");
    }
}

#[test]
fn sound_is_heard_at_normal_scale_only() {
    let title = title(&[(40, 0, true); 10]);
    for (factor, heard) in [(1.0, 20), (0.5, 0), (1.1, 0), (4.0, 0), (-1.0, 0)] {
        let view = pace(&title, factor).view(&title, 1).expect("sound");
        assert_eq!(
            (view.len(), view.is_empty(), view.first_shown_at(MediaTime::from_seconds(9.0))),
            (heard, heard == 0, heard),
            "{factor}"
        );
        assert_eq!(view.random_access_for(MediaTime::ZERO), Some(0).filter(|_| heard > 0));
        assert_eq!(view.access_unit(0).is_some(), heard > 0);
    }
}

#[test]
fn the_last_key_picture_of_a_view_stays_up_to_its_end() {
    let title = title(&[(40, 0, true), (40, 0, false), (40, 0, true), (40, 0, false)]);
    for (factor, expected) in [(4.0, [(0, 20), (20, 20)]), (-2.0, [(40, 40), (80, 40)])] {
        let view = pace(&title, factor).view(&title, 0).expect("pictures");
        let seen = [0, 1].map(|position| view.access_unit(position).map(|unit| (unit.presentation_time, unit.duration)));
        assert_eq!(seen, expected.map(Some), "{factor}");
        assert!(view.leading_pictures(0).is_empty());
    }
}
