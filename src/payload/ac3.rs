//! AC-3 in RTP (RFC 4184): a sync frame a packet, larger ones in fragments, behind two octets that say which it is.
//!
//! Read first: RFC 4184 sections 4.1 and 5.1. E-AC-3 has a format of its own (RFC 4598), which no player here reads.

use crate::library::SoundFormat;
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// MBZ and FT, NF (section 4.1.1).
const HEADER: usize = 2;
/// FT: whole frames.
const COMPLETE: u8 = 0;
/// FT: a frame's first fragment, which has the first five eighths of the frame, or has less.
const INITIAL_LARGE: u8 = 1;
const INITIAL_SMALL: u8 = 2;
/// FT: a fragment behind the first.
const FURTHER: u8 = 3;
/// What NF can say.
const MAX_FRAGMENTS: usize = 255;

/// Makes packets of AC-3 sync frames.
#[derive(Debug)]
pub struct Ac3Payloader {
    format: SoundFormat,
    max_payload: usize,
}

impl Ac3Payloader {
    pub(super) fn new(format: &SoundFormat, max_packet: usize) -> Self {
        Self { format: *format, max_payload: max_packet - RTP_HEADER_LEN }
    }
}

impl Format for Ac3Payloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        let room = self.max_payload - HEADER;
        let count = unit.len().div_ceil(room);
        if count > MAX_FRAGMENTS {
            return Err(PayloadError::TooLarge { size: unit.len(), limit: MAX_FRAGMENTS * room });
        }
        for (position, octets) in unit.chunks(room).enumerate() {
            let kind = match position {
                0 if count == 1 => COMPLETE,
                0 if octets.len() * 8 >= unit.len() * 5 => INITIAL_LARGE,
                0 => INITIAL_SMALL,
                _ => FURTHER,
            };
            out.begin();
            // One frame, or so many fragments.
            out.extend(&[kind, count as u8]);
            out.extend(octets);
            out.finish(position + 1 == count);
        }
        Ok(())
    }

    fn clock_rate(&self) -> u32 {
        self.format.sample_rate
    }

    fn encoding_name(&self) -> String {
        format!("ac3/{}/{}", self.format.sample_rate, self.format.channels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::library::Codec;
    use crate::payload::Payloader;

    fn payloader(max_packet: usize) -> Payloader {
        Payloader::new(&Codec::Ac3(SoundFormat { sample_rate: 48_000, channels: 6 }), max_packet).expect("is carried")
    }

    fn headers(size: usize, max_packet: usize) -> Vec<(u8, u8, bool)> {
        let mut buffer = PacketBuffer::default();
        payloader(max_packet).payload(&vec![7; size], true, &mut buffer).expect("fits");
        let header = |packet: &crate::payload::Packet| {
            let payload = &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..];
            (payload[0], payload[1], packet.marker)
        };
        buffer.packets().iter().map(header).collect()
    }

    #[test]
    fn packets_say_whether_they_have_a_frame_or_a_part_of_one() {
        assert_eq!(headers(768, 1_400), [(0, 1, true)]);
        // 1,386 of 1,792 octets are more than five eighths, of 2,560 less.
        assert_eq!(headers(1_792, 1_400), [(1, 2, false), (3, 2, true)]);
        assert_eq!(headers(2_560, 1_400), [(2, 2, false), (3, 2, true)]);
        assert_eq!(headers(3_840, 1_400), [(2, 3, false), (3, 3, false), (3, 3, true)]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let mut buffer = PacketBuffer::default();
        assert_eq!(payloader(64).payload(&[], true, &mut buffer), Err(PayloadError::Empty));
        let large = payloader(64).payload(&[0; 255 * 50 + 1], true, &mut buffer);
        assert_eq!(large, Err(PayloadError::TooLarge { size: 12_751, limit: 12_750 }));
        assert!(buffer.packets().is_empty());
    }

    #[test]
    fn the_description_is_what_players_read() {
        assert_eq!(payloader(1_400).encoding_name(), "ac3/48000/6");
        assert_eq!(payloader(1_400).clock_rate().hertz(), 48_000);
    }

    proptest! {
        #[test]
        fn what_is_received_is_what_was_sent(unit in proptest::collection::vec(any::<u8>(), 1..3_840), max_packet in 64usize..2_000) {
            let mut buffer = PacketBuffer::default();
            payloader(max_packet).payload(&unit, true, &mut buffer).expect("fits");
            prop_assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
            let payloads = buffer.packets().iter().flat_map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN + HEADER..]);
            prop_assert!(payloads.eq(&unit));
        }
    }
}
