//! Holds the draw of a sale when its entries have closed, or of the remaining units of a first-come sale at its end: publishes
//! the root, draws, calls those drawn, and passes unclaimed units to the next key, until everything is sold or nobody is left.
//! Every step may be repeated: after a leader dies, the next one goes on and computes the same draw from what was fixed before.

use super::{Led, history, repeat};
use crate::{
    error::{Error, Result},
    sale::{LaneRef, Note, Sale},
    settle::{lanes, supply},
    stock::{CalledBy, Claimed, Counters, RecordState, Turns},
    store::draws::{DrawRow, DrawTurn},
    telemetry::name,
};
use flashsale_protocol::{
    Allocation, DrawWeight, Entry, EntryState, Phase, Reason, ServerMessage, ShopperId,
};
use futures_util::future::try_join_all;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const STEP: Duration = Duration::from_millis(100);
/// Pause while only the sale's next phase, which others bring about, can change anything.
const LOOK: Duration = Duration::from_millis(500);
/// Counting the entries may take one part in this many of the time.
const COUNT_SHARE: u32 = 20;
/// Longest pause between two counts: one that has waited for a busy Postgres is no reason to show an old number for long.
const COUNT_PAUSE_MOST: Duration = Duration::from_secs(10);
/// Largest number of turns called in one step.
const CALL_BATCH: i64 = 500;
/// Smallest number of units for which next ones are looked up: each look is a pass over all entries.
const NEXT_UNITS: u64 = 100;

/// Memory of this leader between two steps.
#[derive(Default)]
struct Memory {
    /// The lanes' lives in which claims were last looked after.
    epochs: Option<Vec<u32>>,
    nobody_left: bool,
}

pub async fn run(led: &Led) {
    let memory = Mutex::new(Memory::default());
    repeat("draw", led.id, || async {
        step(led, &mut *memory.lock().await).await
    })
    .await;
}

async fn step(led: &Led, memory: &mut Memory) -> Result<Duration> {
    let sale = led.sale().await?;
    match (sale.allocation, sale.status) {
        (_, Phase::Drawing) => advance(led, &sale, memory).await,
        (Allocation::Queue, _) | (_, Phase::Ended | Phase::Cancelled) => Ok(LOOK),
        (Allocation::Draw, _) => {
            let began = Instant::now();
            led.set_entries(led.shop.store.count_entries(led.id).await?);
            Ok((began.elapsed() * COUNT_SHARE).clamp(LOOK, COUNT_PAUSE_MOST))
        }
    }
}

async fn advance(led: &Led, sale: &Sale, memory: &mut Memory) -> Result<Duration> {
    let shop = &led.shop;
    let mut row = draw(led).await?;
    if !row.is_closed {
        let began = Instant::now();
        let left = match sale.allocation {
            Allocation::Queue => Some(close_line(led, sale).await?),
            Allocation::Draw => None,
        };
        shop.store.close_entries(led.id).await?;
        if sale.draw_weight == DrawWeight::WaitingTime {
            let mut after = String::new();
            while let Some(last) = shop.store.weigh_entries(led.id, &after).await? {
                after = last;
            }
        }
        shop.store.publish_root(led.id, left).await?;
        row = draw(led).await?;
        metrics::histogram!(name::DRAW_SECONDS, "step" => "close").record(began.elapsed().as_secs_f64());
        tracing::info!(sale = %led.id, entries = row.public.count, units = row.public.units, "the entries have closed");
        shop.live.draw(&row.public).await?;
    }
    // Entries whose turn has not come.
    let (count, called) = (row.public.count.unwrap_or(0), row.public.called.unwrap_or(0));
    led.set_entries(count.saturating_sub(called));
    if row.awaits_beacon {
        return Ok(LOOK);
    }
    if !row.is_drawn {
        let began = Instant::now();
        shop.store.hold_draw(led.id, &row).await?;
        row = draw(led).await?;
        metrics::histogram!(name::DRAW_SECONDS, "step" => "draw").record(began.elapsed().as_secs_f64());
        tracing::info!(sale = %led.id, winners = row.public.winners, "the draw is held");
    }
    if led.is_held_off(sale) || led.is_stopped() {
        return Ok(STEP);
    }
    look_after_claims(led, sale, memory).await?;
    if row.is_told {
        return pass_on(led, sale, &row, memory).await;
    }
    let turns = shop.store.turns_to_call(led.id, CALL_BATCH).await?;
    let drawn: Vec<DrawTurn> = turns.into_iter().filter(|turn| turn.drawn).collect();
    let given = call(led, sale, &drawn, false).await?;
    shop.stock.count_turns(led.id, given).await?;
    // Units that were lost meanwhile reach nobody, so nobody waits for the entries drawn for them.
    let are_gone =
        given == Turns::default() && is_all_sold(led, &shop.stock.sale_counters(sale).await?).await?;
    if drawn.is_empty() || are_gone {
        shop.store.mark_told(led.id).await?;
        shop.forget_sale(led.id).await;
        // Sent after the winners' own news: a shopper without news by now was not drawn.
        shop.live.draw(&row.public).await?;
        return Ok(Duration::ZERO);
    }
    Ok(if given.granted > 0 && drawn.len() == CALL_BATCH as usize {
        Duration::ZERO
    } else {
        STEP
    })
}

