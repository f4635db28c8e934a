//! Headers of AC-3 sync frames (ETSI TS 102 366 section 4.3 and annex E.1.2 for E-AC-3, which is told apart: RTP carries it by
//! another payload format, and its frames may belong together).

use crate::library::codec::SoundFormat;

/// Octets from which a sync frame's header can be read.
pub const HEADER: usize = 8;
/// No sync frame has more octets: AC-3 at 640 kbit/s and 32 kHz, E-AC-3 by what its size field holds.
pub const MAX_FRAME: usize = 4_096;
/// Samples of a channel in a sync frame of AC-3.
pub const SAMPLES: u32 = 1_536;

/// Sampling rates by fscod.
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// Kilobits a second by frmsizecod / 2.
const BIT_RATES: [u32; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Channels by acmod, the low frequency one aside; acmod 0 is two languages, one a channel.
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

/// How a sync frame is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// AC-3.
    Ac3,
    /// E-AC-3, annex E.
    EnhancedAc3 {
        /// strmtyp: 0 and 2 stand alone, 1 adds to the frame before.
        stream_type: u8,
        /// substreamid.
        substream: u8,
    },
}

/// What a sync frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncFrame {
    /// AC-3 or E-AC-3.
    pub coding: Coding,
    /// bsid.
    pub bitstream_id: u8,
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// Channels, the low frequency one among them.
    pub channels: u8,
    /// Samples of a channel in the frame.
    pub samples: u32,
    /// Octets of the frame, its header among them.
    pub frame_len: usize,
}

impl SyncFrame {
    /// The header at the beginning of `octets`; `None` where there is none.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<HEADER>()?;
        let [0x0b, 0x77, ..] = octets else { return None };
        match octets[5] >> 3 {
            // 9 and 10 stand for half and a quarter of the rate.
            bitstream_id @ 0..=10 => ac3(octets, bitstream_id),
            bitstream_id @ 11..=16 => enhanced(octets, bitstream_id),
            _ => None,
        }
    }

    /// What is heard.
    pub const fn sound_format(&self) -> SoundFormat {
        SoundFormat { sample_rate: self.sample_rate, channels: self.channels }
    }
}

fn ac3(octets: &[u8; HEADER], bitstream_id: u8) -> Option<SyncFrame> {
    let (rate, size) = (octets[4] >> 6, octets[4] & 0x3f);
    let kilobits = BIT_RATES.get(usize::from(size >> 1))?;
    let words = match rate {
        0 => kilobits * 2,
        // The lowest bit of the code adds a word; 44.1 kHz alone needs it.
        1 => kilobits * 1_000 * SAMPLES / 16 / 44_100 + u32::from(size & 1),
        _ => kilobits * 3,
    };
    let shift = bitstream_id.saturating_sub(8);
    let mode = octets[6] >> 5;
    // Between acmod and lfeon lie the mix levels that acmod asks for.
    let mut before = 3;
    if mode & 1 != 0 && mode != 1 {
        before += 2;
    }
    if mode & 4 != 0 {
        before += 2;
    }
    if mode == 2 {
        before += 2;
    }
    let has_low = u16::from_be_bytes([octets[6], octets[7]]) >> (15 - before) & 1;
    Some(SyncFrame {
        coding: Coding::Ac3,
        bitstream_id,
        sample_rate: SAMPLE_RATES.get(usize::from(rate))? >> shift,
        channels: CHANNELS[usize::from(mode)] + has_low as u8,
        samples: SAMPLES,
        frame_len: words as usize * 2,
    })
}

