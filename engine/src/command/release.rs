//! `release`: gives held units back; the next in line get them.

use super::Answer;
use crate::{
    caller::Caller,
    sale::Stake,
    shop::Shop,
    stock::{RecordState, Released, Repeat, What},
};
use flashsale_protocol::{Code, CommandId, Done, Hold, HoldState, SaleId, ServerMessage};

pub async fn run(shop: &Shop, caller: &Caller, command: CommandId, sale: SaleId) -> Answer {
    let sale = shop.sale(sale).await?;
    let answer = shop
        .stock
        .release(
            sale.lane_of(&caller.shopper),
            caller.shopper.clone(),
            What::Held,
            Some(command),
        )
        .await?;
    match answer.value {
        Released::Ok { quantity, done } => {
            let at = match done {
                Repeat::Over => super::made_at(command, answer.now),
                Repeat::First | Repeat::Again => answer.now,
            };
            let hold = Hold::ended(sale.id, HoldState::Released, quantity, at);
            // The shopper may hold something newer by now; that stays.
            if done != Repeat::Over {
                shop.here
                    .stake(&caller.shopper, sale.id, |stake| *stake = Stake::default());
                shop.live
                    .tell_others(sale.id, caller, ServerMessage::Hold(hold.clone()));
            }
            Ok(Done::Hold(hold))
        }
        Released::CommandReused => Err(Code::CommandIdReused.into()),
        Released::Superseded => Err(Code::CommandSuperseded.into()),
        Released::Is(RecordState::Expired) if !shop.here.is_holding(&caller.shopper, sale.id, answer.now) => {
            Err(Code::HoldExpired.into())
        }
        Released::Is(RecordState::Ordering) => Err(Code::CheckoutRunning.into()),
        Released::Is(_) | Released::None => Err(Code::NoHold.into()),
    }
}
