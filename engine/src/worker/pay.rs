//! Settles payments: asks for their state, captures, voids, refunds, and finds units for late money. Due payments are read from
//! Postgres, so a gateway or worker that dies half-way leaves nothing undone. Every call may be repeated.

use crate::{
    error::{Error, Result},
    payment::{Fact, MERCHANT, Refunded, handoff::Told, state::Todo},
    settle::{
        capture::{self, answered},
        paid,
    },
    shop::Shop,
    stock::Revive,
    store::payments::{Due, DueRefund, Report, Revived},
    telemetry::name,
};
use flashsale_protocol::{OrderStatus, Phase, ServerMessage};
use futures_util::{StreamExt, stream};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Payments in one step, calls to the provider at once, and the interval between looks.
const DUE: i64 = 500;
const CALLS_AT_ONCE: usize = 500;
const LOOK: Duration = Duration::from_millis(100);
/// After a failed step: time for Postgres to come back.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How often unfinished payments are counted.
const COUNT: Duration = Duration::from_secs(1);
/// Tries to take units for late money from a lane that does not answer. After these, the money goes back.
const REVIVE_TRIES: i32 = 6;

pub(super) async fn run(shop: Arc<Shop>, stopping: CancellationToken) {
    let mut counted: Option<Instant> = None;
    loop {
        let wait = match step(&shop).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "cannot look for payments to settle");
                AFTER_FAILURE
            }
        };
        if counted.is_none_or(|at| at.elapsed() >= COUNT) {
            counted = Some(Instant::now());
            if let Err(error) = count(&shop).await {
                tracing::warn!(%error, "cannot count unsettled payments");
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// True: more may be due.
async fn step(shop: &Shop) -> Result<bool> {
    let payments = shop.store.due_payments(DUE).await?;
    let refunds = shop.store.due_refunds(DUE).await?;
    let more = payments.len() as i64 == DUE || refunds.len() as i64 == DUE;
    stream::iter(payments)
        .for_each_concurrent(CALLS_AT_ONCE, |due| async move {
            let outcome = settle(shop, &due).await;
            log(
                outcome,
                due.payment.state.todo.map_or("none", Todo::word),
                due.tries,
                &due.payment.payment,
            );
        })
        .await;
    stream::iter(refunds)
        .for_each_concurrent(CALLS_AT_ONCE, |due| async move {
            let outcome = refund(shop, &due).await;
            log(outcome, "refund", due.tries, &due.refund);
        })
        .await;
    Ok(more)
}

/// Logs the result of a try; tries go on by themselves.
fn log(outcome: Result<()>, what: &'static str, tries: i32, id: &dyn std::fmt::Display) {
    let word = if outcome.is_ok() { "ok" } else { "failed" };
    metrics::counter!(name::PAYMENT_CALLS, "call" => what, "outcome" => word).increment(1);
    if let Err(error) = outcome {
        tracing::warn!(payment = %id, what, tries, %error, "a payment is not settled yet");
    }
}

async fn settle(shop: &Shop, due: &Due) -> Result<()> {
    let payment = due.payment.payment;
    if due.payment.provider == MERCHANT {
        return report(shop, due, Fact::Handoff(Told::Over)).await;
    }
    let standing = match due.payment.state.todo {
        None => return Ok(()),
        Some(Todo::Revive) => return revive(shop, due).await,
        _ if due.payment.provider != shop.payments.name() => return Err(elsewhere(&due.payment.provider)),
        Some(Todo::Ask) => answered(shop.payments.standing(payment).await)?,
        Some(Todo::Capture) => capture::ask(shop, payment).await?,
        Some(Todo::Void) => answered(shop.payments.void(payment).await)?,
    };
    report(shop, due, Fact::Payment(standing)).await
}

async fn report(shop: &Shop, due: &Due, fact: Fact) -> Result<()> {
    let report = Report {
        payment: due.payment.payment,
        order: due.payment.order,
        fact,
        event: None,
        by: None,
        captures_within_ms: None,
    };
    paid::tell(shop, &shop.store.report(due.sale, due.lane, report).await?);
    Ok(())
}

/// The provider has been changed since the payment was begun: what is left of it waits for that one.
fn elsewhere(provider: &str) -> Error {
    Error::unexpected(format!(
        "it belongs to the provider {provider:?}, which is not set (--payments)"
    ))
}

async fn refund(shop: &Shop, due: &DueRefund) -> Result<()> {
    if due.provider != shop.payments.name() {
        return Err(elsewhere(&due.provider));
    }
    match answered(shop.payments.refund(due.payment, &due.refund, due.amount).await)? {
        Refunded::Refused { reason } => {
            if shop.store.refund_refused(due, &reason).await? {
                tracing::error!(refund = %due.refund, order = %due.order, reason, "a refund is refused and waits for an operator");
            }
            return Err(Error::unexpected(format!(
                "the provider refuses a refund: {reason}"
            )));
        }
        Refunded::Done => {}
    }
    let report = Report {
        payment: due.payment,
        order: due.order,
        fact: Fact::Refund {
            refund: due.refund.clone(),
        },
        event: None,
        by: None,
        captures_within_ms: None,
    };
    paid::tell(shop, &shop.store.report(due.sale, due.lane, report).await?);
    Ok(())
}

/// Takes units from Redis under the lane's epoch, then records it in Postgres under the same. Units taken in vain go back.
async fn revive(shop: &Shop, due: &Due) -> Result<()> {
    let (payment, order) = (due.payment.payment, due.payment.order);
    if !due.units_returned {
        return Err(Error::unexpected("the order's units are still on their way back"));
    }
    let sale = shop.store.sale(due.sale).await?;
    let row = shop.store.order(order).await?;
    let (Some(sale), Some(row)) = (sale, row) else {
        return Err(Error::unexpected("an order has vanished"));
    };
    let at = sale.lane_refs().find(|at| at.lane == due.lane);
    let taken = match at {
        Some(at) if row.status == OrderStatus::Cancelled && sale.status != Phase::Cancelled => {
            let units = (row.shopper.clone(), row.order, row.quantity, row.device.clone());
            match shop.stock.revive(at, Revive::Take, &units).await {
                Ok(true) => Some((at, units)),
                Ok(false) => None,
                // The lane is closed or opens anew; it has some time to come back.
                Err(_) if due.tries > REVIVE_TRIES => None,
                Err(error) => return Err(error),
            }
        }
        _ => None,
    };
    if let Some((at, units)) = taken {
        match shop.store.revive(at, payment, order).await? {
            Revived::Ok(row) => {
                tracing::info!(%order, "late money has found its order's units again");
                let news = ServerMessage::Order(row.view());
                shop.live.tell(row.sale, row.shopper.clone(), news);
                return Ok(());
            }
            Revived::Settled => return Ok(()),
            Revived::Refused => {
                shop.stock.revive(at, Revive::Give, &units).await?;
            }
        }
    }
    if shop.store.send_back(payment, order).await?.is_some() {
        tracing::info!(%order, "late money has found no unit and goes back");
    }
    Ok(())
}

async fn count(shop: &Shop) -> Result<()> {
    let refused = shop.store.refused_refunds().await?;
    metrics::gauge!(name::REFUNDS_REFUSED).set(refused as f64);
    let left = shop.store.unsettled().await?;
    for what in Todo::ALL.iter().map(|todo| todo.word()).chain(["refund"]) {
        let (count, stuck) = left
            .iter()
            .find(|left| left.todo == what)
            .map_or((0, 0), |left| (left.count, left.stuck));
        metrics::gauge!(name::PAYMENTS_UNSETTLED, "todo" => what).set(count as f64);
        metrics::gauge!(name::PAYMENTS_STUCK, "todo" => what).set(stuck as f64);
    }
    Ok(())
}
