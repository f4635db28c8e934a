//! Whole files built by hand, element by element.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::parse;
use crate::library::codec::{Codec, PcmSample};
use crate::library::title::{AccessUnit, Problem, ReadAt, Title, TitlePath};
use crate::quantities::MediaTime;

/// An identifier as it is written.
fn identifier(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect()
}

fn element(id: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let size = match content.len() {
        short @ 0..=126 => vec![0x80 | short as u8],
        long => [&[0x10][..], &(long as u32).to_be_bytes()[1..]].concat(),
    };
    [identifier(id), size, content.to_vec()].concat()
}

/// An element's beginning, whose size is unknown.
fn begun(id: u32) -> Vec<u8> {
    [identifier(id), vec![0x01, 255, 255, 255, 255, 255, 255, 255]].concat()
}

fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, value.to_be_bytes())
}

const CONFIGURATION: [u8; 17] = [1, 0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x4d, 0x40, 0x1e, 1, 0, 2, 0x68, 0xee];

fn track(id: u64, kind: u64, codec: &str, private: &[u8], more: &[u8]) -> Vec<u8> {
    let private = if private.is_empty() { Vec::new() } else { element(0x63a2, private) };
    element(0xae, [&number(0xd7, id)[..], &number(0x83, kind), &element(0x86, codec), &private, more].concat())
}

fn picture(more: &[u8]) -> Vec<u8> {
    let size = element(0xe0, [number(0xb0, 320), number(0xba, 180)].concat());
    track(1, 1, "V_MPEG4/ISO/AVC", &CONFIGURATION, &[&size[..], &element(0x22_b59c, "und"), more].concat())
}

/// What an entry says of sound.
fn heard(rate: f64, channels: u64, bits: u64) -> Vec<u8> {
    element(0xe1, [element(0xb5, rate.to_be_bytes()), number(0x9f, channels), number(0x6264, bits)].concat())
}

fn sound(more: &[u8]) -> Vec<u8> {
    track(2, 2, "A_AAC", &[0x11, 0x90], &[&heard(48_000.0, 2, 0)[..], more].concat())
}

fn block(track: u8, time: i16, flags: u8, octets: &[u8]) -> Vec<u8> {
    [&[0x80 | track][..], &time.to_be_bytes(), &[flags], octets].concat()
}

fn simple(track: u8, time: i16, flags: u8, octets: &[u8]) -> Vec<u8> {
    element(0xa3, block(track, time, flags, octets))
}

fn head() -> Vec<u8> {
    element(0x1a45_dfa3, element(0x4282, "matroska"))
}

fn cluster(time: u64, blocks: &[Vec<u8>]) -> Vec<u8> {
    element(0x1f43_b675, [number(0xe7, time), blocks.concat()].concat())
}

fn described(tracks: &[Vec<u8>]) -> Vec<u8> {
    [element(0x1549_a966, number(0x2a_d7b1, 1_000_000)), element(0x1654_ae6b, tracks.concat())].concat()
}

fn film(tracks: &[Vec<u8>], clusters: &[Vec<u8>]) -> Vec<u8> {
    [head(), element(0x1853_8067, [described(tracks), clusters.concat()].concat())].concat()
}

fn read(file: Vec<u8>) -> Result<Title, Problem> {
    parse(Arc::new(file), TitlePath::new("a.mkv").expect("a path"))
}

fn units(title: &Title, track: usize) -> Vec<AccessUnit> {
    let track = &title.tracks[track];
    (0..track.len()).filter_map(|position| track.access_unit(position)).collect()
}

fn octets(title: &Title, track: usize) -> Vec<Vec<u8>> {
    let one = |unit: AccessUnit| {
        let mut octets = vec![0; unit.size as usize];
        title.tracks[track].read(title.source.as_ref(), &[unit], &mut octets).expect("within the file");
        octets
    };
    units(title, track).into_iter().map(one).collect()
}

/// When access units are shown, in milliseconds.
fn shown(title: &Title, track: usize) -> Vec<i64> {
    let track = &title.tracks[track];
    let times = (0..track.len()).filter_map(|position| track.access_unit(position)).map(|unit| track.presentation_time(&unit));
    times.map(|time| (time.as_seconds() * 1e3).round() as i64).collect()
}

