//! Creates, lists and steers sales, for operators.

mod body;

pub use body::SaleBody;

use super::{
    Operator,
    command::{self, Done, IfMatch, Instruction, Numbers, Versioned},
};
use crate::{
    app::App,
    rest::{
        IdempotencyKey, Problem, SalePath, field,
        sales::{Listing, SaleList, SaleView, page, view},
    },
};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use body::{MAX_INFLOW, MAX_STOCK, range, target_delay};
use flashsale_engine::{
    clock,
    error::Error,
    merchants::Merchant,
    payment::Provider,
    sale::{Sale, phase_word},
    settle::{
        ending,
        supply::{self, Changed},
    },
    store::{draws::NewDraw, merchants::MerchantRow},
};
use flashsale_protocol::{
    Code, Phase, Reject, SaleId,
    draw::{Draw, MAX_BEACON_BYTES, Seed},
};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// Refuses a sale that nobody could pay for, and says what to set.
async fn check_payments(app: &App, sale: &Sale) -> Result<(), Reject> {
    let payable = app.shop.check_payable(sale).await;
    payable.map_err(|reject| with_cure(app, reject))
}

/// The refusal, with what an operator can do about it.
fn with_cure(app: &App, reject: Reject) -> Reject {
    match reject.code {
        Code::PaymentsOff => Reject::because(
            Code::PaymentsOff,
            match app.shop.payments.provider {
                Provider::Merchant => {
                    "The shop has no checkout, so only a sale at the price 0 can be opened. Set its checkout_url \
                     (PATCH /admin/merchants/{merchant}, or the shop's page)."
                }
                _ => {
                    "No payment provider is set, so only a sale at the price 0 can be opened. Start every server with \
                     --payments sandbox (FLASHSALE_PAYMENTS=sandbox) for test money."
                }
            },
        ),
        _ => reject,
    }
}

/// Creates a checked sale without an operator's command.
pub async fn open(app: &App, sale: &Sale, beacon: Option<String>) -> Result<(), Error> {
    let payable = check_payments(app, sale).await;
    payable.map_err(|reject| Error::unexpected(reject.message))?;
    open_lanes(app, sale).await?;
    app.shop.store.create_sale(sale, Some(&new_draw(beacon))).await?;
    app.shop.sale_made.notify_one();
    app.shop.sale_changed(sale.id).await
}

/// Opens a sale's lanes before the sale is in Postgres, so that nobody finds the sale without them. Until then nobody knows of
/// them.
async fn open_lanes(app: &App, sale: &Sale) -> Result<(), Error> {
    app.shop.stock.open_sale(sale).await?;
    app.shop.stock.begin_line(sale.id).await?;
    for info in &sale.lanes {
        app.shop.stock.new_lane(sale, *info).await?;
    }
    Ok(())
}

/// Makes the seed of a sale's draw, or of the draw of its remaining units, only now: nothing from before can depend on it.
fn new_draw(beacon: Option<String>) -> NewDraw {
    NewDraw {
        seed: Seed(rand::random()),
        beacon_source: beacon,
    }
}

