//! Decoder configuration records of video codecs, which several containers carry alike: MP4 in a box, Matroska as a track's
//! private data, others behind a header of their own.
//!
//! Reads what a payload format needs and no further: what some writers put behind that, or leave out there, does not matter.
//! Read first: ISO/IEC 14496-15 sections 5.3.3.1 and 8.3.3.1, AV1 Codec ISO Media File Format Binding section 2.3.

use crate::library::codec::{Av1Config, Codec, H264Config, H265Config, H265Profile, NalFraming, PictureSize};

/// Octets of a record at most …
const MAX_RECORD: usize = 16 << 10;
/// … and of what other codecs know beforehand.
pub const MAX_HEADERS: usize = 4 << 10;
/// NAL units of a kind in it at most.
const MAX_UNITS: usize = 64;
/// NAL unit types of H.265 parameter sets (ISO/IEC 23008-2 table 7-1).
const VIDEO_PARAMETER_SET: u8 = 32;
const SEQUENCE_PARAMETER_SET: u8 = 33;
const PICTURE_PARAMETER_SET: u8 = 34;
/// … and of what is told before a picture (supplemental enhancement information).
const PREFIX_SEI: u8 = 39;
/// The type of a sequence header (AV1 specification section 6.2.2), and the bit for an OBU's size.
const SEQUENCE_HEADER: u8 = 1;
const HAS_SIZE: u8 = 0x02;
const HAS_EXTENSION: u8 = 0x04;

/// An AVCDecoderConfigurationRecord (the body of `avcC`).
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn h264(record: &[u8], size: PictureSize) -> Result<Codec, String> {
    within(record.len(), MAX_RECORD, "H.264")?;
    let broken = || "its H.264 configuration is broken".to_owned();
    let &[1, profile, compatibility, level, length, sequence_sets, ref rest @ ..] = record else { return Err(broken()) };
    let mut rest = rest;
    let sequence_parameter_sets = units(u16::from(sequence_sets & 0x1f), &mut rest).ok_or_else(broken)?;
    let (&picture_sets, mut rest) = rest.split_first().ok_or_else(broken)?;
    let picture_parameter_sets = units(u16::from(picture_sets), &mut rest).ok_or_else(broken)?;
    Ok(Codec::H264(H264Config {
        framing: framing(length).ok_or("its H.264 configuration has an impossible length size")?,
        profile_level_id: [profile, compatibility, level],
        sequence_parameter_sets,
        picture_parameter_sets,
        width: size.width,
        height: size.height,
    }))
}

/// An HEVCDecoderConfigurationRecord (the body of `hvcC`). Of the version nothing is asked: writers of its drafts said zero.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn h265(record: &[u8], size: PictureSize) -> Result<Codec, String> {
    within(record.len(), MAX_RECORD, "H.265")?;
    let broken = || "its H.265 configuration is broken".to_owned();
    let (fixed, mut rest) = record.split_first_chunk::<22>().ok_or_else(broken)?;
    let mut sets: [Vec<Vec<u8>>; 4] = Default::default();
    // No count of arrays: all parameter sets are in the stream.
    let arrays = rest.split_off_first().copied().unwrap_or(0);
    for _ in 0..arrays {
        let (&[kind, high, low], behind) = rest.split_first_chunk::<3>().ok_or_else(broken)?;
        rest = behind;
        let found = units(u16::from_be_bytes([high, low]), &mut rest).ok_or_else(broken)?;
        match kind & 0x3f {
            VIDEO_PARAMETER_SET => sets[0].extend(found),
            SEQUENCE_PARAMETER_SET => sets[1].extend(found),
            PICTURE_PARAMETER_SET => sets[2].extend(found),
            PREFIX_SEI => sets[3].extend(found),
            _ => {}
        }
    }
    let &[_, profile, _, _, _, _, c0, c1, c2, c3, c4, c5, level_idc, .., layers_and_length] = fixed;
    if sets.iter().any(|sets| sets.len() > MAX_UNITS) {
        return Err("its H.265 configuration is too large".into());
    }
    let [video_parameter_sets, sequence_parameter_sets, picture_parameter_sets, messages] = sets;
    Ok(Codec::H265(H265Config {
        framing: framing(layers_and_length).ok_or("its H.265 configuration has an impossible length size")?,
        profile: H265Profile {
            space: profile >> 6,
            idc: profile & 0x1f,
            is_high_tier: profile & 0x20 != 0,
            level_idc,
            constraints: [c0, c1, c2, c3, c4, c5],
        },
        temporal_layers: layers_and_length >> 3 & 7,
        video_parameter_sets,
        sequence_parameter_sets,
        picture_parameter_sets,
        messages,
        width: size.width,
        height: size.height,
    }))
}

