//! An order's money, for operators: look at it, and give it back.

use super::{
    Operator,
    command::{self, Done, IfMatch, Instruction, Versioned},
};
use crate::{
    app::App,
    rest::{
        IdempotencyKey, Path, Problem, field,
        orders::{OrderView, order_id},
        rfc3339,
    },
};
use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use flashsale_engine::{
    payment::state::{Outcome, Todo},
    sale::ms,
    settle::checkout::return_units,
    store::OrderRow,
    store::payments::{AskRefund, DisputeRow, EventRow, PaymentRow, RefundAsked, RefundRow},
};
use flashsale_protocol::{Code, OrderId, ServerMessage, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::ToSchema;

const MAX_REASON_CHARS: usize = 500;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundBody {
    /// Minor units. Without it the whole rest is refunded, and the order ends.
    #[serde(default)]
    #[schema(minimum = 1)]
    amount: Option<i64>,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefundView {
    refund_id: String,
    amount: i64,
    /// wanted: on its way; done: the provider has it; dropped: the money never came, or went back in another way; refused: the
    /// provider refuses it, and an operator must act.
    status: String,
    actor: String,
    reason: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// When the money was back; null: not yet.
    #[schema(format = DateTime)]
    done_at: Option<String>,
    /// The provider's last reason for refusing it.
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
            done_at: row.done_at.map(time),
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
    /// Money requested back, and the part of it that is back.
    refund_asked: i64,
    refunded: i64,
    /// The answer to the shopper: `ok` or a refusal's code; null until it is known.
    answer: Option<&'static str>,
    reason: Option<String>,
    reference: Option<String>,
    /// The next step: ask, capture, void, revive.
    todo: Option<&'static str>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When the answer was known; null: it is not.
    #[schema(format = DateTime)]
    answered_at: Option<String>,
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
            answered_at: row.answered_at.map(time),
            refunds: refunds.into_iter().map(RefundView::from).collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPayments {
    order: OrderView,
    /// Whose it is, by their id at this shop.
    person: ShopperId,
    /// What the shop's own sign-in calls them; null for a guest, or once they are forgotten.
    customer: Option<String>,
    /// When the order last changed.
    #[schema(format = DateTime)]
    changed_at: String,
    payments: Vec<PaymentView>,
    /// Disputes: the shopper's bank asks for the money back. Order and units stay as they are.
    disputes: Vec<DisputeView>,
    /// The provider's events about the payments.
    events: Vec<EventView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeView {
    payment_id: String,
    dispute_id: String,
    amount: i64,
    currency: String,
    /// In the provider's words.
    reason: String,
    /// open; won: the shop keeps the money; lost: the shopper gets it.
    status: String,
    #[schema(format = DateTime)]
    opened_at: String,
    #[schema(format = DateTime)]
    closed_at: Option<String>,
}

impl From<DisputeRow> for DisputeView {
    fn from(row: DisputeRow) -> Self {
        Self {
            payment_id: row.payment_id,
            dispute_id: row.dispute_id,
            amount: row.amount,
            currency: row.currency,
            reason: row.reason,
            status: row.status,
            opened_at: time(row.opened_at),
            closed_at: row.closed_at.map(time),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    event_id: String,
    r#type: String,
    /// The code under which it was refused; null: it was accepted.
    refusal: Option<String>,
}

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        Self {
            event_id: row.event_id,
            r#type: row.kind,
            refusal: row.refusal,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefundAnswer {
    order: OrderView,
    /// Null: the order cost nothing.
    refund: Option<RefundView>,
}

/// An order with its payments, refunds and the provider's events.
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
    let money = app.shop.store.order_money(order.order).await?;
    let money = money.ok_or(Code::OrderUnknown)?;
    let person = money.order.shopper.clone();
    let merchant = operator.sale(&app, money.order.sale).await?.merchant;
    Ok(axum::Json(OrderPayments {
        customer: app.shop.store.subject_of(&merchant, &person).await?,
        person,
        changed_at: time(money.order.changed_at),
        order: OrderView::with_terms(&app, money.order.view()).await?,
        payments: money
            .payments
            .into_iter()
            .map(|(row, refunds)| PaymentView::new(row, refunds))
            .collect(),
        disputes: money.disputes.into_iter().map(DisputeView::from).collect(),
        events: money.events.into_iter().map(EventView::from).collect(),
    }))
}

/// Give money back.
///
/// A part of it, or the whole rest; then the order ends and its units are for sale again.
///
/// Refusals: `order_unknown`, `not_paid`, `already_refunded`, `refund_too_much`.
#[utoipa::path(
    post,
    path = "/admin/orders/{order_id}/refund",
    operation_id = "refundOrder",
    tag = "admin",
    params(("order_id" = OrderId, Path), IdempotencyKey, IfMatch),
    request_body = Option<RefundBody>,
    responses((status = 200, description = "The order, and the refund on its way.", body = Versioned<RefundAnswer>)),
    security(("token" = [])),
)]
pub async fn refund(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let body: RefundBody = instruction.json_or_nothing()?;
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
    let order = find(&app, &instruction.operator, &id).await?;
    let amount = body.amount.map(|amount| amount.to_string()).unwrap_or_default();
    let ask = AskRefund {
        order: order.order,
        command: instruction.command(),
        digest: flashsale_engine::command::digest(
            "refund",
            &[&order.order.to_string(), &amount, &body.reason],
        ),
        amount: body.amount,
        reason: body.reason,
    };
    let (tell, told) = oneshot::channel();
    let done = command::run(&app, &instruction, order.sale, StatusCode::OK, move |change| {
        Box::pin(async move {
            let RefundAsked {
                order,
                refund,
                cancelled,
            } = change.ask_refund(ask).await??;
            let _ = tell.send(cancelled);
            let answer = RefundAnswer {
                order: order.view().into(),
                refund: refund.map(RefundView::from),
            };
            Versioned::in_change(answer, change)
        })
    })
    .await?;
    if !done.is_refused()
        && let Some(order) = app.shop.store.order(order.order).await?
    {
        // If this fails, or an earlier request with this key did not get this far, the reconciler returns the units.
        if let Ok(Some(cancelled)) = told.await
            && let Err(error) = return_units(&app.shop, &[cancelled]).await
        {
            tracing::warn!(order = %order.order, %error, "an order is refunded, its units are left to the reconciler");
        }
        let news = ServerMessage::Order(order.view());
        app.shop.live.tell(order.sale, order.shopper.clone(), news);
    }
    Ok(done)
}

/// Try a refused refund again.
///
/// A refund that is on its way or done stays as it is.
///
/// Refusals: `order_unknown`, `payment_unknown`.
#[utoipa::path(
    post,
    path = "/admin/orders/{order_id}/refunds/{refund_id}/retry",
    operation_id = "retryRefund",
    tag = "admin",
    params(("order_id" = OrderId, Path), ("refund_id" = String, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "The refund, on its way again.", body = Versioned<RefundView>)),
    security(("token" = [])),
)]
pub(crate) async fn retry_refund(
    State(app): State<Arc<App>>,
    Path((id, refund)): Path<(String, String)>,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let OrderRow { order, sale, .. } = find(&app, &instruction.operator, &id).await?;
    command::run(&app, &instruction, sale, StatusCode::OK, move |change| {
        Box::pin(async move {
            let row = change.retry_refund(order, &refund).await?;
            let row = row.ok_or(Code::PaymentUnknown)?;
            Versioned::in_change(RefundView::from(row), change)
        })
    })
    .await
}

/// The order, if this operator may see its sale.
pub(super) async fn find(app: &App, operator: &Operator, id: &str) -> Result<OrderRow, Problem> {
    let order = app
        .shop
        .store
        .order(order_id(id)?)
        .await?
        .filter(|row| row.quantity > 0);
    let order = order.ok_or(Code::OrderUnknown)?;
    match operator.sale(app, order.sale).await {
        // Another merchant's.
        Err(Problem(reject)) if reject.code == Code::SaleUnknown => return Err(Code::OrderUnknown.into()),
        sale => sale?,
    };
    Ok(order)
}

fn time(at: DateTime<Utc>) -> String {
    rfc3339(ms(at))
}
