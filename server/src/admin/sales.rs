//! Create, list, pause, resume, end.

use super::Operator;
use crate::{
    app::App,
    clock, ending,
    error::Error,
    rest::{
        Json, Problem, SalePath, field,
        sales::{SaleList, SaleView, view, views},
    },
    sale::{LaneInfo, Sale, currency_exponent},
    store::draws::NewDraw,
    supply::{self, Changed},
    worker::reconcile,
};
use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use flashsale_protocol::{
    Allocation, Code, DrawWeight, MAX_QUANTITY, OpeningOrder, Phase, Reject, SaleId,
    draw::{Draw, MAX_BEACON_BYTES, Seed},
};
use serde::Deserialize;
use std::{ops::RangeInclusive, sync::Arc};
use utoipa::ToSchema;

/// Limits of a sale's settings.
const MAX_STOCK: u32 = 100_000_000;
const MAX_LANES: u16 = 64;
const MAX_PRICE: i64 = 1_000_000_000_000;
const MAX_TEXT_CHARS: usize = 5_000;
const MIN_TIME_MS: u64 = 200;
const MAX_TIME_MS: u64 = 24 * 3600 * 1000;
const MAX_INFLOW: u32 = 100_000;
/// Years that every clock on the way can tell.
const YEARS: RangeInclusive<i32> = 2000..=2999;
/// How long before the start the waiting room opens, unless the sale says otherwise.
const ROOM_BEFORE_START: TimeDelta = TimeDelta::minutes(15);

/// A sale to create. Numbers are signed and wide here, so that a wrong one gets a clear refusal by name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SaleBody {
    #[schema(min_length = 1, max_length = 5_000)]
    pub product_name: String,
    #[serde(default)]
    #[schema(max_length = 5_000)]
    pub description: String,
    /// Without it: made from the name.
    #[serde(default)]
    pub product_id: Option<String>,
    /// ISO 4217.
    #[schema(example = "EUR")]
    pub currency: String,
    /// Minor units of `currency`.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub original_price: i64,
    /// Minor units of `currency`; not above `original_price`.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub sale_price: i64,
    #[schema(minimum = 1, maximum = 100_000_000)]
    pub total_stock: i64,
    pub start_time: DateTime<Utc>,
    pub end_time: DateTime<Utc>,
    /// When the waiting room opens; without it: 15 minutes before the start.
    #[serde(default)]
    pub room_opens_at: Option<DateTime<Utc>>,
    /// Independent shares of the stock; not more than units.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 64, default = 1)]
    pub lanes: i64,
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100, default = 1)]
    pub per_shopper_limit: i64,
    /// Without it: as many as per shopper.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    pub per_device_limit: Option<i64>,
    /// How long reserved units stay in a cart.
    #[serde(default = "five_minutes")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 300_000)]
    pub hold_ms: i64,
    /// How long a turn in line lasts.
    #[serde(default = "two_minutes")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 120_000)]
    pub claim_ms: i64,
    /// How long an order waits for its payment.
    #[serde(default = "five_minutes")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 300_000)]
    pub payment_ms: i64,
    /// Entries called per 100 ms, at most.
    #[serde(default = "thousand")]
    #[schema(minimum = 1, maximum = 100_000, default = 1_000)]
    pub inflow: i64,
    /// `queue`: first come, first served; what is left at the end is drawn among those who still wait. `draw`: everybody who enters
    /// until the end has a chance.
    #[serde(default)]
    pub allocation: Allocation,
    /// What an entry weighs in the draw. `waiting_time`: 1, and one more for each ninth of the time from the room's opening to the
    /// close that it was there, so 10 at the most.
    #[serde(default)]
    pub draw_weight: DrawWeight,
    /// Only for a draw: where a value will come from that nobody knows before the entries close, to be mixed in. The draw waits
    /// for it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 5_000)]
    pub beacon: Option<String>,
    /// In which order those stand who have joined before the start.
    #[serde(default)]
    pub opening: OpeningOrder,
    /// Percent of the turns for the merchant's priority list, while somebody of it waits.
    #[serde(default = "half")]
    #[schema(minimum = 0, maximum = 100, default = 50)]
    pub priority_share: i64,
    /// Whoever is away from the line for so long loses their place.
    #[serde(default = "hour")]
    #[schema(minimum = 200, maximum = 86_400_000, default = 3_600_000)]
    pub absence_ms: i64,
}

fn half() -> i64 {
    50
}

fn hour() -> i64 {
    3_600_000
}

fn one() -> i64 {
    1
}

fn five_minutes() -> i64 {
    300_000
}

fn two_minutes() -> i64 {
    120_000
}

