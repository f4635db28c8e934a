//! Vorbis out of RTP (RFC 5215): several packets of the codec in a packet, or one in fragments. The headers come in the description.
//!
//! Headers that come in-band, and packets of another configuration than was announced, are passed over. Read first: RFC 5215 sections 2.2
//! and 3.2.1.

use std::collections::VecDeque;

use crate::library::VorbisConfig;
use crate::library::elementary::vorbis::{Identification, Modes, duration};
use crate::publish::depacketizer::{MAX_UNIT, Payload, PayloadFault, Received};

/// Ident; fragment type, data type and number of packets.
const HEADER: usize = 4;
/// Octets before the packed headers: how many of those there are; ident; length; and how many headers follow the first.
const PACKED: usize = 10;
/// Data type: sound.
const RAW: u8 = 0;

/// The packed headers of a description: ident, and what a decoder must know; `None` where they are none.
pub fn unpack(configuration: &[u8]) -> Option<([u8; 3], VorbisConfig)> {
    let (head, mut rest) = configuration.split_first_chunk::<PACKED>()?;
    let &[_, _, _, count, a, b, c, high, low, further] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if count == 0 || further != 2 {
        return None;
    }
    let mut size = || {
        let mut size = 0_usize;
        loop {
            let (octet, behind) = rest.split_first()?;
            rest = behind;
            size = size << 7 | usize::from(octet & 0x7f);
            if octet & 0x80 == 0 {
                return Some(size);
            }
            if size > usize::from(u16::MAX) {
                return None;
            }
        }
    };
    let (first, second) = (size()?, size()?);
    let headers = rest.get(..length)?;
    let (identification, behind) = headers.split_at_checked(first)?;
    let (comment, setup) = behind.split_at_checked(second)?;
    let Identification { channels, sample_rate, .. } = Identification::parse(identification)?;
    let [identification, comment, setup] = [identification, comment, setup].map(<[u8]>::to_vec);
    Some(([a, b, c], VorbisConfig { sample_rate, channels, identification, comment, setup }))
}

#[derive(Debug)]
struct Fragments {
    timestamp: i64,
    octets: Vec<u8>,
}

/// Access units of a track.
#[derive(Debug)]
pub struct VorbisUnits {
    ident: [u8; 3],
    modes: Option<Modes>,
    /// Samples of the block that the last packet had.
    before: Option<u32>,
    begun: Option<Fragments>,
}

impl VorbisUnits {
    /// Of this configuration.
    pub fn new(ident: [u8; 3], config: &VorbisConfig) -> Self {
        let modes = Identification::parse(&config.identification).and_then(|head| Modes::parse(&head, &config.setup));
        Self { ident, modes, before: None, begun: None }
    }

    pub(super) fn handle_loss(&mut self, damaged: &mut u64) {
        self.before = None;
        *damaged += u64::from(self.begun.take().is_some());
    }

    pub(super) fn handle(&mut self, payload: &Payload<'_>, ready: &mut VecDeque<Received>, damaged: &mut u64) -> Result<(), PayloadFault> {
        let outcome = self.take(payload, ready, damaged);
        if outcome.is_err() {
            // What it was to go on with has a hole.
            self.handle_loss(damaged);
        }
        outcome
    }

    fn take(&mut self, payload: &Payload<'_>, ready: &mut VecDeque<Received>, damaged: &mut u64) -> Result<(), PayloadFault> {
        let (&[a, b, c, what], rest) = payload.octets.split_first_chunk::<HEADER>().ok_or(PayloadFault::Malformed)?;
        let (fragment, kind, count) = (what >> 6, what >> 4 & 3, what & 15);
        if kind != RAW || [a, b, c] != self.ident {
            return Ok(());
        }
        let (mut rest, mut timestamp) = (rest, payload.timestamp);
        if fragment == 0 {
            self.begun.take().inspect(|_| *damaged += 1);
            if count == 0 {
                return Err(PayloadFault::Malformed);
            }
            for _ in 0..count {
                let (octets, behind) = sized(rest).ok_or(PayloadFault::Malformed)?;
                rest = behind;
                timestamp += i64::from(self.push(timestamp, octets.to_vec(), ready)?);
            }
            return Ok(());
        }
        let (octets, _) = sized(rest).ok_or(PayloadFault::Malformed)?;
        if fragment == 1 {
            self.begun.take().inspect(|_| *damaged += 1);
            self.begun = Some(Fragments { timestamp, octets: octets.to_vec() });
            return Ok(());
        }
        let Some(mut begun) = self.begun.take() else { return Err(PayloadFault::NoBeginning) };
        if begun.timestamp != timestamp || begun.octets.len() + octets.len() > MAX_UNIT {
            *damaged += 1;
            return Err(if begun.timestamp == timestamp { PayloadFault::TooLarge } else { PayloadFault::NoBeginning });
        }
        begun.octets.extend_from_slice(octets);
        if fragment == 2 {
            self.begun = Some(begun);
            return Ok(());
        }
        self.push(timestamp, begun.octets, ready).map(drop)
    }

    /// An access unit; its samples.
    fn push(&mut self, timestamp: i64, octets: Vec<u8>, ready: &mut VecDeque<Received>) -> Result<u32, PayloadFault> {
        let first = octets.first().copied().ok_or(PayloadFault::Malformed)?;
        let block = self.modes.as_ref().and_then(|modes| modes.block_size(first)).ok_or(PayloadFault::Malformed)?;
        let lasts = duration(block, self.before.replace(block).unwrap_or(block));
        ready.push_back(Received { timestamp, duration: Some(lasts), random_access: true, octets });
        Ok(lasts)
    }
}

/// What a length of two octets says, and what is behind.
fn sized(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).filter(|(octets, _)| !octets.is_empty())
}
