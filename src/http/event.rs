//! What the event stream tells.

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::http::shape;
use crate::library::{Change, ChangeKind};
use crate::steering::{Event, EventKind, HomeAddress};

/// Events that wait for a slow listener at most; it then learns that it has missed some.
const WAITING: usize = 1024;

/// One event, as it stands in the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiEvent {
    /// `session`, `binding`, `handover`, `drop` or `title`.
    pub name: &'static str,
    /// What happened.
    pub data: Value,
}

impl ApiEvent {
    /// The home address that it is about.
    pub fn home(&self) -> Option<HomeAddress> {
        self.data["homeAddress"].as_str()?.parse().ok().map(HomeAddress)
    }
}

/// Where events are told to all who listen.
#[derive(Clone)]
pub struct Announcer {
    sender: broadcast::Sender<ApiEvent>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self { sender: broadcast::channel(WAITING).0 }
    }
}

impl Announcer {
    /// Tells everybody who listens.
    pub fn tell(&self, event: ApiEvent) {
        // Nobody listens is fine.
        let _ = self.sender.send(event);
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<ApiEvent> {
        self.sender.subscribe()
    }
}

impl From<&Event> for ApiEvent {
    fn from(event: &Event) -> Self {
        let session = event.player.map(|id| crate::playback::PresentationId(id).to_string());
        let (name, what, extra) = match event.kind {
            EventKind::Bound => ("binding", "bound", json!({})),
            EventKind::Refreshed => ("binding", "refreshed", json!({})),
            EventKind::Moving { window, .. } => ("handover", "moving", json!({ "windowMs": window.as_millis() as u64 })),
            EventKind::HandedOver(outcome) => {
                let milliseconds = |span: std::time::Duration| span.as_millis() as u64;
                let figures = json!({
                    "join": outcome.entered.as_str(),
                    "lagMs": milliseconds(outcome.lag),
                    "repeatedMs": milliseconds(outcome.repeated),
                    "missingMs": milliseconds(outcome.missing),
                });
                ("handover", "started", figures)
            }
            EventKind::Moved { .. } => ("handover", "moved", json!({})),
            EventKind::Forked { .. } => ("handover", "forked", json!({})),
            EventKind::Left { reason } => ("binding", "left", json!({ "reason": shape::end_reason(reason) })),
            EventKind::Expired => ("binding", "expired", json!({})),
            EventKind::Removed { reason } => ("binding", "removed", json!({ "reason": shape::end_reason(reason) })),
            EventKind::Released => ("binding", "released", json!({})),
        };
        let mut data = json!({ "event": what, "homeAddress": event.home.to_string(), "session": session, "bindingId": event.binding.0 });
        if let (Some(data), Value::Object(extra)) = (data.as_object_mut(), extra) {
            data.extend(extra);
        }
        Self { name, data }
    }
}

impl From<&Change> for ApiEvent {
    fn from(change: &Change) -> Self {
        let what = match change.kind {
            ChangeKind::Appeared => "appeared",
            ChangeKind::Changed => "changed",
            ChangeKind::Vanished => "vanished",
        };
        Self { name: "title", data: json!({ "event": what, "path": change.path.as_str() }) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::steering::{BindingId, Entered, HandedOver};

    #[test]
    fn a_hand_over_tells_how_the_new_branch_entered_and_what_that_cost() {
        let outcome = HandedOver {
            entered: Entered::Delayed,
            lag: Duration::from_millis(6040),
            repeated: Duration::from_micros(5_960_400),
            missing: Duration::ZERO,
        };
        let home = HomeAddress("fd00::1".parse().expect("an address"));
        let event = Event { home, player: Some(7), binding: BindingId(3), kind: EventKind::HandedOver(outcome) };
        let told = ApiEvent::from(&event);
        assert_eq!((told.name, told.home()), ("handover", Some(home)));
        let expected = json!({
            "event": "started", "homeAddress": "fd00::1", "session": "0000000000000007", "bindingId": 3,
            "join": "delayed", "lagMs": 6040, "repeatedMs": 5960, "missingMs": 0,
        });
        assert_eq!(told.data, expected);
    }
}
