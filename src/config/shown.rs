//! The configuration in force, as a file would have it, with where each value is from. Secrets are not shown.

use std::fmt::Write as _;

use crate::access::Role;
use crate::config::layers::{Loaded, SECRET, keys};

impl Loaded {
    /// TOML with each key's origin behind it.
    pub fn shown(&self) -> String {
        let values = toml::Table::try_from(&self.config).unwrap_or_default();
        let mut text = String::new();
        let mut current = String::new();
        for key in keys().into_keys() {
            let Some((section, name)) = key.split_once('.') else { continue };
            if section != current {
                let _ = writeln!(text, "{}[{section}]", if current.is_empty() { "" } else { "\n" });
                section.clone_into(&mut current);
            }
            let origin = self.origin(&key);
            let _ = match values.get(section).and_then(|section| section.get(name)) {
                Some(value) => writeln!(text, "{name} = {value}  # {origin}"),
                None if SECRET.contains(&key.as_str()) => writeln!(text, "# {name}: {}  # {origin}", self.secret(&key)),
                None => writeln!(text, "# {name} is not set"),
            };
        }
        for (index, home) in self.config.home.iter().enumerate() {
            let _ = writeln!(text, "\n[[home]]  # {}", self.origin(&format!("home[{index}]")));
            let _ = writeln!(text, "name = {}", toml::Value::from(home.name.as_str()));
            if let Some(title) = &home.title {
                let _ = writeln!(text, "title = {}", toml::Value::from(title.as_str()));
            }
            if let Some(consent) = home.consent {
                let _ = writeln!(text, "consent = \"{}\"", consent.as_str());
            }
            if home.pin.is_some() {
                let _ = writeln!(text, "# its pin is not shown");
            }
            if let Some(webhook) = &home.webhook {
                let _ = writeln!(text, "webhook = {}", toml::Value::from(webhook.as_str()));
            }
        }
        for (index, device) in self.config.device.iter().enumerate() {
            let _ = writeln!(text, "\n[[device]]  # {}", self.origin(&format!("device[{index}]")));
            let _ = writeln!(text, "name = {}\ncare_of = \"{}\"", toml::Value::from(device.name.as_str()), device.care_of);
        }
        for (index, publish) in self.config.publish.iter().enumerate() {
            let _ = writeln!(text, "\n[[publish]]  # {}", self.origin(&format!("publish[{index}]")));
            let _ = writeln!(text, "path = {}", toml::Value::from(publish.path.as_str()));
            if let Some(username) = &publish.username {
                let _ = writeln!(text, "username = {}", toml::Value::from(username.as_str()));
                let _ = writeln!(text, "# its password is not shown");
            }
            if !publish.users.is_empty() {
                let _ = writeln!(text, "users = {}", toml::Value::from(publish.users.clone()));
            }
            if !publish.roles.is_empty() {
                let _ = writeln!(text, "roles = {}", roles(&publish.roles));
            }
        }
        for (index, user) in self.config.users.iter().enumerate() {
            let _ = writeln!(text, "\n# [[users]]  # {}", self.origin(&format!("users[{index}]")));
            let _ = writeln!(text, "# name = {}", toml::Value::from(user.name.as_str()));
            let _ = writeln!(text, "# roles = {}", roles(&user.roles));
            let _ = writeln!(text, "# the password is not shown");
        }
        for (index, access) in self.config.access.iter().enumerate() {
            let _ = writeln!(text, "\n[[access]]  # {}", self.origin(&format!("access[{index}]")));
            let _ = writeln!(text, "path = {}", toml::Value::from(access.path.as_str()));
            if access.anyone {
                let _ = writeln!(text, "anyone = true");
            }
            if !access.roles.is_empty() {
                let _ = writeln!(text, "roles = {}", roles(&access.roles));
            }
            if !access.users.is_empty() {
                let _ = writeln!(text, "users = {}", toml::Value::from(access.users.clone()));
            }
        }
        for (index, camera) in self.config.camera.iter().enumerate() {
            let _ = writeln!(text, "\n[[camera]]  # {}", self.origin(&format!("camera[{index}]")));
            let _ = writeln!(text, "name = {}", toml::Value::from(camera.name.as_str()));
            let _ = writeln!(text, "url = {}", toml::Value::from(camera.url.as_str()));
            if let Some(username) = &camera.username {
                let _ = writeln!(text, "username = {}", toml::Value::from(username.as_str()));
            }
            if camera.password.is_some() {
                let _ = writeln!(text, "# its password is not shown");
            }
            let _ = writeln!(text, "transport = \"{}\"\nalways = {}", camera.transport.as_str(), camera.always);
        }
        for (index, provisioned) in self.config.mobility.keys.iter().enumerate() {
            let _ = writeln!(text, "\n# [[mobility.keys]]  # {}", self.origin(&format!("mobility.keys[{index}]")));
            let _ = writeln!(text, "# spi = \"{:#x}\"", provisioned.spi);
            let _ = writeln!(text, "# nai = {}", toml::Value::from(provisioned.nai.as_str()));
            let _ = writeln!(text, "# its key is not shown");
        }
        text
    }

    /// How many there are, not which.
    fn secret(&self, key: &str) -> String {
        match key {
            "http.tokens" => format!("{}, not shown", self.config.http.tokens.len()),
            _ => "not shown".to_owned(),
        }
    }
}

fn roles(roles: &[Role]) -> toml::Value {
    toml::Value::Array(roles.iter().map(|role| toml::Value::from(role.as_str())).collect())
}
