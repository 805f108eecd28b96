//! An operator confirms that Postgres has lost data for good, so that the sale goes on without it.

use super::command::{self, Done, IfMatch, Instruction, Versioned};
use crate::{
    app::App,
    rest::{IdempotencyKey, Problem, SalePath},
};
use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use flashsale_engine::store::disasters::Disaster;
use flashsale_protocol::{Code, SaleId};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A moment when Postgres knew less of the sale than Redis did.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Disaster"))]
pub struct DisasterView {
    disaster: String,
    #[cfg_attr(test, ts(type = "string"))]
    noticed_at: DateTime<Utc>,
    /// The lane whose audit chain has lost most; null: the sale's own chain.
    lane: Option<i16>,
    /// The chain's last row known to be committed.
    known_number: i64,
    /// The last row that was found.
    found_number: i64,
    #[cfg_attr(test, ts(type = "string | null"))]
    confirmed_at: Option<DateTime<Utc>>,
    confirmed_by: Option<String>,
    /// Since when the sale sells again.
    #[cfg_attr(test, ts(type = "string | null"))]
    opened_at: Option<DateTime<Utc>>,
    /// Since when all payments at the provider are accounted for.
    #[cfg_attr(test, ts(type = "string | null"))]
    settled_at: Option<DateTime<Utc>>,
    /// Lost orders; they are cancelled with the reason `order_lost`.
    orders_lost: i32,
    /// Lost payments that the provider still knew.
    payments_found: i32,
}

impl From<Disaster> for DisasterView {
    fn from(of: Disaster) -> Self {
        Self {
            disaster: of.disaster_id,
            noticed_at: of.noticed_at,
            lane: of.lane,
            known_number: of.known_number,
            found_number: of.found_number,
            confirmed_at: of.confirmed_at,
            confirmed_by: of.confirmed_by,
            opened_at: of.opened_at,
            settled_at: of.settled_at,
            orders_lost: of.orders_lost,
            payments_found: of.payments_found,
        }
    }
}

/// Go on without the data that Postgres has lost.
///
/// For a sale that stopped because Postgres was promoted without its tail, or restored to an earlier moment. Confirm it when
/// there is no newer copy of the database: the data is then lost for good. Lanes begin anew, lost orders are cancelled with the
/// reason `order_lost`, their money goes back, and selling goes on within seconds. `disaster` in the sale's metrics shows the
/// progress.
///
/// Refusal: `nothing_to_recover` if selling is not stopped.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/recover",
    operation_id = "recoverSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "It is confirmed, and under way.", body = Versioned<DisasterView>)),
    security(("token" = [])),
)]
pub async fn recover(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    instruction.operator.sale(&app, id).await?;
    command::run(&app, &instruction, id, StatusCode::OK, move |change| {
        Box::pin(async move {
            let disaster = change.confirm_disaster().await?.ok_or(Code::NothingToRecover)?;
            Versioned::in_change(DisasterView::from(disaster), change)
        })
    })
    .await
}
