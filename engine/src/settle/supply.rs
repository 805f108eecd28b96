//! A lane's supply: workers move units between lanes, operators change the total.
//!
//! A change has an id. Units that leave a lane are first set aside in Redis, so that nobody can buy them. Then Postgres commits
//! the change once, as a new version of each lane's supply. Then Redis follows, version by version. No step writes a value that
//! was read in an earlier one. If a worker stops between two steps, units stay set aside or a lane is behind; the reconciler ends
//! both ([`catch_up`], [`end_left_moves`]).

use crate::{
    boxed,
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

/// Time after which a mover that has not come back from Postgres is taken to be gone.
pub(crate) const MOVE_TIME: Duration = Duration::from_secs(2);

/// Lanes in the order of their free units, most first.
async fn richest(shop: &Shop, lanes: impl Iterator<Item = LaneRef>) -> Result<Vec<LaneRef>> {
    let mut known = Vec::new();
    for at in lanes {
        known.push((shop.stock.counters(at).await?.available, at));
    }
    known.retain(|(free, _)| *free > 0);
    known.sort_by_key(|(free, _)| Reverse(*free));
    Ok(known.into_iter().map(|(_, at)| at).collect())
}

/// Moves up to `units` free units to a lane whose shoppers find none. Returns how many.
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
                // The lane that gets units comes first, so that no unit of the sale is missing meanwhile.
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

/// Tells lanes in Redis what Postgres has just committed. If a lane misses it, the reconciler tells it later.
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

/// Brings a lane in Redis from the version that it knows to the one in Postgres. False: it has missed too much for that.
pub async fn catch_up(shop: &Shop, at: LaneRef, known: u64) -> Result<bool> {
    let Some(news) = shop.store.supply_since(at, known).await? else {
        return Ok(false);
    };
    shop.stock.apply_supply(at, &news).await?;
    Ok(true)
}

/// Ends moves out of a lane whose mover is gone: Postgres has committed them or never will. False: as with [`catch_up`].
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
    // The lane has all committed changes. Units still set aside for these moves did not leave with them.
    for (id, _) in &left {
        shop.stock.untake_supply(at, *id).await?;
    }
    Ok(true)
}

/// The outcome of a change of a sale's whole supply.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    Ok,
    /// Units sold or in carts cannot be taken away; `least` is the smallest supply possible now.
    InUse {
        least: u64,
    },
}

/// A change of a sale's supply within a transaction: its outcome, and what to tell Redis after the transaction.
#[must_use = "Redis is to hear of it, or to get back what was set aside"]
pub struct Prepared {
    pub changed: Changed,
    id: MoveId,
    lanes: Vec<LaneRef>,
    now: Vec<LaneSupply>,
}

/// Sets a sale's units in all. Operators' changes follow each other, and each gives the new total.
pub async fn change(shop: &Shop, sale: &Sale, total: u32, actor: Actor) -> Result<Changed> {
    let mut tx = shop.store.lock_sale(sale.id).await?;
    let prepared = prepare(shop, &mut tx, sale, total, actor).await?;
    if prepared.changed == Changed::Ok {
        // After an error the outcome is unknown; the reconciler finds it out.
        tx.commit().await?;
        prepared.follow(shop).await;
        return Ok(Changed::Ok);
    }
    tx.rollback().await?;
    prepared.undo(shop).await
}

/// Like [`change`], within a transaction that has locked the sale ([`crate::store::Store::lock_sale`]). Unless the outcome is
/// [`Changed::Ok`], the transaction must be rolled back. Then comes [`Prepared::follow`] or [`Prepared::undo`]; after a crash the
/// reconciler does that.
#[boxed]
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
        // The change before this one is committed, but its lanes may not have heard of it yet.
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
    /// Call this after the transaction was committed.
    #[boxed]
    pub async fn follow(&self, shop: &Shop) {
        follow(shop, self.id, &self.lanes, &self.now).await;
    }

    /// Call this after the transaction was rolled back.
    #[boxed]
    pub async fn undo(self, shop: &Shop) -> Result<Changed> {
        for at in &self.lanes {
            shop.stock.untake_supply(*at, self.id).await?;
        }
        Ok(self.changed)
    }
}
