//! Calls the line every 100 ms: as many people as there are free units, limited by the inflow. Every called entry either gets a
//! claim or goes back to its old place. If a leader dies in between, the next one goes on with its called entries.

use super::{
    Led, repeat,
    roll::{self, Roll},
};
use crate::{
    error::Result,
    load::REPORTED_EVERY,
    sale::{LaneRef, Sale},
    settle::supply,
    stock::{ADMIT_BATCH, Called, CalledBy, Carried, Claimed, TurnVerdict, Turns},
    telemetry::name,
};
use flashsale_protocol::{Allocation, Entry, EntryState, Phase, Reason, ServerMessage, ShopperId};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const STEP: Duration = Duration::from_millis(100);
pub(super) const STEPS_A_SECOND: f64 = 10.0;
const NOT_LIVE: Duration = Duration::from_millis(500);
/// Upper limit for calling more than the inflow because called people do not come, as a factor.
const MOST_COMPENSATION: f64 = 2.0;

/// Memory of one leader between steps.
#[derive(Default)]
struct Steps {
    gate: Gate,
    budget: Budget,
    roll: Roll,
    /// When the governor has looked.
    looked: Option<Instant>,
}

/// How this leader left the gate of the sale's lanes.
#[derive(Default, PartialEq)]
enum Gate {
    /// Set by another leader, or half-way.
    #[default]
    Unknown,
    Shut,
    /// For places up to this one, in these epochs of the lanes.
    Open(Vec<u32>, u64),
}

/// How many may be called now: the inflow per [`STEP`], however irregular the steps are.
#[derive(Default)]
struct Budget {
    left: f64,
    filled: Option<Instant>,
}

impl Budget {
    fn fill(&mut self, inflow: f64) -> usize {
        let now = Instant::now();
        let steps = self
            .filled
            .map_or(1.0, |at| (now - at).as_secs_f64() / STEP.as_secs_f64());
        self.filled = Some(now);
        // An unused budget does not pile up.
        self.left = (self.left + inflow * steps).min(inflow.max(1.0));
        self.left as usize
    }

    fn spend(&mut self, called: usize) {
        self.left = (self.left - called as f64).max(0.0);
    }
}

pub async fn run(led: &Led) {
    let steps = Mutex::new(Steps::default());
    repeat("admit", led.id, || async {
        let wait = step(led, &mut *steps.lock().await).await?;
        // Units that come back go to the next in line at once.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = led.freed.notified() => {}
        }
        Ok(Duration::ZERO)
    })
    .await;
}

async fn step(led: &Led, steps: &mut Steps) -> Result<Duration> {
    let shop = &led.shop;
    let sale = led.sale().await?;
    let now = shop.stock.clock().await?;
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
    if led.is_held_off(&sale)
        || led.is_stopped()
        || led.line.is_to_fill()
        || roll::call(led, &mut steps.roll).await?
    {
        return Ok(STEP);
    }
    if steps.looked.is_none_or(|at| at.elapsed() >= REPORTED_EVERY) {
        steps.looked = Some(Instant::now());
        govern(led, &sale).await?;
    }
    let carried = led.verdict();
    // The inflow is what the operator wants served: if some called people do not come, more are called. What the shop can carry
    // counts those who came.
    let compensation = (1.0 / (1.0 - led.no_show()).max(1e-9)).min(MOST_COMPENSATION);
    let set = f64::from(sale.inflow) * compensation;
    let inflow = carried.map_or(set, |carried| set.min(carried.limit / STEPS_A_SECOND));
    let is_over = carried.is_some_and(|carried| carried.is_over);
    let free = shop.stock.sale_counters(&sale).await?.available;
    let most = (free as usize).min(steps.budget.fill(inflow)).min(ADMIT_BATCH);
    let Called {
        last_stamp,
        waiting,
        called,
        parked,
    } = shop.stock.admit(led.id, most, sale.priority_share).await?;
    // The gate may be open: a shopper back from being away does not shut it (joining does), and another leader may have opened
    // it. Beyond what the shop can carry, everybody goes through the line.
    if (waiting > 0 || is_over) && sale.may_open_gate() && steps.gate != Gate::Shut {
        for at in sale.lane_refs() {
            shop.stock.close_gate(at, last_stamp).await?;
        }
        steps.gate = Gate::Shut;
    }
    if !parked.is_empty() {
        shop.live.parked(led.id, &parked).await?;
    }
    if !called.is_empty() {
        let called_now = called.len();
        steps.budget.spend(called_now);
        let all_settled = settle(led, &sale, called).await?;
        // A step of several rounds continues at once, with other scripts in between. So does the last step, to open the gate.
        return Ok(if called_now == ADMIT_BATCH || (all_settled && waiting == 0) {
            Duration::ZERO
        } else {
            STEP
        });
    }
    let open = Gate::Open(sale.lane_refs().map(|at| at.epoch).collect(), last_stamp);
    if waiting == 0 && !is_over && sale.may_open_gate() && steps.gate != open {
        steps.gate = Gate::Unknown;
        for at in sale.lane_refs() {
            shop.stock.open_gate(at, last_stamp).await?;
        }
        steps.gate = open;
    }
    Ok(STEP)
}

