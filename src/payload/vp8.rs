//! VP8 in RTP (RFC 7741): a frame in as many packets as it takes, with the one-octet payload descriptor.
//!
//! No picture numbers: the same frame gives the same packets each time, and a number would not lie in it. Partitions are not looked
//! for, all is said to belong to the first, as senders commonly do. Read first: RFC 7741 section 4.2, RFC 6386 sections 7 and 19.2.

use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN, even_pieces};

/// The payload descriptor (RFC 7741 section 4.2): no extension, partition 0.
const DESCRIPTOR_LEN: usize = 1;
const NON_REFERENCE: u8 = 0x20;
const START_OF_PARTITION: u8 = 0x10;
/// The frame tag (RFC 6386 section 9.1), behind which the first partition of an inter frame begins.
const FRAME_TAG_LEN: usize = 3;

/// Makes packets of VP8 frames.
#[derive(Debug)]
pub struct Vp8Payloader {
    max_payload: usize,
}

impl Vp8Payloader {
    pub(super) const fn new(max_packet: usize) -> Self {
        Self { max_payload: max_packet - RTP_HEADER_LEN }
    }
}

impl Format for Vp8Payloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        let mut descriptor = if self.is_disposable(unit) { NON_REFERENCE } else { 0 };
        for (position, piece) in even_pieces(unit, self.max_payload - DESCRIPTOR_LEN).enumerate() {
            let start = if position == 0 { START_OF_PARTITION } else { 0 };
            descriptor = descriptor & !START_OF_PARTITION | start;
            out.begin();
            out.extend(&[descriptor]);
            out.extend(piece);
            out.finish(false);
        }
        out.mark_last();
        Ok(())
    }

    /// Whether it leaves nothing behind: no picture that is referred to, no probabilities, no segments, no filter levels.
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let is_inter = unit.first().is_some_and(|tag| tag & 1 == 1);
        is_inter && unit.get(FRAME_TAG_LEN..).and_then(BoolDecoder::new).is_some_and(|header| leaves_nothing(header) == Some(true))
    }

    fn encoding_name(&self) -> String {
        "VP8/90000".into()
    }
}

/// Of the header of an inter frame (RFC 6386 section 19.2); `None` where it goes on behind the end.
fn leaves_nothing(mut header: BoolDecoder<'_>) -> Option<bool> {
    // segmentation_enabled, then whether its map or its values change, which last.
    if header.flag() && (header.flag() | header.flag()) {
        return Some(false);
    }
    header.literal(1 + 6 + 3); // filter_type, loop_filter_level, sharpness_level
    // loop_filter_adj_enable, mode_ref_lf_delta_update. The levels last; but who tells them all, tells them in each frame.
    if header.flag() && header.flag() {
        for _ in 0..4 + 4 {
            if !header.flag() {
                return Some(false);
            }
            header.literal(6 + 1);
        }
    }
    header.literal(2 + 7); // log2_nbr_of_dct_partitions, y_ac_qi
    for _ in 0..5 {
        if header.flag() {
            header.literal(4 + 1);
        }
    }
    let (golden, alternate) = (header.flag(), header.flag());
    let copies_to_golden = !golden && header.literal(2) != 0;
    let copies_to_alternate = !alternate && header.literal(2) != 0;
    header.literal(2); // sign biases
    let (entropy, last) = (header.flag(), header.flag());
    (!header.is_exhausted()).then_some(!(golden | alternate | copies_to_golden | copies_to_alternate | entropy | last))
}

/// The boolean entropy decoder (RFC 6386 section 7.3), as far as headers need it.
struct BoolDecoder<'a> {
    rest: &'a [u8],
    value: u32,
    range: u32,
    shifted: u32,
    /// Octets that were read behind the end.
    missing: u32,
}

impl<'a> BoolDecoder<'a> {
    fn new(octets: &'a [u8]) -> Option<Self> {
        let (first, rest) = octets.split_first_chunk::<2>()?;
        Some(Self { rest, value: u32::from(u16::from_be_bytes(*first)), range: 255, shifted: 0, missing: 0 })
    }

    /// A bit of which both values are as likely.
    fn flag(&mut self) -> bool {
        let split = 1 + (((self.range - 1) * 128) >> 8);
        let bit = self.value >= split << 8;
        if bit {
            self.range -= split;
            self.value -= split << 8;
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.value <<= 1;
            self.range <<= 1;
            self.shifted += 1;
            if self.shifted == 8 {
                self.shifted = 0;
                match self.rest.split_first() {
                    Some((octet, rest)) => (self.value, self.rest) = (self.value | u32::from(*octet), rest),
                    None => self.missing += 1,
                }
            }
        }
        bit
    }

    fn literal(&mut self, bits: u32) -> u32 {
        (0..bits).fold(0, |value, _| value << 1 | u32::from(self.flag()))
    }

    /// Whether bits were read that are not there: two octets are read ahead.
    const fn is_exhausted(&self) -> bool {
        self.missing > 2
    }
}

#[cfg(test)]
mod tests;
