//! Publishes a sale's shared state: at most ten times a second when it changes, once a second otherwise.

use super::{
    Led,
    pace::{Inflow, MeasuredPace},
    repeat,
    turns::MeasuredTurns,
};
use crate::{error::Result, sale::ms, settle::ending, telemetry::name};
use flashsale_protocol::{Allocation, Phase, Tick};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const ON_CHANGE: Duration = Duration::from_millis(100);
const OTHERWISE: Duration = Duration::from_secs(1);
/// How long a tick without listeners still counts as heard: a moving slot loses its listeners for a moment.
const LISTENERS_MISSED: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Last {
    tick: Option<Tick>,
    published: Option<Instant>,
    heard: Option<Instant>,
    pace: MeasuredPace,
    turns: MeasuredTurns,
}

pub async fn run(led: &Led) {
    let last = Mutex::new(Last::default());
    repeat("tick", led.id, || async {
        step(led, &mut *last.lock().await).await
    })
    .await;
}

async fn step(led: &Led, last: &mut Last) -> Result<Duration> {
    let shop = &led.shop;
    let sale = led.sale().await?;
    // The number is taken before the counters are read: a tick's content is never older than its number.
    let mut number = shop.stock.number_tick(led.id, &led.token).await?;
    led.line.note(&number);
    // In the draw of the remaining units, the counted entries replace the line's length.
    let is_draw = sale.allocation == Allocation::Draw || sale.status == Phase::Drawing && led.entries() > 0;
    if is_draw {
        let is_over = matches!(sale.status, Phase::Ended | Phase::Cancelled);
        (number.waiting, number.priority_waiting) = (if is_over { 0 } else { led.entries() }, 0);
    }
    let counters = shop.stock.sale_counters(&sale).await?;
    let mut tick = counters.tick(&sale, number, led.unpaid());
    // The clock alone cannot tell what follows the end.
    let is_end = tick.phase == Phase::Ended && sale.status != Phase::Ended;
    if is_end {
        let standing = ending::standing(shop, &sale, tick.waiting + number.parked).await?;
        if ending::is_left(standing, &counters, led.unpaid()) {
            tick.phase = Phase::Drawing;
        }
    }
    if last.published.is_none()
        && let Some(kept) = shop.stock.kept_tick(led.id).await?
    {
        last.pace.resume(&kept);
    }
    let inflow = Inflow {
        most: sale.inflow,
        carried: led.carried(&sale),
        cut_at: sale.inflow_cut_at.map(ms),
        priority_share: sale.priority_share,
    };
    let now = Instant::now();
    led.set_no_show(last.turns.write(&mut tick, &counters, &number, now));
    last.pace.write(&mut tick, &number, inflow, now);
    if sale.is_suspended {
        // It is not the sale's operator who has paused it.
        tick.slowed = None;
    }
    if tick.claimed + tick.held > 0 {
        for at in sale.lane_refs() {
            let next = shop.stock.next_deadline(at).await?;
            tick.next_lapse_at = tick.next_lapse_at.into_iter().chain(next).min();
        }
    }
    let due = last.published.is_none_or(|at| at.elapsed() >= OTHERWISE);
    if !due && last.tick.as_ref().is_some_and(|before| same(before, &tick)) {
        return Ok(ON_CHANGE);
    }
    record(&tick);
    last.tick = Some(tick.clone());
    last.published = Some(Instant::now());
    metrics::counter!(name::TICKS).increment(1);
    // Both at once: publishing does not wait for keeping.
    let (listeners, ()) = tokio::try_join!(
        shop.live.tick(tick.clone(), sale.life()),
        shop.stock.keep_tick(&tick),
    )?;
    if listeners > 0 {
        last.heard = Some(Instant::now());
    }
    // Without listening gateways there is no need to hurry.
    let is_heard = last.heard.is_some_and(|at| at.elapsed() < LISTENERS_MISSED);
    Ok(if is_heard { ON_CHANGE } else { OTHERWISE })
}

/// Whether a page would look the same, apart from the clock and measurements over seconds.
fn same(a: &Tick, b: &Tick) -> bool {
    let still = |tick: &Tick| Tick {
        seq: 0,
        now: 0,
        pace: None,
        pace_low: 0.0,
        pace_high: 0.0,
        priority_pace: 0.0,
        ..tick.clone()
    };
    still(a) == still(b)
}

fn record(tick: &Tick) {
    let sale = tick.sale.to_string();
    let units = [
        ("available", tick.available),
        ("claimed", tick.claimed),
        ("held", tick.held),
        ("ordering", tick.ordering),
        ("sold", tick.sold),
    ];
    for (state, count) in units {
        metrics::gauge!(name::STOCK, "sale" => sale.clone(), "state" => state).set(count as f64);
    }
    metrics::gauge!(name::QUEUE_LENGTH, "sale" => sale.clone()).set(tick.waiting as f64);
    metrics::counter!(name::ADMITTED, "sale" => sale).absolute(tick.admitted);
}
