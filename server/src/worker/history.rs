//! Writes the line's history to Postgres: what the scripts have noted down in Redis, once a second, in bulk. Nobody waits
//! for it.

use super::{Led, repeat};
use crate::{app::App, error::Result, sale::Sale, stock::JOURNAL_BATCH};
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

/// Writes all that is noted down by now.
pub async fn drain(led: &Led) -> Result<()> {
    // One at a time: what the one writes, the other need not write as well.
    let _turn = led.journal.lock().await;
    write_all(&led.app, &*led.sale().await?).await
}

/// The same for whoever does not lead the sale.
pub async fn write_all(app: &App, sale: &Sale) -> Result<()> {
    while write(app, sale).await? == JOURNAL_BATCH {}
    Ok(())
}

/// The oldest notes. How many there were.
async fn write(app: &App, sale: &Sale) -> Result<usize> {
    let journal = app.stock.journal(sale.id).await?;
    let count = journal.notes.len();
    if count > 0 {
        app.store.write_entries(sale, &journal.notes).await?;
        // Only now: a worker that dies in between leaves them to the next one, who writes them again.
        app.stock.drop_journal(sale.id, journal).await?;
    }
    Ok(count)
}

/// `closed`: the entries of this sale, which is over, are closed.
async fn step(led: &Led, closed: &mut bool) -> Result<Duration> {
    let app = &led.app;
    let sale = led.sale().await?;
    let turn = led.journal.lock().await;
    let written = write(app, &sale).await?;
    drop(turn);
    if written > 0 {
        *closed = false;
        return Ok(if written == JOURNAL_BATCH {
            Duration::ZERO
        } else {
            STEP
        });
    }
    let now = app.stock.clock().await?;
    // Not by the clock: what is left may be drawn among them first.
    if !*closed && matches!(sale.status, Phase::Ended | Phase::Cancelled) {
        let at = chrono::DateTime::from_timestamp_millis(now as i64).unwrap_or_default();
        *closed = !app.store.end_entries(&sale, at.min(sale.end_time)).await?;
    }
    Ok(STEP)
}
