//! Opus: the identification header (RFC 7845 section 5.1) and how long a packet lasts (RFC 6716 section 3.1).
//!
//! The header's output gain is left alone: nothing in RTP carries it.

use crate::library::codec::SoundFormat;

/// Samples a second of Opus timestamps, whatever the sound was sampled with.
pub const SAMPLE_RATE: u32 = 48_000;
/// The longest packet, in samples: 120 ms.
const LONGEST: u32 = 5_760;

/// An identification header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusHead {
    /// Channels that are heard.
    pub channels: u8,
    /// Samples at the beginning that are decoded and not heard.
    pub pre_skip: u16,
    /// How many Opus streams each packet has.
    pub streams: u8,
}

impl OpusHead {
    /// A header packet; `None` where it is none.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let &[version, channels, skip_low, skip_high, _, _, _, _, _, _, family] = octets.strip_prefix(b"OpusHead")?.first_chunk::<11>()?;
        // The upper four bits are those of incompatible versions.
        if version >> 4 != 0 || channels == 0 {
            return None;
        }
        let streams = match family {
            0 if channels <= 2 => 1,
            0 => return None,
            _ => *octets.get(19)?,
        };
        Some(Self { channels, pre_skip: u16::from_le_bytes([skip_low, skip_high]), streams })
    }

    /// What is heard.
    pub const fn sound_format(&self) -> SoundFormat {
        SoundFormat { sample_rate: SAMPLE_RATE, channels: self.channels }
    }
}

/// How many samples at 48 kHz a packet has, by its first octet and, where that says so, its second; `None` for what is no packet.
pub fn duration(octets: &[u8]) -> Option<u32> {
    let toc = *octets.first()?;
    let frame = match toc >> 3 {
        silk @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(silk & 3)],
        hybrid @ 12..=15 => [480, 960][usize::from(hybrid & 1)],
        celt => 120 << (celt & 3),
    };
    let count = match toc & 3 {
        0 => 1,
        3 => u32::from(octets.get(1)? & 0x3f),
        _ => 2,
    };
    Some(frame * count).filter(|samples| (1..=LONGEST).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_is_heard() {
        let stereo = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        assert_eq!(OpusHead::parse(stereo), Some(OpusHead { channels: 2, pre_skip: 312, streams: 1 }));
        let surround = b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05";
        assert_eq!(OpusHead::parse(surround), Some(OpusHead { channels: 6, pre_skip: 312, streams: 4 }));
        let refused: [&[u8]; 6] = [
            b"OpusHead\x10\x02\x38\x01\x80\xbb\0\0\0\0\0",
            b"OpusHead\x01\x00\x38\x01\x80\xbb\0\0\0\0\0",
            b"OpusHead\x01\x03\x38\x01\x80\xbb\0\0\0\0\0",
            b"OpusHead\x01\x03\x38\x01\x80\xbb\0\0\0\0\x01",
            b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0",
            b"OpusTags\x01\x02\x38\x01\x80\xbb\0\0\0\0\0",
        ];
        assert!(refused.iter().all(|octets| OpusHead::parse(octets).is_none()));
    }

    #[test]
    fn packets_say_how_long_they_last() {
        // One frame of 10 ms SILK, 60 ms SILK, 20 ms hybrid, 2.5 ms and 20 ms CELT; two frames; three; none, and too many.
        let table: [(&[u8], _); 11] = [
            (&[0x00], Some(480)),
            (&[0x18], Some(2_880)),
            (&[0x68], Some(960)),
            (&[0x80], Some(120)),
            (&[0xfc], Some(960)),
            (&[0xfd], Some(1_920)),
            (&[0xfe], Some(1_920)),
            (&[0xff, 3], Some(2_880)),
            (&[0xff, 0], None),
            (&[0xff, 7], None),
            (&[0xff], None),
        ];
        for (octets, samples) in table {
            assert_eq!(duration(octets), samples, "{octets:02x?}");
        }
        assert_eq!(duration(&[]), None);
    }
}
