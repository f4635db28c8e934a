//! Who asks, and what that lets them do.
//!
//! Operators show a bearer token from the configuration, or have logged in (`login`). Where there is neither token nor such a user,
//! who comes from this machine is an operator, unless the request may have been made by a web page of somebody else's: its `Host` must be a loopback
//! literal, `localhost` or a configured name, it may have no foreign `Origin`, also none of another port, and come from no other site
//! (`Sec-Fetch-Site`), and no proxy may stand between. Everybody
//! else shows the key of a home address, or a take-over token, and reaches no further than that.

use std::fmt;
use std::net::IpAddr;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, Uri};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::http::problem::Problem;
use crate::net::Refusals;
use crate::now::Now;
use crate::steering::{BindingCache, HomeAddress, Key, TokenError, VerifiedGrant};

/// What a requester may do.
#[derive(Clone, Debug)]
pub enum Requester {
    /// Everything.
    Operator,
    /// Everything about one home address whose key it has. Which one is checked where it is used.
    KeyHolder(Key),
    /// Read and move the flows that a token names.
    TokenHolder(Vec<VerifiedGrant>),
    /// What is open to all.
    Anybody,
}

/// Who operates.
#[derive(Clone, Default)]
pub struct Operators {
    /// Bearer tokens of operators.
    pub tokens: Vec<String>,
    /// Names of this host.
    pub hosts: Vec<String>,
    /// Whether operators ask from this machine only, whatever they show.
    pub only_here: bool,
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operators").field("hosts", &self.hosts).field("only_here", &self.only_here).finish_non_exhaustive()
    }
}

impl Operators {
    /// Whether they may ask from there.
    pub fn may_come(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        !self.only_here || (peer.is_loopback() && !through_proxy(headers))
    }
}

/// Finds out who asks, where nobody has logged in; `log_in` says that there are operators who could.
///
/// # Errors
/// 401 for credentials that are wrong, 403 for an operator who asks from elsewhere than it may, 429 where too many that are wrong came from
/// there.
pub fn requester(
    headers: &HeaderMap,
    peer: IpAddr,
    operators: &Operators,
    log_in: bool,
    steering: &BindingCache,
    refusals: &Refusals,
    now: Now,
) -> Result<Requester, Problem> {
    if let Some(value) = headers.get("authorization") {
        let value = value.to_str().unwrap_or_default();
        let bearer = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let Some(bearer) = bearer else { return Err(Problem::new(401, "unauthorized", "a bearer token is needed")) };
        // Before anything is compared: who guesses learns from no answer whether one was right.
        if !refusals.may_try(peer, now.mono) {
            metrics::counter!("flowsteer_http_refused_total", "limit" => "refused_keys").increment(1);
            return Err(Problem::too_many_refused());
        }
        // Not found in fewer steps than another one.
        let is_one = operators.tokens.iter().fold(Choice::from(0), |is_one, token| is_one | token.as_bytes().ct_eq(bearer.as_bytes()));
        if bool::from(is_one) {
            let elsewhere = || Problem::new(403, "not-permitted", "operators ask from this machine");
            return operators.may_come(peer, headers).then_some(Requester::Operator).ok_or_else(elsewhere);
        }
        if let Some(octets) = octets_of_hex(bearer) {
            let key = Key::new(*octets);
            // One that is of no home address gets nowhere; what it may not do is said where it is asked for.
            if !steering.has_home_key(&key, now) {
                refusals.note(peer, now.mono);
            }
            return Ok(Requester::KeyHolder(key));
        }
        return match steering.verify_token(bearer, Some(peer), now) {
            Ok(grants) => Ok(Requester::TokenHolder(grants)),
            Err(error) => {
                if error != TokenError::NoFlow {
                    refusals.note(peer, now.mono);
                }
                Err(error.into())
            }
        };
    }
    let hosts = &operators.hosts;
    let local = operators.tokens.is_empty()
        && !log_in
        && peer.is_loopback()
        && !through_proxy(headers)
        && host_is_ours(headers, hosts)
        && is_own_page(headers, hosts);
    Ok(if local { Requester::Operator } else { Requester::Anybody })
}

impl Requester {
    /// Operators only.
    ///
    /// # Errors
    /// 401, or 403 for who has some other right.
    pub fn operator(&self) -> Result<(), Problem> {
        match self {
            Self::Operator => Ok(()),
            Self::Anybody => Err(Problem::new(
                401,
                "unauthorized",
                "operators only: a bearer token, a login, or where there is neither a request from this machine",
            )),
            Self::KeyHolder(_) | Self::TokenHolder(_) => Err(Problem::new(403, "not-permitted", "operators only")),
        }
    }

