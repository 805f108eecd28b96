//! What is stored of one of a merchant's people, for the merchant who is asked for it.

use super::Operator;
use crate::{
    app::App,
    rest::{Path, Problem, field, me::PersonView},
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use flashsale_engine::{
    merchants::{Merchant, is_person},
    privacy::{self, Known},
};
use flashsale_protocol::{Code, ShopperId};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Who is meant: exactly one of these.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// What the shop's own sign-in calls them.
    #[param(min_length = 1, max_length = 255)]
    subject: Option<String>,
    /// Their id here, as orders and exports have it.
    person: Option<String>,
}

/// What is stored of a person.
///
/// Refusal: `person_unknown` if nothing is.
#[utoipa::path(
    get,
    path = "/admin/merchants/{merchant}/person",
    operation_id = "showPerson",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses."), Who),
    responses((status = 200, description = "All of it.", body = PersonView)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(merchant): Path<String>,
    who: Result<Query<Who>, QueryRejection>,
) -> Result<axum::Json<PersonView>, Problem> {
    Ok(axum::Json(find(&app, &operator, &merchant, who).await?.into()))
}

/// Forget a person.
///
/// What stays are numbers: orders and places that are nobody's. Refusals: `person_unknown` if nothing is stored of them;
/// `person_busy` while something of theirs is in a sale that is not over, or an order waits for its payment.
#[utoipa::path(
    delete,
    path = "/admin/merchants/{merchant}/person",
    operation_id = "forgetPerson",
    tag = "admin",
    params(("merchant" = String, Path, description = "Its id, or its name in addresses."), Who),
    responses((status = 204, description = "They are forgotten.")),
    security(("token" = [])),
)]
pub async fn forget(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(merchant): Path<String>,
    who: Result<Query<Who>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let known = find(&app, &operator, &merchant, who).await?;
    privacy::erase(&app.shop, &known.merchant, &known.person).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(
    app: &App,
    operator: &Operator,
    merchant: &str,
    who: Result<Query<Who>, QueryRejection>,
) -> Result<Known, Problem> {
    let Query(who) = who.map_err(|rejection| field("query", &rejection.body_text()))?;
    let merchant = operator.merchant(app, merchant).await?;
    let person = person(app, &merchant, &who)?;
    let kept = app.shop.store.kept_of(&person).await?;
    // Only what belongs to this merchant is told.
    let is_theirs = app.shop.store.is_of(&person, &merchant.row.id).await?;
    if kept.is_nothing() || !is_theirs {
        return Err(Code::PersonUnknown.into());
    }
    Ok(Known {
        merchant,
        person,
        kept,
    })
}

fn person(app: &App, merchant: &Merchant, who: &Who) -> Result<ShopperId, Problem> {
    match (&who.subject, &who.person) {
        (Some(subject), None) => Ok(app.shop.merchants.customer(merchant, subject)?),
        (None, Some(person)) => {
            let person: ShopperId = person.parse().map_err(|_| Code::PersonUnknown)?;
            // Ids of older sales belong to no merchant.
            match is_person(&person) {
                true => Ok(person),
                false => Err(Code::PersonUnknown.into()),
            }
        }
        _ => Err(field("query", "must name either subject or person")),
    }
}
