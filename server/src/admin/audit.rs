//! A sale's audit log, page by page. `docs/audit.md` explains its hashes.

use super::Operator;
use crate::{
    app::App,
    rest::{Problem, SalePath, field},
};
use axum::extract::{Query, State, rejection::QueryRejection};
use chrono::SecondsFormat;
use flashsale_engine::store::audit::{self, Row};
use flashsale_protocol::SaleId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// A lane, for the rows of its chain; without it, those of the sale's own chain. A sale of format 1 has only that one.
    #[param(minimum = 0)]
    lane: Option<i64>,
    /// The rows after this number; 0 is the beginning.
    #[serde(default)]
    #[param(minimum = 0, default = 0)]
    after: i64,
    /// Most rows in one answer.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: i64,
}

fn default_limit() -> i64 {
    DEFAULT_LIMIT
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditLog {
    sale_id: SaleId,
    /// 1: one chain. 2: one for each lane, and the sale's own.
    format: u16,
    /// Lanes with a chain: 0, 1, … below this number.
    lanes: usize,
    rows: Vec<AuditRow>,
}

/// One event. Rows are never changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRow {
    /// The lane whose chain it stands in; null: the sale's own.
    lane: Option<i16>,
    /// 1, 2, … in its chain, without a gap.
    number: i64,
    #[schema(format = DateTime)]
    at: String,
    /// The same time in µs since 1970; this number goes into the hash.
    at_us: i64,
    /// The actor. In format 2 an object: `kind` is `operator`, `api_key`, `shopper`, `worker`, `provider` or `migration`; `id` names
    /// an operator or a key, and a shopper by a pseudonym of this sale; `on_behalf_of` is the pseudonym of the shopper for whom an
    /// operator acted. In format 1 a text: a token's subject, `worker` or `provider`.
    #[schema(value_type = Object)]
    actor: serde_json::Value,
    kind: String,
    #[schema(value_type = Object)]
    data: serde_json::Value,
    /// The hash of the row before, in hex; zeros in the first.
    #[schema(min_length = 64, max_length = 64)]
    previous: String,
    #[schema(min_length = 64, max_length = 64)]
    hash: String,
}

impl From<Row> for AuditRow {
    fn from(row: Row) -> Self {
        Self {
            lane: row.lane,
            number: row.number,
            at: row.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            at_us: row.at.timestamp_micros(),
            actor: row.actor,
            kind: row.kind,
            data: row.data,
            previous: hex::encode(&row.previous),
            hash: hex::encode(&row.hash),
        }
    }
}

/// The events of a sale.
///
/// Every change of supply, order and state, in order, each with the hash of the one before. Ask again with the last number you
/// got; an answer without rows is the end. Rows about orders and units are in the chains of their lanes: ask for each lane.
#[utoipa::path(
    get,
    path = "/admin/sales/{sale_id}/audit",
    operation_id = "listAudit",
    tag = "admin",
    params(("sale_id" = SaleId, Path), Page),
    responses((status = 200, description = "The rows.", body = AuditLog)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<axum::Json<AuditLog>, Problem> {
    let Query(page) = page.map_err(|rejection| field("query", &rejection.body_text()))?;
    if page.after < 0 {
        return Err(field("after", "must be a whole number from 0"));
    }
    if !(1..=MAX_LIMIT).contains(&page.limit) {
        return Err(field(
            "limit",
            &format!("must be a whole number from 1 to {MAX_LIMIT}"),
        ));
    }
    let sale = operator.sale(&app, id).await?;
    let lanes = if sale.format < audit::FORMAT_WITH_LANES {
        0
    } else {
        sale.lanes.len()
    };
    let lane = match page.lane.map(u16::try_from) {
        None => None,
        Some(Ok(lane)) if usize::from(lane) < lanes => Some(lane),
        Some(_) if lanes == 0 => return Err(field("lane", "must be left out: this sale has one chain")),
        Some(_) => {
            let most = lanes - 1;
            return Err(field("lane", &format!("must be a whole number from 0 to {most}")));
        }
    };
    let store = &app.shop.store;
    let rows = match lane {
        Some(lane) => store.audit_rows_of_lane(id, lane, page.after, page.limit).await?,
        None => store.audit_rows(id, page.after, page.limit).await?,
    };
    Ok(axum::Json(AuditLog {
        sale_id: id,
        format: sale.format,
        lanes,
        rows: rows.into_iter().map(AuditRow::from).collect(),
    }))
}