/// An AV1CodecConfigurationRecord (the body of `av1C`).
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn av1(record: &[u8], size: PictureSize) -> Result<Codec, String> {
    within(record.len(), MAX_RECORD, "AV1")?;
    let &[_, profile_and_level, tier, _, ref units @ ..] = record else { return Err("its AV1 configuration is broken".into()) };
    Ok(Codec::Av1(Av1Config {
        profile: profile_and_level >> 5,
        level_idx: profile_and_level & 0x1f,
        tier: tier >> 7,
        sequence_header: sequence_header(units).unwrap_or_default().to_vec(),
        width: size.width,
        height: size.height,
    }))
}

/// What a decoder must know beforehand is small, and goes out with each random access point and each description: an error where a
/// file claims that it is not.
pub fn within(octets: usize, limit: usize, what: &str) -> Result<(), String> {
    if octets > limit { Err(format!("its {what} configuration is too large")) } else { Ok(()) }
}

/// What stands before each NAL unit, by lengthSizeMinusOne.
fn framing(octet: u8) -> Option<NalFraming> {
    Some((octet & 3) + 1).filter(|size| *size != 3).map(NalFraming::Length)
}

/// So many NAL units with a length before each, without the empty ones; `None` where one does not fit.
fn units(count: u16, rest: &mut &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut units = Vec::new();
    for _ in 0..count {
        let (&len, behind) = rest.split_first_chunk::<2>()?;
        let (unit, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(len)))?;
        if !unit.is_empty() {
            units.push(unit.to_vec());
        }
        *rest = behind;
    }
    Some(units)
}

