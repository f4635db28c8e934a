use proptest::prelude::*;

use super::*;

/// A marker segment.
fn segment_of(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff, marker][..], &(body.len() as u16 + 2).to_be_bytes(), body].concat()
}

fn frame_of(sampling: [u8; 3], tables: [u8; 3], width: u16, height: u16) -> Vec<u8> {
    let [[high, low], [right, left]] = [height.to_be_bytes(), width.to_be_bytes()];
    let [[a, b, c], [d, e, f]] = [sampling, tables];
    segment_of(BASELINE, &[8, high, low, right, left, 3, 1, a, d, 2, b, e, 3, c, f])
}

/// A picture of 4:2:0 with two quantization tables and no Huffman tables, which are the standard ones then.
pub fn picture(scan: &[u8], restart_interval: u16) -> Vec<u8> {
    let tables = [&[0][..], &[1; 64], &[1], &[2; 64]].concat();
    let restarts = if restart_interval > 0 { segment_of(RESTART_INTERVAL, &restart_interval.to_be_bytes()) } else { Vec::new() };
    [&[0xff, START][..], &segment_of(0xe0, b"JFIF\0"), &segment_of(QUANTIZATION_TABLES, &tables), &restarts]
        .concat()
        .into_iter()
        .chain(frame_of([0x22, 0x11, 0x11], [0, 1, 1], 320, 180))
        .chain(segment_of(SCAN, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]))
        .chain(scan.iter().copied())
        .chain([0xff, END])
        .collect()
}

fn replaced(of: &[u8], with: &[u8]) -> Vec<u8> {
    let whole = picture(&[1, 2, 3], 0);
    let at = whole.windows(of.len()).position(|piece| piece == of).expect("it is there");
    [&whole[..at], with, &whole[at + of.len()..]].concat()
}

#[test]
fn a_picture_is_taken_apart() {
    let octets = [picture(&[9, 0xff, 0, 8, 0xff, 0xd0, 7], 4), vec![0; 3]].concat();
    let picture = Picture::parse(&octets).expect("a picture");
    assert_eq!((picture.sampling, picture.width, picture.height, picture.restart_interval), (Sampling::HalfBoth, 320, 180, 4));
    assert_eq!(picture.scan, [9, 0xff, 0, 8, 0xff, 0xd0, 7], "without its end and what is behind");
    assert_eq!(picture.tables.map(|table| (table.is_wide, table.octets.to_vec())), [(false, vec![1; 64]), (false, vec![2; 64])]);
    let uncut = picture_without_end();
    assert_eq!(Picture::parse(&uncut).expect("a picture").scan, [1, 2, 3]);
}

fn picture_without_end() -> Vec<u8> {
    let mut octets = picture(&[1, 2, 3], 0);
    octets.truncate(octets.len() - 2);
    octets
}

#[test]
fn what_lies_behind_a_picture_is_no_part_of_it() {
    let whole = picture(&[1, 2, 3], 0);
    for behind in [&[][..], &[0; 9], &whole, &[0xff, END]] {
        assert_eq!(first_picture(&[&whole, behind].concat()), Ok(&*whole));
    }
    // A small picture in the head, as cameras put it there.
    let head = [&[0xff, START][..], &segment_of(0xe1, &whole), &whole[2..]].concat();
    assert_eq!(first_picture(&head), Ok(&*head));
    for cut in 0..whole.len() {
        assert_eq!(first_picture(&whole[..cut]), Err(JpegProblem::Broken), "{cut}");
    }
}

