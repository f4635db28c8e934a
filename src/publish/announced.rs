//! What a publisher announces: the session description in the body of ANNOUNCE (RFC 2326 section 10.3, RFC 8866).
//!
//! Only what can be taken in is told apart: tracks whose payload format is read here. All others are named, so that the publisher
//! and its viewers hear of them. Read first: RFC 8866 sections 5.14, 6.6 and 6.15.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdp_types::{Media, Session};

use crate::library::container::mp4::audio_config::AudioSpecificConfig;
use crate::library::{AacConfig, Codec, PcmConfig, PcmSample, SoundFormat, VorbisConfig};
use crate::publish::aac::HeaderLengths;
use crate::publish::vorbis;
use crate::quantities::ClockRate;

/// Tracks that are announced at most.
pub const MAX_TRACKS: usize = 8;
/// Parameter sets in a description, and octets of each, at most.
const MAX_SETS: usize = 16;
const MAX_SET: usize = 4096;
/// Octets of an AudioSpecificConfig, and of the packed headers of Vorbis, at most.
const MAX_AUDIO_CONFIG: usize = 64;
const MAX_PACKED: usize = 1 << 16;
/// RTP clocks, in hertz.
const CLOCKS: std::ops::RangeInclusive<u32> = 1000..=192_000;

/// Why a description is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// It is no description.
    #[error("the session description cannot be read")]
    Syntax,
    /// It has too many tracks.
    #[error("more than {MAX_TRACKS} tracks")]
    TooMany,
    /// No track of it can be taken in: the reasons.
    #[error("no track can be taken in: {0}")]
    Nothing(String),
}

/// How a track that is taken in is coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 6184; the parameter sets that the description names.
    H264(Vec<Vec<u8>>),
    /// RFC 7798, the same.
    H265(Vec<Vec<u8>>),
    /// RFC 7741.
    Vp8,
    /// RFC 9628, without spatial layers.
    Vp9,
    /// RFC 2250, MPEG-1 and MPEG-2.
    MpegVideo,
    /// RFC 6416; the headers that the description names.
    Mpeg4Visual(Vec<u8>),
    /// RFC 3640, mode AAC-hbr and alike.
    Aac {
        /// What a decoder must know.
        config: AacConfig,
        /// How long the parts of an AU header are.
        lengths: HeaderLengths,
    },
    /// RFC 7587.
    Opus(SoundFormat),
    /// RFC 2250, layers I to III.
    MpegAudio,
    /// RFC 4184.
    Ac3,
    /// RFC 5215.
    Vorbis {
        /// What its packets name the configuration by.
        ident: [u8; 3],
        /// The configuration.
        config: VorbisConfig,
    },
    /// RFC 3551: samples as they are.
    Samples(Codec),
}

/// A track that can be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedTrack {
    /// Its place among all that were announced.
    pub position: usize,
    /// What its `a=control` says.
    pub control: Option<String>,
    /// The number in its RTP packets.
    pub payload_type: u8,
    /// The RTP clock.
    pub clock_rate: ClockRate,
    /// How it is coded.
    pub coding: Coding,
    /// `a=lang`.
    pub language: Option<String>,
}

/// A track that cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place among all that were announced.
    pub position: usize,
    /// What its `a=control` says.
    pub control: Option<String>,
    /// Why not.
    pub reason: String,
}

/// A description, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What can be taken in; at least one.
    pub tracks: Vec<AnnouncedTrack>,
    /// What cannot.
    pub left_out: Vec<LeftOut>,
}

impl Announced {
    /// Reads a description.
    ///
    /// # Errors
    /// Why it is of no use.
    pub fn parse(body: &[u8]) -> Result<Self, AnnounceError> {
        let session = Session::parse(body).map_err(|_| AnnounceError::Syntax)?;
        if session.medias.len() > MAX_TRACKS {
            return Err(AnnounceError::TooMany);
        }
        let (mut tracks, mut left_out) = (Vec::new(), Vec::new());
        for (position, media) in session.medias.iter().enumerate() {
            let control = value(media, "control").map(str::to_owned);
            match track(position, media) {
                Ok(track) => tracks.push(AnnouncedTrack { control, ..track }),
                Err(reason) => left_out.push(LeftOut { position, control, reason }),
            }
        }
        if tracks.is_empty() {
            let why: Vec<&str> = left_out.iter().map(|left| left.reason.as_str()).collect();
            return Err(AnnounceError::Nothing(if why.is_empty() { "there is none".into() } else { why.join("; ") }));
        }
        Ok(Self { tracks, left_out })
    }
}

