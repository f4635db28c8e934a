//! Metrics that are not counted where they happen, but taken over when somebody asks: how many of what there are now, what
//! steering has counted, what the process uses.

use crate::playback::PresentationSnapshot;
use crate::steering::BindingCache;

/// Takes over the counters of steering, those of the filter by the reason for which a packet was dropped.
pub fn of_steering(steering: &BindingCache) {
    for (reason, count) in steering.dropped() {
        metrics::counter!("flowsteer_dropped_packets_total", "reason" => reason.as_str()).absolute(count);
    }
    for (name, count) in steering.counters().named() {
        metrics::counter!("flowsteer_steering_total", "event" => name).absolute(count);
    }
    // To Prometheus, what is first seen as 1 has not grown: these are there as 0 before the first update and hand-over.
    for kind in ["move", "fork"] {
        let _registered = metrics::counter!("flowsteer_handovers_total", "kind" => kind);
    }
    let _registered = metrics::counter!("flowsteer_binding_updates_total", "status" => "accepted");
    let _registered = metrics::histogram!("flowsteer_handover_repeated_seconds");
    let _registered = metrics::histogram!("flowsteer_handover_missing_seconds");
}

/// Takes over what plays.
pub fn of_sessions(snapshots: &[PresentationSnapshot]) {
    let branches: usize = snapshots.iter().flat_map(|snapshot| &snapshot.flows).map(|flow| flow.branches.len()).sum();
    metrics::gauge!("flowsteer_sessions").set(snapshots.len() as f64);
    metrics::gauge!("flowsteer_branches").set(branches as f64);
}

/// Takes over how many titles there are, and of how many it is known what is in them.
pub fn of_library(titles: usize, indexed: usize) {
    metrics::gauge!("flowsteer_titles").set(titles as f64);
    metrics::gauge!("flowsteer_library_indexed").set(indexed as f64);
}

/// Takes over what the process uses: `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, ….
pub fn of_process() {
    metrics_process::Collector::default().collect();
}
