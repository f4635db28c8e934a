//! Answers what the page and players ask beside the API.

use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::http::api::{Api, Call, Outcome, read};
use crate::http::authority::Requester;
use crate::http::page::{QrError, asset, draw, playlist};
use crate::http::problem::Problem;
use crate::http::shape;
use crate::library::{HeldCover, TitlePath, TooManyCovers};
use crate::net::Share;

/// Where QR codes are drawn: not a file, and not a call of the API.
pub(in crate::http) const QR: &[&str] = &["page", "qr"];

/// Pictures of titles that are on their way to one network at a time: as many as a browser has connections.
pub const PICTURES_PER_ADDRESS: usize = 6;
/// Who asks for one more waits so long: a browser sends nothing else on a connection that waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// As many pictures are on their way to a network as may be.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many pictures are on their way to this address")]
struct TooManyOfNetwork;

/// A picture on its way, which takes a place of all and one of its network's as long as it is there.
pub struct Picture {
    cover: HeldCover,
    _share: Share,
}

impl Picture {
    /// Its media type.
    pub(in crate::http) const fn kind(&self) -> &'static str {
        self.cover.kind()
    }
}

impl AsRef<[u8]> for Picture {
    fn as_ref(&self) -> &[u8] {
        self.cover.as_ref()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QrBody {
    text: String,
}

impl Api {
    /// What is open to all: the page's files, and of titles that are shown their playlists and pictures. `None` for a path that is
    /// none of these.
    pub(in crate::http) async fn page(&self, call: &Call, path: &[&str]) -> Result<Option<Outcome>, Problem> {
        let outcome = match path {
            ["titles", title @ ..] => {
                let title = title.join("/");
                match (title.strip_suffix(".m3u"), title.strip_suffix(".picture")) {
                    (Some(title), _) => self.m3u(call, title)?,
                    (None, Some(title)) => self.picture(call, title).await?,
                    (None, None) => return Err(Problem::not_found("resource")),
                }
            }
            _ => match asset(path) {
                Some(asset) => Outcome::Page(asset, asset.is_known(&call.headers)),
                None => return Ok(None),
            },
        };
        if call.method == Method::GET { Ok(Some(outcome)) } else { Err(Problem::method(&["GET"])) }
    }

    fn m3u(&self, call: &Call, title: &str) -> Result<Outcome, Problem> {
        let (authority, is_shown) = (self.rtsp_authority(call, None), self.shown_to(call));
        let live = self.library.live().all();
        let text = if let Some(live) = live.iter().find(|live| live.path.as_str() == title && is_shown(&live.path)) {
            playlist(title, &shape::title_url(&authority, &live.path), None)
        } else {
            let entry = TitlePath::new(title).filter(is_shown).and_then(|path| self.library.entry(&path));
            let entry = entry.ok_or_else(|| Problem::not_found("title"))?;
            let seconds = entry.known().and_then(Result::ok).map(|facts| facts.duration.as_seconds());
            playlist(title, &shape::title_url(&authority, &entry.path), seconds)
        };
        Ok(Outcome::Text("audio/x-mpegurl; charset=utf-8", text))
    }

    /// The picture of a title. Where there is none, nothing: a browser that looks for one has not made a mistake.
    async fn picture(&self, call: &Call, title: &str) -> Result<Outcome, Problem> {
        let is_shown = self.shown_to(call);
        let Some(entry) = TitlePath::new(title).filter(is_shown).and_then(|path| self.library.entry(&path)) else {
            return Ok(Outcome::Empty);
        };
        let until = Instant::now() + PATIENCE;
        // First its own place among those of its network: who waits for that stands in nobody's way.
        let share = timeout_at(until, self.pictures.enter(call.peer.ip())).await.map_err(|_| TooManyOfNetwork)?;
        let cover = self.library.open_cover(&entry, until).await?;
        Ok(cover.map_or(Outcome::Empty, |cover| Outcome::Picture(Picture { cover, _share: share })))
    }
}

/// `POST /page/qr` with `{text}`: for whoever has some right.
pub(in crate::http) fn qr_code(call: &Call, who: &Requester) -> Result<Outcome, Problem> {
    if call.method != Method::POST {
        return Err(Problem::method(&["POST"]));
    }
    if matches!(who, Requester::Anybody) {
        return Err(Problem::new(401, "unauthorized", "operators, or who has a key or token"));
    }
    let body: QrBody = read(&call.body)?;
    Ok(Outcome::Text("image/svg+xml", draw(&body.text)?))
}

impl From<TooManyCovers> for Problem {
    fn from(error: TooManyCovers) -> Self {
        metrics::counter!("flowsteer_http_refused_total", "limit" => "pictures").increment(1);
        Self { retry_after: Some(1), ..Self::new(503, "busy", error) }
    }
}

impl From<TooManyOfNetwork> for Problem {
    fn from(error: TooManyOfNetwork) -> Self {
        metrics::counter!("flowsteer_http_refused_total", "limit" => "pictures_per_address").increment(1);
        Self { retry_after: Some(1), ..Self::new(503, "busy", error) }
    }
}

impl From<QrError> for Problem {
    fn from(error: QrError) -> Self {
        Self::invalid(error)
    }
}
