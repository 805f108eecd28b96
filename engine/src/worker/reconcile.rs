//! Brings Redis into line with Postgres: ends unpaid orders, returns their units, settles half-finished checkouts, reopens lost
//! lanes, and measures differences between the two.

use super::{Led, repeat};
use crate::{
    error::{Error, Result},
    sale::{LaneInfo, LaneRef},
    settle::{
        checkout::return_units,
        disaster,
        lanes::{open, rebuild, reopened},
        supply,
    },
    shop::Shop,
    stock::{Counters, rebuild::LaneLife},
    store::Cancelled,
    telemetry::name,
};
use flashsale_protocol::ServerMessage;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How often Postgres is asked for totals and overdue orders, and how often everything is compared.
const STEP: Duration = Duration::from_millis(250);
const COMPARE: Duration = Duration::from_secs(1);
/// How often each device's orders are counted; that reads all orders of a sale.
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
        .shop
        .store
        .same_device_orders(led.id, sale.per_device_limit)
        .await?;
    metrics::gauge!(name::SAME_DEVICE_ORDERS, "sale" => led.id.to_string()).set(orders as f64);
    Ok(COUNT_DEVICES)
}

async fn step(led: &Led, compared: &mut Option<Instant>) -> Result<Duration> {
    let shop = &led.shop;
    if led.is_stopped() {
        return Ok(STEP);
    }
    // This comes first, because a lost lane refuses everything below.
    if compared.is_none_or(|at| at.elapsed() >= COMPARE) || is_lost(led).await? {
        compare(led).await?;
        *compared = Some(Instant::now());
    }
    let lanes = shop.store.lanes(led.id).await?;
    let unpaid: u64 = lanes.iter().map(LaneInfo::unpaid).sum();
    led.set_unpaid(unpaid);
    // In a Postgres that was just restored, a paid order may look unpaid.
    if unpaid > 0 && !led.is_unsettled() && !disaster::is_stopped(shop, &*led.sale().await?).await? {
        let cancelled = shop.store.cancel_unpaid(led.id).await?;
        for Cancelled { order, .. } in &cancelled {
            shop.live.tell(
                order.sale,
                order.shopper.clone(),
                ServerMessage::Order(order.view()),
            );
        }
        if !cancelled.is_empty()
            && let Err(error) = return_units(shop, &cancelled).await
        {
            // The next comparison finds them, and the cause.
            *compared = None;
            return Err(error);
        }
        led.freed.notify_one();
    }
    Ok(STEP)
}

/// Whether a lane differs from what this leader knows.
async fn is_lost(led: &Led) -> Result<bool> {
    for at in led.sale().await?.lane_refs() {
        if led.shop.stock.probe_lane(at).await? != LaneLife::Open {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn compare(led: &Led) -> Result<()> {
    let shop = &led.shop;
    let sale = shop
        .store
        .sale(led.id)
        .await?
        .ok_or_else(|| Error::unexpected("a sale has vanished"))?;
    if open(shop, &sale).await? {
        led.line.set_to_fill();
        return Ok(());
    }
    let waiting = shop.store.units_to_return(led.id).await?;
    return_units(shop, &waiting).await?;

    let mut in_redis = Vec::new();
    for (info, at) in sale.lanes.iter().zip(sale.lane_refs()) {
        in_redis.push(end_moves(shop, info, at).await?);
    }
    // Postgres was read before and after Redis: a value between the two readings was under way.
    let since = shop.store.lanes(led.id).await?;
    let (mut divergence, mut oversold, mut unbalanced) = (0, 0, 0);
    let mut all = Counters::default();
    for ((at, counters), (before, after)) in sale.lane_refs().zip(in_redis).zip(sale.lanes.iter().zip(&since))
    {
        let apart = units_apart(&counters, before, after);
        all.add(counters);
        unbalanced += counters.unbalanced();
        divergence += apart;
        oversold += u64::from(after.allocated.saturating_sub(after.supply));
        if led.stays_apart(at, apart > 0 || !counters.balanced()) {
            tracing::error!(sale = %led.id, lane = at.lane, ?counters, ?after, "a lane disagrees with Postgres");
            rebuild(shop, &sale, at, at.epoch).await?;
            reopened(shop, led.id).await?;
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

/// Gives a lane its missing changes of supply, and ends moves that were left half-way.
pub async fn end_moves(shop: &Shop, info: &LaneInfo, at: LaneRef) -> Result<Counters> {
    let counters = shop.stock.counters(at).await?;
    let is_behind = counters.supply_version < info.supply_version;
    if is_behind {
        supply::catch_up(shop, at, counters.supply_version).await?;
    }
    if counters.leaving > 0 {
        supply::end_left_moves(shop, at, supply::MOVE_TIME).await?;
    }
    if is_behind || counters.leaving > 0 {
        return shop.stock.counters(at).await;
    }
    Ok(counters)
}

/// Units by which Redis and Postgres differ in a lane and that nothing under way explains. Postgres was read before and after
/// Redis.
pub fn units_apart(counters: &Counters, before: &LaneInfo, after: &LaneInfo) -> u64 {
    // While checkouts run, Postgres may have an order whose units are still in `ordering`.
    let least = u64::from(before.allocated.min(after.allocated));
    let most = u64::from(before.allocated.max(after.allocated));
    let sold = least.saturating_sub(counters.sold + counters.ordering)
        + counters.sold.saturating_sub(most + counters.ordering);
    let same_version = [before, after]
        .into_iter()
        .filter(|info| info.supply_version == counters.supply_version)
        .map(|info| counters.supply.abs_diff(info.supply.into()))
        .min();
    let between = (before.supply_version..after.supply_version).contains(&counters.supply_version);
    sold + match same_version {
        Some(units) => units,
        None if between => 0,
        None => counters.supply.abs_diff(after.supply.into()).max(1),
    }
}
