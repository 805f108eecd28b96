//! Ends what is overdue: claims lapse, holds expire, and both are for sale again at most 250 ms late.

use super::{Led, reconcile, repeat};
use crate::{
    error::Result,
    stock::{At, EXPIRE_BATCH, Overdue},
    telemetry::name,
};
use flashsale_protocol::{Entry, EntryState, Hold, HoldState, ServerMessage};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(100);

pub async fn run(led: &Led) {
    repeat("expire", led.id, || step(led)).await;
}

async fn step(led: &Led) -> Result<Duration> {
    let app = &led.app;
    let sale = led.sale().await?;
    if led.is_held_off(&sale) {
        return Ok(STEP);
    }
    let mut more = false;
    for at in sale.lane_refs() {
        let At { now, value: overdue } = app.stock.expire(at).await?;
        more |= overdue.len() == EXPIRE_BATCH;
        for item in overdue {
            match item {
                Overdue::Lapsed { shopper, quantity } => {
                    metrics::counter!(name::EXPIRED, "what" => "claim").increment(1);
                    let entry = Entry::settled(sale.id, EntryState::Lapsed, quantity, now);
                    app.live.tell(sale.id, shopper, ServerMessage::Entry(entry));
                }
                Overdue::Expired { shopper, quantity } => {
                    metrics::counter!(name::EXPIRED, "what" => "hold").increment(1);
                    let hold = Hold::ended(sale.id, HoldState::Expired, quantity, now);
                    app.live.tell(sale.id, shopper, ServerMessage::Hold(hold));
                }
                Overdue::Checkout {
                    shopper,
                    quantity,
                    device,
                    order,
                } => {
                    let checkout = reconcile::Checkout {
                        at,
                        shopper,
                        quantity,
                        device,
                        order,
                    };
                    if let Err(error) = reconcile::settle_checkout(app, &sale, checkout).await {
                        tracing::warn!(%order, %error, "a checkout is not settled yet");
                    }
                }
            }
        }
    }
    Ok(if more { Duration::ZERO } else { STEP })
}
