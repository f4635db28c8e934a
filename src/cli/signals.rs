//! What signals, and a changed configuration, do to a server that runs: it takes over what can change, drains, stops.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval, sleep_until};

use crate::cli::config_file::ConfigWatch;
use crate::cli::reload::Reload;
use crate::cli::supervisor;
use crate::library::watch::Watch;
use crate::playback::Stage;

/// How often it is looked whether something still plays.
const LOOK: Duration = Duration::from_millis(100);

/// SIGHUP: from now on it does not end the process; one that comes before anybody waits is kept.
///
/// # Errors
/// Signals cannot be heard.
pub fn hang_up() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// What the server hears; none of it ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on. Those that come before anybody waits are kept.
    ///
    /// # Errors
    /// Signals cannot be heard.
    pub fn hear(hang_up: Signal) -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hang_up })
    }
}

/// Tells that the server is ready, and returns when it is to stop now.
///
/// # Errors
/// The thread that reads the configuration again has ended.
pub async fn wait(signals: Signals, library: &Watch, mut file: ConfigWatch, mut reload: Reload, stage: &Stage) -> anyhow::Result<()> {
    let Signals { mut terminate, mut interrupt, mut hang_up } = signals;
    supervisor::ready();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => library.rescan(),
            () = file.changed() => tracing::info!("the configuration's file has changed"),
        }
        supervisor::reloading();
        reload = tokio::task::spawn_blocking(move || {
            reload.run();
            reload
        })
        .await?;
        supervisor::ready();
    }
    // Who looks for a server finds one that begins something.
    reload.mdns.withdraw();
    if reload.running.serve.drain_s > 0 {
        drain(Duration::from_secs(reload.running.serve.drain_s), stage, &mut terminate, &mut interrupt).await;
    }
    Ok(())
}

/// Lets what plays play on, for so long at most, while nothing new begins; a second signal ends that.
async fn drain(patience: Duration, stage: &Stage, terminate: &mut Signal, interrupt: &mut Signal) {
    supervisor::stopping(patience);
    stage.drain();
    let count = async || stage.snapshots().await.map_or(0, |snapshots| snapshots.len());
    tracing::info!(sessions = count().await, "nothing new begins, what plays may play on for {} s", patience.as_secs());
    let deadline = Instant::now() + patience;
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = sleep_until(deadline) => break,
            _ = looks.tick() => {
                if count().await == 0 {
                    return tracing::info!("nothing plays any more");
                }
            }
        }
    }
    tracing::info!(sessions = count().await, "what still plays is ended");
}
