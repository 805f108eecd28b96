//! A sale's fairness, for the operator: how far the line kept its order, and the draw with its weights.

use crate::app::App;
use flashsale_engine::{
    error::Result,
    fairness::{self, WeightClass},
    sale::Sale,
    stock::LineCounts,
    store::Outcomes,
};
use flashsale_protocol::{Allocation, Phase, Tick};
use serde::Serialize;
use utoipa::ToSchema;

/// Number of devices in `top_devices_share`.
const TOP_DEVICES: i64 = 10;

/// A sale's fairness in numbers. A number is null if the sale has no line, no draw, or too little data for it.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Fairness {
    /// Entries served after somebody from behind them, not counting people who were absent at their turn. 0 in a first-come line.
    order_inversions: Option<u64>,
    /// The share of unused turns, of all turns since the sale began (in line, by the draw, passed on).
    no_show_rate: Option<f64>,
    /// Entries called in a second, now.
    queue_move_rate: Option<f64>,
    entries_served: u64,
    /// Entries in line, and those absent at their turn: they may still have one.
    entries_waiting: u64,
    entries_left: u64,
    /// Entries of people who already had as many units as one person may have.
    entries_removed: u64,
    /// Entries of people who were away too long.
    entries_expired: u64,
    entries_not_served: u64,
    /// Waiting times of served entries, from the start of the sale on; at most a tenth too much.
    wait_seconds_p50: Option<f64>,
    wait_seconds_p90: Option<f64>,
    wait_seconds_p99: Option<f64>,
    /// The share of all units in orders that went to the ten devices with the most units.
    top_devices_share: Option<f64>,
    /// The draw by weight. Empty before the draw.
    weights: Vec<Weight>,
    /// Winners by weight against the expected ones. Null with only one weight, or with too few winners.
    chi_square: Option<ChiSquare>,
    /// Gini's coefficient of the entries' chances in the draw; 0 if all are equal.
    win_chance_gini: Option<f64>,
}

/// All entries of one weight in the draw.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Weight {
    weight: u32,
    entries: u64,
    winners: u64,
    /// The number of winners that the weight promised.
    expected_winners: f64,
}

/// Pearson's test: with a small p, chance alone would rarely deviate this much.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChiSquare {
    statistic: f64,
    degrees_of_freedom: u32,
    p: f64,
}

/// `line` has the line's counts, and `tick` the published state, as in the rest of the answer.
pub(crate) async fn of_sale(app: &App, sale: &Sale, line: &LineCounts, tick: &Tick) -> Result<Fairness> {
    let (outcomes, top_devices_share, classes) = tokio::try_join!(
        outcomes(app, sale, line, tick),
        app.shop.store.top_devices_share(sale.id, TOP_DEVICES),
        app.shop.store.draw_classes(sale.id),
    )?;
    let has_line = sale.allocation == Allocation::Queue;
    Ok(Fairness {
        order_inversions: has_line.then_some(line.inversions),
        no_show_rate: line.no_show_rate(),
        queue_move_rate: tick
            .pace
            .filter(|_| has_line)
            .map(|pace| pace + tick.priority_pace),
        entries_served: outcomes.served,
        entries_waiting: outcomes.waiting,
        entries_left: outcomes.left,
        entries_removed: outcomes.removed,
        entries_expired: outcomes.expired,
        entries_not_served: outcomes.not_served,
        wait_seconds_p50: outcomes.p50_s,
        wait_seconds_p90: outcomes.p90_s,
        wait_seconds_p99: outcomes.p99_s,
        top_devices_share,
        weights: weights(&classes),
        chi_square: fairness::chi_square(&classes).map(|test| ChiSquare {
            statistic: test.statistic,
            degrees_of_freedom: test.freedom,
            p: test.p,
        }),
        win_chance_gini: fairness::gini(&classes),
    })
}

/// The outcomes are from Postgres, about a second late; the number of waiting people is the line's own, of now.
async fn outcomes(app: &App, sale: &Sale, line: &LineCounts, tick: &Tick) -> Result<Outcomes> {
    if sale.allocation == Allocation::Queue {
        let outcomes = app.shop.store.outcomes(sale.id).await?;
        let waiting = waiting(sale, line, tick) + line.parked;
        return Ok(Outcomes { waiting, ..outcomes });
    }
    // Nobody waits in a line, so the draw's published numbers are used.
    let draw = app.shop.store.recent_draw(sale.id).await?;
    let (called, count) = draw.map_or((None, None), |row| (row.public.called, row.public.count));
    let served = called.unwrap_or(0);
    Ok(Outcomes {
        served,
        waiting: waiting(sale, line, tick),
        not_served: if is_over(sale) {
            count.unwrap_or(0).saturating_sub(served)
        } else {
            0
        },
        ..Outcomes::default()
    })
}

/// Number of people who wait for their turn: in the line, or for a draw the entries counted by the tick.
pub fn waiting(sale: &Sale, line: &LineCounts, tick: &Tick) -> u64 {
    match (sale.allocation, sale.status) {
        _ if is_over(sale) => 0,
        (Allocation::Draw, _) | (_, Phase::Drawing) => tick.waiting,
        _ => line.waiting,
    }
}

fn is_over(sale: &Sale) -> bool {
    matches!(sale.status, Phase::Ended | Phase::Cancelled)
}

fn weights(classes: &[WeightClass]) -> Vec<Weight> {
    fairness::expected(classes)
        .into_iter()
        .map(|expected| Weight {
            weight: expected.class.weight,
            entries: expected.class.entries,
            winners: expected.class.winners,
            expected_winners: expected.winners,
        })
        .collect()
}
