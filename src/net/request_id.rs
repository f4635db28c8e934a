//! Names of requests in the log and in answers, so that the two can be found together.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The name of a request: the same for no two of a run, and hardly for two of different runs. It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    run: u32,
    number: u32,
}

impl RequestId {
    /// The next one.
    pub fn next() -> Self {
        static RUN: OnceLock<u32> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let run = *RUN.get_or_init(|| {
            let mut run = [0; 4];
            // Without it only runs are not told apart.
            let _ = getrandom::fill(&mut run);
            u32::from_ne_bytes(run)
        });
        Self { run, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.run, self.number)
    }
}
