//! The draw: seed, entries, what is published, and whose turn it is. Every step may be repeated, and two workers at once do no
//! harm: what a draw comes to is computed from what is fixed by then, and written down once.

use super::{LOOK, Store, audit, sales::move_status};
use crate::{
    batcher::{BatchLimits, Batcher},
    config::COMMAND_DEADLINE,
    error::{Error, Result},
    fairness::WeightClass,
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{
    DeviceId, Phase, SaleId, ShopperId,
    draw::{self, Draw, Drum, Hash, Pick, Proof, Rank, Seed, Winner, entry_name, merkle},
};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Entries that one transaction takes.
pub const ENTER: BatchLimits = BatchLimits {
    items: 500,
    waiting: 50_000,
    deadline: COMMAND_DEADLINE,
};
/// Entries below one kept node of the tree; a power of two.
const CHUNK: usize = 1024;
/// Entries of a line that one statement takes, or weighs.
const LINE_PAGE: i64 = 10_000;
/// Entries that one query reads, in whole chunks.
const PAGE: usize = 8 * CHUNK;
/// Units that one pass over the entries finds winners for: what a pass keeps in memory.
const PICK_UNITS: u64 = 200_000;
/// Turns that one statement writes.
const TURNS: usize = 5_000;
/// Turns that one statement reads.
const TURNS_READ: usize = 50_000;

/// Somebody who enters.
#[derive(Debug, Clone)]
pub struct NewEntry {
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// In, now or before, for so many units.
    Ok { quantity: u32 },
    /// The device stands in the draw for somebody else.
    DeviceInDraw,
    /// The entries have closed.
    Closed,
}

/// What a shopper has in a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MyEntry {
    pub quantity: u32,
    /// Their turn has come; what came of it, the lane knows.
    pub called: bool,
    /// The draw is held, and everybody who was drawn has been called.
    pub told: bool,
}

/// What Postgres has of a draw.
#[derive(Debug, Clone)]
pub struct DrawRow {
    seed: Seed,
    /// What is published by now.
    pub public: Draw,
    pub awaits_beacon: bool,
    pub is_closed: bool,
    pub is_drawn: bool,
    pub is_told: bool,
}

/// A turn that has not come yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub rank: i64,
    pub shopper: ShopperId,
    pub units: u32,
    /// Drawn for the units of the sale, not for what others left.
    pub drawn: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ProofOf {
    Entry(Box<Proof>),
    NoDraw,
    NotDrawnYet,
    NotInDraw,
}

/// What a new sale's draw begins with.
pub struct NewDraw {
    pub seed: Seed,
    pub beacon_source: Option<String>,
}

