//! `join`, `leave` and `state` in a sale whose units are drawn: shoppers have an entry instead of a place in line.

use crate::{
    caller::Caller,
    error::Result,
    sale::{Sale, ms},
    shop::Shop,
    store::draws::{Entered, NewEntry},
};
use flashsale_protocol::{
    Allocation, Code, Entry, EntryState, Phase, Quantity, Reject, ServerMessage, ShopperId, draw::Draw,
};

/// The reason why entering is closed at the moment, if it is.
pub async fn refusal(shop: &Shop, sale: &Sale) -> Result<Option<Reject>> {
    let now = shop.stock.clock().await?;
    Ok(match sale.phase_at(now) {
        Phase::Drawing => Some(Code::EntriesClosed.into()),
        Phase::Ended | Phase::Cancelled => Some(Code::SaleEnded.into()),
        _ if now < ms(sale.room_opens_at) => {
            Some(Reject::new(Code::RoomClosed).after_ms(ms(sale.room_opens_at) - now))
        }
        _ => None,
    })
}

pub async fn enter(shop: &Shop, caller: &Caller, sale: &Sale, quantity: Quantity) -> Result<Entry, Reject> {
    let now = shop.stock.clock().await?;
    let new = NewEntry {
        shopper: caller.shopper.clone(),
        device: caller.device()?.clone(),
        quantity: quantity.get(),
    };
    match shop.store.enter_draw(sale.id, new).await? {
        Entered::Ok { quantity: stands } if stands != quantity.get() => Err(Reject::because(
            Code::AlreadyInLine,
            format!(
                "You are in this draw already, for {stands}: leave it first to ask for another quantity."
            ),
        )),
        Entered::Ok { quantity } => {
            let entry = Entry::settled(sale.id, EntryState::Entered, quantity, now);
            shop.here
                .tell_others(&shop.live, sale, caller, ServerMessage::Entry(entry.clone()));
            Ok(entry)
        }
        Entered::DeviceInDraw => Err(Reject::because(
            Code::DeviceInLine,
            "This device is in the draw already for somebody else.",
        )),
        Entered::Closed => Err(Code::EntriesClosed.into()),
    }
}

/// Takes a shopper's entry out. False: no entry could be taken out; after the draw there may be a turn to give up instead.
pub async fn leave(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<bool> {
    shop.store.leave_draw(sale.id, shopper).await
}

/// A shopper's entry, if their turn has not come yet.
pub async fn entered(shop: &Shop, sale: &Sale, shopper: &ShopperId, now: u64) -> Result<Option<Entry>> {
    let mine = shop.store.draw_entry(sale.id, shopper).await?;
    Ok(mine
        .filter(|mine| !mine.called)
        .map(|mine| Entry::settled(sale.id, EntryState::Entered, mine.quantity, now)))
}

/// Whether a shopper is in a draw that is being held and still waits for their turn.
pub(crate) async fn is_entered(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<bool> {
    if sale.status != Phase::Drawing {
        return Ok(false);
    }
    let mine = shop.store.draw_entry(sale.id, shopper).await?;
    if mine.is_some() || sale.allocation == Allocation::Draw {
        return Ok(mine.is_some_and(|mine| !mine.called));
    }
    let draw = shop.store.recent_draw(sale.id).await?;
    let is_closed = draw.is_none_or(|draw| draw.is_closed);
    Ok(!is_closed && waits_for(shop, sale, shopper).await?.is_some())
}

/// The published draw, and the shopper's entry in it, unless the line or the lane knows something that counts more.
pub(crate) async fn in_state(
    shop: &Shop,
    sale: &Sale,
    shopper: &ShopperId,
    known: Option<Entry>,
    now: u64,
) -> Result<(Option<Entry>, Option<Draw>)> {
    let Some(draw) = shop.store.recent_draw(sale.id).await? else {
        return Ok((known, None));
    };
    let stands = |entry: &Entry| matches!(entry.state, EntryState::Waiting | EntryState::Admitted);
    if known.as_ref().is_some_and(stands) {
        return Ok((known, Some(draw.public.clone())));
    }
    if sale.allocation == Allocation::Queue && !draw.is_closed {
        // Until the line of a first-come sale is closed, its draw has no entries.
        let entry = match sale.status {
            Phase::Drawing => from_line(shop, sale, shopper, now).await?.or(known),
            _ => known,
        };
        return Ok((entry, Some(draw.public.clone())));
    }
    let mine = shop.store.draw_entry(sale.id, shopper).await?;
    let entry = match mine {
        Some(mine) if !mine.called => {
            let state = if mine.told {
                EntryState::NotDrawn
            } else {
                EntryState::Entered
            };
            Some(Entry::settled(sale.id, state, mine.quantity, now))
        }
        _ => known,
    };
    Ok((entry, Some(draw.public.clone())))
}

/// The quantity of a shopper whose place is still being turned into an entry; for a long line that takes a while.
async fn from_line(shop: &Shop, sale: &Sale, shopper: &ShopperId, now: u64) -> Result<Option<Entry>> {
    let quantity = waits_for(shop, sale, shopper).await?;
    Ok(quantity.map(|quantity| Entry::settled(sale.id, EntryState::Entered, quantity, now)))
}

/// The number of units that a shopper waited for in the line that has ended.
async fn waits_for(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<Option<u32>> {
    let place = shop.here.stake_of(shopper, sale.id).and_then(|stake| stake.place);
    match place {
        Some(place) => Ok(Some(place.quantity)),
        None => shop.store.waits_for(sale.id, shopper).await,
    }
}