fn reason(file: Vec<u8>) -> String {
    read(file).expect_err("nothing plays").reason
}

fn remark(title: &Title) -> &str {
    title.remark.as_ref().map_or("", |remark| &remark.reason)
}

/// Two clusters: pictures I P B, P I in a group each or not, sound between them.
fn clusters() -> Vec<Vec<u8>> {
    let group = |time: i16, fill: u8, refers: bool| {
        let reference = if refers { element(0xfb, [0xff]) } else { Vec::new() };
        element(0xa0, [element(0xa1, block(1, time, 0, &[fill; 9])), number(0x9b, 40), reference].concat())
    };
    vec![
        cluster(1_000, &[simple(1, 0, 0x80, &[1; 5]), simple(2, 0, 0x80, &[11; 3]), simple(1, 80, 0, &[2; 6]), simple(1, 40, 0, &[3; 7])]),
        cluster(1_100, &[simple(2, -79, 0x80, &[12; 4]), group(20, 4, true), group(60, 5, false)]),
    ]
}

fn whole() -> Vec<u8> {
    film(&[picture(&[]), sound(&element(0x22_b59c, "ger"))], &clusters())
}

#[test]
fn blocks_become_access_units_with_their_place_time_and_key() {
    let title = read(whole()).expect("sound");
    assert_eq!(title.remark, None);
    assert_eq!(octets(&title, 0), [vec![1; 5], vec![2; 6], vec![3; 7], vec![4; 9], vec![5; 9]]);
    assert_eq!(octets(&title, 1), [vec![11; 3], vec![12; 4]]);
    assert_eq!(shown(&title, 0), [0, 80, 40, 120, 160], "from the earliest block on");
    assert_eq!(units(&title, 0).iter().map(|unit| unit.random_access).collect::<Vec<_>>(), [true, false, false, false, true]);
    let decoded: Vec<i64> = units(&title, 0).iter().map(|unit| unit.decode_time).collect();
    assert_eq!(decoded, [-1_000, 0, 1_000, 2_000, 3_000], "25,000 ticks a second, one picture before");
    assert_eq!(units(&title, 1).iter().map(|unit| unit.presentation_time).collect::<Vec<_>>(), [0, 1_024]);
    assert_eq!((title.tracks[0].language.as_deref(), title.tracks[1].language.as_deref()), (None, Some("ger")));
    assert!((title.duration.as_seconds() - 0.2).abs() < 1e-6, "{:?}", title.duration);
}

#[test]
fn unknown_sizes_and_what_is_no_media_make_no_difference() {
    // Its size has one octet, or four.
    let blocks = |cluster: &[u8]| cluster[if cluster[4] & 0x80 != 0 { 5 } else { 8 }..].to_vec();
    let clusters = clusters();
    let noise = [
        element(0x114d_9b74, [7; 30]), // a SeekHead that lies
        element(0xec, [0; 200]),
        element(0x1043_a770, element(0x45b9, [9; 4])),
    ];
    let live = [
        head(),
        begun(0x1853_8067),
        noise.concat(),
        described(&[picture(&element(0xbf, [1, 2, 3, 4])), sound(&element(0x22_b59c, "ger"))]),
        begun(0x1f43_b675),
        element(0xbf, [1, 2, 3, 4]),
        blocks(&clusters[0]),
        element(0xa7, [1]),
        begun(0x1f43_b675),
        blocks(&clusters[1]),
        element(0x1c53_bb6b, [0; 50]),
        element(0x1254_c367, [0; 50]),
    ];
    let (live, known) = (read(live.concat()).expect("sound"), read(whole()).expect("sound"));
    assert_eq!(live.remark, None);
    for track in 0..2 {
        assert_eq!((octets(&live, track), shown(&live, track)), (octets(&known, track), shown(&known, track)));
    }
}

