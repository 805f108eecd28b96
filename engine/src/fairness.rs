//! Measures how fair a draw was: the promise of its weights, and the result. Pure.
//!
//! An entry's key is exponentially distributed with its weight as the rate (docs/draw.md), and the smallest keys win. If the last
//! winner's key is t, an entry of weight w had the chance 1 − e^(−wt). Here t is chosen so that the chances add up to the number
//! of winners.

use statrs::function::gamma::gamma_ur;

/// Classes are merged until each has at least this many expected winners and losers; with fewer, the statistic does not follow
/// the distribution (Cochran, "Some methods for strengthening the common χ² tests", Biometrics 10(4), 1954).
const FEWEST_EXPECTED: f64 = 5.0;
/// Halvings that determine t to the last digit of a double.
const HALVINGS: usize = 200;

/// All entries of one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightClass {
    pub weight: u32,
    pub entries: u64,
    pub winners: u64,
}

/// A class with the number of winners that its weight promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    pub class: WeightClass,
    /// The chance of each entry of the class.
    pub chance: f64,
    pub winners: f64,
}

/// Pearson's test of the winners by class against the expected ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquare {
    pub statistic: f64,
    /// Degrees of freedom.
    pub freedom: u32,
    /// The probability that chance alone deviates this much or more, 0 to 1.
    pub p: f64,
}

/// The expected winners of each class.
pub fn expected(classes: &[WeightClass]) -> Vec<Expected> {
    let winners: u64 = classes.iter().map(|class| class.winners).sum();
    let entries: u64 = classes.iter().map(|class| class.entries).sum();
    let chance_at = |class: &WeightClass, t: f64| -(-f64::from(class.weight) * t).exp_m1();
    let winners_at = |t: f64| -> f64 {
        classes
            .iter()
            .map(|class| class.entries as f64 * chance_at(class, t))
            .sum()
    };
    let (mut low, mut high) = (0.0, 1.0);
    if winners >= entries {
        low = f64::INFINITY;
    } else {
        while winners_at(high) < winners as f64 {
            high *= 2.0;
        }
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if winners_at(middle) < winners as f64 {
                low = middle;
            } else {
                high = middle;
            }
        }
    }
    classes
        .iter()
        .map(|class| {
            let chance = chance_at(class, low);
            Expected {
                class: *class,
                chance,
                winners: class.entries as f64 * chance,
            }
        })
        .collect()
}

/// Compares winners and losers by class with the promise of the weights. None: there are no two classes to compare, or too few
/// winners or losers.
pub fn chi_square(classes: &[WeightClass]) -> Option<ChiSquare> {
    let mut all = expected(classes);
    all.sort_by_key(|expected| expected.class.weight);
    // Expected winners, expected losers, winners; classes of neighbouring weights are merged.
    let mut groups: Vec<(f64, f64, f64)> = Vec::new();
    let is_small = |group: &(f64, f64, f64)| group.0 < FEWEST_EXPECTED || group.1 < FEWEST_EXPECTED;
    for expected in all {
        let losers = expected.class.entries as f64 - expected.winners;
        let next = (expected.winners, losers, expected.class.winners as f64);
        match groups.last_mut().filter(|last| is_small(last)) {
            Some(last) => *last = sum(*last, next),
            None => groups.push(next),
        }
    }
    if let Some(last) = groups.pop_if(|last| is_small(last)) {
        let before = groups.last_mut()?;
        *before = sum(*before, last);
    }
    if groups.len() < 2 {
        return None;
    }
    // Each group has two cells, which deviate from the expected values by the same number.
    let statistic = groups
        .iter()
        .map(|(winners, losers, won)| (won - winners).powi(2) * (1.0 / winners + 1.0 / losers))
        .sum();
    let freedom = groups.len() as u32 - 1;
    Some(ChiSquare {
        statistic,
        freedom,
        p: chi_square_tail(statistic, freedom),
    })
}

fn sum(a: (f64, f64, f64), b: (f64, f64, f64)) -> (f64, f64, f64) {
    (a.0 + b.0, a.1 + b.1, a.2 + b.2)
}

/// Gini's coefficient of the entries' chances: 0 if all are equal, near 1 if few entries have almost all. None without entries,
/// or if nobody had a chance.
pub fn gini(classes: &[WeightClass]) -> Option<f64> {
    let mut all = expected(classes);
    all.sort_by(|a, b| a.chance.total_cmp(&b.chance));
    let entries: f64 = all.iter().map(|expected| expected.class.entries as f64).sum();
    let chances: f64 = all.iter().map(|expected| expected.winners).sum();
    if entries == 0.0 || chances == 0.0 {
        return None;
    }
    // Twice the area below Lorenz's curve, one trapezium per class.
    let (mut below, mut area) = (0.0, 0.0);
    for expected in all {
        let above = below + expected.winners / chances;
        area += expected.class.entries as f64 / entries * (below + above);
        below = above;
    }
    Some((1.0 - area).max(0.0))
}

