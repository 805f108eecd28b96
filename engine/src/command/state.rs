//! `state`: everything that a page needs to show one sale to one shopper.

use super::{Answer, draw, hold_state, nonce};
use crate::{
    boxed,
    caller::Caller,
    error::Result,
    sale::{HeldStake, LaneInfo, LineName, PlaceStake, Sale},
    shop::Shop,
    stock::{At, InLine, Record, RecordState, Served, Stands, TickNumber, Turns},
    store::OrderRow,
};
use flashsale_protocol::{
    Done, Entry, EntryState, Hold, Reason, Reject, SaleId, SaleInfo, SaleState, ShopperId, Tick,
};

pub async fn run(shop: &Shop, caller: &Caller, sale: SaleId) -> Answer {
    let sale = shop.sale(sale).await?;
    Ok(Done::State(Box::new(sale_state(shop, caller, &sale).await?)))
}

#[boxed]
pub async fn sale_state(shop: &Shop, caller: &Caller, sale: &Sale) -> Result<SaleState, Reject> {
    shop.check_page(caller, sale).await?;
    let caller = shop.meet(caller, sale).await?;
    // This comes before the look, so that no news falls in between.
    let is_new = shop.here.know_for_now(&caller);
    let state = look(shop, &caller.shopper, sale).await;
    let has_something =
        |state: &SaleState| state.entry.is_some() || state.hold.is_some() || !state.orders.is_empty();
    if is_new && !state.as_ref().is_ok_and(has_something) {
        shop.here.forget_idle(&caller);
    }
    state
}

async fn look(shop: &Shop, shopper: &ShopperId, sale: &Sale) -> Result<SaleState, Reject> {
    let (person, place, orders, tick) = tokio::try_join!(
        shop.stock.person(sale.lane_of(shopper), shopper.clone()),
        shop.stock.place(sale.id, shopper.clone()),
        shop.store.orders_of(shopper, Some(sale.id)),
        tick_now(shop, sale),
    )?;
    let At {
        now,
        value: InLine {
            admitted,
            value: stands,
        },
    } = place;
    let entry = |state, quantity, claim_until| {
        Some(Entry {
            claim_until,
            ..Entry::settled(sale.id, state, quantity, now)
        })
    };
    let waiting =
        |quantity, position, line| Some(super::waiting(sale, quantity, position, line, admitted, now));
    let record = person.value.record;
    let named = match stands {
        Stands::Waiting { place, .. } => nonce::of_place(shop, sale, shopper, place).await,
        _ => None,
    };
    shop.here.stake(shopper, sale.id, |stake| {
        if let Stands::Waiting {
            quantity,
            place,
            line,
            ..
        } = stands
        {
            stake.place = Some(PlaceStake {
                place,
                quantity,
                at: now,
                line,
                nonce: named,
            });
        }
        stake.hold = hold_known(stake.hold.take(), record.as_ref(), person.now);
    });
    let entry = match (stands, &record) {
        (_, Some(claim)) if claim.state == RecordState::Claim && claim.until > person.now => {
            entry(EntryState::Admitted, claim.quantity, Some(claim.until)).map(|entry| Entry {
                extended: claim.extended,
                ..entry
            })
        }
        (
            Stands::Waiting {
                position,
                quantity,
                line,
                ..
            },
            _,
        ) => waiting(quantity, position, line).map(|entry| Entry {
            nonce: named.flatten(),
            ..entry
        }),
        // The shopper is being called at this moment: the claim's event is on its way.
        (Stands::Admitting { quantity }, _) => waiting(quantity, 1, LineName::Queue),
        (Stands::Nowhere, Some(claim)) if claim.state == RecordState::Lapsed => {
            entry(EntryState::Lapsed, claim.quantity, None)
        }
        (Stands::Nowhere, _) => None,
    };
    let (entry, draw) = draw::in_state(shop, sale, shopper, entry, now).await?;
    let hold = record.and_then(|record| {
        Some(Hold {
            sale: sale.id,
            state: hold_state(record.state)?,
            quantity: record.quantity,
            expires_at: record.until,
            extended: record.extended,
            order: record.order,
            reason: None,
            at: person.now,
        })
    });
    let orders = orders.iter().map(OrderRow::view).collect();
    // The place was read after the tick was made: bring the tick up to that moment.
    let mut tick = tick;
    tick.admitted = tick.admitted.max(admitted.queue);
    tick.priority_admitted = tick.priority_admitted.max(admitted.priority);
    Ok(SaleState {
        sale: SaleInfo {
            payments: shop.payments.by(),
            ..sale.info(now)
        },
        tick,
        entry,
        hold,
        orders,
        draw,
        shopper: Some(shopper.clone()),
    })
}

