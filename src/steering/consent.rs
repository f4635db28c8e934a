//! Who must say yes before a flow goes to another device: what is asked, for how long, and what was answered.
//!
//! Pure. [`Consents::ask`] decides at once, or opens a question; [`Consents::answer`] closes one. A question that nobody
//! answers lapses by itself: call [`Consents::handle_timeout`] at [`Consents::poll_timeout`], which any command may move, and
//! drain [`Consents::poll_event`] after both. Whoever looks first sees what has lapsed as lapsed, timer or not. Which policy
//! a home address has, and who may answer, is not known here (`consenting`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::now::Mono;
use crate::steering::care_of::HomeAddress;
use crate::steering::keys::Spi;

/// How long a question stays open. Silence is no.
pub const OPEN: Duration = Duration::from_secs(20);
/// How long a yes lets the same key at the same address pass.
pub const YES: Duration = Duration::from_secs(60);
/// How long a no keeps the same key at the same address from asking again.
pub const NO: Duration = Duration::from_secs(20);
/// Open questions about one home address at most.
pub const MAX_OPEN_PER_HOME: usize = 4;
/// Open questions at most.
pub const MAX_OPEN: usize = 64;
/// Questions about the same wish that may be withdrawn within [`OPEN`]: then it is not asked about again so soon.
pub const MAX_WITHDRAWN: usize = 3;
/// Requests that are held for the answer to one question at most.
pub const MAX_WAITING: usize = 16;
/// Answers that are remembered at most, one for each flow; the oldest goes first.
pub const MAX_REMEMBERED: usize = 1024;
/// Home addresses of which wrong PINs are remembered at most.
pub const MAX_TRIED: usize = 1024;
/// Events that wait to be taken at most; older ones are lost first.
const MAX_EVENTS: usize = 256;
/// Wrong PINs of a home address that cost no time.
const FREE_TRIES: u32 = 3;
/// The longest wait between two PINs.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So long after the last wrong PIN all of them are forgotten.
const FORGIVEN: Duration = Duration::from_secs(600);

/// A personal identification number: erased when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Arc<Zeroizing<String>>);

impl Pin {
    /// One of that text.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }

    /// Whether that is it, in constant time but for the length.
    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// Who must say yes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Nobody: the key is enough.
    #[default]
    AnyoneWithKey,
    /// The device that is to have the flow, where somebody else names it.
    AskTaker,
    /// The taker knows a PIN.
    Pin(Pin),
    /// The side that has the flow.
    AskHolder,
    /// A service at that URL.
    Webhook(Arc<str>),
    /// Nobody may.
    Never,
}

impl Policy {
    /// Of flows that go together the strictest policy is in force. Flows go together where a device asks by itself: then it has
    /// no need to be asked, and a PIN is stricter than that.
    const fn strictness(&self) -> u8 {
        match self {
            Self::AnyoneWithKey => 0,
            Self::AskTaker => 1,
            Self::Pin(_) => 2,
            Self::AskHolder => 3,
            Self::Webhook(_) => 4,
            Self::Never => 5,
        }
    }

    /// The stricter of two. Of two PINs, or two services, nobody can satisfy both at once: then nobody may.
    #[must_use]
    pub fn or_stricter(self, other: Self) -> Self {
        match other.strictness().cmp(&self.strictness()) {
            Ordering::Greater => other,
            Ordering::Less => self,
            Ordering::Equal if self == other => self,
            Ordering::Equal => Self::Never,
        }
    }

    /// As configurations and the API write it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AnyoneWithKey => "anyone-with-key",
            Self::Pin(_) => "pin",
            Self::AskTaker => "ask-taker",
            Self::AskHolder => "ask-holder",
            Self::Webhook(_) => "webhook",
            Self::Never => "never",
        }
    }
}

/// How a flow is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A take-over URL was opened.
    Rtsp,
    /// The API was called.
    Http,
    /// A Binding Update came.
    BindingUpdate,
}

impl Way {
    /// As events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rtsp => "rtsp",
            Self::Http => "http",
            Self::BindingUpdate => "binding-update",
        }
    }
}