pub(super) async fn create(connection: &mut PgConnection, sale: SaleId, new: &NewDraw) -> Result<()> {
    sqlx::query!(
        "INSERT INTO draws (sale_id, seed, commitment, beacon_source) VALUES ($1, $2, $3, $4)",
        sale.to_string(),
        &new.seed.0,
        &new.seed.commitment().0,
        new.beacon_source,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Takes an entry, unless the entries have closed. Again by the same shopper: the same entry.
    pub async fn enter_draw(&self, sale: SaleId, item: NewEntry) -> Result<Entered> {
        self.enter
            .submit(&sale, item, || {
                let pool = self.pool.clone();
                Batcher::new("enter", ENTER, move |items: Vec<NewEntry>| {
                    let pool = pool.clone();
                    async move { enter(&pool, sale, &items).await }
                })
            })
            .await
    }

    /// Takes an entry out. False: there is none, or the entries have closed.
    pub async fn leave_draw(&self, sale: SaleId, shopper: &ShopperId) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        if !takes_entries(&mut tx, sale).await? {
            return Ok(false);
        }
        let left = sqlx::query!(
            "DELETE FROM draw_entries WHERE sale_id = $1 AND entry = $2",
            sale.to_string(),
            entry_name(sale, shopper),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(left > 0)
    }

    /// What a shopper has in a draw; one query for all who ask at once.
    pub async fn draw_entry(&self, sale: SaleId, shopper: &ShopperId) -> Result<Option<MyEntry>> {
        self.draw_entry
            .submit(&sale, shopper.clone(), || {
                let pool = self.pool.clone();
                Batcher::new("draw_entry", LOOK, move |askers: Vec<ShopperId>| {
                    let pool = pool.clone();
                    async move { entries_of(&pool, sale, &askers).await }
                })
            })
            .await
    }

    pub async fn count_entries(&self, sale: SaleId) -> Result<u64> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM draw_entries WHERE sale_id = $1"#,
            sale.to_string(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(count as u64)
    }

    /// As of a second ago at most: everybody who looks at the sale asks for it.
    pub async fn recent_draw(&self, sale: SaleId) -> Result<Option<Arc<DrawRow>>> {
        self.recent_draws
            .try_get_with(sale, async {
                Ok::<_, Error>(self.draw(sale).await?.map(Arc::new))
            })
            .await
            .map_err(|error: Arc<Error>| (*error).clone())
    }

    /// The draw has gone on: the next look is a new one.
    pub async fn forget_draw(&self, sale: SaleId) {
        self.recent_draws.invalidate(&sale).await;
    }

    /// None: the sale has no draw.
    pub async fn draw(&self, sale: SaleId) -> Result<Option<DrawRow>> {
        draw_row(&self.pool, sale).await
    }

    // ------------------------------------------------------------------------------------------- the draw, step by step

    /// No entry comes or goes from here on; commits that are on their way are waited for.
    pub async fn close_entries(&self, sale: SaleId) -> Result<()> {
        sqlx::query!(
            "UPDATE draws SET closed_at = now() WHERE sale_id = $1 AND closed_at IS NULL",
            sale.to_string(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes those who still stand in the line of a sale that is over as entries, by its history; a page of it behind `after`
    /// ("": the first). None: that was the last one.
    pub async fn enter_waiting(&self, sale: SaleId, after: &str) -> Result<Option<String>> {
        let rows = sqlx::query!(
            "SELECT queue_id, user_id, device_id, quantity, joined_at, status FROM queue_entries
             WHERE sale_id = $1 AND queue_id > $2 ORDER BY queue_id LIMIT $3",
            sale.to_string(),
            after,
            LINE_PAGE,
        )
        .fetch_all(&self.pool)
        .await?;
        let last = rows.last().map(|row| row.queue_id.clone());
        let mut entries = Vec::new();
        for row in rows.into_iter().filter(|row| row.status == "waiting") {
            let shopper: ShopperId = row
                .user_id
                .parse()
                .map_err(|_| Error::unexpected("an entry with a bad shopper"))?;
            entries.push((
                entry_name(sale, &shopper),
                row.user_id,
                row.device_id,
                row.quantity,
                row.joined_at,
            ));
        }
        entries.sort();
        let names: Vec<String> = entries.iter().map(|entry| entry.0.clone()).collect();
        let shoppers: Vec<String> = entries.iter().map(|entry| entry.1.clone()).collect();
        let devices: Vec<String> = entries.iter().map(|entry| entry.2.clone()).collect();
        let quantities: Vec<i32> = entries.iter().map(|entry| entry.3).collect();
        let joined: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.4).collect();
        sqlx::query!(
            "INSERT INTO draw_entries (sale_id, entry, shopper_id, device_id, quantity, weight, entered_at)
             SELECT $1, e.entry, e.shopper_id, e.device_id, e.quantity, 1, e.joined_at
             FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[])
                AS e (entry, shopper_id, device_id, quantity, joined_at)
             ON CONFLICT DO NOTHING",
            sale.to_string(),
            &names,
            &shoppers,
            &devices,
            &quantities,
            &joined,
        )
        .execute(&self.pool)
        .await?;
        Ok(last)
    }

    /// Weighs the closed entries by the time that they have waited; a page of them behind `after` ("": the first). None: that was
    /// the last one.
    pub async fn weigh_entries(&self, sale: SaleId, after: &str) -> Result<Option<String>> {
        Ok(sqlx::query_scalar!(
            "WITH page AS (SELECT entry FROM draw_entries WHERE sale_id = $1 AND entry > $2 ORDER BY entry LIMIT $3),
                weighed AS (
                    UPDATE draw_entries e SET weight = waiting_weight(e.entered_at, s.room_opens_at, d.closed_at)
                    FROM page p, flash_sales s JOIN draws d USING (sale_id)
                    WHERE e.sale_id = $1 AND e.entry = p.entry AND s.sale_id = $1)
             SELECT max(entry) AS last FROM page",
            sale.to_string(),
            after,
            LINE_PAGE,
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Counts the closed entries and publishes the root of their tree, and the units that are to be drawn for: so many, or all that
    /// are not sold.
    pub async fn publish_root(&self, sale: SaleId, units: Option<u64>) -> Result<()> {
        let (mut tree, mut chunk) = (merkle::Tree::default(), merkle::Tree::default());
        let (mut firsts, mut roots) = (Vec::new(), Vec::new());
        let mut by_weight: BTreeMap<i32, i64> = BTreeMap::new();
        self.each_entry(sale, |entry| {
            let leaf = entry.leaf();
            *by_weight.entry(entry.weight as i32).or_default() += 1;
            tree.push(leaf);
            if chunk.count() == 0 {
                firsts.push(entry.name.clone());
            }
            chunk.push(leaf);
            if chunk.count() == CHUNK as u64 {
                roots.push(std::mem::take(&mut chunk).root().0.to_vec());
            }
        })
        .await?;
        if chunk.count() > 0 {
            roots.push(chunk.root().0.to_vec());
        }

        let id = sale.to_string();
        let mut tx = self.pool.begin().await?;
        let is_first = sqlx::query!(
            "UPDATE draws SET entries = $2, root = $3,
                units = coalesce($4, (SELECT sum(supply - allocated) FROM sale_lanes WHERE sale_id = $1))
             WHERE sale_id = $1 AND closed_at IS NOT NULL AND root IS NULL RETURNING units",
            id,
            tree.count() as i64,
            &tree.root().0,
            units.map(|units| units as i64),
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = is_first else { return Ok(()) };
        sqlx::query!(
            "INSERT INTO draw_chunks (sale_id, chunk, first_entry, root)
             SELECT $1, (c.number - 1)::int, c.first_entry, c.root
             FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS c (first_entry, root, number)",
            id,
            &firsts,
            &roots,
        )
        .execute(&mut *tx)
        .await?;
        let (weights, counts): (Vec<i32>, Vec<i64>) = by_weight.into_iter().unzip();
        sqlx::query!(
            "INSERT INTO draw_classes (sale_id, weight, entries) SELECT $1, * FROM unnest($2::int[], $3::bigint[])",
            id,
            &weights,
            &counts,
        )
        .execute(&mut *tx)
        .await?;
        let data = json!({ "root": tree.root(), "entries": tree.count(), "units": row.units });
        let written = audit::Entry {
            sale: id,
            actor: "worker".into(),
            kind: "draw_closed",
            data,
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Mixes in what nobody knew when the entries closed. False: not now, or another value is in already.
    pub async fn set_beacon(&self, sale: SaleId, value: &str, actor: &str) -> Result<bool> {
        let mut tx = self.pool.begin().await?;
        let changed = sqlx::query!(
            "UPDATE draws SET beacon = $2
             WHERE sale_id = $1 AND beacon_source IS NOT NULL AND beacon IS NULL AND root IS NOT NULL",
            sale.to_string(),
            value,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed == 0 {
            let known = draw_row(&self.pool, sale).await?;
            return Ok(known.is_some_and(|known| known.public.beacon.as_deref() == Some(value)));
        }
        let written = audit::Entry {
            sale: sale.to_string(),
            actor: actor.to_owned(),
            kind: "draw_beacon",
            data: json!({ "value": value }),
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Holds the draw: writes down who was drawn, in order, and then, in one commit, makes seed and cut-off public. A draw that
    /// broke off is held again with the same result: everything that it depends on is fixed.
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
        let mut tx = self.pool.begin().await?;
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
        let written = audit::Entry {
            sale: id,
            actor: "worker".into(),
            kind: "draw_held",
            data: json!({ "seed": row.seed, "winners": drawn, "cut_off": last }),
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// So many at a time that no statement takes long.
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
            .fetch_all(&self.pool)
            .await?;
            for row in rows {
                *winners.entry(row.weight).or_default() += row.winners;
            }
        }
        Ok(winners)
    }

    /// Looks up the next ones behind all turns so far, for about so many units. False: there is nobody left.
    pub async fn more_turns(&self, sale: SaleId, row: &DrawRow, units: u64) -> Result<bool> {
        let last = sqlx::query!(
            "SELECT rank, key, entry FROM draw_turns WHERE sale_id = $1 ORDER BY rank DESC LIMIT 1",
            sale.to_string(),
        )
        .fetch_optional(&self.pool)
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

    /// The next turns, in the order of the draw.
    pub async fn turns_to_call(&self, sale: SaleId, most: i64) -> Result<Vec<Turn>> {
        let rows = sqlx::query!(
            "SELECT rank, shopper_id, units, drawn FROM draw_turns
             WHERE sale_id = $1 AND called_at IS NULL ORDER BY rank LIMIT $2",
            sale.to_string(),
            most,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| turn(row.rank, &row.shopper_id, row.units, row.drawn))
            .collect()
    }

    /// Those whose turn may still run: what they have can have been lost with a lane.
    pub async fn turns_called_since(&self, sale: SaleId, ms: u64) -> Result<Vec<Turn>> {
        let rows = sqlx::query!(
            "SELECT rank, shopper_id, units, drawn FROM draw_turns
             WHERE sale_id = $1 AND called_at > now() - make_interval(secs => $2::bigint / 1000.0) ORDER BY rank",
            sale.to_string(),
            ms as i64,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| turn(row.rank, &row.shopper_id, row.units, row.drawn))
            .collect()
    }

    /// Their turn has come. Published is how far turns have come without a gap.
    pub async fn mark_called(&self, sale: SaleId, ranks: &[i64]) -> Result<()> {
        if ranks.is_empty() {
            return Ok(());
        }
        let mut tx = self.pool.begin().await?;
        // One leader after the other: each must see what the one before has marked.
        let draw = sqlx::query_scalar!(
            "SELECT over_at FROM draws WHERE sale_id = $1 FOR UPDATE",
            sale.to_string(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        // What was published at the end is final.
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

    /// Nobody is called any more: the sale has ended, and what is published of the turns is final. False: it was so already.
    pub async fn end_draw(&self, sale: SaleId) -> Result<bool> {
        let id = sale.to_string();
        let mut tx = self.pool.begin().await?;
        let over = sqlx::query!(
            "UPDATE draws SET over_at = coalesce(over_at, now()) WHERE sale_id = $1 AND drawn_at IS NOT NULL",
            id,
        )
        .execute(&mut *tx)
        .await?;
        // Before the log's head is locked.
        publish_turns(&mut tx, sale).await?;
        if over.rows_affected() == 0
            || !move_status(&mut tx, sale, &[Phase::Drawing], Phase::Ended, "worker").await?
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
        let written = audit::Entry {
            sale: id,
            actor: "worker".into(),
            kind: "draw_over",
            data: json!({ "called": row.called, "last_called": last }),
        };
        audit::write(&mut tx, &[written]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Entries and winners by weight. Empty: the draw has not been held.
    pub async fn draw_classes(&self, sale: SaleId) -> Result<Vec<WeightClass>> {
        let rows = sqlx::query!(
            "SELECT c.weight, c.entries, c.winners FROM draw_classes c JOIN draws d USING (sale_id)
             WHERE c.sale_id = $1 AND d.drawn_at IS NOT NULL ORDER BY c.weight",
            sale.to_string(),
        )
        .fetch_all(&self.pool)
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

    /// Everybody who was drawn has been called. True: by this call.
    pub async fn mark_told(&self, sale: SaleId) -> Result<bool> {
        let told = sqlx::query!(
            "UPDATE draws SET told_at = now() WHERE sale_id = $1 AND drawn_at IS NOT NULL AND told_at IS NULL",
            sale.to_string(),
        )
        .execute(&self.pool)
        .await?;
        Ok(told.rows_affected() > 0)
    }

    // -------------------------------------------------------------------------------------------------- what is published

    /// The lines of a draw's file behind one entry, in their order. Empty: there are no more.
    pub async fn draw_lines(&self, sale: SaleId, after: &str) -> Result<Vec<draw::Entry>> {
        entries_after(&self.pool, sale, after, PAGE).await
    }

    /// A shopper's proof.
    pub async fn draw_proof(&self, sale: SaleId, shopper: &ShopperId) -> Result<ProofOf> {
        let mut row = self.recent_draw(sale).await?;
        // Until it is over it goes on: whoever was called a moment ago shall not be told otherwise.
        if row.as_ref().is_some_and(|row| !row.public.over) {
            self.forget_draw(sale).await;
            row = self.recent_draw(sale).await?;
        }
        let Some(row) = row else {
            return Ok(ProofOf::NoDraw);
        };
        if !row.is_drawn {
            return Ok(ProofOf::NotDrawnYet);
        }
        let (id, name) = (sale.to_string(), entry_name(sale, shopper));
        let chunk = sqlx::query!(
            "SELECT chunk, first_entry FROM draw_chunks WHERE sale_id = $1 AND first_entry <= $2
             ORDER BY first_entry DESC LIMIT 1",
            id,
            name,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(chunk) = chunk else {
            return Ok(ProofOf::NotInDraw);
        };
        let entries = entries_from(&self.pool, sale, &chunk.first_entry, CHUNK).await?;
        let Some(at) = entries.iter().position(|entry| entry.name == name) else {
            return Ok(ProofOf::NotInDraw);
        };
        let leaves: Vec<Hash> = entries.iter().map(draw::Entry::leaf).collect();
        let tops = self.draw_tops(sale).await?;
        let path = merkle::path(&leaves, at)
            .zip(merkle::path(&tops, chunk.chunk as usize))
            .map(|(low, high)| [low, high].concat())
            .ok_or_else(|| Error::unexpected("a draw without the nodes of its tree"))?;
        let entry = entries
            .into_iter()
            .nth(at)
            .ok_or_else(|| Error::unexpected("an entry is gone"))?;
        let rank = Drum::new(&row.seed, row.public.beacon.as_deref()).rank(&entry);
        let is_within = |last: &Option<Rank>| last.as_ref().is_some_and(|last| rank <= *last);
        Ok(ProofOf::Entry(Box::new(Proof {
            won: is_within(&row.public.cut_off),
            called: is_within(&row.public.last_called),
            draw: row.public.clone(),
            entry,
            index: (chunk.chunk as usize * CHUNK + at) as u64,
            path,
            key: rank.key,
        })))
    }

    /// The nodes above the chunks; they do not change any more, and everybody asks for them.
    async fn draw_tops(&self, sale: SaleId) -> Result<Arc<Vec<Hash>>> {
        let load = async {
            let rows = sqlx::query_scalar!(
                "SELECT root FROM draw_chunks WHERE sale_id = $1 ORDER BY chunk",
                sale.to_string(),
            )
            .fetch_all(&self.pool)
            .await?;
            let tops = rows.into_iter().map(|root| Ok(Hash(bytes(root)?)));
            Ok::<_, Error>(Arc::new(tops.collect::<Result<Vec<_>>>()?))
        };
        self.draw_tops
            .try_get_with(sale, load)
            .await
            .map_err(|error: Arc<Error>| (*error).clone())
    }

    // ------------------------------------------------------------------------------------------------------------ passes

    /// One pass over all entries, in their order.
    async fn each_entry(&self, sale: SaleId, mut take: impl FnMut(draw::Entry)) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = entries_after(&self.pool, sale, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.name);
            page.into_iter().for_each(&mut take);
            // A page's hashing takes some milliseconds: others have their turn in between.
            tokio::task::yield_now().await;
        }
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
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }
}

/// Writes down how far turns have come without a gap. Nobody has had one: 0.
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

/// Whether entries may come and go; they may until this transaction ends.
async fn takes_entries(connection: &mut PgConnection, sale: SaleId) -> Result<bool> {
    let open = sqlx::query!(
        "SELECT sale_id FROM draws WHERE sale_id = $1 AND closed_at IS NULL FOR SHARE",
        sale.to_string(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(open.is_some())
}

async fn enter(pool: &PgPool, sale: SaleId, items: &[NewEntry]) -> Result<Vec<Entered>> {
    let mut tx = pool.begin().await?;
    if !takes_entries(&mut tx, sale).await? {
        return Ok(vec![Entered::Closed; items.len()]);
    }
    // In one order everywhere, so that two batches with the same names cannot block each other.
    let mut sorted: Vec<(String, &NewEntry)> = items
        .iter()
        .map(|item| (entry_name(sale, &item.shopper), item))
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<String> = sorted.iter().map(|(name, _)| name.clone()).collect();
    let shoppers: Vec<String> = sorted.iter().map(|(_, item)| item.shopper.to_string()).collect();
    let devices: Vec<String> = sorted.iter().map(|(_, item)| item.device.to_string()).collect();
    let quantities: Vec<i32> = sorted.iter().map(|(_, item)| item.quantity as i32).collect();
    sqlx::query!(
        "INSERT INTO draw_entries (sale_id, entry, shopper_id, device_id, quantity, weight)
         SELECT $1, e.entry, e.shopper_id, e.device_id, e.quantity, 1
         FROM unnest($2::text[], $3::text[], $4::text[], $5::int[]) AS e (entry, shopper_id, device_id, quantity)
         ON CONFLICT DO NOTHING",
        sale.to_string(),
        &names,
        &shoppers,
        &devices,
        &quantities,
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query!(
        "SELECT entry, quantity FROM draw_entries WHERE sale_id = $1 AND entry = ANY($2)",
        sale.to_string(),
        &names,
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let stands: HashMap<String, i32> = rows.into_iter().map(|row| (row.entry, row.quantity)).collect();
    Ok(items
        .iter()
        .map(|item| match stands.get(&entry_name(sale, &item.shopper)) {
            Some(quantity) => Entered::Ok {
                quantity: *quantity as u32,
            },
            None => Entered::DeviceInDraw,
        })
        .collect())
}

async fn entries_of(pool: &PgPool, sale: SaleId, shoppers: &[ShopperId]) -> Result<Vec<Option<MyEntry>>> {
    let names: Vec<String> = shoppers.iter().map(|shopper| entry_name(sale, shopper)).collect();
    let rows = sqlx::query!(
        r#"SELECT e.entry, e.quantity, t.called_at IS NOT NULL AS "called!", d.told_at IS NOT NULL AS "told!"
           FROM draw_entries e JOIN draws d ON d.sale_id = e.sale_id
           LEFT JOIN draw_turns t ON t.sale_id = e.sale_id AND t.entry = e.entry
           WHERE e.sale_id = $1 AND e.entry = ANY($2)"#,
        sale.to_string(),
        &names,
    )
    .fetch_all(pool)
    .await?;
    let found: HashMap<String, MyEntry> = rows
        .into_iter()
        .map(|row| {
            let mine = MyEntry {
                quantity: row.quantity as u32,
                called: row.called,
                told: row.told,
            };
            (row.entry, mine)
        })
        .collect();
    Ok(names.iter().map(|name| found.get(name).copied()).collect())
}

async fn entries_after(pool: &PgPool, sale: SaleId, after: &str, most: usize) -> Result<Vec<draw::Entry>> {
    let rows = sqlx::query!(
        "SELECT entry, weight, quantity FROM draw_entries WHERE sale_id = $1 AND entry > $2 ORDER BY entry LIMIT $3",
        sale.to_string(),
        after,
        most as i64,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| draw::Entry {
            name: row.entry,
            weight: row.weight as u32,
            quantity: row.quantity as u32,
        })
        .collect())
}

async fn entries_from(pool: &PgPool, sale: SaleId, first: &str, most: usize) -> Result<Vec<draw::Entry>> {
    let rows = sqlx::query!(
        "SELECT entry, weight, quantity FROM draw_entries WHERE sale_id = $1 AND entry >= $2 ORDER BY entry LIMIT $3",
        sale.to_string(),
        first,
        most as i64,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| draw::Entry {
            name: row.entry,
            weight: row.weight as u32,
            quantity: row.quantity as u32,
        })
        .collect())
}

async fn draw_row(pool: &PgPool, sale: SaleId) -> Result<Option<DrawRow>> {
    let row = sqlx::query!(
        "SELECT seed, commitment, beacon_source, beacon, units, entries, root, drawn_at, winners, cut_off_key, cut_off_entry,
            told_at, called, last_called_key, last_called_entry, over_at
         FROM draws WHERE sale_id = $1",
        sale.to_string(),
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let seed = Seed(bytes(row.seed)?);
    let is_drawn = row.drawn_at.is_some();
    let root = row.root.map(bytes).transpose()?.map(Hash);
    let number = |number: Option<i64>| number.map(|number| number as u64);
    let cut_off = maybe_rank(row.cut_off_key, row.cut_off_entry)?;
    let last_called = maybe_rank(row.last_called_key, row.last_called_entry)?;
    let public = Draw {
        awaits: row.beacon_source.clone(),
        beacon: row.beacon,
        units: number(row.units),
        count: number(row.entries),
        root,
        seed: is_drawn.then_some(seed),
        winners: number(row.winners),
        cut_off,
        called: number(row.called),
        last_called,
        over: row.over_at.is_some(),
        ..Draw::committed(sale, Hash(bytes(row.commitment)?))
    };
    Ok(Some(DrawRow {
        seed,
        awaits_beacon: row.beacon_source.is_some() && public.beacon.is_none(),
        is_closed: root.is_some(),
        is_drawn,
        is_told: row.told_at.is_some(),
        public,
    }))
}

fn turn(rank: i64, shopper: &str, units: i32, drawn: bool) -> Result<Turn> {
    Ok(Turn {
        rank,
        shopper: shopper
            .parse()
            .map_err(|_| Error::unexpected("an entry with a bad shopper"))?,
        units: units as u32,
        drawn,
    })
}

fn maybe_rank(key: Option<String>, entry: Option<String>) -> Result<Option<Rank>> {
    key.zip(entry).map(|(key, entry)| rank_of(key, entry)).transpose()
}

fn rank_of(key: String, entry: String) -> Result<Rank> {
    let key = key
        .parse()
        .map_err(|_| Error::unexpected("a turn with a bad key"))?;
    Ok(Rank { key, entry })
}

fn bytes(stored: Vec<u8>) -> Result<[u8; 32]> {
    stored
        .try_into()
        .map_err(|_| Error::unexpected("a hash that is not of 32 bytes"))
}
