//! Vorbis in RTP (RFC 5215): a packet of the codec a packet, larger ones in fragments; the headers go before, in the description.
//!
//! No packet is marked, and several of the codec do not share one. Read first: RFC 5215 sections 2.2, 3.2.1 and 7.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::library::VorbisConfig;
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Ident, fragment type, data type and number of packets (section 2.2).
const HEADER: usize = 4;
/// The length before each packet or fragment.
const LENGTH: usize = 2;
/// What that length and the one of the packed headers can say.
const MAX_UNIT: usize = 65_535;
/// Fragment types, in the upper two bits: not one, the first, one between, the last.
const WHOLE: u8 = 0x00;
const FIRST: u8 = 0x40;
const BETWEEN: u8 = 0x80;
const LAST: u8 = 0xc0;
/// A comment header that says nothing: it takes the place of none, or of one that is longer than a description should be (with a picture, say),
/// which section 3.2 allows.
const NO_COMMENT: &[u8] = b"\x03vorbis\0\0\0\0\0\0\0\0\x01";
/// Octets of a comment header that are worth their place in each description.
const MAX_COMMENT: usize = 256;

/// Makes packets of Vorbis packets.
#[derive(Debug)]
pub struct VorbisPayloader {
    sample_rate: u32,
    channels: u8,
    ident: [u8; 3],
    /// The packed headers (section 3.2.1).
    configuration: Vec<u8>,
    max_payload: usize,
}

impl VorbisPayloader {
    pub(super) fn new(config: &VorbisConfig, max_packet: usize) -> Result<Self, PayloadError> {
        let comment = if config.comment.is_empty() || config.comment.len() > MAX_COMMENT { NO_COMMENT } else { &config.comment };
        let headers = [&config.identification[..], comment, &config.setup];
        let size = headers.iter().map(|header| header.len()).sum();
        let length = u16::try_from(size).map_err(|_| PayloadError::TooLarge { size, limit: MAX_UNIT })?;
        let digest = Sha256::digest(headers.concat());
        let ident = [digest[0], digest[1], digest[2]];
        // One packed header, and how many follow the first of its three.
        let mut configuration = vec![0, 0, 0, 1];
        configuration.extend(ident);
        configuration.extend(length.to_be_bytes());
        configuration.push(2);
        headers[..2].iter().for_each(|header| write_size(header.len(), &mut configuration));
        headers.iter().for_each(|header| configuration.extend_from_slice(header));
        let (sample_rate, channels) = (config.sample_rate, config.channels);
        Ok(Self { sample_rate, channels, ident, configuration, max_payload: max_packet - RTP_HEADER_LEN })
    }

    fn write(&self, kind: u8, octets: &[u8], out: &mut PacketBuffer) {
        let [a, b, c] = self.ident;
        let [high, low] = (octets.len() as u16).to_be_bytes();
        out.begin();
        out.extend(&[a, b, c, kind | u8::from(kind == WHOLE), high, low]);
        out.extend(octets);
        out.finish(false);
    }
}

/// Seven bits an octet, the highest first; the top bit says that more follow.
fn write_size(size: usize, out: &mut Vec<u8>) {
    if size >= 1 << 14 {
        out.push(0x80 | (size >> 14 & 0x7f) as u8);
    }
    if size >= 1 << 7 {
        out.push(0x80 | (size >> 7 & 0x7f) as u8);
    }
    out.push((size & 0x7f) as u8);
}

