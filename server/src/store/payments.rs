//! Payments: what the provider said, and the order's step from pending to confirmed, in one group commit.

use super::{COMMIT, OrderRow, Store, audit, orders::load};
use crate::{
    batcher::Batcher,
    error::{Error, Result},
    payment::{Authorization, PROVIDER},
    sale::LaneRef,
};
use flashsale_protocol::{Code, CommandId, OrderId, OrderStatus, SaleId, ShopperId};
use serde_json::json;
use sqlx::PgPool;
use std::collections::{HashMap, HashSet};

/// Tries of a batch that ran into another gateway's payment of the same command.
const CONFLICT_TRIES: usize = 3;

#[derive(Debug, Clone)]
pub struct PayItem {
    pub order: OrderId,
    pub shopper: ShopperId,
    pub command: CommandId,
    /// SHA-256 of verb and payload.
    pub digest: Vec<u8>,
    pub authorization: Authorization,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Paid {
    Ok(OrderRow),
    Refused(Code),
}

type CommandKey = (String, String);

impl Store {
    /// Where money and units of a sale do not belong together: one line each. None, ever (I6).
    pub async fn money_without_units(&self, sale: SaleId) -> Result<Vec<String>> {
        let rows = sqlx::query!(
            r#"SELECT o.order_id, o.status, count(p.order_id) FILTER (WHERE p.status = 'captured') AS "captured!"
               FROM flash_sale_orders o LEFT JOIN payments p USING (order_id)
               WHERE o.sale_id = $1 GROUP BY o.order_id, o.status
               HAVING count(p.order_id) FILTER (WHERE p.status = 'captured')
                   <> CASE WHEN o.status = 'confirmed' THEN 1 ELSE 0 END"#,
            sale.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                format!(
                    "the {} order {} has {} captured payments",
                    row.status, row.order_id, row.captured
                )
            })
            .collect())
    }

    /// Settles a payment, through the group commit of the order's lane.
    pub async fn pay(&self, at: LaneRef, item: PayItem) -> Result<Paid> {
        self.pay
            .submit(&at, item, || {
                let pool = self.pool.clone();
                Batcher::new("pay_order", COMMIT, move |items: Vec<PayItem>| {
                    let pool = pool.clone();
                    async move {
                        for _ in 0..CONFLICT_TRIES {
                            if let Some(paid) = pay_all(&pool, &items).await? {
                                return Ok(paid);
                            }
                        }
                        Err(Error::unexpected(
                            "payments of the same commands keep meeting each other",
                        ))
                    }
                })
            })
            .await
    }
}

/// One transaction for all. None: another gateway has carried out one of these commands meanwhile; nothing was changed.
async fn pay_all(pool: &PgPool, items: &[PayItem]) -> Result<Option<Vec<Paid>>> {
    let mut tx = pool.begin().await?;
    let mut ids: Vec<String> = items.iter().map(|item| item.order.to_string()).collect();
    ids.sort();
    ids.dedup();
    // Locked in one order everywhere; from here on nobody else changes these orders.
    // Whether it is too late is Postgres' to say: it is also Postgres that cancels unpaid orders.
    let late: HashSet<String> = sqlx::query!(
        r#"SELECT order_id, expires_at <= clock_timestamp() AS "late!" FROM flash_sale_orders
           WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE"#,
        &ids,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .filter_map(|row| row.late.then_some(row.order_id))
    .collect();
    let mut rows = load(&mut tx, &ids).await?;
    let shoppers: Vec<String> = items.iter().map(|item| item.shopper.to_string()).collect();
    let commands: Vec<String> = items.iter().map(|item| item.command.to_string()).collect();
    let mut known: HashMap<CommandKey, (Vec<u8>, Option<String>)> = sqlx::query!(
        "SELECT c.user_id, c.command_id, c.digest, c.refusal FROM commands c
         JOIN unnest($1::text[], $2::text[]) AS i (user_id, command_id) USING (user_id, command_id)",
        &shoppers,
        &commands,
    )
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|row| ((row.user_id, row.command_id), (row.digest, row.refusal)))
    .collect();

    let mut decisions = Vec::with_capacity(items.len());
    let mut new: Vec<(&PayItem, Option<Code>, i64, String)> = Vec::new();
    let mut confirmed: HashSet<String> = HashSet::new();
    for item in items {
        let key = (item.shopper.to_string(), item.command.to_string());
        let id = item.order.to_string();
        let Some(row) = rows
            .get_mut(&id)
            .filter(|row| row.shopper == item.shopper && row.quantity > 0)
        else {
            decisions.push(Some(Code::OrderUnknown));
            continue;
        };
        if let Some((digest, refusal)) = known.get(&key) {
            decisions.push(if *digest != item.digest {
                Some(Code::CommandIdReused)
            } else {
                refusal.as_deref().map(code_of)
            });
            continue;
        }
        let refusal = match (row.status, &item.authorization) {
            (OrderStatus::Cancelled, _) => Some(Code::OrderCancelled),
            (OrderStatus::Confirmed, _) => Some(Code::OrderConfirmed),
            (OrderStatus::Pending, _) if late.contains(&id) => Some(Code::PaymentTooLate),
            (OrderStatus::Pending, Authorization::Declined { .. }) => Some(Code::PaymentDeclined),
            (OrderStatus::Pending, Authorization::Approved { .. }) => None,
        };
        if refusal.is_none() {
            row.status = OrderStatus::Confirmed;
            confirmed.insert(id);
        }
        known.insert(
            key,
            (item.digest.clone(), refusal.map(|code| code.word().to_owned())),
        );
        new.push((item, refusal, row.amount, row.currency.clone()));
        decisions.push(refusal);
    }

    if !new.is_empty() && !write(&mut tx, &new, &confirmed).await? {
        tx.rollback().await?;
        return Ok(None);
    }
    let rows = load(&mut tx, &ids).await?;
    let entries: Vec<audit::Entry> = confirmed
        .iter()
        .filter_map(|id| rows.get(id))
        .map(|row| audit::Entry::of_order("order_confirmed", row.shopper.as_str(), row, json!({})))
        .collect();
    audit::write(&mut tx, &entries).await?;
    tx.commit().await?;

    Ok(Some(
        items
            .iter()
            .zip(decisions)
            .map(
                |(item, refusal)| match (refusal, rows.get(&item.order.to_string())) {
                    (None, Some(row)) => Paid::Ok(row.clone()),
                    (Some(code), _) => Paid::Refused(code),
                    (None, None) => Paid::Refused(Code::OrderUnknown),
                },
            )
            .collect(),
    ))
}

