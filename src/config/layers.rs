//! Puts the sources together, key by key: each value is tried alone, so that one that is wrong hides no other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::entries::ENTRIES;
use crate::config::error::{ConfigError, ConfigErrors, Fault, Origin, Warning, nearest};
use crate::config::{AccessConfig, CameraConfig, Config, DeviceConfig, HomeConfig, ProvisionedKey, PublishConfig, UserConfig};

/// The prefix of environment variables.
pub const ENVIRONMENT: &str = "FLOWSTEER_";

/// Keys that have no default, or are not shown.
const WITHOUT_DEFAULT: [&str; 12] = [
    "http.operators",
    "steering.consent_ca",
    "steering.consent_webhook",
    "steering.home_prefix",
    "steering.media_source",
    "state.dir",
    "http.tokens",
    "http.tls_listen",
    "mdns.name",
    "rtsp.tls_listen",
    "tls.certificate",
    "tls.key",
];

/// Keys whose values are repeated nowhere.
pub(in crate::config) const SECRET: [&str; 1] = ["http.tokens"];

/// Characters of a token that nobody finds by trying, where it was drawn.
const LONG_ENOUGH: usize = 16;

/// A value that a flag gives to a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key.
    pub key: &'static str,
    /// How the flag is written.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// Where a configuration is from, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Layers<'a> {
    /// The file's name and its text.
    pub file: Option<(&'a str, &'a str)>,
    /// Environment variables, also those that are not ours.
    pub environment: Vec<(String, String)>,
    /// Flags.
    pub flags: Vec<Flag>,
}

/// A configuration, and where its values are from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where each key's value is from, by key; entries of lists as `home[0]`. What is not here is a default.
    pub(super) origins: BTreeMap<String, Origin>,
    /// What is odd.
    pub warnings: Vec<Warning>,
}

impl Loaded {
    /// Where a key's value is from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}

impl Layers<'_> {
    /// Puts the layers together and checks the result. `read_file` reads a file that the configuration names, relative to
    /// the configuration's own place.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(self, read_file: &dyn Fn(&Path) -> Result<String, String>) -> Result<Loaded, ConfigErrors> {
        let mut gathered = Gathered {
            known: keys(),
            table: toml::Table::new(),
            origins: BTreeMap::new(),
            errors: Vec::new(),
            read_file,
            homes: Vec::new(),
            devices: Vec::new(),
            publish: Vec::new(),
            cameras: Vec::new(),
            users: Vec::new(),
            access: Vec::new(),
            keys: Vec::new(),
            seen_spis: Vec::new(),
            seen_nais: Vec::new(),
        };
        let mut warnings = Vec::new();
        if let Some((name, text)) = self.file {
            File { name, text }.read(&mut gathered);
        }
        let mut environment: Vec<_> = self.environment.into_iter().filter(|(name, _)| name.starts_with(ENVIRONMENT)).collect();
        environment.sort();
        for (name, value) in environment {
            match gathered.known.keys().find(|key| variable(key) == name).cloned() {
                Some(key) => gathered.set_text(&key, &value, Origin::Environment(name)),
                None => {
                    let known: Vec<String> = gathered.known.keys().map(|key| variable(key)).collect();
                    let nearest = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
                    warnings.push(Warning::UnknownVariable { name, nearest });
                }
            }
        }
        for Flag { key, name, value } in self.flags {
            gathered.set_text(key, &value, Origin::Flag(name));
        }
        gathered.finish(warnings)
    }
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{ENVIRONMENT}{}", key.to_uppercase().replace('.', "_"))
}

/// All keys with their default values.
pub fn keys() -> BTreeMap<String, Option<toml::Value>> {
    let mut known = BTreeMap::new();
    for (section, values) in toml::Table::try_from(Config::default()).unwrap_or_default() {
        if let toml::Value::Table(values) = values {
            known.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), Some(value))));
        }
    }
    for key in WITHOUT_DEFAULT {
        known.entry(key.to_owned()).or_insert(None);
    }
    known
}

