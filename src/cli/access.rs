//! What the configuration says of users, as the rooms take it.

use std::time::Duration;

use crate::access::{AccessList, AccessRule, PasswordHash, Role, SessionTimes, User};
use crate::config::{Config, OperatorsFrom, PublishConfig, UserConfig};
use crate::http::authority::Operators;
use crate::rtsp::publishers::{PublishRule, PublishRules};

/// Users and rules. A password is hashed here, and goes no further.
pub fn access_list(config: &Config) -> AccessList {
    let rule = |rule: &crate::config::AccessConfig| AccessRule {
        path: rule.path.clone(),
        anyone: rule.anyone,
        roles: rule.roles.clone(),
        users: rule.users.clone(),
    };
    AccessList {
        users: config.users.iter().filter_map(|user| user_of(config, user)).collect(),
        rules: config.access.iter().map(rule).collect(),
        hashing: config.rtsp.digest,
        basic: config.rtsp.basic,
        sessions: SessionTimes {
            idle: Duration::from_secs(config.http.session_s),
            longest: Duration::from_secs(config.http.session_max_s),
        },
    }
}

fn user_of(config: &Config, user: &UserConfig) -> Option<User> {
    let hashed = || Some(PasswordHash::of(config.rtsp.digest, &user.name, user.password.as_ref()?.expose()));
    let hash = user.password_hash.clone().or_else(hashed)?;
    Some(User { name: user.name.clone(), hash, roles: user.roles.clone() })
}

/// Who operates, but for those who log in.
pub fn operators(config: &Config) -> Operators {
    let http = &config.http;
    let only_here = http.operators == Some(OperatorsFrom::Loopback);
    Operators { tokens: http.tokens.clone(), hosts: http.hosts.clone(), only_here }
}

/// Who may publish where: where an entry names several users, there is a rule for each.
pub fn publish_rules(config: &Config) -> PublishRules {
    PublishRules::new(config.publish.iter().flat_map(|publish| rules_of(config, publish)).collect())
}

fn rules_of(config: &Config, publish: &PublishConfig) -> Vec<PublishRule> {
    let rule = |credentials| PublishRule { path: publish.path.clone(), credentials };
    if publish.users.is_empty() && publish.roles.is_empty() {
        let hash = |name: &String| Some(PasswordHash::of(config.rtsp.digest, name, publish.password.as_ref()?.expose()));
        return vec![rule(publish.username.as_ref().and_then(|name| Some((name.clone(), hash(name)?))))];
    }
    let is_named = |user: &&UserConfig| {
        let by_role = user.roles.iter().any(|role| publish.roles.contains(role));
        user.roles.contains(&Role::Publisher) && (by_role || publish.users.contains(&user.name))
    };
    let users = config.users.iter().filter(is_named).filter_map(|user| user_of(config, user));
    users.map(|user| rule(Some((user.name, user.hash)))).collect()
}

/// Who may play and who may operate, in words.
pub fn access_told(config: &Config) -> [String; 2] {
    let list = access_list(config);
    let audience = list.users.iter().filter(|user| !user.only_operates()).count();
    let play = match (audience, list.is_open_throughout()) {
        (_, true) => "anyone".to_owned(),
        (0, false) => "as [[access]] says".to_owned(),
        (1, false) => "1 user, as roles and [[access]] say".to_owned(),
        (users, false) => format!("{users} users, as roles and [[access]] say"),
    };
    let token = match config.http.tokens.len() {
        0 => None,
        1 => Some("who has the token".to_owned()),
        tokens => Some(format!("who has one of {tokens} tokens")),
    };
    let login = match list.users.iter().filter(|user| user.operates()).count() {
        0 => None,
        1 => Some("1 user who logs in".to_owned()),
        users => Some(format!("{users} users who log in")),
    };
    let operate = match [token, login].into_iter().flatten().collect::<Vec<_>>() {
        none if none.is_empty() => "who asks from this machine".to_owned(),
        some if operators(config).only_here => format!("{}, from this machine", some.join(", or ")),
        some => some.join(", or "),
    };
    [format!("play  {play}"), format!("operate  {operate}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Hashing;
    use crate::config::{HttpConfig, Password};

    #[test]
    fn the_banner_says_who_may_play_and_who_may_operate() {
        let user = |name: &str, roles: &[Role]| UserConfig {
            name: name.into(),
            password: Some(Password::new("s3cret")),
            password_hash: None,
            roles: roles.to_vec(),
        };
        let (viewer, operator) = (user("anna", &[Role::Viewer]), user("olga", &[Role::Operator]));
        let here = Some(OperatorsFrom::Loopback);
        for (users, tokens, operators, play, operate) in [
            (vec![], 0, None, "anyone", "who asks from this machine"),
            (vec![], 0, here, "anyone", "who asks from this machine"),
            (vec![], 1, None, "anyone", "who has the token"),
            (vec![operator.clone()], 0, None, "anyone", "1 user who logs in"),
            (
                vec![viewer, operator.clone()],
                2,
                here,
                "1 user, as roles and [[access]] say",
                "who has one of 2 tokens, or 1 user who logs in, from this machine",
            ),
        ] {
            let http = HttpConfig { tokens: vec!["token".into(); tokens], operators, ..HttpConfig::default() };
            let config = Config { users, http, ..Config::default() };
            assert_eq!(access_told(&config), [format!("play  {play}"), format!("operate  {operate}")]);
        }
    }

    #[test]
    fn an_entry_with_users_is_a_rule_for_each_of_them() {
        let user = |name: &str, roles: &[Role]| UserConfig {
            name: name.into(),
            password: Some(Password::new("s3cret")),
            password_hash: None,
            roles: roles.to_vec(),
        };
        let users = vec![user("anna", &[Role::Publisher]), user("bert", &[Role::Viewer]), user("carl", &[Role::Publisher])];
        let mut config = Config { users, ..Config::default() };
        let entry = |users: &[&str], roles: &[Role]| PublishConfig {
            path: "studio/*".into(),
            username: None,
            password: None,
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            roles: roles.to_vec(),
        };
        let rule = |name: &str| PublishRule {
            path: "studio/*".into(),
            credentials: Some((name.into(), PasswordHash::of(Hashing::Md5, name, "s3cret"))),
        };
        for (users, roles, expected) in [
            (vec!["carl"], vec![], vec![rule("carl")]),
            (vec![], vec![Role::Publisher], vec![rule("anna"), rule("carl")]),
            (vec![], vec![], vec![PublishRule { path: "studio/*".into(), credentials: None }]),
        ] {
            config.publish = vec![entry(&users, &roles)];
            assert!(publish_rules(&config) == PublishRules::new(expected));
        }
    }
}
