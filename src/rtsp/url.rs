//! What an RTSP URL names: a title, or a home address whose flow is taken over; and a track of it.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use crate::library::{Form, TitlePath};
use crate::playback::{Scale, SeekStyle, Speed};
use crate::quantities::MediaTime;
use crate::rtsp::header::range;

/// What a URL is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The server itself: `*`, or no path.
    Server,
    /// A title.
    Title(TitlePath),
    /// A home address or its name, of which this flow or all.
    Home {
        /// An address or a name.
        home: HomeName,
        /// Every flow of its presentation.
        all: bool,
    },
}

/// How a URL names a home address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeName {
    /// By itself.
    Address(Ipv6Addr),
    /// By a name.
    Name(String),
}

/// What stands behind the question mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `t`: where to begin.
    pub start: Option<MediaTime>,
    /// `end`: where to end.
    pub end: Option<MediaTime>,
    /// `scale`: how fast to play.
    pub scale: Option<Scale>,
    /// `speed`: how fast packets are to leave.
    pub speed: Option<Speed>,
    /// `seek=exact`: with what seeks begin.
    pub seek: SeekStyle,
    /// `loop`.
    pub looping: bool,
    /// `key`: the take-over token.
    pub key: Option<String>,
    /// `pin`: what the holder has told who may take over.
    pub pin: Option<String>,
    /// `mode=fork`.
    pub fork: bool,
    /// `join`.
    pub join: Option<String>,
    /// `rtx`: packets that do not arrive are to be sent again.
    pub rtx: bool,
    /// `as`: how the title is to be sent.
    pub form: Form,
}

impl Query {
    /// Where what was asked for ends in the title; backwards within a range, where it begins.
    pub fn closes_at(&self) -> Option<MediaTime> {
        let is_backward = self.scale.is_some_and(Scale::is_backward);
        let start = self.start.filter(|start| is_backward && self.end.is_some_and(|end| end < *start));
        start.or(self.end)
    }
}

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtspUrl {
    /// What it is about.
    pub target: Target,
    /// The track, of a control URL.
    pub track: Option<usize>,
    /// What was asked besides.
    pub query: Query,
    /// The URL as it came, without query, track and trailing slash: what is remembered for a connection.
    pub base: String,
}

/// Why a URL names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no RTSP URL.
    #[error("not an RTSP URL")]
    Malformed,
    /// Its path leads nowhere.
    #[error("no such title")]
    NoSuchPath,
    /// Nothing is sent as what it says.
    #[error("titles are sent in no such form")]
    NoSuchForm,
}

/// Takes a URL apart; `is_home_name` knows the names of home addresses.
///
/// # Errors
/// Why it names nothing.
pub fn parse(uri: &str, is_home_name: impl Fn(&str) -> bool) -> Result<RtspUrl, UrlError> {
    if uri == "*" {
        return Ok(RtspUrl { target: Target::Server, track: None, query: Query::default(), base: String::new() });
    }
    let scheme = uri.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("rtsp://"));
    let scheme = scheme.or_else(|| uri.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("rtsps://")));
    let rest = &uri[scheme.ok_or(UrlError::Malformed)?.len()..];
    let (before_query, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
    if authority.is_empty() {
        return Err(UrlError::Malformed);
    }
    // Some players put the control suffix behind the query.
    let (query, suffix) = match query.and_then(|query| query.rsplit_once("/trackID=")) {
        Some((query, track)) => (Some(query), Some(track)),
        None => (query, None),
    };
    let path = path.trim_end_matches('/');
    let (path, track) = match (suffix, path.rsplit_once('/').unwrap_or(("", path))) {
        (Some(track), _) => (path, Some(track)),
        (None, (before, last)) if last.starts_with("trackID=") => (before, last.strip_prefix("trackID=")),
        (None, _) => (path, None),
    };
    let track = match track {
        Some(number) => Some(number.trim_end_matches('/').parse().map_err(|_| UrlError::NoSuchPath)?),
        None => None,
    };
    let path = path.trim_end_matches('/');
    let base = format!("{}{authority}/{path}", scheme.unwrap_or_default());
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| UrlError::NoSuchPath)?;
    let target = target(&decoded, is_home_name)?;
    Ok(RtspUrl { target, track, query: query.map(read_query).transpose()?.unwrap_or_default(), base })
}

fn target(path: &str, is_home_name: impl Fn(&str) -> bool) -> Result<Target, UrlError> {
    if path.is_empty() {
        return Ok(Target::Server);
    }
    if let Some(home) = path.strip_prefix("home/") {
        let (name, all) = match home.strip_suffix("/all") {
            Some(name) => (name, true),
            None => (home, false),
        };
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(Target::Home { home: HomeName::Address(address), all });
        }
        if is_home_name(name) {
            return Ok(Target::Home { home: HomeName::Name(name.to_owned()), all });
        }
    }
    TitlePath::new(path).map(Target::Title).ok_or(UrlError::NoSuchPath)
}