/// On whose side who asks is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It shows a take-over token or a session key.
    Taker,
    /// It shows the home key.
    Holder,
    /// It is an operator.
    Operator,
}

/// A wish to send flows to a device.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The flows that go together, each with the name of the key that is shown for it; an operator's is zero.
    pub flows: &'a [(HomeAddress, Spi)],
    /// The address of the device.
    pub taker: IpAddr,
    /// Who asks.
    pub side: Side,
    /// Whether the device itself asks.
    pub by_itself: bool,
    /// How.
    pub way: Way,
    /// The PIN that is given, if one is.
    pub pin: Option<&'a str>,
}

/// Names a question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuestionId(pub u64);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who answers a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decider {
    /// The side that has the flow.
    Holder,
    /// The device that is to have it.
    Taker,
    /// The service at that URL.
    Webhook(Arc<str>),
}

impl Decider {
    /// As events write it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Taker => "taker",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// A question that is open, or was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Its name.
    pub id: QuestionId,
    /// The flows, each with the name of the key that was shown for it.
    pub flows: Vec<(HomeAddress, Spi)>,
    /// The address of the device that is to have them.
    pub taker: IpAddr,
    /// How they were asked for.
    pub way: Way,
    /// Who answers.
    pub decider: Decider,
    /// When it lapses.
    pub until: Mono,
}

/// Why a wish is not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Withheld {
    /// It is being asked: the same wish may be granted later.
    #[error("consent is being asked for, question {0}")]
    Asked(QuestionId),
    /// The answer was no.
    #[error("consent was refused")]
    No,
    /// The flow goes to nobody.
    #[error("the flow is handed over to nobody")]
    Never,
    /// A PIN is needed.
    #[error("a PIN is needed")]
    PinNeeded,
    /// It was another one.
    #[error("the PIN is wrong")]
    PinWrong,
    /// Too many were wrong: this one was not looked at.
    #[error("too many wrong PINs were given, wait a while")]
    PinSlowed,
    /// No further question may be open.
    #[error("too many questions are open")]
    Full,
}

/// There is no such open question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such open question")]
pub struct NoSuchQuestion;

/// What became of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Became {
    /// It is open now.
    Asked,
    /// The answer was yes, or no.
    Answered(bool),
    /// Nobody has answered.
    Lapsed,
    /// Who asked has gone.
    Withdrawn,
}

/// What is told of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsentEvent {
    /// The question.
    pub question: Question,
    /// What became of it.
    pub became: Became,
}

/// A question that is open, and who waits for its answer.
#[derive(Debug)]
struct Open {
    question: Question,
    /// Requests that are held for it.
    waiting: usize,
    /// Whether somebody comes back for the answer: it outlives those that wait.
    comes_back: bool,
    /// Whether nobody is asked any more; it is remembered until it would have lapsed.
    withdrawn: bool,
}

impl Open {
    fn is_about(&self, wish: &Wish<'_>) -> bool {
        self.question.taker == wish.taker && wish.flows.iter().all(|flow| self.question.flows.contains(flow))
    }
}

/// An answer, for one flow, one key and one address.
#[derive(Clone, Debug)]
struct Remembered {
    flow: (HomeAddress, Spi),
    taker: IpAddr,
    yes: bool,
    until: Mono,
}

/// Wrong PINs of a home address.
#[derive(Clone, Copy, Debug)]
struct Tried {
    wrong: u32,
    /// None is looked at before.
    next: Mono,
    forgiven: Mono,
}

/// All questions, and the answers that still count.
#[derive(Debug, Default)]
pub struct Consents {
    /// In the order in which they lapse.
    open: VecDeque<Open>,
    remembered: VecDeque<Remembered>,
    tried: BTreeMap<HomeAddress, Tried>,
    events: VecDeque<ConsentEvent>,
    last: u64,
}

impl Consents {
    /// The questions that are open.
    pub fn open(&self, now: Mono) -> impl Iterator<Item = &Question> {
        self.open.iter().filter(move |open| !open.withdrawn && open.question.until > now).map(|open| &open.question)
    }

    /// How many questions there were so far.
    pub const fn asked(&self) -> u64 {
        self.last
    }

