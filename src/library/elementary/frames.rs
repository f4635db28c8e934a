//! Audio frames out of a stream in which each has a header that says how long it is: ADTS, MPEG audio, AC-3.
//!
//! A stream is in step once a header follows a frame at once; out of step, the next header is looked for. The first frame that is followed
//! so decides how the stream is coded: what is coded otherwise is no part of it.

use crate::library::codec::{AacConfig, Codec, SoundFormat};
use crate::library::elementary::ac3::{self, Coding, SyncFrame};
use crate::library::elementary::adts::{self, AdtsHeader};
use crate::library::elementary::mpeg_audio::{self, FrameHeader};
use crate::library::elementary::start_code::Place;

/// How sound with headers is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// AAC in ADTS; the header is no part of the access unit.
    Adts,
    /// Layers I to III.
    MpegAudio,
    /// AC-3.
    Ac3,
}

/// A header of any of them.
#[derive(Clone, Copy, Debug)]
enum Header {
    Adts(AdtsHeader),
    MpegAudio(FrameHeader),
    Ac3(SyncFrame),
}

impl Sound {
    const fn header_len(self) -> usize {
        match self {
            Self::Adts => adts::HEADER,
            Self::MpegAudio => mpeg_audio::HEADER,
            Self::Ac3 => ac3::HEADER,
        }
    }

    fn parse(self, octets: &[u8]) -> Option<Header> {
        match self {
            Self::Adts => AdtsHeader::parse(octets).map(Header::Adts),
            Self::MpegAudio => FrameHeader::parse(octets).map(Header::MpegAudio),
            Self::Ac3 => SyncFrame::parse(octets).filter(|frame| frame.coding == Coding::Ac3).map(Header::Ac3),
        }
    }
}

impl Header {
    const fn frame_len(&self) -> usize {
        match self {
            Self::Adts(header) => header.frame_len,
            Self::MpegAudio(header) => header.frame_len(),
            Self::Ac3(frame) => frame.frame_len,
        }
    }

    /// Octets at its beginning that are no part of the access unit.
    const fn skipped(&self) -> usize {
        if let Self::Adts(header) = self { header.header_len } else { 0 }
    }

    const fn samples(&self) -> u32 {
        match self {
            Self::Adts(_) => adts::SAMPLES,
            Self::MpegAudio(header) => header.samples(),
            Self::Ac3(frame) => frame.samples,
        }
    }

    fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Adts(one), Self::Adts(other)) => one.goes_with(other),
            (Self::MpegAudio(one), Self::MpegAudio(other)) => one.goes_with(other),
            (Self::Ac3(one), Self::Ac3(other)) => one.sample_rate == other.sample_rate,
            _ => false,
        }
    }

    fn codec(&self) -> Codec {
        match self {
            Self::Adts(header) => Codec::Aac(header.config()),
            Self::MpegAudio(header) => Codec::MpegAudio(header.sound_format()),
            Self::Ac3(frame) => Codec::Ac3(frame.sound_format()),
        }
    }
}

/// An access unit of sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its first octet.
    pub start: Place,
    /// Octets.
    pub size: u32,
    /// Octets of the stream before its header.
    pub code_position: u64,
    /// Samples of a channel.
    pub samples: u32,
    /// Bits of its first octet that are not of it; its last ones lie in the octet behind it then.
    pub shift: u8,
}

/// Gathers frames of a stream that comes in pieces.
#[derive(Debug)]
pub struct Frames {
    sound: Sound,
    first: Option<Header>,
    /// The beginning of what may be a header, and where its octets lie.
    head: Vec<u8>,
    places: Vec<Place>,
    draft: Option<Draft>,
    /// A frame behind which no header was seen yet.
    held: Option<(Frame, Header)>,
    in_step: bool,
    done: Vec<Frame>,
    /// Octets that belong to no frame.
    lost: u64,
    /// Frames that follow each other and are coded otherwise than the stream, and where the last of them ends.
    refused: u64,
    refused_end: u64,
}

