//! Begins a payment: it is written down in its own group commit, before the provider is asked.

use super::{PaymentRow, rows::load_payments};
use crate::{
    batcher::{Batch, Batcher, Verdict, subject},
    error::{Error, Result},
    payment::state::State,
    store::{
        COMMIT, OrderRow, Store,
        commands::Known,
        orders::{RawOrder, load},
        words::code_of,
    },
};
use flashsale_protocol::{Code, CommandId, OrderId, PaymentId, ShopperId};
use sqlx::PgPool;
use std::collections::HashMap;

/// A payment to be begun.
#[derive(Debug, Clone)]
pub struct NewPayment {
    pub payment: PaymentId,
    pub order: OrderId,
    pub shopper: ShopperId,
    pub command: CommandId,
    /// SHA-256 of verb and payload.
    pub digest: Vec<u8>,
    pub provider: &'static str,
    /// Time after which the worker asks for a missing answer. Of a hand-off: after the order's time to pay.
    pub ask_after_ms: i64,
}

/// The payment with its order, now or from an earlier try; or the reason why it cannot be.
pub type PaymentBegun = std::result::Result<(OrderRow, PaymentRow), Code>;

impl Store {
    /// Writes a payment down before the provider is asked, in a group commit.
    pub async fn begin_payment(&self, payment: NewPayment) -> Result<PaymentBegun> {
        self.begin_payment
            .submit(&(), payment, || {
                let pool = self.pools.purchases.clone();
                let subjects = |item: &NewPayment| {
                    [subject(&item.shopper), subject(item.order)]
                        .into_iter()
                        .collect()
                };
                Batcher::with_verdicts(
                    "begin_payment",
                    COMMIT,
                    subjects,
                    move |items: Batch<NewPayment>| {
                        let pool = pool.clone();
                        async move { begin_all(&pool, &items).await }
                    },
                )
            })
            .await
    }
}

impl PaymentRow {
    /// A payment that was just begun.
    fn begun(new: &NewPayment, order: &OrderRow) -> Self {
        Self {
            payment: new.payment,
            order: new.order,
            provider: new.provider.to_owned(),
            currency: order.currency.clone(),
            answered_at: None,
            created_at: order.paying_since.unwrap_or(order.changed_at),
            state: State::created(order.amount),
        }
    }
}

