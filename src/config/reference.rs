//! What can be said of each key without reading its words: its default, its variable, and whether a running server takes it over.

use crate::config::changes::LIVE;
use crate::config::entries::ENTRIES;
use crate::config::layers::{keys, variable};

/// A key of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyFacts {
    /// `section.name`
    pub key: String,
    /// Its default, as TOML; `None` where it has none, or that is a secret.
    pub default: Option<String>,
    /// Its environment variable.
    pub variable: String,
    /// Whether a running server takes another value over; else that needs a restart.
    pub is_live: bool,
}

/// A list of entries, `[[name]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFacts {
    /// Its name.
    pub name: &'static str,
    /// The fields of an entry.
    pub fields: &'static [&'static str],
    /// Whether a running server takes other entries over.
    pub is_live: bool,
}

/// All keys that have one value, in the order of their names.
pub fn key_facts() -> Vec<KeyFacts> {
    let facts = |(key, default): (String, Option<toml::Value>)| KeyFacts {
        default: default.map(|default| default.to_string()),
        variable: variable(&key),
        is_live: LIVE.contains(&key.as_str()),
        key,
    };
    keys().into_iter().map(facts).collect()
}

/// All lists.
pub fn list_facts() -> Vec<ListFacts> {
    ENTRIES.iter().map(|list| ListFacts { name: list.name, fields: list.fields, is_live: LIVE.contains(&list.name) }).collect()
}
