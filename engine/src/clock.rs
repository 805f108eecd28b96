//! This host's clock, for tokens, for ids, and for following Redis' clock between two looks at it. What may be sold, and when, is
//! decided by the clocks of Redis and Postgres.

use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicI64, Ordering};

/// The error that the fault harness gives this clock, in ms.
static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

pub fn step(offset_ms: i64) {
    OFFSET_MS.store(offset_ms, Ordering::Relaxed);
}

pub fn now() -> DateTime<Utc> {
    Utc::now() + TimeDelta::milliseconds(OFFSET_MS.load(Ordering::Relaxed))
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(now().timestamp_millis()).unwrap_or(0)
}
