//! Access units of noise into packets; what comes out must be sendable and put together what went in.

#![no_main]

use flowsteer::library::{
    AacConfig, Av1Config, Codec, H264Config, H265Config, H265Profile, Mpeg4VisualConfig, NalFraming, PictureSize, Vp9Config,
};
use flowsteer::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use libfuzzer_sys::fuzz_target;

/// One of the other video codecs.
fn video(which: u8) -> Codec {
    let size = PictureSize { width: 320, height: 240 };
    // SVT-AV1's, of 320 by 240.
    let sequence_header = vec![0x0a, 0x0b, 0, 0, 0, 0x04, 0x3c, 0xff, 0xbc, 0xfb, 0xf9, 0, 0x40];
    match which {
        0 => Codec::Vp8(size),
        1 => Codec::Vp9(Vp9Config { profile: 0, size }),
        2 => Codec::Mpeg4Visual(Mpeg4VisualConfig { headers: vec![0, 0, 1, 0xb0, 1], width: 320, height: 240 }),
        3 => Codec::Mpeg2Video(size),
        4 => Codec::Jpeg(size),
        _ => Codec::Av1(Av1Config { profile: 0, level_idx: 0, tier: 0, sequence_header, width: 320, height: 240 }),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[settings, size], unit)) = input.split_first_chunk::<2>() else { return };
    let max_packet = 64 + usize::from(size) * 6;
    let framing = |length: u8| if settings & 0x40 == 0 { NalFraming::Length(1 << (length - 1)) } else { NalFraming::StartCodes };
    let codec = match settings & 3 {
        _ if settings & 0x80 != 0 => video(settings >> 4 & 7),
        0 => Codec::Aac(AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 }),
        length if settings & 8 != 0 => Codec::H265(H265Config {
            framing: framing(length),
            profile: H265Profile { space: 0, idc: 1, is_high_tier: false, level_idc: 93, constraints: [0; 6] },
            temporal_layers: settings >> 4 & 7,
            video_parameter_sets: vec![vec![0x40, 1, 2]],
            sequence_parameter_sets: vec![vec![0x42, 1, 2, 3]],
            picture_parameter_sets: vec![vec![0x44, 1]],
            messages: vec![vec![0x4e, 1, 137, 1, 7, 0x80]],
            width: 0,
            height: 0,
        }),
        length => Codec::H264(H264Config {
            framing: framing(length),
            profile_level_id: [0x4d, 0x40, 0x1e],
            sequence_parameter_sets: vec![vec![0x67, 1, 2, 3]],
            picture_parameter_sets: vec![vec![0x68, 1]],
            width: 0,
            height: 0,
        }),
    };
    let random_access = settings & 4 != 0;
    let Ok(payloader) = Payloader::new(&codec, max_packet) else {
        assert!(matches!(codec, Codec::Jpeg(_)) && max_packet < 300);
        return;
    };
    let mut buffer = PacketBuffer::default();
    let done = payloader.payload(unit, random_access, &mut buffer);
    if done.is_err() {
        assert!(buffer.packets().is_empty() && buffer.octets().is_empty());
        return;
    }
    let (last, before) = buffer.packets().split_last().expect("a packet");
    assert!(last.marker && before.iter().all(|packet| !packet.marker));
    let mut end = 0;
    for packet in buffer.packets() {
        assert_eq!(packet.range.start, end);
        assert!(packet.range.len() > RTP_HEADER_LEN && packet.range.len() <= max_packet);
        end = packet.range.end;
    }
    assert_eq!(end, buffer.octets().len());
    if let Codec::Aac(_) = codec {
        let payloads = buffer.packets().iter().flat_map(|packet| &buffer.octets()[packet.range.clone()][RTP_HEADER_LEN + 4..]);
        assert!(payloads.eq(unit));
    }
    payloader.is_disposable(unit);
    assert!(payloader.format_parameters().len() < 400);
    let octets: usize = buffer.runs(0..buffer.packets().len(), 64, 65_000).map(|run| run.range.len()).sum();
    assert_eq!(octets, end);
    let before = buffer.packets().len();
    let filled = payloader.fill_up(usize::from(size), &mut buffer);
    assert_eq!(buffer.packets().len(), before + if filled { usize::from(size) } else { 0 });
    assert_eq!(buffer.packets().iter().filter(|packet| packet.marker).count(), 1);
});
