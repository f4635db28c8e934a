//! How late access units leave: a histogram that costs two additions, and no memory however much is counted.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the histogram's ranges, in microseconds.
const ENDS: [u64; 9] = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000];

/// The histogram `flowsteer_pacing_lateness_seconds`.
#[derive(Debug, Default)]
pub struct Lateness {
    ranges: [AtomicU64; ENDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Lateness {
    /// Counts one.
    pub fn note(&self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let range = ENDS.iter().position(|end| micros <= *end).unwrap_or(ENDS.len());
        self.ranges[range].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let name = "flowsteer_pacing_lateness_seconds";
        let mut text = format!("# TYPE {name} histogram\n");
        let mut count = 0;
        let ends = ENDS.iter().map(|end| (*end as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        for (end, range) in ends.zip(&self.ranges) {
            count += range.load(Ordering::Relaxed);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}_bucket{{le=\"{end}\"}} {count}");
        }
        let sum = self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_add_up_and_nothing_is_left_out() {
        let lateness = Lateness::default();
        for micros in [0, 500, 501, 3_000, 700_000] {
            lateness.note(Duration::from_micros(micros));
        }
        let text = lateness.text();
        for line in [
            "# TYPE flowsteer_pacing_lateness_seconds histogram",
            "flowsteer_pacing_lateness_seconds_bucket{le=\"0.0005\"} 2",
            "flowsteer_pacing_lateness_seconds_bucket{le=\"0.001\"} 3",
            "flowsteer_pacing_lateness_seconds_bucket{le=\"0.005\"} 4",
            "flowsteer_pacing_lateness_seconds_bucket{le=\"0.5\"} 4",
            "flowsteer_pacing_lateness_seconds_bucket{le=\"+Inf\"} 5",
            "flowsteer_pacing_lateness_seconds_sum 0.704001",
            "flowsteer_pacing_lateness_seconds_count 5",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
