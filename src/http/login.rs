//! Logging in with a password (`/api/v1/login`, `/api/v1/logout`): for operators who use a browser.
//!
//! The browser keeps a cookie (RFC 6265) that no script reads and no other site's page makes it send. What changes something also needs a
//! second secret, which only pages of this server can have read. Read first: the OWASP cheat sheets on sessions and on forged requests.

use std::net::IpAddr;

use hyper::Method;
use hyper::header::{COOKIE, HeaderMap};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::access::{LoginSecret, User};
use crate::http::api::{Api, Call, Outcome, is_json, read};
use crate::http::authority::{Requester, host_is_known, is_own_page, requester};
use crate::http::body::{LoggedIn, LoginBody};
use crate::http::problem::Problem;
use crate::http::reach::Reach;
use crate::net::{Bench, now};
use crate::now::Now;

/// The cookie without TLS.
const PLAIN: &str = "flowsteer";
/// The cookie over TLS: browsers take one of such a name from nobody else (RFC 6265bis section 4.1.3.2).
const SECURED: &str = "__Host-flowsteer";
/// Both names, that without TLS first.
pub(super) const COOKIES: [&str; 2] = [PLAIN, SECURED];

/// What the cookie is named there.
pub(super) const fn cookie_name(is_secured: bool) -> &'static str {
    if is_secured { SECURED } else { PLAIN }
}
/// Cookies of that name that are looked at.
const MOST_COOKIES: usize = 4;
/// Octets of a name and of a password at most.
const LONGEST: usize = 512;

/// Who has logged in, and shows it.
struct Login {
    user: String,
    secret: LoginSecret,
}

impl Login {
    fn shape(&self) -> LoggedIn {
        LoggedIn { user: self.user.clone(), csrf: self.secret.csrf().as_str().to_owned() }
    }
}

impl Api {
    /// Who asks: by login, else as the headers say.
    pub(super) fn requester(&self, call: &Call, now: Now) -> Result<Requester, Problem> {
        if let Some(login) = self.logged_in(call, now) {
            if !matches!(call.method, Method::GET | Method::HEAD | Method::OPTIONS) {
                let shown = call.headers.get("x-csrf-token").map(|shown| shown.as_bytes()).unwrap_or_default();
                if !bool::from(login.secret.csrf().as_bytes().ct_eq(shown)) {
                    return Err(Problem::new(
                        403,
                        "csrf-token-needed",
                        "by cookie this needs the header X-CSRF-Token as the login gave it",
                    ));
                }
            }
            return Ok(Requester::Operator);
        }
        let log_in = self.settings.access.list().has_operators();
        requester(&call.headers, call.peer.ip(), &self.settings.operators, log_in, &self.steering, &self.refusals, now)
    }

    /// What a requester may hear, and until when.
    pub(super) fn reach(&self, call: &Call, who: &Requester, now: Now) -> Result<Reach, Problem> {
        match self.logged_in(call, now) {
            Some(login) => Ok(Reach::Login(self.settings.access.clone(), login.secret.name())),
            None => Reach::of(who, &self.steering, now),
        }
    }

