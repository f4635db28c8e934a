//! What the operating commands take for the server's certificate: what a file vouches for, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::tls::pem::{self, PemError};

/// Why a file vouches for nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It has no certificate.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate in it, or what the library makes of it.
    #[error("{}: {error}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

/// TLS towards a server whose certificate is in the file, or signed by one that is.
///
/// # Errors
/// The file has no certificate that can be used.
pub fn client_config(file: &Path) -> Result<ClientConfig, ClientError> {
    let unusable = |error| ClientError::Unusable { file: file.to_owned(), error };
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(file)? {
        roots.add(certificate).map_err(unusable)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