/// False: a command of the batch was carried out elsewhere between our look and our write.
async fn write(
    connection: &mut sqlx::PgConnection,
    new: &[(&PayItem, Option<Code>, i64, String)],
    confirmed: &HashSet<String>,
) -> Result<bool> {
    let users: Vec<String> = new.iter().map(|(item, ..)| item.shopper.to_string()).collect();
    let commands: Vec<String> = new.iter().map(|(item, ..)| item.command.to_string()).collect();
    let digests: Vec<Vec<u8>> = new.iter().map(|(item, ..)| item.digest.clone()).collect();
    let orders: Vec<String> = new.iter().map(|(item, ..)| item.order.to_string()).collect();
    let refusals: Vec<Option<String>> = new
        .iter()
        .map(|(_, refusal, ..)| refusal.map(|code| code.word().to_owned()))
        .collect();
    let inserted = sqlx::query!(
        "INSERT INTO commands (user_id, command_id, digest, order_id, refusal)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[])
         ON CONFLICT DO NOTHING",
        &users,
        &commands,
        &digests,
        &orders,
        refusals.as_slice() as &[Option<String>],
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if inserted != new.len() as u64 {
        return Ok(false);
    }

    let references: Vec<String> = new
        .iter()
        .map(|(item, ..)| match &item.authorization {
            Authorization::Approved { reference } => reference.clone(),
            Authorization::Declined { reason } => (*reason).to_owned(),
        })
        .collect();
    let statuses: Vec<String> = new
        .iter()
        .map(|(item, refusal, ..)| match (&item.authorization, refusal) {
            (Authorization::Declined { .. }, _) => "declined".to_owned(),
            (Authorization::Approved { .. }, None) => "captured".to_owned(),
            // Approved, but the order cannot take it: the authorization is given back.
            (Authorization::Approved { .. }, Some(_)) => "voided".to_owned(),
        })
        .collect();
    let amounts: Vec<i64> = new.iter().map(|(_, _, amount, _)| *amount).collect();
    let currencies: Vec<String> = new.iter().map(|(_, _, _, currency)| currency.clone()).collect();
    sqlx::query!(
        "INSERT INTO payments (order_id, user_id, command_id, provider, reference, amount, currency, status)
         SELECT order_id, user_id, command_id, $1, reference, amount, currency, status
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[])
            AS i (order_id, user_id, command_id, reference, amount, currency, status)",
        PROVIDER,
        &orders,
        &users,
        &commands,
        &references,
        &amounts,
        &currencies,
        &statuses,
    )
    .execute(&mut *connection)
    .await?;

    let confirmed: Vec<String> = confirmed.iter().cloned().collect();
    sqlx::query!(
        "UPDATE flash_sale_orders SET status = 'confirmed', changed_at = clock_timestamp() WHERE order_id = ANY($1)",
        &confirmed,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE sale_lanes l SET confirmed = l.confirmed + c.units
         FROM (SELECT sale_id, lane, sum(quantity_allocated)::int AS units FROM flash_sale_orders
               WHERE order_id = ANY($1) GROUP BY 1, 2) c
         WHERE l.sale_id = c.sale_id AND l.lane = c.lane",
        &confirmed,
    )
    .execute(&mut *connection)
    .await?;
    Ok(true)
}

fn code_of(word: &str) -> Code {
    Code::ALL
        .iter()
        .copied()
        .find(|code| code.word() == word)
        .unwrap_or(Code::Internal)
}
