//! Orders. An order is placed in a group commit: one transaction for all that have come in while the last one ran.

use super::{COMMIT, LOOK, Store, audit, payments::code_of};
use crate::{
    batcher::Batcher,
    error::{Error, Result},
    mutation::Mutation,
    sale::{LaneOrder, LaneRef, ms},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, CommandId, DeviceId, Order, OrderId, OrderStatus, Reason, SaleId, ShopperId};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::collections::{HashMap, HashSet};

/// Orders that a shopper's list shows.
const LIST_LIMIT: i64 = 50;
/// Unpaid orders that one step cancels.
const CANCEL_BATCH: i64 = 500;

/// An order that is to be.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub at: LaneRef,
    pub order: OrderId,
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub command: CommandId,
    /// The command that made the hold.
    pub hold_command: String,
    /// SHA-256 of verb and payload.
    pub digest: Vec<u8>,
    pub quantity: u32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub payment_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// The order is there, now or since an earlier try.
    Ok(Box<OrderRow>),
    /// Postgres has no supply left for it, or the lane has begun another life.
    Refused,
    /// The command id belongs to another command.
    CommandReused,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    pub order: OrderId,
    pub sale: SaleId,
    pub lane: u16,
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub status: OrderStatus,
    pub reason: Option<Reason>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    /// Since when a payment's outcome is awaited.
    pub paying_since: Option<DateTime<Utc>>,
    pub refunded: i64,
    /// The command of the hold that it was made from.
    pub hold_command: String,
}

impl OrderRow {
    pub fn on_lane(&self) -> LaneOrder {
        LaneOrder {
            order: self.order,
            shopper: self.shopper.clone(),
            device: self.device.clone(),
            quantity: self.quantity,
            status: self.status,
            hold_command: self.hold_command.clone(),
        }
    }

    pub fn view(&self) -> Order {
        Order {
            order: self.order,
            sale: self.sale,
            quantity: self.quantity,
            unit_price: self.unit_price,
            amount: self.amount,
            currency: self.currency.clone(),
            status: self.status,
            reason: self.reason,
            created_at: ms(self.created_at),
            expires_at: ms(self.expires_at),
            paying: self.paying_since.is_some(),
            refunded: self.refunded,
            at: ms(self
                .paying_since
                .map_or(self.changed_at, |since| since.max(self.changed_at))),
        }
    }
}

pub(super) struct RawOrder {
    pub order_id: String,
    pub sale_id: String,
    pub lane: i16,
    pub user_id: String,
    pub device_id: String,
    pub quantity_allocated: i32,
    pub unit_price: i64,
    pub amount: i64,
    pub currency: String,
    pub status: String,
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    pub paying_since: Option<DateTime<Utc>>,
    pub refunded: i64,
    pub hold_command: String,
}

impl RawOrder {
    pub fn read(self) -> Result<OrderRow> {
        let bad = |what: &str| Error::unexpected(format!("an order with a bad {what}"));
        Ok(OrderRow {
            order: self.order_id.parse().map_err(|_| bad("id"))?,
            sale: self.sale_id.parse().map_err(|_| bad("sale"))?,
            lane: self.lane as u16,
            shopper: self.user_id.parse().map_err(|_| bad("user"))?,
            device: self.device_id.parse().map_err(|_| bad("device"))?,
            quantity: self.quantity_allocated as u32,
            unit_price: self.unit_price,
            amount: self.amount,
            currency: self.currency,
            status: order_status(&self.status)?,
            reason: self.reason.as_deref().map(Reason::from_word),
            created_at: self.created_at,
            expires_at: self.expires_at,
            changed_at: self.changed_at,
            hold_command: self.hold_command,
            paying_since: self.paying_since,
            refunded: self.refunded,
        })
    }
}

impl Store {
    /// Places an order through the lane's group commit. An error leaves the outcome unknown: ask again by the same id.
    pub async fn place(&self, order: NewOrder) -> Result<Placed> {
        let at = order.at;
        self.place
            .submit(&at, order, || {
                let pool = self.pool.clone();
                Batcher::new("place_order", COMMIT, move |orders: Vec<NewOrder>| {
                    let pool = pool.clone();
                    async move { place_batch(&pool, at, &orders).await }
                })
            })
            .await
    }

