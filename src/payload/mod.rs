//! Access units into RTP payloads. One file a codec.
//!
//! A payloader writes complete packets, a hole of [`RTP_HEADER_LEN`] octets before each payload, into a
//! [`PacketBuffer`]. The flow fills the holes. Packets lie one behind the other, so that a *run* of equal packets and a
//! shorter last one is what UDP segmentation offload takes as it stands.

mod aac;
mod ac3;
mod av1;
mod bits;
pub mod grouping;
mod h264;
mod h265;
mod jpeg;
mod mp2t;
mod mpeg4_visual;
mod mpeg_audio;
mod mpeg_video;
mod nal;
mod opus;
pub mod rtx;
mod samples;
mod start_codes;
mod vorbis;
mod vp8;
mod vp9;

use std::fmt;
use std::ops::Range;

use smallvec::SmallVec;

use crate::library::jpeg::JpegProblem;
use crate::library::{Codec, Track};
use crate::payload::grouping::Grouping;
use crate::quantities::{ClockRate, PayloadType};

/// Octets of an RTP header without contributing sources and extensions (RFC 3550 section 5.1).
pub const RTP_HEADER_LEN: usize = 12;

/// The packets of one access unit, contiguous, reused from unit to unit.
#[derive(Debug, Default)]
pub struct PacketBuffer {
    octets: Vec<u8>,
    packets: Vec<Packet>,
}

/// One packet in a [`PacketBuffer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it lies, RTP header included.
    pub range: Range<usize>,
    /// The RTP marker bit, by the payload format's rule.
    pub marker: bool,
    /// Ticks of the RTP clock by which it is sampled later than its access unit: samples that fill several packets.
    pub later: u32,
}

/// Consecutive packets of one size, the last of which may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The octets of all its packets.
    pub range: Range<usize>,
    /// The size of each packet but the last, in octets, header included.
    pub segment: usize,
    /// The indices of its packets.
    pub packets: Range<usize>,
}

impl PacketBuffer {
    /// An empty one with room for so many octets.
    pub fn with_capacity(octets: usize) -> Self {
        Self { octets: Vec::with_capacity(octets), packets: Vec::new() }
    }

    /// The octets it has room for.
    pub fn capacity(&self) -> usize {
        self.octets.capacity()
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.packets.clear();
    }

    /// Begins a packet; what [`PacketBuffer::extend`] is given until [`PacketBuffer::finish`] is its payload.
    pub fn begin(&mut self) {
        let start = self.octets.len();
        self.octets.resize(start + RTP_HEADER_LEN, 0);
        self.packets.push(Packet { range: start..start, marker: false, later: 0 });
    }

    /// The packet that was begun is sampled so many ticks of the RTP clock later than its access unit.
    pub fn set_later(&mut self, ticks: u32) {
        if let Some(packet) = self.packets.last_mut() {
            packet.later = ticks;
        }
    }

    /// Appends to the payload of the packet that was begun.
    pub fn extend(&mut self, payload: &[u8]) {
        self.octets.extend_from_slice(payload);
    }

    /// The payload so far of the packet that was begun.
    fn begun_mut(&mut self) -> &mut [u8] {
        let start = self.packets.last().map_or(self.octets.len(), |packet| packet.range.start + RTP_HEADER_LEN);
        self.octets.get_mut(start..).unwrap_or_default()
    }

    /// Ends the packet that was begun.
    pub fn finish(&mut self, marker: bool) {
        let end = self.octets.len();
        if let Some(packet) = self.packets.last_mut() {
            packet.range.end = end;
            packet.marker = marker;
        }
    }

    /// Sets the marker of the last packet.
    fn mark_last(&mut self) {
        if let Some(packet) = self.packets.last_mut() {
            packet.marker = true;
        }
    }

    /// Appends packets of `filler` to an access unit, of which the very last is marked then; not where that has its end.
    fn fill_up(&mut self, filler: &[u8], count: usize, is_end: fn(&[u8]) -> bool) -> bool {
        let last = self.packets.last().map(|packet| &self.octets[packet.range.clone()][RTP_HEADER_LEN..]);
        if last.is_some_and(is_end) {
            return false;
        }
        if let Some(last) = self.packets.last_mut() {
            last.marker = false;
        }
        for _ in 0..count {
            self.begin();
            self.extend(filler);
            self.finish(false);
        }
        self.mark_last();
        true
    }

