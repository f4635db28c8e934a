use super::*;
use crate::library::codec::{AacConfig, H264Config, NalFraming, PictureSize};
use proptest::prelude::*;

const AAC_RATE: u32 = 48_000;

fn path() -> TitlePath {
    TitlePath::new("all.m3u").expect("a name")
}

fn rate(hertz: u32) -> ClockRate {
    ClockRate::new(hertz).expect("not zero")
}

fn aac(sample_rate: u32) -> Codec {
    Codec::Aac(AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate, channels: 2 })
}

/// A track of units of `lasts` ticks each, as long as `sizes`, shown `composition` ticks after decoding, from `begins` on; every `group`th is
/// a random access point. Its octets lie one behind the other from `offset` on.
#[derive(Debug)]
struct Drawn {
    codec: Codec,
    timescale: u32,
    sizes: Vec<u32>,
    lasts: i64,
    begins: i64,
    composition: Vec<i32>,
    group: usize,
}

impl Drawn {
    fn track(&self, offset: &mut u64) -> Track {
        let mut samples = Vec::new();
        for (number, size) in self.sizes.iter().enumerate() {
            let later = self.composition.get(number).copied().unwrap_or(0);
            let at = self.begins + self.lasts * number as i64;
            samples.push(Sample::new(*offset, *size, at, later, number % self.group == 0).expect("small"));
            *offset += u64::from(*size);
        }
        Track {
            kind: self.codec.kind(),
            codec: self.codec.clone(),
            timescale: rate(self.timescale),
            language: None,
            index: SampleIndex::new(samples, self.lasts as u32),
        }
    }

    /// Pictures of VP8, 25 a second at 1000 ticks.
    fn pictures(count: usize, group: usize) -> Self {
        let codec = Codec::Vp8(PictureSize { width: 64, height: 64 });
        Self { codec, timescale: 1000, sizes: vec![10; count], lasts: 40, begins: 0, composition: Vec::new(), group }
    }

    /// Frames of AAC, the first of which is over where the title begins.
    fn sound(count: usize) -> Self {
        Self {
            codec: aac(AAC_RATE),
            timescale: AAC_RATE,
            sizes: vec![5; count],
            lasts: 1024,
            begins: -1024,
            composition: Vec::new(),
            group: 1,
        }
    }
}

/// A title of these tracks, whose octets count from `seed` on.
fn title(tracks: &[Drawn], seed: u8) -> Title {
    let mut offset = 0;
    let tracks: Vec<Track> = tracks.iter().map(|track| track.track(&mut offset)).collect();
    let ends = |track: &Track| {
        let last = track.access_unit(track.len().checked_sub(1)?)?;
        Some(MediaTime::from_ticks(last.presentation_time + i64::from(last.duration), track.timescale))
    };
    let duration = tracks.iter().filter_map(ends).max().unwrap_or_default();
    let octets: Vec<u8> = (0..offset).map(|at| (at as u8).wrapping_add(seed)).collect();
    Title { path: path(), duration, tracks, remark: None, source: Arc::new(octets) }
}

fn joined(items: &[(&Title, Option<f64>, Option<f64>)]) -> Title {
    let mut joining = Joining::default();
    for (title, start, end) in items {
        joining.add(title, start.map(MediaTime::from_seconds), end.map(MediaTime::from_seconds)).expect("it follows");
    }
    joining.finish(path(), None).expect("something was added")
}

fn times(track: &Track) -> Vec<i64> {
    (0..track.len()).filter_map(|unit| track.access_unit(unit)).map(|unit| unit.presentation_time).collect()
}

fn octets(title: &Title, track: usize, unit: usize) -> Vec<u8> {
    let track = &title.tracks[track];
    let unit = track.access_unit(unit).expect("there");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets).expect("read");
    octets
}

