//! `[[users]]` and `[[access]]`: who may play what, and who may publish.

use crate::access::{PasswordHash, Role};
use crate::config::Password;

/// `[[users]]`. It is written to nowhere as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserConfig {
    /// The name, without a colon.
    pub name: String,
    /// What the user proves to be so with.
    pub password: Option<Password>,
    /// In place of `password`: what `flowsteer passwd` makes of it.
    pub password_hash: Option<PasswordHash>,
    /// What the user may do: play titles that no rule keeps for others, publish at the paths that are given to publishers, log in over HTTP
    /// and operate.
    pub roles: Vec<Role>,
}

/// `[[access]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessConfig {
    /// A title path, or what all of them begin with and a `*`; the most specific one decides.
    pub path: String,
    /// Whether the titles play without credentials.
    pub anyone: bool,
    /// Users with one of these roles may play them.
    pub roles: Vec<Role>,
    /// Users of these names may play them.
    pub users: Vec<String>,
}
