//! Refusals as `application/problem+json` (RFC 9457), each with a stable type.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::playback::PlaybackError;
use crate::steering::{SteeringError, TokenError};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable name.
    pub kind: &'static str,
    /// What was wrong this time.
    pub detail: String,
    /// The methods that there are, where another was asked.
    pub allow: Option<String>,
    /// After how many seconds asking again makes sense.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A refusal of that kind.
    pub fn new(status: u16, kind: &'static str, detail: impl std::fmt::Display) -> Self {
        Self { status, kind, detail: detail.to_string(), allow: None, retry_after: None }
    }

    /// Nothing there.
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "not-found", format!("no such {what}"))
    }

    /// A body or parameter that does not fit.
    pub fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(400, "invalid-request", detail)
    }

    /// Another method than those that there are. HEAD is where GET is.
    pub fn method(allow: &[&str]) -> Self {
        let head = allow.contains(&"GET").then_some("HEAD");
        let allow = Vec::from_iter(allow.iter().copied().chain(head)).join(", ");
        Self { allow: Some(allow), ..Self::new(405, "method-not-allowed", "this resource has no such method") }
    }

    /// Too much that was refused came from there.
    pub fn too_many_refused() -> Self {
        Self { retry_after: Some(1), ..Self::new(429, "too-many-refused", "too many wrong keys came from there") }
    }

    /// As JSON.
    pub fn body(&self) -> Value {
        json!(Refusal {
            kind: format!("urn:flowsteer:problem:{}", self.kind),
            title: self.kind.replace('-', " "),
            status: self.status,
            detail: &self.detail,
        })
    }
}

/// A refusal (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Problem")]
pub(super) struct Refusal<'a> {
    /// Stable.
    #[serde(rename = "type")]
    #[schemars(extend("pattern" = "^urn:flowsteer:problem:[a-z-]+$"))]
    kind: String,
    title: String,
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    detail: &'a str,
}

impl From<PlaybackError> for Problem {
    fn from(error: PlaybackError) -> Self {
        match error {
            PlaybackError::Unknown => Self::new(404, "not-found", error),
            PlaybackError::InvalidRange => Self::new(422, "invalid-range", error),
            PlaybackError::Full | PlaybackError::FullOfNetwork => Self::new(503, "too-many", error),
            PlaybackError::Unplayable => Self::new(422, "unplayable", error),
            PlaybackError::Draining => Self::new(503, "draining", error),
            PlaybackError::Busy => Self::new(503, "busy", error),
        }
    }
}

impl From<SteeringError> for Problem {
    fn from(error: SteeringError) -> Self {
        let (status, kind) = match error {
            SteeringError::UnknownHome | SteeringError::UnknownBinding => (404, "not-found"),
            SteeringError::HeldByAnother => (409, "held-by-another"),
            SteeringError::PoolEmpty => (503, "pool-empty"),
            SteeringError::NotPermitted => (403, "not-permitted"),
            SteeringError::CareOfUnproven => (409, "care-of-unproven"),
            SteeringError::CareOfUnacceptable => (422, "care-of-unacceptable"),
            SteeringError::BindingIdZero => (400, "invalid-request"),
            SteeringError::TooManyBindings => (409, "too-many-bindings"),
            SteeringError::Occupied => (409, "occupied"),
            SteeringError::OtherLabel => (409, "other-label"),
        };
        Self::new(status, kind, error)
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NoFlow => Self::new(409, "no-flow", error),
            TokenError::Malformed | TokenError::Wrong | TokenError::Expired | TokenError::Revoked | TokenError::OtherPeer => {
                Self::new(401, "unauthorized", error)
            }
        }
    }
}
