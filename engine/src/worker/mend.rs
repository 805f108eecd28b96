//! Notices when Redis has lost a part of a line, and refills it from its history in Postgres. Everybody gets their place back,
//! connected or not. Nobody is called and nobody joins meanwhile.

use super::{Led, history, repeat};
use crate::{
    error::Result,
    sale::{LineName, Note, Sale},
    stock::{LineLife, RecordState, Waiter},
    store::EntryRow,
    telemetry::name,
};
use flashsale_protocol::{Allocation, DeviceId};
use futures_util::future::try_join_all;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(250);
const OVER: Duration = Duration::from_secs(1);

/// The format since which processes note which parts of a line exist.
const NOTES_PARTS: u16 = 1;

/// The parts in which people stand.
const PLACES: [&str; 4] = ["queue", "priority", "admitting", "parked"];

pub async fn run(led: &Led) {
    repeat("mend", led.id, || step(led)).await;
}

async fn step(led: &Led) -> Result<Duration> {
    let (shop, sale) = (&led.shop, led.sale().await?);
    if sale.allocation == Allocation::Draw {
        return Ok(OVER);
    }
    let probed = shop.stock.probe_line(led.id, led.line.is_guarded()).await?;
    match probed.life {
        LineLife::Over => {
            led.line.set_filled();
            return Ok(OVER);
        }
        LineLife::Guarded(lost) => {
            led.line.set_guarded();
            if !lost.is_empty() {
                mend(led, &sale, &lost).await?;
            }
        }
        // A process that does not note which parts exist would make an empty part look like a lost one.
        LineLife::NotYet if shop.stock.common_formats().await? >= NOTES_PARTS => {
            shop.stock.trust_line(led.id, &[]).await?;
            led.line.set_guarded();
        }
        LineLife::NotYet => {}
    }
    // The leader who noticed the loss may have lost its lead with it.
    if !probed.is_filled && !led.line.is_to_fill() {
        led.line.set_to_fill();
    }
    if led.line.is_time_to_fill() {
        fill(led, &sale).await?;
        shop.stock.note_filled(led.id).await?;
        shop.live.refilled(led.id).await?;
        led.line.set_filled();
    }
    Ok(STEP)
}

async fn mend(led: &Led, sale: &Sale, lost: &[String]) -> Result<()> {
    let shop = &led.shop;
    let (began, has) = (Instant::now(), |part: &str| lost.iter().any(|lost| lost == part));
    let mut filled = 0;
    if has("sale") {
        // All the other parts may be lost as well.
        shop.stock.open_sale(sale).await?;
        shop.stock.trust_line(led.id, &led.line.counts()).await?;
        led.line.set_to_fill();
        led.line.call_roll();
    } else {
        if has("journal") {
            note_what_was_lost(led, sale).await?;
            shop.live.notes_lost(led.id).await?;
        }
        filled = fill(led, sale).await?;
        if has("absent") {
            led.line.call_roll();
        }
        shop.stock.trust_line(led.id, &[]).await?;
    }
    metrics::counter!(name::LINE_REPAIRS, "sale" => led.id.to_string()).increment(1);
    tracing::warn!(
        sale = %led.id, ?lost, filled, took_ms = began.elapsed().as_millis() as u64,
        "a part of the line was lost, and is there again"
    );
    Ok(())
}

/// Gives a place back to everybody who waits by the history but is nowhere in Redis. Returns how many.
async fn fill(led: &Led, sale: &Sale) -> Result<usize> {
    // This brings every earlier note into the history.
    history::drain(led).await?;
    let (mut filled, mut after) = (0, String::new());
    loop {
        let page = led.shop.store.entries_page(led.id, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.queue_id);
        let waiters: Vec<Waiter> = page.iter().filter_map(|row| waiter(row, sale)).collect();
        let stood = led.shop.stock.refill_line(led.id, &waiters).await?;
        filled += waiters
            .iter()
            .zip(stood)
            .filter(|(waiter, stood)| waiter.line.is_some() && !stood)
            .count();
    }
    Ok(filled)
}

/// With several lanes, a device belongs to one shopper for the whole sale, so those who no longer wait are kept too.
fn waiter(row: &EntryRow, sale: &Sale) -> Option<Waiter> {
    let waits = row.status == "waiting";
    if !waits && sale.lanes.len() == 1 {
        return None;
    }
    Some(Waiter {
        shopper: row.user_id.parse().ok()?,
        device: row.device_id.parse().ok()?,
        quantity: u32::try_from(row.quantity).ok()?,
        place: u64::try_from(row.place?).ok()?,
        line: waits.then_some(if row.priority {
            LineName::Priority
        } else {
            LineName::Queue
        }),
    })
}

/// The notes for the history are gone: this writes what happened since, as far as the line shows it.
async fn note_what_was_lost(led: &Led, sale: &Sale) -> Result<()> {
    let shop = &led.shop;
    let now_us = shop.stock.now().await? * 1000;
    let mut after = String::new();
    loop {
        let page = shop.store.entries_page(led.id, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.queue_id);
        let waiters: Vec<Waiter> = page
            .iter()
            .filter_map(|row| waiter(row, sale))
            .filter(|waiter| waiter.line.is_some())
            .collect();
        let stand = shop.stock.stand_in_line(led.id, &waiters).await?;
        let gone = waiters.iter().zip(stand).filter(|(_, stands)| !stands);
        let notes = gone.map(|(waiter, _)| async move {
            let person = shop
                .stock
                .person(sale.lane_of(&waiter.shopper), waiter.shopper.clone())
                .await?;
            let is_served = person.value.record.is_some_and(|record| {
                !matches!(record.state, RecordState::None | RecordState::Cancelled) || person.value.bought > 0
            });
            Ok::<_, crate::error::Error>(Note::Ended {
                shopper: waiter.shopper.to_string(),
                status: if is_served { "served" } else { "left" }.into(),
                at_us: now_us,
            })
        });
        let notes = try_join_all(notes).await?;
        shop.store.write_entries(sale, &notes).await?;
    }
    for part in PLACES {
        let mut after = 0;
        loop {
            let page = shop.stock.standing_in(led.id, part, after).await?;
            if page.is_empty() {
                break;
            }
            after += page.len();
            let known = page
                .iter()
                .map(|standing| shop.store.waits_for(led.id, &standing.shopper));
            let known = try_join_all(known).await?;
            let unknown = page.iter().zip(known).filter(|(_, known)| known.is_none());
            let notes: Vec<Note> = unknown
                .map(|(standing, _)| Note::Joined {
                    shopper: standing.shopper.to_string(),
                    // Redis keeps only the device's mark.
                    device: shop
                        .here
                        .device_of(&standing.shopper)
                        .map_or_else(|| "-".into(), |device: DeviceId| device.to_string()),
                    quantity: standing.quantity,
                    place: standing.place,
                    at_us: now_us,
                    line: standing.line,
                    // Gateways know it, and add it when they hear of the loss.
                    nonce: None,
                    restored: true,
                })
                .collect();
            shop.store.write_entries(sale, &notes).await?;
        }
    }
    Ok(())
}
