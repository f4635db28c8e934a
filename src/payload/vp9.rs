//! VP9 in RTP (RFC 9628): a superframe in as many packets as it takes, with the one-octet payload descriptor.
//!
//! Non-flexible mode without picture numbers, layers and scalability structure: the same frame gives the same packets each time, a
//! number would not lie in it, and a structure asks for numbers. A superframe is not split: its hidden frames have no time of their
//! own. Read first: RFC 9628 section 4.2; VP9 Bitstream & Decoding Process Specification section 6.2 and annex B.

use crate::library::Vp9Config;
use crate::payload::bits::Bits;
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN, even_pieces};

/// The payload descriptor (RFC 9628 section 4.2).
const DESCRIPTOR_LEN: usize = 1;
const INTER_PREDICTED: u8 = 0x40;
const START_OF_FRAME: u8 = 0x08;
const END_OF_FRAME: u8 = 0x04;

/// Makes packets of VP9 superframes.
#[derive(Debug)]
pub struct Vp9Payloader {
    profile: u8,
    max_payload: usize,
}

impl Vp9Payloader {
    pub(super) const fn new(config: &Vp9Config, max_packet: usize) -> Self {
        Self { profile: config.profile, max_payload: max_packet - RTP_HEADER_LEN }
    }
}

impl Format for Vp9Payloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        let is_predicted = Header::parse(unit).is_none_or(|header| header.is_predicted);
        let predicted = if is_predicted { INTER_PREDICTED } else { 0 };
        let pieces = even_pieces(unit, self.max_payload - DESCRIPTOR_LEN);
        let last = pieces.len().saturating_sub(1);
        for (position, piece) in pieces.enumerate() {
            let start = if position == 0 { START_OF_FRAME } else { 0 };
            let end = if position == last { END_OF_FRAME } else { 0 };
            out.begin();
            out.extend(&[predicted | start | end]);
            out.extend(piece);
            out.finish(position == last);
        }
        Ok(())
    }

    /// Whether all its frames leave nothing behind. Motion vectors are predicted from the frame before whatever that is, unless the
    /// encoder has taken it that frames get lost.
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let mut frames = Frames::new(unit).peekable();
        frames.peek().is_some() && frames.all(|frame| Header::parse(frame).is_some_and(|header| header.leaves_nothing))
    }

    fn encoding_name(&self) -> String {
        "VP9/90000".into()
    }

    /// RFC 9628 section 7.1: what a decoder must be able to do.
    fn format_parameters(&self) -> String {
        format!("profile-id={}", self.profile)
    }
}

/// What matters here of an uncompressed header (section 6.2).
struct Header {
    is_predicted: bool,
    leaves_nothing: bool,
}

impl Header {
    fn parse(frame: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(frame);
        if bits.take(2)? != 2 {
            return None;
        }
        let profile = bits.take(1)? | bits.take(1)? << 1;
        if profile == 3 {
            bits.skip(1);
        }
        if bits.flag()? {
            // show_existing_frame
            return Some(Self { is_predicted: true, leaves_nothing: false });
        }
        let is_inter = bits.flag()?;
        if !is_inter {
            return Some(Self { is_predicted: false, leaves_nothing: false });
        }
        let (show_frame, error_resilient) = (bits.flag()?, bits.flag()?);
        let intra_only = !show_frame && bits.flag()?;
        if !error_resilient {
            return Some(Self { is_predicted: !intra_only, leaves_nothing: false });
        }
        if intra_only {
            bits.skip(24); // frame_sync_code
            if profile > 0 {
                return Some(Self { is_predicted: false, leaves_nothing: false });
            }
        }
        let refresh_frame_flags = bits.take(8)?;
        Some(Self { is_predicted: !intra_only, leaves_nothing: refresh_frame_flags == 0 })
    }
}

/// The frames of a superframe (annex B); the whole where it is none.
struct Frames<'a> {
    frames: &'a [u8],
    /// Of each frame, little-endian, in so many octets.
    sizes: &'a [u8],
    magnitude: usize,
}

impl<'a> Frames<'a> {
    fn new(unit: &'a [u8]) -> Self {
        let index = unit.last().filter(|marker| *marker & 0xe0 == 0xc0).and_then(|marker| {
            let (count, magnitude) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
            let (frames, index) = unit.split_at_checked(unit.len().checked_sub(2 + magnitude * count)?)?;
            let sizes = index.get(1..index.len() - 1).filter(|_| index.first() == Some(marker))?;
            Some(Self { frames, sizes, magnitude })
        });
        index.unwrap_or(Self { frames: unit, sizes: &[], magnitude: 0 })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.magnitude == 0 {
            return Some(std::mem::take(&mut self.frames)).filter(|frame| !frame.is_empty());
        }
        let (size, sizes) = self.sizes.split_at_checked(self.magnitude)?;
        self.sizes = sizes;
        let size = size.iter().rev().fold(0, |size, octet| size << 8 | usize::from(*octet));
        // One that does not fit is no frame, and no header is found in it.
        let (frame, frames) = self.frames.split_at_checked(size).unwrap_or_default();
        self.frames = frames;
        Some(frame)
    }
}

#[cfg(test)]
mod tests;
