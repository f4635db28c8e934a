use super::*;
use crate::library::codec::{Codec, SoundFormat};
use crate::library::elementary::vorbis::tests as vorbis;

/// A page with these packets, of which the last one goes on in the next page where it `is_open`.
pub(super) fn page(flags: u8, granule: i64, serial: u32, sequence: u32, packets: &[&[u8]], is_open: bool) -> Vec<u8> {
    let mut table = Vec::new();
    for (number, packet) in packets.iter().enumerate() {
        table.extend(vec![255; packet.len() / 255]);
        if !(is_open && number + 1 == packets.len()) {
            table.push((packet.len() % 255) as u8);
        }
    }
    let numbers = [&granule.to_le_bytes()[..], &serial.to_le_bytes(), &sequence.to_le_bytes(), &[0; 4]].concat();
    [b"OggS\0", &[flags][..], &numbers, &[table.len() as u8], &table, &packets.concat()].concat()
}

const FIRST: u8 = 2;
const CONTINUED: u8 = 1;
const LAST: u8 = 4;

fn opus_head(channels: u8) -> Vec<u8> {
    [b"OpusHead\x01", &[channels][..], &312u16.to_le_bytes(), &[0x80, 0xbb, 0, 0, 0, 0, 0]].concat()
}

/// 20 ms of Opus in so many octets.
fn opus_packet(size: usize, fill: u8) -> Vec<u8> {
    [vec![0xfc], vec![fill; size - 1]].concat()
}

fn opus_headers(serial: u32) -> Vec<u8> {
    [page(FIRST, 0, serial, 0, &[&opus_head(2)], false), page(0, 0, serial, 1, &[b"OpusTags"], false)].concat()
}

fn parse_octets(octets: Vec<u8>) -> Result<Title, Problem> {
    assert!(sniff(&octets));
    parse(Arc::new(octets), TitlePath::new("a.ogg").expect("a path"))
}

/// Decode time, duration and octets of each packet.
fn packets(title: &Title) -> Vec<(i64, u32, Vec<u8>)> {
    let track = &title.tracks[0];
    let packet = |position| {
        let unit = track.access_unit(position).expect("within");
        let mut octets = vec![0; unit.size as usize];
        track.read(title.source.as_ref(), &[unit], &mut octets).expect("lies in the file");
        (unit.decode_time, unit.duration, octets)
    };
    (0..track.len()).map(packet).collect()
}

#[test]
fn packets_are_put_together_over_pages() {
    let (a, b, c) = (opus_packet(100, 1), opus_packet(900, 2), opus_packet(255, 3));
    let other = page(0, 0, 99, 7, &[&[8; 300]], false);
    let file = [
        opus_headers(5),
        page(0, 960, 5, 2, &[&a, &b[..510]], true),
        other,
        page(CONTINUED, -1, 5, 3, &[&b[510..765]], true),
        page(CONTINUED | LAST, 2_700, 5, 4, &[&b[765..], &c], false),
    ];
    let title = parse_octets(file.concat()).expect("sound");
    assert_eq!(title.remark, None);
    assert_eq!(title.tracks[0].codec, Codec::Opus(SoundFormat { sample_rate: 48_000, channels: 2 }));
    assert_eq!(packets(&title), [(-312, 960, a), (648, 960, b), (1_608, 960, c)]);
    assert_eq!(title.duration.to_ticks(title.tracks[0].timescale), 2_700 - 312, "the last page cuts the end off");
}

#[test]
fn a_stream_that_was_cut_out_begins_at_zero_and_holes_are_seen() {
    let packet = opus_packet(50, 1);
    let file = [
        opus_headers(5),
        page(0, 1_000_000, 5, 2, &[&packet, &packet], false),
        page(0, 1_000_960, 5, 3, &[&packet], false),
        page(0, 1_004_800, 5, 6, &[&packet], false),
    ];
    let title = parse_octets(file.concat()).expect("sound");
    assert!(title.remark.is_some());
    let times: Vec<_> = packets(&title).iter().map(|(time, ..)| *time).collect();
    assert_eq!(times, [-312, 648, 1_608, 1_608 + 3_840]);
}

