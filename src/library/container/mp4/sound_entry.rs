//! Sample descriptions of sound other than MPEG-4's own: Opus (Encapsulation of Opus in ISO Base Media File Format, section 4.3.2), AC-3
//! (ETSI TS 102 366 annex F), MPEG audio, and uncompressed samples as QuickTime has them (QuickTime File Format, Sound Media).

use crate::library::codec::{Codec, PcmConfig, PcmSample, SoundFormat};
use crate::library::container::mp4::boxes::{Boxes, find};
use crate::library::elementary::opus;

/// Octets of an audio sample entry before its boxes (version 0), and of what versions 1 and 2 add.
const ENTRY: usize = 28;
const VERSION_1: usize = 16;
const VERSION_2: usize = 36;
/// Channels that are taken.
const MAX_CHANNELS: u16 = 8;

/// The codec of an entry of that kind; `None` where it is of another kind.
pub fn codec(kind: [u8; 4], entry: &[u8]) -> Option<Result<Codec, String>> {
    Some(match &kind {
        b"Opus" => opus(entry),
        b"ac-3" => ac3(entry),
        b".mp3" | b"ms\0U" => format(entry).map(Codec::MpegAudio),
        b"ulaw" => pcm(entry, PcmSample::MuLaw),
        b"alaw" => pcm(entry, PcmSample::ALaw),
        b"raw " => pcm(entry, PcmSample::Unsigned8),
        b"sowt" => sixteen_bits(entry, PcmSample::Little16),
        b"twos" => sixteen_bits(entry, PcmSample::Big16),
        b"in24" => pcm(entry, if is_little_endian(entry) { PcmSample::Little24 } else { PcmSample::Big24 }),
        b"lpcm" => linear(entry),
        _ => return None,
    })
}

/// Sampling rate and channels of an entry.
///
/// # Errors
/// Why the track cannot be sent, as the end of a sentence.
pub fn format(entry: &[u8]) -> Result<SoundFormat, String> {
    let cut = "its sample description is cut short";
    let (sample_rate, channels) = match version(entry) {
        2 => {
            let fields = entry.get(ENTRY..ENTRY + VERSION_2).ok_or(cut)?;
            let rate = fields.get(4..12).and_then(|rate| rate.first_chunk()).map_or(0.0, |rate| f64::from_be_bytes(*rate));
            // Not-a-number and what is too large become no rate at all.
            let rate = if rate.fract() == 0.0 && (0.0..4e9).contains(&rate) { rate as u32 } else { 0 };
            (rate, number(fields, 14).unwrap_or(0))
        }
        _ => (u32::from(number(entry, 24).ok_or(cut)?), number(entry, 16).ok_or(cut)?),
    };
    let channels = u8::try_from(channels).ok().filter(|channels| (1..=MAX_CHANNELS).contains(&u16::from(*channels)));
    let channels = channels.ok_or("so many channels are not supported")?;
    if sample_rate == 0 {
        return Err("its sampling rate is not known".into());
    }
    Ok(SoundFormat { sample_rate, channels })
}

fn version(entry: &[u8]) -> u16 {
    number(entry, 8).unwrap_or(0)
}

fn number(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|number| u16::from_be_bytes(*number))
}

/// The boxes behind the fields.
fn boxes(entry: &[u8]) -> &[u8] {
    let extra = match version(entry) {
        1 => VERSION_1,
        2 => VERSION_2,
        _ => 0,
    };
    entry.get(ENTRY + extra..).unwrap_or_default()
}

fn opus(entry: &[u8]) -> Result<Codec, String> {
    let body = find(boxes(entry), b"dOps").ok_or("its Opus configuration is missing")?;
    match body {
        [0, channels @ 1..=2, _, _, _, _, _, _, _, _, 0, ..] => {
            Ok(Codec::Opus(SoundFormat { sample_rate: opus::SAMPLE_RATE, channels: *channels }))
        }
        [0, channels, ..] => Err(format!("Opus with {channels} channels is not supported")),
        _ => Err("its Opus configuration is broken".into()),
    }
}

