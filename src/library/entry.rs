//! A file of the library. Idle it has its facts, and these only once it was indexed; its index is read when somebody opens it, and
//! goes when nobody has it any more.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};

use crate::library::container;
use crate::library::facts::Facts;
use crate::library::file::{Stamp, TitleFile};
use crate::library::folder::is_not_served;
use crate::library::title::{Problem, ReadAt, Sample, Title, TitlePath};

/// Titles that are kept although nobody plays them: between the requests of a player that opens one …
const RECENT: usize = 16;
/// … unless their indexes take more octets than this. The last one is kept whatever it takes.
const RECENT_OCTETS: usize = 32 << 20;

/// What all files of a library have in common.
pub(crate) struct Shelf {
    /// The folder.
    pub(crate) root: PathBuf,
    recent: Mutex<VecDeque<Arc<Title>>>,
}

/// A file of the library.
pub struct Entry {
    /// Its name.
    pub path: TitlePath,
    /// Its size in octets.
    pub size_bytes: u64,
    pub(crate) stamp: Stamp,
    shelf: Arc<Shelf>,
    known: OnceLock<Known>,
    /// The title as long as somebody has it. Locked while the index is read: who wants it too waits for that.
    title: Mutex<Weak<Title>>,
}

/// What was found when its index was read.
struct Known {
    outcome: Result<Facts, Problem>,
    /// It could not be opened: that says nothing of what is in it, and it is tried again.
    is_unread: bool,
}

impl Shelf {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root, recent: Mutex::new(VecDeque::new()) }
    }

    /// Keeps a title for a while.
    fn keep(&self, title: &Arc<Title>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|known| !Arc::ptr_eq(known, title));
        recent.push_back(Arc::clone(title));
        while recent.len() > 1 && (recent.len() > RECENT || recent.iter().map(index_octets).sum::<usize>() > RECENT_OCTETS) {
            recent.pop_front();
        }
    }

    /// Keeps those no longer that `is_gone` says so of.
    pub(crate) fn forget(&self, is_gone: impl Fn(&TitlePath) -> bool) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).retain(|title| !is_gone(&title.path));
    }
}

fn index_octets(title: &Arc<Title>) -> usize {
    title.tracks.iter().map(|track| track.len() * size_of::<Sample>()).sum()
}

impl Entry {
    pub(crate) fn new(path: TitlePath, stamp: Stamp, shelf: Arc<Shelf>) -> Self {
        Self { path, size_bytes: stamp.size, stamp, shelf, known: OnceLock::new(), title: Mutex::new(Weak::new()) }
    }

    /// What is known of it without reading: its facts, or why it cannot be played. `None` as long as it was not indexed.
    pub fn known(&self) -> Option<Result<&Facts, &Problem>> {
        self.known.get().map(|known| known.outcome.as_ref())
    }

    /// Whether it was to be indexed and could not be opened.
    pub(crate) fn is_unread(&self) -> bool {
        self.known.get().is_some_and(|known| known.is_unread)
    }

    /// Its facts. Reads the index where that was not done yet, and then waits for the disk.
    ///
    /// # Errors
    /// Why it cannot be played.
    pub fn facts(&self) -> Result<&Facts, &Problem> {
        if self.known.get().is_none() {
            let title = self.title.lock().unwrap_or_else(PoisonError::into_inner);
            if self.known.get().is_none() {
                // Not kept: nobody has asked for it.
                drop(self.read());
            }
            drop(title);
        }
        static NEVER: Problem = Problem { reason: String::new() };
        self.known().unwrap_or(Err(&NEVER))
    }

    /// The title if somebody has it, without waiting.
    pub fn loaded(&self) -> Option<Arc<Title>> {
        let title = match self.title.try_lock() {
            Ok(title) => title,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        title.upgrade().inspect(|title| self.shelf.keep(title))
    }

    /// The title. Reads its index where nobody has it, and then waits for the disk: not on a thread that must not wait.
    ///
    /// # Errors
    /// Why it cannot be played.
    pub fn title(&self) -> Result<Arc<Title>, Problem> {
        let mut held = self.title.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(title) = held.upgrade() {
            self.shelf.keep(&title);
            return Ok(title);
        }
        if let Some(Err(problem)) = self.known() {
            return Err(problem.clone());
        }
        let title = Arc::new(self.read()?);
        *held = Arc::downgrade(&title);
        self.shelf.keep(&title);
        Ok(title)
    }

    /// Reads the index, and notes what it says if that was not known.
    fn read(&self) -> Result<Title, Problem> {
        let (outcome, is_unread) = match self.parse() {
            Ok(outcome) => (outcome, false),
            Err(error) => (Err(container::problem(format!("the file cannot be opened: {error}"))), true),
        };
        self.known.get_or_init(|| {
            match &outcome {
                Ok(Title { remark: Some(remark), .. }) => tracing::warn!(title = %self.path, "{remark}"),
                Ok(_) => {}
                Err(problem) => tracing::warn!(title = %self.path, "not playable: {problem}"),
            }
            Known { outcome: outcome.as_ref().map(Facts::from).map_err(Problem::clone), is_unread }
        });
        outcome
    }

    /// The title, or why it is none.
    ///
    /// # Errors
    /// The file cannot be opened: nothing is known of what is in it.
    fn parse(&self) -> io::Result<Result<Title, Problem>> {
        let file = self.shelf.root.join(self.path.as_str());
        let source = Arc::new(TitleFile::new(file.clone(), self.stamp));
        // Kept open while the index is read.
        let _open = source.file()?;
        // What it is counts, not what it is called.
        let parsed = container::parse(Arc::clone(&source) as Arc<dyn ReadAt>, self.path.clone());
        Ok(parsed.map_err(|problem| match problem.reason == container::UNKNOWN && is_not_served(&file) {
            true => container::problem("containers of this kind are not served yet"),
            false => problem,
        }))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("path", &self.path).field("stamp", &self.stamp).field("known", &self.known()).finish_non_exhaustive()
    }
}
