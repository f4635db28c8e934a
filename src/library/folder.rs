//! The folder: which files are titles, and what has become of them.
//!
//! Hidden files and folders are skipped, symbolic links that lead out of the folder are not followed, and what is told by
//! its name to be no media (a README, a subtitle, a picture) is no title. A file that cannot be played is an entry with
//! a problem; so is one of a container that is not served. A playlist is looked at after all that it may name; TOML without
//! items is none, and what HLS segments begin with (`EXT-X-MAP`) is no title beside them. A
//! `slides.toml` is a title of the pictures that it shows. What is in a file is read when its turn comes
//! ([`Library::index`]), or when somebody wants it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::library::cache::{Cache, CacheSettings};
use crate::library::entry::{Entry, Shelf};
use crate::library::file::Stamp;
use crate::library::indexing::Turns;
use crate::library::listed::List;
use crate::library::live::LiveTitles;
use crate::library::opening::Opening;
use crate::library::playlist::is_list;
use crate::library::slides;
use crate::library::title::TitlePath;

/// How deep folders are followed.
const MAX_DEPTH: usize = 32;
/// Files that are looked at.
const MAX_FILES: usize = 1_000_000;
/// Endings of files whose container is served.
const SERVED: [&str; 28] = [
    "264", "265", "3gp", "aac", "avc", "f4v", "flac", "h264", "h265", "hevc", "m2ts", "m4a", "m4v", "mka", "mkv", "mov", "mp2", "mp3",
    "mp4", "mts", "oga", "ogg", "opus", "rf64", "ts", "wav", "wave", "webm",
];
/// Endings of other media files: they are shown, with what is missing. What ends otherwise is no title, whatever it holds.
const NOT_SERVED: [&str; 25] = [
    "3g2", "ac3", "aif", "aiff", "alac", "amr", "ape", "asf", "au", "avi", "caf", "divx", "dts", "eac3", "flv", "m4b", "mpeg", "mpg",
    "mxf", "ogv", "qt", "rm", "vob", "wma", "wmv",
];

/// What has become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Appeared,
    /// It is another file, or has other content.
    Changed,
    /// It is no longer there.
    Vanished,
}

/// A file and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub path: TitlePath,
    /// What has become of it.
    pub kind: ChangeKind,
}

type Entries = BTreeMap<TitlePath, Arc<Entry>>;

/// What a look at the folder gives.
#[derive(Default)]
struct Listing {
    found: Vec<(TitlePath, PathBuf)>,
    /// Folders that are there, but could not be read: what lies below them is not known.
    unread: Vec<PathBuf>,
}

/// What a look at a file gives.
enum Found {
    AsBefore(Arc<Entry>),
    Anew(Arc<Entry>),
}

impl Found {
    /// The entry; what has become of it is added to `changes`.
    fn told(self, path: TitlePath, known: Option<&Arc<Entry>>, changes: &mut Vec<Change>) -> Arc<Entry> {
        match self {
            Self::AsBefore(entry) => entry,
            Self::Anew(entry) => {
                let kind = if known.is_some() { ChangeKind::Changed } else { ChangeKind::Appeared };
                changes.push(Change { path, kind });
                entry
            }
        }
    }
}

/// Whether an error says that there is nothing of that name.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A folder of titles.
pub struct Library {
    shelf: Arc<Shelf>,
    entries: ArcSwap<Entries>,
    /// One scan at a time. What it found that is no title, as segments begin with it: lists may name it.
    scanning: Mutex<Entries>,
    /// Whether what is known is on the disk too.
    is_kept: AtomicBool,
    pub(crate) opening: Arc<Opening>,
    pub(crate) turns: Turns,
    live: Arc<LiveTitles>,
}

impl Library {
    /// Opens a folder and lists what is in it; nothing of that is read.
    ///
    /// # Errors
    /// Where the folder itself cannot be read.
    pub fn open(root: &Path) -> io::Result<Self> {
        Self::open_kept(root, None)
    }

