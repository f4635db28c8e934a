//! MPEG audio in RTP (RFC 2250 section 3.5): a frame a packet, larger ones in fragments, behind four octets that say where in the frame
//! the fragment lies.
//!
//! Layer III may refer to bits of frames before (the bit reservoir); this format leaves that to the decoder, as RFC 5219 would not.
//! No packet is marked, for none begins after a silence that was not sent (section 3.4). The payload type is the static one:
//! [`payload_type`](super::payload_type) says why.

use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Two octets of zero, two of Frag_offset.
const HEADER: usize = 4;
/// What Frag_offset can say.
const MAX_UNIT: usize = 65_535;

/// Makes packets of MPEG audio frames.
#[derive(Debug)]
pub struct MpegAudioPayloader {
    max_payload: usize,
}

impl MpegAudioPayloader {
    pub(super) fn new(max_packet: usize) -> Self {
        Self { max_payload: max_packet - RTP_HEADER_LEN }
    }
}

impl Format for MpegAudioPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        if unit.len() > MAX_UNIT {
            return Err(PayloadError::TooLarge { size: unit.len(), limit: MAX_UNIT });
        }
        let room = self.max_payload - HEADER;
        for (fragment, octets) in unit.chunks(room).enumerate() {
            let [high, low] = ((fragment * room) as u16).to_be_bytes();
            out.begin();
            out.extend(&[0, 0, high, low]);
            out.extend(octets);
            out.finish(false);
        }
        Ok(())
    }

    fn encoding_name(&self) -> String {
        "MPA/90000".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::library::{Codec, SoundFormat};
    use crate::payload::{Payloader, payload_type};

    fn codec() -> Codec {
        Codec::MpegAudio(SoundFormat { sample_rate: 44_100, channels: 2 })
    }

    fn payloader(max_packet: usize) -> Payloader {
        Payloader::new(&codec(), max_packet).expect("is carried")
    }

    #[test]
    fn fragments_say_where_they_lie() {
        let mut buffer = PacketBuffer::default();
        let unit: Vec<u8> = (0..100).collect();
        payloader(64).payload(&unit, true, &mut buffer).expect("fits");
        let payloads: Vec<&[u8]> = buffer.packets().iter().map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..]).collect();
        assert_eq!(
            payloads,
            [[&[0, 0, 0, 0], &unit[..48]].concat(), [&[0, 0, 0, 48], &unit[48..96]].concat(), [&[0, 0, 0, 96], &unit[96..]].concat()]
        );
        assert!(buffer.packets().iter().all(|packet| !packet.marker && packet.later == 0));
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let mut buffer = PacketBuffer::default();
        assert_eq!(payloader(1_400).payload(&[], true, &mut buffer), Err(PayloadError::Empty));
        let large = payloader(1_400).payload(&[0; 65_536], true, &mut buffer);
        assert_eq!(large, Err(PayloadError::TooLarge { size: 65_536, limit: 65_535 }));
        payloader(1_400).payload(&[0; 65_535], true, &mut buffer).expect("fits");
    }

    #[test]
    fn players_know_it_by_its_number() {
        assert_eq!(payload_type(&codec(), 3).map(crate::quantities::PayloadType::bits), Some(14));
        let payloader = payloader(1_400);
        assert_eq!((payloader.encoding_name().as_str(), payloader.format_parameters().as_str()), ("MPA/90000", ""));
        assert_eq!(payloader.clock_rate().hertz(), 90_000);
    }

    proptest! {
        #[test]
        fn what_is_received_is_what_was_sent(unit in proptest::collection::vec(any::<u8>(), 1..3_000), max_packet in 64usize..2_000) {
            let mut buffer = PacketBuffer::default();
            payloader(max_packet).payload(&unit, true, &mut buffer).expect("fits");
            let mut received = vec![0; unit.len()];
            for packet in buffer.packets() {
                prop_assert!(packet.range.len() <= max_packet);
                let payload = &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..];
                let at = usize::from(u16::from_be_bytes([payload[2], payload[3]]));
                received[at..at + payload.len() - 4].copy_from_slice(&payload[4..]);
            }
            prop_assert_eq!(received, unit);
        }
    }
}
