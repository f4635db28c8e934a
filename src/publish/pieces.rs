//! Pictures that come in pieces which are put one behind the other, the last of them marked: VP8 (RFC 7741), VP9 (RFC 9628), MPEG-1 and
//! MPEG-2 video (RFC 2250 section 3.1) and MPEG-4 Visual (RFC 6416).
//!
//! A picture also ends where the timestamp changes. Spatial layers of VP9 are not taken in: without the index of a superframe nobody could
//! tell them apart. Read first: RFC 7741 section 4.2, RFC 9628 section 4.2, RFC 2250 section 3.4, RFC 6416 section 5.2.

use std::collections::VecDeque;

use crate::library::elementary::bits::Bits;
use crate::library::elementary::mpeg_video::{self, MpegVideo};
use crate::library::elementary::mpeg4_visual::{self, Mpeg4Visual};
use crate::library::elementary::pictures::{Coding, Role};
use crate::library::elementary::start_code;
use crate::library::{Codec, PictureSize, Vp9Config};
use crate::publish::depacketizer::{MAX_UNIT, Payload, PayloadFault, Received};

/// The payload descriptor of VP8: what follows, and what begins (RFC 7741 section 4.2).
const VP8_EXTENDED: u8 = 0x80;
const VP8_START: u8 = 0x10;
const VP8_PARTITION: u8 = 0x07;
const VP8_PICTURE_ID: u8 = 0x80;
const VP8_TL0_INDEX: u8 = 0x40;
const VP8_LAYER_OR_KEY_INDEX: u8 = 0x30;
/// In the first octet of a picture number: it has 15 bits.
const WIDE: u8 = 0x80;
/// What stands behind the frame tag of a key frame (RFC 6386 section 9.1).
const VP8_START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
/// The payload descriptor of VP9 (RFC 9628 section 4.2).
const VP9_PICTURE_ID: u8 = 0x80;
const VP9_PREDICTED: u8 = 0x40;
const VP9_LAYERS: u8 = 0x20;
const VP9_FLEXIBLE: u8 = 0x10;
const VP9_START: u8 = 0x08;
const VP9_STRUCTURE: u8 = 0x02;
/// Reference indices in flexible mode at most.
const MAX_REFERENCES: usize = 3;
/// frame_sync_code, and the color_space that has no range (VP9 Bitstream & Decoding Process Specification sections 6.2 and 6.2.2).
const VP9_SYNC_CODE: u32 = 0x49_83_42;
const RGB: u32 = 7;
/// The MPEG Video-specific header, and the octets that its T bit adds (RFC 2250 section 3.4).
const MPEG_HEADER: usize = 4;
const MPEG_2_HEADER: u8 = 0x04;
/// Start codes with which a picture may begin: of MPEG video its own header, a sequence's and a group's (ISO/IEC 13818-2 table 6-1) …
const MPEG_BEGINNINGS: [u8; 3] = [0x00, 0xb3, 0xb8];
/// … and of MPEG-4 a VOP's, a group's, a sequence's and an object's, and all up to the last layer's (ISO/IEC 14496-2 table 6-3).
const MPEG4_BEGINNINGS: [u8; 4] = [0xb6, 0xb3, 0xb0, 0xb5];
const MPEG4_LAST_LAYER: u8 = 0x2f;

/// Which of them it is, and what has been learnt of it.
#[derive(Debug)]
enum PieceCoding {
    Vp8(Option<PictureSize>),
    Vp9(Option<Vp9Config>),
    MpegVideo(Box<MpegVideo>),
    Mpeg4Visual(Box<Mpeg4Visual>),
}

/// The picture that is put together.
#[derive(Debug)]
struct Begun {
    timestamp: i64,
    octets: Vec<u8>,
    is_damaged: bool,
}

/// Access units of a track.
#[derive(Debug)]
pub struct PiecedPictures {
    coding: PieceCoding,
    begun: Option<Begun>,
}

impl PiecedPictures {
    /// VP8.
    pub const fn vp8() -> Self {
        Self { coding: PieceCoding::Vp8(None), begun: None }
    }

    /// VP9.
    pub const fn vp9() -> Self {
        Self { coding: PieceCoding::Vp9(None), begun: None }
    }

    /// MPEG-1 and MPEG-2 video.
    pub fn mpeg_video() -> Self {
        Self { coding: PieceCoding::MpegVideo(Box::default()), begun: None }
    }

    /// MPEG-4 Visual, of which these headers are known beforehand.
    pub fn mpeg4_visual(headers: &[u8]) -> Self {
        let mut stream = Box::<Mpeg4Visual>::default();
        sections(headers, mpeg4_visual::limit).for_each(|head| {
            stream.section(head);
        });
        Self { coding: PieceCoding::Mpeg4Visual(stream), begun: None }
    }

