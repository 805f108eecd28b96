//! How fair a sale is, for the operator: what the line did in its order, and the draw with its weights.

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

/// Whose share of the units is looked at.
const TOP_DEVICES: i64 = 10;

/// How fair a sale is. What it has no line, no draw, or not enough numbers for is null.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Fairness {
    /// Entries served after somebody whose place was behind theirs; those apart who were absent at their turn. 0 in a line
    /// that is first come, first served.
    order_inversions: Option<u64>,
    /// Of the turns given since the sale began (in line, by the draw, passed on), the share that was not used.
    no_show_rate: Option<f64>,
    /// Entries called a second, now.
    queue_move_rate: Option<f64>,
    entries_served: u64,
    /// Those in line, and those absent at their turn: they have had none yet, and may have one.
    entries_waiting: u64,
    entries_left: u64,
    /// Had all that one person may have.
    entries_removed: u64,
    /// Away for too long.
    entries_expired: u64,
    entries_not_served: u64,
    /// How long those waited who were served, from the start of the sale on; at most a tenth more than it was.
    wait_seconds_p50: Option<f64>,
    wait_seconds_p90: Option<f64>,
    wait_seconds_p99: Option<f64>,
    /// Of all units in orders, the share of the ten devices with most of them.
    top_devices_share: Option<f64>,
    /// The draw, by weight. Empty before it is held.
    weights: Vec<Weight>,
    /// Winners by weight against the expected ones. Null with one weight only, or with too few winners to tell.
    chi_square: Option<ChiSquare>,
    /// Gini's coefficient of the entries' chances in the draw: 0 where all had the same.
    win_chance_gini: Option<f64>,
}

/// All entries of one weight in the draw.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Weight {
    weight: u32,
    entries: u64,
    winners: u64,
    /// So many winners the weight promised.
    expected_winners: f64,
}

/// Pearson's test: small p says that chance alone would rarely deviate so much.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChiSquare {
    statistic: f64,
    degrees_of_freedom: u32,
    p: f64,
}

/// `line` is what the line comes to, and `tick` what everybody is told: as the rest of the answer has it.
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

/// What became of entries is in Postgres, about a second late; who waits is what the line says now.
async fn outcomes(app: &App, sale: &Sale, line: &LineCounts, tick: &Tick) -> Result<Outcomes> {
    if sale.allocation == Allocation::Queue {
        let outcomes = app.shop.store.outcomes(sale.id).await?;
        let waiting = waiting(sale, line, tick) + line.parked;
        return Ok(Outcomes { waiting, ..outcomes });
    }
    // Nobody waits in a line: from what is published.
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

/// How many wait for their turn: in the line, or, where units are drawn, among the entries that the tick counts.
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
