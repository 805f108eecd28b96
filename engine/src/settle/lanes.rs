//! Opens lanes in Redis, and rebuilds them from Postgres.

use super::disaster;
use crate::{
    boxed,
    error::Result,
    sale::{LaneRef, Sale},
    shop::Shop,
    stock::{
        RecordState,
        rebuild::{LaneLife, settle, unsettled},
    },
    telemetry::name,
};
use flashsale_protocol::{Entry, EntryState, Hold, HoldState, Phase, Reason, SaleId, ServerMessage};
use std::time::Instant;

/// Writes a sale's settings to Redis. Lanes that Redis has lost, even in part, begin a new life from Postgres' orders and the
/// remaining records. True: at least one did.
#[boxed]
pub async fn open(shop: &Shop, sale: &Sale) -> Result<bool> {
    // A lane must not be rebuilt from a Postgres that has forgotten something.
    if disaster::is_stopped(shop, sale).await? {
        return Ok(false);
    }
    shop.stock.open_sale(sale).await?;
    let mut rebuilt = false;
    for (info, at) in sale.lanes.iter().zip(sale.lane_refs()) {
        let above = match shop.stock.probe_lane(at).await? {
            LaneLife::Open => {
                if sale.status == Phase::Drawing {
                    // This comes before the lane goes on: from now on only drawn shoppers may reserve, even where nobody had
                    // waited.
                    let now_us = shop.stock.now().await? * 1000;
                    shop.stock.close_gate(at, now_us).await?;
                }
                shop.stock.open_lane(sale, *info, 0, 0).await?;
                continue;
            }
            LaneLife::Lost => 0,
            LaneLife::OtherEpoch(epoch) => epoch,
        };
        rebuild(shop, sale, at, above).await?;
        rebuilt = true;
    }
    if rebuilt {
        reopened(shop, sale.id).await?;
    }
    Ok(rebuilt)
}

/// Lets gateways look after shoppers who lost something with a lane's old life.
pub(crate) async fn reopened(shop: &Shop, sale: SaleId) -> Result<()> {
    shop.forget_sale(sale).await;
    let life = shop.find_sale(sale).await?.map_or(0, |sale| sale.life());
    shop.live.reopened(sale, life).await
}

/// Begins one lane's new life. Two workers at once do no harm: the later epoch shuts the earlier one out at every step.
pub async fn rebuild(shop: &Shop, sale: &Sale, at: LaneRef, above: u32) -> Result<()> {
    rebuild_after(shop, sale, at, above, None).await
}

/// Like [`rebuild`]. With the id of a disaster, it first writes down the orders that Postgres has lost.
pub(crate) async fn rebuild_after(
    shop: &Shop,
    sale: &Sale,
    at: LaneRef,
    above: u32,
    disaster: Option<&str>,
) -> Result<()> {
    let began = Instant::now();
    // The epoch comes first: from here on, commits under an old one are refused.
    let epoch = shop.store.raise_epoch(sale.id, at.lane, above).await?;
    let at = LaneRef { epoch, ..at };
    let records = shop.stock.lock_lane(at).await?;
    if let Some(id) = disaster {
        disaster::write_down(shop, sale, at, id, &records).await?;
    }
    // Read only now, when nothing moves: units returned between the two steps would count as sold for good.
    let snapshot = shop.store.lane_snapshot(at, &unsettled(&records)).await?;
    let settled = settle(records, &snapshot, sale);
    shop.stock.refill_lane(at, &settled, &snapshot).await?;
    shop.stock
        .open_lane(sale, snapshot.info, settled.claimed, settled.held)
        .await?;
    metrics::counter!(name::REBUILDS, "sale" => sale.id.to_string()).increment(1);
    tracing::warn!(
        sale = %sale.id, lane = at.lane, epoch = at.epoch, allocated = snapshot.info.allocated, claimed = settled.claimed,
        held = settled.held, revoked = settled.revoked.len(), took_ms = began.elapsed().as_millis() as u64,
        "Redis was started again, or has lost a lane: what is stored has opened the lane anew"
    );
    let now = shop.stock.clock().await?;
    for record in settled.revoked {
        let message = if record.state == RecordState::Lapsed {
            ServerMessage::Entry(Entry {
                reason: Some(Reason::StockLost),
                ..Entry::settled(sale.id, EntryState::Lapsed, record.quantity, now)
            })
        } else {
            ServerMessage::Hold(Hold {
                reason: Some(Reason::StockLost),
                ..Hold::ended(sale.id, HoldState::Revoked, record.quantity, now)
            })
        };
        shop.live.tell(sale.id, record.shopper, message);
    }
    Ok(())
}
