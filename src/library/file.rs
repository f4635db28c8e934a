//! A title's file on disk: open only while somebody reads from it, and never another one than the index was read from.

use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use serde::{Deserialize, Serialize};

use crate::library::title::ReadAt;

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its number in the file system.
    pub inode: u64,
    /// Which file system.
    pub device: u64,
    /// Octets.
    pub size: u64,
    /// When it was written to: seconds since 1970 and nanoseconds.
    pub modified: (i64, i64),
    /// A checksum over the same of all files that belong to it; zero where none do.
    pub others: u64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), device: metadata.dev(), size: metadata.size(), modified, others: 0 }
    }
}

/// A title's file, open only while somebody reads from it.
pub(crate) struct TitleFile {
    path: PathBuf,
    stamp: Stamp,
    open: Mutex<Weak<File>>,
    reads: AtomicU64,
    octets: AtomicU64,
    /// Whether the system failed to read it, other than behind its end.
    has_failed: AtomicBool,
}

impl TitleFile {
    pub(crate) fn new(path: PathBuf, stamp: Stamp) -> Self {
        Self {
            path,
            stamp,
            open: Mutex::new(Weak::new()),
            reads: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
        }
    }

    /// The open file: the one that is open already, or the one of that name if it is still the same.
    ///
    /// # Errors
    /// The system's, or that the file has changed.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.upgrade() {
            return Ok(file);
        }
        let file = self.checked(File::open(&self.path)?)?;
        *open = Arc::downgrade(&file);
        Ok(file)
    }

    /// The same, without waiting for a disk.
    ///
    /// # Errors
    /// Those, and `WouldBlock` where its name is not at hand.
    pub(crate) fn file_at_hand(&self) -> io::Result<Arc<File>> {
        let mut open = match self.open.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody opens it just now.
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        if let Some(file) = open.upgrade() {
            return Ok(file);
        }
        let (flags, resolve) = (OFlags::RDONLY | OFlags::CLOEXEC, ResolveFlags::CACHED);
        let file = match openat2(CWD, &self.path, flags, Mode::empty(), resolve) {
            Ok(file) => self.checked(file.into())?,
            // Before Linux 5.12, and where it is not allowed, the kernel cannot tell.
            Err(Errno::AGAIN | Errno::NOSYS | Errno::INVAL | Errno::PERM) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        };
        *open = Arc::downgrade(&file);
        Ok(file)
    }

    /// Whether an open file is as it was when the index was read.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn is_same(&self, file: &File) -> io::Result<bool> {
        Ok(Stamp::of(&file.metadata()?) == self.stamp)
    }

    fn checked(&self, file: File) -> io::Result<Arc<File>> {
        if self.is_same(&file)? { Ok(Arc::new(file)) } else { Err(io::Error::other("the file has changed")) }
    }

    /// Whether a read has failed, other than behind the end: what was made of the file says nothing of it then.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// How often it was read by its name, and how many octets that gave: what its index has cost.
    pub(crate) fn cost(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.octets.load(Ordering::Relaxed))
    }
}

impl ReadAt for TitleFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let read = self.file().and_then(|file| file.read_exact_at(buffer, offset));
        if read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        read
    }

    fn size(&self) -> u64 {
        self.stamp.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(OpenFile { file: self.file()?, size: self.stamp.size }))
    }
}

/// A file that stays open, and the same, as long as this lives.
struct OpenFile {
    file: Arc<File>,
    size: u64,
}

impl ReadAt for OpenFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn read_now_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_now(&self.file, buffer, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self { file: Arc::clone(&self.file), size: self.size }))
    }
}

/// Fills `buffer` from `offset` on without waiting for a disk.
///
/// # Errors
/// The system's, `UnexpectedEof` behind the end, and `WouldBlock` where not all is at hand.
pub(crate) fn read_now(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let read = preadv2(file, &mut [IoSliceMut::new(rest)], offset.saturating_add(filled as u64), ReadWriteFlags::NOWAIT);
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => filled += len,
            Err(Errno::INTR) => {}
            // Some file systems cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_without_waiting_is_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let written: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &written).expect("written");
        let stamp = Stamp::of(&std::fs::metadata(&path).expect("there"));
        let file = TitleFile::new(path, stamp).open().expect("opens");
        for (offset, len) in [(0, 10), (1, 0), (4_095, 2), (99_000, 1_000), (5, 90_000)] {
            let mut read = vec![0; len];
            match file.read_now_at(&mut read, offset) {
                Ok(()) => assert_eq!(read, written[offset as usize..offset as usize + len]),
                // Not every file system can tell whether it is at hand.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let behind = file.read_now_at(&mut [0; 10], 99_995).expect_err("behind the end").kind();
        assert!(matches!(behind, io::ErrorKind::UnexpectedEof | io::ErrorKind::WouldBlock), "{behind}");
    }
}