/// This gateway's knowledge of a shopper's hold, after a look at Redis. A hold that Redis does not mention may be lost with a
/// lane: it is kept until it is restored or reported as lost (`restore.rs`).
fn hold_known(mine: Option<Box<HeldStake>>, record: Option<&Record>, now: u64) -> Option<Box<HeldStake>> {
    if let Some(held) = record.filter(|record| record.state == RecordState::Held) {
        return Some(Box::new(HeldStake {
            command: held.command?,
            quantity: held.quantity,
            until: held.until,
        }));
    }
    // Ended by its own end, or by a later hold's.
    let is_over = |hold: &HeldStake| {
        hold.until <= now
            || record.is_some_and(|record| record.command == Some(hold.command) || record.until >= hold.until)
    };
    mine.filter(|hold| !is_over(hold))
}

/// The sale's shared state: the last tick if there is one, else read from the stores.
#[boxed]
pub async fn tick_now(shop: &Shop, sale: &Sale) -> Result<Tick> {
    match shop.here.last_tick(sale.id) {
        Some(tick) => Ok((*tick).clone()),
        // Boxed: it is rare, and every look at a sale would carry its 20 kB.
        None => Box::pin(tick_from_stores(shop, sale)).await,
    }
}

async fn tick_from_stores(shop: &Shop, sale: &Sale) -> Result<Tick> {
    // The number is taken before the counters are read, as the leader does. So this tick is newer than all before it, and older
    // than anything it misses.
    let now = shop.stock.now().await?;
    let (counters, waiting, lanes) = tokio::try_join!(
        shop.stock.sale_counters(sale),
        shop.stock.queue_length(sale.id),
        shop.store.lanes(sale.id),
    )?;
    let unpaid = lanes.iter().map(LaneInfo::unpaid).sum();
    let kept = shop.stock.kept_tick(sale.id).await?;
    let number = TickNumber {
        now,
        seq: now,
        waiting,
        priority_waiting: 0,
        parked: 0,
        admitted: Served::default(),
        turns: Turns::default(),
    };
    let tick = counters.tick(sale, number, unpaid);
    let Some(kept) = kept else { return Ok(tick) };
    // Measurements and waiting numbers come from the leader's last tick; the stock is as it is now.
    let is_free = tick.available > 0;
    Ok(Tick {
        phase: sale.phase_by(now, Some(kept.phase)),
        waiting: kept.waiting,
        admitted: kept.admitted,
        priority_waiting: kept.priority_waiting,
        priority_admitted: kept.priority_admitted,
        pace: kept.pace,
        pace_low: kept.pace_low,
        pace_high: kept.pace_high,
        priority_pace: kept.priority_pace,
        take: kept.take,
        lapse: kept.lapse,
        next_lapse_at: kept.next_lapse_at,
        slowed: kept
            .slowed
            .filter(|reason| *reason != Reason::StockLow || !is_free),
        ..tick
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::CommandId;

    const NOW: u64 = 1_000;

    fn hold(n: u128, until: u64) -> Option<Box<HeldStake>> {
        let command = CommandId::from_parts(1, n);
        Some(Box::new(HeldStake {
            command,
            quantity: 1,
            until,
        }))
    }

    fn record(n: u128, state: RecordState, until: u64) -> Record {
        let command = Some(CommandId::from_parts(1, n));
        Record {
            state,
            quantity: 1,
            until,
            command,
            order: None,
            extended: false,
        }
    }

    #[test]
    fn a_hold_of_which_redis_says_nothing_is_known_until_its_end() {
        let mine = hold(1, NOW + 50);
        assert_eq!(hold_known(mine.clone(), None, NOW), mine);
        assert_eq!(hold_known(mine.clone(), None, NOW + 50), None);
        // The record in Redis is of an earlier hold.
        let before = record(2, RecordState::Released, NOW + 40);
        assert_eq!(hold_known(mine.clone(), Some(&before), NOW), mine);
    }

    #[test]
    fn what_redis_knows_of_a_hold_is_believed() {
        let mine = hold(1, NOW + 50);
        for state in [RecordState::Released, RecordState::Ordered, RecordState::Expired] {
            assert_eq!(
                hold_known(mine.clone(), Some(&record(1, state, NOW + 50)), NOW),
                None
            );
        }
        let later = record(2, RecordState::Released, NOW + 60);
        assert_eq!(hold_known(mine.clone(), Some(&later), NOW), None);
        let held = record(2, RecordState::Held, NOW + 60);
        assert_eq!(hold_known(mine, Some(&held), NOW), hold(2, NOW + 60));
        assert_eq!(hold_known(None, None, NOW), None);
    }
}
