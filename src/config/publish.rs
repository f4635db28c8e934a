//! `[[publish]]`: who may publish, and at which paths.

use crate::config::Password;

/// `[[publish]]`. It is written to nowhere as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishConfig {
    /// A title path, or what all of them begin with and a `*`.
    pub path: String,
    /// Who publishes; without one, everybody may.
    pub username: Option<String>,
    /// What the user proves to be so with.
    pub password: Option<Password>,
}
