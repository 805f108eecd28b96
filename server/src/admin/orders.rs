//! What operators do about an order's money: look, and give it back.

use super::Operator;
use crate::{
    app::App,
    command,
    payment::state::{Outcome, Todo},
    rest::{
        IdempotencyKey, Json, Problem, field,
        orders::{OrderView, order_id},
        rfc3339,
    },
    sale::ms,
    store::OrderRow,
    store::payments::{AskRefund, PaymentRow, RefundAsked, RefundRow},
    worker::reconcile,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{Code, OrderId, ServerMessage};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

const MAX_REASON_CHARS: usize = 500;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundBody {
    /// Minor units. Without it: all that is left, and the order ends.
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefundView {
    refund_id: String,
    amount: i64,
    /// wanted: on its way; done: the provider has it; dropped: the money never came; refused: the provider refuses it, and an
    /// operator has to see to it.
    status: String,
    actor: String,
    reason: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// Why the provider has last refused it.
    refusal: Option<String>,
}

impl From<RefundRow> for RefundView {
    fn from(row: RefundRow) -> Self {
        Self {
            refund_id: row.refund_id,
            amount: row.amount,
            status: row.status,
            actor: row.actor,
            reason: row.reason,
            created_at: time(row.created_at),
            refusal: row.refusal,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentView {
    payment_id: String,
    status: &'static str,
    /// This payment has confirmed the order.
    pays: bool,
    amount: i64,
    currency: String,
    /// On its way back, and of that, back.
    refund_asked: i64,
    refunded: i64,
    /// What the shopper was told: `ok` or a refusal's code; null while it is not known.
    answer: Option<&'static str>,
    reason: Option<String>,
    reference: Option<String>,
    /// What is still to be done: ask, capture, void, revive.
    todo: Option<&'static str>,
    #[schema(format = DateTime)]
    created_at: String,
    refunds: Vec<RefundView>,
}

impl PaymentView {
    fn new(row: PaymentRow, refunds: Vec<RefundRow>) -> Self {
        Self {
            payment_id: row.payment.to_string(),
            status: row.state.status.word(),
            pays: row.state.pays,
            amount: row.state.amount,
            currency: row.currency,
            refund_asked: row.state.refund_asked,
            refunded: row.state.refunded,
            answer: row.state.answer.map(|answer| match answer {
                Outcome::Confirmed => "ok",
                Outcome::Refused(code) => code.word(),
            }),
            reason: row.state.reason,
            reference: row.state.reference,
            todo: row.state.todo.map(Todo::word),
            created_at: time(row.created_at),
            refunds: refunds.into_iter().map(RefundView::from).collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPayments {
    order: OrderView,
    payments: Vec<PaymentView>,
    /// What the provider has sent about them.
    events: Vec<EventView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    event_id: String,
    r#type: String,
    /// The code under which it was refused; null: it was taken.
    refusal: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefundAnswer {
    order: OrderView,
    /// Null: the order cost nothing.
    refund: Option<RefundView>,
}

/// An order with its payments, refunds and what the provider has sent.
#[utoipa::path(
    get,
    path = "/admin/orders/{order_id}",
    operation_id = "showOrderPayments",
    tag = "admin",
    params(("order_id" = OrderId, Path)),
    responses((status = 200, description = "The order and its money.", body = OrderPayments)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<axum::Json<OrderPayments>, Problem> {
    let order = find(&app, &operator, &id).await?;
    let payments = app.store.payments_of(order.order).await?;
    let events = app.store.payment_events_of(order.order).await?;
    Ok(axum::Json(OrderPayments {
        order: order.view().into(),
        payments: payments
            .into_iter()
            .map(|(row, refunds)| PaymentView::new(row, refunds))
            .collect(),
        events: events
            .into_iter()
            .map(|(event_id, r#type, refusal)| EventView {
                event_id,
                r#type,
                refusal,
            })
            .collect(),
    }))
}

/// Give money back.
///
/// A part of it, or all that is left; then the order ends and its units are for sale again.
#[utoipa::path(
    post,
    path = "/admin/orders/{order_id}/refund",
    operation_id = "refundOrder",
    tag = "admin",
    params(("order_id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "The order, and the refund on its way.", body = RefundAnswer)),
    security(("token" = [])),
)]
pub async fn refund(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<RefundBody>,
) -> Result<axum::Json<RefundAnswer>, Problem> {
    if body.amount.is_some_and(|amount| amount < 1) {
        return Err(field(
            "amount",
            "must be a whole number of minor units, at least 1",
        ));
    }
    if body.reason.chars().count() > MAX_REASON_CHARS {
        return Err(field(
            "reason",
            &format!("must have at most {MAX_REASON_CHARS} characters"),
        ));
    }
    let order = find(&app, &operator, &id).await?;
    let amount = body.amount.map(|amount| amount.to_string()).unwrap_or_default();
    let ask = AskRefund {
        order: order.order,
        actor: operator.0.shopper.to_string(),
        command: crate::rest::command_id(&headers)?,
        digest: command::digest("refund", &[&order.order.to_string(), &amount, &body.reason]),
        amount: body.amount,
        reason: body.reason,
    };
    match app.store.ask_refund(ask).await? {
        Err(code) => Err(code.into()),
        Ok(RefundAsked { order, refund }) => {
            // If this fails, the reconciler returns the units.
            if order.status == flashsale_protocol::OrderStatus::Cancelled
                && let Some(sale) = app.find_sale(order.sale).await?
                && let Err(error) = reconcile::return_units(&app, &sale, std::slice::from_ref(&order)).await
            {
                tracing::warn!(order = %order.order, %error, "an order is refunded, its units are left to the reconciler");
            }
            let news = ServerMessage::Order(order.view());
            app.live.tell(order.sale, order.shopper.clone(), news);
            Ok(axum::Json(RefundAnswer {
                order: order.view().into(),
                refund: refund.map(RefundView::from),
            }))
        }
    }
}

/// Try a refused refund again.
///
/// One that is under way, or done, stays as it is.
#[utoipa::path(
    post,
    path = "/admin/orders/{order_id}/refunds/{refund_id}/retry",
    operation_id = "retryRefund",
    tag = "admin",
    params(("order_id" = OrderId, Path), ("refund_id" = String, Path)),
    responses((status = 200, description = "The refund, on its way again.", body = RefundView)),
    security(("token" = [])),
)]
pub async fn retry_refund(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path((id, refund)): Path<(String, String)>,
) -> Result<axum::Json<RefundView>, Problem> {
    let order = find(&app, &operator, &id).await?;
    let actor = operator.0.shopper.as_str();
    let row = app
        .store
        .retry_refund(order.sale, order.order, &refund, actor)
        .await?;
    Ok(axum::Json(row.ok_or(Code::PaymentUnknown)?.into()))
}

/// The order, if this operator may see its sale.
async fn find(app: &App, operator: &Operator, id: &str) -> Result<OrderRow, Problem> {
    let order = app
        .store
        .order(order_id(id)?)
        .await?
        .filter(|row| row.quantity > 0);
    let order = order.ok_or(Code::OrderUnknown)?;
    operator.sale(app, order.sale).await?;
    Ok(order)
}

fn time(at: DateTime<Utc>) -> String {
    rfc3339(ms(at))
}
