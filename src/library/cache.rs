//! What is kept of a library from one run to the next, in a folder of its own below the state folder: what is known of its files,
//! so that a list is there at once, and the index of those that took long to read.
//!
//! All of it can be made anew: what is damaged, or of another build, is left aside, and nothing is an error. Files are written
//! beside and renamed; the checksum of a record stands for what a power failure has spoilt. Two servers with one library share it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::library::container;
use crate::library::facts::Facts;
use crate::library::file::Stamp;
use crate::library::record::{self, FactsRecord, MAX_RECORD, RecordError, Wanted};
use crate::library::title::{Problem, ReadAt, Title, TitlePath};

/// An index is kept where it took more reads than this …
const MANY_READS: u64 = 64;
/// … or more octets: up to there it is as fast to read the file's own.
const MANY_OCTETS: u64 = 16 << 20;

/// Where something is kept, and by whom.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// The folder; it is made where it is not there.
    pub folder: PathBuf,
    /// Names this build: what another has found out may be wrong by now.
    pub made_by: String,
}

/// What is known of a file.
pub(crate) type Outcome = Result<Facts, Problem>;

/// What is kept of one library.
pub(crate) struct Cache {
    folder: PathBuf,
    made_by: String,
    /// What was kept of files that have not been looked at yet.
    facts: Mutex<HashMap<Box<str>, (Stamp, Outcome)>>,
}

impl Cache {
    /// What was kept of the library in `root`; nothing where that cannot be read.
    pub(crate) fn open(settings: CacheSettings, root: &Path) -> Self {
        // Several libraries may have one state folder.
        let folder = settings.folder.join(name_of(&root.to_string_lossy()));
        let cache = Self { folder, made_by: settings.made_by, facts: Mutex::default() };
        if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(cache.folder.join("titles")) {
            tracing::warn!(folder = %cache.folder.display(), "no index is kept: {error}");
            return cache;
        }
        let facts = match read(&cache.folder.join("facts")) {
            Ok(octets) => record::read_facts(&cache.made_by, &octets),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return cache,
            Err(error) => {
                tracing::warn!(folder = %cache.folder.display(), "what was kept of the library cannot be read: {error}");
                return cache;
            }
        };
        match facts {
            Ok(facts) => {
                let facts = facts.into_iter().map(|known| (known.path, (known.stamp, known.outcome))).collect();
                *cache.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
            }
            Err(error) => {
                tracing::info!(folder = %cache.folder.display(), "the library is indexed anew, what was kept of it is of no use: {error}")
            }
        }
        cache
    }

    /// What was kept of a file, if it has not changed.
    pub(crate) fn facts(&self, path: &TitlePath, stamp: &Stamp) -> Option<Outcome> {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.remove(path.as_str()).filter(|(known, _)| known == stamp).map(|(_, outcome)| outcome)
    }

    /// How much was kept of files that are not there any more; forgets it.
    pub(crate) fn forget_rest(&self) -> usize {
        std::mem::take(&mut *self.facts.lock().unwrap_or_else(PoisonError::into_inner)).len()
    }

    /// Keeps the facts of all files, in place of those that were kept.
    pub(crate) fn keep_facts(&self, facts: &[FactsRecord]) {
        let kept = record::write_facts(&self.made_by, facts);
        self.write(&self.folder.join("facts"), kept);
    }

    /// Removes kept indexes of titles that are not there any more.
    pub(crate) fn prune<'a>(&self, titles: impl Iterator<Item = &'a TitlePath>) {
        let Ok(kept) = fs::read_dir(self.folder.join("titles")) else { return };
        let titles: HashSet<String> = titles.map(|path| name_of(path.as_str())).collect();
        for file in kept.flatten() {
            if file.file_name().to_str().is_none_or(|name| !titles.contains(name)) {
                // It takes room and does no harm.
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// The kept index of a title, if there is one.
    pub(crate) fn index(&self, path: &TitlePath, stamp: &Stamp, source: &Arc<dyn ReadAt>) -> Option<Title> {
        let octets = read(&self.place(path)).ok()?;
        let wanted = Wanted { made_by: &self.made_by, path, stamp, restore: &container::restore };
        let title = record::read_index(&wanted, &octets, Arc::clone(source));
        title.inspect_err(|error| tracing::info!(title = %path, "its index is read anew, the one that was kept is of no use: {error}")).ok()
    }

    /// Keeps a title's index, if reading it cost so many reads and octets that this is worth it.
    pub(crate) fn keep_index(&self, stamp: &Stamp, title: &Title, (reads, octets): (u64, u64)) {
        if reads > MANY_READS || octets > MANY_OCTETS {
            self.write(&self.place(&title.path), record::write_index(&self.made_by, stamp, title));
        }
    }

    fn place(&self, path: &TitlePath) -> PathBuf {
        self.folder.join("titles").join(name_of(path.as_str()))
    }

    fn write(&self, place: &Path, record: Result<Vec<u8>, RecordError>) {
        let octets = match record {
            Ok(octets) => octets,
            Err(error) => return tracing::debug!(file = %place.display(), "not kept: {error}"),
        };
        // Threads, and other servers, write each its own.
        let mut drawn = [0; 8];
        let beside = getrandom::fill(&mut drawn).map(|()| place.with_extension(format!("{:016x}", u64::from_be_bytes(drawn))));
        let Ok(beside) = beside else { return };
        if let Err(error) = replace(place, &octets, &beside) {
            // What was begun is of no use; that it cannot be removed either changes nothing.
            let _ = fs::remove_file(&beside);
            tracing::warn!(file = %place.display(), "the index cannot be kept: {error}");
        }
    }
}

fn replace(place: &Path, octets: &[u8], beside: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(octets)?;
    fs::rename(beside, place)
}

/// A file that may be as large as a record and no larger.
fn read(place: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(place)?;
    let size = file.metadata()?.len();
    if size > MAX_RECORD as u64 {
        return Err(io::Error::other("it is too large"));
    }
    let mut octets = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(MAX_RECORD as u64).read_to_end(&mut octets)?;
    Ok(octets)
}

/// A file name for any text.
fn name_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests;
