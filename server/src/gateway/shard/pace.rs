//! When a shard begins its next round of ticks: never before the last one is done, and never so soon that rounds exceed their
//! share of its time. With more watchers or a busier machine, rounds take longer and are fewer. Pure.

use std::time::{Duration, Instant};

/// Longest rest after a round: every watcher hears of the sale from time to time, at any load.
const MAX_REST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Pace {
    /// Percent of the time that rounds may take.
    percent: u32,
    began: Option<Instant>,
    rests_until: Instant,
}

impl Pace {
    pub fn new(percent: u32, now: Instant) -> Self {
        Self {
            percent: percent.clamp(1, 100),
            began: None,
            rests_until: now,
        }
    }

    pub(crate) fn is_in_round(&self) -> bool {
        self.began.is_some()
    }

    /// Time until the next round may begin.
    pub fn rest(&self, now: Instant) -> Duration {
        self.rests_until.saturating_duration_since(now)
    }

    pub fn begin(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// The round is done. Returns its duration; None: there was no round.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let took = now.saturating_duration_since(self.began.take()?);
        self.rests_until = now + (took * (100 - self.percent) / self.percent).min(MAX_REST);
        Some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However long rounds take and whenever ticks come: rounds keep to their share of the time, and none begins before the
        /// last one is done.
        #[test]
        fn rounds_leave_the_rest_of_the_time_to_everything_else(
            percent in 10u32..=100,
            rounds in prop::collection::vec((0u64..1_000, 0u64..500), 1..50),
        ) {
            let began = Instant::now();
            let (mut pace, mut now, mut busy) = (Pace::new(percent, began), began, Duration::ZERO);
            for (round_ms, idle_ms) in rounds {
                now += pace.rest(now) + Duration::from_millis(idle_ms);
                pace.begin(now);
                prop_assert!(pace.is_in_round());
                now += Duration::from_millis(round_ms);
                let took = pace.end(now);
                prop_assert_eq!(took, Some(Duration::from_millis(round_ms)));
                busy += took.unwrap_or_default();
            }
            let whole = now + pace.rest(now) - began;
            prop_assert!(busy * 100 <= whole * percent + Duration::from_micros(100), "{busy:?} of {whole:?}");
        }
    }

    #[test]
    fn whoever_watches_hears_of_the_sale_every_so_often_whatever_the_load() {
        let now = Instant::now();
        let mut pace = Pace::new(1, now);
        assert_eq!(pace.end(now), None, "there was no round");
        pace.begin(now);
        pace.end(now + Duration::from_secs(3));
        assert_eq!(pace.rest(now + Duration::from_secs(3)), MAX_REST);
    }
}
