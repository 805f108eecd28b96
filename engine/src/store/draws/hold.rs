//! Holds a draw: finds who was drawn, in order, first for the sale's units and then for units that others left.

use super::{DrawRow, rank_of};
use crate::{
    boxed,
    error::Result,
    fairness::WeightClass,
    store::{
        Store,
        audit::{self, Actor, AuditRow, Kind},
    },
};
use flashsale_protocol::{
    SaleId,
    draw::{Drum, Pick, Rank, Winner},
};
use serde_json::json;
use std::collections::BTreeMap;

/// Units for which one pass over the entries finds winners; this limits a pass's memory.
const PICK_UNITS: u64 = 200_000;
/// Turns written by one statement.
const TURNS: usize = 5_000;
/// Turns read by one statement.
const TURNS_READ: usize = 50_000;

impl Store {
    /// Holds the draw: writes down who was drawn, in order, and then publishes seed and cut-off in one commit. An interrupted
    /// draw is held again with the same result, because all its inputs are fixed.
    pub async fn hold_draw(&self, sale: SaleId, row: &DrawRow) -> Result<()> {
        let (mut left, mut drawn) = (row.public.units.unwrap_or(0), 0_i64);
        let mut last = None;
        while left > 0 {
            let winners = self.pick(sale, row, left.min(PICK_UNITS), last.clone()).await?;
            let mut turns = Vec::with_capacity(winners.len());
            for winner in &winners {
                let units = u64::from(winner.quantity).min(left);
                left -= units;
                turns.push((winner, units as i32));
            }
            let Some(end) = winners.last() else { break };
            self.write_turns(sale, drawn, &turns, true).await?;
            drawn += winners.len() as i64;
            last = Some(end.rank.clone());
        }
        let winners = self.winners_by_weight(sale, drawn).await?;

        let id = sale.to_string();
        let mut tx = self.pools.workers.begin().await?;
        let is_first = sqlx::query!(
            "UPDATE draws SET drawn_at = now(), winners = $2, cut_off_key = $3, cut_off_entry = $4
             WHERE sale_id = $1 AND drawn_at IS NULL",
            id,
            drawn,
            last.as_ref().map(|rank| rank.key.to_string()),
            last.as_ref().map(|rank| rank.entry.clone()),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if is_first == 0 {
            return Ok(());
        }
        let (weights, winners): (Vec<i32>, Vec<i64>) = winners.into_iter().unzip();
        sqlx::query!(
            "UPDATE draw_classes c SET winners = w.winners
             FROM unnest($2::int[], $3::bigint[]) AS w (weight, winners) WHERE c.sale_id = $1 AND c.weight = w.weight",
            id,
            &weights,
            &winners,
        )
        .execute(&mut *tx)
        .await?;
        let written = AuditRow {
            sale,
            actor: Actor::Worker,
            kind: Kind::DrawHeld,
            data: json!({ "seed": row.seed, "winners": drawn, "cut_off": last }),
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Read in parts, so that no statement takes long.
    async fn winners_by_weight(&self, sale: SaleId, drawn: i64) -> Result<BTreeMap<i32, i64>> {
        let mut winners = BTreeMap::new();
        for before in (0..drawn).step_by(TURNS_READ) {
            let rows = sqlx::query!(
                r#"SELECT e.weight, count(*) AS "winners!" FROM draw_turns t
                   JOIN draw_entries e ON e.sale_id = t.sale_id AND e.entry = t.entry
                   WHERE t.sale_id = $1 AND t.rank > $2 AND t.rank <= $3 AND t.drawn GROUP BY e.weight"#,
                sale.to_string(),
                before,
                before + TURNS_READ as i64,
            )
            .fetch_all(&self.pools.workers)
            .await?;
            for row in rows {
                *winners.entry(row.weight).or_default() += row.winners;
            }
        }
        Ok(winners)
    }

    /// Looks up the next entries behind all turns so far, for about this many units. False: nobody is left.
    pub async fn more_turns(&self, sale: SaleId, row: &DrawRow, units: u64) -> Result<bool> {
        let last = sqlx::query!(
            "SELECT rank, key, entry FROM draw_turns WHERE sale_id = $1 ORDER BY rank DESC LIMIT 1",
            sale.to_string(),
        )
        .fetch_optional(&self.pools.workers)
        .await?;
        let rank_before = last.as_ref().map_or(0, |row| row.rank);
        if rank_before as u64 >= row.public.count.unwrap_or(0) {
            return Ok(false);
        }
        let after = match last {
            Some(row) => Some(rank_of(row.key, row.entry)?),
            None => None,
        };
        let next = self.pick(sale, row, units.clamp(1, PICK_UNITS), after).await?;
        let turns: Vec<_> = next.iter().map(|next| (next, next.quantity as i32)).collect();
        self.write_turns(sale, rank_before, &turns, false).await?;
        Ok(!turns.is_empty())
    }

    /// Entries and winners by weight. Empty: the draw was not held yet.
    #[boxed]
    pub async fn draw_classes(&self, sale: SaleId) -> Result<Vec<WeightClass>> {
        let rows = sqlx::query!(
            "SELECT c.weight, c.entries, c.winners FROM draw_classes c JOIN draws d USING (sale_id)
             WHERE c.sale_id = $1 AND d.drawn_at IS NOT NULL ORDER BY c.weight",
            sale.to_string(),
        )
        .fetch_all(&self.pools.workers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| WeightClass {
                weight: row.weight as u32,
                entries: row.entries as u64,
                winners: row.winners as u64,
            })
            .collect())
    }

    async fn pick(
        &self,
        sale: SaleId,
        row: &DrawRow,
        units: u64,
        after: Option<Rank>,
    ) -> Result<Vec<Winner>> {
        let drum = Drum::new(&row.seed, row.public.beacon.as_deref());
        let mut pick = Pick::new(units, after);
        self.each_entry(sale, |entry| pick.add(&drum, &entry)).await?;
        Ok(pick.winners())
    }

    async fn write_turns(
        &self,
        sale: SaleId,
        before: i64,
        turns: &[(&Winner, i32)],
        drawn: bool,
    ) -> Result<()> {
        for (part, number) in turns.chunks(TURNS).zip(0_i64..) {
            let keys: Vec<String> = part.iter().map(|(turn, _)| turn.rank.key.to_string()).collect();
            let entries: Vec<String> = part.iter().map(|(turn, _)| turn.rank.entry.clone()).collect();
            let units: Vec<i32> = part.iter().map(|(_, units)| *units).collect();
            sqlx::query!(
                "INSERT INTO draw_turns (sale_id, rank, key, entry, shopper_id, units, drawn)
                 SELECT $1, $2::bigint + t.number, t.key, t.entry, e.shopper_id, t.units, $6
                 FROM unnest($3::text[], $4::text[], $5::int[]) WITH ORDINALITY AS t (key, entry, units, number)
                 JOIN draw_entries e ON e.sale_id = $1 AND e.entry = t.entry
                 ON CONFLICT DO NOTHING",
                sale.to_string(),
                before + number * TURNS as i64,
                &keys,
                &entries,
                &units,
                drawn,
            )
            .execute(&self.pools.workers)
            .await?;
        }
        Ok(())
    }
}
