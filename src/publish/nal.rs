//! H.264 and H.265 out of RTP (RFC 6184 packetization modes 0 and 1, RFC 7798 without decoding order numbers): NAL units alone, in
//! aggregates and in fragments, put together to access units, with a length of four octets before each NAL unit.
//!
//! An access unit ends with the marker bit, or where the timestamp changes. Parameter sets that come in-band stay where they are.
//! Read first: RFC 6184 sections 5.1 to 5.8, RFC 7798 sections 4.1 and 4.4.

use std::collections::VecDeque;

use crate::library::elementary::h264::{self, H264};
use crate::library::elementary::h265::{self, H265};
use crate::library::elementary::pictures::{Coding, Role};
use crate::library::{Codec, NalFraming};
use crate::publish::depacketizer::{MAX_UNIT, Payload, PayloadFault, Received};

/// Octets of the length before each NAL unit.
const LENGTH: usize = 4;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalCoding {
    /// ISO/IEC 14496-10.
    H264,
    /// ISO/IEC 23008-2.
    H265,
}

/// What a payload is by its first octets.
enum Shape {
    Single,
    Aggregate,
    Fragment,
    Unknown,
}

impl NalCoding {
    /// Octets of a NAL unit header.
    const fn header(self) -> usize {
        match self {
            Self::H264 => 1,
            Self::H265 => 2,
        }
    }

    const fn shape(self, header: u8) -> Shape {
        match self {
            Self::H264 => match header & 0x1f {
                1..=23 => Shape::Single,
                24 => Shape::Aggregate,
                28 => Shape::Fragment,
                _ => Shape::Unknown,
            },
            Self::H265 => match header >> 1 & 0x3f {
                0..=47 => Shape::Single,
                48 => Shape::Aggregate,
                49 => Shape::Fragment,
                _ => Shape::Unknown,
            },
        }
    }

    const fn is_slice(self, header: u8) -> bool {
        match self {
            Self::H264 => matches!(header & 0x1f, 1..=5),
            Self::H265 => header >> 1 & 0x3f < 32,
        }
    }

    /// Whether an access unit may begin with it: no slice, or the first one of its picture (first_mb_in_slice is zero, or
    /// first_slice_segment_in_pic_flag set: the first bit behind the header).
    fn may_begin(self, nal: &[u8]) -> bool {
        let header = nal.first().copied().unwrap_or_default();
        !self.is_slice(header) || nal.get(self.header()).is_some_and(|octet| octet & 0x80 != 0)
    }

    /// How much of a NAL unit is looked at.
    const fn limit(self, header: u8) -> usize {
        match self {
            Self::H264 => h264::limit(header),
            Self::H265 => h265::limit(header),
        }
    }

    /// The header of what is fragmented, out of that of the fragments and the FU header.
    fn defragmented(self, header: &[u8], fu: u8) -> [u8; 2] {
        match (self, header) {
            (Self::H264, [header, ..]) => [header & 0xe0 | fu & 0x1f, 0],
            (Self::H265, [header, layer, ..]) => [header & 0x81 | (fu & 0x3f) << 1, *layer],
            (Self::H264 | Self::H265, _) => [0, 0],
        }
    }
}

/// The access unit that is put together.
#[derive(Debug, Default)]
struct Begun {
    timestamp: i64,
    octets: Vec<u8>,
    random_access: bool,
    has_slice: bool,
    is_damaged: bool,
    /// Where the length of the NAL unit that comes in fragments lies.
    fragment: Option<usize>,
}

/// Access units of a track.
#[derive(Debug)]
pub struct Pictures {
    coding: NalCoding,
    stream: Stream,
    begun: Option<Begun>,
    /// Whether packets are missing before the next one.
    after_loss: bool,
}

#[derive(Debug)]
enum Stream {
    H264(H264),
    H265(H265),
}

impl Stream {
    const fn coding(&self) -> &dyn Coding {
        match self {
            Self::H264(stream) => stream,
            Self::H265(stream) => stream,
        }
    }

    fn section(&mut self, head: &[u8]) -> Role {
        match self {
            Self::H264(stream) => stream.section(head),
            Self::H265(stream) => stream.section(head),
        }
    }
}

impl Pictures {
    /// Of which these parameter sets are known beforehand.
    pub fn new(coding: NalCoding, sets: &[Vec<u8>]) -> Self {
        let mut stream = match coding {
            NalCoding::H264 => Stream::H264(H264::default()),
            NalCoding::H265 => Stream::H265(H265::default()),
        };
        for set in sets.iter().filter(|set| set.first().is_some_and(|header| !coding.is_slice(*header))) {
            stream.section(set);
        }
        Self { coding, stream, begun: None, after_loss: false }
    }

    /// How they are coded, once the parameter sets are there.
    pub fn codec(&self) -> Option<Codec> {
        let framing = NalFraming::Length(LENGTH as u8);
        match self.stream.coding().codec()? {
            Codec::H264(config) => Some(Codec::H264(crate::library::H264Config { framing, ..config })),
            Codec::H265(config) => Some(Codec::H265(crate::library::H265Config { framing, ..config })),
            _ => None,
        }
    }

    pub(super) fn handle_loss(&mut self) {
        self.after_loss = true;
        if let Some(begun) = &mut self.begun {
            begun.is_damaged = true;
        }
    }