fn ac3(entry: &[u8]) -> Result<Codec, String> {
    let Some(&[first, second, _]) = find(boxes(entry), b"dac3").and_then(|body| body.first_chunk::<3>()) else {
        return Err("its AC-3 configuration is missing".into());
    };
    let sample_rate = match first >> 6 {
        0 => 48_000,
        1 => 44_100,
        2 => 32_000,
        _ => return Err("its AC-3 configuration is broken".into()),
    };
    let channels = [2, 1, 2, 3, 3, 4, 4, 5][usize::from(second >> 3 & 7)] + (second >> 2 & 1);
    Ok(Codec::Ac3(SoundFormat { sample_rate, channels }))
}

fn pcm(entry: &[u8], sample: PcmSample) -> Result<Codec, String> {
    let SoundFormat { sample_rate, channels } = format(entry)?;
    Ok(Codec::Pcm(PcmConfig { sample, sample_rate, channels }))
}

fn sixteen_bits(entry: &[u8], sample: PcmSample) -> Result<Codec, String> {
    match number(entry, 18) {
        Some(16) => pcm(entry, sample),
        Some(bits) => Err(format!("samples of {bits} bits are not supported")),
        None => Err("its sample description is cut short".into()),
    }
}

/// An `enda` box in a `wave` box says so.
fn is_little_endian(entry: &[u8]) -> bool {
    let wave = Boxes::new(boxes(entry)).find(|(kind, _)| kind == b"wave").map(|(_, body)| body);
    wave.and_then(|wave| find(wave, b"enda")).and_then(|enda| number(enda, 0)) == Some(1)
}

