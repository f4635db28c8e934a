//! Playlists: what a list says. M3U in its plain and extended form, in UTF-8, and TOML with an `[[item]]` for each (`file`, and in seconds
//! `start` and `end`). What a list names are files of the library, by paths from the list's folder.
//!
//! This reads what a list says; it opens no file. A list of segments (RFC 8216 section 4.3: `EXT-X-…`) is told apart: its files are one
//! title in pieces. One that names other lists, encrypted segments, parts of files or a break in its timeline is refused.

use std::fmt;

use serde::Deserialize;

use crate::library::title::TitlePath;
use crate::quantities::MediaTime;

/// Octets that a list has at most.
pub const MAX_OCTETS: usize = 1 << 20;
/// Items that a list has at most.
pub const MAX_ITEMS: usize = 4_096;

/// Endings of lists: a list within a list is left out.
const LISTS: [&str; 5] = ["m3u", "m3u8", "pls", "toml", "xspf"];
/// Seconds into an item at most.
const MAX_SECONDS: f64 = 1e8;

/// Why nothing of a list can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    /// It has more than [`MAX_OCTETS`].
    #[error("the playlist is larger than {MAX_OCTETS} octets")]
    TooLarge,
    /// It names more than [`MAX_ITEMS`].
    #[error("the playlist has more than {MAX_ITEMS} items")]
    TooMany,
    /// It is not text.
    #[error("the playlist is not UTF-8")]
    NotText,
    /// It is no TOML, or has other keys than those of a list.
    #[error("the playlist is no TOML with an [[item]] for each file")]
    NotToml,
    /// It is called like a list, but has no list of items: it is something else.
    #[error("it is no playlist")]
    NoList,
    /// It names nothing that could be played.
    #[error("the playlist names no file of the library")]
    Empty,
    /// It is of segments, and has what those that are served have not.
    #[error("{0}: {1}")]
    Segments(Place, SegmentsReason),
}

/// Why a list of segments is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentsReason {
    /// `EXT-X-STREAM-INF`, `EXT-X-MEDIA` and the like.
    #[error("playlists of playlists (HLS) are not served")]
    Master,
    /// `EXT-X-KEY` with another method than `NONE`.
    #[error("encrypted segments (HLS) are not served")]
    Encrypted,
    /// `EXT-X-BYTERANGE`.
    #[error("segments that are parts of files (HLS) are not served")]
    Parts,
    /// `EXT-X-DISCONTINUITY`, or a second `EXT-X-MAP`.
    #[error("segments of several timelines (HLS) are not served")]
    Discontinuity,
    /// A segment that is no file of the library.
    #[error("the segment is left out: {0}")]
    LeftOut(LeftOutReason),
}

/// Why a line of a list is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOutReason {
    /// A URL.
    #[error("a URL is no file of the library")]
    Url,
    /// A path from the root, or one that leads out of the library's folder.
    #[error("it lies outside the library")]
    Outside,
    /// A hidden file, or one whose name no title has.
    #[error("no title has such a name")]
    Name,
    /// Another list.
    #[error("a playlist in a playlist is not played")]
    Nested,
    /// It ends where it begins, or before; or begins before its beginning.
    #[error("nothing lies between its start and its end")]
    Times,
}

/// Where in a list something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of M3U: the number of the line, from 1.
    Line(usize),
    /// Of TOML: the number of the item, from 1.
    Item(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Item(number) => write!(f, "item {number}"),
        }
    }
}

/// An entry that is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct LeftOut {
    /// Where it stands.
    pub place: Place,
    /// Why.
    pub reason: LeftOutReason,
}

/// A file, or part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub path: TitlePath,
    /// Where it stands.
    pub place: Place,
    /// From where on it is played: from its beginning where that is not said.
    pub start: Option<MediaTime>,
    /// Up to where: its end where that is not said.
    pub end: Option<MediaTime>,
}

/// What a list's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each a title.
    Titles,
    /// Pieces of one, in their order.
    Segments,
}

