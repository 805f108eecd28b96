//! `state`: all that a page needs to draw one sale for one shopper.

use super::{Answer, draw, reserve::hold_state};
use crate::{
    app::App,
    auth::Caller,
    error::Result,
    sale::{HeldStake, LineName, PlaceStake, Sale},
    stock::{At, InLine, RecordState, Served, Stands, TickNumber, Turns},
    store::OrderRow,
};
use flashsale_protocol::{Done, Entry, EntryState, Hold, Phase, Reason, Reject, SaleId, SaleState, Tick};

pub async fn run(app: &App, caller: &Caller, sale: SaleId) -> Answer {
    let sale = app.sale(sale).await?;
    Ok(Done::State(Box::new(sale_state(app, caller, &sale).await?)))
}

pub async fn sale_state(app: &App, caller: &Caller, sale: &Sale) -> Result<SaleState, Reject> {
    let shopper = &caller.shopper;
    let (person, place, orders, tick) = tokio::try_join!(
        app.stock.person(sale.lane_of(shopper), shopper.clone()),
        app.stock.place(sale.id, shopper.clone()),
        app.store.orders_of(shopper, Some(sale.id)),
        tick_now(app, sale),
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
    app.hub.stake(shopper, sale.id, |stake| {
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
            });
        }
        stake.hold = record
            .as_ref()
            .filter(|record| record.state == RecordState::Held)
            .and_then(|record| {
                Some(Box::new(HeldStake {
                    command: record.command?,
                    quantity: record.quantity,
                    until: record.until,
                }))
            });
    });
    let entry = match (stands, &record) {
        (_, Some(claim)) if claim.state == RecordState::Claim && claim.until > person.now => {
            entry(EntryState::Admitted, claim.quantity, Some(claim.until))
        }
        (
            Stands::Waiting {
                position,
                quantity,
                line,
                ..
            },
            _,
        ) => waiting(quantity, position, line),
        // Called in this very moment: the claim's event is under way.
        (Stands::Admitting { quantity }, _) => waiting(quantity, 1, LineName::Queue),
        (Stands::Nowhere, Some(claim)) if claim.state == RecordState::Lapsed => {
            entry(EntryState::Lapsed, claim.quantity, None)
        }
        (Stands::Nowhere, _) => None,
    };
    let (entry, draw) = draw::in_state(app, sale, shopper, entry, now).await?;
    let hold = record.and_then(|record| {
        Some(Hold {
            sale: sale.id,
            state: hold_state(record.state)?,
            quantity: record.quantity,
            expires_at: record.until,
            order: record.order,
            reason: None,
            at: person.now,
        })
    });
    let orders = orders.iter().map(OrderRow::view).collect();
    Ok(SaleState {
        sale: sale.info(now),
        tick,
        entry,
        hold,
        orders,
        draw,
    })
}

/// The sale's shared state: the last tick where one has come, else from the stores.
pub async fn tick_now(app: &App, sale: &Sale) -> Result<Tick> {
    if let Some(tick) = app.hub.last_tick(sale.id) {
        return Ok((*tick).clone());
    }
    let (counters, waiting, now, lanes) = tokio::try_join!(
        app.stock.sale_counters(sale),
        app.stock.queue_length(sale.id),
        app.stock.now(),
        app.store.lanes(sale.id),
    )?;
    let unpaid = lanes
        .iter()
        .map(|lane| u64::from(lane.allocated - lane.confirmed))
        .sum();
    let kept = app.stock.kept_tick(sale.id).await?;
    // Older than any tick of a worker, so that the first one of those is taken.
    let number = TickNumber {
        now,
        seq: 0,
        waiting,
        priority_waiting: 0,
        parked: 0,
        admitted: Served::default(),
        turns: Turns::default(),
    };
    let tick = counters.tick(sale, number, unpaid);
    let Some(kept) = kept else { return Ok(tick) };
    // What is measured, and who waits, from the leader; the stock as it is now.
    let is_free = tick.available > 0;
    Ok(Tick {
        // The clock alone does not know what the end brings.
        phase: match (tick.phase, kept.phase) {
            (Phase::Ended, Phase::Drawing) if sale.status != Phase::Ended => kept.phase,
            (phase, _) => phase,
        },
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
