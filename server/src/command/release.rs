//! `release`: held units go back; whoever waits gets them.

use super::Answer;
use crate::{
    app::App,
    auth::Caller,
    sale::Stake,
    stock::{RecordState, Released, What},
};
use flashsale_protocol::{Code, Done, Hold, HoldState, SaleId, ServerMessage};

pub async fn run(app: &App, caller: &Caller, sale: SaleId) -> Answer {
    let sale = app.sale(sale).await?;
    let answer = app
        .stock
        .release(sale.lane_of(&caller.shopper), caller.shopper.clone(), What::Held)
        .await?;
    match answer.value {
        Released::Ok { quantity } => {
            app.hub
                .stake(&caller.shopper, sale.id, |stake| *stake = Stake::default());
            let hold = Hold::ended(sale.id, HoldState::Released, quantity, answer.now);
            app.live
                .tell_others(sale.id, caller, ServerMessage::Hold(hold.clone()));
            Ok(Done::Hold(hold))
        }
        Released::Is(RecordState::Expired) if !app.hub.is_holding(&caller.shopper, sale.id, answer.now) => {
            Err(Code::HoldExpired.into())
        }
        Released::Is(RecordState::Ordering) => Err(Code::CheckoutRunning.into()),
        Released::Is(_) | Released::None => Err(Code::NoHold.into()),
    }
}
