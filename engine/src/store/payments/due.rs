//! The work left on payments and refunds: what is due, and what has waited too long.

use super::{PaymentRow, bad, rows::load_payments};
use crate::{
    error::Result,
    store::{
        Store,
        audit::{self, Actor, AuditRow, Kind},
    },
};
use flashsale_protocol::{OrderId, PaymentId, SaleId};
use serde_json::json;

/// Pause after a failed try: 0.5 s, then 1 s, 2 s … up to a minute. Tries never stop.
const AGAIN_MS: f64 = 500.0;
const AGAIN_AT_MOST_MS: f64 = 60_000.0;
/// Refusals by the provider after which a refund waits for an operator: about two minutes of tries. A provider that does not
/// answer is asked again and again.
const REFUND_REFUSALS: i32 = 8;
/// Tries after which an operator should look, because something is wrong.
const STUCK_TRIES: i32 = 8;

/// A payment with something left to do.
#[derive(Debug, Clone)]
pub struct Due {
    pub payment: PaymentRow,
    pub sale: SaleId,
    pub lane: u16,
    pub tries: i32,
    /// The units of the order, if it is cancelled, are back in Redis.
    pub units_returned: bool,
}

#[derive(Debug, Clone)]
pub struct DueRefund {
    pub refund: String,
    pub payment: PaymentId,
    pub provider: String,
    pub order: OrderId,
    pub sale: SaleId,
    pub lane: u16,
    pub amount: i64,
    pub tries: i32,
}

/// Number of payments and refunds with something left to do, and how many of them have waited too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub todo: String,
    pub count: i64,
    pub stuck: i64,
}

impl Store {
    /// Takes payments whose next step is due. Without a report they are due again a little later.
    pub(crate) async fn due_payments(&self, most: i64) -> Result<Vec<Due>> {
        // The time of the statement, because an index cannot be asked for a clock that moves: all that is not due would be read.
        let rows = sqlx::query!(
            "UPDATE payments p
             SET tries = p.tries + 1,
                 todo_at = clock_timestamp() + least($2 * 2 ^ least(p.tries, 20), $3) * interval '1 millisecond'
             FROM (SELECT payment_id FROM payments WHERE todo IS NOT NULL AND todo_at <= statement_timestamp()
                   ORDER BY todo_at LIMIT $1 FOR UPDATE SKIP LOCKED) d
                JOIN payments q USING (payment_id) JOIN flash_sale_orders o ON o.order_id = q.order_id
             WHERE p.payment_id = d.payment_id
             RETURNING p.payment_id, p.tries, o.sale_id, o.lane, o.units_returned",
            most,
            AGAIN_MS,
            AGAIN_AT_MOST_MS,
        )
        .fetch_all(&self.pools.purchases)
        .await?;
        let ids: Vec<String> = rows.iter().map(|row| row.payment_id.clone()).collect();
        let mut payments = load_payments(&mut *self.pools.purchases.acquire().await?, &ids).await?;
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

    /// Takes due refunds of captured payments. Shops take those of hand-offs themselves.
    pub(crate) async fn due_refunds(&self, most: i64) -> Result<Vec<DueRefund>> {
        sqlx::query!(
            "UPDATE refunds r
             SET tries = r.tries + 1,
                 todo_at = clock_timestamp() + least($2 * 2 ^ least(r.tries, 20), $3) * interval '1 millisecond'
             FROM (SELECT w.refund_id, w.payment_id FROM refunds w JOIN payments m USING (payment_id)
                   WHERE w.status = 'wanted' AND w.todo_at <= statement_timestamp() AND m.status IN ('captured', 'refunding')
                      AND m.provider <> 'merchant'
                   ORDER BY w.todo_at LIMIT $1 FOR UPDATE OF w SKIP LOCKED) d
                JOIN payments p USING (payment_id) JOIN flash_sale_orders o ON o.order_id = p.order_id
             WHERE r.refund_id = d.refund_id
             RETURNING r.refund_id, r.payment_id, r.amount, r.tries, p.provider, p.order_id, o.sale_id, o.lane",
            most,
            AGAIN_MS,
            AGAIN_AT_MOST_MS,
        )
        .fetch_all(&self.pools.purchases)
        .await?
        .into_iter()
        .map(|row| {
            Ok(DueRefund {
                payment: row.payment_id.parse().map_err(|_| bad("id"))?,
                provider: row.provider,
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
        .fetch_all(&self.pools.purchases)
        .await?)
    }

    /// Refunds that wait for an operator.
    pub async fn refused_refunds(&self) -> Result<i64> {
        Ok(
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM refunds WHERE status = 'refused'"#)
                .fetch_one(&self.pools.purchases)
                .await?,
        )
    }

    /// The provider refused a refund. True: too often, so it now waits for an operator.
    pub async fn refund_refused(&self, due: &DueRefund, reason: &str) -> Result<bool> {
        let mut tx = self.pools.purchases.begin().await?;
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
            let entry = AuditRow {
                sale: due.sale,
                actor: Actor::Worker,
                kind: Kind::RefundRefused,
                data: json!({
                    "order": due.order, "lane": due.lane, "refund": due.refund, "amount": due.amount, "reason": reason,
                }),
            };
            audit::write(&mut tx, &[entry]).await?;
        }
        tx.commit().await?;
        Ok(waits)
    }
}
