//! Users and rules: who may play a title.

use crate::access::{Hashing, PasswordHash, SessionTimes};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Play titles that no rule keeps for others.
    Viewer,
    /// Publish at the paths that are given to publishers.
    Publisher,
    /// Log in over HTTP, and operate.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Publisher, Self::Operator];

    /// As it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }

    /// Reads it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, without a colon.
    pub name: String,
    /// What the password is kept as.
    pub hash: PasswordHash,
    /// What the user may do.
    pub roles: Vec<Role>,
}

impl User {
    /// Whether the user may operate.
    pub fn operates(&self) -> bool {
        self.roles.contains(&Role::Operator)
    }

    /// Whether the user is there to operate, and for nothing else: titles are not kept for such.
    pub fn only_operates(&self) -> bool {
        self.roles == [Role::Operator]
    }
}

/// Who may play the titles of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// A title path, or what all of them begin with and a `*`.
    pub path: String,
    /// Anyone may, without credentials.
    pub anyone: bool,
    /// Users with one of these roles may.
    pub roles: Vec<Role>,
    /// Users of these names may.
    pub users: Vec<String>,
}

impl AccessRule {
    /// How exactly it names a path, where it is about it: the path itself before the longest beginning.
    fn fits(&self, path: &str) -> Option<(bool, usize)> {
        match self.path.strip_suffix('*') {
            Some(begin) => path.strip_prefix(begin).filter(|rest| !rest.is_empty()).map(|_| (false, begin.len())),
            None => (path == self.path).then_some((true, path.len())),
        }
    }

    fn admits(&self, user: &User) -> bool {
        self.anyone || self.names(user)
    }

    /// Whether it is for that user, by name or by role.
    fn names(&self, user: &User) -> bool {
        user.roles.iter().any(|role| self.roles.contains(role)) || self.users.contains(&user.name)
    }
}

/// All users and rules of a server, and how they prove who they are. By default there are none, and titles play for anyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    /// Users.
    pub users: Vec<User>,
    /// Rules: of those about a path the most specific one decides.
    pub rules: Vec<AccessRule>,
    /// How Digest hashes.
    pub hashing: Hashing,
    /// Whether Basic is taken also where others can read along.
    pub basic: bool,
    /// How long who has logged in stays so.
    pub sessions: SessionTimes,
}

impl AccessList {
    fn rule(&self, path: &str) -> Option<&AccessRule> {
        let fitting = self.rules.iter().filter_map(|rule| Some((rule.fits(path)?, rule)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, rule)| rule)
    }

    /// Whether a title plays without credentials.
    pub fn is_open(&self, path: &str) -> bool {
        self.rule(path).map_or(!self.has_audience(), |rule| rule.anyone)
    }

    /// Whether every title does.
    pub fn is_open_throughout(&self) -> bool {
        !self.has_audience() && self.rules.iter().all(|rule| rule.anyone)
    }

    /// Whether there are users for whom titles are kept.
    fn has_audience(&self) -> bool {
        !self.users.iter().all(User::only_operates)
    }

    /// Whether a user operates.
    pub fn has_operators(&self) -> bool {
        self.users.iter().any(User::operates)
    }

    /// Whether a password is kept in a way that takes time and memory to check.
    pub fn is_slow(&self) -> bool {
        self.users.iter().any(|user| user.hash.is_slow())
    }

    /// Whether a user may play a title.
    pub fn may_play(&self, user: &User, path: &str) -> bool {
        match self.rule(path) {
            Some(rule) => rule.admits(user),
            None => !self.has_audience() || user.roles.contains(&Role::Viewer),
        }
    }

