//! How codings go together in one track: what a decoder is told beforehand is told once, for the first of them; what differs in the
//! others goes in-band, before the random access points of their items.

use std::io;

use crate::library::codec::{AacConfig, Av1Config, Codec, H264Config, H265Config, NalFraming};

/// Octets of the start code, or of the length, before a NAL unit whose framing may change in its place.
const FRAME: usize = 4;
const START_CODE: [u8; FRAME] = [0, 0, 0, 1];
/// Behind an AudioSpecificConfig: a sync extension that says no.
const NO_SBR: [u8; 3] = [0x56, 0xe5, 0x00];

/// Why a track cannot follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It is coded otherwise.
    #[error("{is} does not follow {before}")]
    Coding {
        /// How it is coded, in a word.
        is: &'static str,
        /// How those before it are.
        before: &'static str,
    },
    /// A decoder is told otherwise beforehand, and that cannot be told again in between.
    #[error("{0} with other parameters than before cannot be told to players")]
    Parameters(&'static str),
}

/// Whether a track that is coded so can follow those that are coded as `first`.
///
/// # Errors
/// Why it cannot.
pub fn fits(first: &Codec, next: &Codec) -> Result<(), Misfit> {
    let is_told = match (first, next) {
        (Codec::H264(one), Codec::H264(other)) => goes_in_band(one.framing, other.framing, sets_of_h264(one) == sets_of_h264(other)),
        (Codec::H265(one), Codec::H265(other)) => {
            let is_same = sets_of_h265(one) == sets_of_h265(other) && one.messages == other.messages;
            goes_in_band(one.framing, other.framing, is_same)
        }
        (Codec::Av1(one), Codec::Av1(other)) => one.profile == other.profile,
        (Codec::Vp8(_), Codec::Vp8(_))
        | (Codec::Vp9(_), Codec::Vp9(_))
        | (Codec::Mpeg4Visual(_), Codec::Mpeg4Visual(_))
        | (Codec::Mpeg2Video(_), Codec::Mpeg2Video(_))
        | (Codec::Jpeg(_), Codec::Jpeg(_))
        | (Codec::Opus(_), Codec::Opus(_)) => true,
        (Codec::Aac(one), Codec::Aac(other)) => {
            let told = |config: &AacConfig| (config.sample_rate, config.channels);
            told(one) == told(other) && without_extension(&one.audio_specific_config) == without_extension(&other.audio_specific_config)
        }
        (Codec::MpegAudio(one), Codec::MpegAudio(other)) => one == other,
        (Codec::Ac3(one), Codec::Ac3(other)) => one == other,
        (Codec::Vorbis(one), Codec::Vorbis(other)) => {
            (one.sample_rate, one.channels, &one.identification, &one.setup)
                == (other.sample_rate, other.channels, &other.identification, &other.setup)
        }
        (Codec::Pcm(one), Codec::Pcm(other)) => one == other,
        (Codec::G722(one), Codec::G722(other)) => one == other,
        _ => return Err(Misfit::Coding { is: next.name(), before: first.name() }),
    };
    if is_told { Ok(()) } else { Err(Misfit::Parameters(next.name())) }
}

/// Whether NAL units framed so can be brought to one framing without becoming longer, and what differs be put before them.
fn goes_in_band(one: NalFraming, other: NalFraming, is_same: bool) -> bool {
    let is_wide = |framing| matches!(framing, NalFraming::StartCodes | NalFraming::Length(4));
    is_wide(one) && is_wide(other) || one == other && is_same
}

/// What an AudioSpecificConfig says, without the words that there is no SBR (ISO/IEC 14496-3 section 1.6.6.1), which some write.
fn without_extension(config: &[u8]) -> &[u8] {
    config.strip_suffix(&NO_SBR).unwrap_or(config)
}

fn sets_of_h264(config: &H264Config) -> Vec<&[u8]> {
    [&config.sequence_parameter_sets, &config.picture_parameter_sets].into_iter().flatten().map(Vec::as_slice).collect()
}