    /// The same, with what was kept of it, and to be kept.
    ///
    /// # Errors
    /// Where the folder itself cannot be read.
    pub fn open_kept(root: &Path, cache: Option<CacheSettings>) -> io::Result<Self> {
        let root = root.canonicalize()?;
        fs::read_dir(&root)?;
        let cache = cache.map(|settings| Cache::open(settings, &root));
        let library = Self {
            shelf: Arc::new(Shelf::new(root, cache)),
            is_kept: AtomicBool::new(false),
            entries: ArcSwap::default(),
            scanning: Mutex::default(),
            opening: Arc::default(),
            turns: Turns::default(),
            live: Arc::default(),
        };
        library.rescan();
        let gone = library.shelf.cache.as_ref().map_or(0, Cache::forget_rest);
        // Nothing new, and nothing gone: it is on the disk already.
        library.is_kept.store(gone == 0 && library.indexed() == library.len(), Ordering::Relaxed);
        Ok(library)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.shelf.root
    }

    /// Its live titles.
    pub const fn live(&self) -> &Arc<LiveTitles> {
        &self.live
    }

    /// All files, by name.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.load().values().map(Arc::clone).collect()
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.entries.load().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of how many files it is known what is in them.
    pub fn indexed(&self) -> usize {
        self.entries.load().values().filter(|entry| entry.known().is_some()).count()
    }

    /// The file of that name.
    pub fn entry(&self, path: &TitlePath) -> Option<Arc<Entry>> {
        self.entries.load().get(path).map(Arc::clone)
    }

    /// Looks at the folder again: what has appeared, changed or vanished. What cannot be looked at just now (no descriptor is
    /// left, the disk fails) stays as it was known: only what is certainly gone has vanished.
    pub fn rescan(&self) -> Vec<Change> {
        let mut hidden = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.entries.load_full();
        let mut listing = Listing::default();
        self.list(self.root(), 0, &mut listing);
        let mut now = Entries::new();
        let mut changes = Vec::new();
        let mut lists = Vec::new();
        for (path, file) in listing.found {
            let known = before.get(&path).or_else(|| hidden.get(&path));
            let stamp = match self.stamp(&file) {
                Ok(stamp) => stamp,
                Err(error) if is_gone(&error) => continue,
                Err(error) => {
                    tracing::warn!(title = %path, "the file cannot be looked at: {error}");
                    now.extend(known.map(|known| (path, Arc::clone(known))));
                    continue;
                }
            };
            if is_list(&path) {
                lists.push((path, stamp));
                continue;
            }
            let found = self.looked_at(&path, stamp, known);
            now.insert(path.clone(), found.told(path, known, &mut changes));
        }
        let is_unread = |path: &TitlePath| listing.unread.iter().any(|folder| self.root().join(path.as_str()).starts_with(folder));
        for (path, known) in before.iter().chain(&*hidden).filter(|(path, _)| is_unread(path)) {
            now.entry(path.clone()).or_insert_with(|| Arc::clone(known));
        }
        // What these name is known by now.
        for (path, own) in lists {
            let known = before.get(&path);
            let Some(found) = self.list_looked_at(&path, own, known, &now) else { continue };
            let entry = found.told(path.clone(), known, &mut changes);
            now.insert(path, entry);
        }
        // What segments begin with is no title.
        let maps: HashSet<TitlePath> = now.values().filter_map(|entry| entry.list.as_ref().and_then(List::map).cloned()).collect();
        changes.retain(|change| !maps.contains(&change.path) && !hidden.contains_key(&change.path));
        let shown = hidden.keys().filter(|path| !maps.contains(*path) && now.contains_key(*path));
        changes.extend(shown.map(|path| Change { path: path.clone(), kind: ChangeKind::Appeared }));
        let (of_segments, now): (Entries, Entries) = now.into_iter().partition(|(path, _)| maps.contains(path));
        *hidden = of_segments;
        let vanished = before.keys().filter(|path| !now.contains_key(*path));
        changes.extend(vanished.map(|path| Change { path: path.clone(), kind: ChangeKind::Vanished }));
        if !changes.is_empty() {
            self.entries.store(Arc::new(now));
            self.shelf.forget(|path| changes.iter().any(|change| change.path == *path));
            self.is_kept.store(false, Ordering::Relaxed);
            self.turns.ask();
        }
        changes
    }