#[test]
fn frames_that_share_a_block_are_taken_apart() {
    let frames = [vec![1; 300], vec![2; 5], vec![3; 260]];
    let joined = frames.concat();
    let xiph = [&[2, 255, 45, 5][..], &joined].concat();
    let ebml = [&[2, 0x41, 0x2c, 0x5e, 0xd8][..], &joined].concat();
    let fixed = [&[2][..], &[1; 4], &[2; 4], &[3; 4]].concat();
    let title =
        read(film(&[sound(&[])], &[cluster(0, &[simple(2, 0, 0x82, &xiph), simple(2, 64, 0x86, &ebml), simple(2, 128, 0x84, &fixed)])]));
    let title = title.expect("sound");
    let equal = [vec![1; 4], vec![2; 4], vec![3; 4]];
    assert_eq!(octets(&title, 0), [&frames[..], &frames, &equal].concat());
    assert_eq!(
        units(&title, 0).iter().map(|unit| unit.presentation_time).collect::<Vec<_>>(),
        (0..9).map(|at| at * 1_024).collect::<Vec<_>>()
    );
    let broken = film(&[sound(&[])], &[cluster(0, &[simple(2, 0, 0x80, &[1; 4]), simple(2, 64, 0x82, &[9, 255, 255])])]);
    let title = read(broken).expect("plays");
    assert_eq!((title.tracks[0].len(), remark(&title)), (1, "the file is damaged in 1 place: 9 octets are passed over"));
}

fn encoding(kind: u64, scope: u64, algorithm: u64, settings: &[u8]) -> Vec<u8> {
    let compression = element(0x5034, [number(0x4254, algorithm), element(0x4255, settings)].concat());
    element(0x6240, [number(0x5032, scope), number(0x5033, kind), compression].concat())
}

#[test]
fn stripped_headers_are_put_back() {
    let stripped = sound(&element(0x6d80, encoding(0, 1, 3, &[0xde, 0xad])));
    let blocks = [simple(2, 0, 0x80, &[1; 3]), simple(2, 21, 0x82, &[1, 1, 9, 8, 8])];
    let title = read(film(&[stripped], &[cluster(0, &blocks)])).expect("sound");
    assert_eq!(octets(&title, 0), [vec![0xde, 0xad, 1, 1, 1], vec![0xde, 0xad, 9], vec![0xde, 0xad, 8, 8]]);
    let twice = [encoding(0, 1, 3, &[1]), encoding(0, 1, 3, &[2])].concat();
    let title = read(film(&[sound(&element(0x6d80, twice))], &[cluster(0, &blocks)])).expect("sound");
    assert_eq!(octets(&title, 0)[1], [2, 1, 9], "the highest order is undone first");
}

#[test]
fn what_cannot_be_sent_is_left_out_and_named() {
    let entries = [
        (sound(&element(0x6d80, encoding(0, 1, 0, &[]))), "the audio track is left out: its frames are compressed"),
        (sound(&element(0x6d80, encoding(1, 1, 3, &[]))), "the audio track is left out: it is encrypted"),
        (sound(&element(0x6d80, encoding(0, 2, 3, &[]))), "the audio track is left out: its private data is compressed"),
        (track(2, 2, "A_FLAC", &[], &[]), "the audio track is left out: A_FLAC is not supported"),
        (track(2, 2, "A_\u{1b}[1m", &[], &[]), "the audio track is left out: A_?[1m is not supported"),
        (track(2, 2, "", &[], &[]), "the audio track is left out: its coding is not told"),
        (track(2, 2, "A_OPUS", b"OpusHead\x01\x06", &[]), "the audio track is left out: Opus of 6 channels cannot be sent in RTP"),
        (track(2, 2, "A_AAC", &[], &[]), "the audio track is left out: its MPEG-4 audio configuration is missing"),
        (track(2, 2, "A_AC3", &[], &heard(0.0, 2, 0)), "the audio track is left out: its sampling rate is impossible"),
        (track(2, 2, "A_PCM/INT/LIT", &[], &heard(48_000.0, 2, 32)), "the audio track is left out: PCM of 32 bits is not supported"),
        (track(2, 2, "A_VORBIS", &[2, 1, 1, 0, 0, 0], &[]), "the audio track is left out: its Vorbis headers are broken"),
        (track(2, 1, "V_MPEG4/ISO/AVC", &[], &[]), "the video track is left out: its H.264 configuration is missing"),
        (track(2, 1, "V_MPEGH/ISO/HEVC", &[1], &[]), "the video track is left out: its H.265 configuration is broken"),
        (track(2, 17, "S_TEXT/UTF8", &[], &[]), "the subtitle track (eng) is left out: S_TEXT/UTF8 is not supported"),
        (track(3, 2, "A_AC3", &[], &[]), "the audio track is empty"),
    ];
    for (entry, why) in entries {
        let title = read(film(&[picture(&[]), entry.clone()], &clusters())).expect("the pictures play");
        assert_eq!((title.tracks.len(), remark(&title)), (1, why));
        assert_eq!(reason(film(&[entry], &clusters())), why);
    }
    let title = read(film(&[picture(&[]), track(2, 33, "D_WEBVTT/METADATA", &[], &[])], &clusters())).expect("the pictures play");
    assert_eq!((title.tracks.len(), title.remark), (1, None), "metadata is no media");
}

