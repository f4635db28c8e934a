//! What the event stream tells, and what of it can be told again to who comes back.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::http::shape;
use crate::library::{Change, ChangeKind};
use crate::now::Mono;
use crate::steering::{Event, EventKind, HomeAddress};

/// Events that wait for a slow listener at most; it then learns that it has missed some.
const WAITING: usize = 1024;
/// Events that are kept for who comes back.
const KEPT: usize = 1024;
/// For so long after the last listener has gone, what has to be looked for is still told.
const COMES_BACK: Duration = Duration::from_secs(60);

/// One event, as it stands in the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiEvent {
    /// `session`, `binding`, `handover`, `consent`, `drop` or `title`.
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

/// The name of an event in the stream: of which run of the server, and the how manieth of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    run: u32,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.run, self.number)
    }
}

/// A text that names no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names no event")]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let (run, number) = text.split_once('-').ok_or(NoEventId)?;
        if run.len() != 8 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NoEventId);
        }
        Ok(Self { run: u32::from_str_radix(run, 16).map_err(|_| NoEventId)?, number: number.parse().map_err(|_| NoEventId)? })
    }
}

/// An event, and its name.
pub type Named = Arc<(EventId, ApiEvent)>;

/// What a listener begins with.
pub struct Resumed {
    /// The event behind which it begins: what comes next follows on it.
    pub behind: EventId,
    /// Whether events before that were missed: how many, where that is known.
    pub missed: Option<Option<u64>>,
    /// What it is told again.
    pub again: Vec<Named>,
    /// What is told from now on.
    pub coming: broadcast::Receiver<Named>,
}

/// Where events are told to all who listen.
#[derive(Clone)]
pub struct Announcer {
    sender: broadcast::Sender<Named>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    /// The last event.
    last: EventId,
    events: VecDeque<Named>,
    heard: Option<Mono>,
}

impl Default for Announcer {
    fn default() -> Self {
        let mut run = [0; 4];
        // Without it, runs would not be told apart: no reason not to run.
        let _ = getrandom::fill(&mut run);
        let last = EventId { run: u32::from_ne_bytes(run), number: 0 };
        let kept = Kept { last, events: VecDeque::new(), heard: None };
        Self { sender: broadcast::channel(WAITING).0, kept: Arc::new(Mutex::new(kept)) }
    }
}

impl Announcer {
    /// Tells everybody who listens, and keeps it for who comes back.
    pub fn tell(&self, event: ApiEvent) {
        let mut kept = self.kept();
        kept.last.number += 1;
        let named = Arc::new((kept.last, event));
        if kept.events.len() >= KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&named));
        // Nobody listens is fine. Still under the lock: who begins meanwhile is told each event once.
        let _ = self.sender.send(named);
    }

    /// Whether anybody listens, or may come back.
    pub fn is_heard(&self, now: Mono) -> bool {
        let mut kept = self.kept();
        if self.sender.receiver_count() > 0 {
            kept.heard = Some(now);
        }
        kept.heard.is_some_and(|heard| now.since(heard) < COMES_BACK)
    }

    /// Listens from now on; who names the last event that it was told (`Last-Event-ID`) is told again what came behind that.
    pub fn listen(&self, last: Option<&str>) -> Resumed {
        let kept = self.kept();
        let coming = self.sender.subscribe();
        let Some(last) = last else { return Resumed { behind: kept.last, missed: None, again: Vec::new(), coming } };
        // All events before the first one that is kept.
        let gone = kept.last.number - kept.events.len() as u64;
        let (from, missed) = match last.parse::<EventId>() {
            Ok(last) if last.run == kept.last.run && (gone..=kept.last.number).contains(&last.number) => (last.number, None),
            Ok(last) if last.run == kept.last.run && last.number < gone => (gone, Some(Some(gone - last.number))),
            // Another run's, or nobody's.
            Ok(_) | Err(NoEventId) => (gone, Some(None)),
        };
        let again = kept.events.iter().filter(|named| named.0.number > from).cloned().collect();
        Resumed { behind: EventId { number: from, ..kept.last }, missed, again, coming }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
    use super::*;
    use crate::steering::{BindingId, Entered, HandedOver};

    fn numbered(number: usize) -> ApiEvent {
        ApiEvent { name: "title", data: json!({ "number": number }) }
    }

    #[test]
    fn who_comes_back_is_told_what_it_has_not_heard_and_how_much_is_lost() {
        let announcer = Announcer::default();
        let first = announcer.listen(None);
        assert_eq!((first.missed, first.again.len(), first.behind.number), (None, 0, 0));
        (1..=3).for_each(|number| announcer.tell(numbered(number)));
        let numbers = |resumed: &Resumed| resumed.again.iter().map(|named| named.0.number).collect::<Vec<_>>();
        let back = announcer.listen(Some(&EventId { number: 1, ..first.behind }.to_string()));
        assert_eq!((back.missed, numbers(&back)), (None, vec![2, 3]));
        assert_eq!(announcer.listen(Some(&first.behind.to_string())).again.len(), 3);

        // One is kept no more, and then two.
        (4..=KEPT + 2).for_each(|number| announcer.tell(numbered(number)));
        let late = announcer.listen(Some(&first.behind.to_string()));
        assert_eq!((late.missed, late.behind.number, late.again.len()), (Some(Some(2)), 2, KEPT));
        assert_eq!(announcer.listen(Some(&late.behind.to_string())).missed, None);
        let up_to_date = EventId { number: KEPT as u64 + 2, ..first.behind }.to_string();
        assert_eq!(announcer.listen(Some(&up_to_date)).again.len(), 0);
        let other = EventId { run: first.behind.run ^ 1, number: 1 }.to_string();
        let future = EventId { number: 1 << 40, ..first.behind }.to_string();
        for strange in ["7", "", "x-1", "0000000é-1", "00000000-99999999999999999999", &other, &future] {
            let resumed = announcer.listen(Some(strange));
            assert_eq!((resumed.missed, resumed.again.len()), (Some(None), KEPT), "{strange}");
        }
    }

    #[test]
    fn events_that_have_to_be_looked_for_are_for_a_while_after_the_last_listener_has_gone() {
        let announcer = Announcer::default();
        let at = |seconds| Mono::default() + Duration::from_secs(seconds);
        assert!(!announcer.is_heard(at(0)), "nobody was ever there");
        let listener = announcer.listen(None);
        assert!(announcer.is_heard(at(1)));
        drop(listener);
        assert!(announcer.is_heard(at(60)) && !announcer.is_heard(at(61)));
    }

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
