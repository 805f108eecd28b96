//! `join`, `leave` and `state` in a sale whose units are drawn: shoppers have an entry instead of a place in line.

use super::nonce;
use crate::{
    caller::Caller,
    error::Result,
    sale::{Named, Sale, ms},
    shop::Shop,
    store::draws::{Entered, MyEntry, NewEntry},
};
use flashsale_protocol::{
    Allocation, Code, Entry, EntryState, Nonce, Phase, Quantity, Reject, ServerMessage, ShopperId,
    draw::{Draw, Format},
};

/// The reason why this shopper cannot enter at the moment, if there is one.
pub async fn refusal(
    shop: &Shop,
    sale: &Sale,
    shopper: &ShopperId,
    nonce: Option<Nonce>,
) -> Result<Option<Reject>> {
    let now = shop.stock.clock().await?;
    let closed = match sale.phase_at(now) {
        Phase::Drawing => Some(Code::EntriesClosed.into()),
        Phase::Ended | Phase::Cancelled => Some(Code::SaleEnded.into()),
        _ if now < ms(sale.room_opens_at) => {
            Some(Reject::new(Code::RoomClosed).after_ms(ms(sale.room_opens_at) - now))
        }
        _ => None,
    };
    if closed.is_some() || named(shop, sale, nonce).await?.is_some() {
        return Ok(closed);
    }
    // Somebody who is in already needs no nonce to hear so.
    let mine = shop.store.draw_entry(sale.id, shopper).await?;
    Ok(mine.is_none().then(|| Code::NonceMissing.into()))
}

/// What a new entry's name is made with. None: the client must send a nonce.
async fn named(shop: &Shop, sale: &Sale, nonce: Option<Nonce>) -> Result<Option<Named>> {
    Ok(match (sale.names(), nonce) {
        (Format::One, _) => Some(None),
        (Format::Two, Some(nonce)) => Some(Some(nonce)),
        (Format::Two, None) if nonce::may_be_made(shop, sale).await? => Some(Some(nonce::make())),
        (Format::Two, None) => None,
    })
}

pub async fn enter(
    shop: &Shop,
    caller: &Caller,
    sale: &Sale,
    quantity: Quantity,
    nonce: Option<Nonce>,
) -> Result<Entry, Reject> {
    let now = shop.stock.clock().await?;
    let shopper = &caller.shopper;
    let entered = match named(shop, sale, nonce).await? {
        Some(nonce) => {
            let new = NewEntry {
                shopper: shopper.clone(),
                device: caller.device()?.clone(),
                quantity: quantity.get(),
                nonce,
                name: sale.entry_name(shopper, nonce),
            };
            shop.store.enter_draw(sale.id, new).await?
        }
        None => {
            let mine = shop.store.draw_entry(sale.id, shopper).await?;
            let MyEntry { quantity, nonce, .. } = mine.ok_or(Code::NonceMissing)?;
            Entered::Ok { quantity, nonce }
        }
    };
    match entered {
        Entered::Ok { quantity: stands, .. } if stands != quantity.get() => Err(Reject::because(
            Code::AlreadyInLine,
            format!(
                "You are in this draw already, for {stands}: leave it first to ask for another quantity."
            ),
        )),
        Entered::Ok { quantity, nonce } => {
            let entry = entry(sale, EntryState::Entered, quantity, nonce, now);
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

fn entry(sale: &Sale, state: EntryState, quantity: u32, nonce: Option<Nonce>, now: u64) -> Entry {
    Entry {
        nonce,
        ..Entry::settled(sale.id, state, quantity, now)
    }
}

/// Takes a shopper's entry out. False: no entry could be taken out; after the draw there may be a turn to give up instead.
pub async fn leave(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<bool> {
    shop.store.leave_draw(sale.id, shopper).await
}

/// Whether a shopper has an entry.
pub async fn has_entry(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<bool> {
    Ok(shop.store.draw_entry(sale.id, shopper).await?.is_some())
}

/// A shopper's entry, if their turn has not come yet.
pub async fn entered(shop: &Shop, sale: &Sale, shopper: &ShopperId, now: u64) -> Result<Option<Entry>> {
    let mine = shop.store.draw_entry(sale.id, shopper).await?;
    Ok(mine
        .filter(|mine| !mine.called)
        .map(|mine| entry(sale, EntryState::Entered, mine.quantity, mine.nonce, now)))
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
            Some(entry(sale, state, mine.quantity, mine.nonce, now))
        }
        _ => known,
    };
    Ok((entry, Some(draw.public.clone())))
}

/// The entry of a shopper whose place is still being turned into one; for a long line that takes a while.
async fn from_line(shop: &Shop, sale: &Sale, shopper: &ShopperId, now: u64) -> Result<Option<Entry>> {
    let waits = waits_for(shop, sale, shopper).await?;
    Ok(waits.map(|(quantity, nonce)| entry(sale, EntryState::Entered, quantity, nonce, now)))
}

/// The number of units that a shopper waited for in the line that has ended, and their nonce as far as it is known.
async fn waits_for(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<Option<(u32, Option<Nonce>)>> {
    let place = shop.here.stake_of(shopper, sale.id).and_then(|stake| stake.place);
    Ok(match place {
        Some(place) => Some((place.quantity, place.nonce.flatten())),
        None => {
            let waits = shop.store.waits_for(sale.id, shopper).await?;
            waits.map(|waits| (waits.quantity, waits.nonce))
        }
    })
}
