//! Redis' clock, which says what is open and what is over.

use super::Stock;
use crate::{boxed, error::Result};
use fred::{
    prelude::*,
    types::{ClusterHash, CustomCommand},
};
use std::time::{Duration, Instant};

/// How long a measured difference between Redis' clock and ours is used.
const CLOCK_LIFE: Duration = Duration::from_secs(5);

impl Stock {
    /// Redis' clock, ms since 1970.
    #[boxed]
    pub async fn now(&self) -> Result<u64> {
        let time = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let (seconds, micros): (u64, u64) = self.runner.client().custom(time, Vec::<String>::new()).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Redis' clock, computed from a recent measurement: many may ask without a call each.
    #[boxed]
    pub async fn clock(&self) -> Result<u64> {
        if let Some(now) = self.known_clock() {
            return Ok(now);
        }
        let before = crate::clock::now().timestamp_millis();
        let redis = self.now().await? as i64;
        let offset = redis - (before + crate::clock::now().timestamp_millis()) / 2;
        if let Ok(mut clock) = self.clock.lock() {
            *clock = Some((offset, Instant::now()));
        }
        Ok(by_redis(offset))
    }

    /// Redis' clock, if it was measured lately.
    pub fn known_clock(&self) -> Option<u64> {
        let known = self.clock.lock().ok().and_then(|clock| *clock);
        let (offset, _) = known.filter(|(_, measured)| measured.elapsed() < CLOCK_LIFE)?;
        Some(by_redis(offset))
    }
}

/// Redis' clock now, which is this many ms ahead of this host's.
fn by_redis(offset: i64) -> u64 {
    u64::try_from(crate::clock::now().timestamp_millis() + offset).unwrap_or(0)
}