/// One transaction for all; no two items share a shopper or an order.
async fn begin_all(pool: &PgPool, items: &[NewPayment]) -> Result<Vec<Verdict<PaymentBegun>>> {
    let column = |text: fn(&NewPayment) -> String| items.iter().map(text).collect::<Vec<String>>();
    let payments = column(|item| item.payment.to_string());
    let orders = column(|item| item.order.to_string());
    let digests: Vec<Vec<u8>> = items.iter().map(|item| item.digest.clone()).collect();
    let ask_after: Vec<i64> = items.iter().map(|item| item.ask_after_ms).collect();
    let mut tx = pool.begin().await?;
    // One statement, because a payment waits for each round trip: it looks at the orders and the known commands, writes the
    // payments that may be tried, then the commands of these and of those refused for good. It asks "is it among them" where a join
    // would do, because Postgres does not know how many items there are, and would compare each with each.
    let looked = sqlx::query!(
        r#"WITH i AS (
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[])
                AS i (payment_id, order_id, user_id, command_id, digest, provider, ask_after_ms)
           ), looked AS (
             SELECT i.*, o.sale_id, o.lane, o.user_id AS buyer_id, o.device_id, o.quantity_allocated, o.unit_price, o.amount,
                o.currency, o.status, o.reason, o.created_at, o.expires_at, o.changed_at, o.refunded, o.hold_command,
                c.digest AS known_digest, c.refusal AS known_refusal, c.command_id IS NOT NULL AS known,
                clock_timestamp() AS begun_at,
                CASE WHEN o.order_id IS NULL OR o.user_id <> i.user_id OR o.quantity_allocated = 0 THEN 'order_unknown'
                     WHEN o.status = 'cancelled' AND o.reason = 'order_lost' THEN 'order_lost'
                     WHEN o.status = 'cancelled' THEN 'order_cancelled'
                     WHEN o.status = 'confirmed' THEN 'order_confirmed'
                     WHEN o.expires_at <= clock_timestamp() THEN 'payment_too_late'
                     WHEN (SELECT TRUE FROM payments p WHERE p.order_id = o.order_id AND p.answer IS NULL LIMIT 1)
                        THEN 'payment_pending' END AS refusal
             FROM i LEFT JOIN flash_sale_orders o USING (order_id) LEFT JOIN commands c
                ON c.user_id = i.user_id AND c.command_id = i.command_id
           ), made AS (
             INSERT INTO payments (payment_id, order_id, user_id, command_id, provider, amount, currency, todo, todo_at, created_at)
             SELECT payment_id, order_id, user_id, command_id, provider, amount, currency, 'ask',
                CASE provider WHEN 'merchant' THEN expires_at ELSE begun_at END + ask_after_ms * interval '1 millisecond', begun_at
             FROM looked WHERE NOT known AND refusal IS NULL ORDER BY order_id, payment_id
             ON CONFLICT DO NOTHING RETURNING payment_id
           ), noted AS (
             INSERT INTO commands (user_id, command_id, digest, order_id, refusal)
             SELECT user_id, command_id, digest, order_id, refusal FROM looked
             WHERE NOT known AND (payment_id IN (SELECT payment_id FROM made)
                OR refusal IN ('order_cancelled', 'order_lost', 'order_confirmed', 'payment_too_late'))
             ORDER BY user_id, command_id
             ON CONFLICT DO NOTHING RETURNING user_id, command_id
           )
           SELECT payment_id AS "payment_id!", order_id AS "order_id!", known AS "known!", known_digest AS "known_digest?",
              known_refusal AS "known_refusal?", refusal AS "refusal?", begun_at AS "begun_at!",
              payment_id IN (SELECT payment_id FROM made) AS "made!",
              (user_id, command_id) IN (SELECT user_id, command_id FROM noted) AS "noted!",
              sale_id AS "sale_id?", lane AS "lane?", buyer_id AS "buyer_id?", device_id AS "device_id?",
              quantity_allocated AS "quantity_allocated?", unit_price AS "unit_price?", amount AS "amount?", currency AS "currency?",
              status AS "status?", reason AS "reason?", created_at AS "created_at?", expires_at AS "expires_at?",
              changed_at AS "changed_at?", refunded AS "refunded?", hold_command AS "hold_command?"
           FROM looked"#,
        &payments,
        &orders,
        &column(|item| item.shopper.to_string()),
        &column(|item| item.command.to_string()),
        &digests,
        &column(|item| item.provider.to_owned()),
        &ask_after,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut looked: HashMap<String, _> = looked
        .into_iter()
        .map(|row| (row.payment_id.clone(), row))
        .collect();

    // None: between our look and our write another gateway used the id, or began to pay the same order.
    let mut refusals: Vec<Option<Option<Code>>> = Vec::with_capacity(items.len());
    for item in items {
        let Some(row) = looked.get(&item.payment.to_string()) else {
            return Err(Error::unexpected("a payment got no answer"));
        };
        refusals.push(match (row.known, row.noted, row.refusal.as_deref()) {
            (true, ..) => {
                let digest = row.known_digest.clone().unwrap_or_default();
                let known = Known::new(digest, row.known_refusal.as_deref());
                Some(known.answer(&item.digest).err())
            }
            (false, true, refusal) => Some(refusal.map(code_of)),
            (false, false, Some(word @ ("order_unknown" | "payment_pending"))) => Some(Some(code_of(word))),
            (false, false, _) => None,
        });
    }
    let in_vain: Vec<String> = items
        .iter()
        .zip(&refusals)
        .filter(|(item, refusal)| {
            refusal.is_none() && looked.get(&item.payment.to_string()).is_some_and(|row| row.made)
        })
        .map(|(item, _)| item.payment.to_string())
        .collect();
    if !in_vain.is_empty() {
        // Another payment has taken their command: the next look says which.
        sqlx::query!("DELETE FROM payments WHERE payment_id = ANY($1)", &in_vain)
            .execute(&mut *tx)
            .await?;
    }
    // What was begun just now is known; of repeated commands, the stores tell.
    let (mut rows, mut begun) = (HashMap::new(), HashMap::new());
    let (mut known_orders, mut known_payments) = (Vec::new(), Vec::new());
    for (item, refusal) in items.iter().zip(&refusals) {
        let (id, order) = (item.payment.to_string(), item.order.to_string());
        match looked.remove(&id).filter(|row| row.made) {
            _ if *refusal != Some(None) => {}
            None => {
                known_orders.push(order);
                known_payments.push(id);
            }
            Some(row) => {
                let missing = || Error::unexpected("a payment without its order");
                let raw = RawOrder {
                    order_id: row.order_id,
                    sale_id: row.sale_id.ok_or_else(missing)?,
                    lane: row.lane.ok_or_else(missing)?,
                    user_id: row.buyer_id.ok_or_else(missing)?,
                    device_id: row.device_id.ok_or_else(missing)?,
                    quantity_allocated: row.quantity_allocated.ok_or_else(missing)?,
                    unit_price: row.unit_price.ok_or_else(missing)?,
                    amount: row.amount.ok_or_else(missing)?,
                    currency: row.currency.ok_or_else(missing)?,
                    status: row.status.ok_or_else(missing)?,
                    reason: row.reason,
                    created_at: row.created_at.ok_or_else(missing)?,
                    expires_at: row.expires_at.ok_or_else(missing)?,
                    changed_at: row.changed_at.ok_or_else(missing)?,
                    // Since this payment: it is the only one without an answer.
                    paying_since: Some(row.begun_at),
                    refunded: row.refunded.ok_or_else(missing)?,
                    refunded_at: None,
                    declined: None,
                    hold_command: row.hold_command.ok_or_else(missing)?,
                };
                let row = raw.read()?;
                begun.insert(id, PaymentRow::begun(item, &row));
                rows.insert(order, row);
            }
        }
    }
    if !known_payments.is_empty() {
        rows.extend(load(&mut tx, &known_orders).await?);
        begun.extend(load_payments(&mut tx, &known_payments).await?);
    }
    tx.commit().await?;
    Ok(items
        .iter()
        .zip(refusals)
        .map(|(item, refusal)| {
            let order = rows.get(&item.order.to_string()).cloned();
            let payment = begun.get(&item.payment.to_string()).cloned();
            Verdict::Done(match (refusal, order, payment) {
                (None, ..) => return Verdict::Again,
                (Some(Some(code)), ..) => Err(code),
                (Some(None), Some(order), Some(payment)) => Ok((order, payment)),
                // Another verb's command with the same digest, which cannot happen.
                (Some(None), ..) => Err(Code::CommandIdReused),
            })
        })
        .collect())
}
