//! Whole files built by hand, box by box.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::parse;
use crate::library::codec::{Codec, NalFraming};
use crate::library::title::{AccessUnit, Problem, ReadAt, Title, TitlePath};
use crate::quantities::{MediaKind, MediaTime};

pub(super) fn boxed(kind: &[u8; 4], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A box with a version and flags, its fields 32 bits each.
fn full(kind: &[u8; 4], version: u8, flags: u32, fields: &[u32]) -> Vec<u8> {
    boxed(kind, words(&[&[u32::from(version) << 24 | flags], fields].concat()))
}

/// A table: a count, then the entries.
pub(super) fn table(kind: &[u8; 4], version: u8, entries: &[&[u32]]) -> Vec<u8> {
    full(kind, version, 0, &[&[entries.len() as u32], &entries.concat()[..]].concat())
}

pub(super) fn avc1() -> Vec<u8> {
    let config = [1, 0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x4d, 0x40, 0x1e, 1, 0, 2, 0x68, 0xee];
    let mut entry = vec![0; 78];
    entry[24..28].copy_from_slice(&[1, 64, 0, 180]);
    boxed(b"avc1", [entry, boxed(b"avcC", config)].concat())
}

pub(super) fn esds() -> Vec<u8> {
    let config = [&[4, 17, 0x40, 0x15][..], &[0; 11], &[5, 2, 0x11, 0x90]].concat();
    boxed(b"esds", [&[0, 0, 0, 0, 3, 25, 0, 1, 0][..], &config, &[6, 1, 2]].concat())
}

pub(super) fn mp4a() -> Vec<u8> {
    boxed(b"mp4a", [vec![0; 28], esds()].concat())
}

fn track(id: u32, handler: &[u8; 4], timescale: u32, entry: &[u8], tables: &[Vec<u8>], edits: &[&[u32]]) -> Vec<u8> {
    let header = full(b"tkhd", 0, 7, &[&[0, 0, id][..], &[0; 17]].concat());
    let media_header = full(b"mdhd", 0, 0, &[0, 0, timescale, 0, 0x15c7_0000]);
    let handler = boxed(b"hdlr", [&[0; 8][..], handler, &[0; 13]].concat());
    let descriptions = boxed(b"stsd", [&[0, 0, 0, 0, 0, 0, 0, 1][..], entry].concat());
    let table_box = boxed(b"stbl", [&[descriptions], tables].concat().concat());
    let media = boxed(b"mdia", [media_header, handler, boxed(b"minf", table_box)].concat());
    let edits = if edits.is_empty() { Vec::new() } else { boxed(b"edts", table(b"elst", 0, edits)) };
    boxed(b"trak", [header, edits, media].concat())
}

fn movie(tracks: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let header = full(b"mvhd", 0, 0, &[&[0, 0, 1_000][..], &[0; 21]].concat());
    boxed(b"moov", [&header, &tracks.concat()[..], more].concat())
}

/// Where the media of [`film`] begins.
const MEDIA: u32 = 24;

fn file_type() -> Vec<u8> {
    boxed(b"ftyp", b"isom\0\0\0\0")
}

/// A film with its media in front, `octets` of it.
fn film(octets: usize, movie: &[u8]) -> Vec<u8> {
    let media: Vec<u8> = (0..octets).map(|at| at as u8).collect();
    [&file_type(), &boxed(b"mdat", media)[..], movie].concat()
}

fn read(file: Vec<u8>) -> Result<Title, Problem> {
    parse(Arc::new(file), TitlePath::new("a.mp4").expect("a path"))
}

fn units(title: &Title, track: usize) -> Vec<AccessUnit> {
    let track = &title.tracks[track];
    (0..track.len()).filter_map(|position| track.access_unit(position)).collect()
}

fn decode_times(title: &Title, track: usize) -> Vec<i64> {
    units(title, track).iter().map(|unit| unit.decode_time).collect()
}

fn presentation_times(title: &Title, track: usize) -> Vec<i64> {
    units(title, track).iter().map(|unit| unit.presentation_time).collect()
}

/// Eight pictures of 100 ticks at 1,000 a second in the order I P B B I P B B, 10 to 17 octets each, three to a chunk.
fn picture_tables() -> Vec<Vec<u8>> {
    let sizes: Vec<u32> = (10..18).collect();
    let start = |sample: u32| MEDIA + (0..sample).map(|position| 10 + position).sum::<u32>();
    vec![
        table(b"stts", 0, &[&[8, 100]]),
        table(b"ctts", 0, &[&[1, 200], &[1, 400], &[2, 100], &[1, 200], &[1, 400], &[2, 100]]),
        table(b"stss", 0, &[&[1], &[5]]),
        table(b"stsc", 0, &[&[1, 3, 1], &[3, 2, 1]]),
        full(b"stsz", 0, 0, &[&[0, 8], &sizes[..]].concat()),
        table(b"stco", 0, &[&[start(0)], &[start(3)], &[start(6)]]),
    ]
}

fn picture(edits: &[&[u32]]) -> Vec<u8> {
    track(1, b"vide", 1_000, &avc1(), &picture_tables(), edits)
}

/// Ten frames of 1,024 ticks at 48,000 a second, of 4 octets each, in one chunk.
fn sound(edits: &[&[u32]]) -> Vec<u8> {
    let tables = [
        table(b"stts", 0, &[&[10, 1_024]]),
        table(b"stsc", 0, &[&[1, 10, 1]]),
        full(b"stsz", 0, 0, &[4, 10]),
        table(b"stco", 0, &[&[MEDIA]]),
    ];
    track(2, b"soun", 48_000, &mp4a(), &tables, edits)
}

fn whole() -> Vec<u8> {
    film(108, &movie(&[picture(&[]), sound(&[])], &[]))
}

#[test]
fn sample_tables_become_an_index() {
    let title = read(whole()).expect("sound");
    assert!(title.remark.is_none());
    assert_eq!(title.tracks.len(), 2);
    let pictures = units(&title, 0);
    assert_eq!(decode_times(&title, 0), [0, 100, 200, 300, 400, 500, 600, 700]);
    assert_eq!(presentation_times(&title, 0), [200, 500, 300, 400, 600, 900, 700, 800]);
    assert_eq!(pictures.iter().map(|unit| unit.size).collect::<Vec<_>>(), (10..18).collect::<Vec<_>>());
    assert!(pictures.windows(2).all(|pair| pair[0].offset + u64::from(pair[0].size) == pair[1].offset));
    assert_eq!(pictures[0].offset, u64::from(MEDIA));
    let access: Vec<bool> = pictures.iter().map(|unit| unit.random_access).collect();
    assert_eq!(access, [true, false, false, false, true, false, false, false]);
    assert!(pictures.iter().all(|unit| unit.duration == 100));
    assert_eq!(title.duration, MediaTime::from_seconds(1.0));
    let Codec::H264(config) = &title.tracks[0].codec else { panic!("H.264") };
    assert_eq!((config.width, config.height, config.framing), (320, 180, NalFraming::Length(4)));
    assert_eq!(config.profile_level_id, [0x4d, 0x40, 0x1e]);
    assert_eq!(config.picture_parameter_sets, [[0x68, 0xee]]);
    let Codec::Aac(config) = &title.tracks[1].codec else { panic!("AAC") };
    assert_eq!((config.sample_rate, config.channels), (48_000, 2));
    assert_eq!(title.tracks[1].len(), 10);
    assert_eq!(title.tracks[0].language.as_deref(), Some("eng"));
}

#[test]
fn the_index_may_stand_in_front_of_media_with_a_long_size() {
    let media = [&1u32.to_be_bytes()[..], b"mdat", &124u64.to_be_bytes(), &[7; 108]].concat();
    // The index with three offsets of eight octets instead of four, and the longer header of the media.
    let len = movie(&[picture(&[])], &[]).len() as u32 + 3 * 4;
    let shift = len + 8;
    let tables: Vec<Vec<u8>> = picture_tables()
        .into_iter()
        .map(|table| match &table[4..8] {
            b"stco" => {
                let offset = |octets: &[u8]| u64::from(u32::from_be_bytes(octets.try_into().expect("four")) + shift);
                let offsets: Vec<u8> = table[16..].chunks(4).flat_map(|octets| offset(octets).to_be_bytes()).collect();
                boxed(b"co64", [&table[8..16], &offsets].concat())
            }
            _ => table,
        })
        .collect();
    let movie = movie(&[track(1, b"vide", 1_000, &avc1(), &tables, &[])], &[]);
    assert_eq!(movie.len() as u32, len);
    let title = read([&file_type(), &movie[..], &media].concat()).expect("sound");
    assert_eq!(units(&title, 0)[0].offset, u64::from(16 + len + 16), "where the media begins");
    assert_eq!(units(&title, 0).len(), 8);
}

#[test]
fn compact_size_tables_are_read() {
    for (width, sizes) in [(4, vec![0x12, 0x30]), (8, vec![1, 2, 3]), (16, vec![0, 1, 0, 2, 0, 3])] {
        let tables = [
            table(b"stts", 0, &[&[3, 100]]),
            table(b"stsc", 0, &[&[1, 3, 1]]),
            boxed(b"stz2", [&[0, 0, 0, 0, 0, 0, 0, width, 0, 0, 0, 3][..], &sizes].concat()),
            table(b"stco", 0, &[&[MEDIA]]),
        ];
        let title = read(film(8, &movie(&[track(1, b"vide", 1_000, &avc1(), &tables, &[])], &[]))).expect("sound");
        assert_eq!(units(&title, 0).iter().map(|unit| unit.size).collect::<Vec<_>>(), [1, 2, 3], "{width} bits");
        assert!(units(&title, 0).iter().all(|unit| unit.random_access), "no table of them: each is one");
    }
}

#[test]
fn an_edit_that_begins_at_the_first_picture_moves_it_to_zero() {
    let title = read(film(108, &movie(&[picture(&[&[800, 200, 1 << 16]])], &[]))).expect("sound");
    assert_eq!(presentation_times(&title, 0), [0, 300, 100, 200, 400, 700, 500, 600]);
    assert_eq!(decode_times(&title, 0), [-200, -100, 0, 100, 200, 300, 400, 500]);
    assert_eq!(title.duration, MediaTime::from_seconds(0.8));
}

#[test]
fn an_edit_keeps_what_its_pictures_need_and_no_more() {
    // From the third picture shown of the second group on: its key picture and what follows stay, the first group goes.
    let title = read(film(108, &movie(&[picture(&[&[200, 800, 1 << 16]])], &[]))).expect("sound");
    assert_eq!(presentation_times(&title, 0), [-200, 100, -100, 0]);
    assert!(units(&title, 0)[0].random_access);
    // Until before the second group: it goes.
    let title = read(film(108, &movie(&[picture(&[&[250, 200, 1 << 16]])], &[]))).expect("sound");
    assert_eq!(presentation_times(&title, 0), [0, 300, 100, 200]);
    assert_eq!(title.duration, MediaTime::from_seconds(0.25));
}

#[test]
fn an_empty_edit_delays() {
    let title = read(film(108, &movie(&[sound(&[&[500, u32::MAX, 1 << 16], &[0, 0, 1 << 16]])], &[]))).expect("sound");
    assert_eq!(decode_times(&title, 0)[..2], [24_000, 25_024]);
    assert_eq!(title.tracks[0].len(), 10);
    assert_eq!(title.duration, MediaTime::from_nanos(713_333_333));
}

#[test]
fn priming_frames_stay_before_zero() {
    let title = read(film(108, &movie(&[sound(&[&[170, 2_048, 1 << 16]])], &[]))).expect("sound");
    assert_eq!(decode_times(&title, 0)[..3], [-2_048, -1_024, 0]);
    assert_eq!(title.tracks[0].len(), 10);
    assert_eq!(title.tracks[0].first_shown_at(MediaTime::ZERO), 2);
}

#[test]
fn several_edits_follow_each_other_and_decode_times_never_decrease() {
    let title = read(film(108, &movie(&[picture(&[&[400, 600, 1 << 16], &[400, 200, 1 << 16]])], &[]))).expect("sound");
    assert_eq!(presentation_times(&title, 0), [0, 300, 100, 200, 400, 700, 500, 600]);
    let times = decode_times(&title, 0);
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    let offsets: Vec<u64> = units(&title, 0).iter().map(|unit| unit.offset).collect();
    assert!(offsets[0] > offsets[4], "the second group is shown first");
}

#[test]
fn signed_composition_offsets_and_odd_durations_are_read() {
    let tables = [
        table(b"stts", 0, &[&[1, 100], &[1, u32::MAX], &[1, 50]]),
        table(b"ctts", 1, &[&[1, 0], &[1, -100i32 as u32]]),
        table(b"stsc", 0, &[&[1, 3, 1]]),
        full(b"stsz", 0, 0, &[2, 3]),
        table(b"stco", 0, &[&[MEDIA]]),
    ];
    let title = read(film(8, &movie(&[track(1, b"vide", 1_000, &avc1(), &tables, &[])], &[]))).expect("sound");
    assert_eq!(decode_times(&title, 0), [0, 100, 101], "time does not go back");
    assert_eq!(presentation_times(&title, 0), [0, 0, 101]);
}

#[test]
fn a_track_without_random_access_points_begins_at_its_first_picture() {
    let mut tables = picture_tables();
    tables[2] = table(b"stss", 0, &[]);
    let title = read(film(108, &movie(&[track(1, b"vide", 1_000, &avc1(), &tables, &[])], &[]))).expect("plays");
    assert_eq!(title.tracks[0].random_access_at_or_before(MediaTime::from_seconds(0.7)), Some(0));
    assert!(title.remark.expect("told").reason.contains("random access"));
}

#[test]
fn quicktimes_partial_random_access_points_are_some() {
    let points = |tables: &[Vec<u8>]| {
        let title = read(film(108, &movie(&[track(1, b"vide", 1_000, &avc1(), tables, &[])], &[]))).expect("plays");
        (0u32..).zip(units(&title, 0)).filter(|(_, unit)| unit.random_access).map(|(position, _)| position).collect::<Vec<_>>()
    };
    let mut tables = picture_tables();
    tables.push(table(b"stps", 0, &[&[3], &[5], &[7]]));
    assert_eq!(points(&tables), [0, 2, 4, 6]);
    tables.remove(2);
    assert_eq!(points(&tables), [2, 4, 6], "without the others");
}

#[test]
fn random_access_points_of_open_groups_are_some() {
    let points = |tables: &[Vec<u8>]| {
        let title = read(film(108, &movie(&[track(1, b"vide", 1_000, &avc1(), tables, &[])], &[]))).expect("plays");
        (0u32..).zip(units(&title, 0)).filter(|(_, unit)| unit.random_access).map(|(position, _)| position).collect::<Vec<_>>()
    };
    let group = |kind: &[u8; 4], entries: &[&[u32]]| {
        let fields: Vec<u32> = [&[u32::from_be_bytes(*kind), entries.len() as u32][..], &entries.concat()].concat();
        full(b"sbgp", 0, 0, &fields)
    };
    let mut tables = picture_tables();
    tables.push(group(b"roll", &[&[8, 1]]));
    tables.push(group(b"rap ", &[&[2, 0], &[1, 1], &[3, 0], &[1, 2]]));
    assert_eq!(points(&tables), [0, 2, 4, 6]);
    tables[7] = group(b"rap ", &[&[5, 0], &[u32::MAX, 1], &[u32::MAX, 1]]);
    assert_eq!(points(&tables), [0, 4, 5, 6, 7], "no more than there are");
    tables.remove(2);
    assert_eq!(points(&tables), [0, 1, 2, 3, 4, 5, 6, 7], "all are without a table");
}

/// One picture out of JPEG data, as QuickTime has it.
fn jpeg(picture: &[u8]) -> Vec<u8> {
    let entry = boxed(b"jpeg", [0; 78]);
    let tables = [
        table(b"stts", 0, &[&[1, 40]]),
        table(b"stsc", 0, &[&[1, 1, 1]]),
        full(b"stsz", 0, 0, &[0, 1, picture.len() as u32]),
        table(b"stco", 0, &[&[28 + 8]]),
    ];
    let file_type = boxed(b"ftyp", [b'q', b't', b' ', b' ', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    [file_type, boxed(b"mdat", picture), movie(&[track(1, b"vide", 1_000, &entry, &tables, &[])], &[])].concat()
}

#[test]
fn pictures_that_rtp_cannot_carry_are_known_by_the_first_one() {
    let sound = crate::library::jpeg::tests::picture(&[1, 2, 3], 0);
    let title = read(jpeg(&sound)).expect("plays");
    assert_eq!((title.tracks[0].codec.name(), units(&title, 0)[0].size as usize), ("mjpeg", sound.len()));
    let mut other = sound.clone();
    let at = other.windows(3).position(|component| component == [1, 0x22, 0]).expect("brightness");
    other[at + 1] = 0x11;
    assert!(read(jpeg(&other)).expect_err("nothing else is there").reason.contains("a JPEG picture is neither 4:2:0 nor 4:2:2"));
}

#[test]
fn subtitles_are_left_out_and_named_with_their_language() {
    let told = |handler: &[u8; 4], entry: &[u8]| {
        let title = read(film(108, &movie(&[sound(&[]), track(2, handler, 1_000, entry, &[], &[])], &[]))).expect("the sound plays");
        assert_eq!(title.tracks.len(), 1);
        title.remark.expect("told").reason
    };
    let sentence = |why: &str| format!("the subtitle track (eng) is left out: {why}");
    assert_eq!(told(b"sbtl", &boxed(b"tx3g", [0; 30])), sentence("tx3g is not supported"));
    assert_eq!(told(b"text", &boxed(b"text", [0; 43])), sentence("text is not supported"));
    assert_eq!(told(b"subp", &boxed(b"\x1b[1m", [])), sentence("?[1m is not supported"));
    assert_eq!(told(b"clcp", &[0, 0, 0, 8, b'c']), sentence("it has no sample description"));
}

#[test]
fn what_cannot_be_sent_is_left_out_and_named() {
    let hevc = boxed(b"svq3", [0; 78]);
    let pictures = track(1, b"vide", 1_000, &hevc, &picture_tables(), &[]);
    let title = read(film(108, &movie(&[pictures.clone(), sound(&[])], &[]))).expect("the sound plays");
    assert_eq!(title.tracks.len(), 1);
    assert_eq!(title.remark.expect("told").reason, "the video track is left out: svq3 is not supported");
    let problem = read(film(108, &movie(&[pictures], &[]))).expect_err("nothing plays");
    assert_eq!(problem.reason, "the video track is left out: svq3 is not supported");
    let swapped = track(1, b"vide", 1_000, &mp4a(), &picture_tables(), &[]);
    assert!(read(film(108, &movie(&[swapped], &[]))).is_err(), "sound in a picture's track");
}

#[test]
fn quicktime_sound_descriptions_are_read() {
    let wave = boxed(b"wave", [boxed(b"frma", b"mp4a"), boxed(b"mp4a", [0; 4]), esds(), boxed(b"\0\0\0\0", [])].concat());
    let mut entry = vec![0; 28 + 16];
    entry[9] = 1;
    let entry = boxed(b"mp4a", [entry, wave].concat());
    let tables = [
        table(b"stts", 0, &[&[10, 1_024]]),
        table(b"stsc", 0, &[&[1, 10, 1]]),
        full(b"stsz", 0, 0, &[4, 10]),
        table(b"stco", 0, &[&[MEDIA]]),
    ];
    let file = film(40, &movie(&[track(1, b"soun", 48_000, &entry, &tables, &[])], &[]));
    let file = [&boxed(b"ftyp", b"qt  \0\0\0\0"), &file[16..]].concat();
    let title = read(file).expect("sound");
    assert_eq!((title.tracks[0].kind, title.tracks[0].len()), (MediaKind::Audio, 10));
}

#[test]
fn files_that_end_early_say_so() {
    let file = whole();
    let reason = |file: &[u8]| read(file.to_vec()).expect_err("cut").reason;
    assert!(reason(&file[..200]).contains("cut short"), "within the index");
    assert!(reason(&file[..60]).contains("cut short"), "within the media");
    let in_front = [&file_type(), &movie(&[picture(&[])], &[])[..], &boxed(b"mdat", [0; 30])].concat();
    assert!(reason(&in_front[..100]).contains("cut short"));
    let mut tables = picture_tables();
    tables[5] = table(b"stco", 0, &[&[MEDIA], &[1 << 20], &[MEDIA]]);
    let behind_end = film(108, &movie(&[track(1, b"vide", 1_000, &avc1(), &tables, &[])], &[]));
    assert_eq!(reason(&behind_end), "the file is cut short: its index points behind its end");
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    let tables = [
        table(b"stts", 0, &[&[u32::MAX, 1]]),
        table(b"stsc", 0, &[&[1, u32::MAX, 1]]),
        full(b"stsz", 0, 0, &[1, u32::MAX]),
        table(b"stco", 0, &[&[MEDIA]]),
    ];
    let absurd = track(1, b"vide", 1_000, &avc1(), &tables, &[]);
    let reason = read(film(8, &movie(&vec![absurd; 64], &[]))).expect_err("absurd").reason;
    assert!(reason.contains("more access units than the file can hold"), "{reason}");
}

#[test]
fn a_coding_that_changes_midway_is_left_out() {
    let other = {
        let mut other = avc1();
        let at = other.len() - 1;
        other[at] ^= 1;
        other
    };
    let mut tables = picture_tables();
    tables[3] = table(b"stsc", 0, &[&[1, 3, 1], &[3, 2, 2]]);
    let descriptions = |second: &[u8]| track(1, b"vide", 1_000, &[avc1(), second.to_vec()].concat(), &tables, &[]);
    assert!(read(film(108, &movie(&[descriptions(&avc1())], &[]))).is_ok(), "twice the same");
    let reason = read(film(108, &movie(&[descriptions(&other)], &[]))).expect_err("another").reason;
    assert_eq!(reason, "the video track is left out: its coding changes midway");
}

/// The tables of a track whose samples are in fragments.
fn no_tables() -> Vec<Vec<u8>> {
    let empty = |kind| table(kind, 0, &[]);
    vec![empty(b"stts"), empty(b"stsc"), full(b"stsz", 0, 0, &[0, 0]), empty(b"stco")]
}

fn fragmented_movie() -> Vec<u8> {
    let tracks = [track(1, b"vide", 1_000, &avc1(), &no_tables(), &[]), track(2, b"soun", 48_000, &mp4a(), &no_tables(), &[])];
    let extends = [full(b"trex", 0, 0, &[1, 1, 100, 0, 0x0101_0000]), full(b"trex", 0, 0, &[2, 1, 1_024, 4, 0x0101_0000])].concat();
    movie(&tracks, &boxed(b"mvex", extends))
}

const SIZES: u32 = 0x200;
const FIRST_FLAGS: u32 = 4;
const DATA_OFFSET: u32 = 1;

/// Four pictures of 5 octets with flags and offsets by the run, then two frames of sound by the track's defaults, their
/// place behind the pictures' left to be inferred.
fn fragment(number: u32) -> Vec<u8> {
    let pictures = |offset| {
        let run = full(
            b"trun",
            1,
            DATA_OFFSET | FIRST_FLAGS | SIZES | 0x800,
            &[&[4, offset, 0x0200_0000][..], &[5, 0, 5, 100, 5, -50i32 as u32, 5, 0]].concat(),
        );
        boxed(b"traf", [full(b"tfhd", 0, 0, &[1]), full(b"tfdt", 0, 0, &[400 * number + 50]), run].concat())
    };
    let sounds = boxed(b"traf", [full(b"tfhd", 0, 0, &[2]), full(b"trun", 0, 0, &[2])].concat());
    let build = |offset| boxed(b"moof", [full(b"mfhd", 0, 0, &[number + 1]), pictures(offset), sounds.clone()].concat());
    let offset = build(0).len() as u32 + 8;
    [build(offset), boxed(b"mdat", [7; 28])].concat()
}

fn fragmented(count: u32) -> Vec<u8> {
    let fragments = (0..count).flat_map(fragment);
    [file_type(), fragmented_movie(), full(b"sidx", 0, 0, &[1, 1_000, 0, 0, 0])].concat().into_iter().chain(fragments).collect()
}

#[test]
fn fragments_take_what_they_do_not_say_from_their_track() {
    let file = fragmented(2);
    let title = read(file.clone()).expect("sound");
    assert!(title.remark.is_none());
    assert_eq!(decode_times(&title, 0), [50, 150, 250, 350, 450, 550, 650, 750]);
    assert_eq!(presentation_times(&title, 0)[..4], [50, 250, 200, 350]);
    let access: Vec<bool> = units(&title, 0).iter().map(|unit| unit.random_access).collect();
    assert_eq!(access, [true, false, false, false, true, false, false, false]);
    assert_eq!(decode_times(&title, 1), [0, 1_024, 2_048, 3_072]);
    assert!(units(&title, 1).iter().all(|unit| unit.random_access && unit.size == 4), "every frame of sound is one");
    let first = file.len() as u64 - 28;
    assert_eq!(units(&title, 0)[4].offset, first);
    assert_eq!(units(&title, 1)[2].offset, first + 20, "behind the pictures");
    let octets = |unit: &AccessUnit| file[unit.offset as usize..][..unit.size as usize].to_vec();
    assert!(
        title
            .tracks
            .iter()
            .zip([0, 1])
            .all(|(_, track)| units(&title, track).iter().all(|unit| octets(unit).iter().all(|octet| *octet == 7)))
    );
}

#[test]
fn the_beginning_of_segments_is_named_as_such() {
    let why = read(fragmented(0)).expect_err("nothing plays").reason;
    assert!(why.contains("it is what segments (HLS, DASH) begin with"), "{why}");
}

#[test]
fn a_file_cut_within_its_last_fragment_plays_up_to_there() {
    let file = fragmented(3);
    for missing in [1, 9, 24, 28, 34, 60] {
        let title = read(file[..file.len() - missing].to_vec()).expect("plays");
        assert_eq!(title.remark.clone().expect("told").reason, "the file is cut short", "{missing}");
        assert!(title.tracks[0].len() >= 8, "{missing}");
    }
    assert!(read(file[..file.len() - 4].to_vec()).expect("plays").tracks[0].len() == 12, "the pictures are all there");
}

#[test]
fn a_broken_fragment_ends_the_title_before_it() {
    let mut file = fragmented(3);
    let at = file.len() - fragment(2).len();
    let run = file[at..].windows(4).position(|kind| kind == b"trun").expect("a run") + at;
    file[run + 8..run + 12].copy_from_slice(&1_000u32.to_be_bytes());
    let title = read(file).expect("plays");
    assert_eq!(title.tracks[0].len(), 8);
    assert!(title.remark.expect("told").reason.contains("a fragment is broken"));
}

#[test]
fn fragments_of_a_track_that_is_left_out_still_tell_where_the_next_begins() {
    let mut file = fragmented(1);
    let at = file.windows(4).position(|kind| kind == b"avc1").expect("pictures");
    file[at..at + 4].copy_from_slice(b"hvc1");
    let title = read(file.clone()).expect("the sound plays");
    assert_eq!(units(&title, 0)[0].offset, file.len() as u64 - 8);
}

#[test]
fn runs_of_countless_empty_samples_are_refused() {
    let run = full(b"trun", 0, 0, &[u32::MAX]);
    let track = boxed(b"traf", [full(b"tfhd", 0, 0x10, &[1, 0]), run].concat());
    let file = [file_type(), fragmented_movie(), boxed(b"moof", track)].concat();
    assert!(read(file).expect_err("absurd").reason.contains("more access units than the file can hold"));
}

/// Reads everything an index says; what it says must hold.
fn touch(file: Vec<u8>) {
    let size = file.len() as u64;
    let Ok(title) = read(file) else { return };
    for (position, track) in title.tracks.iter().enumerate() {
        assert!(!track.is_empty());
        let units = units(&title, position);
        assert!(units.windows(2).all(|pair| pair[0].decode_time <= pair[1].decode_time));
        assert!(units.iter().all(|unit| unit.offset + u64::from(unit.size) <= size));
        assert!(units.iter().any(|unit| unit.random_access));
        for at in [i64::MIN, -1, 0, 1, 500_000_000, i64::MAX].map(MediaTime::from_nanos) {
            let start = track.random_access_at_or_before(at).expect("there is one");
            assert!(units[start].random_access);
            assert!(track.first_shown_at(at) <= units.len());
        }
        track.bitrate();
    }
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    for file in [whole(), fragmented(2), film(108, &movie(&[picture(&[&[200, 800, 1 << 16]]), sound(&[&[0, 2_048, 1 << 16]])], &[]))] {
        for len in 0..file.len() {
            touch(file[..len].to_vec());
        }
    }
}

/// A file of which only the beginning is there: it says that it is larger, and what is read behind that is zero.
struct Pretended {
    beginning: Vec<u8>,
    size: u64,
    /// The most that was read at once.
    most: AtomicUsize,
}

impl ReadAt for Pretended {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.most.fetch_max(buffer.len(), Ordering::Relaxed);
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        for (at, octet) in (offset..).zip(buffer) {
            *octet = usize::try_from(at).ok().and_then(|at| self.beginning.get(at).copied()).unwrap_or(0);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A box's beginning: its length, in 64 bits where `large` says so, and its kind.
fn begun(kind: &[u8; 4], len: u64, large: bool) -> Vec<u8> {
    match large {
        true => [&[0, 0, 0, 1][..], kind, &len.to_be_bytes()].concat(),
        false => [&u32::try_from(len).expect("32 bits").to_be_bytes()[..], kind].concat(),
    }
}

#[test]
fn an_index_larger_than_any_real_one_is_refused_before_it_is_read() {
    const MOVIE: u64 = 256 << 20;
    const FRAGMENT: u64 = 16 << 20;
    let film = [file_type(), fragmented_movie()].concat();
    let outcome = |before: &[u8], kind: &[u8; 4], len: u64, large: bool| {
        let beginning = [before, &begun(kind, len, large)].concat();
        let size = before.len() as u64 + len;
        let file = Arc::new(Pretended { beginning, size, most: AtomicUsize::new(0) });
        let outcome = parse(Arc::clone(&file) as Arc<dyn ReadAt>, TitlePath::new("a.mp4").expect("a path"));
        (outcome.expect_err("nothing can be played").to_string(), file.most.load(Ordering::Relaxed))
    };
    for large in [false, true] {
        let (why, most) = outcome(&file_type(), b"moov", MOVIE + 1, large);
        assert!(why.contains("the index (moov) is larger than 256 MB") && most <= 16, "{why}, {most} octets were read");
        let (why, most) = outcome(&film, b"moof", FRAGMENT + 1, large);
        assert!(why.contains("a fragment's index (moof) is larger than 16 MB") && most < 4096, "{why}, {most} octets were read");
        // The largest that are read: nothing is in them.
        let (why, most) = outcome(&film, b"moof", FRAGMENT, large);
        assert!(!why.contains("larger") && most as u64 == FRAGMENT, "{why}, {most} octets were read");
    }
    let (why, most) = outcome(&file_type(), b"moov", 1 << 60, true);
    assert!(why.contains("larger than 256 MB") && most <= 16, "{why}, {most} octets were read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn flipped_bits_never_panic(which in 0usize..3, flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6)) {
        let mut file = match which {
            0 => whole(),
            1 => fragmented(2),
            _ => film(108, &movie(&[picture(&[&[400, 600, 1 << 16], &[400, 200, 1 << 16]]), sound(&[&[500, u32::MAX, 1 << 16], &[0, 0, 1 << 16]])], &[])),
        };
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
        }
        touch(file);
    }

    #[test]
    fn words_put_anywhere_never_panic(which in any::<bool>(), at in any::<prop::sample::Index>(), word in prop_oneof![Just(0u32), Just(1), Just(u32::MAX), Just(i32::MAX as u32), any::<u32>()]) {
        let mut file = if which { whole() } else { fragmented(2) };
        let at = at.index(file.len() - 4);
        file[at..at + 4].copy_from_slice(&word.to_be_bytes());
        touch(file);
    }
}
