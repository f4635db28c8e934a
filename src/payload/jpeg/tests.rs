use super::*;
use crate::library::jpeg::tests::picture;
use crate::payload::PacketBuffer;

fn sent(max_packet: usize, unit: &[u8]) -> Vec<Vec<u8>> {
    let mut buffer = PacketBuffer::default();
    JpegPayloader::new(max_packet).expect("large enough").payload(unit, true, &mut buffer).expect("a picture");
    assert!(buffer.packets().iter().rev().enumerate().all(|(behind, packet)| packet.marker == (behind == 0)));
    assert!(buffer.packets().iter().all(|packet| packet.range.len() <= max_packet));
    buffer.packets().iter().map(|packet| buffer.octets()[packet.range.clone()][RTP_HEADER_LEN..].to_vec()).collect()
}

#[test]
fn the_first_packet_has_the_tables_and_each_says_where_it_lies() {
    let scan: Vec<u8> = (0..2_500).map(|at| (at % 200) as u8).collect();
    let payloads = sent(1_012, &picture(&scan, 0));
    assert_eq!(payloads[0][..8], [0, 0, 0, 0, 1, 255, 40, 23], "180 is 22.5 blocks");
    assert_eq!(payloads[0][8..12], [0, 0, 0, 128]);
    assert_eq!(payloads[0][12..140], [[1; 64], [2; 64]].concat());
    assert_eq!(payloads.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 8 + 2_500 - 860 - 992]);
    assert_eq!(payloads[1][..8], [0, 0, (860 >> 8) as u8, (860 & 255) as u8, 1, 255, 40, 23]);
    let received = [&payloads[0][140..], &payloads[1][8..], &payloads[2][8..]].concat();
    assert_eq!(received, scan);
}

#[test]
fn restart_intervals_are_told_in_each_packet() {
    let payloads = sent(400, &picture(&[5; 600], 20));
    assert_eq!(payloads[0][4..8], [65, 255, 40, 23]);
    assert!(payloads.iter().all(|payload| payload[8..12] == [0, 20, 0xff, 0xff]));
    assert_eq!(payloads[0][12..16], [0, 0, 0, 128]);
    assert_eq!([&payloads[0][144..], &payloads[1][12..]].concat(), [5; 600]);
}

#[test]
fn what_cannot_be_carried_is_refused() {
    assert_eq!(JpegPayloader::new(284).err(), Some(PayloadError::PacketSize(284)));
    let payloader = JpegPayloader::new(285).expect("room for two wide tables");
    let mut buffer = PacketBuffer::default();
    assert_eq!(payloader.payload(&[], true, &mut buffer), Err(PayloadError::Empty));
    assert_eq!(payloader.payload(&[0xff, 0xd8], true, &mut buffer), Err(PayloadError::Jpeg(JpegProblem::Broken)));
    let large = picture(&vec![3; Picture::MAX_SCAN + 1], 0);
    assert_eq!(
        payloader.payload(&large, true, &mut buffer),
        Err(PayloadError::TooLarge { size: Picture::MAX_SCAN + 1, limit: Picture::MAX_SCAN })
    );
    assert!(buffer.packets().is_empty());
}