#[test]
fn languages_are_those_that_players_show() {
    let language = |more: &[u8]| read(film(&[sound(more)], &clusters())).expect("sound").tracks[0].language.clone();
    let (old, new) = (|tag: &str| element(0x22_b59c, tag), |tag: &str| element(0x22_b59d, tag));
    assert_eq!(language(&old("ger")).as_deref(), Some("ger"));
    assert_eq!(language(&[old("ger"), new("de-CH")].concat()).as_deref(), Some("de-CH"));
    assert_eq!(language(&[old("ger"), new("und")].concat()), None);
    assert_eq!(language(&[]).as_deref(), Some("eng"), "the standard's default");
    assert_eq!((language(&old("und")), language(&old("a\r\nb")), language(&old(""))), (None, None, None));
}

#[test]
fn codings_are_told_by_name_and_private_data() {
    let codec = |entry: Vec<u8>| read(film(&[entry], &clusters())).expect("sound").tracks[0].codec.clone();
    let Codec::Aac(config) = codec(track(2, 2, "A_AAC/MPEG4/LC/SBR", &[], &heard(24_000.0, 2, 0))) else { panic!("AAC") };
    assert_eq!((config.audio_specific_config, config.sample_rate, config.channels), (vec![0x13, 0x10], 24_000, 2));
    let Codec::Opus(format) = codec(track(2, 2, "A_OPUS", b"OpusHead\x01\x01", &heard(16_000.0, 2, 0))) else { panic!("Opus") };
    assert_eq!((format.sample_rate, format.channels), (48_000, 1));
    for (name, bits, sample) in [
        ("A_PCM/INT/LIT", 8, PcmSample::Unsigned8),
        ("A_PCM/INT/LIT", 16, PcmSample::Little16),
        ("A_PCM/INT/BIG", 16, PcmSample::Big16),
        ("A_PCM/INT/LIT", 24, PcmSample::Little24),
    ] {
        let Codec::Pcm(config) = codec(track(2, 2, name, &[], &heard(44_100.0, 2, bits))) else { panic!("PCM") };
        assert_eq!((config.sample, config.sample_rate, config.channels), (sample, 44_100, 2));
    }
    let vp9 = |first: u8| {
        let size = element(0xe0, [number(0xb0, 16), number(0xba, 16)].concat());
        let film = film(&[track(1, 1, "V_VP9", &[], &size)], &[cluster(0, &[simple(1, 0, 0x80, &[first, 0x49])])]);
        let Codec::Vp9(config) = read(film).expect("plays").tracks[0].codec.clone() else { panic!("VP9") };
        config.profile
    };
    // The lower bit of the profile comes first.
    assert_eq!([0x82, 0xa2, 0x92, 0xb0].map(vp9), [0, 1, 2, 3]);
    let identification = [&b"\x01vorbis\0\0\0\0\x02"[..], &44_100u32.to_le_bytes(), &[0; 14]].concat();
    let comment = [&b"\x03vorbis"[..], &[7; 300]].concat();
    let setup = b"\x05vorbis...".to_vec();
    let private = [&[2, identification.len() as u8, 255, (comment.len() - 255) as u8][..], &identification, &comment, &setup].concat();
    let Codec::Vorbis(config) = codec(track(2, 2, "A_VORBIS", &private, &[])) else { panic!("Vorbis") };
    assert_eq!((config.sample_rate, config.channels), (44_100, 2));
    assert_eq!((config.identification, config.comment, config.setup), (identification, comment, setup));
}

