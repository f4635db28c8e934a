//! `flowsteer keygen`: a fresh key for the mobility signalling, as an entry of the configuration.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::{ProvisionedKey, SecretKey};

/// What a key is made for.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Whose it is: a network access identifier [default: a random one].
    #[arg(long, value_name = "NAI", value_parser = nai)]
    nai: Option<String>,
    /// Its index, 0x100 to 0x7fffffff [default: a random one].
    #[arg(long, value_name = "N", value_parser = spi)]
    spi: Option<u32>,
    /// Write the key to this new file, which only its owner may read, and name the file in the entry.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

fn nai(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || text.len() > 254 { Err("an identifier has 1 to 254 octets") } else { Ok(text.to_owned()) }
}

fn spi(text: &str) -> Result<u32, &'static str> {
    let spi = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let known = spi.ok().filter(|spi| (ProvisionedKey::FIRST_SPI..=ProvisionedKey::LAST_SPI).contains(spi));
    known.ok_or("an index is 0x100 to 0x7fffffff")
}

/// Prints an entry with a random key.
///
/// # Errors
/// The system gives no random octets, or the file cannot be made.
pub fn run(arguments: &Keygen) -> anyhow::Result<()> {
    let mut octets = [0; SecretKey::LEN];
    getrandom::fill(&mut octets)?;
    let key = SecretKey::new(octets);
    octets.zeroize();
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn)?;
    let [a, b, c, d, name @ ..] = drawn;
    let range = ProvisionedKey::LAST_SPI - ProvisionedKey::FIRST_SPI + 1;
    let spi = arguments.spi.unwrap_or(ProvisionedKey::FIRST_SPI + u32::from_be_bytes([a, b, c, d]) % range);
    let nai = arguments.nai.clone().unwrap_or_else(|| format!("device-{:08x}", u32::from_be_bytes(name)));
    let nai = toml_text(&nai);
    let secret = match &arguments.key_file {
        None => Zeroizing::new(format!("key = \"{}\"", key.expose_hex().as_str())),
        Some(path) => {
            write_secret(path, &key).with_context(|| path.display().to_string())?;
            // The configuration may lie elsewhere.
            let whole = std::path::absolute(path)?;
            let whole = whole.to_str().with_context(|| format!("{}: the configuration cannot name a file like this", path.display()))?;
            Zeroizing::new(format!("key_file = {}", toml_text(whole)))
        }
    };
    let entry = Zeroizing::new(format!("[[mobility.keys]]\nspi = \"{spi:#x}\"\nnai = {nai}\n{}\n", secret.as_str()));
    super::print(&entry)
}

fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A file that was there is left alone: its key may be in use.
fn write_secret(path: &std::path::Path, key: &SecretKey) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.expose_hex().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
