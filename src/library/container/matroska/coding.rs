//! How a track is coded, out of its CodecID and private data. Read first: the Matroska codec specification
//! (draft-ietf-cellar-codec) sections 6.1 to 6.4.

use crate::library::codec::{AacConfig, Codec, Mpeg4VisualConfig, PcmConfig, PcmSample, SoundFormat, VorbisConfig, Vp9Config};
use crate::library::container::configuration;
use crate::library::container::matroska::block::xiph_size;
use crate::library::container::matroska::entry::{Entry, Kind, Sound};
use crate::library::container::mp4::audio_config::{AudioSpecificConfig, RATES};

/// The highest sampling rate that is taken.
const MAX_SAMPLE_RATE: f64 = 768_000.0;
/// The clock of Opus, whatever was recorded (RFC 7845 section 5.1).
const OPUS_RATE: u32 = 48_000;
/// What RFC 7587 can carry.
const OPUS_CHANNELS: u8 = 2;
/// Audio object types.
const AAC_MAIN: u8 = 1;
const AAC_LC: u8 = 2;

/// How the track of an entry is coded.
///
/// # Errors
/// Why it cannot be sent, as the end of a sentence.
pub fn codec(entry: &Entry<'_>) -> Result<Codec, String> {
    match entry.kind {
        Kind::Video => video(entry),
        _ => audio(entry),
    }
}

/// Why a track is left out whose coding is none that can be sent, as the end of a sentence.
pub(super) fn unsupported(entry: &Entry<'_>) -> String {
    let name: String = entry.codec.chars().take(32).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect();
    if name.is_empty() { "its coding is not told".into() } else { format!("{name} is not supported") }
}

fn video(entry: &Entry<'_>) -> Result<Codec, String> {
    let size = entry.size;
    match entry.codec {
        "V_MPEG4/ISO/AVC" if entry.private.is_empty() => Err("its H.264 configuration is missing".into()),
        "V_MPEG4/ISO/AVC" => configuration::h264(entry.private, size),
        "V_MPEGH/ISO/HEVC" if entry.private.is_empty() => Err("its H.265 configuration is missing".into()),
        "V_MPEGH/ISO/HEVC" => configuration::h265(entry.private, size),
        "V_AV1" => configuration::av1(entry.private, size),
        "V_VP8" => Ok(Codec::Vp8(size)),
        // Its profile is told by its frames.
        "V_VP9" => Ok(Codec::Vp9(Vp9Config { profile: 0, size })),
        "V_MPEG4/ISO/SP" | "V_MPEG4/ISO/ASP" | "V_MPEG4/ISO/AP" => {
            configuration::within(entry.private.len(), configuration::MAX_HEADERS, "MPEG-4 video")?;
            Ok(Codec::Mpeg4Visual(Mpeg4VisualConfig { headers: entry.private.to_vec(), width: size.width, height: size.height }))
        }
        "V_MPEG1" | "V_MPEG2" => Ok(Codec::Mpeg2Video(size)),
        "V_MJPEG" => Ok(Codec::Jpeg(size)),
        _ => Err(unsupported(entry)),
    }
}

fn audio(entry: &Entry<'_>) -> Result<Codec, String> {
    match entry.codec {
        name if name == "A_AAC" || name.starts_with("A_AAC/") => aac(entry),
        "A_OPUS" => opus(entry),
        "A_VORBIS" => vorbis(entry.private).ok_or_else(|| "its Vorbis headers are broken".into()),
        "A_MPEG/L1" | "A_MPEG/L2" | "A_MPEG/L3" => format(&entry.sound).map(Codec::MpegAudio),
        "A_AC3" | "A_AC3/BSID9" | "A_AC3/BSID10" => format(&entry.sound).map(Codec::Ac3),
        "A_PCM/INT/LIT" => pcm(&entry.sound, [PcmSample::Little16, PcmSample::Little24]),
        "A_PCM/INT/BIG" => pcm(&entry.sound, [PcmSample::Big16, PcmSample::Big24]),
        _ => Err(unsupported(entry)),
    }
}

fn format(sound: &Sound) -> Result<SoundFormat, String> {
    let rate = sound.sample_rate.round();
    let sample_rate = if (1.0..=MAX_SAMPLE_RATE).contains(&rate) { Ok(rate as u32) } else { Err("its sampling rate is impossible") }?;
    let channels = u8::try_from(sound.channels).ok().filter(|channels| *channels > 0).ok_or("its number of channels is impossible")?;
    Ok(SoundFormat { sample_rate, channels })
}

