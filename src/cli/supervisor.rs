//! What the service manager is told (sd_notify(3)): that the server is ready, reads its configuration again, or stops, and how long it may
//! take for that. Where none listens (`NOTIFY_SOCKET` is not set), nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// What stopping takes behind the time that is left to what plays: BYE, and connections that take their last packets.
const FAREWELL: Duration = Duration::from_secs(10);

/// Requests are answered, with the configuration that is in force now.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again, until [`ready`] is told. The manager compares the time with that of its own signal.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(error) => tracing::debug!("the service manager is not told of the reload, there is no clock: {error}"),
    }
}

/// The server stops. What plays may play on for so long: until then, and a moment longer, the manager ends nothing by force.
pub fn stopping(patience: Duration) {
    let extend = format!("EXTEND_TIMEOUT_USEC={}", (patience + FAREWELL).as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&extend)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told {states:?}: {error}");
    }
}
