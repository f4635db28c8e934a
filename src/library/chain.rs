//! Files one behind the other, read as one.
//!
//! Idle it holds none of them open. Opened, it opens each when somebody reads there, and keeps a few.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::library::title::ReadAt;

/// Files that are kept open at most by who reads: viewers of one title are at different places.
const OPEN: usize = 16;

/// Files one behind the other.
pub struct Chain {
    links: Arc<[Link]>,
    size: u64,
}

struct Link {
    begins: u64,
    source: Arc<dyn ReadAt>,
}

impl Chain {
    /// These, in this order; `None` where they have more octets than can be counted.
    pub fn new(sources: Vec<Arc<dyn ReadAt>>) -> Option<Self> {
        let mut size = 0u64;
        let mut links = Vec::with_capacity(sources.len());
        for source in sources {
            let begins = size;
            size = size.checked_add(source.size())?;
            links.push(Link { begins, source });
        }
        Some(Self { links: links.into(), size })
    }

    /// The same, to be read for a while.
    pub fn opened(&self) -> OpenChain {
        OpenChain::new(Arc::clone(&self.links), self.size)
    }
}

/// Calls `read` with each link that the octets from `offset` on lie in, where they begin there, and their part of `buffer`.
fn each_link(
    links: &[Link],
    buffer: &mut [u8],
    offset: u64,
    mut read: impl FnMut(usize, &mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let (mut rest, mut at) = (buffer, offset);
    let mut number = links.partition_point(|link| link.begins <= offset).saturating_sub(1);
    while !rest.is_empty() {
        let link = links.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
        let into = at - link.begins;
        let left = usize::try_from(link.source.size().saturating_sub(into)).unwrap_or(usize::MAX);
        let (part, behind) = rest.split_at_mut(left.min(rest.len()));
        if !part.is_empty() {
            read(number, part, into)?;
        }
        at += part.len() as u64;
        rest = behind;
        number += 1;
    }
    Ok(())
}

impl ReadAt for Chain {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        each_link(&self.links, buffer, offset, |number, part, into| match self.links.get(number) {
            Some(link) => link.source.read_exact_at(part, into),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(self.opened()))
    }
}

/// Files one behind the other, some of them open.
pub struct OpenChain {
    links: Arc<[Link]>,
    size: u64,
    /// By their number; the one that was opened last is the last.
    open: Mutex<VecDeque<(usize, Arc<dyn ReadAt>)>>,
    /// Whether one could not be opened or read, other than behind its end.
    has_failed: AtomicBool,
    reads: AtomicU64,
    octets: AtomicU64,
}

impl OpenChain {
    fn new(links: Arc<[Link]>, size: u64) -> Self {
        let (reads, octets) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { links, size, open: Mutex::default(), has_failed: AtomicBool::new(false), reads, octets }
    }

    /// How often it was read, waiting where that was needed, and how many octets that gave.
    pub fn cost(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.octets.load(Ordering::Relaxed))
    }

    /// Whether a read has failed, other than behind the end of a file: what was made of them says nothing of them then.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// The file of that number, if it is open.
    fn at_hand(&self, number: usize) -> Option<Arc<dyn ReadAt>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().rev().find(|(known, _)| *known == number).map(|(_, file)| Arc::clone(file))
    }

    /// The same, opened where it is not.
    fn file(&self, number: usize) -> io::Result<Arc<dyn ReadAt>> {
        if let Some(file) = self.at_hand(number) {
            return Ok(file);
        }
        let link = self.links.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
        let file = link.source.open()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN {
            open.pop_front();
        }
        open.push_back((number, Arc::clone(&file)));
        Ok(file)
    }
}

impl ReadAt for OpenChain {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let read = each_link(&self.links, buffer, offset, |number, part, into| self.file(number)?.read_exact_at(part, into));
        if read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        read
    }

    /// To open a file may wait too: one that is not open is not at hand.
    fn read_now_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        each_link(&self.links, buffer, offset, |number, part, into| {
            self.at_hand(number).ok_or(io::ErrorKind::WouldBlock)?.read_now_at(part, into)
        })
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self::new(Arc::clone(&self.links), self.size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts how often it was opened.
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl ReadAt for Counted {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(buffer, offset)
        }

        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.open()
        }
    }

    #[test]
    fn a_file_is_opened_when_it_is_read_and_few_are_kept() {
        let opened = Arc::new(AtomicUsize::new(0));
        let sources = (0..40u8).map(|octet| Arc::new(Counted(vec![octet; 10], Arc::clone(&opened))) as Arc<dyn ReadAt>);
        let chain = Chain::new(sources.collect()).expect("few octets");
        let open = chain.opened();
        let mut octets = [0; 10];
        assert_eq!(open.read_now_at(&mut octets, 5).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock), "none is open");
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        open.read_exact_at(&mut octets, 5).expect("there");
        open.read_now_at(&mut octets, 5).expect("both are open");
        assert_eq!((octets, opened.load(Ordering::Relaxed)), ([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], 2));
        for number in 0..40 {
            open.read_exact_at(&mut octets, number * 10).expect("there");
        }
        assert_eq!((opened.load(Ordering::Relaxed), open.open.lock().expect("sound").len()), (40, OPEN));
        assert!(open.read_exact_at(&mut octets, 395).is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof));
        assert!(!open.has_failed());
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_lies_there(
            files in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..8), offset in 0..120usize, len in 0..60usize,
        ) {
            let whole = files.concat();
            let chain = Chain::new(files.into_iter().map(|file| Arc::new(file) as Arc<dyn ReadAt>).collect()).expect("few octets");
            prop_assert_eq!(chain.size(), whole.len() as u64);
            let mut read = vec![0; len];
            for source in [&chain as &dyn ReadAt, &chain.opened()] {
                match source.read_exact_at(&mut read, offset as u64) {
                    Ok(()) => prop_assert!(len == 0 || read == whole[offset..offset + len]),
                    Err(error) => prop_assert!(offset + len > whole.len() && error.kind() == io::ErrorKind::UnexpectedEof),
                }
            }
        }
    }
}
