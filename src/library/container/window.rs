//! A piece of a file in memory that moves with what is looked at, for parsers that go through a file from its beginning to its end.

use crate::library::container::problem;
use crate::library::title::{Problem, ReadAt};

/// Octets that are read at once.
const PIECE: usize = 1 << 16;

/// A piece of a file.
pub(super) struct Window<'a> {
    source: &'a dyn ReadAt,
    /// Where the piece lies.
    start: u64,
    octets: Vec<u8>,
}

impl<'a> Window<'a> {
    /// One over a file; nothing is read yet.
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, start: 0, octets: Vec::new() }
    }

    /// The size of the file.
    pub(super) fn size(&self) -> u64 {
        self.source.size()
    }

    /// What lies at `offset`: at least `least` octets, or as many as there are up to the end of the file, and what else is in memory
    /// behind them.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn at(&mut self, offset: u64, least: usize) -> Result<&[u8], Problem> {
        let there = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        if there == 0 {
            return Ok(&[]);
        }
        let least = least.min(there);
        let known = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let known = known.filter(|skip| skip.checked_add(least).is_some_and(|end| end <= self.octets.len()));
        let skip = match known {
            Some(skip) => skip,
            None => {
                self.octets.resize(least.max(PIECE).min(there), 0);
                self.start = offset;
                if let Err(error) = self.source.read_exact_at(&mut self.octets, offset) {
                    self.octets.clear();
                    return Err(problem(format!("the file cannot be read: {error}")));
                }
                0
            }
        };
        Ok(self.octets.get(skip..).unwrap_or_default())
    }

    /// The `N` octets at `offset`; `None` where the file ends before.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn array<const N: usize>(&mut self, offset: u64) -> Result<Option<[u8; N]>, Problem> {
        Ok(self.at(offset, N)?.first_chunk().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_seen_wherever_it_is_looked_for() {
        let file: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        let mut window = Window::new(&file);
        for offset in [0usize, 10, 65_530, 65_536, 199_990, 5, 131_071, 199_999] {
            let seen = window.at(offset as u64, 20).expect("is there");
            let least = 20.min(file.len() - offset);
            assert!(seen.len() >= least && file[offset..].starts_with(seen), "{offset}");
        }
        assert_eq!(window.array::<4>(199_996).expect("can be read"), Some([file[199_996], file[199_997], file[199_998], file[199_999]]));
        assert_eq!(window.array::<4>(199_997).expect("can be read"), None);
        assert!(window.at(u64::MAX, 20).expect("nothing is there").is_empty());
        assert_eq!(window.at(0, 150_000).expect("is there").len(), 150_000);
    }
}
