//! Playlists: M3U in its plain and extended form, in UTF-8. What a list names are files of the library, by paths from the list's folder.
//!
//! This reads what a list says; it opens no file. A list of segments (RFC 8216 section 4.3: `EXT-X-…`) is told apart and
//! refused, and so is one that names another list.

use crate::library::title::TitlePath;

/// Octets that a list has at most.
pub const MAX_OCTETS: usize = 1 << 20;
/// Items that a list has at most.
pub const MAX_ITEMS: usize = 4_096;

/// Endings of lists: a list within a list is left out.
const LISTS: [&str; 5] = ["m3u", "m3u8", "pls", "toml", "xspf"];

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
    /// It is of segments of one title, not of titles (RFC 8216).
    #[error("playlists of segments (HLS) are not served")]
    Segments,
    /// It names nothing that could be played.
    #[error("the playlist names no file of the library")]
    Empty,
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
}

/// A line that is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LeftOut {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: LeftOutReason,
}

/// What a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    items: Vec<TitlePath>,
    left_out: Vec<LeftOut>,
}

impl Playlist {
    /// Reads the list that is called `list`.
    ///
    /// # Errors
    /// Where nothing of it can be played.
    pub fn parse(octets: &[u8], list: &TitlePath) -> Result<Self, PlaylistError> {
        if octets.len() > MAX_OCTETS {
            return Err(PlaylistError::TooLarge);
        }
        let text = std::str::from_utf8(octets).map_err(|_| PlaylistError::NotText)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut read = Self { items: Vec::new(), left_out: Vec::new() };
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.starts_with("#EXT-X-") {
                return Err(PlaylistError::Segments);
            }
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if read.items.len() + read.left_out.len() >= MAX_ITEMS {
                return Err(PlaylistError::TooMany);
            }
            match resolve(text, list) {
                Ok(path) => read.items.push(path),
                Err(reason) => read.left_out.push(LeftOut { line, reason }),
            }
        }
        if read.items.is_empty() { Err(PlaylistError::Empty) } else { Ok(read) }
    }

    /// The files it names, in its order; one may be named more than once.
    pub fn items(&self) -> &[TitlePath] {
        &self.items
    }

    /// The lines that are no items.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }
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
    let ending = path.as_str().rsplit('/').next().and_then(|name| name.rsplit_once('.'));
    if ending.is_some_and(|(_, ending)| LISTS.iter().any(|list| list.eq_ignore_ascii_case(ending))) {
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
        list.items().iter().map(TitlePath::as_str).collect()
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
        assert_eq!(list.left_out(), expected.map(|(line, reason)| LeftOut { line, reason }));
        assert_eq!(list.left_out()[2].to_string(), "line 4: it lies outside the library");
    }

    #[test]
    fn lists_of_segments_and_such_without_items_are_refused() {
        assert_eq!(parse("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n"), Err(PlaylistError::Segments));
        for text in ["", "#EXTM3U\n", "http://example.org/a.mp4"] {
            assert_eq!(parse(text), Err(PlaylistError::Empty), "{text}");
        }
        let list = TitlePath::new("a.m3u").expect("a name");
        assert_eq!(Playlist::parse(b"\xff\xfe.mp4", &list), Err(PlaylistError::NotText));
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
                for path in list.items() {
                    prop_assert!(path.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
                }
                prop_assert!(list.items().len() + list.left_out().len() <= text.lines().count());
            }
        }
    }
}