    /// Who has the key of a home address, and operators.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn holder(&self, home: HomeAddress, steering: &BindingCache, now: Now) -> Result<(), Problem> {
        match self {
            Self::Operator => Ok(()),
            Self::KeyHolder(key) if steering.is_home_key(home, key, now) => Ok(()),
            Self::KeyHolder(_) | Self::TokenHolder(_) => Err(Problem::new(403, "not-permitted", "the key of this home address is needed")),
            Self::Anybody => Err(Problem::new(401, "unauthorized", "the key of this home address is needed")),
        }
    }

    /// Who may read a home address: also holders of a token for it.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn reader(&self, home: HomeAddress, steering: &BindingCache, now: Now) -> Result<(), Problem> {
        match self {
            Self::TokenHolder(grants) if grants.iter().any(|grant| grant.home == home) => Ok(()),
            other => other.holder(home, steering, now),
        }
    }
}

/// So many octets out of as many pairs of hex digits, and nothing else.
pub(super) fn octets_of_hex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut octets = Zeroizing::new([0; N]);
    for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

fn through_proxy(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name == "forwarded" || name.as_str().starts_with("x-forwarded-"))
}

/// The host of an authority, without port and brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

fn host_is_ours(headers: &HeaderMap, hosts: &[String]) -> bool {
    headers.get("host").and_then(|host| host.to_str().ok()).is_some_and(|host| is_ours(host_of(host), hosts))
}

/// Whether a request can be the peer's own: that of a program there, or of our page in its browser. A page of another site may have its own
/// name lead to us and is of one origin with us then, but cannot name us by an address or by a name of ours. Behind a proxy the peer is
/// the proxy.
pub(super) fn is_of_peer(headers: &HeaderMap, hosts: &[String]) -> bool {
    host_is_known(headers, hosts) && is_own_page(headers, hosts) && !through_proxy(headers)
}

/// Whether the host that is asked for is this machine by a name that nobody else has given it: addresses cannot be rebound.
pub(super) fn host_is_known(headers: &HeaderMap, hosts: &[String]) -> bool {
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    host.is_some_and(|host| is_ours(host_of(host), hosts) || host_of(host).parse::<IpAddr>().is_ok())
}