/// What the layers have given so far.
pub(super) struct Gathered<'a> {
    known: BTreeMap<String, Option<toml::Value>>,
    /// Values that fit, in their sections.
    table: toml::Table,
    pub origins: BTreeMap<String, Origin>,
    errors: Vec<ConfigError>,
    /// How a file that the configuration names is read.
    pub read_file: &'a dyn Fn(&Path) -> Result<String, String>,
    pub homes: Vec<HomeConfig>,
    pub devices: Vec<DeviceConfig>,
    pub publish: Vec<PublishConfig>,
    pub cameras: Vec<CameraConfig>,
    pub users: Vec<UserConfig>,
    pub access: Vec<AccessConfig>,
    pub keys: Vec<ProvisionedKey>,
    pub seen_spis: Vec<u32>,
    pub seen_nais: Vec<String>,
}

impl Gathered<'_> {
    pub fn fail(&mut self, origin: Origin, key: impl Into<String>, fault: Fault) {
        self.errors.push(ConfigError { origin, key: Some(key.into()), fault });
    }

    /// Takes a value in if it fits its key.
    fn set(&mut self, key: &str, value: toml::Value, origin: Origin) {
        match try_alone(key, &value) {
            Ok(()) => self.take(key, value, origin),
            Err(fault) => self.fail(origin, key, fault),
        }
    }

    fn take(&mut self, key: &str, value: toml::Value, origin: Origin) {
        let Some((section, name)) = key.split_once('.') else { return };
        if let toml::Value::Table(section) = self.table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
            section.insert(name.to_owned(), value);
        }
        self.origins.insert(key.to_owned(), origin);
    }

    /// Takes in a value that came as text: what it looks like, else the text itself; a list has commas.
    fn set_text(&mut self, key: &str, text: &str, origin: Origin) {
        let text = text.trim();
        let is_list = SECRET.contains(&key) || matches!(self.known.get(key), Some(Some(toml::Value::Array(_))));
        if is_list {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let list = toml::Value::Array(parts.map(|part| toml::Value::String(part.to_owned())).collect());
            return self.set(key, list, origin);
        }
        let integer = || text.parse().ok().map(toml::Value::Integer);
        let float = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(toml::Value::Float);
        let flag = || text.parse().ok().map(toml::Value::Boolean);
        let candidates = [flag(), integer(), float(), Some(toml::Value::String(text.to_owned()))];
        let mut first = None;
        for value in candidates.into_iter().flatten() {
            match try_alone(key, &value) {
                Ok(()) => return self.take(key, value, origin),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        if let Some(fault) = first {
            self.fail(origin, key, fault);
        }
    }

    fn finish(mut self, mut warnings: Vec<Warning>) -> Result<Loaded, ConfigErrors> {
        let mut config: Config = match self.table.try_into() {
            Ok(config) => config,
            Err(error) => {
                // Each value fits alone: not met, and not hidden if it is.
                let fault = Fault::Value(toml::de::Error::message(&error).to_owned());
                self.errors.push(ConfigError { origin: Origin::Default, key: None, fault });
                return Err(ConfigErrors(self.errors));
            }
        };
        config.home = self.homes;
        config.device = self.devices;
        config.publish = self.publish;
        config.camera = self.cameras;
        config.users = self.users;
        config.access = self.access;
        config.mobility.keys = self.keys;
        let is_wrong: Vec<String> = self.errors.iter().filter_map(|error| error.key.clone()).collect();
        for broken in config.broken_rules() {
            if broken.keys.iter().any(|key| is_wrong.contains(key)) {
                continue;
            }
            // The one that was set is to blame.
            let key = broken.keys.iter().find(|key| self.origins.contains_key(*key)).or_else(|| broken.keys.first());
            // What an entry lacks is told where the entry is.
            let entry = |key: &str| self.origins.get(&key[..=key.find(']')?]);
            let origin = key.and_then(|key| self.origins.get(key).or_else(|| entry(key))).cloned().unwrap_or(Origin::Default);
            self.errors.push(ConfigError { origin, key: Some(broken.shown), fault: Fault::Rule(broken.rule) });
        }
        if !self.errors.is_empty() {
            self.errors.sort_by(|a, b| a.origin.cmp(&b.origin));
            return Err(ConfigErrors(self.errors));
        }
        if config.http.tokens.iter().any(|token| token.len() < LONG_ENOUGH) {
            let origin = self.origins.get("http.tokens").cloned().unwrap_or(Origin::Default);
            warnings.push(Warning::ShortToken(origin));
        }
        Ok(Loaded { config, origins: self.origins, warnings })
    }
}

/// Whether a key takes a value, all others being defaults.
fn try_alone(key: &str, value: &toml::Value) -> Result<(), Fault> {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let section_table = toml::Table::from_iter([(name.to_owned(), value.clone())]);
    let table = toml::Table::from_iter([(section.to_owned(), toml::Value::Table(section_table))]);
    match table.try_into::<Config>() {
        Ok(_) => Ok(()),
        // A secret would be part of the reason.
        Err(_) if SECRET.contains(&key) => Err(Fault::Value("is a list of texts".into())),
        Err(error) => Err(Fault::Value(error.message().to_owned())),
    }
}

/// The file, read with the place of each key.
pub(super) struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        before.iter().filter(|octet| **octet == b'\n').count() + 1
    }

    pub fn place(&self, span: &Range<usize>) -> Origin {
        Origin::File { name: self.name.to_owned(), line: self.line(span) }
    }

    fn read(&self, gathered: &mut Gathered<'_>) {
        let (table, faults) = DeTable::parse_recoverable(self.text);
        // What stands in a line that is no TOML is a guess of the parser's.
        let lines: Vec<usize> = faults.iter().filter_map(|fault| Some(self.line(&fault.span()?))).collect();
        for fault in &faults {
            let origin = self.place(&fault.span().unwrap_or_default());
            gathered.errors.push(ConfigError { origin, key: None, fault: Fault::Syntax(fault.message().replace('\n', ", ")) });
        }
        for (name, value) in table.get_ref() {
            if !lines.contains(&self.line(&name.span())) || value.get_ref().is_table() {
                self.read_section(name.get_ref(), &name.span(), value, &lines, gathered);
            }
        }
    }

    fn read_section(
        &self,
        section: &str,
        span: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
        skipped: &[usize],
        gathered: &mut Gathered<'_>,
    ) {
        if let Some(entries) = ENTRIES.iter().find(|entries| entries.name == section) {
            return self.read_entries(entries, span, value, skipped, gathered);
        }
        let sections: Vec<String> =
            gathered.known.keys().filter_map(|key| key.split_once('.')).map(|(section, _)| section.to_owned()).collect();
        if !sections.iter().any(|known| known == section) {
            let known: Vec<String> = gathered.known.keys().cloned().collect();
            let known: Vec<&str> = if value.get_ref().is_table() {
                sections.iter().map(String::as_str).chain(ENTRIES.iter().map(|entries| entries.name)).collect()
            } else {
                known.iter().map(String::as_str).collect()
            };
            let nearest = nearest(section, known).map(str::to_owned);
            return gathered.fail(self.place(span), section, Fault::Unknown { nearest });
        }
        let DeValue::Table(values) = value.get_ref() else {
            return gathered.fail(self.place(span), section, Fault::Section(section.to_owned()));
        };
        for (name, value) in values {
            let (key, span) = (format!("{section}.{}", name.get_ref()), name.span());
            if skipped.contains(&self.line(&span)) {
                continue;
            }
            if let Some(entries) = ENTRIES.iter().find(|entries| entries.name == key) {
                self.read_entries(entries, &span, value, skipped, gathered);
            } else if gathered.known.contains_key(&key) {
                match plain(value.get_ref()) {
                    Some(value) => gathered.set(&key, value, self.place(&span)),
                    None => gathered.fail(self.place(&span), key, Fault::Value("the number is too large".into())),
                }
            } else {
                let known = gathered.known.keys().map(String::as_str).chain(ENTRIES.iter().map(|entries| entries.name));
                let nearest = nearest(&key, known).map(str::to_owned);
                gathered.fail(self.place(&span), key, Fault::Unknown { nearest });
            }
        }
    }
}

/// A value without its places; `None` where a number does not fit.
fn plain(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => toml::Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => toml::Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(list) => toml::Value::Array(list.iter().map(|value| plain(value.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(table) => {
            let values = table.iter().map(|(name, value)| Some((name.get_ref().to_string(), plain(value.get_ref())?)));
            toml::Value::Table(values.collect::<Option<_>>()?)
        }
    })
}
