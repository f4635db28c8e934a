//! Who may publish, and who does: a title path has one publisher at a time, and waits for its return for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::library::live::{Feed, FeedError, LiveSettings, LiveTitles};
use crate::library::{Problem, TitlePath};
use crate::net::Connections;

/// So long a title whose publisher has vanished waits for its return.
pub const RETURN: Duration = Duration::from_secs(10);
/// Publishers at a time.
const MOST: usize = 64;

/// Who may publish at some paths.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishRule {
    /// A title path, or what all of them begin with and a `*`.
    pub path: String,
    /// The name and the password that are asked for; `None` lets in everybody.
    pub credentials: Option<(String, Zeroizing<String>)>,
}

impl PublishRule {
    /// Whether it is about that path.
    pub fn covers(&self, path: &TitlePath) -> bool {
        match self.path.strip_suffix('*') {
            Some(begin) => path.as_str().strip_prefix(begin).is_some_and(|rest| !rest.is_empty()),
            None => path.as_str() == self.path,
        }
    }
}

/// Why a path cannot be published at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody does.
    #[error("there is a live title already")]
    Taken,
    /// Too many publish.
    #[error("too many publish")]
    Full,
}

/// A title whose publisher is away.
struct Away {
    feed: Feed,
    /// Which absence it is.
    number: u64,
}

#[derive(Default)]
struct Waiting {
    away: HashMap<TitlePath, Away>,
    absences: u64,
}

/// All publishers of a server.
pub struct Publishers {
    /// Who may publish where.
    pub rules: Vec<PublishRule>,
    /// Where the interleaved ones are answered.
    pub(crate) connections: Arc<Connections>,
    live: Arc<LiveTitles>,
    settings: LiveSettings,
    waiting: Mutex<Waiting>,
    places: Arc<Semaphore>,
}

impl Publishers {
    /// Nobody yet. Their titles are kept among `live`, as far as `settings` say.
    pub fn new(rules: Vec<PublishRule>, live: Arc<LiveTitles>, settings: LiveSettings, connections: Arc<Connections>) -> Self {
        Self { rules, connections, live, settings, waiting: Mutex::default(), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Takes a title path for a publisher.
    pub(crate) fn claim(self: &Arc<Self>, path: &TitlePath) -> Result<Claim, ClaimError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ClaimError::Full)?;
        let away = self.lock().away.remove(path);
        let (feed, has_begun) = match away {
            Some(Away { feed, .. }) => (feed, true),
            None => {
                let added = self.live.add(path.clone(), self.settings);
                (added.map_err(|_: FeedError| ClaimError::Taken)?, false)
            }
        };
        Ok(Claim { publishers: Arc::clone(self), path: path.clone(), feed: Some(feed), has_begun, _place: place })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a title for who may come back to it.
    fn keep(self: &Arc<Self>, path: TitlePath, feed: Feed) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut waiting = self.lock();
        waiting.absences += 1;
        let number = waiting.absences;
        waiting.away.insert(path.clone(), Away { feed, number });
        drop(waiting);
        let publishers = Arc::clone(self);
        runtime.spawn(async move {
            tokio::time::sleep(RETURN).await;
            let mut waiting = publishers.lock();
            let is_still = waiting.away.get(&path).is_some_and(|away| away.number == number);
            let ended = if is_still { waiting.away.remove(&path) } else { None };
            drop(waiting);
            if ended.is_some() {
                tracing::info!(title = %path, "a publisher has not come back: its title has ended");
            }
        });
    }
}

/// A title path that is taken. Dropped, the title waits for its publisher's return, if it has ever begun.
pub(crate) struct Claim {
    publishers: Arc<Publishers>,
    path: TitlePath,
    feed: Option<Feed>,
    pub has_begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Claim {
    /// The title's path.
    pub const fn path(&self) -> &TitlePath {
        &self.path
    }

    /// The way into the title.
    pub const fn feed(&mut self) -> Option<&mut Feed> {
        self.feed.as_mut()
    }

    /// The publisher has said that it ends.
    pub fn end(mut self) {
        if let Some(feed) = self.feed.take() {
            feed.end();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(mut feed) = self.feed.take().filter(|_| self.has_begun) {
            feed.lost(Problem { reason: "its publisher is away".into() });
            self.publishers.keep(self.path.clone(), feed);
        }
    }
}
