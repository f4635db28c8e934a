//! MPEG audio as a file of its own (`.mp3`, `.mp2`): frames one behind the other, between tags.
//!
//! Tags are passed over: ID3v2 at the beginning (id3.org's 2.4.0 structure, section 3.1), ID3v1 and APE at the end. So is a first frame
//! that holds a description of the file (Xing, Info, VBRI) and no sound. What such a description says of the encoder's delay is left
//! alone: every frame of the file is sent, and the timeline begins with the first of them, as with players that know no such tags. The
//! length is that of the frames, counted.
//!
//! A FLAC stream behind an ID3v2 tag is handed on.

use std::sync::Arc;

use crate::library::codec::Codec;
use crate::library::container::sound::{MAX_UNITS, Sound};
use crate::library::container::window::Window;
use crate::library::container::{UNKNOWN, flac, problem};
use crate::library::elementary::mpeg_audio::{FrameHeader, HEADER, MAX_FRAME};
use crate::library::title::{Problem, ReadAt, Sample, Title, TitlePath};

/// Octets of an ID3v2 tag's header, and of its footer.
const ID3_HEADER: u64 = 10;
/// Tags at the beginning that are passed over.
const MAX_TAGS: usize = 16;
/// Octets of an ID3v1 tag, and of an APE tag's header or footer.
const ID3V1: u64 = 128;
const APE_FOOTER: u64 = 32;
/// Octets between the tags and the first frame that are looked through.
const MAX_JUNK: u64 = 1 << 16;
/// Frames that must follow each other before they are taken for such: two octets of sync are not much.
const RUN: usize = 3;
/// Where a VBRI description stands in its frame.
const VBRI: usize = 36;

/// Whether the file begins like one of these: with a tag or with a frame.
pub fn sniff(head: &[u8]) -> bool {
    head.starts_with(b"ID3") || FrameHeader::parse(head).is_some()
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let mut window = Window::new(source.as_ref());
    let begin = behind_tags(&mut window)?;
    if flac::sniff(window.at(begin, 4)?) {
        return flac::parse_from(source, path, begin);
    }
    let end = before_tags(&mut window, begin)?;
    let limit = end.min(begin.saturating_add(MAX_JUNK));
    let Some((mut offset, first)) = find(&mut window, begin, limit, end, None)? else {
        return Err(problem(if begin == 0 { UNKNOWN } else { "the file has no MPEG audio behind its tag" }));
    };
    if is_description(&mut window, offset, &first)? {
        offset = offset.saturating_add(first.frame_len() as u64);
    }
    let mut samples = Vec::new();
    let mut time = 0i64;
    let mut is_broken = false;
    let mut channels = first.channels;
    while samples.len() < MAX_UNITS {
        let here = frame(&mut window, offset, end)?.filter(|frame| frame.goes_with(&first));
        let frame = match here {
            Some(frame) => frame,
            None => {
                let Some((found, frame)) = find(&mut window, offset, end, end, Some(&first))? else {
                    is_broken |= offset < end;
                    break;
                };
                is_broken = true;
                offset = found;
                frame
            }
        };
        let size = frame.frame_len() as u32;
        samples.push(Sample::new(offset, size, time, 0, true).ok_or_else(|| problem("a frame is too large"))?);
        channels = channels.max(frame.channels);
        time += i64::from(first.samples());
        offset += u64::from(size);
    }
    let mut format = first.sound_format();
    format.channels = channels;
    let timescale = format.sample_rate;
    let sound = Sound { codec: Codec::MpegAudio(format), timescale, samples, last_duration: first.samples(), end: time, packing: None };
    sound.title(path, source, is_broken.then_some("the file has octets that are no sound; they are left out"))
}

/// The offset behind the tags at the beginning.
fn behind_tags(window: &mut Window<'_>) -> Result<u64, Problem> {
    let mut offset = 0u64;
    for _ in 0..MAX_TAGS {
        let Some([b'I', b'D', b'3', _, _, flags, size @ ..]) = window.array::<10>(offset)? else { break };
        // Four groups of seven bits; the flag says that a footer follows.
        if size.iter().any(|octet| octet & 0x80 != 0) {
            break;
        }
        let size = size.iter().fold(0, |size, octet| size << 7 | u64::from(*octet));
        offset = offset.saturating_add(ID3_HEADER + size + if flags & 0x10 != 0 { ID3_HEADER } else { 0 });
        if offset >= window.size() {
            return Err(problem("the file is cut short: it ends within its tag"));
        }
    }
    Ok(offset)
}

