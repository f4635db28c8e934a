//! Headers of FLAC frames (RFC 9639 section 9.1).

/// The most octets that a header has: four, seven of its number, two and two of sizes, its checksum.
pub(super) const MAX_HEADER: usize = 16;

/// Where a frame lies in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// It is the so-manieth, all but the last of one size.
    Frame(u64),
    /// So many samples lie before it.
    Sample(u64),
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) number: Numbering,
    /// Samples of a channel.
    pub(super) samples: u32,
    /// `None` where it is that of the stream.
    pub(super) sample_rate: Option<u32>,
    pub(super) channels: u8,
    pub(super) bits: u8,
}

impl FrameHeader {
    /// The header at the beginning of `octets`, its checksum proven. A header that leaves the bits of its samples to the stream's
    /// description is none here: no writer leaves them, and the decoder does not read it.
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let [0xff, sync @ (0xf8 | 0xf9), sizes, kind, ..] = *octets else { return None };
        if kind & 1 != 0 {
            return None;
        }
        let channels = match kind >> 4 {
            independent @ 0..=7 => independent + 1,
            8..=10 => 2,
            _ => return None,
        };
        let bits = *[0, 8, 12, 0, 16, 20, 24, 32].get(usize::from(kind >> 1 & 7)).filter(|bits| **bits != 0)?;
        let (number, mut at) = number(octets.get(4..)?)?;
        at += 4;
        let mut take = |count: usize| {
            let value = octets.get(at..at + count)?.iter().fold(0u32, |value, octet| value << 8 | u32::from(*octet));
            at += count;
            Some(value)
        };
        let samples = match sizes >> 4 {
            0 => return None,
            1 => 192,
            small @ 2..=5 => 144 << small,
            6 => take(1)? + 1,
            7 => take(2)? + 1,
            large => 1 << large,
        };
        let sample_rate = match sizes & 15 {
            0 => None,
            12 => Some(take(1)? * 1_000),
            13 => Some(take(2)?),
            14 => Some(take(2)? * 10),
            15 => return None,
            named => Some(
                *[0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000].get(usize::from(named))?,
            ),
        };
        // The stream's greatest size is what 16 bits hold.
        if samples > 65_535 || octets.get(at)? != &checksum(octets.get(..at)?) {
            return None;
        }
        let number = if sync & 1 == 0 { Numbering::Frame(number) } else { Numbering::Sample(number) };
        Some(Self { number, samples, sample_rate, channels, bits })
    }

    /// Whether this one is the next behind `before`.
    pub(super) fn follows(&self, before: &Self) -> bool {
        match (self.number, before.number) {
            (Numbering::Frame(this), Numbering::Frame(before)) => this == before + 1,
            (Numbering::Sample(this), Numbering::Sample(start)) => this == start + u64::from(before.samples),
            _ => false,
        }
    }

    /// Whether this one is somewhere behind `before`.
    pub(super) fn is_after(&self, before: &Self) -> bool {
        match (self.number, before.number) {
            (Numbering::Frame(this), Numbering::Frame(before)) => this > before,
            (Numbering::Sample(this), Numbering::Sample(start)) => this >= start + u64::from(before.samples),
            _ => false,
        }
    }
}

/// A number coded like a character of UTF-8, of up to 36 bits, and the octets it takes.
fn number(octets: &[u8]) -> Option<(u64, usize)> {
    let first = *octets.first()?;
    let count = match first.leading_ones() {
        0 => return Some((u64::from(first), 1)),
        count @ 2..=7 => count as usize,
        _ => return None,
    };
    let mut value = u64::from(first) & ((1 << (7 - count)) - 1);
    for octet in octets.get(1..count)? {
        if octet & 0xc0 != 0x80 {
            return None;
        }
        value = value << 6 | u64::from(octet & 0x3f);
    }
    Some((value, count))
}

