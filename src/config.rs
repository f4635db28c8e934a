//! The configuration: a TOML file, environment variables over it, flags over both, checked once.
//!
//! Pure: text comes in, a [`Config`] or an error with its key goes out.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Everything that can be set. Each field is a key of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The library.
    pub library: LibraryConfig,
    /// RTSP.
    pub rtsp: RtspConfig,
    /// RTP and RTCP.
    pub rtp: RtpConfig,
    /// The API.
    pub http: HttpConfig,
    /// Home addresses, filter and map.
    pub steering: SteeringConfig,
    /// What is kept.
    pub state: StateConfig,
    /// Logs.
    pub log: LogConfig,
    /// The data plane.
    pub data: DataConfig,
    /// Home addresses that are kept under names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub home: Vec<HomeConfig>,
}

/// `[library]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LibraryConfig {
    /// The folder that is served.
    pub path: PathBuf,
}

impl Default for LibraryConfig {
    fn default() -> Self {
        Self { path: "media".into() }
    }
}

/// `[rtsp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtspConfig {
    /// Where RTSP is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Sessions made over one connection.
    pub sessions_per_connection: usize,
    /// Octets of request line and headers.
    pub header_bytes: usize,
    /// Octets of a request's body.
    pub body_bytes: usize,
    /// Seconds a request may take to arrive.
    pub request_timeout_s: u64,
    /// Seconds after which a session that says nothing ends.
    pub session_timeout_s: u64,
    /// Octets of media that wait for an interleaved connection.
    pub interleaved_queue: usize,
}

impl Default for RtspConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8554)),
            connections: 10_000,
            connections_per_address: 4096,
            sessions_per_connection: 16,
            header_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            request_timeout_s: 10,
            session_timeout_s: 75,
            interleaved_queue: 1 << 20,
        }
    }
}

/// `[rtp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtpConfig {
    /// The RTP port, RTCP is the next one; 0 takes a free even one.
    pub port: u16,
    /// Octets of an RTP packet.
    pub mtu: usize,
    /// DSCP of video packets, 0 to 63.
    pub dscp_video: u8,
    /// DSCP of audio packets, 0 to 63.
    pub dscp_audio: u8,
}

impl Default for RtpConfig {
    fn default() -> Self {
        Self { port: 8000, mtu: 1400, dscp_video: 0, dscp_audio: 0 }
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the API is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Bearer tokens of operators; without any, operators are who come from this machine.
    #[serde(skip_serializing)]
    pub tokens: Vec<String>,
    /// Host names, beside `localhost` and loopback addresses, under which operators reach this machine.
    pub hosts: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)), tokens: Vec::new(), hosts: Vec::new() }
    }
}

/// `[steering]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SteeringConfig {
    /// Where home addresses are drawn from; else a prefix drawn once and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_prefix: Option<Ipv6Net>,
    /// Milliseconds for which the old care-of is served beside the new one.
    pub transition_ms: u64,
    /// The longest such time.
    pub max_window_ms: u64,
    /// Seconds a presentation waits for a device when the last one is gone.
    pub linger_s: u64,
    /// Milliseconds a new branch is primed back at most.
    pub max_prime_ms: u64,
    /// Seconds for which a take-over token is good.
    pub context_s: u64,
    /// The address that packets to home addresses are to come from; else the one a player came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_source: Option<Ipv6Addr>,
    /// Care-ofs that operators may name without proof.
    pub trusted_care_of: Vec<IpNet>,
}

impl Default for SteeringConfig {
    fn default() -> Self {
        Self {
            home_prefix: None,
            transition_ms: 2000,
            max_window_ms: 15_000,
            linger_s: 60,
            max_prime_ms: 20_000,
            context_s: 600,
            media_source: None,
            trusted_care_of: vec!["127.0.0.0/8".parse().expect("a prefix"), "::1/128".parse().expect("a prefix")],
        }
    }
}

/// `[state]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// The folder in which what must survive is kept; `none` keeps nothing; unset is the user's state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into() }
    }
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Threads that send media; 0 leaves one processor to everything else.
    pub shards: usize,
    /// Presentations in all.
    pub presentations: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { shards: 0, presentations: 10_000 }
    }
}

/// `[[home]]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HomeConfig {
    /// The name in URLs.
    pub name: String,
    /// The title that starts there when nothing plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is no configuration.
    #[error("{file}: {message}")]
    File {
        /// Which file.
        file: String,
        /// Line, key and reason.
        message: String,
    },
    /// A variable or flag is unknown, or its value does not fit.
    #[error("{source_name}: {message}")]
    Setting {
        /// The variable or flag.
        source_name: String,
        /// Why not.
        message: String,
    },
    /// A value is out of its range.
    #[error("{key}: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why not.
        message: String,
    },
}

/// The prefix of environment variables.
pub const ENVIRONMENT: &str = "FLOWSTEER_";

