//! The picture that a file carries of itself: a cover, a poster.
//!
//! Where it may stand: `moov.udta.meta.ilst.covr` in MP4, an attached file in Matroska (RFC 9559 section 5.1.6), a PICTURE block in
//! FLAC (RFC 9639 section 8.8), an APIC frame of ID3v2.3 and 2.4, or a PIC frame of 2.2, before MPEG audio. What a file says of its kind is
//! not believed: a picture is what begins as JPEG or PNG does. Others are none, and neither is one of more than [`MAX_OCTETS`].
//!
//! Read on demand, by few small reads and one large: the number of steps is bounded.

mod id3;

use std::ops::Range;

use crate::library::cover::id3::end_of_tag;
use crate::library::title::ReadAt;

/// Octets of a picture at most.
pub const MAX_OCTETS: u64 = 4 << 20;
/// Elements that are looked at in one file.
const MAX_STEPS: u32 = 4096;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Its media type: `image/jpeg` or `image/png`.
    pub kind: &'static str,
    /// Its octets.
    pub octets: Vec<u8>,
}

/// The picture in a file; `None` where it has none, or none that is found within the bounds.
pub fn cover(file: &dyn ReadAt) -> Option<Cover> {
    let mut search = Search { file, size: file.size(), steps: 0 };
    let head: [u8; 12] = search.read(0)?;
    let place = match head {
        [b'I', b'D', b'3', ..] => match search.in_id3(&head) {
            Some(found) => return Some(found),
            None => search.in_flac(end_of_tag(&head)?),
        },
        [b'f', b'L', b'a', b'C', ..] => search.in_flac(0),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => search.in_matroska(),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => search.in_mp4(),
        _ => None,
    }?;
    search.picture(place)
}

/// Octets of a file.
type Place = Range<u64>;

struct Search<'a> {
    file: &'a dyn ReadAt,
    size: u64,
    steps: u32,
}

