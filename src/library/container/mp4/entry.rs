//! Sample descriptions: how a track is coded (ISO/IEC 14496-12 section 8.5.2, 14496-14, 14496-15, QuickTime sound).

use crate::library::codec::{AacConfig, Codec, Mpeg4VisualConfig, PictureSize, Vp9Config};
use crate::library::container::configuration;
use crate::library::container::mp4::audio_config::{self, AudioSpecificConfig};
use crate::library::container::mp4::boxes::{Boxes, find};
use crate::library::container::mp4::sound_entry;

/// Octets of a visual sample entry before its boxes.
const VISUAL_ENTRY: usize = 78;
/// Octets of an audio sample entry before its boxes (version 0).
const AUDIO_ENTRY: usize = 28;
/// The codec of those descriptions in an `stsd` body that the track uses, counted from one; the first where none is named.
///
/// # Errors
/// Why the track cannot be sent, as the end of a sentence.
pub fn codec(descriptions: &[u8], used: &[u32]) -> Result<Codec, String> {
    let entries = descriptions.get(8..).unwrap_or_default();
    let described = |number: u32| {
        let position = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let entry = position.and_then(|position| Boxes::new(entries).nth(position));
        entry.ok_or_else(|| "its sample description is broken".to_owned()).and_then(one)
    };
    let codec = described(used.first().copied().unwrap_or(1))?;
    if used.iter().skip(1).any(|&number| described(number).as_ref() != Ok(&codec)) {
        return Err("its coding changes midway".into());
    }
    Ok(codec)
}

fn one((kind, entry): ([u8; 4], &[u8])) -> Result<Codec, String> {
    match &kind {
        b"avc1" | b"avc3" => h264(entry),
        b"hvc1" | b"hev1" => h265(entry),
        b"dva1" | b"dvav" => dolby_vision(entry).and_then(|()| h264(entry)),
        b"dvh1" | b"dvhe" => dolby_vision(entry).and_then(|()| h265(entry)),
        b"dav1" => dolby_vision(entry).and_then(|()| av1(entry)),
        b"av01" => av1(entry),
        b"vp08" => picture_size(entry).map(Codec::Vp8),
        b"vp09" => vp9(entry),
        b"mp4v" => mpeg4_video(entry),
        b"m1v " | b"m1v1" | b"mp1v" | b"mpeg" | b"m2v1" | b"mp2v" | b"mpg2" => picture_size(entry).map(Codec::Mpeg2Video),
        // HDV, XDCAM and IMX.
        [b'h', b'd', b'v', _] | [b'x', b'd', b'v' | b'5' | b'h', _] | [b'm', b'x', b'3'..=b'5', b'n' | b'p'] => {
            picture_size(entry).map(Codec::Mpeg2Video)
        }
        b"jpeg" => picture_size(entry).map(Codec::Jpeg),
        b"mp4a" => aac(entry),
        b"encv" | b"enca" => Err("it is encrypted".into()),
        other => sound_entry::codec(*other, entry).unwrap_or_else(|| Err(unsupported(*other))),
    }
}

/// Why a track is left out whose coding is none that can be sent, as the end of a sentence.
pub fn unsupported(kind: [u8; 4]) -> String {
    format!("{} is not supported", name(kind))
}

fn name(kind: [u8; 4]) -> String {
    kind.iter().map(|&octet| if octet.is_ascii_graphic() { char::from(octet) } else { '?' }).collect()
}

fn h264(entry: &[u8]) -> Result<Codec, String> {
    let boxes = entry.get(VISUAL_ENTRY..).ok_or("its sample description is cut short")?;
    configuration::h264(find(boxes, b"avcC").ok_or("its H.264 configuration is missing")?, size(entry))
}

/// The profile is behind version and flags of the box (VP Codec ISO Media File Format Binding section 2.2); without it, the one of most films.
fn vp9(entry: &[u8]) -> Result<Codec, String> {
    let size = picture_size(entry)?;
    let record = entry.get(VISUAL_ENTRY..).and_then(|boxes| find(boxes, b"vpcC"));
    let profile = record.and_then(|record| record.get(4)).copied().filter(|profile| *profile <= 3).unwrap_or(0);
    Ok(Codec::Vp9(Vp9Config { profile, size }))
}

