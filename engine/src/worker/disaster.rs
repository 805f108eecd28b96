//! Handles a Postgres that knows less than Redis: promoted without its tail, or restored to an earlier moment. Selling stops
//! until an operator confirms. Then lanes begin a new life from what is left, lost orders are written down as lost, and their
//! money is looked for at the payment provider. Every step may be repeated; two leaders at once do no harm.

use super::{Led, repeat};
use crate::{
    error::{Error, Result},
    payment::{Listed, Page},
    sale::Sale,
    settle::{
        disaster::{look, tell_lost},
        lanes,
    },
    shop::Shop,
    store::disasters::{Disaster, FoundPayment, LostOrder},
    telemetry::name,
};
use flashsale_protocol::{MAX_QUANTITY, OrderId, SaleId, ShopperId};
use std::{collections::HashMap, time::Duration};

const STEP: Duration = Duration::from_millis(250);
/// Largest number of pages read from the provider's list in one disaster (millions of payments). A longer list must be wrong.
const PAGES_MOST: usize = 10_000;
/// The provider's clock may be behind ours by this much.
const CLOCKS_APART: Duration = Duration::from_secs(3_600);

pub async fn run(led: &Led) {
    let noticing = repeat("disaster", led.id, || step(led));
    let money = repeat("money of lost orders", led.id, || find_money(led));
    tokio::join!(noticing, money);
}

async fn step(led: &Led) -> Result<Duration> {
    let (shop, sale) = (&led.shop, led.sale().await?);
    let open = look(shop, &sale).await?;
    led.set_stopped(open.is_some());
    metrics::gauge!(name::STOPPED, "sale" => led.id.to_string()).set(f64::from(u8::from(open.is_some())));
    if let Some(disaster) = open
        && disaster.confirmed_at.is_some()
    {
        // Before it is open: an order must not be cancelled as unpaid because its payment is lost.
        led.set_unsettled(true);
        recover(shop, led.id, &disaster).await?;
        led.line.set_to_fill();
        return Ok(Duration::ZERO);
    }
    Ok(STEP)
}

/// An operator has confirmed it: the lanes begin anew from what Postgres has, and selling goes on.
async fn recover(shop: &Shop, id: SaleId, disaster: &Disaster) -> Result<()> {
    let began = std::time::Instant::now();
    let sale = shop
        .store
        .sale(id)
        .await?
        .ok_or_else(|| Error::unexpected("a sale has vanished"))?;
    let witness = shop.stock.witness(&sale).await?;
    let highest: HashMap<u16, u32> = witness.lanes.iter().map(|lane| (lane.lane, lane.epoch)).collect();
    for at in sale.lane_refs() {
        let above = highest.get(&at.lane).copied().unwrap_or(0);
        lanes::rebuild_after(shop, &sale, at, above, Some(&disaster.disaster_id)).await?;
    }
    if shop.store.disaster_opened(&disaster.disaster_id).await? {
        tracing::warn!(
            sale = %id, disaster = disaster.disaster_id, known = disaster.known_number, found = disaster.found_number,
            took_ms = began.elapsed().as_millis() as u64, "the sale has recovered from what Postgres has lost: selling goes on"
        );
    }
    shop.stock.end_stop(&sale).await?;
    shop.sale_changed(id).await?;
    lanes::reopened(shop, id).await
}

/// Looks through all that the provider holds of a sale that has recovered.
async fn find_money(led: &Led) -> Result<Duration> {
    let shop = &led.shop;
    if led.is_stopped() {
        return Ok(STEP);
    }
    let Some(disaster) = shop.store.unsettled_disaster(led.id).await? else {
        // Unless one has begun since this was asked.
        led.set_unsettled(led.is_stopped());
        return Ok(STEP);
    };
    led.set_unsettled(true);
    let sale = led.sale().await?;
    let since = sale.created_at - CLOCKS_APART;
    let (mut after, mut found) = (None, 0);
    for _ in 0..PAGES_MOST {
        let page = shop.payments.list(since, after.take()).await;
        let Page { payments, next } = page.map_err(|silence| Error::unexpected(silence.to_string()))?;
        found += account_for(shop, &sale, &disaster, payments).await?;
        after = next;
        if after.is_none() {
            shop.store.disaster_settled(led.id, &disaster.disaster_id).await?;
            tracing::warn!(sale = %led.id, disaster = disaster.disaster_id, found, "what the payment provider holds is accounted for");
            return Ok(Duration::ZERO);
        }
    }
    Err(Error::unexpected("the payment provider's list does not end"))
}

/// Payments of this sale that Postgres does not know are known from here on, with their orders. How many.
async fn account_for(shop: &Shop, sale: &Sale, disaster: &Disaster, listed: Vec<Listed>) -> Result<u64> {
    let of_listed = |listed: &Listed| FoundPayment {
        payment: listed.payment,
        order: listed.order,
        amount: listed.amount,
        currency: listed.currency.clone(),
    };
    let all: Vec<FoundPayment> = listed.iter().map(of_listed).collect();
    let (orders, payments) = shop.store.known_of(&all).await?;
    let unknown: Vec<&Listed> = listed
        .iter()
        .filter(|listed| !payments.contains(&listed.payment.to_string()))
        .filter(|listed| {
            let known = orders.get(&listed.order.to_string()).copied();
            match known.or(listed.sale) {
                Some(its) => its == sale.id,
                None => {
                    tracing::error!(payment = %listed.payment, order = %listed.order, amount = listed.amount,
                        "the provider holds money of an order that nobody knows: an earlier release has not told it the sale");
                    false
                }
            }
        })
        .collect();
    if unknown.is_empty() {
        return Ok(0);
    }
    // Two payments of one order that is lost are of one order.
    let mut lost: HashMap<OrderId, LostOrder> = HashMap::new();
    for listed in unknown
        .iter()
        .filter(|listed| !orders.contains_key(&listed.order.to_string()))
    {
        if let Some(shopper) = listed.shopper.clone() {
            lost.insert(listed.order, lost_by_payment(sale, listed, shopper));
        }
    }
    let lost: Vec<LostOrder> = lost.into_values().collect();
    let written = shop.store.lose_orders(sale, &disaster.disaster_id, &lost).await?;
    tell_lost(shop, sale, written);
    let found: Vec<FoundPayment> = unknown.into_iter().map(of_listed).collect();
    let provider = shop.payments.name();
    let adopted = shop
        .store
        .adopt_payments(&disaster.disaster_id, provider, &found)
        .await?;
    metrics::counter!(name::PAYMENTS_FOUND, "sale" => sale.id.to_string()).increment(adopted);
    Ok(adopted)
}

/// Redis keeps a shopper's latest order only: of an earlier one the money says how many units it was.
fn lost_by_payment(sale: &Sale, listed: &Listed, shopper: ShopperId) -> LostOrder {
    let units = listed.amount.checked_div(sale.sale_price).unwrap_or(1);
    LostOrder {
        order: listed.order,
        shopper,
        device: "-".into(),
        quantity: units.clamp(1, i64::from(MAX_QUANTITY)) as u32,
        amount: listed.amount,
        hold_command: "-".into(),
    }
}
