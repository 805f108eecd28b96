//! Captures the money of payments that have confirmed their orders. The process that confirmed an order does it at once. What it does
//! not, because it has too much to do or has died, is due for a worker a little later (`worker/pay.rs`).

use super::paid;
use crate::{
    captures::ToCapture,
    error::{Error, Result},
    payment::{Fact, ProviderAnswer, Standing, state::Todo},
    shop::Shop,
    store::payments::Report,
    telemetry::name,
};
use flashsale_protocol::PaymentId;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Calls to the provider at once.
const CALLS_AT_ONCE: usize = 500;

/// Captures what this process has confirmed, until stopped; then what waits is left to workers.
pub async fn run(shop: Arc<Shop>, stopping: CancellationToken) {
    let Some(mut waiting) = shop.captures.take() else {
        return tracing::error!("captures are taken already");
    };
    let waiting = stream::poll_fn(move |context| waiting.poll_recv(context));
    let captures = waiting.for_each_concurrent(CALLS_AT_ONCE, |payment| {
        let shop = shop.clone();
        async move {
            let outcome = capture(&shop, payment).await;
            let word = if outcome.is_ok() { "ok" } else { "failed" };
            metrics::counter!(name::PAYMENT_CALLS, "call" => Todo::Capture.word(), "outcome" => word)
                .increment(1);
            // A worker tries it again.
            if let Err(error) = outcome {
                tracing::warn!(payment = %payment.payment, %error, "a payment is not captured yet");
            }
        }
    });
    tokio::select! {
        () = captures => {}
        () = stopping.cancelled() => {}
    }
}

async fn capture(
    shop: &Shop,
    ToCapture {
        payment,
        order,
        sale,
        lane,
    }: ToCapture,
) -> Result<()> {
    let standing = ask(shop, payment).await?;
    let report = Report {
        payment,
        order,
        fact: Fact::Payment(standing),
        event: None,
        by: None,
        captures_within_ms: None,
    };
    paid::tell(shop, &shop.store.report(sale, lane, report).await?);
    Ok(())
}

/// Has the provider capture a payment, and returns how it stands then.
pub(crate) async fn ask(shop: &Shop, payment: PaymentId) -> Result<Standing> {
    Ok(match answered(shop.payments.capture(payment).await)? {
        Standing::Unknown => Standing::Declined {
            reason: "the provider does not know it any more".into(),
        },
        standing => standing,
    })
}

pub(crate) fn answered<T>(answer: ProviderAnswer<T>) -> Result<T> {
    answer.map_err(|silence| Error::unexpected(silence.to_string()))
}