#[derive(Debug)]
struct Draft {
    frame: Frame,
    header: Header,
    /// Octets before the access unit that are still to come.
    skip: usize,
    has_start: bool,
    /// Octets of it that are still to come.
    rest: usize,
}

impl Frames {
    /// For a stream that is coded so.
    pub fn new(sound: Sound) -> Self {
        let (head, places) = (Vec::with_capacity(sound.header_len()), Vec::with_capacity(sound.header_len()));
        let (draft, held, done) = (None, None, Vec::new());
        Self { sound, first: None, head, places, draft, held, in_step: false, done, lost: 0, refused: 0, refused_end: 0 }
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8], place: Place) {
        let mut at = 0;
        while at < piece.len() {
            match &mut self.draft {
                Some(draft) => {
                    at += draft.take(piece.len() - at, place.ahead(at));
                    if draft.rest == 0 {
                        self.end_frame();
                    }
                }
                None => {
                    self.head.push(piece[at]);
                    self.places.push(place.ahead(at));
                    at += 1;
                    if self.head.len() == self.sound.header_len() {
                        self.begin_frame();
                    }
                }
            }
        }
    }

    fn begin_frame(&mut self) {
        let header = self.sound.parse(&self.head);
        let fitting = header.filter(|header| self.first.is_none_or(|first| header.goes_with(&first)));
        let (Some(header), Some(&start)) = (fitting, self.places.first()) else {
            header.iter().for_each(|header| self.refuse(header));
            self.in_step = false;
            self.held = None;
            self.head.remove(0);
            self.places.remove(0);
            self.lost += 1;
            return;
        };
        // What was held before a header of another kind was no frame.
        if let Some((frame, before)) = self.held.take().filter(|(_, before)| header.goes_with(before)) {
            self.first.get_or_insert(before);
            self.done.push(frame);
            self.in_step = true;
        }
        let size = header.frame_len().saturating_sub(header.skipped());
        let frame = Frame { start, size: size as u32, code_position: start.position, samples: header.samples(), shift: 0 };
        let (read, skipped) = (self.head.len(), header.skipped());
        let rest = if skipped > 0 { size } else { size.saturating_sub(read) };
        self.draft = Some(Draft { frame, header, skip: skipped.saturating_sub(read), has_start: skipped == 0, rest });
        self.head.clear();
        self.places.clear();
        if rest == 0 {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        let Some(draft) = self.draft.take() else { return };
        if self.in_step {
            self.done.push(draft.frame);
        } else {
            self.held = Some((draft.frame, draft.header));
        }
    }

    /// Counts a header that is not of this stream, where it is due: behind a frame, or behind another one of its kind.
    fn refuse(&mut self, header: &Header) {
        let at = self.places.first().map_or(0, |place| place.position);
        let is_due = self.in_step || at == self.refused_end;
        if is_due || at > self.refused_end {
            self.refused += u64::from(is_due);
            self.refused_end = at.saturating_add(header.frame_len() as u64);
        }
    }

    /// Something is missing in the stream: what is not yet whole never will be.
    pub fn interrupt(&mut self) {
        self.head.clear();
        self.places.clear();
        self.draft = None;
        let held = self.held.take().filter(|_| self.first.is_some());
        self.done.extend(held.map(|(frame, _)| frame));
        self.in_step = false;
    }

    /// The stream has ended: a frame that is all of it is one.
    pub fn finish(&mut self) {
        if let (None, Some((_, header)), None, true) = (&self.first, &self.held, &self.draft, self.head.is_empty()) {
            self.first = Some(*header);
        }
        self.interrupt();
    }

    /// The frames that are whole by now, each once.
    pub fn take(&mut self) -> std::vec::Drain<'_, Frame> {
        self.done.drain(..)
    }

    /// What a decoder must know beforehand, once there was a frame with another behind it.
    pub fn codec(&self) -> Option<Codec> {
        self.first.as_ref().map(Header::codec)
    }

    /// What is heard, once that is known.
    pub fn sound_format(&self) -> Option<SoundFormat> {
        match self.codec()? {
            Codec::Aac(AacConfig { sample_rate, channels, .. }) => Some(SoundFormat { sample_rate, channels }),
            codec => codec.sound_format(),
        }
    }

    /// Octets so far that belong to no frame.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Frames so far that are coded otherwise than the stream.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

