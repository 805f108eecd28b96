//! Sales, for people who are not on a socket.

use super::{Problem, SalePath, rfc3339};
use crate::app::App;
use axum::extract::State;
use flashsale_engine::{
    error::Result,
    sale::{Sale, Shown, currency_exponent, ms},
    stock::shown::Showing,
};
use flashsale_protocol::{Allocation, Code, DrawWeight, OpeningOrder, Phase, SaleId};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A sale, with the brief's fields first.
#[derive(Debug, Serialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Sale"))]
pub struct SaleView {
    pub sale_id: SaleId,
    pub product_name: String,
    /// Free units, at most a second old.
    pub stock: u64,
    /// Seconds to the start, or once started to the end; 0 after the end.
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
    pub allocation: Allocation,
    pub opening: OpeningOrder,
    /// If the opening order is shuffled: the SHA-256 of its seed, from the beginning on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub opening_seed_hash: Option<String>,
    /// The seed itself, after the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub opening_seed: Option<String>,
    pub draw_weight: DrawWeight,
    pub priority_share: u32,
    pub absence_ms: u64,
    pub cancel_limit: u32,
    pub lanes: usize,
    /// People in both lines; in a draw, entries whose turn has not come.
    pub queue_length: u64,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Only when true: the server cannot read its stores now, and this is its last knowledge, at most five minutes old.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, ts(optional, as = "Option<bool>"))]
    pub stale: bool,
}

impl SaleView {
    /// The view of a sale at a time (ms since 1970).
    pub fn new(shown: &Shown, now: u64, stale: bool) -> Self {
        let Shown {
            sale,
            free,
            waiting,
            phase,
        } = shown;
        let (start, end) = (ms(sale.start_time), ms(sale.end_time));
        let status = sale.phase_by(now, *phase);
        let info = sale.info(now);
        let next = match status {
            Phase::Ended | Phase::Cancelled => 0,
            _ if now < start => start,
            _ => end,
        };
        Self {
            sale_id: sale.id,
            product_name: sale.product_name.clone(),
            stock: *free,
            remaining_time: next.saturating_sub(now).div_ceil(1000),
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
            allocation: sale.allocation,
            opening: info.opening,
            opening_seed_hash: info.opening_seed_hash,
            opening_seed: info.opening_seed,
            draw_weight: sale.draw_weight,
            priority_share: sale.priority_share,
            absence_ms: sale.absence_ms,
            cancel_limit: sale.cancel_limit,
            lanes: sale.lanes.len(),
            queue_length: *waiting,
            created_at: rfc3339(ms(sale.created_at)),
            stale,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SaleList {
    sales: Vec<SaleView>,
}

/// All sales.
///
/// Running and coming ones first, ended ones last.
#[utoipa::path(
    get,
    path = "/flash-sales",
    operation_id = "listSales",
    tag = "sales",
    responses((status = 200, description = "The sales.", body = SaleList)),
)]
pub async fn list(State(app): State<Arc<App>>) -> Result<axum::Json<SaleList>, Problem> {
    Ok(axum::Json(all(&app).await?))
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
    let view = app.shop.showcase.view(Showing::Sale(id)).await?;
    let shown = view.look.sales.first().ok_or(Code::SaleUnknown)?;
    Ok(axum::Json(SaleView::new(shown, view.now, view.stale)))
}

/// Running and coming sales, for the command line's list of links.
pub async fn current(app: &Arc<App>) -> Result<Vec<SaleView>> {
    let mut sales = all(app).await?.sales;
    sales.retain(|view| !is_over(view));
    Ok(sales)
}

async fn all(app: &Arc<App>) -> Result<SaleList> {
    let view = app.shop.showcase.view(Showing::All).await?;
    Ok(SaleList::new(&view.look.sales, view.now, view.stale))
}

/// A merchant's latest sales, or everybody's, as they are in the stores now.
pub(crate) async fn views(app: &App, merchant: Option<&str>) -> Result<SaleList> {
    let sales = app.shop.store.list_sales(merchant).await?;
    let (now, sales) = app.shop.showcase.with_numbers(sales, true).await?;
    Ok(SaleList::new(&sales, now, false))
}

/// One sale as it is in the stores now.
pub async fn view(app: &App, sale: Sale) -> Result<SaleView> {
    let (now, mut sales) = app.shop.showcase.with_numbers(vec![sale], false).await?;
    let shown = sales.pop().ok_or(flashsale_engine::error::Error::LaneMissing)?;
    Ok(SaleView::new(&shown, now, false))
}

fn is_over(view: &SaleView) -> bool {
    matches!(view.status, Phase::Ended | Phase::Cancelled)
}

impl SaleList {
    fn new(sales: &[Shown], now: u64, stale: bool) -> Self {
        let mut sales: Vec<SaleView> = sales
            .iter()
            .map(|shown| SaleView::new(shown, now, stale))
            .collect();
        sales.sort_by(|a, b| {
            is_over(a).cmp(&is_over(b)).then_with(|| {
                if is_over(a) {
                    b.start_time.cmp(&a.start_time)
                } else {
                    a.start_time.cmp(&b.start_time)
                }
            })
        });
        Self { sales }
    }
}
