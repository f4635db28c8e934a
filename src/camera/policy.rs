//! When a camera is asked, and for how long: pure.

use std::time::Duration;

use crate::now::Mono;

/// A camera that nobody watches is let go after this.
pub(super) const LINGER: Duration = Duration::from_secs(10);
/// The first pause before a camera is tried again …
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … and the longest: each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A session that has lasted so long begins the pauses anew.
const SOUND: Duration = Duration::from_secs(30);

/// The pauses between the sessions with a camera.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    /// The first one is next.
    pub(super) const fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// That behind a session, or an attempt at one, which has lasted so long and broke.
    pub(super) fn after(&mut self, lasted: Duration) -> Duration {
        let pause = if lasted >= SOUND { FIRST_PAUSE } else { self.next };
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// Whether a session goes on.
#[derive(Debug)]
pub(super) struct Interest {
    always: bool,
    /// When somebody watched last.
    watched: Mono,
}

impl Interest {
    /// Somebody wants to watch, or nobody has to.
    pub(super) const fn new(always: bool, now: Mono) -> Self {
        Self { always, watched: now }
    }

    /// Whether it does, where somebody watches now, or has wanted to since that was asked last, or not.
    pub(super) fn lasts(&mut self, is_watched: bool, now: Mono) -> bool {
        if is_watched {
            self.watched = now;
        }
        self.always || now.since(self.watched) < LINGER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn pauses_grow_until_a_session_has_been_sound() {
        let mut pauses = Pauses::new();
        let mut after = |seconds: u64| pauses.after(Duration::from_secs(seconds)).as_secs();
        // Some say no at once, others nothing for ten seconds.
        assert_eq!([0, 10, 0, 29, 0, 10, 0, 0].map(&mut after), [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!([30, 0, 0, 3600, 0].map(&mut after), [1, 2, 4, 1, 2]);
    }

    #[test]
    fn who_has_left_is_waited_for_a_while() {
        let mut interest = Interest::new(false, at(100));
        assert!(interest.lasts(false, at(109)), "who has asked may come yet");
        assert!(interest.lasts(true, at(150)), "and may stay");
        assert!(interest.lasts(false, at(159)) && !interest.lasts(false, at(160)));
        let mut interest = Interest::new(false, at(100));
        assert!(!interest.lasts(false, at(110)), "or does not come");
        let mut always = Interest::new(true, at(100));
        assert!(always.lasts(false, at(100_000)));
    }
}
