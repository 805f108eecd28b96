//! The invariants after the run: Redis and Postgres are compared with each other and with the shoppers' observations.

use super::{history::History, shop::Shop, world::World};
use anyhow::{Context, Result};
use flashsale_engine::{
    merchants::Merchants,
    stock::{Counters, Stock},
    store::Store,
};
use flashsale_protocol::{Code, OrderId, OrderStatus, Reason, Role, SaleId};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

const TOKEN_LIFE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

pub struct Settled {
    pub counters: Counters,
    pub total: u64,
    pub allocated: u64,
    pub took: Duration,
    /// Units that are neither sold nor for sale.
    pub leaked: u64,
}

/// Waits until nothing is under way and every unit is sold or for sale.
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
        let at_rest =
            counters.leaving + counters.claimed + counters.held + counters.ordering + unpaid + payments == 0;
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

/// Notes every broken invariant in the history. Returns how many acknowledged orders Postgres had lost: each must exist as a lost
/// order, so that its shopper is told.
pub async fn check(
    world: &World,
    sale: SaleId,
    lost_lanes: bool,
    history: &History,
    shop: Option<&Shop>,
) -> Result<u64> {
    let database_url = world.database_url.as_str();
    let provider = world.provider_url.as_deref().unwrap_or(database_url);
    let store = Store::connect(database_url, 2).await?;
    let stock = Stock::connect(&world.redis_url(), "").await?;
    let row = store.sale(sale).await?.context("the sale has vanished")?;
    let counters = stock.sale_counters(&row).await?;
    let orders = store.orders_of_sale(sale).await?;
    let store = Arc::new(store);
    let merchants = Merchants::open(store.clone()).await?;
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

    let mut lost = 0;
    let there: HashMap<_, _> = orders.iter().map(|order| (order.order, order)).collect();
    for seen in history.latest().into_values() {
        let Some(order) = there.get(&seen.order.order) else {
            // It was unpaid, and its shopper has made another order since: anybody who asks is told that it is lost.
            if world.provider_url.is_some() && is_told_lost(world, seen.order.order, &seen.shopper).await? {
                lost += 1;
                continue;
            }
            broken(
                &seen.shopper,
                format!("I5: the acknowledged order {} is not there", seen.order.order),
            );
            continue;
        };
        let is_lost = order.reason == Some(Reason::OrderLost);
        lost += u64::from(is_lost);
        let kept = match seen.order.status {
            _ if is_lost => order.status == OrderStatus::Cancelled,
            OrderStatus::Pending => true,
            OrderStatus::Confirmed | OrderStatus::Cancelled => order.status == seen.order.status,
        };
        if !kept {
            let text = format!(
                "I5: the order {} was {:?} and is {:?} ({:?}, refunded {}) since {}",
                order.order, seen.order.status, order.status, order.reason, order.refunded, order.changed_at
            );
            broken(&seen.shopper, text);
            broken(&seen.shopper, money_of(&store, provider, order.order).await?);
        }
        let account = seen.shopper.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        if order.shopper != merchants.visitor_of(&row, &account).await? {
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

    // Rebuilds without a cause would only repair our own mistakes.
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
    flashsale_engine::store::audit::verify(database_url, Some(sale), |_, found| {
        if let Err(bad) = found {
            broken(
                "postgres",
                format!("the audit log: row {:?}: {}", bad.at, bad.what),
            );
        }
    })
    .await?;
    let paid: HashMap<String, i64> = orders
        .iter()
        .filter(|order| order.status == OrderStatus::Confirmed)
        .map(|order| (order.order.to_string(), order.amount - order.refunded))
        .collect();
    if let Some(shop) = shop {
        shop.check(&paid);
    }
    for (order, kept) in kept_at_provider(provider, sale).await? {
        if paid.get(&order) != Some(&kept) {
            broken("provider", format!("I6: it keeps {kept} for the order {order}"));
        }
    }
    stock.quit().await;
    store.close().await;
    Ok(lost)
}

/// Whether a gateway reports this order as lost.
async fn is_told_lost(world: &World, order: OrderId, shopper: &str) -> Result<bool> {
    let shopper = shopper.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let token = super::signer()?.issue(shopper, Role::Shopper, None, TOKEN_LIFE)?;
    let url = format!("{}/orders/{order}", world.gateway(0));
    let answer = flashsale::tls::client()
        .get(url)
        .bearer_auth(token)
        .send()
        .await?;
    let answer: serde_json::Value = answer.json().await?;
    Ok(answer["code"] == Code::OrderLost.word())
}

/// The money that the provider took for a sale and did not give back, by order.
async fn kept_at_provider(url: &str, sale: SaleId) -> Result<Vec<(String, i64)>> {
    let pool = sqlx::PgPool::connect(url).await?;
    let kept = sqlx::query_as(
        "SELECT order_id, sum(amount - refunded)::bigint FROM sandbox_payments
         WHERE status = 'captured' AND sale_id = $1 GROUP BY 1 HAVING sum(amount - refunded) > 0",
    )
    .bind(sale.to_string())
    .fetch_all(&pool)
    .await?;
    pool.close().await;
    Ok(kept)
}

/// Everything known of an order's money, here and at the provider, to explain a broken promise.
async fn money_of(store: &Store, provider: &str, order: OrderId) -> Result<String> {
    let pool = sqlx::PgPool::connect(provider).await?;
    let books: Vec<String> =
        sqlx::query_scalar("SELECT to_jsonb(p)::text FROM sandbox_payments p WHERE order_id = $1")
            .bind(order.to_string())
            .fetch_all(&pool)
            .await?;
    pool.close().await;
    let ours = store.order_money(order).await?;
    Ok(format!("I5: its money: {ours:?}; at the provider: {books:?}"))
}
