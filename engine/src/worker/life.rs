//! Moves a sale through its phases on time: scheduled → waiting → live → (drawing →) ended. Reservations do not wait for this,
//! because the scripts open and close by Redis' own clock.

use super::{Led, repeat};
use crate::{
    error::Result,
    sale::{ms, phase_word},
    settle::{ending, lanes},
    store::audit::Actor,
};
use flashsale_protocol::Phase;
use std::time::Duration;

/// Looks at least this often, because an operator may have changed the times.
const AT_MOST: Duration = Duration::from_secs(1);
const AT_LEAST: Duration = Duration::from_millis(20);

pub async fn run(led: &Led) {
    repeat("life", led.id, || step(led)).await;
}

async fn step(led: &Led) -> Result<Duration> {
    let shop = &led.shop;
    let sale = led.sale().await?;
    let now = shop.stock.now().await?;
    let mut phase = sale.phase_at(now);
    if phase == Phase::Ended && sale.status != phase {
        phase = ending::phase(shop, &sale).await?;
    }
    if phase != sale.status
        && matches!(
            phase,
            Phase::Waiting | Phase::Live | Phase::Drawing | Phase::Ended
        )
    {
        // Only from this status: an operator's change in between wins.
        if shop
            .store
            .set_status(led.id, &[sale.status], phase, Actor::Worker)
            .await?
        {
            tracing::info!(sale = %led.id, phase = phase_word(phase), "the sale moves on");
        }
        shop.forget_sale(led.id).await;
        let sale = led.sale().await?;
        if lanes::open(shop, &sale).await? {
            led.line.set_to_fill();
        }
        shop.sale_changed(led.id).await?;
        return Ok(Duration::ZERO);
    }
    let next = [sale.room_opens_at, sale.start_time, sale.end_time]
        .into_iter()
        .map(ms)
        .filter(|at| *at > now)
        .min();
    Ok(next.map_or(AT_MOST, |at| {
        Duration::from_millis(at - now).clamp(AT_LEAST, AT_MOST)
    }))
}
