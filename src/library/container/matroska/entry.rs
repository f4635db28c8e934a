//! Track entries: what the file says of each track. Read first: RFC 9559 sections 5.1.4.1 and 5.1.4.1.31 (encodings).

use crate::library::codec::PictureSize;
use crate::library::container::matroska::ebml::{Elements, Id, float, text, unsigned};

const TRACK_ENTRY: Id = Id(0xae);
const NUMBER: Id = Id(0xd7);
const TYPE: Id = Id(0x83);
const DEFAULT_DURATION: Id = Id(0x23_e383);
const LANGUAGE: Id = Id(0x22_b59c);
const LANGUAGE_BCP47: Id = Id(0x22_b59d);
const CODEC_ID: Id = Id(0x86);
const CODEC_PRIVATE: Id = Id(0x63a2);
const CODEC_DELAY: Id = Id(0x56aa);
const VIDEO: Id = Id(0xe0);
const PIXEL_WIDTH: Id = Id(0xb0);
const PIXEL_HEIGHT: Id = Id(0xba);
const AUDIO: Id = Id(0xe1);
const SAMPLING_FREQUENCY: Id = Id(0xb5);
const CHANNELS: Id = Id(0x9f);
const BIT_DEPTH: Id = Id(0x6264);
const ENCODINGS: Id = Id(0x6d80);
const ENCODING: Id = Id(0x6240);
const ENCODING_SCOPE: Id = Id(0x5032);
const ENCODING_TYPE: Id = Id(0x5033);
const COMPRESSION: Id = Id(0x5034);
const COMPRESSION_ALGORITHM: Id = Id(0x4254);
const COMPRESSION_SETTINGS: Id = Id(0x4255);

/// Entries that are looked at.
const MAX_TRACKS: usize = 32;
/// The longest beginning that frames may share; such are a few octets.
const MAX_PREFIX: usize = 4096;
/// The longest language tag that is taken.
const MAX_LANGUAGE: usize = 35;
/// The language of a track that names none (section 5.1.4.1.19), which players show too.
const DEFAULT_LANGUAGE: &str = "eng";

/// What a track is (section 5.1.4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Text or pictures of it.
    Subtitle,
    /// Menus, controls, metadata.
    Other,
}

/// A track entry.
#[derive(Debug)]
pub struct Entry<'a> {
    /// What its blocks name it by.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// CodecID; empty where it has none.
    pub codec: &'a str,
    /// CodecPrivate; empty where it has none.
    pub private: &'a [u8],
    /// Nanoseconds from one frame to the next.
    pub frame_duration: Option<u64>,
    /// Nanoseconds by which what is heard is earlier than the blocks' times.
    pub delay: u64,
    /// None where the file says that it is not known.
    pub language: Option<String>,
    /// Of its pictures.
    pub size: PictureSize,
    /// Of its sound.
    pub sound: Sound,
    /// The octets that each frame begins with and that are not stored again and again; an error says what else is done to frames.
    pub prefix: Result<Vec<u8>, &'static str>,
}

/// What an entry says of sound, defaults where it is silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sound {
    /// Samples of a channel in a second; with SBR the core's.
    pub sample_rate: f64,
    /// Channels.
    pub channels: u64,
    /// Bits of a sample; zero where it does not say.
    pub bits: u64,
}

/// The entries in a Tracks element.
pub fn entries(tracks: &[u8]) -> Vec<Entry<'_>> {
    let of_tracks = Elements::new(tracks).filter(|(id, _)| *id == TRACK_ENTRY);
    of_tracks.take(MAX_TRACKS).map(|(_, content)| entry(content)).collect()
}

/// The first child of that kind.
fn find(content: &[u8], wanted: Id) -> Option<&[u8]> {
    Elements::new(content).find(|(id, _)| *id == wanted).map(|(_, content)| content)
}

fn number(content: &[u8], wanted: Id) -> Option<u64> {
    find(content, wanted).and_then(unsigned)
}

fn entry(content: &[u8]) -> Entry<'_> {
    let video = find(content, VIDEO).unwrap_or_default();
    let audio = find(content, AUDIO).unwrap_or_default();
    let pixels = |id| number(video, id).and_then(|pixels| u16::try_from(pixels).ok()).unwrap_or(0);
    Entry {
        number: number(content, NUMBER).unwrap_or(0),
        kind: match number(content, TYPE) {
            Some(1) => Kind::Video,
            Some(2) => Kind::Audio,
            Some(17) => Kind::Subtitle,
            _ => Kind::Other,
        },
        codec: find(content, CODEC_ID).and_then(text).unwrap_or_default(),
        private: find(content, CODEC_PRIVATE).unwrap_or_default(),
        frame_duration: number(content, DEFAULT_DURATION).filter(|duration| *duration > 0),
        delay: number(content, CODEC_DELAY).unwrap_or(0),
        language: language(content),
        size: PictureSize { width: pixels(PIXEL_WIDTH), height: pixels(PIXEL_HEIGHT) },
        sound: Sound {
            sample_rate: find(audio, SAMPLING_FREQUENCY).and_then(float).unwrap_or(8_000.0),
            channels: number(audio, CHANNELS).unwrap_or(1),
            bits: number(audio, BIT_DEPTH).unwrap_or(0),
        },
        prefix: prefix(find(content, ENCODINGS).unwrap_or_default()),
    }
}

/// The newer element overrules the older one (section 5.1.4.1.20); `und` is a way to say nothing.
fn language(content: &[u8]) -> Option<String> {
    let tag = find(content, LANGUAGE_BCP47).or(find(content, LANGUAGE)).map_or(Some(DEFAULT_LANGUAGE), text)?;
    let is_tag = (2..=MAX_LANGUAGE).contains(&tag.len()) && tag.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    (is_tag && tag != "und").then(|| tag.to_owned())
}

/// What frames begin with beside what is stored of them; an error where anything else is done to them, or to the private data.
fn prefix(encodings: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut prefix = Vec::new();
    for (_, encoding) in Elements::new(encodings).filter(|(id, _)| *id == ENCODING) {
        if number(encoding, ENCODING_TYPE).unwrap_or(0) != 0 {
            return Err("it is encrypted");
        }
        if number(encoding, ENCODING_SCOPE).unwrap_or(1) != 1 {
            return Err("its private data is compressed");
        }
        let compression = find(encoding, COMPRESSION).unwrap_or_default();
        match number(compression, COMPRESSION_ALGORITHM).unwrap_or(0) {
            3 => {}
            _ => return Err("its frames are compressed"),
        }
        let settings = find(compression, COMPRESSION_SETTINGS).unwrap_or_default();
        // Undone from the highest order down: what an earlier one stripped comes before.
        prefix.splice(0..0, settings.iter().copied());
        if prefix.len() > MAX_PREFIX {
            return Err("its frames begin with more than is taken");
        }
    }
    Ok(prefix)
}