/// The checksum with the polynomial x^8 + x^2 + x + 1.
fn checksum(octets: &[u8]) -> u8 {
    octets.iter().fold(0, |sum, octet| (0..8).fold(sum ^ octet, |sum, _| if sum & 0x80 != 0 { sum << 1 ^ 7 } else { sum << 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_checksum(octets: &[u8]) -> Vec<u8> {
        [octets, &[checksum(octets)]].concat()
    }

    #[test]
    fn frames_say_where_they_lie_and_how_long_they_are() {
        // The first header of RFC 9639 appendix D.1, and the third example's (D.3.3).
        let first = FrameHeader::parse(&[0xff, 0xf8, 0x69, 0x18, 0x00, 0x00, 0xbf]).expect("a header");
        assert_eq!(first, FrameHeader { number: Numbering::Frame(0), samples: 1, sample_rate: Some(44_100), channels: 2, bits: 16 });
        let other = FrameHeader::parse(&[0xff, 0xf8, 0x68, 0x02, 0x00, 0x17, 0xe9]).expect("a header");
        assert_eq!(other, FrameHeader { number: Numbering::Frame(0), samples: 24, sample_rate: Some(32_000), channels: 1, bits: 8 });
        let table = [
            (vec![0xff, 0xf8, 0xc9, 0xa8, 0x05], Numbering::Frame(5), 4_096, Some(44_100)),
            (vec![0xff, 0xf9, 0xc0, 0xac, 0xf0, 0x90, 0x80, 0x80], Numbering::Sample(0x10000), 4_096, None),
            (vec![0xff, 0xf9, 0x7d, 0xac, 0x00, 0x11, 0x9f, 0x56, 0x22], Numbering::Sample(0), 4_512, Some(22_050)),
            (vec![0xff, 0xf8, 0x5e, 0x18, 0x00, 0x2b, 0x11], Numbering::Frame(0), 4_608, Some(110_250)),
            (vec![0xff, 0xf8, 0x1c, 0x18, 0x00, 0x30], Numbering::Frame(0), 192, Some(48_000)),
        ];
        for (octets, number, samples, rate) in table {
            let header = FrameHeader::parse(&with_checksum(&octets)).unwrap_or_else(|| panic!("{octets:02x?}"));
            assert_eq!((header.number, header.samples, header.sample_rate), (number, samples, rate), "{octets:02x?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let refused = [
            (vec![0xff, 0xf8, 0xc9, 0xa8, 0x05, 0x00], "the checksum"),
            (with_checksum(&[0xff, 0xfa, 0xc9, 0xa8, 0x05]), "the sync code"),
            (with_checksum(&[0xff, 0xf8, 0x09, 0xa8, 0x05]), "the block size"),
            (with_checksum(&[0xff, 0xf8, 0xcf, 0xa8, 0x05]), "the sampling rate"),
            (with_checksum(&[0xff, 0xf8, 0xc9, 0xb8, 0x05]), "the channels"),
            (with_checksum(&[0xff, 0xf8, 0xc9, 0xa6, 0x05]), "the bits"),
            (with_checksum(&[0xff, 0xf8, 0xc9, 0xa0, 0x05]), "bits left to the stream"),
            (with_checksum(&[0xff, 0xf8, 0xc9, 0xa9, 0x05]), "a reserved bit"),
            (with_checksum(&[0xff, 0xf8, 0xc9, 0xa8, 0x85]), "a number without its beginning"),
            (with_checksum(&[0xff, 0xf8, 0xc9, 0xa8, 0xc2, 0x05]), "a number without its end"),
            (with_checksum(&[0xff, 0xf8, 0x79, 0xa8, 0x05, 0xff, 0xff]), "a block of 65,536"),
            (vec![0xff, 0xf8, 0xc9, 0xa8], "the length"),
        ];
        for (octets, why) in refused {
            assert_eq!(FrameHeader::parse(&octets), None, "{why}");
        }
    }

    #[test]
    fn frames_follow_each_other_by_number_or_by_sample() {
        let header = |number, samples| FrameHeader { number, samples, sample_rate: None, channels: 2, bits: 16 };
        assert!(header(Numbering::Frame(6), 9).follows(&header(Numbering::Frame(5), 4_096)));
        assert!(!header(Numbering::Frame(7), 9).follows(&header(Numbering::Frame(5), 4_096)));
        assert!(header(Numbering::Frame(7), 9).is_after(&header(Numbering::Frame(5), 4_096)));
        assert!(header(Numbering::Sample(4_196), 9).follows(&header(Numbering::Sample(100), 4_096)));
        assert!(!header(Numbering::Sample(4_195), 9).is_after(&header(Numbering::Sample(100), 4_096)));
        assert!(!header(Numbering::Frame(1), 9).follows(&header(Numbering::Sample(0), 1)));
    }
}