/// Version 2: whole, signed, packed samples of 16 or 24 bits.
fn linear(entry: &[u8]) -> Result<Codec, String> {
    let fields = entry.get(ENTRY..ENTRY + VERSION_2).filter(|_| version(entry) == 2).ok_or("its sample description is cut short")?;
    let long = |at: usize| fields.get(at..).and_then(|long| long.first_chunk()).map_or(0, |long| u32::from_be_bytes(*long));
    let (bits, flags) = (long(20), long(24));
    let is_big = flags & 2 != 0;
    // A floating point, no sign, unused bits between samples, channels apart.
    if flags & 0x21 != 0 || flags & 4 == 0 {
        return Err("its samples are not supported".into());
    }
    match (bits, is_big) {
        (16, true) => pcm(entry, PcmSample::Big16),
        (16, false) => pcm(entry, PcmSample::Little16),
        (24, true) => pcm(entry, PcmSample::Big24),
        (24, false) => pcm(entry, PcmSample::Little24),
        _ => Err(format!("samples of {bits} bits are not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::container::mp4::tests::boxed;

    fn entry(channels: u16, bits: u16, rate: u16, boxes: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; ENTRY];
        entry[16..18].copy_from_slice(&channels.to_be_bytes());
        entry[18..20].copy_from_slice(&bits.to_be_bytes());
        entry[24..26].copy_from_slice(&rate.to_be_bytes());
        [&entry, boxes].concat()
    }

    /// Version 2, with a rate, channels, bits and flags of its own.
    fn long_entry(rate: f64, channels: u32, bits: u32, flags: u32) -> Vec<u8> {
        let mut entry = entry(3, 16, 1, &[]);
        entry[9] = 2;
        let fields = [&72u32.to_be_bytes()[..], &rate.to_be_bytes(), &channels.to_be_bytes(), &[0x7f, 0, 0, 0], &bits.to_be_bytes()];
        [entry, fields.concat(), flags.to_be_bytes().to_vec(), vec![0; 8]].concat()
    }

    fn read(kind: &[u8; 4], entry: &[u8]) -> Result<Codec, String> {
        codec(*kind, entry).expect("of this kind")
    }

    #[test]
    fn opus_and_ac3_have_boxes_of_their_own() {
        let dops = |channels: u8, family: u8| boxed(b"dOps", [0, channels, 1, 56, 0, 0, 0xbb, 0x80, 0, 0, family]);
        let stereo = SoundFormat { sample_rate: 48_000, channels: 2 };
        assert_eq!(read(b"Opus", &entry(2, 16, 48_000, &dops(2, 0))), Ok(Codec::Opus(stereo)));
        assert_eq!(read(b"Opus", &entry(6, 16, 48_000, &dops(6, 1))), Err("Opus with 6 channels is not supported".into()));
        assert_eq!(read(b"Opus", &entry(2, 16, 48_000, &[])), Err("its Opus configuration is missing".into()));
        let dac3 = boxed(b"dac3", [0x50, 0x3d, 0xe0]);
        assert_eq!(read(b"ac-3", &entry(2, 16, 48_000, &dac3)), Ok(Codec::Ac3(SoundFormat { sample_rate: 44_100, channels: 6 })));
        assert_eq!(read(b"ac-3", &entry(2, 16, 48_000, &boxed(b"dac3", [0x10]))), Err("its AC-3 configuration is missing".into()));
        assert_eq!(read(b".mp3", &entry(1, 16, 22_050, &[])), Ok(Codec::MpegAudio(SoundFormat { sample_rate: 22_050, channels: 1 })));
        assert!(codec(*b"fLaC", &entry(2, 16, 48_000, &[])).is_none());
    }

    #[test]
    fn samples_are_told_by_the_kind_and_the_bits() {
        let pcm = |sample, sample_rate, channels| Ok(Codec::Pcm(PcmConfig { sample, sample_rate, channels }));
        assert_eq!(read(b"sowt", &entry(2, 16, 44_100, &[])), pcm(PcmSample::Little16, 44_100, 2));
        assert_eq!(read(b"twos", &entry(1, 16, 8_000, &[])), pcm(PcmSample::Big16, 8_000, 1));
        assert_eq!(read(b"twos", &entry(1, 8, 8_000, &[])), Err("samples of 8 bits are not supported".into()));
        assert_eq!(read(b"ulaw", &entry(1, 16, 8_000, &[])), pcm(PcmSample::MuLaw, 8_000, 1));
        assert_eq!(read(b"in24", &entry(2, 16, 48_000, &[])), pcm(PcmSample::Big24, 48_000, 2));
        let little = boxed(b"wave", boxed(b"enda", [0, 1]));
        assert_eq!(read(b"in24", &entry(2, 16, 48_000, &little)), pcm(PcmSample::Little24, 48_000, 2));
        assert_eq!(read(b"sowt", &entry(9, 16, 44_100, &[])), Err("so many channels are not supported".into()));
        assert_eq!(read(b"sowt", &entry(1, 16, 0, &[])), Err("its sampling rate is not known".into()));
        assert_eq!(read(b"sowt", &[0; 19]), Err("its sample description is cut short".into()));
    }

    #[test]
    fn the_long_description_has_rates_beyond_sixteen_bits() {
        let pcm = |sample| Ok(Codec::Pcm(PcmConfig { sample, sample_rate: 96_000, channels: 2 }));
        assert_eq!(read(b"lpcm", &long_entry(96_000.0, 2, 24, 0x0e)), pcm(PcmSample::Big24));
        assert_eq!(read(b"lpcm", &long_entry(96_000.0, 2, 16, 0x0c)), pcm(PcmSample::Little16));
        assert_eq!(read(b"lpcm", &long_entry(96_000.0, 2, 32, 0x0c)), Err("samples of 32 bits are not supported".into()));
        assert_eq!(read(b"lpcm", &long_entry(96_000.0, 2, 32, 0x09)), Err("its samples are not supported".into()));
        for rate in [f64::NAN, f64::INFINITY, -1.0, 1e12, 0.5] {
            assert_eq!(read(b"lpcm", &long_entry(rate, 2, 16, 0x0c)), Err("its sampling rate is not known".into()));
        }
        assert_eq!(read(b"lpcm", &entry(2, 16, 48_000, &[])), Err("its sample description is cut short".into()));
    }
}
