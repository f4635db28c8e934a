//! Live titles by their paths, as those see them who want to watch: who feeds one may have to be told first that somebody does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::library::live::feed::{Feed, FeedError};
use crate::library::live::window::LiveSettings;
use crate::library::title::{Problem, Title, TitlePath};

/// How long somebody who wants to watch waits for the source.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a live title.
#[derive(Clone, Default)]
struct Stand {
    title: Option<Arc<Title>>,
    /// Whether somebody can begin: its first random access point has come.
    is_ready: bool,
    /// Why the source is away, or what there is to know of it although it is there.
    problem: Option<Problem>,
    /// Whether the source is there.
    is_online: bool,
    /// Counts how often it went away.
    losses: u64,
}

/// A title that somebody feeds, or will when it is wanted.
pub struct LiveTitle {
    /// Its name.
    pub path: TitlePath,
    stand: watch::Sender<Stand>,
    wanted: Notify,
    asked: AtomicBool,
    /// How many wait in [`LiveTitle::open`].
    waiting: AtomicUsize,
}

/// Counts somebody who waits, for as long as it is there.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for LiveTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTitle").field("path", &self.path).field("is_online", &self.is_online()).finish_non_exhaustive()
    }
}

impl LiveTitle {
    fn new(path: TitlePath) -> Self {
        let (asked, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { path, stand: watch::Sender::default(), wanted: Notify::new(), asked, waiting }
    }

    /// The title, once somebody can begin; the source is asked for. In the runtime only.
    ///
    /// # Errors
    /// Why it cannot be watched.
    pub async fn open(&self) -> Result<Arc<Title>, Problem> {
        let mut told = self.stand.subscribe();
        let losses = told.borrow().losses;
        let _waits = Waits::new(&self.waiting);
        self.asked.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
        let waited =
            tokio::time::timeout(PATIENCE, told.wait_for(|stand| stand.is_ready && stand.is_online || stand.losses != losses)).await;
        let late = || Problem { reason: "the source has not answered in time".into() };
        match waited {
            Ok(Ok(stand)) => match (&stand.title, &stand.problem) {
                (Some(title), _) if stand.is_ready && stand.is_online => Ok(Arc::clone(title)),
                (_, Some(problem)) => Err(problem.clone()),
                _ => Err(late()),
            },
            Ok(Err(_)) | Err(_) => Err(self.problem().unwrap_or_else(late)),
        }
    }

    /// The title, if somebody could begin now.
    pub fn ready(&self) -> Option<Arc<Title>> {
        let stand = self.stand.borrow();
        stand.title.clone().filter(|_| stand.is_ready)
    }

    /// Whether the source is there.
    pub fn is_online(&self) -> bool {
        self.stand.borrow().is_online
    }

    /// Why the source is away, or what there is to know of it.
    pub fn problem(&self) -> Option<Problem> {
        self.stand.borrow().problem.clone()
    }

    /// Whether somebody watches, or is about to.
    pub fn is_watched(&self) -> bool {
        self.stand.borrow().title.as_ref().is_some_and(|title| Arc::strong_count(title) > 1)
    }

    /// Whether somebody has wanted to watch since that was asked last.
    pub fn was_wanted(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Who still waits in [`LiveTitle::open`] is told of as if it had come now: another source is to answer.
    pub fn ask_again(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.asked.store(true, Ordering::Relaxed);
            self.wanted.notify_one();
        }
    }

    /// Waits until somebody wants to watch, or did since [`LiveTitle::was_wanted`] was asked last.
    pub async fn wanted(&self) {
        // A notice may be left over from somebody of whom that has told.
        while !self.asked.load(Ordering::Relaxed) {
            self.wanted.notified().await;
        }
    }

    pub(super) fn opened(&self, title: Arc<Title>, remark: Option<Problem>) {
        self.stand.send_modify(|stand| {
            (stand.title, stand.is_ready, stand.is_online, stand.problem) = (Some(title), false, true, remark);
        });
    }

    pub(super) fn found(&self, remark: Option<Problem>) {
        self.stand.send_modify(|stand| (stand.is_ready, stand.is_online, stand.problem) = (false, true, remark));
    }

    pub(super) fn is_ready(&self) {
        self.stand.send_modify(|stand| stand.is_ready = true);
    }

    pub(super) fn lost(&self, reason: Problem) {
        self.stand.send_modify(|stand| {
            stand.losses = stand.losses.wrapping_add(1);
            (stand.is_online, stand.problem) = (false, Some(reason));
        });
    }

    pub(super) fn closed(&self) {
        self.stand.send_modify(|stand| (stand.title, stand.is_ready, stand.is_online) = (None, false, false));
    }
}

/// All live titles of a server.
#[derive(Debug, Default)]
pub struct LiveTitles {
    titles: Mutex<BTreeMap<TitlePath, Arc<LiveTitle>>>,
    /// A path has become free.
    freed: Notify,
}

impl LiveTitles {
    /// Reserves a path, to feed the title of that path.
    ///
    /// # Errors
    /// `Taken`.
    pub fn add(self: &Arc<Self>, path: TitlePath, settings: LiveSettings) -> Result<Feed, FeedError> {
        let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        if titles.contains_key(&path) {
            return Err(FeedError::Taken);
        }
        let title = Arc::new(LiveTitle::new(path.clone()));
        titles.insert(path, Arc::clone(&title));
        drop(titles);
        Ok(Feed::new(Arc::clone(self), title, settings))
    }