    /// Keeps on disk what is known now, if that is something new; `is_all` where nothing more is to come.
    pub(crate) fn keep(&self, is_all: bool) {
        let Some(cache) = self.shelf.cache.as_ref().filter(|_| !self.is_kept.swap(is_all, Ordering::Relaxed)) else { return };
        let entries = self.entries();
        cache.keep_facts(&entries.iter().filter_map(|entry| entry.record()).collect::<Vec<_>>());
        if is_all {
            cache.prune(entries.iter().map(|entry| &entry.path));
        }
    }

    /// What tells whether a file, or one that belongs to it, has changed.
    fn stamp(&self, file: &Path) -> io::Result<Stamp> {
        if slides::is_slide_show(file) {
            match slides::files::find(self.root(), file) {
                // A title with that problem.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                found => return found.map(|found| found.stamp),
            }
        }
        fs::metadata(file).map(|metadata| Stamp::of(&metadata))
    }

    /// What is to be known of a file that is there.
    fn looked_at(&self, path: &TitlePath, stamp: Stamp, known: Option<&Arc<Entry>>) -> Found {
        let anew = || Arc::new(Entry::new(path.clone(), stamp, None, Arc::clone(&self.shelf)));
        let Some(known) = known.filter(|known| known.stamp == stamp) else { return Found::Anew(anew()) };
        if !known.is_unread() {
            return Found::AsBefore(Arc::clone(known));
        }
        // It could not be opened before. Where that is so still, for the same reason, there is nothing new.
        let again = anew();
        match (again.facts(), known.known()) {
            (Err(problem), Some(Err(before))) if again.is_unread() && problem == before => Found::AsBefore(Arc::clone(known)),
            _ => Found::Anew(again),
        }
    }

    /// What is to be known of a playlist that is there: `now` has what it may name. `None` where it is only called like one.
    fn list_looked_at(&self, path: &TitlePath, own: Stamp, known: Option<&Arc<Entry>>, now: &Entries) -> Option<Found> {
        let before = known.and_then(|known| known.list.as_ref());
        let list = List::look(self.root(), path, own, before, |item| now.get(item).map(Arc::clone));
        list.is_one().then(|| match known.filter(|_| before.is_some_and(|before| before.is_same(&list))) {
            Some(known) => Found::AsBefore(Arc::clone(known)),
            None => Found::Anew(Arc::new(Entry::new(path.clone(), list.stamp(), Some(list), Arc::clone(&self.shelf)))),
        })
    }

    /// Whether a link leads to a file in this folder.
    fn leads_to_file_inside(&self, link: &Path) -> bool {
        link.canonicalize().is_ok_and(|target| target.starts_with(self.root()) && target.is_file())
    }

    fn list(&self, folder: &Path, depth: usize, listing: &mut Listing) {
        let unread = |listing: &mut Listing, error: &io::Error| {
            if !is_gone(error) {
                tracing::warn!(folder = %folder.display(), "the folder cannot be read: {error}");
                listing.unread.push(folder.to_owned());
            }
        };
        let children = match fs::read_dir(folder) {
            Ok(children) => children,
            Err(error) => return unread(listing, &error),
        };
        for child in children {
            let child = match child {
                Ok(child) => child,
                Err(error) => return unread(listing, &error),
            };
            if listing.found.len() >= MAX_FILES {
                return;
            }
            let name = child.file_name();
            if name.to_str().is_none_or(|name| name.starts_with('.')) {
                continue;
            }
            let path = child.path();
            let Ok(kind) = child.file_type() else { continue };
            if kind.is_dir() {
                // Links to folders are not followed: they would show titles twice, or for ever.
                if depth < MAX_DEPTH {
                    self.list(&path, depth + 1, listing);
                }
            } else if (kind.is_file() || kind.is_symlink() && self.leads_to_file_inside(&path))
                && let Ok(relative) = path.strip_prefix(self.root())
                && let Some(title) = relative.to_str().and_then(TitlePath::new)
                && (is_media_name(&path) || is_list(&title))
            {
                listing.found.push((title, path));
            }
        }
    }
}

