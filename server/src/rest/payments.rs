//! The door of the payment provider: signed events about payments, as often and in whatever order it sends them.

use super::Problem;
use crate::{app::App, store::payments::Report, worker};
use axum::{body::Bytes, extract::State, http::HeaderMap};
use chrono::Utc;
use flashsale_protocol::Code;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Serialize)]
pub struct Taken {
    /// False: the event was known before, and had no effect now.
    taken: bool,
}

/// `POST /payments/webhook`
pub async fn webhook(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<axum::Json<Taken>, Problem> {
    let now_s = Utc::now().timestamp().max(0) as u64;
    let event = app.payments.parse_webhook(&headers, &body, now_s)?;
    let payment = app
        .store
        .payment(event.payment)
        .await?
        .ok_or(Code::PaymentUnknown)?;
    if payment.order != event.order {
        return Err(Code::OrderUnknown.into());
    }
    let order = app.store.order(payment.order).await?.ok_or(Code::OrderUnknown)?;
    let report = Report {
        payment: event.payment,
        order: event.order,
        fact: event.fact.clone(),
        event: Some(event),
    };
    let reported = app.store.report(order.sale, order.lane, report).await?;
    worker::pay::tell(&app, &reported);
    match reported.refusal {
        Some(code) => Err(code.into()),
        None => Ok(axum::Json(Taken {
            taken: !reported.repeated,
        })),
    }
}
