//! Sales, for people who are not on a socket.

use super::{Problem, SalePath, cached, field, pictures::PictureView, rfc3339};
use crate::app::App;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use flashsale_engine::{
    error::{Error, Result},
    merchants::Merchants,
    sale::{Sale, Shown, currency_exponent, ms},
    stock::shown::Showing,
    store::listing::{PAGE_MOST, Wanted},
};
use flashsale_protocol::{Allocation, Code, DrawWeight, OpeningOrder, PaymentsBy, Phase, SaleId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

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
    /// Markdown (CommonMark); HTML in it is text.
    pub description: String,
    /// The same as HTML that can be put into a page as it is. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub description_html: Option<String>,
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
    /// Whether shoppers may extend their turn or their cart, once, while nobody waits.
    pub extend_once: bool,
    pub lanes: usize,
    /// The shop's name in addresses: its page is `/m/{merchant}`.
    pub merchant: String,
    /// The shop's name for people.
    pub merchant_name: String,
    /// People in both lines; in a draw, entries whose turn has not come.
    pub queue_length: u64,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// How orders of it are paid; in the answer about a single sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub payments: Option<PaymentsBy>,
    /// If an operator has uploaded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub picture: Option<PictureView>,
    /// Where the terms are that an order is under, and their version; both, or neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub terms_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub terms_version: Option<String>,
    /// Only when true: the server cannot read its stores now, and this is its last knowledge, at most five minutes old.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, ts(optional, as = "Option<bool>"))]
    pub stale: bool,
}

