use std::os::unix::fs::symlink;

use super::*;
use crate::library::folder::{Change, ChangeKind, Library};
use crate::library::jpeg::tests::picture;

/// A library with a show of two pictures.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let show = folder.path().join("trip");
    fs::create_dir(&show).expect("made");
    fs::write(show.join("slides.toml"), "seconds = 0.2\n").expect("written");
    for (name, scan) in [("b.jpg", [2; 40]), ("a.JPEG", [1; 40])] {
        fs::write(show.join(name), picture(&scan, 0)).expect("written");
    }
    folder
}

fn path() -> TitlePath {
    TitlePath::new("trip/slides.toml").expect("a path")
}

/// Which picture each access unit shows, by the octet of its scan; zero where there is none.
fn shown(source: &dyn ReadAt, title: &crate::library::Title) -> Vec<u8> {
    let track = &title.tracks[0];
    let units = (0..track.len()).filter_map(|position| track.access_unit(position));
    let octet = |unit: crate::library::AccessUnit| {
        let mut octets = vec![7; unit.size as usize];
        track.read(source, &[unit], &mut octets).expect("it can be read");
        octets[octets.len() - 3]
    };
    units.map(octet).collect()
}

fn names(library: &Library) -> Vec<String> {
    library.entries().iter().map(|entry| entry.path.to_string()).collect()
}

