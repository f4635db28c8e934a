//! Elementary streams taken apart: what is compared between a file and a receiver.
//!
//! A picture counts by its coded slices and its SEI messages (NAL unit types 1, 5 and 6); parameter sets and access unit delimiters are
//! left out, as a server repeats the former and may drop the latter. Of H.265 only slices count, for SEI messages may lie in a file's
//! configuration. ITU-T H.264 section 7.3 and annex B, RFC 6184 sections 5.6 to 5.8,
//! RFC 3640 section 3.3.6, ISO/IEC 14496-3 section 1.A.2 (ADTS).

use std::fmt;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::support::recording::Packet;

/// A unit's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(octets: &[u8]) -> Self {
        Self(Sha256::digest(octets).into())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in &self.0[..4] {
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

/// A coded picture without its parameter sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub digest: Digest,
    /// Whether it holds an IDR slice (H.265: of any intra random access point).
    pub key: bool,
}

/// NAL unit types.
const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEI: u8 = 6;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// NAL units → pictures. A picture begins with the first slice of one (first_mb_in_slice is zero) or with what leads up to it.
#[derive(Default)]
pub struct Pictures {
    is_h265: bool,
    done: Vec<Picture>,
    hash: Sha256,
    key: bool,
    has_slice: bool,
}

impl Pictures {
    pub fn of_annex_b(stream: &[u8]) -> Vec<Picture> {
        // The first octet of an H.265 NAL unit is even, where there are few layers; that of an H.264 slice is odd.
        let is_h265 = annex_b(stream).all(|nal| nal.first().is_some_and(|header| header % 2 == 0));
        let mut pictures = Self { is_h265, ..Self::default() };
        annex_b(stream).for_each(|nal| pictures.add(nal));
        pictures.finish()
    }

    pub fn add(&mut self, nal: &[u8]) {
        if self.is_h265 {
            return self.add_h265(nal);
        }
        let kind = nal.first().map_or(0, |octet| octet & 0x1f);
        let slice = matches!(kind, SLICE | IDR);
        let first_slice = slice && nal.get(1).is_some_and(|octet| octet & 0x80 != 0);
        let leads_up = matches!(kind, 6..=9);
        if self.has_slice && (first_slice || leads_up) {
            self.end_picture();
        }
        if slice || kind == SEI {
            self.hash.update((nal.len() as u32).to_be_bytes());
            self.hash.update(nal);
            self.has_slice |= slice;
            self.key |= kind == IDR;
        }
    }

    /// ITU-T H.265 sections 7.3.1.2, 7.3.6.1 and 7.4.2.2.
    fn add_h265(&mut self, nal: &[u8]) {
        let kind = nal.first().map_or(0, |octet| octet >> 1 & 0x3f);
        if kind >= 32 {
            return;
        }
        if self.has_slice && nal.get(2).is_some_and(|octet| octet & 0x80 != 0) {
            self.end_picture();
        }
        self.hash.update((nal.len() as u32).to_be_bytes());
        self.hash.update(nal);
        self.has_slice = true;
        self.key |= (16..24).contains(&kind);
    }

    fn end_picture(&mut self) {
        let hash = std::mem::take(&mut self.hash);
        self.done.push(Picture { digest: Digest(hash.finalize().into()), key: self.key });
        (self.key, self.has_slice) = (false, false);
    }

    pub fn finish(mut self) -> Vec<Picture> {
        if self.has_slice {
            self.end_picture();
        }
        self.done
    }
}

