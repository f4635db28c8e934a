//! MPEG-1 and MPEG-2 video in RTP (RFC 2250): headers and whole slices in a packet, slices that are larger than one in fragments.
//!
//! Without the MPEG-2 specific extension of the header (T is zero), and without changes of picture headers being told (AN is zero). Has
//! the static payload type 32: players know it by that alone. Read first: RFC 2250 sections 3.1, 3.3 and 3.4; ISO/IEC 13818-2 sections
//! 6.2.3 and 5.2.3 (zeros may lie before any start code, which is what [`Format::fill_up`] sends).

use crate::payload::start_codes::{START_CODE_LEN, StartCodes};
use crate::payload::{Format, PacketBuffer, PayloadError, RTP_HEADER_LEN};

/// Pictures in one access unit at most.
const MAX_PICTURES: usize = 16;
/// The MPEG Video-specific header (RFC 2250 section 3.4).
const HEADER_LEN: usize = 4;
/// In its second 16 bits.
const SEQUENCE_HEADER_IS_HERE: u16 = 0x2000;
const BEGINS_WITH_SLICE: u16 = 0x1000;
const ENDS_WITH_SLICE: u16 = 0x0800;
const TYPE_SHIFT: u16 = 8;

/// Start codes (ISO/IEC 13818-2 table 6-1).
const PICTURE: u8 = 0x00;
const SLICES: std::ops::RangeInclusive<u8> = 0x01..=0xaf;
const SEQUENCE: u8 = 0xb3;
const SEQUENCE_END: u8 = 0xb7;
const GROUP: u8 = 0xb8;
/// picture_coding_type.
const PREDICTED: u16 = 2;
const BIDIRECTIONAL: u16 = 3;

/// Makes packets of MPEG-1 and MPEG-2 pictures.
#[derive(Debug)]
pub struct MpegVideoPayloader {
    max_payload: usize,
}

impl MpegVideoPayloader {
    pub(super) const fn new(max_packet: usize) -> Self {
        Self { max_payload: max_packet - RTP_HEADER_LEN }
    }
}

impl Format for MpegVideoPayloader {
    fn payload(&self, unit: &[u8], _random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        if unit.is_empty() {
            return Err(PayloadError::Empty);
        }
        // One, or two fields; not thousands, each in a packet of its own.
        if pictures(unit).next().is_none() || pictures(unit).nth(MAX_PICTURES).is_some() {
            return Err(PayloadError::Broken("MPEG picture"));
        }
        let mut writer = Writer { out, max_payload: self.max_payload, picture: Picture::default(), open: None };
        let mut codes = StartCodes::new(unit).peekable();
        let first = codes.peek().map_or(unit.len(), |(at, _)| *at);
        // What lies before the first start code is none, zeros as a rule.
        writer.add(&unit[..first], None);
        while let Some((at, kind)) = codes.next() {
            let end = codes.peek().map_or(unit.len(), |(next, _)| *next);
            writer.add(&unit[at..end], Some(kind));
        }
        writer.close();
        out.mark_last();
        Ok(())
    }

    /// Whether all its pictures are predicted in both directions: nothing refers to them.
    fn is_disposable(&self, unit: &[u8]) -> bool {
        let mut pictures = pictures(unit).peekable();
        pictures.peek().is_some() && pictures.all(|picture| picture.coding_type == BIDIRECTIONAL)
    }

    /// A packet of fill-up goes on with the last slice, by a zero that may lie behind it.
    fn fill_up(&self, count: usize, out: &mut PacketBuffer) -> bool {
        let last = out.packets().last().map(|packet| &out.octets()[packet.range.clone()][RTP_HEADER_LEN..]);
        let Some((&[one, two, flags, codes], _)) = last.and_then(<[u8]>::split_first_chunk::<HEADER_LEN>) else { return false };
        let kept = flags & !((SEQUENCE_HEADER_IS_HERE | BEGINS_WITH_SLICE) >> 8) as u8;
        out.fill_up(&[one, two, kept, codes, 0], count, |payload| payload.ends_with(&[0, 0, 1, SEQUENCE_END]))
    }

    fn encoding_name(&self) -> String {
        "MPV/90000".into()
    }
}

/// What packets tell of their picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Picture {
    temporal_reference: u16,
    coding_type: u16,
    /// full_pel_backward_vector, backward_f_code, and the same forward, where there are such (section 3.4: else zero).
    vectors: u16,
}