/// What a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    kind: Kind,
    items: Vec<Item>,
    left_out: Vec<LeftOut>,
    /// Whether the first item is that of `EXT-X-MAP`.
    has_map: bool,
}

impl Playlist {
    /// Reads the list that is called `list`: by its ending it is TOML, or M3U.
    ///
    /// # Errors
    /// Where nothing of it can be played.
    pub fn parse(octets: &[u8], list: &TitlePath) -> Result<Self, PlaylistError> {
        if is_called(list, "toml") && !has_items(octets) {
            return Err(PlaylistError::NoList);
        }
        if octets.len() > MAX_OCTETS {
            return Err(PlaylistError::TooLarge);
        }
        let text = std::str::from_utf8(octets).map_err(|_| PlaylistError::NotText)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let read = if is_called(list, "toml") { Self::toml(text, list)? } else { Self::m3u(text, list)? };
        if read.items.is_empty() { Err(PlaylistError::Empty) } else { Ok(read) }
    }

    fn m3u(text: &str, list: &TitlePath) -> Result<Self, PlaylistError> {
        let mut read = Self { kind: Kind::Titles, items: Vec::new(), left_out: Vec::new(), has_map: false };
        let mut map = None;
        for (place, text) in (1..).map(Place::Line).zip(text.lines()) {
            let text = text.trim();
            if let Some(tag) = text.strip_prefix("#EXT-X-") {
                read.kind = Kind::Segments;
                let refuse = |reason| PlaylistError::Segments(place, reason);
                if let Some(uri) = map_of(tag).map_err(refuse)? {
                    match &map {
                        None => {
                            map = Some(uri.to_owned());
                            read.has_map = read.items.is_empty();
                            read.add(uri, list, place, (None, None))?;
                        }
                        Some(map) if map == uri => {}
                        Some(_) => return Err(refuse(SegmentsReason::Discontinuity)),
                    }
                }
            } else if !text.is_empty() && !text.starts_with('#') {
                read.add(text, list, place, (None, None))?;
            }
        }
        match read.left_out.first() {
            Some(LeftOut { place, reason }) if read.kind == Kind::Segments => {
                Err(PlaylistError::Segments(*place, SegmentsReason::LeftOut(*reason)))
            }
            _ => Ok(read),
        }
    }

    fn toml(text: &str, list: &TitlePath) -> Result<Self, PlaylistError> {
        let said: TomlList = toml::from_str(text).map_err(|_| PlaylistError::NotToml)?;
        let mut read = Self { kind: Kind::Titles, items: Vec::new(), left_out: Vec::new(), has_map: false };
        for (place, item) in (1..).map(Place::Item).zip(said.item) {
            read.add(&item.file, list, place, (item.start, item.end))?;
        }
        Ok(read)
    }

    fn add(&mut self, file: &str, list: &TitlePath, place: Place, times: (Option<f64>, Option<f64>)) -> Result<(), PlaylistError> {
        if self.items.len() + self.left_out.len() >= MAX_ITEMS {
            return Err(PlaylistError::TooMany);
        }
        let item = resolve(file, list).and_then(|path| {
            let (start, end) = span(times)?;
            Ok(Item { path, place, start, end })
        });
        match item {
            Ok(item) => self.items.push(item),
            Err(reason) => self.left_out.push(LeftOut { place, reason }),
        }
        Ok(())
    }

    /// What its files are.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The files it names, in its order; one may be named more than once.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The beginning of segments that is none itself (`EXT-X-MAP`): no title.
    pub fn map(&self) -> Option<&TitlePath> {
        self.items.first().filter(|_| self.has_map && self.kind == Kind::Segments).map(|item| &item.path)
    }

    /// The entries that are no items.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }
}

/// A list in TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlList {
    #[serde(default)]
    item: Vec<TomlItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlItem {
    file: String,
    start: Option<f64>,
    end: Option<f64>,
}