/// The value of the first attribute of that name.
fn value<'a>(media: &'a Media, name: &str) -> Option<&'a str> {
    media.attributes.iter().find(|attribute| attribute.attribute.eq_ignore_ascii_case(name))?.value.as_deref().map(str::trim)
}

/// What an attribute says of a payload type, which is its first word.
fn of_type<'a>(media: &'a Media, name: &str, payload_type: u8) -> Option<&'a str> {
    media.attributes.iter().filter(|attribute| attribute.attribute.eq_ignore_ascii_case(name)).find_map(|attribute| {
        let (number, rest) = attribute.value.as_deref()?.trim().split_once(char::is_whitespace)?;
        (number.parse() == Ok(payload_type)).then_some(rest.trim())
    })
}

/// Encoding, clock and channels, as `a=rtpmap` would say them, of the payload types that need none (RFC 3551 section 6): of those that are
/// not taken in, too, so that they can be named.
const STATIC: [(u8, &str); 12] = [
    (0, "PCMU/8000"),
    (8, "PCMA/8000"),
    (9, "G722/8000"),
    (10, "L16/44100/2"),
    (11, "L16/44100/1"),
    (14, "MPA/90000"),
    (3, "GSM/8000"),
    (26, "JPEG/90000"),
    (31, "H261/90000"),
    (32, "MPV/90000"),
    (33, "MP2T/90000"),
    (34, "H263/90000"),
];

fn track(position: usize, media: &Media) -> Result<AnnouncedTrack, String> {
    let payload_type = media.fmt.split_whitespace().next().and_then(|number| number.parse::<u8>().ok()).filter(|number| *number < 128);
    let payload_type = payload_type.ok_or("a track without a payload type")?;
    let known = STATIC.iter().find(|(number, _)| *number == payload_type).map(|(_, map)| *map);
    let map = of_type(media, "rtpmap", payload_type).or(known).ok_or(format!("payload type {payload_type} is not explained"))?;
    let mut parts = map.split('/').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_uppercase();
    let clock_rate = parts.next().and_then(|clock| clock.parse().ok()).and_then(ClockRate::new);
    let clock_rate = clock_rate.filter(|clock| CLOCKS.contains(&clock.hertz())).ok_or(format!("{name} without a clock"))?;
    let channels = parts.next().map_or(Some(1), |channels| channels.parse::<u8>().ok()).filter(|channels| (1..=8).contains(channels));
    let channels = channels.ok_or(format!("{name} of an impossible number of channels"))?;
    let parameters = Parameters(of_type(media, "fmtp", payload_type).unwrap_or_default());
    let coding = match (media.media.to_ascii_lowercase().as_str(), name.as_str()) {
        ("video", "H264" | "H265" | "VP8" | "VP9" | "MPV" | "MP4V-ES") | ("audio", "MPA") if clock_rate != ClockRate::VIDEO => {
            return Err(format!("{name} with another clock than 90000"));
        }
        ("video", "H264") if parameters.get("packetization-mode") == Some("2") => return Err("H264 in interleaved mode".into()),
        ("video", "H264") => Coding::H264(parameters.sets(&["sprop-parameter-sets"])),
        ("video", "H265") if parameters.get("sprop-max-don-diff").is_some_and(|most| most != "0") => {
            return Err("H265 out of decoding order".into());
        }
        ("video", "H265") => Coding::H265(parameters.sets(&["sprop-vps", "sprop-sps", "sprop-pps"])),
        ("video", "VP8") => Coding::Vp8,
        ("video", "VP9") => Coding::Vp9,
        ("video", "MPV") => Coding::MpegVideo,
        ("video", "MP4V-ES") => Coding::Mpeg4Visual(parameters.get("config").and_then(|config| unhex(config, MAX_SET)).unwrap_or_default()),
        ("audio", "MPA") => Coding::MpegAudio,
        ("audio", "AC3") => Coding::Ac3,
        ("audio", "VORBIS") => vorbis(&parameters, clock_rate)?,
        ("audio", "MPEG4-GENERIC") => aac(&parameters)?,
        ("audio", "OPUS") => {
            let channels = if parameters.get("sprop-stereo") == Some("0") { 1 } else { 2 };
            Coding::Opus(SoundFormat { sample_rate: 48_000, channels })
        }
        ("audio", "G722") if channels == 1 => Coding::Samples(Codec::G722(SoundFormat { sample_rate: 16_000, channels })),
        ("audio", "PCMA" | "PCMU" | "L16" | "L24") => {
            let sample = match name.as_str() {
                "PCMA" => PcmSample::ALaw,
                "PCMU" => PcmSample::MuLaw,
                "L16" => PcmSample::Big16,
                _ => PcmSample::Big24,
            };
            Coding::Samples(Codec::Pcm(PcmConfig { sample, sample_rate: clock_rate.hertz(), channels }))
        }
        (kind, _) => return Err(format!("{kind} coded as {name} is not taken in")),
    };
    let language = value(media, "lang").map(str::to_owned);
    Ok(AnnouncedTrack { position, control: None, payload_type, clock_rate, coding, language })
}

