//! Why a request is refused, as a status: one conversion per kind of error, all of them here.

use std::fmt::Display;

use crate::library::Problem;
use crate::playback::PlaybackError;
use crate::publish::announced::AnnounceError;
use crate::rtsp::header::range::RangeError;
use crate::rtsp::header::transport::TransportError;
use crate::rtsp::message::{Response, Status};
use crate::rtsp::publishers::ClaimError;
use crate::rtsp::session::SessionError;
use crate::rtsp::url::UrlError;
use crate::steering::consent::QuestionId;
use crate::steering::{SteeringError, TokenError};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: Status,
    /// What to say besides the standard's phrase.
    pub because: Option<String>,
    /// Whether credentials would help.
    pub challenge: bool,
    /// The open question whose answer may change it.
    pub held: Option<QuestionId>,
}

impl Refusal {
    /// A refusal that says why.
    pub fn because(status: u16, why: impl Display) -> Self {
        Self { status: Status(status), because: Some(why.to_string()), challenge: false, held: None }
    }

    /// 401: a key would help.
    pub fn unauthorised(why: impl Display) -> Self {
        Self { challenge: true, ..Self::because(401, why) }
    }

    /// What is sent, but for the challenge.
    pub fn response(&self) -> Response {
        let mut response = Response::new(self.status);
        response.phrase = self.because.as_ref().map(|why| format!("{} ({why})", self.status.phrase()));
        response
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, because: None, challenge: false, held: None }
    }
}

impl From<UrlError> for Refusal {
    fn from(error: UrlError) -> Self {
        match error {
            UrlError::Malformed => Self::because(400, error),
            UrlError::NoSuchPath => Status(404).into(),
            UrlError::NoSuchForm => Self::because(404, error),
        }
    }
}

impl From<&Problem> for Refusal {
    fn from(problem: &Problem) -> Self {
        Self::because(404, problem)
    }
}

impl From<RangeError> for Refusal {
    fn from(error: RangeError) -> Self {
        Self::because(457, error)
    }
}

impl From<TransportError> for Refusal {
    fn from(error: TransportError) -> Self {
        Self::because(461, error)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::unauthorised(error)
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Unknown | SessionError::Detached => Self::because(454, error),
            SessionError::State => Status(455).into(),
            SessionError::OnlyAggregate => Status(460).into(),
            SessionError::NoAggregate => Status(459).into(),
            SessionError::NoSuchTrack | SessionError::OtherUrl => Self::because(404, error),
        }
    }
}

impl From<PlaybackError> for Refusal {
    fn from(error: PlaybackError) -> Self {
        match error {
            PlaybackError::Unknown => Self::because(454, error),
            PlaybackError::InvalidRange => Self::because(457, error),
            PlaybackError::Full => Self::because(453, error),
            PlaybackError::FullOfNetwork => Self::because(503, error),
            PlaybackError::Unplayable => Self::because(404, error),
            PlaybackError::Draining => Self::because(503, error),
            PlaybackError::Busy => Self::because(503, error),
        }
    }
}

impl From<SteeringError> for Refusal {
    fn from(error: SteeringError) -> Self {
        match error {
            SteeringError::UnknownHome | SteeringError::UnknownBinding => Self::because(454, error),
            SteeringError::NotPermitted => Self::unauthorised(error),
            SteeringError::PoolEmpty | SteeringError::TooManyBindings => Self::because(503, error),
            SteeringError::HeldByAnother
            | SteeringError::CareOfUnproven
            | SteeringError::CareOfUnacceptable
            | SteeringError::BindingIdZero
            | SteeringError::Occupied
            | SteeringError::OtherLabel => Self::because(461, error),
        }
    }
}

impl From<getrandom::Error> for Refusal {
    fn from(_: getrandom::Error) -> Self {
        Status(500).into()
    }
}

impl From<AnnounceError> for Refusal {
    fn from(error: AnnounceError) -> Self {
        match error {
            AnnounceError::Syntax => Self::because(400, error),
            AnnounceError::TooMany | AnnounceError::Nothing(_) => Self::because(415, error),
        }
    }
}

impl From<ClaimError> for Refusal {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Taken => Self::because(403, error),
            ClaimError::Full => Self::because(453, error),
        }
    }
}