#[test]
fn what_rtp_cannot_say_is_named() {
    let frame = frame_of([0x22, 0x11, 0x11], [0, 1, 1], 320, 180);
    let why = |with: &[u8]| Picture::parse(&replaced(&frame, with)).map(|picture| picture.sampling);
    assert_eq!(why(&frame_of([0x21, 0x11, 0x11], [0, 1, 1], 320, 180)), Ok(Sampling::HalfAcross));
    assert_eq!(why(&frame_of([0x11, 0x11, 0x11], [0, 1, 1], 320, 180)), Err(JpegProblem::Sampling), "4:4:4");
    assert_eq!(why(&frame_of([0x22, 0x12, 0x12], [0, 1, 1], 320, 180)), Err(JpegProblem::Sampling), "4:2:2 otherwise");
    assert_eq!(why(&frame_of([0x22, 0x11, 0x11], [0, 1, 0], 320, 180)), Err(JpegProblem::Sampling), "a table for each colour");
    assert_eq!(why(&frame_of([0x22, 0x11, 0x11], [0, 1, 3], 320, 180)), Err(JpegProblem::Broken), "a table that is not there");
    assert_eq!(why(&frame_of([0x22, 0x11, 0x11], [0, 0, 0], 320, 180)), Ok(Sampling::HalfBoth), "one table for all");
    assert_eq!(why(&frame_of([0x22, 0x11, 0x11], [0, 1, 1], 2_041, 180)), Err(JpegProblem::Size));
    assert_eq!(why(&frame_of([0x22, 0x11, 0x11], [0, 1, 1], 320, 0)), Err(JpegProblem::Broken));
    assert_eq!(why(&segment_of(BASELINE, &[8, 0, 9, 0, 9, 1, 1, 0x11, 0])), Err(JpegProblem::Sampling), "grey");
    assert_eq!(why(&segment_of(0xc2, &[8])), Err(JpegProblem::Process), "progressive");
    assert_eq!(why(&segment_of(BASELINE, &[12, 0, 9, 0, 9, 3, 1, 0x11, 0])), Err(JpegProblem::Process), "twelve bits");
    assert_eq!(why(&[]), Err(JpegProblem::Broken), "no frame header");
}

#[test]
fn two_fields_are_two_pictures() {
    let fields = [picture(&[1, 2, 3], 0), vec![0; 5], picture(&[4, 5, 6], 0)].concat();
    assert_eq!(Picture::parse(&fields), Err(JpegProblem::Fields));
}

#[test]
fn huffman_tables_must_be_the_standard_ones() {
    let frame = frame_of([0x22, 0x11, 0x11], [0, 1, 1], 320, 180);
    let with = |body: &[u8]| Picture::parse(&replaced(&frame, &[segment_of(HUFFMAN_TABLES, body), frame.clone()].concat())).err();
    // Table K.3.
    let standard = [&[0, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0][..], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]].concat();
    assert_eq!(with(&standard), None);
    assert_eq!(with(&[&standard[..], &standard].concat()), None, "several in a segment");
    assert_eq!(with(&[&[1], &standard[1..]].concat()), Some(JpegProblem::Huffman), "that of the other number");
    assert_eq!(with(&[&standard[..28], &[12]].concat()), Some(JpegProblem::Huffman));
    assert_eq!(with(&standard[..20]), Some(JpegProblem::Broken));
    let scan = segment_of(SCAN, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    let other = segment_of(SCAN, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
    assert_eq!(Picture::parse(&replaced(&scan, &other)), Err(JpegProblem::Huffman), "brightness's tables for colours");
    let alone = segment_of(SCAN, &[1, 1, 0, 0, 63, 0]);
    assert_eq!(Picture::parse(&replaced(&scan, &alone)), Err(JpegProblem::Sampling), "a scan for each component");
}

#[test]
fn a_picture_cut_anywhere_never_panics() {
    let whole = picture(&[1, 2, 3], 7);
    for len in 0..whole.len() {
        let _ = Picture::parse(&whole[..len]);
    }
}

proptest! {
    #[test]
    fn flipped_octets_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut octets = picture(&[1, 2, 3], 7);
        for (at, octet) in flips {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok(picture) = Picture::parse(&octets) {
            prop_assert!(!picture.scan.is_empty());
        }
    }
}