    /// What a wish came to, without asking anew: `Some(true)` where all of its flows may go, `Some(false)` where one may not.
    pub fn answered(&self, flows: &[(HomeAddress, Spi)], taker: IpAddr, now: Mono) -> Option<bool> {
        let found = |flow| self.remembered.iter().find(|known| known.flow == flow && known.taker == taker && known.until > now);
        let answers: Vec<Option<bool>> = flows.iter().map(|flow| found(*flow).map(|known| known.yes)).collect();
        match () {
            () if answers.contains(&Some(false)) => Some(false),
            () if answers.contains(&None) => None,
            () => Some(true),
        }
    }

    /// Grants a wish under a policy, or says why not; opens a question where that is what it takes.
    ///
    /// # Errors
    /// Why it is not granted, or not yet.
    pub fn ask(&mut self, wish: &Wish<'_>, policy: &Policy, now: Mono) -> Result<(), Withheld> {
        self.handle_timeout(now);
        let decider = match (policy, wish.side) {
            (Policy::AnyoneWithKey, _) => return Ok(()),
            // What the home key asks is the holder's own wish, and an operator's counts as that.
            (Policy::Never, Side::Holder) | (Policy::Pin(_) | Policy::AskHolder, Side::Holder | Side::Operator) => return Ok(()),
            (Policy::Never, Side::Taker | Side::Operator) => return Err(Withheld::Never),
            (Policy::AskTaker, _) if wish.by_itself => return Ok(()),
            (Policy::Pin(_), Side::Taker) => None,
            (Policy::AskTaker, _) => Some(Decider::Taker),
            (Policy::AskHolder, Side::Taker) => Some(Decider::Holder),
            (Policy::Webhook(url), _) => Some(Decider::Webhook(Arc::clone(url))),
        };
        match self.answered(wish.flows, wish.taker, now) {
            Some(true) => return Ok(()),
            Some(false) => return Err(Withheld::No),
            None => {}
        }
        let Some(decider) = decider else { return self.try_pin(wish, policy, now) };
        // A connection waits for the answer, or lets go; who asked otherwise has nothing to let go of, and a service is asked already.
        let comes_back = wish.way != Way::Rtsp || matches!(decider, Decider::Webhook(_));
        if let Some(open) = self.open.iter_mut().find(|open| !open.withdrawn && open.is_about(wish)) {
            open.comes_back |= comes_back;
            return Err(Withheld::Asked(open.question.id));
        }
        let withdrawn = self.open.iter().filter(|open| open.withdrawn && open.is_about(wish)).count();
        let about = |home| self.open.iter().filter(|open| !open.withdrawn && open.question.flows.iter().any(|flow| flow.0 == home)).count();
        if self.open.len() >= MAX_OPEN || withdrawn >= MAX_WITHDRAWN || wish.flows.iter().any(|flow| about(flow.0) >= MAX_OPEN_PER_HOME) {
            return Err(Withheld::Full);
        }
        self.last += 1;
        let id = QuestionId(self.last);
        let question = Question { id, flows: wish.flows.to_vec(), taker: wish.taker, way: wish.way, decider, until: now + OPEN };
        self.tell(question.clone(), Became::Asked);
        self.open.push_back(Open { question, waiting: 0, comes_back, withdrawn: false });
        Err(Withheld::Asked(id))
    }

    /// A request is held for the answer to a question, until [`Consents::let_go`]; `false` where that is open no more, or too many are.
    pub fn hold(&mut self, id: QuestionId) -> bool {
        let open = self.open.iter_mut().find(|open| open.question.id == id && !open.withdrawn && open.waiting < MAX_WAITING);
        open.map(|open| open.waiting += 1).is_some()
    }

    /// A request is held no more. Where its asker does not come back for the answer, and nobody else waits for it or does, the
    /// question is withdrawn.
    pub fn let_go(&mut self, id: QuestionId, comes_back: bool, now: Mono) {
        self.handle_timeout(now);
        let Some(open) = self.open.iter_mut().find(|open| open.question.id == id && !open.withdrawn) else { return };
        open.waiting = open.waiting.saturating_sub(1);
        open.comes_back |= comes_back;
        if open.waiting == 0 && !open.comes_back {
            open.withdrawn = true;
            let question = open.question.clone();
            self.tell(question, Became::Withdrawn);
        }
    }

