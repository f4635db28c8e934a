//! A title's file on disk: open only while somebody reads from it, and never another one than the index was read from.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), device: metadata.dev(), size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// A title's file, open only while somebody reads from it.
pub(crate) struct TitleFile {
    path: PathBuf,
    stamp: Stamp,
    open: Mutex<Weak<File>>,
    reads: AtomicU64,
    octets: AtomicU64,
}

impl TitleFile {
    pub(crate) fn new(path: PathBuf, stamp: Stamp) -> Self {
        Self { path, stamp, open: Mutex::new(Weak::new()), reads: AtomicU64::new(0), octets: AtomicU64::new(0) }
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
        let file = Arc::new(File::open(&self.path)?);
        if Stamp::of(&file.metadata()?) != self.stamp {
            return Err(io::Error::other("the file has changed"));
        }
        *open = Arc::downgrade(&file);
        Ok(file)
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
        self.file()?.read_exact_at(buffer, offset)
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

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self { file: Arc::clone(&self.file), size: self.size }))
    }
}