fn thousand() -> i64 {
    1_000
}

impl SaleBody {
    /// Checks every setting and makes the sale of it.
    pub fn check(self, merchant: &str) -> Result<Sale, Problem> {
        let text = |name: &str, text: &str, least: usize| {
            if !(least..=MAX_TEXT_CHARS).contains(&text.chars().count()) {
                let length = format!("must have {least} to {MAX_TEXT_CHARS} characters");
                return Err(field(name, &length));
            }
            // Postgres cannot store it.
            if text.contains('\0') {
                return Err(field(name, "must not contain the character U+0000"));
            }
            Ok(())
        };
        text("product_name", self.product_name.trim(), 1)?;
        text("description", &self.description, 0)?;
        let product_id = self
            .product_id
            .unwrap_or_else(|| self.product_name.trim().to_lowercase().replace(' ', "-"));
        text("product_id", &product_id, 1)?;
        if currency_exponent(&self.currency).is_none() {
            return Err(field(
                "currency",
                "must be an ISO 4217 code that we know, such as EUR",
            ));
        }
        let original_price = range("original_price", self.original_price, 0, MAX_PRICE)?;
        let sale_price = range("sale_price", self.sale_price, 0, MAX_PRICE)?;
        if sale_price > original_price {
            return Err(field("sale_price", "must not be above original_price"));
        }
        let times = [
            ("start_time", Some(self.start_time)),
            ("end_time", Some(self.end_time)),
            ("room_opens_at", self.room_opens_at),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| !YEARS.contains(&time.year())) {
                let years = format!("must be in the years {} to {}", YEARS.start(), YEARS.end());
                return Err(field(name, &years));
            }
        }
        if self.end_time <= self.start_time {
            return Err(field("end_time", "must be after start_time"));
        }
        let room_opens_at = self.room_opens_at.unwrap_or(self.start_time - ROOM_BEFORE_START);
        if room_opens_at > self.start_time {
            return Err(field("room_opens_at", "must not be after start_time"));
        }
        let total_stock = range("total_stock", self.total_stock, 1, i64::from(MAX_STOCK))? as u32;
        // What the whole sale may bring must be countable, and with it every order of it.
        if sale_price.checked_mul(i64::from(total_stock)).is_none() {
            return Err(field(
                "sale_price",
                "times total_stock is more than can be counted",
            ));
        }
        let lanes = range(
            "lanes",
            self.lanes,
            1,
            i64::from(MAX_LANES).min(i64::from(total_stock)),
        )? as u32;
        let most_units = i64::from(MAX_QUANTITY);
        let per_shopper_limit = range("per_shopper_limit", self.per_shopper_limit, 1, most_units)?;
        let per_device_limit = match self.per_device_limit {
            Some(limit) => range("per_device_limit", limit, 1, most_units)?,
            None => per_shopper_limit,
        };
        if let Some(beacon) = &self.beacon {
            text("beacon", beacon.trim(), 1)?;
            if self.allocation != Allocation::Draw {
                return Err(field("beacon", "is for sales with the allocation draw"));
            }
        }
        let time = |name: &str, ms: i64| {
            Ok::<u64, Problem>(range(name, ms, MIN_TIME_MS as i64, MAX_TIME_MS as i64)? as u64)
        };
        let now = clock::now();
        Ok(Sale {
            id: SaleId::from_parts(now.timestamp_millis().max(0) as u64, rand::random()),
            merchant: merchant.to_owned(),
            product_id,
            product_name: self.product_name.trim().to_owned(),
            description: self.description,
            currency: self.currency,
            original_price,
            sale_price,
            total_stock,
            room_opens_at,
            start_time: self.start_time,
            end_time: self.end_time,
            per_shopper_limit: per_shopper_limit as u32,
            per_device_limit: per_device_limit as u32,
            hold_ms: time("hold_ms", self.hold_ms)?,
            claim_ms: time("claim_ms", self.claim_ms)?,
            payment_ms: time("payment_ms", self.payment_ms)?,
            inflow: range("inflow", self.inflow, 1, i64::from(MAX_INFLOW))? as u32,
            allocation: self.allocation,
            draw_weight: self.draw_weight,
            inflow_cut_at: None,
            opening_seed: match self.opening {
                OpeningOrder::Fifo => None,
                OpeningOrder::Shuffle => Some(Seed(rand::random())),
            },
            priority_share: range("priority_share", self.priority_share, 0, 100)? as u32,
            absence_ms: time("absence_ms", self.absence_ms)?,
            status: Phase::Scheduled,
            created_at: now,
            lanes: split(total_stock, lanes),
        })
    }
}

