//! The files of a slide show: which there are, what tells whether one has changed, and their octets as one source.
//!
//! The source is the pictures one behind the other, in the order in which they are first shown, whether they can be shown or not, so that
//! places in a kept index mean the same the next time. Few of them are open at a time.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::library::container::problem;
use crate::library::file::{Stamp, TitleFile, read_now};
use crate::library::slides::show::{MAX_FILE, MAX_SLIDES, MAX_TEXT, Place, Slide, SlideShow};
use crate::library::title::{Problem, ReadAt, TitlePath};

/// Endings of pictures that are shown where none are listed.
const PICTURES: [&str; 3] = ["jpeg", "jpg", "jpe"];
/// Pictures that stay open for those who play a show.
const OPEN: usize = 4;

/// A slide show as its files are now.
pub(crate) struct Found {
    /// What tells whether any of them has changed; its size is that of all pictures.
    pub(crate) stamp: Stamp,
    /// The slides, or what is wrong with `slides.toml`.
    pub(crate) slides: Result<Vec<(Slide, Place)>, Problem>,
    /// The pictures.
    pub(crate) files: SlideFiles,
}

/// Looks for the files of the show that `file`, below `root`, makes of its folder. Reads nothing but that file.
///
/// # Errors
/// The system's; that a picture is not there, or cannot be shown, is none.
pub(crate) fn find(root: &Path, file: &Path) -> io::Result<Found> {
    let open = File::open(file)?;
    let own = Stamp::of(&open.metadata()?);
    let mut text = Vec::new();
    open.take(MAX_TEXT + 1).read_to_end(&mut text)?;
    let Some(folder) = file.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut layout = Layout::default();
    let (title, slides) = match slides_of(&text, folder)? {
        Ok((title, slides)) => {
            let slides = slides.into_iter().map(|slide| layout.add(root, folder, slide)).collect::<io::Result<Vec<_>>>()?;
            (title, Ok(slides))
        }
        Err(problem) => (None, Err(problem)),
    };
    let others = layout.digest.finalize().iter().take(8).fold(0, |sum, octet| sum << 8 | u64::from(*octet));
    let stamp = match &slides {
        Ok(_) => Stamp { size: layout.size, others, ..own },
        Err(_) => own,
    };
    Ok(Found { stamp, slides, files: SlideFiles(Arc::new(Pictures::new(title, layout.pictures))) })
}

/// A show's title, and what is to be shown.
type Listed = (Option<String>, Vec<Slide>);

/// Both out of `slides.toml` and where that lists nothing of the folder.
fn slides_of(text: &[u8], folder: &Path) -> io::Result<Result<Listed, Problem>> {
    if text.len() as u64 > MAX_TEXT {
        return Ok(Err(problem("the file is too large")));
    }
    let Ok(text) = std::str::from_utf8(text) else { return Ok(Err(problem("the file is no text in UTF-8"))) };
    let show = match SlideShow::parse(text) {
        Ok(show) => show,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some(slides) = show.slides {
        return Ok(Ok((show.title, slides)));
    }
    let mut names = Vec::new();
    for child in fs::read_dir(folder)? {
        let name = child?.file_name();
        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        if ending.is_some_and(|ending| PICTURES.contains(&&*ending)) {
            // Hidden ones are none, and what is no text cannot be named.
            names.extend(name.to_str().and_then(TitlePath::new));
        }
        if names.len() > MAX_SLIDES {
            return Ok(Err(problem(format!("there are more than {MAX_SLIDES} pictures"))));
        }
    }
    names.sort_unstable();
    let slides = names.into_iter().map(|file| Slide { file, seconds: show.seconds, rate: show.rate });
    Ok(Ok((show.title, slides.collect())))
}

/// The pictures so far, one behind the other.
#[derive(Default)]
struct Layout {
    pictures: Vec<(Range<u64>, TitleFile)>,
    /// By their paths without links.
    known: HashMap<PathBuf, Range<u64>>,
    size: u64,
    digest: Sha256,
}

impl Layout {
    fn add(&mut self, root: &Path, folder: &Path, slide: Slide) -> io::Result<(Slide, Place)> {
        let found = match resolve(root, &folder.join(slide.file.as_str()))? {
            Ok((path, stamp)) => {
                // All of it tells one list from another.
                let octets = [stamp.inode, stamp.device, stamp.size, stamp.modified.0 as u64, stamp.modified.1 as u64];
                octets.iter().for_each(|number| self.digest.update(number.to_be_bytes()));
                Ok(self.known.get(&path).cloned().unwrap_or_else(|| {
                    let place = self.size..self.size + stamp.size;
                    self.size = place.end;
                    self.pictures.push((place.clone(), TitleFile::new(path.clone(), stamp)));
                    self.known.insert(path, place.clone());
                    place
                }))
            }
            Err(why) => {
                self.digest.update(why);
                Err(why)
            }
        };
        self.digest.update(slide.file.as_str());
        self.digest.update([0]);
        Ok((slide, found))
    }
}

/// A picture's file without links, or why it cannot be shown.
fn resolve(root: &Path, file: &Path) -> io::Result<Result<(PathBuf, Stamp), &'static str>> {
    let found = file.canonicalize().and_then(|path| fs::metadata(&path).map(|metadata| (path, metadata)));
    Ok(match found {
        Ok((path, _)) if !path.starts_with(root) => Err("it lies outside of the library"),
        Ok((_, metadata)) if !metadata.is_file() => Err("it is no file"),
        Ok((_, metadata)) if metadata.len() > MAX_FILE => Err("the file is too large"),
        Ok((path, metadata)) => Ok((path, Stamp::of(&metadata))),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Err("there is no such file"),
            io::ErrorKind::PermissionDenied => Err("it may not be read"),
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Err("it is a link to itself"),
            _ => return Err(error),
        },
    })
}

