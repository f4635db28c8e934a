//! Program association and program map tables (ISO/IEC 13818-1 sections 2.4.4.3 and 2.4.4.8), with what their descriptors say.

/// Octets of a section at most (section 2.4.4.10).
const MAX_SECTION: usize = 1_024;
/// Octets of a section before its table, and of the check behind it.
const HEADER: usize = 8;
const CHECK: usize = 4;
/// Programs, and streams of a program, that are looked at.
const MAX_PROGRAMS: usize = 64;
const MAX_STREAMS: usize = 64;

const PROGRAM_ASSOCIATION: u8 = 0;
const PROGRAM_MAP: u8 = 2;

/// Descriptor tags.
const REGISTRATION: u8 = 0x05;
const LANGUAGE: u8 = 0x0a;
const DVB_AC3: u8 = 0x6a;
/// Of DVB's extensions, the one about Opus (ETSI TS 103 491).
const EXTENSION: u8 = 0x7f;
const OF_OPUS: u8 = 0x80;

/// Puts the sections of a PID together.
#[derive(Debug, Default)]
pub struct Sections {
    octets: Vec<u8>,
    is_open: bool,
}

impl Sections {
    /// Takes the payload of the next packet; gives each table that is whole to `done`: its id, table_id_extension and body.
    pub fn feed(&mut self, payload: &[u8], starts: bool, done: &mut impl FnMut(u8, u16, &[u8])) {
        let mut rest = payload;
        if starts {
            // pointer_field: so many octets still belong to the section before.
            let Some((pointer, behind)) = payload.split_first() else { return };
            let Some((before, behind)) = behind.split_at_checked(usize::from(*pointer)) else { return };
            self.extend(before, done);
            self.octets.clear();
            self.is_open = true;
            rest = behind;
        }
        self.extend(rest, done);
    }

    fn extend(&mut self, octets: &[u8], done: &mut impl FnMut(u8, u16, &[u8])) {
        if !self.is_open {
            return;
        }
        self.octets.extend_from_slice(octets);
        while let &[kind, high, low, ..] = &self.octets[..] {
            let len = 3 + (usize::from(high & 0xf) << 8 | usize::from(low));
            if kind == 0xff || len > MAX_SECTION {
                self.octets.clear();
                self.is_open = false;
                return;
            }
            let Some(section) = self.octets.get(..len) else { return };
            if let Some((extension, body)) = table(section) {
                done(kind, extension, body);
            }
            self.octets.drain(..len);
        }
    }
}

/// table_id_extension and body of a section that is in force and undamaged.
fn table(section: &[u8]) -> Option<(u16, &[u8])> {
    let &[_, _, _, high, low, version, ..] = section.first_chunk::<HEADER>()?;
    let is_current = version & 1 == 1;
    let body = section.get(HEADER..section.len().checked_sub(CHECK)?)?;
    (is_current && checksum(section) == 0).then_some((u16::from_be_bytes([high, low]), body))
}

/// CRC-32 as in annex A: zero over a section with its check.
pub(super) fn checksum(octets: &[u8]) -> u32 {
    octets.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet) << 24, |crc, _| if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 })
    })
}

/// Programs and the PIDs of their maps.
pub fn programs(kind: u8, body: &[u8]) -> Vec<(u16, u16)> {
    if kind != PROGRAM_ASSOCIATION {
        return Vec::new();
    }
    let entries =
        body.chunks_exact(4).map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), u16::from_be_bytes([entry[2] & 0x1f, entry[3]])));
    entries.filter(|(program, _)| *program != 0).take(MAX_PROGRAMS).collect()
}

/// How a stream is coded, as its program map says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ISO/IEC 14496-10.
    H264,
    /// ISO/IEC 23008-2.
    H265,
    /// ISO/IEC 11172-2 and 13818-2.
    MpegVideo,
    /// ISO/IEC 14496-2.
    Mpeg4Visual,
    /// AAC with ADTS headers.
    Adts,
    /// AAC in LATM.
    Latm,
    /// Layers I to III.
    MpegAudio,
    /// ETSI TS 102 366.
    Ac3,
    /// RFC 6716 behind control headers, of so many channels: one or two.
    Opus(u8),
    /// Something that is not sent.
    Other(&'static str),
    /// Something unknown, by its stream_type.
    Unknown(u8),
}

