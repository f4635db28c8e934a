//! Lists of entries: `[[users]]`, `[[access]]`, `[[home]]`, `[[camera]]`, `[[device]]`, `[[publish]]` and `[[mobility.keys]]`, read field by
//! field with the place of each.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::access::{PasswordHash, Role};
use crate::config::error::{Fault, Origin, nearest};
use crate::config::layers::{File, Gathered};
use crate::config::{
    AccessConfig, CameraConfig, CameraTransport, Consent, DeviceConfig, HomeConfig, Password, ProvisionedKey, PublishConfig, SecretKey,
    UserConfig,
};

/// A list of entries, each of which has these fields.
pub(super) struct Entries {
    /// `[[name]]`
    pub name: &'static str,
    pub fields: &'static [&'static str],
    read: fn(&Entry<'_>, &mut Gathered<'_>),
}

pub(super) const ENTRIES: [Entries; 7] = [
    Entries { name: "camera", fields: &["name", "url", "username", "password", "transport", "always"], read: read_camera },
    Entries { name: "device", fields: &["name", "care_of"], read: read_device },
    Entries { name: "home", fields: &["name", "title", "consent", "pin", "webhook"], read: read_home },
    Entries { name: "publish", fields: &["path", "username", "password", "users", "roles"], read: read_publish },
    Entries { name: "users", fields: &["name", "password", "password_hash", "roles"], read: read_user },
    Entries { name: "access", fields: &["path", "anyone", "roles", "users"], read: read_access },
    Entries { name: "mobility.keys", fields: &["spi", "nai", "key", "key_file"], read: read_key },
];

/// One entry: where it begins, and its fields.
struct Entry<'a> {
    list: &'static str,
    place: Origin,
    fields: Vec<(&'a str, Origin, &'a DeValue<'a>)>,
}

impl<'a> Entry<'a> {
    fn field(&self, name: &str) -> Option<(&Origin, &'a DeValue<'a>)> {
        self.fields.iter().find(|(field, ..)| *field == name).map(|(_, place, value)| (place, *value))
    }

    /// Where a field is, or the entry.
    fn at(&self, name: &str) -> &Origin {
        self.field(name).map_or(&self.place, |(place, _)| place)
    }

    fn fail(&self, place: &Origin, field: &str, fault: Fault, gathered: &mut Gathered<'_>) {
        gathered.fail(place.clone(), format!("{}.{field}", self.list), fault);
    }