fn read_query(query: &str) -> Result<Query, UrlError> {
    let mut read = Query::default();
    for part in query.split('&') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "t" => read.start = range::time_of(value.trim_end_matches('s')),
            "end" => read.end = range::time_of(value.trim_end_matches('s')),
            "scale" => read.scale = Scale::parse(&value),
            "speed" => read.speed = Speed::parse(&value),
            "seek" if value == "exact" => read.seek = SeekStyle::FirstPrior,
            "loop" => read.looping = is_on(&value),
            "rtx" => read.rtx = is_on(&value),
            "key" => read.key = Some(value.into_owned()),
            "pin" => read.pin = Some(value.into_owned()),
            "mode" => read.fork = value == "fork",
            "join" => read.join = Some(value.into_owned()),
            "as" => read.form = if value == "ts" { Form::Transport } else { return Err(UrlError::NoSuchForm) },
            _ => {}
        }
    }
    Ok(read)
}

/// What stands alone is on.
fn is_on(value: &str) -> bool {
    !matches!(value, "0" | "false" | "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<RtspUrl, UrlError> {
        parse(uri, |name| name == "wall")
    }

    fn title(uri: &str) -> (String, Option<usize>) {
        match read(uri) {
            Ok(RtspUrl { target: Target::Title(path), track, .. }) => (path.to_string(), track),
            other => panic!("{uri}: {other:?}"),
        }
    }

    #[test]
    fn titles_and_their_tracks() {
        for (uri, path, track) in [
            ("rtsp://h/films/a.mp4", "films/a.mp4", None),
            ("rtsp://h:8554/films/a.mp4/", "films/a.mp4", None),
            ("RTSP://[::1]:8554/films/a.mp4/trackID=1", "films/a.mp4", Some(1)),
            ("rtsp://h/films/a.mp4//trackID=1/", "films/a.mp4", Some(1)),
            ("rtsp://h/a.mp4?t=3/trackID=0", "a.mp4", Some(0)),
            ("rtsp://h/Gr%C3%BC%C3%9Fe%20aus%20K%C3%B6ln.mp4", "Grüße aus Köln.mp4", None),
            ("rtsp://h/home/film.mp4", "home/film.mp4", None),
        ] {
            assert_eq!(title(uri), (path.to_owned(), track));
        }
    }

    #[test]
    fn home_addresses_by_themselves_and_by_name() {
        let home = |uri: &str| match read(uri) {
            Ok(RtspUrl { target: Target::Home { home, all }, .. }) => (home, all),
            other => panic!("{uri}: {other:?}"),
        };
        let address = HomeName::Address("fd00::1".parse().expect("an address"));
        assert_eq!(home("rtsp://h/home/fd00::1?key=x"), (address.clone(), false));
        assert_eq!(home("rtsp://h/home/fd00::1/all?key=x"), (address.clone(), true));
        assert_eq!(home("rtsp://h/home/fd00::1/all/trackID=0"), (address.clone(), true));
        assert_eq!(home("rtsp://h/home/%5Bfd00%3A%3A1%5D"), (address, false));
        assert_eq!(home("rtsp://h/home/wall/all"), (HomeName::Name("wall".into()), true));
    }

    #[test]
    fn queries_are_read_and_kept_out_of_the_base() {
        let url = read("rtsp://h/a.mp4/?t=1:30&loop&key=abc-_&mode=fork&x=y").expect("a URL");
        assert_eq!(url.base, "rtsp://h/a.mp4");
        assert_eq!(url.query.start, Some(MediaTime::from_seconds(90.0)));
        assert!(url.query.looping && url.query.fork);
        assert_eq!(url.query.key.as_deref(), Some("abc-_"));
    }

    #[test]
    fn a_form_is_one_that_there_is() {
        let form = |uri: &str| read(uri).map(|url| url.query.form);
        assert_eq!(form("rtsp://h/a.ts?as=ts&t=3"), Ok(Form::Transport));
        assert_eq!(form("rtsp://h/a.ts?t=3"), Ok(Form::Tracks));
        assert_eq!(form("rtsp://h/a.ts?as=flv"), Err(UrlError::NoSuchForm));
    }

    #[test]
    fn what_is_switched_on_needs_no_value() {
        for (query, rtx) in
            [("rtx", true), ("t=1&rtx=1", true), ("rtx=yes&loop", true), ("rtx=0", false), ("rtx=no", false), ("t=1", false)]
        {
            assert_eq!(read(&format!("rtsp://h/a.mp4?{query}")).map(|url| url.query.rtx), Ok(rtx), "{query}");
        }
    }

    #[test]
    fn seeks_are_exact_where_that_is_asked() {
        let seek = |query: &str| read(&format!("rtsp://h/a.mp4?{query}")).expect("a URL").query.seek;
        assert_eq!(seek("t=1&seek=exact"), SeekStyle::FirstPrior);
        assert_eq!(["t=1", "seek", "seek=key", "seek="].map(seek), [SeekStyle::RandomAccess; 4]);
    }

    #[test]
    fn paths_out_of_the_library_name_nothing() {
        for uri in [
            "rtsp://h/../x.mp4",
            "rtsp://h/a/%2e%2e/%2e%2e/x",
            "rtsp://h/a/..%2fx",
            "rtsp://h/.hidden",
            "rtsp://h/a//b",
            "rtsp://h/%00",
            "rtsp://h/%ff",
        ] {
            assert_eq!(read(uri), Err(UrlError::NoSuchPath), "{uri}");
        }
        for uri in ["", "/a.mp4", "http://h/a.mp4", "rtsp://", "rtsp:///a.mp4", "ürtsp://h/a"] {
            assert_eq!(read(uri), Err(UrlError::Malformed), "{uri}");
        }
    }
}