    /// Reserves a path once nobody feeds a title there.
    pub async fn add_when_free(self: &Arc<Self>, path: TitlePath, settings: LiveSettings) -> Feed {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Ok(feed) = self.add(path.clone(), settings) {
                return feed;
            }
            freed.await;
        }
    }

    /// The live title of that path.
    pub fn get(&self, path: &TitlePath) -> Option<Arc<LiveTitle>> {
        self.titles.lock().unwrap_or_else(PoisonError::into_inner).get(path).map(Arc::clone)
    }

    /// All of them, by path.
    pub fn all(&self) -> Vec<Arc<LiveTitle>> {
        self.titles.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    pub(super) fn remove(&self, title: &Arc<LiveTitle>) {
        let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        if titles.get(&title.path).is_some_and(|known| Arc::ptr_eq(known, title)) {
            titles.remove(&title.path);
        }
        drop(titles);
        self.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_was_told_of_already_is_not_waited_for_again() {
        let title = LiveTitle::new(TitlePath::new("a").expect("a path"));
        let is_wanted = async || tokio::time::timeout(Duration::from_secs(1), title.wanted()).await.is_ok();
        assert!(!is_wanted().await);
        assert!(title.open().await.is_err(), "nobody feeds it");
        assert!(is_wanted().await && is_wanted().await, "it has not been asked for");
        assert!(title.was_wanted() && !title.was_wanted());
        assert!(!is_wanted().await, "a notice was left over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_again_and_who_has_gone_is_not() {
        let title = LiveTitle::new(TitlePath::new("a").expect("a path"));
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, title.open()).await.is_err() && title.was_wanted());
        title.ask_again();
        assert!(!title.was_wanted(), "nobody waits any more");
        tokio::join!(title.open(), async {
            tokio::time::sleep(second).await;
            assert!(title.was_wanted() && !title.was_wanted());
            title.ask_again();
            assert!(title.was_wanted());
        })
        .0
        .expect_err("nobody feeds it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_is_taken_is_waited_for() {
        let (titles, path) = (Arc::new(LiveTitles::default()), TitlePath::new("a").expect("a path"));
        let feed = titles.add(path.clone(), LiveSettings::default()).expect("it is free");
        let mut next = std::pin::pin!(titles.add_when_free(path.clone(), LiveSettings::default()));
        assert!(tokio::time::timeout(Duration::from_secs(60), next.as_mut()).await.is_err(), "it is taken");
        feed.end();
        let next = tokio::time::timeout(Duration::from_secs(1), next).await.expect("it is free");
        assert!(titles.get(&path).is_some_and(|title| Arc::ptr_eq(&title, next.title())));
    }
}
