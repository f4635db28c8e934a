//! AAC in ADTS frames, one behind the other (`.aac`; ISO/IEC 13818-7 annex A, ISO/IEC 14496-3 section 1.A.2).
//!
//! The header of a frame is no part of its access unit. A tag of ID3 in front is passed over, and so is what lies between frames.

use std::sync::Arc;

use crate::library::container::problem;
use crate::library::elementary::adts::{AdtsHeader, HEADER};
use crate::library::elementary::frames::{Frames, Sound};
use crate::library::elementary::start_code::Place;
use crate::library::title::{Problem, ReadAt, Sample, SampleIndex, Title, TitlePath, Track};
use crate::quantities::{ClockRate, MediaKind, MediaTime};

/// Octets of one read.
const CHUNK: usize = 1 << 20;
/// Access units at most: 50 hours.
const MAX_SAMPLES: usize = 8 << 20;
/// Frames that are looked at to know such a file.
const IN_A_ROW: usize = 3;
/// Octets of the head of an ID3v2 tag, and of its foot.
const TAG_HEAD: u64 = 10;

/// Whether the file begins with frames that follow each other.
pub fn sniff(source: &dyn ReadAt) -> bool {
    let mut at = behind_tag(source);
    let mut first: Option<AdtsHeader> = None;
    for number in 0..IN_A_ROW {
        if number > 0 && at == source.size() {
            return true;
        }
        let mut head = [0; HEADER];
        if source.read_exact_at(&mut head, at).is_err() {
            return false;
        }
        let Some(header) = AdtsHeader::parse(&head) else { return false };
        if !first.get_or_insert(header).goes_with(&header) {
            return false;
        }
        at = at.saturating_add(header.frame_len as u64);
    }
    true
}

/// Where an ID3v2 tag at the beginning ends (ID3v2.4 section 3.1).
fn behind_tag(source: &dyn ReadAt) -> u64 {
    let mut head = [0; TAG_HEAD as usize];
    match source.read_exact_at(&mut head, 0).map(|()| head) {
        Ok([b'I', b'D', b'3', _, _, flags, a, b, c, d]) => {
            let size = [a, b, c, d].iter().fold(0, |size: u64, octet| size << 7 | u64::from(octet & 0x7f));
            TAG_HEAD + size + if flags & 0x10 == 0 { 0 } else { TAG_HEAD }
        }
        _ => 0,
    }
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let mut frames = Frames::new(Sound::Adts);
    let mut at = behind_tag(source.as_ref());
    let (mut samples, mut time): (Vec<Sample>, i64) = (Vec::new(), 0);
    let mut last_duration = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let left = usize::try_from(source.size().saturating_sub(at)).unwrap_or(usize::MAX);
        let chunk = &mut buffer[..left.min(CHUNK)];
        source.read_exact_at(chunk, at.min(source.size())).map_err(|error| problem(format!("the file cannot be read: {error}")))?;
        if chunk.is_empty() {
            frames.finish();
        }
        frames.feed(chunk, Place { position: at, offset: at });
        at = at.saturating_add(chunk.len() as u64);
        for frame in frames.take() {
            samples.extend(Sample::new(frame.start.offset, frame.size, time, 0, true));
            time = time.saturating_add(i64::from(frame.samples));
            last_duration = frame.samples;
        }
        if samples.len() > MAX_SAMPLES {
            return Err(problem("the file has too many frames"));
        }
        if left == 0 {
            break;
        }
    }
    let (Some(codec), Some(format)) = (frames.codec(), frames.sound_format()) else { return Err(problem("the file has no frame")) };
    let timescale = ClockRate::new(format.sample_rate).filter(|_| !samples.is_empty()).ok_or_else(|| problem("the file has no frame"))?;
    let lost = frames.lost();
    let remark = (lost > 0).then(|| problem(format!("{lost} octets belong to no frame that can be played")));
    let duration = MediaTime::from_ticks(time, timescale);
    let index = SampleIndex::new(samples, last_duration);
    let tracks = vec![Track { kind: MediaKind::Audio, codec, timescale, language: None, index }];
    Ok(Title { path, duration, tracks, remark, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(octets: usize) -> Vec<u8> {
        let len = octets + 7;
        let header = [0xff, 0xf1, 0x4c, 0x80 | (len >> 11) as u8, (len >> 3) as u8, ((len & 7) << 5) as u8 | 0x1f, 0xfc];
        [&header[..], &vec![7; octets]].concat()
    }

    fn read(file: Vec<u8>) -> Result<Title, Problem> {
        parse(Arc::new(file), TitlePath::new("a.aac").expect("a path"))
    }

    #[test]
    fn frames_behind_a_tag_become_access_units_without_headers() {
        let tag = [b"ID3\x04\0\0\0\0\x01\x02".to_vec(), vec![0xff; 130]].concat();
        let file = [tag, frame(20), frame(30), frame(40)].concat();
        assert!(sniff(&file));
        let title = read(file).expect("plays");
        let units: Vec<_> = (0..3).filter_map(|position| title.tracks[0].access_unit(position)).collect();
        assert_eq!(
            units.iter().map(|unit| (unit.offset, unit.size, unit.decode_time)).collect::<Vec<_>>(),
            [(147, 20, 0), (174, 30, 1_024), (211, 40, 2_048)]
        );
        assert_eq!((title.duration, title.remark), (MediaTime::from_ticks(3_072, ClockRate::new(48_000).expect("a rate")), None));
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        for file in [vec![], frame(20)[..9].to_vec(), vec![0xff; 500], [frame(20), vec![0; 20]].concat()] {
            assert!(!sniff(&file), "{file:02x?}");
        }
        assert!(read(vec![0xff; 5_000]).is_err());
        assert!(read([b"ID3\x04\0\0\x7f\x7f\x7f\x7f".to_vec(), frame(9)].concat()).is_err(), "a tag longer than the file");
        let damaged = read([frame(20), frame(20), vec![1; 50], frame(20), frame(20)].concat()).expect("plays");
        assert_eq!((damaged.tracks[0].len(), damaged.remark.is_some()), (4, true));
    }
}
