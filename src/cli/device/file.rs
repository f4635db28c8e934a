//! What this device keeps of a home address: its key K1, where its server is, and which bindings it has. One JSON file for each home
//! address, which only its owner may read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write as _};
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
    /// As it was when this command read it.
    #[serde(skip)]
    before: Option<Box<Self>>,
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
            before: None,
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

    /// Takes over what a command has changed since it read the file, and nothing else.
    fn take_changes(&mut self, changed: &Self) {
        let Some(before) = &changed.before else {
            *self = changed.clone();
            return;
        };
        if changed.spi() != before.spi() {
            (self.spi, self.key) = (changed.spi, changed.key.clone());
            (self.validity_end, self.last_number) = (changed.validity_end, changed.last_number);
        } else if changed.spi() == self.spi() && changed.last_number != before.last_number {
            let is_later = |own: u16, other: u16| (1..0x8000).contains(&own.wrapping_sub(other));
            let stored = self.last_number.filter(|stored| changed.last_number.is_some_and(|own| is_later(*stored, own)));
            self.last_number = stored.or(changed.last_number);
        }
        for known in before.bindings.iter().filter(|known| changed.bindings.iter().all(|own| own.binding_id != known.binding_id)) {
            self.forget(known.binding_id);
        }
        for own in changed.bindings.iter().filter(|own| !before.bindings.contains(own)) {
            self.note(own.binding_id, own.care_of);
        }
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
        let text = match File::open(&path).and_then(read_bounded) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("this device has no key of {home} ({} is not there): `flowsteer reserve` makes one", path.display())
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let mut file: DeviceFile = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if file.home_address != home {
            bail!("{} is about {}", path.display(), file.home_address);
        }
        file.before = Some(Box::new(file.clone()));
        Ok(file)
    }

    /// Keeps what a command has changed of it. Others may have kept something meanwhile, as `bind --stay` does while it runs.
    pub fn keep(&self, file: &mut DeviceFile) -> anyhow::Result<()> {
        // One that is gone, or cannot be read, is written anew.
        let mut stored = self.read(file.home_address).unwrap_or_else(|_| file.clone());
        stored.take_changes(file);
        stored.before = None;
        self.write(&stored)?;
        stored.before = Some(Box::new(stored.clone()));
        *file = stored;
        Ok(())
    }

    /// Keeps it, in place of what was there.
    pub fn write(&self, file: &DeviceFile) -> anyhow::Result<PathBuf> {
        let path = self.path(file.home_address);
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let text = Zeroizing::new(serde_json::to_string_pretty(file)?);
            write_private(&path, text.as_bytes())
        };
        write().with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// A text, unless it is longer than any that is meant.
pub fn read_bounded(from: impl Read) -> io::Result<Zeroizing<String>> {
    const MOST: u64 = 1 << 20;
    let mut text = Zeroizing::new(String::new());
    from.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MB"));
    }
    Ok(text)
}

/// A file's text, in the same bounds.
pub fn read_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    File::open(path).and_then(read_bounded).with_context(|| path.display().to_string())
}

/// Writes a file that only its owner may read; it is there whole or not at all.
pub fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    // One that an earlier process of that number has left.
    let _ = std::fs::remove_file(&beside);
    let written = || -> io::Result<()> {
        // What somebody else has put there is not written to.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commands_keep_what_each_has_changed() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = DeviceFolder(place.path().join("device"));
        let home = HomeAddress("2001:db8:f::1".parse().expect("an address"));
        let made = DeviceFile::new(home, Spi(0x20001), Key::new([1; 32]), ([127, 0, 0, 1], 5436).into());
        folder.write(&made).expect("written");
        let care_of = |last| IpAddr::from([192, 0, 2, last]);
        let mut stays = folder.read(home.0).expect("kept");
        stays.note(1, care_of(1));
        stays.last_number = Some(10);
        folder.keep(&mut stays).expect("kept");
        let mut roams = folder.read(home.0).expect("kept");
        // The server has lost everything meanwhile.
        stays.set_key(Spi(0x20002), Key::new([2; 32]), 99);
        stays.last_number = Some(3);
        folder.keep(&mut stays).expect("kept");
        roams.note(2, care_of(2));
        roams.last_number = Some(11);
        folder.keep(&mut roams).expect("kept");
        stays.forget(1);
        stays.last_number = Some(4);
        folder.keep(&mut stays).expect("kept");
        let kept = folder.read(home.0).expect("kept");
        assert_eq!((kept.spi(), kept.last_number, kept.validity_end), (Spi(0x20002), Some(4), Some(99)));
        assert_eq!(kept.key, KeyText(Key::new([2; 32])));
        assert_eq!(kept.bindings, [KnownBinding { binding_id: 2, care_of: care_of(2) }]);
    }

    #[test]
    fn of_two_numbers_under_one_key_the_later_is_kept() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = DeviceFolder(place.path().to_owned());
        let home = HomeAddress("2001:db8:f::1".parse().expect("an address"));
        folder.write(&DeviceFile::new(home, Spi(0x20001), Key::new([1; 32]), ([127, 0, 0, 1], 5436).into())).expect("written");
        let (mut one, mut other) = (folder.read(home.0).expect("kept"), folder.read(home.0).expect("kept"));
        (one.last_number, other.last_number) = (Some(2), Some(65_530));
        folder.keep(&mut one).expect("kept");
        folder.keep(&mut other).expect("kept");
        assert_eq!(folder.read(home.0).expect("kept").last_number, Some(2), "numbers wrap");
    }

    #[test]
    fn a_text_that_is_too_long_is_none() {
        assert_eq!(read_bounded(&b"short"[..]).expect("read").as_str(), "short");
        let error = read_bounded(io::repeat(b'a')).expect_err("endless");
        assert!(error.to_string().contains("larger than 1 MB"));
    }
}
