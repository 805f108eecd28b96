//! `leave`: gives up a place in line, or the turn that came from it.

use super::{Answer, draw};
use crate::{
    caller::Caller,
    error::Result,
    sale::{Sale, Stake},
    shop::Shop,
    stock::{At, Left, Record, RecordState, Released, Repeat, Turns, What},
};
use flashsale_protocol::{
    Allocation, Code, CommandId, Done, Entry, EntryState, Reject, SaleId, ServerMessage, ShopperId,
};

pub async fn run(shop: &Shop, caller: &Caller, command: CommandId, sale: SaleId) -> Answer {
    let sale = shop.sale(sale).await?;
    let shopper = &caller.shopper;
    let is_draw = sale.allocation == Allocation::Draw;
    let was_in = is_draw && draw::has_entry(shop, &sale, shopper).await?;
    let left = shop.stock.leave(sale.id, shopper.clone(), Some(command)).await?;
    let repeat = match left.value {
        Left::Ok(repeat) => {
            return Ok(told(shop, caller, sale.id, repeat, left.now));
        }
        Left::None(repeat) => repeat,
        // The shopper is being called at this moment: the next try finds the claim.
        Left::Admitting => return Err(Reject::new(Code::Busy).after_ms(200)),
        Left::CommandReused => return Err(Code::CommandIdReused.into()),
        Left::Superseded => return Err(Code::CommandSuperseded.into()),
    };
    // No place in line: then an entry of a draw, or a turn. One that came after this command stays.
    if is_draw && repeat != Repeat::Over {
        // The same command may have come twice at once: the other one has taken the entry out.
        let is_out = draw::leave(shop, &sale, shopper).await?
            || was_in && !draw::has_entry(shop, &sale, shopper).await?;
        if is_out {
            return Ok(told(shop, caller, sale.id, repeat, left.now));
        }
    }
    // In a draw, a command that has taken an entry out is not known to the lane: it must not be noted there as one that found nothing.
    let may_have_turn = !is_draw || repeat == Repeat::First || has_turn(shop, &sale, shopper).await?;
    let what = if repeat == Repeat::Over || !may_have_turn {
        What::Nothing
    } else {
        What::Claim
    };
    let At { now, value } = shop
        .stock
        .release(sale.lane_of(shopper), shopper.clone(), what, Some(command))
        .await?;
    match value {
        Released::Ok { quantity, done } => {
            if done == Repeat::First {
                let unused = Turns {
                    lapsed: 1,
                    lapsed_units: quantity.into(),
                    ..Turns::default()
                };
                shop.stock.count_turns(sale.id, unused).await?;
            }
            Ok(told(shop, caller, sale.id, done, now))
        }
        Released::CommandReused => Err(Code::CommandIdReused.into()),
        // This command took out an entry.
        Released::Superseded if is_draw => Ok(Done::Left { sale: sale.id }),
        Released::Superseded => Err(Code::CommandSuperseded.into()),
        Released::Is(RecordState::Held) => Err(Code::AlreadyHeld.into()),
        Released::Is(_) | Released::None if draw::is_entered(shop, &sale, shopper).await? => {
            Err(Reject::because(
                Code::EntriesClosed,
                "The entries have closed: yours stays in the draw.",
            ))
        }
        Released::Is(_) | Released::None => Err(Code::NotInLine.into()),
    }
}

async fn has_turn(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<bool> {
    let person = shop.stock.person(sale.lane_of(shopper), shopper.clone()).await?;
    let is_turn = |record: Record| record.state == RecordState::Claim;
    Ok(person.value.record.is_some_and(is_turn))
}

/// Tells all of the shopper's sockets, unless newer commands have come since.
fn told(shop: &Shop, caller: &Caller, sale: SaleId, repeat: Repeat, now: u64) -> Done {
    if repeat != Repeat::Over {
        shop.here
            .stake(&caller.shopper, sale, |stake| *stake = Stake::default());
        let entry = Entry::settled(sale, EntryState::Left, 0, now);
        shop.live
            .tell(sale, caller.shopper.clone(), ServerMessage::Entry(entry));
    }
    Done::Left { sale }
}