/// The offset of the tags at the end.
fn before_tags(window: &mut Window<'_>, begin: u64) -> Result<u64, Problem> {
    let mut end = window.size();
    if let Some(tag) = end.checked_sub(ID3V1).filter(|tag| *tag >= begin)
        && window.array(tag)? == Some(*b"TAG")
    {
        end = tag;
    }
    if let Some(footer) = end.checked_sub(APE_FOOTER).filter(|footer| *footer >= begin)
        && let Some([b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', _, _, _, _, size @ .., _, _, _, _, _, _, _, flags]) =
            window.array::<24>(footer)?
    {
        // The size has the footer in it, but not the header, which the highest flag tells of.
        let header = if flags & 0x80 != 0 { APE_FOOTER } else { 0 };
        let tag = end.checked_sub(u64::from(u32::from_le_bytes(size)) + header).filter(|tag| *tag >= begin && *tag <= footer);
        end = tag.unwrap_or(end);
    }
    Ok(end)
}

/// The frame at `offset`, if it ends before `end`.
fn frame(window: &mut Window<'_>, offset: u64, end: u64) -> Result<Option<FrameHeader>, Problem> {
    let header = FrameHeader::parse(window.at(offset, HEADER)?);
    Ok(header.filter(|header| offset.checked_add(header.frame_len() as u64).is_some_and(|behind| behind <= end)))
}

/// The first frame from `offset` on that begins before `limit`, that others follow or the `end`, and that goes with those before.
fn find(
    window: &mut Window<'_>,
    mut offset: u64,
    limit: u64,
    end: u64,
    known: Option<&FrameHeader>,
) -> Result<Option<(u64, FrameHeader)>, Problem> {
    while offset < limit {
        // What follows is in memory too then: looking there moves nothing.
        let octets = window.at(offset, RUN * MAX_FRAME)?;
        let Some(skip) = octets.iter().position(|octet| *octet == 0xff) else {
            offset = offset.saturating_add(octets.len().max(1) as u64);
            continue;
        };
        offset = offset.saturating_add(skip as u64);
        if offset >= limit {
            break;
        }
        window.at(offset, RUN * MAX_FRAME)?;
        if let Some(header) = frame(window, offset, end)?
            && known.is_none_or(|known| header.goes_with(known))
            && is_followed(window, offset, &header, end)?
        {
            return Ok(Some((offset, header)));
        }
        offset += 1;
    }
    Ok(None)
}

/// Whether frames follow that go with this one, as many as are asked for, or the end of the file comes before they are cut short.
fn is_followed(window: &mut Window<'_>, offset: u64, header: &FrameHeader, end: u64) -> Result<bool, Problem> {
    let mut behind = offset.saturating_add(header.frame_len() as u64);
    for _ in 1..RUN {
        if behind == end {
            return Ok(true);
        }
        let Some(next) = FrameHeader::parse(window.at(behind, HEADER)?).filter(|next| next.goes_with(header)) else {
            return Ok(false);
        };
        behind = behind.saturating_add(next.frame_len() as u64);
        if behind > end {
            return Ok(true);
        }
    }
    Ok(true)
}

/// Whether the frame describes the file.
fn is_description(window: &mut Window<'_>, offset: u64, header: &FrameHeader) -> Result<bool, Problem> {
    let octets = window.at(offset, header.frame_len())?;
    let octets = octets.get(..header.frame_len()).unwrap_or(octets);
    let at = |place: usize, names: &[&[u8; 4]]| {
        octets.get(place..).and_then(|octets| octets.first_chunk::<4>()).is_some_and(|name| names.contains(&name))
    };
    // Writers differ in whether they count the CRC.
    let side_info = header.side_info_end();
    let without_crc = if header.has_crc { side_info.saturating_sub(2) } else { side_info };
    Ok(at(side_info, &[b"Xing", b"Info"]) || at(without_crc, &[b"Xing", b"Info"]) || at(VBRI, &[b"VBRI"]))
}

#[cfg(test)]
mod tests;
