//! The hand-off, for a shop's backend: it redeems the shopper's token, asks before it captures, says when no money comes, asks for
//! time, and gives money back when it is asked to. docs/payments.md tells the whole way.

use super::Operator;
use crate::{
    app::App,
    rest::{self, IdempotencyKey, Json, Path, Problem, field, rfc3339},
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use chrono::{DateTime, TimeDelta, Utc};
use flashsale_engine::{
    payment::{Fact, MERCHANT, handoff::Told, state::PaymentStatus},
    sale::{Sale, ms},
    settle::paid,
    store::{
        OrderRow,
        payments::{AskedRefund, PaymentRow, RefundOf, Report, Reported},
    },
};
use flashsale_protocol::{Code, OrderId, OrderStatus, PaymentId, Reject, SaleId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

const MAX_TOKEN_CHARS: usize = 2_000;
const MAX_REASON_CHARS: usize = 500;
const MAX_REFERENCE_CHARS: usize = 255;
const MAX_LIMIT: i64 = 500;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemBody {
    /// The token with which the shopper came: `handoff` in the address of the checkout.
    #[schema(min_length = 1, max_length = 2000)]
    token: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmBody {
    /// What will be captured, in minor units: the payment's whole amount.
    amount: i64,
    currency: String,
    /// Your own name for the payment.
    #[serde(default)]
    #[schema(max_length = 255)]
    reference: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailBody {
    /// For the shopper.
    #[serde(default)]
    #[schema(max_length = 500, example = "the card was declined")]
    reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// Until when the order should wait. An earlier time than now changes nothing.
    expires_at: DateTime<Utc>,
}

/// How far a payment at the shop's checkout has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandoffState {
    /// The shopper may pay it.
    Open,
    /// The order is confirmed: capture.
    Confirmed,
    /// Do not capture.
    Over,
}

/// A payment at the shop's checkout.
#[derive(Debug, Serialize, ToSchema)]
pub struct HandedOver {
    payment_id: PaymentId,
    state: HandoffState,
    order_id: OrderId,
    order_status: OrderStatus,
    sale_id: SaleId,
    product_id: String,
    product_name: String,
    quantity: u32,
    /// Minor units.
    amount: i64,
    currency: String,
    /// Your own name for it, once it is confirmed.
    reference: Option<String>,
    /// What the shop's own sign-in calls the shopper; null for a guest.
    customer: Option<String>,
    /// Until then the order waits.
    #[schema(format = DateTime)]
    expires_at: String,
    /// The latest time to which it can be extended.
    #[schema(format = DateTime)]
    extendable_until: String,
    /// Of the amount: what you are asked to give back, and what you have given back.
    refund_asked: i64,
    refunded: i64,
}

/// A refund that the shop is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct AskedRefundView {
    refund_id: String,
    payment_id: PaymentId,
    order_id: OrderId,
    sale_id: SaleId,
    amount: i64,
    currency: String,
    /// Your own name for the payment.
    reference: String,
    /// The operator's words; `no_unit`: nothing could be given for the money.
    reason: String,
    /// wanted: give it back, and say so; done: you have said so; dropped: the capture has failed.
    status: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<AskedRefund> for AskedRefundView {
    fn from(row: AskedRefund) -> Self {
        Self {
            refund_id: row.refund,
            payment_id: row.payment,
            order_id: row.order,
            sale_id: row.sale,
            amount: row.amount,
            currency: row.currency,
            reference: row.reference,
            reason: row.reason,
            status: row.status,
            created_at: rfc3339(ms(row.created_at)),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AskedRefunds {
    refunds: Vec<AskedRefundView>,
    /// The `after` of the next page; null: this is the last one.
    next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RefundPage {
    /// Only refunds after this one.
    #[serde(default)]
    after: String,
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 500)]
    limit: i64,
}

fn hundred() -> i64 {
    100
}

/// A payment that was handed over to a shop that the caller may act for.
struct Found {
    payment: PaymentRow,
    order: OrderRow,
    sale: Sale,
}

impl Found {
    /// Another merchant's counts as unknown, and so does one that is paid in another way.
    async fn new(app: &App, operator: &Operator, id: PaymentId) -> Result<Self, Problem> {
        let payment = app.shop.store.payment(id).await?;
        let payment = payment.filter(|payment| payment.provider == MERCHANT);
        let payment = payment.ok_or(Code::PaymentUnknown)?;
        let order = app.shop.store.order(payment.order).await?;
        let order = order.ok_or(Code::PaymentUnknown)?;
        let sale = match operator.sale(app, order.sale).await {
            Err(Problem(reject)) if reject.code == Code::SaleUnknown => {
                return Err(Code::PaymentUnknown.into());
            }
            sale => sale?,
        };
        Ok(Self { payment, order, sale })
    }

    async fn by_path(app: &App, operator: &Operator, id: &str) -> Result<Self, Problem> {
        let id = id.parse().map_err(|_| Code::PaymentUnknown)?;
        Self::new(app, operator, id).await
    }

    /// Tells the store what the shop tells, and the shopper what it changes.
    async fn tell(self, app: &App, operator: &Operator, fact: Fact) -> Result<Self, Problem> {
        let report = Report {
            payment: self.payment.payment,
            order: self.order.order,
            fact,
            event: None,
            by: Some(operator.actor()),
            captures_within_ms: None,
        };
        let reported: Reported = app
            .shop
            .store
            .report(self.order.sale, self.order.lane, report)
            .await?;
        paid::tell(&app.shop, &reported);
        match reported.refusal {
            Some(code) => Err(Reject::new(code).about(self.order.order).into()),
            None => Ok(Self {
                payment: reported.payment,
                order: reported.order,
                sale: self.sale,
            }),
        }
    }

    /// The latest time to which the order can be extended.
    async fn extendable_until(&self, app: &App) -> Result<DateTime<Utc>, Problem> {
        let merchant = app.shop.merchants.get(&self.sale.merchant).await?;
        let most = TimeDelta::seconds(merchant.row.checkout_max_s.into());
        Ok((self.order.created_at + most).max(self.order.expires_at))
    }

    async fn view(self, app: &App) -> Result<axum::Json<HandedOver>, Problem> {
        let state = &self.payment.state;
        let extendable_until = self.extendable_until(app).await?;
        let customer = app
            .shop
            .store
            .subject_of(&self.sale.merchant, &self.order.shopper);
        Ok(axum::Json(HandedOver {
            payment_id: self.payment.payment,
            state: match state.status {
                PaymentStatus::Created if self.order.status == OrderStatus::Pending => HandoffState::Open,
                status if status.taken() => HandoffState::Confirmed,
                _ => HandoffState::Over,
            },
            order_id: self.order.order,
            order_status: self.order.status,
            sale_id: self.sale.id,
            product_id: self.sale.product_id.clone(),
            product_name: self.sale.product_name.clone(),
            quantity: self.order.quantity,
            amount: state.amount,
            currency: self.payment.currency.clone(),
            reference: state.reference.clone(),
            customer: customer.await?,
            expires_at: rfc3339(ms(self.order.expires_at)),
            extendable_until: rfc3339(ms(extendable_until)),
            refund_asked: state.refund_asked,
            refunded: state.refunded,
        }))
    }
}

/// Take a shopper over.
///
/// Exchanges the token with which a shopper came to the checkout for the payment. Each token is good once; the same request with
/// the same `Idempotency-Key` may be repeated.
///
/// Refusals: `handoff_invalid`, `handoff_expired`, `handoff_used`; `payment_unknown` for another shop's; `order_cancelled`,
/// `payment_too_late`, `order_confirmed` or `handoff_over` if it cannot be paid.
#[utoipa::path(
    post,
    path = "/admin/handoffs/redeem",
    operation_id = "redeemHandoff",
    tag = "admin",
    params(IdempotencyKey),
    responses((status = 200, description = "The payment.", body = HandedOver)),
    security(("token" = [])),
)]
pub async fn redeem(
    State(app): State<Arc<App>>,
    operator: Operator,
    headers: HeaderMap,
    Json(body): Json<RedeemBody>,
) -> Result<axum::Json<HandedOver>, Problem> {
    let key = rest::idempotency_key(&headers)?;
    if !(1..=MAX_TOKEN_CHARS).contains(&body.token.chars().count()) {
        return Err(field(
            "token",
            &format!("must have 1 to {MAX_TOKEN_CHARS} characters"),
        ));
    }
    let handoff = app.shop.seal.check_handoff(&body.token)?;
    let found = Found::new(&app, &operator, handoff.payment).await?;
    let told = Told::Redeemed {
        token: handoff.jti,
        key,
    };
    let found = found.tell(&app, &operator, Fact::Handoff(told)).await?;
    found.view(&app).await
}

/// A payment at the checkout.
#[utoipa::path(
    get,
    path = "/admin/handoffs/{payment_id}",
    operation_id = "showHandoff",
    tag = "admin",
    params(("payment_id" = PaymentId, Path)),
    responses((status = 200, description = "The payment.", body = HandedOver)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<axum::Json<HandedOver>, Problem> {
    let found = Found::by_path(&app, &operator, &id).await?;
    found.view(&app).await
}

/// Ask before you capture.
///
/// 200: the order is confirmed, so capture now. Anything else: do not capture. Without an answer, ask again: the answer is the same
/// however often you ask.
///
/// Refusals: `order_cancelled`, `payment_too_late`, `handoff_over`; `already_refunded` once all of it has gone back; and `payment_mismatch`
/// for another amount or currency, or another reference than the one that was confirmed.
#[utoipa::path(
    post,
    path = "/admin/handoffs/{payment_id}/confirm",
    operation_id = "confirmHandoff",
    tag = "admin",
    params(("payment_id" = PaymentId, Path)),
    responses((status = 200, description = "Capture now.", body = HandedOver)),
    security(("token" = [])),
)]
pub async fn confirm(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
    Json(body): Json<ConfirmBody>,
) -> Result<axum::Json<HandedOver>, Problem> {
    short("reference", &body.reference, MAX_REFERENCE_CHARS)?;
    short("currency", &body.currency, MAX_REFERENCE_CHARS)?;
    let found = Found::by_path(&app, &operator, &id).await?;
    let told = Told::Ready {
        amount: body.amount,
        currency: body.currency,
        reference: body.reference,
    };
    let found = found.tell(&app, &operator, Fact::Handoff(told)).await?;
    found.view(&app).await
}

/// Say that no money comes.
///
/// Before the confirmation the order stays, and may be paid again. After it, because the capture has failed, the order is cancelled
/// and its units are for sale again. It may be repeated.
///
/// Refusal: `already_refunded` if you have said that money went back.
#[utoipa::path(
    post,
    path = "/admin/handoffs/{payment_id}/fail",
    operation_id = "failHandoff",
    tag = "admin",
    params(("payment_id" = PaymentId, Path)),
    responses((status = 200, description = "The payment, which is over.", body = HandedOver)),
    security(("token" = [])),
)]
pub async fn fail(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
    Json(body): Json<FailBody>,
) -> Result<axum::Json<HandedOver>, Problem> {
    short("reason", &body.reason, MAX_REASON_CHARS)?;
    let found = Found::by_path(&app, &operator, &id).await?;
    let reason = match body.reason.trim() {
        "" => "the shop's checkout was not finished".to_owned(),
        reason => reason.to_owned(),
    };
    let found = found
        .tell(&app, &operator, Fact::Handoff(Told::Failed { reason }))
        .await?;
    found.view(&app).await
}

