//! `[[camera]]`: sources that are pulled, with their credentials.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// `[[camera]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraConfig {
    /// Its title's path.
    pub name: String,
    /// Where it is: `rtsp://host:port/path`, without credentials.
    pub url: String,
    /// Who asks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// What the user proves to be so with.
    #[serde(skip)]
    pub password: Option<Password>,
    /// How its media come.
    pub transport: CameraTransport,
    /// Whether it is pulled also while nobody watches.
    pub always: bool,
}

/// How a camera's media come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraTransport {
    /// Over the RTSP connection.
    #[default]
    Tcp,
    /// As datagrams of their own.
    Udp,
}

impl CameraTransport {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A password: erased when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// One of that text.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text, for those who are to have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
