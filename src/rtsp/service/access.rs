//! What a URL names, and by what right: titles, home addresses, keys.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{PasswordHash, REALM};
use crate::library::{Form, Title, TitlePath};
use crate::net::now;
use crate::playback::{PlaybackError, PresentationId, PresentationSnapshot};
use crate::quantities::MediaKind;
use crate::rtsp::error::Refusal;
use crate::rtsp::header::authorization::{self, Shown};
use crate::rtsp::message::{Request, Status};
use crate::rtsp::service::credentials::takes_basic;
use crate::rtsp::service::{Link, Service, count_refusal};
use crate::rtsp::url::{self, HomeName, Query, RtspUrl, Target};
use crate::steering::{HomeAddress, Owner, TokenError, VerifiedGrant};

/// URLs whose queries a connection remembers.
const QUERIES: usize = 16;

/// Whose they are; the password is a take-over token.
const USER: &str = "flow";

/// What a URL leads to.
pub(super) enum Found {
    /// A title to open, at the home address of that name if there is one.
    Title {
        /// The title.
        title: Arc<Title>,
        /// The name.
        name: Option<String>,
    },
    /// Flows of a presentation, to take over.
    Flows {
        /// The presentation.
        snapshot: PresentationSnapshot,
        /// The right to them.
        grants: Vec<VerifiedGrant>,
    },
}

impl Service {
    /// Takes a request's URL apart, and gives it the query that an earlier request on the connection had.
    pub(super) fn url(&self, request: &Request, link: &mut Link) -> Result<RtspUrl, Refusal> {
        let mut url = url::parse(&request.uri, |name| self.is_home_name(name))?;
        if request.uri != "*" {
            url.target = self.reached(url.target, link);
        }
        if url.query == Query::default() {
            if let Some((_, query)) = link.queries.iter().find(|(base, _)| *base == url.base) {
                url.query = query.clone();
            }
        } else {
            link.queries.retain(|(base, _)| *base != url.base);
            if link.queries.len() >= QUERIES {
                link.queries.remove(0);
            }
            link.queries.push((url.base.clone(), url.query.clone()));
        }
        Ok(url)
    }

    /// Whether what a URL's player has not got is sent again.
    pub(super) fn serves_rtx(&self, url: &RtspUrl) -> bool {
        url.query.rtx && !self.settings.rtx.is_zero()
    }

    /// On a connection that was made to a home address, `/` means it, and `/all` every flow of its presentation.
    pub(super) fn reached(&self, target: Target, link: &Link) -> Target {
        let IpAddr::V6(local) = link.local.ip() else { return target };
        let all = match &target {
            Target::Server => false,
            Target::Title(path) if path.as_str() == "all" => true,
            Target::Title(_) | Target::Home { .. } => return target,
        };
        if self.steering.is_home(local) { Target::Home { home: HomeName::Address(local), all } } else { target }
    }

    /// What a URL leads to.
    pub(super) async fn find(&self, url: &RtspUrl, request: &Request, link: &Link) -> Result<Found, Refusal> {
        match &url.target {
            Target::Server => Err(Status(404).into()),
            Target::Title(path) => {
                self.may_play(path, &url.target, request, link).await?;
                Ok(Found::Title { title: self.title(path, url.query.form).await?, name: None })
            }
            Target::Home { home, all } => match (self.occupied(home), home) {
                (Some(home), _) => {
                    let grants = self.granted(url, request, home, link)?;
                    let grants: Vec<_> = grants.into_iter().filter(|grant| *all || grant.home == home).collect();
                    let snapshot = self.presentation_of(&grants).await?;
                    Ok(Found::Flows { snapshot, grants })
                }
                (None, HomeName::Name(name)) => {
                    let path = self.settings.homes.title(name).ok_or(Refusal::from(Status(404)))?;
                    self.may_play(&path, &url.target, request, link).await?;
                    Ok(Found::Title { title: self.title(&path, url.query.form).await?, name: Some(name.clone()) })
                }
                (None, HomeName::Address(_)) => Err(TokenError::Wrong.into()),
            },
        }
    }

    /// Whether a request opens a live title whose source is not there yet.
    pub fn waits_for_source(&self, request: &Request, link: &mut Link) -> bool {
        if !matches!(request.method.as_str(), "DESCRIBE" | "SETUP") {
            return false;
        }
        let Ok(url) = self.url(request, link) else { return false };
        let path = match url.target {
            Target::Server => None,
            Target::Title(path) => Some(path),
            Target::Home { home: HomeName::Name(name), .. } => self.settings.homes.title(&name),
            Target::Home { home: HomeName::Address(_), .. } => None,
        };
        path.and_then(|path| self.library.live().get(&path)).is_some_and(|live| !live.is_online() || live.ready().is_none())
    }

