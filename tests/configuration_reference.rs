//! `docs/configuration.md` is what the code says: keys, types, defaults, variables, flags and rules are read from it and its
//! comments, and the tables between the two marks are compared with that.
//!
//! `FLOWSTEER_WRITE=1 cargo test --test configuration_reference` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use flowsteer::cli::flags;
use flowsteer::config::{key_facts, list_facts};

const BEGIN: &str = "<!-- made by tests/configuration_reference.rs: from here -->\n";
const END: &str = "<!-- to here -->\n";

/// A field of a section or of an entry: its type as the source has it, and its comment.
#[derive(Clone, Debug)]
struct Field {
    kind: String,
    words: String,
}

/// What the sources of `src/config` say.
#[derive(Debug, Default)]
struct Sources {
    /// Fields by `section.name` or `list.name`.
    fields: BTreeMap<String, Field>,
    /// The words of each enum, by its name.
    choices: BTreeMap<String, Vec<String>>,
    /// Rules by key.
    rules: BTreeMap<String, String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources() -> Sources {
    let mut sources = Sources::default();
    let folder = root().join("src/config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        read_types(code, &mut sources);
        if file.ends_with("rules.rs") {
            read_rules(code, &mut sources);
        }
    }
    sources
}

/// Structs that stand for a section or list (their comment begins with its name in brackets), and enums.
fn read_types(code: &str, sources: &mut Sources) {
    let mut words = String::new();
    let (mut section, mut choice) = (None, None);
    for line in code.lines() {
        let bare = line.trim();
        if let Some(comment) = bare.strip_prefix("/// ") {
            words += if words.is_empty() { "" } else { " " };
            words += comment;
        } else if bare.starts_with("pub struct ") {
            let name = words.strip_prefix('`').and_then(|words| words.split('`').next()).unwrap_or_default();
            section = name.starts_with('[').then(|| name.trim_matches(['[', ']']).to_owned());
            words.clear();
        } else if let Some(name) = bare.strip_prefix("pub enum ") {
            choice = name.strip_suffix(" {").map(str::to_owned);
            words.clear();
        } else if line == "}" {
            (section, choice) = (None, None);
            words.clear();
        } else if let (Some(section), Some((name, kind))) = (&section, bare.strip_prefix("pub ").and_then(|field| field.split_once(": "))) {
            let field = Field { kind: kind.trim_end_matches(',').to_owned(), words: std::mem::take(&mut words) };
            sources.fields.insert(format!("{section}.{name}"), field);
        } else if let Some(choice) = &choice
            && bare.starts_with(char::is_uppercase)
        {
            let word = bare.trim_end_matches(',').to_lowercase();
            sources.choices.entry(choice.clone()).or_default().push(word);
            words.clear();
        } else if !bare.starts_with('#') {
            words.clear();
        }
    }
}

/// The table of rules: the keys of each, and what is said where it is broken.
fn read_rules(code: &str, sources: &mut Sources) {
    let table = code.split("let table").nth(1).and_then(|rest| rest.split("        ];").next()).expect("the table of rules");
    for entry in table.split("&[\"").skip(1) {
        let (keys, rest) = entry.split_once("\"]").expect("keys end");
        let rest = rest.trim_end().trim_end_matches(['(', ')', ',', '\n', ' ']);
        let rule = match rest.strip_suffix('"') {
            Some(rest) => rest.rsplit('"').next().unwrap_or_default().to_owned(),
            None if rest.ends_with("at_least_one") => "is at least 1".to_owned(),
            None => panic!("a rule that is not understood: {entry}"),
        };
        for key in keys.split("\", \"") {
            sources.rules.insert(key.to_owned(), rule.clone());
        }
    }
}

/// A type in the words of who writes the file.
fn kind(source: &str, sources: &Sources) -> String {
    let inner = |outer: &str| source.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("Option<") {
        return kind(inner, sources);
    }
    if let Some(inner) = inner("Vec<") {
        return format!("list of {}", kind(inner, sources));
    }
    let plain = match source {
        "u8" | "u16" | "u32" | "u64" | "usize" => "number",
        "bool" => "true or false",
        "String" | "Password" | "PasswordHash" | "SecretKey" => "text",
        "PathBuf" => "path",
        "SocketAddr" => "address:port",
        "Ipv6Addr" => "IPv6 address",
        "IpNet" => "prefix",
        "Ipv6Net" => "IPv6 prefix",
        // Read by readers of their own, not by the names of variants.
        "JoinDefault" => "`primed`, `aligned`, `at-once`",
        "Consent" => "`anyone-with-key`, `ask-holder`, `ask-taker`, `pin`, `never`, `webhook`",
        "PrimeRate" => "`auto` or a number",
        "Role" => "`viewer`, `publisher`",
        "Hashing" => "`md5`, `sha-256`",
        _ => "",
    };
    if !plain.is_empty() {
        return plain.to_owned();
    }
    let words = sources.choices.get(source).unwrap_or_else(|| panic!("say in this test how {source} is written"));
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The tables.
fn tables() -> String {
    let sources = sources();
    let flags: BTreeMap<_, _> = flags().into_iter().collect();
    let mut text = String::new();
    let mut current = String::new();
    for facts in key_facts() {
        let (section, name) = facts.key.split_once('.').expect("a section and a name");
        if section != current {
            let _ = write!(text, "\n### `[{section}]`\n\n| key | type | default | | set by | reload |\n|---|---|---|---|---|---|\n");
            section.clone_into(&mut current);
        }
        let field = sources.fields.get(&facts.key).unwrap_or_else(|| panic!("{} is no field with a comment", facts.key));
        assert!(!field.words.is_empty(), "{} has no comment", facts.key);
        let default = facts.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        let rule = sources.rules.get(&facts.key).map(|rule| format!(" *{rule}*")).unwrap_or_default();
        let flag = flags.get(facts.key.as_str()).map(|flag| format!("`{flag}`, ")).unwrap_or_default();
        let reload = if facts.is_live { "yes" } else { "restart" };
        let words = field.words.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{name}` | {} | {default} | {words}{rule} | {flag}`{}` | {reload} |",
            kind(&field.kind, &sources),
            facts.variable
        );
    }
    for list in list_facts() {
        let reload = if list.is_live { "A reload takes its entries over." } else { "Its entries need a restart." };
        let _ = write!(text, "\n### `[[{}]]`\n\n{reload}\n\n| field | type | |\n|---|---|---|\n", list.name);
        for name in list.fields {
            let key = format!("{}.{name}", list.name);
            let (kind, words) = match (sources.fields.get(&key), key.as_str()) {
                (Some(field), _) => (kind(&field.kind, &sources), field.words.clone()),
                (None, "mobility.keys.key_file") => {
                    ("path".into(), "In place of `key`: the file that it stands in, relative to this one.".into())
                }
                (None, key) => panic!("{key} is no field with a comment"),
            };
            let _ = writeln!(text, "| `{name}` | {kind} | {words} |");
        }
    }
    text + "\n"
}

#[test]
fn the_reference_is_what_the_code_says() {
    let file = root().join("docs/configuration.md");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (written, after) = rest.split_once(END).expect("the second mark");
    let made = tables();
    if std::env::var_os("FLOWSTEER_WRITE").is_some() {
        return std::fs::write(&file, format!("{before}{BEGIN}{made}{END}{after}")).expect("written");
    }
    assert!(written == made, "docs/configuration.md is old: FLOWSTEER_WRITE=1 writes it anew\n{made}");
}

#[test]
fn the_contract_names_each_key_and_what_is_taken_over() {
    let contract = std::fs::read_to_string(root().join("docs/contract.md")).expect("text");
    let (_, taken) = contract.split_once("\nSIGHUP, and a change of the file, take over").expect("the paragraph");
    let taken = taken.split("\n\n").next().unwrap_or_default();
    for facts in key_facts() {
        let named = format!("`{}`", facts.key);
        assert!(contract.contains(&named), "{named} is not there");
        // All but some of `mobility`.
        assert!(!facts.is_live || facts.key.starts_with("mobility.") || taken.contains(&named), "{named} is taken over");
    }
    for list in list_facts() {
        let row = contract.lines().find(|line| line.starts_with(&format!("| `[[{}]]`", list.name)));
        let row = row.unwrap_or_else(|| panic!("{} is not there", list.name));
        for field in list.fields {
            assert!(row.contains(&format!("`{field}`")), "{} has {field}", list.name);
        }
        assert!(!list.is_live || taken.contains(&format!("`[[{}]]`", list.name)), "{} is taken over", list.name);
    }
}

#[test]
fn each_rule_and_flag_is_of_a_key_that_there_is() {
    let keys: Vec<String> = key_facts().into_iter().map(|facts| facts.key).collect();
    let sources = sources();
    assert!(sources.rules.len() > 20, "{:?}", sources.rules);
    for key in sources.rules.keys().map(String::as_str).chain(flags().into_iter().map(|(key, _)| key)) {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    for facts in key_facts() {
        assert_eq!(facts.variable, format!("FLOWSTEER_{}", facts.key.to_uppercase().replace('.', "_")));
    }
}