/// Give the shopper more time.
///
/// The order waits until then, never shorter than before. It may be repeated.
///
/// Refusals: `extension_too_long` after `extendable_until`; `order_cancelled`, `payment_too_late`, `order_confirmed` or
/// `handoff_over` if it cannot be paid.
#[utoipa::path(
    post,
    path = "/admin/handoffs/{payment_id}/extend",
    operation_id = "extendHandoff",
    tag = "admin",
    params(("payment_id" = PaymentId, Path)),
    responses((status = 200, description = "The payment, with the order's new time.", body = HandedOver)),
    security(("token" = [])),
)]
pub async fn extend(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
    Json(body): Json<ExtendBody>,
) -> Result<axum::Json<HandedOver>, Problem> {
    let found = Found::by_path(&app, &operator, &id).await?;
    let latest = found.extendable_until(&app).await?;
    // One that waits no more is told that, however long it is to wait.
    if found.order.status == OrderStatus::Pending && body.expires_at > latest {
        let because = format!("The order can wait until {} at most.", rfc3339(ms(latest)));
        return Err(Reject::because(Code::ExtensionTooLong, because)
            .about(found.order.order)
            .into());
    }
    let told = Told::Extended {
        until: body.expires_at,
    };
    let found = found.tell(&app, &operator, Fact::Handoff(told)).await?;
    found.view(&app).await
}

