//! Opus as transport streams carry it: a control header before each packet, with its size (ETSI TS 103 491 annex A).
//!
//! What the header would have a decoder cut off at the beginning and the end is left alone: nothing in RTP carries it. As with other sound
//! ([`Frames`](super::frames::Frames)): out of step, a header is believed once another follows its packet at once.

use std::collections::VecDeque;

use crate::library::elementary::frames::Frame;
use crate::library::elementary::opus;
use crate::library::elementary::start_code::Place;

/// Octets of a packet, and of a control header, at most: three frames of 1,275 octets would fit, and so many as padding makes are no sound.
const MAX_PACKET: usize = 8 << 10;
const MAX_HEADER: usize = 4 + MAX_PACKET / 255 + 2 + 2 + 256;
/// start_trim_flag, end_trim_flag, control_extension_flag.
const START_TRIM: u8 = 0x10;
const END_TRIM: u8 = 0x08;
const EXTENSION: u8 = 0x04;

/// A control header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Control {
    /// Octets of the header.
    len: usize,
    /// Octets of the packet behind it.
    size: usize,
}

/// What begins a stream so far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Header(Control),
    /// More octets are needed.
    Short,
    Other,
}

fn is_prefix(octets: &[u8]) -> bool {
    matches!(octets, [0x7f, flags, ..] if flags >> 5 == 7)
}

impl Begins {
    fn with(octets: &[u8]) -> Self {
        if octets.len() < 2 {
            return Self::Short;
        }
        if !is_prefix(octets) {
            return Self::Other;
        }
        match Control::parse(octets) {
            Some(control) if control.size > 0 && control.size <= MAX_PACKET => Self::Header(control),
            None if octets.len() < MAX_HEADER => Self::Short,
            _ => Self::Other,
        }
    }
}

impl Control {
    fn parse(octets: &[u8]) -> Option<Self> {
        let flags = *octets.get(1)?;
        let (mut len, mut size) = (2, 0);
        loop {
            let step = *octets.get(len)?;
            len += 1;
            size += usize::from(step);
            if step < 255 || size > MAX_PACKET {
                break;
            }
        }
        len += [START_TRIM, END_TRIM].into_iter().filter(|flag| flags & flag != 0).count() * 2;
        if flags & EXTENSION != 0 {
            len += 1 + usize::from(*octets.get(len)?);
        }
        Some(Self { len, size })
    }
}

/// Gathers Opus packets of a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct OpusStream {
    /// What is not yet read, and the octets of the stream before it.
    octets: Vec<u8>,
    position: u64,
    /// Where the pieces lie that it came in.
    pieces: VecDeque<Place>,
    in_step: bool,
    done: Vec<Frame>,
}

impl OpusStream {
    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8], place: Place) {
        if piece.is_empty() {
            return;
        }
        if self.octets.is_empty() {
            self.position = place.position;
        }
        self.octets.extend_from_slice(piece);
        self.pieces.push_back(place);
        self.read(false);
    }

    /// Something is missing in the stream: what is not yet whole never will be.
    pub fn interrupt(&mut self) {
        self.read(true);
        self.octets.clear();
        self.pieces.clear();
        self.in_step = false;
    }

    /// The packets that are whole by now, each once.
    pub fn take(&mut self) -> std::vec::Drain<'_, Frame> {
        self.done.drain(..)
    }

    /// Reads the packets that are whole; at an end, also one that nothing follows.
    fn read(&mut self, is_end: bool) {
        let mut at = 0;
        while let Some(rest) = self.octets.get(at..).filter(|rest| !rest.is_empty()) {
            let control = match Begins::with(rest) {
                Begins::Header(control) => control,
                Begins::Short => break,
                Begins::Other => {
                    self.in_step = false;
                    at += 1;
                    continue;
                }
            };
            let Some((unit, behind)) = rest.split_at_checked(control.len + control.size) else { break };
            if !self.in_step && behind.len() < 2 && !is_end {
                break;
            }
            if !(self.in_step || is_prefix(behind) || is_end && behind.is_empty()) {
                at += 1;
                continue;
            }
            self.in_step = true;
            if let Some(samples) = unit.get(control.len..).and_then(opus::duration) {
                self.add(at, control, samples);
            }
            at += control.len + control.size;
        }
        self.octets.drain(..at.min(self.octets.len()));
        self.position = self.position.saturating_add(at as u64);
        while self.pieces.get(1).is_some_and(|next| next.position <= self.position) {
            self.pieces.pop_front();
        }
    }

    fn add(&mut self, at: usize, control: Control, samples: u32) {
        let code_position = self.position.saturating_add(at as u64);
        let position = code_position.saturating_add(control.len as u64);
        let piece = self.pieces.partition_point(|piece| piece.position <= position).checked_sub(1);
        if let Some(piece) = piece.and_then(|number| self.pieces.get(number)) {
            let start = piece.ahead(usize::try_from(position.saturating_sub(piece.position)).unwrap_or(usize::MAX));
            self.done.push(Frame { start, size: control.size as u32, code_position, samples, shift: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet of 20 ms and so many octets, with what the flags ask for in its control header.
    fn unit(size: usize, flags: u8) -> Vec<u8> {
        let mut header = vec![0x7f, 0xe0 | flags];
        header.extend(vec![255; size / 255]);
        header.push((size % 255) as u8);
        header.extend([0x01, 0x38].repeat((flags & (START_TRIM | END_TRIM)).count_ones() as usize));
        if flags & EXTENSION != 0 {
            header.extend([2, 9, 9]);
        }
        [header, vec![0xfc; size]].concat()
    }

    fn read(stream: &[u8], step: usize) -> Vec<(u64, u32, u64, u32)> {
        let mut gathered = OpusStream::default();
        for (number, piece) in stream.chunks(step).enumerate() {
            let at = (number * step) as u64;
            gathered.feed(piece, Place { position: at, offset: at + number as u64 * 10 });
        }
        gathered.interrupt();
        let place = |frame: Frame| {
            assert_eq!(frame.start.offset, frame.start.position + frame.start.position / step as u64 * 10);
            (frame.start.position, frame.size, frame.code_position, frame.samples)
        };
        gathered.take().map(place).collect()
    }

    #[test]
    fn packets_are_found_however_the_stream_is_cut() {
        let stream = [unit(40, START_TRIM), unit(300, 0), unit(255, END_TRIM | EXTENSION)].concat();
        for step in [1, 2, 3, 7, 184, 1_000] {
            assert_eq!(read(&stream, step), [(5, 40, 0, 960), (49, 300, 45, 960), (358, 255, 349, 960)], "{step}");
        }
    }

    #[test]
    fn noise_between_packets_is_passed_over_and_half_a_packet_is_none() {
        let noise = [0x7f, 0xe0, 3, 1, 2, 3, 4];
        let stream = [&noise[..], &unit(40, 0), &unit(50, 0), &noise, &unit(60, 0), &unit(70, 0), &unit(80, 0)[..30]].concat();
        assert_eq!(read(&stream, 50).iter().map(|(_, size, ..)| *size).collect::<Vec<_>>(), [40, 50, 3, 60, 70]);
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_little_is_kept(noise in proptest::collection::vec(prop_oneof![Just(0x7f), Just(0xff), any::<u8>()], 0..4_000)) {
            let mut gathered = OpusStream::default();
            for (number, piece) in noise.chunks(184).enumerate() {
                gathered.feed(piece, Place { position: number as u64 * 184, offset: number as u64 * 188 });
                prop_assert!(gathered.octets.len() <= MAX_HEADER + MAX_PACKET + 184);
            }
            gathered.interrupt();
        }
    }
}