fn enhanced(octets: &[u8; HEADER], bitstream_id: u8) -> Option<SyncFrame> {
    let frame_len = (usize::from(octets[2] & 7) << 8 | usize::from(octets[3])) * 2 + 2;
    let (rate, second) = (octets[4] >> 6, octets[4] >> 4 & 3);
    // A rate of 3 means half the rate that the next two bits name, and six blocks.
    let (sample_rate, blocks) = match rate {
        3 => (SAMPLE_RATES.get(usize::from(second))? / 2, 6),
        rate => (*SAMPLE_RATES.get(usize::from(rate))?, [1, 2, 3, 6][usize::from(second)]),
    };
    (frame_len >= HEADER).then_some(SyncFrame {
        coding: Coding::EnhancedAc3 { stream_type: octets[2] >> 6, substream: octets[2] >> 3 & 7 },
        bitstream_id,
        sample_rate,
        channels: CHANNELS[usize::from(octets[4] >> 1 & 7)] + (octets[4] & 1),
        samples: blocks * 256,
        frame_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first octets of frames as ffmpeg writes them, and what they say: hertz, channels, samples, octets.
    #[test]
    fn frames_say_how_long_they_are() {
        let table: [([u8; 8], _); 7] = [
            // Stereo at 192 kbit/s, 48 and 44.1 kHz (there in two sizes), 32 kHz.
            ([0x0b, 0x77, 0, 0, 0x14, 0x40, 0x43, 0xe1], (48_000, 2, 1_536, 768)),
            ([0x0b, 0x77, 0, 0, 0x54, 0x40, 0x43, 0xe1], (44_100, 2, 1_536, 834)),
            ([0x0b, 0x77, 0, 0, 0x55, 0x40, 0x43, 0xe1], (44_100, 2, 1_536, 836)),
            ([0x0b, 0x77, 0, 0, 0x94, 0x40, 0x43, 0xe1], (32_000, 2, 1_536, 1_152)),
            // 5.1 at 448 kbit/s; mono at 96 kbit/s; half the rate by bsid 9.
            ([0x0b, 0x77, 0, 0, 0x1e, 0x40, 0xe1, 0xf0], (48_000, 6, 1_536, 1_792)),
            ([0x0b, 0x77, 0, 0, 0x0c, 0x40, 0x2f, 0x80], (48_000, 1, 1_536, 384)),
            ([0x0b, 0x77, 0, 0, 0x14, 0x48, 0x43, 0xe1], (24_000, 2, 1_536, 768)),
        ];
        for (octets, expected) in table {
            let frame = SyncFrame::parse(&octets).unwrap_or_else(|| panic!("{octets:02x?}"));
            assert_eq!((frame.sample_rate, frame.channels, frame.samples, frame.frame_len), expected, "{octets:02x?}");
            assert_eq!(frame.coding, Coding::Ac3);
        }
    }

    #[test]
    fn the_low_frequency_channel_lies_behind_the_mix_levels_of_the_mode() {
        // acmod and, behind so many bits, lfeon.
        for (mode, behind, channels) in [(0u16, 3, 2), (1, 3, 1), (2, 5, 2), (3, 5, 3), (4, 5, 3), (5, 7, 4), (6, 5, 4), (7, 7, 5)] {
            for low in [0, 1] {
                let [high, rest] = (mode << 13 | low << (15 - behind)).to_be_bytes();
                let frame = SyncFrame::parse(&[0x0b, 0x77, 0, 0, 0x14, 0x40, high, rest]).expect("a frame");
                assert_eq!(frame.channels, channels + low as u8, "mode {mode}");
            }
        }
    }

    #[test]
    fn enhanced_frames_are_told_apart() {
        let frame = SyncFrame::parse(&[0x0b, 0x77, 0x02, 0xff, 0x3f, 0x80, 0, 0]).expect("a frame");
        assert_eq!(frame.coding, Coding::EnhancedAc3 { stream_type: 0, substream: 0 });
        assert_eq!((frame.sample_rate, frame.channels, frame.samples, frame.frame_len), (48_000, 6, 1_536, 1_536));
        let dependent = SyncFrame::parse(&[0x0b, 0x77, 0x4a, 0xff, 0xd4, 0x80, 0, 0]).expect("a frame");
        assert_eq!(dependent.coding, Coding::EnhancedAc3 { stream_type: 1, substream: 1 });
        assert_eq!((dependent.sample_rate, dependent.samples), (22_050, 1_536));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refused: [(&[u8], &str); 6] = [
            (&[0x0b, 0x78, 0, 0, 0x14, 0x40, 0x43, 0xe1], "no sync word"),
            (&[0x0b, 0x77, 0, 0, 0xd4, 0x40, 0x43, 0xe1], "no sampling rate"),
            (&[0x0b, 0x77, 0, 0, 0x26, 0x40, 0x43, 0xe1], "no such size"),
            (&[0x0b, 0x77, 0, 0, 0x14, 0x88, 0x43, 0xe1], "no such bsid"),
            (&[0x0b, 0x77, 0x00, 0x00, 0x3f, 0x80, 0, 0], "smaller than its header"),
            (&[0x0b, 0x77, 0, 0, 0x14, 0x40, 0x43], "cut short"),
        ];
        for (octets, why) in refused {
            assert_eq!(SyncFrame::parse(octets), None, "{why}");
        }
    }

    #[test]
    fn no_header_says_more_than_the_limit() {
        for rate in 0..=0xff {
            for id in 0..=0x1f {
                if let Some(frame) = SyncFrame::parse(&[0x0b, 0x77, 0x07, 0xff, rate, id << 3, 0xff, 0xff]) {
                    assert!((HEADER..=MAX_FRAME).contains(&frame.frame_len) && frame.sample_rate > 0, "{frame:?}");
                }
            }
        }
    }
}