    /// Whether a user of titles, by a role or as a rule names it, answers no Digest: to such, and so to all, Digest is not what to ask for.
    pub fn needs_basic(&self) -> bool {
        let is_named = |user: &User| self.rules.iter().any(|rule| rule.names(user));
        self.users.iter().any(|user| user.hash.is_slow() && (!user.only_operates() || is_named(user)))
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Whether a password is that of one of the `hashes`, those of users of that name. Where a slow hash is among those of the list, it
    /// takes as long as that one, whether there are such users or not.
    pub fn is_password_of(&self, hashes: &[PasswordHash], name: &str, password: &str) -> bool {
        let is_right = hashes.iter().any(|hash| hash.is_of(name, password));
        let decoy = self.users.iter().map(|user| &user.hash).find(|hash| hash.is_slow());
        if let Some(decoy) = decoy.filter(|_| !hashes.iter().any(PasswordHash::is_slow)) {
            std::hint::black_box(decoy.is_of(name, password));
        }
        is_right
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(name: &str, roles: &[Role]) -> User {
        User { name: name.into(), hash: PasswordHash::of(Hashing::Md5, name, "s3cret"), roles: roles.to_vec() }
    }

    fn rule(path: &str, anyone: bool, roles: &[Role], users: &[&str]) -> AccessRule {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        AccessRule { path: path.into(), anyone, roles: roles.to_vec(), users }
    }

    #[test]
    fn without_users_titles_play_for_anyone_and_with_them_for_viewers() {
        let open = AccessList::default();
        assert!(open.is_open("films/a.mp4") && open.is_open_throughout());
        let list = AccessList { users: vec![user("anna", &[Role::Viewer]), user("carl", &[Role::Publisher])], ..open };
        assert!(!list.is_open("films/a.mp4") && !list.is_open_throughout());
        let may = |name| list.may_play(list.user(name).expect("known"), "films/a.mp4");
        assert!(may("anna") && !may("carl"));
        assert!(list.user("dora").is_none());
    }

    #[test]
    fn who_only_operates_keeps_no_title_from_anyone() {
        let list = AccessList { users: vec![user("olga", &[Role::Operator])], ..AccessList::default() };
        assert!(list.is_open("films/a.mp4") && list.is_open_throughout() && list.has_operators());
        let users = vec![user("olga", &[Role::Operator]), user("anna", &[Role::Viewer, Role::Operator])];
        let list = AccessList { users, ..AccessList::default() };
        assert!(!list.is_open("films/a.mp4") && !list.is_open_throughout());
        assert!(!list.may_play(&list.users[0], "films/a.mp4") && list.may_play(&list.users[1], "films/a.mp4"));
        let list = AccessList { users: vec![user("bert", &[])], ..AccessList::default() };
        assert!(!list.is_open("films/a.mp4") && !list.has_operators(), "who has no role is named by rules");
    }

    #[test]
    fn a_password_is_that_of_a_user_however_it_is_kept() {
        let slow = User { hash: PasswordHash::argon2("s3cret", b"sixteen octets..").expect("memory"), ..user("olga", &[Role::Operator]) };
        let list = AccessList { users: vec![user("anna", &[Role::Viewer]), slow], ..AccessList::default() };
        assert!(list.is_slow() && !list.needs_basic(), "who only operates shows nothing to a player");
        for user in &list.users {
            let hashes = [user.hash.clone()];
            assert!(list.is_password_of(&hashes, &user.name, "s3cret") && !list.is_password_of(&hashes, &user.name, "s3cre"));
        }
        assert!(!list.is_password_of(&[], "dora", "s3cret"));
    }

    #[test]
    fn who_operates_and_is_named_by_a_rule_shows_the_password_to_players() {
        let olga = User { hash: PasswordHash::argon2("s3cret", b"sixteen octets..").expect("memory"), ..user("olga", &[Role::Operator]) };
        let list = |rule| AccessList { users: vec![olga.clone()], rules: vec![rule], ..AccessList::default() };
        assert!(list(rule("dailies/*", false, &[], &["olga"])).needs_basic());
        assert!(list(rule("dailies/*", false, &[Role::Operator], &[])).needs_basic());
        assert!(!list(rule("dailies/*", false, &[Role::Viewer], &["anna"])).needs_basic());
        assert!(!list(rule("dailies/*", true, &[], &[])).needs_basic());
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let users = vec![user("anna", &[Role::Viewer]), user("bert", &[]), user("carl", &[Role::Publisher])];
        let rules = vec![
            rule("films/*", false, &[], &["bert"]),
            rule("films/trailers/*", true, &[], &[]),
            rule("films/trailers/late.mp4", false, &[Role::Publisher], &["anna"]),
        ];
        let list = AccessList { users, rules, ..AccessList::default() };
        let who = |path: &str| {
            let may: Vec<&str> = list.users.iter().filter(|user| list.may_play(user, path)).map(|user| user.name.as_str()).collect();
            (list.is_open(path), may.join(" "))
        };
        assert_eq!(who("films/a.mp4"), (false, "bert".into()));
        assert_eq!(who("films/trailers/a.mp4"), (true, "anna bert carl".into()));
        assert_eq!(who("films/trailers/late.mp4"), (false, "anna carl".into()));
        assert_eq!(who("films"), (false, "anna".into()), "a beginning is about what lies below it");
        assert_eq!(who("other.mp4"), (false, "anna".into()));
    }

    proptest! {
        #[test]
        fn what_is_open_every_user_may_play(paths in proptest::collection::vec("[ab]{0,3}[*]?", 0..6), anyone in any::<u8>(), path in "[ab]{1,4}") {
            let rules = paths.iter().enumerate().map(|(index, path)| rule(path, anyone >> index & 1 == 1, &[Role::Viewer], &[])).collect();
            let list = AccessList { users: vec![user("carl", &[Role::Publisher])], rules, ..AccessList::default() };
            let carl = list.user("carl").expect("known");
            prop_assert_eq!(list.is_open(&path), list.may_play(carl, &path));
        }
    }
}
