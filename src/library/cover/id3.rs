//! The picture in an ID3v2 tag (id3.org, "ID3 tag version 2" sections 3 and 4.15, "ID3 tag version 2.3.0" and "2.4.0 - Main Structure"
//! sections 3 to 6).
//!
//! What was put in so that nothing looks like MPEG audio is taken out again: before 2.4 of the tag as a whole, of which no more is read
//! than one with a picture of [`MAX_OCTETS`] takes, in 2.4 of a frame. Compressed, encrypted and grouped frames are passed over.

use crate::library::cover::{Cover, MAX_OCTETS, Place, Search, kind_of};

/// What stands before the octets in an APIC frame is not longer.
const MAX_DESCRIPTION: u64 = 1024;
/// Octets that are read of what is unsynchronised: one in eight may have been put in.
const MAX_UNSYNCHRONISED: u64 = MAX_OCTETS + MAX_OCTETS / 8;

/// Which ID3v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Two,
    Three,
    Four,
}

/// What a tag's header says.
#[derive(Clone, Copy)]
struct Tag {
    version: Version,
    /// Whether an extended header stands before the frames.
    extended: bool,
    /// Whether every frame is unsynchronised, of 2.4.
    every: bool,
}

/// A frame with a picture.
struct Apic {
    /// What the picture is of; 3 is the front cover.
    use_of_it: u8,
    /// Behind its header.
    body: Place,
    /// Octets of the description, as they are without what was put in.
    before: usize,
    is_unsynchronised: bool,
}

impl Search<'_> {
    /// The picture of a tag that begins a file with this.
    pub(super) fn in_id3(&mut self, head: &[u8; 12]) -> Option<Cover> {
        let [_, _, _, version, _, flags, ..] = *head;
        let version = Version::of(version)?;
        let end = end_of_tag(head)?.min(self.size);
        let is_unsynchronised = flags & 0x80 != 0;
        // In 2.2 it says that the tag is compressed, in a way that was never settled.
        if version == Version::Two && flags & 0x40 != 0 {
            return None;
        }
        let tag = Tag { version, extended: flags & 0x40 != 0, every: is_unsynchronised };
        // Before 2.4 it is the tag, with its frames' headers. Who only says so has put nothing in.
        if is_unsynchronised && version != Version::Four {
            let octets = self.octets(&(10..end.min(10 + MAX_UNSYNCHRONISED)))?;
            if is_synchronised(&octets) {
                let octets = resynchronised(octets);
                let mut search = Search { size: octets.len() as u64, file: &octets, steps: self.steps };
                let Apic { body, before, .. } = search.in_tag(tag, 0..search.size)?;
                return whole(octets, usize::try_from(body.start).ok()? + before, usize::try_from(body.end).ok()?);
            }
        }
        let Apic { body, before, is_unsynchronised, .. } = self.in_tag(tag, 10..end)?;
        if !is_unsynchronised {
            return self.picture(body.start + u64::try_from(before).ok()?..body.end);
        }
        if body.end - body.start > MAX_UNSYNCHRONISED {
            return None;
        }
        let octets = self.octets(&body)?;
        let octets = if is_synchronised(&octets) { resynchronised(octets) } else { octets };
        let (_, before) = version.description(&octets)?;
        let end = octets.len();
        whole(octets, before, end)
    }

    /// The frame with the picture, in the octets behind a tag's header.
    fn in_tag(&mut self, tag: Tag, Place { start: mut at, end }: Place) -> Option<Apic> {
        let version = tag.version;
        if tag.extended {
            // In 2.3 its size does not count itself.
            at += version.size(self.read(at)?) + if version == Version::Three { 4 } else { 0 };
        }
        let mut other: Option<Apic> = None;
        while at.checked_add(version.header()).is_some_and(|body| body <= end) {
            let Some((name, len, how)) = self.frame(version, at) else { break };
            let Some(body) = self.place(at + version.header(), len).filter(|body| name[0] != 0 && body.end <= end) else { break };
            at = body.end;
            if name == *b"APIC"
                && let Some(apic) = self.apic(tag, body, how)
            {
                if apic.use_of_it == 3 {
                    return Some(apic);
                }
                other = other.or(Some(apic));
            }
        }
        other
    }

    /// A frame's name as 2.3 has it, its length, and its second octet of flags.
    fn frame(&mut self, version: Version, at: u64) -> Option<([u8; 4], u64, u8)> {
        if version == Version::Two {
            let [a, b, c, len @ ..] = self.read::<6>(at)?;
            let name = if [a, b, c] == *b"PIC" { *b"APIC" } else { [a, b, c, b' '] };
            return Some((name, version.size([0, len[0], len[1], len[2]]), 0));
        }
        let [a, b, c, d, e, f, g, h, _, how] = self.read::<10>(at)?;
        Some(([a, b, c, d], version.size([e, f, g, h]), how))
    }

    fn apic(&self, tag: Tag, mut body: Place, how: u8) -> Option<Apic> {
        let mut is_unsynchronised = false;
        match tag.version {
            // Neither compressed nor encrypted, nor of a group.
            Version::Two | Version::Three if how != 0 => return None,
            Version::Two | Version::Three => {}
            Version::Four if how & !0x03 != 0 => return None,
            Version::Four => {
                is_unsynchronised = tag.every || how & 0x02 != 0;
                // How long it is without what was put in: its four octets are below 0x80.
                body.start += if how & 0x01 == 0 { 0 } else { 4 };
            }
        }
        let mut head = self.octets(&(body.start..body.end.min(body.start.saturating_add(MAX_DESCRIPTION))))?;
        if is_unsynchronised && is_synchronised(&head) {
            head = resynchronised(head);
        }
        let (use_of_it, before) = tag.version.description(&head)?;
        (body.start + u64::try_from(before).ok()? < body.end).then_some(Apic { use_of_it, body, before, is_unsynchronised })
    }
}

