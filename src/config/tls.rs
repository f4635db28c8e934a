//! `[tls]`, and where what it secures is served.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// A file in PEM: the certificate, then those between it and the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// A file in PEM: the key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Where something is served over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TlsListen {
    /// There; port 0 takes a free one.
    At(SocketAddr),
    /// Nowhere, though there is a certificate.
    Nowhere,
}

/// The text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is an address with a port, or none")]
pub struct TlsListenError;

impl TryFrom<String> for TlsListen {
    type Error = TlsListenError;

    fn try_from(text: String) -> Result<Self, TlsListenError> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        text.parse().map(Self::At).map_err(|_| TlsListenError)
    }
}

impl From<TlsListen> for String {
    fn from(listen: TlsListen) -> Self {
        match listen {
            TlsListen::At(address) => address.to_string(),
            TlsListen::Nowhere => "none".into(),
        }
    }
}

impl TlsConfig {
    /// Where something is served over TLS, `default_port` unless configured.
    pub fn address(&self, configured: Option<TlsListen>, default_port: u16) -> Option<SocketAddr> {
        self.certificate.as_ref()?;
        match configured {
            None => Some(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, default_port))),
            Some(TlsListen::At(address)) => Some(address),
            Some(TlsListen::Nowhere) => None,
        }
    }
}