/// The probability that a χ² with this many degrees of freedom is at least `statistic`: Q(freedom / 2, statistic / 2), the
/// regularized incomplete gamma function (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.19).
fn chi_square_tail(statistic: f64, freedom: u32) -> f64 {
    if statistic <= 0.0 || freedom == 0 {
        return 1.0;
    }
    gamma_ur(f64::from(freedom) / 2.0, statistic / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::draw::{Drum, Entry, Pick, Seed};
    use proptest::prelude::*;

    fn class(weight: u32, entries: u64, winners: u64) -> WeightClass {
        WeightClass {
            weight,
            entries,
            winners,
        }
    }

    #[test]
    fn the_tail_is_that_of_the_tables() {
        // Abramowitz and Stegun, table 26.8: the percentage points of the χ² distribution.
        for (freedom, statistic, p) in [
            (1, 3.84146, 0.05),
            (1, 6.63490, 0.01),
            (2, 5.99146, 0.05),
            (5, 0.554300, 0.99),
            (10, 18.3070, 0.05),
            (10, 9.34182, 0.5),
            (30, 59.7031, 0.001),
            (100, 124.342, 0.05),
        ] {
            let tail = chi_square_tail(statistic, freedom);
            assert!((tail - p).abs() < p * 1e-4, "{freedom} {statistic}: {tail}");
        }
        assert_eq!(chi_square_tail(0.0, 3), 1.0);
        assert!(chi_square_tail(10_000.0, 3) < 1e-300);
    }

    #[test]
    fn equal_chances_have_no_test_by_class_and_no_inequality() {
        let one = [class(1, 1_000, 100)];
        assert_eq!((chi_square(&one), gini(&one)), (None, Some(0.0)));
        assert_eq!((chi_square(&[]), gini(&[])), (None, None));
        assert_eq!(
            gini(&[class(1, 10, 0)]),
            None,
            "nobody has won, so nobody had a chance"
        );
        assert_eq!(
            gini(&[class(1, 5, 5), class(9, 5, 5)]),
            Some(0.0),
            "everybody wins"
        );
    }

    #[test]
    fn chances_follow_the_weights_where_few_win() {
        let classes = [class(1, 100_000, 25), class(3, 100_000, 75)];
        let all = expected(&classes);
        assert!(
            (all[0].winners - 25.0).abs() < 0.1 && (all[1].winners - 75.0).abs() < 0.1,
            "{all:?}"
        );
        assert!((gini(&classes).expect("chances") - 0.25).abs() < 0.001);
    }

    #[test]
    fn a_draw_that_ignores_the_weights_is_found_out() {
        let test = chi_square(&[class(1, 1_000, 100), class(10, 1_000, 100)]).expect("a test");
        assert_eq!(test.freedom, 1);
        assert!(test.p < 1e-12, "{test:?}");
    }

    #[test]
    fn classes_too_small_to_tell_are_put_together() {
        let test = chi_square(&[class(1, 1_000, 50), class(2, 10, 1), class(3, 1_000, 150)]).expect("a test");
        assert_eq!(test.freedom, 1);
        assert_eq!(chi_square(&[class(1, 3, 1), class(2, 3, 1)]), None);
    }

    /// 200 real draws: a correct test has p evenly between 0 and 1, so about 20 are below a tenth.
    #[test]
    fn real_draws_pass_as_often_as_they_should() {
        const DRAWS: u8 = 200;
        let low = (0..DRAWS)
            .filter(|draw| {
                let drum = Drum::new(&Seed([*draw; 32]), None);
                let entries: Vec<Entry> = (0..1_000)
                    .map(|n| Entry {
                        name: format!("e{n:04}"),
                        weight: 1 + n % 5,
                        quantity: 1,
                    })
                    .collect();
                let mut pick = Pick::new(200, None);
                entries.iter().for_each(|entry| pick.add(&drum, entry));
                let winners = pick.winners();
                let classes: Vec<WeightClass> = (1..=5)
                    .map(|weight| {
                        let won = winners.iter().filter(|winner| {
                            let n: u32 = winner.rank.entry[1..].parse().expect("a number");
                            1 + n % 5 == weight
                        });
                        class(weight, 200, won.count() as u64)
                    })
                    .collect();
                chi_square(&classes).expect("a test").p < 0.1
            })
            .count();
        assert!((8..=35).contains(&low), "{low} of {DRAWS} below a tenth");
    }

    proptest! {
        #[test]
        fn numbers_stay_in_their_ranges(
            sizes in proptest::collection::vec((1..=1_000_u32, 0..1_000_000_u64, 0.0..=1.0_f64), 0..50),
        ) {
            let classes: Vec<WeightClass> = sizes
                .iter()
                .map(|(weight, entries, share)| class(*weight, *entries, (*entries as f64 * share) as u64))
                .collect();
            let winners: u64 = classes.iter().map(|class| class.winners).sum();
            let promised: f64 = expected(&classes).iter().map(|class| class.winners).sum();
            prop_assert!((promised - winners as f64).abs() <= 1e-6 * (winners as f64 + 1.0));
            if let Some(gini) = gini(&classes) {
                prop_assert!((0.0..1.0).contains(&gini), "{gini}");
            }
            if let Some(test) = chi_square(&classes) {
                prop_assert!((0.0..=1.0).contains(&test.p) && test.statistic >= 0.0, "{test:?}");
            }
        }
    }
}
