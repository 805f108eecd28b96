//! `cancel`: ends a pending order; its units are for sale again. If a payment is still under way, it is voided or refunded once
//! its outcome is known.

use super::{Answer, digest};
use crate::{
    caller::Caller,
    settle::checkout,
    shop::Shop,
    store::{Cancel, Cancelling},
};
use flashsale_protocol::{Code, CommandId, Done, Order, OrderId, ServerMessage};

pub async fn run(shop: &Shop, caller: &Caller, command: CommandId, order: OrderId) -> Answer {
    let cancel = Cancel {
        order,
        shopper: caller.shopper.clone(),
        operator: caller.operator().cloned(),
        command,
        digest: digest("cancel", &[&order.to_string()]),
    };
    let row = match shop.store.cancel(cancel).await? {
        Cancelling::Refused(Code::OrderUnknown) => return Err(super::unknown_order(shop, order).await),
        Cancelling::Refused(code) => return Err(code.into()),
        Cancelling::Before(row) => *row,
        Cancelling::Now(cancelled) => {
            // If this fails, the reconciler returns the units.
            if let Err(error) = checkout::return_units(shop, std::slice::from_ref(&cancelled)).await {
                tracing::warn!(%order, %error, "an order is cancelled, its units are left to the reconciler");
            }
            shop.live.tell_others(
                cancelled.at.sale,
                caller,
                ServerMessage::Order(cancelled.order.view()),
            );
            cancelled.order
        }
    };
    Ok(Done::Order(Order {
        refunded: 0,
        refunded_at: None,
        ..row.view()
    }))
}
