//! Opening titles for those who must not wait for a disk: the index is read on a thread of the runtime that may, once for all
//! who ask for it at the same time, and a title that takes long holds up nobody who wants another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::library::container::problem;
use crate::library::cover::Cover;
use crate::library::entry::{Entry, Form};
use crate::library::folder::Library;
use crate::library::title::{Problem, Title, TitlePath};

/// Titles whose index is read at a time for those who ask.
const AT_ONCE: usize = 32;
/// Pictures that are in memory at a time, each of which may take 4 MB, until who asked has taken them.
const COVERS_AT_ONCE: usize = 16;

type Outcome = Result<Arc<Title>, Problem>;
/// By the address of the entry, which lives as long as its title is being read: what has that name may be another file meanwhile.
type UnderWay = HashMap<(usize, Form), watch::Receiver<Option<Outcome>>>;

/// As many pictures as may be in memory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many pictures are on their way")]
pub struct TooManyCovers;

/// A picture, which takes one of a few places as long as it is there.
pub struct HeldCover {
    cover: Cover,
    _place: OwnedSemaphorePermit,
}

impl HeldCover {
    /// Its media type.
    pub const fn kind(&self) -> &'static str {
        self.cover.kind
    }
}

impl AsRef<[u8]> for HeldCover {
    fn as_ref(&self) -> &[u8] {
        &self.cover.octets
    }
}

/// Titles that are being opened.
pub(crate) struct Opening {
    under_way: Mutex<UnderWay>,
    room: Semaphore,
    covers: Arc<Semaphore>,
}

impl Default for Opening {
    fn default() -> Self {
        Self { under_way: Mutex::default(), room: Semaphore::new(AT_ONCE), covers: Arc::new(Semaphore::new(COVERS_AT_ONCE)) }
    }
}

impl Library {
    /// The title of that path in a form, a live one before a file; `None` where there is neither. In the runtime only.
    ///
    /// # Errors
    /// Why it cannot be played, or not in that form.
    pub async fn open_path(&self, path: &TitlePath, form: Form) -> Option<Result<Arc<Title>, Problem>> {
        if let Some(live) = self.live().get(path) {
            return Some(match form {
                Form::Tracks => live.open().await,
                Form::Transport => Err(problem("it is no transport stream, and is not made one")),
            });
        }
        let entry = self.entry(path)?;
        Some(self.open_title_as(&entry, form).await)
    }

    /// The title of an entry, read on another thread where nobody has it. In the runtime only.
    ///
    /// # Errors
    /// Why it cannot be played.
    pub async fn open_title(&self, entry: &Arc<Entry>) -> Outcome {
        self.open_title_as(entry, Form::Tracks).await
    }

    /// The same in a form.
    ///
    /// # Errors
    /// Why it cannot be played, or not in that form.
    pub async fn open_title_as(&self, entry: &Arc<Entry>, form: Form) -> Outcome {
        if let Some(title) = entry.loaded(form) {
            return Ok(title);
        }
        if let Some(Err(problem)) = entry.known() {
            return Err(problem.clone());
        }
        let mut told = self.opening.ask(entry, form);
        let told = told.wait_for(Option::is_some).await;
        told.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err(problem("its index could not be read")))
    }

    /// The picture that an entry's file carries of itself; `None` where it has none. In the runtime only.
    ///
    /// # Errors
    /// There was no room for it until then.
    pub async fn open_cover(&self, entry: &Arc<Entry>, until: Instant) -> Result<Option<HeldCover>, TooManyCovers> {
        let place = timeout_at(until, Arc::clone(&self.opening.covers).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(TooManyCovers) };
        let entry = Arc::clone(entry);
        let cover = tokio::task::spawn_blocking(move || entry.cover()).await.ok().flatten();
        Ok(cover.map(|cover| HeldCover { cover, _place: place }))
    }
}

impl Opening {
    fn ask(self: &Arc<Self>, entry: &Arc<Entry>, form: Form) -> watch::Receiver<Option<Outcome>> {
        let key = (Arc::as_ptr(entry) as usize, form);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose thread has ended badly tells nothing any more.
        if let Some(told) = under_way.get(&key).filter(|told| told.has_changed().is_ok()) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        under_way.insert(key, told.clone());
        let (opening, entry) = (Arc::clone(self), Arc::clone(entry));
        tokio::spawn(async move {
            let _place = opening.room.acquire().await;
            let read = Arc::clone(&entry);
            let outcome = tokio::task::spawn_blocking(move || read.title_as(form)).await;
            opening.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            if let Ok(outcome) = outcome {
                tell.send_replace(Some(outcome));
            }
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use std::path::Path;

    #[test]
    fn all_who_ask_get_the_same_title_and_the_problem_of_one_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        std::fs::copy(media, folder.path().join("a.mp4")).expect("copied");
        std::fs::write(folder.path().join("b.mp4"), b"noise").expect("written");
        let library = Arc::new(Library::open(folder.path()).expect("a folder"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let entries = library.entries();
        let ask = |entry: &Arc<Entry>| {
            let (library, entry) = (Arc::clone(&library), Arc::clone(entry));
            runtime.spawn(async move { library.open_title(&entry).await })
        };
        let asked: Vec<_> = (0..50).map(|_| ask(&entries[0])).collect();
        let titles: Vec<_> = asked.into_iter().map(|asked| runtime.block_on(asked).expect("no panic").expect("it plays")).collect();
        assert!(titles.iter().all(|title| Arc::ptr_eq(title, &titles[0])));
        for _ in 0..2 {
            let problem = runtime.block_on(ask(&entries[1])).expect("no panic").expect_err("noise");
            assert_eq!(problem.reason, "not a media file of a known format");
        }
        assert!(library.opening.under_way.lock().expect("sound").is_empty());
    }
}
