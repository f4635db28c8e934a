//! Who may play, publish and operate: users of the configuration, what their passwords are kept as, rules by title path, the slowing of
//! those who guess, and who has logged in.
//!
//! Pure: it reads no header and opens nothing. `rtsp` and `http` read credentials and ask here; `cli` makes the list out of the
//! configuration, and replaces it when that is read again.

mod hash;
mod list;
mod logins;
mod slowing;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::access::logins::Logins;
use crate::now::Mono;

pub use hash::{HashError, Hashing, PasswordHash, REALM};
pub use list::{AccessList, AccessRule, Role, User};
pub use logins::{LoginName, LoginSecret, SessionTimes};
pub use slowing::Slowing;

/// What a running server goes by: the list in force, and who guesses.
#[derive(Default)]
pub struct Access {
    list: ArcSwap<AccessList>,
    slowing: Mutex<Slowing>,
    logins: Mutex<Logins>,
}

impl Access {
    /// With that list.
    pub fn new(list: AccessList) -> Self {
        Self { list: ArcSwap::from_pointee(list), ..Self::default() }
    }

    /// The list in force.
    pub fn list(&self) -> Arc<AccessList> {
        self.list.load_full()
    }

    /// From now on this list holds. Logins of users that it has not, or not with that password, or as operators no more, end.
    pub fn replace(&self, list: AccessList) {
        let list = Arc::new(list);
        self.list.store(Arc::clone(&list));
        self.logins().retain(|user| list.user(&user.name).is_some_and(|again| again.hash == user.hash && again.operates()));
    }

    /// Logs an operator in, who is known by that secret from now on; not where the list has another one meanwhile.
    pub fn log_in(&self, user: &User, secret: &LoginSecret, now: Mono) -> bool {
        let mut logins = self.logins();
        // Read under the lock: who replaces the list looks at what has been opened before.
        let list = self.list.load();
        let is_known = user.operates() && list.user(&user.name) == Some(user);
        if is_known {
            logins.open(secret.name(), user.clone(), list.sessions, now);
        }
        is_known
    }

    /// The name of the user who has logged in there, and uses that now.
    pub fn logged_in(&self, login: &LoginName, now: Mono) -> Option<String> {
        let times = self.list.load().sessions;
        self.logins().using(login, times, now).map(|user| user.name.clone())
    }

    /// Ends a login.
    pub fn log_out(&self, login: &LoginName) {
        self.logins().close(login);
    }

    /// Whether what somebody shows is to be looked at: not while their network waits for wrong credentials before.
    pub fn may_try(&self, peer: IpAddr, now: Mono) -> bool {
        self.slowing().may_try(peer, now)
    }

    /// Notes wrong credentials.
    pub fn note_failure(&self, peer: IpAddr, now: Mono) {
        self.slowing().note(peer, now);
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slowing(&self) -> MutexGuard<'_, Slowing> {
        self.slowing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn olga(password: &str, roles: &[Role]) -> User {
        User { name: "olga".into(), hash: PasswordHash::of(Hashing::Md5, "olga", password), roles: roles.to_vec() }
    }

    #[test]
    fn a_login_ends_with_its_user_with_another_password_and_with_the_role() {
        let now = Mono::default();
        let with = |users: Vec<User>| AccessList { users, ..AccessList::default() };
        let user = olga("s3cret", &[Role::Operator]);
        for (others, stays) in [
            (vec![olga("s3cret", &[Role::Operator, Role::Viewer])], true),
            (vec![], false),
            (vec![olga("other", &[Role::Operator])], false),
            (vec![olga("s3cret", &[Role::Viewer])], false),
        ] {
            let (access, secret) = (Access::new(with(vec![user.clone()])), LoginSecret::new([7; 32]));
            assert!(access.log_in(&user, &secret, now));
            assert_eq!(access.logged_in(&secret.name(), now).as_deref(), Some("olga"));
            access.replace(with(others));
            assert_eq!(access.logged_in(&secret.name(), now).is_some(), stays);
        }
        let access = Access::new(with(vec![user]));
        for stranger in [olga("other", &[Role::Operator]), olga("s3cret", &[Role::Viewer])] {
            assert!(!access.log_in(&stranger, &LoginSecret::new([8; 32]), now), "the list has changed while the password was looked at");
        }
    }
}
