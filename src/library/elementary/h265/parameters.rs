//! Sequence and picture parameter sets (ISO/IEC 23008-2 sections 7.3.2.2, 7.3.2.3, 7.3.3, 7.3.4, 7.3.7 and E.2.1).

use crate::library::codec::H265Profile;
use crate::library::elementary::bits::Bits;

/// aspect_ratio_idc for a ratio in full.
const EXTENDED_RATIO: u32 = 255;
/// Sets of references in a sequence parameter set, and references in one of them.
const MAX_REFERENCE_SETS: u32 = 64;
const MAX_REFERENCES: u32 = 16;

/// What a sequence parameter set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceParameters {
    /// sps_seq_parameter_set_id.
    pub id: u32,
    /// What a decoder must be able to do.
    pub profile: H265Profile,
    /// Temporal sub-layers.
    pub temporal_layers: u8,
    /// separate_colour_plane_flag.
    pub has_separate_planes: bool,
    /// Luma samples across.
    pub width: u16,
    /// Luma samples down.
    pub height: u16,
    /// Bits of slice_pic_order_cnt_lsb.
    pub order_bits: u32,
    /// Pictures in so many seconds.
    pub frame_rate: Option<(u32, u32)>,
}

impl SequenceParameters {
    /// Of a NAL unit; `None` where it is cut short or impossible.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::of_nal(nal.get(2..)?);
        bits.skip(4)?;
        let layers = bits.take(3).filter(|layers| *layers < 7)?;
        bits.skip(1)?;
        let profile = profile(&mut bits, layers)?;
        let id = bits.unsigned().filter(|id| *id < 16)?;
        let chroma = bits.unsigned().filter(|chroma| *chroma <= 3)?;
        let has_separate_planes = chroma == 3 && bits.bit()?;
        let (across, down) = (bits.unsigned()?, bits.unsigned()?);
        let mut crop = [0; 4];
        if bits.bit()? {
            for edge in &mut crop {
                *edge = bits.unsigned()?;
            }
        }
        let step = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
        let cut = |size: u32, one: u32, other: u32, step: u32| {
            u16::try_from(size.checked_sub(one.checked_add(other)?.checked_mul(step)?)?).ok().filter(|size| *size > 0)
        };
        let (width, height) = (cut(across, crop[0], crop[1], step.0)?, cut(down, crop[2], crop[3], step.1)?);
        bits.unsigned()?;
        bits.unsigned()?;
        let order_bits = bits.unsigned().filter(|more| *more <= 12)? + 4;
        let frame_rate = frame_rate(&mut bits, layers, order_bits);
        let temporal_layers = layers as u8 + 1;
        Some(Self { id, profile, temporal_layers, has_separate_planes, width, height, order_bits, frame_rate })
    }
}

/// profile_tier_level with general_profile_idc; `layers` is sps_max_sub_layers_minus1.
fn profile(bits: &mut Bits<'_>, layers: u32) -> Option<H265Profile> {
    let (space, is_high_tier, idc) = (bits.take(2)? as u8, bits.bit()?, bits.take(5)? as u8);
    bits.skip(32)?;
    let mut constraints = [0; 6];
    for octet in &mut constraints {
        *octet = bits.take(8)? as u8;
    }
    let level_idc = bits.take(8)? as u8;
    let mut more = 0;
    for _ in 0..layers {
        more += if bits.bit()? { 88 } else { 0 };
        more += if bits.bit()? { 8 } else { 0 };
    }
    if layers > 0 {
        bits.skip(2 * (8 - layers))?;
    }
    bits.skip(more)?;
    Some(H265Profile { space, idc, is_high_tier, level_idc, constraints })
}