#[test]
fn the_encoders_delay_lies_before_zero() {
    let opus = track(2, 2, "A_OPUS", b"OpusHead\x01\x02", &[number(0x56aa, 6_500_000), number(0x56bb, 80_000_000)].concat());
    let blocks = [simple(1, 0, 0x80, &[1; 5]), simple(2, 0, 0x80, &[0xfc; 3]), simple(2, 20, 0x80, &[0xfc; 3])];
    let title = read(film(&[picture(&[]), opus], &[cluster(5_000, &blocks)])).expect("sound");
    assert_eq!(units(&title, 1).iter().map(|unit| unit.presentation_time).collect::<Vec<_>>(), [-312, 648]);
    assert_eq!(shown(&title, 0), [0]);
}

#[test]
fn a_track_without_random_access_points_begins_at_its_first_picture() {
    let title = read(film(&[picture(&[])], &[cluster(0, &[simple(1, 0, 0, &[1; 5]), simple(1, 40, 0, &[1; 5])])])).expect("plays");
    assert_eq!(title.tracks[0].random_access_at_or_before(MediaTime::from_seconds(0.04)), Some(0));
    assert!(remark(&title).contains("no random access point"));
}

#[test]
fn pictures_of_jpeg_that_cannot_be_sent_are_left_out() {
    let size = element(0xe0, [number(0xb0, 16), number(0xba, 16)].concat());
    let with = |picture: &[u8]| {
        let tracks = [track(1, 1, "V_MJPEG", &[], &size), sound(&[])];
        read(film(&tracks, &[cluster(0, &[simple(1, 0, 0x80, picture), simple(2, 0, 0x80, &[1; 4])])])).expect("sound")
    };
    let right = crate::library::jpeg::tests::picture(&[1, 2, 3], 0);
    let title = with(&right);
    assert_eq!((title.tracks.len(), remark(&title)), (2, ""));
    let title = with(&[1; 40]);
    assert_eq!(title.tracks.iter().map(|track| track.codec.name()).collect::<Vec<_>>(), ["aac"]);
    assert!(remark(&title).starts_with("the video track is left out: "), "{}", remark(&title));
}

#[test]
fn files_that_end_early_or_are_damaged_say_so() {
    let file = whole();
    let last = file.len() - 12;
    let title = read(file[..last].to_vec()).expect("plays");
    assert_eq!((title.tracks[0].len(), remark(&title)), (4, "the file is cut short"));
    assert_eq!(reason(file[..60].to_vec()), "the file is cut short: it ends before its tracks are described");
    assert_eq!(reason(head()), "the file describes no tracks");
    assert_eq!(reason(film(&[], &clusters())), "the file describes no tracks");
    let behind = film(&[sound(&[])], &[cluster(0, &[simple(2, 0, 0x80, &[1; 4])]), vec![0; 100]]);
    let title = read(behind).expect("plays");
    assert_eq!((title.tracks[0].len(), remark(&title)), (1, "the file is damaged; it plays up to there"));
    let title = read([whole(), whole()].concat()).expect("plays");
    assert_eq!((title.tracks[0].len(), remark(&title)), (5, "what follows the first segment is left out"));
}

/// What is damaged costs the rest of its cluster at most.
#[test]
fn behind_what_is_damaged_it_goes_on_with_the_next_cluster() {
    let frame = |time: i16, fill: u8| simple(2, time, 0x80, &[fill; 4]);
    let with = |damaged: Vec<Vec<u8>>| {
        let clusters = [cluster(0, &[frame(0, 1)]), cluster(1_000, &damaged), cluster(2_000, &[frame(0, 3), frame(21, 4)])];
        let title = read(film(&[sound(&[])], &clusters)).expect("plays");
        let fills: Vec<u8> = octets(&title, 0).iter().map(|frame| frame[0]).collect();
        let said = remark(&title).split(':').next().unwrap_or_default().to_owned();
        assert_eq!(shown(&title, 0).last(), Some(&2_021));
        (fills, said)
    };
    let one = "the file is damaged in 1 place";
    assert_eq!(with(vec![frame(0, 2)]), (vec![1, 2, 3, 4], String::new()));
    // No element, also where something like a cluster follows that is none.
    for noise in [vec![0; 100], [&[0; 9][..], &identifier(0x1f43_b675), &[0x85, 1, 2, 3, 4, 5]].concat()] {
        assert_eq!(with(vec![frame(0, 2), noise, frame(21, 9)]), (vec![1, 2, 3, 4], one.into()));
    }
    // An element that claims to be longer than the file, in a cluster and in a group.
    assert_eq!(with(vec![frame(0, 2), vec![0xa3, 0x10, 0xff, 0xff, 0xff], frame(21, 9)]), (vec![1, 2, 3, 4], one.into()));
    let group = element(0xa0, [0xa1, 0x10, 0xff, 0xff, 0xff]);
    // Of a block that is damaged within, and is as long as it claims, only that is lost.
    assert_eq!(
        with(vec![group, frame(0, 2), simple(2, 0, 0x82, &[9, 255, 255]), frame(21, 8)]),
        (vec![1, 2, 8, 3, 4], "the file is damaged in 2 places".into())
    );
}

