//! Who may publish, and who does: a title path has one publisher at a time, and waits for its return for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::access::PasswordHash;
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
    /// The name that is asked for, and what its password is kept as; `None` lets in everybody.
    pub credentials: Option<(String, PasswordHash)>,
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

/// All rules of a server.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PublishRules(Vec<PublishRule>);

impl PublishRules {
    /// These.
    pub const fn new(rules: Vec<PublishRule>) -> Self {
        Self(rules)
    }

    /// The rules that say who may publish at a path: of those that cover it the most specific ones, a path itself before the longest
    /// beginning. There are several where a path is given to several users, and none where nobody may.
    pub(crate) fn of(&self, path: &TitlePath) -> Vec<&PublishRule> {
        let specific = |rule: &&PublishRule| (!rule.path.ends_with('*'), rule.path.len());
        let covering = || self.0.iter().filter(|rule| rule.covers(path));
        let most = covering().map(|rule| specific(&rule)).max();
        covering().filter(|rule| Some(specific(rule)) == most).collect()
    }

    /// Whether somebody of that name, whom these rules let in at a path, would still be let in by others: another password is another user.
    fn goes_on_by(&self, others: &Self, path: &TitlePath, user: Option<&str>) -> bool {
        let before = self.of(path);
        let knew = |credentials: &(String, PasswordHash)| {
            user == Some(credentials.0.as_str()) && before.iter().any(|rule| rule.credentials.as_ref() == Some(credentials))
        };
        others.of(path).iter().any(|rule| rule.credentials.as_ref().is_none_or(knew))
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
    /// The rules that have let it in.
    rules: Arc<PublishRules>,
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
    rules: watch::Sender<Arc<PublishRules>>,
    /// Where the interleaved ones are answered.
    pub(crate) connections: Arc<Connections>,
    live: Arc<LiveTitles>,
    settings: LiveSettings,
    waiting: Mutex<Waiting>,
    places: Arc<Semaphore>,
}

impl Publishers {
    /// Nobody yet. Their titles are kept among `live`, as far as `settings` say.
    pub fn new(rules: PublishRules, live: Arc<LiveTitles>, settings: LiveSettings, connections: Arc<Connections>) -> Self {
        let rules = watch::Sender::new(Arc::new(rules));
        Self { rules, connections, live, settings, waiting: Mutex::default(), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Who may publish where.
    pub(crate) fn rules(&self) -> Arc<PublishRules> {
        Arc::clone(&self.rules.borrow())
    }

    /// Whether nobody may publish anywhere.
    pub(crate) fn is_closed(&self) -> bool {
        self.rules.borrow().0.is_empty()
    }

    /// Tells when there are other rules.
    pub(crate) fn watch_rules(&self) -> watch::Receiver<Arc<PublishRules>> {
        self.rules.subscribe()
    }

    /// From now on these rules hold. Whoever publishes and may no more is ended; so are titles that wait for such a publisher.
    pub fn replace(&self, rules: PublishRules) {
        let rules = Arc::new(rules);
        let mut waiting = self.lock();
        self.rules.send_replace(Arc::clone(&rules));
        let is_over = |path: &TitlePath, away: &mut Away| !away.rules.goes_on_by(&rules, path, away.user.as_deref());
        let over: Vec<_> = waiting.away.extract_if(is_over).collect();
        drop(waiting);
        for (path, _) in &over {
            tracing::info!(title = %path, "a publisher that is away may publish no more: its title has ended");
        }
    }

    /// Takes a title path for a publisher of that name, `None` where everybody may publish. One that is away gets its title back.
    /// `rules` are those that have let it in.
    pub(crate) fn claim(self: &Arc<Self>, path: &TitlePath, user: Option<String>, rules: Arc<PublishRules>) -> Result<Claim, ClaimError> {
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
        let open = Some(Open { feed, user, rules, place });
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
        let Open { feed, user, rules, place } = open;
        // While it was there, others may have come to hold.
        if !rules.goes_on_by(&self.rules(), &path, user.as_deref()) {
            return;
        }
        waiting.away.insert(path.clone(), Away { feed, user, rules, place, number });
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
    rules: Arc<PublishRules>,
    place: OwnedSemaphorePermit,
}

impl Claim {
    /// The title's path.
    pub const fn path(&self) -> &TitlePath {
        &self.path
    }

    /// Whether the rules that hold now let its publisher go on.
    pub fn is_allowed(&self) -> bool {
        let goes_on = |open: &Open| open.rules.goes_on_by(&self.publishers.rules(), &self.path, open.user.as_deref());
        self.open.as_ref().is_some_and(goes_on)
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
    use crate::access::Hashing;

    fn publishers(rules: &[(&str, Option<&str>)]) -> Arc<Publishers> {
        let rule = |(path, user): &(&str, Option<&str>)| PublishRule {
            path: (*path).into(),
            credentials: user.map(|user| (user.to_owned(), PasswordHash::of(Hashing::Md5, user, "secret"))),
        };
        let live = Arc::new(LiveTitles::default());
        let rules = PublishRules::new(rules.iter().map(rule).collect());
        Arc::new(Publishers::new(rules, live, LiveSettings::default(), Arc::new(Connections::default())))
    }

    fn claim(publishers: &Arc<Publishers>, path: &TitlePath, user: Option<String>) -> Result<Claim, ClaimError> {
        publishers.claim(path, user, publishers.rules())
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
            publishers.rules().of(&path(at)).iter().map(user).collect::<Vec<_>>()
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(users("elsewhere"), [None]);
        assert_eq!(users("studio/live"), [named("anna"), named("bert")]);
        assert_eq!(users("studio/door"), [named("carl")]);
        assert_eq!(users("studio/doors"), [None]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_gets_the_title_back_and_nobody_else_does() {
        let (publishers, at) = (publishers(&[("live", None), ("live", Some("anna"))]), path("live"));
        let anna = || Some("anna".to_owned());
        let mut first = claim(&publishers, &at, anna()).expect("it is free");
        first.has_begun = true;
        drop(first);
        for other in [None, Some("bert".to_owned())] {
            assert_eq!(refused(claim(&publishers, &at, other)), Some(ClaimError::Taken));
        }
        let again = claim(&publishers, &at, anna()).expect("it is hers");
        assert!(again.has_begun);
        drop(again);
        tokio::time::sleep(RETURN + Duration::from_millis(1)).await;
        assert!(!claim(&publishers, &at, None).expect("it has ended").has_begun);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_keeps_its_place() {
        let publishers = publishers(&[("*", None)]);
        for number in 0..MOST {
            claim(&publishers, &path(&format!("live{number}")), None).expect("there is a place").has_begun = true;
        }
        assert_eq!(refused(claim(&publishers, &path("one/more"), None)), Some(ClaimError::Full));
        drop(claim(&publishers, &path("live0"), None).expect("who comes back has one"));
        tokio::time::sleep(RETURN + Duration::from_millis(1)).await;
        assert_eq!(refused(claim(&publishers, &path("one/more"), None)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_publish_no_more_is_told_so_and_nobody_else() {
        let rule = |path: &str, user: &str, password: &str| PublishRule {
            path: path.into(),
            credentials: Some((user.to_owned(), PasswordHash::of(Hashing::Md5, user, password))),
        };
        let publishers = publishers(&[]);
        let all = [("a", "anna"), ("b", "bert"), ("c", "carl"), ("d", "dora")];
        publishers.replace(PublishRules::new(all.iter().map(|(path, user)| rule(path, user, "old")).collect()));
        let take = |at: &str, user: &str| claim(&publishers, &path(at), Some(user.to_owned())).expect("it is free");
        let mut claims = all.map(|(path, user)| take(path, user));
        claims.iter_mut().for_each(|claim| claim.has_begun = true);
        let mut told = publishers.watch_rules();
        // One is the same, one has another password, one is gone, and one is open to all.
        let open = PublishRule { path: "d".into(), credentials: None };
        publishers.replace(PublishRules::new(vec![rule("a", "anna", "old"), rule("b", "bert", "new"), open]));
        assert!(told.has_changed().expect("there are publishers") && told.borrow_and_update().0.len() == 3);
        assert_eq!(claims.each_ref().map(Claim::is_allowed), [true, false, false, true]);
        drop(claims);
        let free = |at: &str| publishers.live.get(&path(at)).is_none();
        assert_eq!(["a", "b", "c", "d"].map(free), [false, true, true, false], "who may not come back is not waited for");
        publishers.replace(PublishRules::default());
        assert!(["a", "d"].map(free) == [true, true] && publishers.is_closed());
    }
}
