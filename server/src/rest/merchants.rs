//! Shops, for people who look at their page.

use super::{Path, Problem};
use crate::app::App;
use axum::extract::State;
use flashsale_protocol::Code;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct ShopView {
    /// Its name in addresses.
    merchant: String,
    /// Its name for people.
    name: String,
    /// By the name of the IANA database.
    time_zone: String,
    currency: String,
}

/// One shop.
///
/// Its sales are in `GET /flash-sales?merchant=…`.
#[utoipa::path(
    get,
    path = "/merchants/{merchant}",
    operation_id = "showShop",
    tag = "sales",
    params(("merchant" = String, Path, description = "Its name in addresses.")),
    responses((status = 200, description = "The shop.", body = ShopView)),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(merchant): Path<String>,
) -> Result<axum::Json<ShopView>, Problem> {
    let found = app
        .shop
        .merchants
        .by_slug(&merchant)
        .ok_or(Code::MerchantUnknown)?;
    let row = &found.row;
    Ok(axum::Json(ShopView {
        merchant: row.slug.clone(),
        name: row.name.clone(),
        time_zone: row.time_zone.clone(),
        currency: row.currency.clone(),
    }))
}
