//! How many units a lane may sell: moved between lanes by workers, changed by operators.
//!
//! A change has an id. What leaves a lane is set aside in Redis first, so that nobody can buy it; then Postgres commits the
//! change once, as a new version of each lane's supply; then Redis follows, version by version. No step writes what was read in
//! an earlier one. A worker that stops between two steps leaves units set aside, or a lane that is behind; the reconciler ends
//! both ([`catch_up`], [`end_left_moves`]).

use crate::{
    error::{Error, Result},
    sale::{LaneRef, LaneSupply, MoveId, Sale, SupplyNews},
    shop::Shop,
    store::{
        Connection,
        audit::Actor,
        supply::{self as book, SupplyChange},
    },
};
use std::{cmp::Reverse, time::Duration};

/// Time within which a mover comes back from Postgres, or is gone.
pub(crate) const MOVE_TIME: Duration = Duration::from_secs(2);

/// Lanes, those with most free units first.
async fn richest(shop: &Shop, lanes: impl Iterator<Item = LaneRef>) -> Result<Vec<LaneRef>> {
    let mut known = Vec::new();
    for at in lanes {
        known.push((shop.stock.counters(at).await?.available, at));
    }
    known.retain(|(free, _)| *free > 0);
    known.sort_by_key(|(free, _)| Reverse(*free));
    Ok(known.into_iter().map(|(_, at)| at).collect())
}

/// Moves up to `units` free units to a lane whose shoppers find none. How many moved.
pub async fn move_units(shop: &Shop, sale: &Sale, to: LaneRef, units: u64) -> Result<u64> {
    let mut moved = 0;
    for from in richest(shop, sale.lane_refs().filter(|at| at.lane != to.lane)).await? {
        if moved >= units {
            break;
        }
        let id = MoveId::random();
        let got = shop.stock.take_supply(from, id, units - moved).await?;
        if got == 0 {
            continue;
        }
        match shop.store.move_supply(id, from, to, got as u32).await? {
            Some(now) => {
                // First the lane that gets them: no unit of the sale is missing meanwhile.
                follow(shop, id, &[to, from], &now).await;
                moved += got;
            }
            None => {
                shop.stock.untake_supply(from, id).await?;
            }
        }
    }
    Ok(moved)
}

/// Tells lanes in Redis what Postgres has just committed. What they miss, they hear from the reconciler.
async fn follow(shop: &Shop, id: MoveId, lanes: &[LaneRef], now: &[LaneSupply]) {
    for at in lanes {
        let Some(now) = now.iter().find(|supply| supply.lane == at.lane) else {
            continue;
        };
        let news = SupplyNews {
            after: now.version.saturating_sub(1),
            now: *now,
            left: vec![id],
        };
        let followed = match shop.stock.apply_supply(*at, &news).await {
            Ok(known) if known < news.after => catch_up(shop, *at, known).await.map(drop),
            told => told.map(drop),
        };
        if let Err(error) = followed {
            tracing::info!(sale = %at.sale, lane = at.lane, %error, "a lane hears of its supply later");
        }
    }
}

/// Brings a lane in Redis from the version that it knows to Postgres'. False: it has missed too much for that.
pub async fn catch_up(shop: &Shop, at: LaneRef, known: u64) -> Result<bool> {
    let Some(news) = shop.store.supply_since(at, known).await? else {
        return Ok(false);
    };
    shop.stock.apply_supply(at, &news).await?;
    Ok(true)
}

/// Ends moves out of a lane whose mover is gone: Postgres has committed them, or never will. False: as with [`catch_up`].
pub async fn end_left_moves(shop: &Shop, at: LaneRef, older_than: Duration) -> Result<bool> {
    let before = shop
        .stock
        .now()
        .await?
        .saturating_sub(older_than.as_millis() as u64);
    let mut left = shop.stock.leaving(at).await?;
    left.retain(|(_, since)| *since <= before);
    if left.is_empty() {
        return Ok(true);
    }
    for (id, _) in &left {
        let committed = shop.store.decide_move(at.sale, *id).await?;
        tracing::info!(sale = %at.sale, lane = at.lane, %id, committed, "a move that was left half-way is ended");
    }
    let known = shop.stock.counters(at).await?.supply_version;
    if !catch_up(shop, at, known).await? {
        return Ok(false);
    }
    // The lane has all that is committed. What still stands aside for these moves did not leave with them.
    for (id, _) in &left {
        shop.stock.untake_supply(at, *id).await?;
    }
    Ok(true)
}

