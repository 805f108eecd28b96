//! Decides what follows the end of a sale: a draw, or nothing.
//!
//! A first-come sale has something left to draw when somebody stands in line (here or away) and not all units are paid for: some
//! are free, or may come back from a turn, a cart, a checkout or an unpaid order.

use crate::{
    boxed,
    error::Result,
    sale::{LaneInfo, Sale, ms},
    shop::Shop,
    stock::Counters,
};
use flashsale_protocol::{Allocation, Phase};

/// The next phase of a sale whose time is up, or which its operator ends.
#[boxed]
pub async fn phase(shop: &Shop, sale: &Sale) -> Result<Phase> {
    if sale.allocation == Allocation::Draw {
        return Ok(Phase::Drawing);
    }
    // The sale was called off: before the start there are no turns, so nothing is left to draw.
    if shop.stock.clock().await? < ms(sale.start_time) {
        return Ok(Phase::Ended);
    }
    let (in_redis, counters, lanes, draw) = tokio::try_join!(
        shop.stock.standing(sale.id),
        shop.stock.sale_counters(sale),
        shop.store.lanes(sale.id),
        shop.store.recent_draw(sale.id),
    )?;
    let unpaid = lanes.iter().map(LaneInfo::unpaid).sum();
    let standing = standing(shop, sale, in_redis).await?;
    Ok(if draw.is_some() && is_left(standing, &counters, unpaid) {
        Phase::Drawing
    } else {
        Phase::Ended
    })
}

/// Number of people in line. A line that Redis has lost cannot come back after the end; then the line's history counts.
pub async fn standing(shop: &Shop, sale: &Sale, in_redis: u64) -> Result<u64> {
    if in_redis > 0 {
        return Ok(in_redis);
    }
    super::history::write_all(shop, sale).await?;
    Ok(shop.store.outcomes(sale.id).await?.waiting)
}

/// `standing`: people in line; `unpaid`: units in unpaid orders.
pub(crate) fn is_left(standing: u64, counters: &Counters, unpaid: u64) -> bool {
    standing > 0 && counters.free() + counters.claimed + counters.held + counters.ordering + unpaid > 0
}