/// The refunds that you are asked for.
///
/// Those of the shop's own checkout that it has not acknowledged, by their ids. Admins see all shops'.
#[utoipa::path(
    get,
    path = "/admin/refunds",
    operation_id = "listAskedRefunds",
    tag = "admin",
    params(RefundPage),
    responses((status = 200, description = "The refunds.", body = AskedRefunds)),
    security(("token" = [])),
)]
pub async fn refunds(
    State(app): State<Arc<App>>,
    operator: Operator,
    page: Result<Query<RefundPage>, QueryRejection>,
) -> Result<axum::Json<AskedRefunds>, Problem> {
    let Query(page) = page.map_err(|rejection| field("query", &rejection.body_text()))?;
    if !(1..=MAX_LIMIT).contains(&page.limit) {
        return Err(field(
            "limit",
            &format!("must be a whole number from 1 to {MAX_LIMIT}"),
        ));
    }
    if page.after.contains('\0') {
        return Err(field("after", "must be the id of a refund"));
    }
    let of = RefundOf::Merchant(operator.sees(), &page.after, page.limit);
    let refunds = app.shop.store.handoff_refunds(of).await?;
    let is_full = refunds.len() as i64 == page.limit;
    Ok(axum::Json(AskedRefunds {
        next: refunds.last().filter(|_| is_full).map(|last| last.refund.clone()),
        refunds: refunds.into_iter().map(AskedRefundView::from).collect(),
    }))
}

/// Say that a refund is made.
///
/// It may be repeated. Refusal: `payment_unknown` if there is no such refund.
#[utoipa::path(
    post,
    path = "/admin/refunds/{refund_id}/done",
    operation_id = "refundDone",
    tag = "admin",
    params(("refund_id" = String, Path)),
    responses((status = 200, description = "The refund.", body = AskedRefundView)),
    security(("token" = [])),
)]
pub async fn refund_done(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<axum::Json<AskedRefundView>, Problem> {
    let find = async || {
        let found = app.shop.store.handoff_refunds(RefundOf::One(&id)).await?;
        found
            .into_iter()
            .next()
            .ok_or(Problem::from(Code::PaymentUnknown))
    };
    let refund = find().await?;
    let found = Found::new(&app, &operator, refund.payment).await?;
    let fact = Fact::Refund {
        refund: refund.refund,
    };
    found.tell(&app, &operator, fact).await?;
    Ok(axum::Json(find().await?.into()))
}

/// A text that is kept, and shown.
fn short(name: &str, text: &str, most: usize) -> Result<(), Problem> {
    match text.chars().count() > most || text.contains('\0') {
        true => Err(field(name, &format!("must have at most {most} characters"))),
        false => Ok(()),
    }
}
