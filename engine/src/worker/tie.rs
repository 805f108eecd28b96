//! Ties the heads of the lanes' audit chains in the sale's own chain: at an interval while something is written, and soon after the
//! last change when the sale is over.

use super::{Led, repeat};
use crate::{error::Result, store::audit};
use flashsale_protocol::Phase;
use std::time::Duration;

/// A row of a lane's chain is tied within this time.
const TIE_EVERY: Duration = Duration::from_secs(10);
/// The same after the sale's end: its last orders and refunds are few.
const TIE_AT_END: Duration = Duration::from_secs(1);

pub async fn run(led: &Led) {
    repeat("tie", led.id, || step(led)).await;
}

async fn step(led: &Led) -> Result<Duration> {
    let sale = led.sale().await?;
    let is_over = matches!(sale.status, Phase::Ended | Phase::Cancelled);
    // While Postgres is behind, nothing is added to what it may still get back.
    if sale.format >= audit::FORMAT_WITH_LANES && !led.is_stopped() {
        led.shop.store.tie_heads(led.id).await?;
    }
    Ok(if is_over || led.is_stopped() {
        TIE_AT_END
    } else {
        TIE_EVERY
    })
}
