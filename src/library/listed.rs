//! Playlists of the folder: which files each names, whether these are as they were, and the title that they make.
//!
//! A list is read when the folder is looked at, for what it names may change while it does not; the files when somebody wants the title.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::library::cache::Cache;
use crate::library::chain::Chain;
use crate::library::container::{self, mp4};
use crate::library::entry::Entry;
use crate::library::file::{Stamp, TitleFile};
use crate::library::joined::{JoinError, Joining};
use crate::library::playlist::{Kind, MAX_OCTETS, Place, Playlist, PlaylistError};
use crate::library::title::{Problem, ReadAt, Title, TitlePath};

/// Of what is left out of a list so much is told by its place: the rest is counted.
const TOLD: usize = 8;

/// A playlist as it was when the folder was looked at.
pub(crate) struct List {
    /// Of the list's own file.
    own: Stamp,
    read: Result<Arc<Playlist>, ListError>,
    /// The files that it names, in its order.
    members: Vec<Member>,
    /// Whether the one of `EXT-X-MAP` is what segments begin with, and nothing more; `None` where none is named, or it cannot be read.
    is_beginning: Option<bool>,
}

/// Why a list has no files.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("{0}")]
    Playlist(#[from] PlaylistError),
    #[error("the file cannot be read now: {0}")]
    Io(#[from] io::Error),
}

/// What a list names.
enum Member {
    Title(Arc<Entry>),
    Segment(Stamp),
    /// There is no such file.
    Missing,
}

impl Member {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Title(one), Self::Title(other)) => Arc::ptr_eq(one, other),
            (Self::Segment(one), Self::Segment(other)) => one == other,
            (Self::Missing, Self::Missing) => true,
            _ => false,
        }
    }
}

impl List {
    /// Looks at a list: reads it where it has changed since `before`, and finds what it names.
    pub(crate) fn look(
        root: &Path,
        path: &TitlePath,
        own: Stamp,
        before: Option<&Self>,
        title: impl Fn(&TitlePath) -> Option<Arc<Entry>>,
    ) -> Self {
        let read = match before {
            Some(Self { own: known, read: Ok(read), .. }) if *known == own => Ok(Arc::clone(read)),
            _ => read(&root.join(path.as_str())).map_err(ListError::from).and_then(|octets| Ok(Arc::new(Playlist::parse(&octets, path)?))),
        };
        let mut list = Self { own, read, members: Vec::new(), is_beginning: None };
        let member = |kind, path: &TitlePath| match kind {
            Kind::Titles => title(path).map_or(Member::Missing, Member::Title),
            Kind::Segments => segment(root, path).map_or(Member::Missing, Member::Segment),
        };
        if let Ok(read) = &list.read {
            list.members = read.items().iter().map(|item| member(read.kind(), &item.path)).collect();
            list.is_beginning = list.beginning(root, before);
        }
        list
    }

    /// Whether the file of `EXT-X-MAP` is a beginning alone: looked at where it has changed since `before`.
    fn beginning(&self, root: &Path, before: Option<&Self>) -> Option<bool> {
        let path = self.named_map()?;
        let Some(Member::Segment(stamp)) = self.members.first() else { return None };
        let is_known = |known: &Self| {
            known.named_map() == Some(path) && matches!(known.members.first(), Some(Member::Segment(known)) if known == stamp)
        };
        let known = before.filter(|before| is_known(before)).and_then(|before| before.is_beginning);
        known.or_else(|| {
            let file = TitleFile::new(root.join(path.as_str()), *stamp).open().ok()?;
            mp4::is_beginning(file.as_ref()).ok()
        })
    }

    fn named_map(&self) -> Option<&TitlePath> {
        self.read.as_ref().ok().and_then(|list| list.map())
    }

    /// Whether it is a list at all: what is only called like one is no title.
    pub(crate) const fn is_one(&self) -> bool {
        !matches!(self.read, Err(ListError::Playlist(PlaylistError::NoList)))
    }

    /// The file with the beginning of its segments, where it is no title by itself.
    pub(crate) fn map(&self) -> Option<&TitlePath> {
        self.named_map().filter(|_| self.is_beginning == Some(true))
    }

