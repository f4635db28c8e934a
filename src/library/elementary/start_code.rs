//! Start codes: three octets, 00 00 01, before each NAL unit (ISO/IEC 14496-10 and 23008-2, annexes B) and before each header of the older
//! coded pictures (ISO/IEC 13818-2 section 6.2.1, ISO/IEC 14496-2 section 6.2.1).
//!
//! [`Scanner`] reads a stream that comes in pieces of a file, and keeps no more of it than the beginnings of what start codes are before.

/// Octets of a start code.
pub const LEN: usize = 3;

/// Where the first start code in `octets` begins, its two zeros first.
pub fn find(octets: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(&octet) = octets.get(at) {
        match octet {
            0 => at += 1,
            1 if octets[at - 1] == 0 && octets[at - 2] == 0 => return Some(at - 2),
            _ => at += LEN,
        }
    }
    None
}

/// The same without the zeros at its end.
pub fn without_trailing_zeros(octets: &[u8]) -> &[u8] {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    &octets[..end]
}

/// A point of an elementary stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Octets of the stream before it.
    pub position: u64,
    /// Where its octet lies in the file.
    pub offset: u64,
}

impl Place {
    /// The point so many octets behind, in the same piece.
    #[must_use]
    pub const fn ahead(self, octets: usize) -> Self {
        Self { position: self.position.saturating_add(octets as u64), offset: self.offset.saturating_add(octets as u64) }
    }
}

/// A start code and what follows it.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Where it begins: its first zero, or the further one before that.
    pub start: Place,
    /// Octets of the stream before the start code's own three.
    pub code_position: u64,
    /// What follows the start code, so far as it was asked for.
    pub head: Vec<u8>,
}

/// Finds start codes in a stream that comes piece by piece.
#[derive(Debug)]
pub struct Scanner {
    /// How much of a section is kept, by its first octet.
    limit: fn(u8) -> usize,
    /// Where the zeros lie that the stream ended with so far, three at most, the last one first.
    zeros: [Place; LEN],
    zero_count: usize,
    section: Section,
    is_open: bool,
    /// Whether a further zero before a start code belongs to it.
    has_zero_byte: bool,
}

impl Scanner {
    /// One that keeps so many octets of a section as `limit` says of its first octet.
    pub fn new(limit: fn(u8) -> usize) -> Self {
        Self { limit, zeros: Default::default(), zero_count: 0, section: Section::default(), is_open: false, has_zero_byte: true }
    }

    /// The same, with start codes of three octets only: what is before them belongs to what they end.
    pub fn without_zero_byte(limit: fn(u8) -> usize) -> Self {
        Self { has_zero_byte: false, ..Self::new(limit) }
    }

    /// Takes the next piece of the stream, which lies at `place`; gives each section that is whole to `done`.
    pub fn feed(&mut self, piece: &[u8], place: Place, done: &mut impl FnMut(&Section)) {
        let mut at = self.across(piece, place, done);
        while let Some(found) = piece.get(at..).and_then(find) {
            let code = at + found;
            self.keep(&piece[at..code]);
            let start = if self.has_zero_byte && code > at && piece[code - 1] == 0 { code - 1 } else { code };
            self.open(place.ahead(start), place.ahead(code).position, done);
            at = code + LEN;
        }
        let rest = piece.get(at..).unwrap_or_default();
        self.keep(rest);
        let zeros = rest.len() - without_trailing_zeros(rest).len();
        if zeros < rest.len() {
            self.zero_count = 0;
        }
        (rest.len() - zeros..rest.len()).for_each(|zero| self.add_zero(place.ahead(at + zero)));
    }

    /// Ends the last section, and forgets everything: what follows is another stream.
    pub fn finish(&mut self, done: &mut impl FnMut(&Section)) {
        if std::mem::take(&mut self.is_open) {
            done(&self.section);
        }
        self.zero_count = 0;
    }

    /// Forgets everything, the last section too.
    pub fn reset(&mut self) {
        self.is_open = false;
        self.zero_count = 0;
    }