#[test]
fn the_search_behind_damage_has_a_limit() {
    let start = [head(), begun(0x1853_8067), described(&[picture(&[])]), cluster(0, &[simple(1, 0, 0x80, &[1; 5])])].concat();
    let file = Arc::new(Hollow { pieces: vec![(0, start)], size: 8 << 30, octets_read: AtomicUsize::new(0) });
    let title = parse(Arc::clone(&file) as Arc<dyn ReadAt>, TitlePath::new("a.mkv").expect("a path")).expect("plays");
    assert_eq!((title.tracks[0].len(), remark(&title)), (1, "the file is damaged; it plays up to there"));
    assert!(file.octets_read.load(Ordering::Relaxed) < 65 << 20, "{:?}", file.octets_read);
}

/// However often something like a cluster comes, and whatever it leads to, a file is read little more than once.
#[test]
fn what_only_looks_like_clusters_costs_no_more_than_the_file() {
    let start = [head(), begun(0x1853_8067), described(&[picture(&[])]), cluster(0, &[simple(1, 0, 0x80, &[1; 5])])].concat();
    let id = identifier(0x1f43_b675);
    // A time of nine octets; blocks that claim a frame of more octets than they have, and to be as long as the file.
    let no_time = [&id[..], &[0xff, 0xe7, 0x89]].concat();
    let laced = [&id[..], &[0xff, 0xa3, 0x10, 0x20, 0, 0, 0x81, 0, 0, 0x02, 0xff]].concat();
    for (what, hostile, most) in [("no content", id, 3), ("no time", no_time, 6), ("laced", laced, 40)] {
        let noise = [vec![0; 9], hostile.repeat((4 << 20) / hostile.len())].concat();
        let size = (start.len() + noise.len()) as u64;
        let pieces = vec![(0, [&start[..], &noise].concat())];
        let file = Arc::new(Hollow { pieces, size, octets_read: AtomicUsize::new(0) });
        let title = parse(Arc::clone(&file) as Arc<dyn ReadAt>, TitlePath::new("a.mkv").expect("a path")).expect("plays");
        assert!(remark(&title).contains("damaged"), "{what}: {}", remark(&title));
        let octets_read = file.octets_read.load(Ordering::Relaxed) as u64;
        assert!(octets_read < size * most, "{what}: {octets_read} of {size}");
    }
}

/// A file of which only some pieces are there: what is read between them is zero.
struct Hollow {
    pieces: Vec<(u64, Vec<u8>)>,
    size: u64,
    octets_read: AtomicUsize,
}

