//! The entries of a draw: they come and go until they are closed, and then they are weighed.

use crate::{
    batcher::{Batch, BatchLimits, Batcher, of_shopper, subject},
    error::{Error, Result},
    limits::COMMAND_DEADLINE,
    sale::Sale,
    store::{COMMITS_SPACING, LOOK, Store, entries::nonce_of},
};
use chrono::{DateTime, Utc};
use flashsale_protocol::{DeviceId, Nonce, SaleId, ShopperId};
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;

/// Entries accepted in one transaction.
pub(crate) const ENTER: BatchLimits = BatchLimits {
    items: 500,
    waiting: 50_000,
    deadline: COMMAND_DEADLINE,
    spacing: COMMITS_SPACING,
};
/// Entries of a line that one statement accepts or weighs.
const LINE_PAGE: i64 = 10_000;

/// Somebody who enters a draw.
#[derive(Debug, Clone)]
pub struct NewEntry {
    pub shopper: ShopperId,
    pub device: DeviceId,
    pub quantity: u32,
    pub nonce: Option<Nonce>,
    /// The entry's name, made with that nonce.
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The shopper is in, now or since before, for this many units and with this nonce.
    Ok { quantity: u32, nonce: Option<Nonce> },
    /// The device is in the draw for somebody else.
    DeviceInDraw,
    /// The entries have closed.
    Closed,
}

/// A shopper's standing in a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MyEntry {
    pub quantity: u32,
    pub nonce: Option<Nonce>,
    /// Their turn has come; the lane knows the outcome.
    pub called: bool,
    /// The draw was held, and everybody who was drawn has been called.
    pub told: bool,
}

impl Store {
    /// Accepts an entry unless the entries have closed. The same shopper entering again keeps the same entry.
    pub async fn enter_draw(&self, sale: SaleId, item: NewEntry) -> Result<Entered> {
        self.enter
            .submit(&sale, item, || {
                let pool = self.pools.workers.clone();
                Batcher::new(
                    "enter",
                    ENTER,
                    |item| {
                        [subject(&item.shopper), subject(&item.device)]
                            .into_iter()
                            .collect()
                    },
                    move |items: Batch<NewEntry>| {
                        let pool = pool.clone();
                        async move { enter(&pool, sale, &items).await }
                    },
                )
            })
            .await
    }

    /// Takes an entry out. False: there is none, or the entries have closed.
    pub async fn leave_draw(&self, sale: SaleId, shopper: &ShopperId) -> Result<bool> {
        let mut tx = self.pools.workers.begin().await?;
        if !takes_entries(&mut tx, sale).await? {
            return Ok(false);
        }
        let left = sqlx::query!(
            "DELETE FROM draw_entries WHERE sale_id = $1 AND shopper_id = $2",
            sale.to_string(),
            shopper.as_str(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(left > 0)
    }

    /// A shopper's standing in a draw; one query answers all who ask at once.
    pub async fn draw_entry(&self, sale: SaleId, shopper: &ShopperId) -> Result<Option<MyEntry>> {
        self.draw_entry
            .submit(&sale, shopper.clone(), || {
                let pool = self.pools.shoppers.clone();
                Batcher::new("draw_entry", LOOK, of_shopper, move |askers: Batch<ShopperId>| {
                    let pool = pool.clone();
                    async move { entries_of(&pool, sale, &askers).await }
                })
            })
            .await
    }

    pub(crate) async fn count_entries(&self, sale: SaleId) -> Result<u64> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM draw_entries WHERE sale_id = $1"#,
            sale.to_string(),
        )
        .fetch_one(&self.pools.workers)
        .await?;
        Ok(count as u64)
    }

    /// Closes the entries: none comes or goes any more. This waits for commits that are on their way.
    pub async fn close_entries(&self, sale: SaleId) -> Result<()> {
        sqlx::query!(
            "UPDATE draws SET closed_at = now() WHERE sale_id = $1 AND closed_at IS NULL",
            sale.to_string(),
        )
        .execute(&self.pools.workers)
        .await?;
        Ok(())
    }

