//! The turns of a draw: the next ones, how far they have come, and when they are over.

use super::maybe_rank;
use crate::{
    error::{Error, Result},
    store::{
        Store,
        audit::{self, Actor, AuditRow, Kind},
        phase::move_status,
    },
};
use flashsale_protocol::{Phase, SaleId, ShopperId};
use serde_json::json;
use sqlx::PgConnection;

/// A turn that has not come yet.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawTurn {
    pub rank: i64,
    pub shopper: ShopperId,
    pub units: u32,
    /// Drawn for the sale's units, not for units that others left.
    pub drawn: bool,
}

impl Store {
    /// The next turns, in the order of the draw.
    pub async fn turns_to_call(&self, sale: SaleId, most: i64) -> Result<Vec<DrawTurn>> {
        let rows = sqlx::query!(
            "SELECT rank, shopper_id, units, drawn FROM draw_turns
             WHERE sale_id = $1 AND called_at IS NULL ORDER BY rank LIMIT $2",
            sale.to_string(),
            most,
        )
        .fetch_all(&self.pools.workers)
        .await?;
        rows.into_iter()
            .map(|row| turn(row.rank, &row.shopper_id, row.units, row.drawn))
            .collect()
    }

    /// Turns that may still run: their claims may have been lost with a lane.
    pub(crate) async fn turns_called_since(&self, sale: SaleId, ms: u64) -> Result<Vec<DrawTurn>> {
        let rows = sqlx::query!(
            "SELECT rank, shopper_id, units, drawn FROM draw_turns
             WHERE sale_id = $1 AND called_at > now() - make_interval(secs => $2::bigint / 1000.0) ORDER BY rank",
            sale.to_string(),
            ms as i64,
        )
        .fetch_all(&self.pools.workers)
        .await?;
        rows.into_iter()
            .map(|row| turn(row.rank, &row.shopper_id, row.units, row.drawn))
            .collect()
    }

    /// Marks these turns as called. Published is how far turns have come without a gap.
    pub async fn mark_called(&self, sale: SaleId, ranks: &[i64]) -> Result<()> {
        if ranks.is_empty() {
            return Ok(());
        }
        let mut tx = self.pools.workers.begin().await?;
        // One leader after the other: each must see the marks of the one before.
        let draw = sqlx::query_scalar!(
            "SELECT over_at FROM draws WHERE sale_id = $1 FOR UPDATE",
            sale.to_string(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        // The state published at the end is final.
        if !matches!(draw, Some(None)) {
            return Ok(());
        }
        sqlx::query!(
            "UPDATE draw_turns SET called_at = now() WHERE sale_id = $1 AND rank = ANY($2) AND called_at IS NULL",
            sale.to_string(),
            ranks,
        )
        .execute(&mut *tx)
        .await?;
        publish_turns(&mut tx, sale).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends the draw with the sale: nobody is called any more, and the published turns are final. False: it had ended before.
    pub async fn end_draw(&self, sale: SaleId) -> Result<bool> {
        let id = sale.to_string();
        let mut tx = self.pools.workers.begin().await?;
        let over = sqlx::query!(
            "UPDATE draws SET over_at = coalesce(over_at, now()) WHERE sale_id = $1 AND drawn_at IS NOT NULL",
            id,
        )
        .execute(&mut *tx)
        .await?;
        // This comes before the lock on the log's head.
        publish_turns(&mut tx, sale).await?;
        if over.rows_affected() == 0
            || !move_status(&mut tx, sale, &[Phase::Drawing], Phase::Ended, Actor::Worker).await?
        {
            return Ok(false);
        }
        let row = sqlx::query!(
            "SELECT called, last_called_key, last_called_entry FROM draws WHERE sale_id = $1",
            id,
        )
        .fetch_one(&mut *tx)
        .await?;
        let last = maybe_rank(row.last_called_key, row.last_called_entry)?;
        let written = AuditRow {
            sale,
            actor: Actor::Worker,
            kind: Kind::DrawOver,
            data: json!({ "called": row.called, "last_called": last }),
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Everybody who was drawn has been called. True: this call noted it.
    pub(crate) async fn mark_told(&self, sale: SaleId) -> Result<bool> {
        let told = sqlx::query!(
            "UPDATE draws SET told_at = now() WHERE sale_id = $1 AND drawn_at IS NOT NULL AND told_at IS NULL",
            sale.to_string(),
        )
        .execute(&self.pools.workers)
        .await?;
        Ok(told.rows_affected() > 0)
    }
}

/// Writes down how far turns have come without a gap; 0 if nobody has had one.
async fn publish_turns(connection: &mut PgConnection, sale: SaleId) -> Result<()> {
    sqlx::query!(
        "UPDATE draws d SET called = coalesce(t.rank, 0), last_called_key = t.key, last_called_entry = t.entry
         FROM (SELECT 1) always LEFT JOIN (SELECT rank, key, entry FROM draw_turns
            WHERE sale_id = $1 AND rank < coalesce(
                (SELECT min(rank) FROM draw_turns WHERE sale_id = $1 AND called_at IS NULL), 9223372036854775807)
            ORDER BY rank DESC LIMIT 1) t ON true
         WHERE d.sale_id = $1",
        sale.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn turn(rank: i64, shopper: &str, units: i32, drawn: bool) -> Result<DrawTurn> {
    Ok(DrawTurn {
        rank,
        shopper: shopper
            .parse()
            .map_err(|_| Error::unexpected("an entry with a bad shopper"))?,
        units: units as u32,
        drawn,
    })
}
