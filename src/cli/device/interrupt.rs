//! Ctrl-C and SIGTERM, as something that can be looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Whether this process was asked to end.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches from now on; such a signal does not end the process any more.
    pub fn watch() -> anyhow::Result<Self> {
        let interrupt = Self(Arc::default());
        let (ready, is_ready) = mpsc::channel();
        let seen = Arc::clone(&interrupt.0);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let told = ready.clone();
            let watch = || -> anyhow::Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
                    let _ = ready.send(Ok(()));
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    seen.store(true, Ordering::Release);
                    Ok(())
                })
            };
            if let Err(error) = watch() {
                let _ = told.send(Err(error));
            }
        })?;
        is_ready.recv().context("the thread that watches for signals has ended")??;
        Ok(interrupt)
    }

    /// Whether a signal has come.
    pub fn is_seen(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
