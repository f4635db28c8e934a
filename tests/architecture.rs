//! Holds the shape of the crate: which room may name which, where clocks, sockets and `unsafe` are, how long a file gets.
//!
//! `docs/architecture.md` says why. The sources are read as text; what stands in comments, and in a file's unit tests at its
//! end, does not count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may name beside itself and the two files for all, `now` and `quantities`.
const ARROWS: [(&str, &[&str]); 21] = [
    ("now", &[]),
    ("quantities", &[]),
    ("library", &[]),
    ("access", &[]),
    ("config", &["access"]),
    ("net", &[]),
    ("tls", &[]),
    ("payload", &["library"]),
    ("sdp", &["payload", "library"]),
    ("publish", &["library"]),
    ("steering", &[]),
    ("playback", &["payload", "library", "steering"]),
    ("dataplane", &["playback", "steering", "net", "payload", "library"]),
    ("rtsp", &["access", "steering", "playback", "publish", "sdp", "library", "net"]),
    ("http", &["access", "steering", "playback", "sdp", "library", "net"]),
    ("mobility", &["steering", "net"]),
    ("device", &["mobility", "steering", "net"]),
    ("store", &["steering", "playback"]),
    ("camera", &["library", "net"]),
    ("mdns", &["net"]),
    (
        "cli",
        &[
            "access",
            "camera",
            "config",
            "dataplane",
            "device",
            "http",
            "library",
            "mdns",
            "mobility",
            "net",
            "playback",
            "rtsp",
            "steering",
            "store",
            "tls",
        ],
    ),
];

/// Arrows that are to go: named here so that they are seen, and gone from here once they are gone from the sources.
const TO_GO: [(&str, &str); 0] = [];

const FOR_ALL: [&str; 2] = ["now", "quantities"];

/// Rooms and files that open nothing and ask no clock. Of the library, parsers and records are; the others read the disk.
const PURE: [&str; 39] = [
    "now.rs",
    "quantities.rs",
    "access",
    "config",
    "library/title.rs",
    "library/codec.rs",
    "library/jpeg.rs",
    "library/live/feed.rs",
    "library/live/window.rs",
    "camera/placement.rs",
    "camera/policy.rs",
    "camera/tracks.rs",
    "library/jpeg",
    "library/facts.rs",
    "library/playlist.rs",
    "library/chain.rs",
    "library/joined.rs",
    "library/joined",
    "library/record.rs",
    "library/slides/show.rs",
    "library/container",
    "library/elementary",
    "payload",
    "sdp",
    "steering",
    "playback",
    "publish",
    "rtsp/message.rs",
    "rtsp/url.rs",
    "rtsp/header",
    "mdns/services.rs",
    "mobility/wire",
    "device/consent.rs",
    "device/context.rs",
    "device/member.rs",
    "device/description.rs",
    "device/event.rs",
    "device/exchange.rs",
    "device/node.rs",
];

/// What pure files do not name.
const IMPURE: [&str; 10] =
    ["tokio", "Instant::now", "SystemTime", "TcpStream", "TcpListener", "UdpSocket", "std::fs", "getrandom", "std::env", "thread::"];

const MAX_LINES: usize = 1000;

/// One source file: its name below `src/`, all of it, and what counts of it.
struct Source {
    name: String,
    lines: usize,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("the sources can be listed");
        for path in entries.map(|entry| entry.expect("an entry can be read").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(source(&root, &path));
            }
        }
    }
    assert!(found.len() > 40, "only {} source files were found", found.len());
    found
}

fn source(root: &Path, path: &PathBuf) -> Source {
    let text = fs::read_to_string(path).expect("a source file is text");
    let name = path.strip_prefix(root).expect("it lies below src").to_string_lossy().into_owned();
    Source { lines: text.lines().count(), code: counted(&name, &text), name }
}

