//! Transport streams in RTP (RFC 2250 section 2): whole transport packets, as many as fit, usually seven.
//!
//! The timestamp says when the first octet is due by the program's own clock. No packet is marked: timestamps go on where that clock jumps.
//! The payload type is the static one: [`payload_type`](super::payload_type) says why.

use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Octets of a transport packet.
const LEN: usize = 188;

/// Makes packets of runs of transport packets.
#[derive(Debug)]
pub struct Mp2tPayloader {
    /// Octets of the transport packets in each.
    room: usize,
}

impl Mp2tPayloader {
    pub(super) fn new(max_packet: usize) -> Result<Self, PayloadError> {
        let room = (max_packet - RTP_HEADER_LEN) / LEN * LEN;
        if room == 0 { Err(PayloadError::PacketSize(max_packet)) } else { Ok(Self { room }) }
    }
}

impl Format for Mp2tPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        if !unit.len().is_multiple_of(LEN) {
            return Err(PayloadError::Broken("run of transport packets"));
        }
        for packets in unit.chunks(self.room) {
            out.begin();
            out.extend(packets);
            out.finish(false);
        }
        Ok(())
    }

    fn encoding_name(&self) -> String {
        "MP2T/90000".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Codec;
    use crate::payload::{Payloader, payload_type};

    fn sizes(packets: usize, max_packet: usize) -> Vec<usize> {
        let mut buffer = PacketBuffer::default();
        let unit: Vec<u8> = (0..packets * LEN).map(|at| (at % 251) as u8).collect();
        Payloader::new(&Codec::Mp2t, max_packet).expect("is carried").payload(&unit, true, &mut buffer).expect("fits");
        let payloads = buffer.packets().iter().flat_map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..]);
        assert!(payloads.eq(&unit));
        assert!(buffer.packets().iter().all(|packet| !packet.marker && packet.later == 0 && packet.range.len() <= max_packet));
        buffer.packets().iter().map(|packet| (packet.range.len() - RTP_HEADER_LEN) / LEN).collect()
    }

    #[test]
    fn as_many_whole_packets_as_fit_share_one() {
        assert_eq!(sizes(16, 1_400), [7, 7, 2]);
        assert_eq!(sizes(3, 400), [2, 1]);
        assert_eq!(sizes(1, 200), [1]);
    }

    #[test]
    fn what_is_no_run_of_packets_is_refused() {
        assert_eq!(Payloader::new(&Codec::Mp2t, 199).map(drop), Err(PayloadError::PacketSize(199)));
        let payloader = Payloader::new(&Codec::Mp2t, 1_400).expect("is carried");
        let mut buffer = PacketBuffer::default();
        assert_eq!(payloader.payload(&[], true, &mut buffer), Err(PayloadError::Empty));
        let broken = Err(PayloadError::Broken("run of transport packets"));
        assert_eq!(payloader.payload(&[0x47; 189], true, &mut buffer), broken);
        assert!(buffer.packets().is_empty());
    }

    #[test]
    fn players_know_it_by_its_number() {
        assert_eq!(payload_type(&Codec::Mp2t, 0).map(crate::quantities::PayloadType::bits), Some(33));
        let payloader = Payloader::new(&Codec::Mp2t, 1_400).expect("is carried");
        assert_eq!((payloader.encoding_name().as_str(), payloader.clock_rate().hertz()), ("MP2T/90000", 90_000));
    }
}
