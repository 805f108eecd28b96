//! `leave`: gives up a place in line, or the turn that came from it.

use super::{Answer, draw};
use crate::{
    caller::Caller,
    sale::Stake,
    shop::Shop,
    stock::{At, Left, RecordState, Released, Repeat, Turns, What},
};
use flashsale_protocol::{
    Allocation, Code, CommandId, Done, Entry, EntryState, Reject, SaleId, ServerMessage,
};

pub async fn run(shop: &Shop, caller: &Caller, command: CommandId, sale: SaleId) -> Answer {
    let sale = shop.sale(sale).await?;
    let shopper = &caller.shopper;
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
    let is_draw = sale.allocation == Allocation::Draw;
    if is_draw && repeat != Repeat::Over && draw::leave(shop, &sale, shopper).await? {
        return Ok(told(shop, caller, sale.id, repeat, left.now));
    }
    let what = if repeat == Repeat::Over {
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
        // A repetition, after its entry was taken out.
        Released::Is(_) | Released::None if is_draw && repeat == Repeat::Again => {
            Ok(Done::Left { sale: sale.id })
        }
        Released::Is(_) | Released::None => Err(Code::NotInLine.into()),
    }
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
