//! An update that waits for somebody's yes: when it is sent again, and when no yes can come any more.
//!
//! Pure. The acknowledgement says for how long the question is open (`docs/signalling.md` section 4). Behind a yes the same update is accepted;
//! once the question has lapsed it would ask anew, so that it is sent for the last time before that.

use std::time::Duration;

use crate::mobility::wire::ConsentQuestion;
use crate::now::Mono;

/// The same update is sent again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// It is on its way for so long at most, as far as that is thought of.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// So long after the last one its answer is waited for.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// No question is taken to be open for longer.
const LONGEST: Duration = Duration::from_secs(120);

/// The wait for a yes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Awaited {
    last: Mono,
}

impl Awaited {
    /// For the answer to that question, which has just been heard of.
    pub fn of(question: ConsentQuestion, now: Mono) -> Self {
        Self { last: now + left(question).saturating_sub(ON_ITS_WAY) }
    }

    /// The same wait, now that the question was heard of again: it does not become longer by that, nor by another question.
    #[must_use]
    pub fn heard_again(self, question: ConsentQuestion, now: Mono) -> Self {
        Self { last: self.last.min(Self::of(question, now).last) }
    }

    /// When the update is sent again; `None` where it was sent for the last time.
    pub fn next(self, now: Mono) -> Option<Mono> {
        (now < self.last).then(|| (now + AGAIN).min(self.last))
    }

    /// When one is sent again that was lost, and would be at `at` by itself.
    pub fn in_time(self, at: Mono, now: Mono) -> Mono {
        match () {
            () if at <= self.last => at,
            () if now < self.last => self.last,
            () => self.until(),
        }
    }

    /// When no yes can come any more.
    pub fn until(self) -> Mono {
        self.last + LAST_ANSWER
    }
}

/// How long a question is open.
pub fn left(question: ConsentQuestion) -> Duration {
    Duration::from_millis(question.left_ms.into()).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobility::wire::AskedParty;

    fn open_for(left_ms: u32) -> ConsentQuestion {
        ConsentQuestion { asked: AskedParty::HOLDER, left_ms }
    }

    fn at(millis: u64) -> Mono {
        Mono::default() + Duration::from_millis(millis)
    }

    #[test]
    fn it_is_sent_each_second_and_for_the_last_time_before_the_question_lapses() {
        let awaited = Awaited::of(open_for(3000), at(0));
        let sent = std::iter::successors(Some(at(0)), |sent| awaited.next(*sent));
        assert_eq!(sent.collect::<Vec<_>>(), [at(0), at(1000), at(2000), at(2500)]);
        assert_eq!(awaited.until(), at(4500));
    }

    #[test]
    fn what_is_lost_is_sent_again_but_not_too_late() {
        let awaited = Awaited::of(open_for(3000), at(0));
        assert_eq!(awaited.in_time(at(2400), at(1400)), at(2400));
        assert_eq!(awaited.in_time(at(4400), at(2400)), at(2500));
        assert_eq!(awaited.in_time(at(4400), at(2500)), awaited.until());
    }

    #[test]
    fn no_question_makes_the_wait_longer() {
        let awaited = Awaited::of(open_for(3000), at(0));
        assert_eq!(awaited.heard_again(open_for(20_000), at(2500)), awaited);
        assert_eq!(awaited.heard_again(open_for(600), at(1000)).next(at(1000)), Some(at(1100)));
        assert_eq!(Awaited::of(open_for(u32::MAX), at(0)).until(), at(121_500));
        assert_eq!(Awaited::of(open_for(300), at(0)).next(at(0)), None);
    }
}
