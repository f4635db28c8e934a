//! What one value alone cannot tell: ranges, and how keys stand to each other.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use url::Url;

use crate::access::Role;
use crate::config::{AccessConfig, Config, Consent, MdnsConfig, OperatorsFrom, TlsListen, UserConfig};

/// A rule that a configuration breaks.
pub(super) struct Broken {
    /// The keys that it is about, first the one that is shown unless another one was set.
    pub keys: Vec<String>,
    /// The key as it is told.
    pub shown: String,
    /// What should be.
    pub rule: &'static str,
}

impl Config {
    /// All rules that are broken.
    pub(super) fn broken_rules(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        let (rtsp, rtp, http, steering, mobility) = (&self.rtsp, &self.rtp, &self.http, &self.steering, &self.mobility);
        let tls = &self.tls;
        let may_secure = |listen| tls.certificate.is_some() || tls.key.is_some() || !matches!(listen, Some(TlsListen::At(_)));
        let is_ours = |prefix: &Ipv6Net| steering.home_prefix.is_none_or(|home| home.contains(prefix) || prefix.contains(&home));
        let at_least_one = "is at least 1";
        let has_operators = self.users.iter().any(|user| user.roles.contains(&Role::Operator));
        let table: [(&[&str], bool, &'static str); 46] = [
            (&["rtp.mtu"], (300..=1500).contains(&rtp.mtu), "a packet has 300 to 1500 octets"),
            (&["rtp.port"], rtp.port.is_multiple_of(2) && rtp.port != u16::MAX, "RTP takes an even port, RTCP the next one"),
            (&["rtp.burst"], (1..=64).contains(&rtp.burst), "1 to 64 packets leave at once"),
            (&["rtp.spread_ms"], rtp.spread_ms <= 18, "a picture takes 0 to 18 milliseconds: sound and pictures stay together"),
            (&["rtp.rtx_ms"], rtp.rtx_ms <= 10_000, "is at most 10000"),
            (&["rtp.dscp_video"], rtp.dscp_video <= 63, "a DSCP is 0 to 63"),
            (&["rtp.dscp_audio"], rtp.dscp_audio <= 63, "a DSCP is 0 to 63"),
            (&["rtsp.connections"], rtsp.connections >= 1, at_least_one),
            (&["rtsp.connections_per_address"], rtsp.connections_per_address >= 1, at_least_one),
            (&["rtsp.sessions_per_connection"], rtsp.sessions_per_connection >= 1, at_least_one),
            (&["rtsp.header_bytes"], rtsp.header_bytes >= 1024, "is at least 1024"),
            (&["rtsp.interleaved_queue"], rtsp.interleaved_queue >= 64 * 1024, "is at least 65536"),
            (&["rtsp.request_timeout_s"], (1..=86_400).contains(&rtsp.request_timeout_s), "is 1 to 86400"),
            (&["rtsp.session_timeout_s"], (1..=86_400).contains(&rtsp.session_timeout_s), "is 1 to 86400"),
            (&["mdns.name"], self.mdns.name.as_deref().is_none_or(MdnsConfig::is_name), "has 1 to 56 octets, and no dot and no backslash"),
            (&["http.connections"], http.connections >= 1, at_least_one),
            (&["http.connections_per_address"], http.connections_per_address >= 1, at_least_one),
            (&["http.write_timeout_s"], (1..=86_400).contains(&http.write_timeout_s), "is 1 to 86400"),
            (
                &["http.tokens"],
                http.tokens.iter().all(|token| !token.is_empty() && token.bytes().all(|octet| octet.is_ascii_graphic())),
                "each has one visible ASCII character or more, and nothing else",
            ),
            (
                &["http.operators"],
                http.operators != Some(OperatorsFrom::Network) || !http.tokens.is_empty() || has_operators,
                "anybody could operate: network needs http.tokens, or one of [[users]] with the role operator",
            ),
            (
                &["http.session_s", "http.session_max_s"],
                http.session_s <= http.session_max_s,
                "http.session_s is at most http.session_max_s",
            ),
            (
                &["http.session_s", "http.session_max_s"],
                http.session_s >= 1 && http.session_max_s <= 2_592_000,
                "a login ends after 1 to 2592000 seconds",
            ),
            (
                &["steering.home_prefix"],
                steering.home_prefix.is_none_or(|prefix| prefix.prefix_len() <= 120),
                "the prefix leaves fewer than 256 addresses",
            ),
            (
                &["steering.transition_ms", "steering.max_window_ms"],
                steering.transition_ms <= steering.max_window_ms,
                "steering.transition_ms is at most steering.max_window_ms",
            ),
            (&["steering.context_s"], (1..=86_400).contains(&steering.context_s), "is 1 to 86400"),
            (
                &["steering.unbound_prefixes"],
                steering.unbound_prefixes.iter().all(is_ours),
                "a prefix lies in steering.home_prefix, or around it",
            ),
            (&["steering.consent"], steering.consent != Consent::Pin, "a PIN belongs to a home address: it is home.consent"),
            (
                &["steering.consent", "steering.consent_webhook"],
                steering.consent != Consent::Webhook || steering.consent_webhook.is_some(),
                "a webhook needs steering.consent_webhook",
            ),
            (
                &["steering.consent_webhook"],
                steering.consent_webhook.as_deref().is_none_or(is_webhook),
                "is an http:// or https:// URL with a host",
            ),
            (
                &["steering.consent_webhook", "steering.consent_ca"],
                steering.consent_ca.is_some() || !steering.consent_webhook.as_deref().is_some_and(is_secured),
                "an https:// URL needs steering.consent_ca",
            ),
            (&["steering.linger_s"], steering.linger_s <= 86_400, "is at most 86400"),
            (&["mobility.max_lifetime_s"], (4..=262_140).contains(&mobility.max_lifetime_s), "is 4 to 262140"),
            (&["mobility.reserve_s"], (4..=2_592_000).contains(&mobility.reserve_s), "is 4 to 2592000"),
            (&["mobility.close_enough_s"], (1..=3600).contains(&mobility.close_enough_s), "is 1 to 3600"),
            (&["mobility.max_bids"], (1..=64).contains(&mobility.max_bids), "is 1 to 64"),
            (&["mobility.max_sas"], (1..=256).contains(&mobility.max_sas), "is 1 to 256"),
            (&["mobility.max_homes_per_identity"], mobility.max_homes_per_identity >= 1, at_least_one),
            (&["tls.certificate", "tls.key"], tls.certificate.is_some() || tls.key.is_none(), "tls.certificate and tls.key go together"),
            (&["tls.key", "tls.certificate"], tls.key.is_some() || tls.certificate.is_none(), "tls.certificate and tls.key go together"),
            (&["rtsp.tls_listen"], may_secure(rtsp.tls_listen), "needs tls.certificate and tls.key"),
            (&["http.tls_listen"], may_secure(http.tls_listen), "needs tls.certificate and tls.key"),
            (&["data.presentations"], self.data.presentations >= 1, at_least_one),
            (&["data.presentations_per_address"], self.data.presentations_per_address >= 1, at_least_one),
            (&["serve.drain_s"], self.serve.drain_s <= 86_400, "is at most 86400"),
            (&["data.shards"], self.data.shards <= 256, "is at most 256"),
            (&["log.level"], is_filter(&self.log.level), "is error, warn, info, debug, trace, or a filter like flowsteer=debug"),
        ];
        for (keys, holds, rule) in table {
            if !holds {
                let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
                broken.push(Broken { shown: keys[0].clone(), keys, rule });
            }
        }
        self.check_homes(&mut broken);
        self.check_cameras(&mut broken);
        self.check_publish(&mut broken);
        self.check_users(&mut broken);
        self.check_access(&mut broken);
        broken
    }

    fn check_publish(&self, broken: &mut Vec<Broken>) {
        for (index, publish) in self.publish.iter().enumerate() {
            let mut fail = |field: &str, rule| {
                broken.push(Broken { keys: vec![format!("publish[{index}].{field}")], shown: format!("publish.{field}"), rule });
            };
            if !is_path_or_beginning(&publish.path) {
                fail("path", PATH_OR_BEGINNING);
            }
            let names_users = !publish.users.is_empty() || !publish.roles.is_empty();
            if names_users && publish.username.is_some() {
                fail("username", "is either username and password, or users and roles");
            }
            let publishes = |name: &String| self.users.iter().any(|user| user.name == *name && user.roles.contains(&Role::Publisher));
            if !publish.users.iter().all(publishes) {
                fail("users", "each is the name of one of [[users]] with the role publisher");
            }
            if publish.roles.iter().any(|role| *role != Role::Publisher) {
                fail("roles", "only the role publisher publishes");
            } else if !publish.roles.is_empty() && !self.users.iter().any(|user| user.roles.contains(&Role::Publisher)) {
                fail("roles", "none of [[users]] has that role");
            }
            if publish.username.is_some() != publish.password.is_some() {
                fail("password", "username and password go together");
            }
            if publish.username.as_deref().is_some_and(|name| !is_user_name(name)) {
                fail("username", USER_NAME);
            }
        }
    }

    fn check_users(&self, broken: &mut Vec<Broken>) {
        for (index, user) in self.users.iter().enumerate() {
            let mut fail = |field: &str, rule| {
                broken.push(Broken { keys: vec![format!("users[{index}].{field}")], shown: format!("users.{field}"), rule });
            };
            if !is_user_name(&user.name) {
                fail("name", USER_NAME);
            }
            if user.name == "flow" {
                fail("name", "flow is who shows a take-over token");
            }
            if self.users[..index].iter().any(|other| other.name == user.name) {
                fail("name", "two users have the same name");
            }
            match (&user.password, &user.password_hash) {
                (Some(_), Some(_)) => fail("password_hash", "password and password_hash are both there, one is needed"),
                (None, None) => fail("password", "neither password nor password_hash is there, one is needed"),
                (Some(password), None) if password.expose().is_empty() => fail("password", "is not empty"),
                (Some(_), None) => {}
                (None, Some(hash)) if hash.hashing().is_some_and(|hashing| hashing != self.rtsp.digest) => {
                    fail("password_hash", "is hashed in another way than rtsp.digest says")
                }
                (None, Some(hash)) if hash.is_slow() && self.shows_passwords(user) && !self.takes_basic() => {
                    fail("password_hash", "Argon2 answers no Digest: to play or publish, this user needs Basic, by TLS or rtsp.basic")
                }
                (None, Some(_)) => {}
            }
        }
    }

    /// Whether a user shows a password over RTSP: by a role, or as a rule names it.
    fn shows_passwords(&self, user: &UserConfig) -> bool {
        let has_role = user.roles.iter().any(|role| *role != Role::Operator);
        let admits = |access: &AccessConfig| access.users.contains(&user.name) || user.roles.iter().any(|role| access.roles.contains(role));
        has_role || self.access.iter().any(admits)
    }

    /// Whether a password may come as it is somewhere.
    fn takes_basic(&self) -> bool {
        self.rtsp.basic || (self.tls.certificate.is_some() && self.rtsp.tls_listen != Some(TlsListen::Nowhere))
    }

    fn check_access(&self, broken: &mut Vec<Broken>) {
        for (index, access) in self.access.iter().enumerate() {
            let mut fail = |field: &str, rule| {
                broken.push(Broken { keys: vec![format!("access[{index}].{field}")], shown: format!("access.{field}"), rule });
            };
            if !is_path_or_beginning(&access.path) {
                fail("path", PATH_OR_BEGINNING);
            }
            if self.access[..index].iter().any(|other| other.path == access.path) {
                fail("path", "two rules have the same path");
            }
            if access.anyone == (!access.roles.is_empty() || !access.users.is_empty()) {
                fail("anyone", "is either anyone = true, or users or roles");
            }
            if !access.users.iter().all(|name| self.users.iter().any(|user| user.name == *name)) {
                fail("users", "each is the name of one of [[users]]");
            }
            if !access.roles.is_empty() && self.users.is_empty() {
                fail("roles", "there are no [[users]]");
            }
        }
    }

    fn check_cameras(&self, broken: &mut Vec<Broken>) {
        for (index, camera) in self.camera.iter().enumerate() {
            let mut fail = |field: &str, rule| {
                broken.push(Broken { keys: vec![format!("camera[{index}].{field}")], shown: format!("camera.{field}"), rule });
            };
            if !is_path(&camera.name) || camera.name.contains(['?', '#']) {
                fail("name", "is a title's path, without ? and #");
            }
            if self.camera[..index].iter().any(|other| other.name == camera.name) {
                fail("name", "two cameras have the same name");
            }
            if camera.name.split('/').next() == Some("home") {
                fail("name", "is not below home/, where home addresses are");
            }
            match Url::parse(&camera.url) {
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    fail("url", "has no credentials: they are username and password");
                }
                Ok(url) if url.scheme() == "rtsp" && url.has_host() => {}
                _ => fail("url", "is an rtsp:// URL with a host"),
            }
            if camera.username.is_none() && camera.password.is_some() {
                fail("password", "goes with a username");
            }
        }
    }

