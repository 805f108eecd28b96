//! `cancel`: a pending order ends, and its units are for sale again. A payment of it that is still under way is voided, or its
//! money sent back, when its outcome is known.

use super::{Answer, digest};
use crate::{app::App, auth::Caller, worker::reconcile};
use flashsale_protocol::{CommandId, Done, Order, OrderId, ServerMessage};

pub async fn run(app: &App, caller: &Caller, command: CommandId, order: OrderId) -> Answer {
    let digest = digest("cancel", &[&order.to_string()]);
    let row = app
        .store
        .cancel_by_shopper(order, &caller.shopper, command, &digest)
        .await??;
    // If this fails, the reconciler returns the units.
    if let Some(sale) = app.find_sale(row.sale).await?
        && let Err(error) = reconcile::return_units(app, &sale, std::slice::from_ref(&row)).await
    {
        tracing::warn!(%order, %error, "an order is cancelled, its units are left to the reconciler");
    }
    app.live
        .tell_others(row.sale, caller, ServerMessage::Order(row.view()));
    Ok(Done::Order(Order {
        refunded: 0,
        ..row.view()
    }))
}
