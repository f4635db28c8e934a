//! Certificates and keys in PEM (RFC 7468).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Octets of a file: a chain of a hundred certificates is smaller.
const MAX_FILE: u64 = 1 << 20;

/// What a file lacks.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no PEM file, or has not what is looked for.
    #[error("{}: no {what} in PEM is in it", file.display())]
    Nothing {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let unreadable = |error| PemError::Unreadable { file: file.to_owned(), error };
    let mut octets = Zeroizing::new(Vec::new());
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MAX_FILE).read_to_end(&mut octets).map_err(unreadable)?;
    Ok(octets)
}

/// The certificates of a file, at least one.
///
/// # Errors
/// It cannot be read, has none, or one that is broken.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let nothing = || PemError::Nothing { file: file.to_owned(), what: "certificate" };
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(nothing)
}

/// The first private key of a file.
///
/// # Errors
/// It cannot be read, or has none.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|_| PemError::Nothing { file: file.to_owned(), what: "private key" })
}

/// The SHA-256 of a certificate as DER, as `openssl x509 -fingerprint` writes it.
pub fn fingerprint(certificate: &[u8]) -> String {
    let octets: Vec<String> = Sha256::digest(certificate).iter().map(|octet| format!("{octet:02X}")).collect();
    octets.join(":")
}
