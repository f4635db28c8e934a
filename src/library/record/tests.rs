//! Records: what was written is read, and nothing else is.

use super::*;
use crate::library::codec::{AacConfig, H264Config, NalFraming};
use crate::library::title::AccessUnit;
use crate::library::{PictureSize, SoundFormat, TrackFacts};

const BUILD: &str = "this build";
const SIZE: u64 = 1 << 20;

fn stamp() -> Stamp {
    Stamp { inode: 7, device: 1 << 40, size: SIZE, modified: (-1, 999_999_999), others: 5 }
}

fn path() -> TitlePath {
    TitlePath::new("films/ü.mkv").expect("a path")
}

/// A container that inverts every octet, and whose parameter is the mask.
#[derive(Debug)]
struct Inverted(u8);

impl Unpack for Inverted {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> std::io::Result<()> {
        source.read_exact_at(octets, unit.offset)?;
        octets.iter_mut().for_each(|octet| *octet ^= self.0);
        Ok(())
    }

    fn kept(&self) -> Option<(&'static str, Vec<u8>)> {
        (self.0 != 0).then(|| ("inverted", vec![self.0]))
    }
}

fn restore(container: &str, parameters: &[u8]) -> Option<Arc<dyn Unpack>> {
    match (container, parameters) {
        ("inverted", [mask]) => Some(Arc::new(Inverted(*mask))),
        _ => None,
    }
}

fn sample(offset: u64, size: u32, decode_time: i64, later: i32, random_access: bool) -> Sample {
    Sample::new(offset, size, decode_time, later, random_access).expect("small")
}

fn title(packing: Option<u8>) -> Title {
    let avc = H264Config {
        framing: NalFraming::Length(4),
        profile_level_id: [0x4d, 0x40, 0x1e],
        sequence_parameter_sets: vec![vec![0x67, 1, 2]],
        picture_parameter_sets: vec![vec![0x68]],
        width: 320,
        height: 180,
    };
    let pictures = (0..500u32).map(|at| {
        let key = at % 50 == 0;
        sample(u64::from(at) * 1000 + 40, 900 + at % 7, i64::from(at) * 512 - 1024, [1024, 2560, -512][at as usize % 3], key)
    });
    let aac = AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 };
    let sounds = (0..300).map(|at| sample(SIZE - 1 - at * 10, 1, at as i64 * 1024, 0, true));
    let clock = |hertz| ClockRate::new(hertz).expect("not zero");
    let sound = SampleIndex::new(sounds.collect(), 960);
    let sound = match packing {
        Some(mask) => sound.packed(Arc::new(Inverted(mask))),
        None => sound,
    };
    Title {
        path: path(),
        duration: MediaTime::from_nanos(20_000_000_001),
        tracks: vec![
            Track {
                kind: MediaKind::Video,
                codec: Codec::H264(avc),
                timescale: clock(12_800),
                language: None,
                index: SampleIndex::new(pictures.collect(), 512),
            },
            Track { kind: MediaKind::Audio, codec: Codec::Aac(aac), timescale: clock(48_000), language: Some("de".into()), index: sound },
        ],
        remark: Some(Problem { reason: "a track is left out".into() }),
        source: source(),
    }
}

fn source() -> Arc<dyn ReadAt> {
    Arc::new((0..SIZE).map(|at| at as u8).collect::<Vec<u8>>())
}

fn read(octets: &[u8]) -> Result<Title, RecordError> {
    let (path, stamp) = (path(), stamp());
    read_index(&Wanted { made_by: BUILD, path: &path, stamp: &stamp, restore: &restore }, octets, source())
}

#[test]
fn an_index_that_was_written_is_read_as_it_was() {
    for packing in [None, Some(0xff)] {
        let title = title(packing);
        let octets = write_index(BUILD, &stamp(), &title).expect("small");
        let units: usize = title.tracks.iter().map(Track::len).sum();
        assert!(octets.len() < units * 9, "{} octets for {units} access units", octets.len());
        let again = read(&octets).expect("it was just written");
        assert_eq!((again.duration, &again.remark, again.tracks.len()), (title.duration, &title.remark, 2));
        for (again, track) in again.tracks.iter().zip(&title.tracks) {
            assert_eq!(
                (&again.codec, again.kind, again.timescale, &again.language),
                (&track.codec, track.kind, track.timescale, &track.language)
            );
            assert_eq!(again.index.samples(), track.index.samples());
            assert_eq!(again.access_unit(again.len() - 1), track.access_unit(track.len() - 1));
            let unit = track.access_unit(3).expect("there");
            let (mut one, mut other) = (vec![0; unit.size as usize], vec![1; unit.size as usize]);
            track.read(&*title.source, &[unit], &mut one).expect("there");
            again.read(&*title.source, &[unit], &mut other).expect("there");
            assert_eq!(one, other);
        }
    }
}

#[test]
fn an_index_whose_access_units_cannot_be_put_together_again_is_not_kept() {
    assert_eq!(write_index(BUILD, &stamp(), &title(Some(0))), Err(RecordError::Unkept));
    let unknown = write_index(BUILD, &stamp(), &title(Some(1))).expect("small");
    let (path, stamp) = (path(), stamp());
    let wanted = Wanted { made_by: BUILD, path: &path, stamp: &stamp, restore: &|_, _| None };
    assert_eq!(read_index(&wanted, &unknown, source()).expect_err("of no known container"), RecordError::Wrong);
}

