//! The lanes' supply: each change is committed once, by its id, as a new version of each lane's supply.

use super::{
    Store,
    audit::{self, Actor, AuditRow, Kind},
};
use crate::{
    error::{Error, Result},
    sale::{LaneRef, LaneSupply, MoveId, SupplyNews},
};
use flashsale_protocol::SaleId;
use serde_json::json;
use sqlx::{PgConnection, PgTransaction};

/// Moves that a lane in Redis may have missed. After more, the lane is opened anew and needs none of them.
const MOST_MISSED: i64 = 1_000;

/// Units that come to a lane or leave it. Leaving units were set aside in this life of the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupplyChange {
    pub at: LaneRef,
    pub units: i32,
}

impl Store {
    /// Moves units, set aside in Redis, from one lane to another. Returns what both may sell then. None, and nothing changed: the
    /// giving lane began another life or sold them, or the move was given up.
    pub async fn move_supply(
        &self,
        id: MoveId,
        from: LaneRef,
        to: LaneRef,
        units: u32,
    ) -> Result<Option<Vec<LaneSupply>>> {
        let mut tx = self.pools.purchases.begin().await?;
        let less = SupplyChange {
            at: from,
            units: -(units as i32),
        };
        let more = SupplyChange {
            at: to,
            units: units as i32,
        };
        let Some(now) = commit_changes(&mut tx, id, from.sale, &[less, more]).await? else {
            return Ok(None);
        };
        let entry = AuditRow {
            sale: from.sale,
            actor: Actor::Worker,
            kind: Kind::SupplyMoved,
            data: json!({ "from": from.lane, "to": to.lane, "units": units, "move": id.to_string() }),
        };
        audit::write(&mut tx, &[entry]).await?;
        tx.commit().await?;
        Ok(Some(now))
    }

    /// Begins an operator's command on a sale: other commands wait until this transaction ends, orders do not.
    pub async fn lock_sale(&self, sale: SaleId) -> Result<PgTransaction<'static>> {
        let mut tx = self.pools.purchases.begin().await?;
        sqlx::query!(
            "SELECT sale_id FROM flash_sales WHERE sale_id = $1 FOR NO KEY UPDATE",
            sale.to_string()
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(tx)
    }

    /// What a lane may sell now, and the moves that took units away since a version. None: it has missed too much.
    pub(crate) async fn supply_since(&self, at: LaneRef, version: u64) -> Result<Option<SupplyNews>> {
        supply_since(&mut *self.pools.purchases.acquire().await?, at, version).await
    }

    /// Decides a move whose mover is silent: if it is not committed, it never will be. Returns whether it is.
    pub async fn decide_move(&self, sale: SaleId, id: MoveId) -> Result<bool> {
        sqlx::query!(
            "INSERT INTO supply_moves (move_id, sale_id, committed) VALUES ($1, $2, FALSE) ON CONFLICT DO NOTHING",
            id.to_string(),
            sale.to_string(),
        )
        .execute(&self.pools.purchases)
        .await?;
        Ok(sqlx::query_scalar!(
            "SELECT committed FROM supply_moves WHERE move_id = $1",
            id.to_string()
        )
        .fetch_one(&self.pools.purchases)
        .await?)
    }
}

/// A sale's units in all. Moves between its lanes do not change it; only a command that has locked the sale may.
pub async fn total(connection: &mut PgConnection, sale: SaleId) -> Result<u32> {
    let total = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(supply), 0)::bigint AS "total!" FROM sale_lanes WHERE sale_id = $1"#,
        sale.to_string(),
    )
    .fetch_one(connection)
    .await?;
    u32::try_from(total).map_err(|_| Error::unexpected("a sale with too many units"))
}

/// Changes a sale's units in all, within the transaction that locked it. Returns what the lanes may sell then. None: a lane began
/// another life or sold them; the transaction must not be committed.
pub(crate) async fn change_total(
    connection: &mut PgConnection,
    id: MoveId,
    sale: SaleId,
    changes: &[SupplyChange],
    actor: Actor,
) -> Result<Option<Vec<LaneSupply>>> {
    let Some(now) = commit_changes(connection, id, sale, changes).await? else {
        return Ok(None);
    };
    sqlx::query!(
        "UPDATE flash_sales SET total_stock = (SELECT sum(supply) FROM sale_lanes WHERE sale_id = $1)
         WHERE sale_id = $1",
        sale.to_string(),
    )
    .execute(&mut *connection)
    .await?;
    let lanes: Vec<u16> = changes.iter().map(|change| change.at.lane).collect();
    let units: Vec<i32> = changes.iter().map(|change| change.units).collect();
    let entry = AuditRow {
        sale,
        actor,
        kind: Kind::SupplyChanged,
        data: json!({ "lanes": lanes, "units": units, "move": id.to_string() }),
    };
    audit::write(connection, &[entry]).await?;
    Ok(Some(now))
}

