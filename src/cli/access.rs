//! What the configuration says of users, as the rooms take it.

use crate::access::{AccessList, AccessRule, PasswordHash, Role, User};
use crate::config::{Config, PublishConfig, UserConfig};
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
    }
}

fn user_of(config: &Config, user: &UserConfig) -> Option<User> {
    let hashed = || Some(PasswordHash::of(config.rtsp.digest, &user.name, user.password.as_ref()?.expose()));
    let hash = user.password_hash.clone().or_else(hashed)?;
    Some(User { name: user.name.clone(), hash, roles: user.roles.clone() })
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
    let play = match (list.users.len(), list.is_open_throughout()) {
        (_, true) => "anyone".to_owned(),
        (0, false) => "as [[access]] says".to_owned(),
        (1, false) => "1 user, as roles and [[access]] say".to_owned(),
        (users, false) => format!("{users} users, as roles and [[access]] say"),
    };
    let operate = match config.http.tokens.len() {
        0 => "who asks from this machine".to_owned(),
        1 => "who has the token".to_owned(),
        tokens => format!("who has one of {tokens} tokens"),
    };
    [format!("play  {play}"), format!("operate  {operate}")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Hashing;
    use crate::config::Password;

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