#[test]
fn a_folder_of_pictures_is_one_title_and_the_pictures_are_none() {
    let folder = folder();
    fs::write(folder.path().join("trip/.c.jpg"), picture(&[3; 40], 0)).expect("written");
    fs::write(folder.path().join("trip/notes.txt"), "Rain.").expect("written");
    let library = Library::open(folder.path()).expect("a folder");
    assert_eq!(names(&library), ["trip/slides.toml"]);
    let entry = library.entry(&path()).expect("there");
    let title = entry.title().expect("it plays");
    assert_eq!((shown(title.source.as_ref(), &title), &title.remark), (vec![1, 2], &None), "in the order of their names");
    assert_eq!(entry.size_bytes, title.source.size());
    let open = title.source.open().expect("opens");
    assert_eq!(shown(open.as_ref(), &title), [1, 2]);
    let mut all = vec![0; open.size() as usize];
    open.read_exact_at(&mut all, 0).expect("over both");
    assert_eq!(all, [picture(&[1; 40], 0), picture(&[2; 40], 0)].concat());
    let mut piece = vec![0; 60];
    let at = all.len() as u64 / 2 - 30;
    match open.read_now_at(&mut piece, at) {
        Ok(()) => assert_eq!(piece, all[at as usize..at as usize + 60]),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the kernel cannot tell"),
    }
    assert_eq!(open.read_exact_at(&mut piece, open.size() - 59).expect_err("behind the end").kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn files_outside_of_the_library_are_not_shown() {
    let (folder, outside) = (folder(), tempfile::tempdir().expect("a folder"));
    let show = folder.path().join("trip");
    fs::write(outside.path().join("secret.jpg"), picture(&[9; 40], 0)).expect("written");
    fs::write(folder.path().join("kept.jpg"), picture(&[5; 40], 0)).expect("written");
    symlink(outside.path().join("secret.jpg"), show.join("out.jpg")).expect("linked");
    symlink(outside.path(), show.join("away")).expect("linked");
    symlink("loop.jpg", show.join("loop.jpg")).expect("linked");
    symlink("../kept.jpg", show.join("in.jpg")).expect("linked");
    fs::create_dir(show.join("folder.jpg")).expect("made");
    let slides = ["out.jpg", "away/secret.jpg", "loop.jpg", "folder.jpg", "in.jpg", "none.jpg", "a.JPEG"];
    let text: String = slides.iter().map(|file| format!("[[slides]]\nfile = \"{file}\"\nseconds = 0.2\n")).collect();
    fs::write(show.join("slides.toml"), text).expect("written");
    let library = Library::open(folder.path()).expect("a folder");
    let title = library.entry(&path()).expect("there").title().expect("two play");
    assert_eq!(shown(title.source.as_ref(), &title), [5, 1]);
    let remark = title.remark.clone().expect("a remark").reason;
    let why = ["it lies outside of the library", "it lies outside of the library", "it is a link to itself", "it is no file"];
    let named: Vec<_> = slides.iter().zip(why).map(|(file, why)| format!("\"{file}\" is left out: {why}")).collect();
    assert_eq!(remark, format!("{}; and 1 more", named.join("; ")));
}

#[test]
fn an_edit_of_the_list_and_of_a_picture_makes_it_another_title() {
    let folder = folder();
    let show = folder.path().join("trip");
    let library = Library::open(folder.path()).expect("a folder");
    let now = || {
        let title = library.entry(&path()).expect("there").title();
        title.map(|title| shown(title.source.as_ref(), &title)).map_err(|problem| problem.reason)
    };
    let changed = || {
        assert_eq!(library.rescan(), [Change { path: path(), kind: ChangeKind::Changed }]);
        assert_eq!(library.rescan(), []);
        now()
    };
    assert_eq!((now(), library.rescan()), (Ok(vec![1, 2]), vec![]));
    fs::write(show.join("c.jpg"), picture(&[3; 40], 0)).expect("written");
    assert_eq!(changed(), Ok(vec![1, 2, 3]), "a picture more");
    fs::write(show.join("b.jpg"), picture(&[4; 41], 0)).expect("written");
    assert_eq!(changed(), Ok(vec![1, 4, 3]), "another picture of the name");
    fs::remove_file(show.join("a.JPEG")).expect("removed");
    assert_eq!(changed(), Ok(vec![4, 3]));
    let listed = "seconds = 0.2\nslides = [{ file = \"c.jpg\" }, { file = \"b.jpg\" }, { file = \"c.jpg\" }]";
    fs::write(show.join("slides.toml"), listed).expect("written");
    assert_eq!(changed(), Ok(vec![3, 4, 3]));
    fs::write(show.join("slides.toml"), "slide = 1").expect("written");
    assert!(changed().is_err_and(|reason| reason.starts_with("line 1: unknown field `slide`")));
    fs::write(show.join("slides.toml"), [0xff; 9]).expect("written");
    assert_eq!(changed(), Err("the file is no text in UTF-8".into()));
    fs::write(show.join("slides.toml"), "#".repeat(MAX_TEXT as usize + 1)).expect("written");
    assert_eq!(changed(), Err("the file is too large".into()));
    fs::remove_file(show.join("slides.toml")).expect("removed");
    assert_eq!(library.rescan(), [Change { path: path(), kind: ChangeKind::Vanished }]);
}

#[test]
fn a_picture_that_goes_while_the_show_is_played_is_left_out_alone() {
    let folder = folder();
    let show = folder.path().join("trip");
    fs::write(show.join("c.jpg"), picture(&[3; 40], 0)).expect("written");
    let title = Library::open(folder.path()).expect("a folder").entry(&path()).expect("there").title().expect("it plays");
    let (before, after) = (title.source.open().expect("opens"), title.source.open().expect("opens"));
    assert_eq!(shown(before.as_ref(), &title), [1, 2, 3]);
    fs::remove_file(show.join("a.JPEG")).expect("removed");
    fs::write(show.join("b.jpg"), picture(&[8; 50], 0)).expect("written where it is");
    for open in [&before, &after] {
        assert_eq!(shown(open.as_ref(), &title), [1, 0, 3], "none, rather than half of another; what is open is still there");
    }
    drop((before, after));
    let after = title.source.open().expect("opens");
    assert_eq!(shown(after.as_ref(), &title), [0, 0, 3]);
    let mut all = vec![7; after.size() as usize];
    after.read_exact_at(&mut all, 0).expect("what is there is read with it");
    assert!(all.ends_with(&picture(&[3; 40], 0)) && all.starts_with(&[0; 100]));
}

#[test]
fn few_pictures_are_open_however_many_are_shown() {
    let folder = folder();
    let show = folder.path().join("trip");
    for number in 0..20 {
        fs::write(show.join(format!("{number:02}.jpg")), picture(&[number; 40], 0)).expect("written");
    }
    let title = Library::open(folder.path()).expect("a folder").entry(&path()).expect("there").title().expect("it plays");
    let open = title.source.open().expect("opens");
    assert_eq!(shown(open.as_ref(), &title).len(), 22);
    let root = show.canonicalize().expect("there");
    let links = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let held = links.filter(|link| fs::read_link(link.path()).is_ok_and(|target| target.starts_with(&root))).count();
    assert_eq!(held, OPEN);
}
