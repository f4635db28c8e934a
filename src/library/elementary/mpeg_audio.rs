//! Headers of MPEG audio frames, layers I to III (ISO/IEC 11172-3 section 2.4.1.3, ISO/IEC 13818-3 section 2.4.1.3, and the
//! unofficial MPEG 2.5 for rates below 16 kHz).
//!
//! Free format is refused: its frames do not say how long they are.

use crate::library::codec::SoundFormat;

/// Octets of a frame header.
pub const HEADER: usize = 4;
/// No frame has more octets than layer II at 384 kbit/s and 32 kHz, or MPEG 2.5 layer II at 160 kbit/s and 8 kHz: 2,880 and a slot.
pub const MAX_FRAME: usize = 2_881;

/// Sampling rates of MPEG 1, by the header's index; the others halve them.
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];
/// Kilobits a second by version, layer and the header's index. No layer of the lower rates differs but layer I.
const MPEG1_LAYER1: [u16; 15] = [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448];
const MPEG1_LAYER2: [u16; 15] = [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
const MPEG1_LAYER3: [u16; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const MPEG2_LAYER1: [u16; 15] = [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256];
const MPEG2_LAYERS: [u16; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// Which standard the rates are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// ISO/IEC 11172-3.
    Mpeg1,
    /// ISO/IEC 13818-3, lower sampling rates.
    Mpeg2,
    /// Half of those again.
    Mpeg25,
}

/// The layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// I.
    One,
    /// II.
    Two,
    /// III.
    Three,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which standard the rates are of.
    pub version: Version,
    /// The layer.
    pub layer: Layer,
    /// Bits per second.
    pub bit_rate: u32,
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// One or two.
    pub channels: u8,
    /// Whether the frame is one slot longer.
    pub is_padded: bool,
    /// Whether two octets of CRC follow the header.
    pub has_crc: bool,
}

impl FrameHeader {
    /// The header at the beginning of `octets`; `None` where there is none, or one of free format.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let &[0xff, kind, rates, channels] = octets.first_chunk::<HEADER>()? else { return None };
        let version = match kind >> 3 & 3 {
            _ if kind >> 5 != 7 => return None,
            0 => Version::Mpeg25,
            2 => Version::Mpeg2,
            3 => Version::Mpeg1,
            _ => return None,
        };
        let (layer, table) = match (kind >> 1 & 3, version) {
            (3, Version::Mpeg1) => (Layer::One, &MPEG1_LAYER1),
            (2, Version::Mpeg1) => (Layer::Two, &MPEG1_LAYER2),
            (1, Version::Mpeg1) => (Layer::Three, &MPEG1_LAYER3),
            (3, _) => (Layer::One, &MPEG2_LAYER1),
            (2, _) => (Layer::Two, &MPEG2_LAYERS),
            (1, _) => (Layer::Three, &MPEG2_LAYERS),
            _ => return None,
        };
        let kilobits = *table.get(usize::from(rates >> 4)).filter(|rate| **rate != 0)?;
        let divisor = match version {
            Version::Mpeg1 => 1,
            Version::Mpeg2 => 2,
            Version::Mpeg25 => 4,
        };
        // Emphasis 2 is reserved.
        if channels & 3 == 2 {
            return None;
        }
        Some(Self {
            version,
            layer,
            bit_rate: u32::from(kilobits) * 1_000,
            sample_rate: SAMPLE_RATES.get(usize::from(rates >> 2 & 3))? / divisor,
            channels: if channels >> 6 == 3 { 1 } else { 2 },
            is_padded: rates & 2 != 0,
            has_crc: kind & 1 == 0,
        })
    }

    /// Samples of a channel in the frame.
    pub const fn samples(&self) -> u32 {
        match (self.layer, self.version) {
            (Layer::One, _) => 384,
            (Layer::Three, Version::Mpeg2 | Version::Mpeg25) => 576,
            _ => 1_152,
        }
    }

    /// Octets of the frame, its header among them.
    pub const fn frame_len(&self) -> usize {
        let slot = if matches!(self.layer, Layer::One) { 4 } else { 1 };
        let slots = self.samples() / 8 / slot * self.bit_rate / self.sample_rate + self.is_padded as u32;
        (slots * slot) as usize
    }

    /// Octets from the frame's beginning to where layer III's side information ends: a description of the whole file
    /// (Xing, Info) stands there where a first frame has one.
    pub const fn side_info_end(&self) -> usize {
        let side_info = match (self.version, self.channels) {
            (Version::Mpeg1, 1) => 17,
            (Version::Mpeg1, _) => 32,
            (_, 1) => 9,
            _ => 17,
        };
        HEADER + side_info + if self.has_crc { 2 } else { 0 }
    }

    /// Whether both can be frames of one stream: bit rate, padding and stereo coding may change from frame to frame.
    pub fn goes_with(&self, other: &Self) -> bool {
        (self.version, self.layer, self.sample_rate) == (other.version, other.layer, other.sample_rate)
    }

    /// What is heard.
    pub const fn sound_format(&self) -> SoundFormat {
        SoundFormat { sample_rate: self.sample_rate, channels: self.channels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers as encoders write them, and what they say: bits per second, hertz, channels, samples, octets.
    #[test]
    fn frames_say_how_long_they_are() {
        let table = [
            ([0xff, 0xfb, 0x90, 0x64], (128_000, 44_100, 2, 1_152, 417)),
            ([0xff, 0xfb, 0x92, 0x64], (128_000, 44_100, 2, 1_152, 418)),
            ([0xff, 0xfb, 0xe4, 0xc4], (320_000, 48_000, 1, 1_152, 960)),
            ([0xff, 0xf3, 0x84, 0xc4], (64_000, 24_000, 1, 576, 192)),
            ([0xff, 0xe3, 0x18, 0xc4], (8_000, 8_000, 1, 576, 72)),
            ([0xff, 0xfd, 0xc4, 0x04], (256_000, 48_000, 2, 1_152, 768)),
            ([0xff, 0xfd, 0xe8, 0x04], (384_000, 32_000, 2, 1_152, 1_728)),
            ([0xff, 0xff, 0xc0, 0x04], (384_000, 44_100, 2, 384, 416)),
            ([0xff, 0xff, 0xc2, 0x04], (384_000, 44_100, 2, 384, 420)),
            ([0xff, 0xe5, 0xea, 0x04], (160_000, 8_000, 2, 1_152, MAX_FRAME)),
        ];
        for (octets, expected) in table {
            let header = FrameHeader::parse(&octets).unwrap_or_else(|| panic!("{octets:02x?}"));
            let says = (header.bit_rate, header.sample_rate, header.channels, header.samples(), header.frame_len());
            assert_eq!(says, expected, "{octets:02x?}");
        }
    }

    #[test]
    fn side_information_depends_on_version_channels_and_crc() {
        let end = |octets: [u8; 4]| FrameHeader::parse(&octets).expect("a header").side_info_end();
        assert_eq!(end([0xff, 0xfb, 0x90, 0x64]), 36);
        assert_eq!(end([0xff, 0xfb, 0x90, 0xc4]), 21);
        assert_eq!(end([0xff, 0xf3, 0x84, 0x04]), 21);
        assert_eq!(end([0xff, 0xf3, 0x84, 0xc4]), 13);
        assert_eq!(end([0xff, 0xfa, 0x90, 0x64]), 38);
    }

    #[test]
    fn what_is_no_frame_or_does_not_say_its_length_is_refused() {
        let refused: [(&[u8], &str); 9] = [
            (&[0xff, 0xfb, 0x00, 0x64], "free format"),
            (&[0xff, 0xfb, 0xf0, 0x64], "no bit rate"),
            (&[0xff, 0xfb, 0x9c, 0x64], "no sampling rate"),
            (&[0xff, 0xf9, 0x90, 0x64], "layer 0, which ADTS has"),
            (&[0xff, 0xeb, 0x90, 0x64], "no version"),
            (&[0xff, 0xfb, 0x90, 0x66], "no emphasis"),
            (&[0xff, 0xdb, 0x90, 0x64], "no sync"),
            (&[0xfe, 0xfb, 0x90, 0x64], "no sync"),
            (&[0xff, 0xfb, 0x90], "cut short"),
        ];
        for (octets, why) in refused {
            assert_eq!(FrameHeader::parse(octets), None, "{why}");
        }
    }

    #[test]
    fn no_header_says_more_than_the_limit_nor_less_than_itself() {
        for kind in 0xe0..=0xff {
            for rates in 0..=0xff {
                for channels in [0x00, 0xc0] {
                    if let Some(header) = FrameHeader::parse(&[0xff, kind, rates, channels]) {
                        assert!((HEADER + 1..=MAX_FRAME).contains(&header.frame_len()), "{header:?}");
                        assert!(header.goes_with(&header));
                    }
                }
            }
        }
    }
}