fn pcm(sound: &Sound, [of_16, of_24]: [PcmSample; 2]) -> Result<Codec, String> {
    let SoundFormat { sample_rate, channels } = format(sound)?;
    let sample = match sound.bits {
        8 => PcmSample::Unsigned8,
        16 => of_16,
        24 => of_24,
        bits => return Err(format!("PCM of {bits} bits is not supported")),
    };
    Ok(Codec::Pcm(PcmConfig { sample, sample_rate, channels }))
}

fn aac(entry: &Entry<'_>) -> Result<Codec, String> {
    let told = match entry.private {
        [] => aac_by_name(entry)?,
        private => private.to_vec(),
    };
    configuration::within(told.len(), configuration::MAX_HEADERS, "MPEG-4 audio")?;
    let config = AudioSpecificConfig::parse(&told).ok_or("its MPEG-4 audio configuration is broken")?;
    if !matches!(config.object_type, 1..=5 | 29) {
        return Err(format!("MPEG-4 audio object type {} is not supported", config.object_type));
    }
    let (sample_rate, channels) = (config.sample_rate, config.channels);
    Ok(Codec::Aac(AacConfig { audio_specific_config: told, sample_rate, channels }))
}

/// What old files have no private data for: the profile is in the name (`A_AAC/MPEG4/LC`), the rest in the entry. SBR
/// (`A_AAC/MPEG4/LC/SBR`) is left for decoders to find: the rate is the core's.
fn aac_by_name(entry: &Entry<'_>) -> Result<Vec<u8>, String> {
    let object_type = match entry.codec.split('/').nth(2) {
        Some("MAIN") => AAC_MAIN,
        Some("LC") => AAC_LC,
        _ => return Err("its MPEG-4 audio configuration is missing".into()),
    };
    let SoundFormat { sample_rate, channels } = format(&entry.sound)?;
    let rate = RATES.iter().position(|rate| *rate == sample_rate).ok_or("its sampling rate is none of AAC's")? as u8;
    let configuration = match channels {
        1..=6 => channels,
        8 => 7,
        _ => return Err("its number of channels is none of AAC's".into()),
    };
    Ok(vec![object_type << 3 | rate >> 1, rate << 7 | configuration << 3])
}

/// The channels are in the identification header (RFC 7845 section 5.1), if that is there.
fn opus(entry: &Entry<'_>) -> Result<Codec, String> {
    let told = entry.private.strip_prefix(b"OpusHead").and_then(|head| head.get(1)).copied().map_or(entry.sound.channels, u64::from);
    match u8::try_from(told) {
        Ok(channels @ 1..=OPUS_CHANNELS) => Ok(Codec::Opus(SoundFormat { sample_rate: OPUS_RATE, channels })),
        _ => Err(format!("Opus of {told} channels cannot be sent in RTP")),
    }
}

/// The three headers, with the sizes of the first two before them (draft-ietf-cellar-codec section 6.4.14).
fn vorbis(private: &[u8]) -> Option<Codec> {
    let mut rest = private;
    if *rest.split_off_first()? != 2 {
        return None;
    }
    let sizes = [xiph_size(&mut rest)?, xiph_size(&mut rest)?];
    let (identification, rest) = rest.split_at_checked(usize::try_from(sizes[0]).ok()?)?;
    let (comment, setup) = rest.split_at_checked(usize::try_from(sizes[1]).ok()?)?;
    // Vorbis I section 4.2.2: packet type, "vorbis", version, channels, rate.
    let fields = identification.strip_prefix(b"\x01vorbis")?;
    let channels = *fields.get(4)?;
    let sample_rate = u32::from_le_bytes(*fields.get(5..)?.first_chunk()?);
    let sound = channels > 0 && sample_rate > 0 && comment.starts_with(b"\x03vorbis") && setup.starts_with(b"\x05vorbis");
    sound.then(|| {
        Codec::Vorbis(VorbisConfig {
            sample_rate,
            channels,
            identification: identification.to_vec(),
            comment: comment.to_vec(),
            setup: setup.to_vec(),
        })
    })
}
