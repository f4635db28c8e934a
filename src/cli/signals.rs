//! What signals, and a changed configuration, do to a server that runs: it takes over what can change, drains, stops.

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

/// Returns when the server is to stop now.
///
/// # Errors
/// Signals cannot be heard.
pub async fn wait(library: &Watch, mut file: ConfigWatch, mut reload: Reload, stage: &Stage) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // Not before: until they are heard, signals end the process.
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