/// Writes the changes of one id, at most one per lane, as facts. None: refused; the transaction must not be committed.
async fn commit_changes(
    connection: &mut PgConnection,
    id: MoveId,
    sale: SaleId,
    changes: &[SupplyChange],
) -> Result<Option<Vec<LaneSupply>>> {
    let sale = sale.to_string();
    let lanes: Vec<i16> = changes.iter().map(|change| change.at.lane as i16).collect();
    let epochs: Vec<i32> = changes.iter().map(|change| change.at.epoch as i32).collect();
    let units: Vec<i32> = changes.iter().map(|change| change.units).collect();
    let is_new = sqlx::query!(
        "INSERT INTO supply_moves (move_id, sale_id, committed) VALUES ($1, $2, TRUE) ON CONFLICT DO NOTHING",
        id.to_string(),
        sale,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    // In the order of the lanes, so that two moves cannot block each other.
    sqlx::query!(
        "SELECT lane FROM sale_lanes WHERE sale_id = $1 AND lane = ANY($2) ORDER BY lane FOR UPDATE",
        sale,
        &lanes,
    )
    .fetch_all(&mut *connection)
    .await?;
    if !is_new {
        return Ok(None);
    }
    // Leaving units were set aside in one life of the lane; a later life counts them as free.
    let rows = sqlx::query!(
        "UPDATE sale_lanes l SET supply = l.supply + c.units, supply_version = l.supply_version + 1
         FROM unnest($2::smallint[], $3::int[], $4::int[]) AS c (lane, units, epoch)
         WHERE l.sale_id = $1 AND l.lane = c.lane AND (c.units > 0 OR l.epoch = c.epoch)
           AND l.supply + c.units >= l.allocated
         RETURNING l.lane, l.supply, l.supply_version, c.units AS \"units!\"",
        sale,
        &lanes,
        &units,
        &epochs,
    )
    .fetch_all(&mut *connection)
    .await?;
    if rows.len() != changes.len() {
        return Ok(None);
    }
    let lanes: Vec<i16> = rows.iter().map(|row| row.lane).collect();
    let versions: Vec<i64> = rows.iter().map(|row| row.supply_version).collect();
    let units: Vec<i32> = rows.iter().map(|row| row.units).collect();
    sqlx::query!(
        "INSERT INTO supply_facts (sale_id, lane, version, units, move_id)
         SELECT $1, lane, version, units, $5 FROM unnest($2::smallint[], $3::bigint[], $4::int[]) AS f (lane, version, units)",
        sale,
        &lanes,
        &versions,
        &units,
        id.to_string(),
    )
    .execute(&mut *connection)
    .await?;
    Ok(Some(
        rows.iter()
            .map(|row| LaneSupply {
                lane: row.lane as u16,
                version: row.supply_version as u64,
                supply: row.supply as u32,
            })
            .collect(),
    ))
}

/// Like [`Store::supply_since`], on the connection of a running transaction.
pub(crate) async fn supply_since(
    connection: &mut PgConnection,
    at: LaneRef,
    version: u64,
) -> Result<Option<SupplyNews>> {
    // One statement, so that the moves are exactly those up to the version read.
    let row = sqlx::query!(
        r#"SELECT supply, supply_version, ARRAY(
                   SELECT move_id FROM supply_facts f
                   WHERE f.sale_id = l.sale_id AND f.lane = l.lane AND f.version > $3 AND f.units < 0
                   LIMIT $4) AS "left!"
               FROM sale_lanes l WHERE sale_id = $1 AND lane = $2"#,
        at.sale.to_string(),
        at.lane as i16,
        version as i64,
        MOST_MISSED + 1,
    )
    .fetch_one(connection)
    .await?;
    if row.left.len() > MOST_MISSED as usize {
        return Ok(None);
    }
    let left = row.left.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    Ok(Some(SupplyNews {
        after: version,
        now: LaneSupply {
            lane: at.lane,
            version: row.supply_version as u64,
            supply: row.supply as u32,
        },
        left: left.map_err(Error::unexpected)?,
    }))
}
