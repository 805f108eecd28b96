//! Takes in the provider's reports on payments, with their effect on orders: one group commit for each lane.

use super::{
    PaymentRow, Report,
    events::{note_dispute, note_events, refuse_events},
    handoff::hear,
    late::is_unpaid,
    refunds::{drop_refunds, finish_refunds, load_refunds, note_refund, refund_all},
    rows::{lock_payments, save},
};
use crate::{
    batcher::{Batch, Batcher, Verdict, subject},
    boxed,
    error::{Error, Result},
    payment::{
        Event, Fact, Standing,
        state::{OrderNow, Step, Todo},
    },
    sale::LaneRef,
    store::{
        COMMIT, OrderRow, Store,
        audit::{self, Actor, AuditRow, Kind},
        orders::{self, CancelledBy, LockedOrder, load},
    },
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, OrderId, OrderStatus, Reason, SaleId};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The outcome of a report.
#[derive(Debug, Clone)]
pub struct Reported {
    pub order: OrderRow,
    pub payment: PaymentRow,
    /// The shopper should see the order again.
    pub changed: bool,
    /// The event was known before and had no effect now.
    pub repeated: bool,
    /// The event was refused, now or before; or what a shop has told.
    pub refusal: Option<Code>,
}

impl Store {
    /// Takes a report in, through the group commit of the order's lane. After an error the worker asks the provider again.
    #[boxed]
    pub async fn report(&self, sale: SaleId, lane: u16, report: Report) -> Result<Reported> {
        // Reports of one lane share a transaction; the lane's epoch does not matter to them.
        let at = LaneRef { sale, lane, epoch: 0 };
        self.report
            .submit(&at, report, || {
                let pool = self.pools.purchases.clone();
                // Only one report on each order in a batch; an event may name another order under a known id.
                let subjects = |item: &Report| {
                    let event = item.event.as_ref().map(|event| subject(&event.id));
                    [subject(item.order)].into_iter().chain(event).collect()
                };
                Batcher::with_verdicts("report_payment", COMMIT, subjects, move |items: Batch<Report>| {
                    let pool = pool.clone();
                    async move { report_all(&pool, &items).await }
                })
            })
            .await
    }
}

