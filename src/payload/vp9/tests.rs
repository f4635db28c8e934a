use super::*;
use crate::payload::PacketBuffer;

fn payloader(max_packet: usize) -> Vp9Payloader {
    Vp9Payloader::new(&Vp9Config { profile: 2, size: crate::library::PictureSize { width: 320, height: 240 } }, max_packet)
}

fn sent(max_packet: usize, unit: &[u8]) -> PacketBuffer {
    let mut buffer = PacketBuffer::default();
    payloader(max_packet).payload(unit, false, &mut buffer).expect("a frame");
    buffer
}

fn descriptors(buffer: &PacketBuffer) -> Vec<u8> {
    buffer.packets().iter().map(|packet| buffer.octets()[packet.range.start + RTP_HEADER_LEN]).collect()
}

/// The octets of these bits.
fn octets(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    bits.chunks(8).map(|octet| octet.iter().enumerate().fold(0, |value, (at, bit)| value | bit << (7 - at))).collect()
}

fn superframe(frames: &[Vec<u8>]) -> Vec<u8> {
    let marker = 0xc0 | 1 << 3 | (frames.len() as u8 - 1);
    let sizes = frames.iter().flat_map(|frame| (frame.len() as u16).to_le_bytes());
    let index: Vec<u8> = [marker].into_iter().chain(sizes).chain([marker]).collect();
    [frames.concat(), index].concat()
}

#[test]
fn begin_end_and_prediction_are_told() {
    let key = [octets("10 00 0 0 1 0"), vec![7; 2_000]].concat();
    let buffer = sent(1_012, &key);
    assert_eq!(descriptors(&buffer), [0x08, 0, 0x04]);
    assert_eq!(buffer.packets().iter().map(|packet| packet.marker).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(descriptors(&sent(1_400, &octets("10 00 0 1 1 0 00"))), [0x4c], "an inter frame");
    assert_eq!(descriptors(&sent(1_400, &octets("10 00 1 010"))), [0x4c], "a picture that is there already");
    assert_eq!(payloader(1_400).payload(&[], false, &mut PacketBuffer::default()), Err(PayloadError::Empty));
}

#[test]
fn disposable_is_what_leaves_nothing_behind() {
    let is = |unit: &[u8]| payloader(1_400).is_disposable(unit);
    let (kept, left) = (octets("10 00 0 1 1 1 00000100"), octets("10 00 0 1 1 1 00000000"));
    assert!(is(&left) && !is(&kept));
    assert!(!is(&octets("10 00 0 1 1 0 00 00000000")), "the next frame's motion vectors lean on it");
    assert!(!is(&octets("10 00 1 010")) && !is(&octets("10 00 0 0 1 1")) && !is(&[]) && !is(&[0xff]));
    assert!(is(&octets("10 11 0 0 1 1 1 00000000")), "profile 3 has a bit more");
    assert!(is(&superframe(&[left.clone(), left.clone()])));
    assert!(!is(&superframe(&[kept.clone(), left.clone()])) && !is(&superframe(&[left, kept])));
}

#[test]
fn a_superframe_that_lies_about_its_sizes_is_no_harm() {
    for noise in [&[0xc0, 0xff, 0xff, 0xc0][..], &[0xdf; 40], &[0xc7; 9], &[0xc0, 0xc0], &[0xc0]] {
        payloader(1_400).is_disposable(noise);
        assert_eq!(sent(1_400, noise).packets().len(), 1);
    }
}

#[test]
fn the_profile_is_told() {
    assert_eq!(payloader(1_000).format_parameters(), "profile-id=2");
}