/// One stream of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its PID.
    pub pid: u16,
    /// How it is coded.
    pub kind: Kind,
    /// ISO 639 code.
    pub language: Option<String>,
}

/// The streams of a program.
pub fn streams(kind: u8, body: &[u8]) -> Option<Vec<Stream>> {
    let &[_, _, high, low] = body.first_chunk::<4>().filter(|_| kind == PROGRAM_MAP)?;
    let mut rest = body.get(4 + length(high, low)..)?;
    let mut streams = Vec::new();
    while let Some((&[stream_type, pid_high, pid_low, high, low], behind)) = rest.split_first_chunk::<5>() {
        let (descriptors, behind) = behind.split_at_checked(length(high, low))?;
        if streams.len() < MAX_STREAMS {
            let pid = u16::from_be_bytes([pid_high & 0x1f, pid_low]);
            streams.push(Stream { pid, kind: coding(stream_type, descriptors), language: language(descriptors) });
        }
        rest = behind;
    }
    Some(streams)
}

/// PCR_PID: of the packets that have the program's clock.
pub fn clock_pid(kind: u8, body: &[u8]) -> Option<u16> {
    let &[high, low] = body.first_chunk::<2>().filter(|_| kind == PROGRAM_MAP)?;
    Some(u16::from_be_bytes([high & 0x1f, low]))
}

/// Whether the payload of a packet in which a section begins has all of it.
pub fn is_whole(payload: &[u8]) -> bool {
    let section = payload.split_first().and_then(|(pointer, behind)| behind.get(usize::from(*pointer)..));
    matches!(section, Some(&[_, high, low, ..]) if section.is_some_and(|section| section.len() >= 3 + length(high, low)))
}

fn length(high: u8, low: u8) -> usize {
    usize::from(high & 0xf) << 8 | usize::from(low)
}

fn coding(stream_type: u8, descriptors: &[u8]) -> Kind {
    let registered = descriptor(descriptors, REGISTRATION).and_then(|body| body.first_chunk::<4>());
    match (stream_type, registered) {
        (0x1b, _) => Kind::H264,
        (0x24, _) => Kind::H265,
        (0x0f, _) => Kind::Adts,
        (0x11, _) => Kind::Latm,
        (0x03 | 0x04, _) => Kind::MpegAudio,
        (0x81, _) | (0x06, Some(b"AC-3")) => Kind::Ac3,
        (0x06, Some(b"HEVC")) => Kind::H265,
        (0x06, _) if descriptor(descriptors, DVB_AC3).is_some() => Kind::Ac3,
        (0x06, Some(b"Opus")) => match descriptor(descriptors, EXTENSION) {
            Some(&[OF_OPUS, channels @ 1..=2, ..]) => Kind::Opus(channels),
            _ => Kind::Other("Opus of more than two channels"),
        },
        (0x06, _) if descriptor(descriptors, 0x7a).is_some() => Kind::Other("E-AC-3"),
        (0x06, _) if descriptor(descriptors, 0x59).is_some() => Kind::Other("DVB subtitles"),
        (0x06, _) if descriptor(descriptors, 0x56).is_some() => Kind::Other("teletext"),
        (0x01 | 0x02, _) => Kind::MpegVideo,
        (0x10, _) => Kind::Mpeg4Visual,
        (0x82 | 0x85 | 0x8a, _) => Kind::Other("DTS"),
        (0x83, _) => Kind::Other("TrueHD"),
        (0x84 | 0x87, _) => Kind::Other("E-AC-3"),
        (0x90, _) => Kind::Other("subtitles in pictures"),
        (0xea, _) => Kind::Other("VC-1"),
        _ => Kind::Unknown(stream_type),
    }
}

/// The body of the first descriptor with that tag.
fn descriptor(mut descriptors: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((&[tag, len], behind)) = descriptors.split_first_chunk::<2>() {
        let (body, behind) = behind.split_at_checked(usize::from(len))?;
        if tag == wanted {
            return Some(body);
        }
        descriptors = behind;
    }
    None
}