    /// Appends copies of all of another's packets.
    pub fn append(&mut self, other: &Self) {
        let shift = self.octets.len();
        self.octets.extend_from_slice(&other.octets);
        self.packets
            .extend(other.packets.iter().map(|packet| Packet { range: packet.range.start + shift..packet.range.end + shift, ..*packet }));
    }

    /// Takes back everything from packet `count` on.
    pub fn truncate(&mut self, count: usize) {
        if let Some(packet) = self.packets.get(count) {
            self.octets.truncate(packet.range.start);
            self.packets.truncate(count);
        }
    }

    /// The packets, in sending order.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// All octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// All octets, for filling in the headers.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }

    /// The runs within `packets`, each of at most `max_packets` packets and `max_octets` octets.
    pub fn runs(&self, packets: Range<usize>, max_packets: usize, max_octets: usize) -> Runs<'_> {
        Runs { buffer: self, next: packets.start, end: packets.end.min(self.packets.len()), max_packets: max_packets.max(1), max_octets }
    }
}

/// Why an access unit or a track cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The access unit holds nothing.
    #[error("the access unit is empty")]
    Empty,
    /// The access unit is not what its codec says.
    #[error("the access unit is no sound {0}")]
    Broken(&'static str),
    /// The length before a NAL unit does not fit the access unit.
    #[error("a NAL unit's length does not fit its access unit")]
    NalLength,
    /// The format carries no such JPEG picture.
    #[error("{0}")]
    Jpeg(JpegProblem),
    /// The payload format cannot say such a size.
    #[error("the access unit has {size} octets, more than {limit}")]
    TooLarge {
        /// Octets.
        size: usize,
        /// Octets at most.
        limit: usize,
    },
    /// Packets of that size cannot carry the format, or no datagram can carry them.
    #[error("packets of {0} octets are not between {MIN_PACKET} and {MAX_PACKET}")]
    PacketSize(usize),
    /// Lengths of that many octets before NAL units do not exist.
    #[error("NAL unit lengths of {0} octets do not exist")]
    LengthSize(u8),
    /// The clock rate is zero.
    #[error("the track has no clock")]
    Clock,
    /// The payload format cannot say so many channels.
    #[error("{0} channels cannot be sent")]
    Channels(u8),
}

/// The smallest packet size that all payload formats but JPEG and transport packets can work with, RTP header included.
pub const MIN_PACKET: usize = 64;

/// The greatest packet size that is taken, RTP header included.
pub const MAX_PACKET: usize = 65_000;

/// Makes packets of a track's access units. The same access unit gives the same packets each time: what is sent again
/// from the file is what was sent before.
#[derive(Debug)]
pub struct Payloader {
    format: Box<dyn Format>,
    clock_rate: ClockRate,
}

