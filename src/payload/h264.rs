//! H.264 access units into RTP payloads, in packetization mode 1: single NAL units, aggregates of small ones (STAP-A),
//! fragments of large ones (FU-A).
//!
//! Does not look into slices, does not reorder, and writes no interleaved modes. Read RFC 6184 sections 5.2 to 5.8 and
//! 8.1 first; access units come with a length or a start code before each NAL unit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::library::{H264Config, NalFraming};
use crate::payload::nal::{Headers, NalUnits, Writer};
use crate::payload::{Format, Hex, PacketBuffer, PayloadError, RTP_HEADER_LEN};

const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
/// The ends of a sequence and of the stream.
const ENDS: std::ops::RangeInclusive<u8> = 10..=11;
/// A NAL unit of filler data without any (ISO/IEC 14496-10 section 7.3.2.7): its header and the stop bit. It follows the slices of its
/// picture (section 7.4.1.2.3).
const FILLER_DATA: [u8; 2] = [12, 0x80];
/// Coded slices, partitioned or not.
const SLICES: std::ops::RangeInclusive<u8> = 1..=5;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

const TYPE_MASK: u8 = 0x1f;
const REFERENCE_MASK: u8 = 0x60;
const FORBIDDEN_BIT: u8 = 0x80;

/// Payloads for one H.264 track.
#[derive(Clone, Debug)]
pub struct H264Payloader {
    max_payload: usize,
    framing: NalFraming,
    profile_level_id: [u8; 3],
    sequence_parameter_sets: Vec<Vec<u8>>,
    picture_parameter_sets: Vec<Vec<u8>>,
}

impl H264Payloader {
    pub(super) fn new(config: &H264Config, max_packet: usize) -> Result<Self, PayloadError> {
        if let NalFraming::Length(size) = config.framing
            && !matches!(size, 1 | 2 | 4)
        {
            return Err(PayloadError::LengthSize(size));
        }
        Ok(Self {
            max_payload: max_packet - RTP_HEADER_LEN,
            framing: config.framing,
            profile_level_id: config.profile_level_id,
            sequence_parameter_sets: config.sequence_parameter_sets.iter().filter(|nal| is_sendable(nal)).cloned().collect(),
            picture_parameter_sets: config.picture_parameter_sets.iter().filter(|nal| is_sendable(nal)).cloned().collect(),
        })
    }

    fn nal_units<'a>(&self, unit: &'a [u8]) -> NalUnits<'a> {
        NalUnits::new(unit, self.framing, is_sendable)
    }
}

impl Format for H264Payloader {
    /// Parameter sets go before each random access point (behind its access unit delimiter, which is first by
    /// ISO/IEC 14496-10 section 7.4.1.2.3), except for those kinds that the unit carries itself.
    fn payload(&self, unit: &[u8], random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        // The first pass reads the lengths only, so that a broken unit is refused before anything is written.
        let (mut sequence_sets_due, mut picture_sets_due) = (random_access, random_access);
        let mut any = false;
        for nal in self.nal_units(unit) {
            match nal?.first().map(|header| header & TYPE_MASK) {
                Some(SEQUENCE_PARAMETER_SET) => sequence_sets_due = false,
                Some(PICTURE_PARAMETER_SET) => picture_sets_due = false,
                _ => {}
            }
            any = true;
        }
        if !any {
            return Err(PayloadError::Empty);
        }
        let headers = Headers { aggregate: aggregate_header, fragment: fragment_header };
        let mut writer = Writer::new(out, self.max_payload, headers);
        let mut first = true;
        for nal in self.nal_units(unit) {
            let nal = nal?;
            let delimiter = nal.first().is_some_and(|header| header & TYPE_MASK == ACCESS_UNIT_DELIMITER);
            if first && delimiter {
                writer.add(nal);
            }
            if first {
                if sequence_sets_due {
                    self.sequence_parameter_sets.iter().for_each(|set| writer.add(set));
                }
                if picture_sets_due {
                    self.picture_parameter_sets.iter().for_each(|set| writer.add(set));
                }
            }
            if !(first && delimiter) {
                writer.add(nal);
            }
            first = false;
        }
        writer.finish();
        Ok(())
    }

    /// Whether all its slices are of pictures that no other refers to: nal_ref_idc is zero (ISO/IEC 14496-10 section 7.4.1).
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let mut any = false;
        for header in self.nal_units(unit).map_while(Result::ok).filter_map(|nal| nal.first().copied()) {
            if SLICES.contains(&(header & TYPE_MASK)) {
                if header & REFERENCE_MASK != 0 {
                    return false;
                }
                any = true;
            }
        }
        any
    }

    /// Exactly two parameter sets, as players expect; any further ones go in-band.
    fn format_parameters(&self) -> String {
        let mut parameters = format!("packetization-mode=1;profile-level-id={}", Hex(&self.profile_level_id));
        if let (Some(sequence), Some(picture)) = (self.sequence_parameter_sets.first(), self.picture_parameter_sets.first()) {
            parameters.push_str(";sprop-parameter-sets=");
            STANDARD.encode_string(sequence, &mut parameters);
            parameters.push(',');
            STANDARD.encode_string(picture, &mut parameters);
        }
        parameters
    }

    fn fill_up(&self, count: usize, out: &mut PacketBuffer) -> bool {
        out.fill_up(&FILLER_DATA, count, is_end)
    }

    fn encoding_name(&self) -> String {
        "H264/90000".into()
    }
}

/// Whether a payload is the end of a sequence, behind which nothing may follow.
fn is_end(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| ENDS.contains(&(header & TYPE_MASK)))
}

/// Whether it can stand in a payload: not empty, and of none of the types that mean something else in RTP or nothing at
/// all (RFC 6184 table 1: 0 and 24 to 31).
fn is_sendable(nal: &[u8]) -> bool {
    nal.first().is_some_and(|header| (1..STAP_A).contains(&(header & TYPE_MASK)))
}

/// RFC 6184 section 5.7.1: F is the OR of the aggregated units' F bits, NRI the greatest of theirs.
fn aggregate_header(nals: &[&[u8]]) -> [u8; 1] {
    let headers = || nals.iter().filter_map(|nal| nal.first());
    let forbidden = headers().fold(0, |bits, header| bits | header & FORBIDDEN_BIT);
    let reference = headers().map(|header| header & REFERENCE_MASK).max().unwrap_or(0);
    [forbidden | reference | STAP_A]
}

/// RFC 6184 section 5.8: the NAL unit's header octet is split over FU indicator and FU header.
const fn fragment_header([header]: [u8; 1]) -> ([u8; 1], u8) {
    ([header & !TYPE_MASK | FU_A], header & TYPE_MASK)
}

#[cfg(test)]
mod tests;
