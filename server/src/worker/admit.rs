//! Calls the line: each 100 ms as many as there are free units, and no more than the inflow allows. Every called entry
//! either gets a claim, or goes back to its old place. A leader that dies in between leaves its called entries to the
//! next one.

use super::{Led, repeat};
use crate::{
    error::Result,
    sale::{LaneRef, Sale},
    stock::{ADMIT_BATCH, Claimed, Verdict},
    supply,
};
use flashsale_protocol::{Allocation, Entry, EntryState, Phase, Reason, ServerMessage, ShopperId};
use std::{collections::HashMap, time::Duration};
use tokio::sync::Mutex;

const STEP: Duration = Duration::from_millis(100);
const NOT_LIVE: Duration = Duration::from_millis(500);

pub async fn run(led: &Led) {
    let opened = Mutex::new(None);
    repeat("admit", led.id, || async {
        step(led, &mut *opened.lock().await).await
    })
    .await;
}

/// `opened` is the place up to which the gate is open already, in which epochs of the lanes.
async fn step(led: &Led, opened: &mut Option<(Vec<u32>, u64)>) -> Result<Duration> {
    let app = &led.app;
    let sale = led.sale().await?;
    let now = app.stock.clock().await?;
    if sale.allocation == Allocation::Draw {
        return Ok(NOT_LIVE);
    }
    if sale.phase_at(now) != Phase::Live {
        let starts_in = crate::sale::ms(sale.start_time).saturating_sub(now);
        let soon = starts_in > 0 && starts_in < NOT_LIVE.as_millis() as u64;
        return Ok(if soon {
            Duration::from_millis(starts_in)
        } else {
            NOT_LIVE
        });
    }
    if led.is_held_off(&sale) {
        return Ok(STEP);
    }
    let free = app.stock.sale_counters(&sale).await?.available;
    let most = (free.min(u64::from(sale.inflow)) as usize).min(ADMIT_BATCH);
    let (last_place, waiting, called) = app.stock.admit(led.id, most).await?;
    if !called.is_empty() {
        return settle(led, &sale, called).await.map(|()| STEP);
    }
    // With several lanes everybody goes through the line: it is there that a device is counted across lanes.
    let epochs = sale.lane_refs().map(|at| at.epoch).collect();
    let open = Some((epochs, last_place));
    if waiting == 0 && sale.lanes.len() == 1 && *opened != open {
        for at in sale.lane_refs() {
            app.stock.open_gate(at, last_place).await?;
        }
        *opened = open;
    }
    Ok(STEP)
}

/// Gives the called entries their claims, tells them, and takes them out of the line.
async fn settle(led: &Led, sale: &Sale, called: Vec<(ShopperId, u32)>) -> Result<()> {
    let app = &led.app;
    let mut by_lane: HashMap<LaneRef, Vec<(ShopperId, u32)>> = HashMap::new();
    for (shopper, quantity) in called {
        by_lane
            .entry(sale.lane_of(&shopper))
            .or_default()
            .push((shopper, quantity));
    }
    let mut verdicts = Vec::new();
    let mut news = Vec::new();
    for (at, wanted) in by_lane {
        let claims = app.stock.claim(at, &wanted).await?;
        let short: u64 = wanted
            .iter()
            .zip(&claims.value)
            .filter(|(_, claimed)| **claimed == Claimed::Short)
            .map(|((_, quantity), _)| u64::from(*quantity))
            .sum();
        if short > 0 && sale.lanes.len() > 1 {
            // They go back to the front of the line, and find the units at the next step.
            supply::move_units(app, sale, at, short).await?;
        }
        for ((shopper, _), claimed) in wanted.into_iter().zip(claims.value) {
            let entry = |state, quantity, claim_until, reason| Entry {
                claim_until,
                reason,
                ..Entry::settled(sale.id, state, quantity, claims.now)
            };
            let (verdict, told) = match claimed {
                Claimed::Ok { quantity, until } => (
                    Verdict::Served,
                    Some(entry(EntryState::Admitted, quantity, Some(until), None)),
                ),
                Claimed::HasHold => (Verdict::Served, Some(entry(EntryState::Served, 0, None, None))),
                Claimed::Limit => (
                    Verdict::Served,
                    Some(entry(EntryState::Removed, 0, None, Some(Reason::LimitReached))),
                ),
                Claimed::Short | Claimed::Shut => (Verdict::Back, None),
            };
            verdicts.push((shopper.clone(), verdict));
            news.extend(told.map(|entry| (shopper, entry)));
        }
    }
    app.stock.settle_admission(sale.id, &verdicts).await?;
    for (shopper, entry) in news {
        app.live.tell(sale.id, shopper, ServerMessage::Entry(entry));
    }
    Ok(())
}
