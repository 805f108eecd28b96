//! Sales, for people who are not on a socket yet.

use super::{Problem, SalePath, rfc3339};
use crate::{
    app::App,
    command,
    sale::{Sale, currency_exponent, ms, phase_word},
};
use axum::extract::State;
use flashsale_protocol::{Phase, SaleId, Tick};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A sale, with the brief's fields first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SaleView {
    pub sale_id: SaleId,
    pub product_name: String,
    /// Units that are free now.
    pub stock: u64,
    /// Seconds to the start, or once started to the end; 0 when over.
    pub remaining_time: u64,
    /// Minor units of `currency`.
    pub sale_price: i64,
    pub original_price: i64,
    pub product_id: String,
    pub description: String,
    pub currency: String,
    pub currency_exponent: u32,
    pub total_stock: u32,
    pub status: Phase,
    #[schema(format = DateTime)]
    pub room_opens_at: String,
    #[schema(format = DateTime)]
    pub start_time: String,
    #[schema(format = DateTime)]
    pub end_time: String,
    pub per_shopper_limit: u32,
    pub per_device_limit: u32,
    pub hold_ms: u64,
    pub claim_ms: u64,
    pub payment_ms: u64,
    pub inflow: u32,
    pub lanes: usize,
    pub queue_length: u64,
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl SaleView {
    pub fn new(sale: &Sale, tick: &Tick) -> Self {
        let (start, end) = (ms(sale.start_time), ms(sale.end_time));
        let status = sale.phase_at(tick.now);
        let next = match status {
            Phase::Ended | Phase::Cancelled => 0,
            _ if tick.now < start => start,
            _ => end,
        };
        Self {
            sale_id: sale.id,
            product_name: sale.product_name.clone(),
            stock: tick.available,
            remaining_time: next.saturating_sub(tick.now).div_ceil(1000),
            sale_price: sale.sale_price,
            original_price: sale.original_price,
            product_id: sale.product_id.clone(),
            description: sale.description.clone(),
            currency: sale.currency.clone(),
            currency_exponent: currency_exponent(&sale.currency).unwrap_or(2),
            total_stock: sale.total_stock,
            status,
            room_opens_at: rfc3339(ms(sale.room_opens_at)),
            start_time: rfc3339(start),
            end_time: rfc3339(end),
            per_shopper_limit: sale.per_shopper_limit,
            per_device_limit: sale.per_device_limit,
            hold_ms: sale.hold_ms,
            claim_ms: sale.claim_ms,
            payment_ms: sale.payment_ms,
            inflow: sale.inflow,
            lanes: sale.lanes.len(),
            queue_length: tick.waiting,
            created_at: rfc3339(ms(sale.created_at)),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SaleList {
    sales: Vec<SaleView>,
}

/// All sales.
///
/// What is on or coming first, what is over last.
#[utoipa::path(
    get,
    path = "/flash-sales",
    operation_id = "listSales",
    tag = "sales",
    responses((status = 200, description = "The sales.", body = SaleList)),
)]
pub async fn list(State(app): State<Arc<App>>) -> Result<axum::Json<SaleList>, Problem> {
    Ok(axum::Json(views(&app, None).await?))
}

/// One sale, with its stock now.
#[utoipa::path(
    get,
    path = "/flash-sales/{sale_id}",
    operation_id = "showSale",
    tag = "sales",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The sale.", body = SaleView)),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
) -> Result<axum::Json<SaleView>, Problem> {
    let sale = app.sale(id).await?;
    Ok(axum::Json(SaleView::new(
        &sale,
        &command::tick_now(&app, &sale).await?,
    )))
}

/// What is on or coming, for the command line's list of links.
pub async fn current(app: &App) -> anyhow::Result<Vec<SaleView>> {
    let list = views(app, None)
        .await
        .map_err(|problem| anyhow::anyhow!("{}", problem.0.message))?;
    Ok(list
        .sales
        .into_iter()
        .filter(|view| !matches!(view.status, Phase::Ended | Phase::Cancelled))
        .collect())
}

/// The latest sales, of one merchant or of all.
pub async fn views(app: &App, merchant: Option<&str>) -> Result<SaleList, Problem> {
    let mut sales = Vec::new();
    for sale in app.store.list_sales(merchant).await? {
        match command::tick_now(app, &sale).await {
            Ok(tick) => sales.push(SaleView::new(&sale, &tick)),
            // One sale that Redis does not know yet must not hide the others.
            Err(error) => {
                tracing::warn!(sale = %sale.id, status = phase_word(sale.status), %error, "a sale is left out")
            }
        }
    }
    let over = |view: &SaleView| matches!(view.status, Phase::Ended | Phase::Cancelled);
    sales.sort_by(|a, b| {
        over(a).cmp(&over(b)).then_with(|| {
            if over(a) {
                b.start_time.cmp(&a.start_time)
            } else {
                a.start_time.cmp(&b.start_time)
            }
        })
    });
    Ok(SaleList { sales })
}