fn range(name: &str, value: i64, least: i64, most: i64) -> Result<i64, Problem> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(field(
            name,
            &format!("must be a whole number from {least} to {most}"),
        ))
    }
}

/// Shares the stock between the lanes; the first ones take what is over.
fn split(stock: u32, lanes: u32) -> Vec<LaneInfo> {
    (0..lanes)
        .map(|lane| LaneInfo {
            lane: lane as u16,
            epoch: 1,
            supply: stock / lanes + u32::from(lane < stock % lanes),
            allocated: 0,
            confirmed: 0,
        })
        .collect()
}

/// Writes a checked sale and opens its lanes. The seed of its draw, or of the draw of what is left at its end, is made here: nothing
/// that came before can depend on it.
pub async fn open(app: &App, sale: &Sale, beacon: Option<String>) -> Result<(), Error> {
    let draw = NewDraw {
        seed: Seed(rand::random()),
        beacon_source: beacon,
    };
    // Redis first: whoever finds the sale in Postgres finds its lanes open. Without the sale nobody knows of them.
    app.stock.open_sale(sale).await?;
    for info in &sale.lanes {
        app.stock.new_lane(sale, *info).await?;
    }
    app.store.create_sale(sale, Some(&draw)).await?;
    app.sale_made.notify_one();
    app.sale_changed(sale.id).await
}

/// Create a sale.
#[utoipa::path(
    post,
    path = "/admin/sales",
    operation_id = "createSale",
    tag = "admin",
    responses((status = 201, description = "The sale.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    operator: Operator,
    Json(body): Json<SaleBody>,
) -> Result<(StatusCode, axum::Json<SaleView>), Problem> {
    let beacon = body.beacon.clone();
    let sale = body.check(operator.0.shopper.as_str())?;
    if sale.end_time <= clock::now() {
        return Err(field("end_time", "must be in the future"));
    }
    open(&app, &sale, beacon).await?;
    Ok((StatusCode::CREATED, axum::Json(view(&app, sale).await?)))
}

/// The sales that one may steer.
///
/// Admins see all, merchants their own.
#[utoipa::path(
    get,
    path = "/admin/sales",
    operation_id = "listOwnSales",
    tag = "admin",
    responses((status = 200, description = "The sales.", body = SaleList)),
    security(("token" = [])),
)]
pub async fn list(State(app): State<Arc<App>>, operator: Operator) -> Result<axum::Json<SaleList>, Problem> {
    Ok(axum::Json(views(&app, operator.sees()).await?))
}

/// One sale.
#[utoipa::path(
    get,
    path = "/admin/sales/{sale_id}",
    operation_id = "showOwnSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The sale.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
) -> Result<axum::Json<SaleView>, Problem> {
    let sale = operator.sale(&app, id).await?;
    Ok(axum::Json(view(&app, sale).await?))
}

/// Pause a sale.
///
/// No more claims and reservations; carts and checkouts go on.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/pause",
    operation_id = "pauseSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The sale, paused.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn pause(
    state: State<Arc<App>>,
    operator: Operator,
    sale: SalePath,
) -> Result<axum::Json<SaleView>, Problem> {
    change(
        state.0,
        operator,
        sale.0,
        &[Phase::Scheduled, Phase::Waiting, Phase::Live],
        Phase::Paused,
    )
    .await
}

/// Resume a paused sale.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/resume",
    operation_id = "resumeSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The sale, where the clock has it.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn resume(
    state: State<Arc<App>>,
    operator: Operator,
    sale: SalePath,
) -> Result<axum::Json<SaleView>, Problem> {
    // Back to the beginning: by the clock it is then where it belongs.
    change(state.0, operator, sale.0, &[Phase::Paused], Phase::Scheduled).await
}

/// End a sale now.
///
/// What is in carts and checkouts may still be bought. A draw's entries close, and it is held; so is that of what is left of a
/// first-come sale while people wait for it.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/end",
    operation_id = "endSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The sale, ended.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn end(
    state: State<Arc<App>>,
    operator: Operator,
    sale: SalePath,
) -> Result<axum::Json<SaleView>, Problem> {
    let from = [Phase::Scheduled, Phase::Waiting, Phase::Live, Phase::Paused];
    let to = ending::phase(&state.0, &operator.sale(&state.0, sale.0).await?).await?;
    change(state.0, operator, sale.0, &from, to).await
}

/// How many units a sale is to have in all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SupplyBody {
    #[schema(minimum = 1, maximum = 100_000_000)]
    pub total_stock: i64,
}

