//! Pages of an Ogg file (RFC 3533 section 6).

use crate::library::container::window::Window;
use crate::library::title::Problem;

/// Octets of a page's header before its segment table.
const HEADER: usize = 27;
/// The most octets that header and table have.
pub(super) const MAX_HEADER: usize = HEADER + 255;
/// Octets that are looked through for the next page.
const MAX_JUNK: u64 = 1 << 20;

/// A page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The packet that was begun before goes on in it.
    pub(super) is_continued: bool,
    /// A logical stream begins with it.
    pub(super) is_first: bool,
    /// A logical stream ends with it.
    pub(super) is_last: bool,
    /// What its last packet that ends in it ends with; -1 where none does.
    pub(super) granule: i64,
    /// Which logical stream it is of.
    pub(super) serial: u32,
    /// Its number in that.
    pub(super) sequence: u32,
    segments: [u8; 255],
    count: u8,
}

impl Page {
    /// The header at the beginning of `octets`.
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let (&[b'O', b'g', b'g', b'S', 0, flags, rest @ ..], behind) = octets.split_first_chunk::<HEADER>()? else { return None };
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, _, _, _, _, count] = rest;
        let table = behind.get(..usize::from(count))?;
        let mut segments = [0; 255];
        segments.iter_mut().zip(table).for_each(|(to, from)| *to = *from);
        Some(Self {
            is_continued: flags & 1 != 0,
            is_first: flags & 2 != 0,
            is_last: flags & 4 != 0,
            granule: i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            serial: u32::from_le_bytes([i, j, k, l]),
            sequence: u32::from_le_bytes([m, n, o, p]),
            segments,
            count,
        })
    }

    /// Octets from its beginning to the end of its segment table.
    pub(super) fn header_len(&self) -> u64 {
        HEADER as u64 + u64::from(self.count)
    }

    /// Octets of all of it.
    pub(super) fn len(&self) -> u64 {
        self.header_len() + self.segments().iter().map(|segment| u64::from(*segment)).sum::<u64>()
    }

    fn segments(&self) -> &[u8] {
        self.segments.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The pieces of packets in it from a segment on.
    pub(super) fn pieces(&self, from: u8) -> impl Iterator<Item = Piece> + '_ {
        let skipped: u64 = self.segments().iter().take(usize::from(from)).map(|segment| u64::from(*segment)).sum();
        let mut segment = from;
        let mut offset = self.header_len() + skipped;
        std::iter::from_fn(move || {
            let mut piece = Piece { segment, offset, size: 0, is_end: false };
            for lace in self.segments().get(usize::from(segment)..).filter(|rest| !rest.is_empty())? {
                segment = segment.saturating_add(1);
                piece.size += u32::from(*lace);
                piece.is_end = *lace < 255;
                if piece.is_end {
                    break;
                }
            }
            offset += u64::from(piece.size);
            Some(piece)
        })
    }
}

/// A packet, or as much of one as a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The number of its first segment.
    pub(super) segment: u8,
    /// Octets from the page's beginning.
    pub(super) offset: u64,
    /// Octets.
    pub(super) size: u32,
    /// Whether the packet ends with it.
    pub(super) is_end: bool,
}

/// The first page from `offset` on that lies within the file, and where.
///
/// # Errors
/// The file's.
pub(super) fn next(window: &mut Window<'_>, offset: u64) -> Result<Option<(u64, Page)>, Problem> {
    let limit = offset.saturating_add(MAX_JUNK).min(window.size());
    let mut at = offset;
    while at < limit {
        let octets = window.at(at, MAX_HEADER)?;
        if let Some(page) = Page::parse(octets) {
            return Ok((at.saturating_add(page.len()) <= window.size()).then_some((at, page)));
        }
        let skip = octets.iter().skip(1).position(|octet| *octet == b'O').map_or(octets.len(), |skip| skip + 1);
        at = at.saturating_add(skip.max(1) as u64);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::container::ogg::tests::page;

    #[test]
    fn packets_are_pieces_that_end_with_a_short_segment() {
        let octets = page(2, 960, 7, 3, &[&[1; 10], &[2; 255], &[3; 300], &[]], false);
        let parsed = Page::parse(&octets).expect("a page");
        assert_eq!((parsed.is_continued, parsed.is_first, parsed.is_last), (false, true, false));
        assert_eq!((parsed.granule, parsed.serial, parsed.sequence, parsed.len()), (960, 7, 3, octets.len() as u64));
        let pieces: Vec<_> = parsed.pieces(0).map(|piece| (piece.segment, piece.offset, piece.size, piece.is_end)).collect();
        assert_eq!(pieces, [(0, 33, 10, true), (1, 43, 255, true), (3, 298, 300, true), (5, 598, 0, true)]);
        assert_eq!(parsed.pieces(3).next(), Some(Piece { segment: 3, offset: 298, size: 300, is_end: true }));
        assert_eq!(parsed.pieces(200).count(), 0);
        let open = page(0, -1, 7, 4, &[&[9; 510]], true);
        let parsed = Page::parse(&open).expect("a page");
        assert_eq!(parsed.pieces(0).map(|piece| (piece.size, piece.is_end)).collect::<Vec<_>>(), [(510, false)]);
    }

    #[test]
    fn what_lies_between_pages_is_passed_over() {
        let one = page(0, 960, 7, 3, &[&[1; 10]], false);
        let file = [vec![b'O'; 1_000], one.clone(), b"OggO".to_vec(), one.clone(), one[..20].to_vec()].concat();
        let mut window = Window::new(&file);
        let behind = 1_000 + one.len() as u64;
        assert_eq!(next(&mut window, 0).expect("can be read").map(|(at, _)| at), Some(1_000));
        assert_eq!(next(&mut window, behind).expect("can be read").map(|(at, _)| at), Some(behind + 4));
        assert_eq!(next(&mut window, behind + 4 + one.len() as u64).expect("can be read"), None);
        assert_eq!(Page::parse(&one[..30]), Page::parse(&one));
        assert_eq!(Page::parse(&one[..27]), None);
    }
}
