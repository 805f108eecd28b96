//! After a lane has begun a new life: shoppers connected here who lost their hold or place with the old one get it back if
//! possible, and are told openly if not.

use crate::{
    boxed,
    command::{self, command_id_now},
    error::{Error, Result},
    sale::{HeldStake, PlaceStake, Sale, Stake},
    shop::Shop,
    stock::{At, How, InLine, Join, Joined, Record, RecordState, Reserve, Reserved, Stands},
};
use flashsale_protocol::{
    DeviceId, Entry, EntryState, Hold, HoldState, Nonce, Phase, Reason, SaleId, ServerMessage, ShopperId,
};
use futures_util::{StreamExt, stream};
use std::{sync::Arc, time::Duration};

/// Shoppers looked after at the same time: enough to fill the batches.
const AT_ONCE: usize = 512;
/// Looks at one shopper: their state may change meanwhile, and Redis may fail again.
const ATTEMPTS: usize = 5;
const ATTEMPT_EVERY: Duration = Duration::from_millis(200);

/// Nonces written by one statement.
const NONCES_AT_ONCE: usize = 5_000;

/// Notes of a line were lost: the leader has written what the line itself shows, and this adds the nonces that this process knows.
pub fn spawn_notes(shop: Arc<Shop>, sale: SaleId) {
    tokio::spawn(async move {
        let known = shop.here.stakes(sale).into_iter().filter_map(|(shopper, stake)| {
            let place = stake.place?;
            Some((shopper, place.place, place.nonce??))
        });
        let known: Vec<(ShopperId, u64, Nonce)> = known.collect();
        for part in known.chunks(NONCES_AT_ONCE) {
            if let Err(error) = shop.store.note_nonces(sale, part).await {
                tracing::warn!(%sale, %error, "nonces of people in line are not noted");
            }
        }
    });
}

/// A lost line is whole again. Those who are here had their places back first, and stood for a moment ahead of everybody who is
/// away; and the line counts its turns from the start. What their pages worked out is not so any more: this tells them.
pub fn spawn_places(shop: Arc<Shop>, sale: SaleId) {
    tokio::spawn(async move {
        let sale = match shop.find_sale(sale).await {
            Ok(Some(sale)) => sale,
            Ok(None) => return,
            Err(error) => {
                return tracing::warn!(%sale, %error, "places in a line that is whole again are not told");
            }
        };
        let (shop, sale) = (&shop, &sale);
        let waiting = shop.here.stakes(sale.id).into_iter();
        let waiting = waiting.filter_map(|(shopper, stake)| Some((shopper, stake.place?.nonce.flatten())));
        stream::iter(waiting)
            .for_each_concurrent(AT_ONCE, |(shopper, nonce)| async move {
                match shop.stock.place(sale.id, shopper.clone()).await {
                    Ok(At { now, value }) => {
                        if let Some(entry) = restored(sale, value, nonce, now) {
                            shop.live.tell(sale.id, shopper, ServerMessage::Entry(entry));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%shopper, %error, "a place in a line that is whole again is not told")
                    }
                }
            })
            .await;
    });
}

/// What somebody who waits is told of their place after a loss.
fn restored(sale: &Sale, stands: InLine<Stands>, nonce: Option<Nonce>, now: u64) -> Option<Entry> {
    let Stands::Waiting {
        position,
        quantity,
        line,
        ..
    } = stands.value
    else {
        return None;
    };
    Some(Entry {
        reason: Some(Reason::Restored),
        nonce,
        ..command::waiting(sale, quantity, position, line, stands.admitted, now)
    })
}

/// Gives back what this process knows of a sale whose lanes have begun anew.
pub fn spawn(shop: Arc<Shop>, sale: SaleId) {
    tokio::spawn(run(shop, sale));
}

async fn run(shop: Arc<Shop>, sale: SaleId) {
    let sale = match shop.find_sale(sale).await {
        Ok(Some(sale)) => sale,
        Ok(None) => return,
        Err(error) => return tracing::warn!(%sale, %error, "cannot look after what was lost"),
    };
    let (shop, sale) = (&shop, &sale);
    tracing::debug!(sale = %sale.id, "shoppers here who lost something are looked after");
    stream::iter(shop.here.stakes(sale.id))
        .for_each_concurrent(AT_ONCE, |(shopper, _)| async move {
            try_restore(shop, sale, &shopper).await;
        })
        .await;
}

/// Looks after one shopper. True: nothing is lost, their hold has just ended.
#[boxed]
pub async fn of_shopper(shop: &Shop, sale: SaleId, shopper: &ShopperId) -> bool {
    match shop.find_sale(sale).await {
        Ok(Some(sale)) => try_restore(shop, &sale, shopper).await,
        Ok(None) => true,
        Err(error) => {
            tracing::warn!(%sale, %error, "cannot look after what was lost");
            false
        }
    }
}

/// The result of a look at one shopper.
enum Restored {
    /// The shopper's state changed meanwhile: look again.
    Moved,
    /// They have what they had, or were told what happened to it.
    Settled,
    /// Redis knows the end of their hold.
    Ended,
}