/// The NAL units of a byte stream, without start codes and without the zeros that may follow a unit.
pub fn annex_b(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream[at..at + 3] == [0, 0, 1] {
            starts.push(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|start| start - 3).chain([stream.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| {
        let nal = &stream[start..end];
        let length = nal.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        &nal[..length]
    })
}

/// The frames of an ADTS stream, without their headers.
pub fn adts_frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while stream.len() >= 7 {
        assert!(stream[0] == 0xff && stream[1] & 0xf0 == 0xf0, "ADTS syncword");
        let header = if stream[1] & 1 == 0 { 9 } else { 7 };
        let length = usize::from(stream[3] & 3) << 11 | usize::from(stream[4]) << 3 | usize::from(stream[5]) >> 5;
        assert!(length >= header && length <= stream.len(), "an ADTS frame of {length} octets in {}", stream.len());
        frames.push(&stream[header..length]);
        stream = &stream[length..];
    }
    frames
}

/// A unit taken out of RTP packets: a picture, or an audio frame (always `key`).
#[derive(Clone, Debug)]
pub struct Unit {
    pub digest: Digest,
    pub key: bool,
    pub timestamp: u32,
    /// When its first packet came.
    pub at: Instant,
    /// Of its first packet.
    pub sequence: u16,
}

/// The pictures in packets of H.264, packetization-mode 1, that are in order and have no gap.
///
/// # Panics
/// Where a packet breaks RFC 6184 or the marker bit does not stand on each picture's last packet.
pub fn pictures(packets: &[Packet]) -> Vec<Unit> {
    let mut units = Vec::new();
    for packets in packets.chunk_by(|before, next| before.timestamp() == next.timestamp() && !before.marker()) {
        let first = &packets[0];
        let mut pictures = Pictures::default();
        let mut fragmented: Vec<u8> = Vec::new();
        for packet in packets {
            let payload = packet.payload();
            match payload[0] & 0x1f {
                STAP_A => {
                    let mut rest = &payload[1..];
                    while !rest.is_empty() {
                        let length = usize::from(rest[0]) << 8 | usize::from(rest[1]);
                        pictures.add(&rest[2..2 + length]);
                        rest = &rest[2 + length..];
                    }
                }
                FU_A => {
                    let header = payload[1];
                    if header & 0x80 != 0 {
                        assert!(fragmented.is_empty(), "a fragmented NAL unit begins inside another");
                        fragmented.push(payload[0] & 0xe0 | header & 0x1f);
                    }
                    assert!(!fragmented.is_empty(), "a fragment without a beginning at {}", packet.sequence());
                    fragmented.extend_from_slice(&payload[2..]);
                    if header & 0x40 != 0 {
                        pictures.add(&fragmented);
                        fragmented.clear();
                    }
                }
                1..=23 => pictures.add(payload),
                other => panic!("NAL unit type {other} in packetization-mode 1"),
            }
        }
        let whole = packets[packets.len() - 1].marker() && fragmented.is_empty();
        if !whole {
            continue;
        }
        let mut found = pictures.finish();
        assert_eq!(found.len(), 1, "pictures with timestamp {}", first.timestamp());
        let picture = found.remove(0);
        let (timestamp, at, sequence) = (first.timestamp(), first.at, first.sequence());
        units.push(Unit { digest: picture.digest, key: picture.key, timestamp, at, sequence });
    }
    units
}

/// The audio frames in packets of mode AAC-hbr (sizeLength 13, indexLength and indexDeltaLength 3).
///
/// # Panics
/// Where a packet breaks RFC 3640.
pub fn audio_frames(packets: &[Packet]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut fragmented: Vec<u8> = Vec::new();
    for packet in packets {
        let payload = packet.payload();
        let headers_octets = (usize::from(payload[0]) << 8 | usize::from(payload[1])) / 8;
        let headers = &payload[2..2 + headers_octets];
        let mut rest = &payload[2 + headers_octets..];
        let sizes: Vec<usize> = headers.chunks(2).map(|header| usize::from(header[0]) << 5 | usize::from(header[1]) >> 3).collect();
        let unit = |frame: &[u8], position: usize| Unit {
            digest: Digest::of(frame),
            key: true,
            timestamp: packet.timestamp().wrapping_add(1024 * position as u32),
            at: packet.at,
            sequence: packet.sequence(),
        };
        if sizes.len() == 1 && sizes[0] > rest.len() {
            fragmented.extend_from_slice(rest);
            assert!(fragmented.len() <= sizes[0], "fragments of an audio frame are longer than it");
            if fragmented.len() == sizes[0] {
                assert!(packet.marker(), "the last fragment of an audio frame bears the marker");
                units.push(unit(&fragmented, 0));
                fragmented.clear();
            }
            continue;
        }
        for (position, size) in sizes.into_iter().enumerate() {
            units.push(unit(&rest[..size], position));
            rest = &rest[size..];
        }
        assert!(rest.is_empty(), "{} octets behind the last audio frame", rest.len());
    }
    units
}
