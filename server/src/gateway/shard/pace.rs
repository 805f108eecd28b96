//! When a shard sends ticks: in rounds, of which none begins before the last one is done, and which keep to their share of its time.
//! While commands wait, their share is smaller, and a round rests between any two of its turns. With more watchers or a busier
//! machine, rounds take longer and are fewer. Pure.

use std::time::{Duration, Instant};

/// Longest rest after a round, and of all rests within one: every watcher hears of the sale from time to time, at any load.
const MAX_REST: Duration = Duration::from_secs(10);
/// Time that a round may catch up with when it could not go on at the end of its rest.
const CREDIT: Duration = Duration::from_millis(10);

/// Largest shares of a shard's time, in percent, that ticks may take.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    pub quiet: u32,
    /// While commands wait.
    pub busy: u32,
}

#[derive(Debug)]
pub struct Pace {
    shares: Shares,
    began: Option<Instant>,
    /// Of the round under way: how long its turns took, and the longest rest between two.
    spent: Duration,
    longest_rest: Duration,
    rests_until: Instant,
    /// While commands wait, no turn begins before this.
    turns_from: Instant,
}

impl Pace {
    pub fn new(shares: Shares, now: Instant) -> Self {
        let quiet = shares.quiet.clamp(1, 100);
        Self {
            shares: Shares {
                quiet,
                busy: shares.busy.clamp(1, quiet),
            },
            began: None,
            spent: Duration::ZERO,
            longest_rest: MAX_REST,
            rests_until: now,
            turns_from: now,
        }
    }

    pub(crate) fn is_in_round(&self) -> bool {
        self.began.is_some()
    }

    /// Time until the next round may begin, or the next turn of the one under way.
    pub fn rest(&self, now: Instant, busy: bool) -> Duration {
        let between_turns = if busy { self.turns_from } else { now };
        let until = match self.began {
            Some(_) => between_turns,
            None => between_turns.max(self.rests_until),
        };
        until.saturating_duration_since(now)
    }

    /// `turns`: how many the round will take.
    pub fn begin(&mut self, now: Instant, turns: usize) {
        if self.began.is_none() {
            self.began = Some(now);
            self.spent = Duration::ZERO;
            self.longest_rest = MAX_REST / u32::try_from(turns.max(1)).unwrap_or(u32::MAX);
        }
    }

    /// A turn of the round under way is done.
    pub fn turned(&mut self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        self.spent += took;
        let earliest = began.checked_sub(CREDIT).unwrap_or(began);
        let next = self.turns_from.max(earliest) + took * 100 / self.shares.busy;
        self.turns_from = next.min(now + self.longest_rest);
    }

    /// The round is done. Returns its duration; None: there was no round.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let took = now.saturating_duration_since(self.began.take()?);
        let rested = took.saturating_sub(self.spent);
        let rest = self.spent * (100 - self.shares.quiet) / self.shares.quiet;
        self.rests_until = now + rest.saturating_sub(rested).min(MAX_REST);
        Some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rounds of turns, each as soon as it may: (ms of each turn, ms until the next round is due). Returns the time that they took,
    /// and the whole time with the last rest.
    fn go_round(pace: &mut Pace, busy: bool, rounds: &[(Vec<u64>, u64)]) -> (Duration, Duration) {
        let began = Instant::now();
        let (mut now, mut spent) = (began, Duration::ZERO);
        for (turns, idle_ms) in rounds {
            now += pace.rest(now, busy) + Duration::from_millis(*idle_ms);
            pace.begin(now, turns.len());
            assert!(pace.is_in_round());
            for turn_ms in turns {
                now += pace.rest(now, busy);
                let took = Duration::from_millis(*turn_ms);
                pace.turned(now, now + took);
                now += took;
                spent += took;
            }
            assert!(pace.end(now).is_some());
        }
        (spent, now + pace.rest(now, busy) - began)
    }

    fn rounds() -> impl Strategy<Value = Vec<(Vec<u64>, u64)>> {
        prop::collection::vec((prop::collection::vec(0u64..20, 1..50), 0u64..500), 1..50)
    }

    proptest! {
        /// However long turns take and whenever ticks come: rounds keep to their share of the time.
        #[test]
        fn rounds_leave_the_rest_of_the_time_to_everything_else(
            quiet in 10u32..=100,
            busy in 10u32..=100,
            is_busy in any::<bool>(),
            rounds in rounds(),
        ) {
            let mut pace = Pace::new(Shares { quiet, busy }, Instant::now());
            let (spent, whole) = go_round(&mut pace, is_busy, &rounds);
            let share = if is_busy { busy.min(quiet) } else { quiet };
            let most = whole * share / 100 + CREDIT + Duration::from_millis(1);
            prop_assert!(spent <= most, "{spent:?} of {whole:?} at {share} %");
        }
    }

    #[test]
    fn a_round_that_waited_for_commands_goes_on_at_once_when_none_wait() {
        let now = Instant::now();
        let mut pace = Pace::new(Shares { quiet: 80, busy: 20 }, now);
        pace.begin(now, 2);
        let turned = now + Duration::from_millis(10);
        pace.turned(now, turned);
        assert!(pace.rest(turned, true) > Duration::from_millis(25));
        assert_eq!(pace.rest(turned, false), Duration::ZERO);
        assert_eq!(pace.end(turned), Some(Duration::from_millis(10)));
        assert_eq!(pace.rest(turned, false), Duration::from_micros(2_500));
    }

    #[test]
    fn whoever_watches_hears_of_the_sale_every_so_often_whatever_the_load() {
        let now = Instant::now();
        let mut pace = Pace::new(Shares { quiet: 1, busy: 1 }, now);
        assert_eq!(pace.end(now), None, "there was no round");
        pace.begin(now, 4);
        let later = now + Duration::from_secs(3);
        pace.turned(now, later);
        assert_eq!(pace.rest(later, true), MAX_REST / 4);
        pace.end(later);
        assert_eq!(pace.rest(later, false), MAX_REST);
    }
}