/// Turns everybody in the line of a first-come sale into an entry of the draw of the remaining units. Returns the units that are
/// free now; later ones are passed on. It reads the line's history, which also has the places that Redis lost.
async fn close_line(led: &Led, sale: &Sale) -> Result<u64> {
    let shop = &led.shop;
    // This order matters: first nobody can join or leave, then every earlier note reaches the history.
    shop.stock.open_sale(sale).await?;
    shop.stock.drop_line(led.id).await?;
    history::drain(led).await?;
    let mut after = String::new();
    while let Some(last) = shop.store.enter_waiting(sale, &after).await? {
        after = last;
    }
    Ok(shop.stock.sale_counters(sale).await?.free())
}

async fn draw(led: &Led) -> Result<DrawRow> {
    let row = led.shop.store.draw(led.id).await?;
    row.ok_or_else(|| Error::unexpected("a draw without its row"))
}

/// Whether no unit is free and none can come back. Redis first, because its counters are at hand; then Postgres, which alone
/// knows every unpaid order.
async fn is_all_sold(led: &Led, counters: &Counters) -> Result<bool> {
    if counters.free() + coming(led, counters) > 0 {
        return Ok(false);
    }
    let lanes = led.shop.store.lanes(led.id).await?;
    Ok(lanes.iter().all(|lane| lane.confirmed == lane.supply))
}

fn coming(led: &Led, counters: &Counters) -> u64 {
    counters.claimed + counters.held + counters.ordering + led.unpaid()
}

/// Gives free units to the next ones in the draw's order. Ends the sale when all units are sold or nobody is left.
async fn pass_on(led: &Led, sale: &Sale, row: &DrawRow, memory: &mut Memory) -> Result<Duration> {
    let shop = &led.shop;
    let counters = shop.stock.sale_counters(sale).await?;
    let turns = shop.store.turns_to_call(led.id, CALL_BATCH).await?;
    let all_sold = is_all_sold(led, &counters).await?;
    if turns.is_empty() && !memory.nobody_left && !all_sold {
        let units = NEXT_UNITS.max(counters.free() + coming(led, &counters));
        memory.nobody_left = !shop.store.more_turns(led.id, row, units).await?;
        return Ok(Duration::ZERO);
    }
    // A claim lasts its full time, even if nobody comes after it.
    let is_over = counters.claimed == 0 && (memory.nobody_left && turns.is_empty() || all_sold);
    if is_over {
        // Looks again now: a Redis that has lost its lanes says so here, and this finds a turn given by an interrupted step or by
        // another leader.
        for at in sale.lane_refs() {
            shop.stock.next_deadline(at).await?;
        }
        let others = note_turns(led, sale, &turns, false).await?;
        if others.len() < turns.len() || shop.stock.sale_counters(sale).await?.claimed > 0 {
            return Ok(STEP);
        }
        finish(led).await?;
        return Ok(LOOK);
    }
    let mut free = counters.available;
    let next: Vec<DrawTurn> = turns
        .into_iter()
        .take_while(|turn| {
            let gets_some = free > 0;
            free = free.saturating_sub(u64::from(turn.units));
            gets_some
        })
        .collect();
    let given = call(led, sale, &next, false).await?;
    shop.stock.count_turns(led.id, given).await?;
    Ok(STEP)
}

async fn finish(led: &Led) -> Result<()> {
    let shop = &led.shop;
    if shop.store.end_draw(led.id).await? {
        tracing::info!(sale = %led.id, "the draw is over");
    }
    shop.live.draw(&draw(led).await?.public).await?;
    shop.forget_sale(led.id).await;
    let sale = led.sale().await?;
    lanes::open(shop, &sale).await?;
    shop.sale_changed(led.id).await
}

