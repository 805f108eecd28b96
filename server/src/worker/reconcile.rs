//! Holds Redis to what Postgres says: unpaid orders end, their units come back, checkouts that were left half-way are
//! settled, lost lanes are opened anew, and a difference between the two is measured.

use super::{Led, repeat};
use crate::{
    app::App,
    error::{Error, Result},
    mutation::Mutation,
    sale::{LaneRef, Sale},
    stock::{
        Counters, Finish, RecordState,
        rebuild::{LaneLife, settle},
    },
    store::OrderRow,
    telemetry::name,
};
use flashsale_protocol::{
    DeviceId, Entry, EntryState, Hold, HoldState, OrderId, OrderStatus, Phase, Reason, SaleId, ServerMessage,
    ShopperId,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How often Postgres is asked for a sale's totals and its overdue orders, and how often all is compared.
const STEP: Duration = Duration::from_millis(250);
const COMPARE: Duration = Duration::from_secs(1);
/// How often the orders of each device are counted: that reads all of a sale's orders.
const COUNT_DEVICES: Duration = Duration::from_secs(30);

pub async fn run(led: &Led) {
    let compared = Mutex::new(None);
    let settling = repeat("reconcile", led.id, || async {
        step(led, &mut *compared.lock().await).await
    });
    tokio::join!(settling, repeat("count devices", led.id, || count_devices(led)));
}

async fn count_devices(led: &Led) -> Result<Duration> {
    let sale = led.sale().await?;
    let orders = led
        .app
        .store
        .same_device_orders(led.id, sale.per_device_limit)
        .await?;
    metrics::gauge!(name::SAME_DEVICE_ORDERS, "sale" => led.id.to_string()).set(orders as f64);
    Ok(COUNT_DEVICES)
}

async fn step(led: &Led, compared: &mut Option<Instant>) -> Result<Duration> {
    let app = &led.app;
    // First: a lost lane refuses all that comes below.
    if compared.is_none_or(|at| at.elapsed() >= COMPARE) {
        compare(led).await?;
        *compared = Some(Instant::now());
    }
    let lanes = app.store.lanes(led.id).await?;
    let unpaid: u64 = lanes
        .iter()
        .map(|lane| u64::from(lane.allocated - lane.confirmed))
        .sum();
    led.set_unpaid(unpaid);
    if unpaid > 0 {
        let cancelled = app.store.cancel_unpaid(led.id).await?;
        for row in &cancelled {
            app.live
                .tell(row.sale, row.shopper.clone(), ServerMessage::Order(row.view()));
        }
        if !cancelled.is_empty()
            && let Err(error) = return_units(app, &*led.sale().await?, &cancelled).await
        {
            // The next comparison finds them, and what is wrong.
            *compared = None;
            return Err(error);
        }
        led.freed.notify_one();
    }
    Ok(STEP)
}

async fn compare(led: &Led) -> Result<()> {
    let app = &led.app;
    let sale = app
        .store
        .sale(led.id)
        .await?
        .ok_or_else(|| Error::unexpected("a sale has vanished"))?;
    if open(app, &sale).await? {
        return Ok(());
    }
    let waiting = app.store.units_to_return(led.id).await?;
    return_units(app, &sale, &waiting).await?;

    let (mut divergence, mut oversold, mut unbalanced) = (0, 0, 0);
    let mut all = Counters::default();
    for (info, at) in sale.lanes.iter().zip(sale.lane_refs()) {
        let mut counters = app.stock.counters(at).await?;
        // Postgres says what a lane may sell: whatever left the two apart, Redis follows.
        if counters.supply != u64::from(info.supply) {
            app.stock.set_supply(at, u64::from(info.supply)).await?;
            counters = app.stock.counters(at).await?;
        }
        all.add(counters);
        unbalanced += counters.unbalanced();
        // While checkouts run, an order may be in Postgres and its units still in `ordering`.
        let allocated = u64::from(info.allocated);
        let apart = allocated.saturating_sub(counters.sold + counters.ordering)
            + counters.sold.saturating_sub(allocated + counters.ordering);
        divergence += apart;
        oversold += allocated.saturating_sub(u64::from(info.supply));
        if led.stays_apart(at, apart > 0 || !counters.balanced()) {
            tracing::error!(sale = %led.id, lane = at.lane, ?counters, allocated, "a lane disagrees with Postgres");
            rebuild(app, &sale, at, at.epoch).await?;
            reopened(app, led.id).await?;
        }
    }
    let gauges = [
        (name::DIVERGENCE, divergence),
        (name::OVERSOLD, oversold),
        (name::UNBALANCED, unbalanced),
        (name::RESERVATIONS, all.reservations),
        (name::RESERVATIONS_EXPIRED, all.expired),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name, "sale" => led.id.to_string()).set(value as f64);
    }
    Ok(())
}

/// Writes a sale's settings to Redis. Lanes that Redis has lost, wholly or in part, begin a new life from what Postgres
/// has sold and from the records that are left. True: at least one did.
pub async fn open(app: &App, sale: &Sale) -> Result<bool> {
    app.stock.open_sale(sale).await?;
    let mut rebuilt = false;
    for (info, at) in sale.lanes.iter().zip(sale.lane_refs()) {
        let above = match app.stock.probe_lane(at).await? {
            LaneLife::Open => {
                if sale.status == Phase::Drawing {
                    // Before the lane goes on: from now on only those drawn may reserve, also where nobody had waited.
                    let now_us = app.stock.now().await? * 1000;
                    app.stock.close_gate(at, now_us).await?;
                }
                app.stock.open_lane(sale, *info, 0, 0).await?;
                continue;
            }
            LaneLife::Lost => 0,
            LaneLife::OtherEpoch(epoch) => epoch,
        };
        rebuild(app, sale, at, above).await?;
        rebuilt = true;
    }
    if rebuilt {
        reopened(app, sale.id).await?;
    }
    Ok(rebuilt)
}

