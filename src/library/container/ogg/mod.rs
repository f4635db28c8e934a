//! Ogg files (RFC 3533) with Opus (RFC 7845) and Vorbis (Vorbis I appendix A.2). Other logical streams are left out; of streams that are
//! chained one behind the other, the first plays.
//!
//! A granule position is a number of samples at the end of a page. What lies before is counted from the packets; the timeline's zero is
//! the first sample that is heard, so that what a decoder needs before it has times below zero. Positions that leap tell of pages that
//! are missing; the last one cuts the end off.

mod page;
mod stream;

use std::io;
use std::sync::Arc;

use crate::library::container::problem;
use crate::library::container::window::Window;
use crate::library::title::{AccessUnit, Problem, ReadAt, Title, TitlePath, Unpack};
use crate::quantities::MediaTime;

use page::{MAX_HEADER, Page};
use stream::Stream;

/// Logical streams that are looked at.
const MAX_STREAMS: usize = 64;
/// Pages of other streams that may lie between two of one packet.
const MAX_BETWEEN: usize = 4_096;
/// Set in the index in the offset of a packet that goes on in the next page: below it lie the page's offset and, in the lowest eight
/// bits, the number of the packet's first segment. Without it, the offset is that of the packet.
const SPANS: u64 = 1 << 63;
/// Bits of the number of a segment.
const SEGMENT: u32 = 8;

/// What a page begins with, and its version.
const CAPTURE: &[u8] = b"OggS\0";

/// Whether the file begins like one of these.
pub fn sniff(head: &[u8]) -> bool {
    head.starts_with(CAPTURE)
}

/// Reads the index of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(source: Arc<dyn ReadAt>, path: TitlePath) -> Result<Title, Problem> {
    let mut window = Window::new(source.as_ref());
    let mut streams: Vec<Stream> = Vec::new();
    let mut remarks: Vec<String> = Vec::new();
    let (mut offset, mut has_data, mut is_broken, mut is_chained) = (0, false, false, false);
    while let Some((at, page)) = page::next(&mut window, offset)? {
        if at != offset {
            is_broken = true;
            streams.iter_mut().for_each(Stream::lose_packet);
        }
        if page.is_first && has_data {
            remarks.push("several streams are chained; only the first is played".into());
            is_chained = true;
            break;
        }
        if page.is_first && streams.len() < MAX_STREAMS {
            streams.push(Stream::new(page.serial));
        }
        has_data |= !page.is_first;
        if let Some(stream) = streams.iter_mut().find(|stream| stream.serial == page.serial) {
            stream.page(&mut window, at, &page)?;
        }
        offset = at.saturating_add(page.len());
    }
    if !is_chained {
        remarks.extend(what_is_behind(&mut window, offset)?.map(str::to_owned));
    }
    is_broken |= streams.iter().any(|stream| stream.is_broken);
    let mut tracks = Vec::new();
    let mut duration = MediaTime::ZERO;
    for stream in streams {
        let made = stream.sound().and_then(|sound| sound.map(|sound| sound.track().map_err(str::to_owned)).transpose());
        match made {
            Ok(Some((track, end))) => {
                duration = duration.max(end);
                tracks.push(track);
            }
            Ok(None) => {}
            Err(why) => remarks.push(format!("a track is left out: {why}")),
        }
    }
    if tracks.is_empty() {
        return Err(problem(if remarks.is_empty() { "the file has no track that can be played".into() } else { remarks.join("; ") }));
    }
    if is_broken {
        remarks.push("the file is broken: parts of its sound are missing".into());
    }
    let remark = (!remarks.is_empty()).then(|| problem(remarks.join("; ")));
    Ok(Title { path, duration, tracks, remark, source })
}

/// What is to be said of what lies behind the last page, which ends at `end`.
fn what_is_behind(window: &mut Window<'_>, end: u64) -> Result<Option<&'static str>, Problem> {
    let head = window.at(end, CAPTURE.len())?;
    let head = head.get(..CAPTURE.len()).unwrap_or(head);
    Ok(match head {
        [] => None,
        head if CAPTURE.starts_with(head) => Some("the file is cut short"),
        _ => Some("what lies behind the last page is left out: it is no page"),
    })
}

/// Under which name an index keeps that its packets are put together so.
pub const NAME: &str = "ogg";

/// Puts packets together of their pieces.
#[derive(Debug)]
pub struct Pages;

impl Unpack for Pages {
    fn unpack(&self, source: &dyn ReadAt, unit: &AccessUnit, octets: &mut [u8]) -> io::Result<()> {
        if unit.offset & SPANS == 0 {
            return source.read_exact_at(octets, unit.offset);
        }
        let mut at = (unit.offset & !SPANS) >> SEGMENT;
        let mut segment = unit.offset as u8;
        let mut serial = None;
        let mut rest = octets;
        for _ in 0..MAX_BETWEEN {
            let page = read_page(source, at)?;
            if serial.is_none_or(|serial| serial == page.serial) {
                serial = Some(page.serial);
                let piece = page.pieces(segment).next().ok_or(io::ErrorKind::InvalidData)?;
                segment = 0;
                let (here, behind) = rest.split_at_mut_checked(piece.size as usize).ok_or(io::ErrorKind::InvalidData)?;
                source.read_exact_at(here, at.saturating_add(piece.offset))?;
                rest = behind;
                if piece.is_end {
                    return if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
                }
            }
            at = at.saturating_add(page.len());
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn kept(&self) -> Option<(&'static str, Vec<u8>)> {
        Some((NAME, Vec::new()))
    }
}

fn read_page(source: &dyn ReadAt, at: u64) -> io::Result<Page> {
    let mut head = [0; MAX_HEADER];
    let there = usize::try_from(source.size().saturating_sub(at)).unwrap_or(usize::MAX).min(MAX_HEADER);
    let head = head.get_mut(..there).unwrap_or_default();
    source.read_exact_at(head, at)?;
    Page::parse(head).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests;
