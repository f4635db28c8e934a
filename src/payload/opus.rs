//! Opus in RTP (RFC 7587): a packet of the codec is a packet's payload, and the clock is 48 kHz whatever its bandwidth.
//!
//! One or two channels: what has more is several Opus streams in one, which this format does not carry. No packet is marked, for
//! none begins after a silence that was not sent. Read first: RFC 7587 sections 4.1, 4.2 and 6.1.

use crate::library::SoundFormat;
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Makes packets of Opus packets. `rtp` has the same, but with an allocation for each, and without a limit.
#[derive(Debug)]
pub struct OpusPayloader {
    is_stereo: bool,
    max_payload: usize,
}

impl OpusPayloader {
    pub(super) fn new(format: &SoundFormat, max_packet: usize) -> Result<Self, PayloadError> {
        if !matches!(format.channels, 1 | 2) {
            return Err(PayloadError::Channels(format.channels));
        }
        Ok(Self { is_stereo: format.channels == 2, max_payload: max_packet - RTP_HEADER_LEN })
    }
}

impl Format for OpusPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        if unit.len() > self.max_payload {
            return Err(PayloadError::TooLarge { size: unit.len(), limit: self.max_payload });
        }
        out.begin();
        out.extend(unit);
        out.finish(false);
        Ok(())
    }

    fn clock_rate(&self) -> u32 {
        48_000
    }

    /// Two channels always: how many there are, each packet says.
    fn encoding_name(&self) -> String {
        "opus/48000/2".to_owned()
    }

    fn format_parameters(&self) -> String {
        format!("sprop-stereo={}", u8::from(self.is_stereo))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Codec;
    use crate::payload::Payloader;

    fn payloader(channels: u8) -> Result<Payloader, PayloadError> {
        Payloader::new(&Codec::Opus(SoundFormat { sample_rate: 48_000, channels }), 100)
    }

    #[test]
    fn a_packet_is_a_packet_or_none() {
        let payloader = payloader(2).expect("stereo");
        let mut buffer = PacketBuffer::default();
        payloader.payload(&[0xfc, 1, 2], true, &mut buffer).expect("fits");
        assert_eq!(buffer.octets()[RTP_HEADER_LEN..], [0xfc, 1, 2]);
        assert_eq!((buffer.packets().len(), buffer.packets()[0].marker), (1, false));
        assert_eq!(payloader.payload(&[], true, &mut buffer), Err(PayloadError::Empty));
        assert_eq!(payloader.payload(&[0; 89], true, &mut buffer), Err(PayloadError::TooLarge { size: 89, limit: 88 }));
        payloader.payload(&[0; 88], true, &mut buffer).expect("fits");
        assert_eq!(buffer.packets().len(), 2);
    }

    #[test]
    fn the_description_is_what_players_read() {
        let [mono, stereo] = [1, 2].map(|channels| payloader(channels).expect("is carried"));
        assert_eq!((mono.encoding_name(), mono.format_parameters()), ("opus/48000/2".into(), "sprop-stereo=0".into()));
        assert_eq!((stereo.encoding_name(), stereo.format_parameters()), ("opus/48000/2".into(), "sprop-stereo=1".into()));
        assert_eq!(stereo.clock_rate().hertz(), 48_000);
        assert_eq!(payloader(6).err(), Some(PayloadError::Channels(6)));
        assert_eq!(payloader(0).err(), Some(PayloadError::Channels(0)));
    }
}