/// Whether the base layer can be shown by who knows nothing of Dolby Vision: dv_bl_signal_compatibility_id is not zero (Dolby Vision
/// Streams Within the ISO Base Media File Format section 3.2).
fn dolby_vision(entry: &[u8]) -> Result<(), String> {
    let boxes = entry.get(VISUAL_ENTRY..).unwrap_or_default();
    let record = [b"dvcC", b"dvvC", b"dvwC"].into_iter().find_map(|kind| find(boxes, kind));
    match record.and_then(|record| record.get(4)) {
        Some(compatibility) if compatibility >> 4 != 0 => Ok(()),
        _ => Err("it is Dolby Vision without a base layer for others".into()),
    }
}

fn picture_size(entry: &[u8]) -> Result<PictureSize, String> {
    if entry.len() < VISUAL_ENTRY {
        return Err("its sample description is cut short".into());
    }
    Ok(size(entry))
}

/// AV1 Codec ISO Media File Format Binding section 2.2.
fn av1(entry: &[u8]) -> Result<Codec, String> {
    let size = picture_size(entry)?;
    configuration::av1(find(&entry[VISUAL_ENTRY..], b"av1C").ok_or("its AV1 configuration is missing")?, size)
}

/// ISO/IEC 14496-14 section 5.6.1: coded as its descriptor says (ISO/IEC 14496-1 table 5).
fn mpeg4_video(entry: &[u8]) -> Result<Codec, String> {
    let picture = picture_size(entry)?;
    let body = find(&entry[VISUAL_ENTRY..], b"esds").ok_or("its MPEG-4 video configuration is missing")?;
    let (indication, specific) = audio_config::descriptor(body).ok_or("its MPEG-4 video configuration is broken")?;
    match indication {
        0x20 => {
            let (PictureSize { width, height }, headers) = (picture, specific.unwrap_or_default());
            configuration::within(headers.len(), configuration::MAX_HEADERS, "MPEG-4 video")?;
            Ok(Codec::Mpeg4Visual(Mpeg4VisualConfig { headers, width, height }))
        }
        0x60..=0x65 | 0x6a => Ok(Codec::Mpeg2Video(picture)),
        0x6c => Ok(Codec::Jpeg(picture)),
        other => Err(format!("MPEG-4 video of object type 0x{other:02x} is not supported")),
    }
}

fn h265(entry: &[u8]) -> Result<Codec, String> {
    let boxes = entry.get(VISUAL_ENTRY..).ok_or("its sample description is cut short")?;
    configuration::h265(find(boxes, b"hvcC").ok_or("its H.265 configuration is missing")?, size(entry))
}

/// What a visual sample entry states.
fn size(entry: &[u8]) -> PictureSize {
    let field = |at: usize| entry.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]));
    PictureSize { width: field(24), height: field(26) }
}

fn aac(entry: &[u8]) -> Result<Codec, String> {
    let version = entry.get(8..10).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]));
    // QuickTime's later versions carry more fields before the boxes.
    let extra = match version {
        1 => 16,
        2 => 36,
        _ => 0,
    };
    let boxes = entry.get(AUDIO_ENTRY + extra..).or(entry.get(AUDIO_ENTRY..)).ok_or("its sample description is cut short")?;
    let body = find(boxes, b"esds")
        .or_else(|| find(boxes, b"wave").and_then(|wave| find(wave, b"esds")))
        .or_else(|| entry.get(AUDIO_ENTRY..).and_then(|boxes| find(boxes, b"esds")))
        .ok_or("its MPEG-4 audio configuration is missing")?;
    let (indication, specific) = audio_config::descriptor(body).ok_or("its MPEG-4 audio configuration is broken")?;
    // MPEG audio of 13818-3 and 11172-3.
    if matches!(indication, 0x69 | 0x6b) {
        return sound_entry::format(entry).map(Codec::MpegAudio);
    }
    if !matches!(indication, 0x40 | 0x66..=0x68) {
        return Err(format!("MPEG-4 audio of object type 0x{indication:02x} is not supported"));
    }
    let specific = specific.ok_or("its MPEG-4 audio configuration is missing")?;
    configuration::within(specific.len(), configuration::MAX_HEADERS, "MPEG-4 audio")?;
    let config = AudioSpecificConfig::parse(&specific).ok_or("its MPEG-4 audio configuration is broken")?;
    if !matches!(config.object_type, 1..=5 | 29) {
        return Err(format!("MPEG-4 audio object type {} is not supported", config.object_type));
    }
    let (sample_rate, channels) = (config.sample_rate, config.channels);
    Ok(Codec::Aac(AacConfig { audio_specific_config: specific, sample_rate, channels }))
}

#[cfg(test)]
mod tests;
