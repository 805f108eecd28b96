//! The invariants, after the run: what Redis and Postgres say, held against each other and against what shoppers saw.

use super::history::History;
use anyhow::{Context, Result};
use flashsale::{
    stock::{Counters, Stock},
    store::Store,
};
use flashsale_protocol::{OrderStatus, SaleId};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(100);

pub struct Settled {
    pub counters: Counters,
    pub total: u64,
    pub allocated: u64,
    pub took: Duration,
    /// Units that are neither sold nor for sale.
    pub leaked: u64,
}

/// Waits until nothing is under way any more: every unit sold or for sale.
pub async fn settle(database_url: &str, redis_url: &str, sale: SaleId, within: Duration) -> Result<Settled> {
    let store = Store::connect(database_url, 2).await?;
    let stock = Stock::connect(redis_url, "").await?;
    let since = Instant::now();
    let settled = loop {
        let row = store.sale(sale).await?.context("the sale has vanished")?;
        let allocated: u64 = row.lanes.iter().map(|lane| u64::from(lane.allocated)).sum();
        let unpaid: u64 = row
            .lanes
            .iter()
            .map(|lane| u64::from(lane.allocated - lane.confirmed))
            .sum();
        let counters = stock.sale_counters(&row).await.unwrap_or_default();
        let total = u64::from(row.total_stock);
        let settled = Settled {
            leaked: total.saturating_sub(counters.available + allocated.min(counters.sold)),
            counters,
            total,
            allocated,
            took: since.elapsed(),
        };
        let payments = store.unsettled().await?.len() as u64;
        let at_rest = counters.claimed + counters.held + counters.ordering + unpaid + payments == 0;
        let agrees = counters.balanced() && counters.sold == allocated && counters.supply == total;
        if (at_rest && agrees && settled.leaked == 0) || since.elapsed() > within {
            break settled;
        }
        tokio::time::sleep(POLL).await;
    };
    stock.quit().await;
    store.close().await;
    Ok(settled)
}

/// Waits until every unit is in a paid order, or until none was paid for in this time.
pub async fn sold_out(database_url: &str, sale: SaleId, within: Duration) -> Result<()> {
    let store = Store::connect(database_url, 1).await?;
    let (mut since, mut paid) = (Instant::now(), 0);
    while since.elapsed() < within {
        let lanes = store.lanes(sale).await?;
        let now: u64 = lanes.iter().map(|lane| u64::from(lane.confirmed)).sum();
        if now > paid {
            (since, paid) = (Instant::now(), now);
        }
        if lanes.iter().all(|lane| lane.confirmed == lane.supply) {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    store.close().await;
    Ok(())
}

/// Notes every broken invariant in the history.
pub async fn check(
    database_url: &str,
    redis_url: &str,
    sale: SaleId,
    lost_lanes: bool,
    history: &History,
) -> Result<()> {
    let store = Store::connect(database_url, 2).await?;
    let stock = Stock::connect(redis_url, "").await?;
    let row = store.sale(sale).await?.context("the sale has vanished")?;
    let counters = stock.sale_counters(&row).await?;
    let orders = store.orders_of_sale(sale).await?;
    let broken = |who: &str, what: String| history.violation(who, what);

    if !counters.balanced() {
        broken("redis", format!("I1: the counters do not add up: {counters:?}"));
    }
    let live = |status: OrderStatus| status != OrderStatus::Cancelled;
    let units: u64 = orders
        .iter()
        .filter(|o| live(o.status))
        .map(|o| u64::from(o.quantity))
        .sum();
    let booked: u64 = row.lanes.iter().map(|lane| u64::from(lane.allocated)).sum();
    if units > u64::from(row.total_stock) {
        broken(
            "postgres",
            format!("I2: {units} units in orders, {} may be sold", row.total_stock),
        );
    }
    if booked != units {
        broken(
            "postgres",
            format!("I2: orders hold {units} units, the lanes' rows say {booked}"),
        );
    }

    let mut of_shopper: HashMap<&str, u32> = HashMap::new();
    let mut of_device: HashMap<&str, u32> = HashMap::new();
    for order in &orders {
        if live(order.status) {
            *of_shopper.entry(order.shopper.as_str()).or_default() += order.quantity;
            *of_device.entry(order.device.as_str()).or_default() += order.quantity;
        }
    }
    for (who, units) in of_shopper
        .iter()
        .filter(|(_, units)| **units > row.per_shopper_limit)
    {
        broken(
            who,
            format!("I7: {units} units, the limit is {}", row.per_shopper_limit),
        );
    }
    for (device, units) in of_device
        .iter()
        .filter(|(_, units)| **units > row.per_device_limit)
    {
        let who = device.trim_start_matches("device-of-");
        broken(
            who,
            format!(
                "I7: the device has {units} units, the limit is {}",
                row.per_device_limit
            ),
        );
    }
    for (who, hold, count) in store.holds_ordered_twice(sale).await? {
        broken(
            &who,
            format!("I3: the hold of command {hold} has become {count} orders"),
        );
    }

    let there: HashMap<_, _> = orders.iter().map(|order| (order.order, order)).collect();
    for seen in history.latest().into_values() {
        let Some(order) = there.get(&seen.order.order) else {
            broken(
                &seen.shopper,
                format!("I5: the acknowledged order {} is not there", seen.order.order),
            );
            continue;
        };
        let kept = match seen.order.status {
            OrderStatus::Pending => true,
            OrderStatus::Confirmed | OrderStatus::Cancelled => order.status == seen.order.status,
        };
        if !kept {
            let text = format!(
                "I5: the order {} was {:?} and is {:?} ({:?}, refunded {}) since {}",
                order.order, seen.order.status, order.status, order.reason, order.refunded, order.changed_at
            );
            broken(&seen.shopper, text);
        }
        if order.shopper.as_str() != seen.shopper {
            broken(
                &seen.shopper,
                format!("I5: the order {} belongs to {}", order.order, order.shopper),
            );
        }
    }
    let mut of_command: HashMap<_, Vec<_>> = HashMap::new();
    for seen in history.orders() {
        let known = of_command
            .entry((seen.shopper.clone(), seen.command))
            .or_default();
        if !known.contains(&seen.order.order) {
            known.push(seen.order.order);
        }
    }
    for ((who, command), orders) in of_command.iter().filter(|(_, orders)| orders.len() > 1) {
        broken(who, format!("I4: the command {command} has made {orders:?}"));
    }

    // Without a cause, it would be our own mistakes that are being made good.
    let rebuilds = store.rebuilds(sale).await?;
    if rebuilds > 0 && !lost_lanes {
        broken(
            "redis",
            format!("a lane was rebuilt {rebuilds} times, though Redis had lost nothing"),
        );
    }
    for line in store.money_without_units(sale).await? {
        broken("postgres", format!("I6: {line}"));
    }
    flashsale::store::audit::verify(database_url, Some(sale), |_, found| {
        if let Err(bad) = found {
            broken(
                "postgres",
                format!("the audit log: row {:?}: {}", bad.at, bad.what),
            );
        }
    })
    .await?;
    stock.quit().await;
    store.close().await;
    Ok(())
}
