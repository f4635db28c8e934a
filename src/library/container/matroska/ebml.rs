//! EBML elements: where they lie in a file, and what is in those that lie in memory.
//!
//! A file is read in windows that begin where an element does; what an element carries is passed over unless it is asked for. Read
//! first: RFC 8794 sections 4 to 7.

use std::io;

use crate::library::title::ReadAt;

/// The longest header: four octets of identifier, eight of size.
pub const MAX_HEADER: usize = 12;
/// What is read where a jump led: a header, and most often a whole frame of sound behind it.
const SMALLEST_WINDOW: usize = 512;
/// What is read at once where elements follow each other closely.
const LARGEST_WINDOW: usize = 64 << 10;

/// An element's identifier, marker bits included (RFC 8794 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u32);

/// An element of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub id: Id,
    /// Where its content begins, in octets from the start of the file.
    pub start: u64,
    /// The octets of its content; `None` where that is unknown (section 6.2).
    pub size: Option<u64>,
}

/// Why reading elements ends.
#[derive(Debug)]
pub enum Stop {
    /// The file ends within one.
    CutShort,
    /// There is none where one should be.
    Damaged,
    /// The system's error.
    Unreadable(io::Error),
}

impl Stop {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutShort,
            _ => Self::Unreadable(error),
        }
    }
}

/// Reads elements of a file where they lie.
pub struct Reader<'a> {
    source: &'a dyn ReadAt,
    window: Vec<u8>,
    /// Where the window begins.
    at: u64,
    /// How much the next window has.
    next_window: usize,
    /// Octets that were read.
    octets_read: u64,
}

impl<'a> Reader<'a> {
    /// Of that file.
    pub fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, window: Vec::new(), at: 0, next_window: SMALLEST_WINDOW, octets_read: 0 }
    }

    /// The file's size in octets.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// How many octets were read, those twice that were read again.
    pub const fn octets_read(&self) -> u64 {
        self.octets_read
    }

    /// The element whose header begins at `at`.
    ///
    /// # Errors
    /// There is none, or only its beginning.
    pub fn element(&mut self, at: u64) -> Result<Element, Stop> {
        let rest = self.size().saturating_sub(at);
        let whole = rest >= MAX_HEADER as u64;
        let octets = self.octets(at, MAX_HEADER.min(usize::try_from(rest).unwrap_or(MAX_HEADER)))?;
        let ends = if whole { Stop::Damaged } else { Stop::CutShort };
        match header(octets) {
            Some((id, size, len)) => Ok(Element { id, start: at.saturating_add(len as u64), size }),
            None if octets.first().is_some_and(|first| *first < 0x10) => Err(Stop::Damaged),
            None => Err(ends),
        }
    }

    /// The octets from `at` on.
    ///
    /// # Errors
    /// The file ends earlier, or cannot be read.
    pub fn octets(&mut self, at: u64, len: usize) -> Result<&[u8], Stop> {
        let held = at.checked_sub(self.at).and_then(|skip| usize::try_from(skip).ok());
        let start = match held.filter(|start| start.checked_add(len).is_some_and(|end| end <= self.window.len())) {
            Some(start) => start,
            None => {
                self.fill(at, len)?;
                0
            }
        };
        self.window.get(start..).and_then(|octets| octets.get(..len)).ok_or(Stop::CutShort)
    }

    /// The content of an element.
    ///
    /// # Errors
    /// It is larger than `most`, its size is unknown, or the file ends in it.
    pub fn content(&mut self, element: &Element, most: usize) -> Result<Vec<u8>, Stop> {
        let size = element.size.ok_or(Stop::Damaged)?;
        if size > self.size().saturating_sub(element.start) {
            return Err(Stop::CutShort);
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= most).ok_or(Stop::Damaged)?;
        let mut content = vec![0; size];
        self.read(&mut content, element.start)?;
        Ok(content)
    }

    /// Fills `octets` with those from `at` on, whatever the window has.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(&mut self, octets: &mut [u8], at: u64) -> Result<(), Stop> {
        self.octets_read = self.octets_read.saturating_add(octets.len() as u64);
        self.source.read_exact_at(octets, at).map_err(Stop::of)
    }

    /// Moves the window: a longer one where it goes on from the last, the shortest where it jumps.
    fn fill(&mut self, at: u64, len: usize) -> Result<(), Stop> {
        let rest = usize::try_from(self.size().saturating_sub(at)).unwrap_or(usize::MAX);
        if len > rest {
            return Err(Stop::CutShort);
        }
        let goes_on = at.checked_sub(self.at).is_some_and(|skip| skip <= self.window.len() as u64);
        self.next_window = if goes_on { (self.next_window * 2).min(LARGEST_WINDOW) } else { SMALLEST_WINDOW };
        self.window.resize(self.next_window.max(len).min(rest), 0);
        self.at = at;
        self.octets_read = self.octets_read.saturating_add(self.window.len() as u64);
        self.source.read_exact_at(&mut self.window, at).map_err(|error| {
            self.window.clear();
            Stop::of(error)
        })
    }
}

/// Identifier, size and length of a header; `None` where it is none, or cut short.
fn header(octets: &[u8]) -> Option<(Id, Option<u64>, usize)> {
    let id_len = octets.first()?.leading_zeros() as usize + 1;
    if id_len > 4 {
        return None;
    }
    let id = octets.get(..id_len)?.iter().fold(0, |id, octet| id << 8 | u32::from(*octet));
    let (size, size_len) = number(octets.get(id_len..)?)?;
    let unknown = size == u64::MAX >> (64 - 7 * size_len);
    Some((Id(id), (!unknown).then_some(size), id_len + size_len))
}

