//! How tracks are coded: what a payload format, a description and a decoder must know of a stream beforehand.
//! It is kept with an index ([`crate::library::record`]): whoever changes a type here changes that format too.

use serde::{Deserialize, Serialize};

use crate::quantities::MediaKind;

/// How a track is coded, with what a decoder must know beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// ISO/IEC 14496-10.
    H264(H264Config),
    /// ISO/IEC 23008-2.
    H265(H265Config),
    /// AV1 Bitstream & Decoding Process Specification: temporal units as Matroska and MP4 store them, OBUs with sizes, no delimiters.
    Av1(Av1Config),
    /// RFC 6386, a frame each.
    Vp8(PictureSize),
    /// VP9 Bitstream & Decoding Process Specification, a (super)frame each.
    Vp9(Vp9Config),
    /// ISO/IEC 14496-2, a VOP each.
    Mpeg4Visual(Mpeg4VisualConfig),
    /// ISO/IEC 13818-2 and 11172-2, a picture each with the headers before it.
    Mpeg2Video(PictureSize),
    /// ISO/IEC 10918-1, a JFIF picture each.
    Jpeg(PictureSize),
    /// ISO/IEC 14496-3, raw access units.
    Aac(AacConfig),
    /// RFC 6716, a packet each.
    Opus(SoundFormat),
    /// ISO/IEC 11172-3 and 13818-3 (layers I to III), a frame each with its header.
    MpegAudio(SoundFormat),
    /// ETSI TS 102 366, a sync frame each.
    Ac3(SoundFormat),
    /// Vorbis I, a packet each.
    Vorbis(VorbisConfig),
    /// Samples as they are, channels interleaved.
    Pcm(PcmConfig),
    /// ITU-T G.722 at 64 kbit/s, an octet for two samples of 16,000 a second.
    G722(SoundFormat),
    /// ISO/IEC 13818-1, a run of transport packets each: pictures and sound in one.
    Mp2t,
}

impl Codec {
    /// What kind of track it codes.
    pub const fn kind(&self) -> MediaKind {
        if matches!(self, Self::Mp2t) || self.picture_size().is_some() { MediaKind::Video } else { MediaKind::Audio }
    }

    /// The name for people and the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::H264(_) => "h264",
            Self::H265(_) => "h265",
            Self::Av1(_) => "av1",
            Self::Vp8(_) => "vp8",
            Self::Vp9(_) => "vp9",
            Self::Mpeg4Visual(_) => "mpeg4",
            Self::Mpeg2Video(_) => "mpeg2video",
            Self::Jpeg(_) => "mjpeg",
            Self::Aac(_) => "aac",
            Self::Opus(_) => "opus",
            Self::MpegAudio(_) => "mp3",
            Self::Ac3(_) => "ac3",
            Self::Vorbis(_) => "vorbis",
            Self::Pcm(_) => "pcm",
            Self::G722(_) => "g722",
            Self::Mp2t => "mp2t",
        }
    }

    /// The size of its pictures; `None` for sound.
    pub const fn picture_size(&self) -> Option<PictureSize> {
        let (width, height) = match self {
            Self::H264(config) => (config.width, config.height),
            Self::H265(config) => (config.width, config.height),
            Self::Av1(config) => (config.width, config.height),
            Self::Mpeg4Visual(config) => (config.width, config.height),
            Self::Vp8(size) | Self::Vp9(Vp9Config { size, .. }) | Self::Mpeg2Video(size) | Self::Jpeg(size) => return Some(*size),
            _ => return None,
        };
        Some(PictureSize { width, height })
    }

    /// Its sampling rate and channels; `None` for pictures.
    pub const fn sound_format(&self) -> Option<SoundFormat> {
        let (sample_rate, channels) = match self {
            Self::Aac(config) => (config.sample_rate, config.channels),
            Self::Vorbis(config) => (config.sample_rate, config.channels),
            Self::Pcm(config) => (config.sample_rate, config.channels),
            Self::Opus(format) | Self::MpegAudio(format) | Self::Ac3(format) | Self::G722(format) => return Some(*format),
            _ => return None,
        };
        Some(SoundFormat { sample_rate, channels })
    }
}

/// Luma samples across and down, as the file states them; zero where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureSize {
    /// Across.
    pub width: u16,
    /// Down.
    pub height: u16,
}

/// Of a `vpcC` box, or of the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vp9Config {
    /// 0 to 3: what a decoder must be able to do (VP9 Bitstream & Decoding Process Specification section 7.2).
    pub profile: u8,
    /// As the file states it.
    pub size: PictureSize,
}

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundFormat {
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
}

