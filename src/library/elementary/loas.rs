//! LOAS, the stream of LATM elements that transport streams carry: AudioSyncStream (ISO/IEC 14496-3 section 1.7.2), a sync word and a
//! length before each element.
//!
//! As with other sound ([`Frames`](super::frames::Frames)): out of step, an element is believed once another follows it at once, and the
//! first configuration decides how the stream is coded; what is coded otherwise is no part of it.

use std::collections::VecDeque;

use crate::library::codec::{AacConfig, SoundFormat};
use crate::library::elementary::frames::Frame;
use crate::library::elementary::latm::{self, Mux, Payload};
use crate::library::elementary::start_code::Place;

/// Octets before an element: eleven bits of 0x2b7, thirteen of length.
const HEADER: usize = 3;

/// Gathers access units of a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct Loas {
    /// What is not yet read, and the octets of the stream before it.
    octets: Vec<u8>,
    position: u64,
    /// Where the pieces lie that it came in.
    pieces: VecDeque<Place>,
    in_step: bool,
    first: Option<Mux>,
    mux: Option<Mux>,
    payloads: Vec<Payload>,
    done: Vec<Frame>,
    refused: u64,
}

/// Octets of an element and its header, by the two octets of sync word and what follows.
fn length(octets: &[u8]) -> Option<usize> {
    let &[0x56, second, third] = octets.first_chunk::<HEADER>()? else { return None };
    (second >> 5 == 7).then_some(HEADER + (usize::from(second & 0x1f) << 8 | usize::from(third)))
}

fn is_sync(octets: &[u8]) -> bool {
    matches!(octets, [0x56, second, ..] if second >> 5 == 7)
}

impl Loas {
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

    /// The stream has ended.
    pub fn finish(&mut self) {
        self.interrupt();
    }

