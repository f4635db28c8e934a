//! NAL units, stored with a length or a start code before each, into packets as RFC 6184 and RFC 7798 alike have them: alone, several
//! in an aggregate, one in fragments.

use crate::library::NalFraming;
use crate::library::elementary::start_code;
use crate::payload::{PacketBuffer, PayloadError};

/// NAL units in one aggregate at most; more go into the next.
const MAX_AGGREGATE: usize = 16;
/// The size before each NAL unit in an aggregate (RFC 6184 section 5.7.1, RFC 7798 section 4.4.2).
const SIZE_LEN: usize = 2;
/// The FU header, which has the type of what is fragmented in its lower bits (RFC 6184 section 5.8, RFC 7798 section 4.4.3).
const FU_HEADER_LEN: usize = 1;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// The NAL units of an access unit that can stand in a payload.
pub struct NalUnits<'a> {
    unit: &'a [u8],
    at: usize,
    framing: NalFraming,
    is_sendable: fn(&[u8]) -> bool,
}

impl<'a> NalUnits<'a> {
    /// Those of `unit`, told apart as `framing` says; those that are not sendable are passed over.
    pub const fn new(unit: &'a [u8], framing: NalFraming, is_sendable: fn(&[u8]) -> bool) -> Self {
        Self { unit, at: 0, framing, is_sendable }
    }

    /// The NAL unit behind the next length.
    fn behind_length(&mut self, length_size: usize) -> Option<Result<&'a [u8], PayloadError>> {
        let at = self.at;
        let rest = self.unit.get(at..).filter(|rest| !rest.is_empty())?;
        self.at = self.unit.len();
        let Some((length, rest)) = rest.split_at_checked(length_size) else {
            return Some(Err(PayloadError::NalLength));
        };
        let length = length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        let Some(nal) = rest.get(..length) else {
            return Some(Err(PayloadError::NalLength));
        };
        self.at = at + length_size + length;
        Some(Ok(nal))
    }

    /// The NAL unit behind the next start code, without the zeros that may follow it. What lies before the first one is none.
    fn behind_start_code(&mut self) -> Option<&'a [u8]> {
        let rest = self.unit.get(self.at..)?;
        let nal = rest.get(start_code::find(rest)? + start_code::LEN..)?;
        let end = start_code::find(nal).unwrap_or(nal.len());
        self.at = self.unit.len() - nal.len() + end;
        Some(start_code::without_trailing_zeros(&nal[..end]))
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = Result<&'a [u8], PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let nal = match self.framing {
                NalFraming::Length(size) => self.behind_length(usize::from(size))?,
                NalFraming::StartCodes => Ok(self.behind_start_code()?),
            };
            if nal.is_err() || nal.is_ok_and(self.is_sendable) {
                return Some(nal);
            }
        }
    }
}

/// How a format's payload headers are made, which have as many octets, `N`, as its NAL unit headers.
pub struct Headers<const N: usize> {
    /// That of an aggregate of these NAL units.
    pub aggregate: fn(&[&[u8]]) -> [u8; N],
    /// That of the fragments of a NAL unit with this header, and the type for the FU header.
    pub fragment: fn([u8; N]) -> ([u8; N], u8),
}

/// Writes NAL units in order; small ones wait until it is known whether they share a packet.
pub struct Writer<'a, 'b, const N: usize> {
    out: &'b mut PacketBuffer,
    max_payload: usize,
    headers: Headers<N>,
    pending: [&'a [u8]; MAX_AGGREGATE],
    count: usize,
    /// Of the aggregate that `pending` would make.
    octets: usize,
}

impl<'a, 'b, const N: usize> Writer<'a, 'b, N> {
    /// Appends to `out`, payloads of at most `max_payload` octets.
    pub const fn new(out: &'b mut PacketBuffer, max_payload: usize, headers: Headers<N>) -> Self {
        Self { out, max_payload, headers, pending: [&[]; MAX_AGGREGATE], count: 0, octets: N }
    }

