//! The honest wait: when a place's turn comes, and how likely a unit is left then. Pure, computed from the shared tick alone, so
//! that the server (REST) and the browser say the same, and nobody needs their own frame for it.

use crate::{Entry, EntryState, Phase, Reason, Tick};
use serde::Serialize;

/// Below this chance a shopper is told that they will probably not get a unit.
pub const UNLIKELY: f64 = 0.25;
/// From this chance on, a shopper need not worry.
pub const LIKELY: f64 = 0.9;

/// Longer waits are not shown: nobody could plan with them.
const LONGEST_MS: f64 = 24.0 * 3_600_000.0;

/// This few units are called at once, however slow the line was before.
const FEW_UNITS: f64 = 10.0;
/// Time within which abandoned carts and turns return.
const CARTS_MS: f64 = 60_000.0;
/// Smallest number of units taken per turn; below it the estimate would have no meaning.
const LEAST_KEPT: f64 = 0.01;

/// The expectations of a shopper in line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Wait {
    /// 1 is next.
    pub position: u64,
    /// Shortest time until the turn; none while nothing moves.
    pub soonest_ms: Option<u64>,
    /// Longest time until the turn, as far as the measured rate tells.
    pub latest_ms: Option<u64>,
    /// The chance to get a unit, 0 to 1: at the turn, or, if the sale ends before it, in the draw of the units left.
    pub chance: f64,
    /// Why it takes longer than before, or ends in a draw.
    pub reason: Option<Reason>,
}

/// The wait of an entry, by this tick. None: it does not wait, or its place is not drawn yet.
pub fn of(entry: &Entry, tick: &Tick) -> Option<Wait> {
    if entry.state != EntryState::Waiting || entry.position == 0 {
        return None;
    }
    let position = entry.position_at(tick);
    let (slow, fast) = paces(entry, tick);
    // Without a free unit the line stands still, however fast it was.
    let moves = tick.phase == Phase::Live && tick.available > 0;
    let ms = |pace: f64| {
        let ms = position as f64 / pace * 1000.0;
        (moves && pace > 0.0 && ms <= LONGEST_MS.min(left_ms(tick))).then_some(ms as u64)
    };
    // A turn needs a unit. If the people ahead may take all free ones, nobody can say when the next one comes.
    let free_for_all_ahead = (position - 1) as f64 * tick.take < tick.available as f64;
    let (soonest_ms, latest_ms) = (ms(fast), ms(slow).filter(|_| free_for_all_ahead));
    let in_time = turn_in_time(entry, position, tick);
    let (at_turn, of_the_rest) = (chance(entry, position, tick), chance_of_the_rest(tick));
    Some(Wait {
        position,
        soonest_ms,
        latest_ms,
        // A shopper whose turn brings nothing is still in line at the end.
        chance: in_time * at_turn + (1.0 - in_time * at_turn) * of_the_rest,
        reason: if in_time > 0.0 {
            tick.slowed
        } else {
            Some(Reason::EndsFirst)
        },
    })
}

/// The lowest and the highest number of entries called in a second.
fn paces(entry: &Entry, tick: &Tick) -> (f64, f64) {
    if entry.priority {
        (tick.priority_pace, tick.priority_pace)
    } else {
        (tick.pace_low, tick.pace_high)
    }
}

fn left_ms(tick: &Tick) -> f64 {
    tick.ends_at.saturating_sub(tick.now) as f64
}

/// The chance that the turn comes before the sale ends. All paces between the two count as equally likely. If the free units run
/// out before the time does, lack of time is not why the line stands; then the units decide.
fn turn_in_time(entry: &Entry, position: u64, tick: &Tick) -> f64 {
    let (slow, fast) = paces(entry, tick);
    if tick.phase != Phase::Live || fast <= 0.0 {
        return 1.0;
    }
    let (expected, seconds) = (Expected::by(tick), left_ms(tick) / 1000.0);
    let called = |pace: f64| {
        let all = (pace + if entry.priority { 0.0 } else { tick.priority_pace }) * seconds;
        if all * expected.keep + FEW_UNITS >= tick.available as f64 {
            f64::INFINITY
        } else {
            pace * seconds + expected.back_in_time / expected.keep.max(LEAST_KEPT)
        }
    };
    let (least, most, position) = (called(slow), called(fast), position as f64);
    if position <= least {
        1.0
    } else if most.is_infinite() {
        // Between a pace that leaves some units and one that leaves none.
        0.5
    } else if position >= most {
        0.0
    } else {
        (most - position) / (most - least)
    }
}