/// Gateways look after those who have lost something with a lane's old life.
async fn reopened(app: &App, sale: SaleId) -> Result<()> {
    app.forget_sale(sale).await;
    let life = app.find_sale(sale).await?.map_or(0, |sale| sale.life());
    app.live.reopened(sale, life).await
}

/// One lane's new life. Two workers at once do no harm: the later epoch fences the earlier one off at every step.
async fn rebuild(app: &App, sale: &Sale, at: LaneRef, above: u32) -> Result<()> {
    let began = Instant::now();
    // The epoch first: commits that are on their way under an old one are refused from here on.
    let epoch = app.store.raise_epoch(sale.id, at.lane, above).await?;
    let at = LaneRef { epoch, ..at };
    let records = app.stock.lock_lane(at).await?;
    // Now that nothing moves: units that came back between these two would be counted as sold, and never come again.
    let snapshot = app.store.lane_snapshot(at).await?;
    let settled = settle(records, &snapshot, sale);
    app.stock.refill_lane(at, &settled, &snapshot).await?;
    app.stock
        .open_lane(sale, snapshot.info, settled.claimed, settled.held)
        .await?;
    metrics::counter!(name::REBUILDS, "sale" => sale.id.to_string()).increment(1);
    tracing::warn!(
        sale = %sale.id, lane = at.lane, epoch = at.epoch, allocated = snapshot.info.allocated, claimed = settled.claimed,
        held = settled.held, revoked = settled.revoked.len(), took_ms = began.elapsed().as_millis() as u64,
        "a lost lane has begun a new life"
    );
    let now = app.stock.clock().await?;
    for record in settled.revoked {
        let message = if record.state == RecordState::Lapsed {
            ServerMessage::Entry(Entry {
                reason: Some(Reason::StockLost),
                ..Entry::settled(sale.id, EntryState::Lapsed, record.quantity, now)
            })
        } else {
            ServerMessage::Hold(Hold {
                reason: Some(Reason::StockLost),
                ..Hold::ended(sale.id, HoldState::Revoked, record.quantity, now)
            })
        };
        app.live.tell(sale.id, record.shopper, message);
    }
    Ok(())
}

/// Gives the units of cancelled orders back to their lanes, then notes in Postgres that it is done.
pub async fn return_units(app: &App, sale: &Sale, cancelled: &[OrderRow]) -> Result<()> {
    let mut by_lane: HashMap<u16, Vec<&OrderRow>> = HashMap::new();
    for row in cancelled {
        by_lane.entry(row.lane).or_default().push(row);
    }
    for (lane, rows) in by_lane {
        let Some(at) = sale.lane_refs().find(|at| at.lane == lane) else {
            continue;
        };
        let items: Vec<_> = rows.iter().map(|row| row.on_lane()).collect();
        app.stock.return_units(at, &items).await?;
        if Mutation::ReturnTwice.is_on() {
            app.stock.return_units(at, &items).await?;
        }
        app.store
            .mark_returned(&rows.iter().map(|row| row.order).collect::<Vec<_>>())
            .await?;
    }
    Ok(())
}

/// A checkout whose gateway has not finished it in time.
pub struct Checkout {
    pub at: LaneRef,
    pub shopper: ShopperId,
    pub quantity: u32,
    pub device: DeviceId,
    pub order: OrderId,
}

/// Asks Postgres by the order's id, and finishes the checkout accordingly.
pub async fn settle_checkout(app: &App, sale: &Sale, checkout: Checkout) -> Result<()> {
    let Checkout {
        at,
        shopper,
        quantity,
        device,
        order,
    } = checkout;
    let row = app.store.settle_abandoned(at, order, &shopper, &device).await?;
    let now = app.stock.clock().await?;
    let outcome = match (row.status, row.quantity) {
        (OrderStatus::Pending | OrderStatus::Confirmed, _) => {
            let hold = row.hold_command.clone();
            app.stock
                .finish_checkout(at, shopper.clone(), order, Finish::Committed { hold })
                .await?;
            app.live.tell(sale.id, shopper, ServerMessage::Order(row.view()));
            "committed"
        }
        (OrderStatus::Cancelled, 0) => {
            app.stock
                .finish_checkout(at, shopper.clone(), order, Finish::Refused)
                .await?;
            let hold = Hold {
                reason: Some(Reason::CheckoutFailed),
                ..Hold::ended(sale.id, HoldState::Revoked, quantity, now)
            };
            app.live.tell(sale.id, shopper, ServerMessage::Hold(hold));
            "abandoned"
        }
        (OrderStatus::Cancelled, _) => {
            return_units(app, sale, std::slice::from_ref(&row)).await?;
            "cancelled"
        }
    };
    metrics::counter!(name::SETTLED, "outcome" => outcome).increment(1);
    tracing::info!(%order, outcome, "a checkout that was left half-way is settled");
    Ok(())
}