impl Draft {
    /// Takes some of `available` octets at `place`; how many.
    fn take(&mut self, available: usize, place: Place) -> usize {
        if self.skip > 0 {
            let skipped = self.skip.min(available);
            self.skip -= skipped;
            return skipped;
        }
        if !std::mem::replace(&mut self.has_start, true) {
            self.frame.start = place;
        }
        let taken = self.rest.min(available);
        self.rest -= taken;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ADTS frame of so many octets behind its header.
    fn adts(octets: usize) -> Vec<u8> {
        let len = octets + 7;
        let header = [0xff, 0xf1, 0x4c, 0x80 | (len >> 11) as u8, (len >> 3) as u8, ((len & 7) << 5) as u8 | 0x1f, 0xfc];
        [&header[..], &vec![7; octets]].concat()
    }

    fn read(stream: &[u8], step: usize) -> Vec<(u64, u32)> {
        let mut frames = Frames::new(Sound::Adts);
        for (number, piece) in stream.chunks(step).enumerate() {
            let at = (number * step) as u64;
            frames.feed(piece, Place { position: at, offset: at });
        }
        frames.finish();
        frames.take().map(|frame| (frame.start.offset, frame.size)).collect()
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let stream = [adts(20), adts(1), adts(300)].concat();
        for step in [1, 2, 3, 7, 8, 184, 1_000] {
            assert_eq!(read(&stream, step), [(7, 20), (34, 1), (42, 300)], "{step}");
        }
    }

    #[test]
    fn noise_between_frames_is_passed_over_and_half_a_frame_is_none() {
        let noise = [0xff, 0xf1, 0, 1, 2, 0xff, 0xff];
        let stream = [&noise[..], &adts(20), &adts(30), &noise, &adts(40), &adts(50), &adts(60)[..30]].concat();
        let expected: [(u64, u32); 4] = [(14, 20), (41, 30), (85, 40), (132, 50)];
        assert_eq!(read(&stream, 10), expected);
    }

    #[test]
    fn what_looks_like_a_header_decides_nothing_until_another_follows() {
        let mut other = adts(20);
        other[2] = 0x50;
        // With something else behind it, or the first frame that is one.
        for noise in [[&other[..], &[0; 3]].concat(), other] {
            let mut frames = Frames::new(Sound::Adts);
            frames.feed(&noise, Place::default());
            assert_eq!(frames.codec(), None);
            frames.feed(&[adts(20), adts(30), adts(40)].concat(), Place::default());
            frames.finish();
            assert_eq!(frames.take().map(|frame| frame.size).collect::<Vec<_>>(), [20, 30, 40]);
            assert_eq!(frames.sound_format(), Some(SoundFormat { sample_rate: 48_000, channels: 2 }));
        }
    }

    #[test]
    fn a_single_frame_is_a_stream() {
        let mut frames = Frames::new(Sound::Adts);
        frames.feed(&adts(20), Place::default());
        frames.finish();
        assert_eq!((frames.take().count(), frames.codec().is_some()), (1, true));
    }

    #[test]
    fn frames_of_another_kind_are_no_part_of_the_stream() {
        let mut other = adts(20);
        other[2] = 0x50;
        let stream = [adts(20), adts(30), other, adts(40), adts(50)].concat();
        assert_eq!(read(&stream, 64).iter().map(|(_, size)| *size).collect::<Vec<_>>(), [20, 30, 40, 50]);
    }
}