    fn check_homes(&self, broken: &mut Vec<Broken>) {
        for (index, home) in self.home.iter().enumerate() {
            let mut fail = |field: &str, rule| {
                broken.push(Broken { keys: vec![format!("home[{index}].{field}")], shown: format!("home.{field}"), rule });
            };
            let name = home.name.as_str();
            if name.is_empty() || name.contains(['/', '?', '#']) || name.parse::<Ipv6Addr>().is_ok() {
                fail("name", "a name is not empty, no address, and has no /, ? or #");
            }
            if self.home[..index].iter().any(|other| other.name == name) {
                fail("name", "two homes have the same name");
            }
            if home.title.as_deref().is_some_and(|title| !is_path(title)) {
                fail("title", "is a title's path below the folder");
            }
            let own = home.webhook.as_deref();
            if home.consent == Some(Consent::Webhook) && own.is_none() && self.steering.consent_webhook.is_none() {
                fail("consent", "a webhook needs home.webhook or steering.consent_webhook");
            }
            if own.is_some_and(|url| !is_webhook(url)) {
                fail("webhook", "is an http:// or https:// URL with a host");
            }
            if own.is_some_and(is_secured) && self.steering.consent_ca.is_none() {
                fail("webhook", "an https:// URL needs steering.consent_ca");
            }
            if (home.consent == Some(Consent::Pin)) != home.pin.is_some() {
                fail("pin", "consent = \"pin\" and pin go together");
            }
            if home.pin.as_ref().is_some_and(|pin| pin.expose().is_empty() || pin.expose().len() > 64) {
                fail("pin", "has 1 to 64 octets");
            }
        }
    }
}

