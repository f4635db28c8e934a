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
    /// The publisher's name; `None` where everybody may publish.
    user: Option<String>,
    /// What is kept of it needs the place on.
    place: OwnedSemaphorePermit,
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

    /// The rules that say who may publish at a path: of those that cover it the most specific ones, a path itself before the longest
    /// beginning. There are several where a path is given to several users, and none where nobody may.
    pub(crate) fn rules_of(&self, path: &TitlePath) -> Vec<&PublishRule> {
        let specific = |rule: &&PublishRule| (!rule.path.ends_with('*'), rule.path.len());
        let covering = || self.rules.iter().filter(|rule| rule.covers(path));
        let most = covering().map(|rule| specific(&rule)).max();
        covering().filter(|rule| Some(specific(rule)) == most).collect()
    }

    /// Takes a title path for a publisher of that name, `None` where everybody may publish. One that is away gets its title back.
    pub(crate) fn claim(self: &Arc<Self>, path: &TitlePath, user: Option<String>) -> Result<Claim, ClaimError> {
        let mut waiting = self.lock();
        if waiting.away.get(path).is_some_and(|away| away.user != user) {
            return Err(ClaimError::Taken);
        }
        let away = waiting.away.remove(path);
        drop(waiting);
        let (feed, place, has_begun) = match away {
            Some(Away { feed, place, .. }) => (feed, place, true),
            None => {
                let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ClaimError::Full)?;
                let added = self.live.add(path.clone(), self.settings);
                (added.map_err(|_: FeedError| ClaimError::Taken)?, place, false)
            }
        };
        let open = Some(Open { feed, user, place });
        Ok(Claim { publishers: Arc::clone(self), path: path.clone(), open, has_begun })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a title for who may come back to it.
    fn keep(self: &Arc<Self>, path: TitlePath, open: Open) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut waiting = self.lock();
        waiting.absences += 1;
        let number = waiting.absences;
        let Open { feed, user, place } = open;
        waiting.away.insert(path.clone(), Away { feed, user, place, number });
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
    /// `None` once it has ended.
    open: Option<Open>,
    pub has_begun: bool,
}

/// What a claim holds.
struct Open {
    feed: Feed,
    user: Option<String>,
    place: OwnedSemaphorePermit,
}

impl Claim {
    /// The title's path.
    pub const fn path(&self) -> &TitlePath {
        &self.path
    }

    /// The way into the title.
    pub fn feed(&mut self) -> Option<&mut Feed> {
        self.open.as_mut().map(|open| &mut open.feed)
    }

    /// The publisher has said that it ends.
    pub fn end(mut self) {
        if let Some(open) = self.open.take() {
            open.feed.end();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(mut open) = self.open.take().filter(|_| self.has_begun) {
            open.feed.lost(Problem { reason: "its publisher is away".into() });
            self.publishers.keep(self.path.clone(), open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publishers(rules: &[(&str, Option<&str>)]) -> Arc<Publishers> {
        let rule = |(path, user): &(&str, Option<&str>)| PublishRule {
            path: (*path).into(),
            credentials: user.map(|user| (user.to_owned(), Zeroizing::new("secret".to_owned()))),
        };
        let live = Arc::new(LiveTitles::default());
        Arc::new(Publishers::new(rules.iter().map(rule).collect(), live, LiveSettings::default(), Arc::new(Connections::default())))
    }

    fn path(path: &str) -> TitlePath {
        TitlePath::new(path).expect("a title path")
    }

    fn refused(claim: Result<Claim, ClaimError>) -> Option<ClaimError> {
        claim.err()
    }

    #[test]
    fn the_most_specific_rule_says_who_may_publish() {
        let rules =
            [("*", None), ("studio/*", Some("anna")), ("studio/*", Some("bert")), ("studio/door", Some("carl")), ("studio/d*", None)];
        let publishers = publishers(&rules);
        let users = |at: &str| {
            let user = |rule: &&PublishRule| rule.credentials.as_ref().map(|(user, _)| user.clone());
            publishers.rules_of(&path(at)).iter().map(user).collect::<Vec<_>>()
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(users("elsewhere"), [None]);
        assert_eq!(users("studio/live"), [named("anna"), named("bert")]);
        assert_eq!(users("studio/door"), [named("carl")]);
        assert_eq!(users("studio/doors"), [None]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_gets_the_title_back_and_nobody_else_does() {
        let (publishers, at) = (publishers(&[]), path("live"));
        let anna = || Some("anna".to_owned());
        let mut claim = publishers.claim(&at, anna()).expect("it is free");
        claim.has_begun = true;
        drop(claim);
        for other in [None, Some("bert".to_owned())] {
            assert_eq!(refused(publishers.claim(&at, other)), Some(ClaimError::Taken));
        }
        let again = publishers.claim(&at, anna()).expect("it is hers");
        assert!(again.has_begun);
        drop(again);
        tokio::time::sleep(RETURN + Duration::from_millis(1)).await;
        assert!(!publishers.claim(&at, None).expect("it has ended").has_begun);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_keeps_its_place() {
        let publishers = publishers(&[]);
        for number in 0..MOST {
            publishers.claim(&path(&format!("live{number}")), None).expect("there is a place").has_begun = true;
        }
        assert_eq!(refused(publishers.claim(&path("one/more"), None)), Some(ClaimError::Full));
        drop(publishers.claim(&path("live0"), None).expect("who comes back has one"));
        tokio::time::sleep(RETURN + Duration::from_millis(1)).await;
        assert_eq!(refused(publishers.claim(&path("one/more"), None)), None);
    }
}