fn sets_of_h265(config: &H265Config) -> Vec<&[u8]> {
    let sets = [&config.video_parameter_sets, &config.sequence_parameter_sets, &config.picture_parameter_sets];
    sets.into_iter().flatten().map(Vec::as_slice).collect()
}

/// The NAL units that hold for an item's pictures.
fn sets_of(codec: &Codec) -> Vec<&[u8]> {
    match codec {
        Codec::H264(config) => sets_of_h264(config),
        Codec::H265(config) => sets_of_h265(config).into_iter().chain(config.messages.iter().map(Vec::as_slice)).collect(),
        _ => Vec::new(),
    }
}

/// What players are told of all of them, which are one at least: as of the first, with what holds for all.
pub fn together(codecs: &[&Codec]) -> Option<Codec> {
    let first = *codecs.first()?;
    let are_same = codecs.iter().all(|codec| *codec == first);
    Some(match first {
        _ if are_same => first.clone(),
        Codec::H264(config) => {
            let all = || codecs.iter().filter_map(|codec| if let Codec::H264(config) = codec { Some(config) } else { None });
            let [profile, constraints, _] = config.profile_level_id;
            let level = all().map(|config| config.profile_level_id[2]).max().unwrap_or_default();
            let framing = if all().all(|other| other.framing == config.framing) { config.framing } else { NalFraming::StartCodes };
            Codec::H264(H264Config { framing, profile_level_id: [profile, constraints, level], ..config.clone() })
        }
        Codec::H265(config) => {
            let all = || codecs.iter().filter_map(|codec| if let Codec::H265(config) = codec { Some(config) } else { None });
            let mut profile = config.profile;
            profile.level_idc = all().map(|config| config.profile.level_idc).max().unwrap_or_default();
            let framing = if all().all(|other| other.framing == config.framing) { config.framing } else { NalFraming::StartCodes };
            let has_layers = all().all(|other| other.temporal_layers == config.temporal_layers);
            let messages = if all().all(|other| other.messages == config.messages) { config.messages.clone() } else { Vec::new() };
            let temporal_layers = if has_layers { config.temporal_layers } else { 0 };
            Codec::H265(H265Config { framing, profile, temporal_layers, messages, ..config.clone() })
        }
        Codec::Av1(config) => {
            let all = || codecs.iter().filter_map(|codec| if let Codec::Av1(config) = codec { Some(config) } else { None });
            let is_told = all().all(|other| other.sequence_header == config.sequence_header);
            Codec::Av1(Av1Config {
                level_idx: all().map(|config| config.level_idx).max().unwrap_or_default(),
                tier: all().map(|config| config.tier).max().unwrap_or_default(),
                sequence_header: if is_told { config.sequence_header.clone() } else { Vec::new() },
                ..config.clone()
            })
        }
        _ => first.clone(),
    })
}

/// How an item's access units become those of the track.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewriting {
    /// Goes before random access points, behind an access unit delimiter.
    pub prelude: Box<[u8]>,
    /// Whether lengths before NAL units become start codes.
    pub to_start_codes: bool,
    nal: Option<Nal>,
}

/// Of which coding NAL units are, and how they are framed in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nal {
    H264(NalFraming),
    H265(NalFraming),
}

