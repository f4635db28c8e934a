//! Consent to a take-over: what its SETUP is answered while the answer is awaited, and when it is no.
//!
//! Nothing waits here. A refusal that names an open question is held back by the connection's task for [`HOLD`], and the
//! request is answered anew then; nothing is made before the yes.

use std::time::Duration;

use crate::net::now;
use crate::rtsp::error::Refusal;
use crate::rtsp::service::{Link, Service};
use crate::rtsp::url::Query;
use crate::steering::consent::{QuestionId, Side, Way, Wish, Withheld};
use crate::steering::{HomeAddress, Spi, VerifiedGrant};

/// How long a SETUP waits for consent: players give up after 8 s.
pub const HOLD: Duration = Duration::from_secs(7);

impl Service {
    /// Whether the device at the other end of a connection may take over what its key is good for.
    pub(super) fn consent(&self, grants: &[VerifiedGrant], query: &Query, link: &Link) -> Result<(), Refusal> {
        let flows: Vec<(HomeAddress, Spi)> = grants.iter().map(|grant| (grant.home, grant.spi)).collect();
        let pin = query.pin.as_deref();
        let wish = Wish { flows: &flows, taker: link.peer.ip(), side: Side::Taker, by_itself: true, way: Way::Rtsp, pin };
        self.steering.consent_to(&wish, None, now()).map_err(Refusal::from)
    }

    /// Whether a question is open still.
    pub fn is_asked(&self, question: QuestionId) -> bool {
        self.steering.open_question(question, now()).is_some()
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