    /// `/api/v1/login`: logs in, or tells who has.
    pub(super) async fn login(&self, call: &Call, now: Now) -> Result<Outcome, Problem> {
        if call.method == Method::GET {
            let login = self.logged_in(call, now).ok_or_else(|| Problem::new(401, "unauthorized", "nobody has logged in here"))?;
            return Outcome::shown(200, &login.shape());
        }
        if !is_json(&call.headers) {
            return Err(Problem::new(415, "not-json", "bodies are application/json"));
        }
        let LoginBody { user, password } = read(&call.body)?;
        let password = Zeroizing::new(password);
        if user.len() > LONGEST || password.len() > LONGEST {
            return Err(Problem::invalid("a name and a password have at most 512 octets"));
        }
        if self.is_overheard(call) {
            let detail = "a password can be read on its way: log in over https, or from this machine";
            return Err(Problem::new(403, "insecure-transport", detail));
        }
        if !self.is_own_page(call) {
            return Err(Problem::new(
                403,
                "not-permitted",
                "another site's page logs nobody in, nor does one by a name that http.hosts has not",
            ));
        }
        if !self.settings.operators.may_come(call.peer.ip(), &call.headers) {
            return Err(Problem::new(403, "not-permitted", "operators ask from this machine"));
        }
        let user = self.user_of(&user, password, call.peer.ip()).await?;
        if !user.operates() {
            return Err(Problem::new(403, "not-permitted", "only users with the role operator log in here"));
        }
        let mut drawn = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *drawn).map_err(|_| Problem::new(500, "no-randomness", "the system gives no random octets"))?;
        let before = self.logged_in(call, now);
        let login = Login { user: user.name.clone(), secret: LoginSecret::new(*drawn) };
        if !self.settings.access.log_in(&user, &login.secret, now.mono) {
            return Err(Problem::new(401, "unauthorized", "wrong user or password"));
        }
        // One browser, one login.
        if let Some(before) = before {
            self.settings.access.log_out(&before.secret.name());
        }
        tracing::info!(peer = %call.peer, user = login.user, "logged in");
        let cookie = cookie(call.is_secured, &login.secret.expose(), "");
        Ok(Outcome::Cookie(Some(json!(login.shape())), cookie))
    }

    /// `POST /api/v1/logout`
    pub(super) fn logout(&self, call: &Call, now: Now) -> Result<Outcome, Problem> {
        self.requester(call, now)?;
        let login = self.logged_in(call, now).ok_or_else(|| Problem::new(401, "unauthorized", "nobody has logged in here"))?;
        self.settings.access.log_out(&login.secret.name());
        tracing::info!(peer = %call.peer, user = login.user, "logged out");
        Ok(Outcome::Cookie(None, cookie(call.is_secured, "", "; Max-Age=0")))
    }

    /// Whether others may read what is answered on its way. What stays on this machine is not overheard, whatever its addresses.
    pub(super) fn is_overheard(&self, call: &Call) -> bool {
        !(call.is_secured || is_here(call) || self.settings.insecure_keys)
    }

    /// The user of that name and password. Who guesses waits.
    async fn user_of(&self, name: &str, password: Zeroizing<String>, peer: IpAddr) -> Result<User, Problem> {
        let access = &self.settings.access;
        let may_try = || match access.may_try(peer, now().mono) {
            true => Ok(()),
            false => {
                metrics::counter!("flowsteer_http_refused_total", "limit" => "wrong_passwords").increment(1);
                Err(Problem { detail: "too many wrong passwords came from there".into(), ..Problem::too_many_refused() })
            }
        };
        may_try()?;
        let list = access.list();
        let user = list.user(name).cloned();
        let hashes: Vec<_> = user.iter().map(|user| user.hash.clone()).collect();
        let is_right = if list.is_slow() {
            let busy = |error| {
                metrics::counter!("flowsteer_http_refused_total", "limit" => "password_work").increment(1);
                Problem { retry_after: Some(1), ..Problem::new(503, "busy", error) }
            };
            let bench = Bench::enter().await.map_err(busy)?;
            // Others from there may have guessed while this one waited.
            may_try()?;
            let name = name.to_owned();
            bench.work(move || list.is_password_of(&hashes, &name, &password)).await.map_err(busy)?
        } else {
            list.is_password_of(&hashes, name, &password)
        };
        match user.filter(|_| is_right) {
            Some(user) => Ok(user),
            None => {
                access.note_failure(peer, now().mono);
                tracing::info!(%peer, scheme = "login", "wrong user or password");
                metrics::counter!("flowsteer_authentication_failures_total", "scheme" => "login").increment(1);
                Err(Problem::new(401, "unauthorized", "wrong user or password"))
            }
        }
    }

    /// Who has logged in, where the request shows that by cookie alone, and no other site's page can have made the browser send it.
    fn logged_in(&self, call: &Call, now: Now) -> Option<Login> {
        let name = cookie_name(call.is_secured);
        let may = !call.headers.contains_key("authorization")
            && !self.is_overheard(call)
            && self.is_own_page(call)
            && self.settings.operators.may_come(call.peer.ip(), &call.headers);
        let secrets = cookies(&call.headers, name).take(MOST_COOKIES).filter_map(LoginSecret::parse);
        let mut secrets = secrets.filter(|_| may);
        secrets.find_map(|secret| {
            let user = self.settings.access.logged_in(&secret.name(), now.mono)?;
            Some(Login { user, secret })
        })
    }

    /// Whether the page that asks, if one does, is of this server. Without TLS a page's name may lead here by another's doing.
    fn is_own_page(&self, call: &Call) -> bool {
        let hosts = &self.settings.operators.hosts;
        let may_be_rebound = !call.is_secured && is_here(call) && !host_is_known(&call.headers, hosts);
        is_own_page(&call.headers, hosts) && !may_be_rebound
    }
}

/// Whether it comes from this machine, whatever its addresses.
fn is_here(call: &Call) -> bool {
    call.peer.ip().is_loopback() || call.peer.ip() == call.local.ip()
}

/// The values of all cookies of that name (RFC 6265 section 5.4).
fn cookies<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(move |pair| pair.trim().split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value))
}

/// What sets the cookie: sent back to this host alone, from its own pages alone, and read by no script.
fn cookie(is_secured: bool, value: &str, more: &str) -> Zeroizing<String> {
    let (name, secure) = (cookie_name(is_secured), if is_secured { "; Secure" } else { "" });
    Zeroizing::new(format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        for value in ["a=b; flowsteer=one;  flowsteer = no; xflowsteer=no", "flowsteer=two=;flowsteer", "__Host-flowsteer=three"] {
            headers.append(COOKIE, value.parse().expect("a value"));
        }
        assert_eq!(cookies(&headers, PLAIN).collect::<Vec<_>>(), ["one", "two="]);
        assert_eq!(cookies(&headers, SECURED).collect::<Vec<_>>(), ["three"]);
        assert_eq!(cookies(&HeaderMap::new(), PLAIN).count(), 0);
    }

    #[test]
    fn over_tls_the_cookie_is_of_this_host_alone() {
        assert_eq!(cookie(false, "x", "").as_str(), "flowsteer=x; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(cookie(true, "x", "").as_str(), "__Host-flowsteer=x; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(cookie(true, "", "; Max-Age=0").as_str(), "__Host-flowsteer=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0");
    }
}