/// The pictures of a show, one behind the other.
struct Pictures {
    title: Option<String>,
    /// Where each lies, ascending and without gaps.
    files: Vec<(Range<u64>, TitleFile)>,
    reads: AtomicU64,
    octets: AtomicU64,
    has_failed: AtomicBool,
}

impl Pictures {
    fn new(title: Option<String>, files: Vec<(Range<u64>, TitleFile)>) -> Self {
        Self { title, files, reads: AtomicU64::new(0), octets: AtomicU64::new(0), has_failed: AtomicBool::new(false) }
    }

    fn size(&self) -> u64 {
        self.files.last().map_or(0, |(place, _)| place.end)
    }

    /// Hands `buffer`, which lies at `offset`, to `read` in pieces of one picture each, with the picture's number and where in it the
    /// piece lies.
    fn each(&self, buffer: &mut [u8], offset: u64, mut read: impl FnMut(usize, &mut [u8], u64) -> io::Result<()>) -> io::Result<()> {
        let mut number = self.files.partition_point(|(place, _)| place.end <= offset);
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            let (place, _) = self.files.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
            let there = usize::try_from(place.end.saturating_sub(at)).unwrap_or(usize::MAX).min(rest.len());
            let (piece, behind) = rest.split_at_mut(there);
            if !piece.is_empty() {
                read(number, piece, at - place.start)?;
            }
            (rest, at, number) = (behind, place.end, number + 1);
        }
        Ok(())
    }
}

/// The source of a show that nobody plays: each picture is opened to be read, and closed.
#[derive(Clone)]
pub(crate) struct SlideFiles(Arc<Pictures>);

impl SlideFiles {
    /// Whether a picture could not be read that may be another time.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Relaxed)
    }

    /// How often it was read, and how many octets that gave.
    pub(crate) fn cost(&self) -> (u64, u64) {
        (self.0.reads.load(Ordering::Relaxed), self.0.octets.load(Ordering::Relaxed))
    }
}

impl ReadAt for SlideFiles {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        self.0.octets.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        let read = self.0.each(buffer, offset, |number, piece, at| match self.0.files.get(number) {
            Some((_, file)) => file.read_exact_at(piece, at),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        let passes = |error: &io::Error| !matches!(error.kind(), io::ErrorKind::PermissionDenied);
        if read.as_ref().is_err_and(passes) {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
        read
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn called(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(OpenSlides { pictures: Arc::clone(&self.0), open: Mutex::default() }))
    }
}

/// The source of a show that is played. A picture that has gone or changed meanwhile is zeros, which are no picture: it is left out, and
/// those around it, read with it, are not.
struct OpenSlides {
    pictures: Arc<Pictures>,
    /// The pictures that were read last, by their numbers, the last one behind; without a file where it has gone.
    open: Mutex<VecDeque<(usize, Option<Arc<File>>)>>,
}

impl OpenSlides {
    /// A picture's file; `None` where it has gone.
    fn file(&self, number: usize, open: impl FnOnce(&TitleFile) -> io::Result<Arc<File>>) -> io::Result<Option<Arc<File>>> {
        let (_, picture) = self.pictures.files.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().iter().find(|(known, _)| *known == number).map(|(_, file)| file.clone());
        let found = match known.clone() {
            Some(Some(file)) => Ok(file),
            Some(None) => return Ok(None),
            None => open(picture),
        };
        // Somebody may have written to it where it is.
        let found = found.and_then(|file| if picture.is_same(&file)? { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) });
        let file = match found {
            Ok(file) if known.is_some() => return Ok(Some(file)),
            Ok(file) => Some(file),
            Err(error) if is_another(&error) => {
                tracing::warn!("a picture of a slide show has gone or changed, it is left out: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        let mut open = lock();
        open.retain(|(known, _)| *known != number);
        open.push_back((number, file.clone()));
        while open.len() > OPEN {
            open.pop_front();
        }
        Ok(file)
    }
}

/// Whether what was read is not there any more.
fn is_another(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, StaleNetworkFileHandle};
    // The system's errors have nothing in them, that it has changed is our own.
    matches!(error.kind(), NotADirectory | NotFound | PermissionDenied | StaleNetworkFileHandle) || error.get_ref().is_some()
}

impl ReadAt for OpenSlides {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.pictures.each(buffer, offset, |number, piece, at| match self.file(number, TitleFile::file)? {
            Some(file) => file.read_exact_at(piece, at),
            None => {
                piece.fill(0);
                Ok(())
            }
        })
    }

    fn read_now_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pictures.each(buffer, offset, |number, piece, at| match self.file(number, TitleFile::file_at_hand)? {
            Some(file) => read_now(&file, piece, at),
            None => {
                piece.fill(0);
                Ok(())
            }
        })
    }

    fn size(&self) -> u64 {
        self.pictures.size()
    }

    fn open(&self) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Self { pictures: Arc::clone(&self.pictures), open: Mutex::default() }))
    }
}

#[cfg(test)]
mod tests;
