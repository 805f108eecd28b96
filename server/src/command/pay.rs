//! `pay`: the provider authorizes, Postgres confirms. The same command again gets the same answer.

use super::{Answer, digest};
use crate::{
    app::App,
    auth::Caller,
    payment,
    sale::LaneRef,
    store::{OrderRow, Paid, PayItem},
};
use flashsale_protocol::{Code, CommandId, Done, OrderId, OrderStatus, Payment, Reject, ServerMessage};

pub async fn run(app: &App, caller: &Caller, command: CommandId, order: OrderId, payment: Payment) -> Answer {
    let row = app
        .store
        .order(order)
        .await?
        .filter(|row| row.shopper == caller.shopper && row.quantity > 0);
    let Some(row) = row else {
        return Err(Code::OrderUnknown.into());
    };
    settle(app, caller, command, &row, payment).await
}

/// The payment of a checkout that pays at once has an id of its own, made from the checkout's.
pub fn command_of_checkout(app: &App, caller: &Caller, checkout: CommandId) -> CommandId {
    let bits = app.authority.order_bits(&[
        caller.shopper.as_str().as_bytes(),
        checkout.to_string().as_bytes(),
        b"pay",
    ]);
    CommandId::from_parts(checkout.0.timestamp_ms(), bits)
}

pub async fn settle(
    app: &App,
    caller: &Caller,
    command: CommandId,
    row: &OrderRow,
    payment: Payment,
) -> Answer {
    let item = PayItem {
        order: row.order,
        shopper: caller.shopper.clone(),
        command,
        digest: digest("pay", &[&row.order.to_string(), &payment.token]),
        authorization: payment::authorize(&payment),
    };
    // Payments of one lane share a transaction; the lane's epoch does not matter to them.
    let at = LaneRef {
        sale: row.sale,
        lane: row.lane,
        epoch: 0,
    };
    match app.store.pay(at, item).await? {
        Paid::Ok(row) => {
            if row.status == OrderStatus::Confirmed {
                app.live
                    .tell_others(row.sale, caller, ServerMessage::Order(row.view()));
            }
            Ok(Done::Order(row.view()))
        }
        Paid::Refused(code) => Err(Reject::new(code).about(row.order)),
    }
}