/// Whether TOML, or what is to be TOML, has a list of items: `[[item]]` on a line, or `item = [`. Also where the rest is broken.
fn has_items(octets: &[u8]) -> bool {
    let packed = |line: &[u8]| line.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).take(8).collect::<Vec<u8>>();
    octets.split(|octet| *octet == b'\n').map(packed).any(|line| line.starts_with(b"[[item]]") || line.starts_with(b"item=["))
}

/// From where to where, out of seconds.
fn span((start, end): (Option<f64>, Option<f64>)) -> Result<(Option<MediaTime>, Option<MediaTime>), LeftOutReason> {
    let is_fine = |seconds: &Option<f64>| seconds.is_none_or(|seconds| (0.0..MAX_SECONDS).contains(&seconds));
    if !is_fine(&start) || !is_fine(&end) {
        return Err(LeftOutReason::Times);
    }
    let (start, end) = (start.map(MediaTime::from_seconds), end.map(MediaTime::from_seconds));
    if end.is_some_and(|end| end <= start.unwrap_or_default()) {
        return Err(LeftOutReason::Times);
    }
    Ok((start, end))
}

/// What a tag behind `#EXT-X-` says of files: the URI of an `EXT-X-MAP`.
fn map_of(tag: &str) -> Result<Option<&str>, SegmentsReason> {
    let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
    match name {
        "STREAM-INF" | "I-FRAME-STREAM-INF" | "MEDIA" => Err(SegmentsReason::Master),
        "BYTERANGE" => Err(SegmentsReason::Parts),
        "DISCONTINUITY" => Err(SegmentsReason::Discontinuity),
        "KEY" if attribute(value, "METHOD") != Some("NONE") => Err(SegmentsReason::Encrypted),
        "MAP" if attribute(value, "BYTERANGE").is_some() => Err(SegmentsReason::Parts),
        "MAP" => Ok(attribute(value, "URI")),
        _ => Ok(None),
    }
}

/// The value of an attribute in a list of such (RFC 8216 section 4.2), without quotes.
fn attribute<'a>(list: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let (value, next) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => behind.split_at(behind.find(',').unwrap_or(behind.len())),
        };
        if name.trim() == wanted {
            return Some(value.trim());
        }
        rest = next.trim_start().strip_prefix(',')?;
    }
}

/// Whether a file is a list by its name; `slides.toml` is none.
pub fn is_list(path: &TitlePath) -> bool {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    name != "slides.toml" && ["m3u", "m3u8", "toml"].iter().any(|ending| is_called(path, ending))
}

fn is_called(path: &TitlePath, ending: &str) -> bool {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(_, its)| its.eq_ignore_ascii_case(ending))
}

/// The file that `text` names, seen from the folder of `list`.
fn resolve(text: &str, list: &TitlePath) -> Result<TitlePath, LeftOutReason> {
    if is_url(text) {
        return Err(LeftOutReason::Url);
    }
    if text.starts_with('/') {
        return Err(LeftOutReason::Outside);
    }
    let mut parts: Vec<&str> = list.as_str().split('/').collect();
    parts.pop();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or(LeftOutReason::Outside)?),
            part => parts.push(part),
        }
    }
    let path = TitlePath::new(&parts.join("/")).ok_or(LeftOutReason::Name)?;
    if LISTS.iter().any(|ending| is_called(&path, ending)) {
        return Err(LeftOutReason::Nested);
    }
    Ok(path)
}

