//! `[serve]` and `[log]`: how the server runs, and what it tells of that.

use serde::{Deserialize, Serialize};

/// `[serve]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Seconds for which a first SIGTERM lets what plays play on, while nothing new begins; 0 stops at once.
    pub drain_s: u64,
    /// Read the file again when it changes, as SIGHUP does.
    pub watch: bool,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self { drain_s: 0, watch: true }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter.
    pub level: String,
    /// How a line is written: for people, or as an object of JSON.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::default() }
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One object a line.
    Json,
}