    /// Answers count no more, nor would those to questions that are open: the rules have changed. Open questions lapse, and wrong PINs
    /// are remembered.
    pub fn forget_answers(&mut self) {
        self.remembered.clear();
        let (withdrawn, open): (VecDeque<Open>, VecDeque<Open>) = mem::take(&mut self.open).into_iter().partition(|open| open.withdrawn);
        self.open = withdrawn;
        for Open { question, .. } in open {
            self.tell(question, Became::Lapsed);
        }
    }

    /// Answers a question.
    ///
    /// # Errors
    /// There is none of that name, or none any more.
    pub fn answer(&mut self, id: QuestionId, yes: bool, now: Mono) -> Result<(), NoSuchQuestion> {
        self.handle_timeout(now);
        let position = self.open.iter().position(|open| open.question.id == id && !open.withdrawn).ok_or(NoSuchQuestion)?;
        let Open { question, .. } = self.open.remove(position).ok_or(NoSuchQuestion)?;
        self.remember(&question.flows, question.taker, yes, now);
        self.tell(question, Became::Answered(yes));
        Ok(())
    }

    /// When [`Consents::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.open.front().map(|open| open.question.until)
    }

    /// Lets questions lapse, and forgets what counts no more.
    pub fn handle_timeout(&mut self, now: Mono) {
        while self.open.front().is_some_and(|open| open.question.until <= now) {
            if let Some(Open { question, withdrawn: false, .. }) = self.open.pop_front() {
                self.tell(question, Became::Lapsed);
            }
        }
        self.remembered.retain(|known| known.until > now);
        self.tried.retain(|_, tried| tried.forgiven > now);
    }

    /// The oldest event that was not taken yet.
    pub fn poll_event(&mut self) -> Option<ConsentEvent> {
        self.events.pop_front()
    }

    /// Wrong ones cost time, more with each: of a home address, whoever gives them.
    fn try_pin(&mut self, wish: &Wish<'_>, policy: &Policy, now: Mono) -> Result<(), Withheld> {
        let Policy::Pin(pin) = policy else { return Err(Withheld::No) };
        let given = wish.pin.ok_or(Withheld::PinNeeded)?;
        let homes = || wish.flows.iter().map(|flow| flow.0);
        if homes().any(|home| self.tried.get(&home).is_some_and(|tried| tried.next > now)) {
            return Err(Withheld::PinSlowed);
        }
        if pin.is(given) {
            self.remember(wish.flows, wish.taker, true, now);
            return Ok(());
        }
        let unknown = homes().filter(|home| !self.tried.contains_key(home)).count();
        if self.tried.len() + unknown > MAX_TRIED {
            return Err(Withheld::Full);
        }
        for home in homes() {
            let tried = self.tried.entry(home).or_insert(Tried { wrong: 0, next: now, forgiven: now });
            tried.wrong = tried.wrong.saturating_add(1);
            tried.next = now + wait_after(tried.wrong);
            tried.forgiven = now + FORGIVEN;
        }
        Err(Withheld::PinWrong)
    }

    fn remember(&mut self, flows: &[(HomeAddress, Spi)], taker: IpAddr, yes: bool, now: Mono) {
        let until = now + if yes { YES } else { NO };
        for &flow in flows {
            self.remembered.retain(|known| known.flow != flow || known.taker != taker);
            if self.remembered.len() >= MAX_REMEMBERED {
                self.remembered.pop_front();
            }
            self.remembered.push_back(Remembered { flow, taker, yes, until });
        }
    }

    fn tell(&mut self, question: Question, became: Became) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(ConsentEvent { question, became });
    }
}

/// How long no PIN is looked at after so many wrong ones: 1 s, 2 s, 4 s and so on, behind those that are free.
fn wait_after(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE_TRIES) {
        None | Some(0) => Duration::ZERO,
        Some(over) => Duration::from_secs(1 << (over - 1).min(6)).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests;
