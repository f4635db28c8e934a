//! How long access units take to become packets, and packets to get their headers: `cargo bench --bench payload`.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use flowsteer::library::{AacConfig, Codec, H264Config};
use flowsteer::payload::{PacketBuffer, Payloader, RTP_HEADER_LEN};
use rtp::header::Header;
use webrtc_util::marshal::Marshal;

fn main() {
    divan::main();
}

fn h264() -> Payloader {
    let config = H264Config {
        framing: flowsteer::library::NalFraming::Length(4),
        profile_level_id: [0x4d, 0x40, 0x1e],
        sequence_parameter_sets: vec![vec![0x67; 24]],
        picture_parameter_sets: vec![vec![0x68; 5]],
        width: 1_280,
        height: 720,
    };
    Payloader::new(&Codec::H264(config), 1_400).expect("a sound configuration")
}

/// A delimiter, a SEI message and one slice: `octets` in all, about.
fn unit(octets: usize) -> Vec<u8> {
    let nal = |header: u8, len: usize| [&(len as u32).to_be_bytes()[..], &[header], &vec![7; len - 1]].concat();
    [nal(0x09, 2), nal(0x06, 30), nal(0x65, octets)].concat()
}

/// A key picture of 100 KB, a picture of 16 KB, one of 1 KB.
#[divan::bench(args = [100_000, 16_000, 1_000])]
fn picture(bencher: Bencher<'_, '_>, octets: usize) {
    let (payloader, unit, mut buffer) = (h264(), unit(octets), PacketBuffer::default());
    bencher.counter(BytesCount::new(octets)).bench_local(|| {
        buffer.clear();
        payloader.payload(&unit, octets > 50_000, &mut buffer).expect("a sound access unit");
        buffer.runs(0..buffer.packets().len(), 64, 65_000).count()
    });
}

#[divan::bench]
fn frame_of_sound(bencher: Bencher<'_, '_>) {
    let config = AacConfig { audio_specific_config: vec![0x11, 0x90], sample_rate: 48_000, channels: 2 };
    let payloader = Payloader::new(&Codec::Aac(config), 1_400).expect("a sound configuration");
    let mut buffer = PacketBuffer::default();
    bencher.bench_local(|| {
        buffer.clear();
        payloader.payload(&[7; 371], true, &mut buffer).expect("a sound access unit");
        buffer.packets().len()
    });
}

/// Packets of a picture of this film's rate.
const PACKETS: u16 = 12;

fn header(sequence_number: u16) -> Header {
    Header { version: 2, payload_type: 96, ssrc: 0x5a5a_0001, timestamp: 90_000, sequence_number, ..Header::default() }
}

/// The headers of a picture's packets, each written by the `rtp` crate.
#[divan::bench]
fn headers_of_a_picture_by_the_crate(bencher: Bencher<'_, '_>) {
    let mut arena = Vec::with_capacity(usize::from(PACKETS) * RTP_HEADER_LEN);
    bencher.bench_local(|| {
        arena.clear();
        for number in 0..black_box(PACKETS) {
            let header = Header { marker: number + 1 == PACKETS, ..header(number) };
            let mut octets = [0; RTP_HEADER_LEN];
            header.marshal_to(&mut octets).expect("it fits");
            arena.extend_from_slice(&octets);
        }
        arena.len()
    });
}

/// The same, the first written by the crate, the others after it as the data plane does it: they differ in number and marker.
#[divan::bench]
fn headers_of_a_picture_ahead(bencher: Bencher<'_, '_>) {
    let mut arena = Vec::with_capacity(usize::from(PACKETS) * RTP_HEADER_LEN);
    let mut template = header(0);
    bencher.bench_local(|| {
        arena.clear();
        template.sequence_number = black_box(0);
        let mut octets = [0; RTP_HEADER_LEN];
        template.marshal_to(&mut octets).expect("it fits");
        let [first, kind, high, low, rest @ ..] = octets;
        let mut sequence = u16::from_be_bytes([high, low]);
        for number in 0..black_box(PACKETS) {
            let [high, low] = sequence.to_be_bytes();
            arena.extend_from_slice(&[first, kind | u8::from(number + 1 == PACKETS) << 7, high, low]);
            arena.extend_from_slice(&rest);
            sequence = sequence.wrapping_add(1);
        }
        arena.len()
    });
}