/// Create a sale.
#[utoipa::path(
    post,
    path = "/admin/sales",
    operation_id = "createSale",
    tag = "admin",
    params(IdempotencyKey),
    request_body = SaleBody,
    responses((status = 201, description = "The sale.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn create(State(app): State<Arc<App>>, instruction: Instruction) -> Result<Done, Problem> {
    if instruction.is_conditional() {
        return Err(field("If-Match", "is for a sale that is there already"));
    }
    let body: SaleBody = instruction.json()?;
    let beacon = body.beacon.clone();
    let merchant = match &body.merchant {
        Some(name) => instruction.operator.merchant(&app, name).await?,
        None => own_merchant(&app, &instruction).await?,
    };
    if !merchant.row.is_active {
        return Err(Code::MerchantSuspended.into());
    }
    let mut sale = body.check(&merchant.row)?;
    sale.format = app.shop.new_format().await?;
    let (id, then) = (sale.id, app.clone());
    let done = command::run(&app, &instruction, id, StatusCode::CREATED, move |change| {
        Box::pin(async move {
            let numbers = Numbers::of_new(&then, &sale);
            // A known command may be repeated after its sale has ended.
            check_end(&sale)?;
            check_payments(&then, &sale).await?;
            open_lanes(&then, &sale).await?;
            if !change.has_room_for(&sale, merchant.row.open_sales).await? {
                return Err(Problem(Reject::because(
                    Code::QuotaReached,
                    format!(
                        "The shop has {} sales that are not over, and may have no more.",
                        merchant.row.open_sales
                    ),
                )));
            }
            change.create(&sale, &new_draw(beacon)).await?;
            numbers.view(change).await
        })
    })
    .await?;
    // An earlier request with this key may have created the sale.
    if let Some(made) = done.sale() {
        app.shop.sale_made.notify_one();
        app.shop.sale_changed(made).await?;
    }
    Ok(done)
}

/// The caller's own shop. With its first sale it is made; a sale that is refused makes none.
async fn own_merchant(app: &App, instruction: &Instruction) -> Result<Arc<Merchant>, Problem> {
    let (own, merchants) = (instruction.operator.own(), &app.shop.merchants);
    if merchants.by_id(own).is_none() {
        merchants.refresh().await?;
    }
    if merchants.by_id(own).is_none() {
        let row = MerchantRow::new(own);
        let sale = instruction.json::<SaleBody>()?.check(&row)?;
        check_end(&sale)?;
        let payable = app.shop.check_payable_at_new(sale.sale_price);
        payable.map_err(|reject| with_cure(app, reject))?;
    }
    Ok(merchants.of_operator(own).await?)
}

fn check_end(sale: &Sale) -> Result<(), Problem> {
    match sale.end_time > clock::now() {
        true => Ok(()),
        false => Err(field("end_time", "must be in the future")),
    }
}

/// The sales that the caller may manage.
///
/// Admins see all sales, merchants their own.
#[utoipa::path(
    get,
    path = "/admin/sales",
    operation_id = "listOwnSales",
    tag = "admin",
    params(Listing),
    responses((status = 200, description = "The sales.", body = SaleList)),
    security(("token" = [])),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    operator: Operator,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<axum::Json<SaleList>, Problem> {
    let Query(listing) = listing.map_err(|rejection| field("query", &rejection.body_text()))?;
    let wanted = listing.wanted(&app, operator.sees())?;
    Ok(axum::Json(page(&app, &wanted).await?))
}

/// One sale.
#[utoipa::path(
    get,
    path = "/admin/sales/{sale_id}",
    operation_id = "showOwnSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path)),
    responses((status = 200, description = "The sale.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    operator: Operator,
    SalePath(id): SalePath,
) -> Result<Versioned<SaleView>, Problem> {
    let sale = operator.sale(&app, id).await?;
    Ok(Versioned {
        version: sale.settings_version,
        of: view(&app, sale).await?,
    })
}

/// Pause a sale.
///
/// There are no more claims and reservations; carts and checkouts go on. A paused sale stays paused.
///
/// Refusal: `sale_wrong_state` if the sale has ended.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/pause",
    operation_id = "pauseSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "The sale, paused.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn pause(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let wanted = [Phase::Scheduled, Phase::Waiting, Phase::Live];
    move_to(&app, &instruction, sale, &wanted, &[Phase::Paused], Phase::Paused).await
}

/// Resume a paused sale.
///
/// A sale that is not paused stays as it is.
///
/// Refusals: `sale_wrong_state` if the sale has ended, `merchant_suspended` while its shop is, and `payments_off` if the sale has a
/// price and no payment provider is set.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/resume",
    operation_id = "resumeSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "The sale, where the clock has it.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn resume(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    if instruction.operator.sale(&app, sale).await?.is_suspended {
        return Err(Code::MerchantSuspended.into());
    }
    let running = [Phase::Scheduled, Phase::Waiting, Phase::Live];
    // Back to the first phase: the clock then moves it to the right one.
    move_to(
        &app,
        &instruction,
        sale,
        &[Phase::Paused],
        &running,
        Phase::Scheduled,
    )
    .await
}

/// End a sale now.
///
/// Units in carts and checkouts may still be bought. A draw's entries close, and the draw is held; so is the draw of a first-come
/// sale's remaining units, if people wait for them. A sale that has ended stays as it is.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/end",
    operation_id = "endSale",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    responses((status = 200, description = "The sale, ended.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn end(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let from = [Phase::Scheduled, Phase::Waiting, Phase::Live, Phase::Paused];
    let over = [Phase::Drawing, Phase::Ended];
    let to = ending::phase(&app.shop, &instruction.operator.sale(&app, id).await?).await?;
    move_to(&app, &instruction, id, &from, &over, to).await
}

/// The number of units that a sale should have in all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SupplyBody {
    #[schema(minimum = 1, maximum = 100_000_000)]
    pub total_stock: i64,
}

/// Change how many units a sale has.
///
/// Possible at any time before its end. Units that are sold or in carts cannot be taken away; the refusal says how few are
/// possible.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/supply",
    operation_id = "changeSupply",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    request_body = SupplyBody,
    responses((status = 200, description = "The sale with its new stock.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub async fn change_supply(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let body: SupplyBody = instruction.json()?;
    let total = range("total_stock", body.total_stock, 1, i64::from(MAX_STOCK))? as u32;
    let numbers = Numbers::of(&app, instruction.operator.sale(&app, id).await?).await?;
    let (tell, told) = oneshot::channel();
    let shop = app.shop.clone();
    let done = command::run(&app, &instruction, id, StatusCode::OK, move |change| {
        Box::pin(async move {
            let sale = change.sale().await?;
            match sale.phase_at(numbers.now) {
                Phase::Ended | Phase::Cancelled => return Err(Code::SaleEnded.into()),
                // The number of units to be drawn for is published already.
                Phase::Drawing => return Err(Code::SaleWrongState.into()),
                _ => {}
            }
            let actor = change.actor();
            let prepared = supply::prepare(&shop, change.connection(), &sale, total, actor).await?;
            let answer = match prepared.changed {
                Changed::Ok => {
                    if sale.total_stock != total {
                        change.raise_version().await?;
                    }
                    let more = i64::from(total) - i64::from(sale.total_stock);
                    numbers.with_more(more).view(change).await
                }
                Changed::InUse { least } => Err(Problem(Reject::because(
                    Code::SupplyInUse,
                    format!("total_stock cannot be less than {least} now: those units are sold or in carts."),
                ))),
            };
            let _ = tell.send(prepared);
            answer
        })
    })
    .await;
    // If it is unknown whether it was committed, the reconciler finds out.
    if let (Ok(prepared), Ok(done)) = (told.await, &done) {
        if done.is_refused() {
            prepared.undo(&app.shop).await?;
        } else {
            prepared.follow(&app.shop).await;
        }
    }
    let done = done?;
    command::spread(&app, &done, id).await?;
    Ok(done)
}

/// A value that nobody knew when the entries closed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeaconBody {
    #[schema(min_length = 1, max_length = 1_024, pattern = "^[ -~]*$")]
    pub value: String,
}

/// Give a draw the value of its beacon.
///
/// Possible once, after the root of the entries is published; the draw is held with it.
///
/// Refusals: `no_draw`, and `sale_wrong_state` if the draw takes no value now.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/beacon",
    operation_id = "setBeacon",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    request_body = BeaconBody,
    responses((status = 200, description = "What is published of the draw.", body = Versioned<Draw>)),
    security(("token" = [])),
)]
pub(crate) async fn set_beacon(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let body: BeaconBody = instruction.json()?;
    let value = body.value.trim().to_owned();
    let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if value.is_empty() || value.len() > MAX_BEACON_BYTES || !printable {
        return Err(field("value", "must be 1 to 1024 printable ASCII characters"));
    }
    instruction.operator.sale(&app, id).await?;
    let done = command::run(&app, &instruction, id, StatusCode::OK, move |change| {
        Box::pin(async move {
            change.draw().await?.ok_or(Code::NoDraw)?;
            if !change.set_beacon(&value).await? {
                return Err(Problem(Reject::because(
                    Code::SaleWrongState,
                    "This draw takes no beacon now: it has one, or awaits none, or its entries have not closed.",
                )));
            }
            let draw = change.draw().await?.ok_or(Code::NoDraw)?.public;
            Versioned::in_change(draw, change)
        })
    })
    .await?;
    app.shop.forget_sale(id).await;
    Ok(done)
}

