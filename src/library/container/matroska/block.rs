//! Blocks: the header before the frames, and their sizes where several share a block. Read first: RFC 9559 sections 10.1 to 10.3.

use smallvec::SmallVec;

use crate::library::container::matroska::ebml::number;

/// Octets of a header without lacing at most: track number, time, flags.
pub const MAX_HEADER: usize = 11;
const KEY: u8 = 0x80;

/// What stands before the frames of a block.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// The track's number.
    pub track: u64,
    /// Its time, in ticks after its cluster's.
    pub time: i16,
    /// Whether a SimpleBlock says that decoding can start at it.
    pub is_key: bool,
    /// How its frames share it; `None` where there is one.
    pub lacing: Option<Lacing>,
    /// Octets of it.
    pub len: usize,
}

/// How the sizes of frames in one block are told (section 10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacing {
    /// Each but the last as a sum of octets.
    Xiph,
    /// The first, and differences.
    Ebml,
    /// All have the same.
    Fixed,
}

impl Lacing {
    /// How many octets the sizes of frames may take that have `octets` together, more than there are at most.
    pub fn longest(self, octets: u64) -> usize {
        let xiph = 1 + 255 + usize::try_from(octets / 255).unwrap_or(usize::MAX / 2);
        match self {
            Self::Xiph => xiph,
            Self::Ebml => 1 + 255 * 8,
            Self::Fixed => 1,
        }
    }

    /// The sizes of frames that share the rest of a block, and the octets before the first one. `octets` begin behind the header,
    /// `rest` is how many the block has from there on.
    ///
    /// `None` where they do not fit the block.
    pub fn sizes(self, octets: &[u8], rest: u64) -> Option<(Sizes, usize)> {
        let (&count, mut told) = octets.split_first()?;
        let but_last = usize::from(count);
        let mut sizes = Sizes::new();
        match self {
            Self::Fixed => {
                let frames = rest.checked_sub(1)?;
                let size = frames.checked_div(but_last as u64 + 1).filter(|size| size * (but_last as u64 + 1) == frames)?;
                sizes.resize(but_last + 1, u32::try_from(size).ok()?);
                return Some((sizes, 1));
            }
            Self::Xiph => {
                for _ in 0..but_last {
                    sizes.push(xiph_size(&mut told)?);
                }
            }
            Self::Ebml => ebml_sizes(&mut told, but_last, &mut sizes)?,
        }
        let before = octets.len() - told.len();
        let known: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        let last = rest.checked_sub(before as u64)?.checked_sub(known)?;
        sizes.push(u32::try_from(last).ok()?);
        Some((sizes, before))
    }
}

/// The sizes of frames.
pub type Sizes = SmallVec<[u32; 16]>;

/// Octets of 255, and one that is less.
pub fn xiph_size(octets: &mut &[u8]) -> Option<u32> {
    let mut size: u32 = 0;
    loop {
        let octet = *octets.split_off_first()?;
        size = size.checked_add(u32::from(octet))?;
        if octet < 255 {
            return Some(size);
        }
    }
}

fn ebml_sizes(octets: &mut &[u8], count: usize, sizes: &mut Sizes) -> Option<()> {
    let mut size: i64 = 0;
    for position in 0..count {
        let (told, len) = number(octets)?;
        *octets = octets.get(len..)?;
        let told = i64::try_from(told).ok()?;
        // Differences are signed by an offset (section 10.3.3).
        let difference = if position == 0 { told } else { told - ((1i64 << (7 * len - 1)) - 1) };
        size = size.checked_add(difference)?;
        sizes.push(u32::try_from(size).ok()?);
    }
    Some(())
}

impl Header {
    /// Reads it; `None` where it is cut short.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (track, len) = number(octets)?;
        let &[high, low, flags, ..] = octets.get(len..)? else { return None };
        let lacing = match flags >> 1 & 3 {
            0 => None,
            1 => Some(Lacing::Xiph),
            2 => Some(Lacing::Fixed),
            _ => Some(Lacing::Ebml),
        };
        Some(Self { track, time: i16::from_be_bytes([high, low]), is_key: flags & KEY != 0, lacing, len: len + 3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read() {
        let header = Header::parse(&[0x81, 0xff, 0xfe, 0x80, 9]).expect("sound");
        assert_eq!(header, Header { track: 1, time: -2, is_key: true, lacing: None, len: 4 });
        let header = Header::parse(&[0x41, 0x00, 0, 5, 0x06]).expect("sound");
        assert_eq!(header, Header { track: 256, time: 5, is_key: false, lacing: Some(Lacing::Ebml), len: 5 });
        assert_eq!(Header::parse(&[0x81, 0, 0]), None);
    }

    #[test]
    fn laced_sizes_are_those_of_the_standards_examples() {
        // RFC 9559 sections 10.3.2 to 10.3.4: frames of 800, 500 and 1,000 octets; three of 800.
        let (sizes, before) = Lacing::Xiph.sizes(&[2, 255, 255, 255, 35, 255, 245, 0], 2_300 + 7).expect("they fit");
        assert_eq!((&sizes[..], before), (&[800, 500, 1_000][..], 7));
        let (sizes, before) = Lacing::Ebml.sizes(&[2, 0x43, 0x20, 0x5e, 0xd3, 0], 2_300 + 5).expect("they fit");
        assert_eq!((&sizes[..], before), (&[800, 500, 1_000][..], 5));
        let (sizes, before) = Lacing::Fixed.sizes(&[2], 2_400 + 1).expect("they fit");
        assert_eq!((&sizes[..], before), (&[800, 800, 800][..], 1));
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        assert_eq!(Lacing::Xiph.sizes(&[1, 10], 11), None);
        assert_eq!(Lacing::Xiph.sizes(&[1, 255], 400), None, "cut short");
        assert_eq!(Lacing::Ebml.sizes(&[2, 0x81, 0x80], 400), None, "a size below zero");
        assert_eq!(Lacing::Fixed.sizes(&[1], 4), None, "no equal parts");
        assert_eq!(Lacing::Fixed.sizes(&[], 4), None);
        assert_eq!(Lacing::Ebml.sizes(&[1, 0x85], 7).map(|(sizes, _)| sizes.to_vec()), Some(vec![5, 0]));
    }

    proptest! {
        #[test]
        fn sizes_fill_the_block(noise in proptest::collection::vec(any::<u8>(), 0..64), rest in 0u64..100_000) {
            for lacing in [Lacing::Xiph, Lacing::Ebml, Lacing::Fixed] {
                if let Some((sizes, before)) = lacing.sizes(&noise, rest) {
                    prop_assert_eq!(sizes.iter().map(|size| u64::from(*size)).sum::<u64>() + before as u64, rest);
                    prop_assert!(before <= lacing.longest(rest));
                }
            }
            let _ = Header::parse(&noise);
        }
    }
}