    /// A field that is a text, where it is there and is one.
    fn text(&self, name: &str, gathered: &mut Gathered<'_>) -> Option<&'a str> {
        let (place, value) = self.field(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.fail(place, name, Fault::Value("is a text".into()), gathered);
        }
        text
    }

    /// A field that is a list of texts, empty where it is not there; `None` where it is something else.
    fn texts(&self, name: &str, gathered: &mut Gathered<'_>) -> Option<Vec<&'a str>> {
        let Some((place, value)) = self.field(name) else { return Some(Vec::new()) };
        let texts = value.as_array().and_then(|list| list.iter().map(|value| value.get_ref().as_str()).collect());
        if texts.is_none() {
            self.fail(place, name, Fault::Value("is a list of texts".into()), gathered);
        }
        texts
    }

    /// A field that is true or false, false where it is not there; `None` where it is something else.
    fn flag(&self, name: &str, gathered: &mut Gathered<'_>) -> Option<bool> {
        let Some((place, value)) = self.field(name) else { return Some(false) };
        let flag = value.as_bool();
        if flag.is_none() {
            self.fail(place, name, Fault::Value("is true or false".into()), gathered);
        }
        flag
    }

    /// The roles of an entry.
    fn roles(&self, gathered: &mut Gathered<'_>) -> Option<Vec<Role>> {
        let roles: Option<Vec<Role>> = self.texts("roles", gathered)?.into_iter().map(Role::parse).collect();
        if roles.is_none() {
            self.fail(self.at("roles"), "roles", Fault::Rule("a role is viewer, publisher or operator"), gathered);
        }
        roles
    }

    /// A field without which there is no entry.
    fn needed(&self, name: &str, gathered: &mut Gathered<'_>) {
        if self.field(name).is_none() {
            self.fail(&self.place, name, Fault::Missing, gathered);
        }
    }

    /// Notes where the entry of that index and its fields are from.
    fn note(&self, index: usize, gathered: &mut Gathered<'_>) {
        gathered.origins.insert(format!("{}[{index}]", self.list), self.place.clone());
        let fields = self.fields.iter().map(|(field, place, _)| (format!("{}[{index}].{field}", self.list), place.clone()));
        gathered.origins.extend(fields);
    }
}

impl File<'_> {
    pub(super) fn read_entries(
        &self,
        entries: &Entries,
        span: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
        skipped: &[usize],
        gathered: &mut Gathered<'_>,
    ) {
        let Some(list) = value.get_ref().as_array() else {
            return gathered.fail(self.place(span), entries.name, Fault::Entries(entries.name));
        };
        for entry in list.iter() {
            match entry.get_ref().as_table() {
                Some(values) => self.read_entry(entries, &entry.span(), values, skipped, gathered),
                None => gathered.fail(self.place(&entry.span()), entries.name, Fault::Entries(entries.name)),
            }
        }
    }

    fn read_entry(&self, entries: &Entries, span: &Range<usize>, values: &DeTable<'_>, skipped: &[usize], gathered: &mut Gathered<'_>) {
        let mut entry = Entry { list: entries.name, place: self.place(span), fields: Vec::new() };
        for (name, value) in values {
            if skipped.contains(&self.line(&name.span())) {
                // Told already; the entry is not whole.
                return;
            }
            let place = self.place(&name.span());
            if entries.fields.contains(&name.get_ref().as_ref()) {
                entry.fields.push((name.get_ref(), place, value.get_ref()));
            } else {
                let nearest = nearest(name.get_ref(), entries.fields.iter().copied()).map(|field| format!("{}.{field}", entries.name));
                gathered.fail(place, format!("{}.{}", entries.name, name.get_ref()), Fault::Unknown { nearest });
            }
        }
        (entries.read)(&entry, gathered);
    }
}

fn read_home(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    entry.needed("name", gathered);
    let (name, title) = (entry.text("name", gathered), entry.text("title", gathered));
    let (pin, webhook) = (entry.text("pin", gathered), entry.text("webhook", gathered));
    let consent = entry.text("consent", gathered).and_then(|text| {
        let consent = Consent::of(text);
        if consent.is_none() {
            entry.fail(entry.at("consent"), "consent", Fault::Value(Consent::HELP.into()), gathered);
        }
        consent
    });
    let Some(name) = name else { return };
    entry.note(gathered.homes.len(), gathered);
    gathered.homes.push(HomeConfig {
        name: name.to_owned(),
        title: title.map(str::to_owned),
        consent,
        pin: pin.map(Password::new),
        webhook: webhook.map(str::to_owned),
    });
}

fn read_device(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    entry.needed("name", gathered);
    entry.needed("care_of", gathered);
    let [name, care_of] = ["name", "care_of"].map(|field| entry.text(field, gathered));
    if name.is_some_and(|name| name.trim().is_empty()) {
        entry.fail(entry.at("name"), "name", Fault::Rule("is not empty"), gathered);
    }
    let Some(care_of) = care_of else { return };
    match DeviceConfig::place(care_of) {
        Ok(care_of) => {
            let Some(name) = name else { return };
            entry.note(gathered.devices.len(), gathered);
            gathered.devices.push(DeviceConfig { name: name.to_owned(), care_of });
        }
        Err(fault) => entry.fail(entry.at("care_of"), "care_of", fault, gathered),
    }
}

fn read_publish(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    entry.needed("path", gathered);
    let [path, username, password] = ["path", "username", "password"].map(|field| entry.text(field, gathered));
    let (users, roles) = (entry.texts("users", gathered), entry.roles(gathered));
    let (Some(path), Some(users), Some(roles)) = (path, users, roles) else { return };
    entry.note(gathered.publish.len(), gathered);
    gathered.publish.push(PublishConfig {
        path: path.to_owned(),
        username: username.map(str::to_owned),
        password: password.map(Password::new),
        users: users.into_iter().map(str::to_owned).collect(),
        roles,
    });
}

fn read_user(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    entry.needed("name", gathered);
    let [name, password, hash] = ["name", "password", "password_hash"].map(|field| entry.text(field, gathered));
    let roles = entry.roles(gathered);
    let hash = match hash.map(PasswordHash::parse).transpose() {
        Ok(hash) => hash,
        Err(error) => return entry.fail(entry.at("password_hash"), "password_hash", Fault::PasswordHash(error), gathered),
    };
    let (Some(name), Some(roles)) = (name, roles) else { return };
    entry.note(gathered.users.len(), gathered);
    gathered.users.push(UserConfig { name: name.to_owned(), password: password.map(Password::new), password_hash: hash, roles });
}

fn read_access(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    entry.needed("path", gathered);
    let (path, anyone) = (entry.text("path", gathered), entry.flag("anyone", gathered));
    let (users, roles) = (entry.texts("users", gathered), entry.roles(gathered));
    let (Some(path), Some(anyone), Some(users), Some(roles)) = (path, anyone, users, roles) else { return };
    entry.note(gathered.access.len(), gathered);
    let users = users.into_iter().map(str::to_owned).collect();
    gathered.access.push(AccessConfig { path: path.to_owned(), anyone, roles, users });
}

fn read_camera(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    entry.needed("name", gathered);
    entry.needed("url", gathered);
    let [name, url, username, password, transport] =
        ["name", "url", "username", "password", "transport"].map(|field| entry.text(field, gathered));
    let transport = match transport {
        None => CameraTransport::default(),
        Some("tcp") => CameraTransport::Tcp,
        Some("udp") => CameraTransport::Udp,
        Some(_) => return entry.fail(entry.at("transport"), "transport", Fault::Rule("is tcp or udp"), gathered),
    };
    let always = match entry.field("always").map(|(_, value)| value.as_bool()) {
        None => false,
        Some(Some(always)) => always,
        Some(None) => return entry.fail(entry.at("always"), "always", Fault::Value("is true or false".into()), gathered),
    };
    let (Some(name), Some(url)) = (name, url) else { return };
    entry.note(gathered.cameras.len(), gathered);
    gathered.cameras.push(CameraConfig {
        name: name.to_owned(),
        url: url.to_owned(),
        username: username.map(str::to_owned),
        password: password.map(Password::new),
        transport,
        always,
    });
}

fn read_key(entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    for needed in ["spi", "nai"] {
        entry.needed(needed, gathered);
    }
    let spi = entry.field("spi").and_then(|(place, value)| {
        let spi = index(value);
        match spi {
            None => entry.fail(place, "spi", Fault::Value("is a number, or a text with 0x and hex digits".into()), gathered),
            Some(spi) if spi < u64::from(ProvisionedKey::FIRST_SPI) => {
                entry.fail(place, "spi", Fault::Rule("those below 0x100 are reserved"), gathered);
            }
            Some(spi) if spi > u64::from(ProvisionedKey::LAST_SPI) => {
                entry.fail(place, "spi", Fault::Rule("is at most 0x7fffffff: the top bit marks derived keys"), gathered);
            }
            Some(_) => {}
        }
        spi.and_then(|spi| u32::try_from(spi).ok())
    });
    let nai = entry.text("nai", gathered);
    if let Some((place, _)) = entry.field("nai")
        && nai.is_some_and(|nai| nai.trim().is_empty() || nai.len() > usize::from(u8::MAX) - 1)
    {
        entry.fail(place, "nai", Fault::Rule("has 1 to 254 octets"), gathered);
    }
    let key = secret(entry, gathered);
    // Duplicates are told also where the key itself is wrong.
    let known = |spi: u32, gathered: &Gathered<'_>| gathered.seen_spis.contains(&spi);
    if let (Some((place, _)), Some(spi)) = (entry.field("spi"), spi) {
        if known(spi, gathered) {
            entry.fail(place, "spi", Fault::Rule("two keys have the same spi"), gathered);
        }
        gathered.seen_spis.push(spi);
    }
    if let (Some((place, _)), Some(nai)) = (entry.field("nai"), nai) {
        if gathered.seen_nais.iter().any(|known| known == nai) {
            entry.fail(place, "nai", Fault::Rule("two keys have the same nai"), gathered);
        }
        gathered.seen_nais.push(nai.to_owned());
    }
    if let (Some(spi), Some(nai), Some(key)) = (spi, nai, key) {
        entry.note(gathered.keys.len(), gathered);
        gathered.keys.push(ProvisionedKey { spi, nai: nai.to_owned(), key });
    }
}

/// A security parameter index as a number, or as a text in hex.
fn index(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) => {
            let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            u64::from_str_radix(digits, 16).ok()
        }
        _ => None,
    }
}

/// The secret of an entry, from itself or from the file that it names.
fn secret(entry: &Entry<'_>, gathered: &mut Gathered<'_>) -> Option<SecretKey> {
    match (entry.field("key"), entry.field("key_file")) {
        (Some(_), Some((place, _))) => {
            entry.fail(place, "key_file", Fault::Rule("key and key_file are both there, one is needed"), gathered);
            None
        }
        (None, None) => {
            entry.fail(&entry.place, "key", Fault::Rule("neither key nor key_file is there, one is needed"), gathered);
            None
        }
        (Some((place, _)), None) => {
            let hex = entry.text("key", gathered)?;
            SecretKey::from_hex(hex).map_err(|error| entry.fail(place, "key", Fault::Key(error), gathered)).ok()
        }
        (None, Some((place, _))) => {
            let path = entry.text("key_file", gathered)?;
            let read = (gathered.read_file)(Path::new(path)).map(Zeroizing::new);
            let hex = read.map_err(|error| entry.fail(place, "key_file", Fault::Value(format!("{path}: {error}")), gathered)).ok()?;
            SecretKey::from_hex(&hex).map_err(|error| entry.fail(place, "key_file", Fault::Key(error), gathered)).ok()
        }
    }
}
