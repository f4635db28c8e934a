//! H.264 streams: parameter sets, slice headers as far as access units and their order need them.
//!
//! Does not read reference picture marking: where a picture resets the order (memory management control operation 5) what follows counts
//! on. Read first: ISO/IEC 14496-10 sections 7.3.2.1, 7.3.3, 7.4.1.2.4, 8.2.1 and annex E.

mod order;
mod parameters;

use std::collections::BTreeMap;

use crate::library::codec::{Codec, H264Config, NalFraming};
use crate::library::elementary::bits::Bits;
use crate::library::elementary::pictures::{Coding, Picture, Role};
use crate::library::elementary::start_code::without_trailing_zeros;

use order::Order;
pub use parameters::{PictureParameters, SequenceParameters};

const IDR: u8 = 5;
const SEI: u8 = 6;
const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;
/// payloadType of a recovery point (annex D.1.8).
const RECOVERY_POINT: u32 = 6;
/// Parameter sets of a kind that are kept for the description.
const MAX_SETS: usize = 8;

/// How much of a NAL unit is looked at: parameter sets whole, the beginning of others.
pub const fn limit(header: u8) -> usize {
    match header & 0x1f {
        SEQUENCE_PARAMETER_SET | PICTURE_PARAMETER_SET => 4096,
        SEI => 256,
        _ => 64,
    }
}

/// What of a slice header tells pictures apart (section 7.4.1.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    first_macroblock: u32,
    picture_parameters: u8,
    frame_number: u32,
    is_reference: bool,
    is_idr: bool,
    is_intra: bool,
    is_field: bool,
    is_bottom: bool,
    idr_picture: u32,
    order_low: u32,
    delta_bottom: i32,
    delta: [i32; 2],
}

impl Slice {
    /// Whether both are slices of one picture.
    fn goes_with(&self, other: &Self) -> bool {
        let same = |slice: &Self| Self { first_macroblock: 0, is_intra: false, ..*slice };
        same(self) == same(other)
    }

    /// Whether this is of the second field of the frame that the other began.
    fn completes(&self, first: &Self) -> bool {
        self.is_field
            && first.is_field
            && self.is_bottom != first.is_bottom
            && self.frame_number == first.frame_number
            && self.is_reference == first.is_reference
            && (!self.is_idr || first.is_idr)
    }
}

/// Reads an H.264 stream.
#[derive(Debug, Default)]
pub struct H264 {
    sequences: BTreeMap<u32, SequenceParameters>,
    pictures: BTreeMap<u32, PictureParameters>,
    config: Option<H264Config>,
    is_described: bool,
    order: Order,
    last: Option<Slice>,
    /// Whether the last picture is a frame already.
    is_paired: bool,
    recovers: bool,
}

impl H264 {
    fn add_sequence(&mut self, nal: &[u8]) {
        let Some(parameters) = SequenceParameters::parse(nal) else { return };
        if !self.is_described && self.config.is_none() {
            self.config = Some(H264Config {
                framing: NalFraming::StartCodes,
                profile_level_id: parameters.profile_level_id,
                sequence_parameter_sets: Vec::new(),
                picture_parameter_sets: Vec::new(),
                width: parameters.width,
                height: parameters.height,
            });
        }
        if let Some(config) = self.config.as_mut().filter(|_| !self.is_described) {
            add(&mut config.sequence_parameter_sets, nal);
        }
        self.sequences.insert(parameters.id, parameters);
    }

    fn add_picture(&mut self, nal: &[u8]) {
        let Some(parameters) = PictureParameters::parse(nal) else { return };
        if let Some(config) = self.config.as_mut().filter(|_| !self.is_described) {
            add(&mut config.picture_parameter_sets, nal);
        }
        self.pictures.insert(parameters.id, parameters);
    }

    fn slice(&mut self, header: u8, nal: &[u8]) -> Role {
        let Some((slice, sequence)) = self.read_slice(header, nal) else { return Role::Behind };
        let recovers = std::mem::take(&mut self.recovers);
        if let Some(last) = &self.last {
            if slice.goes_with(last) {
                return Role::SamePicture;
            }
            if !self.is_paired && slice.completes(last) {
                self.is_paired = true;
                self.last = Some(slice);
                return Role::SamePicture;
            }
        }
        self.last = Some(slice);
        self.is_paired = false;
        self.is_described |= self.config.as_ref().is_some_and(|config| !config.picture_parameter_sets.is_empty());
        let order = self.sequences.get(&sequence).map_or(0, |sequence| self.order.of(&slice, sequence));
        Role::Picture(Picture {
            is_key: slice.is_idr || recovers && slice.is_intra,
            is_intra: slice.is_intra,
            begins_sequence: slice.is_idr,
            order,
        })
    }

