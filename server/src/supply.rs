//! How many units a lane may sell: moved between lanes by workers, changed by operators.
//!
//! Less begins in Redis, so that nobody can buy what is being taken away; more begins in Postgres. Whoever dies in between
//! leaves Redis with less than Postgres says, and the reconciler makes that good.

use crate::{
    app::App,
    error::Result,
    sale::{LaneRef, Sale},
};
use std::cmp::Reverse;

/// Units taken out of a lane in Redis, to be booked in Postgres.
type Taken = Vec<(LaneRef, u64)>;

/// Takes up to `units` free units out of lanes in Redis, from those that have most.
async fn take(app: &App, lanes: impl Iterator<Item = LaneRef>, units: u64) -> Result<Taken> {
    let mut givers = Vec::new();
    for at in lanes {
        givers.push((app.stock.counters(at).await?, at));
    }
    givers.sort_by_key(|(counters, _)| Reverse(counters.available));
    let (mut left, mut taken) = (units, Taken::new());
    for (counters, at) in givers {
        let wish = counters.available.min(left);
        if wish == 0 {
            break;
        }
        let supply = app.stock.set_supply(at, counters.supply - wish).await?;
        let got = counters.supply.saturating_sub(supply);
        left -= got;
        taken.push((at, got));
    }
    Ok(taken)
}

async fn give(app: &App, at: LaneRef, units: u64) -> Result<()> {
    let supply = app.stock.counters(at).await?.supply;
    app.stock.set_supply(at, supply + units).await?;
    Ok(())
}

async fn give_back(app: &App, taken: &Taken) -> Result<()> {
    for (at, units) in taken {
        give(app, *at, *units).await?;
    }
    Ok(())
}

/// Moves up to `units` free units to a lane whose shoppers find none. How many moved.
pub async fn move_units(app: &App, sale: &Sale, to: LaneRef, units: u64) -> Result<u64> {
    let mut moved = 0;
    for (from, got) in take(app, sale.lane_refs().filter(|at| at.lane != to.lane), units).await? {
        if app
            .store
            .move_supply(sale.id, from.lane, to.lane, got as u32)
            .await?
        {
            moved += got;
        } else {
            give(app, from, got).await?;
        }
    }
    if moved > 0 {
        give(app, to, moved).await?;
    }
    Ok(moved)
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

/// Sets how many units a sale has in all.
pub async fn change(app: &App, sale: &Sale, total: u32, actor: &str) -> Result<Changed> {
    let now: u32 = sale.lanes.iter().map(|lane| lane.supply).sum();
    if total >= now {
        let (more, lanes) = (total - now, sale.lanes.len().max(1) as u32);
        let changes: Vec<(u16, i32)> = sale
            .lanes
            .iter()
            .zip(0u32..)
            .map(|(lane, i)| (lane.lane, (more / lanes + u32::from(i < more % lanes)) as i32))
            .collect();
        app.store.change_supply(sale.id, &changes, actor).await?;
        for (at, (_, change)) in sale.lane_refs().zip(&changes) {
            give(app, at, u64::from(change.unsigned_abs())).await?;
        }
        return Ok(Changed::Ok);
    }
    let less = u64::from(now - total);
    let taken = take(app, sale.lane_refs(), less).await?;
    let got: u64 = taken.iter().map(|(_, units)| units).sum();
    let changes: Vec<(u16, i32)> = taken
        .iter()
        .map(|(at, units)| (at.lane, -(*units as i32)))
        .collect();
    if got == less && app.store.change_supply(sale.id, &changes, actor).await? {
        return Ok(Changed::Ok);
    }
    give_back(app, &taken).await?;
    Ok(Changed::InUse {
        least: u64::from(now) - got,
    })
}
