//! `checkout`: a hold becomes an order. Redis sets the units apart, Postgres decides, Redis follows; every step can be
//! repeated, because the order's id is made from the shopper and the command before the first.

use super::{Answer, digest, pay};
use crate::{
    app::App,
    auth::Caller,
    error::Error,
    mutation::Mutation,
    sale::{Sale, Stake},
    stock::{Begun, Finish, RecordState},
    store::{NewOrder, OrderRow, Placed},
};
use flashsale_protocol::{
    Code, CommandId, Done, Hold, HoldState, OrderId, Payment, Reason, Reject, SaleId, ServerMessage,
};

pub async fn run(
    app: &App,
    caller: &Caller,
    command: CommandId,
    sale: SaleId,
    payment: Option<Payment>,
) -> Answer {
    let sale = app.sale(sale).await?;
    let token = payment.as_ref().map_or("", |payment| payment.token.as_str());
    let digest = digest("checkout", &[&sale.id.to_string(), token]);
    let command = if Mutation::ForgetCommand.is_on() {
        super::command_id_now()
    } else {
        command
    };
    let order = order_id(app, caller, command, &digest);
    let row = place(app, caller, &sale, command, order, digest).await?;
    match payment {
        None => Ok(Done::Order(as_placed(&row))),
        Some(payment) => {
            let command = pay::command_of_checkout(app, caller, command);
            pay::run(app, caller, command, row.order, payment).await
        }
    }
}

/// An order's id is made from the command, so that its repetition names the same order, and from the payload, so that
/// another command under the same id cannot touch that order.
fn order_id(app: &App, caller: &Caller, command: CommandId, digest: &[u8]) -> OrderId {
    let bits = app.authority.order_bits(&[
        caller.shopper.as_str().as_bytes(),
        command.to_string().as_bytes(),
        digest,
    ]);
    OrderId::from_parts(command.0.timestamp_ms(), bits)
}

async fn place(
    app: &App,
    caller: &Caller,
    sale: &Sale,
    command: CommandId,
    order: OrderId,
    digest: Vec<u8>,
) -> Result<OrderRow, Reject> {
    let at = sale.lane_of(&caller.shopper);
    let begin = || app.stock.begin_checkout(at, caller.shopper.clone(), order);
    let mut begun = begin().await?;
    if !matches!(begun.value, Begun::Ok { .. } | Begun::Ordered { .. }) {
        if let Some(row) = made_before(app, caller, command, order, &digest).await? {
            return Ok(row);
        }
        // A hold that was lost with its lane may have been given back meanwhile.
        if app.hub.is_holding(&caller.shopper, sale.id, begun.now) {
            begun = begin().await?;
        }
    }
    let (quantity, device, hold_command) = match begun.value {
        Begun::Ok {
            quantity,
            device,
            hold,
        }
        | Begun::Ordered {
            quantity,
            device,
            hold,
        } => (quantity, device, hold),
        Begun::CheckoutRunning => return Err(Code::CheckoutRunning.into()),
        Begun::Is(RecordState::Released) => return Err(Code::HoldReleased.into()),
        // Unless it is an earlier hold's end, not this one's.
        Begun::Is(RecordState::Expired) if !app.hub.is_holding(&caller.shopper, sale.id, begun.now) => {
            return Err(Code::HoldExpired.into());
        }
        _ => return Err(Code::NoHold.into()),
    };
    let amount = sale.line_total(quantity).ok_or_else(|| {
        Error::unexpected("an order's amount cannot be counted, though its sale was checked for that")
    })?;
    let hold = hold_command.clone();
    let new = NewOrder {
        at,
        order,
        shopper: caller.shopper.clone(),
        device,
        command,
        hold_command,
        digest,
        quantity,
        unit_price: sale.sale_price,
        amount,
        currency: sale.currency.clone(),
        payment_ms: sale.payment_ms,
    };
    // If this fails, the outcome is unknown: nothing is guessed, the reconciler asks Postgres by the order's id.
    let placed = app.store.place(new).await?;
    match placed {
        // A late repetition: the order is from an earlier hold, and this one stands.
        Placed::Ok(row) if row.hold_command != hold => {
            app.stock
                .finish_checkout(at, caller.shopper.clone(), order, Finish::Undone)
                .await?;
            Ok(*row)
        }
        Placed::Ok(row) => {
            // Committed: the order stands. Should this step fail, the reconciler repeats it.
            let committed = Finish::Committed { hold };
            if let Err(error) = app
                .stock
                .finish_checkout(at, caller.shopper.clone(), order, committed)
                .await
            {
                tracing::warn!(%order, %error, "an order is committed, its checkout is left to the reconciler");
            }
            app.hub
                .stake(&caller.shopper, sale.id, |stake| *stake = Stake::default());
            let hold = Hold {
                order: Some(order),
                ..Hold::ended(sale.id, HoldState::Ordered, quantity, begun.now)
            };
            app.live
                .tell(sale.id, caller.shopper.clone(), ServerMessage::Hold(hold));
            app.live
                .tell_others(sale.id, caller, ServerMessage::Order(row.view()));
            Ok(*row)
        }
        Placed::CommandReused => {
            app.stock
                .finish_checkout(at, caller.shopper.clone(), order, Finish::Undone)
                .await?;
            Err(Code::CommandIdReused.into())
        }
        Placed::Refused => {
            app.stock
                .finish_checkout(at, caller.shopper.clone(), order, Finish::Refused)
                .await?;
            let hold = Hold {
                reason: Some(Reason::NoSupply),
                ..Hold::ended(sale.id, HoldState::Revoked, quantity, begun.now)
            };
            app.live
                .tell(sale.id, caller.shopper.clone(), ServerMessage::Hold(hold));
            Err(Reject::because(
                Code::SoldOut,
                "There are no units left for this order; you were not charged.",
            ))
        }
    }
}

/// The order that this very command has made before, if it has: then that is the answer, whatever became of the hold.
async fn made_before(
    app: &App,
    caller: &Caller,
    command: CommandId,
    order: OrderId,
    digest: &[u8],
) -> Result<Option<OrderRow>, Reject> {
    let Some(known) = app.store.command_digest(&caller.shopper, command).await? else {
        return Ok(None);
    };
    if known != digest {
        return Err(Code::CommandIdReused.into());
    }
    Ok(app.store.order(order).await?.filter(|row| row.quantity > 0))
}

/// The order as the checkout made it: the same answer at every repetition, whatever became of the order since.
fn as_placed(row: &OrderRow) -> flashsale_protocol::Order {
    flashsale_protocol::Order {
        status: flashsale_protocol::OrderStatus::Pending,
        reason: None,
        paying: false,
        refunded: 0,
        at: crate::sale::ms(row.created_at),
        ..row.view()
    }
}
