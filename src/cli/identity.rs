//! The certificates and the key that the configuration names.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, ConfigErrors, Fault, Loaded, Origin};
use crate::tls::{Files, Identity, client_config};

/// Files that the configuration's file names lie beside it; others are where the process is.
pub fn place(loaded: &mut Loaded, beside: &Path) {
    for key in ["tls.certificate", "tls.key", "steering.consent_ca"] {
        if matches!(loaded.origin(key), Origin::File { .. }) {
            let config = &mut loaded.config;
            let file: &mut Option<PathBuf> = match key {
                "tls.key" => &mut config.tls.key,
                "tls.certificate" => &mut config.tls.certificate,
                _ => &mut config.steering.consent_ca,
            };
            *file = file.take().map(|file| beside.join(file));
        }
    }
}

/// The files that are named.
pub fn files(config: &Config) -> Option<Files> {
    let (certificate, key) = (config.tls.certificate.clone()?, config.tls.key.clone()?);
    Some(Files { certificate, key })
}

/// Whether the files can be used.
///
/// # Errors
/// They cannot; at the place of the one that is to blame.
pub fn check(loaded: &Loaded) -> Result<(), ConfigErrors> {
    let broken =
        |key: &str, error: String| ConfigError { origin: loaded.origin(key).clone(), key: Some(key.into()), fault: Fault::File(error) };
    let mut errors = Vec::new();
    if let Some(Err(error)) = files(&loaded.config).map(Identity::open) {
        let key = if error.is_about_the_certificate() { "tls.certificate" } else { "tls.key" };
        errors.push(broken(key, error.to_string()));
    }
    if let Some(Err(error)) = loaded.config.steering.consent_ca.as_deref().map(client_config) {
        errors.push(broken("steering.consent_ca", error.to_string()));
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}