/// Change how many units a sale has.
///
/// At any time before its end. Units that are sold or in carts cannot be taken away: the refusal says how few it can be.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/supply",
    operation_id = "changeSupply",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    request_body = SupplyBody,
    responses((status = 200, description = "The sale with its new stock.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn change_supply(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
    Json(body): Json<SupplyBody>,
) -> Result<axum::Json<SaleView>, Problem> {
    let total = range("total_stock", body.total_stock, 1, i64::from(MAX_STOCK))? as u32;
    let sale = operator.sale(&app, id).await?;
    match sale.phase_at(app.stock.clock().await?) {
        Phase::Ended => return Err(Code::SaleEnded.into()),
        // The units that are drawn for are published.
        Phase::Drawing => return Err(Code::SaleWrongState.into()),
        _ => {}
    }
    let changed = supply::change(&app, &sale, total, operator.0.shopper.as_str()).await?;
    app.sale_changed(id).await?;
    match changed {
        Changed::Ok => Ok(axum::Json(view(&app, operator.sale(&app, id).await?).await?)),
        Changed::InUse { least } => Err(Problem(Reject::because(
            Code::SupplyInUse,
            format!("total_stock can be {least} at the least now: the other units are sold or in carts."),
        ))),
    }
}

/// The value that nobody knew when the entries closed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeaconBody {
    #[schema(min_length = 1, max_length = 1_024, pattern = "^[ -~]*$")]
    pub value: String,
}

/// Give a draw the value of its beacon.
///
/// When the root of the entries is published, and once: the draw is held with it.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/beacon",
    operation_id = "setBeacon",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    request_body = BeaconBody,
    responses((status = 200, description = "What is published of the draw.", body = Draw)),
    security(("token" = [])),
)]
pub async fn set_beacon(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
    Json(body): Json<BeaconBody>,
) -> Result<axum::Json<Draw>, Problem> {
    let value = body.value.trim();
    let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if value.is_empty() || value.len() > MAX_BEACON_BYTES || !printable {
        return Err(field("value", "must be 1 to 1024 printable ASCII characters"));
    }
    operator.sale(&app, id).await?;
    app.store.draw(id).await?.ok_or(Code::NoDraw)?;
    if !app
        .store
        .set_beacon(id, value, operator.0.shopper.as_str())
        .await?
    {
        return Err(Problem(Reject::because(
            Code::SaleWrongState,
            "This draw takes no beacon now: it has one, or awaits none, or its entries have not closed.",
        )));
    }
    let row = app.store.draw(id).await?.ok_or(Code::NoDraw)?;
    Ok(axum::Json(row.public))
}

/// How many entries are called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InflowBody {
    /// Per 100 ms, at most.
    #[schema(minimum = 1, maximum = 100_000)]
    pub inflow: i64,
}

/// Change how fast the line is let in.
///
/// At any time before the sale's end and its draw; to stop altogether, pause the sale.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/inflow",
    operation_id = "changeInflow",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    request_body = InflowBody,
    responses((status = 200, description = "The sale with its new inflow.", body = SaleView)),
    security(("token" = [])),
)]
pub async fn change_inflow(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
    Json(body): Json<InflowBody>,
) -> Result<axum::Json<SaleView>, Problem> {
    let inflow = range("inflow", body.inflow, 1, i64::from(MAX_INFLOW))? as u32;
    let sale = operator.sale(&app, id).await?;
    match sale.phase_at(app.stock.clock().await?) {
        Phase::Ended | Phase::Cancelled => return Err(Code::SaleEnded.into()),
        // Nobody is let in any more.
        Phase::Drawing => return Err(Code::SaleWrongState.into()),
        _ => {}
    }
    if app
        .store
        .set_inflow(id, inflow, operator.0.shopper.as_str())
        .await?
    {
        app.sale_changed(id).await?;
    }
    Ok(axum::Json(view(&app, operator.sale(&app, id).await?).await?))
}

async fn change(
    app: Arc<App>,
    operator: Operator,
    id: SaleId,
    from: &[Phase],
    to: Phase,
) -> Result<axum::Json<SaleView>, Problem> {
    let sale = operator.sale(&app, id).await?;
    let phase = sale.phase_at(app.stock.clock().await?);
    let over = matches!(phase, Phase::Drawing | Phase::Ended);
    if over
        || !app
            .store
            .set_status(id, from, to, operator.0.shopper.as_str())
            .await?
    {
        let now = crate::sale::phase_word(if over { phase } else { sale.status });
        return Err(Problem(Reject::because(
            Code::SaleWrongState,
            format!("The sale is {now}."),
        )));
    }
    let sale = operator.sale(&app, id).await?;
    reconcile::open(&app, &sale).await?;
    app.sale_changed(id).await?;
    Ok(axum::Json(view(&app, sale).await?))
}
