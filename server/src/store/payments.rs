//! Payments: written down before the provider is asked, settled with their order in one group commit, and what is left to do
//! about them. What an outcome means is `payment/state.rs`'s to say.

use super::{COMMIT, OrderRow, Store, audit, orders, orders::load};
use crate::{
    batcher::Batcher,
    error::{Error, Result},
    payment::{
        Event, Fact,
        state::{OrderNow, Outcome, PaymentStatus, State, Step, Todo},
    },
    sale::LaneRef,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, CommandId, OrderId, OrderStatus, PaymentId, Reason, SaleId, ShopperId};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::collections::{HashMap, HashSet};

/// Tries of a batch that ran into another gateway's payment of the same command or order.
const CONFLICT_TRIES: usize = 3;
/// After a try: the next one 0.5 s later, then 1 s, 2 s … and at last every minute. Nothing is given up.
const AGAIN_MS: f64 = 500.0;
const AGAIN_AT_MOST_MS: f64 = 60_000.0;
/// Refusals of a refund by the provider after which it waits for an operator: about two minutes of tries. A provider that does
/// not answer is asked on and on.
const REFUND_REFUSALS: i32 = 8;
/// Tries after which something is wrong, and an operator should look.
const STUCK_TRIES: i32 = 8;

/// A payment that is to be.
#[derive(Debug, Clone)]
pub struct NewPayment {
    pub payment: PaymentId,
    pub order: OrderId,
    pub shopper: ShopperId,
    pub command: CommandId,
    /// SHA-256 of verb and payload.
    pub digest: Vec<u8>,
    pub provider: &'static str,
    /// When nobody has brought an answer by then, the worker asks.
    pub ask_after_ms: i64,
}

#[derive(Debug, Clone)]
pub struct PaymentRow {
    pub payment: PaymentId,
    pub order: OrderId,
    pub currency: String,
    pub answered_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub state: State,
}

/// The payment with its order, now or since an earlier try; or why it cannot be.
pub type Begun = std::result::Result<(OrderRow, PaymentRow), Code>;

/// What the provider has told about a payment.
#[derive(Debug, Clone)]
pub struct Report {
    pub payment: PaymentId,
    pub order: OrderId,
    pub fact: Fact,
    /// None: it was an answer to a call of ours.
    pub event: Option<Event>,
}

/// What a report has come to.
#[derive(Debug, Clone)]
pub struct Reported {
    pub order: OrderRow,
    pub payment: PaymentRow,
    /// The shopper should see the order anew.
    pub changed: bool,
    /// The event was known before, and had no effect now.
    pub repeated: bool,
    /// The event was refused, now or before.
    pub refusal: Option<Code>,
}

/// Something left to do.
#[derive(Debug, Clone)]
pub struct Due {
    pub payment: PaymentRow,
    pub sale: SaleId,
    pub lane: u16,
    pub tries: i32,
    /// The order's units, if it is cancelled, are back in Redis.
    pub units_returned: bool,
}

#[derive(Debug, Clone)]
pub struct DueRefund {
    pub refund: String,
    pub payment: PaymentId,
    pub order: OrderId,
    pub sale: SaleId,
    pub lane: u16,
    pub amount: i64,
    pub tries: i32,
}

#[derive(Debug, Clone)]
pub struct RefundRow {
    pub refund_id: String,
    pub amount: i64,
    pub status: String,
    pub actor: String,
    pub reason: String,
    pub created_at: DateTime<Utc>,
    /// Why the provider has last refused it.
    pub refusal: Option<String>,
}

/// A refund that an operator asks for.
#[derive(Debug, Clone)]
pub struct AskRefund {
    pub order: OrderId,
    pub actor: String,
    pub command: CommandId,
    pub digest: Vec<u8>,
    /// None: all that is left.
    pub amount: Option<i64>,
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct RefundAsked {
    pub order: OrderRow,
    /// None: the order cost nothing.
    pub refund: Option<RefundRow>,
}

#[derive(Debug, Clone)]
pub enum Revived {
    Ok(Box<OrderRow>),
    /// Postgres has no unit for it.
    Refused,
    /// It was settled meanwhile.
    Settled,
}

/// How many payments and refunds have something left to do, and how many of them for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub todo: String,
    pub count: i64,
    pub stuck: i64,
}

impl Store {
    /// Writes payments down before the provider is asked, in a group commit of their own.
    pub async fn begin_payment(&self, payment: NewPayment) -> Result<Begun> {
        self.begin_payment
            .submit(&(), payment, || {
                let pool = self.pool.clone();
                Batcher::new("begin_payment", COMMIT, move |items: Vec<NewPayment>| {
                    let pool = pool.clone();
                    async move {
                        for _ in 0..CONFLICT_TRIES {
                            if let Some(begun) = begin_all(&pool, &items).await? {
                                return Ok(begun);
                            }
                        }
                        Err(Error::unexpected(
                            "payments of the same orders keep meeting each other",
                        ))
                    }
                })
            })
            .await
    }

    /// Takes in what the provider has told, through the group commit of the order's lane. An error leaves the outcome to the
    /// worker, which asks the provider again.
    pub async fn report(&self, sale: SaleId, lane: u16, report: Report) -> Result<Reported> {
        // Reports of one lane share a transaction; the lane's epoch does not matter to them.
        let at = LaneRef { sale, lane, epoch: 0 };
        self.report
            .submit(&at, report, || {
                let pool = self.pool.clone();
                Batcher::new("report_payment", COMMIT, move |items: Vec<Report>| {
                    let pool = pool.clone();
                    async move { report_all(&pool, &items).await }
                })
            })
            .await
    }

    pub async fn payment(&self, payment: PaymentId) -> Result<Option<PaymentRow>> {
        let mut rows = load_payments(&mut *self.pool.acquire().await?, &[payment.to_string()]).await?;
        Ok(rows.remove(&payment.to_string()))
    }

