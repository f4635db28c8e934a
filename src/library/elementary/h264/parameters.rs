//! Sequence and picture parameter sets (ISO/IEC 14496-10 sections 7.3.2.1.1, 7.3.2.2 and E.1.1).

use crate::library::elementary::bits::Bits;

/// Profiles whose sequence parameter sets say how chroma is sampled (section 7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// aspect_ratio_idc for a ratio in full.
const EXTENDED_RATIO: u32 = 255;

/// What a sequence parameter set says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceParameters {
    /// seq_parameter_set_id.
    pub id: u32,
    /// profile_idc, constraint flags, level_idc.
    pub profile_level_id: [u8; 3],
    /// separate_colour_plane_flag.
    pub has_separate_planes: bool,
    /// Bits of frame_num.
    pub frame_number_bits: u32,
    /// pic_order_cnt_type.
    pub order_type: u32,
    /// Bits of pic_order_cnt_lsb.
    pub order_bits: u32,
    /// delta_pic_order_always_zero_flag.
    pub delta_is_zero: bool,
    /// offset_for_non_ref_pic.
    pub other_offset: i32,
    /// offset_for_ref_frame.
    pub reference_offsets: Vec<i32>,
    /// frame_mbs_only_flag.
    pub has_frames_only: bool,
    /// Luma samples across.
    pub width: u16,
    /// Luma samples down.
    pub height: u16,
    /// Frames in so many seconds.
    pub frame_rate: Option<(u32, u32)>,
}

impl SequenceParameters {
    /// Of a NAL unit; `None` where it is cut short or impossible.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::of_nal(nal.get(1..)?);
        let profile_level_id = [bits.take(8)? as u8, bits.take(8)? as u8, bits.take(8)? as u8];
        let mut parameters = Self { id: bits.unsigned().filter(|id| *id < 32)?, profile_level_id, ..Self::default() };
        let mut chroma = 1;
        if HIGH_PROFILES.contains(&profile_level_id[0]) {
            chroma = bits.unsigned().filter(|chroma| *chroma <= 3)?;
            parameters.has_separate_planes = chroma == 3 && bits.bit()?;
            bits.unsigned()?;
            bits.unsigned()?;
            bits.skip(1)?;
            if bits.bit()? {
                (0..if chroma == 3 { 12 } else { 8 }).try_for_each(|list| scaling_list(&mut bits, if list < 6 { 16 } else { 64 }))?;
            }
        }
        parameters.frame_number_bits = bits.unsigned().filter(|more| *more <= 12)? + 4;
        parameters.read_order(&mut bits)?;
        bits.unsigned()?;
        bits.skip(1)?;
        parameters.read_size(&mut bits, if parameters.has_separate_planes { 0 } else { chroma })?;
        if bits.bit()? {
            parameters.frame_rate = frame_rate(&mut bits);
        }
        Some(parameters)
    }

    fn read_order(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.order_type = bits.unsigned().filter(|kind| *kind <= 2)?;
        match self.order_type {
            0 => self.order_bits = bits.unsigned().filter(|more| *more <= 12)? + 4,
            1 => {
                self.delta_is_zero = bits.bit()?;
                self.other_offset = bits.signed()?;
                bits.signed()?;
                let count = bits.unsigned().filter(|count| *count <= 255)?;
                self.reference_offsets = (0..count).map(|_| bits.signed()).collect::<Option<_>>()?;
            }
            _ => {}
        }
        Some(())
    }

    /// Up to the cropping (equations 7-19 to 7-22); `chroma` is ChromaArrayType.
    fn read_size(&mut self, bits: &mut Bits<'_>, chroma: u32) -> Option<()> {
        let across = bits.unsigned()?.checked_add(1)?.checked_mul(16)?;
        let units = bits.unsigned()?.checked_add(1)?;
        self.has_frames_only = bits.bit()?;
        let fields = if self.has_frames_only { 1 } else { 2 };
        let down = units.checked_mul(16 * fields)?;
        if !self.has_frames_only {
            bits.skip(1)?;
        }
        bits.skip(1)?;
        let mut crop = [0; 4];
        if bits.bit()? {
            for edge in &mut crop {
                *edge = bits.unsigned()?;
            }
        }
        let step = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 } * fields);
        let cut = |size: u32, one: u32, other: u32, step: u32| {
            u16::try_from(size.checked_sub(one.checked_add(other)?.checked_mul(step)?)?).ok().filter(|size| *size > 0)
        };
        self.width = cut(across, crop[0], crop[1], step.0)?;
        self.height = cut(down, crop[2], crop[3], step.1)?;
        Some(())
    }
}

/// Section 7.3.2.1.1.1.
fn scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    if !bits.bit()? {
        return Some(());
    }
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.checked_add(bits.signed()?)?.rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// That of the usability information: two ticks a frame.
fn frame_rate(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
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
    if !bits.bit()? {
        return None;
    }
    let (units, scale) = (bits.take(32)?, bits.take(32)?);
    (units > 0 && scale > 0).then_some((scale, units.checked_mul(2)?))
}

/// What a picture parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureParameters {
    /// pic_parameter_set_id.
    pub id: u32,
    /// seq_parameter_set_id.
    pub sequence: u32,
    /// bottom_field_pic_order_in_frame_present_flag.
    pub has_bottom_order: bool,
}

impl PictureParameters {
    /// Of a NAL unit.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::of_nal(nal.get(1..)?);
        let id = bits.unsigned().filter(|id| *id < 256)?;
        let sequence = bits.unsigned().filter(|id| *id < 32)?;
        bits.skip(1)?;
        Some(Self { id, sequence, has_bottom_order: bits.bit()? })
    }
}
