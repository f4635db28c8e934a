//! Vorbis: the identification header, the modes at the end of the setup header, and how many samples a packet adds (Vorbis I sections
//! 4.2.2, 4.2.4 and 4.3.8).
//!
//! The setup header is not read from its beginning, where its codebooks lie, but from its end: what lies there is told by its zeros.

/// Bits of a mode, and of those the window type and the transform type, which are zero, and the mapping.
const MODE: usize = 41;
const TYPES: std::ops::Range<usize> = 1..33;
/// Modes that there are at most.
const MAX_MODES: usize = 64;
/// Bits of the number of modes.
const COUNT: usize = 6;

/// An identification header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identification {
    /// Channels.
    pub channels: u8,
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// Samples of a short and of a long block.
    pub block_sizes: [u32; 2],
}

impl Identification {
    /// A header packet; `None` where it is none.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let &[0, 0, 0, 0, channels, a, b, c, d, .., sizes, framing] = octets.strip_prefix(b"\x01vorbis")?.first_chunk::<23>()? else {
            return None;
        };
        let (short, long, sample_rate) = (sizes & 15, sizes >> 4, u32::from_le_bytes([a, b, c, d]));
        let is_sound = channels != 0 && sample_rate != 0 && framing & 1 == 1 && (6..=13).contains(&short) && (short..=13).contains(&long);
        is_sound.then_some(Self { channels, sample_rate, block_sizes: [1 << short, 1 << long] })
    }
}

/// Whether the packet is a setup header.
pub fn is_setup(octets: &[u8]) -> bool {
    octets.starts_with(b"\x05vorbis")
}

/// Which block sizes packets have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    block_sizes: [u32; 2],
    /// For each mode whether its block is long.
    is_long: Vec<bool>,
}

impl Modes {
    /// Of a setup header; `None` where it does not end as one does.
    pub fn parse(identification: &Identification, setup: &[u8]) -> Option<Self> {
        let bits = setup.len().checked_mul(8)?;
        let bit = |at: usize| setup.get(at / 8).is_some_and(|octet| octet >> (at % 8) & 1 == 1);
        // Behind the framing bit there are zeros to the end of the octet.
        let framing = (0..bits).rev().find(|at| bit(*at))?;
        let mut first = framing;
        let mut found = None;
        for count in 1..=MAX_MODES {
            let Some(mode) = first.checked_sub(MODE).filter(|mode| *mode >= COUNT + 7 * 8) else { break };
            if TYPES.clone().any(|at| bit(mode + at)) {
                break;
            }
            first = mode;
            let said = (0..COUNT).fold(0, |said, at| said | usize::from(bit(first - COUNT + at)) << at);
            // The end of what lies before may look like a mode: the greatest number that is right is taken.
            if said + 1 == count {
                found = Some((first, count));
            }
        }
        let (first, count) = found?;
        let is_long = (0..count).map(|mode| bit(first + mode * MODE)).collect();
        Some(Self { block_sizes: identification.block_sizes, is_long })
    }

    /// Samples of the block that a packet has, by its first octet; `None` where it has no sound.
    pub fn block_size(&self, first: u8) -> Option<u32> {
        let last = self.is_long.len().checked_sub(1)?;
        let bits = usize::BITS - last.leading_zeros();
        let mode = usize::from(first >> 1) & ((1 << bits) - 1);
        let is_long = *self.is_long.get(mode).filter(|_| first & 1 == 0)?;
        Some(self.block_sizes[usize::from(is_long)])
    }
}

/// The samples that a packet adds behind one whose block had so many: a quarter of both.
pub const fn duration(block_size: u32, before: u32) -> u32 {
    (block_size + before) / 4
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Stereo at 44.1 kHz with blocks of 256 and 2,048 samples.
    pub(crate) fn identification() -> Vec<u8> {
        [b"\x01vorbis\0\0\0\0\x02\x44\xac\0\0", &[0; 12][..], &[0xb8, 1]].concat()
    }

    /// A setup header with these modes and mappings, some octets before them and so many odd bits.
    pub(crate) fn setup(modes: &[(bool, u8)], odd: usize) -> Vec<u8> {
        let mut bits: Vec<bool> = vec![true; 80 + odd];
        let put = |bits: &mut Vec<bool>, value: usize, count: usize| bits.extend((0..count).map(|at| value >> at & 1 == 1));
        put(&mut bits, modes.len() - 1, 6);
        for (is_long, mapping) in modes {
            put(&mut bits, usize::from(*is_long), 1);
            put(&mut bits, 0, 32);
            put(&mut bits, usize::from(*mapping), 8);
        }
        bits.push(true);
        let octets = bits.chunks(8).map(|octet| octet.iter().rev().fold(0, |value, bit| value << 1 | u8::from(*bit)));
        [b"\x05vorbis".to_vec(), octets.collect()].concat()
    }

    #[test]
    fn the_identification_has_rate_channels_and_block_sizes() {
        let parsed = Identification::parse(&identification()).expect("a header");
        assert_eq!(parsed, Identification { channels: 2, sample_rate: 44_100, block_sizes: [256, 2_048] });
        let broken = |at: usize, value: u8| {
            let mut octets = identification();
            octets[at] = value;
            Identification::parse(&octets)
        };
        for (at, value) in [(0, 3), (7, 1), (11, 0), (28, 0x8b), (28, 0xe8), (28, 0x85), (29, 0)] {
            assert_eq!(broken(at, value), None, "{at}");
        }
        assert_eq!(Identification::parse(&identification()[..29]), None);
    }

    #[test]
    fn modes_are_found_wherever_the_last_octet_ends() {
        let identification = Identification::parse(&identification()).expect("a header");
        for odd in 0..8 {
            let two = Modes::parse(&identification, &setup(&[(false, 0), (true, 1)], odd)).expect("a header");
            assert_eq!(two.is_long, [false, true]);
            let one = Modes::parse(&identification, &setup(&[(true, 0)], odd)).expect("a header");
            assert_eq!((one.block_size(0), one.block_size(0xfe)), (Some(2_048), Some(2_048)));
        }
        let three = Modes::parse(&identification, &setup(&[(false, 0), (true, 0), (true, 3)], 3)).expect("a header");
        assert_eq!([0u8, 2, 4, 6, 1].map(|first| three.block_size(first)), [Some(256), Some(2_048), Some(2_048), None, None]);
        for broken in [&b"\x05vorbis"[..], &[], &[0; 100], &[0xff; 100]] {
            assert_eq!(Modes::parse(&identification, broken), None);
        }
    }

    #[test]
    fn a_packet_adds_a_quarter_of_both_blocks() {
        assert_eq!([duration(256, 256), duration(256, 2_048), duration(2_048, 2_048)], [128, 576, 1_024]);
    }
}