impl Picture {
    /// Reads a picture header from its start code on.
    fn parse(header: &[u8]) -> Option<Self> {
        let fields = u32::from_be_bytes(*header.get(START_CODE_LEN..)?.first_chunk()?);
        let behind = header.get(START_CODE_LEN + 4).copied().unwrap_or(0);
        let coding_type = (fields >> 19 & 7) as u16;
        // Behind vbv_delay, three bits are left in the fourth octet.
        let vectors = u16::from_be_bytes([(fields & 7) as u8, behind]);
        let (forward, backward) = (vectors >> 7 & 15, vectors >> 3 & 15);
        let vectors = match coding_type {
            PREDICTED => forward,
            BIDIRECTIONAL => backward << 4 | forward,
            _ => 0,
        };
        Some(Self { temporal_reference: (fields >> 22) as u16, coding_type, vectors })
    }
}

/// The pictures of an access unit: one, or two fields.
fn pictures(unit: &[u8]) -> impl Iterator<Item = Picture> {
    StartCodes::new(unit).filter(|(_, kind)| *kind == PICTURE).filter_map(|(at, _)| Picture::parse(unit.get(at..)?))
}

/// What the packet that was begun holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    len: usize,
    has_sequence: bool,
    /// Begins with headers and then slices, or with slices.
    begins_with_slice: bool,
    ends_with_slice: bool,
}

/// Fills packets with what start codes begin.
struct Writer<'b> {
    out: &'b mut PacketBuffer,
    max_payload: usize,
    picture: Picture,
    open: Option<Open>,
}

impl Writer<'_> {
    fn add(&mut self, piece: &[u8], kind: Option<u8>) {
        if piece.is_empty() {
            return;
        }
        let is_slice = kind.is_some_and(|kind| SLICES.contains(&kind));
        let begins_picture = matches!(kind, Some(SEQUENCE | GROUP | PICTURE));
        // Headers are at a packet's beginning; a packet is of one picture.
        if (begins_picture && self.open.is_some_and(|open| open.ends_with_slice))
            || self.open.is_some_and(|open| open.len + piece.len() > self.max_payload)
        {
            self.close();
        }
        if let Some(picture) = (kind == Some(PICTURE)).then(|| Picture::parse(piece)).flatten() {
            self.picture = picture;
        }
        let most = self.max_payload - HEADER_LEN;
        if piece.len() <= most {
            let open = self.open(is_slice);
            self.open = Some(Open {
                len: open.len + piece.len(),
                has_sequence: open.has_sequence | (kind == Some(SEQUENCE)),
                begins_with_slice: open.begins_with_slice | is_slice,
                ends_with_slice: is_slice,
            });
            self.out.extend(piece);
            return;
        }
        let pieces = piece.chunks(most);
        let last = pieces.len().saturating_sub(1);
        for (position, piece) in pieces.enumerate() {
            let is_end = position == last;
            let begins_with_slice = is_slice && position == 0;
            let open = self.open(begins_with_slice);
            let has_sequence = kind == Some(SEQUENCE) && position == 0;
            self.open = Some(Open { len: open.len + piece.len(), has_sequence, begins_with_slice, ends_with_slice: is_slice && is_end });
            self.out.extend(piece);
            self.close();
        }
    }

    /// The packet that is begun, or a new one.
    fn open(&mut self, begins_with_slice: bool) -> Open {
        self.open.unwrap_or_else(|| {
            self.out.begin();
            self.out.extend(&[0; HEADER_LEN]);
            Open { len: HEADER_LEN, has_sequence: false, begins_with_slice, ends_with_slice: false }
        })
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut flags = self.picture.coding_type << TYPE_SHIFT | self.picture.vectors;
        flags |= if open.has_sequence { SEQUENCE_HEADER_IS_HERE } else { 0 };
        flags |= if open.begins_with_slice { BEGINS_WITH_SLICE } else { 0 };
        flags |= if open.ends_with_slice { ENDS_WITH_SLICE } else { 0 };
        let [one, two] = self.picture.temporal_reference.to_be_bytes();
        let [three, four] = flags.to_be_bytes();
        if let Some(header) = self.out.begun_mut().first_chunk_mut() {
            *header = [one, two, three, four];
        }
        self.out.finish(false);
    }
}

#[cfg(test)]
mod tests;