fn is_media_name(path: &Path) -> bool {
    ends_in(path, &SERVED) || is_not_served(path) || slides::is_slide_show(path)
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

/// Whether a file is called like those of a container that is not served.
pub(crate) fn is_not_served(path: &Path) -> bool {
    ends_in(path, &NOT_SERVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::entry::Form;

    fn library(folder: &Path) -> Library {
        Library::open(folder).expect("a folder")
    }

    fn names(library: &Library) -> Vec<String> {
        library.entries().iter().map(|entry| entry.path.as_str().to_owned()).collect()
    }

    #[test]
    fn hidden_files_links_out_and_other_files_are_no_titles() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("secret.mp4"), b"x").expect("written");
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("films/.hidden")).expect("made");
        for name in ["a.mp4", ".b.mp4", "films/c d ü.MP4", "films/.hidden/e.mp4", "README.md"] {
            fs::write(at(name), b"noise").expect("written");
        }
        std::os::unix::fs::symlink(outside.path().join("secret.mp4"), at("out.mp4")).expect("linked");
        std::os::unix::fs::symlink(outside.path(), at("outside")).expect("linked");
        std::os::unix::fs::symlink(folder.path(), at("films/loop")).expect("linked");
        std::os::unix::fs::symlink(at("a.mp4"), at("inside.mp4")).expect("linked");
        assert_eq!(names(&library(folder.path())), ["a.mp4", "films/c d ü.MP4", "inside.mp4"]);
    }

    #[test]
    fn a_broken_file_is_an_entry_with_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("empty.mp4"), b"").expect("written");
        fs::write(folder.path().join("noise.mp4"), b"this is no film at all").expect("written");
        let library = library(folder.path());
        let reasons: Vec<String> = library.entries().iter().map(|entry| entry.facts().expect_err("broken").to_string()).collect();
        assert_eq!(reasons, ["the file is empty", "not a media file of a known format"]);
    }

    #[test]
    fn files_of_other_containers_are_shown_with_what_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.AVI", "d.vob", "f.aiff", "g.ape", "h.wma"] {
            fs::write(folder.path().join(name), b"\x30\x26\xb2\x75 and more").expect("written");
        }
        for name in ["a.txt", "a.jpg", "a.srt", "a.nfo", "a.mkv.part", "mkv", "a.vtt", "a.xml"] {
            fs::write(folder.path().join(name), b"\x30\x26\xb2\x75 and more").expect("written");
        }
        let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        fs::copy(film, folder.path().join("i.qt")).expect("copied");
        let library = library(folder.path());
        assert_eq!(names(&library), ["b.AVI", "d.vob", "f.aiff", "g.ape", "h.wma", "i.qt"]);
        for entry in library.entries() {
            match entry.facts() {
                Ok(_) => assert_eq!(entry.path.as_str(), "i.qt", "its name is another, it is an MP4 file all the same"),
                Err(problem) => assert_eq!(problem.reason, "containers of this kind are not served yet", "{}", entry.path),
            }
        }
    }

    #[test]
    fn a_rescan_tells_what_appeared_changed_and_vanished() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.mp4"), b"one").expect("written");
        fs::write(at("b.mp4"), b"one").expect("written");
        let library = library(folder.path());
        assert_eq!(library.rescan(), []);
        fs::write(at("a.mp4"), b"another").expect("written");
        fs::remove_file(at("b.mp4")).expect("removed");
        fs::write(at("c.mp4"), b"three").expect("written");
        let told: Vec<_> = library.rescan().into_iter().map(|change| (change.path.as_str().to_owned(), change.kind)).collect();
        let expected = [("a.mp4", ChangeKind::Changed), ("c.mp4", ChangeKind::Appeared), ("b.mp4", ChangeKind::Vanished)];
        assert_eq!(told, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    /// Descriptors of this process that are open on `file`.
    fn descriptors(file: &Path) -> usize {
        let links = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
        links.filter(|link| fs::read_link(link.path()).is_ok_and(|target| target == file)).count()
    }

    #[test]
    fn a_title_is_open_only_while_somebody_reads_and_stays_the_same_for_them() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let file = root.join("a.mp4");
        fs::copy(&media, &file).expect("copied");
        let library = library(&root);
        let path = TitlePath::new("a.mp4").expect("a path");
        let before = library.entry(&path).expect("there");
        let title = before.title().expect("plays");
        assert_eq!(descriptors(&file), 0, "idle");
        let reader = title.source.open().expect("opens");
        assert_eq!(descriptors(&file), 1);
        assert_eq!(library.rescan(), []);
        assert!(Arc::ptr_eq(&before, &library.entry(&path).expect("there")), "not read again");

        fs::write(root.join("new"), b"something else").expect("written");
        fs::rename(root.join("new"), &file).expect("replaced");
        assert_eq!(library.rescan(), [Change { path: path.clone(), kind: ChangeKind::Changed }]);
        let (mut held, mut octets) = (fs::read(&media).expect("there"), vec![0; reader.size() as usize]);
        reader.read_exact_at(&mut octets, 0).expect("the old file is still there");
        assert_eq!(octets, held);
        drop(reader);
        assert!(title.source.open().is_err(), "the old title finds another file");
        assert!(title.source.read_exact_at(&mut held[..4], 0).is_err());
        assert!(library.entry(&path).expect("there").title().is_err());
    }

    #[test]
    fn nothing_is_read_before_its_turn_and_an_idle_title_keeps_no_index() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.mp4", "b.mp4"] {
            fs::copy(&media, folder.path().join(name)).expect("copied");
        }
        fs::write(folder.path().join("c.mp4"), b"noise").expect("written");
        let library = library(folder.path());
        let entries = library.entries();
        assert!(entries.iter().all(|entry| entry.known().is_none()) && library.indexed() == 0, "only listed");
        let title = entries[1].title().expect("it plays");
        assert_eq!(library.indexed(), 1, "who is asked for comes first");
        library.index();
        assert_eq!(library.indexed(), 3);
        let facts = entries[0].known().expect("indexed").expect("it plays");
        assert_eq!((facts.duration, facts.tracks.len(), &*facts.tracks[0].codec), (title.duration, 2, "h264"));
        assert_eq!(facts.tracks[0].bitrate, title.tracks[0].bitrate());
        assert!(entries[0].loaded(Form::Tracks).is_none(), "indexing keeps no index");
        assert!(Arc::ptr_eq(&title, &entries[1].title().expect("it plays")), "who has it shares it");
        let gone = Arc::downgrade(&title);
        drop(title);
        assert!(entries[1].loaded(Form::Tracks).is_some(), "between a player's requests it stays");
        fs::remove_file(folder.path().join("b.mp4")).expect("removed");
        library.rescan();
        assert!(gone.upgrade().is_none(), "and it goes with its file");
    }

    #[test]
    fn of_titles_that_nobody_plays_few_are_kept() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..20 {
            fs::copy(&media, folder.path().join(format!("{number:02}.mp4"))).expect("copied");
        }
        let library = library(folder.path());
        for entry in library.entries() {
            entry.title().expect("it plays");
        }
        let loaded: Vec<_> = library.entries().iter().map(|entry| entry.loaded(Form::Tracks).is_some()).collect();
        assert_eq!(loaded.iter().filter(|loaded| **loaded).count(), 16);
        assert!(loaded[4..].iter().all(|loaded| *loaded), "the last ones");
    }

    #[test]
    fn a_copy_under_way_becomes_a_title_when_it_is_whole() {
        let whole = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4")).expect("there");
        let folder = tempfile::tempdir().expect("a folder");
        let path = TitlePath::new("a.mp4").expect("a path");
        fs::write(folder.path().join("a.mp4"), &whole[..whole.len() / 2]).expect("written");
        let library = library(folder.path());
        let problem = library.entry(&path).expect("there").title().expect_err("half of it");
        assert!(problem.reason.contains("cut short"), "{problem}");
        fs::write(folder.path().join("a.mp4"), &whole).expect("written");
        assert_eq!(library.rescan(), [Change { path: path.clone(), kind: ChangeKind::Changed }]);
        assert!(library.entry(&path).expect("there").facts().is_ok());
    }
}
