//! A file of the library. Idle it has its facts, and these only once it was indexed; its index is read when somebody opens it, and
//! goes when nobody has it any more.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};

use serde::{Deserialize, Serialize};

use crate::library::cache::{Cache, Outcome};
use crate::library::container;
use crate::library::cover::{Cover, cover};
use crate::library::facts::Facts;
use crate::library::file::{Stamp, TitleFile};
use crate::library::folder::is_not_served;
use crate::library::listed::List;
use crate::library::record::FactsRecord;
use crate::library::slides;
use crate::library::title::{Problem, ReadAt, Sample, Title, TitlePath};

/// Titles that are kept although nobody plays them: between the requests of a player that opens one …
const RECENT: usize = 16;
/// … unless their indexes take more octets than this. The last one is kept whatever it takes.
const RECENT_OCTETS: usize = 32 << 20;

/// What all files of a library have in common.
pub(crate) struct Shelf {
    /// The folder.
    pub(crate) root: PathBuf,
    /// What is kept of it on disk, if anything is.
    pub(crate) cache: Option<Cache>,
    recent: Mutex<VecDeque<Arc<Title>>>,
}

/// How a title is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Each track by itself.
    #[default]
    Tracks,
    /// As the transport stream that it is.
    Transport,
}

/// A file of the library.
pub struct Entry {
    /// Its name.
    pub path: TitlePath,
    /// Its size in octets.
    pub size_bytes: u64,
    pub(crate) stamp: Stamp,
    /// Of a playlist: what it names.
    pub(crate) list: Option<List>,
    shelf: Arc<Shelf>,
    known: OnceLock<Known>,
    /// The title as long as somebody has it. Locked while the index is read: who wants it too waits for that.
    title: Mutex<Weak<Title>>,
    /// The same of the title as a transport stream.
    transport: Mutex<Weak<Title>>,
}

/// What was found and is to be noted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Finding {
    outcome: Outcome,
    is_unread: bool,
}

/// What was found when its index was read.
struct Known {
    outcome: Outcome,
    /// It could not be opened: that says nothing of what is in it, and it is tried again.
    is_unread: bool,
}

impl Known {
    /// What was found, told in the log where its owner should know.
    fn of(path: &TitlePath, outcome: Outcome, is_unread: bool) -> Self {
        match &outcome {
            Ok(Facts { remark: Some(remark), .. }) => tracing::warn!(title = %path, "{remark}"),
            Ok(_) => {}
            Err(problem) => tracing::warn!(title = %path, "not playable: {problem}"),
        }
        Self { outcome, is_unread }
    }
}

