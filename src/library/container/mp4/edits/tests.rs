use proptest::prelude::*;

use super::*;

/// What [`Media::needed`] finds, by looking at everything.
fn needed_plainly(samples: &[Sample], last_duration: u32, kind: MediaKind, from: i64, until: i64) -> Range<usize> {
    let Some(first_shown) = (0..samples.len()).find(|&position| shown_end(samples, position, last_duration) > from) else { return 0..0 };
    let Some(last) = (0..samples.len()).rev().find(|&position| samples[position].presentation_time() < until) else { return 0..0 };
    if last < first_shown {
        return 0..0;
    }
    let access = || (0..=first_shown).rev().filter(|&position| samples[position].is_random_access());
    let first = match kind {
        MediaKind::Video => access().find(|&position| samples[position].presentation_time() <= from).or(access().next()).unwrap_or(0),
        _ => first_shown.saturating_sub(PRIMING_FRAMES),
    };
    first..last + 1
}

fn sample(decode_time: i64, offset: i32, random_access: bool) -> Sample {
    Sample::new(0, 1, decode_time, offset, random_access).expect("small")
}

#[test]
fn leading_pictures_keep_the_group_that_they_lean_on() {
    // I P, then an open group: I shown at 500, before it in presentation a picture at 400 that follows in decode order.
    let samples = vec![sample(0, 200, true), sample(100, 200, false), sample(200, 300, true), sample(300, 100, false)];
    let edits = [Edit { duration: 0, media_time: Some(400) }];
    let (kept, last_duration, end) = apply(&edits, samples, 100, MediaKind::Video);
    assert_eq!(kept.iter().map(Sample::presentation_time).collect::<Vec<_>>(), [-200, -100, 100, 0]);
    assert_eq!((last_duration, end), (100, 200));
}

#[test]
fn the_last_sample_kept_lasts_as_long_as_it_did() {
    let samples: Vec<Sample> = [0, 100, 350, 400].map(|time| sample(time, 0, true)).to_vec();
    let (kept, last_duration, end) = apply(&[Edit { duration: 300, media_time: Some(0) }], samples, 50, MediaKind::Video);
    assert_eq!((kept.len(), last_duration, end), (2, 250, 300));
}

#[test]
fn a_list_that_repeats_itself_does_not_grow_the_index_without_bound() {
    let samples: Vec<Sample> = (0..2_000).map(|time| sample(time, 0, true)).collect();
    let edits = vec![Edit { duration: 2_000, media_time: Some(0) }; MAX_EDITS];
    let (kept, ..) = apply(&edits, samples, 1, MediaKind::Video);
    assert_eq!(kept.len(), 2 * 2_000 + 1_024);
}

proptest! {
    #[test]
    fn searching_finds_what_looking_at_everything_finds(
        steps in proptest::collection::vec((0u8..4, -6i32..7, any::<bool>()), 0..40),
        from in -10i64..100,
        length in 0i64..60,
        video in any::<bool>(),
    ) {
        let mut time = 0;
        let samples: Vec<Sample> = steps.iter().map(|&(step, offset, access)| {
            time += i64::from(step);
            sample(time, offset, access)
        }).collect();
        let kind = if video { MediaKind::Video } else { MediaKind::Audio };
        let found = Media::new(&samples, 2, kind).needed(from, from + length);
        let plainly = needed_plainly(&samples, 2, kind, from, from + length);
        let tried = samples[..found.start.max(plainly.start).min(samples.len())].iter().filter(|sample| sample.is_random_access()).count();
        prop_assume!(tried <= ACCESS_POINTS_TRIED);
        prop_assert_eq!(found, plainly);
    }
}
