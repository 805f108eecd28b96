//! One sale's numbers, for the dashboard.

use super::{
    Operator,
    fairness::{self, Fairness},
};
use crate::{
    app::App,
    command,
    rest::{Problem, SalePath},
};
use axum::extract::State;
use flashsale_protocol::{Allocation, Phase, SaleId};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Metrics {
    sale_id: SaleId,
    status: Phase,
    stock_remaining: u64,
    /// Pending and confirmed.
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
    /// Distinct shoppers with the sale open in the last one to two minutes.
    active_users: u64,
    /// Entries served, of everybody's line and of the priority line; and how many wait in the latter.
    admitted: u64,
    priority_admitted: u64,
    priority_waiting: u64,
    /// Absent at their turn: their place is kept.
    parked: u64,
    /// Away from the line, parked or not.
    absent: u64,
    /// Entries called a second.
    pace: f64,
    priority_pace: f64,
    /// Entries per 100 ms, as set.
    inflow: u32,
    /// Units in orders by Postgres; differs from `sold + ordering` only while a checkout runs.
    allocated: u64,
    fairness: Fairness,
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
    let now = app.stock.clock().await?;
    let (counters, queue_length, orders, tick, active_users, line) = tokio::try_join!(
        app.stock.sale_counters(&sale),
        app.stock.queue_length(id),
        app.store.order_counts(id),
        command::tick_now(&app, &sale),
        app.stock.active_users(id, now / 60_000),
        app.stock.line_counts(id),
    )?;
    let fairness = fairness::of_sale(&app, &sale, &tick).await?;
    // In a draw those who wait are its entries.
    let queue_length = match (sale.allocation, sale.status) {
        (Allocation::Draw, _) | (_, Phase::Drawing) => fairness.waiting(),
        _ => queue_length,
    };
    let conversion_rate = if counters.reservations == 0 {
        0.0
    } else {
        orders.confirmed as f64 / counters.reservations as f64
    };
    Ok(axum::Json(Metrics {
        sale_id: id,
        status: sale.phase_at(now),
        stock_remaining: counters.available,
        orders_count: orders.pending + orders.confirmed,
        queue_length,
        conversion_rate,
        supply: counters.supply,
        available: counters.available,
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
        priority_pace: tick.priority_pace,
        inflow: sale.inflow,
        allocated: sale.lanes.iter().map(|lane| u64::from(lane.allocated)).sum(),
        fairness,
    }))
}
