//! Settles checkouts that were left half-way, and returns units.

use crate::{
    error::Result,
    mutation::Mutation,
    sale::{LaneRef, Sale},
    shop::Shop,
    stock::Finish,
    store::Cancelled,
    telemetry::name,
};
use flashsale_protocol::{DeviceId, Hold, HoldState, OrderId, OrderStatus, Reason, ServerMessage, ShopperId};
use futures_util::future::try_join_all;

/// Gives the units of cancelled orders back to their lanes, then notes that in Postgres. Both steps share batches with all other
/// returns of the moment.
pub async fn return_units(shop: &Shop, cancelled: &[Cancelled]) -> Result<()> {
    try_join_all(cancelled.iter().map(|Cancelled { order, at, end }| async move {
        if let Some(end) = end {
            shop.store.chains.note(*at, *end);
        }
        shop.stock.return_units(*at, order.on_lane()).await?;
        if Mutation::ReturnTwice.is_on() {
            shop.stock.return_units(*at, order.on_lane()).await?;
        }
        shop.store.mark_returned(order.order).await
    }))
    .await?;
    Ok(())
}

/// A checkout that its gateway did not finish in time.
pub struct Checkout {
    pub at: LaneRef,
    pub shopper: ShopperId,
    pub quantity: u32,
    pub device: DeviceId,
    pub order: OrderId,
}

/// Asks Postgres by the order's id and finishes the checkout accordingly.
pub async fn settle_checkout(shop: &Shop, sale: &Sale, checkout: Checkout) -> Result<()> {
    let Checkout {
        at,
        shopper,
        quantity,
        device,
        order,
    } = checkout;
    let row = shop.store.settle_abandoned(at, order, &shopper, &device).await?;
    let now = shop.stock.clock().await?;
    let outcome = match (row.status, row.quantity) {
        (OrderStatus::Pending | OrderStatus::Confirmed, _) => {
            let hold = row.hold_command.clone();
            shop.stock
                .finish_checkout(at, shopper.clone(), order, Finish::Committed { hold })
                .await?;
            shop.live.tell(sale.id, shopper, ServerMessage::Order(row.view()));
            "committed"
        }
        (OrderStatus::Cancelled, 0) => {
            shop.stock
                .finish_checkout(at, shopper.clone(), order, Finish::Refused)
                .await?;
            let hold = Hold {
                reason: Some(Reason::CheckoutFailed),
                ..Hold::ended(sale.id, HoldState::Revoked, quantity, now)
            };
            shop.live.tell(sale.id, shopper, ServerMessage::Hold(hold));
            "abandoned"
        }
        (OrderStatus::Cancelled, _) => {
            // Its record still belongs to the lane's life in which it began.
            let cancelled = Cancelled {
                order: row,
                at,
                end: None,
            };
            return_units(shop, &[cancelled]).await?;
            "cancelled"
        }
    };
    metrics::counter!(name::SETTLED, "outcome" => outcome).increment(1);
    tracing::info!(%order, outcome, "a checkout that was left half-way is settled");
    Ok(())
}