/// A payload format: how the access units of a codec become packets. One file each.
trait Format: fmt::Debug + Send + Sync {
    /// See [`Payloader::payload`]; packets that were written before an error are taken back by the caller.
    fn payload(&self, unit: &[u8], random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError>;

    /// The packet that several access units share; only of formats with a [`Format::grouping`].
    fn payload_together(&self, units: &[&[u8]], _out: &mut PacketBuffer) -> Result<(), PayloadError> {
        Err(PayloadError::TooLarge { size: units.iter().map(|unit| unit.len()).sum(), limit: 0 })
    }

    /// See [`Payloader::fill_up`].
    fn fill_up(&self, _count: usize, _out: &mut PacketBuffer) -> bool {
        false
    }

    /// See [`Payloader::grouping`].
    fn grouping(&self, _track: &Track) -> Grouping {
        Grouping::default()
    }

    /// See [`Payloader::is_disposable`].
    fn is_disposable(&self, _unit: &[u8]) -> bool {
        false
    }

    /// The RTP clock in hertz.
    fn clock_rate(&self) -> u32 {
        ClockRate::VIDEO.hertz()
    }

    /// See [`Payloader::encoding_name`].
    fn encoding_name(&self) -> String;

    /// See [`Payloader::format_parameters`].
    fn format_parameters(&self) -> String {
        String::new()
    }
}

impl Payloader {
    /// For packets of at most `max_packet` octets, RTP header included.
    ///
    /// # Errors
    /// `PacketSize` outside [`MIN_PACKET`]`..=`[`MAX_PACKET`] and where JPEG's tables or a transport packet do not fit, `LengthSize` and `Clock` where the codec's configuration is impossible.
    pub fn new(codec: &Codec, max_packet: usize) -> Result<Self, PayloadError> {
        if !(MIN_PACKET..=MAX_PACKET).contains(&max_packet) {
            return Err(PayloadError::PacketSize(max_packet));
        }
        let format: Box<dyn Format> = match codec {
            Codec::H264(config) => Box::new(h264::H264Payloader::new(config, max_packet)?),
            Codec::H265(config) => Box::new(h265::H265Payloader::new(config, max_packet)?),
            Codec::Av1(config) => Box::new(av1::Av1Payloader::new(config, max_packet)),
            Codec::Vp8(_) => Box::new(vp8::Vp8Payloader::new(max_packet)),
            Codec::Vp9(config) => Box::new(vp9::Vp9Payloader::new(config, max_packet)),
            Codec::Mpeg4Visual(config) => Box::new(mpeg4_visual::Mpeg4VisualPayloader::new(config, max_packet)),
            Codec::Mpeg2Video(_) => Box::new(mpeg_video::MpegVideoPayloader::new(max_packet)),
            Codec::Jpeg(_) => Box::new(jpeg::JpegPayloader::new(max_packet)?),
            Codec::Aac(config) => Box::new(aac::AacPayloader::new(config, max_packet)),
            Codec::Opus(format) => Box::new(opus::OpusPayloader::new(format, max_packet)?),
            Codec::MpegAudio(_) => Box::new(mpeg_audio::MpegAudioPayloader::new(max_packet)),
            Codec::Ac3(format) => Box::new(ac3::Ac3Payloader::new(format, max_packet)),
            Codec::Vorbis(config) => Box::new(vorbis::VorbisPayloader::new(config, max_packet)?),
            Codec::Pcm(config) => Box::new(samples::SamplePayloader::pcm(config, max_packet)?),
            Codec::G722(format) => Box::new(samples::SamplePayloader::g722(format, max_packet)?),
            Codec::Mp2t => Box::new(mp2t::Mp2tPayloader::new(max_packet)?),
        };
        let clock_rate = ClockRate::new(format.clock_rate()).ok_or(PayloadError::Clock)?;
        Ok(Self { format, clock_rate })
    }

