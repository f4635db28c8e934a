//! `flowsteer cert`: a certificate that vouches for itself, and its key.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::net::now;
use crate::tls::fingerprint;

/// Clocks of those who look at it may be late by so much.
const SKEW: Duration = Duration::hours(1);

/// What a certificate is made for.
#[derive(Debug, Args)]
pub struct Cert {
    /// A name or an address of the server; may be given several times [default: localhost, 127.0.0.1, ::1].
    #[arg(long = "name", value_name = "HOST", value_parser = host)]
    names: Vec<String>,
    /// The folder in which flowsteer.crt and flowsteer.key are written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// For so many days.
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
}

/// A name or an address, which may stand as in a URL.
fn host(text: &str) -> Result<String, &'static str> {
    let host = text.trim_matches(['[', ']']);
    // One for all hosts of a domain begins with a star (RFC 6125 section 6.4.3).
    let named = ServerName::try_from(host.strip_prefix("*.").unwrap_or(host));
    named.map(|_| host.to_owned()).map_err(|_| "a name or an address of a host, as media.example, 192.0.2.1 or 2001:db8::1")
}

/// Writes both, and says where they are.
///
/// # Errors
/// A name is none, or a file cannot be made.
pub fn run(arguments: &Cert) -> anyhow::Result<()> {
    let names = match arguments.names.as_slice() {
        [] => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
        names => names.to_vec(),
    };
    let mut parameters = CertificateParams::new(names.clone()).context("--name")?;
    if let Some(first) = names.first() {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, first.as_str());
    }
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(now().utc.unix_seconds())?)?;
    parameters.not_before = now - SKEW;
    parameters.not_after = now + Duration::days(i64::from(arguments.days));
    // A client takes it as its own authority, and rustls no authority for a server.
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let (certificate_file, key_file) = (arguments.out.join("flowsteer.crt"), arguments.out.join("flowsteer.key"));
    let secret = Zeroizing::new(key.serialize_pem());
    write(&key_file, secret.as_bytes(), 0o600)?;
    if let Err(error) = write(&certificate_file, certificate.pem().as_bytes(), 0o644) {
        // A key alone is of no use, and would stand in the way the next time.
        let _ = std::fs::remove_file(&key_file);
        return Err(error);
    }
    super::print(&format!(
        "certificate  {}\nkey  {}\nnames  {}\ndays  {}\nSHA-256  {}\n",
        certificate_file.display(),
        key_file.display(),
        names.join(", "),
        arguments.days,
        fingerprint(certificate.der()),
    ))
}

/// A file that was there is left alone: it may be in use.
fn write(path: &Path, octets: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).with_context(|| path.display().to_string())?;
    file.write_all(octets)?;
    file.sync_all()?;
    Ok(())
}
