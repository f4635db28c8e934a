//! Questions of consent: what a move by the API comes to under one, who may see and answer them, and their events.

use std::net::IpAddr;

use hyper::Method;
use serde_json::json;

use crate::http::api::{Api, Call, Outcome, read};
use crate::http::authority::{Requester, is_of_peer, octets_of_hex};
use crate::http::body::{AnswerBody, AnswerName, Answered, ConsentName, OpenQuestion};
use crate::http::event::ApiEvent;
use crate::http::problem::Problem;
use crate::http::words::Address;
use crate::now::{Mono, Now};
use crate::playback::PresentationId;
use crate::steering::consent::{Became, ConsentEvent, Decider, Pin, Policy, Question, QuestionId, Side, Way, Wish, Withheld};
use crate::steering::{BindingCache, CareOf, HomeAddress, Proof, Spi, SteeringError, Update, VerifiedGrant};

/// A PIN has so many characters at most.
const MAX_PIN: usize = 64;

impl Api {
    /// `GET /api/v1/consents` and `POST /api/v1/consents/{consent}`.
    pub(super) fn consents(&self, call: &Call, rest: &[&str], who: &Requester, now: Now) -> Result<Outcome, Problem> {
        let device = self.asks_for_itself(call).then_some(call.peer.ip());
        match (&call.method, rest) {
            (&Method::GET, []) => {
                let open = self.steering.open_questions(now);
                let shown = open.iter().filter_map(|question| {
                    let is_asked = is_taker(question, device);
                    if !is_asked && !self.may_answer(question, who, now) {
                        return None;
                    }
                    let mut shown = shape(question, &self.steering, now.mono);
                    shown.answer_key = is_asked.then(|| hex(&self.steering.question_key(question.id)));
                    Some(shown)
                });
                Outcome::shown(200, &shown.collect::<Vec<_>>())
            }
            (&Method::POST, [id]) => {
                let body: AnswerBody = read(&call.body)?;
                let gone = || Problem::not_found("open question");
                let id = QuestionId(id.parse().map_err(|_| gone())?);
                let key = body.key.as_deref().and_then(octets_of_hex::<16>);
                let by_taker = |question: &Question| {
                    is_taker(question, device) && key.as_ref().is_some_and(|key| self.steering.is_question_key(id, key))
                };
                // Who may not answer it does not learn that there is one.
                let question = self.steering.open_question(id, now);
                let question = question.filter(|question| by_taker(question) || self.may_answer(question, who, now)).ok_or_else(gone)?;
                if let Decider::Webhook(_) = question.decider {
                    return Err(Problem::new(409, "decided-elsewhere", "a service decides this one"));
                }
                let yes = body.answer == AnswerName::Yes;
                self.steering.answer_question(id, yes, now).map_err(|_| gone())?;
                Outcome::shown(200, &Answered { id: id.to_string(), answer: body.answer })
            }
            _ => Err(Problem::not_found("resource")),
        }
    }

    /// Whether it is the device at the other end that asks, and no page of another site there.
    pub(super) fn asks_for_itself(&self, call: &Call) -> bool {
        is_of_peer(&call.headers, &self.settings.operators.hosts)
    }

    /// Operators; for the holder who has the home key, or the token under which the device that has the flow has taken it. That of the
    /// taker is none of these: the device that has the flow has another, or there is no question. For the taker see [`is_taker`].
    fn may_answer(&self, question: &Question, who: &Requester, now: Now) -> bool {
        let has_taken = |grants: &[VerifiedGrant], (home, asker): (HomeAddress, Spi)| {
            grants.iter().any(|grant| grant.home == home && grant.spi != asker && self.steering.has_taken(home, grant.spi))
        };
        match (who, &question.decider) {
            (Requester::Operator, _) => true,
            (_, Decider::Taker) | (Requester::Anybody, _) => false,
            (Requester::TokenHolder(grants), Decider::Holder) => question.flows.iter().all(|flow| has_taken(grants, *flow)),
            (Requester::TokenHolder(_), Decider::Webhook(_)) => false,
            (Requester::KeyHolder(_), Decider::Holder | Decider::Webhook(_)) => {
                question.flows.iter().all(|(home, _)| who.holder(*home, &self.steering, now).is_ok())
            }
        }
    }

