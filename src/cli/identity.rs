//! The certificate and the key that the configuration names.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, ConfigErrors, Fault, Loaded, Origin};
use crate::tls::{Files, Identity};

/// Files that the configuration's file names lie beside it; others are where the process is.
pub fn place(loaded: &mut Loaded, beside: &Path) {
    for key in ["tls.certificate", "tls.key"] {
        if matches!(loaded.origin(key), Origin::File { .. }) {
            let tls = &mut loaded.config.tls;
            let file: &mut Option<PathBuf> = if key == "tls.key" { &mut tls.key } else { &mut tls.certificate };
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
    let Some(files) = files(&loaded.config) else { return Ok(()) };
    let Err(error) = Identity::open(files) else { return Ok(()) };
    let key = if error.is_about_the_certificate() { "tls.certificate" } else { "tls.key" };
    let (origin, fault) = (loaded.origin(key).clone(), Fault::File(error.to_string()));
    Err(ConfigErrors(vec![ConfigError { origin, key: Some(key.into()), fault }]))
}