    pub async fn order(&self, order: OrderId) -> Result<Option<OrderRow>> {
        Ok(load(&mut *self.pool.acquire().await?, &[order.to_string()])
            .await?
            .into_values()
            .next())
    }

    /// A shopper's orders, newest first; of one sale or of all. Abandoned ones never were. When everybody reconnects at
    /// once, everybody asks for this: it is one query for all who wait.
    pub async fn orders_of(&self, shopper: &ShopperId, sale: Option<SaleId>) -> Result<Vec<OrderRow>> {
        self.orders
            .submit(&sale, shopper.clone(), || {
                let pool = self.pool.clone();
                Batcher::new("orders_of", LOOK, move |shoppers: Vec<ShopperId>| {
                    let pool = pool.clone();
                    async move { orders_of_all(&pool, sale, &shoppers).await }
                })
            })
            .await
    }

    /// All orders of a sale, for checks and exports; abandoned ones never were.
    pub async fn orders_of_sale(&self, sale: SaleId) -> Result<Vec<OrderRow>> {
        sqlx::query_as!(
            RawOrder,
            "SELECT order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
                status, reason, created_at, expires_at, changed_at, refunded, hold_command,
                CASE status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                    WHERE p.order_id = flash_sale_orders.order_id AND p.answer IS NULL) END AS paying_since
             FROM flash_sale_orders WHERE sale_id = $1 AND quantity_allocated > 0",
            sale.to_string(),
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(RawOrder::read)
        .collect()
    }

