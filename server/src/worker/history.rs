//! Writes the line's history to Postgres: what the scripts have noted down in Redis, once a second, in bulk. Nobody waits
//! for it.

use super::{Led, repeat};
use crate::{error::Result, stock::JOURNAL_BATCH};
use flashsale_protocol::Phase;
use std::time::Duration;
use tokio::sync::Mutex;

const STEP: Duration = Duration::from_secs(1);

pub async fn run(led: &Led) {
    let closed = Mutex::new(false);
    repeat("history", led.id, || async {
        step(led, &mut *closed.lock().await).await
    })
    .await;
}

/// `closed`: the entries of this sale, which is over, are closed.
async fn step(led: &Led, closed: &mut bool) -> Result<Duration> {
    let app = &led.app;
    let notes = app.stock.journal(led.id).await?;
    let sale = led.sale().await?;
    if !notes.is_empty() {
        app.store.write_entries(&sale, &notes).await?;
        // Only now: a worker that dies in between leaves them to the next one, who writes them again.
        app.stock.drop_journal(led.id, notes.len()).await?;
        *closed = false;
        return Ok(if notes.len() == JOURNAL_BATCH {
            Duration::ZERO
        } else {
            STEP
        });
    }
    let now = app.stock.clock().await?;
    if !*closed && matches!(sale.phase_at(now), Phase::Ended | Phase::Cancelled) {
        let at = chrono::DateTime::from_timestamp_millis(now as i64).unwrap_or_default();
        *closed = !app.store.end_entries(&sale, at.min(sale.end_time)).await?;
    }
    Ok(STEP)
}