/// Whether a line begins with a scheme and `//` (RFC 3986 section 3). A colon alone is part of many a file's name.
fn is_url(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return text.starts_with("//") };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Playlist, PlaylistError> {
        Playlist::parse(text.as_bytes(), &TitlePath::new("series/all.m3u8").expect("a name"))
    }

    fn names(list: &Playlist) -> Vec<&str> {
        list.items().iter().map(|item| item.path.as_str()).collect()
    }

    #[test]
    fn paths_are_from_the_lists_folder_and_keep_their_order() {
        let text = "\u{feff}#EXTM3U\r\n#EXTINF:12,One: the first\r\none.mp4\r\n\r\n  ./a b ü.mkv \r\n../other.mp4\none.mp4\nx/../two.mp4";
        let list = parse(text).expect("a list");
        assert_eq!(names(&list), ["series/one.mp4", "series/a b ü.mkv", "other.mp4", "series/one.mp4", "series/two.mp4"]);
        assert_eq!(list.left_out(), []);
    }

    #[test]
    fn what_is_no_file_of_the_library_is_left_out_by_its_line() {
        let text = "one.mp4\nhttp://example.org/a.mp4\n//host/a.mp4\n/etc/a.mp4\n../../a.mp4\n.hidden/a.mp4\nmore.M3U\n.\\a.mp4\na: b.mp4";
        let list = parse(text).expect("a list");
        assert_eq!(names(&list), ["series/one.mp4", "series/a: b.mp4"]);
        use LeftOutReason::{Name, Nested, Outside, Url};
        let expected = [(2, Url), (3, Url), (4, Outside), (5, Outside), (6, Name), (7, Nested), (8, Name)];
        assert_eq!(list.left_out(), expected.map(|(line, reason)| LeftOut { place: Place::Line(line), reason }));
        assert_eq!(list.left_out()[2].to_string(), "line 4: it lies outside the library");
    }

    #[test]
    fn lists_without_items_are_refused() {
        for text in ["", "#EXTM3U\n", "http://example.org/a.mp4"] {
            assert_eq!(parse(text), Err(PlaylistError::Empty), "{text}");
        }
        let list = TitlePath::new("a.m3u").expect("a name");
        assert_eq!(Playlist::parse(b"\xff\xfe.mp4", &list), Err(PlaylistError::NotText));
    }

    #[test]
    fn segments_are_pieces_of_one_title_with_what_is_before_them() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:X=\"a,URI=b\",URI=\"init.mp4\"\n#EXTINF:4,\na.m4s\n\
                    #EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:4,\nb.m4s\n#EXT-X-ENDLIST\n";
        let list = parse(text).expect("a list");
        assert_eq!(list.kind(), Kind::Segments);
        assert_eq!(names(&list), ["series/init.mp4", "series/a.m4s", "series/b.m4s"]);
        assert_eq!(list.map(), Some(&list.items()[0].path));
        assert_eq!(parse("a.ts\n#EXT-X-MAP:URI=\"b\"").expect("a list").map(), None);
        assert_eq!(parse("a.ts\n#EXT-X-ENDLIST").map(|list| list.kind()), Ok(Kind::Segments));
    }

    #[test]
    fn segments_that_are_not_served_are_refused_by_their_line() {
        use SegmentsReason::{Discontinuity, Encrypted, LeftOut, Master, Parts};
        for (line, reason) in [
            ("#EXT-X-STREAM-INF:BANDWIDTH=1", Master),
            ("#EXT-X-KEY:METHOD=AES-128,URI=\"key\"", Encrypted),
            ("#EXT-X-BYTERANGE:100@0", Parts),
            ("#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"10@0\"", Parts),
            ("#EXT-X-DISCONTINUITY", Discontinuity),
            ("http://example.org/a.ts", LeftOut(LeftOutReason::Url)),
        ] {
            let text = format!("#EXTM3U\n#EXT-X-VERSION:3\na.ts\n{line}\nb.ts\n");
            assert_eq!(parse(&text), Err(PlaylistError::Segments(Place::Line(4), reason)));
        }
        let error = parse("#EXT-X-MAP:URI=\"a\"\nb\n#EXT-X-MAP:URI=\"c\"").expect_err("two timelines");
        assert_eq!(error.to_string(), "line 3: segments of several timelines (HLS) are not served");
    }

    fn toml(text: &str) -> Result<Playlist, PlaylistError> {
        Playlist::parse(text.as_bytes(), &TitlePath::new("series/all.toml").expect("a name"))
    }

    #[test]
    fn items_in_toml_have_a_start_and_an_end_in_seconds() {
        let text =
            "[[item]]\nfile = \"one.mp4\"\n[[item]]\nfile = \"../two.mp4\"\nstart = 2\nend = 3.5\n[[item]]\nfile = \"one.mp4\"\nend = 1";
        let list = toml(text).expect("a list");
        let seconds = |at: f64| Some(MediaTime::from_seconds(at));
        let items: Vec<_> = list.items().iter().map(|item| (item.path.as_str(), item.start, item.end)).collect();
        assert_eq!(
            items,
            [("series/one.mp4", None, None), ("two.mp4", seconds(2.0), seconds(3.5)), ("series/one.mp4", None, seconds(1.0))]
        );
    }

    #[test]
    fn what_is_no_item_in_toml_is_left_out_by_its_number() {
        let item = |more: &str| format!("[[item]]\nfile = {more}\n");
        let wrong = ["\"a.m3u\"", "\"a\"\nstart = -1", "\"a\"\nstart = 2\nend = 2", "\"a\"\nend = nan", "\"a\"\nstart = inf"];
        let text: String = [&["\"a.mp4\""][..], &wrong].concat().into_iter().map(item).collect();
        let list = toml(&text).expect("a list");
        let (of, times) = (|number| Place::Item(number), LeftOutReason::Times);
        let expected = [(2, LeftOutReason::Nested), (3, times), (4, times), (5, times), (6, times)];
        assert_eq!(list.left_out(), expected.map(|(number, reason)| LeftOut { place: of(number), reason }));
        assert_eq!(list.left_out()[1].to_string(), "item 3: nothing lies between its start and its end");
        for text in ["[[item]]", "[[item]]\nfile = \"a\"\nloop = true", " [[ item ]]\nfile = a", "item = [1]"] {
            assert_eq!(toml(text), Err(PlaylistError::NotToml), "{text}");
        }
        assert_eq!(toml("item = []"), Err(PlaylistError::Empty));
        for text in ["", "item = 1", "a.mp4", "title = \"x\"", "[package]\nname = \"a\"", "[[items]]\nfile = \"a\"", "# [[item]]"] {
            assert_eq!(toml(text), Err(PlaylistError::NoList), "{text}");
        }
        assert_eq!(toml(&"#\n".repeat(MAX_OCTETS)), Err(PlaylistError::NoList));
        assert_eq!(toml(&item("\"a.mp4\"").repeat(MAX_ITEMS + 1)), Err(PlaylistError::TooMany));
    }

    #[test]
    fn lists_are_told_by_their_names() {
        let is = |name: &str| is_list(&TitlePath::new(name).expect("a name"));
        assert!(is("a.m3u") && is("b/A.M3U8") && is("b/x.toml") && is("slides.toml.m3u"));
        assert!(!is("b/slides.toml") && !is("a.mp4") && !is("m3u") && !is("x.pls"));
    }

    #[test]
    fn a_list_is_bounded_in_octets_and_items() {
        assert!(parse(&"a.mp4\n".repeat(MAX_ITEMS)).is_ok());
        assert_eq!(parse(&"a.mp4\n".repeat(MAX_ITEMS + 1)), Err(PlaylistError::TooMany));
        assert_eq!(parse(&"//a\n".repeat(MAX_ITEMS + 1)), Err(PlaylistError::TooMany));
        assert!(parse(&format!("a.mp4\n#{}", "x".repeat(MAX_OCTETS - 7))).is_ok());
        assert_eq!(parse(&format!("a.mp4\n#{}", "x".repeat(MAX_OCTETS - 6))), Err(PlaylistError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_list_names_anything_outside(text in "([a./:#\\\\ ]{0,12}\n){0,8}") {
            if let Ok(list) = parse(&text) {
                for item in list.items() {
                    prop_assert!(item.path.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
                }
                prop_assert!(list.items().len() + list.left_out().len() <= text.lines().count());
            }
        }
    }
}
