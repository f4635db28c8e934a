//! AAC in RTP (RFC 3640), mode AAC-hbr: one access unit a packet, with one AU header, or two where [`Grouping`] says so; larger
//! ones in fragments. No interleaving.
//!
//! The clock is the core's sampling frequency, also with SBR (HE-AAC): a unit then lasts 1,024 (or 960) ticks, as with
//! GStreamer's payloader. Receivers take the clock from `a=rtpmap` and the output rate from the AudioSpecificConfig.
//! Read first: RFC 3640 sections 3.2, 3.3.6 and 4.1.

use crate::library::{AacConfig, Track};
use crate::payload::grouping::Grouping;
use crate::payload::{Format, Hex, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// AU-headers-length: so many bits of AU headers follow.
const AU_HEADERS_LENGTH: usize = 2;
/// An AU header: 13 bits of size, 3 bits of index, or of its difference to the one before less one (RFC 3640 section 3.3.6).
const AU_HEADER: usize = 2;
/// What 13 bits hold.
const MAX_UNIT: usize = 8191;

/// Makes packets of AAC access units.
#[derive(Debug)]
pub struct AacPayloader {
    config: AacConfig,
    max_payload: usize,
}

impl AacPayloader {
    pub(super) fn new(config: &AacConfig, max_packet: usize) -> Self {
        Self { config: config.clone(), max_payload: max_packet - RTP_HEADER_LEN }
    }

    /// audioProfileLevelIndication (ISO/IEC 14496-3 table 1.14) of the least level that holds the track. The low
    /// frequency channel of 5.1 and 7.1 does not count.
    fn profile_level(&self) -> u8 {
        let object_type = self.config.audio_specific_config.first().map_or(0, |octet| octet >> 3);
        let main_channels = match self.config.channels {
            6 => 5,
            8 => 7,
            channels => channels,
        };
        match (object_type, main_channels, self.config.sample_rate) {
            // High Efficiency AAC profile v2 (explicit parametric stereo) and v1 (explicit SBR), by the core's rate.
            (29, 0..=2, 0..=24_000) => 0x30,
            (29, 0..=2, _) => 0x31,
            (29, _, 0..=24_000) => 0x32,
            (29, ..) => 0x33,
            (5, 0..=2, 0..=24_000) => 0x2c,
            (5, 0..=2, _) => 0x2d,
            (5, _, 0..=24_000) => 0x2e,
            (5, ..) => 0x2f,
            // AAC profile.
            (_, 0..=2, 0..=24_000) => 0x28,
            (_, 0..=2, 24_001..=48_000) => 0x29,
            (_, 0..=5, 0..=48_000) => 0x2a,
            (_, 0..=5, _) => 0x2b,
            (_, _, 0..=48_000) => 0x50,
            (..) => 0x51,
        }
    }
}

impl Format for AacPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        if unit.len() > MAX_UNIT {
            return Err(PayloadError::TooLarge { size: unit.len(), limit: MAX_UNIT });
        }
        // Each fragment states the whole unit's size (section 3.2.3.1).
        let [high, low] = ((unit.len() as u16) << 3).to_be_bytes();
        let mut chunks = unit.chunks(self.max_payload - AU_HEADERS_LENGTH - AU_HEADER).peekable();
        while let Some(chunk) = chunks.next() {
            out.begin();
            out.extend(&[0, 16, high, low]);
            out.extend(chunk);
            out.finish(chunks.peek().is_none());
        }
        Ok(())
    }

    /// One packet of whole access units that follow each other.
    fn payload_together(&self, units: &[&[u8]], out: &mut PacketBuffer) -> Result<(), PayloadError> {
        let size = AU_HEADERS_LENGTH + units.iter().map(|unit| AU_HEADER + unit.len()).sum::<usize>();
        if size > self.max_payload {
            return Err(PayloadError::TooLarge { size, limit: self.max_payload });
        }
        if units.iter().any(|unit| unit.is_empty()) {
            return Err(PayloadError::Empty);
        }
        if let Some(unit) = units.iter().find(|unit| unit.len() > MAX_UNIT) {
            return Err(PayloadError::TooLarge { size: unit.len(), limit: MAX_UNIT });
        }
        out.begin();
        out.extend(&((units.len() * AU_HEADER * 8) as u16).to_be_bytes());
        units.iter().for_each(|unit| out.extend(&((unit.len() as u16) << 3).to_be_bytes()));
        units.iter().for_each(|unit| out.extend(unit));
        out.finish(true);
        Ok(())
    }

    fn grouping(&self, track: &Track) -> Grouping {
        Grouping::pairs(track, self.max_payload.saturating_sub(AU_HEADERS_LENGTH + 2 * AU_HEADER), MAX_UNIT)
    }

    fn clock_rate(&self) -> u32 {
        self.config.sample_rate
    }

    fn encoding_name(&self) -> String {
        format!("mpeg4-generic/{}/{}", self.config.sample_rate, self.config.channels)
    }

    fn format_parameters(&self) -> String {
        format!(
            "streamtype=5;profile-level-id={};mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={}",
            self.profile_level(),
            Hex(&self.config.audio_specific_config)
        )
    }
}

#[cfg(test)]
mod tests;
