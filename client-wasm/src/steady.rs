//! A chance as a word that does not flicker. The chance by the numbers may go from "under 1 %" to "over 99 %" within a second when a
//! cart comes back; a person cannot follow that. Pure: chances and times in, a word out.

use flashsale_protocol::wait;
use serde::Serialize;

/// The time constant of the average. A change is believed after about this time.
const AVERAGE_MS: f64 = 4_000.0;
/// Another word needs this much more than its threshold…
const MARGIN: f64 = 0.05;
/// …and the present one has been shown for this long.
const SHOWN_MS: u64 = 5_000;

/// The chance of a shopper at this place, by the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Chance {
    /// The shopper need not worry.
    Good,
    Possible,
    /// They will probably not get one.
    Slim,
}

impl Chance {
    fn of(chance: f64) -> Self {
        match chance {
            _ if chance >= wait::LIKELY => Self::Good,
            _ if chance >= wait::UNLIKELY => Self::Possible,
            _ => Self::Slim,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Steady {
    average: f64,
    at: u64,
    word: Chance,
    since: u64,
}

impl Steady {
    /// Takes the chance of now; what was shown before has a say.
    pub fn follow(before: Option<Self>, chance: f64, now: u64) -> Self {
        let Some(before) = before else {
            return Self {
                average: chance,
                at: now,
                word: Chance::of(chance),
                since: now,
            };
        };
        #[expect(clippy::cast_precision_loss, reason = "a time between two ticks")]
        let share = 1.0 - (-(now.saturating_sub(before.at) as f64) / AVERAGE_MS).exp();
        let average = before.average + (chance - before.average) * share;
        // Towards the word that is shown: it keeps its place unless the average has clearly left it.
        let (low, high) = (Chance::of(average - MARGIN), Chance::of(average + MARGIN));
        let is_clear = low != before.word && high != before.word;
        let may_change = now.saturating_sub(before.since) >= SHOWN_MS;
        let word = if is_clear && may_change {
            Chance::of(average)
        } else {
            before.word
        };
        Self {
            average,
            at: before.at.max(now),
            word,
            since: if word == before.word { before.since } else { now },
        }
    }

    pub fn word(&self) -> Chance {
        self.word
    }

    /// In whole percent, of the average.
    pub fn percent(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let percent = (self.average.clamp(0.0, 1.0) * 100.0).round() as u32;
        percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(chances: &[(u64, f64)]) -> Steady {
        let follow = |before, (at, chance): &(u64, f64)| Some(Steady::follow(before, *chance, *at));
        chances.iter().fold(None, follow).expect("a chance")
    }

    #[test]
    fn a_chance_that_jumps_for_a_second_changes_no_word() {
        // Under 1 % → over 99 % → under 1 % in 1.4 s, as it was seen.
        let jumped = after(&[(0, 0.005), (10_000, 0.005), (10_700, 0.995), (11_400, 0.005)]);
        assert_eq!(jumped.word(), Chance::Slim);
    }

    #[test]
    fn a_chance_that_stays_is_said_within_seconds() {
        let mut chances = vec![(0, 0.0)];
        chances.extend((1..=20).map(|second| (second * 1_000, 1.0)));
        assert_eq!(after(&chances).word(), Chance::Good);
    }

    #[test]
    fn the_first_chance_is_said_at_once() {
        assert_eq!(after(&[(7, 0.95)]).word(), Chance::Good);
        assert_eq!(after(&[(7, 0.1)]).percent(), 10);
    }

    proptest! {
        #[test]
        fn no_word_is_shown_for_less_than_its_time(chances in prop::collection::vec((1u64..2_000, 0.0f64..1.0), 2..200)) {
            let mut shown: Option<Steady> = None;
            let (mut at, mut changed_at) = (0, None);
            for (pause, chance) in chances {
                at += pause;
                let next = Steady::follow(shown, chance, at);
                if shown.is_some_and(|before| before.word() != next.word()) {
                    prop_assert!(changed_at.is_none_or(|changed: u64| at - changed >= SHOWN_MS));
                    changed_at = Some(at);
                }
                shown = Some(next);
            }
        }
    }
}
