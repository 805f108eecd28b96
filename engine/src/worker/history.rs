//! Writes the line's history to Postgres once a second, in bulk, from the notes that scripts keep in Redis. Nobody waits for it.

use super::{Led, repeat};
use crate::{
    error::Result,
    settle::history::{write, write_all},
    stock::JOURNAL_BATCH,
};
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

/// Writes all notes of until now.
pub async fn drain(led: &Led) -> Result<()> {
    // One at a time, so that no notes are written twice.
    let _turn = led.journal.lock().await;
    write_all(&led.shop, &*led.sale().await?).await
}

/// `closed`: the sale is over and its entries are already closed.
async fn step(led: &Led, closed: &mut bool) -> Result<Duration> {
    let shop = &led.shop;
    let sale = led.sale().await?;
    let turn = led.journal.lock().await;
    let written = write(shop, &sale).await?;
    drop(turn);
    if written > 0 {
        *closed = false;
        return Ok(if written == JOURNAL_BATCH {
            Duration::ZERO
        } else {
            STEP
        });
    }
    let now = shop.stock.clock().await?;
    // Decided by status, not by the clock: the remaining units may be drawn among these entries first.
    if !*closed && matches!(sale.status, Phase::Ended | Phase::Cancelled) {
        let at = chrono::DateTime::from_timestamp_millis(now as i64).unwrap_or_default();
        *closed = !shop.store.end_entries(&sale, at.min(sale.end_time)).await?;
    }
    Ok(STEP)
}