    /// An order's payments, in the order in which they were tried, each with its refunds.
    pub async fn payments_of(&self, order: OrderId) -> Result<Vec<(PaymentRow, Vec<RefundRow>)>> {
        let ids: Vec<String> = sqlx::query_scalar!(
            "SELECT payment_id FROM payments WHERE order_id = $1 ORDER BY created_at",
            order.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        let mut rows = load_payments(&mut *self.pool.acquire().await?, &ids).await?;
        let mut payments = Vec::with_capacity(ids.len());
        for id in &ids {
            if let Some(row) = rows.remove(id) {
                payments.push((row, self.refunds_of(id).await?));
            }
        }
        Ok(payments)
    }

    /// What the provider has sent about an order's payments, as it came: (event, type, refusal).
    pub async fn payment_events_of(&self, order: OrderId) -> Result<Vec<(String, String, Option<String>)>> {
        let rows = sqlx::query!(
            "SELECT e.event_id, e.kind, e.refusal FROM payment_events e JOIN payments p USING (payment_id)
             WHERE p.order_id = $1 ORDER BY e.received_at",
            order.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.event_id, row.kind, row.refusal))
            .collect())
    }

    async fn refunds_of(&self, payment: &str) -> Result<Vec<RefundRow>> {
        Ok(sqlx::query_as!(
            RefundRow,
            "SELECT refund_id, amount, status, actor, reason, created_at, refusal FROM refunds
             WHERE payment_id = $1 ORDER BY created_at",
            payment,
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Takes payments with something to do that is due. If nobody reports back, they are due again a little later.
    pub async fn due_payments(&self, most: i64) -> Result<Vec<Due>> {
        let rows = sqlx::query!(
            "UPDATE payments p
             SET tries = p.tries + 1,
                 todo_at = clock_timestamp() + least($2 * 2 ^ least(p.tries, 20), $3) * interval '1 millisecond'
             FROM (SELECT payment_id FROM payments WHERE todo IS NOT NULL AND todo_at <= clock_timestamp()
                   ORDER BY todo_at LIMIT $1 FOR UPDATE SKIP LOCKED) d
                JOIN payments q USING (payment_id) JOIN flash_sale_orders o ON o.order_id = q.order_id
             WHERE p.payment_id = d.payment_id
             RETURNING p.payment_id, p.tries, o.sale_id, o.lane, o.units_returned",
            most,
            AGAIN_MS,
            AGAIN_AT_MOST_MS,
        )
        .fetch_all(&self.pool)
        .await?;
        let ids: Vec<String> = rows.iter().map(|row| row.payment_id.clone()).collect();
        let mut payments = load_payments(&mut *self.pool.acquire().await?, &ids).await?;
        rows.into_iter()
            .filter_map(|row| Some((payments.remove(&row.payment_id)?, row)))
            .map(|(payment, row)| {
                Ok(Due {
                    payment,
                    sale: row.sale_id.parse().map_err(|_| bad("sale"))?,
                    lane: row.lane as u16,
                    tries: row.tries,
                    units_returned: row.units_returned,
                })
            })
            .collect()
    }

    /// The same for refunds whose money is there.
    pub async fn due_refunds(&self, most: i64) -> Result<Vec<DueRefund>> {
        sqlx::query!(
            "UPDATE refunds r
             SET tries = r.tries + 1,
                 todo_at = clock_timestamp() + least($2 * 2 ^ least(r.tries, 20), $3) * interval '1 millisecond'
             FROM (SELECT w.refund_id, w.payment_id FROM refunds w JOIN payments m USING (payment_id)
                   WHERE w.status = 'wanted' AND w.todo_at <= clock_timestamp() AND m.status IN ('captured', 'refunding')
                   ORDER BY w.todo_at LIMIT $1 FOR UPDATE OF w SKIP LOCKED) d
                JOIN payments p USING (payment_id) JOIN flash_sale_orders o ON o.order_id = p.order_id
             WHERE r.refund_id = d.refund_id
             RETURNING r.refund_id, r.payment_id, r.amount, r.tries, p.order_id, o.sale_id, o.lane",
            most,
            AGAIN_MS,
            AGAIN_AT_MOST_MS,
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(|row| {
            Ok(DueRefund {
                payment: row.payment_id.parse().map_err(|_| bad("id"))?,
                order: row.order_id.parse().map_err(|_| bad("order"))?,
                sale: row.sale_id.parse().map_err(|_| bad("sale"))?,
                lane: row.lane as u16,
                refund: row.refund_id,
                amount: row.amount,
                tries: row.tries,
            })
        })
        .collect()
    }

    pub async fn unsettled(&self) -> Result<Vec<Unsettled>> {
        Ok(sqlx::query_as!(
            Unsettled,
            r#"SELECT todo AS "todo!", count(*) AS "count!", count(*) FILTER (WHERE tries > $1) AS "stuck!"
               FROM (SELECT todo, tries FROM payments WHERE todo IS NOT NULL
                     UNION ALL SELECT 'refund', tries FROM refunds WHERE status = 'wanted') left_over
               GROUP BY 1"#,
            STUCK_TRIES,
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Refunds that wait for an operator.
    pub async fn refused_refunds(&self) -> Result<i64> {
        Ok(
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM refunds WHERE status = 'refused'"#)
                .fetch_one(&self.pool)
                .await?,
        )
    }

    /// The provider has refused a refund. True: once too often, so that it waits for an operator now.
    pub async fn refund_refused(&self, due: &DueRefund, reason: &str) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        let status = sqlx::query_scalar!(
            "UPDATE refunds
             SET refusals = refusals + 1, refusal = $2,
                 status = CASE WHEN refusals + 1 >= $3 THEN 'refused' ELSE status END
             WHERE refund_id = $1 AND status = 'wanted' RETURNING status",
            &due.refund,
            reason,
            REFUND_REFUSALS,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let waits = status.as_deref() == Some("refused");
        if waits {
            let entry = audit::Entry {
                sale: due.sale.to_string(),
                actor: "worker".into(),
                kind: "refund_refused",
                data: json!({ "order": due.order, "refund": due.refund, "amount": due.amount, "reason": reason }),
            };
            audit::write(&mut tx, &[entry]).await?;
        }
        tx.commit().await?;
        Ok(waits)
    }

    /// An operator lets a refused refund be tried again. One that is under way, or done, is left as it is. None: the order has
    /// no such refund.
    pub async fn retry_refund(
        &self,
        sale: SaleId,
        order: OrderId,
        refund: &str,
        actor: &str,
    ) -> Result<Option<RefundRow>> {
        let mut tx = self.pool.begin().await?;
        let retried = sqlx::query!(
            "UPDATE refunds r SET status = 'wanted', refusals = 0, tries = 0, todo_at = clock_timestamp()
             FROM payments p
             WHERE r.refund_id = $1 AND r.status = 'refused' AND p.payment_id = r.payment_id AND p.order_id = $2",
            refund,
            order.to_string(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let row = sqlx::query_as!(
            RefundRow,
            "SELECT r.refund_id, r.amount, r.status, r.actor, r.reason, r.created_at, r.refusal
             FROM refunds r JOIN payments p USING (payment_id) WHERE r.refund_id = $1 AND p.order_id = $2",
            refund,
            order.to_string(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = row.as_ref().filter(|_| retried > 0) {
            let entry = audit::Entry {
                sale: sale.to_string(),
                actor: actor.to_owned(),
                kind: "refund_retried",
                data: json!({ "order": order, "refund": refund, "amount": row.amount }),
            };
            audit::write(&mut tx, &[entry]).await?;
        }
        tx.commit().await?;
        Ok(row)
    }

    /// Where money and units of a sale do not belong together, though nothing is left to do about them: one line each. None,
    /// ever (I6).
    pub async fn money_without_units(&self, sale: SaleId) -> Result<Vec<String>> {
        let rows = sqlx::query!(
            r#"SELECT o.order_id, o.status, o.amount - o.refunded AS "due!", count(*) FILTER (WHERE p.pays) AS "pays!",
                coalesce(sum(p.amount - p.refunded) FILTER (WHERE p.status IN ('captured', 'refunding', 'refunded')), 0)::bigint
                    AS "kept!"
               FROM flash_sale_orders o LEFT JOIN payments p USING (order_id)
               WHERE o.sale_id = $1
               GROUP BY o.order_id
               HAVING count(p.todo) = 0
                  AND NOT EXISTS (SELECT 1 FROM refunds r JOIN payments q USING (payment_id)
                                  WHERE q.order_id = o.order_id AND r.status IN ('wanted', 'refused'))
                  AND CASE o.status WHEN 'confirmed'
                      THEN count(*) FILTER (WHERE p.pays) <> 1
                        OR coalesce(sum(p.amount - p.refunded) FILTER (WHERE p.status IN ('captured', 'refunding', 'refunded')), 0)
                            <> o.amount - o.refunded
                      ELSE coalesce(sum(p.amount - p.refunded) FILTER (WHERE p.status IN ('captured', 'refunding', 'refunded')), 0)
                            <> 0 END"#,
            sale.to_string(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                format!(
                    "the {} order {} with {} payments has {} of {}",
                    row.status, row.order_id, row.pays, row.kept, row.due
                )
            })
            .collect())
    }

    /// An operator gives money back. All of it: the order ends, and its units are for sale again.
    pub async fn ask_refund(&self, ask: AskRefund) -> Result<std::result::Result<RefundAsked, Code>> {
        let mut tx = self.pool.begin().await?;
        let ids = [ask.order.to_string()];
        let Some(mut order) = orders::lock(&mut tx, &ids).await?.remove(&ids[0]) else {
            return Ok(Err(Code::OrderUnknown));
        };
        let paying = sqlx::query_scalar!(
            "SELECT payment_id FROM payments WHERE order_id = $1 AND pays FOR UPDATE",
            &ids[0],
        )
        .fetch_optional(&mut *tx)
        .await?;
        let mut payment = match &paying {
            Some(id) => load_payments(&mut tx, std::slice::from_ref(id)).await?.remove(id),
            None => None,
        };
        let command = ask.command.to_string();
        let known = sqlx::query!(
            "SELECT digest, refusal FROM commands WHERE user_id = $1 AND command_id = $2",
            &ask.actor,
            &command,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(known) = known {
            if known.digest != ask.digest {
                return Ok(Err(Code::CommandIdReused));
            }
            if let Some(word) = known.refusal {
                return Ok(Err(code_of(&word)));
            }
            let refund = sqlx::query_as!(
                RefundRow,
                "SELECT refund_id, amount, status, actor, reason, created_at, refusal FROM refunds
                 WHERE actor = $1 AND command_id = $2",
                &ask.actor,
                &command,
            )
            .fetch_optional(&mut *tx)
            .await?;
            return Ok(Ok(RefundAsked { order, refund }));
        }
        let free = |payment: &PaymentRow| payment.state.amount == 0 && order.status == OrderStatus::Confirmed;
        let asked = match &mut payment {
            None => Err(Code::NotPaid),
            Some(payment) if free(payment) => Ok(0),
            Some(payment) => payment.state.ask_refund(ask.amount),
        };
        let inserted = sqlx::query!(
            "INSERT INTO commands (user_id, command_id, digest, order_id, refusal) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
            &ask.actor,
            &command,
            &ask.digest,
            &ids[0],
            asked.err().map(Code::word),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if inserted == 0 {
            // The same id is being used for another order at this very moment.
            return Ok(Err(Code::CommandIdReused));
        }
        let (amount, Some(payment)) = (asked, payment) else {
            tx.commit().await?;
            return Ok(Err(Code::NotPaid));
        };
        let amount = match amount {
            Ok(amount) => amount,
            Err(code) => {
                tx.commit().await?;
                return Ok(Err(code));
            }
        };
        let mut refund = None;
        if amount > 0 {
            let row = sqlx::query_as!(
                RefundRow,
                "INSERT INTO refunds (refund_id, payment_id, amount, actor, command_id, reason)
                 SELECT $1 || '-' || (count(*) + 1), $1, $2, $3, $4, $5 FROM refunds WHERE payment_id = $1
                 RETURNING refund_id, amount, status, actor, reason, created_at, refusal",
                payment.payment.to_string(),
                amount,
                &ask.actor,
                &command,
                &ask.reason,
            )
            .fetch_one(&mut *tx)
            .await?;
            save(&mut tx, &[&payment]).await?;
            refund = Some(row);
        }
        let cancels =
            order.status == OrderStatus::Confirmed && payment.state.refund_asked == payment.state.amount;
        if cancels {
            orders::cancel_rows(
                &mut tx,
                std::slice::from_ref(&order),
                Reason::Refunded,
                &ask.actor,
            )
            .await?;
            order = load(&mut tx, &ids)
                .await?
                .remove(&ids[0])
                .ok_or_else(|| Error::unexpected("an order has vanished"))?;
        }
        let entry = audit::Entry {
            sale: order.sale.to_string(),
            actor: ask.actor,
            kind: "refund_asked",
            data: json!({ "order": order.order, "payment": payment.payment, "amount": amount, "reason": ask.reason }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(Ok(RefundAsked { order, refund }))
    }

    /// Money came too late for an order whose units have gone back: the order gets units again if the guard lets it. They
    /// were taken from the lane in Redis before, under this epoch.
    pub async fn revive(&self, at: LaneRef, payment: PaymentId, order: OrderId) -> Result<Revived> {
        let mut tx = self.pool.begin().await?;
        let ids = [order.to_string()];
        let Some(row) = orders::lock(&mut tx, &ids).await?.remove(&ids[0]) else {
            return Ok(Revived::Settled);
        };
        let Some(mut payment) = lock_payments(&mut tx, &[payment.to_string()])
            .await?
            .into_values()
            .next()
            .filter(|payment| payment.state.todo == Some(Todo::Revive))
        else {
            return Ok(Revived::Settled);
        };
        if !is_unpaid(&row) {
            return Ok(Revived::Refused);
        }
        let guarded = sqlx::query!(
            "UPDATE sale_lanes SET allocated = allocated + $4, confirmed = confirmed + $4
             WHERE sale_id = $1 AND lane = $2 AND epoch = $3 AND allocated + $4 <= supply",
            at.sale.to_string(),
            at.lane as i16,
            at.epoch as i32,
            row.quantity as i32,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if guarded == 0 {
            return Ok(Revived::Refused);
        }
        sqlx::query!(
            "UPDATE flash_sale_orders SET status = 'confirmed', reason = NULL, changed_at = clock_timestamp()
             WHERE order_id = $1",
            &ids[0],
        )
        .execute(&mut *tx)
        .await?;
        payment.state.revived();
        save(&mut tx, &[&payment]).await?;
        let payment = json!({ "payment": payment.payment });
        let entry = audit::Entry::of_order("order_revived", "worker", &row, payment);
        audit::write(&mut tx, &[entry]).await?;
        let row = load(&mut tx, &ids).await?.remove(&ids[0]);
        tx.commit().await?;
        row.map(|row| Revived::Ok(Box::new(row)))
            .ok_or_else(|| Error::unexpected("an order has vanished"))
    }

    /// No unit was found for late money: it goes back. The order as it is, if there was still something to do.
    pub async fn send_back(&self, payment: PaymentId, order: OrderId) -> Result<Option<OrderRow>> {
        let mut tx = self.pool.begin().await?;
        let ids = [order.to_string()];
        let row = orders::lock(&mut tx, &ids).await?.remove(&ids[0]);
        let payment = lock_payments(&mut tx, &[payment.to_string()])
            .await?
            .into_values()
            .next();
        let (Some(row), Some(mut payment)) = (row, payment) else {
            return Ok(None);
        };
        if payment.state.todo != Some(Todo::Revive) {
            return Ok(None);
        }
        payment.state.not_revived();
        save(&mut tx, &[&payment]).await?;
        refund_all(&mut tx, &[(&payment, row.sale)]).await?;
        tx.commit().await?;
        Ok(Some(row))
    }
}

/// One transaction for all. None: another gateway has begun one of these meanwhile; nothing was changed.
async fn begin_all(pool: &PgPool, items: &[NewPayment]) -> Result<Option<Vec<Begun>>> {
    let column = |text: fn(&NewPayment) -> String| items.iter().map(text).collect::<Vec<String>>();
    let payments = column(|item| item.payment.to_string());
    let orders = column(|item| item.order.to_string());
    let digests: Vec<Vec<u8>> = items.iter().map(|item| item.digest.clone()).collect();
    let ask_after: Vec<i64> = items.iter().map(|item| item.ask_after_ms).collect();
    let mut tx = pool.begin().await?;
    // In one statement, because the round trips are what a payment waits for: look at the orders and at what is known of the
    // commands, write the payments that may be tried, then the commands of these and of those refused for good.
    let looked = sqlx::query!(
        r#"WITH i AS (
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[])
                AS i (payment_id, order_id, user_id, command_id, digest, provider, ask_after_ms)
           ), looked AS (
             SELECT i.*, o.amount, o.currency, c.digest AS known_digest, c.refusal AS known_refusal,
                c.command_id IS NOT NULL AS known,
                CASE WHEN o.order_id IS NULL OR o.user_id <> i.user_id OR o.quantity_allocated = 0 THEN 'order_unknown'
                     WHEN o.status = 'cancelled' THEN 'order_cancelled'
                     WHEN o.status = 'confirmed' THEN 'order_confirmed'
                     WHEN o.expires_at <= clock_timestamp() THEN 'payment_too_late'
                     WHEN EXISTS (SELECT 1 FROM payments p WHERE p.order_id = o.order_id AND p.answer IS NULL)
                        THEN 'payment_pending' END AS refusal
             FROM i LEFT JOIN flash_sale_orders o USING (order_id) LEFT JOIN commands c
                ON c.user_id = i.user_id AND c.command_id = i.command_id
           ), made AS (
             INSERT INTO payments (payment_id, order_id, user_id, command_id, provider, amount, currency, todo, todo_at)
             SELECT payment_id, order_id, user_id, command_id, provider, amount, currency, 'ask',
                clock_timestamp() + ask_after_ms * interval '1 millisecond'
             FROM looked WHERE NOT known AND refusal IS NULL ORDER BY order_id, payment_id
             ON CONFLICT DO NOTHING RETURNING payment_id
           ), noted AS (
             INSERT INTO commands (user_id, command_id, digest, order_id, refusal)
             SELECT user_id, command_id, digest, order_id, refusal FROM looked LEFT JOIN made USING (payment_id)
             WHERE NOT known AND (made.payment_id IS NOT NULL
                OR refusal IN ('order_cancelled', 'order_confirmed', 'payment_too_late'))
             ORDER BY user_id, command_id
             ON CONFLICT DO NOTHING RETURNING user_id, command_id, digest
           )
           SELECT l.payment_id AS "payment_id!", l.known AS "known!", l.known_digest AS "known_digest?",
              l.known_refusal AS "known_refusal?", l.refusal AS "refusal?", made.payment_id IS NOT NULL AS "made!",
              noted.digest AS "noted_digest?"
           FROM looked l LEFT JOIN made USING (payment_id) LEFT JOIN noted USING (user_id, command_id)"#,
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
    let looked: HashMap<String, _> = looked
        .into_iter()
        .map(|row| (row.payment_id.clone(), row))
        .collect();

    let mut refusals = Vec::with_capacity(items.len());
    for item in items {
        let Some(row) = looked.get(&item.payment.to_string()) else {
            return Err(Error::unexpected("a payment got no answer"));
        };
        refusals.push(match (row.known, &row.noted_digest, row.refusal.as_deref()) {
            (true, ..) if row.known_digest.as_ref() != Some(&item.digest) => Some(Code::CommandIdReused),
            (true, ..) => row.known_refusal.as_deref().map(code_of),
            (false, Some(noted), _) if *noted != item.digest => Some(Code::CommandIdReused),
            (false, Some(_), refusal) => refusal.map(code_of),
            (false, None, Some(word @ ("order_unknown" | "payment_pending"))) => Some(code_of(word)),
            // Between our look and our write somebody has used the id, or begun to pay the same order.
            (false, None, _) => {
                tx.rollback().await?;
                return Ok(None);
            }
        });
    }
    let rows = load(&mut tx, &orders).await?;
    let begun = load_payments(&mut tx, &payments).await?;
    tx.commit().await?;
    Ok(Some(
        items
            .iter()
            .zip(refusals)
            .map(|(item, refusal)| {
                let order = rows.get(&item.order.to_string()).cloned();
                let payment = begun.get(&item.payment.to_string()).cloned();
                match (refusal, order, payment) {
                    (Some(code), ..) => Err(code),
                    (None, Some(order), Some(payment)) => Ok((order, payment)),
                    // The command was another verb's, of the very same digest: it cannot be.
                    (None, ..) => Err(Code::CommandIdReused),
                }
            })
            .collect(),
    ))
}

/// One transaction for all: orders first, in their order, then payments, then lanes; as everywhere.
async fn report_all(pool: &PgPool, items: &[Report]) -> Result<Vec<Reported>> {
    let sorted = |ids: Vec<String>| {
        let mut ids = ids;
        ids.sort();
        ids.dedup();
        ids
    };
    let order_ids = sorted(items.iter().map(|item| item.order.to_string()).collect());
    let payment_ids = sorted(items.iter().map(|item| item.payment.to_string()).collect());
    let mut tx = pool.begin().await?;
    let late = orders::late(&mut tx, &order_ids).await?;
    let mut rows = load(&mut tx, &order_ids).await?;
    let mut payments = lock_payments(&mut tx, &payment_ids).await?;
    let before = payments.clone();
    let events = note_events(&mut tx, items, &payments).await?;
    let mut refunds = load_refunds(&mut tx, items).await?;

    let mut confirmed: Vec<String> = Vec::new();
    let mut cancelled: Vec<OrderRow> = Vec::new();
    let mut money_back: HashMap<String, i64> = HashMap::new();
    let mut done: Vec<String> = Vec::new();
    let mut entries: Vec<audit::Entry> = Vec::new();
    let mut noted: HashSet<&str> = HashSet::new();
    let mut verdicts: Vec<(bool, Option<Code>)> = Vec::with_capacity(items.len());
    for item in items {
        let key = item.order.to_string();
        let (Some(row), Some(payment)) = (rows.get_mut(&key), payments.get_mut(&item.payment.to_string()))
        else {
            return Err(Error::unexpected("a report about a payment that is not there"));
        };
        if let Some(event) = &item.event {
            let known = events.get(&event.id);
            let first = known.is_some_and(|known| known.fresh) && noted.insert(&event.id);
            let refusal = known.and_then(|known| known.refusal);
            if first && refusal == Some(Code::PaymentMismatch) {
                entries.push(mismatch(row, payment, event));
            }
            verdicts.push((!first, refusal));
            if !first || refusal.is_some() {
                continue;
            }
        } else {
            verdicts.push((false, None));
        }
        match &item.fact {
            Fact::Payment(standing) => {
                let now = OrderNow {
                    status: row.status,
                    is_late: late.contains(&key),
                    is_unpaid: is_unpaid(row),
                };
                match payment.state.learn(now, standing) {
                    Step::Confirm => {
                        row.status = OrderStatus::Confirmed;
                        confirmed.push(key);
                    }
                    Step::Cancel => {
                        cancelled.push(row.clone());
                        row.status = OrderStatus::Cancelled;
                    }
                    Step::None => {}
                }
            }
            Fact::Refund { refund } => {
                if let Some((amount, wanted)) = refunds.get_mut(refund)
                    && std::mem::take(wanted)
                {
                    payment.state.refund_done(*amount);
                    *money_back.entry(key).or_default() += *amount;
                    done.push(refund.clone());
                    entries.push(audit::Entry {
                        sale: row.sale.to_string(),
                        actor: "worker".into(),
                        kind: "refund_done",
                        data: json!({ "order": row.order, "refund": refund, "amount": amount }),
                    });
                }
            }
        }
    }

    let changed: Vec<&PaymentRow> = payments
        .iter()
        .filter(|(id, payment)| before.get(*id).is_none_or(|before| before.state != payment.state))
        .map(|(_, payment)| payment)
        .collect();
    let answered = save(&mut tx, &changed).await?;
    let was = |payment: &PaymentRow| {
        before
            .get(&payment.payment.to_string())
            .map(|before| &before.state)
    };
    let unwanted: Vec<(&PaymentRow, SaleId)> = changed
        .iter()
        .filter(|payment| {
            let asked = was(payment).map_or(0, |before| before.refund_asked);
            payment.state.status.taken() && payment.state.refund_asked > asked
        })
        .filter_map(|payment| Some((*payment, rows.get(&payment.order.to_string())?.sale)))
        .collect();
    refund_all(&mut tx, &unwanted).await?;
    finish_refunds(&mut tx, &done, &changed).await?;
    confirm(&mut tx, &confirmed).await?;
    orders::cancel_rows(&mut tx, &cancelled, Reason::PaymentFailed, "worker").await?;
    // A shopper sees their order anew when it has another state, when a payment is answered, and when money is back.
    let mut news: HashSet<String> = changed
        .iter()
        .filter(|payment| was(payment).is_none_or(|before| before.answer != payment.state.answer))
        .map(|payment| payment.order.to_string())
        .collect();
    news.retain(|id| !confirmed.contains(id));
    touch(&mut tx, &news, &money_back).await?;
    news.extend(money_back.into_keys());
    news.extend(confirmed.iter().cloned());
    news.extend(cancelled.iter().map(|row| row.order.to_string()));
    for (id, at) in answered {
        if let Some(payment) = payments.get_mut(&id) {
            payment.answered_at = at;
        }
    }
    let rows = if news.is_empty() {
        rows
    } else {
        load(&mut tx, &order_ids).await?
    };
    entries.extend(
        confirmed
            .iter()
            .filter_map(|id| rows.get(id))
            .map(|row| audit::Entry::of_order("order_confirmed", row.shopper.as_str(), row, json!({}))),
    );
    audit::write(&mut tx, &entries).await?;
    tx.commit().await?;

    items
        .iter()
        .zip(verdicts)
        .map(|(item, (repeated, refusal))| {
            let order = rows.get(&item.order.to_string()).cloned();
            let payment = payments.get(&item.payment.to_string()).cloned();
            let (Some(order), Some(payment)) = (order, payment) else {
                return Err(Error::unexpected("an order has vanished"));
            };
            Ok(Reported {
                changed: news.contains(&item.order.to_string()),
                order,
                payment,
                repeated,
                refusal,
            })
        })
        .collect()
}

/// Cancelled because its time was up, by nobody's wish.
fn is_unpaid(row: &OrderRow) -> bool {
    row.status == OrderStatus::Cancelled && row.reason == Some(Reason::Unpaid)
}

fn mismatch(row: &OrderRow, payment: &PaymentRow, event: &Event) -> audit::Entry {
    audit::Entry {
        sale: row.sale.to_string(),
        actor: "provider".into(),
        kind: "payment_mismatch",
        data: json!({
            "order": row.order, "payment": payment.payment, "event": event.id,
            "expected": { "amount": payment.state.amount, "currency": payment.currency },
            "told": { "amount": event.amount, "currency": event.currency },
        }),
    }
}

struct Noted {
    /// It was not known before.
    fresh: bool,
    refusal: Option<Code>,
}

/// Writes events down, once for ever.
async fn note_events(
    connection: &mut PgConnection,
    items: &[Report],
    payments: &HashMap<String, PaymentRow>,
) -> Result<HashMap<String, Noted>> {
    let events: Vec<(&Report, &Event)> = items
        .iter()
        .filter_map(|item| Some((item, item.event.as_ref()?)))
        .collect();
    let Some((first, _)) = events.first() else {
        return Ok(HashMap::new());
    };
    let provider = provider_of(connection, &first.payment.to_string()).await?;
    let column = |text: fn(&Event) -> String| events.iter().map(|(_, event)| text(event)).collect::<Vec<_>>();
    let ids = column(|event| event.id.clone());
    let bodies: Vec<serde_json::Value> = events.iter().map(|(_, event)| event.body.clone()).collect();
    let mut refusals: Vec<Option<String>> = Vec::with_capacity(events.len());
    for (item, event) in &events {
        let expected = match &item.fact {
            Fact::Payment(_) => payments
                .get(&item.payment.to_string())
                .map(|payment| payment.state.amount),
            Fact::Refund { refund } => {
                sqlx::query_scalar!(
                    "SELECT amount FROM refunds WHERE refund_id = $1 AND payment_id = $2",
                    refund,
                    item.payment.to_string(),
                )
                .fetch_optional(&mut *connection)
                .await?
            }
        };
        let currency = payments
            .get(&item.payment.to_string())
            .map(|payment| payment.currency.as_str());
        let right = expected == Some(event.amount) && currency == Some(event.currency.as_str());
        refusals.push((!right).then(|| Code::PaymentMismatch.word().to_owned()));
    }
    let fresh: HashSet<String> = sqlx::query_scalar!(
        "INSERT INTO payment_events (provider, event_id, payment_id, kind, body, refusal)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[], $6::text[])
            AS i (event_id, payment_id, kind, body, refusal)
         ORDER BY event_id
         ON CONFLICT DO NOTHING RETURNING event_id",
        &provider,
        &ids,
        &column(|event| event.payment.to_string()),
        &column(|event| event.kind.word().to_owned()),
        &bodies,
        refusals.as_slice() as &[Option<String>],
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
    Ok(sqlx::query!(
        "SELECT event_id, refusal FROM payment_events WHERE provider = $1 AND event_id = ANY($2)",
        &provider,
        &ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        let noted = Noted {
            fresh: fresh.contains(&row.event_id),
            refusal: row.refusal.as_deref().map(code_of),
        };
        (row.event_id, noted)
    })
    .collect())
}

async fn provider_of(connection: &mut PgConnection, payment: &str) -> Result<String> {
    Ok(
        sqlx::query_scalar!("SELECT provider FROM payments WHERE payment_id = $1", payment)
            .fetch_one(connection)
            .await?,
    )
}

/// The refunds that these reports are about: amount, and whether they are still wanted.
async fn load_refunds(
    connection: &mut PgConnection,
    items: &[Report],
) -> Result<HashMap<String, (i64, bool)>> {
    let ids: Vec<String> = items
        .iter()
        .filter_map(|item| match &item.fact {
            Fact::Refund { refund } => Some(refund.clone()),
            Fact::Payment(_) => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(sqlx::query!(
        "SELECT refund_id, amount, status FROM refunds WHERE refund_id = ANY($1) ORDER BY refund_id FOR UPDATE",
        &ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| (row.refund_id, (row.amount, row.status == "wanted" || row.status == "refused")))
    .collect())
}

/// Money without an order goes back by itself: the whole of it, once.
async fn refund_all(connection: &mut PgConnection, unwanted: &[(&PaymentRow, SaleId)]) -> Result<()> {
    let mut entries = Vec::with_capacity(unwanted.len());
    for (payment, sale) in unwanted {
        let id = payment.payment.to_string();
        sqlx::query!(
            "INSERT INTO refunds (refund_id, payment_id, amount, actor, reason)
             SELECT $1 || '-0', $1, $2::bigint - coalesce(sum(amount) FILTER (WHERE status <> 'dropped'), 0)::bigint, 'worker', 'no_unit'
             FROM refunds WHERE payment_id = $1
             ON CONFLICT DO NOTHING",
            &id,
            payment.state.amount,
        )
        .execute(&mut *connection)
        .await?;
        entries.push(audit::Entry {
            sale: sale.to_string(),
            actor: "worker".into(),
            kind: "refund_asked",
            data: json!({ "order": payment.order, "payment": payment.payment, "amount": payment.state.amount, "reason": "no_unit" }),
        });
    }
    audit::write(connection, &entries).await
}

/// Refunds that have arrived, and those whose money never came.
async fn finish_refunds(
    connection: &mut PgConnection,
    done: &[String],
    changed: &[&PaymentRow],
) -> Result<()> {
    if !done.is_empty() {
        sqlx::query!(
            "UPDATE refunds SET status = 'done', done_at = clock_timestamp() WHERE refund_id = ANY($1)",
            done,
        )
        .execute(&mut *connection)
        .await?;
    }
    let lost: Vec<String> = changed
        .iter()
        .filter(|payment| {
            matches!(
                payment.state.status,
                PaymentStatus::Declined | PaymentStatus::Voided
            )
        })
        .map(|payment| payment.payment.to_string())
        .collect();
    if !lost.is_empty() {
        sqlx::query!(
            "UPDATE refunds SET status = 'dropped' WHERE payment_id = ANY($1) AND status IN ('wanted', 'refused')",
            &lost,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Locked, pending orders that are paid now.
async fn confirm(connection: &mut PgConnection, orders: &[String]) -> Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE flash_sale_orders SET status = 'confirmed', changed_at = clock_timestamp() WHERE order_id = ANY($1)",
        orders,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE sale_lanes l SET confirmed = l.confirmed + c.units
         FROM (SELECT sale_id, lane, sum(quantity_allocated)::int AS units FROM flash_sale_orders
               WHERE order_id = ANY($1) GROUP BY 1, 2) c
         WHERE l.sale_id = c.sale_id AND l.lane = c.lane",
        orders,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The shopper's view of these orders is newer than before.
async fn touch(
    connection: &mut PgConnection,
    orders: &HashSet<String>,
    money_back: &HashMap<String, i64>,
) -> Result<()> {
    let ids: Vec<String> = orders
        .iter()
        .chain(money_back.keys())
        .cloned()
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let amounts: Vec<i64> = ids
        .iter()
        .map(|id| money_back.get(id).copied().unwrap_or(0))
        .collect();
    sqlx::query!(
        "UPDATE flash_sale_orders o SET refunded = o.refunded + i.amount, changed_at = clock_timestamp()
         FROM unnest($1::text[], $2::bigint[]) AS i (order_id, amount) WHERE o.order_id = i.order_id",
        &ids,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct RawPayment {
    payment_id: String,
    order_id: String,
    currency: String,
    amount: i64,
    status: String,
    pays: bool,
    answer: Option<String>,
    reason: Option<String>,
    reference: Option<String>,
    answered_at: Option<DateTime<Utc>>,
    refund_asked: i64,
    refunded: i64,
    todo: Option<String>,
    created_at: DateTime<Utc>,
}

impl RawPayment {
    fn read(self) -> Result<PaymentRow> {
        let status = PaymentStatus::ALL
            .into_iter()
            .find(|status| status.word() == self.status);
        let todo = match self.todo {
            None => None,
            Some(word) => Some(
                Todo::ALL
                    .into_iter()
                    .find(|todo| todo.word() == word)
                    .ok_or_else(|| bad("todo"))?,
            ),
        };
        Ok(PaymentRow {
            payment: self.payment_id.parse().map_err(|_| bad("id"))?,
            order: self.order_id.parse().map_err(|_| bad("order"))?,
            currency: self.currency,
            answered_at: self.answered_at,
            created_at: self.created_at,
            state: State {
                status: status.ok_or_else(|| bad("status"))?,
                pays: self.pays,
                answer: self.answer.as_deref().map(|word| match word {
                    OK => Outcome::Confirmed,
                    word => Outcome::Refused(code_of(word)),
                }),
                reason: self.reason,
                reference: self.reference,
                todo,
                amount: self.amount,
                refund_asked: self.refund_asked,
                refunded: self.refunded,
            },
        })
    }
}

async fn load_payments(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, PaymentRow>> {
    sqlx::query_as!(
        RawPayment,
        "SELECT payment_id, order_id, currency, amount, status, pays, answer, reason, reference, answered_at, refund_asked,
            refunded, todo, created_at
         FROM payments WHERE payment_id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.payment_id.clone(), raw.read()?)))
    .collect()
}

/// The same, and nobody else changes them from here on. Their orders were locked before.
async fn lock_payments(connection: &mut PgConnection, ids: &[String]) -> Result<HashMap<String, PaymentRow>> {
    sqlx::query_as!(
        RawPayment,
        "SELECT payment_id, order_id, currency, amount, status, pays, answer, reason, reference, answered_at, refund_asked,
            refunded, todo, created_at
         FROM payments WHERE payment_id = ANY($1) ORDER BY payment_id FOR NO KEY UPDATE",
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.payment_id.clone(), raw.read()?)))
    .collect()
}

const OK: &str = "ok";

/// Writes the states of payments, and returns when each was answered. Something new to do is due at once; the answer's time is
/// that of the first answer.
async fn save(
    connection: &mut PgConnection,
    payments: &[&PaymentRow],
) -> Result<HashMap<String, Option<DateTime<Utc>>>> {
    if payments.is_empty() {
        return Ok(HashMap::new());
    }
    let column = |text: fn(&State) -> String| payments.iter().map(|p| text(&p.state)).collect::<Vec<_>>();
    let maybe = |text: fn(&State) -> Option<String>| {
        payments
            .iter()
            .map(|p| text(&p.state))
            .collect::<Vec<Option<String>>>()
    };
    let ids: Vec<String> = payments
        .iter()
        .map(|payment| payment.payment.to_string())
        .collect();
    let pays: Vec<bool> = payments.iter().map(|payment| payment.state.pays).collect();
    let asked: Vec<i64> = payments
        .iter()
        .map(|payment| payment.state.refund_asked)
        .collect();
    let refunded: Vec<i64> = payments.iter().map(|payment| payment.state.refunded).collect();
    let statuses = column(|state| state.status.word().to_owned());
    let answers = maybe(|state| {
        state.answer.map(|answer| match answer {
            Outcome::Confirmed => OK.to_owned(),
            Outcome::Refused(code) => code.word().to_owned(),
        })
    });
    let reasons = maybe(|state| state.reason.clone());
    let references = maybe(|state| state.reference.clone());
    let todos = maybe(|state| state.todo.map(|todo| todo.word().to_owned()));
    Ok(sqlx::query!(
        "UPDATE payments p
         SET status = i.status, pays = i.pays, answer = i.answer, reason = i.reason, reference = i.reference,
             refund_asked = i.refund_asked, refunded = i.refunded, todo = i.todo,
             answered_at = CASE WHEN i.answer IS NOT NULL THEN coalesce(p.answered_at, clock_timestamp()) END,
             todo_at = CASE WHEN i.todo IS DISTINCT FROM p.todo THEN clock_timestamp() ELSE p.todo_at END,
             tries = CASE WHEN i.todo IS DISTINCT FROM p.todo THEN 0 ELSE p.tries END
         FROM unnest($1::text[], $2::text[], $3::bool[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                $9::bigint[])
            AS i (payment_id, status, pays, answer, reason, reference, todo, refund_asked, refunded)
         WHERE p.payment_id = i.payment_id
         RETURNING p.payment_id, p.answered_at",
        &ids,
        &statuses,
        &pays,
        answers.as_slice() as &[Option<String>],
        reasons.as_slice() as &[Option<String>],
        references.as_slice() as &[Option<String>],
        todos.as_slice() as &[Option<String>],
        &asked,
        &refunded,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| (row.payment_id, row.answered_at))
    .collect())
}

fn bad(what: &str) -> Error {
    Error::unexpected(format!("a payment with a bad {what}"))
}

/// A code from its word in Postgres.
pub(super) fn code_of(word: &str) -> Code {
    Code::ALL
        .iter()
        .copied()
        .find(|code| code.word() == word)
        .unwrap_or(Code::Internal)
}