    /// Holds that have become more than one order: shopper, the hold's command, orders. None, ever (I3).
    pub async fn holds_ordered_twice(&self, sale: SaleId) -> Result<Vec<(String, String, i64)>> {
        let rows = sqlx::query!(
            r#"SELECT user_id, hold_command, count(*) AS "orders!" FROM flash_sale_orders
               WHERE sale_id = $1 AND hold_command <> '-' AND quantity_allocated > 0
               GROUP BY user_id, hold_command HAVING count(*) > 1"#,
            sale.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.user_id, row.hold_command, row.orders))
            .collect())
    }

    /// The digest under which a command was carried out, if it was.
    pub async fn command_digest(&self, shopper: &ShopperId, command: CommandId) -> Result<Option<Vec<u8>>> {
        Ok(sqlx::query_scalar!(
            "SELECT digest FROM commands WHERE user_id = $1 AND command_id = $2",
            shopper.as_str(),
            command.to_string(),
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Settles a checkout that its gateway has left: if the order is not there, it never will be.
    pub async fn settle_abandoned(
        &self,
        at: LaneRef,
        order: OrderId,
        shopper: &ShopperId,
        device: &DeviceId,
    ) -> Result<OrderRow> {
        let mut tx = self.pool.begin().await?;
        // The row takes the order's id: a late commit of the same order finds it and adds nothing.
        let settled = sqlx::query!(
            "INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested,
                quantity_allocated, unit_price, amount, currency, status, reason, expires_at)
             VALUES ($1, $2, $3, $4, $5, 1, 0, 0, 0, '', 'cancelled', $6, now())
             ON CONFLICT (order_id) DO NOTHING",
            order.to_string(),
            at.sale.to_string(),
            at.lane as i16,
            shopper.as_str(),
            device.as_str(),
            Reason::CheckoutFailed.word(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let row = load(&mut tx, &[order.to_string()])
            .await?
            .remove(&order.to_string())
            .ok_or_else(|| Error::unexpected("an order has vanished"))?;
        if settled > 0 {
            let entry = audit::Entry::of_order("order_abandoned", "worker", &row, json!({}));
            audit::write(&mut tx, &[entry]).await?;
        }
        tx.commit().await?;
        Ok(row)
    }

    /// Cancels a shopper's pending order. The same command gets the same answer for ever.
    pub async fn cancel_by_shopper(
        &self,
        order: OrderId,
        shopper: &ShopperId,
        command: CommandId,
        digest: &[u8],
    ) -> Result<Result<OrderRow, Code>> {
        let mut tx = self.pool.begin().await?;
        let ids = [order.to_string()];
        let row = lock(&mut tx, &ids).await?.remove(&ids[0]);
        let known = sqlx::query!(
            "SELECT digest, refusal FROM commands WHERE user_id = $1 AND command_id = $2",
            shopper.as_str(),
            command.to_string(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        if known.as_ref().is_some_and(|known| known.digest != digest) {
            return Ok(Err(Code::CommandIdReused));
        }
        let Some(row) = row.filter(|row| row.shopper == *shopper && row.quantity > 0) else {
            return Ok(Err(Code::OrderUnknown));
        };
        if let Some(known) = known {
            return Ok(match known.refusal {
                Some(word) => Err(code_of(&word)),
                None => Ok(row),
            });
        }
        let refusal = match row.status {
            OrderStatus::Pending => None,
            OrderStatus::Confirmed => Some(Code::OrderConfirmed),
            // The shopper's wish has come true before, by another command of theirs.
            OrderStatus::Cancelled if row.reason == Some(Reason::ByShopper) => None,
            // Cancelled by something else: to cancel it again is no success of this command.
            OrderStatus::Cancelled => Some(Code::OrderCancelled),
        };
        let inserted = sqlx::query!(
            "INSERT INTO commands (user_id, command_id, digest, order_id, refusal) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
            shopper.as_str(),
            command.to_string(),
            digest,
            &ids[0],
            refusal.map(Code::word),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if inserted == 0 {
            // Another command has taken this id in this very moment; the same one would have waited for the order's lock.
            return Ok(Err(Code::CommandIdReused));
        }
        if let Some(code) = refusal {
            tx.commit().await?;
            return Ok(Err(code));
        }
        if row.status == OrderStatus::Pending {
            cancel_rows(
                &mut tx,
                std::slice::from_ref(&row),
                Reason::ByShopper,
                shopper.as_str(),
            )
            .await?;
        }
        let row = load(&mut tx, &ids).await?.remove(&ids[0]);
        tx.commit().await?;
        row.map(Ok)
            .ok_or_else(|| Error::unexpected("an order has vanished"))
    }

    /// Cancels what should have been paid by now.
    pub async fn cancel_unpaid(&self, sale: SaleId) -> Result<Vec<OrderRow>> {
        let mut tx = self.pool.begin().await?;
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
        cancel_rows(&mut tx, &rows, Reason::Unpaid, "worker").await?;
        let rows = load(&mut tx, &ids).await?.into_values().collect();
        tx.commit().await?;
        Ok(rows)
    }

    /// Cancelled orders whose units have not come back to their lane yet.
    pub async fn units_to_return(&self, sale: SaleId) -> Result<Vec<OrderRow>> {
        sqlx::query_as!(
            RawOrder,
            "SELECT order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
                status, reason, created_at, expires_at, changed_at, refunded, hold_command,
                CASE status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                    WHERE p.order_id = flash_sale_orders.order_id AND p.answer IS NULL) END AS paying_since
             FROM flash_sale_orders WHERE sale_id = $1 AND NOT units_returned LIMIT $2",
            sale.to_string(),
            CANCEL_BATCH,
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(RawOrder::read)
        .collect()
    }

    /// Orders of devices that have ordered more than `limit` times: by several accounts, or by ordering and cancelling.
    pub async fn same_device_orders(&self, sale: SaleId, limit: u32) -> Result<u64> {
        let orders = sqlx::query_scalar!(
            r#"SELECT coalesce(sum(orders), 0)::bigint AS "orders!" FROM (
                   SELECT count(*) AS orders FROM flash_sale_orders
                   WHERE sale_id = $1 AND quantity_allocated > 0
                   GROUP BY device_id HAVING count(*) > $2
               ) AS devices"#,
            sale.to_string(),
            i64::from(limit),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(orders as u64)
    }

    pub async fn mark_returned(&self, orders: &[OrderId]) -> Result<()> {
        let ids: Vec<String> = orders.iter().map(OrderId::to_string).collect();
        sqlx::query!(
            "UPDATE flash_sale_orders SET units_returned = TRUE WHERE order_id = ANY($1)",
            &ids
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

pub(super) fn order_status(word: &str) -> Result<OrderStatus> {
    Ok(match word {
        "pending" => OrderStatus::Pending,
        "confirmed" => OrderStatus::Confirmed,
        "cancelled" => OrderStatus::Cancelled,
        other => return Err(Error::unexpected(format!("an order in the state {other:?}"))),
    })
}

async fn orders_of_all(
    pool: &PgPool,
    sale: Option<SaleId>,
    shoppers: &[ShopperId],
) -> Result<Vec<Vec<OrderRow>>> {
    let names: Vec<String> = shoppers.iter().map(ShopperId::to_string).collect();
    let rows = sqlx::query_as!(
        RawOrder,
        r#"SELECT o.order_id AS "order_id!", o.sale_id AS "sale_id!", o.lane AS "lane!", o.user_id AS "user_id!",
            o.device_id AS "device_id!", o.quantity_allocated AS "quantity_allocated!", o.unit_price AS "unit_price!",
            o.amount AS "amount!", o.currency AS "currency!", o.status AS "status!", o.reason,
            o.created_at AS "created_at!", o.expires_at AS "expires_at!", o.changed_at AS "changed_at!",
            o.refunded AS "refunded!", o.hold_command AS "hold_command!",
            CASE o.status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                WHERE p.order_id = o.order_id AND p.answer IS NULL) END AS paying_since
         FROM (SELECT DISTINCT unnest($1::text[]) AS user_id) who
         CROSS JOIN LATERAL (
            SELECT * FROM flash_sale_orders
            WHERE user_id = who.user_id AND ($2::text IS NULL OR sale_id = $2) AND quantity_allocated > 0
            ORDER BY created_at DESC LIMIT $3) o"#,
        &names,
        sale.map(|sale| sale.to_string()),
        LIST_LIMIT,
    )
    .fetch_all(pool)
    .await?;
    let mut by_shopper: HashMap<ShopperId, Vec<OrderRow>> = HashMap::new();
    for row in rows {
        let row = row.read()?;
        by_shopper.entry(row.shopper.clone()).or_default().push(row);
    }
    by_shopper
        .values_mut()
        .for_each(|rows| rows.sort_by_key(|row| std::cmp::Reverse(row.created_at)));
    Ok(shoppers
        .iter()
        .map(|shopper| by_shopper.get(shopper).cloned().unwrap_or_default())
        .collect())
}

/// Orders by id.
pub(super) async fn load(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, OrderRow>> {
    sqlx::query_as!(
        RawOrder,
        "SELECT order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
            status, reason, created_at, expires_at, changed_at, refunded, hold_command,
            CASE status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                WHERE p.order_id = flash_sale_orders.order_id AND p.answer IS NULL) END AS paying_since
         FROM flash_sale_orders WHERE order_id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.order_id.clone(), raw.read()?)))
    .collect()
}

/// Locks orders, everywhere in the same order: nobody else changes them from here on. Those whose time to pay is over. That is
/// Postgres' to say: it is also Postgres that cancels unpaid orders. Not a full lock, so that a payment may be written down for
/// the order meanwhile.
pub(super) async fn late(connection: &mut PgConnection, ids: &[String]) -> Result<HashSet<String>> {
    Ok(sqlx::query!(
        r#"SELECT order_id, expires_at <= clock_timestamp() AS "late!" FROM flash_sale_orders
           WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE"#,
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .filter_map(|row| row.late.then_some(row.order_id))
    .collect())
}

pub(super) async fn lock(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, OrderRow>> {
    late(connection, ids).await?;
    load(connection, ids).await
}

/// Cancels locked orders: their units leave the lane's allocation, and are to be returned in Redis.
pub(super) async fn cancel_rows(
    connection: &mut PgConnection,
    rows: &[OrderRow],
    reason: Reason,
    actor: &str,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = rows.iter().map(|row| row.order.to_string()).collect();
    sqlx::query!(
        "UPDATE sale_lanes l SET allocated = l.allocated - c.units, confirmed = l.confirmed - c.confirmed
         FROM (SELECT sale_id, lane, sum(quantity_allocated)::int AS units,
                  coalesce(sum(quantity_allocated) FILTER (WHERE status = 'confirmed'), 0)::int AS confirmed
               FROM flash_sale_orders WHERE order_id = ANY($1) GROUP BY 1, 2) c
         WHERE l.sale_id = c.sale_id AND l.lane = c.lane",
        &ids,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE flash_sale_orders
         SET status = 'cancelled', reason = $2, changed_at = clock_timestamp(), units_returned = FALSE
         WHERE order_id = ANY($1)",
        &ids,
        reason.word(),
    )
    .execute(&mut *connection)
    .await?;
    let entries: Vec<audit::Entry> = rows
        .iter()
        .map(|row| {
            let more = json!({ "was": row.status, "reason": reason });
            audit::Entry::of_order("order_cancelled", actor, row, more)
        })
        .collect();
    audit::write(connection, &entries).await
}

/// The group commit. If the guard refuses the batch as a whole, its orders are settled one by one.
async fn place_batch(pool: &PgPool, at: LaneRef, orders: &[NewOrder]) -> Result<Vec<Placed>> {
    // Two sockets may have sent the same command; it is one order.
    let mut seen = HashSet::new();
    let distinct: Vec<&NewOrder> = orders.iter().filter(|order| seen.insert(order.order)).collect();
    let mut placed: HashMap<OrderId, Placed> = HashMap::new();
    match place_all(pool, at, &distinct).await? {
        Some(results) => placed.extend(distinct.iter().map(|order| order.order).zip(results)),
        None => {
            for order in &distinct {
                let result = place_all(pool, at, &[order]).await?.and_then(|mut one| one.pop());
                placed.insert(order.order, result.unwrap_or(Placed::Refused));
            }
        }
    }
    Ok(orders
        .iter()
        .map(|order| placed.get(&order.order).cloned().unwrap_or(Placed::Refused))
        .collect())
}

/// One transaction for all. None: the guard has refused, and nothing was changed.
async fn place_all(pool: &PgPool, at: LaneRef, orders: &[&NewOrder]) -> Result<Option<Vec<Placed>>> {
    // Everybody locks in the same order, so that two gateways with the same commands cannot block each other.
    let mut sorted: Vec<&NewOrder> = orders.to_vec();
    sorted.sort_by_key(|order| order.order);
    let column =
        |text: fn(&NewOrder) -> String| sorted.iter().map(|order| text(order)).collect::<Vec<String>>();
    let ids = column(|o| o.order.to_string());
    let shoppers = column(|o| o.shopper.to_string());
    let devices = column(|o| o.device.to_string());
    let commands = column(|o| o.command.to_string());
    let holds = column(|o| o.hold_command.clone());
    let currencies = column(|o| o.currency.clone());
    let digests: Vec<Vec<u8>> = sorted.iter().map(|order| order.digest.clone()).collect();
    let quantities: Vec<i32> = sorted.iter().map(|order| order.quantity as i32).collect();
    let amounts: Vec<i64> = sorted.iter().map(|order| order.amount).collect();
    let prices: Vec<i64> = sorted.iter().map(|order| order.unit_price).collect();
    let payment_ms: Vec<i64> = sorted.iter().map(|order| order.payment_ms as i64).collect();

    let mut tx = pool.begin().await?;
    let new: HashSet<String> = sqlx::query_scalar!(
        "INSERT INTO commands (user_id, command_id, digest, order_id)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[])
         ON CONFLICT DO NOTHING
         RETURNING order_id",
        &shoppers,
        &commands,
        &digests,
        &ids,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .collect();
    // Only repeated commands, which are few, are worth a look at what they were.
    let again = |column: &[String]| -> Vec<String> {
        let known = ids.iter().zip(column).filter(|(id, _)| !new.contains(*id));
        known.map(|(_, value)| value.clone()).collect()
    };
    let known: HashMap<String, Vec<u8>> = if new.len() == ids.len() {
        HashMap::new()
    } else {
        sqlx::query!(
            "SELECT c.order_id, c.digest FROM commands c
             JOIN unnest($1::text[], $2::text[]) AS i (user_id, command_id) USING (user_id, command_id)",
            &again(&shoppers),
            &again(&commands),
        )
        .fetch_all(&mut *tx)
        .await?
        .into_iter()
        .map(|row| (row.order_id, row.digest))
        .collect()
    };
    let mine = |order: &NewOrder| {
        let id = order.order.to_string();
        new.contains(&id) || known.get(&id) == Some(&order.digest)
    };
    let fits: Vec<bool> = sorted.iter().map(|order| mine(order)).collect();

    let mut rows: HashMap<String, OrderRow> = sqlx::query_as!(
        RawOrder,
        r#"INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested,
            quantity_allocated, unit_price, amount, currency, status, expires_at, hold_command)
         SELECT i.order_id, $1, $2, i.user_id, i.device_id, i.quantity, i.quantity, i.unit_price,
            i.amount, i.currency, 'pending', now() + i.payment_ms * interval '1 millisecond',
            i.hold_command
         FROM unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::text[], $9::bigint[], $10::bool[],
            $11::text[], $12::bigint[])
            AS i (order_id, user_id, device_id, quantity, unit_price, currency, payment_ms, fits, hold_command, amount)
         WHERE i.fits
         ON CONFLICT (order_id) DO NOTHING
         RETURNING order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
            status, reason, created_at, expires_at, changed_at, refunded, hold_command,
            NULL::timestamptz AS "paying_since?""#,
        at.sale.to_string(),
        at.lane as i16,
        &ids,
        &shoppers,
        &devices,
        &quantities,
        &prices,
        &currencies,
        &payment_ms,
        &fits,
        &holds,
        &amounts,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.order_id.clone(), raw.read()?)))
    .collect::<Result<_>>()?;
    let fresh: Vec<&NewOrder> = sorted
        .iter()
        .copied()
        .filter(|order| rows.contains_key(&order.order.to_string()))
        .collect();

    let new_units: i32 = fresh.iter().map(|order| order.quantity as i32).sum();
    if new_units > 0 && !Mutation::DropGuard.is_on() {
        let guarded = sqlx::query!(
            "UPDATE sale_lanes SET allocated = allocated + $4
             WHERE sale_id = $1 AND lane = $2 AND epoch = $3 AND allocated + $4 <= supply",
            at.sale.to_string(),
            at.lane as i16,
            at.epoch as i32,
            new_units,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if guarded == 0 {
            tx.rollback().await?;
            return Ok(None);
        }
    }
    let entries: Vec<audit::Entry> = fresh
        .iter()
        .map(|order| audit::Entry {
            sale: at.sale.to_string(),
            actor: order.shopper.to_string(),
            kind: "order_placed",
            data: json!({
                "order": order.order, "lane": at.lane, "units": order.quantity,
                "amount": order.unit_price * i64::from(order.quantity), "hold": order.hold_command,
            }),
        })
        .collect();
    audit::write(&mut tx, &entries).await?;
    let before: Vec<String> = ids.iter().filter(|id| !rows.contains_key(*id)).cloned().collect();
    if !before.is_empty() {
        rows.extend(load(&mut tx, &before).await?);
    }
    if Mutation::AcknowledgeEarly.is_on() {
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            tx.commit().await
        });
    } else {
        tx.commit().await?;
    }

    Ok(Some(
        orders
            .iter()
            .map(|order| match rows.remove(&order.order.to_string()) {
                _ if !mine(order) => Placed::CommandReused,
                // An abandoned order: the reconciler has given its units back.
                Some(row) if row.quantity == 0 => Placed::Refused,
                Some(row) => Placed::Ok(Box::new(row)),
                None => Placed::CommandReused,
            })
            .collect(),
    ))
}
