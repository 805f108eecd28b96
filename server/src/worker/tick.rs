//! Publishes a sale's shared state: at most ten times a second when it changes, once a second otherwise.

use super::{Led, repeat};
use crate::{error::Result, telemetry::name};
use flashsale_protocol::{Allocation, Tick};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const ON_CHANGE: Duration = Duration::from_millis(100);
const OTHERWISE: Duration = Duration::from_secs(1);
/// The pace is measured over this time.
const PACE_WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Last {
    tick: Option<Tick>,
    published: Option<Instant>,
    admitted: VecDeque<(Instant, u64)>,
}

pub async fn run(led: &Led) {
    let last = Mutex::new(Last::default());
    repeat("tick", led.id, || async {
        step(led, &mut *last.lock().await).await
    })
    .await;
}

async fn step(led: &Led, last: &mut Last) -> Result<Duration> {
    let app = &led.app;
    let sale = led.sale().await?;
    // Numbered before the counters are read: what a tick tells is never older than its number.
    let mut number = app.stock.number_tick(led.id, &led.token).await?;
    if sale.allocation == Allocation::Draw {
        number.waiting = led.entries();
    }
    let counters = app.stock.sale_counters(&sale).await?;
    let pace = pace(&mut last.admitted, number.admitted);
    let tick = counters.tick(&sale, number, led.unpaid(), pace);
    let due = last.published.is_none_or(|at| at.elapsed() >= OTHERWISE);
    if !due && last.tick.as_ref().is_some_and(|before| same(before, &tick)) {
        return Ok(ON_CHANGE);
    }
    record(&tick);
    last.tick = Some(tick.clone());
    last.published = Some(Instant::now());
    metrics::counter!(name::TICKS).increment(1);
    // Where no gateway listens there is nobody to hurry for.
    let listeners = app.live.tick(tick).await?;
    Ok(if listeners == 0 { OTHERWISE } else { ON_CHANGE })
}

/// Whether a page would look the same, but for the clock.
fn same(a: &Tick, b: &Tick) -> bool {
    Tick {
        seq: 0,
        now: 0,
        pace: 0.0,
        ..a.clone()
    } == Tick {
        seq: 0,
        now: 0,
        pace: 0.0,
        ..b.clone()
    }
}

/// Entries called a second over the last seconds, to a tenth.
fn pace(seen: &mut VecDeque<(Instant, u64)>, admitted: u64) -> f64 {
    let now = Instant::now();
    seen.push_back((now, admitted));
    while seen.len() > 2 && seen.front().is_some_and(|(at, _)| now - *at > PACE_WINDOW) {
        seen.pop_front();
    }
    let Some((since, before)) = seen.front().copied() else {
        return 0.0;
    };
    let seconds = (now - since).as_secs_f64().max(1.0);
    (admitted.saturating_sub(before) as f64 / seconds * 10.0).round() / 10.0
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
