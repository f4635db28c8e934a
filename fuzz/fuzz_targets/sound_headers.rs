//! Headers of sound out of noise, and access units of noise into packets of the formats for sound.

#![no_main]

use flowsteer::library::elementary::{ac3, mpeg_audio, opus, vorbis};
use flowsteer::library::{Codec, PcmConfig, PcmSample, SoundFormat, VorbisConfig};
use flowsteer::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    headers(input);
    let Some((&[settings, size], unit)) = input.split_first_chunk::<2>() else { return };
    let max_packet = 64 + usize::from(size) * 6;
    let format = SoundFormat { sample_rate: 48_000, channels: 1 + (settings >> 4 & 1) };
    let pcm = |sample| Codec::Pcm(PcmConfig { sample, sample_rate: 44_100, channels: 1 + (settings >> 4 & 7) });
    let codec = match settings & 15 {
        0 => Codec::Opus(format),
        1 => Codec::MpegAudio(format),
        2 => Codec::Ac3(format),
        3 => {
            let half = unit.len() / 2;
            let (comment, setup) = (unit[..half].to_vec(), unit[half..].to_vec());
            Codec::Vorbis(VorbisConfig { sample_rate: 44_100, channels: 2, identification: vec![1; 30], comment, setup })
        }
        4 => Codec::G722(SoundFormat { sample_rate: 16_000, channels: 1 }),
        5 => pcm(PcmSample::Unsigned8),
        6 => pcm(PcmSample::Little16),
        7 => pcm(PcmSample::Little24),
        8 => pcm(PcmSample::Big24),
        _ => pcm(PcmSample::MuLaw),
    };
    let Ok(payloader) = Payloader::new(&codec, max_packet) else { return };
    let mut buffer = PacketBuffer::default();
    if payloader.payload(unit, true, &mut buffer).is_err() {
        assert!(buffer.packets().is_empty() && buffer.octets().is_empty());
        return;
    }
    let (mut end, mut later) = (0, 0);
    for packet in buffer.packets() {
        assert_eq!(packet.range.start, end);
        assert!(packet.range.len() > RTP_HEADER_LEN && packet.range.len() <= max_packet);
        assert!(packet.later >= later);
        (end, later) = (packet.range.end, packet.later);
    }
    assert_eq!(end, buffer.octets().len());
    let _ = (payloader.encoding_name(), payloader.format_parameters());
});

fn headers(octets: &[u8]) {
    if let Some(header) = mpeg_audio::FrameHeader::parse(octets) {
        assert!((mpeg_audio::HEADER..=mpeg_audio::MAX_FRAME).contains(&header.frame_len()));
    }
    if let Some(frame) = ac3::SyncFrame::parse(octets) {
        assert!((ac3::HEADER..=ac3::MAX_FRAME).contains(&frame.frame_len) && frame.samples > 0);
    }
    let _ = (opus::OpusHead::parse(octets), opus::duration(octets));
    let about = vorbis::Identification::parse(octets);
    let about = about.unwrap_or(vorbis::Identification { channels: 2, sample_rate: 44_100, block_sizes: [256, 2_048] });
    if let Some(modes) = vorbis::Modes::parse(&about, octets) {
        let _ = (0..=255).filter_map(|first| modes.block_size(first)).count();
    }
}