/// The chance in the draw of the units left at the end, among all who have had no turn by then, if they want as many units as
/// others take.
fn chance_of_the_rest(tick: &Tick) -> f64 {
    if tick.phase != Phase::Live {
        return 0.0;
    }
    let expected = Expected::by(tick);
    let pace = (tick.pace_low + tick.pace_high) / 2.0 + tick.priority_pace;
    let free = tick.available as f64;
    let taken = (pace * left_ms(tick) / 1000.0 * expected.keep).min(free) + expected.back_in_time;
    let left = (free + expected.back - taken).max(0.0);
    let others = tick.waiting as f64 - taken / expected.keep.max(LEAST_KEPT);
    (left / (others.max(1.0) * tick.take.max(1.0))).min(1.0)
}

/// The average results of turns and carts.
struct Expected {
    /// Units that a turn takes for good.
    keep: f64,
    /// The share of a turn that comes back.
    given_back: f64,
    /// Units in carts and orders, and the share of them that comes back.
    in_carts: f64,
    lapse: f64,
    /// Units that come back, and those that do so before the sale ends.
    back: f64,
    back_in_time: f64,
}

impl Expected {
    fn by(tick: &Tick) -> Expected {
        let lapse = tick.lapse.clamp(0.0, 1.0);
        let in_carts = (tick.held + tick.ordering + tick.unpaid) as f64;
        let keep = tick.take.max(0.0) * (1.0 - lapse);
        let given_back = (1.0 - keep).clamp(0.0, 1.0);
        let back = in_carts * lapse + tick.claimed as f64 * given_back;
        // Hardly any come back in the last moments; before the start there is no end to reach.
        let in_time = match tick.phase {
            Phase::Live => (left_ms(tick) / CARTS_MS).min(1.0),
            _ => 1.0,
        };
        Expected {
            keep,
            given_back,
            in_carts,
            lapse,
            back,
            back_in_time: back * in_time,
        }
    }
}

/// The chance that, at one's turn, there are enough units for everybody ahead and for this shopper. Units in carts come back with
/// the measured share of lapsing holds; everybody ahead takes the measured number of units and gives that share of them back.
/// Both are sums of many small chances, so they are nearly normal.
fn chance(entry: &Entry, position: u64, tick: &Tick) -> f64 {
    if matches!(tick.phase, Phase::Ended | Phase::Cancelled) {
        return 0.0;
    }
    let ahead = position.saturating_sub(1) as f64;
    // The priority line is called at its own share, and ordinary entries wait for it; not the other way round.
    let first = if entry.priority {
        0.0
    } else {
        called_before(position, tick)
    };
    let Expected {
        keep,
        given_back,
        in_carts,
        lapse,
        back_in_time,
        ..
    } = Expected::by(tick);
    let units = tick.available as f64 + back_in_time;
    let wanted = (ahead + first) * keep + 1.0;
    let turns = ahead + first + tick.claimed as f64;
    let variance = in_carts * lapse * (1.0 - lapse) + turns * keep.min(1.0) * given_back;
    // Half a unit corrects for whole units.
    let surplus = units - wanted + 0.5;
    if variance < 1e-9 {
        return if surplus > 0.0 { 1.0 } else { 0.0 };
    }
    normal(surplus / variance.sqrt())
}

/// People in the priority line who are called before an ordinary place; all of them if no pace is known.
fn called_before(position: u64, tick: &Tick) -> f64 {
    let all = tick.priority_waiting as f64;
    let pace = (tick.pace_low + tick.pace_high) / 2.0;
    if pace <= 0.0 || tick.priority_pace <= 0.0 {
        return all;
    }
    all.min(tick.priority_pace * position as f64 / pace)
}

