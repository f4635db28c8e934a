//! Turns between a connection's first request about a title and the answer to its PLAY.
//!
//! Players that start in the same moment share the processor, so that all of them start late; one after the other, each starts
//! as soon as it can, and the last no later. So only a few connections have a turn at a time, the others wait in order.
//!
//! Whoever is slow disturbs nobody: a turn ends as soon as the server waits for the player longer than [`LAPSE`], or has lasted for
//! [`PATIENCE`], that connection takes none any more, and nobody waits for a turn longer than [`PATIENCE`]: then it goes on without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Connections that have a turn at a time: enough that the processor has something to do while their players think.
const TURNS: usize = 4;
/// A player that lets the server wait for so long is slow.
pub(crate) const LAPSE: Duration = Duration::from_millis(4);
/// The longest that a connection waits for its turn, and has it.
const PATIENCE: Duration = Duration::from_millis(100);

/// The turns of a server.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(TURNS)) }
    }
}

/// Where a connection is between its first request about a title and the answer to PLAY.
#[derive(Debug, Default)]
pub(crate) enum Turn {
    /// Nothing has begun.
    #[default]
    Idle,
    /// It starts something, and others wait for it, that long; without a permit where it had waited for too long itself.
    Taken(Option<OwnedSemaphorePermit>, Instant),
    /// Its player is slow: it neither waits nor lets others wait.
    Slow,
}

impl Turn {
    /// Called before a request is answered: waits for a turn where it begins something.
    pub(crate) async fn before(&mut self, method: &str, turns: &Turns) {
        if matches!(self, Self::Idle) && matches!(method, "DESCRIBE" | "SETUP") {
            let free = Arc::clone(&turns.free);
            let permit = timeout(PATIENCE, free.acquire_owned()).await.ok().and_then(Result::ok);
            *self = Self::Taken(permit, Instant::now() + PATIENCE);
        }
    }

    /// Called when the request was answered: with the answer to PLAY the turn is over.
    pub(crate) fn after(&mut self, method: &str) {
        if matches!(self, Self::Taken(..)) && matches!(method, "PLAY" | "TEARDOWN") {
            *self = Self::Idle;
        }
    }

    /// For how long the player is waited for before its turn lapses; `None` where nobody waits for it.
    pub(crate) fn patience(&self) -> Option<Duration> {
        match self {
            Self::Taken(Some(_), until) => Some(until.saturating_duration_since(Instant::now()).min(LAPSE)),
            _ => None,
        }
    }

    /// Called when the player has been waited for longer than that.
    pub(crate) fn lapse(&mut self) {
        *self = Self::Slow;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Whether a request goes on at once.
    fn goes_on(turn: &mut Turn, method: &str, turns: &Turns) -> bool {
        let mut waits = pin!(turn.before(method, turns));
        matches!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
    }

    fn all_taken(turns: &Turns) -> Vec<Turn> {
        let mut holders: Vec<Turn> = (0..TURNS).map(|_| Turn::default()).collect();
        assert!(holders.iter_mut().all(|holder| goes_on(holder, "DESCRIBE", turns)));
        holders
    }

    #[tokio::test]
    async fn who_starts_waits_until_one_of_those_before_has_its_answer_to_play() {
        let turns = Turns::default();
        let mut holders = all_taken(&turns);
        let mut late = Turn::default();
        assert!(!goes_on(&mut late, "SETUP", &turns));
        assert!(goes_on(&mut holders[0], "SETUP", &turns), "who has a turn keeps it");
        holders[0].after("SETUP");
        assert!(!goes_on(&mut late, "SETUP", &turns));
        holders[0].after("PLAY");
        assert!(goes_on(&mut late, "SETUP", &turns));
        assert!(!goes_on(&mut holders[0], "SETUP", &turns), "what it starts next waits as all others");
    }

    #[tokio::test]
    async fn requests_that_start_nothing_wait_for_nobody() {
        let turns = Turns::default();
        let _holders = all_taken(&turns);
        for method in ["OPTIONS", "PLAY", "PAUSE", "GET_PARAMETER", "TEARDOWN"] {
            assert!(goes_on(&mut Turn::default(), method, &turns), "{method}");
        }
    }

    #[tokio::test]
    async fn who_is_slow_or_goes_away_gives_its_turn_back_and_takes_none_again() {
        let turns = Turns::default();
        let mut holders = all_taken(&turns);
        holders[0].lapse();
        let mut next = Turn::default();
        assert!(goes_on(&mut next, "DESCRIBE", &turns));
        assert!(goes_on(&mut holders[0], "SETUP", &turns) && holders[0].patience().is_none());
        holders[0].after("PLAY");
        assert!(goes_on(&mut holders[0], "DESCRIBE", &turns) && holders[0].patience().is_none());
        holders.truncate(1);
        assert!(goes_on(&mut Turn::default(), "DESCRIBE", &turns), "those that have gone hold none");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_without_end() {
        let turns = Turns::default();
        let _holders = all_taken(&turns);
        let (begun, mut late) = (Instant::now(), Turn::default());
        late.before("SETUP", &turns).await;
        assert_eq!(late.patience(), None, "it goes on without a turn");
        assert!((PATIENCE..PATIENCE * 2).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_talking_has_its_turn_for_a_while_only() {
        let turns = Turns::default();
        let mut holders = all_taken(&turns);
        tokio::time::advance(PATIENCE - LAPSE / 2).await;
        assert_eq!(holders[0].patience(), Some(LAPSE / 2));
        tokio::time::advance(LAPSE).await;
        holders[0].after("OPTIONS");
        assert_eq!(holders[0].patience(), Some(Duration::ZERO));
    }
}