fn aac(parameters: &Parameters<'_>) -> Result<Coding, String> {
    let number = |name: &str| parameters.get(name).map_or(Some(0), |value| value.parse::<u8>().ok());
    let lengths = (|| {
        let lengths = HeaderLengths { size: number("sizelength")?, index: number("indexlength")?, delta: number("indexdeltalength")? };
        let others = ["CTSDeltaLength", "DTSDeltaLength", "randomAccessIndication", "streamStateIndication", "auxiliaryDataSizeLength"];
        let plain = others.iter().all(|name| number(name) == Some(0)) && parameters.get("constantSize").is_none();
        (plain && lengths.is_possible()).then_some(lengths)
    })();
    let lengths = lengths.ok_or("MPEG4-GENERIC in another mode than AAC-hbr and AAC-lbr")?;
    let config =
        parameters.get("config").and_then(|config| unhex(config, MAX_AUDIO_CONFIG)).ok_or("MPEG4-GENERIC without its configuration")?;
    let head = AudioSpecificConfig::parse(&config).ok_or("MPEG4-GENERIC with a broken configuration")?;
    if !matches!(head.object_type, 2 | 5 | 29) {
        return Err(format!("MPEG-4 audio of object type {}", head.object_type));
    }
    let config = AacConfig { audio_specific_config: config, sample_rate: head.sample_rate, channels: head.channels };
    Ok(Coding::Aac { config, lengths })
}

fn vorbis(parameters: &Parameters<'_>, clock_rate: ClockRate) -> Result<Coding, String> {
    let packed = parameters.get("configuration").and_then(|text| STANDARD.decode(text).ok()).filter(|packed| packed.len() <= MAX_PACKED);
    let (ident, config) = packed.and_then(|packed| vorbis::unpack(&packed)).ok_or("VORBIS without its configuration")?;
    if config.sample_rate != clock_rate.hertz() {
        return Err("VORBIS with another clock than its sampling rate".into());
    }
    Ok(Coding::Vorbis { ident, config })
}

/// Octets of hexadecimal digits, so many at most.
fn unhex(text: &str, most: usize) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let octets = text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
    (2..=2 * most).contains(&text.len()).then(|| octets.collect())?
}

/// The part of `a=fmtp` behind the payload type.
struct Parameters<'a>(&'a str);

impl<'a> Parameters<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.split(';').find_map(|parameter| {
            let (known, value) = parameter.trim().split_once('=')?;
            known.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The parameter sets, in base64 and between commas, of all these parameters; what is none is passed over.
    fn sets(&self, names: &[&str]) -> Vec<Vec<u8>> {
        let texts = names.iter().filter_map(|name| self.get(name)).flat_map(|value| value.split(','));
        let sets = texts.filter_map(|text| STANDARD.decode(text.trim()).ok());
        sets.filter(|set| (1..=MAX_SET).contains(&set.len())).take(MAX_SETS).collect()
    }
}
