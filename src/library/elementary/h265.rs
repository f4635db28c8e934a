//! H.265 streams: parameter sets, slice headers as far as access units and their order need them. Only the base layer counts.
//!
//! Read first: ISO/IEC 23008-2 sections 7.3.1.2, 7.3.2, 7.3.6.1, 7.4.2.4.4, 8.3.1 and annex E.

mod parameters;

use std::collections::BTreeMap;

use crate::library::codec::{Codec, H265Config, NalFraming};
use crate::library::elementary::bits::Bits;
use crate::library::elementary::pictures::{Coding, Picture, Role};
use crate::library::elementary::start_code::without_trailing_zeros;

pub use parameters::{PictureParameters, SequenceParameters};

/// Intra random access points, the broken links among them, and the two kinds of IDR.
const ACCESS_POINTS: std::ops::RangeInclusive<u8> = 16..=23;
const KEYS: std::ops::RangeInclusive<u8> = 16..=21;
const CLEAN_ACCESS: u8 = 21;
const IDR: std::ops::RangeInclusive<u8> = 19..=20;
/// Slices are of the types below this one.
const NO_SLICE: u8 = 32;
const VIDEO_PARAMETER_SET: u8 = 32;
const SEQUENCE_PARAMETER_SET: u8 = 33;
const PICTURE_PARAMETER_SET: u8 = 34;
/// The ends of a sequence and of the stream.
const ENDS: std::ops::RangeInclusive<u8> = 36..=37;
/// RADL and RASL pictures.
const LEADING: std::ops::RangeInclusive<u8> = 6..=9;
/// slice_type of a slice that refers to nothing.
const INTRA: u32 = 2;
/// Parameter sets of a kind that are kept for the description.
const MAX_SETS: usize = 8;

/// How much of a NAL unit is looked at: parameter sets whole, the beginning of others.
pub const fn limit(header: u8) -> usize {
    match header >> 1 & 0x3f {
        VIDEO_PARAMETER_SET..=PICTURE_PARAMETER_SET => 4096,
        _ => 32,
    }
}

/// Reads an H.265 stream.
#[derive(Debug, Default)]
pub struct H265 {
    sequences: BTreeMap<u32, SequenceParameters>,
    pictures: BTreeMap<u32, PictureParameters>,
    /// The first ones of each kind.
    sets: [Vec<Vec<u8>>; 3],
    described: Option<SequenceParameters>,
    has_picture: bool,
    /// Of the last picture that orders count on from.
    order: i64,
    has_ended: bool,
}

impl H265 {
    fn add_set(&mut self, kind: u8, nal: &[u8]) {
        match kind {
            SEQUENCE_PARAMETER_SET => {
                let Some(parameters) = SequenceParameters::parse(nal) else { return };
                self.described.get_or_insert_with(|| parameters.clone());
                self.sequences.insert(parameters.id, parameters);
            }
            PICTURE_PARAMETER_SET => {
                let Some(parameters) = PictureParameters::parse(nal) else { return };
                self.pictures.insert(parameters.id, parameters);
            }
            _ => {}
        }
        let sets = self.sets.get_mut(usize::from(kind - VIDEO_PARAMETER_SET)).filter(|_| !self.has_picture);
        if let Some(sets) = sets.filter(|sets| sets.len() < MAX_SETS && !sets.iter().any(|known| known == nal)) {
            sets.push(nal.to_vec());
        }
    }

    fn slice(&mut self, kind: u8, layer: u8, nal: &[u8]) -> Role {
        let mut bits = Bits::of_nal(nal.get(2..).unwrap_or_default());
        match bits.bit() {
            Some(false) => return Role::SamePicture,
            Some(true) => {}
            None => return Role::Behind,
        }
        let Some((low, is_intra, range)) = self.read_slice(kind, &mut bits) else { return Role::Behind };
        let begins = kind < CLEAN_ACCESS && ACCESS_POINTS.contains(&kind) || !self.has_picture || std::mem::take(&mut self.has_ended);
        self.has_ended = false;
        self.has_picture |= self.sets.iter().all(|sets| !sets.is_empty());
        let order = if ACCESS_POINTS.contains(&kind) && begins { i64::from(low) } else { self.place(i64::from(low), range) };
        let is_referred_to = kind >= 16 || kind % 2 == 1;
        if layer & 7 == 1 && is_referred_to && !LEADING.contains(&kind) {
            self.order = order;
        }
        // Twice, for orders count fields elsewhere.
        let order = order.saturating_mul(2);
        Role::Picture(Picture { is_key: KEYS.contains(&kind), is_intra, begins_sequence: begins, order })
    }

    /// slice_pic_order_cnt_lsb, whether the slice refers to nothing, and how many values the former has.
    fn read_slice(&self, kind: u8, bits: &mut Bits<'_>) -> Option<(u32, bool, i64)> {
        if ACCESS_POINTS.contains(&kind) {
            bits.skip(1)?;
        }
        let picture = self.pictures.get(&bits.unsigned()?)?;
        let sequence = self.sequences.get(&picture.sequence)?;
        bits.skip(picture.extra_bits)?;
        let is_intra = bits.unsigned()? == INTRA;
        if picture.has_output_flag {
            bits.skip(1)?;
        }
        if sequence.has_separate_planes {
            bits.skip(2)?;
        }
        let low = if IDR.contains(&kind) { 0 } else { bits.take(sequence.order_bits)? };
        Some((low, is_intra, 1i64 << sequence.order_bits))
    }

    /// Section 8.3.1.
    const fn place(&self, low: i64, range: i64) -> i64 {
        let before = self.order.rem_euclid(range);
        let high = self.order.saturating_sub(before);
        if low < before && before - low >= range / 2 {
            high.saturating_add(range).saturating_add(low)
        } else if low > before && low - before > range / 2 {
            high.saturating_sub(range).saturating_add(low)
        } else {
            high.saturating_add(low)
        }
    }
}

impl Coding for H265 {
    fn section(&mut self, head: &[u8]) -> Role {
        let &[header, layer, ..] = head else { return Role::Behind };
        if header & 0x81 != 0 || layer & 0xf8 != 0 {
            return Role::Behind;
        }
        match header >> 1 {
            kind if kind < NO_SLICE => return self.slice(kind, layer, head),
            kind @ VIDEO_PARAMETER_SET..=PICTURE_PARAMETER_SET => self.add_set(kind, without_trailing_zeros(head)),
            35 | 39 | 41..=44 | 48..=55 => {}
            kind => {
                self.has_ended |= ENDS.contains(&kind);
                return Role::Behind;
            }
        }
        Role::Before
    }

    fn codec(&self) -> Option<Codec> {
        let parameters = self.described.as_ref().filter(|_| self.sets.iter().all(|sets| !sets.is_empty()))?;
        let [video, sequence, picture] = self.sets.clone();
        Some(Codec::H265(H265Config {
            framing: NalFraming::StartCodes,
            profile: parameters.profile,
            temporal_layers: parameters.temporal_layers,
            video_parameter_sets: video,
            sequence_parameter_sets: sequence,
            picture_parameter_sets: picture,
            messages: Vec::new(),
            width: parameters.width,
            height: parameters.height,
        }))
    }

    fn frame_rate(&self) -> Option<(u32, u32)> {
        self.described.as_ref()?.frame_rate
    }
}

#[cfg(test)]
mod tests;
