//! Ends what is overdue: claims lapse and holds expire; their units are for sale again at most 250 ms late.

use super::{Led, repeat};
use crate::{
    error::Result,
    settle::{checkout, disaster},
    stock::{At, EXPIRE_BATCH, Overdue, Turns},
    telemetry::name,
};
use flashsale_protocol::{Entry, EntryState, Hold, HoldState, Reason, ServerMessage};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(100);

/// How often the line is searched for people who were away too long.
const ABSENT_STEP: Duration = Duration::from_millis(500);

pub async fn run(led: &Led) {
    let overdue = repeat("expire", led.id, || step(led));
    tokio::join!(overdue, repeat("expire absent", led.id, || absent(led)));
}

async fn absent(led: &Led) -> Result<Duration> {
    let sale = led.sale().await?;
    let At { now, value: shoppers } = led.shop.stock.expire_absent(sale.id, sale.absence_ms).await?;
    let more = shoppers.len() == EXPIRE_BATCH;
    for shopper in shoppers {
        let entry = Entry {
            reason: Some(Reason::Absent),
            ..Entry::settled(sale.id, EntryState::Removed, 0, now)
        };
        led.shop.live.tell(sale.id, shopper, ServerMessage::Entry(entry));
    }
    Ok(if more { Duration::ZERO } else { ABSENT_STEP })
}

async fn step(led: &Led) -> Result<Duration> {
    let shop = &led.shop;
    let sale = led.sale().await?;
    if led.is_held_off(&sale) || led.is_stopped() {
        return Ok(STEP);
    }
    let mut more = false;
    for at in sale.lane_refs() {
        let At {
            now,
            value: (overdue, there_is_more),
        } = shop.stock.expire(at).await?;
        more |= there_is_more;
        if !overdue.is_empty() {
            led.freed.notify_one();
        }
        let mut lapsed = Turns::default();
        for item in overdue {
            match item {
                Overdue::Lapsed { shopper, quantity } => {
                    lapsed.lapsed += 1;
                    lapsed.lapsed_units += u64::from(quantity);
                    metrics::counter!(name::EXPIRED, "what" => "claim").increment(1);
                    let entry = Entry::settled(sale.id, EntryState::Lapsed, quantity, now);
                    shop.live.tell(sale.id, shopper, ServerMessage::Entry(entry));
                }
                Overdue::Expired { shopper, quantity } => {
                    metrics::counter!(name::EXPIRED, "what" => "hold").increment(1);
                    let hold = Hold::ended(sale.id, HoldState::Expired, quantity, now);
                    shop.live.tell(sale.id, shopper, ServerMessage::Hold(hold));
                }
                Overdue::Checkout {
                    shopper,
                    quantity,
                    device,
                    order,
                } => {
                    // The order may have existed and be lost; it must not be settled as if it had never existed.
                    if disaster::is_stopped(shop, &sale).await? {
                        continue;
                    }
                    let checkout = checkout::Checkout {
                        at,
                        shopper,
                        quantity,
                        device,
                        order,
                    };
                    if let Err(error) = checkout::settle_checkout(shop, &sale, checkout).await {
                        tracing::warn!(%order, %error, "a checkout is not settled yet");
                    }
                }
            }
        }
        if lapsed != Turns::default() {
            shop.stock.count_turns(sale.id, lapsed).await?;
        }
    }
    Ok(if more { Duration::ZERO } else { STEP })
}