#[test]
fn items_follow_each_other_and_are_read_from_their_own() {
    let (one, two) = (title(&[Drawn::pictures(3, 3), Drawn::sound(6)], 0), title(&[Drawn::sound(5), Drawn::pictures(2, 1)], 100));
    let all = joined(&[(&one, None, None), (&two, None, None)]);
    assert_eq!(all.tracks.iter().map(|track| track.kind).collect::<Vec<_>>(), [MediaKind::Video, MediaKind::Audio]);
    // 3 pictures of 40 ms are longer than 5 frames of 21.3 ms from zero on.
    assert_eq!(times(&all.tracks[0]), [0, 40, 80, 120, 160]);
    // The frame before the second item's beginning is heard nowhere.
    let begins = 120 * 48;
    assert_eq!(times(&all.tracks[1])[..7], [-1024, 0, 1024, 2048, 3072, 4096, begins]);
    assert_eq!(all.duration, one.duration.plus(two.duration.since(MediaTime::ZERO)));
    assert_eq!(octets(&all, 0, 2), octets(&one, 0, 2));
    assert_eq!(octets(&all, 0, 3), octets(&two, 1, 0));
    assert_eq!(octets(&all, 1, 6), octets(&two, 0, 1));
    // Two at once, over the border.
    let track = &all.tracks[0];
    let units: Vec<AccessUnit> = (2..4).filter_map(|unit| track.access_unit(unit)).collect();
    let mut both = [0; 20];
    track.read(all.source.as_ref(), &units, &mut both).expect("read");
    assert_eq!(both[..], [octets(&one, 0, 2), octets(&two, 1, 0)].concat());
}

#[test]
fn an_item_without_sound_leaves_a_gap_that_nothing_fills() {
    let one = title(&[Drawn::pictures(3, 3), Drawn::sound(6)], 0);
    let silent = title(&[Drawn::pictures(25, 5)], 0);
    let all = joined(&[(&one, None, None), (&silent, None, None), (&one, None, None)]);
    let sound = &all.tracks[1];
    let last = sound.access_unit(5).expect("the last before the gap");
    assert_eq!((last.presentation_time, last.duration), (4096, 1024));
    assert_eq!(sound.access_unit(6).map(|unit| unit.presentation_time), Some(1120 * 48));
    // Who begins in the gap begins with what is heard behind it.
    assert_eq!(sound.first_shown_at(MediaTime::from_seconds(0.5)), 6);
    assert_eq!(sound.first_shown_at(MediaTime::from_seconds(0.1)), 5);
    // Sound that comes only later has its own beginning.
    let all = joined(&[(&silent, None, None), (&one, None, None)]);
    assert_eq!(times(&all.tracks[1])[..2], [48_000, 48_000 + 1024]);
}

#[test]
fn an_item_begins_with_a_random_access_point_and_ends_with_what_is_shown_before_its_end() {
    let film = title(&[Drawn::pictures(50, 10), Drawn::sound(95)], 0);
    let all = joined(&[(&film, Some(0.5), Some(1.0)), (&film, Some(0.85), None)]);
    // From 0.4 s on; 15 pictures up to 1 s, then from 0.8 s on.
    assert_eq!(all.tracks[0].len(), 15 + 30);
    assert_eq!(octets(&all, 0, 0), octets(&film, 0, 10));
    assert_eq!(octets(&all, 0, 15), octets(&film, 0, 20));
    let sound = times(&all.tracks[1]);
    assert!(sound.windows(2).all(|pair| (1024..1024 + 2400).contains(&(pair[1] - pair[0]))), "{sound:?}");
    // The frame that is heard where the pictures begin comes with them, and these are later by what it has of before.
    let first = times(&all.tracks[0])[0];
    assert!(sound[0] == 0 && (0..22).contains(&first), "{first}");
    assert!(times(&all.tracks[0]).windows(2).all(|pair| (40..40 + 50).contains(&(pair[1] - pair[0]))));
}