    /// Appends the packets of one access unit; on an error, none.
    ///
    /// # Errors
    /// The access unit is malformed.
    pub fn payload(&self, unit: &[u8], random_access: bool, out: &mut PacketBuffer) -> Result<(), PayloadError> {
        let before = out.packets.len();
        let done = self.format.payload(unit, random_access, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }

    /// Appends the packet of access units that share one, which are there one behind the other in `octets`, of these `sizes`;
    /// as [`Payloader::payload`] where it is one. On an error, none.
    ///
    /// # Errors
    /// An access unit is malformed, or they do not fit one packet.
    pub fn payload_together(
        &self,
        octets: &[u8],
        sizes: &[usize],
        random_access: bool,
        out: &mut PacketBuffer,
    ) -> Result<(), PayloadError> {
        let [_, _, ..] = sizes else { return self.payload(octets, random_access, out) };
        let mut rest = octets;
        let mut units: SmallVec<[&[u8]; 4]> = SmallVec::new();
        for size in sizes {
            let (unit, behind) = rest.split_at_checked(*size).ok_or(PayloadError::Empty)?;
            units.push(unit);
            rest = behind;
        }
        let before = out.packets.len();
        let done = self.format.payload_together(&units, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }

    /// Lengthens an access unit that `out` holds the packets of by so many packets that mean nothing, so that the numbers of access units
    /// which are not sent behind it leave no gap; whether the format has such packets, and they can follow.
    pub fn fill_up(&self, count: usize, out: &mut PacketBuffer) -> bool {
        self.format.fill_up(count, out)
    }

    /// How the access units of a track share packets.
    pub fn grouping(&self, track: &Track) -> Grouping {
        // Receivers take it that frames follow each other by the same number of ticks of the RTP clock.
        if track.timescale == self.clock_rate { self.format.grouping(track) } else { Grouping::default() }
    }

    /// Whether nothing else is decoded with the help of this access unit, so that it is missed least where not all can be
    /// sent.
    pub fn is_disposable(&self, unit: &[u8]) -> bool {
        self.format.is_disposable(unit)
    }

    /// The RTP clock.
    pub const fn clock_rate(&self) -> ClockRate {
        self.clock_rate
    }

    /// What `a=rtpmap:` says after the payload type (RFC 4566 section 6).
    pub fn encoding_name(&self) -> String {
        self.format.encoding_name()
    }

    /// What `a=fmtp:` says after the payload type; empty where there is nothing to say.
    pub fn format_parameters(&self) -> String {
        self.format.format_parameters()
    }
}

/// The number in the RTP packets of a title's track at `index`, coded so: the static one where there is one (RFC 3551 tables 4 and 5), for
/// players need not know a format by another (FFmpeg knows MPEG video by its number only); `None` where there are too many tracks.
pub fn payload_type(codec: &Codec, index: usize) -> Option<PayloadType> {
    let known = match codec {
        Codec::Jpeg(_) => Some(26),
        Codec::Mpeg2Video(_) => Some(32),
        Codec::MpegAudio(_) => Some(14),
        Codec::Mp2t => Some(33),
        _ => None,
    };
    known.map_or_else(|| PayloadType::dynamic(index), PayloadType::new)
}

/// What does not fit one packet in as few pieces as can be, of one size but for the last: never a last one of a few octets, which some
/// receivers refuse.
fn even_pieces(octets: &[u8], most: usize) -> std::slice::Chunks<'_, u8> {
    let count = octets.len().div_ceil(most.max(1)).max(1);
    octets.chunks(octets.len().div_ceil(count).max(1))
}

/// Octets as hexadecimal digits, two each.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

/// Iterates over runs.
#[derive(Debug)]
pub struct Runs<'a> {
    buffer: &'a PacketBuffer,
    next: usize,
    end: usize,
    max_packets: usize,
    max_octets: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let packets = &self.buffer.packets[..self.end];
        let first = packets.get(self.next)?;
        let segment = first.range.len();
        let start = self.next;
        let mut end = first.range.end;
        self.next += 1;
        while let Some(packet) = packets.get(self.next) {
            let len = packet.range.len();
            if len > segment || self.next - start >= self.max_packets || packet.range.end - first.range.start > self.max_octets {
                break;
            }
            end = packet.range.end;
            self.next += 1;
            if len < segment {
                break;
            }
        }
        Some(Run { range: first.range.start..end, segment, packets: start..self.next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(sizes: &[usize]) -> PacketBuffer {
        let mut buffer = PacketBuffer::default();
        for &size in sizes {
            buffer.begin();
            buffer.extend(&vec![7; size - RTP_HEADER_LEN]);
            buffer.finish(false);
        }
        buffer
    }

    #[test]
    fn pieces_are_even() {
        let sizes = |len: usize| even_pieces(&vec![0; len], 100).map(<[u8]>::len).collect::<Vec<_>>();
        for (len, expected) in
            [(0, vec![]), (1, vec![1]), (100, vec![100]), (101, vec![51, 50]), (201, vec![67; 3]), (299, vec![100, 100, 99])]
        {
            assert_eq!(sizes(len), expected);
        }
        assert!((1..2000).all(|len| sizes(len).len() == len.div_ceil(100) && sizes(len).iter().sum::<usize>() == len));
    }

    #[test]
    fn a_run_is_equal_packets_ended_by_a_shorter_one() {
        let buffer = buffer(&[100, 100, 40, 100, 120, 120, 120]);
        let runs: Vec<_> = buffer.runs(0..7, 64, 65_000).map(|run| (run.packets, run.segment)).collect();
        assert_eq!(runs, [(0..3, 100), (3..4, 100), (4..7, 120)]);
    }

    #[test]
    fn runs_obey_the_limits_of_one_message() {
        let buffer = buffer(&[100; 5]);
        let runs: Vec<_> = buffer.runs(0..5, 2, 65_000).map(|run| run.packets).collect();
        assert_eq!(runs, [0..2, 2..4, 4..5]);
        let runs: Vec<_> = buffer.runs(1..5, 64, 300).map(|run| run.packets).collect();
        assert_eq!(runs, [1..4, 4..5]);
    }
}
