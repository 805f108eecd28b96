//! `leave`: give up a place in line, or the turn that came of it.

use super::{Answer, draw};
use crate::{
    app::App,
    auth::Caller,
    sale::Stake,
    stock::{Left, RecordState, Released, Turns, What},
};
use flashsale_protocol::{Allocation, Code, Done, Entry, EntryState, Reject, SaleId, ServerMessage};

pub async fn run(app: &App, caller: &Caller, sale: SaleId) -> Answer {
    let sale = app.sale(sale).await?;
    let at = sale.lane_of(&caller.shopper);
    if sale.allocation == Allocation::Draw && draw::leave(app, &sale, &caller.shopper).await? {
        let now = app.stock.now().await?;
        return Ok(told(app, caller, sale.id, now));
    }
    let left = app.stock.leave(sale.id, &caller.shopper).await?;
    let now = match left {
        Left::Ok => app.stock.now().await?,
        // Being called in this very moment: the next try finds the claim.
        Left::Admitting => return Err(Reject::new(Code::Busy).after_ms(200)),
        Left::None => {
            let released = app.stock.release(at, caller.shopper.clone(), What::Claim).await?;
            match released.value {
                Released::Ok { quantity } => {
                    let unused = Turns {
                        lapsed: 1,
                        lapsed_units: quantity.into(),
                        ..Turns::default()
                    };
                    app.stock.count_turns(sale.id, unused).await?;
                    released.now
                }
                Released::Is(RecordState::Held) => return Err(Code::AlreadyHeld.into()),
                Released::Is(_) | Released::None if draw::is_entered(app, &sale, &caller.shopper).await? => {
                    return Err(Reject::because(
                        Code::EntriesClosed,
                        "The entries have closed: yours stays in the draw.",
                    ));
                }
                Released::Is(_) | Released::None => return Err(Code::NotInLine.into()),
            }
        }
    };
    app.hub
        .stake(&caller.shopper, sale.id, |stake| *stake = Stake::default());
    Ok(told(app, caller, sale.id, now))
}

fn told(app: &App, caller: &Caller, sale: SaleId, now: u64) -> Done {
    let entry = Entry::settled(sale, EntryState::Left, 0, now);
    app.live
        .tell(sale, caller.shopper.clone(), ServerMessage::Entry(entry));
    Done::Left { sale }
}
