//! Sound whose frames say how long they are: MPEG audio (RFC 2250 section 3.5) and AC-3 (RFC 4184). Whole frames in a packet, or one frame
//! in fragments.
//!
//! Read first: RFC 2250 section 3.5, RFC 4184 section 4.1.1.

use std::collections::VecDeque;

use crate::library::elementary::ac3::{Coding as Ac3Coding, SyncFrame};
use crate::library::elementary::mpeg_audio::FrameHeader;
use crate::library::{Codec, SoundFormat};
use crate::publish::depacketizer::{Payload, PayloadFault, Received};
use crate::quantities::ClockRate;

/// Octets before the frames: two of zero and Frag_offset; MBZ with FT, and NF.
const MPEG_HEADER: usize = 4;
const AC3_HEADER: usize = 2;
/// FT of a fragment behind the first.
const FURTHER: u8 = 3;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameCoding {
    /// ISO/IEC 11172-3 and 13818-3.
    Mpeg,
    /// ETSI TS 102 366, without E-AC-3.
    Ac3,
}

/// What a frame's header says.
struct Head {
    size: usize,
    samples: u32,
    format: SoundFormat,
}

#[derive(Debug)]
struct Fragments {
    timestamp: i64,
    size: usize,
    duration: u32,
    octets: Vec<u8>,
}

/// Access units of a track.
#[derive(Debug)]
pub struct SoundFrames {
    coding: FrameCoding,
    clock: ClockRate,
    /// Of the first frame.
    format: Option<SoundFormat>,
    begun: Option<Fragments>,
}

impl FrameCoding {
    fn head(self, octets: &[u8]) -> Option<Head> {
        match self {
            Self::Mpeg => FrameHeader::parse(octets).map(|header| Head {
                size: header.frame_len(),
                samples: header.samples(),
                format: header.sound_format(),
            }),
            Self::Ac3 => SyncFrame::parse(octets).filter(|frame| frame.coding == Ac3Coding::Ac3).map(|frame| Head {
                size: frame.frame_len,
                samples: frame.samples,
                format: frame.sound_format(),
            }),
        }
    }

    /// Where in its frame a payload begins, `None` where that is not said of a further fragment; and what is behind the header.
    fn split(self, octets: &[u8]) -> Option<(Option<usize>, &[u8])> {
        match self {
            Self::Mpeg => {
                let (&[_, _, high, low], rest) = octets.split_first_chunk::<MPEG_HEADER>()?;
                Some((Some(usize::from(u16::from_be_bytes([high, low]))), rest))
            }
            Self::Ac3 => {
                let (&[kind, _], rest) = octets.split_first_chunk::<AC3_HEADER>()?;
                Some((if kind & 3 == FURTHER { None } else { Some(0) }, rest))
            }
        }
    }
}

impl SoundFrames {
    /// Whose times are in ticks of `clock`.
    pub const fn new(coding: FrameCoding, clock: ClockRate) -> Self {
        Self { coding, clock, format: None, begun: None }
    }

    /// How they are coded, once the first one has come.
    pub fn codec(&self) -> Option<Codec> {
        self.format.map(match self.coding {
            FrameCoding::Mpeg => Codec::MpegAudio,
            FrameCoding::Ac3 => Codec::Ac3,
        })
    }

    pub(super) fn handle_loss(&mut self, damaged: &mut u64) {
        *damaged += u64::from(self.begun.take().is_some());
    }

    pub(super) fn handle(&mut self, payload: &Payload<'_>, ready: &mut VecDeque<Received>, damaged: &mut u64) -> Result<(), PayloadFault> {
        let (place, rest) = self.coding.split(payload.octets).filter(|(_, rest)| !rest.is_empty()).ok_or(PayloadFault::Malformed)?;
        if place != Some(0) {
            return self.go_on(payload.timestamp, place, rest, ready, damaged);
        }
        self.handle_loss(damaged);
        let (mut rest, mut before) = (rest, 0);
        while !rest.is_empty() {
            let Head { size, samples, format } = self.coding.head(rest).ok_or(PayloadFault::Malformed)?;
            // Their times are of one clock.
            if self.format.is_some_and(|known| known.sample_rate != format.sample_rate) {
                return Err(PayloadFault::Malformed);
            }
            let ticks = |samples: u32| u64::from(samples) * u64::from(self.clock.hertz()) / u64::from(format.sample_rate.max(1));
            let timestamp = payload.timestamp + ticks(before) as i64;
            let duration = (ticks(before + samples) - ticks(before)) as u32;
            before += samples;
            match rest.split_at_checked(size) {
                Some((frame, behind)) => {
                    self.format.get_or_insert(format);
                    ready.push_back(Received { timestamp, duration: Some(duration), random_access: true, octets: frame.to_vec() });
                    rest = behind;
                }
                // A fragment shares its packet with nothing.
                None if before == samples => {
                    self.format.get_or_insert(format);
                    self.begun = Some(Fragments { timestamp, size, duration, octets: rest.to_vec() });
                    return Ok(());
                }
                None => return Err(PayloadFault::Malformed),
            }
        }
        Ok(())
    }

    /// A fragment behind the first.
    fn go_on(
        &mut self,
        timestamp: i64,
        place: Option<usize>,
        octets: &[u8],
        ready: &mut VecDeque<Received>,
        damaged: &mut u64,
    ) -> Result<(), PayloadFault> {
        let Some(mut begun) = self.begun.take() else { return Err(PayloadFault::NoBeginning) };
        let follows = begun.timestamp == timestamp && place.is_none_or(|place| place == begun.octets.len());
        if !follows || begun.octets.len() + octets.len() > begun.size {
            *damaged += 1;
            return Err(if follows { PayloadFault::Malformed } else { PayloadFault::NoBeginning });
        }
        begun.octets.extend_from_slice(octets);
        if begun.octets.len() < begun.size {
            self.begun = Some(begun);
        } else {
            let Fragments { timestamp, duration, octets, .. } = begun;
            ready.push_back(Received { timestamp, duration: Some(duration), random_access: true, octets });
        }
        Ok(())
    }
}
