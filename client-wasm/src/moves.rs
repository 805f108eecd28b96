//! How a line has moved while this page watched it: what was called, and when last. A page that says "the line is not moving" must
//! have seen that; the pace of a tick is an estimate of the future. Pure: ticks in, numbers out.

use flashsale_protocol::Tick;
use serde::Serialize;
use std::collections::VecDeque;

/// The time that "in the last minute" looks back.
pub const WINDOW_MS: u64 = 60_000;
/// The pace of now is that of these last seconds.
const NOW_MS: u64 = 10_000;
/// Looks are at least this far apart, so that there are few of them whatever the ticks' pace.
const LOOK_EVERY_MS: u64 = 500;
/// Looks that are kept: those of the window, and one before it.
const LOOKS_KEPT: usize = (WINDOW_MS / LOOK_EVERY_MS) as usize + 2;

/// What was seen of a line's calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Moves {
    /// Entries called in the last minute, or since this page watches, if that is shorter.
    pub called: u64,
    /// The time in which they were called: a minute at most.
    pub watched_ms: u64,
    /// Entries called a second, over the last ten seconds.
    pub per_second: f64,
    /// Time since the last call that this page has seen; null: it has seen none.
    pub last_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: u64,
    everybody: u64,
    priority: u64,
}

/// The looks at both lines of a sale, oldest first.
#[derive(Debug, Default)]
pub struct Watched {
    looks: VecDeque<Look>,
    last: Option<Look>,
    last_call: Option<u64>,
    last_priority_call: Option<u64>,
}

impl Watched {
    pub fn saw(&mut self, tick: &Tick) {
        let look = Look {
            at: tick.now,
            everybody: tick.admitted,
            priority: tick.priority_admitted,
        };
        if let Some(last) = self.last {
            if look.everybody < last.everybody || look.priority < last.priority || look.at < last.at {
                // The line was made anew: what was counted before means nothing.
                *self = Self::default();
            } else {
                if look.everybody > last.everybody {
                    self.last_call = Some(look.at);
                }
                if look.priority > last.priority {
                    self.last_priority_call = Some(look.at);
                }
            }
        }
        self.last = Some(look);
        if self
            .looks
            .back()
            .is_none_or(|back| look.at >= back.at + LOOK_EVERY_MS)
        {
            self.looks.push_back(look);
        }
        let is_before_window = |look: &Look| look.at + WINDOW_MS < tick.now;
        // One from before the window stays: calls are counted from it on.
        while self.looks.len() > LOOKS_KEPT || self.looks.get(1).is_some_and(is_before_window) {
            self.looks.pop_front();
        }
    }

    /// What was seen of one of the two lines until `now`.
    pub fn moves(&self, priority: bool, now: u64) -> Option<Moves> {
        let last = self.last?;
        let of = |look: &Look| if priority { look.priority } else { look.everybody };
        let since = |ms: u64| {
            let from = now.saturating_sub(ms);
            let before = self.looks.iter().rev().find(|look| look.at <= from);
            before.or(self.looks.front()).copied().unwrap_or(last)
        };
        let (minute, short) = (since(WINDOW_MS), since(NOW_MS));
        let short_ms = now.saturating_sub(short.at).clamp(1_000, NOW_MS);
        let last_call = if priority {
            self.last_priority_call
        } else {
            self.last_call
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of people and milliseconds are below 2^53"
        )]
        let per_second = (of(&last) - of(&short)) as f64 * 1_000.0 / short_ms as f64;
        Some(Moves {
            called: of(&last) - of(&minute),
            watched_ms: now.saturating_sub(minute.at).min(WINDOW_MS),
            per_second,
            last_ms: last_call.map(|at| now.saturating_sub(at)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::tick;
    use proptest::prelude::*;

    fn watched(ticks: &[(u64, u64)]) -> Watched {
        let mut watched = Watched::default();
        for (at, admitted) in ticks {
            watched.saw(&Tick {
                admitted: *admitted,
                ..tick(*at, *at)
            });
        }
        watched
    }

    #[test]
    fn a_line_that_falls_in_bursts_moves_whatever_its_pace_is_said_to_be() {
        // 58 → 5 in 5.4 s, as it was seen under "The line is not moving".
        let burst = watched(&[(0, 0), (1_000, 9), (2_000, 18), (3_000, 27), (5_400, 53)]);
        let moves = burst.moves(false, 5_400).expect("seen");
        assert_eq!((moves.called, moves.last_ms), (53, Some(0)));
        assert!((9.0..11.0).contains(&moves.per_second), "{moves:?}");
    }

    #[test]
    fn a_line_that_stands_says_since_when() {
        let stands = watched(&[(0, 0), (1_000, 4), (2_000, 4), (40_000, 4)]);
        let moves = stands.moves(false, 42_000).expect("seen");
        assert_eq!(
            (moves.called, moves.per_second, moves.last_ms),
            (4, 0.0, Some(41_000))
        );
        let later = watched(&[(0, 0), (1_000, 4), (2_000, 4), (90_000, 4)]);
        let moves = later.moves(false, 90_000).expect("seen");
        assert_eq!((moves.called, moves.watched_ms), (0, WINDOW_MS));
    }

    #[test]
    fn what_nobody_has_seen_is_not_said() {
        assert_eq!(Watched::default().moves(false, 5), None);
        let once = watched(&[(1_000, 700)]).moves(false, 2_000).expect("seen");
        assert_eq!((once.called, once.watched_ms, once.last_ms), (0, 1_000, None));
    }

    #[test]
    fn a_line_that_was_made_anew_is_counted_anew() {
        let moves = watched(&[(0, 50), (1_000, 60), (2_000, 0), (3_000, 1)]).moves(false, 3_000);
        assert_eq!(moves.map(|moves| moves.called), Some(1));
    }

    #[test]
    fn the_priority_line_moves_for_itself() {
        let mut watched = Watched::default();
        for (at, admitted, priority_admitted) in [(0, 0, 0), (1_000, 0, 3)] {
            watched.saw(&Tick {
                admitted,
                priority_admitted,
                ..tick(at, at)
            });
        }
        let called = |priority| watched.moves(priority, 1_000).map(|moves| moves.called);
        assert_eq!((called(false), called(true)), (Some(0), Some(3)));
    }

    proptest! {
        #[test]
        fn looks_are_few_and_calls_are_never_more_than_there_were(steps in prop::collection::vec((1u64..5_000, 0u64..50), 1..400)) {
            let mut watched = Watched::default();
            let (mut at, mut admitted) = (0, 0);
            for (pause, called) in steps {
                at += pause;
                admitted += called;
                watched.saw(&Tick { admitted, ..tick(at, at) });
                prop_assert!(watched.looks.len() <= LOOKS_KEPT);
                let moves = watched.moves(false, at).expect("seen");
                prop_assert!(moves.called <= admitted && moves.per_second >= 0.0);
            }
        }
    }
}
