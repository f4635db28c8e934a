//! RTP payloads of one source, in order, into access units: which payload format it is, and what all have in common.
//!
//! Own code: `retina` keeps its depacketizers' input to itself, and those of `rtp` join what a loss has torn apart. What is
//! damaged is dropped here and counted.

use std::collections::VecDeque;

use crate::library::elementary::opus;
use crate::library::{Codec, PcmConfig};
use crate::publish::aac::AacUnits;
use crate::publish::announced::{AnnouncedTrack, Coding};
use crate::publish::frames::{FrameCoding, SoundFrames};
use crate::publish::nal::{NalCoding, Pictures};
use crate::publish::pieces::PiecedPictures;
use crate::publish::vorbis::VorbisUnits;
use crate::quantities::ClockRate;

/// Octets of an access unit at most; a larger one is dropped.
pub const MAX_UNIT: usize = 8 << 20;

/// What of an RTP packet a payload format goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// RTP timestamp, extended.
    pub timestamp: i64,
    /// The marker bit.
    pub marker: bool,
    /// The payload.
    pub octets: &'a [u8],
}

/// One access unit, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it is shown, in ticks of the RTP clock: the extended timestamp.
    pub timestamp: i64,
    /// How long it lasts in ticks; `None` where only the next one tells.
    pub duration: Option<u32>,
    /// Whether decoding can start here.
    pub random_access: bool,
    /// The octets, as the track's [`Codec`] says they are framed.
    pub octets: Vec<u8>,
}

/// Why a packet is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadFault {
    /// Its payload is none of its format.
    #[error("the payload is malformed")]
    Malformed,
    /// It is a piece of something whose beginning did not come.
    #[error("a fragment without its beginning")]
    NoBeginning,
    /// The access unit grows larger than it may be.
    #[error("the access unit is larger than {MAX_UNIT} octets")]
    TooLarge,
}

#[derive(Debug)]
enum Format {
    Nal(Box<Pictures>),
    Pieces(Box<PiecedPictures>),
    Aac(AacUnits),
    Frames(SoundFrames),
    Vorbis(Box<VorbisUnits>),
    Opus,
    Samples { octets: usize, ticks: u32 },
}

/// After each call of [`Depacketizer::handle_payload`] the caller drains [`Depacketizer::poll`].
#[derive(Debug)]
pub struct Depacketizer {
    format: Format,
    /// `None` where the stream itself has yet to say.
    codec: Option<Codec>,
    ready: VecDeque<Received>,
    damaged: u64,
}

impl Depacketizer {
    /// For a track as it was announced.
    pub fn new(track: &AnnouncedTrack) -> Self {
        let (format, codec) = match &track.coding {
            Coding::H264(sets) => (Format::Nal(Box::new(Pictures::new(NalCoding::H264, sets))), None),
            Coding::H265(sets) => (Format::Nal(Box::new(Pictures::new(NalCoding::H265, sets))), None),
            Coding::Aac { config, lengths } => {
                let frame = frame_ticks(track.clock_rate, config.sample_rate);
                (Format::Aac(AacUnits::new(*lengths, frame)), Some(Codec::Aac(config.clone())))
            }
            Coding::Vp8 => (Format::Pieces(Box::new(PiecedPictures::vp8())), None),
            Coding::Vp9 => (Format::Pieces(Box::new(PiecedPictures::vp9())), None),
            Coding::MpegVideo => (Format::Pieces(Box::new(PiecedPictures::mpeg_video())), None),
            Coding::Mpeg4Visual(headers) => (Format::Pieces(Box::new(PiecedPictures::mpeg4_visual(headers))), None),
            Coding::MpegAudio => (Format::Frames(SoundFrames::new(FrameCoding::Mpeg, track.clock_rate)), None),
            Coding::Ac3 => (Format::Frames(SoundFrames::new(FrameCoding::Ac3, track.clock_rate)), None),
            Coding::Vorbis { ident, config } => {
                (Format::Vorbis(Box::new(VorbisUnits::new(*ident, config))), Some(Codec::Vorbis(config.clone())))
            }
            Coding::Opus(format) => (Format::Opus, Some(Codec::Opus(*format))),
            Coding::Samples(codec) => {
                let octets = match codec {
                    Codec::Pcm(PcmConfig { sample, channels, .. }) => sample.octets() * usize::from(*channels),
                    _ => 1,
                };
                (Format::Samples { octets: octets.max(1), ticks: 1 }, Some(codec.clone()))
            }
        };
        let mut this = Self { format, codec, ready: VecDeque::new(), damaged: 0 };
        this.learn();
        this
    }