    /// Turns people who still stand in an ended sale's line into entries, from its history: one page behind `after` ("": the
    /// first). None: that was the last page.
    pub async fn enter_waiting(&self, sale: &Sale, after: &str) -> Result<Option<String>> {
        let rows = sqlx::query!(
            "SELECT queue_id, user_id, device_id, quantity, joined_at, status, nonce FROM queue_entries
             WHERE sale_id = $1 AND queue_id > $2 ORDER BY queue_id LIMIT $3",
            sale.id.to_string(),
            after,
            LINE_PAGE,
        )
        .fetch_all(&self.pools.workers)
        .await?;
        let last = rows.last().map(|row| row.queue_id.clone());
        let mut entries = Vec::new();
        for row in rows.into_iter().filter(|row| row.status == "waiting") {
            let shopper: ShopperId = row
                .user_id
                .parse()
                .map_err(|_| Error::unexpected("an entry with a bad shopper"))?;
            let nonce = nonce_of(row.nonce)?;
            let name = sale.entry_name(&shopper, nonce);
            entries.push((
                row.user_id,
                row.joined_at,
                name,
                row.device_id,
                row.quantity,
                nonce,
            ));
        }
        // Two leaders must not block each other, and of two rows of a shopper both take the earlier one.
        entries.sort();
        let shoppers: Vec<String> = entries.iter().map(|entry| entry.0.clone()).collect();
        let joined: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.1).collect();
        let names: Vec<String> = entries.iter().map(|entry| entry.2.clone()).collect();
        let devices: Vec<String> = entries.iter().map(|entry| entry.3.clone()).collect();
        let quantities: Vec<i32> = entries.iter().map(|entry| entry.4).collect();
        let nonces: Vec<Option<Vec<u8>>> = entries.iter().map(|entry| stored(entry.5)).collect();
        sqlx::query!(
            "INSERT INTO draw_entries (sale_id, entry, shopper_id, device_id, quantity, weight, entered_at, nonce)
             SELECT $1, e.entry, e.shopper_id, e.device_id, e.quantity, 1, e.joined_at, e.nonce
             FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[], $7::bytea[])
                AS e (entry, shopper_id, device_id, quantity, joined_at, nonce)
             ON CONFLICT DO NOTHING",
            sale.id.to_string(),
            &names,
            &shoppers,
            &devices,
            &quantities,
            &joined,
            nonces.as_slice() as &[Option<Vec<u8>>],
        )
        .execute(&self.pools.workers)
        .await?;
        Ok(last)
    }

    /// Weighs the closed entries by the time they have waited: one page behind `after` ("": the first). None: that was the last
    /// page.
    pub(crate) async fn weigh_entries(&self, sale: SaleId, after: &str) -> Result<Option<String>> {
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
        .fetch_one(&self.pools.workers)
        .await?)
    }
}

/// Whether entries may come and go. The answer holds until this transaction ends.
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
    // Everywhere in the same order, so that two batches with the same shoppers cannot block each other.
    let mut sorted: Vec<&NewEntry> = items.iter().collect();
    sorted.sort_by(|a, b| a.shopper.cmp(&b.shopper));
    let names: Vec<String> = sorted.iter().map(|item| item.name.clone()).collect();
    let shoppers: Vec<String> = sorted.iter().map(|item| item.shopper.to_string()).collect();
    let devices: Vec<String> = sorted.iter().map(|item| item.device.to_string()).collect();
    let quantities: Vec<i32> = sorted.iter().map(|item| item.quantity as i32).collect();
    let nonces: Vec<Option<Vec<u8>>> = sorted.iter().map(|item| stored(item.nonce)).collect();
    sqlx::query!(
        "INSERT INTO draw_entries (sale_id, entry, shopper_id, device_id, quantity, weight, nonce)
         SELECT $1, e.entry, e.shopper_id, e.device_id, e.quantity, 1, e.nonce
         FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::bytea[])
            AS e (entry, shopper_id, device_id, quantity, nonce)
         ON CONFLICT DO NOTHING",
        sale.to_string(),
        &names,
        &shoppers,
        &devices,
        &quantities,
        nonces.as_slice() as &[Option<Vec<u8>>],
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query!(
        "SELECT shopper_id, quantity, nonce FROM draw_entries WHERE sale_id = $1 AND shopper_id = ANY($2)",
        sale.to_string(),
        &shoppers,
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let mut stands = HashMap::with_capacity(rows.len());
    for row in rows {
        let entered = Entered::Ok {
            quantity: row.quantity as u32,
            nonce: nonce_of(row.nonce)?,
        };
        stands.insert(row.shopper_id, entered);
    }
    let entered = |item: &NewEntry| stands.get(item.shopper.as_str()).copied();
    Ok(items
        .iter()
        .map(|item| entered(item).unwrap_or(Entered::DeviceInDraw))
        .collect())
}

async fn entries_of(pool: &PgPool, sale: SaleId, shoppers: &[ShopperId]) -> Result<Vec<Option<MyEntry>>> {
    let names: Vec<String> = shoppers.iter().map(ShopperId::to_string).collect();
    let rows = sqlx::query!(
        r#"SELECT e.shopper_id, e.quantity, e.nonce, t.called_at IS NOT NULL AS "called!", d.told_at IS NOT NULL AS "told!"
           FROM draw_entries e JOIN draws d ON d.sale_id = e.sale_id
           LEFT JOIN draw_turns t ON t.sale_id = e.sale_id AND t.entry = e.entry
           WHERE e.sale_id = $1 AND e.shopper_id = ANY($2)"#,
        sale.to_string(),
        &names,
    )
    .fetch_all(pool)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let mine = MyEntry {
            quantity: row.quantity as u32,
            nonce: nonce_of(row.nonce)?,
            called: row.called,
            told: row.told,
        };
        found.insert(row.shopper_id, mine);
    }
    Ok(names.iter().map(|name| found.get(name).copied()).collect())
}

fn stored(nonce: Option<Nonce>) -> Option<Vec<u8>> {
    nonce.map(|nonce| nonce.0.to_vec())
}