/// The speed at which entries are called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InflowBody {
    /// Most entries per 100 ms.
    #[schema(minimum = 1, maximum = 100_000)]
    pub inflow: i64,
    /// Fewer people are let in while the slowest step of a purchase takes longer than this on average, in ms. Absent: as it is.
    #[serde(default)]
    #[schema(minimum = 10, maximum = 10_000)]
    pub target_delay_ms: Option<i64>,
}

/// Change how fast the line is let in.
///
/// At most `inflow` entries are called in 100 ms, and fewer while the shop cannot carry as many: while the slowest step of a
/// purchase takes longer than `target_delay_ms` on average (`carried` in the sale's metrics).
///
/// Possible at any time before the sale's end and its draw; to stop the line altogether, pause the sale.
///
/// Refusals: `sale_ended`, and `sale_wrong_state` while its draw is held.
#[utoipa::path(
    post,
    path = "/admin/sales/{sale_id}/inflow",
    operation_id = "changeInflow",
    tag = "admin",
    params(("sale_id" = SaleId, Path), IdempotencyKey, IfMatch),
    request_body = InflowBody,
    responses((status = 200, description = "The sale with its new inflow.", body = Versioned<SaleView>)),
    security(("token" = [])),
)]
pub(crate) async fn change_inflow(
    State(app): State<Arc<App>>,
    SalePath(id): SalePath,
    instruction: Instruction,
) -> Result<Done, Problem> {
    let body: InflowBody = instruction.json()?;
    let inflow = range("inflow", body.inflow, 1, i64::from(MAX_INFLOW))? as u32;
    let target_delay_ms = body.target_delay_ms.map(target_delay).transpose()?;
    let numbers = Numbers::of(&app, instruction.operator.sale(&app, id).await?).await?;
    let done = command::run(&app, &instruction, id, StatusCode::OK, move |change| {
        Box::pin(async move {
            let sale = change.sale().await?;
            match sale.phase_at(numbers.now) {
                Phase::Ended | Phase::Cancelled => return Err(Code::SaleEnded.into()),
                // The draw is on: nobody is let in from the line any more.
                Phase::Drawing => return Err(Code::SaleWrongState.into()),
                _ => {}
            }
            if sale.inflow != inflow {
                change.set_inflow(sale.inflow, inflow).await?;
            }
            if let Some(ms) = target_delay_ms.filter(|ms| *ms != sale.target_delay_ms) {
                change.set_target_delay(sale.target_delay_ms, ms).await?;
            }
            numbers.view(change).await
        })
    })
    .await?;
    command::spread(&app, &done, id).await?;
    Ok(done)
}

