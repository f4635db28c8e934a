//! Where connections come in.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;

/// A listener, and how its connections are secured.
#[derive(Debug)]
pub struct Door {
    /// The listener.
    pub listener: TcpListener,
    /// TLS; `None` where connections are as they come.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Door {
    /// Connections that TLS secures.
    pub const fn secured(listener: TcpListener, tls: Arc<ServerConfig>) -> Self {
        Self { listener, tls: Some(tls) }
    }
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None }
    }
}

/// Counts a handshake that came to nothing; `door` is the scheme of its URLs.
pub fn count_failed_handshake(door: &'static str, error: &io::Error) {
    let reason = match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::InvalidData => "tls",
        _ => "closed",
    };
    metrics::counter!("flowsteer_tls_failed_handshakes_total", "door" => door, "reason" => reason).increment(1);
}
