//! The one place where clocks are read.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use crate::now::{Mono, Now, Utc};

/// Both clocks, now.
pub fn now() -> Now {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    // One second on top: no deadline computed by subtraction reaches below zero.
    let mono = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000);
    let utc = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { mono: Mono::from_nanos(mono), utc: Utc::from_unix_nanos(u64::try_from(utc.as_nanos()).unwrap_or(u64::MAX)) }
}
