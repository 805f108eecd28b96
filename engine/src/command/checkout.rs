//! `checkout`: a hold becomes an order. Redis sets the units apart, Postgres decides, Redis follows. Every step can be repeated,
//! because the order's id is derived from the shopper and the command before the first step.

use super::{Answer, digest, names::Names, pay};
use crate::{
    caller::Caller,
    error::Error,
    load::Step,
    mutation,
    sale::{Sale, Stake},
    shop::Shop,
    stock::{CheckoutBegun, Finish, RecordState},
    store::{NewOrder, OrderRow, Placed},
};
use flashsale_protocol::{
    Code, CommandId, Done, Hold, HoldState, OrderId, Payment, Reason, Reject, SaleId, ServerMessage,
};

pub async fn run(
    shop: &Shop,
    caller: &Caller,
    command: CommandId,
    sale: SaleId,
    payment: Option<Payment>,
) -> Answer {
    let sale = shop.sale(sale).await?;
    let token = payment.as_ref().map_or("", |payment| payment.token.as_str());
    let digest = digest("checkout", &[&sale.id.to_string(), token]);
    let command = mutation::known_as(command);
    let names = Names::of(shop, caller).await?;
    let row = place(shop, caller, &sale, command, &names, digest).await?;
    match payment {
        None => Ok(Done::Order(as_placed(&row))),
        // Nothing is due, so no provider is asked.
        Some(_) if row.amount == 0 => Ok(Done::Order(as_placed(&row))),
        Some(payment) => {
            let command = names.payment_command(command);
            pay::run(shop, caller, command, row.order, payment).await
        }
    }
}

async fn place(
    shop: &Shop,
    caller: &Caller,
    sale: &Sale,
    command: CommandId,
    names: &Names<'_>,
    digest: Vec<u8>,
) -> Result<OrderRow, Reject> {
    let order = names.order(command, &digest);
    if let Err(reject) = shop.check_payable(sale).await {
        // The cart stays as it is. An order of before is still this command's answer.
        let made = made_before(shop, caller, command, order, &digest).await?;
        return made.ok_or(reject);
    }
    let at = sale.lane_of(&caller.shopper);
    let begin = || shop.stock.begin_checkout(at, caller.shopper.clone(), order);
    let mut begun = begin().await?;
    if !matches!(
        begun.value,
        CheckoutBegun::Ok { .. } | CheckoutBegun::Ordered { .. }
    ) {
        if let Some(row) = made_before(shop, caller, command, order, &digest).await? {
            return Ok(row);
        }
        // A hold that was lost with its lane may have been restored meanwhile.
        if shop.here.is_holding(&caller.shopper, sale.id, begun.now) {
            begun = begin().await?;
        }
    }
    let (quantity, device, hold_command) = match begun.value {
        CheckoutBegun::Ok {
            quantity,
            device,
            hold,
        }
        | CheckoutBegun::Ordered {
            quantity,
            device,
            hold,
        } => (quantity, device, hold),
        CheckoutBegun::Stopped => return Err(super::stopped()),
        CheckoutBegun::CheckoutRunning => return Err(Code::CheckoutRunning.into()),
        CheckoutBegun::Is(RecordState::Released) => return Err(Code::HoldReleased.into()),
        // The hold has expired, unless this end belongs to an earlier hold.
        CheckoutBegun::Is(RecordState::Expired)
            if !shop.here.is_holding(&caller.shopper, sale.id, begun.now) =>
        {
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
        operator: caller.operator().cloned(),
        device,
        command,
        hold_name: names.hold(&hold_command),
        hold_command,
        digest,
        quantity,
        unit_price: sale.sale_price,
        amount,
        currency: sale.currency.clone(),
        payment_ms: sale.payment_ms,
        cancel_limit: sale.cancel_limit,
        terms: sale.terms.clone(),
        person: caller.person(sale),
    };
    // If this fails, the outcome is unknown. Nothing is guessed: the reconciler asks Postgres by the order's id.
    let placed = shop.load.of(Step::Place, shop.store.place(new)).await?;
    match placed {
        // A late repetition: the order came from an earlier hold, and the hold of now stays.
        Placed::Ok(row) if row.hold_command != hold => {
            shop.stock
                .finish_checkout(at, caller.shopper.clone(), order, Finish::Undone)
                .await?;
            not_lost(*row)
        }
        Placed::Ok(row) => {
            // The order is committed. If the next step fails, the reconciler repeats it.
            let committed = Finish::Committed { hold };
            if let Err(error) = shop
                .stock
                .finish_checkout(at, caller.shopper.clone(), order, committed)
                .await
            {
                tracing::warn!(%order, %error, "an order is committed, its checkout is left to the reconciler");
            }
            shop.note_order(order, sale.id).await;
            shop.here
                .stake(&caller.shopper, sale.id, |stake| *stake = Stake::default());
            let hold = Hold {
                order: Some(order),
                ..Hold::ended(sale.id, HoldState::Ordered, quantity, begun.now)
            };
            shop.live
                .tell(sale.id, caller.shopper.clone(), ServerMessage::Hold(hold));
            shop.live
                .tell_others(sale.id, caller, ServerMessage::Order(row.view()));
            Ok(*row)
        }
        // The cart stays as it was.
        Placed::Told(code) => {
            shop.stock
                .finish_checkout(at, caller.shopper.clone(), order, Finish::Undone)
                .await?;
            Err(code.into())
        }
        Placed::Refused => {
            shop.stock
                .finish_checkout(at, caller.shopper.clone(), order, Finish::Refused)
                .await?;
            let hold = Hold {
                reason: Some(Reason::NoSupply),
                ..Hold::ended(sale.id, HoldState::Revoked, quantity, begun.now)
            };
            shop.live
                .tell(sale.id, caller.shopper.clone(), ServerMessage::Hold(hold));
            Err(Reject::because(
                Code::SoldOut,
                "There are no units left for this order; you were not charged.",
            ))
        }
    }
}

/// The order that this same command made before, if any. It is the answer, whatever happened to the hold since.
async fn made_before(
    shop: &Shop,
    caller: &Caller,
    command: CommandId,
    order: OrderId,
    digest: &[u8],
) -> Result<Option<OrderRow>, Reject> {
    // Postgres may have lost the command with the order; the order's own row was then written anew.
    if let Some(known) = shop.store.command(&caller.shopper, command).await? {
        known.answer(digest)?;
    }
    shop.store
        .order(order)
        .await?
        .filter(|row| row.quantity > 0)
        .map(not_lost)
        .transpose()
}

/// An order that Postgres lost is refused: it cannot answer the checkout that made it.
fn not_lost(row: OrderRow) -> Result<OrderRow, Reject> {
    match row.reason {
        Some(Reason::OrderLost) => Err(Reject::new(Code::OrderLost).about(row.order)),
        _ => Ok(row),
    }
}

/// The order as the checkout made it, so that every repetition gets the same answer.
fn as_placed(row: &OrderRow) -> flashsale_protocol::Order {
    flashsale_protocol::Order {
        status: match row.amount {
            0 => flashsale_protocol::OrderStatus::Confirmed,
            _ => flashsale_protocol::OrderStatus::Pending,
        },
        reason: None,
        paying: false,
        refunded: 0,
        refunded_at: None,
        declined: None,
        at: crate::sale::ms(row.created_at),
        ..row.view()
    }
}
