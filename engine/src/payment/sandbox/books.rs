//! The sandbox provider's books: its own tables, as a remote provider would have them. No transaction spans them and ours, and
//! nothing else reads them.

use crate::{
    batcher::Batch,
    error::{Error, Result},
    payment::{
        Charge, DisputeOutcome, EventBody, EventKind, Listed, Page, ProviderAnswer, Refunded, Silence,
        Standing,
    },
};
use chrono::{DateTime, Utc};
use flashsale_protocol::PaymentId;
use sqlx::PgPool;
use std::{collections::HashMap, sync::Arc};

/// A rejected webhook is sent again after 1 s, 2 s, 4 s … up to every 10 minutes.
const AGAIN_MS: f64 = 1_000.0;
const AGAIN_AT_MOST_MS: f64 = 600_000.0;

pub struct Books {
    pool: PgPool,
}

/// A payment to be written down, with its event.
#[derive(Clone)]
pub struct Authorize {
    pub charge: Charge,
    pub card: &'static str,
    pub status: &'static str,
    pub reason: Option<&'static str>,
    /// Counted from now, by the books' clock.
    pub known_after_ms: i64,
    pub silent_for_ms: i64,
    pub capture_at: i16,
    pub refund_at: i16,
    pub webhooks: i16,
    pub event: String,
    pub body: String,
}

/// A payment in the books.
#[derive(Debug, Clone)]
pub struct BookEntry {
    payment_id: String,
    order_id: String,
    amount: i64,
    currency: String,
    status: String,
    reason: Option<String>,
    webhooks: i16,
    /// By the books' own clock.
    is_known: bool,
    is_silent: bool,
}

impl BookEntry {
    /// The sandbox's answer about it now.
    pub fn standing(&self) -> ProviderAnswer<Standing> {
        if self.is_silent {
            return Err(Silence("the sandbox is down".into()));
        }
        let reference = format!("sandbox_{}", self.payment_id);
        Ok(match self.status.as_str() {
            _ if !self.is_known => Standing::Processing,
            "authorized" => Standing::Authorized { reference },
            "captured" => Standing::Captured { reference },
            "voided" => Standing::Voided,
            _ => Standing::Declined {
                reason: self.reason.clone().unwrap_or_default(),
            },
        })
    }
}