    async fn title(&self, path: &TitlePath, form: Form) -> Result<Arc<Title>, Refusal> {
        let opened = self.library.open_path(path, form).await.ok_or(Refusal::from(Status(404)))?;
        opened.map_err(|problem| Refusal::from(&problem))
    }

    /// The home address that a URL names, if something is there: under a name the pictures, else the only flow.
    fn occupied(&self, name: &HomeName) -> Option<HomeAddress> {
        let reserved = |home: &HomeAddress| self.steering.owner(*home).is_some();
        match name {
            HomeName::Address(address) => Some(HomeAddress(*address)).filter(reserved),
            HomeName::Name(name) => {
                let kinds = [MediaKind::Video, MediaKind::Audio, MediaKind::Text];
                kinds.into_iter().filter_map(|kind| self.steering.named(&kept_name(name, kind))).find(reserved)
            }
        }
    }

    /// What a request's key is good for, of the home address and others of its owner.
    pub(super) fn granted(&self, url: &RtspUrl, request: &Request, home: HomeAddress, link: &Link) -> Result<Vec<VerifiedGrant>, Refusal> {
        let needed = || Refusal::unauthorised("a key is needed");
        if url.query.key.is_none() && request.header("Authorization").is_none() {
            return Err(needed());
        }
        let (peer, now) = (link.peer.ip(), now());
        if !self.refusals.may_try(peer, now.mono) {
            count_refusal("refused_keys", link.peer);
            return Err(Refusal::because(503, "too many wrong keys came from there"));
        }
        let key = match &url.query.key {
            Some(key) => Some(Cow::Borrowed(key.as_str())),
            None => self.proven_key(url, request, home, link).map(Cow::Owned),
        };
        let grants = key.ok_or_else(needed).and_then(|key| match self.steering.verify_token(&key, Some(peer), now) {
            Err(TokenError::NoFlow) => Ok(Err(TokenError::NoFlow)),
            Err(error) => Err(error.into()),
            Ok(grants) => Ok(Ok(grants)),
        });
        let grants = grants.inspect_err(|_| self.refusals.note(peer, now.mono))??;
        let owner = grants.iter().find(|grant| grant.home == home).map(|grant| grant.owner).ok_or(TokenError::Wrong)?;
        Ok(grants.into_iter().filter(|grant| grant.owner == owner).collect())
    }

    /// The token, issued here, that a request's credentials prove, or have in them.
    fn proven_key(&self, url: &RtspUrl, request: &Request, home: HomeAddress, link: &Link) -> Option<String> {
        let list = self.settings.access.list();
        let hashing = list.hashing;
        let credentials = match authorization::parse(request.header("Authorization")?, hashing)? {
            Shown::Digest(credentials) => credentials,
            // The token itself.
            Shown::Basic { username, password } => return (username == USER && takes_basic(&list, link)).then(|| password.to_string()),
        };
        let nonce_is_ours = link.nonce.as_ref().is_some_and(|nonce| *nonce == credentials.nonce);
        if credentials.username != USER || credentials.realm != REALM || !nonce_is_ours {
            return None;
        }
        if !self.is_for(&credentials.uri, &url.target, link) {
            return None;
        }
        let proves = |token: &String| credentials.prove(&request.method, &PasswordHash::of(hashing, USER, token));
        self.steering.issued_tokens(home).into_iter().find(proves)
    }

    pub(super) fn is_home_name(&self, name: &str) -> bool {
        self.settings.homes.contains(name) || self.steering.named(name).is_some()
    }

    async fn presentation_of(&self, grants: &[VerifiedGrant]) -> Result<PresentationSnapshot, Refusal> {
        match grants.first().map(|grant| grant.owner) {
            Some(Owner::Presentation(id)) => self.stage.snapshot(PresentationId(id)).await.map_err(|error| match error {
                PlaybackError::Unknown => Status(404).into(),
                other => other.into(),
            }),
            Some(Owner::KeyHolder) | None => Err(Status(404).into()),
        }
    }
}

/// Under which name the home address of a kind of media is kept: the pictures have the name itself.
pub(super) fn kept_name(name: &str, kind: MediaKind) -> String {
    match kind {
        MediaKind::Video => name.to_owned(),
        MediaKind::Audio | MediaKind::Text => format!("{name}.{kind}"),
    }
}