    /// The access units that are whole by now, each once.
    pub fn take(&mut self) -> std::vec::Drain<'_, Frame> {
        self.done.drain(..)
    }

    /// What a decoder must know beforehand, once an element has said it.
    pub fn config(&self) -> Option<&AacConfig> {
        self.first.as_ref().map(|mux| &mux.config)
    }

    /// What is heard, once that is known.
    pub fn sound_format(&self) -> Option<SoundFormat> {
        self.config().map(|config| SoundFormat { sample_rate: config.sample_rate, channels: config.channels })
    }

    /// Access units so far that are coded otherwise than the stream.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Reads the elements that are whole; at an end, also one that nothing follows.
    fn read(&mut self, is_end: bool) {
        let mut at = 0;
        while let Some(rest) = self.octets.get(at..).filter(|rest| rest.len() >= HEADER) {
            let Some(len) = length(rest) else {
                self.in_step = false;
                at += 1;
                continue;
            };
            let Some((element, behind)) = rest.split_at_checked(len) else { break };
            if !self.in_step {
                if behind.len() < 2 && !is_end {
                    break;
                }
                let is_last = is_end && behind.is_empty() && self.first.is_some();
                if !is_last && !is_sync(behind) {
                    at += 1;
                    continue;
                }
            }
            self.in_step = true;
            self.payloads.clear();
            if latm::element(element.get(HEADER..).unwrap_or_default(), &mut self.mux, &mut self.payloads).is_some() {
                self.gather(at);
            }
            at += len;
        }
        let at = at.min(self.octets.len());
        self.octets.drain(..at);
        self.position = self.position.saturating_add(at as u64);
        while self.pieces.get(1).is_some_and(|next| next.position <= self.position) {
            self.pieces.pop_front();
        }
    }

    /// Adds the access units of the element whose header begins at `at`.
    fn gather(&mut self, at: usize) {
        let Some(mux) = &self.mux else { return };
        let first = self.first.get_or_insert_with(|| mux.clone());
        if first.config != mux.config || first.samples != mux.samples {
            self.refused += self.payloads.len() as u64;
            return;
        }
        let code_position = self.position.saturating_add(at as u64);
        for payload in &self.payloads {
            let position = code_position.saturating_add((HEADER + payload.at / 8) as u64);
            let piece = self.pieces.partition_point(|piece| piece.position <= position).checked_sub(1);
            let Some(piece) = piece.and_then(|number| self.pieces.get(number)) else { continue };
            let start = piece.ahead(usize::try_from(position.saturating_sub(piece.position)).unwrap_or(usize::MAX));
            let shift = (payload.at % 8) as u8;
            self.done.push(Frame { start, size: payload.size, code_position, samples: mux.samples, shift });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// LC of two channels at 48 kHz, and at 44.1 kHz.
    const SPECIFIC: u64 = 0x1190;
    const OTHER: u64 = 0x1210;

    /// An element with one access unit of so many sevens: behind a configuration it begins at bit 53, else at bit 9.
    fn element(octets: u64, specific: Option<u64>) -> Vec<u8> {
        let (head, count) = match specific {
            Some(specific) => (1 << 50 | specific << 21 | 0xff << 10 | octets, 53),
            None => (1 << 8 | octets, 9),
        };
        let bits_of = |value: u64, count: u32| (0..count).rev().map(move |bit| (value >> bit & 1) as u8);
        let bits: Vec<u8> = bits_of(head, count).chain((0..octets).flat_map(|_| bits_of(7, 8))).collect();
        let body: Vec<u8> =
            bits.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |octet, (at, bit)| octet | bit << (7 - at))).collect();
        [&[0x56, 0xe0, body.len() as u8][..], &body].concat()
    }

    fn feed(stream: &[u8], step: usize) -> Loas {
        let mut loas = Loas::default();
        for (number, piece) in stream.chunks(step).enumerate() {
            // Pieces lie ten octets apart.
            let place = Place { position: (number * step) as u64, offset: (number * (step + 10)) as u64 };
            loas.feed(piece, place);
        }
        loas.finish();
        loas
    }

    #[test]
    fn access_units_are_found_however_the_stream_is_cut() {
        let stream = [element(20, Some(SPECIFIC)), element(1, None), element(200, None)].concat();
        for step in [1, 2, 3, 7, 8, 184, 1_000] {
            let mut loas = feed(&stream, step);
            let frames: Vec<Frame> = loas.take().collect();
            // Headers at 0, 30 and 36.
            let expected = [(9, 5, 20, 0), (34, 1, 1, 30), (40, 1, 200, 36)];
            let found = frames.iter().map(|frame| (frame.start.position, frame.shift, frame.size, frame.code_position));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{step}");
            let apart = |position: u64| position + position / step as u64 * 10;
            assert!(frames.iter().all(|frame| frame.start.offset == apart(frame.start.position)), "{step}");
        }
    }

    #[test]
    fn what_comes_before_a_configuration_and_what_is_coded_otherwise_is_left_out() {
        let (own, other) = (element(20, Some(SPECIFIC)), element(30, Some(OTHER)));
        let noise = [0x56, 0xe0, 1, 2, 0x56];
        let stream = [&element(5, None)[..], &own, &noise, &other, &element(6, None), &own, &element(7, None), &own[..9]].concat();
        let mut loas = feed(&stream, 50);
        assert_eq!(loas.take().map(|frame| frame.size).collect::<Vec<_>>(), [20, 20, 7]);
        assert_eq!((loas.refused(), loas.sound_format()), (2, Some(SoundFormat { sample_rate: 48_000, channels: 2 })));
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_little_is_kept(noise in proptest::collection::vec(prop_oneof![Just(0x56), Just(0xe0), any::<u8>()], 0..4_000)) {
            let mut loas = Loas::default();
            for (number, piece) in noise.chunks(184).enumerate() {
                loas.feed(piece, Place { position: number as u64 * 184, offset: number as u64 * 188 });
                prop_assert!(loas.octets.len() <= HEADER + 0x1fff + 184 && loas.pieces.len() <= loas.octets.len() + 2);
            }
            loas.finish();
        }
    }
}