/// What became of a change of a sale's whole supply.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    Ok,
    /// Units that are sold or in carts cannot be taken away; the least that the sale can have now.
    InUse {
        least: u64,
    },
}

/// A change of a sale's supply within a transaction: what it came to, and what Redis is to hear when that is over.
#[must_use = "Redis is to hear of it, or to get back what was set aside"]
pub struct Prepared {
    pub changed: Changed,
    id: MoveId,
    lanes: Vec<LaneRef>,
    now: Vec<LaneSupply>,
}

/// Sets how many units a sale has in all. Operators' changes come one after the other, and each is absolute.
pub async fn change(shop: &Shop, sale: &Sale, total: u32, actor: Actor) -> Result<Changed> {
    let mut tx = shop.store.lock_sale(sale.id).await?;
    let prepared = prepare(shop, &mut tx, sale, total, actor).await?;
    if prepared.changed == Changed::Ok {
        // An error leaves the outcome unknown: the reconciler finds it out.
        tx.commit().await?;
        prepared.follow(shop).await;
        return Ok(Changed::Ok);
    }
    tx.rollback().await?;
    prepared.undo(shop).await
}

/// The same within a transaction that has locked the sale ([`crate::store::Store::lock_sale`]). Unless it is [`Changed::Ok`],
/// the transaction must be rolled back. Afterwards [`Prepared::follow`] or [`Prepared::undo`]; who dies before leaves that to
/// the reconciler.
pub async fn prepare(
    shop: &Shop,
    connection: &mut Connection,
    sale: &Sale,
    total: u32,
    actor: Actor,
) -> Result<Prepared> {
    let now = book::total(connection, sale.id).await?;
    let mut prepared = Prepared {
        changed: Changed::Ok,
        id: MoveId::random(),
        lanes: Vec::new(),
        now: Vec::new(),
    };
    if total == now {
        return Ok(prepared);
    }
    let (mut changes, mut left) = (Vec::new(), u64::from(now.saturating_sub(total)));
    if total > now {
        let (more, lanes) = (total - now, sale.lanes.len().max(1) as u32);
        for (at, i) in sale.lane_refs().zip(0u32..) {
            let units = (more / lanes + u32::from(i < more % lanes)) as i32;
            changes.push(SupplyChange { at, units });
        }
        changes.retain(|change| change.units > 0);
    } else {
        // The change before this one is committed, and may not have come to its lanes yet.
        for at in sale.lane_refs() {
            let known = shop.stock.counters(at).await?.supply_version;
            if let Some(news) = book::supply_since(connection, at, known).await? {
                shop.stock.apply_supply(at, &news).await?;
            }
        }
        for at in richest(shop, sale.lane_refs()).await? {
            if left == 0 {
                break;
            }
            let got = shop.stock.take_supply(at, prepared.id, left).await?;
            if got > 0 {
                left -= got;
                changes.push(SupplyChange {
                    at,
                    units: -(got as i32),
                });
            }
        }
    }
    prepared.lanes = changes.iter().map(|change| change.at).collect();
    if left > 0 {
        let least = u64::from(total) + left;
        prepared.changed = Changed::InUse { least };
    } else {
        prepared.now = book::change_total(connection, prepared.id, sale.id, &changes, actor)
            .await?
            .ok_or_else(|| {
                Error::LaneFenced("it has begun another life since units were set aside".into())
            })?;
    }
    Ok(prepared)
}

impl Prepared {
    /// The transaction is committed.
    pub async fn follow(&self, shop: &Shop) {
        follow(shop, self.id, &self.lanes, &self.now).await;
    }

    /// The transaction is rolled back.
    pub async fn undo(self, shop: &Shop) -> Result<Changed> {
        for at in &self.lanes {
            shop.stock.untake_supply(*at, self.id).await?;
        }
        Ok(self.changed)
    }
}