    pub(super) fn handle(&mut self, payload: &Payload<'_>, ready: &mut VecDeque<Received>, damaged: &mut u64) -> Result<(), PayloadFault> {
        if self.begun.as_ref().is_some_and(|begun| begun.timestamp != payload.timestamp) {
            self.end(ready, damaged);
        }
        let begun = self.begun.get_or_insert_with(Begun::default);
        begun.timestamp = payload.timestamp;
        let outcome = self.take(payload.octets);
        if outcome.is_err()
            && let Some(begun) = &mut self.begun
        {
            begun.is_damaged = true;
            begun.octets = Vec::new();
            begun.fragment = None;
        }
        if payload.marker {
            self.end(ready, damaged);
        }
        outcome
    }

    /// Ends what has begun; parameter sets without a picture are left to the next one.
    fn end(&mut self, ready: &mut VecDeque<Received>, damaged: &mut u64) {
        match &self.begun {
            Some(begun) if begun.has_slice || begun.is_damaged || begun.fragment.is_some() => self.finish(ready, damaged),
            Some(_) | None => {}
        }
    }

    pub(super) fn finish(&mut self, ready: &mut VecDeque<Received>, damaged: &mut u64) {
        let Some(begun) = self.begun.take() else { return };
        if begun.is_damaged || begun.fragment.is_some() {
            *damaged += 1;
        } else if begun.has_slice {
            let Begun { timestamp, octets, random_access, .. } = begun;
            ready.push_back(Received { timestamp, duration: None, random_access, octets });
        }
    }

    fn take(&mut self, octets: &[u8]) -> Result<(), PayloadFault> {
        let size = self.coding.header();
        let (header, rest) = octets.split_at_checked(size).filter(|(_, rest)| !rest.is_empty()).ok_or(PayloadFault::Malformed)?;
        match self.coding.shape(header[0]) {
            Shape::Single => self.nal(octets),
            Shape::Aggregate => {
                let mut rest = rest;
                while let Some((length, behind)) = rest.split_first_chunk::<2>() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    let (nal, behind) = behind.split_at_checked(length).ok_or(PayloadFault::Malformed)?;
                    self.nal(nal)?;
                    rest = behind;
                }
                if rest.is_empty() { Ok(()) } else { Err(PayloadFault::Malformed) }
            }
            Shape::Fragment => self.fragment(header, rest),
            Shape::Unknown => Err(PayloadFault::Malformed),
        }
    }

    /// A whole NAL unit.
    fn nal(&mut self, nal: &[u8]) -> Result<(), PayloadFault> {
        if nal.len() < self.coding.header() {
            return Err(PayloadFault::Malformed);
        }
        let at = self.open(&[])?;
        self.append(nal)?;
        self.close(at)
    }

    fn fragment(&mut self, header: &[u8], rest: &[u8]) -> Result<(), PayloadFault> {
        let (&fu, piece) = rest.split_first().ok_or(PayloadFault::Malformed)?;
        let begun = self.begun.get_or_insert_with(Begun::default);
        let at = match (fu & FU_START != 0, begun.fragment.take()) {
            (true, None) => {
                let whole = self.coding.defragmented(header, fu);
                self.open(&whole[..self.coding.header()])?
            }
            (false, Some(at)) => at,
            (true, Some(_)) => return Err(PayloadFault::Malformed),
            (false, None) => return Err(PayloadFault::NoBeginning),
        };
        self.append(piece)?;
        if fu & FU_END != 0 {
            return self.close(at);
        }
        if let Some(begun) = &mut self.begun {
            begun.fragment = Some(at);
        }
        Ok(())
    }

    /// Begins a NAL unit with these octets: where its length is to be written.
    fn open(&mut self, head: &[u8]) -> Result<usize, PayloadFault> {
        let begun = self.begun.get_or_insert_with(Begun::default);
        if begun.fragment.is_some() {
            return Err(PayloadFault::Malformed);
        }
        let at = begun.octets.len();
        begun.octets.extend_from_slice(&[0; LENGTH]);
        self.append(head)?;
        Ok(at)
    }

    fn append(&mut self, octets: &[u8]) -> Result<(), PayloadFault> {
        let begun = self.begun.get_or_insert_with(Begun::default);
        if begun.octets.len() + octets.len() > MAX_UNIT {
            return Err(PayloadFault::TooLarge);
        }
        begun.octets.extend_from_slice(octets);
        Ok(())
    }

    /// Ends the NAL unit whose length lies at `at`, and looks at it.
    fn close(&mut self, at: usize) -> Result<(), PayloadFault> {
        let Some(begun) = &mut self.begun else { return Ok(()) };
        let (before, nal) = begun.octets.split_at_mut_checked(at + LENGTH).ok_or(PayloadFault::Malformed)?;
        let length = u32::try_from(nal.len()).map_err(|_| PayloadFault::TooLarge)?;
        before[at..].copy_from_slice(&length.to_be_bytes());
        let header = nal.first().copied().unwrap_or_default();
        let is_first = at == 0;
        if self.after_loss && is_first && !self.coding.may_begin(nal) {
            begun.is_damaged = true;
        }
        self.after_loss = false;
        begun.has_slice |= self.coding.is_slice(header);
        let head = nal.get(..self.coding.limit(header)).unwrap_or(nal);
        if let Role::Picture(picture) = self.stream.section(head) {
            begun.random_access |= picture.is_key;
        }
        Ok(())
    }
}