/// Marks turns that an interrupted step already granted; returns the other turns. `again`: they were called before and may have
/// lost their claim.
async fn note_turns<'a>(
    led: &Led,
    sale: &Sale,
    turns: &'a [DrawTurn],
    again: bool,
) -> Result<Vec<&'a DrawTurn>> {
    let shop = &led.shop;
    let (mut called, mut notes, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let people = turns.iter().map(async |turn| {
        let at = sale.lane_of(&turn.shopper);
        tokio::try_join!(
            shop.stock.person(at, turn.shopper.clone()),
            shop.stock.had_turn_of_draw(at, &turn.shopper),
        )
    });
    // In a first-come sale an ended record is taken to be older than the draw, unless the lane knows that the turn came from it.
    let may_be_before = sale.allocation == Allocation::Queue && !again;
    for (turn, (person, had_turn)) in turns.iter().zip(try_join_all(people).await?) {
        let has_had_turn = match &person.value.record {
            Some(record) => !may_be_before || record.state.runs(),
            None => !may_be_before && person.value.bought > 0,
        };
        if !has_had_turn && !had_turn {
            others.push(turn);
            continue;
        }
        called.push(turn.rank);
        notes.push(ended(turn, "served", person.now));
        if let Some(record) = person
            .value
            .record
            .filter(|record| record.state == RecordState::Claim)
        {
            tell(led, turn, record.quantity, Some(record.until), person.now);
        }
    }
    mark(led, sale, &called, &notes).await?;
    Ok(others)
}

async fn mark(led: &Led, sale: &Sale, called: &[i64], notes: &[Note]) -> Result<()> {
    // This order matters: marked entries are not looked at again.
    if sale.allocation == Allocation::Queue {
        led.shop.store.write_entries(sale, notes).await?;
    }
    led.shop.store.mark_called(led.id, called).await
}

/// Gives these turns their claims, tells the shoppers, and marks them as called. Returns the claims given.
async fn call(led: &Led, sale: &Sale, turns: &[DrawTurn], again: bool) -> Result<Turns> {
    let shop = &led.shop;
    let (mut called, mut notes) = (Vec::new(), Vec::new());
    let mut given = Turns::default();
    let mut by_lane: HashMap<LaneRef, Vec<&DrawTurn>> = HashMap::new();
    for turn in note_turns(led, sale, turns, again).await? {
        by_lane.entry(sale.lane_of(&turn.shopper)).or_default().push(turn);
    }
    for (at, turns) in by_lane {
        let wanted: Vec<(ShopperId, u32)> = turns
            .iter()
            .map(|turn| (turn.shopper.clone(), turn.units))
            .collect();
        if sale.lanes.len() > 1 {
            let units: u64 = wanted.iter().map(|(_, units)| u64::from(*units)).sum();
            let free = shop.stock.counters(at).await?.available;
            supply::move_units(shop, sale, at, units.saturating_sub(free)).await?;
        }
        let claims = shop.stock.claim(at, CalledBy::Draw, &wanted).await?;
        for (turn, claimed) in turns.into_iter().zip(claims.value) {
            match claimed {
                Claimed::Ok { quantity, until } => {
                    given.granted += 1;
                    given.granted_units += u64::from(quantity);
                    tell(led, turn, quantity, Some(until), claims.now);
                }
                Claimed::HasHold | Claimed::HadTurn => {}
                Claimed::Limit => tell(led, turn, 0, None, claims.now),
                // These stay next.
                Claimed::Short | Claimed::Shut => continue,
            }
            called.push(turn.rank);
            notes.push(if claimed == Claimed::Limit {
                ended(turn, "removed", claims.now)
            } else {
                ended(turn, "served", claims.now)
            });
        }
    }
    mark(led, sale, &called, &notes).await?;
    Ok(given)
}

fn ended(turn: &DrawTurn, status: &str, now: u64) -> Note {
    Note::Ended {
        shopper: turn.shopper.to_string(),
        status: status.into(),
        at_us: now * 1000,
    }
}

/// `until` is None if the limit leaves the shopper nothing.
fn tell(led: &Led, turn: &DrawTurn, quantity: u32, until: Option<u64>, now: u64) {
    let (state, reason) = match (until, turn.drawn) {
        (None, _) => (EntryState::Removed, Reason::LimitReached),
        (Some(_), true) => (EntryState::Admitted, Reason::Drawn),
        (Some(_), false) => (EntryState::Admitted, Reason::PassedOn),
    };
    let outcome = if turn.drawn { "drawn" } else { "passed_on" };
    metrics::counter!(name::DRAW_TURNS, "outcome" => outcome).increment(1);
    let entry = Entry {
        claim_until: until,
        reason: Some(reason),
        ..Entry::settled(led.id, state, quantity, now)
    };
    led.shop
        .live
        .tell(led.id, turn.shopper.clone(), ServerMessage::Entry(entry));
}

/// After lanes, or this leader, have begun anew: gives back claims that may still run and that Redis does not know.
async fn look_after_claims(led: &Led, sale: &Sale, memory: &mut Memory) -> Result<()> {
    let epochs: Vec<u32> = sale.lane_refs().map(|at| at.epoch).collect();
    if memory.epochs.as_ref() == Some(&epochs) {
        return Ok(());
    }
    let turns = led.shop.store.turns_called_since(led.id, sale.claim_ms).await?;
    for turns in turns.chunks(CALL_BATCH as usize) {
        // These turns were counted when they were first given.
        call(led, sale, turns, true).await?;
    }
    memory.epochs = Some(epochs);
    Ok(())
}
