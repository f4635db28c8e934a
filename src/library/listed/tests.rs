use super::*;
use crate::library::cache::CacheSettings;
use crate::library::folder::{Change, ChangeKind, Library};
use crate::quantities::{MediaKind, MediaTime};
use std::path::PathBuf;

fn media(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with these files of the library.
    fn with(names: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        for name in names {
            fs::copy(media(name), folder.at(name)).expect("copied");
        }
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, octets: impl AsRef<[u8]>) {
        fs::write(self.at(name), octets).expect("written");
    }

    fn library(&self) -> Library {
        Library::open(self.0.path()).expect("a folder")
    }
}

fn entry(library: &Library, name: &str) -> Arc<Entry> {
    library.entry(&TitlePath::new(name).expect("a name")).unwrap_or_else(|| panic!("no {name}"))
}

fn duration(library: &Library, name: &str) -> MediaTime {
    entry(library, name).facts().expect("it plays").duration
}

fn remark(library: &Library, name: &str) -> Option<String> {
    entry(library, name).facts().expect("it plays").remark.as_ref().map(|remark| remark.reason.clone())
}

#[test]
fn a_list_is_a_title_as_long_as_its_items() {
    let folder = Folder::with(&["short.mp4", "aligned.mp4"]);
    folder.write("all.m3u8", "#EXTM3U\n#EXTINF:1,x\nshort.mp4\naligned.mp4\nshort.mp4\n");
    let library = folder.library();
    let all = entry(&library, "all.m3u8").title().expect("it plays");
    let both = duration(&library, "short.mp4").as_nanos() * 2 + duration(&library, "aligned.mp4").as_nanos();
    assert!((both..both + 100_000_000).contains(&all.duration.as_nanos()), "{} of {both}", all.duration.as_nanos());
    assert_eq!(all.remark, None);
    let single = |name| entry(&library, name).title().expect("it plays");
    let pictures = |title: &Title| title.tracks.iter().find(|track| track.kind == MediaKind::Video).expect("pictures").len();
    assert_eq!(pictures(&all), pictures(&single("short.mp4")) * 2 + pictures(&single("aligned.mp4")));
}

#[test]
fn what_is_left_out_is_told_by_its_place_and_bounded() {
    let folder = Folder::with(&["short.mp4", "sound.m4a"]);
    folder.write("noise.mp4", "noise");
    let text = ["missing.mp4", "http://example.org/a.mp4", "noise.mp4", "short.mp4", "b.m3u"].join("\n");
    folder.write("all.m3u", &text);
    folder.write("b.m3u", "missing.mp4\n");
    folder.write("more.m3u", "gone.mp4\n".repeat(20) + "short.mp4");
    folder.write("slides.toml", "[[item]]\nfile = \"short.mp4\"\n");
    folder.write("other.toml", "[listen]\nport = 1\n");
    folder.write("wrong.toml", "[[item]]\nfiles = [\"short.mp4\"]\n");
    let library = folder.library();
    let told = "line 2: a URL is no file of the library; line 5: a playlist in a playlist is not played; \
                line 1: there is no such file; line 3: not a media file of a known format";
    assert_eq!(remark(&library, "all.m3u").as_deref(), Some(told));
    let more = remark(&library, "more.m3u").expect("much is missing");
    assert!(more.ends_with("line 8: there is no such file; and 12 more"), "{more}");
    let problem = |name| entry(&library, name).facts().expect_err("nothing plays").to_string();
    assert_eq!(problem("b.m3u"), "nothing of the playlist can be played: line 1: there is no such file");
    assert_eq!(problem("wrong.toml"), "the playlist is no TOML with an [[item]] for each file");
    assert!(library.entry(&TitlePath::new("other.toml").expect("a name")).is_none(), "it is no list");
    // That is a slide show.
    assert!(entry(&library, "slides.toml").list.is_none());
}

#[test]
fn part_of_a_file_is_as_long_as_asked() {
    let folder = Folder::with(&["aligned.mp4"]);
    folder.write("part.toml", "[[item]]\nfile = \"aligned.mp4\"\nstart = 2\nend = 3\n");
    let library = folder.library();
    let part = duration(&library, "part.toml").as_seconds();
    // It begins with a random access point, up to a second before.
    assert!((1.0..2.1).contains(&part), "{part}");
}

