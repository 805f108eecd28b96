//! Measures how a sale's turns and holds end: units taken per turn, turns that nobody used, holds that came back. Pure, except
//! for the times it is given.

use super::pace::KEEP_EVERY;
use crate::stock::{Counters, TickNumber};
use flashsale_protocol::Tick;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Turns are measured over this time.
const WINDOW: Duration = Duration::from_secs(120);
/// Weight, in turns, of the initial assumption that everybody comes.
const PRIOR: f64 = 5.0;
/// Smallest number of turns from which unused ones are measured.
const FEWEST: f64 = 20.0;
/// Initial assumption: one hold of ten comes back.
const LAPSE_PRIOR: (f64, f64) = (1.0, 10.0);

#[derive(Clone, Copy)]
struct TurnsLook {
    at: Instant,
    granted: u64,
    granted_units: u64,
    lapsed: u64,
    claimed_units: u64,
}

#[derive(Default)]
pub struct MeasuredTurns(VecDeque<TurnsLook>);

impl MeasuredTurns {
    /// Writes the measurements into a tick. Returns the share of unused turns.
    pub fn write(&mut self, tick: &mut Tick, counters: &Counters, number: &TickNumber, now: Instant) -> f64 {
        let running = counters.held + counters.ordering;
        let ended = counters.reservations.saturating_sub(running) as f64;
        let (back, of) = LAPSE_PRIOR;
        tick.lapse = hundredths((counters.expired as f64 + back) / (ended + of)).min(1.0);

        let look = TurnsLook {
            at: now,
            granted: number.turns.granted,
            granted_units: number.turns.granted_units,
            lapsed: number.turns.lapsed,
            claimed_units: counters.claimed,
        };
        let zero = TurnsLook {
            at: now,
            granted: 0,
            granted_units: 0,
            lapsed: 0,
            claimed_units: 0,
        };
        let then = self.0.front().copied().unwrap_or(zero);
        if self.0.back().is_none_or(|last| now - last.at >= KEEP_EVERY) {
            self.0.push_back(look);
        }
        while self.0.front().is_some_and(|first| now - first.at > WINDOW) {
            self.0.pop_front();
        }
        let granted = look.granted.saturating_sub(then.granted) as f64;
        let units = look.granted_units.saturating_sub(then.granted_units) as f64;
        let lapsed = look.lapsed.saturating_sub(then.lapsed) as f64;
        let per_turn = if units > 0.0 {
            units / granted.max(1.0)
        } else {
            1.0
        };
        // Ended turns: those granted, less those that still run, plus those that ran at the earlier look.
        let running = look.claimed_units as f64 - then.claimed_units as f64;
        let ended = (granted - running / per_turn).max(lapsed);
        tick.take = hundredths(((ended - lapsed) * per_turn + PRIOR) / (ended + PRIOR));
        if ended >= FEWEST { lapsed / ended } else { 0.0 }
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::super::pace::tests::{number, tick};
    use super::*;
    use crate::stock::Turns;
    use flashsale_protocol::Phase;

    #[test]
    fn turns_that_nobody_uses_are_measured() {
        let mut measured = MeasuredTurns::default();
        let counters = Counters {
            claimed: 20,
            ..Counters::default()
        };
        let turns = Turns {
            granted: 120,
            granted_units: 120,
            lapsed: 40,
            lapsed_units: 40,
        };
        let mut tick = tick(Phase::Live, 50);
        let no_show = measured.write(&mut tick, &counters, &number(120, turns), Instant::now());
        assert!(
            (no_show - 0.4).abs() < 1e-9,
            "of a hundred that have ended, forty: {no_show}"
        );
        assert!((0.55..0.7).contains(&tick.take), "{}", tick.take);
    }
}
