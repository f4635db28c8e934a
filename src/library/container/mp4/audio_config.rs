//! What a decoder of MPEG-4 audio is told beforehand: the elementary stream descriptor around it, and the head of the
//! AudioSpecificConfig in it.
//!
//! Reads as far as rate and channels need, no further. Read first: ISO/IEC 14496-1 section 7.2.6, ISO/IEC 14496-3
//! sections 1.6.2.1 and 4.4.1.

use mp4_atom::Esds;

use crate::library::container::mp4::boxes::decode;

/// ES_Descriptor, DecoderConfigDescriptor, DecoderSpecificInfo.
const ES_DESCRIPTOR: u8 = 3;
const DECODER_CONFIG: u8 = 4;
const DECODER_SPECIFIC: u8 = 5;

/// What an `esds` box says of the decoder: the object type indication and the specific part, if there is one.
pub fn descriptor(body: &[u8]) -> Option<(u8, Option<Vec<u8>>)> {
    if let Some(list) = decode::<Esds>(body) {
        let config = list.es_desc.dec_config;
        return Some((config.object_type_indication, config.dec_specific.map(|specific| specific.raw)));
    }
    // What one missing or odd descriptor costs a strict reader is seldom what matters here.
    let stream = child(body.get(4..)?, ES_DESCRIPTOR)?;
    let (&flags, mut rest) = stream.get(2..)?.split_first()?;
    if flags & 0x80 != 0 {
        rest = rest.get(2..)?;
    }
    if flags & 0x40 != 0 {
        let (&len, url) = rest.split_first()?;
        rest = url.get(usize::from(len)..)?;
    }
    if flags & 0x20 != 0 {
        rest = rest.get(2..)?;
    }
    let config = child(rest, DECODER_CONFIG)?;
    Some((*config.first()?, child(config.get(13..)?, DECODER_SPECIFIC).map(<[u8]>::to_vec)))
}

/// The body of the first descriptor with that tag; one that claims to be longer than what is there ends there.
fn child(mut descriptors: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (&tag, mut rest) = descriptors.split_first()?;
        let mut len: usize = 0;
        for _ in 0..4 {
            let (&octet, behind) = rest.split_first()?;
            rest = behind;
            len = len << 7 | usize::from(octet & 0x7f);
            if octet & 0x80 == 0 {
                break;
            }
        }
        let (body, behind) = rest.split_at(len.min(rest.len()));
        if tag == wanted {
            return Some(body);
        }
        descriptors = behind;
    }
}

/// The head of an AudioSpecificConfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// The audio object type that is named first: 2 for AAC LC, 5 and 29 where SBR and parametric stereo are explicit.
    pub object_type: u8,
    /// Of the core. With SBR the output has twice that rate.
    pub sample_rate: u32,
    /// Of the output, parametric stereo counted where the file says so.
    pub channels: u8,
}

const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;

impl AudioSpecificConfig {
    /// Reads the head; `None` where it is cut short or absurd.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let mut bits = Bits { octets, position: 0 };
        let object_type = bits.object_type()?;
        let sample_rate = bits.sample_rate()?;
        let configuration = bits.take(4)?;
        let extended = matches!(object_type, SBR | PARAMETRIC_STEREO);
        let core = if extended {
            bits.sample_rate()?;
            bits.object_type()?
        } else {
            object_type
        };
        let mut parametric_stereo = object_type == PARAMETRIC_STEREO;
        let mut channels = match configuration {
            0 => None,
            1..=6 => Some(configuration),
            7 => Some(8),
            11 => Some(7),
            12 | 14 => Some(8),
            _ => return None,
        };
        if matches!(core, 1..=4) {
            // GASpecificConfig (table 4.1): one may stand in for the channel configuration.
            let listed = bits.general_audio(configuration == 0);
            channels = channels.or(listed.flatten());
            parametric_stereo |= !extended && listed.is_some() && bits.parametric_stereo_behind().unwrap_or(false);
        }
        let channels = channels.filter(|&channels| channels > 0)?;
        let channels = if parametric_stereo && channels == 1 { 2 } else { channels };
        (sample_rate > 0).then_some(Self {
            object_type: u8::try_from(object_type).ok()?,
            sample_rate,
            channels: u8::try_from(channels).ok()?,
        })
    }
}

/// Sampling rates by samplingFrequencyIndex (ISO/IEC 14496-3 table 1.18).
pub const RATES: [u32; 13] = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