    /// How they are coded, once a picture or the headers have said so.
    pub fn codec(&self) -> Option<Codec> {
        match &self.coding {
            PieceCoding::Vp8(size) => size.map(Codec::Vp8),
            PieceCoding::Vp9(config) => config.map(Codec::Vp9),
            PieceCoding::MpegVideo(stream) => stream.codec(),
            PieceCoding::Mpeg4Visual(stream) => stream.codec(),
        }
    }

    pub(super) const fn handle_loss(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.is_damaged = true;
        }
    }

    pub(super) fn handle(&mut self, payload: &Payload<'_>, ready: &mut VecDeque<Received>, damaged: &mut u64) -> Result<(), PayloadFault> {
        if self.begun.as_ref().is_some_and(|begun| begun.timestamp != payload.timestamp) {
            self.end(ready, damaged);
        }
        let outcome = self.take(payload);
        if outcome.is_err() {
            let begun = self.begun.get_or_insert(Begun { timestamp: payload.timestamp, octets: Vec::new(), is_damaged: true });
            (begun.is_damaged, begun.octets) = (true, Vec::new());
        }
        if payload.marker {
            self.end(ready, damaged);
        }
        outcome
    }

    /// Nothing follows: what is not marked is not whole.
    pub(super) fn finish(&mut self, damaged: &mut u64) {
        *damaged += u64::from(self.begun.take().is_some());
    }

    fn take(&mut self, payload: &Payload<'_>) -> Result<(), PayloadFault> {
        let (piece, begins) = self.coding.piece(payload.octets).filter(|(piece, _)| !piece.is_empty()).ok_or(PayloadFault::Malformed)?;
        let begun = match &mut self.begun {
            Some(begun) => begun,
            None if begins => self.begun.insert(Begun { timestamp: payload.timestamp, octets: Vec::new(), is_damaged: false }),
            None => return Err(PayloadFault::NoBeginning),
        };
        if begun.octets.len() + piece.len() > MAX_UNIT {
            return Err(PayloadFault::TooLarge);
        }
        if !begun.is_damaged {
            begun.octets.extend_from_slice(piece);
        }
        Ok(())
    }

    fn end(&mut self, ready: &mut VecDeque<Received>, damaged: &mut u64) {
        let Some(Begun { timestamp, octets, is_damaged }) = self.begun.take() else { return };
        let key = if is_damaged { None } else { self.coding.read(&octets) };
        match key {
            Some(random_access) => ready.push_back(Received { timestamp, duration: None, random_access, octets }),
            None => *damaged += 1,
        }
    }
}

impl PieceCoding {
    /// What of a payload is the picture's, and whether a picture may begin with it.
    fn piece<'a>(&self, octets: &'a [u8]) -> Option<(&'a [u8], bool)> {
        match self {
            Self::Vp8(_) => vp8_piece(octets),
            Self::Vp9(_) => vp9_piece(octets),
            Self::MpegVideo(_) => {
                let header = if octets.first()? & MPEG_2_HEADER == 0 { MPEG_HEADER } else { 2 * MPEG_HEADER };
                let piece = octets.get(header..)?;
                Some((piece, begins_with(piece, |code| MPEG_BEGINNINGS.contains(&code))))
            }
            Self::Mpeg4Visual(_) => {
                Some((octets, begins_with(octets, |code| code <= MPEG4_LAST_LAYER || MPEG4_BEGINNINGS.contains(&code))))
            }
        }
    }

    /// Whether decoding can start with a picture that is whole; `None` where it is none.
    fn read(&mut self, octets: &[u8]) -> Option<bool> {
        match self {
            Self::Vp8(size) => {
                let key = vp8_key(octets);
                *size = size.or(key);
                Some(key.is_some())
            }
            Self::Vp9(config) => {
                let key = vp9_key(octets);
                *config = config.or(key);
                Some(key.is_some())
            }
            Self::MpegVideo(stream) => key(stream.as_mut(), sections(octets, mpeg_video::limit)),
            Self::Mpeg4Visual(stream) => key(stream.as_mut(), sections(octets, mpeg4_visual::limit)),
        }
    }
}

fn key<'a>(stream: &mut dyn Coding, heads: impl Iterator<Item = &'a [u8]>) -> Option<bool> {
    heads.fold(None, |key, head| match stream.section(head) {
        Role::Picture(picture) => Some(key.unwrap_or(false) || picture.is_key),
        // It comes by itself where it has a timestamp or a marker of its own.
        Role::SecondField => Some(key.unwrap_or(false)),
        Role::Before | Role::SamePicture | Role::Behind => key,
    })
}

