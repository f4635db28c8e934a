//! What is kept from one run to the next: used where it holds, made anew where it does not, and never an error.

use super::*;
use crate::library::Library;
use std::os::unix::fs::PermissionsExt;

struct Scene {
    media: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { media: tempfile::tempdir().expect("a folder"), state: tempfile::tempdir().expect("a folder") };
        let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/short.mp4");
        fs::copy(film, scene.media.path().join("a.mp4")).expect("copied");
        fs::write(scene.media.path().join("b.mp4"), b"noise").expect("written");
        scene
    }

    fn settings(&self) -> CacheSettings {
        CacheSettings { folder: self.state.path().join("index"), made_by: "this build".into() }
    }

    fn open(&self) -> Library {
        Library::open_kept(self.media.path(), Some(self.settings())).expect("a folder")
    }

    fn cache(&self) -> Cache {
        Cache::open(self.settings(), &self.media.path().canonicalize().expect("there"))
    }

    fn facts_file(&self) -> PathBuf {
        self.cache().folder.join("facts")
    }

    /// The film's title and its stamp, as read from the file.
    fn film(&self) -> (Stamp, Arc<Title>) {
        let library = Library::open(self.media.path()).expect("a folder");
        let entry = library.entries().remove(0);
        (entry.stamp, entry.title().expect("it plays"))
    }
}

#[test]
fn what_was_indexed_is_known_at_once_in_the_next_run() {
    let scene = Scene::new();
    let library = scene.open();
    assert_eq!(library.indexed(), 0);
    library.index();
    let again = scene.open();
    assert_eq!(again.indexed(), 2, "without reading a file");
    for (before, now) in library.entries().iter().zip(again.entries()) {
        assert_eq!((&before.path, before.known()), (&now.path, now.known()));
    }
    assert_eq!(again.entries()[0].title().expect("it plays").tracks.len(), 2, "and what is known can be opened");
    let mode = fs::metadata(scene.facts_file()).expect("there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "its owner's only");
}

#[test]
fn a_file_that_has_changed_is_indexed_anew_and_one_that_is_gone_is_forgotten() {
    let scene = Scene::new();
    scene.open().index();
    fs::copy(scene.media.path().join("a.mp4"), scene.media.path().join("b.mp4")).expect("copied");
    let library = scene.open();
    assert_eq!(library.indexed(), 1);
    library.index();
    assert!(library.entries()[1].facts().is_ok());
    fs::remove_file(scene.media.path().join("a.mp4")).expect("removed");
    scene.open().index();
    let octets = read(&scene.facts_file()).expect("there");
    let kept = record::read_facts("this build", &octets).expect("sound");
    assert_eq!(kept.iter().map(|known| &*known.path).collect::<Vec<_>>(), ["b.mp4"]);
}

#[test]
fn what_is_damaged_foreign_or_in_the_way_is_made_anew() {
    let scene = Scene::new();
    let file = scene.facts_file();
    for octets in [&b""[..], b"noise", &[0xff; 100]] {
        fs::write(&file, octets).expect("written");
        let library = scene.open();
        assert_eq!(library.indexed(), 0);
        library.index();
        assert_eq!(scene.open().indexed(), 2, "it is whole again");
    }
    let mut octets = fs::read(&file).expect("there");
    octets[40] ^= 1;
    fs::write(&file, octets).expect("written");
    assert_eq!(scene.open().indexed(), 0, "damaged");
    let other = CacheSettings { made_by: "that build".into(), ..scene.settings() };
    scene.open().index();
    assert_eq!(Library::open_kept(scene.media.path(), Some(other)).expect("opens").indexed(), 0, "of another build");
    // No folder can be there: nothing is kept, and all the same everything plays.
    let nowhere = CacheSettings { folder: file, ..scene.settings() };
    let library = Library::open_kept(scene.media.path(), Some(nowhere)).expect("opens");
    library.index();
    assert_eq!(library.indexed(), 2);
}

#[test]
fn an_index_that_took_long_is_kept_and_used_and_goes_with_its_title() {
    let scene = Scene::new();
    let (stamp, film) = scene.film();
    let cache = scene.cache();
    let source: Arc<dyn ReadAt> = Arc::clone(&film.source);
    cache.keep_index(&stamp, &film, (MANY_READS, MANY_OCTETS));
    assert!(cache.index(&film.path, &stamp, &source).is_none(), "it is as fast to read");
    cache.keep_index(&stamp, &film, (MANY_READS + 1, 0));
    let kept = cache.index(&film.path, &stamp, &source).expect("kept");
    for (kept, track) in kept.tracks.iter().zip(&film.tracks) {
        assert_eq!((&kept.codec, kept.index.samples()), (&track.codec, track.index.samples()));
    }
    assert!(cache.index(&film.path, &Stamp { inode: 1, ..stamp }, &source).is_none(), "of another file");
    // The library takes it: its remark is not in the file.
    let remark = Some(Problem { reason: "this is the kept one".into() });
    let marked = Title { path: film.path.clone(), duration: film.duration, tracks: kept.tracks, remark, source };
    cache.keep_index(&stamp, &marked, (0, MANY_OCTETS + 1));
    let library = scene.open();
    assert_eq!(library.entries()[0].title().expect("it plays").remark, marked.remark);
    let place = cache.place(&film.path);
    fs::write(&place, b"damaged").expect("written");
    assert_eq!(scene.open().entries()[0].title().expect("it plays").remark, None, "read from the file again");
    library.index();
    assert!(place.exists());
    fs::remove_file(scene.media.path().join("a.mp4")).expect("removed");
    scene.open().index();
    assert!(!place.exists());
    let left: Vec<_> = fs::read_dir(&cache.folder).expect("a folder").map(|file| file.expect("there").file_name()).collect();
    assert_eq!(left.len(), 2, "nothing half written: {left:?}");
}