/// One transaction for all, with locks as everywhere: orders in their order, then payments, then lanes.
async fn report_all(pool: &PgPool, items: &[Report]) -> Result<Vec<Verdict<Reported>>> {
    let sorted = |ids: Vec<String>| {
        let mut ids = ids;
        ids.sort();
        ids.dedup();
        ids
    };
    let order_ids = sorted(items.iter().map(|item| item.order.to_string()).collect());
    let payment_ids = sorted(items.iter().map(|item| item.payment.to_string()).collect());
    let mut tx = pool.begin().await?;
    let mut late: HashSet<String> = HashSet::new();
    let mut rows: HashMap<String, OrderRow> = HashMap::new();
    for (id, LockedOrder { row, is_late }) in orders::lock_rows(&mut tx, &order_ids).await? {
        if is_late {
            late.insert(id.clone());
        }
        rows.insert(id, row);
    }
    let mut payments = lock_payments(&mut tx, &payment_ids).await?;
    let before = payments.clone();
    let events = note_events(&mut tx, items, &payments).await?;
    let mut refunds = load_refunds(&mut tx, items).await?;

    // With who did it.
    let mut confirmed: HashMap<String, Actor> = HashMap::new();
    let mut cancelled: Vec<OrderRow> = Vec::new();
    let mut cancelled_by: HashMap<OrderId, Actor> = HashMap::new();
    let mut extended: HashSet<String> = HashSet::new();
    let mut refunded: Vec<OrderRow> = Vec::new();
    let mut mismatched: Vec<&Event> = Vec::new();
    let mut money_back: HashMap<String, i64> = HashMap::new();
    let mut done: Vec<String> = Vec::new();
    let mut entries: Vec<AuditRow> = Vec::new();
    let mut noted: HashSet<&str> = HashSet::new();
    let mut verdicts: Vec<(bool, Option<Code>)> = Vec::with_capacity(items.len());
    for item in items {
        let key = item.order.to_string();
        let (Some(row), Some(payment)) = (rows.get_mut(&key), payments.get_mut(&item.payment.to_string()))
        else {
            verdicts.push((false, None));
            continue;
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
        let now = OrderNow {
            status: row.status,
            is_late: late.contains(&key),
            is_unpaid: is_unpaid(row),
        };
        let by = |otherwise: Actor| item.by.clone().unwrap_or(otherwise);
        let mut follow = |row: &mut OrderRow, step: Step| match step {
            Step::Confirm => {
                row.status = OrderStatus::Confirmed;
                confirmed.insert(key.clone(), by(Actor::from(&row.shopper)));
            }
            Step::Cancel => {
                tracing::warn!(order = %row.order, payment = %item.payment, fact = ?item.fact, "the money of a confirmed order cannot be had: it is cancelled");
                cancelled.push(row.clone());
                cancelled_by.insert(row.order, by(Actor::Worker));
                row.status = OrderStatus::Cancelled;
            }
            Step::None => {}
        };
        match (&item.fact, &item.event) {
            (Fact::Payment(standing), _) => {
                let step = payment.state.learn(now, standing);
                follow(row, step);
            }
            (Fact::Handoff(told), _) => {
                let heard = hear(&mut tx, told, row, payment, now, &by(Actor::Worker)).await?;
                if let (Some(code), Some(verdict)) = (heard.refusal, verdicts.last_mut()) {
                    verdict.1 = Some(code);
                }
                if heard.is_extended {
                    extended.insert(key.clone());
                }
                entries.extend(heard.entry);
                follow(row, heard.step.unwrap_or(Step::None));
            }
            (Fact::Refund { refund }, _) if refunds.is_ours(item.payment, refund) => {
                if let Some(amount) = refunds.take(refund) {
                    payment.state.refund_done(amount);
                    give_back(&mut money_back, row, payment, amount);
                    done.push(refund.clone());
                    entries.push(refund_done(by(Actor::Worker), row, refund, amount));
                }
            }
            (Fact::Refund { refund }, Some(event)) if refunds.is_new(item.payment, refund) => {
                if event.amount > payment.state.amount - payment.state.refunded {
                    entries.push(mismatch(row, payment, event));
                    mismatched.push(event);
                    continue;
                }
                // Only captured money can go back, so it was captured, even if we did not hear of it.
                if !payment.state.status.taken() {
                    let reference = payment.state.reference.clone().unwrap_or_default();
                    let step = payment.state.learn(now, &Standing::Captured { reference });
                    follow(row, step);
                }
                let id = note_refund(&mut tx, item.payment, refund, event.amount).await?;
                refunds.note(id);
                let over = payment.state.refunded_elsewhere(event.amount);
                for dropped in drop_refunds(&mut tx, item.payment, over).await? {
                    refunds.take(&dropped);
                }
                give_back(&mut money_back, row, payment, event.amount);
                entries.push(refund_done(Actor::Provider, row, refund, event.amount));
                let nothing_is_left = payment.state.refund_asked == payment.state.amount;
                if nothing_is_left && payment.state.pays && row.status == OrderStatus::Confirmed {
                    refunded.push(row.clone());
                    row.status = OrderStatus::Cancelled;
                }
            }
            (Fact::Refund { .. }, _) => {}
            (Fact::Dispute { .. }, None) => {}
            (
                Fact::Dispute {
                    dispute,
                    reason,
                    outcome,
                },
                Some(event),
            ) => {
                if note_dispute(&mut tx, event, dispute, reason, *outcome).await? {
                    let (kind, outcome) = match outcome {
                        None => (Kind::DisputeOpened, None),
                        Some(outcome) => (Kind::DisputeClosed, Some(outcome.word())),
                    };
                    entries.push(AuditRow {
                        sale: row.sale,
                        actor: Actor::Provider,
                        kind,
                        data: json!({
                            "order": row.order, "lane": row.lane, "payment": item.payment, "dispute": dispute,
                            "amount": event.amount, "reason": reason, "outcome": outcome,
                        }),
                    });
                }
            }
        }
    }
    refuse_events(&mut tx, &mismatched).await?;
    for (item, verdict) in items.iter().zip(&mut verdicts) {
        let is_refused = |event: &Event| mismatched.iter().any(|refused| refused.id == event.id);
        if item.event.as_ref().is_some_and(is_refused) {
            verdict.1 = Some(Code::PaymentMismatch);
        }
    }

    let changed: Vec<&PaymentRow> = payments
        .iter()
        .filter(|(id, payment)| before.get(*id).is_none_or(|before| before.state != payment.state))
        .map(|(_, payment)| payment)
        .collect();
    // Only captures: whoever reports does nothing else themselves.
    let captured_within_ms = items.iter().filter_map(|item| {
        let payment = payments.get(&item.payment.to_string())?;
        let is_to_capture = payment.state.todo == Some(Todo::Capture);
        Some((item.payment, item.captures_within_ms.filter(|_| is_to_capture)?))
    });
    let answered = save(&mut tx, &changed, &captured_within_ms.collect()).await?;
    let was = |payment: &PaymentRow| {
        before
            .get(&payment.payment.to_string())
            .map(|before| &before.state)
    };
    let unwanted: Vec<(&PaymentRow, &OrderRow)> = changed
        .iter()
        .filter(|payment| {
            let asked = was(payment).map_or(0, |before| before.refund_asked);
            let all = payment.state.refund_asked == payment.state.amount;
            payment.state.status.taken() && all && payment.state.refund_asked > asked
        })
        .filter_map(|payment| Some((*payment, rows.get(&payment.order.to_string())?)))
        .collect();
    entries.extend(refund_all(&mut tx, &unwanted).await?);
    finish_refunds(&mut tx, &done, &changed).await?;
    let paid: HashSet<String> = confirmed.keys().cloned().collect();
    for (id, at) in confirm(&mut tx, paid.iter().filter_map(|id| rows.get(id))).await? {
        if let Some(row) = rows.get_mut(&id) {
            row.changed_at = at;
        }
    }
    // These come before rows about later cancellations. All others come last: a chain is locked after its lane.
    let confirmations: Vec<AuditRow> = confirmed
        .into_iter()
        .filter_map(|(id, by)| Some((rows.get(&id)?, by)))
        .map(|(row, by)| AuditRow::of_order(Kind::OrderConfirmed, by, row, json!({})))
        .collect();
    audit::write(&mut tx, &confirmations).await?;
    let (each, provider) = (CancelledBy::Each(cancelled_by), CancelledBy::One(Actor::Provider));
    orders::cancel_rows(&mut tx, &cancelled, Reason::PaymentFailed, each).await?;
    orders::cancel_rows(&mut tx, &refunded, Reason::Refunded, provider).await?;
    // A shopper sees their order again when its state changes, when a payment is answered, and when money is back.
    let mut news: HashSet<String> = changed
        .iter()
        .filter(|payment| was(payment).is_none_or(|before| before.answer != payment.state.answer))
        .map(|payment| payment.order.to_string())
        .collect();
    news.retain(|id| !paid.contains(id));
    touch(&mut tx, &news, &money_back).await?;
    news.extend(money_back.keys().cloned());
    news.extend(paid.iter().cloned());
    news.extend(extended);
    news.extend(cancelled.iter().chain(&refunded).map(|row| row.order.to_string()));
    for (id, at) in answered {
        if let Some(payment) = payments.get_mut(&id) {
            payment.answered_at = at;
        }
    }
    // Most are known without a second look: those that were confirmed just now, and those of before that did not change. Of one
    // that waits, its payments say more.
    let is_known = |id: &String, row: &OrderRow| match row.status {
        OrderStatus::Pending => false,
        OrderStatus::Confirmed if paid.contains(id) => !money_back.contains_key(id),
        OrderStatus::Confirmed | OrderStatus::Cancelled => !news.contains(id),
    };
    let unclear = rows.iter().filter(|(id, row)| !is_known(id, row));
    let unclear: Vec<String> = unclear.map(|(id, _)| id.clone()).collect();
    if !unclear.is_empty() {
        rows.extend(load(&mut tx, &unclear).await?);
    }
    audit::write(&mut tx, &entries).await?;
    tx.commit().await?;

    Ok(items
        .iter()
        .zip(verdicts)
        .map(|(item, (repeated, refusal))| {
            let order = rows.get(&item.order.to_string()).cloned();
            let payment = payments.get(&item.payment.to_string()).cloned();
            let (Some(order), Some(payment)) = (order, payment) else {
                return Verdict::Failed(Error::unexpected("a report about a payment that is not there"));
            };
            Verdict::Done(Reported {
                changed: news.contains(&item.order.to_string()),
                order,
                payment,
                repeated,
                refusal,
            })
        })
        .collect())
}

/// The part of an order's money that went back. Money paid in addition does not belong to the order.
fn give_back(money_back: &mut HashMap<String, i64>, row: &OrderRow, payment: &PaymentRow, amount: i64) {
    if payment.state.pays || row.status != OrderStatus::Confirmed {
        *money_back.entry(row.order.to_string()).or_default() += amount;
    }
}

fn refund_done(actor: Actor, row: &OrderRow, refund: &str, amount: i64) -> AuditRow {
    AuditRow {
        sale: row.sale,
        actor,
        kind: Kind::RefundDone,
        data: json!({ "order": row.order, "lane": row.lane, "refund": refund, "amount": amount }),
    }
}

fn mismatch(row: &OrderRow, payment: &PaymentRow, event: &Event) -> AuditRow {
    AuditRow {
        sale: row.sale,
        actor: Actor::Provider,
        kind: Kind::PaymentMismatch,
        data: json!({
            "order": row.order, "lane": row.lane, "payment": payment.payment, "event": event.id,
            "expected": { "amount": payment.state.amount, "currency": payment.currency },
            "told": { "amount": event.amount, "currency": event.currency },
        }),
    }
}

/// Confirms locked, pending orders that are now paid. Returns when each was.
async fn confirm(
    connection: &mut PgConnection,
    orders: impl Iterator<Item = &OrderRow>,
) -> Result<Vec<(String, DateTime<Utc>)>> {
    let (mut ids, mut units) = (Vec::new(), BTreeMap::<(String, i16), i32>::new());
    for row in orders {
        ids.push(row.order.to_string());
        *units.entry((row.sale.to_string(), row.lane as i16)).or_default() += row.quantity as i32;
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let confirmed = sqlx::query!(
        "UPDATE flash_sale_orders SET status = 'confirmed', changed_at = clock_timestamp() WHERE order_id = ANY($1)
         RETURNING order_id, changed_at",
        &ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let (lanes, units): (Vec<(String, i16)>, Vec<i32>) = units.into_iter().unzip();
    let (sales, lanes): (Vec<String>, Vec<i16>) = lanes.into_iter().unzip();
    sqlx::query!(
        "UPDATE sale_lanes l SET confirmed = l.confirmed + c.units
         FROM unnest($1::text[], $2::smallint[], $3::int[]) AS c (sale_id, lane, units)
         WHERE l.sale_id = c.sale_id AND l.lane = c.lane",
        &sales,
        &lanes,
        &units,
    )
    .execute(connection)
    .await?;
    Ok(confirmed
        .into_iter()
        .map(|row| (row.order_id, row.changed_at))
        .collect())
}

/// Marks the shopper's view of these orders as newer.
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
