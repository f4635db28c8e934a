//! AAC out of RTP (RFC 3640, modes AAC-hbr and AAC-lbr without interleaving): several access units in a packet, or one in fragments.
//!
//! Read first: RFC 3640 sections 3.2 and 3.3.6.

use std::collections::VecDeque;

use crate::library::elementary::bits::Bits;
use crate::publish::depacketizer::{Payload, PayloadFault, Received};

/// The least octets of an AU-headers-length.
const HEADERS_LENGTH: usize = 2;

/// How many bits the parts of an AU header have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLengths {
    /// `sizelength`.
    pub size: u8,
    /// `indexlength`.
    pub index: u8,
    /// `indexdeltalength`.
    pub delta: u8,
}

impl HeaderLengths {
    /// Whether access units can be told apart by them, and are of a size that access units have: mode AAC-lbr has the least,
    /// 6 bits (RFC 3640 section 3.3.5).
    pub const fn is_possible(self) -> bool {
        self.size >= 6 && self.size <= 16 && self.index <= 8 && self.delta <= 8
    }
}

#[derive(Debug)]
struct Fragments {
    timestamp: i64,
    size: usize,
    octets: Vec<u8>,
}

/// Access units of a track.
#[derive(Debug)]
pub struct AacUnits {
    lengths: HeaderLengths,
    /// Ticks that an access unit lasts.
    frame: u32,
    begun: Option<Fragments>,
}

impl AacUnits {
    /// Whose access units last `frame` ticks.
    pub const fn new(lengths: HeaderLengths, frame: u32) -> Self {
        Self { lengths, frame, begun: None }
    }

    pub(super) fn handle_loss(&mut self, damaged: &mut u64) {
        *damaged += u64::from(self.begun.take().is_some());
    }

    pub(super) fn handle(&mut self, payload: &Payload<'_>, ready: &mut VecDeque<Received>, damaged: &mut u64) -> Result<(), PayloadFault> {
        let (bits, rest) = payload.octets.split_first_chunk::<HEADERS_LENGTH>().ok_or(PayloadFault::Malformed)?;
        let bits = usize::from(u16::from_be_bytes(*bits));
        let (headers, mut rest) = rest.split_at_checked(bits.div_ceil(8)).ok_or(PayloadFault::Malformed)?;
        let sizes = self.sizes(headers, bits).ok_or(PayloadFault::Malformed)?;
        if let &[size] = sizes.as_slice()
            && size > rest.len()
        {
            return self.fragment(payload, size, rest, ready, damaged);
        }
        self.handle_loss(damaged);
        for (position, size) in (0_i64..).zip(sizes) {
            let (octets, behind) = rest.split_at_checked(size).ok_or(PayloadFault::Malformed)?;
            rest = behind;
            ready.push_back(self.unit(payload.timestamp + position * i64::from(self.frame), octets.to_vec()));
        }
        Ok(())
    }

    const fn unit(&self, timestamp: i64, octets: Vec<u8>) -> Received {
        Received { timestamp, duration: Some(self.frame), random_access: true, octets }
    }

    /// The sizes of the access units; `None` where the headers are malformed, or out of order.
    fn sizes(&self, headers: &[u8], bits: usize) -> Option<Vec<usize>> {
        let (mut reader, mut left, mut sizes) = (Bits::new(headers), bits, Vec::new());
        while left > 0 {
            let index = if sizes.is_empty() { self.lengths.index } else { self.lengths.delta };
            left = left.checked_sub(usize::from(self.lengths.size) + usize::from(index))?;
            let size = reader.take(u32::from(self.lengths.size))? as usize;
            if reader.take(u32::from(index))? != 0 || size == 0 {
                return None;
            }
            sizes.push(size);
        }
        (!sizes.is_empty()).then_some(sizes)
    }

    /// One of several packets with the same access unit, each of which says its whole size.
    fn fragment(
        &mut self,
        payload: &Payload<'_>,
        size: usize,
        octets: &[u8],
        ready: &mut VecDeque<Received>,
        damaged: &mut u64,
    ) -> Result<(), PayloadFault> {
        let goes_on = self.begun.as_ref().is_some_and(|begun| begun.timestamp == payload.timestamp && begun.size == size);
        if !goes_on {
            self.handle_loss(damaged);
            self.begun = Some(Fragments { timestamp: payload.timestamp, size, octets: Vec::with_capacity(size) });
        }
        let Some(begun) = &mut self.begun else { return Err(PayloadFault::NoBeginning) };
        begun.octets.extend_from_slice(octets);
        if begun.octets.len() < size && !payload.marker {
            return Ok(());
        }
        match self.begun.take() {
            Some(begun) if begun.octets.len() == size => {
                ready.push_back(self.unit(payload.timestamp, begun.octets));
                Ok(())
            }
            _ => {
                *damaged += 1;
                Err(PayloadFault::NoBeginning)
            }
        }
    }
}