/// The normal distribution: the chance of a value up to `z`. Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17;
/// its error is below 10^-7.
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
        * t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    if z > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tick() -> Tick {
        serde_json::from_str(
            r#"{"sale":"01ARZ3NDEKTSV4RRFFQ69G5FAV","seq":1,"now":1,"phase":"live","starts_at":0,"ends_at":3600001,"supply":100,
                "available":100,"claimed":0,"held":0,"ordering":0,"sold":0,"unpaid":0,"waiting":1000,"admitted":0,
                "pace":10.0,"pace_low":8.0,"pace_high":12.5,"take":1.0,"lapse":0.1}"#,
        )
        .expect("a tick")
    }

    fn at(position: u64) -> Entry {
        Entry {
            position,
            ..Entry::settled(tick().sale, EntryState::Waiting, 1, 1)
        }
    }

    fn chance_at(position: u64, tick: &Tick) -> f64 {
        of(&at(position), tick).expect("waits").chance
    }

    #[test]
    fn the_range_is_the_place_over_the_measured_rates() {
        let wait = of(&at(100), &tick()).expect("waits");
        assert_eq!((wait.soonest_ms, wait.latest_ms), (Some(8_000), Some(12_500)));
        let still = Tick {
            pace_low: 0.0,
            ..tick()
        };
        assert_eq!(
            of(&at(100), &still).expect("waits").latest_ms,
            None,
            "no end in sight"
        );
        let behind = of(&at(101), &tick()).expect("waits");
        assert_eq!(
            (behind.soonest_ms, behind.latest_ms),
            (Some(8_080), None),
            "more ahead than units"
        );
        let none_free = Tick {
            available: 0,
            ..tick()
        };
        assert_eq!(of(&at(1), &none_free).expect("waits").soonest_ms, None);
        let paused = Tick {
            phase: Phase::Paused,
            ..tick()
        };
        assert_eq!(of(&at(100), &paused).expect("waits").soonest_ms, None);
    }

    #[test]
    fn a_place_that_is_not_drawn_yet_has_no_wait() {
        assert_eq!(of(&at(0), &tick()), None);
    }

    #[test]
    fn as_many_units_as_people_ahead_is_one_too_few() {
        let all_are_kept = Tick { lapse: 0.0, ..tick() };
        assert_eq!(chance_at(100, &all_are_kept), 1.0, "the last unit is mine");
        assert_eq!(
            chance_at(101, &all_are_kept),
            0.0,
            "the one behind gets none while everybody takes one"
        );
    }

    #[test]
    fn what_those_ahead_will_give_back_counts_for_whoever_is_behind() {
        let few = Tick {
            available: 5,
            ..tick()
        };
        // The chance that one of five lapses, each with a chance of 0.1: 0.41.
        let sixth = chance_at(6, &few);
        assert!((0.3..0.6).contains(&sixth), "{sixth}");
        assert!(chance_at(9, &few) < UNLIKELY);
    }

    #[test]
    fn whose_turn_comes_after_the_end_is_told_so_and_has_the_chance_of_the_draw() {
        // 700 units are free; 160 to 240 of a thousand in line are called before the end.
        let ends_soon = Tick {
            ends_at: 20_001,
            supply: 1000,
            available: 700,
            pace_high: 12.0,
            ..tick()
        };
        let wait = |position| of(&at(position), &ends_soon).expect("waits");
        let (called, between, not_called) = (wait(150), wait(200), wait(300));
        assert_eq!((called.reason, called.chance > LIKELY), (None, true));
        assert_eq!(called.latest_ms, Some(18_750));
        assert_eq!((between.soonest_ms, between.latest_ms), (Some(16_666), None));
        assert_eq!(not_called.reason, Some(Reason::EndsFirst));
        assert_eq!((not_called.soonest_ms, not_called.latest_ms), (None, None));
        // 200 are called and keep nine of ten: 520 are left for 800.
        assert!((not_called.chance - 0.65).abs() < 1e-9, "{not_called:?}");
        assert!(between.chance < called.chance && between.chance > not_called.chance);
        let cut = Tick {
            slowed: Some(Reason::InflowCut),
            ..ends_soon.clone()
        };
        let reason = |position| of(&at(position), &cut).expect("waits").reason;
        assert_eq!(
            (reason(200), reason(300)),
            (Some(Reason::InflowCut), Some(Reason::EndsFirst))
        );
        // Each turn takes four, and so do those in the draw, or they get fewer.
        let fours = Tick {
            take: 4.0,
            lapse: 0.0,
            available: 2_000,
            ..ends_soon
        };
        let chance = chance_at(300, &fours);
        assert!(
            (chance - 0.375).abs() < 1e-9,
            "1,200 for 800 who want four each: {chance}"
        );
    }

    #[test]
    fn a_line_that_stands_for_lack_of_units_does_not_stand_for_lack_of_time() {
        let stands = Tick {
            ends_at: 300_001,
            available: 0,
            held: 100,
            lapse: 0.5,
            waiting: 400,
            pace_low: 0.0,
            pace_high: 0.0,
            ..tick()
        };
        // One is called a minute, and the chance must not jump with each call.
        let looks = [(0, 0.0), (0, 0.033), (1, 0.0), (1, 0.033)].map(|(available, pace_high)| Tick {
            available,
            pace_high,
            ..stands.clone()
        });
        for tick in &looks {
            let behind = of(&at(300), tick).expect("waits");
            assert!(
                behind.chance < 0.01 && behind.reason.is_none(),
                "the units that come back go to the front: {behind:?}"
            );
            let wait = of(&at(30), tick).expect("waits");
            assert!(wait.chance > 0.9 && wait.reason.is_none(), "{tick:?}: {wait:?}");
        }
        let last_second = Tick {
            ends_at: 1_001,
            ..stands
        };
        let chance = chance_at(30, &last_second);
        assert!(
            (0.1..0.2).contains(&chance),
            "50 come back, for 400 by lot: {chance}"
        );
    }

    #[test]
    fn the_priority_line_counts_as_far_as_it_is_called_before() {
        let tick = Tick {
            ends_at: 20_001,
            available: 300,
            priority_waiting: 400,
            priority_pace: 2.0,
            pace_low: 1.0,
            pace_high: 20.0,
            ..tick()
        };
        let chances = [1, 100, 200, 401].map(|position| chance_at(position, &tick));
        assert!(chances[0] > LIKELY, "{chances:?}");
        assert!(chances.is_sorted_by(|a, b| a >= b), "{chances:?}");
    }

    #[test]
    fn who_stands_far_behind_is_told_early_and_no_shows_ahead_help() {
        let some_stay_away = Tick { take: 0.5, ..tick() };
        assert!(chance_at(150, &some_stay_away) > LIKELY);
        assert!(chance_at(300, &some_stay_away) < UNLIKELY);
    }

    #[test]
    fn units_in_carts_count_with_the_share_that_comes_back() {
        let in_carts = Tick {
            available: 0,
            held: 100,
            ..tick()
        };
        assert!(
            chance_at(1, &in_carts) > LIKELY,
            "of a hundred carts one comes back"
        );
        assert!(chance_at(40, &in_carts) < 0.001);
        let near = chance_at(10, &in_carts);
        assert!(
            (0.4..0.75).contains(&near),
            "ten of a hundred come back, more or less: {near}"
        );
    }

    #[test]
    fn nothing_is_left_of_a_sale_that_is_over() {
        let over = Tick {
            phase: Phase::Ended,
            ..tick()
        };
        assert_eq!(chance_at(1, &over), 0.0);
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (z, chance) in [
            (0.0, 0.5),
            (1.0, 0.841_344_7),
            (-1.96, 0.024_997_9),
            (4.0, 0.999_968_3),
        ] {
            assert!((normal(z) - chance).abs() < 1e-6, "{z}");
        }
    }

    proptest! {
        #[test]
        fn a_better_place_never_has_a_worse_chance(
            (near, far) in (1..5_000_u64, 1..5_000_u64), available in 0..500_u64, held in 0..500_u64,
            take in 0.0..1.0_f64, lapse in 0.0..1.0_f64, ends_at in 1..600_000_u64,
            (priority_waiting, priority_pace) in (0..500_u64, 0.0..5.0_f64),
        ) {
            let tick = Tick {
                available, held, take, lapse, ends_at, priority_waiting, priority_pace,
                ..tick()
            };
            let (near, far) = (near.min(far), near.max(far));
            let (here, there) = (chance_at(near, &tick), chance_at(far, &tick));
            prop_assert!((0.0..=1.0).contains(&here));
            // If more people come than there are units, a wider spread does not raise the chance.
            if units_expected(&tick) >= 1.0 && there > 0.5 {
                prop_assert!(here >= there - 1e-9, "{near}: {here}, {far}: {there}");
            }
        }
    }

    fn units_expected(tick: &Tick) -> f64 {
        tick.available as f64 + tick.held as f64 * tick.lapse
    }
}
