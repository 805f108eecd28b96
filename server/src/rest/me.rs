//! What is stored of whoever asks, and how it is forgotten.

use super::{Bearer, Problem, rfc3339, session};
use crate::app::App;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{AppendHeaders, IntoResponse},
};
use flashsale_engine::{
    privacy::{self, Known},
    sale::ms,
    store::privacy::{KeptDraw, KeptOrder, KeptPlace},
};
use flashsale_protocol::ShopperId;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Everything that is stored of somebody. Of each kind at most the newest 1,000.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyData {
    /// The id that the session has here; nothing is stored under it alone.
    session: ShopperId,
    /// Who they are at each shop that knows them.
    people: Vec<PersonView>,
}

/// A person at one shop.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonView {
    /// The shop's name in addresses.
    merchant: String,
    /// Their id there.
    person: ShopperId,
    /// What the shop's own sign-in calls them; null for a guest.
    subject: Option<String>,
    #[schema(format = DateTime)]
    since: Option<String>,
    orders: Vec<OrderKept>,
    places: Vec<PlaceKept>,
    draws: Vec<DrawKept>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderKept {
    order_id: String,
    sale_id: String,
    quantity: i32,
    amount: i64,
    refunded: i64,
    currency: String,
    status: String,
    reason: Option<String>,
    device: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// The terms that they were shown, if the sale named any.
    terms_url: Option<String>,
    terms_version: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PlaceKept {
    sale_id: String,
    quantity: i32,
    priority: bool,
    status: String,
    device: String,
    #[schema(format = DateTime)]
    joined_at: String,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DrawKept {
    sale_id: String,
    /// The name in the published entries.
    entry: String,
    quantity: i32,
    weight: i32,
    device: String,
    #[schema(format = DateTime)]
    entered_at: String,
}

impl From<Known> for PersonView {
    fn from(known: Known) -> Self {
        let kept = known.kept;
        Self {
            merchant: known.merchant.row.slug.clone(),
            person: known.person,
            subject: kept.subject,
            since: kept.since.map(|since| rfc3339(ms(since))),
            orders: kept.orders.into_iter().map(OrderKept::from).collect(),
            places: kept.places.into_iter().map(PlaceKept::from).collect(),
            draws: kept.draws.into_iter().map(DrawKept::from).collect(),
        }
    }
}

impl From<KeptOrder> for OrderKept {
    fn from(kept: KeptOrder) -> Self {
        Self {
            order_id: kept.order,
            sale_id: kept.sale,
            quantity: kept.quantity,
            amount: kept.amount,
            refunded: kept.refunded,
            currency: kept.currency,
            status: kept.status,
            reason: kept.reason,
            device: kept.device,
            created_at: rfc3339(ms(kept.created_at)),
            terms_url: kept.terms_url,
            terms_version: kept.terms_version,
        }
    }
}

impl From<KeptPlace> for PlaceKept {
    fn from(kept: KeptPlace) -> Self {
        Self {
            sale_id: kept.sale,
            quantity: kept.quantity,
            priority: kept.priority,
            status: kept.status,
            device: kept.device,
            joined_at: rfc3339(ms(kept.joined_at)),
            ended_at: kept.ended_at.map(|at| rfc3339(ms(at))),
        }
    }
}

impl From<KeptDraw> for DrawKept {
    fn from(kept: KeptDraw) -> Self {
        Self {
            sale_id: kept.sale,
            entry: kept.entry,
            quantity: kept.quantity,
            weight: kept.weight,
            device: kept.device,
            entered_at: rfc3339(ms(kept.entered_at)),
        }
    }
}

/// What is stored of me.
#[utoipa::path(
    get,
    path = "/me",
    operation_id = "showMyData",
    tag = "session",
    responses((status = 200, description = "All of it; docs/privacy.md says why and for how long.", body = MyData)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Bearer(caller): Bearer,
) -> Result<axum::Json<MyData>, Problem> {
    let known = privacy::of_caller(&app.shop, &caller).await?;
    Ok(axum::Json(MyData {
        session: caller.account,
        people: known.into_iter().map(PersonView::from).collect(),
    }))
}

/// Forget me.
///
/// What stays are numbers: orders and places that are nobody's. A guest's device is forgotten too, so they come back as somebody
/// new. Refusal: `person_busy` while something of theirs is in a sale that is not over, or an order waits for its payment.
#[utoipa::path(
    delete,
    path = "/me",
    operation_id = "forgetMe",
    tag = "session",
    responses((status = 204, description = "You are forgotten.")),
    security(("token" = [])),
)]
pub async fn forget(
    State(app): State<Arc<App>>,
    Bearer(caller): Bearer,
) -> Result<impl IntoResponse, Problem> {
    privacy::forget(&app.shop, &caller).await?;
    let gone = session::forgotten_cookies().map(|cookie| (header::SET_COOKIE, cookie));
    Ok((StatusCode::NO_CONTENT, AppendHeaders(gone)))
}
