//! `join`: gives a place in line. The same person joining again keeps the same place.

use super::{Answer, draw, nonce};
use crate::{
    caller::Caller,
    error::{Error, Result},
    mutation::Mutation,
    sale::{LineName, PlaceStake, Sale, Stake},
    shop::Shop,
    stock::{At, InLine, Join, JoinHow, Joined, Kept, Person, RecordState, Stands},
};
use flashsale_protocol::{
    Allocation, Code, CommandId, Done, Entry, EntryState, Nonce, Phase, Quantity, Reject, SaleId,
    ServerMessage, draw::Format,
};

pub async fn run(
    shop: &Shop,
    caller: &Caller,
    command: CommandId,
    sale: SaleId,
    quantity: Quantity,
    nonce: Option<Nonce>,
) -> Answer {
    let sale = shop.sale(sale).await?;
    let nonce = nonce.filter(|_| sale.names() == Format::Two);
    let device = caller.device()?;
    if quantity.get() > sale.per_shopper_limit {
        return Err(limit(sale.per_shopper_limit));
    }
    let at = sale.lane_of(&caller.shopper);
    let (person, on_device) = tokio::try_join!(
        shop.stock.person(at, caller.shopper.clone()),
        shop.stock.device_units(at, device.clone()),
    )?;
    let (how, refusal) = match fit(shop, caller, &sale, &person, on_device, quantity, nonce).await? {
        Fit::Line => (JoinHow::Line, None),
        Fit::Draw => (JoinHow::Draw, None),
        Fit::Kept(kept) => (JoinHow::Keep(kept), None),
        Fit::Refused(reject) => (JoinHow::Ask, Some(reject)),
    };
    let item = Join {
        shopper: caller.shopper.clone(),
        device: device.clone(),
        quantity: quantity.get(),
        old_place: None,
        opening_place: sale.opening_place(&caller.shopper, nonce),
        line: if caller.goes_first(&sale) {
            LineName::Priority
        } else {
            LineName::Queue
        },
        nonce,
    };
    let answer = shop.stock.join_as(sale.id, item, how, Some(command)).await?;
    let At {
        now,
        value: InLine { admitted, value },
    } = answer;
    let (position, place, line, stamp, is_new) = match value {
        Joined::Waiting {
            position,
            place,
            line,
            stamp,
            is_new,
        } => (position, place, line, stamp, is_new),
        // The shopper is being called at this moment: the claim's event is on its way.
        Joined::Admitting => {
            let entry = Entry {
                position: 1,
                admitted: admitted.queue,
                ..Entry::settled(sale.id, EntryState::Waiting, quantity.get(), now)
            };
            return joined(shop, caller, entry);
        }
        Joined::OtherQuantity { quantity } => {
            return Err(Reject::because(
                Code::AlreadyInLine,
                format!(
                    "You are in this line already, for {quantity}: leave it first to ask for another quantity."
                ),
            ));
        }
        Joined::DeviceInLine => return Err(Code::DeviceInLine.into()),
        Joined::Busy => return Err(Error::QueueFull("journal").into()),
        Joined::Ended => return Err(Code::SaleEnded.into()),
        Joined::RoomClosed { room_opens_at } => {
            return Err(Reject::new(Code::RoomClosed).after_ms(room_opens_at.saturating_sub(now)));
        }
        Joined::SaleMissing | Joined::New => return Err(refusal.unwrap_or(Error::LaneMissing.into())),
        Joined::Go => {
            return joined(
                shop,
                caller,
                Box::pin(draw::enter(shop, caller, &sale, quantity, nonce)).await?,
            );
        }
        Joined::Over { left } => {
            let entered = match sale.allocation {
                Allocation::Draw if !left => draw::entered(shop, &sale, &caller.shopper, now).await?,
                _ => None,
            };
            let entry = entered.unwrap_or_else(|| {
                let entry = what_became(&sale, quantity, &person, left);
                match entry.state {
                    EntryState::Admitted => entry,
                    _ => Entry {
                        at: super::made_at(command, now),
                        ..entry
                    },
                }
            });
            return joined(shop, caller, entry);
        }
        Joined::Kept(Kept::Admitted) => {
            return joined(shop, caller, what_became(&sale, quantity, &person, false));
        }
        Joined::Kept(Kept::AlreadyHeld) => return Err(Code::AlreadyHeld.into()),
        Joined::Kept(Kept::Limit) => return Err(limit(person.value.limit)),
        Joined::Kept(Kept::DeviceLimit) => return Err(Code::DeviceLimitReached.into()),
        Joined::CommandReused => return Err(Code::CommandIdReused.into()),
        Joined::Superseded => return Err(Code::CommandSuperseded.into()),
        Joined::TooManyChanges => return Err(Code::TooManyChanges.into()),
    };
    // From now on nobody reserves past this place. This comes before the answer, so that a place is a promise.
    if sale.may_open_gate() {
        shop.stock
            .close_gate(sale.lane_of(&caller.shopper), place.max(stamp))
            .await?;
    }
    // A place keeps its first nonce.
    let named = if is_new && sale.names() == Format::Two {
        Some(nonce)
    } else {
        nonce::of_place(shop, &sale, &caller.shopper, place).await
    };
    let entry = Entry {
        nonce: named.flatten(),
        ..super::waiting(&sale, quantity.get(), position, line, admitted, now)
    };
    shop.here.stake(&caller.shopper, sale.id, |stake| {
        *stake = Stake {
            place: Some(PlaceStake {
                place,
                quantity: quantity.get(),
                at: now,
                line,
                nonce: named,
            }),
            hold: None,
        };
    });
    shop.here
        .tell_others(&shop.live, &sale, caller, ServerMessage::Entry(entry.clone()));
    joined(shop, caller, entry)
}