    /// Writes a NAL unit, or has it wait.
    pub fn add(&mut self, nal: &'a [u8]) {
        let more = SIZE_LEN + nal.len();
        let has_size = nal.len() <= usize::from(u16::MAX);
        if !(self.count < MAX_AGGREGATE && self.octets + more <= self.max_payload && has_size) {
            self.flush();
        }
        if N + more <= self.max_payload && has_size {
            self.pending[self.count] = nal;
            self.count += 1;
            self.octets += more;
        } else if nal.len() <= self.max_payload {
            self.single(nal);
        } else {
            self.fragment(nal);
        }
    }

    /// Writes what waits. The marker bit is set for the very last packet of an access unit (RFC 6184 section 5.1, RFC 7798 section 4.1).
    pub fn finish(mut self) {
        self.flush();
        self.out.mark_last();
    }

    fn flush(&mut self) {
        let count = std::mem::take(&mut self.count);
        self.octets = N;
        match self.pending[..count] {
            [] => {}
            [nal] => self.single(nal),
            _ => self.aggregate(count),
        }
    }

    fn single(&mut self, nal: &[u8]) {
        self.out.begin();
        self.out.extend(nal);
        self.out.finish(false);
    }

    fn aggregate(&mut self, count: usize) {
        self.out.begin();
        self.out.extend(&(self.headers.aggregate)(&self.pending[..count]));
        for nal in &self.pending[..count] {
            // What is pending has a size of 16 bits.
            self.out.extend(&(nal.len() as u16).to_be_bytes());
            self.out.extend(nal);
        }
        self.out.finish(false);
    }

    fn fragment(&mut self, nal: &[u8]) {
        let Some((header, body)) = nal.split_first_chunk::<N>() else { return };
        let (header, kind) = (self.headers.fragment)(*header);
        let pieces = body.chunks(self.max_payload - N - FU_HEADER_LEN);
        let last = pieces.len().saturating_sub(1);
        for (position, piece) in pieces.enumerate() {
            let start = if position == 0 { FU_START } else { 0 };
            let end = if position == last { FU_END } else { 0 };
            self.out.begin();
            self.out.extend(&header);
            self.out.extend(&[start | end | kind]);
            self.out.extend(piece);
            self.out.finish(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The NAL units of a byte stream, octet by octet.
    fn naive(stream: &[u8]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        while at < stream.len() {
            if stream[at..].starts_with(&[0, 0, 1]) {
                nals.push(Vec::new());
                at += 3;
            } else {
                if let Some(nal) = nals.last_mut() {
                    nal.push(stream[at]);
                }
                at += 1;
            }
        }
        for nal in &mut nals {
            while nal.last() == Some(&0) {
                nal.pop();
            }
        }
        nals.retain(|nal| !nal.is_empty());
        nals
    }

    fn read(stream: &[u8]) -> Vec<Vec<u8>> {
        let units = NalUnits::new(stream, NalFraming::StartCodes, |nal| !nal.is_empty());
        units.map(|nal| nal.expect("start codes cannot be wrong").to_vec()).collect()
    }

    #[test]
    fn start_codes_of_three_and_four_octets_and_zeros_behind_are_no_part_of_a_unit() {
        let stream = [9, 9, 0, 0, 0, 1, 9, 0x10, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 0, 1, 0x65, 7, 0, 3, 0, 0];
        assert_eq!(read(&stream), [vec![9, 0x10], vec![0x67, 1, 2], vec![0x65, 7, 0, 3]]);
        assert_eq!(read(&[]), Vec::<Vec<u8>>::new());
        assert_eq!(read(&[0, 0, 1]), Vec::<Vec<u8>>::new());
    }

    proptest! {
        #[test]
        fn units_behind_start_codes_are_those_of_a_naive_reader(stream in proptest::collection::vec(0..4u8, 0..300)) {
            prop_assert_eq!(read(&stream), naive(&stream));
        }
    }
}