    /// A start code whose zeros ended the pieces before; how many octets of this one belong to it.
    fn across(&mut self, piece: &[u8], place: Place, done: &mut impl FnMut(&Section)) -> usize {
        if self.zero_count == 0 {
            return 0;
        }
        // One zero before needs one here, two need none; further ones do not matter.
        let more = piece.iter().take_while(|octet| **octet == 0).count();
        if piece.get(more) != Some(&1) || self.zero_count + more < 2 {
            return 0;
        }
        let mut zeros = [self.zeros; 2].concat();
        zeros.truncate(self.zero_count);
        zeros.splice(0..0, (0..more).rev().take(LEN).map(|zero| place.ahead(zero)));
        self.keep(&piece[..more]);
        let start = zeros.get(2).filter(|_| self.has_zero_byte).or_else(|| zeros.get(1)).copied().unwrap_or(place);
        let code_position = zeros.get(1).copied().unwrap_or(place).position;
        self.open(start, code_position, done);
        more + 1
    }

    fn add_zero(&mut self, place: Place) {
        self.zeros.rotate_right(1);
        self.zeros[0] = place;
        self.zero_count = (self.zero_count + 1).min(LEN);
    }

    fn open(&mut self, start: Place, code_position: u64, done: &mut impl FnMut(&Section)) {
        if self.is_open {
            done(&self.section);
        }
        self.section.start = start;
        self.section.code_position = code_position;
        self.section.head.clear();
        self.is_open = true;
        self.zero_count = 0;
    }

    fn keep(&mut self, octets: &[u8]) {
        let head = &mut self.section.head;
        if let (true, Some(first)) = (self.is_open, head.first().or(octets.first())) {
            let room = (self.limit)(*first).saturating_sub(head.len());
            head.extend_from_slice(&octets[..octets.len().min(room)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Start, code and kept octets of each section, of pieces that lie 100 octets apart.
    fn scan(pieces: &[Vec<u8>]) -> Vec<(u64, u64, Vec<u8>)> {
        let mut scanner = Scanner::new(|_| 8);
        let mut found = Vec::new();
        let mut done = |section: &Section| found.push((section.start.offset, section.code_position, section.head.clone()));
        let mut position = 0;
        for (number, piece) in pieces.iter().enumerate() {
            scanner.feed(piece, Place { position, offset: number as u64 * 100 }, &mut done);
            position += piece.len() as u64;
        }
        scanner.finish(&mut done);
        found
    }

    #[test]
    fn a_start_code_is_found_wherever_it_is_cut() {
        let stream = [7, 0, 0, 0, 0, 1, 0x65, 1, 2, 3];
        for cut in 0..=stream.len() {
            let found = scan(&[stream[..cut].to_vec(), stream[cut..].to_vec()]);
            let start = if cut > 2 { 2 } else { 100 + 2 - cut as u64 };
            assert_eq!(found, [(start, 3, vec![0x65, 1, 2, 3])], "cut at {cut}");
        }
    }

    #[test]
    fn a_further_zero_belongs_to_what_ends_where_start_codes_have_none() {
        let stream = [7, 0, 0, 0, 0, 1, 0x65, 1, 2, 3];
        for cut in 0..=stream.len() {
            let (mut scanner, mut found) = (Scanner::without_zero_byte(|_| 8), Vec::new());
            let mut done = |section: &Section| found.push((section.start, section.code_position));
            scanner.feed(&stream[..cut], Place::default(), &mut done);
            scanner.feed(&stream[cut..], Place { position: cut as u64, offset: cut as u64 }, &mut done);
            scanner.finish(&mut done);
            assert_eq!(found, [(Place { position: 3, offset: 3 }, 3)], "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces in proptest::collection::vec(proptest::collection::vec(0..3u8, 0..9), 0..12)) {
            let whole = scan(&[pieces.concat()]);
            let cut = scan(&pieces);
            // Trailing zeros of a section may be kept, or not.
            let plain = |found: &[(u64, u64, Vec<u8>)]| {
                found.iter().map(|(_, code, head)| (*code, without_trailing_zeros(head).to_vec())).collect::<Vec<_>>()
            };
            prop_assert_eq!(plain(&whole), plain(&cut));
            let stream = pieces.concat();
            let naive: Vec<u64> = (0..stream.len().saturating_sub(2)).filter(|at| stream[*at..*at + 3] == [0, 0, 1]).map(|at| at as u64).collect();
            prop_assert_eq!(whole.iter().map(|(_, code, _)| *code).collect::<Vec<_>>(), naive);
        }
    }
}
