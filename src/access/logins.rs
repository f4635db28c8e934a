//! Who has logged in over HTTP: each login is known by a secret of 256 bits that its user's browser shows with each request. Here only
//! hashes of the secrets are kept, in a table of fixed size, until nobody has used them for a while, and a day at most by default.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::access::User;
use crate::now::Mono;

/// Logins at a time …
const MOST: usize = 1024;
/// … and of one user.
const MOST_OF_USER: usize = 32;
/// What makes another secret of a secret.
const CSRF: &[u8] = b"flowsteer csrf";

/// How long who has logged in stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// Without any use.
    pub idle: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for SessionTimes {
    fn default() -> Self {
        Self { idle: Duration::from_secs(3600), longest: Duration::from_secs(86_400) }
    }
}

/// What a browser shows.
pub struct LoginSecret(Zeroizing<[u8; 32]>);

/// Under which a login is kept: nobody can show it in place of the secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginName([u8; 32]);

impl LoginSecret {
    /// Of octets that nobody can guess.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// Reads what [`expose`](Self::expose) has written; `None` where it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = Zeroizing::new([0; 32]);
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut *octets).ok()?;
        (length == 32).then_some(Self(octets))
    }

    /// As text, for the browser.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0))
    }

    /// What the page shows beside it with whatever changes something: pages of others do not know it, though their requests would carry the
    /// secret.
    pub fn csrf(&self) -> Zeroizing<String> {
        let hash = Sha256::new().chain_update(CSRF).chain_update(*self.0).finalize();
        Zeroizing::new(URL_SAFE_NO_PAD.encode(hash))
    }

    /// Under which name the login is kept.
    pub fn name(&self) -> LoginName {
        LoginName(Sha256::digest(*self.0).into())
    }
}

impl fmt::Debug for LoginSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginSecret(…)")
    }
}

impl fmt::Debug for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginName(…)")
    }
}

struct Login {
    user: User,
    opened: Mono,
    used: Mono,
}

impl Login {
    fn is_over(&self, times: SessionTimes, now: Mono) -> bool {
        now.since(self.used) >= times.idle || now.since(self.opened) >= times.longest
    }
}

/// All logins.
#[derive(Default)]
pub(super) struct Logins(HashMap<LoginName, Login>);

impl Logins {
    /// The user of a login that is used now.
    pub fn using(&mut self, name: &LoginName, times: SessionTimes, now: Mono) -> Option<&User> {
        if self.0.get(name)?.is_over(times, now) {
            self.0.remove(name);
        }
        let login = self.0.get_mut(name)?;
        login.used = now;
        Some(&login.user)
    }

    /// Opens one. The least used one makes room where there is none: of the user, or of all.
    pub fn open(&mut self, name: LoginName, user: User, times: SessionTimes, now: Mono) {
        self.0.retain(|_, login| !login.is_over(times, now));
        let of_user = self.0.values().filter(|login| login.user.name == user.name).count();
        if of_user >= MOST_OF_USER {
            self.forget_least_used(|login| login.user.name == user.name);
        } else if self.0.len() >= MOST {
            self.forget_least_used(|_| true);
        }
        self.0.insert(name, Login { user, opened: now, used: now });
    }

    /// Ends one.
    pub fn close(&mut self, name: &LoginName) {
        self.0.remove(name);
    }

    /// Keeps those of users of whom that is so.
    pub fn retain(&mut self, mut stays: impl FnMut(&User) -> bool) {
        self.0.retain(|_, login| stays(&login.user));
    }

    fn forget_least_used(&mut self, is_meant: impl Fn(&Login) -> bool) {
        let meant = self.0.iter().filter(|(_, login)| is_meant(login));
        if let Some(name) = meant.min_by_key(|(_, login)| login.used).map(|(name, _)| *name) {
            self.0.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::{Hashing, PasswordHash, Role};

    const TIMES: SessionTimes = SessionTimes { idle: Duration::from_secs(10), longest: Duration::from_secs(25) };

    fn user(name: &str) -> User {
        User { name: name.into(), hash: PasswordHash::of(Hashing::Md5, name, "s3cret"), roles: vec![Role::Operator] }
    }

    fn at(seconds: u64) -> Mono {
        Mono::default() + Duration::from_secs(seconds)
    }

    fn numbered(number: u32) -> LoginSecret {
        let mut octets = [0; 32];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        LoginSecret::new(octets)
    }

    #[test]
    fn a_login_lasts_while_it_is_used_and_not_for_ever() {
        let (mut logins, name) = (Logins::default(), numbered(1).name());
        logins.open(name, user("olga"), TIMES, at(0));
        for seconds in [9, 18, 24] {
            assert_eq!(logins.using(&name, TIMES, at(seconds)).map(|user| user.name.as_str()), Some("olga"), "{seconds}");
        }
        assert!(logins.using(&name, TIMES, at(25)).is_none(), "used, and too old");
        logins.open(name, user("olga"), TIMES, at(30));
        assert!(logins.using(&name, TIMES, at(40)).is_none() && logins.using(&name, TIMES, at(30)).is_none(), "gone is gone");
        logins.open(name, user("olga"), TIMES, at(50));
        logins.close(&name);
        assert!(logins.using(&name, TIMES, at(50)).is_none());
    }

    #[test]
    fn however_many_log_in_the_table_has_room_for_others() {
        let mut logins = Logins::default();
        logins.open(numbered(0).name(), user("olga"), TIMES, at(0));
        (1..=100).for_each(|number| logins.open(numbered(number).name(), user("anna"), TIMES, at(1)));
        assert_eq!(logins.0.len(), 1 + MOST_OF_USER);
        assert!(logins.using(&numbered(0).name(), TIMES, at(2)).is_some(), "one user's logins do not end another's");
        (101..=3000).for_each(|number| logins.open(numbered(number).name(), user(&number.to_string()), TIMES, at(3)));
        assert_eq!(logins.0.len(), MOST);
        logins.open(numbered(1).name(), user("olga"), TIMES, at(20));
        assert_eq!(logins.0.len(), 1, "those that are over make room");
    }

    proptest! {
        #[test]
        fn a_secret_is_read_as_it_was_written(octets in any::<[u8; 32]>(), text in ".{0,60}") {
            let secret = LoginSecret::new(octets);
            let again = LoginSecret::parse(&secret.expose()).expect("a secret");
            prop_assert_eq!(again.name(), secret.name());
            prop_assert_eq!(again.csrf(), secret.csrf());
            prop_assert!(secret.csrf() != secret.expose());
            if let Some(other) = LoginSecret::parse(&text) {
                let again = other.expose();
                prop_assert_eq!(again.as_str(), text.as_str());
            }
        }
    }
}
