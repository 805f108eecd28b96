//! The door of the payment provider: signed events about payments, as often and in whatever order it sends them.

use super::Problem;
use crate::{
    app::App,
    clock, command,
    payment::{EventBody, signature},
    store::payments::Report,
};
use axum::{body::Bytes, extract::State, http::HeaderMap};
use flashsale_protocol::Code;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    /// False: the event was known before, and had no effect now.
    taken: bool,
}

/// An event of the payment provider.
///
/// Signed: docs/payments.md says how. Events may come twice, in any order, days late.
#[utoipa::path(
    post,
    path = "/payments/webhook",
    operation_id = "paymentWebhook",
    tag = "payments",
    params(("Flash-Signature" = String, Header, description = "t=<seconds since 1970>,v1=<hex of HMAC-SHA256(secret, t.body)>")),
    request_body = EventBody,
    responses((status = 200, description = "The event is taken.", body = Taken)),
)]
pub async fn webhook(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<axum::Json<Taken>, Problem> {
    let signature = headers
        .get(signature::HEADER)
        .and_then(|value| value.to_str().ok());
    let event = app
        .payments
        .parse_webhook(signature, &body, clock::now_ms() / 1000)?;
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
    command::tell_paid(&app, &reported);
    match reported.refusal {
        Some(code) => Err(code.into()),
        None => Ok(axum::Json(Taken {
            taken: !reported.repeated,
        })),
    }
}
