//! What the end of a sale brings: a draw, or nothing more.
//!
//! A first-come sale has something left to draw when somebody stands in line (here or away) and not all units are paid for: some
//! are free, or may come back from a turn, a cart, a checkout or an unpaid order.

use crate::{
    error::Result,
    sale::{LaneInfo, Sale, ms},
    shop::Shop,
    stock::Counters,
};
use flashsale_protocol::{Allocation, Phase};

/// Where a sale goes whose time is over, or which its operator ends.
pub async fn phase(shop: &Shop, sale: &Sale) -> Result<Phase> {
    if sale.allocation == Allocation::Draw {
        return Ok(Phase::Drawing);
    }
    // It was called off: before the start there are no turns, and nothing is left of them.
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

/// Everybody in line: as many as Redis knows of. A line that it has lost cannot come back after the end: then those whom the
/// line's history has.
pub async fn standing(shop: &Shop, sale: &Sale, in_redis: u64) -> Result<u64> {
    if in_redis > 0 {
        return Ok(in_redis);
    }
    super::history::write_all(shop, sale).await?;
    Ok(shop.store.outcomes(sale.id).await?.waiting)
}

/// `standing`: everybody in line; `unpaid`: units in unpaid orders.
pub(crate) fn is_left(standing: u64, counters: &Counters, unpaid: u64) -> bool {
    standing > 0 && counters.free() + counters.claimed + counters.held + counters.ordering + unpaid > 0
}