/// The sequence header among OBUs, with its own header and size.
fn sequence_header(mut units: &[u8]) -> Option<&[u8]> {
    loop {
        let (&header, _) = units.split_first()?;
        if header & HAS_SIZE == 0 {
            return None;
        }
        let mut head = 1 + usize::from(header & HAS_EXTENSION != 0);
        let mut len: usize = 0;
        // leb128 (AV1 specification section 4.10.5): seven bits an octet, the lowest first.
        for shift in [0, 7, 14, 21] {
            let octet = *units.get(head)?;
            head += 1;
            len |= usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                break;
            }
        }
        let (unit, behind) = units.split_at_checked(head.checked_add(len)?)?;
        if header >> 3 & 0x0f == SEQUENCE_HEADER {
            return Some(unit);
        }
        units = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: PictureSize = PictureSize { width: 320, height: 180 };
    const AVC: [u8; 15] = [1, 0x64, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2];

    fn hevc(length: u8, arrays: &[u8]) -> Vec<u8> {
        let fixed = [1, 0x21, 0x60, 0, 0, 0, 0x90, 1, 2, 3, 4, 5, 93, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0c | length];
        [&fixed[..], arrays].concat()
    }

    #[test]
    fn a_configuration_that_would_swell_each_description_is_refused() {
        let record = hevc(3, &[]);
        let many: Vec<u8> = [&record[..22], &[1, 39, 0, 65]].concat();
        let many = [many, [0, 3, 0x4e, 1, 1].repeat(65)].concat();
        assert_eq!(h265(&many, SIZE), Err("its H.265 configuration is too large".into()));
        for read in [h264, h265, av1] {
            assert!(read(&vec![1; MAX_RECORD + 1], SIZE).is_err_and(|why| why.ends_with("too large")));
        }
    }

    #[test]
    fn an_avc_record_is_read_up_to_its_picture_parameter_sets() {
        let Ok(Codec::H264(config)) = h264(&AVC, SIZE) else { panic!("sound") };
        assert_eq!(
            (config.framing, config.profile_level_id, config.width, config.height),
            (NalFraming::Length(4), [0x64, 0, 30], 320, 180)
        );
        assert_eq!((config.sequence_parameter_sets, config.picture_parameter_sets), (vec![vec![0x67, 1]], vec![vec![0x68, 2]]));
        assert_eq!(h264(&[&AVC[..], &[0xfd, 0xf8, 0xf8, 9, 9]].concat(), SIZE), h264(&AVC, SIZE));
        assert!((0..AVC.len()).all(|len| h264(&AVC[..len], SIZE).is_err()), "cut short");
        let three = [&AVC[..4], &[0xfe], &AVC[5..]].concat();
        assert_eq!(h264(&three, SIZE), Err("its H.264 configuration has an impossible length size".into()));
    }

    #[test]
    fn an_hevc_record_is_read_array_by_array() {
        let arrays = [&[3, 0xa0, 0, 1, 0, 2, 0x40, 1][..], &[0xa1, 0, 2, 0, 2, 0x42, 1, 0, 2, 0x42, 2], &[0x27, 0, 1, 0, 1, 0x4e]].concat();
        let Ok(Codec::H265(config)) = h265(&hevc(3, &arrays), SIZE) else { panic!("sound") };
        assert_eq!((config.framing, config.temporal_layers), (NalFraming::Length(4), 1));
        let profile = H265Profile { space: 0, idc: 1, is_high_tier: true, level_idc: 93, constraints: [0x90, 1, 2, 3, 4, 5] };
        assert_eq!(config.profile, profile);
        assert_eq!(config.video_parameter_sets, [[0x40, 1]]);
        assert_eq!(config.sequence_parameter_sets, [[0x42, 1], [0x42, 2]]);
        assert!(config.picture_parameter_sets.is_empty());
    }

    #[test]
    fn an_hevc_record_without_arrays_or_of_version_zero_is_taken() {
        let mut without = hevc(3, &[]);
        without[0] = 0;
        let Ok(Codec::H265(config)) = h265(&without, SIZE) else { panic!("sound") };
        assert!(config.sequence_parameter_sets.is_empty());
        assert_eq!(h265(&without[..21], SIZE), Err("its H.265 configuration is broken".into()));
        assert_eq!(h265(&hevc(3, &[1, 0xa0, 0, 9]), SIZE), Err("its H.265 configuration is broken".into()));
        assert_eq!(h265(&hevc(2, &[0]), SIZE), Err("its H.265 configuration has an impossible length size".into()));
    }

    #[test]
    fn an_av1_record_gives_its_sequence_header_with_its_size() {
        let record = [0x81, 0x04, 0x0c, 0, 0x12, 0, 0x0a, 3, 7, 8, 9];
        let Ok(Codec::Av1(config)) = av1(&record, SIZE) else { panic!("sound") };
        assert_eq!((config.profile, config.level_idx, config.tier), (0, 4, 0));
        assert_eq!(config.sequence_header, [0x0a, 3, 7, 8, 9], "behind a temporal delimiter");
        for (record, what) in [(&record[..4], "none"), (&record[..9], "cut short"), (&[0x81, 4, 0, 0, 8, 1, 2][..], "without a size")] {
            let Ok(Codec::Av1(config)) = av1(record, SIZE) else { panic!("{what}") };
            assert!(config.sequence_header.is_empty(), "{what}");
        }
        assert!(av1(&record[..3], SIZE).is_err());
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (h264(&noise, SIZE), h265(&noise, SIZE), av1(&noise, SIZE));
            let _ = (h264(&[&AVC[..5], &noise].concat(), SIZE), h265(&hevc(3, &noise), SIZE), av1(&[&[0x81, 4, 0, 0], &noise[..]].concat(), SIZE));
        }
    }
}
