//! H.265 access units into RTP payloads: single NAL units, aggregates of small ones (AP), fragments of large ones (FU).
//!
//! Does not look into slices, does not reorder, and writes no decoding order numbers (`sprop-max-don-diff` is zero). Read RFC 7798
//! sections 4 and 7.1 first; access units come with a length or a start code before each NAL unit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::library::{H265Config, H265Profile, NalFraming};
use crate::payload::nal::{Headers, NalUnits, Writer};
use crate::payload::{Format, Hex, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// The NAL unit header (RFC 7798 section 1.1.4), which payload headers are made like.
const HEADER_LEN: usize = 2;
/// Slices (ISO/IEC 23008-2 table 7-1): all types below this one.
const NO_SLICE: u8 = 32;
/// Slices that no picture of their sub-layer refers to have the even ones of the types below this one.
const NO_REFERENCE_BELOW: u8 = 16;
const VIDEO_PARAMETER_SET: u8 = 32;
const SEQUENCE_PARAMETER_SET: u8 = 33;
const PICTURE_PARAMETER_SET: u8 = 34;
const ACCESS_UNIT_DELIMITER: u8 = 35;
const PREFIX_SEI: u8 = 39;
/// user_data_unregistered (section D.2.1): the coder's settings as a rule, which nobody needs.
const USER_DATA: u8 = 5;
/// A NAL unit of filler data without any (type 38): its header and the stop bit. It follows the slices of its picture.
const FILLER_DATA: [u8; 3] = [38 << 1, 1, 0x80];
/// The ends of a sequence and of the stream.
const ENDS: std::ops::RangeInclusive<u8> = 36..=37;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

const FORBIDDEN_BIT: u8 = 0x80;
const TYPE_MASK: u8 = 0x7e;
const TEMPORAL_MASK: u8 = 0x07;
/// nuh_layer_id and nuh_temporal_id_plus1.
const LAYER_MASK: u16 = 0x01f8;

/// Payloads for one H.265 track.
#[derive(Clone, Debug)]
pub struct H265Payloader {
    max_payload: usize,
    framing: NalFraming,
    temporal_layers: u8,
    profile: H265Profile,
    /// Of the three kinds, in the order in which they go.
    parameter_sets: [Vec<Vec<u8>>; 3],
    /// Messages that hold for all pictures.
    messages: Vec<Vec<u8>>,
}

/// What kind of NAL unit it is.
const fn kind_of(header: u8) -> u8 {
    (header & TYPE_MASK) >> 1
}

/// Which of the three kinds of parameter sets of the base layer it is.
fn set_of(nal: &[u8]) -> Option<usize> {
    let header = nal.first_chunk::<HEADER_LEN>().filter(|header| u16::from_be_bytes(**header) & LAYER_MASK == 0)?;
    match kind_of(header[0]) {
        VIDEO_PARAMETER_SET => Some(0),
        SEQUENCE_PARAMETER_SET => Some(1),
        PICTURE_PARAMETER_SET => Some(2),
        _ => None,
    }
}

impl H265Payloader {
    pub(super) fn new(config: &H265Config, max_packet: usize) -> Result<Self, PayloadError> {
        if let NalFraming::Length(size) = config.framing
            && !matches!(size, 1 | 2 | 4)
        {
            return Err(PayloadError::LengthSize(size));
        }
        let kinds = [&config.video_parameter_sets, &config.sequence_parameter_sets, &config.picture_parameter_sets];
        Ok(Self {
            max_payload: max_packet - RTP_HEADER_LEN,
            framing: config.framing,
            temporal_layers: config.temporal_layers,
            profile: config.profile,
            parameter_sets: kinds.map(|sets| sets.iter().filter(|nal| is_sendable(nal)).cloned().collect()),
            messages: config.messages.iter().filter(|nal| is_message(nal)).cloned().collect(),
        })
    }

    /// The parameter sets that are due from this kind on, up to one that the unit carries itself: each kind goes behind that which it
    /// refers to.
    fn add_sets<'a>(&'a self, first: usize, due: &mut [bool; 3], writer: &mut Writer<'a, '_, HEADER_LEN>) {
        let kinds = self.parameter_sets.iter().zip(due).skip(first);
        for (sets, due) in kinds.take_while(|(_, due)| **due) {
            sets.iter().for_each(|set| writer.add(set));
            *due = false;
        }
    }

    fn nal_units<'a>(&self, unit: &'a [u8]) -> NalUnits<'a> {
        NalUnits::new(unit, self.framing, is_sendable)
    }
}

