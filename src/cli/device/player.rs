//! The player that `flowsteer take --exec` starts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::net::{now, process};

/// A player that runs; it ends with this at the latest.
pub struct Player(Child);

impl Player {
    /// Runs a command line. The description's path is appended to it, or takes the place of `{}`.
    ///
    /// # Errors
    /// There is no shell.
    pub fn start(line: &str, description: &Path) -> anyhow::Result<Self> {
        let line = if line.contains("{}") { line.replace("{}", "\"$1\"") } else { format!("{line} \"$1\"") };
        let mut command = Command::new("/bin/sh");
        // The shell becomes the player, so that signals reach that.
        command.arg("-c").arg(format!("exec {line}")).arg("flowsteer").arg(description).stdin(Stdio::null());
        Ok(Self(command.spawn().context("/bin/sh")?))
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn has_ended(&mut self) -> std::io::Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }

    /// Asks it to end, and sees to it.
    pub fn end(mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        if self.has_ended().unwrap_or(true) {
            return;
        }
        process::terminate(&self.0);
        let start = now().mono;
        while now().mono.since(start) < PATIENCE {
            if self.has_ended().unwrap_or(true) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if !self.has_ended().unwrap_or(true) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