/// A variable-size integer and how many octets it has (section 4); `None` where it is cut short or longer than eight.
pub fn number(octets: &[u8]) -> Option<(u64, usize)> {
    let first = *octets.first()?;
    let len = first.leading_zeros() as usize + 1;
    if len > 8 {
        return None;
    }
    let first = u64::from(first) & (0xff >> len);
    Some((octets.get(1..len)?.iter().fold(first, |number, octet| number << 8 | u64::from(*octet)), len))
}

/// The elements in a content that lies in memory, in order; ends at the first that does not fit.
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Those in `content`.
    pub const fn new(content: &'a [u8]) -> Self {
        Self { rest: content }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Id, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, size, len) = header(self.rest)?;
        let (content, behind) = self.rest.get(len..)?.split_at_checked(usize::try_from(size?).ok()?)?;
        self.rest = behind;
        Some((id, content))
    }
}

/// An unsigned integer (section 7.2); `None` where it has more than eight octets.
pub fn unsigned(content: &[u8]) -> Option<u64> {
    (content.len() <= 8).then(|| content.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

/// A float (section 7.3); `None` where it has not zero, four or eight octets.
pub fn float(content: &[u8]) -> Option<f64> {
    match content.len() {
        0 => Some(0.0),
        4 => content.first_chunk().map(|octets| f64::from(f32::from_be_bytes(*octets))),
        8 => content.first_chunk().map(|octets| f64::from_be_bytes(*octets)),
        _ => None,
    }
}

/// A string (section 7.4), up to its terminating zero; `None` where it is none of UTF-8.
pub fn text(content: &[u8]) -> Option<&str> {
    let end = content.iter().position(|octet| *octet == 0).unwrap_or(content.len());
    std::str::from_utf8(content.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_eight_octets() {
        assert_eq!(number(&[0x82, 9]), Some((2, 1)));
        assert_eq!(number(&[0x40, 0x02]), Some((2, 2)), "longer than need be");
        assert_eq!(number(&[0x1f, 0xff, 0xff, 0xff]), Some((0x0fff_ffff, 4)));
        assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 2]), Some((2, 8)));
        assert_eq!((number(&[0x40]), number(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), number(&[])), (None, None, None));
    }

    #[test]
    fn headers_tell_sizes_that_are_unknown() {
        assert_eq!(header(&[0x1a, 0x45, 0xdf, 0xa3, 0x84]), Some((Id(0x1a45_dfa3), Some(4), 5)));
        assert_eq!(header(&[0xa3, 0xff]), Some((Id(0xa3), None, 2)));
        assert_eq!(header(&[0xa3, 1, 255, 255, 255, 255, 255, 255, 255]), Some((Id(0xa3), None, 9)));
        assert_eq!(header(&[0xa3, 0x40, 0x7f]), Some((Id(0xa3), Some(127), 3)), "all ones of a shorter one");
        assert_eq!((header(&[0xa3]), header(&[0x08, 0x81]), header(&[])), (None, None, None));
    }

    #[test]
    fn values_of_any_length_are_read() {
        assert_eq!((unsigned(&[]), unsigned(&[1, 0]), unsigned(&[255; 8]), unsigned(&[0; 9])), (Some(0), Some(256), Some(u64::MAX), None));
        assert_eq!(float(&44_100f32.to_be_bytes()), Some(44_100.0));
        assert_eq!(float(&48_000f64.to_be_bytes()), Some(48_000.0));
        assert_eq!((float(&[]), float(&[1, 2])), (Some(0.0), None));
        assert_eq!((text(b"eng\0\0"), text(b""), text(&[0xff])), (Some("eng"), Some(""), None));
    }

    #[test]
    fn elements_in_memory_end_where_one_does_not_fit() {
        let content = [0xae, 0x81, 7, 0xec, 0x80, 0x63, 0xa2, 0x82, 8, 9, 0xae, 0x85, 1];
        let found: Vec<_> = Elements::new(&content).collect();
        assert_eq!(found, [(Id(0xae), &[7][..]), (Id(0xec), &[]), (Id(0x63a2), &[8, 9])]);
    }

    #[test]
    fn a_file_is_read_element_by_element() {
        let file = [&[0xec, 0x40, 100][..], &[0; 100], &[0xa3, 0x82, 1, 2, 0xa3]].concat();
        let mut reader = Reader::new(&file);
        let first = reader.element(0).expect("an element");
        assert_eq!(first, Element { id: Id(0xec), start: 3, size: Some(100) });
        let second = reader.element(103).expect("an element");
        assert_eq!(reader.content(&second, 8).expect("there"), [1, 2]);
        assert!(matches!(reader.content(&second, 1), Err(Stop::Damaged)));
        assert!(matches!(reader.element(107), Err(Stop::CutShort)));
        assert!(matches!(reader.element(3), Err(Stop::Damaged)));
        assert!(matches!(reader.element(u64::MAX), Err(Stop::CutShort)));
        assert!(matches!(reader.content(&Element { size: Some(u64::MAX), ..second }, 8), Err(Stop::CutShort)));
    }
}