impl Version {
    const fn of(octet: u8) -> Option<Self> {
        match octet {
            2 => Some(Self::Two),
            3 => Some(Self::Three),
            4 => Some(Self::Four),
            _ => None,
        }
    }

    /// Octets of a frame's header.
    const fn header(self) -> u64 {
        if matches!(self, Self::Two) { 6 } else { 10 }
    }

    fn size(self, octets: [u8; 4]) -> u64 {
        if self == Self::Four { synchsafe(octets) } else { u64::from(u32::from_be_bytes(octets)) }
    }

    /// What a picture is of, and how many octets of its frame stand before it.
    fn description(self, frame: &[u8]) -> Option<(u8, usize)> {
        let (coding, rest) = frame.split_first()?;
        // Three letters, or a media type that ends with zero.
        let kind = if self == Self::Two { 3 } else { rest.iter().position(|octet| *octet == 0)? + 1 };
        let (use_of_it, description) = rest.get(kind..)?.split_first()?;
        // UTF-16 ends with two octets of zero, at an even place.
        let described = match coding {
            1 | 2 => description.chunks_exact(2).position(|pair| pair == [0, 0]).map(|pairs| 2 * pairs + 2),
            _ => description.iter().position(|octet| *octet == 0).map(|len| len + 1),
        }?;
        Some((*use_of_it, 1 + kind + 1 + described))
    }
}

/// The picture between two places in octets that are in memory, if it is one.
fn whole(mut octets: Vec<u8>, start: usize, end: usize) -> Option<Cover> {
    octets.truncate(end);
    let kind = kind_of(octets.get(start..)?.first_chunk()?)?;
    octets.drain(..start);
    octets.shrink_to_fit();
    (octets.len() as u64 <= MAX_OCTETS).then_some(Cover { kind, octets })
}

/// Whether no octets look like MPEG audio: then those that would have may have been parted. Who says so of others has not done it.
fn is_synchronised(octets: &[u8]) -> bool {
    octets.windows(2).all(|pair| !matches!(pair, [0xff, 0xe0..=0xff]))
}

/// Without the zero that was put behind each octet of ones (section 5 of 2.3, 6.1 of 2.4).
pub(super) fn resynchronised(mut octets: Vec<u8>) -> Vec<u8> {
    let mut before = 0;
    octets.retain(|octet| {
        let is_put_in = before == 0xff && *octet == 0;
        before = *octet;
        !is_put_in
    });
    octets
}

/// Four times seven bits.
fn synchsafe(octets: [u8; 4]) -> u64 {
    octets.iter().fold(0, |value, octet| value << 7 | u64::from(octet & 0x7f))
}

