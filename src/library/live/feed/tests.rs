use super::*;
use crate::library::{PcmConfig, PcmSample, TitlePath};
use crate::now::Utc;

fn at(milliseconds: u64) -> Now {
    let nanos = (milliseconds + 1_000_000) * 1_000_000;
    Now { mono: Mono::from_nanos(nanos), utc: Utc::from_unix_nanos(nanos) }
}

fn pictures() -> LiveTrack {
    LiveTrack { codec: Codec::Jpeg(Default::default()), timescale: ClockRate::new(1000).expect("not zero"), language: None }
}

fn sound() -> LiveTrack {
    let codec = Codec::Pcm(PcmConfig { sample: PcmSample::MuLaw, sample_rate: 8000, channels: 1 });
    LiveTrack { codec, timescale: ClockRate::new(8000).expect("not zero"), language: None }
}

fn path() -> TitlePath {
    TitlePath::new("a/camera").expect("a path")
}

fn unit(track: usize, time: i64, random_access: bool) -> LiveUnit {
    LiveUnit { track, octets: vec![1, 2, 3], decode_time: None, presentation_time: time, random_access }
}

fn times(title: &Title, track: usize) -> Vec<(i64, i64)> {
    let track = &title.tracks[track];
    let units = (track.first()..track.len()).filter_map(|position| track.access_unit(position));
    units.map(|unit| (unit.decode_time, unit.presentation_time)).collect()
}

#[test]
fn a_path_is_fed_by_one_and_is_free_again_behind_that() {
    let titles = Arc::new(LiveTitles::default());
    let feed = titles.add(path(), LiveSettings::default()).expect("free");
    assert_eq!(titles.add(path(), LiveSettings::default()).err(), Some(FeedError::Taken));
    assert!(titles.get(&path()).is_some_and(|title| !title.is_online()));
    feed.end();
    assert!(titles.get(&path()).is_none());
    titles.add(path(), LiveSettings::default()).expect("free again");
}

#[test]
fn a_title_is_there_once_somebody_can_begin() {
    let mut feed = Arc::new(LiveTitles::default()).add(path(), LiveSettings::default()).expect("free");
    assert_eq!(feed.push(unit(0, 0, true), at(0)), Err(FeedError::NotBegun));
    assert_eq!(feed.begin(Vec::new(), None), Err(FeedError::Tracks));
    feed.begin(vec![sound(), pictures()], None).expect("two tracks");
    let live = Arc::clone(feed.title());
    feed.push(unit(0, 0, true), at(0)).expect("sound");
    feed.push(unit(1, 0, false), at(0)).expect("left out");
    assert!(live.is_online() && live.ready().is_none(), "no picture to begin with has come");
    feed.push(unit(1, 40, true), at(40)).expect("a picture");
    let title = live.ready().expect("now it has");
    assert_eq!((title.tracks[0].len(), title.tracks[1].len()), (1, 1));
    assert!(live.is_watched(), "we have it");
    assert_eq!(feed.push(unit(2, 0, true), at(40)), Err(FeedError::OutOfRange));
    assert_eq!(feed.push(LiveUnit { octets: Vec::new(), ..unit(1, 80, true) }, at(80)), Err(FeedError::OutOfRange));
    feed.lost(Problem { reason: "it broke".into() });
    assert!(!live.is_online() && live.problem().is_some() && title.tracks[0].is_open());
    feed.begin(vec![sound()], None).expect("another track");
    assert!(!title.tracks[0].is_open(), "who watched the other has had its end");
    assert!(live.ready().is_none());
}

#[test]
fn decode_times_never_go_back_and_no_picture_is_shown_before_its_own() {
    let mut feed = Arc::new(LiveTitles::default()).add(path(), LiveSettings::default()).expect("free");
    feed.begin(vec![pictures()], None).expect("a track");
    // As B-pictures come: 0 3 1 2 6 4 5 ….
    for group in 0..10 {
        for (number, shown) in [(0, 0), (1, 3), (2, 1), (3, 2)].iter().take(if group == 9 { 1 } else { 4 }) {
            let (came, shown) = (group * 4 + number, (group * 4 + shown) * 40);
            feed.push(unit(0, shown, *number == 0), at(came as u64 * 40)).expect("taken");
        }
    }
    let title = feed.title().ready().expect("begun");
    let times = times(&title, 0);
    assert!(times.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{times:?}");
    assert!(times[5..].iter().all(|(decoded, shown)| decoded <= shown), "once the order is known: {times:?}");
    let shown: Vec<i64> = times.iter().map(|(_, shown)| shown - times[0].1).collect();
    assert_eq!(shown[..8], [0, 120, 40, 80, 160, 280, 200, 240]);
}

#[test]
fn times_go_on_behind_an_outage_and_a_jump() {
    let mut feed = Arc::new(LiveTitles::default()).add(path(), LiveSettings::default()).expect("free");
    let tracks = vec![pictures(), sound()];
    feed.begin(tracks.clone(), None).expect("tracks");
    feed.push(unit(0, 5_000_000, true), at(0)).expect("taken");
    feed.push(unit(1, 8 * 5_000_010, true), at(10)).expect("taken");
    let title = feed.title().ready().expect("begun");
    let first = times(&title, 0)[0].0;
    assert_eq!(times(&title, 1)[0].0, (first + 10) * 8, "both on one line");
    feed.lost(Problem { reason: "away".into() });
    feed.begin(tracks, None).expect("the same tracks");
    assert!(feed.title().ready().is_none(), "it has to begin again");
    feed.push(unit(0, 7, true), at(3000)).expect("taken");
    assert!(feed.title().ready().is_some_and(|now| Arc::ptr_eq(&now, &title)), "the same title");
    let came = times(&title, 0)[1].0 - first;
    assert!((2990..=3010).contains(&came), "{came} ms later");
    // The source's clock is set.
    feed.push(unit(0, 900_000_000, true), at(3040)).expect("taken");
    let step = times(&title, 0)[2].0 - times(&title, 0)[1].0;
    assert!((39..=41).contains(&step), "{step} ms later");
}

#[test]
fn tracks_that_lie_apart_stay_even_and_one_that_jumps_alone_moves_alone() {
    let mut feed = Arc::new(LiveTitles::default()).add(path(), LiveSettings::default()).expect("free");
    feed.begin(vec![pictures(), sound()], None).expect("tracks");
    // 20 s apart; later the pictures jump, then both do, by the same.
    let offset = |number: i64| {
        if number < 50 {
            (0, 20_000)
        } else if number < 100 {
            (9_000, 20_000)
        } else {
            (100_009_000, 100_009_000)
        }
    };
    for number in 0..150 {
        let (picture, frame) = offset(number);
        feed.push(unit(0, 40 * number + picture, true), at(number as u64 * 40)).expect("taken");
        feed.push(unit(1, 8 * (40 * number + frame), true), at(number as u64 * 40 + 10)).expect("taken");
    }
    let title = feed.title().ready().expect("begun");
    let ms = |track: usize, clock: i64| times(&title, track).into_iter().map(|(_, shown)| shown / clock).collect::<Vec<i64>>();
    let (pictures, sound) = (ms(0, 1), ms(1, 8));
    for shown in [&pictures, &sound] {
        assert!(shown.windows(2).all(|pair| (28..=52).contains(&(pair[1] - pair[0]))), "{shown:?}");
    }
    assert!(pictures.iter().zip(&sound).all(|(picture, frame)| (frame - picture).abs() <= 40));
    assert_eq!(pictures[100..], sound[100..], "what jumps together is together");
}
