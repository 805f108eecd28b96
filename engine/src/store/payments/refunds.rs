//! Refunds as rows: those that reports are about, those that start by themselves, and how they end.

use super::{PaymentRow, Report};
use crate::{
    error::Result,
    payment::{Fact, state::PaymentStatus},
    store::{
        OrderRow,
        audit::{Actor, AuditRow, Kind},
    },
};
use chrono::{DateTime, Utc};
use flashsale_protocol::PaymentId;
use serde_json::json;
use sqlx::PgConnection;
use std::collections::HashMap;

#[derive(Debug, Clone)]
pub struct RefundRow {
    pub refund_id: String,
    pub amount: i64,
    pub status: String,
    pub actor: String,
    pub reason: String,
    pub created_at: DateTime<Utc>,
    /// When the money was back.
    pub done_at: Option<DateTime<Utc>>,
    /// The provider's last reason for refusing it.
    pub refusal: Option<String>,
}

/// The refunds that reports are about.
#[derive(Default)]
pub(super) struct Refunds {
    /// By id: the payment's id, and the amount until the money is known to be back.
    known: HashMap<String, (String, Option<i64>)>,
}

impl Refunds {
    pub(crate) fn is_ours(&self, payment: PaymentId, refund: &str) -> bool {
        self.known
            .get(refund)
            .is_some_and(|(of, _)| *of == payment.to_string())
    }

    /// The refund was made at the provider, and this is our first report of it.
    pub(crate) fn is_new(&self, payment: PaymentId, refund: &str) -> bool {
        !self.known.contains_key(&made_there(payment, refund))
    }

    /// Its money is back, or never will be. Returns the amount the first time.
    pub fn take(&mut self, refund: &str) -> Option<i64> {
        self.known.get_mut(refund)?.1.take()
    }

    pub fn note(&mut self, id: String) {
        self.known.insert(id, (String::new(), None));
    }
}

/// Our id for a refund made at the provider: it names one payment, and is never one of our own ids.
pub(super) fn made_there(payment: PaymentId, refund: &str) -> String {
    format!("{payment}:{refund}")
}

pub(super) async fn load_refunds(connection: &mut PgConnection, items: &[Report]) -> Result<Refunds> {
    let ids: Vec<String> = items
        .iter()
        .flat_map(|item| match &item.fact {
            Fact::Refund { refund } => vec![refund.clone(), made_there(item.payment, refund)],
            Fact::Payment(_) | Fact::Handoff(_) | Fact::Dispute { .. } => Vec::new(),
        })
        .collect();
    if ids.is_empty() {
        return Ok(Refunds::default());
    }
    let rows = sqlx::query!(
        "SELECT refund_id, payment_id, amount, status FROM refunds WHERE refund_id = ANY($1)
         ORDER BY refund_id FOR UPDATE",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let known = rows.into_iter().map(|row| {
        let is_open = row.status == "wanted" || row.status == "refused";
        (row.refund_id, (row.payment_id, is_open.then_some(row.amount)))
    });
    Ok(Refunds {
        known: known.collect(),
    })
}

/// Writes down a refund that was made at the provider. Returns its id.
pub(super) async fn note_refund(
    connection: &mut PgConnection,
    payment: PaymentId,
    refund: &str,
    amount: i64,
) -> Result<String> {
    let id = made_there(payment, refund);
    sqlx::query!(
        "INSERT INTO refunds (refund_id, payment_id, amount, status, actor, reason, done_at)
         VALUES ($1, $2, $3, 'done', 'provider', 'made_at_provider', clock_timestamp())",
        &id,
        payment.to_string(),
        amount,
    )
    .execute(connection)
    .await?;
    Ok(id)
}

/// Takes this amount back from refunds on their way, the newest first: the money went back in another way. A rest of one of them
/// goes back under a new id, because the provider may know the old id with its amount. Returns the dropped ids.
pub(super) async fn drop_refunds(
    connection: &mut PgConnection,
    payment: PaymentId,
    over: i64,
) -> Result<Vec<String>> {
    if over == 0 {
        return Ok(Vec::new());
    }
    let id = payment.to_string();
    let open = sqlx::query!(
        "SELECT refund_id, amount, actor, reason FROM refunds
         WHERE payment_id = $1 AND status IN ('wanted', 'refused') ORDER BY created_at DESC, refund_id DESC FOR UPDATE",
        &id,
    )
    .fetch_all(&mut *connection)
    .await?;
    let (mut left, mut dropped) = (over, Vec::new());
    for row in open {
        if left <= 0 {
            break;
        }
        left -= row.amount;
        sqlx::query!(
            "UPDATE refunds SET status = 'dropped' WHERE refund_id = $1",
            &row.refund_id
        )
        .execute(&mut *connection)
        .await?;
        if left < 0 {
            sqlx::query!(
                "INSERT INTO refunds (refund_id, payment_id, amount, actor, reason)
                 SELECT $1 || '-' || (count(*) + 1), $1, $2, $3, $4 FROM refunds WHERE payment_id = $1",
                &id,
                -left,
                row.actor,
                row.reason,
            )
            .execute(&mut *connection)
            .await?;
        }
        dropped.push(row.refund_id);
    }
    Ok(dropped)
}

/// Money without an order goes back by itself: the part that is not yet going back, once. Returns the audit rows to be written.
pub(super) async fn refund_all(
    connection: &mut PgConnection,
    unwanted: &[(&PaymentRow, &OrderRow)],
) -> Result<Vec<AuditRow>> {
    let mut entries = Vec::with_capacity(unwanted.len());
    for (payment, order) in unwanted {
        let id = payment.payment.to_string();
        let asked = sqlx::query_scalar!(
            "INSERT INTO refunds (refund_id, payment_id, amount, actor, reason)
             SELECT $1 || '-0', $1, $2::bigint - coalesce(sum(amount) FILTER (WHERE status <> 'dropped'), 0)::bigint, 'worker', 'no_unit'
             FROM refunds WHERE payment_id = $1
             HAVING $2::bigint > coalesce(sum(amount) FILTER (WHERE status <> 'dropped'), 0)
             ON CONFLICT DO NOTHING RETURNING amount",
            &id,
            payment.state.amount,
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(amount) = asked else {
            // All of it went back in another way.
            continue;
        };
        entries.push(AuditRow {
            sale: order.sale,
            actor: Actor::Worker,
            kind: Kind::RefundAsked,
            data: json!({
                "order": payment.order, "lane": order.lane, "payment": payment.payment, "amount": amount, "reason": "no_unit",
            }),
        });
    }
    Ok(entries)
}

/// Ends refunds that arrived, and those whose money never came.
pub(super) async fn finish_refunds(
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
