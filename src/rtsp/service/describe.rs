//! DESCRIBE (RFC 2326 section 10.2): a title, or the flows that a key is good for.

use crate::library::Title;
use crate::net::now;
use crate::quantities::MediaTime;
use crate::rtsp::error::Refusal;
use crate::rtsp::message::{Request, Response, Status};
use crate::rtsp::service::access::Found;
use crate::rtsp::service::{Link, Service};
use crate::sdp::{self, Extent, Identity, SdpTrack};

impl Service {
    pub(super) async fn describe(&self, request: &Request, link: &mut Link) -> Result<Response, Refusal> {
        if !accepts_descriptions(request) {
            return Err(Status(406).into());
        }
        let url = self.url(request, link)?;
        let end = url.query.closes_at();
        let (title, tracks) = match self.find(&url, request, link).await? {
            Found::Title { title, .. } => {
                let tracks = (0..title.tracks.len()).collect();
                (title, tracks)
            }
            Found::Flows { snapshot, grants } => {
                let granted = |home| grants.iter().any(|grant| grant.home == home);
                let mut tracks: Vec<usize> =
                    snapshot.flows.iter().filter(|flow| granted(flow.facts.home)).map(|flow| flow.facts.track).collect();
                tracks.sort_unstable();
                (snapshot.title, tracks)
            }
        };
        let body = self.description(&title, &tracks, end, self.serves_rtx(&url), link);
        Ok(Response::new(Status::OK)
            .with("Content-Base", content_base(&request.uri))
            .with("Cache-Control", "no-cache")
            .body("application/sdp", body.into_bytes()))
    }

    fn description(&self, title: &Title, tracks: &[usize], end: Option<MediaTime>, rtx: bool, link: &Link) -> String {
        let describe = |&index: &usize| {
            let track = SdpTrack::of(index, title.tracks.get(index)?, self.settings.max_packet)?;
            Some(if rtx { track.with_retransmission(self.settings.rtx) } else { track })
        };
        let described: Vec<SdpTrack> = tracks.iter().filter_map(describe).collect();
        let identity = Identity { session: now().utc.ntp64(), version: 1, server: link.local.ip() };
        let length = end.map_or(title.duration, |end| end.min(title.duration)).since(MediaTime::ZERO);
        let extent = if title.is_live() { Extent::Live } else { Extent::Title(length) };
        sdp::describe(title.name(), &described, identity, extent)
    }
}

/// No `Accept` at all accepts all.
fn accepts_descriptions(request: &Request) -> bool {
    let mut items = request.headers("Accept").flat_map(|value| value.split(',')).peekable();
    let kind = |item: &str| item.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    items.peek().is_none() || items.any(|item| matches!(kind(item).as_str(), "" | "application/sdp" | "application/*" | "*/*"))
}

/// The URL as the player typed it, without its query, with one slash at its end.
fn content_base(uri: &str) -> String {
    format!("{}/", uri.split('?').next().unwrap_or_default().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_url_as_typed_with_one_slash_and_no_query() {
        for (uri, base) in [
            ("rtsp://Host:8554/a%20b.mp4", "rtsp://Host:8554/a%20b.mp4/"),
            ("rtsp://[::1]:8554/a.mp4/", "rtsp://[::1]:8554/a.mp4/"),
            ("rtsp://h/home/fd00::1/all?key=x/", "rtsp://h/home/fd00::1/all/"),
            ("rtsp://h/?key=x", "rtsp://h/"),
        ] {
            assert_eq!(content_base(uri), base);
        }
    }
}
