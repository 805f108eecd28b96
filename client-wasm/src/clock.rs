//! The server's time, computed from a local clock and a few round trips. Knows no sockets and reads no clock itself.

use std::collections::VecDeque;

/// Number of remembered round trips. The shortest one tells the time: its error is at most half of it.
const SAMPLES: usize = 8;

/// If the server's time is further ahead than this (plus the sample's own error), the local clock has stood still, as in a laptop
/// that slept.
const SLACK_MS: i64 = 100;

#[derive(Debug, Default)]
pub struct Clock {
    samples: VecDeque<Sample>,
    offset_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    round_trip_ms: u64,
    offset_ms: i64,
}

impl Clock {
    /// Learns from a question sent at `sent_at` and answered at `received_at` (local) with the server's `now`.
    pub fn sample(&mut self, sent_at: u64, received_at: u64, now: u64) {
        self.saw(received_at, now);
        let round_trip_ms = received_at.saturating_sub(sent_at);
        let offset_ms = signed(now) - signed(sent_at + round_trip_ms / 2);
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            round_trip_ms,
            offset_ms,
        });
        let at_least = signed(now) - signed(received_at);
        self.offset_ms = self.best().map(|best| best.offset_ms.max(at_least));
    }

    /// Learns from any message that left the server at `now`: when it arrives, the server's time is at least that.
    pub fn saw(&mut self, received_at: u64, now: u64) {
        let at_least = signed(now) - signed(received_at);
        let error_ms = self
            .best()
            .map_or(0, |best| signed(best.round_trip_ms / 2) + SLACK_MS);
        if self
            .offset_ms
            .is_none_or(|offset_ms| at_least > offset_ms + error_ms)
        {
            self.samples.clear();
        }
        // Within the error the samples are kept, but nobody is shown more time than is left.
        self.offset_ms = self.offset_ms.max(Some(at_least));
    }

    /// The server's time when the local clock shows `local_ms`; while nothing is known, the local time itself.
    pub fn server_ms(&self, local_ms: u64) -> u64 {
        u64::try_from(signed(local_ms) + self.offset_ms.unwrap_or(0)).unwrap_or(0)
    }

    fn best(&self) -> Option<&Sample> {
        self.samples.iter().min_by_key(|sample| sample.round_trip_ms)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sample_with_the_shortest_round_trip_sets_the_clock() {
        let mut clock = Clock::default();
        // The server is exactly 1,000,000 ms ahead. A slow way back makes the first sample 400 ms wrong.
        clock.sample(0, 1_000, 1_000_100);
        clock.sample(2_000, 2_010, 1_002_005);
        clock.sample(3_000, 4_000, 1_003_900);
        assert_eq!(clock.server_ms(5_000), 1_005_000);
    }

    #[test]
    fn a_local_clock_that_stood_still_is_noticed_by_the_next_message() {
        let mut clock = Clock::default();
        clock.sample(0, 10, 1_000_005);
        // Asleep for an hour; the local clock did not move.
        clock.saw(20, 4_600_020);
        assert_eq!(clock.server_ms(20), 4_600_020);
    }

    #[test]
    fn nobody_is_shown_more_time_than_is_left_when_the_round_trips_were_slow() {
        let mut clock = Clock::default();
        // The server is exactly 1,000,000 ms ahead; the way back took the whole second.
        clock.sample(0, 1_000, 1_000_000);
        assert_eq!(clock.server_ms(1_000), 1_000_500);
        clock.saw(3_000, 1_002_990);
        assert_eq!(clock.server_ms(3_000), 1_002_990);
    }

    #[test]
    fn a_message_that_took_its_time_changes_nothing() {
        let mut clock = Clock::default();
        clock.sample(0, 10, 1_000_005);
        clock.saw(5_000, 1_001_000);
        assert_eq!(clock.server_ms(5_000), 1_005_000);
    }

    proptest! {
        /// With a steady local clock the error stays within half of the shortest round trip that is remembered.
        #[test]
        fn the_error_is_at_most_half_the_shortest_round_trip(
            offset in 0u64..10_000_000,
            trips in prop::collection::vec((0u64..2_000, 0u64..2_000), 1..=SAMPLES),
        ) {
            let mut clock = Clock::default();
            let mut local = 1_000u64;
            for (out, back) in &trips {
                clock.sample(local, local + out + back, local + out + offset);
                local += out + back + 1_000;
            }
            let shortest = trips.iter().map(|(out, back)| out + back).min().unwrap_or(0);
            let error = clock.server_ms(local).abs_diff(local + offset);
            prop_assert!(error <= shortest / 2 + 1, "error {error} with a shortest trip of {shortest}");
        }
    }
}