/// A file without its comments and its unit tests.
fn counted(name: &str, text: &str) -> String {
    if name.ends_with("tests.rs") {
        return String::new();
    }
    let before_tests = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let lines = before_tests.lines().map(|line| match line.find("//") {
        // A URL in a text is no comment.
        Some(at) if at == 0 || !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `rtsp` of `rtsp/header/range.rs`, `config` of `config.rs`.
fn room(name: &str) -> &str {
    name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Every room that a text names as `crate::room` or in `crate::{room::…, …}`.
fn named_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(first_names(group)),
            None => rooms.extend(identifier(rest)),
        }
    }
    rooms
}

/// The names at the outermost level of a group whose brace is open.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(identifier(&group[start..at]));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(identifier(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    let mut still_there = BTreeSet::new();
    for file in sources() {
        let from = room(&file.name).to_owned();
        if matches!(from.as_str(), "main" | "lib") {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            wrong.push(format!("{}: the room `{from}` has no line in ARROWS", file.name));
            continue;
        };
        for to in named_rooms(&file.code) {
            // Macros and re-exported items of the crate's root are lower case too; rooms are what ARROWS lists.
            let is_room = ARROWS.iter().any(|(name, _)| *name == to);
            if !is_room || to == from || FOR_ALL.contains(&to.as_str()) || allowed.contains(&to.as_str()) {
                continue;
            }
            match TO_GO.iter().find(|(a, b)| *a == from && *b == to) {
                Some(arrow) => drop(still_there.insert(*arrow)),
                None => wrong.push(format!("{}: `{from}` may not use `{to}`", file.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for arrow in TO_GO {
        assert!(still_there.contains(&arrow), "{} no longer uses {}: take it out of TO_GO", arrow.0, arrow.1);
    }
}

#[test]
fn every_room_is_listed() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("src/lib.rs");
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let unlisted: Vec<_> = declared.iter().filter(|name| !ARROWS.iter().any(|(room, _)| room == *name)).collect();
    assert!(!declared.is_empty() && unlisted.is_empty(), "rooms without a line in ARROWS: {unlisted:?}");
}

#[test]
fn pure_rooms_open_nothing_and_ask_no_clock() {
    let mut wrong = Vec::new();
    for place in PURE {
        let within = |file: &&Source| file.name == place || file.name.starts_with(&format!("{place}/"));
        let files = sources();
        let here: Vec<&Source> = files.iter().filter(within).collect();
        assert!(!here.is_empty(), "nothing lies at src/{place}");
        for file in here {
            let named = IMPURE.iter().filter(|word| file.code.contains(**word));
            wrong.extend(named.map(|word| format!("{}: names `{word}`", file.name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn clocks_are_read_in_one_place() {
    let reads = |file: &Source| file.code.contains("SystemTime::now") || file.code.contains("std::time::Instant");
    let readers: Vec<String> = sources().into_iter().filter(reads).map(|file| file.name).collect();
    let unexpected: Vec<_> = readers.iter().filter(|name| *name != "net/clock.rs").collect();
    assert!(unexpected.is_empty(), "clocks are read in {unexpected:?}");
}

#[test]
fn unsafe_code_stays_where_sockets_are() {
    for file in sources() {
        let words = file.code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let count = words.filter(|word| *word == "unsafe" || *word == "unsafe_code").count();
        assert!(count == 0 || room(&file.name) == "net", "{}: unsafe code outside of src/net", file.name);
    }
}

#[test]
fn no_file_gets_longer_than_a_thousand_lines() {
    let long: Vec<_> =
        sources().iter().filter(|file| file.lines > MAX_LINES).map(|file| format!("{}: {}", file.name, file.lines)).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::net::now;\nuse crate::{library::{Title, Track}, sdp, playback::Stage};\nlet x = crate::steering::Key::new();";
    let rooms: Vec<String> = named_rooms(code).into_iter().collect();
    assert_eq!(rooms, ["library", "net", "playback", "sdp", "steering"]);
    let text = "use a; // crate::http\n/// crate::rtsp\nlet u = \"rtsp://crate::x\";\n#[cfg(test)]\nmod tests { use crate::cli; }";
    assert_eq!(counted("x.rs", text).matches("crate::").count(), 1);
    assert_eq!(counted("x/tests.rs", text), "");
}

/// Crates whose name in the sources is another.
const CALLED: [(&str, &str); 1] = [("md-5", "md5")];

#[test]
fn no_dependency_is_unused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).expect("it is there").parse().expect("TOML");
    let names = |section: &str| manifest[section].as_table().expect("a table").keys().cloned().collect::<Vec<String>>();
    let words = |folders: &[&str]| {
        let mut found = BTreeSet::new();
        let mut left: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(path).expect("a folder").flatten().map(|entry| entry.path()));
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                // What paths begin with, and not what a comment is about.
                let text = fs::read_to_string(path).expect("text");
                let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
                let before = code.flat_map(|line| line.match_indices("::").map(|(at, _)| &line[..at]));
                found.extend(before.filter_map(|text| {
                    let within = text.trim_end_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
                    (!within.ends_with("::")).then(|| text[within.len()..].to_owned())
                }));
            }
        }
        found
    };
    let unused = |section: &str, words: &BTreeSet<String>| {
        let called =
            |name: &String| CALLED.iter().find(|(known, _)| known == name).map_or(name.replace('-', "_"), |(_, called)| (*called).into());
        names(section).into_iter().filter(|name| !words.contains(&called(name))).collect::<Vec<_>>()
    };
    assert_eq!(unused("dependencies", &words(&["src"])), Vec::<String>::new(), "[dependencies]");
    assert_eq!(unused("dev-dependencies", &words(&["src", "tests", "benches"])), Vec::<String>::new(), "[dev-dependencies]");
}
