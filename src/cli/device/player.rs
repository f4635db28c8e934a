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

    /// Waits until a port is taken, but not for ever: what is started may be no player, or find its port by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_until_it_listens(&mut self, rtp: u16) -> std::io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let start = now().mono;
        while now().mono.since(start) < PATIENCE && !self.has_ended()? {
            if is_taken(rtp) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
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

/// Whether some socket of this host is bound to that UDP port. To try it would take it away from the player.
fn is_taken(port: u16) -> bool {
    let own = format!(":{port:04X}");
    ["/proc/net/udp", "/proc/net/udp6"].iter().filter_map(|table| std::fs::read_to_string(table).ok()).any(|table| {
        let local = |line: &str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&own));
        table.lines().any(local)
    })
}

impl Drop for Player {
    fn drop(&mut self) {
        if !self.has_ended().unwrap_or(true) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
