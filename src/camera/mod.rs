//! Cameras as live titles: each is pulled once, for all who watch.
//!
//! On demand, unless it is to be pulled always: from when somebody wants to watch until some seconds after the last one has left. A session
//! that breaks is tried again, at once and then after pauses that grow; why it broke is in the log, and is the title's problem until it is back.

mod placement;
mod policy;
mod source;
mod tracks;

use std::sync::Arc;

use retina::client::SessionGroup;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use crate::library::Problem;
use crate::library::live::Feed;
use crate::net::clock::now;

use policy::{FIRST_PAUSE, Interest, Pauses};
pub use source::Source;
use source::{Ended, take_leave};

/// A password that is never shown.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// One of that text.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A camera.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Where it is.
    pub source: Source,
    /// Whether it is pulled also while nobody watches.
    pub always: bool,
}

impl Camera {
    /// Pulls into `feed` the camera that `told` names, until it names none. Where it comes to name another, those who watch wait for that one;
    /// where this has other tracks, their title has ended.
    pub async fn run(mut feed: Feed, mut told: watch::Receiver<Option<Self>>) {
        let group = Arc::new(SessionGroup::default());
        loop {
            let Some(camera) = told.borrow_and_update().clone() else { return };
            // Both may be the same device, with room for one session.
            take_leave(&group).await;
            tokio::select! {
                () = camera.pull(&mut feed, &group) => {}
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if feed.title().is_online() {
                        feed.lost(Problem { reason: "the camera's configuration has changed".into() });
                    }
                    feed.title().ask_again();
                }
            }
        }
    }

    async fn pull(&self, feed: &mut Feed, group: &Arc<SessionGroup>) {
        let title = Arc::clone(feed.title());
        let mut pauses = Pauses::new();
        loop {
            if !self.always && !title.is_watched() {
                feed.stop();
                title.wanted().await;
            }
            // Whoever wants it from here on is told of what comes now.
            title.was_wanted();
            let began = Instant::now();
            let mut interest = Interest::new(self.always, now().mono);
            tracing::info!(title = %title.path, "the camera is asked");
            let is_wanted = |feed: &Feed| {
                let was_wanted = feed.title().was_wanted();
                interest.lasts(was_wanted || feed.title().is_watched(), now().mono)
            };
            let ended = self.source.play(feed, group, is_wanted).await;
            if matches!(ended, Ended::Unwatched) {
                tracing::info!(title = %title.path, "nobody watches the camera any more");
                pauses = Pauses::new();
                continue;
            }
            let pause = pauses.after(began.elapsed());
            let until = Instant::now() + pause;
            tracing::warn!(title = %title.path, "the camera is away, it is tried again in {} s: {ended}", pause.as_secs());
            metrics::counter!("flowsteer_camera_losses_total").increment(1);
            feed.lost(Problem { reason: ended.to_string() });
            // Who wants to watch is not kept waiting, but once a second is enough.
            sleep(FIRST_PAUSE).await;
            let _ = timeout_at(until, title.wanted()).await;
        }
    }
}

#[cfg(test)]
mod tests;