    /// How the access units are coded; `None` until the parameter sets of a picture, a key picture or a first frame of sound have come.
    pub const fn codec(&self) -> Option<&Codec> {
        self.codec.as_ref()
    }

    /// Access units that were dropped since a part of them did not come, or was malformed.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next payload.
    ///
    /// # Errors
    /// Why it was of no use; what it belongs to is dropped.
    pub fn handle_payload(&mut self, payload: &Payload<'_>) -> Result<(), PayloadFault> {
        let outcome = match &mut self.format {
            Format::Nal(pictures) => pictures.handle(payload, &mut self.ready, &mut self.damaged),
            Format::Pieces(pictures) => pictures.handle(payload, &mut self.ready, &mut self.damaged),
            Format::Aac(units) => units.handle(payload, &mut self.ready, &mut self.damaged),
            Format::Frames(frames) => frames.handle(payload, &mut self.ready, &mut self.damaged),
            Format::Vorbis(units) => units.handle(payload, &mut self.ready, &mut self.damaged),
            Format::Opus => opus::duration(payload.octets).ok_or(PayloadFault::Malformed).map(|duration| {
                self.ready.push_back(whole(payload, duration));
            }),
            Format::Samples { octets, ticks } => {
                let count = payload.octets.len() / *octets;
                if count == 0 || !payload.octets.len().is_multiple_of(*octets) {
                    Err(PayloadFault::Malformed)
                } else {
                    self.ready.push_back(whole(payload, (count as u32).saturating_mul(*ticks)));
                    Ok(())
                }
            }
        };
        self.learn();
        outcome
    }

    /// Packets are missing before the next payload.
    pub fn handle_loss(&mut self) {
        match &mut self.format {
            Format::Nal(pictures) => pictures.handle_loss(),
            Format::Pieces(pictures) => pictures.handle_loss(),
            Format::Aac(units) => units.handle_loss(&mut self.damaged),
            Format::Frames(frames) => frames.handle_loss(&mut self.damaged),
            Format::Vorbis(units) => units.handle_loss(&mut self.damaged),
            Format::Opus | Format::Samples { .. } => {}
        }
    }

    /// The source begins anew, or ends: what has begun and is whole is an access unit.
    pub fn finish(&mut self) {
        match &mut self.format {
            Format::Nal(pictures) => pictures.finish(&mut self.ready, &mut self.damaged),
            Format::Pieces(pictures) => pictures.finish(&mut self.damaged),
            Format::Aac(_) | Format::Frames(_) | Format::Vorbis(_) | Format::Opus | Format::Samples { .. } => {}
        }
        self.handle_loss();
    }

    /// The next access unit.
    pub fn poll(&mut self) -> Option<Received> {
        self.ready.pop_front()
    }

    fn learn(&mut self) {
        if self.codec.is_none() {
            self.codec = match &self.format {
                Format::Nal(pictures) => pictures.codec(),
                Format::Pieces(pictures) => pictures.codec(),
                Format::Frames(frames) => frames.codec(),
                Format::Aac(_) | Format::Vorbis(_) | Format::Opus | Format::Samples { .. } => None,
            };
        }
    }
}

fn whole(payload: &Payload<'_>, duration: u32) -> Received {
    Received { timestamp: payload.timestamp, duration: Some(duration), random_access: true, octets: payload.octets.to_vec() }
}

/// Ticks of the RTP clock that 1,024 samples of the core last.
fn frame_ticks(clock: ClockRate, core: u32) -> u32 {
    u32::try_from(1024 * u64::from(clock.hertz()) / u64::from(core.max(1))).unwrap_or(1024)
}