#[test]
fn a_list_changes_with_itself_and_with_what_it_names() {
    let folder = Folder::with(&["short.mp4"]);
    folder.write("a.mp4", "noise");
    folder.write("all.m3u", "short.mp4\na.mp4\nlater.mp4\n");
    let library = folder.library();
    let told = |changes: Vec<Change>| changes.into_iter().map(|change| (change.path.to_string(), change.kind)).collect::<Vec<_>>();
    let changed = |name: &str, kind| (name.to_owned(), kind);
    let reason = "line 2: not a media file of a known format; line 3: there is no such file";
    assert_eq!(remark(&library, "all.m3u").as_deref(), Some(reason));
    assert_eq!(library.rescan(), []);
    // An item becomes another file.
    fs::copy(media("short.mp4"), folder.at("a.mp4")).expect("copied");
    assert_eq!(told(library.rescan()), [changed("a.mp4", ChangeKind::Changed), changed("all.m3u", ChangeKind::Changed)]);
    assert_eq!(remark(&library, "all.m3u").as_deref(), Some("line 3: there is no such file"));
    // One that was missing appears.
    fs::copy(media("short.mp4"), folder.at("later.mp4")).expect("copied");
    assert_eq!(told(library.rescan()), [changed("later.mp4", ChangeKind::Appeared), changed("all.m3u", ChangeKind::Changed)]);
    assert_eq!(remark(&library, "all.m3u"), None);
    // The list itself.
    let before = duration(&library, "all.m3u");
    folder.write("all.m3u", "short.mp4\n");
    assert_eq!(told(library.rescan()), [changed("all.m3u", ChangeKind::Changed)]);
    assert!(duration(&library, "all.m3u") < before);
    fs::remove_file(folder.at("all.m3u")).expect("removed");
    assert_eq!(told(library.rescan()), [changed("all.m3u", ChangeKind::Vanished)]);
}

#[test]
fn an_item_that_changes_while_it_plays_is_not_read() {
    let folder = Folder::with(&["short.mp4"]);
    fs::copy(media("short.mp4"), folder.at("a.mp4")).expect("copied");
    folder.write("all.m3u", "short.mp4\na.mp4\n");
    let library = folder.library();
    let title = entry(&library, "all.m3u").title().expect("it plays");
    let source = title.source.open().expect("opens");
    fs::write(folder.at("a.mp4"), vec![0; 1 << 20]).expect("written");
    let track = &title.tracks[0];
    let read = |unit: usize| {
        let unit = track.access_unit(unit).expect("there");
        track.read(source.as_ref(), &[unit], &mut vec![0; unit.size as usize])
    };
    assert!(read(0).is_ok());
    // What is there is none of it; that the disk fails would be another error, after which nothing more is played.
    assert_eq!(read(track.len() - 1).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
}

#[test]
fn segments_are_one_title_and_must_all_be_there() {
    let folder = Folder::with(&["fragmented.mp4"]);
    let whole = fs::read(media("fragmented.mp4")).expect("there");
    let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n".to_owned();
    for (number, piece) in whole.chunks(whole.len() / 3 + 1).enumerate() {
        folder.write(&format!("{number}.m4s"), piece);
        text += &format!("#EXTINF:1,\n{number}.m4s\n");
    }
    folder.write("all.m3u8", &text);
    folder.write("missing.m3u8", format!("{text}3.m4s\n"));
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("secret"), &whole).expect("written");
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.at("out.m4s")).expect("linked");
    folder.write("out.m3u8", "#EXT-X-ENDLIST\nout.m4s\n");
    let library = folder.library();
    let (all, single) = (entry(&library, "all.m3u8").title().expect("plays"), entry(&library, "fragmented.mp4").title().expect("plays"));
    assert_eq!(all.duration, single.duration);
    for (one, other) in all.tracks.iter().zip(&single.tracks) {
        assert_eq!(one.index.samples(), other.index.samples());
        let unit = one.access_unit(one.len() - 1).expect("there");
        let read = |title: &Title| {
            let mut octets = vec![0; unit.size as usize];
            one.read(title.source.as_ref(), &[unit], &mut octets).expect("read");
            octets
        };
        assert_eq!(read(&all), read(&single));
    }
    for (name, problem) in [("missing.m3u8", "line 9: there is no such segment"), ("out.m3u8", "line 2: there is no such segment")] {
        assert_eq!(entry(&library, name).facts().expect_err("not whole").to_string(), problem);
    }
    // A segment more is another title.
    folder.write("2.m4s", "");
    let changes = library.rescan();
    let changed: std::collections::BTreeSet<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["all.m3u8", "missing.m3u8"]);
}

#[test]
fn what_is_known_of_a_list_is_kept_as_long_as_its_files_are_the_same() {
    let folder = Folder::with(&["short.mp4"]);
    folder.write("all.m3u", "short.mp4\nshort.mp4\n");
    let kept = tempfile::tempdir().expect("a folder");
    let settings = || Some(CacheSettings { folder: kept.path().to_owned(), made_by: "test".into() });
    let open = || Library::open_kept(folder.0.path(), settings()).expect("a folder");
    let known = |library: &Library| entry(library, "all.m3u").known().is_some();
    let library = open();
    assert!(!known(&library));
    library.index();
    drop(library);
    assert!(known(&open()));
    fs::copy(media("aligned.mp4"), folder.at("short.mp4")).expect("copied");
    assert!(!known(&open()), "what it names has changed");
}

