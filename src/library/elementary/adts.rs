//! Headers of ADTS frames (ISO/IEC 14496-3 section 1.A.2.2): AAC with a header before each access unit.
//!
//! Frames of several raw data blocks and channels that a program config element lists are not read.

use crate::library::codec::AacConfig;

/// Octets from which a header can be read.
pub const HEADER: usize = 7;
/// Octets of the check behind it, where there is one.
const CRC: usize = 2;
/// Samples of a channel in a frame.
pub const SAMPLES: u32 = 1_024;
/// By sampling_frequency_index (table 1.18).
const RATES: [u32; 13] = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdtsHeader {
    /// The audio object type: 2 for AAC LC.
    pub object_type: u8,
    rate_index: u8,
    /// channel_configuration, 1 to 7.
    pub configuration: u8,
    /// Octets of the header itself.
    pub header_len: usize,
    /// Octets of the frame, the header among them.
    pub frame_len: usize,
}

impl AdtsHeader {
    /// The header at the beginning of `octets`; `None` where there is none, or one that cannot be played.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let &[0xff, second, third, fourth, fifth, sixth, seventh] = octets.first_chunk::<HEADER>()? else { return None };
        if second & 0xf6 != 0xf0 || seventh & 3 != 0 {
            return None;
        }
        let rate_index = third >> 2 & 0xf;
        let header_len = if second & 1 == 0 { HEADER + CRC } else { HEADER };
        let frame_len = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        let configuration = (third & 1) << 2 | fourth >> 6;
        let fits = usize::from(rate_index) < RATES.len() && configuration > 0 && frame_len > header_len;
        fits.then_some(Self { object_type: (third >> 6) + 1, rate_index, configuration, header_len, frame_len })
    }

    /// Samples of a channel in a second, of the core.
    pub fn sample_rate(&self) -> u32 {
        RATES.get(usize::from(self.rate_index)).copied().unwrap_or(RATES[3])
    }

    /// Whether both can be of one stream.
    pub const fn goes_with(&self, other: &Self) -> bool {
        self.object_type == other.object_type && self.rate_index == other.rate_index && self.configuration == other.configuration
    }

    /// What a decoder of the bare access units must know: an AudioSpecificConfig of two octets (section 1.6.2.1).
    pub fn config(&self) -> AacConfig {
        let bits = u16::from(self.object_type) << 11 | u16::from(self.rate_index) << 7 | u16::from(self.configuration) << 3;
        AacConfig {
            audio_specific_config: bits.to_be_bytes().to_vec(),
            sample_rate: self.sample_rate(),
            channels: if self.configuration == 7 { 8 } else { self.configuration },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_becomes_a_configuration() {
        // 48 kHz stereo LC, 199 octets and its header, as ffmpeg writes it.
        let header = AdtsHeader::parse(&[0xff, 0xf1, 0x4c, 0x80, 0x19, 0xdf, 0xfc]).expect("a header");
        assert_eq!((header.frame_len, header.header_len, header.sample_rate()), (206, 7, 48_000));
        assert_eq!(header.config(), AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 });
        let checked = AdtsHeader::parse(&[0xff, 0xf0, 0x50, 0x40, 0x19, 0xdf, 0xfc]).expect("a header");
        assert_eq!((checked.header_len, checked.config().channels, checked.sample_rate()), (9, 1, 44_100));
    }

    #[test]
    fn what_is_no_header_is_told() {
        let right = [0xff, 0xf1, 0x4c, 0x80, 0x19, 0xdf, 0xfc];
        // The layer of MPEG audio, a rate that does not exist, no channels, no room, four raw data blocks.
        for (at, octet) in [(0, 0xfe), (1, 0xfb), (2, 0x7c), (3, 0), (4, 0), (6, 0xff)] {
            let mut wrong = right;
            wrong[at] = octet;
            if at == 4 {
                wrong[3] = 0x80;
                wrong[5] = 0x1f;
            }
            assert_eq!(AdtsHeader::parse(&wrong), None, "{at}");
        }
        assert_eq!(AdtsHeader::parse(&right[..6]), None);
    }
}
