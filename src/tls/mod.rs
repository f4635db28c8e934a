//! Who we are towards those who come over TLS: a certificate and its key, read from files and read again when those change.
//! And what the operating commands take for the server's certificate.
//!
//! Handshakes and records are rustls'; where they meet sockets is `net/secured.rs` and `http/server.rs`.

mod client;
mod identity;
mod pem;

pub use client::{ClientError, client_config};
pub use identity::{Files, Identity, IdentityError, keep_current};
pub use pem::{PemError, fingerprint};