fn language(descriptors: &[u8]) -> Option<String> {
    let code = descriptor(descriptors, LANGUAGE)?.first_chunk::<3>()?;
    let code = std::str::from_utf8(code).ok()?.to_ascii_lowercase();
    (code.bytes().all(|octet| octet.is_ascii_lowercase()) && code != "und").then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = body.len() + 9;
        let mut octets = [&[kind, 0xb0 | (len >> 8) as u8, len as u8, 0, 1, 0xc1, 0, 0], body].concat();
        octets.extend(checksum(&octets).to_be_bytes());
        octets
    }

    fn read(payloads: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let (mut sections, mut found) = (Sections::default(), Vec::new());
        for (number, payload) in payloads.iter().enumerate() {
            sections.feed(payload, number == 0, &mut |kind, _, body| found.push((kind, body.to_vec())));
        }
        found
    }

    #[test]
    fn a_section_may_lie_in_several_packets_and_a_damaged_one_is_none() {
        let whole = section(0, &[0, 1, 0xf0, 0]);
        let payload = [&[0], &whole[..], &[0xff; 20]].concat();
        assert_eq!(read(&[&payload]), [(0, vec![0, 1, 0xf0, 0])]);
        assert_eq!(read(&[&payload[..7], &payload[7..]]), [(0, vec![0, 1, 0xf0, 0])]);
        let mut damaged = payload.clone();
        damaged[10] ^= 1;
        assert_eq!(read(&[&damaged]), []);
        assert_eq!(programs(0, &[0, 0, 0xe0, 0x10, 0, 1, 0xf0, 0]), [(1, 0x1000)]);
    }

    #[test]
    fn streams_have_kinds_and_languages() {
        let body = [
            &[0xe1, 0, 0xf0, 0][..],
            &[0x1b, 0xe1, 0, 0xf0, 0],
            &[0x0f, 0xe1, 1, 0xf0, 6, 0x0a, 4, b'D', b'e', b'u', 0],
            &[0x06, 0xe1, 2, 0xf0, 3, 0x6a, 1, 0],
            &[0x06, 0xe1, 3, 0xf0, 6, 5, 4, b'A', b'C', b'-', b'3'],
            &[0x02, 0xe1, 5, 0xf0, 0],
            &[0x10, 0xe1, 6, 0xf0, 0],
            &[0x11, 0xe1, 7, 0xf0, 0],
            &[0x06, 0xe1, 8, 0xf0, 10, 5, 4, b'O', b'p', b'u', b's', 0x7f, 2, 0x80, 2],
            &[0x06, 0xe1, 9, 0xf0, 10, 5, 4, b'O', b'p', b'u', b's', 0x7f, 2, 0x80, 6],
            &[0xc0, 0xe1, 4, 0xf0, 0],
        ]
        .concat();
        let streams = streams(2, &body).expect("a map");
        let kinds: Vec<_> = streams.iter().map(|stream| (stream.pid, stream.kind)).collect();
        let sound = [(0x101, Kind::Adts), (0x102, Kind::Ac3), (0x103, Kind::Ac3)];
        let older = [
            (0x105, Kind::MpegVideo),
            (0x106, Kind::Mpeg4Visual),
            (0x107, Kind::Latm),
            (0x108, Kind::Opus(2)),
            (0x109, Kind::Other("Opus of more than two channels")),
            (0x104, Kind::Unknown(0xc0)),
        ];
        let expected = [&[(0x100, Kind::H264)][..], &sound, &older].concat();
        assert_eq!(kinds, expected);
        assert_eq!(streams[1].language.as_deref(), Some("deu"));
        assert_eq!(super::streams(2, &body[..body.len() - 1]), None.or(Some(streams[..9].to_vec())));
        assert_eq!(super::streams(2, &[0xe1, 0, 0xff, 0xff]), None);
    }

    #[test]
    fn noise_is_no_table() {
        proptest::proptest!(|(payloads in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..184), 0..10))| {
            let mut sections = Sections::default();
            for payload in &payloads {
                sections.feed(payload, payload.len() % 2 == 0, &mut |_, _, _| ());
                proptest::prop_assert!(sections.octets.len() <= MAX_SECTION + 184);
            }
            for payload in &payloads {
                let _ = (streams(2, payload), programs(0, payload));
            }
        });
    }
}