/// The outcome of a new join, as far as the sale and the shopper's lane know. A repeated join gets its first answer.
enum Fit {
    Line,
    Draw,
    /// Without a place; the answer is kept, because it is about the shopper.
    Kept(Kept),
    /// The answer is not kept: it is about the sale and may soon change.
    Refused(Reject),
}

async fn fit(
    shop: &Shop,
    caller: &Caller,
    sale: &Sale,
    At { now, value: person }: &At<Person>,
    on_device: u32,
    quantity: Quantity,
    nonce: Option<Nonce>,
) -> Result<Fit> {
    if matches!(sale.status, Phase::Ended | Phase::Cancelled) {
        return Ok(Fit::Refused(Code::SaleEnded.into()));
    }
    // A shopper who has units, or their turn, does not stand in line for them.
    if let Some(record) = &person.record {
        match record.state {
            RecordState::Claim if record.until > *now => return Ok(Fit::Kept(Kept::Admitted)),
            RecordState::Held if record.until > *now => return Ok(Fit::Kept(Kept::AlreadyHeld)),
            RecordState::Ordering => return Ok(Fit::Refused(Code::CheckoutRunning.into())),
            _ => {}
        }
    }
    if sale.is_suspended {
        return Ok(Fit::Refused(Code::MerchantSuspended.into()));
    }
    if person.bought + quantity.get() > person.limit && !Mutation::SkipLimit.is_on() {
        return Ok(Fit::Kept(Kept::Limit));
    }
    // The remaining units are being drawn among those who were in line.
    if sale.allocation == Allocation::Queue && sale.status == Phase::Drawing {
        return Ok(Fit::Refused(Code::EntriesClosed.into()));
    }
    // Said now, so that nobody waits for a turn they could not use. Units of an overdue hold are coming back.
    let overdue = person
        .record
        .as_ref()
        .filter(|record| record.state == RecordState::Held);
    let stays = on_device.saturating_sub(overdue.map_or(0, |record| record.quantity));
    if stays + quantity.get() > sale.per_device_limit && !is_in(shop, caller, sale).await? {
        return Ok(Fit::Kept(Kept::DeviceLimit));
    }
    if sale.allocation == Allocation::Queue {
        return Ok(Fit::Line);
    }
    // Boxed, as what enters the draw: joining a line carries no room for it.
    let refusal = Box::pin(draw::refusal(shop, sale, &caller.shopper, nonce)).await?;
    Ok(refusal.map_or(Fit::Draw, Fit::Refused))
}

/// The entry of a repeated join, or of one whose turn has come already, when the shopper is no longer in line.
fn what_became(sale: &Sale, quantity: Quantity, person: &At<Person>, left: bool) -> Entry {
    let record = person.value.record.as_ref();
    let state = match record.map(|record| record.state) {
        _ if left => EntryState::Left,
        Some(RecordState::Claim) => EntryState::Admitted,
        Some(RecordState::Lapsed) => EntryState::Lapsed,
        Some(RecordState::Left) => EntryState::Left,
        Some(RecordState::None) | None => EntryState::Removed,
        Some(_) => EntryState::Served,
    };
    let claim = record.filter(|_| state == EntryState::Admitted);
    Entry {
        claim_until: claim.map(|claim| claim.until),
        extended: claim.is_some_and(|claim| claim.extended),
        ..Entry::settled(
            sale.id,
            state,
            claim.map_or(quantity.get(), |claim| claim.quantity),
            person.now,
        )
    }
}

/// Whether a shopper has a place already, or an entry.
async fn is_in(shop: &Shop, caller: &Caller, sale: &Sale) -> Result<bool> {
    Ok(match sale.allocation {
        Allocation::Queue => {
            shop.stock
                .place(sale.id, caller.shopper.clone())
                .await?
                .value
                .value
                != Stands::Nowhere
        }
        Allocation::Draw => shop.store.draw_entry(sale.id, &caller.shopper).await?.is_some(),
    })
}

pub(super) fn joined(shop: &Shop, caller: &Caller, entry: Entry) -> Answer {
    let queue_token = shop.seal.queue_token(entry.sale, &caller.shopper)?;
    Ok(Done::Joined { entry, queue_token })
}

fn limit(limit: u32) -> Reject {
    Reject::because(
        Code::LimitReached,
        format!("The limit is {limit} per person in this sale."),
    )
}
