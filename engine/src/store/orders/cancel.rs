//! Cancels orders: for their shoppers in a group commit, or because of another cause. Also the way of their units back to the
//! lane.

use super::rows::{OrderRow, load, lock};
use crate::{
    batcher::{Batch, Batcher, Verdict, nobody_s, subject},
    boxed,
    chain::ChainEnd,
    error::{Error, Result},
    sale::LaneRef,
    store::{
        COMMIT, Store,
        audit::{self, Actor, AuditRow, Kind},
        commands::{self, NewCommand},
    },
};
use flashsale_protocol::{Code, CommandId, OrderId, OrderStatus, Reason, SaleId, ShopperId};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;

/// Unpaid orders cancelled in one step.
const CANCEL_BATCH: i64 = 500;

/// A cancelled order whose units are on their way back to its lane, in the lane's life at the cancellation; a later life starts
/// with these units.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancelled {
    pub order: OrderRow,
    pub at: LaneRef,
    /// The end of the audit chain of the order's lane after this; None: it was cancelled before.
    pub end: Option<ChainEnd>,
}

/// An order that its shopper wants to cancel.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub order: OrderId,
    pub shopper: ShopperId,
    /// The operator who acts for the shopper.
    pub operator: Option<String>,
    pub command: CommandId,
    /// SHA-256 of verb and payload.
    pub digest: Vec<u8>,
}

/// The outcome of a shopper's cancel.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancelling {
    /// Cancelled now: its units must be returned.
    Now(Box<Cancelled>),
    /// Cancelled before, by this or another command of its shopper.
    Before(Box<OrderRow>),
    Refused(Code),
}

impl Store {
    /// Cancels a shopper's pending order, in a group commit. The same command always gets the same answer.
    #[boxed]
    pub async fn cancel(&self, cancel: Cancel) -> Result<Cancelling> {
        self.cancel
            .submit(&(), cancel, || {
                let pool = self.pools.purchases.clone();
                let subjects = |cancel: &Cancel| {
                    [subject(&cancel.shopper), subject(cancel.order)]
                        .into_iter()
                        .collect()
                };
                Batcher::with_verdicts("cancel_order", COMMIT, subjects, move |items: Batch<Cancel>| {
                    let pool = pool.clone();
                    async move { cancel_batch(&pool, &items).await }
                })
            })
            .await
    }

    /// Cancels orders that should have been paid by now.
    pub(crate) async fn cancel_unpaid(&self, sale: SaleId) -> Result<Vec<Cancelled>> {
        let mut tx = self.pools.purchases.begin().await?;
        let ids: Vec<String> = sqlx::query_scalar!(
            "SELECT order_id FROM flash_sale_orders
             WHERE sale_id = $1 AND status = 'pending' AND expires_at <= now()
             ORDER BY expires_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
            sale.to_string(),
            CANCEL_BATCH,
        )
        .fetch_all(&mut *tx)
        .await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<OrderRow> = load(&mut tx, &ids).await?.into_values().collect();
        let cancelled = cancel_rows(&mut tx, &rows, Reason::Unpaid, CancelledBy::One(Actor::Worker)).await?;
        tx.commit().await?;
        Ok(cancelled)
    }

    /// Cancelled orders whose units have not come back to their lane yet.
    pub async fn units_to_return(&self, sale: SaleId) -> Result<Vec<Cancelled>> {
        // The lane's epoch of the same moment: a later life of the lane starts with these units.
        let rows = sqlx::query!(
            "SELECT o.order_id, l.epoch FROM flash_sale_orders o JOIN sale_lanes l USING (sale_id, lane)
             WHERE o.sale_id = $1 AND NOT o.units_returned LIMIT $2",
            sale.to_string(),
            CANCEL_BATCH,
        )
        .fetch_all(&self.pools.purchases)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = rows.iter().map(|row| row.order_id.clone()).collect();
        let mut orders = load(&mut *self.pools.purchases.acquire().await?, &ids).await?;
        let cancelled = rows.into_iter().filter_map(|row| {
            let order = orders.remove(&row.order_id)?;
            let (lane, epoch) = (order.lane, row.epoch as u32);
            Some(Cancelled {
                order,
                at: LaneRef { sale, lane, epoch },
                end: None,
            })
        });
        Ok(cancelled.collect())
    }

