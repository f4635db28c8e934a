//! The page at `/`: its files, which are part of the binary, playlists of one title for players, and QR codes.
//!
//! The page has no rights of its own: its script asks the API like anybody else, from the browser it runs in. What is here is
//! open to all but for playlists of titles that do not play for anyone, which are for operators, and QR codes, which are drawn for whoever has
//! some right.

mod calls;
mod m3u;
mod qr;

use std::fmt::Write as _;
use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::IF_NONE_MATCH;
use sha2::{Digest as _, Sha256};

pub use calls::{PICTURES_PER_ADDRESS, Picture};
pub(in crate::http) use calls::{QR, qr_code};
pub use m3u::playlist;
pub use qr::{MAX_TEXT, QrError, draw};

/// What the page may load and where it may be shown (CSP Level 3): files and calls of this server alone, nothing inline, in no
/// frame.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its media type.
    pub kind: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Its strong entity tag (RFC 9110 section 8.8.3), of its text.
    pub tag: String,
}

impl Asset {
    fn new(kind: &'static str, text: &'static str) -> Self {
        let mut tag = String::from("\"");
        for octet in Sha256::digest(text).iter().take(12) {
            let _ = write!(tag, "{octet:02x}");
        }
        tag.push('"');
        Self { kind, text, tag }
    }

    /// Whether the asker has it already (`If-None-Match`, RFC 9110 section 13.1.2).
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.tag)
    }
}

static INDEX: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/html; charset=utf-8", include_str!("index.html")));
static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("style.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("app.js")));
static CONSENT: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("consent.js")));
static DRAWING: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("drawing.js")));
static SERVER: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("server.js")));
static MOVE: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("move.js")));
static TEXT: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("text.js")));
static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("image/svg+xml", include_str!("icon.svg")));

/// The file of the page at a path, if there is one.
pub fn asset(path: &[&str]) -> Option<&'static Asset> {
    match path {
        [""] => Some(&INDEX),
        ["page", "style.css"] => Some(&STYLE),
        ["page", "app.js"] => Some(&SCRIPT),
        ["page", "consent.js"] => Some(&CONSENT),
        ["page", "drawing.js"] => Some(&DRAWING),
        ["page", "server.js"] => Some(&SERVER),
        ["page", "move.js"] => Some(&MOVE),
        ["page", "text.js"] => Some(&TEXT),
        ["page", "icon.svg"] => Some(&ICON),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&[&str]; 9] = [
        &[""],
        &["page", "style.css"],
        &["page", "app.js"],
        &["page", "consent.js"],
        &["page", "drawing.js"],
        &["page", "move.js"],
        &["page", "server.js"],
        &["page", "text.js"],
        &["page", "icon.svg"],
    ];

    #[test]
    fn each_file_is_known_by_its_tag_alone() {
        for path in ALL {
            let asset = asset(path).expect("a file of the page");
            let known = |value: &str| {
                let mut headers = HeaderMap::new();
                headers.insert(IF_NONE_MATCH, value.parse().expect("a value"));
                asset.is_known(&headers)
            };
            assert!(known(&asset.tag) && known(&format!("\"x\", W/{}", asset.tag)) && known("*"), "{path:?}");
            assert!(!known("\"x\"") && !known(asset.tag.trim_matches('"')) && !asset.is_known(&HeaderMap::new()), "{path:?}");
        }
        assert_eq!(asset(&["page", "mod.rs"]), None);
        assert_eq!(asset(&["page"]), None);
    }

    #[test]
    fn the_page_names_no_other_host_and_has_nothing_inline() {
        for path in ALL {
            let text = asset(path).expect("a file of the page").text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://") || text.matches("://").count() == text.matches("vlc://").count(), "{path:?} names a host");
            assert!(!text.contains(" style=") && !text.contains(" onclick=") && !text.contains("innerHTML"), "{path:?}");
        }
        let page = INDEX.text;
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"page/").count());
        assert!(!page.contains("<style"));
    }
}