/// Moves a sale from one of `from` to `to`. A sale in one of `there` stays as it is.
async fn move_to(
    app: &App,
    instruction: &Instruction,
    id: SaleId,
    from: &[Phase],
    there: &[Phase],
    to: Phase,
) -> Result<Done, Problem> {
    let sale = instruction.operator.sale(app, id).await?;
    let opening = match to {
        Phase::Scheduled => check_payments(app, &sale).await,
        _ => Ok(()),
    };
    let numbers = Numbers::of(app, sale).await?;
    let (from, there) = (from.to_vec(), there.to_vec());
    let done = command::run(app, instruction, id, StatusCode::OK, move |change| {
        Box::pin(async move {
            let sale = change.sale().await?;
            let by_clock = sale.phase_at(numbers.now);
            // The clock says that it has ended; its worker writes that in a moment.
            let now = match by_clock {
                Phase::Drawing | Phase::Ended => by_clock,
                _ => sale.status,
            };
            if from.contains(&now) {
                opening?;
                change.set_status(to).await?;
            } else if !there.contains(&now) {
                let now = phase_word(now);
                let text = format!("The sale is {now}.");
                return Err(Problem(Reject::because(Code::SaleWrongState, text)));
            }
            numbers.view(change).await
        })
    })
    .await?;
    command::spread(app, &done, id).await?;
    Ok(done)
}