impl Rewriting {
    /// Of an item that is coded as `own`, in a track of which players are told `told`; whether `are_same`, all of them.
    pub fn new(own: &Codec, told: &Codec, are_same: bool) -> Self {
        match (own, told) {
            (Codec::H264(config), Codec::H264(all)) => {
                let nal = Nal::H264(all.framing);
                Self::of_nal(nal, config.framing, all.framing, if sets_of(own) == sets_of(told) { Vec::new() } else { sets_of(own) })
            }
            (Codec::H265(config), Codec::H265(all)) => {
                let nal = Nal::H265(all.framing);
                Self::of_nal(nal, config.framing, all.framing, if sets_of(own) == sets_of(told) { Vec::new() } else { sets_of(own) })
            }
            (Codec::Av1(config), Codec::Av1(all)) if config.sequence_header != all.sequence_header => {
                Self { prelude: config.sequence_header.clone().into(), ..Self::default() }
            }
            // Not repeated by the payload format: those of the first item too, for it may come again.
            (Codec::Mpeg4Visual(config), _) if !are_same => Self { prelude: config.headers.clone().into(), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn of_nal(nal: Nal, own: NalFraming, told: NalFraming, sets: Vec<&[u8]>) -> Self {
        let mut prelude = Vec::new();
        for set in sets {
            match (told, u32::try_from(set.len())) {
                (NalFraming::Length(_), Ok(len)) => prelude.extend_from_slice(&len.to_be_bytes()),
                _ => prelude.extend_from_slice(&START_CODE),
            }
            prelude.extend_from_slice(set);
        }
        Self { prelude: prelude.into(), to_start_codes: own != told, nal: Some(nal) }
    }

    /// Whether access units stay as they are.
    pub fn is_none(&self) -> bool {
        self.prelude.is_empty() && !self.to_start_codes
    }

    /// Rewrites an access unit, which lies at the end of `octets` behind room for the prelude where that goes before it.
    ///
    /// # Errors
    /// `InvalidData` where its NAL units do not fill it.
    pub fn apply(&self, octets: &mut [u8], has_prelude: bool) -> io::Result<()> {
        let room = if has_prelude { self.prelude.len() } else { 0 };
        let unit = octets.get_mut(room..).ok_or(io::ErrorKind::InvalidData)?;
        if self.to_start_codes {
            to_start_codes(unit)?;
        }
        if !has_prelude {
            return Ok(());
        }
        // What is first stays first: an access unit delimiter.
        let first = self.nal.and_then(|nal| nal.delimiter(unit)).unwrap_or(0);
        octets.copy_within(room..room + first, 0);
        octets.get_mut(first..first + room).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(&self.prelude);
        Ok(())
    }
}

impl Nal {
    /// Octets of the access unit delimiter that a unit begins with, framing included (ISO/IEC 14496-10 section 7.3.2.4, 23008-2 section
    /// 7.3.2.5: one octet behind the header).
    fn delimiter(self, unit: &[u8]) -> Option<usize> {
        let (framing, header, len) = match self {
            Self::H264(framing) => (framing, 9, 2),
            Self::H265(framing) => (framing, 35, 3),
        };
        let frame = match framing {
            NalFraming::StartCodes if unit.starts_with(&[0, 0, 1]) => 3,
            NalFraming::StartCodes => unit.starts_with(&START_CODE).then_some(FRAME)?,
            NalFraming::Length(size) => {
                let size = usize::from(size);
                let says = unit.get(..size)?.iter().fold(0usize, |length, octet| length << 8 | usize::from(*octet));
                (says == len).then_some(size)?
            }
        };
        let first = *unit.get(frame)?;
        let kind = if let Self::H264(_) = self { first & 0x1f } else { (first & 0x7e) >> 1 };
        (kind == header && unit.len() >= frame + len).then_some(frame + len)
    }
}

/// Puts a start code in the place of each length.
fn to_start_codes(unit: &mut [u8]) -> io::Result<()> {
    let mut rest = unit;
    while !rest.is_empty() {
        let (frame, behind) = rest.split_first_chunk_mut::<FRAME>().ok_or(io::ErrorKind::InvalidData)?;
        let len = u32::from_be_bytes(std::mem::replace(frame, START_CODE)) as usize;
        rest = behind.get_mut(len..).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::codec::{PictureSize, SoundFormat};

    fn h264(framing: NalFraming, level: u8, set: u8) -> Codec {
        Codec::H264(H264Config {
            framing,
            profile_level_id: [100, 0, level],
            sequence_parameter_sets: vec![vec![0x67, set]],
            picture_parameter_sets: vec![vec![0x68, set, 1]],
            width: 320,
            height: 180,
        })
    }

    const LENGTHS: NalFraming = NalFraming::Length(4);

    #[test]
    fn what_is_coded_alike_fits_and_what_cannot_be_told_again_does_not() {
        let aac = |rate| Codec::Aac(AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: rate, channels: 2 });
        assert_eq!(fits(&h264(LENGTHS, 30, 1), &h264(NalFraming::StartCodes, 40, 2)), Ok(()));
        assert_eq!(fits(&aac(48_000), &aac(48_000)), Ok(()));
        let said = Codec::Aac(AacConfig { audio_specific_config: vec![0x11, 0x90, 0x56, 0xe5, 0], sample_rate: 48_000, channels: 2 });
        assert_eq!(fits(&aac(48_000), &said), Ok(()));
        assert_eq!(fits(&aac(48_000), &aac(44_100)), Err(Misfit::Parameters("aac")));
        let vp8 = Codec::Vp8(PictureSize::default());
        let error = fits(&vp8, &h264(LENGTHS, 30, 1)).expect_err("another coding");
        assert_eq!(error.to_string(), "h264 does not follow vp8");
        let opus = |channels| Codec::Opus(SoundFormat { sample_rate: 48_000, channels });
        assert_eq!(fits(&opus(1), &opus(2)), Ok(()));
        // Two octets before each NAL unit have no room for a start code, nor for what is put before.
        let short = NalFraming::Length(2);
        assert_eq!(fits(&h264(short, 30, 1), &h264(short, 30, 1)), Ok(()));
        assert_eq!(fits(&h264(short, 30, 1), &h264(short, 30, 2)), Err(Misfit::Parameters("h264")));
        assert_eq!(fits(&h264(LENGTHS, 30, 1), &h264(short, 30, 1)), Err(Misfit::Parameters("h264")));
    }

    #[test]
    fn players_are_told_of_the_first_and_of_the_highest_level() {
        let (one, other) = (h264(LENGTHS, 30, 1), h264(LENGTHS, 41, 2));
        assert_eq!(together(&[&one, &other, &one]), Some(h264(LENGTHS, 41, 1)));
        assert_eq!(together(&[&one, &h264(NalFraming::StartCodes, 20, 2)]), Some(h264(NalFraming::StartCodes, 30, 1)));
        assert_eq!(together(&[]), None);
    }

    fn rewritten(rewriting: &Rewriting, unit: &[u8]) -> Vec<u8> {
        let mut octets = [&vec![0xee; rewriting.prelude.len()], unit].concat();
        rewriting.apply(&mut octets, true).expect("sound");
        octets
    }

    #[test]
    fn differing_sets_go_before_a_random_access_point_behind_its_delimiter() {
        let told = h264(LENGTHS, 41, 1);
        assert!(Rewriting::new(&h264(LENGTHS, 41, 1), &told, true).is_none());
        let rewriting = Rewriting::new(&h264(LENGTHS, 30, 7), &told, false);
        let sets = [0, 0, 0, 2, 0x67, 7, 0, 0, 0, 3, 0x68, 7, 1];
        let (delimiter, slice) = ([0, 0, 0, 2, 9, 0x10], [0, 0, 0, 3, 0x65, 1, 2]);
        assert_eq!(rewritten(&rewriting, &slice), [&sets[..], &slice].concat());
        assert_eq!(rewritten(&rewriting, &[&delimiter[..], &slice].concat()), [&delimiter[..], &sets, &slice].concat());
    }

    #[test]
    fn lengths_become_start_codes_where_others_have_these() {
        let told = h264(NalFraming::StartCodes, 41, 1);
        let rewriting = Rewriting::new(&h264(LENGTHS, 30, 7), &told, false);
        let unit = [0, 0, 0, 2, 9, 0x10, 0, 0, 0, 3, 0x65, 1, 2];
        let sets = [0, 0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x68, 7, 1];
        assert_eq!(rewritten(&rewriting, &unit), [&[0, 0, 0, 1, 9, 0x10][..], &sets, &[0, 0, 0, 1, 0x65, 1, 2]].concat());
        let mut plain = unit;
        rewriting.apply(&mut plain, false).expect("sound");
        assert_eq!(plain, [0, 0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x65, 1, 2]);
        for broken in [&mut [0, 0, 0, 9, 1][..], &mut [0, 0, 1]] {
            assert!(rewriting.apply(broken, false).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData));
        }
    }
}
