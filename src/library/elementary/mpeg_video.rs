//! MPEG-1 and MPEG-2 video: sequence and picture headers, as far as access units and their order need them.
//!
//! Decoding starts with an intra picture that has a sequence header before it: nothing else tells a decoder the size. Read first: ISO/IEC
//! 13818-2 sections 6.1.1.11, 6.2.2, 6.2.3, 6.3.3 and 6.3.9; ISO/IEC 11172-2 section 2.4.2 has the same without extensions.

use crate::library::codec::{Codec, PictureSize};
use crate::library::elementary::bits::Bits;
use crate::library::elementary::pictures::{Coding, Picture, Role};

/// Start codes (ISO/IEC 13818-2 table 6-1).
const PICTURE: u8 = 0x00;
const SEQUENCE: u8 = 0xb3;
const EXTENSION: u8 = 0xb5;
const GROUP: u8 = 0xb8;
/// extension_start_code_identifier (table 6-2).
const SEQUENCE_EXTENSION: u32 = 1;
const PICTURE_CODING_EXTENSION: u32 = 8;
/// picture_coding_type.
const INTRA: u32 = 1;
/// picture_structure of a whole frame.
const FRAME: u32 = 3;
/// temporal_reference has so many values.
const REFERENCES: i64 = 1 << 10;
const HALF_BACK: i64 = -REFERENCES / 2;
const HALF_AHEAD: i64 = REFERENCES / 2;
/// frame_rate_code 1 to 8 (table 6-4): pictures in so many thousandths of a second.
const RATES: [(u32, u32); 8] = [(24_000, 1_001), (24, 1), (25, 1), (30_000, 1_001), (30, 1), (50, 1), (60_000, 1_001), (60, 1)];

/// How much of a section is looked at.
pub const fn limit(code: u8) -> usize {
    match code {
        PICTURE | SEQUENCE | EXTENSION => 16,
        _ => 1,
    }
}

/// Reads an MPEG-1 or MPEG-2 stream.
#[derive(Debug, Default)]
pub struct MpegVideo {
    size: Option<PictureSize>,
    /// That of the sequence header.
    frame_rate: Option<(u32, u32)>,
    /// By what its extension multiplies pictures and seconds, each less one.
    rate_extension: (u32, u32),
    /// A sequence header came, and no picture since.
    is_described: bool,
    /// temporal_reference of the last picture.
    last: Option<i64>,
    /// The order of the picture whose temporal_reference is zero.
    base: i64,
    /// The highest order so far.
    highest: i64,
    /// Whether the last picture is a field that another may complete.
    awaits_field: bool,
    /// Whether it is one that did.
    is_second: bool,
}

impl MpegVideo {
    fn sequence(&mut self, head: &[u8]) -> Option<()> {
        let mut bits = Bits::new(head.get(1..)?);
        let (width, height) = (bits.take(12)?, bits.take(12)?);
        bits.skip(4)?;
        let code = bits.take(4)?;
        self.size = Some(PictureSize { width: u16::try_from(width).ok()?, height: u16::try_from(height).ok()? });
        self.frame_rate = usize::try_from(code).ok()?.checked_sub(1).and_then(|code| RATES.get(code)).copied();
        self.rate_extension = (0, 0);
        self.is_described = true;
        Some(())
    }

    fn extension(&mut self, head: &[u8]) -> Option<()> {
        let mut bits = Bits::new(head.get(1..)?);
        match bits.take(4)? {
            // profile_and_level_indication, progressive_sequence and chroma_format are before the size.
            SEQUENCE_EXTENSION => {
                bits.skip(8 + 1 + 2)?;
                let (width, height) = (bits.take(2)?, bits.take(2)?);
                let size = self.size.as_mut()?;
                size.width = size.width & 0xfff | u16::try_from(width << 12).ok()?;
                size.height = size.height & 0xfff | u16::try_from(height << 12).ok()?;
                // bit_rate_extension, a marker, vbv_buffer_size_extension and low_delay.
                bits.skip(12 + 1 + 8 + 1)?;
                self.rate_extension = (bits.take(2)?, bits.take(5)?);
            }
            // Four f_codes and intra_dc_precision are before the structure.
            PICTURE_CODING_EXTENSION => {
                bits.skip(16 + 2)?;
                self.awaits_field = bits.take(2)? != FRAME && !self.is_second;
            }
            _ => {}
        }
        Some(())
    }

    fn picture(&mut self, head: &[u8]) -> Option<Role> {
        let mut bits = Bits::new(head.get(1..)?);
        let reference = i64::from(bits.take(10)?);
        let is_intra = bits.take(3)? == INTRA;
        let is_described = std::mem::take(&mut self.is_described);
        self.is_second = std::mem::take(&mut self.awaits_field) && !is_described && self.last == Some(reference);
        if self.is_second {
            return Some(Role::SecondField);
        }
        if let Some(last) = self.last.replace(reference) {
            // It begins anew at each group, and runs over where there are none.
            match reference - last {
                ..HALF_BACK => self.base += REFERENCES,
                HALF_AHEAD.. => self.base -= REFERENCES,
                _ => {}
            }
        }
        let order = self.base + reference;
        self.highest = self.highest.max(order);
        Some(Role::Picture(Picture { is_key: is_intra && is_described, is_intra, begins_sequence: false, order: 2 * order }))
    }
}

impl Coding for MpegVideo {
    fn section(&mut self, head: &[u8]) -> Role {
        match head.first().copied() {
            Some(PICTURE) => return self.picture(head).unwrap_or(Role::Behind),
            Some(SEQUENCE) => {
                let _ = self.sequence(head);
            }
            Some(GROUP) => {
                self.base = self.last.take().map_or(0, |_| self.highest + 1);
                self.awaits_field = false;
            }
            Some(EXTENSION) => {
                let _ = self.extension(head);
                return Role::Behind;
            }
            _ => return Role::Behind,
        }
        Role::Before
    }

    fn codec(&self) -> Option<Codec> {
        self.size.map(Codec::Mpeg2Video)
    }

    fn frame_rate(&self) -> Option<(u32, u32)> {
        let (more, fewer) = self.rate_extension;
        self.frame_rate.map(|(pictures, seconds)| (pictures * (more + 1), seconds * (fewer + 1)))
    }

    /// The last octet of a slice may be zero: it is none of the next start code.
    fn has_zero_byte(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
