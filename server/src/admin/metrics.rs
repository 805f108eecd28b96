//! One sale's numbers, for the dashboard.

use super::{
    Operator,
    fairness::{self, Fairness},
    recovery::DisasterView,
};
use crate::{
    app::App,
    rest::{Problem, SalePath},
};
use axum::extract::State;
use flashsale_engine::{command, stock::Carried};
use flashsale_protocol::{Phase, SaleId};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Metrics {
    sale_id: SaleId,
    status: Phase,
    stock_remaining: u64,
    /// Pending and confirmed orders.
    orders_count: u64,
    queue_length: u64,
    /// Confirmed orders ÷ reservations; 0 before the first.
    conversion_rate: f64,
    supply: u64,
    available: u64,
    claimed: u64,
    held: u64,
    ordering: u64,
    sold: u64,
    orders_pending: u64,
    orders_confirmed: u64,
    orders_cancelled: u64,
    /// Minor units of `currency`, from confirmed orders.
    revenue: i64,
    currency: String,
    reservations: u64,
    expired_reservations: u64,
    /// Distinct shoppers who had the sale open in the last one to two minutes.
    active_users: u64,
    /// Entries served from everybody's line and from the priority line, and people waiting in the latter.
    admitted: u64,
    priority_admitted: u64,
    priority_waiting: u64,
    /// People absent at their turn; they keep their place.
    parked: u64,
    /// People away from the line, parked or not.
    absent: u64,
    /// Entries called in a second; null until it is measured.
    pace: Option<f64>,
    priority_pace: Option<f64>,
    /// Entries per 100 ms, as set.
    inflow: u32,
    /// How slow the slowest step of a purchase may be on average before fewer people are let in, in ms, as set.
    target_delay_ms: u64,
    /// What the shop can carry; null while nobody measures it, before the start for example.
    carried: Option<CarriedView>,
    /// The version of the settings that operators have made, including the inflow: for `If-Match`.
    version: i64,
    /// Units in orders, from Postgres; differs from `sold + ordering` only while a checkout runs.
    allocated: u64,
    fairness: Fairness,
    /// The latest time that Postgres had lost something of this sale. Selling is stopped while it has no `opened_at`.
    disaster: Option<DisasterView>,
}

/// What the shop can carry now.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CarriedView {
    /// People a second at most.
    per_second: f64,
    /// Mean time of the slowest step of a purchase, in ms; a reservation's counts five times.
    delay_ms: f64,
    /// It is less than the inflow.
    is_limiting: bool,
}

impl From<Carried> for CarriedView {
    fn from(carried: Carried) -> Self {
        Self {
            per_second: carried.limit.round(),
            delay_ms: (carried.delay.as_secs_f64() * 10_000.0).round() / 10.0,
            is_limiting: carried.is_limiting,
        }
    }
}

/// A sale's numbers now.
#[utoipa::path(
    get,
    path = "/admin/sales/{sale_id}/metrics",
    operation_id = "saleMetrics",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The numbers.", body = Metrics)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
) -> Result<axum::Json<Metrics>, Problem> {
    let sale = operator.sale(&app, id).await?;
    let now = app.shop.stock.clock().await?;
    let (counters, orders, tick, active_users, line, disaster, carried) = tokio::try_join!(
        app.shop.stock.sale_counters(&sale),
        app.shop.store.order_counts(id),
        command::tick_now(&app.shop, &sale),
        app.shop.stock.active_users(id, now / 60_000),
        app.shop.stock.line_counts(id),
        app.shop.store.last_disaster(id),
        app.shop.stock.carried(id),
    )?;
    let fairness = fairness::of_sale(&app, &sale, &line, &tick).await?;
    let conversion_rate = if counters.reservations == 0 {
        0.0
    } else {
        orders.confirmed as f64 / counters.reservations as f64
    };
    Ok(axum::Json(Metrics {
        sale_id: id,
        status: sale.phase_by(now, Some(tick.phase)),
        stock_remaining: counters.free(),
        orders_count: orders.pending + orders.confirmed,
        queue_length: fairness::waiting(&sale, &line, &tick),
        conversion_rate,
        supply: counters.supply,
        available: counters.free(),
        claimed: counters.claimed,
        held: counters.held,
        ordering: counters.ordering,
        sold: counters.sold,
        orders_pending: orders.pending,
        orders_confirmed: orders.confirmed,
        orders_cancelled: orders.cancelled,
        revenue: orders.revenue,
        currency: sale.currency.clone(),
        reservations: counters.reservations,
        expired_reservations: counters.expired,
        active_users,
        admitted: line.served.queue,
        priority_admitted: line.served.priority,
        priority_waiting: line.priority_waiting,
        parked: line.parked,
        absent: line.absent,
        pace: tick.pace,
        priority_pace: tick.pace.and(Some(tick.priority_pace)),
        inflow: sale.inflow,
        target_delay_ms: sale.target_delay_ms,
        carried: carried.map(CarriedView::from),
        version: sale.settings_version,
        allocated: sale.lanes.iter().map(|lane| u64::from(lane.allocated)).sum(),
        fairness,
        disaster: disaster.map(DisasterView::from),
    }))
}
