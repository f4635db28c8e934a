//! `flowsteer context` into a file: the whole stream context, with its keys or apart from them.

use std::fs::{File, Permissions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::device::write_private;
use crate::device::StreamContext;

/// Where a context goes.
#[derive(Debug, Args)]
pub struct ContextOutput {
    /// Write the whole stream context to this file, which only its owner may read.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write it without its keys.
    #[arg(long, requires = "keys")]
    keyless: bool,
    /// Write the keys to this file, which only its owner may read.
    #[arg(long, value_name = "FILE", requires = "keyless")]
    keys: Option<PathBuf>,
}

impl ContextOutput {
    /// Whether the context is wanted, and not the URL: by name, or as standard output is a file.
    pub fn takes_the_context(&self, as_json: bool) -> bool {
        self.output.is_some() || self.keyless || (!as_json && stdout_is_a_file())
    }

    /// Writes the context that the server's answer has.
    ///
    /// # Errors
    /// The answer has none, or a file cannot be written.
    pub fn write(&self, answer: &Value) -> anyhow::Result<()> {
        let text = Zeroizing::new(answer.to_string());
        let context = StreamContext::read(&text).context("the server's answer")?;
        let written = match &self.keys {
            Some(keys) => {
                let (keyless, secret) = context.write_split()?;
                write_private(keys, Zeroizing::new(format!("{}\n", secret.as_str())).as_bytes())
                    .with_context(|| keys.display().to_string())?;
                Zeroizing::new(keyless)
            }
            None => context.write()?,
        };
        let written = Zeroizing::new(format!("{}\n", written.as_str()));
        match &self.output {
            Some(output) => write_private(output, written.as_bytes()).with_context(|| output.display().to_string()),
            None => {
                // Keys are for the file's owner alone, whatever the shell has made of it.
                if let Some(file) = stdout_file() {
                    file.set_permissions(Permissions::from_mode(0o600)).context("standard output cannot be made its owner's alone")?;
                }
                super::print(&written)
            }
        }
    }
}

fn stdout_is_a_file() -> bool {
    stdout_file().is_some()
}

/// Standard output, where it is a regular file.
fn stdout_file() -> Option<File> {
    let copy = std::io::stdout().as_fd().try_clone_to_owned().map(File::from).ok()?;
    copy.metadata().is_ok_and(|found| found.is_file()).then_some(copy)
}