struct Bits<'a> {
    octets: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let octet = self.octets.get(self.position / 8)?;
            value = value << 1 | u32::from(octet >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            kind => Some(kind),
        }
    }

    fn sample_rate(&mut self) -> Option<u32> {
        match self.take(4)? {
            15 => self.take(24),
            index => RATES.get(index as usize).copied(),
        }
    }

    /// GASpecificConfig; inside, the channels of its program configuration, if one is there.
    fn general_audio(&mut self, with_program: bool) -> Option<Option<u32>> {
        self.take(1)?; // frameLengthFlag
        if self.take(1)? == 1 {
            self.take(14)?; // coreCoderDelay
        }
        self.take(1)?; // extensionFlag
        if !with_program { Some(None) } else { self.program().map(Some) }
    }

    /// The channels of a program_config_element (table 4.2).
    fn program(&mut self) -> Option<u32> {
        self.take(10)?; // tag, object type, rate
        let [front, side, back] = [self.take(4)?, self.take(4)?, self.take(4)?];
        let low_frequency = self.take(2)?;
        let [associated, coupling] = [self.take(3)?, self.take(4)?];
        for bits in [4, 4, 3] {
            if self.take(1)? == 1 {
                self.take(bits)?; // mixdowns
            }
        }
        let mut channels = low_frequency;
        for _ in 0..front + side + back {
            channels += 1 + self.take(1)?;
            self.take(4)?;
        }
        for _ in 0..low_frequency + associated {
            self.take(4)?;
        }
        for _ in 0..coupling {
            self.take(5)?;
        }
        self.position = self.position.next_multiple_of(8);
        for _ in 0..self.take(8)? {
            self.take(8)?; // comment
        }
        Some(channels)
    }

    /// Whether parametric stereo is announced behind the core's configuration, as writers do that stay readable for
    /// decoders without SBR.
    fn parametric_stereo_behind(&mut self) -> Option<bool> {
        if self.take(11)? != 0x2b7 || self.object_type()? != SBR || self.take(1)? == 0 {
            return Some(false);
        }
        self.sample_rate()?;
        Some(self.take(11)? == 0x548 && self.take(1)? == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(octets: &[u8]) -> Option<(u8, u32, u8)> {
        AudioSpecificConfig::parse(octets).map(|config| (config.object_type, config.sample_rate, config.channels))
    }

    #[test]
    fn audio_configurations_tell_rate_and_channels() {
        assert_eq!(parse(&[0x12, 0x10]), Some((2, 44_100, 2)));
        assert_eq!(parse(&[0x11, 0xb0]), Some((2, 48_000, 6)), "5.1");
        assert_eq!(parse(&[0x11, 0xb8]), Some((2, 48_000, 8)), "7.1");
        assert_eq!(parse(&[0x12]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x17, 0x80, 0x00, 0x00, 0x08]), None, "a rate of zero");
        assert_eq!(parse(&[0x17, 0x80, 0x3e, 0x80, 0x10]), Some((2, 32_000, 2)), "a rate in full");
    }

    #[test]
    fn high_efficiency_keeps_the_rate_of_the_core() {
        assert_eq!(parse(&[0x2b, 0x11, 0x88, 0x00]), Some((5, 24_000, 2)), "explicit SBR");
        assert_eq!(parse(&[0xeb, 0x09, 0x88, 0x00]), Some((29, 24_000, 2)), "explicit parametric stereo over one channel");
        assert_eq!(parse(&[0x13, 0x10, 0x56, 0xe5, 0x98]), Some((2, 24_000, 2)), "SBR announced behind");
        assert_eq!(parse(&[0x13, 0x08, 0x56, 0xe5, 0x98]), Some((2, 24_000, 1)));
        assert_eq!(parse(&[0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]), Some((2, 24_000, 2)), "parametric stereo announced behind");
    }

    #[test]
    fn a_program_configuration_is_counted() {
        // Two front elements (one channel, a pair), a pair at the back, a low frequency one: as ffmpeg writes 5.1(side).
        let bits = "00010 0011 0000 000 0000 01 0011 0010 0000 0001 01 000 0000 000 00000 10000 10001 0000 0000 00000000 00000000";
        let digits: Vec<u8> = bits.bytes().filter(|byte| *byte != b' ').map(|byte| byte - b'0').collect();
        let octets: Vec<u8> = digits.chunks(8).map(|bits| bits.iter().fold(0, |octet, bit| octet << 1 | bit) << (8 - bits.len())).collect();
        assert_eq!(parse(&octets), Some((2, 48_000, 6)));
    }

    #[test]
    fn a_descriptor_without_its_last_part_is_read_by_hand() {
        let specific = [DECODER_SPECIFIC, 0x80, 0x80, 0x80, 2, 0x12, 0x10];
        let config = [&[DECODER_CONFIG, 20, 0x40, 0x15][..], &[0; 11], &specific].concat();
        let stream = [&[0, 0, 0, 0, ES_DESCRIPTOR, 25, 0, 1, 0][..], &config].concat();
        assert!(decode::<Esds>(&stream).is_none(), "the strict reader wants an SLConfigDescriptor");
        assert_eq!(descriptor(&stream), Some((0x40, Some(vec![0x12, 0x10]))));
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = AudioSpecificConfig::parse(&noise);
            let _ = descriptor(&noise);
        }
    }
}
