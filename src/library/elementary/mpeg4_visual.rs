//! MPEG-4 Visual: the headers before VOPs, and of VOPs their kind and time.
//!
//! Read first: ISO/IEC 14496-2 sections 6.2.2 to 6.2.5 and 6.3.5 (modulo_time_base counts the seconds since the last I- or P-VOP's).

use crate::library::codec::{Codec, Mpeg4VisualConfig};
use crate::library::elementary::bits::Bits;
use crate::library::elementary::pictures::{Coding, Picture, Role};

/// Start codes (ISO/IEC 14496-2 table 6-3).
const VIDEO_OBJECT_LAYERS: std::ops::RangeInclusive<u8> = 0x20..=0x2f;
const LAST_HEADER: u8 = 0x2f;
const SEQUENCE: u8 = 0xb0;
const GROUP: u8 = 0xb3;
const VISUAL_OBJECT: u8 = 0xb5;
const VOP: u8 = 0xb6;
/// vop_coding_type.
const INTRA: u32 = 0;
const BIDIRECTIONAL: u32 = 2;
/// aspect_ratio_info: the ratio itself follows.
const EXTENDED_RATIO: u32 = 15;
/// Bits of vbv_parameters.
const VBV_BITS: u32 = 79;
/// Seconds that a VOP may be behind the one before it.
const MAX_SECONDS: i64 = 60;
/// Pictures a second, where the stream does not say.
const RATE: u32 = 25;
/// Octets of headers that are kept for the description.
const MAX_HEADERS: usize = 4_096;

/// How much of a section is looked at.
pub const fn limit(code: u8) -> usize {
    match code {
        ..=LAST_HEADER | SEQUENCE | VISUAL_OBJECT => 1_024,
        VOP => 32,
        _ => 1,
    }
}

/// What a video object layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layer {
    width: u16,
    height: u16,
    /// Ticks in a second, and bits in which they are written.
    resolution: u32,
    time_bits: u32,
    /// Ticks from one VOP to the next, where that is always the same.
    increment: Option<u32>,
}

impl Layer {
    /// Reads it from behind its start code on; `None` of those that are no rectangle.
    fn parse(octets: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(octets);
        bits.skip(1 + 8)?;
        if bits.bit()? {
            bits.skip(4 + 3)?;
        }
        if bits.take(4)? == EXTENDED_RATIO {
            bits.skip(16)?;
        }
        if bits.bit()? {
            bits.skip(2 + 1)?;
            if bits.bit()? {
                bits.skip(VBV_BITS)?;
            }
        }
        let is_rectangle = bits.take(2)? == 0;
        bits.skip(1)?;
        let resolution = bits.take(16).filter(|resolution| *resolution > 0 && is_rectangle)?;
        let time_bits = (u32::BITS - (resolution - 1).leading_zeros()).max(1);
        bits.skip(1)?;
        let increment = if bits.bit()? { Some(bits.take(time_bits)?).filter(|increment| *increment > 0) } else { None };
        bits.skip(1)?;
        let width = u16::try_from(bits.take(13)?).ok()?;
        bits.skip(1)?;
        let height = u16::try_from(bits.take(13)?).ok()?;
        Some(Self { width, height, resolution, time_bits, increment })
    }

    /// Ticks from one picture to the next: where nothing says, such as few ticks in a second are pictures each.
    fn step(&self) -> u32 {
        self.increment.unwrap_or(if self.resolution <= 2 * RATE + 10 { 1 } else { self.resolution / RATE })
    }
}

/// Reads an MPEG-4 Visual stream.
#[derive(Debug, Default)]
pub struct Mpeg4Visual {
    /// The headers before the first VOP.
    headers: Vec<u8>,
    is_described: bool,
    layer: Option<Layer>,
    /// Whole seconds of the last two VOPs that others refer to.
    seconds: i64,
    seconds_before: i64,
}

impl Mpeg4Visual {
    fn header(&mut self, code: u8, body: &[u8]) {
        let has_room = self.headers.len() + body.len() < MAX_HEADERS;
        if !self.is_described && has_room {
            let zeros = body.iter().rev().take_while(|octet| **octet == 0).count();
            self.headers.extend([0, 0, 1, code]);
            self.headers.extend(&body[..body.len() - zeros]);
        }
        if VIDEO_OBJECT_LAYERS.contains(&code)
            && let Some(layer) = Layer::parse(body)
        {
            self.layer = Some(layer);
        }
    }

    fn vop(&mut self, body: &[u8]) -> Option<Role> {
        let layer = self.layer?;
        self.is_described = true;
        let mut bits = Bits::new(body);
        let kind = bits.take(2)?;
        let mut seconds = 0;
        while bits.bit()? {
            seconds += 1;
        }
        bits.skip(1)?;
        let ticks = i64::from(bits.take(layer.time_bits)?);
        let seconds = seconds.min(MAX_SECONDS);
        let whole = if kind == BIDIRECTIONAL {
            self.seconds_before + seconds
        } else {
            self.seconds_before = self.seconds;
            self.seconds += seconds;
            self.seconds
        };
        let order = 2 * (whole * i64::from(layer.resolution) + ticks) / i64::from(layer.step());
        let is_intra = kind == INTRA;
        Some(Role::Picture(Picture { is_key: is_intra, is_intra, begins_sequence: false, order }))
    }
}

impl Coding for Mpeg4Visual {
    fn section(&mut self, head: &[u8]) -> Role {
        let Some((&code, body)) = head.split_first() else { return Role::Behind };
        match code {
            VOP => return self.vop(body).unwrap_or(Role::Behind),
            ..=LAST_HEADER | SEQUENCE | VISUAL_OBJECT => self.header(code, body),
            GROUP => {}
            _ => return Role::Behind,
        }
        Role::Before
    }

    fn codec(&self) -> Option<Codec> {
        let Layer { width, height, .. } = self.layer?;
        Some(Codec::Mpeg4Visual(Mpeg4VisualConfig { headers: self.headers.clone(), width, height }))
    }

    fn frame_rate(&self) -> Option<(u32, u32)> {
        self.layer.map(|layer| (layer.resolution, layer.step()))
    }

    fn has_zero_byte(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
