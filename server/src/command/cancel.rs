//! `cancel`: a pending order ends, and its units are for sale again.

use super::{Answer, digest};
use crate::{app::App, auth::Caller, worker::reconcile};
use flashsale_protocol::{Code, CommandId, Done, OrderId, OrderStatus, Reason, ServerMessage};

pub async fn run(app: &App, caller: &Caller, command: CommandId, order: OrderId) -> Answer {
    let digest = digest("cancel", &[&order.to_string()]);
    let known = app.store.command_digest(&caller.shopper, command).await?;
    if known.as_ref().is_some_and(|known| *known != digest) {
        return Err(Code::CommandIdReused.into());
    }
    let row = app
        .store
        .cancel_by_shopper(order, &caller.shopper, command, &digest)
        .await?;
    let Some(row) = row.filter(|row| row.quantity > 0) else {
        return Err(Code::OrderUnknown.into());
    };
    match row.status {
        OrderStatus::Confirmed => Err(Code::OrderConfirmed.into()),
        // Cancelled by something else before: to cancel it again is no success of this command.
        _ if known.is_none() && row.reason != Some(Reason::ByShopper) => Err(Code::OrderCancelled.into()),
        _ => {
            // If this fails, the reconciler returns the units.
            if let Some(sale) = app.find_sale(row.sale).await?
                && let Err(error) = reconcile::return_units(app, &sale, std::slice::from_ref(&row)).await
            {
                tracing::warn!(%order, %error, "an order is cancelled, its units are left to the reconciler");
            }
            app.live
                .tell_others(row.sale, caller, ServerMessage::Order(row.view()));
            Ok(Done::Order(row.view()))
        }
    }
}
