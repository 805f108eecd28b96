//! `extend`: gives a turn or a cart its time once more, once, while nobody waits: whoever is slow shall not lose what nobody else wants.

use super::{Answer, join};
use crate::{
    caller::Caller,
    error::Error,
    sale::HeldStake,
    shop::Shop,
    stock::{Extended, RecordState},
};
use flashsale_protocol::{
    Allocation, Code, CommandId, Done, Entry, EntryState, Hold, HoldState, Reject, SaleId, ServerMessage,
};

pub async fn run(shop: &Shop, caller: &Caller, command: CommandId, sale: SaleId) -> Answer {
    let sale = shop.sale(sale).await?;
    let shopper = &caller.shopper;
    // In a draw, those who were not drawn wait for what others leave.
    if !sale.extend_once || sale.allocation == Allocation::Draw {
        return Err(Reject::because(
            Code::NoExtension,
            "Turns and carts of this sale are not extended.",
        ));
    }
    let others_wait = shop.stock.standing(sale.id).await? > 0;
    let answer = shop
        .stock
        .extend(sale.lane_of(shopper), shopper.clone(), others_wait, command)
        .await?;
    let now = answer.now;
    let (state, quantity, until, made_by) = match answer.value {
        Extended::Ok {
            state,
            quantity,
            until,
            command,
        } => (state, quantity, until, command),
        Extended::Before => {
            return Err(Reject::because(
                Code::NoExtension,
                "It was extended before, and once is all.",
            ));
        }
        Extended::OthersWait => {
            return Err(Reject::because(
                Code::NoExtension,
                "Somebody waits for what you have: it cannot be extended.",
            ));
        }
        Extended::Stopped => return Err(super::stopped()),
        Extended::Paused => return Err(Code::SalePaused.into()),
        Extended::Ended => return Err(Code::SaleEnded.into()),
        Extended::CommandReused => return Err(Code::CommandIdReused.into()),
        Extended::Superseded => return Err(Code::CommandSuperseded.into()),
        Extended::TooManyChanges => return Err(Code::TooManyChanges.into()),
        Extended::Is(RecordState::Expired) => return Err(Code::HoldExpired.into()),
        Extended::Is(RecordState::Ordering) => return Err(Code::CheckoutRunning.into()),
        Extended::Is(_) => return Err(Code::NoHold.into()),
    };
    let Some(made_by) = made_by else {
        let (state, claim_until) = match state {
            RecordState::Claim => (EntryState::Admitted, Some(until)),
            RecordState::Left => (EntryState::Left, None),
            _ => (EntryState::Lapsed, None),
        };
        let entry = Entry {
            claim_until,
            extended: claim_until.is_some(),
            ..Entry::settled(sale.id, state, quantity, now)
        };
        if claim_until.is_some() {
            shop.live
                .tell_others(sale.id, caller, ServerMessage::Entry(entry.clone()));
        }
        return join::joined(shop, caller, entry);
    };
    let state = super::hold_state(state).ok_or_else(|| Reject::from(Error::unexpected("no hold")))?;
    let is_held = state == HoldState::Held;
    let hold = Hold {
        state,
        extended: true,
        expires_at: until,
        ..Hold::ended(sale.id, state, quantity, now)
    };
    if is_held {
        shop.here.stake(shopper, sale.id, |stake| {
            stake.hold = Some(Box::new(HeldStake {
                command: made_by,
                quantity,
                until,
            }));
        });
        shop.live
            .tell_others(sale.id, caller, ServerMessage::Hold(hold.clone()));
    }
    Ok(Done::Hold(hold))
}
