//! Tells what hand-overs came to: in the log, in metrics, and to who listens to events.

use crate::now::Now;
use crate::playback::presentation::Presentation;
use crate::steering::{BindingCache, HandedOver};

/// Tells what hand-overs of a presentation have come to since it was asked last.
pub(crate) fn tell(presentation: &mut Presentation, steering: &BindingCache, now: Now) {
    while let Some((flow, branch, outcome)) = presentation.take_handed_over() {
        let Some(flow) = presentation.flows().get(flow) else { continue };
        let home = flow.facts.home;
        let bound = flow.branches.iter().find(|state| state.branch.serial == branch).map(|state| state.branch.since);
        let HandedOver { entered, lag, repeated, missing } = outcome;
        metrics::histogram!("flowsteer_handover_repeated_seconds").record(repeated.as_secs_f64());
        metrics::histogram!("flowsteer_handover_missing_seconds").record(missing.as_secs_f64());
        tracing::info!(
            %home,
            session = %presentation.id(),
            branch = branch.0,
            join = entered.as_str(),
            after_ms = bound.map(|bound| now.mono.since(bound).as_millis() as u64),
            lag_ms = lag.as_millis() as u64,
            repeated_ms = repeated.as_millis() as u64,
            missing_ms = missing.as_millis() as u64,
            "handed over"
        );
        steering.handed_over(home, branch, outcome);
    }
}