#[test]
fn an_index_of_another_file_another_time_or_another_build_is_refused() {
    let octets = write_index(BUILD, &stamp(), &title(None)).expect("small");
    let refused = |made_by, path: &str, stamp| {
        let path = TitlePath::new(path).expect("a path");
        read_index(&Wanted { made_by, path: &path, stamp: &stamp, restore: &restore }, &octets, source()).expect_err("another")
    };
    assert_eq!(refused("that build", "films/ü.mkv", stamp()), RecordError::OtherBuild);
    assert_eq!(refused(BUILD, "films/u.mkv", stamp()), RecordError::OtherFile);
    assert_eq!(refused(BUILD, "films/ü.mkv", Stamp { modified: (-1, 0), ..stamp() }), RecordError::OtherFile);
}

#[test]
fn what_cannot_be_is_refused_although_its_seal_is_whole() {
    let refused = |change: &dyn Fn(&mut Title)| {
        let mut title = title(None);
        change(&mut title);
        read(&write_index(BUILD, &stamp(), &title).expect("small")).expect_err("it cannot be")
    };
    let with = |samples: Vec<Sample>| move |title: &mut Title| title.tracks[0].index = SampleIndex::new(samples.clone(), 1);
    assert_eq!(refused(&|title| title.tracks.clear()), RecordError::Wrong, "no track");
    assert_eq!(refused(&with(vec![])), RecordError::Wrong, "no access unit");
    assert_eq!(refused(&with(vec![sample(0, 9, 0, 0, false)])), RecordError::Wrong, "no random access point");
    assert_eq!(refused(&with(vec![sample(SIZE, 1, 0, 0, true)])), RecordError::Wrong, "behind the end of the file");
    assert_eq!(refused(&with(vec![sample(0, 1, 5, 0, true), sample(0, 1, 4, 0, true)])), RecordError::Wrong, "back in time");
    assert_eq!(refused(&with(vec![sample(0, 0, 0, 0, true); 2 * SIZE as usize + 2000])), RecordError::Wrong, "more than the file can have");
    assert_eq!(refused(&|title| title.remark = Some(Problem { reason: "a\r\nb".into() })), RecordError::Wrong, "no text for a header");
}

#[test]
fn octets_that_are_damaged_cut_or_foreign_are_refused_and_never_panic() {
    let octets = write_index(BUILD, &stamp(), &title(Some(3))).expect("small");
    assert_eq!(read(b"").expect_err("nothing"), RecordError::Foreign);
    assert_eq!(read(&octets[1..]).expect_err("no word"), RecordError::Foreign);
    for len in 16..octets.len() {
        assert_eq!(read(&octets[..len]).expect_err("cut"), RecordError::Damaged);
    }
    let body = &octets[WORD.len() + CHECKSUM..];
    let mut seed = 1u32;
    for at in (0..body.len()).chain(0..64) {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut body = body.to_vec();
        body[at] ^= (seed >> 24) as u8 | 1;
        // It may still hold; then it is a title all the same.
        if let Ok(title) = read(&seal(body).expect("small")) {
            assert!(title.tracks.iter().all(|track| !track.is_empty() && track.random_access_at_or_before(MediaTime::ZERO).is_some()));
        }
    }
}

#[test]
fn claimed_lengths_take_no_memory() {
    // A name, then a list that says it has 2^63 entries.
    let mut body = postcard::to_stdvec(BUILD).expect("small");
    body.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(read_facts(BUILD, &seal(body).expect("small")), Err(RecordError::Wrong));
    assert_eq!(seal(vec![0; MAX_RECORD]), Err(RecordError::Unkept));
}

#[test]
fn facts_that_were_written_are_read_and_what_is_unsound_is_left_out() {
    let track = TrackFacts {
        kind: MediaKind::Video,
        codec: "h264".into(),
        bitrate: 1 << 40,
        picture_size: Some(PictureSize { width: 320, height: 180 }),
        sound_format: Some(SoundFormat { sample_rate: 48_000, channels: 2 }),
        language: Some("de".into()),
    };
    let facts = Facts { duration: MediaTime::from_nanos(5), tracks: vec![track.clone()].into(), remark: None };
    let record = |path: &str, outcome| FactsRecord { path: path.into(), stamp: stamp(), outcome };
    let problem = |reason: &str| Err(Problem { reason: reason.into() });
    let sound = [record("a.mp4", Ok(facts.clone())), record("b/c.mp4", problem("the file is empty"))];
    let hidden_codec = TrackFacts { codec: "h264\n".into(), ..track };
    let unsound = [
        record("../a.mp4", Ok(facts.clone())),
        record("a\0.mp4", Ok(facts.clone())),
        record("d.mp4", problem("bad\r\nX-Header: 1")),
        record("e.mp4", Ok(Facts { tracks: vec![hidden_codec].into(), ..facts.clone() })),
        record("f.mp4", Ok(Facts { tracks: Box::default(), ..facts })),
    ];
    let all: Vec<FactsRecord> = sound.iter().chain(&unsound).cloned().collect();
    let octets = write_facts(BUILD, &all).expect("small");
    assert_eq!(read_facts(BUILD, &octets).expect("it was just written"), sound);
    assert_eq!(read_facts("that build", &octets), Err(RecordError::OtherBuild));
}