/// Looks at what the shop can carry, and tells operators.
async fn govern(led: &Led, sale: &Sale) -> Result<()> {
    let shop = &led.shop;
    led.govern(
        shop.stock.load().await?,
        Duration::from_millis(sale.target_delay_ms),
    );
    let Some(verdict) = led.verdict() else {
        return Ok(());
    };
    if let Some(carried) = verdict.carried {
        shop.stock.remember_carried(carried).await?;
    }
    let of_sale = sale.id.to_string();
    metrics::gauge!(name::CARRIED, "sale" => of_sale.clone()).set(verdict.limit);
    metrics::gauge!(name::PURCHASE_DELAY, "sale" => of_sale).set(verdict.delay.as_secs_f64());
    let carried = Carried {
        limit: verdict.limit,
        delay: verdict.delay,
        is_limiting: led.carried(sale).is_some(),
    };
    shop.stock.note_carried(sale.id, carried).await
}

/// Gives the called entries their claims, tells them, and takes them out of the line. False: some went back to their places.
async fn settle(led: &Led, sale: &Sale, called: Vec<(ShopperId, u32)>) -> Result<bool> {
    let shop = &led.shop;
    let mut by_lane: HashMap<LaneRef, Vec<(ShopperId, u32)>> = HashMap::new();
    for (shopper, quantity) in called {
        by_lane
            .entry(sale.lane_of(&shopper))
            .or_default()
            .push((shopper, quantity));
    }
    let mut verdicts = Vec::new();
    let mut news = Vec::new();
    let mut turns = Turns::default();
    for (at, wanted) in by_lane {
        let claims = shop.stock.claim(at, CalledBy::Line, &wanted).await?;
        let short: u64 = wanted
            .iter()
            .zip(&claims.value)
            .filter(|(_, claimed)| **claimed == Claimed::Short)
            .map(|((_, quantity), _)| u64::from(*quantity))
            .sum();
        if short > 0 && sale.lanes.len() > 1 {
            // They go back to the front of the line; the next step finds the units here.
            supply::move_units(shop, sale, at, short).await?;
        }
        for ((shopper, _), claimed) in wanted.into_iter().zip(claims.value) {
            let entry = |state, quantity, claim_until, reason| Entry {
                claim_until,
                reason,
                ..Entry::settled(sale.id, state, quantity, claims.now)
            };
            let (verdict, told) = match claimed {
                Claimed::Ok { quantity, until } => {
                    turns.granted += 1;
                    turns.granted_units += u64::from(quantity);
                    (
                        TurnVerdict::Served,
                        Some(entry(EntryState::Admitted, quantity, Some(until), None)),
                    )
                }
                Claimed::HasHold | Claimed::HadTurn => (
                    TurnVerdict::Served,
                    Some(entry(EntryState::Served, 0, None, None)),
                ),
                Claimed::Limit => (
                    TurnVerdict::Removed,
                    Some(entry(EntryState::Removed, 0, None, Some(Reason::LimitReached))),
                ),
                Claimed::Short | Claimed::Shut => (TurnVerdict::Back, None),
            };
            verdicts.push((shopper.clone(), verdict));
            news.extend(told.map(|entry| (shopper, entry)));
        }
    }
    let all_settled = verdicts.iter().all(|(_, verdict)| *verdict != TurnVerdict::Back);
    shop.stock.settle_admission(sale.id, &verdicts).await?;
    for (shopper, entry) in news {
        shop.live.tell(sale.id, shopper, ServerMessage::Entry(entry));
    }
    shop.stock.count_turns(sale.id, turns).await?;
    Ok(all_settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_steps_call_nobody_beyond_the_inflow() {
        let mut budget = Budget::default();
        assert_eq!(budget.fill(10.0), 10);
        budget.spend(10);
        for _ in 0..5 {
            assert_eq!(budget.fill(10.0), 0, "no time has passed");
        }
        budget.filled = budget.filled.map(|at| at - STEP * 7);
        assert_eq!(
            budget.fill(10.0),
            10,
            "seven steps that were not used are not made up for"
        );
        budget.spend(4);
        budget.filled = budget.filled.map(|at| at - STEP / 2);
        assert_eq!(budget.fill(10.0), 10);
    }
}