impl Format for VorbisPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        if unit.len() > MAX_UNIT {
            return Err(PayloadError::TooLarge { size: unit.len(), limit: MAX_UNIT });
        }
        let room = self.max_payload - HEADER - LENGTH;
        let count = unit.len().div_ceil(room);
        for (position, octets) in unit.chunks(room).enumerate() {
            let kind = match position {
                0 if count == 1 => WHOLE,
                0 => FIRST,
                _ if position + 1 == count => LAST,
                _ => BETWEEN,
            };
            self.write(kind, octets, out);
        }
        Ok(())
    }

    fn clock_rate(&self) -> u32 {
        self.sample_rate
    }

    fn encoding_name(&self) -> String {
        format!("vorbis/{}/{}", self.sample_rate, self.channels)
    }

    fn format_parameters(&self) -> String {
        format!("configuration={}", STANDARD.encode(&self.configuration))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::library::Codec;
    use crate::payload::Payloader;

    fn config(comment: usize, setup: usize) -> VorbisConfig {
        VorbisConfig {
            sample_rate: 44_100,
            channels: 2,
            identification: vec![1; 30],
            comment: vec![3; comment],
            setup: (0..setup).map(|at| at as u8).collect(),
        }
    }

    fn payloader(max_packet: usize) -> Payloader {
        Payloader::new(&Codec::Vorbis(config(20, 3_000)), max_packet).expect("is carried")
    }

    fn configuration(config: VorbisConfig) -> Vec<u8> {
        let parameters = Payloader::new(&Codec::Vorbis(config), 1_400).expect("is carried").format_parameters();
        STANDARD.decode(parameters.strip_prefix("configuration=").expect("only that")).expect("base64")
    }

    #[test]
    fn the_description_has_the_headers() {
        assert_eq!(payloader(1_400).encoding_name(), "vorbis/44100/2");
        assert_eq!(payloader(1_400).clock_rate().hertz(), 44_100);
        let all = config(200, 3_000);
        let packed = configuration(all.clone());
        assert_eq!((&packed[..4], &packed[7..13]), (&[0, 0, 0, 1][..], &[0x0c, 0x9e, 2, 30, 0x81, 0x48][..]));
        assert_eq!(packed[13..], [all.identification, all.comment, all.setup].concat());
        let large = configuration(config(20_000, 100));
        assert_eq!(large[7..12], [0, 146, 2, 30, 16], "a comment that says nothing");
        assert_eq!(&large[42..58], NO_COMMENT);
        let too_large = Payloader::new(&Codec::Vorbis(config(20, 65_486)), 1_400).err();
        assert_eq!(too_large, Some(PayloadError::TooLarge { size: 65_536, limit: 65_535 }));
    }

    #[test]
    fn sizes_are_written_in_groups_of_seven_bits() {
        for (size, expected) in
            [(0, vec![0]), (127, vec![0x7f]), (128, vec![0x81, 0]), (0x3fff, vec![0xff, 0x7f]), (0x4001, vec![0x81, 0x80, 1])]
        {
            let mut written = Vec::new();
            write_size(size, &mut written);
            assert_eq!(written, expected, "{size}");
        }
    }

    #[test]
    fn packets_say_whether_they_have_one_or_a_part_of_one() {
        let kinds = |size: usize| -> Vec<u8> {
            let mut buffer = PacketBuffer::default();
            payloader(64).payload(&vec![5; size], true, &mut buffer).expect("fits");
            assert!(buffer.packets().iter().all(|packet| !packet.marker));
            buffer.packets().iter().map(|packet| buffer.octets()[packet.range.start + RTP_HEADER_LEN + 3]).collect()
        };
        assert_eq!(kinds(46), [0x01]);
        assert_eq!(kinds(47), [0x40, 0xc0]);
        assert_eq!(kinds(139), [0x40, 0x80, 0x80, 0xc0]);
        let mut buffer = PacketBuffer::default();
        assert_eq!(payloader(64).payload(&[], true, &mut buffer), Err(PayloadError::Empty));
        assert_eq!(payloader(64).payload(&[0; 65_536], true, &mut buffer), Err(PayloadError::TooLarge { size: 65_536, limit: 65_535 }));
    }

    proptest! {
        #[test]
        fn what_is_received_is_what_was_sent(unit in proptest::collection::vec(any::<u8>(), 1..3_000), max_packet in 64usize..2_000) {
            let mut buffer = PacketBuffer::default();
            let payloader = payloader(max_packet);
            payloader.payload(&unit, true, &mut buffer).expect("fits");
            let mut received = Vec::new();
            for packet in buffer.packets() {
                prop_assert!(packet.range.len() <= max_packet);
                let payload = &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..];
                prop_assert_eq!(usize::from(u16::from_be_bytes([payload[4], payload[5]])), payload.len() - 6);
                received.extend_from_slice(&payload[6..]);
            }
            prop_assert_eq!(received, unit);
        }
    }
}
