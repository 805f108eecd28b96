//! Payments as rows: read, locked and written back, many at once.

use super::{PaymentRow, bad};
use crate::store::words::code_of;
use crate::{
    error::Result,
    payment::state::{Outcome, PaymentStatus, State, Todo},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::PaymentId;
use sqlx::PgConnection;
use std::collections::HashMap;

struct RawPayment {
    payment_id: String,
    order_id: String,
    provider: String,
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
            provider: self.provider,
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

pub(super) async fn load_payments(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<HashMap<String, PaymentRow>> {
    sqlx::query_as!(
        RawPayment,
        "SELECT payment_id, order_id, provider, currency, amount, status, pays, answer, reason, reference, answered_at,
            refund_asked, refunded, todo, created_at
         FROM payments WHERE payment_id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|raw| Ok((raw.payment_id.clone(), raw.read()?)))
    .collect()
}

/// Loads payments and locks them against changes. Their orders were locked before.
pub(super) async fn lock_payments(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<HashMap<String, PaymentRow>> {
    sqlx::query_as!(
        RawPayment,
        "SELECT payment_id, order_id, provider, currency, amount, status, pays, answer, reason, reference, answered_at,
            refund_asked, refunded, todo, created_at
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

/// Writes the states of payments. Returns when each was answered first. New work is due at once, or so many ms later if whoever
/// reported does it themselves.
pub(super) async fn save(
    connection: &mut PgConnection,
    payments: &[&PaymentRow],
    done_within_ms: &HashMap<PaymentId, u64>,
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
    let due_in_ms: Vec<i64> = payments
        .iter()
        .map(|payment| done_within_ms.get(&payment.payment).map_or(0, |ms| *ms as i64))
        .collect();
    Ok(sqlx::query!(
        "UPDATE payments p
         SET status = i.status, pays = i.pays, answer = i.answer, reason = i.reason, reference = i.reference,
             refund_asked = i.refund_asked, refunded = i.refunded, todo = i.todo,
             answered_at = CASE WHEN i.answer IS NOT NULL THEN coalesce(p.answered_at, clock_timestamp()) END,
             todo_at = CASE WHEN i.todo IS DISTINCT FROM p.todo THEN clock_timestamp() + i.due_in_ms * interval '1 millisecond'
                ELSE p.todo_at END,
             tries = CASE WHEN i.todo IS DISTINCT FROM p.todo THEN 0 ELSE p.tries END
         FROM unnest($1::text[], $2::text[], $3::bool[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                $9::bigint[], $10::bigint[])
            AS i (payment_id, status, pays, answer, reason, reference, todo, refund_asked, refunded, due_in_ms)
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
        &due_in_ms,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| (row.payment_id, row.answered_at))
    .collect())
}