impl Config {
    /// Puts the layers together: a file (its name and text), environment variables, then settings by key, as flags give
    /// them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn layered(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let mut table = match file {
            None => toml::Table::new(),
            Some((name, text)) => {
                let error = |error: toml::de::Error| ConfigError::File { file: name.to_owned(), message: explain(text, &error) };
                toml::from_str::<Self>(text).map_err(error)?;
                toml::from_str(text).map_err(error)?
            }
        };
        let known = keys();
        for (name, value) in environment {
            let Some(suffix) = name.strip_prefix(ENVIRONMENT) else { continue };
            let key = known.keys().find(|key| key.to_uppercase().replace('.', "_") == suffix);
            let Some(key) = key else {
                let message = "no such setting".to_owned();
                return Err(ConfigError::Setting { source_name: name, message });
            };
            set(&mut table, key, &value, &known);
            let table = table.clone();
            check_layer(&table, &name)?;
        }
        for (key, value) in flags {
            set(&mut table, key, value, &known);
            check_layer(&table, key)?;
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| ConfigError::Setting {
            source_name: "configuration".into(),
            message: error.message().to_owned(),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let fail = |key, message: &str| Err(ConfigError::Value { key, message: message.to_owned() });
        if !(64..=1500).contains(&self.rtp.mtu) {
            return fail("rtp.mtu", "a packet has 64 to 1500 octets");
        }
        if !self.rtp.port.is_multiple_of(2) || self.rtp.port == u16::MAX {
            return fail("rtp.port", "RTP takes an even port, RTCP the next one");
        }
        if self.rtp.dscp_video > 63 || self.rtp.dscp_audio > 63 {
            return fail("rtp.dscp_video", "a DSCP is 0 to 63");
        }
        if self.rtsp.header_bytes < 1024 || self.rtsp.interleaved_queue < 64 * 1024 {
            return fail("rtsp", "header_bytes is at least 1024, interleaved_queue at least 65536");
        }
        if self.steering.home_prefix.is_some_and(|prefix| prefix.prefix_len() > 120) {
            return fail("steering.home_prefix", "the prefix leaves fewer than 256 addresses");
        }
        if self.steering.transition_ms > self.steering.max_window_ms {
            return fail("steering.transition_ms", "longer than steering.max_window_ms");
        }
        let mut names: Vec<&str> = self.home.iter().map(|home| home.name.as_str()).collect();
        names.sort_unstable();
        if names.iter().any(|name| name.is_empty() || name.contains(['/', '?', '#']) || name.parse::<Ipv6Addr>().is_ok()) {
            return fail("home.name", "a name is not empty, no address, and has no /, ? or #");
        }
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return fail("home.name", "two homes have the same name");
        }
        Ok(())
    }
}

fn check_layer(table: &toml::Table, source: &str) -> Result<(), ConfigError> {
    let parsed: Result<Config, toml::de::Error> = table.clone().try_into();
    parsed.map(|_| ()).map_err(|error| ConfigError::Setting { source_name: source.to_owned(), message: error.message().to_owned() })
}

/// All keys with their default values.
pub fn keys() -> BTreeMap<String, Option<toml::Value>> {
    let mut known = BTreeMap::new();
    if let Ok(table) = toml::Table::try_from(Config::default()) {
        for (section, values) in table {
            if let toml::Value::Table(values) = values {
                known.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), Some(value))));
            }
        }
    }
    // Those that have no default, or are not shown.
    for key in ["steering.home_prefix", "steering.media_source", "state.dir", "http.tokens"] {
        known.entry(key.to_owned()).or_insert(None);
    }
    known
}

/// Sets a dotted key from text: a number, a flag, a list or a text, as its default is.
fn set(table: &mut toml::Table, key: &str, text: &str, known: &BTreeMap<String, Option<toml::Value>>) {
    let Some((section, name)) = key.split_once('.') else { return };
    let list = || toml::Value::Array(text.split(',').map(|part| toml::Value::String(part.trim().to_owned())).collect());
    let value = match known.get(key) {
        Some(Some(toml::Value::Integer(_))) => text.parse().map_or_else(|_| toml::Value::String(text.to_owned()), toml::Value::Integer),
        Some(Some(toml::Value::Boolean(_))) => text.parse().map_or_else(|_| toml::Value::String(text.to_owned()), toml::Value::Boolean),
        Some(Some(toml::Value::Array(_))) => list(),
        _ if key == "http.tokens" => list(),
        _ => toml::Value::String(text.to_owned()),
    };
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = section {
        section.insert(name.to_owned(), value);
    }
}

/// Line, reason, and the known key nearest to an unknown one.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let mut message = line.map_or_else(String::new, |line| format!("line {line}: "));
    message.push_str(error.message());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, String)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::layered(Some(("f.toml", file)), environment, flags)
    }

    #[test]
    fn flags_go_over_the_environment_and_that_over_the_file() {
        let file = "[rtp]\nport = 6000\nmtu = 1200\n[rtsp]\nlisten = \"127.0.0.1:1\"";
        let config = layered(file, &[("FLOWSTEER_RTP_PORT", "7000"), ("PATH", "x")], &[("rtsp.listen", "[::1]:2".into())]);
        let config = config.expect("sound");
        assert_eq!((config.rtp.port, config.rtp.mtu), (7000, 1200));
        assert_eq!(config.rtsp.listen.to_string(), "[::1]:2");
        assert_eq!(config.steering, SteeringConfig::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = |outcome: Result<Config, ConfigError>| outcome.expect_err("wrong").to_string();
        let unknown = text(layered("[rtp]\nport = 8000\nmut = 3\n", &[], &[]));
        assert!(unknown.starts_with("f.toml: line 3: unknown field `mut`, expected one of `port`, `mtu`"), "{unknown}");
        let wrong = text(layered("", &[("FLOWSTEER_RTP_PORT", "many")], &[]));
        assert!(wrong.starts_with("FLOWSTEER_RTP_PORT: "), "{wrong}");
        assert_eq!(text(layered("", &[("FLOWSTEER_RTP_PROT", "1")], &[])), "FLOWSTEER_RTP_PROT: no such setting");
        assert_eq!(text(layered("[rtp]\nport = 8001", &[], &[])), "rtp.port: RTP takes an even port, RTCP the next one");
        let twice = "[[home]]\nname = \"wall\"\n[[home]]\nname = \"wall\"";
        assert_eq!(text(layered(twice, &[], &[])), "home.name: two homes have the same name");
    }
}