impl Books {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Whether nothing was ever written into them.
    pub async fn are_empty(&self) -> Result<bool> {
        let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM sandbox_payments) AS "any!""#);
        Ok(!any.fetch_one(&self.pool).await?)
    }

    /// Writes new payments down; returns what the books have.
    pub async fn authorize(self: Arc<Self>, items: Batch<Authorize>) -> Result<Vec<BookEntry>> {
        let column = |text: fn(&Authorize) -> String| items.iter().map(text).collect::<Vec<_>>();
        let ids = column(|item| item.charge.payment.to_string());
        let amounts: Vec<i64> = items.iter().map(|item| item.charge.amount).collect();
        let reasons: Vec<Option<String>> = items.iter().map(|item| item.reason.map(str::to_owned)).collect();
        let known: Vec<i64> = items.iter().map(|item| item.known_after_ms).collect();
        let silent: Vec<i64> = items.iter().map(|item| item.silent_for_ms).collect();
        let captures: Vec<i16> = items.iter().map(|item| item.capture_at).collect();
        let refunds: Vec<i16> = items.iter().map(|item| item.refund_at).collect();
        let webhooks: Vec<i16> = items.iter().map(|item| item.webhooks).collect();
        sqlx::query!(
            r#"WITH i AS (
                 SELECT *, clock_timestamp() + known_ms * interval '1 millisecond' AS known_at,
                    clock_timestamp() + silent_ms * interval '1 millisecond' AS silent_until
                 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                    $8::bigint[], $9::bigint[], $10::smallint[], $11::smallint[], $12::smallint[], $13::text[],
                    $14::text[], $15::text[], $16::text[])
                 AS i (payment_id, order_id, amount, currency, card, status, reason, known_ms, silent_ms, capture_at,
                    refund_at, webhooks, event_id, body, sale_id, user_id)
               ), new AS (
                 INSERT INTO sandbox_payments (payment_id, order_id, amount, currency, card, status, reason, known_at,
                    silent_until, capture_at, refund_at, webhooks, sale_id, user_id)
                 SELECT payment_id, order_id, amount, currency, card, status, reason, known_at, silent_until, capture_at,
                    refund_at, webhooks, sale_id, user_id
                 FROM i ORDER BY payment_id
                 ON CONFLICT (payment_id) DO NOTHING RETURNING payment_id
               )
               INSERT INTO sandbox_events (event_id, payment_id, body, due_at, times_left)
               SELECT event_id, payment_id, body, known_at, webhooks FROM i JOIN new USING (payment_id) WHERE webhooks > 0
               ON CONFLICT DO NOTHING"#,
            &ids,
            &column(|item| item.charge.order.to_string()),
            &amounts,
            &column(|item| item.charge.currency.clone()),
            &column(|item| item.card.to_owned()),
            &column(|item| item.status.to_owned()),
            reasons.as_slice() as &[Option<String>],
            &known,
            &silent,
            &captures,
            &refunds,
            &webhooks,
            &column(|item| item.event.clone()),
            &column(|item| item.body.clone()),
            &column(|item| item.charge.sale.to_string()),
            &column(|item| item.charge.shopper.to_string()),
        )
        .execute(&self.pool)
        .await?;
        let entries = self.entries(&ids).await?;
        ids.iter()
            .map(|id| {
                entries
                    .get(id)
                    .cloned()
                    .ok_or_else(|| Error::unexpected("the books have lost a payment"))
            })
            .collect()
    }

    /// Makes one capture call each; returns the states after it.
    pub async fn capture(self: Arc<Self>, payments: Batch<PaymentId>) -> Result<Vec<Option<BookEntry>>> {
        let ids: Vec<String> = payments.iter().map(PaymentId::to_string).collect();
        let changed = sqlx::query!(
            r#"UPDATE sandbox_payments
               SET capture_calls = capture_calls + 1,
                   status = CASE WHEN capture_at = 0 THEN 'declined'
                                 WHEN capture_calls + 1 < capture_at THEN 'authorized' ELSE 'captured' END,
                   reason = CASE WHEN capture_at = 0 THEN 'the capture was refused' END
               WHERE payment_id IN (SELECT payment_id FROM sandbox_payments WHERE payment_id = ANY($1)
                                    ORDER BY payment_id FOR UPDATE)
                 AND status = 'authorized' AND known_at <= clock_timestamp() AND silent_until <= clock_timestamp()
               RETURNING payment_id, webhooks > 0 AND status <> 'authorized' AS "tells!""#,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        let entries = self.entries(&ids).await?;
        for row in changed.iter().filter(|row| row.tells) {
            if let Some(entry) = entries.get(&row.payment_id) {
                let kind = if entry.status == "captured" {
                    EventKind::Captured
                } else {
                    EventKind::Declined
                };
                self.tell(entry, event(entry, kind)?, entry.webhooks).await?;
            }
        }
        Ok(ids.iter().map(|id| entries.get(id).cloned()).collect())
    }

    /// An unknown id is given up as well: a call still on its way finds it voided.
    pub async fn void(&self, payment: PaymentId) -> Result<BookEntry> {
        let id = payment.to_string();
        sqlx::query!(
            "INSERT INTO sandbox_payments AS p (payment_id, order_id, amount, currency, card, status, known_at, silent_until)
             VALUES ($1, '', 0, '', '', 'voided', clock_timestamp(), clock_timestamp())
             ON CONFLICT (payment_id) DO UPDATE SET status = 'voided'
             WHERE p.status = 'authorized' AND p.known_at <= clock_timestamp() AND p.silent_until <= clock_timestamp()",
            &id,
        )
        .execute(&self.pool)
        .await?;
        self.find(payment)
            .await?
            .ok_or_else(|| Error::unexpected("the books have lost a payment"))
    }

    /// None: this call gets no answer.
    pub async fn refund(&self, payment: PaymentId, refund: &str, amount: i64) -> Result<Option<Refunded>> {
        let id = payment.to_string();
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query!(
            "UPDATE sandbox_payments SET refund_calls = least(refund_calls + 1, 100) WHERE payment_id = $1
             RETURNING status, amount, refunded, refund_calls, refund_at",
            &id,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let refused = |reason: &str| {
            Ok(Some(Refunded::Refused {
                reason: reason.into(),
            }))
        };
        let Some(row) = row else {
            return refused("no such payment");
        };
        if row.refund_calls < row.refund_at {
            tx.commit().await?;
            return Ok(None);
        }
        if row.refund_at == 0 {
            return refused("the card's account is closed");
        }
        if row.status != "captured" {
            return refused("it was not captured");
        }
        let known = sqlx::query_scalar!("SELECT amount FROM sandbox_refunds WHERE refund_id = $1", refund)
            .fetch_optional(&mut *tx)
            .await?;
        match known {
            Some(known) if known == amount => return Ok(Some(Refunded::Done)),
            Some(_) => return refused("the same refund, of another amount"),
            None if row.refunded + amount > row.amount => return refused("more than was captured"),
            None => {}
        }
        sqlx::query!(
            "INSERT INTO sandbox_refunds (refund_id, payment_id, amount) VALUES ($1, $2, $3)",
            refund,
            &id,
            amount,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "UPDATE sandbox_payments SET refunded = refunded + $2 WHERE payment_id = $1",
            &id,
            amount
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if let Some(entry) = self.find(payment).await?.filter(|entry| entry.webhooks > 0) {
            self.tell(&entry, refund_event(&entry, refund, amount)?, entry.webhooks)
                .await?;
        }
        Ok(Some(Refunded::Done))
    }

    /// Payments since a time with money of ours, now or possibly later, after the last one of the page before.
    pub async fn list(&self, since: DateTime<Utc>, after: Option<&str>, most: i64) -> Result<Page> {
        let rows = sqlx::query!(
            "SELECT payment_id, order_id, amount, currency, sale_id, user_id FROM sandbox_payments
             WHERE created_at >= $1 AND status IN ('authorized', 'captured') AND refunded < amount
                AND ($2::text IS NULL OR (created_at, payment_id) > (SELECT created_at, payment_id FROM sandbox_payments WHERE payment_id = $2))
             ORDER BY created_at, payment_id LIMIT $3",
            since,
            after,
            most,
        )
        .fetch_all(&self.pool)
        .await?;
        let last = rows.last().filter(|_| rows.len() as i64 == most);
        let next = last.map(|row| row.payment_id.clone());
        let bad = |_| Error::unexpected("the books hold a bad id");
        let payments = rows.into_iter().map(|row| {
            Ok(Listed {
                payment: row.payment_id.parse().map_err(bad)?,
                order: row.order_id.parse().map_err(bad)?,
                sale: row.sale_id.and_then(|id| id.parse().ok()),
                shopper: row.user_id.and_then(|id| id.parse().ok()),
                amount: row.amount,
                currency: row.currency,
            })
        });
        let payments = payments.collect::<Result<_>>()?;
        Ok(Page { payments, next })
    }

    pub async fn find(&self, payment: PaymentId) -> Result<Option<BookEntry>> {
        let id = payment.to_string();
        Ok(self.entries(std::slice::from_ref(&id)).await?.remove(&id))
    }

    /// Whether all events of a payment were delivered.
    pub async fn all_told(&self, payment: PaymentId) -> Result<bool> {
        let left = sqlx::query_scalar!(
            r#"SELECT count(*) AS "left!" FROM sandbox_events WHERE payment_id = $1 AND times_left > 0"#,
            payment.to_string(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(left == 0)
    }

    /// Events to send now: (id, body). Until they are accepted they come again, later and later.
    pub(crate) async fn due_events(&self, most: i64) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query!(
            "UPDATE sandbox_events e
             SET tries = e.tries + 1,
                 due_at = clock_timestamp() + least($2 * 2 ^ least(e.tries, 20), $3) * interval '1 millisecond'
             FROM (SELECT event_id FROM sandbox_events WHERE times_left > 0 AND due_at <= statement_timestamp()
                   ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) d
             WHERE e.event_id = d.event_id
             RETURNING e.event_id, e.body",
            most,
            AGAIN_MS,
            AGAIN_AT_MOST_MS,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.event_id, row.body)).collect())
    }

    pub(crate) async fn event_told(&self, event: &str) -> Result<()> {
        sqlx::query!(
            "UPDATE sandbox_events SET times_left = times_left - 1, due_at = clock_timestamp(), tries = 0
             WHERE event_id = $1 AND times_left > 0",
            event,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Money is given back at the provider itself; its event is sent whatever the card. False: there is no such money.
    pub async fn refund_there(&self, payment: PaymentId, refund: &str, amount: i64) -> Result<bool> {
        let id = payment.to_string();
        let mut tx = self.pool.begin().await?;
        let taken = sqlx::query!(
            "UPDATE sandbox_payments SET refunded = refunded + $2
             WHERE payment_id = $1 AND status = 'captured' AND refunded + $2 <= amount",
            &id,
            amount,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if taken == 0 {
            return Ok(false);
        }
        sqlx::query!(
            "INSERT INTO sandbox_refunds (refund_id, payment_id, amount) VALUES ($1, $2, $3)",
            refund,
            &id,
            amount,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let entry = self.known(payment).await?;
        let event = refund_event(&entry, refund, amount)?;
        self.tell(&entry, event, entry.webhooks.max(1)).await?;
        Ok(true)
    }

    pub async fn dispute(
        &self,
        payment: PaymentId,
        dispute: &str,
        outcome: Option<DisputeOutcome>,
    ) -> Result<()> {
        let entry = self.known(payment).await?;
        let kind = match outcome {
            None => EventKind::DisputeCreated,
            Some(_) => EventKind::DisputeClosed,
        };
        let event = EventBody {
            id: format!("evt_{dispute}_{}", kind.word()),
            reason: Some("the shopper does not know the charge".into()),
            dispute: Some(dispute.to_owned()),
            outcome,
            ..event(&entry, kind)?
        };
        self.tell(&entry, event, entry.webhooks.max(1)).await
    }

    async fn known(&self, payment: PaymentId) -> Result<BookEntry> {
        self.find(payment)
            .await?
            .ok_or_else(|| Error::unexpected("no such payment"))
    }

    async fn tell(&self, entry: &BookEntry, event: EventBody, times: i16) -> Result<()> {
        sqlx::query!(
            "INSERT INTO sandbox_events (event_id, payment_id, body, due_at, times_left)
             VALUES ($1, $2, $3, clock_timestamp(), $4) ON CONFLICT DO NOTHING",
            &event.id,
            &entry.payment_id,
            serde_json::to_string(&event).unwrap_or_default(),
            times,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn entries(&self, ids: &[String]) -> Result<HashMap<String, BookEntry>> {
        let rows = sqlx::query_as!(
            BookEntry,
            r#"SELECT payment_id, order_id, amount, currency, status, reason, webhooks,
                known_at <= clock_timestamp() AS "is_known!", silent_until > clock_timestamp() AS "is_silent!"
               FROM sandbox_payments WHERE payment_id = ANY($1)"#,
            ids,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|entry| (entry.payment_id.clone(), entry))
            .collect())
    }
}

/// An event about a payment.
fn event(entry: &BookEntry, kind: EventKind) -> Result<EventBody> {
    let bad = |_| Error::unexpected("the books hold a bad id");
    let payment: PaymentId = entry.payment_id.parse().map_err(bad)?;
    Ok(EventBody {
        id: super::event_id(payment, kind),
        kind,
        payment,
        order: entry.order_id.parse().map_err(bad)?,
        amount: entry.amount,
        currency: entry.currency.clone(),
        reference: Some(super::reference(payment)),
        reason: entry.reason.clone(),
        refund: None,
        dispute: None,
        outcome: None,
    })
}

fn refund_event(entry: &BookEntry, refund: &str, amount: i64) -> Result<EventBody> {
    let kind = EventKind::RefundDone;
    Ok(EventBody {
        id: format!("evt_{refund}_{}", kind.word()),
        amount,
        refund: Some(refund.to_owned()),
        ..event(entry, kind)?
    })
}