impl ReadAt for Hollow {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.octets_read.fetch_add(buffer.len(), Ordering::Relaxed);
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        for (start, piece) in &self.pieces {
            for at in offset.max(*start)..end.min(start + piece.len() as u64) {
                buffer[(at - offset) as usize] = piece[(at - start) as usize];
            }
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

#[test]
fn what_frames_carry_is_not_read() {
    const FRAME: u64 = 50 << 20;
    let start = [head(), begun(0x1853_8067), described(&[picture(&[])]), begun(0x1f43_b675), number(0xe7, 0)].concat();
    let mut at = start.len() as u64;
    let mut pieces = vec![(0, start)];
    for time in 0..100 {
        let header = [&[0xa3, 0x08][..], &(FRAME as u32 + 4).to_be_bytes(), &block(1, time * 40, 0x80, &[])].concat();
        // A size of five octets.
        let length = header.len() as u64;
        pieces.push((at, header));
        at += length + FRAME;
    }
    let file = Arc::new(Hollow { pieces, size: at, octets_read: AtomicUsize::new(0) });
    let title = parse(Arc::clone(&file) as Arc<dyn ReadAt>, TitlePath::new("a.mkv").expect("a path")).expect("sound");
    assert_eq!((title.tracks[0].len(), title.remark), (100, None));
    assert!(file.octets_read.load(Ordering::Relaxed) < 200_000, "{:?} of {at}", file.octets_read);
}

#[test]
fn absurd_sizes_and_counts_are_refused_before_memory_is_taken() {
    let claims = |id: u32| [head(), begun(0x1853_8067), identifier(id), vec![0x08, 0x40, 0, 0, 0]].concat();
    for id in [0x1654_ae6b, 0x1549_a966] {
        let beginning = claims(id);
        let file = Arc::new(Hollow { pieces: vec![(0, beginning)], size: 2 << 30, octets_read: AtomicUsize::new(0) });
        let outcome = parse(Arc::clone(&file) as Arc<dyn ReadAt>, TitlePath::new("a.mkv").expect("a path"));
        assert_eq!(outcome.expect_err("absurd").reason, "the file is damaged before its tracks are described");
        assert!(file.octets_read.load(Ordering::Relaxed) < 10_000);
    }
    // 256 empty frames in each block: more than the file has octets.
    let empty = vec![simple(2, 0, 0x84, &[255]); 500];
    assert_eq!(reason(film(&[sound(&[])], &[cluster(0, &empty)])), "the file claims more access units than are taken");
    let title = read(film(&[sound(&[])], &[cluster(u64::MAX, &[simple(2, i16::MAX, 0x80, &[1; 4])])])).expect("plays");
    assert_eq!(shown(&title, 0), [0]);
}

/// Reads everything an index says; what it says must hold.
fn touch(file: Vec<u8>) {
    let size = file.len() as u64;
    let Ok(title) = read(file) else { return };
    for (position, track) in title.tracks.iter().enumerate() {
        assert!(!track.is_empty());
        let units = units(&title, position);
        assert!(units.windows(2).all(|pair| pair[0].decode_time <= pair[1].decode_time));
        assert!(units.iter().all(|unit| unit.offset <= size));
        assert!(units.iter().any(|unit| unit.random_access));
        for at in [i64::MIN, -1, 0, 1, 500_000_000, i64::MAX].map(MediaTime::from_nanos) {
            let start = track.random_access_at_or_before(at).expect("there is one");
            assert!(units[start].random_access);
            assert!(track.first_shown_at(at) <= units.len());
        }
        track.bitrate();
        octets(&title, position);
    }
}

/// A file with lacing, stripping and groups.
fn varied() -> Vec<u8> {
    let stripped = sound(&element(0x6d80, encoding(0, 1, 3, &[0xde, 0xad])));
    let laced = [simple(2, 0, 0x82, &[2, 3, 1, 9, 9, 9, 9, 9]), simple(2, 64, 0x86, &[1, 0x82, 7, 7, 7]), simple(2, 128, 0x84, &[1, 5, 5])];
    film(&[picture(&number(0x23_e383, 40_000_000)), stripped], &[clusters()[0].clone(), cluster(2_000, &laced), clusters()[1].clone()])
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    for file in [whole(), varied()] {
        for len in 0..file.len() {
            touch(file[..len].to_vec());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn flipped_bits_never_panic(which in any::<bool>(), flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6)) {
        let mut file = if which { whole() } else { varied() };
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
        }
        touch(file);
    }

    #[test]
    fn words_put_anywhere_never_panic(which in any::<bool>(), at in any::<prop::sample::Index>(), word in prop_oneof![Just(0u32), Just(1), Just(u32::MAX), any::<u32>()]) {
        let mut file = if which { whole() } else { varied() };
        let at = at.index(file.len() - 4);
        file[at..at + 4].copy_from_slice(&word.to_be_bytes());
        touch(file);
    }
}