/// What segments begin with is no title beside the list that names it, and one again when it does not.
#[test]
fn the_beginning_of_segments_is_no_title() {
    let folder = Folder::with(&["fragmented.mp4"]);
    let whole = fs::read(media("fragmented.mp4")).expect("there");
    let at = whole.windows(4).position(|kind| kind == b"moof").expect("fragments") - 4;
    folder.write("init.mp4", &whole[..at]);
    folder.write("1.m4s", &whole[at..]);
    let library = folder.library();
    let names = |library: &Library| library.entries().iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&library), ["fragmented.mp4", "init.mp4"]);
    folder.write("all.m3u8", "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:1,\n1.m4s\n");
    let told = |changes: Vec<Change>| changes.into_iter().map(|change| (change.path.to_string(), change.kind)).collect::<Vec<_>>();
    assert_eq!(told(library.rescan()), [("all.m3u8".into(), ChangeKind::Appeared), ("init.mp4".into(), ChangeKind::Vanished)]);
    assert_eq!((names(&library), library.rescan()), (vec!["all.m3u8".into(), "fragmented.mp4".into()], vec![]));
    assert_eq!(duration(&library, "all.m3u8"), duration(&library, "fragmented.mp4"));
    fs::remove_file(folder.at("all.m3u8")).expect("removed");
    assert_eq!(told(library.rescan()), [("init.mp4".into(), ChangeKind::Appeared), ("all.m3u8".into(), ChangeKind::Vanished)]);
}

/// A list that names what segments begin with too is as it was as long as that is, whichever of the lists is looked at first.
#[test]
fn lists_that_name_the_beginning_of_segments_stay_as_they_are() {
    let folder = Folder::with(&["fragmented.mp4", "short.mp4"]);
    let whole = fs::read(media("fragmented.mp4")).expect("there");
    let at = whole.windows(4).position(|kind| kind == b"moof").expect("fragments") - 4;
    folder.write("init.mp4", &whole[..at]);
    folder.write("1.m4s", &whole[at..]);
    for name in ["a.m3u", "z.m3u"] {
        folder.write(name, "init.mp4\nshort.mp4\n");
    }
    folder.write("b.toml", "[[item]]\nfile = \"init.mp4\"\n[[item]]\nfile = \"short.mp4\"\n");
    folder.write("all.m3u8", "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:1,\n1.m4s\n");
    let library = folder.library();
    let names = |library: &Library| library.entries().iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>();
    let shown = ["a.m3u", "all.m3u8", "b.toml", "fragmented.mp4", "short.mp4", "z.m3u"];
    for _ in 0..3 {
        assert_eq!((library.rescan(), names(&library)), (vec![], shown.map(str::to_owned).to_vec()));
    }
    let told = |library: &Library| {
        let mut told: Vec<_> = library.rescan().into_iter().map(|change| (change.path.to_string(), change.kind)).collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    };
    // It changes, and all that name it do.
    folder.write("init.mp4", [&whole[..at], &[0, 0, 0, 8, b'f', b'r', b'e', b'e']].concat());
    let changed = ["a.m3u", "all.m3u8", "b.toml", "z.m3u"].map(|name| (name.to_owned(), ChangeKind::Changed));
    assert_eq!((told(&library), told(&library)), (changed.to_vec(), vec![]));
    // It is a title again, the same one for those.
    fs::remove_file(folder.at("all.m3u8")).expect("removed");
    let gone = [("all.m3u8".to_owned(), ChangeKind::Vanished), ("init.mp4".to_owned(), ChangeKind::Appeared)];
    assert_eq!((told(&library), told(&library)), (gone.to_vec(), vec![]));
}

/// A file with pictures or sound is a title, whichever list calls it a beginning.
#[test]
fn a_whole_film_is_hidden_by_no_list() {
    let folder = Folder::with(&["fragmented.mp4", "short.mp4"]);
    folder.write("noise.mp4", "noise");
    let fragments = fs::read(media("fragmented.mp4")).expect("there");
    let at = fragments.windows(4).position(|kind| kind == b"moof").expect("fragments") - 4;
    folder.write("1.m4s", &fragments[at..]);
    let library = folder.library();
    let before = library.entries();
    for name in ["fragmented.mp4", "short.mp4", "noise.mp4", "missing.mp4"] {
        folder.write(&format!("{name}.m3u8"), format!("#EXTM3U\n#EXT-X-MAP:URI=\"{name}\"\n#EXTINF:1,\n1.m4s\n"));
    }
    let appeared = library.rescan();
    assert!(appeared.len() == 4 && appeared.iter().all(|change| change.kind == ChangeKind::Appeared), "{appeared:?}");
    assert_eq!(library.rescan(), []);
    for entry in &before {
        assert!(library.entry(&entry.path).is_some_and(|now| Arc::ptr_eq(&now, entry)), "{}", entry.path);
    }
    // It becomes a beginning, and a film again.
    fs::copy(media("short.mp4"), folder.at("noise.mp4")).expect("copied");
    library.rescan();
    let noise = TitlePath::new("noise.mp4").expect("a name");
    assert!(library.entry(&noise).is_some());
    folder.write("noise.mp4", &fragments[..at]);
    library.rescan();
    assert!(library.entry(&noise).is_none());
    folder.write("noise.mp4", &fragments);
    library.rescan();
    assert!(library.entry(&noise).is_some_and(|entry| entry.facts().is_ok()));
}
