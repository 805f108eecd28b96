//! The payment provider's door: signed events about payments, as often and in any order it sends them.

use super::{Body, Problem};
use crate::app::App;
use axum::{extract::State, http::HeaderMap};
use flashsale_engine::{
    clock,
    payment::{Event, EventBody, Heard, signature},
    settle::paid,
    store::payments::Report,
    telemetry::name,
};
use flashsale_protocol::Code;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Providers send more than we need.
pub(crate) const MAX_EVENT_BYTES: usize = 256 * 1024;

#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    /// False: the event had no effect now, because it was known or is `ignored`.
    taken: bool,
    /// Only when true: events of this type do not concern us.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignored: bool,
}

/// An event of the payment provider.
///
/// It is signed as docs/payments.md says. Events may come twice, in any order, days late.
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
    body: Body,
) -> Result<axum::Json<Taken>, Problem> {
    let outcome = hear(&app, &headers, body).await;
    let word = match &outcome {
        Ok(Taken { taken: true, .. }) => "taken",
        Ok(Taken { ignored: true, .. }) => "ignored",
        Ok(_) => "repeated",
        Err(_) => "refused",
    };
    metrics::counter!(name::PAYMENT_EVENTS, "outcome" => word).increment(1);
    outcome.map(axum::Json)
}

async fn hear(app: &App, headers: &HeaderMap, body: Body) -> Result<Taken, Problem> {
    let signature = headers
        .get(signature::HEADER)
        .and_then(|value| value.to_str().ok());
    let heard = app
        .shop
        .payments
        .parse_webhook(signature, body.bytes(), clock::now_ms() / 1000)?;
    match heard {
        Heard::Event(event) => take(app, *event).await,
        Heard::Ignored => Ok(Taken {
            taken: false,
            ignored: true,
        }),
    }
}

async fn take(app: &App, event: Event) -> Result<Taken, Problem> {
    let payment = app
        .shop
        .store
        .payment(event.payment)
        .await?
        // Of another provider it knows nothing.
        .filter(|payment| payment.provider == app.shop.payments.name())
        .ok_or(Code::PaymentUnknown)?;
    if payment.order != event.order {
        return Err(Code::OrderUnknown.into());
    }
    let order = app
        .shop
        .store
        .order(payment.order)
        .await?
        .ok_or(Code::OrderUnknown)?;
    let report = Report {
        payment: event.payment,
        order: event.order,
        fact: event.fact.clone(),
        event: Some(event),
        by: None,
        captures_within_ms: None,
    };
    let reported = app.shop.store.report(order.sale, order.lane, report).await?;
    paid::tell(&app.shop, &reported);
    match reported.refusal {
        Some(code) => Err(code.into()),
        None => Ok(Taken {
            taken: !reported.repeated,
            ignored: false,
        }),
    }
}
