//! Looks orders up: one, a shopper's, a sale's. Also finds faults that must never exist.

use super::rows::{OrderRow, RawOrder, load};
use crate::{
    batcher::{Batch, Batcher, of_shopper},
    boxed,
    error::Result,
    sale::Terms,
    store::{
        LOOK, Store,
        commands::{self, Known},
        sales::terms_of,
    },
};
use flashsale_protocol::{CommandId, OrderId, SaleId, ShopperId};
use sqlx::PgPool;
use std::collections::HashMap;

/// Most orders in a shopper's list.
const LIST_LIMIT: i64 = 50;

impl Store {
    #[boxed]
    pub async fn order(&self, order: OrderId) -> Result<Option<OrderRow>> {
        Ok(
            load(&mut *self.pools.purchases.acquire().await?, &[order.to_string()])
                .await?
                .into_values()
                .next(),
        )
    }

    /// The terms that the order was placed under, as it was then.
    #[boxed]
    pub async fn order_terms(&self, order: OrderId) -> Result<Option<Terms>> {
        let row = sqlx::query!(
            "SELECT terms_url, terms_version FROM flash_sale_orders WHERE order_id = $1",
            order.to_string()
        )
        .fetch_optional(&self.pools.shoppers)
        .await?;
        Ok(row.and_then(|row| terms_of(row.terms_url, row.terms_version)))
    }

    /// A shopper's orders, newest first, of one sale or of all; abandoned ones are left out. After a mass reconnect everybody
    /// asks for this, so one query answers all who wait.
    pub(crate) async fn orders_of(&self, shopper: &ShopperId, sale: Option<SaleId>) -> Result<Vec<OrderRow>> {
        self.orders
            .submit(&sale, shopper.clone(), || {
                let pool = self.pools.shoppers.clone();
                Batcher::new(
                    "orders_of",
                    LOOK,
                    of_shopper,
                    move |shoppers: Batch<ShopperId>| {
                        let pool = pool.clone();
                        async move { orders_of_all(&pool, sale, &shoppers).await }
                    },
                )
            })
            .await
    }

    /// All orders of a sale, for checks and exports; abandoned ones are left out.
    pub async fn orders_of_sale(&self, sale: SaleId) -> Result<Vec<OrderRow>> {
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
             FROM flash_sale_orders WHERE sale_id = $1 AND quantity_allocated > 0",
            sale.to_string(),
        )
        .fetch_all(&self.pools.purchases)
        .await?
        .into_iter()
        .map(RawOrder::read)
        .collect()
    }

    /// Holds that became more than one order: shopper, the hold's command, orders. There must never be any (I3).
    pub async fn holds_ordered_twice(&self, sale: SaleId) -> Result<Vec<(String, String, i64)>> {
        let rows = sqlx::query!(
            r#"SELECT user_id, hold_command, count(*) AS "orders!" FROM flash_sale_orders
               WHERE sale_id = $1 AND hold_command <> '-' AND quantity_allocated > 0
               GROUP BY user_id, hold_command HAVING count(*) > 1"#,
            sale.to_string(),
        )
        .fetch_all(&self.pools.purchases)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.user_id, row.hold_command, row.orders))
            .collect())
    }

    /// A command that was noted before, if it was.
    #[boxed]
    pub async fn command(&self, shopper: &ShopperId, command: CommandId) -> Result<Option<Known>> {
        let name = (shopper.to_string(), command.to_string());
        let mut known = commands::known(&mut *self.pools.purchases.acquire().await?, [name.clone()]).await?;
        Ok(known.remove(&name))
    }

    /// Number of orders of devices that ordered more than `limit` times, through several accounts or by ordering and cancelling.
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
        .fetch_one(&self.pools.purchases)
        .await?;
        Ok(orders as u64)
    }
}

async fn orders_of_all(
    pool: &PgPool,
    sale: Option<SaleId>,
    shoppers: &[ShopperId],
) -> Result<Vec<Vec<OrderRow>>> {
    let mut names: Vec<String> = shoppers.iter().map(ShopperId::to_string).collect();
    // A session of the whole platform is one person at each merchant; in a sale, the asker is that person already.
    let mut asker: HashMap<String, ShopperId> = HashMap::new();
    if sale.is_none() {
        let people = sqlx::query!(
            r#"SELECT person_id, account_id AS "account_id!" FROM people WHERE account_id = ANY($1)"#,
            &names,
        )
        .fetch_all(pool)
        .await?;
        for row in people {
            if let Some(account) = shoppers.iter().find(|shopper| shopper.as_str() == row.account_id) {
                asker.insert(row.person_id.clone(), account.clone());
                names.push(row.person_id);
            }
        }
    }
    let rows = sqlx::query_as!(
        RawOrder,
        r#"SELECT o.order_id AS "order_id!", o.sale_id AS "sale_id!", o.lane AS "lane!", o.user_id AS "user_id!",
            o.device_id AS "device_id!", o.quantity_allocated AS "quantity_allocated!", o.unit_price AS "unit_price!",
            o.amount AS "amount!", o.currency AS "currency!", o.status AS "status!", o.reason,
            o.created_at AS "created_at!", o.expires_at AS "expires_at!", o.changed_at AS "changed_at!",
            o.refunded AS "refunded!", o.hold_command AS "hold_command!",
            CASE WHEN o.refunded > 0 THEN (SELECT max(r.done_at) FROM refunds r JOIN payments p USING (payment_id)
                WHERE p.order_id = o.order_id) END AS refunded_at,
            CASE o.status WHEN 'pending' THEN (SELECT max(p.created_at) FROM payments p
                WHERE p.order_id = o.order_id AND p.answer IS NULL) END AS paying_since,
            CASE o.status WHEN 'pending' THEN (SELECT CASE p.answer WHEN 'payment_declined' THEN ARRAY[coalesce(p.reason, ''),
                    trunc(extract(epoch FROM p.answered_at) * 1000)::bigint::text] END FROM payments p
                WHERE p.order_id = o.order_id ORDER BY p.answer IS NULL DESC, p.created_at DESC LIMIT 1) END AS declined
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
        let whose = asker.get(row.shopper.as_str()).unwrap_or(&row.shopper).clone();
        by_shopper.entry(whose).or_default().push(row);
    }
    by_shopper.values_mut().for_each(|rows| {
        rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
        rows.truncate(LIST_LIMIT as usize);
    });
    Ok(shoppers
        .iter()
        .map(|shopper| by_shopper.get(shopper).cloned().unwrap_or_default())
        .collect())
}