/// What follows each start code, as much of it as `limit` says of its first octet.
fn sections(octets: &[u8], limit: fn(u8) -> usize) -> impl Iterator<Item = &[u8]> {
    let behind = |octets: &'_ [u8]| start_code::find(octets).map(|at| at + start_code::LEN);
    let mut rest = behind(octets).map(|at| &octets[at..]);
    std::iter::from_fn(move || {
        let section = rest?;
        let next = behind(section);
        rest = next.map(|at| &section[at..]);
        let whole = next.map_or(section, |at| &section[..at - start_code::LEN]);
        let most = whole.first().map_or(0, |code| limit(*code));
        Some(whole.get(..most).unwrap_or(whole))
    })
}

/// Whether the first start code is one of these, with nothing but zeros before it.
fn begins_with(octets: &[u8], is_one: impl Fn(u8) -> bool) -> bool {
    let at = start_code::find(octets).filter(|at| octets[..*at].iter().all(|octet| *octet == 0));
    at.and_then(|at| octets.get(at + start_code::LEN)).is_some_and(|code| is_one(*code))
}

fn vp8_piece(octets: &[u8]) -> Option<(&[u8], bool)> {
    let (&head, mut rest) = octets.split_first()?;
    if head & VP8_EXTENDED != 0 {
        let (&extension, behind) = rest.split_first()?;
        rest = behind;
        if extension & VP8_PICTURE_ID != 0 {
            rest = without_picture_id(rest)?;
        }
        if extension & VP8_TL0_INDEX != 0 {
            rest = rest.get(1..)?;
        }
        if extension & VP8_LAYER_OR_KEY_INDEX != 0 {
            rest = rest.get(1..)?;
        }
    }
    Some((rest, head & (VP8_START | VP8_PARTITION) == VP8_START))
}

fn vp9_piece(octets: &[u8]) -> Option<(&[u8], bool)> {
    let (&head, mut rest) = octets.split_first()?;
    let is_flexible = head & VP9_FLEXIBLE != 0;
    if head & VP9_PICTURE_ID != 0 {
        rest = without_picture_id(rest)?;
    }
    if head & VP9_LAYERS != 0 {
        // The spatial layer, between the temporal one and whether it leans on the one below.
        if rest.first()? >> 1 & 7 != 0 {
            return None;
        }
        rest = rest.get(if is_flexible { 1 } else { 2 }..)?;
    }
    if is_flexible && head & VP9_PREDICTED != 0 {
        // The last one says that none follows.
        let count = rest.iter().take(MAX_REFERENCES).position(|reference| reference & 1 == 0)? + 1;
        rest = rest.get(count..)?;
    }
    if head & VP9_STRUCTURE != 0 {
        rest = without_structure(rest)?;
    }
    Some((rest, head & VP9_START != 0))
}

/// What follows the scalability structure.
fn without_structure(octets: &[u8]) -> Option<&[u8]> {
    let (&head, mut rest) = octets.split_first()?;
    if head & 0x10 != 0 {
        rest = rest.get(4 * (usize::from(head >> 5) + 1)..)?;
    }
    if head & 0x08 != 0 {
        let (&pictures, behind) = rest.split_first()?;
        rest = behind;
        for _ in 0..pictures {
            let references = usize::from(rest.first()? >> 2 & 3);
            rest = rest.get(1 + references..)?;
        }
    }
    Some(rest)
}

fn without_picture_id(octets: &[u8]) -> Option<&[u8]> {
    octets.get(if octets.first()? & WIDE == 0 { 1 } else { 2 }..)
}

/// The size of a key frame (RFC 6386 section 9.1); `None` of all others.
fn vp8_key(frame: &[u8]) -> Option<PictureSize> {
    let &[tag, _, _, a, b, c, width, wide, height, high] = frame.first_chunk::<10>()?;
    // The two highest bits say how it is to be scaled.
    let size = |low, high: u8| u16::from_le_bytes([low, high & 0x3f]);
    (tag & 1 == 0 && [a, b, c] == VP8_START_CODE).then(|| PictureSize { width: size(width, wide), height: size(height, high) })
}

/// The size of a key frame (VP9 Bitstream & Decoding Process Specification section 6.2); `None` of all others.
fn vp9_key(frame: &[u8]) -> Option<Vp9Config> {
    let mut bits = Bits::new(frame);
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    // show_existing_frame and frame_type.
    if bits.take(2)? != 0 {
        return None;
    }
    // show_frame and error_resilient_mode.
    bits.skip(2)?;
    if bits.take(24)? != VP9_SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?;
    }
    let (space, is_odd) = (bits.take(3)?, profile & 1 == 1);
    // color_range, subsampling, and what is reserved.
    bits.skip(
        u32::from(space != RGB)
            + if !is_odd {
                0
            } else if space == RGB {
                1
            } else {
                3
            },
    )?;
    let mut size = || bits.take(16).and_then(|less_one| u16::try_from(less_one + 1).ok());
    let size = PictureSize { width: size()?, height: size()? };
    Some(Vp9Config { profile: profile as u8, size })
}
