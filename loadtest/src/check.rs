//! Checks the invariants on the shoppers' observations, and on Redis and Postgres afterwards.

use anyhow::{Context, Result};
use flashsale_engine::{
    merchants::Merchants,
    stock::{Counters, Stock},
    store::Store,
};
use flashsale_protocol::{Order, OrderStatus, SaleId};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// The results of the check.
pub struct Findings {
    pub counters: Counters,
    pub allocated: u64,
    pub oversold: u64,
    pub lost_orders: u64,
    /// One line per broken invariant.
    pub violations: Vec<String>,
}

/// `seen` are the acknowledged orders by shopper; every shopper has checked I4 during the run.
pub async fn check(
    database_url: &str,
    redis_url: &str,
    sale: SaleId,
    seen: &[(String, Order)],
) -> Result<Findings> {
    let store = Store::connect(database_url, 2).await?;
    let stock = Stock::connect(redis_url, "").await?;
    let sale = store.sale(sale).await?.context("the sale has vanished")?;
    let counters = stock.sale_counters(&sale).await?;
    let orders = store.orders_of_sale(sale.id).await?;
    let mut violations = Vec::new();

    if !counters.balanced() {
        violations.push(format!(
            "I1: the counters do not add up to the supply: {counters:?}"
        ));
    }
    let allocated: u64 = orders
        .iter()
        .filter(|order| order.status != OrderStatus::Cancelled)
        .map(|order| u64::from(order.quantity))
        .sum();
    let oversold = allocated.saturating_sub(u64::from(sale.total_stock));
    if oversold > 0 {
        violations.push(format!("I2: {oversold} units oversold"));
    }
    let booked: u64 = sale.lanes.iter().map(|lane| u64::from(lane.allocated)).sum();
    if booked != allocated || counters.sold != allocated {
        violations.push(format!(
            "I2: orders hold {allocated} units, the lanes' rows say {booked}, Redis says {}",
            counters.sold
        ));
    }

    let store = Arc::new(store);
    let merchants = Merchants::open(store.clone()).await?;
    let there: HashMap<_, _> = orders
        .iter()
        .map(|order| ((order.order, order.shopper.clone()), order.status))
        .collect();
    // A confirmed order stays confirmed; a pending one may have been paid or cancelled since.
    let mut lost = BTreeSet::new();
    for (account, order) in seen {
        let account_id = account.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let shopper = merchants.visitor_of(&sale, &account_id).await?;
        let is_there = match there.get(&(order.order, shopper)) {
            None => false,
            Some(now) => order.status != OrderStatus::Confirmed || *now == OrderStatus::Confirmed,
        };
        if !is_there {
            lost.insert((order.order.to_string(), account));
        }
    }
    for (order, shopper) in lost.iter().take(3) {
        violations.push(format!(
            "I5: the acknowledged order {order} of {shopper} is not there as it was acknowledged"
        ));
    }

    violations.extend(
        store
            .money_without_units(sale.id)
            .await?
            .into_iter()
            .map(|what| format!("I6: {what}")),
    );

    let mut units: HashMap<&str, u32> = HashMap::new();
    let mut device_units: HashMap<&str, u32> = HashMap::new();
    for order in orders
        .iter()
        .filter(|order| order.status != OrderStatus::Cancelled)
    {
        *units.entry(order.shopper.as_str()).or_default() += order.quantity;
        *device_units.entry(order.device.as_str()).or_default() += order.quantity;
    }
    // Each shopper of a rush wants one unit, even if the sale would allow more.
    for (who, count) in units.iter().filter(|(_, count)| **count > 1) {
        violations.push(format!("I4: {who} wanted one unit and has {count}"));
    }
    for (who, count) in units.iter().filter(|(_, count)| **count > sale.per_shopper_limit) {
        violations.push(format!(
            "I7: {who} has {count} units, the limit is {}",
            sale.per_shopper_limit
        ));
    }
    for (what, count) in device_units
        .iter()
        .filter(|(_, count)| **count > sale.per_device_limit)
    {
        violations.push(format!(
            "I7: the device {what} has {count} units, the limit is {}",
            sale.per_device_limit
        ));
    }
    let lost_orders = lost.len() as u64;
    stock.quit().await;
    store.close().await;
    Ok(Findings {
        counters,
        allocated,
        oversold,
        lost_orders,
        violations,
    })
}