impl SaleView {
    /// The view of a sale at a time (ms since 1970).
    pub fn new(merchants: &Merchants, shown: &Shown, now: u64, stale: bool) -> Self {
        let merchant = merchants.by_id(&shown.sale.merchant);
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
            merchant: merchant
                .as_ref()
                .map_or_else(|| sale.merchant.clone(), |merchant| merchant.row.slug.clone()),
            merchant_name: merchant
                .map_or_else(|| sale.merchant.clone(), |merchant| merchant.row.name.clone()),
            product_name: sale.product_name.clone(),
            stock: *free,
            remaining_time: next.saturating_sub(now).div_ceil(1000),
            sale_price: sale.sale_price,
            original_price: sale.original_price,
            product_id: sale.product_id.clone(),
            description: sale.description.clone(),
            description_html: None,
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
            extend_once: info.extend_once,
            lanes: sale.lanes.len(),
            queue_length: *waiting,
            created_at: rfc3339(ms(sale.created_at)),
            payments: None,
            picture: sale.picture.as_ref().map(PictureView::from),
            terms_url: info.terms_url,
            terms_version: info.terms_version,
            stale,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SaleList {
    pub sales: Vec<SaleView>,
    /// The `after` of the next page; null on the last one.
    next: Option<String>,
    /// How orders are paid.
    payments: PaymentsBy,
}

/// Which sales are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Only this shop's: its name in addresses.
    #[param(max_length = 64)]
    merchant: Option<String>,
    /// Only these: `live`, `coming` or `over`.
    group: Option<String>,
    /// Where the page before ended: its `next`.
    after: Option<String>,
    /// Most sales in one answer.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
}

impl Listing {
    /// The wanted page; `of`: only this merchant's.
    pub(crate) fn wanted(self, app: &App, of: Option<&str>) -> Result<Wanted, Problem> {
        let merchant = match (self.merchant, of) {
            (Some(name), _) => {
                let found = app.shop.merchants.find(&name).ok_or(Code::MerchantUnknown)?;
                if of.is_some_and(|of| of != found.row.id) {
                    return Err(Code::MerchantUnknown.into());
                }
                Some(found.row.id.clone())
            }
            (None, of) => of.map(str::to_owned),
        };
        let limit = self.limit.unwrap_or(PAGE_MOST);
        if !(1..=PAGE_MOST).contains(&limit) {
            return Err(field(
                "limit",
                &format!("must be a whole number from 1 to {PAGE_MOST}"),
            ));
        }
        let read = |name: &str, error: &str| field(name, error);
        Ok(Wanted {
            merchant,
            group: self
                .group
                .map(|group| group.parse().map_err(|error| read("group", error)))
                .transpose()?,
            after: self
                .after
                .map(|after| after.parse().map_err(|error| read("after", error)))
                .transpose()?,
            limit,
        })
    }
}

/// Sales.
///
/// Those that are live come first, then those that come, then those that are over. Merchants take turns in the list.
#[utoipa::path(
    get,
    path = "/flash-sales",
    operation_id = "listSales",
    tag = "sales",
    params(Listing),
    responses(
        (status = 200, description = "The sales.", body = SaleList),
        (status = 304, description = "Whoever asks has this answer already (`If-None-Match`)."),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(listing) = listing.map_err(|rejection| field("query", &rejection.body_text()))?;
    let wanted = listing.wanted(&app, None)?;
    if wanted == Wanted::first() {
        let view = app.shop.showcase.view(Showing::All).await?;
        let list = SaleList::new(
            &app,
            &view.look.sales,
            view.look.next.clone(),
            view.now,
            view.stale,
        );
        return cached::answer(&headers, &list);
    }
    let page = app.shop.showcase.page(&wanted).await?;
    let list = SaleList::new(&app, &page.sales, page.next.clone(), page.now, false);
    cached::answer(&headers, &list)
}

/// One sale, with its stock now.
#[utoipa::path(
    get,
    path = "/flash-sales/{sale_id}",
    operation_id = "showSale",
    tag = "sales",
    params(("sale_id" = SaleId, Path)),
    responses(
        (status = 200, description = "The sale.", body = SaleView),
        (status = 304, description = "Whoever asks has this answer already (`If-None-Match`)."),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = app.shop.shown(id).await?;
    let shown = view.look.sales.first().ok_or(Code::SaleUnknown)?;
    cached::answer(&headers, &whole(&app, shown, view.now, view.stale).await)
}

/// A sale with all that its own page shows.
pub(crate) async fn whole(app: &App, shown: &Shown, now: u64, stale: bool) -> SaleView {
    let mut view = SaleView::new(&app.shop.merchants, shown, now, stale);
    view.payments = Some(app.shop.payments.by());
    if !view.description.is_empty() {
        view.description_html = Some(
            app.described
                .html(shown.sale.id, &view.description)
                .await
                .to_string(),
        );
    }
    view
}

/// Running and coming sales, for the command line's list of links.
pub async fn current(app: &Arc<App>) -> Result<Vec<SaleView>> {
    let mut sales = page(app, &Wanted::first()).await?.sales;
    sales.retain(|view| !matches!(view.status, Phase::Ended | Phase::Cancelled));
    Ok(sales)
}

/// A page of sales as they are in the stores now.
pub(crate) async fn page(app: &App, wanted: &Wanted) -> Result<SaleList> {
    let page = app.shop.showcase.page_now(wanted).await?;
    Ok(SaleList::new(app, &page.sales, page.next, page.now, false))
}

/// One sale as it is in the stores now.
pub async fn view(app: &App, sale: Sale) -> Result<SaleView> {
    let (now, mut sales) = app.shop.showcase.with_numbers(vec![sale], false).await?;
    let shown = sales.pop().ok_or(Error::LaneMissing)?;
    Ok(SaleView::new(&app.shop.merchants, &shown, now, false))
}

impl SaleList {
    fn new(app: &App, sales: &[Shown], next: Option<String>, now: u64, stale: bool) -> Self {
        let sales = sales
            .iter()
            .map(|shown| SaleView::new(&app.shop.merchants, shown, now, stale));
        Self {
            sales: sales.collect(),
            next,
            payments: app.shop.payments.by(),
        }
    }
}
