//! The log: one line an event on standard error, for people or as JSON.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::cli::reload::SetLevel;
use crate::config::{LogConfig, LogFormat};

/// Starts it. What is returned sets what is logged.
///
/// # Errors
/// The level is no filter.
pub fn start(config: &LogConfig) -> anyhow::Result<SetLevel> {
    let filter = EnvFilter::try_new(&config.level).context("log.level")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    Ok(match config.format {
        LogFormat::Human => {
            let lines = lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |level| Ok(handle.reload(EnvFilter::try_new(level)?)?))
        }
        LogFormat::Json => {
            // The one span that there is names the request.
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |level| Ok(handle.reload(EnvFilter::try_new(level)?)?))
        }
    })
}