impl Format for H265Payloader {
    /// Parameter sets go before each random access point (behind its access unit delimiter, which is first by ISO/IEC 23008-2 section
    /// 7.4.2.4.4), except for those kinds that the unit carries itself; messages that hold for all pictures before its first slice.
    fn payload(&self, unit: &[u8], random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        // The first pass reads the lengths only, so that a broken unit is refused before anything is written.
        let mut due = [random_access; 3];
        let mut any = false;
        for nal in self.nal_units(unit) {
            if let Some(set) = set_of(nal?) {
                due[set] = false;
            }
            any = true;
        }
        if !any {
            return Err(PayloadError::Empty);
        }
        let headers = Headers { aggregate: aggregate_header, fragment: fragment_header };
        let mut writer = Writer::new(out, self.max_payload, headers);
        let mut first = true;
        let mut messages_due = random_access;
        for nal in self.nal_units(unit) {
            let nal = nal?;
            let delimiter = nal.first().is_some_and(|header| kind_of(*header) == ACCESS_UNIT_DELIMITER);
            if first && delimiter {
                writer.add(nal);
            }
            if first {
                self.add_sets(0, &mut due, &mut writer);
            }
            let is_slice = nal.first().is_some_and(|header| kind_of(*header) < NO_SLICE);
            if is_slice && std::mem::take(&mut messages_due) {
                let is_there = |message: &[u8]| self.nal_units(unit).any(|nal| nal.is_ok_and(|nal| nal == message));
                self.messages.iter().filter(|message| !is_there(message)).for_each(|message| writer.add(message));
            }
            if !(first && delimiter) {
                writer.add(nal);
            }
            if let Some(set) = set_of(nal) {
                self.add_sets(set + 1, &mut due, &mut writer);
            }
            first = false;
        }
        writer.finish();
        Ok(())
    }

    /// Whether all its slices are of pictures that no other refers to: sub-layer non-reference pictures of the highest sub-layer
    /// (ISO/IEC 23008-2 sections 3 and 7.4.2.2). Where it is not known which that is, none is.
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let mut any = false;
        for nal in self.nal_units(unit).map_while(Result::ok) {
            let &[header, layer, ..] = nal else { continue };
            let kind = kind_of(header);
            if kind < NO_SLICE {
                let is_highest = self.temporal_layers > 0 && layer & TEMPORAL_MASK == self.temporal_layers;
                if !is_highest || kind >= NO_REFERENCE_BELOW || kind % 2 == 1 {
                    return false;
                }
                any = true;
            }
        }
        any
    }

    /// RFC 7798 section 7.1: profile, tier and level, and all parameter sets of each kind, where there are any.
    fn format_parameters(&self) -> String {
        let profile = &self.profile;
        let mut parameters = vec![
            format!("profile-space={}", profile.space),
            format!("profile-id={}", profile.idc),
            format!("tier-flag={}", u8::from(profile.is_high_tier)),
            format!("level-id={}", profile.level_idc),
            format!("interop-constraints={}", Hex(&profile.constraints)),
        ];
        for (name, sets) in ["sprop-vps", "sprop-sps", "sprop-pps"].iter().zip(&self.parameter_sets) {
            if !sets.is_empty() {
                let sets: Vec<String> = sets.iter().map(|set| STANDARD.encode(set)).collect();
                parameters.push(format!("{name}={}", sets.join(",")));
            }
        }
        parameters.join(";")
    }

    fn fill_up(&self, count: usize, out: &mut PacketBuffer) -> bool {
        out.fill_up(&FILLER_DATA, count, is_end)
    }

    fn encoding_name(&self) -> String {
        "H265/90000".into()
    }
}

/// Whether a payload is the end of a sequence or of the stream, behind which nothing may follow.
fn is_end(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| ENDS.contains(&kind_of(*header)))
}

/// Whether it can stand in a payload: it has a header, and is of none of the types that mean something else in RTP (RFC 7798
/// section 4.4: 48 and above).
fn is_sendable(nal: &[u8]) -> bool {
    matches!(nal, &[header, _, ..] if kind_of(header) < AGGREGATION)
}

/// Whether it is a prefix SEI message of the base layer that is of use.
fn is_message(nal: &[u8]) -> bool {
    let header = nal.first_chunk::<HEADER_LEN>().filter(|header| u16::from_be_bytes(**header) & LAYER_MASK == 0);
    header.is_some_and(|header| kind_of(header[0]) == PREFIX_SEI) && nal.get(HEADER_LEN).is_some_and(|kind| *kind != USER_DATA)
}

/// RFC 7798 section 4.4.2: F is the OR of the aggregated units' F bits, layer and temporal identifier the lowest of theirs.
fn aggregate_header(nals: &[&[u8]]) -> [u8; HEADER_LEN] {
    let headers = || nals.iter().filter_map(|nal| nal.first_chunk::<HEADER_LEN>()).map(|header| u16::from_be_bytes(*header));
    let forbidden = headers().fold(0, |bits, header| bits | (header >> 8) as u8 & FORBIDDEN_BIT);
    let layer = headers().map(|header| header & LAYER_MASK).min().unwrap_or(0);
    let temporal = headers().map(|header| header as u8 & TEMPORAL_MASK).min().unwrap_or(1);
    [forbidden | AGGREGATION << 1 | (layer >> 8) as u8, layer as u8 | temporal]
}

/// RFC 7798 section 4.4.3: the NAL unit's type goes into the FU header, the rest of its header into the payload header.
const fn fragment_header([header, layer]: [u8; HEADER_LEN]) -> ([u8; HEADER_LEN], u8) {
    ([header & !TYPE_MASK | FRAGMENTATION << 1, layer], kind_of(header))
}

#[cfg(test)]
mod tests;
