//! Events of the provider: each is written down once, with the code under which it was refused. Also the disputes that they
//! report.

use super::{PaymentRow, Report, refunds::made_there};
use crate::{
    error::Result,
    payment::{DisputeOutcome, Event, Fact},
    store::words::code_of,
};
use flashsale_protocol::Code;
use sqlx::PgConnection;
use std::collections::{HashMap, HashSet};

pub(super) struct Noted {
    /// The event is new.
    pub fresh: bool,
    pub refusal: Option<Code>,
}

/// Writes events down, each only once.
pub(super) async fn note_events(
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
            Fact::Payment(_) | Fact::Handoff(_) => payments
                .get(&item.payment.to_string())
                .map(|payment| payment.state.amount),
            // An unknown refund was made at the provider. Whether there is enough money is checked when its turn comes.
            Fact::Refund { refund } => sqlx::query_scalar!(
                "SELECT amount FROM refunds WHERE refund_id IN ($1, $2) AND payment_id = $3",
                refund,
                made_there(item.payment, refund),
                item.payment.to_string(),
            )
            .fetch_optional(&mut *connection)
            .await?
            .or_else(|| (event.amount > 0).then_some(event.amount)),
            Fact::Dispute { .. } => payments
                .get(&item.payment.to_string())
                .filter(|payment| (1..=payment.state.amount).contains(&event.amount))
                .map(|_| event.amount),
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

/// False: the dispute was known already.
pub(super) async fn note_dispute(
    connection: &mut PgConnection,
    event: &Event,
    dispute: &str,
    reason: &str,
    outcome: Option<DisputeOutcome>,
) -> Result<bool> {
    let changed = sqlx::query!(
        "INSERT INTO disputes AS d (payment_id, dispute_id, amount, currency, reason, status, closed_at)
         VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $6 <> 'open' THEN clock_timestamp() END)
         ON CONFLICT (payment_id, dispute_id) DO UPDATE SET status = EXCLUDED.status, closed_at = EXCLUDED.closed_at
         WHERE d.status = 'open' AND EXCLUDED.status <> 'open'",
        event.payment.to_string(),
        dispute,
        event.amount,
        &event.currency,
        reason,
        outcome.map_or("open", DisputeOutcome::word),
    )
    .execute(connection)
    .await?
    .rows_affected();
    Ok(changed > 0)
}

/// Marks noted events as refused, because what they report cannot be.
pub(super) async fn refuse_events(connection: &mut PgConnection, events: &[&Event]) -> Result<()> {
    for event in events {
        sqlx::query!(
            "UPDATE payment_events SET refusal = $3 WHERE event_id = $1 AND payment_id = $2",
            &event.id,
            event.payment.to_string(),
            Code::PaymentMismatch.word(),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
