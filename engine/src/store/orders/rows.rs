//! Orders as rows: read and locked, many at once.

use crate::{
    error::{Error, Result},
    sale::{LaneOrder, ms},
    store::words::order_status,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Declined, DeviceId, Order, OrderId, OrderStatus, Reason, SaleId, ShopperId};
use sqlx::PgConnection;
use std::collections::HashMap;

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
    /// Since when it waits for a payment's outcome.
    pub paying_since: Option<DateTime<Utc>>,
    pub refunded: i64,
    /// When money last went back.
    pub refunded_at: Option<DateTime<Utc>>,
    /// The last payment's refusal, if it was refused.
    pub declined: Option<Declined>,
    /// The command of the hold from which it was made.
    pub hold_command: String,
}

impl OrderRow {
    pub(crate) fn on_lane(&self) -> LaneOrder {
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
            refunded_at: self.refunded_at.map(ms),
            declined: self.declined.clone(),
            handoff: None,
            at: ms(self
                .paying_since
                .map_or(self.changed_at, |since| since.max(self.changed_at))),
        }
    }
}

pub(crate) struct RawOrder {
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
    pub refunded_at: Option<DateTime<Utc>>,
    /// Reason and time in ms.
    pub declined: Option<Vec<String>>,
    pub hold_command: String,
}

impl RawOrder {
    pub fn read(self) -> Result<OrderRow> {
        let bad = |what: &str| Error::unexpected(format!("an order with a bad {what}"));
        let declined = match self.declined.as_deref() {
            Some([reason, at]) => Some(Declined {
                reason: reason.clone(),
                at: at.parse().map_err(|_| bad("refusal"))?,
            }),
            _ => None,
        };
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
            refunded_at: self.refunded_at,
            declined,
        })
    }
}

/// Orders by id.
pub(crate) async fn load(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, OrderRow>> {
    sqlx::query_as!(
        RawOrder,
        "SELECT order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
            status, reason, created_at, expires_at, changed_at, refunded, hold_command,
            CASE WHEN refunded > 0 THEN (SELECT max(r.done_at) FROM refunds r JOIN payments p USING (payment_id)
                WHERE p.order_id = flash_sale_orders.order_id) END AS refunded_at,
            CASE status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                WHERE p.order_id = flash_sale_orders.order_id AND p.answer IS NULL) END AS paying_since,
            CASE status WHEN 'pending' THEN (SELECT CASE p.answer WHEN 'payment_declined' THEN ARRAY[coalesce(p.reason, ''),
                    trunc(extract(epoch FROM p.answered_at) * 1000)::bigint::text] END FROM payments p
                WHERE p.order_id = flash_sale_orders.order_id ORDER BY p.answer IS NULL DESC, p.created_at DESC LIMIT 1) END AS declined
         FROM flash_sale_orders WHERE order_id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.order_id.clone(), raw.read()?)))
    .collect()
}

/// An order that is locked. What its payments say about it, [`load`] tells afterwards: whether it is being paid, was declined, and
/// when money went back.
pub(crate) struct LockedOrder {
    pub row: OrderRow,
    /// Past its payment deadline. Postgres decides that, because it also cancels unpaid orders.
    pub is_late: bool,
}

/// Locks orders by id, and reads them once. The lock is not full: a payment of the order may be written down meanwhile.
pub(crate) async fn lock_rows(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<HashMap<String, LockedOrder>> {
    sqlx::query!(
        r#"SELECT order_id, sale_id, lane, user_id, device_id, quantity_allocated, unit_price, amount, currency,
            status, reason, created_at, expires_at, changed_at, refunded, hold_command,
            expires_at <= clock_timestamp() AS "is_late!"
           FROM flash_sale_orders WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE"#,
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        let raw = RawOrder {
            order_id: row.order_id.clone(),
            sale_id: row.sale_id,
            lane: row.lane,
            user_id: row.user_id,
            device_id: row.device_id,
            quantity_allocated: row.quantity_allocated,
            unit_price: row.unit_price,
            amount: row.amount,
            currency: row.currency,
            status: row.status,
            reason: row.reason,
            created_at: row.created_at,
            expires_at: row.expires_at,
            changed_at: row.changed_at,
            paying_since: None,
            refunded: row.refunded,
            refunded_at: None,
            declined: None,
            hold_command: row.hold_command,
        };
        let locked = LockedOrder {
            row: raw.read()?,
            is_late: row.is_late,
        };
        Ok((row.order_id, locked))
    })
    .collect()
}

pub(crate) async fn lock(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, OrderRow>> {
    sqlx::query!(
        "SELECT FROM flash_sale_orders WHERE order_id = ANY($1) ORDER BY order_id FOR NO KEY UPDATE",
        ids,
    )
    .execute(&mut *connection)
    .await?;
    load(connection, ids).await
}
