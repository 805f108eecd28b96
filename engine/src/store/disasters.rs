//! Disasters: Postgres knows less of a sale than Redis does. Keeps what was noticed, who confirmed it, and the lost orders and
//! money. Every step may be repeated.

use super::{
    OrderRow, Store,
    audit::{self, Actor, AuditRow, Kind},
    operators::OperatorChange,
    orders,
};
use crate::{
    boxed,
    chain::ChainEnd,
    error::{Error, Result},
    sale::Sale,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, OrderId, PaymentId, Reason, SaleId, ShopperId};
use serde_json::json;
use sqlx::PgConnection;
use std::collections::{HashMap, HashSet};

/// Lost orders that one transaction writes down.
const LOST_AT_ONCE: usize = 500;

/// Tolerance for an order id's time, which comes from the clock of the shopper's machine.
const CLOCKS_APART_MS: u32 = 60_000;
/// Shortest time that an order waits for a payment's outcome when it is asked for after a disaster.
const ASKED_MS: u32 = 60_000;

/// One disaster of one sale.
#[derive(Debug, Clone, PartialEq)]
pub struct Disaster {
    pub disaster_id: String,
    pub noticed_at: DateTime<Utc>,
    /// The lane whose audit chain has lost most; None: the sale's own, or the only one.
    pub lane: Option<i16>,
    /// The chain's last row known to be committed, and the last row that was found.
    pub known_number: i64,
    pub found_number: i64,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub confirmed_by: Option<String>,
    /// Since when the sale sells again.
    pub opened_at: Option<DateTime<Utc>>,
    /// Since when all payments at the provider are accounted for.
    pub settled_at: Option<DateTime<Utc>>,
    pub orders_lost: i32,
    pub payments_found: i32,
}

/// The end of one chain of a sale's audit log. The lane is None for the sale's own chain, and for the only one of format 1.
pub type EndOf = (Option<u16>, ChainEnd);

/// Postgres' answer to what Redis knows.
#[derive(Debug)]
pub struct Testimony {
    /// A standby, or a Postgres that takes no changes, answers: missing rows may still arrive.
    pub is_read_only: bool,
    /// Where the sale's own audit chain ends.
    pub end: ChainEnd,
    /// Where the lanes' chains end; empty in format 1.
    pub lane_ends: HashMap<u16, ChainEnd>,
    /// Those of the requested ends that exist.
    pub found: HashSet<EndOf>,
    pub epochs: HashMap<u16, u32>,
    /// The disaster for which selling is stopped.
    pub open: Option<Disaster>,
}

/// An order that a record or the payment provider knows, and Postgres does not.
#[derive(Debug, Clone)]
pub struct LostOrder {
    pub order: OrderId,
    pub shopper: ShopperId,
    pub device: String,
    pub quantity: u32,
    pub amount: i64,
    pub hold_command: String,
}

/// A payment for which the provider holds money, or will.
#[derive(Debug, Clone)]
pub struct FoundPayment {
    pub payment: PaymentId,
    pub order: OrderId,
    pub amount: i64,
    pub currency: String,
}

impl Testimony {
    /// Where the chain with a lane's orders ends, by the lane that names it.
    pub fn end_of(&self, lane: u16) -> EndOf {
        let of_lane = self.lane_ends.get(&lane);
        of_lane.map_or((None, self.end), |end| (Some(lane), *end))
    }
}

