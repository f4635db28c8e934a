use super::*;
use crate::payload::PacketBuffer;

const HEADERS: &[u8] = &[0, 0, 1, 0xb0, 0xf5, 0, 0, 1, 0xb5, 9, 0, 0, 1, 0x20, 0x08];
const I: u8 = 0x00;
const P: u8 = 0x40;
const B: u8 = 0x80;

fn payloader(max_packet: usize) -> Mpeg4VisualPayloader {
    Mpeg4VisualPayloader::new(&Mpeg4VisualConfig { headers: HEADERS.to_vec(), width: 320, height: 240 }, max_packet)
}

fn vop(kind: u8, len: usize) -> Vec<u8> {
    [&[0, 0, 1, VOP, kind | 0x15][..], &vec![0x55; len]].concat()
}

fn sent(max_packet: usize, unit: &[u8]) -> Vec<Vec<u8>> {
    let mut buffer = PacketBuffer::default();
    payloader(max_packet).payload(unit, true, &mut buffer).expect("a VOP");
    assert!(buffer.packets().iter().rev().enumerate().all(|(behind, packet)| packet.marker == (behind == 0)));
    let payloads: Vec<Vec<u8>> =
        buffer.packets().iter().map(|packet| buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..].to_vec()).collect();
    assert_eq!(payloads.concat(), unit);
    assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
    payloads
}

#[test]
fn a_vop_fills_packets() {
    let sizes: Vec<usize> = sent(1_012, &vop(P, 2_500)).iter().map(Vec::len).collect();
    assert_eq!(sizes, [1_000, 1_000, 505]);
}

#[test]
fn headers_share_the_first_packet_and_are_not_split() {
    let group = [0, 0, 1, 0xb3, 1, 2, 3, 0, 0, 1, 0xb2, 9, 9, 9];
    let whole = [HEADERS, &group, &vop(I, 100)].concat();
    assert_eq!(sent(1_400, &whole).len(), 1);
    let tight = sent(64, &whole);
    assert!(tight[0].len() < 52 && tight[1].starts_with(&[0, 0, 1, VOP]), "the VOP's header would be split");
}

#[test]
fn each_vop_begins_a_packet() {
    let payloads = sent(1_400, &[vop(P, 30), vop(B, 20)].concat());
    assert_eq!(payloads, [vop(P, 30), vop(B, 20)]);
}

#[test]
fn disposable_is_what_is_predicted_in_both_directions() {
    let is = |unit: &[u8]| payloader(1_400).is_disposable(unit);
    assert!(is(&vop(B, 9)) && !is(&vop(P, 9)) && !is(&vop(I, 9)) && !is(&vop(0xc0, 9)));
    assert!(!is(&[vop(P, 9), vop(B, 9)].concat()) && !is(HEADERS) && !is(&[]) && !is(&[0, 0, 1, VOP]));
}

#[test]
fn the_description_holds_the_headers() {
    assert_eq!(payloader(1_400).encoding_name(), "MP4V-ES/90000");
    assert_eq!(payloader(1_400).format_parameters(), "profile-level-id=245;config=000001B0F5000001B5090000012008");
    let unknown = Mpeg4VisualPayloader::new(&Mpeg4VisualConfig { headers: Vec::new(), width: 0, height: 0 }, 1_400);
    assert_eq!(unknown.format_parameters(), "profile-level-id=1");
}
