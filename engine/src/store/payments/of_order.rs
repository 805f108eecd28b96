//! Everything about an order's money as of one moment, because each of these tables may change while the others are read.

use super::{PaymentRow, RefundRow, rows::load_payments};
use crate::{
    boxed,
    error::Result,
    store::{OrderRow, Store, orders},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::OrderId;
use sqlx::PgConnection;

#[derive(Debug)]
pub struct OrderMoney {
    pub order: OrderRow,
    /// In the order of the tries, each with its refunds.
    pub payments: Vec<(PaymentRow, Vec<RefundRow>)>,
    /// In the order of their opening.
    pub disputes: Vec<DisputeRow>,
    /// The provider's events about the payments, as they came.
    pub events: Vec<EventRow>,
}

#[derive(Debug)]
pub struct EventRow {
    pub event_id: String,
    pub kind: String,
    /// The code under which the event was refused.
    pub refusal: Option<String>,
}

/// A dispute: the shopper's bank asks for money back.
#[derive(Debug, Clone)]
pub struct DisputeRow {
    pub payment_id: String,
    pub dispute_id: String,
    pub amount: i64,
    pub currency: String,
    pub reason: String,
    pub status: String,
    pub opened_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
}

impl Store {
    #[boxed]
    pub async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>> {
        let mut tx = self
            .pools
            .operations
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let id = order.to_string();
        let mut orders = orders::load(&mut tx, std::slice::from_ref(&id)).await?;
        let Some(order) = orders.remove(&id) else {
            return Ok(None);
        };
        Ok(Some(OrderMoney {
            order,
            payments: payments_of(&mut tx, &id).await?,
            disputes: disputes_of(&mut tx, &id).await?,
            events: events_of(&mut tx, &id).await?,
        }))
    }
}

async fn payments_of(
    connection: &mut PgConnection,
    order: &str,
) -> Result<Vec<(PaymentRow, Vec<RefundRow>)>> {
    let ids: Vec<String> = sqlx::query_scalar!(
        "SELECT payment_id FROM payments WHERE order_id = $1 ORDER BY created_at",
        order,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut rows = load_payments(connection, &ids).await?;
    let mut payments = Vec::with_capacity(ids.len());
    for id in &ids {
        if let Some(row) = rows.remove(id) {
            payments.push((row, refunds_of(connection, id).await?));
        }
    }
    Ok(payments)
}

async fn refunds_of(connection: &mut PgConnection, payment: &str) -> Result<Vec<RefundRow>> {
    Ok(sqlx::query_as!(
        RefundRow,
        "SELECT refund_id, amount, status, actor, reason, created_at, done_at, refusal FROM refunds
         WHERE payment_id = $1 ORDER BY created_at",
        payment,
    )
    .fetch_all(connection)
    .await?)
}

async fn disputes_of(connection: &mut PgConnection, order: &str) -> Result<Vec<DisputeRow>> {
    Ok(sqlx::query_as!(
        DisputeRow,
        "SELECT d.payment_id, d.dispute_id, d.amount, d.currency, d.reason, d.status, d.opened_at, d.closed_at
         FROM disputes d JOIN payments p USING (payment_id) WHERE p.order_id = $1 ORDER BY d.opened_at",
        order,
    )
    .fetch_all(connection)
    .await?)
}

async fn events_of(connection: &mut PgConnection, order: &str) -> Result<Vec<EventRow>> {
    Ok(sqlx::query_as!(
        EventRow,
        "SELECT e.event_id, e.kind, e.refusal FROM payment_events e JOIN payments p USING (payment_id)
         WHERE p.order_id = $1 ORDER BY e.received_at",
        order,
    )
    .fetch_all(connection)
    .await?)
}
