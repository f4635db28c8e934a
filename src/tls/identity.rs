//! The server's certificate and key. New connections get those that were read last; connections that exist keep theirs.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::pem::{self, PemError};

/// How often it is looked whether the files have changed. They are read once they have been the same for as long.
const LOOK: Duration = Duration::from_secs(1);

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, then those between it and the root.
    pub certificate: PathBuf,
    /// The key of the first.
    pub key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file of the certificate.
    #[error("{0}")]
    Certificate(PemError),
    /// The file of the key.
    #[error("{0}")]
    Key(PemError),
    /// They do not belong together.
    #[error("the key in {} is not that of the certificate in {}", .0.key.display(), .0.certificate.display())]
    Mismatch(Files),
    /// The certificate or the key is of a kind that is not known, or broken; in the words of TLS.
    #[error("{} with {}: {error}", files.certificate.display(), files.key.display())]
    Unusable {
        /// The files.
        files: Files,
        /// Why.
        error: rustls::Error,
    },
}

impl IdentityError {
    /// Whether the file of the certificate is to blame; else the key's is.
    pub const fn is_about_the_certificate(&self) -> bool {
        matches!(self, Self::Certificate(_))
    }
}

impl Files {
    fn read(&self) -> Result<CertifiedKey, IdentityError> {
        let chain = pem::certificates(&self.certificate).map_err(IdentityError::Certificate)?;
        let key = pem::private_key(&self.key).map_err(IdentityError::Key)?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch(self.clone()),
            error => IdentityError::Unusable { files: self.clone(), error },
        })
    }

    /// What tells whether the files are still the same.
    fn stamp(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|file| Stamp::of(file))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

/// A certificate and its key, the ones that were read last.
pub struct Identity {
    files: Files,
    /// What the files were when they were opened.
    opened: [Option<Stamp>; 2],
    current: ArcSwap<CertifiedKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(files: Files) -> Result<Self, IdentityError> {
        let opened = files.stamp();
        Ok(Self { current: ArcSwap::from_pointee(files.read()?), opened, files })
    }

    /// Reads the files again; whether the certificate is another.
    ///
    /// # Errors
    /// They cannot be used: what was there before stays.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let again = self.files.read()?;
        let is_other = self.current.load().cert != again.cert;
        self.current.store(Arc::new(again));
        Ok(is_other)
    }

    /// [`Identity::reload`], with its outcome in the log.
    pub fn reload_and_tell(&self) {
        match self.reload() {
            Ok(true) => tracing::info!("the certificate was read again: SHA-256 {}", self.fingerprint()),
            Ok(false) => {}
            Err(error) => tracing::error!("the certificate before stays in force: {error}"),
        }
    }

    /// The SHA-256 of the certificate.
    pub fn fingerprint(&self) -> String {
        self.current.load().cert.first().map(|first| pem::fingerprint(first)).unwrap_or_default()
    }

    /// TLS 1.2 and 1.3 under this identity; `protocols` as ALPN (RFC 7301) names them, none where nothing is agreed on.
    ///
    /// # Errors
    /// None that is known.
    pub fn server_config(self: &Arc<Self>, protocols: &[&str]) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Reads the files whenever they have changed. Does not end.
pub async fn keep_current(identity: Arc<Identity>) {
    let (mut in_force, mut before) = (identity.opened, identity.opened);
    loop {
        tokio::time::sleep(LOOK).await;
        let looked = Arc::clone(&identity);
        let Ok(stamp) = tokio::task::spawn_blocking(move || looked.files.stamp()).await else { return };
        // Of two files that are replaced one is the first.
        let is_settled = stamp == std::mem::replace(&mut before, stamp);
        if is_settled && stamp != in_force {
            in_force = stamp;
            let changed = Arc::clone(&identity);
            let _ = tokio::task::spawn_blocking(move || changed.reload_and_tell()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, name: &str) -> Files {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name").self_signed(&key).expect("signed");
        let files = Files { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&files.certificate, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (make(folder.path(), "one"), make(folder.path(), "two"));
        let none = folder.path().join("none");
        let noise = folder.path().join("noise");
        std::fs::write(&noise, b"noise").expect("written");
        let cases = [
            (&none, &one.key, "none: No such file", true),
            (&one.certificate, &none, "none: No such file", false),
            (&noise, &one.key, "noise: no certificate in PEM", true),
            (&one.key, &one.key, "one.key: no certificate in PEM", true),
            (&one.certificate, &noise, "noise: no private key in PEM", false),
            (&one.certificate, &two.key, "two.key is not that of the certificate in", false),
        ];
        for (certificate, key, expected, is_about_the_certificate) in cases {
            let error = Files { certificate: certificate.clone(), key: key.clone() }.read().expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.is_about_the_certificate(), is_about_the_certificate, "{error}");
        }
        one.read().expect("a certificate and its key");
    }

    #[test]
    fn a_broken_pair_changes_nothing_and_a_good_one_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (make(folder.path(), "one"), make(folder.path(), "two"));
        let identity = Identity::open(one.clone()).expect("it can be used");
        let first = identity.fingerprint();
        assert!(!identity.reload().expect("it can still be used"), "the same");
        std::fs::copy(&two.certificate, &one.certificate).expect("copied");
        identity.reload().expect_err("the key is not that of the certificate");
        assert_eq!(identity.fingerprint(), first);
        std::fs::copy(&two.key, &one.key).expect("copied");
        assert!(identity.reload().expect("it can be used"), "another");
        assert_ne!(identity.fingerprint(), first);
    }
}