/// That of the usability information, to which much lies on the way.
fn frame_rate(bits: &mut Bits<'_>, layers: u32, order_bits: u32) -> Option<(u32, u32)> {
    let listed = if bits.bit()? { layers + 1 } else { 1 };
    // Three values a layer; four sizes of blocks; two depths of transforms.
    (0..3 * listed + 6).try_for_each(|_| bits.unsigned().map(drop))?;
    if bits.bit()? && bits.bit()? {
        scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.bit()? {
        bits.skip(8)?;
        bits.unsigned()?;
        bits.unsigned()?;
        bits.skip(1)?;
    }
    let sets = bits.unsigned().filter(|sets| *sets <= MAX_REFERENCE_SETS)?;
    let mut before = References::default();
    for number in 0..sets {
        before = References::parse(bits, &before, number > 0)?;
    }
    if bits.bit()? {
        let count = bits.unsigned().filter(|count| *count <= 32)?;
        bits.skip(count * (order_bits + 1))?;
    }
    bits.skip(2)?;
    if bits.bit()? { usability(bits) } else { None }
}

fn usability(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    if bits.bit()? && bits.take(8)? == EXTENDED_RATIO {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.skip(1)?;
    }
    if bits.bit()? {
        bits.skip(4)?;
        if bits.bit()? {
            bits.skip(24)?;
        }
    }
    if bits.bit()? {
        bits.unsigned()?;
        bits.unsigned()?;
    }
    bits.skip(3)?;
    if bits.bit()? {
        (0..4).try_for_each(|_| bits.unsigned().map(drop))?;
    }
    if !bits.bit()? {
        return None;
    }
    let (units, scale) = (bits.take(32)?, bits.take(32)?);
    (units > 0 && scale > 0).then_some((scale, units))
}

/// scaling_list_data.
fn scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !bits.bit()? {
                bits.unsigned()?;
                continue;
            }
            let coefficients = 64.min(1 << (4 + 2 * size)) + if size > 1 { 1 } else { 0 };
            (0..coefficients).try_for_each(|_| bits.signed().map(drop))?;
        }
    }
    Some(())
}

/// A short-term reference picture set: distances to earlier and to later pictures, the nearest first (section 7.4.8).
#[derive(Debug, Default)]
struct References {
    earlier: Vec<i32>,
    later: Vec<i32>,
}

impl References {
    fn parse(bits: &mut Bits<'_>, before: &Self, may_predict: bool) -> Option<Self> {
        if may_predict && bits.bit()? {
            return Self::predicted(bits, before);
        }
        let count = |bits: &mut Bits<'_>| bits.unsigned().filter(|count| *count <= MAX_REFERENCES);
        let (earlier, later) = (count(bits)?, count(bits)?);
        let list = |bits: &mut Bits<'_>, count: u32, sign: i32| {
            let mut distance = 0i32;
            let mut list = Vec::new();
            for _ in 0..count {
                distance = distance.checked_add(i32::try_from(bits.unsigned()?).ok()?.checked_add(1)?.checked_mul(sign)?)?;
                list.push(distance);
                bits.skip(1)?;
            }
            Some(list)
        };
        Some(Self { earlier: list(bits, earlier, -1)?, later: list(bits, later, 1)? })
    }

    /// Equations 7-61 and 7-62.
    fn predicted(bits: &mut Bits<'_>, before: &Self) -> Option<Self> {
        let is_negative = bits.bit()?;
        let magnitude = i32::try_from(bits.unsigned()?).ok()?.checked_add(1)?;
        let shift = if is_negative { -magnitude } else { magnitude };
        let mut is_kept = |distance: i32| {
            let is_used = bits.bit()? || bits.bit()?;
            Some((distance.checked_add(shift)?, is_used))
        };
        let moved = |list: &[i32], is_kept: &mut dyn FnMut(i32) -> Option<(i32, bool)>| -> Option<Vec<(i32, bool)>> {
            list.iter().map(|distance| is_kept(*distance)).collect()
        };
        let earlier = moved(&before.earlier, &mut is_kept)?;
        let later = moved(&before.later, &mut is_kept)?;
        let own = is_kept(0)?;
        let pick = |parts: [&mut dyn Iterator<Item = &(i32, bool)>; 3], fits: fn(i32) -> bool| -> Vec<i32> {
            let all = parts.into_iter().flatten();
            all.filter(|(distance, is_kept)| *is_kept && fits(*distance)).map(|(distance, _)| *distance).collect()
        };
        let owns = [own];
        let set = Self {
            earlier: pick([&mut later.iter().rev(), &mut owns.iter(), &mut earlier.iter()], |distance| distance < 0),
            later: pick([&mut earlier.iter().rev(), &mut owns.iter(), &mut later.iter()], |distance| distance > 0),
        };
        (set.earlier.len() + set.later.len() <= 2 * MAX_REFERENCES as usize).then_some(set)
    }
}

/// What a picture parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureParameters {
    /// pps_pic_parameter_set_id.
    pub id: u32,
    /// pps_seq_parameter_set_id.
    pub sequence: u32,
    /// output_flag_present_flag.
    pub has_output_flag: bool,
    /// num_extra_slice_header_bits.
    pub extra_bits: u32,
}

impl PictureParameters {
    /// Of a NAL unit.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::of_nal(nal.get(2..)?);
        let id = bits.unsigned().filter(|id| *id < 64)?;
        let sequence = bits.unsigned().filter(|id| *id < 16)?;
        bits.skip(1)?;
        Some(Self { id, sequence, has_output_flag: bits.bit()?, extra_bits: bits.take(3)? })
    }
}