impl Shelf {
    pub(crate) const fn new(root: PathBuf, cache: Option<Cache>) -> Self {
        Self { root, cache, recent: Mutex::new(VecDeque::new()) }
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
    pub(crate) fn new(path: TitlePath, stamp: Stamp, list: Option<List>, shelf: Arc<Shelf>) -> Self {
        let known = OnceLock::new();
        if let Some(outcome) = shelf.cache.as_ref().and_then(|cache| cache.facts(&path, &stamp)) {
            let _ = known.set(Known::of(&path, outcome, false));
        }
        let (title, transport) = (Mutex::new(Weak::new()), Mutex::new(Weak::new()));
        Self { path, size_bytes: stamp.size, stamp, list, shelf, known, title, transport }
    }

    /// What is to be kept of it.
    pub(crate) fn record(&self) -> Option<FactsRecord> {
        let known = self.known.get().filter(|known| !known.is_unread)?;
        Some(FactsRecord { path: self.path.as_str().into(), stamp: self.stamp, outcome: known.outcome.clone() })
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

    /// Reads the index where that was not done yet: what is to be noted of it by [`Entry::note`]; `None` where it is known.
    pub(crate) fn examine(&self) -> Option<Finding> {
        let _one_at_a_time = self.title.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.get().is_some() {
            return None;
        }
        let (outcome, is_unread) = self.look();
        let outcome = outcome.as_ref().map(Facts::from).map_err(Problem::clone);
        Some(Finding { outcome, is_unread })
    }

    /// Notes what was found, if that is not known yet.
    pub(crate) fn note(&self, Finding { outcome, is_unread }: Finding) {
        self.known.get_or_init(|| Known::of(&self.path, outcome, is_unread));
    }

    /// The title in a form if somebody has it so, without waiting.
    pub fn loaded(&self, form: Form) -> Option<Arc<Title>> {
        let title = match self.held(form).try_lock() {
            Ok(title) => title,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        title.upgrade().inspect(|title| self.shelf.keep(title))
    }

    /// The picture that its file carries of itself. Waits for the disk: not on a thread that must not wait.
    pub fn cover(&self) -> Option<Cover> {
        let file = self.shelf.root.join(self.path.as_str());
        if self.list.is_some() || slides::is_slide_show(&file) {
            return None;
        }
        let source = TitleFile::new(file, self.stamp);
        // Kept open meanwhile.
        let _open = source.file().ok()?;
        cover(&source)
    }

    /// The title. Reads its index where nobody has it, and then waits for the disk: not on a thread that must not wait.
    ///
    /// # Errors
    /// Why it cannot be played.
    pub fn title(&self) -> Result<Arc<Title>, Problem> {
        let title = self.title_in_passing()?;
        self.shelf.keep(&title);
        Ok(title)
    }

    /// The same for a playlist that names it: it is gone when nobody has it.
    ///
    /// # Errors
    /// Why it cannot be played.
    pub(crate) fn title_in_passing(&self) -> Result<Arc<Title>, Problem> {
        let mut held = self.title.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(title) = held.upgrade() {
            return Ok(title);
        }
        if let Some(Err(problem)) = self.known() {
            return Err(problem.clone());
        }
        let title = Arc::new(self.read()?);
        *held = Arc::downgrade(&title);
        Ok(title)
    }

    /// The title in a form. Reads the file where nobody has it so, and then waits for the disk: not on a thread that must not wait.
    ///
    /// # Errors
    /// Why it cannot be played, or not in that form.
    pub fn title_as(&self, form: Form) -> Result<Arc<Title>, Problem> {
        if form == Form::Tracks {
            return self.title();
        }
        let mut held = self.held(form).lock().unwrap_or_else(PoisonError::into_inner);
        let title = match held.upgrade() {
            Some(title) => title,
            None => Arc::new(container::mpegts::transport(self.title()?.as_ref())?),
        };
        *held = Arc::downgrade(&title);
        self.shelf.keep(&title);
        Ok(title)
    }

    const fn held(&self, form: Form) -> &Mutex<Weak<Title>> {
        match form {
            Form::Tracks => &self.title,
            Form::Transport => &self.transport,
        }
    }

    /// Reads the index, and notes what it says if that was not known.
    fn read(&self) -> Result<Title, Problem> {
        let (outcome, is_unread) = self.look();
        self.known.get_or_init(|| Known::of(&self.path, outcome.as_ref().map(Facts::from).map_err(Problem::clone), is_unread));
        outcome
    }

    /// Reads the index; whether that is because it could not be opened where there is a problem.
    fn look(&self) -> (Result<Title, Problem>, bool) {
        match self.parse() {
            // What a playlist names and could not be opened says nothing of the list.
            Ok(outcome) => (outcome, self.list.as_ref().is_some_and(List::has_unread)),
            Err(error) => (Err(container::problem(format!("the file cannot be read now: {error}"))), true),
        }
    }

    /// The title, or why it is none.
    ///
    /// # Errors
    /// The file cannot be opened: nothing is known of what is in it.
    fn parse(&self) -> io::Result<Result<Title, Problem>> {
        if let Some(list) = &self.list {
            return list.title(&self.shelf.root, self.path.clone(), self.shelf.cache.as_ref());
        }
        let file = self.shelf.root.join(self.path.as_str());
        if slides::is_slide_show(&file) {
            return self.parse_slides(&file);
        }
        let source = Arc::new(TitleFile::new(file.clone(), self.stamp));
        // Kept open while the index is read.
        let _open = source.file()?;
        let read: Arc<dyn ReadAt> = Arc::clone(&source) as Arc<dyn ReadAt>;
        let cache = self.shelf.cache.as_ref();
        if let Some(title) = cache.and_then(|cache| cache.index(&self.path, &self.stamp, &read)) {
            return Ok(Ok(title));
        }
        // What it is counts, not what it is called.
        let parsed = container::parse(read, self.path.clone());
        if let (Err(problem), true) = (&parsed, source.has_failed()) {
            return Err(io::Error::other(problem.to_string()));
        }
        if let (Some(cache), Ok(title)) = (cache, &parsed) {
            cache.keep_index(&self.stamp, title, source.cost());
        }
        Ok(parsed.map_err(|problem| match problem.reason == container::UNKNOWN && is_not_served(&file) {
            true => container::problem("containers of this kind are not served yet"),
            false => problem,
        }))
    }

    /// The same of a slide show.
    fn parse_slides(&self, file: &Path) -> io::Result<Result<Title, Problem>> {
        let found = slides::files::find(&self.shelf.root, file)?;
        if found.stamp != self.stamp {
            return Err(io::Error::other("the slides have changed"));
        }
        let slides = match found.slides {
            Ok(slides) => slides,
            Err(problem) => return Ok(Err(problem)),
        };
        let source: Arc<dyn ReadAt> = Arc::new(found.files.clone());
        let cache = self.shelf.cache.as_ref();
        if let Some(title) = cache.and_then(|cache| cache.index(&self.path, &self.stamp, &source)) {
            return Ok(Ok(title));
        }
        let title = slides::show::index(&slides, source, self.path.clone());
        if found.files.has_failed() {
            return Err(io::Error::other("a picture cannot be read"));
        }
        if let (Some(cache), Ok(title)) = (cache, &title) {
            cache.keep_index(&self.stamp, title, found.files.cost());
        }
        Ok(title)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("path", &self.path).field("stamp", &self.stamp).field("known", &self.known()).finish_non_exhaustive()
    }
}