    /// Whether it says the same, and what it names is the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        // One that could not be read is read again each time.
        self.own == other.own
            && !matches!((&self.read, &other.read), (Ok(_), Err(_)) | (Err(_), Ok(_)))
            && self.is_beginning == other.is_beginning
            && self.members.len() == other.members.len()
            && self.members.iter().zip(&other.members).all(|(one, other)| one.is_same(other))
    }

    /// Tells whether list and files have changed: the list's own, with those of the files in the place of where it lies.
    pub(crate) fn stamp(&self) -> Stamp {
        let mut all = Sha256::new();
        let mut add = |stamp: &Stamp| {
            let (seconds, nanoseconds) = stamp.modified;
            for number in [stamp.inode, stamp.device, stamp.size, seconds as u64, nanoseconds as u64] {
                all.update(number.to_le_bytes());
            }
        };
        add(&self.own);
        for member in &self.members {
            match member {
                Member::Title(entry) => add(&entry.stamp),
                Member::Segment(stamp) => add(stamp),
                Member::Missing => add(&Stamp::default()),
            }
        }
        let digest: [u8; 32] = all.finalize().into();
        let number = |at: usize| digest.iter().skip(at).take(8).fold(0, |number, octet| number << 8 | u64::from(*octet));
        Stamp { inode: number(0), device: number(8), ..self.own }
    }

    /// The title that its files make.
    ///
    /// # Errors
    /// Something could not be read just now: that says nothing of it.
    pub(crate) fn title(&self, root: &Path, path: TitlePath, cache: Option<&Cache>) -> io::Result<Result<Title, Problem>> {
        let list = match &self.read {
            Ok(list) => list,
            Err(ListError::Io(error)) => return Err(io::Error::new(error.kind(), error.to_string())),
            Err(error) => return Ok(Err(container::problem(error.to_string()))),
        };
        match list.kind() {
            Kind::Titles => Ok(self.join(list, path)),
            Kind::Segments => self.chain(list, root, path, cache),
        }
    }

    /// Whether it names a file that could not be read: that says nothing of what is in it.
    pub(crate) fn has_unread(&self) -> bool {
        self.members.iter().any(|member| matches!(member, Member::Title(entry) if entry.is_unread()))
    }

    fn join(&self, list: &Playlist, path: TitlePath) -> Result<Title, Problem> {
        let mut joining = Joining::default();
        let mut remarks = Remarks::default();
        list.left_out().iter().for_each(|left_out| remarks.add(left_out.place, left_out.reason.to_string()));
        // What is named again is read once.
        let mut named: HashMap<*const Entry, usize> = HashMap::new();
        for entry in self.members.iter().filter_map(|member| if let Member::Title(entry) = member { Some(entry) } else { None }) {
            *named.entry(Arc::as_ptr(entry)).or_default() += 1;
        }
        let mut held: HashMap<*const Entry, Arc<Title>> = HashMap::new();
        for (item, member) in list.items().iter().zip(&self.members) {
            let Member::Title(entry) = member else {
                remarks.add(item.place, "there is no such file".into());
                continue;
            };
            let title = match entry.title_in_passing() {
                Ok(title) => title,
                Err(problem) => {
                    remarks.add(item.place, problem.reason);
                    continue;
                }
            };
            let key = Arc::as_ptr(entry);
            let left = named.entry(key).or_default();
            *left = left.saturating_sub(1);
            if *left > 0 {
                held.insert(key, Arc::clone(&title));
            } else {
                held.remove(&key);
            }
            match joining.add(&title, item.start, item.end) {
                Ok(None) => {}
                Ok(Some(remark)) => remarks.add(item.place, remark.to_string()),
                Err(error @ JoinError::TooLong) => {
                    remarks.add(item.place, error.to_string());
                    break;
                }
                Err(error) => remarks.add(item.place, error.to_string()),
            }
        }
        if joining.is_empty() {
            let why = remarks.told().map_or_else(String::new, |told| format!(": {}", told.reason));
            return Err(container::problem(format!("nothing of the playlist can be played{why}")));
        }
        joining.finish(path, remarks.told()).map_err(|error| container::problem(error.to_string()))
    }

    fn chain(&self, list: &Playlist, root: &Path, path: TitlePath, cache: Option<&Cache>) -> io::Result<Result<Title, Problem>> {
        let mut sources: Vec<Arc<dyn ReadAt>> = Vec::with_capacity(self.members.len());
        for (item, member) in list.items().iter().zip(&self.members) {
            match member {
                Member::Segment(stamp) => sources.push(Arc::new(TitleFile::new(root.join(item.path.as_str()), *stamp))),
                _ => return Ok(Err(container::problem(format!("{}: there is no such segment", item.place)))),
            }
        }
        let Some(chain) = Chain::new(sources) else { return Ok(Err(container::problem(JoinError::TooLong.to_string()))) };
        let open = Arc::new(chain.opened());
        let (source, stamp): (Arc<dyn ReadAt>, Stamp) = (Arc::new(chain), self.stamp());
        if let Some(title) = cache.and_then(|cache| cache.index(&path, &stamp, &source)) {
            return Ok(Ok(title));
        }
        match container::parse(Arc::clone(&open) as Arc<dyn ReadAt>, path) {
            Ok(title) => {
                let title = Title { source, ..title };
                if let Some(cache) = cache {
                    cache.keep_index(&stamp, &title, open.cost());
                }
                Ok(Ok(title))
            }
            Err(problem) if open.has_failed() => Err(io::Error::other(problem.reason)),
            Err(problem) => Ok(Err(container::problem(format!("of the playlist's segments together: {problem}")))),
        }
    }
}

/// What is left out of a list.
#[derive(Default)]
struct Remarks {
    told: Vec<String>,
    count: usize,
}

impl Remarks {
    fn add(&mut self, place: Place, reason: String) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("{place}: {reason}"));
        }
    }

    /// In one line; `None` where there is nothing.
    fn told(&self) -> Option<Problem> {
        let rest = self.count.checked_sub(self.told.len()).filter(|rest| *rest > 0);
        let rest = rest.map_or_else(String::new, |rest| format!("; and {rest} more"));
        (self.count > 0).then(|| container::problem(format!("{}{rest}", self.told.join("; "))))
    }
}

/// A segment's file, which lies in the library, also where it is a link.
fn segment(root: &Path, path: &TitlePath) -> Option<Stamp> {
    let file = root.join(path.as_str()).canonicalize().ok().filter(|file| file.starts_with(root))?;
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    Some(Stamp::of(&metadata))
}

/// A list's octets, and one more than it may have.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(file)?.take(MAX_OCTETS as u64 + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests;
