//! `[[publish]]`: who may publish, and at which paths.

use crate::access::Role;
use crate::config::Password;

/// `[[publish]]`. It is written to nowhere as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishConfig {
    /// A title path, or what all of them begin with and a `*`.
    pub path: String,
    /// Who publishes; without one, and without `users` and `roles`, everybody may.
    pub username: Option<String>,
    /// What the user proves to be so with.
    pub password: Option<Password>,
    /// Users of `[[users]]` who may publish; each has the role `publisher`.
    pub users: Vec<String>,
    /// `publisher`: each user of that role may publish.
    pub roles: Vec<Role>,
}
