//! What this device keeps of a home address: its key K1, where its server is, and which bindings it has. One JSON file for each home
//! address, which only its owner may read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::device::{Credential, Digits, KeyText};
use crate::steering::{HomeAddress, Key, Spi};

/// A home address of this device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFile {
    /// The address.
    pub home_address: Ipv6Addr,
    spi: Digits,
    key: KeyText,
    /// Where the signalling of its server is.
    pub server: SocketAddr,
    /// Whose it is, where it was reserved with a provisioned key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nai: Option<String>,
    /// The file with that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// When K1 ends, in seconds since 1970; absent where that is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity_end: Option<u64>,
    /// The sequence number last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_number: Option<u16>,
    /// The bindings that this device has made.
    #[serde(default)]
    pub bindings: Vec<KnownBinding>,
}

/// A binding that was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownBinding {
    /// Which.
    pub binding_id: u16,
    /// Where it leads.
    pub care_of: IpAddr,
}

impl DeviceFile {
    /// A home address that was just reserved.
    pub fn new(home: HomeAddress, spi: Spi, key: Key, server: SocketAddr) -> Self {
        Self {
            home_address: home.0,
            spi: Digits(spi.0),
            key: KeyText(key),
            server,
            nai: None,
            key_file: None,
            validity_end: None,
            last_number: None,
            bindings: Vec::new(),
        }
    }

    /// What updates are authenticated with.
    pub fn credential(&self) -> Credential {
        Credential::Home { spi: self.spi.spi(), key: self.key.0.clone() }
    }

    /// Names K1.
    pub const fn spi(&self) -> Spi {
        self.spi.spi()
    }

    /// It was reserved anew.
    pub fn set_key(&mut self, spi: Spi, key: Key, validity_end: u64) {
        (self.spi, self.key, self.validity_end, self.last_number) = (Digits(spi.0), KeyText(key), Some(validity_end), None);
    }

    /// Notes a binding.
    pub fn note(&mut self, binding_id: u16, care_of: IpAddr) {
        self.bindings.retain(|known| known.binding_id != binding_id);
        self.bindings.push(KnownBinding { binding_id, care_of });
    }

    /// Forgets a binding.
    pub fn forget(&mut self, binding_id: u16) {
        self.bindings.retain(|known| known.binding_id != binding_id);
    }
}

/// The folder of these files.
#[derive(Clone, Debug)]
pub struct DeviceFolder(PathBuf);

impl DeviceFolder {
    /// The given folder, else the usual one.
    pub fn find(given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(given) = given {
            return Ok(Self(given.to_owned()));
        }
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
        let state = state.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
        Ok(Self(state.context("neither --device-dir nor XDG_STATE_HOME nor HOME is set")?.join("flowsteer/device")))
    }

    /// Where a home address is kept.
    pub fn path(&self, home: Ipv6Addr) -> PathBuf {
        self.0.join(format!("{home}.json"))
    }

    /// What is kept of a home address.
    pub fn read(&self, home: Ipv6Addr) -> anyhow::Result<DeviceFile> {
        let path = self.path(home);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("this device has no key of {home} ({} is not there): `flowsteer reserve` makes one", path.display())
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let file: DeviceFile = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if file.home_address != home {
            bail!("{} is about {}", path.display(), file.home_address);
        }
        Ok(file)
    }

    /// Keeps it, in place of what was there.
    pub fn write(&self, file: &DeviceFile) -> anyhow::Result<PathBuf> {
        let path = self.path(file.home_address);
        let write = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let text = Zeroizing::new(serde_json::to_string_pretty(file)?);
            write_private(&path, text.as_bytes())
        };
        write().with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Writes a file that only its owner may read; it is there whole or not at all.
pub fn write_private(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    // One that an earlier process of that number has left.
    let _ = std::fs::remove_file(&beside);
    let written = || -> std::io::Result<()> {
        // What somebody else has put there is not written to.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().inspect_err(|_| drop(std::fs::remove_file(&beside)))
}
