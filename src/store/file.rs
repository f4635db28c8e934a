//! One JSON file in the state folder, replaced as a whole: written beside, synchronised, renamed.
//!
//! It does not guard against two servers on one folder: the last one to write counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::{Kept, Store, StoreError};

/// Larger than thousands of named home addresses need.
const MAX_SIZE: u64 = 1 << 20;

/// Keeps a file in a folder.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: PathBuf,
    file: PathBuf,
}

impl FileStore {
    /// Makes the folder where it is not there, for its owner only.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), file: folder.join("state.json") })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.file.clone(), source }
    }

    fn corrupt(&self, reason: impl ToString) -> StoreError {
        StoreError::Corrupt { path: self.file.clone(), reason: reason.to_string() }
    }

    fn replace(&self, text: &str, beside: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(beside, &self.file)?;
        // The new name is only sure when the folder is.
        File::open(&self.folder)?.sync_all()
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(self.io(error)),
        };
        let mut octets = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut octets).map_err(|error| self.io(error))?;
        if octets.len() as u64 > MAX_SIZE {
            return Err(self.corrupt("it is too large"));
        }
        let kept: Kept = serde_json::from_slice(&octets).map_err(|error| self.corrupt(error))?;
        if let Some(prefix) = kept.home_prefix
            && (prefix.trunc() != prefix || prefix.prefix_len() > 126 || prefix.prefix_len() == 0)
        {
            return Err(self.corrupt(format_args!("home_prefix {prefix} is no prefix of home addresses")));
        }
        let mut addresses: Vec<Ipv6Addr> = kept.homes.values().copied().collect();
        addresses.sort_unstable();
        if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(self.corrupt(format_args!("two names have the home address {}", pair[0])));
        }
        Ok(kept)
    }

    fn save(&self, kept: &Kept) -> Result<(), StoreError> {
        let text = serde_json::to_string_pretty(kept).map_err(|error| self.io(error.into()))?;
        let beside = self.file.with_extension("new");
        self.replace(&text, &beside).map_err(|error| {
            // What was begun is of no use; that it cannot be removed either changes nothing.
            let _ = fs::remove_file(&beside);
            self.io(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::unique_local;

    fn kept() -> Kept {
        let home = |text: &str| text.parse().expect("an address");
        Kept {
            home_prefix: Some(unique_local([1, 2, 3, 4, 5])),
            homes: BTreeMap::from([("wall".to_owned(), home("fd01:203:405::1")), ("wall.audio".to_owned(), home("fd01:203:405::2"))]),
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::open(&folder.path().join("a/b")).expect("made");
        assert_eq!(store.load().expect("nothing was kept yet"), Kept::default());
        store.save(&Kept::default()).expect("saved");
        store.save(&kept()).expect("saved");
        assert_eq!(store.load().expect("loaded"), kept());
        assert_eq!(FileStore::open(&folder.path().join("a/b")).expect("there").load().expect("loaded"), kept());
        let left: Vec<_> = fs::read_dir(folder.path().join("a/b")).expect("a folder").collect();
        assert_eq!(left.len(), 1, "only the file itself is left");
        let mode = fs::metadata(store.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn a_corrupt_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FileStore::open(folder.path()).expect("made");
        let large = vec![b' '; MAX_SIZE as usize + 1];
        let cases: [(&[u8], &str); 9] = [
            (b"", "EOF"),
            (b"\xff\xfe", "line 1"),
            (b"[3]", "invalid"),
            (br#"{"homes": 3}"#, "invalid type"),
            (br#"{"home_prefix": "fd00::/640"}"#, "line 1"),
            (br#"{"home_prefix": "fd00::1/64"}"#, "home_prefix"),
            (br#"{"home_prefix": "::/0"}"#, "home_prefix"),
            (br#"{"homes": {"a": "fd00::1", "b": "fd00::1"}}"#, "two names"),
            (&large, "too large"),
        ];
        for (octets, expected) in cases {
            fs::write(store.path(), octets).expect("written");
            let error = store.load().expect_err("corrupt");
            assert!(matches!(&error, StoreError::Corrupt { path, .. } if path == store.path()), "{error}");
            assert!(error.to_string().contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_save_that_fails_leaves_what_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("in the way");
        fs::write(&file, "not a folder").expect("written");
        assert!(matches!(FileStore::open(&file), Err(StoreError::Io { path, .. }) if path == file));
        let store = FileStore::open(folder.path()).expect("there");
        store.save(&kept()).expect("saved");
        fs::create_dir(folder.path().join("state.new")).expect("a folder in the way");
        store.save(&Kept::default()).expect_err("the file beside cannot be written");
        assert_eq!(store.load().expect("loaded"), kept());
    }
}
