use super::*;
use proptest::prelude::*;

const RATE: u32 = 1000;

fn window(settings: LiveSettings) -> Shared {
    let rate = ClockRate::new(RATE).expect("not zero");
    Shared::new(Window::new(settings, [(MediaKind::Video, rate), (MediaKind::Audio, rate)].into_iter()))
}

fn small() -> LiveSettings {
    LiveSettings { octets: 10_000, span: Duration::from_millis(500) }
}

/// The octets of an access unit name it.
fn octets(number: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (number * 31 + at) as u8).collect()
}

#[test]
fn pictures_that_are_shown_before_their_random_access_point_are_seen() {
    for (shown, expected) in [([0, 1, 2, 3, 4], false), ([0, 2, 1, 4, 3], false), ([0, 1, 3, 2, 4], true)] {
        let shared = window(LiveSettings::default());
        let index = LiveIndex::new(shared.clone(), 0);
        for (number, shown) in shown.into_iter().enumerate() {
            assert!(shared.write().push(0, octets(number, 50), number as i64 * 40, shown * 40, number % 2 == 0));
        }
        assert_eq!(index.has_leading_pictures(), expected, "{shown:?}");
    }
}

#[test]
fn what_is_kept_begins_with_a_random_access_point_and_positions_stay() {
    let shared = window(small());
    for number in 0..100 {
        assert!(shared.write().push(0, octets(number, 50), number as i64 * 40, number as i64 * 40, number % 10 == 0));
        assert!(shared.write().push(1, octets(number + 1000, 20), number as i64 * 40, number as i64 * 40, true));
    }
    let (pictures, sound) = (LiveIndex::new(shared.clone(), 0), LiveIndex::new(shared.clone(), 1));
    let kept = pictures.kept();
    assert_eq!((kept.start % 10, kept.end), (0, 100));
    assert!(pictures.get(kept.start).is_some_and(|unit| unit.random_access) && pictures.get(kept.start - 1).is_none());
    assert_eq!(sound.kept(), kept, "sound goes with its pictures");
    // At least half a second lies behind what could be begun with.
    assert!((500..=900).contains(&((99 - kept.start) * 40)), "{kept:?}");
    assert_eq!(pictures.random_access_at_or_before(i64::MAX), Some(90));
    assert_eq!(pictures.random_access_at_or_before(0), Some(kept.start), "what lay before is gone");
    assert_eq!(sound.first_ending_after(95 * 40 - 1), 95 - 1);
    assert_eq!(sound.first_ending_after(i64::MAX - 1), 100, "the next to come");
    assert_eq!(pictures.bitrate(), 50 * 8 * 25);
    let read = |unit: AccessUnit| {
        let mut octets = vec![0; unit.size as usize];
        LiveOctets(shared.clone()).read_exact_at(&mut octets, unit.offset).map(|()| octets)
    };
    for position in kept.clone() {
        assert_eq!(read(pictures.get(position).expect("kept")).expect("its octets are there"), octets(position, 50));
        assert_eq!(read(sound.get(position).expect("kept")).expect("its octets are there"), octets(position + 1000, 20));
    }
    let gone = AccessUnit { offset: 0, ..pictures.get(kept.start).expect("kept") };
    assert!(read(gone).is_err(), "what is gone is an error");
    let behind = AccessUnit { offset: LiveOctets(shared.clone()).size(), ..gone };
    assert!(read(behind).is_err());
}

#[test]
fn many_small_ones_whose_times_stand_still_are_few_in_the_end() {
    for random_access in [true, false] {
        let shared = window(small());
        for number in 0..1000 {
            assert!(shared.write().push(0, octets(number, 1), 0, 0, random_access));
        }
        let kept = LiveIndex::new(shared.clone(), 0).kept();
        assert_eq!((kept.len(), kept.end), (10_000 / (OVERHEAD + 1), 1000));
        assert_eq!(shared.read().blocks.len(), kept.len());
    }
}

#[test]
fn what_is_out_of_range_is_not_taken() {
    let shared = window(small());
    assert!(!shared.write().push(2, vec![0], 0, 0, true));
    assert!(!shared.write().push(0, vec![0], 0, i64::from(i32::MAX) + 1, true));
    assert_eq!(LiveIndex::new(shared, 0).kept(), 0..0);
}

proptest! {
    /// Whatever comes, the window is bounded, and all that its index names can be read.
    #[test]
    fn the_window_is_bounded_and_whole(units in prop::collection::vec((0..2_usize, 1..3000_usize, 0..400_i64, any::<bool>()), 1..300)) {
        let settings = small();
        let shared = window(settings);
        let mut times = [0; 2];
        for (number, (track, size, step, random_access)) in units.into_iter().enumerate() {
            times[track] += step;
            prop_assert!(shared.write().push(track, octets(number, size), times[track], times[track], random_access || track == 1));
            let (kept, newest) = {
                let window = shared.read();
                (window.octets, window.blocks.back().map_or(0, |(_, octets)| octets.len() + OVERHEAD))
            };
            prop_assert!(kept <= settings.octets.max(newest), "{} octets", kept);
            prop_assert_eq!(kept, shared.read().blocks.iter().map(|(_, octets)| octets.len() + OVERHEAD).sum::<usize>());
            for (track, newest) in times.iter().enumerate() {
                let index = LiveIndex::new(shared.clone(), track);
                for position in index.kept() {
                    let unit = index.get(position).expect("kept");
                    let mut read = vec![0; unit.size as usize];
                    prop_assert!(LiveOctets(shared.clone()).read_exact_at(&mut read, unit.offset).is_ok());
                }
                if let Some(point) = index.random_access_at_or_before(*newest) {
                    prop_assert!(index.get(point).is_some_and(|unit| unit.random_access));
                }
            }
        }
    }
}