    /// Whether a binding may be made; the open question where that has to be answered before.
    pub(super) fn consent(
        &self,
        update: &Update,
        who: &Requester,
        pin: Option<&str>,
        peer: IpAddr,
        now: Now,
    ) -> Result<Option<OpenQuestion>, Problem> {
        let side = match who {
            Requester::Operator => Side::Operator,
            Requester::KeyHolder(_) => Side::Holder,
            Requester::TokenHolder(_) | Requester::Anybody => Side::Taker,
        };
        let spi = match who {
            Requester::TokenHolder(grants) => grants.iter().find(|grant| grant.home == update.home).map_or(Spi(0), |grant| grant.spi),
            // By whatever way the home key is shown, it is the same one.
            Requester::KeyHolder(_) => self.steering.home_view(update.home, now).map_or(Spi(0), |view| view.spi),
            Requester::Operator | Requester::Anybody => Spi(0),
        };
        let taker = update.care_of.ip();
        // Nobody is asked about a device that may not even be there.
        if update.proof == Proof::Missing && !self.is_bound(update.home, &update.care_of, now) {
            return if self.steering.consent_policy(update.home) == Policy::AnyoneWithKey {
                Ok(None)
            } else {
                Err(SteeringError::CareOfUnproven.into())
            };
        }
        let wish = Wish { flows: &[(update.home, spi)], taker, side, by_itself: taker == peer, way: Way::Http, pin };
        match self.steering.consent_to(&wish, Some(update.holder), now) {
            Ok(()) => Ok(None),
            Err(Withheld::Asked(id)) => {
                let question = self.steering.open_question(id, now);
                Ok(question.map(|question| shape(&question, &self.steering, now.mono)))
            }
            Err(withheld) => Err(withheld.into()),
        }
    }

    fn is_bound(&self, home: HomeAddress, care_of: &CareOf, now: Now) -> bool {
        let view = self.steering.home_view(home, now);
        view.is_some_and(|view| view.branches.iter().any(|known| known.branch.care_of.ip() == care_of.ip()))
    }

    /// The policy that a reservation asks for.
    pub(super) fn policy(&self, name: ConsentName, pin: Option<&str>) -> Result<Policy, Problem> {
        match (name, pin) {
            (ConsentName::Pin, Some(pin)) if (1..=MAX_PIN).contains(&pin.chars().count()) => Ok(Policy::Pin(Pin::new(pin))),
            (ConsentName::Pin, _) => Err(Problem::invalid("pin is 1 to 64 characters")),
            (_, Some(_)) => Err(Problem::invalid("a pin goes with consent: pin")),
            (ConsentName::AnyoneWithKey, None) => Ok(Policy::AnyoneWithKey),
            (ConsentName::AskHolder, None) => Ok(Policy::AskHolder),
            (ConsentName::AskTaker, None) => Ok(Policy::AskTaker),
            (ConsentName::Never, None) => Ok(Policy::Never),
            (ConsentName::Webhook, None) => match self.steering.consent_webhook() {
                Some(url) => Ok(Policy::Webhook(url)),
                None => Err(Problem::new(422, "no-webhook", "no steering.consent_webhook is configured")),
            },
        }
    }
}

/// Whether the device at that address is asked. Who reads the question there learns its key, and answers with that: a page of another
/// site in a browser there cannot answer without having read it.
fn is_taker(question: &Question, device: Option<IpAddr>) -> bool {
    question.decider == Decider::Taker && device == Some(question.taker)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

const fn word(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn shape(question: &Question, steering: &BindingCache, now: Mono) -> OpenQuestion {
    let homes: Vec<Address> = question.flows.iter().map(|(home, _)| (*home).into()).collect();
    OpenQuestion {
        id: question.id.to_string(),
        home_address: homes.first().cloned(),
        home_addresses: homes,
        session: question.flows.first().and_then(|(home, _)| steering.player(*home)).map(|id| PresentationId(id).into()),
        taker: question.taker.to_string(),
        way: question.way.as_str(),
        asked: question.decider.as_str(),
        seconds_left: question.until.since(now).as_secs(),
        answer_key: None,
    }
}

impl ApiEvent {
    /// The event about a question.
    pub fn of_consent(event: &ConsentEvent, steering: &BindingCache, now: Mono) -> Self {
        let mut data = json!(shape(&event.question, steering, now));
        match event.became {
            Became::Asked => data["event"] = json!("asked"),
            Became::Answered(yes) => {
                data["event"] = json!("answered");
                data["answer"] = json!(word(yes));
            }
            Became::Lapsed => data["event"] = json!("lapsed"),
            Became::Withdrawn => data["event"] = json!("withdrawn"),
        }
        Self { name: "consent", data }
    }
}

impl From<Withheld> for Problem {
    fn from(withheld: Withheld) -> Self {
        let kind = match withheld {
            Withheld::Asked(_) => "consent-asked",
            Withheld::No => "consent-refused",
            Withheld::Never => "consent-never",
            Withheld::PinNeeded => "pin-needed",
            Withheld::PinWrong => "pin-wrong",
            Withheld::PinSlowed => return Self { retry_after: Some(60), ..Self::new(429, "too-many-refused", withheld) },
            Withheld::Full => return Self { retry_after: Some(20), ..Self::new(503, "too-many", withheld) },
        };
        Self::new(403, kind, withheld)
    }
}