/// Whether the page that asks, if one does, is of this server: a page of another port of this machine is another's. Its origin (RFC 6454)
/// is what is asked for, or a name of this machine at the same port, and no browser says that another site has made it ask (W3C Fetch
/// Metadata section 2.4).
pub(super) fn is_own_page(headers: &HeaderMap, hosts: &[String]) -> bool {
    let asked: Option<Authority> = headers.get("host").and_then(|host| host.to_str().ok()?.parse().ok());
    let is_asked = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let (Some(asked), Some(of)) = (&asked, origin.as_ref().filter(|origin| origin.scheme().is_some()).and_then(Uri::authority)) else {
            return false;
        };
        let is_named = hosts.iter().any(|known| known.eq_ignore_ascii_case(of.host())) && of.port_u16() == asked.port_u16();
        is_named || of.as_str().eq_ignore_ascii_case(asked.as_str())
    };
    let is_own = |site: &HeaderValue| matches!(site.as_bytes(), b"none" | b"same-origin");
    headers.get_all("origin").iter().all(is_asked) && headers.get_all("sec-fetch-site").iter().all(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::SteeringSettings;

    fn who(headers: &[(&'static str, &str)], peer: &str, tokens: &[&str]) -> &'static str {
        who_of(headers, peer, tokens, false, false)
    }

    fn who_of(headers: &[(&'static str, &str)], peer: &str, tokens: &[&str], log_in: bool, only_here: bool) -> &'static str {
        let cache = BindingCache::new(SteeringSettings::new("fd00::/64".parse().expect("a prefix")), Box::new(|_| {}), Box::new(|_, _| {}));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        let operators = Operators { tokens, hosts: vec!["media.lan".into()], only_here };
        let peer = peer.parse().expect("an address");
        match requester(&map, peer, &operators, log_in, &cache, &Refusals::default(), Now::default()) {
            Ok(Requester::Operator) => "operator",
            Ok(Requester::KeyHolder(_)) => "key",
            Ok(Requester::TokenHolder(_)) => "token",
            Ok(Requester::Anybody) => "anybody",
            Err(_) => "refused",
        }
    }

    #[test]
    fn this_machine_operates_unless_a_page_or_a_proxy_may_be_behind_it() {
        assert_eq!(who(&[("host", "localhost:8080")], "::1", &[]), "operator");
        assert_eq!(who(&[("host", "[::1]:8080")], "127.0.0.1", &[]), "operator");
        assert_eq!(who(&[("host", "media.lan")], "127.0.0.1", &[]), "operator");
        assert_eq!(who(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], "127.0.0.1", &[]), "operator");
        assert_eq!(who(&[], "127.0.0.1", &[]), "anybody");
        assert_eq!(who(&[("host", "rebound.example")], "127.0.0.1", &[]), "anybody");
        assert_eq!(who(&[("host", "localhost"), ("origin", "https://evil.example")], "127.0.0.1", &[]), "anybody");
        assert_eq!(who(&[("host", "localhost"), ("origin", "null")], "127.0.0.1", &[]), "anybody");
        assert_eq!(who(&[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")], "127.0.0.1", &[]), "anybody");
        assert_eq!(who(&[("host", "localhost")], "192.0.2.1", &[]), "anybody");
        assert_eq!(who(&[("host", "localhost"), ("sec-fetch-site", "same-origin")], "127.0.0.1", &[]), "operator");
        assert_eq!(who(&[("host", "localhost"), ("sec-fetch-site", "none")], "127.0.0.1", &[]), "operator");
        assert_eq!(who(&[("host", "localhost"), ("sec-fetch-site", "cross-site")], "127.0.0.1", &[]), "anybody");
        assert_eq!(who(&[("host", "localhost"), ("sec-fetch-site", "same-site")], "127.0.0.1", &[]), "anybody");
        for (origin, requester) in [
            ("http://localhost:8080", "operator"),
            ("http://media.lan:8080", "operator"),
            ("http://localhost:3000", "anybody"),
            ("http://media.lan", "anybody"),
            ("localhost:8080", "anybody"),
        ] {
            assert_eq!(who(&[("host", "localhost:8080"), ("origin", origin)], "127.0.0.1", &[]), requester, "{origin}");
        }
        let bearer = [("authorization", "Bearer secret"), ("sec-fetch-site", "cross-site")];
        assert_eq!(who(&bearer, "192.0.2.1", &["secret"]), "operator", "a token is no habit of a browser");
    }

    #[test]
    fn a_device_asks_for_itself_by_an_address_or_a_name_of_ours() {
        let hosts = ["media.lan".to_owned()];
        let is_own = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().expect("a value"));
            }
            is_of_peer(&map, &hosts)
        };
        for host in ["192.0.2.1:8080", "[2001:db8::1]:8080", "192.0.2.1", "localhost", "MEDIA.lan:8080"] {
            assert!(is_own(&[("host", host), ("sec-fetch-site", "same-origin"), ("origin", &format!("http://{host}"))]), "{host}");
            assert!(is_own(&[("host", host)]), "{host}");
            assert!(!is_own(&[("host", host), ("sec-fetch-site", "cross-site")]), "{host}");
            assert!(!is_own(&[("host", host), ("origin", "http://192.0.2.1:8081")]), "{host}");
            assert!(!is_own(&[("host", host), ("origin", "null")]), "{host}");
            assert!(!is_own(&[("host", host), ("x-forwarded-for", "192.0.2.7")]), "{host}");
        }
        assert!(!is_own(&[("host", "rebound.example:8080"), ("origin", "http://rebound.example:8080")]));
        assert!(!is_own(&[]));
    }

    #[test]
    fn with_tokens_configured_only_they_operate() {
        assert_eq!(who(&[("host", "localhost")], "127.0.0.1", &["secret"]), "anybody");
        assert_eq!(who(&[("authorization", "Bearer secret")], "192.0.2.1", &["secret"]), "operator");
        assert_eq!(who(&[("authorization", "Bearer wrong")], "127.0.0.1", &["secret"]), "refused");
        assert_eq!(who(&[("authorization", &format!("Bearer {}", "0a".repeat(32)))], "192.0.2.1", &[]), "key");
        assert_eq!(who(&[("authorization", "Bearer second")], "192.0.2.1", &["first", "second"]), "operator");
    }

    #[test]
    fn where_users_log_in_to_operate_being_here_is_not_enough() {
        assert_eq!(who_of(&[("host", "localhost")], "127.0.0.1", &[], true, false), "anybody");
        assert_eq!(who_of(&[("host", "localhost")], "127.0.0.1", &[], false, true), "operator");
    }

    #[test]
    fn operators_may_have_to_be_here() {
        let bearer = [("authorization", "Bearer secret")];
        assert_eq!(who_of(&bearer, "192.0.2.1", &["secret"], false, true), "refused");
        assert_eq!(who_of(&bearer, "::1", &["secret"], false, true), "operator");
        let proxied = [("authorization", "Bearer secret"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(who_of(&proxied, "127.0.0.1", &["secret"], false, true), "refused");
        assert_eq!(who_of(&proxied, "127.0.0.1", &["secret"], false, false), "operator");
        assert_eq!(who_of(&[("authorization", "Bearer wrong")], "192.0.2.1", &["secret"], false, true), "refused");
    }
}
