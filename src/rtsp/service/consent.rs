//! Consent to a take-over: what its SETUP is answered while the answer is awaited, and when it is no.
//!
//! Nothing waits here. A refusal that names an open question is held back by the connection's task for [`HOLD`] ([`Waiting`]), and
//! the request is answered anew behind the answer; nothing is made before the yes.

use std::sync::Arc;
use std::time::Duration;

use crate::net::now;
use crate::rtsp::error::Refusal;
use crate::rtsp::message::Request;
use crate::rtsp::service::{Link, Service};
use crate::rtsp::session::{Role, Session, Standing};
use crate::rtsp::url::Query;
use crate::steering::consent::{Question, QuestionId, Side, Way, Wish, Withheld};
use crate::steering::{BindingCache, Holder, HomeAddress, Mode, Spi, Update, VerifiedGrant};

/// How long a SETUP waits for consent: players give up after 8 s.
pub const HOLD: Duration = Duration::from_secs(7);

impl Service {
    /// Whether the device at the other end of a connection may take over what its key is good for.
    pub(super) fn consent(&self, grants: &[VerifiedGrant], query: &Query, link: &Link) -> Result<(), Refusal> {
        let flows: Vec<(HomeAddress, Spi)> = grants.iter().map(|grant| (grant.home, grant.spi)).collect();
        self.consent_to(&flows, query.pin.as_deref(), None, link)
    }

    /// Whether a session may have flows that it has not: others may have taken them since its SETUP, or the rules have changed. What it
    /// has is refreshed, and what it has let go, and nobody has, it has again beside the rest: about neither anybody is asked. Here no
    /// request waits for the answer.
    pub(super) fn consent_to_bind(&self, session: &Session, updates: &[Update], link: &Link) -> Result<(), Refusal> {
        let Role::Taker { grants, .. } = &session.role else { return Ok(()) };
        let plays = self.standing(session) == Standing::Current;
        let is_taken = |grant: &&VerifiedGrant| {
            let moves = updates.iter().any(|update| update.home == grant.home && update.mode != Mode::Refresh);
            moves && !(plays && self.is_left(grant.home))
        };
        let flows: Vec<(HomeAddress, Spi)> = grants.iter().filter(is_taken).map(|grant| (grant.home, grant.spi)).collect();
        let outcome = self.consent_to(&flows, None, Some(session.holder), link);
        outcome.map_err(|refusal| Refusal { held: None, ..refusal })
    }

    /// Whether nobody is to keep a flow.
    fn is_left(&self, home: HomeAddress) -> bool {
        self.steering.gate(home).is_some_and(|mut gate| gate.route().branches.iter().all(|branch| branch.leaving))
    }

    fn consent_to(&self, flows: &[(HomeAddress, Spi)], pin: Option<&str>, device: Option<Holder>, link: &Link) -> Result<(), Refusal> {
        let wish = Wish { flows, taker: link.peer.ip(), side: Side::Taker, by_itself: true, way: Way::Rtsp, pin };
        self.steering.consent_to(&wish, device, now()).map_err(Refusal::from)
    }

    /// The open question of that name.
    pub fn question(&self, question: QuestionId) -> Option<Question> {
        self.steering.open_question(question, now())
    }

    /// A request waits for the answer to a question from now on; `None` where too many do.
    pub fn wait_for(&self, question: Question) -> Option<Waiting> {
        let waits = self.steering.hold_question(question.id);
        waits.then(|| Waiting { steering: Arc::clone(&self.steering), question, comes_back: false })
    }

    /// Whether a request is answered though one before it waits: it asks for what holds in any case, or is about a session that there
    /// is already. RFC 2326 section 9.1 has answers in the order of requests; who sends on without waiting for one tells them apart
    /// by `CSeq`, and what it plays meanwhile is not left alone for [`HOLD`].
    pub fn goes_ahead(request: &Request) -> bool {
        matches!(request.method.as_str(), "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER") || request.header("Session").is_some()
    }
}

/// A request that waits for the answer to a question. Dropped, it waits no more: unless its asker comes back for the answer, nobody
/// is asked any longer.
pub struct Waiting {
    steering: Arc<BindingCache>,
    question: Question,
    comes_back: bool,
}

impl Waiting {
    /// Whether the question is open still.
    pub fn is_asked(&self) -> bool {
        self.steering.open_question(self.question.id, now()).is_some()
    }

    /// Whether it is answered, and not lapsed.
    pub fn is_answered(&self) -> bool {
        self.steering.is_answered(&self.question, now())
    }

    /// The asker was told to come back: the question outlives the wait.
    pub fn comes_back(mut self) {
        self.comes_back = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.steering.let_go_of_question(&self.question, self.comes_back, now());
    }
}

impl From<Withheld> for Refusal {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Asked(question) => {
                Self { held: Some(question), ..Self::because(403, "consent is asked for, open the URL again when it is there") }
            }
            Withheld::Full => Self::because(503, withheld),
            Withheld::No | Withheld::Never | Withheld::PinNeeded | Withheld::PinWrong | Withheld::PinSlowed => Self::because(403, withheld),
        }
    }
}