    /// The slice header, and the identifier of its sequence parameter set; `None` where those it refers to are not known.
    fn read_slice(&self, header: u8, nal: &[u8]) -> Option<(Slice, u32)> {
        let mut bits = Bits::of_nal(nal.get(1..)?);
        let first_macroblock = bits.unsigned()?;
        let kind = bits.unsigned()?;
        let identifier = bits.unsigned()?;
        let picture = self.pictures.get(&identifier)?;
        let sequence = self.sequences.get(&picture.sequence)?;
        let is_idr = header & 0x1f == IDR;
        let mut slice = Slice {
            first_macroblock,
            picture_parameters: u8::try_from(identifier).ok()?,
            is_reference: header & 0x60 != 0,
            is_idr,
            is_intra: matches!(kind % 5, 2 | 4),
            ..Slice::default()
        };
        if sequence.has_separate_planes {
            bits.skip(2)?;
        }
        slice.frame_number = bits.take(sequence.frame_number_bits)?;
        if !sequence.has_frames_only {
            slice.is_field = bits.bit()?;
            slice.is_bottom = slice.is_field && bits.bit()?;
        }
        if is_idr {
            slice.idr_picture = bits.unsigned()?;
        }
        match sequence.order_type {
            0 => {
                slice.order_low = bits.take(sequence.order_bits)?;
                if picture.has_bottom_order && !slice.is_field {
                    slice.delta_bottom = bits.signed()?;
                }
            }
            1 if !sequence.delta_is_zero => {
                slice.delta[0] = bits.signed()?;
                if picture.has_bottom_order && !slice.is_field {
                    slice.delta[1] = bits.signed()?;
                }
            }
            _ => {}
        }
        Some((slice, picture.sequence))
    }
}

/// Adds a set that is not there yet.
fn add(sets: &mut Vec<Vec<u8>>, set: &[u8]) {
    if sets.len() < MAX_SETS && !sets.iter().any(|known| known == set) {
        sets.push(set.to_vec());
    }
}

/// Whether supplemental information names a recovery point (section 7.3.2.3.1).
fn has_recovery_point(nal: &[u8]) -> bool {
    let mut bits = Bits::of_nal(nal.get(1..).unwrap_or_default());
    let mut number = || {
        let mut value = 0u32;
        loop {
            let octet = bits.take(8)?;
            value = value.saturating_add(octet);
            if octet != 0xff {
                return Some(value);
            }
        }
    };
    // A message's length is known, but not whether it ends within what is kept.
    let (Some(kind), Some(len)) = (number(), number()) else { return false };
    if kind == RECOVERY_POINT {
        return true;
    }
    let mut rest = bits;
    let mut len = len;
    while rest.skip(len.saturating_mul(8)).is_some() {
        let (Some(kind), Some(next)) = (rest.take(8), rest.take(8)) else { return false };
        match kind {
            RECOVERY_POINT => return true,
            0xff => return false,
            _ => len = next,
        }
    }
    false
}

impl Coding for H264 {
    fn section(&mut self, head: &[u8]) -> Role {
        let Some(&header) = head.first().filter(|header| **header & 0x80 == 0) else { return Role::Behind };
        match header & 0x1f {
            1 | 2 | IDR => return self.slice(header, head),
            SEI => self.recovers |= has_recovery_point(head),
            SEQUENCE_PARAMETER_SET => self.add_sequence(without_trailing_zeros(head)),
            PICTURE_PARAMETER_SET => self.add_picture(without_trailing_zeros(head)),
            9 | 14..=18 => {}
            _ => return Role::Behind,
        }
        Role::Before
    }

    fn codec(&self) -> Option<Codec> {
        self.config.clone().filter(|config| !config.picture_parameter_sets.is_empty()).map(Codec::H264)
    }

    fn frame_rate(&self) -> Option<(u32, u32)> {
        self.sequences.values().next()?.frame_rate
    }
}

#[cfg(test)]
mod tests;
