//! A sale's orders for its operators: the list, and an order's end by the shop.

use super::{
    Operator,
    command::{self, Done, IfMatch, Instruction, Versioned},
    orders::find,
};
use crate::{
    app::App,
    rest::{IdempotencyKey, Path, Problem, SalePath, field, orders::OrderView},
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use flashsale_engine::{
    settle::checkout::return_units,
    store::{ListedOrder, ORDERS_PAGE_MOST, OrdersPage, WantedOrders},
};
use flashsale_protocol::{OrderId, SaleId, ServerMessage, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

const LIMIT: i64 = 50;
const MAX_NAME_CHARS: usize = 255;
/// Of an order's number on a receipt (`web/src/element/slip.ts`).
const CODE_CHARS: usize = 8;

/// Which orders are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OrderQuery {
    /// Only these: `pending`, `confirmed`, `cancelled`, or `refunded` for those of whose money something has gone back.
    status: Option<String>,
    /// Only those of this customer, by the name that the shop's own sign-in has for them.
    #[param(max_length = 255)]
    customer: Option<String>,
    /// Only those of this person, by their id at the shop.
    #[param(max_length = 64)]
    person: Option<String>,
    /// Only the one whose number ends like this, as receipts show it: `8T4Q-61ZK`.
    #[param(min_length = 8, max_length = 9)]
    code: Option<String>,
    /// Where the page before ended: its `next`.
    after: Option<String>,
    /// Most orders in one answer.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderListed {
    #[serde(flatten)]
    order: OrderView,
    /// Whose it is, by their id at this shop.
    person: ShopperId,
    /// What the shop's own sign-in calls them; null for a guest, or once they are forgotten.
    customer: Option<String>,
}

impl From<ListedOrder> for OrderListed {
    fn from(listed: ListedOrder) -> Self {
        Self {
            order: listed.order.view().into(),
            person: listed.order.shopper,
            customer: listed.customer,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SaleOrders {
    orders: Vec<OrderListed>,
    /// The `after` of the next page; null on the last one. A page that looks for few orders among very many may be short, or empty,
    /// and still have a next one.
    next: Option<String>,
}

impl From<OrdersPage> for SaleOrders {
    fn from(page: OrdersPage) -> Self {
        Self {
            orders: page.orders.into_iter().map(OrderListed::from).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }
}

/// A sale's orders, newest first.
///
/// With `customer` or `person`, at most the newest 50 of theirs.
#[utoipa::path(
    get,
    path = "/admin/sales/{sale_id}/orders",
    operation_id = "listOrders",
    tag = "admin",
    params(("sale_id" = SaleId, Path), OrderQuery),
    responses((status = 200, description = "The orders.", body = SaleOrders)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
    query: Result<Query<OrderQuery>, QueryRejection>,
) -> Result<axum::Json<SaleOrders>, Problem> {
    let Query(query) = query.map_err(|rejection| field("query", &rejection.body_text()))?;
    let sale = operator.sale(&app, id).await?;
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=ORDERS_PAGE_MOST).contains(&limit) {
        let must = format!("must be a whole number from 1 to {ORDERS_PAGE_MOST}");
        return Err(field("limit", &must));
    }
    let wanted = WantedOrders {
        sale: id,
        merchant: sale.merchant.clone(),
        which: match query.status.as_deref() {
            None => None,
            Some(word) => Some(
                word.parse()
                    .map_err(|_| field("status", "must be pending, confirmed, cancelled or refunded"))?,
            ),
        },
        code: query.code.as_deref().map(code).transpose()?,
        after: match query.after.as_deref() {
            None => None,
            Some(after) => Some(after.parse().map_err(|error| field("after", error))?),
        },
        limit,
    };
    let Some(who) = who(&app, &sale.merchant, query.customer, query.person).await? else {
        return Ok(axum::Json(app.shop.store.list_orders(&wanted).await?.into()));
    };
    if wanted.after.is_some() {
        return Err(field("after", "is for the list of all orders"));
    }
    let mut page = app.shop.store.list_orders_of(id, &sale.merchant, &who).await?;
    page.orders
        .retain(|listed| wanted.which.is_none_or(|which| which.has(&listed.order)));
    page.orders.truncate(limit as usize);
    Ok(axum::Json(page.into()))
}

/// The end of an order's number, however it was typed.
fn code(text: &str) -> Result<String, Problem> {
    let plain = text.replace('-', "").to_ascii_uppercase();
    match plain.len() == CODE_CHARS && plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(plain),
        false => Err(field("code", "must be the 8 letters and digits of a receipt")),
    }
}

/// Whose orders are wanted; None: everybody's.
async fn who(
    app: &App,
    merchant: &str,
    customer: Option<String>,
    person: Option<String>,
) -> Result<Option<ShopperId>, Problem> {
    match (customer, person) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(field("person", "cannot be given together with customer")),
        (None, Some(person)) => crate::rest::parse("person", &person).map(Some),
        (Some(customer), None) => {
            let is_name =
                (1..=MAX_NAME_CHARS).contains(&customer.chars().count()) && !customer.contains('\0');
            if !is_name {
                return Err(field(
                    "customer",
                    "must have 1 to 255 characters, none of them NUL",
                ));
            }
            let merchant = app.shop.merchants.get(merchant).await?;
            Ok(Some(app.shop.merchants.customer(&merchant, &customer)?))
        }
    }
}

/// Cancel an order that is not paid.
///
/// Its units are for sale again. If a payment is under way, its money goes back once it has come. A paid order ends with a refund
/// instead.
///
/// Refusals: `order_confirmed`, `order_cancelled`.
#[utoipa::path(
    post,
    path = "/admin/orders/{order_id}/cancel",
    operation_id = "cancelForShop",
    tag = "admin",
    params(("order_id" = OrderId, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "The order, cancelled.", body = Versioned<OrderView>)),
    security(("token" = [])),
)]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let order = find(&app, &instruction.operator, &id).await?;
    let (tell, told) = oneshot::channel();
    let done = command::run(&app, &instruction, order.sale, StatusCode::OK, move |change| {
        Box::pin(async move {
            let cancelled = change.cancel_order(order.order).await??;
            let answer = OrderView::from(cancelled.order.view());
            let _ = tell.send(cancelled);
            Versioned::in_change(answer, change)
        })
    })
    .await?;
    if let Ok(cancelled) = told.await
        && !done.is_refused()
    {
        // If this fails, the reconciler returns the units.
        if let Err(error) = return_units(&app.shop, std::slice::from_ref(&cancelled)).await {
            tracing::warn!(order = %cancelled.order.order, %error, "an order is cancelled, its units are left to the reconciler");
        }
        let row = &cancelled.order;
        app.shop
            .live
            .tell(row.sale, row.shopper.clone(), ServerMessage::Order(row.view()));
    }
    Ok(done)
}