    /// Notes that an order's units are back in its lane.
    pub(crate) async fn mark_returned(&self, order: OrderId) -> Result<()> {
        self.returned
            .submit(&(), order, || {
                let pool = self.pools.purchases.clone();
                Batcher::new("mark_returned", COMMIT, nobody_s, move |orders: Batch<OrderId>| {
                    let pool = pool.clone();
                    async move {
                        let ids: Vec<String> = orders.iter().map(OrderId::to_string).collect();
                        sqlx::query!(
                            "UPDATE flash_sale_orders SET units_returned = TRUE WHERE order_id IN (
                                 SELECT order_id FROM flash_sale_orders WHERE order_id = ANY($1) AND NOT units_returned
                                 ORDER BY order_id FOR NO KEY UPDATE)",
                            &ids
                        )
                        .execute(&pool)
                        .await?;
                        Ok(vec![(); orders.len()])
                    }
                })
            })
            .await
    }
}

/// The cause of a cancellation.
pub(crate) enum CancelledBy {
    /// For each order the one who gave the command.
    Each(HashMap<OrderId, Actor>),
    One(Actor),
}

/// Cancels locked orders: their units leave the lane's allocation and must be returned in Redis. Returns the rows as they are
/// now.
pub(crate) async fn cancel_rows(
    connection: &mut PgConnection,
    rows: &[OrderRow],
    reason: Reason,
    by: CancelledBy,
) -> Result<Vec<Cancelled>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = rows.iter().map(|row| row.order.to_string()).collect();
    // Everywhere in the same order of lanes.
    let lanes = sqlx::query!(
        "WITH locked AS (
             SELECT l.sale_id, l.lane FROM sale_lanes l
             WHERE (l.sale_id, l.lane) IN (SELECT sale_id, lane FROM flash_sale_orders WHERE order_id = ANY($1))
             ORDER BY 1, 2 FOR NO KEY UPDATE
         ), c AS (
             SELECT sale_id, lane, sum(quantity_allocated)::int AS units,
                coalesce(sum(quantity_allocated) FILTER (WHERE status = 'confirmed'), 0)::int AS confirmed
             FROM flash_sale_orders WHERE order_id = ANY($1) GROUP BY 1, 2
         )
         UPDATE sale_lanes l SET allocated = l.allocated - c.units, confirmed = l.confirmed - c.confirmed
         FROM locked JOIN c USING (sale_id, lane)
         WHERE l.sale_id = c.sale_id AND l.lane = c.lane
         RETURNING l.sale_id, l.lane, l.epoch",
        &ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let epochs: HashMap<(String, i16), i32> = lanes
        .into_iter()
        .map(|row| ((row.sale_id, row.lane), row.epoch))
        .collect();
    sqlx::query!(
        "UPDATE flash_sale_orders
         SET status = 'cancelled', reason = $2, changed_at = clock_timestamp(), units_returned = FALSE
         WHERE order_id = ANY($1)",
        &ids,
        reason.word(),
    )
    .execute(&mut *connection)
    .await?;
    if matches!(reason, Reason::ByShopper | Reason::Unpaid) {
        count_cancelled(connection, rows).await?;
    }
    let entries: Vec<AuditRow> = rows
        .iter()
        .map(|row| {
            let more = json!({ "was": row.status, "reason": reason });
            let actor = match &by {
                CancelledBy::Each(actors) => actors.get(&row.order).cloned(),
                CancelledBy::One(actor) => Some(actor.clone()),
            };
            let actor = actor.unwrap_or_else(|| Actor::from(&row.shopper));
            AuditRow::of_order(Kind::OrderCancelled, actor, row, more)
        })
        .collect();
    let ends = audit::write(connection, &entries).await?;
    load(connection, &ids)
        .await?
        .into_values()
        .map(|order| {
            let lane = (order.sale.to_string(), order.lane as i16);
            let epoch = *epochs
                .get(&lane)
                .ok_or_else(|| Error::unexpected("an order without a lane"))?;
            let at = LaneRef {
                sale: order.sale,
                lane: order.lane,
                epoch: epoch as u32,
            };
            let end = ends.of(order.sale, order.lane);
            Ok(Cancelled { order, at, end })
        })
        .collect()
}

