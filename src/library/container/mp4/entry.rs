//! Sample descriptions: how a track is coded (ISO/IEC 14496-12 section 8.5.2, 14496-14, 14496-15, QuickTime sound).

use mp4_atom::{Avcc, Hvcc};

use crate::library::codec::{AacConfig, Codec, H264Config, H265Config, H265Profile, NalFraming};
use crate::library::container::mp4::audio_config::{self, AudioSpecificConfig};
use crate::library::container::mp4::boxes::{Boxes, decode, find};

/// Octets of a visual sample entry before its boxes.
const VISUAL_ENTRY: usize = 78;
/// Octets of an audio sample entry before its boxes (version 0).
const AUDIO_ENTRY: usize = 28;
/// NAL unit types of H.265 parameter sets (ISO/IEC 23008-2 table 7-1).
const VIDEO_PARAMETER_SET: u8 = 32;
const SEQUENCE_PARAMETER_SET: u8 = 33;
const PICTURE_PARAMETER_SET: u8 = 34;

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
        b"mp4a" => aac(entry),
        b"encv" | b"enca" => Err("it is encrypted".into()),
        other => Err(format!("{} is not supported", name(*other))),
    }
}

fn name(kind: [u8; 4]) -> String {
    kind.iter().map(|&octet| if octet.is_ascii_graphic() { char::from(octet) } else { '?' }).collect()
}

fn h264(entry: &[u8]) -> Result<Codec, String> {
    let boxes = entry.get(VISUAL_ENTRY..).ok_or("its sample description is cut short")?;
    let body = find(boxes, b"avcC").ok_or("its H.264 configuration is missing")?;
    let config = decode::<Avcc>(body).or_else(|| avc_by_hand(body)).ok_or("its H.264 configuration is broken")?;
    if !matches!(config.length_size, 1 | 2 | 4) {
        return Err("its H.264 configuration has an impossible length size".into());
    }
    let filled = |sets: Vec<Vec<u8>>| sets.into_iter().filter(|set| !set.is_empty()).collect();
    Ok(Codec::H264(H264Config {
        framing: NalFraming::Length(config.length_size),
        profile_level_id: [config.avc_profile_indication, config.profile_compatibility, config.avc_level_indication],
        sequence_parameter_sets: filled(config.sequence_parameter_sets),
        picture_parameter_sets: filled(config.picture_parameter_sets),
        width: size(entry, 24),
        height: size(entry, 26),
    }))
}

/// A field of a visual sample entry.
fn size(entry: &[u8], at: usize) -> u16 {
    entry.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]))
}

fn h265(entry: &[u8]) -> Result<Codec, String> {
    let boxes = entry.get(VISUAL_ENTRY..).ok_or("its sample description is cut short")?;
    let body = find(boxes, b"hvcC").ok_or("its H.265 configuration is missing")?;
    let config = decode::<Hvcc>(body).ok_or("its H.265 configuration is broken")?;
    let length_size = config.length_size_minus_one + 1;
    if !matches!(length_size, 1 | 2 | 4) {
        return Err("its H.265 configuration has an impossible length size".into());
    }
    let sets = |kind: u8| {
        let of_kind = config.arrays.iter().filter(|array| array.nal_unit_type == kind);
        of_kind.flat_map(|array| &array.nalus).filter(|set| !set.is_empty()).cloned().collect()
    };
    Ok(Codec::H265(H265Config {
        framing: NalFraming::Length(length_size),
        profile: H265Profile {
            space: config.general_profile_space,
            idc: config.general_profile_idc,
            is_high_tier: config.general_tier_flag,
            level_idc: config.general_level_idc,
            constraints: config.general_constraint_indicator_flags,
        },
        temporal_layers: config.num_temporal_layers,
        video_parameter_sets: sets(VIDEO_PARAMETER_SET),
        sequence_parameter_sets: sets(SEQUENCE_PARAMETER_SET),
        picture_parameter_sets: sets(PICTURE_PARAMETER_SET),
        width: size(entry, 24),
        height: size(entry, 26),
    }))
}

/// Reads up to the picture parameter sets: what some writers put behind them makes a strict reader give up.
fn avc_by_hand(body: &[u8]) -> Option<Avcc> {
    let &[1, profile, compatibility, level, length, sequence_sets, ..] = body else { return None };
    let mut rest = body.get(6..)?;
    let sequence_parameter_sets = parameter_sets(sequence_sets & 0x1f, &mut rest)?;
    let (&picture_sets, mut rest) = rest.split_first()?;
    Some(Avcc {
        configuration_version: 1,
        avc_profile_indication: profile,
        profile_compatibility: compatibility,
        avc_level_indication: level,
        length_size: (length & 3) + 1,
        sequence_parameter_sets,
        picture_parameter_sets: parameter_sets(picture_sets, &mut rest)?,
        ext: None,
    })
}

fn parameter_sets(count: u8, rest: &mut &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut sets = Vec::new();
    for _ in 0..count {
        let (&len, behind) = rest.split_first_chunk::<2>()?;
        let (set, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(len)))?;
        sets.push(set.to_vec());
        *rest = behind;
    }
    Some(sets)
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
    if !matches!(indication, 0x40 | 0x66..=0x68) {
        return Err(format!("MPEG-4 audio of object type 0x{indication:02x} is not supported"));
    }
    let specific = specific.ok_or("its MPEG-4 audio configuration is missing")?;
    let config = AudioSpecificConfig::parse(&specific).ok_or("its MPEG-4 audio configuration is broken")?;
    if !matches!(config.object_type, 1..=5 | 29) {
        return Err(format!("MPEG-4 audio object type {} is not supported", config.object_type));
    }
    let (sample_rate, channels) = (config.sample_rate, config.channels);
    Ok(Codec::Aac(AacConfig { audio_specific_config: specific, sample_rate, channels }))
}

#[cfg(test)]
mod tests;