impl Search<'_> {
    /// So many octets; `None` behind the end, where the system fails, and where enough has been looked at.
    fn read<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return None;
        }
        let mut octets = [0; N];
        self.file.read_exact_at(&mut octets, at).ok()?;
        Some(octets)
    }

    /// A part of a file that is in it.
    fn place(&self, at: u64, len: u64) -> Option<Place> {
        let end = at.checked_add(len)?;
        (end <= self.size).then_some(at..end)
    }

    fn kind(&mut self, place: &Place) -> Option<&'static str> {
        // What tells it is a part of the picture, and not what stands behind a shorter one.
        if place.end.saturating_sub(place.start) < 8 {
            return None;
        }
        kind_of(&self.read(place.start)?)
    }

    /// So many octets of a file; `None` where they are not there.
    fn octets(&self, place: &Place) -> Option<Vec<u8>> {
        let mut octets = vec![0; usize::try_from(place.end.checked_sub(place.start)?).ok()?];
        self.file.read_exact_at(&mut octets, place.start).ok()?;
        Some(octets)
    }

    /// The picture at a place, if it is one.
    fn picture(&mut self, place: Place) -> Option<Cover> {
        let len = place.end - place.start;
        let kind = self.kind(&place).filter(|_| len <= MAX_OCTETS)?;
        Some(Cover { kind, octets: self.octets(&place)? })
    }

    // MP4 (ISO/IEC 14496-12 section 4.2)

    /// The body of the first box of that kind in a body.
    fn box_in(&mut self, body: Place, kind: [u8; 4]) -> Option<Place> {
        let mut at = body.start;
        while at < body.end {
            let head: [u8; 8] = self.read(at)?;
            let [a, b, c, d, name @ ..] = head;
            let (header, len) = match u32::from_be_bytes([a, b, c, d]) {
                0 => (8, body.end - at),
                1 => (16, u64::from_be_bytes(self.read(at + 8)?)),
                small => (8, u64::from(small)),
            };
            let end = at.checked_add(len).filter(|end| len >= header && *end <= body.end)?;
            if name == kind {
                return Some(at + header..end);
            }
            at = end;
        }
        None
    }

    fn in_mp4(&mut self) -> Option<Place> {
        let moov = self.box_in(0..self.size, *b"moov")?;
        let udta = self.box_in(moov, *b"udta")?;
        let meta = self.box_in(udta, *b"meta")?;
        // Version and flags, which QuickTime's own has not.
        let is_full = self.read::<4>(meta.start)? == [0; 4];
        let ilst = self.box_in(meta.start + if is_full { 4 } else { 0 }..meta.end, *b"ilst")?;
        let covr = self.box_in(ilst, *b"covr")?;
        let data = self.box_in(covr, *b"data")?;
        // Type and locale.
        (data.end - data.start > 8).then(|| data.start + 8..data.end)
    }

    // FLAC

    fn in_flac(&mut self, start: u64) -> Option<Place> {
        if &self.read::<4>(start)? != b"fLaC" {
            return None;
        }
        let mut at = start + 4;
        let mut other = None;
        loop {
            let [kind, a, b, c] = self.read(at)?;
            let body = self.place(at + 4, u64::from(u32::from_be_bytes([0, a, b, c])))?;
            if kind & 0x7f == 6
                && let Some((use_of_it, place)) = self.flac_picture(&body)
            {
                // The front cover before any other.
                if use_of_it == 3 {
                    return Some(place);
                }
                other = other.or(Some(place));
            }
            if kind & 0x80 != 0 {
                return other;
            }
            at = body.end;
        }
    }

    /// What a PICTURE block is for, and where its octets are.
    fn flac_picture(&mut self, body: &Place) -> Option<(u32, Place)> {
        let use_of_it = u32::from_be_bytes(self.read(body.start)?);
        let mut at = body.start + 4;
        for behind in [0, 16] {
            // Media type; description, then width, height, depth and colours.
            let len = u32::from_be_bytes(self.read(at)?);
            at = at + 4 + u64::from(len) + behind;
        }
        let len = u32::from_be_bytes(self.read(at)?);
        let place = self.place(at + 4, u64::from(len)).filter(|place| place.end <= body.end)?;
        Some((use_of_it, place))
    }

    // Matroska

    /// The element at a place: its identifier, and its body; one of unknown size reaches to `end`.
    fn element(&mut self, at: u64, end: u64) -> Option<(u64, Place)> {
        let (id, id_len) = self.number(at, 4, true)?;
        let (len, len_len) = self.number(at + id_len, 8, false)?;
        let start = at + id_len + len_len;
        let unknown = (1 << (7 * len_len)) - 1;
        let body_end = if len == unknown { end } else { start.checked_add(len)? };
        (start <= body_end && body_end <= end).then_some((id, start..body_end))
    }

    /// A number of EBML (RFC 8794 section 4) and how many octets it takes; of identifiers the mark stays.
    fn number(&mut self, at: u64, longest: u32, is_id: bool) -> Option<(u64, u64)> {
        let [first] = self.read(at)?;
        let more = first.leading_zeros();
        if more >= longest {
            return None;
        }
        let mut value = u64::from(if is_id { first } else { first & (0x7f >> more) });
        for index in 1..=u64::from(more) {
            let [octet] = self.read(at + index)?;
            value = value << 8 | u64::from(octet);
        }
        Some((value, u64::from(more) + 1))
    }

    /// The body of the first child with that identifier.
    fn child(&mut self, body: &Place, wanted: u64) -> Option<Place> {
        let mut at = body.start;
        while at < body.end {
            let (id, found) = self.element(at, body.end)?;
            if id == wanted {
                return Some(found);
            }
            at = found.end;
        }
        None
    }

    fn unsigned(&mut self, body: &Place) -> Option<u64> {
        let mut value = 0;
        for at in body.clone().take(8) {
            let [octet] = self.read(at)?;
            value = value << 8 | u64::from(octet);
        }
        Some(value)
    }

    fn in_matroska(&mut self) -> Option<Place> {
        const SEGMENT: u64 = 0x1853_8067;
        const SEEK_HEAD: u64 = 0x114d_9b74;
        const CLUSTER: u64 = 0x1f43_b675;
        const ATTACHMENTS: u64 = 0x1941_a469;
        let segment = self.child(&(0..self.size), SEGMENT)?;
        let (mut at, mut told) = (segment.start, None);
        while at < segment.end {
            let (id, body) = self.element(at, segment.end)?;
            match id {
                ATTACHMENTS => return self.attached(&body),
                SEEK_HEAD => told = told.or_else(|| self.sought(&body, ATTACHMENTS)),
                // Behind it only the index of elements leads.
                CLUSTER => break,
                _ => {}
            }
            at = body.end;
        }
        let at = segment.start.checked_add(told?).filter(|at| *at < segment.end)?;
        let (id, body) = self.element(at, segment.end)?;
        if id == ATTACHMENTS { self.attached(&body) } else { None }
    }

    /// Where a SeekHead says that an element is, from the segment's beginning.
    fn sought(&mut self, body: &Place, wanted: u64) -> Option<u64> {
        const SEEK: u64 = 0x4dbb;
        let mut at = body.start;
        while at < body.end {
            let (id, seek) = self.element(at, body.end)?;
            if id == SEEK {
                let named = self.child(&seek, 0x53ab)?;
                if self.unsigned(&named)? == wanted {
                    let position = self.child(&seek, 0x53ac)?;
                    return self.unsigned(&position);
                }
            }
            at = seek.end;
        }
        None
    }

    /// Of what is attached: what is called `cover…`, else the first picture (RFC 9559 section 21.2).
    fn attached(&mut self, body: &Place) -> Option<Place> {
        const ATTACHED_FILE: u64 = 0x61a7;
        let (mut at, mut other) = (body.start, None);
        while at < body.end {
            let (id, file) = self.element(at, body.end)?;
            if id == ATTACHED_FILE
                && let Some(octets) = self.child(&file, 0x465c)
                && self.kind(&octets).is_some()
            {
                let name = self.child(&file, 0x466e).filter(|name| name.end - name.start >= 6);
                let is_cover = name.and_then(|name| self.read::<6>(name.start)).is_some_and(|name| &name == b"cover.");
                if is_cover {
                    return Some(octets);
                }
                other = other.or(Some(octets));
            }
            at = file.end;
        }
        other
    }
}

