//! Who a request's credentials prove to be: users of the table, and publishers.

use crate::access::{PasswordHash, REALM};
use crate::library::TitlePath;
use crate::net::now;
use crate::rtsp::error::Refusal;
use crate::rtsp::header::authorization::{self, Shown};
use crate::rtsp::message::Request;
use crate::rtsp::service::{Link, Service, count_refusal};
use crate::rtsp::url::{self, Target};

/// The challenge that goes with 401. Players scan for exactly this order and spelling, and for one of it.
pub(super) fn challenge(link: &mut Link, service: &Service) -> Result<String, getrandom::Error> {
    let nonce = match &link.nonce {
        Some(nonce) => nonce.clone(),
        None => {
            let mut drawn = [0; 16];
            getrandom::fill(&mut drawn)?;
            link.nonce.insert(format!("{:032x}", u128::from_be_bytes(drawn))).clone()
        }
    };
    let algorithm = authorization::algorithm(service.settings.access.list().hashing);
    Ok(format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\"{algorithm}"))
}

impl Service {
    /// Whether whoever asks may play a title. Nothing of it is opened before.
    pub(super) fn may_play(&self, path: &TitlePath, target: &Target, request: &Request, link: &Link) -> Result<(), Refusal> {
        let list = self.settings.access.list();
        if list.is_open(path.as_str()) {
            return Ok(());
        }
        let known = || list.users.iter().map(|user| (user.name.as_str(), &user.hash));
        let name = self.prove(request, link, known, |uri| self.is_for(uri, target, link))?;
        match list.user(name) {
            Some(user) if list.may_play(user, path.as_str()) => Ok(()),
            _ => Err(Refusal::because(403, "this title is for other users")),
        }
    }

    /// Which of the `known` a request's credentials prove. `is_for` tells whether a digest was computed for what is asked.
    pub(super) fn prove<'k, K: Iterator<Item = (&'k str, &'k PasswordHash)>>(
        &self,
        request: &Request,
        link: &Link,
        known: impl FnOnce() -> K,
        is_for: impl FnOnce(&str) -> bool,
    ) -> Result<&'k str, Refusal> {
        let Some(header) = request.header("Authorization") else { return Err(Refusal::unauthorised("a password is needed")) };
        let access = &self.settings.access;
        let list = access.list();
        let (peer, now) = (link.peer.ip(), now().mono);
        if !access.may_try(peer, now) {
            count_refusal("wrong_passwords", link.peer);
            return Err(Refusal::because(503, "too many wrong passwords came from there"));
        }
        let (scheme, proven) = match authorization::parse(header, list.hashing) {
            Some(Shown::Digest(credentials)) => {
                // Players remember challenges of connections before this one: that is no guess.
                if link.nonce.as_ref().is_none_or(|nonce| *nonce != credentials.nonce) {
                    return Err(Refusal::unauthorised("the challenge is another one"));
                }
                let is_meant = credentials.realm == REALM && is_for(&credentials.uri);
                let proves =
                    |(name, hash): &(&str, &PasswordHash)| *name == credentials.username && credentials.prove(&request.method, hash);
                ("digest", known().find(|known| is_meant && proves(known)))
            }
            Some(Shown::Basic { username, password }) if link.is_secured || list.basic => {
                let proves = |(name, hash): &(&str, &PasswordHash)| *name == username && hash.is_of(&username, &password);
                ("basic", known().find(proves))
            }
            Some(Shown::Basic { .. }) => return Err(Refusal::unauthorised("a password as it is goes over TLS only")),
            None => return Err(Refusal::unauthorised("the challenge asks for something else")),
        };
        match proven {
            Some((name, _)) => Ok(name),
            None => {
                access.note_failure(peer, now);
                tracing::info!(peer = %link.peer, scheme, "wrong user or password");
                metrics::counter!("flowsteer_authentication_failures_total", "scheme" => scheme).increment(1);
                Err(Refusal::unauthorised("wrong user or password"))
            }
        }
    }

    /// Whether a digest for a URL is one for what is asked: players give the base URL, the URL without its slash, or only its path.
    pub(super) fn is_for(&self, uri: &str, target: &Target, link: &Link) -> bool {
        let whole = if uri.starts_with('/') { format!("rtsp://server{uri}") } else { uri.to_owned() };
        let named = url::parse(&whole, |name| self.is_home_name(name)).map(|url| self.reached(url.target, link));
        named.is_ok_and(|named| named == *target || named == Target::Server)
    }
}