/// True: the shopper's hold has ended.
async fn try_restore(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> bool {
    for attempt in 1..=ATTEMPTS {
        match restore(shop, sale, shopper).await {
            Ok(Restored::Settled) => return false,
            Ok(Restored::Ended) => return true,
            Ok(Restored::Moved) => {}
            Err(error) if attempt == ATTEMPTS => {
                tracing::warn!(%shopper, %error, "what a shopper had is not restored");
            }
            Err(error) => {
                tracing::debug!(%shopper, %error, "what a shopper had is not restored yet");
                tokio::time::sleep(ATTEMPT_EVERY).await;
            }
        }
    }
    false
}

async fn restore(shop: &Shop, sale: &Sale, shopper: &ShopperId) -> Result<Restored> {
    let Some(stake) = shop.here.stake_of(shopper, sale.id) else {
        return Ok(Restored::Settled);
    };
    let at = sale.lane_of(shopper);
    let (person, stands) = tokio::try_join!(
        shop.stock.person(at, shopper.clone()),
        shop.stock.place(sale.id, shopper.clone())
    )?;
    if shop.here.stake_of(shopper, sale.id).as_ref() != Some(&stake) {
        // Their own command, and its answer, are newer.
        return Ok(Restored::Moved);
    }
    let (now, record, held_before) = (person.now, person.value.record, stake.hold.as_deref().copied());
    // Redis may now have something older than the shopper saw: an earlier hold of theirs, from before the loss.
    if let Some(held) = record.as_ref().filter(|record| record.state == RecordState::Held) {
        if held_before.map(|hold| hold.command) != held.command {
            tell_held_again(shop, sale, shopper, held_before, held, now);
        }
        return Ok(Restored::Settled);
    }
    let is_in = |state| record.as_ref().is_some_and(|record| record.state == state);
    if is_in(RecordState::Ordering) {
        return Ok(Restored::Settled);
    }
    let stands = stands.value.value;
    let known = record.as_ref().and_then(|record| record.command);
    let has_ended = held_before.is_some_and(|hold| known == Some(hold.command));
    let lost = held_before.filter(|hold| hold.until > now && !has_ended);
    match (lost, stake.place) {
        // The hold goes first: an earlier claim or place that Redis still has was used up for it.
        (Some(hold), _) => {
            if person.value.bought > 0 && is_ordered(shop, sale, shopper, hold).await? {
                return Ok(Restored::Settled);
            }
            let is_back = regain(shop, sale, shopper, hold, now).await?;
            if is_back && stands != Stands::Nowhere {
                shop.stock.leave(sale.id, shopper.clone(), None).await?;
            }
        }
        // While the remaining units are drawn, people who had a place have an entry instead.
        (None, Some(_)) if sale.status == Phase::Drawing => {}
        (None, Some(place)) if stands == Stands::Nowhere && !is_in(RecordState::Claim) => {
            stand_again(shop, sale, shopper, place).await?;
        }
        _ => {}
    }
    Ok(if has_ended {
        Restored::Ended
    } else {
        Restored::Settled
    })
}

/// Whether the hold has become an order, through another gateway.
async fn is_ordered(shop: &Shop, sale: &Sale, shopper: &ShopperId, hold: HeldStake) -> Result<bool> {
    let orders = shop.store.orders_of(shopper, Some(sale.id)).await?;
    let command = hold.command.to_string();
    Ok(orders.iter().any(|order| order.hold_command == command))
}

/// A moment after `lost_at`: if an end and a beginning have the same time, a client believes the end.
fn after(lost_at: u64, now: u64) -> u64 {
    now.max(lost_at + 1)
}

/// The hold that the shopper knows is gone, and another of theirs is there: tells them both.
fn tell_held_again(
    shop: &Shop,
    sale: &Sale,
    shopper: &ShopperId,
    lost: Option<HeldStake>,
    held: &Record,
    now: u64,
) {
    let tell = |hold| {
        shop.live
            .tell(sale.id, shopper.clone(), ServerMessage::Hold(hold))
    };
    if let Some(lost) = lost {
        tell(Hold {
            reason: Some(Reason::StockLost),
            ..Hold::ended(sale.id, HoldState::Revoked, lost.quantity, now)
        });
    }
    shop.here.stake(shopper, sale.id, |stake| {
        stake.hold = held.command.map(|command| {
            Box::new(HeldStake {
                command,
                quantity: held.quantity,
                until: held.until,
            })
        });
    });
    tell(Hold {
        expires_at: held.until,
        extended: held.extended,
        reason: Some(Reason::Restored),
        ..Hold::ended(sale.id, HoldState::Held, held.quantity, after(now, now))
    });
}

/// Tells the shopper that their hold is gone, and tries once to get the units back, ahead of those who wait. True: they are back.
async fn regain(shop: &Shop, sale: &Sale, shopper: &ShopperId, lost: HeldStake, now: u64) -> Result<bool> {
    // The loss may be noticed twice at once: through the sale's new life, and through news from the old one.
    let mut is_noticed = false;
    shop.here.stake(shopper, sale.id, |stake| {
        is_noticed = stake.hold.as_deref() != Some(&lost);
        stake.hold.take_if(|_| !is_noticed);
    });
    if is_noticed {
        return Ok(false);
    }
    let tell = |hold| {
        shop.live
            .tell(sale.id, shopper.clone(), ServerMessage::Hold(hold))
    };
    tell(Hold {
        reason: Some(Reason::StockLost),
        ..Hold::ended(sale.id, HoldState::Revoked, lost.quantity, now)
    });
    let Some(device) = shop.here.device_of(shopper) else {
        return Ok(false);
    };
    let command = command_id_now();
    let item = Reserve {
        shopper: shopper.clone(),
        quantity: lost.quantity,
        how: How::Regain,
        command,
        device,
    };
    let answer = insist(shop, sale, shopper, item).await?;
    let Reserved::Ok {
        quantity,
        until,
        state: RecordState::Held,
    } = answer.value
    else {
        tracing::info!(sale = %sale.id, %shopper, answer = ?answer.value, "a lost hold could not be restored");
        shop.here
            .stake(shopper, sale.id, |stake| *stake = Stake::default());
        return Ok(false);
    };
    shop.here.stake(shopper, sale.id, |stake| {
        stake.hold = Some(Box::new(HeldStake {
            command,
            quantity,
            until,
        }));
    });
    tell(Hold {
        expires_at: until,
        reason: Some(Reason::Restored),
        ..Hold::ended(sale.id, HoldState::Held, quantity, after(now, answer.now))
    });
    Ok(true)
}

/// Repeats the one attempt until it is answered: Redis may fail again, or the lane may begin yet another life.
async fn insist(shop: &Shop, sale: &Sale, shopper: &ShopperId, item: Reserve) -> Result<At<Reserved>> {
    let mut at = sale.lane_of(shopper);
    let mut attempt = 1;
    loop {
        match shop.stock.reserve(at, item.clone()).await {
            Err(error) if attempt < ATTEMPTS => {
                tracing::debug!(%shopper, %error, "a lost hold is asked for again");
                attempt += 1;
                tokio::time::sleep(ATTEMPT_EVERY).await;
                if let Ok(Some(sale)) = shop.find_sale(sale.id).await {
                    at = sale.lane_of(shopper);
                }
            }
            answer => return answer,
        }
    }
}

/// The place is lost: gives it back as it was.
async fn stand_again(shop: &Shop, sale: &Sale, shopper: &ShopperId, place: PlaceStake) -> Result<()> {
    let quantity = place.quantity;
    let nonce = place.nonce.flatten();
    let tell = |entry| {
        shop.live
            .tell(sale.id, shopper.clone(), ServerMessage::Entry(entry))
    };
    let joined = match shop.here.device_of(shopper) {
        Some(device) => match join(shop, sale, shopper, device, place).await? {
            Back::Stands => true,
            Back::Refused => false,
            // The sale's end tells people in line what follows; the remaining units may be drawn among them.
            Back::Over => return Ok(()),
        },
        None => false,
    };
    let At { now, value } = shop.stock.place(sale.id, shopper.clone()).await?;
    if value.value == Stands::Nowhere && !joined {
        shop.here
            .stake(shopper, sale.id, |stake| *stake = Stake::default());
        tell(Entry {
            reason: Some(Reason::LineLost),
            ..Entry::settled(sale.id, EntryState::Removed, quantity, now)
        });
    } else if joined && let Some(entry) = restored(sale, value, nonce, now) {
        // Otherwise they are called already: the claim's own event says so.
        tell(entry);
    }
    Ok(())
}

/// The result of asking for an old place.
enum Back {
    Stands,
    Refused,
    /// The sale's time is up, or its operator has ended it.
    Over,
}

async fn join(
    shop: &Shop,
    sale: &Sale,
    shopper: &ShopperId,
    device: DeviceId,
    staked: PlaceStake,
) -> Result<Back> {
    let PlaceStake {
        line,
        place,
        quantity,
        nonce,
        ..
    } = staked;
    let item = Join {
        shopper: shopper.clone(),
        device,
        quantity,
        old_place: Some(place),
        opening_place: None,
        line,
        // The note of the place may be lost as well.
        nonce: nonce.flatten(),
    };
    match shop.stock.join(sale.id, item).await?.value.value {
        Joined::Waiting { stamp, .. } => {
            for at in sale.lane_refs() {
                shop.stock.close_gate(at, place.max(stamp)).await?;
            }
            Ok(Back::Stands)
        }
        // They are called, so the gate was shut when they came.
        Joined::Admitting => Ok(Back::Stands),
        Joined::SaleMissing => Err(Error::LaneMissing),
        Joined::Ended => Ok(Back::Over),
        _ => Ok(Back::Refused),
    }
}