impl Store {
    /// Call this after Redis was asked. None: Postgres does not know the sale.
    pub async fn testify(&self, sale: SaleId, ends: &[EndOf]) -> Result<Option<Testimony>> {
        // One connection, because two might lead to two servers.
        let mut connection = self.pools.purchases.acquire().await?;
        let id = sale.to_string();
        let heads = sqlx::query!(
            r#"SELECT lane, number AS "number!", hash AS "hash!",
                   (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS "life!",
                   current_setting('transaction_read_only') = 'on' AS "is_read_only!"
               FROM (SELECT NULL::smallint AS lane, number, hash FROM audit_heads WHERE sale_id = $1
                     UNION ALL
                     SELECT nullif(lane, -1), number, hash FROM audit_chains WHERE sale_id = $1) AS heads"#,
            id,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(own) = heads.iter().find(|head| head.lane.is_none()) else {
            return Ok(None);
        };
        let is_read_only = own.is_read_only;
        let end = ChainEnd::new(own.life, own.number, &own.hash);
        let lane_ends = heads.iter().filter_map(|head| {
            let end = ChainEnd::new(head.life, head.number, &head.hash);
            Some((head.lane? as u16, end))
        });
        let lane_ends: HashMap<u16, ChainEnd> = lane_ends.collect();
        let lanes: Vec<i16> = ends
            .iter()
            .map(|(lane, _)| lane.map_or(-1, |lane| lane as i16))
            .collect();
        let numbers: Vec<i64> = ends.iter().map(|(_, end)| end.number).collect();
        // Row by row: a join would read all rows of the sale, because Postgres takes them for few.
        let rows: HashMap<(Option<u16>, i64), Vec<u8>> = sqlx::query!(
            r#"SELECT NULL::smallint AS lane, number AS "number!", hash AS "hash!" FROM audit_log
               WHERE sale_id = $1 AND number = ANY($3)
               UNION ALL
               SELECT nullif(e.lane, -1), e.number, r.hash
               FROM unnest($2::smallint[], $3::bigint[]) AS e (lane, number), LATERAL (SELECT hash FROM audit_rows
                   WHERE sale_id = $1 AND lane = e.lane AND number = e.number LIMIT 1) AS r"#,
            id,
            &lanes,
            &numbers,
        )
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| ((row.lane.map(|lane| lane as u16), row.number), row.hash))
        .collect();
        let is_there = |(lane, end): &&EndOf| {
            let hash = rows.get(&(*lane, end.number));
            hash.is_some_and(|hash| ChainEnd::new(end.life, end.number, hash) == *end)
        };
        let epochs = sqlx::query!("SELECT lane, epoch FROM sale_lanes WHERE sale_id = $1", id)
            .fetch_all(&mut *connection)
            .await?
            .into_iter()
            .map(|row| (row.lane as u16, row.epoch as u32))
            .collect();
        let open = sqlx::query_as!(
            Disaster,
            "SELECT disaster_id, noticed_at, lane, known_number, found_number, confirmed_at, confirmed_by, opened_at, settled_at,
                orders_lost, payments_found
             FROM disasters WHERE sale_id = $1 AND opened_at IS NULL",
            id,
        )
        .fetch_optional(&mut *connection)
        .await?;
        Ok(Some(Testimony {
            is_read_only,
            end,
            lane_ends,
            found: ends.iter().filter(is_there).copied().collect(),
            epochs,
            open,
        }))
    }

    /// Writes down that Postgres is behind, under this id, once. Returns the disaster that is open now; None: the one with this
    /// id is over.
    pub async fn begin_disaster(
        &self,
        sale: SaleId,
        id: &str,
        lane: Option<u16>,
        known: i64,
        found: i64,
    ) -> Result<Option<Disaster>> {
        // Rows of this life of Postgres were written after the loss. So the loss is dated to the last row before this life;
        // without one, to the sale's first row.
        sqlx::query!(
            "INSERT INTO disasters (disaster_id, sale_id, known_number, found_number, lane, lost_since)
             SELECT $1, $2, $3, $4, $5, coalesce(max(at) FILTER (WHERE at < pg_postmaster_start_time()), min(at), now())
             FROM (SELECT at FROM audit_log WHERE sale_id = $2
                   UNION ALL SELECT at FROM audit_rows WHERE sale_id = $2) AS rows
             ON CONFLICT DO NOTHING",
            id,
            sale.to_string(),
            known,
            found,
            lane.map(|lane| lane as i16),
        )
        .execute(&self.pools.purchases)
        .await?;
        Ok(sqlx::query_as!(
            Disaster,
            "SELECT disaster_id, noticed_at, lane, known_number, found_number, confirmed_at, confirmed_by, opened_at, settled_at,
                orders_lost, payments_found
             FROM disasters WHERE sale_id = $1 AND opened_at IS NULL",
            sale.to_string(),
        )
        .fetch_optional(&self.pools.purchases)
        .await?)
    }

    /// The sale's latest disaster.
    #[boxed]
    pub async fn last_disaster(&self, sale: SaleId) -> Result<Option<Disaster>> {
        Ok(sqlx::query_as!(
            Disaster,
            "SELECT disaster_id, noticed_at, lane, known_number, found_number, confirmed_at, confirmed_by, opened_at, settled_at,
                orders_lost, payments_found
             FROM disasters WHERE sale_id = $1 ORDER BY noticed_at DESC LIMIT 1",
            sale.to_string(),
        )
        .fetch_optional(&self.pools.purchases)
        .await?)
    }

    /// Whether selling is stopped in any sale: an unknown order may then be a lost one.
    pub(crate) async fn is_any_stopped(&self) -> Result<bool> {
        Ok(
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM disasters WHERE opened_at IS NULL) AS "is!""#
            )
            .fetch_one(&self.pools.purchases)
            .await?,
        )
    }

    /// Whether an order may have been lost without a trace: it was not paid, and its shopper has made another one since. The time in
    /// its id is its own, or that of its sale.
    pub(crate) async fn may_be_lost(&self, order: OrderId) -> Result<bool> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM disasters
               WHERE $1 BETWEEN lost_since - $2 * interval '1 millisecond' AND noticed_at + $2 * interval '1 millisecond'
                  OR left(sale_id, 10) = left($3, 10)) AS "may!""#,
            DateTime::from_timestamp_millis(order.0.timestamp_ms() as i64).unwrap_or_default(),
            f64::from(CLOCKS_APART_MS),
            order.to_string(),
        )
        .fetch_one(&self.pools.purchases)
        .await?)
    }

    /// A disaster whose payments at the provider must still be searched.
    pub(crate) async fn unsettled_disaster(&self, sale: SaleId) -> Result<Option<Disaster>> {
        Ok(sqlx::query_as!(
            Disaster,
            "SELECT disaster_id, noticed_at, lane, known_number, found_number, confirmed_at, confirmed_by, opened_at, settled_at,
                orders_lost, payments_found
             FROM disasters WHERE sale_id = $1 AND opened_at IS NOT NULL AND settled_at IS NULL
             ORDER BY noticed_at LIMIT 1",
            sale.to_string(),
        )
        .fetch_optional(&self.pools.purchases)
        .await?)
    }

    /// The sale sells again. False: it did so before.
    pub(crate) async fn disaster_opened(&self, id: &str) -> Result<bool> {
        let opened = sqlx::query!(
            "UPDATE disasters SET opened_at = clock_timestamp() WHERE disaster_id = $1 AND opened_at IS NULL",
            id,
        )
        .execute(&self.pools.purchases)
        .await?;
        Ok(opened.rows_affected() > 0)
    }

    /// All payments at the provider are accounted for.
    pub(crate) async fn disaster_settled(&self, sale: SaleId, id: &str) -> Result<()> {
        let mut tx = self.pools.purchases.begin().await?;
        // Orders with a payment whose outcome is unknown, or no longer known: it is asked for now, and until then their time does
        // not run out.
        let paying: Vec<String> = sqlx::query_scalar!(
            "UPDATE flash_sale_orders SET expires_at = greatest(expires_at, clock_timestamp() + $2 * interval '1 millisecond')
             WHERE order_id IN (
                 SELECT order_id FROM flash_sale_orders o WHERE sale_id = $1 AND status = 'pending'
                    AND EXISTS (SELECT 1 FROM payments p WHERE p.order_id = o.order_id AND p.answer IS NULL)
                 ORDER BY order_id FOR NO KEY UPDATE)
             RETURNING order_id",
            sale.to_string(),
            f64::from(ASKED_MS),
        )
        .fetch_all(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE payments SET todo_at = clock_timestamp() WHERE payment_id IN (
                 SELECT payment_id FROM payments WHERE order_id = ANY($1) AND answer IS NULL AND todo = 'ask'
                 ORDER BY payment_id FOR NO KEY UPDATE)",
            &paying,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE disasters SET settled_at = clock_timestamp() WHERE disaster_id = $1 AND settled_at IS NULL",
            id,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes missing orders down as lost: cancelled, so that no late commit can make them. Returns those written now.
    pub(crate) async fn lose_orders(
        &self,
        sale: &Sale,
        id: &str,
        lost: &[LostOrder],
    ) -> Result<Vec<OrderRow>> {
        let mut written = Vec::new();
        for some in lost.chunks(LOST_AT_ONCE) {
            let mut tx = self.pools.purchases.begin().await?;
            let new = lose(&mut tx, sale, some).await?;
            if !new.is_empty() {
                sqlx::query!(
                    "UPDATE disasters SET orders_lost = orders_lost + $2 WHERE disaster_id = $1",
                    id,
                    new.len() as i32,
                )
                .execute(&mut *tx)
                .await?;
                let entries: Vec<AuditRow> = new
                    .iter()
                    .map(|row| AuditRow::of_order(Kind::OrderLost, Actor::Worker, row, json!({})))
                    .collect();
                audit::write(&mut tx, &entries).await?;
            }
            tx.commit().await?;
            written.extend(new);
        }
        Ok(written)
    }

    /// Finds the existing ones among these orders and payments; an order comes with its sale.
    pub(crate) async fn known_of(
        &self,
        payments: &[FoundPayment],
    ) -> Result<(HashMap<String, SaleId>, HashSet<String>)> {
        let orders: Vec<String> = payments.iter().map(|found| found.order.to_string()).collect();
        let ids: Vec<String> = payments.iter().map(|found| found.payment.to_string()).collect();
        let orders = sqlx::query!(
            "SELECT order_id, sale_id FROM flash_sale_orders WHERE order_id = ANY($1)",
            &orders,
        )
        .fetch_all(&self.pools.purchases)
        .await?
        .into_iter()
        .map(|row| {
            let sale = row.sale_id.parse().map_err(|_| Error::unexpected("a bad sale"))?;
            Ok((row.order_id, sale))
        })
        .collect::<Result<_>>()?;
        let payments =
            sqlx::query_scalar!("SELECT payment_id FROM payments WHERE payment_id = ANY($1)", &ids)
                .fetch_all(&self.pools.purchases)
                .await?
                .into_iter()
                .collect();
        Ok((orders, payments))
    }

    /// Writes down missing payments of existing orders. From then on they are like any other: the worker asks for their state,
    /// and money that no order wants goes back once. Returns how many were new.
    pub(crate) async fn adopt_payments(
        &self,
        id: &str,
        provider: &str,
        payments: &[FoundPayment],
    ) -> Result<u64> {
        let column = |text: fn(&FoundPayment) -> String| payments.iter().map(text).collect::<Vec<_>>();
        let amounts: Vec<i64> = payments.iter().map(|found| found.amount).collect();
        let mut tx = self.pools.purchases.begin().await?;
        // If the order is lost or is being paid another way, its answer is set already: it takes no more money.
        let adopted = sqlx::query!(
            "INSERT INTO payments (payment_id, order_id, user_id, command_id, provider, amount, currency, todo, answer, answered_at)
             SELECT i.payment_id, i.order_id, o.user_id, i.payment_id, $5, i.amount, i.currency, 'ask', t.answer,
                CASE WHEN t.answer IS NOT NULL THEN clock_timestamp() END
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS i (payment_id, order_id, amount, currency)
             JOIN flash_sale_orders o USING (order_id)
             CROSS JOIN LATERAL (SELECT CASE WHEN o.reason = 'order_lost' THEN $6
                WHEN EXISTS (SELECT 1 FROM payments p WHERE p.order_id = o.order_id AND p.answer IS NULL) THEN $7 END AS answer) t
             ORDER BY i.order_id, i.payment_id
             ON CONFLICT DO NOTHING",
            &column(|found| found.payment.to_string()),
            &column(|found| found.order.to_string()),
            &amounts,
            &column(|found| found.currency.clone()),
            provider,
            Code::OrderLost.word(),
            Code::PaymentTooLate.word(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        sqlx::query!(
            "UPDATE disasters SET payments_found = payments_found + $2 WHERE disaster_id = $1",
            id,
            adopted as i32,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(adopted)
    }
}

impl OperatorChange {
    /// An operator confirms the loss. Returns the disaster after that; None: selling is not stopped.
    #[boxed]
    pub async fn confirm_disaster(&mut self) -> Result<Option<Disaster>> {
        let (sale, actor) = (self.sale_id().to_string(), self.subject().to_owned());
        let row = sqlx::query_as!(
            Disaster,
            "SELECT disaster_id, noticed_at, lane, known_number, found_number, confirmed_at, confirmed_by, opened_at, settled_at,
                orders_lost, payments_found
             FROM disasters WHERE sale_id = $1 AND opened_at IS NULL FOR NO KEY UPDATE",
            sale,
        )
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.confirmed_at.is_some() {
            return Ok(Some(row));
        }
        let confirmed_at = sqlx::query_scalar!(
            r#"UPDATE disasters SET confirmed_at = clock_timestamp(), confirmed_by = $2 WHERE disaster_id = $1
               RETURNING confirmed_at AS "at!""#,
            row.disaster_id,
            actor,
        )
        .fetch_one(self.connection())
        .await?;
        let mut data =
            json!({ "disaster": row.disaster_id, "known": row.known_number, "found": row.found_number });
        if let Some(lane) = row.lane {
            data["lane"] = json!(lane);
        }
        self.note(Kind::Recovered, data);
        Ok(Some(Disaster {
            confirmed_at: Some(confirmed_at),
            confirmed_by: Some(actor),
            ..row
        }))
    }
}

async fn lose(connection: &mut PgConnection, sale: &Sale, lost: &[LostOrder]) -> Result<Vec<OrderRow>> {
    let column = |text: fn(&LostOrder) -> String| lost.iter().map(text).collect::<Vec<_>>();
    let lanes: Vec<i16> = lost
        .iter()
        .map(|order| sale.lane_of(&order.shopper).lane as i16)
        .collect();
    let quantities: Vec<i32> = lost.iter().map(|order| order.quantity as i32).collect();
    let amounts: Vec<i64> = lost.iter().map(|order| order.amount).collect();
    let new: Vec<String> = sqlx::query_scalar!(
        "INSERT INTO flash_sale_orders (order_id, sale_id, lane, user_id, device_id, quantity_requested, quantity_allocated,
            unit_price, amount, currency, status, reason, expires_at, hold_command)
         SELECT i.order_id, $1, i.lane, i.user_id, i.device_id, i.quantity, i.quantity, $2, i.amount, $3, 'cancelled', $4, now(),
            i.hold_command
         FROM unnest($5::text[], $6::smallint[], $7::text[], $8::text[], $9::int[], $10::bigint[], $11::text[])
            AS i (order_id, lane, user_id, device_id, quantity, amount, hold_command)
         ORDER BY i.order_id
         ON CONFLICT (order_id) DO NOTHING RETURNING order_id",
        sale.id.to_string(),
        sale.sale_price,
        sale.currency,
        Reason::OrderLost.word(),
        &column(|order| order.order.to_string()),
        &lanes,
        &column(|order| order.shopper.to_string()),
        &column(|order| order.device.clone()),
        &quantities,
        &amounts,
        &column(|order| order.hold_command.clone()),
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(orders::load(connection, &new).await?.into_values().collect())
}
