//! What a camera says of its streams, as tracks: pure.

use std::num::NonZeroU16;

use retina::codec::{AudioParameters, ParametersRef, VideoParameters, VideoParametersCodec};

use crate::library::live::LiveTrack;
use crate::library::{AacConfig, Codec, H264Config, H265Config, NalFraming, PcmConfig, PcmSample, PictureSize, SoundFormat};
use crate::quantities::ClockRate;

/// Why a stream is left out, as the end of a sentence.
pub(super) type LeftOut = String;

/// The slowest RTP clock, in hertz.
const LEAST_CLOCK: u32 = 1000;

/// What is served of a camera: the names of `a=rtpmap`, in lower case.
pub(super) fn is_served(media: &str, encoding: &str) -> bool {
    matches!((media, encoding), ("video", "h264" | "h265") | ("audio", "mpeg4-generic" | "pcmu" | "pcma" | "l16" | "g722"))
}

/// A stream's track; `None` as long as its parameters have not come.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn track(encoding: &str, clock_rate: u32, parameters: Option<ParametersRef<'_>>) -> Result<Option<LiveTrack>, LeftOut> {
    let codec = match parameters {
        None => return Ok(None),
        Some(ParametersRef::Video(parameters)) => video(parameters)?,
        Some(ParametersRef::Audio(parameters)) => audio(encoding, parameters)?,
        Some(_) => return Err("it is neither video nor audio".into()),
    };
    let timescale =
        ClockRate::new(clock_rate).filter(|clock| clock.hertz() >= LEAST_CLOCK).ok_or("it has no clock, or an impossible one")?;
    Ok(Some(LiveTrack { codec, timescale, language: None }))
}

fn video(parameters: &VideoParameters) -> Result<Codec, LeftOut> {
    let (width, height) = parameters.pixel_dimensions();
    let side = |length: u32| u16::try_from(length).unwrap_or(0);
    let size = PictureSize { width: side(width), height: side(height) };
    match parameters.codec_params() {
        VideoParametersCodec::H264 { sps, pps } => {
            let &[_, profile, constraints, level, ..] = &sps[..] else { return Err("its H.264 parameters are broken".into()) };
            Ok(Codec::H264(H264Config {
                framing: NalFraming::Length(4),
                profile_level_id: [profile, constraints, level],
                sequence_parameter_sets: vec![sps.to_vec()],
                picture_parameter_sets: vec![pps.to_vec()],
                width: size.width,
                height: size.height,
            }))
        }
        VideoParametersCodec::H265 { vps, sps, pps } => {
            // Profile, tier and level are read where the record has them.
            match crate::library::container::h265_record(parameters.extra_data(), size)? {
                Codec::H265(config) => Ok(Codec::H265(H265Config {
                    framing: NalFraming::Length(4),
                    video_parameter_sets: vec![vps.to_vec()],
                    sequence_parameter_sets: vec![sps.to_vec()],
                    picture_parameter_sets: vec![pps.to_vec()],
                    ..config
                })),
                other => Ok(other),
            }
        }
        _ => Err("pictures of that coding are not served from cameras".into()),
    }
}

fn audio(encoding: &str, parameters: &AudioParameters) -> Result<Codec, LeftOut> {
    let sample_rate = parameters.clock_rate();
    let channels = u8::try_from(NonZeroU16::get(parameters.channels())).map_err(|_| "it has too many channels")?;
    let plain = |sample| Codec::Pcm(PcmConfig { sample, sample_rate, channels });
    match encoding {
        "mpeg4-generic" => Ok(Codec::Aac(AacConfig { audio_specific_config: parameters.extra_data().to_vec(), sample_rate, channels })),
        "pcmu" => Ok(plain(PcmSample::MuLaw)),
        "pcma" => Ok(plain(PcmSample::ALaw)),
        "l16" => Ok(plain(PcmSample::Big16)),
        // Its clock counts half as many as there are samples (RFC 3551 section 4.5.2).
        "g722" => Ok(Codec::G722(SoundFormat { sample_rate: 16_000, channels })),
        _ => Err("sound of that coding is not served from cameras".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use retina::codec::Depacketizer;

    fn of(media: &str, encoding: &str, clock_rate: u32, parameters: Option<&str>) -> Result<Option<LiveTrack>, LeftOut> {
        let depacketizer = Depacketizer::new(media, encoding, clock_rate, NonZeroU16::new(1), parameters).expect("a format it knows");
        track(encoding, clock_rate, depacketizer.parameters())
    }

    #[test]
    fn sound_is_what_the_description_says() {
        let aac = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1188";
        let track = of("audio", "mpeg4-generic", 48_000, Some(aac)).expect("served").expect("known");
        let Codec::Aac(config) = track.codec else { panic!("{track:?}") };
        assert_eq!((config.audio_specific_config.as_slice(), config.sample_rate, config.channels), (&[0x11, 0x88][..], 48_000, 1));
        for (encoding, sample) in [("pcmu", PcmSample::MuLaw), ("pcma", PcmSample::ALaw)] {
            let track = of("audio", encoding, 8000, None).expect("served").expect("known");
            assert_eq!(track.codec, Codec::Pcm(PcmConfig { sample, sample_rate: 8000, channels: 1 }));
            assert_eq!(track.timescale.hertz(), 8000);
        }
    }

    #[test]
    fn what_is_not_known_yet_is_no_fault_and_what_is_not_served_is_named() {
        assert_eq!(of("video", "h264", 90_000, None), Ok(None));
        assert!(is_served("video", "h265") && !is_served("audio", "g723") && !is_served("application", "vnd.onvif.metadata"));
        assert!(of("audio", "g726-32", 8000, None).is_err());
    }
}