/// The media type of what begins so.
fn kind_of(begins: &[u8; 8]) -> Option<&'static str> {
    match begins {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'] => Some("image/png"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::library::cover::id3::resynchronised;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand more";

    fn block(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&[kind, len[1], len[2], len[3]], body].concat()
    }

    fn picture(use_of_it: u8, octets: &[u8]) -> Vec<u8> {
        let len = u32::try_from(octets.len()).expect("short").to_be_bytes();
        [&[0, 0, 0, use_of_it, 0, 0, 0, 9][..], b"image/png", &[0, 0, 0, 2], b"hi", &[0; 16], &len, octets].concat()
    }

    #[test]
    fn the_front_cover_goes_before_other_pictures_and_what_is_no_picture_is_none() {
        let other = [PNG, b" of something else"].concat();
        let file = [b"fLaC".to_vec(), block(0, &[0; 34]), block(6, &picture(4, &other)), block(0x86, &picture(3, PNG))].concat();
        assert_eq!(cover(&file), Some(Cover { kind: "image/png", octets: PNG.to_vec() }));
        let file = [b"fLaC".to_vec(), block(6, &picture(4, &other)), block(0x81, &[])].concat();
        assert_eq!(cover(&file).map(|cover| cover.octets), Some(other));
        let html = [b"fLaC".to_vec(), block(0x86, &picture(3, b"<html><script>alert(1)</script>"))].concat();
        assert_eq!(cover(&html), None);
        // Longer than its block.
        let mut file = [b"fLaC".to_vec(), block(0x86, &picture(3, PNG)), vec![0; 64]].concat();
        let at = 4 + 4 + 4 + 4 + 9 + 4 + 2 + 16 + 3;
        assert_eq!(usize::from(file[at]), PNG.len());
        file[at] += 1;
        assert_eq!(cover(&file), None);
        for shorter_than_its_mark in 0..8 {
            file[at] = shorter_than_its_mark;
            assert_eq!(cover(&file), None);
        }
        let large = [PNG, &vec![0; usize::try_from(MAX_OCTETS).expect("small")]].concat();
        assert_eq!(cover(&[b"fLaC".to_vec(), block(0x86, &picture(3, &large))].concat()), None);
    }

    #[test]
    fn a_tag_without_end_and_elements_in_great_number_are_given_up() {
        let tag = |frames: &[u8]| [b"ID3\x04\0\0\x7f\x7f\x7f\x7f".as_slice(), frames].concat();
        assert_eq!(cover(&tag(&b"TXXX\0\0\0\0\0\0".repeat(10_000))), None);
        let many = [b"\0\0\0\x08ftyp".to_vec(), b"\0\0\0\x08free".repeat(10_000), b"\0\0\0\x08moov".to_vec()].concat();
        assert_eq!(cover(&many), None);
    }

    proptest! {
        #[test]
        fn whatever_a_file_says_it_is_read_within_bounds(
            begins in prop::sample::select(vec![
                &b"ID3\x03\0\0\0\0\x10\0APIC"[..], b"ID3\x04\0\x40\0\0\x10\0", b"ID3\x02\0\0\0\0\x10\0PIC\0",
                b"ID3\x02\0\x80\0\0\x02\0PIC\0\0\x40\0PNG\x03\0\x89PNG\r\n\x1a\n", b"ID3\x03\0\xc0\0\0\x02\0",
                b"ID3\x04\0\x80\0\0\x02\0APIC\0\0\0\x40\0\x02\0\0\x03\0\xff\xd8\xff", b"fLaC\x06\0\0\x40", b"fLaC\0\0\0\x01",
                b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x19\x41\xa4\x69", b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x11\x4d\x9b\x74",
                b"\0\0\0\x08ftyp\0\0\0\0moov\0\0\0\0udta\0\0\0\0meta\0\0\0\0\0\0\0\0ilst\0\0\0\0covr",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let file = [begins, &rest].concat();
            if let Some(found) = cover(&file) {
                let is_in = |file: &[u8]| file.windows(found.octets.len()).any(|part| part == found.octets);
                prop_assert!(is_in(&file) || is_in(&resynchronised(file)));
            }
        }
    }
}
