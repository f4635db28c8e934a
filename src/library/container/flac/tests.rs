use super::*;
use crate::quantities::MediaTime;

/// The file of RFC 9639 appendix D.1: one sample of two channels, 25,588 and 10,416.
const EXAMPLE: [u8; 57] = [
    0x66, 0x4c, 0x61, 0x43, 0x80, 0x00, 0x00, 0x22, 0x10, 0x00, 0x10, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x0f, 0x0a, 0xc4, 0x42, 0xf0,
    0x00, 0x00, 0x00, 0x01, 0x3e, 0x84, 0xb4, 0x18, 0x07, 0xdc, 0x69, 0x03, 0x07, 0x58, 0x6a, 0x3d, 0xad, 0x1a, 0x2e, 0x0f, 0xff, 0xf8,
    0x69, 0x18, 0x00, 0x00, 0xbf, 0x03, 0x58, 0xfd, 0x03, 0x12, 0x8b, 0xaa, 0x9a,
];

fn parse_octets(octets: Vec<u8>) -> Result<Title, Problem> {
    assert!(sniff(&octets));
    parse(Arc::new(octets), TitlePath::new("a.flac").expect("a path"))
}

fn checksum(octets: &[u8], bits: u32, polynomial: u32) -> u32 {
    let (top, mask) = (1 << (bits - 1), if bits == 16 { 0xffff } else { 0xff });
    octets.iter().fold(0u32, |sum, octet| {
        (0..8).fold(sum ^ u32::from(*octet) << (bits - 8), |sum, _| (if sum & top != 0 { sum << 1 ^ polynomial } else { sum << 1 }) & mask)
    })
}

/// A frame of 192 samples of one channel with 16 bits, all of that value.
fn frame(number: u8, value: i16) -> Vec<u8> {
    let mut octets = vec![0xff, 0xf8, 0x19, 0x08, number];
    octets.push(checksum(&octets, 8, 7) as u8);
    octets.push(0);
    octets.extend(value.to_be_bytes());
    octets.extend((checksum(&octets, 16, 0x8005) as u16).to_be_bytes());
    octets
}

/// A file of such frames that says how many samples there are.
fn file(frames: &[Vec<u8>], samples: u32) -> Vec<u8> {
    let info = [&[0, 192, 0, 192, 0, 0, 11, 0, 0, 11, 0x0a, 0xc4, 0x40, 0xf0][..], &samples.to_be_bytes(), &[0; 16]].concat();
    [b"fLaC\0\0\0\x22", &info[..], b"\x84\0\0\x05other", &frames.concat()].concat()
}

fn heard(title: &Title, position: usize) -> io::Result<Vec<u8>> {
    let track = &title.tracks[0];
    let unit = track.access_unit(position).expect("within");
    let mut octets = vec![0; unit.size as usize];
    track.read(title.source.as_ref(), &[unit], &mut octets)?;
    Ok(octets)
}

#[test]
fn the_example_of_the_rfc_is_heard() {
    let title = parse_octets(EXAMPLE.to_vec()).expect("sound");
    let config = PcmConfig { sample: PcmSample::Big16, sample_rate: 44_100, channels: 2 };
    assert_eq!((title.tracks[0].codec.clone(), title.tracks[0].len()), (Codec::Pcm(config), 1));
    assert_eq!(heard(&title, 0).expect("decodes"), [25_588i16.to_be_bytes(), 10_416i16.to_be_bytes()].concat());
    assert_eq!((title.remark, title.duration), (None, MediaTime::from_nanos(22_676)));
}

#[test]
fn each_frame_is_an_access_unit_of_its_samples() {
    let title = parse_octets(file(&[frame(0, 5), frame(1, -1), frame(2, 300)], 576)).expect("sound");
    let track = &title.tracks[0];
    let units: Vec<_> = (0..3).map(|position| track.access_unit(position).expect("within")).collect();
    assert_eq!(
        units.iter().map(|unit| (unit.size, unit.decode_time, unit.duration)).collect::<Vec<_>>(),
        [(384, 0, 192), (384, 192, 192), (384, 384, 192)]
    );
    assert_eq!(title.remark, None);
    for (position, value) in [(1, -1i16), (0, 5), (2, 300)] {
        assert_eq!(heard(&title, position).expect("decodes"), value.to_be_bytes().repeat(192));
    }
}

#[test]
fn a_frame_with_a_wrong_checksum_gives_an_error_and_no_noise() {
    let mut octets = file(&[frame(0, 5), frame(1, 6)], 384);
    let at = octets.len() - 4;
    octets[at] ^= 1;
    let title = parse_octets(octets).expect("sound");
    assert!(heard(&title, 0).is_ok());
    assert_eq!(heard(&title, 1).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
}

#[test]
fn missing_frames_are_told() {
    let gap = parse_octets(file(&[frame(0, 5), frame(2, 6), frame(3, 7)], 768)).expect("sound");
    assert!(gap.remark.is_some());
    assert_eq!((gap.tracks[0].len(), heard(&gap, 1).expect("decodes")), (3, 6i16.to_be_bytes().repeat(192)));
    let cut = parse_octets(file(&[frame(0, 5), frame(1, 6)[..9].to_vec()], 384)).expect("sound");
    assert!(cut.remark.is_none(), "its length is right");
    assert!(heard(&cut, 1).is_err());
    let short = parse_octets(file(&[frame(0, 5)], 384)).expect("sound");
    assert!(short.remark.is_some());
    let unknown = parse_octets(file(&[frame(0, 5), frame(1, 5)], 0)).expect("sound");
    assert!(unknown.remark.is_none());
    let many: Vec<_> = (0..40).map(|number| frame(2 * number, 5)).collect();
    assert_eq!(parse_octets(file(&many, 0)).expect("sound").tracks[0].len(), 1 + MAX_GAPS);
    let tagged = [file(&[frame(0, 5)], 192), b"TAG".to_vec(), vec![0xff; 125]].concat();
    assert_eq!(heard(&parse_octets(tagged).expect("sound"), 0).expect("decodes").len(), 384);
}

#[test]
fn broken_files_have_a_problem() {
    let why = |octets: Vec<u8>| parse_octets(octets).err().map(|problem| problem.reason);
    assert_eq!(why(b"fLaC".to_vec()), Some("the file is cut short: it ends before its sound".into()));
    assert_eq!(why(b"fLaC\x84\0\0\0".to_vec()), Some("the file has no description of its sound (STREAMINFO)".into()));
    assert_eq!(why(b"fLaC\x80\0\0\x22abc".to_vec()), Some("the file has no description of its sound (STREAMINFO)".into()));
    assert_eq!(why(file(&[], 0)), Some("the audio track is left out: it is empty".into()));
    let mut many_bits = EXAMPLE;
    (many_bits[20], many_bits[21]) = (0x43, 0xf0);
    assert_eq!(why(many_bits.to_vec()), Some("the audio track is left out: samples of 32 bits are not supported".into()));
    let mut no_rate = EXAMPLE;
    (no_rate[18], no_rate[19], no_rate[20]) = (0, 0, 2);
    assert_eq!(why(no_rate.to_vec()), Some("the audio track is left out: a sampling rate of 0 Hz is not supported".into()));
}