/// How the NAL units of an access unit are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NalFraming {
    /// A length before each, of so many octets: 1, 2 or 4 (ISO/IEC 14496-15).
    Length(u8),
    /// A start code before each (ISO/IEC 14496-10 and 23008-2, annexes B).
    StartCodes,
}

/// Of an `avcC` box, or of the stream itself (ISO/IEC 14496-15 section 5.3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct H264Config {
    /// How its NAL units are told apart.
    pub framing: NalFraming,
    /// profile_idc, constraint flags, level_idc.
    pub profile_level_id: [u8; 3],
    /// NAL units, without start codes.
    pub sequence_parameter_sets: Vec<Vec<u8>>,
    /// NAL units, without start codes.
    pub picture_parameter_sets: Vec<Vec<u8>>,
    /// Luma samples across and down, as the file states them.
    pub width: u16,
    /// Luma samples down.
    pub height: u16,
}

/// Profile, tier and level (ISO/IEC 23008-2 section 7.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct H265Profile {
    /// general_profile_space.
    pub space: u8,
    /// general_profile_idc.
    pub idc: u8,
    /// general_tier_flag.
    pub is_high_tier: bool,
    /// general_level_idc.
    pub level_idc: u8,
    /// What follows the compatibility flags, up to the level.
    pub constraints: [u8; 6],
}

/// Of an `hvcC` box, or of the stream itself (ISO/IEC 14496-15 section 8.3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct H265Config {
    /// How its NAL units are told apart.
    pub framing: NalFraming,
    /// What a decoder must be able to do.
    pub profile: H265Profile,
    /// How many temporal sub-layers there are; zero where that is not known.
    pub temporal_layers: u8,
    /// NAL units, without start codes.
    pub video_parameter_sets: Vec<Vec<u8>>,
    /// NAL units, without start codes.
    pub sequence_parameter_sets: Vec<Vec<u8>>,
    /// NAL units, without start codes.
    pub picture_parameter_sets: Vec<Vec<u8>>,
    /// Prefix SEI messages that hold for all pictures, HDR10's mastering display for one: NAL units, without start codes.
    pub messages: Vec<Vec<u8>>,
    /// Luma samples across, as the file states them.
    pub width: u16,
    /// Luma samples down.
    pub height: u16,
}

/// Of an `esds` box, or of the stream's own headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AacConfig {
    /// The AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1).
    pub audio_specific_config: Vec<u8>,
    /// The RTP clock: the core's sampling frequency.
    pub sample_rate: u32,
    /// Output channels.
    pub channels: u8,
}

/// Of an `av1C` box (AV1 Codec ISO Media File Format Binding section 2.3), or of the sequence header itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Av1Config {
    /// seq_profile.
    pub profile: u8,
    /// seq_level_idx of the first operating point.
    pub level_idx: u8,
    /// seq_tier of the first operating point.
    pub tier: u8,
    /// The sequence header OBU and metadata OBUs that are told beforehand, with their sizes; empty where the container has none.
    pub sequence_header: Vec<u8>,
    /// Luma samples across, as the file states them.
    pub width: u16,
    /// Luma samples down.
    pub height: u16,
}

/// Of an `esds` box, Matroska's private data, or the stream itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mpeg4VisualConfig {
    /// The headers before the first VOP: visual object sequence, visual object, video object layer (ISO/IEC 14496-2 section 6.2).
    pub headers: Vec<u8>,
    /// Luma samples across, as the file states them.
    pub width: u16,
    /// Luma samples down.
    pub height: u16,
}

/// The headers of a Vorbis stream (Vorbis I section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VorbisConfig {
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// The identification header packet.
    pub identification: Vec<u8>,
    /// The comment header packet.
    pub comment: Vec<u8>,
    /// The setup header packet.
    pub setup: Vec<u8>,
}

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcmConfig {
    /// How one of them is written.
    pub sample: PcmSample,
    /// Samples of a channel in a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
}

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PcmSample {
    /// Eight bits without sign.
    Unsigned8,
    /// Sixteen bits, the lower octet first.
    Little16,
    /// Sixteen bits, the higher octet first.
    Big16,
    /// Twenty-four bits, the lowest octet first.
    Little24,
    /// Twenty-four bits, the highest octet first.
    Big24,
    /// ITU-T G.711, A-law.
    ALaw,
    /// ITU-T G.711, mu-law.
    MuLaw,
}

impl PcmSample {
    /// Octets of one.
    pub const fn octets(self) -> usize {
        match self {
            Self::Unsigned8 | Self::ALaw | Self::MuLaw => 1,
            Self::Little16 | Self::Big16 => 2,
            Self::Little24 | Self::Big24 => 3,
        }
    }
}
