//! `join`: a place in line. Again by the same person: the same place.

use super::{Answer, draw};
use crate::{
    app::App,
    auth::Caller,
    error::{Error, Result},
    mutation::Mutation,
    sale::{LineName, PlaceStake, Sale, Stake},
    stock::{At, InLine, Join, Joined, RecordState, Stands},
};
use flashsale_protocol::{
    Allocation, Code, Done, Entry, EntryState, Phase, Quantity, Reject, SaleId, ServerMessage,
};

pub async fn run(app: &App, caller: &Caller, sale: SaleId, quantity: Quantity) -> Answer {
    let sale = app.sale(sale).await?;
    let device = caller.device()?;
    if matches!(sale.status, Phase::Ended | Phase::Cancelled) {
        return Err(Code::SaleEnded.into());
    }
    if quantity.get() > sale.per_shopper_limit {
        return Err(limit(sale.per_shopper_limit));
    }

    // Whoever has units, or their turn, does not stand in line for them.
    let at = sale.lane_of(&caller.shopper);
    let (At { now, value: person }, on_device) = tokio::try_join!(
        app.stock.person(at, caller.shopper.clone()),
        app.stock.device_units(at, device.clone()),
    )?;
    if let Some(record) = &person.record {
        match record.state {
            RecordState::Claim if record.until > now => {
                let entry = Entry {
                    claim_until: Some(record.until),
                    ..Entry::settled(sale.id, EntryState::Admitted, record.quantity, now)
                };
                return joined(app, caller, entry);
            }
            RecordState::Held if record.until > now => return Err(Code::AlreadyHeld.into()),
            RecordState::Ordering => return Err(Code::CheckoutRunning.into()),
            _ => {}
        }
    }
    if person.bought + quantity.get() > person.limit && !Mutation::SkipLimit.is_on() {
        return Err(limit(person.limit));
    }
    // What is left is being drawn among those who were in line.
    if sale.allocation == Allocation::Queue && sale.status == Phase::Drawing {
        return Err(Code::EntriesClosed.into());
    }
    // Said now: nobody should wait for a turn that they could not use. Units of an overdue hold are coming back.
    let overdue = person
        .record
        .as_ref()
        .filter(|record| record.state == RecordState::Held);
    let stays = on_device.saturating_sub(overdue.map_or(0, |record| record.quantity));
    if stays + quantity.get() > sale.per_device_limit && !is_in(app, caller, &sale).await? {
        return Err(Code::DeviceLimitReached.into());
    }
    if sale.allocation == Allocation::Draw {
        let entry = draw::enter(app, caller, &sale, quantity).await?;
        return joined(app, caller, entry);
    }
    let answer = app
        .stock
        .join(
            sale.id,
            Join {
                shopper: caller.shopper.clone(),
                device: device.clone(),
                quantity: quantity.get(),
                old_place: None,
                opening_place: sale.opening_place(&caller.shopper),
                line: if caller.goes_first(&sale) {
                    LineName::Priority
                } else {
                    LineName::Queue
                },
            },
        )
        .await?;
    let At {
        now,
        value: InLine { admitted, value },
    } = answer;
    let (position, place, line, stamp) = match value {
        Joined::Waiting {
            position,
            place,
            line,
            stamp,
        } => (position, place, line, stamp),
        // Called in this very moment: the claim's event is under way.
        Joined::Admitting => {
            let entry = Entry {
                position: 1,
                admitted: admitted.queue,
                ..Entry::settled(sale.id, EntryState::Waiting, quantity.get(), now)
            };
            return joined(app, caller, entry);
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
        Joined::SaleMissing => return Err(Error::LaneMissing.into()),
    };
    // From now on nobody reserves past this place. Before the answer, so that a place is a promise.
    for at in sale.lane_refs() {
        app.stock.close_gate(at, place.max(stamp)).await?;
    }
    let entry = super::waiting(&sale, quantity.get(), position, line, admitted, now);
    app.hub.stake(&caller.shopper, sale.id, |stake| {
        *stake = Stake {
            place: Some(PlaceStake {
                place,
                quantity: quantity.get(),
                at: now,
                line,
            }),
            hold: None,
        };
    });
    app.hub
        .tell_others(&app.live, &sale, caller, ServerMessage::Entry(entry.clone()));
    joined(app, caller, entry)
}

/// Whether a shopper has a place already, or an entry.
async fn is_in(app: &App, caller: &Caller, sale: &Sale) -> Result<bool> {
    Ok(match sale.allocation {
        Allocation::Queue => {
            app.stock
                .place(sale.id, caller.shopper.clone())
                .await?
                .value
                .value
                != Stands::Nowhere
        }
        Allocation::Draw => app.store.draw_entry(sale.id, &caller.shopper).await?.is_some(),
    })
}

fn joined(app: &App, caller: &Caller, entry: Entry) -> Answer {
    let queue_token = app
        .authority
        .queue_token(entry.sale, &caller.shopper)
        .map_err(|error| Reject::from(Error::unexpected(error.to_string())))?;
    Ok(Done::Joined { entry, queue_token })
}

fn limit(limit: u32) -> Reject {
    Reject::because(
        Code::LimitReached,
        format!("The limit is {limit} per person in this sale."),
    )
}