/// Counts orders that their shoppers cancelled or did not pay: somebody who only does this is stopped in the end.
async fn count_cancelled(connection: &mut PgConnection, rows: &[OrderRow]) -> Result<()> {
    let sales: Vec<String> = rows.iter().map(|row| row.sale.to_string()).collect();
    let shoppers: Vec<String> = rows.iter().map(|row| row.shopper.to_string()).collect();
    sqlx::query!(
        "INSERT INTO cancelled_orders AS c (sale_id, user_id, orders)
         SELECT sale_id, user_id, count(*) FROM unnest($1::text[], $2::text[]) AS i (sale_id, user_id)
         GROUP BY 1, 2 ORDER BY 1, 2
         ON CONFLICT (sale_id, user_id) DO UPDATE SET orders = c.orders + excluded.orders",
        &sales,
        &shoppers,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One transaction for all cancellations of a batch; no two items share a shopper or an order.
async fn cancel_batch(pool: &PgPool, items: &[Cancel]) -> Result<Vec<Verdict<Cancelling>>> {
    let mut ids: Vec<String> = items.iter().map(|item| item.order.to_string()).collect();
    ids.sort();
    let mut tx = pool.begin().await?;
    let rows = lock(&mut tx, &ids).await?;
    let name = |item: &Cancel| (item.shopper.to_string(), item.command.to_string());
    let known = commands::known(&mut tx, items.iter().map(name)).await?;

    let mine = |item: &Cancel| {
        let row = rows.get(&item.order.to_string());
        row.filter(|row| row.shopper == item.shopper && row.quantity > 0)
    };
    // Known commands get their earlier answer. The others are noted, and carried out if they could be noted.
    let mut new: Vec<(&Cancel, Option<Code>)> = Vec::new();
    for item in items {
        if let (None, Some(row)) = (known.get(&name(item)), mine(item)) {
            let refusal = match row.status {
                OrderStatus::Pending => None,
                OrderStatus::Confirmed => Some(Code::OrderConfirmed),
                // Another command of the shopper has cancelled it before.
                OrderStatus::Cancelled if row.reason == Some(Reason::ByShopper) => None,
                OrderStatus::Cancelled if row.reason == Some(Reason::OrderLost) => Some(Code::OrderLost),
                // Something else cancelled it: this command cannot call that its own success.
                OrderStatus::Cancelled => Some(Code::OrderCancelled),
            };
            new.push((item, refusal));
        }
    }
    let commands = new.iter().map(|(item, refusal)| NewCommand {
        shopper: item.shopper.as_str(),
        command: item.command,
        digest: &item.digest,
        order: item.order,
        refusal: *refusal,
    });
    let noted = commands::note(&mut tx, commands.collect()).await?;
    let to_cancel: Vec<OrderRow> = new
        .iter()
        .filter(|(item, refusal)| refusal.is_none() && noted.contains(&item.order))
        .filter_map(|(item, _)| mine(item))
        .filter(|row| row.status == OrderStatus::Pending)
        .cloned()
        .collect();
    let actor = |item: &Cancel| Actor::of(&item.shopper, item.operator.as_deref());
    let actors = items.iter().map(|item| (item.order, actor(item)));
    let by = CancelledBy::Each(actors.collect());
    let mut cancelled: HashMap<OrderId, Cancelled> = cancel_rows(&mut tx, &to_cancel, Reason::ByShopper, by)
        .await?
        .into_iter()
        .map(|cancelled| (cancelled.order.order, cancelled))
        .collect();
    tx.commit().await?;

    let refusals: HashMap<OrderId, Option<Code>> =
        new.iter().map(|(item, refusal)| (item.order, *refusal)).collect();
    Ok(items
        .iter()
        .map(|item| {
            let row = mine(item).cloned().map(Box::new);
            let before = known.get(&name(item)).map(|known| known.answer(&item.digest));
            Verdict::Done(match (before, row) {
                (Some(Err(Code::CommandIdReused)), _) => Cancelling::Refused(Code::CommandIdReused),
                (_, None) => Cancelling::Refused(Code::OrderUnknown),
                (Some(Err(code)), _) => Cancelling::Refused(code),
                (Some(Ok(())), Some(row)) => Cancelling::Before(row),
                // Another process is using this id at this moment: the next look knows it.
                (None, Some(_)) if !noted.contains(&item.order) => return Verdict::Again,
                (None, Some(row)) => match (refusals.get(&item.order), cancelled.remove(&item.order)) {
                    (Some(Some(code)), _) => Cancelling::Refused(*code),
                    (_, Some(cancelled)) => Cancelling::Now(Box::new(cancelled)),
                    (_, None) => Cancelling::Before(row),
                },
            })
        })
        .collect())
}