const PATH_OR_BEGINNING: &str = "is a title's path, or the beginning of one and a *, without ? and #";
const USER_NAME: &str = "is not empty, and has no :, no \" and no \\";

/// Whether it can be a title's path, or what such begin with and a `*`.
/// What is logged. A word alone is a level, or a part of this program: any other, like a level with a slip in it, would silence the log.
fn is_filter(text: &str) -> bool {
    let is_word = |part: &str| part.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    let means_something =
        |part: &str| !is_word(part) || part.parse::<tracing::level_filters::LevelFilter>().is_ok() || part == env!("CARGO_PKG_NAME");
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).all(means_something)
        && tracing_subscriber::EnvFilter::try_new(text).is_ok()
}

fn is_path_or_beginning(path: &str) -> bool {
    let exact = path.strip_suffix('*').map_or(path, |begin| begin.trim_end_matches('/'));
    path == "*" || is_path(exact) && !exact.contains(['*', '?', '#'])
}

/// Whether credentials can carry it (RFC 7617 section 2 has no colon in it).
fn is_user_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([':', '"', '\\']) && !name.contains(char::is_control)
}

/// Whether a service can be asked there.
fn is_webhook(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none()
    })
}

/// Whether a service is asked over TLS.
fn is_secured(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.scheme() == "https")
}

/// Whether it can be a title's path.
fn is_path(title: &str) -> bool {
    !title.is_empty() && title.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\']))
}
