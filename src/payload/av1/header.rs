//! As much of AV1's headers as tells whether a frame is kept for others (AV1 specification sections 5.5.1 and 5.9.2).

use crate::payload::bits::Bits;

/// The frame's own bit says so (seq_force_screen_content_tools, seq_force_integer_mv).
const SELECT: u32 = 2;
const KEY_FRAME: u32 = 0;
const INTRA_ONLY_FRAME: u32 = 2;
const SWITCH_FRAME: u32 = 3;

/// What reading a frame header needs of its sequence header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    screen_content_tools: u32,
    integer_motion_vectors: u32,
    frame_id_bits: u32,
    order_hint_bits: u32,
}

impl Sequence {
    /// Reads a sequence header OBU's body; `None` where it is cut short, and of still pictures and of streams with a decoder model,
    /// whose frame headers hold more.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(body);
        bits.skip(3 + 1); // seq_profile, still_picture
        if bits.flag()? {
            return None; // reduced_still_picture_header
        }
        if bits.flag()? {
            // timing_info
            bits.skip(64);
            if bits.flag()? {
                skip_uvlc(&mut bits)?;
            }
            if bits.flag()? {
                return None; // decoder_model_info_present_flag
            }
        }
        let has_display_delay = bits.flag()?;
        for _ in 0..=bits.take(5)? {
            bits.skip(12); // operating_point_idc
            if bits.take(5)? > 7 {
                bits.skip(1); // seq_tier
            }
            if has_display_delay && bits.flag()? {
                bits.skip(4);
            }
        }
        let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
        bits.skip(width_bits + height_bits);
        // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
        let frame_id_bits = if bits.flag()? { bits.take(4)? + bits.take(3)? + 3 } else { 0 };
        bits.skip(3 + 4); // up to enable_dual_filter
        let has_order_hint = bits.flag()?;
        if has_order_hint {
            bits.skip(2); // enable_jnt_comp, enable_ref_frame_mvs
        }
        let screen_content_tools = if bits.flag()? { SELECT } else { bits.take(1)? };
        let integer_motion_vectors = if screen_content_tools == 0 || bits.flag()? { SELECT } else { bits.take(1)? };
        let order_hint_bits = if has_order_hint { bits.take(3)? + 1 } else { 0 };
        Some(Self { screen_content_tools, integer_motion_vectors, frame_id_bits, order_hint_bits })
    }
}

fn skip_uvlc(bits: &mut Bits<'_>) -> Option<()> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
    }
    bits.skip(zeros);
    Some(())
}

/// Whether a frame with this header is kept in none of the slots; not where that cannot be told.
pub fn refreshes_nothing(frame: &[u8], sequence: &Sequence) -> bool {
    refresh_frame_flags(frame, sequence) == Some(0)
}

fn refresh_frame_flags(frame: &[u8], sequence: &Sequence) -> Option<u32> {
    let mut bits = Bits::new(frame);
    if bits.flag()? {
        return None; // show_existing_frame: a key frame would be kept anew
    }
    let (kind, show_frame) = (bits.take(2)?, bits.flag()?);
    if !show_frame {
        bits.skip(1); // showable_frame
    }
    if kind == SWITCH_FRAME || (kind == KEY_FRAME && show_frame) {
        return Some(0xff);
    }
    let error_resilient = bits.flag()?;
    bits.skip(1); // disable_cdf_update
    let screen_content = if sequence.screen_content_tools == SELECT { bits.take(1)? } else { sequence.screen_content_tools };
    if screen_content == 1 && sequence.integer_motion_vectors == SELECT {
        bits.skip(1);
    }
    bits.skip(sequence.frame_id_bits + 1 + sequence.order_hint_bits); // with frame_size_override_flag
    if !(matches!(kind, KEY_FRAME | INTRA_ONLY_FRAME) || error_resilient) {
        bits.skip(3); // primary_ref_frame
    }
    bits.take(8)
}
