//! Who a request's credentials prove to be: users of the table, and publishers.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::access::{AccessList, PasswordHash, REALM};
use crate::library::TitlePath;
use crate::net::{Bench, now};
use crate::rtsp::error::Refusal;
use crate::rtsp::header::authorization::{self, Shown};
use crate::rtsp::message::Request;
use crate::rtsp::service::{Link, Service, count_refusal};
use crate::rtsp::url::{self, Target};

/// The challenge that goes with 401. Players scan for exactly this order and spelling, and for one of it.
///
/// Digest, unless there are users whose passwords answer none, and Basic is good here.
pub(super) fn challenge(link: &mut Link, service: &Service) -> Result<String, getrandom::Error> {
    let list = service.settings.access.list();
    if list.needs_basic() && takes_basic(&list, link) {
        return Ok(format!("Basic realm=\"{REALM}\""));
    }
    let nonce = match &link.nonce {
        Some(nonce) => nonce.clone(),
        None => {
            let mut drawn = [0; 16];
            getrandom::fill(&mut drawn)?;
            link.nonce.insert(format!("{:032x}", u128::from_be_bytes(drawn))).clone()
        }
    };
    let algorithm = authorization::algorithm(list.hashing);
    Ok(format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\"{algorithm}"))
}

/// Whether a password may come as it is.
pub(super) fn takes_basic(list: &AccessList, link: &Link) -> bool {
    link.is_secured || list.basic
}

/// What stands for credentials that have been proven over a connection, so that the next request on it need not be worked out.
fn mark(header: &str, hash: &PasswordHash) -> [u8; 32] {
    Sha256::new().chain_update(hash.expose().as_bytes()).chain_update([0]).chain_update(header).finalize().into()
}

impl Service {
    /// Whether whoever asks may play a title. Nothing of it is opened before.
    pub(super) async fn may_play(&self, path: &TitlePath, target: &Target, request: &Request, link: &Link) -> Result<(), Refusal> {
        let list = self.settings.access.list();
        if list.is_open(path.as_str()) {
            return Ok(());
        }
        let known: Vec<_> = list.users.iter().map(|user| (user.name.as_str(), &user.hash)).collect();
        let name = self.prove(request, link, &known, |uri| self.is_for(uri, target, link)).await?;
        match list.user(name) {
            Some(user) if list.may_play(user, path.as_str()) => Ok(()),
            _ => Err(Refusal::because(403, "this title is for other users")),
        }
    }

    /// Which of the `known` a request's credentials prove. `is_for` tells whether a digest was computed for what is asked.
    pub(super) async fn prove<'k>(
        &self,
        request: &Request,
        link: &Link,
        known: &[(&'k str, &'k PasswordHash)],
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
                // No Digest is right for such a hash: that is no guess either.
                if known.iter().any(|(name, hash)| *name == credentials.username && hash.is_slow()) {
                    return Err(Refusal::unauthorised("wrong user or password"));
                }
                let is_meant = credentials.realm == REALM && is_for(&credentials.uri);
                let proves =
                    |(name, hash): &(&str, &PasswordHash)| *name == credentials.username && credentials.prove(&request.method, hash);
                ("digest", known.iter().find(|known| is_meant && proves(known)))
            }
            Some(Shown::Basic { username, password }) if takes_basic(&list, link) => {
                let named: Vec<_> = known.iter().filter(|(name, _)| *name == username).collect();
                let hashes: Vec<_> = named.iter().map(|(_, hash)| (*hash).clone()).collect();
                let is_right = self.is_right(header, hashes, username, password, link).await?;
                ("basic", named.first().copied().filter(|_| is_right))
            }
            Some(Shown::Basic { .. }) => return Err(Refusal::unauthorised("a password as it is goes over TLS only")),
            None => return Err(Refusal::unauthorised("the challenge asks for something else")),
        };
        match proven {
            Some((name, _)) => Ok(*name),
            None => {
                access.note_failure(peer, now);
                tracing::info!(peer = %link.peer, scheme, "wrong user or password");
                metrics::counter!("flowsteer_authentication_failures_total", "scheme" => scheme).increment(1);
                Err(Refusal::unauthorised("wrong user or password"))
            }
        }
    }

    /// Whether a password is that of one of the hashes, of users of one name. What takes long is worked out aside, and once a connection.
    async fn is_right(
        &self,
        header: &str,
        hashes: Vec<PasswordHash>,
        name: String,
        password: Zeroizing<String>,
        link: &Link,
    ) -> Result<bool, Refusal> {
        let access = &self.settings.access;
        let list = access.list();
        if !list.is_slow() {
            return Ok(list.is_password_of(&hashes, &name, &password));
        }
        let marks: Vec<_> = hashes.iter().map(|hash| mark(header, hash)).collect();
        let is_marked = link.proven().is_some_and(|proven| marks.iter().any(|mark| bool::from(mark.ct_eq(&proven))));
        if is_marked {
            return Ok(true);
        }
        let busy = |error| {
            count_refusal("password_work", link.peer);
            Refusal::because(503, error)
        };
        let bench = Bench::enter().await.map_err(busy)?;
        // Others from there may have guessed while this one waited.
        if !access.may_try(link.peer.ip(), now().mono) {
            count_refusal("wrong_passwords", link.peer);
            return Err(Refusal::because(503, "too many wrong passwords came from there"));
        }
        let of = hashes.clone();
        let is_right = bench.work(move || list.is_password_of(&of, &name, &password)).await.map_err(busy)?;
        if let (true, [mark]) = (is_right, marks.as_slice()) {
            link.note_proven(*mark);
        }
        Ok(is_right)
    }

    /// Whether a digest for a URL is one for what is asked: players give the base URL, the URL without its slash, or only its path.
    pub(super) fn is_for(&self, uri: &str, target: &Target, link: &Link) -> bool {
        let whole = if uri.starts_with('/') { format!("rtsp://server{uri}") } else { uri.to_owned() };
        let named = url::parse(&whole, |name| self.is_home_name(name)).map(|url| self.reached(url.target, link));
        named.is_ok_and(|named| named == *target || named == Target::Server)
    }
}