#[test]
fn vorbis_packets_last_as_their_blocks_say() {
    let headers = [vorbis::identification(), b"\x03vorbis\0\0\0\0\0\0\0\0\x01".to_vec(), vorbis::setup(&[(false, 0), (true, 0)], 2)];
    // Short, short, long, long, short.
    let blocks = [0u8, 0, 2, 2, 0].map(|first| vec![first; 20]);
    let file = [
        page(FIRST, 0, 9, 0, &[&headers[0]], false),
        page(0, 0, 9, 1, &[&headers[1], &headers[2]], false),
        page(0, 704, 9, 2, &[&blocks[0], &blocks[1], &blocks[2]], false),
        page(LAST, 2_000, 9, 3, &[&blocks[3], &blocks[4]], false),
    ];
    let title = parse_octets(file.concat()).expect("sound");
    let Codec::Vorbis(config) = &title.tracks[0].codec else { panic!("Vorbis") };
    assert_eq!([&config.identification, &config.comment, &config.setup], [&headers[0], &headers[1], &headers[2]]);
    let times: Vec<_> = packets(&title).iter().map(|(time, duration, _)| (*time, *duration)).collect();
    assert_eq!(times, [(-128, 128), (0, 128), (128, 576), (704, 1_024), (1_728, 576)]);
    assert_eq!(title.duration.to_ticks(title.tracks[0].timescale), 2_000);
    assert_eq!(title.remark, None);
}

#[test]
fn what_is_not_played_is_named() {
    let sound = |serial| page(LAST, 960, serial, 2, &[&opus_packet(9, 1)], false);
    let theora = page(FIRST, 0, 1, 0, &[b"\x80theora..."], false);
    let skeleton = page(FIRST, 0, 2, 0, &[b"fishead\0..."], false);
    let [head, tags] = [page(FIRST, 0, 5, 0, &[&opus_head(2)], false), page(0, 0, 5, 1, &[b"OpusTags"], false)];
    let both = [skeleton.clone(), theora.clone(), head, tags, sound(5)].concat();
    let title = parse_octets(both).expect("sound");
    assert_eq!(
        (title.tracks.len(), title.remark.map(|remark| remark.reason)),
        (1, Some("a track is left out: Theora is not supported".into()))
    );
    let chained = [opus_headers(5), sound(5), opus_headers(6), sound(6)].concat();
    let title = parse_octets(chained).expect("sound");
    assert_eq!(
        (title.tracks[0].len(), title.remark.map(|remark| remark.reason)),
        (1, Some("several streams are chained; only the first is played".into()))
    );
    let why = |octets: Vec<u8>| parse_octets(octets).err().map(|problem| problem.reason);
    assert_eq!(why(theora), Some("a track is left out: Theora is not supported".into()));
    assert_eq!(why(skeleton), Some("the file has no track that can be played".into()));
    assert_eq!(why(page(FIRST, 0, 1, 0, &[b"\x7fFLAC..."], false)), Some("a track is left out: FLAC in Ogg is not supported".into()));
    let mut surround = [opus_head(6), vec![4, 2, 0, 4, 1, 2, 3, 5]].concat();
    surround[18] = 1;
    assert_eq!(why(page(FIRST, 0, 1, 0, &[&surround], false)), Some("a track is left out: Opus with 6 channels is not supported".into()));
    assert_eq!(why(opus_headers(5)), Some("a track is left out: it is empty".into()));
    assert_eq!(
        why(page(FIRST, 0, 1, 0, &[&vorbis::identification()], false)),
        Some("a track is left out: the file is cut short within its headers".into())
    );
}

#[test]
fn what_is_behind_the_last_whole_page_is_named() {
    let sound = |sequence: u32| page(0, 960 * i64::from(sequence - 1), 5, sequence, &[&opus_packet(90, 1)], false);
    let with = |end: &[u8]| {
        let title = parse_octets([&opus_headers(5)[..], &sound(2), &sound(3), end].concat()).expect("sound");
        (title.tracks[0].len(), title.remark.map(|remark| remark.reason))
    };
    assert_eq!(with(&[]), (2, None));
    let next = sound(4);
    for len in [4, 20, 28, 60, next.len() - 1] {
        assert_eq!(with(&next[..len]), (2, Some("the file is cut short".into())), "{len}");
    }
    assert_eq!(with(&next), (3, None));
    assert_eq!(with(&[7; 100]), (2, Some("what lies behind the last page is left out: it is no page".into())));
}

#[test]
fn a_packet_of_which_a_page_is_missing_is_left_out() {
    let (a, b) = (opus_packet(900, 2), opus_packet(50, 3));
    let pages = [
        opus_headers(5),
        page(0, -1, 5, 2, &[&a[..510]], true),
        page(CONTINUED, -1, 5, 3, &[&a[510..765]], true),
        page(CONTINUED, 1_920, 5, 4, &[&a[765..], &b], false),
    ];
    for missing in [1, 2] {
        let file: Vec<u8> = (0..4).filter(|page| *page != missing).flat_map(|page| pages[page].clone()).collect();
        let title = parse_octets(file).expect("sound");
        assert_eq!(packets(&title).into_iter().map(|(.., octets)| octets).collect::<Vec<_>>(), std::slice::from_ref(&b));
        assert!(title.remark.is_some());
    }
}