#[test]
fn what_leans_on_pictures_before_the_beginning_is_left_out() {
    let mut open = Drawn::pictures(9, 4);
    // Shown before the random access point that they follow: 5 and 6 behind 4.
    open.composition = vec![0, 0, 0, 0, 80, -40, -40, 0, 0];
    let film = title(&[open], 0);
    let all = joined(&[(&film, Some(0.25), None), (&film, None, None)]);
    assert_eq!(all.tracks[0].len(), 3 + 9);
    assert_eq!(octets(&all, 0, 1), octets(&film, 0, 7));
    assert!(all.tracks[0].index.samples().is_sorted_by_key(Sample::decode_time));
}

#[test]
fn timescales_are_brought_to_one() {
    let mut other = Drawn::pictures(4, 4);
    (other.timescale, other.lasts) = (12_800, 512);
    let (one, two) = (title(&[Drawn::pictures(3, 3)], 0), title(&[other], 0));
    let all = joined(&[(&one, None, None), (&two, None, None), (&one, None, None)]);
    assert_eq!(all.tracks[0].timescale, ClockRate::VIDEO);
    assert_eq!(times(&all.tracks[0]), (0..10).map(|number| number * 3600).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_is_left_out_with_its_reason() {
    let film = title(&[Drawn::pictures(3, 3), Drawn::sound(6)], 0);
    let mut joining = Joining::default();
    assert_eq!(joining.add(&film, None, None), Ok(None));
    let h264 = H264Config {
        framing: NalFraming::Length(4),
        profile_level_id: [66, 0, 30],
        sequence_parameter_sets: vec![vec![0x67]],
        picture_parameter_sets: vec![vec![0x68]],
        width: 64,
        height: 64,
    };
    let other = title(&[Drawn { codec: Codec::H264(h264), ..Drawn::pictures(3, 3) }, Drawn::sound(6)], 0);
    let error = joining.add(&other, None, None).expect_err("another coding");
    assert_eq!(error.to_string(), "h264 does not follow vp8");
    let slower = || Drawn { codec: aac(44_100), timescale: 44_100, ..Drawn::sound(6) };
    let remark = joining.add(&title(&[Drawn::pictures(3, 3), slower()], 0), None, None).expect("its pictures fit").expect("a remark");
    assert_eq!(remark.to_string(), "its sound is left out: aac with other parameters than before cannot be told to players");
    assert_eq!(joining.add(&title(&[slower()], 0), None, None), Err(JoinError::Misfit(Misfit::Parameters("aac"))));
    let nothing = joining.add(&film, Some(MediaTime::from_seconds(0.1)), Some(MediaTime::from_seconds(0.0)));
    assert_eq!(nothing, Err(JoinError::Nothing));
    let all = joining.finish(path(), None).expect("two items");
    assert_eq!((all.tracks[0].len(), all.tracks[1].len()), (6, 6));
}

#[test]
fn sound_goes_by_its_language() {
    let film = |languages: [&str; 2]| {
        let mut film = title(&[Drawn::pictures(3, 3), Drawn::sound(6), Drawn::sound(6)], 0);
        film.tracks[1].language = Some(languages[0].into());
        film.tracks[2].language = Some(languages[1].into());
        film
    };
    let (one, two) = (film(["de", "en"]), film(["en", "de"]));
    let all = joined(&[(&one, None, None), (&two, None, None), (&title(&[Drawn::pictures(3, 3), Drawn::sound(6)], 0), None, None)]);
    assert_eq!(all.tracks.iter().map(|track| track.language.as_deref()).collect::<Vec<_>>(), [None, Some("de"), Some("en")]);
    assert_eq!((octets(&all, 1, 6), octets(&all, 2, 6)), (octets(&two, 2, 1), octets(&two, 1, 1)));
    assert_eq!((all.tracks[1].len(), all.tracks[2].len()), (6 + 5 + 5, 6 + 5), "one without a language goes to the first");
}

/// Puts octets together by an offset that is none, as some containers have it.
#[derive(Debug)]
struct Odd;

impl Unpack for Odd {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        source.read_exact_at(octets, unit.offset & 0xff)
    }
}

#[test]
fn offsets_that_fill_all_their_bits_are_kept_for_those_that_need_them() {
    let mut odd = title(&[Drawn::pictures(4, 1)], 7);
    let track = &mut odd.tracks[0];
    let samples = track.index.samples().iter();
    let samples = samples.map(|one| Sample::new(one.offset() | 0xffff << 48, one.size(), one.decode_time(), 0, true).expect("small"));
    track.index = SampleIndex::new(samples.collect(), 40).packed(Arc::new(Odd));
    let plain = title(&[Drawn::pictures(4, 1)], 99);
    let all = joined(&[(&plain, None, None), (&odd, Some(0.05), None), (&odd, None, None)]);
    assert_eq!(all.tracks[0].len(), 11);
    assert_eq!(octets(&all, 0, 3), octets(&plain, 0, 3));
    assert_eq!(octets(&all, 0, 4), octets(&odd, 0, 1));
    assert_eq!(octets(&all, 0, 7), octets(&odd, 0, 0));
}

fn drawn_track() -> impl Strategy<Value = Drawn> {
    (1..40usize, 1..12usize, 1..2000i64, prop_oneof![Just(1000u32), Just(12_800), Just(90_000), Just(1)], -3000..3000i64, any::<bool>())
        .prop_flat_map(|(count, group, lasts, timescale, begins, is_sound)| {
            (proptest::collection::vec(1..50u32, count), proptest::collection::vec(-2000..2000i32, count)).prop_map(
                move |(sizes, composition)| {
                    let codec = if is_sound { aac(AAC_RATE) } else { Codec::Vp8(PictureSize::default()) };
                    let (group, composition) = if is_sound { (1, Vec::new()) } else { (group, composition) };
                    Drawn { codec, timescale, sizes, lasts, begins, composition, group }
                },
            )
        })
}

fn drawn_item() -> impl Strategy<Value = (Vec<Drawn>, Option<f64>, Option<f64>)> {
    (proptest::collection::vec(drawn_track(), 1..4), proptest::option::of(0.0..40.0f64), proptest::option::of(0.0..40.0f64))
}

proptest! {
    /// Whatever the items, the index holds: what is sent ascends, nothing is there twice, and every access unit is one of its item's.
    #[test]
    fn the_index_of_all_holds(items in proptest::collection::vec(drawn_item(), 1..6)) {
        let mut joining = Joining::default();
        let mut all_octets = Vec::new();
        for (number, (tracks, start, end)) in items.iter().enumerate() {
            let title = title(tracks, number as u8 * 37);
            if joining.add(&title, start.map(MediaTime::from_seconds), end.map(MediaTime::from_seconds)).is_ok() {
                let mut octets = vec![0; title.source.size() as usize];
                title.source.read_exact_at(&mut octets, 0).expect("there");
                all_octets.push(octets);
            }
        }
        prop_assume!(!joining.is_empty());
        let all = joining.finish(path(), None).expect("something was added");
        prop_assert_eq!(all.source.size(), all_octets.iter().map(|octets| octets.len() as u64).sum::<u64>());
        for track in &all.tracks {
            let samples = track.index.samples();
            prop_assert!(!samples.is_empty() && samples.is_sorted_by_key(Sample::decode_time));
            let mut offsets = Vec::new();
            for position in 0..track.len() {
                let unit = track.access_unit(position).expect("there");
                let mut read = vec![0; unit.size as usize];
                track.read(all.source.as_ref(), &[unit], &mut read).expect("it lies in its item");
                let is_there = |octets: &Vec<u8>| octets.windows(read.len()).any(|octets| octets == read);
                prop_assert!(all_octets.iter().any(is_there));
                prop_assert!(unit.presentation_time <= all.duration.to_ticks(track.timescale) + 1);
                offsets.push(unit.offset);
            }
            offsets.sort_unstable();
            prop_assert!(offsets.windows(2).all(|pair| pair[0] != pair[1]), "none twice");
        }
    }
}