/// Where a tag ends that begins a file.
pub(super) fn end_of_tag(head: &[u8; 12]) -> Option<u64> {
    let size = synchsafe(*head.get(6..10)?.first_chunk()?);
    let footer = if head[5] & 0x10 != 0 { 10 } else { 0 };
    Some(10 + size + footer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::library::cover::cover;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand more";
    /// JPEG with octets of ones before zeros, and before what looks like MPEG audio.
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and \xff\0\0 and \xff\xff\xff\xd9";

    /// As taggers write it where nothing may look like MPEG audio.
    fn unsynchronised(octets: &[u8]) -> Vec<u8> {
        let mut parted = Vec::new();
        for (index, &octet) in octets.iter().enumerate() {
            parted.push(octet);
            if octet == 0xff && octets.get(index + 1).is_none_or(|next| *next == 0 || *next >= 0xe0) {
                parted.push(0);
            }
        }
        parted
    }

    fn seven_bits(len: usize) -> [u8; 4] {
        [21, 14, 7, 0].map(|shift| u8::try_from(len >> shift & 0x7f).expect("seven bits"))
    }

    fn tag(version: u8, flags: u8, frames: &[u8]) -> Vec<u8> {
        [&[b'I', b'D', b'3', version, 0, flags][..], &seven_bits(frames.len()), frames, &[0xff, 0xfb, 0x90, 0, 0, 0]].concat()
    }

    /// A frame of 2.2.
    fn two(name: &str, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).expect("short").to_be_bytes();
        [name.as_bytes(), &len[1..], body].concat()
    }

    fn three(name: &str, flags: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).expect("short").to_be_bytes();
        [name.as_bytes(), &len, &[0, flags], body].concat()
    }

    fn four(name: &str, flags: u8, body: &[u8]) -> Vec<u8> {
        [name.as_bytes(), &seven_bits(body.len()), &[0, flags], body].concat()
    }

    /// What stands in a frame of 2.3 and 2.4, and in one of 2.2; the description is in UTF-16, with its mark.
    fn apic(use_of_it: u8, octets: &[u8]) -> Vec<u8> {
        [b"\x01image/jpeg\0", &[use_of_it][..], b"\xff\xfeh\0\0\x01\0\0", octets].concat()
    }

    fn pic(use_of_it: u8, octets: &[u8]) -> Vec<u8> {
        [b"\0JPG", &[use_of_it][..], b"hi\0", octets].concat()
    }

    #[track_caller]
    fn has(file: &[u8], octets: &[u8]) {
        assert_eq!(
            cover(&file.to_vec()),
            Some(Cover { kind: kind_of(octets.first_chunk().expect("long")).expect("one"), octets: octets.to_vec() })
        );
    }

    #[test]
    fn a_tag_of_2_2_has_its_picture_in_a_frame_of_its_own() {
        let title = two("TT2", b"\0a title");
        has(&tag(2, 0, &[title.clone(), two("PIC", &pic(0, JPEG))].concat()), JPEG);
        let wide = [b"\x01PNG\x03\xff\xfeh\0\0\x01\0\0", PNG].concat();
        has(&tag(2, 0, &[two("PIC", &pic(4, JPEG)), title, two("PIC", &wide), vec![0; 64]].concat()), PNG);
        let linked = [b"\0-->\x03\0".as_slice(), b"http://127.0.0.1/cover.png"].concat();
        assert_eq!(cover(&tag(2, 0, &two("PIC", &linked))), None);
        assert_eq!(cover(&tag(2, 0x40, &two("PIC", &pic(3, JPEG)))), None, "compressed");
        // What stands in front is not lost by what is broken behind it.
        has(&tag(2, 0, &[two("PIC", &pic(4, JPEG)), b"PIC\xff\xff\xff\0".to_vec()].concat()), JPEG);
        for len in 0..two("PIC", &pic(3, PNG)).len() {
            let cut = tag(2, 0, &two("PIC", &pic(3, PNG))[..len]);
            assert_eq!(cover(&cut), None, "{len}");
        }
    }

    #[test]
    fn what_is_unsynchronised_is_put_together_again() {
        let title = three("TIT2", 0, b"\x01\xff\xfea\0");
        let frames = [title.clone(), three("APIC", 0, &apic(3, JPEG)), three("TALB", 0, b"\x01\xff\xfeb\0")].concat();
        has(&tag(3, 0x80, &unsynchronised(&frames)), JPEG);
        let extended = [b"\0\0\0\x06\0\0\0\0\0\xff".as_slice(), &frames].concat();
        has(&tag(3, 0xc0, &unsynchronised(&extended)), JPEG);
        has(&tag(2, 0x80, &unsynchronised(&[two("TT2", b"\x01\xff\xfea\0"), two("PIC", &pic(3, JPEG))].concat())), JPEG);
        // Of 2.4 it is the frame, whose length counts what was put in; how long it is without may stand before it.
        let body = unsynchronised(&apic(3, JPEG));
        let told = [&seven_bits(apic(3, JPEG).len()), body.as_slice()].concat();
        let title = four("TIT2", 0x02, &unsynchronised(b"\x01\xff\xfea\0"));
        for (flags, frame) in [
            (0, four("APIC", 0x02, &body)),
            (0, four("APIC", 0x03, &told)),
            (0x80, four("APIC", 0x03, &told)),
            (0x80, four("APIC", 0, &body)),
        ] {
            has(&tag(4, flags, &[title.clone(), frame].concat()), JPEG);
        }
        has(&tag(4, 0, &four("APIC", 0x01, &[&seven_bits(apic(3, JPEG).len()), apic(3, JPEG).as_slice()].concat())), JPEG);
        // Some say so, and have put nothing in.
        has(&tag(3, 0x80, &frames), JPEG);
        has(&tag(4, 0x80, &four("APIC", 0, &apic(3, JPEG))), JPEG);
        for compressed_encrypted_of_a_group in [0x08, 0x04, 0x40] {
            assert_eq!(cover(&tag(4, 0, &four("APIC", compressed_encrypted_of_a_group, &apic(3, JPEG)))), None);
        }
        for len in 0..14 {
            assert_eq!(cover(&tag(4, 0, &four("APIC", 0x03, &told[..len]))), None, "{len}");
        }
    }

    #[test]
    fn of_what_is_unsynchronised_so_much_is_read() {
        let filled = |len: u64| [PNG, &vec![0xff; usize::try_from(len).expect("small") - PNG.len()]].concat();
        let parted = |octets: &[u8]| [b"\0PNG\x03\0".to_vec(), octets.to_vec()].concat();
        let large = filled(MAX_OCTETS / 2);
        has(&tag(4, 0, &four("APIC", 0x02, &unsynchronised(&[b"\0image/png\0\x03\0", large.as_slice()].concat()))), &large);
        has(&tag(2, 0x80, &unsynchronised(&two("PIC", &parted(&large)))), &large);
        for len in [MAX_OCTETS * 3 / 4, MAX_OCTETS, MAX_OCTETS + 1] {
            let larger = filled(len);
            assert_eq!(
                cover(&tag(4, 0, &four("APIC", 0x02, &unsynchronised(&[b"\0image/png\0\x03\0", larger.as_slice()].concat())))),
                None
            );
            assert_eq!(cover(&tag(2, 0x80, &unsynchronised(&two("PIC", &parted(&larger))))), None);
        }
        let behind =
            [three("PRIV", 0, &vec![0; usize::try_from(MAX_UNSYNCHRONISED).expect("small")]), three("APIC", 0, &apic(3, JPEG))].concat();
        assert_eq!(cover(&tag(3, 0x80, &unsynchronised(&behind))), None);
        has(&tag(3, 0, &behind), JPEG);
    }

    proptest! {
        #[test]
        fn a_picture_comes_out_as_it_went_in(
            rest in prop::collection::vec(prop_oneof![Just(0xff_u8), Just(0), Just(0xe0), any::<u8>()], 4..300),
            version in 2_u8..=4,
        ) {
            let picture = [b"\xff\xd8\xff\xe0".as_slice(), &rest].concat();
            let file = match version {
                2 => tag(2, 0x80, &unsynchronised(&two("PIC", &pic(3, &picture)))),
                3 => tag(3, 0x80, &unsynchronised(&three("APIC", 0, &apic(3, &picture)))),
                _ => tag(4, 0, &four("APIC", 0x02, &unsynchronised(&apic(3, &picture)))),
            };
            prop_assert_eq!(cover(&file).map(|cover| cover.octets), Some(picture));
        }
    }
}
